from __future__ import annotations

from typing import Any

import pytest

from jupyterlab_kf.embedded.kubelet.states import (
    Exit,
    Place,
    Record,
    Run,
    Start,
    backoff,
    decide,
    next_start,
    pull_backoff,
    status,
)
from jupyterlab_kf.model import format_time

Obj = dict[str, Any]
HERE = Place("127.0.0.1", "127.3.2.1", sandbox=True)


def pod(policy: str = "Never", *names: str, init: tuple[Obj, ...] = (), **more: Any) -> Obj:
    spec = {"restartPolicy": policy, "containers": [{"name": n, "image": "i"} for n in names or ("main",)]}
    if init:
        spec["initContainers"] = list(init)
    metadata = {"name": "p", "namespace": "ml", "uid": "u", "generation": 2, **more.pop("metadata", {})}
    return {"metadata": metadata, "spec": {**spec, **more.pop("spec", {})}, "status": {"phase": "Pending", **more}}


def ended(code: int, at: float = 100.0, *, number: int = 0, crashes: int = 0, began: float = 99.0) -> Run:
    return Run(number, number, crashes, began, Exit(code, "Completed" if code == 0 else "Error", began, at))


def running(number: int = 0) -> Run:
    return Run(number, number, number, 90.0)


def starts(obj: Obj, records: dict[str, Record], now: float = 100.0) -> list[str]:
    return [s.container for s in decide(obj, records, now).start]


def test_init_containers_in_order_then_all_others_at_once() -> None:
    obj = pod("Never", "a", "b", init=({"name": "i1"}, {"name": "i2"}))
    assert starts(obj, {}) == ["i1"]
    assert starts(obj, {"i1": Record(running())}) == []
    assert starts(obj, {"i1": Record(ended(0))}) == ["i2"]
    done = {"i1": Record(ended(0)), "i2": Record(ended(0))}
    assert starts(obj, done) == ["a", "b"]
    assert starts(obj, {**done, "a": Record(running())}) == ["b"]
    assert starts(obj, {**done, "a": Record(busy=True)}) == ["b"]


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [("Never", 1, False), ("Never", 0, False), ("OnFailure", 0, False), ("OnFailure", 1, True), ("Always", 0, True)],
)
def test_restart_policies(policy: str, code: int, *, again: bool) -> None:
    assert bool(starts(pod(policy), {"main": Record(ended(code))})) is again


def test_a_failed_init_container_is_tried_again_unless_never() -> None:
    for policy, again in (("Never", []), ("OnFailure", ["i"]), ("Always", ["i"])):
        assert starts(pod(policy, init=({"name": "i"},)), {"i": Record(ended(1))}) == again


def test_the_back_off_doubles_to_five_minutes_and_a_long_run_ends_it() -> None:
    assert [backoff(n) for n in range(8)] == [0, 10, 20, 40, 80, 160, 300, 300]
    assert backoff(3, 0.5) == 2.0
    run = ended(1, 100.0, number=3, crashes=3)
    decision = decide(pod("Always"), {"main": Record(run)}, 110.0)
    assert decision.start == ()
    assert (decision.wake, decision.backing_off) == (140.0, {"main": 40.0})
    assert decide(pod("Always"), {"main": Record(run)}, 140.0).start == (Start("main", 4, 4),)
    assert next_start("main", ended(1, 1000.0, number=5, crashes=5, began=100.0)) == Start("main", 6, 1)


def test_a_deleted_pod_stops_and_is_gone_when_nothing_runs() -> None:
    obj = pod(metadata={"deletionTimestamp": format_time(100)})
    assert decide(obj, {"main": Record(running())}, 100).stop == ("main",)
    assert not decide(obj, {"main": Record(running())}, 100).gone
    assert not decide(obj, {"main": Record(busy=True)}, 100).gone
    assert decide(obj, {"main": Record(ended(0))}, 100).gone
    assert decide(obj, {}, 100).gone


def test_the_deadline_wakes_and_then_fails() -> None:
    obj = pod(spec={"activeDeadlineSeconds": 60}, startTime=format_time(1000))
    assert decide(obj, {"main": Record(running())}, 1001).wake == 1060
    late = decide(obj, {"main": Record(running())}, 1060)
    assert late.stop == ("main",)
    assert late.fail
    assert late.fail[0] == "DeadlineExceeded"


def test_a_sidecar_starts_first_and_ends_last() -> None:
    side = {"name": "side", "restartPolicy": "Always"}
    obj = pod(init=(side,))
    assert starts(obj, {}) == ["side"]
    assert starts(obj, {"side": Record(running(), started=False)}) == []
    assert starts(obj, {"side": Record(running())}) == ["main"]
    assert decide(obj, {"side": Record(running()), "main": Record(ended(0))}, 100).stop == ("side",)
    assert starts(obj, {"side": Record(ended(1)), "main": Record(ended(0))}) == []


def phase(obj: Obj, records: dict[str, Record]) -> str:
    return str(status(obj, records, HERE, 100, {})["phase"])


def test_phases() -> None:
    assert phase(pod(), {}) == "Pending"
    assert phase(pod(), {"main": Record(running())}) == "Running"
    assert phase(pod(), {"main": Record(ended(0))}) == "Succeeded"
    assert phase(pod(), {"main": Record(ended(1))}) == "Failed"
    assert phase(pod("OnFailure"), {"main": Record(ended(1))}) == "Running"
    assert phase(pod("Always"), {"main": Record(ended(0))}) == "Running"
    assert phase(pod("Never", "a", "b"), {"a": Record(ended(1)), "b": Record(running())}) == "Running"
    assert phase(pod("Never", "a", "b"), {"a": Record(ended(1)), "b": Record(ended(0))}) == "Failed"
    assert phase(pod(init=({"name": "i"},)), {"i": Record(ended(1))}) == "Failed"
    assert phase(pod(init=({"name": "i"},)), {"i": Record(running())}) == "Pending"


def test_a_final_phase_stays() -> None:
    assert phase(pod(phase="Failed"), {"main": Record(ended(0))}) == "Failed"


def conditions(obj: Obj, records: dict[str, Record]) -> dict[str, tuple[str, str]]:
    new = status(obj, records, HERE, 100, {})
    return {c["type"]: (c["status"], c.get("reason", "")) for c in new["conditions"]}


def test_conditions_and_their_reasons() -> None:
    assert conditions(pod(), {"main": Record(running())}) == {
        "PodReadyToStartContainers": ("True", ""),
        "Initialized": ("True", ""),
        "Ready": ("True", ""),
        "ContainersReady": ("True", ""),
        "PodScheduled": ("True", ""),
    }
    unready = conditions(pod(), {"main": Record(running(), ready=False)})
    assert unready["Ready"] == ("False", "ContainersNotReady")
    assert conditions(pod(init=({"name": "i"},)), {})["Initialized"] == ("False", "ContainersNotInitialized")
    assert conditions(pod(), {"main": Record(ended(0))})["Ready"] == ("False", "PodCompleted")
    assert conditions(pod(), {"main": Record(ended(3))})["ContainersReady"] == ("False", "PodFailed")


def test_a_conditions_time_is_that_of_its_change() -> None:
    first = status(pod(), {"main": Record(running())}, HERE, 100, {})
    second = status({**pod(), "status": first}, {"main": Record(running())}, HERE, 200, {})
    assert second == first


def test_container_states() -> None:
    waiting = status(pod(), {}, Place("127.0.0.1"), 100, {})["containerStatuses"][0]
    assert waiting["state"] == {"waiting": {"reason": "ContainerCreating"}}
    assert (waiting["ready"], waiting["restartCount"], waiting["lastState"]) == (False, 0, {})
    behind = status(pod(init=({"name": "i"},)), {"i": Record(running())}, HERE, 100, {})
    assert behind["containerStatuses"][0]["state"] == {"waiting": {"reason": "PodInitializing"}}
    record = Record(ended(7, number=2), ended(7, number=1))
    back = status(pod("Always"), {"main": record}, HERE, 100, {"main": 80.0})["containerStatuses"][0]
    assert back["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert back["state"]["waiting"]["message"] == "back-off 1m20s restarting failed container=main pod=p_ml(u)"
    assert back["lastState"]["terminated"]["exitCode"] == 7
    assert back["restartCount"] == 2
    assert back["containerID"] == "process://u/main/2"


def test_addresses_and_what_others_wrote_are_kept() -> None:
    new = status(pod(resourceClaimStatuses=[1]), {}, HERE, 100, {})
    assert (new["podIP"], new["podIPs"], new["hostIP"]) == ("127.3.2.1", [{"ip": "127.3.2.1"}], "127.0.0.1")
    assert new["resourceClaimStatuses"] == [1]
    assert new["observedGeneration"] == 2
    assert new["qosClass"] == "BestEffort"


def test_pulls_back_off_from_one_second_to_a_minute() -> None:
    assert [pull_backoff(pulls) for pulls in (0, 1, 2, 5, 6, 50)] == [1, 2, 4, 32, 60, 60]
