"""What is shown follows the cluster for days: a mistake that nobody thought of must not end that silently.

A watch that is kept hands each change to its taker. A change that cannot be taken is logged with its object and holds
up no other; after a pause, which grows, all is read and told anew, what has gone meanwhile too. So whatever a mistake
touched is right again as soon as it is made no more. What the server says passes: only the caller knows what it means.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from jupyterlab_kf.cluster import shapes, watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.shapes import Shape
from jupyterlab_kf.cluster.watch import Change
from jupyterlab_kf.errors import ApiError, KubeflowError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, meta

log = logging.getLogger(__name__)

_PACE: Final = watch.Pace(first=1.0, longest=60.0, healthy=60.0)
"""All is read anew after a mistake, which may be made for ever: not often."""
_BATCH: Final = 200
_LOGGED: Final = 3
"""Mistakes that are logged between two beginnings: all of thousands of objects may be of one form."""

Sleep = Callable[[float], Awaitable[None]]


@dataclass(slots=True)
class _Series:
    """Mistakes that followed on each other, and how long to wait after the newest."""

    length: int = 0

    def pause(self, well: float) -> float:
        """The pause after one more, before which all went well for so many seconds."""
        self.length = 1 if well >= _PACE.healthy else self.length + 1
        return watch.delay(_PACE, self.length)


async def lasting(
    what: str,
    work: Callable[[], Awaitable[None]],
    *,
    failed: Callable[[int], None] = lambda _: None,
    sleep: Sleep = asyncio.sleep,
) -> None:
    """Do the work to its end; where a mistake ends it, begin it again after a pause.

    Args:
        what: what is done, for the log.
        work: begins from nothing each time that it is called.
        failed: hears after each mistake how many there were in a row.
        sleep: waits; tests hand in their own.

    Raises:
        KubeflowError: the work says that it cannot be done.
    """
    series, clock = _Series(), asyncio.get_running_loop().time
    while True:
        began = clock()
        try:
            await work()
        except KubeflowError:
            raise
        except Exception:  # whoever looks at a picture that stands still takes it for the newest
            log.exception("%s ended by a mistake and begins again", what)
            pause = series.pause(clock() - began)
            failed(series.length)
            await sleep(pause)
        else:
            return


async def keep(
    client: Client,
    kind: Kind,
    namespace: str | None,
    take: Callable[[Change], None],
    *,
    known: dict[str, Obj] | None = None,
    selector: str = "",
    fields: str = "",
    shape: Shape = shapes.OBJECT,
    remember: Callable[[Obj], Obj] = dict,
    pace: watch.Pace | None = None,
) -> None:
    """Have every change taken, for ever. The parameters are those of :func:`.watch.follow`.

    Args:
        client: the cluster.
        kind: which objects.
        namespace: where; None for everywhere.
        take: takes a change, and takes one that it had without harm. An ApiError of it ends the watch.
        known: what an earlier watch told, for the taker to hear what has gone since.
        selector: by labels.
        fields: by fields.
        shape: what is read of each object.
        remember: what is remembered of each object.
        pace: how patient the watch is with the server.

    Raises:
        ApiError: the server refuses for a reason that waiting does not cure, or the taker has heard enough.
    """
    keeper = _Keeper(kind, take, {} if known is None else known)
    how: dict[str, Any] = {"selector": selector, "fields": fields, "shape": shape, "keep": remember, "pace": pace}

    async def look() -> None:
        while True:
            await keeper.take_in(watch.follow(client, kind, namespace, known=keeper.known, **how))

    await lasting(f"the watch of {kind.plural}", look)


class _Keeper:
    """What outlives a watch: what it told, and how often there were mistakes."""

    def __init__(self, kind: Kind, take: Callable[[Change], None], known: dict[str, Obj]) -> None:
        self.known = known
        self._kind = kind
        self._take = take
        self._series = _Series()

    async def take_in(self, follow: AsyncGenerator[Change, None]) -> None:
        """Take every change; after a mistake what can be taken, until all is to be read anew."""
        clock = asyncio.get_running_loop().time
        began, mistakes = clock(), 0
        lost: dict[str, Obj] = {}
        try:
            async with asyncio.timeout(None) as patience, aclosing(follow) as changes:
                count = 0
                async for change in changes:
                    if not self._taken(change, aloud=mistakes < _LOGGED):
                        mistakes += 1
                        if change.type == "DELETED":
                            lost[watch.identity(change.obj)] = change.obj
                        if mistakes == 1:
                            patience.reschedule(clock() + self._series.pause(clock() - began))
                    count += 1
                    if count % _BATCH == 0:
                        await asyncio.sleep(0)  # a long list must not hold up the others of this loop
        except TimeoutError:
            if not patience.expired():
                raise
        finally:
            self.known.update(lost)  # gone, and not taken as such: it is told again

    def _taken(self, change: Change, *, aloud: bool) -> bool:
        try:
            self._take(change)
        except ApiError:
            raise
        except Exception:
            if aloud:
                log.exception("%s could not be taken in; all are read again", _name(self._kind, change))
            return False
        return True


def _name(kind: Kind, change: Change) -> str:
    head = meta(change.obj)
    name = "/".join(str(head[part]) for part in ("namespace", "name") if head.get(part))
    return f"{change.type} of {kind.kind} {name}" if name else f"{change.type} of {kind.plural}"


def name_only(obj: Obj) -> Obj:
    """The least that can be remembered of an object: enough to tell that it has changed or gone."""
    head = meta(obj)
    return {"metadata": {key: head.get(key) for key in ("uid", "name", "namespace", "resourceVersion")}}
