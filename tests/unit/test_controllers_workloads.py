"""ReplicaSets, Deployments, and the endpoints of Services."""

from __future__ import annotations

import json
from typing import Any

import pytest
from controllers_world import START, World

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Create, workloads
from jupyterlab_kf.model import Obj

DEPLOYMENT = ("apps", "deployments", "default", "d")


def deployment(replicas: int = 3, **spec: Any) -> World:
    world = World(*workloads.CONTROLLERS)
    template = {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "one"}]}}
    obj = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "d"}}, "template": template, **spec},
    }
    world.add(kinds.DEPLOYMENT, obj)
    world.settle()
    return world


def change(world: World, image: str) -> None:
    obj = world.objects[DEPLOYMENT]
    obj["spec"]["template"]["spec"]["containers"][0]["image"] = image
    obj["metadata"]["generation"] += 1


def status(world: World) -> Obj:
    value: Obj = world.objects[DEPLOYMENT]["status"]
    return value


def reason(world: World, type_: str) -> str:
    return str(next(c["reason"] for c in status(world)["conditions"] if c["type"] == type_))


def images(world: World) -> list[str]:
    return sorted(p["spec"]["containers"][0]["image"] for p in world.pods().values())


def test_a_deployment_becomes_available() -> None:
    world = deployment()
    assert reason(world, "Available") == "MinimumReplicasUnavailable"
    assert reason(world, "Progressing") == "ReplicaSetUpdated"
    world.run_all()
    assert reason(world, "Available") == "MinimumReplicasAvailable"
    assert reason(world, "Progressing") == "NewReplicaSetAvailable"
    numbers = {k: v for k, v in status(world).items() if isinstance(v, int)}
    assert numbers == {
        "replicas": 3,
        "updatedReplicas": 3,
        "readyReplicas": 3,
        "availableReplicas": 3,
        "observedGeneration": 1,
    }
    assert world.objects[DEPLOYMENT]["metadata"]["annotations"] == {"deployment.kubernetes.io/revision": "1"}
    (replica_set,) = world.list(kinds.REPLICA_SET)
    pod = next(iter(world.pods().values()))
    assert pod["metadata"]["labels"]["pod-template-hash"] == replica_set["metadata"]["labels"]["pod-template-hash"]


@pytest.mark.parametrize(("surge", "unavailable"), [("25%", "25%"), (1, 0), (0, 1), ("100%", 0), (0, "100%"), (0, 0)])
def test_a_rolling_update_stays_within_its_limits(surge: Any, unavailable: Any) -> None:
    rolling = {"maxSurge": surge, "maxUnavailable": unavailable}
    world = deployment(4, strategy={"type": "RollingUpdate", "rollingUpdate": rolling})
    world.run_all()
    most = 4 + (-(-int(str(surge)[:-1]) * 4 // 100) if str(surge).endswith("%") else surge)
    least = 4 - (int(str(unavailable)[:-1]) * 4 // 100 if str(unavailable).endswith("%") else unavailable)
    least -= (most, least) == (4, 4)  # both zero cannot move; Kubernetes then takes one away
    change(world, "two")
    world.settle()
    for _ in range(20):
        alive = world.pods()
        assert len(alive) <= most
        assert sum((p.get("status") or {}).get("phase") == "Running" for p in alive.values()) >= least
        waiting = [n for n, p in alive.items() if "status" not in p]
        if not waiting:
            break
        world.phase(waiting[0], "Running")
    assert images(world) == ["two"] * 4
    assert reason(world, "Progressing") == "NewReplicaSetAvailable"
    assert world.objects[DEPLOYMENT]["metadata"]["annotations"] == {"deployment.kubernetes.io/revision": "2"}


def test_recreate_ends_the_old_pods_first() -> None:
    world = deployment(2, strategy={"type": "Recreate"})
    world.run_all()
    world.lingering = True
    change(world, "two")
    world.settle()
    assert images(world) == ["one", "one"]
    world.finish_terminating()
    assert images(world) == ["two", "two"]


def test_going_back_takes_the_old_replica_set_and_a_new_revision() -> None:
    world = deployment(1)
    world.run_all()
    change(world, "two")
    world.settle()
    world.run_all()
    change(world, "one")
    world.settle()
    world.run_all()
    sets = {s["spec"]["template"]["spec"]["containers"][0]["image"]: s for s in world.list(kinds.REPLICA_SET)}
    assert {i: s["spec"]["replicas"] for i, s in sets.items()} == {"one": 1, "two": 0}
    assert sets["one"]["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "3"


def test_old_replica_sets_are_forgotten() -> None:
    world = deployment(1, revisionHistoryLimit=2)
    world.run_all()
    for image in "abcde":
        change(world, image)
        world.settle()
        world.run_all()
    assert len(world.list(kinds.REPLICA_SET)) == 3


def test_scaling_and_pausing() -> None:
    world = deployment(2)
    world.run_all()
    world.objects[DEPLOYMENT]["spec"]["replicas"] = 5
    world.settle()
    assert len(world.pods()) == 5
    world.objects[DEPLOYMENT]["spec"]["paused"] = True
    change(world, "two")
    world.objects[DEPLOYMENT]["spec"]["replicas"] = 1
    world.settle()
    assert images(world) == ["one"]
    assert [e.message.rsplit(" from ")[1] for e in world.events if e.reason == "ScalingReplicaSet"] == [
        "0 to 2",
        "2 to 5",
        "5 to 1",
    ]


def test_a_rollout_that_gets_nowhere_times_out() -> None:
    world = deployment(1, progressDeadlineSeconds=30)
    world.wait(29)
    assert reason(world, "Progressing") == "ReplicaSetUpdated"
    world.wait(2)
    assert reason(world, "Progressing") == "ProgressDeadlineExceeded"
    world.run_all()
    assert reason(world, "Progressing") == "NewReplicaSetAvailable"


def test_a_pod_counts_as_available_after_min_ready_seconds() -> None:
    world = deployment(1, minReadySeconds=10)
    world.run_all()
    assert "availableReplicas" not in status(world)
    world.wait(11)
    assert status(world)["availableReplicas"] == 1


def test_a_replica_set_replaces_pods_that_end() -> None:
    world = deployment(2)
    world.run_all()
    gone = next(iter(world.pods()))
    world.phase(gone, "Failed")
    assert len(world.pods()) == 3
    world.remove(kinds.POD, gone)
    world.settle()
    assert len(world.pods()) == 2


# --- endpoints


def service(**spec: Any) -> World:
    world = World(*workloads.CONTROLLERS)
    obj = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s"},
        "spec": {"selector": {"app": "a"}, "ports": [{"name": "http", "port": 80, "targetPort": "web"}], **spec},
    }
    world.add(kinds.SERVICE, obj)
    return world


def backend(world: World, name: str, ip: str, *, ready: bool = True, app: str = "a", ports: Obj | None = None) -> None:
    notes = {"jupyterlab-kf.io/ports": json.dumps(ports)} if ports else {}
    container = {"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}
    condition = {"type": "Ready", "status": str(ready)}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": app}, "annotations": notes},
        "spec": {"containers": [container], "nodeName": "n"},
        "status": {"phase": "Running", "podIP": ip, "conditions": [condition]},
    }
    world.add(kinds.POD, pod)
    world.settle()


def test_endpoints_follow_pods() -> None:
    world = service()
    backend(world, "p1", "127.1.0.1")
    backend(world, "p2", "127.1.0.2", ready=False)
    backend(world, "other", "127.1.0.3", app="b")
    (found,) = world.list(kinds.ENDPOINT_SLICE)
    assert found["metadata"]["labels"]["kubernetes.io/service-name"] == "s"
    assert found["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]
    assert [(e["addresses"], e["conditions"]["ready"]) for e in found["endpoints"]] == [
        (["127.1.0.1"], True),
        (["127.1.0.2"], False),
    ]
    world.remove(kinds.POD, "p1")
    world.remove(kinds.POD, "p2")
    world.settle()
    assert world.list(kinds.ENDPOINT_SLICE) == []


def test_a_pod_that_was_given_another_port_has_a_slice_of_its_own() -> None:
    world = service()
    backend(world, "p1", "127.0.0.1", ports={"8080": 40001})
    backend(world, "p2", "127.0.0.1", ports={"8080": 40002})
    backend(world, "p3", "127.0.0.1", ports={"8080": 40002})
    found = {s["ports"][0]["port"]: len(s["endpoints"]) for s in world.list(kinds.ENDPOINT_SLICE)}
    assert found == {40001: 1, 40002: 2}


def test_a_service_without_selector_is_its_owners_business() -> None:
    world = service(selector=None)
    backend(world, "p1", "127.1.0.1")
    assert world.list(kinds.ENDPOINT_SLICE) == []
    assert world.now == START


def test_a_replica_set_of_a_slip_of_the_finger_makes_its_pods_in_bursts() -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"replicas": 2_000_000_000, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    world = World(*workloads.CONTROLLERS)
    world.add(
        kinds.REPLICA_SET, {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "r"}, "spec": spec}
    )
    assert sum(isinstance(action, Create) for action in world.decide()) == 500


def test_a_job_of_a_slip_of_the_finger_makes_its_pods_in_bursts() -> None:
    template = {"metadata": {}, "spec": {"containers": [{"name": "c", "image": "x"}], "restartPolicy": "Never"}}
    for mode in ("Indexed", "NonIndexed"):
        many = {"completions": 2_000_000_000, "parallelism": 2_000_000_000, "completionMode": mode}
        world = World(*workloads.CONTROLLERS)
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "j"},
            "spec": {**many, "template": template},
        }
        world.add(kinds.JOB, job)
        assert sum(isinstance(action, Create) for action in world.decide()) == 500
