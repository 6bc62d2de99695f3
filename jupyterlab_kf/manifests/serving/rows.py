"""What a list shows of one endpoint, read from its SeldonDeployment alone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from jupyterlab_kf.manifests import endpoints
from jupyterlab_kf.manifests.serving.status import PredictorStatus, decode
from jupyterlab_kf.model import Obj, Phase, meta, parse_time

_LONGEST: Final = 200


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
    """One endpoint. ``created`` is in epoch seconds.

    ``state`` is Ready when all that answers requests is, else Degraded (a version that answers nothing is not ready),
    Starting or Failed, and ``message`` what its operator says about it then. ``path`` is below the gateway's address,
    ``url`` the address inside the cluster as the operator says it; empty before it does.
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


def endpoint_row(obj: Obj) -> EndpointRow:
    """The row of a SeldonDeployment, whoever made it."""
    head, said = meta(obj), decode(obj)
    state = _state(said.predictors, failed=said.phase == Phase.FAILED)
    return EndpointRow(
        uid=str(head.get("uid", "")),
        namespace=said.ref.namespace,
        name=said.ref.name,
        state=state,
        message="" if state == "Ready" else said.message[:_LONGEST],
        protocol=said.protocol,
        versions=tuple(
            VersionShare(one.name, one.traffic, one.shadow, one.ready, one.wanted) for one in said.predictors
        ),
        path=said.path,
        url=said.url,
        revision=endpoints.revision(obj),
        created=parse_time(head.get("creationTimestamp")) or 0.0,
        deleting=bool(head.get("deletionTimestamp")),
    )


def _state(versions: Sequence[PredictorStatus], *, failed: bool) -> str:
    answering = [one for one in versions if one.traffic and not one.shadow]
    if answering and all(one.ready >= one.wanted for one in answering):
        return "Ready" if all(one.ready >= one.wanted for one in versions) else "Degraded"
    return "Failed" if failed else "Starting"
