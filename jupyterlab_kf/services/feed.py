"""A job as it changes, as one stream of views or of lines.

One watch on the job, one on its pods, one followed log a pod; changes of the same moment are shown together. State is
rebuilt from the API whenever a feed begins, so any process can show any job at any time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import replace
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster import keeping, shapes, watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import ApiError, NotFoundError, UnreachableError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import pods, training
from jupyterlab_kf.model import JobView, LogLine, Obj, Ref, Replica, format_time, meta
from jupyterlab_kf.services import explain, logs, pictures
from jupyterlab_kf.services.pictures import MOST_FOLLOWED, Picture

_QUIET: Final = 1.0
_TOGETHER: Final = 0.05
_DRAIN: Final = 3.0
_PATIENCE: Final = 1.5
"""Seconds that a replica may wait before the events are asked why."""


async def views(client: Client, kind: Kind, picture: Picture) -> AsyncGenerator[JobView, None]:
    """Views of the picture's job until it is finished: at every change, and at least every second.

    The picture is the caller's to keep: it remembers what pods said that a finished job no longer has.

    Raises:
        NotFoundError: the job was deleted.
    """
    feed = _Feed(client, kind, picture)
    try:
        async for view in feed.views():
            yield view
    finally:
        await feed.stop()


async def follow_lines(client: Client, kind: Kind, job: Obj) -> AsyncGenerator[LogLine, None]:
    """Lines of all replicas as they are written, until the job is finished and everything was read."""
    feed = _Feed(client, kind, Picture(job))
    try:
        async for line in feed.lines():
            yield line
    finally:
        await feed.stop()


class _Feed:
    """The tasks that keep one picture up to date."""

    def __init__(self, client: Client, kind: Kind, picture: Picture) -> None:
        self._client = client
        self._kind = kind
        self._picture = picture
        self._space = str(meta(picture.job)["namespace"])
        self._dirty = asyncio.Event()
        self._queue: asyncio.Queue[LogLine] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._deleted = False
        self._synced = asyncio.Event()
        self._asked = 0.0
        self._heard = 0.0
        """When a line was read last, on the monotonic clock."""

    async def views(self) -> AsyncGenerator[JobView, None]:
        self._start()
        began = time.monotonic()
        while True:
            await self._changed()
            self._check()
            if time.monotonic() - began > _PATIENCE and time.monotonic() - self._asked > _QUIET:
                await self._ask()
            finished = training.decode(self._picture.job).phase.finished
            if finished:
                await self._drain()
                await self._ask()
            if self._synced.is_set():
                yield self._picture.view()
            if finished:
                return

    async def lines(self) -> AsyncGenerator[LogLine, None]:
        queue: asyncio.Queue[LogLine] = asyncio.Queue()
        self._queue = queue
        self._start()
        while True:
            while not queue.empty():
                yield queue.get_nowait()
            self._check()
            if training.decode(self._picture.job).phase.finished:
                break
            await self._changed(together=0.0)
        # Whoever reads lines wants them all, however far behind the reading is; only silence ends it.
        await self._catch_up()
        self._heard = time.monotonic()
        while self._reading() and time.monotonic() - self._heard < _DRAIN:
            await self._changed(together=0.0)
            while not queue.empty():
                yield queue.get_nowait()
        while not queue.empty():
            yield queue.get_nowait()

    async def stop(self) -> None:
        tasks = [*self._tasks, *self._readers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self) -> None:
        self._tasks = [asyncio.create_task(self._watch_job()), asyncio.create_task(self._watch_pods())]

    async def _changed(self, together: float = _TOGETHER) -> None:
        try:
            async with asyncio.timeout(_QUIET):
                await self._dirty.wait()
        except TimeoutError:
            return
        await asyncio.sleep(together)
        self._dirty.clear()

    def _check(self) -> None:
        """Raise what ended a watch, or that the job is gone."""
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error
        if self._deleted:
            ref = Ref.of(self._picture.job)
            raise NotFoundError(f"{ref} was deleted", ref=ref)

    async def _watch_job(self) -> None:
        head = meta(self._picture.job)
        present = False

        def take(change: watch.Change) -> None:
            nonlocal present
            if change.type == "SYNCED":
                self._deleted = self._deleted or not present
            elif meta(change.obj).get("uid") == head.get("uid"):
                present = change.type != "DELETED"
                self._deleted = not present
                if present:
                    self._picture.job = change.obj
            self._dirty.set()

        await keeping.keep(self._client, self._kind, self._space, take, fields=f"metadata.name={head['name']}")

    async def _watch_pods(self) -> None:
        job = self._picture.job

        def take(change: watch.Change) -> None:
            if change.type == "SYNCED":
                self._synced.set()
            elif training.owned(job, [change.obj]):
                uid = str(meta(change.obj)["uid"])
                if change.type == "DELETED":
                    self._picture.pods.pop(uid, None)
                    self._picture.gone[uid] = change.obj
                else:
                    self._picture.pods[uid] = change.obj
                    self._read(uid, change.obj)
            self._dirty.set()

        selector = training.pod_selector(job)
        await keeping.keep(self._client, kinds.POD, self._space, take, selector=selector, shape=shapes.POD)

    def _read(self, uid: str, pod: Obj) -> None:
        """Follow a pod's log, once it has begun to say something."""
        begun = (pod.get("status") or {}).get("phase") not in (None, "Pending") or any(
            (status.get("state") or {}).get("running") or status.get("restartCount")
            for status in (pod.get("status") or {}).get("containerStatuses") or ()
        )
        if begun and uid not in self._readers and len(self._readers) < MOST_FOLLOWED:
            name, place = str(meta(pod)["name"]), logs.Place()
            work = keeping.lasting(f"reading the log of {self._space}/{name}", lambda: self._follow(uid, name, place))
            reader = self._readers[uid] = asyncio.create_task(work)
            reader.add_done_callback(lambda _: self._dirty.set())

    async def _follow(self, uid: str, pod: str, place: logs.Place) -> None:
        name = next((one.name for one in self._picture.replicas if one.pod == pod), pod)
        pause = 0.1
        if self._restarts(uid) and not place.time:
            # What a run before this one said is what tells why there is this one.
            await self._read_log(pod, name, place, previous=True)
            place.renew()
        while True:
            await self._client.gate.wait()
            before = self._restarts(uid)
            try:
                said = await self._read_log(pod, name, place)
            except NotFoundError:
                said = False  # a node may tell of a container before its log can be asked for
            now = self._picture.pods.get(uid)
            if now is None or (now.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
                return
            if self._restarts(uid) != before:
                place.renew()
            pause = 0.1 if said else min(pause * 2, 2.0)
            await asyncio.sleep(pause)

    async def _read_log(self, pod: str, name: str, place: logs.Place, *, previous: bool = False) -> bool:
        """Read on from a place, to the end of the log; True when there was something."""
        said = False
        place.resume()
        try:
            async for raw in self._client.logs(
                self._space,
                pod,
                container=training.container_of(self._picture.job),
                follow=not previous,
                since=format_time(place.time) if place.time else "",
                timestamps=True,
                previous=previous,
            ):
                line = logs.parse(raw, name)
                if place.is_new(line.time):
                    said = True
                    self._take(line)
        except NotFoundError:
            if not previous:
                raise
        except UnreachableError:
            await self._client.gate.failed()
            return False
        except ApiError:
            return False  # it is being started again: the caller pauses and comes back
        return said

    def _restarts(self, uid: str) -> int:
        return int(pods.main_status(self._picture.pods.get(uid) or {}).get("restartCount") or 0)

    def _take(self, line: LogLine) -> None:
        if logs.packed(line):
            return
        if self._queue is not None:
            self._queue.put_nowait(line)
        else:
            self._picture.take(line)
        self._heard = time.monotonic()
        self._dirty.set()

    async def _catch_up(self) -> None:
        """Until every pod is known that the finished job has, and its log is being read.

        Two watches may be apart: the job's end can be told before the start of a replica that ran but for a moment.
        """
        job = self._picture.job
        with suppress(TimeoutError, UnreachableError, ApiError):
            async with asyncio.timeout(_DRAIN):
                await self._synced.wait()
                known = dict(self._picture.pods)
                found = await self._client.list(
                    kinds.POD, self._space, selector=training.pod_selector(job), shape=shapes.POD
                )
                for pod in training.owned(job, found):
                    uid = str(meta(pod)["uid"])
                    if uid in self._picture.gone or self._picture.pods.get(uid) is not known.get(uid):
                        continue  # the watch is ahead of this list
                    self._picture.pods[uid] = dict(pod)
                    self._read(uid, self._picture.pods[uid])

    def _reading(self) -> list[str]:
        """The pods whose logs are not read to their ends yet."""
        return [uid for uid, reader in self._readers.items() if not reader.done()]

    async def _drain(self) -> None:
        """Let the logs be read to their ends; the last lines matter most when a job fails.

        Of a log that is so long that its reading is far behind, the end is read by itself.
        """
        await self._catch_up()
        if self._readers:
            await asyncio.wait(self._readers.values(), timeout=_DRAIN)
        late = {str(meta(self._picture.pods.get(uid) or {}).get("name")) for uid in self._reading()}
        for reader in self._readers.values():
            reader.cancel()
        for one in self._picture.replicas:
            if one.pod in late or (one.pod and explain.torn(list(self._picture.tails.get(one.name, ())))):
                await self._skip_to_end(one)

    async def _skip_to_end(self, replica: Replica) -> None:
        """Take the last lines of a replica that are not taken yet."""
        container = training.container_of(self._picture.job)
        lines = await pictures.tail_if_any(self._client, self._space, replica, container)
        for name in dict.fromkeys(line.replica for line in lines):
            said, taken = [line for line in lines if line.replica == name], self._picture.tails.get(name)
            known = max((place for place, line in enumerate(said, 1) if taken and line == taken[-1]), default=0)
            for line in said[known:]:
                if known or not taken or (line.time or 0.0) > (taken[-1].time or 0.0):
                    self._picture.take(line)

    async def _ask(self) -> None:
        self._asked = time.monotonic()
        # While the server is away the watches wait for it, and the view goes on with what was known.
        if self._client.gate.error is None and self._picture.puzzling():
            with suppress(UnreachableError, ApiError):
                await pictures.ask(self._client, self._picture)


def without_times(line: LogLine) -> LogLine:
    """The line as it is handed out when nobody asked for times."""
    return replace(line, time=None)
