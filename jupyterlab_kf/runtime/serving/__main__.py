"""The programs of this package: ``unit``, ``engine``, ``monitor`` and ``agent``. Each imports only what it needs."""

from __future__ import annotations

import importlib
import sys

PROGRAMS = {"unit": ".cli", "engine": ".engine", "monitor": ".monitor", "agent": ".agent"}


def main(argv: list[str]) -> int:
    """Run one of them, and answer its exit status."""
    if not argv or argv[0] not in PROGRAMS:
        told = f"unknown program {argv[0]!r}" if argv else "which program?"
        print(f"{told}: there are {', '.join(PROGRAMS)}", file=sys.stderr)
        return 2
    status: int = importlib.import_module(PROGRAMS[argv[0]], __package__).main(argv[1:])
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
