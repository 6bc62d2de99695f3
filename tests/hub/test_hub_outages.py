"""An API server that is away for minutes, in a clock of its own: what gives up, and what does not."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import aiohttp
import pytest
from jupyterlab_kf_hub import reflectors
from jupyterlab_kf_hub.config import servers
from jupyterlab_kf_hub.outages import Outages
from kubernetes_asyncio.client.rest import ApiException
from traitlets.config import Config

from jupyterlab_kf.errors import ForbiddenError, UnreachableError

MINUTES = 300.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    async def pause(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


class Answers:
    """A stock reflector's requests, to a server that is away for a while."""

    def __init__(self, clock: Clock, away: tuple[float, float], error: Exception) -> None:
        self.log, self.kind, self._stopping = logging.getLogger("test"), "pods", False
        self.clock, self.away, self.error = clock, away, error
        self.asked: list[float] = []
        self.rounds = 0

    async def _list_and_update(self, _version: str | None = None) -> str:
        self.asked.append(self.clock.now)
        if self.away[0] <= self.clock.now < self.away[1]:
            raise self.error
        return "7"

    async def _watch_and_update(self) -> None:
        """One round, as the stock one does it until it gives up on what it does not expect."""
        self.rounds += 1
        await self._list_and_update()
        self._stopping = self.rounds == 3


class Reflector(reflectors._Enduring, Answers):
    pass


@pytest.mark.parametrize(
    "error",
    [
        aiohttp.ClientConnectionError("refused"),
        TimeoutError(),
        ApiException(status=503, reason="Service Unavailable"),
        ApiException(status=500, reason="etcdserver: request timed out"),
        ApiException(status=429, reason="Too Many Requests"),
    ],
    ids=repr,
)
async def test_five_minutes_without_an_api_server(error: Exception) -> None:
    clock = Clock()
    one = Reflector(clock, (0.0, MINUTES), error)
    one.pause = clock.pause  # type: ignore[method-assign]
    assert await one._list_and_update() == "7", "it goes on by itself"
    assert MINUTES <= clock.now < MINUTES + 10, "and soon"
    assert len(one.asked) < MINUTES / 4, "without a storm"
    # A stock reflector that gave up for another reason is begun again.
    await one._watch_and_update()
    assert one.rounds == 3


async def test_what_is_refused_for_good_is_not_asked_for_ever() -> None:
    clock = Clock()
    one = Reflector(clock, (0.0, MINUTES), ApiException(status=403, reason="Forbidden"))
    one.pause, one.outages = clock.pause, Outages(lambda: clock.now)  # type: ignore[method-assign]
    with pytest.raises(ApiException):
        await one._list_and_update()


@pytest.mark.parametrize(
    ("error", "after", "again"),
    [
        (UnreachableError("gone"), 0, True),
        (aiohttp.ClientPayloadError("cut off"), 0, True),
        (ApiException(status=500, reason="x"), 0, True),
        (ApiException(status=409, reason="Conflict"), 0, False),
        (ApiException(status=422, reason="Invalid"), 0, False),
        (ValueError("a mistake"), 0, False),
        # The API server has come up, and has not read the roles yet.
        (ApiException(status=403, reason="Forbidden"), 5, True),
        (ForbiddenError("pods is forbidden"), 5, True),
        (ForbiddenError("pods is forbidden: exceeded quota"), 5, False),
        (ForbiddenError("pods is forbidden"), 60, False),
    ],
)
def test_which_failures_are_over_by_themselves(error: Exception, after: float, again: object) -> None:
    now = [0.0]
    outages = Outages(lambda: now[0])
    outages.changed()
    now[0] = after
    assert outages.quiet() == after
    assert outages.passing(error) is again


def test_a_start_may_wait_through_five_minutes() -> None:
    c: Any = Config()
    servers(c)
    assert c.KubeSpawner.k8s_api_request_retry_timeout > MINUTES
    assert c.Spawner.start_timeout > c.KubeSpawner.k8s_api_request_retry_timeout
