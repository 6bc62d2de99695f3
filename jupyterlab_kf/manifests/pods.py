"""Pods as manifests: quantities, resource requests, environment values, and what a pod's status says.

Owns the parts of a pod template that every family of jobs writes, and the reading of pods back into :class:`Replica`.
Pure: no I/O, no clock, no randomness. Refuses quantities that Kubernetes would refuse, before anything is sent.
"""

from __future__ import annotations

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


def amount(resource: str, value: Decimal) -> str:
    """A resource's amount in words: ``2 CPUs``, ``1 GPU``, ``1.5 GiB of memory``."""
    if resource == "memory":
        return f"{value / 2**30:.4g} GiB of memory"
    what = {"cpu": "CPU", GPU: "GPU"}.get(resource, resource)
    return f"{value.normalize():f} {what}{'' if value == 1 else 's'}"


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
