"""The routes: parse, one service call, JSON. Each names the action and the resource that it is authorised for.

``@authorized`` without arguments would remember the first request's resource for all others, so it is always given
both. Failures of the services become ``{message, hint, reason}`` with the status code that fits; nothing is swallowed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jupyter_server.auth.decorator import authorized
from jupyter_server.utils import url_path_join
from tornado import web

from jupyterlab_kf.handlers import activity, kernels
from jupyterlab_kf.handlers.base import NAME, Handler
from jupyterlab_kf.handlers.endpointroutes import ENDPOINT_ROUTES
from jupyterlab_kf.handlers.resources import CLUSTER, JOBS
from jupyterlab_kf.handlers.stream import Stream
from jupyterlab_kf.handlers.studyroutes import STUDY_ROUTES

if TYPE_CHECKING:
    from jupyterlab_kf.services.board import JobRow
    from jupyterlab_kf.services.desk import Desk

EVENT: Final = "https://jupyterlab-kf.io/events/job-phase/v1"


class Cluster(Handler):
    """The cluster that is looked at."""

    @web.authenticated
    @authorized("read", resource=CLUSTER)
    async def get(self) -> None:
        """What it is, how it stands, what is free."""
        await self.reply(lambda: self.answers.cluster(self.desk))

    @web.authenticated
    @authorized("execute", resource=CLUSTER)
    async def post(self) -> None:
        """Start it, if it is our own and does not run."""
        await self.reply(lambda: self.answers.start(self.desk))


class Contexts(Handler):
    """The clusters that can be looked at."""

    @web.authenticated
    @authorized("read", resource=CLUSTER)
    async def get(self) -> None:
        """Their names, and which one is looked at."""
        await self.reply(lambda: self.answers.contexts(self.desk))


class Use(Handler):
    """Another cluster to look at."""

    @web.authenticated
    @authorized("execute", resource=CLUSTER)
    async def post(self) -> None:
        """``{"context": NAME, "namespace": NAME or none}``: for all who look, until this server ends."""
        said = self.body()
        await self.reply(lambda: self.answers.use(self.desk, said))


class Jobs(Handler):
    """All jobs."""

    @web.authenticated
    @authorized("read", resource=JOBS)
    async def get(self) -> None:
        """A page of rows; for programs (panels use the stream)."""
        said = {name: self.get_query_arguments(name) for name in self.request.query_arguments}
        await self.reply(lambda: self.answers.page(self.desk, said))

    @web.authenticated
    @authorized("write", resource=JOBS)
    async def post(self) -> None:
        """Launch a job."""
        said = self.body()
        await self.reply(lambda: self.answers.launch(self.desk, said, self.root), 201)


class Plans(Handler):
    """What a launch would create."""

    @web.authenticated
    @authorized("write", resource=JOBS)
    async def post(self) -> None:
        """Creates nothing, but reads the files that would be shipped."""
        said = self.body()
        await self.reply(lambda: self.answers.plan(self.desk, said, self.root))


class Job(Handler):
    """One job."""

    @web.authenticated
    @authorized("read", resource=JOBS)
    async def get(self, kind: str, namespace: str, name: str) -> None:
        """Its manifest, its code and what it was made of."""
        await self.reply(lambda: self.answers.detail(self.desk, (kind, namespace, name)))

    @web.authenticated
    @authorized("write", resource=JOBS)
    async def put(self, kind: str, namespace: str, name: str) -> None:
        """Apply an edited manifest; when the job has changed since it was read, the answer says what it is now."""
        said = self.body()
        await self.reply(lambda: self.answers.replace(self.desk, (kind, namespace, name), said))

    @web.authenticated
    @authorized("write", resource=JOBS)
    async def delete(self, kind: str, namespace: str, name: str) -> None:
        """Delete it; with a uid only that very one."""
        uid = self.get_query_argument("uid", "")
        await self.reply(lambda: self.answers.delete(self.desk, (kind, namespace, name, uid)))


class Deeds(Handler):
    """What can be done with a job."""

    @web.authenticated
    @authorized("write", resource=JOBS)
    async def post(self, kind: str, namespace: str, name: str, deed: str) -> None:
        """Suspend it, resume it, or run it again."""
        key = (kind, namespace, name)
        await self.reply(lambda: self.answers.DEEDS[deed](self.desk, key), 201 if deed == "rerun" else 200)


class Events(Handler):
    """What happened to a job."""

    @web.authenticated
    @authorized("read", resource=JOBS)
    async def get(self, kind: str, namespace: str, name: str) -> None:
        """Events of it and of its pods, oldest first."""
        await self.reply(lambda: self.answers.events(self.desk, (kind, namespace, name)))


class Copies(Handler):
    """A job, said in four ways."""

    @web.authenticated
    @authorized("read", resource=JOBS)
    async def get(self, kind: str, namespace: str, name: str) -> None:
        """As a cell, as Python, as YAML, and for kubectl."""
        await self.reply(lambda: self.answers.copies(self.desk, (kind, namespace, name)))


class Form(Handler):
    """A job as a launch form."""

    @web.authenticated
    @authorized("read", resource=JOBS)
    async def get(self, kind: str, namespace: str, name: str) -> None:
        """Filled in with what the job was made of."""
        await self.reply(lambda: self.answers.form(self.desk, (kind, namespace, name)))


class Logs(Handler):
    """A job's log as a file."""

    @web.authenticated
    @authorized("read", resource=JOBS)
    async def get(self, kind: str, namespace: str, name: str) -> None:
        """All lines, or those of one replica."""
        replica = self.get_query_argument("replica", "")
        await self.download(
            lambda: self.answers.log_text(self.desk, (kind, namespace, name), replica), f"{name}.log", "text/plain"
        )


ONE: Final = rf"jobs/([A-Za-z]{{1,63}})/{NAME}/{NAME}"
ROUTES: Final = (
    ("cluster", Cluster),
    ("contexts", Contexts),
    ("use", Use),
    ("jobs", Jobs),
    ("plans", Plans),
    (ONE, Job),
    (ONE + "/(suspend|resume|rerun)", Deeds),
    (ONE + "/events", Events),
    (ONE + "/copies", Copies),
    (ONE + "/form", Form),
    (ONE + "/logs", Logs),
    *STUDY_ROUTES,
    *ENDPOINT_ROUTES,
    ("stream", Stream),
)


def install(serverapp: Any, desk: Desk | None = None) -> Callable[[], Desk]:
    """Add the routes to a server. The desk is made at the first request."""
    made: list[Desk] = []

    def shared() -> Desk:
        if not made:
            from jupyterlab_kf.services.desk import Desk as Fresh

            made.append(desk or Fresh())
            made[0].listen(_emitter(serverapp))
        return made[0]

    # Who subscribes to all events gets those whose schemas are known by then: it cannot wait for the first request.
    if EVENT not in serverapp.event_logger.schemas:
        serverapp.event_logger.register_event_schema(Path(__file__).with_name("events.yaml"))
    base = serverapp.web_app.settings["base_url"]
    rules = [(url_path_join(base, "jupyterlab-kf", path), handler, {"desk": shared}) for path, handler in ROUTES]
    serverapp.web_app.add_handlers(".*$", rules)
    kernels.start(serverapp)
    activity.start(serverapp, lambda: bool(made) and made[0].watching())
    return shared


def _emitter(serverapp: Any) -> Callable[[JobRow | None, JobRow | None], None]:
    """Tells Jupyter's event system of each change of a job's phase, so that other extensions can listen."""

    def emit(before: JobRow | None, after: JobRow | None) -> None:
        if after is None or before is None or before.phase is after.phase:
            return
        data = {"kind": after.kind, "namespace": after.namespace, "name": after.name, "uid": after.uid}
        serverapp.event_logger.emit(schema_id=EVENT, data={**data, "phase": str(after.phase), "before": before.phase})

    return emit
