"""Answers in one piece: head and body of a small answer leave in one call of the system instead of two.

uvicorn writes what it is handed when it is handed it, and an answer is handed over in two parts. On a loopback device
the second call is a tenth of all that a small prediction costs. Here is also how else the servers of units and of the
engine are set, and that they leave signals to whoever runs them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import uvicorn


class Whole:
    """A transport that sends what was written in one turn of the loop when the turn ends.

    Args:
        transport: the connection's own, which everything else is asked of.
    """

    __slots__ = ("_parts", "_soon", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._parts: list[bytes] = []
        self._soon = asyncio.get_running_loop().call_soon

    def write(self, data: bytes) -> None:
        """Send it, with what comes behind it in this turn."""
        if not self._parts:
            self._soon(self._flush)
        self._parts.append(data)

    def writelines(self, data: Sequence[bytes]) -> None:
        """The same of several."""
        for one in data:
            self.write(one)

    def write_eof(self) -> None:
        """Send it all, and no more."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send it all, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        parts, self._parts = self._parts, []
        if parts and not self._transport.is_closing():
            self._transport.writelines(parts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def protocol() -> type[asyncio.Protocol]:
    """The protocol for HTTP that uvicorn would take, over such transports."""
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    made: Any = AutoHTTPProtocol

    class Protocol(made):  # type: ignore[misc]
        """The same, but for its transport."""

        def connection_made(self, transport: Any) -> None:
            super().connection_made(Whole(transport))

    return Protocol


def configuration(app: Any, *, keep_alive: int, grace: float, **more: Any) -> uvicorn.Config:
    """How a server of predictions is set: no log of its own, and nothing in an answer that the application did not say.

    Args:
        app: the ASGI application.
        keep_alive: seconds for which a connection stays open that nothing is asked over.
        grace: seconds that requests get when the server ends; at least one.
        more: as uvicorn calls it.
    """
    import uvicorn

    return uvicorn.Config(
        app,
        http=protocol(),
        proxy_headers=False,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        ws="none",
        timeout_keep_alive=keep_alive,
        timeout_graceful_shutdown=max(int(grace), 1),
        **more,
    )


def server(config: uvicorn.Config) -> uvicorn.Server:
    """A server that leaves signals to whoever runs it."""
    import uvicorn

    class Server(uvicorn.Server):
        """uvicorn's, but for the signals."""

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            yield

    return Server(config)
