"""What a SIGKILL of any part of the node may not do: lose an exit status, run something twice, leave an orphan.

On the embedded cluster alone: it is this node that is killed.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.kubelet import Kubelet
from jupyterlab_kf.embedded.kubelet.processes import MARKER, marked, read_json
from jupyterlab_kf.embedded.registry import Registry
from jupyterlab_kf.embedded.store import Store
from jupyterlab_kf.settings import Settings

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")

DAEMON = textwrap.dedent("""
    import asyncio, sys
    from pathlib import Path
    from jupyterlab_kf.embedded.kubelet import Kubelet
    from jupyterlab_kf.embedded.registry import Registry
    from jupyterlab_kf.embedded.scheduling import SchedulerLoop
    from jupyterlab_kf.embedded.store import Store
    from jupyterlab_kf.settings import Settings

    async def main(folder):
        settings = Settings(folder, folder / "cache")
        registry = Registry(Store(settings.cluster_dir / "state.db"))
        kubelet = Kubelet(registry, settings, node="here", backoff_base=0.1)
        await kubelet.start()
        await SchedulerLoop(registry).start()
        print("up", flush=True)
        await asyncio.Event().wait()

    asyncio.run(main(Path(sys.argv[1])))
""")


class Machine:
    """A node whose daemon is a process of its own, so that it can be killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.settings = Settings(folder, folder / "cache")
        self.settings.cluster_dir.mkdir(parents=True)
        self.uids: dict[str, str] = {}

    def submit(self, name: str, argv: list[str], **spec: Any) -> None:
        store = Store(self.settings.cluster_dir / "state.db")
        container = {"name": "main", "image": "x", "command": argv}
        pod = {"metadata": {"name": name}, "spec": {"restartPolicy": "Never", "containers": [container], **spec}}
        made = Registry(store).create(kinds.POD, {"apiVersion": "v1", "kind": "Pod", **pod}, namespace="default")
        self.uids[name] = made["metadata"]["uid"]
        store.close()

    def daemon(self, failpoint: str = "") -> subprocess.Popen[bytes]:
        env = {**os.environ, "KF_FAILPOINT": failpoint}
        process = subprocess.Popen([sys.executable, "-c", DAEMON, str(self.folder)], stdout=subprocess.PIPE, env=env)
        assert process.stdout
        if not failpoint:
            assert process.stdout.readline() == b"up\n"
        return process

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()

    async def finish(self, limit: float = 60.0) -> dict[str, dict[str, Any]]:
        """Start a node in this process and wait until every pod has ended; the terminated states by name."""
        store = Store(self.settings.cluster_dir / "state.db")
        registry = Registry(store)
        for name in self.uids:
            if not registry.get(kinds.POD, "default", name)["spec"].get("nodeName"):
                registry.bind("default", name, "here")
        kubelet = Kubelet(registry, self.settings, node="here", backoff_base=0.1)
        await kubelet.start()
        deadline = time.monotonic() + limit
        while True:
            pods = {n: registry.get(kinds.POD, "default", n)["status"] for n in self.uids}
            if all(s.get("phase") in ("Succeeded", "Failed") for s in pods.values()):
                break
            assert time.monotonic() < deadline, pods
            await asyncio.sleep(0.02)
        await kubelet.stop()
        store.close()
        return {n: s["containerStatuses"][0]["state"]["terminated"] for n, s in pods.items()}

    def orphans(self) -> list[int]:
        return [pid for uid in self.uids.values() for pid in marked(f"{MARKER}={uid}")]


def counter(folder: Path, name: str, then: str) -> list[str]:
    """A container that leaves a line for each time it is run."""
    return ["sh", "-c", f"echo run >> {folder}/{name}.runs; {then}"]


def runs(folder: Path, name: str) -> int:
    path = folder / f"{name}.runs"
    return len(path.read_text().splitlines()) if path.exists() else 0


@pytest.mark.parametrize("point", ["after_intent", "after_spawn", "after_run"])
async def test_a_daemon_killed_while_it_starts_a_container(tmp_path: Path, point: str) -> None:
    machine = Machine(tmp_path)
    machine.submit("p", counter(tmp_path, "p", "sleep 0.3; exit 6"))
    process = machine.daemon(point)
    assert process.wait() == -signal.SIGKILL
    assert process.stdout
    process.stdout.close()
    ended = await machine.finish()
    assert ended["p"]["exitCode"] == 6
    assert runs(tmp_path, "p") == 1
    assert machine.orphans() == []


async def test_a_daemon_killed_at_random_instants_loses_nothing(tmp_path: Path) -> None:
    """Many kills of one daemon over a handful of short pods: every exit status is true, everything ran once."""
    rng = random.Random(7)
    trials = int(os.environ.get("KF_KILL_TRIALS", "5"))
    for trial in range(trials):
        folder = tmp_path / str(trial)
        folder.mkdir()
        machine = Machine(folder)
        for index in range(3):
            machine.submit(f"p{index}", counter(folder, f"p{index}", f"sleep 0.{index + 1}; exit {index + 1}"))
        process = machine.daemon()
        await asyncio.sleep(rng.random() * 0.5)
        machine.kill(process)
        ended = await machine.finish()
        assert {name: state["exitCode"] for name, state in ended.items()} == {"p0": 1, "p1": 2, "p2": 3}
        assert [runs(folder, f"p{i}") for i in range(3)] == [1, 1, 1]
        assert machine.orphans() == []


async def test_a_supervisor_killed_leaves_no_process_and_the_pod_says_so(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.submit("p", ["sh", "-c", "setsid sleep 300 & setsid sh -c 'sleep 300' & sleep 300"])
    process = machine.daemon()
    run = await _running(machine, "p")
    os.kill(run["supervisor"]["pid"], signal.SIGKILL)
    async with asyncio.timeout(60):
        while machine.orphans():  # noqa: ASYNC110  processes tell nobody
            await asyncio.sleep(0.05)
    machine.kill(process)
    ended = await machine.finish()
    assert (ended["p"]["exitCode"], ended["p"]["reason"]) == (137, "ContainerStatusUnknown")


async def test_daemon_and_supervisor_killed_together(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.submit("p", ["sh", "-c", "setsid sleep 300 & sleep 300"])
    process = machine.daemon()
    run = await _running(machine, "p")
    machine.kill(process)
    os.kill(run["supervisor"]["pid"], signal.SIGKILL)
    await asyncio.sleep(0.1)
    assert machine.orphans()
    ended = await machine.finish()
    assert ended["p"]["exitCode"] == 137
    assert machine.orphans() == []


async def test_a_pod_whose_object_is_gone_is_ended_at_the_next_start(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.submit("p", ["sh", "-c", "setsid sleep 300 & sleep 300"])
    process = machine.daemon()
    await _running(machine, "p")
    machine.kill(process)
    store = Store(machine.settings.cluster_dir / "state.db")
    store.remove(kinds.POD, "default", "p")
    kubelet = Kubelet(Registry(store), machine.settings, node="here")
    await kubelet.start()
    assert machine.orphans() == []
    assert not [*kubelet.commons.pods_dir.iterdir()]
    await kubelet.stop()
    store.close()


async def _running(machine: Machine, name: str) -> dict[str, Any]:
    folder = machine.settings.cluster_dir / "pods" / machine.uids[name] / "containers" / "main" / "0"
    deadline = time.monotonic() + 60
    while not (folder / "run.json").exists() or len(machine.orphans()) < 2:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    return read_json(folder / "run.json")
