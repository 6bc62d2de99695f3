"""Pods on the node, from their start to their end.

On the embedded cluster alone: the node is driven without an API server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from node_cluster import Cluster, running

from jupyterlab_kf import kinds
from jupyterlab_kf.errors import ApiError, NotFoundError


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with running(tmp_path) as made:
        yield made


async def test_a_pod_runs_and_its_log_can_be_read(cluster: Cluster) -> None:
    cluster.run("hello", "sh", "-c", "echo one; echo two >&2; exit 0")
    pod = await cluster.ended("hello")
    assert pod["status"]["phase"] == "Succeeded"
    assert cluster.state("hello")["state"]["terminated"]["reason"] == "Completed"
    assert (await cluster.log("hello")).splitlines() == ["one", "two"]
    assert [e.partition(":")[0] for e in cluster.events("hello")] == ["Pulled", "Created", "Started"]
    assert pod["status"]["podIP"].startswith("127.")
    assert {c["type"]: c["status"] for c in pod["status"]["conditions"]} == {
        "PodReadyToStartContainers": "False",
        "Initialized": "True",
        "Ready": "False",
        "ContainersReady": "False",
        "PodScheduled": "True",
    }


async def test_exit_codes_and_a_program_that_is_not_there(cluster: Cluster) -> None:
    cluster.run("fails", "sh", "-c", "exit 7")
    cluster.run("missing", "no-such-program")
    await cluster.ended("fails")
    await cluster.ended("missing")
    assert cluster.phase("fails") == "Failed"
    assert cluster.state("fails")["state"]["terminated"]["exitCode"] == 7
    ended = cluster.state("missing")["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "executable file not found" in ended["message"]


async def test_deleting_ends_the_whole_tree_and_the_object(cluster: Cluster) -> None:
    cluster.run("tree", "sh", "-c", "setsid sleep 300 & sleep 300", terminationGracePeriodSeconds=1)
    await cluster.until(lambda: cluster.phase("tree") == "Running")
    cluster.registry.delete(kinds.POD, "default", "tree")

    def gone() -> bool:
        try:
            cluster.pod("tree")
        except NotFoundError:
            return True
        return False

    await cluster.until(gone)
    assert "Killing: Stopping container main" in cluster.events("tree")


async def test_a_failing_container_is_restarted_with_back_off(cluster: Cluster) -> None:
    cluster.run("crash", "sh", "-c", "echo run; exit 3", restartPolicy="Always")
    await cluster.until(lambda: cluster.state("crash").get("restartCount", 0) >= 2)
    await cluster.until(lambda: "CrashLoopBackOff" in str(cluster.state("crash")["state"]))
    assert cluster.state("crash")["lastState"]["terminated"]["exitCode"] == 3
    assert cluster.phase("crash") == "Running"
    assert await cluster.log("crash") == "run\n"
    assert await cluster.log("crash", previous=True) == "run\n"


async def test_init_containers_run_first_in_order(cluster: Cluster) -> None:
    share = [{"name": "share", "mountPath": "/share"}]
    step = {"image": "x", "volumeMounts": share}
    cluster.create(
        "init",
        {
            "restartPolicy": "Never",
            "volumes": [{"name": "share", "emptyDir": {}}],
            "initContainers": [
                {"name": "a", "command": ["sh", "-c", "echo a >> /share/f"], **step},
                {"name": "b", "command": ["sh", "-c", "echo b >> /share/f"], **step},
            ],
            "containers": [
                {"name": "main", "command": ["sh", "-c", "cat $F"], "env": [{"name": "F", "value": "/share/f"}], **step}
            ],
        },
    )
    await cluster.ended("init")
    assert await cluster.log("init", container="main") == "a\nb\n"


async def test_a_missing_config_map_holds_the_pod_until_it_appears(cluster: Cluster) -> None:
    volume = {"name": "code", "configMap": {"name": "code"}}
    mount = {"volumeMounts": [{"name": "code", "mountPath": "/code"}]}
    cluster.run("waits", "cat", "/code/main.py", volumes=[volume], container=mount)
    await cluster.until(lambda: any(e.startswith("FailedMount") for e in cluster.events("waits")))
    assert cluster.state("waits")["state"]["waiting"]["reason"] == "ContainerCreating"
    with pytest.raises(ApiError, match="waiting to start: ContainerCreating"):
        cluster.kubelet.logs("default", "waits")
    made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "code"}, "data": {"main.py": "print(1)\n"}}
    cluster.registry.create(kinds.CONFIG_MAP, made, namespace="default")
    await cluster.ended("waits")
    assert await cluster.log("waits") == "print(1)\n"


async def test_a_followed_log_ends_with_its_container(cluster: Cluster) -> None:
    cluster.run("talks", "sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.1; done")
    await cluster.until(lambda: cluster.phase("talks") in ("Running", "Succeeded"))
    assert await cluster.log("talks", follow=True) == "1\n2\n3\n"


async def test_a_restarted_node_adopts_what_runs_and_learns_what_ended(cluster: Cluster, tmp_path: Path) -> None:
    wait = "while [ ! -e {} ]; do sleep 0.05; done; exit {}"
    cluster.run("long", "sh", "-c", f"echo begun; {wait.format(tmp_path / 'later', 5)}")
    cluster.run("short", "sh", "-c", wait.format(tmp_path / "now", 4))
    await cluster.until(lambda: cluster.phase("long") == "Running" and cluster.phase("short") == "Running")
    await cluster.kubelet.stop()
    (tmp_path / "now").touch()
    folder = cluster.kubelet.commons.pods_dir / cluster.pod("short")["metadata"]["uid"]
    await cluster.until(lambda: any(folder.glob("containers/main/0/exit.json")))
    await cluster.restart()
    await cluster.ended("short")
    assert cluster.phase("long") == "Running"
    (tmp_path / "later").touch()
    await cluster.ended("long")
    assert cluster.state("short")["state"]["terminated"]["exitCode"] == 4
    assert cluster.state("long")["state"]["terminated"]["exitCode"] == 5
    assert await cluster.log("long") == "begun\n"
