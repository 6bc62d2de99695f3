"""A training job as its controller sees it: roles and policies with every default filled in, and what a framework is.

A :class:`Framework` is the part of the operator's knowledge that differs between kinds: names, ports, the environment
of a pod, who decides that a job has succeeded. It is stateless, and its methods are pure. What all kinds share (the
life of a job) is in :mod:`.common`. Defaults are applied in memory only, as the real operator does: the stored spec
stays what the user wrote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from jupyterlab_kf import names
from jupyterlab_kf.controllers import Action, View
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.support import Emitter, name, namespace, phase, terminating, uid
from jupyterlab_kf.controllers.training.problems import Problem
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, labels

PREFIX = "training.kubeflow.org"
OPERATOR_LABEL = f"{PREFIX}/operator-name"
JOB_LABEL = f"{PREFIX}/job-name"
TYPE_LABEL = f"{PREFIX}/replica-type"
INDEX_LABEL = f"{PREFIX}/replica-index"
ROLE_LABEL = f"{PREFIX}/job-role"

GANG_SIZE = f"scheduling.{names.DOMAIN}/replicas"
"""On a pod: how many pods its gang has."""
GANG_MINIMUM = f"scheduling.{names.DOMAIN}/min-available"
"""On a pod: how many of its gang must fit before any is bound."""


@dataclass(frozen=True, slots=True)
class Role:
    """One replica type of a job."""

    type: str
    count: int
    restart: str
    template: Obj

    @property
    def lower(self) -> str:
        """The type as it appears in names and labels."""
        return self.type.lower()


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """A job with its defaults. ``spec`` is a private copy; ``obj`` is the stored object."""

    obj: Obj
    spec: Obj
    roles: Mapping[str, Role]
    policy: Mapping[str, Any]

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return name(self.obj)

    @property
    def namespace(self) -> str:
        """``metadata.namespace``."""
        return namespace(self.obj)

    @property
    def uid(self) -> str:
        """``metadata.uid``."""
        return uid(self.obj)

    @property
    def total(self) -> int:
        """How many replicas the job asks for."""
        return sum(role.count for role in self.roles.values())


@dataclass(frozen=True, slots=True)
class Count:
    """How many pods of one role are in which state. Terminating pods are in none."""

    active: int = 0
    succeeded: int = 0
    failed: int = 0


class Framework:
    """What one kind of training job knows. Subclasses fill in the attributes and override what differs."""

    kind: ClassVar[Kind]
    field: ClassVar[str]
    """Where the roles are: ``spec.<field>``."""
    types: ClassVar[tuple[str, ...]]
    """Replica types with their right case, in the order in which they are looked at."""
    container: ClassVar[str]
    """Name of the container that trains."""
    port_name: ClassVar[str] = ""
    port: ClassVar[int] = 0
    restart: ClassVar[str] = "Never"
    restarts: ClassVar[Mapping[str, str]] = {}
    """Default restart policies of types for which it is not :attr:`restart`."""
    default_replicas: ClassVar[Mapping[str, int]] = {}
    services: ClassVar[bool] = True
    selectors: ClassVar[bool] = False
    """Whether replica statuses carry the role's label selector."""
    always_counted: ClassVar[tuple[str, ...]] = ()
    """Types with a replica status even in a job that has none of them."""
    ending_is_success: ClassVar[bool] = True
    """Whether pods that are ended after the job's success count as succeeded."""

    @property
    def source(self) -> str:
        """The component that events come from, and the operator's name in labels."""
        return f"{self.kind.singular}-controller"

    # --- reading a job ------------------------------------------------------------------------------------------

    def read(self, obj: Obj) -> TrainingJob:
        """The job with the operator's defaults."""
        spec: Obj = copied(obj.get("spec") or {})
        given = spec.get(self.field) or {}
        right_case = {t.lower(): t for t in self.types}
        stored = {right_case.get(t.lower(), t): value or {} for t, value in given.items()}
        order = [t for t in self.types if t in stored] + sorted(set(stored) - set(self.types))
        roles = {type_: self._role(type_, stored[type_]) for type_ in order}
        policy = dict(spec.get("runPolicy") or {})
        policy["cleanPodPolicy"] = policy.get("cleanPodPolicy") or spec.get("cleanPodPolicy") or "None"
        job = TrainingJob(obj, spec, roles, policy)
        self.default(job)
        return job

    def _role(self, type_: str, given: Mapping[str, Any]) -> Role:
        replicas = given.get("replicas")
        count = self.default_replicas.get(type_, 1) if replicas is None else int(replicas)
        template: Obj = given.get("template") or {}
        restart = given.get("restartPolicy") or self.restarts.get(type_, self.restart)
        role = Role(type_, count, restart, template)
        containers = (template.get("spec") or {}).get("containers") or []
        if self.port and containers:
            chosen = next((c for c in containers if c.get("name") == self.container), containers[0])
            if not any(p.get("name") == self.port_name for p in chosen.get("ports") or ()):
                port = {"name": self.port_name, "containerPort": self.port, "protocol": "TCP"}
                chosen["ports"] = [*(chosen.get("ports") or ()), port]
        return role

    def default(self, job: TrainingJob) -> None:
        """Fill in what only this kind has, in ``job.spec``."""

    def validate(self, obj: Obj) -> list[Problem]:
        """What the webhook or the operator would refuse in the object as it was written."""
        raise NotImplementedError

    # --- making pods --------------------------------------------------------------------------------------------

    def pod_name(self, job: TrainingJob, role: Role, index: int) -> str:
        """The name of a replica's pod, and of its service."""
        return f"{job.name}-{role.lower}-{index}"

    def labels(self, job: TrainingJob, role: Role, index: int) -> dict[str, str]:
        """What selects exactly one replica."""
        return {**self.selector(job, role), INDEX_LABEL: str(index)}

    def selector(self, job: TrainingJob, role: Role) -> dict[str, str]:
        """What selects the pods of one role."""
        return {JOB_LABEL: job.name, OPERATOR_LABEL: self.source, TYPE_LABEL: role.lower}

    def is_master(self, job: TrainingJob, role: Role, index: int) -> bool:
        """Whether the replica carries the label ``job-role: master``."""
        raise NotImplementedError

    def dress(self, job: TrainingJob, role: Role, index: int, pod: Obj) -> None:
        """Add to a new pod what makes it a member of this job: environment, volumes, commands."""

    def may_start(self, job: TrainingJob, role: Role, pods: Sequence[Obj]) -> bool:
        """Whether a role's pods may be created yet."""
        del job, role, pods
        return True

    def gang(self, job: TrainingJob, role: Role) -> tuple[int, int]:
        """How many pods wait for each other, and how many must fit before any is bound."""
        del role
        minimum = (job.policy.get("schedulingPolicy") or {}).get("minAvailable")
        return job.total, min(job.total, int(minimum)) if minimum is not None else job.total

    def created(self, emit: Emitter, role: Role, pod: str) -> Action:
        """The event of a pod that was created."""
        del role
        return emit.normal("SuccessfulCreatePod", f"Created pod: {pod}")

    def beside(self, job: TrainingJob, view: View, pods: Sequence[Obj]) -> list[Action]:
        """Create or bring up to date what the job needs beside pods and services."""
        del job, view, pods
        return []

    def unsupported(self, job: TrainingJob) -> list[str]:
        """Fields of the spec that the embedded cluster cannot honour, by their paths."""
        scheduling = job.policy.get("schedulingPolicy") or {}
        fields = ("queue", "priorityClass", "minResources", "scheduleTimeoutSeconds")
        return [f"spec.runPolicy.schedulingPolicy.{f}" for f in fields if scheduling.get(f)]

    # --- judging ------------------------------------------------------------------------------------------------

    def leader(self, job: TrainingJob) -> str:
        """The role whose pods decide that the job runs; empty when it has none."""
        raise NotImplementedError

    def succeeded(self, job: TrainingJob, counts: Mapping[str, Count], pods: Sequence[Obj]) -> bool:
        """Whether the job has reached its goal: by default, that every replica of the leading role succeeded."""
        del pods
        leader = job.roles.get(self.leader(job))
        return leader is not None and counts[leader.type].succeeded >= leader.count

    def ends(self, job: TrainingJob, role: Role) -> bool:
        """Whether that role's programs end by themselves when the training is done; servers and shells do not."""
        del job, role
        return True

    def decides(self, job: TrainingJob, role: Role) -> bool:
        """Whether the leader's success is not yet the job's: every replica of that role must have ended well, too."""
        del job, role
        return False

    def tolerates(self, job: TrainingJob, role: Role) -> bool:
        """Whether the job goes on when a replica of that role has failed for good."""
        del job, role
        return False

    # --- words --------------------------------------------------------------------------------------------------

    def subject(self, job: TrainingJob) -> str:
        """How messages name the job."""
        return f"{self.kind.kind} {job.name}"

    def running_message(self, job: TrainingJob) -> str:
        """Message of the condition Running."""
        return f"{self.subject(job)} is running."

    def succeeded_message(self, job: TrainingJob) -> str:
        """Message of the condition Succeeded."""
        return f"{self.subject(job)} is successfully completed."

    def failed_message(self, job: TrainingJob, role: Role, failed: int) -> str:
        """Message of the condition Failed when replicas of a role have failed for good."""
        return f"{self.subject(job)} is failed because {failed} {role.type} replica(s) failed."


def pods_of(role: Role, pods: Sequence[Obj]) -> list[Obj]:
    """The pods of one role, in the order given."""
    return [pod for pod in pods if labels(pod).get(TYPE_LABEL) == role.lower]


def index_of(pod: Obj) -> int:
    """The replica's number; 0 for a role that numbers none."""
    text = labels(pod).get(INDEX_LABEL, "0")
    return int(text) if text.isdecimal() else 0


def count(pods: Sequence[Obj]) -> Count:
    """The states of some pods."""
    alive = [pod for pod in pods if not terminating(pod)]
    finished = [phase(pod) for pod in pods]
    return Count(
        active=sum(phase(pod) == "Running" for pod in alive),
        succeeded=finished.count("Succeeded"),
        failed=sum(phase(pod) == "Failed" for pod in alive),
    )


def add_env(container: Obj, *pairs: tuple[str, str]) -> None:
    """Append variables; an empty value is left out, as the API server drops it."""
    added = [{"name": key, "value": value} if value else {"name": key} for key, value in pairs]
    container["env"] = [*(container.get("env") or ()), *added]
