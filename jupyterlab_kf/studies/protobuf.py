"""Fields of protocol buffers, read without descriptors: for messages of which little is wanted. Pure."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
FIXED32: Final = 5


def fields(data: bytes) -> Iterator[tuple[int, int, int | float | bytes]]:
    """Field number, wire type and value of a protocol buffer's fields; ends where the data makes no sense."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == VARINT:
            value, at = _varint(data, at)
            yield number, wire, value
        elif wire in (FIXED64, FIXED32):
            size, form = (8, "<d") if wire == FIXED64 else (4, "<f")
            if at + size > len(data):
                return
            yield number, wire, float(struct.unpack_from(form, data, at)[0])
            at += size
        elif wire == BYTES:
            length, at = _varint(data, at)
            yield number, wire, data[at : at + length]
            at += length
        else:
            return


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            break
    return value, at
