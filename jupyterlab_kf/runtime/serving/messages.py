"""What all protocols meet in: a payload with its kind, names and meta, and the refusal that each protocol can say.

Pure. A message is decoded once, at the edge, and encoded once; in between it is handed on as it is. ``meta`` and
``status`` keep the shape that Seldon's protocol has in JSON, since units and engine only ever merge them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Json = dict[str, Any]
Kind = Literal["ndarray", "tensor", "tftensor", "strData", "binData", "jsonData", "customData", ""]
ARRAYS: frozenset[str] = frozenset(("ndarray", "tensor", "tftensor"))


@dataclass(slots=True)
class Message:
    """One payload.

    ``data`` is, by ``kind``: an array (ndarray, tensor, tftensor), a string (strData), bytes (binData), any JSON value
    (jsonData), the JSON form of a protobuf Any (customData), or nothing at all (""). ``names`` are the columns of an
    array. ``source`` is the protobuf that it came as, where it came as one: raw methods of a class take that.
    """

    data: Any = None
    kind: Kind = ""
    names: Sequence[str] = ()
    meta: Json = field(default_factory=dict)
    status: Json | None = None
    source: Any = None


@dataclass(slots=True)
class Feedback:
    """What is told about an answer afterwards: what was asked, what was answered, how good it was, what was true."""

    request: Message = field(default_factory=Message)
    response: Message = field(default_factory=Message)
    reward: float = 0.0
    truth: Message = field(default_factory=Message)


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model, in the words of the Open Inference protocol; -1 in a shape is any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a model takes and gives, as far as it can be known."""

    inputs: tuple[TensorSpec, ...] = ()
    outputs: tuple[TensorSpec, ...] = ()
    platform: str = ""


class Refusal(Exception):  # noqa: N818  what is said to a client is not always an error of ours
    """Why there is no answer, with the HTTP code that says whose fault it is.

    ``reason`` is a word for programs, the text is for people. ``body`` is what the user's own error handler made of it,
    already JSON, and is sent as it is.
    """

    def __init__(
        self, info: str, *, code: int = 400, reason: str = "MICROSERVICE_BAD_DATA", body: bytes | None = None
    ) -> None:
        super().__init__(info)
        self.info = info
        self.code = code
        self.reason = reason
        self.body = body


def tensor_of(value: object, what: str) -> Array:
    """An array of nested lists that came from a client, or a refusal that says what is wrong with them."""
    try:
        return np.asarray(value)
    except (ValueError, OverflowError, TypeError) as error:
        text = str(error).split("The detected shape")[0].strip()
        raise Refusal(f"{what} is not an array: rows must have equal lengths, at most 64 deep ({text})") from error


def shaped(array: Array, shape: Sequence[Any], what: str) -> Array:
    """The values in the shape that a client claims for them."""
    if not all(isinstance(size, int) and not isinstance(size, bool) and size >= 0 for size in shape):
        raise Refusal(f"{what}: a shape is a list of whole numbers that are not negative, not {list(shape)!r}")
    wanted = 1
    for size in shape:
        wanted *= size
    if wanted != array.size:
        raise Refusal(f"{what} has {array.size} values, and its shape {list(shape)} needs {wanted}")
    try:
        return array.reshape(tuple(shape))
    except (ValueError, OverflowError) as error:
        raise Refusal(f"{what}: no array can have the shape {list(shape)}") from error


def mapping(value: object, what: str) -> Mapping[str, Any]:
    """A JSON object that is to be one."""
    if not isinstance(value, Mapping):
        raise Refusal(f"{what} must be a JSON object, not {kind_of(value)}")
    return value


def sequence(value: object, what: str) -> list[Any]:
    """A JSON array that is to be one; what is not there is empty."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise Refusal(f"{what} must be a JSON array, not {kind_of(value)}")
    return value


def kind_of(value: object) -> str:
    """How a JSON value is called."""
    names = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return names.get(type(value), "a number" if isinstance(value, int | float) else type(value).__name__)
