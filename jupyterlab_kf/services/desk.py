"""What one server of panels keeps: the cluster that was chosen, the board of its jobs, and views shared by who looks.

Nothing is opened before somebody looks, and looking never starts a cluster: a cluster of our own that does not run is
waited for. Only :meth:`Desk.awake` starts it, and only a person's deed calls that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Any, Final

from jupyterlab_kf import kinds, settings
from jupyterlab_kf.cluster import connection, keeping
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.connection import Choice, Connection
from jupyterlab_kf.errors import ClusterError, KubeflowError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import capacity
from jupyterlab_kf.manifests.capacity import Capacity, Ground
from jupyterlab_kf.manifests.studies import StudyRow, study_row
from jupyterlab_kf.model import Explanation, Obj
from jupyterlab_kf.services import hardware, jobfeed, namespaces, pictures, session
from jupyterlab_kf.services.board import Board, JobRow, Link
from jupyterlab_kf.services.jobfeed import JobFeed, JobFeeds, JobKey
from jupyterlab_kf.services.listing import Listing, R
from jupyterlab_kf.services.reasons import Reasons
from jupyterlab_kf.services.serving.live import EndpointFeeds
from jupyterlab_kf.services.serving.rows import EndpointRows
from jupyterlab_kf.services.studyfeed import StudyFeeds

_LOOK: Final = 1.0
"""Seconds between two looks for a cluster that does not run yet."""
_COMPLETE: Final = 10.0

Listener = Callable[[JobRow | None, JobRow | None], None]


class Desk:
    """One cluster, looked at by many.

    Args:
        choose: which cluster, by a context's name or empty for the default; reads files.
        open_: its connection; with True the cluster may be started by it.
        sleep: waits; tests hand in their own.
    """

    def __init__(
        self,
        choose: Callable[[str], Choice] | None = None,
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
        self._reasons: Reasons | None = None
        self._listings: dict[Kind, Listing[Any]] = {}
        self.job_feeds = JobFeeds(self.client, sleep)
        self._endpoints: EndpointRows | None = None
        self.study_feeds = StudyFeeds(self.client, sleep)
        self.endpoint_feeds = EndpointFeeds(self.client, sleep)
        self._feeds = (self.job_feeds, self.study_feeds, self.endpoint_feeds)
        self._link = Link()
        self._listeners: list[Listener] = []
        self._opening: asyncio.Task[None] | None = None
        self._one_by_one = asyncio.Lock()
        self._wanted_namespace = ""
        self._own_namespace = ""

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
        named = self._wanted_namespace or options.namespace or self._own_namespace
        return named or (self.choice.namespace if self.choice else "")

    def open(self) -> None:
        """Begin to look at the cluster. Returns at once."""
        if self._opening is None:
            work = keeping.lasting("looking for the cluster", self._connect, sleep=self._sleep)
            self._opening = asyncio.create_task(work)

    async def close(self) -> None:
        """Stop looking."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.gather(self._opening, return_exceptions=True)
        for feeds in self._feeds:
            await feeds.stop()
        for part in (self._reasons, *self._listings.values(), self.board):
            if part is not None:
                await part.stop()
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

    async def use(self, context: str, namespace: str = "") -> None:
        """Look at another cluster from now on: a context's name, or ``embedded``. It is not started by this.

        Views of the cluster before end with an error that says so; its jobs run on.

        Raises:
            UsageError: there is no such context; nothing has changed.
            ClusterError: a kubeconfig cannot be read; nothing has changed.
        """
        choice = await asyncio.to_thread(self._choose, context)
        async with self._one_by_one:
            client, parts = self._client, (self._reasons, *self._listings.values(), self.board)
            self.board = self._client = self._reasons = None
            self._listings, self._endpoints = {}, None
            self.choice, self._link = choice, Link()
            self._wanted_namespace, self._own_namespace = namespace, ""
        for feeds in self._feeds:
            await feeds.stop(f"the panels look at {choice.name!r} now", hint="change back to see it")
        for part in parts:
            if part is not None:
                await part.stop()
        if client is not None:
            await client.close()
        self._tell(None, None)
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        self.open()

    # ------------------------------------------------------------------------------------------------------ views

    def look(self, key: JobKey, listener: Callable[[], None]) -> tuple[JobFeed, Callable[[], None]]:
        """The view of a job that others may be looking at too, and what to call when one looks away."""
        return self.job_feeds.look(key, listener)

    def watching(self) -> bool:
        """Whether somebody looks at a job or a study that is not over."""
        feeds = (*self.job_feeds, *self.study_feeds)
        return any(feed.listeners and feed.working for feed in feeds)

    def explain(self, rows: Iterable[JobRow], looker: Hashable) -> None:
        """These are what the looker sees: find out why they failed or wait. Returns at once; the board tells."""
        if self._reasons is not None:
            self._reasons.want(rows, looker)

    def look_away(self, looker: Hashable) -> None:
        """The looker sees nothing any more."""
        if self._reasons is not None:
            self._reasons.look_away(looker)

    def studies(self) -> Listing[StudyRow] | None:
        """The studies, watched from the first time that somebody asks; None while there is no cluster to look at."""
        return self._listing(kinds.EXPERIMENT, study_row)

    def endpoints(self) -> EndpointRows | None:
        """The endpoints, as the studies."""
        client = self._client
        if self._endpoints is None and self.board is not None and client is not None:
            self._endpoints = EndpointRows(lambda *wanted: self._begun(client, *wanted))
        return self._endpoints

    def _listing(self, kind: Kind, project: Callable[[Obj], R]) -> Listing[R] | None:
        if kind not in self._listings and self.board is not None and self._client is not None:
            self._begun(self._client, kind, project)
        return self._listings.get(kind)

    def _begun(self, client: Client, kind: Kind, project: Callable[[Obj], R | None], selector: str = "") -> Listing[R]:
        space, tell = self.namespace or "default", lambda: self._tell(None, None)
        made = Listing(client, kind, space, project, tell, selector=selector, sleep=self._sleep)
        self._listings[kind] = made
        made.start()
        return made

    async def job(self, key: JobKey, client: Client | None = None) -> Obj:
        """The job's object.

        Raises:
            NotFoundError: it is not there, or another has its name.
        """
        return await jobfeed.find(client or await self.client(), key)

    async def _why(self, row: JobRow) -> Explanation | None:
        client = await self.client()
        job = await self.job(JobKey(row.kind, row.namespace, row.name, row.uid), client)
        return (await pictures.snapshot(client, job)).view().explanation

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

    async def ground(self) -> Ground:
        """The machines and what is free on them now, as far as the account may see it."""
        return await hardware.survey(await self.client(), self.namespace)

    async def capacity(self) -> Capacity:
        """What is free now, all in all."""
        return capacity.capacity(await self.ground())

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
        if self.board is not None and self.link.state in ("live", "connecting"):
            return  # a board that is just beginning must not lose the connections that it begins with
        try:
            choice = self.choice
            if choice is None:
                choice = self.choice = await asyncio.to_thread(self._choose, "")
            opened = await asyncio.to_thread(self._open, choice, start)
            if self._client is None:
                reread = (lambda: self._open(choice, False)) if choice.embedded else None
                self._client = Client(opened, reread=reread)
            else:
                await self._client.replace(opened)
            await self._client.request("GET", "/version", revive=False)
            if not choice.settled:
                self._own_namespace = await namespaces.of_user(self._client)
        except KubeflowError as error:
            stopped = self.choice is not None and self.choice.embedded
            self._report(_STOPPED if stopped else Link("unreachable", error.message, error.hint))
            if start:
                raise
            return
        if self.board is None:
            self.board = Board(self._client, self.namespace or opened.namespace)
            self._reasons = Reasons(self.board, self._why)
            self.board.listen(self._tell)
            self.board.start()
            self._tell(None, None)

    def _report(self, link: Link) -> None:
        if link != self._link:
            self._link = link
            self._tell(None, None)

    def _tell(self, before: JobRow | None, after: JobRow | None) -> None:
        if before is not None and after is None:
            self.job_feeds.deleted(before.uid)
        for listener in tuple(self._listeners):
            listener(before, after)


_STOPPED: Final = Link(
    "stopped", "The cluster on this machine is not running.", "It starts with the first job, or right now."
)


def _choose(context: str) -> Choice:
    return connection.choose(settings.load(), context)


def _open(choice: Choice, start: bool) -> Connection:  # noqa: FBT001  called in a thread, by position
    starter = session.start_embedded if start else None
    return connection.open_connection(choice, settings.load(), starter)
