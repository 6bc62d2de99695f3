"""Endpoints as they are now and what they measure, each followed once for all who look at it.

Watches of the endpoint and of its pods tell when to look again; what the versions measured is read every two seconds,
for as long as somebody looks, and kept as what happened between two readings. It writes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster import keeping, shapes, watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import ApiError, KubeflowError, NotFoundError, UnreachableError
from jupyterlab_kf.manifests import endpoints, monitors
from jupyterlab_kf.model import Obj, meta
from jupyterlab_kf.services.followed import Feed, Feeds
from jupyterlab_kf.services.serving import findings, measures, rollout, states
from jupyterlab_kf.services.serving.findings import Findings
from jupyterlab_kf.services.serving.measures import Branch, Measures, Moment
from jupyterlab_kf.services.serving.states import EndpointView
from jupyterlab_kf.services.serving.way import Way

_TOGETHER: Final = 0.1
"""Seconds in which changes are gathered."""
_AGAIN: Final = 2.0
"""Seconds until what is not ready is looked at again: its log and its events have no watch."""
_SAMPLE: Final = 2.0
_LOOK: Final = 5.0
MOST_FINDINGS: Final = 60
MOST_SAMPLES: Final = 450
"""Those of a quarter of an hour."""


@dataclass(frozen=True, slots=True)
class EndpointKey:
    """Which endpoint. With a uid only that very one, and not another that took its name."""

    namespace: str
    name: str
    uid: str = ""


@dataclass(frozen=True, slots=True)
class Totals:
    """What a version measured since its pods started; times in seconds, None where there were no requests.

    ``reward`` is the mean of what was told by ``feedbacks``; ``branches`` are those of a router that learns.
    """

    requests: int
    errors: int
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    feedbacks: int = 0
    reward: float | None = None
    branches: Mapping[str, Branch] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Sample:
    """What versions did in the two seconds before ``at``, in epoch seconds; without those of which it is not known."""

    at: float
    versions: Mapping[str, Moment]


def totals(seen: Measures) -> Totals:
    """What is shown of all that a version measured."""
    return Totals(
        seen.requests,
        seen.errors,
        seen.seconds.get(0.5),
        seen.seconds.get(0.95),
        seen.seconds.get(0.99),
        seen.feedbacks,
        seen.mean_reward,
        seen.branches,
    )


def sample(before: Mapping[str, Measures], after: Mapping[str, Measures], at: float, seconds: float) -> Sample:
    """What happened between two readings."""
    found = {
        name: moment
        for name, seen in after.items()
        if name in before and (moment := measures.between(before[name], seen, seconds)) is not None
    }
    return Sample(at, found)


class EndpointFeed(Feed[EndpointKey]):
    """The newest picture of an endpoint. ``gone`` once it was deleted; ``error`` says why it cannot be followed."""

    def __init__(self, key: EndpointKey) -> None:
        super().__init__(key)
        self.view: EndpointView | None = None
        self.totals: dict[str, Totals] = {}
        self.samples: deque[Sample] = deque(maxlen=MOST_SAMPLES)
        self.taken = 0
        """How many samples there ever were."""
        self.findings: Findings | None = None
        self.unwatched = ""
        """Why what the monitor found is old, or not there; empty where there is no monitor, too."""

    def since(self, taken: int) -> list[Sample]:
        """The samples after so many."""
        fresh = min(self.taken - taken, len(self.samples))
        return list(self.samples)[len(self.samples) - fresh :]


class EndpointFeeds(Feeds[EndpointKey, EndpointFeed]):
    """Every endpoint that is looked at.

    Args:
        client: answers the client to read with; raises while there is no cluster.
        sleep: waits; tests hand in their own.
    """

    def __init__(self, client: Callable[[], Awaitable[Client]], sleep: Callable[[float], Awaitable[None]]) -> None:
        async def keep(client: Client, feed: EndpointFeed) -> None:
            async with aclosing(_Following(client, feed.key, sleep).changes(feed)) as changes:
                async for _ in changes:
                    feed.error = None
                    feed.tell()

        super().__init__(client, EndpointFeed, keep, sleep)


class _Following:
    """The tasks that keep one feed up to date."""

    def __init__(self, client: Client, key: EndpointKey, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._client = client
        self._key = key
        self._sleep = sleep
        self._way = Way()
        self._endpoint: Obj | None = None
        self._measured: Mapping[str, Measures] = {}
        self._changed = asyncio.Event()
        """Something of the endpoint may be another way."""
        self._news = asyncio.Event()
        """There is something to tell."""

    async def changes(self, feed: EndpointFeed) -> AsyncGenerator[None]:
        """Yields whenever the feed was brought up to date.

        Raises:
            NotFoundError: the endpoint is not there, or not any more.
        """
        work = (
            self._watch_endpoint(),
            self._watch_pods(),
            self._keep_view(feed),
            self._keep_samples(feed),
            self._keep_findings(feed),
        )
        tasks = [asyncio.create_task(one) for one in work]
        for task in tasks:
            task.add_done_callback(lambda _: self._news.set())
        try:
            while True:
                await self._news.wait()
                self._news.clear()
                for task in tasks:
                    if task.done():
                        task.result()
                yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch_endpoint(self) -> None:
        key = self._key
        fields = f"metadata.name={key.name}"
        await keeping.keep(self._client, rollout.KIND, key.namespace, self._take_endpoint, fields=fields)

    def _take_endpoint(self, change: watch.Change) -> None:
        if change.type == "SYNCED":
            if self._endpoint is None:
                raise self._lost()
        elif self._key.uid and meta(change.obj).get("uid") != self._key.uid:
            return
        elif change.type == "DELETED":
            raise self._lost()
        else:
            self._endpoint = change.obj
        self._changed.set()

    def _lost(self) -> NotFoundError:
        return NotFoundError(f"endpoint {self._key.namespace}/{self._key.name} is not on the cluster any more")

    async def _watch_pods(self) -> None:
        selector = endpoints.pod_selector(self._key.name)

        def take(_: watch.Change) -> None:
            self._changed.set()

        await keeping.keep(self._client, kinds.POD, self._key.namespace, take, selector=selector, shape=shapes.POD)

    async def _keep_view(self, feed: EndpointFeed) -> None:
        while True:
            await self._changed.wait()
            await self._sleep(_TOGETHER)
            self._changed.clear()
            if (now := self._endpoint) is None:
                continue
            try:
                await self._way.find(self._client)
                seen = replace(await states.look(self._client, now), divided=self._way.divided)
            except UnreachableError:  # the watches wait for the server, and tell when it is back
                continue
            if seen != feed.view:
                feed.view = seen
                self._news.set()
            if any(one.state != "Ready" for one in seen.versions) or seen.state != "Ready":
                later = asyncio.get_running_loop().call_later(_AGAIN, self._changed.set)
                await self._changed.wait()
                later.cancel()

    async def _keep_samples(self, feed: EndpointFeed) -> None:
        before: Mapping[str, Measures] = {}
        then = time.monotonic()
        while True:
            now = time.monotonic()
            try:
                after = await measures.read(self._client, self._endpoint) if self._endpoint is not None else {}
            except (ApiError, UnreachableError):  # without numbers the view is what it is
                after = {}
            self._measured = after
            if after and before:
                feed.samples.append(sample(before, after, time.time(), now - then))
                feed.taken += 1
            if after:
                feed.totals = {name: totals(seen) for name, seen in after.items()}
                self._news.set()
            before, then = after, now
            await self._sleep(_SAMPLE if self._endpoint is not None else _TOGETHER)

    async def _keep_findings(self, feed: EndpointFeed) -> None:
        while True:
            seen, why = feed.findings, ""
            if (now := self._endpoint) is None or monitors.sampled(now) is None:
                seen = None
            else:
                try:
                    seen = short(await findings.read(self._client, now, [*self._measured.values()]))
                except (KubeflowError, UnreachableError) as error:
                    why = error.message
            if (seen, why) != (feed.findings, feed.unwatched):
                feed.findings, feed.unwatched = seen, why
                self._news.set()
            await self._sleep(_LOOK if self._endpoint is not None else _TOGETHER)


def short(found: Findings) -> Findings:
    """What is shown of findings: the worst of them; of a thousand features a person reads the first."""
    worst = sorted(found.findings, key=lambda one: (not one.alarm, not one.changed, -one.size))
    return replace(found, findings=tuple(worst[:MOST_FINDINGS]))
