"""HorizontalPodAutoscalers and PodDisruptionBudgets of components. Pure."""

from __future__ import annotations

from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.seldon import names
from jupyterlab_kf.controllers.support import namespace
from jupyterlab_kf.model import Obj

_SOURCES: Final = ("resource", "pods", "object", "external")


def autoscaler(obj: Obj, component: Obj, deployment: str) -> Obj:
    """The autoscaler of a component's Deployment."""
    asked = component["hpaSpec"]
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
