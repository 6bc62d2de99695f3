"""When a server has been without work for as long as its profile lets it. Pure but for :func:`now`.

The hub believes only what servers report of themselves, with their own tokens: a page that is open in a browser which
nobody looks at makes traffic too. A hub that could not hear, because it was away or its machine slept, waits for
reports before it ends anything.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

now: Callable[[], float] = time.time
"""The time, in seconds of the epoch."""
_LONGEST: Final = 300
_SHORTEST: Final = 10
_MISSED: Final = 3
"""Reports after which a server is taken by its word: one may be late, one may be lost."""


def interval(allowed: float) -> int:
    """Seconds between two reports of a server that may be idle for so long."""
    return int(min(max(allowed / 4, _SHORTEST), _LONGEST))


@dataclass(slots=True)
class Hearing:
    """Since when reports of a server were heard without a break.

    Attributes:
        since: seconds of the epoch.
        looked: when it was last looked at.
    """

    since: float
    looked: float

    def look(self, at: float, every: float) -> None:
        """It is looked at, as every so many seconds; after a longer while, or back in time, hearing begins anew."""
        if not 0 <= at - self.looked <= _MISSED * max(every, _SHORTEST):
            self.since = at
        self.looked = at


def over(hearing: Hearing, active: datetime | None, allowed: float) -> bool:
    """Whether a server has been idle for too long.

    Args:
        hearing: as of now.
        active: when it was last at work, by its own report; in UTC, as the hub keeps it.
        allowed: seconds without work.
    """
    report = interval(allowed)
    last = active.replace(tzinfo=UTC).timestamp() if active else hearing.since
    heard = hearing.looked - hearing.since > min(_MISSED * report, allowed)
    return heard and hearing.looked - last > allowed + report
