"""The look of everything in an output: one style sheet, ``style.css``, scoped to ``.kf``.

Colours follow JupyterLab's theme variables, with fallbacks that are legible on white and on black, because saved
notebooks are also read in viewers that have no such variables. State colours are mixed with the text colour, which
keeps their contrast in light and dark themes without knowing which one is on. No colour is the only carrier of a
meaning: each state has its word and its sign beside it.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Final

from jupyterlab_kf.widgets.markup import Html

RANKS: Final = ("#3f86d6", "#d9822b", "#2f9e6e", "#a06cd5", "#d3577b", "#1fa0b4", "#8f8a1e", "#7f8a99")
"""One colour a replica, in the order of the job's replicas: at least 3:1 on white and on JupyterLab's dark grey."""


@cache
def sheet() -> Html:
    """The style element, without comments and blanks; each output carries its own, so that a saved one stands alone."""
    source = Path(__file__).with_name("style.css").read_text(encoding="utf-8")
    source = re.sub(r"/\*.*?\*/", "", source, flags=re.DOTALL)
    source = re.sub(r"\s*([{};,>])\s*", r"\1", re.sub(r"\s+", " ", source)).strip()
    return Html(f"<style>{source}</style>")
