"""Katib's controllers: a study from its Experiment to its end, with the real algorithms."""

from __future__ import annotations

import json
from typing import Any

import pytest
from controllers_world import World

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import katib
from jupyterlab_kf.controllers.katib import defaulted, status
from jupyterlab_kf.controllers.katib.observations import ANNOTATION, Observer
from jupyterlab_kf.controllers.support import condition

Obj = dict[str, Any]


def experiment(**spec: Any) -> Obj:
    container = {"name": "main", "image": "x", "args": ["${trialParameters.rate}"]}
    job = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"template": {"spec": {"containers": [container]}}}}
    whole = {
        "objective": {"type": "minimize", "objectiveMetricName": "loss"},
        "algorithm": {"algorithmName": "random"},
        "parameters": [{"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0.1", "max": "0.9"}}],
        "parallelTrialCount": 2,
        "maxTrialCount": 4,
        "trialTemplate": {
            "primaryContainerName": "main",
            "trialParameters": [{"name": "rate", "reference": "lr"}],
            "trialSpec": job,
        },
        **spec,
    }
    head = {"name": "study", "namespace": "default"}
    return defaulted({"apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment", "metadata": head, "spec": whole})


class Study(World):
    """Trials' jobs end when the test says so."""

    def __init__(self, **spec: Any) -> None:
        super().__init__(*katib.CONTROLLERS)
        self.add(kinds.EXPERIMENT, experiment(**spec))
        self.settle()

    @property
    def status(self) -> Obj:
        return dict(self.list(kinds.EXPERIMENT)[0].get("status") or {})

    @property
    def suggestion(self) -> Obj:
        return self.list(kinds.SUGGESTION)[0]

    def running(self) -> list[Obj]:
        trials = self.list(kinds.TRIAL)
        return [t for t in trials if (condition(t["status"], "Running") or {}).get("status") == "True"]

    def report(self, trial: str, *lines: str, done: bool = True) -> None:
        stored = self.objects[self._place(kinds.TRIAL, "default", trial)]
        observer = Observer.of(stored)
        for number, line in enumerate(lines):
            observer.line(line, self.now + number)
        stored["metadata"].setdefault("annotations", {})[ANNOTATION] = observer.record(done=done)
        self.settle()

    def end(self, trial: str, *lines: str, type_: str = "Complete", **more: str) -> None:
        found = {"type": type_, "status": "True", **more}
        self.objects[self._place(kinds.JOB, "default", trial)]["status"] = {"conditions": [found]}
        self.report(trial, *lines)

    def names(self) -> list[str]:
        return [t["metadata"]["name"] for t in self.running()]

    def last(self) -> tuple[str, str]:
        found = self.status["conditions"][-1]
        return found["type"], found["reason"]


def test_a_study_runs_its_budget_and_finds_the_best() -> None:
    world = Study()
    assert len(world.running()) == 2
    values = iter(["0.5", "0.2", "0.7", "0.3"])
    while running := world.running():
        world.end(running[0]["metadata"]["name"], "loss=0.9", f"loss={next(values)}")
    assert world.last() == ("Succeeded", "ExperimentMaxTrialsReached")
    status = world.status
    assert (status["trials"], status["trialsSucceeded"], len(status["succeededTrialList"])) == (4, 4, 4)
    best = status["currentOptimalTrial"]
    assert best["observation"]["metrics"] == [{"name": "loss", "min": "0.2", "max": "0.9", "latest": "0.2"}]
    trial = world.get(kinds.TRIAL, "default", best["bestTrialName"])
    assert trial is not None
    assert best["parameterAssignments"] == trial["spec"]["parameterAssignments"]
    assert world.list(kinds.JOB) == []  # retain is off
    assert condition(world.suggestion["status"], "Succeeded")


def test_the_job_is_the_template_with_the_values_and_marks_of_the_trial() -> None:
    world = Study()
    trial = world.running()[0]
    job = world.get(kinds.JOB, "default", trial["metadata"]["name"])
    assert job is not None
    template = job["spec"]["template"]
    value = trial["spec"]["parameterAssignments"][0]["value"]
    assert template["spec"]["containers"][0]["args"] == [value]
    assert 0.1 <= float(value) <= 0.9
    name = trial["metadata"]["name"]
    assert template["metadata"]["labels"] == {
        "katib.kubeflow.org/experiment": "study",
        "katib.kubeflow.org/trial": name,
    }
    assert template["spec"]["containers"][0]["env"] == [{"name": "KATIB_TRIAL_NAME", "value": name}]
    assert job["metadata"]["ownerReferences"][0]["uid"] == trial["metadata"]["uid"]


def test_the_goal_ends_the_study() -> None:
    world = Study(objective={"type": "maximize", "objectiveMetricName": "acc", "goal": 0.9})
    world.end(world.names()[0], "acc=0.95")
    assert world.last() == ("Succeeded", "ExperimentGoalReached")


def test_too_many_failures_end_it_and_say_why() -> None:
    world = Study(maxFailedTrialCount=2)
    world.end(world.names()[0], "ValueError: no", type_="Failed", reason="BackoffLimitExceeded", message="limit")
    assert world.last() == ("Running", "ExperimentRunning")
    world.end(world.names()[0], "ValueError: bad shape", type_="Failed", reason="BackoffLimitExceeded", message="m")
    assert world.last() == ("Failed", "ExperimentFailed")
    assert "max failed count has reached" in world.status["conditions"][-1]["message"]
    assert "ValueError: bad shape" in world.status["conditions"][-1]["message"]
    assert world.status["trialsFailed"] == 2


def test_a_metric_that_never_came_is_said_with_the_lines_that_came_near() -> None:
    world = Study()
    name = world.names()[0]
    world.end(name, "training", "Loss: 0.31")
    trial = world.get(kinds.TRIAL, "default", name)
    assert trial is not None
    found = condition(trial["status"], "MetricsUnavailable")
    assert found is not None
    assert "loss was never reported" in found["message"]
    assert "Loss: 0.31" in found["message"]
    assert world.status["trialMetricsUnavailable"] == 1


@pytest.mark.parametrize("text", ["nan", "inf"])
def test_a_value_that_is_no_number_makes_no_best_trial(text: str) -> None:
    world = Study()
    world.end(world.names()[0], f"loss={text}")
    assert "currentOptimalTrial" not in world.status
    assert world.status["trialMetricsUnavailable"] == 1
    assert world.status["trials"] == 3


def test_missing_metrics_count_in_the_budget() -> None:
    world = Study()
    while names := world.names():
        world.end(names[0], "nothing")
    assert (world.status["trials"], world.status["trialMetricsUnavailable"]) == (4, 4)


def test_an_exhausted_space_ends_the_study_with_a_reason() -> None:
    choices = {"name": "lr", "parameterType": "categorical", "feasibleSpace": {"list": ["a", "b", "c"]}}
    world = Study(parameters=[choices], maxTrialCount=10, algorithm={"algorithmName": "tpe"})
    seen = []
    while running := world.running():
        seen.append(running[0]["spec"]["parameterAssignments"][0]["value"])
        world.end(running[0]["metadata"]["name"], "loss=1")
    assert sorted(seen) == ["a", "b", "c"]
    assert world.last() == ("Succeeded", "ExperimentSuggestionEndReached")
    assert "all 3 combinations" in world.status["conditions"][-1]["message"]


def test_a_completed_study_goes_on_with_a_greater_budget() -> None:
    world = Study(resumePolicy="LongRunning", maxTrialCount=2)
    while names := world.names():
        world.end(names[0], "loss=1")
    assert world.last() == ("Succeeded", "ExperimentMaxTrialsReached")
    world.objects[world._place(kinds.EXPERIMENT, "default", "study")]["spec"]["maxTrialCount"] = 3
    world.settle()
    assert len(world.running()) == 1
    assert [c["type"] for c in world.status["conditions"]] == ["Created", "Restarting", "Running"]
    world.end(world.names()[0], "loss=0.5")
    assert world.last() == ("Succeeded", "ExperimentMaxTrialsReached")
    assert world.status["trials"] == 3


def test_fewer_in_parallel_end_the_newest() -> None:
    world = Study(parallelTrialCount=3)
    oldest = min(world.list(kinds.TRIAL), key=lambda t: int(t["metadata"]["annotations"]["jupyterlab-kf.io/number"]))
    world.objects[world._place(kinds.EXPERIMENT, "default", "study")]["spec"]["parallelTrialCount"] = 1
    world.settle()
    assert world.names() == [oldest["metadata"]["name"]]


def test_the_median_rule_stops_a_trial_that_is_behind() -> None:
    rule = {"algorithmName": "medianstop", "algorithmSettings": [{"name": "start_step", "value": "2"}]}
    world = Study(earlyStopping=rule, maxTrialCount=6, parallelTrialCount=1)
    for _ in range(3):
        world.end(world.names()[0], "loss=0.5", "loss=0.4", "loss=0.3")
    name = world.names()[0]
    world.report(name, "loss=0.9", done=False)
    assert name in world.names()
    world.report(name, "loss=0.9", "loss=0.8", done=False)
    trial = world.get(kinds.TRIAL, "default", name)
    assert trial is not None
    assert (condition(trial["status"], "EarlyStopped") or {})["status"] == "True"
    assert trial["status"]["observation"]["metrics"][0]["min"] == "0.8"
    assert world.get(kinds.JOB, "default", name) is None
    assert world.status["trialsEarlyStopped"] == 1
    assert len(world.running()) == 1


def test_a_stopped_study_ends_its_trials_and_keeps_them() -> None:
    world = Study()
    world.end(world.names()[0], "loss=1")
    stored = world.objects[world._place(kinds.EXPERIMENT, "default", "study")]
    stored["metadata"]["annotations"] = {"jupyterlab-kf.io/stop": "true"}
    world.settle()
    assert world.last() == ("Succeeded", "ExperimentStopped")
    assert (world.status["trialsKilled"], world.status["trialsSucceeded"], world.status["trials"]) == (2, 1, 3)
    assert world.list(kinds.JOB) == []


def test_a_stopped_study_goes_on_where_its_policy_allows() -> None:
    for policy in ("LongRunning", "Never"):
        world = Study(resumePolicy=policy, maxTrialCount=4)
        killed = world.names()
        head = world.objects[world._place(kinds.EXPERIMENT, "default", "study")]["metadata"]
        head["annotations"] = {"jupyterlab-kf.io/stop": "true"}
        world.settle()
        head["annotations"] = {}
        world.settle()
        if policy == "Never":
            assert world.last() == ("Succeeded", "ExperimentStopped")
            continue
        while names := world.names():
            assert not set(names) & set(killed)
            world.end(names[0], "loss=1")
        assert world.last() == ("Succeeded", "ExperimentMaxTrialsReached")
        assert (world.status["trialsKilled"], world.status["trialsSucceeded"]) == (2, 2)


def test_a_trial_that_somebody_ended_is_one_of_the_budget_and_no_result() -> None:
    retained = {**experiment()["spec"]["trialTemplate"], "retain": True}
    world = Study(parallelTrialCount=1, maxTrialCount=3, maxFailedTrialCount=1, trialTemplate=retained)
    (first,) = world.names()
    world.report(first, "loss=0.1", done=False)
    stored = world.objects[world._place(kinds.TRIAL, "default", first)]
    status.finish(stored["status"], "Killed", "TrialKilled", "somebody stopped it", world.now)
    world.settle()
    assert world.get(kinds.JOB, "default", first) is None, "what was ended may not run on, though its job is to be kept"
    while names := world.names():
        assert names != [first]
        world.end(names[0], "loss=0.5")
    assert world.last() == ("Succeeded", "ExperimentMaxTrialsReached")
    assert (world.status["trials"], world.status["trialsKilled"]) == (3, 1)
    best = world.status["currentOptimalTrial"]["bestTrialName"]
    assert best != first
    assert world.get(kinds.JOB, "default", best) is not None, "the jobs of the others are kept"


def test_the_same_study_asks_for_the_same_points() -> None:
    def points(world: Study) -> list[Obj]:
        while names := world.names():
            world.end(names[0], "loss=1")
        return [entry["parameterAssignments"] for entry in world.suggestion["status"]["suggestions"]]

    assert points(Study()) == points(Study())


def test_a_kind_that_is_not_served_fails_the_trial() -> None:
    spec = experiment()["spec"]["trialTemplate"]
    spec["trialSpec"] = {**spec["trialSpec"], "kind": "Workflow", "apiVersion": "argoproj.io/v1alpha1"}
    spec |= {"successCondition": "status.phase", "failureCondition": "status.phase"}
    world = Study(trialTemplate=spec, maxFailedTrialCount=1)
    assert "serves no Workflow of argoproj.io/v1alpha1" in world.status["conditions"][-1]["message"]


def test_a_configmap_template() -> None:
    template = experiment()["spec"]["trialTemplate"]
    text = json.dumps(template.pop("trialSpec"))
    template["configMap"] = {"configMapName": "t", "configMapNamespace": "default", "templatePath": "job.yaml"}
    world = Study(trialTemplate=template)
    assert world.last() == ("Failed", "ExperimentFailed")
    assert "there is no ConfigMap t" in world.status["conditions"][-1]["message"]
    world = World(*katib.CONTROLLERS)
    world.add(kinds.CONFIG_MAP, {"metadata": {"name": "t"}, "data": {"job.yaml": text}})
    world.add(kinds.EXPERIMENT, experiment(trialTemplate=template))
    world.settle()
    assert len(world.list(kinds.JOB)) == 2


def test_hyperband_waits_for_its_rung_and_promotes_the_best() -> None:
    settings = [{"name": "r_l", "value": "4"}, {"name": "eta", "value": "2"}, {"name": "resource_name", "value": "n"}]
    space = [
        {"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0.1", "max": "0.9"}},
        {"name": "n", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "4"}},
    ]
    template = experiment()["spec"]["trialTemplate"]
    template["trialParameters"] = [{"name": "rate", "reference": "lr"}, {"name": "n", "reference": "n"}]
    template["trialSpec"]["spec"]["template"]["spec"]["containers"][0]["args"].append("${trialParameters.n}")
    world = Study(
        algorithm={"algorithmName": "hyperband", "algorithmSettings": settings},
        parameters=space,
        trialTemplate=template,
        maxTrialCount=7,
        parallelTrialCount=4,
    )
    while running := world.running():
        value = running[0]["spec"]["parameterAssignments"][0]["value"]
        world.end(running[0]["metadata"]["name"], f"loss={value}")
    asked = world.suggestion["status"]["suggestions"]
    points = [tuple(p["value"] for p in entry["parameterAssignments"]) for entry in asked]
    assert [n for _, n in points] == ["1", "1", "1", "1", "2", "2", "4"]
    rates = sorted(float(rate) for rate, _ in points[:4])
    assert sorted(float(rate) for rate, _ in points[4:6]) == rates[:2]
    assert float(points[6][0]) == rates[0]
