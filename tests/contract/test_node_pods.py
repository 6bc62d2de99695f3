from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.kubelet import Kubelet
from jupyterlab_kf.embedded.registry import DeleteOptions, Registry
from jupyterlab_kf.embedded.store import Store
from jupyterlab_kf.errors import ApiError, NotFoundError
from jupyterlab_kf.settings import Settings

Obj = dict[str, Any]
NODE = "here"


class Cluster:
    def __init__(self, folder: Path) -> None:
        self.settings = Settings(folder, folder / "cache")
        self.settings.cluster_dir.mkdir(parents=True, exist_ok=True)
        self.store = Store(self.settings.cluster_dir / "state.db")
        self.registry = Registry(self.store)
        self.kubelet = Kubelet(self.registry, self.settings, node=NODE, backoff_base=0.2)

    def run(self, name: str, *argv: str, **spec: Any) -> Obj:
        container = {"name": "main", "image": "busybox", "command": list(argv), **spec.pop("container", {})}
        return self.create(name, {"restartPolicy": "Never", "containers": [container], **spec})

    def create(self, name: str, spec: Obj, **metadata: Any) -> Obj:
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}
        created = self.registry.create(kinds.POD, pod, namespace="default")
        self.registry.bind("default", name, NODE)
        return created

    def pod(self, name: str) -> Obj:
        return self.registry.get(kinds.POD, "default", name)

    def phase(self, name: str) -> str:
        return str((self.pod(name).get("status") or {}).get("phase"))

    def state(self, name: str, index: int = 0) -> Obj:
        statuses = self.pod(name).get("status", {}).get("containerStatuses") or [{}] * (index + 1)
        return dict(statuses[index])

    def events(self, name: str) -> list[str]:
        found = self.registry.list(kinds.EVENT, "default")
        return [f"{e['reason']}: {e['message']}" for e in found if e["involvedObject"]["name"] == name]

    async def until(self, true: Callable[[], bool], limit: float = 15.0) -> None:
        deadline = time.monotonic() + limit
        while not true():
            if time.monotonic() > deadline:
                raise AssertionError([p["status"] for p in self.registry.list(kinds.POD, "default")])
            await asyncio.sleep(0.01)

    async def ended(self, name: str) -> Obj:
        await self.until(lambda: self.phase(name) in ("Succeeded", "Failed"))
        return self.pod(name)

    async def log(self, name: str, **options: Any) -> str:
        return b"".join([piece async for piece in self.kubelet.logs("default", name, **options)]).decode()

    async def restart(self) -> None:
        await self.kubelet.stop()
        self.kubelet = Kubelet(self.registry, self.settings, node=NODE, backoff_base=0.2)
        await self.kubelet.start()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    made = Cluster(tmp_path)
    await made.kubelet.start()
    yield made
    for pod in made.registry.list(kinds.POD):
        made.registry.delete(kinds.POD, "default", pod["metadata"]["name"], options=DeleteOptions(grace=0))
    await made.until(lambda: not [*made.kubelet.pods_dir.iterdir()])
    await made.kubelet.stop()
    made.store.close()


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
    await cluster.until(lambda: cluster.phase("talks") == "Running")
    assert await cluster.log("talks", follow=True) == "1\n2\n3\n"


async def test_a_restarted_node_adopts_what_runs_and_learns_what_ended(cluster: Cluster) -> None:
    cluster.run("long", "sh", "-c", "echo begun; sleep 1; exit 5")
    cluster.run("short", "sh", "-c", "sleep 0.3; exit 4")
    await cluster.until(lambda: cluster.phase("long") == "Running" and cluster.phase("short") == "Running")
    await cluster.kubelet.stop()
    await asyncio.sleep(0.5)
    await cluster.restart()
    await cluster.ended("short")
    await cluster.ended("long")
    assert cluster.state("short")["state"]["terminated"]["exitCode"] == 4
    assert cluster.state("long")["state"]["terminated"]["exitCode"] == 5
    assert await cluster.log("long") == "begun\n"
