"""Scheduler and node together: what waits says why, and starts as soon as there is room.

On the embedded cluster alone: it is this scheduler and this machine's room.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from node_cluster import Cluster, Obj, running

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.scheduling import SchedulerLoop


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(tmp_path) as made:
        scheduler = SchedulerLoop(made.registry)
        await scheduler.start()
        yield made
        await scheduler.stop()


def submit(cluster: Cluster, name: str, cpu: int, *argv: str, job: str = "", size: int = 0) -> None:
    metadata: Obj = {"name": name}
    if job:
        metadata["labels"] = {"training.kubeflow.org/job-name": job}
        metadata["annotations"] = {"scheduling.jupyterlab-kf.io/replicas": str(size)}
    container = {"name": "c", "image": "i", "command": list(argv), "resources": {"requests": {"cpu": str(cpu)}}}
    spec: dict[str, Any] = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    cluster.registry.create(kinds.POD, {"metadata": metadata, "spec": spec}, namespace="default")


def cpus(cluster: Cluster) -> int:
    return int(cluster.registry.get(kinds.NODE, "", "here")["status"]["allocatable"]["cpu"])


async def test_what_does_not_fit_waits_and_starts_when_there_is_room(cluster: Cluster) -> None:
    submit(cluster, "first", cpus(cluster), "sleep", "60")
    await cluster.until(lambda: cluster.phase("first") == "Running")
    submit(cluster, "second", 1, "true")
    await cluster.until(lambda: any("FailedScheduling" in e for e in cluster.events("second")))
    condition = cluster.pod("second")["status"]["conditions"][0]
    assert (condition["type"], condition["status"], condition["reason"]) == ("PodScheduled", "False", "Unschedulable")
    assert condition["message"].startswith("0/1 nodes are available: 1 Insufficient cpu.")
    cluster.registry.delete(kinds.POD, "default", "first")
    await cluster.ended("second")
    assert "Scheduled: Successfully assigned default/second to here" in cluster.events("second")
    assert len([e for e in cluster.events("second") if e.startswith("FailedScheduling")]) == 1


async def test_a_job_starts_when_its_last_pod_is_there(cluster: Cluster) -> None:
    submit(cluster, "j-0", 0, "true", job="j", size=2)
    await cluster.until(lambda: bool(cluster.pod("j-0")["status"].get("conditions")))
    assert cluster.pod("j-0")["status"]["conditions"][0]["message"].endswith("1 of 2 exist")
    submit(cluster, "j-1", 0, "true", job="j", size=2)
    await cluster.ended("j-0")
    await cluster.ended("j-1")


async def test_two_jobs_that_do_not_fit_together_run_one_after_the_other(cluster: Cluster) -> None:
    whole = cpus(cluster)
    for job in ("a", "b"):
        for index in range(whole):
            submit(cluster, f"{job}-{index}", 1, "sleep", "0.2", job=job, size=whole)
    names = [f"{job}-{index}" for job in ("a", "b") for index in range(whole)]
    for name in names:
        await cluster.ended(name)
    ends = {n: cluster.state(n)["state"]["terminated"] for n in names}
    assert {e["exitCode"] for e in ends.values()} == {0}
    assert max(e["startedAt"] for n, e in ends.items() if n[0] == "a") <= min(
        e["startedAt"] for n, e in ends.items() if n[0] == "b"
    )


async def test_a_pod_for_another_scheduler_waits_for_it(cluster: Cluster) -> None:
    submit(cluster, "others", 1, "true")
    for name, scheduler in (("strange", "elsewhere"), ("gang", "volcano")):
        container = {"name": "main", "image": "busybox", "command": ["true"]}
        spec = {"restartPolicy": "Never", "schedulerName": scheduler, "containers": [container]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        cluster.registry.create(kinds.POD, pod, namespace="default")
    await cluster.ended("others")
    await cluster.ended("gang")
    assert "nodeName" not in cluster.pod("strange")["spec"]
