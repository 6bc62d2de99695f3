"""Bodies that mean no harm: JSON values that every other part of the server can walk, store and write again. Pure.

Refuses what a parser lets through and what would break or blow up later: nesting without end, aliases that make a
small text a huge value (YAML bombs) or a circle, numbers and characters that JSON does not have.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final, NoReturn

DEPTH: Final = 150
"""Nesting that no manifest has; a walk over it stays far from the interpreter's own limit."""
_VALUES: Final = 2_000_000


class UnsoundError(ValueError):
    """A value that is well-formed and still not taken."""


def loads(body: bytes, *, object_pairs_hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none, or no sound one.
    """
    try:
        value = json.loads(body, object_pairs_hook=object_pairs_hook, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise UnsoundError("exceeded max depth") from error
    if body.count(b"{") + body.count(b"[") > DEPTH:
        _measure(value, 0, {})
    if b"\\u" in body:
        _refuse_half_characters(value)
    return value


def as_json(value: Any) -> Any:
    """A value from YAML as JSON has it: keys are text, nothing is shared.

    Raises:
        ValueError: it is too deep, too large when its aliases are written out, or nothing that JSON can say.
    """
    _measure(value, 0, {})
    try:
        copied = json.loads(json.dumps(value, allow_nan=False))
    except TypeError as error:
        raise UnsoundError(f"error converting YAML to JSON: {error}") from error
    _refuse_half_characters(copied)
    return copied


def _refuse_constant(text: str) -> NoReturn:
    raise UnsoundError(f"invalid number {text}")


def _refuse_half_characters(value: Any) -> None:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise UnsoundError("invalid surrogate in string") from error


def _measure(value: Any, depth: int, known: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """How many values there are and how deep they nest, each alias counted as what it stands for."""
    if not isinstance(value, dict | list):
        return 1, 0
    found = known.get(id(value))
    if found is None:
        if depth > DEPTH:
            raise UnsoundError("exceeded max depth")
        known[id(value)] = 1, DEPTH  # met again below itself, it is a circle
        size, height = 1, 0
        for item in value.values() if isinstance(value, dict) else value:
            count, below = _measure(item, depth + 1, known)
            size, height = size + count, max(height, below + 1)
        found = known[id(value)] = size, height
    if found[0] > _VALUES:
        raise UnsoundError("document contains excessive aliasing")
    if depth + found[1] > DEPTH:
        raise UnsoundError("exceeded max depth")
    return found
