"""From what a person wants served to the objects that would be created: :class:`ServeRequest` to :class:`ServePlan`.

The model and its code travel as those of a training job do, and the pod is a training replica's with another ending:
so hardware, images, packages, volumes and their checks are the same. Everything that can be wrong with a request is
found here, before any server is spoken to.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf import names
from jupyterlab_kf.controllers.seldon import validation
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests import endpoints, frameworks, traffic, training
from jupyterlab_kf.model import Obj
from jupyterlab_kf.profiles import Use
from jupyterlab_kf.services import contents, hardware, plans
from jupyterlab_kf.services.bundle import size
from jupyterlab_kf.services.contents import Contents, Gap
from jupyterlab_kf.services.designs import IMAGE
from jupyterlab_kf.services.packages import Package, normal
from jupyterlab_kf.services.plans import Plan, Request
from jupyterlab_kf.services.serving import models, shipping
from jupyterlab_kf.services.serving.models import Model
from jupyterlab_kf.services.shelf import Parcel

_FRAMEWORK_OF: Final[Mapping[str, str]] = {"pytorch": "pytorch", "tensorflow": "tensorflow"}
"""Kinds of models whose image is that of a training framework."""
_DEFAULT_TIMEOUT: Final = 600.0


@dataclass(frozen=True, slots=True)
class ServeRequest:
    """The arguments of :func:`jupyterlab_kf.serve`, as they were given; its documentation explains them."""

    model: Any
    _: KW_ONLY
    name: str | None = None
    version: str | None = None
    canary: int | None = None
    replicas: int = 1
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
    """

    request: ServeRequest
    model: Model
    version: str
    code_maps: list[Obj] = field(repr=False)
    before: Obj | None = field(repr=False)
    endpoint: Obj = field(repr=False)
    traffic: Mapping[str, int]
    inner: Plan = field(repr=False)
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
            f"Runs in the image {image}, {self.request.replicas} time{'s' if self.request.replicas != 1 else ''}",
            f"Traffic when it is ready: {shares}",
            f"Path: {shipping.path(self.namespace, self.name, endpoints.protocol(self.endpoint))}",
            *(f"Note: {gap}" for gap in self.gaps),
        ]
        return "\n".join(lines)

    def yaml(self) -> str:
        """The manifests as YAML."""
        return plans.to_yaml(*self.code_maps, self.endpoint)

    def diff(self) -> str:
        """What would change of the endpoint that is there, as a unified diff; empty where there is none."""
        return difference(self.before, self.endpoint)


def difference(before: Obj | None, after: Obj) -> str:
    """What is different between two states of an endpoint, as a unified diff of their specs."""
    if before is None:
        return ""
    old, new = (plans.to_yaml({"spec": one["spec"]}).splitlines() for one in (before, after))
    return "\n".join(difflib.unified_diff(old, new, "as it is", "as it would be", lineterm="", n=4))


def make(
    request: ServeRequest, model: Model, *, namespace: str, submission: str, before: Obj | None, runtime: bytes
) -> ServePlan:
    """The plan of a request for a model.

    Args:
        request: what was asked for.
        model: the model, read.
        namespace: where it goes unless the request says so.
        submission: the same for every attempt of one submit.
        before: the endpoint of that name as it is.
        runtime: the program that serves, packed.

    Raises:
        UsageError: anything about the request is wrong; the message says what.
    """
    _check(request)
    name = endpoints.check_name(request.name or names.slug(Path(model.called).stem, limit=endpoints.MAX_NAME))
    version = endpoints.check_version(request.version or next_version(before))
    refuse_taken(name, version, endpoints.versions(before or {}))
    protocol = endpoints.protocol(before) if before else request.protocol
    if before and request.protocol not in ("seldon", protocol):
        raise UsageError(f"{name} speaks {protocol}; all its versions do", hint="serve under another name")
    # In Seldon's protocol an answer tells the units on its way, by which its version is known; in the others the
    # model's name is in the path, and must not change with the version.
    node = f"{name}-{version}" if protocol == "seldon" else name
    inner = inner_plan(request, model, f"{name}-{version}", namespace=namespace, submission=submission, runtime=runtime)
    code_maps, pod = parts(inner, name, node)
    graph: Obj = {"name": node, "type": "MODEL", "children": []}
    if given := _parameters(request, model):
        graph["parameters"] = endpoints.parameters(given)
    fresh = endpoints.predictor(
        version,
        graph,
        [pod],
        replicas=request.replicas,
        provenance={**inner.spec.provenance, **_told(model, request)},
    )
    made = added(before, fresh, name=name, namespace=inner.spec.namespace, protocol=protocol, submission=submission)
    traffic = _traffic(request.canary, version, endpoints.weights(before) if before else {})
    return ServePlan(request, model, version, code_maps, before, made, traffic, inner)


def parts(inner: Plan, name: str, node: str) -> tuple[list[Obj], Obj]:
    """The ConfigMaps and the pod of a unit, from the plan of a job with one replica."""
    *code_maps, job = inner.manifests
    for one in code_maps:
        one["metadata"]["labels"][endpoints.LABEL_ENDPOINT] = name
    template = next(iter(training.templates(job).values()))
    return code_maps, endpoints.container(template, node)


def added(before: Obj | None, fresh: Obj, *, name: str, namespace: str, protocol: str, submission: str) -> Obj:
    """The endpoint with a new version, which gets no requests yet unless it is the first.

    Raises:
        UsageError: Seldon's webhook would refuse it.
    """
    version = fresh["name"]
    kept = [one for one in endpoints.predictors(before or {}) if one["name"] != version]
    if kept:
        # One that is alone may have no weight written; beside others it must.
        shares = endpoints.weights(before or {})
        kept = traffic.weighted(kept, {one: share for one, share in shares.items() if one != version})
    fresh = {**fresh, "traffic": 0 if kept else endpoints.ALL}
    made = endpoints.deployment(name, namespace, protocol, [*kept, fresh], submission)
    if denial := validation.denial(made):
        raise UsageError(f"SeldonDeployment {name} would be refused: {denial}")
    return made


def _parameters(request: ServeRequest, model: Model) -> dict[str, Any]:
    """What the model is made with. Seldon's server for scikit-learn would give probabilities where it can."""
    method = request.method or model.method
    return {**({"method": method} if method else {}), **(request.params or {})}


def _check(request: ServeRequest) -> None:
    if request.protocol not in endpoints.PROTOCOLS:
        hint = frameworks.nearest(request.protocol, endpoints.PROTOCOLS, "there are")
        raise UsageError(f"{request.protocol!r} is not a protocol", hint=hint)
    if not endpoints.whole(request.replicas, 1):
        raise UsageError(f"replicas is {request.replicas!r}; it must be a whole number of 1 or more")
    if request.canary is not None and not endpoints.whole(request.canary, most=endpoints.ALL):
        raise UsageError(f"canary is {request.canary!r}; it is the percentage of requests that the new version gets")


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
    request: ServeRequest, model: Model, name: str, *, namespace: str, submission: str, runtime: bytes
) -> Plan:
    """The plan of a job with one replica that becomes the model's server."""
    framework = _FRAMEWORK_OF.get(model.kind, "pytorch")
    job = Request(
        code=shipping.starter(model),
        framework=framework,
        workers=1,
        name=names.slug(name, limit=names.MAX_JOB_NAME),
        namespace=request.namespace,
        profile=request.profile,
        cpu=request.cpu,
        memory=request.memory,
        gpu=request.gpu,
        env=request.env,
        args=shipping.words(model),
        files=request.files,
        image=request.image or _image(request.profile, model.kind),
        install=request.install,
        volumes=request.volumes,
        filename=shipping.STARTER,
        root=request.root,
    )
    beside = shipping.files(model, runtime, filename=request.filename, first_line=request.first_line)
    return plans.make(job, namespace=namespace, submission=submission, beside=beside, use=Use.SERVING)


def _image(profile: str | None, kind: str) -> str | None:
    """The image where none is named: the profile's, that of the model's framework, or a plain one with Python."""
    known = hardware.catalogue().find(profile) if profile is not None else None
    return None if kind in _FRAMEWORK_OF or (known is not None and known.images) else IMAGE


def _told(model: Model, request: ServeRequest) -> dict[str, Any]:
    """What the record says of the model."""
    told: dict[str, Any] = {"model": model.digest, "kind": model.kind, "called": model.called}
    if model.versions:
        told["made"] = dict(model.versions)
    if model.width:
        told["width"] = model.width
    if model.columns:
        told["columns"] = list(model.columns[:100])
    if model.classes:
        told["classes"] = list(model.classes)
    if request.params:
        told["params"] = dict(request.params)
    return told


def with_contents(planned: ServePlan, known: Contents) -> ServePlan:
    """The same plan, with what is known of the image."""
    return replace(planned, contents=known)


def read(request: ServeRequest) -> Model:
    """The model of a request.

    Raises:
        UsageError: it is none, or not of a kind that can be served.
    """
    root = (request.root or Path.cwd()).resolve()
    if isinstance(request.model, str) and "\n" in request.model:
        name = models.class_in(request.model, request.filename, request.first_line)
        return models.of_source(request.model, request.filename, name)
    return models.read(request.model, root=root, framework=request.framework, example=request.example)
