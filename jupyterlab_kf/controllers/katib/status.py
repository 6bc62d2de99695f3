"""Conditions, times and observations of Experiments, Trials and Suggestions, as Katib writes them. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf.controllers.support import condition, is_true
from jupyterlab_kf.model import Obj, format_time

STOP: Final = "jupyterlab-kf.io/stop"
"""Annotation of an Experiment: end it now, and the trials that run."""
UNAVAILABLE: Final = "unavailable"
"""The value of a metric that was not reported."""
TRIAL_ENDS: Final = ("Killed", "Failed", "Succeeded", "EarlyStopped", "MetricsUnavailable")
"""Conditions after which a trial does not change any more, in the order in which Katib counts them."""


def mark(status: Obj, type_: str, reason: str, message: str, now: float, *, true: bool = True) -> bool:
    """Set a condition, as the last one; True if that changes anything. The message alone is no change."""
    text = "True" if true else "False"
    current = condition(status, type_)
    if current is not None and (current.get("status"), current.get("reason")) == (text, reason):
        return False
    stamp = format_time(now)
    since = current.get("lastTransitionTime") if current is not None and current.get("status") == text else stamp
    new = {
        "type": type_,
        "status": text,
        "reason": reason,
        "message": message,
        "lastUpdateTime": stamp,
        "lastTransitionTime": since,
    }
    status["conditions"] = [*(c for c in status.get("conditions") or () if c.get("type") != type_), new]
    return True


def finish(status: Obj, type_: str, reason: str, message: str, now: float) -> bool:
    """Set a final condition: what ran does not run any more."""
    running = condition(status, "Running")
    if running is not None:
        mark(status, "Running", str(running.get("reason")), str(running.get("message")), now, true=False)
    changed = mark(status, type_, reason, message, now)
    if changed:
        status["completionTime"] = format_time(now)
    return changed


def drop(status: Obj, *types: str) -> None:
    """Remove conditions."""
    status["conditions"] = [c for c in status.get("conditions") or () if c.get("type") not in types]


def end_of(trial: Mapping[str, Any]) -> str:
    """The condition in which a trial ended, or an empty string."""
    # Asked of every trial of a study at each change of one: a single look at its conditions.
    true = {
        one.get("type") for one in (trial.get("status") or {}).get("conditions") or () if one.get("status") == "True"
    }
    return next((type_ for type_ in TRIAL_ENDS if type_ in true), "")


def completed(experiment: Mapping[str, Any]) -> bool:
    """Whether an Experiment has succeeded or failed."""
    status = experiment.get("status") or {}
    return is_true(status, "Succeeded") or is_true(status, "Failed")


def objective_text(trial: Mapping[str, Any]) -> str:
    """The objective's value of a trial by its strategy, as it was reported; ``unavailable`` while there is none."""
    objective = (trial.get("spec") or {}).get("objective") or {}
    name = objective.get("objectiveMetricName")
    strategies = {one.get("name"): one.get("value") for one in objective.get("metricStrategies") or ()}
    for metric in ((trial.get("status") or {}).get("observation") or {}).get("metrics") or ():
        if metric.get("name") == name:
            chosen = str(metric.get(str(strategies.get(name, "latest")), UNAVAILABLE))
            return str(metric.get("latest", UNAVAILABLE)) if chosen == UNAVAILABLE else chosen
    return UNAVAILABLE


def objective_value(trial: Mapping[str, Any]) -> float | None:
    """The objective's value as a finite number, or None."""
    return number(objective_text(trial))


def number(text: Any) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
