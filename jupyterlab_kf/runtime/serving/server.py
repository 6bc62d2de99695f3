"""The process of a unit: ports, workers, readiness and the end.

Ports are bound first, so that one that is taken is told at once, and listen only when the model has loaded: a probe
that merely connects, as Seldon's do, then says the truth. SIGTERM is answered with patience: readiness goes, requests
are still answered and ask their client to come back by a new connection, then the port closes and what runs may end.

Several workers are forked before anything is imported or loaded; they share the port. One that dies is replaced, one
that cannot load ends all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
import tempfile
import time
import types
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .messages import Refusal

if TYPE_CHECKING:
    import grpc.aio
    import uvicorn

    from .component import Unit
    from .service import Service

KEEP_ALIVE = 300
"""Seconds; longer than proxies keep idle connections, so that it is never us who close one that is about to be used."""
SETTLING = 1.0
"""Seconds for what was sent before the port closed; idle connections are closed after that."""
CANNOT_LOAD = 3
Make = Callable[[], "Sequence[Unit]"]


@dataclass(frozen=True, slots=True)
class Options:
    """How to serve."""

    host: str = "127.0.0.1"
    http_port: int = 9000
    grpc_port: int = 0
    metrics_port: int = 0
    metrics_path: str = ""
    workers: int = 1
    threads: int = 1
    queue: int = 1000
    batch_size: int = 0
    batch_wait: float = 0.0
    max_body: int = 64 << 20
    drain: float = 3.0
    grace: float = 10.0


def say(text: str) -> None:
    """One line of the log."""
    print(f"unit: {text}", file=sys.stderr, flush=True)


def serve(make: Make, options: Options) -> int:
    """Serve until a signal says otherwise; answers the exit status."""
    try:
        sockets = [_bound(options.host, port) for port in (options.http_port, options.metrics_port) if port]
    except OSError as error:
        say(f"cannot listen at {options.host}, ports {options.http_port} and {options.metrics_port}: {error.strerror}")
        return 1
    if options.workers == 1:
        return _work(make, sockets, options, None)
    with tempfile.TemporaryDirectory(prefix="kf-unit-") as folder:
        return Workers(lambda: _work(make, sockets, options, Path(folder)), options.workers, sockets).run()


def _bound(host: str, port: int) -> socket.socket:
    """A socket that has the port and does not listen yet."""
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    made.set_inheritable(True)
    return made


class Workers:
    """Forked processes that all do the same."""

    def __init__(self, work: Callable[[], int], count: int, sockets: Sequence[socket.socket]) -> None:
        self.work = work
        self.count = count
        self.sockets = sockets
        self.pids: set[int] = set()
        self.status = 0
        self.ending = False

    def run(self) -> int:
        """Keep as many as were asked for until a signal; answers the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        for _ in range(self.count):
            self._start()
        while self.pids:
            pid, status = os.wait()
            self.pids.discard(pid)
            code = os.waitstatus_to_exitcode(status)
            if self.ending:
                continue
            if code == CANNOT_LOAD:
                self.status = code
                self._end(signal.SIGTERM, None)
                continue
            say(f"worker {pid} ended with {code}; another one starts")
            time.sleep(0.5)
            self._start()
        return self.status

    def _start(self) -> None:
        pid = os.fork()
        if pid:
            self.pids.add(pid)
            if self.ending:
                os.kill(pid, signal.SIGTERM)
            return
        status = 1
        try:
            status = self.work()
        finally:
            os._exit(status)

    def _end(self, number: int, _frame: types.FrameType | None) -> None:
        self.ending = True
        for one in self.sockets:
            one.close()  # a copy that stays open would go on listening with nobody behind it
        for pid in self.pids:
            os.kill(pid, number)


def _work(make: Make, sockets: list[socket.socket], options: Options, folder: Path | None) -> int:
    """One worker from loading to its end."""
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    from .batching import Batcher
    from .running import Runner
    from .service import Service

    start = time.perf_counter()
    try:
        runner = Runner(options.threads, options.queue)
        batcher = Batcher(runner, options.batch_size, options.batch_wait) if options.batch_size > 1 else None
        service = Service(make(), runner, batcher)
        service.load()
    except Refusal as refusal:
        say(refusal.info)
        return CANNOT_LOAD
    say(f"{', '.join(service.units)} loaded in {time.perf_counter() - start:.2f} s")
    main = Worker(service, sockets, options, folder).run()
    try:
        import uvloop
    except ImportError:
        return asyncio.run(main)
    return uvloop.run(main)


def _leave(number: int, _frame: types.FrameType | None) -> None:
    # As process 1 of a container nothing would end us while a model loads, and the user's code may catch exceptions.
    say("ended while it was loading")
    os._exit(128 + number)


class Worker:
    """One event loop that serves."""

    def __init__(self, service: Service, sockets: list[socket.socket], options: Options, folder: Path | None) -> None:
        self.service = service
        self.sockets = sockets
        self.options = options
        self.folder = folder
        self.stop = asyncio.Event()
        self.hurry = False

    async def run(self) -> int:
        """Listen, serve, and end when told so."""
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._signalled, number)
        async with contextlib.AsyncExitStack() as stack:
            if self.folder is not None:
                await stack.enter_async_context(_neighbours(self.service, self.folder))
            rpc = await self._rpc()
            server = self._server()
            serving = asyncio.create_task(server.serve(sockets=self.sockets))
            say(f"{self.service.unit.name} serves at {self.options.host}:{self.options.http_port}")
            stopped = asyncio.create_task(self.stop.wait())
            await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
            self.service.draining = True
            if not self.hurry and not serving.done():
                await asyncio.sleep(self.options.drain)
                await self._close_door(server)
            server.should_exit = True
            ending = [serving] if rpc is None else [serving, asyncio.create_task(rpc.stop(self.options.grace))]
            await asyncio.gather(*ending)
        self.service.runner.close()
        return 0

    async def _rpc(self) -> grpc.aio.Server | None:
        """Open the port of gRPC; before HTTP, since a probe of that port stands for both."""
        if not self.options.grpc_port:
            return None
        from . import rpc

        server = rpc.server(self.service, limit=self.options.max_body, shared=self.options.workers > 1)
        host = f"[{self.options.host}]" if ":" in self.options.host else self.options.host
        try:
            server.add_insecure_port(f"{host}:{self.options.grpc_port}")
        except RuntimeError as error:
            raise SystemExit(f"unit: cannot listen at {host}:{self.options.grpc_port} for gRPC: {error}") from error
        await server.start()
        return server

    async def _close_door(self, server: uvicorn.Server) -> None:
        """Take no more connections but those that wait already, and answer what was sent before the door closed."""
        loop = asyncio.get_running_loop()
        # A listener that closes resets what has not been accepted, so that is done just before.
        waiting = [connection for listener in self.sockets for connection in _accepted(listener)]
        for one in server.servers:
            one.close()
        for connection in waiting:
            await loop.connect_accepted_socket(self._protocol(server), connection)
        end = loop.time() + SETTLING
        while server.server_state.connections and loop.time() < end:  # noqa: ASYNC110  uvicorn tells nobody
            await asyncio.sleep(0.02)

    @staticmethod
    def _protocol(server: uvicorn.Server) -> Callable[[], asyncio.Protocol]:
        made: Any = server.config.http_protocol_class
        state = server.server_state
        return lambda: made(config=server.config, server_state=state, app_state=server.lifespan.state)

    def _signalled(self, number: int) -> None:
        # A person at a keyboard does not wait for load balancers, and neither does who asks twice.
        self.hurry = number == signal.SIGINT or self.stop.is_set()
        self.stop.set()

    def _server(self) -> uvicorn.Server:
        from . import wholes
        from .rest import App

        app = App(self.service, limit=self.options.max_body, metrics_path=self.options.metrics_path)
        return wholes.server(wholes.configuration(app, keep_alive=KEEP_ALIVE, grace=self.options.grace))


def _accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """The connections that wait to be accepted."""
    with contextlib.suppress(OSError):  # none is left, or the port never listened
        while True:
            connection, _ = listener.accept()
            connection.setblocking(False)
            yield connection


@contextlib.asynccontextmanager
async def _neighbours(service: Service, folder: Path) -> AsyncIterator[None]:
    """Tell the other workers our metrics, and have theirs when somebody asks us."""
    own = folder / f"{os.getpid()}.sock"

    async def tell(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for unit in service.units.values():
            writer.write(unit.metrics.text())
        writer.close()

    async def one(path: str) -> bytes:
        try:
            reader, writer = await asyncio.open_unix_connection(path)
            text = await asyncio.wait_for(reader.read(-1), 1)
            writer.close()
        except (OSError, TimeoutError):
            # It has died, or is busy with a long call: what it counted is missing from this one scrape.
            return b""
        return text

    async def siblings() -> list[bytes]:
        others = [path for path in os.scandir(folder) if path.path != str(own)]
        return list(await asyncio.gather(*(one(path.path) for path in others)))

    server = await asyncio.start_unix_server(tell, own)
    service.siblings = siblings
    try:
        yield
    finally:
        server.close()
        own.unlink(missing_ok=True)
