"""Quantities, and what pods ask of a node. Pure arithmetic; what this machine has is measured in the kubelet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from jupyterlab_kf.quantities import parse as quantity


def requests(pod: Mapping[str, Any]) -> dict[str, Decimal]:
    """What a pod asks for, as the scheduler counts it: the larger of its containers together and any init container."""
    spec = pod.get("spec") or {}
    total = _sum(_asked(c) for c in spec.get("containers") or ())
    sidecars: dict[str, Decimal] = {}
    peak: dict[str, Decimal] = {}
    for container in spec.get("initContainers") or ():
        asked = _asked(container)
        if container.get("restartPolicy") == "Always":
            sidecars = _sum((sidecars, asked))
            peak = _most(peak, sidecars)
        else:
            peak = _most(peak, _sum((sidecars, asked)))
    return _sum((_most(_sum((total, sidecars)), peak), _numbers(spec.get("overhead") or {})))


def _asked(container: Mapping[str, Any]) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    return _numbers({**(resources.get("limits") or {}), **(resources.get("requests") or {})})


def _numbers(raw: Mapping[str, Any]) -> dict[str, Decimal]:
    return {name: quantity(value) for name, value in raw.items()}


def _sum(parts: Iterable[Mapping[str, Decimal]]) -> dict[str, Decimal]:
    result: dict[str, Decimal] = {}
    for part in parts:
        for name, value in part.items():
            result[name] = result.get(name, Decimal(0)) + value
    return result


def _most(one: Mapping[str, Decimal], other: Mapping[str, Decimal]) -> dict[str, Decimal]:
    return {name: max(one.get(name, Decimal(0)), other.get(name, Decimal(0))) for name in {**one, **other}}


def quality_of_service(pod: Mapping[str, Any]) -> str:
    """The pod's QoS class: Guaranteed, Burstable or BestEffort."""
    spec = pod.get("spec") or {}
    every = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    guaranteed, anything = bool(every), False
    for container in every:
        resources = container.get("resources") or {}
        limits, asked = resources.get("limits") or {}, resources.get("requests") or {}
        for name in ("cpu", "memory"):
            limit, wanted = limits.get(name), asked.get(name, limits.get(name))
            anything = anything or limit is not None or wanted is not None
            guaranteed = guaranteed and limit is not None and quantity(limit) == quantity(wanted or limit)
    if not anything:
        return "BestEffort"
    return "Guaranteed" if guaranteed else "Burstable"
