"""Pods as manifests: quantities, resource requests, environment values, and what a pod's status says.

Owns the parts of a pod template that every family of jobs writes, and the reading of pods back into :class:`Replica`.
Pure: no I/O, no clock, no randomness. Refuses quantities that Kubernetes would refuse, before anything is sent.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from jupyterlab_kf import quantities
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.model import Obj, Replica, parse_time
from jupyterlab_kf.names import check_env_name

GPU: Final = "nvidia.com/gpu"

USER: Final = 1000
GROUP: Final = 100
"""The user and group that pods run as: Jupyter's own images', so that a workspace volume's files are theirs too."""

amount = quantities.in_words

CLAIM_VOLUME: Final = "kf-volume-"
"""What the names of volumes begin with that a person asked for."""

_CLAIM: Final = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")
_EXPANDED: Final = re.compile(r"\$(?=[$(])")


def quantity(value: str | float, what: str) -> Decimal:
    """The exact number that a quantity stands for: ``500m`` is 0.5, ``1Gi`` is 1073741824.

    Raises:
        UsageError: it is not a quantity; says of what.
    """
    try:
        return quantities.parse(value)
    except UsageError as error:
        raise UsageError(
            f"{value!r} is not a quantity for {what}", hint="write a number with an optional unit: 500m, 2, 512Mi, 4Gi"
        ) from error


@dataclass(frozen=True, slots=True)
class Resources:
    """What each replica asks for; requests equal limits, so what is asked for is what is there.

    Attributes:
        cpu: a quantity such as ``2`` or ``500m``; empty asks for nothing.
        memory: a quantity such as ``4Gi``; empty asks for nothing.
        gpu: number of whole GPUs.
    """

    cpu: str = ""
    memory: str = ""
    gpu: int = 0

    def as_mapping(self) -> dict[str, str]:
        """Resource name to quantity, as in a container's ``requests`` and ``limits``."""
        pairs = {"cpu": self.cpu, "memory": self.memory, GPU: str(self.gpu) if self.gpu else ""}
        return {name: value for name, value in pairs.items() if value}


def resources(cpu: float | str | None, memory: float | str | None, gpu: int | None) -> Resources:
    """Checked resources from what a person wrote.

    Raises:
        UsageError: a value is not a quantity, or is zero or negative where that makes no sense.
    """
    for what, value in (("cpu", cpu), ("memory", memory)):
        if value is not None and quantity(value, what) <= 0:
            raise UsageError(f"{what} is {value}; it must be more than zero", hint=f"leave {what} out to ask for none")
    if gpu is not None and (isinstance(gpu, bool) or int(gpu) != gpu or gpu < 0):
        raise UsageError(f"gpu is {gpu!r}; it is a whole number of devices, zero or more")
    if memory is not None and quantity(memory, "memory") < 2**20:
        raise UsageError(
            f"memory is {memory}, which is less than a megabyte",
            hint="give a unit, such as 512Mi or 4Gi",
        )
    return Resources(
        cpu="" if cpu is None else f"{cpu:g}" if isinstance(cpu, float) else str(cpu).strip(),
        memory="" if memory is None else f"{memory:.0f}" if isinstance(memory, float) else str(memory).strip(),
        gpu=int(gpu or 0),
    )


@dataclass(frozen=True, slots=True)
class Mount:
    """A volume claim, mounted in every replica.

    Attributes:
        claim: the claim's name.
        path: where its files are, for the program; on a machine that cannot mount, only ``variable`` tells.
        read_only: whether the program must not write there.
        sub_path: the folder of the volume that is mounted; empty for all of it.
    """

    claim: str
    path: str
    read_only: bool = False
    sub_path: str = ""

    def __str__(self) -> str:
        return f"{self.claim}:{self.path}{':ro' if self.read_only else ''}"

    @property
    def variable(self) -> str:
        """The environment variable that holds the path."""
        return "KF_VOLUME_" + re.sub(r"[^A-Z0-9]", "_", self.claim.upper())


def mounts(words: Sequence[str]) -> tuple[Mount, ...]:
    """Claims to mount, each as ``CLAIM``, ``CLAIM:/PATH`` or ``CLAIM:/PATH:ro``; without a path it is ``/mnt/CLAIM``.

    Raises:
        UsageError: a word has another form, or two would be mounted at one place.
    """
    found = tuple(_mount(word) for word in words)
    for one in found:
        if sum(other.path == one.path for other in found) > 1:
            raise UsageError(f"two volumes would be mounted at {one.path}", hint="give one of them another path")
    return found


def _mount(word: str) -> Mount:
    claim, *more = word.split(":")
    mode = more.pop() if more and more[-1] in ("ro", "rw") else "rw"
    path = more.pop() if more else f"/mnt/{claim}"
    if more or not _CLAIM.fullmatch(claim) or not path.startswith("/"):
        raise UsageError(
            f"{word!r} is not a volume",
            hint="write CLAIM, CLAIM:/PATH or CLAIM:/PATH:ro, where CLAIM is the name of a PersistentVolumeClaim",
        )
    path = path.rstrip("/")
    if not path or ".." in path.split("/") or f"{path}/".startswith("/kf/"):
        raise UsageError(f"a volume cannot be mounted at {path or '/'}", hint=f"for example {claim}:/mnt/{claim}")
    return Mount(claim, path, mode == "ro")


def claim_volume(claim: str) -> Obj:
    """The volume of a claim. A claim has one name in a pod, wherever it is mounted: not every driver takes two."""
    digest = hashlib.sha256(claim.encode()).hexdigest()[:8]
    return {"name": f"{CLAIM_VOLUME}{digest}", "persistentVolumeClaim": {"claimName": claim}}


def mounted(pod: Mapping[str, Any]) -> tuple[Mount, ...]:
    """The claims that a pod's main container has, where it has them. Those of sidecars are theirs."""
    spec = pod.get("spec") or {}
    main: Mapping[str, Any] = next(iter(spec.get("containers") or ()), {})
    claims = {
        one["name"]: one["persistentVolumeClaim"] for one in spec.get("volumes") or () if "persistentVolumeClaim" in one
    }
    return tuple(
        Mount(
            str(claims[one["name"]]["claimName"]),
            str(one["mountPath"]),
            bool(one.get("readOnly") or claims[one["name"]].get("readOnly")),
            str(one.get("subPath") or ""),
        )
        for one in main.get("volumeMounts") or ()
        if one["name"] in claims
    )


def confined_pod() -> Obj:
    """A pod's security context as Pod Security's level ``restricted`` asks for it."""
    return {
        "runAsNonRoot": True,
        "runAsUser": USER,
        "runAsGroup": GROUP,
        "fsGroup": GROUP,
        # A volume of a million files is not walked through at each start.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def confined_container() -> Obj:
    """A container's part of the same."""
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def literal(value: str) -> str:
    """The value, written so that Kubernetes' ``$(NAME)`` expansion gives it back unchanged."""
    return _EXPANDED.sub("$$", value)


def environment(env: Mapping[str, str]) -> list[Obj]:
    """``env`` entries for a container, in the given order; values arrive byte for byte.

    Raises:
        UsageError: a name cannot be an environment variable, or a value is not text.
    """
    entries = []
    for name, value in env.items():
        check_env_name(name)
        if not isinstance(value, str):
            raise UsageError(f"environment variable {name} is {type(value).__name__}, not text")
        if "\0" in value:
            raise UsageError(f"environment variable {name} has a NUL character, which no process can be given")
        entries.append({"name": name, "value": literal(value)})
    return entries


def requests_of(pod_spec: Mapping[str, Any]) -> dict[str, Decimal]:
    """What a pod asks of a node: the sum over its containers, as numbers."""
    total: dict[str, Decimal] = {}
    for container in pod_spec.get("containers") or ():
        wanted = container.get("resources") or {}
        for name, value in {**(wanted.get("limits") or {}), **(wanted.get("requests") or {})}.items():
            total[name] = total.get(name, Decimal(0)) + quantity(value, name)
    return total


def main_status(pod: Mapping[str, Any], container: str = "") -> Mapping[str, Any]:
    """The container status that counts: the named container's, else the first one's."""
    statuses: Sequence[Mapping[str, Any]] = (pod.get("status") or {}).get("containerStatuses") or ()
    for status in statuses:
        if status.get("name") == container:
            return status
    return statuses[0] if statuses else {}


def terminated(status: Mapping[str, Any]) -> Mapping[str, Any]:
    """The ``terminated`` state of a container status: the present one, else that of its last run."""
    now = (status.get("state") or {}).get("terminated")
    return now or (status.get("lastState") or {}).get("terminated") or {}


def replica(pod: Mapping[str, Any], role: str, index: int, container: str = "") -> Replica:
    """What a pod says about the replica it is."""
    status = pod.get("status") or {}
    spec = pod.get("spec") or {}
    current = main_status(pod, container)
    state = current.get("state") or {}
    ended, waiting, running = terminated(current), state.get("waiting") or {}, state.get("running") or {}
    unscheduled = _unscheduled(status)
    reason, message = (
        next((str(source[key]) for source in (waiting, status, ended, unscheduled) if source.get(key)), "")
        for key in ("reason", "message")
    )
    code = ended.get("exitCode")
    return Replica(
        role=role,
        index=index,
        phase=str(status.get("phase") or "Pending"),
        pod=str((pod.get("metadata") or {}).get("name", "")),
        node=str(spec.get("nodeName") or ""),
        restarts=int(current.get("restartCount") or 0),
        exit_code=None if code is None else int(code),
        reason=reason,
        message=message,
        started=parse_time(running.get("startedAt") or ended.get("startedAt")),
        finished=parse_time(ended.get("finishedAt")) if not running else None,
    )


def _unscheduled(status: Mapping[str, Any]) -> Mapping[str, Any]:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return dict(condition)
    return {}
