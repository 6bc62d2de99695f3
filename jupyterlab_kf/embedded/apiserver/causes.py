"""One reason for a 422, in the words of a real API server, and how rules look at values of any type. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from jupyterlab_kf.embedded.apiserver import syntax


class Cause(NamedTuple):
    """One reason for a 422."""

    field: str
    reason: str
    message: str


def show(value: Any) -> str:
    """A value as messages quote it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def invalid(field: str, value: Any, why: str) -> Cause:
    """A value that breaks a rule."""
    return Cause(field, "FieldValueInvalid", f"Invalid value: {show(value)}: {why}")


def required(field: str, why: str = "") -> Cause:
    """A value that is missing."""
    return Cause(field, "FieldValueRequired", f"Required value: {why}" if why else "Required value")


def unsupported(field: str, value: Any, allowed: Iterable[str]) -> Cause:
    """A value that is none of those that exist."""
    listed = ", ".join(json.dumps(item) for item in allowed)
    message = f"Unsupported value: {show(value)}: supported values: {listed}"
    return Cause(field, "FieldValueNotSupported", message)


def duplicate(field: str, value: Any) -> Cause:
    """A value that may occur once."""
    return Cause(field, "FieldValueDuplicate", f"Duplicate value: {show(value)}")


def forbidden(field: str, why: str) -> Cause:
    """A value that may not be there."""
    return Cause(field, "FieldValueForbidden", f"Forbidden: {why}")


def each(field: str, value: Any, reasons: Iterable[str]) -> list[Cause]:
    """One cause for each reason."""
    return [invalid(field, value, reason) for reason in reasons]


def items(value: Any) -> list[dict[str, Any]]:
    """The maps in a list; none when it is no list."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a map, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def not_negative(field: str, value: Any) -> list[Cause]:
    """A number that may not be below zero."""
    if isinstance(value, int | float) and value < 0:
        return [invalid(field, value, "must be greater than or equal to 0")]
    return []


def labels(found: Mapping[str, Any], field: str) -> list[Cause]:
    """Keys and values of labels."""
    causes: list[Cause] = []
    for key, value in found.items():
        causes += each(field, key, syntax.qualified(key))
        causes += each(field, value, syntax.label_value(str(value)))
    return causes
