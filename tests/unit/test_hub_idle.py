"""When the hub ends a server that has nothing to do: by its own reports, and only where they could be heard."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from jupyterlab_kf_hub import idle

START = 1_800_000_000.0
POLL = 30.0


def at(seconds: float) -> datetime:
    """As the hub's database has it."""
    return datetime.fromtimestamp(START + seconds, UTC).replace(tzinfo=None)


def looked_at(until: float, *, gaps: tuple[tuple[float, float], ...] = ()) -> idle.Hearing:
    """A server that was looked at every half minute, but for these spans."""
    hearing = idle.Hearing(START, START)
    for step in range(int(until / POLL) + 1):
        moment = step * POLL
        if not any(begin < moment < end for begin, end in gaps):
            hearing.look(START + moment, POLL)
    return hearing


@pytest.mark.parametrize(
    ("allowed", "active", "now", "ended"),
    [
        (3600, 0, 3600, False),
        (3600, 0, 3900, False),  # a report may be on its way
        (3600, 0, 3930, True),
        (3600, 600, 3930, False),
        (90, 0, 90, False),
        (90, 0, 120, True),
        (86400, 0, 3930, False),
    ],
)
def test_a_server_ends_after_its_profiles_time(allowed: float, active: float, now: float, ended: object) -> None:
    assert idle.over(looked_at(now), at(active), allowed) is ended


def test_a_hub_that_was_away_hears_first() -> None:
    # As after a restart with servers running, or when a laptop was closed over night: reports could not come.
    away = ((100.0, 30_000.0),)
    assert not idle.over(looked_at(30_030, gaps=away), at(90), 3600)
    assert not idle.over(looked_at(30_900, gaps=away), at(90), 3600)
    assert idle.over(looked_at(30_960, gaps=away), at(90), 3600)
    assert not idle.over(looked_at(30_960, gaps=away), at(30_100), 3600)


def test_a_clock_that_goes_back_ends_nothing() -> None:
    hearing = looked_at(4000)
    hearing.look(START + 10, POLL)
    assert not idle.over(hearing, at(0), 3600)


@pytest.mark.parametrize(("allowed", "seconds"), [(20, 10), (90, 22), (3600, 300), (86400, 300)])
def test_whoever_may_be_idle_briefly_reports_often(allowed: float, seconds: int) -> None:
    assert idle.interval(allowed) == seconds
