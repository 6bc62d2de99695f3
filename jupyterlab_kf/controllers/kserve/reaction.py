"""One look at an InferenceService: what is missing is made, what is not needed goes, and the status says how it is.

Requests are led to a transformer from when it is ready: until then, and when it goes, the predictor answers. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, SetStatus, View
from jupyterlab_kf.controllers.bringing import Bringing, ComponentError, differences, troubles
from jupyterlab_kf.controllers.bringing.conditions import mark
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.kserve import fields
from jupyterlab_kf.controllers.kserve.options import Options
from jupyterlab_kf.controllers.kserve.parts import EXPLAINER, PREDICTOR, TRANSFORMER, Part, address, parts
from jupyterlab_kf.controllers.support import condition, emitter, name, namespace, notes, uid
from jupyterlab_kf.model import Obj, meta

SOURCE: Final = "v1beta1Controllers"
KIND: Final = kinds.INFERENCE_SERVICE
OWNED: Final = (kinds.DEPLOYMENT, kinds.SERVICE, kinds.HORIZONTAL_POD_AUTOSCALER)
_MODE: Final = "serving.kserve.io/deploymentMode"
_STOP: Final = "serving.kserve.io/stop"
_STANDARD: Final = ("", "Standard", "RawDeployment")
_READY: Final = {PREDICTOR: "PredictorReady", TRANSFORMER: "TransformerReady", EXPLAINER: "ExplainerReady"}


@dataclass(frozen=True, slots=True)
class _State:
    """How a part is: whether its newest pods answer, whether they never will, and why not."""

    ready: bool
    stuck: bool = False
    why: str = ""

    @property
    def reason(self) -> str:
        return "" if self.ready else "ProgressDeadlineExceeded" if self.stuck else "MinimumReplicasUnavailable"


class Reaction:
    """What brings one InferenceService closer to what it asks for.

    Args:
        obj: the object.
        view: the cluster.
        now: epoch seconds.
        options: the installation.
    """

    def __init__(self, obj: Obj, view: View, now: float, options: Options) -> None:
        self.obj = {"apiVersion": KIND.api_version, "kind": KIND.kind, **obj}
        self.view, self.now, self.options = view, now, options
        self.status: Obj = copied(obj.get("status") or {})
        self.emit = emitter(KIND, self.obj, SOURCE)
        self.actions: list[Action] = []
        self.bringing = Bringing(self.obj, view, self.actions)

    def run(self) -> list[Action]:
        """The actions; none when all is as it should be."""
        mode = notes(self.obj).get(_MODE, "")
        if mode not in _STANDARD:
            return self._refused(f"the mode {mode} needs KServe itself; here is only Standard")
        if notes(self.obj).get(_STOP, "").lower() == "true":
            return self._stopped()
        try:
            wanted = parts(self.obj, self.options)
            if self.status.get("observedGeneration") != self._generation:
                self._unhonoured(wanted)
            states = {part.component: self._brought(part) for part in wanted}
        except ComponentError as error:
            return self._refused(error.message)
        self._tell(wanted, states)
        self._drop({part.title for part in wanted}, {part.title for part in wanted if part.autoscaler})
        return self._answer()

    @property
    def _generation(self) -> int:
        return int(meta(self.obj).get("generation") or 1)

    def _unhonoured(self, wanted: list[Part]) -> None:
        told = [one for part in wanted for one in part.without]
        for path, why in (*told, *fields.unhonoured(self.obj.get("spec") or {})):
            self.actions.append(self.emit.warning("Unsupported", f"{path} is not honoured: {why}"))

    def _refused(self, why: str) -> list[Action]:
        told = condition(self.status, "Ready")
        if told is None or told.get("message") != why:
            self.actions.append(self.emit.warning("InvalidSpec", why))
        self._said("PredictorReady", "False", "InvalidSpec", why)
        self._said("Ready", "False", "InvalidSpec", why)
        self.status["modelStatus"] = {"transitionStatus": "InvalidSpec", "lastFailureInfo": {"message": why}}
        return self._answer()

    def _stopped(self) -> list[Action]:
        """All of it goes; the object stays, to be started again."""
        self._drop(set(), set())
        why = f"the annotation {_STOP} says so"
        self._said("Stopped", "True", "Stopped", why)
        for one in _READY.values():
            if one == "PredictorReady" or condition(self.status, one):
                self._said(one, "False", "Stopped", why)
        self._said("Ready", "False", "Stopped", why)
        return self._answer()

    def _answer(self) -> list[Action]:
        self.status["observedGeneration"] = self._generation
        if self.status == (self.obj.get("status") or {}):
            return self.actions
        return [*self.actions, SetStatus(KIND, namespace(self.obj), name(self.obj), uid(self.obj), self.status)]

    def _brought(self, part: Part) -> _State:
        """A part's objects, brought to what they should be, and how it is."""

        def differ(wanted: Obj, found: Obj) -> Obj | None:
            return differences.stored(wanted, found, replicas=part.fixed)

        deployment = self.bringing.bring(kinds.DEPLOYMENT, part.deployment, differ)
        service = self.bringing.bring(kinds.SERVICE, part.service)
        if part.autoscaler is not None:
            self.bringing.bring(kinds.HORIZONTAL_POD_AUTOSCALER, part.autoscaler)
        if deployment is None:
            return _State(ready=False)
        said = deployment.get("status") or {}
        current = said.get("observedGeneration") == meta(deployment).get("generation")
        replicas = (deployment.get("spec") or {}).get("replicas")
        wanted = 1 if replicas is None else int(replicas)
        counts = [int(said.get(key) or 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
        # While an older pod is there too, those that are available may be the older ones.
        if current and service is not None and counts == [wanted] * 3:
            return _State(ready=True)
        progress = condition(said, "Progressing")
        stuck = current and progress is not None and progress.get("status") == "False"
        return _State(ready=False, stuck=stuck, why=troubles.of(deployment, self.view))

    def _drop(self, titles: set[str], scaled: set[str]) -> None:
        """Take away what no part needs any more."""
        for kind in OWNED:
            needed = scaled if kind == kinds.HORIZONTAL_POD_AUTOSCALER else titles
            for found in self.bringing.owned(kind):
                if name(found) not in needed:
                    self.bringing.delete(kind, found)

    def _tell(self, wanted: list[Part], states: dict[str, _State]) -> None:
        gone = {"Stopped", *(type_ for component, type_ in _READY.items() if component not in states)}
        if (self.obj.get("spec") or {}).get(EXPLAINER) is not None and EXPLAINER not in states:
            self._said(_READY[EXPLAINER], "False", "Unsupported", "only an explainer that is a container is run")
            gone.discard(_READY[EXPLAINER])
        self.status["conditions"] = [one for one in self.status.get("conditions") or () if one["type"] not in gone]
        for component, state in states.items():
            self._said(_READY[component], "True" if state.ready else "False", state.reason, state.why)
        late = next((component for component, state in states.items() if not state.ready), "")
        worst = states.get(late, _State(ready=True))
        why = f"{late}: {worst.why}" if worst.why and late != PREDICTOR else worst.why
        self._said("Ready", "False" if late else "True", worst.reason, why)
        self._lead(wanted, states)
        predictor = states[PREDICTOR]
        moves = "UpToDate" if predictor.ready else "BlockedByFailedLoad" if predictor.stuck else "InProgress"
        self.status["modelStatus"] = {"transitionStatus": moves}
        if predictor.why:
            self.status["modelStatus"]["lastFailureInfo"] = {"message": predictor.why}

    def _lead(self, wanted: list[Part], states: dict[str, _State]) -> None:
        """Say where it is asked: at the transformer, once that has been ready."""
        urls = {part.component: address(part) for part in wanted}
        self.status |= {"deploymentMode": "Standard", "components": {key: {"url": url} for key, url in urls.items()}}
        entry = urls.get(TRANSFORMER, urls[PREDICTOR])
        waits = TRANSFORMER in states and not states[TRANSFORMER].ready
        if not waits or self.status.get("url") not in urls.values():
            self.status |= {"url": entry, "address": {"url": entry}}

    def _said(self, type_: str, value: str, reason: str, message: str) -> None:
        mark(self.status, type_, value, reason, self.now, message=message)
