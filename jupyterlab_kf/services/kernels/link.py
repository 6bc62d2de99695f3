"""The line to the program that runs a kernel in its pod (``runtime/kernel.py``): orders go there, changes come back.

Each line is JSON with a signature that holds for this connection, this direction and this place in it, made with the
token that only the kernel's Secret has: who can reach the port of a pod cannot command its kernel.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from typing import Any

from jupyterlab_kf.cluster.reach import Stream
from jupyterlab_kf.errors import UnreachableError


class Link:
    """A line over a connection to the pod; :meth:`open` it first."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._secret = self._rest = b""
        self._sent = self._received = 0

    async def open(self, token: str) -> None:
        """Prove to each other who we are; the connection is closed if that fails.

        Raises:
            UnreachableError: nobody answers there.
        """
        try:
            await self._greet(token)
        except OSError as error:
            await self._stream.close()
            raise UnreachableError(f"the line to the kernel's pod is broken: {error}") from error
        except BaseException:
            await self._stream.close()
            raise

    async def _greet(self, token: str) -> None:
        theirs, ours = await self._line(), secrets.token_hex(16)
        if not theirs:
            raise UnreachableError("the kernel's pod does not answer")
        await self._stream.write(f"{ours}\n".encode())
        self._secret = hmac.new(token.encode(), f"{theirs} {ours}".encode(), hashlib.sha256).digest()
        await self.order("hello")

    async def order(self, what: str, **more: Any) -> None:
        """Send an order: ``hello``, ``signal`` (number), ``start`` (run, env) or ``end``.

        Raises:
            UnreachableError: the line is broken.
        """
        body = json.dumps({"order": what, **more})
        line = f"{_sign(self._secret, 'server', self._sent, body)} {body}\n"
        self._sent += 1
        try:
            await self._stream.write(line.encode())
        except OSError as error:
            raise UnreachableError(f"the line to the kernel's pod is broken: {error}") from error

    async def hear(self) -> dict[str, Any] | None:
        """The next change of the kernel; None at the end.

        Raises:
            UnreachableError: who speaks there is not the kernel's pod.
        """
        line = await self._line()
        if line is None:
            return None
        mac, _, body = line.partition(" ")
        if not hmac.compare_digest(mac, _sign(self._secret, "agent", self._received, body)):
            raise UnreachableError("what answers in place of the kernel's pod is something else")
        self._received += 1
        told = json.loads(body)
        return told if isinstance(told, dict) else {}

    async def _line(self) -> str | None:
        try:
            while b"\n" not in self._rest:
                more = await self._stream.read()
                if not more:
                    return None
                self._rest += more
        except OSError:
            return None
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode(errors="replace")

    async def close(self) -> None:
        """Hang up."""
        await self._stream.close()


def _sign(secret: bytes, who: str, number: int, body: str) -> str:
    return hmac.new(secret, f"{who} {number} {body}".encode(), hashlib.sha256).hexdigest()
