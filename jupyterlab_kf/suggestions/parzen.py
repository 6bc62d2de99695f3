"""hyperopt's TPE and annealing, fed with the history of a study.

Facts that shape this: a suggestion is asked for one at a time, with pending trials inserted as such (otherwise all
points of a batch are the same); ordered parameters are uniform coordinates that we snap ourselves (quniform counts its
steps from zero and halves the ends); the cost grows with the history, so only the best and the latest trials are shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from hyperopt import Trials, anneal, hp, tpe
from hyperopt.base import Domain

from jupyterlab_kf.suggestions.space import Parameter
from jupyterlab_kf.suggestions.study import DONE, PENDING, Point, Seen, Study
from jupyterlab_kf.suggestions.telling import remembered

_DEFAULTS: Final = {"gamma": 1.0, "prior_weight": 1.0, "n_EI_candidates": 24}
"""hyperopt's, but for gamma: the best gamma * sqrt(n) of n trials count as good. Its own 0.25 makes that three of a
hundred, and such a search stays where it was lucky first."""


def propose(study: Study, index: int, attempt: int) -> Point:
    """The next point."""
    space = {
        one.name: hp.uniform(one.name, 0.0, 1.0) if one.ordered else hp.choice(one.name, range(len(one.texts)))
        for one in study.parameters
    }
    domain = Domain(_never_called, space, pass_expr_memo_ctrl=False)
    trials = Trials()
    shown = remembered(study.history)
    trials.insert_trial_docs([_document(number, one, study.parameters) for number, one in enumerate(shown)])
    trials.refresh()
    seed = int(np.random.SeedSequence([study.seed, index, attempt]).generate_state(1)[0] & 0x7FFFFFFF)
    if study.algorithm == "anneal":
        (made,) = anneal.suggest([len(shown)], domain, trials, seed)
    else:
        options: dict[str, Any] = {name: study.number(name, value) for name, value in _DEFAULTS.items()}
        options["n_EI_candidates"] = int(options["n_EI_candidates"])
        # How a study begins is decided before this is asked.
        (made,) = tpe.suggest([len(shown)], domain, trials, seed, verbose=False, n_startup_jobs=0, **options)
    values = made["misc"]["vals"]
    return tuple(one.text(float(values[one.name][0])) for one in study.parameters)


def _never_called(_: Any) -> float:
    return math.nan


def _document(number: int, one: Seen, parameters: Sequence[Parameter]) -> dict[str, Any]:
    """A trial as hyperopt keeps it."""
    done = one.state == DONE
    names = [p.name for p in parameters]
    coordinates = [p.unit(text) for p, text in zip(parameters, one.point, strict=True)]
    values = [[int(u)] if not p.ordered else [u] for p, u in zip(parameters, coordinates, strict=True)]
    result = {"status": "ok", "loss": one.loss} if done else {"status": "fail" if one.state != PENDING else "new"}
    return {
        "tid": number,
        "spec": None,
        "result": result,
        "misc": {
            "tid": number,
            "cmd": None,
            "idxs": {name: [number] for name in names},
            "vals": dict(zip(names, values, strict=True)),
        },
        # 1: running, 2: done
        "state": 1 if one.state == PENDING else 2,
        "owner": None,
        "book_time": None,
        "refresh_time": None,
        "exp_key": None,
        "version": 0,
    }
