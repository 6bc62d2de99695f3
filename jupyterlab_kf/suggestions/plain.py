"""Algorithms that do not look at results and need no library: random and grid."""

from __future__ import annotations

import random as _random

from jupyterlab_kf.suggestions.study import Point, Study


def random(study: Study, index: int, attempt: int) -> Point:
    """An independent point, decided by the seed and the trial's number."""
    draw = _random.Random(f"{study.seed}/{index}/{attempt}")  # noqa: S311  nothing secret
    units = (draw.random() if one.ordered else draw.randrange(len(one.texts)) for one in study.parameters)
    return tuple(one.text(u) for one, u in zip(study.parameters, units, strict=True))


def grid(study: Study, index: int, attempt: int) -> Point:
    """The next combination, the last parameter counting fastest; points of before are skipped by the caller."""
    position = index + attempt
    if attempt:  # some of the grid was tried out of turn: look for a gap in order
        taken = {one.point for one in study.history}
        position = next(i for i in range(len(study.history) + 1) if _at(study, i) not in taken)
    return _at(study, position)


def _at(study: Study, position: int) -> Point:
    point = []
    for one in reversed(study.parameters):
        values = one.values
        position, place = divmod(position, len(values))
        point.append(values[place])
    return tuple(reversed(point))
