"""Deployments as Seldon's operator makes them: labels, annotations, strategy, grace period, the volume about the pod.

A container of a component and that of its Deployment are one mapping on purpose: what the operator adds to a container
(ports, variables, probes) is also in what it tells the engine about the predictor. Pure; the mappings are of a copy
that :mod:`.components` made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf.controllers.seldon import names
from jupyterlab_kf.controllers.seldon.graph import TYPE_LABELS
from jupyterlab_kf.controllers.seldon.options import PROMETHEUS_PATH, Options
from jupyterlab_kf.controllers.support import namespace
from jupyterlab_kf.model import Obj

GRACE: Final = 20
STRATEGY: Final = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0}}
"""The operator means 10 %, but its number is read as 0: no pod goes before its successor is ready."""
SCRAPED: Final = {"prometheus.io/path": PROMETHEUS_PATH, "prometheus.io/scrape": "true"}
FILE: Final = {"terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
PRE_STOP: Final = {"preStop": {"exec": {"command": ["/bin/sh", "-c", "/bin/sleep 10"]}}}


def volume() -> Obj:
    """The pod's annotations as a file."""
    field = {"fieldPath": "metadata.annotations", "apiVersion": "v1"}
    source = {"items": [{"path": "annotations", "fieldRef": field}], "defaultMode": 420}
    return {"name": names.POD_INFO, "downwardAPI": source}


def mount() -> Obj:
    """Where a container finds it."""
    return {"name": names.POD_INFO, "mountPath": names.POD_INFO_PATH}


def probe(action: Obj, *, delay: int, period: int = 5, failures: int = 3, timeout: int = 1) -> Obj:
    """A probe with all its numbers."""
    numbers = {"initialDelaySeconds": delay, "periodSeconds": period, "failureThreshold": failures}
    return {**action, **numbers, "successThreshold": 1, "timeoutSeconds": timeout}


def container_port(number: int, name: str) -> Obj:
    """A named TCP port of a container."""
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def set_variable(container: Obj, key: str, value: str, *, override: bool = True) -> None:
    """Set a variable of a container, in its place or at the end; one that is set may be left as it is."""
    env = container.setdefault("env", [])
    have = next((at for at, one in enumerate(env) if one["name"] == key), None)
    if have is None:
        env.append({"name": key, "value": value})
    elif override:
        env[have] = {"name": key, "value": value}


def has_variable(container: Mapping[str, Any], key: str) -> bool:
    """Whether a container sets a variable."""
    return any(one["name"] == key for one in container.get("env") or ())


def deployment(
    obj: Obj, predictor: Obj, component: Obj | None, name: str, options: Options, *, scraped: bool = True
) -> Obj:
    """The Deployment of a component or explainer, its containers as they are asked for."""
    ident = names.deployment_id(obj)
    own = {names.LABEL_ID: ident, "app": name, "fluentd": "true"}
    told: list[Mapping[str, str]] = [obj["spec"].get("annotations") or {}, predictor.get("annotations") or {}]
    worn: list[Mapping[str, str]] = [predictor.get("labels") or {}]
    if component is not None:
        metadata = component.get("metadata") or {}
        told.append(metadata.get("annotations") or {})
        worn.append(metadata.get("labels") or {})
    annotations = {key: value for given in told for key, value in given.items()}
    labels = {**own, **{key: value for given in worn for key, value in given.items()}}
    shadow = {names.LABEL_SHADOW: "true"} if predictor.get("shadow") else {}
    spec: Obj = {
        "selector": {"matchLabels": {names.LABEL_ID: ident}},
        "template": {
            "metadata": {
                "labels": {**own, **shadow, **labels},
                "annotations": {**(SCRAPED if scraped else {}), **annotations},
            },
            "spec": _pod((component or {}).get("spec") or {}, options),
        },
        "strategy": STRATEGY,
    }
    if predictor.get("progressDeadlineSeconds") is not None:
        spec["progressDeadlineSeconds"] = predictor["progressDeadlineSeconds"]
    return frame(obj, name, labels, annotations, spec)


def frame(obj: Obj, name: str, labels: Obj, annotations: Obj, spec: Obj) -> Obj:
    """A Deployment around its spec."""
    metadata = {"name": name, "namespace": namespace(obj), "labels": labels, "annotations": annotations}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def _pod(given: Obj, options: Options) -> Obj:
    pod = dict(given)
    for field in ("containers", "initContainers", "volumes"):
        if pod.get(field):
            pod[field] = list(pod[field])
    if options.user is not None and not pod.get("securityContext"):
        pod["securityContext"] = {"runAsUser": options.user}
    for field, value in (("restartPolicy", "Always"), ("dnsPolicy", "ClusterFirst")):
        pod[field] = pod.get(field) or value
    pod["schedulerName"] = pod.get("schedulerName") or "default-scheduler"
    if pod.get("terminationGracePeriodSeconds") is None:
        pod["terminationGracePeriodSeconds"] = GRACE
    if not any(one["name"] == names.POD_INFO for one in pod.get("volumes") or ()):
        pod["volumes"] = [*(pod.get("volumes") or ()), volume()]
    return pod


def pod_of(made: Obj) -> Obj:
    """The pod of a Deployment's template."""
    pod: Obj = made["spec"]["template"]["spec"]
    return pod


def containers(made: Obj) -> list[Obj]:
    """The containers of a Deployment's template; to be added to."""
    found: list[Obj] = pod_of(made).setdefault("containers", [])
    return found


def container(made: Obj, name: str) -> Obj | None:
    """The container of that name."""
    return next((one for one in containers(made) if one.get("name") == name), None)


def label(made: Obj, labels: Mapping[str, str], *, select: bool = False) -> None:
    """Label a Deployment and its pods, and select by it."""
    made["metadata"]["labels"].update(labels)
    made["spec"]["template"]["metadata"]["labels"].update(labels)
    if select:
        made["spec"]["selector"]["matchLabels"].update(labels)


def roles(unit: Obj | None, predictor: Obj) -> dict[str, str]:
    """The labels that say what a unit is in its graph."""
    found: dict[str, str] = {}
    if unit is not None and unit.get("type"):
        if key := TYPE_LABELS.get(str(unit["type"])):
            found[key] = "true"
    elif has_explainer(predictor):
        found[names.LABEL_EXPLAINER] = "true"
    if predictor.get("shadow"):
        found[names.LABEL_SHADOW] = "true"
    return {**found, **names.MANAGED_BY}


def has_explainer(predictor: Mapping[str, Any]) -> bool:
    """Whether a predictor has an explainer."""
    return bool((predictor.get("explainer") or {}).get("type"))
