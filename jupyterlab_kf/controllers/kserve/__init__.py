"""KServe's controller for InferenceServices in its mode Standard: a Deployment, a Service, and the status. Pure.

A predictor is served: a model of a format, or a container of one's own. Names, labels and ports are those of KServe.
What is not made (transformers, explainers, canaries, autoscaling, addresses outside the cluster) is a Warning event on
the object. Images are names here, as everywhere: what they stand for is known to who runs them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Controller, Create, Key, Patch, SetStatus, View
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.kserve import pods
from jupyterlab_kf.controllers.kserve.pods import Options
from jupyterlab_kf.controllers.seldon import conditions, differences, troubles
from jupyterlab_kf.controllers.seldon.faults import ComponentError
from jupyterlab_kf.controllers.support import condition, emitter, is_owned, name, namespace, notes, terminating, uid
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, labels, meta

__all__ = ["LABEL", "Options", "controller"]

SOURCE: Final = "v1beta1Controllers"
LABEL: Final = pods.LABEL
KIND: Final = kinds.INFERENCE_SERVICE
_MODE: Final = "serving.kserve.io/deploymentMode"
_STANDARD: Final = ("", "Standard", "RawDeployment")
_UNMADE: Final[Mapping[str, str]] = {
    "transformer": "requests go to the predictor as they are",
    "explainer": "nothing explains predictions",
    "canary": "all requests go to the predictor",
}
_UNMADE_OF_PREDICTOR: Final[Mapping[str, str]] = {
    "canaryTrafficPercent": "it counts with Knative only",
    "maxReplicas": "there are as many replicas as minReplicas says",
    "scaleMetric": "nothing is scaled",
    "scaleTarget": "nothing is scaled",
    "autoScaling": "nothing is scaled",
    "batcher": "requests are not joined",
    "logger": "no copies are sent",
    "workerSpec": "a model is served by one machine",
}


def controller(options: Options) -> Controller:
    """The controller for one installation."""

    def react(obj: Obj, view: View, now: float) -> list[Action]:
        return [] if terminating(obj) else _Reaction(obj, view, now, options).run()

    def of_pod(pod: Obj, _view: View) -> list[Key]:
        """Whose pod it is: the status tells why one is not ready."""
        title = labels(pod).get(LABEL)
        return [(namespace(pod), title)] if title else []

    return Controller(
        name=SOURCE, kind=KIND, react=react, owns=(kinds.DEPLOYMENT, kinds.SERVICE), watches={kinds.POD: of_pod}
    )


class _Reaction:
    """One look at an InferenceService."""

    def __init__(self, obj: Obj, view: View, now: float, options: Options) -> None:
        self.obj = {"apiVersion": KIND.api_version, "kind": KIND.kind, **obj}
        self.view, self.now, self.options = view, now, options
        self.status: Obj = copied(obj.get("status") or {})
        self.emit = emitter(KIND, self.obj, SOURCE)
        self.actions: list[Action] = []

    def run(self) -> list[Action]:
        mode = notes(self.obj).get(_MODE, "")
        if mode not in _STANDARD:
            return self._refused(f"the mode {mode} needs KServe itself; here is only Standard")
        try:
            wanted = pods.objects(self.obj, self.options)
            if not self.status:
                self._unmade()
            deployment = self._brought(kinds.DEPLOYMENT, wanted.deployment)
            service = self._brought(kinds.SERVICE, wanted.service)
        except ComponentError as error:
            return self._refused(error.message)
        self._tell(deployment, service=service is not None)
        return self._answer()

    def _unmade(self) -> None:
        spec = self.obj.get("spec") or {}
        for path, fields, why in (
            ("spec", spec, _UNMADE),
            ("spec.predictor", spec.get("predictor") or {}, _UNMADE_OF_PREDICTOR),
        ):
            for field, said in why.items():
                if fields.get(field):
                    self.actions.append(self.emit.warning("Unsupported", f"{path}.{field} is not honoured: {said}"))

    def _refused(self, why: str) -> list[Action]:
        told = condition(self.status, "Ready")
        if told is None or told.get("message") != why:
            self.actions.append(self.emit.warning("InvalidSpec", why))
        self._said("PredictorReady", "False", "InvalidSpec", why)
        self._said("Ready", "False", "InvalidSpec", why)
        self.status["modelStatus"] = {"transitionStatus": "InvalidSpec", "lastFailureInfo": {"message": why}}
        return self._answer()

    def _answer(self) -> list[Action]:
        self.status["observedGeneration"] = meta(self.obj).get("generation", 1)
        if self.status == (self.obj.get("status") or {}):
            return self.actions
        return [*self.actions, SetStatus(KIND, namespace(self.obj), name(self.obj), uid(self.obj), self.status)]

    def _brought(self, kind: Kind, wanted: Obj) -> Obj | None:
        """The object, if it is there and as it should be; else what makes it so is done."""
        found = self.view.get(kind, namespace(self.obj), name(wanted))
        if found is None:
            self.actions.append(Create(kind, differences.stamped(wanted) if kind == kinds.DEPLOYMENT else wanted))
            return None
        if not is_owned(found, uid(self.obj)):
            raise ComponentError(f"the {kind.kind} {name(wanted)!r} that is needed is somebody else's")
        if terminating(found):
            return None
        differ = differences.stored if kind == kinds.DEPLOYMENT else differences.service
        patch = differ(wanted, found)
        if patch is not None:
            self.actions.append(Patch(kind, namespace(found), name(found), uid(found), patch))
            return None
        return found

    def _tell(self, deployment: Obj | None, *, service: bool) -> None:
        said = (deployment or {}).get("status") or {}
        current = deployment is not None and said.get("observedGeneration") == meta(deployment).get("generation")
        wanted = int(((deployment or {}).get("spec") or {}).get("replicas", 1))
        counts = [int(said.get(key) or 0) for key in ("replicas", "updatedReplicas", "availableReplicas")]
        # While an older pod is there too, those that are available may be the older ones.
        ready = current and service and counts == [wanted] * 3
        why = "" if ready or deployment is None else troubles.of(deployment, self.view)
        progress = condition(said, "Progressing")
        stuck = current and progress is not None and progress.get("status") == "False"
        reason = "" if ready else "ProgressDeadlineExceeded" if stuck else "MinimumReplicasUnavailable"
        for one in ("PredictorReady", "Ready"):
            self._said(one, "True" if ready else "False", reason, why)
        address = f"http://{pods.title(self.obj)}.{namespace(self.obj)}.svc.cluster.local"
        self.status |= {"deploymentMode": "Standard", "url": address, "address": {"url": address}}
        state = "UpToDate" if ready else "BlockedByFailedLoad" if stuck else "InProgress"
        model: Obj = {"transitionStatus": state}
        if why:
            model["lastFailureInfo"] = {"message": why}
        self.status["modelStatus"] = model

    def _said(self, type_: str, value: str, reason: str, message: str) -> None:
        conditions.mark(self.status, type_, value, reason, self.now, message=message)
