"""autoscaling/v2 HorizontalPodAutoscaler: replicas are kept between the least and the most that are asked for.

Nothing here measures what metrics ask for, and the object says so, in the conditions of a real autoscaler on a cluster
without a metrics server: it too keeps the bounds, and leaves the number between them alone. No metric is ignored in
silence, and a number that somebody chose by hand within the bounds stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Controller, Key, Patch, SetStatus, View
from jupyterlab_kf.controllers.support import condition, emitter, name, namespace, terminating, uid
from jupyterlab_kf.model import Obj, format_time, meta

_SOURCE: Final = "horizontal-pod-autoscaler"
_TARGETS: Final = {kind.kind: kind for kind in (kinds.DEPLOYMENT, kinds.REPLICA_SET)}
_GOT: Final = "the HPA controller was able to get the target's current scale"


def react(obj: Obj, view: View, now: float) -> list[Action]:
    """What brings the target's replicas within the bounds."""
    return [] if terminating(obj) else _Reaction(obj, view, now).run()


class _Reaction:
    """One look at one autoscaler."""

    def __init__(self, obj: Obj, view: View, now: float) -> None:
        self.obj, self.view, self.now = obj, view, now
        self.spec: Obj = obj.get("spec") or {}
        stored = obj.get("status") or {}
        self.status: Obj = {**stored, "conditions": list(stored.get("conditions") or ())}
        self.actions: list[Action] = []
        self.emit = emitter(kinds.HORIZONTAL_POD_AUTOSCALER, obj, _SOURCE)

    def run(self) -> list[Action]:
        ref = self.spec.get("scaleTargetRef") or {}
        kind = _TARGETS.get(str(ref.get("kind")))
        target = self.view.get(kind, namespace(self.obj), str(ref.get("name"))) if kind else None
        if kind is None or target is None:
            why = f"the HPA controller was unable to get the target's current scale: {_named(ref)} not found"
            if self._mark("AbleToScale", "False", "FailedGetScale", why):
                self.actions.append(self.emit.warning("FailedGetScale", f"{_named(ref)} not found"))
            return self._answer()
        have = target["spec"].get("replicas")
        have = 1 if have is None else int(have)
        self.status["currentReplicas"] = int((target.get("status") or {}).get("replicas") or 0)
        self.status["observedGeneration"] = meta(self.obj).get("generation", 1)
        wanted, why = self._decide(have)
        self.status["desiredReplicas"] = wanted
        if wanted != have:
            place = (kind, namespace(target), name(target), uid(target))
            self.actions.append(Patch(*place, {"spec": {"replicas": wanted}}))
            self.actions.append(self.emit.normal("SuccessfulRescale", f"New size: {wanted}; reason: {why}"))
            self.status["lastScaleTime"] = format_time(self.now)
        return self._answer()

    def _decide(self, have: int) -> tuple[int, str]:
        """How many replicas there should be, and why."""
        least = self.spec.get("minReplicas")
        least = 1 if least is None else int(least)
        most = int(self.spec.get("maxReplicas") or least)
        self._mark("AbleToScale", "True", "SucceededGetScale", _GOT)
        if have == 0 and least != 0:
            said = "scaling is disabled since the replica count of the target is zero"
            self._mark("ScalingActive", "False", "ScalingDisabled", said)
            return 0, ""
        self._unmeasured()
        if have > most:
            return most, "Current number of replicas above Spec.MaxReplicas"
        if have < least:
            return least, "Current number of replicas below Spec.MinReplicas"
        return have, ""

    def _unmeasured(self) -> None:
        """Say that what is asked to be measured is not."""
        asked = ", ".join(_metric(one) for one in self.spec.get("metrics") or ()) or "cpu"
        why = f"the HPA was unable to compute the replica count: nothing on this cluster measures {asked}"
        if self._mark("ScalingActive", "False", "FailedGetResourceMetric", why):
            self.actions.append(self.emit.warning("FailedGetResourceMetric", why))

    def _mark(self, type_: str, state: str, reason: str, message: str) -> bool:
        """Set a condition; whether that changed anything."""
        new = {"type": type_, "status": state, "reason": reason, "message": message}
        have = condition(self.status, type_)
        if have is not None and all(have.get(key) == value for key, value in new.items()):
            return False
        since = have["lastTransitionTime"] if have and have.get("status") == state else format_time(self.now)
        others = [one for one in self.status["conditions"] if one["type"] != type_]
        self.status["conditions"] = [*others, {**new, "lastTransitionTime": since}]
        return True

    def _answer(self) -> list[Action]:
        if self.status == (self.obj.get("status") or {}):
            return self.actions
        place = (kinds.HORIZONTAL_POD_AUTOSCALER, namespace(self.obj), name(self.obj), uid(self.obj))
        return [*self.actions, SetStatus(*place, self.status)]


def _named(ref: Mapping[str, Any]) -> str:
    return f'{ref.get("kind", "")} "{ref.get("name", "")}"'


def _metric(metric: Mapping[str, Any]) -> str:
    """What one metric measures, in a word."""
    source = str(metric.get("type", ""))
    told = metric.get(source[:1].lower() + source[1:]) or {}
    return str(told.get("name") or (told.get("metric") or {}).get("name") or source)


def _of_target(target: Obj, view: View) -> list[Key]:
    """The autoscalers of a Deployment or ReplicaSet."""
    found = view.list(kinds.HORIZONTAL_POD_AUTOSCALER, namespace(target))
    refs = ((one, (one.get("spec") or {}).get("scaleTargetRef") or {}) for one in found)
    return [(namespace(one), name(one)) for one, ref in refs if ref.get("name") == name(target)]


CONTROLLER: Final = Controller(
    name=_SOURCE,
    kind=kinds.HORIZONTAL_POD_AUTOSCALER,
    react=react,
    watches={kinds.DEPLOYMENT: _of_target, kinds.REPLICA_SET: _of_target},
)
