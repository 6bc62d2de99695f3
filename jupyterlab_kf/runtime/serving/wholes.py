"""Answers in one piece: head and body of a small answer leave in one call of the system instead of two.

uvicorn writes what it is handed when it is handed it, and an answer is handed over in two parts. On a loopback device
the second call is a tenth of all that a small prediction costs. Nothing else of the server is changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any


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
