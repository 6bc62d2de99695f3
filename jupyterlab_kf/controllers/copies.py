"""Objects are their giver's: who changes one changes a copy."""

from __future__ import annotations

from typing import Any, Final, TypeVar, cast

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_Json = TypeVar("_Json")


def copied(value: _Json) -> _Json:
    """A copy of JSON to its depth: several times quicker than ``copy.deepcopy``, which looks for more than there is."""
    made: Any = value
    if isinstance(value, dict):
        made = {key: one if type(one) in _PLAIN else copied(one) for key, one in value.items()}
    elif isinstance(value, list):
        made = [one if type(one) in _PLAIN else copied(one) for one in value]
    return cast("_Json", made)
