"""What a cell shows of a study: where it stands, the best so far, its course, its trials. Pure, as HTML and as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from jupyterlab_kf.manifests.studyviews import RUNNING, WAITING, StudyRecord, StudyTrial, saved
from jupyterlab_kf.widgets import jobs, text
from jupyterlab_kf.widgets.markup import Child, Html, el
from jupyterlab_kf.widgets.rendered import Rendered
from jupyterlab_kf.widgets.tables import grid, page
from jupyterlab_kf.widgets.wire import MIME_STUDY
from jupyterlab_kf.widgets.wire import plain as plain_json

SHOWN: Final = 12
"""Trials in the table: the best ones, those that run, and the latest."""
_TOLD: Final = 0.05
"""Share of importance from which a parameter is named."""
_WIDTH, _HEIGHT, _EDGE = 360, 80, 6


def study_card(whole: StudyRecord) -> Rendered:
    """A study at one moment; JupyterLab shows the record of it instead, live."""
    head, rows = whole.head, whole.trials
    best = next((row for row in rows if row.name == head.best), None)
    ended = sum(1 for row in rows if row.state not in (*WAITING, RUNNING))
    count = f"{ended} of {head.budget} trials" if head.budget else f"{ended} trials"
    names = [one.name for one in head.parameters]
    lead = _best(best, head.objective, names)
    shown = _chosen(rows, best)
    header = ["Trial", "State", head.objective, *names, "Took"]
    plain = [[str(row.number), row.state, _short(row.value), *map(_value, row.values), _took(row)] for row in shown]
    marked: list[list[Child]] = [
        [_marked(row, best), jobs.badge(_phase(row.state)), *line[2:]] for row, line in zip(shown, plain, strict=True)
    ]
    why = [f"{row.number}: {row.message}" for row in shown if row.state in ("Failed", "MetricsUnavailable")]
    matter = ", ".join(f"{one.name} {one.share:.0%}" for one in head.importance if one.share >= _TOLD)
    lines = [f"Study {head.name}: {head.state}, {count}", *([lead] if lead else [])]
    lines += [head.message] if head.state == "Failed" else []
    lines += [f"what matters: {matter}"] if matter else []
    table = text.table(header, plain) if plain else ""
    html = page(
        el("div", el("b", f"Study {head.name}"), " ", jobs.badge(_phase(head.state)), " ", _dim("span", count)),
        el("div", lead) if lead else None,
        el("div", head.message, role="alert") if head.state == "Failed" else None,
        _dim("div", f"what matters: {matter}") if matter else None,
        _course(rows, best, head.objective),
        grid(header, marked, label=f"Trials of study {head.name}") if marked else None,
        *(_dim("div", line) for line in why[-3:]),
    )
    told = "\n".join([*lines, *([table] if table else []), *why[-3:]])
    return Rendered(told, html, {MIME_STUDY: plain_json(saved(whole))})


def _dim(tag: str, said: str) -> Html:
    return el(tag, said, cls="kf-dim")


def _best(best: StudyTrial | None, objective: str, names: Sequence[str]) -> str:
    if best is None:
        return ""
    values = ", ".join(f"{key}={_value(value)}" for key, value in zip(names, best.values, strict=False))
    return f"best {objective} {_short(best.value)} in trial {best.number}: {values}"


def _chosen(rows: Sequence[StudyTrial], best: StudyTrial | None) -> list[StudyTrial]:
    """The best trial, those that run, and the latest, in their order."""
    running = [row for row in rows if row.state == RUNNING]
    kept = {row.name: row for row in [*([best] if best else []), *running, *reversed(rows)][:SHOWN]}
    return [row for row in rows if row.name in kept]


def _value(given: str) -> str:
    try:
        return given if given.lstrip("-").isdecimal() else f"{float(given):.4g}"
    except ValueError:
        return given


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _took(row: StudyTrial) -> str:
    return text.duration(row.finished - row.started if row.finished and row.started else None)


def _marked(row: StudyTrial, best: StudyTrial | None) -> Child:
    number = str(row.number)
    return el("b", f"{number} ★", title="the best so far") if best and row.name == best.name else number


_PHASES: Final[Mapping[str, str]] = {
    "Created": "Pending",
    "Killed": "Suspended",
    "EarlyStopped": "Suspended",
    "MetricsUnavailable": "Failed",
}


def _phase(state: str) -> str:
    """The word whose colour a state has."""
    return _PHASES.get(state, state)


def _course(rows: Sequence[StudyTrial], best: StudyTrial | None, objective: str) -> Html | None:
    """Every trial's value as a dot, and the best so far as a line."""
    points = [(row.number, row.value) for row in rows if row.value is not None]
    if len(points) < 2 or best is None or best.value is None:  # noqa: PLR2004  one point is no course
        return None
    values = [value for _, value in points]
    low, high = min(values), max(values)
    last = max(number for number, _ in points) or 1
    up = best.value == high and best.value != low

    def place(number: int, value: float) -> tuple[float, float]:
        x = _EDGE + (_WIDTH - 2 * _EDGE) * number / last
        y = _EDGE + (_HEIGHT - 2 * _EDGE) * (high - value) / ((high - low) or 1.0)
        return round(x, 1), round(y, 1)

    line, so_far = [], points[0][1]
    for number, value in points:
        so_far = max(so_far, value) if up else min(so_far, value)
        line.append(place(number, so_far))
    dots = [el("circle", cx=x, cy=y, r=2, fill="currentColor", opacity="0.45") for x, y in (place(*p) for p in points)]
    corners = " ".join(f"{x},{y}" for x, y in line)
    path = el("polyline", points=corners, fill="none", stroke="currentColor", stroke_width="1.5")
    title = f"{objective} of {len(points)} trials, and the best so far"
    box = f"0 0 {_WIDTH} {_HEIGHT}"
    parts = (el("title", title), *dots, path)
    return el("svg", *parts, role="img", aria_label=title, viewBox=box, width=_WIDTH, height=_HEIGHT)
