"""A flood of changes that a real API server told once, told again to one client after the other.

A server that makes fifteen thousand changes and tells them to five watchers at once is slower than any of them, and
what is measured is how often each is woken. Here the bytes of one watch are kept, and sent as fast as they are taken;
all else that clients ask is answered as the real server answered it before the flood. One event is one HTTP chunk, as
there. Everything is on loopback, by TLS.
"""

from __future__ import annotations

import asyncio
import http
import json
import os
import ssl
import sys
import tempfile
import threading
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from bed import credentials
from bed.api import Api

Answer = tuple[int, str, bytes]
_CHUNKS_AT_ONCE = 64
_TRIES = 100


class Replay:
    """The server.

    Args:
        real: calls on the API server that is told of.
        path: of the collection whose changes are recorded.
        before: how many objects it has, which a watch from nowhere begins with.
        events: how many changes the flood has.
    """

    def __init__(self, real: Api, path: str, *, before: int, events: int) -> None:
        self._real, self._path = real, path
        self._before, self._total = before, before + events
        self._kept: dict[tuple[str, str], Answer] = {}
        self._chunks: list[bytes] = []
        self.size = 0

    def record(self) -> None:
        """Keep what a watch from nowhere tells, to the last change; to be run in a thread.

        A busy server ends the watch of who is not quick enough: it is begun again where it was. What is there is said
        at the end, whatever the end is.
        """
        try:
            for _ in range(_TRIES):
                for line in self._real.lines(f"{self._path}?watch=1&timeoutSeconds=1800{self._since()}", seconds=600):
                    self._chunks.append(b"%x\r\n%s\r\n" % (len(line), line))
                    self.size += len(line)
                    if len(self._chunks) == self._before:
                        print(json.dumps({"recording": len(self._chunks)}), flush=True)
                    if len(self._chunks) == self._total:
                        return
        finally:
            print(json.dumps({"recorded": len(self._chunks) - self._before, "bytes": self.size}), flush=True)

    def _since(self) -> str:
        """Where the watch goes on."""
        if not self._chunks:
            return ""
        last = json.loads(self._chunks[-1].split(b"\r\n", 2)[1])
        return f"&resourceVersion={last['object']['metadata']['resourceVersion']}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection's requests, in order."""
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                target, accept = _asked(head.decode())
                place, _, query = target.partition("?")
                options = urllib.parse.parse_qs(query)
                if options.get("watch", [""])[0].lower() in ("1", "true"):
                    since = bool(options.get("resourceVersion", ["0"])[0].strip("0"))
                    await self._tell(writer, self._flood(since=since) if place == self._path else [])
                    await reader.read()  # until the client leaves
                    return
                status, kind, body = await asyncio.to_thread(self._answer, target, accept)
                reason = http.HTTPStatus(status).phrase
                head_ = f"HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head_.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has left
        finally:
            writer.close()

    def _flood(self, *, since: bool) -> list[bytes]:
        """What a watch is told; with what was there before the flood for who knows nothing."""
        ready = len(self._chunks) == self._total
        return self._chunks[self._before if since else 0 :] if ready else []

    async def _tell(self, writer: asyncio.StreamWriter, chunks: list[bytes]) -> None:
        headers = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        writer.write(b"HTTP/1.1 200 OK\r\n" + headers.encode())
        for start in range(0, len(chunks), _CHUNKS_AT_ONCE):
            writer.write(b"".join(chunks[start : start + _CHUNKS_AT_ONCE]))
            await writer.drain()

    def _answer(self, target: str, accept: str) -> Answer:
        if (target, accept) not in self._kept:
            headers = {"Accept": accept} | self._real._headers
            response, body = self._real._send("GET", target, None, headers)
            kind = response.headers.get("Content-Type") or "application/json"
            self._kept[target, accept] = (response.status, kind, body)
        return self._kept[target, accept]


def _asked(head: str) -> tuple[str, str]:
    """Target and accepted types of a request."""
    first, *lines = head.split("\r\n")
    named = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
    return first.split(" ")[1], named.get("accept", "application/json")


@asynccontextmanager
async def listening(replay: Replay, folder: Path) -> AsyncIterator[Path]:
    """A kubeconfig of the server while it listens."""
    authority = credentials.Authority.new("replay-authority")
    authority.server("replay", addresses=["127.0.0.1"]).write(folder, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")
    server = await asyncio.start_server(replay.serve, "127.0.0.1", 0, ssl=context, limit=1 << 20)
    port = server.sockets[0].getsockname()[1]
    text = credentials.kubeconfig(
        f"https://127.0.0.1:{port}", authority.pair.certificate, authority.client("bench"), user="bench"
    )
    (folder / "kubeconfig").write_text(text)
    async with server:
        yield folder / "kubeconfig"


async def main(path: str, before: int, events: int) -> None:
    """Serve until the input ends; a line on it begins the record."""
    replay = Replay(Api(Path(os.environ["KUBECONFIG"])), path, before=before, events=events)
    with tempfile.TemporaryDirectory() as folder:
        async with listening(replay, Path(folder)) as kubeconfig:
            print(json.dumps({"kubeconfig": str(kubeconfig)}), flush=True)
            while await asyncio.to_thread(sys.stdin.readline):
                threading.Thread(target=replay.record, daemon=True).start()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
