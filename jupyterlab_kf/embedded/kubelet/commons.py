"""What the pods of one node share: the registry, addresses and ports, devices, folders, environments, and turns.

Owns what a worker needs to know or do that is not about its pod alone: where a pod listens and what host names mean to
it, where environment values and volumes come from, which Python environment an image stands for, and the words of the
node about a pod. Refuses to know which pods there are (`node` does) and what happens to one (its worker does).
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from jupyterlab_kf import kinds, names
from jupyterlab_kf.controllers import Emit
from jupyterlab_kf.embedded import addresses, volumes
from jupyterlab_kf.embedded.addresses import Directory, Endpoint
from jupyterlab_kf.embedded.apiserver.options import MERGE_PATCH
from jupyterlab_kf.embedded.images import Environment, Images, Recipe
from jupyterlab_kf.embedded.kubelet import listening, machine, ports, states
from jupyterlab_kf.embedded.kubelet.devices import Devices
from jupyterlab_kf.embedded.kubelet.environment import Sources
from jupyterlab_kf.embedded.kubelet.fields import unsupported
from jupyterlab_kf.embedded.kubelet.makers import Makers
from jupyterlab_kf.embedded.kubelet.ports import JOB_LABEL
from jupyterlab_kf.embedded.kubelet.processes import compile_supervisor
from jupyterlab_kf.embedded.kubelet.specs import Guide, Plan, host_name
from jupyterlab_kf.embedded.kubelet.whereabouts import Whereabouts
from jupyterlab_kf.embedded.registry import Registry
from jupyterlab_kf.errors import ApiError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, Ref, labels, meta
from jupyterlab_kf.settings import Settings

_VOLUME_KEYS: Final = {
    "ConfigMap": "configMap",
    "Secret": "secret",
    "PersistentVolumeClaim": "persistentVolumeClaim",
}
T = TypeVar("T")
log = logging.getLogger("jupyterlab_kf.embedded.kubelet")


class Commons:
    """What pods have in common.

    Args:
        registry: the API server's rules, in process.
        settings: where everything is kept.
        node: the name of the Node object.
        backoff_base: first back-off of a container that ended, in seconds.

    Attributes:
        api_address: host and port of the API server, told to pods once there is one.
        turn: held by the worker whose look it is, so that a hundred of them leave room for requests in between.
        starts: bounds how many containers are being started at once.
        whereabouts: files that say where Services lead.
        devices: which container has which GPU.
        draining: nothing is started any more.
        hold: seconds for which a pod that is to end should go on, asked again when they are over.
        guide: what a pod is told beside what its manifest says.
        made: is called when an environment was made, so that whoever waits to try again need not.
    """

    def __init__(self, registry: Registry, settings: Settings, *, node: str, backoff_base: float) -> None:
        self.registry = registry
        self.settings = settings
        self.node = node
        self.backoff_base = backoff_base
        self.api_address: tuple[str, int] | None = None
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
        self.draining = False
        self.hold: Callable[[Obj], float] = lambda _pod: 0.0
        self.guide: Callable[[Obj], Guide] = lambda _pod: Guide()
        self.made: Callable[[], None] = lambda: None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._threads = ThreadPoolExecutor(4, "kubelet")
        self._makers = Makers(self.images)

    async def open(self) -> None:
        """Have what every pod needs: folders, the supervisor's program, and the table of images read."""
        self.loop = asyncio.get_running_loop()
        self.services_changed = asyncio.Event()
        for folder in (self.pods_dir, self.claims_dir):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.supervisor = await self.in_thread(compile_supervisor, self.settings.cluster_dir / "bin")
        await self.in_thread(self.images.resolve, "")  # reads the tables, so that the first pod need not wait
        self.whereabouts.start()

    async def close(self) -> None:
        """End the tasks and what is being made."""
        self.whereabouts.stop()
        tasks = [*self._tasks]
        for task in tasks:
            task.cancel()
        self._makers.stop()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._threads.shutdown(wait=True)

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

    def reclaim(self, folder: Path) -> None:
        """Delete the folder of what is gone, beside everything else."""

        async def work() -> None:
            await self.in_thread(volumes.reclaim, folder)

        self.spawn(work())

    # -- words about a pod ---------------------------------------------------------------------------------------------

    def event(self, pod: Obj, level: str, reason: str, message: str) -> None:
        """Record an event about a pod."""
        about = Ref("Pod", str(meta(pod)["name"]), str(meta(pod)["namespace"]), str(meta(pod)["uid"]))
        self.registry.record(Emit(about, "v1", level, reason, message, "kubelet"))

    def unsupported(self, pod: Obj) -> list[tuple[str, str]]:
        """Reason and message for every field that this node cannot honour."""
        return unsupported(pod, machine.processors())

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

    def annotations_of(self, pod: Obj, environments: Iterable[Environment]) -> dict[str, str]:
        """What this node says on the object."""
        result = {}
        if moved := ports.moved(self.address_of(pod)):
            result[names.ANNOTATION_PORTS] = json.dumps(moved)
        prefixes = dict.fromkeys(str(e.prefix) for e in environments if not e.nothing)
        if prefixes:
            result[names.ANNOTATION_ENVIRONMENT] = ",".join(prefixes)
        return result

    # -- addresses -----------------------------------------------------------------------------------------------------

    def address_of(self, pod: Obj) -> Endpoint:
        """The pod's address and its ports that are elsewhere than declared; given out when first asked for."""
        return self.book.of(pod)

    def _tell_address(self, pod: Obj, asked_by: str) -> Endpoint:
        """The address, for a process of another pod: what it is told is on the object before, for the next daemon."""
        found = self.book.of(pod, asked_by=asked_by)
        if (moved := ports.moved(found)) and not is_final(pod):
            self.annotate(pod, {names.ANNOTATION_PORTS: json.dumps(moved)})
        return found

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
        folders = {str(meta(o)["name"]): self.claim_folder(o) for o in claims}
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
        self.made()
        return made

    def claim_folder(self, claim: Obj) -> Path:
        """The folder that stands for a claim."""
        return self.claims_dir / f"pvc-{meta(claim)['uid']}"


def is_final(pod: Obj) -> bool:
    """Whether a pod has ended."""
    return (pod.get("status") or {}).get("phase") in states.FINAL


def _text(value: str) -> str:
    return base64.b64decode(value).decode(errors="surrogateescape")
