"""Search spaces as Katib writes them: parameters with their texts, and the way between texts and the unit interval.

Every ordered parameter is a coordinate ``u`` in [0, 1] on which its distribution is uniform, so that an algorithm
knows neither steps nor logarithms; categories are numbers from 0. Steps count from ``min`` (Katib's hyperopt backend
counts from zero, which leaves the range). Values keep the text that the manifest gave them. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from statistics import NormalDist
from typing import Any, Final

TYPES: Final = ("double", "int", "discrete", "categorical")
DISTRIBUTIONS: Final = ("uniform", "logUniform", "normal", "logNormal")
_LOGS: Final = ("logUniform", "logNormal")
_NORMALS: Final = ("normal", "logNormal")
_SIGMAS: Final = 3.0
"""A normal distribution's range is its mean plus and minus so many standard deviations, as in Katib."""
_NORMAL: Final = NormalDist()
_TAIL: Final = _NORMAL.cdf(-_SIGMAS)
_MOST: Final = 10**12
"""Spaces with more combinations count as endless."""
_ENUMERABLE: Final = 100_000


class SpaceError(ValueError):
    """A parameter that cannot be searched. ``field`` is its path within ``feasibleSpace``."""

    def __init__(self, field: str, value: Any, message: str) -> None:
        super().__init__(message)
        self.field, self.value, self.message = field, value, message


@dataclass(frozen=True)
class Parameter:
    """One parameter; made by :func:`parameter`, which checks it.

    Attributes:
        texts: the values of a discrete or categorical parameter, as written; discrete ones sorted by their number.
        low, high, step: of a double or int; step is 0 for a double without one.
    """

    name: str
    type: str
    distribution: str = "uniform"
    texts: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    step: float = 0.0

    @property
    def ordered(self) -> bool:
        """False for categories, whose order means nothing."""
        return self.type != "categorical"

    @cached_property
    def size(self) -> int | None:
        """How many values there are; None for a double without step."""
        if self.texts:
            return len(self.texts)
        if not self.step:
            return 1 if self.low == self.high else None
        return math.floor((self.high - self.low) / self.step + 1e-9) + 1

    @property
    def values(self) -> list[str]:
        """Every value of a parameter that has a size, in order."""
        return list(self.texts) or [self._number(index) for index in range(self.size or 0)]

    def text(self, u: float) -> str:
        """The value at a coordinate in [0, 1] (of a category: at its number)."""
        if self.type == "categorical":
            return self.texts[int(u)]
        u = min(max(u, 0.0), 1.0)
        if self.texts:
            return self.texts[min(int(u * len(self.texts)), len(self.texts) - 1)]
        if self.size is None:
            return repr(min(max(self._warp(u, self.low, self.high), self.low), self.high))
        return self._number(self._index(self._warp(u, *self._outer)))

    def unit(self, text: str) -> float:
        """The coordinate of a value: the middle of those that give it (of a category: its number)."""
        if self.type == "categorical":
            return float(self.texts.index(text))
        if self.texts:
            return (self.texts.index(text) + 0.5) / len(self.texts)
        value = float(text)
        if self.size is None:
            return self._unwarp(value, self.low, self.high)
        index, (low, high) = self._index(value), self._outer
        left = self._unwarp(max(self.low + (index - 0.5) * self.step, low), low, high)
        right = self._unwarp(min(self.low + (index + 0.5) * self.step, high), low, high)
        return (left + right) / 2

    @cached_property
    def _outer(self) -> tuple[float, float]:
        """The range in which every step has its share, the first and the last a whole one too."""
        last = self.low + ((self.size or 1) - 1) * self.step
        low, high = self.low - self.step / 2, last + self.step / 2
        if self.distribution in _LOGS and low <= 0:
            low = self.low / 2
        return low, high

    def _index(self, value: float) -> int:
        return min(max(math.floor((value - self.low) / (self.step or 1.0) + 0.5), 0), (self.size or 1) - 1)

    def _number(self, index: int) -> str:
        value = self.low + index * self.step
        if self.type == "int":
            return str(round(value))
        return repr(float(f"{value:.12g}"))  # 0.1 * 3 is 0.30000000000000004

    def _warp(self, u: float, low: float, high: float) -> float:
        if low == high:
            return low
        if self.distribution in _NORMALS:
            u = min(max((_NORMAL.inv_cdf(_TAIL + u * (1 - 2 * _TAIL)) + _SIGMAS) / (2 * _SIGMAS), 0.0), 1.0)
        if self.distribution in _LOGS:
            return math.exp(math.log(low) + u * (math.log(high) - math.log(low)))
        return low + u * (high - low)

    def _unwarp(self, value: float, low: float, high: float) -> float:
        if low == high:
            return 0.5
        if self.distribution in _LOGS:
            value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
        u = min(max((value - low) / (high - low), 0.0), 1.0)
        if self.distribution in _NORMALS:
            u = (_NORMAL.cdf((2 * u - 1) * _SIGMAS) - _TAIL) / (1 - 2 * _TAIL)
        return u


def parameter(spec: Mapping[str, Any]) -> Parameter:
    """A parameter from an Experiment's ``spec.parameters`` entry.

    Raises:
        SpaceError: it has no values, or its numbers are none.
    """
    name, kind = str(spec.get("name") or ""), str(spec.get("parameterType") or "")
    space: Mapping[str, Any] = spec.get("feasibleSpace") or {}
    if kind in ("discrete", "categorical"):
        return _listed(name, kind, [str(text) for text in space.get("list") or ()])
    low, high = _number("min", space.get("min")), _number("max", space.get("max"))
    if low > high:
        raise SpaceError("min", space.get("min"), f"must not be greater than max, which is {space.get('max')}")
    distribution = str(space.get("distribution") or "uniform")
    distribution = "uniform" if distribution == "unknown" else distribution
    if distribution in _LOGS and low <= 0:
        raise SpaceError("min", space.get("min"), f"must be greater than 0 for distribution {distribution}")
    step = _number("step", space["step"]) if space.get("step") not in (None, "") else 0.0
    if step < 0 or (step == 0 and space.get("step")):
        raise SpaceError("step", space["step"], "must be greater than 0")
    if kind == "int":
        for field, value in (("min", low), ("max", high), ("step", step)):
            if not value.is_integer():
                raise SpaceError(field, space[field], "must be a whole number for parameterType: int")
        step = step or 1.0
    return Parameter(name, kind, distribution, (), low, high, step)


def _listed(name: str, kind: str, texts: Sequence[str]) -> Parameter:
    if not texts:
        raise SpaceError("list", [], "must have at least one value")
    twice = sorted({text for text in texts if texts.count(text) > 1})
    if twice:
        raise SpaceError("list", list(texts), f"has {', '.join(map(repr, twice))} more than once")
    if kind == "discrete":
        numbers = {text: _number("list", text) for text in texts}
        texts = sorted(texts, key=lambda text: numbers[text])
    return Parameter(name, kind, "uniform", tuple(texts))


def _number(field: str, text: Any) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise SpaceError(field, text, "must be a number")
    return value


def combinations(parameters: Sequence[Parameter]) -> int | None:
    """How many different points there are; None when they cannot be counted."""
    total = 1
    for one in parameters:
        if one.size is None:
            return None
        total *= one.size
    return total if total <= _MOST else None


def unseen(parameters: Sequence[Parameter], seen: set[tuple[str, ...]], number: int) -> tuple[str, ...] | None:
    """Some point of a countable space that is not in ``seen``, chosen by a number; None when there is none.

    Only for spaces that are small, or of which little is left: it looks at every point.
    """
    total = combinations(parameters)
    if total is None or total > _ENUMERABLE + len(seen):
        return None
    left = [point for point in product(*(one.values for one in parameters)) if point not in seen]
    return left[number % len(left)] if left else None
