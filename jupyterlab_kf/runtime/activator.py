"""Holds requests for endpoints that sleep, wakes them, and passes the requests on: the queue of scaling from zero.

Envoy sends here what is for an endpoint without replicas. A connection is held unread (so every protocol is: HTTP,
gRPC, streams, WebSockets), the Deployment is scaled up once however many wait, and when Envoy's own file of endpoints
names a pod, bytes go through to it. Too many that wait, or a pod that does not come, is answered with 503 and a
sentence. Knows no object but the Deployments it is told, keeps no state, and imports nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import ssl
import struct
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

MOST: Final = 200
"""Connections that wait for one endpoint."""
PATIENCE: Final = 120.0
"""Seconds until a request that waits is answered with 503."""
RETRY_AFTER: Final = 5
GLANCE: Final = 0.05
LOOK: Final = 0.2
AGAIN: Final = 2.0
_HELD_BYTES: Final = 1 << 16
_LINGER: Final = 3.0
_GRACE: Final = 10.0
_HTTP2: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _SETTINGS, _GOAWAY = 1, 4, 7
_END: Final = 0x05  # END_STREAM and END_HEADERS
_UNAVAILABLE: Final = "14"

Address = tuple[str, int]


class Side(asyncio.Protocol):
    """One end of a connection that is passed on: holds what comes until there is another end."""

    transport: asyncio.Transport

    def __init__(self, begun: Callable[[Side], None] | None = None) -> None:
        self._begun = begun
        self.held = bytearray()
        self.other: Side | None = None
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.refused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody is there."""
        self.transport = cast("asyncio.Transport", transport)
        if self._begun:
            self._begun(self)

    def data_received(self, data: bytes) -> None:
        """Passed on, or held."""
        if self.refused:
            return
        if self.other is not None:
            self.other.transport.write(data)
            return
        self.held += data
        if len(self.held) > _HELD_BYTES:
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """The end of one direction; of all, where nobody is at the other end yet."""
        if self.other is None:
            return False  # whoever waited has left
        if self.other.transport.can_write_eof():
            self.other.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        """The other end is slow."""
        if self.other is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """It has caught up."""
        if self.other is not None:
            self.other.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end of both ends."""
        del exc
        if not self.gone.done():
            self.gone.set_result(None)
        if self.other is not None:
            self.other.transport.close()

    def join(self, other: Side) -> None:
        """Pass on, from now on, in both directions."""
        for one, to in ((self, other), (other, self)):
            one.other = to
            to.transport.write(bytes(one.held))
            one.held.clear()
            one.transport.resume_reading()

    def refuse(self, why: str) -> None:
        """Answer that it cannot be had now, in the protocol that is spoken, and hang up."""
        self.transport.write(refusal(bytes(self.held), why))
        self.held.clear()
        self.refused = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.resume_reading()  # what is left unread when it is closed would cost the answer
        asyncio.get_running_loop().call_later(_LINGER, self.transport.close)


def refusal(held: bytes, why: str) -> bytes:
    """The answer 503, or gRPC's UNAVAILABLE to whoever speaks HTTP/2."""
    if held.startswith(_HTTP2[:3]):
        answers = b"".join(_frame(_HEADERS, _END, stream, _unavailable(why)) for stream in _streams(held))
        return _frame(_SETTINGS, 0, 0, b"") + answers + _frame(_GOAWAY, 0, 0, struct.pack(">II", 2**31 - 1, 0))
    body = json.dumps({"error": why, "status": {"code": 503, "info": why, "status": "FAILURE"}}).encode()
    head = [
        "HTTP/1.1 503 Service Unavailable",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        f"Retry-After: {RETRY_AFTER}",
        "X-Envoy-Ratelimited: true",  # Envoy sends no request again that was answered so
        "Connection: close",
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _unavailable(why: str) -> bytes:
    fields = (("content-type", "application/grpc"), ("grpc-status", _UNAVAILABLE), ("grpc-message", why))
    literal = b"".join(
        b"\x00" + _text(name) + _text(urllib.parse.quote(value, safe=" ;,.'()")) for name, value in fields
    )
    return b"\x88" + literal  # 0x88: ":status: 200" of HPACK's table


def _text(value: str) -> bytes:
    data = value.encode()
    length, most = len(data), 127
    if length < most:
        return bytes((length,)) + data
    rest, more = length - most, bytearray((most,))
    while rest >= 1 << 7:
        more.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((*more, rest)) + data


def _streams(held: bytes) -> list[int]:
    """The streams that were begun."""
    at, found = len(_HTTP2), []
    while at + 9 <= len(held):
        if held[at + 3] == _HEADERS:
            found.append(int.from_bytes(held[at + 5 : at + 9], "big") & 0x7FFFFFFF)
        at += 9 + int.from_bytes(held[at : at + 3], "big")
    return found


class Sleeper:
    """One endpoint: who waits for it, and how it is woken.

    Args:
        told: namespace, name, replicas, and the file that says where it is.
        wake: scales a Deployment up; whether that was taken.
    """

    def __init__(self, told: Mapping[str, Any], wake: Callable[[Mapping[str, Any]], str]) -> None:
        self.told, self._wake = told, wake
        self.waiting = 0
        self._waking: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.sides: set[Side] = set()
        self.server: asyncio.Server | None = None

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.told['namespace']}/{self.told['deployment']}"

    def come(self, side: Side) -> None:
        """Somebody asks."""
        self.sides.add(side)
        side.gone.add_done_callback(lambda _: self.sides.discard(side))
        task = asyncio.get_running_loop().create_task(self._serve(side))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, side: Side) -> None:
        if self.waiting >= MOST:
            side.refuse(f"the endpoint {self.name} was asleep, and {MOST} requests wait for it already; ask again soon")
            return
        self.waiting += 1
        deadline = time.monotonic() + PATIENCE
        try:
            while not side.gone.done():
                await asyncio.wait(
                    {self._awake(), side.gone}, timeout=deadline - time.monotonic(), return_when="FIRST_COMPLETED"
                )
                if side.gone.done() or await self._passed_on(side):
                    return
                if time.monotonic() >= deadline:
                    side.refuse(
                        f"the endpoint {self.name} was asleep and has not come up in {PATIENCE:.0f} seconds; "
                        "its status says why"
                    )
                    return
        finally:
            self.waiting -= 1

    async def _passed_on(self, side: Side) -> bool:
        addresses = endpoints(Path(self.told["endpoints"]))
        if not addresses:
            return False
        loop = asyncio.get_running_loop()
        try:
            _, other = await loop.create_connection(Side, *random.choice(addresses))
        except OSError:  # it is on its way out again, or not quite there
            await asyncio.sleep(GLANCE)
            return False
        side.join(other)
        return True

    def _awake(self) -> asyncio.Task[None]:
        """Done when there is a pod; one for all that wait."""
        if self._waking is None or self._waking.done():
            self._waking = asyncio.get_running_loop().create_task(self._until_awake())
        return self._waking

    async def _until_awake(self) -> None:
        asked, said = 0.0, ""
        while self.waiting and not endpoints(Path(self.told["endpoints"])):
            if time.monotonic() - asked > AGAIN:
                asked = time.monotonic()
                outcome = await asyncio.to_thread(self._wake, self.told)
                if outcome != said:
                    said = outcome
                    print(f"{self.name}: {self.waiting} waiting; {outcome}", flush=True)
            await asyncio.sleep(GLANCE)


def endpoints(path: Path) -> list[Address]:
    """Where pods are, by Envoy's own file; empty while it names none."""
    try:
        resources = json.loads(path.read_bytes())["resources"]
    except (OSError, ValueError, KeyError):
        return []
    found = [
        one["endpoint"]["address"].get("socket_address")
        for resource in resources
        for part in resource.get("endpoints") or ()
        for one in part["lb_endpoints"]
    ]
    return [(str(one["address"]), int(one["port_value"])) for one in found if one]


class Cluster:
    """The API server, as pods are told of it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        host, port = environment["KUBERNETES_SERVICE_HOST"], environment["KUBERNETES_SERVICE_PORT"]
        self._base = f"https://{host}:{port}"
        self._folder = Path(environment["KF_CREDENTIALS"])

    def wake(self, told: Mapping[str, Any]) -> str:
        """Scale a Deployment up if it is at zero; what came of it."""
        path = f"/apis/apps/v1/namespaces/{told['namespace']}/deployments/{told['deployment']}/scale"
        patch = [
            {"op": "test", "path": "/spec/replicas", "value": 0},
            {"op": "replace", "path": "/spec/replicas", "value": told["replicas"]},
        ]
        headers = {
            "Authorization": f"Bearer {(self._folder / 'token').read_text().strip()}",
            "Content-Type": "application/json-patch+json",
        }
        data = json.dumps(patch).encode()
        request = urllib.request.Request(self._base + path, data, headers, method="PATCH")
        try:
            context = ssl.create_default_context(cafile=str(self._folder / "ca.crt"))
            with urllib.request.urlopen(request, timeout=5, context=context):
                return "woken"
        except urllib.error.HTTPError as error:
            return (
                "it is on its way" if error.code in (409, 422) else f"it cannot be woken: {error.code} {error.reason}"
            )
        except OSError as error:
            return f"the cluster does not answer yet: {error}"


class Activator:
    """Follows the file that says who sleeps where.

    Args:
        path: that file.
        wake: scales a Deployment up.
    """

    def __init__(self, path: Path, wake: Callable[[Mapping[str, Any]], str]) -> None:
        self._path, self._wake = path, wake
        self.sleepers: dict[str, Sleeper] = {}

    async def run(self, ended: asyncio.Event) -> None:
        """Listen for all that the file names, until told to end; then for those that wait still."""
        while not ended.is_set():
            await self.follow()
            with suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), LOOK)
        deadline = time.monotonic() + _GRACE
        self.close()
        while any(one.waiting for one in self.sleepers.values()):
            if time.monotonic() > deadline:
                return
            await asyncio.sleep(GLANCE)

    def close(self) -> None:
        """Listen no more."""
        for one in self.sleepers.values():
            if one.server:
                one.server.close()

    async def follow(self) -> None:
        """Take up what the file says now."""
        try:
            told = dict(json.loads(self._path.read_bytes())["sleepers"])
        except (OSError, ValueError, KeyError):
            return
        for socket in self.sleepers.keys() - told.keys():
            server = self.sleepers.pop(socket).server
            if server:
                server.close()
        for socket, one in told.items():
            sleeper = self.sleepers.setdefault(socket, Sleeper(one, self._wake))
            sleeper.told = one
            if sleeper.server is None:
                loop, come = asyncio.get_running_loop(), sleeper.come
                with suppress(OSError):  # the one before has not quite ended; the next look tries again
                    place = f"\0{socket.removeprefix('@')}"
                    sleeper.server = await loop.create_unix_server(partial(Side, come), place, backlog=MOST)


async def _main(path: Path) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await Activator(path, Cluster(os.environ).wake).run(ended)


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
