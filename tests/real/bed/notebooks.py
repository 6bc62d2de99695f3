"""The image of notebooks' kernels for the real node: this Python, ipykernel and what it needs."""

from __future__ import annotations

from pathlib import Path

from bed import images

_LOCK = Path(__file__).parent.parent / "manifests" / "kernel.lock"
IMAGE = "docker.io/jupyterlab-kf/kernel:1"


def kernel() -> Path:
    """The archive."""
    return images._python("kernel", _LOCK, [IMAGE])
