"""Predictions for more rows than one request should carry: in parts, several at once, tried again, and resumed.

Each part's answer is written down when it has come, under a name that tells what was asked: run again, only what is
missing is asked. What a model refuses is not tried again; what did not reach one is.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import hashlib
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf.errors import PredictionError, UnreachableError, UsageError
from jupyterlab_kf.services.serving import messages
from jupyterlab_kf.services.serving.messages import Sent

_PASSING: Final = frozenset({408, 429, 502, 503, 504})
"""What may be different in a moment."""
_LONGEST_PAUSE: Final = 10.0

Ask = Callable[[Sent], Awaitable[bytes]]


def rows_of(value: Any) -> Any:
    """The rows of an array, a list, a table, or of a file (``.npy``, ``.csv`` or ``.jsonl``).

    Raises:
        UsageError: the file cannot be read as rows.
    """
    if not isinstance(value, (str, Path)):
        return value
    path = Path(value)
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    if path.suffix == ".npy":
        import numpy as np

        return np.load(path, allow_pickle=False)
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return _typed(list(csv.reader(file)))
    raise UsageError(f"rows cannot be read from {path.name}", hint="give a .npy, .csv or .jsonl file, or the rows")


def table_of(name: str) -> Any:
    """As :func:`rows_of`, of a file; a ``.csv`` is a table with the names of its columns where pandas is installed.

    Raises:
        UsageError: the file cannot be read as rows.
    """
    path = Path(name)
    if path.suffix == ".csv" and path.is_file():
        with contextlib.suppress(ImportError):
            import pandas as pd

            return pd.read_csv(path)
    return rows_of(path)


def _typed(rows: list[list[str]]) -> list[list[Any]]:
    """Numbers where all of a file's cells are some; a first line of names is left out."""

    def numbers(row: list[str]) -> list[Any] | None:
        try:
            return [float(cell) for cell in row]
        except ValueError:
            return None

    body = rows[1:] if rows and numbers(rows[0]) is None else rows
    read = [numbers(row) for row in body]
    return (
        [row for row in read if row is not None] if all(row is not None for row in read) else [[*row] for row in body]
    )


def parts(rows: Any, size: int) -> list[Any]:
    """The rows in parts of at most so many.

    Raises:
        UsageError: there are none, or the size is not a number of rows.
    """
    if size < 1:
        raise UsageError(f"size is {size}; it is the number of rows of a part")
    count = len(rows)
    if not count:
        raise UsageError("there are no rows to ask about")
    take = getattr(rows, "iloc", rows)
    return [take[at : at + size] for at in range(0, count, size)]


async def run(
    ask: Ask, requests: Sequence[Sent], *, at_once: int, retries: int, folder: Path | None
) -> AsyncGenerator[tuple[int, bytes]]:
    """The number of a part and its answer, as they come.

    Raises:
        PredictionError: a part was refused, or failed each time; what has come is kept in the folder.
    """
    few = asyncio.Semaphore(at_once)

    async def one(number: int, sent: Sent) -> tuple[int, bytes]:
        kept = _place(folder, number, sent)
        if kept is not None and kept.is_file():
            return number, kept.read_bytes()
        async with few:
            found = await _patiently(ask, sent, retries)
        if kept is not None:
            _write(kept, found)
        return number, found

    tasks = [asyncio.create_task(one(number, sent)) for number, sent in enumerate(requests)]
    try:
        for next_ in asyncio.as_completed(tasks):
            yield await next_
    finally:
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)


def _place(folder: Path | None, number: int, sent: Sent) -> Path | None:
    """Where a part's answer is kept: other rows have another name."""
    if folder is None:
        return None
    return folder / f"part-{number:05}-{hashlib.sha256(sent.body).hexdigest()[:12]}.json"


def _write(place: Path, content: bytes) -> None:
    """All or nothing: a part that is there is whole."""
    place.parent.mkdir(parents=True, exist_ok=True)
    fresh = place.with_suffix(f".{os.getpid()}")
    fresh.write_bytes(content)
    fresh.replace(place)


async def _patiently(ask: Ask, sent: Sent, retries: int) -> bytes:
    for attempt in range(retries + 1):
        try:
            return await ask(sent)
        except UnreachableError:
            if attempt == retries:
                raise
        except PredictionError as error:
            if attempt == retries or error.status not in _PASSING:
                raise
        await asyncio.sleep(min(0.2 * 2**attempt, _LONGEST_PAUSE))
    raise AssertionError("unreachable")  # the last attempt returns or raises


def joined(values: Sequence[Any]) -> Any:
    """The answers of all parts as one: arrays and tables row after row, everything else as a list."""
    if all(hasattr(one, "iloc") for one in values):
        import pandas as pd

        return pd.concat(list(values))
    if all(hasattr(one, "shape") and one.shape for one in values):
        import numpy as np

        return np.concatenate(list(values))
    return list(values)


def requests_of(value: Any, *, size: int, protocol: str, model: str, known: Sequence[str] = ()) -> list[Sent]:
    """The requests for rows; of a table in the order of the columns that are ``known``.

    Raises:
        UsageError: the rows cannot be read or sent.
    """
    found = rows_of(value)
    return [messages.request(part, protocol=protocol, model=model, known=known) for part in parts(found, size)]
