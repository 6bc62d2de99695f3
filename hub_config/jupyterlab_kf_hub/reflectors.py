"""KubeSpawner's view of pods and events, kept up however long the API server is away.

Stock reflectors give up for good after about 51 seconds without an API server: the hub then shows pods that are gone
and every spawn runs into its time limit. These ask again until there is an answer. Whoever waits for the first answer
has a time limit of their own.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from kubespawner.spawner import EventReflector, PodReflector

from jupyterlab_kf_hub.outages import OUTAGES, short

_LONGEST: Final = 5.0
"""Seconds between two tries at most: how late a recovery is noticed."""


class _Enduring:
    """Mixed into a reflector: no end but being stopped."""

    outages = OUTAGES
    pause = staticmethod(asyncio.sleep)
    log: Any
    kind: str
    _stopping: bool

    async def _list_and_update(self, resource_version: str | None = None) -> Any:
        delay, told = 0.25, False
        while True:
            try:
                found = await super()._list_and_update(resource_version)  # type: ignore[misc]  # the reflector's own
            except Exception as error:
                if not self.outages.passing(error):
                    raise
                if not told:
                    self.log.warning(
                        "The API server does not answer (%s): %s are not up to date", short(error), self.kind
                    )
                told = True
                await self.pause(delay)
                delay = min(delay * 2, _LONGEST)
            else:
                if told:
                    self.log.warning("The API server answers again: %s are up to date", self.kind)
                return found

    async def _watch_and_update(self) -> None:
        while not self._stopping:
            # It returns when it was stopped, or when it gave up on answers that were errors.
            await super()._watch_and_update()  # type: ignore[misc]
            if not self._stopping:
                await self.pause(_LONGEST)


class EnduringPods(_Enduring, PodReflector):  # type: ignore[misc]  # KubeSpawner has no annotations
    """The pods of servers."""


class EnduringEvents(_Enduring, EventReflector):  # type: ignore[misc]
    """The events of pods."""


ENDURING: Final = {"pods": EnduringPods, "events": EnduringEvents}
