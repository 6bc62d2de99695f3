"""Conditions of a SeldonDeployment: one for each kind of object it needs, and ``Ready``, which sums them up. Pure.

The rules are those of the library that Seldon's operator uses: a condition's time is that of its last change of any
field, and the newest unhappy one is repeated as ``Ready``.
"""

from __future__ import annotations

from typing import Final

from jupyterlab_kf.controllers.bringing.conditions import mark
from jupyterlab_kf.model import Obj

DEPLOYMENTS: Final = "DeploymentsReady"
SERVICES: Final = "ServicesReady"
KEDA: Final = "KedaReady"
ROUTES: Final = "istioVirtualServicesReady"
AUTOSCALERS: Final = "HpasReady"
BUDGETS: Final = "PdbsReady"
MAPPINGS: Final = "AmbassadorMappingsReady"
READY: Final = "Ready"
_NEEDED: Final = (DEPLOYMENTS, SERVICES, KEDA, ROUTES, AUTOSCALERS, BUDGETS, MAPPINGS)


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
