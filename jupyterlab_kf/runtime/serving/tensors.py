"""Numbers on the wire: the data types of the Open Inference protocol and of TensorFlow, and their raw bytes.

Pure. Values are checked against the type that a client declares: what does not fit is refused, never wrapped around.
"""

from __future__ import annotations

import base64
import binascii
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .messages import Array, Refusal, mapping, sequence, shaped, tensor_of

DTYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BYTES": np.dtype(object),
}
DATATYPES = {dtype: name for name, dtype in DTYPES.items()}
# Number on the wire, our name, and where a TensorProto keeps values of the type.
TENSORFLOW: dict[str, tuple[int, str, str]] = {
    "DT_FLOAT": (1, "FP32", "floatVal"),
    "DT_DOUBLE": (2, "FP64", "doubleVal"),
    "DT_INT32": (3, "INT32", "intVal"),
    "DT_UINT8": (4, "UINT8", "intVal"),
    "DT_INT16": (5, "INT16", "intVal"),
    "DT_INT8": (6, "INT8", "intVal"),
    "DT_STRING": (7, "BYTES", "stringVal"),
    "DT_INT64": (9, "INT64", "int64Val"),
    "DT_BOOL": (10, "BOOL", "boolVal"),
    "DT_UINT16": (17, "UINT16", "intVal"),
    "DT_HALF": (19, "FP16", "halfVal"),
    "DT_UINT32": (22, "UINT32", "uint32Val"),
    "DT_UINT64": (23, "UINT64", "uint64Val"),
}
LARGEST_REPEAT = 1 << 24
TF_NUMBERS = {number: name for name, (number, _, _) in TENSORFLOW.items()}
TF_NAMES = {datatype: name for name, (_, datatype, _) in TENSORFLOW.items()}


def datatype_of(array: Array) -> str:
    """The name of an array's type; text and other objects are BYTES."""
    if array.dtype.kind in "USO":
        return "BYTES"
    found = DATATYPES.get(array.dtype.newbyteorder("="))
    if found is None:
        raise Refusal(
            f"the model answered numbers of type {array.dtype}, which the protocol has no name for",
            code=500,
            reason="MICROSERVICE_BAD_RESPONSE",
        )
    return found


def dtype_of(datatype: object, what: str) -> np.dtype[Any]:
    """NumPy's type for a name."""
    found = DTYPES.get(datatype) if isinstance(datatype, str) else None
    if not datatype:
        raise Refusal(f"{what} says no datatype; there are {', '.join(DTYPES)}")
    if found is None:
        raise Refusal(f"{what}: there is no datatype {datatype!r}; there are {', '.join(DTYPES)}")
    return found


def from_values(values: object, datatype: str, shape: Sequence[Any], what: str) -> Array:
    """JSON values, nested or flat, as an array of the declared type and shape."""
    dtype = dtype_of(datatype, what)
    if datatype == "BYTES":
        return shaped(_texts(values, what), shape, what)
    given = tensor_of(values, what)
    if given.dtype == dtype:
        return shaped(given, shape, what)
    return shaped(_cast(given, values, dtype, f"{what} ({datatype})"), shape, what)


def _cast(given: Array, values: object, dtype: np.dtype[Any], what: str) -> Array:
    if given.size == 0:
        return np.zeros(given.shape, dtype)
    allowed = {"b": "b", "f": "fiuO"}.get(dtype.kind, "iufO")
    if given.dtype.kind not in allowed:
        raise Refusal(f"{what} has values of another type, such as {given.ravel()[:1].tolist()[0]!r}")
    try:
        with np.errstate(over="ignore"):
            if dtype.kind == "f":
                return given.astype(dtype)
            if given.dtype.kind in "fO":
                # Whole numbers beyond 2**63 are no int64; NumPy takes them for floats unless it is told.
                _refuse_fractions(values, what)
            return np.array(values, dtype=dtype)
    except (ValueError, OverflowError, TypeError) as error:
        raise Refusal(f"{what} has values that do not fit: {error}") from error


def _refuse_fractions(values: object, what: str) -> None:
    waiting = [values]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting.extend(one)
        elif isinstance(one, bool) or not isinstance(one, int):
            raise Refusal(f"{what} has a value that is no whole number: {one!r}")


def _texts(values: object, what: str) -> Array:
    """Strings of any nesting as bytes."""
    flat: list[bytes] = []
    waiting = [values]
    while waiting:
        one = waiting.pop()
        if isinstance(one, list):
            waiting.extend(reversed(one))
        elif isinstance(one, str):
            flat.append(one.encode())
        else:
            raise Refusal(f"{what} (BYTES) has a value that is no string: {one!r}")
    return objects(flat)


def objects(values: Sequence[Any]) -> Array:
    """A flat array of Python objects; NumPy would look into them."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def from_raw(raw: bytes | memoryview, datatype: str, shape: Sequence[Any], what: str) -> Array:
    """Little-endian bytes as an array."""
    if datatype == "BYTES":
        return shaped(objects(_strings(raw, what)), shape, what)
    if datatype == "BF16":
        if len(raw) % 2:
            raise Refusal(f"{what} has {len(raw)} bytes, which is no whole number of BF16 values")
        wide = np.frombuffer(raw, dtype="<u2").astype(np.uint32) << 16
        return shaped(wide.view(np.float32), shape, what)
    dtype = dtype_of(datatype, what)
    if len(raw) % dtype.itemsize:
        raise Refusal(f"{what} has {len(raw)} bytes, which is no whole number of {datatype} values")
    return shaped(np.frombuffer(raw, dtype=dtype.newbyteorder("<")).astype(dtype, copy=False), shape, what)


def _strings(raw: bytes | memoryview, what: str) -> list[bytes]:
    found: list[bytes] = []
    at, end = 0, len(raw)
    while at < end:
        size = struct.unpack_from("<I", raw, at)[0] if at + 4 <= end else end
        at += 4
        if at + size > end:
            raise Refusal(f"{what} (BYTES) ends within a string: each is a length of 4 bytes and that many bytes")
        found.append(bytes(raw[at : at + size]))
        at += size
    return found


def to_raw(array: Array) -> bytes:
    """An array as little-endian bytes."""
    if datatype_of(array) != "BYTES":
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    parts = [to_bytes(one) for one in array.ravel()]
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def to_bytes(value: object) -> bytes:
    """One element of an array of strings or objects."""
    return bytes(value) if isinstance(value, bytes | bytearray) else str(value).encode()


def to_text(value: object) -> str:
    """The same where only text can be said."""
    if not isinstance(value, bytes | bytearray):
        return str(value)
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise Refusal(
            "the model answered bytes that are no UTF-8 text: ask for binary output, which can hold them",
            code=500,
            reason="MICROSERVICE_BAD_RESPONSE",
        ) from error


def from_base64(text: object, what: str) -> bytes:
    """Bytes that came as text."""
    try:
        if isinstance(text, str | bytes):
            return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        pass
    raise Refusal(f"{what} must be a string of base64")


# TensorFlow's TensorProto in its JSON form.


def from_tensor_proto(value: object, what: str) -> Array:
    """A TensorProto; a value that is left out at its end repeats the last one, as TensorFlow has it."""
    proto = {_camel(key): one for key, one in mapping(value, what).items()}
    name = proto.get("dtype", "DT_FLOAT")
    name = TF_NUMBERS.get(name, name) if isinstance(name, int) else name
    if name not in TENSORFLOW:
        raise Refusal(f"{what}: the dtype {name!r} is not served; there are {', '.join(TENSORFLOW)}")
    _, datatype, place = TENSORFLOW[name]
    shape = _proto_shape(proto.get("tensorShape") or {}, what)
    if proto.get("tensorContent"):
        return from_raw(from_base64(proto["tensorContent"], what), datatype, shape, what)
    values = sequence(proto.get(place), f"{what}: {place}")
    return shaped(repeated(_proto_values(values, datatype, what), shape), shape, what)


def repeated(values: Array, shape: Sequence[int]) -> Array:
    """Values with the last one repeated as often as a shape needs; none at all are zeros."""
    wanted = 1
    for size in shape:
        wanted *= size
    missing = wanted - values.size
    if missing <= 0:
        return values
    if wanted > LARGEST_REPEAT:
        raise Refusal(f"a tensor of {wanted} values is too large to be written as one that repeats", code=413)
    if values.size == 0:
        return np.zeros(wanted, values.dtype)
    return np.concatenate([values, np.repeat(values[-1:], missing)])


def _proto_values(values: list[Any], datatype: str, what: str) -> Array:
    if datatype == "BYTES":
        return objects([from_base64(one, what) for one in values])
    if datatype == "FP16":
        bits = from_values(values, "UINT16", [len(values)], what)
        return bits.view(np.float16)
    try:
        # 64-bit numbers are strings in protobuf's JSON, and so are NaN and the infinities.
        plain = [_number(one) if isinstance(one, str) else one for one in values]
    except ValueError as error:
        raise Refusal(f"{what} has a value that is no number: {error}") from error
    return from_values(plain, datatype, [len(plain)], what)


def _number(text: str) -> int | float:
    return float(text) if text in {"NaN", "Infinity", "-Infinity"} else int(text)


def _proto_shape(value: object, what: str) -> list[int]:
    shape = {_camel(key): one for key, one in mapping(value, what).items()}
    sizes: list[int] = []
    for dim in sequence(shape.get("dim"), f"{what}: dim"):
        try:
            sizes.append(int(mapping(dim, what).get("size", 0)))
        except (TypeError, ValueError) as error:
            raise Refusal(f"{what}: a size of the shape is no number: {dim!r}") from error
    return sizes


def _camel(key: str) -> str:
    first, *rest = key.split("_")
    return first + "".join(part.title() for part in rest)


def to_tensor_proto(array: Array) -> Mapping[str, Any]:
    """The same way back."""
    name = TF_NAMES[datatype_of(array)]
    shape = {"dim": [{"size": str(size)} for size in array.shape]}
    if name == "DT_STRING":
        texts = [base64.b64encode(to_bytes(one)).decode() for one in array.ravel()]
        return {"dtype": name, "tensorShape": shape, "stringVal": texts}
    return {"dtype": name, "tensorShape": shape, "tensorContent": base64.b64encode(to_raw(array)).decode()}
