"""Optuna's TPE over all parameters together, and CMA-ES of the package that Optuna uses; where they are installed.

Both are rebuilt from the history at every question. CMA-ES is driven directly: Optuna's sampler keeps its state in a
study's storage, and without that it never leaves its first generation.
"""

from __future__ import annotations

import importlib
from typing import Any, Final

from jupyterlab_kf.suggestions import plain
from jupyterlab_kf.suggestions.study import DONE, PENDING, AskError, Point, Study
from jupyterlab_kf.suggestions.telling import remembered

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
    shown = remembered(study.history)
    startup = int(study.number("n_startup_trials", 10))
    sampler = library.samplers.TPESampler(
        seed=seed,
        multivariate=True,
        constant_liar=True,
        n_startup_trials=startup if study.total <= len(shown) else min(startup, len(shown) // 2),
        n_ei_candidates=int(study.number("n_ei_candidates", 24)),
    )
    made = library.create_study(sampler=sampler)
    for one in shown:
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

    ordered = [place for place, one in enumerate(study.parameters) if one.ordered]
    ended = [one for one in study.history if one.state != PENDING]
    worst = max((one.loss for one in ended if one.loss is not None), default=0.0)
    told = [
        (
            np.array([study.parameters[place].unit(one.point[place]) for place in ordered]),
            worst if one.loss is None else one.loss,
        )
        for one in ended
    ]
    descents = _Descents(study, len(ordered), seed)
    strategy = descents.first()
    while len(told) >= strategy.population_size:
        generation, told = told[: strategy.population_size], told[strategy.population_size :]
        strategy.tell(generation)
        if descents.restarts and strategy.should_stop():
            strategy = descents.after(strategy)
    units = dict(zip(ordered, strategy.ask(), strict=True))
    drawn = plain.random(study, index, seed)
    return tuple(
        one.text(float(units[place])) if place in units else drawn[place] for place, one in enumerate(study.parameters)
    )


class _Descents:
    """The descents of one study: where each begins, and how many points a generation of it has.

    By Hansen's rules: ``ipop`` doubles the generation at each restart; ``bipop`` takes turns, by the trials that each
    kind has used, between doubled generations and small ones.
    """

    def __init__(self, study: Study, width: int, seed: int) -> None:
        self._study, self._width, self._seed = study, width, seed
        self._library = _library("cmaes", study.algorithm)
        self._kind = study.settings.get("restart_strategy", "none")
        self._count, self._doubled, self._size = 0, 0, 0
        self._large = False
        self._used = {True: 0, False: 0}

    @property
    def restarts(self) -> bool:
        """Whether one that gets nowhere is followed by another."""
        return self._kind != "none"

    def first(self) -> Any:
        """The first one, from the middle."""
        import numpy as np

        made = self._made(np.full(self._width, 0.5), None)
        self._size = made.population_size
        return made

    def after(self, strategy: Any) -> Any:
        """The one that follows; where it begins depends on its number alone."""
        import numpy as np

        self._count += 1
        rng = np.random.default_rng([self._study.seed, self._count])
        self._used[self._large] += strategy.population_size * strategy.generation
        self._large = self._kind == "ipop" or self._used[False] >= self._used[True]
        if self._large:
            self._doubled += 1
        shrink = 1.0 if self._large else float(rng.random()) ** 2
        return self._made(rng.random(self._width), int(self._size * 2 ** (self._doubled * shrink)))

    def _made(self, mean: Any, size: int | None) -> Any:
        import numpy as np

        bounds = np.tile([0.0, 1.0], (self._width, 1))
        sigma = self._study.number("sigma", _SIGMA)
        return self._library.CMA(mean=mean, sigma=sigma, bounds=bounds, seed=self._seed, population_size=size)
