"""Highlighted source: manifests, tracebacks and programs, as HTML in the theme's colours and as ANSI for terminals.

Pygments is imported on first use only. Token colours come from the one style sheet, so that they follow the theme;
Pygments' own styles would be fixed to light or dark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jupyterlab_kf.widgets import text
from jupyterlab_kf.widgets.markup import Html, el

if TYPE_CHECKING:
    from pygments.lexer import Lexer

_CLASSES: Final = (
    ("Generic.Error", "kf-e"),
    ("Name.Exception", "kf-e"),
    ("Generic.Traceback", "kf-k"),
    ("Comment", "kf-c1"),
    ("Keyword", "kf-k"),
    ("Name.Tag", "kf-n"),
    ("Name.Builtin", "kf-n"),
    ("Name.Function", "kf-n"),
    ("Name.Class", "kf-n"),
    ("Literal.String", "kf-s"),
    ("Literal.Number", "kf-m"),
)
_ANSI: Final = {
    "kf-e": "\x1b[1;31m",
    "kf-k": "\x1b[35m",
    "kf-c1": "\x1b[2m",
    "kf-n": "\x1b[34m",
    "kf-s": "\x1b[33m",
    "kf-m": "\x1b[32m",
}


def _lexer(language: str) -> Lexer:
    from pygments.lexers import get_lexer_by_name

    found: Lexer = get_lexer_by_name(language, stripnl=False)
    return found


def _tokens(source: str, language: str) -> list[tuple[str, str]]:
    """Pairs of our class (or nothing) and text."""
    pairs: list[tuple[str, str]] = []
    for kind, value in _lexer(language).get_tokens(source):
        name = str(kind).removeprefix("Token.")
        cls = next((cls for prefix, cls in _CLASSES if name == prefix or name.startswith(f"{prefix}.")), "")
        if pairs and pairs[-1][0] == cls:
            pairs[-1] = (cls, pairs[-1][1] + value)
        else:
            pairs.append((cls, value))
    return pairs


def html(source: str, language: str) -> Html:
    """A ``<pre>`` with highlighted source. Languages: ``yaml``, ``python``, ``pytb`` and the rest of Pygments'."""
    parts = [el("span", value, cls=cls) if cls else value for cls, value in _tokens(source.rstrip("\n"), language)]
    if parts and not isinstance(parts[-1], Html):
        parts[-1] = parts[-1].rstrip("\n")
    return el("pre", *parts, cls="kf-pre")


def ansi(source: str, language: str) -> str:
    """The same for a terminal."""
    return "".join(
        f"{_ANSI[cls]}{value}{text.RESET}" if cls else value for cls, value in _tokens(source.rstrip("\n"), language)
    ).rstrip("\n")
