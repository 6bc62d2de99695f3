"""One stream of views from a job, its pods and their logs, as a server of the test's own changes them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import NotFoundError, UnreachableError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import training
from jupyterlab_kf.model import JobView, Obj, Phase
from jupyterlab_kf.services import feed, plans

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
        self.log: list[str | Exception] = []
        self.queues: dict[str, asyncio.Queue[bytes]] = {"pods": asyncio.Queue(), "pytorchjobs": asyncio.Queue()}
        self.version = 1
        self.asked: list[str] = []

    def change(self, kind: Kind, obj: Obj, type_: str = "MODIFIED") -> None:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.queues[kind.plural].put_nowait(json.dumps({"type": type_, "object": obj}).encode())

    def finish(self, condition: str) -> None:
        self.job["status"] = {"conditions": [{"type": condition, "status": "True"}]}
        self.change(kinds.PYTORCH_JOB, self.job)

    async def snapshot(self, kind: Kind, *_args: Any, **_more: Any) -> tuple[Objects, str]:
        return ([json.loads(json.dumps(self.pod if kind is kinds.POD else self.job))], str(self.version))

    @asynccontextmanager
    async def stream(self, path: str, **_more: Any) -> Streams:
        async def lines(queue: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
            while True:
                yield await queue.get()

        yield lines(self.queues[path.rpartition("/")[2]])

    async def logs(self, _namespace: str, _pod: str, *, since: str, previous: bool, **_more: Any) -> AsyncIterator[str]:
        self.asked.append("previous" if previous else since)
        for line in list(self.log):
            if isinstance(line, Exception):
                self.log.remove(line)
                raise line
            yield line
        while not previous and self.pod["status"]["phase"] == "Running":  # noqa: ASYNC110  a log that goes on
            await asyncio.sleep(0)

    async def events(self, *_args: Any, **_more: Any) -> Objects:
        return []


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(feed, "_TOGETHER", 0.0)
    return World(tmp_path)


def views(world: World) -> Any:
    return feed.views(cast("Client", world), kinds.PYTORCH_JOB, feed.Picture(world.job))


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
