"""Small tools for honest figures: several runs in turn, the median, the spread, and the ratio to a peer.

Machines are noisy, so a figure is only quoted beside its peer's from the same minute, and the two take turns.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the report: seconds (or the given unit) of ours and of the peer, and what is hoped for."""

    what: str
    ours: list[float]
    peer: list[float]
    peer_name: str
    goal: str = ""
    unit: str = "s"

    def __str__(self) -> str:
        text = f"{self.what:<58} {spread(self.ours, self.unit)}"
        if self.peer:
            ratio = statistics.median(self.ours) / statistics.median(self.peer)
            text += f"   {self.peer_name}: {spread(self.peer, self.unit)}   ratio {ratio:.2f}"
        return text + (f"   (goal {self.goal})" if self.goal else "")


def spread(values: list[float], unit: str) -> str:
    """``0.123 s [0.120 .. 0.130]``: median, least and most; ``0.123 s`` where there is one value."""
    if len(values) == 1:
        return f"{values[0]:.4g} {unit}"
    return f"{statistics.median(values):.4g} {unit} [{min(values):.4g} .. {max(values):.4g}]"


def timed(action: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def in_turn(ours: Callable[[], float], peer: Callable[[], float], runs: int) -> tuple[list[float], list[float]]:
    """Both measured ``runs`` times, one after the other each time, after one uncounted run of each."""
    ours()
    peer()
    pairs = [(ours(), peer()) for _ in range(runs)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]
