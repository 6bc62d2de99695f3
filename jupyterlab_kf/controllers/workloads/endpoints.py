"""Service to EndpointSlice: which pods stand behind a service, where they listen, and whether they are ready.

Where the node has given a pod another port than it declared (annotation ``jupyterlab-kf.io/ports``), the slice tells
the given one. Pods with different ports go to different slices, as a slice has one list of ports.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from jupyterlab_kf import kinds, names
from jupyterlab_kf.controllers import Action, Controller, Create, Delete, Key, Patch, View
from jupyterlab_kf.controllers.support import (
    FINISHED,
    matches,
    name,
    namespace,
    notes,
    owner_reference,
    phase,
    ready,
    suffix,
    terminating,
    uid,
)
from jupyterlab_kf.model import Obj, labels

SERVICE_LABEL = "kubernetes.io/service-name"
_MANAGED_LABEL = "endpointslice.kubernetes.io/managed-by"
_HEADLESS_LABEL = "service.kubernetes.io/headless"
_SOURCE = "endpointslice-controller"

_Ports = tuple[tuple[str, int, str], ...]


def react(obj: Obj, view: View, now: float) -> list[Action]:
    """What brings a Service's slices in line with its pods."""
    del now
    selector = (obj.get("spec") or {}).get("selector") or {}
    if terminating(obj) or not selector:
        return []
    groups: dict[_Ports, list[Obj]] = {}
    for pod in view.list(kinds.POD, namespace(obj)):
        if matches(selector, labels(pod)) and _is_reachable(pod):
            groups.setdefault(_ports(obj, pod), []).append(pod)
    wanted = {_slice_name(obj, ports): _content(obj, ports, pods) for ports, pods in groups.items()}
    have = {name(s): s for s in view.owned(kinds.ENDPOINT_SLICE, uid(obj))}
    actions: list[Action] = []
    for slice_name, content in wanted.items():
        stored = have.pop(slice_name, None)
        if stored is None:
            actions.append(Create(kinds.ENDPOINT_SLICE, _new(obj, slice_name, content)))
        elif any(stored.get(field) != value for field, value in content.items()):
            where = (kinds.ENDPOINT_SLICE, namespace(obj), slice_name, uid(stored))
            actions.append(Patch(*where, content))
    return actions + [Delete(kinds.ENDPOINT_SLICE, namespace(obj), n, uid(s)) for n, s in have.items()]


def _is_reachable(pod: Obj) -> bool:
    return bool((pod.get("status") or {}).get("podIP")) and phase(pod) not in FINISHED


def _slice_name(obj: Obj, ports: _Ports) -> str:
    return names.with_suffix(name(obj), suffix(f"{uid(obj)}/{ports}"))


def _ports(service: Obj, pod: Obj) -> _Ports:
    """Name, number and protocol of every port of a service at one pod."""
    given: Mapping[str, Any] = json.loads(notes(pod).get(names.ANNOTATION_PORTS) or "{}")
    declared = {p.get("name"): p for c in pod["spec"].get("containers") or () for p in c.get("ports") or ()}
    found = []
    for port in (service.get("spec") or {}).get("ports") or ():
        target = port.get("targetPort") or port["port"]
        if isinstance(target, str):
            if target not in declared:
                continue
            target = declared[target]["containerPort"]
        number = int(given.get(str(target), target))
        found.append((str(port.get("name") or ""), number, str(port.get("protocol") or "TCP")))
    return tuple(found)


def _content(service: Obj, ports: _Ports, pods: list[Obj]) -> Obj:
    always = bool((service.get("spec") or {}).get("publishNotReadyAddresses"))
    return {
        "endpoints": [_endpoint(service, pod, always=always) for pod in sorted(pods, key=name)],
        "ports": [{"name": n, "port": number, "protocol": protocol} for n, number, protocol in ports],
    }


def _endpoint(service: Obj, pod: Obj, *, always: bool) -> Obj:
    spec, going = pod["spec"], terminating(pod)
    endpoint: Obj = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": always or (ready(pod) and not going), "serving": ready(pod), "terminating": going},
        "targetRef": {"kind": "Pod", "namespace": namespace(pod), "name": name(pod), "uid": uid(pod)},
    }
    if spec.get("nodeName"):
        endpoint["nodeName"] = spec["nodeName"]
    if spec.get("hostname") and spec.get("subdomain") == name(service):
        endpoint["hostname"] = spec["hostname"]
    return endpoint


def _new(service: Obj, slice_name: str, content: Obj) -> Obj:
    headless = {_HEADLESS_LABEL: ""} if (service.get("spec") or {}).get("clusterIP") == "None" else {}
    own = {SERVICE_LABEL: name(service), _MANAGED_LABEL: "endpointslice-controller.k8s.io", **headless}
    metadata = {
        "name": slice_name,
        "namespace": namespace(service),
        "labels": {**labels(service), **own},
        "ownerReferences": [owner_reference(kinds.SERVICE, service)],
    }
    head = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, "addressType": "IPv4"}
    return {**head, **content}


def _services(pod: Obj, view: View) -> Iterator[Key]:
    """The services that select a pod."""
    have = labels(pod)
    for service in view.list(kinds.SERVICE, namespace(pod)):
        if matches(service["spec"].get("selector") or {}, have):
            yield namespace(service), name(service)


CONTROLLER = Controller(
    name=_SOURCE,
    kind=kinds.SERVICE,
    react=react,
    owns=(kinds.ENDPOINT_SLICE,),
    watches={kinds.POD: _services},
)
