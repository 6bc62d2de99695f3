"""HorizontalPodAutoscalers and PodDisruptionBudgets of components. Pure."""

from __future__ import annotations

from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.seldon import names
from jupyterlab_kf.controllers.support import namespace
from jupyterlab_kf.model import Obj

_KEDA_RESOURCES: Final = ("cpu", "memory")
_KEDA_TARGETS: Final = {"Utilization": "averageUtilization", "AverageValue": "averageValue"}
_KEDA_MOST: Final = 100
"""The most replicas where KEDA is told of none."""
_COUNTS: Final = ("idleReplicaCount", "minReplicaCount")
_KEDA_OWN: Final = (
    (_COUNTS, "nothing is scaled to zero: one replica stays"),
    (("pollingInterval", "cooldownPeriod", "fallback"), "it is of the triggers that only KEDA asks"),
)
_SOURCES: Final = ("resource", "pods", "object", "external")


def of_keda(asked: Obj) -> tuple[Obj | None, list[tuple[str, str]]]:
    """A ``kedaSpec`` as an ``hpaSpec``, as far as there need be no KEDA for it; and its fields that are not honoured.

    KEDA itself has an autoscaler follow a trigger of ``cpu`` or ``memory``; all others it asks by itself.
    """
    metrics: list[Obj] = []
    without: list[tuple[str, str]] = []
    for at, trigger in enumerate(asked.get("triggers") or ()):
        metric = _of_trigger(trigger)
        if metric is None:
            why = f"only KEDA asks what a trigger of type {trigger.get('type')} asks, and there is none"
            without.append((f"kedaSpec.triggers[{at}]", why))
        else:
            metrics.append(metric)
    if not metrics:
        return None, [*without, ("kedaSpec", "KEDA is not asked to scale; the Deployment keeps its replicas")]
    least = int(asked.get("minReplicaCount") or 0)
    without += [
        (f"kedaSpec.{field}", why)
        for fields, why in _KEDA_OWN
        for field in fields
        if asked.get(field) is not None and (fields is not _COUNTS or asked[field] == 0)
    ]
    most = asked.get("maxReplicaCount")
    made = {
        "minReplicas": max(1, least),
        "maxReplicas": _KEDA_MOST if most is None else int(most),
        "metricsv2": metrics,
    }
    advanced = (asked.get("advanced") or {}).get("horizontalPodAutoscalerConfig") or {}
    return made | ({"behavior": copied(advanced["behavior"])} if advanced.get("behavior") else {}), without


def _of_trigger(trigger: Obj) -> Obj | None:
    """A trigger as a metric; None for one that KEDA itself must ask."""
    told = trigger.get("metadata") or {}
    kind = str(trigger.get("metricType") or told.get("type") or "Utilization")
    text = str(told.get("value") or "")
    if trigger.get("type") not in _KEDA_RESOURCES or kind not in _KEDA_TARGETS or not text:
        return None
    if kind == "Utilization" and not text.isdecimal():
        return None
    target = {"type": kind, _KEDA_TARGETS[kind]: int(text) if kind == "Utilization" else text}
    return {"type": "Resource", "resource": {"name": trigger["type"], "target": target}}


def autoscaler(obj: Obj, asked: Obj, deployment: str) -> Obj:
    """The autoscaler of a Deployment, from an ``hpaSpec``."""
    metrics = asked.get("metricsv2")
    if asked.get("metrics") is not None:
        metrics = [_converted(one) for one in asked["metrics"]]
    spec: Obj = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment},
        "maxReplicas": asked.get("maxReplicas") or 0,
    }
    if metrics:
        spec["metrics"] = copied(metrics)
    if asked.get("minReplicas") is not None:
        spec["minReplicas"] = asked["minReplicas"]
    if asked.get("behavior"):
        spec["behavior"] = asked["behavior"]
    return _framed(kinds.HORIZONTAL_POD_AUTOSCALER, obj, deployment, spec)


def budget(obj: Obj, component: Obj, deployment: str) -> Obj:
    """How many pods of a deployment may be taken away at once."""
    asked = component["pdbSpec"]
    spec = {key: asked[key] for key in ("minAvailable", "maxUnavailable") if asked.get(key) is not None}
    spec["selector"] = {"matchLabels": {names.LABEL_ID: names.deployment_id(obj)}}
    return _framed(kinds.POD_DISRUPTION_BUDGET, obj, deployment, spec)


def _framed(kind: kinds.Kind, obj: Obj, title: str, spec: Obj) -> Obj:
    labels = {names.LABEL_ID: names.deployment_id(obj)}
    metadata = {"name": title, "namespace": namespace(obj), "labels": labels}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}


def _converted(metric: Obj) -> Obj:
    """A metric of autoscaling/v2beta1, whose shape the field ``metrics`` still has, as v2 writes it."""
    made: Obj = {"type": metric["type"]}
    for source in _SOURCES:
        old = metric.get(source)
        if old:
            made[source] = _source(source, old)
    return made


def _source(source: str, old: Obj) -> Obj:
    if source == "resource":
        return {"name": old["name"], "target": _target(old, average="targetAverageValue")}
    metric: Obj = {"name": old["metricName"]}
    selector = old.get("metricSelector") if source == "external" else old.get("selector")
    if selector:
        metric["selector"] = copied(selector)
    if source == "object":
        target = _target(old, average="averageValue")
        return {"describedObject": copied(old.get("target") or {}), "metric": metric, "target": target}
    return {"metric": metric, "target": _target(old, average="targetAverageValue")}


def _target(old: Obj, *, average: str) -> dict[str, Any]:
    if old.get("targetAverageUtilization") is not None:
        return {"type": "Utilization", "averageUtilization": old["targetAverageUtilization"]}
    if old.get(average) is not None:
        return {"type": "AverageValue", "averageValue": old[average]}
    return {"type": "Value", "value": old.get("targetValue")}
