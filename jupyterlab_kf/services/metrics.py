"""Metrics and progress as programs print them: ``loss=0.31 epoch=3/10``, Keras' lines, progress bars.

Pure: lines in, values out; the time comes with the line. Understands what is common and ignores the rest: a line
that says nothing is never an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from jupyterlab_kf.model import LogLine, Point
from jupyterlab_kf.services.logs import plain

MOST_POINTS: Final = 2000
"""Per metric and replica; beyond it every second point is dropped, which a plot does not show."""

_NUMBER: Final = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf)(?![\w])"
_PAIR: Final = re.compile(rf"(?<![\w./-])([A-Za-z_][\w./-]*)\s*=\s*({_NUMBER})(?:\s*/\s*(\d+))?(?![\w.])")
_COLON: Final = re.compile(rf"(?<![\w./-])([A-Za-z_][\w./-]*)\s*:\s+({_NUMBER})(?![\w.:])")
_COUNTER: Final = re.compile(
    r"\b(epoch|step|iter|iteration|batch|round|global_step)s?\b\s*[:=#\[(]*\s*(\d+)\s*(?:/|of)\s*(\d+)", re.IGNORECASE
)
_STEP: Final = re.compile(r"\b(epoch|step|iter|iteration|batch|round|global_step)\b\s*[:=#]?\s*(\d+)", re.IGNORECASE)
_PERCENT: Final = re.compile(r"(?<![\w.])(\d{1,3}(?:\.\d+)?)\s*%\s*(?:\||$|complete|done)", re.IGNORECASE)
_BAR: Final = re.compile(r"(\d+)/(\d+)\s*\[[=>.\s#━-]")
_STEPS: Final = ("epoch", "step", "iter", "iteration", "batch", "round", "global_step")
_OUTER: Final = ("epoch", "round")
_NOT_METRICS: Final = {*_STEPS, "epochs", "steps", "rank", "local_rank", "world_size", "size", "seed", "pid", "port"}
_KNOWN: Final = re.compile(
    r"(?:^|[_./-])(loss|acc|accuracy|error|err|lr|auc|f1|mse|mae|rmse|precision|recall|perplexity|reward|score)$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one line says: metrics by name, the step they belong to, how far the work is (0 to 1)."""

    values: Mapping[str, float] = field(default_factory=dict)
    step: float | None = None
    progress: float | None = None


def read(text: str) -> Reading:
    """What a line says."""
    if "=" not in text and ":" not in text and "/" not in text and "%" not in text:
        return Reading()
    line = plain(text)
    values: dict[str, float] = {}
    for match in _PAIR.finditer(line):
        name = match.group(1)
        # NAME_LIKE_THIS is an environment variable that a library prints, not something that is learnt.
        if name.lower() not in _NOT_METRICS and match.group(3) is None and not (name.isupper() and "_" in name):
            values[name] = float(match.group(2))
    for match in _COLON.finditer(line):
        if _KNOWN.search(match.group(1)) and match.group(1) not in values:
            values[match.group(1)] = float(match.group(2))
    steps = {match.group(1).lower(): float(match.group(2)) for match in _STEP.finditer(line)}
    inner = [value for name, value in steps.items() if name not in _OUTER]
    step = inner[-1] if inner else next(iter(steps.values()), None)
    return Reading(values, step, _progress(line))


def _progress(line: str) -> float | None:
    parts: dict[bool, tuple[float, float]] = {}
    for match in _COUNTER.finditer(line):
        total = float(match.group(3))
        if total > 0:
            parts[match.group(1).lower() in _OUTER] = (float(match.group(2)), total)
    if bar := _BAR.search(line):
        parts.setdefault(False, (float(bar.group(1)), float(bar.group(2)) or 1.0))
    if True in parts and False in parts:
        (epoch, epochs), (done, total) = parts[True], parts[False]
        return _bounded((max(epoch - 1, 0) + done / total) / epochs)
    if parts:
        done, total = next(iter(parts.values()))
        return _bounded(done / total)
    if percent := _PERCENT.search(line):
        return _bounded(float(percent.group(1)) / 100)
    return None


def _bounded(value: float) -> float:
    return min(max(value, 0.0), 1.0)


@dataclass(slots=True)
class Metrics:
    """Collects what the lines of a job say. ``series`` maps metric to replica to its points."""

    series: dict[str, dict[str, list[Point]]] = field(default_factory=dict)
    _progress: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    _began: dict[str, tuple[float, float]] = field(default_factory=dict)

    def feed(self, line: LogLine) -> bool:
        """Take a line in; True when it said something."""
        reading = read(line.text)
        for name, value in reading.values.items():
            points = self.series.setdefault(name, {}).setdefault(line.replica, [])
            points.append(Point(value, reading.step, line.time))
            if len(points) > MOST_POINTS:
                del points[1:-1:2]
        if reading.progress is not None:
            self._progress[line.replica] = (reading.progress, line.time)
            if line.time is not None:
                first = self._began.setdefault(line.replica, (reading.progress, line.time))
                if reading.progress < first[0]:  # it began anew
                    self._began[line.replica] = (reading.progress, line.time)
        return bool(reading.values) or reading.progress is not None

    @property
    def progress(self) -> float | None:
        """How far the slowest replica that says it is, from 0 to 1."""
        return min((value for value, _ in self._progress.values()), default=None)

    def eta(self, now: float) -> float | None:
        """Seconds until the slowest replica is done, if it goes on as it did."""
        slowest = min(self._progress.items(), key=lambda item: item[1][0], default=None)
        if slowest is None or slowest[0] not in self._began:
            return None
        name, (done, when) = slowest
        first, began = self._began[name]
        if when is None or done <= first or when <= began:
            return 0.0 if done >= 1 else None
        left = (1 - done) * (when - began) / (done - first)
        return max(left - max(now - when, 0.0), 0.0)

    def frozen(self) -> dict[str, dict[str, tuple[Point, ...]]]:
        """The series as they are now."""
        return {name: {who: tuple(points) for who, points in by.items()} for name, by in self.series.items()}
