"""Watches: what one client sees of the changes, from which version on, and until when.

Owns the start (from a version, from now with synthetic ADDED, or as a streaming list), the view through a selector,
idle bookmarks and the end by timeout. A client that reads too slowly is ended, not served with gaps. Refuses to know
how an event is written.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from jupyterlab_kf.embedded.apiserver import failures
from jupyterlab_kf.embedded.apiserver.listing import parse_version
from jupyterlab_kf.embedded.apiserver.requests import Query
from jupyterlab_kf.embedded.apiserver.rules import Cause
from jupyterlab_kf.embedded.apiserver.selectors import Selector
from jupyterlab_kf.embedded.store import Change, Store
from jupyterlab_kf.errors import ApiError, ExpiredError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

BOOKMARK_SECONDS: Final = 60.0
LAST_BOOKMARK_SECONDS: Final = 2.0
DEFAULT_SECONDS: Final = 1800.0
BACKLOG: Final = 20_000
"""Changes that may wait for a slow client before its watch is ended."""
INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"


class Event(NamedTuple):
    """One line of a watch; ``encoded`` is the object as JSON if the store has it."""

    type: str
    obj: Obj
    encoded: bytes = b""


@dataclass(frozen=True, slots=True)
class WatchQuery:
    """The parameters of a watch. ``version`` None starts with the present."""

    version: int | None
    bookmarks: bool
    streaming: bool
    seconds: float


def parse(query: Query) -> WatchQuery:
    """The parameters of a watch.

    Raises:
        ApiError: 422 for what does not go together; 500 for an unreadable version, as a real server.
    """
    match, streaming = query.text("resourceVersionMatch"), query.flag("sendInitialEvents")
    query.number("limit")  # means nothing here, but has to be a number
    causes = []
    if query.has("sendInitialEvents") and match != "NotOlderThan":
        causes.append(_forbidden("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"))
    elif match and not query.has("sendInitialEvents"):
        causes.append(_forbidden("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"))
    if match not in ("", "NotOlderThan"):
        message = f'Unsupported value: "{match}": supported values: "NotOlderThan"'
        causes.append(Cause("resourceVersionMatch", "FieldValueNotSupported", message))
    if causes:
        raise failures.invalid_options("ListOptions", causes)
    try:
        version = parse_version(query.text("resourceVersion"), what="")
    except ApiError as error:
        raise failures.internal(error.message) from error
    seconds = query.number("timeoutSeconds") or DEFAULT_SECONDS
    return WatchQuery(version or None, query.flag("allowWatchBookmarks"), streaming, seconds)


def _forbidden(why: str) -> Cause:
    return Cause("resourceVersionMatch", "FieldValueForbidden", f"Forbidden: {why}")


def seen(change: Change, selector: Selector) -> Event | None:
    """A change as a client with a selector sees it, or None."""
    if not selector:
        return Event(change.type, change.obj, change.encoded)
    before = change.old is not None and selector.matches(change.old)
    after = change.type != "DELETED" and selector.matches(change.obj)
    if after:
        return Event("MODIFIED" if before else "ADDED", change.obj, change.encoded)
    if not before:
        return None
    if change.type == "DELETED":
        return Event("DELETED", change.obj, change.encoded)
    last: Obj = change.old or change.obj
    version = change.obj["metadata"]["resourceVersion"]
    return Event("DELETED", {**last, "metadata": {**last["metadata"], "resourceVersion": version}})


class Watches:
    """Every open watch of a server."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._open: set[_Feed] = set()
        self._unsubscribe = store.subscribe(self._tell)

    def close(self) -> None:
        """End every watch, normally."""
        self._unsubscribe()
        for feed in self._open:
            feed.end()

    def _tell(self, change: Change) -> None:
        for feed in self._open:
            feed.offer(change)

    async def events(
        self, kind: Kind, namespace: str | None, selector: Selector, query: WatchQuery, gone: Callable[[], bool]
    ) -> AsyncIterator[Event]:
        """The events of one watch, until its time is over, the server stops or the client has ``gone``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + query.seconds
        feed = _Feed(kind, namespace)
        self._open.add(feed)
        try:
            for event in self._first(kind, namespace, selector, query):
                yield event
            next_bookmark = min(loop.time() + BOOKMARK_SECONDS, deadline - LAST_BOOKMARK_SECONDS)
            while not gone():
                until = min(deadline, next_bookmark) if query.bookmarks else deadline
                for change in await feed.take(until - loop.time()):
                    shown = seen(change, selector)
                    if shown is not None:
                        yield shown
                if feed.ended or loop.time() >= deadline:
                    return
                if query.bookmarks and loop.time() >= next_bookmark:
                    yield bookmark(kind, self._store.revision)
                    last = deadline - LAST_BOOKMARK_SECONDS
                    following = loop.time() + BOOKMARK_SECONDS
                    next_bookmark = min(following, last) if loop.time() < last else following
        finally:
            self._open.discard(feed)

    def _first(self, kind: Kind, namespace: str | None, selector: Selector, query: WatchQuery) -> list[Event]:
        if query.version is not None and not query.streaming:
            try:
                changes = self._store.since(kind, query.version)
            except ExpiredError as error:
                return [Event("ERROR", failures.status(error))]
            events = (seen(change, selector) for change in changes if _within(change, namespace))
            return [event for event in events if event is not None]
        records = self._store.records(kind, namespace)
        first = [Event("ADDED", record.obj, record.encoded) for record in records if selector.matches(record.obj)]
        if query.streaming and query.bookmarks:
            first.append(bookmark(kind, self._store.revision, initial_end=True))
        return first


class _Feed:
    """Changes on their way to one client."""

    def __init__(self, kind: Kind, namespace: str | None) -> None:
        self._place = kind.group, kind.plural
        self._namespace = namespace
        self._waiting: deque[Change] = deque()
        self._ready = asyncio.Event()
        self.ended = False

    def offer(self, change: Change) -> None:
        if (change.kind.group, change.kind.plural) != self._place or not _within(change, self._namespace):
            return
        if len(self._waiting) >= BACKLOG:
            self.end()
            return
        self._waiting.append(change)
        self._ready.set()

    def end(self) -> None:
        self.ended = True
        self._ready.set()

    async def take(self, seconds: float) -> list[Change]:
        if not self._waiting and not self.ended and seconds > 0:
            try:
                async with asyncio.timeout(seconds):
                    await self._ready.wait()
            except TimeoutError:
                return []
        changes = list(self._waiting)
        self._waiting.clear()
        if not self.ended:
            self._ready.clear()
        return changes


def _within(change: Change, namespace: str | None) -> bool:
    return namespace is None or change.obj["metadata"].get("namespace") == namespace


def bookmark(kind: Kind, revision: int, *, initial_end: bool = False) -> Event:
    """The event that tells a client how far it is."""
    metadata: dict[str, Any] = {"resourceVersion": str(revision)}
    if initial_end:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
    return Event("BOOKMARK", {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": metadata})
