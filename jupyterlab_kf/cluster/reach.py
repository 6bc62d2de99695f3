"""Ways to a port of a pod: straight to its address, or through the API server, as ``kubectl port-forward`` goes.

Whichever it is, the two ends are a :class:`Stream` of bytes, and a :class:`Relay` gives such ports to programs of this
machine as ports of its own: they stay what they are when the pod is replaced by another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Final, Protocol

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.transport import Socket
from jupyterlab_kf.errors import KubeflowError, UnreachableError
from jupyterlab_kf.model import Ref

_PROTOCOL: Final = "v4.channel.k8s.io"
_DATA: Final = b"\0"
_ERROR: Final = 1
_CONNECT: Final = 10.0
_CHUNK: Final = 1 << 18


class Stream(Protocol):
    """Bytes in both directions."""

    async def read(self) -> bytes:
        """What has come; empty at the end."""

    async def write(self, data: bytes) -> None:
        """Send; returns when there is room for more."""

    async def close(self) -> None:
        """End it."""


Dial = Callable[[int], Awaitable[Stream]]


class Straight:
    """A connection of the network's."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self) -> bytes:
        """What has come; empty at the end."""
        return await self._reader.read(_CHUNK)

    async def write(self, data: bytes) -> None:
        """Send; returns when there is room for more."""
        self._writer.write(data)
        await self._writer.drain()

    async def close(self) -> None:
        """End it."""
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()


async def straight(host: str, port: int) -> Stream:
    """A connection to an address.

    Raises:
        UnreachableError: nobody listens there, or the network does not lead there.
    """
    try:
        async with asyncio.timeout(_CONNECT):
            return Straight(*await asyncio.open_connection(host, port))
    except OSError as error:
        why = "it did not answer in time" if isinstance(error, TimeoutError) else str(error)
        raise UnreachableError(f"{host}:{port} cannot be reached: {why}") from error


class Forwarded:
    """A connection that the API server and the pod's node pass on.

    Messages begin with the number of a channel: 0 is data, 1 is what went wrong (kept as ``refusal``). The first of
    each channel is the port's number.
    """

    def __init__(self, socket: Socket, opened: AsyncExitStack) -> None:
        self._socket, self._opened = socket, opened
        self._greeted: set[int] = set()
        self.refusal = ""

    async def read(self) -> bytes:
        """What has come; empty at the end."""
        while True:
            message = await self._socket.receive()
            if not message:
                return b""
            channel = message[0]
            if channel not in self._greeted:
                self._greeted.add(channel)
                continue
            if channel == _ERROR:
                self.refusal = message[1:].decode(errors="replace").strip()
                return b""
            if len(message) > 1:
                return message[1:]

    async def write(self, data: bytes) -> None:
        """Send; returns when there is room for more."""
        await self._socket.send(_DATA + data)

    async def close(self) -> None:
        """End it."""
        with suppress(OSError, KubeflowError):
            await self._opened.aclose()


async def forward(client: Client, namespace: str, pod: str, port: int) -> Stream:
    """A connection to a port of a pod through the API server (the right ``pods/portforward``).

    Raises:
        ApiError: the API server refuses, or cannot reach the pod.
        UnreachableError: the API server cannot be reached.
    """
    opened = AsyncExitStack()
    path = kinds.POD.path(namespace, pod, "portforward")
    socket = await opened.enter_async_context(
        client.socket(path, params={"ports": str(port)}, protocol=_PROTOCOL, ref=Ref("Pod", pod, namespace))
    )
    return Forwarded(socket, opened)


class Relay:
    """Ports of this machine that lead to ports of a pod.

    Args:
        dial: opens a connection to a port of the pod, wherever that is now. When it fails, who has connected is
            disconnected, and comes again.
    """

    def __init__(self, dial: Dial) -> None:
        self._dial = dial
        self._servers: list[asyncio.Server] = []
        self._places: tuple[object, ...] = ()
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self, transport: str, ip: str, ports: Mapping[int, int]) -> None:
        """Listen for each port of ours that leads to a port of the pod; a relay that does already stays as it is.

        Args:
            transport: ``tcp``, or ``ipc`` for sockets in the file system.
            ip: the address to listen at; for ``ipc`` what the sockets' names begin with.
            ports: ours to the pod's.

        Raises:
            UnreachableError: one of our ports is taken.
        """
        places = (transport, ip, tuple(ports.items()))
        if places == self._places:
            return
        await self.close()
        try:
            for ours, theirs in ports.items():
                self._servers.append(await self._listen(transport, ip, ours, theirs))
        except OSError as error:
            await self.close()
            raise UnreachableError(f"a port for the kernel cannot be had on this machine: {error}") from error
        self._places = places

    async def _listen(self, transport: str, ip: str, ours: int, theirs: int) -> asyncio.Server:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(self._pass_on(Straight(reader, writer), theirs))
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)

        if transport == "ipc":
            return await asyncio.start_unix_server(accept, f"{ip}-{ours}")
        return await asyncio.start_server(accept, ip, ours)

    async def close(self) -> None:
        """Listen no more, and end what is connected."""
        servers, self._servers, self._places = self._servers, [], ()
        for server in servers:
            server.close()
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def _pass_on(self, near: Stream, port: int) -> None:
        far: Stream | None = None
        try:
            far = await self._dial(port)
            ways = [asyncio.ensure_future(_pump(near, far)), asyncio.ensure_future(_pump(far, near))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except KubeflowError:  # the pod is not there now: who has connected is told by the end
            pass
        finally:
            await near.close()
            if far is not None:
                await far.close()


async def _pump(source: Stream, target: Stream) -> None:
    with suppress(OSError):
        while data := await source.read():
            await target.write(data)
