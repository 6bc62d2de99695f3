"""`pods/exec` over WebSocket, as kubectl and the Python client speak it: channel.k8s.io, versions 4 and 5, no tty.

Each message begins with the number of its channel: 0 stdin, 1 stdout, 2 stderr, 3 the outcome as a Status; 255 closes
a channel (version 5). Refuses SPDY, which every client of today falls back to only, and terminals. How a command runs
beside a container is the node's business.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Final, Protocol
from urllib.parse import parse_qs

from tornado import iostream, websocket

from jupyterlab_kf.embedded.apiserver import failures, nodes, requests, reviews
from jupyterlab_kf.embedded.apiserver.backing import Backing
from jupyterlab_kf.embedded.store import encode
from jupyterlab_kf.errors import ApiError

PATH: Final = r"/api/v1/namespaces/([^/]+)/pods/([^/]+)/exec"
PROTOCOLS: Final = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _OUTCOME, _CLOSE = 0, 1, 2, 3, 255
_CHUNK: Final = 32 * 1024


class Commands(Protocol):
    """What is asked of the node."""

    async def exec(
        self, namespace: str, pod: str, container: str, argv: list[str], *, stdin: bool
    ) -> asyncio.subprocess.Process:
        """A command beside a container; ApiError when there is none to be run."""

    async def end_command(self, process: asyncio.subprocess.Process) -> None:
        """End a command and all that it started."""


class ExecSocket(websocket.WebSocketHandler):
    """One command."""

    def initialize(self, backing: Backing) -> None:
        """What it is answered from."""
        self.backing = backing
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """The newest that both speak."""
        return next((name for name in PROTOCOLS if name in subprotocols), None)

    def check_origin(self, origin: str) -> bool:  # noqa: ARG002  tornado's word for it
        """Any: what guards is the token, which no page of a browser can send in a header."""
        return True

    def get_compression_options(self) -> None:
        """None: clients of this protocol do not compress."""

    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Begin the command, then speak; what cannot begin is refused as any request is."""
        try:
            self._process = await self._begin(*args)
        except ApiError as error:
            self.set_status(error.code)
            self.set_header("Content-Type", "application/json")
            await self.finish(encode(failures.status(error)))
            return
        try:
            await super().get(*args, **kwargs)
        finally:
            await self._end()

    async def _begin(self, namespace: str, pod: str) -> asyncio.subprocess.Process | None:
        user = self.backing.user(self.request.headers)
        if user != reviews.USER:
            raise reviews.refused_path(user, "get", self.request.path)
        self.query = requests.Query(parse_qs(self.request.query, keep_blank_values=True))
        argv = parse_qs(self.request.query, keep_blank_values=True).get("command", [])
        if not argv:
            raise failures.bad_request("you must specify at least one command for the container")
        offered = self.request.headers.get("Sec-WebSocket-Protocol", "")
        if not self.select_subprotocol([name.strip() for name in offered.split(",")]):
            raise failures.bad_request(f"pods are executed in over WebSocket with one of {', '.join(PROTOCOLS)}")
        if self.query.flag("tty"):
            return None
        node: Any = self.backing.node
        if node is None:
            raise nodes.no_node()
        commands: Commands = node
        return await commands.exec(namespace, pod, self.query.text("container"), argv, stdin=self.query.flag("stdin"))

    def open(self, *_: str, **__: str) -> None:
        """The client hears us."""
        self._task = asyncio.get_running_loop().create_task(self._serve())

    async def _serve(self) -> None:
        with contextlib.suppress(websocket.WebSocketClosedError, iostream.StreamClosedError):
            await self._say(_STDOUT, b"")  # a real server's sign that the command runs
            if self._process is None:
                why = "a terminal cannot be had in this cluster: leave -t (--tty) out"
                await self._say(_OUTCOME, encode(failures.status(failures.bad_request(why))))
            else:
                pipes = ((_STDOUT, self._process.stdout), (_STDERR, self._process.stderr))
                await asyncio.gather(*(self._copy(channel, pipe) for channel, pipe in pipes if pipe))
                await self._say(_OUTCOME, encode(outcome(await self._process.wait())))
            self.close(1000)

    async def _copy(self, channel: int, pipe: asyncio.StreamReader) -> None:
        while data := await pipe.read(_CHUNK):
            await self._say(channel, data)

    async def _say(self, channel: int, data: bytes) -> None:
        await self.write_message(bytes([channel]) + data, binary=True)

    async def on_message(self, message: str | bytes) -> None:
        """Input, or its end."""
        data = message.encode() if isinstance(message, str) else message
        pipe = self._process.stdin if self._process else None
        if not data or pipe is None:
            return
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if data[0] == _STDIN and len(data) > 1:
                pipe.write(data[1:])
                await pipe.drain()
            elif data[0] == _CLOSE and data[1:2] == bytes([_STDIN]):
                pipe.close()

    async def _end(self) -> None:
        """The client has left, or all was said: nothing of the command goes on."""
        if self._process:
            node: Any = self.backing.node
            await node.end_command(self._process)
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


def outcome(code: int) -> dict[str, Any]:
    """What channel 3 says of an exit status, in a real server's words."""
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    code = 128 - code if code < 0 else code
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
