"""Studies on the whole embedded cluster: metrics from every source, and a daemon that is killed in the middle.

On the embedded cluster alone: there is no Katib on the real one; tests/real/test_controllers.py runs studies there by
these controllers.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import provision
import pytest
from needs import tool

import jupyterlab_kf as kf
from jupyterlab_kf.embedded import daemon
from jupyterlab_kf.manifests.studies import TrialRow
from jupyterlab_kf.settings import Settings

Obj = dict[str, Any]
T = TypeVar("T")
Kubectl = Callable[..., subprocess.CompletedProcess[str]]

PRINTED = """
import sys, time
for step in range(1, 6):
    print(f"loss={float(sys.argv[1]) + 1 / step}", flush=True)
    time.sleep(0.05)
"""
WRITTEN = """
import json, sys
with open(sys.argv[2], "w") as file:
    for step in range(1, 4):
        file.write(json.dumps({"loss": float(sys.argv[1]) + 1 / step}) + "\\n")
"""
SERVED = """
import http.server, sys, threading, time
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(f"loss {sys.argv[1]}\\n".encode()); asked.set()
    def log_message(self, *_): pass
asked = threading.Event()
server = http.server.ThreadingHTTPServer(("", int(sys.argv[2])), Page)
threading.Thread(target=server.serve_forever, daemon=True).start()
asked.wait(60)
time.sleep(0.5)
"""


def experiment(name: str, program: str, *args: str, **spec: Any) -> Obj:
    words = ["python3", "-c", program, "${trialParameters.rate}", *args]
    container = {"name": "main", "image": "plain-python", "command": words, **spec.pop("container", {})}
    pod = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    job = {"apiVersion": "batch/v1", "kind": "Job", "spec": {"backoffLimit": 0, "template": pod}}
    whole = {
        "objective": {"type": "minimize", "objectiveMetricName": "loss"},
        "algorithm": {"algorithmName": "random"},
        "parameters": [{"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0.1", "max": "0.9"}}],
        "parallelTrialCount": 2,
        "maxTrialCount": 2,
        "trialTemplate": {
            "primaryContainerName": "main",
            "trialParameters": [{"name": "rate", "reference": "lr"}],
            "trialSpec": job,
        },
        **spec,
    }
    return {"apiVersion": "kubeflow.org/v1beta1", "kind": "Experiment", "metadata": {"name": name}, "spec": whole}


def source(kind: str, **fields: Any) -> Obj:
    return {"collector": {"kind": kind}, "source": fields}


COLLECTED = {
    "printed": experiment("printed", PRINTED),
    "written": experiment(
        "written",
        WRITTEN,
        "/metrics/out.json",
        metricsCollectorSpec=source("File", fileSystemPath={"path": "/metrics/out.json", "format": "JSON"}),
    ),
    "served": experiment(
        "served",
        SERVED,
        "8123",
        maxTrialCount=1,
        parallelTrialCount=1,
        metricsCollectorSpec=source("PrometheusMetric", httpGet={"port": 8123}),
        container={"ports": [{"containerPort": 8123}]},
    ),
}


def apply(kubectl: Kubectl, folder: Path, obj: Obj) -> None:
    path = folder / "study.json"
    path.write_text(json.dumps(obj))
    done = kubectl("create", "-f", str(path))
    assert done.returncode == 0, done.stderr


def get(kubectl: Kubectl, *words: str) -> Obj:
    found: Obj = json.loads(kubectl("get", *words, "-o", "json").stdout)
    return found


def eventually(find: Callable[[], T | None]) -> T:
    """What is found once there is something, within two minutes."""
    deadline = time.monotonic() + 120
    while not (found := find()):
        assert time.monotonic() < deadline, "nothing came"
        time.sleep(0.1)
    return found


@pytest.mark.parametrize("name", COLLECTED)
def test_metrics_come_from_where_they_are(name: str, kubectl: Kubectl, tmp_path: Path) -> None:
    apply(kubectl, tmp_path, COLLECTED[name])
    waited = kubectl("wait", "--for=condition=Succeeded", f"experiment/{name}", "--timeout=60s")
    study = get(kubectl, "experiment", name)
    assert waited.returncode == 0, study["status"]["conditions"]
    best = study["status"]["currentOptimalTrial"]
    rate = float(best["parameterAssignments"][0]["value"])
    least = {"printed": rate + 0.2, "written": rate + 1 / 3, "served": rate}[name]
    assert float(best["observation"]["metrics"][0]["min"]) == pytest.approx(least)
    assert kubectl("delete", "experiment", name).returncode == 0


def test_a_trial_that_fails_says_why(kubectl: Kubectl, tmp_path: Path) -> None:
    apply(kubectl, tmp_path, experiment("fails", "raise SystemExit('no data here')", maxFailedTrialCount=1))
    assert kubectl("wait", "--for=condition=Failed", "experiment/fails", "--timeout=60s").returncode == 0
    message = get(kubectl, "experiment", "fails")["status"]["conditions"][-1]["message"]
    assert "Container main ended with exit code 1: no data here" in message
    kubectl("delete", "experiment", "fails")


def test_a_trial_whose_pods_have_other_labels_says_so(kubectl: Kubectl, tmp_path: Path) -> None:
    study = experiment("labels", PRINTED, maxTrialCount=1, parallelTrialCount=1, maxFailedTrialCount=1)
    study["spec"]["trialTemplate"]["primaryPodLabels"] = {"mpi-job-role": "launcher"}
    apply(kubectl, tmp_path, study)
    assert kubectl("wait", "--for=condition=Failed", "experiment/labels", "--timeout=60s").returncode == 0
    message = get(kubectl, "experiment", "labels")["status"]["conditions"][-1]["message"]
    assert "loss was not looked for: no pod of the job has the labels mpi-job-role=launcher" in message
    kubectl("delete", "experiment", "labels")


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Settings]:
    settings = Settings(tmp_path / "data", tmp_path / "cache")
    daemon.start(settings)
    yield settings
    daemon.stop(settings)


def killed(mortal: Settings) -> None:
    """The daemon dies, and another one takes its place."""
    running = daemon.status(mortal)
    assert running is not None
    os.kill(running.pid, signal.SIGKILL)
    while daemon.status(mortal) is not None:
        time.sleep(0.01)
    daemon.start(mortal)


def test_a_killed_daemon_loses_no_trial_and_makes_none_twice(
    mortal: Settings, kubectl: Kubectl, tmp_path: Path
) -> None:
    def here(*words: str) -> subprocess.CompletedProcess[str]:
        return kubectl("--kubeconfig", str(mortal.embedded_kubeconfig), *words)

    log = tmp_path / "runs"
    program = f"import os\nopen({str(log)!r}, 'a').write(os.environ['KATIB_TRIAL_NAME'] + '\\n')\n{PRINTED}"
    apply(here, tmp_path, experiment("killed", program, maxTrialCount=8, algorithm={"algorithmName": "tpe"}))
    for pause in (0.6, 1.1, 0.9, 1.7):
        time.sleep(pause)  # when it is killed is what the test is about
        killed(mortal)
    assert here("wait", "--for=condition=Succeeded", "experiment/killed", "--timeout=90s").returncode == 0
    study = get(here, "experiment", "killed")
    assert study["status"]["trialsSucceeded"] == 8
    trials = get(here, "trials")["items"]
    assert len({json.dumps(t["spec"]["parameterAssignments"]) for t in trials}) == 8
    assert sorted(log.read_text().split()) == sorted(t["metadata"]["name"] for t in trials)
    counts = [json.loads(t["metadata"]["annotations"]["jupyterlab-kf.io/observations"]) for t in trials]
    assert {one["metrics"]["loss"]["count"] for one in counts} == {5}


PUSHED = """
import sys, time
from kubeflow.katib import report_metrics
for step in range(1, 41):
    report_metrics({"loss": float(sys.argv[1]) + 1 / step, "step": step})
    time.sleep(0.05)
"""


def test_what_is_pushed_outlives_a_killed_daemon(mortal: Settings, kubectl: Kubectl, tmp_path: Path) -> None:
    def here(*words: str) -> subprocess.CompletedProcess[str]:
        return kubectl("--kubeconfig", str(mortal.embedded_kubeconfig), *words)

    def record() -> Obj:
        trials = get(here, "trials")["items"]
        text = trials[0]["metadata"].get("annotations", {}).get("jupyterlab-kf.io/observations") if trials else None
        found: Obj = json.loads(text or "{}").get("metrics", {}).get("step", {})
        return found

    study = experiment("pushed", PUSHED, maxTrialCount=1, parallelTrialCount=1, metricsCollectorSpec=source("Push"))
    study["spec"]["objective"]["additionalMetricNames"] = ["step"]
    container = study["spec"]["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"][0]
    container["command"][0] = str(tool(provision.katib_sdk))
    apply(here, tmp_path, study)
    for reports in (3, 12):
        eventually(lambda reports=reports: record().get("count", 0) >= reports)  # type: ignore[misc]
        killed(mortal)
    waited = here("wait", "--for=condition=Succeeded", "experiment/pushed", "--timeout=120s")
    assert waited.returncode == 0, get(here, "experiment", "pushed")["status"]
    steps = [text for _, _, text in record()["points"]]
    assert sorted(set(steps), key=int) == [str(step) for step in range(1, 41)], "nothing that was answered is lost"


BESIDE = """
import os, sys, time
import grpc
from kubeflow.katib import katib_api_pb2 as messages, katib_api_pb2_grpc as services
client = services.DBManagerStub(grpc.insecure_channel(sys.argv[1]))
while not (os.path.exists(sys.argv[2]) and "end" in open(sys.argv[2]).read()):
    time.sleep(0.05)
for line in open(sys.argv[2]).read().split()[:-1]:
    metric = messages.MetricLog(time_stamp="", metric=messages.Metric(name="loss", value=line))
    log = messages.ObservationLog(metric_logs=[metric])
    name = os.environ["KATIB_TRIAL_NAME"]
    client.ReportObservationLog(messages.ReportObservationLogRequest(trial_name=name, observation_log=log))
"""
WRITES = "import sys\nopen('out' if len(sys.argv) < 3 else sys.argv[2], 'w').write(f'{sys.argv[1]}\\n2\\nend')"


def test_a_collector_of_ones_own_reports_from_beside_the_program(kubectl: Kubectl, tmp_path: Path) -> None:
    words = [str(tool(provision.katib_sdk)), "-c", BESIDE, "katib-db-manager.kubeflow:6789", "/katib/log"]
    given = {"name": "reads", "image": "plain-python", "command": words}
    spec = {
        "collector": {"kind": "Custom", "customCollector": given},
        "source": {"fileSystemPath": {"path": "/katib/log", "kind": "File"}},
    }
    apply(kubectl, tmp_path, experiment("custom", WRITES, "/katib/log", metricsCollectorSpec=spec))
    waited = kubectl("wait", "--for=condition=Succeeded", "experiment/custom", "--timeout=60s", check=False)
    study = get(kubectl, "experiment", "custom")
    assert waited.returncode == 0, study["status"]
    best = study["status"]["currentOptimalTrial"]
    seen = best["observation"]["metrics"][0]
    assert (seen["min"], seen["max"]) == (best["parameterAssignments"][0]["value"], "2")
    kubectl("delete", "experiment", "custom")


POINTS = """
import os, sys
path = os.path.join(sys.argv[2], "training.ckpt")
before = float(open(path).read()) if os.path.exists(path) else 0.0
after = before + float(sys.argv[1])
open(path, "w").write(str(after))
assert os.path.samefile(os.environ["KF_CHECKPOINT"], sys.argv[2])
print(f"Validation-accuracy={after}")
print(f"before={before}")
"""


def test_a_population_trains_on_from_its_checkpoints(kubectl: Kubectl, tmp_path: Path) -> None:
    # The manifest is Katib's example of population based training, but for a smaller population and another program.
    settings = {
        "suggestion_trial_dir": "/var/log/katib/checkpoints/",
        "n_population": "5",
        "truncation_threshold": "0.4",
    }
    study = experiment(
        "population",
        POINTS,
        "/var/log/katib/checkpoints/",
        maxTrialCount=15,
        parallelTrialCount=3,
        maxFailedTrialCount=3,
        resumePolicy="FromVolume",
        objective={
            "type": "maximize",
            "objectiveMetricName": "Validation-accuracy",
            "additionalMetricNames": ["before"],
        },
        algorithm={
            "algorithmName": "pbt",
            "algorithmSettings": [{"name": name, "value": value} for name, value in settings.items()],
        },
    )
    apply(kubectl, tmp_path, study)
    waited = kubectl("wait", "--for=condition=Succeeded", "experiment/population", "--timeout=120s", check=False)
    assert waited.returncode == 0, get(kubectl, "experiment", "population")["status"]
    prefix = "pbt.suggestion.katib.kubeflow.org"
    reached: dict[str, float] = {"": 0.0}
    trials = [one for one in get(kubectl, "trials")["items"] if one["metadata"]["name"].startswith("population-")]
    trials.sort(key=lambda one: int(one["metadata"]["annotations"]["jupyterlab-kf.io/number"]))
    for trial in trials:
        seen = {one["name"]: float(one["latest"]) for one in trial["status"]["observation"]["metrics"]}
        parent = trial["metadata"]["labels"].get(f"{prefix}/parent", "")
        assert seen["before"] == pytest.approx(reached[parent]), "it began where its parent ended"
        reached[trial["metadata"]["name"]] = seen["Validation-accuracy"]
    generations = [trial["metadata"]["labels"][f"{prefix}/generation"] for trial in trials]
    assert generations == ["0"] * 5 + ["1"] * 5 + ["2"] * 5
    best = get(kubectl, "experiment", "population")["status"]["currentOptimalTrial"]
    assert best["bestTrialName"] == max(reached, key=lambda name: reached[name])
    kubectl("delete", "experiment", "population")
    eventually(lambda: "population-pbt" not in kubectl("get", "pvc", "-o", "name").stdout)


def test_the_example_of_a_population(cluster: Settings) -> None:
    assert cluster.data_dir
    example = Path(__file__).parents[2] / "docs/examples/population.py"
    words = {"objective": "accuracy", "direction": "maximize", "metrics": ["epochs"], "name": "example"}
    study = kf.tune(example, algorithm="pbt", settings={"random_state": 1}, trials=10, **words)
    study.wait(240)
    rows = study.rows()
    assert [row["state"] for row in rows] == ["Succeeded"] * 10
    assert [float(row["epochs"]) for row in rows] == [2.0] * 5 + [4.0] * 5
    best = [max(row["accuracy"] for row in part) for part in (rows[:5], rows[5:])]
    assert best[1] > 0.8
    assert best[1] >= best[0] - 0.05
    study.delete()


CELL = """
import os
x = uniform(-1, 1)
kind = choice("a", "b")
for step in range(1, 40):
    print(f"score={1 - x * x - (kind == 'b')} trial={os.environ.get('KATIB_TRIAL_NAME')}", flush=True)
    if x > 2: raise SystemExit
"""


def test_a_study_in_three_lines(cluster: Settings) -> None:
    assert cluster.data_dir
    study = kf.tune(CELL, objective="score", direction="maximize", trials=5, name="lines", settings={"random_state": 1})
    study.wait(120)
    best = study.best
    assert best is not None
    rows = study.rows()
    assert [row["state"] for row in rows] == ["Succeeded"] * 5
    assert max(row["score"] for row in rows) == pytest.approx(1 - best["x"] ** 2 - (best["kind"] == "b"))
    assert rows[0]["trial"] in next(study.logs(0))
    assert study.csv().splitlines()[0] == "number,trial,state,x,kind,score,seconds"
    study.extend(6).wait(60)
    assert len(kf.study("lines").trials) == 6
    job = study.promote()
    job.wait(60)
    assert job.name == f"lines-t{study.best_trial.number if study.best_trial else ''}"
    assert job.metrics()["score"]["master-0"][-1].value == pytest.approx(max(row["score"] for row in study.rows()))
    with pytest.raises(kf.AlreadyExistsError):
        study.promote()
    job.delete()
    with pytest.raises(kf.UsageError, match=r"must be greater than status\.trials"):
        study.extend(3)
    with pytest.raises(kf.AlreadyExistsError):
        kf.tune(CELL, name="lines")
    study.delete()


def test_a_study_is_stopped(cluster: Settings) -> None:
    assert cluster.data_dir
    study = kf.tune("import time\nx = uniform(0, 1)\nprint(f'loss={x}', flush=True)\ntime.sleep(60)", name="stop")
    deadline = time.monotonic() + 60
    while not any(row.state == "Running" for row in study.trials) and time.monotonic() < deadline:
        time.sleep(0.05)
    study.stop()
    assert study.status == "Succeeded"
    deadline = time.monotonic() + 60
    while any(row.state == "Running" for row in study.trials) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert {row.state for row in study.trials} <= {"Killed", "Pending"}
    study.delete()


def test_a_trial_is_ended_and_its_study_goes_on_also_after_a_stop(kubectl: Kubectl) -> None:
    code = "import time\nx = uniform(0, 1)\nprint(f'loss={x}', flush=True)\ntime.sleep(600 * (x > -1))"
    study = kf.tune(code, name="one", trials=3, parallel=1, max_failed=1)

    def running(*before: str) -> TrialRow:
        """The trial that runs and has reported something."""
        reports = lambda row: row.state == "Running" and row.metrics and row.name not in before  # noqa: E731
        return eventually(lambda: next(filter(reports, study.trials), None))

    first = running()
    began = next(one.began for one in study.record().trials if one.name == first.name)
    assert began is not None
    assert study.stop_trial(first.number).state == "Killed"
    second = running(first.name)
    assert study.status == "Running", "a trial that somebody ended is no failure"
    pods = ("pods", "--selector", f"katib.kubeflow.org/trial={first.name}")
    eventually(lambda: not get(kubectl, *pods)["items"])
    study.stop()
    eventually(lambda: all(row.state == "Killed" for row in study.trials))
    with pytest.raises(kf.UsageError, match="has had 2 of its 3 trials"):
        study.resume(2)
    study.resume()
    third = running(first.name, second.name)
    study.stop_trial(third.name)
    study.wait(60)
    assert [row.state for row in study.trials] == ["Killed"] * 3
    assert study.best is None, "what somebody ended has no result"
    study.delete()


@pytest.mark.parametrize(
    ("kind", "role", "container"), [("PyTorchJob", "Master", "pytorch"), ("TFJob", "Worker", "tensorflow")]
)
def test_trials_may_be_training_jobs(kubectl: Kubectl, tmp_path: Path, kind: str, role: str, container: str) -> None:
    study = experiment(f"of-{kind.lower()}", PRINTED)
    template = study["spec"]["trialTemplate"]
    pod = template["trialSpec"]["spec"]["template"]
    pod["spec"]["containers"][0]["name"] = template["primaryContainerName"] = container
    field = "pytorchReplicaSpecs" if kind == "PyTorchJob" else "tfReplicaSpecs"
    workers = {"Worker": {"replicas": 1, "restartPolicy": "Never", "template": pod}}
    master = {role: {"replicas": 1, "restartPolicy": "Never", "template": pod}}
    template["trialSpec"] = {"apiVersion": "kubeflow.org/v1", "kind": kind, "spec": {field: {**workers, **master}}}
    apply(kubectl, tmp_path, study)
    name = study["metadata"]["name"]
    waited = kubectl("wait", "--for=condition=Succeeded", f"experiment/{name}", "--timeout=60s")
    found = get(kubectl, "experiment", name)
    assert waited.returncode == 0, found["status"]
    assert found["status"]["trialsSucceeded"] == 2
    jobs = [one.partition("/")[2] for one in kubectl("get", f"{kind.lower()}s", "-o", "name").stdout.split()]
    assert not [one for one in jobs if one.startswith(name)], "the job of a trial that has ended is kept"
    kubectl("delete", "experiment", name)


MPI = """
import sys
from mpi4py import MPI
comm = MPI.COMM_WORLD
total = comm.allreduce(float(sys.argv[1]))
if comm.rank == 0:
    for step in range(1, 4):
        print(f"loss={total + 1 / step} size={comm.size}", flush=True)
"""


@pytest.mark.framework
def test_trials_may_be_mpi_jobs(kubectl: Kubectl, tmp_path: Path) -> None:
    study = experiment("of-mpijob", MPI, parallelTrialCount=1, container={"image": "jupyterlab-kf/mpi:1"})
    study["spec"]["objective"]["additionalMetricNames"] = ["size"]
    template = study["spec"]["trialTemplate"]
    pod = template["trialSpec"]["spec"]["template"]
    launcher = pod["spec"]["containers"][0]
    launcher["name"] = template["primaryContainerName"] = "mpi"
    launcher["command"] = ["mpirun", "--allow-run-as-root", "--oversubscribe", "-n", "2", *launcher["command"]]
    worker = {"spec": {"containers": [{"name": "mpi", "image": launcher["image"]}]}}
    roles = {"Launcher": {"replicas": 1, "template": pod}, "Worker": {"replicas": 2, "template": worker}}
    template["trialSpec"] = {"apiVersion": "kubeflow.org/v1", "kind": "MPIJob", "spec": {"mpiReplicaSpecs": roles}}
    apply(kubectl, tmp_path, study)
    waited = kubectl(
        "wait", "--for=condition=Succeeded", "experiment/of-mpijob", "--timeout=180s", check=False, timeout=240
    )
    found = get(kubectl, "experiment", "of-mpijob")
    assert waited.returncode == 0, (found["status"], kubectl("get", "trials,pods", "-o", "yaml").stdout[-6000:])
    assert found["status"]["trialsSucceeded"] == 2
    best = found["status"]["currentOptimalTrial"]
    loss, size = best["observation"]["metrics"]
    rate = float(best["parameterAssignments"][0]["value"])
    assert float(loss["min"]) == pytest.approx(2 * rate + 1 / 3), "both ranks took part"
    assert size["latest"] == "2"
    assert not [one for one in kubectl("get", "mpijobs", "-o", "name").stdout.split() if "/of-mpijob-" in one]
    kubectl("delete", "experiment", "of-mpijob")


RANKS = """
from mpi4py import MPI
comm = MPI.COMM_WORLD
x = uniform(0, 1)
total = comm.allreduce(x)
if comm.rank == 0:
    print(f"loss={total - x * comm.size + x:.6f} size={comm.size}", flush=True)
"""


@pytest.mark.framework
def test_a_cell_may_be_tuned_as_mpi_jobs(cluster: Settings) -> None:
    assert cluster.data_dir
    study = kf.tune(RANKS, framework="mpi", workers=2, trials=2, parallel=1, metrics=["size"], name="ranks")
    study.wait(240)
    rows = study.rows()
    assert [row["state"] for row in rows] == ["Succeeded"] * 2
    assert [row["loss"] for row in rows] == pytest.approx([row["x"] for row in rows], abs=1e-5)
    assert {float(row["size"]) for row in rows} == {2.0}
    job = study.promote(workers=3)
    job.wait(240)
    assert "size=3" in "\n".join(str(line) for line in job.logs())
    job.delete()
    study.delete()
