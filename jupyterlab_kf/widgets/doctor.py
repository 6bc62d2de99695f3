"""What a cluster has and lacks, as a page, as text and as JSON. Decides nothing: the report has judged already."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any, Final

from jupyterlab_kf.services.diagnosis import Finding, Report, Section, State
from jupyterlab_kf.widgets.markup import Html, el, join
from jupyterlab_kf.widgets.rendered import Rendered
from jupyterlab_kf.widgets.tables import page

_SIGNS: Final[dict[State, str]] = {"ok": "✔", "lacks": "✖", "look": "!", "unknown": "?"}
_WORDS: Final[dict[State, str]] = {"ok": "fine", "lacks": "lacks", "look": "look", "unknown": "cannot tell"}
_LOOKS: Final[dict[State, str]] = {"ok": "Succeeded", "lacks": "Failed", "look": "Pending", "unknown": "Unknown"}
_COMMANDS: Final = ("kubectl ", "helm ", "istioctl ")
_WIDTH: Final = 100


def report_card(report: Report) -> Rendered:
    """The report for people."""
    return Rendered(_text(report), _html(report))


def report_json(report: Report) -> dict[str, Any]:
    """The report for programs."""
    sections = [{**asdict(section), "state": section.state} for section in report.sections]
    return {**asdict(report), "ready": report.ready, "sections": sections}


def _verdict(report: Report) -> str:
    lacking = [section.title for section in report.sections if section.essential and section.state == "lacks"]
    if lacking:
        return f"Jobs cannot be trained in {report.namespace} yet: see {', '.join(lacking)}."
    return f"Jobs can be trained in {report.namespace}."


def _text(report: Report) -> str:
    lines = [f"{report.cluster}: {report.why}", f"  {report.server}, Kubernetes {report.version}", _verdict(report)]
    wide = max((len(one.what) for section in report.sections for one in section.findings), default=0)
    for section in report.sections:
        lines += ["", f"{_SIGNS[section.state]} {section.title}"]
        for one in _once(section.findings):
            lines += _lines(one, wide)
    return "\n".join(lines)


def _once(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings; a hint that several share is given with the first of them."""
    said: set[str] = set()
    for one in findings:
        yield replace(one, hint="as above") if one.hint in said else one
        said |= {one.hint} - {""}


def _lines(one: Finding, wide: int) -> list[str]:
    indent = " " * (wide + 6)
    head = f"  {_SIGNS[one.state]} {one.what:{wide}}  "
    said = textwrap.wrap(one.detail, _WIDTH, initial_indent=head, subsequent_indent=indent) or [head.rstrip()]
    for part in one.hint.splitlines():
        # A command must stay in one piece, or it cannot be copied.
        hint = [part] if part.startswith(_COMMANDS) else textwrap.wrap(part, _WIDTH - len(indent) - 2)
        said += [f"{indent}{'→ ' if n == 0 else '  '}{line}" for n, line in enumerate(hint)]
    return said


def _html(report: Report) -> str:
    ready = "Succeeded" if report.ready else "Failed"
    head = el(
        "div",
        el("span", report.cluster, cls="kf-name"),
        _badge("ok" if report.ready else "lacks", "ready" if report.ready else "not ready"),
        el("span", report.why, cls="kf-tag"),
        cls="kf-head",
    )
    about = el("div", f"{report.server} · Kubernetes {report.version} · {report.user or 'unknown user'}", cls="kf-dim")
    verdict = el("p", el("b", _verdict(report)), cls="kf-verdict")
    card = el("div", head, about, verdict, *map(_section, report.sections), cls=f"kf-card kf-{ready}")
    return page(card)


def _section(section: Section) -> Html:
    title = el("summary", el("b", section.title), " ", _badge(section.state, _WORDS[section.state]))
    rows = el("dl", *map(_row, _once(section.findings)), cls="kf-checks")
    # What is fine is folded away: what is to be done is seen first.
    opened = {} if section.state == "ok" else {"open": ""}
    return el("details", title, rows, cls="kf-section", **opened)


def _row(one: Finding) -> Html:
    hint = join(*map(_todo, one.hint.splitlines()))
    sign = el("span", _SIGNS[one.state], cls=f"kf-sign kf-{_LOOKS[one.state]}", title=_WORDS[one.state], role="img",
              aria_label=_WORDS[one.state])  # fmt: skip
    return join(el("dt", sign, " ", one.what), el("dd", one.detail, hint))


def _todo(line: str) -> Html:
    return el("div", el("code", line) if line.startswith(_COMMANDS) else f"→ {line}", cls="kf-todo")


def _badge(state: State, word: str) -> Html:
    return el("span", f"{_SIGNS[state]} {word}", cls=f"kf-badge kf-{_LOOKS[state]}")
