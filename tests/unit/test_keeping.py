"""Watches that are kept, over mistakes that nobody thought of, in a clock of the test's own."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest
from watch_world import Server, client_of, in_no_time, now

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster import keeping, watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.watch import Change
from jupyterlab_kf.errors import ForbiddenError, NotFoundError
from jupyterlab_kf.services.followed import Feed, Feeds


class Taker:
    """Has a picture of what there is, and makes a mistake with some names."""

    def __init__(self, *odd: str) -> None:
        self.odd = set(odd)
        self.picture: dict[str, int] = {}

    def take(self, change: Change) -> None:
        if change.type == "SYNCED":
            return
        name = change.obj["metadata"]["name"]
        if name in self.odd:
            raise KeyError("nobody thought of this")
        self.picture.pop(name, None)
        if change.type != "DELETED":
            self.picture[name] = change.obj["status"]["step"]

    def knows(self, server: Server) -> bool:
        return self.picture == {name: obj["status"]["step"] for name, obj in server.here.items()}


def kept(work: Callable[[Server, Taker], Awaitable[None]], *odd: str) -> None:
    """Do the work while a taker is told of a server's objects a, b and c."""

    async def run() -> None:
        server, taker = Server(), Taker(*odd)
        for name in "abc":
            server.put(name)
        task = asyncio.create_task(keeping.keep(client_of(server), kinds.POD, "n", taker.take))
        await asyncio.sleep(0.5)
        await work(server, taker)
        assert not task.done()
        task.cancel()

    in_no_time(run())


def test_a_change_that_cannot_be_taken_holds_up_no_other_and_is_right_once_it_can(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def work(server: Server, taker: Taker) -> None:
        assert set(taker.picture) == {"b", "c"}
        assert "ADDED of Pod n/a could not be taken in" in caplog.text
        server.put("b")
        await asyncio.sleep(0.1)
        assert taker.picture["b"] == server.here["b"]["status"]["step"]
        taker.odd.clear()
        await asyncio.sleep(2)
        assert taker.knows(server)

    kept(work, "a")


def test_what_has_gone_is_forgotten_also_when_that_could_not_be_taken() -> None:
    async def work(server: Server, taker: Taker) -> None:
        taker.odd = {"a"}
        server.drop("a")
        server.drop("b")
        server.forget()
        await asyncio.sleep(0.1)
        assert set(taker.picture) == {"a", "c"}
        taker.odd.clear()
        await asyncio.sleep(2)
        assert taker.knows(server)

    kept(work)


def test_an_object_that_can_never_be_taken_costs_a_list_a_minute() -> None:
    async def work(server: Server, taker: Taker) -> None:
        await asyncio.sleep(3600)
        assert set(taker.picture) == {"b", "c"}
        assert 2 * 60 < server.count("list") < 2 * 150, "in pages of two"

    kept(work, "a")


def test_a_watch_that_fails_by_itself_begins_again_and_tells_what_went_meanwhile(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(server: Server, taker: Taker) -> None:
        def mistaken(*_: object) -> None:
            raise TypeError("nobody thought of this")

        with monkeypatch.context() as patch:
            patch.setattr(watch, "_note", mistaken)
            server.put("b")
            server.drop("c")
            await asyncio.sleep(0.1)
        assert not taker.knows(server)
        await asyncio.sleep(2)
        assert taker.knows(server)
        assert "the watch of pods ended by a mistake and begins again" in caplog.text

    kept(work)


def test_what_the_server_or_the_taker_says_ends_the_watch() -> None:
    async def run() -> None:
        def gone(_: Change) -> None:
            raise NotFoundError("it was deleted")

        with pytest.raises(NotFoundError, match="it was deleted"):
            await keeping.keep(client_of(Server()), kinds.POD, "n", gone)

    in_no_time(run())


def test_work_that_fails_is_begun_again_less_and_less_often() -> None:
    async def run() -> None:
        began: list[float] = []

        async def work() -> None:
            began.append(now())
            if len(began) < 10:
                raise ValueError("nobody thought of this")

        await keeping.lasting("work", work)
        pauses = [after - before for before, after in itertools.pairwise(began)]
        assert pauses[0] <= 1
        assert 30 <= pauses[-1] <= 60

        async def refused() -> None:
            raise ForbiddenError("no")

        with pytest.raises(ForbiddenError):
            await keeping.lasting("work", refused)

    in_no_time(run())


def test_what_is_followed_for_who_looks_is_followed_on_after_a_mistake(caplog: pytest.LogCaptureFixture) -> None:
    class Shown(Feed[str]):
        picture = 0

    async def run() -> None:
        again = asyncio.Event()

        async def client() -> Client:
            return client_of(Server())

        async def follow(_: Client, feed: Shown) -> None:
            feed.picture += 1
            feed.tell()
            if feed.picture in (1, 3, 4, 5, 6):
                raise KeyError("nobody thought of this")
            if feed.picture == 2:
                await again.wait()
                feed.picture += 1
                raise KeyError("nobody thought of this")
            await asyncio.Event().wait()

        feeds = Feeds(client, Shown, follow, asyncio.sleep)
        told: list[int] = []
        feed, leave = feeds.look("digits", lambda: told.append(feed.picture))
        await asyncio.sleep(5)
        assert told == [1, 2]
        assert "following digits ended by a mistake" in caplog.text
        again.set()
        await asyncio.sleep(7)
        assert "stands still" in str(feed.error), "who looks is told when it does not get better"
        assert feeds.look("digits", told.clear)[0] is feed, "it is tried again, and not twice at once"
        await asyncio.sleep(60)
        assert (feed.error, feed.picture) == (None, 7)
        leave()
        await feeds.stop()

    in_no_time(run())
