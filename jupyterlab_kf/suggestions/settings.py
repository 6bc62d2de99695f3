"""Which algorithms there are, and what their settings may say. Pure; standard library only.

Names and settings are Katib 0.19's, so that a manifest means the same here and there; ``anneal`` and ``asha`` are ours
and no Katib knows them.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jupyterlab_kf.suggestions.space import Parameter, combinations

Check = Callable[[str], str]


def _whole(least: int) -> Check:
    def check(text: str) -> str:
        return "" if text.strip().isdecimal() and int(text) >= least else f"must be a whole number of {least} or more"

    return check


def _between(low: float, high: float, *, inclusive: bool = False) -> Check:
    sign = "from" if inclusive else "between"

    def check(text: str) -> str:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        fits = low <= value <= high if inclusive else low < value < high
        return "" if fits else f"must be a number {sign} {low:g} {'to' if inclusive else 'and'} {high:g}"

    return check


def _positive(text: str) -> str:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    return "" if 0 < value < math.inf else "must be a number greater than 0"


def _one_of(*words: str, unsupported: Sequence[str] = ()) -> Check:
    def check(text: str) -> str:
        if text in unsupported:
            return f"is not supported here: use {' or '.join(words)}"
        return "" if text in words else f"must be one of {', '.join(words)}"

    return check


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One row of the table.

    Attributes:
        settings: name to check, which answers what is wrong.
        required: settings that must be there.
        needs: what must be installed beside this package.
        katib: whether Katib has an algorithm of that name.
        says: what it is good for, in one line.
    """

    says: str
    settings: Mapping[str, Check] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    needs: str = ""
    katib: bool = True


_SEED: Final[Mapping[str, Check]] = {"random_state": _whole(0)}
_RUNGS: Final[Mapping[str, Check]] = {"r_l": _positive, "resource_name": lambda text: "" if text else "must be given"}

ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    "random": Algorithm("independent points", _SEED),
    "grid": Algorithm("every combination once", _SEED),
    "sobol": Algorithm("points that fill the space evenly", _SEED),
    "tpe": Algorithm(
        "hyperopt's tree of Parzen estimators; mixed spaces",
        {**_SEED, "gamma": _between(0, 1), "prior_weight": _positive, "n_EI_candidates": _whole(1)},
    ),
    "anneal": Algorithm("hyperopt's annealing; cheap and greedy", _SEED, katib=False),
    "bayesianoptimization": Algorithm(
        "a Gaussian process; the best for up to a few hundred trials",
        {
            **_SEED,
            "base_estimator": _one_of("GP", unsupported=("RF", "ET", "GBRT")),
            "n_initial_points": _whole(1),
            "acq_func": _one_of("gp_hedge", "EI", "LCB", "PI", unsupported=("EIps", "PIps")),
            "acq_optimizer": _one_of("auto", "sampling", "lbfgs"),
        },
    ),
    "multivariate-tpe": Algorithm(
        "Optuna's TPE over all parameters together",
        {**_SEED, "n_startup_trials": _whole(1), "n_ei_candidates": _whole(1)},
        needs="optuna",
    ),
    "cmaes": Algorithm(
        "an evolution strategy; many trials, numbers only",
        {**_SEED, "sigma": _positive, "restart_strategy": _one_of("none", "ipop", "bipop")},
        needs="optuna",
    ),
    "hyperband": Algorithm(
        "many short trials, the better ones longer; in rounds",
        {**_SEED, **_RUNGS, "eta": _whole(2)},
        ("r_l", "resource_name"),
    ),
    "asha": Algorithm(
        "as hyperband, without waiting for a round's last trial",
        {**_SEED, **_RUNGS, "eta": _whole(2), "min_resource": _positive},
        ("r_l", "resource_name"),
        katib=False,
    ),
    "pbt": Algorithm(
        "population based training: trials go on from each other's checkpoints",
        {
            **_SEED,
            "suggestion_trial_dir": lambda text: (
                "" if text.startswith("/") and text.strip("/") else "must be a folder, such as /kf/checkpoint"
            ),
            "n_population": _whole(5),
            "truncation_threshold": _between(0, 1, inclusive=True),
            "resample_probability": _between(0, 1, inclusive=True),
        },
        ("suggestion_trial_dir", "n_population", "truncation_threshold"),
    ),
}

_NOT_HERE: Final = ("enas", "darts")

STOPPING: Final[Mapping[str, Mapping[str, Check]]] = {
    "medianstop": {"min_trials_required": _whole(1), "start_step": _whole(1)},
}
"""Early-stopping algorithms and their settings."""


def nearest(word: str, known: Sequence[str]) -> str:
    """``did you mean X?``, or the list of what there is."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}"


def unknown_algorithm(name: str) -> str:
    """Why there is no such algorithm; empty when there is."""
    if name in ALGORITHMS:
        return ""
    if name in _NOT_HERE:
        return f"algorithm {name} is Katib's own and not available here; there are {', '.join(ALGORITHMS)}"
    return f"there is no algorithm {name!r}; {nearest(name, tuple(ALGORITHMS))}"


def as_mapping(settings: Sequence[Mapping[str, Any]] | None) -> dict[str, str]:
    """``[{name, value}]`` as a mapping."""
    return {str(one.get("name")): str(one.get("value")) for one in settings or ()}


def wrong_settings(known: Mapping[str, Check], given: Mapping[str, str], required: Sequence[str] = ()) -> list[str]:
    """What is wrong with settings, a sentence each."""
    found = []
    for name, text in given.items():
        check = known.get(name)
        if check is None:
            found.append(f"unknown setting {name}; {nearest(name, tuple(known))}")
        elif why := check(text):
            found.append(f"setting {name} is {text!r}; it {why}")
    return found + [f"setting {name} is required" for name in required if name not in given]


def wrong(
    algorithm: str, given: Mapping[str, str], parameters: Sequence[Parameter], max_trials: int | None
) -> list[str]:
    """What is wrong with a known algorithm's settings, and with its use on these parameters; a sentence each."""
    row = ALGORITHMS[algorithm]
    found = wrong_settings(row.settings, given, row.required)
    if algorithm == "grid":
        found += [
            f"parameter {one.name}: a double needs feasibleSpace.step for grid"
            for one in parameters
            if one.size is None
        ]
        total = combinations(parameters)
        if not found and total is not None and max_trials is not None and max_trials > total:
            found.append(f"maxTrialCount is {max_trials}, but the grid has {total} combinations")
    if algorithm == "cmaes" and sum(one.type in ("double", "int") for one in parameters) < 2:  # noqa: PLR2004  cmaes' own
        found.append("cmaes needs at least two double or int parameters")
    if algorithm in ("hyperband", "asha") and "resource_name" in given:
        found += _wrong_resource(given, parameters)
    return found


def _wrong_resource(given: Mapping[str, str], parameters: Sequence[Parameter]) -> list[str]:
    name = given["resource_name"]
    resource = next((one for one in parameters if one.name == name), None)
    if resource is None:
        names = tuple(one.name for one in parameters)
        return [f"setting resource_name is {name!r}, which is not a parameter; {nearest(name, names)}"]
    if resource.type not in ("int", "double"):
        return [f"setting resource_name is {name!r}, a {resource.type} parameter; it must be int or double"]
    return []
