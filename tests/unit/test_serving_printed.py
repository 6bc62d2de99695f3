"""What an endpoint's servers print, followed over restarts of theirs and of the API server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.watch import Change
from jupyterlab_kf.errors import UnreachableError
from jupyterlab_kf.model import Obj
from jupyterlab_kf.services.serving import printed


def pod(version: str, *containers: str, restarts: int = 0) -> Obj:
    statuses = [{"name": one, "restartCount": restarts, "state": {"running": {}}} for one in containers]
    return {
        "metadata": {"name": f"iris-{version}", "uid": version, "labels": {"version": version}},
        "spec": {"containers": [{"name": one} for one in containers]},
        "status": {"containerStatuses": statuses},
    }


class World:
    """A client whose server goes away in the middle of a log, once."""

    def __init__(self) -> None:
        self.lines = {"iris-v1": ["10:00:00Z one", "10:00:00Z two", "10:00:01Z three"], "iris-v2": ["10:00:00Z hello"]}
        self.asked: list[tuple[str, str, str]] = []

    async def logs(self, _: str, pod_: str, *, container: str, since: str = "", **_more: Any) -> AsyncIterator[str]:
        self.asked.append((pod_, container, since))
        for place, line in enumerate(self.lines[pod_]):
            if pod_ == "iris-v1" and place == 2 and not since:
                raise UnreachableError("the server is away")
            yield f"2026-11-30T{line}"
        await asyncio.Event().wait()


async def test_a_log_goes_on_where_it_was_when_the_server_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(_client: Client, _kind: Any, _space: str, take: Callable[[Change], None], **_: Any) -> None:
        for one in (pod("v1", "iris-v1", "seldon-container-engine"), pod("v2", "iris-v2-twice", "iris-v2-thrice")):
            take(Change("ADDED", one))
        take(Change("SYNCED", {}))
        await asyncio.Event().wait()

    monkeypatch.setattr(printed.keeping, "keep", keep)
    world = World()
    found: dict[str, list[str]] = {}

    async def read() -> None:
        following = printed.follow(cast("Client", world), "here", "iris", sleep=lambda _: asyncio.sleep(0))
        async for line in following:
            found.setdefault(line.replica, []).append(line.text)
            if sum(map(len, found.values())) == 5:
                return

    await asyncio.wait_for(read(), 10)
    assert found == {"v1-0": ["one", "two", "three"], "v2-0/twice": ["hello"], "v2-0/thrice": ["hello"]}
    assert "seldon-container-engine" not in [container for _, container, _ in world.asked], "the engine is not theirs"
