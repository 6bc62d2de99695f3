"""What the servers of an endpoint print: of all its versions, as it is written, for as long as somebody reads.

Pods come and go with versions, restarts and sleep; each run of a container is read once, from its last lines on.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster import keeping, shapes, watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.controllers.seldon import names
from jupyterlab_kf.errors import ApiError, UnreachableError
from jupyterlab_kf.manifests import endpoints
from jupyterlab_kf.model import LogLine, Obj, format_time, labels, meta
from jupyterlab_kf.services import logs
from jupyterlab_kf.services.serving import states

TAIL: Final = 2000
"""Lines of a container that are shown of what was printed before somebody looked."""
_QUEUE: Final = 10_000
_AGAIN: Final = 2.0
"""Seconds until a log is read on that ended while its container had not."""


def speakers(pod: Obj) -> list[str]:
    """The containers whose lines are the user's: all but the engine, where that is not alone."""
    every = [str(one["name"]) for one in (pod.get("spec") or {}).get("containers") or ()]
    return [one for one in every if one != names.ENGINE] or every


def called(endpoint: str, version: str, number: int, container: str, *, alone: bool) -> str:
    """Who speaks: a version's replica, and its unit where there are several."""
    if alone:
        return f"{version}-{number}"
    return f"{version}-{number}/{container.removeprefix(f'{endpoint}-{version}-')}"


async def read(client: Client, endpoint: Obj, versions: Sequence[str], tail: int | None) -> list[LogLine]:
    """What is there of the named versions, by replica, without times."""
    space, name = str(meta(endpoint)["namespace"]), str(meta(endpoint)["name"])
    found = await client.list(kinds.POD, space, selector=endpoints.pod_selector(name))
    lines = []
    for version in versions:
        for number, pod in enumerate(states.pods_of(version, found)):
            for container, who in _told(name, version, number, pod):
                said = client.logs(space, str(meta(pod)["name"]), container=container, tail=tail)
                with contextlib.suppress(ApiError):  # it has not begun, or is gone
                    lines += [LogLine(who, text) async for text in said]
    return lines


async def follow(
    client: Client, namespace: str, name: str, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
) -> AsyncGenerator[LogLine]:
    """What all versions print, each line with its time, until nobody reads any more.

    Raises:
        ApiError: pods may not be looked at.
    """
    following = _Following(client, namespace, name, sleep)
    try:
        async for line in following.lines():
            yield line
    finally:
        await following.stop()


_Run = tuple[str, str, int]
"""A pod's uid, a container of it, and how often that was started again: a log of its own."""


class _Following:
    """The tasks that read the logs of one endpoint."""

    def __init__(self, client: Client, namespace: str, name: str, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._client = client
        self._space = namespace
        self._name = name
        self._sleep = sleep
        self._queue: asyncio.Queue[LogLine | None] = asyncio.Queue(_QUEUE)
        self._numbers: dict[str, list[str]] = {}
        """Version to the uids of its pods, in the order in which they came."""
        self._running: set[_Run] = set()
        self._readers: dict[_Run, asyncio.Task[None]] = {}
        self._watch: asyncio.Task[None] | None = None

    async def lines(self) -> AsyncGenerator[LogLine]:
        selector = endpoints.pod_selector(self._name)
        watching = keeping.keep(self._client, kinds.POD, self._space, self._take, selector=selector, shape=shapes.POD)
        self._watch = asyncio.create_task(watching)
        self._watch.add_done_callback(lambda _: self._queue.put_nowait(None))
        while (line := await self._queue.get()) is not None:
            yield line
        self._watch.result()

    async def stop(self) -> None:
        tasks = [*self._readers.values(), *([self._watch] if self._watch else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _take(self, change: watch.Change) -> None:
        if change.type == "SYNCED":
            return
        pod = change.obj
        uid = str(meta(pod).get("uid"))
        gone = change.type == "DELETED"
        version = labels(pod).get(endpoints.LABEL_VERSION, "")
        pods = self._numbers.setdefault(version, [])
        if uid not in pods:
            pods.append(uid)
        told = dict(_told(self._name, version, pods.index(uid), pod))
        self._running = {run for run in self._running if run[0] != uid}
        for one in (pod.get("status") or {}).get("containerStatuses") or ():
            state, container = one.get("state") or {}, str(one.get("name"))
            run = (uid, container, int(one.get("restartCount") or 0))
            if container not in told or gone or not ("running" in state or "terminated" in state):
                continue
            if "running" in state:
                self._running.add(run)
            if run not in self._readers:
                reading = self._read(run, str(meta(pod)["name"]), told[container])
                self._readers[run] = asyncio.create_task(reading)

    async def _read(self, run: _Run, pod: str, who: str) -> None:
        place = logs.Place()
        while True:
            place.resume()
            said = self._client.logs(
                self._space,
                pod,
                container=run[1],
                follow=True,
                timestamps=True,
                tail=None if place.time else TAIL,
                since=format_time(place.time) if place.time else "",
            )
            with contextlib.suppress(ApiError, UnreachableError):  # it is gone, or the server is away for a while
                async for text in said:
                    line = logs.parse(text, who)
                    if place.is_new(line.time):
                        await self._queue.put(line)
            await self._sleep(_AGAIN)
            if run not in self._running:
                return


def _told(endpoint: str, version: str, number: int, pod: Obj) -> Iterator[tuple[str, str]]:
    """The containers of a pod that are listened to, and as whom each speaks."""
    every = speakers(pod)
    for container in every:
        yield container, called(endpoint, version, number, container, alone=len(every) == 1)
