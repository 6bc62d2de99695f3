"""What lies on disk of pods and attempts that nobody follows any more. Everything here blocks: call it in a thread."""

from __future__ import annotations

from pathlib import Path

from jupyterlab_kf.embedded import volumes
from jupyterlab_kf.embedded.kubelet.processes import ATTEMPT_MARKER, end_marked


def forget_older(place: Path, kept: set[int]) -> None:
    """Delete the folders of all attempts but these; `kubectl logs --previous` asks for no older one."""
    for folder in place.iterdir():
        if int(folder.name) < min(kept):
            volumes.reclaim(folder)


def unfinished(folder: Path) -> bool:
    """Whether something of a pod may still run."""
    attempts = folder.glob("containers/*/*")
    return any(not any((attempt / name).exists() for name in ("exit.json", "abandoned")) for attempt in attempts)


def end_unowned(folder: Path) -> None:
    """End what runs of a pod that has no object any more, then delete its folder."""
    for attempt in sorted(folder.glob("containers/*/*")):
        (attempt / "abandoned").touch()
        end_marked(f"{ATTEMPT_MARKER}={attempt}")
    volumes.reclaim(folder)
