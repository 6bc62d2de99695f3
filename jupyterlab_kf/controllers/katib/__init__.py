"""Katib's controllers: Experiment, Suggestion, Trial; defaults and rules of its webhooks. Pure.

A study is a real Katib Experiment (kubeflow.org/v1beta1, Katib 0.19). What to try next is a question to the manager's
service; metrics come from a record on the Trial that :mod:`jupyterlab_kf.studies` writes. Where ours differ from
Katib's on purpose, docs/differences.md says so; every other difference is a fault.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Controller, SetStatus, View
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.katib import experiment, status, suggestion, trial, validation
from jupyterlab_kf.controllers.katib.defaults import defaulted
from jupyterlab_kf.controllers.katib.template import PUSHED
from jupyterlab_kf.controllers.support import emitter, name, namespace, uid
from jupyterlab_kf.controllers.training.problems import aggregate
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

__all__ = ["CONTROLLERS", "defaulted", "denial", "problems", "unadmitted"]

CONTROLLERS: Final[tuple[Controller, ...]] = (experiment.CONTROLLER, suggestion.CONTROLLER, trial.CONTROLLER)
_WEBHOOK: Final = "validator.experiment.katib.kubeflow.org"


def problems(experiment: Obj) -> str:
    """What is wrong with an Experiment that has its defaults, in one sentence; empty when nothing is."""
    found = validation.validate(experiment)
    return aggregate(found) if found else ""


def denial(kind: Kind, old: Obj | None, new: Obj) -> str:
    """What the API server answers (400) when Katib's webhook refuses an Experiment; empty when it does not."""
    found = validation.validate(new, old) if kind == kinds.EXPERIMENT else []
    return f'admission webhook "{_WEBHOOK}" denied the request: {aggregate(found)}' if found else ""


def unadmitted(controller: Controller, collectors: Sequence[str]) -> Controller:
    """The Experiments' controller for a cluster without Katib's webhook: what it would refuse fails with its reason.

    Args:
        controller: the controller.
        collectors: kinds of metrics collectors that work there.
    """

    def react(obj: Obj, view: View, now: float) -> list[Action]:
        why = "" if status.completed(obj) else problems(obj) or _beyond(obj, collectors)
        if not why:
            return controller.react(obj, view, now)
        failed = copied(obj.get("status") or {})
        status.finish(failed, "Failed", "ExperimentInvalid", why, now)
        warning = emitter(kinds.EXPERIMENT, obj, "experiment-controller").warning
        return [
            SetStatus(kinds.EXPERIMENT, namespace(obj), name(obj), uid(obj), failed),
            warning("ExperimentInvalid", why),
        ]

    return replace(controller, react=react)


def _beyond(obj: Obj, collectors: Sequence[str]) -> str:
    """What an Experiment asks for that is not to be had there, in a sentence; empty when nothing is."""
    collector = (obj["spec"].get("metricsCollectorSpec") or {}).get("collector") or {}
    kind = str(collector.get("kind") or "StdOut")
    if ((obj["spec"].get("algorithm") or {}).get("algorithmName")) == "pbt":
        return "algorithm pbt keeps checkpoints on a volume, which nothing here makes; choose another algorithm"
    if kind in collectors:
        return ""
    why = "reads files in pods, which nothing here can"
    if kind in PUSHED:
        why = "needs Katib's database, which nothing here runs"
    return f"metrics collector {kind} {why}; there are {', '.join(collectors)}"
