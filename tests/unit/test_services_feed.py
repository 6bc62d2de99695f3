"""One stream of views from a job, its pods and their logs, as a server of the test's own changes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.gate import Gate
from jupyterlab_kf.errors import ApiError, NotFoundError, UnreachableError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import training
from jupyterlab_kf.model import JobView, Obj, Phase
from jupyterlab_kf.services import feed, pictures, plans

Objects = list[Obj]
Streams = AsyncIterator[AsyncIterator[bytes]]


class World:
    """A job with one pod. Changes reach the watches; ``log`` is what the pod has said."""

    def __init__(self, folder: Path) -> None:
        request = plans.Request(code="print(1)\n", name="digits", root=folder)
        self.job = plans.make(request, namespace="n", submission="0" * 12).job
        self.job["metadata"]["uid"] = "u1"
        self.pod: Obj = {
            "metadata": {
                "name": "digits-master-0",
                "uid": "p1",
                "labels": {training.LABEL_ROLE: "master", training.LABEL_INDEX: "0"},
                "ownerReferences": [{"kind": "PyTorchJob", "uid": "u1", "controller": True}],
            },
            "status": {"phase": "Running"},
        }
        self.known = [self.pod]
        """The pods of which the watch tells at its beginning."""
        self.log: list[str | Exception] = []
        self.end: list[str] = []
        """What is answered to who asks for the last lines only."""
        self.read: Callable[[], object] = lambda: None
        """Called with each line that is read, and while there is none."""
        self.queues: dict[str, asyncio.Queue[bytes]] = {"pods": asyncio.Queue(), "pytorchjobs": asyncio.Queue()}
        self.version = 1
        self.asked: list[str] = []
        self.refusals: list[Exception] = []
        self.gate = Gate(self.probe, sleep=lambda _: asyncio.sleep(0))

    async def probe(self) -> None:
        """The server is always ready."""

    def change(self, kind: Kind, obj: Obj, type_: str = "MODIFIED") -> None:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.queues[kind.plural].put_nowait(json.dumps({"type": type_, "object": obj}).encode())

    def finish(self, condition: str) -> None:
        self.job["status"] = {"conditions": [{"type": condition, "status": "True"}]}
        self.change(kinds.PYTORCH_JOB, self.job)

    async def snapshot(self, kind: Kind, *_args: Any, **_more: Any) -> tuple[Objects, str]:
        known = self.known if kind is kinds.POD else [self.job]
        return json.loads(json.dumps(known)), str(self.version)

    async def list(self, *_args: Any, **_more: Any) -> Objects:
        return [json.loads(json.dumps(self.pod))]

    @asynccontextmanager
    async def stream(self, path: str, **_more: Any) -> Streams:
        async def lines(queue: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
            while True:
                yield await queue.get()

        yield lines(self.queues[path.rpartition("/")[2]])

    async def logs(
        self, _namespace: str, _pod: str, *, since: str = "", previous: bool, tail: int | None = None, **_more: Any
    ) -> AsyncIterator[str]:
        if tail is not None:
            for line in self.end:
                yield line
            return
        self.asked.append("previous" if previous else since)
        for line in list(self.log):
            if isinstance(line, Exception):
                self.log.remove(line)
                raise line
            self.read()
            await asyncio.sleep(0)
            yield line
        while not previous and self.pod["status"]["phase"] == "Running":
            self.read()
            await asyncio.sleep(0)

    async def events(self, *_args: Any, **_more: Any) -> Objects:
        if self.refusals:
            raise self.refusals.pop()
        return []


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(feed, "_TOGETHER", 0.0)
    return World(tmp_path)


class Clock:
    """Instead of the module ``time``: a second passes with each tick."""

    def __init__(self) -> None:
        self.now = 100.0

    def tick(self) -> None:
        self.now += 1.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1e9 + self.now


def views(world: World) -> Any:
    return feed.views(cast("Client", world), kinds.PYTORCH_JOB, pictures.Picture(world.job))


async def until(stream: Any, lines: int) -> JobView:
    async for view in stream:
        if len(view.log) >= lines:
            return cast("JobView", view)
    raise AssertionError("the stream ended early")


async def test_lines_metrics_and_the_end_are_seen_and_nothing_goes_on_afterwards(world: World) -> None:
    world.log = ["2026-11-23T10:00:00Z epoch=1/2 loss=0.5", "2026-11-23T10:00:00Z epoch=2/2 loss=0.25"]
    stream = views(world)
    seen = await until(stream, 2)
    assert next((line.replica, line.text) for line in seen.log) == ("master-0", "epoch=1/2 loss=0.5")
    assert seen.progress == 1.0
    assert [point.value for point in seen.metrics["loss"]["master-0"]] == [0.5, 0.25]
    world.pod["status"]["phase"] = "Succeeded"
    world.change(kinds.POD, world.pod)
    world.finish("Succeeded")
    *_, last = [view async for view in stream]
    assert (last.status.phase, last.replicas[0].phase, len(last.log)) == (Phase.SUCCEEDED, "Succeeded", 2)
    assert len(asyncio.all_tasks()) == 1


async def test_a_log_that_is_cut_off_goes_on_where_it_was(world: World) -> None:
    first, second = "2026-11-23T10:00:00.1Z one", "2026-11-23T10:00:00.1Z two"
    world.log = [first, UnreachableError("reset"), second]
    stream = views(world)
    seen = await until(stream, 2)
    assert [line.text for line in seen.log] == ["one", "two"]
    assert world.asked == ["", "2026-11-23T10:00:00Z"]
    await stream.aclose()


async def test_a_replica_that_was_started_again_tells_first_what_it_said_before(world: World) -> None:
    world.pod["status"]["containerStatuses"] = [{"name": "pytorch", "restartCount": 1, "state": {"running": {}}}]
    world.log = ["2026-11-23T10:00:00Z x"]
    stream = views(world)
    await until(stream, 2)
    assert world.asked == ["previous", ""]
    await stream.aclose()


async def test_a_server_that_goes_away_when_it_is_asked_why_ends_no_view(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_PATIENCE", -1.0)
    monkeypatch.setattr(feed, "_QUIET", 0.0)
    world.refusals = [UnreachableError("reset"), ApiError("busy", code=503)]
    world.pod |= {"spec": {"nodeName": "here"}, "status": {"phase": "Pending"}}
    stream = views(world)
    async for _ in stream:
        if not world.refusals:
            break
    assert (await anext(stream)).replicas[0].phase == "Pending"
    await stream.aclose()


async def test_a_job_that_is_deleted_ends_the_stream_with_its_name(world: World) -> None:
    stream = views(world)
    await anext(stream)
    world.change(kinds.PYTORCH_JOB, world.job, "DELETED")
    with pytest.raises(NotFoundError, match="PyTorchJob n/digits was deleted"):
        async for _ in stream:
            pass
    assert len(asyncio.all_tasks()) == 1


async def test_followed_lines_end_with_the_job(world: World) -> None:
    world.log = ["2026-11-23T10:00:00Z one"]
    world.pod["status"]["phase"] = "Failed"
    world.job["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    lines = feed.follow_lines(cast("Client", world), kinds.PYTORCH_JOB, world.job)
    assert [line.text async for line in lines] == ["one"]


@pytest.mark.parametrize("phase", ["Running", "Succeeded"])
async def test_a_replica_of_which_the_watch_tells_after_the_jobs_end_is_heard_all_the_same(
    world: World, phase: str
) -> None:
    world.log = ["2026-11-23T10:00:00Z one"]
    world.pod["status"]["phase"] = "Succeeded"
    world.known = []
    world.job["status"] = {"conditions": [{"type": "Succeeded", "status": "True"}]}
    if phase == "Running":
        world.known = [{**world.pod, "status": {"phase": "Pending"}}]
    lines = feed.follow_lines(cast("Client", world), kinds.PYTORCH_JOB, world.job)
    assert [line.text async for line in lines] == ["one"]
    *_, last = [view async for view in views(world)]
    assert [line.text for line in last.log] == ["one"]


async def test_a_log_that_is_not_there_yet_is_asked_for_again(world: World) -> None:
    world.log = [NotFoundError("the log is not there yet"), "2026-11-23T10:00:00Z one"]
    seen = await until(views(world), 1)
    assert [line.text for line in seen.log] == ["one"]


async def test_lines_are_all_told_however_long_their_reading_takes(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(feed, "time", clock)
    world.log = [f"2026-11-23T10:00:{n:02d}Z line {n}" for n in range(40)]
    world.read = clock.tick
    world.pod["status"]["phase"] = "Succeeded"
    world.job["status"] = {"conditions": [{"type": "Succeeded", "status": "True"}]}
    lines = feed.follow_lines(cast("Client", world), kinds.PYTORCH_JOB, world.job)
    assert [line.text async for line in lines] == [f"line {n}" for n in range(40)]
    assert clock.now - 100.0 >= 40


async def test_a_log_that_falls_silent_without_an_end_is_not_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(feed, "time", clock)
    monkeypatch.setattr(feed, "_QUIET", 0.001)
    world.log = ["2026-11-23T10:00:00Z one"]
    world.read = clock.tick
    world.job["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    lines = feed.follow_lines(cast("Client", world), kinds.PYTORCH_JOB, world.job)
    assert [line.text async for line in lines] == ["one"]
    assert len(asyncio.all_tasks()) == 1


async def test_the_end_of_a_log_that_is_far_behind_is_in_the_last_view(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "_DRAIN", 0.0)
    world.log = ["2026-11-23T10:00:00Z one"]
    world.end = ["2026-11-23T10:00:00Z one", "2026-11-23T10:00:09Z the end"]
    stream = views(world)
    await until(stream, 1)
    world.finish("Failed")
    *_, last = [view async for view in stream]
    assert [line.text for line in last.log] == ["one", "the end"]


@pytest.mark.parametrize("followed", [True, False])
async def test_a_traceback_whose_last_lines_are_written_after_the_exit_is_told_whole(
    world: World, monkeypatch: pytest.MonkeyPatch, *, followed: bool
) -> None:
    monkeypatch.setattr(pictures, "_LATE", (0.0,) * 4)
    # One write, so its lines may bear one time.
    trace = ["Traceback (most recent call last):", '  File "cell.py", line 1, in <module>', "KeyError: 'a'"]
    whole = [f"2026-11-23T10:00:00Z {text}" for text in trace]
    world.log = list(whole[:2])
    world.pod["status"] = {
        "phase": "Failed",
        "containerStatuses": [{"name": "pytorch", "state": {"terminated": {"exitCode": 1}}}],
    }
    world.job["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    asked = 0

    async def logs(*args: Any, tail: int | None = None, **more: Any) -> AsyncIterator[str]:
        nonlocal asked
        asked += tail is not None
        world.end = whole[: 1 + asked]
        async for line in World.logs(world, *args, tail=tail, **more):
            yield line

    monkeypatch.setattr(world, "logs", logs)
    if followed:
        *_, view = [view async for view in views(world)]
    else:
        monkeypatch.setattr(world, "list", lambda *_args, **_more: answer([world.pod]), raising=False)
        view = (await pictures.snapshot(cast("Client", world), world.job)).view()
    assert view.explanation is not None
    assert view.explanation.sentence == "master-0 failed: KeyError: 'a' (cell.py, line 1)"
    assert [line.text for line in view.log] == trace


async def answer(found: Objects) -> Objects:
    return found
