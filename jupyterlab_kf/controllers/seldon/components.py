"""Everything that a SeldonDeployment needs, as Seldon's operator 1.17.1 makes it: from one object to a list of objects.

Pure, and the same for the same input. The object must have its defaults. What is made is checked against the real
operator's in tests/golden/serving; docs/differences.md has what differs on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.bringing.faults import ComponentError
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.seldon import engine, explainer, graph, names, pods, routes, scaling, servers, services
from jupyterlab_kf.controllers.seldon.options import GRPC_PORT, HTTP_PORT, Options
from jupyterlab_kf.controllers.support import namespace, owner_reference
from jupyterlab_kf.model import Obj
from jupyterlab_kf.names import ANNOTATION_SLEEP

_CERTIFICATES: Final = "/cert/"
_CERTIFICATE_VOLUME: Final = "seldon-cert-volume"
_PATHS: Final = {"tensorflow": "/v1/models/{}:predict", "v2": "/v2/models/{}/infer", "seldon": "/api/v1.0/predictions"}


@dataclass(slots=True)
class Components:
    """What there should be.

    Attributes:
        details: each Service that the status tells of.
        default: the Deployment whose replicas are those of the SeldonDeployment.
        address: where the first predictor is asked.
        unsupported: fields that are not honoured, each with the reason.
    """

    deployments: list[Obj] = field(default_factory=list)
    services: list[Obj] = field(default_factory=list)
    autoscalers: list[Obj] = field(default_factory=list)
    budgets: list[Obj] = field(default_factory=list)
    virtual_services: list[Obj] = field(default_factory=list)
    destination_rules: list[Obj] = field(default_factory=list)
    details: dict[str, Obj] = field(default_factory=dict)
    default: str = ""
    address: str = ""
    unsupported: list[tuple[str, str]] = field(default_factory=list)


def components(obj: Obj, options: Options) -> Components:
    """The objects of a SeldonDeployment that has its defaults.

    Raises:
        ComponentError: they cannot be made as asked for.
    """
    return _Maker(copied(obj), options).made()


class _Maker:
    """Puts one deployment's objects together. Its mappings are of a copy, and what is added to one is seen by all."""

    def __init__(self, obj: Obj, options: Options) -> None:
        self.obj, self.options = obj, options
        self.found = Components()
        self.predictors: list[Obj] = obj["spec"]["predictors"]
        self.separate = names.is_set(obj["spec"].get("annotations"), names.SEPARATE_ENGINE)

    def made(self) -> Components:
        ports = [self._predictor(predictor) for predictor in self.predictors]
        first = self.predictors[0]
        path = _PATHS[graph.spoken(self.obj)].format(first["graph"]["name"])
        self.found.address = f"http://{routes.host(self.obj, first)}:{ports[0][0]}{path}"
        if self.options.istio:
            self.found.virtual_services.append(routes.virtual_service(self.obj, ports, self.options))
            self.found.destination_rules += [routes.destination_rule(self.obj, one) for one in self.predictors]
        else:
            self.found.unsupported += routes.unrouted(self.obj)
        return self._owned()

    def _owned(self) -> Components:
        """The same with the owner on each, and nothing shared any more."""
        owner = owner_reference(kinds.of(str(self.obj["apiVersion"]), str(self.obj["kind"])), self.obj)
        found = self.found
        for made in (
            *(found.deployments, found.services, found.autoscalers),
            *(found.budgets, found.virtual_services, found.destination_rules),
        ):
            made[:] = [copied(one) for one in made]
            for one in made:
                one["metadata"]["ownerReferences"] = [owner]
        if self.options.pod_address:
            for one in found.deployments:
                for container in pods.containers(one):
                    _tell_place(container)
        return found

    def _predictor(self, predictor: Obj) -> routes.Ports:
        """One predictor's objects; the ports of its Service."""
        service = names.predictor_service(self.obj, predictor)
        engineless = names.is_set(predictor.get("annotations"), names.NO_ENGINE)
        ports: routes.Ports = (HTTP_PORT, GRPC_PORT)
        if self.separate and not engineless:
            self.found.deployments.append(self._certified(predictor, engine.deployment(*self._of(predictor))))
        for place, component in enumerate(predictor.get("componentSpecs") or ()):
            if (component.get("spec") or {}).get("containers"):
                ports = self._component(predictor, place, component, engineless=engineless) or ports
        for unit in list(graph.units(predictor["graph"])):
            self._model(predictor, unit)
        if not engineless:
            if not self.separate:
                engine.join(self.obj, predictor, self._beside(predictor), self.options)
            self._certify_root(predictor)
            self._serve(predictor, services.predictor_service(self.obj, predictor, service, *ports), ports)
        if pods.has_explainer(predictor):
            self._explain(predictor)
        return ports

    def _of(self, predictor: Obj) -> tuple[Obj, Obj, Options]:
        return self.obj, predictor, self.options

    def _serve(self, predictor: Obj, service: Obj, ports: routes.Ports) -> None:
        """A predictor's Service, and what the status says of it."""
        self.found.services.append(service)
        self._detail(names.predictor_service(self.obj, predictor), *ports)

    def _detail(self, service: str, http: int, grpc: int) -> None:
        base = f"{service}.{namespace(self.obj)}"
        self.found.details[service] = {
            "svcName": service,
            "httpEndpoint": f"{base}:{http}",
            "grpcEndpoint": f"{base}:{grpc}",
        }

    # --- components ---------------------------------------------------------------------------------------------------

    def _component(self, predictor: Obj, place: int, component: Obj, *, engineless: bool) -> routes.Ports | None:
        """One component's Deployment with its units' Services; the ports of a predictor without an engine."""
        title = names.deployment(self.obj, predictor, component, place)
        if predictor is self.predictors[0] and place == 0:
            self.found.default = title
        made = pods.deployment(self.obj, predictor, component, title, self.options)
        self._scale(predictor, component, made, title)
        ports: routes.Ports | None = None
        for container in list(component["spec"]["containers"]):
            unit = graph.find(predictor["graph"], str(container["name"]))
            pods.label(made, pods.roles(unit, predictor))
            if unit is None or container["name"] in (names.ENGINE, names.TF_SERVING):
                continue
            service = self._unit(predictor, unit, made)
            if engineless:
                numbers = service["spec"]["ports"]
                ports = int(numbers[0]["port"]), int(numbers[1]["port"])
                app = names.predictor_service(self.obj, predictor)
                pods.label(made, {names.LABEL_APP: app}, select=True)
                whole = services.predictor_service(self.obj, predictor, app, *ports)
                whole["metadata"]["labels"].update(pods.roles(unit, predictor))
                self._serve(predictor, whole, ports)
        self.found.deployments.append(made)
        return ports

    def _unit(self, predictor: Obj, unit: Obj, made: Obj) -> Obj:
        service = services.unit_service(self.obj, predictor, unit, made, self.options)
        service["metadata"]["labels"].update(pods.roles(unit, predictor))
        self.found.services.append(service)
        title = names.container_service(self.obj, predictor, str(unit["name"]))
        self._detail(title, graph.port(unit, "httpPort"), graph.port(unit, "grpcPort"))
        return service

    def _scale(self, predictor: Obj, component: Obj, made: Obj, title: str) -> None:
        """Who decides on replicas: an autoscaler, or the most specific of three numbers."""
        said = (component.get("replicas"), predictor.get("replicas"), self.obj["spec"].get("replicas"))
        replicas = next((one for one in said if one is not None), None)
        scaled = component.get("hpaSpec")
        if component.get("kedaSpec"):
            asked = scaling.of_keda(component["kedaSpec"], replicas=replicas or 1, awake=self._awake(predictor))
            self.found.unsupported += asked.without
            scaled = asked.autoscaler
            if asked.sleeps is not None:
                made["metadata"].setdefault("annotations", {})[ANNOTATION_SLEEP] = asked.sleeps.text()
        if scaled:
            self.found.autoscalers.append(scaling.autoscaler(self.obj, scaled, title))
        elif replicas is not None:
            made["spec"]["replicas"] = replicas
        if component.get("pdbSpec"):
            self.found.budgets.append(scaling.budget(self.obj, component, title))

    def _awake(self, predictor: Obj) -> str:
        """Why a predictor cannot be put to sleep; empty where it can."""
        if not self.options.sleeps:
            return "nobody here holds requests for what is not there"
        if self.separate or len(predictor.get("componentSpecs") or ()) != 1 or pods.has_explainer(predictor):
            return "only what is one Deployment sleeps, as only what comes through the gateway wakes it"
        return ""

    def _model(self, predictor: Obj, unit: Obj) -> None:
        """A unit's ready-made server, or the model of one that is not."""
        ready_made = graph.is_ready_made(unit)
        if not ready_made and not unit.get("modelUri"):
            return
        made = self._deployment_of(predictor, str(unit["name"]))
        if ready_made:
            servers.equip(self.obj, unit, made, self.options)
        else:
            servers.fetch(unit, made, str(unit["name"]), self.options)

    def _deployment_of(self, predictor: Obj, unit: str) -> Obj:
        """The Deployment with the container of a unit."""
        for place, component in enumerate(predictor.get("componentSpecs") or ()):
            if any(one["name"] == unit for one in component["spec"].get("containers") or ()):
                title = names.deployment(self.obj, predictor, component, place)
                return next(one for one in self.found.deployments if one["metadata"]["name"] == title)
        raise ComponentError(f"no component of predictor {predictor['name']} has a container for the unit {unit}")

    def _beside(self, predictor: Obj) -> Obj:
        """The Deployment that the engine goes into."""
        unit = graph.engine_unit(predictor["graph"])
        if unit is None:
            raise ComponentError(
                f"predictor {predictor['name']}: no unit of its graph has a container in the first component, so there "
                "is no pod for the engine"
            )
        return self._deployment_of(predictor, str(unit["name"]))

    def _explain(self, predictor: Obj) -> None:
        told = self.found.details[names.predictor_service(self.obj, predictor)]
        grpc = graph.speaks_grpc(self.obj, predictor["explainer"].get("endpoint"))
        asked = str(told["grpcEndpoint" if grpc else "httpEndpoint"])
        self.found.deployments.append(explainer.deployment(self.obj, predictor, asked, self.options))
        title = names.explainer(self.obj, predictor)
        number = explainer.port(predictor["explainer"])
        service = services.predictor_service(self.obj, predictor, title, number, 0)
        service["metadata"]["labels"][names.LABEL_APP] = names.predictor_service(self.obj, predictor)
        service["metadata"]["labels"].update(pods.roles(None, predictor))
        self.found.services.append(service)
        self.found.details[title] = {
            "svcName": title,
            "httpEndpoint": f"{title}.{namespace(self.obj)}:{number}",
            "explainerFor": names.predictor_service(self.obj, predictor),
        }
        if self.options.istio:
            virtual_service, rule = routes.explainer_routes(self.obj, predictor, self.options)
            self.found.virtual_services.append(virtual_service)
            self.found.destination_rules.append(rule)

    # --- certificates -------------------------------------------------------------------------------------------------

    def _certify_root(self, predictor: Obj) -> None:
        if (predictor.get("ssl") or {}).get("certSecretName"):
            self._certified(predictor, self._deployment_of(predictor, str(predictor["graph"]["name"])))

    @staticmethod
    def _certified(predictor: Obj, made: Obj) -> Obj:
        """The Deployment, with the predictor's certificate in each container if it has one."""
        secret = (predictor.get("ssl") or {}).get("certSecretName")
        if secret:
            pod = pods.pod_of(made)
            pod["volumes"] = [*(pod.get("volumes") or ()), _secret_volume(secret)]
            for container in pods.containers(made):
                mount = {"name": _CERTIFICATE_VOLUME, "mountPath": _CERTIFICATES, "readOnly": True}
                container.setdefault("volumeMounts", []).append(mount)
                pods.set_variable(container, "SELDON_CERT_MOUNT_PATH", _CERTIFICATES, override=False)
        return made


def _secret_volume(secret: str) -> Obj:
    return {"name": _CERTIFICATE_VOLUME, "secret": {"secretName": secret}}


def _tell_place(container: dict[str, Any]) -> None:
    """``POD_IP``, unless the container says something about it itself; and to the engine where its annotations are."""
    if not pods.has_variable(container, "POD_IP"):
        source = {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}
        container.setdefault("env", []).append({"name": "POD_IP", "valueFrom": source})
    if container["name"] == names.ENGINE:
        pods.set_variable(container, "KF_ANNOTATIONS_FILE", f"{names.POD_INFO_PATH}/annotations", override=False)
