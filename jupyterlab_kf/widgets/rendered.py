"""What a renderer hands to a display: the same thing as HTML and as text.

In a notebook the front end chooses; in a terminal IPython prints the text. Knows no IPython: the method is a protocol.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jupyterlab_kf.model import JobView
from jupyterlab_kf.widgets.jobs import job_html, job_text
from jupyterlab_kf.widgets.wire import MIME_JOB, job_json


@dataclass(frozen=True, slots=True)
class Rendered:
    """Text, HTML, and further representations by MIME type."""

    text: str
    html: str
    more: Mapping[str, Any] = field(default_factory=dict)

    def bundle(self) -> dict[str, Any]:
        """The MIME bundle."""
        return {**self.more, "text/html": str(self.html), "text/plain": self.text}

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return self.bundle()

    def __repr__(self) -> str:
        return self.text


def job_card(view: JobView) -> Rendered:
    """A job at one moment."""
    return Rendered(job_text(view), job_html(view), {MIME_JOB: job_json(view)})
