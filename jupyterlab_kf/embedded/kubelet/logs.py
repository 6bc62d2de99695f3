"""A container's log as `kubectl logs` gives it: from CRI lines on disk to what the container wrote.

Owns tails, since-times, timestamps, byte limits, and following: a new line is seen within a few hundredths of a second,
a rotation between two reads is survived by the file's identity, and the stream ends when the container has ended and
everything is read. Refuses to know what a pod is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from jupyterlab_kf.model import parse_time

BLOCK: Final = 64 << 10
PATIENCE: Final = (0.02, 0.25)
"""How long to wait between two looks at a quiet log: at first, and at most."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What part of a log is asked for."""

    follow: bool = False
    tail_lines: int | None = None
    since: float | None = None
    timestamps: bool = False
    limit_bytes: int | None = None


class Renderer:
    """From CRI lines, one after the other, to what is asked for of them. A line in parts has the time of its first."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._begun = False

    def __call__(self, line: bytes) -> bytes:
        """What a CRI line contributes: its text, and a newline unless the line goes on; nothing if too old or torn."""
        parts = line.split(b" ", 3)
        if len(parts) != 4 or parts[2] not in (b"F", b"P"):  # noqa: PLR2004  time, stream, tag, text
            return b""
        stamp, _, tag, text = parts
        if self._wanted.since is not None and _seconds(stamp) < self._wanted.since:
            return b""
        head = stamp + b" " if self._wanted.timestamps and not self._begun else b""
        self._begun = tag == b"P"
        return head + text + (b"" if self._begun else b"\n")


def _seconds(stamp: bytes) -> float:
    whole, _, fraction = stamp.decode(errors="replace").rstrip("Z").partition(".")
    try:
        return (parse_time(whole + "Z") or 0.0) + float(f"0.{fraction or 0}")
    except ValueError:
        return 0.0


def tail_offset(file: BinaryIO, lines: int) -> tuple[int, int]:
    """Where the last lines of a file begin, and how many there are; partial lines count with the line they begin."""
    end = position = file.seek(0, os.SEEK_END)
    if lines <= 0:
        return end, 0
    rest = b""
    offsets: list[int] = []
    while position > 0 and len(offsets) <= lines:
        step = min(BLOCK, position)
        position -= step
        file.seek(position)
        rest = file.read(step) + rest
        offsets = _line_starts(rest, position)
    kept = offsets[-lines:]
    return (kept[0] if kept else end), len(kept)


def _line_starts(data: bytes, base: int) -> list[int]:
    """Where whole lines (runs of partial ones and their end) begin; the first, maybe cut, only at the file's begin."""
    starts, at, continued = [], 0, False
    first = True
    for raw in data.split(b"\n")[:-1]:
        if not (first and base > 0) and not continued:
            starts.append(base + at)
        parts = raw.split(b" ", 3)
        continued = len(parts) == 4 and parts[2] == b"P"  # noqa: PLR2004
        at += len(raw) + 1
        first = False
    return starts


class _Budget:
    """Counts down the byte limit."""

    def __init__(self, limit: int | None) -> None:
        self.left = limit

    def take(self, data: bytes) -> bytes:
        if self.left is None:
            return data
        data = data[: self.left]
        self.left -= len(data)
        return data

    @property
    def spent(self) -> bool:
        return self.left is not None and self.left <= 0


def _files(path: Path) -> list[Path]:
    return [p for p in (path.with_name(path.name + ".1"), path) if p.exists()]


def _begin(path: Path, wanted: Wanted) -> list[tuple[BinaryIO, int]]:
    """The files to read, oldest first, with the offset to begin at."""
    opened: list[tuple[BinaryIO, int]] = []
    left = wanted.tail_lines
    for each in reversed(_files(path)):
        file = each.open("rb")
        if left is None:
            opened.append((file, 0))
            continue
        offset, count = tail_offset(file, left)
        left -= count
        opened.append((file, offset))
    return opened[::-1]


async def read(path: Path, wanted: Wanted, ended: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The log in pieces.

    Args:
        path: the log file; it need not be there yet when it is followed.
        wanted: what part of it.
        ended: whether the container has ended, so that nothing will be written any more.
    """
    budget, render = _Budget(wanted.limit_bytes), Renderer(wanted)
    wait = PATIENCE[0]
    while not path.exists():  # noqa: ASYNC240  one stat
        if not wanted.follow or ended():
            return
        await asyncio.sleep(wait)
        wait = min(wait * 1.5, PATIENCE[1])
    files = await asyncio.get_running_loop().run_in_executor(None, _begin, path, wanted)
    with contextlib.ExitStack() as stack:
        for file, _ in files:
            stack.callback(file.close)
        for file, offset in files:
            file.seek(offset)
            for piece in _pieces(file, render):
                yield budget.take(piece.text)
                await asyncio.sleep(0)
                if budget.spent:
                    return
        if not wanted.follow:
            return
        async for data in _follow(path, files[-1][0], render, ended, stack):
            yield budget.take(data)
            if budget.spent:
                return


@dataclass(slots=True)
class _Piece:
    text: bytes
    rest: bytes


def _pieces(file: BinaryIO, render: Renderer) -> Iterator[_Piece]:
    """What can be read now, a block at a time; the begun line at the end stays in ``rest``, and the file before it."""
    rest = b""
    while data := file.read(BLOCK):
        lines = (rest + data).split(b"\n")
        rest = lines.pop()
        text = b"".join(map(render, lines))
        if text:
            yield _Piece(text, rest)
    if rest:
        file.seek(-len(rest), os.SEEK_CUR)


async def _follow(
    path: Path, file: BinaryIO, render: Renderer, ended: Callable[[], bool], stack: contextlib.ExitStack
) -> AsyncIterator[bytes]:
    wait = PATIENCE[0]
    while True:
        over = ended()
        rotated = _rotated(path, file)
        quiet = True
        for piece in _pieces(file, render):
            quiet = False
            yield piece.text
        if rotated:
            file = stack.enter_context(path.open("rb"))
            continue
        if over:
            return
        wait = min(wait * 1.3, PATIENCE[1]) if quiet else PATIENCE[0]
        await asyncio.sleep(min(wait, 0.05))


def _rotated(path: Path, file: BinaryIO) -> bool:
    try:
        return path.stat().st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False
