"""What every controller needs and none owns: owner references, pod facts, conditions, generated names, events.

Pure helpers over plain JSON. Nothing here knows a job kind; what a fact means for a kind is decided in its module.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from jupyterlab_kf.controllers import Emit
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, Ref, format_time, meta, parse_time

_EMPTY: Mapping[str, Any] = {}
FINISHED = ("Succeeded", "Failed")
"""Pod phases after which nothing runs any more."""


def owner_reference(kind: Kind, obj: Mapping[str, Any]) -> Obj:
    """The controlling owner reference that dependents of an object carry."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": meta(obj)["name"],
        "uid": meta(obj)["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def uid(obj: Mapping[str, Any]) -> str:
    """``metadata.uid``."""
    return str((obj.get("metadata") or _EMPTY).get("uid") or "")


def name(obj: Mapping[str, Any]) -> str:
    """``metadata.name``."""
    return str((obj.get("metadata") or _EMPTY).get("name") or "")


def namespace(obj: Mapping[str, Any]) -> str:
    """``metadata.namespace``."""
    return str((obj.get("metadata") or _EMPTY).get("namespace") or "")


def notes(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """``metadata.annotations``, or an empty mapping."""
    return meta(obj).get("annotations") or {}


def is_owned(obj: Mapping[str, Any], owner: str) -> bool:
    """Whether the controlling owner reference names that uid."""
    return any(o.get("controller") and o.get("uid") == owner for o in meta(obj).get("ownerReferences") or ())


def emitter(kind: Kind, obj: Mapping[str, Any], source: str) -> Emitter:
    """A maker of events about one object."""
    ref = Ref(kind=kind.kind, name=name(obj), namespace=namespace(obj), uid=uid(obj))
    return Emitter(ref, kind.api_version, source)


class Emitter:
    """Makes events about one object from one source."""

    def __init__(self, ref: Ref, api_version: str, source: str) -> None:
        self._ref, self._api_version, self._source = ref, api_version, source

    def normal(self, reason: str, message: str) -> Emit:
        """An event of type Normal."""
        return Emit(self._ref, self._api_version, "Normal", reason, message, self._source)

    def warning(self, reason: str, message: str) -> Emit:
        """An event of type Warning."""
        return Emit(self._ref, self._api_version, "Warning", reason, message, self._source)


def phase(pod: Mapping[str, Any]) -> str:
    """A pod's phase; Pending when the node has not said anything yet."""
    return str((pod.get("status") or {}).get("phase") or "Pending")


def terminating(obj: Mapping[str, Any]) -> bool:
    """Whether deletion has been asked for."""
    return bool((obj.get("metadata") or _EMPTY).get("deletionTimestamp"))


def active(pod: Mapping[str, Any]) -> bool:
    """Whether a pod runs or will run: neither finished nor on its way out."""
    return phase(pod) not in FINISHED and not terminating(pod)


def ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod's Ready condition is true."""
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in _status_list(pod, "conditions"))


def ready_since(pod: Mapping[str, Any]) -> float | None:
    """When a pod became ready, or None while it is not."""
    for condition in _status_list(pod, "conditions"):
        if condition.get("type") == "Ready" and condition.get("status") == "True":
            return parse_time(condition.get("lastTransitionTime")) or 0.0
    return None


def restarts(pod: Mapping[str, Any]) -> int:
    """How often the node has restarted a pod's containers, init containers included."""
    fields = ("initContainerStatuses", "containerStatuses")
    return sum(int(s.get("restartCount") or 0) for field in fields for s in _status_list(pod, field))


def exit_code(pod: Mapping[str, Any], container: str) -> int | None:
    """Exit code of a terminated container; of the first one when the pod has none of that name; None if unknown."""
    statuses = _status_list(pod, "containerStatuses")
    chosen = [s for s in statuses if s.get("name") == container] or statuses[:1]
    for status in chosen:
        terminated = (status.get("state") or {}).get("terminated")
        if terminated is not None:
            return int(terminated.get("exitCode", 0))
    return None


def running_since(pod: Mapping[str, Any], container: str) -> float | None:
    """When the container that runs now was started; of the first one when the pod has none of that name; else None."""
    statuses = _status_list(pod, "containerStatuses")
    chosen = [s for s in statuses if s.get("name") == container] or statuses[:1]
    started = [(s.get("state") or {}).get("running") for s in chosen]
    return next((parse_time(s.get("startedAt")) or 0.0 for s in started if s is not None), None)


def finished_at(pod: Mapping[str, Any]) -> float | None:
    """When the last of a pod's containers ended, or None when no container says so."""
    times = [
        parse_time(((s.get("state") or {}).get("terminated") or {}).get("finishedAt"))
        for s in _status_list(pod, "containerStatuses")
    ]
    return max((t for t in times if t is not None), default=None)


def _status_list(pod: Mapping[str, Any], field: str) -> list[Mapping[str, Any]]:
    return (pod.get("status") or {}).get(field) or []


def condition(status: Mapping[str, Any], type_: str) -> Mapping[str, Any] | None:
    """The condition of that type, or None."""
    return next((c for c in status.get("conditions") or () if c.get("type") == type_), None)


def is_true(status: Mapping[str, Any], type_: str) -> bool:
    """Whether the condition of that type is there and true."""
    found = condition(status, type_)
    return found is not None and found.get("status") == "True"


def matches(selector: Mapping[str, str], have: Mapping[str, str]) -> bool:
    """Whether labels have every pair of an equality selector; an empty selector matches nothing."""
    return bool(selector) and selector.items() <= have.items()


def event_of(emit: Emit, namespace: str, now: float, mark: str) -> Obj:
    """The first Event of its kind; ``mark`` tells two of one instant apart."""
    about = emit.about
    reference: Obj = {"kind": about.kind, "name": about.name, "uid": about.uid}
    reference |= {"namespace": about.namespace} if about.namespace else {}
    return {
        "metadata": {"name": f"{about.name}.{int(now * 1e9):x}{mark}", "namespace": namespace},
        "involvedObject": {**reference, "apiVersion": emit.api_version},
        "reason": emit.reason,
        "message": emit.message,
        "source": {"component": emit.source},
        "firstTimestamp": format_time(now),
        "lastTimestamp": format_time(now),
        "count": 1,
        "type": emit.type,
        "eventTime": None,
        "reportingComponent": emit.source,
        "reportingInstance": "",
    }


BURST = 500
"""How many pods a ReplicaSet or a Job makes at one look, as in Kubernetes: a slip of the finger leaves time to undo."""

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""The characters that Kubernetes generates names from: no vowels, so no words."""


def suffix(seed: str, length: int = 5) -> str:
    """A name suffix that looks generated, but is decided by the seed so that a repeated decision is the same one."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:16], "big")
    out = []
    for _ in range(length):
        number, index = divmod(number, len(_ALPHABET))
        out.append(_ALPHABET[index])
    return "".join(out)


def generated_names(base: str, seed: str, taken: Iterable[str], start: int, count: int) -> list[str]:
    """``count`` names ``base-xxxxx`` that are not taken; equal input gives equal names."""
    used, found, step = set(taken), list[str](), start
    while len(found) < count:
        candidate = f"{base}-{suffix(f'{seed}/{base}/{step}')}"
        step += 1
        if candidate not in used:
            used.add(candidate)
            found.append(candidate)
    return found
