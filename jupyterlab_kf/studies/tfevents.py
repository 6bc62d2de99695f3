"""Scalars out of TensorBoard's event files, without TensorFlow.

An event file is a sequence of records (length, checksum, data, checksum), each an ``Event`` message; of it the wall
time and the scalar summaries are read: ``simple_value``, and tensors with one number (what TensorFlow 2 and
``torch.utils.tensorboard`` write). Everything else is skipped. A record that is not complete yet is read later.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from jupyterlab_kf.protobuf import BYTES, FIXED32, readable

Value: TypeAlias = tuple[str, str, float]
"""Metric, value as text, epoch seconds."""
_FRAME: Final = 12
_FLOAT, _DOUBLE = 1, 2


class Reader:
    """Reads new scalars of a folder's event files, each time from where it was.

    A metric's name is a tag, or a tag after the folder that its file is in (``train/accuracy``).
    """

    def __init__(self, folder: Path, metrics: Sequence[str]) -> None:
        self._folder, self._metrics = folder, metrics
        self._offsets: dict[Path, int] = {}

    def read(self) -> Iterator[Value]:
        """What has come since the last call."""
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.rglob("*tfevents*")):
            if not path.is_file():
                continue
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                data = file.read()
            used = 0
            for record, used in _records(data):  # noqa: B007  where the last whole record ends
                yield from self._named(path, record)
            self._offsets[path] = self._offsets.get(path, 0) + used

    def _named(self, path: Path, record: bytes) -> Iterator[Value]:
        place = path.parent.relative_to(self._folder).as_posix()
        for tag, value, when in scalars(record):
            for metric in self._metrics:
                if metric in (tag, f"{place}/{tag}", f"{path.parent.name}/{tag}"):
                    yield metric, repr(value), when
                    break


def _records(data: bytes) -> Iterator[tuple[bytes, int]]:
    at = 0
    while at + _FRAME <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        end = at + _FRAME + length + 4
        if end > len(data):
            return
        yield data[at + _FRAME : end - 4], end
        at = end


def scalars(event: bytes) -> Iterator[tuple[str, float, float]]:
    """Tag, value and wall time of every scalar in an ``Event`` message."""
    when = 0.0
    for number, _, value in readable(event):
        if number == 1 and isinstance(value, float):
            when = value
    for number, _, value in readable(event):
        if number == 5 and isinstance(value, bytes):  # noqa: PLR2004  Event.summary
            for _, _, entry in readable(value):
                if isinstance(entry, bytes):
                    yield from _scalar(entry, when)


def _scalar(entry: bytes, when: float) -> Iterator[tuple[str, float, float]]:
    tag, found = "", None
    for number, wire, value in readable(entry):
        if number == 1 and isinstance(value, bytes):
            tag = value.decode(errors="replace")
        elif number == 2 and wire == FIXED32 and isinstance(value, float):  # noqa: PLR2004  simple_value
            found = value
        elif number == 8 and isinstance(value, bytes):  # noqa: PLR2004  tensor
            found = _tensor(value)
    if tag and found is not None:
        yield tag, found, when


def _tensor(data: bytes) -> float | None:
    """The number in a tensor of one float or double."""
    kind = 0
    for number, wire, value in readable(data):
        if number == 1 and isinstance(value, int):
            kind = value
        elif number in (4, 5, 6):  # tensor_content, float_val, double_val
            if isinstance(value, float):
                return value
            size, form = (4, "<f") if kind == _FLOAT else (8, "<d")
            if wire == BYTES and kind in (_FLOAT, _DOUBLE) and isinstance(value, bytes) and len(value) == size:
                return float(struct.unpack(form, value)[0])
    return None
