"""Predictions on the wire: what a person has (arrays, tables, images, text, bytes) to a request's body, and back.

Three protocols: Seldon's, Open Inference V2 and TensorFlow Serving's. Pure: no I/O. What went in as a table comes back
as one where the shapes allow; everything else comes back as NumPy arrays, or as the text, bytes or JSON that the model
answered with. Needs no pandas: a table is told by what it can do.
"""

from __future__ import annotations

import base64
import contextlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from jupyterlab_kf.errors import UsageError

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

PROTOCOLS: Final = ("seldon", "v2", "tensorflow")
_V2: Final[Mapping[str, str]] = {
    "bool": "BOOL", "uint8": "UINT8", "uint16": "UINT16", "uint32": "UINT32", "uint64": "UINT64", "int8": "INT8",
    "int16": "INT16", "int32": "INT32", "int64": "INT64", "float16": "FP16", "float32": "FP32", "float64": "FP64",
}  # fmt: skip
_NUMPY: Final = {name: dtype for dtype, name in _V2.items()}
_SELDON_KEYS: Final = frozenset({"data", "binData", "strData", "jsonData", "customData"})
_UNIT: Final = re.compile(r"(?P<unit>[a-z0-9][-a-z0-9]*): \w+\(\) raised ")
"""How a unit says that the user's code failed in it."""
_GIVE: Final = "give an array, a list of rows, a table, text or bytes"
_ROWS: Final = 2
"""Dimensions of a table."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request.

    Attributes:
        path: below the endpoint's own.
        message: what is sent, as JSON data.
        table: whether it was a table.
        index: the table's row labels.
        single: one row was given where the model takes several.
    """

    path: str
    message: Mapping[str, Any]
    table: bool = False
    index: Any = field(default=None, repr=False)
    single: bool = False

    @property
    def body(self) -> bytes:
        """The message as it travels."""
        import orjson

        try:
            return orjson.dumps(self.message, option=orjson.OPT_SERIALIZE_NUMPY, default=_rest)
        except TypeError as error:
            raise UsageError(f"this cannot be sent: {error.__cause__ or error}", hint=_GIVE) from error


def _rest(value: object) -> object:
    """What orjson does not know: arrays that do not lie in order, numbers of NumPy, and other lists."""
    tolist = getattr(value, "tolist", None)
    if callable(tolist):
        return tolist()
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode("ascii")}
    raise TypeError(f"a {type(value).__name__} cannot be sent as JSON")


def request(value: Any, *, protocol: str, model: str, names: Sequence[str] = (), known: Sequence[str] = ()) -> Sent:
    """The request that carries a value.

    Args:
        value: an array, list, table, image, text, bytes, or a message of the protocol as a dictionary.
        protocol: seldon, v2 or tensorflow.
        model: the name that the protocol asks for in its path.
        names: names of the columns, where the value has none.
        known: names of the columns that the model was fitted with, where that is known: a table's are put in order.

    Raises:
        UsageError: the value is of a kind that the protocol cannot carry, or a table that the model does not take.
    """
    path = {
        "seldon": "api/v1.0/predictions",
        "v2": f"v2/models/{model}/infer",
        "tensorflow": f"v1/models/{model}:predict",
    }[protocol]
    if isinstance(value, Mapping) and _is_message(value, protocol):
        return Sent(path, value)
    if value is None:
        raise UsageError("None is nothing that could be predicted for", hint=_GIVE)
    if _is_table(value):
        value = _in_order(value, known)
        columns = [str(one) for one in value.columns]
        message = _table(value, columns, protocol)
        return Sent(path, message, table=True, index=value.index)
    if protocol == "seldon" and isinstance(value, (str, bytes, bytearray, Mapping)):
        return Sent(path, _plain(value))
    single = _is_row(value)
    array = _array([value] if single else value)
    return Sent(path, _arrays(array, protocol, names), single=single)


def _is_message(value: Mapping[str, Any], protocol: str) -> bool:
    keys = {"seldon": _SELDON_KEYS, "v2": {"inputs"}, "tensorflow": {"instances", "inputs"}}[protocol]
    return bool(keys & value.keys())


def _is_table(value: Any) -> bool:
    return all(hasattr(value, name) for name in ("columns", "index", "to_numpy", "dtypes"))


def _in_order(table: Any, known: Sequence[str]) -> Any:
    """A table's columns as the model was fitted with them; as they are where it shares no name with the model.

    Raises:
        UsageError: it lacks one, or has one that the model was not fitted with.
    """
    given = [str(one) for one in table.columns]
    if given == list(known) or not set(given) & set(known):
        return table
    listed = f"the model was fitted with {', '.join(known)}"
    if missing := [one for one in known if one not in given]:
        raise UsageError(f"the table has no column {missing[0]!r}", hint=listed)
    if odd := [one for one in given if one not in known]:
        raise UsageError(f"the table has a column {odd[0]!r} that the model does not take", hint=listed)
    return table.iloc[:, [given.index(one) for one in known]]


def _is_row(value: Any) -> bool:
    """Whether this is one row, written without the outer brackets: ``[5.1, 3.5, 1.4, 0.2]``."""
    if isinstance(value, (list, tuple)):
        return bool(value) and not any(
            isinstance(one, (list, tuple, Mapping)) or hasattr(one, "shape") for one in value
        )
    return getattr(value, "shape", None) is not None and len(value.shape) == 1 and not hasattr(value, "to_frame")


def _plain(value: str | bytes | bytearray | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(value, str):
        return {"strData": value}
    if isinstance(value, (bytes, bytearray)):
        return {"binData": base64.b64encode(value).decode("ascii")}
    return {"jsonData": dict(value)}


def _array(value: Any) -> Array:
    import numpy as np

    if hasattr(value, "detach"):  # a tensor of PyTorch
        value = value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
        if array.dtype.kind in "US" and not hasattr(value, "dtype"):
            array = np.asarray(value, dtype=object)  # a number beside text stays a number
    except ValueError as error:
        raise UsageError(f"the rows do not have one length: {error}", hint="give each row the same columns") from error
    if array.dtype == object and not all(isinstance(one, (str, int, float, bool, type(None))) for one in array.flat):
        kinds = sorted({type(one).__name__ for one in array.flat})
        raise UsageError(
            f"a prediction cannot be asked for {', '.join(kinds[:4])}",
            hint=_GIVE,
        )
    return _sendable(array)


def _sendable(array: Array) -> Array:
    """The array, if JSON can carry its numbers: NaN travels as null, and nothing stands for infinity.

    Raises:
        UsageError: it cannot.
    """
    import numpy as np

    if array.dtype.kind in "cV":
        raise UsageError(f"numbers of type {array.dtype} cannot be sent as JSON", hint="send their parts as columns")
    if array.dtype.kind == "f" and np.isinf(array).any():
        raise UsageError(
            "the rows have infinite numbers, which JSON cannot carry", hint="replace them, by NaN or by large numbers"
        )
    return array


def _arrays(array: Array, protocol: str, names: Sequence[str]) -> dict[str, Any]:
    import numpy as np

    if protocol == "tensorflow":
        return {"instances": np.ascontiguousarray(array) if array.dtype != object else array.tolist()}
    if protocol == "v2":
        return {"inputs": [_v2_tensor("input-0", array)]}
    told = {"names": list(names)} if names else {}
    if array.dtype.kind in "fiu":
        return {"data": {**told, "tensor": {"shape": list(array.shape), "values": np.ascontiguousarray(array).ravel()}}}
    return {"data": {**told, "ndarray": array.tolist()}}


def _table(value: Any, columns: Sequence[str], protocol: str) -> dict[str, Any]:
    array = _sendable(value.to_numpy())
    if protocol != "v2" or array.dtype.kind in "fiub":
        return _arrays(array, protocol, columns)
    return {"inputs": [_v2_tensor(name, value.iloc[:, at].to_numpy()) for at, name in enumerate(columns)]}


def _v2_tensor(name: str, array: Array) -> dict[str, Any]:
    import numpy as np

    datatype = _V2.get(str(array.dtype))
    if datatype is None:  # text
        data: Any = [str(one) for one in array.flat]
        return {"name": name, "shape": list(array.shape), "datatype": "BYTES", "data": data}
    data = np.ascontiguousarray(array).ravel()
    if datatype == "FP16":
        data = data.astype(np.float32)  # JSON has no half
    return {"name": name, "shape": list(array.shape), "datatype": datatype, "data": data}


# Answers


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back of one prediction.

    Attributes:
        value: the prediction itself.
        names: names of its columns.
        tags: what the units said beside it.
        routing: router to the number of the branch that it chose; feedback needs it.
        path: which units answered, unit to image.
        version: the endpoint's version that answered, where it is known.
        puid: the request's identity.
        seconds: how long it took, the way there and back included.
        request: what was sent.
        response: what came back.
    """

    value: Any
    names: tuple[str, ...] = ()
    tags: Mapping[str, Any] = field(default_factory=dict)
    routing: Mapping[str, int] = field(default_factory=dict)
    path: Mapping[str, str] = field(default_factory=dict)
    version: str = ""
    puid: str = ""
    seconds: float = 0.0
    request: Mapping[str, Any] = field(default_factory=dict, repr=False)
    response: Mapping[str, Any] = field(default_factory=dict, repr=False)


def answer(content: bytes, sent: Sent, *, protocol: str, seconds: float = 0.0) -> Answer:
    """What a response's body says.

    Raises:
        ValueError: it is not a message of the protocol.
    """
    message = json.loads(content)
    if not isinstance(message, dict):
        raise ValueError(f"a {type(message).__name__} where a message was expected")  # noqa: TRY004  it is the text that is wrong
    reader = {"seldon": _seldon_value, "v2": _v2_value, "tensorflow": _tensorflow_value}[protocol]
    value, names = reader(message)
    meta = message.get("meta") or {}
    return Answer(
        value=_shaped(value, names, sent),
        names=tuple(names),
        tags=meta.get("tags") or {},
        routing=meta.get("routing") or {},
        path=meta.get("requestPath") or {},
        puid=str(meta.get("puid") or message.get("id") or ""),
        seconds=seconds,
        request=json.loads(sent.body),
        response=message,
    )


def of_version(found: Answer, units: Mapping[str, str]) -> Answer:
    """The answer with the version that gave it, told by a unit on its way that only one version has."""
    return replace(found, version=next((units[unit] for unit in found.path if units.get(unit)), found.version))


def _seldon_value(message: Mapping[str, Any]) -> tuple[Any, list[str]]:
    if "strData" in message:
        return message["strData"], []
    if "binData" in message:
        return base64.b64decode(message["binData"]), []
    if "jsonData" in message:
        return message["jsonData"], []
    data = message.get("data")
    if not isinstance(data, Mapping):
        return None, []
    names = [str(one) for one in data.get("names") or ()]
    if "tensor" in data:
        import numpy as np

        tensor = data["tensor"]
        return _numbers(np.asarray(tensor.get("values", []))).reshape(tensor.get("shape", [-1])), names
    return _list(data.get("ndarray")), names


def _v2_value(message: Mapping[str, Any]) -> tuple[Any, list[str]]:
    outputs = message.get("outputs")
    if not isinstance(outputs, list):
        raise ValueError("there are no outputs in it")  # noqa: TRY004  it is the text that is wrong
    found = {str(one.get("name")): _v2_array(one) for one in outputs}
    return (next(iter(found.values())) if len(found) == 1 else found), []


def _v2_array(output: Mapping[str, Any]) -> Array:
    import numpy as np

    dtype = _NUMPY.get(str(output.get("datatype")))
    array = np.asarray(output.get("data"), dtype=dtype) if dtype else np.asarray(output.get("data"))
    return array.reshape(output.get("shape") or [-1])


def _tensorflow_value(message: Mapping[str, Any]) -> tuple[Any, list[str]]:
    if "predictions" in message:
        return _list(message["predictions"]), []
    if "outputs" in message:
        return _list(message["outputs"]), []
    raise ValueError("there are no predictions in it")


def _list(value: Any) -> Any:
    """A list as an array where its rows have one length; as it is where they have not."""
    import numpy as np

    if not isinstance(value, list):
        return value
    try:
        found = np.asarray(value)
        return _numbers(found) if found.dtype.kind not in "US" else _mixed(np.asarray(value, dtype=object), found)
    except ValueError:
        return value


def _numbers(array: Array) -> Array:
    """The array, as one of numbers where only null stands beside them: that is how NaN comes back."""
    if array.dtype == object and all(one is None or type(one) in (int, float) for one in array.flat):
        return array.astype(float)
    return array


def _mixed(cells: Array, texts: Array) -> Array:
    """Text as it is; a number beside text stays a number."""
    return texts if all(isinstance(one, str) for one in cells.flat) else cells


def _shaped(value: Any, names: Sequence[str], sent: Sent) -> Any:
    """The value in the shape of what was asked: a table for a table, one row for one row."""
    shape = getattr(value, "shape", None)
    if shape is None:
        return value
    if sent.single and len(shape) and shape[0] == 1:
        return value[0]
    if sent.table and len(shape) and shape[0] == len(sent.index):
        import pandas as pd

        if len(shape) == _ROWS:
            columns = list(names) if len(names) == shape[1] else None
            return pd.DataFrame(value, index=sent.index, columns=columns)
        if len(shape) == 1:
            return pd.Series(value, index=sent.index, name="prediction")
    return value


def feedback(
    request: Mapping[str, Any] | None, response: Mapping[str, Any] | None, reward: float | None, truth: Any
) -> bytes:
    """The body of a feedback, as Seldon's protocol has it."""
    message: dict[str, Any] = {"request": request or {}, "response": response or {}}
    if reward is not None:
        message["reward"] = _reward(reward)
    if truth is not None:
        known = isinstance(truth, Mapping) and _is_message(truth, "seldon")
        single = [truth] if getattr(truth, "shape", None) == () or isinstance(truth, (str, int, float, bool)) else truth
        message["truth"] = truth if known else _arrays(_array(single), "seldon", ())
    import orjson

    return orjson.dumps(message, option=orjson.OPT_SERIALIZE_NUMPY, default=_rest)


def _reward(value: Any) -> float:
    """A reward as the protocol has it.

    Raises:
        UsageError: it is no number.
    """
    with contextlib.suppress(TypeError, ValueError):
        if math.isfinite(found := float(value)):
            return found
    raise UsageError(f"the reward is {value!r}, which is no number", hint="1 is usual for right, 0 for wrong")


@dataclass(frozen=True, slots=True)
class Failure:
    """What an error's body says: a sentence, the unit that failed, its traceback."""

    sentence: str
    unit: str = ""
    traceback: str = ""


def failure(content: bytes, status: int) -> Failure:
    """The reason in an error's body, whichever protocol it is of."""
    text = content.decode(errors="replace").strip()
    try:
        message = json.loads(text)
    except ValueError:
        return Failure(text.splitlines()[0][:500] if text else f"status {status} and nothing more")
    if not isinstance(message, dict):
        return Failure(text[:500])
    told = message.get("status") if isinstance(message.get("status"), Mapping) else message
    assert isinstance(told, Mapping)  # noqa: S101  for the type checker: both are
    sentence = next((str(told[key]) for key in ("info", "error", "reason", "message") if told.get(key)), text[:500])
    named = _UNIT.match(sentence)
    unit = str(told.get("unit") or (named["unit"] if named else ""))
    return Failure(sentence, unit, str(told.get("traceback") or ""))
