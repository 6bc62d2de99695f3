"""apps/v1 Deployment: one ReplicaSet for each pod template, and the way from the old one to the new one.

RollingUpdate keeps within maxSurge and maxUnavailable, Recreate ends the old pods first. Revisions, conditions and
counts are those that ``kubectl rollout`` reads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Controller, Create, Delete, Patch, Requeue, SetStatus, View
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.support import (
    condition,
    emitter,
    name,
    namespace,
    notes,
    owner_reference,
    phase,
    suffix,
    terminating,
    uid,
)
from jupyterlab_kf.model import Obj, format_time, labels, meta, parse_time

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"
_DESIRED = "deployment.kubernetes.io/desired-replicas"
_MAXIMUM = "deployment.kubernetes.io/max-replicas"
_SOURCE = "deployment-controller"
_HISTORY = 10
_PATIENCE = 600


def react(obj: Obj, view: View, now: float) -> list[Action]:
    """What brings a Deployment closer to its goal."""
    return [] if terminating(obj) else _Reaction(obj, view, now).run()


class _Reaction:
    """One look at one Deployment."""

    def __init__(self, obj: Obj, view: View, now: float) -> None:
        self.obj, self.view, self.now = obj, view, now
        self.spec: Obj = obj.get("spec") or {}
        self.replicas = 1 if self.spec.get("replicas") is None else int(self.spec["replicas"])
        self.sets = [s for s in view.owned(kinds.REPLICA_SET, uid(obj)) if not terminating(s)]
        template = _plain(self.spec.get("template") or {})
        self.new = next((s for s in self.sets if _plain(s["spec"].get("template") or {}) == template), None)
        self.old = [s for s in self.sets if s is not self.new]
        self.emit = emitter(kinds.DEPLOYMENT, obj, _SOURCE)
        self.actions: list[Action] = []
        rolling = (self.spec.get("strategy") or {}).get("rollingUpdate") or {}
        self.recreate = (self.spec.get("strategy") or {}).get("type") == "Recreate"
        self.surge = 0 if self.recreate else _share(rolling.get("maxSurge", "25%"), self.replicas, up=True)
        self.unavailable = 0 if self.recreate else _share(rolling.get("maxUnavailable", "25%"), self.replicas, up=False)
        if not self.surge and not self.unavailable:
            self.unavailable = 1
        self.created = False

    def run(self) -> list[Action]:
        if self.spec.get("paused"):
            self._scale_paused()
        else:
            self._revise()
            if self.recreate:
                self._recreate()
            else:
                self._roll()
            self._forget()
        return self._answer()

    def _answer(self) -> list[Action]:
        status = self._status()
        if status == (self.obj.get("status") or {}):
            return self.actions
        return [
            SetStatus(kinds.DEPLOYMENT, namespace(self.obj), name(self.obj), uid(self.obj), status),
            *self.actions,
        ]

    # --- replica sets -------------------------------------------------------------------------------------------

    def _revise(self) -> None:
        """The new template's ReplicaSet has the highest revision, and the Deployment says so."""
        newest = max((_revision(s) for s in self.old), default=0)
        current = _revision(self.new) if self.new else 0
        self.revision = str(current if current > newest else newest + 1)
        if self.new is not None and current <= newest:
            self._patch(self.new, {"metadata": {"annotations": {REVISION: self.revision}}})
        if notes(self.obj).get(REVISION) != self.revision:
            patch = {"metadata": {"annotations": {REVISION: self.revision}}}
            where = (kinds.DEPLOYMENT, namespace(self.obj), name(self.obj), uid(self.obj))
            # By way of the status: written to the object itself, an annotation counts as a change of what it asks for.
            self.actions.append(Patch(*where, patch, subresource="status"))

    def _patch(self, replica_set: Obj, patch: Mapping[str, Any]) -> None:
        where = (kinds.REPLICA_SET, namespace(replica_set), name(replica_set), uid(replica_set))
        self.actions.append(Patch(*where, patch))

    def _scale(self, replica_set: Obj, replicas: int) -> None:
        before = _wanted(replica_set)
        if before == replicas:
            return
        self._patch(replica_set, {"spec": {"replicas": replicas}, "metadata": {"annotations": self._sizes()}})
        self._tell_scaling(name(replica_set), before, replicas)

    def _tell_scaling(self, replica_set: str, before: int, after: int) -> None:
        way = "up" if after > before else "down"
        text = f"Scaled {way} replica set {replica_set} from {before} to {after}"
        self.actions.append(self.emit.normal("ScalingReplicaSet", text))

    def _sizes(self) -> dict[str, str]:
        return {_DESIRED: str(self.replicas), _MAXIMUM: str(self.replicas + self.surge)}

    def _bring_up(self, replicas: int) -> None:
        """Give the new template's ReplicaSet that many replicas, creating it if need be."""
        if self.new is not None:
            self._scale(self.new, replicas)
            return
        template: Obj = copied(self.spec.get("template") or {})
        mark = suffix(json.dumps(template, sort_keys=True), 10)
        own = {**labels(template), HASH: mark}
        template["metadata"] = {**(template.get("metadata") or {}), "labels": own}
        selector = copied(self.spec.get("selector") or {})
        selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH: mark}
        spec = {"replicas": replicas, "selector": selector, "template": template}
        if self.spec.get("minReadySeconds"):
            spec["minReadySeconds"] = self.spec["minReadySeconds"]
        kept = {k: v for k, v in notes(self.obj).items() if not k.startswith(("kubectl.", "deployment."))}
        metadata: Obj = {
            "name": f"{name(self.obj)}-{mark}",
            "namespace": namespace(self.obj),
            "labels": own,
            "annotations": {**kept, **self._sizes(), REVISION: self.revision},
            "ownerReferences": [owner_reference(kinds.DEPLOYMENT, self.obj)],
        }
        obj = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": metadata, "spec": spec}
        self.actions.append(Create(kinds.REPLICA_SET, obj))
        self.created = True
        if replicas:
            self._tell_scaling(metadata["name"], 0, replicas)

    def _recreate(self) -> None:
        for old in self.old:
            self._scale(old, 0)
        leftover = [p for old in self.old for p in self.view.owned(kinds.POD, uid(old))]
        if all(phase(p) in ("Succeeded", "Failed") for p in leftover) and not any(map(_wanted, self.old)):
            self._bring_up(self.replicas)

    def _roll(self) -> None:
        mine = _wanted(self.new) if self.new else 0
        room = self.replicas + self.surge - sum(map(_wanted, self.sets))
        goal = self.replicas if mine > self.replicas else mine + max(0, min(room, self.replicas - mine))
        self._bring_up(goal)
        self._shrink_old(goal)

    def _shrink_old(self, goal: int) -> None:
        """Take away old pods: first those that are not available, then as many as maxUnavailable allows."""
        ready_new = _available(self.new) if self.new else 0
        total = sum(map(_wanted, self.old)) + goal
        least = self.replicas - self.unavailable
        spare = total - least - max(0, goal - ready_new)
        left = {name(s): _wanted(s) for s in self.old}
        for old in sorted(self.old, key=_revision):
            sick = min(max(0, spare), max(0, _wanted(old) - _available(old)))
            left[name(old)] -= sick
            spare -= sick
        healthy = sum(map(_available, self.old)) + ready_new - least
        for old in sorted(self.old, key=_revision):
            fewer = min(left[name(old)], max(0, min(spare, healthy)))
            left[name(old)] -= fewer
            spare, healthy = spare - fewer, healthy - fewer
        for old in self.old:
            self._scale(old, left[name(old)])

    def _scale_paused(self) -> None:
        """A paused Deployment is only resized: the newest ReplicaSet that has pods takes the difference."""
        running = sorted((s for s in self.sets if _wanted(s)), key=_revision)
        target = running[-1] if running else self.new
        if target is not None:
            others = sum(_wanted(s) for s in self.sets if s is not target)
            self._scale(target, max(0, self.replicas - others))

    def _forget(self) -> None:
        limit = self.spec.get("revisionHistoryLimit")
        idle = [s for s in self.old if not _wanted(s) and not (s.get("status") or {}).get("replicas")]
        surplus = len(idle) - (_HISTORY if limit is None else int(limit))
        for old in sorted(idle, key=_revision)[: max(0, surplus)]:
            self.actions.append(Delete(kinds.REPLICA_SET, namespace(old), name(old), uid(old)))

    # --- status -------------------------------------------------------------------------------------------------

    def _status(self) -> Obj:
        states = [s.get("status") or {} for s in self.sets]
        total = sum(int(s.get("replicas") or 0) for s in states)
        ready = sum(int(s.get("readyReplicas") or 0) for s in states)
        available = sum(map(_available, self.sets))
        updated = int(((self.new or {}).get("status") or {}).get("replicas") or 0)
        numbers = {
            "replicas": total,
            "updatedReplicas": updated,
            "readyReplicas": ready,
            "availableReplicas": available,
            "unavailableReplicas": max(0, max(total, self.replicas) - available),
        }
        stored = self.obj.get("status") or {}
        status: Obj = {k: v for k, v in stored.items() if k not in numbers}
        status |= {k: v for k, v in numbers.items() if v}
        status["observedGeneration"] = meta(self.obj).get("generation", 1)
        conditions = [c for c in stored.get("conditions") or () if c["type"] not in ("Available", "Progressing")]
        progress = self._progress(numbers)
        status["conditions"] = [*conditions, self._availability(available), *([progress] if progress else [])]
        return status

    def _availability(self, available: int) -> Obj:
        if available >= self.replicas - self.unavailable:
            return self._condition(
                "Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability."
            )
        text = "Deployment does not have minimum availability."
        return self._condition("Available", "False", "MinimumReplicasUnavailable", text)

    def _condition(self, type_: str, status: str, reason: str, text: str, *, moved: bool = False) -> Obj:
        stored = condition(self.obj.get("status") or {}, type_)
        new = {"type": type_, "status": status, "reason": reason, "message": text}
        if stored and not moved and all(stored.get(k) == v for k, v in new.items()):
            return dict(stored)
        stamp = format_time(self.now)
        since = stored["lastTransitionTime"] if stored and stored["status"] == status else stamp
        return {**new, "lastUpdateTime": stamp, "lastTransitionTime": since}

    def _progress(self, numbers: Mapping[str, int]) -> Obj | None:
        status = self.obj.get("status") or {}
        stored = condition(status, "Progressing")
        if self.spec.get("paused") or (self.new is None and not self.created):
            return dict(stored) if stored else None
        if self.new is None:
            text = f'Created new replica set "{_created_name(self.actions)}"'
            return self._condition("Progressing", "True", "NewReplicaSetCreated", text)
        subject = f'ReplicaSet "{name(self.new)}"'
        complete = (
            numbers["updatedReplicas"] == self.replicas
            and numbers["replicas"] == self.replicas
            and numbers["availableReplicas"] >= self.replicas
        )
        if complete:
            text = f"{subject} has successfully progressed."
            return self._condition("Progressing", "True", "NewReplicaSetAvailable", text)
        fields = ("updatedReplicas", "readyReplicas", "availableReplicas")
        moved = stored is None or any(numbers[f] > int(status.get(f) or 0) for f in fields)
        moved = moved or numbers["replicas"] - numbers["updatedReplicas"] < (
            int(status.get("replicas") or 0) - int(status.get("updatedReplicas") or 0)
        )
        return self._unfinished(stored, subject, moved=moved)

    def _unfinished(self, stored: Mapping[str, Any] | None, subject: str, *, moved: bool) -> Obj:
        patience = self.spec.get("progressDeadlineSeconds")
        patience = _PATIENCE if patience is None else int(patience)
        restarted = stored is not None and stored.get("reason") == "NewReplicaSetAvailable"
        if moved or stored is None or restarted:
            text = f"{subject} is progressing."
            self.actions.append(Requeue(self.now + patience))
            return self._condition("Progressing", "True", "ReplicaSetUpdated", text, moved=True)
        deadline = (parse_time(stored.get("lastUpdateTime")) or self.now) + patience
        if self.now < deadline or stored.get("reason") == "ProgressDeadlineExceeded":
            if self.now < deadline:
                self.actions.append(Requeue(deadline))
            return dict(stored)
        return self._condition(
            "Progressing", "False", "ProgressDeadlineExceeded", f"{subject} has timed out progressing."
        )


def _plain(template: Mapping[str, Any]) -> Obj:
    """A pod template without the label that tells ReplicaSets apart."""
    metadata = dict(template.get("metadata") or {})
    own = {k: v for k, v in (metadata.pop("labels", None) or {}).items() if k != HASH}
    metadata = {k: v for k, v in metadata.items() if v is not None}
    return {**template, "metadata": {**metadata, "labels": own}}


def _wanted(replica_set: Obj) -> int:
    replicas = replica_set["spec"].get("replicas")
    return 1 if replicas is None else int(replicas)


def _available(replica_set: Obj) -> int:
    return int((replica_set.get("status") or {}).get("availableReplicas") or 0)


def _revision(replica_set: Obj) -> int:
    text = notes(replica_set).get(REVISION, "")
    return int(text) if text.isdecimal() else 0


def _created_name(actions: Sequence[Action]) -> str:
    return next(name(a.obj) for a in actions if isinstance(a, Create))


def _share(value: Any, whole: int, *, up: bool) -> int:
    """A number, or a percentage of the whole, rounded up or down."""
    text = str(value)
    if not text.endswith("%"):
        return int(text)
    part = int(text[:-1]) * whole
    return -(-part // 100) if up else part // 100


CONTROLLER = Controller(name=_SOURCE, kind=kinds.DEPLOYMENT, react=react, owns=(kinds.REPLICA_SET,))
