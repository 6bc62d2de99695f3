"""What training jobs become as manifests, and what any training job's object says."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from jupyterlab_kf import kinds
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests import errands, frameworks, pods, training
from jupyterlab_kf.manifests.training import TrainingSpec
from jupyterlab_kf.model import Phase
from jupyterlab_kf.profiles import choose, read

GOLDEN = Path(__file__).parents[1] / "golden" / "manifests"


def spec(
    framework: str, *, workers: int | None = None, replicas: dict[str, int] | None = None, **more: Any
) -> TrainingSpec:
    row = frameworks.framework(framework)
    more.setdefault("name", "digits")
    return training.check(
        TrainingSpec(
            namespace="team-a",
            framework=row,
            replicas=frameworks.layout(row, workers=workers, replicas=replicas, elastic=more.get("elastic")),
            submission="0123456789ab",
            image=more.pop("image", row.image),
            **more,
        )
    )


FULL: dict[str, Any] = {
    "resources": pods.resources("2", "4Gi", 1),
    "env": {"DATA": "/data", "PATTERN": "$(HOME)/$$x"},
    "output": True,
    "deadline": 3600,
    "provenance": {"code": "abc"},
}
BIG = choose(
    read(
        """
profiles:
  - slug: big
    images: [team/mpi:1]
    cpu: {request: 1, limit: 2}
    memory: 4Gi
    gpus: 1
    shared_memory: 1Gi
    node_selector: {pool: gpu}
    tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
    environment: {OMP_NUM_THREADS: 8, DATA: /data}
    volumes: [{name: data, mount_path: /data, claim: team-data, read_only: true}]
"""
    ).profiles[0]
)
CASES = {
    "pytorch": spec("pytorch", workers=3, nproc=2, ttl=60, **FULL),
    "pytorch-elastic": spec("torch", workers=2, elastic=(1, 4)),
    "tensorflow": spec("tf", replicas={"chief": 1, "ps": 1, "worker": 2, "evaluator": 1}, ttl=60, **FULL),
    "tensorflow-workers": spec("tf", workers=2),
    "mpi": spec("mpi", workers=2, nproc=2, ttl=60, **FULL),
    "mpi-v2beta1": spec("mpi", workers=2, kind=kinds.MPI_JOB_V2),
    "mxnet": spec("mxnet", workers=2, ttl=60, **FULL),
    "chainer": spec("chainer", workers=3, **FULL),
    "pytorch-volumes": spec("pytorch", workers=2, volumes=pods.mounts(["data", "models:/models:ro", "data:/again"])),
    "pytorch-results": spec(
        "pytorch", workers=2, volumes=pods.mounts(["data:/data"]), output=True, output_claim="data"
    ),
    "pytorch-shelf": spec("pytorch", workers=2, volumes=pods.mounts(["data"]), shelf="data", archive="0" * 64),
    "pytorch-pieces": spec("pytorch", workers=2, code_pieces=3),
    "mpi-profile": spec("mpi", workers=2, image="team/mpi:1", env={"OMP_NUM_THREADS": "2"}, hardware=BIG),
}


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    one = CASES[case]
    parts = [b""] if one.shelf else [b"packed", b" in ", b"pieces"][: one.code_pieces]
    documents = training.code_maps(one, {"launch.py": "# the launcher\n"}, parts)
    documents += [training.output_claim(one)] if one.output and not one.output_claim else []
    documents.append(training.encode(one))
    if one.shelf:
        keeper = errands.keeper(
            documents[-1], "digits-store", "1", claim=one.shelf, digest=one.archive, config_maps=["a", "b"]
        )
        documents.append(keeper)
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("KF_UPDATE_GOLDEN") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump_all(documents, sort_keys=False, width=120))
    assert list(yaml.load_all(path.read_text(), yaml.CSafeLoader)) == documents


@pytest.mark.parametrize("case", CASES)
def test_pods_are_what_pod_security_calls_restricted(case: str) -> None:
    for template in training.templates(training.encode(CASES[case])).values():
        pod = template["spec"]
        if case == "mpi-v2beta1":  # its workers are sshd, which root starts
            assert "securityContext" not in pod
            continue
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("case", CASES)
def test_the_command_is_constant_and_the_policy_is_written(case: str) -> None:
    job = training.encode(CASES[case])
    commands = [
        container.get("command")
        for template in training.templates(job).values()
        for container in template["spec"]["containers"]
    ]
    assert {tuple(command) for command in commands if command} <= {training.RUN, training.MPIRUN}
    if case != "chainer":
        assert job["spec"]["runPolicy"]["cleanPodPolicy"] == "Running"
        expected = {"pytorch-elastic": 3, "mpi-v2beta1": 0}.get(case)
        assert job["spec"]["runPolicy"].get("backoffLimit") == expected


def test_volumes_are_said_in_one_word() -> None:
    first, second, third = pods.mounts(["team-data", "models.v2:/models/:ro", "scratch:rw"])
    assert (str(first), first.variable) == ("team-data:/mnt/team-data", "KF_VOLUME_TEAM_DATA")
    assert (str(second), second.variable) == ("models.v2:/models:ro", "KF_VOLUME_MODELS_V2")
    assert str(third) == "scratch:/mnt/scratch"
    assert training.mounts_of(training.encode(CASES["pytorch-volumes"])) == CASES["pytorch-volumes"].volumes


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["Data"], "'Data' is not a volume"),
        (["data:mnt"], "'data:mnt' is not a volume"),
        (["data:/a:/b"], "is not a volume"),
        (["data:/a:readonly"], "is not a volume"),
        (["data:/"], "cannot be mounted at /"),
        (["data:/kf/code"], "cannot be mounted at /kf/code"),
        (["data:/a/../kf"], "cannot be mounted at"),
        (["a:/x", "b:/x/"], "two volumes would be mounted at /x"),
    ],
)
def test_volumes_that_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pods.mounts(words)


@pytest.mark.parametrize(("size", "count"), [(1024, 1), (899 * 1024, 1), (900 * 1024, 2), (8 * 1024 * 1024, 10)])
def test_code_goes_into_as_many_config_maps_as_it_needs(size: int, count: int) -> None:
    texts = {"job.json": "ü" * 512}
    archive = bytes(range(256)) * (size // 256)
    parts = training.pieces(texts, archive)
    assert len(parts) == count
    assert b"".join(parts) == archive
    made = training.code_maps(spec("pytorch", code_pieces=count), texts, parts)
    assert len({one["metadata"]["name"] for one in made}) == count
    keys = [key for one in made for key in one["binaryData"]]
    assert keys == sorted(keys), "put together in the order of their names"
    assert all(1024 + len(part) <= training.MAP_LIMIT for part in parts[:1])
    assert all(len(part) <= training.MAP_LIMIT for part in parts)


def test_layouts() -> None:
    def layout(name: str, **more: Any) -> dict[str, int]:
        return frameworks.layout(frameworks.framework(name), **more)

    assert layout("pytorch") == {"master": 1}
    assert layout("pytorch", workers=3) == {"master": 1, "worker": 2}
    assert layout("pytorch", workers=2, elastic=(1, 3)) == {"worker": 2}
    assert layout("tensorflow", workers=2) == {"worker": 2}
    assert layout("tensorflow", replicas={"ps": 1, "chief": 1}, workers=2) == {"chief": 1, "ps": 1, "worker": 2}
    assert layout("mpi", workers=2) == {"launcher": 1, "worker": 2}
    assert layout("mxnet", workers=2) == {"scheduler": 1, "server": 1, "worker": 2}
    assert layout("chainer", workers=3) == {"master": 1, "worker": 2}
    assert layout("chainer", workers=1) == {"master": 1}


@pytest.mark.parametrize(
    ("framework", "more", "message"),
    [
        ("pytorch", {"workers": 0}, "workers is 0; it must be 1 or more"),
        ("pytorch", {"workers": -2}, "workers is -2"),
        ("pytorch", {"workers": True}, "must be a whole number"),
        ("pytorch", {"replicas": {"master": 2}}, "at most 1 master"),
        ("pytorch", {"replicas": {"wroker": 2}}, "did you mean 'worker'"),
        ("pytorch", {"replicas": {"worker": 0}}, "worker is 0"),
        ("pytorch", {"replicas": {"worker": 2}, "workers": 2}, "give one of the two"),
        ("tensorflow", {"replicas": {"ps": 1}}, "nothing would train"),
        ("tensorflow", {"replicas": {"chief": 1, "master": 1}}, "not both"),
        ("mpi", {"replicas": {"chief": 1}}, "MPI has no role 'chief'"),
        ("mpi", {"workers": 2, "elastic": (1, 2)}, "only PyTorch jobs can be elastic"),
        ("pytorch", {"workers": 5, "elastic": (1, 4)}, "outside the elastic range"),
        ("pytorch", {"elastic": (3, 2)}, "must not be the smaller"),
    ],
)
def test_refused_layouts(framework: str, more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        frameworks.layout(frameworks.framework(framework), **more)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"name": "Digits"}, "not one that Kubernetes accepts"),
        ({"name": "x" * 60}, "has 60 characters"),
        ({"nproc": 0}, "nproc is 0"),
        ({"retries": -1}, "retries is -1"),
        ({"deadline": 0}, "deadline is 0"),
        ({"restart": "onfailure"}, "did you mean|choose of"),
        ({"clean": "all"}, "choose of"),
        ({"env": {"1X": "a"}}, "cannot be the name of an environment variable"),
        ({"env": {"X": 3}}, "not text"),
    ],
)
def test_refused_fields(more: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        spec("pytorch", **more)


def test_unknown_framework_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'pytorch'"):
        frameworks.framework("pytroch")
    assert frameworks.framework("TFJob").name == "tensorflow"


@pytest.mark.parametrize(
    ("cpu", "memory", "gpu", "message"),
    [
        ("two", None, None, "not a quantity for cpu"),
        (0, None, None, "more than zero"),
        (None, "4GB", None, "not a quantity for memory"),
        (None, 4, None, "less than a megabyte"),
        (None, None, -1, "whole number of devices"),
    ],
)
def test_refused_resources(cpu: Any, memory: Any, gpu: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pods.resources(cpu, memory, gpu)


def test_resources_are_written_as_given() -> None:
    assert pods.resources(0.5, "1Gi", 2).as_mapping() == {"cpu": "0.5", "memory": "1Gi", pods.GPU: "2"}
    assert pods.resources(None, None, None).as_mapping() == {}


def _expand(text: str) -> str:
    """Kubernetes' own expansion, with no variable known."""
    done, place = "", 0
    while place < len(text):
        if text[place] == "$" and text[place + 1 : place + 2] == "$":
            done, place = done + "$", place + 2
            continue
        done, place = done + text[place], place + 1
    return done


@pytest.mark.parametrize("value", ["$(HOME)", "$$(HOME)", "$$x", "a$", "$$$", "$HOME", "`id`", "plain", "$$$(x)$"])
def test_environment_values_survive_expansion(value: str) -> None:
    written = pods.environment({"X": value})[0]["value"]
    assert _expand(written) == value
    assert "$(" not in written.replace("$$", "")


def job(kind: str, conditions: list[tuple[str, str]], **more: Any) -> dict[str, Any]:
    one = training.encode(spec("pytorch", workers=2))
    return {
        **one,
        "kind": kind,
        "metadata": {**one["metadata"], "uid": "u1"},
        "status": {"conditions": [{"type": t, "status": s} for t, s in conditions], **more},
    }


@pytest.mark.parametrize(
    ("conditions", "phase"),
    [
        ([], Phase.PENDING),
        ([("Created", "True")], Phase.PENDING),
        ([("Created", "True"), ("Running", "True")], Phase.RUNNING),
        ([("Created", "True"), ("Restarting", "True")], Phase.RESTARTING),
        ([("Running", "False"), ("Succeeded", "True")], Phase.SUCCEEDED),
        ([("Running", "False"), ("Failed", "True")], Phase.FAILED),
        ([("Running", "False"), ("Suspended", "True")], Phase.SUSPENDED),
        ([("Suspended", "False"), ("Running", "True")], Phase.RUNNING),
    ],
)
def test_phases(conditions: list[tuple[str, str]], phase: Phase) -> None:
    assert training.decode(job("PyTorchJob", conditions)).phase is phase


def test_a_chainer_job_speaks_of_its_master() -> None:
    one = training.encode(CASES["chainer"])
    assert training.decode({**one, "status": {"active": 1}}).phase is Phase.RUNNING
    ended = {**one, "status": {"conditions": [{"type": "Complete", "status": "True"}], "succeeded": 1}}
    assert training.decode(ended).phase is Phase.SUCCEEDED
    assert training.counts(one) == {"master": 1, "worker": 2}
    assert training.pod_selector(one) == "chainerjob.kubeflow.org/name=digits"


def pod(
    role: str, index: int, *, created: str = "2026-11-23T10:00:00Z", owner: str = "u1", **status: Any
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": f"digits-{role}-{index}",
            "uid": f"{role}{index}{created}",
            "creationTimestamp": created,
            "labels": {training.LABEL_ROLE: role, training.LABEL_INDEX: str(index)},
            "ownerReferences": [{"kind": "PyTorchJob", "uid": owner, "controller": True}],
        },
        "spec": {"nodeName": "here"},
        "status": status,
    }


def test_replicas_in_the_manifests_order_with_those_that_wait() -> None:
    ended = {"name": "pytorch", "restartCount": 1, "state": {"terminated": {"exitCode": 3, "reason": "Error"}}}
    found = training.replicas(
        job("PyTorchJob", []),
        [pod("worker", 0, phase="Failed", containerStatuses=[ended]), pod("worker", 0, owner="other")],
    )
    assert [(one.name, one.phase, one.exit_code, one.restarts) for one in found] == [
        ("master-0", "Waiting", None, 0),
        ("worker-0", "Failed", 3, 1),
    ]


@pytest.mark.parametrize(("end", "phase"), [("Succeeded", "Succeeded"), ("Failed", "Ended"), ("Running", "Failed")])
def test_what_cleaning_up_killed_did_not_fail_by_itself(end: str, phase: str) -> None:
    killed = {"name": "pytorch", "state": {"terminated": {"exitCode": 137, "reason": "Error"}}}
    going = pod("worker", 0, phase="Failed", containerStatuses=[killed])
    going["metadata"]["deletionTimestamp"] = "2026-11-23T10:01:00Z"
    found = training.replicas(job("PyTorchJob", [(end, "True")]), [going])
    assert found[1].phase == phase


def test_the_newest_pod_of_a_place_counts_and_earlier_ones_are_restarts() -> None:
    found = training.replicas(
        job("PyTorchJob", []),
        [
            pod("master", 0, created="2026-11-23T10:00:05Z", phase="Running"),
            pod("master", 0, created="2026-11-23T10:00:00Z", phase="Failed"),
        ],
    )
    assert (found[0].phase, found[0].restarts) == ("Running", 1)


def test_the_reader_pod_belongs_to_the_job_and_mounts_its_volume() -> None:
    made = {**training.encode(CASES["mpi"])}
    made["metadata"] = {**made["metadata"], "uid": "u9"}
    reader = errands.reader(made, "digits-reader-1", "1", ["list"])
    assert reader["metadata"]["ownerReferences"][0]["uid"] == "u9"
    assert reader["spec"]["containers"][0]["command"] == ["python3", training.LAUNCH, "list"]
    given = reader["spec"]["containers"][0]["resources"]
    assert {*given["requests"]} == {*given["limits"]} == {"cpu", "memory"}, "a quota refuses a pod that does not say"
    output = training.output_of(made)
    assert output is not None
    assert (output.claim, output.folder) == (CASES["mpi"].output_name, "")


@pytest.mark.parametrize(
    ("asked", "policy", "limit"),
    [
        ({}, "Never", None),
        ({"retries": 2}, "OnFailure", 2),
        ({"restart": "ExitCode"}, "ExitCode", 3),
        ({"restart": "ExitCode", "retries": 1}, "ExitCode", 1),
        ({"restart": "Never"}, "Never", None),
    ],
)
def test_nothing_is_restarted_unless_restarts_are_asked_for(
    asked: dict[str, Any], policy: str, limit: int | None
) -> None:
    job = training.encode(spec("pytorch", **asked))
    # With a limit of 0 the training operator deletes failed pods at once, and their logs.
    assert job["spec"]["runPolicy"].get("backoffLimit") == limit
    assert {role["restartPolicy"] for role in job["spec"]["pytorchReplicaSpecs"].values()} == {policy}
