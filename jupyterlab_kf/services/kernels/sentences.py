"""What is told of a kernel that waits, or has ended: a sentence, what to do, and whether waiting helps. Pure.

The reasons are those of :mod:`jupyterlab_kf.services.explain`; what to do about them is another thing for a kernel than
for a job: one chooses another hardware profile.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from jupyterlab_kf import kinds, quantities
from jupyterlab_kf.manifests import pods
from jupyterlab_kf.manifests.kernels import CONTAINER
from jupyterlab_kf.model import Cause, Event, Explanation, LogLine, Obj, Phase, Status, meta
from jupyterlab_kf.profiles import Profile
from jupyterlab_kf.services import explain
from jupyterlab_kf.services.explain.failures import exit_meaning
from jupyterlab_kf.services.explain.roots import ERROR
from jupyterlab_kf.services.logs import plain

_ROLE: Final = "kernel"
_LAST: Final = 5
"""Lines of a kernel's output that are shown with the sentence."""
_PATIENCE: Final[Mapping[Cause, float]] = {
    Cause.ADMISSION: 0.0,
    Cause.INVALID: 0.0,
    Cause.QUOTA: 3.0,
    Cause.IMAGE_PULL: 3.0,
    Cause.CANNOT_START: 3.0,
    Cause.CONFIG_MISSING: 3.0,
    Cause.VOLUME_MISSING: 3.0,
    # A cluster that grows by itself says so within seconds.
    Cause.TOO_LARGE: 10.0,
    Cause.NO_MACHINE_ACCEPTS: 10.0,
}
"""Seconds after which a reason that stays is not waited for any longer; what is not here may pass by itself."""
_ANOTHER: Final = "jupyter kf profiles shows the hardware profiles: is another one meant for kernels?"
_LATER: Final = "it starts as soon as there is room; a smaller hardware profile may find some now"
_HINTS: Final[Mapping[Cause, str]] = {
    Cause.TOO_LARGE: "choose another hardware profile: waiting does not help",
    Cause.BUSY: _LATER,
    Cause.INSUFFICIENT: _LATER,
    Cause.IMAGE_PULL: "name another image in the hardware profile; is a pull secret missing?",
    Cause.QUOTA: "end kernels or jobs that are not needed, or choose a smaller hardware profile",
    Cause.OUT_OF_MEMORY: "choose a hardware profile with more memory",
    Cause.CANNOT_START: _ANOTHER,
    Cause.NO_MACHINE_ACCEPTS: _ANOTHER,
}
_ONE: Final[Mapping[str, str]] = {
    "The replicas exceed": "The kernel's pod exceeds",
    "The replicas are": "The kernel's pod is",
    "The replicas": "The kernel's pod",
}
_GROWS: Final = "TriggeredScaleUp"
_STEPS: Final[Mapping[str, str]] = {
    "Scheduled": "it has a place",
    "Pulling": "its image is being fetched",
    "Pulled": "its image is there",
    "Started": "it is starting",
    _GROWS: "a machine is being added, which takes a few minutes",
}


def waiting(made: Obj, pod: Obj | None, events: Sequence[Event], nodes: Sequence[Obj] | None) -> Explanation | None:
    """Why a kernel's pod does not run; None while nothing is in its way.

    Args:
        made: the kernel's Job.
        pod: its pod, if there is one.
        events: of both, oldest first.
        nodes: the cluster's machines; None where they may not be seen.
    """
    return _told(_explained(made, pod, Phase.PENDING, events=events, nodes=nodes), made)


def crashed(made: Obj, pod: Obj | None, events: Sequence[Event], lines: Sequence[str]) -> Explanation:
    """Why a kernel's pod has ended by itself."""
    found = _told(_explained(made, pod, Phase.FAILED, events=events, lines=lines), made)
    return found or Explanation("The kernel's pod has ended, and nothing says why.")


def _explained(
    made: Obj,
    pod: Obj | None,
    phase: Phase,
    *,
    events: Sequence[Event],
    nodes: Sequence[Obj] | None = None,
    lines: Sequence[str] = (),
) -> Explanation | None:
    replica = pods.replica(pod or {"status": {"phase": "Waiting"}}, _ROLE, 0, CONTAINER)
    return explain.explain(
        explain.Case(
            job=_stand_in(made),
            status=Status(phase),
            replicas=[replica],
            pods=[pod] if pod else [],
            events=events,
            tails={replica.name: [LogLine(replica.name, line) for line in lines]},
            nodes=nodes,
        )
    )


def _stand_in(made: Obj) -> Obj:
    """A training job with the kernel's pod as its only replica."""
    head = meta(made)
    return {
        "apiVersion": kinds.PYTORCH_JOB.api_version,
        "kind": kinds.PYTORCH_JOB.kind,
        "metadata": {"name": head.get("name"), "namespace": head.get("namespace"), "uid": head.get("uid")},
        "spec": {"pytorchReplicaSpecs": {"Kernel": {"replicas": 1, "template": made["spec"]["template"]}}},
        "status": {"conditions": []},
    }


def _told(found: Explanation | None, made: Obj) -> Explanation | None:
    if found is None:
        return None
    said = found.sentence.replace(f"{_ROLE}-0", "the kernel")
    for plural, singular in _ONE.items():
        said = said.replace(plural, singular)
    return replace(found, sentence=said[:1].upper() + said[1:], hint=_hint(found, made))


def _hint(found: Explanation, made: Obj) -> str:
    if found.cause in _HINTS:
        return _HINTS[found.cause]
    if found.cause in (Cause.VOLUME_MISSING, Cause.CONFIG_MISSING):
        return found.hint.partition(",")[0]
    # What a job's options are called means nothing to who starts a kernel.
    if "--" in found.hint or "%kf" in found.hint:
        space, name = meta(made).get("namespace", ""), meta(made).get("name", "")
        return f"kubectl -n {space} describe job {name}"
    return found.hint


def hopeless(why: Explanation | None, seconds: float, events: Sequence[Event]) -> bool:
    """Whether a reason that has stood for so long is not worth waiting for."""
    if why is None or why.cause not in _PATIENCE or seconds < _PATIENCE[why.cause]:
        return False
    return not any(event.reason == _GROWS for event in events)


def step(events: Sequence[Event]) -> str:
    """How far a pod has come, by its last event that says so; empty when none does."""
    return next((_STEPS[event.reason] for event in reversed(events) if event.reason in _STEPS), "")


def ended(code: int, lines: Sequence[str], profile: Profile, image: str, *, out_of_memory: bool) -> Explanation:
    """Why a kernel's process has ended while its pod stays.

    Args:
        code: its exit status; minus the signal's number when a signal ended it.
        lines: the last of what it wrote.
        profile: what it runs under.
        image: what it runs in.
        out_of_memory: the system ended a process of the pod because the pod's memory was used up.
    """
    said = _own(lines)
    last = said[-1].strip() if said else ""
    if out_of_memory:
        most = profile.memory.limit or profile.memory.maximum
        limit = quantities.in_words("memory", quantities.parse(most)) if most else "memory"
        return Explanation(
            f"The kernel was ended because it used more than the {limit} of {profile.display_name!r}.",
            "choose a hardware profile with more memory",
            cause=Cause.OUT_OF_MEMORY,
        )
    if "No module named ipykernel" in last:
        return Explanation(
            f"The image {image} has no ipykernel, which runs Python kernels.",
            "name an image that has it in the hardware profile, such as quay.io/jupyter/scipy-notebook",
            cause=Cause.PYTHON_ERROR,
        )
    trace, _ = explain.traceback_in([LogLine(_ROLE, line) for line in said])
    if code > 0 and trace:
        error = next((one for one in reversed(trace.splitlines()) if ERROR.match(one)), last)
        return Explanation(f"The kernel failed: {error}", traceback=trace, cause=Cause.PYTHON_ERROR)
    if code < 0:
        return Explanation(f"The kernel was ended by {_signal(-code)}.", _lines(said), cause=Cause.EXIT_CODE)
    meaning = exit_meaning(code)
    return Explanation(
        f"The kernel ended with exit code {code}{f': {meaning}' if meaning else ''}.",
        _lines(said),
        cause=Cause.EXIT_CODE,
    )


def _own(lines: Sequence[str]) -> list[str]:
    """What the kernel's last run wrote itself, after the words with which ipykernel begins each run."""
    said = [plain(line).rstrip() for line in lines if line.strip()]
    begins = max((place for place, line in enumerate(said) if line.strip().startswith("--existing ")), default=-1)
    return said[begins + 1 :]


def _signal(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    meaning = exit_meaning(128 + number)
    return f"{name}: {meaning}" if meaning else name


def _lines(said: Sequence[str]) -> str:
    return "\n".join(["its last lines:", *said[-_LAST:]]) if said else ""
