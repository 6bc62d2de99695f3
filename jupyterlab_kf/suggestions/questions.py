"""The question and the answer: a study as plain JSON, read into values that algorithms work with. Pure.

Question: ``{algorithm, settings, parameters, objective, seed, count, history, before, max}``, where ``parameters`` are
an Experiment's and ``history`` has the suggestions so far, in order: ``{name, assignments, state, value, labels}`` with
state ``pending``, ``done`` or ``failed`` and the objective's value of those that are done; ``before`` counts those that
are left out, as :mod:`.telling` allows. Answer:
``{suggestions: [{assignments, labels}], end}``: fewer suggestions than asked for mean "ask again when a trial has
ended", or, with a reason in ``end``, that there is nothing more to try. ``{error}`` says what cannot be done at all.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from jupyterlab_kf.suggestions import plain
from jupyterlab_kf.suggestions import settings as known
from jupyterlab_kf.suggestions.space import Parameter, SpaceError, combinations, parameter, unseen
from jupyterlab_kf.suggestions.study import DONE, FAILED, AskError, Point, Seen, Study, Suggested

_TRIES: Final = 20
Propose: TypeAlias = Callable[[Study, int, int], Point]
"""A study, the number of the point and of the attempt at it, to the point."""


def ask(question: Mapping[str, Any]) -> dict[str, Any]:
    """The answer to a question."""
    try:
        study = _study(question)
        found, end = _suggest(study, int(question["count"]))
    except (AskError, SpaceError) as error:
        return {"error": str(error)}
    names = [one.name for one in study.parameters]
    return {
        "suggestions": [
            {"assignments": dict(zip(names, one.point, strict=True)), "labels": dict(one.labels)} for one in found
        ],
        "end": end,
    }


def _study(question: Mapping[str, Any]) -> Study:
    algorithm = str(question["algorithm"])
    if why := known.unknown_algorithm(algorithm):
        raise AskError(why)
    parameters = tuple(parameter(spec) for spec in question["parameters"])
    given = {str(k): str(v) for k, v in (question.get("settings") or {}).items()}
    if found := known.wrong(algorithm, given, parameters, question.get("max")):
        raise AskError("; ".join(found))
    sign = -1.0 if question.get("objective") == "maximize" else 1.0
    history = tuple(_seen(one, parameters, sign) for one in question.get("history") or ())
    seed = int(given["random_state"]) if "random_state" in given else int(question.get("seed") or 0)
    return Study(algorithm, given, parameters, seed, history, question.get("max"), int(question.get("before") or 0))


def _seen(one: Mapping[str, Any], parameters: Sequence[Parameter], sign: float) -> Seen:
    point = tuple(str(one["assignments"][p.name]) for p in parameters)
    value = one.get("value")
    done = one["state"] == DONE and value is not None
    state = DONE if done else FAILED if one["state"] == DONE else str(one["state"])
    return Seen(
        str(one.get("name") or ""),
        point,
        state,
        sign * float(value) if done and value is not None else None,
        one.get("labels") or {},
    )


def _suggest(study: Study, count: int) -> tuple[list[Suggested], str]:
    if study.algorithm in ("hyperband", "asha"):
        from jupyterlab_kf.suggestions import rungs

        return rungs.suggest(study, count)
    if study.algorithm == "pbt":
        from jupyterlab_kf.suggestions import population

        return population.suggest(study, count)
    propose = _proposer(study)
    total = combinations(study.parameters)
    taken = {one.point for one in study.history}
    found: list[Suggested] = []
    while len(found) < count:
        if total is not None and len(taken) >= total:
            return found, f"all {total} combinations of the parameters have been tried"
        point = _fresh(study.with_pending(found), propose, taken)
        taken.add(point)
        found.append(Suggested(point))
    return found, ""


def _fresh(study: Study, propose: Propose, taken: set[Point]) -> Point:
    """A point that was not tried before; in an endless space that is any."""
    index = study.total
    for attempt in range(_TRIES):
        point = propose(study, index, attempt)
        if point not in taken:
            return point
    return unseen(study.parameters, taken, study.seed + index * 7919) or point


_BEGINNINGS: Final[Mapping[str, tuple[str, int, int]]] = {
    "tpe": ("sobol", 10, 1),
    "anneal": ("random", 1, 1),
    "bayesianoptimization": ("sobol", 10, 2),
}
"""By which algorithm those that learn begin, and after how many points and losses they do."""
_PLAIN: Final[Mapping[str, Propose]] = {"random": plain.random, "grid": plain.grid}
_MODULES: Final = {"sobol": "sequence", "tpe": "parzen", "anneal": "parzen", "bayesianoptimization": "gaussian"}
"""Whose import may take a second; all others are Optuna's."""


def _proposer(study: Study) -> Propose:
    if study.algorithm in _PLAIN or study.algorithm == "sobol":
        return _called(study.algorithm)
    begin, first, losses = _BEGINNINGS.get(study.algorithm, ("random", 0, 0))
    first = int(study.number("n_initial_points", first))
    if not study.total:  # the first trials need not wait for a library's import
        begin = "random"

    def propose(study: Study, index: int, attempt: int) -> Point:
        begins = study.total < first or sum(one.loss is not None for one in study.history) < losses
        return _called(begin if begins else study.algorithm)(study, index, attempt)

    return propose


def prepare(algorithm: str) -> None:
    """Import what an algorithm that learns needs after its first points."""
    if algorithm in _BEGINNINGS:
        _called(_BEGINNINGS[algorithm][0])
        _called(algorithm)


def _called(algorithm: str) -> Propose:
    """What proposes points, with the library that it needs."""
    if algorithm in _PLAIN:
        return _PLAIN[algorithm]
    module = importlib.import_module(f"jupyterlab_kf.suggestions.{_MODULES.get(algorithm, 'optuna')}")
    proposed: Propose = module.propose
    return proposed
