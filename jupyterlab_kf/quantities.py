"""Kubernetes resource quantities: text such as ``500m``, ``2`` or ``16Gi`` to exact numbers and back.

Owns the grammar of ``resource.Quantity`` (decimal suffixes n u m k M G T P E, binary suffixes Ki ... Ei, decimal
exponents) and its canonical form, the one an API server answers with. Pure arithmetic on ``Decimal``, so that
``0.1`` cores stay 0.1 cores. Refuses text that a real API server refuses, with the server's sentence.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_UP, Decimal
from functools import lru_cache
from typing import Final

from jupyterlab_kf.errors import UsageError

PATTERN: Final = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
SENTENCE: Final = f"quantities must match the regular expression '{PATTERN}'"
"""What a real API server says of text that is no quantity."""

_GRAMMAR: Final = re.compile(r"([+-]?)(\d+(?:\.\d*)?|\.\d+)(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE]|[eE][+-]?\d+)?")
_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {
    suffix: Decimal(1024) ** power for power, suffix in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"), 1)
}
_NANO: Final = Decimal("1e-9")
_TIME: Final = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")


@lru_cache(maxsize=4096)
def _split(text: str) -> tuple[Decimal, str]:
    """The value and the suffix as written."""
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise UsageError(SENTENCE)
    sign, digits, suffix = match[1], match[2], match[3] or ""
    number = Decimal(sign + digits)
    if suffix in _BINARY:
        number *= _BINARY[suffix]
    elif suffix in _DECIMAL:
        number = number.scaleb(_DECIMAL[suffix])
    else:
        number = number.scaleb(int(suffix[1:]))
    return number, suffix


def parse(text: str | float | Decimal) -> Decimal:
    """The exact value of a quantity; bytes for memory, cores for CPU.

    Raises:
        UsageError: it is no quantity; the message is the API server's sentence.
    """
    if isinstance(text, bool):
        raise UsageError(SENTENCE)
    return _split(str(text).strip())[0]


def canonical(text: str | float | Decimal) -> str:
    """The quantity as an API server answers it: same value, no fraction, the largest suffix that keeps it whole.

    The written family of suffixes is kept: ``1024Mi`` is ``1Gi``, ``0.5`` is ``500m``, ``1500M`` stays ``1500M``.

    Raises:
        UsageError: it is no quantity.
    """
    value, suffix = _split(str(text).strip())
    if value % _NANO:  # finer than a billionth: away from zero, as the server rounds
        value = value.quantize(_NANO, rounding=ROUND_UP)
    if value == 0:
        return "0"
    if suffix in _BINARY and abs(value) >= 1024:  # noqa: PLR2004  below one Ki there is no binary suffix
        return _binary(value) if value == value.to_integral_value() else _decimal(value)
    if suffix[:1] in ("e", "E") and len(suffix) > 1:
        return _exponent(value)
    return _decimal(value)


def _binary(value: Decimal) -> str:
    best = f"{int(value)}"
    for suffix, unit in _BINARY.items():
        if value % unit == 0:
            best = f"{int(value / unit)}{suffix}"
    return best


def _decimal(value: Decimal) -> str:
    for suffix in reversed(_DECIMAL):
        scaled = value.scaleb(-_DECIMAL[suffix])
        if scaled == scaled.to_integral_value():
            return f"{int(scaled)}{suffix}"
    return f"{int(value.scaleb(9).to_integral_value(ROUND_CEILING))}n"


def _exponent(value: Decimal) -> str:
    for exponent in (18, 15, 12, 9, 6, 3, 0, -3, -6, -9):
        scaled = value.scaleb(-exponent)
        if scaled == scaled.to_integral_value():
            return f"{int(scaled)}e{exponent}" if exponent else f"{int(scaled)}"
    return _decimal(value)


def format_bytes(number: float | Decimal) -> str:
    """An amount of memory as people write it: whole bytes, with the largest binary suffix that keeps it whole."""
    return _binary(Decimal(int(number))) if number else "0"


def format_cpu(cores: float | Decimal) -> str:
    """An amount of CPU as people write it: ``2``, or ``500m`` below a whole core; rounded up to a thousandth."""
    milli = int((Decimal(str(cores)) * 1000).to_integral_value(ROUND_CEILING))
    return f"{milli // 1000}" if milli % 1000 == 0 else f"{milli}m"


def in_words(resource: str, value: Decimal) -> str:
    """A resource's amount as people say it: ``2 CPUs``, ``1 GPU``, ``1.5 GiB of memory``, ``2 amd.com/gpu``."""
    if resource == "memory":
        return f"{size_in_words(value)} of memory"
    what = {"cpu": "CPU", "nvidia.com/gpu": "GPU"}.get(resource, resource)
    return f"{value.normalize():f} {what}{'' if value == 1 or what == resource else 's'}"


def size_in_words(value: str | Decimal) -> str:
    """A number of bytes as people say it: ``1.5 GiB``, ``2 TiB``.

    Raises:
        UsageError: it is no quantity.
    """
    number = parse(value)
    unit, size = ("TiB", 2**40) if number >= 2**40 else ("GiB", 2**30)
    return f"{number / size:.4g} {unit}"


def seconds(text: str) -> float:
    """A length of time: a number of seconds, or with a unit (``90``, ``90s``, ``5m``, ``2h``, ``1d``, ``1.5h``).

    Raises:
        UsageError: it is none.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{text!r} is not a time such as 90, 90s, 5m or 2h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]
