"""Where the user's code runs: on the event loop while it is quick, in a thread once it is not.

A hand-over to a thread costs more than a small model, and a slow model on the loop would keep probes waiting. Calls are
one at a time unless threads were asked for, since a class need not be safe for them. More waiting calls than the limit
are refused at once: who waits too long has gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .messages import Refusal

Result = TypeVar("Result")
QUICK = 0.003
"""Seconds that a call may keep the loop."""
WEIGHT = 0.2
"""Of the last call in the running mean."""


class Runner:
    """Runs calls of one process."""

    def __init__(self, threads: int = 1, limit: int = 1000, clock: Callable[[], float] = time.perf_counter) -> None:
        self.threads = ThreadPoolExecutor(threads, thread_name_prefix="model")
        self.limit = limit
        self.waiting = 0
        self.expected = 0.0
        self.clock = clock

    async def run(self, function: Callable[..., Result], *given: object) -> Result:
        """Call it, and answer what it returns."""
        if not self.waiting and self.expected < QUICK:
            return self._timed(function, given)
        if self.waiting >= self.limit:
            raise Refusal(f"{self.waiting} requests wait already: try later, or run more replicas", code=503)
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, self._timed, function, given)
        finally:
            self.waiting -= 1

    def _timed(self, function: Callable[..., Result], given: tuple[object, ...]) -> Result:
        start = self.clock()
        try:
            return function(*given)
        finally:
            self.expected += (self.clock() - start - self.expected) * WEIGHT

    def close(self) -> None:
        """Let what runs end."""
        self.threads.shutdown(wait=False, cancel_futures=True)
