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
        CredentialsError,
        EndpointError,
        EndpointNotReadyError,
        ExpiredError,
        ForbiddenError,
        InvalidError,
        JobFailedError,
        KubeflowError,
        ManifestError,
        NotFoundError,
        PredictionError,
        UnauthorizedError,
        UnreachableError,
        UsageError,
        WaitTimeoutError,
    )
    from jupyterlab_kf.magics.verbs import show
    from jupyterlab_kf.services.designs import StudyPlan
    from jupyterlab_kf.services.doctor import doctor
    from jupyterlab_kf.services.hardware import profiles
    from jupyterlab_kf.services.jobs import Job, delete, job, jobs
    from jupyterlab_kf.services.plans import Plan
    from jupyterlab_kf.services.serving import (
        Endpoint,
        ServePlan,
        chain,
        combine,
        endpoint,
        endpoints,
        plan_serve,
        route,
        serve,
        unit,
    )
    from jupyterlab_kf.services.serving.others import Server, server
    from jupyterlab_kf.services.serving.registry import KeptModel, kept_model, models
    from jupyterlab_kf.services.session import Cluster, cluster
    from jupyterlab_kf.services.spaces import choice, integer, lognormal, loguniform, normal, uniform
    from jupyterlab_kf.services.training import plan, train
    from jupyterlab_kf.services.tuning import Study, plan_study, study, tune
    from jupyterlab_kf.widgets.studyform import study_form

__version__ = "0.1.0"

__all__ = [
    "AlreadyExistsError",
    "ApiError",
    "BundleError",
    "Cluster",
    "ClusterError",
    "ConflictError",
    "CredentialsError",
    "Endpoint",
    "EndpointError",
    "EndpointNotReadyError",
    "ExpiredError",
    "ForbiddenError",
    "InvalidError",
    "Job",
    "JobFailedError",
    "KeptModel",
    "KubeflowError",
    "ManifestError",
    "NotFoundError",
    "Plan",
    "PredictionError",
    "ServePlan",
    "Server",
    "Study",
    "StudyPlan",
    "UnauthorizedError",
    "UnreachableError",
    "UsageError",
    "WaitTimeoutError",
    "chain",
    "choice",
    "cluster",
    "combine",
    "delete",
    "doctor",
    "endpoint",
    "endpoints",
    "integer",
    "job",
    "jobs",
    "kept_model",
    "lognormal",
    "loguniform",
    "models",
    "normal",
    "plan",
    "plan_serve",
    "plan_study",
    "profiles",
    "route",
    "serve",
    "server",
    "show",
    "study",
    "study_form",
    "train",
    "tune",
    "uniform",
    "unit",
]

_HOMES = {
    "Cluster": "services.session",
    "Job": "services.jobs",
    "Plan": "services.plans",
    **dict.fromkeys(("Endpoint", "ServePlan", "endpoint", "endpoints", "plan_serve", "serve"), "services.serving"),
    **dict.fromkeys(("KeptModel", "kept_model", "models"), "services.serving.registry"),
    **dict.fromkeys(("Server", "server"), "services.serving.others"),
    **dict.fromkeys(("chain", "combine", "route", "unit"), "services.serving.graphs"),
    "Study": "services.tuning",
    "StudyPlan": "services.designs",
    "cluster": "services.session",
    "delete": "services.jobs",
    "doctor": "services.doctor",
    "job": "services.jobs",
    "jobs": "services.jobs",
    "plan": "services.training",
    "plan_study": "services.tuning",
    "profiles": "services.hardware",
    "show": "magics.verbs",
    "study": "services.tuning",
    "study_form": "widgets.studyform",
    "train": "services.training",
    "tune": "services.tuning",
    **dict.fromkeys(("choice", "integer", "lognormal", "loguniform", "normal", "uniform"), "services.spaces"),
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
    """This package: importing a part such as ``jupyterlab_kf.cluster`` must not hide the function of that name."""

    def __setattr__(self, name: str, value: object) -> None:
        if name not in ("cluster", "profiles") or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
