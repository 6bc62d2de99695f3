"""What all routes share: the desk, the answer of a service as JSON or as a file, and its failure as one.

Handlers load the services at the first request: a server that nobody looks at pays nothing.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jupyter_server.base.handlers import APIHandler
from tornado import web

if TYPE_CHECKING:
    from types import ModuleType

    from jupyterlab_kf.errors import KubeflowError
    from jupyterlab_kf.services.desk import Desk

MOST_BODY: Final = 4 * 2**20
NAME: Final = r"([a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?)"


class Handler(APIHandler):
    """What the routes share."""

    def initialize(self, desk: Callable[[], Desk]) -> None:
        """Take what all requests share."""
        self._desk = desk

    @property
    def desk(self) -> Desk:
        """What all requests share; opened by the first."""
        return self._desk()

    @property
    def answers(self) -> ModuleType:
        """The services; loaded by the first request."""
        from jupyterlab_kf.handlers import answers

        return answers

    async def reply(self, work: Callable[[], Awaitable[Any]], status: int = 200) -> None:
        """The answer of a service as JSON, or its failure."""
        from jupyterlab_kf.errors import KubeflowError
        from jupyterlab_kf.widgets.wire import plain

        try:
            value = await work()
        except KubeflowError as error:
            self.fail(error)
            return
        self.set_status(status)
        self.finish(json.dumps(plain(value)))

    def fail(self, error: KubeflowError) -> None:
        """The answer to a failure."""
        from jupyterlab_kf.handlers.answers import failure
        from jupyterlab_kf.widgets.wire import plain

        self.set_status(_status(error))
        self.finish(json.dumps(plain(failure(error))))

    def body(self) -> dict[str, Any]:
        """The request's JSON object."""
        if len(self.request.body) > MOST_BODY:
            raise web.HTTPError(413)
        found = self.get_json_body()
        if not isinstance(found, dict):
            raise web.HTTPError(400, "a JSON object is expected")
        return found

    async def download(self, work: Callable[[], Awaitable[str]], name: str, kind: str) -> None:
        """The text that a service answers, as a file of that name and type."""
        from jupyterlab_kf.errors import KubeflowError

        try:
            text = await work()
        except KubeflowError as error:
            self.fail(error)
            return
        self.set_header("Content-Type", f"{kind}; charset=utf-8")
        self.set_header("X-Content-Type-Options", "nosniff")
        # Kubernetes' names need no quoting, and one that is none was not found above.
        self.set_header("Content-Disposition", f'attachment; filename="{name}"')
        self.finish(text)

    @property
    def root(self) -> Path:
        """The folder that the server shows."""
        return Path(self.contents_manager.root_dir).resolve()


def _status(error: KubeflowError) -> int:
    from jupyterlab_kf.errors import (
        ApiError,
        ClusterError,
        EndpointNotReadyError,
        PredictionError,
        UnreachableError,
        UsageError,
        WaitTimeoutError,
    )

    match error:
        case ApiError():
            # The cluster's 401 is not the browser's: it must not send anybody to the login page.
            return 403 if error.code == 401 else error.code  # noqa: PLR2004
        case UsageError():
            return 400
        case UnreachableError() | ClusterError():
            return 503
        case PredictionError():
            return 502  # the model's doing, and not this server's
        case WaitTimeoutError() | EndpointNotReadyError():
            return 504
        case _:
            return 500
