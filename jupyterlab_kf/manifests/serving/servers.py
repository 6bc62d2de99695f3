"""TensorFlow Serving and Triton without an operator: a Deployment for each version, one Service, and its own routes.

Seldon's operator knows nothing of these, so their VirtualService and DestinationRule are written here: requests come
in at ``/serving/NAMESPACE/NAME/`` of the gateway, gRPC by two headers, and are divided between versions by weight. The
servers are told the ports of their pod on the command line, as their images expect it. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import pods
from jupyterlab_kf.manifests.serving import shapes
from jupyterlab_kf.manifests.serving.seldon import POD_IP
from jupyterlab_kf.model import Obj
from jupyterlab_kf.profiles import Hardware, pod_template

GATEWAY: Final = "istio-system/seldon-gateway"
"""Where requests come in unless another gateway is named: the one that Seldon's operator uses too."""
LABEL_APP: Final = "app"
LABEL_VERSION: Final = "version"
MODELS: Final = "/models"
_ALL: Final = 100
_URI: Final = ("s3://", "gs://", "as://", "hdfs://", "file://")


@dataclass(frozen=True, slots=True)
class Server:
    """One of the two servers: its image, ports, and how it is started and asked whether it is ready."""

    name: str
    title: str
    image: str
    http: int
    grpc: int
    metrics: int
    ready: str
    live: str
    services: str

    def command(self, model: str, path: str) -> list[str]:
        """The arguments; the image of Triton has no entry point of its own that takes them."""
        if self.name == "triton":
            return [
                "tritonserver",
                f"--model-repository={path}",
                f"--http-port={self.http}",
                f"--grpc-port={self.grpc}",
                f"--metrics-port={self.metrics}",
                # Otherwise it ends when any of several models does not load, and says so to nobody.
                "--exit-on-error=false",
            ]
        return [
            f"--port={self.grpc}",
            f"--rest_api_port={self.http}",
            f"--model_name={model}",
            f"--model_base_path={path}",
        ]


TENSORFLOW: Final = Server(
    name="tensorflow",
    title="TensorFlow Serving",
    image="tensorflow/serving:2.19.1",
    http=8501,
    grpc=8500,
    metrics=8501,
    ready="/v1/models/{model}",
    live="/v1/models/{model}",
    services=r".*tensorflow\.serving.*",
)
TRITON: Final = Server(
    name="triton",
    title="Triton",
    image="nvcr.io/nvidia/tritonserver:25.08-py3",
    http=8000,
    grpc=8001,
    metrics=8002,
    ready="/v2/health/ready",
    live="/v2/health/live",
    services=r".*inference\.GRPCInferenceService.*",
)
SERVERS: Final[Mapping[str, Server]] = {one.name: one for one in (TENSORFLOW, TRITON)}


def server(name: str) -> Server:
    """The server of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in SERVERS:
        raise UsageError(f"{name!r} is not a server", hint=shapes.nearest(name, SERVERS))
    return SERVERS[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of what is served.

    Attributes:
        name: becomes a label, and the name of a subset.
        source: where the model is: an address that the server reads itself (s3://, gs://), or ``CLAIM/PATH``.
        traffic: its percentage of the requests.
        image: another image than the server's usual one.
        args: further arguments of the server.
        secret: the Secret whose values are the server's environment (credentials of a bucket).
    """

    name: str
    source: str
    traffic: int = _ALL
    replicas: int = 1
    image: str = ""
    resources: pods.Resources = field(default_factory=pods.Resources)
    hardware: Hardware | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    args: Sequence[str] = ()
    secret: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSpec:
    """An endpoint of TensorFlow Serving or Triton.

    Attributes:
        model: the model's name in requests; the endpoint's where it is empty.
        gateway: ``NAMESPACE/NAME`` of the Gateway that requests come in by; empty for none.
        host: the host names that it answers to.
        provenance: what it is made of, for the record.
    """

    name: str
    namespace: str
    server: Server
    versions: tuple[Version, ...]
    model: str = ""
    gateway: str = GATEWAY
    host: str = "*"
    submission: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def served(self) -> str:
        """The model's name in requests."""
        return self.model or self.name

    @property
    def prefix(self) -> str:
        """The path at which the gateway leads to it."""
        return f"/serving/{self.namespace}/{self.name}/"

    @property
    def address(self) -> str:
        """The Service's name inside the cluster."""
        return f"{self.name}.{self.namespace}.svc.cluster.local"


def encode(spec: ServerSpec) -> list[Obj]:
    """The objects, in the order in which they are created.

    Raises:
        UsageError: the request means nothing: no version, weights that do not sum to 100, a model that is nowhere.
    """
    _check(spec)
    made = [service(spec), *(deployment(spec, one) for one in spec.versions), destination_rule(spec)]
    return [*made, virtual_service(spec)] if spec.gateway else made


def _check(spec: ServerSpec) -> None:
    names.check_job_name(spec.name)
    if not spec.versions:
        raise UsageError(f"{spec.name} has no version")
    every = [one.name for one in spec.versions]
    for one in spec.versions:
        names.check_job_name(one.name)
        if every.count(one.name) > 1:
            raise UsageError(f"{spec.name} has two versions {one.name!r}", hint="give each a name of its own")
        if one.replicas < 0:
            raise UsageError(f"{one.name} has {one.replicas} replicas; it must be 0 or more")
        if not 0 <= one.traffic <= _ALL:
            raise UsageError(f"{one.name} gets {one.traffic} percent; it must be a number from 0 to 100")
        _place(one)
    total = sum(one.traffic for one in spec.versions)
    if total != _ALL:
        said = " + ".join(f"{one.name} {one.traffic}" for one in spec.versions)
        raise UsageError(f"the weights are {said}, which is {total}", hint="they must sum to 100")


def _place(version: Version) -> tuple[str, str]:
    """The claim (empty for none) and the path at which the server finds the model."""
    source = version.source
    if source.startswith(_URI):
        return "", source.removeprefix("file://")
    claim, _, path = source.removeprefix("pvc://").partition("/")
    if not claim or ".." in path.split("/"):
        raise UsageError(
            f"{source!r} is no place of a model",
            hint="write CLAIM/PATH for a volume, or an address such as s3://BUCKET/PATH",
        )
    return claim, f"{MODELS}/{path}".rstrip("/")


def _meta(spec: ServerSpec, name: str, **more: str) -> Obj:
    return {
        "name": name,
        "namespace": spec.namespace,
        "labels": {
            names.LABEL_MANAGED_BY: names.FIELD_MANAGER,
            names.LABEL_SUBMISSION: spec.submission,
            names.LABEL_JOB: spec.name,
            LABEL_APP: spec.name,
            **more,
        },
    }


def _object(kind: Kind, metadata: Obj, spec: Obj) -> Obj:
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}


def deployment(spec: ServerSpec, version: Version) -> Obj:
    """The pods of a version. None of them goes before another one is there, so that no request fails."""
    labels = {LABEL_APP: spec.name, LABEL_VERSION: version.name}
    metadata = _meta(spec, names.with_suffix(spec.name, version.name), **labels)
    metadata["annotations"] = {names.ANNOTATION_PROVENANCE: json.dumps(spec.provenance, sort_keys=True)}
    body: Obj = {
        "replicas": version.replicas,
        "selector": {"matchLabels": labels},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": _template(spec, version, labels),
    }
    return _object(kinds.DEPLOYMENT, metadata, body)


def _template(spec: ServerSpec, version: Version, labels: Obj) -> Obj:
    one, (claim, path) = spec.server, _place(version)
    argv = [*one.command(spec.served, path), *version.args]
    container: Obj = {
        "name": one.name,
        "image": version.image or one.image,
        "imagePullPolicy": "IfNotPresent",
        **({"command": argv[:1], "args": argv[1:]} if one.name == "triton" else {"args": argv}),
        "env": [dict(POD_IP), *pods.environment(version.env)],
        "ports": _container_ports(one),
        # Loading a large model takes its time; a server that hangs later is replaced.
        "startupProbe": {**_asks(one.ready, spec.served), "periodSeconds": 2, "failureThreshold": 450},
        "readinessProbe": {**_asks(one.ready, spec.served), "periodSeconds": 5, "timeoutSeconds": 2},
        "livenessProbe": {**_asks(one.live, spec.served), "periodSeconds": 10, "timeoutSeconds": 5},
        # Routes are told of a pod's end a moment after it begins to end.
        "lifecycle": {"preStop": {"exec": {"command": ["/bin/sh", "-c", "sleep 5"]}}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": pods.confined_container(),
    }
    if version.secret:
        container["envFrom"] = [{"secretRef": {"name": version.secret}}]
    if version.hardware is None and (wanted := version.resources.as_mapping()):
        container["resources"] = {"requests": wanted, "limits": dict(wanted)}
    pod: Obj = {"containers": [container], "securityContext": pods.confined_pod(), "terminationGracePeriodSeconds": 30}
    if claim:
        volume = pods.claim_volume(claim)
        pod["volumes"] = [volume]
        container["volumeMounts"] = [{"name": volume["name"], "mountPath": MODELS, "readOnly": True}]
    template: Obj = {"metadata": {"labels": labels}, "spec": pod}
    return template if version.hardware is None else pod_template(template, version.hardware, container=one.name)


def _asks(path: str, model: str) -> Obj:
    return {"httpGet": {"path": path.format(model=model), "port": "http"}}


def _ports(one: Server) -> dict[str, int]:
    """Name to number; Istio reads the protocol from the name."""
    found = {"http": one.http, "grpc": one.grpc}
    return found if one.metrics == one.http else {**found, "http-metrics": one.metrics}


def _container_ports(one: Server) -> list[Obj]:
    return [{"name": name, "containerPort": number, "protocol": "TCP"} for name, number in _ports(one).items()]


def service(spec: ServerSpec) -> Obj:
    """The Service of all versions."""
    ports = [
        {"name": name, "port": number, "targetPort": name, "protocol": "TCP"}
        for name, number in _ports(spec.server).items()
    ]
    return _object(kinds.SERVICE, _meta(spec, spec.name), {"selector": {LABEL_APP: spec.name}, "ports": ports})


def destination_rule(spec: ServerSpec) -> Obj:
    """The versions as subsets of the Service."""
    subsets = [{"name": one.name, "labels": {LABEL_VERSION: one.name}} for one in spec.versions]
    return _object(kinds.DESTINATION_RULE, _meta(spec, spec.name), {"host": spec.address, "subsets": subsets})


def virtual_service(spec: ServerSpec) -> Obj:
    """The way in: by path over HTTP, by the headers ``endpoint`` and ``namespace`` over gRPC."""
    called = {"endpoint": {"exact": spec.name}, "namespace": {"exact": spec.namespace}}
    grpc = {
        "name": f"{spec.name}-grpc",
        "match": [{"uri": {"regex": spec.server.services}, "headers": called}],
        "route": _routes(spec, spec.server.grpc),
    }
    http = {
        "name": f"{spec.name}-http",
        "match": [{"uri": {"prefix": spec.prefix}}],
        "rewrite": {"uri": "/"},
        "route": _routes(spec, spec.server.http),
    }
    body = {"hosts": [spec.host], "gateways": [spec.gateway], "http": [grpc, http]}
    return _object(kinds.VIRTUAL_SERVICE, _meta(spec, spec.name), body)


def _routes(spec: ServerSpec, port: int) -> list[Obj]:
    return [
        {
            "destination": {"host": spec.address, "subset": one.name, "port": {"number": port}},
            "weight": one.traffic,
        }
        for one in spec.versions
    ]
