r"""Decodes Kubernetes' protobuf request bodies, which kubectl sends for ``create configmap`` and its like.

A body is ``k8s\0``, then ``runtime.Unknown`` with the type and the raw message. Messages are decoded by a packaged
table of field numbers (written by ``tests/tools/generate_schemas.py``); there is no encoder, since every client takes
JSON answers. Empty values are left out, as the real server's JSON leaves them out.
"""

from __future__ import annotations

import base64
import gzip
import json
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from jupyterlab_kf import protobuf as wire
from jupyterlab_kf.embedded.apiserver import schemas
from jupyterlab_kf.embedded.apiserver.patches import bad_request
from jupyterlab_kf.errors import ApiError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, format_micro_time, format_time

MAGIC: Final = b"k8s\x00"
MEDIA_TYPE: Final = "application/vnd.kubernetes.protobuf"

_SIGN: Final = 1 << 63


@lru_cache(maxsize=1)
def _table() -> Mapping[str, Mapping[str, list[str]]]:
    data = files("jupyterlab_kf.embedded.apiserver").joinpath("data", "wire.json.gz").read_bytes()
    loaded: Mapping[str, Mapping[str, list[str]]] = json.loads(gzip.decompress(data))
    return loaded


def decode(body: bytes) -> Obj:
    """The object in a protobuf body.

    Raises:
        InvalidError: 400, the body is no such message.
        ApiError: 415, a kind whose message is not known here; send JSON.
    """
    if not body.startswith(MAGIC):
        raise bad_request("provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]")
    api_version = kind = ""
    raw = b""
    try:
        for number, value in _fields(body[len(MAGIC) :]):
            if number == 1 and isinstance(value, bytes):
                parts = {n: v.decode() for n, v in _fields(value) if isinstance(v, bytes)}
                api_version, kind = parts.get(1, ""), parts.get(2, "")
            elif number == 2 and isinstance(value, bytes):  # noqa: PLR2004  Unknown.raw
                raw = value
    except (wire.MalformedError, UnicodeDecodeError) as error:
        raise bad_request(f"the body is not a valid protobuf message: {error}") from error
    component = _component(api_version, kind)
    if component not in _table():
        raise ApiError(
            f"{kind or 'the object'} in {api_version or 'no version'} cannot be read as protobuf; accepted media types "
            "include: application/json, application/yaml",
            code=415,
            reason="UnsupportedMediaType",
        )
    try:
        decoded = _message(raw, component)
    except (wire.MalformedError, UnicodeDecodeError, struct.error) as error:
        raise bad_request(
            f'{kind} in version "{api_version.rpartition("/")[2]}" cannot be handled as a {kind}: {error}'
        ) from error
    return {"kind": kind, "apiVersion": api_version, **decoded}


def _component(api_version: str, kind: str) -> str:
    group, _, version = api_version.rpartition("/")
    if kind == "DeleteOptions":
        return schemas.DELETE_OPTIONS
    return schemas.component_name(Kind(group, version, kind, ""))


# --- messages -----------------------------------------------------------------------------------------------------


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers with their undecoded values."""
    return ((number, value) for number, _, value in wire.fields(data))


def _message(data: bytes, component: str) -> dict[str, Any]:
    """One message as its JSON object."""
    table = _table()[component]
    out: dict[str, Any] = {}
    for number, value in _fields(data):
        known = table.get(str(number))
        if known is None:
            continue  # a newer client's field: a real server of this version drops it too
        name, code, *omitted = known
        if code.startswith("~"):
            out.update(_value(value, code[1:]))
        elif code.startswith("{}"):
            key, item = _pair(value, code[2:])
            out.setdefault(name, {})[key] = item
        elif code.startswith("[]"):
            out.setdefault(name, []).append(_value(value, code[2:]))
        else:
            item = _value(value, code)
            # Go writes plain fields even when they are empty; pointers only when they are set.
            if item is not None and (item or not omitted or isinstance(item, dict)):
                out[name] = item
    return out


def _pair(value: int | bytes, code: str) -> tuple[str, Any]:
    if not isinstance(value, bytes):
        raise wire.MalformedError("wrong wireType for a map entry")
    key, item = "", {"s": "", "B": ""}.get(code)
    for number, part in _fields(value):
        if number == 1 and isinstance(part, bytes):
            key = part.decode()
        else:
            item = _value(part, code)
    return key, item


def _value(value: int | bytes, code: str) -> Any:
    if isinstance(value, int):
        signed = value - 2 * _SIGN if value >= _SIGN else value
        return bool(value) if code == "b" else signed
    if code.startswith("*"):  # a named list is a message whose field 1 repeats
        return [_value(part, code[3:]) for _, part in _fields(value)]
    if code.startswith("m:"):
        return _known(value, code[2:])
    read = _TEXTS.get(code)
    if read is None:
        raise wire.MalformedError(f"wrong wireType for {code}")
    return read(value)


_TEXTS: Final[Mapping[str, Callable[[bytes], Any]]] = {
    "s": bytes.decode,
    "B": lambda value: base64.b64encode(value).decode(),
    "d": lambda value: struct.unpack("<d", value)[0],
}


def _known(data: bytes, component: str) -> Any:
    """Messages whose JSON form is not an object, and the rest."""
    name = component.rpartition(".")[2]
    if name in ("FieldsV1", "RawExtension"):
        return json.loads(next((v for _, v in _fields(data) if isinstance(v, bytes)), b"{}"))
    if name not in ("Time", "MicroTime", "Quantity", "IntOrString", "Duration"):
        return _message(data, component)
    parts = dict(_fields(data))
    if name == "Quantity":
        return _text(parts.get(1)) or "0"
    if name == "IntOrString":
        return _text(parts.get(3)) if parts.get(1) else _value(parts.get(2, 0), "i")
    return _moment(parts, micro=name == "MicroTime") if parts else None


def _moment(parts: Mapping[int, int | bytes], *, micro: bool) -> str:
    seconds, nanos = _value(parts.get(1, 0), "i"), _value(parts.get(2, 0), "i")
    return format_micro_time(seconds + nanos / 1e9) if micro else format_time(seconds)


def _text(value: int | bytes | None) -> str:
    return value.decode() if isinstance(value, bytes) else ""
