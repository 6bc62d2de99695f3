"""What happens before a container is told to end: its hook, or a moment for those who still send it requests.

On the embedded cluster alone: when this node sends its signals is its own; a real one does it as it has always done.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from node_cluster import Cluster, running

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.registry import DeleteOptions

TELLS = "trap 'date +%s.%N > ended; exit 0' TERM; touch up; while :; do sleep 0.02; done"


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(tmp_path) as made:
        yield made


async def deleted(cluster: Cluster, folder: Path, *, grace: int | None = None) -> float:
    """Delete the pod when it runs; seconds until its program was told to end, or was gone without a word."""
    await cluster.until((folder / "up").exists)
    asked = time.time()
    cluster.registry.delete(kinds.POD, "default", "p", options=DeleteOptions(grace=grace))
    await cluster.until(lambda: not cluster.registry.list(kinds.POD, "default"))
    told = folder / "ended"
    return (float(told.read_text()) if told.exists() else time.time()) - asked


async def test_a_hook_runs_before_the_program_is_told_to_end(cluster: Cluster, tmp_path: Path) -> None:
    hook = {"preStop": {"exec": {"command": ["sh", "-c", f"touch {tmp_path}/hooked; sleep 0.6"]}}}
    cluster.run("p", "sh", "-c", f"cd {tmp_path}; {TELLS}", container={"lifecycle": hook})
    assert await deleted(cluster, tmp_path) >= 0.6
    assert (tmp_path / "hooked").exists()


async def test_a_hook_that_fails_is_told_of_and_delays_nothing(cluster: Cluster, tmp_path: Path) -> None:
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "exit 3"]}}}
    cluster.run("p", "sh", "-c", f"cd {tmp_path}; {TELLS}", container={"lifecycle": hook})
    assert await deleted(cluster, tmp_path) < 5
    assert any(event.startswith("FailedPreStopHook") for event in cluster.events("p"))


async def test_a_hook_has_the_grace_and_no_more(cluster: Cluster, tmp_path: Path) -> None:
    hook = {"preStop": {"sleep": {"seconds": 60}}}
    grace = {"terminationGracePeriodSeconds": 1}
    cluster.run("p", "sh", "-c", f"cd {tmp_path}; {TELLS}", container={"lifecycle": hook}, **grace)
    assert 0.5 < await deleted(cluster, tmp_path) < 8
    assert (tmp_path / "ended").exists()


async def test_no_hook_is_waited_for_when_a_pod_is_to_go_at_once(cluster: Cluster, tmp_path: Path) -> None:
    hook = {"preStop": {"exec": {"command": ["sleep", "60"]}}}
    cluster.run("p", "sh", "-c", f"cd {tmp_path}; {TELLS}", container={"lifecycle": hook})
    assert await deleted(cluster, tmp_path, grace=0) < 5


async def test_a_pod_that_a_service_leads_to_serves_on_for_a_moment(cluster: Cluster, tmp_path: Path) -> None:
    service = {"metadata": {"name": "s"}, "spec": {"selector": {"app": "p"}, "ports": [{"port": 80}]}}
    cluster.registry.create(kinds.SERVICE, {"apiVersion": "v1", "kind": "Service", **service}, namespace="default")
    container = {"name": "main", "image": "x", "command": ["sh", "-c", f"cd {tmp_path}; {TELLS}"]}
    cluster.create("p", {"containers": [container]}, labels={"app": "p"})
    assert await deleted(cluster, tmp_path) >= 0.9
