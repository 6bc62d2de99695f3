"""What a person is told while their server starts: sentences from events and pods, and when to give up early. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_HOPELESS: Final[Mapping[str, str]] = {
    "ImagePullBackOff": "Its image cannot be pulled",
    "InvalidImageName": "Its image has a name that is none",
    "ErrImageNeverPull": "Its image is not on the machine, and may not be pulled",
    "CreateContainerConfigError": "It cannot be started as it is configured",
    "CreateContainerError": "It cannot be started",
    "RunContainerError": "It cannot be started",
}
_SENTENCES: Final[Mapping[str, str]] = {
    "Scheduled": "A machine was found.",
    "Pulling": "Getting the image.",
    "Pulled": "The image is there.",
    "Created": "Starting JupyterLab.",
    "Started": "JupyterLab starts up.",
    "TriggeredScaleUp": "A machine is being added; this takes a few minutes.",
    "SuccessfulAttachVolume": "The workspace is attached.",
    "FailedMount": "The workspace cannot be mounted yet.",
    "FailedAttachVolume": "The workspace is still attached elsewhere.",
    "ErrImagePull": "The image cannot be pulled; trying again.",
    "BackOff": "It failed; trying again.",
    "NotTriggerScaleUp": "No machine can be added that would fit.",
}
_PREEMPTION: Final = re.compile(r"\s*(?:no new claims to deallocate,?\s*)?preemption: .*")
_SHORT: Final = {"Insufficient cpu": "CPU", "Insufficient memory": "memory"}


def sentence(event: Mapping[str, Any]) -> str:
    """An event in words; empty where it says nothing to a person."""
    reason, message = str(event.get("reason") or ""), str(event.get("message") or "")
    if reason == "FailedScheduling":
        return f"Waiting for a machine: {_waits(message)}"
    if reason == "Failed":
        return f"It failed: {message}"
    if reason in _SENTENCES:
        said = _SENTENCES[reason]
        return f"{said} ({message})" if reason.startswith("Failed") and message else said
    # What a node could not honour is on the pod; the person who starts a server cannot change it.
    return "" if event.get("type") == "Normal" else message if reason in ("Unhealthy", "Evicted") else ""


def _waits(message: str) -> str:
    short = [word for text, word in _SHORT.items() if text in message]
    short += re.findall(r"Insufficient ([\w.-]+/[\w.-]*\w)", message)
    if short:
        return f"not enough {' and '.join(short)} is free. It starts as soon as there is."
    return _PREEMPTION.sub("", message).strip() or "none is free."


def hopeless(pod: Mapping[str, Any]) -> str:
    """Why the pod will not start however long one waits; empty while it may."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        waiting = (status.get("state") or {}).get("waiting") or {}
        said = _HOPELESS.get(str(waiting.get("reason") or ""))
        if said:
            message = str(waiting.get("message") or "").strip()
            return f"{said}: {message}" if message else f"{said} ({status.get('image', '')})."
    return ""
