"""What a list shows of one endpoint, read from its SeldonDeployment alone, or from what else serves models. Pure.

InferenceServices say themselves how they are. TensorFlow Serving and Triton are a Deployment for each version, of which
each makes a row with one version; rows of one name become one, with the weights that their route has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.controllers import sleep
from jupyterlab_kf.manifests import endpoints
from jupyterlab_kf.manifests.serving import servers
from jupyterlab_kf.manifests.serving.status import EndpointStatus, PredictorStatus, decode, decode_server, weights_of
from jupyterlab_kf.model import Obj, Phase, labels, meta, parse_time

_LONGEST: Final = 2000


@dataclass(frozen=True, slots=True)
class VersionShare:
    """A version and its part of the requests, in percent; of a mirror the percentage of which it gets copies."""

    name: str
    traffic: int
    mirror: bool
    ready: int
    wanted: int


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """One endpoint. ``created`` is in epoch seconds; ``kind`` is that of the object that stands for it.

    ``state`` is Ready when all that answers requests is, else Degraded (a version that answers nothing is not ready),
    Starting or Failed; ``message`` says in a few words what is missing then, and ``detail`` what the operator says,
    which may be long. ``path`` is below the gateway's address, ``url`` the address inside the cluster as the operator
    says it; empty before it does.
    """

    uid: str
    namespace: str
    name: str
    state: str
    message: str
    protocol: str
    versions: tuple[VersionShare, ...]
    path: str
    url: str
    revision: int
    created: float
    deleting: bool = False
    detail: str = ""
    kind: str = kinds.SELDON_DEPLOYMENT.kind


def endpoint_row(obj: Obj) -> EndpointRow:
    """The row of a SeldonDeployment, whoever made it."""
    head, said = meta(obj), decode(obj)
    state = _state(said.predictors, failed=said.phase == Phase.FAILED)
    return EndpointRow(
        uid=str(head.get("uid", "")),
        namespace=said.ref.namespace,
        name=said.ref.name,
        state=state,
        message=_asleep(said.message) if state == "Ready" else _missing(said.predictors),
        protocol=said.protocol,
        versions=_shares(said.predictors),
        path=said.path,
        url=said.url,
        revision=endpoints.revision(obj),
        created=parse_time(head.get("creationTimestamp")) or 0.0,
        deleting=bool(head.get("deletionTimestamp")),
        detail="" if state == "Ready" else said.message[:_LONGEST],
    )


def _asleep(said: str) -> str:
    """Of an endpoint that is ready: that it has no servers until it is asked."""
    return sleep.ASLEEP if said.endswith(sleep.ASLEEP) else ""


def _missing(versions: Sequence[PredictorStatus]) -> str:
    """Which versions do not answer as they should: an operator's own sentence names Deployments that nobody knows."""
    short = [one for one in versions if one.ready < one.wanted]
    if not short:
        return "" if versions else "it has no versions"
    told = ", ".join(one.name if one.wanted == 1 else f"{one.name} ({one.ready} of {one.wanted})" for one in short)
    return f"{told} {'is' if len(short) == 1 else 'are'} not ready"


def _state(versions: Sequence[PredictorStatus], *, failed: bool) -> str:
    answering = [one for one in versions if one.traffic and not one.shadow]
    if answering and all(one.ready >= one.wanted for one in answering):
        return "Ready" if all(one.ready >= one.wanted for one in versions) else "Degraded"
    return "Failed" if failed else "Starting"


# Other servers

SELECTOR: Final = f"{names.LABEL_MANAGED_BY}={names.FIELD_MANAGER}"
"""What we made of Deployments and routes."""


@dataclass(frozen=True, slots=True)
class ServerRoute:
    """How requests to a server without an operator are divided between its versions."""

    uid: str
    namespace: str
    name: str
    shares: Mapping[str, int] = field(default_factory=dict)
    created: float = 0.0


def inference_row(obj: Obj) -> EndpointRow:
    """The row of an InferenceService."""
    head, said = meta(obj), decode(obj)
    found = endpoint_row({**obj, "spec": {}})
    state = "Ready" if said.ready else _PHASES.get(said.phase, "Degraded")
    return replace(
        found,
        name=str(head.get("name", "")),
        state=state,
        message="" if state == "Ready" else "; ".join(_unready(said)),
        detail="" if state == "Ready" else said.message[:_LONGEST],
        protocol=said.protocol,
        versions=_shares(said.predictors),
        path=said.path,
        url=said.url,
        kind=kinds.INFERENCE_SERVICE.kind,
    )


def _unready(said: EndpointStatus) -> list[str]:
    """Which parts are not ready."""
    late = {one.type for one in said.conditions if not one.status}
    missing = _missing(said.predictors)
    told = [missing.replace("predictor", "the predictor", 1)] if missing else []
    return told + [f"the {part} is not ready" for part, type_ in _BESIDE.items() if type_ in late]


_BESIDE: Final = {"transformer": "TransformerReady", "explainer": "ExplainerReady"}


_PHASES: Final = {Phase.PENDING: "Starting", Phase.UNKNOWN: "Starting", Phase.FAILED: "Failed"}


def server_of(deployment: Mapping[str, Any]) -> servers.Server | None:
    """The server that a Deployment of ours runs; None where it is something else."""
    if labels(deployment).get(names.LABEL_MANAGED_BY) != names.FIELD_MANAGER or not labels(deployment).get("app"):
        return None
    pod = ((deployment.get("spec") or {}).get("template") or {}).get("spec") or {}
    found = [servers.SERVERS.get(str(one.get("name"))) for one in pod.get("containers") or ()]
    return next((one for one in found if one is not None), None)


def server_row(obj: Obj) -> EndpointRow | None:
    """The row of one version of TensorFlow Serving or Triton; None for a Deployment of something else."""
    server = server_of(obj)
    if server is None:
        return None
    protocol = "tensorflow" if server is servers.TENSORFLOW else "v2"
    said = decode_server([obj], protocol=protocol)
    state = "Ready" if said.ready else _PHASES.get(said.phase, "Degraded")
    head, space, name = meta(obj), said.ref.namespace, said.ref.name
    return EndpointRow(
        uid=str(head.get("uid", "")),
        namespace=space,
        name=name,
        state=state,
        message="" if state == "Ready" else _missing(said.predictors),
        protocol=protocol,
        versions=_shares(said.predictors),
        path=said.path,
        url=f"http://{name}.{space}.svc.cluster.local:{server.http}",
        revision=0,
        created=parse_time(head.get("creationTimestamp")) or 0.0,
        deleting=bool(head.get("deletionTimestamp")),
        detail="" if state == "Ready" else said.message[:_LONGEST],
        kind=kinds.DEPLOYMENT.kind,
    )


def server_route(obj: Obj) -> ServerRoute:
    """The weights of a route."""
    head = meta(obj)
    name, space = str(head.get("name", "")), str(head.get("namespace", ""))
    return ServerRoute(str(head.get("uid", "")), space, name, weights_of(obj))


def merged(rows: Iterable[EndpointRow], routes: Iterable[ServerRoute]) -> list[EndpointRow]:
    """Versions of one name as one row."""
    shares = {(one.namespace, one.name): one.shares for one in routes}
    groups: dict[tuple[str, str], list[EndpointRow]] = {}
    for row in rows:
        groups.setdefault((row.namespace, row.name), []).append(row)
    return [_merged(found, shares.get(place, {})) for place, found in groups.items()]


def _merged(rows: list[EndpointRow], shares: Mapping[str, int]) -> EndpointRow:
    rows = sorted(rows, key=lambda row: (row.created, row.uid))
    every = [one for row in rows for one in row.versions]
    alone = len(every) == 1
    versions = tuple(replace(one, traffic=endpoints.ALL if alone else shares.get(one.name, 0)) for one in every)
    answering = [one for one in versions if one.traffic] or list(versions)
    short = [one for one in versions if one.ready < one.wanted]
    if not any(one in answering for one in short):
        state = "Degraded" if short else "Ready"
    else:
        state = "Failed" if any(row.state == "Failed" for row in rows) else "Starting"
    told = [PredictorStatus(one.name, one.traffic, one.ready, one.wanted) for one in versions]
    detail = next((row.detail for row in rows if row.detail), "") if state != "Ready" else ""
    return replace(
        rows[0], versions=versions, state=state, message="" if state == "Ready" else _missing(told), detail=detail
    )


def _shares(found: Sequence[PredictorStatus]) -> tuple[VersionShare, ...]:
    return tuple(VersionShare(one.name, one.traffic, one.shadow, one.ready, one.wanted) for one in found)
