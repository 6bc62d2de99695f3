"""TFJob: Chief, Master, PS, Worker, Evaluator, and the TF_CONFIG that tells each replica of the others.

A lone replica gets no TF_CONFIG, as the operator has it. By default the evaluator is not listed in the cluster and a
Master is called chief: TensorFlow 2 hangs on the first and refuses the second. The annotation ``tf-config: upstream``
on the job gives the operator's literal JSON.
"""
# ruff: noqa: D102  the methods are documented where the base class declares them

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from jupyterlab_kf import kinds, names
from jupyterlab_kf.controllers.support import exit_code, notes, phase
from jupyterlab_kf.controllers.training.framework import (
    Count,
    Framework,
    Role,
    TrainingJob,
    add_env,
    index_of,
    pods_of,
)
from jupyterlab_kf.controllers.training.problems import Problem, forbidden, replica_specs
from jupyterlab_kf.model import Obj

ANNOTATION_TF_CONFIG = f"{names.DOMAIN}/tf-config"
"""``upstream`` on a TFJob: TF_CONFIG exactly as the real operator writes it."""

_CHIEFS = ("Chief", "Master")


class TensorFlow(Framework):
    """What TFJob's controller knows."""

    kind = kinds.TF_JOB
    field = "tfReplicaSpecs"
    types = ("Chief", "Evaluator", "Master", "PS", "Worker")
    container = "tensorflow"
    port_name = "tfjob-port"
    port = 2222

    def validate(self, obj: Obj) -> list[Problem]:
        problems = replica_specs(obj, self.field, self.container)
        specs = (obj.get("spec") or {}).get(self.field) or {}
        if len([t for t in specs if t in _CHIEFS]) > 1:
            problems.append(forbidden(f"spec.{self.field}", "must not have more than 1 Chief or Master role"))
        return problems

    def is_master(self, job: TrainingJob, role: Role, index: int) -> bool:
        return role.type in _CHIEFS if _chief(job) else role.type == "Worker" and index == 0

    def dress(self, job: TrainingJob, role: Role, index: int, pod: Obj) -> None:
        if job.total == 1:
            return
        config = self._tf_config(job, role, index)
        for container in pod["spec"].get("containers") or ():
            if container.get("name") == self.container:
                add_env(container, ("TF_CONFIG", json.dumps(config, separators=(",", ":"))))
                return

    def _tf_config(self, job: TrainingJob, role: Role, index: int) -> Obj:
        upstream = notes(job.obj).get(ANNOTATION_TF_CONFIG) == "upstream"
        cluster = {r.lower: self._addresses(job, r) for r in job.roles.values()}
        task: Obj = {"type": role.lower, "index": index}
        if job.spec.get("enableDynamicWorker"):
            return {"cluster": self._sparse(cluster, role, index), "task": task}
        if not upstream:
            cluster.pop("evaluator", None)
            if "master" in cluster:
                cluster["chief"] = cluster.pop("master")
            task["type"] = "chief" if role.lower == "master" else role.lower
        return {"cluster": dict(sorted(cluster.items())), "task": task, "environment": "cloud"}

    def _addresses(self, job: TrainingJob, role: Role) -> list[str]:
        found = (role.template.get("spec") or {}).get("containers") or []
        ports = [p for c in found if c.get("name") == self.container for p in c.get("ports") or ()]
        port = next((p["containerPort"] for p in ports if p.get("name") == self.port_name), self.port)
        return [f"{self.pod_name(job, role, i)}.{job.namespace}.svc:{port}" for i in range(role.count)]

    def _sparse(self, cluster: Mapping[str, list[str]], role: Role, index: int) -> Obj:
        """What one task must know of a cluster whose workers come and go."""
        if role.type == "PS":
            return {"worker": {}, "ps": [cluster["ps"][index]]}
        if role.type == "Worker":
            return {"worker": {str(index): cluster["worker"][index]}, "ps": cluster.get("ps")}
        return {"worker": {}, "ps": []}

    def leader(self, job: TrainingJob) -> str:
        return _chief(job) or "Worker"

    def succeeded(self, job: TrainingJob, counts: Mapping[str, Count], pods: Sequence[Obj]) -> bool:
        if super().succeeded(job, counts, pods):
            return True
        if _chief(job) or "Worker" not in job.roles or job.spec.get("successPolicy") == "AllWorkers":
            return False
        first = [p for p in pods_of(job.roles["Worker"], pods) if index_of(p) == 0]
        return any(phase(p) == "Succeeded" and exit_code(p, self.container) in (0, None) for p in first)

    def ends(self, job: TrainingJob, role: Role) -> bool:
        del job
        return role.type != "PS"

    def tolerates(self, job: TrainingJob, role: Role) -> bool:
        return bool(job.spec.get("enableDynamicWorker")) and role.type == "Worker" and role.restart != "ExitCode"

    def subject(self, job: TrainingJob) -> str:
        return f"TFJob {job.namespace}/{job.name}"

    def succeeded_message(self, job: TrainingJob) -> str:
        return f"{self.subject(job)} successfully completed."

    def failed_message(self, job: TrainingJob, role: Role, failed: int) -> str:
        return f"{self.subject(job)} has failed because {failed} {role.type} replica(s) failed."


def _chief(job: TrainingJob) -> str:
    return next((t for t in _CHIEFS if t in job.roles), "")


TENSORFLOW = TensorFlow()
