"""What a person is told while their server starts: sentences from pods and events, and when to give up early. Pure.

Why a server does not start is found by the rules for training jobs (`jupyterlab_kf.services.explain`), so that the same
situation has the same words everywhere. Owned here: what is told of ordinary steps, what to do next on a hub, how far
from the front of the line a server is, and which causes waiting does not cure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.manifests import pods
from jupyterlab_kf.manifests.capacity import Ground
from jupyterlab_kf.manifests.kernels import LABEL_PROFILE
from jupyterlab_kf.model import Cause, Explanation, Phase, Status, labels, meta
from jupyterlab_kf.services.explain import Case, decode_event, explain

_STEPS: Final[Mapping[str, str]] = {
    "Scheduled": "A machine was found.",
    "SuccessfulAttachVolume": "The workspace is attached.",
    "Pulling": "Getting the image.",
    "Pulled": "The image is there.",
    "Created": "Starting JupyterLab.",
    "Started": "JupyterLab starts up.",
    "TriggeredScaleUp": "A machine is being added; this takes a few minutes.",
    "NotTriggerScaleUp": "No machine can be added that would fit.",
}
_TOLD: Final = ("Unhealthy", "Evicted")
"""Warnings whose own words say it best."""
_MOUNTED: Final = ("Pulling", "Pulled", "Created", "Started")
"""What happens after all volumes are there: what was said of them before is over."""
_OF_VOLUMES: Final = ("FailedMount", "FailedAttachVolume")
FULL: Final = (Cause.BUSY, Cause.INSUFFICIENT, Cause.UNSCHEDULABLE)
"""It would start if others had less."""
_NEXT: Final[Mapping[Cause, str]] = {
    Cause.IMAGE_PULL: "Choose another image, or ask who runs this hub whether the cluster may pull it.",
    Cause.CANNOT_START: "Choose another image; if you chose none, tell who runs this hub.",
    Cause.CRASH_LOOP: "Choose another image; if you chose none, tell who runs this hub.",
    Cause.OUT_OF_MEMORY: "Choose hardware with more memory.",
    Cause.TOO_LARGE: "Choose less: waiting does not help.",
    Cause.NO_MACHINE_ACCEPTS: "Choose other hardware, or ask who runs this hub which machines are meant for it.",
    Cause.VOLUME_MISSING: "Choose other hardware or volumes; if you chose none, tell who runs this hub.",
    Cause.VOLUME_PROVISIONING: "Choose a volume that is there, or ask who runs this hub.",
    Cause.VOLUME_MOUNT: "If another of your servers has the volume, stop that one first.",
    Cause.CONFIG_MISSING: "Choose other hardware, and tell who runs this hub.",
    Cause.GANG_WAITING: "Ask who runs this hub which queue it is in.",
}
_ELSE: Final = "Try again; if it happens again, tell who runs this hub."
_FINAL: Final = (
    "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError", "CreateContainerError",
    "RunContainerError",
)  # fmt: skip
"""A kubelet's reasons to wait that do not pass by themselves; after ErrImagePull it tries once more."""
_MISSING: Final = (Cause.VOLUME_MISSING, Cause.CONFIG_MISSING)
_GRACE: Final = 20.0
"""Seconds in which what a pod needs may still come to be known to its machine."""
_ENOUGH: Final = 2
"""Ends of a program after which a third start is no better."""
_ORDINALS: Final = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")


def sentence(event: Mapping[str, Any]) -> str:
    """A step in words; empty where it says nothing to a person, or where :func:`explained` says it."""
    reason = str(event.get("reason") or "")
    return _STEPS.get(reason) or (str(event.get("message") or "") if reason in _TOLD else "")


def explained(pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]], ground: Ground) -> Explanation | None:
    """Why a server does not run yet, if there is more to say than that it is about to.

    Args:
        pod: the server's.
        events: of the pod, oldest first.
        ground: the machines; none where they cannot be seen.
    """
    mounted = any(one.get("reason") in _MOUNTED for one in events)
    heard = [one for one in events if not (mounted and one.get("reason") in _OF_VOLUMES)]
    nodes = [
        {
            "metadata": {"name": one.name, "labels": dict(one.labels)},
            "spec": {"taints": list(one.taints)},
            "status": {"allocatable": {name: f"{value:f}" for name, value in one.has.items()}},
        }
        for one in ground.machines
    ]
    stand_in = {
        "kind": kinds.PYTORCH_JOB.kind,
        "metadata": {key: meta(pod).get(key) for key in ("name", "namespace")},
        "spec": {"pytorchReplicaSpecs": {"Worker": {"template": {"spec": pod.get("spec") or {}}}}},
    }
    case = Case(
        job=stand_in,
        status=Status(Phase.PENDING),
        replicas=[pods.replica(pod, "your server", -1, "notebook")],
        pods=[pod],
        events=[decode_event(one) for one in heard],
        nodes=nodes or None,
        noun="server",
    )
    return explain(case)


def said(found: Explanation) -> str:
    """The cause as a sentence of its own."""
    text = found.sentence.strip()
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def following(found: Explanation | None) -> str:
    """What to do about it on a hub."""
    return _NEXT.get(found.cause, _ELSE) if found else _ELSE


def status(found: Explanation, line: str = "", free: Sequence[str] = ()) -> str:
    """What to tell whoever waits.

    Args:
        found: why.
        line: how far from the front it is.
        free: the names of hardware that would start now.
    """
    if found.cause not in FULL:
        return f"{said(found)} {following(found)}"
    instead = "It starts as soon as there is room."
    if free:
        verb, one = ("is", "it") if len(free) == 1 else ("are", "one of them")
        instead = f"{_listed(free)} {verb} free now: stop this start and choose {one}, or wait."
    return " ".join(part for part in (said(found), line, instead) if part)


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def in_line(pod: Mapping[str, Any], every: Iterable[Mapping[str, Any]], name: str) -> str:
    """``It is third in line for GPU small.``: among the hub's servers with the same hardware that have no machine."""
    mine = (str(meta(pod).get("creationTimestamp") or ""), str(meta(pod).get("uid") or ""))
    slug = labels(pod).get(LABEL_PROFILE)
    ahead = sum(
        (str(meta(one).get("creationTimestamp") or ""), str(meta(one).get("uid") or "")) < mine
        for one in every
        if labels(one).get(LABEL_PROFILE) == slug and _waits(one)
    )
    place = _ORDINALS[ahead] if ahead < len(_ORDINALS) else f"number {ahead + 1}"
    return f"It is {place} in line for {name}."


def _waits(pod: Mapping[str, Any]) -> bool:
    alive = (pod.get("status") or {}).get("phase") == "Pending" and "deletionTimestamp" not in meta(pod)
    return alive and not (pod.get("spec") or {}).get("nodeName")


def hopeless(found: Explanation | None, pod: Mapping[str, Any], waited: float, *, grows: bool = False) -> bool:
    """Whether it will not start however long one waits.

    Args:
        found: why it does not run.
        pod: the server's.
        waited: seconds since it was first seen, with a cluster that is there.
        grows: the cluster adds machines, perhaps larger ones.
    """
    current = pods.main_status(pod, "notebook")
    waiting = (current.get("state") or {}).get("waiting") or {}
    if waiting.get("reason") in _FINAL:
        return True
    if found is None:
        return False
    if found.cause is Cause.TOO_LARGE:
        return not grows
    if found.cause in (Cause.CRASH_LOOP, Cause.OUT_OF_MEMORY):
        return int(current.get("restartCount") or 0) >= _ENOUGH
    return found.cause in _MISSING and waited > _GRACE


def given_up(found: Explanation | None, last: str = "", seconds: float = 0.0) -> str:
    """How a start ends that failed: the cause and what to do next.

    Args:
        found: the cause, as far as it is known.
        last: the last step that was told.
        seconds: after how long it was given up; 0 when it need not be waited for.
    """
    parts = [f"It did not start within {_time(seconds)}."] if seconds else []
    if found is not None:
        parts.append(said(found))
    elif last:
        parts.append(f"The last that happened: {last}")
    return " ".join([*parts, following(found)])


def _time(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004  two minutes
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes"
