"""A study as algorithms see it: its parameters, settings and every suggestion so far. Pure.

Below the algorithms, which take a study and answer with points; :mod:`.questions`, above them, reads one from JSON.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from jupyterlab_kf.suggestions.space import Parameter

Point: TypeAlias = tuple[str, ...]
PENDING, DONE, FAILED = "pending", "done", "failed"


@dataclass(frozen=True, slots=True)
class Seen:
    """A suggestion of before: its values in the parameters' order, and its loss (less is better) once it is done."""

    name: str
    point: Point
    state: str
    loss: float | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Suggested:
    """A new point; labels travel on the trial and come back with its history."""

    point: Point
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Study:
    """Everything an algorithm may look at. ``before`` counts suggestions that are left out of the history."""

    algorithm: str
    settings: Mapping[str, str]
    parameters: tuple[Parameter, ...]
    seed: int
    history: tuple[Seen, ...]
    max_trials: int | None = None
    before: int = 0

    @property
    def total(self) -> int:
        """How many suggestions there were."""
        return self.before + len(self.history)

    def number(self, name: str, default: float) -> float:
        """A setting as a number."""
        return float(self.settings.get(name, default))

    def with_pending(self, found: Sequence[Suggested]) -> Study:
        """The study as it will be once these run."""
        more = tuple(Seen("", one.point, PENDING, None, one.labels) for one in found)
        return replace(self, history=(*self.history, *more))


class AskError(ValueError):
    """The question cannot be answered, now or later; the message says why."""
