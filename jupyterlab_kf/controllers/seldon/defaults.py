"""What Seldon's operator fills into a SeldonDeployment before it reads it: types, ports, hosts, images. Pure."""

from __future__ import annotations

from typing import Final

from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.seldon import graph, names
from jupyterlab_kf.controllers.seldon.options import METRICS_PORT_NAME, Options, server_image
from jupyterlab_kf.controllers.support import namespace
from jupyterlab_kf.model import Obj

_FIRST_HTTP, _FIRST_GRPC, _FIRST_METRICS = 9000, 9500, 6000
_CONTAINER: Final = {
    "imagePullPolicy": "IfNotPresent",
    "terminationMessagePath": "/dev/termination-log",
    "terminationMessagePolicy": "File",
}


def defaulted(obj: Obj, options: Options | None = None) -> Obj:
    """The object with everything that the operator would fill in; what it says stays, and twice is the same as once."""
    made = copied(obj)
    _Filler(made, options or Options()).fill()
    return made


class _Filler:
    """Ports are counted over all predictors; a container's name has one number wherever it stands."""

    def __init__(self, obj: Obj, options: Options) -> None:
        self.obj, self.options = obj, options
        self.places: dict[str, int] = {}
        self.metrics = _FIRST_METRICS

    def fill(self) -> None:
        for predictor in self.obj["spec"].get("predictors") or ():
            predictor["labels"] = labels = dict(predictor.get("labels") or {})
            labels.setdefault("version", predictor.get("name", ""))
            for unit in graph.units(predictor["graph"]):
                _type(unit)
            for place, component in enumerate(predictor.get("componentSpecs") or ()):
                for container in (component.get("spec") or {}).get("containers") or ():
                    self._number(str(container["name"]))
                    for port in container.get("ports") or ():
                        port.setdefault("protocol", "TCP")
                    found = graph.find(predictor["graph"], str(container["name"]))
                    if found is not None:
                        self._unit(predictor, found, container, place)
            for unit in graph.units(predictor["graph"]):
                if graph.is_ready_made(unit):
                    self._server(predictor, unit)

    def _number(self, name: str) -> int:
        return self.places.setdefault(name, len(self.places))

    def _unit(self, predictor: Obj, unit: Obj, container: Obj, place: int) -> None:
        """Ports, host and mounts of a unit whose container stands in the component of that place."""
        for key, value in _CONTAINER.items():
            container[key] = container.get(key) or value
        mounts = container["volumeMounts"] = container.get("volumeMounts") or []
        if not any(one["name"] == names.POD_INFO for one in mounts):
            mounts.append({"name": names.POD_INFO, "mountPath": names.POD_INFO_PATH})
        number = self._number(str(container["name"]))
        http = _port(container, "http") or _FIRST_HTTP + number
        grpc = _port(container, "grpc") or _FIRST_GRPC + number
        if _port(container, METRICS_PORT_NAME) is None:
            container["ports"] = [*(container.get("ports") or ()), _metrics(self.metrics)]
            self.metrics += 1
        endpoint: Obj = unit.setdefault("endpoint", {})
        if place == 0 and not names.is_set(self.obj["spec"].get("annotations"), names.SEPARATE_ENGINE):
            endpoint["service_host"] = "localhost"
        else:
            service = names.container_service(self.obj, predictor, str(container["name"]))
            endpoint["service_host"] = f"{service}.{namespace(self.obj) or 'default'}.svc.cluster.local"
        endpoint["service_port"] = grpc if graph.speaks_grpc(self.obj, endpoint) else http
        endpoint |= {"httpPort": http, "grpcPort": grpc}

    def _server(self, predictor: Obj, unit: Obj) -> None:
        """A ready-made server without a container of its own gets one in the first component."""
        components = predictor["componentSpecs"] = predictor.get("componentSpecs") or []
        found = [
            (place, container)
            for place, component in enumerate(components)
            for container in (component.get("spec") or {}).get("containers") or ()
            if container["name"] == unit["name"]
        ]
        place, container = found[0] if found else (0, {"name": unit["name"]})
        self._unit(predictor, unit, container, place)
        if self.obj["spec"].get("protocol") != "tensorflow":
            image = server_image(self.options, str(unit["implementation"]), str(self.obj["spec"].get("protocol") or ""))
            container["image"] = container.get("image") or image
        if not found:
            if not components:
                components.append({"spec": {"containers": []}})
            pod = components[0]["spec"] = components[0].get("spec") or {}
            pod["containers"] = [*(pod.get("containers") or ()), container]


def _type(unit: Obj) -> None:
    if graph.is_ready_made(unit) or not (unit.get("type") or unit.get("methods") or unit.get("implementation")):
        unit["type"] = "MODEL"
    unit["implementation"] = unit.get("implementation") or "UNKNOWN_IMPLEMENTATION"


def _port(container: Obj, name: str) -> int | None:
    found = next((one for one in container.get("ports") or () if one.get("name") == name), None)
    return None if found is None else int(found["containerPort"])


def _metrics(number: int) -> Obj:
    return {"name": METRICS_PORT_NAME, "containerPort": number, "protocol": "TCP"}
