"""Conditions of a SeldonDeployment: one for each kind of object it needs, and ``Ready``, which sums them up. Pure.

The rules are those of the library that Seldon's operator uses: a condition's time is that of its last change of any
field, they are sorted by type, and the newest unhappy one is repeated as ``Ready``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf.model import Obj, format_time

DEPLOYMENTS: Final = "DeploymentsReady"
SERVICES: Final = "ServicesReady"
KEDA: Final = "KedaReady"
ROUTES: Final = "istioVirtualServicesReady"
AUTOSCALERS: Final = "HpasReady"
BUDGETS: Final = "PdbsReady"
MAPPINGS: Final = "AmbassadorMappingsReady"
READY: Final = "Ready"
_NEEDED: Final = (DEPLOYMENTS, SERVICES, KEDA, ROUTES, AUTOSCALERS, BUDGETS, MAPPINGS)


def mark(status: Obj, type_: str, state: str, reason: str, now: float, *, message: str = "") -> None:
    """Set a condition to ``True``, ``False`` or ``Unknown``; nothing when it says so already."""
    new = {"type": type_, "status": state}
    new |= {key: value for key, value in (("reason", reason), ("message", message)) if value}
    others = [one for one in status.get("conditions") or () if one["type"] != type_]
    have = next((one for one in status.get("conditions") or () if one["type"] == type_), None)
    if have is not None and {key: value for key, value in have.items() if key != "lastTransitionTime"} == new:
        return
    status["conditions"] = sorted([*others, {**new, "lastTransitionTime": format_time(now)}], key=_type)


def sum_up(status: Obj, now: float) -> None:
    """Set ``Ready`` by the others."""
    known = [one for one in status.get("conditions") or () if one["type"] in _NEEDED]
    newest = sorted(known, key=lambda one: str(one["lastTransitionTime"]), reverse=True)
    for state in ("False", "Unknown"):
        unhappy = next((one for one in newest if one["status"] == state), None)
        if unhappy is not None:
            mark(status, READY, state, str(unhappy.get("reason", "")), now, message=str(unhappy.get("message", "")))
            return
    mark(status, READY, "True" if len(known) == len(_NEEDED) else "Unknown", "", now)


def _type(one: Mapping[str, Any]) -> str:
    return str(one["type"])
