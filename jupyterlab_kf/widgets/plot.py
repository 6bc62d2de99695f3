"""Line plots of a job's metrics as inline SVG: small, without scripts, legible without colour, described in words.

Pure: points in, markup out. Long series are thinned to what the width can show, keeping each bucket's extremes, so
that a spike never disappears. Values that are not finite break the line instead of bending it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from jupyterlab_kf.model import Point
from jupyterlab_kf.widgets import text
from jupyterlab_kf.widgets.markup import Html, el, join
from jupyterlab_kf.widgets.style import RANKS

WIDTH: Final = 274
HEIGHT: Final = 132
_LEFT, _RIGHT, _TOP, _BOTTOM = 40, 8, 6, 18
_DASHES: Final = ("", "6 3", "2 2", "8 3 2 3")
MAX_POINTS: Final = 240
MAX_SERIES: Final = 8


class Axis(NamedTuple):
    """A linear scale: the data's range, padded, and the ticks to draw."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def at(self, value: float, start: float, end: float) -> float:
        """The position of a value between two ends of the drawing."""
        return start + (value - self.low) / (self.high - self.low) * (end - start)


def ticks(low: float, high: float, count: int = 4) -> tuple[float, ...]:
    """Round numbers (1, 2 or 5 times a power of ten) inside the range, about ``count`` of them."""
    raw = (high - low) / max(1, count)
    if not math.isfinite(raw) or raw <= 0:
        return (low,)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw * 0.7)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return tuple(index * step for index in range(first, last + 1))


def axis(values: Iterable[float], *, pad: float = 0.0, whole: bool = False) -> Axis:
    """The scale for values; a single value, or none, gets room around it."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    if high - low < 1e-12 * max(1.0, abs(high)):
        room = 0.5 if whole else max(abs(high) * 0.1, 1e-6)
        low, high = low - room, high + room
    else:
        room = (high - low) * pad
        low, high = low - room, high + room
    marks = ticks(low, high)
    if whole:
        marks = tuple(mark for mark in marks if float(mark).is_integer())
    return Axis(low, high, marks)


def thin(points: Sequence[Point], limit: int = MAX_POINTS) -> list[Point]:
    """At most about ``limit`` points: of each bucket the first, the smallest, the largest; and the very last."""
    if len(points) <= limit:
        return list(points)
    width = math.ceil(len(points) / (limit // 3))
    kept: list[Point] = []
    for start in range(0, len(points), width):
        bucket = range(start, min(start + width, len(points)))
        finite = [index for index in bucket if math.isfinite(points[index].value)]
        chosen = {bucket[0]}
        if finite:
            chosen |= {min(finite, key=lambda i: points[i].value), max(finite, key=lambda i: points[i].value)}
        kept += [points[index] for index in sorted(chosen)]
    if kept[-1] is not points[-1]:
        kept.append(points[-1])
    return kept


def _places(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Pairs of x and y; x is the step where every point has one, else the point's number."""
    stepped = all(point.step is not None for point in points)
    return [(float(p.step) if stepped and p.step is not None else float(n), p.value) for n, p in enumerate(points, 1)]


def _runs(pairs: Sequence[tuple[float, float]]) -> list[list[tuple[float, float]]]:
    """The stretches of a series between its values that are not finite."""
    runs: list[list[tuple[float, float]]] = [[]]
    for x, y in pairs:
        if math.isfinite(x) and math.isfinite(y):
            runs[-1].append((x, y))
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _line(pairs: Sequence[tuple[float, float]], x: Axis, y: Axis, index: int) -> Html:
    """One series: polylines, and a dot where a value stands alone or is the last."""
    color, dash = RANKS[index % len(RANKS)], _DASHES[index % len(_DASHES)]
    parts: list[Html] = []
    runs = _runs(pairs)
    for run in runs:
        dots = [(x.at(px, _LEFT, WIDTH - _RIGHT), y.at(py, HEIGHT - _BOTTOM, _TOP)) for px, py in run]
        if len(dots) > 1:
            path = " ".join(f"{px:.1f},{py:.1f}" for px, py in dots)
            parts.append(
                el(
                    "polyline",
                    points=path,
                    fill="none",
                    stroke=color,
                    stroke_width="1.8",
                    stroke_linejoin="round",
                    stroke_dasharray=dash or None,
                )
            )
        if len(dots) == 1 or run is runs[-1]:
            parts.append(el("circle", cx=f"{dots[-1][0]:.1f}", cy=f"{dots[-1][1]:.1f}", r="2.6", fill=color))
    return join(*parts)


def _grid(x: Axis, y: Axis) -> Html:
    parts: list[Html] = []
    for mark in y.ticks:
        at = f"{y.at(mark, HEIGHT - _BOTTOM, _TOP):.1f}"
        parts.append(
            el("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=at, y2=at, stroke="currentColor", stroke_opacity="0.13")
        )
        parts.append(el("text", text.number(mark), x=_LEFT - 5, y=at, text_anchor="end", dominant_baseline="middle"))
    for mark in x.ticks:
        at = f"{x.at(mark, _LEFT, WIDTH - _RIGHT):.1f}"
        parts.append(el("text", text.number(mark), x=at, y=HEIGHT - 4, text_anchor="middle"))
    base = HEIGHT - _BOTTOM
    parts.append(
        el("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=base, y2=base, stroke="currentColor", stroke_opacity="0.35")
    )
    return join(*parts)


def _description(metric: str, series: Mapping[str, Sequence[Point]]) -> str:
    said = []
    for replica, points in series.items():
        said.append(
            f"{replica}: {text.plural(len(points), 'value')}, from {text.number(points[0].value)} "
            f"to {text.number(points[-1].value)}"
        )
    return f"{metric} by replica. " + "; ".join(said) + "."


def chart(metric: str, series: Mapping[str, Sequence[Point]], order: Sequence[str]) -> Html:
    """One metric: a figure with its latest value as caption. ``order`` gives each replica its colour."""
    # In the order of the colours: a dashed line is drawn over the solid one that it may coincide with.
    shown = {name: series[name] for name in sorted(series, key=lambda name: _place(name, order)) if series[name]}
    drawn = {name: _places(thin(points)) for name, points in list(shown.items())[:MAX_SERIES]}
    stepped = all(point.step is not None for points in shown.values() for point in points)
    x = axis((px for pairs in drawn.values() for px, _ in pairs), whole=not stepped or _all_whole(drawn))
    y = axis((py for pairs in drawn.values() for _, py in pairs), pad=0.06)
    lines = [_line(pairs, x, y, _place(name, order)) for name, pairs in drawn.items()]
    svg = el(
        "svg",
        el("title", f"Plot of {metric}"),
        el("desc", _description(metric, shown)),
        _grid(x, y),
        *lines,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        width=WIDTH,
        height=HEIGHT,
        role="img",
        aria_label=_description(metric, shown),
    )
    last = next(iter(shown.values()))[-1].value
    return el("figure", el("figcaption", el("b", metric), " ", text.number(last)), svg)


def _place(name: str, order: Sequence[str]) -> int:
    """Which colour a replica has."""
    return order.index(name) if name in order else len(order)


def _all_whole(drawn: Mapping[str, Sequence[tuple[float, float]]]) -> bool:
    return all(px.is_integer() for pairs in drawn.values() for px, _ in pairs)


def legend(replicas: Sequence[str], order: Sequence[str]) -> Html:
    """Which line is whose: colour and dash as drawn, and the name."""
    keys = []
    for name in replicas[:MAX_SERIES]:
        index = _place(name, order)
        stroke = el(
            "line",
            x1=0,
            x2=22,
            y1=5,
            y2=5,
            stroke=RANKS[index % len(RANKS)],
            stroke_width=2,
            stroke_dasharray=_DASHES[index % len(_DASHES)] or None,
        )
        keys.append(el("span", el("svg", stroke, width=22, height=10, aria_hidden="true"), name))
    more = len(replicas) - MAX_SERIES
    return el("div", *keys, el("span", f"and {more} more") if more > 0 else None, cls="kf-legend")


def charts(
    metrics: Mapping[str, Mapping[str, Sequence[Point]]], order: Sequence[str], *, limit: int = 6
) -> Html | None:
    """The metrics side by side with one legend, or None when nothing was measured yet."""
    present = {name: series for name, series in metrics.items() if any(series.values())}
    if not present:
        return None
    figures = [chart(name, series, order) for name, series in list(present.items())[:limit]]
    names = sorted(
        {replica for series in present.values() for replica, points in series.items() if points},
        key=lambda name: _place(name, order),
    )
    more = len(present) - limit
    return join(
        el("div", *figures, cls="kf-plots"),
        legend(names, order) if len(names) > 1 else None,
        el("div", f"and {more} more metrics: {', '.join(list(present)[limit:])}", cls="kf-dim") if more > 0 else None,
    )
