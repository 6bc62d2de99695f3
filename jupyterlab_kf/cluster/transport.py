"""Requests over one pool of connections to one API server, with credentials that are fetched anew when refused.

Knows HTTP and nothing of Kubernetes' objects. A request is sent once, and once more when the server refused who we are
and there is something else to offer. Nothing of the HTTP library leaves this module.
"""

from __future__ import annotations

import asyncio
import io
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from jupyterlab_kf import names
from jupyterlab_kf.cluster.connection import Connection
from jupyterlab_kf.errors import ClusterError, UnreachableError

if TYPE_CHECKING:
    import aiohttp
    from yarl import URL

_PAUSED_BYTES: Final = 32 * 1024
"""Of TLS that are taken from the system while nobody reads. Above a record's size (16 KiB and its head): with less, a
record that came in part would never be completed."""

_MUCH: Final = 64 * 1024
"""Bytes in one read with which there is no need to wait for more."""

_HEARTBEAT: Final = 30.0
"""Seconds between two pings of a WebSocket: what lies between ends connections that are silent for minutes."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class Socket:
    """A WebSocket that is open."""

    def __init__(self, opened: aiohttp.ClientWebSocketResponse) -> None:
        self._opened = opened

    async def send(self, data: bytes) -> None:
        """One message.

        Raises:
            ConnectionError: it is closed.
        """
        await self._opened.send_bytes(data)

    async def receive(self) -> bytes | None:
        """The next message, or None when it is closed."""
        from aiohttp import WSMsgType

        message = await self._opened.receive()
        return bytes(message.data) if message.type in (WSMsgType.BINARY, WSMsgType.TEXT) else None


class Transport:
    """The way to one server, used from one event loop.

    Args:
        connection: where it is and who we are.
        timeout: seconds for a whole request, and for connecting to a stream.
        sleep: waits; tests hand in their own.
    """

    def __init__(self, connection: Connection, timeout: float, sleep: Callable[[float], Awaitable[None]]) -> None:
        self.connection = connection
        self._sleep = sleep
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None
        self._retired: set[aiohttp.ClientSession] = set()
        self._users: Counter[aiohttp.ClientSession] = Counter()
        self._streams: set[aiohttp.StreamReader] = set()
        self._renewing = asyncio.Lock()
        self._renewals = 0
        self._closed = False

    async def replace(self, connection: Connection) -> None:
        """Speak through another connection from now on; what is open is closed."""
        self.connection = connection
        await self._hang_up()

    async def close(self) -> None:
        """Close all connections, for good; who reads one is told that nobody answers any more."""
        self._closed = True  # a task that runs on a little longer must not open a pool that nobody closes
        await self._hang_up()

    async def _hang_up(self) -> None:
        for stream in self._streams:
            import aiohttp

            # The library forgets who reads when it closes a connection: they would wait for ever.
            stream.set_exception(aiohttp.ClientConnectionError("the connection was closed"))
        session, self._session = self._session, None
        retired, self._retired = self._retired, set()
        for one in (session, *retired):
            if one is not None:
                await one.close()

    async def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float | None = None,
    ) -> Reply:
        """One request.

        Raises:
            NoReplyError: no answer came.
            CredentialsError: there is nothing to prove who we are by.
        """
        import aiohttp

        limit = aiohttp.ClientTimeout(total=self._timeout if seconds is None else seconds)
        for second in (False, True):
            seen = self._renewals
            with self._translated():
                async with (
                    self._using() as session,
                    session.request(
                        method,
                        self._url(path),
                        params=params,
                        # As a stream, a body of a megabyte does not hold up the loop while it is written.
                        data=None if data is None else io.BytesIO(data),
                        headers=[*(headers or {}).items(), *await self._headers()],
                        timeout=limit,
                        server_hostname=self.connection.server_name or None,
                        allow_redirects=method == "GET",
                    ) as answer,
                ):
                    content = await answer.read()
                    if answer.status != 401 or second:  # noqa: PLR2004
                        return Reply(answer.status, answer.headers, content)
            if not await self._renew(seen):
                return Reply(answer.status, answer.headers, content)
        raise AssertionError("unreachable")  # the second answer is returned, whatever it is

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        accept: str = "application/json",
        silence: float | None = None,
        together: float = 0.0,
    ) -> AsyncIterator[AsyncIterator[bytes] | Reply]:
        """A GET whose body is read as it comes; a refusal is a whole reply.

        ``silence`` is the number of seconds without a byte after which the connection counts as dead; ``together`` the
        least time between two reads: what comes meanwhile waits in the system's buffer and is read at once.
        """
        import aiohttp

        limit = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=silence)
        for second in (False, True):
            seen = self._renewals
            with self._translated():
                async with (
                    self._using() as session,
                    session.get(
                        self._url(path),
                        params=params,
                        headers=[("Accept", accept), *await self._headers()],
                        timeout=limit,
                        server_hostname=self.connection.server_name or None,
                    ) as answer,
                ):
                    if answer.status < 400:  # noqa: PLR2004
                        self._streams.add(answer.content)
                        try:
                            yield self._chunks(answer, together)
                        finally:
                            self._streams.discard(answer.content)
                        return
                    content = await answer.read()
            if answer.status != 401 or second or not await self._renew(seen):  # noqa: PLR2004
                yield Reply(answer.status, answer.headers, content)
                return

    @asynccontextmanager
    async def socket(
        self, path: str, *, params: Mapping[str, str] | None = None, protocol: str = ""
    ) -> AsyncIterator[Socket | Reply]:
        """A WebSocket of binary messages; a refusal is a whole reply."""
        import aiohttp

        for second in (False, True):
            seen = self._renewals
            refused: aiohttp.WSServerHandshakeError | None = None
            with self._translated():
                try:
                    async with (
                        self._using() as session,
                        session.ws_connect(
                            self._url(path),
                            params=params,
                            protocols=(protocol,) if protocol else (),
                            headers=[("Accept", "*/*"), *await self._headers()],
                            timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
                            server_hostname=self.connection.server_name or None,
                            max_msg_size=0,
                            heartbeat=_HEARTBEAT,
                        ) as opened,
                    ):
                        yield Socket(opened)
                        return
                except aiohttp.WSServerHandshakeError as error:
                    refused = error
            if refused.status != 401 or second or not await self._renew(seen):  # noqa: PLR2004
                yield Reply(refused.status, dict(refused.headers or {}), refused.message.encode())
                return

    async def _chunks(self, answer: aiohttp.ClientResponse, together: float) -> AsyncIterator[bytes]:
        while chunk := await answer.content.readany():
            yield chunk
            transport = answer.connection.transport if answer.connection is not None else None
            if together and transport is not None and len(chunk) < _MUCH:
                # Waking up costs more than an event does, and one that came alone has been handed on already.
                if (limits := getattr(transport, "set_read_buffer_limits", None)) is not None:
                    limits(high=_PAUSED_BYTES, low=_PAUSED_BYTES)
                transport.pause_reading()
                await self._sleep(together)
                transport.resume_reading()

    def _url(self, path: str) -> URL:
        from yarl import URL

        # As it is: the library would decode and encode parts of paths anew.
        return URL(self.connection.server + path, encoded=True)

    @asynccontextmanager
    async def _using(self) -> AsyncIterator[aiohttp.ClientSession]:
        """The pool; one that was retired meanwhile is closed by its last user.

        Raises:
            ClusterError: this way was closed.
        """
        import aiohttp

        if self._closed:
            raise ClusterError(f"the connection to {self.connection.name!r} was closed")
        if self._session is None:
            connector = aiohttp.TCPConnector(
                ssl=self.connection.tls if self.connection.tls is not None else True,
                limit=0,
                keepalive_timeout=60,
                socket_factory=_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers={"Accept": "application/json", "User-Agent": names.FIELD_MANAGER},
                proxy=self.connection.proxy or None,
            )
        session = self._session
        self._users[session] += 1
        try:
            yield session
        finally:
            self._users[session] -= 1
            if not self._users[session]:
                del self._users[session]
                if session in self._retired:
                    self._retired.discard(session)
                    await session.close()

    async def _headers(self) -> list[tuple[str, str]]:
        source = self.connection.authorization
        value = await asyncio.to_thread(source) if self.connection.slow else source()
        return [*self.connection.headers, *([("Authorization", value)] if value else [])]

    async def _renew(self, seen: int) -> bool:
        """After a 401: get other credentials, once for all who were refused. True if it is worth trying again."""
        async with self._renewing:
            if self._renewals != seen:
                return True
            if not await asyncio.to_thread(self.connection.renew):
                return False
            self._renewals += 1
            # What is open goes on; new connections prove themselves by the new certificate.
            if self._session is not None:
                if self._users[self._session]:
                    self._retired.add(self._session)
                else:
                    await self._session.close()
                self._session = None
            return True

    @contextmanager
    def _translated(self) -> Iterator[None]:
        import aiohttp

        try:
            yield
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error

    def _unreachable(self, error: BaseException) -> NoReplyError:
        cause = "it did not answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        import aiohttp

        made = NoReplyError(
            f"the API server of {self.connection.name!r} at {self.connection.server} cannot be reached: {cause}",
            hint=_tls_hint(error)
            or "is the cluster up and the network there? KF_CONTEXT chooses another cluster; "
            "KF_CONTEXT=embedded takes the one on this machine",
        )
        made.refused = isinstance(error, aiohttp.ClientConnectorError)
        return made


class NoReplyError(UnreachableError):
    """Nothing came back. ``refused`` when there was no connection at all, so that nothing was sent either."""

    refused = False


def _tls_hint(error: BaseException) -> str:
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return (
            "its certificate is for another name, or not signed by the authority in the kubeconfig: "
            "was the cluster made anew?"
        )
    return ""


def _socket(address: Any) -> socket.socket:
    """A socket that notices a peer that has gone without a word: a log may be silent for hours."""
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 60_000)):
        if (option := getattr(socket, name, None)) is not None:
            made.setsockopt(socket.IPPROTO_TCP, option, value)
    return made
