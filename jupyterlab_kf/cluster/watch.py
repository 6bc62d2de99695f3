"""List, then watch, for ever: every change of the objects of one kind, whatever happens to the connection.

Resumes from the last resource version (bookmarks move it) when the server closes the stream; lists anew and answers
the differences when the version is too old, in both forms that this is told; takes a silent connection for dead;
pauses longer and longer, with jitter, when nothing works. What cannot get better by waiting (no right, no such kind)
is raised. Resource versions are never compared, and objects are told apart by uid.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from jupyterlab_kf.cluster.client import Client
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
    """

    silence: float = SILENCE
    first: float = 0.2
    longest: float = 30.0
    healthy: float = 5.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic


@dataclass(slots=True)
class _State:
    known: dict[str, Obj] = field(default_factory=dict)
    version: str = ""
    failures: int = 0


async def follow(
    client: Client,
    kind: Kind,
    namespace: str | None = None,
    *,
    selector: str = "",
    fields: str = "",
    pace: Pace | None = None,
) -> AsyncGenerator[Change, None]:
    """Every change, beginning with what is there.

    Raises:
        ApiError: the server refuses for a reason that waiting does not cure.
    """
    pace = pace or Pace()
    state = _State()
    filters = {key: value for key, value in (("labelSelector", selector), ("fieldSelector", fields)) if value}
    while True:
        began = pace.clock()
        try:
            if not state.version:
                items, version = await client.snapshot(kind, namespace, selector=selector, fields=fields, revive=False)
                for change in _differences(state, items):
                    yield change
                state.version = version
                yield Change("SYNCED", {})
            began = pace.clock()
            async for change in _stream(client, kind.path(namespace), filters, state, pace):
                state.failures = 0
                yield change
        except ExpiredError:
            state.version = ""
        except UnreachableError:
            pass  # the pause below is the answer
        except ApiError as error:
            if error.code < 500 and error.code != 429:  # noqa: PLR2004
                raise
        if pace.clock() - began >= pace.healthy:
            state.failures = 0
        state.failures += 1
        await pace.sleep(_delay(pace, state.failures))


def _delay(pace: Pace, failures: int) -> float:
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
    async with client.stream(path, params=query, silence=pace.silence) as lines:
        async for line in lines:
            if not line.strip():
                continue
            try:
                event = json.loads(line)
            except ValueError as error:  # a stream that was cut within a line
                raise UnreachableError(f"the watch of {path} was cut off") from error
            type_, obj = event.get("type"), event.get("object") or {}
            if type_ == "ERROR":
                raise from_status(obj, code=int(obj.get("code") or 500))
            state.version = str(meta(obj).get("resourceVersion") or state.version)
            if type_ == "BOOKMARK":
                continue
            if change := _note(state, type_, obj):
                yield change


def _note(state: _State, type_: str, obj: Obj) -> Change | None:
    """Bring what is known up to date; an object that is new to us is ADDED whatever the server calls it."""
    uid = _identity(obj)
    before = state.known.get(uid)
    if type_ == "DELETED":
        return Change("DELETED", obj) if state.known.pop(uid, None) is not None else None
    state.known[uid] = obj
    return Change("ADDED" if before is None else "MODIFIED", obj)


def _differences(state: _State, items: list[Obj]) -> list[Change]:
    fresh = {_identity(item): item for item in items}
    changes = [Change("DELETED", obj) for uid, obj in state.known.items() if uid not in fresh]
    for uid, obj in fresh.items():
        before = state.known.get(uid)
        if before is None:
            changes.append(Change("ADDED", obj))
        elif meta(before).get("resourceVersion") != meta(obj).get("resourceVersion"):
            changes.append(Change("MODIFIED", obj))
    state.known = fresh
    return changes


def _identity(obj: Obj) -> str:
    head = meta(obj)
    return str(head.get("uid") or f"{head.get('namespace', '')}/{head.get('name', '')}")
