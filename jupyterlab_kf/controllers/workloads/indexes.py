"""Sets of completion indexes as Job statuses write them: ``0-2,5``. What cannot be read is left out."""

from __future__ import annotations

from collections.abc import Iterable


def parse_indexes(text: str) -> set[int]:
    """The numbers of a compact list."""
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first.isdecimal():
            found.update(range(int(first), int(last if last.isdecimal() else first) + 1))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """A compact list; runs of three or more become ``first-last``."""
    runs: list[list[int]] = []
    for index in sorted(set(indexes)):
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ",".join(_run(run) for run in runs)


_SHORTEST_RUN = 3


def _run(run: list[int]) -> str:
    return f"{run[0]}-{run[-1]}" if len(run) >= _SHORTEST_RUN else ",".join(map(str, run))
