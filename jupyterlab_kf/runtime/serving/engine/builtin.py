"""The implementations that Seldon's graphs can name without a container.

Seldon's executor has RANDOM_ABTEST only; its predecessor had the other three, which are still in the CRD's list and
in people's graphs. They answer as that one did: fixed numbers, branch 0, and the mean of the branches. They speak
JSON; over gRPC only the two routers can be used.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from .graph import Node, Verb
from .payloads import Payload, PayloadError

_SIMPLE_MODEL = {
    "status": {"status": "SUCCESS"},
    "meta": {},
    "data": {"names": ["class0", "class1", "class2"], "tensor": {"shape": [1, 3], "values": [0.1, 0.9, 0.5]}},
}


class Builtins:
    """A :class:`~.walk.Caller` for nodes that need no server."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance

    async def __call__(self, node: Node, verb: Verb, payload: Payload | None) -> Payload:
        """The node's answer."""
        del verb  # each has one only
        spoken = "" if payload is None else payload.content_type
        if node.builtin == "RANDOM_ABTEST":
            first = self._chance() < float(node.parameters.get("ratioA", "0.5"))
            return Payload(b"[0]" if first else b"[1]")
        if node.builtin == "SIMPLE_ROUTER":
            return Payload(b"[0]")
        if spoken.startswith("application/protobuf"):
            raise PayloadError(f"{node.builtin} speaks JSON, and {node.name!r} was asked over gRPC: use REST")
        if node.builtin == "SIMPLE_MODEL":
            return Payload(orjson.dumps(_SIMPLE_MODEL))
        if payload is None:
            raise PayloadError(f"{node.name!r} has nothing to combine")
        return Payload(orjson.dumps(average(orjson.loads(payload.body))))


def average(messages: Sequence[Any]) -> dict[str, Any]:
    """The mean of several Seldon messages, number by number, in the first one's form."""
    data = [_data(message) for message in messages]
    first = data[0]
    form = "tensor" if "tensor" in first else "ndarray"
    if any(form not in one for one in data):
        raise PayloadError("AVERAGE_COMBINER: the branches answered in different forms (tensor and ndarray)")
    if form == "tensor":
        shapes = [one["tensor"].get("shape") for one in data]
        if any(shape != shapes[0] for shape in shapes):
            raise PayloadError(f"AVERAGE_COMBINER: the branches' shapes differ: {shapes}")
        mean: Any = {"shape": shapes[0], "values": _mean([one["tensor"]["values"] for one in data])}
    else:
        mean = _mean([one["ndarray"] for one in data])
    names = {"names": first["names"]} if "names" in first else {}
    return {"meta": {}, "data": {**names, form: mean}}


def _data(message: Any) -> dict[str, Any]:
    data = message.get("data") if isinstance(message, dict) else None
    if not isinstance(data, dict) or not ("tensor" in data or "ndarray" in data):
        raise PayloadError("AVERAGE_COMBINER: a branch's answer holds neither tensor nor ndarray")
    return data


def _mean(values: list[Any]) -> Any:
    if all(isinstance(value, list) for value in values):
        if len({len(value) for value in values}) > 1:
            raise PayloadError(f"AVERAGE_COMBINER: the branches' lengths differ: {[len(value) for value in values]}")
        return [_mean(list(column)) for column in zip(*values, strict=True)]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        raise PayloadError("AVERAGE_COMBINER: a branch answered something that is no number")
    return sum(values) / len(values)
