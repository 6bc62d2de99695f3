"""Early stopping by the median rule (Vizier): a trial that is worse than half of the others were at its step ends.

At every report from ``start_step`` on, the trial's best value so far is compared with the median of the averages that
the succeeded trials had reached by then. Katib compares once, with a mean, by a rule that is fixed when the trial is
created.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import fmean, median
from typing import Any, Final

from jupyterlab_kf.controllers.katib.observations import course
from jupyterlab_kf.controllers.support import is_true

_DEFAULTS: Final = {"min_trials_required": 3, "start_step": 4}


def verdict(spec: Mapping[str, Any], trial: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> str:
    """Why a running trial should end now; empty when it should go on.

    Args:
        spec: the Experiment's ``spec``.
        trial: the running Trial.
        others: the Experiment's Trials.
    """
    rule = spec.get("earlyStopping") or {}
    if rule.get("algorithmName") != "medianstop":
        return ""
    given = {one.get("name"): one.get("value") for one in rule.get("algorithmSettings") or ()}
    needed, start = (int(given.get(name) or value) for name, value in _DEFAULTS.items())
    own = course(trial)
    if not own or own[-1][0] + 1 < start:
        return ""
    step = own[-1][0]
    objective = spec.get("objective") or {}
    sign = -1.0 if objective.get("type") == "maximize" else 1.0
    averages = []
    for other in others:
        if is_true(other.get("status") or {}, "Succeeded"):
            values = [value for place, value in course(other) if place <= step]
            if values:
                averages.append(fmean(values))
    if len(averages) < needed:
        return ""
    best = min(sign * value for _, value in own)
    middle = median(sign * value for value in averages)
    if best <= middle:
        return ""
    name = objective.get("objectiveMetricName")
    return (
        f"after {step + 1} reports the best {name} is {sign * best:g}, "
        f"worse than the median {sign * middle:g} of {len(averages)} succeeded trials"
    )
