"""Lines of logs as values: the time that the node wrote, the rank that mpirun tagged, the text that is left. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from jupyterlab_kf.model import LogLine, parse_time

_STAMP: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)) ?(.*)", re.DOTALL)
_RANK: Final = re.compile(r"\[(?:[^\]]*@)?\d+,(\d+)\]<(?:stdout|stderr|stddiag)>: ?(.*)", re.DOTALL)
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def parse(line: str, replica: str, *, stamped: bool = True) -> LogLine:
    """A raw line of a replica's log; ``stamped`` when it was asked for with timestamps."""
    time, text = None, line
    if stamped and (match := _STAMP.match(line)):
        time, text = parse_time(match.group(1)), match.group(2)
    if tagged := _RANK.match(text):
        replica, text = f"rank-{tagged.group(1)}", tagged.group(2)
    # A progress bar redraws its line; what stands after the last return is what a terminal would show.
    text = text.rstrip("\r").rpartition("\r")[2]
    return LogLine(replica, text, time)


def packed(line: LogLine) -> bool:
    """Whether a line carries result files, which come back through the log where there is no volume."""
    return line.text.startswith(("kf-data ", "kf-end "))


def plain(text: str) -> str:
    """The text without colours and cursor movements."""
    return _ESCAPES.sub("", text)


def merge(lines: Iterable[LogLine]) -> list[LogLine]:
    """Lines of several replicas in the order of their times; those without one keep their place."""
    done: list[tuple[float, int, LogLine]] = []
    last = 0.0
    for place, line in enumerate(lines):
        last = line.time if line.time is not None else last
        done.append((last, place, line))
    return [line for _, _, line in sorted(done, key=lambda entry: entry[:2])]


@dataclass(slots=True)
class Place:
    """How far a log was read, so that a lost connection costs no line and repeats none.

    Several lines may bear one time; a server resumes at a second's granularity.
    """

    time: float = 0.0
    at_time: int = 0
    skip: int = 0

    def resume(self) -> None:
        """The log is read again from about here."""
        self.skip = self.at_time

    def renew(self) -> None:
        """Another run, another log."""
        self.time, self.at_time, self.skip = 0.0, 0, 0

    def is_new(self, time: float | None) -> bool:
        """Whether a line of that time was not seen before."""
        if time is None:
            return True
        if time < self.time:
            return not self.skip  # within one run of reading, a clock that was set back hides nothing
        if time == self.time:
            if self.skip:
                self.skip -= 1
                return False
            self.at_time += 1
            return True
        self.time, self.at_time, self.skip = time, 1, 0
        return True
