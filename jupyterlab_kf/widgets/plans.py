"""A plan, the answer to ``--dry-run``: what would be created, in words and as highlighted YAML. Pure."""

from __future__ import annotations

from jupyterlab_kf.widgets import code
from jupyterlab_kf.widgets.markup import el
from jupyterlab_kf.widgets.rendered import Rendered
from jupyterlab_kf.widgets.tables import page

MIME_YAML = "application/yaml"


def plan_card(summary: str, yaml: str) -> Rendered:
    """The summary above the manifests. Nothing was created, and both say so."""
    said = [el("p", line, style="margin:2px 0") for line in summary.splitlines() if line.strip()]
    head = el("div", "Dry run: nothing was created", cls="kf-h")
    html = page(head, *said, code.html(yaml, "yaml"))
    return Rendered(f"Dry run: nothing was created\n{summary}\n\n{yaml}".rstrip(), html)
