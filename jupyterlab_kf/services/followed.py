"""What several people look at, followed once for all of them: from the first who looks until a while after the last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, Generic, TypeVar

from jupyterlab_kf.cluster import keeping
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import ClusterError, KubeflowError, NotFoundError, UnreachableError

_LOOK: Final = 1.0
"""Seconds between two looks for a cluster that does not run."""
_LINGER: Final = 5.0
"""Seconds that something is followed after the last who looked has gone."""

_STILL: Final = 3
"""Mistakes in a row after which who looks is told that the picture stands still."""
_MISTAKE: Final = "what is shown here stands still: a mistake in jupyterlab-kf keeps it from being read"
_TRIED: Final = "the log of the Jupyter server says which; it is tried again and again"

K = TypeVar("K")


class Feed(Generic[K]):
    """The newest picture of something. ``gone`` once it was deleted; ``error`` says why it cannot be followed."""

    def __init__(self, key: K) -> None:
        self.key = key
        self.gone = False
        self.error: KubeflowError | None = None
        self.listeners: list[Callable[[], None]] = []
        self.task: asyncio.Task[None] | None = None

    def tell(self) -> None:
        """Call who listens."""
        for listener in tuple(self.listeners):
            listener()


F = TypeVar("F", bound=Feed[Any])


class Feeds(Generic[K, F]):
    """Everything of a kind that is looked at.

    Args:
        client: answers the client to read with; raises while there is no cluster.
        make: the empty picture of what a key means.
        keep: keeps a picture up to date, until nothing changes any more; raises NotFoundError when what it shows is
            gone. It is begun again after a mistake.
        sleep: waits; tests hand in their own.
    """

    def __init__(
        self,
        client: Callable[[], Awaitable[Client]],
        make: Callable[[K], F],
        keep: Callable[[Client, F], Awaitable[None]],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._client = client
        self._make = make
        self._keep = keep
        self._sleep = sleep
        self._feeds: dict[K, F] = {}
        self._background: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[F]:
        """What is looked at now."""
        return iter(tuple(self._feeds.values()))

    def look(self, key: K, listener: Callable[[], None]) -> tuple[F, Callable[[], None]]:
        """The feed of a key, which others may be looking at too, and what to call when one looks away."""
        feed = self._feeds.get(key)
        if feed is None or feed.gone or (feed.error is not None and (feed.task is None or feed.task.done())):
            feed = self._feeds[key] = self._make(key)
            feed.task = asyncio.create_task(self._follow(feed))
        looked = feed
        looked.listeners.append(listener)

        def leave() -> None:
            looked.listeners.remove(listener)
            if not looked.listeners:
                task = asyncio.create_task(self._forget(looked))
                self._background.add(task)
                task.add_done_callback(self._background.discard)

        return looked, leave

    async def stop(self, why: str = "", hint: str = "") -> None:
        """Follow none any more, and tell who looks why, if there is anything to tell."""
        feeds, self._feeds = list(self._feeds.values()), {}
        tasks = [*self._background, *(feed.task for feed in feeds if feed.task)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for feed in feeds if why else ():
            feed.error = ClusterError(why, hint=hint)
            feed.tell()

    async def _forget(self, feed: F) -> None:
        await self._sleep(_LINGER)
        if not feed.listeners and self._feeds.get(feed.key) is feed:
            del self._feeds[feed.key]
            if feed.task is not None:
                feed.task.cancel()

    async def _follow(self, feed: F) -> None:
        async def once() -> None:
            feed.error = None
            await self._keep(await self._client(), feed)

        def failed(mistakes: int) -> None:
            if mistakes >= _STILL:
                feed.error = KubeflowError(_MISTAKE, hint=_TRIED)
                feed.tell()

        while True:
            try:
                await keeping.lasting(f"following {feed.key}", once, failed=failed, sleep=self._sleep)
            except NotFoundError:
                feed.gone = True
            except (UnreachableError, ClusterError):
                await self._sleep(_LOOK)
                continue
            except KubeflowError as error:
                feed.error = error
            feed.tell()
            return
