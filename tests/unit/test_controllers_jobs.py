"""Batch Jobs, and the training jobs that have one underneath: MPIJob v2beta1 and ChainerJob."""

from __future__ import annotations

from typing import Any

import pytest
from controllers_world import START, World

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import training, workloads
from jupyterlab_kf.controllers.workloads.indexes import format_indexes, parse_indexes
from jupyterlab_kf.model import Obj, format_time

CONTAINER = {"name": "c", "image": "x"}


def job_of(*, restart: str = "Never", **spec: Any) -> World:
    world = World(*workloads.CONTROLLERS)
    template = {"spec": {"containers": [dict(CONTAINER)], "restartPolicy": restart}}
    obj = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "j"}, "spec": {"template": template, **spec}}
    world.add(kinds.JOB, obj)
    world.settle()
    return world


def pods(world: World, *phases: str) -> list[str]:
    return [n for n, p in world.pods().items() if (p.get("status") or {}).get("phase", "Pending") in phases]


def conditions(world: World) -> dict[str, str]:
    return {type_: reason for type_, (status, reason) in world.conditions(kinds.JOB).items() if status == "True"}


def status(world: World) -> Obj:
    value: Obj = world.job(kinds.JOB)["status"]
    return value


def test_one_pod_that_succeeds_completes_the_job() -> None:
    world = job_of(completions=1)
    (pod,) = world.pods()
    world.phase(pod, "Running")
    assert (status(world)["active"], status(world)["ready"]) == (1, 1)
    world.now += 3
    world.phase(pod, "Succeeded")
    assert conditions(world) == {"SuccessCriteriaMet": "CompletionsReached", "Complete": "CompletionsReached"}
    assert status(world)["succeeded"] == 1
    assert status(world)["completionTime"] == format_time(START + 3)
    assert world.reasons() == ["SuccessfulCreate", "Completed"]
    labels = world.pods()[pod]["metadata"]["labels"]
    assert labels["job-name"] == labels["batch.kubernetes.io/job-name"] == "j"


def test_parallelism_and_completions() -> None:
    world = job_of(completions=5, parallelism=2)
    for done in range(5):
        assert len(pods(world, "Pending")) == min(2, 5 - done)
        world.phase(pods(world, "Pending")[0], "Succeeded")
    assert len(world.pods()) == 5
    assert "Complete" in conditions(world)


def test_a_work_queue_ends_when_one_succeeded_and_none_runs() -> None:
    world = job_of(parallelism=3)
    first, second, third = world.pods()
    world.phase(first, "Succeeded")
    assert len(world.pods()) == 3
    world.phase(second, "Succeeded")
    assert "Complete" not in conditions(world)
    world.phase(third, "Failed")
    assert "Complete" in conditions(world)


def test_retries_wait_ten_seconds_then_twice_as_long_until_the_limit() -> None:
    world = job_of(completions=1, backoffLimit=2)
    gaps = []
    for _ in range(2):
        world.phase(pods(world, "Pending")[0], "Failed")
        began = world.now
        while not pods(world, "Pending"):
            world.wait(1)
        gaps.append(world.now - began)
    world.phase(pods(world, "Pending")[0], "Failed")
    assert gaps == [10, 20]
    assert conditions(world) == {"FailureTarget": "BackoffLimitExceeded", "Failed": "BackoffLimitExceeded"}
    assert status(world)["failed"] == 3
    assert world.events[-1].message == "Job has reached the specified backoff limit"


def test_restarts_in_place_count_towards_the_limit() -> None:
    world = job_of(restart="OnFailure", backoffLimit=3)
    (pod,) = world.pods()
    world.phase(pod, "Running", restarts=2)
    assert not conditions(world)
    world.phase(pod, "Running", restarts=3)
    assert conditions(world)["Failed"] == "BackoffLimitExceeded"
    assert not world.pods()


def test_deadline() -> None:
    world = job_of(activeDeadlineSeconds=20)
    world.run_all()
    world.wait(21)
    assert conditions(world)["Failed"] == "DeadlineExceeded"
    assert not world.pods()


def test_verdict_is_final_only_when_nothing_runs() -> None:
    world = job_of(activeDeadlineSeconds=20)
    world.lingering = True
    world.run_all()
    world.wait(21)
    assert conditions(world) == {"FailureTarget": "DeadlineExceeded"}
    assert status(world)["terminating"] == 1
    world.finish_terminating()
    assert conditions(world)["Failed"] == "DeadlineExceeded"


def test_time_to_live() -> None:
    world = job_of(ttlSecondsAfterFinished=0)
    world.phase(next(iter(world.pods())), "Succeeded")
    world.wait(1)
    assert world.get(kinds.JOB, "default", "j") is None


def test_suspend_and_resume() -> None:
    world = job_of(suspend=True)
    assert not world.pods()
    assert conditions(world) == {"Suspended": "JobSuspended"}
    assert "startTime" not in status(world)
    spec = world.objects[("batch", "jobs", "default", "j")]["spec"]
    spec["suspend"] = False
    world.settle()
    assert len(world.pods()) == 1
    assert conditions(world) == {}
    world.objects[("batch", "jobs", "default", "j")]["spec"]["suspend"] = True
    world.settle()
    assert not world.pods()
    assert world.reasons() == ["Suspended", "Resumed", "SuccessfulCreate", "Suspended", "SuccessfulDelete"]


def test_indexed_job_gives_each_pod_its_index_and_repeats_the_one_that_failed() -> None:
    world = job_of(completionMode="Indexed", completions=4, parallelism=4)
    by_index = {p["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]: p for p in world.pods().values()}
    assert list(by_index) == ["0", "1", "2", "3"]
    pod = by_index["2"]
    assert pod["spec"]["hostname"] == "j-2"
    assert pod["spec"]["containers"][0]["env"][0]["name"] == "JOB_COMPLETION_INDEX"
    for index in ("0", "1", "3"):
        world.phase(by_index[index]["metadata"]["name"], "Succeeded")
    world.phase(pod["metadata"]["name"], "Failed")
    assert status(world)["completedIndexes"] == "0,1,3"
    world.wait(11)
    (again,) = pods(world, "Pending")
    assert again != pod["metadata"]["name"]
    assert again.startswith("j-2-")
    world.phase(again, "Succeeded")
    assert status(world)["completedIndexes"] == "0-3"
    assert "Complete" in conditions(world)


@pytest.mark.parametrize(
    ("action", "outcome", "failed"), [("FailJob", "PodFailurePolicy", 1), ("Ignore", None, None), ("Count", None, 1)]
)
def test_pod_failure_policy(action: str, outcome: str | None, failed: int | None) -> None:
    rule = {"action": action, "onExitCodes": {"operator": "In", "values": [42]}}
    world = job_of(podFailurePolicy={"rules": [rule]}, backoffLimit=5)
    (pod,) = world.pods()
    world.phase(pod, "Failed", code=42)
    assert conditions(world).get("Failed") == outcome
    assert status(world).get("failed") == failed
    if outcome:
        assert status(world)["conditions"][-1]["message"] == (
            f"Container c for pod default/{pod} failed with exit code 42 matching FailJob rule at index 0"
        )


def test_smaller_parallelism_takes_pods_away() -> None:
    world = job_of(parallelism=4, completions=8)
    world.run_all()
    world.objects[("batch", "jobs", "default", "j")]["spec"]["parallelism"] = 1
    world.settle()
    assert len(world.pods()) == 1


def test_fields_that_have_no_effect_are_named_once() -> None:
    world = job_of(completionMode="Indexed", completions=2, backoffLimitPerIndex=1)
    world.run_all()
    warned = [e.message for e in world.events if e.type == "Warning"]
    assert warned == ["spec.backoffLimitPerIndex is not supported by this cluster and has no effect"]


def test_index_lists() -> None:
    for text in ("", "0", "0,1", "0-2", "0-2,5,7-9"):
        assert format_indexes(parse_indexes(text)) == text


# --- MPIJob v2beta1


def mpi_v2(**spec: Any) -> World:
    world = World(*workloads.CONTROLLERS, *training.CONTROLLERS)
    replica = {"template": {"spec": {"containers": [{"name": "mpi", "image": "x"}]}}}
    specs = {"Launcher": {**replica, "replicas": 1}, "Worker": {**replica, "replicas": 2}}
    kind = kinds.MPI_JOB_V2
    spec = {"slotsPerWorker": 2, "mpiReplicaSpecs": specs, **spec}
    world.add(kind, {"apiVersion": kind.api_version, "kind": "MPIJob", "metadata": {"name": "j"}, "spec": spec})
    world.settle()
    return world


def launcher(world: World) -> str:
    (name,) = [n for n in world.pods() if n.startswith("j-launcher")]
    return name


def test_mpi_v2_makes_workers_a_service_a_config_and_a_launcher() -> None:
    world = mpi_v2()
    worker = world.pods()["j-worker-1"]
    assert worker["metadata"]["labels"] == {
        "training.kubeflow.org/operator-name": "mpi-operator",
        "training.kubeflow.org/job-name": "j",
        "training.kubeflow.org/job-role": "worker",
        "training.kubeflow.org/replica-index": "1",
    }
    assert (worker["spec"]["hostname"], worker["spec"]["subdomain"]) == ("j-worker-1", "j")
    assert worker["spec"]["containers"][0]["command"] == ["sleep"]
    pod = world.pods()[launcher(world)]
    assert pod["spec"]["restartPolicy"] == "OnFailure"
    env = {e["name"]: e.get("value") for e in pod["spec"]["containers"][0]["env"]}
    assert env == {
        "K_MPI_JOB_ROLE": "launcher",
        "OMPI_MCA_orte_keep_fqdn_hostnames": "true",
        "OMPI_MCA_orte_default_hostfile": "/etc/mpi/hostfile",
        "PRTE_MCA_prte_default_hostfile": "/etc/mpi/hostfile",
        "OMPI_MCA_plm_rsh_args": "-o ConnectionAttempts=10",
        "OMPI_MCA_orte_set_default_slots": "2",
        "NVIDIA_VISIBLE_DEVICES": None,
        "NVIDIA_DRIVER_CAPABILITIES": None,
    }
    config = world.get(kinds.CONFIG_MAP, "default", "j-config")
    assert config is not None
    assert config["data"]["hostfile"] == "j-worker-0.j.default.svc slots=2\nj-worker-1.j.default.svc slots=2\n"
    assert world.get(kinds.SERVICE, "default", "j") is not None


@pytest.mark.parametrize(("policy", "left"), [("None", 2), ("Running", 0), ("All", 0)])
def test_mpi_v2_succeeds_with_its_launcher(policy: str, left: int) -> None:
    world = mpi_v2(runPolicy={"cleanPodPolicy": policy})
    world.run_all()
    assert world.conditions(kinds.MPI_JOB_V2)["Running"] == ("True", "MPIJobRunning")
    world.phase(launcher(world), "Succeeded")
    assert world.conditions(kinds.MPI_JOB_V2)["Succeeded"] == ("True", "MPIJobSucceeded")
    assert len([n for n in world.pods() if "worker" in n]) == left


def test_mpi_v2_fails_as_its_launcher_does() -> None:
    world = mpi_v2(runPolicy={"backoffLimit": 0})
    world.run_all()
    world.phase(launcher(world), "Failed")
    assert world.conditions(kinds.MPI_JOB_V2)["Failed"][1].startswith("BackoffLimitExceeded")
    assert world.job(kinds.MPI_JOB_V2)["status"]["replicaStatuses"]["Launcher"] == {"failed": 1}


def test_mpi_v2_waits_for_workers_when_told_to() -> None:
    world = mpi_v2(launcherCreationPolicy="WaitForWorkersReady")
    assert set(world.pods()) == {"j-worker-0", "j-worker-1"}
    world.run_all()
    assert launcher(world)


def test_mpi_v2_suspend_and_resume() -> None:
    world = mpi_v2(runPolicy={"suspend": True})
    assert not world.pods()
    job = world.objects[("kubeflow.org", "mpijobs", "default", "j")]
    job["spec"]["runPolicy"]["suspend"] = False
    world.settle()
    world.run_all()
    assert world.conditions(kinds.MPI_JOB_V2)["Running"][0] == "True"
    job = world.objects[("kubeflow.org", "mpijobs", "default", "j")]
    job["spec"]["runPolicy"]["suspend"] = True
    world.settle()
    assert not world.pods()
    assert world.conditions(kinds.MPI_JOB_V2)["Suspended"] == ("True", "MPIJobSuspended")


def test_mpi_v2_says_what_is_wrong() -> None:
    world = mpi_v2(mpiImplementation="LAM")
    assert world.events[-1].message == (
        'Found validation errors: spec.mpiImplementation: Unsupported value: "LAM": '
        'supported values: "Intel", "MPICH", "OpenMPI"'
    )
    assert "Failed" in world.conditions(kinds.MPI_JOB_V2)


# --- ChainerJob


def chainer(**master: Any) -> World:
    world = World(*workloads.CONTROLLERS, *training.CONTROLLERS)
    template = {"spec": {"containers": [{"name": "chainer", "image": "x"}]}}
    spec = {
        "backend": "mpi",
        "master": {"template": template, **master},
        "workerSets": {"ws": {"replicas": 2, "mpiConfig": {"slots": 3}, "template": template}},
    }
    metadata = {"name": "j"}
    kind = kinds.CHAINER_JOB
    world.add(kind, {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec})
    world.settle()
    return world


def test_chainer_runs_workers_then_its_master() -> None:
    world = chainer()
    assert set(world.pods()) == {"j-workerset-ws-0", "j-workerset-ws-1"}
    world.run_all()
    (master,) = [n for n in world.pods() if n.startswith("j-master")]
    labels = world.pods()[master]["metadata"]["labels"]
    assert (labels["chainerjob.kubeflow.org/name"], labels["chainerjob.kubeflow.org/role"]) == ("j", "master")
    assets = world.get(kinds.CONFIG_MAP, "default", "j-assets")
    assert assets is not None
    assert assets["data"]["hostfile"] == "j-master slots=1\nj-workerset-ws-0 slots=3\nj-workerset-ws-1 slots=3\n"
    assert world.job(kinds.CHAINER_JOB)["status"]["active"] == 1


def test_chainer_status_is_its_masters_and_workers_end_with_it() -> None:
    world = chainer()
    world.run_all()
    (master,) = [n for n in world.pods() if n.startswith("j-master")]
    world.phase(master, "Succeeded")
    assert world.conditions(kinds.CHAINER_JOB)["Complete"] == ("True", "CompletionsReached")
    assert set(world.pods()) == {master}


def test_chainer_fails_as_its_master_does() -> None:
    world = chainer(backoffLimit=0)
    world.run_all()
    (master,) = [n for n in world.pods() if n.startswith("j-master")]
    world.phase(master, "Failed")
    assert world.conditions(kinds.CHAINER_JOB)["Failed"] == ("True", "BackoffLimitExceeded")
    assert set(world.pods()) == {master}


def test_chainer_refuses_what_it_cannot_run() -> None:
    problems = training.validate(
        kinds.CHAINER_JOB, {"metadata": {"name": "j"}, "spec": {"backend": "nccl", "master": {}}}
    )
    assert [path for path, _ in problems] == ["spec.backend", "spec.master.template.spec.containers"]
