"""Why a Deployment is not ready, in the words of its pods: for the status, where people look first. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import View
from jupyterlab_kf.controllers.support import active, condition, matches, name, namespace, ready
from jupyterlab_kf.model import Obj, labels

_PATIENT: Final = ("", "ContainerCreating", "PodInitializing")
_LONGEST: Final = 400
_LINES: Final = 3


def of(deployment: Obj, view: View) -> str:
    """What keeps the pods of a Deployment from being ready, in one sentence; empty while nothing is known to."""
    chosen = (deployment["spec"].get("selector") or {}).get("matchLabels") or {}
    pods = [pod for pod in view.list(kinds.POD, namespace(deployment)) if matches(chosen, labels(pod))]
    for pod in sorted((one for one in pods if active(one) and not ready(one)), key=name):
        why = next(_pod(pod), "")
        if why:
            return f"pod {name(pod)}: {why}"[:_LONGEST]
    return ""


def _pod(pod: Obj) -> Iterator[str]:
    status = pod.get("status") or {}
    placed = condition(status, "PodScheduled")
    if placed is not None and placed.get("status") == "False":
        yield str(placed.get("message") or placed.get("reason") or "it cannot be placed")
    for field in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(field) or ():
            yield from _container(container)


def _container(container: Mapping[str, Any]) -> Iterator[str]:
    state = container.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    last = (container.get("lastState") or {}).get("terminated") or {}
    if waiting.get("reason") == "CrashLoopBackOff" and last:
        yield f"container {container['name']} ends again and again{_exit(last)}"
    elif waiting and waiting.get("reason", "") not in _PATIENT:
        yield f"container {container['name']}: {_words(waiting)}{_exit(last)}"
    elif ended.get("exitCode"):
        yield f"container {container['name']} ended{_exit(ended)}"


def _words(state: Mapping[str, Any]) -> str:
    reason, message = str(state.get("reason") or ""), str(state.get("message") or "")
    return f"{reason}: {message}" if message else reason


def _exit(ended: Mapping[str, Any]) -> str:
    if not ended:
        return ""
    said = " ".join(str(ended.get("message") or "").split("\n")[-_LINES:]).strip()
    return f" with exit code {ended.get('exitCode')}" + (f": {said}" if said else "")
