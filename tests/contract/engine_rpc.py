"""The bench of ``engine_bed`` over gRPC: units, a client, and the table of cases. Messages are written as JSON."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Self

import grpc
import grpc.aio
from engine_bed import GOLDEN, Call, Running, Units
from google.protobuf import json_format
from seldon_messages import choice, message, parsed, said

RPC_GOLDEN = GOLDEN.with_name("executor-1.17.1-rpc.json")
Obj = dict[str, Any]
Context = grpc.aio.ServicerContext[bytes, bytes]
_FORWARDED = ("seldon-puid", "x-custom")
_IN = {"Aggregate": "SeldonMessageList", "SendFeedback": "Feedback"}


def plain(name: str, body: bytes) -> Any:
    """A message as JSON; entries of maps in the order of their keys."""
    return _sorted(json_format.MessageToDict(parsed(name, body)))


def _sorted(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _sorted(one) for key, one in sorted(value.items())}
    if isinstance(value, list) and value and all(isinstance(one, dict) and "key" in one for one in value):
        return sorted(value, key=lambda one: str(one["key"]))
    return [_sorted(one) for one in value] if isinstance(value, list) else value


@dataclass
class RpcUnits(Units):
    """Units that speak Seldon's protocol over gRPC."""

    async def __aenter__(self) -> Self:
        self._servers = []
        for name in self.names:
            server = grpc.aio.server()
            server.add_generic_rpc_handlers((_Handler(self._asked, name),))
            self.ports[name] = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            self._servers.append(server)
        return self

    async def __aexit__(self, *_: object) -> None:
        for server in self._servers:
            await server.stop(0)

    async def _asked(self, name: str, method: str, body: bytes, context: Context) -> bytes:
        metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
        verb = method.rpartition("/")[2]
        told = "" if verb == "Metadata" else plain(_IN.get(verb, "SeldonMessage"), body)
        kept = {key: value for key, value in metadata.items() if key in _FORWARDED}
        self.calls.append(Call(name, "", method, kept, told))
        if refused := metadata.get(f"x-unit-{name}"):
            await context.abort(grpc.StatusCode[refused], f"{name} refuses")
        if verb == "Route":
            return bytes(choice(int(metadata.get(f"x-route-{name}", "0"))).SerializeToString())
        if verb == "Metadata":
            edges = {"inputs": [{"name": f"{name} in"}], "outputs": [{"name": f"{name} out"}]}
            return bytes(message("SeldonModelMetadata", name=name, versions=["1"], **edges).SerializeToString())
        return bytes(said(f"{name} {verb}", **{name: 1.0}).SerializeToString())


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, asked: Callable[[str, str, bytes, Context], Awaitable[bytes]], name: str) -> None:
        self._asked, self._name = asked, name

    def service(self, details: grpc.HandlerCallDetails) -> Any:
        async def handle(body: bytes, context: Context) -> bytes:
            return await self._asked(self._name, details.method, body, context)

        return grpc.unary_unary_rpc_method_handler(handle)


async def ask(running: Running, case: Obj) -> Obj:
    """Play one case."""
    running.units.calls.clear()
    name, members = case["message"]
    metadata = [("seldon-puid", "case"), *case.get("metadata", {}).items()]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{running.grpc_port}") as channel:
        call = channel.unary_unary(f"/seldon.protos.Seldon/{case['method']}")(
            message(name, **members).SerializeToString(), metadata=metadata, timeout=60
        )
        code = await call.code()
        answer: Obj = {"code": code.name}
        if code is grpc.StatusCode.OK:
            answer["message"] = plain(case.get("answer", "SeldonMessage"), await call)
            answer["puid"] = dict(await call.initial_metadata()).get("seldon-puid")
        else:
            answer["details"] = await call.details()
    calls = [
        {"unit": one.unit, "ask": one.path, "metadata": one.headers, "message": one.body} for one in running.units.calls
    ]
    return {**answer, "calls": sorted(calls, key=lambda one: (one["unit"], one["ask"]))}


def _node(name: str, kind: str, *children: Obj, **rest: Any) -> Obj:
    return {"name": name, "type": kind, "children": list(children), **rest}


_ASK = ("SeldonMessage", {"strData": "x"})


def _ask(name: str, **metadata: str) -> Obj:
    told = {key.replace("_", "-"): value for key, value in metadata.items()}
    return {"name": name, "method": "Predict", "message": _ASK, "metadata": told}


def _feedback(name: str, *routing: Obj) -> Obj:
    members = {"response": {"strData": "y", "meta": {"routing": list(routing)}}, "reward": 0.5}
    return {"name": name, "method": "SendFeedback", "message": ("Feedback", members)}


def _metadata(name: str, model: str) -> Obj:
    asked = ("SeldonModelMetadataRequest", {"name": model})
    return {"name": name, "method": "ModelMetadata", "message": asked, "answer": "SeldonModelMetadata"}


RPC_GROUPS: list[Obj] = [
    {
        "name": "routed",
        "graph": _node(
            "r", "ROUTER", _node("a", "MODEL"), _node("c", "COMBINER", _node("b1", "MODEL"), _node("b2", "MODEL"))
        ),
        "cases": [
            _ask("first branch", x_custom="told"),
            _ask("second branch", x_route_r="1"),
            _ask("all branches", x_route_r="-1"),
            _ask("model refuses", x_unit_a="RESOURCE_EXHAUSTED"),
            _ask("combiner refuses", x_route_r="1", x_unit_c="INVALID_ARGUMENT"),
            _feedback("feedback to the first", {"key": "r", "value": 0}),
            _feedback("feedback to all", {"key": "r", "value": -1}),
            _feedback("feedback without routing"),
            _metadata("metadata", "b2"),
            _metadata("metadata of nobody", "nobody"),
        ],
    },
    {
        "name": "chain",
        "graph": _node("o", "OUTPUT_TRANSFORMER", _node("t", "TRANSFORMER", _node("m", "MODEL"))),
        "cases": [
            _ask("order"),
            _feedback("feedback"),
            {
                "name": "graph metadata",
                "method": "GraphMetadata",
                "message": ("Meta", {}),
                "answer": "SeldonGraphMetadata",
            },
        ],
    },
    # The next two by themselves, as Seldon's executor does not survive them.
    {
        "name": "none",
        "graph": _node("r", "ROUTER", _node("a", "MODEL")),
        "cases": [_ask("no branch", x_route_r="-2")],
    },
    {
        "name": "refused",
        "graph": _node("r", "ROUTER", _node("a", "MODEL")),
        "cases": [_ask("router refuses", x_unit_r="NOT_FOUND")],
    },
    {"name": "gone", "graph": _node("m", "MODEL", absent=True), "cases": [_ask("unit is not there")]},
]
for _group in RPC_GROUPS:
    _group["units"] = RpcUnits
