"""The Python clients that people use, each with its own habits, on both clusters."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from objects import config, pod, tf_job
from sites import Site

# Their annotations say less than their code does, so they are taken without.
kubernetes: Any = pytest.importorskip("kubernetes")
dynamic_client: Any = pytest.importorskip("kubernetes.dynamic")
kubernetes_asyncio: Any = pytest.importorskip("kubernetes_asyncio")
kr8s: Any = pytest.importorskip("kr8s")
kr8s_objects: Any = pytest.importorskip("kr8s.objects")
k8s = kubernetes.client

# Not ours to mend: these clients leave sockets to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
KIND = ("kubeflow.org", "v1")


@pytest.fixture(autouse=True)
def _swept() -> Iterator[None]:
    """What they leave is collected here, and not in another test."""
    yield
    gc.collect()


@pytest.fixture
def api(site: Site) -> Any:
    return kubernetes.config.new_client_from_config(str(site.kubeconfig))


def test_kubernetes_custom_objects(api: Any, place: str) -> None:
    custom, jobs = k8s.CustomObjectsApi(api), (*KIND, place, "tfjobs")
    made = custom.create_namespaced_custom_object(*jobs, tf_job("t"))
    with pytest.raises(k8s.ApiException) as caught:
        custom.create_namespaced_custom_object(*jobs, tf_job("t"))
    assert (caught.value.status, '"reason":"AlreadyExists"' in caught.value.body) == (409, True)
    custom.patch_namespaced_custom_object(*jobs, "t", {"spec": {"runPolicy": {"backoffLimit": 3}}})
    with pytest.raises(k8s.ApiException) as stale:
        custom.replace_namespaced_custom_object(*jobs, "t", made)
    assert stale.value.status == 409
    custom.patch_namespaced_custom_object_status(*jobs, "t", {"status": {"startTime": "2026-01-01T00:00:00Z"}})
    got = custom.get_namespaced_custom_object(*jobs, "t")
    assert (got["metadata"]["generation"], got["status"]["startTime"]) == (2, "2026-01-01T00:00:00Z")
    assert len(custom.list_namespaced_custom_object(*jobs)["items"]) == 1
    assert custom.delete_namespaced_custom_object(*jobs, "t")["status"] == "Success"


def test_kubernetes_core_objects(api: Any, place: str) -> None:
    core = k8s.CoreV1Api(api)
    spec = k8s.V1PodSpec(containers=[k8s.V1Container(name="c", image="busybox")], scheduler_name="nobody")
    core.create_namespaced_pod(place, k8s.V1Pod(metadata=k8s.V1ObjectMeta(name="p", labels={"a": "b"}), spec=spec))
    core.patch_namespaced_pod("p", place, {"metadata": {"labels": {"c": "d"}}})
    [found] = core.list_namespaced_pod(
        place, label_selector="a=b,c in (d)", field_selector="status.phase=Pending"
    ).items
    assert found.metadata.labels == {"a": "b", "c": "d"}
    assert found.status.qos_class == "BestEffort"
    core.delete_namespaced_pod("p", place, grace_period_seconds=0)
    assert core.list_namespaced_pod(place).items == []
    assert {"default", place} <= {ns.metadata.name for ns in core.list_namespace().items}
    assert k8s.VersionApi(api).get_code().minor == "36"


def test_kubernetes_watch(api: Any, place: str) -> None:
    core = k8s.CoreV1Api(api)
    seen: list[tuple[str, str]] = []

    def follow() -> None:
        stream = kubernetes.watch.Watch().stream(
            core.list_namespaced_config_map, place, label_selector="mine", timeout_seconds=60
        )
        for event in stream:
            seen.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED":
                return

    core.create_namespaced_config_map(place, config("before", {"mine": ""}))
    thread = threading.Thread(target=follow)
    thread.start()
    other = k8s.CoreV1Api(kubernetes.client.ApiClient(api.configuration))
    while not seen:
        threading.Event().wait(0.01)
    other.create_namespaced_config_map(place, config("after", {"mine": ""}))
    other.delete_namespaced_config_map("before", place)
    thread.join(60)
    assert seen == [("ADDED", "before"), ("ADDED", "after"), ("DELETED", "before")]


def test_kubernetes_dynamic_client(site: Site, api: Any, place: str, tmp_path: Path) -> None:
    dynamic = dynamic_client.DynamicClient(api, cache_file=str(tmp_path / "discovery"))
    jobs = dynamic.resources.get(api_version="kubeflow.org/v1", kind="TFJob")
    jobs.create(tf_job("d"), namespace=place)
    applied = tf_job("d") | {"metadata": {"name": "d", "labels": {"x": "y"}}}
    done = jobs.server_side_apply(applied, name="d", namespace=place, field_manager="me", force_conflicts=True)
    assert done.metadata.labels.x == "y"
    found = dynamic.resources.search(kind="MPIJob")
    assert ("v2beta1" in {one.api_version for one in found}) == site.has("both versions of MPIJob")


async def test_kubernetes_asyncio(site: Site, place: str) -> None:
    await kubernetes_asyncio.config.load_kube_config(str(site.kubeconfig))
    async with kubernetes_asyncio.client.ApiClient() as api:
        core = kubernetes_asyncio.client.CoreV1Api(api)
        await core.create_namespaced_config_map(place, config("a", {"mine": ""}))
        kwargs = {"field_selector": "", "label_selector": "mine", "resource_version": "0"}
        listed = await core.list_namespaced_config_map(place, resource_version_match="NotOlderThan", **kwargs)
        version = listed.metadata.resource_version
        await core.delete_namespaced_config_map("a", place)
        async with kubernetes_asyncio.watch.Watch().stream(
            core.list_namespaced_config_map,
            place,
            label_selector="mine",
            resource_version=version,
            timeout_seconds=60,
        ) as stream:
            seen = []
            async for event in stream:
                seen.append((event["type"], event["object"].metadata.name))
                if event["type"] == "DELETED":
                    break
        # The first list may be of a moment before: that is what version 0 asks for.
        assert seen[-1] == ("DELETED", "a")
        custom = kubernetes_asyncio.client.CustomObjectsApi(api)
        await custom.create_namespaced_custom_object(*KIND, place, "tfjobs", tf_job("t"))
        found = await custom.list_namespaced_custom_object(*KIND, place, "tfjobs")
        assert [one["metadata"]["name"] for one in found["items"]] == ["t"]


@pytest.mark.filterwarnings("ignore:Kubernetes version:UserWarning")
def test_kr8s(site: Site, place: str) -> None:
    pod_class, config_class, new_class = kr8s_objects.Pod, kr8s_objects.ConfigMap, kr8s_objects.new_class
    api = kr8s.api(kubeconfig=str(site.kubeconfig), namespace=place)
    made = pod_class(pod("p"), api=api)
    made.create()
    assert made.exists()
    made.label(a="b")
    assert [found.name for found in api.get("pods", label_selector={"a": "b"})] == ["p"]
    assert pod_class.get("p", api=api).metadata.labels == {"app": "p", "a": "b"}
    jobs = new_class("TFJob", version="kubeflow.org/v1", namespaced=True)
    job = jobs(tf_job("t"), api=api)
    job.create()
    job.patch({"spec": {"runPolicy": {"backoffLimit": 3}}})
    job.refresh()
    assert job.spec.runPolicy.backoffLimit == 3
    config_class(config("c", {"mine": ""}, a="1"), api=api).create()
    for kind, obj in api.watch("configmaps", label_selector="mine"):
        assert (kind, obj.name) == ("ADDED", "c")
        break
    job.delete()
    made.delete()
    made.wait("delete", timeout=60)
