"""What a training job is made of, whatever its framework, and what no cluster would accept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import frameworks, pods
from jupyterlab_kf.manifests.frameworks import Framework
from jupyterlab_kf.manifests.training.places import code_name, output_name, results_folder
from jupyterlab_kf.profiles import Hardware

RESTART_POLICIES: Final = ("Always", "OnFailure", "Never", "ExitCode")
CLEAN_POLICIES: Final = ("Running", "All", "None")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpec:
    """Everything that a training job's manifests are made of.

    Attributes:
        replicas: role to count, as :func:`frameworks.layout` answers it.
        submission: the same for every attempt of one submit; makes a retry harmless.
        hardware: a hardware profile and what was chosen within it; takes the place of ``resources``.
        nproc: processes a replica (slots of an MPI worker).
        restart: the restart policy; empty chooses by ``retries``.
        retries: how many restarts before the job fails (``backoffLimit``). None: no restart, so that a mistake in the
            code shows at once, unless a restart policy or elasticity says that restarts are wanted (then 3).
        deadline: seconds after which the job fails, None for never.
        ttl: seconds after the end at which the job is removed, None for never.
        output: True to give the replicas a shared folder whose files can be fetched afterwards.
        output_claim: the claim whose volume has that folder; empty makes a claim for this job alone.
        output_logs: True where there is no volume for it: what fits is printed when a replica succeeds.
        elastic: least and most workers of an elastic PyTorch job.
        kind: overrides the framework's kind (MPIJob has two versions; a cluster serves one).
        code_pieces: how many ConfigMaps carry the code.
        volumes: claims that are there already, mounted in every replica.
        shelf: the claim that keeps the packed code, where that is too large for ConfigMaps.
        archive: the SHA-256 of the packed code, by which it is found there.
    """

    name: str
    namespace: str
    framework: Framework
    replicas: Mapping[str, int]
    submission: str
    image: str
    resources: pods.Resources = field(default_factory=pods.Resources)
    hardware: Hardware | None = None
    nproc: int = 1
    env: Mapping[str, str] = field(default_factory=dict)
    restart: str = ""
    retries: int | None = None
    deadline: int | None = None
    ttl: int | None = None
    clean: str = "Running"
    output: bool = False
    output_claim: str = ""
    output_logs: bool = False
    output_size: str = "10Gi"
    elastic: tuple[int, int] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    kind: Kind | None = None
    code_pieces: int = 1
    volumes: tuple[pods.Mount, ...] = ()
    shelf: str = ""
    archive: str = ""

    @property
    def job_kind(self) -> Kind:
        """The kind that is created."""
        return self.kind or self.framework.kind

    @property
    def code_names(self) -> tuple[str, ...]:
        """The ConfigMaps' names: others for each submission, so that a replaced job's leftovers are never met."""
        return tuple(code_name(self.name, self.submission, number) for number in range(self.code_pieces))

    @property
    def output_name(self) -> str:
        """The volume claim's name."""
        return output_name(self.name, self.submission)

    @property
    def output_folder(self) -> str:
        """The folder for results on a volume that is there already."""
        return results_folder(self.name, self.submission)

    @property
    def pods(self) -> int:
        """How many pods the job has."""
        return sum(self.replicas.values())

    @property
    def retry_limit(self) -> int:
        """The number of restarts that is written."""
        if self.retries is not None:
            return self.retries
        return 3 if self.elastic is not None or self.restart not in ("", "Never") else 0

    @property
    def restart_policy(self) -> str:
        """The restart policy that is written."""
        return self.restart or ("OnFailure" if self.retry_limit else "Never")

    @property
    def confined(self) -> bool:
        """Whether the pods run as an ordinary user; an MPIJob of mpi-operator starts sshd, which is root's."""
        return self.job_kind != kinds.MPI_JOB_V2

    @property
    def requests(self) -> dict[str, str]:
        """Resource name to quantity: what each replica that works asks for."""
        if self.hardware is None:
            return self.resources.as_mapping()
        return {**self.hardware.limits, **self.hardware.requests}

    @property
    def ranks(self) -> int:
        """How many processes train together."""
        return frameworks.trainers(self.replicas) * self.nproc


def check(spec: TrainingSpec) -> TrainingSpec:
    """The spec, if a cluster would accept what it becomes.

    Raises:
        UsageError: a field has a value that no cluster accepts, or that this framework's kind cannot express.
    """
    names.check_job_name(spec.name)
    pods.environment(spec.env)
    if spec.restart and spec.restart not in RESTART_POLICIES:
        raise UsageError(
            f"{spec.restart!r} is not a restart policy",
            hint=frameworks.nearest(spec.restart, RESTART_POLICIES, "choose of"),
        )
    if spec.clean not in CLEAN_POLICIES:
        raise UsageError(
            f"{spec.clean!r} is not a clean-up policy", hint=frameworks.nearest(spec.clean, CLEAN_POLICIES, "choose of")
        )
    for what, value, least in (
        ("nproc", spec.nproc, 1),
        ("retries", spec.retries, 0),
        ("deadline", spec.deadline, 1),
        ("ttl", spec.ttl, 0),
    ):
        if not _whole(value, least):
            raise UsageError(f"{what} is {value!r}; it must be a whole number of {least} or more")
    if spec.framework.name in ("tensorflow", "mxnet") and spec.nproc != 1:
        raise UsageError(
            f"{spec.framework.title} runs one process a replica", hint="ask for more workers instead of nproc"
        )
    if spec.framework.name == "chainer" and (spec.ttl is not None or spec.restart in ("Always", "ExitCode")):
        what = "ttl" if spec.ttl is not None else f"restart policy {spec.restart}"
        raise UsageError(f"a ChainerJob cannot have a {what}", hint="leave it out, or use --framework mpi")
    return spec


def _whole(value: object, least: int) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= least)
