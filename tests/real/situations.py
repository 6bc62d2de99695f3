"""Jobs that cannot run, each for a reason of its own, and how it is brought about on any cluster that has it.

A situation is played through the API alone, so that it can be played to the embedded cluster and to a real one: to
record what they show (``record_explain.py``), and to see that they get the same explanation. ``needs`` says where it
can happen: ``any`` (simulated nodes will do), ``real`` (a real control plane), ``node`` (a node that runs processes),
``real-node`` (a real kubelet) or ``embedded``.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster import connection
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import NotFoundError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import frameworks, pods, training
from jupyterlab_kf.model import Cause, Obj, meta
from jupyterlab_kf.services import pictures
from jupyterlab_kf.settings import load

PRIORITY = Kind("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", namespaced=False)
QUOTA = Kind("", "v1", "ResourceQuota", "resourcequotas")
PATIENCE = 75.0
NAME = "digits"


@dataclass(frozen=True)
class Situation:
    """What is created, and what is expected to be told.

    Attributes:
        change: changes the job's manifest (given a copy) before it is created.
        before: further objects, created first.
        around: an order to the real cluster while it plays: the component that is away.
        taint: the nodes have this taint while it plays.
        filler: a job that takes most of each machine is there first.
        runs: the reason comes when the job runs already.
        emptied: the cluster has no nodes while it plays.
        rival: that reason is a pod of a higher priority, which wants the same machine.
        said: that reason is what its node says of each of its pods: for the simulated nodes' kubelet, in whose stead
            it is written.
        blind: who looks may not see the cluster's machines.
    """

    name: str
    cause: Cause
    needs: str
    change: Callable[[Obj], None] = lambda _: None
    workers: int = 2
    cpu: str = "100m"
    memory: str = ""
    gpu: int = 0
    command: str = "import time; time.sleep(600)"
    before: tuple[tuple[Kind, Obj], ...] = ()
    around: str = ""
    taint: bool = False
    filler: bool = False
    framework: str = "pytorch"
    runs: bool = False
    emptied: bool = False
    rival: bool = False
    said: Obj = field(default_factory=dict)
    blind: bool = False
    labels: dict[str, str] = field(default_factory=dict)


def _specs(job: Obj) -> Iterator[Obj]:
    for template in training.templates(job).values():
        yield template["spec"]


def _in_pods(**values: Any) -> Callable[[Obj], None]:
    def change(job: Obj) -> None:
        for spec in _specs(job):
            spec.update(copy.deepcopy(values))

    return change


def _in_containers(**values: Any) -> Callable[[Obj], None]:
    def change(job: Obj) -> None:
        for spec in _specs(job):
            spec["containers"][0] |= copy.deepcopy(values)

    return change


def _policy(**values: Any) -> Callable[[Obj], None]:
    def change(job: Obj) -> None:
        job["spec"]["runPolicy"] |= values

    return change


def _with_volume(**source: Any) -> Callable[[Obj], None]:
    def change(job: Obj) -> None:
        for spec in _specs(job):
            spec.setdefault("volumes", []).append({"name": "data", **copy.deepcopy(source)})
            spec["containers"][0].setdefault("volumeMounts", []).append({"name": "data", "mountPath": "/data"})

    return change


def _restarting(job: Obj) -> None:
    for replica in job["spec"]["pytorchReplicaSpecs"].values():
        replica["restartPolicy"] = "OnFailure"
    job["spec"]["runPolicy"]["backoffLimit"] = 100


def _late(job: Obj) -> None:
    _restarting(job)
    job["spec"]["runPolicy"]["activeDeadlineSeconds"] = 8


def _two_launchers(job: Obj) -> None:
    job["spec"]["mpiReplicaSpecs"]["Launcher"]["replicas"] = 2


_CLAIM = {
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
_FAULT = "raise ValueError('the data has no labels')"
_HUNGRY = "hoard = []\nwhile True:\n    hoard.append(bytearray(16 << 20))"
_WRITES = "import time\nopen('/data/x', 'wb').write(b'x' * (20 << 20))\ntime.sleep(600)"

_SHUT_DOWN = {
    "phase": "Failed",
    "reason": "Terminated",
    "message": "Pod was terminated in response to imminent node shutdown.",
}
"""As kubelet 1.36 writes it (pkg/kubelet/nodeshutdown): said for it, since a kubelet learns of a shutdown from
systemd-logind alone, and the real node of the tests has none."""

SITUATIONS = (
    Situation("too-large-cpu", Cause.TOO_LARGE, "any", cpu="640"),
    Situation("too-large-memory", Cause.TOO_LARGE, "any", memory="64Ti"),
    Situation("too-large-gpu", Cause.TOO_LARGE, "any", gpu=64),
    Situation("busy", Cause.BUSY, "any", workers=1, filler=True),
    Situation("selector", Cause.NO_MACHINE_ACCEPTS, "any", _in_pods(nodeSelector={"team": "nobody"})),
    Situation("taint", Cause.NO_MACHINE_ACCEPTS, "any", taint=True),
    Situation("claim-missing", Cause.VOLUME_MISSING, "any", _with_volume(persistentVolumeClaim={"claimName": "data"})),
    Situation("suspended", Cause.SUSPENDED, "any", _policy(suspend=True)),
    Situation("gang", Cause.GANG_WAITING, "embedded", filler=True),
    Situation("gated", Cause.GANG_WAITING, "real", _in_pods(schedulingGates=[{"name": "example.com/queue"}])),
    Situation(
        "provisioning",
        Cause.VOLUME_PROVISIONING,
        "real",
        _with_volume(persistentVolumeClaim={"claimName": "data"}),
        before=((kinds.PERSISTENT_VOLUME_CLAIM, _CLAIM),),
    ),
    Situation(
        "quota-used-up",
        Cause.QUOTA,
        "real",
        before=((QUOTA, {"metadata": {"name": "team"}, "spec": {"hard": {"requests.cpu": "150m"}}}),),
    ),
    Situation(
        "quota-too-small",
        Cause.QUOTA,
        "real",
        before=((QUOTA, {"metadata": {"name": "team"}, "spec": {"hard": {"requests.cpu": "50m"}}}),),
    ),
    Situation(
        "pod-security",
        Cause.ADMISSION,
        "real",
        _in_containers(securityContext={"privileged": True}),
        labels={"pod-security.kubernetes.io/enforce": "restricted"},
    ),
    Situation("account-missing", Cause.ADMISSION, "real", _in_pods(serviceAccountName="nobody")),
    Situation("operator-absent", Cause.OPERATOR_ABSENT, "real", around="training-operator"),
    Situation("node-lost", Cause.NODE_LOST, "real", around="kwok", runs=True),
    Situation("insufficient", Cause.INSUFFICIENT, "real", workers=1, filler=True, blind=True),
    Situation("no-machines", Cause.UNSCHEDULABLE, "real", workers=1, emptied=True),
    Situation("invalid", Cause.INVALID, "real", _two_launchers, framework="mpi"),
    Situation("node-shutdown", Cause.NODE_SHUTDOWN, "real", workers=1, runs=True, said=_SHUT_DOWN),
    Situation("preempted", Cause.PREEMPTED, "real-node", workers=1, runs=True, rival=True),
    Situation(
        "volume-mount",
        Cause.VOLUME_MOUNT,
        "real-node",
        _with_volume(hostPath={"path": "/no/such/folder", "type": "Directory"}),
        workers=1,
    ),
    Situation("image", Cause.IMAGE_PULL, "real-node", _in_containers(image="registry.invalid/nobody/nothing:1")),
    Situation("config-missing", Cause.CONFIG_MISSING, "node", _with_volume(configMap={"name": "settings"})),
    Situation(
        "secret-missing",
        Cause.CONFIG_MISSING,
        "node",
        _in_containers(envFrom=[{"secretRef": {"name": "password"}}]),
    ),
    Situation("cannot-start", Cause.CANNOT_START, "node", _in_containers(command=["no-such-program"]), workers=1),
    Situation("out-of-memory", Cause.OUT_OF_MEMORY, "node", workers=1, memory="128Mi", command=_HUNGRY),
    Situation("crash-loop", Cause.CRASH_LOOP, "node", _restarting, workers=1, command="raise SystemExit(3)"),
    Situation("exit-code", Cause.EXIT_CODE, "node", workers=1, command="raise SystemExit(3)"),
    Situation("python-error", Cause.PYTHON_ERROR, "node", workers=1, command=_FAULT),
    Situation("deadline", Cause.DEADLINE, "node", _late, workers=1, command="import time; time.sleep(3); 1 / 0"),
    Situation(
        "evicted",
        Cause.EVICTED,
        "real-node",
        _with_volume(emptyDir={"sizeLimit": "1Mi"}),
        workers=1,
        command=_WRITES,
    ),
)


@contextmanager
def _no(_component: str) -> Iterator[None]:
    yield


def _nobody(_namespace: str) -> AbstractAsyncContextManager[Client]:
    raise NotImplementedError("everybody may see the machines of this cluster")


def client_of(kubeconfig: Path) -> Client:
    """Our client on the cluster of a kubeconfig."""
    options = load({"KUBECONFIG": str(kubeconfig)})
    return Client(connection.open_connection(connection.choose(options), options))


def _head_of(kind: Kind) -> Obj:
    return {"apiVersion": kind.api_version, "kind": kind.kind}


def _most_of(sizes: list[float]) -> str:
    """Six tenths of the largest machine: two such do not fit beside one another."""
    return f"{int(max(sizes) * 600)}m"


@dataclass
class Stage:
    """A cluster on which situations are played.

    Attributes:
        has: the values of ``needs`` that can happen here.
        without: takes a component away for a while.
        place: what pods need so as to come to the right nodes; merged into their specs.
        image: an image that runs the commands.
        viewer: a client with the rights of ``kf-viewer`` in a namespace.
    """

    client: Client
    has: frozenset[str]
    without: Callable[[str], Any] = _no
    place: Obj = field(default_factory=dict)
    image: str = "python:3"
    viewer: Callable[[str], AbstractAsyncContextManager[Client]] = _nobody

    @classmethod
    def at(cls, kubeconfig: Path, has: set[str], **more: Any) -> Stage:
        """The cluster of a kubeconfig."""
        return cls(client_of(kubeconfig), frozenset(has), **more)

    async def play(self, situation: Situation, namespace: str) -> pictures.Picture:
        """Bring a situation about and wait until it is explained as expected.

        Raises:
            TimeoutError: it is not; says what was told last.
        """
        if situation.labels:
            await self.client.patch(kinds.NAMESPACE, "", namespace, {"metadata": {"labels": situation.labels}})
        for kind, obj in situation.before:
            await self.client.create(
                kind, {**obj, "apiVersion": kind.api_version, "kind": kind.kind}, namespace=namespace
            )
        sizes = await self._sizes()
        if situation.runs:
            created = await self._create(situation, namespace, sizes)
            await self._until(created, lambda picture: all(one.phase == "Running" for one in picture.replicas), "run")
            with self.without(situation.around):
                await self._disturb(situation, namespace, sizes)
                return await self._explained(created, situation)
        taken = await self._take_nodes() if situation.emptied else []
        with self.without(situation.around):
            if situation.taint:
                await self._taint([{"key": "example.com/team", "value": "b", "effect": "NoSchedule"}])
            try:
                if situation.filler:
                    await self._create(situation, namespace, sizes, filler=True)
                created = await self._create(situation, namespace, sizes)
                return await self._explained(created, situation)
            finally:
                if situation.taint:
                    await self._taint([])
                for node in taken:
                    await self.client.create(kinds.NODE, node)

    async def _disturb(self, situation: Situation, namespace: str, sizes: list[float]) -> None:
        """What happens to a job that runs."""
        if situation.said:
            for pod in await self.client.list(kinds.POD, namespace):
                path = kinds.POD.path(namespace, str(meta(pod)["name"]), "status")
                kind = "application/merge-patch+json"
                await self.client.request("PATCH", path, body={"status": situation.said}, content_type=kind)
        if situation.rival:
            head = {"name": namespace}
            await self.client.create(PRIORITY, {**_head_of(PRIORITY), "metadata": head, "value": 1000})
            container = {"name": "rival", "image": self.image, "command": ["python3", "-c", situation.command]}
            container["resources"] = {"requests": {"cpu": _most_of(sizes)}}
            spec = {"priorityClassName": namespace, "containers": [container], **copy.deepcopy(self.place)}
            pod = {**_head_of(kinds.POD), "metadata": {"name": "rival"}, "spec": spec}
            await self.client.create(kinds.POD, pod, namespace=namespace)

    async def _take_nodes(self) -> list[Obj]:
        """Remove all nodes; answers what makes them again."""
        nodes = await self.client.list(kinds.NODE)
        for node in nodes:
            await self.client.delete(kinds.NODE, "", str(meta(node)["name"]))
        kept = ("name", "labels", "annotations")
        return [{**node, "metadata": {key: meta(node)[key] for key in kept if key in meta(node)}} for node in nodes]

    async def _sizes(self) -> list[float]:
        wanted = self.place.get("nodeSelector") or {}
        selector = ",".join(f"{key}={value}" for key, value in wanted.items())
        found = await self.client.list(kinds.NODE, selector=selector)
        return [float(pods.quantity(node["status"]["allocatable"]["cpu"], "cpu")) for node in found]

    async def _create(self, situation: Situation, namespace: str, sizes: list[float], *, filler: bool = False) -> Obj:
        name = "filler" if filler else NAME
        workers, cpu = situation.workers, situation.cpu
        if situation.filler:
            # Six tenths of a machine are taken; as much again, in one part or in two, does not fit beside it.
            cpu = _most_of(sizes) if filler or workers == 1 else f"{int(max(sizes) * 300)}m"
            workers = len(sizes) if filler else workers
        if situation.rival:
            cpu = _most_of(sizes)
        row = frameworks.framework(situation.framework)
        spec = training.TrainingSpec(
            name=name,
            namespace=namespace,
            framework=row,
            replicas=frameworks.layout(row, workers=workers),
            submission="0" * 12,
            image=self.image,
            resources=pods.resources(cpu, situation.memory or None, situation.gpu or None),
        )
        job = training.encode(spec)
        for pod in _specs(job):
            pod["volumes"], pod["containers"][0]["volumeMounts"] = [], []
            pod["containers"][0]["command"] = ["python3", "-c", situation.command]
            pod.update(copy.deepcopy(self.place))
        if not filler:
            situation.change(job)
        created = await self.client.create(row.kind, job)
        if filler:
            await self._until(created, lambda p: sum(bool(one.node) for one in p.replicas) >= len(sizes), "fill")
        return created

    async def _taint(self, taints: list[Obj]) -> None:
        for node in await self.client.list(kinds.NODE):
            await self.client.patch(kinds.NODE, "", str(meta(node)["name"]), {"spec": {"taints": taints}})

    async def _explained(self, job: Obj, situation: Situation) -> pictures.Picture:
        if situation.blind:
            async with self.viewer(str(meta(job)["namespace"])) as viewer:
                return await replace(self, client=viewer)._explained(job, replace(situation, blind=False))

        def told(picture: pictures.Picture) -> bool:
            why = picture.view().explanation
            return why is not None and why.cause is situation.cause

        return await self._until(job, told, f"explain {situation.name} as {situation.cause}")

    async def _until(self, job: Obj, true: Callable[[pictures.Picture], bool], what: str) -> pictures.Picture:
        kind = kinds.of(job["apiVersion"], job["kind"])
        end = time.monotonic() + PATIENCE
        while True:
            now = await self.client.get(kind, meta(job)["namespace"], meta(job)["name"])
            picture = await pictures.snapshot(self.client, now)
            if true(picture):
                return picture
            if time.monotonic() > end:
                view = picture.view()
                raise TimeoutError(f"did not {what}: {view.explanation}, {view.replicas}, {picture.events[-3:]}")
            await asyncio.sleep(0.3)

    async def namespace(self, name: str) -> str:
        """A namespace of its own for one situation."""
        obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await self.client.create(kinds.NAMESPACE, obj)
        async with asyncio.timeout(PATIENCE):
            while True:
                with contextlib.suppress(NotFoundError):
                    await self.client.get(kinds.SERVICE_ACCOUNT, name, "default")
                    return name
                await asyncio.sleep(0.1)

    async def drop(self, namespace: str) -> None:
        """Remove a namespace and what is in it."""
        for kind in (kinds.PYTORCH_JOB, kinds.MPI_JOB):
            for job in await self.client.list(kind, namespace):
                await self.client.delete(kind, namespace, str(meta(job)["name"]))
        for pod in await self.client.list(kinds.POD, namespace):
            await self.client.delete(kinds.POD, namespace, str(meta(pod)["name"]), grace=0)
        await self.client.delete(PRIORITY, "", namespace)
        await self.client.delete(kinds.NAMESPACE, "", namespace)
