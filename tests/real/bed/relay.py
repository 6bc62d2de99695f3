"""Bytes carried from one socket to another.

The real node lives in a network of its own that the machine's network does not know. What crosses the border does so
over two Unix sockets, which have no network: the API server dials the node's addresses by HTTP CONNECT (its egress
selector), and the node reaches the API server under an address of its own. No interface, route or firewall rule of
this machine is touched, and nothing is reachable from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_CHUNK = 1 << 16
_CONNECT_SECONDS = 10.0


async def unix_to_tcp(path: Path, host: str, port: int) -> asyncio.Server:
    """Serve a Unix socket by connecting each caller to a TCP address."""
    return await asyncio.start_unix_server(_through(lambda: asyncio.open_connection(host, port)), path)


async def tcp_to_unix(host: str, port: int, path: Path) -> asyncio.Server:
    """Serve a TCP address by connecting each caller to a Unix socket."""
    return await asyncio.start_server(_through(lambda: asyncio.open_unix_connection(path)), host, port)


async def connect_proxy(path: Path) -> asyncio.Server:
    """Serve HTTP CONNECT on a Unix socket: each caller names the TCP address it wants."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            method, target, *_ = head.split(b" ", 2)
            host, _, port = target.decode().rpartition(":")
            if method != b"CONNECT" or not port.isdigit():
                writer.write(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n")
            else:
                await _connect(reader, writer, host.strip("[]"), int(port))
        await _close(writer)

    return await asyncio.start_unix_server(serve, path)


async def _connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
    try:
        far = await asyncio.wait_for(asyncio.open_connection(host, port), _CONNECT_SECONDS)
    except (TimeoutError, OSError):
        writer.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        return
    writer.write(b"HTTP/1.1 200 Connection Established\r\n\r\n")
    await _carry((reader, writer), far)


def _through(connect: Callable[[], Awaitable[Streams]]) -> Callable[..., Awaitable[None]]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await _carry((reader, writer), await connect())
        await _close(writer)

    return serve


async def _carry(near: Streams, far: Streams) -> None:
    """Both directions until both have ended; one side may close its half and still read (as kubectl does)."""
    await asyncio.gather(_pour(near[0], far[1]), _pour(far[0], near[1]))
    await _close(far[1])


async def _pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        writer.transport.abort()


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
