"""The live display of a job: one picture that is updated in place, or lines that follow one another in a terminal.

Owns the pace: at most five frames a second, a clock that moves once a second, and always the last state. Views are read
in a thread of their own, so that an interrupt reaches the loop here and never the middle of a request; what happens to
the job then is the caller's business.
"""

from __future__ import annotations

import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final, Protocol, TextIO

from jupyterlab_kf.model import JobView, LogLine
from jupyterlab_kf.widgets import jobs, text
from jupyterlab_kf.widgets.rendered import Rendered, job_card

INTERVAL: Final = 0.2
"""Shortest time between two frames."""
TICK: Final = 1.0
"""How often the clock moves while nothing else does."""


class Output(Protocol):
    """Where frames go."""

    def show(self, views: Sequence[JobView]) -> None:
        """Show what has come since the last call, oldest first."""


class NotebookOutput:
    """One display that is replaced by each frame that says something new. The last one stays in the saved notebook."""

    def __init__(self) -> None:
        self._id = ""
        self._sent = ("", "")

    def show(self, views: Sequence[JobView]) -> None:
        """Send the newest view, unless it looks like the one that is there."""
        card = job_card(views[-1])
        if (card.html, card.text) == self._sent:
            return
        self._sent = (card.html, card.text)
        from IPython.display import display, update_display  # a script with a terminal never gets here

        if self._id:
            update_display(card.bundle(), raw=True, display_id=self._id)  # type: ignore[no-untyped-call]
        else:
            self._id = f"kf-{uuid.uuid4().hex[:12]}"
            display(card.bundle(), raw=True, display_id=self._id)  # type: ignore[no-untyped-call]


class TextOutput:
    """Lines on a stream: each change of state, then each new log line, then how it ended."""

    def __init__(self, stream: TextIO | None = None, *, color: bool | None = None) -> None:
        self._stream = stream or sys.stdout
        self._color = self._stream.isatty() if color is None else color
        self._state: tuple[str, ...] = ()
        self._log: tuple[LogLine, ...] = ()
        self._ranks: dict[str, int] = {}

    def show(self, views: Sequence[JobView]) -> None:
        """Print what each view adds to the one before."""
        for view in views:
            self._show(view)
        self._stream.flush()

    def _show(self, view: JobView) -> None:
        self._print_log(view.log)
        why = jobs.why_text(view.explanation)
        state = (str(view.status.phase), jobs.replicas_text(view.replicas), *why)
        if state == self._state:
            return
        self._state = state
        self._print(jobs.headline(view) + (f"  [{state[1]}]" if state[1] else ""))
        for line in why:
            self._print(line)

    def _print_log(self, log: tuple[LogLine, ...]) -> None:
        fresh, gap = jobs.new_lines(self._log, log)
        self._log = log
        if gap:
            self._print("…")
        for line in fresh:
            self._print(log_line(line, self._ranks, color=self._color))

    def _print(self, line: str) -> None:
        self._stream.write(line + "\n")


def log_line(line: LogLine, ranks: dict[str, int], *, color: bool) -> str:
    """``worker-0 │ text``; ``ranks`` remembers who has which colour."""
    index = ranks.setdefault(line.replica, len(ranks))
    name = f"{text.rank_color(index)}{line.replica}{text.RESET}" if color else line.replica
    return f"{name} │ {text.clean(line.text, limit=2000)}"


def output_for(shell: Any) -> Output:
    """A notebook's display for a kernel, lines for a terminal or no shell at all."""
    return NotebookOutput() if getattr(shell, "kernel", None) is not None else TextOutput()


class _Mailbox:
    """Views on their way from the reading thread to the displaying one."""

    def __init__(self) -> None:
        self._ready = threading.Condition()
        self._views: list[JobView] = []
        self._closed = False
        self._error: BaseException | None = None

    def read(self, views: Iterator[JobView]) -> None:
        """Run in the reading thread until the views end, fail, or nobody wants them any more."""
        error: BaseException | None = None
        try:
            with ended(views):
                for view in views:
                    with self._ready:
                        if self._closed:
                            break
                        self._views.append(view)
                        self._ready.notify_all()
        except BaseException as caught:  # noqa: BLE001  handed to the displaying thread, which raises it
            error = caught
        with self._ready:
            self._error = error
            self._closed = True
            self._ready.notify_all()

    def take(self, timeout: float) -> tuple[list[JobView], bool]:
        """The views that came, waiting for the first if there is none, and whether there will be no more.

        Raises:
            BaseException: what the views' iterator raised, once all that came before is taken.
        """
        with self._ready:
            self._ready.wait_for(lambda: self._views or self._closed, timeout)
            views, self._views = self._views, []
            if self._error is not None and not views:
                raise self._error
            return views, self._closed and self._error is None

    def rest(self, seconds: float) -> None:
        """Wait, but not when there is nothing left to wait for."""
        with self._ready:
            self._ready.wait_for(lambda: self._closed, seconds)

    def close(self) -> None:
        """Tell the reading thread that nobody listens; it ends with its next view."""
        with self._ready:
            self._closed = True


@contextmanager
def ended(views: Iterator[Any]) -> Iterator[None]:
    """Close an iterator that may be a generator, here and now: the garbage collector would do it in any thread."""
    try:
        yield
    finally:
        close = getattr(views, "close", None)
        if close is not None:
            close()


def follow(views: Iterator[JobView], output: Output, *, clock: Callable[[], float] = time.monotonic) -> JobView | None:
    """Show views until they end; returns the last one.

    Raises:
        KeyboardInterrupt: the person interrupted; the display stays as it is.
    """
    box = _Mailbox()
    threading.Thread(target=box.read, args=(views,), name="kf-display", daemon=True).start()
    last: JobView | None = None
    came = clock()
    try:
        while True:
            fresh, ended = box.take(TICK)
            if fresh:
                last, came = fresh[-1], clock()
                output.show(fresh)
            elif last is not None and not last.status.phase.finished:
                output.show([replace(last, seen=last.seen + clock() - came)])
            if ended:
                return last
            box.rest(INTERVAL)
    finally:
        box.close()


def present(item: Rendered) -> None:
    """Show something once, as HTML or as text."""
    from IPython.display import display

    display(item)  # type: ignore[no-untyped-call]
