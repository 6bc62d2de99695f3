"""SeldonDeployment v1, every field of it, as frozen values; graphs put together by small functions. Pure.

:func:`read` and :func:`write` lose nothing that Seldon Core 1.17.1 knows, and refuse what it does not know before a
cluster drops it. The older versions of the kind say the same and are read as v1. :func:`checked` has everything that
Seldon's webhook and its operator would object to, as one error, before anything is created.
"""

# ruff: noqa: RUF009  what shapes' functions answer are dataclass fields
from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import yaml

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.seldon import validation
from jupyterlab_kf.errors import ManifestError, UsageError
from jupyterlab_kf.manifests.serving import shapes
from jupyterlab_kf.model import Obj, Ref

ROUTING: Final = {"name": "SELDON_ENABLE_ROUTING_INJECTION", "value": "true"}
"""Without it answers do not say which way they went, and feedback reaches no router."""
POD_IP: Final = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
"""The address that a unit listens at: pods of one machine have different ones."""
_TYPES: Final = ((bool, "BOOL"), (int, "INT"), (float, "FLOAT"), (str, "STRING"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """``endpoint`` of a unit: where it is called. The operator fills it in."""

    host: str = shapes.text("service_host")
    port: int = shapes.number("service_port")
    type: str = shapes.text("type")
    http_port: int = shapes.number("httpPort")
    grpc_port: int = shapes.number("grpcPort")


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """What a unit is made with; ``value`` is text, whatever its type."""

    name: str = shapes.text("name", required=True)
    value: str = shapes.text("value", required=True)
    type: str = shapes.text("type", required=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Logger:
    """Where a unit's requests and responses are sent."""

    url: str = shapes.text("url")
    mode: str = shapes.text("mode")


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A node of a graph: a model, router, combiner or transformer, with what it passes requests on to."""

    name: str = shapes.text("name", required=True)
    children: tuple[Unit, ...] = shapes.many("children", lambda: Unit)
    type: str = shapes.text("type")
    implementation: str = shapes.text("implementation")
    methods: tuple[str, ...] = shapes.sequence("methods")
    endpoint: Address | None = shapes.one("endpoint", lambda: Address)
    parameters: tuple[Parameter, ...] = shapes.many("parameters", lambda: Parameter)
    model_uri: str = shapes.text("modelUri")
    service_account: str = shapes.text("serviceAccountName")
    env_secret: str = shapes.text("envSecretRefName")
    storage_initializer: str = shapes.text("storageInitializerImage")
    logger: Logger | None = shapes.one("logger", lambda: Logger)

    def walk(self) -> Iterator[Unit]:
        """The unit and all below it, each before its children."""
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, name: str) -> Unit | None:
        """The unit of that name, itself or below."""
        return next((unit for unit in self.walk() if unit.name == name), None)

    def with_unit(self, unit: Unit) -> Unit:
        """The graph with another unit in the place of that of its name."""
        if self.name == unit.name:
            return unit
        return replace(self, children=tuple(child.with_unit(unit) for child in self.children))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """``hpaSpec``: between how many replicas, by which metrics (``metrics`` in the shape of autoscaling/v2beta1)."""

    least: int | None = shapes.count("minReplicas")
    most: int = shapes.number("maxReplicas")
    metrics: tuple[Obj, ...] = shapes.sequence("metrics")
    metrics_v2: tuple[Obj, ...] = shapes.sequence("metricsv2")


@dataclass(frozen=True, slots=True, kw_only=True)
class Keda:
    """``kedaSpec``: scaling by KEDA's triggers."""

    polling_interval: int | None = shapes.count("pollingInterval")
    cooldown: int | None = shapes.count("cooldownPeriod")
    least: int | None = shapes.count("minReplicaCount")
    most: int | None = shapes.count("maxReplicaCount")
    advanced: Mapping[str, Any] = shapes.mapping("advanced")
    triggers: tuple[Obj, ...] = shapes.sequence("triggers")
    idle: int | None = shapes.count("idleReplicaCount")
    fallback: Mapping[str, Any] = shapes.mapping("fallback")


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """``pdbSpec``: how many pods may be missing while machines are drained."""

    available: int | str | None = shapes.amount("minAvailable")
    unavailable: int | str | None = shapes.amount("maxUnavailable")


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """``componentSpecs``: the pods of one or more units; each becomes a Deployment."""

    metadata: Mapping[str, Any] = shapes.mapping("metadata")
    spec: Mapping[str, Any] = shapes.mapping("spec")
    scale: Scale | None = shapes.one("hpaSpec", lambda: Scale)
    replicas: int | None = shapes.count("replicas")
    keda: Keda | None = shapes.one("kedaSpec", lambda: Keda)
    budget: Budget | None = shapes.one("pdbSpec", lambda: Budget)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orchestrator:
    """``svcOrchSpec``: the executor, which leads requests through the graph."""

    resources: Mapping[str, Any] = shapes.mapping("resources")
    env: tuple[Obj, ...] = shapes.sequence("env")
    replicas: int | None = shapes.count("replicas")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explainer:
    """An explainer beside a predictor."""

    type: str = shapes.text("type")
    model_uri: str = shapes.text("modelUri")
    service_account: str = shapes.text("serviceAccountName")
    container: Mapping[str, Any] = shapes.mapping("containerSpec")
    config: Mapping[str, str] = shapes.mapping("config")
    endpoint: Address | None = shapes.one("endpoint", lambda: Address)
    env_secret: str = shapes.text("envSecretRefName")
    storage_initializer: str = shapes.text("storageInitializerImage")
    replicas: int | None = shapes.count("replicas")
    init_parameters: str = shapes.text("initParameters")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """``ssl``: the Secret with the certificate that units show."""

    secret: str = shapes.text("certSecretName")


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictor:
    """A version of an endpoint: a graph, its pods, and its share of the traffic."""

    name: str = shapes.text("name", required=True)
    graph: Unit = shapes.one("graph", lambda: Unit, required=True)
    components: tuple[Component, ...] = shapes.many("componentSpecs", lambda: Component)
    replicas: int | None = shapes.count("replicas")
    annotations: Mapping[str, str] = shapes.mapping("annotations")
    engine_resources: Mapping[str, Any] = shapes.mapping("engineResources")
    labels: Mapping[str, str] = shapes.mapping("labels")
    orchestrator: Orchestrator | None = shapes.one("svcOrchSpec", lambda: Orchestrator)
    traffic: int = shapes.number("traffic")
    explainer: Explainer | None = shapes.one("explainer", lambda: Explainer)
    shadow: bool = shapes.flag("shadow")
    ssl: Certificate | None = shapes.one("ssl", lambda: Certificate)
    progress_deadline: int | None = shapes.count("progressDeadlineSeconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """``spec``. Its own ``name`` is deprecated, and is what the webhook's messages show."""

    name: str = shapes.text("name")
    predictors: tuple[Predictor, ...] = shapes.many("predictors", lambda: Predictor)
    oauth_key: str = shapes.text("oauth_key")
    oauth_secret: str = shapes.text("oauth_secret")
    annotations: Mapping[str, str] = shapes.mapping("annotations")
    protocol: str = shapes.text("protocol")
    transport: str = shapes.text("transport")
    replicas: int | None = shapes.count("replicas")
    server_type: str = shapes.text("serverType")


@dataclass(frozen=True, slots=True, kw_only=True)
class SeldonDeployment:
    """An endpoint. ``metadata`` and ``status`` are as the server has them."""

    metadata: Mapping[str, Any] = shapes.mapping("metadata")
    spec: Spec = shapes.one("spec", lambda: Spec, required=True)
    status: Mapping[str, Any] = shapes.mapping("status")

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.metadata.get("name") or "")

    @property
    def namespace(self) -> str:
        """Its namespace; empty for that of who creates it."""
        return str(self.metadata.get("namespace") or "")

    def predictor(self, name: str) -> Predictor:
        """The predictor of that name.

        Raises:
            UsageError: there is none.
        """
        known = {one.name: one for one in self.spec.predictors}
        if name not in known:
            raise UsageError(f"{self.name} has no predictor {name!r}", hint=shapes.nearest(name, known))
        return known[name]

    def with_predictor(self, predictor: Predictor) -> SeldonDeployment:
        """The same with one more predictor, or another in the place of that of its name."""
        others = [predictor if one.name == predictor.name else one for one in self.spec.predictors]
        if predictor not in others:
            others.append(predictor)
        return replace(self, spec=replace(self.spec, predictors=tuple(others)))

    def without_predictor(self, name: str) -> SeldonDeployment:
        """The same without a predictor; weights are as they were."""
        gone = self.predictor(name)
        return replace(
            self, spec=replace(self.spec, predictors=tuple(p for p in self.spec.predictors if p is not gone))
        )


MODEL: Final = (
    SeldonDeployment,
    Spec,
    Predictor,
    Unit,
    Address,
    Parameter,
    Logger,
    Component,
    Scale,
    Keda,
    Orchestrator,
    Explainer,
    Certificate,
)
"""The classes of which a SeldonDeployment is made."""


# Reading and writing


def read(obj: Mapping[str, Any]) -> SeldonDeployment:
    """A SeldonDeployment of any version.

    Raises:
        ManifestError: it is none, or has a field that Seldon does not know.
    """
    served = [kind.api_version for kind in kinds.SERVING if kind.kind == kinds.SELDON_DEPLOYMENT.kind]
    if obj.get("kind") != kinds.SELDON_DEPLOYMENT.kind or obj.get("apiVersion") not in served:
        raise ManifestError(
            f"{obj.get('apiVersion')} {obj.get('kind')} is no SeldonDeployment", hint=f"it is of {', '.join(served)}"
        )
    rest = {key: value for key, value in obj.items() if key not in ("apiVersion", "kind")}
    where = str(Ref.of(obj)) if (obj.get("metadata") or {}).get("name") else "SeldonDeployment"
    try:
        return shapes.read(SeldonDeployment, rest, "")
    except ManifestError as error:
        raise ManifestError(f"{where}: {error.message.removeprefix('.')}", hint=error.hint, ref=Ref.of(obj)) from None


def write(sdep: SeldonDeployment) -> Obj:
    """The object, of version v1."""
    kind = kinds.SELDON_DEPLOYMENT
    return {"apiVersion": kind.api_version, "kind": kind.kind, **shapes.write(sdep)}


def from_yaml(text: str) -> SeldonDeployment:
    """A SeldonDeployment from YAML or JSON.

    Raises:
        ManifestError: it is none.
    """
    try:
        documents = [one for one in yaml.safe_load_all(text) if one is not None]
    except yaml.YAMLError as error:
        raise ManifestError(f"this is not YAML: {error}") from error
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise ManifestError(f"there are {len(documents)} documents; a SeldonDeployment is one map")
    return read(documents[0])


def to_yaml(sdep: SeldonDeployment) -> str:
    """The object as YAML."""
    # Other characters are escaped: written as they are, some line breaks of Unicode would be read back as spaces.
    return yaml.safe_dump(write(sdep), sort_keys=False)


def checked(sdep: SeldonDeployment) -> SeldonDeployment:
    """The same, if Seldon's webhook takes it and its operator can make it serve.

    Raises:
        ManifestError: one of them would not; every reason is said.
    """
    check(write(sdep))
    return sdep


def check(obj: Obj, before: Obj | None = None) -> None:
    """Refuse an object that Seldon's webhook would not take, or with a predictor that its operator cannot make serve.

    Args:
        obj: the object, of version v1.
        before: the same as it is on a cluster, which took it: its graphs serve, and its ready-made servers are there.

    Raises:
        ManifestError: every reason is said.
    """
    there = [one.get("graph") or {} for one in _predictors(before or {})]
    installed = {str(unit.get("implementation")) for graph in there for unit in validation.units(graph)}
    new = [one for one in _predictors(obj) if one.get("graph") not in there]
    found = validation.refused(obj, {*validation.READY_MADE, *installed})
    found = found or validation.unworkable({**obj, "spec": {**obj["spec"], "predictors": new}})
    if found:
        said = "; ".join(dict.fromkeys(f"{path}: {text}" for path, text in found))
        name = (obj.get("metadata") or {}).get("name") or ""
        raise ManifestError(f"SeldonDeployment {name} would not serve: {said}", ref=Ref.of(obj))


def _predictors(obj: Mapping[str, Any]) -> list[Obj]:
    return list((obj.get("spec") or {}).get("predictors") or ())


# Making


def parameters(values: Mapping[str, bool | int | float | str]) -> tuple[Parameter, ...]:
    """What a unit is made with, as Seldon types it.

    Raises:
        UsageError: a value is not a number, a truth value or text.
    """
    found = []
    for name, value in values.items():
        kind = next((kind for type_, kind in _TYPES if isinstance(value, type_)), None)
        if kind is None:
            raise UsageError(
                f"parameter {name} is a {type(value).__name__}; Seldon's are numbers, truth values and text",
                hint="pass structured values as JSON text, or ship them as a file",
            )
        text = str(value).lower() if isinstance(value, bool) else str(value)
        found.append(Parameter(name=name, value=text, type=kind))
    return tuple(found)


def custom(
    name: str, type_: str = "MODEL", *children: Unit, values: Mapping[str, bool | int | float | str] | None = None
) -> Unit:
    """A unit with a container of its own: MODEL, ROUTER, COMBINER, TRANSFORMER or OUTPUT_TRANSFORMER.

    Raises:
        UsageError: there is no such type.
    """
    if type_ not in validation.TYPES:
        raise UsageError(f"{type_!r} is not a type of unit", hint=shapes.nearest(type_, validation.TYPES))
    return Unit(name=name, type=type_, children=children, parameters=parameters(values or {}))


def ready_made(name: str, server: str, model_uri: str = "", *children: Unit, **more: Any) -> Unit:
    """A model for one of the installation's servers, such as SKLEARN_SERVER.

    Raises:
        UsageError: there is no such server, or it needs to be told where the model is.
    """
    if server not in validation.READY_MADE:
        raise UsageError(f"{server!r} is not a ready-made server", hint=shapes.nearest(server, validation.READY_MADE))
    if not model_uri and server != "HUGGINGFACE_SERVER":
        raise UsageError(f"{server} needs a model", hint="model_uri says where it is: gs://, s3://, pvc://CLAIM/PATH")
    return Unit(name=name, type="MODEL", implementation=server, model_uri=model_uri, children=children, **more)


def ab_test(name: str, first: Unit, second: Unit, share: float = 0.5) -> Unit:
    """Requests go to one of two units by chance; ``share`` of them to the first.

    Raises:
        UsageError: the share is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        raise UsageError(f"share is {share}; it is the first one's part, from 0 to 1")
    ratio = Parameter(name="ratioA", value=str(share), type="FLOAT")
    return Unit(name=name, implementation="RANDOM_ABTEST", children=(first, second), parameters=(ratio,))


def pods(template: Mapping[str, Any], *, scale: Scale | None = None, replicas: int | None = None) -> Component:
    """A pod template as a component: every container is told the pod's address."""
    pod = copy.deepcopy(dict(template.get("spec") or {}))
    for container in pod.get("containers") or ():
        kept = [one for one in container.get("env") or () if one.get("name") != POD_IP["name"]]
        container["env"] = [copy.deepcopy(POD_IP), *kept]
    metadata = {key: value for key, value in (template.get("metadata") or {}).items() if value}
    return Component(metadata=metadata, spec=pod, scale=scale, replicas=replicas)


def predictor(name: str, graph: Unit, components: Sequence[Component] = (), **more: Any) -> Predictor:
    """A version; its answers tell which way they went."""
    given = more.pop("orchestrator", None) or Orchestrator()
    env = (*(one for one in given.env if one.get("name") != ROUTING["name"]), dict(ROUTING))
    labels = {"version": name, **more.pop("labels", {})}
    return Predictor(
        name=name,
        graph=graph,
        components=tuple(components),
        labels=labels,
        orchestrator=replace(given, env=env),
        **more,
    )
