"""What a cell shows of what a monitor found: alarms first, then features and versions, and what was not seen. Pure."""

from __future__ import annotations

import time
from collections.abc import Sequence

from jupyterlab_kf.services.serving.findings import Finding, Findings
from jupyterlab_kf.widgets import text
from jupyterlab_kf.widgets.markup import Child, el
from jupyterlab_kf.widgets.rendered import Rendered
from jupyterlab_kf.widgets.tables import grid, page

_HEADER = ("What", "Of", "State", "Difference", "By chance", "Now", "Reference", "Rows")
_MOST = 50


def findings_card(name: str, found: Findings, now: float | None = None) -> Rendered:
    """The findings of the monitor of an endpoint of that name."""
    loud = [one for one in found.findings if one.alarm]
    ordered = sorted(found.findings, key=lambda one: (not one.alarm, not one.changed, -one.size))
    rows = [_row(one) for one in ordered[:_MOST]]
    marked: list[list[Child]] = [
        [row[0], el("b", row[1]), _badge(one), *row[3:]] for row, one in zip(rows, ordered[:_MOST], strict=True)
    ]
    title = f"Monitor of {name}: {_state(found, len(loud))}"
    told = _alarms(found, time.time() if now is None else now)
    notes = [*notes_of(found), *([f"{len(ordered) - _MOST} more are not shown"] if len(ordered) > _MOST else [])]
    html = page(
        el("div", el("span", title, cls="kf-name"), cls="kf-head"),
        grid(_HEADER, marked, label=f"What the monitor of {name} compared") if rows else None,
        *(el("div", line, role="alert") for line in told),
        *(el("div", line, cls="kf-dim") for line in notes),
    )
    table = [text.table(list(_HEADER), rows)] if rows else []
    return Rendered("\n".join([title, *table, *told, *notes]), html)


def notes_of(found: Findings) -> list[str]:
    """What is to be known beside the findings: the sample, and what was not seen."""
    copied = "all requests are" if found.sample >= 1 else f"{found.sample:.0%} of the requests are"
    lines = [f"{text.plural(found.rows, 'row')} so far; {copied} copied, the last {found.window} rows are looked at"]
    if any(one.changed for one in found.findings):
        lines.append(
            f"Changed, by less than the {found.effect:.2g} that is worth an alarm, or for the better: no alarm"
        )
    if found.dropped:
        lines.append(f"Copies that were dropped, as the monitor was away or slow: {found.dropped}")
    if found.unread:
        lines.append(f"Copies that could not be read: {found.unread}; the last one: {found.why}")
    if found.trouble:
        lines.append(found.trouble)
    lines += [f"{column} is not watched: it {why}" for column, why in list(found.left.items())[:5]]
    return lines


def _state(found: Findings, alarms: int) -> str:
    if alarms:
        return text.plural(alarms, "alarm")
    if not found.findings:
        return f"waits for {found.least} rows"
    changed = sum(one.changed for one in found.findings)
    return f"no alarm; {changed} changed by less" if changed else "all is well"


def _alarms(found: Findings, now: float) -> Sequence[str]:
    return [
        f"{one.reason}, {text.duration(max(now - one.when, 0))} ago: {one.message}"
        for one in reversed(found.alarms[-5:])
    ]


def _row(one: Finding) -> list[str]:
    values = ["" if one_value is None else f"{one_value:.3g}" for one_value in (one.value, one.usual)]
    state = "alarm" if one.alarm else "changed" if one.changed else ""
    chance = f"{one.p:.2g}" if one.test else ""
    return [one.about, one.name, state, f"{one.size:.2f}" if one.test else "", chance, *values, str(one.rows)]


def _badge(one: Finding) -> Child:
    if one.alarm:
        return el("span", "! alarm", cls="kf-badge kf-Failed")
    if one.changed:
        return el("span", "≠ changed", cls="kf-badge")
    return el("span", "✔" if one.test else "", cls="kf-dim")  # what has no reference is neither well nor ill
