"""Seldon's operator: what a SeldonDeployment (v1, as of 1.17.1) needs is made, watched and told. Pure.

The objects, their fields and their order are those of the real operator; docs/differences.md says what differs on
purpose. Traffic is divided by the Istio objects that are made, and served by what the images stand for; neither is
known here. What its webhook refuses is in :mod:`.validation`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Controller, Key, SetStatus, View
from jupyterlab_kf.controllers.seldon import names, validation
from jupyterlab_kf.controllers.seldon.options import Options
from jupyterlab_kf.controllers.seldon.reaction import SOURCE, Reaction
from jupyterlab_kf.controllers.support import emitter, name, namespace, terminating, uid
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, labels

__all__ = ["Options", "controllers", "unadmitted"]

_OPERATOR: Final = "seldon.io/controller-id"
"""Names another operator, on an object or on its namespace: then it is not ours."""


_OWNED: Final = (
    kinds.DEPLOYMENT,
    kinds.SERVICE,
    kinds.HORIZONTAL_POD_AUTOSCALER,
    kinds.POD_DISRUPTION_BUDGET,
    kinds.VIRTUAL_SERVICE,
    kinds.DESTINATION_RULE,
)
_VERSIONS: Final = tuple(kind for kind in kinds.SERVING if kind.kind == kinds.SELDON_DEPLOYMENT.kind)


def controllers(options: Options) -> tuple[Controller, ...]:
    """The controllers of SeldonDeployments for one installation: one for each version that an object may be kept in."""
    return tuple(_controller(kind, options) for kind in _VERSIONS)


def _controller(kind: Kind, options: Options) -> Controller:
    def react(stored: Obj, view: View, now: float) -> list[Action]:
        obj = {"apiVersion": kind.api_version, "kind": kind.kind, **stored}
        if terminating(obj) or labels(obj).get(_OPERATOR):
            return []
        space = view.get(kinds.NAMESPACE, "", namespace(obj))
        if space is not None and labels(space).get(_OPERATOR):
            return []
        return Reaction(obj, view, now, options).run()

    def of_pod(pod: Obj, view: View) -> list[Key]:
        """Whose pod it is: the status tells why one is not ready."""
        ident = labels(pod).get(names.LABEL_ID)
        found = view.list(kind, namespace(pod)) if ident is not None else []
        return [(namespace(pod), name(one)) for one in found if names.deployment_id(one) == ident]

    return Controller(name=SOURCE, kind=kind, react=react, owns=_OWNED, watches={kinds.POD: of_pod})


def unadmitted(controller: Controller) -> Controller:
    """A controller for a cluster without Seldon's webhook: what that would refuse fails with its reason."""

    def react(obj: Obj, view: View, now: float) -> list[Action]:
        why = "; ".join(text for _, text in validation.refused(obj))
        if not why:
            return controller.react(obj, view, now)
        before: Obj = obj.get("status") or {}
        failed = {**before, "state": "Failed", "description": why}
        if failed == before:
            return []
        warning = emitter(controller.kind, obj, SOURCE).warning("InternalError", why)
        return [warning, SetStatus(controller.kind, namespace(obj), name(obj), uid(obj), failed)]

    return replace(controller, react=react)
