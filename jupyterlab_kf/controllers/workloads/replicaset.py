"""apps/v1 ReplicaSet: keep so many pods of a template alive. Pods that finished or are on their way out do not count.

Only pods that it owns are looked at; nothing is adopted by labels.
"""

from __future__ import annotations

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Controller, Create, Delete, Requeue, SetStatus, View
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.support import (
    BURST,
    active,
    emitter,
    generated_names,
    name,
    namespace,
    notes,
    owner_reference,
    phase,
    ready,
    ready_since,
    terminating,
    uid,
)
from jupyterlab_kf.model import Obj, labels, meta

_SOURCE = "replicaset-controller"


def react(obj: Obj, view: View, now: float) -> list[Action]:
    """What brings a ReplicaSet closer to its goal."""
    if terminating(obj):
        return []
    spec = obj.get("spec") or {}
    wanted = 1 if spec.get("replicas") is None else int(spec["replicas"])
    pods = view.owned(kinds.POD, uid(obj))
    alive = [p for p in pods if active(p)]
    status, later = _status(obj, alive, now)
    actions: list[Action] = []
    if status != (obj.get("status") or {}):
        actions.append(SetStatus(kinds.REPLICA_SET, namespace(obj), name(obj), uid(obj), status))
    emit = emitter(kinds.REPLICA_SET, obj, _SOURCE)
    if len(alive) < wanted:
        missing = min(wanted - len(alive), BURST)
        for new in generated_names(name(obj), uid(obj), map(name, pods), 0, missing):
            actions.append(Create(kinds.POD, _new_pod(obj, new)))
            actions.append(emit.normal("SuccessfulCreate", f"Created pod: {new}"))
    for pod in sorted(alive, key=_worth)[: max(0, len(alive) - wanted)]:
        actions.append(Delete(kinds.POD, namespace(pod), name(pod), uid(pod)))
        actions.append(emit.normal("SuccessfulDelete", f"Deleted pod: {name(pod)}"))
    return actions + ([Requeue(later)] if later is not None else [])


def _status(obj: Obj, alive: list[Obj], now: float) -> tuple[Obj, float | None]:
    """The status, and when a pod that is ready becomes available, if one is on its way there."""
    spec = obj.get("spec") or {}
    patience = float(spec.get("minReadySeconds") or 0)
    since = [at + patience for at in map(ready_since, alive) if at is not None]
    template = labels(spec.get("template") or {})
    numbers = {
        "fullyLabeledReplicas": sum(template.items() <= labels(p).items() for p in alive),
        "readyReplicas": len(since),
        "availableReplicas": sum(at <= now for at in since),
    }
    status: Obj = {k: v for k, v in (obj.get("status") or {}).items() if k not in numbers}
    status["replicas"] = len(alive)
    status |= {k: v for k, v in numbers.items() if v}
    status["observedGeneration"] = meta(obj).get("generation", 1)
    return status, min((at for at in since if at > now), default=None)


def _worth(pod: Obj) -> tuple[bool, bool, bool, float, str]:
    """Whom to miss least comes first: not placed, not running, not ready, ready for the shortest time."""
    placed = bool((pod.get("spec") or {}).get("nodeName"))
    return placed, phase(pod) == "Running", ready(pod), -(ready_since(pod) or 0.0), name(pod)


def _new_pod(obj: Obj, pod: str) -> Obj:
    template = (obj.get("spec") or {}).get("template") or {}
    metadata = {
        "name": pod,
        "namespace": namespace(obj),
        "labels": dict(labels(template)),
        "annotations": dict(notes(template)),
        "ownerReferences": [owner_reference(kinds.REPLICA_SET, obj)],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": copied(template.get("spec") or {})}


CONTROLLER = Controller(name=_SOURCE, kind=kinds.REPLICA_SET, react=react, owns=(kinds.POD,))
