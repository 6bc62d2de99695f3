"""What Katib's mutating webhook fills into an Experiment, at every write. Pure and idempotent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.model import Obj

PARALLEL: Final = 3
JOB_KIND: Final = "Job"
TRAIN_JOB: Final = "TrainJob"
KUBEFLOW_KINDS: Final = ("TFJob", "PyTorchJob", "XGBoostJob", "MPIJob", TRAIN_JOB)
_MASTER: Final = {"training.kubeflow.org/job-role": "master"}
_FIRST_NODE: Final = {
    "jobset.sigs.k8s.io/replicatedjob-name": "node",
    "batch.kubernetes.io/job-completion-index": "0",
}
_SUCCESS: Final = {JOB_KIND: "Complete", TRAIN_JOB: "Complete"}


def condition(type_: str) -> str:
    """The expression for a job's condition that is true."""
    return f'status.conditions.#(type=="{type_}")#|#(status=="True")#'


def defaulted(obj: Obj) -> Obj:
    """The Experiment with Katib's defaults; parts of a wrong type are left for the validation."""
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return obj
    spec = copied(spec)
    if spec.get("parallelTrialCount") is None:
        spec["parallelTrialCount"] = PARALLEL
    spec["resumePolicy"] = spec.get("resumePolicy") or "Never"
    if isinstance(spec.get("objective"), dict):
        _objective(spec["objective"])
    if isinstance(spec.get("trialTemplate"), dict):
        _template(spec["trialTemplate"])
    collector = spec.setdefault("metricsCollectorSpec", {}) or {}
    if isinstance(collector, dict):
        spec["metricsCollectorSpec"] = collector
        _collector(collector)
    for parameter in spec.get("parameters") or () if isinstance(spec.get("parameters"), list) else ():
        space = parameter.get("feasibleSpace") if isinstance(parameter, dict) else None
        if isinstance(space, dict) and space:
            space["distribution"] = space.get("distribution") or "uniform"
    return {**obj, "spec": spec}


def _objective(objective: dict[str, Any]) -> None:
    strategies = objective.get("metricStrategies") or []
    if not isinstance(strategies, list):
        return
    have = {one.get("name") for one in strategies if isinstance(one, dict)}
    value = {"minimize": "min", "maximize": "max"}.get(str(objective.get("type")), "latest")
    names = [objective.get("objectiveMetricName"), *_list(objective.get("additionalMetricNames"))]
    added = [{"name": name, "value": value} for name in dict.fromkeys(names) if name not in have]
    objective["metricStrategies"] = [*strategies, *added]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _template(template: dict[str, Any]) -> None:
    spec = template.get("trialSpec")
    kind = spec.get("kind") if isinstance(spec, Mapping) else None
    if kind == JOB_KIND or kind in KUBEFLOW_KINDS:
        succeeded = _SUCCESS.get(str(kind), "Succeeded")
        template["successCondition"] = template.get("successCondition") or condition(succeeded)
        template["failureCondition"] = template.get("failureCondition") or condition("Failed")
    if kind in KUBEFLOW_KINDS and not template.get("primaryPodLabels"):
        template["primaryPodLabels"] = dict(_FIRST_NODE if kind == TRAIN_JOB else _MASTER)


def _collector(spec: dict[str, Any]) -> None:
    if not spec.get("collector"):
        spec["collector"] = {"kind": "StdOut"}
    kind = spec["collector"].get("kind") if isinstance(spec["collector"], dict) else None
    if kind == "PrometheusMetric":
        get = _part(spec, "source", "httpGet")
        get["path"] = get.get("path") or "/metrics"
        get["port"] = get.get("port") or 8080
    elif kind == "File":
        path = _part(spec, "source", "fileSystemPath")
        path["kind"] = path.get("kind") or "File"
        path["path"] = path.get("path") or "/var/log/katib/metrics.log"
        path["format"] = path.get("format") or "TEXT"
    elif kind == "TensorFlowEvent":
        path = _part(spec, "source", "fileSystemPath")
        path["kind"] = path.get("kind") or "Directory"
        path["path"] = path.get("path") or "/var/log/katib/tfevent/"


def _part(value: dict[str, Any], *names: str) -> dict[str, Any]:
    for name in names:
        found = value.get(name)
        if not isinstance(found, dict):
            found = value[name] = {}
        value = found
    return value
