"""What an InferenceService's parts are made of: each a Deployment, a Service and perhaps an autoscaler. Pure.

Names, labels, ports and arguments are those that KServe gives them in its mode Standard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from jupyterlab_kf import names
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.kserve import agents, containers, fields, scaling
from jupyterlab_kf.controllers.kserve.options import Options
from jupyterlab_kf.controllers.kserve.scaling import Scaling
from jupyterlab_kf.controllers.support import name, namespace, notes, owner_reference
from jupyterlab_kf.kinds import HORIZONTAL_POD_AUTOSCALER, INFERENCE_SERVICE
from jupyterlab_kf.model import Obj, labels

LABEL: Final = "serving.kserve.io/inferenceservice"
PREDICTOR, TRANSFORMER, EXPLAINER = "predictor", "transformer", "explainer"
_FORWARD: Final = 9082
_PORT: Final = 80
_NOT_OURS: Final = (f"{names.DOMAIN}/", "kubectl.kubernetes.io/")
_STRATEGY: Final = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}
"""No pod goes before its successor is ready."""


@dataclass(frozen=True, slots=True)
class Part:
    """One part, and all that is made of it.

    Attributes:
        component: ``predictor``, ``transformer`` or ``explainer``.
        title: the name of all its objects.
        fixed: whether the number of replicas is the InferenceService's to decide.
        without: fields of scaling that are not honoured, each by its path with the reason.
    """

    component: str
    title: str
    deployment: Obj
    service: Obj
    autoscaler: Obj | None
    fixed: bool
    without: list[tuple[str, str]]


def parts(obj: Obj, options: Options) -> list[Part]:
    """All parts, the predictor first.

    Raises:
        ComponentError: one cannot be served as asked for.
    """
    spec: Mapping[str, Any] = obj.get("spec") or {}
    found = [_predictor(obj, options)]
    if spec.get(TRANSFORMER) is not None:
        found.append(_asking(obj, TRANSFORMER, found[0].title, options))
    explainer = spec.get(EXPLAINER)
    if explainer is not None and not (explainer.get("art") and not explainer.get("containers")):
        found.append(_asking(obj, EXPLAINER, found[0].title, options))
    return found


def address(part: Part) -> str:
    """Where a part is reached in the cluster."""
    return f"http://{part.title}.{part.service['metadata']['namespace']}.svc.cluster.local"


def _asked(obj: Obj, component: str) -> Mapping[str, Any]:
    """What the object says of a part."""
    return (obj.get("spec") or {}).get(component) or {}


def _predictor(obj: Obj, options: Options) -> Part:
    part = _asked(obj, PREDICTOR)
    variant = f"{part['name']}-" if part.get("name") else ""
    served = containers.serving(part, name(obj), options)
    return _part(obj, PREDICTOR, f"{name(obj)}-{variant}predictor", served, options)


def _asking(obj: Obj, component: str, predictor: str, options: Options) -> Part:
    """A part that asks the predictor: by its Service's name, or through a container beside it that knows its pods."""
    part = _asked(obj, component)
    forwards = bool(options.forwarder) and not containers.says_where(part)
    host = f"$(POD_IP):{_FORWARD}" if forwards else f"{predictor}.{namespace(obj)}"
    made, source = containers.asking(part, component, name(obj), host)
    if forwards:
        made.append(
            {
                "name": "forwarder",
                "image": options.forwarder,
                "args": [f"--port={_FORWARD}", f"--to={namespace(obj)}/{predictor}/{_PORT}"],
                "env": containers.environment(None),
                "ports": [{"name": "forward", "containerPort": _FORWARD, "protocol": "TCP"}],
            }
        )
    return _part(obj, component, f"{name(obj)}-{component}", (made, source), options)


def _part(obj: Obj, component: str, title: str, served: tuple[list[Obj], str], options: Options) -> Part:
    part, (made, source) = _asked(obj, component), served
    scaled = scaling.of(part, notes(obj).get(scaling.CLASS, ""))
    pod: Obj = {key: copied(part[key]) for key in sorted(fields.POD) if part.get(key)}
    pod["containers"] = made
    if source:
        containers.fetched(pod, made[0], source, options)
    _ask_for(made[0], scaled, options)
    for one in made:
        if one.get("name") in (containers.CONTAINER, containers.COLLOCATED) or one is made[0]:
            containers.equip(one, options)
    entry = next((one for one in made if one.get("name") == containers.COLLOCATED), made[0])
    beside = agents.agent(obj, component, part, entry, options)
    if beside is not None:
        made.append(beside)
    worn = {"app": f"isvc.{title}", "component": component, LABEL: name(obj)}
    metadata: Obj = {
        "name": title,
        "namespace": namespace(obj),
        "labels": {**labels(obj), **(part.get("labels") or {}), **worn},
        "ownerReferences": [owner_reference(INFERENCE_SERVICE, obj)],
    }
    told = {key: value for key, value in notes(obj).items() if not key.startswith(_NOT_OURS)}
    told |= part.get("annotations") or {}
    if options.forwarder and component != PREDICTOR:
        # Its program is told where to listen, by KServe's own argument.
        told[names.ANNOTATION_MOVABLE] = "true"
    return Part(
        component,
        title,
        _deployment(metadata, told, part, pod, scaled),
        _service(metadata, entry["ports"], agents.PORT if beside else None),
        _autoscaler(metadata, title, scaled),
        scaled.fixed,
        [(f"spec.{component}.{path}", why) for path, why in scaled.without],
    )


def _deployment(metadata: Obj, told: Mapping[str, str], part: Mapping[str, Any], pod: Obj, scaled: Scaling) -> Obj:
    template: Obj = {"metadata": {"labels": dict(metadata["labels"])}, "spec": pod}
    if told:
        template["metadata"]["annotations"] = dict(told)
    spec: Obj = {
        "selector": {"matchLabels": {"app": metadata["labels"]["app"]}},
        "strategy": copied(part.get("deploymentStrategy") or _STRATEGY),
        "template": template,
    }
    if scaled.replicas is not None:
        spec["replicas"] = scaled.replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def _service(metadata: Obj, given: list[Obj], first: int | None) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": copied(metadata),
        "spec": {
            "selector": {"app": metadata["labels"]["app"]},
            "ports": list(_ports(given, first)),
            "type": "ClusterIP",
            "sessionAffinity": "None",
        },
    }


def _ports(given: list[Obj], first: int | None) -> Iterator[Obj]:
    """The first port of a container as 80, which may lead elsewhere, and the others as they are."""
    for at, one in enumerate(given):
        number = int(one["containerPort"])
        called = str(one.get("name") or ("http" if at == 0 else f"port-{number}"))
        port, target = (_PORT, first or number) if at == 0 else (number, number)
        yield {"name": called, "port": port, "targetPort": target, "protocol": one.get("protocol") or "TCP"}


def _autoscaler(metadata: Obj, title: str, scaled: Scaling) -> Obj | None:
    if scaled.autoscaler is None:
        return None
    kind = HORIZONTAL_POD_AUTOSCALER
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": title}
    spec = {"scaleTargetRef": target, **scaled.autoscaler}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": copied(metadata), "spec": spec}


def _ask_for(container: Obj, scaled: Scaling, options: Options) -> None:
    """Have a pod ask for what it is measured by, as KServe's defaults do: a share of nothing cannot be known."""
    for resource in scaled.followed:
        given = container.get("resources") or {}
        limit = (given.get("limits") or {}).get(resource)
        wanted = {resource: limit or options.size[resource], **(given.get("requests") or {})}
        container["resources"] = {**given, "requests": wanted}
