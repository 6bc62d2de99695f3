"""Kubeflow's own training SDK, unchanged, against the embedded cluster."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import provision
import pytest
from needs import tool

from jupyterlab_kf.settings import Settings

Kubectl = Callable[..., subprocess.CompletedProcess[str]]

SCRIPT = """
import sys
from kubernetes import client as k8s
from kubeflow.training import TrainingClient, KubeflowOrgV1PyTorchJob, KubeflowOrgV1PyTorchJobSpec
from kubeflow.training import KubeflowOrgV1ReplicaSpec, KubeflowOrgV1RunPolicy

trainer = TrainingClient(config_file=sys.argv[1], namespace="default")
command = ["python3", "-c", "import os; print('rank', os.environ['RANK'], 'of', os.environ['WORLD_SIZE'], flush=True)"]
def replica():
    container = k8s.V1Container(name="pytorch", image="plain-python", command=command)
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

image = "pytorch/pytorch:2.15.0"
trainer.create_job(name="fn", job_kind="PyTorchJob", train_func=hello, num_workers=2, base_image=image)
trainer.wait_for_job_conditions("fn", job_kind="PyTorchJob", timeout=100, polling_interval=1)
print(trainer.get_job_logs("fn", job_kind="PyTorchJob")[0])
trainer.delete_job("fn", job_kind="PyTorchJob")
"""


@pytest.fixture(scope="module")
def sdk() -> Path:
    return tool(provision.training_sdk)


@pytest.mark.framework
def test_the_sdk_creates_waits_reads_and_deletes(cluster: Settings, sdk: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [str(sdk), str(script), str(cluster.embedded_kubeconfig)],
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
    assert "hello from a function" in done.stdout


def test_nothing_is_left_behind(kubectl: Kubectl) -> None:
    assert (
        kubectl("get", "pytorchjobs,pods,services", "-l", "training.kubeflow.org/job-name", "-o", "name").stdout == ""
    )
