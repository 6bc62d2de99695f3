"""KServe's agent: before a server in its pod, it joins requests to batches and sends copies of payloads to a logger.

Takes the options of KServe's own agent, whose image stands for this program on one machine. What is copied is what
clients sent and got; a logger that is slow or gone costs requests nothing. A batch is of ``:predict`` with nothing but
``instances``; one that fails is asked again request by request, so that nobody's mistake is another's.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import signal
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Optional

import aiohttp
from aiohttp import web

from .engine.whereabouts import Resolver, Whereabouts

REQUEST, RESPONSE = "org.kubeflow.serving.inference.request", "org.kubeflow.serving.inference.response"
QUEUE = 100
"""Copies that wait; what does not fit is dropped, and said."""
_WORKERS = 5
_OK = 200
_MOST = 1 << 30
_POST = aiohttp.ClientTimeout(total=60, connect=5)
_CALL = aiohttp.ClientTimeout(total=None, sock_connect=5)
_HOP = frozenset(
    ("connection", "content-length", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)
_JSON = {"Content-Type": "application/json"}
_DRAIN = 5.0


@dataclass(frozen=True)
class Answer:
    """What a server said."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: _JSON)


@dataclass
class Batch:
    """Requests for one path that wait to be one."""

    waiting: list[tuple[list[Any], asyncio.Future[Answer]]] = field(default_factory=list)
    timer: Optional[asyncio.TimerHandle] = None  # noqa: UP045 (images have older Pythons)

    @property
    def size(self) -> int:
        """How many instances there are."""
        return sum(len(instances) for instances, _ in self.waiting)


class Batcher:
    """Joins instances of several requests.

    Args:
        size: of a batch, from which it goes at once.
        seconds: that a request waits for others.
        ask: asks the server for a path with a body.
    """

    def __init__(self, size: int, seconds: float, ask: Any) -> None:
        self._size, self._seconds, self._ask = size, seconds, ask
        self._batches: dict[str, Batch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, path: str, instances: list[Any]) -> Answer:
        """The part of a batch's answer that is for these instances."""
        loop = asyncio.get_running_loop()
        batch = self._batches.setdefault(path, Batch())
        asked: asyncio.Future[Answer] = loop.create_future()
        batch.waiting.append((instances, asked))
        if batch.size >= self._size:
            self._go(path)
        elif batch.timer is None:
            batch.timer = loop.call_later(self._seconds, self._go, path)
        return await asked

    def _go(self, path: str) -> None:
        batch = self._batches.pop(path)
        if batch.timer is not None:
            batch.timer.cancel()
        task = asyncio.get_running_loop().create_task(self._answer(path, batch.waiting))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, path: str, waiting: list[tuple[list[Any], asyncio.Future[Answer]]]) -> None:
        every = [one for instances, _ in waiting for one in instances]
        answer: Answer = await self._ask(path, json.dumps({"instances": every}).encode())
        found = predictions(answer, len(every))
        if found is None and len(waiting) > 1:
            for one in waiting:
                await self._answer(path, [one])
            return
        ident = str(uuid.uuid4())
        for instances, asked in waiting:
            part = answer
            if found is not None:
                mine, found = found[: len(instances)], found[len(instances) :]
                told = {"message": "", "batchId": ident, "predictions": mine}
                part = Answer(_OK, json.dumps(told).encode())
            if not asked.done():
                asked.set_result(part)


def predictions(answer: Answer, wanted: int) -> Optional[list[Any]]:  # noqa: UP045
    """The predictions of an answer, where there is one for each instance."""
    if answer.status != _OK:
        return None
    try:
        found = json.loads(answer.body)["predictions"]
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, list) and len(found) == wanted else None


def instances_of(body: bytes) -> list[Any]:
    """The instances of a request; none where it has another form, which is passed on as it is."""
    try:
        found = json.loads(body)
    except ValueError:
        return []
    only = isinstance(found, dict) and set(found) == {"instances"} and isinstance(found["instances"], list)
    return found["instances"] if only else []


class Copies:
    """Sends copies to a logger, off the request's path."""

    def __init__(self, url: str, said: Mapping[str, str], whereabouts: Whereabouts) -> None:
        self._url, self._said, self._whereabouts = url, said, whereabouts
        self._queue: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue(QUEUE)
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession
        self._dropped = 0

    async def open(self) -> None:
        """Begin to send."""
        connector = aiohttp.TCPConnector(resolver=Resolver(self._whereabouts), use_dns_cache=False)
        self._session = aiohttp.ClientSession(connector=connector, timeout=_POST)
        self._tasks = [asyncio.create_task(self._work()) for _ in range(_WORKERS)]

    def put(self, type_: str, ident: str, body: bytes, content_type: str, metadata: str) -> None:
        """Have a payload sent, or dropped where too many wait."""
        now = datetime.now(timezone.utc).isoformat()  # noqa: UP017 (images have older Pythons)
        headers = {"Content-Type": content_type or "application/json", "Ce-Specversion": "1.0", "Ce-Id": ident}
        headers |= {"Ce-Type": type_, "Ce-Time": now, "Ce-Recordedtime": now, "Ce-Metadata": metadata, **self._said}
        try:
            self._queue.put_nowait((headers, body))
        except asyncio.QueueFull:
            self._dropped += 1
            say(f"{self._url} is slow: {self._dropped} copies dropped so far")

    async def close(self) -> None:
        """Send what waits, for a moment."""
        try:
            await asyncio.wait_for(self._queue.join(), _DRAIN)
        except asyncio.TimeoutError:  # noqa: UP041
            say(f"{self._queue.qsize()} copies were not sent before the end")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    async def _work(self) -> None:
        while True:
            headers, body = await self._queue.get()
            try:
                async with self._session.post(self._url, data=body, headers=headers) as response:
                    if response.status >= 300:  # noqa: PLR2004 (what is not taken)
                        say(f"{self._url} did not take a copy: it answered {response.status}")
            except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:  # noqa: UP041
                say(f"{self._url} did not take a copy: {error}")
            finally:
                self._queue.task_done()


class Agent:
    """What stands before a server.

    Args:
        component: host and port of the server.
        mode: which payloads are copied: ``all``, ``request`` or ``response``.
        headers: the names of requests' headers that copies tell.
    """

    def __init__(self, component: str, *, mode: str = "all", headers: Sequence[str] = ()) -> None:
        self._base = f"http://{component}"
        self._mode, self._headers = mode, {one.lower() for one in headers}
        self.batcher: Optional[Batcher] = None  # noqa: UP045
        self.copies: Optional[Copies] = None  # noqa: UP045
        self._session: aiohttp.ClientSession

    async def open(self) -> None:
        """Be ready for requests."""
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector, timeout=_CALL, auto_decompress=False)
        if self.copies is not None:
            await self.copies.open()

    async def close(self) -> None:
        """Send what is left to be sent."""
        if self.copies is not None:
            await self.copies.close()
        await self._session.close()

    async def handle(self, request: web.Request) -> web.Response:
        """One request."""
        if "K-Network-Probe" in request.headers or request.headers.get("User-Agent", "").startswith("kube-probe/"):
            return await self._probed()
        body = await request.read()
        ident = request.headers.get("Ce-Id") or str(uuid.uuid4())
        kind = request.headers.get("Content-Type", "")
        told = {key: request.headers.getall(key) for key in request.headers if key.lower() in self._headers}
        metadata = json.dumps(told)
        if self.copies is not None and self._mode in ("all", "request"):
            self.copies.put(REQUEST, ident, body, kind, metadata)
        answer = await self._answer(request, body)
        if self.copies is not None and self._mode in ("all", "response") and answer.status == _OK:
            self.copies.put(RESPONSE, ident, answer.body, kind, metadata)
        return web.Response(status=answer.status, body=answer.body, headers=answer.headers)

    async def ask(self, path: str, body: bytes) -> Answer:
        """The server's answer to a message as JSON."""
        return await self._sent("POST", path, body, _JSON)

    async def _answer(self, request: web.Request, body: bytes) -> Answer:
        if self.batcher is not None and request.method == "POST" and request.path.endswith(":predict"):
            instances = instances_of(body)
            if instances:
                return await self.batcher.join(request.path, instances)
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _HOP}
        return await self._sent(request.method, request.path_qs, body, headers)

    async def _sent(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        try:
            async with self._session.request(
                method, self._base + path, data=body or None, headers=headers, allow_redirects=False
            ) as response:
                kept = {key: value for key, value in response.headers.items() if key.lower() not in _HOP}
                return Answer(response.status, await response.read(), kept)
        except (aiohttp.ClientError, OSError) as error:
            return Answer(502, json.dumps({"error": f"the server does not answer: {error}"}).encode())

    async def _probed(self) -> web.Response:
        """Whether the server listens."""
        host, _, port = self._base.removeprefix("http://").rpartition(":")
        try:
            _, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), 1)
        except (OSError, asyncio.TimeoutError) as error:  # noqa: UP041
            return web.Response(status=503, text=f"the server does not listen: {error}")
        writer.close()
        return web.Response(text="queue")


def say(text: str) -> None:
    """A line of the log."""
    sys.stderr.write(f"agent: {text}\n")


def parser() -> argparse.ArgumentParser:
    """The options of KServe's agent, as far as they mean something here."""
    made = argparse.ArgumentParser("agent", description="Before a server: batches and copies.", allow_abbrev=False)
    made.add_argument("--port", type=int, default=9081)
    made.add_argument("--component-port", type=int, default=8080)
    made.add_argument("--enable-batcher", action="store_true")
    made.add_argument("--max-batchsize", type=int, default=32)
    made.add_argument("--max-latency", type=int, default=5000, help="milliseconds")
    made.add_argument("--log-url", default="")
    made.add_argument("--log-url-base64", default="", help="the same, for where a name would be made an address")
    made.add_argument("--log-mode", default="all", choices=("all", "request", "response"))
    made.add_argument("--source-uri", default="")
    for name in ("inference-service", "namespace", "endpoint", "component", "metadata-headers"):
        made.add_argument(f"--{name}", default="")
    return made


def made_of(asked: argparse.Namespace, env: Mapping[str, str]) -> Agent:
    """The agent that the options ask for."""
    component = env.get("KF_COMPONENT") or f"127.0.0.1:{asked.component_port}"
    agent = Agent(component, mode=asked.log_mode, headers=[one for one in asked.metadata_headers.split(",") if one])
    if asked.enable_batcher:
        agent.batcher = Batcher(asked.max_batchsize, asked.max_latency / 1000, agent.ask)
    url = asked.log_url or base64.b64decode(asked.log_url_base64).decode()
    if url:
        said = {
            "Ce-Source": asked.source_uri,
            "Ce-Inferenceservicename": asked.inference_service,
            "Ce-Namespace": asked.namespace,
            "Ce-Component": asked.component,
            "Ce-Endpoint": asked.endpoint,
        }
        agent.copies = Copies(url, said, Whereabouts(env.get("KF_SERVICES", "")))
    return agent


async def serve(asked: argparse.Namespace, env: Mapping[str, str]) -> None:
    """Stand before the server until the pod is to end."""
    agent = made_of(asked, env)
    await agent.open()
    app = web.Application(client_max_size=_MOST)
    app.router.add_route("*", "/{path:.*}", agent.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=20.0)
    await runner.setup()
    host = env.get("POD_IP") or None
    await web.TCPSite(runner, host, asked.port).start()
    say(f"listens on {host or '*'}:{asked.port}")
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await ended.wait()
    await runner.cleanup()
    await agent.close()


def main(argv: Sequence[str], environment: Optional[Mapping[str, str]] = None) -> int:  # noqa: UP045
    """The program."""
    asyncio.run(serve(parser().parse_args(argv), os.environ if environment is None else environment))
    return 0
