"""Katib's controllers of ours over a real API server that has the definitions and no Katib."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bed.api import until
from bed.cluster import RealCluster
from rights import give, restrict
from test_rights import granted, used

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-m", "jupyterlab_kf.cli", "controllers", "--only", "katib"]
# What these studies do not need: trials that are training jobs, metrics that a pod serves, fewer trials at a time than
# run, and the same event twice.
ELSEWHERE = {("", "pods/proxy", "get"), ("", "events", "patch"), ("kubeflow.org", "trials", "delete")} | {
    ("kubeflow.org", "training jobs", verb) for verb in ("create", "delete", "list", "watch")
}
Make = Callable[[RealCluster], str]
KATIB = "kubeflow.org/v1beta1"
_CONTAINER = {"name": "main", "image": "x", "args": ["${trialParameters.x}"]}


class Process:
    """One process of the controllers, and what it says."""

    def __init__(self, cluster: RealCluster, user: str, space: str, folder: Path, name: str) -> None:
        environment = os.environ | {
            "KUBECONFIG": str(cluster.kubeconfig_for(user, namespace=space)),
            "KF_DATA_DIR": str(folder),
            "KF_CONTEXT": "",
            "KF_NAMESPACE": "",
        }
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as out:
            self.running = subprocess.Popen([*COMMAND, "-n", space], env=environment, stdout=out, stderr=out)

    def says(self, words: str, seconds: float = 120) -> None:
        try:
            until(lambda: words in self.log.read_text(), seconds=seconds, what=f"{words!r} in what it says")
        except TimeoutError as error:
            raise TimeoutError(f"{error}; it said: {self.log.read_text()!r}") from error

    def end(self, number: int) -> int:
        self.running.send_signal(number)
        return self.running.wait(timeout=90)


Place = tuple[str, Callable[[str], Process]]


@pytest.fixture
def controllers(
    node_cluster: RealCluster, namespace: Make, tmp_path: Path
) -> Iterator[tuple[str, Callable[[str], Process]]]:
    """A namespace that enforces Pod Security, and processes of its own with exactly their role."""
    if not os.environ.get("KF_CRDS"):
        pytest.skip("KF_CRDS names no folder with Katib's definitions")
    space, api = namespace(node_cluster), node_cluster.api
    restrict(api, space)
    give(api, space, "ada", "viewer", "trainer", "studies")
    give(api, space, "katib", "controllers")
    made: list[Process] = []

    def start(name: str) -> Process:
        made.append(Process(node_cluster, "katib", space, tmp_path, name))
        return made[-1]

    yield space, start
    for one in made:
        one.running.kill()
        one.running.wait()


def test_a_study_outlives_the_process_that_runs_it(
    node_cluster: RealCluster, controllers: Place, tmp_path: Path
) -> None:
    space, start = controllers
    api = node_cluster.api
    first = start("first")
    first.says("leading as")
    second = start("second")
    second.says("standing by")
    environment = os.environ | {
        "KUBECONFIG": str(node_cluster.kubeconfig_for("ada", namespace=space)),
        "KF_DATA_DIR": str(tmp_path),
        "KF_CONTEXT": "",
        "KF_NAMESPACE": "",
    }
    study = subprocess.Popen(
        [sys.executable, str(HERE / "study.py"), "outlives"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
    )

    try:
        until(lambda: len(api.list(KATIB, "Trial", space)) >= 3, seconds=90, what="the third trial")
        first.end(signal.SIGKILL)
        second.says("leading as")
        said, _ = study.communicate(timeout=240)
    finally:
        study.kill()
    assert study.returncode == 0, said[-3000:] + second.log.read_text()[-3000:]
    assert said.startswith("best {'x': ")
    trials = api.list(KATIB, "Trial", space)
    until(lambda: len(api.list("batch/v1", "Job", space)) == 8, seconds=60, what="the end of what was stopped")
    mine = [one for one in trials if one["metadata"]["labels"]["katib.kubeflow.org/experiment"] == "outlives"]
    assert len(mine) == 8, "no trial ran twice, and none is missing"
    assert second.end(signal.SIGTERM) == 0
    assert "stopped; another may go on" in second.log.read_text()
    lease = api.get("coordination.k8s.io/v1", "Lease", "jupyterlab-kf-katib", space)
    assert lease["spec"]["holderIdentity"] == "", "the next need not wait"
    uses = used(node_cluster, "katib", space)
    assert uses - granted("controllers") == set(), "used, but not by this role"
    assert granted("controllers") - uses - ELSEWHERE == set(), sorted(granted("controllers") - uses - ELSEWHERE)
    mine_too = used(node_cluster, "ada", space)
    assert mine_too - granted("viewer", "trainer", "studies") == set(), "used, but not by these roles"
    assert granted("studies") - mine_too == set(), "granted, but never used"


def test_what_the_webhook_would_refuse_fails_with_its_reason(node_cluster: RealCluster, controllers: Place) -> None:
    space, start = controllers
    api = node_cluster.api
    start("only").says("leading as")
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "x"}], "restartPolicy": "Never"}}},
    }
    parameter = {"name": "x", "parameterType": "double", "feasibleSpace": {"min": "1", "max": "0"}}
    spec: dict[str, Any] = {
        "objective": {"type": "minimize", "objectiveMetricName": "loss"},
        "algorithm": {"algorithmName": "random"},
        "parameters": [parameter],
        "maxTrialCount": 2,
        "parallelTrialCount": 1,
        "trialTemplate": {
            "primaryContainerName": "main",
            "trialParameters": [{"name": "x", "reference": "x"}],
            "trialSpec": job,
        },
    }
    made = {"apiVersion": KATIB, "kind": "Experiment", "metadata": {"name": "empty", "namespace": space}, "spec": spec}
    api.create(made)

    def told(name: str) -> str:
        status = api.get(KATIB, "Experiment", name, space).get("status") or {}
        return next((c["message"] for c in status.get("conditions") or () if c["type"] == "Failed"), "")

    until(lambda: told("empty"), seconds=60, what="the refusal")
    assert "parameters[0]" in told("empty")
    assert not api.list(KATIB, "Trial", space)
    # A valid study whose metrics are in a file: no placeholder is missing, so the collector is what is said.
    words = {**job, "spec": {"template": {"spec": {"containers": [_CONTAINER], "restartPolicy": "Never"}}}}
    file = {"collector": {"kind": "File"}, "source": {"fileSystemPath": {"path": "/m/log", "kind": "File"}}}
    changed = {
        "parameters": [{**parameter, "feasibleSpace": {"min": "0", "max": "1"}}],
        "metricsCollectorSpec": file,
        "trialTemplate": {**spec["trialTemplate"], "trialSpec": words},
    }
    api.create({**made, "metadata": {"name": "files", "namespace": space}, "spec": {**spec, **changed}})
    until(lambda: told("files"), seconds=60, what="the refusal")
    assert told("files").startswith("metrics collector File reads files in pods")
