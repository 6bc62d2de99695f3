"""A :class:`TrainingSpec` as objects: the job of its framework's kind, and what belongs to it.

What operators leave to chance is written explicitly (clean-up, back-off, restart policy).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jupyterlab_kf import kinds, names
from jupyterlab_kf.manifests import pods
from jupyterlab_kf.manifests.training.places import (
    ARCHIVE_PATH,
    CODE_KEY,
    CODE_PATH,
    CODE_VOLUME,
    MPIRUN,
    OUTPUT_PATH,
    OUTPUT_VOLUME,
    RUN,
    SHELF,
    VOLUME_PATH,
    WORK_PATH,
    WORK_VOLUME,
    code_volume,
)
from jupyterlab_kf.manifests.training.spec import TrainingSpec
from jupyterlab_kf.model import Obj
from jupyterlab_kf.profiles import pod_template


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
