"""Which failures of the cluster are over by themselves: it is away, it is busy, or it has just come up.

KubeSpawner takes most of them for the end of a spawn. An API server that comes up refuses what it will allow a moment
later, when it has read the roles; so does one that has not heard yet of a right that was just given.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import aiohttp
from kubernetes_asyncio.client.rest import ApiException

from jupyterlab_kf.errors import ApiError, UnreachableError

_FORBIDDEN: Final = 403
_BUSY: Final = 429
_BROKEN: Final = 500
_SETTLES: Final = 20.0
"""Seconds in which rights are refused that will count."""


class Outages:
    """When the API server was last away.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._unsettled = float("-inf")

    def changed(self) -> None:
        """Rights were given just now."""
        self._unsettled = self._clock()

    def quiet(self) -> float:
        """Seconds since anything was amiss."""
        return self._clock() - self._unsettled

    def passing(self, error: BaseException) -> bool:
        """Whether to try again."""
        code = error.status if isinstance(error, ApiException) else error.code if isinstance(error, ApiError) else None
        if code == _FORBIDDEN:
            settling = self._clock() - self._unsettled < _SETTLES
            # What the cluster's rules refuse, it refuses again.
            return settling and "exceeded quota" not in f"{error} {getattr(error, 'body', '')}"
        away = isinstance(error, (aiohttp.ClientError, OSError, TimeoutError, UnreachableError))
        if away or (code is not None and (code == _BUSY or code >= _BROKEN or code == 0)):
            self._unsettled = self._clock()
            return True
        return False


def short(error: BaseException) -> str:
    """An error in one line of a log."""
    return " ".join(str(error).split()) or type(error).__name__


OUTAGES: Final = Outages()
"""Of the cluster that this hub uses."""
