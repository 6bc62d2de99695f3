"""All objects of one kind as rows that are always up to date: for kinds of which a cluster has tens, sent whole.

Jobs come in thousands and have :mod:`.board`. Here the newest come first, and a kind that the cluster does not serve is
an empty list that says so; it is looked for again, for somebody may install it. It writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, Generic, Protocol, TypeVar

from jupyterlab_kf.cluster import watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import ApiError, ForbiddenError, NotFoundError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, meta
from jupyterlab_kf.services import census

MOST: Final = 200
"""Rows that are sent: the newest."""


class Row(Protocol):
    """What every row has."""

    @property
    def uid(self) -> str:
        """Which one."""

    @property
    def created(self) -> float:
        """When it was made, in epoch seconds."""


R = TypeVar("R", bound=Row)


def newest(rows: Iterable[R]) -> tuple[R, ...]:
    """The rows, newest first, and no more than a list is read of."""
    return tuple(sorted(rows, key=lambda row: (-row.created, row.uid))[:MOST])


class Rows(Protocol):
    """What is sent whole when any of it has changed."""

    @property
    def version(self) -> int:
        """Grows with each change."""

    @property
    def known(self) -> bool:
        """Whether it is known what there is."""

    @property
    def served(self) -> bool:
        """Whether the cluster has such objects."""

    @property
    def total(self) -> int:
        """How many there are."""

    def newest(self) -> Sequence[Any]:
        """The rows, newest first."""


class Listing(Generic[R]):
    """The rows of a kind.

    Args:
        client: the cluster; used from the loop in which :meth:`start` is called.
        kind: what is listed.
        namespace: where to look when the account may not list the whole cluster.
        project: the row of an object; None for one that is not to be listed.
        tell: called after each change.
        selector: labels of what is listed; all of the kind where it is empty.
        sleep: waits; tests hand in their own.
    """

    def __init__(
        self,
        client: Client,
        kind: Kind,
        namespace: str,
        project: Callable[[Obj], R | None],
        tell: Callable[[], None],
        *,
        selector: str = "",
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.version = 0
        self.known = False
        """Whether it is known what there is."""
        self.served = True
        """Whether the cluster has the kind."""
        self._rows: dict[str, R] = {}
        self._client = client
        self._kind = kind
        self._namespace = namespace
        self._project = project
        self._tell = tell
        self._selector = selector
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._task = asyncio.create_task(
            census.hold(
                self._client,
                [self._kind],
                self._namespace,
                self._take,
                self._refused,
                selector=self._selector,
                sleep=self._sleep,
            )
        )

    async def stop(self) -> None:
        """End the watch."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def total(self) -> int:
        """How many there are."""
        return len(self._rows)

    @property
    def every(self) -> tuple[R, ...]:
        """The rows, in no order."""
        return tuple(self._rows.values())

    def newest(self) -> tuple[R, ...]:
        """The rows, newest first, and no more than a list is read of."""
        return newest(self._rows.values())

    def _refused(self, error: ApiError) -> float:
        if isinstance(error, NotFoundError | ForbiddenError):
            self._settle(served=False)
            return census.ABSENT_PAUSE
        return census.AGAIN_PAUSE  # the link says how it stands with the cluster; this goes on when it answers

    def _take(self, change: watch.Change) -> None:
        if change.type == "SYNCED":
            self._settle(served=True)
            return
        uid = str(meta(change.obj).get("uid", ""))
        if change.type == "DELETED":
            self._rows.pop(uid, None)
        else:
            row = self._project(change.obj)
            if row is None or self._rows.get(uid) == row:
                return
            self._rows[uid] = row
        self._changed()

    def _settle(self, *, served: bool) -> None:
        if (self.known, self.served) != (True, served):
            self.known, self.served = True, served
            if not served:
                self._rows.clear()
            self._changed()

    def _changed(self) -> None:
        self.version += 1
        self._tell()
