"""What a cluster's machines have, what is free, and how many pods of some hardware would fit: one sum for all who ask.

Requests against allocatable, as the scheduler counts; a namespace's ResourceQuotas lower what is free there. Pure:
nodes, pods and quotas in. It does not foretell the scheduler: affinities and volumes are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from jupyterlab_kf.manifests import pods
from jupyterlab_kf.model import Obj, labels, meta

_OCCUPYING: Final = ("Pending", "Running", "Unknown", None)
_KEEPS_OUT: Final = ("NoSchedule", "NoExecute")


@dataclass(frozen=True, slots=True)
class Capacity:
    """What the cluster's machines have and what is free: CPUs, bytes and GPUs; ``largest`` is of one machine.

    Attributes:
        quota: the quotas that leave less than the machines do, in a sentence; empty when none does.
    """

    nodes: int = 0
    cpu: float = 0.0
    memory: float = 0.0
    gpu: float = 0.0
    free_cpu: float = 0.0
    free_memory: float = 0.0
    free_gpu: float = 0.0
    largest_cpu: float = 0.0
    largest_memory: float = 0.0
    quota: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """One node that takes pods: what it has, and what pods have not asked for."""

    name: str
    has: Mapping[str, Decimal]
    free: Mapping[str, Decimal]
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Room:
    """Whether a pod of some hardware has a place.

    Attributes:
        now: how many would start now.
        ever: whether one could start if nothing else ran; True where that is not known.
        sentence: both, for people.
    """

    now: int
    ever: bool
    sentence: str


@dataclass(frozen=True, slots=True)
class Ground:
    """The machines and what the namespace's quotas leave, at one moment."""

    machines: tuple[Machine, ...] = ()
    quotas: tuple[tuple[str, Mapping[str, Decimal]], ...] = ()
    """Each quota's name, and resource name to what is left of it."""

    def left(self, resource: str) -> tuple[Decimal, str] | None:
        """The least that a quota leaves of a resource, and the quota's name; None where no quota counts it."""
        found = [(left[resource], name) for name, left in self.quotas if resource in left]
        return min(found) if found else None


def survey(nodes: Sequence[Obj], running: Iterable[Obj], quotas: Iterable[Obj] = ()) -> Ground:
    """The machines with what is free on each, and the quotas.

    Args:
        nodes: all nodes; cordoned ones and those that are not ready take nothing.
        running: the pods of all namespaces.
        quotas: the ResourceQuotas of the namespace in question.
    """
    used: dict[str, dict[str, Decimal]] = {}
    for pod in running:
        where = (pod.get("spec") or {}).get("nodeName")
        if where and (pod.get("status") or {}).get("phase") in _OCCUPYING:
            sums = used.setdefault(where, {})
            for name, amount in {**pods.requests_of(pod["spec"]), "pods": Decimal(1)}.items():
                sums[name] = sums.get(name, Decimal(0)) + amount
    machines = []
    for node in nodes:
        if (node.get("spec") or {}).get("unschedulable") or _unready(node):
            continue
        name = str(meta(node).get("name", ""))
        has = {key: pods.quantity(value, key) for key, value in _allocatable(node).items()}
        taken = used.get(name, {})
        free = {key: max(Decimal(0), amount - taken.get(key, Decimal(0))) for key, amount in has.items()}
        taints = tuple((node.get("spec") or {}).get("taints") or ())
        machines.append(Machine(name, has, free, labels(node), taints))
    return Ground(tuple(machines), tuple(_quota(one) for one in quotas))


def capacity(ground: Ground) -> Capacity:
    """The sums, for display."""

    def total(resource: str) -> float:
        return float(sum((machine.has.get(resource, Decimal(0)) for machine in ground.machines), Decimal(0)))

    def largest(resource: str) -> float:
        return float(max((machine.has.get(resource, Decimal(0)) for machine in ground.machines), default=Decimal(0)))

    free: dict[str, Decimal] = {}
    said = []
    for resource in ("cpu", "memory", pods.GPU):
        amount = sum((machine.free.get(resource, Decimal(0)) for machine in ground.machines), Decimal(0))
        quota = ground.left(resource)
        if quota is not None and quota[0] < amount:
            amount = quota[0]
            said.append(f"the quota {quota[1]!r} leaves {pods.amount(resource, amount)}")
        free[resource] = amount
    return Capacity(
        nodes=len(ground.machines),
        cpu=total("cpu"),
        memory=total("memory"),
        gpu=total(pods.GPU),
        free_cpu=float(free["cpu"]),
        free_memory=float(free["memory"]),
        free_gpu=float(free[pods.GPU]),
        largest_cpu=largest("cpu"),
        largest_memory=largest("memory"),
        quota="; ".join(said),
    )


def room(
    ground: Ground,
    wanted: Mapping[str, Decimal],
    *,
    node_selector: Mapping[str, str] | None = None,
    tolerations: Sequence[Mapping[str, Any]] = (),
) -> Room:
    """Whether pods that ask for so much would find a place. No machines known: no opinion."""
    if not ground.machines:
        return Room(0, True, "")
    asked = {name: amount for name, amount in wanted.items() if amount}
    fitting = [one for one in ground.machines if _may(one, node_selector or {}, tolerations)]
    if not fitting:
        return Room(0, False, "No machine of this cluster has what it needs.")
    if not any(_times(machine.has, asked) for machine in fitting):
        return Room(0, False, _never(fitting, asked))
    now = sum(_times(machine.free, {**asked, **_one_pod(machine)}) for machine in fitting)
    for name, amount in asked.items():
        quota = ground.left(name)
        if quota is not None and quota[0] < amount * max(now, 1):
            now = int(quota[0] // amount)
            if not now:
                left = pods.amount(name, quota[0])
                return Room(0, True, f"It would wait: the quota {quota[1]!r} leaves {left}.")
    if not now:
        return Room(0, True, f"It would wait: {_short(fitting, asked)} free now.")
    return Room(now, True, "Starts at once." if now == 1 else f"Starts at once; {_many(now)} would.")


def _many(count: int) -> str:
    return f"{count} like it" if count < 100 else "more than 100 like it"  # noqa: PLR2004  nobody counts further


def _times(there: Mapping[str, Decimal], asked: Mapping[str, Decimal]) -> int:
    counts = [int(there.get(name, Decimal(0)) // amount) for name, amount in asked.items() if amount]
    return min(counts, default=1)


def _one_pod(machine: Machine) -> dict[str, Decimal]:
    return {"pods": Decimal(1)} if "pods" in machine.has else {}


def _never(machines: Sequence[Machine], asked: Mapping[str, Decimal]) -> str:
    for name, amount in asked.items():
        most = max(machine.has.get(name, Decimal(0)) for machine in machines)
        if amount > most:
            if not most:
                return f"This cluster has no {'GPU' if name == pods.GPU else name}."
            return f"Too large: the largest machine has {pods.amount(name, most)}."
    return "Too large: no single machine has all of it."


def _short(machines: Sequence[Machine], asked: Mapping[str, Decimal]) -> str:
    for name, amount in asked.items():
        most = max(machine.free.get(name, Decimal(0)) for machine in machines)
        if amount > most:
            return f"at most {pods.amount(name, most)}" if most else f"no {_noun(name)}"
    return "no machine has all of it"


def _noun(name: str) -> str:
    return {"cpu": "CPU", pods.GPU: "GPU"}.get(name, name)


def _may(machine: Machine, selector: Mapping[str, str], tolerations: Sequence[Mapping[str, Any]]) -> bool:
    if any(machine.labels.get(key) != value for key, value in selector.items()):
        return False
    hard = [taint for taint in machine.taints if taint.get("effect") in _KEEPS_OUT]
    return all(any(_tolerates(one, taint) for one in tolerations) for taint in hard)


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("key") not in (None, "", taint.get("key")):
        return False
    return toleration.get("operator") == "Exists" or (toleration.get("value") or "") == (taint.get("value") or "")


def _unready(node: Obj) -> bool:
    conditions = (node.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") != "True" for one in conditions)


def _allocatable(node: Obj) -> Mapping[str, str]:
    return (node.get("status") or {}).get("allocatable") or {}


def _quota(quota: Obj) -> tuple[str, Mapping[str, Decimal]]:
    status = quota.get("status") or {}
    hard = status.get("hard") or (quota.get("spec") or {}).get("hard") or {}
    used = status.get("used") or {}
    left: dict[str, Decimal] = {}
    for key, value in hard.items():
        name = key.removeprefix("requests.")
        if name.startswith("limits."):
            # A limit that is not asked for separately is what is asked for.
            continue
        rest = max(Decimal(0), pods.quantity(value, key) - pods.quantity(used.get(key, "0"), key))
        left[name] = min(rest, left.get(name, rest))
    return str(meta(quota).get("name", "")), left
