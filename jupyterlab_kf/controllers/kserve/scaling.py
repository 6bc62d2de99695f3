"""How many replicas a part of an InferenceService has, and the autoscaler that KServe makes for it. Pure.

In the mode Standard KServe follows cpu or memory with a HorizontalPodAutoscaler. It makes one with equal bounds, too,
which never decides anything; here a Deployment has its fixed number itself then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from jupyterlab_kf.controllers.bringing.faults import ComponentError
from jupyterlab_kf.model import Obj

CLASS: Final = "serving.kserve.io/autoscalerClass"
_HPA, _KEDA, _EXTERNAL, _NONE = "hpa", "keda", "external", "none"
_CLASSES: Final = (_HPA, _KEDA, _EXTERNAL, _NONE)
_CPU, _MEMORY = "cpu", "memory"
_PERCENT: Final = 80
"""Of the cpu that a pod asks for, where nothing else is said."""
_ALL: Final = 100
_FIELDS: Final = ("maxReplicas", "scaleMetric", "scaleTarget", "scaleMetricType", "autoScaling")

Without = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Scaling:
    """What a part asks for.

    Attributes:
        replicas: of the Deployment; None leaves it to Kubernetes and to whoever scales it.
        fixed: whether that number stays, or somebody scales.
        autoscaler: an autoscaler's spec but for what it scales.
        without: fields that are not honoured, each with the reason.
    """

    replicas: int | None
    fixed: bool = True
    autoscaler: Obj | None = None
    without: Without = field(default_factory=list)

    @property
    def followed(self) -> list[str]:
        """The resources of which a share is followed: a pod has to ask for some."""
        metrics = [one["resource"] for one in (self.autoscaler or {}).get("metrics") or ()]
        return [str(one["name"]) for one in metrics if one["target"]["type"] == "Utilization"]


def of(part: Mapping[str, Any], kind: str) -> Scaling:
    """What becomes of the fields of a part.

    Args:
        part: the predictor, transformer or explainer.
        kind: the object's class of autoscalers; empty for KServe's default.

    Raises:
        ComponentError: KServe's webhook refuses it.
    """
    least, most = _bounds(part)
    kind = kind or _HPA
    if kind not in _CLASSES:
        raise ComponentError(f"the annotation {CLASS} is {kind!r}; it can be {', '.join(_CLASSES)}")
    asked = [name for name in _FIELDS if part.get(name)]
    if kind == _EXTERNAL:
        return Scaling(None, fixed=False)
    if kind == _NONE:
        return Scaling(least, without=[(name, f"{CLASS} says that nothing is scaled") for name in asked])
    floor = max(least, 1)
    without: Without = []
    if least == 0:
        without.append(("minReplicas", "one replica stays: KServe scales to none with Knative or KEDA only"))
    if kind == _KEDA:
        why = "there is no KEDA here; there are as many replicas as minReplicas says"
        return Scaling(floor, without=[*without, *((name, why) for name in asked)])
    if most <= floor:
        why = "nothing is scaled while maxReplicas is not more than minReplicas"
        idle = [(name, why) for name in asked if name != "maxReplicas"]
        return Scaling(floor, without=[*without, *idle])
    metrics, ignored = _metrics(part)
    spec = {"minReplicas": floor, "maxReplicas": most, "metrics": metrics}
    return Scaling(floor, fixed=False, autoscaler=spec, without=[*without, *ignored])


def _bounds(part: Mapping[str, Any]) -> tuple[int, int]:
    least = 1 if part.get("minReplicas") is None else int(part["minReplicas"])
    most = int(part.get("maxReplicas") or 0)
    if least < 0 or most < 0:
        raise ComponentError("minReplicas and maxReplicas cannot be less than 0")
    if most and most < least:
        raise ComponentError(f"maxReplicas is {most}, which is less than minReplicas ({least})")
    return least, most


def _metrics(part: Mapping[str, Any]) -> tuple[list[Obj], Without]:
    """What is followed, and what is not honoured."""
    scaling = part.get("autoScaling")
    if scaling is not None:
        return _of_list(scaling)
    name, target = str(part.get("scaleMetric") or _CPU), part.get("scaleTarget")
    without: Without = []
    if part.get("scaleMetricType"):
        without.append(("scaleMetricType", "it counts with KEDA only; a share of what pods ask for is followed"))
    if name == _MEMORY and target is not None:
        if int(target) < 1:
            raise ComponentError(f"scaleTarget is {target}; of memory it must be 1 percent or more")
        return [_share(_MEMORY, int(target))], without
    if name != _CPU:
        why = "memory needs a scaleTarget" if name == _MEMORY else "it is counted by Knative only"
        return [_share(_CPU, _PERCENT)], [*without, ("scaleMetric", f"{why}; cpu is followed, at {_PERCENT} percent")]
    percent = _PERCENT if target is None else int(target)
    if not 1 <= percent <= _ALL:
        raise ComponentError(f"scaleTarget is {percent}; of cpu it must be a percentage from 1 to {_ALL}")
    return [_share(_CPU, percent)], without


def _of_list(scaling: Mapping[str, Any]) -> tuple[list[Obj], Without]:
    """The metrics of ``autoScaling``: those of pods' resources; what else there is only KEDA asks for."""
    made: list[Obj] = []
    without: Without = []
    for at, one in enumerate(scaling.get("metrics") or ()):
        metric = _listed(one.get("resource") or {}) if one.get("type") == "Resource" else None
        if metric is None:
            without.append((f"autoScaling.metrics[{at}]", "only cpu and memory are followed, the rest KEDA asks for"))
        else:
            made.append(metric)
    if scaling.get("behavior"):
        without.append(("autoScaling.behavior", "KServe hands it to KEDA only"))
    return made or [_share(_CPU, _PERCENT)], without


def _listed(resource: Mapping[str, Any]) -> Obj | None:
    name, target = resource.get("name"), resource.get("target") or {}
    percent, value = target.get("averageUtilization"), target.get("averageValue")
    if name == _CPU:
        return _share(_CPU, _PERCENT if percent is None else int(percent))
    if name == _MEMORY and target.get("type") == "AverageValue" and value is not None:
        return _resource(_MEMORY, {"type": "AverageValue", "averageValue": str(value)})
    return _share(_MEMORY, int(percent)) if name == _MEMORY and percent is not None else None


def _share(name: str, percent: int) -> Obj:
    return _resource(name, {"type": "Utilization", "averageUtilization": percent})


def _resource(name: str, target: Obj) -> Obj:
    return {"type": "Resource", "resource": {"name": name, "target": target}}
