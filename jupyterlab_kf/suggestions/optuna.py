"""Optuna's TPE over all parameters together, and CMA-ES of the package that Optuna uses; where they are installed.

Both are rebuilt from the history at every question. CMA-ES is driven directly: Optuna's sampler keeps its state in a
study's storage, and without that it never leaves its first generation.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

from jupyterlab_kf.suggestions import plain
from jupyterlab_kf.suggestions.study import DONE, PENDING, AskError, Point, Study

_SIGMA: Final = 1 / 6
"""First step of CMA-ES, as a part of each range."""


def propose(study: Study, index: int, attempt: int) -> Point:
    """The next point."""
    seed = (study.seed * 1_000_003 + index * 1009 + attempt) % 2**31
    return _evolution(study, index, seed) if study.algorithm == "cmaes" else _parzen(study, seed)


def _library(name: str, algorithm: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise AskError(f"algorithm {algorithm} needs {name}: pip install 'jupyterlab-kf[optuna]'") from None


def _parzen(study: Study, seed: int) -> Point:
    library = _library("optuna", study.algorithm)
    library.logging.set_verbosity(library.logging.ERROR)
    distributions, states = library.distributions, library.trial.TrialState
    space = {
        one.name: distributions.FloatDistribution(0.0, 1.0)
        if one.ordered
        else distributions.CategoricalDistribution(list(range(len(one.texts))))
        for one in study.parameters
    }
    sampler = library.samplers.TPESampler(
        seed=seed,
        multivariate=True,
        constant_liar=True,
        n_startup_trials=int(study.number("n_startup_trials", 10)),
        n_ei_candidates=int(study.number("n_ei_candidates", 24)),
    )
    made = library.create_study(sampler=sampler)
    for one in study.history:
        pairs = zip(study.parameters, one.point, strict=True)
        units = {p.name: p.unit(text) if p.ordered else int(p.unit(text)) for p, text in pairs}
        state = states.COMPLETE if one.state == DONE else states.RUNNING if one.state == PENDING else states.FAIL
        value = one.loss if one.state == DONE else None
        made.add_trial(library.trial.create_trial(params=units, distributions=space, state=state, value=value))
    values = made.ask(fixed_distributions=space).params
    return tuple(one.text(float(values[one.name])) for one in study.parameters)


def _evolution(study: Study, index: int, seed: int) -> Point:
    """CMA-ES over the ordered parameters, a generation at a time; categories are drawn."""
    import numpy as np

    library = _library("cmaes", study.algorithm)
    ordered = [place for place, one in enumerate(study.parameters) if one.ordered]
    bounds = np.tile([0.0, 1.0], (len(ordered), 1))
    strategy = library.CMA(
        mean=np.full(len(ordered), 0.5), sigma=study.number("sigma", _SIGMA), bounds=bounds, seed=seed
    )
    ended = [one for one in study.history if one.state != PENDING]
    worst = max((one.loss for one in ended if one.loss is not None), default=0.0)
    told = [
        (
            np.array([study.parameters[place].unit(one.point[place]) for place in ordered]),
            worst if one.loss is None else one.loss,
        )
        for one in ended
    ]
    size = strategy.population_size
    for begin in range(0, len(told) - size + 1, size):
        strategy.tell(told[begin : begin + size])
    units = dict(zip(ordered, strategy.ask(), strict=True))
    drawn = plain.random(study, index, seed)
    return tuple(
        one.text(float(units[place])) if place in units else drawn[place] for place, one in enumerate(study.parameters)
    )
