"""Conditions of trial templates: the part of GJSON's path language that Katib's manifests use. Pure.

``a.b``, ``a.0``, ``a.#`` (length), ``a.#.b`` (of each), ``#(k=="v")`` (the first), ``#(k=="v")#`` (all), ``[@this]``
(what there is as an array of one, which can be queried) and ``|``, which goes on with the whole instead of with each.
Everything else of GJSON (modifiers, multipaths, wildcards, nested queries) is refused at submit with its place, instead
of meaning nothing at run time.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

_STEP: Final = re.compile(
    r"""
    \#\( \s* (?P<key>[\w.\-/\\]+) \s*
        (?: (?P<sign>==|!=|<=|>=|<|>) \s* (?P<value>"(?:[^"\\]|\\.)*"|[^\s()]+) )?
    \s* \) (?P<all>\#)?
    | (?P<length>\#)
    | (?P<wrap>\[@this\])
    | (?P<name>(?:[\w\-/$:]|\\.)+)
    """,
    re.VERBOSE,
)
_SIGNS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_MISSING: Final = object()


@dataclass(frozen=True, slots=True)
class _Step:
    kind: str
    name: str = ""
    sign: str = ""
    value: Any = None
    piped: bool = False


Steps: TypeAlias = tuple[_Step, ...]


@lru_cache(maxsize=256)
def parse(text: str) -> Steps:
    """The steps of an expression.

    Raises:
        ValueError: it is none, or none that is understood here; says where.
    """
    steps: list[_Step] = []
    at, piped = 0, False
    while True:
        match = _STEP.match(text, at)
        if match is None or match.end() == at:
            raise ValueError(f"{text!r} cannot be understood at {text[at:] or 'its end'!r}")
        steps.append(_step(match, piped=piped))
        at = match.end()
        if at == len(text):
            return tuple(steps)
        if text[at] not in ".|":
            raise ValueError(f"{text!r} cannot be understood at {text[at:]!r}")
        piped = text[at] == "|"
        at += 1


def _step(match: re.Match[str], *, piped: bool) -> _Step:
    if match["key"] is not None:
        value = match["value"]
        try:
            parsed = None if value is None else json.loads(value)
        except ValueError:
            parsed = value
        return _Step("all" if match["all"] else "first", match["key"], match["sign"] or "", parsed, piped)
    if match["length"] is not None:
        return _Step("each", piped=piped)
    if match["wrap"] is not None:
        return _Step("wrap", piped=piped)
    return _Step("name", re.sub(r"\\(.)", r"\1", match["name"]), piped=piped)


def found(text: str, obj: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What an expression finds, as Katib reads it: an object, or the first of a non-empty array; None if neither."""
    value = _walk(parse(text), obj)
    if isinstance(value, list) and value:
        return value[0] if isinstance(value[0], Mapping) else {}
    return value if isinstance(value, Mapping) else None


def _walk(steps: Steps, value: Any) -> Any:
    for place, step in enumerate(steps):
        if value is _MISSING:
            return _MISSING
        rest = steps[place + 1 :]
        match step.kind:
            case "name":
                value = _child(value, step.name)
            case "wrap":
                value = [value]
            case "each":
                if not isinstance(value, list):
                    return _MISSING
                if not rest or rest[0].piped:
                    value = len(value)
                else:
                    inner, outer = _split(rest)
                    return _walk(outer, _mapped(inner, value))
            case _:
                kept = [item for item in value if _holds(step, item)] if isinstance(value, list) else []
                if step.kind == "first":
                    value = kept[0] if kept else _MISSING
                else:
                    inner, outer = _split(rest)
                    return _walk(outer, _mapped(inner, kept) if inner else kept)
    return value


def _split(rest: Steps) -> tuple[Steps, Steps]:
    """What applies to each element, and what to the whole again."""
    piped = next((place for place, step in enumerate(rest) if step.piped), len(rest))
    return rest[:piped], rest[piped:]


def _mapped(steps: Steps, values: list[Any]) -> list[Any]:
    return [result for item in values if (result := _walk(steps, item)) is not _MISSING]


def _child(value: Any, name: str) -> Any:
    if isinstance(value, Mapping):
        return value.get(name, _MISSING)
    if isinstance(value, list) and name.isdecimal() and int(name) < len(value):
        return value[int(name)]
    return _MISSING


def _holds(step: _Step, item: Any) -> bool:
    value = item
    for part in step.name.split("."):
        value = _child(value, part)
    if not step.sign:
        return value is not _MISSING
    try:
        return value is not _MISSING and _SIGNS[step.sign](value, step.value)
    except TypeError:
        return False
