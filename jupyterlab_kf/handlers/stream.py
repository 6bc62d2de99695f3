"""The WebSocket: rows, jobs and logs as they change, at most ten messages a second to each browser.

All that changed between two messages travels in one, whatever number of things a browser looks at. What it asks for
is kept until it asks for something else under the same id (:mod:`.asks`). Origin and cookie are checked as for
kernels. Light to import: a server that nobody looks at never loads the services.
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

from jupyterlab_kf.handlers.resources import JOBS, STREAMED

if TYPE_CHECKING:
    from jupyterlab_kf.handlers.asks import Asks
    from jupyterlab_kf.services.desk import Desk

MOST_MESSAGES: Final = 10
"""In a second."""
GAP: Final = 0.03
"""Seconds between two."""
MOST_BYTES: Final = 64 * 1024
"""Of a message from a browser."""


class Pace:
    """When the next message may go: at once at first, closely together after that, ``MOST_MESSAGES`` in any second.

    Times are in seconds of any one clock.
    """

    def __init__(self) -> None:
        self._sent: deque[float] = deque(maxlen=MOST_MESSAGES)

    def sent(self, now: float) -> None:
        """A message goes now."""
        self._sent.append(now)

    def rest(self, now: float) -> float:
        """Seconds to wait before the next."""
        full = len(self._sent) == MOST_MESSAGES
        return max(GAP, self._sent[0] + 1.0 - now) if full else GAP


class Stream(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """One browser."""

    auth_resource = JOBS

    def initialize(self, desk: Callable[[], Desk]) -> None:
        """Take what all browsers share."""
        self._desk = desk
        self._readable: list[str] = []
        self._asks: Asks | None = None
        self._dirty = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    @ws_authenticated
    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Open it, if the user may read anything of what it tells."""
        for resource in STREAMED:
            if await ensure_async(self.authorizer.is_authorized(self, self.current_user, "read", resource)):
                self._readable.append(resource)
        if not self._readable:
            raise web.HTTPError(403)
        opened = super().get(*args, **kwargs)
        if isinstance(opened, Awaitable):
            await opened

    def open(self, *_: str) -> None:
        """Begin to listen."""
        from jupyterlab_kf.handlers.asks import Asks

        self._asks = Asks(self._desk(), self._dirty.set, self._readable)
        self._pump = asyncio.create_task(self._send(self._asks))
        self._pump.add_done_callback(self._sent)
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

    def _sent(self, pump: asyncio.Task[None]) -> None:
        """A stream that fails is closed, and not left silent: the browser opens another."""
        if not pump.cancelled() and (error := pump.exception()) is not None:
            self.log.error("the stream to a browser failed", exc_info=error)
            self.close(1011, "the server failed; its log says why")

    async def _send(self, asks: Asks) -> None:
        pace = Pace()
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            began = time.monotonic()
            if frames := list(asks.frames()):
                pace.sent(began)
                try:
                    await self.write_message(json.dumps(frames, separators=(",", ":")))
                except WebSocketClosedError:
                    return
            now = time.monotonic()
            # A browser or a server that is slow gets fewer: work takes a fifth of the time at most.
            await asyncio.sleep(max(pace.rest(now), 4 * (now - began)))
