"""What a server counts as its work, and the end of idle kernels in pods.

A hub ends servers that report no activity, and Jupyter Server takes a kernel that computes in silence, or a job that
somebody follows, for none. Every few seconds this says ``busy`` into the server's settings while there is such work;
JupyterHub's own extension reports it with the server's own token. Kernels in pods are ended here after their profile's
idle time, whoever is connected to them: their hardware is wanted by others. Imports no service.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from jupyter_core.utils import ensure_async

EVERY: Final = 10.0
"""Seconds between two rounds."""
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
    """

    def __init__(
        self,
        kernels: Kernels,
        settings: dict[str, Any],
        watching: Callable[[], bool],
        log: Any,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kernels, self._settings, self._watching = kernels, settings, watching
        self._log, self._now = log, now

    async def go(self) -> None:
        """One round."""
        now = self._now()
        kernels = {one: self._kernels.get_kernel(one) for one in self._kernels.list_kernel_ids()}
        # Before any is ended: that may fail, and the hub would take work for none.
        if self._watching() or any(getattr(one, "execution_state", "") == "busy" for one in kernels.values()):
            self._settings[SETTING] = now
        for kernel_id, kernel in kernels.items():
            if overdue(kernel, now):
                self._log.warning("Kernel %s had nothing to do for its profile's idle time: it is ended", kernel_id)
                await ensure_async(self._kernels.shutdown_kernel(kernel_id))


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
