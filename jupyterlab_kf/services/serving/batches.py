"""Predictions for more rows than one request should carry: in parts, several at once, tried again, and resumed.

Each part's answer is written down when it has come, under a name that tells what was asked: run again, only what is
missing is asked, and only of the models that gave the rest. What a model refuses is not tried again; what did not reach
one is. Of a part that is refused the rows can be found that are to blame, by asking for its halves.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import hashlib
import json
import os
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf.errors import PredictionError, UnreachableError, UsageError
from jupyterlab_kf.services.serving.messages import Sent

_PASSING: Final = frozenset({408, 429, 502, 503, 504})
"""What may be different in a moment."""
_LONGEST_PAUSE: Final = 10.0

_ABOUT: Final = "batch.json"
"""Says in a folder of answers whose they are."""

Ask = Callable[[Sent], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are asked about together; ``first`` is the place of their first among all."""

    number: int
    first: int
    rows: Any
    sent: Sent

    @property
    def count(self) -> int:
        """How many rows."""
        return len(self.rows)

    @property
    def place(self) -> str:
        """``rows 256 to 511``, counted from 0."""
        last = self.first + self.count - 1
        return f"row {last}" if self.count == 1 else f"rows {self.first} to {last}"


@dataclass(frozen=True, slots=True)
class Piece:
    """What came of a part or of some of its rows: the answer, or why there is none."""

    part: Part
    content: bytes = b""
    why: str = ""


def rows_of(value: Any) -> Any:
    """The rows of an array, a list, a table, or of a file (``.npy``, ``.csv`` or ``.jsonl``).

    A ``.csv`` whose first line has names is a table with these where pandas is installed.

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
        return _of_csv(path)
    raise UsageError(f"rows cannot be read from {path.name}", hint="give a .npy, .csv or .jsonl file, or the rows")


def _of_csv(path: Path) -> Any:
    with path.open(newline="", encoding="utf-8-sig") as file:
        first = next(csv.reader(file), [])
        named = any(_number(cell) is None for cell in first)
        if named:
            with contextlib.suppress(ImportError):
                import pandas as pd

                return pd.read_csv(path)
        file.seek(0)
        return _typed([row for row in csv.reader(file) if row][named:])


def _typed(rows: list[list[str]]) -> list[list[Any]]:
    """Numbers in the columns all of whose cells are some, text in the others."""
    columns = [[_number(cell) for cell in column] for column in zip(*rows, strict=False)]
    numbers = [None not in column for column in columns]
    return [[float(cell) if at < len(numbers) and numbers[at] else cell for at, cell in enumerate(row)] for row in rows]


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


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


@dataclass(frozen=True, slots=True)
class Batch:
    """How rows are asked about.

    Attributes:
        ask: sends a request.
        again: makes the request of fewer rows.
        few: lets so many through at a time.
        retries: how often what reached no model is sent again.
        folder: keeps what has come.
        skip: whether rows that the model refuses are left out.
    """

    ask: Ask
    again: Callable[[Any], Sent]
    few: asyncio.Semaphore
    retries: int = 3
    folder: Path | None = None
    skip: bool = False

    async def run(self, wanted: Sequence[Part]) -> AsyncGenerator[tuple[int, list[Piece]]]:
        """The number of a part and what came of it, as they come.

        Raises:
            PredictionError: a part was refused, or failed each time; what has come is kept in the folder.
        """
        tasks = [asyncio.create_task(self._whole(part)) for part in wanted]
        try:
            for next_ in asyncio.as_completed(tasks):
                yield await next_
        finally:
            for task in tasks:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)

    async def _whole(self, part: Part) -> tuple[int, list[Piece]]:
        found = await self._pieces(part)
        if part.count > 1 and all(piece.why for piece in found):  # it is not the rows that are to blame
            await self._asked(part)
        return part.number, found

    async def _pieces(self, part: Part) -> list[Piece]:
        try:
            return [Piece(part, await self._asked(part))]
        except PredictionError as error:
            if not self.skip or error.status in _PASSING:
                raise
            if part.count == 1:
                return [Piece(part, why=error.message)]
        middle = part.count // 2
        take = getattr(part.rows, "iloc", part.rows)
        halves = ((part.first, take[:middle]), (part.first + middle, take[middle:]))
        # One after the other: a model that refuses everything is not asked hundreds of times at once.
        return [
            piece
            for first, rows in halves
            for piece in await self._pieces(Part(part.number, first, rows, self.again(rows)))
        ]

    async def _asked(self, part: Part) -> bytes:
        kept = _place(self.folder, part.number, part.sent)
        if kept is not None and kept.is_file():
            return kept.read_bytes()
        async with self.few:
            try:
                found = await _patiently(self.ask, part.sent, self.retries)
            except PredictionError as error:
                raise _placed(error, part) from error
        if kept is not None:
            _write(kept, found)
        return found


def _placed(error: PredictionError, part: Part) -> PredictionError:
    """The same failure, with the rows that it is about."""
    hint = error.hint
    if error.status not in _PASSING and part.count > 1:
        hint = f"{hint}; " if hint else ""
        hint += "skip=True leaves out the rows that are refused"
    return PredictionError(
        f"{part.place}: {error.message}",
        status=error.status, unit=error.unit, traceback=error.traceback, hint=hint, ref=error.ref,
    )  # fmt: skip


def claim(folder: Path, about: Mapping[str, Any]) -> None:
    """Have a folder keep answers of these models, or refuse it: answers of others would be taken for theirs.

    Raises:
        UsageError: it has answers of others, or is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", hint="output= is a folder, which keeps what has come")
    place = folder / _ABOUT
    try:
        told = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        _write(place, json.dumps(dict(about), sort_keys=True).encode())
        return
    except ValueError:
        told = {}
    if told != about:
        whose = f"endpoint {told['endpoint']}" if told.get("endpoint") != about.get("endpoint") else "other models"
        raise UsageError(
            f"{folder} has answers of {whose if told else 'something else'}",
            hint="give another folder, or delete that one to ask for everything again",
        )


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


def joined(values: Sequence[tuple[Part, Any]]) -> Any:
    """The answers of all parts as one: arrays and tables row after row, everything else as a list.

    Where a part has none (None) its rows are missing: NaN in arrays of numbers and in tables, else None.
    """
    known = [value for _, value in values if value is not None]
    if known and all(hasattr(one, "iloc") for one in known):
        import pandas as pd

        return pd.concat([_blank(part, known[0]) if value is None else value for part, value in values])
    if known and all(hasattr(one, "shape") and one.shape for one in known):
        import numpy as np

        gap = np.nan if known[0].dtype.kind in "fiub" else None
        kind = None if gap is not None else object
        return np.concatenate(
            [np.full((part.count, *known[0].shape[1:]), gap, kind) if one is None else one for part, one in values]
        )
    return [value for _, value in values]


def _blank(part: Part, like: Any) -> Any:
    """Rows without predictions, as a table has them."""
    import pandas as pd

    if hasattr(like, "columns"):
        return pd.DataFrame(float("nan"), index=part.rows.index, columns=like.columns)
    return pd.Series(float("nan"), index=part.rows.index, name=like.name)


def parts_of(value: Any, again: Callable[[Any], Sent], size: int) -> list[Part]:
    """The parts of rows, with their requests.

    Raises:
        UsageError: the rows cannot be read or sent.
    """
    every = parts(rows_of(value), size)
    return [Part(number, number * size, rows, again(rows)) for number, rows in enumerate(every)]
