"""Which replica's failure explains the others, from their states and their last lines.

The root cause is the replica that failed first and not as a consequence: when one process dies, its peers report broken
connections a moment later. Owns the reading of Python tracebacks out of logs.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from jupyterlab_kf.model import LogLine, Replica
from jupyterlab_kf.services.explain.case import Tails
from jupyterlab_kf.services.logs import plain

ERROR: Final = re.compile(r"^(?P<type>[A-Za-z_][\w.]*)(?:: (?P<text>.*))?$")
"""The last line of a traceback."""
_TRACEBACK: Final = "Traceback (most recent call last):"
_FRAME: Final = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+)')
_CONSEQUENCE: Final = re.compile(
    r"connection (?:reset|closed|refused|aborted)|broken pipe|peer|socket timeout|unavailable|heartbeat|"
    r"ProcessGroup|NCCL|gloo|rendezvous|DistBackendError|DistNetworkError|Stop_?Iteration.*server|cancelled",
    re.IGNORECASE,
)
_LAUNCHER: Final = "launch.py: "
_KILLED: Final = (None, 137, 143)


@dataclass(frozen=True, slots=True)
class Failure:
    """One replica's (or rank's) failure.

    Attributes:
        consequence: True when another replica's end explains it.
        said: what our own launcher said, when it was the one to give up.
    """

    replica: str
    time: float
    exit_code: int | None
    reason: str
    traceback: str
    consequence: bool
    said: str = ""

    @property
    def error(self) -> str:
        """The traceback's last line: ``ValueError: no data``."""
        lines = [line for line in self.traceback.splitlines() if line.strip()]
        return next((line for line in reversed(lines) if ERROR.match(line)), lines[-1] if lines else "")

    @property
    def place(self) -> str:
        """The last frame in the user's own files: ``cell.py, line 7``."""
        frames = [match for line in self.traceback.splitlines() if (match := _FRAME.match(line))]
        named = [frame for frame in frames if not frame["file"].startswith("<")]
        # What is named by a whole path is a library's, or a module beside the program.
        own = [frame for frame in named if not frame["file"].startswith("/")] or named
        return f"{own[-1]['file']}, line {own[-1]['line']}" if own else ""


def root_cause(replicas: Sequence[Replica], tails: Tails) -> Failure | None:
    """The failure that explains the others; None when no replica failed."""
    # A launcher fails because a rank did, and never before it.
    failures = _rank_failures(replicas, tails) or _failures(replicas, tails)
    if not failures:
        return None
    return min(failures, key=lambda one: (one.consequence, not one.traceback and one.exit_code in _KILLED, one.time))


def traceback_in(lines: Sequence[LogLine]) -> tuple[str, float | None]:
    """The last Python traceback of a log, with the one that caused it, and the time of its last line."""
    texts = [plain(line.text) for line in lines]
    starts = [place for place, text in enumerate(texts) if text.strip() == _TRACEBACK]
    if not starts:
        return "", None
    first = starts[-1]
    # "During handling of ..." and "... the direct cause ..." join tracebacks of one failure.
    for place in reversed(starts[:-1]):
        between = " ".join(texts[place:first])
        if "During handling of the above" not in between and "direct cause of the following" not in between:
            break
        first = place
    last = _end(texts, starts[-1])
    return "\n".join(texts[first : last + 1]), lines[last].time


def torn(lines: Sequence[LogLine]) -> bool:
    """Whether a log ends within a traceback: the line that names the error is not there yet."""
    texts = [plain(line.text) for line in lines]
    starts = [place for place, text in enumerate(texts) if text.strip() == _TRACEBACK]
    return bool(starts) and all(text.startswith(" ") or not text.strip() for text in texts[starts[-1] + 1 :])


def _end(texts: Sequence[str], start: int) -> int:
    """The last line of the traceback that begins at ``start``: its error, with the error's further lines."""
    place = start + 1
    while place < len(texts) and (texts[place].startswith(" ") or not texts[place].strip()):
        place += 1
    last = min(place, len(texts) - 1)
    while last + 1 < len(texts) and texts[last + 1].startswith(("  ", "\t")):
        last += 1
    return last


def _failures(replicas: Sequence[Replica], tails: Tails) -> list[Failure]:
    found = []
    for replica in replicas:
        lines = tails.get(replica.name, ())
        trace, seen = traceback_in(lines)
        if not trace and _TRACEBACK in replica.message:
            trace, _ = traceback_in([LogLine(replica.name, text) for text in replica.message.splitlines()])
        ended_badly = replica.exit_code not in (None, 0) or replica.phase == "Failed"
        if not ended_badly and not (trace and replica.restarts):
            continue
        failure = Failure(
            replica=replica.name,
            time=seen or replica.finished or float("inf"),
            # A run after the one that failed may have been killed; an uncaught exception always ends with 1.
            exit_code=1 if trace and replica.exit_code in _KILLED else replica.exit_code,
            reason=replica.reason,
            traceback=trace,
            consequence=False,
        )
        failure = replace(failure, said=_said([line.text for line in lines] or replica.message.splitlines()))
        text = failure.error or " ".join(line.text for line in lines[-3:])
        found.append(_judged(failure, text))
    return found


def _said(texts: Sequence[str]) -> str:
    """The last line of our own launcher."""
    return next((text for text in reversed(texts) if text.startswith(_LAUNCHER)), "").removeprefix(_LAUNCHER)


def _judged(failure: Failure, text: str) -> Failure:
    return replace(failure, consequence=bool(_CONSEQUENCE.search(text)))


def _rank_failures(replicas: Sequence[Replica], tails: Tails) -> list[Failure]:
    """Failures of MPI ranks, whose lines came through the launcher and whose exit codes mpirun hides."""
    if not any(one.exit_code not in (None, 0) or one.phase == "Failed" for one in replicas):
        return []
    found = []
    for name, lines in tails.items():
        if not name.startswith("rank-"):
            continue
        trace, seen = traceback_in(lines)
        said = _said([line.text for line in lines])
        if trace or said:
            failure = Failure(name, seen or float("inf"), 1, "Error", trace, consequence=False, said=said)
            found.append(_judged(failure, failure.error))
    return found
