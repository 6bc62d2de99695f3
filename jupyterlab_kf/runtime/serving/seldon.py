"""Seldon's protocol in JSON: ``SeldonMessage``, lists of them, and ``Feedback``, to and from messages.

Pure. As Seldon's own wrapper does, whole numbers stay whole numbers, and what is unknown in a message is no error.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import orjson

from . import tensors
from .messages import Array, Feedback, Json, Kind, Message, Refusal, kind_of, mapping, sequence, shaped, tensor_of

EMPTY = np.array([])
WIDEST = 8
"""Bytes of the widest number that orjson writes."""
OPTIONS = orjson.OPT_SERIALIZE_NUMPY
FIELDS = "data, jsonData, strData, binData or customData"


def parse(body: bytes) -> Any:
    """JSON, or a refusal that says where it ends being JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if not body:
            raise Refusal("the request has no body: send a JSON object") from error
        raise Refusal(f"the body is not JSON: {error}") from error


def dump(value: object) -> bytes:
    """JSON. NaN and the infinities have no form there and become null."""
    try:
        return orjson.dumps(value, default=plain, option=OPTIONS)
    except TypeError as error:
        if "ecursion" in str(error):
            raise Refusal("the JSON is nested too deeply to be answered") from error
        raise Refusal(
            f"the answer cannot be written as JSON: {error}", code=500, reason="MICROSERVICE_BAD_RESPONSE"
        ) from error


def plain(value: object) -> object:
    """What orjson asks for when it meets something that is not JSON: NumPy's odd types and bytes."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, bytes):
        return tensors.to_text(value)
    if isinstance(value, set | frozenset):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


# In


def decode(body: bytes) -> Message:
    """A SeldonMessage."""
    return from_json(parse(body))


def decode_list(body: bytes) -> list[Message]:
    """What a combiner is sent: a bare array of messages, or ``{"seldonMessages": [...]}``."""
    value = parse(body)
    found = value.get("seldonMessages") if isinstance(value, dict) else value
    if not isinstance(found, list) or not found:
        raise Refusal('a combiner takes a JSON array of messages, or {"seldonMessages": [...]}, with at least one')
    return [from_json(one) for one in found]


def decode_feedback(body: bytes) -> Feedback:
    """A Feedback; each of its messages may be missing or empty."""
    value = mapping(parse(body), "feedback")
    reward = value.get("reward", 0.0)
    if isinstance(reward, bool) or not isinstance(reward, int | float):
        raise Refusal(f"the reward of a feedback is a number, not {kind_of(reward)}")
    parts = [from_json(value.get(name) or {}, empty=True) for name in ("request", "response", "truth")]
    return Feedback(request=parts[0], response=parts[1], reward=float(reward), truth=parts[2])


def from_json(value: object, *, empty: bool = False) -> Message:
    """A SeldonMessage as parsed JSON; one without a payload is refused unless it may be empty."""
    given = mapping(value, "a message")
    meta = _meta(given["meta"]) if given.get("meta") else {}
    status = given.get("status")
    message = Message(meta=meta, status=dict(status) if isinstance(status, Mapping) else None)
    if "data" in given:
        data = mapping(given["data"], "data")
        message.names = sequence(data.get("names"), "data.names")
        message.kind, message.data = _array(data)
        return message
    for kind, read in READERS.items():
        if kind in given:
            message.kind, message.data = kind, read(given[kind])
            return message
    if not empty:
        raise Refusal(f"the message has no payload: it needs {FIELDS}")
    return message


def _meta(value: object) -> Json:
    meta = dict(mapping(value, "meta"))
    for name in ("tags", "routing", "requestPath"):
        if name in meta:
            mapping(meta[name], f"meta.{name}")
    if "metrics" in meta:
        sequence(meta["metrics"], "meta.metrics")
    return meta


def _array(data: Mapping[str, Any]) -> tuple[Kind, Array]:
    if "ndarray" in data:
        return "ndarray", tensor_of(data["ndarray"], "data.ndarray")
    if "tensor" in data:
        tensor = mapping(data["tensor"], "data.tensor")
        values = tensor_of(tensor.get("values", []), "data.tensor.values")
        return "tensor", shaped(values, sequence(tensor.get("shape"), "data.tensor.shape"), "data.tensor")
    if "tftensor" in data:
        return "tftensor", tensors.from_tensor_proto(data["tftensor"], "data.tftensor")
    return "ndarray", EMPTY


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise Refusal(f"strData must be a string, not {kind_of(value)}")
    return value


READERS: dict[Kind, Callable[[Any], Any]] = {
    "jsonData": lambda value: value,
    "strData": _text,
    "binData": lambda value: tensors.from_base64(value, "binData"),
    "customData": lambda value: mapping(value, "customData"),
}


# Out


def encode(message: Message) -> bytes:
    """A SeldonMessage."""
    return dump(to_json(message))


def encode_list(messages: list[Message]) -> bytes:
    """What a combiner is sent."""
    return dump([to_json(one) for one in messages])


def encode_feedback(feedback: Feedback) -> bytes:
    """A Feedback."""
    return dump(feedback_to_json(feedback))


def feedback_to_json(feedback: Feedback) -> Json:
    """The same before it is text."""
    named = {"request": feedback.request, "response": feedback.response, "truth": feedback.truth}
    return {name: to_json(one) for name, one in named.items()} | {"reward": feedback.reward}


def to_json(message: Message) -> Json:
    """The same before it is text; its arrays may still be arrays."""
    value: Json = {}
    if message.kind in {"ndarray", "tensor", "tftensor"}:
        array = message.data
        data: Json = {"names": list(message.names)}
        if message.kind == "ndarray":
            data["ndarray"] = listed(array)
        elif message.kind == "tensor":
            data["tensor"] = {"shape": list(array.shape), "values": listed(array.ravel())}
        else:
            data["tftensor"] = tensors.to_tensor_proto(array)
        value["data"] = data
    elif message.kind == "binData":
        value["binData"] = base64.b64encode(message.data).decode()
    elif message.kind:
        value[message.kind] = message.data
    value["meta"] = message.meta
    if message.status is not None:
        value["status"] = message.status
    return value


def listed(array: Array) -> object:
    """An array as orjson takes it fastest: itself where it can, lists where it cannot."""
    if (
        array.dtype.kind in "iufb"
        and array.dtype.itemsize <= WIDEST
        and array.dtype.isnative
        and array.flags.c_contiguous
        and array.ndim
    ):
        return array
    return array.tolist()


def failure(refusal: Refusal) -> bytes:
    """What a client is told when there is no answer."""
    if refusal.body is not None:
        return refusal.body
    status = {"code": refusal.code, "info": refusal.info, "reason": refusal.reason, "status": "FAILURE"}
    return orjson.dumps({"status": status})
