"""Units that cost next to nothing, and a client that asks as fast as it is answered: what is between them is measured.

``stub_units.py PORT...`` serves at these ports; ``drive`` is the client. Both are bare protocols on sockets.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import cast

import uvloop

_ANSWERS = {
    b"/route": b'{"data":{"ndarray":[-1]}}',
    b"/predict": b'{"data":{"names":["a","b"],"ndarray":[[0.1,0.9]]},"meta":{}}',
    b"/aggregate": b'{"data":{"names":["a","b"],"ndarray":[[0.1,0.9]]},"meta":{}}',
}


def _http(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


_ANSWERS = {path: _http(body) for path, body in _ANSWERS.items()}


class Messages(asyncio.Protocol):
    """Cuts what comes into messages, by their Content-Length."""

    def __init__(self) -> None:
        self._buffer = b""
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        """Hand on each message that is complete."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            at = head.lower().find(b"content-length:")
            size = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + size:
                return
            self._buffer = self._buffer[end + 4 + size :]
            self.message(head)

    def message(self, head: bytes) -> None:
        """One message has come."""
        raise NotImplementedError


class _Unit(Messages):
    def message(self, head: bytes) -> None:
        self.transport.write(_ANSWERS[head.split(b" ", 2)[1]])


class _Client(Messages):
    def __init__(self, request: bytes, until: float, done: asyncio.Future[None]) -> None:
        super().__init__()
        self._request, self._until, self._done = request, until, done
        self._asked = 0.0
        self.took: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._ask()

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self.transport.write(self._request)

    def message(self, head: bytes) -> None:
        assert head.startswith(b"HTTP/1.1 200"), head
        now = time.perf_counter()
        self.took.append(now - self._asked)
        if now < self._until:
            self._ask()
        else:
            self.transport.close()
            self._done.set_result(None)


def drive(port: int, seconds: float, connections: int) -> list[float]:
    """How long each request took that so many clients made in so many seconds, each asking when it is answered."""
    body = b'{"data":{"ndarray":[[5.1,3.5,1.4,0.2]]}}'
    head = f"Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    request = b"POST /api/v1.0/predictions HTTP/1.1\r\n" + head.encode() + body

    async def run() -> list[float]:
        loop = asyncio.get_running_loop()
        until = time.perf_counter() + seconds
        made = []
        for _ in range(connections):
            done: asyncio.Future[None] = loop.create_future()
            _, client = await loop.create_connection(lambda done=done: _Client(request, until, done), "127.0.0.1", port)
            made.append((client, done))
        await asyncio.gather(*(done for _, done in made))
        return [took for client, _ in made for took in client.took]

    return uvloop.run(run())


async def _serve(ports: list[int]) -> None:
    loop = asyncio.get_running_loop()
    servers = [await loop.create_server(_Unit, "127.0.0.1", port) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))


if __name__ == "__main__":
    uvloop.run(_serve([int(port) for port in sys.argv[1:]]))
