"""What one server of panels keeps: the cluster that was chosen, the board of its jobs, and views shared by who looks.

Nothing is opened before somebody looks, and looking never starts a cluster: a cluster of our own that does not run is
waited for. Only :meth:`Desk.awake` starts it, and only a person's deed calls that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from jupyterlab_kf import kinds, settings
from jupyterlab_kf.cluster import connection
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.connection import Choice, Connection
from jupyterlab_kf.errors import (
    ClusterError,
    ForbiddenError,
    KubeflowError,
    NotFoundError,
    UnreachableError,
    UsageError,
)
from jupyterlab_kf.manifests import pods
from jupyterlab_kf.model import JobView, Obj, meta
from jupyterlab_kf.services import feed, session
from jupyterlab_kf.services.board import Board, JobRow, Link
from jupyterlab_kf.services.plans import kind_of

_LOOK: Final = 1.0
"""Seconds between two looks for a cluster that does not run yet."""
_COMPLETE: Final = 10.0
_LINGER: Final = 5.0
"""Seconds that a view is kept up after the last who looked has gone: a page that is loaded again finds it."""

Listener = Callable[[JobRow | None, JobRow | None], None]


@dataclass(frozen=True, slots=True)
class JobKey:
    """Which job. With a uid only that very one, and not another that took its name."""

    kind: str
    namespace: str
    name: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the cluster's machines have and what is free: CPUs, bytes and GPUs; ``largest`` is of one machine."""

    nodes: int = 0
    cpu: float = 0.0
    memory: float = 0.0
    gpu: float = 0.0
    free_cpu: float = 0.0
    free_memory: float = 0.0
    free_gpu: float = 0.0
    largest_cpu: float = 0.0
    largest_memory: float = 0.0


@dataclass(slots=True)
class SharedView:
    """The newest view of a job, kept up to date while somebody looks. ``gone`` once it was deleted."""

    key: JobKey
    view: JobView | None = None
    gone: bool = False
    error: KubeflowError | None = None
    wanted: int = 0
    listeners: list[Callable[[], None]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    def tell(self) -> None:
        """Call who listens."""
        for listener in tuple(self.listeners):
            listener()


class Desk:
    """One cluster, looked at by many.

    Args:
        choose: which cluster; reads files.
        open_: its connection; with True the cluster may be started by it.
        sleep: waits; tests hand in their own.
    """

    def __init__(
        self,
        choose: Callable[[], Choice] | None = None,
        open_: Callable[[Choice, bool], Connection] | None = None,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._choose = choose or _choose
        self._open = open_ or _open
        self._sleep = sleep
        self.choice: Choice | None = None
        self.board: Board | None = None
        self._client: Client | None = None
        self._link = Link()
        self._listeners: list[Listener] = []
        self._opening: asyncio.Task[None] | None = None
        self._views: dict[JobKey, SharedView] = {}
        self._one_by_one = asyncio.Lock()
        self._background: set[asyncio.Task[None]] = set()

    @property
    def link(self) -> Link:
        """How it stands with the cluster."""
        if self.board is None:
            return self._link
        found = self.board.link
        if found.state == "unreachable" and self.choice is not None and self.choice.embedded:
            return _STOPPED
        return found

    @property
    def namespace(self) -> str:
        """Where the user works unless told otherwise."""
        options = settings.load()
        return options.namespace or (self.choice.namespace if self.choice else "")

    def open(self) -> None:
        """Begin to look at the cluster. Returns at once."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._connect())

    async def close(self) -> None:
        """Stop looking."""
        tasks = [*self._background, *(view.task for view in self._views.values() if view.task)]
        tasks += [self._opening] if self._opening else []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.board is not None:
            await self.board.stop()
        if self._client is not None:
            await self._client.close()

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Have it called at every change of a row, and with two Nones when the link changes."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def client(self) -> Client:
        """The client to read with.

        Raises:
            ClusterError: the cluster does not run.
        """
        self.open()
        if self.board is None or self.link.state == "stopped":
            await self._attempt(start=False)
        if self._client is None or self.board is None:
            raise ClusterError(self._link.message or "the cluster is not there yet", hint=self._link.hint)
        return self._client

    async def awake(self) -> Client:
        """The client, after the cluster was started if it is our own and does not run."""
        self.open()
        if self.board is None or self.link.state in ("stopped", "unreachable"):
            await self._attempt(start=True)
        return await self.client()

    # ------------------------------------------------------------------------------------------------------ views

    def look(self, key: JobKey, listener: Callable[[], None]) -> tuple[SharedView, Callable[[], None]]:
        """The view of a job that others may be looking at too, and what to call when one looks away."""
        shared = self._views.get(key)
        if shared is None or shared.gone or shared.error is not None:
            shared = self._views[key] = SharedView(key)
        shared.wanted += 1
        shared.listeners.append(listener)
        if shared.task is None:
            shared.task = asyncio.create_task(self._follow(shared))

        def leave() -> None:
            shared.listeners.remove(listener)
            shared.wanted -= 1
            if not shared.wanted:
                task = asyncio.create_task(self._forget(shared))
                self._background.add(task)
                task.add_done_callback(self._background.discard)

        return shared, leave

    async def job(self, key: JobKey, client: Client | None = None) -> Obj:
        """The job's object.

        Raises:
            NotFoundError: it is not there, or another has its name.
        """
        client = client or await self.client()
        found: Obj | None = None
        for kind in training_kinds(key.kind):
            with suppress(NotFoundError):
                found = await client.get(kind, key.namespace, key.name)
                break
        if found is None or (key.uid and meta(found).get("uid") != key.uid):
            raise NotFoundError(f"{key.kind} {key.namespace}/{key.name} is not on the cluster any more")
        return found

    async def _follow(self, shared: SharedView) -> None:
        while True:
            try:
                client = await self.client()
                job = await self.job(shared.key, client)
                async for view in feed.views(client, kind_of(job), feed.Picture(job)):
                    shared.view, shared.error = view, None
                    shared.tell()
            except NotFoundError:
                shared.gone = True
            except (UnreachableError, ClusterError):
                await self._sleep(_LOOK)
                continue
            except KubeflowError as error:
                shared.error = error
            shared.tell()
            return

    async def _forget(self, shared: SharedView) -> None:
        await self._sleep(_LINGER)
        if shared.wanted or self._views.get(shared.key) is not shared:
            return
        del self._views[shared.key]
        if shared.task is not None:
            shared.task.cancel()

    # ----------------------------------------------------------------------------------------------- the cluster

    async def ready(self) -> Board:
        """The board, once its lists are complete.

        Raises:
            ClusterError: the cluster does not run, or does not answer in time.
        """
        await self.client()
        seen = asyncio.Event()
        deaf = self.listen(lambda *_: seen.set())
        try:
            async with asyncio.timeout(_COMPLETE):
                while self.board is None or self.link.state == "connecting":
                    await seen.wait()
                    seen.clear()
        except TimeoutError as error:
            raise ClusterError("the cluster's jobs could not be listed in time") from error
        finally:
            deaf()
        return self.board

    async def capacity(self) -> Capacity:
        """What is free now, as far as the account may see it."""
        client = await self.client()
        try:
            nodes, running = await asyncio.gather(client.list(kinds.NODE), client.list(kinds.POD))
        except ForbiddenError:
            return Capacity()
        each = [{k: float(pods.quantity(v, k)) for k, v in _allocatable(node).items() if k in _SHOWN} for node in nodes]
        used: dict[str, float] = {}
        for pod in running:
            if (pod.get("spec") or {}).get("nodeName") and (pod.get("status") or {}).get("phase") in _OCCUPYING:
                for name, amount in pods.requests_of(pod["spec"]).items():
                    used[name] = used.get(name, 0.0) + float(amount)
        have = {name: sum(node.get(name, 0.0) for node in each) for name in _SHOWN}
        free = {name: max(0.0, have[name] - used.get(name, 0.0)) for name in _SHOWN}
        return Capacity(
            nodes=len(nodes),
            cpu=have["cpu"],
            memory=have["memory"],
            gpu=have[pods.GPU],
            free_cpu=free["cpu"],
            free_memory=free["memory"],
            free_gpu=free[pods.GPU],
            largest_cpu=max((node.get("cpu", 0.0) for node in each), default=0.0),
            largest_memory=max((node.get("memory", 0.0) for node in each), default=0.0),
        )

    async def _connect(self) -> None:
        """Until there is a cluster to look at."""
        while self.board is None:
            await self._attempt(start=False)
            if self.board is None:
                await self._sleep(_LOOK)

    async def _attempt(self, *, start: bool) -> None:
        """Open the connection once; with ``start`` errors are the caller's."""
        async with self._one_by_one:
            await self._try(start=start)

    async def _try(self, *, start: bool) -> None:
        if self.board is not None and self.link.state == "live":
            return
        try:
            choice = self.choice
            if choice is None:
                choice = self.choice = await asyncio.to_thread(self._choose)
            opened = await asyncio.to_thread(self._open, choice, start)
            if self._client is None:
                self._client = Client(opened)
            else:
                await self._replace(opened)
            await self._client.request("GET", "/version", revive=False)
        except KubeflowError as error:
            stopped = self.choice is not None and self.choice.embedded
            self._report(_STOPPED if stopped else Link("unreachable", error.message, error.hint))
            if start:
                raise
            return
        if self.board is None:
            self.board = Board(self._client, self.namespace or opened.namespace, reopen=self._reopen)
            self.board.listen(self._tell)
            self.board.start()
            self._tell(None, None)

    async def _reopen(self) -> None:
        """The connection, read again: a cluster that was made anew has other credentials."""
        if self.choice is not None:
            with suppress(KubeflowError):
                await self._replace(await asyncio.to_thread(self._open, self.choice, False))

    async def _replace(self, opened: Connection) -> None:
        if self._client is not None:
            self._client.connection = opened
            await self._client.close()

    def _report(self, link: Link) -> None:
        if link != self._link:
            self._link = link
            self._tell(None, None)

    def _tell(self, before: JobRow | None, after: JobRow | None) -> None:
        if before is not None and after is None:
            for shared in self._views.values():
                # A job that is finished is not followed any more, but it may be deleted.
                if shared.view is not None and shared.view.ref.uid == before.uid:
                    shared.gone = True
                    shared.tell()
        for listener in tuple(self._listeners):
            listener(before, after)


_STOPPED: Final = Link(
    "stopped", "The cluster on this machine is not running.", "It starts with the first job, or right now."
)
_SHOWN: Final = ("cpu", "memory", pods.GPU)
_OCCUPYING: Final = ("Pending", "Running", "Unknown", None)


def training_kinds(name: str) -> list[kinds.Kind]:
    """The rows of a training job's kind.

    Raises:
        UsageError: it is not one.
    """
    found = [kind for kind in kinds.TRAINING if kind.kind == name]
    if not found:
        raise UsageError(f"{name!r} is not a kind of training job")
    return found


def _allocatable(node: Obj) -> dict[str, str]:
    return (node.get("status") or {}).get("allocatable") or {}


def _choose() -> Choice:
    return connection.choose(settings.load())


def _open(choice: Choice, start: bool) -> Connection:  # noqa: FBT001  called in a thread, by position
    starter = session.start_embedded if start else None
    return connection.open_connection(choice, settings.load(), starter)
