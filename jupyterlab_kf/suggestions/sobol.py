"""Points of a scrambled Sobol sequence, without numpy: the first answer of a study should not wait for its import.

Direction numbers are Joe and Kuo's (new-joe-kuo-6.21201, 2008). The scrambling is Matousek's: a random lower triangular
matrix for each dimension and a random shift, which keeps the evenness of the sequence. Pure; standard library only.
"""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Final

BITS: Final = 30
_JOE_KUO: Final[tuple[tuple[int, int, tuple[int, ...]], ...]] = (
    (1, 0, (1,)),
    (2, 1, (1, 3)),
    (3, 1, (1, 3, 1)),
    (3, 2, (1, 1, 1)),
    (4, 1, (1, 1, 3, 3)),
    (4, 4, (1, 3, 5, 13)),
    (5, 2, (1, 1, 5, 5, 17)),
    (5, 4, (1, 1, 5, 5, 5)),
    (5, 7, (1, 1, 7, 11, 19)),
    (5, 11, (1, 1, 5, 1, 1)),
    (5, 13, (1, 1, 1, 3, 11)),
    (5, 14, (1, 3, 5, 5, 31)),
    (6, 1, (1, 3, 3, 9, 7, 49)),
    (6, 13, (1, 1, 1, 15, 21, 21)),
    (6, 16, (1, 3, 1, 13, 27, 49)),
    (6, 19, (1, 1, 1, 15, 7, 5)),
    (6, 22, (1, 3, 1, 15, 13, 25)),
    (6, 25, (1, 1, 5, 5, 19, 61)),
    (7, 1, (1, 3, 7, 11, 23, 15, 103)),
    (7, 4, (1, 3, 7, 13, 13, 15, 69)),
)
"""Of dimensions 2 and up: degree and coefficients of the polynomial, and the first direction numbers."""
MOST: Final = len(_JOE_KUO) + 1
"""Dimensions that there are numbers for; in the others points are independent."""


def point(dimensions: int, index: int, seed: int) -> list[float]:
    """Coordinates in [0, 1) of the point of that number."""
    gray = index ^ (index >> 1)
    found = []
    for dimension in range(dimensions):
        if dimension >= MOST:
            found.append(random.Random(f"{seed}/{index}/{dimension}").random())  # noqa: S311  nothing secret
            continue
        columns, shift = _scrambled(dimension, seed)
        bits = shift
        for place, column in enumerate(columns):
            if gray >> place & 1:
                bits ^= column
        found.append((bits + 0.5) / 2.0**BITS)
    return found


def directions(dimension: int) -> list[int]:
    """The direction numbers of a dimension from 0, each with its first digit highest."""
    if dimension == 0:
        return [1 << (BITS - 1 - place) for place in range(BITS)]
    degree, coefficients, first = _JOE_KUO[dimension - 1]
    found = [number << (BITS - 1 - place) for place, number in enumerate(first)]
    for place in range(degree, BITS):
        number = found[place - degree] ^ (found[place - degree] >> degree)
        for step in range(1, degree):
            if coefficients >> (degree - 1 - step) & 1:
                number ^= found[place - step]
        found.append(number)
    return found


@lru_cache(maxsize=256)
def _scrambled(dimension: int, seed: int) -> tuple[tuple[int, ...], int]:
    """Direction numbers after the dimension's matrix, and its shift."""
    draw = random.Random(f"sobol/{seed}/{dimension}")  # noqa: S311  nothing secret
    # Row by row from the highest digit: the digit itself, and any of those above it.
    rows = [1 << (BITS - 1 - row) | draw.getrandbits(row) << (BITS - row) for row in range(BITS)]
    columns = []
    for number in directions(dimension):
        digits = 0
        for place, row in enumerate(rows):
            digits |= ((row & number).bit_count() & 1) << (BITS - 1 - place)
        columns.append(digits)
    return tuple(columns), draw.getrandbits(BITS)
