"""The WebSocket: rows, jobs and logs as they change, at most ten frames a second to each browser.

What a browser asks for is kept until it asks for something else under the same id (:mod:`.asks`). Origin and cookie are
checked as for kernels. Light to import: a server that nobody looks at never loads the services.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web
from tornado.websocket import WebSocketClosedError, WebSocketHandler

if TYPE_CHECKING:
    from jupyterlab_kf.handlers.asks import Asks
    from jupyterlab_kf.services.desk import Desk

MOST_FRAMES: Final = 10
"""In a second."""
GAP: Final = 0.03
"""Seconds between two."""
MOST_BYTES: Final = 64 * 1024
"""Of a message from a browser."""
RESOURCE: Final = "kf:jobs"


class Stream(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """One browser."""

    auth_resource = RESOURCE

    def initialize(self, desk: Callable[[], Desk]) -> None:
        """Take what all browsers share."""
        self._desk = desk
        self._asks: Asks | None = None
        self._dirty = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    @ws_authenticated
    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Open it, if the user may read jobs."""
        allowed = self.authorizer.is_authorized(self, self.current_user, "read", RESOURCE)
        if not await ensure_async(allowed):
            raise web.HTTPError(403)
        opened = super().get(*args, **kwargs)
        if isinstance(opened, Awaitable):
            await opened

    def open(self, *_: str) -> None:
        """Begin to listen."""
        from jupyterlab_kf.handlers.asks import Asks

        self._asks = Asks(self._desk(), self._dirty.set)
        self._pump = asyncio.create_task(self._send(self._asks))
        self._dirty.set()

    def on_close(self) -> None:
        """Forget what was asked."""
        if self._asks is not None:
            self._asks.close()
        if self._pump is not None:
            self._pump.cancel()

    async def on_message(self, message: str | bytes) -> None:
        """What a browser asks. A message that cannot be read closes the connection: ours can always be."""
        if self._asks is None:
            return
        try:
            self._asks.take(json.loads(message[:MOST_BYTES]))
        except (ValueError, TypeError, KeyError) as error:
            self.close(1003, f"not understood: {error}"[:100])
        self._dirty.set()

    async def _send(self, asks: Asks) -> None:
        sent: deque[float] = deque(maxlen=MOST_FRAMES)
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            began = time.monotonic()
            try:
                for frame in asks.frames():
                    await self.write_message(json.dumps(frame, separators=(",", ":")))
            except WebSocketClosedError:
                return
            sent.append(began)
            # A change is told at once, and what follows closely together; never more than so many in a second.
            rest = GAP if len(sent) < MOST_FRAMES else sent[0] + 1.0 - time.monotonic()
            await asyncio.sleep(max(GAP, rest, 4 * (time.monotonic() - began)))
