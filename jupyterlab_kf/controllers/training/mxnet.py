"""MXJob, as training-operator 1.8.1 had it last: Scheduler, Server, Worker and ps-lite's environment.

The job succeeds when the Scheduler has and no Worker has failed: ps-lite takes leave in order even in a program that
raises, so that the Scheduler often ends well a moment before such a Worker's exit status is known. A single worker
needs no scheduler; the types of tuning jobs are accepted, and their Tuner decides, where the real operator left such a
job running for ever.
"""
# ruff: noqa: D102  the methods are documented where the base class declares them

from __future__ import annotations

import json

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.support import notes
from jupyterlab_kf.controllers.training.framework import Framework, Role, TrainingJob, add_env
from jupyterlab_kf.controllers.training.problems import Problem, replica_specs
from jupyterlab_kf.model import Obj

_TUNER_KEY = "tuner-server-key"


class MXNet(Framework):
    """What MXJob's controller knows."""

    kind = kinds.MX_JOB
    field = "mxReplicaSpecs"
    types = ("Scheduler", "Server", "Worker", "TunerTracker", "TunerServer", "Tuner")
    container = "mxnet"
    port_name = "mxjob-port"
    port = 9091

    def validate(self, obj: Obj) -> list[Problem]:
        return replica_specs(obj, self.field, self.container)

    def is_master(self, job: TrainingJob, role: Role, index: int) -> bool:
        del job, index
        return role.type == "Server"

    def dress(self, job: TrainingJob, role: Role, index: int, pod: Obj) -> None:
        roles = sorted(job.roles.values(), key=lambda r: r.lower)
        cluster = {r.lower: self._addresses(job, r) for r in roles}
        config = {
            "cluster": cluster,
            "labels": {r.lower: notes(r.template).get(_TUNER_KEY, "") for r in roles},
            "task": {"type": role.lower, "index": index},
        }
        root = next(iter(cluster.get("scheduler", ())), {"url": "", "port": 0})
        env = [
            ("MX_CONFIG", json.dumps(config, separators=(",", ":"))),
            ("DMLC_PS_ROOT_PORT", str(root["port"])),
            ("DMLC_PS_ROOT_URI", str(root["url"])),
            ("DMLC_NUM_SERVER", str(len(cluster.get("server", ())))),
            ("DMLC_NUM_WORKER", str(len(cluster.get("worker", ())))),
            ("DMLC_ROLE", role.lower),
            ("DMLC_USE_KUBERNETES", "1"),
        ]
        if role.type == "Worker":
            env.append(("DMLC_WORKER_ID", str(index)))
        for container in pod["spec"].get("containers") or ():
            add_env(container, *env)

    def _addresses(self, job: TrainingJob, role: Role) -> list[Obj]:
        found = (role.template.get("spec") or {}).get("containers") or []
        ports = [p for c in found if c.get("name") == self.container for p in c.get("ports") or ()]
        port = next((p["containerPort"] for p in ports if p.get("name") == self.port_name), self.port)
        return [{"url": self.pod_name(job, role, i), "port": port} for i in range(role.count)]

    def leader(self, job: TrainingJob) -> str:
        return next((t for t in ("Scheduler", "Tuner", "Worker") if t in job.roles), "")

    def ends(self, job: TrainingJob, role: Role) -> bool:
        del job
        return role.type in ("Scheduler", "Server", "Worker")

    def decides(self, job: TrainingJob, role: Role) -> bool:
        return role.type == "Worker" and self.leader(job) == "Scheduler"

    def failed_message(self, job: TrainingJob, role: Role, failed: int) -> str:
        return f"mxjob {job.name} is failed because {failed} {role.type} replica(s) failed."


MXNET = MXNet()
