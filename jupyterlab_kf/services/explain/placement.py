"""Why pods have no machine: the scheduler's message, read against what the pods ask for and what the machines have.

Tells apart what waiting cures (all machines are busy) from what it does not (none is that large, none accepts it). It
decides by the message first, since only the scheduler knows all its rules, and by the machines' sizes second.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from jupyterlab_kf.manifests import pods, training
from jupyterlab_kf.model import Cause, Explanation, Replica, labels
from jupyterlab_kf.services.explain.case import Case, who
from jupyterlab_kf.services.explain.waiting import NO_CLAIM, claim_missing

_PREEMPTION: Final = re.compile(
    r"\s*(?:no new claims to deallocate,?\s*)?preemption: (?:.*?incoming pod\.?|.*?scheduling\.?)"
)
_HEAD: Final = re.compile(r"^(?P<free>\d+)/(?P<all>\d+) nodes are available: (?P<reasons>.*)$", re.DOTALL)
_REASON: Final = re.compile(r"(?P<count>\d+) (?P<text>.+?)(?=, \d+ |\.(?:\s|$)|$)", re.DOTALL)
_SHORT: Final = re.compile(r"^Insufficient (?P<resource>\S+)")
_GANG: Final = re.compile(r"waiting for the other pods|start together|pod ?group|\bgang\b", re.IGNORECASE)
_NOTE: Final = re.compile(r"\s*The pods of this job start together[^.]*\.")
_FLAGS: Final = {"cpu": "--cpu", "memory": "--memory", pods.GPU: "--gpu"}
_EFFECTS: Final = ("NoSchedule", "NoExecute")


@dataclass(slots=True)
class _Verdict:
    """A scheduler's message, taken apart: how many machines there are and how many of them lack what."""

    machines: int = 0
    short: dict[str, int] = field(default_factory=dict)
    refusing: dict[str, int] = field(default_factory=dict)


def unschedulable(case: Case) -> Explanation | None:
    """Why replicas have no machine, if the scheduler says so."""
    told = {e.about.name: e.message for e in case.events if e.reason == "FailedScheduling"}
    waiting = [one for one in case.replicas if one.phase == "Pending" and not one.node and one.pod]
    marked = ("Unschedulable", "SchedulerError", "SchedulingGated")
    stuck = [one for one in waiting if one.reason in marked or one.pod in told]
    if not stuck:
        return None
    first = stuck[0]
    # The condition is of the last attempt; an event may be of an earlier one.
    said = first.message if first.reason in marked and first.message else told.get(first.pod, "")
    message = _PREEMPTION.sub("", said).strip()
    pod = case.pod(first)
    verdict = _read(_NOTE.sub("", message))
    return (
        _gated(case, first, stuck)
        or _empty(message, stuck)
        or _claims(case, message, first)
        or _together(case, message, verdict, stuck)
        or _short(case, verdict, stuck, pod)
        or _nobody(case, verdict, stuck, pod)
        or Explanation(
            f"{who(stuck)} cannot be placed on a machine: {message}",
            "wait for other jobs (%kf_jobs) to end, or ask for less",
            first.name,
            cause=Cause.UNSCHEDULABLE,
        )
    )


def _read(message: str) -> _Verdict:
    head = _HEAD.match(message)
    verdict = _Verdict()
    if head is None:
        return verdict
    verdict.machines = int(head["all"])
    for reason in _REASON.finditer(head["reasons"]):
        count, text = int(reason["count"]), reason["text"].strip()
        short = _SHORT.match(text)
        if short or text == "Too many pods":
            verdict.short[short["resource"] if short else "pods"] = count
        else:
            verdict.refusing[text] = count
    return verdict


def _gated(case: Case, first: Replica, stuck: Sequence[Replica]) -> Explanation | None:
    if first.reason != "SchedulingGated":
        return None
    return Explanation(
        f"{who(stuck)} may not be placed yet: a queue or another controller holds the {case.noun} back until it is its "
        "turn.",
        "ask the cluster's administrator which queue it is in",
        first.name,
        cause=Cause.GANG_WAITING,
    )


def _empty(message: str, stuck: Sequence[Replica]) -> Explanation | None:
    if not message.startswith("no nodes available"):
        return None
    return Explanation(
        f"{who(stuck)} cannot be placed: the cluster has no machine at all.",
        "machines may be on their way (a cluster that grows by itself); else ask the cluster's administrator",
        stuck[0].name,
        cause=Cause.UNSCHEDULABLE,
    )


def _claims(case: Case, message: str, first: Replica) -> Explanation | None:
    if found := NO_CLAIM.search(message):
        return claim_missing(case, first, found["name"])
    if "unbound immediate" not in message and "available persistent volumes" not in message:
        return None
    # The claim's own events are told by the rule on volumes, where there are any.
    claim = next(iter(training.claims_of(case.job)), "")
    return Explanation(
        f"{first.name} waits for the volume of claim {claim!r}, which is not there yet.",
        "does the cluster have a default storage class (kubectl get storageclass)?",
        first.name,
        cause=Cause.VOLUME_PROVISIONING,
    )


def _together(case: Case, message: str, verdict: _Verdict, stuck: Sequence[Replica]) -> Explanation | None:
    """A job whose replicas start together or wait together, and of which each alone could be placed."""
    alone = verdict.refusing and not verdict.short
    too_large = _too_large(case, verdict, case.pod(stuck[0]))
    if not _GANG.search(message) or len(case.replicas) == 1 or alone or too_large:
        return None
    first = stuck[0].name
    if "can never fit" in message:
        return Explanation(
            f"{who(stuck)} can never be placed: all {len(case.replicas)} replicas start together, "
            "and the machines here do not have that much.",
            "ask for less with --cpu, --memory or --gpu, or use fewer workers",
            first,
            cause=Cause.TOO_LARGE,
        )
    return Explanation(
        f"{who(stuck)} wait until there is room for all {len(case.replicas)} replicas at once.",
        "use fewer workers, or wait for other jobs (%kf_jobs) to end",
        first,
        cause=Cause.GANG_WAITING,
    )


def _short(case: Case, verdict: _Verdict, stuck: Sequence[Replica], pod: Mapping[str, Any]) -> Explanation | None:
    """There are machines that would take it, if they had more."""
    if not verdict.short:
        return None
    resource = next((name for name in (pods.GPU, "memory", "cpu") if name in verdict.short), next(iter(verdict.short)))
    refusing = _besides(case, verdict, pod)
    if found := _too_large(case, verdict, pod):
        resource, asked, largest = found
        has = f"the largest machine has {pods.amount(resource, largest)}" if largest else "no machine has any"
        return Explanation(
            f"{_asks(stuck)} {pods.amount(resource, asked)}, and {has}{refusing}.",
            f"ask for less{_flag(resource)}: waiting does not help",
            stuck[0].name,
            cause=Cause.TOO_LARGE,
        )
    wanted = pods.requests_of(pod.get("spec") or {})
    amount = pods.amount(resource, wanted[resource]) if resource in wanted else resource
    count, machines = verdict.short[resource], verdict.machines
    known = case.nodes is not None
    free = "free now" if known else "free"
    return Explanation(
        f"{_asks(stuck)} {amount}, and {_lacking(count, machines)} that much {free}{refusing}.",
        f"wait for other jobs (%kf_jobs) to end, use fewer workers, or ask for less{_flag(resource)}",
        stuck[0].name,
        cause=Cause.BUSY if known else Cause.INSUFFICIENT,
    )


def _too_large(case: Case, verdict: _Verdict, pod: Mapping[str, Any]) -> tuple[str, Decimal, Decimal] | None:
    """A resource of which no machine that accepts the pod has as much as is asked: its name, the request, the most."""
    if case.nodes is None:
        return None
    wanted = pods.requests_of(pod.get("spec") or {})
    fitting = [node for node in case.nodes if _accepts(node, pod)] or list(case.nodes)
    for resource in verdict.short:
        sizes = [
            pods.quantity(value, resource)
            for node in fitting
            if (value := ((node.get("status") or {}).get("allocatable") or {}).get(resource)) is not None
        ]
        largest = max(sizes, default=Decimal(0))
        if resource in wanted and wanted[resource] > largest:
            return resource, wanted[resource], largest
    return None


def _accepts(node: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """Whether selector and taints let the pod onto the node; rules that are not looked at here let it."""
    spec, place = pod.get("spec") or {}, node.get("spec") or {}
    if place.get("unschedulable") or not (spec.get("nodeSelector") or {}).items() <= labels(node).items():
        return False
    return not _untolerated(node, pod)


def _untolerated(node: Mapping[str, Any], pod: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    tolerations = (pod.get("spec") or {}).get("tolerations") or ()
    return [
        taint
        for taint in (node.get("spec") or {}).get("taints") or ()
        if taint.get("effect") in _EFFECTS and not any(_tolerates(one, taint) for one in tolerations)
    ]


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint.get("key"))
    same = (toleration.get("value") or "") == (taint.get("value") or "")
    return toleration.get("key") == taint.get("key") and same


def _nobody(case: Case, verdict: _Verdict, stuck: Sequence[Replica], pod: Mapping[str, Any]) -> Explanation | None:
    """Machines there are, but none takes it."""
    if not verdict.refusing:
        return None
    selected = any("affinity" in text or "selector" in text for text in verdict.refusing)
    hint = "ask the cluster's administrator which machines are meant for such jobs"
    return Explanation(
        f"No machine accepts {who(stuck)}: {_refusals(case, verdict, pod)}.",
        f"look at the labels that the {case.noun} asks for (nodeSelector), or {hint}" if selected else hint,
        stuck[0].name,
        cause=Cause.NO_MACHINE_ACCEPTS,
    )


def _refusals(case: Case, verdict: _Verdict, pod: Mapping[str, Any]) -> str:
    told = []
    keys = {(taint.get("key"), taint.get("value")) for node in case.nodes or () for taint in _untolerated(node, pod)}
    taints = [f"{key}={value}" if value else str(key) for key, value in keys]
    for text, count in verdict.refusing.items():
        one, many = _refusal(text, sorted(taints))
        who_ = "the only machine" if verdict.machines == 1 else f"{count} of {verdict.machines} machines"
        told.append(f"{who_} {one if count == 1 else many}")
    return ", ".join(told)


def _refusal(text: str, taints: Sequence[str]) -> tuple[str, str]:
    """What a filter of the scheduler says against machines; of one and of several."""
    if "taint" in text:
        if taints and all(taint.startswith("node.kubernetes.io/") for taint in taints):
            return "is not ready", "are not ready"
        # Older schedulers name the taint themselves.
        inside = re.search(r"\{(.*)\}", text)
        named = ", ".join(taints) or (inside[1].strip().rstrip(":").strip() if inside else "")
        of = f" ({named})" if named else ""
        return f"is reserved by a taint{of}", f"are reserved by a taint{of}"
    if "affinity" in text or "selector" in text:
        return "lacks the labels that it asks for", "lack the labels that it asks for"
    if "were unschedulable" in text:
        return "is closed to new pods", "are closed to new pods"
    return f"said: {text}", f"said: {text}"


def _besides(case: Case, verdict: _Verdict, pod: Mapping[str, Any]) -> str:
    return f"; {_refusals(case, verdict, pod)}" if verdict.refusing else ""


def _lacking(count: int, machines: int) -> str:
    if machines == 1:
        return "the only machine does not have"
    if count == machines:
        return f"none of the {machines} machines has"
    return f"{count} of {machines} machines {'does' if count == 1 else 'do'} not have"


def _asks(stuck: Sequence[Replica]) -> str:
    return f"{who(stuck)} each ask for" if len(stuck) > 1 else f"{who(stuck)} asks for"


def _flag(resource: str) -> str:
    return f" with {_FLAGS[resource]}" if resource in _FLAGS else ""
