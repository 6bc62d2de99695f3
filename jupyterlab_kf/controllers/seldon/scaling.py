"""HorizontalPodAutoscalers and PodDisruptionBudgets of components. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.seldon import names
from jupyterlab_kf.controllers.sleep import Sleep
from jupyterlab_kf.controllers.support import namespace
from jupyterlab_kf.model import Obj

_KEDA_RESOURCES: Final = ("cpu", "memory")
_KEDA_TARGETS: Final = {"Utilization": "averageUtilization", "AverageValue": "averageValue"}
_KEDA_MOST: Final = 100
"""The most replicas where KEDA is told of none."""
_COUNTS: Final = ("idleReplicaCount", "minReplicaCount")
_COOLDOWN: Final = 300.0
"""Seconds without a request where KEDA is told of none."""
_KEDA_OWN: Final = ("pollingInterval", "fallback")
_RATE: Final = re.compile(
    r"(?:sum\s*\()?\s*rate\s*\(\s*seldon_api_executor_(?:client|server)_requests_seconds_count\s*(?:\{[^{}]*\})?\[\w+\]\s*\)\s*\)?"
)
"""What Seldon's own manual has KEDA ask Prometheus: the rate of the requests to a predictor."""
_ADD_ON: Final = "keda-add-ons-http"
_SOURCES: Final = ("resource", "pods", "object", "external")


@dataclass(frozen=True, slots=True)
class Scaled:
    """What a ``kedaSpec`` comes to where there is no KEDA.

    Attributes:
        autoscaler: an ``hpaSpec``, if a metric is followed.
        sleeps: when it goes to zero, if it does.
        without: fields that are not honoured, each with the reason.
    """

    autoscaler: Obj | None
    sleeps: Sleep | None
    without: list[tuple[str, str]]


def of_keda(asked: Obj, *, replicas: int = 1, awake: str = "") -> Scaled:
    """What is done of a ``kedaSpec``.

    KEDA itself has an autoscaler follow a trigger of ``cpu`` or ``memory``; all others it asks by itself. Requests are
    counted here, too: whoever has them as a trigger may sleep.

    Args:
        asked: the ``kedaSpec``.
        replicas: how many there are when nothing scales them.
        awake: why it cannot be put to sleep; empty where it can.
    """
    metrics: list[Obj] = []
    without: list[tuple[str, str]] = []
    requests = False
    for at, trigger in enumerate(asked.get("triggers") or ()):
        metric = _of_trigger(trigger)
        requests = requests or _is_of_requests(trigger)
        if metric is not None:
            metrics.append(metric)
        elif not _is_of_requests(trigger):
            why = f"only KEDA asks what a trigger of type {trigger.get('type')} asks, and there is none"
            without.append((f"kedaSpec.triggers[{at}]", why))
    if not metrics and not requests:
        return Scaled(
            None, None, [*without, ("kedaSpec", "KEDA is not asked to scale; the Deployment keeps its replicas")]
        )
    least = int(asked.get("minReplicaCount") or 0)
    if not requests:
        awake = "no trigger tells of requests (prometheus with the rate of Seldon's, or KEDA's HTTP add-on)"
    sleeps = _sleep(asked, max(1, least if metrics or least else replicas), without, awake)
    without += [
        (f"kedaSpec.{one}", "it is of the triggers that only KEDA asks")
        for one in _KEDA_OWN
        if asked.get(one) is not None
    ]
    return Scaled(_followed(asked, metrics) if metrics else None, sleeps, without)


def _sleep(asked: Obj, replicas: int, without: list[tuple[str, str]], awake: str) -> Sleep | None:
    """When it goes to zero; what is not honoured of it is added."""
    zero = int(asked.get("minReplicaCount") or 0) == 0 or asked.get("idleReplicaCount") == 0
    cooldown = asked.get("cooldownPeriod")
    if zero and not awake:
        return Sleep(_COOLDOWN if cooldown is None else float(cooldown), replicas)
    if zero:
        named = [f"kedaSpec.{one}" for one in _COUNTS if asked.get(one) == 0]
        without += [(one, f"nothing is scaled to zero, one replica stays: {awake}") for one in named]
    if cooldown is not None:
        without.append(("kedaSpec.cooldownPeriod", "it is of what is scaled to zero"))
    return None


def _followed(asked: Obj, metrics: list[Obj]) -> Obj:
    """The ``hpaSpec`` of triggers that are followed."""
    most = asked.get("maxReplicaCount")
    made = {
        "minReplicas": max(1, int(asked.get("minReplicaCount") or 0)),
        "maxReplicas": _KEDA_MOST if most is None else int(most),
        "metricsv2": metrics,
    }
    advanced = (asked.get("advanced") or {}).get("horizontalPodAutoscalerConfig") or {}
    return made | ({"behavior": copied(advanced["behavior"])} if advanced.get("behavior") else {})


def _is_of_requests(trigger: Obj) -> bool:
    """Whether a trigger is about the requests to an endpoint."""
    told = trigger.get("metadata") or {}
    if trigger.get("type") in ("external", "external-push"):
        return str(told.get("scalerAddress") or "").startswith(_ADD_ON)
    return trigger.get("type") == "prometheus" and bool(_RATE.fullmatch(str(told.get("query") or "").strip()))


def _of_trigger(trigger: Obj) -> Obj | None:
    """A trigger as a metric; None for one that KEDA itself must ask."""
    told = trigger.get("metadata") or {}
    if trigger.get("type") == "prometheus" and _is_of_requests(trigger) and told.get("threshold"):
        rate = {"name": "requests_per_second"}
        average = {"type": "AverageValue", "averageValue": str(told["threshold"])}
        return {"type": "Pods", "pods": {"metric": rate, "target": average}}
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
