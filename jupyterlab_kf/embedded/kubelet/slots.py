"""What a pod's worker knows of one container: its attempts, what it waits for, its probes.

Only facts and how the state machine is told of them; what follows from them is decided by ``states``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jupyterlab_kf.embedded.images import Environment
from jupyterlab_kf.embedded.kubelet import states
from jupyterlab_kf.embedded.kubelet.processes import Attempt


@dataclass(slots=True)
class Slot:
    """One container of the pod."""

    name: str
    spec: Mapping[str, Any]
    attempts: list[Attempt] = field(default_factory=list)
    busy: bool = False
    waiting: tuple[str, str] | None = None
    retry_at: float = 0.0
    pulls: int = 0
    started: bool = True
    ready: bool = True
    environment: Environment | None = None
    stopping: float | None = None
    start: asyncio.Task[None] | None = None
    """The start under way, while it can still be given up."""
    announced: int = -1
    probes: list[asyncio.Task[None]] = field(default_factory=list)
    commands: list[asyncio.subprocess.Process] = field(default_factory=list)
    """Commands that run beside the container (`kubectl exec`); they end with it."""

    @property
    def attempt(self) -> Attempt | None:
        """The newest attempt."""
        return self.attempts[-1] if self.attempts else None

    @property
    def alive(self) -> bool:
        """Whether a process of it runs, or is about to."""
        return (self.attempt is not None and self.attempt.exit is None) or (self.busy and self.start is None)

    def record(self) -> states.Record:
        """What the state machine is told."""
        runs = [_run(attempt) for attempt in self.attempts[-2:]]
        newest = self.attempt
        busy = self.busy or (newest is not None and not newest.running and newest.exit is None)
        shown = runs[-1] if runs else None
        previous = runs[-2] if len(runs) > 1 else None
        if newest is not None and not newest.running and newest.exit is None:
            shown, previous = previous, None  # started, but its leader does not run yet
        return states.Record(
            run=shown,
            previous=previous,
            busy=busy,
            waiting=self.waiting,
            started=self.started,
            ready=self.ready,
            image=str(self.spec.get("image", "")),
            image_id=f"environment://{self.environment.prefix}" if self.environment and shown else "",
        )


def _run(attempt: Attempt) -> states.Run:
    return states.Run(attempt.number, attempt.restart, attempt.crashes, attempt.started, attempt.exit)
