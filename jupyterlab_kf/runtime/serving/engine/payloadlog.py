"""Copies of payloads to the loggers that nodes name, as CloudEvents, off the request's path.

A queue of fixed length holds the copies; a few workers post them. A logger that is slow or gone costs memory up to
that length and nothing else: what does not fit is dropped, counted, and said on the log at most every ten seconds.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from time import monotonic

import aiohttp
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from ..sampling import chosen  # noqa: TID252 (see the runtime)
from .graph import Graph, Node
from .payloads import Payload, PayloadError
from .walk import FEEDBACK, Tap
from .whereabouts import Resolver, Whereabouts

_SAY_EVERY = 10.0
_POST_SECONDS = 60
_CONNECT_SECONDS = 5


@dataclass(frozen=True)
class Source:
    """What every event says of where it is from."""

    url: str
    deployment: str
    namespace: str
    predictor: str
    protocol: str


@dataclass(frozen=True)
class _Copy:
    node: Node
    event: str
    payload: Payload
    puid: str
    time: str


class PayloadLog(Collector):
    """The queue and its workers; also tells Prometheus what was dropped."""

    def __init__(
        self,
        source: Source,
        *,
        size: int,
        workers: int,
        say: Callable[[str], None],
        sample: float = 1.0,
        whereabouts: Whereabouts | None = None,
    ) -> None:
        self._source = source
        self._sample = sample
        self._whereabouts = whereabouts or Whereabouts("")
        self._queue: asyncio.Queue[_Copy] = asyncio.Queue(max(size, 1))
        self._workers = workers
        self._say = say
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession
        self._said = -_SAY_EVERY
        self.sent = 0
        self.dropped = 0
        self.failed = 0

    async def open(self) -> None:
        """Start posting."""
        # Where a Service leads may change at any moment; looking it up is reading a file, or the resolver's business.
        connector = aiohttp.TCPConnector(resolver=Resolver(self._whereabouts), use_dns_cache=False)
        self._session = aiohttp.ClientSession(
            connector=connector, timeout=aiohttp.ClientTimeout(total=_POST_SECONDS, connect=_CONNECT_SECONDS)
        )
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._workers)]

    async def close(self, seconds: float) -> None:
        """Post what is queued, for so long; say what is left behind."""
        try:
            await asyncio.wait_for(self._queue.join(), seconds)
        except asyncio.TimeoutError:  # noqa: UP041
            self._say(f"payload log: {self._queue.qsize()} copies were not sent before the end")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._session.close()

    def tap(self, puid: str) -> Tap:
        """Where one request's copies go; of a sample, those of some requests only, but all feedback."""
        wanted = chosen(puid, self._sample)

        def take(node: Node, event: str, payload: Payload) -> None:
            if not wanted and event != FEEDBACK:
                return
            now = datetime.now(timezone.utc).isoformat()  # noqa: UP017 (images have older Pythons)
            try:
                self._queue.put_nowait(_Copy(node, event, payload, puid, now))
            except asyncio.QueueFull:
                self.dropped += 1
                self._complain(f"payload log: the queue is full, {self.dropped} copies dropped so far")

        return take

    def collect(self) -> Iterator[Metric]:
        """What became of the copies."""
        copies = CounterMetricFamily("kf_payload_log_copies", "Copies of payloads for loggers", labels=["fate"])
        for fate, count in (("sent", self.sent), ("dropped", self.dropped), ("failed", self.failed)):
            copies.add_metric([fate], count)
        yield copies

    async def _work(self) -> None:
        while True:
            copy = await self._queue.get()
            try:
                await self._post(copy)
                self.sent += 1
            except (aiohttp.ClientError, asyncio.TimeoutError, PayloadError, ValueError) as error:  # noqa: UP041
                self.failed += 1
                self._complain(f"payload log: {copy.node.log_url} did not take a copy ({self.failed} so far): {error}")
            finally:
                self._queue.task_done()

    async def _post(self, copy: _Copy) -> None:
        plain = copy.payload.plain()
        headers = self._headers(copy)
        async with self._session.post(copy.node.log_url, data=plain.body, headers=headers) as response:
            if response.status >= 300:  # noqa: PLR2004 (what is not taken)
                raise ValueError(f"it answered {response.status}")

    def _headers(self, copy: _Copy) -> dict[str, str]:
        return {
            "Content-Type": copy.payload.content_type,
            "Ce-Id": str(uuid.uuid4()),
            "Ce-Specversion": "1.0",
            "Ce-Source": self._source.url,
            "Ce-Type": copy.event,
            "Ce-Time": copy.time,
            "Ce-Modelid": copy.node.name,
            "Ce-Requestid": copy.puid,
            "Ce-Inferenceservicename": self._source.deployment,
            "Ce-Namespace": self._source.namespace,
            "Ce-Endpoint": self._source.predictor,
            "Ce-Protocol": self._source.protocol,
        }

    def _complain(self, text: str) -> None:
        if monotonic() - self._said >= _SAY_EVERY:
            self._said = monotonic()
            self._say(text)


def wanted(graph: Graph) -> bool:
    """Whether any node has a logger."""
    return any(node.log.requests or node.log.responses for node in graph.root.nodes())
