"""The scheduler's loop: watches pods and nodes, asks the pure ``scheduler``, binds, and tells who waits why.

Owns nothing but its own wake-ups. It looks once after any change that could matter, when the loop is idle, so a job's
pods, made one after the other, are seen together.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Emit
from jupyterlab_kf.embedded.registry import Registry
from jupyterlab_kf.embedded.scheduler import Binding, Unschedulable, schedule
from jupyterlab_kf.embedded.store import Change
from jupyterlab_kf.errors import ApiError, ConflictError, NotFoundError
from jupyterlab_kf.model import Obj, Ref, format_time, meta

FINAL: Final = ("Succeeded", "Failed")
SOURCE: Final = "default-scheduler"
SCHEDULERS: Final = frozenset({SOURCE, "volcano", "scheduler-plugins-scheduler"})
"""The names that this scheduler answers to: gangs start together here, so a job made for one that does this runs, too.
A pod for any other waits for it, as on a real cluster.
"""
log = logging.getLogger("jupyterlab_kf.embedded.scheduler")


class SchedulerLoop:
    """Binds pending pods.

    Args:
        registry: where pods and nodes are.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._told: dict[str, str] = {}

    async def start(self) -> None:
        """Begin; what is pending already is looked at first."""
        self._wake = asyncio.Event()
        self._wake.set()
        self._unsubscribe = self._registry.subscribe(self._changed)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End; nothing is left half done, since each look is one step."""
        self._unsubscribe()
        if self._task:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _changed(self, change: Change) -> None:
        if change.kind == kinds.POD:
            if change.type == "DELETED":
                self._told.pop(str(meta(change.obj).get("uid")), None)
            if _matters(change):
                self._wake.set()
        elif change.kind == kinds.NODE and _node_matters(change):
            self._wake.set()

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self.look()
            except ApiError:
                log.exception("a look at the pending pods failed")
            await asyncio.sleep(0)

    async def look(self) -> None:
        """One look at everything that is pending; others get their turn between two bindings."""
        pods = self._registry.view.list(kinds.POD)
        pending = [pod for pod in pods if _is_pending(pod)]
        if not pending:
            return
        assigned = [pod for pod in pods if (pod.get("spec") or {}).get("nodeName")]
        nodes = self._registry.view.list(kinds.NODE)
        for outcome in schedule(pending, assigned, nodes, time.time()):
            with contextlib.suppress(NotFoundError, ConflictError):
                if isinstance(outcome, Binding):
                    self._bind(outcome)
                else:
                    self._tell(outcome)
            await asyncio.sleep(0)

    def _bind(self, binding: Binding) -> None:
        namespace, name = str(meta(binding.pod)["namespace"]), str(meta(binding.pod)["name"])
        self._registry.bind(namespace, name, binding.node)
        self._told.pop(str(meta(binding.pod)["uid"]), None)
        self._event(binding.pod, "Normal", "Scheduled", f"Successfully assigned {namespace}/{name} to {binding.node}")

    def _tell(self, outcome: Unschedulable) -> None:
        """The condition and the event, once for each message."""
        pod, uid = outcome.pod, str(meta(outcome.pod)["uid"])
        if self._told.get(uid) == outcome.message:
            return
        self._told[uid] = outcome.message
        status = pod.get("status") or {}
        old: Obj = next((c for c in status.get("conditions") or () if c.get("type") == "PodScheduled"), {})
        since = old.get("lastTransitionTime") if old.get("status") == "False" else None
        condition: dict[str, Any] = {
            "type": "PodScheduled",
            "status": "False",
            "lastProbeTime": None,
            "lastTransitionTime": since or format_time(time.time()),
            "reason": "Unschedulable",
            "message": outcome.message,
        }
        if old.get("message") == outcome.message:
            return
        others = [c for c in status.get("conditions") or () if c.get("type") != "PodScheduled"]
        new = {**pod, "status": {**status, "phase": "Pending", "conditions": [*others, condition]}}
        self._registry.update(kinds.POD, new, subresource="status")
        self._event(pod, "Warning", "FailedScheduling", outcome.message)

    def _event(self, pod: Obj, level: str, reason: str, message: str) -> None:
        about = Ref("Pod", str(meta(pod)["name"]), str(meta(pod)["namespace"]), str(meta(pod)["uid"]))
        self._registry.record(Emit(about, "v1", level, reason, message, SOURCE))


def _is_pending(pod: Obj) -> bool:
    spec = pod.get("spec") or {}
    if (spec.get("schedulerName") or SOURCE) not in SCHEDULERS:
        return False
    if spec.get("nodeName") or meta(pod).get("deletionTimestamp") or spec.get("schedulingGates"):
        return False
    return (pod.get("status") or {}).get("phase") not in FINAL


def _holds(pod: Obj) -> bool:
    """Whether the pod has its requests: it is on a node and has not ended."""
    return bool((pod.get("spec") or {}).get("nodeName")) and (pod.get("status") or {}).get("phase") not in FINAL


def _matters(change: Change) -> bool:
    """Whether a pod's change could let something be bound: a new one, a changed spec, or freed resources."""
    if change.type == "DELETED":
        return True
    if change.type == "ADDED" or change.old is None:
        return _is_pending(change.obj)
    if _holds(change.old) and not _holds(change.obj):
        return True
    return _is_pending(change.obj) and (change.old.get("spec") != change.obj.get("spec") or not _is_pending(change.old))


def _node_matters(change: Change) -> bool:
    old = change.old or {}
    return (
        change.type != "MODIFIED"
        or old.get("spec") != change.obj.get("spec")
        or meta(old).get("labels") != meta(change.obj).get("labels")
        or (old.get("status") or {}).get("allocatable") != (change.obj.get("status") or {}).get("allocatable")
    )
