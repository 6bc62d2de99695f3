"""A node with its registry in the test's own event loop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.kubelet import Kubelet
from jupyterlab_kf.embedded.registry import DeleteOptions, Registry
from jupyterlab_kf.embedded.store import Store
from jupyterlab_kf.settings import Settings

Obj = dict[str, Any]
NODE = "here"


class Cluster:
    def __init__(self, folder: Path, *, shared_address: bool = False) -> None:
        self.settings = Settings(folder, folder / "cache", shared_address=shared_address)
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

    async def until(self, true: Callable[[], bool], limit: float = 60.0) -> None:
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


@asynccontextmanager
async def running(folder: Path, *, shared_address: bool = False) -> AsyncIterator[Cluster]:
    made = Cluster(folder, shared_address=shared_address)
    await made.kubelet.start()
    yield made
    for pod in made.registry.list(kinds.POD):
        made.registry.delete(kinds.POD, "default", pod["metadata"]["name"], options=DeleteOptions(grace=0))
    await made.until(lambda: not [*made.kubelet.commons.pods_dir.iterdir()])
    await made.kubelet.stop()
    made.store.close()
