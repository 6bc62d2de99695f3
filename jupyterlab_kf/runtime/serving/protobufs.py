"""The gRPC protocols' messages to and from ours: Seldon's, Open Inference's and TensorFlow's.

Pure. Values pass without protobuf's JSON in between, which costs more than most models. All numbers of ``ndarray`` and
``jsonData`` are doubles there: that is the protocol, not a choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from . import openinference, tensors
from .messages import Array, Feedback, Json, Message, Refusal, shaped, tensor_of
from .protos import message

Proto = Any
TYPES = ("COUNTER", "GAUGE", "TIMER")
# Where an Open Inference request has values that are not raw; FP16 has no such place.
CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
TF_FIELDS = {
    "FP32": "float_val",
    "FP64": "double_val",
    "INT32": "int_val",
    "UINT8": "int_val",
    "INT16": "int_val",
    "INT8": "int_val",
    "UINT16": "int_val",
    "BYTES": "string_val",
    "INT64": "int64_val",
    "BOOL": "bool_val",
    "FP16": "half_val",
    "UINT32": "uint32_val",
    "UINT64": "uint64_val",
}


# Seldon


def from_seldon(proto: Proto, *, empty: bool = False) -> Message:
    """A SeldonMessage; one without a payload is refused unless it may be empty."""
    found = Message(meta=_from_meta(proto.meta), source=proto)
    kind = proto.WhichOneof("data_oneof")
    if kind == "data":
        found.names = list(proto.data.names)
        found.kind, found.data = _from_data(proto.data)
    elif kind == "jsonData":
        found.kind, found.data = kind, from_value(proto.jsonData)
    elif kind == "customData":
        found.kind, found.data = kind, {"@type": proto.customData.type_url, "value": proto.customData.value}
    elif kind is not None:
        found.kind, found.data = kind, getattr(proto, kind)
    elif not empty:
        raise Refusal("the message has no payload: it needs data, jsonData, strData, binData or customData")
    if proto.HasField("status"):
        status = proto.status
        told = "FAILURE" if status.status else "SUCCESS"
        found.status = {"code": status.code, "info": status.info, "reason": status.reason, "status": told}
    return found


def _from_data(data: Proto) -> tuple[Any, Array]:
    kind = data.WhichOneof("data_oneof")
    if kind == "tensor":
        return kind, shaped(np.array(data.tensor.values), list(data.tensor.shape), "data.tensor")
    if kind == "tftensor":
        return kind, from_tensor(data.tftensor, "data.tftensor")
    values = [from_value(one) for one in data.ndarray.values]
    return "ndarray", tensor_of(values, "data.ndarray")


def from_value(value: Proto) -> Any:
    """A ``google.protobuf.Value`` as plain JSON."""
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        return [from_value(one) for one in value.list_value.values]
    if kind == "struct_value":
        return {name: from_value(one) for name, one in value.struct_value.fields.items()}
    return None if kind in {None, "null_value"} else getattr(value, kind)


def _from_meta(meta: Proto) -> Json:
    found: Json = {}
    if meta.puid:
        found["puid"] = meta.puid
    if meta.tags:
        found["tags"] = {name: from_value(one) for name, one in meta.tags.items()}
    if meta.routing:
        found["routing"] = dict(meta.routing)
    if meta.requestPath:
        found["requestPath"] = dict(meta.requestPath)
    if meta.metrics:
        found["metrics"] = [_from_metric(one) for one in meta.metrics]
    return found


def _from_metric(metric: Proto) -> Json:
    told = {"key": metric.key, "type": TYPES[metric.type] if metric.type < len(TYPES) else "COUNTER"}
    return {**told, "value": metric.value, **({"tags": dict(metric.tags)} if metric.tags else {})}


def feedback(proto: Proto) -> Feedback:
    """A Feedback; each of its messages may be empty."""
    parts = [from_seldon(one, empty=True) for one in (proto.request, proto.response, proto.truth)]
    return Feedback(request=parts[0], response=parts[1], reward=proto.reward, truth=parts[2])


def to_feedback(given: Feedback) -> Proto:
    """The same way back."""
    made = message("seldon.protos.Feedback")(reward=given.reward)
    for name in ("request", "response", "truth"):
        getattr(made, name).CopyFrom(to_seldon(getattr(given, name)))
    return made


def to_seldon(given: Message) -> Proto:
    """A SeldonMessage."""
    made = message("seldon.protos.SeldonMessage")()
    kind = given.kind
    if kind in {"ndarray", "tensor", "tftensor"}:
        made.data.names.extend(str(one) for one in given.names)
        _to_data(made.data, kind, given.data)
    elif kind == "jsonData":
        set_value(made.jsonData, given.data)
    elif kind == "customData":
        made.customData.type_url, made.customData.value = given.data["@type"], _any_value(given.data.get("value", b""))
    elif kind:
        setattr(made, kind, given.data)
    _to_meta(made.meta, given.meta)
    if given.status is not None:
        _to_status(made.status, given.status)
    return made


def _any_value(value: object) -> bytes:
    return value if isinstance(value, bytes) else tensors.from_base64(value, "customData.value")


def _to_data(data: Proto, kind: str, array: Array) -> None:
    if kind == "tensor":
        data.tensor.shape.extend(array.shape)
        data.tensor.values.extend(array.ravel().tolist())
    elif kind == "tftensor":
        data.tftensor.CopyFrom(to_tensor(array))
    else:
        data.ndarray.SetInParent()
        for one in array.tolist():
            set_value(data.ndarray.values.add(), one)


def set_value(value: Proto, given: Any) -> None:
    """Plain JSON into a ``google.protobuf.Value``."""
    if isinstance(given, bool | np.bool_):
        value.bool_value = bool(given)
    elif isinstance(given, int | float | np.number):
        value.number_value = float(given)
    elif isinstance(given, str):
        value.string_value = given
    elif isinstance(given, bytes):
        value.string_value = tensors.to_text(given)
    elif isinstance(given, Mapping):
        value.struct_value.SetInParent()
        for name, one in given.items():
            set_value(value.struct_value.fields[str(name)], one)
    elif isinstance(given, list | tuple | np.ndarray):
        value.list_value.SetInParent()
        for one in given:
            set_value(value.list_value.values.add(), one)
    elif given is None:
        value.null_value = 0
    else:
        told = f"the answer holds {type(given).__name__}, which has no JSON form"
        raise Refusal(told, code=500, reason="MICROSERVICE_BAD_RESPONSE")


def _to_meta(proto: Proto, meta: Json) -> None:
    proto.SetInParent()
    proto.puid = str(meta.get("puid") or "")
    for name, one in (meta.get("tags") or {}).items():
        set_value(proto.tags[str(name)], one)
    for name, one in (meta.get("routing") or {}).items():
        proto.routing[str(name)] = int(one)
    for name, one in (meta.get("requestPath") or {}).items():
        proto.requestPath[str(name)] = str(one)
    for one in meta.get("metrics") or ():
        metric = proto.metrics.add(key=str(one["key"]), value=float(one["value"]))
        metric.type = TYPES.index(one.get("type", "COUNTER"))
        for name, tag in (one.get("tags") or {}).items():
            metric.tags[str(name)] = str(tag)


def _to_status(proto: Proto, status: Json) -> None:
    proto.code = int(status.get("code") or 0)
    proto.info, proto.reason = str(status.get("info") or ""), str(status.get("reason") or "")
    proto.status = 1 if status.get("status") in {1, "FAILURE"} else 0


def to_metadata(metadata: Json) -> Proto:
    """``SeldonModelMetadata``."""
    name, platform = str(metadata.get("name", "")), str(metadata.get("platform", ""))
    made = message("seldon.protos.SeldonModelMetadata")(name=name, platform=platform)
    made.versions.extend(str(one) for one in metadata.get("versions") or ())
    for field in ("inputs", "outputs"):
        for one in metadata.get(field) or ():
            entry = getattr(made, field).add()
            for key in ("messagetype", "name", "datatype"):
                setattr(entry, key, str(one.get(key, "")))
            entry.shape.extend(int(size) for size in one.get("shape") or ())
            if "schema" in one:
                set_value(entry.schema, one["schema"])
    for key, value in (metadata.get("custom") or {}).items():
        made.custom[str(key)] = str(value)
    return made


# TensorFlow


def from_tensor(proto: Proto, what: str) -> Array:
    """A TensorProto."""
    name = tensors.TF_NUMBERS.get(proto.dtype)
    if name is None:
        raise Refusal(f"{what}: the dtype {proto.dtype} is not served; there are {', '.join(tensors.TENSORFLOW)}")
    datatype = tensors.TENSORFLOW[name][1]
    shape = [int(one.size) for one in proto.tensor_shape.dim]
    if proto.tensor_content:
        return tensors.from_raw(proto.tensor_content, datatype, shape, what)
    values = getattr(proto, TF_FIELDS[datatype])
    if datatype == "BYTES":
        array = tensors.objects(list(values))
    elif datatype == "FP16":
        array = np.array(values, dtype=np.uint16).view(np.float16)
    else:
        array = tensors.from_values(list(values), datatype, [len(values)], what)
    if any(size < 0 for size in shape):
        raise Refusal(f"{what}: a shape has no negative sizes, as {shape} has")
    return shaped(tensors.repeated(array, shape), shape, what)


def to_tensor(array: Array) -> Proto:
    """The same way back."""
    name = tensors.TF_NAMES[tensors.datatype_of(array)]
    made = message("tensorflow.TensorProto")(dtype=tensors.TENSORFLOW[name][0])
    made.tensor_shape.SetInParent()
    for size in array.shape:
        made.tensor_shape.dim.add(size=size)
    if name == "DT_STRING":
        made.string_val.extend(tensors.to_bytes(one) for one in array.ravel())
    else:
        made.tensor_content = tensors.to_raw(array)
    return made


# Open Inference


def from_infer(proto: Proto) -> openinference.Request:
    """A ModelInferRequest, with values in their places or raw."""
    raws = list(proto.raw_input_contents)
    if not proto.inputs:
        raise Refusal("the request has no inputs")
    if raws and len(raws) != len(proto.inputs):
        raise Refusal(f"{len(raws)} raw contents for {len(proto.inputs)} inputs: it is one for each, or none at all")
    inputs: dict[str, Array] = {}
    for number, one in enumerate(proto.inputs):
        what, shape = f"input {one.name}", list(one.shape)
        for name in openinference.REFUSED:
            if name in one.parameters:
                raise Refusal(f"{what}: the parameter {name} is not served here")
        array = tensors.from_raw(raws[number], one.datatype, shape, what) if raws else _contents(one, shape, what)
        if one.datatype == "BYTES" and one.parameters["content_type"].string_param == "str":
            array = tensors.objects([tensors.to_text(text) for text in array.ravel()]).reshape(array.shape)
        inputs[one.name] = array
    wanted = [one.name for one in proto.outputs]
    return openinference.Request(inputs, id=proto.id, wanted=wanted, all_binary=bool(raws))


def _contents(proto: Proto, shape: Sequence[int], what: str) -> Array:
    place = CONTENTS.get(proto.datatype)
    if place is None:
        raise Refusal(
            f"{what}: values of type {proto.datatype!r} can only be sent raw; there are {', '.join(CONTENTS)}"
        )
    values = list(getattr(proto.contents, place))
    if proto.datatype == "BYTES":
        return shaped(tensors.objects(values), shape, what)
    return tensors.from_values(values, proto.datatype, shape, what)


def to_infer(request: openinference.Request, model: str, version: str, outputs: Mapping[str, Array]) -> Proto:
    """A ModelInferResponse; raw where the request was, and where a type has no other form."""
    made = message("inference.ModelInferResponse")(model_name=model, model_version=version, id=request.id)
    types = {name: tensors.datatype_of(array) for name, array in outputs.items()}
    raw = request.all_binary or not CONTENTS.keys() >= set(types.values())
    for name, array in outputs.items():
        entry = made.outputs.add(name=name, datatype=types[name], shape=array.shape)
        if raw:
            made.raw_output_contents.append(tensors.to_raw(array))
        elif types[name] == "BYTES":
            entry.contents.bytes_contents.extend(tensors.to_bytes(one) for one in array.ravel())
        else:
            getattr(entry.contents, CONTENTS[types[name]]).extend(array.ravel().tolist())
    return made
