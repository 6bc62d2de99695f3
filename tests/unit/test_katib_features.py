"""Whatever Katib's own examples use is taken here, in manifests of our own; what is not, is refused with a sentence."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from test_controllers_katib import Study, experiment

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.katib import defaulted, denial
from jupyterlab_kf.controllers.support import condition

Obj = dict[str, Any]
OPERATOR = "kubeflow.org/v1"
SPACE = [
    {"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0.01", "max": "0.05", "step": "0.01"}},
    {"name": "momentum", "parameterType": "double", "feasibleSpace": {"min": "0.5", "max": "0.9", "step": "0.1"}},
    {"name": "epochs", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "9"}},
]


def study(**spec: Any) -> Obj:
    """An Experiment whose Job takes every parameter of its space."""
    made = experiment(**spec)["spec"]
    names = [one["name"] for one in made["parameters"]]
    template = made["trialTemplate"]
    template["trialParameters"] = [{"name": one, "reference": one, "description": "as printed"} for one in names]
    if (template.get("trialSpec") or {}).get("kind") == "Job":
        container = template["trialSpec"]["spec"]["template"]["spec"]["containers"][0]
        container["args"] = [f"--{one}=${{trialParameters.{one}}}" for one in names]
    return experiment(**made)


def said(obj: Obj) -> str:
    """What the webhook answers."""
    return denial(kinds.EXPERIMENT, None, defaulted(obj))


def algorithm(name: str, **settings: str) -> Obj:
    given = [{"name": key, "value": value} for key, value in settings.items()]
    return {"algorithmName": name, **({"algorithmSettings": given} if given else {})}


@pytest.mark.parametrize(
    "given",
    [
        algorithm("random", random_state="10"),
        algorithm("grid"),
        algorithm("sobol"),
        algorithm("tpe", gamma="0.2", prior_weight="1.5", n_EI_candidates="30", random_state="1"),
        algorithm("multivariate-tpe", n_startup_trials="5", n_ei_candidates="20", random_state="1"),
        algorithm("bayesianoptimization", base_estimator="GP", n_initial_points="3", acq_func="gp_hedge",
                  acq_optimizer="auto", random_state="10"),
        algorithm("cmaes", restart_strategy="ipop", sigma="0.3", random_state="4"),
        algorithm("cmaes", restart_strategy="bipop"),
        algorithm("cmaes", restart_strategy="none"),
        algorithm("hyperband", resource_name="epochs", eta="3", r_l="9"),
        algorithm("pbt", suggestion_trial_dir="/var/log/katib/checkpoints/", n_population="40",
                  truncation_threshold="0.2", resample_probability="0.3"),
    ],
    ids=lambda one: one["algorithmName"] + str(len(one.get("algorithmSettings", []))),
)  # fmt: skip
def test_each_algorithm_with_its_settings(given: Obj) -> None:
    assert said(study(parameters=SPACE, algorithm=given)) == ""


@pytest.mark.parametrize("distribution", ["uniform", "logUniform", "normal", "logNormal", "unknown"])
@pytest.mark.parametrize("kind", ["double", "int"])
@pytest.mark.parametrize("step", ["", "2"])
def test_each_distribution(distribution: str, kind: str, step: str) -> None:
    space = {"min": "1", "max": "64", "distribution": distribution, **({"step": step} if step else {})}
    parameters = [{"name": "lr", "parameterType": kind, "feasibleSpace": space}, *SPACE[1:]]
    parameters.append({"name": "size", "parameterType": "discrete", "feasibleSpace": {"list": ["32", "64"]}})
    parameters.append({"name": "opt", "parameterType": "categorical", "feasibleSpace": {"list": ["sgd", "ftrl"]}})
    assert said(study(parameters=parameters)) == ""


def collector(kind: str, path: Obj | None = None, **source: Any) -> Obj:
    if path is not None:
        source["fileSystemPath"] = path
    return {"collector": {"kind": kind}, **({"source": source} if source else {})}


BESIDE = {"name": "reads", "image": "x", "command": ["reads"]}
PATTERNS = {"metricsFormat": [r"{metricName: ([\w|-]+), metricValue: ((-?\d+)(\.\d+)?)}", r"([\w|-]+)\s*:\s*(\d+)"]}


@pytest.mark.parametrize(
    "given",
    [
        {},
        collector("StdOut"),
        collector("StdOut", filter=PATTERNS),
        collector("File"),
        collector("File", {"path": "/katib/train.log", "kind": "File", "format": "TEXT"}, filter=PATTERNS),
        collector("File", {"path": "/katib/train.json", "format": "JSON"}),
        collector("TensorFlowEvent"),
        collector("TensorFlowEvent", {"path": "/mnist-with-summaries-logs/test", "kind": "Directory"}),
        collector("PrometheusMetric"),
        collector("PrometheusMetric", httpGet={"path": "/metrics", "port": 9000}),
        collector("Push"),
        {"collector": {"kind": "Custom", "customCollector": BESIDE}},
    ],
    ids=lambda one: json.dumps(one)[:60],
)  # fmt: skip
def test_each_collector_that_is_served(given: Obj) -> None:
    assert said(study(metricsCollectorSpec=given)) == ""


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("None", "invalid metrics collector kind: None: there is no such kind any more"),
        ("Stdout", "invalid metrics collector kind: Stdout: did you mean StdOut?"),
    ],
)
def test_each_collector_that_is_not(kind: str, sentence: str) -> None:
    given = {"collector": {"kind": kind, "customCollector": {"name": "c", "image": "x"}}}
    assert sentence in said(study(metricsCollectorSpec=given))


def test_a_custom_collector_that_nothing_would_run() -> None:
    def custom(given: Obj | None, **fields: Any) -> str:
        return said(study(metricsCollectorSpec={"collector": {"kind": "Custom", "customCollector": given}}, **fields))

    assert "collector.customCollector: Required value: metrics collector kind: Custom is required" in custom(None)
    assert "an image is a name here, and brings no program" in custom({"name": "reads", "image": "x"})
    main = study()["spec"]["trialTemplate"]["primaryContainerName"]
    assert "is the name of a container of the job" in custom({**BESIDE, "name": main})
    field, job, container, _ = TRIALS["PyTorchJob"]
    template = {**study()["spec"]["trialTemplate"], "primaryContainerName": container}
    template["trialSpec"] = {"apiVersion": field, "kind": "PyTorchJob", "spec": job}
    assert "more than one of the job's pods has the primary container" in custom(BESIDE, trialTemplate=template)


def pbt(**more: str) -> Obj:
    given = {"suggestion_trial_dir": "/katib/points", "n_population": "5", "truncation_threshold": "0.4", **more}
    return algorithm("pbt", **given)


def test_a_generation_goes_on_from_the_checkpoints_of_the_one_before() -> None:
    world = Study(algorithm=pbt(), maxTrialCount=10, parallelTrialCount=5)
    (claim,) = world.list(kinds.PERSISTENT_VOLUME_CLAIM)
    assert claim["metadata"]["name"] == "study-pbt"
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    first = world.names()
    for place, name in enumerate(first):
        assert "initContainers" not in pod_of(world, name)
        world.end(name, f"loss={place}")
    assert len(world.names()) == 5
    parents = []
    for name in world.names():
        trial = world.get(kinds.TRIAL, "default", name)
        assert trial is not None
        parents.append(trial["metadata"]["labels"]["pbt.suggestion.katib.kubeflow.org/parent"])
        pod = pod_of(world, name)
        (own,) = [one for one in pod["containers"][0]["volumeMounts"] if one["mountPath"] == "/katib/points"]
        assert own == {"name": "suggestion-volume", "mountPath": "/katib/points", "subPath": f"study/{name}"}
        assert {"name": "KF_CHECKPOINT", "value": "/katib/points"} in pod["containers"][0]["env"]
        to, whence = pod["initContainers"][0]["volumeMounts"]
        assert (to["subPath"], whence["subPath"]) == (f"study/{name}", f"study/{parents[-1]}")
        world.end(name, "loss=1")
    assert set(parents) == set(first[:3]), "the better ones go on, the worse ones are replaced"
    assert parents.count(first[2]) == 1, "by copies of the best"
    assert world.last() == ("Succeeded", "ExperimentMaxTrialsReached")


def pod_of(world: Study, trial: str) -> Obj:
    job = world.get(kinds.JOB, "default", trial)
    assert job is not None
    found: Obj = job["spec"]["template"]["spec"]
    return found


def test_population_based_training_that_cannot_be() -> None:
    assert "setting n_population is '4'; it must be a whole number of 5 or more" in said(
        study(algorithm=pbt(n_population="4"))
    )
    assert "it must be a folder, such as /kf/checkpoint" in said(study(algorithm=pbt(suggestion_trial_dir="here")))
    assert "setting truncation_threshold is required" in said(
        study(algorithm=algorithm("pbt", suggestion_trial_dir="/x", n_population="5"))
    )
    job = of_kind("PyTorchJob")
    assert "whose the checkpoint is cannot be told" in said(study(algorithm=pbt(), trialTemplate=job))


def replicas(field: str, *roles: str, container: str) -> Obj:
    pod = {"spec": {"containers": [{"name": container, "image": "x", "args": ["${trialParameters.lr}"]}]}}
    return {field: {role: {"replicas": 1, "restartPolicy": "OnFailure", "template": pod} for role in roles}}


def conditions(done: str, failed: str) -> Obj:
    return {"successCondition": done, "failureCondition": failed}


def true(type_: str, text: str = "True") -> str:
    return f'status.conditions.#(type=="{type_}")#|#(status=="{text}")#'


PIPELINE = {"tasks": [{"name": "train", "taskSpec": {"steps": [{"args": ["${trialParameters.lr}"]}]}}]}
STEPS = {"templates": [{"name": "train", "container": {"args": ["${trialParameters.lr}"]}}]}
NODES = {"trainer": {"args": ["${trialParameters.lr}"], "numNodes": 2}, "runtimeRef": {"name": "torch-distributed"}}
TRIALS: dict[str, tuple[str, Obj, str, Obj]] = {
    "TFJob": (OPERATOR, replicas("tfReplicaSpecs", "PS", "Worker", container="tensorflow"), "tensorflow", {}),
    "PyTorchJob": (OPERATOR, replicas("pytorchReplicaSpecs", "Master", "Worker", container="pytorch"), "pytorch", {}),
    "XGBoostJob": (OPERATOR, replicas("xgbReplicaSpecs", "Master", "Worker", container="xgboost"), "xgboost", {}),
    "MPIJob": (OPERATOR, replicas("mpiReplicaSpecs", "Launcher", "Worker", container="mpi"), "mpi", {}),
    "MXJob": (
        OPERATOR, replicas("mxReplicaSpecs", "Scheduler", "Server", "Worker", container="mxnet"), "mxnet",
        conditions(true("Succeeded"), true("Failed")),
    ),
    "ChainerJob": (
        "kubeflow.org/v1alpha1", {"master": replicas("m", "r", container="chainer")["m"]["r"]}, "chainer",
        conditions(true("Complete"), true("Failed")),
    ),
    "TrainJob": ("trainer.kubeflow.org/v1alpha1", NODES, "node", {}),
    "Workflow": (
        "argoproj.io/v1alpha1", STEPS, "main",
        conditions('status.[@this].#(phase=="Succeeded")#', 'status.[@this].#(phase=="Failed")#'),
    ),
    "PipelineRun": (
        "tekton.dev/v1beta1", PIPELINE, "step-train", conditions(true("Succeeded"), true("Succeeded", "False")),
    ),
}  # fmt: skip


def of_kind(kind: str, **more: Any) -> Obj:
    """A trial template of that kind."""
    version, body, container, ends = TRIALS[kind]
    return {
        "primaryContainerName": container,
        "trialParameters": [{"name": "lr", "reference": "lr"}],
        "trialSpec": {"apiVersion": version, "kind": kind, "spec": copy.deepcopy(body)},
        **ends,
        **more,
    }


@pytest.mark.parametrize("kind", TRIALS)
def test_each_kind_of_trial(kind: str) -> None:
    assert said(experiment(trialTemplate=of_kind(kind))) == ""
    bare = of_kind(kind)
    if TRIALS[kind][3]:
        del bare["successCondition"]
        assert "successCondition and failureCondition must be specified" in said(experiment(trialTemplate=bare))


def ended(type_: str) -> Obj:
    """The status of a job with that condition."""
    return {"conditions": [{"type": type_, "status": "True", "reason": "R", "message": "m"}]}


@pytest.mark.parametrize(
    ("served", "status", "end"),
    [
        (kinds.MX_JOB, "Running", ""),
        (kinds.MX_JOB, "Succeeded", "Succeeded"),
        (kinds.MX_JOB, "Failed", "Failed"),
        (kinds.CHAINER_JOB, "Complete", "Succeeded"),
        (kinds.CHAINER_JOB, "Failed", "Failed"),
    ],
    ids=str,
)
def test_a_trial_ends_as_its_job_does(served: kinds.Kind, status: str, end: str) -> None:
    world = Study(trialTemplate=of_kind(served.kind, retain=True), maxTrialCount=2)
    name = world.names()[0]
    world.objects[world._place(served, "default", name)]["status"] = ended(status)
    world.report(name, "loss=0.5")
    trial = world.get(kinds.TRIAL, "default", name)
    assert trial is not None
    found = trial["status"]
    assert [one for one in ("Succeeded", "Failed") if condition(found, one)] == ([end] if end else [])
    assert found["observation"]["metrics"] == [{"name": "loss", "min": "0.5", "max": "0.5", "latest": "0.5"}]


@pytest.mark.parametrize("strategy", ["min", "max", "latest"])
def test_each_metric_strategy(strategy: str) -> None:
    objective = {
        "type": "maximize",
        "goal": 0.99,
        "objectiveMetricName": "acc",
        "additionalMetricNames": ["loss"],
        "metricStrategies": [{"name": "acc", "value": strategy}, {"name": "loss", "value": "min"}],
    }
    assert said(study(objective=objective)) == ""
    world = Study(objective=objective, maxTrialCount=2)
    for curve in (("acc=0.1", "acc=0.9", "acc=0.3"), ("acc=0.2", "acc=0.6", "acc=0.4")):
        world.end(world.names()[0], *curve)
    best = world.status["currentOptimalTrial"]["observation"]["metrics"][0]
    assert best["max"] == ("0.9" if strategy == "max" else "0.6")


def test_a_strategy_that_is_none_is_refused() -> None:
    objective = {"type": "minimize", "objectiveMetricName": "loss"}
    wrong = objective | {"metricStrategies": [{"name": "loss", "value": "median"}]}
    assert 'metricStrategies[0].value: Invalid value: "median": there are min, max, latest' in said(
        study(objective=wrong)
    )
    wrong = objective | {"metricStrategies": [{"name": "los", "value": "min"}]}
    assert 'metricStrategies[0].name: Invalid value: "los": is no metric of the objective' in said(
        study(objective=wrong)
    )


@pytest.mark.parametrize("policy", ["Never", "LongRunning", "FromVolume"])
def test_each_resume_policy(policy: str) -> None:
    rule = {"algorithmName": "medianstop", "algorithmSettings": [{"name": "start_step", "value": "2"}]}
    assert said(study(resumePolicy=policy, earlyStopping=rule)) == ""
    world = Study(resumePolicy=policy, maxTrialCount=2)
    while names := world.names():
        world.end(names[0], "loss=1")
    world.objects[world._place(kinds.EXPERIMENT, "default", "study")]["spec"]["maxTrialCount"] = 3
    world.settle()
    assert len(world.running()) == (0 if policy == "Never" else 1)


def test_what_a_trial_is_called_can_be_told_to_it() -> None:
    wanted = ("Name", "Namespace", "Kind", "APIVersion", "Labels[team]", "Annotations[note]")
    obj = study()
    template = obj["spec"]["trialTemplate"]
    template["trialSpec"]["metadata"] = {"labels": {"team": "red"}, "annotations": {"note": "x"}}
    container = template["trialSpec"]["spec"]["template"]["spec"]["containers"][0]
    for number, one in enumerate(wanted):
        template["trialParameters"].append({"name": f"m{number}", "reference": f"${{trialSpec.{one}}}"})
        container["args"].append(f"${{trialParameters.m{number}}}")
    assert said(obj) == ""
    world = Study(**obj["spec"])
    job = world.list(kinds.JOB)[0]
    told = job["spec"]["template"]["spec"]["containers"][0]["args"][1:]
    assert told == [job["metadata"]["name"], "default", "Job", "batch/v1", "red", "x"]


@pytest.mark.parametrize("name", ["enas", "darts"])
def test_what_is_left_out_is_said(name: str) -> None:
    assert f"algorithm {name} is Katib's own and not available here" in said(study(algorithm=algorithm(name)))
    network = study(nasConfig={"graphConfig": {"numLayers": 1}}, parameters=[])
    assert "neural architecture search is not available on this cluster" in said(network)
