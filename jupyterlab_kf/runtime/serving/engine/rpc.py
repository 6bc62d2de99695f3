"""The engine over gRPC: Seldon's services and V2's, with messages as bytes on both sides.

Generic handlers take every method by its name and need no generated classes; units are asked over one channel for each
address. A unit's own error goes to the client with its code and its words. TensorFlow's services are not served.
"""

from __future__ import annotations

import asyncio
import traceback
import uuid
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic, perf_counter
from typing import Any

import grpc
import grpc.aio

from .calls import ABOUT_ITSELF, PATIENCE, PAUSE, Naming, model_name, parts_of_image
from .graph import Graph, Node, Verb
from .knowledge import edges
from .metrics import Metrics, Timings
from .payloads import Dialect, Payload, PayloadError, Trail
from .walk import Caller, RequestError, Tap, UnitError, Walk, deaf
from .whereabouts import Whereabouts
from .wire import ANSWERED, ASKED, InferenceProto, SeldonProto, fields, first, member

Metadata = Sequence[tuple[str, str | bytes]]
Context = grpc.aio.ServicerContext[bytes, bytes]
Method = Callable[[bytes, "Asked"], Awaitable[bytes]]

PUID = "seldon-puid"
_SELDON = "/seldon.protos.{}"
_V2 = "/inference.GRPCInferenceService/{}"
_VERBS = {
    "seldon": {
        Verb.PREDICT: _SELDON.format("Model/Predict"),
        Verb.TRANSFORM_INPUT: _SELDON.format("Transformer/TransformInput"),
        Verb.TRANSFORM_OUTPUT: _SELDON.format("OutputTransformer/TransformOutput"),
        Verb.ROUTE: _SELDON.format("Router/Route"),
        Verb.AGGREGATE: _SELDON.format("Combiner/Aggregate"),
        Verb.FEEDBACK: _SELDON.format("Model/SendFeedback"),
        Verb.METADATA: _SELDON.format("Model/Metadata"),
    },
    "v2": {
        Verb.PREDICT: _V2.format("ModelInfer"),
        Verb.TRANSFORM_INPUT: _V2.format("ModelInfer"),
        Verb.TRANSFORM_OUTPUT: _V2.format("ModelInfer"),
        Verb.STATUS: _V2.format("ModelReady"),
        Verb.METADATA: _V2.format("ModelMetadata"),
    },
}
_TRUE = b"\x08\x01"
_SOON = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
"""A unit that was killed is back within seconds; gRPC's own pauses grow to two minutes."""
_UNSENT = "failed to connect"
_LOST = ("Socket closed", "recvmsg", "Connection reset", "GOAWAY")
"""How gRPC says that nothing was sent, and that an answer was lost with its connection."""
_NOT_HANDED_ON = ("user-agent", "content-type", "te")
_INPUTS, _OUTPUTS = 4, 5  # SeldonModelMetadata


def family(protocol: str) -> str:
    """Whose services a protocol's are."""
    return protocol if protocol == "seldon" else "v2"


def method_of(protocol: str, node: Node, verb: Verb) -> str:
    """The full name of the method by which a unit is asked that."""
    method = _VERBS[family(protocol)].get(verb)
    if method is None:
        raise UnitError(f"unit {node.name!r} cannot be asked {verb.value} over gRPC in this protocol: use REST")
    return method


def addressed(protocol: str, payload: Payload, model: str) -> bytes:
    """A request's bytes with the model's name in it, where the protocol has a place: the last one of a field counts."""
    return payload.body if protocol == "seldon" else payload.body + member(1, model.encode())


class RpcError(UnitError):
    """A unit's own gRPC error."""

    def __init__(self, message: str, status: grpc.StatusCode) -> None:
        super().__init__(message)
        self.status = status


class RpcUnits:
    """Channels to all units of a graph."""

    def __init__(
        self,
        graph: Graph,
        protocol: str,
        naming: Naming,
        timings: Timings,
        *,
        timeout: float | None,
        limit: int,
        whereabouts: Whereabouts,
    ) -> None:
        self._graph = graph
        self._whereabouts = whereabouts
        self._family = family(protocol)
        self._naming = naming
        self._timings = timings
        self._timeout = timeout
        self._options = message_sizes(limit)
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._answered: set[str] = set()

    async def close(self) -> None:
        """Let go of all channels."""
        for channel in self._channels.values():
            await channel.close()

    def bound(self, metadata: Metadata, model: str = "") -> Caller:
        """The caller for one request."""
        kept = tuple((name, value) for name, value in metadata if _handed_on(name))

        async def call(node: Node, verb: Verb, payload: Payload | None) -> Payload:
            return await self._ask(node, verb, payload, kept, model)

        return call

    async def _ask(self, node: Node, verb: Verb, payload: Payload | None, metadata: Metadata, model: str) -> Payload:
        method = method_of(self._family, node, verb)
        if not (node.host and node.grpc_port):
            raise UnitError(f"unit {node.name!r} has no address for gRPC: its endpoint names no host or no port")
        name = model_name(self._graph, node, model)
        body = b"" if payload is None else addressed(self._family, payload, name)
        known, until = node.name in self._answered and verb not in ABOUT_ITSELF, monotonic() + PATIENCE
        while True:
            started = perf_counter()
            code = grpc.StatusCode.OK
            try:
                call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel(node).unary_unary(method)
                answer = await call(body, metadata=metadata, timeout=self._timeout)
            except grpc.aio.AioRpcError as error:
                code, said = error.code(), error.details() or f"unit {node.name!r} refused {method}"
                if not (known and monotonic() < until and _may_ask_again(verb, code, said)):
                    raise RpcError(said, code) from error
                await asyncio.sleep(PAUSE)
            else:
                self._answered.add(node.name)
                return Payload(answer, ANSWERED)
            finally:
                naming = (self._naming.deployment, self._naming.predictor, self._naming.version)
                labels = (*naming, method, name, *parts_of_image(node.image), "unary", spelled(code))
                self._timings.observe(labels, perf_counter() - started)

    def _channel(self, node: Node) -> grpc.aio.Channel:
        address = self._whereabouts.target(node.host, node.grpc_port)
        found = self._channels.get(address)
        if found is None:
            found = self._channels[address] = grpc.aio.insecure_channel(address, options=[*self._options, *_SOON])
        return found


class Asked:
    """One request: what came beside its message."""

    def __init__(self, context: Context) -> None:
        self.metadata: Metadata = tuple(context.invocation_metadata() or ())
        told = next((value for name, value in self.metadata if name == PUID and value), "")
        self.puid = told if isinstance(told, str) and told else str(uuid.uuid4())
        if not told:
            self.metadata = (*self.metadata, (PUID, self.puid))


class Rpc(grpc.GenericRpcHandler):
    """The services of the graph's protocol."""

    def __init__(
        self,
        graph: Graph,
        protocol: str,
        units: Callable[[Metadata, str], Caller],
        naming: Naming,
        metrics: Metrics,
        *,
        ready: Callable[[], Awaitable[str]],
        tap: Callable[[str], Tap] | None = None,
    ) -> None:
        self._graph = graph
        self._units = units
        self._naming = naming
        self._metrics = metrics
        self._ready = ready
        self._tap = tap
        self._dialect: Dialect = SeldonProto() if family(protocol) == "seldon" else InferenceProto()
        self._methods = self._seldon() if family(protocol) == "seldon" else self._inference()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        """The method of that name."""
        method = self._methods.get(details.method)
        if method is None:
            return None

        async def handle(body: bytes, context: Context) -> bytes:
            return await self._handled(details.method, method, body, context)

        return grpc.unary_unary_rpc_method_handler(handle)

    def _seldon(self) -> dict[str, Method]:
        return {
            _SELDON.format("Seldon/Predict"): self._predict,
            _SELDON.format("Seldon/SendFeedback"): self._feedback,
            _SELDON.format("Seldon/ModelMetadata"): self._model(Verb.METADATA),
            _SELDON.format("Seldon/GraphMetadata"): self._graph_metadata,
        }

    def _inference(self) -> dict[str, Method]:
        return {
            _V2.format("ModelInfer"): self._predict,
            _V2.format("ModelReady"): self._model(Verb.STATUS),
            _V2.format("ModelMetadata"): self._model(Verb.METADATA),
            _V2.format("ServerLive"): self._live,
            _V2.format("ServerReady"): self._is_ready,
            _V2.format("ServerMetadata"): self._server_metadata,
        }

    async def _handled(self, name: str, method: Method, body: bytes, context: Context) -> bytes:
        asked = Asked(context)
        started = perf_counter()
        code, words = grpc.StatusCode.OK, ""
        answer = b""
        await context.send_initial_metadata(((PUID, asked.puid),))
        try:
            answer = await method(body, asked)
        except RpcError as error:
            code, words = error.status, str(error)
        except RequestError as error:
            code, words = grpc.StatusCode.INVALID_ARGUMENT, str(error)
        except (UnitError, PayloadError) as error:
            code, words = grpc.StatusCode.UNKNOWN, str(error)
        except Exception as error:  # noqa: BLE001 (a fault of ours is one request's, and its traceback is on the log)
            traceback.print_exc()
            code, words = grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}"
        naming = (self._naming.deployment, self._naming.predictor, self._naming.version)
        self._metrics.server.observe((*naming, name, "unary", spelled(code)), perf_counter() - started)
        if code is not grpc.StatusCode.OK:
            await context.abort(code, words)
        return answer

    def _walk(self, asked: Asked, model: str) -> Walk:
        skip = any(name == "seldon-skip-logging" and value in ("true", "on", "1") for name, value in asked.metadata)
        tap = deaf if skip or self._tap is None else self._tap(asked.puid)
        units, branches = self._units(asked.metadata, model), self._metrics.branches
        return Walk(self._graph, self._dialect, units, tap, branches, Trail(puid=asked.puid))

    async def _predict(self, body: bytes, asked: Asked) -> bytes:
        model = _text(body, 1) if isinstance(self._dialect, InferenceProto) else ""
        return (await self._walk(asked, model).predict(Payload(body, ASKED))).body

    async def _feedback(self, body: bytes, asked: Asked) -> bytes:
        answer = await self._walk(asked, "").feedback(Payload(body, ASKED))
        # The executor answers nothing where it would hand the feedback back: it is no SeldonMessage.
        return answer.body if answer.content_type == ANSWERED else b""

    def _model(self, verb: Verb) -> Method:
        async def method(body: bytes, asked: Asked) -> bytes:
            name = _text(body, 1)
            node = self._graph.root.find(name)
            if node is None:
                raise UnitError(f"Failed to find model {name}")
            payload = Payload(body, ASKED) if isinstance(self._dialect, InferenceProto) else Payload(b"", ASKED)
            return (await self._units(asked.metadata, name)(node, verb, payload)).body

        return method

    async def _graph_metadata(self, body: bytes, asked: Asked) -> bytes:
        del body
        call = self._units(asked.metadata, "")
        models, asking = {}, Payload(b"", ASKED)
        for node in self._graph.root.nodes():
            empty = member(1, node.name.encode())
            models[node.name] = (await call(node, Verb.METADATA, asking)).body if node.remote else empty
        begin, end = edges(self._graph.root)
        entries = [member(2, member(1, name.encode()) + member(2, said)) for name, said in models.items()]
        inputs = [member(3, content) for number, _, content in fields(models[begin]) if number == _INPUTS]
        outputs = [member(4, content) for number, _, content in fields(models[end]) if number == _OUTPUTS]
        return b"".join([member(1, self._graph.predictor.encode()), *entries, *inputs, *outputs])

    async def _live(self, body: bytes, asked: Asked) -> bytes:
        del body, asked
        return _TRUE

    async def _is_ready(self, body: bytes, asked: Asked) -> bytes:
        del body, asked
        return b"" if await self._ready() else _TRUE

    async def _server_metadata(self, body: bytes, asked: Asked) -> bytes:
        del body, asked
        return member(1, self._naming.deployment.encode()) + member(2, self._naming.version.encode())


def _may_ask_again(verb: Verb, code: grpc.StatusCode, said: str) -> bool:
    """Whether the same may be asked once more: nothing was sent, or it changes nothing; not what a unit says itself."""
    if code is not grpc.StatusCode.UNAVAILABLE:
        return False
    return said.startswith(_UNSENT) or (verb is not Verb.FEEDBACK and said.startswith(_LOST))


def message_sizes(limit: int) -> list[tuple[str, Any]]:
    """Options of servers and channels: how long a message may be; -1 is any length."""
    return [("grpc.max_receive_message_length", limit), ("grpc.max_send_message_length", limit)]


def spelled(code: grpc.StatusCode) -> str:
    """A code as Go's metrics spell it."""
    return "OK" if code is grpc.StatusCode.OK else code.name.title().replace("_", "")


def _handed_on(name: str) -> bool:
    return not name.startswith(("grpc-", ":")) and name not in _NOT_HANDED_ON


def _text(body: bytes, number: int) -> str:
    return (first(body, number) or b"").decode(errors="replace")
