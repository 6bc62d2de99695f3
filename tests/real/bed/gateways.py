"""The image of the gateway for the real node: Envoy upon the image that serves models, and the package as it is now."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

import provision

import jupyterlab_kf
from bed import images, models

_HERE = Path(__file__)
_LOCK = _HERE.parent.parent / "manifests" / "gateway.lock"
_PACKAGE = Path(jupyterlab_kf.__file__).parent
IMAGE = "docker.io/jupyterlab-kf/gateway:1"
_BASE = "docker.io/jupyterlab-kf/gateway-base:1"


def base() -> Path:
    """Envoy's archive; that of :func:`models.serving` must come before it."""
    below = models.serving()

    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory() as text:
            images.install(_LOCK, Path(text) / "usr" / "local")
            images.pack(target, Path(text), [_BASE], environment=images.PYTHON_ENVIRONMENT, below=below)

    return provision._made(f"{below.name}-envoy", [_HERE, _LOCK], make)


def gateway(folder: Path) -> tuple[Path, Path]:
    """Envoy's archive, and into a folder, in a moment, that of the package as it is now: nobody has to make it anew."""
    below, target = base(), folder / "gateway.tar"
    with tempfile.TemporaryDirectory() as text:
        packages = Path(text) / "usr" / "local" / "lib" / _site()
        shutil.copytree(
            _PACKAGE, packages / "jupyterlab_kf", ignore=shutil.ignore_patterns("__pycache__", "labextension")
        )
        images.pack(
            target, Path(text), [IMAGE], default=["python3"], environment=images.PYTHON_ENVIRONMENT, below=below
        )
    return below, target


def _site() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
