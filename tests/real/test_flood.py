"""That nothing of a flood is lost between a real API server and who watches: neither by the loop nor by the panels."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from bed.api import Obj
from bed.cluster import RealCluster
from stages import OPERATOR, simulated

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster import watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.services.board import Board

OBJECTS, CHANGES, AT_ONCE = 50, 40, 24


async def _flood(client: Client, space: str) -> None:
    """Each of the objects changes so many times; different ones at once, the changes of one in order."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        for turn in range(1, CHANGES + 1):
            async with gate:
                patch = {"metadata": {"labels": {"turn": str(turn)}}, "spec": {"runPolicy": {"backoffLimit": turn}}}
                await client.patch(kinds.PYTORCH_JOB, space, f"job-{number}", patch)

    await asyncio.gather(*(one(number) for number in range(OBJECTS)))


async def test_no_event_of_a_flood_is_lost(real_cluster: RealCluster, namespace: Callable[[RealCluster], str]) -> None:
    space = namespace(real_cluster)
    stage = simulated(real_cluster)
    # The operator takes five requests a second: after the flood it would be busy for minutes.
    with stage.without(OPERATOR):
        await _watched(stage.client, space)
        for number in range(OBJECTS):
            await stage.client.delete(kinds.PYTORCH_JOB, space, f"job-{number}")
    await stage.client.close()


async def _watched(client: Client, space: str) -> None:
    seen: Counter[str] = Counter()
    last: dict[str, str] = {}
    ready, complete = asyncio.Event(), asyncio.Event()

    async def follow() -> None:
        async for change in watch.follow(client, kinds.PYTORCH_JOB, space):
            if change.type == "SYNCED":
                ready.set()
                continue
            head = change.obj["metadata"]
            turn = head.get("labels", {}).get("turn", "0")
            if turn != last.get(head["name"], "0"):  # the operator changes them, too
                assert int(turn) == int(last.get(head["name"], "0")) + 1, "in order, and none left out"
                last[head["name"]] = turn
                seen[head["name"]] += 1
            if sum(seen.values()) == OBJECTS * CHANGES:
                complete.set()

    board = Board(client, space)
    for number in range(OBJECTS):
        await client.create(kinds.PYTORCH_JOB, _job(f"job-{number}", space))
    following = asyncio.create_task(follow())
    board.start()
    async with asyncio.timeout(180):
        await ready.wait()
        await _flood(client, space)
        while not complete.is_set():
            waiter = asyncio.create_task(complete.wait())
            await asyncio.wait((following, waiter), return_when=asyncio.FIRST_COMPLETED)
            if following.done():
                following.result()
    assert set(seen.values()) == {CHANGES}
    assert len([row for row in board.rows.values() if row.namespace == space]) == OBJECTS
    following.cancel()
    await board.stop()


def _job(name: str, space: str) -> Obj:
    container = {"name": "pytorch", "image": "x", "command": ["run"]}
    master = {"replicas": 1, "restartPolicy": "Never", "template": {"spec": {"containers": [container]}}}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": name, "namespace": space},
        "spec": {"runPolicy": {"suspend": True}, "pytorchReplicaSpecs": {"Master": master}},
    }
