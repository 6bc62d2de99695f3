"""An endpoint's graph as something to edit: from a version to a draft, and from a draft to the version it would become.

A version is never changed in its place. What was edited becomes a new one of kept models, which gets its requests when
it is ready, so that nothing fails on the way and going back is one step. A draft is only a shape with names in it: it
may be half done. Everything that can be wrong with it is found where ``kf.serve`` finds it, in the same words.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Final, Literal, cast

from jupyterlab_kf import names, settings
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import KubeflowError, UsageError
from jupyterlab_kf.manifests import endpoints, frameworks, pods, scaling
from jupyterlab_kf.model import Obj, meta
from jupyterlab_kf.profiles.values import GPU
from jupyterlab_kf.services.designs import IMAGE
from jupyterlab_kf.services.plans import to_yaml
from jupyterlab_kf.services.serving import graphs, plans, registry, rollout, shipping
from jupyterlab_kf.services.serving.assembly import Assembly
from jupyterlab_kf.services.serving.graphs import BANDITS, COMBINERS, RANDOM, SETTINGS
from jupyterlab_kf.services.serving.models import Model
from jupyterlab_kf.services.serving.plans import ServePlan, ServeRequest
from jupyterlab_kf.services.serving.registry import KeptModel, Place
from jupyterlab_kf.services.serving.rollout import Author
from jupyterlab_kf.services.serving.way import Way

UnitType = Literal["MODEL", "ROUTER", "COMBINER", "TRANSFORMER", "OUTPUT_TRANSFORMER"]
_TYPES: Final = ("MODEL", "ROUTER", "COMBINER", "TRANSFORMER", "OUTPUT_TRANSFORMER")
_SEVERAL: Final = ("ROUTER", "COMBINER")
_DEEPEST: Final = 16
_MOST: Final = 64
_OURS: Final = ("KF_", "POD_IP", "PREDICTIVE_UNIT_", "SELDON_", "PYTHONUNBUFFERED")
Find = Callable[[str], KeptModel | None]
"""Finds a kept model by its hash."""


@dataclass(frozen=True, slots=True)
class GraphDraft:
    """A unit of a graph that is edited, and what it leads to.

    Attributes:
        id: tells it from the other units of the draft.
        name: what it is called in answers and metrics; empty for what people call its model.
        type: Seldon's type.
        by: what combines or chooses, where that is one of ours (mean, random, thompson, ...); else empty.
        settings: what that is told, or what its class is made with.
        model: the hash of its model; empty where ``by`` says what it is.
        unit: which unit of that model, where it is a graph.
        called: what people call its model.
        kept: whether its model is kept, so that it can be served again.
    """

    id: str
    name: str
    type: UnitType
    by: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    unit: str = ""
    called: str = ""
    kept: bool = True
    children: tuple[GraphDraft, ...] = ()


@dataclass(frozen=True, slots=True)
class KeptPart:
    """A kept model that can become part of a graph; ``type`` is what it is fit for, ``when`` epoch seconds."""

    model: str
    unit: str
    called: str
    kind: str
    type: UnitType
    endpoint: str
    when: float


@dataclass(frozen=True, slots=True)
class Workshop:
    """What the graph of a version can be edited with.

    Attributes:
        version: which version.
        draft: its graph as it is.
        parts: kept models.
        routers: what can choose, to what each of them can be told.
        combiners: the same of what makes one answer of several.
        missing: why it cannot be served again as it is; empty where it can.
    """

    version: str
    draft: GraphDraft
    parts: tuple[KeptPart, ...]
    routers: Mapping[str, tuple[str, ...]]
    combiners: Mapping[str, tuple[str, ...]]
    missing: str = ""


@dataclass(frozen=True, slots=True)
class GraphChange:
    """A version that was not made yet."""

    planned: ServePlan = field(repr=False)
    served: Assembly = field(repr=False)
    graph: str
    steps: bool = True

    @property
    def cause(self) -> str:
        """What it is, in words."""
        return f"{self.planned.cause}: {self.graph}"

    def diff(self) -> str:
        """What would be different, as a unified diff."""
        return self.planned.diff()

    def python(self) -> str:
        """The same as a Python call."""
        return self.planned.python()

    def yaml(self) -> str:
        """The endpoint as it would be at first; the code beside it is named, not shown."""
        beside = "".join(
            f"# with ConfigMap {one['metadata']['name']}: code and models\n" for one in self.planned.code_maps
        )
        return beside + to_yaml(self.planned.endpoint)


async def make(client: Client, change: GraphChange, *, way: Way, who: Author, timeout: float) -> Obj:  # noqa: ASYNC109
    """Serve it: it is added, and gets its requests when it is ready; answers the endpoint.

    Raises:
        ConflictError: somebody else changed the endpoint since.
        EndpointNotReadyError: it does not come up; requests are answered as before.
    """
    now = await rollout.submit(client, change.planned, who)
    async for seen, _ in rollout.coming(client, now, way, who, timeout=timeout):
        now = seen
    return now


# From a version to a draft


def workshop(endpoint: Obj, version: str, where: Place | None) -> Workshop:
    """What the graph of a version can be edited with.

    Raises:
        UsageError: there is no such version, or its protocol knows no graphs.
    """
    there = endpoints.versions(endpoint)
    if version not in there:
        raise UsageError(
            f"there is no version {version!r}", hint=frameworks.nearest(version, sorted(there), "there are")
        )
    if endpoints.protocol(endpoint) != "seldon":
        raise UsageError(f"a graph speaks Seldon's protocol, and this endpoint {endpoints.protocol(endpoint)}")
    every = [
        (model.digest, _part(kept, unit, model))
        for kept in registry.everything(where)
        for unit, model in kept.models().items()
    ]
    found = draft(endpoint, there[version], {(one.model, one.unit) for _, one in every})
    lost = [one.name or one.called for one in _walk(found) if not one.kept]
    missing = f"{', '.join(lost)}: the model is not kept here, so it cannot be part of a new version" if lost else ""
    return Workshop(
        version=version,
        draft=found,
        parts=_each_once(every),
        routers={name: SETTINGS[name] for name in (RANDOM, *BANDITS)},
        combiners={name: SETTINGS[name] for name in COMBINERS},
        missing=missing,
    )


def _part(kept: KeptModel, unit: str, model: Model) -> KeptPart:
    return KeptPart(kept.digest, unit, model.called, model.kind, _fit_for(model), kept.endpoint, kept.when)


def _each_once(every: Sequence[tuple[str, KeptPart]]) -> tuple[KeptPart, ...]:
    """Models by their hash, each once: as it was served by itself, where it was, and not as a unit of each graph."""
    found: dict[str, KeptPart] = {}
    for digest, one in every:
        if digest not in found or (found[digest].unit and not one.unit):
            found[digest] = one
    return tuple(found.values())


def _fit_for(model: Model) -> UnitType:
    """What a model can be, as far as that is known: one that does several things is a model first."""
    verbs = model.verbs
    if model.detects:
        return "TRANSFORMER"
    if verbs is None or "predict" in verbs:
        return "MODEL"
    rows: tuple[tuple[str, UnitType], ...] = (
        ("transform_input", "TRANSFORMER"),
        ("transform_output", "OUTPUT_TRANSFORMER"),
        ("aggregate", "COMBINER"),
        ("route", "ROUTER"),
    )
    return next((type_ for verb, type_ in rows if verb in verbs), "MODEL")


def draft(endpoint: Obj, predictor: Obj, known: set[tuple[str, str]]) -> GraphDraft:
    """The graph of a version as it is; ``known`` are the models that are kept, with their units."""
    name, version = str(meta(endpoint)["name"]), str(predictor["name"])
    made = endpoints.made_of(name, predictor)

    def unit(node: Mapping[str, Any], place: str) -> GraphDraft:
        full = str(node.get("name"))
        told = made.get(full, {})
        digest, part = str(told.get("model") or ""), str(told.get("unit") or "")
        by = RANDOM if node.get("implementation") == "RANDOM_ABTEST" else _ours().get(digest, "")
        short = full.removeprefix(f"{name}-").removeprefix(f"{version}-")
        return GraphDraft(
            id=place,
            name="" if by else short[: graphs.MAX_NAME],
            type=cast("UnitType", endpoints.units_of(node).type),
            by=by,
            settings=_settings(node, by),
            model="" if by else str(told.get("whole") or digest),
            unit="" if by else part,
            called=str(told.get("called") or short),
            kept=bool(by) or (str(told.get("whole") or digest), part) in known,
            children=tuple(unit(one, f"{place}.{n}") for n, one in enumerate(node.get("children") or ())),
        )

    return unit(predictor.get("graph") or {}, "0")


@cache
def _ours() -> dict[str, str]:
    """The hash of each router and combiner of ours to its name."""
    every = [(f"routers:{cls}", name) for name, cls in BANDITS.items()]
    every += [(f"parts:{cls}", name) for name, cls in COMBINERS.items()]
    return {Model("python", spec.partition(":")[2], f"{shipping.PACKAGE}.{spec}").digest: name for spec, name in every}


def _settings(node: Mapping[str, Any], by: str) -> dict[str, Any]:
    """What a unit is made with, as it would be said of it."""
    found = {str(one.get("name")): _value(one) for one in node.get("parameters") or ()}
    if by == RANDOM:
        return {"share": round(100 * (1 - float(found.get("ratioA", 0.5))))}
    if by == "mean" and found.get("weights"):
        return {"weights": [float(one) for one in str(found["weights"]).split(",")]}
    return {name: value for name, value in found.items() if not by or name in SETTINGS[by]}


def _value(parameter: Mapping[str, Any]) -> Any:
    text, type_ = str(parameter.get("value")), parameter.get("type")
    if type_ == "BOOL":
        return text == "true"
    return {"INT": int, "FLOAT": float, "DOUBLE": float}.get(str(type_), str)(text)


def _walk(one: GraphDraft) -> list[GraphDraft]:
    return [one, *(below for child in one.children for below in _walk(child))]


# From a draft to a version


def read(said: Any) -> GraphDraft:
    """What a browser sends as a draft.

    Raises:
        UsageError: it is none, or larger than any graph should be.
    """
    count = 0

    def unit(one: Any, depth: int) -> GraphDraft:
        nonlocal count
        count += 1
        if count > _MOST or depth > _DEEPEST:
            raise UsageError(f"a graph has at most {_MOST} units, {_DEEPEST} one after the other")
        if not isinstance(one, dict) or one.get("type") not in _TYPES:
            raise UsageError("this is no graph", hint=f"the type of a unit is one of {', '.join(_TYPES)}")
        given, below = one.get("settings") or {}, one.get("children") or []
        if not isinstance(given, dict) or not isinstance(below, list):
            raise UsageError("this is no graph", hint="settings are names with values, children a list")
        id_, name, by, model, part_, called = (
            str(one.get(key) or "") for key in ("id", "name", "by", "model", "unit", "called")
        )
        children = tuple(unit(child, depth + 1) for child in below)
        return GraphDraft(id_, name, one["type"], by, given, model, part_, called, children=children)

    return unit(said, 0)


def part(one: GraphDraft, find: Find) -> graphs.Part:
    """A draft as a graph.

    Raises:
        UsageError: a part is missing, or stands where it cannot.
    """
    children = [part(child, find) for child in one.children]
    if one.type in _SEVERAL:
        by = one.by or _unit(one, find)
        given = dict(one.settings) if one.by else {}
        if one.type == "ROUTER":
            return graphs.route(*children, by=by, **given)
        return graphs.combine(*children, by=by, **given)
    own = _unit(one, find)
    if not children:
        return own
    if len(children) > 1:
        raise UsageError(
            f"{_title(one)} leads to {len(children)} parts", hint="put a router or a combiner between, which asks them"
        )
    return graphs.chain(children[0], own) if one.type == "OUTPUT_TRANSFORMER" else graphs.chain(own, children[0])


def _unit(one: GraphDraft, find: Find) -> graphs.Unit:
    kept = find(one.model) if one.model else None
    if kept is None:
        raise UsageError(
            f"the model of {_title(one)} is not kept here, so it cannot be part of a new version",
            hint="replace it by one that is kept, or serve it again from its notebook; KF_MODELS says where models are",
        )
    chosen = kept.unit(one.unit) if one.unit else kept
    model = chosen.model()
    # Where a detector lies is not for anybody to say: it is put there anew.
    own = {key for key in one.settings if not (model.detects and key == "path")}
    given = {key: one.settings[key] for key in own if model.params.get(key, _NOTHING) != one.settings[key]}
    method = given.pop("method", None)
    name = one.name or names.slug(one.unit or model.called, limit=graphs.MAX_NAME)
    return graphs.unit(chosen, name, params=given, method=method)


_NOTHING: Final = object()


def _title(one: GraphDraft) -> str:
    return one.name or one.called or one.by or one.type.lower()


def plan(endpoint: Obj, version: str, wanted: GraphDraft, percent: int, where: Place | None) -> GraphChange:
    """The version that a draft would become, with the hardware and the packages of the one that was edited.

    Args:
        endpoint: as it is.
        version: the one that was edited.
        wanted: its graph as it is to be.
        percent: the percentage of requests that it gets once it is ready.
        where: where models are kept.

    Raises:
        UsageError: the graph means nothing, or a model of it is not kept.
        ManifestError: Seldon's operator could not make it serve.
    """
    every = {one.digest: one for one in registry.everything(where)}
    graph = part(wanted, every.get)
    request = _request(endpoint, version, graph, percent)
    served = plans.read(request)
    if served.learns:
        # A second one would learn something else, and what sleeps would forget it.
        request = replace(request, replicas=1, rps=None, idle=None)
    planned = plans.make(
        request,
        served,
        namespace=str(meta(endpoint)["namespace"]),
        submission=uuid.uuid4().hex[:12],
        before=endpoint,
        runtime=shipping.runtime(),
    )
    return GraphChange(planned, served, repr(graph))


def _request(endpoint: Obj, version: str, graph: graphs.Part, percent: int) -> ServeRequest:
    predictor = endpoints.versions(endpoint).get(version, {})
    told = endpoints.provenance(predictor)
    pod = next(((one.get("spec") or {}) for one in predictor.get("componentSpecs") or ()), {})
    main: Mapping[str, Any] = next(iter(pod.get("containers") or ()), {})
    profile = str(told["profile"]) if told.get("profile") else None
    image = str(told.get("image") or main.get("image") or "")
    wanted = (main.get("resources") or {}).get("requests") or {} if profile is None else {}
    alone = isinstance(graph, graphs.Unit)
    return ServeRequest(
        model=_whole(graph) if alone else None,
        graph=None if alone else graph,
        name=str(meta(endpoint)["name"]),
        namespace=str(meta(endpoint)["namespace"]),
        canary=percent if percent != endpoints.ALL else None,
        **_scaled(predictor),
        profile=profile,
        image=image if image and profile is None and image != IMAGE else None,
        cpu=wanted.get("cpu"),
        memory=wanted.get("memory"),
        gpu=int(wanted[GPU]) if GPU in wanted else None,
        env=_environment(main) or None,
        volumes=tuple(_volumes(pod, main)),
        install=_install(told),
        params=dict(graph.params) or None if isinstance(graph, graphs.Unit) else None,
        method=graph.method if isinstance(graph, graphs.Unit) else None,
    )


def _scaled(predictor: Mapping[str, Any]) -> dict[str, Any]:
    """How many servers a version has, as it would be asked for; one, where that is said in somebody's own way."""
    found = scaling.of(predictor) or scaling.Scaling()
    return found.said | ({"replicas": 1} if found.most < 1 else {})


def _whole(graph: graphs.Part) -> Any:
    return graph.model if isinstance(graph, graphs.Unit) else None


def _install(told: Mapping[str, Any]) -> bool | Sequence[str]:
    said = told.get("install")
    return said if isinstance(said, bool | list) else False


def _environment(container: Mapping[str, Any]) -> dict[str, str]:
    """The variables that somebody gave it; what makes it a server of ours comes by itself."""
    return {
        str(one["name"]): str(one["value"]).replace("$$", "$")
        for one in container.get("env") or ()
        if "value" in one and not str(one["name"]).startswith(_OURS)
    }


def _volumes(pod: Mapping[str, Any], container: Mapping[str, Any]) -> list[str]:
    claims = {
        str(one["name"]): str(one["persistentVolumeClaim"]["claimName"])
        for one in pod.get("volumes") or ()
        if one.get("persistentVolumeClaim") and str(one["name"]).startswith(pods.CLAIM_VOLUME)
    }
    return [
        f"{claims[one['name']]}:{one['mountPath']}{':ro' if one.get('readOnly') else ''}"
        for one in container.get("volumeMounts") or ()
        if one["name"] in claims
    ]


def keep(change: GraphChange, who: Author, where: Place | None) -> None:
    """Keep what was served, so that it can be edited again; a place that cannot be written is no reason to fail."""
    planned = change.planned
    told = {"author": who.user, "notebook": who.notebook, "when": who.clock()}
    told["endpoint"] = f"{planned.namespace}/{planned.name} {planned.version}"
    if where is not None:
        registry.keep(change.served, planned.inner.bundle.files, where, **told)


def place() -> Place | None:
    """Where models are kept by who works here."""
    try:
        return registry.place(settings.load())
    except KubeflowError:  # an address that nothing here can read: nothing is kept
        return None
