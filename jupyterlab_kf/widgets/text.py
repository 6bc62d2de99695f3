"""How numbers, times and log lines read: pure formatting shared by the HTML and the text renderers.

Refuses nothing: whatever a job printed, control characters and escape sequences included, becomes one harmless line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Final

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
MAX_LINE: Final = 400
_MINUTE: Final = 60
_HOUR: Final = 3600
_DAY: Final = 86400

RESET: Final = "\x1b[0m"
BOLD: Final = "\x1b[1m"
DIM: Final = "\x1b[2m"
RED: Final = "\x1b[31m"
_ANSI_RANKS: Final = ("\x1b[34m", "\x1b[33m", "\x1b[32m", "\x1b[35m", "\x1b[36m", "\x1b[31m", "\x1b[94m", "\x1b[93m")


def clean(line: str, *, limit: int = MAX_LINE) -> str:
    r"""One line without escape sequences; of a line that overwrote itself (``\r``) the last state; cut at the limit."""
    plain = _ESCAPES.sub("", line.rstrip("\r\n"))
    plain = _CONTROL.sub("", plain.rsplit("\r", 1)[-1].replace("\t", "    "))
    return plain if len(plain) <= limit else plain[: limit - 1] + "…"


def duration(seconds: float | None) -> str:
    """``8s``, ``1m 05s``, ``2h 03m``, ``4d 01h``; empty for None."""
    if seconds is None or not math.isfinite(seconds):
        return ""
    whole = max(0, int(seconds))
    if whole < _MINUTE:
        return f"{whole}s"
    if whole < _HOUR:
        return f"{whole // _MINUTE}m {whole % _MINUTE:02d}s"
    if whole < _DAY:
        return f"{whole // _HOUR}h {whole % _HOUR // _MINUTE:02d}m"
    return f"{whole // _DAY}d {whole % _DAY // _HOUR:02d}h"


def number(value: float) -> str:
    """A metric's value in at most four significant digits: ``0.4123``, ``12.5``, ``1.2e-05``, ``nan``."""
    if not math.isfinite(value):
        return "nan" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    return f"{value:.4g}"


def size(count: int) -> str:
    """``512 B``, ``1.4 kB``, ``3.0 MB``."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000 or unit == "GB":  # noqa: PLR2004  the step between the units
            return f"{int(amount)} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return ""


def plural(count: int, noun: str) -> str:
    """``1 worker``, ``2 workers``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def rank_color(index: int) -> str:
    """The ANSI colour of the index-th replica of a job."""
    return _ANSI_RANKS[index % len(_ANSI_RANKS)]


def bar(fraction: float, width: int = 20) -> str:
    """A progress bar in characters."""
    full = round(max(0.0, min(1.0, fraction)) * width)
    return "█" * full + "░" * (width - full)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Columns as kubectl prints them: upper-case header, three spaces between."""
    lines = [[name.upper() for name in header], *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
