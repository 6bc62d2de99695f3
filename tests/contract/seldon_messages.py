"""Seldon's messages as protobuf classes, made from a description and not from generated code: what tests need."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2

_TYPES = {"int32": 5, "double": 1, "float": 2, "string": 9, "bytes": 12}
_LISTS = {"repeated": 3}
#: Message: field: (number, type, repeated, oneof).
_MESSAGES: dict[str, dict[str, tuple[Any, ...]]] = {
    "Status": {"code": (1, "int32"), "info": (2, "string"), "reason": (3, "string"), "status": (4, "int32")},
    "TagsEntry": {"key": (1, "string"), "value": (2, "google.protobuf.Value")},
    "RoutingEntry": {"key": (1, "string"), "value": (2, "int32")},
    "PathEntry": {"key": (1, "string"), "value": (2, "string")},
    "Metric": {"key": (1, "string"), "type": (2, "int32"), "value": (3, "float")},
    "Meta": {
        "puid": (1, "string"),
        "tags": (2, "TagsEntry", "repeated"),
        "routing": (3, "RoutingEntry", "repeated"),
        "requestPath": (4, "PathEntry", "repeated"),
        "metrics": (5, "Metric", "repeated"),
    },
    "Tensor": {"shape": (1, "int32", "repeated"), "values": (2, "double", "repeated")},
    "DefaultData": {
        "names": (1, "string", "repeated"),
        "tensor": (2, "Tensor"),
        "ndarray": (3, "google.protobuf.ListValue"),
    },
    "SeldonMessage": {
        "status": (1, "Status"),
        "meta": (2, "Meta"),
        "data": (3, "DefaultData"),
        "binData": (4, "bytes"),
        "strData": (5, "string"),
    },
    "SeldonMessageList": {"seldonMessages": (1, "SeldonMessage", "repeated")},
    "Feedback": {
        "request": (1, "SeldonMessage"),
        "response": (2, "SeldonMessage"),
        "reward": (3, "float"),
        "truth": (4, "SeldonMessage"),
    },
    "SeldonMessageMetadata": {"messagetype": (1, "string"), "name": (3, "string")},
    "SeldonModelMetadata": {
        "name": (1, "string"),
        "versions": (2, "string", "repeated"),
        "platform": (3, "string"),
        "inputs": (4, "SeldonMessageMetadata", "repeated"),
        "outputs": (5, "SeldonMessageMetadata", "repeated"),
    },
    "SeldonModelMetadataRequest": {"name": (1, "string")},
    "ModelsEntry": {"key": (1, "string"), "value": (2, "SeldonModelMetadata")},
    "SeldonGraphMetadata": {
        "name": (1, "string"),
        "models": (2, "ModelsEntry", "repeated"),
        "inputs": (3, "SeldonMessageMetadata", "repeated"),
        "outputs": (4, "SeldonMessageMetadata", "repeated"),
    },
}


def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(name="seldon.proto", package="test", syntax="proto3")
    file.dependency.append(struct_pb2.DESCRIPTOR.name)
    for name, members in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, *repeated) in members.items():
            one = message.field.add(name=field, number=number, label=_LISTS["repeated"] if repeated else 1)
            one.type = _TYPES.get(kind, 11)
            if kind not in _TYPES:
                one.type_name = f".{kind}" if "." in kind else f".test.{kind}"
    pool.Add(file)
    return pool


_POOL = _pool()


def message(kind: str, /, **members: Any) -> Any:
    """A message of that kind."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"test.{kind}"))(**members)


def parsed(name: str, body: bytes) -> Any:
    """The message that these bytes are."""
    found = message(name)
    found.ParseFromString(body)
    return found


def routing(meta: Any) -> dict[str, int]:
    """The choices that a Meta tells; of two of one router, the last one counts, as in a map."""
    return {entry.key: entry.value for entry in meta.routing}


def said(text: str, **tags: float) -> Any:
    """A message of text, with tags that are numbers."""
    entries = [{"key": key, "value": {"number_value": value}} for key, value in tags.items()]
    return message("SeldonMessage", strData=text, meta={"tags": entries})


def choice(branch: int) -> Any:
    """A router's answer."""
    return message("SeldonMessage", data={"ndarray": {"values": [{"number_value": branch}]}})
