"""Frozen values that every layer speaks: references, phases, conditions, replica states, events, object metadata.

Kubernetes objects themselves travel as plain JSON mappings (:data:`Obj`); this module owns the few values that are
read from them often. It refuses nothing and does no I/O: malformed input is the business of the codecs that build
these values.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeAlias

Obj: TypeAlias = dict[str, Any]
"""A Kubernetes object as JSON gives it. Whoever receives one treats it as immutable and copies before changing."""


@dataclass(frozen=True, slots=True)
class Ref:
    """Where an object is: enough to find it again. ``namespace`` is empty for cluster-scoped kinds."""

    kind: str
    name: str
    namespace: str = ""
    uid: str = ""

    def __str__(self) -> str:
        where = f"{self.namespace}/" if self.namespace else ""
        return f"{self.kind} {where}{self.name}"

    @classmethod
    def of(cls, obj: Mapping[str, Any]) -> Ref:
        """The reference of an object that carries its kind."""
        meta = obj.get("metadata") or {}
        return cls(
            kind=str(obj.get("kind", "")),
            name=str(meta.get("name", "")),
            namespace=str(meta.get("namespace", "")),
            uid=str(meta.get("uid", "")),
        )


class Phase(StrEnum):
    """Where a job stands, in one word for people. Derived from conditions and pods; never stored."""

    PENDING = "Pending"
    RUNNING = "Running"
    RESTARTING = "Restarting"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"
    UNKNOWN = "Unknown"

    @property
    def finished(self) -> bool:
        """True once nothing will change any more."""
        return self in (Phase.SUCCEEDED, Phase.FAILED)


@dataclass(frozen=True, slots=True)
class Condition:
    """One entry of ``status.conditions``; times are epoch seconds, or None when absent."""

    type: str
    status: bool
    reason: str = ""
    message: str = ""
    since: float | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica of a job as its pod shows it.

    ``role`` is lower case (``worker``), ``index`` its number within the role; below zero where there is only one.
    ``phase`` is the pod's phase or ``Waiting`` when the pod does not exist yet. ``exit_code`` is that of the main
    container's last run.
    """

    role: str
    index: int
    phase: str
    pod: str = ""
    node: str = ""
    restarts: int = 0
    exit_code: int | None = None
    reason: str = ""
    message: str = ""
    started: float | None = None
    finished: float | None = None

    @property
    def name(self) -> str:
        """``worker-0``: the name people and logs use; the role alone where there is no number."""
        return self.role if self.index < 0 else f"{self.role}-{self.index}"


@dataclass(frozen=True, slots=True)
class Status:
    """What a job's object says about it, decoded. Times are epoch seconds."""

    phase: Phase
    conditions: tuple[Condition, ...] = ()
    replicas: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Role as in the manifest to its counts ``active``, ``succeeded``, ``failed``."""
    created: float | None = None
    started: float | None = None
    finished: float | None = None
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """A Kubernetes Event, decoded. ``last`` is epoch seconds."""

    type: str
    reason: str
    message: str
    about: Ref
    count: int = 1
    last: float | None = None
    source: str = ""


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line of one replica's log, without its newline. ``time`` is epoch seconds, None when not asked for.

    ``replica`` is the replica's name (``worker-0``); for MPI it may be ``rank-1`` when the launcher tags its ranks.
    """

    replica: str
    text: str
    time: float | None = None


@dataclass(frozen=True, slots=True)
class Point:
    """One value of one metric, as parsed from a ``name=value`` line. ``step`` is the step or epoch on that line."""

    value: float
    step: float | None = None
    time: float | None = None


class Cause(StrEnum):
    """Why a job waits or failed, as one of a fixed list that programs may rely on."""

    # It waits, before there are pods.
    SUSPENDED = "Suspended"
    OPERATOR_ABSENT = "OperatorAbsent"
    QUOTA = "QuotaExceeded"
    ADMISSION = "AdmissionRefused"
    INVALID = "InvalidJob"
    # Its pods wait for a machine.
    TOO_LARGE = "LargerThanAnyMachine"
    BUSY = "MachinesBusy"
    INSUFFICIENT = "InsufficientResources"
    """Too large or busy: which of the two cannot be told without the right to see the machines."""
    NO_MACHINE_ACCEPTS = "NoMachineAccepts"
    GANG_WAITING = "GangWaiting"
    UNSCHEDULABLE = "Unschedulable"
    # Its pods have a machine and wait there.
    VOLUME_MISSING = "VolumeMissing"
    VOLUME_PROVISIONING = "VolumeProvisioning"
    VOLUME_MOUNT = "VolumeMount"
    CONFIG_MISSING = "ConfigMissing"
    IMAGE_PULL = "ImagePull"
    CANNOT_START = "CannotStart"
    # It ran.
    CRASH_LOOP = "CrashLoop"
    OUT_OF_MEMORY = "OutOfMemory"
    PYTHON_ERROR = "PythonError"
    NOT_INSTALLED = "PackagesNotInstalled"
    EXIT_CODE = "ExitCode"
    DEADLINE = "DeadlineExceeded"
    EVICTED = "Evicted"
    PREEMPTED = "Preempted"
    NODE_LOST = "NodeLost"
    NODE_SHUTDOWN = "NodeShutdown"
    OTHER = "Other"


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job waits or failed: one sentence for people, what to do about it, and the cause for programs."""

    sentence: str
    hint: str = ""
    replica: str = ""
    traceback: str = ""
    cause: Cause = Cause.OTHER


@dataclass(frozen=True, slots=True)
class JobView:
    """Everything a display shows of a job at one moment.

    ``log`` holds the last lines, oldest first. ``metrics`` maps a metric's name (``loss``) to replica name to its
    points. ``progress`` is between 0 and 1, ``eta`` in seconds; both None when unknown.
    """

    ref: Ref
    framework: str
    status: Status
    replicas: tuple[Replica, ...] = ()
    log: tuple[LogLine, ...] = ()
    metrics: Mapping[str, Mapping[str, tuple[Point, ...]]] = field(default_factory=dict)
    progress: float | None = None
    eta: float | None = None
    explanation: Explanation | None = None
    seen: float = 0.0
    """Epoch seconds at which this was true."""


def parse_time(text: str | None) -> float | None:
    """Epoch seconds of an RFC 3339 time as Kubernetes writes it (with or without a fraction), or None."""
    if not text:
        return None
    return datetime.fromisoformat(text).timestamp()


def format_time(seconds: float) -> str:
    """RFC 3339 in whole seconds, as ``metav1.Time`` is written: ``2026-11-23T14:52:07Z``."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_micro_time(seconds: float) -> str:
    """RFC 3339 with microseconds, as ``metav1.MicroTime`` is written (Lease, Event.eventTime)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def meta(obj: Mapping[str, Any]) -> Mapping[str, Any]:
    """``metadata`` of an object, or an empty mapping."""
    value = obj.get("metadata")
    return value if isinstance(value, (dict, Mapping)) else {}  # the plain type first: the abstract one is slow to ask


def labels(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """``metadata.labels`` of an object, or an empty mapping."""
    return meta(obj).get("labels") or {}


def controller_of(obj: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The owner reference with ``controller: true``, or None."""
    for owner in meta(obj).get("ownerReferences") or ():
        if owner.get("controller"):
            return dict(owner)
    return None
