"""Katib's webhooks: defaults, and what they refuse; what the metrics collector reads."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from test_controllers_katib import experiment

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.katib import defaulted, denial, expressions
from jupyterlab_kf.controllers.katib.observations import Observer, missing, observation

Obj = dict[str, Any]


def test_defaults_are_katibs() -> None:
    spec = experiment(parallelTrialCount=None, objective={
        "type": "maximize", "objectiveMetricName": "acc", "additionalMetricNames": ["loss"],
    })["spec"]  # fmt: skip
    assert spec["parallelTrialCount"] == 3
    assert spec["resumePolicy"] == "Never"
    strategies = [{"name": "acc", "value": "max"}, {"name": "loss", "value": "max"}]
    assert spec["objective"]["metricStrategies"] == strategies
    assert spec["metricsCollectorSpec"] == {"collector": {"kind": "StdOut"}}
    assert spec["parameters"][0]["feasibleSpace"]["distribution"] == "uniform"
    assert spec["trialTemplate"]["successCondition"] == 'status.conditions.#(type=="Complete")#|#(status=="True")#'
    assert defaulted({"spec": spec})["spec"] == spec


@pytest.mark.parametrize("kind", ["TFJob", "PyTorchJob", "MPIJob"])
def test_training_jobs_are_read_by_their_own_conditions(kind: str) -> None:
    template = {"trialSpec": {"apiVersion": "kubeflow.org/v1", "kind": kind}}
    done = defaulted({"spec": {"trialTemplate": template}})["spec"]["trialTemplate"]
    assert '"Succeeded"' in done["successCondition"]
    assert done["primaryPodLabels"] == {"training.kubeflow.org/job-role": "master"}


def test_a_good_experiment_passes() -> None:
    assert denial(kinds.EXPERIMENT, None, experiment()) == ""


def _with(path: str, value: Any) -> Obj:
    obj = copy.deepcopy(experiment())
    *parents, last = path.split(".")
    place: Any = obj
    for part in parents:
        place = place[int(part)] if part.isdecimal() else place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return obj


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("metadata.name", "Study", 'metadata.name: Invalid value: "Study": name must consist of lower case'),
        ("metadata.name", "s" * 41, "may not be longer than 40 characters"),
        ("spec.maxTrialCount", 0, "spec.maxTrialCount: Invalid value: 0: must be greater than 0"),
        ("spec.parallelTrialCount", 0, "spec.parallelTrialCount: Invalid value: 0: must be greater than 0"),
        ("spec.parallelTrialCount", 9, "should be less than or equal to spec.maxTrialCount"),
        ("spec.parallelTrialCount", "2", "cannot unmarshal"),
        ("spec.maxFailedTrialCount", -1, "should not be less than 0"),
        ("spec.objective", None, "spec.objective: Required value: must be specified"),
        ("spec.objective.type", "best", "must be minimize or maximize"),
        ("spec.objective.additionalMetricNames", ["loss"], "should not contain"),
        ("spec.algorithm.algorithmName", "randm", "did you mean random?"),
        ("spec.algorithm.algorithmName", "darts", "not available here"),
        ("spec.algorithm.algorithmSettings", [{"name": "seed", "value": "1"}], "unknown setting seed"),
        ("spec.earlyStopping", {"algorithmName": "median"}, "did you mean medianstop?"),
        ("spec.resumePolicy", "Always", "invalid ResumePolicyType"),
        ("spec.parameters", [], "spec.parameters or spec.nasConfig must be specified"),
        ("spec.parameters.0.feasibleSpace", {}, "feasibleSpace must be specified"),
        ("spec.parameters.0.feasibleSpace.min", "1", "must not be greater than max, which is 0.9"),
        ("spec.parameters.0.feasibleSpace.min", "x", 'feasibleSpace.min: Invalid value: "x": must be a number'),
        ("spec.parameters.0.feasibleSpace.list", ["1"], "feasibleSpace.list is not supported"),
        ("spec.parameters.0.feasibleSpace", {"min": "0", "max": "1", "distribution": "logUniform"}, "greater than 0"),
        ("spec.parameters.0.feasibleSpace.min", 0.1, "must be a string"),
        ("spec.parameters.0.parameterType", "float", "parameterType: float is not supported"),
        ("spec.trialTemplate", None, "spec.trialTemplate: Required value: must be specified"),
        ("spec.trialTemplate.primaryContainerName", "training", "there is no container training; there are main"),
        ("spec.trialTemplate.trialParameters", [], "not found in spec.trialParameters"),
        ("spec.trialTemplate.trialParameters.0.reference", "rate", "parameter reference rate does not exist"),
        ("spec.trialTemplate.trialParameters.0.name", "lr", "parameter name: lr in spec.trialParameters not found"),
        ("spec.trialTemplate.successCondition", "status.@reverse", "cannot be understood at '@reverse'"),
        ("spec.trialTemplate.trialSpec.metadata", {"name": "x"}, "metadata.name and metadata.namespace"),
        ("spec.metricsCollectorSpec.source", {"filter": {"metricsFormat": ["(a)"]}}, "two top subexpressions"),
        ("spec.metricsCollectorSpec.source", {"filter": {"metricsFormat": ["(?<=a)(b)(c)"]}}, "no such thing"),
    ],
)  # fmt: skip
def test_what_is_refused(path: str, value: Any, said: str) -> None:
    sentence = denial(kinds.EXPERIMENT, None, _with(path, value))
    assert sentence.startswith('admission webhook "validator.experiment.katib.kubeflow.org" denied the request: ')
    assert said in sentence


def test_only_the_budget_may_change() -> None:
    old = experiment()
    assert denial(kinds.EXPERIMENT, old, experiment(maxTrialCount=9)) == ""
    assert "are editable" in denial(kinds.EXPERIMENT, old, experiment(algorithm={"algorithmName": "tpe"}))
    old["status"] = {
        "trials": 4,
        "conditions": [{"type": "Succeeded", "status": "True", "reason": "ExperimentGoalReached"}],
    }
    assert "Experiment can be restarted if" in denial(kinds.EXPERIMENT, old, experiment(maxTrialCount=9))
    old = {**experiment(resumePolicy="LongRunning"), "status": old["status"]}
    old["status"]["conditions"][0]["reason"] = "ExperimentMaxTrialsReached"
    assert denial(kinds.EXPERIMENT, old, experiment(resumePolicy="LongRunning", maxTrialCount=5)) == ""
    sentence = denial(kinds.EXPERIMENT, old, experiment(resumePolicy="LongRunning", maxTrialCount=3))
    assert "must be greater than status.trials count" in sentence


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('status.conditions.#(type=="Complete")#|#(status=="True")#', {"type": "Complete", "status": "True"}),
        ('status.conditions.#(type=="Failed")#|#(status=="True")#', None),
        ('status.conditions.#(type=="Complete")', {"type": "Complete", "status": "True"}),
        ("status.conditions.0", {"type": "Suspended", "status": "False"}),
        ("status.missing", None),
        ('status.conditions.#(status=="True")#.type', {}),
        ('status.[@this].#(phase=="Done")#', {"phase": "Done"}),
        ('status.[@this].#(phase=="Failed")#', None),
        ("status.[]", ValueError),
    ],
)
def test_conditions_of_templates(text: str, found: Any) -> None:
    ended = [{"type": "Suspended", "status": "False"}, {"type": "Complete", "status": "True"}]
    job: Obj = {"status": {"conditions": ended}}
    if "phase" in text:
        job = {"status": {"phase": "Done"}}
    if found is ValueError:
        with pytest.raises(ValueError, match=re.escape("cannot be understood")):
            expressions.found(text, job)
    else:
        assert expressions.found(text, job) == found


def _trial(**collector: Any) -> Obj:
    spec = experiment()["spec"]
    return {"spec": {"objective": spec["objective"], "metricsCollector": collector}, "metadata": {}}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["loss=0.5", "loss=0.25 acc=1", "loss=0.75"], ("0.25", "0.75", "0.75")),
        (["2026-01-01T00:00:02Z loss=1", "2026-01-01T00:00:01Z loss=2"], ("1", "2", "1")),
        (["\x1b[32mloss = 1e-3\x1b[0m"], ("1e-3", "1e-3", "1e-3")),
        (["loss=0.5", "loss=nan"], ("0.5", "0.5", "nan")),
        (["val_loss=3"], None),
        (["loss: 3"], None),
    ],
)
def test_lines_give_observations(lines: list[str], expected: tuple[str, str, str] | None) -> None:
    trial = _trial()
    observer = Observer.of(trial)
    for number, line in enumerate(lines):
        observer.line(line, float(number))
    trial["metadata"] = {"annotations": {"jupyterlab-kf.io/observations": observer.record(done=True)}}
    found = observation(trial)
    if expected is None:
        assert found is None
    else:
        metric = found["metrics"][0] if found else {}
        assert (metric["min"], metric["max"], metric["latest"]) == expected


def test_json_lines_and_filters() -> None:
    observer = Observer.of(_trial(source={"fileSystemPath": {"format": "JSON"}}))
    assert observer.line('{"loss": "0.5", "timestamp": 3}', 0.0)
    assert observer.line('{"loss": 0.25, "timestamp": "2026-01-01T00:00:00Z"}', 0.0)
    assert not observer.line("no json", 0.0)
    assert (observer.series["loss"].low, observer.series["loss"].latest) == ("0.25", "0.25")
    observer = Observer.of(_trial(source={"filter": {"metricsFormat": [r"\{metricName: ([\w|-]+), value: (\d+)\}"]}}))
    assert observer.line("{metricName: loss, value: 7}", 0.0)
    assert observer.series["loss"].latest == "7"
    assert Observer.of(_trial()).exposition('# HELP loss\nloss{a="b"} 0.5\n', 1.0)


def test_a_record_is_gone_on_with_where_it_was() -> None:
    def stored(text: str) -> Obj:
        return {**_trial(), "metadata": {"annotations": {"jupyterlab-kf.io/observations": text}}}

    whole, parts = Observer.of(_trial()), Observer.of(_trial())
    for number, text in enumerate(["0.5", "nan", "0.25", "2"]):
        whole.pushed("loss", text, float(number))
        parts = Observer.resumed(stored(parts.record(done=False)))
        parts.pushed("loss", text, float(number))
    assert parts.record(done=True) == whole.record(done=True)
    other = Observer.of(_trial())
    other.pushed("los", "1", 0.0)
    assert "lines that came near: los=1" in missing(stored(other.record(done=True)))


def test_a_long_course_is_thinned_and_keeps_its_ends() -> None:
    observer = Observer.of(_trial())
    for number in range(3000):
        observer.line(f"loss={number}", float(number))
    series = observer.series["loss"]
    assert len(series.points) <= 500
    assert (series.points[0][0], series.points[-1][0], series.count) == (0, 2999, 3000)
    assert (series.low, series.high) == ("0", "2999")
