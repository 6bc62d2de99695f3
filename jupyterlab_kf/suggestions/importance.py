"""How much each parameter has to do with what the best trials have in common. Pure; standard library only.

PED-ANOVA (Watanabe, Bansal and Hutter, IJCAI 2023): a parameter matters as far as its values among the best trials are
distributed otherwise than among all of them, told by the Pearson divergence of the two densities. Both are of the same
trials, so an algorithm that samples unevenly does not make a parameter look important. Few trials differ by chance:
what a random choice of as many is expected to show is subtracted (in closed form), and below zero counts as nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final

from jupyterlab_kf.suggestions.space import Parameter

FEWEST: Final = 10
"""Trials with a value below which nothing is said."""
_PART: Final = 0.1
_LEAST_BEST: Final = 10
_CELLS: Final = 32
_SCOTT: Final = 1.06 / math.sqrt(12)
"""Scott's factor for the spread of a uniform coordinate."""

Cells = tuple[int, ...]
"""Of each parameter the cell in which a trial's value lies."""


def cells_of(parameters: Sequence[Parameter], texts: Mapping[str, str]) -> Cells | None:
    """The cells of a trial's values; None when it has a value that the space has not."""
    try:
        return tuple(_cell(one, texts[one.name]) for one in parameters)
    except (KeyError, ValueError):
        return None


def shares(parameters: Sequence[Parameter], trials: Sequence[tuple[Cells, float]], *, low: bool) -> dict[str, float]:
    """Parameter to its share of all that was found, which add up to 1; empty where nothing stands out.

    Args:
        parameters: those that were searched.
        trials: the cells and the objective's value of each trial that has one.
        low: whether small values are the better ones.
    """
    if len(trials) < FEWEST or len({value for _, value in trials}) == 1:
        return {}
    order = sorted(trials, key=lambda trial: trial[1] if low else -trial[1])
    best = max(math.ceil(_PART * len(order)), min(len(order) // 3, _LEAST_BEST))
    found = {}
    for place, one in enumerate(parameters):
        size = _size(one)
        every, among = [0] * size, [0] * size
        for rank, (cells, _) in enumerate(order):
            every[cells[place]] += 1
            if rank < best:
                among[cells[place]] += 1
        found[one.name] = _excess(every, among, _kernel(size, best, one.ordered))
    total = sum(found.values())
    return {name: value / total for name, value in found.items()} if total > 0 else {}


def _size(one: Parameter) -> int:
    return min(one.size or _CELLS, _CELLS) if one.ordered else len(one.texts)


def _cell(one: Parameter, text: str) -> int:
    if not one.ordered:
        return one.texts.index(text)
    size = _size(one)
    return min(int(one.unit(text) * size), size - 1)


@lru_cache(maxsize=64)
def _kernel(size: int, best: int, ordered: bool) -> tuple[tuple[float, ...], ...]:  # noqa: FBT001  a key of the cache
    """For each cell what a value in it adds to every cell: a bump that stays inside; a category only to itself."""
    if not ordered:
        return tuple(tuple(float(cell == other) for other in range(size)) for cell in range(size))
    width = max(_SCOTT * best**-0.2, 0.5 / size) * size
    rows = []
    for cell in range(size):
        bump = [math.exp(-0.5 * ((cell - other) / width) ** 2) for other in range(size)]
        rows.append(tuple(value / sum(bump) for value in bump))
    return tuple(rows)


def _excess(every: Sequence[int], among: Sequence[int], kernel: Sequence[Sequence[float]]) -> float:
    """The divergence of the best from all, less what chance is expected to show; 0 where that is more."""
    count, best = sum(every), sum(among)
    divergence = expected = 0.0
    for cell in range(len(every)):
        here = [row[cell] for row in kernel]
        whole = sum(number * value for number, value in zip(every, here, strict=True)) / count
        if whole <= 0:
            continue
        part = sum(number * value for number, value in zip(among, here, strict=True)) / best
        square = sum(number * value * value for number, value in zip(every, here, strict=True)) / count
        divergence += (part - whole) ** 2 / whole
        expected += max(square - whole * whole, 0.0) / whole
    return max(divergence - expected * (count - best) / (count - 1) / best, 0.0)
