"""The pod state machine: a pod, what its containers did, and the time, to a status and what to do next.

Pure: no clock, no files, no processes; the worker feeds it records and carries out its decision. The rules are the
kubelet's: init containers in order, restart policies with a doubling back-off, deadlines, graceful deletion, the phase
and the conditions with their reasons and messages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jupyterlab_kf.embedded.resources import quality_of_service
from jupyterlab_kf.model import Obj, format_time, meta, parse_time

BACKOFF_BASE: Final = 10.0
BACKOFF_LIMIT: Final = 300.0
PULL_BASE: Final = 1.0
PULL_LIMIT: Final = 60.0
SHUTDOWN: Final = ("Terminated", "Pod was terminated in response to imminent node shutdown.")
FINAL: Final = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended."""

    code: int
    reason: str
    started: float
    finished: float
    message: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a container: still going while ``exit`` is None."""

    number: int
    restart: int
    crashes: int
    started: float
    exit: Exit | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of one container.

    Attributes:
        run: the newest run, or None before the first.
        previous: the run before, when it ended.
        busy: a run is being prepared; nothing may be started.
        waiting: reason and message while there is no run to show (image being made, error in its configuration).
        started: the startup probe has passed (or there is none).
        ready: the readiness probe says so (or there is none).
    """

    run: Run | None = None
    previous: Run | None = None
    busy: bool = False
    waiting: tuple[str, str] | None = None
    started: bool = True
    ready: bool = True
    image: str = ""
    image_id: str = ""

    @property
    def running(self) -> bool:
        """Whether a process of it runs now."""
        return self.run is not None and self.run.exit is None

    @property
    def exit(self) -> Exit | None:
        """How the newest run ended, if it has."""
        return self.run.exit if self.run else None


@dataclass(frozen=True, slots=True)
class Start:
    """Start a container, as that restart and with that streak of ended runs before it."""

    container: str
    restart: int
    crashes: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do now.

    Attributes:
        start: containers to start.
        stop: containers to stop, gracefully.
        wake: when to decide again although nothing happens (epoch seconds).
        backing_off: containers that wait for their back-off, with its length.
        fail: reason and message, when the pod as a whole has to fail.
        gone: nothing of a deleted pod runs any more.
    """

    start: tuple[Start, ...] = ()
    stop: tuple[str, ...] = ()
    wake: float | None = None
    backing_off: Mapping[str, float] = field(default_factory=dict)
    fail: tuple[str, str] | None = None
    gone: bool = False


def containers(pod: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The pod's ordinary containers."""
    return (pod.get("spec") or {}).get("containers") or ()


def init_containers(pod: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The pod's init containers, sidecars among them."""
    return (pod.get("spec") or {}).get("initContainers") or ()


def is_sidecar(container: Mapping[str, Any]) -> bool:
    """An init container that goes on beside the others."""
    return bool(container.get("restartPolicy") == "Always")


def backoff(crashes: int, base: float = BACKOFF_BASE) -> float:
    """Seconds between the end of a run that had this many ended ones before it, and the next."""
    return 0.0 if crashes == 0 else min(base * 2.0 ** min(crashes - 1, 30), BACKOFF_LIMIT * base / BACKOFF_BASE)


def pull_backoff(pulls: int, base: float = BACKOFF_BASE) -> float:
    """Seconds until an environment that could not be made is tried again after so many tries before."""
    return min(2.0 ** min(pulls, 30), PULL_LIMIT) * PULL_BASE * base / BACKOFF_BASE


def next_start(name: str, run: Run) -> Start:
    """The start after an ended run; a long run ends the streak."""
    if run.exit is None:
        raise ValueError(f"container {name} still runs")
    long_run = run.exit.finished - run.exit.started >= 2 * BACKOFF_LIMIT
    return Start(name, run.restart + 1, 1 if long_run else run.crashes + 1)


def _restarts(policy: str, code: int) -> bool:
    return policy == "Always" or (policy == "OnFailure" and code != 0)


def decide(
    pod: Obj, records: Mapping[str, Record], now: float, *, base: float = BACKOFF_BASE, stopped: bool = False
) -> Decision:
    """What to do about a pod now.

    Args:
        pod: the object as the API has it.
        records: what is known of each container, by name.
        now: epoch seconds.
        base: first back-off in seconds.
        stopped: the pod failed as a whole (deadline, eviction): nothing is started any more.
    """
    running = tuple(name for name, record in records.items() if record.running)
    busy = any(record.busy for record in records.values())
    if meta(pod).get("deletionTimestamp"):
        return Decision(stop=running, gone=not running and not busy)
    if stopped or (pod.get("status") or {}).get("phase") in FINAL:
        return Decision(stop=running)
    wake = _deadline(pod)
    if wake is not None and now >= wake:
        message = "Pod was active on the node longer than the specified deadline"
        return Decision(stop=running, fail=("DeadlineExceeded", message))
    decision = _advance(pod, records, now, base)
    times = [t for t in (wake, decision.wake) if t is not None]
    return Decision(decision.start, decision.stop, min(times, default=None), decision.backing_off)


def _deadline(pod: Obj) -> float | None:
    seconds = (pod.get("spec") or {}).get("activeDeadlineSeconds")
    start = parse_time((pod.get("status") or {}).get("startTime"))
    return start + float(seconds) if seconds is not None and start is not None else None


def _advance(pod: Obj, records: Mapping[str, Record], now: float, base: float) -> Decision:
    policy = str((pod.get("spec") or {}).get("restartPolicy", "Always"))
    plan = _Plan(records, now, base)
    main_done = all(_final(records.get(c["name"]), policy) for c in containers(pod))
    for container in init_containers(pod):
        record = records.get(container["name"], Record())
        if is_sidecar(container):
            if main_done:
                plan.stop += [container["name"]] if record.running else []
                continue
            plan.consider(container["name"], "Always")
            if not (record.running and record.started):
                return plan.decision()
        elif not (record.exit and record.exit.code == 0):
            plan.consider(container["name"], "Never" if policy == "Never" else "OnFailure")
            return plan.decision()
    for container in containers(pod):
        plan.consider(container["name"], policy)
    return plan.decision()


def _final(record: Record | None, policy: str) -> bool:
    return record is not None and record.exit is not None and not _restarts(policy, record.exit.code)


class _Plan:
    """Collects one decision."""

    def __init__(self, records: Mapping[str, Record], now: float, base: float) -> None:
        self.records, self.now, self.base = records, now, base
        self.start: list[Start] = []
        self.stop: list[str] = []
        self.waits: dict[str, float] = {}
        self.wake: float | None = None

    def consider(self, name: str, policy: str) -> None:
        record = self.records.get(name, Record())
        if record.busy or record.running:
            return
        if record.run is None or record.exit is None:
            self.start.append(Start(name, 0, 0))
        elif _restarts(policy, record.exit.code):
            delay = backoff(record.run.crashes, self.base)
            due = record.exit.finished + delay
            if self.now >= due:
                self.start.append(next_start(name, record.run))
            else:
                self.waits[name] = delay
                self.wake = due if self.wake is None else min(self.wake, due)

    def decision(self) -> Decision:
        return Decision(tuple(self.start), tuple(self.stop), self.wake, self.waits)


# ---------------------------------------------------------------------------------------------------------------------
# Status


@dataclass(frozen=True, slots=True)
class Place:
    """What the node knows of the pod beyond its containers."""

    host_ip: str
    pod_ip: str = ""
    sandbox: bool = False
    """Its folders, volumes and address are there."""
    failed: tuple[str, str] | None = None
    """Reason and message when it failed as a whole."""


def status(
    pod: Obj, records: Mapping[str, Record], place: Place, now: float, backing_off: Mapping[str, float]
) -> dict[str, Any]:
    """The pod's whole status, what others wrote into it kept."""
    old = dict(pod.get("status") or {})
    uid = str(meta(pod).get("uid", ""))
    result: dict[str, Any] = {k: v for k, v in old.items() if k not in ("reason", "message")}
    phase = old.get("phase") if old.get("phase") in FINAL else _phase(pod, records, place)
    result["phase"] = phase
    result["qosClass"] = old.get("qosClass") or quality_of_service(pod)
    result["hostIP"] = place.host_ip
    result["hostIPs"] = [{"ip": place.host_ip}]
    result.setdefault("startTime", format_time(now))
    if meta(pod).get("generation"):
        result["observedGeneration"] = meta(pod)["generation"]
    if place.pod_ip:
        result["podIP"] = place.pod_ip
        result["podIPs"] = [{"ip": place.pod_ip}]
    failed = place.failed or ((old["reason"], old.get("message", "")) if old.get("reason") else None)
    if failed:
        result["reason"], result["message"] = failed
    initialized = _initialized(pod, records)
    empty = "ContainerCreating" if initialized and not init_containers(pod) else "PodInitializing"
    for field_name, group in (("initContainerStatuses", init_containers(pod)), ("containerStatuses", containers(pod))):
        if group:
            result[field_name] = [
                _container_status(
                    c, records.get(c["name"], Record()), uid, backing_off=backing_off, empty=empty, pod=pod
                )
                for c in group
            ]
    result["conditions"] = _conditions(pod, records, result, now, sandbox=place.sandbox)
    return result


def _initialized(pod: Obj, records: Mapping[str, Record]) -> bool:
    for container in init_containers(pod):
        record = records.get(container["name"], Record())
        if is_sidecar(container):
            if not (record.running and record.started) and record.exit is None:
                return False
        elif not (record.exit and record.exit.code == 0):
            return False
    return True


def _phase(pod: Obj, records: Mapping[str, Record], place: Place) -> str:
    policy = str((pod.get("spec") or {}).get("restartPolicy", "Always"))
    if place.failed:
        return "Failed"
    for container in init_containers(pod):
        record = records.get(container["name"], Record())
        if is_sidecar(container):
            continue
        if record.exit and record.exit.code != 0 and policy == "Never":
            return "Failed"
        if not (record.exit and record.exit.code == 0):
            return "Pending"
    main = [records.get(c["name"], Record()) for c in containers(pod)]
    if any(record.run is None for record in main):
        return "Pending"
    if any(record.running or record.busy for record in main) or not all(_final(r, policy) for r in main):
        return "Running"
    return "Succeeded" if all(r.exit is not None and r.exit.code == 0 for r in main) else "Failed"


def container_id(uid: str, name: str, number: int) -> str:
    """The containerID of one run."""
    return f"process://{uid}/{name}/{number}"


def _terminated(uid: str, name: str, run: Run) -> dict[str, Any]:
    ended = run.exit
    if ended is None:
        raise ValueError(f"container {name} still runs")
    state: dict[str, Any] = {
        "containerID": container_id(uid, name, run.number),
        "exitCode": ended.code,
        "finishedAt": format_time(ended.finished),
        "reason": ended.reason,
        "startedAt": format_time(ended.started),
    }
    if ended.message:
        state["message"] = ended.message
    return state


def _container_status(
    container: Mapping[str, Any],
    record: Record,
    uid: str,
    *,
    backing_off: Mapping[str, float],
    empty: str,
    pod: Obj,
) -> dict[str, Any]:
    name = str(container["name"])
    run, previous = record.run, record.previous
    state: dict[str, Any]
    if run and run.exit is None:
        state = {"running": {"startedAt": format_time(run.started)}}
    elif run and (name in backing_off or record.busy or record.waiting):
        reason, message = record.waiting or ("ContainerCreating", "")
        if name in backing_off:
            reason = "CrashLoopBackOff"
            message = f"back-off {_duration(backing_off[name])} restarting failed container={name} pod={_full(pod)}"
        state = {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        previous = run
    elif run:
        state = {"terminated": _terminated(uid, name, run)}
    else:
        reason, message = record.waiting or (empty, "")
        state = {"waiting": {"reason": reason} | ({"message": message} if message else {})}
    init_done = container in init_containers(pod) and run is not None and run.exit is not None and run.exit.code == 0
    result: dict[str, Any] = {
        "name": name,
        "state": state,
        "lastState": {"terminated": _terminated(uid, name, previous)} if previous and previous.exit else {},
        "ready": (record.running and record.started and record.ready) or init_done,
        "restartCount": run.restart if run else 0,
        "image": record.image or str(container.get("image", "")),
        "imageID": record.image_id,
        "started": record.running and record.started,
    }
    if run:
        result["containerID"] = container_id(uid, name, run.number)
    return result


def _full(pod: Obj) -> str:
    return f"{meta(pod).get('name')}_{meta(pod).get('namespace')}({meta(pod).get('uid')})"


def _duration(seconds: float) -> str:
    """As Go prints it: `10s`, `1m20s`, `5m0s`."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


def _conditions(
    pod: Obj, records: Mapping[str, Record], new: Mapping[str, Any], now: float, *, sandbox: bool
) -> list[dict[str, Any]]:
    phase = new["phase"]
    statuses = new.get("containerStatuses") or []
    unready = [s["name"] for s in statuses if not s["ready"]]
    pending = [
        c["name"] for c in init_containers(pod) if not _done(records.get(c["name"], Record()), sidecar=is_sidecar(c))
    ]
    wanted: dict[str, tuple[bool, str, str]] = {
        "PodReadyToStartContainers": (sandbox and phase not in FINAL, "", ""),
        "Initialized": (not pending, "", "")
        if not pending
        else (False, "ContainersNotInitialized", f"containers with incomplete status: [{' '.join(pending)}]"),
    }
    if phase == "Succeeded":
        wanted["Initialized"] = (True, "PodCompleted", "")
        wanted["Ready"] = wanted["ContainersReady"] = (False, "PodCompleted", "")
    elif phase == "Failed":
        wanted["Ready"] = wanted["ContainersReady"] = (False, "PodFailed", "")
    elif unready:
        text = f"containers with unready status: [{' '.join(unready)}]"
        wanted["Ready"] = wanted["ContainersReady"] = (False, "ContainersNotReady", text)
    else:
        wanted["Ready"] = wanted["ContainersReady"] = (True, "", "")
    wanted["PodScheduled"] = (True, "", "")
    if phase == "Failed" and new.get("reason") == SHUTDOWN[0]:
        wanted["DisruptionTarget"] = (True, "TerminationByKubelet", SHUTDOWN[1])
    old = {c["type"]: c for c in (pod.get("status") or {}).get("conditions") or ()}
    conditions = [_condition(name, wanted[name], old.get(name), now) for name in wanted]
    return [*conditions, *(c for name, c in old.items() if name not in wanted)]


def _done(record: Record, *, sidecar: bool) -> bool:
    if sidecar:
        return (record.running and record.started) or record.exit is not None
    return record.exit is not None and record.exit.code == 0


def _condition(name: str, wanted: tuple[bool, str, str], old: Mapping[str, Any] | None, now: float) -> dict[str, Any]:
    value, reason, message = wanted
    text = "True" if value else "False"
    since = old["lastTransitionTime"] if old and old.get("status") == text else format_time(now)
    condition: dict[str, Any] = {"type": name, "status": text, "lastProbeTime": None, "lastTransitionTime": since}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition
