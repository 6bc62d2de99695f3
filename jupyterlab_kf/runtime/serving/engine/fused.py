"""Units in the engine's own process: no hop, no second server.

``KF_FUSED`` is a JSON object: the names of nodes, and what each is::

    {"iris": {"model": "/mnt/models", "kind": "sklearn"},
     "scale": {"class": "steps.Scale", "paths": ["/code"], "parameters": {"by": 2}},
     "bandit": {"router": "EpsilonGreedy"}}

Parameters that are not given are those of the node in the graph. Each unit is the unit server itself, called without a
socket: it is asked with the paths and bytes that a server would be asked with, in every protocol, and decides as there
what runs on the event loop and what in a thread. So a graph behaves the same wherever its units are.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from .. import component, identity, loading, messages, metrics, rest, routers, running, service  # noqa: TID252 (see the runtime)
from .calls import Naming, head_length, path
from .graph import Graph, Node, Verb
from .options import OptionError
from .payloads import JSON, Payload
from .rpc import RpcError, addressed, method_of
from .walk import UnitError
from .wire import ANSWERED, ASKED

_KEYS = {"model", "kind", "class", "paths", "router", "parameters"}
_NO_LIMIT = 2**62
_LENGTH = b"inference-header-content-length"


@dataclass
class _Fused:
    app: rest.App
    given: service.Service


class FusedUnits:
    """The units of this process; a :class:`~.walk.Caller` for their nodes."""

    def __init__(self, graph: Graph, specs: Mapping[str, Any], naming: Naming, protocol: str) -> None:
        self._protocol = protocol
        self._units: dict[str, _Fused] = {}
        for name, spec in specs.items():
            node = graph.root.find(name)
            if node is None or not node.remote:
                raise OptionError(f"KF_FUSED names {name!r}, which is no unit of the graph")
            given = service.Service([_made(node, spec, naming)], running.Runner())
            self._units[name] = _Fused(rest.App(given, limit=_NO_LIMIT), given)

    def __contains__(self, name: object) -> bool:
        return name in self._units

    @property
    def names(self) -> frozenset[str]:
        """The nodes that are here."""
        return frozenset(self._units)

    def metrics(self) -> bytes:
        """What the units count, for the engine's page of metrics: each name once, as Prometheus wants it."""
        return metrics.merged([one.given.unit.metrics.text() for one in self._units.values()])

    async def load(self) -> None:
        """Load all of them, one after the other; until then the graph is not ready."""
        for name, one in self._units.items():
            try:
                await asyncio.to_thread(one.given.load)
            except messages.Refusal as refusal:
                raise OptionError(f"unit {name!r} cannot be loaded: {refusal.info}") from refusal

    def missing(self) -> str:
        """Which units are not loaded yet."""
        return "; ".join(f"unit {name!r} is loading" for name, one in self._units.items() if not one.given.ready)

    def close(self) -> None:
        """Let go of the threads."""
        for one in self._units.values():
            one.given.runner.close()

    async def __call__(self, node: Node, verb: Verb, payload: Payload | None) -> Payload:
        """Ask a unit."""
        one = self._units[node.name]
        if not one.given.ready:
            raise UnitError(f"unit {node.name!r} is loading", 503)
        if payload is not None and payload.content_type in (ASKED, ANSWERED):
            return await _rpc(one, method_of(self._protocol, node, verb), addressed(self._protocol, payload, node.name))
        code, answer = await _call(one.app, path(self._protocol, verb, node.name), payload)
        if code != 200:  # noqa: PLR2004 (as with servers)
            raise UnitError(f"unit {node.name!r} answered {verb.value} with {code}", code, answer)
        return answer


async def _rpc(one: _Fused, method: str, body: bytes) -> Payload:
    """One gRPC method of the unit server, without a channel."""
    from .. import protos, rpc  # noqa: TID252

    service_name, _, name = method[1:].partition("/")
    asked = protos.message(protos.service(service_name).methods_by_name[name].input_type.full_name)
    verb = re.sub("([A-Z])", r"_\1", name).lower().lstrip("_")
    try:
        answer = await getattr(rpc.Methods(one.given), verb)(asked.FromString(body))
    except messages.Refusal as refusal:
        code = grpc.StatusCode.INVALID_ARGUMENT if refusal.code < 500 else grpc.StatusCode.INTERNAL  # noqa: PLR2004
        raise RpcError(refusal.info, code) from refusal
    except DecodeError as error:
        raise RpcError(f"{method} was asked with something else: {error}", grpc.StatusCode.INVALID_ARGUMENT) from error
    return Payload(answer.SerializeToString(), ANSWERED)


async def _call(app: rest.App, where: str, payload: Payload | None) -> tuple[int, Payload]:
    """One request to an ASGI application, without a socket."""
    asked = Payload(b"") if payload is None else payload.plain()
    headers = [(b"content-type", asked.content_type.encode("latin-1"))]
    if asked.head is not None:
        headers.append((_LENGTH, str(asked.head).encode()))
    method = "GET" if payload is None else "POST"
    scope = {"type": "http", "method": method, "path": where, "query_string": b"", "headers": headers}
    sent: list[Mapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": asked.body}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    body = b"".join(part.get("body", b"") for part in sent[1:])
    told = {bytes(name).lower(): bytes(value).decode("latin-1") for name, value in sent[0]["headers"]}
    answer = Payload(body, told.get(b"content-type", JSON), head=head_length(told.get(_LENGTH), body))
    return int(sent[0]["status"]), answer


def _made(node: Node, spec: Any, naming: Naming) -> component.Unit:
    what = f"KF_FUSED: {node.name!r}"
    if not isinstance(spec, Mapping) or len(spec.keys() & {"model", "class", "router"}) != 1:
        raise OptionError(f"{what} must be an object with one of: model, class, router")
    if unknown := sorted(spec.keys() - _KEYS):
        raise OptionError(f"{what} has {unknown[0]!r}; there are: {', '.join(sorted(_KEYS))}")
    who = identity.Identity(
        unit=node.name,
        image=node.image,
        deployment=naming.deployment,
        predictor=naming.predictor,
        predictor_version=naming.version,
    )
    try:
        return _unit(node, spec, who)
    except (messages.Refusal, ValueError) as error:
        raise OptionError(f"{what}: {error}") from error


def _unit(node: Node, spec: Mapping[str, Any], who: identity.Identity) -> component.Unit:
    parameters = {
        name: identity.typed(name, value, node.types.get(name, "STRING")) for name, value in node.parameters.items()
    }
    parameters |= spec.get("parameters") or {}
    if "class" in spec:
        paths = spec.get("paths") or ()
        return loading.from_class(spec["class"], parameters, name=node.name, identity=who, paths=paths)
    if "model" in spec:
        kind = spec.get("kind", "")
        return loading.from_model(spec["model"], kind, parameters, name=node.name, identity=who)
    router = routers.ROUTERS.get(spec["router"])
    if router is None:
        raise ValueError(f"there is no router {spec['router']!r}; there are: {', '.join(routers.ROUTERS)}")
    given: dict[str, Any] = {"n_branches": len(node.children), "state_name": node.name} | parameters
    try:
        return component.Unit(router(**given), node.name, identity=who)
    except TypeError as error:
        raise ValueError(f"the router {spec['router']} cannot be made: {error}") from error
