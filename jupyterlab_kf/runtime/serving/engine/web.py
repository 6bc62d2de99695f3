"""The engine over REST: the routes, codes, headers and bodies of Seldon's executor, as an ASGI application.

A request is read whole, becomes one walk through the graph, and its answer is sent as the bytes that it is. There is
no framework below: the routes are a table, and what a request costs is the walk. The executor's own answers are
copied, its accidents are not; where ours differ, ``docs/serving-engine.md`` says why.
"""

from __future__ import annotations

import asyncio
import re
import traceback
import uuid
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

import orjson

from .calls import HEAD_HEADER, Headers, Naming, head_length
from .graph import Graph, Verb
from .knowledge import graph_metadata
from .metrics import CONTENT_TYPE, Metrics
from .payloads import DIALECTS, JSON, Payload, PayloadError, Trail
from .walk import Caller, RequestError, Tap, UnitError, Walk, deaf

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

PUID = "Seldon-Puid"
_TRUE = ("true", "on", "1")


class Units(Protocol):
    """All units of the graph, wherever they are."""

    def bound(self, headers: Headers, model: str = "") -> Caller:
        """The caller for one request."""

    async def ready(self) -> str:
        """Why they are not ready; nothing when they are."""


@dataclass(frozen=True)
class Request:
    """What came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    pairs: list[tuple[str, str]]
    puid: str
    model: str
    body: bytes

    def payload(self) -> Payload:
        """The body as the graph's input."""
        head = head_length(self.headers.get(HEAD_HEADER.lower()), self.body)
        kind = self.headers.get("content-type", "")
        return Payload(self.body, kind, self.headers.get("content-encoding", ""), head)


@dataclass
class Reply:
    """What goes out."""

    code: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Reply]]


@dataclass(frozen=True)
class Route:
    """One line of the table; a path that fits only lines with other methods is answered 405."""

    pattern: re.Pattern[str]
    methods: tuple[str, ...]
    handler: Handler
    service: str = ""


@dataclass(frozen=True)
class Surface:
    """How the engine looks from outside."""

    namespace: str
    protocol: str
    prometheus_path: str = "/metrics"
    cors_origins: str = "*"
    cors_headers: str = ""


class Web:
    """The application."""

    def __init__(
        self,
        graph: Graph,
        units: Units,
        naming: Naming,
        metrics: Metrics,
        surface: Surface,
        *,
        tap: Callable[[str], Tap] | None = None,
    ) -> None:
        self._graph = graph
        self._units = units
        self._naming = naming
        self._metrics = metrics
        self._surface = surface
        self._tap = tap
        self._dialect = DIALECTS[surface.protocol]
        self._labels = (naming.deployment, naming.predictor, naming.version)
        self._routes = self._table()
        #: Set when the engine is about to end: it is not ready any more, and answers all the same.
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            raise ValueError(f"this server speaks HTTP, not {scope['type']}")
        body = await _body(receive)
        if body is None:
            return  # the client has gone before it had said everything
        reply = await self._answer(scope, body)
        reply.headers.setdefault("Content-Length", str(len(reply.body)))
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in reply.headers.items()]
        await send({"type": "http.response.start", "status": reply.code, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})

    async def _answer(self, scope: Scope, body: bytes) -> Reply:
        method, path = scope["method"], scope["path"]
        found, allowed = self._find(method, path)
        if found is None:
            return _method_not_allowed() if allowed else _not_found()
        route, model = found
        request = _request(scope, body, model)
        common = self._headers(request, allowed)
        if method == "OPTIONS":
            return Reply(headers=common)
        started = perf_counter()
        reply = await self._handled(route, request)
        if route.service:
            labels = (*self._labels, route.service, method.lower(), str(reply.code))
            self._metrics.server.observe(labels, perf_counter() - started)
        reply.headers = {**common, **reply.headers}
        return reply

    def _find(self, method: str, path: str) -> tuple[tuple[Route, str] | None, list[str]]:
        """The first line that fits, and the methods that the path is served with."""
        allowed: list[str] = []
        found = None
        for route in self._routes:
            fits = route.pattern.fullmatch(path)
            if fits is None:
                continue
            allowed += [one for one in route.methods if one not in allowed]
            if found is None and (method in route.methods or not route.methods):
                found = route, fits.groupdict().get("model", "")
        return found, allowed

    async def _handled(self, route: Route, request: Request) -> Reply:
        try:
            return await route.handler(request)
        except UnitError as error:
            if error.answer is not None and error.answer.body:
                return _reply(error.answer, error.code)
            return self._failure(str(error), error.code)
        except RequestError as error:
            return self._failure(str(error), 400)
        except PayloadError as error:
            return self._failure(str(error), 500)
        except Exception as error:  # noqa: BLE001 (a fault of ours is one request's, and its traceback is on the log)
            traceback.print_exc()
            return self._failure(f"{type(error).__name__}: {error}", 500)

    def _failure(self, text: str, code: int) -> Reply:
        said: dict[str, Any] = {"status": {"code": code, "info": text, "status": "FAILURE"}}
        if self._surface.protocol != "seldon":
            said["error"] = text  # where clients of these protocols look for it
        return Reply(code, orjson.dumps(said), {"Content-Type": JSON})

    def _headers(self, request: Request, allowed: list[str]) -> dict[str, str]:
        headers = {
            PUID: request.puid,
            "X-Content-Type-Options": "nosniff",
            "Access-Control-Allow-Origin": self._surface.cors_origins,
            "Access-Control-Allow-Headers": self._surface.cors_headers,
        }
        if "OPTIONS" in allowed:
            headers["Access-Control-Allow-Methods"] = ",".join(allowed)
        if "ce-specversion" in request.headers:
            deployment = self._naming.deployment
            headers |= {
                "Ce-Id": request.puid,
                "Ce-Specversion": "0.3",
                "Ce-Path": request.path,
                "Ce-Type": f"seldon.{deployment}.{self._surface.namespace}.response",
                "Ce-Source": f"seldon.{deployment}",
            }
        return headers

    def _table(self) -> list[Route]:
        def line(pattern: str, methods: tuple[str, ...], handler: Handler, service: str = "") -> Route:
            return Route(re.compile(pattern.replace("{model}", "(?P<model>[^/]+)")), methods, handler, service)

        reading, writing = ("GET", "OPTIONS"), ("OPTIONS", "POST")
        lines = [
            line("/ready", (), self._ready),
            line("/live", (), self._live),
            line(re.escape(self._surface.prometheus_path), (), self._page),
        ]
        if self._surface.protocol == "seldon":
            for base in ("/api/v0\\.1", "/api/v1\\.0"):
                lines += [
                    line(f"{base}/predictions", writing, self._predict, "predictions"),
                    line(f"{base}/feedback", writing, self._feedback, "feedback"),
                    line(f"{base}/status/{{model}}", reading, self._status, "status"),
                    line(f"{base}/metadata/{{model}}", reading, self._model_metadata, "metadata"),
                ]
            return [
                *lines,
                line("/api/v1\\.0/status", reading, self._ready, "status"),
                line("/api/v1\\.0/metadata", reading, self._graph_metadata, "metadata"),
                line("/api/v1\\.0/health/status", reading, self._ready, "status"),
            ]
        if self._surface.protocol == "tensorflow":
            return [
                *lines,
                line("/v1/models/{model}/:predict", writing, self._predict, "predictions"),
                line("/v1/models/{model}:predict", writing, self._predict, "predictions"),
                line("/v1/models/?:predict", writing, self._predict, "predictions"),
                line("/v1/models/{model}", reading, self._status, "status"),
                line("/v1/models/{model}/metadata", reading, self._model_metadata, "metadata"),
                line("/api/v1\\.0/feedback", writing, self._feedback, "feedback"),
            ]
        return [
            *lines,
            line("/v2/models/{model}/infer", writing, self._predict, "predictions"),
            line("/v2/models/infer", writing, self._predict, "predictions"),
            line("/v2/models/{model}/ready", reading, self._status, "status"),
            line("/v2/models/{model}", reading, self._model_metadata, "metadata"),
            line("/v2/health/ready", reading, self._ready, "status"),
            line("/v2/health/live", reading, self._live, "status"),
            line("/v2/?", reading, self._server_metadata, "metadata"),
        ]

    async def _ready(self, request: Request) -> Reply:
        del request
        why = "the engine is ending" if self.draining else await self._units.ready()
        return Reply(503, why.encode(), {"Content-Type": "text/plain; charset=utf-8"}) if why else Reply()

    async def _live(self, request: Request) -> Reply:
        del request
        return Reply()

    async def _page(self, request: Request) -> Reply:
        del request
        body = await asyncio.to_thread(self._metrics.page)
        return Reply(200, body, {"Content-Type": CONTENT_TYPE})

    def _walk(self, request: Request) -> Walk:
        skip = request.headers.get("seldon-skip-logging", "").lower() in _TRUE
        tap = deaf if skip or self._tap is None else self._tap(request.puid)
        call = self._units.bound(request.pairs, request.model)
        return Walk(self._graph, self._dialect, call, tap, self._metrics.branches, Trail(puid=request.puid))

    async def _predict(self, request: Request) -> Reply:
        return _reply(await self._walk(request).predict(request.payload()))

    async def _feedback(self, request: Request) -> Reply:
        return _reply(await self._walk(request).feedback(request.payload()))

    async def _status(self, request: Request) -> Reply:
        return await self._asked(request, Verb.STATUS)

    async def _model_metadata(self, request: Request) -> Reply:
        return await self._asked(request, Verb.METADATA)

    async def _asked(self, request: Request, verb: Verb) -> Reply:
        node = self._graph.root.find(request.model)
        if node is None:
            return self._failure(f"Failed to find model {request.model}", 500)
        return _reply(await self._units.bound(request.pairs, request.model)(node, verb, None))

    async def _graph_metadata(self, request: Request) -> Reply:
        found = await graph_metadata(self._graph, self._units.bound(request.pairs))
        return Reply(200, orjson.dumps(found), {"Content-Type": JSON})

    async def _server_metadata(self, request: Request) -> Reply:
        del request
        found = {"name": self._naming.deployment, "version": self._naming.version, "extensions": []}
        return Reply(200, orjson.dumps(found), {"Content-Type": JSON})


def _not_found() -> Reply:
    headers = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
    return Reply(404, b"404 page not found\n", headers)


def _method_not_allowed() -> Reply:
    return Reply(405)


def _reply(payload: Payload, code: int = 200) -> Reply:
    headers = {"Content-Type": payload.content_type}
    if payload.encoding:
        headers["Content-Encoding"] = payload.encoding
    if payload.head is not None:
        headers[HEAD_HEADER] = str(payload.head)
    return Reply(code, payload.body, headers)


def _request(scope: Scope, body: bytes, model: str) -> Request:
    pairs = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
    headers = dict(pairs)
    puid = headers.get("seldon-puid") or str(uuid.uuid4())
    if not headers.get("seldon-puid"):
        pairs.append((PUID, puid))
    return Request(scope["method"], scope["path"], headers, pairs, puid, model, body)


async def _body(receive: Receive) -> bytes | None:
    parts: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)
