"""The node: registers itself, takes up what ran before, and gives each bound pod a worker.

Owns the Node object and its lease, the addresses and ports given out, the folders of claims, and the answers to
`logs` and `address`. Refuses to decide where pods run (the scheduler does) and what happens to one (its worker does).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from jupyterlab_kf import kinds, names
from jupyterlab_kf.controllers import Emit
from jupyterlab_kf.embedded import addresses, volumes
from jupyterlab_kf.embedded.addresses import Directory, Endpoint
from jupyterlab_kf.embedded.apiserver.options import MERGE_PATCH
from jupyterlab_kf.embedded.images import Environment, ImageError, Images, Recipe
from jupyterlab_kf.embedded.kubelet import asked, listening, logs, machine, ports, states
from jupyterlab_kf.embedded.kubelet.contents import Packages
from jupyterlab_kf.embedded.kubelet.devices import Devices
from jupyterlab_kf.embedded.kubelet.environment import Sources
from jupyterlab_kf.embedded.kubelet.fields import unsupported
from jupyterlab_kf.embedded.kubelet.folders import end_unowned, unfinished
from jupyterlab_kf.embedded.kubelet.makers import Makers
from jupyterlab_kf.embedded.kubelet.ports import JOB_LABEL
from jupyterlab_kf.embedded.kubelet.processes import Attempt, compile_supervisor, end_beside
from jupyterlab_kf.embedded.kubelet.specs import Guide, Plan, host_name
from jupyterlab_kf.embedded.kubelet.whereabouts import Whereabouts
from jupyterlab_kf.embedded.kubelet.worker import PodWorker
from jupyterlab_kf.embedded.registry import Registry
from jupyterlab_kf.embedded.store import Change
from jupyterlab_kf.errors import AlreadyExistsError, ApiError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, Ref, format_micro_time, labels, meta, parse_time
from jupyterlab_kf.settings import Settings

LEASE_NAMESPACE: Final = "kube-node-lease"
LEASE_SECONDS: Final = 40.0
SWITCH_INTERVAL: Final = 0.0005
"""How long one of the node's threads may keep the event loop from going on after a write; Python's own is 5 ms."""
SHARED_ADDRESS: Final = f"{names.DOMAIN}/shared-address"
_VOLUME_KEYS: Final = {
    "ConfigMap": "configMap",
    "Secret": "secret",
    "PersistentVolumeClaim": "persistentVolumeClaim",
}
T = TypeVar("T")
log = logging.getLogger("jupyterlab_kf.embedded.kubelet")


class Kubelet:
    """The node of the embedded cluster.

    Args:
        registry: the API server's rules, in process.
        settings: where everything is kept.
        node: the name of the Node object.
        backoff_base: first back-off of a container that ended, in seconds.
        api_address: host and port of the API server, told to pods; may be set later.

    Attributes:
        turn: held by the worker whose look it is, so that a hundred of them leave room for requests in between.
        starts: bounds how many containers are being started at once.
        whereabouts: files that say where Services lead.
        devices: which container has which GPU.
        draining: nothing is started any more.
        hold: seconds for which a pod that is to end should go on, asked again when they are over.
        guide: what a pod is told beside what its manifest says.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        *,
        node: str,
        backoff_base: float = states.BACKOFF_BASE,
        api_address: tuple[str, int] | None = None,
    ) -> None:
        self.registry = registry
        self.settings = settings
        self.node = node
        self.backoff_base = backoff_base
        self.api_address = api_address
        self.host_ip = addresses.LOOPBACK
        self.pods_dir = settings.cluster_dir / "pods"
        self.claims_dir = settings.cluster_dir / "volumes"
        self.images = Images(settings)
        self.shared_address = settings.shared_address or not ports.has_address("127.1.1.1")
        self.book = ports.Book(
            settings.cluster_dir,
            shared=self.shared_address,
            headless=self._headless,
            free=ports.is_free,
            told=lambda pod: listening.told(pod, self.images.resolve),
        )
        self.loop: asyncio.AbstractEventLoop
        self.supervisor: Path
        self.services_changed = asyncio.Event()
        self.devices = Devices(machine.gpus())
        self.turn = asyncio.Lock()
        self.starts = asyncio.Semaphore(machine.processors() + 1)
        self.whereabouts = Whereabouts(registry, settings.cluster_dir / "services")
        self._workers: dict[str, PodWorker] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._threads = ThreadPoolExecutor(4, "kubelet")
        self._makers = Makers(self.images)
        self._packages = Packages(self.images)
        self._unsubscribe: Callable[[], None] = lambda: None
        self.draining = False
        self.hold: Callable[[Obj], float] = lambda _pod: 0.0
        self.guide: Callable[[Obj], Guide] = lambda _pod: Guide()
        self._stopped = False

    # -- life ----------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Register the node, adopt what runs, end what nobody owns, then follow the registry."""
        self.loop = asyncio.get_running_loop()
        sys.setswitchinterval(SWITCH_INTERVAL)
        self.services_changed = asyncio.Event()
        for folder in (self.pods_dir, self.claims_dir):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.supervisor = await self.in_thread(compile_supervisor, self.settings.cluster_dir / "bin")
        await self.in_thread(self.images.resolve, "")  # reads the tables, so that the first pod need not wait
        self._register()
        self.whereabouts.start()
        pods = [pod for pod in self.registry.view.list(kinds.POD) if self._is_ours(pod)]
        await self._sweep({str(meta(pod)["uid"]) for pod in pods})
        for pod in pods:
            self.book.restore(pod)
        self.book.settle()
        for pod in pods:
            await self._adopt(pod)
        for claim in self.registry.view.list(kinds.PERSISTENT_VOLUME_CLAIM):
            self._bind_claim(claim)
        self._unsubscribe = self.registry.subscribe(self._changed)
        self.spawn(self._renew())

    async def stop(self) -> None:
        """Let go of everything; pods go on, their supervisors outlive us."""
        self._stopped = True
        self._unsubscribe()
        self.whereabouts.stop()
        for worker in self._workers.values():
            worker.stop_following()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        self._makers.stop()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=True)

    async def drain(self) -> None:
        """End every pod's processes, gracefully, without deleting an object; what has not begun waits for the next."""
        self.draining = True
        workers = [worker for worker in self._workers.values() if worker.begun]
        for worker in workers:
            worker.end_for_good()
        while any(worker.alive for worker in workers):  # noqa: ASYNC110  many processes
            await asyncio.sleep(0.02)
        for worker in workers:
            worker.look()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """A task of the node."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self.report)
        return task

    @staticmethod
    def report(task: asyncio.Task[Any]) -> None:
        """A task must not fail unseen."""
        if not task.cancelled() and (error := task.exception()):
            log.error("a task of the node failed", exc_info=error)

    async def in_thread(self, work: Callable[..., T], *args: Any) -> T:
        """Blocking work, off the event loop."""
        return await self.loop.run_in_executor(self._threads, work, *args)

    # -- the Node object -----------------------------------------------------------------------------------------------

    def _register(self) -> None:
        now = time.time()
        have = self.registry.view.get(kinds.NODE, "", self.node)
        if have is None:
            metadata: Obj = {"name": self.node, "labels": machine.node_labels(self.node)}
            node = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}}
            with contextlib.suppress(AlreadyExistsError):
                have = self.registry.create(kinds.NODE, node)
        have = self.registry.get(kinds.NODE, "", self.node)
        said = {names.ANNOTATION_TELLS_PACKAGES: "true"}
        if self.shared_address:
            said[SHARED_ADDRESS] = "pods share 127.0.0.1; their ports are given out"
        known = meta(have).get("annotations") or {}
        if known | said != known:
            head = {**meta(have), "annotations": {**known, **said}}
            have = self.registry.update(kinds.NODE, {**have, "metadata": head})
        status = machine.node_status(self.node, self.settings.cluster_dir, now, have.get("status") or {})
        self.registry.update(kinds.NODE, {**have, "status": status}, subresource="status")
        self._renew_lease(now)

    def _renew_lease(self, now: float) -> None:
        spec = {
            "holderIdentity": self.node,
            "leaseDurationSeconds": int(LEASE_SECONDS * 3),
            "renewTime": format_micro_time(now),
        }
        have = self.registry.view.get(kinds.LEASE, LEASE_NAMESPACE, self.node)
        if have is None:
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self.node}}
            self.registry.create(kinds.LEASE, {**lease, "spec": spec}, namespace=LEASE_NAMESPACE)
        else:
            self.registry.update(kinds.LEASE, {**have, "spec": spec})

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE_SECONDS)
            self._renew_lease(time.time())

    def _is_ours(self, pod: Obj) -> bool:
        return bool((pod.get("spec") or {}).get("nodeName") == self.node)

    # -- pods ----------------------------------------------------------------------------------------------------------

    async def _sweep(self, known: set[str]) -> None:
        """End and delete what belongs to pods that are not in the API any more."""
        for folder in [p for p in self.pods_dir.iterdir() if p.name not in known]:
            await self.in_thread(end_unowned, folder)

    async def _adopt(self, pod: Obj) -> None:
        folder = self.pods_dir / str(meta(pod)["uid"])
        if _is_final(pod) and not meta(pod).get("deletionTimestamp") and not await self.in_thread(unfinished, folder):
            return
        worker = PodWorker(self, pod)
        await self.in_thread(worker.adopt)
        self._workers[worker.uid] = worker
        self.spawn(worker.run())

    def _changed(self, change: Change) -> None:
        """Called inside a write: note it and leave the work to the loop."""
        kind, obj = change.kind, change.obj
        if kind == kinds.POD:
            self._pod_changed(change)
        elif kind == kinds.SERVICE:
            self.services_changed.set()
            self.services_changed = asyncio.Event()
        elif kind in (kinds.CONFIG_MAP, kinds.SECRET, kinds.PERSISTENT_VOLUME_CLAIM):
            if kind == kinds.PERSISTENT_VOLUME_CLAIM:
                self.loop.call_soon(self._claim_changed, change)
            for worker in self._workers.values():
                if worker.waits_for_config and worker.namespace == meta(obj).get("namespace"):
                    self.loop.call_soon(worker.retry_now)

    def _pod_changed(self, change: Change) -> None:
        uid = str(meta(change.obj).get("uid"))
        worker = self._workers.get(uid)
        if worker:
            worker.wake()
            return
        if change.type == "DELETED":
            self.book.release(uid)
        if not self._is_ours(change.obj):
            return
        if change.type == "DELETED":
            self.loop.call_soon(self._reclaim_pod, uid)
        elif not _is_final(change.obj) and not self._stopped:
            self.address_of(change.obj)
            worker = PodWorker(self, change.obj)
            self._workers[uid] = worker
            self.spawn(worker.run())

    def _reclaim_pod(self, uid: str) -> None:
        async def reclaim() -> None:
            await self.in_thread(volumes.reclaim, self.pods_dir / uid)

        self.spawn(reclaim())

    def forget(self, worker: PodWorker) -> None:
        """A worker is done: its pod has ended, or is gone."""
        self._workers.pop(worker.uid, None)
        self.book.release(worker.uid)
        self.devices.free(worker.uid)

    def event(self, pod: Obj, level: str, reason: str, message: str) -> None:
        """Record an event about a pod."""
        about = Ref("Pod", str(meta(pod)["name"]), str(meta(pod)["namespace"]), str(meta(pod)["uid"]))
        self.registry.record(Emit(about, "v1", level, reason, message, "kubelet"))

    def unsupported(self, pod: Obj) -> list[tuple[str, str]]:
        """Reason and message for every field that this node cannot honour."""
        return unsupported(pod, machine.processors())

    # -- addresses -----------------------------------------------------------------------------------------------------

    def address_of(self, pod: Obj) -> Endpoint:
        """The pod's address and its ports that are elsewhere than declared; given out when first asked for."""
        return self.book.of(pod)

    def _tell_address(self, pod: Obj, asked_by: str) -> Endpoint:
        """The address, for a process of another pod: what it is told is on the object before, for the next daemon."""
        found = self.book.of(pod, asked_by=asked_by)
        if (moved := ports.moved(found)) and not _is_final(pod):
            self.annotate(pod, {names.ANNOTATION_PORTS: json.dumps(moved)})
        return found

    def annotate(self, pod: Obj, wanted: Mapping[str, str]) -> Obj:
        """Say on the object what this node decided about it."""
        have = meta(pod).get("annotations") or {}
        missing = {key: value for key, value in wanted.items() if have.get(key) != value}
        if missing:
            namespace, name = str(meta(pod)["namespace"]), str(meta(pod)["name"])
            with contextlib.suppress(ApiError):
                return self.registry.patch(
                    kinds.POD, namespace, name, {"metadata": {"annotations": missing}}, MERGE_PATCH
                )
        return pod

    def _headless(self, pod: Obj) -> bool:
        """Whether a headless Service has a pod."""
        services = self.registry.view.list(kinds.SERVICE, str(meta(pod).get("namespace")))
        return any(addresses.is_headless(s) and addresses.backends(s, [pod]) for s in services)

    def serves(self, pod: Obj) -> bool:
        """Whether a Service with an address of its own sends requests to the pod."""
        services = self.registry.view.list(kinds.SERVICE, str(meta(pod).get("namespace")))
        return addresses.is_ready(pod) and any(
            addresses.backends(service, [pod]) for service in services if not addresses.is_headless(service)
        )

    def resolver(self, pod: Obj) -> Directory:
        """What host names mean to this pod."""
        extra = dict(self.guide(pod).hosts)
        if self.api_address:
            api = Endpoint(self.api_address[0], {443: self.api_address[1]})
            extra |= {f"kubernetes.default{rest}": api for rest in ("", ".svc", ".svc.cluster.local")}
        return Directory(
            namespace=str(meta(pod)["namespace"]),
            service=lambda namespace, name: self.registry.view.get(kinds.SERVICE, namespace, name),
            pods=lambda namespace: self.registry.view.list(kinds.POD, namespace),
            endpoint=lambda other: self._tell_address(other, str(meta(pod)["uid"])),
            extra=extra,
        )

    def missing_services(self, pod: Obj) -> bool:
        """Whether a replica of the pod's job that listens has no Service yet, so that its name means nothing."""
        job = labels(pod).get(JOB_LABEL)
        if not job:
            return False
        namespace = str(meta(pod)["namespace"])
        peers = [p for p in self.registry.view.list(kinds.POD, namespace) if labels(p).get(JOB_LABEL) == job]
        return any(
            ports.declared(peer) and self.registry.view.get(kinds.SERVICE, namespace, str(meta(peer)["name"])) is None
            for peer in peers
        )

    def annotations_of(self, pod: Obj, environments: Iterable[Environment]) -> dict[str, str]:
        """What this node says on the object."""
        result = {}
        if moved := ports.moved(self.address_of(pod)):
            result[names.ANNOTATION_PORTS] = json.dumps(moved)
        prefixes = dict.fromkeys(str(e.prefix) for e in environments if not e.nothing)
        if prefixes:
            result[names.ANNOTATION_ENVIRONMENT] = ",".join(prefixes)
        return result

    def address(self, namespace: str, pod: str, port: int) -> tuple[str, int]:
        """Where a pod's declared port really listens.

        Raises:
            NotFoundError: there is no such pod.
        """
        found = self.address_of(self.registry.get(kinds.POD, namespace, pod))
        return found.ip, found.port(port)

    # -- what containers are made of -----------------------------------------------------------------------------------

    def sources(self, pod: Obj) -> Sources:
        """Where environment values come from."""
        namespace = str(meta(pod)["namespace"])

        def secret(name: str) -> Obj | None:
            found = self.registry.view.get(kinds.SECRET, namespace, name)
            return found and {**found, "data": {k: _text(v) for k, v in (found.get("data") or {}).items()}}

        node = self.registry.view.get(kinds.NODE, "", self.node) or {}
        return Sources(
            config_map=lambda name: self.registry.view.get(kinds.CONFIG_MAP, namespace, name),
            secret=secret,
            allocatable=(node.get("status") or {}).get("allocatable") or {},
            host_ip=self.host_ip,
            pod_ip=self.address_of(pod).ip,
        )

    async def plan(self, pod: Obj, folder: Path) -> Plan:
        """Folders and volumes of a pod.

        Raises:
            MountError: a volume cannot be set up.
        """
        cluster = self._cluster_for(pod)
        laid = await self.in_thread(volumes.lay_out, pod, folder / "volumes", cluster)
        return Plan(folder, self.address_of(pod), laid)

    def _cluster_for(self, pod: Obj) -> volumes.Cluster:
        """Everything that the pod's volumes refer to, looked up now: threads do not read the store."""
        namespace = str(meta(pod)["namespace"])
        view = self.registry.view
        config_maps = {str(meta(o)["name"]): o for o in self._referred(pod, kinds.CONFIG_MAP)}
        secrets = {str(meta(o)["name"]): o for o in self._referred(pod, kinds.SECRET)}
        claims = self._referred(pod, kinds.PERSISTENT_VOLUME_CLAIM)
        folders = {str(meta(o)["name"]): self._claim_folder(o) for o in claims}
        hosts: set[str] = set()
        if any("hostfile" in (o.get("data") or {}) for o in config_maps.values()):
            pods = view.list(kinds.POD, namespace)
            hosts = {str(meta(o)["name"]) for o in pods} | {host_name(o) for o in pods}
        return volumes.Cluster(
            sources=self.sources(pod),
            config_map=config_maps.get,
            secret=secrets.get,
            claim=folders.get,
            known_host=lambda host: host.partition(".")[0] in hosts,
            token=self._token,
        )

    def _token(self) -> str:
        """What the API server knows this machine's owner by; its own file is read, as it may be made anew."""
        try:
            return (self.settings.cluster_dir / "token").read_text().strip()
        except FileNotFoundError:
            return ""

    def _referred(self, pod: Obj, kind: Kind) -> list[Obj]:
        namespace = str(meta(pod)["namespace"])
        wanted: set[str] = set()
        for volume in (pod.get("spec") or {}).get("volumes") or ():
            for part in [volume, *((volume.get("projected") or {}).get("sources") or ())]:
                source = part.get(_VOLUME_KEYS[kind.kind])
                if source:
                    wanted.add(str(source.get("secretName") or source.get("claimName") or source.get("name") or ""))
        found = (self.registry.view.get(kind, namespace, name) for name in sorted(wanted))
        return [obj for obj in found if obj is not None]

    async def make(self, recipe: Recipe, waiting: Callable[[], None]) -> Environment:
        """The environment of a recipe; ``waiting`` is called if another process makes it.

        Raises:
            ImageError: it cannot be made.
        """
        made = await self._makers.make(recipe, waiting)
        for worker in self._workers.values():
            worker.retry_pulls()
        return made

    # -- claims --------------------------------------------------------------------------------------------------------

    def _claim_folder(self, claim: Obj) -> Path:
        return self.claims_dir / f"pvc-{meta(claim)['uid']}"

    def _claim_changed(self, change: Change) -> None:
        if change.type == "DELETED":
            folder = self._claim_folder(change.obj)

            async def reclaim() -> None:
                await self.in_thread(volumes.reclaim, folder)

            self.spawn(reclaim())
        else:
            self._bind_claim(change.obj)

    def _bind_claim(self, claim: Obj) -> None:
        """Every claim gets a folder at once, as from a dynamic provisioner."""
        live = self.registry.view.get(
            kinds.PERSISTENT_VOLUME_CLAIM, str(meta(claim)["namespace"]), str(meta(claim)["name"])
        )
        if live is None or (live.get("status") or {}).get("phase") == "Bound":
            return
        folder = self._claim_folder(live)
        folder.mkdir(parents=True, exist_ok=True)
        spec = live.get("spec") or {}
        size = ((spec.get("resources") or {}).get("requests") or {}).get("storage", "0")
        status = {"phase": "Bound", "accessModes": spec.get("accessModes") or [], "capacity": {"storage": size}}
        try:
            live = self.registry.update(
                kinds.PERSISTENT_VOLUME_CLAIM, {**live, "spec": {**spec, "volumeName": folder.name}}
            )
            self.registry.update(kinds.PERSISTENT_VOLUME_CLAIM, {**live, "status": status}, subresource="status")
        except ApiError as error:
            log.warning("the claim %s could not be bound: %s", meta(claim).get("name"), error)
            return
        about = Ref.of({**live, "kind": "PersistentVolumeClaim"})
        message = f"Successfully provisioned volume {folder.name}: it is the folder {folder}"
        self.registry.record(Emit(about, "v1", "Normal", "ProvisioningSucceeded", message, "kubelet"))

    # -- logs ----------------------------------------------------------------------------------------------------------

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
        obj = self.registry.get(kinds.POD, namespace, pod)
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
        obj = self.registry.get(kinds.POD, namespace, pod)
        name = asked.container_name(obj, container)
        if _is_final(obj):
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
        place = self.pods_dir / str(meta(pod)["uid"]) / "containers" / container
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


# ---------------------------------------------------------------------------------------------------------------------


def _is_final(pod: Obj) -> bool:
    return (pod.get("status") or {}).get("phase") in states.FINAL


def _text(value: str) -> str:
    return base64.b64decode(value).decode(errors="surrogateescape")
