"""What a container asks to be done before it is told to end: its preStop hook, so that it serves on while others learn.

Owns the kinds of hook and a kubelet's rules of time: the hook's time counts as grace, and who is then told to end has
at least two seconds. A pod behind a Service that has no hook serves on for a moment too: requests that are on their way
to it arrive. Hooks after the start are refused: nothing here waits for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf.embedded.kubelet import probes

LEAST: Final = 2.0
"""Seconds that remain after a hook, however long it took."""
FAREWELL: Final[Mapping[str, Any]] = {"sleep": {"seconds": 1}}
"""For pods that are asked by way of a Service: routes have long forgotten them when they are told to end."""


def before_end(container: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The hook, if the container has one."""
    hook: Mapping[str, Any] | None = (container.get("lifecycle") or {}).get("preStop")
    return hook or None


async def run(hook: Mapping[str, Any], target: probes.Target, limit: float) -> str:
    """Do what the hook says, for so many seconds at most; what went wrong, or an empty string."""
    if "sleep" in hook:
        await asyncio.sleep(min(float((hook["sleep"] or {}).get("seconds") or 0), limit))
        return ""
    if not probes.supported(hook):
        return f"hooks of kind {', '.join(hook)} cannot be done on this node"
    good, said = await probes.once({**hook, "timeoutSeconds": limit}, target)
    return "" if good else said or "it failed without a word"
