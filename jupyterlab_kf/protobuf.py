"""The wire format of protocol buffers, read without descriptors. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5
_SIZES: Final = {FIXED64: 8, FIXED32: 4}
_FORMS: Final = {FIXED64: "<d", FIXED32: "<f"}
_LAST_SHIFT: Final = 63
"""Of a varint, which has ten bytes at most."""


class MalformedError(ValueError):
    """The bytes are no message."""


def fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Field number, wire type and value of each field, in their order; a number of fixed size as its bytes.

    Raises:
        MalformedError: where the data makes no sense, in the words of Go's reader.
    """
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
            continue
        if wire == BYTES:
            size, at = _varint(data, at)
        elif wire in _SIZES:
            size = _SIZES[wire]
        else:
            raise MalformedError(f"illegal wireType {wire}")
        if at + size > len(data):
            raise MalformedError("unexpected EOF")
        yield number, wire, data[at : at + size]
        at += size


def readable(data: bytes) -> Iterator[tuple[int, int, int | float | bytes]]:
    """The same of a message of which little is wanted: fixed sizes are floats, and it ends where it makes no sense."""
    with suppress(MalformedError):
        for number, wire, value in fields(data):
            if isinstance(value, bytes) and wire in _FORMS:
                yield number, wire, float(struct.unpack(_FORMS[wire], value)[0])
            else:
                yield number, wire, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > _LAST_SHIFT:
            raise MalformedError("unexpected EOF")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7
