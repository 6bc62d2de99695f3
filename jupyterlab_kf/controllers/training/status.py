"""The status of a training job: conditions, counts per role, times. A new value; the stored one is not touched.

Condition rules are the operator's: Running and Restarting exclude each other, Running turns false when the job ends,
and nothing changes any more after Failed. An unchanged condition keeps its times, so that reacting twice gives equal
statuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.support import is_true
from jupyterlab_kf.model import Obj, format_time, parse_time

_EXCLUDES = {"Running": "Restarting", "Restarting": "Running"}
_FINAL = ("Succeeded", "Failed")


class JobStatus:
    """A status in the making."""

    def __init__(self, stored: Mapping[str, Any] | None, now: float) -> None:
        self.value: Obj = copied(dict(stored or {}))
        self._now = format_time(now)

    def has(self, type_: str) -> bool:
        """Whether a condition is true."""
        return is_true(self.value, type_)

    @property
    def finished(self) -> bool:
        """Whether the job has come to its end."""
        return any(self.has(type_) for type_ in _FINAL)

    def set(self, type_: str, reason: str, message: str, *, status: bool = True) -> bool:
        """Set a condition; False when it was already so."""
        if self.has("Failed"):
            return False
        text = "True" if status else "False"
        stored: list[Obj] = self.value.get("conditions") or []
        current = next((c for c in stored if c["type"] == type_), None)
        if current and (current["status"], current.get("reason")) == (text, reason):
            return False
        since = current["lastTransitionTime"] if current and current["status"] == text else self._now
        kept = [c for c in stored if c["type"] not in (type_, _EXCLUDES.get(type_))]
        if type_ in _FINAL:
            kept = [self._ended(c) if c["type"] == "Running" else c for c in kept]
        new = {
            "type": type_,
            "status": text,
            "reason": reason,
            "message": message,
            "lastUpdateTime": self._now,
            "lastTransitionTime": since,
        }
        self.value["conditions"] = [*kept, new]
        return True

    def _ended(self, running: Obj) -> Obj:
        return {**running, "status": "False"}

    def start(self, *, again: bool = False) -> None:
        """Note when the job started, once; or anew after a suspension."""
        if again or not self.value.get("startTime"):
            self.value["startTime"] = self._now

    def complete(self) -> None:
        """Note when the job ended, once."""
        self.value.setdefault("completionTime", self._now)

    def time(self, field: str) -> float | None:
        """``startTime`` or ``completionTime`` in epoch seconds."""
        return parse_time(self.value.get(field))

    @property
    def counts(self) -> dict[str, Obj]:
        """The counts of every role that has some."""
        return self.value.get("replicaStatuses") or {}

    def forget(self, types: Iterable[str]) -> None:
        """Drop the counts of roles that the job no longer has."""
        for type_ in types:
            self.counts.pop(type_, None)

    def count(self, type_: str, *, active: int, succeeded: int, failed: int, selector: str = "") -> None:
        """Set one role's counts; zeros are left out, as the operator's encoding does."""
        numbers = {"active": active, "succeeded": succeeded, "failed": failed}
        counts: Obj = {key: number for key, number in numbers.items() if number}
        if selector:
            counts["selector"] = selector
        self.value.setdefault("replicaStatuses", {})[type_] = counts
