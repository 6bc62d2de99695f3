"""Services as Seldon's operator makes them, for each predictor and each unit, and what a unit's container gets.

Pure; containers are mappings of a copy that :mod:`.components` made, and are added to.
"""

from __future__ import annotations

from typing import Any, Final

from jupyterlab_kf.controllers.seldon import graph, names, pods
from jupyterlab_kf.controllers.seldon.options import METRICS_PORT_NAME, PROMETHEUS_PATH, Options
from jupyterlab_kf.controllers.support import name, namespace
from jupyterlab_kf.model import Obj

_LIVENESS_DELAY: Final = 60


def predictor_service(obj: Obj, predictor: Obj, service: str, http: int, grpc: int) -> Obj:
    """The Service that routes lead to: a predictor's, or an explainer's."""
    labels = {names.LABEL_APP: service, names.LABEL_ID: names.deployment_id(obj), **names.MANAGED_BY}
    ports = [_port("http", http)] if http else []
    if grpc and len(ports) < 2:  # noqa: PLR2004  one for each protocol
        ports.append(_port("grpc", grpc))
    made = _service(obj, predictor, service, labels, ports)
    made["spec"]["selector"] = {names.LABEL_APP: service}
    if names.annotation(obj, names.HEADLESS, "false") != "false":
        made["spec"]["clusterIP"] = "None"
    return made


def unit_service(obj: Obj, predictor: Obj, unit: Obj, made: Obj, options: Options) -> Obj:
    """The Service of one unit; its container gets ports, probes, a hook and variables, and its pods the label."""
    container = next(one for one in pods.containers(made) if one["name"] == unit["name"])
    key = f"{names.LABEL_SERVICE}-{container['name']}"
    value = names.container_service(obj, predictor, str(container["name"]))
    http, grpc = graph.port(unit, "httpPort"), graph.port(unit, "grpcPort")
    app = names.predictor_service(obj, predictor)
    labels = {key: value, names.LABEL_ID: names.deployment_id(obj), names.LABEL_APP: app}
    service = _service(obj, predictor, value, labels, [_port("http", http), _port("grpc", grpc)])
    service["spec"]["selector"] = {key: value}
    pods.label(made, {key: value}, select=True)
    _equip(obj, unit, container, options)
    _inform(obj, predictor, unit, container)
    return service


def _service(obj: Obj, predictor: Obj, service: str, labels: Obj, ports: list[Obj]) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": service,
            "namespace": namespace(obj),
            "labels": labels,
            "annotations": dict(predictor.get("annotations") or {}),
        },
        "spec": {"ports": ports, "type": "ClusterIP", "sessionAffinity": "None"},
    }


def _port(name_: str, number: int) -> Obj:
    return {"name": name_, "port": number, "targetPort": number, "protocol": "TCP"}


def named_port(container: Obj, name_: str) -> int | None:
    """The number of a container's port of that name."""
    found = next((one for one in container.get("ports") or () if one.get("name") == name_), None)
    return None if found is None else int(found["containerPort"])


def _equip(obj: Obj, unit: Obj, container: Obj, options: Options) -> None:
    """Ports, probes and the wait before the end, where the container does not say otherwise."""
    http, grpc = graph.port(unit, "httpPort"), graph.port(unit, "grpcPort")
    ports = container.setdefault("ports", [])
    for kind, number in (("http", http), ("grpc", grpc)):
        if named_port(container, kind) is None:
            ports.append(pods.container_port(number, kind))
    asked = grpc if graph.speaks_grpc(obj, unit.get("endpoint")) else http
    action = {"tcpSocket": {"port": asked}}
    container["livenessProbe"] = container.get("livenessProbe") or pods.probe(action, delay=_LIVENESS_DELAY)
    container["readinessProbe"] = container.get("readinessProbe") or pods.probe(
        action, delay=options.patience, period=options.period
    )
    if not container.get("lifecycle"):
        container["lifecycle"] = pods.PRE_STOP


def _inform(obj: Obj, predictor: Obj, unit: Obj, container: Obj) -> None:
    """The variables from which a unit knows its ports, its parameters and whose it is."""
    http, grpc = str(graph.port(unit, "httpPort")), str(graph.port(unit, "grpcPort"))
    asked = grpc if graph.speaks_grpc(obj, unit.get("endpoint")) else http
    wanted: list[tuple[str, str]] = [
        ("PREDICTIVE_UNIT_SERVICE_PORT", asked),
        ("PREDICTIVE_UNIT_HTTP_SERVICE_PORT", http),
        ("MLSERVER_HTTP_PORT", http),
        ("PREDICTIVE_UNIT_GRPC_SERVICE_PORT", grpc),
        ("MLSERVER_GRPC_PORT", grpc),
    ]
    if unit.get("parameters"):
        wanted.append(("PREDICTIVE_UNIT_PARAMETERS", graph.parameters_text(unit["parameters"])))
    if unit.get("modelUri"):
        wanted.append(("MLSERVER_MODEL_URI", names.MODEL_PATH))
    for key, value in wanted:
        pods.set_variable(container, key, value, override=False)
    always: list[tuple[str, Any]] = [
        ("PREDICTIVE_UNIT_ID", container["name"]),
        ("MLSERVER_MODEL_NAME", container["name"]),
        ("PREDICTIVE_UNIT_IMAGE", container.get("image") or ""),
        ("PREDICTOR_ID", predictor["name"]),
        ("PREDICTOR_LABELS", graph.compact(dict(sorted((predictor.get("labels") or {}).items())))),
        ("SELDON_DEPLOYMENT_ID", name(obj)),
        ("SELDON_EXECUTOR_ENABLED", "true"),
    ]
    metrics = named_port(container, METRICS_PORT_NAME)
    if metrics is not None:
        always += [
            ("PREDICTIVE_UNIT_METRICS_SERVICE_PORT", metrics),
            ("PREDICTIVE_UNIT_METRICS_ENDPOINT", PROMETHEUS_PATH),
            ("MLSERVER_METRICS_PORT", metrics),
            ("MLSERVER_METRICS_ENDPOINT", PROMETHEUS_PATH),
        ]
    container["env"] += [{"name": key, "value": str(value)} for key, value in always]
