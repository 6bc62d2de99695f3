"""The engine: the container that runs a predictor's graph, beside its first unit or in pods of its own. Pure.

It is told the whole predictor, as it stands then, in ``ENGINE_PREDICTOR``.
"""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from jupyterlab_kf.controllers.bringing.faults import ComponentError
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.seldon import names, pods
from jupyterlab_kf.controllers.seldon.options import GRPC_PORT, HTTP_PORT, METRICS_PORT_NAME, PROMETHEUS_PATH, Options
from jupyterlab_kf.controllers.support import name, namespace
from jupyterlab_kf.model import Obj

_QUEUE: Final = "10000"
_WRITE_TIMEOUT: Final = "2000"
_BROKER: Final = "http://default-broker"
_TIMEOUT: Final = 60


def join(obj: Obj, predictor: Obj, made: Obj, options: Options) -> None:
    """Put the engine into the Deployment of the unit that it stands beside; one that is there is left alone."""
    if pods.container(made, names.ENGINE) is not None:
        return
    engine = container(obj, predictor, options)
    made["metadata"]["labels"][names.LABEL_ORCHESTRATOR] = "true"
    pods.containers(made).append(engine)
    service = names.predictor_service(obj, predictor)
    pods.label(made, {names.LABEL_APP: service}, select=True)


def deployment(obj: Obj, predictor: Obj, options: Options) -> Obj:
    """The engine in a Deployment of its own."""
    title = names.orchestrator(obj, predictor)
    service = names.predictor_service(obj, predictor)
    chosen = {names.LABEL_APP: service, names.LABEL_ID: service}
    worn = predictor.get("labels") or {}
    pod: Obj = {
        "containers": [container(obj, predictor, options)],
        "terminationGracePeriodSeconds": pods.GRACE,
        "dnsPolicy": "ClusterFirst",
        "schedulerName": "default-scheduler",
        "securityContext": {} if options.user is None else {"runAsUser": options.user},
        "volumes": [pods.volume()],
        "restartPolicy": "Always",
        "serviceAccountName": "default",
        "serviceAccount": "default",
    }
    template = {
        "metadata": {"labels": {**chosen, "app": title, **worn}, "annotations": dict(pods.SCRAPED)},
        "spec": pod,
    }
    spec: Obj = {"selector": {"matchLabels": chosen}, "template": template, "strategy": pods.STRATEGY}
    own = (predictor.get("svcOrchSpec") or {}).get("replicas")
    for replicas in (own, predictor.get("replicas"), obj["spec"].get("replicas")):
        if replicas is not None:
            spec["replicas"] = replicas
            break
    first = {names.LABEL_ORCHESTRATOR: "true", **chosen, "app": title, "version": "v1", "fluentd": "true"}
    return pods.frame(obj, title, {**first, **worn}, dict(obj["spec"].get("annotations") or {}), spec)


def container(obj: Obj, predictor: Obj, options: Options) -> Obj:
    """The engine's container."""
    own = predictor.get("svcOrchSpec") or {}
    secure = bool((predictor.get("ssl") or {}).get("certSecretName"))
    made: Obj = {
        "name": names.ENGINE,
        "image": options.executor,
        "args": _arguments(obj, predictor),
        "imagePullPolicy": "IfNotPresent",
        **pods.FILE,
        "volumeMounts": [pods.mount()],
        "env": [
            {"name": "ENGINE_PREDICTOR", "value": told(predictor)},
            {"name": "REQUEST_LOGGER_DEFAULT_ENDPOINT", "value": _BROKER},
            *copied(own.get("env") or []),
        ],
        "ports": [
            pods.container_port(HTTP_PORT, "http"),
            pods.container_port(HTTP_PORT, METRICS_PORT_NAME),
            pods.container_port(GRPC_PORT, "grpc"),
        ],
        "readinessProbe": _probe("/ready", secure=secure, delay=options.patience, period=options.period),
        "livenessProbe": _probe("/live", secure=secure),
        "resources": copied(own.get("resources") or {key: dict(value) for key, value in options.size.items()}),
    }
    if options.user is not None:
        made["securityContext"] = {"runAsUser": options.user, "allowPrivilegeEscalation": False}
    given = obj["spec"].get("annotations") or {}
    for key in sorted(given):
        if key.startswith(names.ENGINE_VARIABLES) and key != names.SEPARATE_ENGINE:
            variable = key.removeprefix(names.ENGINE_VARIABLES).replace("-", "_").upper()
            pods.set_variable(made, variable, str(given[key]), override=False)
    return made


def _arguments(obj: Obj, predictor: Obj) -> list[str]:
    spec = obj["spec"]
    options: list[tuple[str, Any]] = [
        ("sdep", name(obj)),
        ("namespace", namespace(obj)),
        ("predictor", predictor["name"]),
        ("http_port", HTTP_PORT),
        ("grpc_port", GRPC_PORT),
        ("protocol", spec.get("protocol") or "seldon"),
        ("transport", spec.get("transport") or "rest"),
        ("prometheus_path", PROMETHEUS_PATH),
        ("server_type", spec.get("serverType") or "rpc"),
        ("log_work_buffer_size", _number(obj, names.LOGGER_QUEUE, _QUEUE)),
        ("log_write_timeout_ms", _number(obj, names.LOGGER_TIMEOUT, _WRITE_TIMEOUT)),
    ]
    return [word for key, value in options for word in (f"--{key}", str(value))] + ["--full_health_checks=false"]


def _number(obj: Obj, key: str, otherwise: str) -> str:
    text = names.annotation(obj, key, otherwise)
    if not text.removeprefix("-").isdecimal():
        raise ComponentError(f"the annotation {key} must be a whole number, not {text!r}")
    return text


def _probe(path: str, *, secure: bool, delay: int = 20, period: int = 5) -> Obj:
    action = {"httpGet": {"port": HTTP_PORT, "path": path, "scheme": "HTTPS" if secure else "HTTP"}}
    return pods.probe(action, delay=delay, period=period, timeout=_TIMEOUT)


def told(predictor: Obj) -> str:
    """The predictor as the engine reads it, without what changes while it serves: such a change restarts no pod."""
    plain = copied({key: value for key, value in predictor.items() if key not in ("traffic", "explainer")})
    plain["replicas"] = 0
    for component in plain.get("componentSpecs") or ():
        component.setdefault("metadata", {})["creationTimestamp"] = None
    return base64.b64encode(json.dumps(plain, separators=(",", ":"), ensure_ascii=False).encode()).decode()
