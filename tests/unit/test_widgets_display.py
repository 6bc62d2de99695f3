"""The live display: its pace, what it repeats and what it leaves out, and how it ends."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from jupyterlab_kf.model import Explanation, JobView, LogLine, Phase, Ref, Replica, Status
from jupyterlab_kf.widgets import display
from jupyterlab_kf.widgets.wire import MIME_JOB


def a_view(phase: Phase = Phase.RUNNING, lines: int = 0, *, why: str = "", seen: float = 110.0) -> JobView:
    return JobView(
        ref=Ref("MPIJob", "digits", "default"),
        framework="mpi",
        status=Status(phase, created=100.0, started=100.0, finished=120.0 if phase.finished else None),
        replicas=(Replica("worker", 0, str(phase)),),
        log=tuple(LogLine("worker-0", f"line {n}") for n in range(max(0, lines - 5), lines)),
        explanation=Explanation(why) if why else None,
        seen=seen,
    )


class Recorder:
    """An output that remembers what it was given."""

    def __init__(self) -> None:
        self.frames: list[list[JobView]] = []

    def show(self, views: Sequence[JobView]) -> None:
        self.frames.append(list(views))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "INTERVAL", 0.0)


def test_every_view_reaches_the_output_in_order_and_the_last_is_returned() -> None:
    views = [a_view(lines=n) for n in range(50)] + [a_view(Phase.SUCCEEDED, 50)]
    output = Recorder()
    assert display.follow(iter(views), output) == views[-1]
    assert [view for frame in output.frames for view in frame] == views


def test_views_that_come_faster_than_frames_are_gathered_into_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "INTERVAL", 60.0)  # ends at once when nothing more will come
    views = [a_view(lines=n) for n in range(200)]
    output = Recorder()
    display.follow(iter(views), output)
    assert sum(len(frame) for frame in output.frames) == 200
    assert len(output.frames) <= 3


def test_an_error_of_the_source_is_raised_after_what_came_before_it() -> None:
    def source() -> Iterator[JobView]:
        yield a_view()
        raise ConnectionError("gone")

    output = Recorder()
    with pytest.raises(ConnectionError, match="gone"):
        display.follow(source(), output)
    assert len(output.frames) == 1


def test_an_interrupt_leaves_the_loop_and_lets_the_reader_end() -> None:
    left = threading.Event()
    going = threading.Event()

    def source() -> Iterator[JobView]:
        try:
            while True:
                going.wait(5)
                yield a_view()
        finally:
            left.set()

    class Interrupted(Recorder):
        def show(self, views: Sequence[JobView]) -> None:
            super().show(views)
            raise KeyboardInterrupt

    going.set()
    with pytest.raises(KeyboardInterrupt):
        display.follow(source(), Interrupted())
    assert left.wait(5)


def test_the_source_is_closed_in_the_thread_that_reads_it() -> None:
    closed_in: list[str] = []

    def source() -> Iterator[JobView]:
        try:
            yield a_view()
            yield a_view(Phase.SUCCEEDED)
        finally:
            closed_in.append(threading.current_thread().name)

    display.follow(source(), Recorder())
    assert closed_in == ["kf-display"]


def test_the_clock_moves_while_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "TICK", 0.001)
    enough = threading.Event()

    def source() -> Iterator[JobView]:
        yield a_view(seen=110.0)
        assert enough.wait(5)

    class Ticking(Recorder):
        def show(self, views: Sequence[JobView]) -> None:
            super().show(views)
            if len(self.frames) == 3:
                enough.set()

    times = iter(range(1000))
    output = Ticking()
    display.follow(source(), output, clock=lambda: float(next(times)))
    seen = [frame[-1].seen for frame in output.frames]
    assert seen[:3] == [110.0, 111.0, 112.0]


# ------------------------------------------------------------------------------------------------------- in a notebook


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any], str]]:
    messages: list[tuple[str, dict[str, Any], str]] = []

    def note(kind: str) -> Any:
        return lambda bundle, *, raw, display_id: messages.append((kind, bundle, display_id)) if raw else None

    monkeypatch.setattr("IPython.display.display", note("display"))
    monkeypatch.setattr("IPython.display.update_display", note("update"))
    return messages


def test_a_notebook_gets_one_display_that_is_updated_in_place(sent: list[tuple[str, dict[str, Any], str]]) -> None:
    output = display.NotebookOutput()
    output.show([a_view(lines=1)])
    output.show([a_view(lines=2), a_view(lines=3)])
    output.show([a_view(Phase.SUCCEEDED, 3)])
    assert [kind for kind, _, _ in sent] == ["display", "update", "update"]
    assert len({where for _, _, where in sent}) == 1
    assert set(sent[-1][1]) == {MIME_JOB, "text/html", "text/plain"}
    assert "line 2" in sent[1][1]["text/plain"]


def test_a_frame_that_says_nothing_new_is_not_sent(sent: list[tuple[str, dict[str, Any], str]]) -> None:
    output = display.NotebookOutput()
    output.show([a_view(seen=110.0)])
    output.show([a_view(seen=110.3)])
    assert len(sent) == 1


def test_a_kernel_gets_the_notebook_display_and_anything_else_lines() -> None:
    class Kernel:
        kernel = object()

    assert isinstance(display.output_for(Kernel()), display.NotebookOutput)
    assert isinstance(display.output_for(object()), display.TextOutput)
    assert isinstance(display.output_for(None), display.TextOutput)


# -------------------------------------------------------------------------------------------------------- in a terminal


def test_a_terminal_gets_each_change_and_each_line_once() -> None:
    stream = io.StringIO()
    output = display.TextOutput(stream)
    output.show([a_view(Phase.PENDING, why="no room"), a_view(Phase.PENDING, why="no room", seen=111.0)])
    output.show([a_view(lines=2), a_view(lines=3), a_view(lines=3)])
    output.show([a_view(Phase.SUCCEEDED, 3)])
    assert stream.getvalue().splitlines() == [
        "◔ digits  Pending  MPI  10s  [worker-0 Pending]",
        "  no room",
        "worker-0 │ line 0",
        "worker-0 │ line 1",
        "▶ digits  Running  MPI  10s  [worker-0 Running]",
        "worker-0 │ line 2",
        "✔ digits  Succeeded  MPI  took 20s  [worker-0 Succeeded]",
    ]


def test_lines_that_were_missed_are_hinted_at() -> None:
    stream = io.StringIO()
    output = display.TextOutput(stream)
    output.show([a_view(lines=5), a_view(lines=50)])
    assert "…" in stream.getvalue().splitlines()


def test_colours_are_for_terminals_only() -> None:
    plain, colored = io.StringIO(), io.StringIO()
    display.TextOutput(plain).show([a_view(lines=1)])
    display.TextOutput(colored, color=True).show([a_view(lines=1)])
    assert "\x1b[" not in plain.getvalue()
    assert "\x1b[" in colored.getvalue()
