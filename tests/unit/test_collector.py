"""Garbage collection and the end of namespaces: the collector is run by hand, step by step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from registries import begun

from jupyterlab_kf import controllers, kinds
from jupyterlab_kf.embedded.collector import Collector
from jupyterlab_kf.embedded.registry import MERGE_PATCH, DeleteOptions, Registry
from jupyterlab_kf.model import Obj, Ref


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    store = begun(tmp_path)
    yield Registry(store)
    store.close()


@pytest.fixture
def collector(registry: Registry) -> Collector:
    collector = Collector(registry)
    collector.attach()
    return collector


def config(registry: Registry, name: str, *owners: Obj, namespace: str = "default", **meta: Any) -> Obj:
    references = [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": True,
        }
        for owner in owners
    ]
    if references:
        meta["ownerReferences"] = references
    return registry.create(kinds.CONFIG_MAP, {"metadata": {"name": name, "namespace": namespace, **meta}})


def left(registry: Registry, namespace: str = "default") -> list[str]:
    return [obj["metadata"]["name"] for obj in registry.list(kinds.CONFIG_MAP, namespace)]


def test_dependents_follow_their_owner(registry: Registry, collector: Collector) -> None:
    owner = config(registry, "owner")
    child = config(registry, "child", owner)
    config(registry, "grandchild", child)
    collector.run()
    assert left(registry) == ["child", "grandchild", "owner"]
    registry.delete(kinds.CONFIG_MAP, "default", "owner")
    collector.run()
    assert left(registry) == []


def test_a_dependent_of_two_keeps_the_one(registry: Registry, collector: Collector) -> None:
    one, two = config(registry, "one"), config(registry, "two")
    config(registry, "child", one, two)
    registry.delete(kinds.CONFIG_MAP, "default", "one")
    collector.run()
    owners = registry.get(kinds.CONFIG_MAP, "default", "child")["metadata"]["ownerReferences"]
    assert [owner["name"] for owner in owners] == ["two"]


def test_an_owner_that_never_was(registry: Registry, collector: Collector) -> None:
    ghost = {"metadata": {"name": "ghost", "uid": "22222222-2222-2222-2222-222222222222"}}
    config(registry, "child", ghost)
    collector.run()
    assert left(registry) == []


def test_an_owner_of_an_unknown_kind_is_taken_to_exist(registry: Registry, collector: Collector) -> None:
    owner = {"apiVersion": "elsewhere.io/v1", "kind": "Thing", "name": "x", "uid": "1"}
    config(registry, "child", ownerReferences=[owner])
    collector.run()
    assert left(registry) == ["child"]


def test_an_owner_in_another_namespace_does_not_count(registry: Registry, collector: Collector) -> None:
    owner = config(registry, "owner", namespace="kube-system")
    config(registry, "child", owner)
    collector.run()
    assert left(registry) == []


def test_foreground_waits_for_what_blocks(registry: Registry, collector: Collector) -> None:
    owner = config(registry, "owner")
    config(registry, "child", owner, finalizers=["example.com/hold"])
    registry.delete(kinds.CONFIG_MAP, "default", "owner", options=DeleteOptions(propagation="Foreground"))
    collector.run()
    assert left(registry) == ["child", "owner"]
    registry.patch(kinds.CONFIG_MAP, "default", "child", {"metadata": {"finalizers": None}}, MERGE_PATCH)
    collector.run()
    assert left(registry) == []


def test_orphans_are_let_go(registry: Registry, collector: Collector) -> None:
    owner = config(registry, "owner")
    config(registry, "child", owner)
    registry.delete(kinds.CONFIG_MAP, "default", "owner", options=DeleteOptions(propagation="Orphan"))
    collector.run()
    assert left(registry) == ["child"]
    assert "ownerReferences" not in registry.get(kinds.CONFIG_MAP, "default", "child")["metadata"]


def test_a_namespace_ends_when_it_is_empty(registry: Registry, collector: Collector) -> None:
    registry.create(kinds.NAMESPACE, {"metadata": {"name": "n"}})
    config(registry, "a", namespace="n", finalizers=["example.com/hold"])
    config(registry, "b", namespace="n")
    registry.delete(kinds.NAMESPACE, "", "n")
    collector.run()
    assert left(registry, "n") == ["a"]
    assert registry.get(kinds.NAMESPACE, "", "n")["status"]["phase"] == "Terminating"
    registry.patch(kinds.CONFIG_MAP, "n", "a", {"metadata": {"finalizers": None}}, MERGE_PATCH)
    collector.run()
    assert registry.store.get(kinds.NAMESPACE, "", "n") is None
    assert registry.list(kinds.SERVICE_ACCOUNT, "n") == []


def test_a_definition_takes_its_objects_along(registry: Registry, collector: Collector) -> None:
    template = {"spec": {"containers": [{"name": "tensorflow", "image": "x"}]}}
    spec = {"tfReplicaSpecs": {"Worker": {"replicas": 1, "template": template}}}
    registry.create(kinds.TF_JOB, {"metadata": {"name": "t", "namespace": "default"}, "spec": spec})
    registry.delete(kinds.CUSTOM_RESOURCE_DEFINITION, "", "tfjobs.kubeflow.org")
    collector.run()
    assert registry.store.list(kinds.TF_JOB) == []
    assert kinds.TF_JOB not in registry.kinds()


def owned_pod(registry: Registry, owner: Obj, name: str) -> None:
    keys = ("apiVersion", "kind")
    reference = {
        **{key: owner[key] for key in keys},
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
    }
    metadata = {"name": name, "namespace": "default", "ownerReferences": [reference]}
    registry.create(kinds.POD, {"metadata": metadata, "spec": {"containers": [{"name": "c", "image": "x"}]}})


def mpi_job(name: str) -> Obj:
    replica = {"replicas": 1, "template": {"spec": {"containers": [{"name": "mpi", "image": "x"}]}}}
    spec = {"mpiReplicaSpecs": {"Launcher": replica, "Worker": replica}}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": spec}


def test_a_definition_takes_what_its_objects_own_along(registry: Registry, collector: Collector) -> None:
    """The kind is gone before the pods have been looked at; they must not run on for ever."""
    for kind, name in ((kinds.MPI_JOB, "one"), (kinds.MPI_JOB_V2, "two")):
        owned_pod(registry, registry.create(kind, mpi_job(name)), f"{name}-worker-0")
    registry.delete(kinds.CUSTOM_RESOURCE_DEFINITION, "", "mpijobs.kubeflow.org")
    collector.run()
    assert registry.list(kinds.POD) == []


def test_a_definition_without_a_version_still_takes_its_objects_along(registry: Registry, collector: Collector) -> None:
    """As the upstream definition of MPIJob v1 does when it is applied over ours."""
    stored = registry.create(kinds.MPI_JOB_V2, mpi_job("two"))
    owned_pod(registry, stored, "two-worker-0")
    name = "mpijobs.kubeflow.org"
    definition = registry.get(kinds.CUSTOM_RESOURCE_DEFINITION, "", name)
    versions = [version for version in definition["spec"]["versions"] if version["name"] == "v1"]
    registry.update(
        kinds.CUSTOM_RESOURCE_DEFINITION, {**definition, "spec": {**definition["spec"], "versions": versions}}
    )
    assert kinds.MPI_JOB_V2 not in registry.kinds()
    collector.run()
    assert len(registry.list(kinds.POD)) == 1, "its owner is still there"
    labelled = {"metadata": {"labels": {"a": "b"}}}
    assert registry.patch(kinds.MPI_JOB, "default", "two", labelled, MERGE_PATCH)["apiVersion"] == "kubeflow.org/v1"
    assert registry.store.list(kinds.MPI_JOB)[0]["apiVersion"] == "kubeflow.org/v2beta1", "its operator keeps it"
    registry.delete(kinds.MPI_JOB, "default", "two")
    collector.run()
    assert registry.list(kinds.POD) == []


def test_a_training_definition_comes_back_with_the_next_start(registry: Registry, collector: Collector) -> None:
    registry.delete(kinds.CUSTOM_RESOURCE_DEFINITION, "", "tfjobs.kubeflow.org")
    collector.run()
    assert kinds.TF_JOB not in registry.kinds()
    again = Registry(registry.store)
    assert kinds.TF_JOB in again.kinds()


def test_what_was_left_half_done_is_finished_at_the_next_start(registry: Registry) -> None:
    owner = config(registry, "owner")
    config(registry, "child", owner)
    registry.delete(kinds.CONFIG_MAP, "default", "owner")
    collector = Collector(registry)
    collector.attach()
    collector.run()
    assert left(registry) == []


def test_events_end_after_an_hour(registry: Registry, collector: Collector) -> None:
    registry.record(controllers.Emit(Ref("Pod", "p", "default", "u"), "v1", "Normal", "R", "m", "s"))
    collector.expire_events(time.time() + 3500)
    assert len(registry.list(kinds.EVENT)) == 1
    collector.expire_events(time.time() + 3700)
    assert registry.list(kinds.EVENT) == []


async def test_it_works_in_the_background_and_stops(registry: Registry) -> None:
    import asyncio

    collector = Collector(registry)
    await collector.start()
    owner = config(registry, "owner")
    config(registry, "child", owner)
    registry.delete(kinds.CONFIG_MAP, "default", "owner")
    for _ in range(20):
        await asyncio.sleep(0)
    assert left(registry) == []
    await collector.stop()
