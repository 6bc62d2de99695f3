"""A kernel as a pod: the Job that runs it under a hardware profile, and the Secret that tells it what to run. Pure.

It is a Job because a Job that has ended is deleted by itself, and its pod and its Secret with it. The Secret belongs to
the Job, so the Job is made first and waits (``suspend``) until the Secret is there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.manifests import pods
from jupyterlab_kf.model import Obj, meta
from jupyterlab_kf.profiles import Hardware, pod_template

LABEL_KERNEL: Final = f"{names.DOMAIN}/kernel"
"""On a kernel's Job, pod and Secret: the kernel's name."""
LABEL_PROFILE: Final = f"{names.DOMAIN}/profile"
ANNOTATION_NOTEBOOK: Final = f"{names.DOMAIN}/notebook"
"""The notebook that a kernel was started for."""

AGENT_PORT: Final = 5550
PORTS: Final[Mapping[str, int]] = MappingProxyType(
    {"shell_port": 5551, "iopub_port": 5552, "stdin_port": 5553, "control_port": 5554, "hb_port": 5555}
)
"""What the ports of a connection file are in the pod."""
CONTAINER: Final = "kernel"
_VOLUME: Final = "kf-kernel"
_PATH: Final = "/kf/kernel"
_KEPT: Final = 60
"""Seconds that a Job stays after its end."""
_GRACE: Final = 5


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that is wanted.

    Attributes:
        name: of Job and Secret.
        image: used where the hardware names none.
        env: what can be read by who may see pods; the rest travels in the Secret.
        mounts: volumes, at the paths where the notebook server has them.
        account: the service account; empty for the namespace's default.
        owner: the pod (``name``, ``uid``) with which the kernel goes; None where there is none in the namespace.
    """

    name: str
    namespace: str
    hardware: Hardware
    image: str
    notebook: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    mounts: tuple[pods.Mount, ...] = ()
    account: str = ""
    owner: tuple[str, str] | None = None


def job(kernel: Kernel) -> Obj:
    """The Job, suspended."""
    marks = {
        names.LABEL_MANAGED_BY: names.FIELD_MANAGER,
        LABEL_KERNEL: kernel.name,
        LABEL_PROFILE: kernel.hardware.profile.slug,
    }
    head: Obj = {
        "name": kernel.name,
        "namespace": kernel.namespace,
        "labels": {**marks, names.LABEL_SUBMISSION: kernel.name},
        "annotations": {ANNOTATION_NOTEBOOK: kernel.notebook} if kernel.notebook else {},
    }
    if kernel.owner:
        name, uid = kernel.owner
        head["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid}]
    return {
        "apiVersion": kinds.JOB.api_version,
        "kind": kinds.JOB.kind,
        "metadata": head,
        "spec": {
            "suspend": True,
            "backoffLimit": 0,
            "ttlSecondsAfterFinished": _KEPT,
            "template": _template(kernel, marks),
        },
    }


def _template(kernel: Kernel, marks: Mapping[str, str]) -> Obj:
    ports = {"agent_port": AGENT_PORT, **PORTS}
    container: Obj = {
        "name": CONTAINER,
        "image": kernel.image,
        "command": ["python3", f"{_PATH}/kernel.py"],
        "env": [
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {
                "name": "KF_PORTS",
                "valueFrom": {"fieldRef": {"fieldPath": f"metadata.annotations['{names.ANNOTATION_PORTS}']"}},
            },
            *pods.environment(kernel.env),
        ],
        "ports": [
            {"name": name.removesuffix("_port"), "containerPort": port, "protocol": "TCP"}
            for name, port in ports.items()
        ],
        "securityContext": pods.confined_container(),
        "volumeMounts": [{"name": _VOLUME, "mountPath": _PATH, "readOnly": True}],
    }
    spec: Obj = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _GRACE,
        "securityContext": pods.confined_pod(),
        "containers": [container],
        # Only the user of the pod may read it.
        "volumes": [{"name": _VOLUME, "secret": {"secretName": kernel.name, "defaultMode": 0o440}}],
    }
    if kernel.account:
        spec["serviceAccountName"] = kernel.account
    for mount in kernel.mounts:
        volume = pods.claim_volume(mount.claim)
        if volume not in spec["volumes"]:
            spec["volumes"].append(volume)
        place: Obj = {"name": volume["name"], "mountPath": mount.path}
        container["volumeMounts"].append(
            place
            | ({"readOnly": True} if mount.read_only else {})
            | ({"subPath": mount.sub_path} if mount.sub_path else {})
        )
    annotations = {
        "sidecar.istio.io/inject": "false",
        names.ANNOTATION_MOVABLE: "true",
        # A notebook's variables would be lost: machines with kernels are not cleared to save money.
        "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    }
    template = {"metadata": {"labels": dict(marks), "annotations": annotations}, "spec": spec}
    return pod_template(template, kernel.hardware, container=CONTAINER)


def started() -> Obj:
    """The patch that lets the Job begin."""
    return {"spec": {"suspend": False}}


@dataclass(frozen=True, slots=True)
class Orders:
    """What a kernel is told by its Secret.

    Attributes:
        connection: a connection file's content; ports and address are the pod's own matter.
        token: who has it may command the kernel.
        env: environment of the kernel.
        cwd: the folder that it starts in, where the pod has it.
        here: settings (``env``) that hold where a ``path`` of the notebook server's machine can be seen.
        alone_for: seconds, idle and without anybody who asks for it, after which it ends.
        alone_busy_for: the same for one that computes.
    """

    connection: Mapping[str, Any]
    token: str = field(repr=False)
    argv: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    cwd: str = ""
    here: Mapping[str, Any] = field(default_factory=dict, repr=False)
    alone_for: float = 600.0
    alone_busy_for: float = 86400.0


def secret(made: Obj, orders: Orders, program: str) -> Obj:
    """The Secret of a kernel: what to run, and the program that does.

    Args:
        made: the Job as it was created.
        orders: what to run.
        program: the text of ``runtime/kernel.py``.
    """
    told = {
        "connection": dict(orders.connection),
        "token": orders.token,
        "argv": list(orders.argv),
        "env": dict(orders.env),
        "cwd": orders.cwd,
        "here": dict(orders.here),
        "alone_for": orders.alone_for,
        "alone_busy_for": orders.alone_busy_for,
        "ports": dict(PORTS),
        "agent_port": AGENT_PORT,
    }
    head = meta(made)
    marks = {key: head["labels"][key] for key in (names.LABEL_MANAGED_BY, LABEL_KERNEL, names.LABEL_SUBMISSION)}
    owner = {"apiVersion": kinds.JOB.api_version, "kind": kinds.JOB.kind, "name": head["name"], "uid": head["uid"]}
    data = {"kernel.json": json.dumps(told), "kernel.py": program}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": {
            "name": head["name"],
            "namespace": head["namespace"],
            "labels": marks,
            "ownerReferences": [owner],
        },
        "data": {name: base64.b64encode(text.encode()).decode() for name, text in data.items()},
    }


def given_ports(pod: Mapping[str, Any]) -> dict[int, int]:
    """Declared port to the one that the pod's node has given out instead."""
    told = json.loads((meta(pod).get("annotations") or {}).get(names.ANNOTATION_PORTS) or "{}")
    return {int(declared): int(given) for declared, given in told.items()}


def ended(pod: Mapping[str, Any]) -> int | None:
    """The exit status of a pod's kernel container; None while it may run."""
    status = pod.get("status") or {}
    code = pods.terminated(pods.main_status(pod, CONTAINER)).get("exitCode")
    if status.get("phase") in ("Succeeded", "Failed"):
        return 0 if status["phase"] == "Succeeded" else int(code or 1)
    return None
