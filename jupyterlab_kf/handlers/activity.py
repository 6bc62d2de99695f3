"""What a server counts as its work, and the end of idle kernels in pods.

A hub ends servers that report no activity, and Jupyter Server takes a kernel that computes in silence, or a job that
somebody follows, for none. Every few seconds this says ``busy`` into the server's settings while there is such work;
JupyterHub's own extension reports it with the server's own token. Kernels in pods are ended here after their profile's
idle time, whoever is connected to them: their hardware is wanted by others. Imports no service.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from jupyter_core.utils import ensure_async

EVERY: Final = 10.0
"""Seconds between two rounds."""
PATIENCE: Final = 5.0
"""Seconds that a round waits for the kernels that it ends; they go on ending meanwhile."""
SETTING: Final = "jupyterlab_kf_last_activity"
"""Jupyter Server counts every setting whose name ends so."""


class Kernels(Protocol):
    """What is read of Jupyter Server's kernel manager."""

    def list_kernel_ids(self) -> list[str]:
        """All of them."""

    def get_kernel(self, kernel_id: str) -> Any:
        """The kernel, with its ``execution_state``, ``last_activity`` and ``provisioner``."""

    def shutdown_kernel(self, kernel_id: str) -> Awaitable[None] | None:
        """End it."""


class Rounds:
    """Looks at a server's kernels and at what is followed in it.

    Args:
        kernels: the server's.
        settings: the server's; :data:`SETTING` is written.
        watching: whether a job or study is followed that is not over.
        log: hears of kernels that are ended.
        now: the time; tests hand in their own.
        patience: seconds that a round waits for kernels to end.
    """

    def __init__(
        self,
        kernels: Kernels,
        settings: dict[str, Any],
        watching: Callable[[], bool],
        log: Any,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        patience: float = PATIENCE,
    ) -> None:
        self._kernels, self._settings, self._watching = kernels, settings, watching
        self._log, self._now, self._patience = log, now, patience
        self._ending: dict[str, asyncio.Task[None]] = {}

    async def go(self) -> None:
        """One round."""
        now = self._now()
        kernels = {one: self._kernels.get_kernel(one) for one in self._kernels.list_kernel_ids()}
        # Before any is ended: the hub would take work for none while that lasts.
        if self._watching() or any(getattr(one, "execution_state", "") == "busy" for one in kernels.values()):
            self._settings[SETTING] = now
        for kernel_id, kernel in kernels.items():
            if overdue(kernel, now) and kernel_id not in self._ending:
                self._log.warning("Kernel %s had nothing to do for its profile's idle time: it is ended", kernel_id)
                self._end(kernel_id)
        if self._ending:
            # One that cannot be ended, or not soon, holds up neither the others nor the next round.
            await asyncio.wait(self._ending.values(), timeout=self._patience)

    def _end(self, kernel_id: str) -> None:
        async def work() -> None:
            await ensure_async(self._kernels.shutdown_kernel(kernel_id))

        def over(task: asyncio.Task[None]) -> None:
            del self._ending[kernel_id]
            if not task.cancelled() and (error := task.exception()) is not None:
                self._log.error("Kernel %s could not be ended, and is tried again: %s", kernel_id, error)

        self._ending[kernel_id] = task = asyncio.create_task(work())
        task.add_done_callback(over)


def overdue(kernel: Any, now: datetime) -> bool:
    """Whether a kernel is idle for longer than it may be."""
    allowed = getattr(getattr(kernel, "provisioner", None), "idle_timeout", None)
    last = getattr(kernel, "last_activity", None)
    if allowed is None or last is None or getattr(kernel, "execution_state", "") != "idle":
        return False
    return bool((now - last).total_seconds() > allowed)


def start(serverapp: Any, watching: Callable[[], bool]) -> None:
    """Go round in a server until it ends."""
    from tornado.ioloop import PeriodicCallback

    rounds = Rounds(serverapp.kernel_manager, serverapp.web_app.settings, watching, serverapp.log)
    # It runs in the loop that the server starts next, and ends with it.
    serverapp.io_loop.add_callback(PeriodicCallback(rounds.go, EVERY * 1000).start)
