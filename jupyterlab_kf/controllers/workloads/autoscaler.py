"""autoscaling/v2 HorizontalPodAutoscaler: as many replicas as metrics ask for, between the least and the most.

What pods use and count is asked of who measures them (a :class:`Consult`, whose question names the pods); what follows
from it is in :mod:`.recommending`. A metric that nothing measures is told in the conditions, as on a cluster without a
metrics server, and then takes nothing away; the bounds are kept in any case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.controllers import Action, Consult, Controller, Key, Patch, Requeue, SetStatus, View
from jupyterlab_kf.controllers.support import (
    active,
    condition,
    emitter,
    matches,
    name,
    namespace,
    notes,
    ready,
    terminating,
    uid,
)
from jupyterlab_kf.controllers.workloads import recommending
from jupyterlab_kf.controllers.workloads.recommending import Memory, Reading, UnmeasuredError
from jupyterlab_kf.model import Obj, format_time, labels, meta

_SOURCE: Final = "horizontal-pod-autoscaler"
_TARGETS: Final = {kind.kind: kind for kind in (kinds.DEPLOYMENT, kinds.REPLICA_SET)}
_PERIOD: Final = 5.0
"""Seconds between two looks. A real one takes 15: its measurements come from far."""
_REMEMBERED: Final = f"{names.DOMAIN}/recommendations"
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
        self._mark("AbleToScale", "True", "SucceededGetScale", _GOT)
        least = self.spec.get("minReplicas")
        least = 1 if least is None else int(least)
        most = int(self.spec.get("maxReplicas") or least)
        if have == 0 and least != 0:
            said = "scaling is disabled since the replica count of the target is zero"
            self._mark("ScalingActive", "False", "ScalingDisabled", said)
            self.status["desiredReplicas"] = 0
            return self._answer()
        if have > most:
            return self._scale(target, kind, most, "Current number of replicas above Spec.MaxReplicas")
        if have < least:
            return self._scale(target, kind, least, "Current number of replicas below Spec.MinReplicas")
        self.status["desiredReplicas"] = have
        return [self._question(target, kind, have, (least, most)), Requeue(self.now + _PERIOD)]

    def _scale(self, target: Obj, kind: kinds.Kind, wanted: int, why: str) -> list[Action]:
        self.status["desiredReplicas"] = wanted
        place = (kind, namespace(target), name(target), uid(target))
        self.actions.append(Patch(*place, {"spec": {"replicas": wanted}}))
        self.actions.append(self.emit.normal("SuccessfulRescale", f"New size: {wanted}; reason: {why}"))
        self.status["lastScaleTime"] = format_time(self.now)
        return self._answer()

    # --- what metrics say ---------------------------------------------------------------------------------------------

    def _question(self, target: Obj, kind: kinds.Kind, have: int, bounds: tuple[int, int]) -> Consult:
        """What its pods use, and what then is to be done."""
        pods = self._pods(target)
        metrics = self.spec.get("metrics") or []
        asked = {
            "pods": [[namespace(pod), name(pod), uid(pod)] for pod in pods if ready(pod)],
            "rates": recommending.question(metrics),
        }

        def then(answer: Mapping[str, Any]) -> list[Action]:
            return self._follow(target, kind, have, bounds, pods, answer["pods"])

        return Consult({"measure": asked}, then)

    def _pods(self, target: Obj) -> list[Obj]:
        chosen = (target["spec"].get("selector") or {}).get("matchLabels") or {}
        found = self.view.list(kinds.POD, namespace(target)) if chosen else []
        return [pod for pod in found if matches(chosen, labels(pod)) and active(pod) and not terminating(pod)]

    def _follow(  # noqa: PLR0917  one look
        self,
        target: Obj,
        kind: kinds.Kind,
        have: int,
        bounds: tuple[int, int],
        pods: list[Obj],
        measured: Mapping[str, Mapping[str, Any]],
    ) -> list[Action]:
        readings, missing = self._readings(pods, measured, have)
        if not readings:
            self._unmeasured(missing)
            return self._answer()
        first = max(readings, key=lambda one: one.replicas)
        if missing and first.replicas < have:  # who is not heard may need what would be taken away
            self._unmeasured(missing)
            return self._answer()
        said = f"the HPA was able to successfully calculate a replica count from {first.why.partition(' ')[0]}"
        self._mark("ScalingActive", "True", "ValidMetricFound", said)
        self.status["currentMetrics"] = [one.current for one in readings]
        behavior = self.spec.get("behavior") or {}
        before = Memory.parse(notes(self.obj).get(_REMEMBERED, ""))
        memory = before.noting(self.now, first.replicas, behavior)
        steady = recommending.stabilised(memory, self.now, first.replicas, have, behavior)
        within = min(max(steady, bounds[0]), bounds[1])
        wanted = recommending.limited(memory, self.now, within, have, behavior)
        self._tell_bounds(first.replicas, steady, bounds)
        if wanted != have:
            memory = memory.with_scale(self.now, wanted - have, behavior)
        if memory != before:
            patch = {"metadata": {"annotations": {_REMEMBERED: memory.dump()}}}
            place = (kinds.HORIZONTAL_POD_AUTOSCALER, namespace(self.obj), name(self.obj), uid(self.obj))
            self.actions.append(Patch(*place, patch))
        if wanted == have:
            return self._answer()
        return self._scale(target, kind, wanted, first.why if wanted > have else "All metrics below target")

    def _readings(
        self, pods: list[Obj], measured: Mapping[str, Mapping[str, Any]], have: int
    ) -> tuple[list[Reading], list[str]]:
        readings: list[Reading] = []
        missing: list[str] = []
        for metric in self.spec.get("metrics") or ():
            try:
                readings.append(recommending.read(metric, pods, measured, have))
            except UnmeasuredError as error:
                missing.append(str(error))
        return readings, missing

    def _tell_bounds(self, asked: int, steady: int, bounds: tuple[int, int]) -> None:
        if steady > asked:
            said = "recent recommendations were higher than current one, applying the highest recent recommendation"
            self._mark("AbleToScale", "True", "ScaleDownStabilized", said)
        if steady > bounds[1]:
            said = "the desired replica count is more than the maximum replica count"
            self._mark("ScalingLimited", "True", "TooManyReplicas", said)
        elif steady < bounds[0]:
            said = "the desired replica count is less than the minimum replica count"
            self._mark("ScalingLimited", "True", "TooFewReplicas", said)
        else:
            said = "the desired count is within the acceptable range"
            self._mark("ScalingLimited", "False", "DesiredWithinRange", said)

    def _unmeasured(self, missing: list[str]) -> None:
        """Say that what is asked to be measured is not."""
        why = f"the HPA was unable to compute the replica count: {'; '.join(missing)}"
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
