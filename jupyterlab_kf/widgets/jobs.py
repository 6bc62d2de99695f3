"""A job at one moment, as HTML and as text: what is running, how far it is, what it prints, and why it waits or fails.

Pure: the same :class:`~jupyterlab_kf.model.JobView` always gives the same markup, so that a frame that says nothing
new is never sent. A person reads top down: name and state, progress, replicas, the reason, the plots, the last lines.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final

from jupyterlab_kf.manifests.frameworks import FRAMEWORKS
from jupyterlab_kf.model import Explanation, JobView, LogLine, Replica
from jupyterlab_kf.widgets import code, plot, text
from jupyterlab_kf.widgets.markup import Html, el, join
from jupyterlab_kf.widgets.style import RANKS, sheet

SIGNS: Final = {
    "Pending": "◔",
    "Waiting": "◔",
    "Running": "▶",
    "Restarting": "↻",
    "Suspended": "‖",
    "Succeeded": "✔",
    "Failed": "✖",
    "Ended": "■",
}
MAX_CHIPS: Final = 16
MAX_LINES: Final = 14
MAX_TRACEBACK: Final = 40


def sign(phase: str) -> str:
    """One character for a phase, never its only mark."""
    return SIGNS.get(phase, "○")


def badge(phase: str) -> Html:
    """The phase as a coloured word."""
    return el("span", f"{sign(phase)} {phase}", cls=f"kf-badge kf-{_class(phase)}")


def _class(phase: str) -> str:
    return phase if phase in SIGNS else "Unknown"


def framework(name: str) -> str:
    """The framework as its makers write it."""
    return next((row.title for row in FRAMEWORKS if name.lower() in (row.name, *row.aliases)), name)


def speakers(view: JobView) -> list[str]:
    """Names that log lines and metrics may carry, in a stable order: replicas first, then ranks as they appeared."""
    order = [replica.name for replica in view.replicas]
    voices = [line.replica for line in view.log] + [name for series in view.metrics.values() for name in series]
    extra = sorted({name for name in voices if name not in order}, key=lambda name: (len(name), name))
    silent = [name for name in order if name not in voices]
    # Whoever speaks gets the first colours: with MPI the launcher and its workers say nothing, their ranks do.
    return [name for name in order if name in voices] + extra + silent


def elapsed(view: JobView) -> float | None:
    """Seconds that the job has run, or waited when it has not started."""
    begin = view.status.started or view.status.created
    if begin is None:
        return None
    return (view.status.finished or view.seen) - begin


def clock(view: JobView) -> str:
    """``waiting 12s``, ``1m 05s``, with the time that is left when it is known."""
    took = text.duration(elapsed(view))
    if not took:
        return ""
    if view.status.phase.finished:
        return f"took {took}"
    if view.status.started is None:
        return f"waiting {took}"
    return f"{took} · about {text.duration(view.eta)} left" if view.eta is not None else took


# ---------------------------------------------------------------------------------------------------------------- HTML


def job_html(view: JobView) -> Html:
    """The card of a job, with its style sheet."""
    phase = str(view.status.phase)
    name = view.ref.name
    parts = [
        _head(view),
        _progress(view),
        _chips(view.replicas),
        _why(view.explanation),
        plot.charts(view.metrics, speakers(view)),
        _log(view),
    ]
    card = el("div", *parts, cls=f"kf-card kf-{_class(phase)}", role="group", aria_label=f"Job {name}, {phase}")
    return join(sheet(), el("div", card, cls="kf"))


def _head(view: JobView) -> Html:
    return el(
        "div",
        el("span", view.ref.name, cls="kf-name"),
        badge(str(view.status.phase)),
        el("span", f"{framework(view.framework)} · {view.ref.namespace or 'default'}", cls="kf-tag"),
        el("span", clock(view), cls="kf-time"),
        cls="kf-head",
    )


def _progress(view: JobView) -> Html | None:
    if view.progress is None:
        return None
    percent = max(0, min(100, round(view.progress * 100)))
    return el(
        "div",
        el("div", style=f"width:{percent}%"),
        cls="kf-bar",
        role="progressbar",
        aria_label="Progress",
        aria_valuemin=0,
        aria_valuemax=100,
        aria_valuenow=percent,
        title=f"{percent} %",
    )


def _chip(replica: Replica) -> Html:
    more = []
    if replica.restarts:
        more.append(text.plural(replica.restarts, "restart"))
    if replica.exit_code and replica.phase != "Succeeded":
        more.append(f"exit {replica.exit_code}")
    if replica.reason and replica.phase != "Succeeded":
        more.append(text.clean(replica.reason, limit=40))
    if replica.node:
        more.append(replica.node)
    return el(
        "span",
        el("span", sign(replica.phase), cls="kf-sign", aria_hidden="true"),
        " ",
        el("b", replica.name),
        " ",
        replica.phase,
        el("span", "".join(f" · {part}" for part in more), cls="kf-dim") if more else None,
        cls=f"kf-chip kf-{_class(replica.phase)}",
        role="listitem",
        title=text.clean(replica.message) or None,
    )


def _interesting(replica: Replica) -> int:
    return {"Failed": 0, "Restarting": 1, "Pending": 2, "Waiting": 2}.get(replica.phase, 3)


def _chips(replicas: Sequence[Replica]) -> Html | None:
    if not replicas:
        return None
    shown = list(replicas)
    rest: Counter[str] = Counter()
    if len(shown) > MAX_CHIPS:
        by_interest = sorted(range(len(shown)), key=lambda index: (_interesting(shown[index]), index))
        keep = set(by_interest[: MAX_CHIPS - 1])
        rest = Counter(replica.phase for index, replica in enumerate(shown) if index not in keep)
        shown = [replica for index, replica in enumerate(shown) if index in keep]
    more = [el("span", f"and {count} more {phase}", cls="kf-chip", role="listitem") for phase, count in rest.items()]
    return el("div", *(_chip(replica) for replica in shown), *more, cls="kf-chips", role="list", aria_label="Replicas")


def tail(traceback: str, limit: int = MAX_TRACEBACK) -> str:
    """A traceback without escape sequences, its end when it is long: the end is where the error is."""
    lines = [text.clean(line) for line in traceback.strip("\n").splitlines()]
    return "\n".join(lines if len(lines) <= limit else [lines[0], f"  … {len(lines) - limit} lines", *lines[-limit:]])


def _why(explanation: Explanation | None) -> Html | None:
    if explanation is None:
        return None
    note = el(
        "div",
        el("p", el("b", explanation.sentence)),
        el("p", explanation.hint) if explanation.hint else None,
        cls="kf-why",
        role="note",
    )
    if not explanation.traceback:
        return note
    return join(
        note,
        el("div", f"Traceback of {explanation.replica}" if explanation.replica else "Traceback", cls="kf-h"),
        code.html(tail(explanation.traceback), "pytb"),
    )


def _log(view: JobView) -> Html | None:
    lines = view.log[-MAX_LINES:]
    if not lines:
        return None
    order = speakers(view)
    width = max(len(line.replica) for line in lines)
    rows: list[Html] = []
    for line in lines:
        color = RANKS[order.index(line.replica) % len(RANKS)]
        who = el("span", line.replica.ljust(width), cls="kf-rank", style=f"--kf-rank:{color}")
        rows.append(join(who, "  ", text.clean(line.text), "\n" if line is not lines[-1] else None))
    return join(el("div", "Last lines", cls="kf-h"), el("pre", *rows, cls="kf-pre"))


# ---------------------------------------------------------------------------------------------------------------- text


def job_text(view: JobView) -> str:
    """The same as plain text."""
    lines = [headline(view)]
    if view.progress is not None:
        lines.append(f"  {text.bar(view.progress)} {round(view.progress * 100)} %")
    if view.replicas:
        lines.append("  " + replicas_text(view.replicas))
    lines += why_text(view.explanation)
    latest = metrics_text(view)
    if latest:
        lines.append("  " + latest)
    width = max((len(line.replica) for line in view.log), default=0)
    lines += [f"  {line.replica.ljust(width)} │ {text.clean(line.text)}" for line in view.log[-MAX_LINES:]]
    return "\n".join(lines)


def headline(view: JobView) -> str:
    """``✔ digits  Succeeded  MPI  took 8s``."""
    phase = str(view.status.phase)
    return f"{sign(phase)} {view.ref.name}  {phase}  {framework(view.framework)}  {clock(view)}".rstrip()


def replicas_text(replicas: Sequence[Replica]) -> str:
    """``worker-0 Running · worker-1 Failed (exit 1)``; counted by phase when they are many."""
    if len(replicas) > MAX_CHIPS:
        return " · ".join(f"{count} {phase}" for phase, count in Counter(r.phase for r in replicas).items())
    return " · ".join(
        f"{r.name} {r.phase}" + (f" (exit {r.exit_code})" if r.exit_code and r.phase != "Succeeded" else "")
        for r in replicas
    )


def why_text(explanation: Explanation | None) -> list[str]:
    """The reason, the hint and the traceback as indented lines."""
    if explanation is None:
        return []
    lines = [f"  {explanation.sentence}"]
    if explanation.hint:
        lines.append(f"  → {explanation.hint}")
    if explanation.traceback:
        lines += [f"  │ {line}" for line in tail(explanation.traceback).splitlines()]
    return lines


def metrics_text(view: JobView) -> str:
    """The last value of each metric: ``loss 0.41 · accuracy 0.93``."""
    latest = []
    for name, series in view.metrics.items():
        last = [points[-1] for points in series.values() if points]
        if last:
            latest.append(f"{name} {text.number(last[0].value)}")
    return " · ".join(latest)


def new_lines(before: Sequence[LogLine], after: Sequence[LogLine]) -> tuple[list[LogLine], bool]:
    """Lines of ``after`` that follow ``before``, and whether some may be missing between the two windows."""
    for overlap in range(min(len(before), len(after)), 0, -1):
        if list(before[-overlap:]) == list(after[:overlap]):
            return list(after[overlap:]), False
    return list(after), bool(before) and bool(after)
