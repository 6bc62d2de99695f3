"""The node: registers itself, takes up what ran before, and gives each bound pod a worker.

Owns which pods are looked after, and the answers to what is asked about them (`logs`, `exec`, `address`). What pods
share is in ``commons``. Refuses to decide where pods run (the scheduler does) and what happens to one (its worker).
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.images import ImageError
from jupyterlab_kf.embedded.kubelet import asked, claims, logs, registration, states
from jupyterlab_kf.embedded.kubelet.commons import Commons, is_final
from jupyterlab_kf.embedded.kubelet.contents import Packages
from jupyterlab_kf.embedded.kubelet.folders import end_unowned, unfinished
from jupyterlab_kf.embedded.kubelet.processes import Attempt, end_beside
from jupyterlab_kf.embedded.kubelet.worker import PodWorker
from jupyterlab_kf.embedded.registry import Registry
from jupyterlab_kf.embedded.store import Change
from jupyterlab_kf.errors import ApiError
from jupyterlab_kf.model import Obj, meta, parse_time
from jupyterlab_kf.settings import Settings

SWITCH_INTERVAL: Final = 0.0005
"""How long one of the node's threads may keep the event loop from going on after a write; Python's own is 5 ms."""


class Kubelet:
    """The node of the embedded cluster.

    Args:
        registry: the API server's rules, in process.
        settings: where everything is kept.
        node: the name of the Node object.
        backoff_base: first back-off of a container that ended, in seconds.

    Attributes:
        commons: what its pods share; whoever has something to tell all pods says it there.
    """

    def __init__(
        self, registry: Registry, settings: Settings, *, node: str, backoff_base: float = states.BACKOFF_BASE
    ) -> None:
        self.commons = Commons(registry, settings, node=node, backoff_base=backoff_base)
        self.commons.made = self._made
        self._workers: dict[str, PodWorker] = {}
        self._packages = Packages(self.commons.images)
        self._unsubscribe: Callable[[], None] = lambda: None
        self._stopped = False

    # -- life ----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Register the node, adopt what runs, end what nobody owns, then follow the registry."""
        sys.setswitchinterval(SWITCH_INTERVAL)
        commons = self.commons
        await commons.open()
        registration.register(commons)
        pods = [pod for pod in commons.registry.view.list(kinds.POD) if self._is_ours(pod)]
        await self._sweep({str(meta(pod)["uid"]) for pod in pods})
        for pod in pods:
            commons.book.restore(pod)
        commons.book.settle()
        for pod in pods:
            await self._adopt(pod)
        claims.adopt(commons)
        self._unsubscribe = commons.registry.subscribe(self._changed)
        commons.spawn(registration.renew(commons))

    async def stop(self) -> None:
        """Let go of everything; pods go on, their supervisors outlive us."""
        self._stopped = True
        self._unsubscribe()
        for worker in self._workers.values():
            worker.stop_following()
        await self.commons.close()

    async def drain(self) -> None:
        """End every pod's processes, gracefully, without deleting an object; what has not begun waits for the next."""
        self.commons.draining = True
        workers = [worker for worker in self._workers.values() if worker.begun]
        for worker in workers:
            worker.end_for_good()
        while any(worker.alive for worker in workers):  # noqa: ASYNC110  many processes
            await asyncio.sleep(0.02)
        for worker in workers:
            worker.look()

    # -- pods ----------------------------------------------------------------------------------------------------------

    def _is_ours(self, pod: Obj) -> bool:
        return bool((pod.get("spec") or {}).get("nodeName") == self.commons.node)

    async def _sweep(self, known: set[str]) -> None:
        """End and delete what belongs to pods that are not in the API any more."""
        for folder in [p for p in self.commons.pods_dir.iterdir() if p.name not in known]:
            await self.commons.in_thread(end_unowned, folder)

    async def _adopt(self, pod: Obj) -> None:
        folder = self.commons.pods_dir / str(meta(pod)["uid"])
        if (
            is_final(pod)
            and not meta(pod).get("deletionTimestamp")
            and not await self.commons.in_thread(unfinished, folder)
        ):
            return
        worker = PodWorker(self.commons, pod)
        await self.commons.in_thread(worker.adopt)
        self._look_after(worker)

    def _changed(self, change: Change) -> None:
        """Called inside a write: note it and leave the work to the loop."""
        kind, obj = change.kind, change.obj
        if kind == kinds.POD:
            self._pod_changed(change)
        elif kind == kinds.SERVICE:
            self.commons.services_changed.set()
            self.commons.services_changed = asyncio.Event()
        elif kind in (kinds.CONFIG_MAP, kinds.SECRET, kinds.PERSISTENT_VOLUME_CLAIM):
            if kind == kinds.PERSISTENT_VOLUME_CLAIM:
                self.commons.loop.call_soon(claims.follow, self.commons, change)
            for worker in self._workers.values():
                if worker.waits_for_config and worker.namespace == meta(obj).get("namespace"):
                    self.commons.loop.call_soon(worker.retry_now)

    def _pod_changed(self, change: Change) -> None:
        uid = str(meta(change.obj).get("uid"))
        worker = self._workers.get(uid)
        if worker:
            worker.wake()
            return
        if change.type == "DELETED":
            self.commons.book.release(uid)
        if not self._is_ours(change.obj):
            return
        if change.type == "DELETED":
            self.commons.loop.call_soon(self.commons.reclaim, self.commons.pods_dir / uid)
        elif not is_final(change.obj) and not self._stopped:
            self.commons.address_of(change.obj)
            self._look_after(PodWorker(self.commons, change.obj))

    def _look_after(self, worker: PodWorker) -> None:
        async def work() -> None:
            await worker.run()
            self._forget(worker)

        self._workers[worker.uid] = worker
        self.commons.spawn(work())

    def _forget(self, worker: PodWorker) -> None:
        """A worker is done: its pod has ended, or is gone."""
        self._workers.pop(worker.uid, None)
        self.commons.book.release(worker.uid)
        self.commons.devices.free(worker.uid)

    def _made(self) -> None:
        for worker in self._workers.values():
            worker.retry_pulls()

    # -- what is asked of the node -------------------------------------------------------------------------------------

    def address(self, namespace: str, pod: str, port: int) -> tuple[str, int]:
        """Where a pod's declared port really listens.

        Raises:
            NotFoundError: there is no such pod.
        """
        found = self.commons.address_of(self.commons.registry.get(kinds.POD, namespace, pod))
        return found.ip, found.port(port)

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str = "",
        *,
        follow: bool = False,
        previous: bool = False,
        tail_lines: int | None = None,
        since_seconds: float | None = None,
        since_time: str | None = None,
        timestamps: bool = False,
        limit_bytes: int | None = None,
    ) -> AsyncIterator[bytes]:
        """A container's log, in pieces.

        Raises:
            ApiError: before anything is read, with a kubelet's words: no such pod or container, or nothing to read yet.
        """
        obj = self.commons.registry.get(kinds.POD, namespace, pod)
        name = asked.container_name(obj, container)
        since = parse_time(since_time) if since_time else None
        if since_seconds is not None:
            since = time.time() - since_seconds
        wanted = logs.Wanted(follow, tail_lines, since, timestamps, limit_bytes)
        if not (obj.get("spec") or {}).get("nodeName"):
            return asked.nothing()
        path, ended = self._log_of(obj, name, previous=previous)
        return logs.read(path, wanted, ended)

    async def packages(self, image: str) -> dict[str, str]:
        """The Python packages of what an image stands for.

        Raises:
            ApiError: its environment cannot be asked; the message says why.
        """
        try:
            return await self._packages.of(image)
        except ImageError as error:
            raise ApiError(error.message, code=500, reason="InternalError") from error

    async def exec(
        self, namespace: str, pod: str, container: str, argv: list[str], *, stdin: bool
    ) -> asyncio.subprocess.Process:
        """A command in a running container's environment and working directory; it ends with the container.

        Raises:
            ApiError: with a server's words: no such pod, container or program, or it does not run.
        """
        obj = self.commons.registry.get(kinds.POD, namespace, pod)
        name = asked.container_name(obj, container)
        if is_final(obj):
            phase = obj["status"]["phase"]
            raise asked.bad_request(f"cannot exec into a container in a completed pod; current phase is {phase}")
        worker = self._workers.get(str(meta(obj)["uid"]))
        process = await worker.exec(name, argv, stdin=stdin) if worker else None
        if process is None:
            raise ApiError(f'container not found ("{name}")', code=500, reason="InternalError")
        return process

    async def end_command(self, process: asyncio.subprocess.Process) -> None:
        """End a command that ``exec`` began, and all that it started."""
        await end_beside(process)

    def _log_of(self, pod: Obj, container: str, *, previous: bool) -> tuple[Path, Callable[[], bool]]:
        worker = self._workers.get(str(meta(pod)["uid"]))
        place = self.commons.pods_dir / str(meta(pod)["uid"]) / "containers" / container
        runs = [p for p in place.iterdir() if (p / "run.json").exists()] if place.is_dir() else []
        runs.sort(key=lambda p: int(p.name))
        name = meta(pod).get("name")
        if previous:
            if len(runs) < 2:  # noqa: PLR2004  the one before the newest
                raise asked.bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
            return runs[-2] / "log", lambda: True
        if not runs:
            why = asked.why_waiting(pod, container)
            raise asked.bad_request(f'container "{container}" in pod "{name}" is waiting to start: {why}')
        newest = runs[-1]
        slot = worker.slots.get(container) if worker else None
        attempt: Attempt | None = next((a for a in slot.attempts if a.folder == newest), None) if slot else None
        if attempt is None:
            return newest / "log", lambda: True
        return newest / "log", lambda: attempt.exit is not None
