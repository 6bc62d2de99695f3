"""Protobuf messages as bytes: the few fields that the engine must know are found, and the rest is never decoded.

Pure. Messages on the wire are sequences of fields, and one message after another is their merge: a list of messages
is their bytes with a header before each, what comes later counts for single fields, and map entries and repeated
fields add up. So a combiner's input, a chain and the routing need no classes of messages, and tensors pass as bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from .payloads import ALL, JSON, Payload, PayloadError, Trail, Untold, route_json

#: What a payload is, as one message of V2 cannot be told from another by its bytes.
ASKED = "application/protobuf; message=request"
ANSWERED = "application/protobuf; message=response"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_STATUS, _META, _DATA = 1, 2, 3  # SeldonMessage
_PUID, _TAGS, _ROUTING, _PATH, _METRICS = 1, 2, 3, 4, 5  # Meta
_RESPONSE, _REWARD = 2, 3  # Feedback
Field = tuple[int, int, bytes]


def varint(value: int) -> bytes:
    """A whole number; negative ones as protobuf's int32 has them, in ten bytes."""
    value &= 2**64 - 1
    parts = bytearray()
    while value > 0x7F:  # noqa: PLR2004 (seven bits at a time)
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def member(number: int, value: bytes) -> bytes:
    """A field of text, bytes or a message."""
    return varint(number << 3 | _BYTES) + varint(len(value)) + value


def _read(body: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(body) or shift > 63:  # noqa: PLR2004 (64 bits)
            raise PayloadError("the message is no protobuf: it ends in the middle of a number")
        byte = body[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def fields(body: bytes) -> Iterator[Field]:
    """Number, wire type and content of each field; a number's content is its eight bytes."""
    at = 0
    while at < len(body):
        key, at = _read(body, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _read(body, at)
            yield key >> 3, kind, (value & 2**64 - 1).to_bytes(8, "little")
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if kind == _BYTES:
            size, at = _read(body, at)
        if size is None or at + size > len(body):
            raise PayloadError("the message is no protobuf: a field is longer than the message")
        yield key >> 3, kind, body[at : at + size]
        at += size


def first(body: bytes, number: int) -> bytes | None:
    """The content of a field; of several the last one counts."""
    found = None
    for one, _, content in fields(body):
        if one == number:
            found = content
    return found


def joined(body: bytes, number: int) -> bytes:
    """A field that is a message, merged of all its occurrences."""
    return b"".join(content for one, kind, content in fields(body) if one == number and kind == _BYTES)


def _again(number: int, kind: int, content: bytes) -> bytes:
    """A field as it was on the wire."""
    key = varint(number << 3 | kind)
    if kind == _VARINT:
        return key + varint(int.from_bytes(content, "little"))
    return member(number, content) if kind == _BYTES else key + content


def _whole(content: bytes) -> int:
    return int.from_bytes(content[:8], "little", signed=True)


def _numbers(data: bytes) -> Iterator[float]:
    """The numbers of a DefaultData, whichever of its forms it has."""
    for number, _, content in fields(data):
        if number == 2:  # noqa: PLR2004 (tensor)
            yield from _doubles(joined_or_plain(content, 2))
        elif number == 3:  # noqa: PLR2004 (ndarray)
            yield from _listed(content)
        elif number == 4:  # noqa: PLR2004 (tftensor: int_val and int64_val)
            for one, kind, packed in fields(content):
                if one in (7, 10):
                    yield from map(float, _packed(packed) if kind == _BYTES else [_whole(packed)])


def joined_or_plain(message: bytes, number: int) -> bytes:
    """A repeated field of fixed size, packed or not."""
    return b"".join(content for one, _, content in fields(message) if one == number)


def _doubles(content: bytes) -> Iterator[float]:
    for (value,) in struct.iter_unpack("<d", content[: len(content) // 8 * 8]):
        yield value


def _packed(content: bytes) -> Iterator[int]:
    at = 0
    while at < len(content):
        value, at = _read(content, at)
        yield _whole((value & 2**64 - 1).to_bytes(8, "little"))


def _listed(values: bytes) -> Iterator[float]:
    """The numbers of a google.protobuf.ListValue."""
    for number, _, value in fields(values):
        if number == 1:
            for kind, _, content in fields(value):
                if kind == 2:  # noqa: PLR2004 (number_value)
                    yield from _doubles(content)
                elif kind == 6:  # noqa: PLR2004 (list_value)
                    yield from _listed(content)


def routing(meta: bytes) -> dict[str, int]:
    """The choices that a Meta tells, by router."""
    found = {}
    for number, _, entry in fields(meta):
        if number == _ROUTING:
            name = (first(entry, 1) or b"").decode(errors="replace")
            found[name] = _whole(first(entry, 2) or b"\0" * 8)
    return found


class SeldonProto:
    """Seldon's own protocol over gRPC."""

    feeds_back = True

    def chain(self, payload: Payload) -> Payload:
        """Messages are requests and answers alike."""
        return payload

    def join(self, payloads: Sequence[Payload]) -> Payload:
        """A SeldonMessageList."""
        return Payload(b"".join(member(1, payload.body) for payload in payloads), ASKED)

    def route(self, payload: Payload) -> int:
        """The first number of the answer."""
        if payload.content_type == JSON:
            return route_json(payload)  # one of the engine's own routers
        for value in _numbers(joined(payload.body, _DATA)):
            if value == int(value):
                return int(value)
            break
        raise PayloadError("the router's answer names no branch: its data hold no whole number")

    def routes(self, feedback: Payload) -> Mapping[str, int]:
        """``response.meta.routing``."""
        return routing(joined(joined(feedback.body, _RESPONSE), _META))

    def reward(self, feedback: Payload) -> float:
        """``reward``."""
        content = first(feedback.body, _REWARD)
        return float(struct.unpack("<f", content)[0]) if content and len(content) == 4 else 0.0  # noqa: PLR2004  a float

    def meta(self, answer: Payload) -> bytes:
        """The Meta, as it is."""
        return b"" if answer.content_type == JSON else joined(answer.body, _META)

    def finish(self, payload: Payload, trail: Trail) -> Payload:
        """The answer, its Meta merged of all that were said."""
        rest: list[bytes] = []
        own = b""
        for number, kind, content in fields(payload.body):
            if number == _META:
                own += content
            else:
                rest.append(_again(number, kind, content))
        return replace(payload, body=member(_META, _merged(own, trail)) + b"".join(rest))


def _merged(own: bytes, trail: Trail) -> bytes:
    parts = dict.fromkeys(member(_PATH, _entry(name, member(2, image.encode()))) for name, image in trail.path.items())
    puid = trail.puid.encode()
    for meta in [*trail.metas, own]:
        for number, kind, content in fields(meta):
            if number == _PUID and meta is own and content:
                puid = content
            elif number not in (_PUID, _ROUTING):
                field = _again(number, kind, content)
                parts.pop(field, None)  # said again: what is said last counts
                parts[field] = None
    choices = (member(_ROUTING, _entry(name, b"\x10" + varint(branch))) for name, branch in trail.routing.items())
    return b"".join([member(_PUID, puid), *parts, *choices])


def _entry(key: str, value: bytes) -> bytes:
    return member(1, key.encode()) + value


class InferenceProto(Untold):
    """The Open Inference protocol (V2) over gRPC."""

    #: ModelInferResponse's parameters, outputs and raw contents are ModelInferRequest's, the last by another number.
    _kept: Mapping[int, int] = {4: 4, 5: 5, 6: 7}

    def chain(self, payload: Payload) -> Payload:
        """An answer's outputs as inputs."""
        if payload.content_type != ANSWERED:
            return payload
        found = (
            member(self._kept[number], content)
            for number, kind, content in fields(payload.body)
            if number in self._kept and kind == _BYTES
        )
        return Payload(b"".join(found), ASKED)

    def join(self, payloads: Sequence[Payload]) -> Payload:
        """There is no such message."""
        raise PayloadError(f"V2 over gRPC cannot combine {len(payloads)} answers: use REST, or Seldon's protocol")

    def route(self, payload: Payload) -> int:
        """The engine's own routers only: the protocol has no such method."""
        if payload.content_type == JSON:
            return route_json(payload)
        raise PayloadError("V2 over gRPC has no routers but the engine's own: use REST, or Seldon's protocol")

    def finish(self, payload: Payload, trail: Trail) -> Payload:
        """A request that no unit was asked with is no answer."""
        del trail
        if payload.content_type != ANSWERED:
            raise PayloadError("no unit answered: the graph led to none")
        return payload


__all__ = [
    "ALL",
    "ANSWERED",
    "ASKED",
    "InferenceProto",
    "SeldonProto",
    "fields",
    "first",
    "joined",
    "member",
    "routing",
]
