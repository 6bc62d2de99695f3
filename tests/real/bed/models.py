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
TRITON = "nvcr.io/nvidia/tritonserver:25.08-py3"
UNITS = ("docker.io/tensorflow/serving:2.19.1", "docker.io/kserve/sklearnserver:v0.15.2")
"""Names of servers of other makers; here each is our unit server, which takes their options."""
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
            program = local / "bin" / "tritonserver"
            program.parent.mkdir(exist_ok=True)
            program.write_text('#!/bin/sh\nexec python3 -m kf_serving unit "$@"\n')
            program.chmod(0o755)
            unit = ["python3", "-m", "kf_serving", "unit"]
            images.pack(
                target,
                root,
                [NOTEBOOK],
                default=["python3"],
                environment=images.PYTHON_ENVIRONMENT,
                programs={ENGINE: ["python3", "-m", "kf_serving", "engine"], TRITON: [], **dict.fromkeys(UNITS, unit)},
                below=below,
            )

    return provision._made(f"{below.name}-serving", [_HERE, _LOCK, *sorted(_PROGRAM.rglob("*.py"))], make)
