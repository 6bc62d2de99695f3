"""The probes of one pod's containers: begun and ended with them, and what becomes of what they find.

Owns which probes run when (the startup probe first, the others after it) and writes ready and started into the
container's slot. That a container is to be started anew is told to who asked; ``probes`` does the asking.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from jupyterlab_kf.embedded.addresses import Endpoint
from jupyterlab_kf.embedded.kubelet import probes
from jupyterlab_kf.embedded.kubelet.processes import run_probe
from jupyterlab_kf.embedded.kubelet.slots import Slot


class Probing:
    """Starts and ends the probes of a pod.

    Args:
        loop: where they run.
        report: is told of each task that has ended.
        address: the pod's address now.
        event: writes an event about the pod: level, reason, message.
        wake: is called when a container's state has changed.
        restart: has a container started anew, with the reason.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        report: Callable[[asyncio.Task[None]], None],
        address: Callable[[], Endpoint],
        *,
        event: Callable[[str, str, str], None],
        wake: Callable[[], None],
        restart: Callable[[Slot, str], None],
    ) -> None:
        self._loop, self._report, self._address = loop, report, address
        self._event, self._wake, self._restart = event, wake, restart

    def start(self, slot: Slot) -> None:
        """Begin with those of a container that has just started."""
        self.end(slot)
        startup = slot.spec.get("startupProbe")
        slot.started = not startup
        for kind in ("startupProbe",) if startup else ("livenessProbe", "readinessProbe"):
            self._start(slot, kind)

    @staticmethod
    def end(slot: Slot) -> None:
        """End those of a container."""
        for task in slot.probes:
            task.cancel()
        slot.probes.clear()

    def target(self, slot: Slot) -> probes.Target:
        """What probes and hooks of a container talk to."""
        attempt, address = slot.attempt, self._address()
        spec = attempt.spec if attempt else {}

        def port(wanted: Any) -> int:
            if isinstance(wanted, str) and not wanted.isdigit():
                named = {p.get("name"): int(p["containerPort"]) for p in slot.spec.get("ports") or ()}
                return address.port(named[wanted])
            return address.port(int(wanted))

        async def run(argv: list[str], limit: float) -> tuple[int | None, str]:
            return await run_probe(argv, spec["env"], spec["cwd"], limit)

        return probes.Target(probes.hosts_for(address.ip), port, run)

    def _start(self, slot: Slot, kind: str) -> None:
        probe = slot.spec.get(kind)
        if not probe:
            return
        if not probes.supported(probe):
            self._event("Warning", "Unhealthy", f"{probes.TITLES[kind]} probe of kind grpc cannot be done on this node")
            slot.ready = slot.started = True
            return
        initial = (kind == "livenessProbe", "")
        task = self._loop.create_task(probes.watch(kind, probe, self.target(slot), self._teller(slot), initial))
        task.add_done_callback(self._report)
        slot.probes.append(task)

    def _teller(self, slot: Slot) -> Callable[[str, bool, str], None]:
        def tell(kind: str, good: bool, message: str) -> None:  # noqa: FBT001  a callback of probes.watch
            if message:
                self._event("Warning", "Unhealthy", f"{probes.TITLES[kind]} probe failed: {message}")
                return
            if kind == "readinessProbe":
                slot.ready = good
            elif kind == "startupProbe" and good:
                slot.started = True
                self._loop.call_soon(self._after_startup, slot)
            else:
                word = "startup" if kind == "startupProbe" else "liveness"
                self._restart(slot, f"Container {slot.name} failed {word} probe, will be restarted")
            self._wake()

        return tell

    def _after_startup(self, slot: Slot) -> None:
        for kind in ("livenessProbe", "readinessProbe"):
            self._start(slot, kind)
