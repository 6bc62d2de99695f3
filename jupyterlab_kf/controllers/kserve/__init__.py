"""KServe's controller for InferenceServices in its mode Standard: Deployments, Services, autoscalers, the status. Pure.

A predictor is served, a model of a format or a container of one's own, with a transformer before it and an explainer
beside it where there are such. Names, labels, ports and arguments are those of KServe. What is not honoured (canaries,
batchers, other autoscalers, addresses outside the cluster) is a Warning event on the object. Images are names here, as
everywhere: what they stand for is known to who runs them.
"""

from __future__ import annotations

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Controller, Key, View
from jupyterlab_kf.controllers.kserve.options import Options
from jupyterlab_kf.controllers.kserve.parts import LABEL
from jupyterlab_kf.controllers.kserve.reaction import OWNED, SOURCE, Reaction
from jupyterlab_kf.controllers.support import namespace, terminating
from jupyterlab_kf.model import Obj, labels

__all__ = ["LABEL", "Options", "controller"]


def controller(options: Options) -> Controller:
    """The controller for one installation."""

    def react(obj: Obj, view: View, now: float) -> list[Action]:
        return [] if terminating(obj) else Reaction(obj, view, now, options).run()

    def of_pod(pod: Obj, _view: View) -> list[Key]:
        """Whose pod it is: the status tells why one is not ready."""
        title = labels(pod).get(LABEL)
        return [(namespace(pod), title)] if title else []

    return Controller(name=SOURCE, kind=kinds.INFERENCE_SERVICE, react=react, owns=OWNED, watches={kinds.POD: of_pod})
