"""``spec.podFailurePolicy`` of a Job: what a failed pod means. The first rule that fits decides; none means Count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jupyterlab_kf.controllers.support import name, namespace
from jupyterlab_kf.model import Obj


def action(spec: Mapping[str, Any], pod: Obj) -> str:
    """``FailJob``, ``Ignore`` or ``Count``; ``FailIndex`` counts, as there is no limit per index here."""
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        if _fits(rule, pod):
            return str(rule.get("action", "Count"))
    return "Count"


def failing_pod(spec: Mapping[str, Any], pods: Sequence[Obj]) -> str | None:
    """Why the Job fails at once: the message about the first pod whose rule says so, or None."""
    rules = (spec.get("podFailurePolicy") or {}).get("rules") or ()
    for pod in pods:
        number = next((n for n, rule in enumerate(rules) if _fits(rule, pod)), None)
        if number is not None and rules[number].get("action") == "FailJob":
            return _message(rules[number], number, pod)
    return None


def _message(rule: Mapping[str, Any], number: int, pod: Obj) -> str:
    where = f"{namespace(pod)}/{name(pod)}"
    codes = rule.get("onExitCodes")
    if codes is not None:
        container, code = next(iter(_matching_codes(codes, pod)))
        what = f"Container {container} for pod {where} failed with exit code {code}"
    else:
        pattern = next(p for p in rule.get("onPodConditions") or () if _has(pod, p))
        what = f"Pod {where} has condition {pattern['type']}"
    return f"{what} matching FailJob rule at index {number}"


def _fits(rule: Mapping[str, Any], pod: Obj) -> bool:
    if rule.get("onExitCodes") is not None:
        return bool(_matching_codes(rule["onExitCodes"], pod))
    return any(_has(pod, pattern) for pattern in rule.get("onPodConditions") or ())


def _matching_codes(codes: Mapping[str, Any], pod: Obj) -> list[tuple[str, int]]:
    status, wanted, values = pod.get("status") or {}, codes.get("containerName"), codes.get("values") or ()
    found = []
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        ended = (container.get("state") or {}).get("terminated")
        if ended is None or (wanted and container.get("name") != wanted):
            continue
        code = int(ended.get("exitCode", 0))
        if code != 0 and (code in values) == (codes.get("operator") == "In"):
            found.append((str(container.get("name")), code))
    return found


def _has(pod: Obj, pattern: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    status = pattern.get("status") or "True"
    return any(c.get("type") == pattern.get("type") and c.get("status") == status for c in conditions)
