"""A real API server that is killed, or frozen with its connections open: all that watches goes on by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from bed.cluster import RealCluster
from bed.simulated import EXIT_CODE, RUNS_FOR

from jupyterlab_kf import kinds, settings
from jupyterlab_kf.cluster import connection, watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.model import Obj, Phase
from jupyterlab_kf.services import feed, pictures
from jupyterlab_kf.services.jobs import list_all

WATCHES = 20
OUTAGE = 5.0
SILENCE = 2.0
"""Seconds of silence after which half of the watches take their connection for dead; the others wait it out."""


class Follower:
    """Names that one watch has told of, each once."""

    def __init__(self, client: Client, space: str, pace: watch.Pace) -> None:
        self.names: set[str] = set()
        self.synced = asyncio.Event()
        self.told = asyncio.Event()
        self._changes = watch.follow(client, kinds.CONFIG_MAP, space, pace=pace)
        self.task = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        async for change in self._changes:
            if change.type == "SYNCED":
                self.synced.set()
                continue
            name = change.obj["metadata"]["name"]
            if change.type == "ADDED":
                assert name not in self.names, "told as new twice"
                self.names.add(name)
            self.told.set()

    async def knows(self, *names: str) -> None:
        while not self.names.issuperset(names):
            self.told.clear()
            await self.told.wait()


def job(space: str) -> Obj:
    """A job whose only pod runs for longer than the outage lasts, and then succeeds."""
    container = {"name": "pytorch", "image": "x", "command": ["run"]}
    template = {
        "metadata": {"annotations": {EXIT_CODE: "0", RUNS_FOR: f"{OUTAGE + 2:g}s"}},
        "spec": {"containers": [container]},
    }
    master = {"replicas": 1, "restartPolicy": "Never", "template": template}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": "digits", "namespace": space},
        "spec": {"pytorchReplicaSpecs": {"Master": master}},
    }


@pytest.mark.parametrize(("away", "back"), [("kill", "resume"), ("freeze", "thaw")])
async def test_all_goes_on_after_an_outage_without_a_storm(
    real_cluster: RealCluster, namespace: Callable[[RealCluster], str], tmp_path: Path, away: str, back: str
) -> None:
    space, user = namespace(real_cluster), f"watcher-{away}"
    here = settings.load(
        {
            "KF_DATA_DIR": str(tmp_path),
            "KUBECONFIG": str(real_cluster.kubeconfig_for(user, ("system:masters",), namespace=space)),
        }
    )
    client = Client(connection.open_connection(connection.choose(here), here))
    paces = [watch.Pace(silence=SILENCE) if number % 2 else watch.Pace() for number in range(WATCHES)]
    followers = [Follower(client, space, pace) for pace in paces]
    made = await client.create(kinds.PYTORCH_JOB, job(space), namespace=space)
    views = feed.views(client, kinds.PYTORCH_JOB, pictures.Picture(made))
    async with asyncio.timeout(180):
        await asyncio.gather(*(one.synced.wait() for one in followers))
        await client.create(kinds.CONFIG_MAP, {"metadata": {"name": "before"}}, namespace=space)
        await asyncio.gather(*(one.knows("before") for one in followers))
        async for view in views:
            if view.status.phase is Phase.RUNNING:
                break
        began = len(_asked(real_cluster, user))
        await asyncio.to_thread(real_cluster.order, away, "kube-apiserver")
        listing = asyncio.create_task(list_all(client, space)) if away == "freeze" else None
        await asyncio.sleep(OUTAGE)  # the outage itself
        await asyncio.to_thread(real_cluster.order, back, "kube-apiserver")
        if listing is not None:  # who had asked is answered
            assert [one["metadata"]["name"] for one in await listing] == ["digits"]
        await client.gate.failed()
        await client.create(kinds.CONFIG_MAP, {"metadata": {"name": "after"}}, namespace=space)
        await asyncio.gather(*(one.knows("before", "after") for one in followers))
        *_, last = [view async for view in views]
        assert last.status.phase is Phase.SUCCEEDED, "the view was followed to the end of its job"
        assert [one["metadata"]["name"] for one in await list_all(client, space)] == ["digits"]
    for one in followers:
        one.task.cancel()
    await asyncio.gather(*(one.task for one in followers), return_exceptions=True)
    await client.close()
    asked = _asked(real_cluster, user)[began:]
    assert asked.count("list") <= WATCHES, "not even each has lost its place"
    assert asked.count("watch") <= 3 * WATCHES * (OUTAGE / SILENCE)


def _asked(cluster: RealCluster, user: str) -> list[str]:
    """The verbs of what a user has asked of ConfigMaps."""
    return [
        entry["verb"]
        for entry in cluster.audit()
        if entry["user"].get("username") == user  # who could not prove it has no name
        and entry.get("objectRef", {}).get("resource") == "configmaps"
        and entry["stage"] == "ResponseComplete"
    ]
