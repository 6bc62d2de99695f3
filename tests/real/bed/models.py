"""Images that serve models on the real node: a layer upon the one for MPI jobs, which has scikit-learn."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import provision

import jupyterlab_kf
from bed import images

_HERE = Path(__file__)
_LOCK = _HERE.parent.parent / "manifests" / "serving.lock"
_PROGRAM = Path(jupyterlab_kf.__file__).parent / "runtime" / "serving"
NOTEBOOK = "quay.io/jupyter/scipy-notebook:latest"
"""What studies and servers run in unless somebody names an image; here with all that a server imports."""
ENGINE = "docker.io/seldonio/seldon-core-executor:1.17.1"
"""The name of Seldon's engine; here it is ours."""


def serving() -> Path:
    """The archive; that of :func:`images.framework` for ``mpi`` must come before it."""
    below = images.framework("mpi")

    def make(target: Path) -> None:
        with tempfile.TemporaryDirectory() as text:
            root = Path(text)
            local = root / "usr" / "local"
            images.install(_LOCK, local)
            shutil.copytree(_PROGRAM, next(local.glob("lib/*/site-packages")) / "kf_serving", ignore=images.ignored)
            images.compiled(root)
            images.pack(
                target,
                root,
                [NOTEBOOK],
                default=["python3"],
                environment=images.PYTHON_ENVIRONMENT,
                programs={ENGINE: ["python3", "-m", "kf_serving", "engine"]},
                below=below,
            )

    return provision._made(f"{below.name}-serving", [_HERE, _LOCK, *sorted(_PROGRAM.rglob("*.py"))], make)
