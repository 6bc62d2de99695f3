"""Any training job's object, however it was made: its status, its replicas, and what its manifest says."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.manifests import frameworks, pods
from jupyterlab_kf.model import Condition, Obj, Phase, Replica, Status, controller_of, labels, meta, parse_time

LABEL_JOB_NAME: Final = "training.kubeflow.org/job-name"
LABEL_ROLE: Final = "training.kubeflow.org/replica-type"
LABEL_INDEX: Final = "training.kubeflow.org/replica-index"
LABEL_JOB_ROLE: Final = "training.kubeflow.org/job-role"
CHAINER_NAME: Final = "chainerjob.kubeflow.org/name"
CHAINER_ROLE: Final = "chainerjob.kubeflow.org/role"

_KILLED: Final = (128 + 15, 128 + 9)
"""Exit codes of what SIGTERM or SIGKILL ended."""


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
