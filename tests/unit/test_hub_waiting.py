"""What a person is told while their server starts: the words of training jobs, the line, and when it is given up."""

from __future__ import annotations

from typing import Any

import pytest
from jupyterlab_kf_hub import waiting

from jupyterlab_kf.manifests.capacity import Ground, survey
from jupyterlab_kf.model import Cause, Explanation

UID = "u"
NODE = {"metadata": {"name": "n"}, "status": {"allocatable": {"cpu": "4", "memory": "16Gi", "pods": "110"}}}
BUSY = """0/1 nodes are available: 1 Insufficient cpu. \
preemption: 0/1 nodes are available: 1 No preemption victims found for incoming pod."""


def pod(cpu: str = "2", **status: Any) -> dict[str, Any]:
    container = {"name": "notebook", "image": "lab:1", "resources": {"requests": {"cpu": cpu}}}
    head = {"name": "jupyter-ann", "namespace": "kf-ann", "uid": UID, "creationTimestamp": "2026-01-01T00:00:05Z"}
    return {"metadata": head, "spec": {"containers": [container]}, "status": {"phase": "Pending", **status}}


def event(reason: str, message: str = "", kind: str = "Warning") -> dict[str, Any]:
    about = {"kind": "Pod", "name": "jupyter-ann", "namespace": "kf-ann", "uid": UID}
    return {"reason": reason, "message": message, "type": kind, "involvedObject": about}


def container(reason: str, message: str = "", restarts: int = 0, ended: int | None = None) -> dict[str, Any]:
    last = {"terminated": {"exitCode": ended, "reason": "Error"}} if ended is not None else {}
    state = {"waiting": {"reason": reason, "message": message}}
    return pod(
        containerStatuses=[
            {"name": "notebook", "image": "lab:1", "state": state, "lastState": last, "restartCount": restarts}
        ]
    )


def unplaced(cpu: str = "2") -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": BUSY}
    return pod(cpu, conditions=[condition])


@pytest.mark.parametrize(
    ("seen", "events", "told", "then", "ends"),
    [
        (
            unplaced(),
            [],
            "Your server asks for 2 CPUs, and the only machine does not have that much free now.",
            "It starts as soon as there is room.",
            False,
        ),
        (
            unplaced("8"),
            [],
            "Your server asks for 8 CPUs, and the largest machine has 4 CPUs.",
            "Choose less: waiting does not help.",
            True,
        ),
        (
            container("ErrImagePull"),
            [event("Failed", "Failed to pull image: not found")],
            "Your server waits for its image lab:1, which cannot be pulled: Failed to pull image: not found.",
            "Choose another image, or ask who runs this hub whether the cluster may pull it.",
            False,
        ),
        (
            container("ImagePullBackOff", "Back-off pulling"),
            [],
            "Your server waits for its image lab:1, which cannot be pulled: Back-off pulling.",
            "Choose another image, or ask who runs this hub whether the cluster may pull it.",
            True,
        ),
        (
            container("CreateContainerError", "no such file"),
            [],
            "Your server cannot be started: no such file.",
            "Choose another image; if you chose none, tell who runs this hub.",
            True,
        ),
        (
            container("CrashLoopBackOff", restarts=2, ended=127),
            [],
            "Your server failed and was started again 2 times: exit code 127, the command was not found in the image.",
            "Choose another image; if you chose none, tell who runs this hub.",
            True,
        ),
        (
            pod(),
            [event("FailedMount", 'persistentvolumeclaim "data" not found')],
            "Your server waits for the volume claim 'data', which does not exist.",
            "Choose other hardware or volumes; if you chose none, tell who runs this hub.",
            False,
        ),
        (
            pod(),
            [event("FailedAttachVolume", "Multi-Attach error")],
            "Your server waits for a volume: Multi-Attach error.",
            "If another of your servers has the volume, stop that one first.",
            False,
        ),
    ],
)
def test_why_it_waits(seen: dict[str, Any], events: list[dict[str, Any]], told: str, then: str, *, ends: bool) -> None:
    found = waiting.explained(seen, events, survey([NODE], []))
    assert found is not None
    assert waiting.status(found) == f"{told} {then}"
    assert waiting.hopeless(found, seen, 5.0) is ends
    assert waiting.given_up(found).startswith(told)


def test_what_is_over_is_not_told() -> None:
    gone = event("FailedMount", 'persistentvolumeclaim "data" not found')
    assert waiting.explained(pod(), [gone, event("Pulling", kind="Normal")], Ground()) is None
    assert waiting.explained(pod(), [], Ground()) is None


def test_waiting_ends_where_it_does_not_help() -> None:
    missing = waiting.explained(pod(), [event("FailedMount", 'persistentvolumeclaim "d" not found')], Ground())
    assert waiting.hopeless(missing, pod(), 21.0)
    large = waiting.explained(unplaced("8"), [], survey([NODE], []))
    assert not waiting.hopeless(large, unplaced("8"), 1e6, grows=True)
    once = container("CrashLoopBackOff", restarts=1, ended=1)
    assert not waiting.hopeless(waiting.explained(once, [], Ground()), once, 1e6)
    assert not waiting.hopeless(None, pod(), 1e6)


def test_a_start_that_is_given_up_says_cause_and_next_step() -> None:
    cause = Explanation("your server waits for a volume: busy", cause=Cause.VOLUME_MOUNT)
    assert waiting.given_up(cause, seconds=600) == (
        "It did not start within 10 minutes. Your server waits for a volume: busy. "
        "If another of your servers has the volume, stop that one first."
    )
    assert waiting.given_up(None, "Getting the image.", 60) == (
        "It did not start within 60 seconds. The last that happened: Getting the image. "
        "Try again; if it happens again, tell who runs this hub."
    )


def test_the_line_is_of_those_who_wait_for_the_same() -> None:
    def other(name: str, seconds: int, profile: str = "gpu", **more: Any) -> dict[str, Any]:
        head = {"uid": name, "creationTimestamp": f"2026-01-01T00:00:{seconds:02}Z"}
        head["labels"] = {"jupyterlab-kf.io/profile": profile}
        return {"metadata": head, "spec": more, "status": {"phase": "Pending"}}

    mine = other("m", 5)
    every = [
        mine,
        other("a", 1),
        other("b", 5),
        other("later", 6),
        other("placed", 1, nodeName="n"),
        other("else", 1, "small"),
    ]
    assert waiting.in_line(mine, every, "GPU small") == "It is third in line for GPU small."
    assert waiting.in_line(mine, [mine], "GPU small") == "It is first in line for GPU small."
    crowd = [mine, *(other(f"a{number}", 1) for number in range(11))]
    assert waiting.in_line(mine, crowd, "GPU small") == "It is number 12 in line for GPU small."


@pytest.mark.parametrize(
    ("free", "said"),
    [
        (["Small"], "Small is free now: stop this start and choose it, or wait."),
        (
            ["Small", "Tiny", "Big"],
            "Small, Tiny and Big are free now: stop this start and choose one of them, or wait.",
        ),
    ],
)
def test_what_to_choose_instead(free: list[str], said: str) -> None:
    found = waiting.explained(unplaced(), [], survey([NODE], []))
    assert found is not None
    assert waiting.status(found, "It is second in line for Wide.", free).endswith(
        f"free now. It is second in line for Wide. {said}"
    )


@pytest.mark.parametrize(
    ("one", "said"),
    [
        (event("Scheduled", "x", "Normal"), "A machine was found."),
        (event("FailedScheduling", BUSY), ""),
        (event("FieldNotHonoured", "uid"), ""),
        (event("Evicted", "The node was low on memory."), "The node was low on memory."),
    ],
)
def test_steps_become_sentences(one: dict[str, Any], said: str) -> None:
    assert waiting.sentence(one) == said
