"""Pending pods and free resources to bindings, or the reason why not.

Pure. Requests are counted against allocatable as the real scheduler does, node selectors, affinity and taints are
obeyed, and the messages are those of kube-scheduler 1.36. On top of that, the pods of one job start together or wait
together, first come first served: a job that waits keeps younger pods from the resources it lacks, and from nothing
else, so neither it nor they can starve.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from jupyterlab_kf import names
from jupyterlab_kf.embedded.resources import requests
from jupyterlab_kf.model import Obj, controller_of, labels, meta, parse_time
from jupyterlab_kf.quantities import parse

GANG_SIZE: Final = f"scheduling.{names.DOMAIN}/replicas"
GANG_MINIMUM: Final = f"scheduling.{names.DOMAIN}/min-available"
JOB_LABEL: Final = "training.kubeflow.org/job-name"
FINAL: Final = ("Succeeded", "Failed")
_EFFECTS: Final = ("NoSchedule", "NoExecute")


@dataclass(frozen=True, slots=True)
class Binding:
    """This pod goes to that node."""

    pod: Obj
    node: str


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """This pod waits, and why, in the real scheduler's words."""

    pod: Obj
    message: str


@dataclass(slots=True)
class _Node:
    """A node's room, counted down while pods are placed."""

    name: str
    obj: Obj
    total: dict[str, Decimal]
    free: dict[str, Decimal]


@dataclass(slots=True)
class _Gang:
    """Pods that start together; a pod without a job is a gang of one."""

    key: str
    assigned: int
    created: float
    together: bool
    pods: list[Obj] = field(default_factory=list)
    size: int = 0
    minimum: int = 0


def schedule(
    pending: Sequence[Obj], assigned: Iterable[Obj], nodes: Sequence[Obj], now: float
) -> list[Binding | Unschedulable]:
    """Decide about every pending pod.

    Args:
        pending: pods without a node, that are not being deleted.
        assigned: pods on a node; those that have not ended hold their requests, all count as members of their job.
        nodes: all nodes.
        now: epoch seconds; the age of pods without a creation time.
    """
    assigned = list(assigned)
    room = _room(assigned, nodes)
    blocked: dict[str, str] = {}
    result: list[Binding | Unschedulable] = []
    for gang in _gangs(pending, assigned, now):
        result += _place_gang(gang, room, blocked)
    return result


def _room(assigned: Iterable[Obj], nodes: Sequence[Obj]) -> list[_Node]:
    room: dict[str, _Node] = {}
    for node in nodes:
        allocatable = (node.get("status") or {}).get("allocatable") or {}
        total = {name: parse(value) for name, value in allocatable.items()}
        name = str(meta(node).get("name"))
        room[name] = _Node(name, node, total, dict(total))
    for pod in assigned:
        place = room.get(str((pod.get("spec") or {}).get("nodeName")))
        if place and (pod.get("status") or {}).get("phase") not in FINAL:
            _take(place, pod)
    return list(room.values())


def _take(node: _Node, pod: Obj) -> None:
    for name, amount in _needs(pod).items():
        node.free[name] = node.free.get(name, Decimal(0)) - amount


def _needs(pod: Obj) -> dict[str, Decimal]:
    return {"pods": Decimal(1)} | requests(pod)


def group_key(pod: Obj) -> str:
    """What makes pods one gang: the training job they belong to; else the pod itself."""
    given = meta(pod).get("annotations") or {}
    if GANG_SIZE in given or GANG_MINIMUM in given or JOB_LABEL in labels(pod):
        if name := labels(pod).get(JOB_LABEL):
            return f"{meta(pod).get('namespace')}/{name}"
        owner = controller_of(pod)
        if owner:
            return str(owner.get("uid"))
    return str(meta(pod).get("uid"))


def _number(value: str | None) -> int:
    return int(value) if value and value.isdigit() else 0


def _gangs(pending: Sequence[Obj], assigned: Sequence[Obj], now: float) -> list[_Gang]:
    """The pending gangs, that of the oldest job first; a pod made again has the age of its job's oldest pod."""
    members: dict[str, list[Obj]] = {}
    for pod in assigned:
        members.setdefault(group_key(pod), []).append(pod)
    gangs: dict[str, _Gang] = {}
    for pod in pending:
        key = group_key(pod)
        others = members.get(key, [])
        gang = gangs.get(key)
        if gang is None:
            created = min((_created(other, now) for other in others), default=now)
            gang = gangs[key] = _Gang(key, len(others), created, together=key != str(meta(pod).get("uid")))
        told = meta(pod).get("annotations") or {}
        gang.pods.append(pod)
        gang.created = min(gang.created, _created(pod, now))
        gang.size = max(gang.size, _number(told.get(GANG_SIZE)))
        gang.minimum = max(gang.minimum, _number(told.get(GANG_MINIMUM)))
    return sorted(gangs.values(), key=lambda gang: (gang.created, gang.key))


def _created(pod: Obj, now: float) -> float:
    return parse_time(meta(pod).get("creationTimestamp")) or now


def _place_gang(gang: _Gang, room: list[_Node], blocked: dict[str, str]) -> list[Binding | Unschedulable]:
    """Bind as many as there is room for, if that is at least the gang's minimum; else none."""
    present = len(gang.pods) + gang.assigned
    wanted = min(gang.minimum, gang.size or gang.minimum) or gang.size or present
    if gang.together and present < wanted:
        why = f"waiting for the other pods of the job: {present} of {wanted} exist"
        return [Unschedulable(pod, why) for pod in gang.pods]
    before = [dict(node.free) for node in room]
    bound: list[Binding] = []
    failed: list[Unschedulable] = []
    lacking: set[str] = set()
    for pod in gang.pods:
        node, message, missing = _place(pod, room, blocked)
        if node is None:
            failed.append(Unschedulable(pod, message))
            lacking |= missing
        else:
            _take(node, pod)
            bound.append(Binding(pod, node.name))
    if not failed or (gang.assigned + len(bound) >= wanted and gang.minimum):
        return [*bound, *failed]
    for node, free in zip(room, before, strict=True):
        node.free = free
    note = " The pods of this job start together." if gang.together else ""
    if gang.together and not _could_ever(gang, wanted, room):
        note = f" The pods of this job start together, and {wanted} of them can never fit."
        lacking = set()
    for name in lacking:
        blocked.setdefault(name, gang.key)
    return [Unschedulable(pod, failed[0].message + note) for pod in gang.pods]


def _could_ever(gang: _Gang, wanted: int, room: list[_Node]) -> bool:
    """Whether the pods that must start together would fit on empty nodes; a job that never can blocks nobody."""
    empty = [_Node(node.name, node.obj, node.total, dict(node.total)) for node in room]
    placed = gang.assigned
    for pod in gang.pods:
        node, _, _ = _place(pod, empty, {})
        if node:
            _take(node, pod)
            placed += 1
    return placed >= min(wanted, gang.assigned + len(gang.pods))


def _place(pod: Obj, room: list[_Node], blocked: Mapping[str, str]) -> tuple[_Node | None, str, set[str]]:
    """The node with the most room left among those that fit, or the message and the resources that are missing."""
    needs = {name: amount for name, amount in _needs(pod).items() if amount > 0}
    reasons: dict[str, int] = {}
    helpless = 0
    missing: set[str] = set()
    fitting: list[_Node] = []
    for node in room:
        against, final = _against(pod, node)
        if not against:
            short = [name for name, amount in needs.items() if node.free.get(name, Decimal(0)) < amount]
            behind = [name for name in needs if name in blocked and name not in short and name != "pods"]
            if not short and not behind:
                fitting.append(node)
                continue
            never = [name for name in short if node.total.get(name, Decimal(0)) < needs[name]]
            against = [_insufficient(name) for name in short] + [
                f"Insufficient {name} (an older job waits for it)" for name in behind
            ]
            final = bool(never)
            missing |= set(short) if not never else set()
        helpless += final
        for reason in against:
            reasons[reason] = reasons.get(reason, 0) + 1
    if fitting:
        return max(fitting, key=lambda node: node.free.get("cpu", Decimal(0))), "", set()
    return None, _message(len(room), reasons, helpless), missing


def _insufficient(name: str) -> str:
    return "Too many pods" if name == "pods" else f"Insufficient {name}"


def _message(count: int, reasons: Mapping[str, int], helpless: int) -> str:
    """As kube-scheduler 1.36 prints it, with the sentence about preemption."""
    if not count:
        return "no nodes available to schedule pods"
    head = f"0/{count} nodes are available"
    told = ", ".join(sorted(f"{number} {reason}" for reason, number in reasons.items()))
    victims = []
    if count - helpless:
        victims.append(f"{count - helpless} No preemption victims found for incoming pod")
    if helpless:
        victims.append(f"{helpless} Preemption is not helpful for scheduling")
    return f"{head}: {told}. no new claims to deallocate, preemption: {head}: {', '.join(victims)}."


def _against(pod: Obj, node: _Node) -> tuple[list[str], bool]:
    """Why this node will not do, whatever room it has; and whether ending other pods could not help."""
    spec = pod.get("spec") or {}
    if (node.obj.get("spec") or {}).get("unschedulable") and not _tolerates(
        spec, {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    ):
        return ["node(s) were unschedulable"], True
    for taint in (node.obj.get("spec") or {}).get("taints") or ():
        if taint.get("effect") in _EFFECTS and not _tolerates(spec, taint):
            value = f": {taint['value']}" if taint.get("value") else ": "
            return [f"node(s) had untolerated taint(s) {{{taint.get('key')}{value}}}"], True
    if not _selected(spec, node):
        return ["node(s) didn't match Pod's node affinity/selector"], True
    return [], False


def _tolerates(spec: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    for toleration in spec.get("tolerations") or ():
        if toleration.get("effect") not in (None, "", taint.get("effect")):
            continue
        if toleration.get("key") not in (None, "", taint.get("key")):
            continue
        if toleration.get("operator") == "Exists":
            return True
        if toleration.get("key") and (toleration.get("value") or "") == (taint.get("value") or ""):
            return True
    return False


def _selected(spec: Mapping[str, Any], node: _Node) -> bool:
    given = labels(node.obj)
    if not (spec.get("nodeSelector") or {}).items() <= given.items():
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    return any(_term(term, given, node.name) for term in required.get("nodeSelectorTerms") or ())


def _term(term: Mapping[str, Any], given: Mapping[str, str], name: str) -> bool:
    expressions, fields = term.get("matchExpressions") or (), term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_matches(e, given) for e in expressions) and all(_matches(f, {"metadata.name": name}) for f in fields)


def _matches(expression: Mapping[str, Any], given: Mapping[str, str]) -> bool:
    key, operator, values = str(expression["key"]), expression.get("operator"), expression.get("values") or []
    have = given.get(key)
    if operator == "Exists":
        return have is not None
    if operator == "DoesNotExist":
        return have is None
    if operator == "In":
        return have in values
    if operator == "NotIn":
        return have not in values
    if have is None or not have.lstrip("-").isdigit() or len(values) != 1:
        return False
    return int(have) > int(values[0]) if operator == "Gt" else int(have) < int(values[0])
