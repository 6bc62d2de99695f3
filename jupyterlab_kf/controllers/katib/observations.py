r"""Metrics out of what a trial prints, writes or serves, and the durable record of them. Pure: lines in, values out.

The record lives in an annotation of the Trial (:data:`ANNOTATION`): for each metric its least, greatest and latest
value with the text it was reported in, how often it came, and its course, thinned to :data:`MOST_POINTS`. It is written
while the trial runs, so curves are live and early stopping sees every step; Katib's collector reports at the end.

Lines are read as Katib's collectors read them: a line counts if it names a metric, filters are regular expressions with
the name and the value as their first two groups, ``latest`` is the one with the latest time. Beyond Katib: numbers in
JSON count as well as texts, NaN and infinity are noticed instead of being cut to nothing, and lines that come near a
metric that never came are kept, to be shown.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from jupyterlab_kf.controllers.katib.status import UNAVAILABLE, number
from jupyterlab_kf.model import Obj, meta, parse_time

ANNOTATION: Final = "jupyterlab-kf.io/observations"
FILTER: Final = r"([\w|-]+)\s*=\s*([+-]?(?:(?:nan|NaN|inf|Inf|infinity|Infinity)(?!\w)|\d*(?:\.\d+)?(?:[Ee][+-]?\d+)?))"
"""Katib's default filter, which also sees what is no number."""
MOST_POINTS: Final = 500
_NEAR, _TAIL = 5, 20
_LONGEST: Final = 300
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_WORD: Final = re.compile(r"[^\W_]+")
_PROMETHEUS: Final = re.compile(
    r"^(?P<name>[A-Za-z_:][\w:]*)(?:\{[^}]*\})?\s+(?P<value>\S+)(?:\s+(?P<time>-?\d+))?\s*$"
)


@dataclass(slots=True)
class Series:
    """One metric: the texts of its values, and ``points`` as (number of the report, epoch seconds, text)."""

    low: str = UNAVAILABLE
    high: str = UNAVAILABLE
    latest: str = UNAVAILABLE
    when: float = -math.inf
    count: int = 0
    odd: int = 0
    """How many values were not finite numbers."""
    points: list[tuple[int, float, str]] = field(default_factory=list)

    def add(self, text: str, time: float) -> None:
        """Take a value in."""
        value = number(text)
        if value is None:
            self.odd += 1
        else:
            low, high = number(self.low), number(self.high)
            self.low = text if low is None or value < low else self.low
            self.high = text if high is None or value > high else self.high
            self.points.append((self.count, time, text))
            if len(self.points) > MOST_POINTS:
                del self.points[1:-1:2]
        if time >= self.when:
            self.when, self.latest = time, text
        self.count += 1


@dataclass(slots=True)
class Observer:
    """Reads one trial's metrics.

    Attributes:
        metrics: the names that count, the objective first.
        patterns: regular expressions of the filter; Katib's own when empty.
        json_lines: the lines are JSON objects.
        source: what is read, told in the record: another source begins a new record.
        began: epoch seconds at which the container began to run, which no condition of a Trial tells.
        unread: why nothing could be read at all.
    """

    metrics: Sequence[str]
    patterns: Sequence[re.Pattern[str]] = ()
    json_lines: bool = False
    source: str = ""
    began: float | None = None
    series: dict[str, Series] = field(default_factory=dict)
    near: list[str] = field(default_factory=list)
    tail: list[str] = field(default_factory=list)
    unread: str = ""

    @classmethod
    def resumed(cls, trial: Mapping[str, Any]) -> Observer:
        """The observer that goes on with a Trial's record: what was pushed is nowhere else to be read again."""
        made, record = cls.of(trial), record_of(trial)
        made.source, made.began = str(record.get("source") or ""), record.get("began")
        made.near = [str(line) for line in record.get("near") or ()]
        for name, one in (record.get("metrics") or {}).items():
            points = [(int(place), float(when), str(text)) for place, when, text in one.get("points") or ()]
            when = max((time for _, time, _ in points), default=-math.inf)
            low, high, latest = (str(one.get(key, UNAVAILABLE)) for key in ("min", "max", "latest"))
            made.series[name] = Series(low, high, latest, when, int(one["count"]), int(one["odd"]), points)
        return made

    @classmethod
    def of(cls, trial: Mapping[str, Any], source: str = "") -> Observer:
        """The observer that a Trial's spec asks for."""
        spec = trial.get("spec") or {}
        collector = spec.get("metricsCollector") or {}
        origin = collector.get("source") or {}
        formats = (origin.get("filter") or {}).get("metricsFormat") or ()
        style = (origin.get("fileSystemPath") or {}).get("format")
        patterns = tuple(re.compile(text) for text in formats) or (_default_filter(),)
        return cls(names_of(spec.get("objective") or {}), patterns, style == "JSON", source)

    def line(self, raw: str, time: float) -> bool:
        """Take a line in that was printed at that time (epoch seconds); True when it reported something."""
        text = _ESCAPES.sub("", raw).rstrip()
        if not text:
            return False
        self.tail.append(text[:_LONGEST])
        del self.tail[:-_TAIL]
        found = list(self._json(text) if self.json_lines else self._text(text))
        for name, value, when in found:
            self.value(name, value, time if when is None else when)
        if not found:
            self._notice(text)
        return bool(found)

    def value(self, name: str, text: str, time: float) -> None:
        """Take a value in."""
        self.series.setdefault(name, Series()).add(text, time)

    def pushed(self, name: str, text: str, time: float) -> None:
        """Take in what the program itself reported; a metric that nobody asked for is kept as one that came near."""
        if name in self.metrics:
            self.value(name, text, time)
        else:
            self._notice(f"{name}={text}"[:_LONGEST])

    def _text(self, text: str) -> Iterable[tuple[str, str, float | None]]:
        if not any(name in text for name in self.metrics):
            return
        first, space, _ = text.partition(" ")
        when = _time(first) if space else None
        for pattern in self.patterns:
            for match in pattern.finditer(text):
                name, value = (match[1] or "").strip(), (match[2] or "").strip()
                if name in self.metrics and value:
                    yield name, value, when

    def _json(self, text: str) -> Iterable[tuple[str, str, float | None]]:
        try:
            value = json.loads(text)
        except ValueError:
            return
        if not isinstance(value, dict):
            return
        stamp = value.get("timestamp")
        when = float(stamp) if isinstance(stamp, int | float) else _time(str(stamp)) if stamp else None
        for name in self.metrics:
            given = value.get(name)
            if isinstance(given, str | int | float) and not isinstance(given, bool):
                yield name, str(given).strip(), when

    def _notice(self, text: str) -> None:
        """Keep a line that looks as if it were meant to report the objective."""
        if self.metrics[0] in self.series or len(self.near) >= _NEAR:
            return
        wanted = {word.lower() for word in _WORD.findall(self.metrics[0])}
        if wanted & {word.lower() for word in _WORD.findall(text)} or re.search(r"=\s*[-+]?\d", text):
            self.near.append(text[:_LONGEST])

    def exposition(self, text: str, time: float) -> bool:
        """Take in what a Prometheus endpoint serves; True when it has one of the metrics."""
        found = False
        for line in text.splitlines():
            match = _PROMETHEUS.match(line)
            if match and match["name"] in self.metrics:
                self.value(match["name"], match["value"], time)
                found = True
        return found

    def record(self, *, done: bool) -> str:
        """What is known, as the annotation's text; ``done`` when nothing more will come."""
        body: Obj = {"done": done, "source": self.source, "metrics": {}}
        if self.began is not None:
            body["began"] = round(self.began, 3)
        for name in sorted(self.series, key=lambda one: list(self.metrics).index(one)):
            one = self.series[name]
            body["metrics"][name] = {
                "min": one.low,
                "max": one.high,
                "latest": one.latest,
                "count": one.count,
                "odd": one.odd,
                "points": [[place, round(time, 3), text] for place, time, text in one.points],
            }
        if self.metrics[0] not in self.series:
            body["near"] = self.near
        if self.unread:
            body["unread"] = self.unread
        body["tail"] = self.tail
        return _dumped(body)

    @staticmethod
    def finished(record: Mapping[str, Any]) -> str:
        """The text of a record to which nothing more will come."""
        return _dumped({**record, "done": True})


def _dumped(body: Mapping[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False)


@lru_cache(maxsize=1)
def _default_filter() -> re.Pattern[str]:
    return re.compile(FILTER)


def _time(text: str) -> float | None:
    """Epoch seconds of an RFC 3339 time, or None."""
    if len(text) < len("2026-01-01T00:00:00Z") or "T" not in text:
        return None
    try:
        return parse_time(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except ValueError:
        return None


def names_of(objective: Mapping[str, Any]) -> tuple[str, ...]:
    """The metrics of an objective, its own first."""
    names = [objective.get("objectiveMetricName"), *(objective.get("additionalMetricNames") or ())]
    return tuple(dict.fromkeys(str(name) for name in names if name))


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def record_of(trial: Mapping[str, Any]) -> Mapping[str, Any]:
    """A Trial's record; empty when there is none yet."""
    return _parsed(str((meta(trial).get("annotations") or {}).get(ANNOTATION) or ""))


def observation(trial: Mapping[str, Any]) -> Obj | None:
    """``status.observation`` of a Trial from its record, as Katib has it; None while nothing was reported."""
    record = record_of(trial).get("metrics") or {}
    names = names_of((trial.get("spec") or {}).get("objective") or {})
    if not names or names[0] not in record:
        return None
    metrics = []
    for name in names:
        one = record.get(name) or {}
        metrics.append({"name": name, **{key: str(one.get(key, UNAVAILABLE)) for key in ("min", "max", "latest")}})
    return {"metrics": metrics}


def course(trial: Mapping[str, Any]) -> list[tuple[int, float]]:
    """The objective's values of a Trial in the order of their reports, as (number of the report, value)."""
    names = names_of((trial.get("spec") or {}).get("objective") or {})
    points = ((record_of(trial).get("metrics") or {}).get(names[0] if names else "") or {}).get("points") or ()
    return [(int(place), value) for place, _, text in points if (value := number(text)) is not None]


def missing(trial: Mapping[str, Any]) -> str:
    """Why a trial has no usable objective, in a sentence with the lines that came near."""
    record = record_of(trial)
    name = names_of((trial.get("spec") or {}).get("objective") or {})[0]
    one = (record.get("metrics") or {}).get(name)
    if one and one.get("count") == one.get("odd"):
        return f"{name} was reported as {one.get('latest')!r}, which is not a finite number"
    if record.get("unread"):
        return f"{name} was not looked for: {record['unread']}"
    near = [str(line) for line in record.get("near") or ()]
    looks = f"; lines that came near: {' | '.join(near[:3])}" if near else ""
    return f"{name} was never reported{looks}"
