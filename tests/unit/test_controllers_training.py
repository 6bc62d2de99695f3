"""The life of training jobs: phases of pods in, conditions and actions out, in virtual time."""

from __future__ import annotations

from typing import Any

import pytest
from controllers_world import START, World

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import training
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, format_time

CONTAINERS = {
    kinds.TF_JOB: ("tfReplicaSpecs", "tensorflow"),
    kinds.PYTORCH_JOB: ("pytorchReplicaSpecs", "pytorch"),
    kinds.MPI_JOB: ("mpiReplicaSpecs", "mpi"),
    kinds.MPI_JOB_V2: ("mpiReplicaSpecs", "mpi"),
    kinds.MX_JOB: ("mxReplicaSpecs", "mxnet"),
}


def manifest(kind: Kind, counts: dict[str, int], *, restart: str = "", policy: Obj | None = None, **spec: Any) -> Obj:
    field, container = CONTAINERS[kind]
    specs: Obj = {}
    for type_, count in counts.items():
        specs[type_] = {
            "replicas": count,
            "template": {"spec": {"containers": [{"name": container, "image": "x"}]}},
        }
        if restart:
            specs[type_]["restartPolicy"] = restart
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": "j"},
        "spec": {field: specs, **({"runPolicy": policy} if policy else {}), **spec},
    }


def world_of(kind: Kind, counts: dict[str, int], *, lingering: bool = False, **more: Any) -> World:
    world = World(*training.CONTROLLERS, lingering=lingering)
    world.add(kind, manifest(kind, counts, **more))
    world.settle()
    return world


PT = kinds.PYTORCH_JOB
SHAPES = {
    kinds.TF_JOB: ({"Chief": 1, "Worker": 2}, "j-chief-0", "j-worker-1"),
    kinds.PYTORCH_JOB: ({"Master": 1, "Worker": 2}, "j-master-0", "j-worker-1"),
    kinds.MPI_JOB: ({"Launcher": 1, "Worker": 2}, "j-launcher", "j-worker-1"),
    kinds.MX_JOB: ({"Scheduler": 1, "Server": 1, "Worker": 2}, "j-scheduler-0", "j-worker-1"),
}


def shaped(kind: Kind, **more: Any) -> tuple[World, str, str]:
    counts, leader, peer = SHAPES[kind]
    world = world_of(kind, counts, **more)
    world.run_all()
    return world, leader, peer


MOMENT = 5.0


def succeed(world: World, kind: Kind, leader: str) -> None:
    """The leader succeeds, and the moment that its peers have to end passes; of an MXJob the workers end before."""
    if kind == kinds.MX_JOB:
        world.phase("j-worker-0", "Succeeded", settle=False)
        world.phase("j-worker-1", "Succeeded", settle=False)
    world.phase(leader, "Succeeded")
    world.wait(MOMENT)


@pytest.mark.parametrize("kind", SHAPES, ids=lambda k: k.kind)
class TestEveryKind:
    def test_runs_when_its_leader_runs(self, kind: Kind) -> None:
        world, _, _ = shaped(kind)
        assert list(world.conditions(kind).items()) == [
            ("Created", ("True", f"{kind.kind}Created")),
            ("Running", ("True", f"{kind.kind}Running")),
        ]
        assert world.job(kind)["status"]["startTime"] == format_time(START)

    def test_succeeds_with_its_leader(self, kind: Kind) -> None:
        world, leader, _ = shaped(kind)
        world.now += 60 - MOMENT
        began = world.now
        succeed(world, kind, leader)
        assert world.conditions(kind) == {
            "Created": ("True", f"{kind.kind}Created"),
            "Running": ("False", f"{kind.kind}Running"),
            "Succeeded": ("True", f"{kind.kind}Succeeded"),
        }
        assert world.job(kind)["status"]["completionTime"] == format_time(
            began if kind == kinds.MPI_JOB else START + 60
        )
        assert f"{kind.kind}Succeeded" in world.reasons()

    @pytest.mark.parametrize(
        ("policy", "left"), [("None", {"leader", "peer"}), ("Running", {"leader"}), ("All", set())]
    )
    def test_clean_pod_policy_after_success(self, kind: Kind, policy: str, left: set[str]) -> None:
        world, leader, peer = shaped(kind, policy={"cleanPodPolicy": policy})
        peer = "j-server-0" if kind == kinds.MX_JOB else peer
        succeed(world, kind, leader)
        pods = world.pods()
        assert {"leader" for n in [leader] if n in pods} | {"peer" for n in [peer] if n in pods} == left

    @pytest.mark.parametrize(("policy", "left"), [("None", True), ("Running", True), ("All", False)])
    def test_a_permanent_failure_ends_the_job_and_its_peers(self, kind: Kind, policy: str, left: bool) -> None:  # noqa: FBT001
        world, leader, peer = shaped(kind, restart="Never", policy={"cleanPodPolicy": policy})
        world.phase(peer, "Failed")
        assert world.conditions(kind)["Failed"] == ("True", f"{kind.kind}Failed")
        assert world.conditions(kind)["Running"][0] == "False"
        assert (peer in world.pods()) is left
        assert leader not in world.pods()
        assert "active" not in str(world.job(kind)["status"]["replicaStatuses"])

    @pytest.mark.parametrize(
        ("restart", "code", "outcome"),
        [
            ("Never", 1, "Failed"),
            ("Never", 137, "Failed"),
            ("OnFailure", 1, "again"),
            ("Always", 1, "again"),
            ("ExitCode", 1, "Failed"),
            ("ExitCode", 127, "Failed"),
            ("ExitCode", 128, "again"),
            ("ExitCode", 137, "again"),
            ("ExitCode", 255, "again"),
        ],
    )
    def test_restart_policy(self, kind: Kind, restart: str, code: int, outcome: str) -> None:
        world, _, peer = shaped(kind, restart=restart)
        before = world.pods()[peer]["metadata"]["uid"]
        assert world.pods()[peer]["spec"]["restartPolicy"] == ("Never" if restart == "ExitCode" else restart)
        world.phase(peer, "Failed", code=code)
        if outcome == "Failed":
            assert world.conditions(kind)["Failed"][0] == "True"
            return
        assert "Failed" not in world.conditions(kind)
        assert world.pods()[peer]["metadata"]["uid"] != before
        assert f"{kind.kind}Restarting" in world.reasons()
        world.run_all()
        assert world.conditions(kind)["Running"][0] == "True"
        assert "Restarting" not in world.conditions(kind)

    def test_backoff_limit_counts_recreated_pods(self, kind: Kind) -> None:
        world, _, peer = shaped(kind, restart="ExitCode", policy={"backoffLimit": 2})
        for _ in range(2):
            world.phase(peer, "Failed", code=130)
            world.wait(10)
            world.run_all()
            assert "Failed" not in world.conditions(kind)
        world.phase(peer, "Failed", code=130)
        assert world.conditions(kind)["Failed"][0] == "True"
        assert world.job(kind)["status"]["conditions"][-1]["message"] == (
            "Job j has failed because it has reached the specified backoff limit"
        )
        assert peer in world.pods(), "the pod whose log tells why is kept"

    def test_backoff_limit_counts_restarts_in_place(self, kind: Kind) -> None:
        world, _, peer = shaped(kind, restart="OnFailure", policy={"backoffLimit": 2})
        world.phase(peer, "Running", restarts=1)
        assert "Failed" not in world.conditions(kind)
        world.phase(peer, "Running", restarts=2)
        assert world.conditions(kind)["Failed"][0] == "True"

    def test_deadline(self, kind: Kind) -> None:
        world, _, _ = shaped(kind, policy={"activeDeadlineSeconds": 30})
        world.wait(29)
        assert "Failed" not in world.conditions(kind)
        world.wait(2)
        assert world.conditions(kind)["Failed"][0] == "True"
        assert world.job(kind)["status"]["completionTime"] == format_time(START + 30)
        assert not world.pods()

    def test_time_to_live(self, kind: Kind) -> None:
        world, leader, _ = shaped(kind, policy={"ttlSecondsAfterFinished": 100})
        world.now += 5
        succeed(world, kind, leader)
        world.wait(94)
        assert world.get(kind, "default", "j")
        world.wait(7)
        assert world.get(kind, "default", "j") is None
        assert not world.pods()

    def test_suspend_and_resume(self, kind: Kind) -> None:
        world, _, peer = shaped(kind)
        job = world.objects[("kubeflow.org", kind.plural, "default", "j")]
        job["spec"].setdefault("runPolicy", {})["suspend"] = True
        world.settle()
        assert not world.pods()
        assert not world.list(kinds.SERVICE)
        assert world.conditions(kind)["Suspended"] == ("True", f"{kind.kind}Suspended")
        assert world.conditions(kind)["Running"] == ("False", f"{kind.kind}Suspended")
        world.now += 50
        world.objects[("kubeflow.org", kind.plural, "default", "j")]["spec"]["runPolicy"]["suspend"] = False
        world.settle()
        world.run_all()
        assert peer in world.pods()
        assert world.conditions(kind)["Suspended"] == ("False", f"{kind.kind}Resumed")
        assert world.conditions(kind)["Running"] == ("True", f"{kind.kind}Running")
        assert world.job(kind)["status"]["startTime"] == format_time(START + 50)

    def test_starts_suspended(self, kind: Kind) -> None:
        world = world_of(kind, SHAPES[kind][0], policy={"suspend": True})
        assert not world.pods()
        assert list(world.conditions(kind)) == ["Created", "Suspended"]
        assert "startTime" not in world.job(kind)["status"]

    def test_leaves_a_job_of_another_manager_alone(self, kind: Kind) -> None:
        world = world_of(kind, SHAPES[kind][0], policy={"managedBy": "kueue.x-k8s.io/multikueue"})
        assert not world.log

    def test_deletes_nothing_twice_while_pods_end_slowly(self, kind: Kind) -> None:
        world, leader, _ = shaped(kind, policy={"cleanPodPolicy": "All"}, lingering=True)
        succeed(world, kind, leader)
        deleted = [e.message for e in world.events if e.reason == "SuccessfulDeletePod"]
        assert len(deleted) == len(set(deleted))
        world.finish_terminating()
        assert not world.pods()


def test_restarts_wait_longer_and_longer() -> None:
    world, _, peer = shaped(PT, restart="ExitCode")
    gaps = []
    for _ in range(5):
        world.phase(peer, "Failed", code=255)
        began = world.now
        while world.pods()[peer].get("status", {}).get("phase") == "Failed":
            world.wait(0.5)
        gaps.append(world.now - began)
        world.run_all()
    assert gaps == [0.0, 1.0, 2.0, 4.0, 8.0]


def test_a_terminating_pods_place_is_free_when_it_is_gone() -> None:
    world, _, peer = shaped(PT, restart="OnFailure", lingering=True)
    world.phase(peer, "Failed")
    assert world.pods()[peer]["metadata"]["deletionTimestamp"]
    world.settle()
    world.finish_terminating()
    assert "status" not in world.pods()[peer]


@pytest.mark.parametrize("kind", SHAPES, ids=lambda k: k.kind)
def test_a_failure_that_is_known_outweighs_a_leader_that_succeeds_with_it(kind: Kind) -> None:
    world, leader, peer = shaped(kind, restart="Never")
    world.phase(peer, "Failed", settle=False)
    world.phase(leader, "Succeeded")
    assert "Succeeded" not in world.conditions(kind)
    assert world.conditions(kind)["Failed"][0] == "True"


@pytest.mark.parametrize("kind", [kinds.TF_JOB, kinds.PYTORCH_JOB, kinds.MX_JOB], ids=lambda k: k.kind)
@pytest.mark.parametrize("restart", ["Never", "ExitCode"])
def test_a_failure_in_the_moment_after_the_leaders_success_fails_the_job(kind: Kind, restart: str) -> None:
    world, leader, peer = shaped(kind, restart=restart, policy={"cleanPodPolicy": "Running"})
    world.phase(leader, "Succeeded")
    world.wait(MOMENT - 1)
    assert "Succeeded" not in world.conditions(kind)
    assert peer in world.pods(), "it is not ended while it has its moment"
    world.phase(peer, "Failed", code=1)
    assert world.conditions(kind)["Failed"][0] == "True"
    world.wait(60)
    assert "Succeeded" not in world.conditions(kind)


def test_a_peer_that_is_about_to_begin_has_its_moment_when_the_leader_was_quick() -> None:
    world = world_of(PT, {"Master": 1, "Worker": 2}, policy={"cleanPodPolicy": "Running"})
    world.place("j-worker-0")
    world.phase("j-master-0", "Succeeded")
    world.wait(MOMENT - 1)
    assert "j-worker-0" in world.pods(), "it is not ended before it has said anything"
    world.phase("j-worker-0", "Succeeded")
    assert world.conditions(PT)["Succeeded"][0] == "True", "a peer that has no machine is not waited for"
    assert set(world.pods()) == {"j-master-0", "j-worker-0"}


def test_a_first_worker_that_succeeds_hears_the_other_workers_out() -> None:
    world = world_of(kinds.TF_JOB, {"Worker": 3})
    world.run_all()
    world.phase("j-worker-0", "Succeeded")
    world.phase("j-worker-1", "Succeeded")
    assert "Succeeded" not in world.conditions(kinds.TF_JOB)
    world.phase("j-worker-2", "Failed")
    assert world.conditions(kinds.TF_JOB)["Failed"][0] == "True"


@pytest.mark.parametrize("kind", [kinds.TF_JOB, kinds.PYTORCH_JOB, kinds.MX_JOB], ids=lambda k: k.kind)
def test_a_job_succeeds_at_once_when_everybody_has_ended(kind: Kind) -> None:
    world, leader, _ = shaped(kind)
    world.phase(leader, "Succeeded", settle=False)
    for name in world.pods():
        if name != leader and "server" not in name:
            world.phase(name, "Succeeded")
    world.wait(0 if kind != kinds.MX_JOB else MOMENT)
    assert world.conditions(kind)["Succeeded"][0] == "True"
    assert world.now == START + (MOMENT if kind == kinds.MX_JOB else 0)


def test_servers_that_never_end_are_not_waited_for() -> None:
    world = world_of(kinds.TF_JOB, {"PS": 1, "Worker": 1})
    world.run_all()
    world.phase("j-worker-0", "Succeeded")
    assert world.conditions(kinds.TF_JOB)["Succeeded"][0] == "True"


def test_a_scheduler_waits_for_its_workers_as_long_as_they_take() -> None:
    world, leader, _ = shaped(kinds.MX_JOB)
    world.phase(leader, "Succeeded")
    world.phase("j-worker-0", "Succeeded")
    world.wait(600)
    assert "Succeeded" not in world.conditions(kinds.MX_JOB)
    world.phase("j-worker-1", "Succeeded")
    assert world.conditions(kinds.MX_JOB)["Succeeded"][0] == "True"


def test_a_scheduler_waits_no_longer_than_the_jobs_deadline() -> None:
    world, leader, _ = shaped(kinds.MX_JOB, policy={"activeDeadlineSeconds": 300})
    world.phase(leader, "Succeeded")
    world.wait(301)
    assert world.conditions(kinds.MX_JOB)["Failed"][0] == "True"


@pytest.mark.parametrize(
    ("restart", "code"), [("Never", 1), ("ExitCode", 137), ("OnFailure", 1)], ids=["never", "retryable", "in-place"]
)
def test_a_worker_that_fails_after_its_scheduler_has_left_fails_the_job(restart: str, code: int) -> None:
    """Nobody is left whom a restarted worker could meet."""
    world, leader, peer = shaped(kinds.MX_JOB, restart=restart)
    world.now += 10
    world.phase(leader, "Succeeded")
    world.phase("j-worker-0", "Succeeded")
    if restart == "OnFailure":
        world.now += 1
        world.phase(peer, "Running", restarts=1)
    else:
        world.phase(peer, "Failed", code=code)
    assert world.conditions(kinds.MX_JOB)["Failed"][0] == "True"
    assert "1 Worker replica(s) failed" in world.job(kinds.MX_JOB)["status"]["conditions"][-1]["message"]


def test_a_replica_that_is_restarted_for_ever_is_not_waited_for() -> None:
    world, leader, peer = shaped(PT, restart="Always")
    world.phase(leader, "Succeeded")
    assert world.conditions(PT)["Succeeded"][0] == "True"
    assert peer in world.pods()


def test_status_says_what_still_runs_when_pods_are_kept() -> None:
    world, leader, _ = shaped(kinds.TF_JOB)
    succeed(world, kinds.TF_JOB, leader)
    assert world.job(kinds.TF_JOB)["status"]["replicaStatuses"] == {"Chief": {"succeeded": 1}, "Worker": {"active": 2}}
    world.phase("j-worker-0", "Succeeded")
    assert world.job(kinds.TF_JOB)["status"]["replicaStatuses"]["Worker"] == {"active": 1, "succeeded": 1}


@pytest.mark.parametrize(("policy", "done"), [("", True), ("AllWorkers", False)])
def test_tf_success_policy(policy: str, done: bool) -> None:  # noqa: FBT001
    world = world_of(kinds.TF_JOB, {"Worker": 2}, successPolicy=policy)
    world.run_all()
    world.phase("j-worker-0", "Succeeded")
    world.wait(MOMENT)
    assert ("Succeeded" in world.conditions(kinds.TF_JOB)) is done
    world.phase("j-worker-1", "Succeeded")
    assert "Succeeded" in world.conditions(kinds.TF_JOB)


def test_tf_goes_on_without_a_dynamic_worker() -> None:
    world = world_of(kinds.TF_JOB, {"PS": 1, "Worker": 2}, enableDynamicWorker=True)
    world.run_all()
    world.phase("j-worker-1", "Failed")
    assert "Failed" not in world.conditions(kinds.TF_JOB)


def test_replica_types_may_be_written_in_any_case() -> None:
    world = world_of(kinds.TF_JOB, {"chief": 1, "PS": 1, "WORKER": 1})
    assert set(world.pods()) == {"j-chief-0", "j-ps-0", "j-worker-0"}
    assert set(world.job(kinds.TF_JOB)["status"]["replicaStatuses"]) == {"Chief", "PS", "Worker"}


def test_elastic_job_succeeds_with_any_worker_and_follows_its_size() -> None:
    elastic = {"minReplicas": 1, "maxReplicas": 4}
    world = world_of(PT, {"Worker": 2}, elasticPolicy=elastic)
    world.run_all()
    marks = world.pods()["j-worker-0"]["metadata"]["annotations"]
    assert marks["scheduling.jupyterlab-kf.io/replicas"] == "2"
    assert marks["scheduling.jupyterlab-kf.io/min-available"] == "1"
    workers = world.objects[("kubeflow.org", "pytorchjobs", "default", "j")]["spec"]["pytorchReplicaSpecs"]["Worker"]
    for size in (4, 1, 3):
        workers["replicas"] = size
        world.settle()
        world.run_all()
        assert list(world.pods()) == [f"j-worker-{n}" for n in range(size)]
        assert len(world.list(kinds.SERVICE)) == size
    world.phase("j-worker-2", "Succeeded")
    world.wait(MOMENT)
    assert "Succeeded" in world.conditions(PT)


def test_min_available_of_the_scheduling_policy() -> None:
    world = world_of(PT, {"Master": 1, "Worker": 3}, policy={"schedulingPolicy": {"minAvailable": 2, "queue": "q"}})
    marks = world.pods()["j-worker-0"]["metadata"]["annotations"]
    assert marks["scheduling.jupyterlab-kf.io/replicas"] == "4"
    assert marks["scheduling.jupyterlab-kf.io/min-available"] == "2"
    warned = [e.message for e in world.events if e.reason == "Unsupported"]
    assert warned == ["spec.runPolicy.schedulingPolicy.queue is not supported by this cluster and has no effect"]


def test_mpi_launcher_waits_for_all_workers() -> None:
    world = world_of(kinds.MPI_JOB, {"Launcher": 1, "Worker": 2})
    world.phase("j-worker-0", "Running")
    assert "j-launcher" not in world.pods()
    world.phase("j-worker-1", "Running")
    assert "j-launcher" in world.pods()
    assert world.pods()["j-worker-0"]["spec"]["containers"][0]["command"] == ["sleep"]
    config = world.get(kinds.CONFIG_MAP, "default", "j-config")
    assert config is not None
    assert config["data"]["discover_hosts.sh"] == "#!/bin/sh\necho j-worker-0:1\necho j-worker-1:1"


def test_mpi_without_workers_starts_its_launcher_at_once() -> None:
    assert "j-launcher" in world_of(kinds.MPI_JOB, {"Launcher": 1}).pods()


def test_a_name_that_another_has_is_said_and_waited_for() -> None:
    world = World(*training.CONTROLLERS)
    stranger = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "j-master-0"}, "spec": {"containers": []}}
    world.add(kinds.POD, stranger)
    world.add(PT, manifest(PT, {"Master": 1}))
    world.apply(world.decide())
    assert 'Error creating: pods "j-master-0" already exists' in [e.message for e in world.events]
    world.remove(kinds.POD, "j-master-0")
    world.settle()
    assert world.pods()["j-master-0"]["metadata"]["labels"]["training.kubeflow.org/job-name"] == "j"


def test_an_invalid_job_that_is_stored_fails_with_a_reason() -> None:
    world = World(*training.CONTROLLERS)
    job = manifest(PT, {"Master": 2})
    world.add(PT, job)
    world.settle()
    assert world.conditions(PT)["Failed"] == ("True", "PyTorchJobFailedValidation")
    assert world.events[0].message == (
        "PyTorchJob failed validation because spec.pytorchReplicaSpecs[Master].replicas: Forbidden: must be 1"
    )
    assert not world.pods()


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        (
            PT,
            lambda spec: spec["pytorchReplicaSpecs"].update(Chief=spec["pytorchReplicaSpecs"]["Worker"]),
            'spec.pytorchReplicaSpecs[Chief]: Unsupported value: "Chief": supported values: "Master", "Worker"',
        ),
        (
            PT,
            lambda spec: spec["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]["containers"][0].pop("image"),
            "spec.pytorchReplicaSpecs[Worker].template.spec.containers[0].image: Required value: must be required",
        ),
        (
            PT,
            lambda spec: spec.update(nprocPerNode="2", elasticPolicy={"nProcPerNode": 2}),
            "spec.elasticPolicy.nProcPerNode: Forbidden: must not be used with spec.nprocPerNode",
        ),
        (
            kinds.TF_JOB,
            lambda spec: spec["tfReplicaSpecs"].update(Master=spec["tfReplicaSpecs"]["Chief"]),
            "spec.tfReplicaSpecs: Forbidden: must not have more than 1 Chief or Master role",
        ),
        (
            kinds.TF_JOB,
            lambda spec: spec["tfReplicaSpecs"]["Chief"]["template"]["spec"]["containers"][0].update(name="tf"),
            (
                "spec.tfReplicaSpecs[Chief].template.spec.containers: Required value: "
                "must have at least one container with name tensorflow"
            ),
        ),
        (
            kinds.TF_JOB,
            lambda spec: spec.update(runPolicy={"managedBy": "me"}),
            (
                'spec.runPolicy.managedBy: Unsupported value: "me": supported values: '
                '"kubeflow.org/training-operator", "kueue.x-k8s.io/multikueue"'
            ),
        ),
        (
            kinds.MPI_JOB,
            lambda spec: spec["mpiReplicaSpecs"].pop("Launcher"),
            "spec.mpiReplicaSpecs: Invalid value: MPIReplicaSpec is not valid: Master ReplicaSpec must be present",
        ),
        (
            kinds.MX_JOB,
            lambda spec: spec.pop("mxReplicaSpecs"),
            "spec.mxReplicaSpecs: Required value: must be required",
        ),
    ],
)
def test_admission(kind: Kind, change: Any, said: str) -> None:
    job = manifest(kind, SHAPES[kind][0])
    assert training.validate(kind, job) == []
    change(job["spec"])
    assert training.aggregate(training.validate(kind, job)) == said


def test_denial_is_worded_as_the_api_server_words_it() -> None:
    assert training.denial(PT, manifest(PT, {"Master": 1})) == ""
    assert training.denial(kinds.POD, {}) == ""
    assert training.denial(PT, manifest(PT, {"Master": 2})) == (
        'admission webhook "validator.pytorchjob.training-operator.kubeflow.org" denied the request: '
        "spec.pytorchReplicaSpecs[Master].replicas: Forbidden: must be 1"
    )


def test_admission_of_a_name_and_of_two_faults_at_once() -> None:
    job = manifest(PT, {"Master": 3})
    job["metadata"]["name"] = "1st"
    text = training.aggregate(training.validate(PT, job))
    assert text.startswith('[metadata.name: Invalid value: "1st": should match: a DNS-1035 label must consist of')
    assert text.endswith(", spec.pytorchReplicaSpecs[Master].replicas: Forbidden: must be 1]")


@pytest.mark.parametrize("kind", [*SHAPES, kinds.MPI_JOB_V2], ids=lambda k: f"{k.kind}-{k.version}")
@pytest.mark.parametrize("count", [-1, 2_000_000_000])
def test_a_number_of_replicas_that_no_machine_has_is_refused(kind: Kind, count: int) -> None:
    counts = SHAPES[kinds.MPI_JOB if kind == kinds.MPI_JOB_V2 else kind][0]
    job = manifest(kind, {**counts, "Worker": count})
    assert "[Worker].replicas: " in training.aggregate(training.validate(kind, job))


def test_only_the_two_kinds_with_a_webhook_are_denied_by_one() -> None:
    job = manifest(kinds.MX_JOB, {"Scheduler": -1})
    assert training.denial(kinds.MX_JOB, job) == ""
    assert training.validate(kinds.MX_JOB, job)
