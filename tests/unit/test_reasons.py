"""Why listed jobs failed: read once each, few at a time, the newest wish first."""

from __future__ import annotations

import asyncio

from jupyterlab_kf.errors import NotFoundError, UnreachableError
from jupyterlab_kf.model import Cause, Explanation, Phase
from jupyterlab_kf.services.board import Board, JobRow
from jupyterlab_kf.services.reasons import AT_ONCE, MOST_WAITING, Reasons

WHY = Explanation("master-0 failed: IndexError", cause=Cause.PYTHON_ERROR)


def row(name: str, phase: Phase = Phase.FAILED) -> JobRow:
    return JobRow(name, "PyTorchJob", "default", name, "pytorch", phase, message="exceeded its backoff limit")


def board(*rows: JobRow) -> Board:
    made = Board(None, "default")  # type: ignore[arg-type]
    made.rows = {one.uid: one for one in rows}
    return made


class Reader:
    """Answers when it is let; remembers what it was asked."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.asked: list[str] = []
        self.at_once = 0
        self.most = 0
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self, wanted: JobRow) -> Explanation | None:
        self.asked.append(wanted.name)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await self.open.wait()
        self.at_once -= 1
        if self.errors:
            raise self.errors.pop(0)
        return WHY


async def rest() -> None:
    for _ in range(100):
        await asyncio.sleep(0)


async def test_a_failed_job_that_is_looked_at_gets_its_reason_once() -> None:
    shown, read = board(row("bad"), row("good", Phase.RUNNING)), Reader()
    reasons = Reasons(shown, read)
    version = shown.version
    reasons.want(shown.rows.values())
    await rest()
    bad = shown.rows["bad"]
    assert (bad.cause, bad.message) == (Cause.PYTHON_ERROR, WHY.sentence)
    assert shown.version == version + 1
    reasons.want([row("bad"), *shown.rows.values()])
    await rest()
    assert read.asked == ["bad"]


async def test_who_scrolls_through_thousands_is_told_of_the_last() -> None:
    rows = [row(f"j{n:04d}") for n in range(2000)]
    shown, read = board(*rows), Reader()
    read.open.clear()
    reasons = Reasons(shown, read)
    for start in range(0, 2000, 50):
        reasons.want(rows[start : start + 50])
        await rest()
    read.open.set()
    await rest()
    assert read.most == AT_ONCE
    assert len(read.asked) <= AT_ONCE + MOST_WAITING
    assert read.asked[AT_ONCE] == "j1999"
    await reasons.stop()


async def test_what_cannot_be_read_is_asked_again_only_after_an_outage() -> None:
    shown, read = board(row("gone")), Reader(UnreachableError("nobody answers"), NotFoundError("deleted"))
    reasons = Reasons(shown, read)
    for _ in range(4):
        reasons.want(shown.rows.values())
        await rest()
    assert read.asked == ["gone", "gone"]
    assert shown.rows["gone"].cause is None


async def test_a_row_that_is_another_by_now_keeps_what_it_says() -> None:
    shown, read = board(row("again")), Reader()
    read.open.clear()
    reasons = Reasons(shown, read)
    reasons.want(shown.rows.values())
    await rest()
    shown.rows["again"] = row("again", Phase.RUNNING)
    read.open.set()
    await rest()
    assert shown.rows["again"].cause is None


class Rounds:
    """A clock that goes a round further when it is told to."""

    def __init__(self) -> None:
        self.turn = asyncio.Condition()
        self.slept: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        async with self.turn:
            await self.turn.wait()

    async def next(self) -> None:
        await rest()
        async with self.turn:
            self.turn.notify_all()
        await rest()


async def test_a_job_that_waits_is_asked_what_keeps_it_after_a_while_and_then_less_and_less_often() -> None:
    shown, read, rounds = board(row("held", Phase.PENDING)), Reader(), Rounds()
    reasons = Reasons(shown, read, sleep=rounds)
    reasons.want(shown.rows.values(), "browser")
    await rest()
    assert read.asked == [], "most jobs start at once"
    asked = []
    for _ in range(8):
        await rounds.next()
        asked.append(len(read.asked))
    assert asked == [1, 1, 2, 2, 2, 2, 3, 3]
    assert shown.rows["held"].message == WHY.sentence
    reasons.look_away("browser")
    await rounds.next()
    slept = len(rounds.slept)
    await rounds.next()
    assert len(rounds.slept) == slept, "nobody looks: nothing is done"


async def test_what_started_meanwhile_is_not_asked_and_a_reason_that_is_gone_is_said_no_more() -> None:
    held = row("held", Phase.PENDING)
    shown, rounds = board(row("quick", Phase.PENDING), held), Rounds()
    said: list[Explanation | None] = [WHY, None]
    asked = []

    async def read(wanted: JobRow) -> Explanation | None:
        asked.append(wanted.name)
        return said.pop(0)

    reasons = Reasons(shown, read, sleep=rounds)
    reasons.want(shown.rows.values(), "browser")
    await rest()
    shown.rows["quick"] = row("quick", Phase.RUNNING)
    await rounds.next()
    assert (asked, shown.rows["held"].cause) == (["held"], WHY.cause)
    await rounds.next()
    await rounds.next()
    assert (asked, shown.rows["held"].cause, shown.rows["held"].message) == (["held", "held"], None, "")
    await reasons.stop()
