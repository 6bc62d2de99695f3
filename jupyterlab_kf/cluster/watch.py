"""List, then watch, for ever: every change of the objects of one kind, whatever happens to the connection.

Resumes from the last resource version (bookmarks move it) when the server closes the stream; lists anew and answers
the differences when the version is too old, in both forms that this is told; takes a silent connection for dead;
pauses longer and longer, with jitter, when nothing works, and waits at the client's gate while the server is away.
What cannot get better by waiting (no right, no such kind) is raised. Resource versions are never compared, and objects
are told apart by uid.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from jupyterlab_kf.cluster import shapes
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.shapes import Shape
from jupyterlab_kf.errors import ApiError, ExpiredError, UnreachableError, from_status
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, meta

SILENCE: Final = 70.0
"""Seconds without a byte after which a watch counts as dead: bookmarks come about once a minute."""


class Change(NamedTuple):
    """ADDED, MODIFIED or DELETED with the object; SYNCED, with an empty one, after each complete list."""

    type: str
    obj: Obj


@dataclass(frozen=True, slots=True)
class Pace:
    """How patient a watch is; tests hand in their own.

    Attributes:
        first: seconds of the first pause after a failure; each further one doubles up to ``longest``.
        healthy: a stream that lived that long ends the series of failures.
        together: seconds within which events that follow on others are read in one go. A single event is never held
            up; of a flood, each costs a third.
    """

    silence: float = SILENCE
    first: float = 0.2
    longest: float = 30.0
    healthy: float = 5.0
    together: float = 0.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic


@dataclass(slots=True)
class _State:
    known: dict[str, Obj] = field(default_factory=dict)
    version: str = ""
    failures: int = 0
    shape: Shape = shapes.OBJECT
    keep: Callable[[Obj], Obj] = dict
    synced: bool = False

    def told(self, change: Change) -> None:
        """Whoever is told has taken it: an object that has gone is not remembered any more."""
        if change.type == "DELETED":
            self.known.pop(identity(change.obj), None)


async def follow(
    client: Client,
    kind: Kind,
    namespace: str | None = None,
    *,
    selector: str = "",
    fields: str = "",
    shape: Shape = shapes.OBJECT,
    keep: Callable[[Obj], Obj] = dict,
    known: dict[str, Obj] | None = None,
    pace: Pace | None = None,
) -> AsyncGenerator[Change, None]:
    """Every change, beginning with what is there; of each object what ``shape`` tells.

    ``keep`` answers what is remembered of an object, so that it can be told as DELETED when a later list has it no
    more: at least its ``uid``, ``name``, ``namespace`` and ``resourceVersion``. All that is remembered stands in
    ``known``: given to a watch that takes another's place, it has that tell as DELETED what has gone between the two.

    Raises:
        ApiError: the server refuses for a reason that waiting does not cure.
    """
    pace = pace or Pace()
    state = _State(known={} if known is None else known, shape=shape, keep=keep)
    filters = {key: value for key, value in (("labelSelector", selector), ("fieldSelector", fields)) if value}
    while True:
        began, least = pace.clock(), 0.0
        try:
            if not state.version:
                items, version = await client.snapshot(
                    kind, namespace, selector=selector, fields=fields, shape=shape, revive=False
                )
                for change in _differences(state, items):
                    yield change
                    state.told(change)
                items.clear()  # this may run for days
                state.version, state.synced = version, True
                yield Change("SYNCED", {})
            began = pace.clock()
            async for change in _stream(client, kind.path(namespace), filters, state, pace):
                state.failures = 0
                yield change
                state.told(change)
        except ExpiredError:
            state.version = ""
        except (UnreachableError, ApiError) as error:
            if not _curable(error, state):
                raise
            await client.gate.failed()
            least = _asked_pause(error)
        if pace.clock() - began >= pace.healthy:
            state.failures = 0
        state.failures += 1
        await pace.sleep(max(least, delay(pace, state.failures)))


def _curable(error: UnreachableError | ApiError, state: _State) -> bool:
    """Whether waiting may help. Credentials that were good once may be good again: a login can be renewed."""
    if isinstance(error, UnreachableError) or error.code in (408, 429) or error.code >= 500:  # noqa: PLR2004
        return True
    return error.code == 401 and state.synced  # noqa: PLR2004


def _asked_pause(error: UnreachableError | ApiError) -> float:
    """The pause that the server asked for, and some more: it says the same to all."""
    try:
        asked = min(float(error.details["retryAfterSeconds"]), 30.0) if isinstance(error, ApiError) else 0.0
    except (KeyError, ValueError, TypeError):
        return 0.0
    return asked * (1 + random.random() / 4)  # noqa: S311  spreads clients out; nothing secret


def delay(pace: Pace, failures: int) -> float:
    """Seconds to wait after so many failures in a row, with jitter."""
    # The exponent is bounded: a watch may fail for days.
    top: float = min(pace.first * 2 ** min(failures - 1, 16), pace.longest)
    return top * (0.5 + random.random() / 2)  # noqa: S311  spreads clients out; nothing secret


async def _stream(
    client: Client, path: str, filters: Mapping[str, str], state: _State, pace: Pace
) -> AsyncGenerator[Change, None]:
    query = {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": state.version,
        "timeoutSeconds": str(random.randint(300, 600)),  # noqa: S311  not all clients at one time
        **filters,
    }
    async with client.stream(path, params=query, silence=pace.silence, together=pace.together) as lines:
        async for line in lines:
            if not line.strip():
                continue
            try:
                event = state.shape.event(line)
                type_, obj = event["type"], event["object"]
            except (ValueError, KeyError, TypeError) as error:  # a stream that was cut within a line
                raise UnreachableError(f"the watch of {path} was cut off") from error
            if type_ == "ERROR":
                raise from_status(obj, code=int(obj.get("code") or 500))
            state.version = str(meta(obj).get("resourceVersion") or state.version)
            if type_ == "BOOKMARK":
                continue
            if change := _note(state, type_, obj):
                yield change


def _note(state: _State, type_: str, obj: Obj) -> Change | None:
    """Bring what is known up to date; an object that is new to us is ADDED whatever the server calls it.

    What is said twice is not told twice: it is no change, nor is a stream that says it a healthy one.
    """
    uid = identity(obj)
    before = state.known.get(uid)
    if type_ == "DELETED":
        return Change("DELETED", obj) if before is not None else None
    if before is not None and _same(before, obj):
        return None
    state.known[uid] = state.keep(obj)
    return Change("ADDED" if before is None else "MODIFIED", obj)


def _differences(state: _State, items: list[Obj]) -> list[Change]:
    """What a list says that was not told; of the first one all, for what another watch told may not have been taken."""
    fresh = {identity(item): item for item in items}
    changes = [Change("DELETED", obj) for uid, obj in state.known.items() if uid not in fresh]
    for uid, obj in fresh.items():
        before = state.known.get(uid) if state.synced else None
        if before is None:
            changes.append(Change("ADDED", obj))
        elif not _same(before, obj):
            changes.append(Change("MODIFIED", obj))
    state.known.update((uid, state.keep(obj)) for uid, obj in fresh.items())
    return changes


def _same(before: Obj, obj: Obj) -> bool:
    return meta(before).get("resourceVersion") == meta(obj).get("resourceVersion")


def identity(obj: Obj) -> str:
    """What tells an object from all others, also from one that takes its name."""
    head = meta(obj)
    return str(head.get("uid") or f"{head.get('namespace', '')}/{head.get('name', '')}")
