"""Units in other processes, asked over HTTP by connections that are kept.

:meth:`RestUnits.bound` is the caller for one request, which hands on that request's headers as Seldon's executor does.
What a unit answers with a code other than 200 is its own answer to the client. A prediction that was lost with its
connection is asked once more, as it changes nothing; feedback never is, and goes over a connection of its own, because
a kept one may be closed by the unit in the moment it is used. A unit that answered before and takes no connection is
waited for a while: one that was killed is started again at once, and nothing has been sent that could count twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter
from urllib.parse import quote

from .graph import Graph, Node, Verb
from .http import LostError, Pool, Response, UnreachedError
from .metrics import Timings
from .payloads import JSON, Payload
from .walk import Caller, UnitError
from .whereabouts import Whereabouts

#: What concerns the connection to us, or is said anew of each body.
_NOT_HANDED_ON = frozenset(
    {
        *("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "upgrade"),
        *("transfer-encoding", "content-length", "content-type", "content-encoding", "host", "expect"),
        "inference-header-content-length",
    }
)
HEAD_HEADER = "Inference-Header-Content-Length"
PATIENCE = 5.0
"""Seconds for which a unit that has answered before is waited for when it takes no connection."""
PAUSE = 0.1
_RESETS = 3
ABOUT_ITSELF = (Verb.STATUS, Verb.METADATA)
"""What asks a unit whether it is there, and so does not wait for it."""
Headers = Iterable[tuple[str, str]]
_SUFFIXES = {
    "tensorflow": {
        Verb.PREDICT: ":predict",
        Verb.TRANSFORM_INPUT: ":predict",
        Verb.TRANSFORM_OUTPUT: ":predict",
        Verb.AGGREGATE: ":aggregate",
        Verb.ROUTE: ":route",
        Verb.FEEDBACK: ":feedback",
        Verb.STATUS: "",
        Verb.METADATA: "/metadata",
    },
    "v2": {
        Verb.PREDICT: "/infer",
        Verb.TRANSFORM_INPUT: "/infer",
        Verb.TRANSFORM_OUTPUT: "/infer",
        Verb.AGGREGATE: "/aggregate",
        Verb.ROUTE: "/route",
        Verb.FEEDBACK: "/feedback",
        Verb.STATUS: "/ready",
        Verb.METADATA: "",
    },
}


def path(protocol: str, verb: Verb, model: str) -> str:
    """Where a unit is asked that."""
    if protocol == "seldon":
        return verb.value
    version, family = ("/v1", "tensorflow") if protocol == "tensorflow" else ("/v2", "v2")
    return f"{version}/models/{model}{_SUFFIXES[family][verb]}"


def model_name(graph: Graph, node: Node, wanted: str) -> str:
    """The model to ask a node for: the one in the request's path, unless that is how the client names the graph."""
    return node.name if not wanted or graph.root.find(wanted) else wanted


def parts_of_image(image: str) -> tuple[str, str]:
    """Name and version, as the executor's labels have them: a registry's port makes it forget the version."""
    name, *rest = image.split(":")
    return name, rest[0] if len(rest) == 1 else ""


@dataclass(frozen=True)
class Naming:
    """The labels that all metrics of this engine share."""

    deployment: str
    predictor: str
    version: str


@dataclass(frozen=True)
class _Address:
    """Where a unit is asked something, and how that is counted."""

    pool: Pool
    url: str
    head: bytes
    labels: tuple[str, ...]


class RestUnits:
    """The connections to all units of a graph."""

    def __init__(
        self,
        graph: Graph,
        protocol: str,
        naming: Naming,
        timings: Timings,
        *,
        timeout: float | None,
        whereabouts: Whereabouts,
    ) -> None:
        self._graph = graph
        self._whereabouts = whereabouts
        self._protocol = protocol
        self._naming = naming
        self._timings = timings
        self._timeout = timeout
        self._pools: dict[tuple[str, int], Pool] = {}
        self._addresses: dict[tuple[str, Verb, str], _Address] = {}
        self._answered: set[str] = set()

    def close(self) -> None:
        """Let go of all connections."""
        for pool in self._pools.values():
            pool.close()

    def bound(self, headers: Headers, model: str = "") -> Caller:
        """The caller for one request."""
        handed_on = _handed_on(headers)

        async def call(node: Node, verb: Verb, payload: Payload | None) -> Payload:
            return await self._ask(node, verb, payload, handed_on, model)

        return call

    async def _ask(self, node: Node, verb: Verb, payload: Payload | None, headers: bytes, model: str) -> Payload:
        """One call, counted; asked again where that changes nothing."""
        address = self._address(node, verb, model_name(self._graph, node, model))
        request = _request(address.head, headers, payload)
        try:
            response = await self._kept_at(node, verb, address, request, payload)
        except asyncio.TimeoutError:  # noqa: UP041 (they are one class only since Python 3.11)
            waited = f"within {self._timeout:g} seconds" if self._timeout else "in time"
            raise UnitError(f"unit {node.name!r} did not answer {verb.value} at {address.url} {waited}") from None
        except OSError as error:
            # It was there and is gone: another replica may answer, so a gateway is told what it asks again for.
            code = 503 if isinstance(error, UnreachedError) and node.name in self._answered else 500
            text = f"unit {node.name!r} could not be asked {verb.value} at {address.url}: {error}"
            raise UnitError(text, code) from error
        answer = _answer(response)
        if response.code != 200:  # noqa: PLR2004 (as Seldon's executor, which takes no other for success)
            message = f"Internal service call from executor failed calling {address.url} status code {response.code}"
            raise UnitError(message, response.code, answer)
        return answer

    async def _kept_at(
        self, node: Node, verb: Verb, address: _Address, request: bytes, payload: Payload | None
    ) -> Response:
        """The answer, though the unit may be replaced in the middle of it."""
        now = asyncio.get_running_loop().time
        waits, until = node.name in self._answered and verb not in ABOUT_ITSELF, now() + PATIENCE
        once, lost = verb is Verb.FEEDBACK, 0
        while True:
            try:
                response = await self._once(address, request, payload, fresh=once or lost > 0)
            except LostError as error:
                lost += 1
                # A process that is killed still takes connections while it ends; a request that ends it must end, too.
                if once or lost > (_RESETS if error.reset else 1):
                    raise
                if lost > 1:
                    await asyncio.sleep(PAUSE)
            except UnreachedError:
                if not waits or now() > until:
                    raise
                await asyncio.sleep(PAUSE)
            else:
                self._answered.add(node.name)
                return response

    async def _once(self, address: _Address, request: bytes, payload: Payload | None, *, fresh: bool) -> Response:
        started = perf_counter()
        response = await address.pool.ask(request, self._timeout, fresh=fresh)
        method = "get" if payload is None else "post"
        self._timings.observe((*address.labels, method, str(response.code)), perf_counter() - started)
        return response

    def _address(self, node: Node, verb: Verb, model: str) -> _Address:
        known = self._addresses.get((node.name, verb, model))
        if known is not None:
            return known
        if not (node.host and node.http_port):
            raise UnitError(f"unit {node.name!r} has no address: its endpoint names no host or no port")
        place = (node.host, node.http_port)
        pool = self._pools.setdefault(place, Pool(*place, self._whereabouts.of))
        method = path(self._protocol, verb, model)
        quoted = quote(method, safe="/:")
        host = f"[{node.host}]" if ":" in node.host else node.host
        head = f"{quoted} HTTP/1.1\r\nHost: {host}:{node.http_port}\r\n".encode()
        naming = (self._naming.deployment, self._naming.predictor, self._naming.version)
        labels = (*naming, method, model, *parts_of_image(node.image))
        found = _Address(pool, f"http://{host}:{node.http_port}{quoted}", head, labels)
        if model == node.name:  # names from paths are the clients': they are not kept, as there is no end to them
            self._addresses[node.name, verb, model] = found
        return found


def _handed_on(headers: Headers) -> bytes:
    lines = (f"{name}: {value}\r\n" for name, value in headers if name.lower() not in _NOT_HANDED_ON)
    return "".join(lines).encode("latin-1")


def _request(head: bytes, headers: bytes, payload: Payload | None) -> bytes:
    if payload is None:
        return b"GET " + head + headers + b"\r\n"
    described = f"Content-Type: {payload.content_type}\r\nContent-Length: {len(payload.body)}\r\n"
    if payload.encoding:
        described += f"Content-Encoding: {payload.encoding}\r\n"
    if payload.head is not None:
        described += f"{HEAD_HEADER}: {payload.head}\r\n"
    return b"POST " + head + headers + described.encode("latin-1") + b"\r\n" + payload.body


def _answer(response: Response) -> Payload:
    headers = response.headers
    return Payload(
        response.body,
        headers.get(b"content-type", JSON),
        headers.get(b"content-encoding", ""),
        head_length(headers.get(b"inference-header-content-length"), response.body),
    )


def head_length(said: str | None, body: bytes) -> int | None:
    """The length of the JSON before binary tensors, where a header says one that can be."""
    if said is None or not said.isdigit() or int(said) > len(body):
        return None
    return int(said)
