"""Katib's SDK in a process of this machine: ``report_metrics`` finds its address and its namespace. Standard library.

The SDK has ``katib-db-manager.kubeflow:6789`` as the default of an argument, for which there is no name server here,
and reads its namespace from a file that only a container has. Python imports this module at its start, by its name,
where the node puts this folder first in PYTHONPATH; it changes these two as the SDK is imported, nothing else, and lets
a report wait while the cluster on this machine is started again.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

ADDRESS = "KF_TRIAL_REPORTS"
NAMESPACE = "KF_TRIAL_NAMESPACE"
PATIENCE = 60.0
PAUSE = 0.25


def _address(module: Any) -> None:
    module.DEFAULT_DB_MANAGER_ADDRESS = os.environ[ADDRESS]


def _namespace(module: Any) -> None:
    module.get_current_k8s_namespace = lambda: os.environ.get(NAMESPACE, "default")


def _report(module: Any) -> None:
    module.report_metrics = patient(module.report_metrics)


def patient(report: Callable[..., None]) -> Callable[..., None]:
    """The function, asked again for a minute while nobody listens."""

    @functools.wraps(report)
    def ask(*args: Any, **options: Any) -> None:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                return report(*args, **options)
            except RuntimeError as error:
                if "StatusCode.UNAVAILABLE" not in str(error) or time.monotonic() > until:
                    raise
            time.sleep(PAUSE)

    return ask


CHANGES: dict[str, Callable[[Any], None]] = {
    "kubeflow.katib.constants.constants": _address,
    "kubeflow.katib.utils.utils": _namespace,
    "kubeflow.katib.api.report_metrics": _report,
}


class Finder(importlib.abc.MetaPathFinder):
    """Finds the SDK's modules as everybody does, and has them changed once they are there."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: Any = None) -> Any:
        """The module's spec; None for all others."""
        change = CHANGES.get(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if change else None
        if spec is None or spec.loader is None or change is None:
            return None
        load = spec.loader.exec_module

        def loaded(module: Any) -> None:
            load(module)
            change(module)

        spec.loader.exec_module = loaded  # type: ignore[method-assign]
        return spec


def _hidden() -> None:
    """Run the module of this name that ours hides."""
    here = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  at every start: pathlib takes time
    others = [entry for entry in sys.path if os.path.abspath(entry) != here]  # noqa: PTH100
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if os.environ.get(ADDRESS):
    sys.meta_path.insert(0, Finder())
if __name__ == "sitecustomize":
    _hidden()
