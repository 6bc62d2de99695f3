"""From what a person wants served to the objects that would be created: :class:`ServeRequest` to :class:`ServePlan`.

The model and its code travel as those of a training job do, and the pod is a training replica's with another ending:
so hardware, images, packages, volumes and their checks are the same. Everything that can be wrong with a request is
found here, before any server is spoken to.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf import names
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests import endpoints, frameworks, monitors, pods, scaling, traffic, training
from jupyterlab_kf.manifests.scaling import Scaling
from jupyterlab_kf.manifests.serving import seldon
from jupyterlab_kf.model import Obj
from jupyterlab_kf.profiles import Use
from jupyterlab_kf.services import contents, hardware, plans
from jupyterlab_kf.services.bundle import size
from jupyterlab_kf.services.contents import Contents, Gap
from jupyterlab_kf.services.designs import IMAGE
from jupyterlab_kf.services.packages import Package, normal
from jupyterlab_kf.services.plans import Plan, Request, flags, shown
from jupyterlab_kf.services.serving import assembly, graphs, models, samples, shipping
from jupyterlab_kf.services.serving.assembly import Assembly, Node
from jupyterlab_kf.services.serving.models import Model
from jupyterlab_kf.services.serving.registry import KeptModel
from jupyterlab_kf.services.shelf import Parcel

_FRAMEWORK_OF: Final[Mapping[str, str]] = {"pytorch": "pytorch", "tensorflow": "tensorflow"}
"""Kinds of models whose image is that of a training framework."""
_DEFAULT_TIMEOUT: Final = 600.0
_OWNER: Final = "\0"
"""Between the version that a line of a manifest belongs to and the line, while two manifests are compared."""


@dataclass(frozen=True, slots=True)
class ServeRequest:
    """The arguments of :func:`jupyterlab_kf.serve`, as they were given; its documentation explains them."""

    model: Any = None
    _: KW_ONLY
    graph: Any = None
    name: str | None = None
    version: str | None = None
    canary: int | None = None
    replicas: int | str | Sequence[int] = 1
    rps: float | None = None
    idle: float | str | None = None
    protocol: str = "seldon"
    namespace: str | None = None
    profile: str | None = None
    cpu: float | str | None = None
    memory: float | str | None = None
    gpu: int | None = None
    image: str | None = None
    framework: str | None = None
    params: Mapping[str, Any] | None = None
    method: str | None = None
    path: str | None = None
    example: Any = None
    env: Mapping[str, str] | None = None
    files: Sequence[str | Path] = ()
    install: bool | Sequence[str] = False
    volumes: Sequence[str] = ()
    wait: bool = True
    timeout: float = _DEFAULT_TIMEOUT
    reference: Any = None
    filename: str = "model.py"
    first_line: int = 1
    root: Path | None = None


@dataclass(frozen=True, slots=True)
class ServePlan:
    """What would be created. Making one creates nothing.

    Attributes:
        request: what was asked for.
        model: the model, as files.
        version: the version's name.
        code_maps: the ConfigMaps that carry model and code.
        before: the endpoint as it is; None where there is none, or it is not known.
        endpoint: the endpoint as it would be at first: a new version gets no requests before it is ready.
        traffic: version to percentage, once all are ready.
        inner: the plan of the pod.
        units: the units of its graph; none for a model alone.
    """

    request: ServeRequest
    model: Model
    version: str
    code_maps: list[Obj] = field(repr=False)
    before: Obj | None = field(repr=False)
    endpoint: Obj = field(repr=False)
    traffic: Mapping[str, int]
    inner: Plan = field(repr=False)
    units: tuple[Node, ...] = field(default=(), repr=False)
    contents: Contents = field(default_factory=Contents, repr=False)

    @property
    def name(self) -> str:
        """The endpoint's name."""
        return str(self.endpoint["metadata"]["name"])

    @property
    def namespace(self) -> str:
        """Where it is."""
        return str(self.endpoint["metadata"]["namespace"])

    @property
    def parcel(self) -> Parcel | None:
        """What goes onto a volume before anything is created; None when ConfigMaps carry it."""
        return self.inner.parcel

    @property
    def cause(self) -> str:
        """The change in words, for the record."""
        share = self.traffic.get(self.version, 0)
        return f"serve {self.version}" + (f" with {share} percent" if share != endpoints.ALL else "")

    @property
    def scaling(self) -> Scaling:
        """How many servers the version has."""
        return _scaling(self.request)

    @property
    def gaps(self) -> list[Gap]:
        """What the image has not, or not as the model was made with."""
        return contents.gaps(self.needed, self.contents, self.inner.install)

    @property
    def needed(self) -> tuple[Package, ...]:
        """The packages that loading the model needs, in the versions it was made with."""
        found = {one.name: one for one in self.inner.needed}
        for name, version in self.model.versions.items():
            found[normal(name)] = Package(name, normal(name), version, file=self.model.called)
        return tuple(found[name] for name in sorted(found))

    @property
    def summary(self) -> str:
        """A few lines for people: what would be created, and of what it is made."""
        bytes_ = sum(len(one) for one in self.model.files.values()) or len(self.model.source.encode())
        made = ", ".join(f"{name} {version}" for name, version in self.model.versions.items())
        shares = ", ".join(f"{name} {share} %" for name, share in self.traffic.items())
        verb = "changed" if self.before else "created"
        image = self.inner.spec.image
        lines = [
            f"Would be created in namespace {self.namespace}:",
            *(f"  ConfigMap {one['metadata']['name']}" for one in self.code_maps),
            f"Would be {verb}: SeldonDeployment {self.name}, with version {self.version}",
            f"Model: {self.model.called} ({self.model.kind}, {size(bytes_)}, sha256 {self.model.digest[:12]})"
            + (f", made with {made}" if made else ""),
            *(f"  {one.title} {one.name}" + _asks(one) for one in self.units),
            f"Runs in the image {image}: {self.scaling.words}",
            f"Traffic when it is ready: {shares}",
            f"Path: {shipping.path(self.namespace, self.name, endpoints.protocol(self.endpoint))}",
            *(f"Note: {gap}" for gap in self.gaps),
        ]
        return "\n".join(lines)

    def yaml(self) -> str:
        """The manifests as YAML."""
        return plans.to_yaml(*self.code_maps, self.endpoint)

    def python(self) -> str:
        """The same as a Python call; what has no name of its own is called ``model``."""
        first = graphs.called(self.request.model)
        if self.units:
            first = f"graph={graphs.source(self.request.graph or self.request.model)}"
        elif not isinstance(self.request.model, (str, Path, type)):
            first = graphs.expression(self.request.model) or "model"
        arguments = ",\n    ".join([first, *(f"{key}={shown(value)}" for key, value in self._given())])
        return f"import jupyterlab_kf as kf\n\nendpoint = kf.serve(\n    {arguments},\n)\n"

    def magic(self) -> str:
        """The same as a line of the notebook, or as a cell where the model is a cell's class."""
        words = [word for key, value in self._given() for word in _flags(key, value)]
        model = self.request.model
        if self.units:
            # Quotation marks are lost in a line, and needed around paths only.
            said = re.sub(r"by='([a-z-]+)'", r"by=\1", repr(self.request.graph or model))
            said = f'"{said}"' if "'" in said else said
            return f"%kf_serve {shlex.join(words)} --graph {said}\n"
        if isinstance(model, str) and "\n" in model:
            return f"%%kf_serve {shlex.join(words)}\n{model}"
        named = str(model) if isinstance(model, (str, Path)) else getattr(model, "__name__", "model")
        return f"%kf_serve {shlex.join([named, *words])}\n"

    def _given(self) -> list[tuple[str, Any]]:
        """The arguments that differ from their defaults, and the name, which stays with what is made of it."""
        hidden = {"model", "graph", "name", "filename", "first_line", "root", "wait", "timeout", "example", "reference"}
        given = {entry.name: getattr(self.request, entry.name) for entry in fields(ServeRequest)}
        found = [("name", self.name)]
        return found + [
            (entry.name, given[entry.name])
            for entry in fields(ServeRequest)
            if entry.name not in hidden
            and given[entry.name] != entry.default
            and given[entry.name] not in (None, (), {}, [])
        ]

    def diff(self) -> str:
        """What would change of the endpoint that is there, as a unified diff; empty where there is none."""
        return difference(self.before, self.endpoint)


def _flags(key: str, value: Any) -> list[str]:
    """One argument as words of the magic's line."""
    if key == "replicas":
        return ["--replicas", "-".join(map(str, value)) if isinstance(value, list | tuple) else str(value)]
    return flags(key, value)


def difference(before: Obj | None, after: Obj) -> str:
    """What is different between two states of an endpoint, as a unified diff of their specs; records are in short.

    A version is compared with that of its name: two are much alike, and of one that goes it would else be said that
    half of another goes.
    """
    if before is None:
        return ""
    old, new = (_owned(plans.to_yaml({"spec": endpoints.in_short(one)["spec"]})) for one in (before, after))
    lines = difflib.unified_diff(old, new, "as it is", "as it would be", lineterm="", n=4)
    return "\n".join(line[0] + line.partition(_OWNER)[2] if _OWNER in line else line for line in lines)


def _owned(text: str) -> list[str]:
    """The lines of a spec, each behind the first line of the version to which it belongs."""
    owner, found = "", []
    for line in text.splitlines():
        if line.startswith("  ") and not line.startswith("   "):
            owner = line if line.startswith("  - ") else ""
        found.append(f"{owner}{_OWNER}{line}")
    return found


def _asks(unit: Node) -> str:
    """The units that a unit passes requests on to, in words."""
    names_ = ", ".join(child.name for child in unit.children)
    return f", then {names_}" if names_ else ""


def make(
    request: ServeRequest, served: Assembly, *, namespace: str, submission: str, before: Obj | None, runtime: bytes
) -> ServePlan:
    """The plan of a request for a model or graph.

    Args:
        request: what was asked for.
        served: what is to be served, read.
        namespace: where it goes unless the request says so.
        submission: the same for every attempt of one submit.
        before: the endpoint of that name as it is.
        runtime: the program that serves, packed.

    Raises:
        UsageError: anything about the request is wrong; the message says what.
    """
    _check(request)
    model = served.model
    fallback = names.slug(Path(model.called).stem if served.alone else "graph", limit=endpoints.MAX_NAME)
    name = endpoints.check_name(request.name or fallback)
    version = endpoints.check_version(request.version or next_version(before))
    refuse_taken(name, version, endpoints.versions(before or {}))
    protocol = endpoints.protocol(before) if before else request.protocol
    if before and request.protocol not in ("seldon", protocol):
        raise UsageError(f"{name} speaks {protocol}; all its versions do", hint="serve under another name")
    if not served.alone:
        _check_graph(request, served, protocol)

    def called(unit: str) -> str:
        """A unit's full name: no two versions have one in common."""
        if unit:
            return names.with_suffix(f"{name}-{version}", unit)
        # In Seldon's protocol an answer tells the units on its way, by which its version is known; in the others the
        # model's name is in the path, and must not change with the version.
        return f"{name}-{version}" if protocol == "seldon" else name

    inner = inner_plan(
        _remembering(request) if served.learns else request,
        model,
        f"{name}-{version}",
        namespace=namespace,
        submission=submission,
        runtime=runtime,
        units={called(one.name): one.words for one in served.servers} if not served.alone else None,
        kinds=served.kinds,
    )
    code_maps, pod = parts(inner, name, *(called(one.name) for one in served.servers))
    fresh = endpoints.predictor(
        version,
        served.root.manifest(called),
        [pod],
        provenance={**inner.spec.provenance, **_told(model, request), **served.told},
    )
    fresh = scaling.applied(fresh, _scaling(request), name)
    made = added(before, fresh, name=name, namespace=inner.spec.namespace, protocol=protocol, submission=submission)
    traffic = _traffic(request.canary, version, endpoints.weights(before) if before else {})
    units = () if served.alone else tuple(served.root.walk())
    return ServePlan(request, model, version, code_maps, before, made, traffic, inner, units)


def _remembering(request: ServeRequest) -> ServeRequest:
    """A router learns into the pod's own folder, which a restart of its server leaves, or onto the first volume."""
    kept = pods.mounts(request.volumes[:1])
    return replace(request, env={scaling.STATE: kept[0].path if kept else training.WORK_PATH, **(request.env or {})})


def _check_graph(request: ServeRequest, served: Assembly, protocol: str) -> None:
    said = [name for name in ("params", "method", "framework", "path", "example") if getattr(request, name) is not None]
    if said:
        raise UsageError(
            f"{said[0]} is said of a part of the graph, not of the graph", hint=f"kf.unit(model, {said[0]}=...)"
        )
    if protocol != "seldon":
        raise UsageError(
            f"a graph speaks Seldon's protocol; {protocol} knows no transformers, combiners or routers",
            hint="leave protocol out, or serve under another name",
        )
    if len(served.kinds & _FRAMEWORK_OF.keys()) > 1 and request.image is None and request.profile is None:
        kinds = " and ".join(sorted(served.kinds & _FRAMEWORK_OF.keys()))
        raise UsageError(f"the graph has models of {kinds}", hint="name an image that has both: image=...")


def parts(inner: Plan, name: str, *nodes: str) -> tuple[list[Obj], Obj]:
    """The ConfigMaps and the pod of units, from the plan of a job with one replica; a container for each."""
    *code_maps, job = inner.manifests
    for one in code_maps:
        one["metadata"]["labels"][endpoints.LABEL_ENDPOINT] = name
    template = next(iter(training.templates(job).values()))
    pod, *others = (endpoints.container(template, node, place) for place, node in enumerate(nodes))
    pod["spec"]["containers"] += [one for other in others for one in other["spec"]["containers"]]
    return code_maps, pod


def added(before: Obj | None, fresh: Obj, *, name: str, namespace: str, protocol: str, submission: str) -> Obj:
    """The endpoint with a new version, which gets no requests yet unless it is the first.

    Raises:
        ManifestError: Seldon's webhook would refuse it, or its operator could not make it serve.
    """
    version = fresh["name"]
    kept = [one for one in endpoints.predictors(before or {}) if one["name"] != version]
    if kept:
        # One that is alone may have no weight written; beside others it must.
        shares = endpoints.weights(before or {})
        kept = traffic.weighted(kept, {one: share for one, share in shares.items() if one != version})
    if before and (share := monitors.sampled(before)) is not None:
        (fresh,) = monitors.logged([fresh], monitors.url(before), share)
    fresh = {**fresh, "traffic": 0 if kept else endpoints.ALL}
    made = endpoints.deployment(name, namespace, protocol, [*kept, fresh], submission)
    seldon.check(made, before)
    return made


def _check(request: ServeRequest) -> None:
    if request.protocol not in endpoints.PROTOCOLS:
        hint = frameworks.nearest(request.protocol, endpoints.PROTOCOLS, "there are")
        raise UsageError(f"{request.protocol!r} is not a protocol", hint=hint)
    _scaling(request)
    if request.canary is not None and not endpoints.whole(request.canary, most=endpoints.ALL):
        raise UsageError(f"canary is {request.canary!r}; it is the percentage of requests that the new version gets")


def _scaling(request: ServeRequest) -> Scaling:
    return scaling.wanted(request.replicas, request.rps, request.idle)


def next_version(before: Obj | None) -> str:
    """The number after the highest one."""
    known = [one[1:] for one in endpoints.versions(before or {}) if one[:1] == "v" and one[1:].isdigit()]
    return f"v{max(map(int, known), default=0) + 1}"


def refuse_taken(name: str, version: str, there: Mapping[str, Obj]) -> None:
    """A version that answers requests is never replaced in its place: there would be nothing to go back to."""
    if version in there and (int(there[version].get("traffic") or 0) or len(there) == 1):
        raise UsageError(
            f"{name} has a version {version}, and it answers requests",
            hint=f"serve under another version, such as {next_version({'spec': {'predictors': [*there.values()]}})}",
        )


def _traffic(canary: int | None, version: str, weights: Mapping[str, int]) -> dict[str, int]:
    """The weights once all is ready: the new version's share is taken from the others in proportion."""
    others = {name: weight for name, weight in weights.items() if name != version}
    total = sum(others.values())
    share = endpoints.ALL if canary is None or not total else canary
    left = endpoints.ALL - share
    shared = {name: weight * left // (total or 1) for name, weight in others.items()}
    if shared:
        first = max(shared, key=lambda name: others[name])
        shared[first] += left - sum(shared.values())
    return {**shared, version: share}


def inner_plan(
    request: ServeRequest,
    model: Model,
    name: str,
    *,
    namespace: str,
    submission: str,
    runtime: bytes,
    units: Mapping[str, Sequence[str]] | None = None,
    kinds: Collection[str] = (),
) -> Plan:
    """The plan of a job with one replica that becomes the model's server, or the servers of a graph's units."""
    known = sorted({model.kind, *kinds} & _FRAMEWORK_OF.keys())
    framework = _FRAMEWORK_OF[known[0]] if known else "pytorch"
    job = Request(
        code=shipping.starter(model, units),
        framework=framework,
        workers=1,
        name=names.slug(name, limit=names.MAX_JOB_NAME),
        namespace=request.namespace,
        profile=request.profile,
        cpu=request.cpu,
        memory=request.memory,
        gpu=request.gpu,
        env=request.env,
        args=() if units else shipping.words(model),
        files=request.files,
        image=request.image or _image(request.profile, framework=bool(known)),
        install=request.install,
        volumes=request.volumes,
        filename=shipping.STARTER,
        root=request.root,
    )
    beside = shipping.files(model, runtime, filename=request.filename, first_line=request.first_line)
    return plans.make(job, namespace=namespace, submission=submission, beside=beside, use=Use.SERVING)


def _image(profile: str | None, *, framework: bool) -> str | None:
    """The image where none is named: the profile's, that of the model's framework, or a plain one with Python."""
    known = hardware.catalogue().find(profile) if profile is not None else None
    return None if framework or (known is not None and known.images) else IMAGE


def _told(model: Model, request: ServeRequest) -> dict[str, Any]:
    """What the record says of the model."""
    told: dict[str, Any] = {"model": model.digest, "kind": model.kind, "called": model.called}
    if model.origin:
        told["from"] = model.origin
    if model.versions:
        told["made"] = dict(model.versions)
    if model.width:
        told["width"] = model.width
    if model.columns:
        told["columns"] = list(model.columns[:100])
    if row := samples.given(request.example) or model.example:
        told["example"] = list(row)
    if model.classes:
        told["classes"] = list(model.classes)
    if request.params:
        told["params"] = dict(request.params)
    return told


def with_contents(planned: ServePlan, known: Contents) -> ServePlan:
    """The same plan, with what is known of the image."""
    return replace(planned, contents=known)


def read(request: ServeRequest, unit: Callable[[ServeRequest], Model] | None = None) -> Assembly:
    """What a request is to have served; ``unit`` reads what is no model yet, such as a job.

    Raises:
        UsageError: it is none, or not of a kind that can be served.
    """
    look = unit or read_model
    given = request.model
    if request.graph is not None:
        if given is not None:
            raise UsageError("model and graph are both given", hint="one of them says what is served")
        given = graphs.part(request.graph)
    if given is None:
        raise UsageError("there is nothing to serve", hint="give a model, a class, a path or a graph")
    if isinstance(given, KeptModel) and not given.part:
        return _again(request, given.assembly())
    whole = graphs.part(given)
    if isinstance(whole, graphs.Unit):
        alone = _of_unit(request, whole, fallback=request)
        return assembly.of_model(look(alone), method=alone.method, params=alone.params)
    return assembly.of_graph(whole, lambda one: look(_of_unit(request, one, fallback=ServeRequest())))


def _again(request: ServeRequest, kept: Assembly) -> Assembly:
    """A kept model as it was served, but for what the request says."""
    if not kept.alone:
        return kept
    return assembly.of_model(kept.model, method=request.method, params={**kept.root.params, **(request.params or {})})


def _of_unit(request: ServeRequest, one: graphs.Unit, *, fallback: ServeRequest) -> ServeRequest:
    """A part of a graph as a request for it alone."""
    return replace(
        request,
        model=one.model,
        graph=None,
        params=one.params or fallback.params,
        method=one.method or fallback.method,
        framework=one.framework or fallback.framework,
        example=fallback.example if one.example is None else one.example,
        path=one.path or fallback.path,
    )


def read_model(request: ServeRequest) -> Model:
    """The model of a request for one.

    Raises:
        UsageError: it is none, or not of a kind that can be served.
    """
    root = (request.root or Path.cwd()).resolve()
    if isinstance(request.model, KeptModel):
        return request.model.model()
    if isinstance(request.model, str) and "\n" in request.model:
        name = models.class_in(request.model, request.filename, request.first_line)
        return models.of_source(request.model, request.filename, name)
    found = models.read(request.model, root=root, framework=request.framework, example=request.example)
    _check_words(request, found)
    return found


def _check_words(request: ServeRequest, model: Model) -> None:
    """Refuse what the server of such a model could not be told, before a pod fails by it."""
    given = request.model
    if request.method and model.kind == "sklearn" and hasattr(given, "fit") and not hasattr(given, request.method):
        raise UsageError(
            f"this {model.called} has no method {request.method}",
            hint=f"leave method out, and it is asked by {model.method}",
        )
    known = models.PARAMETERS.get(model.kind)
    if known is not None and (odd := [name for name in request.params or {} if name not in known]):
        takes = f"it takes {', '.join(known)}" if known else "it takes none"
        raise UsageError(f"a model of kind {model.kind} takes no parameter {odd[0]!r}", hint=takes)
