"""Programs that really run, on both clusters: our own verbs, a day with kubectl, and Kubeflow's training SDK.

The embedded cluster's node runs them as processes of this machine, the real one's in containers. What is asked here is
what a person asks who does not know which of the two it is.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import provision
import pytest
import yaml
from bed.api import until
from needs import tool
from ranks import MEET
from sites import Kubectl, Site, running_site

import jupyterlab_kf as kf
from jupyterlab_kf.model import Phase
from jupyterlab_kf.services import session

__all__ = ["running_site"]

IMAGE = "python:3"


# ----------------------------------------------------------------------------------------------------- our own verbs


@pytest.fixture
def here(site: Site, place: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """This process works with the cluster, in a namespace of the test's own."""
    monkeypatch.setenv("KUBECONFIG", str(site.kubeconfig))
    monkeypatch.setenv("KF_NAMESPACE", place)
    session.use("")
    yield place
    monkeypatch.undo()
    session.use("")


# All ranks end at the same instant.
CODE = f"""
import os, pathlib
{MEET}
print("rank", os.environ["RANK"], "of", os.environ["WORLD_SIZE"], flush=True)
meet()
for epoch in range(3):
    print(f"epoch={{epoch}} loss={{1 / (epoch + 1)}}", flush=True)
pathlib.Path(os.environ["KF_OUTPUT"], f"model-{{os.environ['RANK']}}.txt").write_text("weights")
"""


@pytest.mark.usefixtures("here")
def test_training_is_the_same_wherever_it_runs(tmp_path: Path) -> None:
    job = kf.train(
        CODE, "pytorch", workers=2, name="day", image=IMAGE, cpu="100m", output=tmp_path / "out", root=tmp_path
    )
    phases = [view.status.phase for view in job.watch()]
    assert phases[-1] is Phase.SUCCEEDED
    assert Phase.RUNNING in phases
    job.wait(timeout=60)
    lines = {replica: [line.text for line in job.logs(replica)] for replica in ("master-0", "worker-0")}
    assert [found[0] for found in lines.values()] == ["rank 0 of 2", "rank 1 of 2"]
    assert {points[-1].value for points in job.metrics()["loss"].values()} == {1 / 3}
    assert sorted(file.path for file in job.files()) == ["model-0.txt", "model-1.txt"]
    assert sorted(path.name for path in job.download(tmp_path / "again")) == ["model-0.txt", "model-1.txt"]
    assert (tmp_path / "out" / "model-0.txt").read_text() == "weights"
    assert [(one.name, one.status().phase) for one in kf.jobs()] == [("day", Phase.SUCCEEDED)]
    told = {"SuccessfulCreatePod", "PyTorchJobSucceeded"}
    until(lambda: told <= {event.reason for event in job.events()}, seconds=60, what="its events")
    with pytest.raises(kf.AlreadyExistsError):
        kf.train(CODE, "pytorch", name="day", image=IMAGE, root=tmp_path)
    again = kf.train("raise SystemExit(3)", "pytorch", name="day", image=IMAGE, cpu="100m", replace=True, root=tmp_path)
    with pytest.raises(kf.JobFailedError) as failed:
        again.wait(timeout=60)
    assert failed.value.exit_code == 3
    why = again.explain()
    assert why is not None
    assert why.sentence == "master-0 ended with exit code 3."
    again.delete()
    assert kf.jobs() == []


LATE = f"""
import os, pathlib, time
{MEET}
meet()
if os.environ["RANK"] == "1":
    time.sleep(2)
    print("loss=0.5", flush=True)
pathlib.Path(os.environ["KF_OUTPUT"], f"model-{{os.environ['RANK']}}.txt").write_text("weights")
"""


@pytest.mark.usefixtures("here")
def test_a_worker_that_ends_a_moment_after_its_leader_loses_nothing(tmp_path: Path) -> None:
    asked = {"image": IMAGE, "cpu": "500m", "output": tmp_path / "out", "root": tmp_path}
    job = kf.train(LATE, "pytorch", workers=2, name="late", **asked)
    job.wait(timeout=120)
    assert [line.text for line in job.logs("worker-0")] == ["loss=0.5"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model-0.txt", "model-1.txt"]
    assert job.metrics()["loss"]


def test_a_job_that_is_suspended_from_outside_is_seen_to_rest(site: Site, here: str, tmp_path: Path) -> None:
    code = "import time\nprint('up', flush=True)\ntime.sleep(600)"
    job = kf.train(code, "tensorflow", workers=2, name="rests", image=IMAGE, cpu="100m", root=tmp_path)
    assert any(view.status.phase is Phase.RUNNING for view in job.watch())
    site.api.merge("kubeflow.org/v1", "TFJob", "rests", {"spec": {"runPolicy": {"suspend": True}}}, here)
    assert any(view.status.phase is Phase.SUSPENDED for view in job.watch())
    until(lambda: not site.api.list("v1", "Pod", here), seconds=60, what="the end of its pods")
    job.delete()


# ------------------------------------------------------------------------------------------------ a day with kubectl


def pod(name: str, code: str, **spec: object) -> str:
    """A pod that runs a line of Python, as a manifest."""
    containers = [{"name": "main", "image": IMAGE, "command": ["python3", "-c", code]}]
    body = {"restartPolicy": "Never", "containers": containers, **spec}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": body})


def follow(ctl: Kubectl, *words: str) -> subprocess.Popen[str]:
    """The real kubectl with something that goes on, such as ``logs -f``, whose lines are read as they come."""
    return subprocess.Popen(ctl.command(*words), stdout=subprocess.PIPE, text=True, env=ctl.environment)


def described(ctl: Kubectl, name: str, *words: str) -> None:
    """Until a pod's description has these words: events are written a moment after what they tell of."""
    until(
        lambda: all(one in ctl("describe", "pod", name) for one in words), seconds=60, what=f"{words} of the pod {name}"
    )


def test_a_pod_runs_and_tells_how_it_ended(ctl: Kubectl) -> None:
    script = "import sys\nfor i in range(3): print('line', i, flush=True)\nsys.exit(3)"
    ctl("apply", "-f", "-", stdin=pod("p", script))
    ctl("wait", "--for=jsonpath={.status.phase}=Failed", "pod/p", "--timeout=60s")
    assert ctl("logs", "p") == "line 0\nline 1\nline 2\n"
    assert ctl("logs", "p", "--tail=1") == "line 2\n"
    table = ctl("get", "pod", "p").splitlines()
    assert table[0].split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
    assert table[1].split()[:4] == ["p", "0/1", "Error", "0"]
    assert "Exit Code:    3" in ctl("describe", "pod", "p")
    described(ctl, "p", "Scheduled", "Pulled", "Started", IMAGE)


def test_a_pod_that_does_not_fit_waits_and_says_why(ctl: Kubectl) -> None:
    manifest = yaml.safe_load(pod("big", "pass"))
    manifest["spec"]["containers"][0]["resources"] = {"requests": {"cpu": "1000"}}
    ctl("apply", "-f", "-", stdin=json.dumps(manifest))
    ctl("wait", "--for=condition=PodScheduled=false", "pod/big", "--timeout=60s")
    described(ctl, "big", "FailedScheduling", "nodes are available: 1 Insufficient cpu")


def test_a_job_completes_and_wait_sees_it(ctl: Kubectl) -> None:
    ctl("create", "job", "j", f"--image={IMAGE}", "--", "python3", "-c", "print('done')")
    ctl("wait", "--for=condition=complete", "job/j", "--timeout=60s")
    assert ctl("logs", "job/j") == "done\n"
    ctl("delete", "job", "j", "--wait=true", "--cascade=foreground")
    assert ctl("get", "pods", "-o", "name") == ""


def test_a_deployment_rolls_out_scales_and_updates(ctl: Kubectl) -> None:
    ctl("create", "deployment", "d", f"--image={IMAGE}", "--", "sleep", "600")
    ctl("rollout", "status", "deployment/d", "--timeout=60s")
    ctl("scale", "deployment/d", "--replicas=2")
    ctl("rollout", "status", "deployment/d", "--timeout=60s")
    assert len(ctl("get", "pods", "-o", "name").split()) == 2
    ctl("set", "env", "deployment/d", "COLOUR=blue")
    ctl("rollout", "status", "deployment/d", "--timeout=120s")
    shown = json.loads(ctl("get", "pods", "-o", "json"))["items"]
    living = [item for item in shown if "deletionTimestamp" not in item["metadata"]]
    assert [c["env"] for item in living for c in item["spec"]["containers"]] == [
        [{"name": "COLOUR", "value": "blue"}]
    ] * 2


def test_deleting_a_pod_lets_it_end_by_itself_first(ctl: Kubectl) -> None:
    script = (
        "import signal,sys,time\n"
        "signal.signal(signal.SIGTERM, lambda *a: (print('closing', flush=True), sys.exit(0)))\n"
        "print('ready', flush=True)\ntime.sleep(600)"
    )
    ctl("apply", "-f", "-", stdin=pod("graceful", script))
    ctl("wait", "--for=condition=Ready", "pod/graceful", "--timeout=60s")
    with follow(ctl, "logs", "-f", "graceful") as log:
        assert log.stdout is not None
        lines = [log.stdout.readline()]
        ctl("delete", "pod", "graceful", "--wait=true", "--timeout=60s")
        lines += log.stdout.readlines()
    assert lines == ["ready\n", "closing\n"]


def test_get_watch_shows_each_step(ctl: Kubectl) -> None:
    ctl("apply", "-f", "-", stdin=pod("before", "pass", schedulerName="nobody"))
    with follow(ctl, "get", "pods", "-w", "--output-watch-events") as watch:
        assert watch.stdout is not None
        assert watch.stdout.readline().split()[:2] == ["EVENT", "NAME"]
        assert watch.stdout.readline().split()[:2] == ["ADDED", "before"], "it has begun"
        ctl("apply", "-f", "-", stdin=pod("w", "print(1)"))
        seen = []
        for line in watch.stdout:
            seen.append(line)
            if "Completed" in line:
                break
        watch.terminate()
    rows = [line.split() for line in seen]
    assert rows[0][:2] == ["ADDED", "w"]
    states = [row[3] for row in rows]
    assert states[0] == "Pending"
    assert states[-1] == "Completed"


def test_a_command_runs_beside_a_pod(ctl: Kubectl) -> None:
    ctl("apply", "-f", "-", stdin=pod("x", "import time; time.sleep(600)", terminationGracePeriodSeconds=0))
    ctl("wait", "--for=condition=Ready", "pod/x", "--timeout=60s")
    assert ctl("exec", "x", "--", "python3", "-c", "print(6 * 7)") == "42\n"
    failed = ctl.run("exec", "x", "--", "python3", "-c", "raise SystemExit(5)")
    assert (failed.returncode, "exit code 5" in failed.stderr) == (5, True)


# --------------------------------------------------------------------------------------------- Kubeflow's training SDK

SCRIPT = """
import sys
from kubernetes import client as k8s
from kubeflow.training import TrainingClient, KubeflowOrgV1PyTorchJob, KubeflowOrgV1PyTorchJobSpec
from kubeflow.training import KubeflowOrgV1ReplicaSpec, KubeflowOrgV1RunPolicy

kubeconfig, namespace, image, *functions = sys.argv[1:]
trainer = TrainingClient(config_file=kubeconfig, namespace=namespace)
command = ["python3", "-c", "import os; print('rank', os.environ['RANK'], 'of', os.environ['WORLD_SIZE'], flush=True)"]
def replica():
    container = k8s.V1Container(name="pytorch", image=image, command=command)
    template = k8s.V1PodTemplateSpec(spec=k8s.V1PodSpec(containers=[container]))
    return KubeflowOrgV1ReplicaSpec(replicas=1, template=template, restart_policy="Never")
specs = {"Master": replica(), "Worker": replica()}
job = KubeflowOrgV1PyTorchJob(
    api_version="kubeflow.org/v1",
    kind="PyTorchJob",
    metadata=k8s.V1ObjectMeta(name="sdk"),
    spec=KubeflowOrgV1PyTorchJobSpec(
        run_policy=KubeflowOrgV1RunPolicy(clean_pod_policy="None"), pytorch_replica_specs=specs
    ),
)
trainer.create_job(job)
trainer.wait_for_job_conditions("sdk", job_kind="PyTorchJob", timeout=100, polling_interval=1)
assert trainer.is_job_succeeded("sdk", job_kind="PyTorchJob")
print(sorted(trainer.get_job_pod_names("sdk")))
logs, _ = trainer.get_job_logs("sdk", job_kind="PyTorchJob", is_master=True)
print(logs)
print([j.metadata.name for j in trainer.list_jobs(job_kind="PyTorchJob")])
trainer.delete_job("sdk", job_kind="PyTorchJob")

def hello():
    print("hello from a function")

for number, word in enumerate(functions):
    kind, _, base = word.partition("=")
    name = f"fn-{number}"
    trainer.create_job(name=name, job_kind=kind, train_func=hello, num_workers=2, base_image=base)
    trainer.wait_for_job_conditions(name, job_kind=kind, timeout=100, polling_interval=1)
    print(kind, trainer.get_job_logs(name, job_kind=kind)[0])
    trainer.delete_job(name, job_kind=kind)
"""
# A function of a PyTorchJob is run by torchrun, which comes with PyTorch: here by the name of an image, there by none.
FUNCTIONS = {
    "embedded": [f"TFJob={IMAGE}", "PyTorchJob=pytorch/pytorch:2.15.0"],
    "real": [f"TFJob={IMAGE}"],
}


@pytest.mark.framework
def test_the_training_sdk_creates_waits_reads_and_deletes(site: Site, place: str, tmp_path: Path) -> None:
    sdk = tool(provision.training_sdk)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [str(sdk), str(script), str(site.kubeconfig), place, IMAGE, *FUNCTIONS[site.name]],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "['sdk-master-0', 'sdk-worker-0']" in done.stdout
    assert "rank 0 of 2" in done.stdout
    assert "['sdk']" in done.stdout
    assert done.stdout.count("hello from a function") >= len(FUNCTIONS[site.name])
    left = site.api.list("v1", "Service", place, labels="training.kubeflow.org/job-name")
    assert [one for one in left if "deletionTimestamp" not in one["metadata"]] == []
