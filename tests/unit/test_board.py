"""The board: rows, windows, health; over a client that answers from a list."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jupyterlab_kf import kinds, names
from jupyterlab_kf.cluster.gate import Gate
from jupyterlab_kf.errors import ForbiddenError, NotFoundError, UnreachableError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Cause, Explanation, Obj, Phase
from jupyterlab_kf.services.board import Board, JobGroup, JobQuery, JobRow, row_of


def job(name: str, *, namespace: str = "default", phase: str = "", created: int = 0, workers: int = 1) -> Obj:
    conditions = [{"type": phase, "status": "True", "reason": phase, "message": f"it is {phase}"}] if phase else []
    resources = {"requests": {"cpu": "2", "memory": "1Gi", "nvidia.com/gpu": "1"}}
    container = {"name": "pytorch", "image": "x", "resources": resources}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"uid-{namespace}-{name}",
            "resourceVersion": "1",
            "creationTimestamp": f"2026-11-23T10:{created // 60:02d}:{created % 60:02d}Z",
            "managedFields": [{"manager": "kubectl-create"}, {"manager": "operator", "subresource": "status"}],
        },
        "spec": {
            "pytorchReplicaSpecs": {
                "Worker": {"replicas": workers, "template": {"spec": {"containers": [container]}}},
            }
        },
        "status": {
            "conditions": conditions,
            "replicaStatuses": {"Worker": {"active": workers if phase == "Running" else 0}},
        },
    }


class FakeClient:
    """Lists and streams from queues; says no when told to."""

    def __init__(self, jobs: list[Obj]) -> None:
        self.jobs = jobs
        self.events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.down = False
        self.probes = 0
        self.version = 1
        self.refuse_all_namespaces = False
        self.asked: list[tuple[str, str | None]] = []
        self.gate = Gate(self.probe, sleep=no_sleep)

    async def snapshot(self, kind: Kind, namespace: str | None = None, **_: Any) -> tuple[list[Obj], str]:
        self.asked.append((kind.plural, namespace))
        if self.down:
            raise UnreachableError("nobody answers")
        if kind is not kinds.PYTORCH_JOB:
            raise NotFoundError("no such kind")
        if self.refuse_all_namespaces and namespace is None:
            raise ForbiddenError("not all of them")
        return list(self.jobs), "1"

    @asynccontextmanager
    async def stream(self, path: str, **_: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        if self.down:
            raise UnreachableError("nobody answers")

        async def lines() -> AsyncIterator[bytes]:
            while (line := await self.events.get()) is not None:
                yield line

        assert "pytorchjobs" in path
        yield lines()

    async def probe(self) -> None:
        self.probes += 1
        if self.down:
            raise UnreachableError("nobody answers")

    def tell(self, type_: str, obj: Obj) -> None:
        self.version += 1
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.version)}}
        self.events.put_nowait(json.dumps({"type": type_, "object": obj}).encode())


async def no_sleep(_: float) -> None:
    """Time stands still, but others may run."""
    await asyncio.sleep(0)


async def settled(board: Board, state: str = "live") -> None:
    for _ in range(500):
        if board.link.state == state:
            return
        await asyncio.sleep(0)
    pytest.fail(f"the board is {board.link}, not {state}")


def filled(*jobs: Obj) -> Board:
    board = Board(FakeClient([]), "default")  # type: ignore[arg-type]
    board.rows = {row.uid: row for row in map(row_of, jobs)}
    board.version += 1
    return board


def test_a_row_holds_what_a_list_shows() -> None:
    row = row_of(job("digits", phase="Running", workers=3))
    assert (row.framework, row.phase, row.replicas, row.active) == ("pytorch", Phase.RUNNING, 3, 3)
    assert (row.cpu, row.memory, row.gpu) == (6.0, 3 * 2**30, 3.0)
    assert row.origin == "kubectl-create"


def test_a_row_says_whose_job_it_is_and_is_found_and_sorted_by_it() -> None:
    jobs = [job(name, created=n) for n, name in enumerate(("first", "second", "third"))]
    for one, user in zip(jobs[1:], ("bob", "alice"), strict=True):
        one["metadata"]["annotations"] = {names.ANNOTATION_PROVENANCE: json.dumps({"user": user})}
    board = filled(*jobs)
    by_owner = board.page(JobQuery(sort="owner", descending=False)).items
    assert [one.owner for one in by_owner if isinstance(one, JobRow)] == ["alice", "bob", ""]
    assert board.page(JobQuery(text="bob")).matched == 1


def test_a_manifest_with_an_amount_that_is_none_still_has_a_row() -> None:
    broken = job("broken")
    template = broken["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    template["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "plenty"
    assert row_of(broken).cpu == 0


async def test_a_manifest_is_read_once_for_each_generation_of_it() -> None:
    client = FakeClient([])
    board = Board(client, "default", sleep=no_sleep)  # type: ignore[arg-type]
    board.start()
    await settled(board)
    first = job("digits", workers=1)
    first["metadata"]["generation"] = 1
    client.tell("ADDED", first)
    # A server counts a changed spec as another generation: the same number with another spec tells that none was read.
    for workers, generation, phase in ((9, 1, "Running"), (3, 2, "Running")):
        later = job("digits", workers=workers, phase=phase)
        later["metadata"]["generation"] = generation
        client.tell("MODIFIED", later)
    seen: list[tuple[int, float, int, str]] = []
    board.listen(lambda _, row: seen.append((row.replicas, row.cpu, row.active, row.phase)) if row else None)
    for _ in range(500):
        await asyncio.sleep(0)
    assert seen == [(1, 2.0, 0, "Pending"), (1, 2.0, 9, "Running"), (3, 6.0, 3, "Running")]
    await board.stop()


def test_newest_first_and_a_window_of_it() -> None:
    board = filled(*(job(f"j{n:03d}", created=n) for n in range(100)))
    page = board.page(JobQuery(offset=10, limit=3))
    assert [item.name for item in page.items if isinstance(item, JobRow)] == ["j089", "j088", "j087"]
    assert (page.total, page.matched, page.size, page.offset) == (100, 100, 100, 10)


def test_words_and_phases_filter() -> None:
    board = filled(job("digits", phase="Running"), job("flowers", phase="Failed"), job("digits-2", phase="Failed"))
    page = board.page(JobQuery(text="DIGITS failed"))
    assert [row.name for row in page.items if isinstance(row, JobRow)] == ["digits-2"]
    assert board.page(JobQuery(phases=("Failed",))).matched == 2
    assert page.counts == {"Running": 1, "Failed": 2}, "the counts are of all jobs, whatever is filtered"


def test_groups_are_items_too() -> None:
    board = filled(job("a", namespace="x", phase="Running"), job("b", namespace="y"), job("c", namespace="y"))
    page = board.page(JobQuery(grouped=True, collapsed=("x",)))
    assert page.items[0] == JobGroup("x", 1, 1, 0, collapsed=True)
    assert [item.name for item in page.items[2:] if isinstance(item, JobRow)] == ["c", "b"]
    assert page.size == 4


def test_one_order_serves_many_windows() -> None:
    board = filled(*(job(f"j{n}") for n in range(50)))
    board.page(JobQuery(offset=0))
    first = next(iter(board._arranged.values()))
    board.page(JobQuery(offset=20))
    assert len(board._arranged) == 1
    assert next(iter(board._arranged.values())) is first


async def test_changes_reach_the_listeners_once() -> None:
    client = FakeClient([job("digits")])
    board = Board(client, "default", sleep=no_sleep)  # type: ignore[arg-type]
    heard: list[tuple[Phase | None, Phase | None]] = []
    board.listen(lambda old, new: heard.append((old and old.phase, new and new.phase)) if old or new else None)
    board.start()
    await settled(board)
    client.tell("MODIFIED", job("digits", phase="Running"))
    client.tell("MODIFIED", job("digits", phase="Running"))
    client.tell("DELETED", job("digits", phase="Running"))
    for _ in range(500):
        await asyncio.sleep(0)
    assert heard == [(None, Phase.PENDING), (Phase.PENDING, Phase.RUNNING), (Phase.RUNNING, None)]
    await board.stop()


async def test_a_reason_that_was_found_out_stays_with_its_row() -> None:
    client = FakeClient([job("digits", phase="Failed")])
    board = Board(client, "default", sleep=no_sleep)  # type: ignore[arg-type]
    board.start()
    await settled(board)
    [row] = board.rows.values()
    assert (row.message, row.cause) == ("it is Failed", None)
    board.explain(row, Explanation("master-0 failed: IndexError", cause=Cause.PYTHON_ERROR))
    client.tell("MODIFIED", job("digits", phase="Failed", workers=2))
    for _ in range(500):
        await asyncio.sleep(0)
    [row] = board.rows.values()
    assert (row.replicas, row.message, row.cause) == (2, "master-0 failed: IndexError", Cause.PYTHON_ERROR)
    client.tell("MODIFIED", job("digits", phase="Running"))
    for _ in range(500):
        await asyncio.sleep(0)
    [row] = board.rows.values()
    assert row.cause is None
    await board.stop()


async def test_a_job_of_which_no_row_can_be_made_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    odd = job("odd") | {"status": {"conditions": "none of those that we know"}}
    client = FakeClient([odd, job("digits")])
    board = Board(client, "default", sleep=no_sleep)  # type: ignore[arg-type]
    board.start()
    await settled(board)
    client.tell("ADDED", job("later"))
    for _ in range(100):
        await asyncio.sleep(0)
    assert {row.name for row in board.rows.values()} == {"digits", "later"}
    assert "PyTorchJob default/odd could not be taken in" in caplog.text
    await board.stop()


async def test_who_may_not_list_all_sees_the_own_namespace() -> None:
    client = FakeClient([job("digits")])
    client.refuse_all_namespaces = True
    board = Board(client, "mine", sleep=no_sleep)  # type: ignore[arg-type]
    board.start()
    await settled(board)
    assert ("pytorchjobs", "mine") in client.asked
    assert len(board.rows) == 1
    await board.stop()


async def test_an_outage_is_told_and_ends_by_one_probe() -> None:
    client = FakeClient([job("digits")])
    board = Board(client, "default", sleep=no_sleep)  # type: ignore[arg-type]
    board.start()
    await settled(board)
    client.down = True
    client.events.put_nowait(None)  # the stream ends
    await settled(board, "unreachable")
    assert list(board.rows), "what was known stays on the screen"
    lists = len(client.asked)
    for _ in range(50):
        await asyncio.sleep(0)
    assert len([kind for kind, _ in client.asked[lists:] if kind == "pytorchjobs"]) == 0, "watches wait for the probe"
    client.down = False
    await settled(board)
    await board.stop()
