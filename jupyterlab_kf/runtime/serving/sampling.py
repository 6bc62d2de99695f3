"""Which requests are one of a sample. Pure.

Decided by the request's identity, so that engine and monitor choose the same ones, and of a request and its answer both
or none.
"""

from __future__ import annotations

import zlib

_ALL = 1 << 32


def chosen(identity: str, share: float) -> bool:
    """Whether a request is one of so large a share of all."""
    return share >= 1 or zlib.crc32(identity.encode()) < share * _ALL
