"""Puts the engine together, and takes it apart.

SIGTERM (or SIGINT) ends it as Seldon's executor ends: it says at once that it is not ready, serves on for the shutdown
delay, then takes no more connections and gives the requests that it has the graceful time. A second signal ends it now.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import uvicorn

from ..wholes import configuration  # noqa: TID252 (see the runtime)
from ..wholes import server as http_server  # noqa: TID252
from .builtin import Builtins
from .calls import Headers, Naming, RestUnits
from .fused import FusedUnits
from .graph import Graph, GraphError, Node, Verb
from .metrics import Metrics
from .options import OptionError, Options, read
from .payloadlog import PayloadLog, Source, wanted
from .payloads import Payload
from .readiness import Probe
from .rpc import Metadata, Rpc, RpcUnits, message_sizes
from .walk import Caller
from .web import Surface, Web
from .whereabouts import Whereabouts

_KEEP_ALIVE_SECONDS = 65
REST_TIMEOUT = "seldon.io/rest-timeout"
GRPC_TIMEOUT = "seldon.io/grpc-timeout"
GRPC_SIZE = "seldon.io/grpc-max-message-size"


def say(text: str) -> None:
    """One line on the log."""
    print(text, file=sys.stderr, flush=True)


class Units:
    """Every unit of a graph, wherever it is: built in, in this process, or a server."""

    def __init__(self, remote: RestUnits, rpc: RpcUnits, fused: FusedUnits, probe: Probe) -> None:
        self._remote = remote
        self._rpc = rpc
        self._fused = fused
        self._probe = probe
        self._builtin = Builtins()

    def bound(self, headers: Headers, model: str = "") -> Caller:
        """The caller for one request over REST."""
        return self._with(self._remote.bound(headers, model))

    def rpc(self, metadata: Metadata, model: str = "") -> Caller:
        """The caller for one request over gRPC."""
        return self._with(self._rpc.bound(metadata, model))

    def _with(self, remote: Caller) -> Caller:
        async def call(node: Node, verb: Verb, payload: Payload | None) -> Payload:
            if node.builtin:
                return await self._builtin(node, verb, payload)
            return await (self._fused if node.name in self._fused else remote)(node, verb, payload)

        return call

    async def ready(self) -> str:
        """Why they are not ready."""
        return self._fused.missing() or await self._probe.missing()


def main(argv: list[str], environment: Mapping[str, str]) -> int:
    """Serve until a signal; the exit status is 0 when no request was cut off."""
    try:
        options = read(argv, environment)
        listener = _listen(options.address, options.http_port)
    except (OptionError, GraphError) as error:
        say(f"engine: {error}")
        return 1
    except OSError as error:
        say(f"engine: cannot listen at {options.address}:{options.http_port}: {error.strerror}")
        return 1
    return _run(_serve(options, listener))


def _run(serving: Coroutine[Any, Any, int]) -> int:
    try:
        import uvloop
    except ImportError:  # an image may lack it; it is faster only
        return asyncio.run(serving)
    return uvloop.run(serving)


async def _serve(options: Options, listener: socket.socket) -> int:
    try:
        return await Engine(options).run(listener)
    except OptionError as error:
        say(f"engine: {error}")
        return 1


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family, backlog=2048)
    listener.setblocking(False)
    return listener


class Engine:
    """All parts of one running engine."""

    def __init__(self, options: Options) -> None:
        self.options = options
        graph = options.graph
        naming = Naming(options.deployment, graph.predictor, graph.version)
        whereabouts = Whereabouts(options.services)
        labels = ("deployment_name", naming.deployment), ("predictor_name", naming.predictor)
        self._metrics = Metrics(dict(labels))
        self._fused = FusedUnits(graph, options.fused, naming, options.protocol)
        self._metrics.units = self._fused.metrics
        client, protocol = self._metrics.client, options.protocol
        self._remote = RestUnits(
            graph, protocol, naming, client, timeout=options.milliseconds(REST_TIMEOUT), whereabouts=whereabouts
        )
        self._limit = int(options.number(GRPC_SIZE) or -1)
        self._calls = RpcUnits(
            graph,
            protocol,
            naming,
            client,
            timeout=options.milliseconds(GRPC_TIMEOUT),
            limit=self._limit,
            whereabouts=whereabouts,
        )
        self._log = self._payload_log(graph, whereabouts) if wanted(graph) else None
        probe = Probe(graph, protocol, whereabouts, full=options.full_health_checks, within=self._fused.names)
        units = Units(self._remote, self._calls, self._fused, probe)
        surface = Surface(
            options.namespace, protocol, options.prometheus_path, options.cors_origins, options.cors_headers
        )
        tap = self._log.tap if self._log else None
        self.web = Web(graph, units, naming, self._metrics, surface, tap=tap)
        self._rpc = Rpc(graph, protocol, units.rpc, naming, self._metrics, ready=units.ready, tap=tap)

    def _payload_log(self, graph: Graph, whereabouts: Whereabouts) -> PayloadLog:
        options = self.options
        url = f"http://{options.hostname}:{options.http_port}/"
        source = Source(url, options.deployment, options.namespace, graph.predictor, options.protocol)
        log = PayloadLog(
            source,
            size=options.log_queue,
            workers=options.log_workers,
            say=say,
            sample=options.log_sample,
            whereabouts=whereabouts,
        )
        self._metrics.add(log)
        return log

    async def run(self, listener: socket.socket) -> int:
        """From the first connection to the last."""
        rpc = self._rpc_server()
        if self._log:
            await self._log.open()
        await rpc.start()
        server = http_server(self._configuration())
        stop = _signals(server)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        say(f"engine: {self.options.deployment} serves at {self.options.address}:{self.options.http_port}")
        try:
            await self._fused.load()
            await asyncio.wait([serving, asyncio.create_task(stop.wait())], return_when=asyncio.FIRST_COMPLETED)
            self.web.draining = True
            await asyncio.sleep(self.options.delay_seconds)
            return await self._drain(server, serving, rpc)
        finally:
            await self._close(server, serving, rpc)

    async def _drain(self, server: uvicorn.Server, serving: asyncio.Task[None], rpc: grpc.aio.Server) -> int:
        server.should_exit = True
        started = asyncio.get_running_loop().time()
        await asyncio.gather(serving, rpc.stop(self.options.graceful_seconds))
        if asyncio.get_running_loop().time() - started < self.options.graceful_seconds:
            return 0
        say(f"engine: graceful_timeout of {self.options.graceful_seconds:g}s exceeded, requests were cut off")
        return 1

    async def _close(self, server: uvicorn.Server, serving: asyncio.Task[None], rpc: grpc.aio.Server) -> None:
        server.should_exit = server.force_exit = True
        await asyncio.gather(serving, rpc.stop(0), return_exceptions=True)
        self._fused.close()
        if self._log:
            await self._log.close(min(self.options.graceful_seconds, 5))
        self._remote.close()
        await self._calls.close()

    def _configuration(self) -> uvicorn.Config:
        certificate, key = self.options.certificate or (None, None)
        return configuration(
            self.web,
            keep_alive=_KEEP_ALIVE_SECONDS,
            grace=self.options.graceful_seconds,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )

    def _rpc_server(self) -> grpc.aio.Server:
        server = grpc.aio.server(options=[*message_sizes(self._limit), ("grpc.so_reuseport", 0)])
        address = f"{self.options.address}:{self.options.grpc_port}"
        if self.options.protocol != "tensorflow":
            server.add_generic_rpc_handlers((self._rpc,))
        try:
            if self.options.certificate is None:
                server.add_insecure_port(address)
            else:
                certificate, key = (Path(name).read_bytes() for name in self.options.certificate)
                server.add_secure_port(address, grpc.ssl_server_credentials([(key, certificate)]))
        except RuntimeError as error:
            raise OptionError(f"cannot listen at {address} for gRPC: {error}") from error
        return server


def _signals(server: uvicorn.Server) -> asyncio.Event:
    stop = asyncio.Event()

    def signalled() -> None:
        if stop.is_set():
            server.force_exit = True
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signalled)
    return stop
