from __future__ import annotations

from typing import Any

from jupyterlab_kf.embedded.scheduler import GANG_MINIMUM, GANG_SIZE, JOB_LABEL, Binding, Unschedulable, schedule
from jupyterlab_kf.model import format_time

Obj = dict[str, Any]
TAIL = "no new claims to deallocate, preemption: 0/1 nodes are available: 1"
NO_VICTIMS = f"{TAIL} No preemption victims found for incoming pod."
NO_HELP = f"{TAIL} Preemption is not helpful for scheduling."


def node(name: str = "here", *, spec: Obj | None = None, labels: Obj | None = None, **allocatable: str) -> Obj:
    have = {"cpu": "2", "memory": "4Gi", "pods": "10", **allocatable}
    return {"metadata": {"name": name, "labels": labels or {}}, "spec": spec or {}, "status": {"allocatable": have}}


def pod(name: str, cpu: str = "1", *, age: int = 0, job: str = "", size: int = 0, minimum: int = 0, **more: Any) -> Obj:
    metadata: Obj = {"name": name, "namespace": "ml", "uid": name, "creationTimestamp": format_time(1000 - age)}
    if job:
        metadata["labels"] = {JOB_LABEL: job}
        metadata["annotations"] = {GANG_SIZE: str(size)} | ({GANG_MINIMUM: str(minimum)} if minimum else {})
    requests = {"cpu": cpu, **more.pop("requests", {})}
    spec = {"containers": [{"name": "c", "resources": {"requests": requests}}], **more}
    return {"metadata": metadata, "spec": spec}


def on(name: str, obj: Obj, phase: str = "Running") -> Obj:
    return {**obj, "spec": {**obj["spec"], "nodeName": name}, "status": {"phase": phase}}


def bound(outcomes: list[Binding | Unschedulable]) -> list[str]:
    return [o.pod["metadata"]["name"] for o in outcomes if isinstance(o, Binding)]


def told(outcomes: list[Binding | Unschedulable]) -> dict[str, str]:
    return {o.pod["metadata"]["name"]: o.message for o in outcomes if isinstance(o, Unschedulable)}


def test_what_fits_is_bound_and_what_does_not_waits_in_the_real_words() -> None:
    outcomes = schedule([pod("a"), pod("b", "3"), pod("c", "1500m")], [], [node()], 1000)
    assert bound(outcomes) == ["a"]
    assert told(outcomes) == {
        "b": f"0/1 nodes are available: 1 Insufficient cpu. {NO_HELP}",
        "c": f"0/1 nodes are available: 1 Insufficient cpu. {NO_VICTIMS}",
    }


def test_running_pods_hold_their_requests_and_ended_ones_do_not() -> None:
    busy = on("here", pod("r", "2"))
    assert told(schedule([pod("a")], [busy], [node()], 1000))
    assert bound(schedule([pod("a")], [on("here", pod("r", "2"), "Succeeded")], [node()], 1000)) == ["a"]


def test_extended_resources_and_several_reasons() -> None:
    wants = pod("gpu", "3", requests={"nvidia.com/gpu": "1", "memory": "8Gi"})
    message = told(schedule([wants], [], [node()], 1000))["gpu"]
    assert message == (
        "0/1 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 1 Insufficient nvidia.com/gpu. " + NO_HELP
    )
    assert bound(schedule([pod("g", requests={"nvidia.com/gpu": "1"})], [], [node(**{"nvidia.com/gpu": "1"})], 0))


def test_too_many_pods() -> None:
    message = told(schedule([pod("a", "0")], [on("here", pod("r", "0"))], [node(pods="1")], 1000))["a"]
    assert message == f"0/1 nodes are available: 1 Too many pods. {NO_VICTIMS}"


def test_selectors_affinity_taints_and_cordons() -> None:
    picky = pod("picky", nodeSelector={"gpu": "yes"})
    assert told(schedule([picky], [], [node()], 0))["picky"] == (
        f"0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. {NO_HELP}"
    )
    assert bound(schedule([picky], [], [node(labels={"gpu": "yes"})], 0)) == ["picky"]
    term = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
    rule = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    near = pod("near", affinity={"nodeAffinity": rule})
    assert told(schedule([near], [], [node(labels={"zone": "b"})], 0))
    assert bound(schedule([near], [], [node(labels={"zone": "a"})], 0)) == ["near"]
    tainted = node(spec={"taints": [{"key": "gpu", "value": "x", "effect": "NoSchedule"}]})
    assert "1 node(s) had untolerated taint(s) {gpu: x}." in told(schedule([pod("a")], [], [tainted], 0))["a"]
    tolerant = pod("t", tolerations=[{"key": "gpu", "operator": "Exists"}])
    assert bound(schedule([tolerant], [], [tainted], 0)) == ["t"]
    assert "unschedulable" in told(schedule([pod("a")], [], [node(spec={"unschedulable": True})], 0))["a"]


def test_no_nodes() -> None:
    assert told(schedule([pod("a")], [], [], 0)) == {"a": "no nodes available to schedule pods"}


def test_a_jobs_pods_start_together_or_wait_together() -> None:
    small = [pod(f"s{i}", job="s", size=2) for i in range(2)]
    large = [pod(f"l{i}", job="l", size=3) for i in range(3)]
    assert bound(schedule(small, [], [node()], 0)) == ["s0", "s1"]
    outcomes = schedule(large, [], [node()], 0)
    assert bound(outcomes) == []
    assert len(told(outcomes)) == 3


def test_a_gang_waits_until_all_its_pods_exist() -> None:
    outcomes = schedule([pod("w0", job="j", size=2)], [], [node()], 0)
    assert told(outcomes) == {"w0": "waiting for the other pods of the job: 1 of 2 exist"}


def test_a_gang_with_a_minimum_starts_with_that_many() -> None:
    pods = [pod(f"w{i}", job="j", size=3, minimum=2) for i in range(3)]
    outcomes = schedule(pods, [], [node()], 0)
    assert bound(outcomes) == ["w0", "w1"]
    assert list(told(outcomes)) == ["w2"]


def test_a_pod_made_again_joins_its_job_even_when_others_have_ended() -> None:
    others = [on("here", pod("w0", job="j", size=3)), on("here", pod("ps", job="j", size=3), "Succeeded")]
    assert bound(schedule([pod("w1", job="j", size=3)], others, [node()], 0)) == ["w1"]


def test_a_waiting_job_keeps_younger_ones_from_what_it_lacks_only() -> None:
    running = on("here", pod("r", "1", age=99))
    first = [pod(f"f{i}", job="f", size=2, age=50) for i in range(2)]
    second = pod("young", "500m", age=10)
    modest = pod("modest", "0", age=5, requests={"memory": "1Gi"})
    outcomes = schedule([*first, second, modest], [running], [node()], 1000)
    assert bound(outcomes) == ["modest"]
    assert "an older job waits for it" in told(outcomes)["young"]
    older = pod("again", "1", job="r", size=2, age=1)
    member = on("here", pod("r0", "1", job="r", size=2, age=90))
    assert bound(schedule([*first, older], [member], [node()], 1000)) == ["again"]


def test_a_job_that_no_node_could_ever_hold_blocks_nobody() -> None:
    hopeless = [pod(f"h{i}", "8", job="h", size=2, age=50) for i in range(2)]
    outcomes = schedule([*hopeless, pod("a")], [], [node()], 1000)
    assert bound(outcomes) == ["a"]
    assert "Insufficient cpu" in told(outcomes)["h0"]


def test_a_job_that_can_never_fit_together_blocks_nobody_and_says_so() -> None:
    large = [pod(f"l{i}", job="l", size=3, age=9) for i in range(3)]
    outcomes = schedule([*large, pod("a")], [], [node()], 1000)
    assert bound(outcomes) == ["a"]
    assert told(outcomes)["l0"].endswith("The pods of this job start together, and 3 of them can never fit.")
