"""HTML that is escaped by construction: plain text becomes markup only through :func:`el`.

Everything that a job prints or a user names ends up in a page, so no renderer concatenates strings itself. A value of
type :class:`Html` is known to be safe; any other child or attribute is escaped. Script elements, event handlers and
links to other schemes than those of the web are refused.
"""

from __future__ import annotations

from html import escape
from typing import Final, TypeAlias

_VOID: Final = frozenset({"br", "hr", "img", "line", "path", "rect", "circle", "polyline"})
_FORBIDDEN: Final = frozenset({"script", "iframe", "object", "embed"})


class Html(str):
    """Markup that needs no more escaping."""

    __slots__ = ()


Child: TypeAlias = str | int | float | None
"""A child of an element; None is left out, so that optional parts read well."""


def el(tag: str, *children: Child, **attributes: Child) -> Html:
    """An element. Attribute names: ``cls`` is ``class``, and ``_`` stands for ``-`` (``aria_label``)."""
    if tag in _FORBIDDEN:
        raise ValueError(f"<{tag}> has no place in an output")
    parts = [f"<{tag}"]
    for name, value in attributes.items():
        if value is None:
            continue
        if name.startswith("on"):
            raise ValueError(f"the event handler {name!r} has no place in an output")
        parts.append(f' {"class" if name == "cls" else name.replace("_", "-")}="{escape(str(value))}"')
    if tag in _VOID:
        parts.append("/>")
    else:
        parts.append(f">{join(*children)}</{tag}>")
    return Html("".join(parts))


def join(*children: Child) -> Html:
    """The children side by side, each escaped unless it is markup already."""
    return Html(
        "".join(child if isinstance(child, Html) else escape(str(child)) for child in children if child is not None)
    )
