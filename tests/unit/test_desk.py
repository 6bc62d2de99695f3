"""The desk: changing the cluster that the panels look at, over servers that are not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from jupyterlab_kf.cluster.connection import Choice, Connection
from jupyterlab_kf.errors import ClusterError, UsageError
from jupyterlab_kf.model import JobView, Phase, Ref, Status
from jupyterlab_kf.services.desk import Desk
from jupyterlab_kf.services.jobfeed import JobKey


def choose(name: str) -> Choice:
    if name == "home":
        raise UsageError("there is no context 'home'")
    return Choice(name or "work", f"ns-{name or 'work'}", "a test's own", settled=True)


def open_(choice: Choice, start: bool) -> Connection:  # noqa: FBT001
    assert not start, "looking starts nothing"
    return Connection(choice.name, "http://127.0.0.1:9", choice.namespace, choice.why)


@pytest.fixture
async def desk(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    monkeypatch.delenv("KF_NAMESPACE", raising=False)

    async def no_sleep(_: float) -> None:
        await asyncio.sleep(0)

    made = Desk(choose, open_, sleep=no_sleep)
    yield made
    await made.close()


async def settled(desk: Desk, state: str) -> None:
    seen = asyncio.Event()
    deaf = desk.listen(lambda *_: seen.set())
    async with asyncio.timeout(10):
        while desk.link.state != state:
            await seen.wait()
            seen.clear()
    deaf()


async def test_another_cluster_is_looked_at_from_now_on(desk: Desk) -> None:
    told: list[str] = []
    desk.listen(lambda *_: told.append(desk.choice.name if desk.choice else ""))
    desk.open()
    await settled(desk, "unreachable")
    assert (desk.choice and desk.choice.name, desk.namespace) == ("work", "ns-work")
    await desk.use("play")
    assert (desk.choice and desk.choice.name, desk.namespace) == ("play", "ns-play")
    assert told[-1] == "play"
    await settled(desk, "unreachable")
    assert "'play'" in desk.link.message
    await desk.use("play", "mine")
    assert desk.namespace == "mine"


async def test_a_name_that_does_not_exist_changes_nothing(desk: Desk) -> None:
    desk.open()
    await settled(desk, "unreachable")
    with pytest.raises(UsageError, match="no context 'home'"):
        await desk.use("home")
    assert desk.choice is not None
    assert desk.choice.name == "work"


async def test_views_of_the_cluster_before_say_why_they_end(desk: Desk) -> None:
    shared, leave = desk.look(JobKey("PyTorchJob", "ns-work", "digits"), lambda: None)
    await desk.use("play")
    assert isinstance(shared.error, ClusterError)
    assert "'play'" in shared.error.message
    leave()


async def test_a_job_that_somebody_follows_is_work_until_it_is_over(desk: Desk) -> None:
    key = JobKey("PyTorchJob", "ns-work", "digits")
    shared, leave = desk.look(key, lambda: None)
    assert not desk.watching(), "nothing is known of it"
    for phase, working in ((Phase.RUNNING, True), (Phase.SUCCEEDED, False), (Phase.PENDING, True)):
        shared.view = JobView(Ref(key.kind, key.name, key.namespace), "pytorch", Status(phase))
        assert desk.watching() is working, phase
    leave()
    assert not desk.watching(), "nobody looks"
