"""The Suggestion: how many assignments were asked for, and those there are. What to try next is asked for outside.

Katib runs a Deployment an Experiment that answers this; here it is a question to the manager's service
(:class:`~jupyterlab_kf.controllers.Consult`), decided by the Experiment's spec and the Trials' states alone.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Consult, Controller, Key, SetStatus, View
from jupyterlab_kf.controllers.katib import status as conditions
from jupyterlab_kf.controllers.katib.template import LABEL_EXPERIMENT
from jupyterlab_kf.controllers.support import is_true, name, namespace, suffix, terminating, uid
from jupyterlab_kf.model import Obj, format_time, labels
from jupyterlab_kf.suggestions import settings
from jupyterlab_kf.suggestions.telling import worth_telling

END_REACHED: Final = "SuggestionEndReached"
_SOURCE: Final = "suggestion-controller"
_NAME_LENGTH: Final = 8


def react(obj: Obj, view: View, now: float) -> list[Action]:
    """What brings a Suggestion closer to what was asked for."""
    experiment = view.get(kinds.EXPERIMENT, namespace(obj), name(obj))
    if terminating(obj) or experiment is None:
        return []
    status: Obj = dict(obj.get("status") or {})  # no deeper: ten thousand suggestions are not touched
    status.setdefault("startTime", format_time(now))
    status.setdefault("suggestionCount", len(status.get("suggestions") or ()))
    conditions.mark(status, "Created", "SuggestionCreated", "Suggestion is created", now)
    policy = (experiment.get("spec") or {}).get("resumePolicy")
    if conditions.completed(experiment):
        if policy != "LongRunning" and not is_true(status, "Failed") and not is_true(status, "Succeeded"):
            reason = "Experiment is succeeded"
            ready = (status, "DeploymentReady", "Suggestion is succeeded", "Deployment is not ready", now)
            conditions.finish(
                status,
                "Succeeded",
                reason,
                "Suggestion is succeeded, can't be restarted"
                if policy == "Never"
                else "Suggestion is succeeded, suggestion volume is not deleted, can be restarted",
                now,
            )
            conditions.mark(*ready, true=False)
        return _write(obj, status)
    if is_true(status, "Failed") or ended(status):
        return _write(obj, status)
    conditions.drop(status, "Succeeded")
    conditions.mark(status, "DeploymentReady", "DeploymentReady", "Deployment is ready", now)
    conditions.mark(status, "Running", "SuggestionRunning", "Suggestion is running", now)
    missing = int((obj.get("spec") or {}).get("requests") or 0) - len(status.get("suggestions") or ())
    actions = _write(obj, status)
    if missing <= 0:
        return actions
    owner: Obj = experiment

    def then(answer: Mapping[str, Any]) -> list[Action]:
        return _write(obj, _answered(status, owner, answer, now))

    question = asked(experiment, status, view.owned(kinds.TRIAL, uid(experiment)), missing)
    return [*actions, Consult(question, then)]


def ended(status: Mapping[str, Any]) -> str:
    """Why there will be no more suggestions, or an empty string."""
    found = next((c for c in status.get("conditions") or () if c.get("reason") == END_REACHED), None)
    return str(found.get("message")) if found and found.get("status") == "True" else ""


def asked(experiment: Obj, status: Mapping[str, Any], trials: list[Obj], count: int) -> Obj:
    """The question: everything that decides the next assignments."""
    spec = experiment["spec"]
    algorithm = spec.get("algorithm") or {}
    found = {name(trial): trial for trial in trials}
    suggested = status.get("suggestions") or ()
    ends = [_end(found.get(str(one.get("name")))) for one in suggested]
    objective = (spec.get("objective") or {}).get("type")
    sign = -1.0 if objective == "maximize" else 1.0
    told = worth_telling(str(algorithm.get("algorithmName")), spec.get("parameters") or (), ends, sign)
    history = [
        {
            "name": suggested[place].get("name"),
            "assignments": {p["name"]: p["value"] for p in suggested[place].get("parameterAssignments") or ()},
            "labels": suggested[place].get("labels") or {},
            "state": ends[place][0],
            "value": ends[place][1],
        }
        for place in told
    ]
    return {
        "algorithm": algorithm.get("algorithmName"),
        "settings": settings.as_mapping(algorithm.get("algorithmSettings")),
        "parameters": spec.get("parameters") or [],
        "objective": objective,
        # Not the clock nor chance: the same study asked again after a crash goes on as it would have.
        "seed": zlib.crc32(uid(experiment).encode()),
        "count": count,
        "history": history,
        "before": len(suggested) - len(history),
        "max": spec.get("maxTrialCount"),
    }


def _end(trial: Obj | None) -> tuple[str, float | None]:
    """How a suggestion's trial stands: ``pending``, ``done`` with its value, or ``failed``."""
    end = conditions.end_of(trial) if trial else ""
    value = conditions.objective_value(trial) if trial and end else None
    if end in ("Succeeded", "EarlyStopped") and value is not None:
        return "done", value
    return ("failed" if end else "pending"), None


def _answered(before: Obj, experiment: Obj, answer: Mapping[str, Any], now: float) -> Obj:
    status = dict(before)
    if answer.get("error"):
        conditions.finish(status, "Failed", "SuggestionFailed", f"Validation failed: {answer['error']}", now)
        return status
    known = list(status.get("suggestions") or ())
    for one in answer.get("suggestions") or ():
        seed = f"{uid(experiment)}/{len(known)}"
        entry: Obj = {
            "name": f"{name(experiment)}-{suffix(seed, _NAME_LENGTH)}",
            "parameterAssignments": [{"name": key, "value": value} for key, value in one["assignments"].items()],
        }
        if one.get("labels"):
            entry["labels"] = dict(one["labels"])
        known.append(entry)
    status["suggestions"] = known
    status["suggestionCount"] = len(known)
    if len(known) != len(before.get("suggestions") or ()):
        status["lastReconcileTime"] = format_time(now)
    if answer.get("end"):
        conditions.finish(status, "Succeeded", END_REACHED, str(answer["end"]), now)
    return status


def _write(obj: Obj, status: Obj) -> list[Action]:
    if status == (obj.get("status") or {}):
        return []
    return [SetStatus(kinds.SUGGESTION, namespace(obj), name(obj), uid(obj), status)]


def _of_trial(trial: Obj, _: View) -> list[Key]:
    experiment = labels(trial).get(LABEL_EXPERIMENT)
    return [(namespace(trial), experiment)] if experiment else []


def _of_experiment(experiment: Obj, _: View) -> list[Key]:
    return [(namespace(experiment), name(experiment))]


CONTROLLER: Final = Controller(
    name=_SOURCE,
    kind=kinds.SUGGESTION,
    react=react,
    watches={kinds.TRIAL: _of_trial, kinds.EXPERIMENT: _of_experiment},
    workers=4,
)
