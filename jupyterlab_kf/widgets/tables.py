"""Tables and lists: jobs, a job in detail, the cluster, files that came back. Pure, as HTML and as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jupyterlab_kf.model import Event, JobView
from jupyterlab_kf.services.board import JobsRecord
from jupyterlab_kf.widgets import jobs, text
from jupyterlab_kf.widgets.markup import Child, Html, el, join
from jupyterlab_kf.widgets.rendered import Rendered
from jupyterlab_kf.widgets.style import sheet
from jupyterlab_kf.widgets.wire import MIME_JOBS, plain


def grid(header: Sequence[str], rows: Sequence[Sequence[Child]], *, label: str) -> Html:
    """A table; cells that are markup stay so."""
    head = el("thead", el("tr", *(el("th", name, scope="col") for name in header)))
    body = el("tbody", *(el("tr", *(el("td", cell) for cell in row)) for row in rows))
    return el("table", head, body, cls="kf-table", aria_label=label)


def page(*parts: Child) -> Html:
    """Parts of an output with the style sheet."""
    return join(sheet(), el("div", *parts, cls="kf"))


@dataclass(frozen=True, slots=True)
class JobRow:
    """One job in the list. ``replicas`` is like ``2/2`` (running or done, of all); times in seconds."""

    name: str
    namespace: str
    framework: str
    phase: str
    replicas: str
    age: float | None
    took: float | None = None


def jobs_table(rows: Sequence[JobRow], record: JobsRecord | None = None, *, namespaces: bool = False) -> Rendered:
    """The jobs, newest first as given, with a column for the namespace when they are of several.

    JupyterLab shows the record of them instead, live.
    """
    more = {MIME_JOBS: plain(record)} if record is not None else {}
    if not rows:
        said = note("No training jobs here.", "Run a cell with %%kf_train, for example `%%kf_train pytorch -n 2`.")
        return replace(said, more=more)
    header = [*(("Namespace",) if namespaces else ()), "Name", "Framework", "State", "Replicas", "Took", "Age"]
    lines: list[list[str]] = []
    marked: list[list[Child]] = []
    for row in rows:
        first = [row.namespace] if namespaces else []
        title, took, age = jobs.framework(row.framework), text.duration(row.took), text.duration(row.age)
        lines.append([*first, row.name, title, row.phase, row.replicas, took, age])
        marked.append([*first, el("b", row.name), title, jobs.badge(row.phase), row.replicas, took, age])
    return Rendered(text.table(header, lines), page(grid(header, marked, label="Training jobs")), more)


def note(message: str, hint: str = "") -> Rendered:
    """One sentence, and what to do next."""
    said = el("p", message, join(" ", el("span", hint, cls="kf-dim")) if hint else None, style="margin:2px 0")
    return Rendered(f"{message} {hint}".strip(), page(said))


def above(said: str, card: Rendered) -> Rendered:
    """A sentence over something that is shown."""
    return Rendered(f"{said}\n\n{card.text}", join(page(el("p", said, style="margin:2px 0 8px")), Html(card.html)))


def files_list(folder: Path, files: Sequence[tuple[str, int]], left: str = "") -> Rendered:
    """Files that came back from a job: path and size in bytes; ``left`` tells of those that could not."""
    if not files and not left:
        return note(f"The job left no files for {folder}.", "Files that it writes to $KF_OUTPUT come back.")
    rows = [(path, text.size(count)) for path, count in files]
    title = f"{text.plural(len(rows), 'file')} in {folder}"
    items = [el("div", el("code", name), " ", el("span", count, cls="kf-dim")) for name, count in rows]
    told = [left[:1].upper() + left[1:]] if left else []
    html = page(el("div", el("b", title)), *items, *(el("p", one) for one in told))
    return Rendered("\n".join([title, *(f"  {name}  {count}" for name, count in rows), *told]), html)


# ------------------------------------------------------------------------------------------------------- one job


def description(view: JobView, events: Sequence[Event], facts: Sequence[tuple[str, str]]) -> Rendered:
    """A job in detail: its card, what it ran, its conditions and its events."""
    conditions = [
        (c.type, "True" if c.status else "False", c.reason, text.clean(c.message), _ago(c.since, view.seen))
        for c in view.status.conditions
    ]
    happened = [(e.type, e.reason, _about(e), text.clean(e.message), _times(e, view.seen)) for e in events]
    sections = (
        ("What it ran", ("Fact", "Value"), [(name, text.clean(value)) for name, value in facts]),
        ("Conditions", ("Type", "Status", "Reason", "Message", "Since"), conditions),
        ("Events", ("Type", "Reason", "About", "Message", "When"), happened),
    )
    marked: list[Child] = []
    plain = [jobs.job_text(view)]
    for title, header, rows in sections:
        if rows:
            marked += [el("div", title, cls="kf-h"), grid(header, rows, label=title)]
            plain += ["", title, text.table(header, rows)]
    html = join(jobs.job_html(view), el("div", *marked, cls="kf"))
    return Rendered("\n".join(plain), html)


def _about(event: Event) -> str:
    return f"{event.about.kind} {event.about.name}"


def _ago(when: float | None, now: float) -> str:
    return f"{text.duration(now - when)} ago" if when is not None else ""


def _times(event: Event, now: float) -> str:
    times = f" ({event.count} times)" if event.count > 1 else ""
    return f"{_ago(event.last, now)}{times}".strip()


# --------------------------------------------------------------------------------------------------- the cluster


@dataclass(frozen=True, slots=True)
class NodeRow:
    """One machine of the cluster and what it can give."""

    name: str
    ready: bool
    cpu: str
    memory: str
    gpu: str


@dataclass(frozen=True, slots=True)
class ClusterFacts:
    """What there is to say about the cluster in use."""

    name: str
    why: str
    server: str
    version: str
    namespace: str
    nodes: tuple[NodeRow, ...] = ()
    others: tuple[str, ...] = ()


def cluster_card(facts: ClusterFacts) -> Rendered:
    """The cluster in use and its machines."""
    about = [("Server", facts.server), ("Kubernetes", facts.version), ("Namespace", facts.namespace)]
    if facts.others:
        about.append(("Others", ", ".join(facts.others)))
    header = ("Node", "State", "CPU", "Memory", "GPU")
    plain = [(node.name, _state(node), node.cpu, node.memory, node.gpu) for node in facts.nodes]
    marked: list[list[Child]] = [[name, _node_badge(ready), *rest] for (name, ready, *rest) in plain]
    head = el(
        "div",
        el("span", facts.name, cls="kf-name"),
        el("span", facts.why, cls="kf-tag"),
        cls="kf-head",
    )
    rows = (join(el("dt", name), el("dd", value)) for name, value in about if value)
    html = page(head, el("dl", *rows, cls="kf-facts"), grid(header, marked, label="Nodes") if plain else None)
    said = "\n".join([f"{facts.name}: {facts.why}", *(f"  {name + ':':11} {value}" for name, value in about if value)])
    return Rendered(f"{said}\n\n{text.table(header, plain)}" if plain else said, html)


def _state(node: NodeRow) -> str:
    return "Ready" if node.ready else "NotReady"


def _node_badge(state: str) -> Html:
    look = ("Succeeded", "✔") if state == "Ready" else ("Failed", "✖")
    return el("span", f"{look[1]} {state}", cls=f"kf-badge kf-{look[0]}")
