"""The list-then-watch loop against everything that happens to connections, in a clock of the test's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster import watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.gate import Gate
from jupyterlab_kf.errors import ApiError, ExpiredError, ForbiddenError, UnreachableError
from jupyterlab_kf.model import Obj


def pod(name: str, version: int, uid: str = "") -> Obj:
    return {"kind": "Pod", "metadata": {"name": name, "uid": uid or f"u-{name}", "resourceVersion": str(version)}}


def event(type_: str, obj: Obj) -> bytes:
    return json.dumps({"type": type_, "object": obj}).encode()


def failure(code: int, reason: str = "") -> bytes:
    return event("ERROR", {"kind": "Status", "code": code, "reason": reason, "message": "no"})


Streams = AsyncIterator[AsyncIterator[bytes]]


class Script:
    """Stands for the client: lists and streams as told; an exception is raised where it stands."""

    def __init__(self, lists: list[Any], streams: list[list[Any]]) -> None:
        self.lists, self.streams = lists, streams
        self.versions: list[str] = []
        self.listed = 0
        self.now = 0.0
        self.pauses: list[float] = []
        self.pace = watch.Pace(sleep=self.sleep, clock=lambda: self.now)
        self.gate = Gate(self.probe, sleep=lambda _: asyncio.sleep(0))

    async def probe(self) -> None:
        """The server is always ready: what fails is the watch."""

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        await asyncio.sleep(0)

    async def snapshot(self, *_args: Any, **_more: Any) -> tuple[list[Obj], str]:
        self.listed += 1
        answer = self.lists.pop(0) if len(self.lists) > 1 else self.lists[0]
        if isinstance(answer, Exception):
            raise answer
        return list(answer[0]), answer[1]

    @asynccontextmanager
    async def stream(
        self, _path: str, *, params: dict[str, str], silence: float, together: float
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        assert (silence, together) == (watch.SILENCE, 0)
        assert params["allowWatchBookmarks"] == "true"
        self.versions.append(params["resourceVersion"])
        if not self.streams:
            raise EndOfTestError
        yield self._lines(self.streams.pop(0))

    async def _lines(self, items: list[Any]) -> AsyncGenerator[bytes, None]:
        for item in items:
            if isinstance(item, Exception):
                raise item
            if isinstance(item, (int, float)):
                self.now += item
            else:
                yield item

    async def run(self) -> list[tuple[str, str]]:
        seen: list[tuple[str, str]] = []
        changes = watch.follow(cast("Client", self), kinds.POD, "n", pace=self.pace)
        while True:
            try:
                change = await anext(changes)
            except EndOfTestError:
                return seen
            seen.append((change.type, change.obj.get("metadata", {}).get("name", "")))


class EndOfTestError(Exception):
    pass


async def test_what_is_there_then_what_changes() -> None:
    script = Script(
        [([pod("a", 1)], "5")],
        [[event("ADDED", pod("b", 6)), event("MODIFIED", pod("a", 7)), event("DELETED", pod("b", 8)), b""]],
    )
    assert await script.run() == [("ADDED", "a"), ("SYNCED", ""), ("ADDED", "b"), ("MODIFIED", "a"), ("DELETED", "b")]
    assert script.versions == ["5", "8"]
    assert script.listed == 1


async def test_bookmarks_move_the_place_from_which_it_goes_on() -> None:
    script = Script([([], "5")], [[event("BOOKMARK", pod("", 70))], []])
    assert await script.run() == [("SYNCED", "")]
    assert script.versions == ["5", "70", "70"]


@pytest.mark.parametrize("gone", [failure(410, "Expired"), failure(410, "Gone"), ExpiredError("old")])
async def test_a_place_that_is_too_old_makes_a_new_list_and_only_differences_are_told(gone: Any) -> None:
    before = [pod("a", 1), pod("b", 1), pod("c", 1)]
    after = [pod("a", 1), pod("b", 9), pod("c", 9, uid="another"), pod("d", 9)]
    script = Script([(before, "5"), (after, "9")], [[gone]])
    seen = await script.run()
    assert seen[4:] == [("DELETED", "c"), ("MODIFIED", "b"), ("ADDED", "c"), ("ADDED", "d"), ("SYNCED", "")]
    assert script.versions == ["5", "9"]


@pytest.mark.parametrize(
    "ending", [UnreachableError("reset"), ApiError("busy", code=500), failure(500, "InternalError"), b'{"type": "MODI']
)
async def test_lost_connections_are_taken_up_where_they_were(ending: Any) -> None:
    script = Script([([], "5")], [[event("ADDED", pod("a", 6)), ending], [event("MODIFIED", pod("a", 7))]])
    assert await script.run() == [("SYNCED", ""), ("ADDED", "a"), ("MODIFIED", "a")]
    assert script.versions == ["5", "6", "7"]


async def test_pauses_grow_and_begin_anew_after_a_healthy_stream() -> None:
    script = Script([([], "5")], [[] for _ in range(8)] + [[60.0], []])
    await script.run()
    tops = [0.2 * 2**n for n in range(8)]
    assert all(top / 2 <= pause <= top for pause, top in zip(script.pauses[:8], tops, strict=True))
    assert script.pauses[8] <= 0.2


async def test_a_cluster_that_is_away_for_long_is_asked_every_half_minute_at_most() -> None:
    away: list[Any] = [UnreachableError("refused")] * 400
    script = Script([*away, ([pod("a", 1)], "5")], [])
    assert await script.run() == [("ADDED", "a"), ("SYNCED", "")]
    assert max(script.pauses) <= 30
    assert min(script.pauses[20:]) >= 15


async def test_what_waiting_does_not_cure_is_raised() -> None:
    script = Script([ForbiddenError("you may not")], [])
    with pytest.raises(ForbiddenError):
        async for _ in watch.follow(cast("Client", script), kinds.POD, "n", pace=script.pace):
            pass


async def test_an_object_that_comes_twice_is_added_once() -> None:
    script = Script([([pod("a", 1)], "5")], [[event("ADDED", pod("a", 6)), event("DELETED", pod("x", 7))]])
    assert await script.run() == [("ADDED", "a"), ("SYNCED", ""), ("MODIFIED", "a")]
