"""Training jobs as manifests: :class:`TrainingSpec` to objects, and any training job's object to status and replicas.

Encoding writes what operators leave to chance explicitly (clean-up, back-off, restart policy). Decoding reads every
training kind, however it was made. The user's code travels in a ConfigMap beside the job, never in a command or an
argument: the command line of every replica is one of the constants below. Pure: no I/O, no clock, no randomness.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import frameworks, pods
from jupyterlab_kf.manifests.frameworks import Framework
from jupyterlab_kf.model import Condition, Obj, Phase, Replica, Status, controller_of, labels, meta, parse_time
from jupyterlab_kf.profiles import Hardware, pod_template

CODE_PATH: Final = "/kf/code"
OUTPUT_PATH: Final = "/kf/output"
WORK_PATH: Final = "/kf/work"
CODE_VOLUME: Final = "kf-code"
OUTPUT_VOLUME: Final = "kf-output"
WORK_VOLUME: Final = "kf-work"
LAUNCH: Final = f"{CODE_PATH}/launch.py"
CODE_KEY: Final = "code.tar.gz"
"""The packed code's key in a ConfigMap; of several ConfigMaps each has a piece, under this key and its number."""
SOURCE_KEY: Final = "source"
"""The key of the main file's text, for who looks at a job whose code is on a volume."""
MAP_LIMIT: Final = 900 * 1024
"""Bytes that a ConfigMap carries with room for its metadata; API servers refuse more than 1 MiB."""
MAPS_LIMIT: Final = 8 * 1024 * 1024
"""Bytes of packed code that stay in ConfigMaps with the job; what is larger is put onto a shared volume."""
ARCHIVE_LIMIT: Final = 64 * 1024 * 1024
"""Bytes of packed code that are put onto a volume; what is larger is data."""
ARCHIVE_PATH: Final = "/kf/archive"
SHELF: Final = ".jupyterlab-kf/code"
"""The folder of a shared volume that keeps packed code, each archive under its SHA-256."""
VOLUME_PATH: Final = "/kf/volume"
RESULTS: Final = ".jupyterlab-kf/results"
"""The folder of a shared volume that keeps results, those of each job in a folder of its own."""
LOG_LIMIT: Final = 4 * 1024 * 1024
"""Packed bytes of results that a replica prints: as base64, beside its own lines, below the 10 MiB of a node's log."""
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
_KILLED: Final = (128 + 15, 128 + 9)
"""Exit codes of what SIGTERM or SIGKILL ended."""


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


def code_name(job: str, submission: str, number: int = 0) -> str:
    """The name of a job's ConfigMap of that number, counted from 0."""
    return _numbered(job, f"code-{submission[:6]}", number)


def output_name(job: str, submission: str, number: int = 0) -> str:
    """The name of a job's own claim of that number, counted from 0."""
    return _numbered(job, f"output-{submission[:6]}", number)


def results_folder(job: str, submission: str) -> str:
    """The folder of a job's results on a shared volume."""
    return f"{RESULTS}/{names.with_suffix(job, submission[:6])}"


def _numbered(job: str, suffix: str, number: int) -> str:
    return names.with_suffix(job, f"{suffix}-{number}" if number else suffix)


def pieces(texts: Mapping[str, str], archive: bytes) -> list[bytes]:
    """The packed code in as many pieces as it needs ConfigMaps; the first one shares its ConfigMap with the texts."""
    first = MAP_LIMIT - sum(len(text.encode()) for text in texts.values())
    return [archive[:first], *(archive[at : at + MAP_LIMIT] for at in range(first, len(archive), MAP_LIMIT))]


def code_maps(spec: TrainingSpec, texts: Mapping[str, str], parts: Sequence[bytes]) -> list[Obj]:
    """The immutable ConfigMaps that carry the launcher, its instructions and the packed code, perhaps in pieces.

    The code of a job whose code is on a volume is one empty piece.
    """
    keys = [CODE_KEY] if len(parts) == 1 else [f"{CODE_KEY}.{number:02}" for number in range(len(parts))]
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "namespace": spec.namespace,
                "labels": {**_labels(spec), names.LABEL_JOB: spec.name},
            },
            "immutable": True,
            **({"data": dict(texts)} if not number else {}),
            **({"binaryData": {key: base64.b64encode(part).decode("ascii")}} if part else {}),
        }
        for number, (name, key, part) in enumerate(zip(spec.code_names, keys, parts, strict=True))
    ]


def code_volume(config_maps: Sequence[str]) -> Obj:
    """The volume of a job's code: one ConfigMap, or several as one folder."""
    if len(config_maps) == 1:
        return {"name": CODE_VOLUME, "configMap": {"name": config_maps[0]}}
    return {"name": CODE_VOLUME, "projected": {"sources": [{"configMap": {"name": name}} for name in config_maps]}}


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


@dataclass(frozen=True, slots=True)
class Output:
    """Where a job's replicas write their results.

    Attributes:
        path: ``$KF_OUTPUT``.
        volume: the pod's volume that it is on.
        mount: where that is mounted.
    """

    path: str
    volume: Obj
    mount: str

    @property
    def claim(self) -> str:
        """The volume's claim; empty where results come back through the logs."""
        return str((self.volume.get("persistentVolumeClaim") or {}).get("claimName") or "")

    @property
    def folder(self) -> str:
        """The path below the volume's root; empty for the root."""
        return self.path[len(self.mount) :].strip("/")


def output_of(job: Mapping[str, Any]) -> Output | None:
    """Where a job's results are; None when it has none."""
    for template in templates(job).values():
        spec = template.get("spec") or {}
        container = (spec.get("containers") or [{}])[0]
        path = next((str(one.get("value")) for one in container.get("env") or () if one.get("name") == "KF_OUTPUT"), "")
        volumes = {one["name"]: one for one in spec.get("volumes") or ()}
        mounts = [
            one
            for one in container.get("volumeMounts") or ()
            if f"{path}/".startswith(f"{one['mountPath']}/") and one["name"] in volumes
        ]
        if mounts:
            mount = max(mounts, key=lambda one: len(one["mountPath"]))
            return Output(path, volumes[mount["name"]], str(mount["mountPath"]))
    return None


def mounts_of(job: Mapping[str, Any]) -> tuple[pods.Mount, ...]:
    """The claims that a person asked for when the job was made."""
    for template in templates(job).values():
        spec = template.get("spec") or {}
        claims = {
            one["name"]: str(one["persistentVolumeClaim"]["claimName"])
            for one in spec.get("volumes") or ()
            if str(one.get("name")).startswith(pods.CLAIM_VOLUME) and one.get("persistentVolumeClaim")
        }
        return tuple(
            pods.Mount(claims[one["name"]], str(one["mountPath"]), bool(one.get("readOnly")))
            for one in (spec.get("containers") or [{}])[0].get("volumeMounts") or ()
            if one.get("name") in claims and not str(one["mountPath"]).startswith("/kf/")
        )
    return ()


def claims_of(job: Mapping[str, Any]) -> list[str]:
    """The volume claims that a job's pods mount."""
    volumes = [
        volume for template in templates(job).values() for volume in (template.get("spec") or {}).get("volumes") or ()
    ]
    found = [str((volume.get("persistentVolumeClaim") or {}).get("claimName") or "") for volume in volumes]
    return list(dict.fromkeys(name for name in found if name))


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
        if current is None or (missing != "Waiting" and _cleaned_up(current)):
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


def _cleaned_up(pod: Mapping[str, Any]) -> bool:
    """Whether a pod of a finished job was ended by its deletion: it failed by being killed, not by itself."""
    code = pods.terminated(pods.main_status(pod)).get("exitCode")
    return bool(meta(pod).get("deletionTimestamp")) and code in _KILLED


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
    policy: Obj = {"cleanPodPolicy": spec.clean}
    if spec.retry_limit or spec.restart_policy != "Never" or spec.job_kind == kinds.MPI_JOB_V2:
        # Without restarts the policy Never says it all. A limit of 0 beside it makes the training operator delete the
        # failed pods, and with them the logs that tell why.
        policy["backoffLimit"] = spec.retry_limit
    if spec.deadline is not None:
        policy["activeDeadlineSeconds"] = spec.deadline
    if spec.ttl is not None:
        policy["ttlSecondsAfterFinished"] = spec.ttl
    return policy


def _kept(spec: TrainingSpec) -> tuple[dict[str, str], list[Obj], list[Obj]]:
    """What a replica finds its files by: the environment, the mounts, and the volumes."""
    env = {"KF_WORK": WORK_PATH}
    mounts: list[Obj] = [
        {"name": CODE_VOLUME, "mountPath": CODE_PATH, "readOnly": True},
        {"name": WORK_VOLUME, "mountPath": WORK_PATH},
    ]
    volumes: list[Obj] = [code_volume(spec.code_names), {"name": WORK_VOLUME, "emptyDir": {}}]
    if spec.output_claim:
        env["KF_OUTPUT"] = f"{VOLUME_PATH}/{spec.output_folder}"
        mounts.append({"name": pods.claim_volume(spec.output_claim)["name"], "mountPath": VOLUME_PATH})
    elif spec.output:
        env["KF_OUTPUT"] = OUTPUT_PATH
        mounts.append({"name": OUTPUT_VOLUME, "mountPath": OUTPUT_PATH})
        source = {"emptyDir": {}} if spec.output_logs else {"persistentVolumeClaim": {"claimName": spec.output_name}}
        volumes.append({"name": OUTPUT_VOLUME, **source})
    if spec.shelf:
        env["KF_ARCHIVE"] = f"{ARCHIVE_PATH}/{spec.archive}.tar.gz"
        place = {"mountPath": ARCHIVE_PATH, "subPath": SHELF, "readOnly": True}
        mounts.append({"name": pods.claim_volume(spec.shelf)["name"], **place})
    for one in spec.volumes:
        env.setdefault(one.variable, one.path)
        mode = {"readOnly": True} if one.read_only else {}
        mounts.append({"name": pods.claim_volume(one.claim)["name"], "mountPath": one.path, **mode})
    claims = dict.fromkeys(one for one in (spec.output_claim, spec.shelf, *(v.claim for v in spec.volumes)) if one)
    volumes += [pods.claim_volume(claim) for claim in claims]
    return env, mounts, volumes


def _template(spec: TrainingSpec, command: Iterable[str], *, worker: bool = True, token: bool = False) -> Obj:
    """A pod template. ``worker`` replicas get the resources; ``token`` leaves the service account's token mounted."""
    env, mounts, volumes = _kept(spec)
    container: Obj = {"name": spec.framework.container, "image": spec.image, "imagePullPolicy": "IfNotPresent"}
    if argv := list(command):
        container["command"] = argv
    container["env"] = pods.environment({"PYTHONUNBUFFERED": "1", **env, **spec.env})
    # The end of a failed replica's log stays in its status, where it outlives the log itself.
    container["terminationMessagePolicy"] = "FallbackToLogsOnError"
    if worker and spec.hardware is None and (wanted := spec.requests):
        container["resources"] = {"requests": wanted, "limits": dict(wanted)}
    if spec.confined:
        container["securityContext"] = pods.confined_container()
    container["volumeMounts"] = mounts
    pod: Obj = {"containers": [container], "volumes": volumes}
    if not argv:
        # It sleeps as the first process of its container, which no signal but SIGKILL ends.
        pod = {"terminationGracePeriodSeconds": 1, **pod}
    if spec.confined:
        pod = {"securityContext": pods.confined_pod(), **pod}
    if not token:
        pod = {"automountServiceAccountToken": False, **pod}
    # An injected sidecar would outlive the training process and keep the replica from ever finishing.
    template: Obj = {"metadata": {"annotations": {"sidecar.istio.io/inject": "false"}}, "spec": pod}
    if worker and spec.hardware is not None:
        return pod_template(template, spec.hardware, container=spec.framework.container)
    return template


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
