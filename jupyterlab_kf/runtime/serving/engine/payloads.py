"""Payloads pass as the bytes they came as. What the engine itself must know of them, each protocol says here.

Pure. A :class:`Dialect` answers five questions: how an answer becomes the next unit's question, how several become
one, which branch a router chose, which branches a feedback went by, and how what the engine knows of a request gets
into its answer. Numbers, strings and tensors are never decoded: of a JSON object the members are found as slices of
the text (msgspec), of a protobuf message only field headers are read (:mod:`.wire`).
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import msgspec

JSON = "application/json"
ALL = -1
NONE = -2


class PayloadError(ValueError):
    """A payload is not what the graph needs at this place."""


@dataclass(frozen=True)
class Payload:
    """A body and what its headers said of it; ``head`` is the length of the JSON before binary tensors."""

    body: bytes
    content_type: str = JSON
    encoding: str = ""
    head: int | None = None

    def plain(self) -> Payload:
        """The same without compression."""
        if self.encoding != "gzip":
            return self
        try:
            return replace(self, body=gzip.decompress(self.body), encoding="")
        except (OSError, EOFError) as error:
            raise PayloadError(f"the body is said to be gzip and is not: {error}") from None


@dataclass
class Trail:
    """What is known of one request when it has gone through the graph."""

    puid: str = ""
    routing: dict[str, int] = field(default_factory=dict)
    path: dict[str, str] = field(default_factory=dict)
    metas: list[bytes] = field(default_factory=list)


class Dialect(Protocol):
    """What the engine must know of a protocol's payloads."""

    #: Whether feedback reaches units; Seldon has it for its own protocol only.
    feeds_back: bool

    def chain(self, payload: Payload) -> Payload:
        """An answer, or the first request, as a unit's request."""

    def join(self, payloads: Sequence[Payload]) -> Payload:
        """Several answers as one request of a combiner."""

    def route(self, payload: Payload) -> int:
        """The branch that a router's answer names."""

    def routes(self, feedback: Payload) -> Mapping[str, int]:
        """The branches, by router, that the answered request of a feedback took."""

    def reward(self, feedback: Payload) -> float:
        """The reward that a feedback tells; 0 for one that tells none."""

    def meta(self, answer: Payload) -> bytes:
        """What a unit says beside its data, in the words of the protocol; nothing mostly."""

    def finish(self, payload: Payload, trail: Trail) -> Payload:
        """The answer, with what the engine knows of its way."""


Members = dict[str, msgspec.Raw]
_members = msgspec.json.Decoder(Members)
_list = msgspec.json.Decoder(list[msgspec.Raw])


def members(body: bytes) -> Members:
    """The members of a JSON object as slices of its text."""
    try:
        return _members.decode(body)
    except msgspec.DecodeError as error:
        raise PayloadError(f"the payload is no JSON object: {error}") from None


def build(parts: Mapping[str, bytes | msgspec.Raw]) -> bytes:
    """A JSON object of such slices."""
    return b"{" + b",".join(msgspec.json.encode(name) + b":" + bytes(part) for name, part in parts.items()) + b"}"


def join_json(payloads: Sequence[Payload]) -> Payload:
    """The bare JSON array of the bodies, as Seldon's executor sends it to combiners."""
    bodies = []
    for payload in payloads:
        if payload.head is not None:
            raise PayloadError("binary tensors of several branches cannot be combined: ask for JSON tensors")
        body = payload.plain().body
        try:
            msgspec.json.decode(body, type=msgspec.Raw)
        except msgspec.DecodeError as error:
            raise PayloadError(f"a branch's answer is not JSON and cannot be combined: {error}") from None
        bodies.append(body)
    return Payload(b"[" + b",".join(bodies) + b"]", payloads[0].content_type)


def route_json(payload: Payload) -> int:
    """The first number of a router's answer: a Seldon message that holds one, or a JSON array, or a number."""
    try:
        answer = msgspec.json.decode(payload.plain().body)
    except msgspec.DecodeError as error:
        raise PayloadError(f"the router's answer is not JSON: {error}") from None
    data = answer.get("data") if isinstance(answer, dict) else answer
    if isinstance(data, dict):
        tensor = data.get("tensor")
        data = data.get("ndarray", tensor.get("values") if isinstance(tensor, dict) else None)
    while isinstance(data, list) and data:
        data = data[0]
    if isinstance(data, bool) or not isinstance(data, int | float) or data != int(data):
        raise PayloadError(f"the router's answer names no branch: {payload.body[:200].decode(errors='replace')}")
    return int(data)


class SeldonJson:
    """Seldon's own protocol over REST."""

    feeds_back = True

    def chain(self, payload: Payload) -> Payload:
        """Messages are requests and answers alike."""
        return payload

    def join(self, payloads: Sequence[Payload]) -> Payload:
        """As the executor does it."""
        return join_json(payloads)

    def route(self, payload: Payload) -> int:
        """A message or an array."""
        return route_json(payload)

    def routes(self, feedback: Payload) -> Mapping[str, int]:
        """``response.meta.routing``; a feedback without one goes everywhere."""
        response = members(feedback.plain().body).get("response")
        meta = _member(response, "meta")
        routing = _decoded(_member(meta, "routing"))
        if not isinstance(routing, dict):
            return {}
        return {str(name): int(value) for name, value in routing.items() if isinstance(value, int | float)}

    def reward(self, feedback: Payload) -> float:
        """The member ``reward``."""
        told = _decoded(members(feedback.plain().body).get("reward"))
        return float(told) if isinstance(told, int | float) else 0.0

    def meta(self, answer: Payload) -> bytes:
        """The member ``meta``; most answers have none, and are not even scanned."""
        if answer.encoding or b'"meta"' not in answer.body:
            return b""
        found = _member(answer.body, "meta")
        return b"" if found is None else bytes(found)

    def finish(self, payload: Payload, trail: Trail) -> Payload:
        """``meta`` of all units on the way, and the routing; the members beside it stay the bytes they were."""
        plain = payload.plain()
        try:
            parts = _members.decode(plain.body)
        except msgspec.DecodeError:
            return payload  # no message, as a unit with text of its own: there is no place to say anything
        own = _meta(parts.pop("meta", None))
        meta = _merged(own, [_meta(other) for other in trail.metas], trail)
        return replace(plain, body=build({"meta": msgspec.json.encode(meta), **parts}))


def _member(raw: bytes | msgspec.Raw | None, name: str) -> msgspec.Raw | None:
    if raw is None:
        return None
    try:
        return _members.decode(raw).get(name)
    except msgspec.DecodeError:
        return None


def _decoded(raw: msgspec.Raw | None) -> Any:
    return None if raw is None else msgspec.json.decode(raw)


def _meta(raw: bytes | msgspec.Raw | None) -> Members:
    if raw is None:
        return {}
    try:
        return _members.decode(raw)
    except msgspec.DecodeError:  # null, or what no unit of Seldon's would answer
        return {}


def _merged(own: Members, others: Sequence[Members], trail: Trail) -> dict[str, Any]:
    """The answer's own meta is right where two say something; what others said and it does not is added."""
    tags: dict[str, msgspec.Raw] = {}
    path: dict[str, Any] = dict(trail.path)
    metrics: dict[bytes, msgspec.Raw] = {}
    for meta in [*others, own]:
        tags.update(_meta(meta.get("tags")))
        path.update(_meta(meta.get("requestPath")))
        for metric in _metrics(meta.get("metrics")):
            metrics[bytes(metric)] = metric  # a unit that hands on its caller's meta must not count twice
    merged: dict[str, Any] = dict(own)
    if _decoded(own.get("puid")) in (None, ""):
        merged["puid"] = trail.puid
    merged["routing"] = trail.routing
    joined = {"tags": tags, "requestPath": path, "metrics": list(metrics.values())}
    return merged | {name: value for name, value in joined.items() if value}


def _metrics(raw: msgspec.Raw | None) -> list[msgspec.Raw]:
    if raw is None:
        return []
    try:
        return _list.decode(raw)
    except msgspec.DecodeError:
        return []


class Untold:
    """What protocols have in common that know no feedback and have no place for what the engine knows."""

    feeds_back = False

    def routes(self, feedback: Payload) -> Mapping[str, int]:
        """Nobody is told."""
        del feedback
        return {}

    def reward(self, feedback: Payload) -> float:
        """None."""
        del feedback
        return 0.0

    def meta(self, answer: Payload) -> bytes:
        """Nothing that could be handed on."""
        del answer
        return b""


class _Renaming(Untold):
    """Protocols whose answers are requests by another name of one member."""

    requests: tuple[str, ...]
    questions: Mapping[str, str]

    def chain(self, payload: Payload) -> Payload:
        """Rename the member of an answer; a request passes as it is."""
        plain = payload.plain()
        head = plain.body if plain.head is None else plain.body[: plain.head]
        parts = members(head)
        if any(name in parts for name in self.requests):
            return payload
        answer = next((name for name in self.questions if name in parts), "")
        if not answer:
            wanted = " nor ".join([*self.requests, *self.questions])
            raise PayloadError(f"the payload has neither {wanted}, so no unit can be asked with it")
        parts[self.questions[answer]] = parts.pop(answer)
        renamed = build(parts)
        if plain.head is None:
            return replace(plain, body=renamed)
        return replace(plain, body=renamed + plain.body[plain.head :], head=len(renamed))

    def join(self, payloads: Sequence[Payload]) -> Payload:
        """As the executor does it."""
        return join_json(payloads)

    def route(self, payload: Payload) -> int:
        """A Seldon message or an array."""
        return route_json(payload)

    def finish(self, payload: Payload, trail: Trail) -> Payload:
        """These protocols have no place for what the engine knows."""
        del trail
        return payload


class TensorflowJson(_Renaming):
    """TensorFlow Serving's REST protocol."""

    requests = ("instances", "inputs")
    questions: Mapping[str, str] = {"predictions": "instances", "outputs": "inputs"}


class InferenceJson(_Renaming):
    """The Open Inference protocol (V2) over REST, binary tensors included."""

    requests = ("inputs",)
    questions: Mapping[str, str] = {"outputs": "inputs"}


DIALECTS: dict[str, Dialect] = {
    "seldon": SeldonJson(),
    "tensorflow": TensorflowJson(),
    "v2": InferenceJson(),
    "kfserving": InferenceJson(),
}
