"""MPIJob v1: workers that wait, and a launcher that runs mpirun over them once they do.

The launcher's pod is made when all workers run: the real operator has an init container wait for that, which the
embedded node cannot run. The hostfile names the workers as the real one does; the embedded node turns it into one
line for this machine when it mounts it.
"""
# ruff: noqa: D102  the methods are documented where the base class declares them

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Create, Patch, View
from jupyterlab_kf.controllers.support import Emitter, name, owner_reference, phase, terminating, uid
from jupyterlab_kf.controllers.training.framework import Framework, Role, TrainingJob, add_env, pods_of
from jupyterlab_kf.controllers.training.problems import Problem, containers_of, replicas, run_policy
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

_SPECS = "spec.mpiReplicaSpecs"
CONFIG_SUFFIX = "-config"
CONFIG_VOLUME = "mpi-job-config"
CONFIG_PATH = "/etc/mpi"
HOSTFILE = "hostfile"
KUBEXEC = "kubexec.sh"
DISCOVER = "discover_hosts.sh"
_KUBECTL_VOLUME = "mpi-job-kubectl"
_KUBECTL_PATH = "/opt/kube"
_SCRIPT, _TEXT = 0o555, 0o444


class Mpi(Framework):
    """What the controller of MPIJob v1 knows."""

    kind = kinds.MPI_JOB
    field = "mpiReplicaSpecs"
    types = ("Launcher", "Worker")
    container = "mpi"
    default_replicas = {"Launcher": 1, "Worker": 0}  # noqa: RUF012  declared ClassVar in the base class
    services = False
    always_counted = ("Worker",)
    ending_is_success = False  # workers only wait; they never succeed at anything

    def validate(self, obj: Obj) -> list[Problem]:
        spec = obj.get("spec") or {}
        problems = run_policy(spec)
        for type_, role in (spec.get(self.field) or {}).items():
            problems += replicas(f"{_SPECS}[{type_}]", role)
        text = next(_faults(spec.get(self.field)), "")
        return [*problems, (_SPECS, f"Invalid value: {text}")] if text else problems

    def pod_name(self, job: TrainingJob, role: Role, index: int) -> str:
        return f"{job.name}-launcher" if role.type == "Launcher" else super().pod_name(job, role, index)

    def labels(self, job: TrainingJob, role: Role, index: int) -> dict[str, str]:
        return self.selector(job, role) if role.type == "Launcher" else super().labels(job, role, index)

    def is_master(self, job: TrainingJob, role: Role, index: int) -> bool:
        del job, index
        return role.type == "Launcher"

    def created(self, emit: Emitter, role: Role, pod: str) -> Action:
        if role.type == "Launcher":
            return emit.normal("MPIJobRunning", f"launcher pod created success: {pod}")
        return emit.normal("SuccessfulCreatePod", f"Created worker pod: {pod}")

    def gang(self, job: TrainingJob, role: Role) -> tuple[int, int]:
        if role.type == "Launcher":
            return 1, 1
        minimum = (job.policy.get("schedulingPolicy") or {}).get("minAvailable")
        return role.count, role.count if minimum is None else min(role.count, int(minimum))

    def may_start(self, job: TrainingJob, role: Role, pods: Sequence[Obj]) -> bool:
        worker = job.roles.get("Worker")
        if role.type != "Launcher" or worker is None:
            return True
        begun = [p for p in pods_of(worker, pods) if phase(p) in ("Running", "Succeeded") and not terminating(p)]
        return len(begun) >= worker.count

    def dress(self, job: TrainingJob, role: Role, index: int, pod: Obj) -> None:
        del index
        spec = pod["spec"]
        first = spec["containers"][0]
        if role.type == "Worker":
            if not first.get("command"):
                first["command"], first["args"] = ["sleep"], ["365d"]
            mount(spec, CONFIG_VOLUME, CONFIG_PATH, config_map(job, (KUBEXEC, _SCRIPT)))
            return
        add_env(first, *self._environment(job, first))
        mount(spec, _KUBECTL_VOLUME, _KUBECTL_PATH, {"emptyDir": {}})
        items = ((KUBEXEC, _SCRIPT), (HOSTFILE, _TEXT), (DISCOVER, _SCRIPT))
        mount(spec, CONFIG_VOLUME, CONFIG_PATH, config_map(job, *items))

    def _environment(self, job: TrainingJob, container: Mapping[str, Any]) -> list[tuple[str, str]]:
        agent, hosts = f"{CONFIG_PATH}/{KUBEXEC}", f"{CONFIG_PATH}/{HOSTFILE}"
        env = [
            ("OMPI_MCA_plm_rsh_agent", agent),
            ("OMPI_MCA_orte_default_hostfile", hosts),
            ("PRTE_MCA_prte_default_hostfile", hosts),
        ]
        if not _wants_gpu(job):
            env += [("NVIDIA_VISIBLE_DEVICES", ""), ("NVIDIA_DRIVER_CAPABILITIES", "")]
        own = {e["name"] for e in container.get("env") or ()}
        intel = (("I_MPI_HYDRA_BOOTSTRAP", "rsh"), ("I_MPI_HYDRA_BOOTSTRAP_EXEC", agent))
        return env + [(key, value) for key, value in intel if key not in own]

    def beside(self, job: TrainingJob, view: View, pods: Sequence[Obj]) -> list[Action]:
        slots = int(job.spec.get("slotsPerWorker") or 1)
        worker = job.roles.get("Worker")
        hosts = [f"{job.name}-launcher"] if _wants_gpu(job) else []
        hosts += [self.pod_name(job, worker, i) for i in range(worker.count)] if worker else []
        running = sorted(name(p) for p in pods_of(worker, pods) if phase(p) == "Running") if worker else []
        main = job.spec.get("mainContainer")
        target = f"kubectl exec ${{POD_NAME}}{f' --container {main}' if main else ''}"
        data = {
            HOSTFILE: "".join(f"{host} slots={slots}\n" for host in hosts),
            KUBEXEC: f'#!/bin/sh\nset -x\nPOD_NAME=$1\nshift\n{_KUBECTL_PATH}/{target} -- /bin/sh -c "$*"',
            DISCOVER: "\n".join(["#!/bin/sh", *(f"echo {host}:{slots}" for host in running)]),
        }
        return config(self.kind, job, view, data)

    def leader(self, job: TrainingJob) -> str:
        del job
        return "Launcher"

    def ends(self, job: TrainingJob, role: Role) -> bool:
        del job
        return role.type == "Launcher"


def config(kind: Kind, job: TrainingJob, view: View, data: Mapping[str, str]) -> list[Action]:
    """Create the job's ConfigMap, or bring its data up to date."""
    wanted = f"{job.name}{CONFIG_SUFFIX}"
    stored = view.get(kinds.CONFIG_MAP, job.namespace, wanted)
    if stored is not None:
        if stored.get("data") == data or terminating(stored):
            return []
        return [Patch(kinds.CONFIG_MAP, job.namespace, wanted, uid(stored), {"data": dict(data)})]
    metadata = {
        "name": wanted,
        "namespace": job.namespace,
        "labels": {"app": job.name},
        "ownerReferences": [owner_reference(kind, job.obj)],
    }
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data)}
    return [Create(kinds.CONFIG_MAP, obj)]


def config_map(job: TrainingJob, *items: tuple[str, int]) -> Obj:
    """The volume source of some files of the job's ConfigMap, each with its mode."""
    files = [{"key": key, "path": key, "mode": mode} for key, mode in items]
    return {"configMap": {"name": f"{job.name}{CONFIG_SUFFIX}", "items": files}}


def mount(spec: Obj, volume: str, path: str, source: Mapping[str, Any]) -> None:
    """Add a volume to a pod and mount it into its first container."""
    spec["volumes"] = [*(spec.get("volumes") or ()), {"name": volume, **source}]
    first = spec["containers"][0]
    first["volumeMounts"] = [*(first.get("volumeMounts") or ()), {"name": volume, "mountPath": path}]


def _wants_gpu(job: TrainingJob) -> bool:
    launcher = job.roles.get("Launcher")
    found: Iterable[Mapping[str, Any]] = (
        (launcher.template.get("spec") or {}).get("containers") or () if launcher else ()
    )
    return any("gpu" in key for c in found for key in (c.get("resources") or {}).get("limits") or {})


def _faults(specs: Mapping[str, Any] | None) -> Iterator[str]:
    """What the operator says about a spec that it cannot use; it says the first only."""
    if specs is None:
        yield "MPIReplicaSpecs is not valid"
        return
    for type_, role in specs.items():
        found = containers_of(role)
        if not found:
            yield f"MPIReplicaSpecs is not valid: containers definition expected in {type_}"
        if type_ not in Mpi.types:
            yield f"MPIReplicaType is {type_} but must be one of [Launcher Worker]"
        for container in found:
            if not container.get("image"):
                yield f"MPIReplicaSpec is not valid: Image is undefined in the container of {type_}"
            if not container.get("name"):
                yield f"MPIReplicaSpec is not valid: ImageName is undefined in the container of {type_}"
        if type_ == "Launcher" and role.get("replicas") not in (None, 1):
            yield "MPIReplicaSpec is not valid: There must be only 1 launcher replica"
    if "Launcher" not in specs:
        yield "MPIReplicaSpec is not valid: Master ReplicaSpec must be present"


MPI = Mpi()
