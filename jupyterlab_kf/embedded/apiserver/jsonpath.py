"""The part of JSONPath that printer columns and scale subresources use: fields, indexes, slices, wildcards, filters.

Custom resource definitions name values with paths like ``.status.conditions[-1:].type`` or
``.status.conditions[?(@.type=="Ready")].status``. Paths come from stored definitions, so one that cannot be read
answers nothing instead of failing a whole table.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

_STEP: Final = re.compile(
    r"""\.?\[\?\(@(?P<left>[^=!<>]*)(?P<op>==|!=)(?P<right>.*?)\)\]
      | \.?\[(?P<slice>-?\d*:-?\d*)\]
      | \.?\[(?P<index>-?\d+)\]
      | \.?\[(?P<all>\*)\]
      | \.?\[(?P<quote>['"])(?P<quoted>.*?)(?P=quote)\]
      | \.(?P<star>\*)
      | \.(?P<name>(?:\\.|[^.\[\]])+)
    """,
    re.VERBOSE,
)


@lru_cache(maxsize=512)
def _steps(path: str) -> tuple[tuple[str, Any], ...] | None:
    steps: list[tuple[str, Any]] = []
    at = 0
    while at < len(path):
        match = _STEP.match(path, at)
        if match is None:
            return None
        at = match.end()
        steps.append(_step(match))
    return tuple(steps)


def _step(match: re.Match[str]) -> tuple[str, Any]:
    found = match.groupdict()
    if found["op"]:
        try:
            right = json.loads(found["right"].strip().replace("'", '"'))
        except ValueError:
            right = found["right"].strip()
        return "filter", (found["left"].strip(), found["op"], right)
    if found["slice"] is not None:
        start, _, stop = found["slice"].partition(":")
        return "slice", slice(int(start) if start else None, int(stop) if stop else None)
    if found["index"] is not None:
        return "index", int(found["index"])
    if found["all"] or found["star"]:
        return "all", None
    if found["quote"]:
        return "name", found["quoted"]
    return "name", re.sub(r"\\(.)", r"\1", found["name"])


def values(obj: Any, path: str) -> list[Any]:
    """Everything that the path names, in order; empty when there is nothing, or when the path cannot be read."""
    steps = _steps(path if path.startswith((".", "[")) else f".{path}")
    found = [obj] if steps is not None else []
    for kind, argument in steps or ():
        found = [item for value in found for item in _follow(value, kind, argument)]
    return found


def _follow(value: Any, kind: str, argument: Any) -> Sequence[Any]:
    if kind == "name":
        return [value[argument]] if isinstance(value, Mapping) and argument in value else []
    if kind == "all" and isinstance(value, Mapping):
        return list(value.values())
    if not isinstance(value, list):
        return []
    if kind == "filter":
        left, operator, right = argument
        return [v for v in value if (values(v, left or ".")[:1] == [right]) == (operator == "==")]
    if kind == "index":
        argument = slice(argument, argument + 1 or None)
    return value[:] if kind == "all" else value[argument]


def first(obj: Any, path: str) -> Any:
    """The first value, or None."""
    found = values(obj, path)
    return found[0] if found else None


def put(obj: dict[str, Any], path: str, value: Any) -> None:
    """Sets the value at a path of plain names, making the mappings on the way."""
    names = [argument for kind, argument in _steps(path) or () if kind == "name"]
    for name in names[:-1]:
        below = obj.get(name)
        if not isinstance(below, dict):
            below = obj[name] = {}
        obj = below
    if names:
        obj[names[-1]] = value
