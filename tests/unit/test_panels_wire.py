"""What travels between panels and server: the types in TypeScript are Python's, and frames say only what changed."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import generate_wire
import pytest

from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.handlers import answers
from jupyterlab_kf.handlers.asks import Job, Rows, row_json
from jupyterlab_kf.handlers.stream import GAP, MOST_MESSAGES, Pace
from jupyterlab_kf.model import JobView, LogLine, Phase, Ref, Status
from jupyterlab_kf.services.board import Board, JobQuery, JobRow
from jupyterlab_kf.services.jobfeed import JobFeed, JobKey


def row(name: str, phase: Phase = Phase.RUNNING) -> JobRow:
    return JobRow(f"uid-{name}", "PyTorchJob", "default", name, "pytorch", phase)


class FakeDesk:
    def __init__(self, *rows: JobRow) -> None:
        self.board = Board(None, "default")  # type: ignore[arg-type]
        self.looked_at: dict[object, list[str]] = {}
        self.put(*rows)

    def explain(self, rows: Iterable[JobRow], looker: object) -> None:
        self.looked_at[looker] = [one.name for one in rows]

    def look_away(self, looker: object) -> None:
        del self.looked_at[looker]

    def put(self, *rows: JobRow) -> None:
        self.board.rows |= {one.uid: one for one in rows}
        self.board.version += 1


def frames(ask: Any, desk: Any) -> list[dict[str, Any]]:
    return list(ask.frames(desk))


def test_the_types_in_typescript_are_not_stale() -> None:
    assert generate_wire.TARGET.read_text() == generate_wire.render(), "run: make wire"


def test_ten_messages_go_in_any_second_and_the_first_at_once() -> None:
    pace, now, sent = Pace(), 100.0, []
    while now < 105.0:  # something changes all the time
        pace.sent(now)
        sent.append(now)
        now += pace.rest(now)
    assert [pytest.approx(100.0 + GAP * number) for number in range(MOST_MESSAGES)] == sent[:MOST_MESSAGES]
    for first, eleventh in zip(sent, sent[MOST_MESSAGES:], strict=False):
        assert eleventh - first >= 1.0 - 1e-9
    assert len(sent) == 5 * MOST_MESSAGES
    assert pace.rest(now + 60.0) == GAP, "after a quiet time a change is told at once"


def test_a_window_is_sent_once_and_then_what_changed() -> None:
    desk = FakeDesk(row("a"), row("b"))
    ask = Rows("1", JobQuery(sort="name", descending=False))
    [first] = frames(ask, desk)
    assert [one["name"] for one in first["rows"]] == ["a", "b"]
    assert list(desk.looked_at.values()) == [["a", "b"]]
    assert frames(ask, desk) == []
    desk.put(row("b", Phase.FAILED))
    [second] = frames(ask, desk)
    assert [one["name"] for one in second["rows"]] == ["b"]
    assert second["items"] == ["uid-a", "uid-b"]
    assert second["counts"] == {"Running": 1, "Failed": 1}


def test_a_board_that_is_gone_empties_the_window_once() -> None:
    desk: Any = FakeDesk(row("a"))
    ask = Rows("1", JobQuery())
    frames(ask, desk)
    desk.board = None
    [frame] = frames(ask, desk)
    assert (frame["total"], frame["items"]) == (0, [])
    assert frames(ask, desk) == []


def test_a_row_out_of_sight_costs_no_row() -> None:
    desk = FakeDesk(*(row(f"j{n:03d}") for n in range(100)))
    ask = Rows("1", JobQuery(sort="name", descending=False, limit=10))
    frames(ask, desk)
    desk.put(row("j090", Phase.FAILED))
    [frame] = frames(ask, desk)
    assert frame["rows"] == []
    ask.ask(JobQuery(sort="name", descending=False, offset=5, limit=10))
    [moved] = frames(ask, desk)
    assert [one["name"] for one in moved["rows"]] == [f"j{n:03d}" for n in range(10, 15)], "five are there already"


def test_a_job_says_only_what_changed() -> None:
    key = JobKey("PyTorchJob", "default", "digits")
    view = JobView(Ref("PyTorchJob", "digits", "default", "u"), "pytorch", Status(Phase.RUNNING), seen=1.0)
    shared = JobFeed(key)
    shared.view = view
    ask = Job("1", shared, lambda: None)
    [first] = frames(ask, None)
    assert first["view"]["ref"]["name"] == "digits"
    shared.view = replace(view, seen=2.0)
    assert frames(ask, None) == [], "that time went by is no news"
    shared.view = replace(view, seen=3.0, log=(LogLine("worker-0", "hello"),))
    [second] = frames(ask, None)
    assert set(second["view"]) == {"log", "seen"}
    shared.gone = True
    [third] = frames(ask, None)
    assert third["gone"]
    assert set(third["view"]) <= {"seen"}


def test_a_row_is_plain_data() -> None:
    said = row_json(row("a"))
    assert said["phase"] == "Running"
    assert said["finished"] is None


async def test_a_launch_names_its_hardware_profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "profiles.yaml"
    file.write_text("profiles: [{slug: small, cpu: 500m, memory: 1Gi}]")
    monkeypatch.setenv("KF_PROFILES", str(file))
    desk: Any = SimpleNamespace(namespace="team-a", link=SimpleNamespace(state="asleep"))
    shown = await answers.plan(desk, {"code": "print(1)", "profile": "small"}, tmp_path)
    assert "--profile small" in shown.magic
    assert "500m cpu, 1Gi memory" in shown.summary
    with pytest.raises(UsageError, match="there is no hardware profile 'smal'"):
        await answers.plan(desk, {"code": "print(1)", "profile": "smal"}, tmp_path)
