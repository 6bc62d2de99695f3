"""The routes of endpoints: parse, one service call, JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from jupyter_server.auth.decorator import authorized
from tornado import web

from jupyterlab_kf.handlers.base import NAME, Handler
from jupyterlab_kf.handlers.resources import ENDPOINTS

if TYPE_CHECKING:
    from types import ModuleType


class EndpointHandler(Handler):
    """What the routes of endpoints share: no verb, for whoever inherits one answers it."""

    @property
    def endpoints(self) -> ModuleType:
        """The services; loaded by the first request."""
        from jupyterlab_kf.handlers import endpoints

        return endpoints


class Endpoint(EndpointHandler):
    """One endpoint."""

    @web.authenticated
    @authorized("read", resource=ENDPOINTS)
    async def get(self, namespace: str, name: str) -> None:
        """Its changes, its manifest, a request to try."""
        await self.reply(lambda: self.endpoints.detail(self.desk, (namespace, name)))

    @web.authenticated
    @authorized("write", resource=ENDPOINTS)
    async def delete(self, namespace: str, name: str) -> None:
        """Delete it; with a uid only that very one."""
        uid = self.get_query_argument("uid", "")
        await self.reply(lambda: self.endpoints.delete(self.desk, (namespace, name, uid)))


class EndpointGraph(EndpointHandler):
    """The graph of an endpoint, to be edited."""

    @web.authenticated
    @authorized("read", resource=ENDPOINTS)
    async def get(self, namespace: str, name: str) -> None:
        """A version's graph, and what it can be made of."""
        uid, version = self.get_query_argument("uid", ""), self.get_query_argument("version", "")
        await self.reply(lambda: self.endpoints.workshop(self.desk, (namespace, name, uid), version))


class EndpointLog(EndpointHandler):
    """What an endpoint printed, as a file."""

    @web.authenticated
    @authorized("read", resource=ENDPOINTS)
    async def get(self, namespace: str, name: str) -> None:
        """What is there of all versions, or what one replica said."""
        replica = self.get_query_argument("replica", "")
        await self.download(
            lambda: self.endpoints.log_text(self.desk, (namespace, name), replica), f"{name}.log", "text/plain"
        )


class EndpointDeeds(EndpointHandler):
    """What can be done with an endpoint."""

    @web.authenticated
    @authorized("write", resource=ENDPOINTS)
    async def post(self, namespace: str, name: str, deed: str) -> None:
        """Plan a change, make it."""
        said, uid = self.body(), self.get_query_argument("uid", "")
        await self.reply(lambda: getattr(self.endpoints, deed)(self.desk, (namespace, name, uid), said))


class EndpointAsks(EndpointHandler):
    """What an endpoint can be asked."""

    @web.authenticated
    @authorized("execute", resource=ENDPOINTS)
    async def post(self, namespace: str, name: str, deed: str) -> None:
        """A prediction, or how good one was."""
        said, uid = self.body(), self.get_query_argument("uid", "")
        await self.reply(lambda: getattr(self.endpoints, deed)(self.desk, (namespace, name, uid), said))


class ServerAsks(EndpointHandler):
    """What a server of another kind can be asked."""

    @web.authenticated
    @authorized("execute", resource=ENDPOINTS)
    async def post(self, kind: str, namespace: str, name: str) -> None:
        """A prediction."""
        said = self.body()
        await self.reply(lambda: self.endpoints.predict_other(self.desk, kind, (namespace, name), said))


ONE: Final = rf"endpoints/{NAME}/{NAME}"
ENDPOINT_ROUTES: Final = (
    (ONE, Endpoint),
    (ONE + "/graph", EndpointGraph),
    (ONE + "/logs", EndpointLog),
    (ONE + "/(plan|change)", EndpointDeeds),
    (ONE + "/(predict|feedback)", EndpointAsks),
    (rf"servers/(InferenceService|Deployment)/{NAME}/{NAME}/predict", ServerAsks),
)
