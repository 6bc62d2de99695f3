"""Processes that live and die with their parent.

A child that ends by itself is started again, as a service manager would, and given up when it ends too often; that is
told to the owner. A child whose parent dies, for whatever reason, is killed by the kernel (Linux).
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_RESTARTS = 5
_WITHIN_SECONDS = 60.0
_GRACE_SECONDS = 10.0


@dataclass
class Child:
    """One program; ``process`` is None while it does not run."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    process: asyncio.subprocess.Process | None = None
    wanted: bool = True
    ended: list[float] = field(default_factory=list)


class Children:
    """The children of this process.

    Args:
        logs: the folder of their output, one file each, appended to over restarts.
        given_up: called once with the name of a child that cannot be kept alive.
    """

    def __init__(self, logs: Path, given_up: Callable[[str], None]) -> None:
        self._logs = logs
        self._given_up = given_up
        self._children: dict[str, Child] = {}
        self._watchers: dict[str, asyncio.Task[None]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    @property
    def pids(self) -> dict[str, int]:
        """The process of each child that runs now."""
        running = {name: child.process for name, child in self._children.items() if child.process is not None}
        return {name: process.pid for name, process in running.items()}

    async def start(self, name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start a child and keep it alive."""
        child = Child(name, argv, environment or {})
        self._children[name] = child
        await self._spawn(child)
        self._watchers[name] = asyncio.create_task(self._keep(child))

    async def resume(self, name: str) -> None:
        """Start a child again that :meth:`halt` has stopped."""
        child = self._children[name]
        if not child.wanted:
            await self.start(name, child.argv, child.environment)

    async def halt(self, name: str, *, sign: signal.Signals = signal.SIGTERM) -> None:
        """End a child and leave it ended."""
        child = self._children[name]
        child.wanted = False
        if child.process is not None:
            with contextlib.suppress(ProcessLookupError):
                child.process.send_signal(sign)
        try:
            await asyncio.wait_for(asyncio.shield(self._watchers[name]), _GRACE_SECONDS)
        except TimeoutError:
            if child.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    child.process.kill()
            await self._watchers[name]

    async def freeze(self, name: str) -> None:
        """Stop a child where it is: its sockets stay open, and nothing answers."""
        self._signal(name, signal.SIGSTOP)

    async def thaw(self, name: str) -> None:
        """Have a child go on that :meth:`freeze` has stopped."""
        self._signal(name, signal.SIGCONT)

    def _signal(self, name: str, sign: signal.Signals) -> None:
        process = self._children[name].process
        if process is not None:
            process.send_signal(sign)

    async def stop(self) -> None:
        """End all at once: nothing that they keep outlives them, so there is nothing to put in order."""
        await asyncio.gather(*(self.halt(name, sign=signal.SIGKILL) for name in self._children))

    async def _spawn(self, child: Child) -> None:
        with (self._logs / f"{child.name}.log").open("ab") as log:
            child.process = await asyncio.create_subprocess_exec(
                *child.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(os.environ) | dict(child.environment),
                start_new_session=True,
                preexec_fn=die_with_parent,  # nothing else runs between fork and exec
            )

    async def _keep(self, child: Child) -> None:
        while child.process is not None:
            await child.process.wait()
            child.process = None
            now = time.monotonic()
            child.ended = [*(then for then in child.ended if now - then < _WITHIN_SECONDS), now]
            if not child.wanted:
                return
            if len(child.ended) > _RESTARTS:
                self._given_up(child.name)
                return
            await asyncio.sleep(0.2 * len(child.ended))
            if child.wanted:
                await self._spawn(child)


def die_with_parent(sign: int = signal.SIGKILL) -> None:
    """Have the kernel send this process a signal when its parent's thread ends (Linux; elsewhere nothing is done)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(sign), 0, 0, 0)
