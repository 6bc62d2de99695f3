"""Which of a study's suggestions an algorithm has to be told of, so that a long history costs no more than a short one.

The model-based algorithms look at the best trials, the latest and those that are running; in a space that cannot be
counted no more than these need to be said. What is left out would have changed no answer. Pure; standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from jupyterlab_kf.suggestions.space import SpaceError, combinations, parameter
from jupyterlab_kf.suggestions.study import PENDING, Seen

BEST, LATEST = 150, 250
_BLIND: Final = ("random", "sobol")
_FORGETFUL: Final = ("tpe", "anneal", "bayesianoptimization", "multivariate-tpe")


def worth_telling(
    algorithm: str, parameters: Sequence[Mapping[str, Any]], ends: Sequence[tuple[str, float | None]], sign: float
) -> Sequence[int]:
    """The numbers of the suggestions that must be in a question.

    Args:
        algorithm: its name.
        parameters: an Experiment's.
        ends: state and value of every suggestion so far, in order.
        sign: -1 where more is better, else 1.
    """
    everything = range(len(ends))
    if algorithm not in (*_BLIND, *_FORGETFUL):
        return everything
    try:
        countable = combinations([parameter(one) for one in parameters]) is not None
    except SpaceError:
        return everything
    if countable:  # no point of it may come twice
        return everything
    if algorithm in _BLIND:
        return ()
    return _remembered([state for state, _ in ends], [None if value is None else sign * value for _, value in ends])


def remembered(history: Sequence[Seen]) -> Sequence[Seen]:
    """The part of a history that a model is made from, in its order."""
    if len(history) <= BEST + LATEST:
        return history
    return [history[number] for number in _remembered([one.state for one in history], [one.loss for one in history])]


def _remembered(states: Sequence[str], losses: Sequence[float | None]) -> Sequence[int]:
    count = len(states)
    if count <= BEST + LATEST:
        return range(count)
    known = sorted((loss, number) for number, loss in enumerate(losses) if loss is not None)
    kept = {number for _, number in known[:BEST]}
    kept.update(range(count - LATEST, count))
    kept.update(number for number, state in enumerate(states) if state == PENDING)
    return sorted(kept)
