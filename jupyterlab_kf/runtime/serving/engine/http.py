"""HTTP/1.1 to units: one request on a connection at a time, connections kept and used again.

A general client costs more for a call than all else that the engine does for it; this one knows what the engine needs:
a body there, and back a code, a body and three headers. Parsing is httptools', as in the server. There are no
redirects, cookies, proxies or decompression, since what units and clients say to each other passes as it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import cast

import httptools

_CONNECT_SECONDS = 30  # as Go's; how long an answer takes is the model's business, unless an annotation says
_IDLE_SECONDS = 60
_CONTINUE = 100
_WANTED = frozenset({b"content-type", b"content-encoding", b"inference-header-content-length"})


#: The addresses behind a name and port, where somebody knows them; none where nothing behind it is ready.
Places = Callable[[str, int], "list[tuple[str, int]] | None"]


class LostError(ConnectionError):
    """The connection ended before the answer had come; ``reset`` if its end was that of a process, not said by it."""

    def __init__(self, message: str, *, reset: bool = False) -> None:
        super().__init__(message)
        self.reset = reset


class UnreachedError(ConnectionError):
    """There is no connection: nothing was sent."""


@dataclass
class Response:
    """What came back; of the headers, those that are handed on, by their names in small letters."""

    code: int
    headers: dict[bytes, str]
    body: bytes


class _Connection(asyncio.Protocol):
    """One connection, and the request that is on it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[Response] | None = None
        self.open = True
        self.used = monotonic()
        self._parser = httptools.HttpResponseParser(self)
        self._start()

    def _start(self) -> None:
        self._headers: dict[bytes, str] = {}
        self._parts: list[bytes] = []
        self._sized = self._begun = False

    async def ask(self, request: bytes, seconds: float | None) -> Response:
        """Send a request and wait for its answer; a connection whose answer is not awaited to its end is closed."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Response] = loop.create_future()
        self._answer = answer
        # The two names of this error are one class only since Python 3.11, and images have older ones.
        late = None if seconds is None else loop.call_later(seconds, self._fail, asyncio.TimeoutError())  # noqa: UP041
        self._transport.write(request)
        try:
            return await answer
        finally:
            if late:
                late.cancel()
            if self._answer is not None:  # the one who asked was cancelled, or it took too long
                self.close()
            self.used = monotonic()

    def close(self) -> None:
        """End it."""
        self.open = False
        self._transport.abort()

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one without saying so

    def data_received(self, data: bytes) -> None:
        """Some of an answer; what comes unasked ends the connection, as it would be taken for the next answer."""
        if self._answer is None:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(LostError(f"what it answered is not HTTP: {error}"))
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over; an answer without a length ends with it."""
        self.open = False
        if self._answer is not None and self._begun and not self._sized and exc is None:
            self.on_message_complete()
        lost = str(exc) if exc else "the connection was closed before the answer had come"
        self._fail(LostError(lost, reset=exc is not None))

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    # The parser's side

    def on_message_begin(self) -> None:
        """An answer to nothing, right behind another one, must not become the next request's."""
        if self._answer is None:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep what is wanted."""
        name = name.lower()
        if name in _WANTED:
            self._headers[name] = value.decode("latin-1")
        elif name in (b"content-length", b"transfer-encoding"):
            self._sized = True

    def on_headers_complete(self) -> None:
        """From here on there is an answer."""
        self._begun = True

    def on_body(self, body: bytes) -> None:
        """A part of it."""
        self._parts.append(body)

    def on_message_complete(self) -> None:
        """The whole of it."""
        code = self._parser.get_status_code()
        if code == _CONTINUE:
            self._start()
            return
        parts = self._parts
        response = Response(code, self._headers, parts[0] if len(parts) == 1 else b"".join(parts))
        self.open = self.open and self._parser.should_keep_alive()
        answer, self._answer = self._answer, None
        self._start()
        if answer is not None and not answer.done():
            answer.set_result(response)


class Pool:
    """Connections to one name and port."""

    def __init__(self, host: str, port: int, places: Places = lambda _host, _port: None) -> None:
        self._host = host
        self._port = port
        self._places = places
        self._idle: deque[_Connection] = deque()

    async def ask(self, request: bytes, seconds: float | None, *, fresh: bool = False) -> Response:
        """Ask on a connection that is kept, or on a new one that is not.

        Raises:
            UnreachedError: nobody takes a connection.
            LostError: it ended before the answer had come.
            TimeoutError: the answer took longer than that.
        """
        connection = None if fresh else self._kept()
        if connection is None:
            try:
                connection = await self._connect()
            except OSError as error:
                raise UnreachedError(str(error)) from error
        response = await connection.ask(request, seconds)
        if fresh or not connection.open:
            connection.close()
        else:
            self._idle.append(connection)
        return response

    def _kept(self) -> _Connection | None:
        """The one that was used last, so that those which are too many grow old."""
        while self._idle and (not self._idle[0].open or monotonic() - self._idle[0].used > _IDLE_SECONDS):
            self._idle.popleft().close()
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return None

    async def _connect(self) -> _Connection:
        """To the first of the places that takes it, which are all of one Service; looked up anew each time."""
        places = self._places(self._host, self._port)
        if places is None:
            return await _connected(self._host, self._port)
        failure = OSError(f"nothing behind {self._host}:{self._port} is ready")
        for host, port in places:
            try:
                return await _connected(host, port)
            except OSError as error:
                failure = error
        raise failure

    def close(self) -> None:
        """Let go of all that are idle."""
        while self._idle:
            self._idle.pop().close()


async def _connected(host: str, port: int) -> _Connection:
    connecting = asyncio.get_running_loop().create_connection(_Connection, host, port)
    _, connection = await asyncio.wait_for(connecting, _CONNECT_SECONDS)
    return connection
