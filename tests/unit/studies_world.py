"""Experiments and Trials as a cluster with our controllers has them."""

from __future__ import annotations

import json
from typing import Any

from jupyterlab_kf.manifests import studyviews
from jupyterlab_kf.manifests.studyviews import StudyRecord
from jupyterlab_kf.model import Obj

SPACE = [
    {
        "name": "lr",
        "parameterType": "double",
        "feasibleSpace": {"min": "0.0001", "max": "1", "distribution": "logUniform"},
    },
    {"name": "opt", "parameterType": "categorical", "feasibleSpace": {"list": ["adam", "<b>"]}},
]
NOW = 1_000_060.0


def experiment(state: str = "Running", *, budget: int = 8, best: str = "", message: str = "", **spec: Any) -> Obj:
    """A study of ``loss`` over ``lr`` and ``opt``, two trials at a time."""
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {
            "name": "s",
            "namespace": "default",
            "uid": "uid-s",
            "resourceVersion": "1",
            "creationTimestamp": "1970-01-12T13:46:40Z",
        },
        "spec": {
            "algorithm": {"algorithmName": "tpe"},
            "objective": {"type": "minimize", "objectiveMetricName": "loss", "additionalMetricNames": ["f1"]},
            "parameters": SPACE,
            "maxTrialCount": budget,
            "parallelTrialCount": 2,
            **spec,
        },
        "status": {
            "conditions": [{"type": state, "status": "True", "message": message}],
            "currentOptimalTrial": {"bestTrialName": best},
        },
    }


def trial(
    number: int,
    value: float | None = None,
    state: str = "Succeeded",
    *,
    lr: float = 0.012345678,
    opt: str = "<b>",
    message: str = "",
    course: tuple[float, ...] = (),
    version: int = 1,
) -> Obj:
    """One of its trials, that took two seconds."""
    metrics = [{"name": "loss", "latest": str(value), "min": str(value), "max": str(value)}]
    notes = {"jupyterlab-kf.io/number": str(number)}
    if course:
        points = [[place, 1.0, str(one)] for place, one in enumerate(course)]
        notes["jupyterlab-kf.io/observations"] = json.dumps({"done": True, "metrics": {"loss": {"points": points}}})
    return {
        "kind": "Trial",
        "metadata": {
            "name": f"s-{number}",
            "namespace": "default",
            "uid": f"uid-s-{number}",
            "resourceVersion": str(version),
            "annotations": notes,
        },
        "spec": {
            "objective": {"type": "minimize", "objectiveMetricName": "loss"},
            "parameterAssignments": [{"name": "lr", "value": str(lr)}, {"name": "opt", "value": opt}],
        },
        "status": {
            "conditions": [{"type": state, "status": "True", "message": message}],
            "observation": {"metrics": metrics if value is not None else []},
            "startTime": "1970-01-12T13:47:00Z",
            **({"completionTime": "1970-01-12T13:47:02Z"} if state not in ("Running", "Pending") else {}),
        },
    }


def record(*trials: Obj, state: str = "Running", budget: int = 8, best: str = "", message: str = "") -> StudyRecord:
    """The study with these trials, a minute after it began."""
    return studyviews.record(experiment(state, budget=budget, best=best, message=message), list(trials), now=NOW)
