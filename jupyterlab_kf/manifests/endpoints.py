"""Endpoints as SeldonDeployments: a version of a model as a predictor, and what is read back of one.

An endpoint is one SeldonDeployment, and each of its versions a predictor of it. Owns what a version and its pod are
made of, what an endpoint tells of itself, and the record of changes; how versions share requests is in ``traffic``.
Pure: no I/O, no clock, no randomness.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from jupyterlab_kf import names
from jupyterlab_kf.controllers.seldon import names as operator
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests import traffic
from jupyterlab_kf.manifests.serving import seldon, shapes
from jupyterlab_kf.model import Obj, labels, meta

API_VERSION: Final = "machinelearning.seldon.io/v1"
LABEL_ENDPOINT: Final = f"{names.DOMAIN}/endpoint"
"""On everything made beside an endpoint (code, records of changes): the endpoint's name."""
LABEL_REVISION: Final = f"{names.DOMAIN}/revision"
"""On a record of a change: its number."""
ANNOTATION_REVISION: Final = f"{names.DOMAIN}/revision"
"""On an endpoint: the number of the change that made it what it is."""
ANNOTATION_PENDING: Final = f"{names.DOMAIN}/traffic-when-ready"
"""On an endpoint: JSON, the weights that its versions get once all of them are ready."""
ANNOTATION_EXAMPLE: Final = f"{names.DOMAIN}/example"
"""On an endpoint: JSON, a row of what its monitor compares with, to try it with."""
RECORD: Final = "revision.json"
SPEC: Final = "spec.json"
LABEL_VERSION: Final = "version"
MAX_NAME: Final = 40
"""Leaves room for a version, and for what Seldon's operator appends, in 63 characters."""

_PORTS: Final = {"http": 9000, "grpc": 9500, "metrics": 6000}
"""The ports of a pod's first unit, where Seldon's operator would begin."""
RESERVED: Final = "monitor"
"""No version's name: a monitor's objects are called like this one's would be."""
_WIDTH: Final = 4
"""Numbers of a row to try, where the model did not say how many it has."""
PROTOCOLS: Final = ("seldon", "v2", "tensorflow")
ALL: Final = traffic.ALL


def check_name(name: str) -> str:
    """The name, if it can be an endpoint's.

    Raises:
        UsageError: it is too long, or Kubernetes refuses it.
    """
    if len(str(name)) > MAX_NAME:
        raise UsageError(f"the name {name!r} has {len(name)} characters; an endpoint's has at most {MAX_NAME}")
    return names.check_job_name(name)


def check_version(version: str) -> str:
    """The name, if it can be a version's: as an endpoint's, and not longer than fits beside one.

    Raises:
        UsageError: it cannot.
    """
    if len(str(version)) > 63 - MAX_NAME - 3:
        raise UsageError(f"the version {version!r} is too long", hint="for example v2, or 2026-11-30 as v20261130")
    if version == RESERVED:
        raise UsageError(f"the version {version!r} has the name of what watches an endpoint", hint="for example v2")
    return names.check_job_name(version)


# A version


def parameters(values: Mapping[str, Any]) -> list[Obj]:
    """What a class is made with, as Seldon types it.

    Raises:
        UsageError: a value is not a number, a truth value or text.
    """
    return [shapes.write(one) for one in seldon.parameters(values)]


def container(template: Mapping[str, Any], node: str, place: int = 0) -> Obj:
    """A training replica's pod template as the pod of a model's unit, which has the node's name.

    Its ports follow from its place in the pod. Seldon's operator would count them over all versions, and make the pods
    of one anew whenever another comes or goes.
    """
    pod = deepcopy(dict(template["spec"]))
    (main,) = pod["containers"]
    main["name"] = node
    main["ports"] = [{"name": name, "containerPort": first + place} for name, first in _PORTS.items()]
    # Units listen at the pod's own address: on one machine each pod has another one.
    kept = (one for one in main.get("env") or () if one["name"] != seldon.POD_IP["name"])
    main["env"] = [deepcopy(seldon.POD_IP), *kept]
    look = {"httpGet": {"path": "/health/ping", "port": "http"}}
    # A model may take its time to load; a unit that hangs later is replaced.
    main["startupProbe"] = {**look, "periodSeconds": 1, "failureThreshold": 900}
    main["readinessProbe"] = {**look, "periodSeconds": 2, "timeoutSeconds": 2, "failureThreshold": 3}
    main["livenessProbe"] = {**look, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3}
    # Ours, so it listens where it is told, and on one machine leaves the usual ports to others.
    return {"metadata": {"annotations": {names.ANNOTATION_MOVABLE: "true"}}, "spec": pod}


def predictor(
    version: str, graph: Obj, pods: Sequence[Obj], *, replicas: int = 1, provenance: Mapping[str, Any], traffic: int = 0
) -> Obj:
    """A version."""
    return {
        "name": version,
        "annotations": {names.ANNOTATION_PROVENANCE: json.dumps(provenance, sort_keys=True)},
        "labels": {LABEL_VERSION: version},
        "replicas": replicas,
        "traffic": traffic,
        "graph": graph,
        "componentSpecs": list(pods),
        "svcOrchSpec": {"env": [dict(seldon.ROUTING)]},
    }


def deployment(name: str, namespace: str, protocol: str, predictors: Sequence[Obj], submission: str) -> Obj:
    """An endpoint."""
    return {
        "apiVersion": API_VERSION,
        "kind": "SeldonDeployment",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {
                names.LABEL_MANAGED_BY: names.FIELD_MANAGER,
                names.LABEL_SUBMISSION: submission,
                LABEL_ENDPOINT: name,
            },
            "annotations": {},
        },
        "spec": {"name": name, "protocol": protocol, "predictors": list(predictors)},
    }


# Reading


def predictors(endpoint: Mapping[str, Any]) -> list[Obj]:
    """An endpoint's versions, in the manifest's order."""
    return list((endpoint.get("spec") or {}).get("predictors") or ())


def versions(endpoint: Mapping[str, Any]) -> dict[str, Obj]:
    """Name to predictor."""
    return {str(one.get("name")): one for one in predictors(endpoint)}


def weights(endpoint: Mapping[str, Any]) -> dict[str, int]:
    """The percentage of requests that each version answers; mirrors answer none. One alone answers all."""
    return traffic.weights_among(predictors(endpoint))


def mirrors(endpoint: Mapping[str, Any]) -> dict[str, int]:
    """The versions that get copies of requests, and of what percentage of them."""
    return {str(one.get("name")): int(one.get("traffic") or ALL) for one in predictors(endpoint) if one.get("shadow")}


def protocol(endpoint: Mapping[str, Any]) -> str:
    """seldon, v2 or tensorflow."""
    found = str((endpoint.get("spec") or {}).get("protocol") or "seldon")
    return "v2" if found == "kfserving" else found


def provenance(version: Mapping[str, Any]) -> dict[str, Any]:
    """What a version says it is made of; empty for those that were not made here."""
    text = (version.get("annotations") or {}).get(names.ANNOTATION_PROVENANCE)
    try:
        value = json.loads(text) if text else {}
    except ValueError:  # somebody else's annotation is not our business
        return {}
    return value if isinstance(value, dict) else {}


def columns(endpoint: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the columns that its models were fitted with; none where versions differ or not all are recorded."""
    found = set()
    for told in map(provenance, predictors(endpoint)):
        named = told.get("columns")
        named = [str(one) for one in named] if isinstance(named, list) else []
        found.add(tuple(named) if len(named) == told.get("width") else ())
    return found.pop() if len(found) == 1 else ()


def in_short(endpoint: Mapping[str, Any]) -> Obj:
    """An endpoint with a few words for each version's record, which is one line of hundreds of letters; to be read."""
    found = []
    for one in predictors(endpoint):
        said = one.get("annotations") or {}
        text = said.get(names.ANNOTATION_PROVENANCE)
        if text:
            one = {**one, "annotations": {**said, names.ANNOTATION_PROVENANCE: _in_short(one, str(text))}}  # noqa: PLW2901
        found.append(one)
    return {**endpoint, "spec": {**(endpoint.get("spec") or {}), "predictors": found}}


def _in_short(version: Mapping[str, Any], text: str) -> str:
    told = provenance(version)
    words = [str(told[key]) for key in ("called", "kind") if told.get(key)]
    words += [f"{key} {str(told[key])[:12]}" for key in ("model", "code") if told.get(key)]
    # By its hash another record is another text, whatever else it differs in.
    return f"({', '.join([*words, f'record {hashlib.sha256(text.encode()).hexdigest()[:8]}'])})"


def sample(endpoint: Mapping[str, Any], told: Mapping[str, Any]) -> list[Any]:
    """A row to try a version with: one that was given with it, one of its monitor's reference, or a plausible one.

    The reference is of the endpoint, so a version with another number of columns is not asked with its row.
    """
    given = told.get("example")
    if isinstance(given, list) and given:
        return given
    width, columns = told.get("width"), told.get("columns")
    count = width if isinstance(width, int) and width > 0 else len(columns) if isinstance(columns, list) else 0
    row = _json(endpoint, ANNOTATION_EXAMPLE)
    if isinstance(row, list) and row and count in (0, len(row)):
        return row
    return [1.0] * (count or _WIDTH)


def pending(endpoint: Mapping[str, Any]) -> dict[str, int]:
    """The weights that are still to be set, once all versions are ready."""
    value = _json(endpoint, ANNOTATION_PENDING)
    return {str(key): int(one) for key, one in value.items()} if isinstance(value, dict) else {}


def _json(endpoint: Mapping[str, Any], annotation: str) -> Any:
    """What an annotation of an endpoint says; None where it says nothing that can be read."""
    text = (meta(endpoint).get("annotations") or {}).get(annotation)
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


def revision(endpoint: Mapping[str, Any]) -> int:
    """The number of the change that made an endpoint what it is; 0 where none is recorded."""
    text = (meta(endpoint).get("annotations") or {}).get(ANNOTATION_REVISION) or "0"
    return int(text) if str(text).isdigit() else 0


def code_maps(version: Mapping[str, Any]) -> list[str]:
    """The ConfigMaps that a version's pods mount."""
    found = []
    for part in version.get("componentSpecs") or ():
        for volume in (part.get("spec") or {}).get("volumes") or ():
            sources = [volume, *((volume.get("projected") or {}).get("sources") or ())]
            found += [str(one["configMap"].get("name")) for one in sources if one.get("configMap")]
    return list(dict.fromkeys(found))


def service_name(endpoint: Mapping[str, Any], version: str) -> str:
    """The Service of a version, as Seldon's operator names it."""
    return operator.predictor_service(endpoint, {"name": version, **versions(endpoint).get(version, {})})


def graph_of(node: Mapping[str, Any]) -> str:
    """A graph in one line: ``router(v1, v2)``."""
    children = node.get("children") or ()
    inner = ", ".join(graph_of(one) for one in children)
    return f"{node.get('name')}({inner})" if children else str(node.get("name"))


@dataclass(frozen=True, slots=True)
class GraphUnit:
    """A unit and those it leads to; ``type`` is MODEL, ROUTER, COMBINER, TRANSFORMER or OUTPUT_TRANSFORMER."""

    name: str
    type: str
    children: tuple[GraphUnit, ...] = ()


def units_of(node: Mapping[str, Any]) -> GraphUnit:
    """A graph as a tree, for drawing."""
    said, built = str(node.get("type") or ""), str(node.get("implementation") or "")
    kind = said if said not in ("", "UNKNOWN_TYPE") else _BUILT_IN.get(built, "MODEL")
    return GraphUnit(str(node.get("name")), kind, tuple(units_of(one) for one in node.get("children") or ()))


_BUILT_IN: Final = {"RANDOM_ABTEST": "ROUTER", "SIMPLE_ROUTER": "ROUTER", "AVERAGE_COMBINER": "COMBINER"}


def units(endpoint: Mapping[str, Any]) -> dict[str, str]:
    """The name of each unit to the version whose graph has it; to nothing where several have one of that name."""
    found: dict[str, str] = {}
    for name, one in versions(endpoint).items():
        for unit in _unit_names(one.get("graph") or {}):
            found[unit] = name if found.get(unit, name) == name else ""
    return found


def _unit_names(node: Mapping[str, Any]) -> list[str]:
    return [str(node.get("name")), *(name for one in node.get("children") or () for name in _unit_names(one))]


def made_of(endpoint: str, version: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Full name of a unit to what the record of its version says of it.

    That is the hash of its ``model`` and what people call it; of a unit of a graph also its name there (``unit``) and
    the hash of the ``whole``.
    """
    told, name = provenance(version), str(version.get("name"))
    inside: Mapping[str, Any] = told.get("units") or {}
    found = {
        names.with_suffix(f"{endpoint}-{name}", unit): {**one, "whole": told.get("model"), "unit": unit}
        for unit, one in inside.items()
    }
    if not inside:
        root = str((version.get("graph") or {}).get("name"))
        found[root] = {"model": told.get("model"), "called": told.get("called")}
    return {**found, **(told.get("borrowed") or {})}


def pod_selector(name: str) -> str:
    """The label selector of an endpoint's pods."""
    return f"{operator.LABEL_ID}={name}"


# Traffic


def whole(value: object, least: int = 0, most: int | None = None) -> bool:
    """Whether a value that a person gave is a whole number within these bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value and (most is None or value <= most)


def routed(virtual_service: Mapping[str, Any]) -> dict[str, int]:
    """The percentage of requests that each version gets by the routes that the operator wrote."""
    routes = (virtual_service.get("spec") or {}).get("http") or [{}]
    found = {
        str((one.get("destination") or {}).get("subset")): int(one.get("weight") or 0)
        for one in routes[0].get("route") or ()
    }
    return dict.fromkeys(found, ALL) if len(found) == 1 else {name: share for name, share in found.items() if share}


# Records of changes


@dataclass(frozen=True, slots=True)
class Revision:
    """One change of an endpoint.

    Attributes:
        number: counted from 1.
        cause: what was done, in words.
        author: who did it.
        notebook: from which notebook.
        when: epoch seconds.
        traffic: version to percentage, as it was to be from then on.
        models: version to the hash of its model.
        codes: version to the hash of its code.
        spec: the endpoint's spec as it was to be.
    """

    number: int
    cause: str
    author: str = ""
    notebook: str = ""
    when: float = 0.0
    traffic: Mapping[str, int] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    codes: Mapping[str, str] = field(default_factory=dict)
    spec: Mapping[str, Any] = field(default_factory=dict, repr=False)


def record(endpoint: Mapping[str, Any], change: Revision) -> Obj:
    """A change as the immutable ConfigMap that remembers it. Its name is the lock: two cannot make the same one."""
    head = meta(endpoint)
    told = {
        "number": change.number,
        "cause": change.cause,
        "author": change.author,
        "notebook": change.notebook,
        "when": change.when,
        "traffic": dict(change.traffic),
        "models": dict(change.models),
        "codes": dict(change.codes),
    }
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": record_name(str(head["name"]), change.number),
            "namespace": head["namespace"],
            "labels": {
                names.LABEL_MANAGED_BY: names.FIELD_MANAGER,
                LABEL_ENDPOINT: head["name"],
                LABEL_REVISION: str(change.number),
            },
        },
        "immutable": True,
        "data": {RECORD: json.dumps(told, sort_keys=True), SPEC: json.dumps(change.spec, sort_keys=True)},
    }


def record_name(endpoint: str, number: int) -> str:
    """The name of the ConfigMap of a change."""
    return names.with_suffix(endpoint, f"revision-{number}")


def revisions(found: Sequence[Mapping[str, Any]]) -> list[Revision]:
    """The changes that ConfigMaps remember, oldest first; what is no such record is left out."""
    read = [one for one in (_revision(obj) for obj in found) if one is not None]
    return sorted(read, key=lambda one: one.number)


def _revision(obj: Mapping[str, Any]) -> Revision | None:
    data = obj.get("data") or {}
    if LABEL_REVISION not in labels(obj):
        return None
    try:
        told, spec = json.loads(data[RECORD]), json.loads(data[SPEC])
        return Revision(
            number=int(told["number"]),
            cause=str(told.get("cause") or ""),
            author=str(told.get("author") or ""),
            notebook=str(told.get("notebook") or ""),
            when=float(told.get("when") or 0.0),
            traffic=told.get("traffic") or {},
            models=told.get("models") or {},
            codes=told.get("codes") or {},
            spec=spec,
        )
    except (KeyError, ValueError, TypeError, AttributeError):  # somebody else's object with our label
        return None


def change(
    endpoint: Mapping[str, Any], number: int, cause: str, *, author: str, notebook: str, when: float
) -> Revision:
    """The record of a change that leads to this endpoint."""
    made = {name: provenance(one) for name, one in versions(endpoint).items()}
    return Revision(
        number=number,
        cause=cause,
        author=author,
        notebook=notebook,
        when=when,
        traffic=weights(endpoint),
        models={name: str(told.get("model") or "") for name, told in made.items()},
        codes={name: str(told.get("code") or "") for name, told in made.items()},
        spec=endpoint["spec"],
    )
