"""Train, tune and serve on Kubernetes, or on the machine at hand, without leaving the notebook.

The public names, loaded when they are first used: importing the package costs nothing.

    job = jupyterlab_kf.train("train.py", "pytorch", workers=2)
    job.wait()
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jupyterlab_kf.errors import (
        AlreadyExistsError,
        ApiError,
        BundleError,
        ClusterError,
        ConflictError,
        ExpiredError,
        ForbiddenError,
        InvalidError,
        JobFailedError,
        KubeflowError,
        ManifestError,
        NotFoundError,
        UnauthorizedError,
        UnreachableError,
        UsageError,
        WaitTimeoutError,
    )
    from jupyterlab_kf.magics.verbs import show
    from jupyterlab_kf.services.jobs import Job, delete, job, jobs
    from jupyterlab_kf.services.plans import Plan
    from jupyterlab_kf.services.session import Cluster, cluster
    from jupyterlab_kf.services.training import plan, train

__version__ = "0.1.0"

__all__ = [
    "AlreadyExistsError",
    "ApiError",
    "BundleError",
    "Cluster",
    "ClusterError",
    "ConflictError",
    "ExpiredError",
    "ForbiddenError",
    "InvalidError",
    "Job",
    "JobFailedError",
    "KubeflowError",
    "ManifestError",
    "NotFoundError",
    "Plan",
    "UnauthorizedError",
    "UnreachableError",
    "UsageError",
    "WaitTimeoutError",
    "cluster",
    "delete",
    "job",
    "jobs",
    "plan",
    "show",
    "train",
]

_HOMES = {
    "Cluster": "services.session",
    "Job": "services.jobs",
    "Plan": "services.plans",
    "cluster": "services.session",
    "delete": "services.jobs",
    "job": "services.jobs",
    "jobs": "services.jobs",
    "plan": "services.training",
    "show": "magics.verbs",
    "train": "services.training",
}


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext jupyterlab_kf``: add the magics to a shell."""
    from jupyterlab_kf.magics import register

    register(shell)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


class _Package(ModuleType):
    """This package: importing its part ``jupyterlab_kf.cluster`` must not hide the function of that name."""

    def __setattr__(self, name: str, value: object) -> None:
        if name != "cluster" or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
