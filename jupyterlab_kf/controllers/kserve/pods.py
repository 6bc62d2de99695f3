"""What an InferenceService's predictor is served by: its Deployment and Service, with the names that KServe gives them.

The model is mounted from its claim, or fetched into the pod by KServe's initializer with the server's own variables, so
that the keys of a bucket come from a Secret (``envFrom``) and stand in no manifest. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.seldon.faults import ComponentError
from jupyterlab_kf.controllers.support import name, namespace, owner_reference
from jupyterlab_kf.kinds import INFERENCE_SERVICE
from jupyterlab_kf.model import Obj, labels

LABEL: Final = "serving.kserve.io/inferenceservice"
CONTAINER: Final = "kserve-container"
HTTP: Final = 8080
_MODELS: Final = "/mnt/models"
_CLAIM: Final = "pvc://"
_POD_IP: Final = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
_OF_MODEL: Final = ("env", "envFrom", "resources", "volumeMounts", "securityContext", "imagePullPolicy", "ports")
_OF_POD: Final = (
    "affinity",
    "imagePullSecrets",
    "nodeSelector",
    "priorityClassName",
    "runtimeClassName",
    "schedulerName",
    "securityContext",
    "serviceAccountName",
    "terminationGracePeriodSeconds",
    "tolerations",
    "volumes",
)
_KSERVE: Final = ("--model_name={name}", f"--model_dir={_MODELS}", f"--http_port={HTTP}")


@dataclass(frozen=True, slots=True)
class Runtime:
    """The server of a format: its image, and its arguments with the model's name in them."""

    image: str
    args: tuple[str, ...] = _KSERVE
    command: tuple[str, ...] = ()


RUNTIMES: Final[Mapping[str, Runtime]] = {
    "sklearn": Runtime("kserve/sklearnserver:v0.15.2"),
    "xgboost": Runtime("kserve/xgbserver:v0.15.2"),
    "lightgbm": Runtime("kserve/lgbserver:v0.15.2"),
    "tensorflow": Runtime(
        "tensorflow/serving:2.19.1",
        ("--model_name={name}", "--port=9000", f"--rest_api_port={HTTP}", f"--model_base_path={_MODELS}"),
    ),
    "triton": Runtime(
        "nvcr.io/nvidia/tritonserver:25.08-py3",
        (f"--model-repository={_MODELS}", "--grpc-port=9000", f"--http-port={HTTP}"),
        ("tritonserver",),
    ),
}
"""KServe's own runtimes of these formats (config/runtimes of KServe 0.15)."""


@dataclass(frozen=True, slots=True)
class Options:
    """How KServe is installed.

    Attributes:
        runtimes: the server of each format.
        initializer: image that fetches a model before its server starts.
        patience: seconds before the first readiness probe.
        period: seconds between two of them.
    """

    runtimes: Mapping[str, Runtime] = field(default_factory=lambda: RUNTIMES)
    initializer: str = "kserve/storage-initializer:v0.15.2"
    patience: int = 1
    period: int = 5


@dataclass(frozen=True, slots=True)
class Objects:
    """All that is made of an InferenceService."""

    deployment: Obj
    service: Obj


def title(obj: Mapping[str, Any]) -> str:
    """The name of the predictor's Deployment and Service."""
    return f"{name(obj)}-predictor"


def objects(obj: Obj, options: Options) -> Objects:
    """The Deployment and the Service.

    Raises:
        ComponentError: the predictor cannot be served as asked for.
    """
    predictor: Obj = copied((obj.get("spec") or {}).get("predictor") or {})
    container, source = _container(obj, predictor, options)
    pod: Obj = {key: predictor[key] for key in _OF_POD if predictor.get(key)}
    pod["containers"] = [container, *_others(predictor)]
    if source:
        _fetched(pod, container, source, options)
    port = _port(container)
    container.setdefault("ports", [{"name": "http1", "containerPort": port, "protocol": "TCP"}])
    container.setdefault(
        "readinessProbe",
        {"tcpSocket": {"port": port}, "initialDelaySeconds": options.patience, "periodSeconds": options.period},
    )
    worn = {"app": f"isvc.{title(obj)}", "component": "predictor", LABEL: name(obj)}
    least = predictor.get("minReplicas")
    metadata: Obj = {
        "name": title(obj),
        "namespace": namespace(obj),
        "labels": {**labels(obj), **worn},
        "ownerReferences": [owner_reference(INFERENCE_SERVICE, obj)],
    }
    spec: Obj = {
        "replicas": max(1 if least is None else int(least), 1),
        "selector": {"matchLabels": {"app": worn["app"]}},
        # No pod goes before its successor is ready.
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {"metadata": {"labels": {**labels(obj), **worn}}, "spec": pod},
    }
    ports = [{"name": "http", "port": 80, "targetPort": port, "protocol": "TCP"}]
    return Objects(
        {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": copied(metadata),
            "spec": {"selector": {"app": worn["app"]}, "ports": ports, "type": "ClusterIP", "sessionAffinity": "None"},
        },
    )


def _others(predictor: Obj) -> list[Obj]:
    found = [one for one in predictor.get("containers") or () if one.get("name") != CONTAINER]
    return found if predictor.get("model") else found[1:] if not _named(predictor) else found


def _named(predictor: Obj) -> Obj | None:
    return next((one for one in predictor.get("containers") or () if one.get("name") == CONTAINER), None)


def _container(obj: Obj, predictor: Obj, options: Options) -> tuple[Obj, str]:
    """The container that serves, and where its model is; a container of one's own has what it needs."""
    model = predictor.get("model") or _old(predictor, options)
    if model is None:
        own = _named(predictor) or next(iter(predictor.get("containers") or ()), None)
        if own is None:
            raise ComponentError("spec.predictor has neither a model nor a container")
        made = {**own, "name": own.get("name") or CONTAINER}
        made["env"] = _environment(made.get("env"))
        return made, ""
    called = str((model.get("modelFormat") or {}).get("name") or "")
    runtime = options.runtimes.get(called)
    if runtime is None:
        known = ", ".join(options.runtimes)
        raise ComponentError(f"there is no server of the format {called!r}; there are {known}, or give containers")
    made = {key: model[key] for key in _OF_MODEL if model.get(key)}
    args = [one.format(name=name(obj)) for one in runtime.args]
    made |= {
        "name": CONTAINER,
        "image": model.get("image") or runtime.image,
        "args": [*args, *(model.get("args") or ())],
        "env": _environment(made.get("env")),
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if command := model.get("command") or list(runtime.command):
        made["command"] = command
    return made, str(model.get("storageUri") or "")


def _environment(given: list[Obj] | None) -> list[Obj]:
    """With the pod's address, at which a server listens."""
    return [dict(_POD_IP), *(one for one in given or () if one.get("name") != _POD_IP["name"])]


def _old(predictor: Obj, options: Options) -> Obj | None:
    """A model as KServe's first manifests said it: ``sklearn: {storageUri: ...}``."""
    found = next((one for one in options.runtimes if predictor.get(one)), None)
    return None if found is None else {**predictor[found], "modelFormat": {"name": found}}


def _port(container: Obj) -> int:
    return next((int(one["containerPort"]) for one in container.get("ports") or ()), HTTP)


def _fetched(pod: Obj, container: Obj, source: str, options: Options) -> None:
    """Have the model at its place before the server starts."""
    mount: Obj = {"name": "kserve-pvc-source", "mountPath": _MODELS, "readOnly": True}
    volumes: list[Obj] = pod.setdefault("volumes", [])
    if source.startswith(_CLAIM):
        claim, _, path = source.removeprefix(_CLAIM).partition("/")
        if not claim or ".." in path.split("/"):
            raise ComponentError(f"storageUri {source!r} names no claim: pvc://CLAIM/PATH")
        volumes.append({"name": mount["name"], "persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
        mount |= {"subPath": path.strip("/")} if path.strip("/") else {}
    else:
        mount["name"] = "kserve-provision-location"
        volumes.append({"name": mount["name"], "emptyDir": {}})
        first: Obj = {
            "name": "storage-initializer",
            "image": options.initializer,
            "args": [source, _MODELS],
            "volumeMounts": [{key: value for key, value in mount.items() if key != "readOnly"}],
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }
        first |= {key: copied(container[key]) for key in ("env", "envFrom", "securityContext") if container.get(key)}
        pod["initContainers"] = [first]
    container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]
