"""Training jobs as manifests: :class:`TrainingSpec` to objects, and any training job's object to status and replicas.

Encoding writes what operators leave to chance explicitly (clean-up, back-off, restart policy). Decoding reads every
training kind, however it was made. The user's code travels in a ConfigMap beside the job, never in a command or an
argument: the command line of every replica is one of the constants below. Pure: no I/O, no clock, no randomness.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.errors import ManifestError, UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import frameworks, pods
from jupyterlab_kf.manifests.frameworks import Framework
from jupyterlab_kf.model import Condition, Obj, Phase, Replica, Status, controller_of, labels, meta, parse_time

CODE_PATH: Final = "/kf/code"
OUTPUT_PATH: Final = "/kf/output"
WORK_PATH: Final = "/kf/work"
CODE_VOLUME: Final = "kf-code"
OUTPUT_VOLUME: Final = "kf-output"
WORK_VOLUME: Final = "kf-work"
LAUNCH: Final = f"{CODE_PATH}/launch.py"
RUN: Final = ("python3", LAUNCH, "run")
MPIRUN: Final = ("python3", LAUNCH, "mpirun")

LABEL_JOB_NAME: Final = "training.kubeflow.org/job-name"
LABEL_ROLE: Final = "training.kubeflow.org/replica-type"
LABEL_INDEX: Final = "training.kubeflow.org/replica-index"
LABEL_JOB_ROLE: Final = "training.kubeflow.org/job-role"
CHAINER_NAME: Final = "chainerjob.kubeflow.org/name"
CHAINER_ROLE: Final = "chainerjob.kubeflow.org/role"

RESTART_POLICIES: Final = ("Always", "OnFailure", "Never", "ExitCode")
CLEAN_POLICIES: Final = ("Running", "All", "None")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSpec:
    """Everything that a training job's manifests are made of.

    Attributes:
        replicas: role to count, as :func:`frameworks.layout` answers it.
        submission: the same for every attempt of one submit; makes a retry harmless.
        nproc: processes a replica (slots of an MPI worker).
        restart: the restart policy; empty chooses by ``retries``.
        retries: how many restarts before the job fails (``backoffLimit``). None: no restart, so that a mistake in the
            code shows at once, unless a restart policy or elasticity says that restarts are wanted (then 3).
        deadline: seconds after which the job fails, None for never.
        ttl: seconds after the end at which the job is removed, None for never.
        output: True to give the replicas a shared folder whose files can be fetched afterwards.
        elastic: least and most workers of an elastic PyTorch job.
        kind: overrides the framework's kind (MPIJob has two versions; a cluster serves one).
    """

    name: str
    namespace: str
    framework: Framework
    replicas: Mapping[str, int]
    submission: str
    image: str
    resources: pods.Resources = field(default_factory=pods.Resources)
    nproc: int = 1
    env: Mapping[str, str] = field(default_factory=dict)
    restart: str = ""
    retries: int | None = None
    deadline: int | None = None
    ttl: int | None = None
    clean: str = "Running"
    output: bool = False
    output_size: str = "10Gi"
    elastic: tuple[int, int] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    kind: Kind | None = None

    @property
    def job_kind(self) -> Kind:
        """The kind that is created."""
        return self.kind or self.framework.kind

    @property
    def code_name(self) -> str:
        """The ConfigMap's name: another for each submission, so that a replaced job's leftovers are never met."""
        return names.with_suffix(self.name, f"code-{self.submission[:6]}")

    @property
    def output_name(self) -> str:
        """The volume claim's name."""
        return names.with_suffix(self.name, f"output-{self.submission[:6]}")

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


def encode(spec: TrainingSpec) -> Obj:
    """The job's own object."""
    builders = {"chainer": _chainer, "mpi": _mpi, "pytorch": _pytorch, "mxnet": _mxnet, "tensorflow": _tensorflow}
    build, kind = builders[spec.framework.name], spec.job_kind
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": spec.name,
            "namespace": spec.namespace,
            "labels": _labels(spec),
            "annotations": {names.ANNOTATION_PROVENANCE: json.dumps(spec.provenance, sort_keys=True)},
        },
        "spec": build(spec),
    }


def code_map(spec: TrainingSpec, texts: Mapping[str, str], archive: bytes) -> Obj:
    """The immutable ConfigMap that carries the launcher, its instructions and the packed code."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": spec.code_name,
            "namespace": spec.namespace,
            "labels": {**_labels(spec), names.LABEL_JOB: spec.name},
        },
        "immutable": True,
        "data": dict(texts),
        "binaryData": {"code.tar.gz": base64.b64encode(archive).decode("ascii")},
    }


def output_claim(spec: TrainingSpec) -> Obj:
    """The volume claim for results; shared when several pods write to it."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": spec.output_name,
            "namespace": spec.namespace,
            "labels": {**_labels(spec), names.LABEL_JOB: spec.name},
        },
        "spec": {
            "accessModes": ["ReadWriteOnce" if spec.pods == 1 else "ReadWriteMany"],
            "resources": {"requests": {"storage": spec.output_size}},
        },
    }


def owner_patch(job: Mapping[str, Any]) -> Obj:
    """The merge patch that makes a job the owner of what was created for it."""
    return {
        "metadata": {
            "ownerReferences": [
                {
                    "apiVersion": job["apiVersion"],
                    "kind": job["kind"],
                    "name": job["metadata"]["name"],
                    "uid": job["metadata"]["uid"],
                    # Not as its controller: operators end and count the pods that they control.
                    "controller": False,
                    "blockOwnerDeletion": False,
                }
            ]
        }
    }


def reader_pod(job: Mapping[str, Any], name: str, arguments: list[str]) -> Obj:
    """A pod that reads a finished job's output volume and writes it to its log; it belongs to the job."""
    row = frameworks.of_kind(str(job.get("kind")))
    template = next(iter(templates(job).values()), None)
    claim = output_claim_of(job)
    if row is None or template is None or not claim:
        raise ManifestError(f"{job.get('kind')} {meta(job).get('name')} has no output volume")
    source = (template.get("spec") or {}).get("containers", [{}])[0]
    code = [v for v in template["spec"].get("volumes") or () if v.get("name") == CODE_VOLUME]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": meta(job)["namespace"],
            "labels": {names.LABEL_MANAGED_BY: names.FIELD_MANAGER, names.LABEL_JOB: meta(job)["name"]},
            "annotations": {"sidecar.istio.io/inject": "false"},
            **owner_patch(job)["metadata"],
        },
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [
                {
                    "name": "reader",
                    "image": source.get("image"),
                    "command": ["python3", LAUNCH, *arguments],
                    "env": [{"name": "KF_OUTPUT", "value": OUTPUT_PATH}],
                    "volumeMounts": [
                        {"name": CODE_VOLUME, "mountPath": CODE_PATH, "readOnly": True},
                        {"name": OUTPUT_VOLUME, "mountPath": OUTPUT_PATH, "readOnly": True},
                    ],
                }
            ],
            "volumes": [
                *code,
                {"name": OUTPUT_VOLUME, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}},
            ],
        },
    }


# Reading jobs


def templates(job: Mapping[str, Any]) -> dict[str, Obj]:
    """Role to pod template, for every kind of training job."""
    spec = job.get("spec") or {}
    if job.get("kind") == kinds.CHAINER_JOB.kind:
        sets = spec.get("workerSets") or {}
        found = {"master": (spec.get("master") or {}).get("template")}
        found |= {"worker": next((s.get("template") for s in sets.values()), None)}
        return {role: template for role, template in found.items() if template}
    return {role.lower(): value.get("template") or {} for role, value in _replica_specs(job).items()}


def output_claim_of(job: Mapping[str, Any]) -> str:
    """The name of the claim that holds a job's results; empty when it has none."""
    for template in templates(job).values():
        for volume in (template.get("spec") or {}).get("volumes") or ():
            if volume.get("name") == OUTPUT_VOLUME:
                return str((volume.get("persistentVolumeClaim") or {}).get("claimName") or "")
    return ""


def counts(job: Mapping[str, Any]) -> dict[str, int]:
    """Role (lower case) to the number of replicas that the manifest asks for."""
    spec = job.get("spec") or {}
    if job.get("kind") == kinds.CHAINER_JOB.kind:
        sets = (spec.get("workerSets") or {}).values()
        workers = sum(_number(s.get("replicas"), 1) for s in sets)
        return {"master": 1, **({"worker": workers} if workers else {})}
    return {role.lower(): _number(value.get("replicas"), 1) for role, value in _replica_specs(job).items()}


def pod_selector(job: Mapping[str, Any]) -> str:
    """The label selector of a job's replica pods."""
    key = CHAINER_NAME if job.get("kind") == kinds.CHAINER_JOB.kind else LABEL_JOB_NAME
    return f"{key}={meta(job).get('name', '')}"


def container_of(job: Mapping[str, Any]) -> str:
    """The name of the container whose end decides."""
    if job.get("kind") == kinds.MPI_JOB.kind:
        named = (job.get("spec") or {}).get("mainContainer")
        first = next(iter(templates(job).values()), {}).get("spec") or {}
        return str(named or (first.get("containers") or [{}])[0].get("name") or "")
    row = frameworks.of_kind(str(job.get("kind")))
    return row.container if row else ""


def provenance(job: Mapping[str, Any]) -> dict[str, Any]:
    """What the job says it ran; empty for jobs that were not made here."""
    text = (meta(job).get("annotations") or {}).get(names.ANNOTATION_PROVENANCE)
    try:
        value = json.loads(text) if text else {}
    except ValueError:  # somebody else's annotation is not our business
        return {}
    return value if isinstance(value, dict) else {}


def decode(job: Mapping[str, Any]) -> Status:
    """What a job's object says about it."""
    status = job.get("status") or {}
    conditions = tuple(
        Condition(
            type=str(entry.get("type", "")),
            status=entry.get("status") == "True",
            reason=str(entry.get("reason") or ""),
            message=str(entry.get("message") or ""),
            since=parse_time(entry.get("lastTransitionTime")),
        )
        for entry in status.get("conditions") or ()
    )
    phase, decisive = _phase(job, status, conditions)
    finished = parse_time(status.get("completionTime"))
    if finished is None and phase.finished and decisive is not None:
        finished = decisive.since
    return Status(
        phase=phase,
        conditions=conditions,
        replicas=_replica_statuses(job, status),
        created=parse_time(meta(job).get("creationTimestamp")),
        started=parse_time(status.get("startTime")),
        finished=finished,
        reason=decisive.reason if decisive else "",
        message=decisive.message if decisive else "",
    )


def replicas(job: Mapping[str, Any], found: Iterable[Mapping[str, Any]]) -> tuple[Replica, ...]:
    """Every replica that the job should have, in the manifest's order, as its pod shows it, or waiting, or ended."""
    container = container_of(job)
    newest: dict[tuple[str, int], Mapping[str, Any]] = {}
    earlier: dict[tuple[str, int], int] = {}
    for pod in sorted(owned(job, found), key=lambda p: str(meta(p).get("creationTimestamp") or "")):
        place = _place(pod)
        if place in newest:
            earlier[place] = earlier.get(place, 0) + 1
        newest[place] = pod
    wanted = [(role, index) for role, count in counts(job).items() for index in range(count)]
    extra = sorted(set(newest) - set(wanted))
    # Pods of a finished job are cleaned up; what an operator removes after success it counts as succeeded.
    missing = {Phase.SUCCEEDED: "Succeeded", Phase.FAILED: "Ended"}.get(decode(job).phase, "Waiting")
    done = []
    for role, index in [*wanted, *extra]:
        current = newest.get((role, index))
        if current is None:
            done.append(Replica(role=role, index=index, phase=missing))
            continue
        one = pods.replica(current, role, index, container)
        done.append(replace(one, restarts=one.restarts + earlier.get((role, index), 0)))
    return tuple(done)


def owned(job: Mapping[str, Any], found: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of pods that match the selector, those of this very job: another kind's job may bear the same name."""
    uid = meta(job).get("uid")
    kept = []
    for pod in found:
        owner = controller_of(pod) or {}
        if owner.get("kind") == job.get("kind") and uid and owner.get("uid") != uid:
            continue
        if owner.get("kind") in {k.kind for k in kinds.TRAINING} and owner.get("kind") != job.get("kind"):
            continue
        kept.append(pod)
    return kept


def _place(pod: Mapping[str, Any]) -> tuple[str, int]:
    """Role and index of a replica pod, from the labels that its operator wrote."""
    marks = labels(pod)
    role = marks.get(LABEL_ROLE) or marks.get(CHAINER_ROLE) or marks.get(LABEL_JOB_ROLE) or "replica"
    index = marks.get(LABEL_INDEX)
    if index is None and role == "worker":
        index = str(meta(pod).get("name", "")).rpartition("-")[2]
    return role.lower(), int(index) if index and index.isdigit() else 0


def _replica_specs(job: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    row = frameworks.of_kind(str(job.get("kind")))
    specs = (job.get("spec") or {}).get(row.specs) if row and row.specs else None
    return {k: v for k, v in specs.items() if isinstance(v, Mapping)} if isinstance(specs, Mapping) else {}


def _number(value: object, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def _replica_statuses(job: Mapping[str, Any], status: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    names_of = ("active", "succeeded", "failed")
    if job.get("kind") == kinds.CHAINER_JOB.kind:
        return {"master": {key: _number(status.get(key), 0) for key in names_of}} if status else {}
    found = status.get("replicaStatuses")
    if not isinstance(found, Mapping):
        return {}
    return {role: {key: _number((value or {}).get(key), 0) for key in names_of} for role, value in found.items()}


def _phase(
    job: Mapping[str, Any], status: Mapping[str, Any], conditions: tuple[Condition, ...]
) -> tuple[Phase, Condition | None]:
    true = {entry.type: entry for entry in conditions if entry.status}
    for type_, phase in (
        ("Failed", Phase.FAILED),
        ("Succeeded", Phase.SUCCEEDED),
        ("Complete", Phase.SUCCEEDED),
        ("Suspended", Phase.SUSPENDED),
        ("Restarting", Phase.RESTARTING),
        ("Running", Phase.RUNNING),
    ):
        if type_ in true:
            return phase, true[type_]
    if job.get("kind") == kinds.CHAINER_JOB.kind and _number(status.get("active"), 0):
        return Phase.RUNNING, None
    return Phase.PENDING, true.get("Created")


# Writing jobs


def _labels(spec: TrainingSpec) -> dict[str, str]:
    return {names.LABEL_MANAGED_BY: names.FIELD_MANAGER, names.LABEL_SUBMISSION: spec.submission}


def _run_policy(spec: TrainingSpec) -> Obj:
    policy: Obj = {"cleanPodPolicy": spec.clean, "backoffLimit": spec.retry_limit}
    if spec.deadline is not None:
        policy["activeDeadlineSeconds"] = spec.deadline
    if spec.ttl is not None:
        policy["ttlSecondsAfterFinished"] = spec.ttl
    return policy


def _template(spec: TrainingSpec, command: Iterable[str], *, worker: bool = True, token: bool = False) -> Obj:
    """A pod template. ``worker`` replicas get the resources; ``token`` leaves the service account's token mounted."""
    env = {"PYTHONUNBUFFERED": "1", "KF_WORK": WORK_PATH}
    env |= {**({"KF_OUTPUT": OUTPUT_PATH} if spec.output else {}), **spec.env}
    mounts: list[Obj] = [
        {"name": CODE_VOLUME, "mountPath": CODE_PATH, "readOnly": True},
        {"name": WORK_VOLUME, "mountPath": WORK_PATH},
    ]
    volumes: list[Obj] = [
        {"name": CODE_VOLUME, "configMap": {"name": spec.code_name}},
        {"name": WORK_VOLUME, "emptyDir": {}},
    ]
    if spec.output:
        mounts.append({"name": OUTPUT_VOLUME, "mountPath": OUTPUT_PATH})
        volumes.append({"name": OUTPUT_VOLUME, "persistentVolumeClaim": {"claimName": spec.output_name}})
    container: Obj = {"name": spec.framework.container, "image": spec.image, "imagePullPolicy": "IfNotPresent"}
    if argv := list(command):
        container["command"] = argv
    container["env"] = pods.environment(env)
    # The end of a failed replica's log stays in its status, where it outlives the log itself.
    container["terminationMessagePolicy"] = "FallbackToLogsOnError"
    if worker and (wanted := spec.resources.as_mapping()):
        container["resources"] = {"requests": wanted, "limits": dict(wanted)}
    container["volumeMounts"] = mounts
    pod: Obj = {"containers": [container], "volumes": volumes}
    if not token:
        pod = {"automountServiceAccountToken": False, **pod}
    # An injected sidecar would outlive the training process and keep the replica from ever finishing.
    return {"metadata": {"annotations": {"sidecar.istio.io/inject": "false"}}, "spec": pod}


def _replica(spec: TrainingSpec, role: str, template: Obj) -> Obj:
    return {
        "replicas": spec.replicas[role],
        "restartPolicy": spec.restart_policy,
        "template": template,
    }


def _plain(spec: TrainingSpec) -> Obj:
    roles = {role.name: role.key for role in spec.framework.roles}
    return {
        "runPolicy": _run_policy(spec),
        spec.framework.specs: {roles[name]: _replica(spec, name, _template(spec, RUN)) for name in spec.replicas},
    }


def _pytorch(spec: TrainingSpec) -> Obj:
    body = {"nprocPerNode": str(spec.nproc), **_plain(spec)}
    if spec.elastic is None:
        return body
    least, most = spec.elastic
    policy = {"rdzvBackend": "c10d", "minReplicas": least, "maxReplicas": most, "maxRestarts": spec.retry_limit}
    return {"elasticPolicy": policy, **body}


def _tensorflow(spec: TrainingSpec) -> Obj:
    body = _plain(spec)
    if not {"chief", "master"} & set(spec.replicas):
        # Otherwise the job would count as done, and its other workers be ended, as soon as the first worker is.
        body = {"successPolicy": "AllWorkers", **body}
    return body


def _mxnet(spec: TrainingSpec) -> Obj:
    return {"jobMode": "MXTrain", **_plain(spec)}


def _mpi(spec: TrainingSpec) -> Obj:
    # Workers keep the operator's own command: they wait for the launcher to start ranks in them.
    launcher = _replica(spec, "launcher", _template(spec, MPIRUN, worker=False, token=True))
    worker = _replica(spec, "worker", _template(spec, (), token=True))
    body: Obj = {"slotsPerWorker": spec.nproc, "runPolicy": _run_policy(spec)}
    if spec.job_kind == kinds.MPI_JOB_V2:
        body["mpiImplementation"] = "OpenMPI"
    return {**body, "mpiReplicaSpecs": {"Launcher": launcher, "Worker": worker}}


def _chainer(spec: TrainingSpec) -> Obj:
    template = _template(spec, MPIRUN, token=True)
    template["spec"]["restartPolicy"] = spec.restart_policy
    master: Obj = {"backoffLimit": spec.retry_limit, "mpiConfig": {"slots": spec.nproc}, "template": template}
    if spec.deadline is not None:
        master["activeDeadlineSeconds"] = spec.deadline
    body: Obj = {"backend": "mpi", "master": master}
    if workers := spec.replicas.get("worker", 0):
        body["workerSets"] = {
            "ws0": {
                "replicas": workers,
                "mpiConfig": {"slots": spec.nproc},
                "template": _template(spec, (), token=True),
            }
        }
    return body
