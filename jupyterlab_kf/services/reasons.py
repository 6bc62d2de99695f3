"""Why the jobs of a list failed or wait: found out for those that somebody looks at.

An object's own status says little (``exceeded its backoff limit``). The sentence is in pods, logs and events, which a
list does not watch; they are read here, for few jobs at a time and the newest wish first. What failed is read once.
What waits is read when it has waited for a while, and then again at growing intervals, for what keeps it may change.
Refuses to hurry: who scrolls through thousands leaves only the last of them to be read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Final

from jupyterlab_kf.cluster import keeping
from jupyterlab_kf.errors import KubeflowError, UnreachableError
from jupyterlab_kf.model import Explanation, Phase
from jupyterlab_kf.services.board import Board, JobRow

AT_ONCE: Final = 4
MOST_WAITING: Final = 128
ROUND: Final = 5.0
"""Seconds that a job may wait before it is asked what keeps it."""
_LONGEST: Final = 12
"""Rounds between two looks at a job that waits on and on."""
_HELD: Final = (Phase.PENDING, Phase.RESTARTING)

Read = Callable[[JobRow], Awaitable[Explanation | None]]


class Reasons:
    """Reads reasons and tells them to a board.

    Args:
        read: why a row's job failed or waits, read from the cluster.
        sleep: waits; tests hand in their own.
    """

    def __init__(self, board: Board, read: Read, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._board = board
        self._read = read
        self._sleep = sleep
        self._shown: dict[Hashable, frozenset[str]] = {}
        self._patrol: asyncio.Task[None] | None = None
        self._asked: set[str] = set()
        self._waiting: dict[str, JobRow] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def want(self, rows: Iterable[JobRow], looker: Hashable = "") -> None:
        """These are what the looker sees now. Returns at once."""
        rows = tuple(rows)
        self._shown[looker] = frozenset(row.uid for row in rows if row.phase in _HELD)
        if self._shown[looker] and self._patrol is None:
            work = keeping.lasting("asking why jobs wait", self._go_round, sleep=self._sleep)
            self._patrol = asyncio.create_task(work)
        self._queue(
            row for row in rows if row.phase is Phase.FAILED and row.cause is None and row.uid not in self._asked
        )

    def look_away(self, looker: Hashable) -> None:
        """The looker sees nothing any more."""
        self._shown.pop(looker, None)

    def _queue(self, rows: Iterable[JobRow]) -> None:
        for row in rows:
            self._waiting.pop(row.uid, None)
            self._waiting[row.uid] = row
        while len(self._waiting) > MOST_WAITING:
            del self._waiting[next(iter(self._waiting))]
        while len(self._tasks) < min(AT_ONCE, len(self._waiting)):
            task = asyncio.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Read no more."""
        tasks = (*self._tasks, *((self._patrol,) if self._patrol else ()))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _held(self) -> dict[str, JobRow]:
        """What waits and is looked at."""
        shown = frozenset().union(*self._shown.values())
        found = ((uid, self._board.rows.get(uid)) for uid in shown)
        return {uid: row for uid, row in found if row is not None and row.phase in _HELD}

    async def _go_round(self) -> None:
        """While jobs that wait are looked at: those whose turn it is are read."""
        turns: dict[str, _Turn] = {}
        while held := self._held():
            turns = {uid: turns.get(uid) or _Turn() for uid in held}
            await self._sleep(ROUND)
            now = self._held()
            self._queue(now[uid] for uid, turn in turns.items() if uid in now and turn.comes())
        self._patrol = None

    async def _work(self) -> None:
        while self._waiting:
            uid, wanted = self._waiting.popitem()
            row = self._board.rows.get(uid, wanted)
            if row.phase is Phase.FAILED:
                self._asked.add(uid)
            try:
                why = await self._read(row)
            except UnreachableError:  # asked again when it is looked at again
                self._asked.discard(uid)
            except KubeflowError:  # deleted by now, or not ours to read: what its own status says has to do
                continue
            else:
                if why is not None or row.cause is not None:
                    self._board.explain(row, why)


@dataclass(slots=True)
class _Turn:
    """When a job that waits is read again: after one round, then two, then four."""

    left: int = 1
    pause: int = 1

    def comes(self) -> bool:
        """Whether it is its turn in this round."""
        self.left -= 1
        if self.left:
            return False
        self.left = self.pause = min(2 * self.pause, _LONGEST)
        return True
