"""The real node's place in the kernel's control groups, in every hierarchy of either version."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_PATIENCE_SECONDS = 10.0


def create(name: str) -> None:
    """One group per hierarchy; the kubelet makes its pods' groups inside."""
    for hierarchy in _hierarchies():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        # A new cpuset of version 1 has no cores and no memory, and whatever joins it is refused.
        for item in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / item).exists() and (group / item).exists():
                (group / item).write_text((hierarchy / item).read_text())


def remove(name: str) -> None:
    """Remove the groups; their processes are gone or just going, so a busy one is tried again for a while."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while (left := [group for hierarchy in _hierarchies() if (group := hierarchy / name).exists()]) and (
        time.monotonic() < deadline
    ):
        for group in left:
            folders = sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True)
            for folder in (*folders, group):
                with contextlib.suppress(OSError):
                    folder.rmdir()
        time.sleep(0.05)


def _hierarchies() -> Iterator[Path]:
    """Version 2 has one, at the root; version 1 has one a controller, and perhaps a version 2 beside them."""
    if (_ROOT / "cgroup.controllers").exists():
        yield _ROOT
    elif _ROOT.is_dir():
        yield from (path for path in sorted(_ROOT.iterdir()) if path.is_dir() and not path.is_symlink())
