"""Studies as manifests: what is tuned and how, to a Katib Experiment; Experiments and Trials to plain rows. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.model import Obj, meta, parse_time

ENV_PREFIX: Final = "KF_PARAM_"
MAIN: Final = "main"
_ENDS: Final = ("Killed", "Failed", "Succeeded", "EarlyStopped", "MetricsUnavailable")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySpec:
    """Everything that an Experiment is made of, but for its trial template.

    Attributes:
        parameters: as in ``spec.parameters``.
        stop_early: whether the median rule ends trials that are behind.
    """

    name: str
    namespace: str
    objective: str
    direction: str
    parameters: Sequence[Obj]
    algorithm: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    trials: int = 20
    parallel: int = 2
    failed: int | None = None
    goal: float | None = None
    metrics: Sequence[str] = ()
    stop_early: bool = False
    provenance: Mapping[str, Any] = field(default_factory=dict)
    submission: str = ""


def environment(parameters: Sequence[str]) -> dict[str, str]:
    """The variables in which a trial's values arrive."""
    return {f"{ENV_PREFIX}{name}": f"${{trialParameters.{name}}}" for name in parameters}


def plain_job(template: Obj, deadline: int | None) -> Obj:
    """A batch Job without a name that runs a pod template once, its one container called ``main``."""
    (container,) = template["spec"]["containers"]
    pod = {**template["spec"], "restartPolicy": "Never", "containers": [{**container, "name": MAIN}]}
    spec: Obj = {"backoffLimit": 0, "template": {**template, "spec": pod}}
    if deadline is not None:
        spec["activeDeadlineSeconds"] = deadline
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": spec}


def unnamed(job: Obj) -> Obj:
    """A training job as a trial template: its name and place are the trial's."""
    return {"apiVersion": job["apiVersion"], "kind": job["kind"], "spec": job["spec"]}


def encode(spec: StudySpec, job: Obj, container: str) -> Obj:
    """The Experiment whose trials are that job."""
    kind = kinds.EXPERIMENT
    objective: Obj = {"type": spec.direction, "objectiveMetricName": spec.objective}
    if spec.goal is not None:
        objective["goal"] = spec.goal
    if spec.metrics:
        objective["additionalMetricNames"] = list(spec.metrics)
    algorithm: Obj = {"algorithmName": spec.algorithm}
    if spec.settings:
        algorithm["algorithmSettings"] = [{"name": key, "value": str(value)} for key, value in spec.settings.items()]
    body: Obj = {
        "objective": objective,
        "algorithm": algorithm,
        "parameters": list(spec.parameters),
        "maxTrialCount": spec.trials,
        "parallelTrialCount": spec.parallel,
        # Katib's own population based training has its volume only so.
        "resumePolicy": "FromVolume" if spec.algorithm == "pbt" else "LongRunning",
        "trialTemplate": {
            "primaryContainerName": container,
            # Logs stay until the study is deleted.
            "retain": True,
            "trialParameters": [{"name": one["name"], "reference": one["name"]} for one in spec.parameters],
            "trialSpec": job,
        },
    }
    if spec.failed is not None:
        body["maxFailedTrialCount"] = spec.failed
    if spec.stop_early:
        body["earlyStopping"] = {"algorithmName": "medianstop"}
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": spec.name,
            "namespace": spec.namespace,
            "labels": {names.LABEL_MANAGED_BY: names.FIELD_MANAGER, names.LABEL_SUBMISSION: spec.submission},
            "annotations": {names.ANNOTATION_PROVENANCE: json.dumps(spec.provenance, sort_keys=True)},
        },
        "spec": body,
    }


@dataclass(frozen=True, slots=True)
class TrialRow:
    """One trial. Times are epoch seconds; ``value`` is the objective's, None while there is none."""

    name: str
    number: int
    state: str
    parameters: Mapping[str, str]
    value: float | None = None
    metrics: Mapping[str, str] = field(default_factory=dict)
    message: str = ""
    started: float | None = None
    finished: float | None = None


@dataclass(frozen=True, slots=True)
class StudyRow:
    """What a list shows of one study, read from the Experiment alone. Times are epoch seconds.

    ``done`` trials of the ``budget`` have ended, whichever way; ``budget`` is 0 where there is none. ``best`` is the
    objective's value of the best trial, and ``parameters`` what it was made with.
    """

    uid: str
    namespace: str
    name: str
    state: str
    message: str
    objective: str
    algorithm: str
    done: int
    running: int
    failed: int
    budget: int
    best: float | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    finished: float | None = None


def study_row(experiment: Obj) -> StudyRow:
    """The row of an Experiment, whoever made it."""
    head, spec, status = meta(experiment), experiment.get("spec") or {}, experiment.get("status") or {}
    objective = spec.get("objective") or {}
    metric = str(objective.get("objectiveMetricName") or "")
    best = status.get("currentOptimalTrial") or {}
    seen = {one.get("name"): one for one in (best.get("observation") or {}).get("metrics") or ()}
    strategies = {one.get("name"): str(one.get("value")) for one in objective.get("metricStrategies") or ()}
    extreme = {"minimize": "min", "maximize": "max"}.get(str(objective.get("type")), "latest")
    state, message = state_of(experiment)
    counts = {name: int(status.get(f"trials{name}") or 0) for name in ("Pending", "Running", "Failed", "Killed")}
    return StudyRow(
        uid=str(head.get("uid", "")),
        namespace=str(head.get("namespace", "")),
        name=str(head.get("name", "")),
        state=state,
        message=message,
        objective=metric,
        algorithm=str((spec.get("algorithm") or {}).get("algorithmName") or ""),
        done=max(0, int(status.get("trials") or 0) - counts["Pending"] - counts["Running"]),
        running=counts["Running"],
        failed=counts["Failed"],
        budget=int(spec.get("maxTrialCount") or 0),
        best=_float(str(seen.get(metric, {}).get(strategies.get(metric, extreme), ""))),
        parameters={str(one["name"]): str(one["value"]) for one in best.get("parameterAssignments") or ()},
        created=parse_time(head.get("creationTimestamp")) or 0.0,
        finished=parse_time(status.get("completionTime")),
    )


def state_of(obj: Mapping[str, Any]) -> tuple[str, str]:
    """The last condition that is true, and its message; a trial or Experiment without any is Pending."""
    held = [c for c in (obj.get("status") or {}).get("conditions") or () if c.get("status") == "True"]
    ended = [c for c in held if c.get("type") in _ENDS]
    found = (ended or held or [{}])[-1]
    return str(found.get("type") or "Pending"), str(found.get("message") or "")


def rows(trials: Sequence[Obj]) -> list[TrialRow]:
    """Trials in the order in which they were suggested."""
    return sorted((row_of(trial) for trial in trials), key=lambda row: (row.number, row.started or 0.0, row.name))


def assigned(trial: Obj) -> dict[str, str]:
    """The values that a Trial was given, as texts."""
    given = (trial.get("spec") or {}).get("parameterAssignments") or ()
    return {str(one["name"]): str(one["value"]) for one in given}


def row_of(trial: Obj) -> TrialRow:
    """A Trial's row."""
    spec, status = trial.get("spec") or {}, trial.get("status") or {}
    objective = spec.get("objective") or {}
    strategies = {one.get("name"): str(one.get("value")) for one in objective.get("metricStrategies") or ()}
    seen = {one["name"]: one for one in (status.get("observation") or {}).get("metrics") or ()}
    metrics = {name: str(one.get(strategies.get(name, "latest"), "")) for name, one in seen.items()}
    number = str((meta(trial).get("annotations") or {}).get("jupyterlab-kf.io/number", ""))
    state, message = state_of(trial)
    return TrialRow(
        name=str(meta(trial).get("name")),
        number=int(number) if number.isdecimal() else 0,
        state=state,
        parameters=assigned(trial),
        value=_float(metrics.get(str(objective.get("objectiveMetricName")))),
        metrics=metrics,
        message=message,
        started=parse_time(status.get("startTime")),
        finished=parse_time(status.get("completionTime")),
    )


def _float(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
