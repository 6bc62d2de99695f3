"""PyTorchJob: Master and Worker, the environment of torch.distributed and torchrun, elastic jobs.

With a Master its success is the job's; without one all workers must succeed, or any worker of an elastic job.
"""
# ruff: noqa: D102  the methods are documented where the base class declares them

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.training.framework import Count, Framework, Role, TrainingJob, add_env
from jupyterlab_kf.controllers.training.problems import (
    Problem,
    containers,
    forbidden,
    job_name,
    not_supported,
    replicas,
    required,
    run_policy,
)
from jupyterlab_kf.model import Obj

_SPECS = "spec.pytorchReplicaSpecs"


class PyTorch(Framework):
    """What PyTorchJob's controller knows."""

    kind = kinds.PYTORCH_JOB
    field = "pytorchReplicaSpecs"
    types = ("Master", "Worker")
    container = "pytorch"
    port_name = "pytorchjob-port"
    port = 23456
    restart = "OnFailure"
    selectors = True

    def default(self, job: TrainingJob) -> None:
        elastic = job.spec.get("elasticPolicy")
        if elastic is not None:
            workers = job.roles["Worker"].count if "Worker" in job.roles else None
            low, high = elastic.get("minReplicas"), elastic.get("maxReplicas")
            elastic["minReplicas"] = low if low is not None else high if high is not None else workers
            elastic["maxReplicas"] = high if high is not None else elastic["minReplicas"]
        if job.spec.get("nprocPerNode") is None and (elastic or {}).get("nProcPerNode") is None:
            job.spec["nprocPerNode"] = "auto"

    def validate(self, obj: Obj) -> list[Problem]:
        spec = obj.get("spec") or {}
        specs: Mapping[str, Any] | None = spec.get(self.field)
        problems = job_name(obj) + run_policy(spec)
        elastic = spec.get("elasticPolicy")
        if elastic is not None:
            if "Worker" not in (specs or {}):
                problems.append(required(f"{_SPECS}[Worker]", "must be configured if elastic policy is used"))
            if elastic.get("nProcPerNode") is not None and spec.get("nprocPerNode") is not None:
                path = "spec.elasticPolicy.nProcPerNode"
                problems.append(forbidden(path, "must not be used with spec.nprocPerNode"))
        if specs is None:
            return [*problems, required(_SPECS, "must be required")]
        for type_, role in specs.items():
            path = f"{_SPECS}[{type_}]"
            if type_ not in self.types:
                problems.append(not_supported(path, type_, self.types))
            problems += containers(path, role, self.container)
            count = (role or {}).get("replicas")
            if type_ == "Master" and count != 1:
                problems.append(forbidden(f"{path}.replicas", "must be 1"))
            elif type_ != "Master" and count is not None and count < 1:
                problems.append(forbidden(f"{path}.replicas", "must be at least 1"))
            else:
                problems += replicas(path, role)
        return problems

    def is_master(self, job: TrainingJob, role: Role, index: int) -> bool:
        return role.type == "Master" if "Master" in job.roles else role.type == "Worker" and index == 0

    def dress(self, job: TrainingJob, role: Role, index: int, pod: Obj) -> None:
        env = self._environment(job, role, index)
        for container in pod["spec"].get("containers") or ():
            add_env(container, *env)

    def _environment(self, job: TrainingJob, role: Role, index: int) -> list[tuple[str, str]]:
        env = [("PYTHONUNBUFFERED", "1")]
        if "Master" in job.roles:
            port, address = str(self._port(job.roles["Master"])), f"{job.name}-master-0"
            rank = str(index + 1 if role.type == "Worker" else index)
            env += [
                ("MASTER_PORT", port),
                ("PET_MASTER_PORT", port),
                ("MASTER_ADDR", address),
                ("PET_MASTER_ADDR", address),
                ("WORLD_SIZE", str(job.total * _processes(job.spec.get("nprocPerNode")))),
                ("RANK", rank),
                ("PET_NODE_RANK", rank),
            ]
        if job.spec.get("nprocPerNode") is not None:
            env.append(("PET_NPROC_PER_NODE", str(job.spec["nprocPerNode"])))
        elastic = job.spec.get("elasticPolicy")
        return env + (self._elastic(job, elastic) if elastic is not None else [("PET_NNODES", str(job.total))])

    def _elastic(self, job: TrainingJob, policy: Mapping[str, Any]) -> list[tuple[str, str]]:
        host = policy.get("rdzvHost") or f"{job.name}-worker-0"
        port = policy.get("rdzvPort") or self._port(job.roles["Worker"])
        env = [
            ("PET_RDZV_ENDPOINT", f"{host}:{port}"),
            ("PET_RDZV_BACKEND", policy.get("rdzvBackend") or "c10d"),
            ("PET_NNODES", f"{policy['minReplicas']}:{policy['maxReplicas']}"),
        ]
        optional = (
            ("PET_MAX_RESTARTS", policy.get("maxRestarts")),
            ("PET_NPROC_PER_NODE", policy.get("nProcPerNode")),
            ("PET_RDZV_ID", policy.get("rdzvId")),
            ("PET_RDZV_CONF", ",".join(f"{c['key']}={c['value']}" for c in policy.get("rdzvConf") or ()) or None),
        )
        env += [(key, str(value)) for key, value in optional if value is not None]
        return [*env, ("PET_STANDALONE", "")] if policy.get("standalone") else env

    def _port(self, role: Role) -> int:
        found = (role.template.get("spec") or {}).get("containers") or []
        ports = [p for c in found if c.get("name") == self.container for p in c.get("ports") or ()]
        return next((int(p["containerPort"]) for p in ports if p.get("name") == self.port_name), self.port)

    def gang(self, job: TrainingJob, role: Role) -> tuple[int, int]:
        elastic = job.spec.get("elasticPolicy")
        scheduling = job.policy.get("schedulingPolicy") or {}
        if elastic is None or scheduling.get("minAvailable") is not None:
            return super().gang(job, role)
        return job.total, min(job.total, int(elastic["minReplicas"]) + ("Master" in job.roles))

    def unsupported(self, job: TrainingJob) -> list[str]:
        metrics = (job.spec.get("elasticPolicy") or {}).get("metrics")
        return super().unsupported(job) + (["spec.elasticPolicy.metrics"] if metrics else [])

    def leader(self, job: TrainingJob) -> str:
        return "Master" if "Master" in job.roles else "Worker"

    def succeeded(self, job: TrainingJob, counts: Mapping[str, Count], pods: Sequence[Obj]) -> bool:
        elastic = job.spec.get("elasticPolicy") is not None and "Master" not in job.roles
        if elastic and "Worker" in counts and counts["Worker"].succeeded:
            return True
        return super().succeeded(job, counts, pods)

    def subject(self, job: TrainingJob) -> str:
        return f"PyTorchJob {job.name}" if "Master" in job.roles else f"PyTorchJob {job.namespace}/{job.name}"

    def succeeded_message(self, job: TrainingJob) -> str:
        verb = "is successfully completed" if "Master" in job.roles else "successfully completed"
        return f"{self.subject(job)} {verb}."

    def failed_message(self, job: TrainingJob, role: Role, failed: int) -> str:
        return f"PyTorchJob {job.name} is failed because {failed} {role.type} replica(s) failed."


def _processes(given: Any) -> int:
    text = str(given)
    return int(text) if text.isdecimal() else 1


PYTORCH = PyTorch()
