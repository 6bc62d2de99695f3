"""HorizontalPodAutoscaler and PodDisruptionBudget: defaults, rules and table cells, as a real server has them. Pure.

They stand apart from the other core kinds because only serving makes them. Who scales, and who evicts, is elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from jupyterlab_kf.embedded.apiserver.causes import Cause, invalid, items, mapping, not_negative, required
from jupyterlab_kf.model import Obj

_CPU_PERCENT: Final = 80
_PERIOD: Final = 15
_UP: Final = {
    "stabilizationWindowSeconds": 0,
    "selectPolicy": "Max",
    "policies": [
        {"type": "Pods", "value": 4, "periodSeconds": _PERIOD},
        {"type": "Percent", "value": 100, "periodSeconds": _PERIOD},
    ],
}
_DOWN: Final = {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": _PERIOD}]}
_SHOWN_METRICS: Final = 2
_ALL: Final = 100


# --- defaults -----------------------------------------------------------------------------------------------------


def default_autoscaler(obj: Obj) -> None:
    """Fill in what a HorizontalPodAutoscaler may leave out; the object is changed."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    if not spec.get("metrics"):
        target = {"type": "Utilization", "averageUtilization": _CPU_PERCENT}
        spec["metrics"] = [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    behavior = spec.get("behavior")
    if isinstance(behavior, dict):
        behavior["scaleUp"] = {**_UP, **(behavior.get("scaleUp") or {})}
        behavior["scaleDown"] = {**_DOWN, **(behavior.get("scaleDown") or {})}


# --- rules --------------------------------------------------------------------------------------------------------


def autoscaler(obj: Obj) -> list[Cause]:
    """Why a HorizontalPodAutoscaler is not taken."""
    spec = mapping(obj.get("spec"))
    low, high = spec.get("minReplicas"), spec.get("maxReplicas") or 0
    causes: list[Cause] = []
    if isinstance(low, int) and low < 1:
        causes.append(invalid("spec.minReplicas", low, "must be greater than or equal to 1"))
    if high == 0:
        causes.append(required("spec.maxReplicas", "must be set and greater than 0"))
    elif high < 0:
        causes.append(invalid("spec.maxReplicas", high, "must be greater than or equal to 1"))
    if isinstance(low, int) and high < low:
        causes.append(invalid("spec.maxReplicas", high, "must be greater than or equal to `minReplicas`"))
    target = mapping(spec.get("scaleTargetRef"))
    causes += [required(f"spec.scaleTargetRef.{key}") for key in ("kind", "name") if not target.get(key)]
    return causes


def budget(obj: Obj) -> list[Cause]:
    """Why a PodDisruptionBudget is not taken."""
    spec = mapping(obj.get("spec"))
    causes: list[Cause] = []
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        causes.append(invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    for key in ("minAvailable", "maxUnavailable"):
        causes += _amount(f"spec.{key}", spec.get(key))
    return causes


def _amount(field: str, value: Any) -> list[Cause]:
    if not isinstance(value, str):
        return not_negative(field, value)
    number = value.removesuffix("%")
    if number == value or not number.isdecimal():
        why = "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex"
        return [invalid(field, value, f"{why} used for validation is '[0-9]+%')")]
    return [invalid(field, value, "must not be greater than 100%")] if int(number) > _ALL else []


# --- tables -------------------------------------------------------------------------------------------------------


def autoscaler_cells(obj: Obj) -> list[Any]:
    """Reference, targets, limits and replicas."""
    spec, status = mapping(obj.get("spec")), mapping(obj.get("status"))
    target = mapping(spec.get("scaleTargetRef"))
    metrics = _metrics(items(spec.get("metrics")), items(status.get("currentMetrics")))
    low = spec.get("minReplicas")
    return [
        f"{target.get('kind', '')}/{target.get('name', '')}",
        metrics,
        "<unset>" if low is None else str(low),
        spec.get("maxReplicas") or 0,
        status.get("currentReplicas") or 0,
    ]


def _metrics(wanted: Sequence[Mapping[str, Any]], current: Sequence[Mapping[str, Any]]) -> str:
    if not wanted:
        return "<none>"
    shown = [
        _metric(metric, current[at] if at < len(current) else {}) for at, metric in enumerate(wanted[:_SHOWN_METRICS])
    ]
    more = f" + {len(wanted) - _SHOWN_METRICS} more..." if len(wanted) > _SHOWN_METRICS else ""
    return ", ".join(shown) + more


def _metric(metric: Mapping[str, Any], current: Mapping[str, Any]) -> str:
    kind = str(metric.get("type") or "")
    field = kind[:1].lower() + kind[1:]
    source, now = mapping(metric.get(field)), mapping(mapping(current.get(field)).get("current"))
    target = mapping(source.get("target"))
    named = f"{source.get('name', '')}: " if field in ("resource", "containerResource") else ""
    if target.get("averageValue") is not None:
        average = " (avg)" if field in ("external", "object") else ""
        return f"{named}{now.get('averageValue', '<unknown>')}/{target['averageValue']}{average}"
    if named:
        reached, wanted = now.get("averageUtilization"), target.get("averageUtilization")
        left, right = (
            ("<unknown>" if reached is None else f"{reached}%"),
            ("<auto>" if wanted is None else f"{wanted}%"),
        )
        return f"{named}{left}/{right}"
    return f"{now.get('value', '<unknown>')}/{target.get('value', '')}"


def budget_cells(obj: Obj) -> list[Any]:
    """Limits, and how many disruptions are allowed now."""
    spec, status = mapping(obj.get("spec")), mapping(obj.get("status"))
    limits = [str(spec.get(key)) if spec.get(key) is not None else "N/A" for key in ("minAvailable", "maxUnavailable")]
    return [*limits, status.get("disruptionsAllowed") or 0]
