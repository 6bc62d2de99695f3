"""Several requests as one call of the model, and its answer cut apart again.

Requests join when their arrays differ in nothing but the number of rows. A batch goes when it is full, when its first
request has waited long enough, or, while the model is busy, as soon as it is free. Where a model's answer cannot be cut
by rows, its requests are asked one by one, then and from then on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .messages import Array, Refusal
from .running import Runner

Inputs = Mapping[str, Array]
Call = Callable[[Inputs], Any]
Cut = Callable[[Any, Sequence[int]], list[Any] | None]


@dataclass(slots=True)
class Batch:
    """Requests that wait to be one call."""

    call: Call
    cut: Cut
    waiting: list[tuple[Inputs, int, asyncio.Future[Any]]] = field(default_factory=list)
    rows: int = 0
    timer: asyncio.TimerHandle | None = None
    due: bool = False


class Batcher:
    """Joins the requests of one process."""

    def __init__(self, runner: Runner, size: int, wait: float) -> None:
        self.runner = runner
        self.size = size
        self.wait = wait
        self.batches: dict[Hashable, Batch] = {}
        self.alone: set[Hashable] = set()
        self.running: set[asyncio.Task[None]] = set()

    async def ask(self, key: Hashable, inputs: Inputs, call: Call, cut: Cut) -> Any:
        """The part of ``call``'s answer that is for these inputs; ``key`` says with what else they may be joined."""
        sizes = {len(array) if array.ndim else -1 for array in inputs.values()}
        full = key, tuple((name, array.dtype.str, array.shape[1:]) for name, array in inputs.items())
        rows = sizes.pop()
        if sizes or rows < 1 or rows >= self.size or full in self.alone:
            return await self.runner.run(call, inputs)
        loop = asyncio.get_running_loop()
        batch = self.batches.get(full)
        if batch is not None and batch.rows + rows > self.size:
            self._go(full)
            batch = None
        if batch is None:
            batch = self.batches[full] = Batch(call, cut)
            batch.timer = loop.call_later(self.wait, self._due, full)
        future = loop.create_future()
        batch.waiting.append((inputs, rows, future))
        batch.rows += rows
        if batch.rows >= self.size:
            self._go(full)
        return await future

    def _due(self, key: Hashable) -> None:
        if self.runner.waiting:
            self.batches[key].due = True
        else:
            self._go(key)

    def _go(self, key: Hashable) -> None:
        batch = self.batches.pop(key)
        if batch.timer is not None:
            batch.timer.cancel()
        task = asyncio.get_running_loop().create_task(self._run(key, batch))
        self.running.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.running.discard(task)
        for key in [key for key, batch in self.batches.items() if batch.due]:
            self._go(key)

    async def _run(self, key: Hashable, batch: Batch) -> None:
        try:
            parts = await self._parts(key, batch)
        except (Refusal, asyncio.CancelledError) as error:
            parts = [error] * len(batch.waiting)
        for (_, _, future), part in zip(batch.waiting, parts, strict=True):
            if future.done():  # its client has gone
                continue
            if isinstance(part, BaseException):
                future.set_exception(part)
            else:
                future.set_result(part)

    async def _parts(self, key: Hashable, batch: Batch) -> list[Any]:
        if len(batch.waiting) > 1:
            joined = {
                name: np.concatenate([inputs[name] for inputs, _, _ in batch.waiting]) for name in batch.waiting[0][0]
            }
            try:
                parts = batch.cut(await self.runner.run(batch.call, joined), [rows for _, rows, _ in batch.waiting])
            except Refusal as refusal:
                if refusal.code >= 500:  # noqa: PLR2004  not the fault of one of them
                    raise
                # One request spoils the call for all: each is to get its own answer.
                parts = None
            else:
                if parts is None:
                    self.alone.add(key)
            if parts is not None:
                return parts
        return [await self._one(batch.call, inputs) for inputs, _, _ in batch.waiting]

    async def _one(self, call: Call, inputs: Inputs) -> Any:
        try:
            return await self.runner.run(call, inputs)
        except Refusal as refusal:
            return refusal


def cut_rows(array: Any, rows: Sequence[int]) -> list[Any] | None:
    """An array as one a request, or None where it has not as many rows as were asked for."""
    total = sum(rows)
    if isinstance(array, list) and len(array) == total:
        ends = np.cumsum(rows).tolist()
        return [array[end - count : end] for end, count in zip(ends, rows, strict=True)]
    if not isinstance(array, np.ndarray) or not array.ndim or len(array) != total:
        return None
    return np.split(array, np.cumsum(rows)[:-1])


def cut_outputs(outputs: Mapping[str, Array], rows: Sequence[int]) -> list[dict[str, Array]] | None:
    """Named outputs in the same way."""
    cut = {name: cut_rows(array, rows) for name, array in outputs.items()}
    parts = {name: one for name, one in cut.items() if one is not None}
    if len(parts) != len(cut):
        return None
    return [{name: one[number] for name, one in parts.items()} for number in range(len(rows))]
