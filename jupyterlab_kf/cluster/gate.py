"""One probe for all loops that wait for a server: whoever fails waits here, and only one asks whether it is back.

The cost of an outage is one small request a second, however many watches and logs are followed. When the server is
ready again, those who wait are let through spread over a moment, more of them over a longer one.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Final

from jupyterlab_kf.errors import KubeflowError

FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 5.0
_GROWTH: Final = 1.05
"""About one probe a second for the first half minute, one in five seconds from the second minute on."""
_SPREAD_EACH: Final = 0.02
_LONGEST_SPREAD: Final = 2.0


class Gate:
    """Closed while the server does not answer.

    Args:
        probe: asks the server once; raises when it is not ready.
        sleep: waits; tests hand in their own.
    """

    def __init__(
        self, probe: Callable[[], Awaitable[object]], *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        self._probe = probe
        self._sleep = sleep
        self._task: asyncio.Task[None] | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._waiting = 0
        self._listeners: list[Callable[[KubeflowError | None], None]] = []
        self.error: KubeflowError | None = None
        """Why the last probe failed; None while all is well."""

    def listen(self, listener: Callable[[KubeflowError | None], None]) -> Callable[[], None]:
        """Have it called with each new error of the probe, and with None when the server is back."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def wait(self) -> None:
        """Return while the server is thought to be well; else when it is again."""
        if self._open.is_set():
            return
        self._waiting += 1
        crowd = self._waiting
        try:
            await self._open.wait()
        finally:
            self._waiting -= 1
        await self._sleep(min(_SPREAD_EACH * crowd, _LONGEST_SPREAD) * random.random())  # noqa: S311  nothing secret

    async def failed(self) -> None:
        """Something that should have worked did not: return when the server says that it is ready."""
        if self._task is None or self._task.done():
            self._open.clear()
            self._task = asyncio.create_task(self._ask())
        await self.wait()

    async def close(self) -> None:
        """Ask no more. Who waits is let through."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._open.set()

    async def _ask(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                await self._probe()
            except KubeflowError as error:
                self._tell(error)
            else:
                self._open.set()
                self._tell(None)
                return
            await self._sleep(pause * (0.75 + random.random() / 2))  # noqa: S311  nothing secret
            pause = min(pause * _GROWTH, LONGEST_PAUSE)

    def _tell(self, error: KubeflowError | None) -> None:
        before, self.error = self.error, error
        if str(before) != str(error):
            for listener in tuple(self._listeners):
                listener(error)
