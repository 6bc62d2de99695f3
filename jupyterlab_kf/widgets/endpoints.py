"""What a cell shows of an endpoint: its versions with their share of the requests, its path, and why it is not ready.

Pure, as HTML and as text. Also the table of endpoints, a prediction with its way through the graph, and the history.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from jupyterlab_kf.manifests.endpoints import Revision
from jupyterlab_kf.manifests.scaling import Scaling
from jupyterlab_kf.services.serving.measures import Measures
from jupyterlab_kf.services.serving.messages import Answer
from jupyterlab_kf.services.serving.states import EndpointView, VersionView
from jupyterlab_kf.widgets import code, text
from jupyterlab_kf.widgets.markup import Child, Html, el
from jupyterlab_kf.widgets.rendered import Rendered
from jupyterlab_kf.widgets.tables import grid, note, page
from jupyterlab_kf.widgets.wire import MIME_ENDPOINT, endpoint_json

_PHASES: Final[Mapping[str, str]] = {
    "Ready": "Succeeded",
    "Degraded": "Restarting",
    "Starting": "Pending",
    "Failed": "Failed",
}
_LONGEST: Final = 2000


def endpoint_card(view: EndpointView, measures: Mapping[str, Measures] | None = None) -> Rendered:
    """An endpoint at one moment."""
    header = ["Version", "State", "Requests", "Replicas", "Model", "Graph"]
    header += ["Answered", "Errors", "Median", "p99", "Reward"] if measures else []
    rows = [_row(one, measures) for one in view.versions]
    marked: list[list[Child]] = [
        [el("b", row[0]), _badge(one.state), _share(one), *row[3:]]
        for row, one in zip(rows, view.versions, strict=True)
    ]
    notes = _notes(view)
    why = _why(view)
    head = el(
        "div",
        el("span", f"Endpoint {view.ref.name}", cls="kf-name"),
        _badge(view.state),
        el("span", f"revision {view.revision}" if view.revision else None, cls="kf-tag"),
        cls="kf-head",
    )
    trace = next((one.explanation.traceback for one in view.versions if one.explanation), "")
    html = page(
        head,
        el("div", el("code", view.path), cls="kf-dim"),
        grid(header, marked, label=f"Versions of endpoint {view.ref.name}"),
        *(el("div", line, role="alert" if line in why else None) for line in [*why, *notes]),
        code.html(trace, "pytb") if trace else None,
    )
    lines = [f"Endpoint {view.ref.name}: {view.state}", view.path, text.table(header, rows), *why, *notes]
    return Rendered("\n".join([*lines, *([trace] if trace else [])]), html, {MIME_ENDPOINT: endpoint_json(view)})


def _row(one: VersionView, measures: Mapping[str, Measures] | None) -> list[str]:
    share = f"{one.traffic} %" if one.mirror is None else f"copies of {one.mirror} %"
    model = " ".join(part for part in (one.called, one.model[:8]) if part)
    row = [one.name, one.state, share, f"{one.ready}/{one.wanted}", model, one.graph]
    if not measures:
        return row
    seen = measures.get(one.name) or Measures()
    times = [_milliseconds(seen.seconds.get(share)) for share in (0.5, 0.99)]
    reward = "" if seen.mean_reward is None else f"{seen.mean_reward:.3g} ({seen.feedbacks})"
    return [*row, str(seen.requests), str(seen.errors), *times, reward]


def _milliseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.3g} ms"


def _share(one: VersionView) -> Html:
    """The share as a number and as a bar."""
    if one.mirror is not None:
        return el("span", f"copies of {one.mirror} %", cls="kf-dim")
    bar = el("div", el("div", style=f"width:{one.traffic}%"), cls="kf-bar", style="width:80px;--kf-c:var(--kf-run)")
    return el("span", f"{one.traffic} %", bar)


def _badge(state: str) -> Html:
    signs = {"Ready": "✔", "Failed": "✖", "Degraded": "!", "Starting": "…"}
    return el("span", f"{signs.get(state, '')} {state}", cls=f"kf-badge kf-{_PHASES.get(state, 'Unknown')}")


def _why(view: EndpointView) -> list[str]:
    told = [one.explanation for one in view.versions if one.explanation]
    lines = [line for one in told for line in (one.sentence, f"→ {one.hint}" if one.hint else "") if line]
    if not lines and view.message and (view.state != "Ready" or any(one.asleep for one in view.versions)):
        return [view.message]
    return lines


def _notes(view: EndpointView) -> list[str]:
    lines = []
    if view.pending:
        shares = ", ".join(f"{name} {share} %" for name, share in view.pending.items())
        lines.append(f"Once all versions are ready: {shares}")
    if view.divided is False and len(view.versions) > 1:
        lines.append("No Istio gateway can be used: only what notebooks ask is divided, and nothing is mirrored.")
    lines += [f"{one.name}: {one.scaling.words}" for one in view.versions if one.scaling and _is_scaled(one.scaling)]
    if view.restless:
        lines.append(view.restless)
    return lines


def _is_scaled(scaling: Scaling) -> bool:
    return scaling.by_load or scaling.idle is not None


def endpoints_table(views: Sequence[EndpointView]) -> Rendered:
    """The endpoints of a namespace."""
    if not views:
        return note("No endpoints here.", "Serve a model with %kf_serve, for example `%kf_serve model --name iris`.")
    header = ["Name", "State", "Requests", "Protocol", "Path"]
    rows = [[one.ref.name, one.state, _shares(one), one.protocol, one.path] for one in views]
    marked: list[list[Child]] = [[el("b", row[0]), _badge(row[1]), *row[2:4], el("code", row[4])] for row in rows]
    return Rendered(text.table(header, rows), page(grid(header, marked, label="Endpoints")))


def _shares(view: EndpointView) -> str:
    return ", ".join(f"{one.name} {one.traffic} %" for one in view.versions if one.traffic or one.mirror is None)


def answer_card(answer: Answer) -> Rendered:
    """A prediction, and who gave it."""
    said = text.plural(len(answer.names), "column") if answer.names else ""
    facts = [
        f"{answer.seconds * 1000:.1f} ms",
        f"version {answer.version}" if answer.version else "",
        said,
        ", ".join(f"{name} → {branch}" for name, branch in answer.routing.items() if branch >= 0),
        ", ".join(f"{name}={value}" for name, value in answer.tags.items()),
    ]
    line = " · ".join(fact for fact in facts if fact)
    shown = _shown(answer.value)
    return Rendered(f"{shown}\n{line}", page(el("pre", shown, style="margin:2px 0"), el("div", line, cls="kf-dim")))


def _shown(value: Any) -> str:
    said = value if isinstance(value, str) else repr(value)
    return said if len(said) <= _LONGEST else f"{said[:_LONGEST]}… ({len(said)} characters)"


def history_table(known: Sequence[Revision], now: float | None = None) -> Rendered:
    """The changes of an endpoint, newest first."""
    moment = time.time() if now is None else now
    header = ["Revision", "What", "Requests", "Who", "From", "Model", "Code", "When"]
    rows = [
        [
            str(one.number),
            one.cause,
            ", ".join(f"{name} {share} %" for name, share in one.traffic.items() if share),
            one.author,
            one.notebook.rpartition("/")[2],
            *(" ".join(sorted({digest[:8] for digest in part.values() if digest})) for part in (one.models, one.codes)),
            f"{text.duration(moment - one.when)} ago" if one.when else "",
        ]
        for one in reversed(known)
    ]
    return Rendered(text.table(header, rows), page(grid(header, [[*row] for row in rows], label="History")))


def serve_plan_card(summary: str, yaml: str, diff: str) -> Rendered:
    """What ``--dry-run`` shows: a change as its difference, something new as its manifests."""
    from jupyterlab_kf.widgets.plans import plan_card

    if not diff:
        return plan_card(summary, yaml)
    said = [el("p", line, style="margin:2px 0;white-space:pre-wrap") for line in summary.splitlines() if line.strip()]
    head = el("div", "Dry run: nothing was changed", cls="kf-h")
    html = page(head, *said, el("div", "What would change", cls="kf-h"), code.html(diff, "diff"))
    return Rendered(f"Dry run: nothing was changed\n{summary}\n\n{diff}", html)


__all__ = ["answer_card", "endpoint_card", "endpoints_table", "history_table", "serve_plan_card"]
