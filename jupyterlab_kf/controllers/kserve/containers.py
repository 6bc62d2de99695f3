"""The containers of an InferenceService's parts: what serves, what it is told, and where its model comes from. Pure.

The model is mounted from its claim, or fetched into the pod by KServe's initializer with the server's own variables, so
that the keys of a bucket come from a Secret (``envFrom``) and stand in no manifest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf.controllers.bringing.faults import ComponentError
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.kserve import fields
from jupyterlab_kf.controllers.kserve.options import HTTP, MODELS, Options
from jupyterlab_kf.model import Obj

CONTAINER: Final = "kserve-container"
COLLOCATED: Final = "transformer-container"
"""A transformer in the predictor's own pod: requests go to it."""
_CLAIM: Final = "pvc://"
_SOURCE: Final = "STORAGE_URI"
"""The variable by which a container of one's own says where its model is."""
_POD_IP: Final = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}


def serving(part: Mapping[str, Any], title: str, options: Options) -> tuple[list[Obj], str]:
    """A predictor's containers, the one that serves first, and where its model is.

    Args:
        part: the predictor.
        title: the InferenceService's name, by which the model is asked for.
        options: the installation.

    Raises:
        ComponentError: there is nothing that could serve.
    """
    given: list[Obj] = [copied(one) for one in part.get("containers") or ()]
    model = part["model"] if part.get("model") is not None else _by_format(part, options)
    if model is not None:
        container, source = _of_format(model, title, options)
        return [container, *(one for one in given if one.get("name") != CONTAINER)], source
    own = next((one for one in given if one.get("name") == CONTAINER), next(iter(given), None))
    if own is None:
        raise ComponentError("spec.predictor has neither a model nor a container")
    if len(given) == 1 or not own.get("name"):
        own["name"] = CONTAINER
    own["env"] = environment(own.get("env"))
    return [own, *(one for one in given if one is not own)], _source(own)


def asking(part: Mapping[str, Any], name: str, title: str, predictor: str) -> tuple[list[Obj], str]:
    """The containers of a part that asks the predictor, and where its model is.

    Args:
        part: the transformer or explainer.
        name: which of the two.
        title: the InferenceService's name.
        predictor: the host, and perhaps port, of the predictor.

    Raises:
        ComponentError: there is no container.
    """
    given: list[Obj] = [copied(one) for one in part.get("containers") or ()]
    if not given:
        raise ComponentError(f"spec.{name} has no container")
    first = given[0]
    first["name"] = CONTAINER
    words = [str(word) for word in first.get("args") or ()]
    told: list[tuple[str, Any]] = [("--model_name", title), ("--predictor_host", predictor), ("--http_port", HTTP)]
    if part.get("containerConcurrency") is not None:
        told.append(("--workers", part["containerConcurrency"]))
    for option, value in told:
        if not any(word.startswith(option) for word in words):
            words += [option, str(value)]
    first["args"] = words
    first["env"] = [*environment(first.get("env")), {"name": "INFERENCE_SERVICE_NAME", "value": title}]
    return given, _source(first)


def says_where(part: Mapping[str, Any]) -> bool:
    """Whether a part's container says itself where the predictor is."""
    words = [str(word) for one in list(part.get("containers") or ())[:1] for word in one.get("args") or ()]
    return any(word.startswith("--predictor_host") for word in words)


def environment(given: list[Obj] | None) -> list[Obj]:
    """With the pod's address, at which a server listens."""
    return [dict(_POD_IP), *(one for one in given or () if one.get("name") != _POD_IP["name"])]


def equip(container: Obj, options: Options) -> int:
    """Give a server its port and the probe of it, where it says nothing else; the port's number."""
    ports = container.setdefault("ports", [{"name": "http1", "containerPort": HTTP, "protocol": "TCP"}])
    port = next((int(one["containerPort"]) for one in ports), HTTP)
    probe = {"tcpSocket": {"port": port}, "initialDelaySeconds": options.patience, "periodSeconds": options.period}
    container.setdefault("readinessProbe", probe)
    return port


def _of_format(model: Obj, title: str, options: Options) -> tuple[Obj, str]:
    called = str((model.get("modelFormat") or {}).get("name") or "")
    runtime = options.runtimes.get(called)
    if runtime is None:
        known = ", ".join(options.runtimes)
        raise ComponentError(f"there is no server of the format {called!r}; there are {known}, or give containers")
    image = runtime.image
    if version := model.get("runtimeVersion"):
        image = f"{image.rpartition(':')[0]}:{version}"
    made: Obj = {"terminationMessagePolicy": "FallbackToLogsOnError"}
    made |= {key: copied(model[key]) for key in sorted(fields.CONTAINER) if model.get(key)}
    made |= {
        "name": CONTAINER,
        "image": model.get("image") or image,
        "args": [*(one.format(name=title) for one in runtime.args), *(model.get("args") or ())],
        "env": environment(made.get("env")),
    }
    if command := model.get("command") or list(runtime.command):
        made["command"] = command
    return made, str(model.get("storageUri") or "")


def _by_format(part: Mapping[str, Any], options: Options) -> Obj | None:
    """A model as KServe's first manifests said it: ``sklearn: {storageUri: ...}``."""
    known = [*options.runtimes, *sorted(fields.FORMATS)]
    found = next((one for one in known if part.get(one) is not None), None)
    return None if found is None else {**part[found], "modelFormat": {"name": found}}


def _source(container: Obj) -> str:
    """Where the model of a container of one's own is; it is told the folder instead."""
    for one in container["env"]:
        if one.get("name") == _SOURCE and one.get("value"):
            source, one["value"] = str(one["value"]), MODELS
            return source
    return ""


def fetched(pod: Obj, container: Obj, source: str, options: Options) -> None:
    """Have the model at its place before the server starts.

    Raises:
        ComponentError: the source names no claim.
    """
    mount: Obj = {"name": "kserve-pvc-source", "mountPath": MODELS, "readOnly": True}
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
            "args": [source, MODELS],
            "volumeMounts": [{key: value for key, value in mount.items() if key != "readOnly"}],
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }
        first |= {key: copied(container[key]) for key in ("env", "envFrom", "securityContext") if container.get(key)}
        pod["initContainers"] = [first, *(pod.get("initContainers") or ())]
    container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]
