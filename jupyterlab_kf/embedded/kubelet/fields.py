"""Fields of a pod that a process on the user's own machine cannot have: each is said, none is ignored. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from jupyterlab_kf.model import Obj
from jupyterlab_kf.quantities import parse

REASON: Final = "FieldNotHonoured"
_POD: Final = {
    "hostPID": "every process of this node is in the machine's process namespace",
    "hostIPC": "every process of this node shares the machine's IPC namespace",
    "shareProcessNamespace": "every process of this node is in the machine's process namespace",
    "runtimeClassName": "containers are plain processes here",
    "hostAliases": "the machine's hosts file is not changed for a pod",
    "dnsConfig": "the machine's resolver is not changed for a pod",
}
_SECURITY: Final = {
    "privileged": "the process has the rights of the node's own user",
    "runAsUser": "the process runs as the node's own user",
    "runAsGroup": "the process runs as the node's own group",
    "fsGroup": "volumes belong to the node's own user",
    "seLinuxOptions": "there is no container to confine",
    "seccompProfile": "there is no container to confine",
    "appArmorProfile": "there is no container to confine",
    "readOnlyRootFilesystem": "the process sees the machine's own file system",
    "sysctls": "the machine's settings are not changed for a pod",
}
_QUIET: Final = {"seccompProfile": ("RuntimeDefault", "Unconfined")}
# Volumes that outlive the pod: what is written there by mistake is lost for good. Others are the pod's own copies.
_KEPT: Final = frozenset({"persistentVolumeClaim", "hostPath"})
_IDENTITIES: Final = ("runAsUser", "runAsGroup", "fsGroup")


def unsupported(pod: Obj, processors: int) -> list[tuple[str, str]]:
    """Reason and message of one warning for each field of the pod that a node with so many CPUs does not honour."""
    found = [*_found(pod), *_limits(pod, processors)]
    return [(REASON, f"{path} is not honoured on this node: {why}") for path, why in found]


def _found(pod: Obj) -> Iterator[tuple[str, str]]:
    spec = pod.get("spec") or {}
    if spec.get("hostNetwork"):
        yield "spec.hostNetwork", "every process of this node is in the machine's network"
    for name, why in _POD.items():
        if spec.get(name):
            yield f"spec.{name}", why
    yield from _security("spec.securityContext", spec.get("securityContext") or {})
    kept = {one["name"]: one for one in spec.get("volumes") or () if _KEPT & one.keys()}
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group) or ()):
            yield from _container(f"spec.{group}[{index}]", container, kept)


def _container(path: str, container: Mapping[str, Any], kept: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield from _security(f"{path}.securityContext", container.get("securityContext") or {})
    for name in ("stdin", "tty"):
        if container.get(name):
            yield f"{path}.{name}", "a container's standard input is empty"
    if (container.get("lifecycle") or {}).get("postStart"):
        yield f"{path}.lifecycle.postStart", "no hook is run after the start"
    for device in container.get("volumeDevices") or ():
        yield f"{path}.volumeDevices", f"{device.get('name')} is a folder, not a block device"
    for mount in container.get("volumeMounts") or ():
        if mount.get("mountPropagation") not in (None, "None"):
            yield f"{path}.volumeMounts.mountPropagation", "nothing is mounted"
        if volume := kept.get(mount.get("name")):
            claim = volume.get("persistentVolumeClaim") or {}
            if mount.get("readOnly") or claim.get("readOnly"):
                yield f"{path}.volumeMounts[{mount['name']}].readOnly", "the process may write to the folder"


def _limits(pod: Obj, processors: int) -> Iterator[tuple[str, str]]:
    for group in ("initContainers", "containers"):
        for index, container in enumerate((pod.get("spec") or {}).get(group) or ()):
            path, limits = (
                f"spec.{group}[{index}].resources.limits",
                (container.get("resources") or {}).get("limits") or {},
            )
            if "cpu" in limits and parse(limits["cpu"]) < processors:
                yield f"{path}.cpu", "OMP_NUM_THREADS is set instead"
            if "ephemeral-storage" in limits:
                yield f"{path}.ephemeral-storage", "the disk is the machine's own"


def _security(path: str, context: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, why in _SECURITY.items():
        value = context.get(name)
        if not value or (isinstance(value, Mapping) and value.get("type") in _QUIET.get(name, ())):
            continue
        if name in _IDENTITIES and context.get("runAsNonRoot"):
            continue  # "nobody in particular, but not root": the machine's own user, as this node says of itself
        yield f"{path}.{name}", why
    if (context.get("capabilities") or {}).get("add"):
        yield f"{path}.capabilities.add", "the process has the rights of the node's own user"
