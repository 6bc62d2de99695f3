"""Conditions as Knative's library has them, which Seldon's operator and KServe use: sorted, with the time of a change.

Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyterlab_kf.model import Obj, format_time


def mark(status: Obj, type_: str, state: str, reason: str, now: float, *, message: str = "") -> None:
    """Set a condition to ``True``, ``False`` or ``Unknown``; nothing when it says so already."""
    new = {"type": type_, "status": state}
    new |= {key: value for key, value in (("reason", reason), ("message", message)) if value}
    others = [one for one in status.get("conditions") or () if one["type"] != type_]
    have = next((one for one in status.get("conditions") or () if one["type"] == type_), None)
    if have is not None and {key: value for key, value in have.items() if key != "lastTransitionTime"} == new:
        return
    status["conditions"] = sorted([*others, {**new, "lastTransitionTime": format_time(now)}], key=_type)


def _type(one: Mapping[str, Any]) -> str:
    return str(one["type"])
