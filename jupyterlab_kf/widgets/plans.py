"""A plan, the answer to ``--dry-run``: what would be created, in words and as highlighted YAML. Pure.

Long texts inside the manifests (the launcher that travels with the code) are folded to their first line: a person wants
to see the job. The whole YAML is ``plan.yaml()``.
"""

from __future__ import annotations

import re
from typing import Final

from jupyterlab_kf.widgets import code
from jupyterlab_kf.widgets.markup import el
from jupyterlab_kf.widgets.rendered import Rendered
from jupyterlab_kf.widgets.tables import page

MOST_LINES: Final = 25
MOST_WIDTH: Final = 160
_BLOCK: Final = re.compile(r"( *)(?:- )?[^\s#][^\n]*: [|>][-+\d]*$")


def plan_card(summary: str, yaml: str) -> Rendered:
    """The summary above the manifests, the job's own first. Nothing was created, and both say so."""
    shown = folded("---\n".join(reversed(re.split(r"(?m)^---\n", yaml))))
    said = [el("p", line, style="margin:2px 0;white-space:pre-wrap") for line in summary.splitlines() if line.strip()]
    head = el("div", "Dry run: nothing was created", cls="kf-h")
    html = page(head, *said, el("div", "Manifests", cls="kf-h"), code.html(shown, "yaml"))
    return Rendered(f"Dry run: nothing was created\n{summary}\n\n{shown}".rstrip(), html)


def cell_card(text: str) -> Rendered:
    """A cell that does what a form says, folded away: what is left of the form when nobody is there to run it."""
    html = page(el("details", el("summary", "This form as a cell"), code.html(text, "python")))
    return Rendered(text, html)


def folded(yaml: str) -> str:
    """YAML whose long block texts and long lines are cut, each with a comment that says by how much."""
    kept: list[str] = []
    lines = yaml.splitlines()
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        kept.append(line if len(line) <= MOST_WIDTH else f"{line[:MOST_WIDTH]}…  # {len(line)} characters")
        begun = _BLOCK.match(line)
        if not begun:
            continue
        end = at
        while end < len(lines) and (not lines[end].strip() or lines[end].startswith(begun[1] + " ")):
            end += 1
        block, at = lines[at:end], end
        if len(block) > MOST_LINES:
            block = [block[0], f"{begun[1]}  # … {len(block) - 1} more lines"]
        kept += block
    return "\n".join(kept) + "\n"
