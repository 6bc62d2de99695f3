"""Submitting, looking and fetching, against a remembering stand-in for the client."""

from __future__ import annotations

import base64
import copy
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from jupyterlab_kf import kinds, names
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import (
    AlreadyExistsError,
    ClusterError,
    ForbiddenError,
    InvalidError,
    KubeflowError,
    NotFoundError,
    UnreachableError,
    UsageError,
)
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import training as manifests
from jupyterlab_kf.model import LogLine, Obj, Phase, labels
from jupyterlab_kf.services import downloads, feed, jobs, plans, training

NODE = {"metadata": {"name": "node"}, "status": {"allocatable": {"cpu": "2", "memory": "8Gi"}}}


Objects = list[Obj]
Lines = list[str]


class Api:
    """A few objects by kind and name, a journal, and failures to raise at chosen calls."""

    def __init__(self, *, served: tuple[Kind, ...] = kinds.TRAINING) -> None:
        self.objects: dict[tuple[str, str], Obj] = {}
        self.journal: list[str] = []
        self.failures: dict[str, list[Exception]] = {}
        self.served = served
        self.nodes: Objects = [NODE]
        self.count = 0
        self.output: Lines = []

    def fail(self, call: str, *errors: Exception) -> None:
        self.failures.setdefault(call, []).extend(errors)

    def _enter(self, call: str) -> None:
        self.journal.append(call)
        if self.failures.get(call):
            raise self.failures[call].pop(0)

    async def serves(self, kind: Kind) -> bool:
        return kind in self.served

    async def get(self, kind: Kind, _namespace: str, name: str) -> Obj:
        found = self.objects.get((kind.kind, name))
        if found is None or (kind.custom and kind not in self.served):
            raise NotFoundError(f"{kind.plural} {name!r} not found")
        return copy.deepcopy(found)

    async def list(self, kind: Kind, _namespace: str | None = None, *, selector: str = "", **_more: Any) -> Objects:
        if kind is kinds.NODE:
            self._enter("list nodes")
            return self.nodes
        key, _, value = selector.partition("=")
        found = [obj for (name, _), obj in self.objects.items() if name == kind.kind]
        return [obj for obj in found if not key or labels(obj).get(key) == value]

    async def create(self, kind: Kind, obj: Obj, *, namespace: str = "") -> Obj:
        self._enter(f"create {kind.kind}")
        key = (kind.kind, obj["metadata"]["name"])
        if key in self.objects:
            raise AlreadyExistsError(f"{key} exists")
        self.count += 1
        made = copy.deepcopy(obj)
        made["metadata"] |= {"uid": f"u{self.count}", "namespace": namespace}
        made["metadata"].setdefault("creationTimestamp", "2026-11-23T10:00:00Z")
        self.objects[key] = made
        return copy.deepcopy(made)

    async def patch(self, kind: Kind, _namespace: str, name: str, body: Obj) -> Obj:
        self._enter(f"patch {kind.kind}")
        self.objects[kind.kind, name]["metadata"] |= body["metadata"]
        return self.objects[kind.kind, name]

    async def delete(self, kind: Kind, _namespace: str, name: str, *, uid: str = "", **_more: Any) -> bool:
        self._enter(f"delete {kind.kind}")
        found = self.objects.get((kind.kind, name))
        if found is None:
            return False
        assert not uid or found["metadata"]["uid"] == uid
        del self.objects[kind.kind, name]
        return True

    async def logs(self, _namespace: str, pod: str, **_more: Any) -> AsyncIterator[str]:
        for line in self.answer(self.objects["Pod", pod]["spec"]["containers"][0]["command"]):
            yield line

    def answer(self, command: Lines) -> Lines:  # noqa: ARG002  what the readers of results look at
        return self.output


def client(api: Api) -> Client:
    return cast("Client", api)


def plan(tmp_path: Path, framework: str = "pytorch", submission: str = "a" * 12, **more: Any) -> plans.Plan:
    more.setdefault("name", "digits")
    request = plans.Request(code="print(1)\n", framework=framework, root=tmp_path, **more)
    return plans.make(request, namespace="n", submission=submission)


async def test_what_the_job_needs_comes_first_and_then_belongs_to_it(tmp_path: Path) -> None:
    api = Api()
    job = await training.submit(client(api), plan(tmp_path, output="out"))
    assert [entry for entry in api.journal if entry.startswith("create")] == [
        "create ConfigMap",
        "create PersistentVolumeClaim",
        "create PyTorchJob",
    ]
    for kind in ("ConfigMap", "PersistentVolumeClaim"):
        (made,) = (obj for (name, _), obj in api.objects.items() if name == kind)
        (owner,) = made["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (job["metadata"]["uid"], False)


@pytest.mark.parametrize("error", [InvalidError("no"), UnreachableError("gone"), ForbiddenError("no")])
async def test_nothing_is_left_when_the_job_is_refused(error: KubeflowError, tmp_path: Path) -> None:
    api = Api()
    api.fail("create PyTorchJob", error)
    with pytest.raises(type(error)):
        await training.submit(client(api), plan(tmp_path, output="out"))
    assert api.objects == {}


async def test_what_another_submission_made_is_left_alone_when_ours_is_taken_back(tmp_path: Path) -> None:
    api = Api()
    api.fail("create PyTorchJob", InvalidError("no"))
    other = plan(tmp_path, submission="a" * 6 + "b" * 6)
    kept = {**other.manifests[0], "metadata": {**other.manifests[0]["metadata"], "uid": "other"}}
    api.objects["ConfigMap", kept["metadata"]["name"]] = kept
    with pytest.raises(AlreadyExistsError):
        await training.submit(client(api), plan(tmp_path))
    assert list(api.objects.values()) == [kept]


async def test_a_taken_name_is_refused_whatever_kind_has_it(tmp_path: Path) -> None:
    api = Api()
    await training.submit(client(api), plan(tmp_path, "tensorflow"))
    before = dict(api.objects)
    with pytest.raises(AlreadyExistsError, match=r"TFJob n/digits exists\n.*--replace"):
        await training.submit(client(api), plan(tmp_path, submission="b" * 12))
    assert api.objects == before


async def test_replacing_deletes_the_old_job_by_its_uid_first(tmp_path: Path) -> None:
    api = Api()
    first = await training.submit(client(api), plan(tmp_path, "tensorflow"))
    second = await training.submit(client(api), plan(tmp_path, submission="b" * 12, replace=True))
    assert second["metadata"]["uid"] != first["metadata"]["uid"]
    assert api.journal.index("delete TFJob") < api.journal.index("create PyTorchJob")
    assert ("TFJob", "digits") not in api.objects


async def test_the_version_of_mpijob_is_the_clusters(tmp_path: Path) -> None:
    api = Api(served=(kinds.MPI_JOB_V2, kinds.TF_JOB))
    job = await training.submit(client(api), plan(tmp_path, "mpi"))
    assert job["apiVersion"] == "kubeflow.org/v2beta1"
    with pytest.raises(ClusterError, match="no PyTorchJob: nothing there runs PyTorch jobs"):
        await training.submit(client(api), plan(tmp_path, name="other"))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"cpu": 4}, "each master asks for 4 CPUs, but the largest machine of this cluster has 2 CPUs"),
        ({"memory": "16Gi"}, "16 GiB of memory, but the largest machine of this cluster has 8 GiB"),
        ({"gpu": 1}, "asks for 1 GPU, but the largest machine of this cluster has 0 GPUs"),
    ],
)
async def test_what_no_machine_could_give_is_refused(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    api = Api()
    with pytest.raises(UsageError, match=message):
        await training.submit(client(api), plan(tmp_path, **more))
    assert api.objects == {}


async def test_machines_that_may_not_be_seen_are_not_judged(tmp_path: Path) -> None:
    api = Api()
    api.fail("list nodes", ForbiddenError("no"))
    assert await training.submit(client(api), plan(tmp_path, cpu=64))


async def test_two_machines_that_have_half_each_are_not_enough(tmp_path: Path) -> None:
    api = Api()
    api.nodes = [
        {"status": {"allocatable": {"cpu": "8", "memory": "1Gi"}}},
        {"status": {"allocatable": {"cpu": "1", "memory": "64Gi"}}},
    ]
    with pytest.raises(UsageError, match="no single machine"):
        await training.submit(client(api), plan(tmp_path, cpu=4, memory="4Gi"))


async def test_a_namespace_that_is_not_there_is_named(tmp_path: Path) -> None:
    api = Api()
    api.fail("create ConfigMap", NotFoundError('namespaces "n" not found', details={"kind": "namespaces"}))
    with pytest.raises(NotFoundError, match="there is no namespace 'n'"):
        await training.submit(client(api), plan(tmp_path))


async def test_what_a_killed_submit_left_is_swept_by_the_next_of_that_name(tmp_path: Path) -> None:
    api = Api()
    old = {names.LABEL_JOB: "digits"}
    for name, born in (("left", "2026-11-23T09:00:00Z"), ("young", "2026-11-23T09:59:00Z")):
        head = {"name": name, "uid": name, "labels": old, "creationTimestamp": born}
        api.objects["ConfigMap", name] = {"kind": "ConfigMap", "metadata": head}
    await training.submit(client(api), plan(tmp_path))
    assert ("ConfigMap", "left") not in api.objects
    assert ("ConfigMap", "young") in api.objects


def test_a_plan_can_be_said_in_three_ways(tmp_path: Path) -> None:
    made = plan(tmp_path, "torch", workers=2, params={"lr": 0.1}, env={"A": "b c"}, args=["--x", "1"], output="out")
    assert made.magic() == (
        "%%kf_train pytorch -n 2 --name digits --env 'A=b c' --param lr=0.1 --output out --args --x 1\nprint(1)\n"
    )
    assert "kf.train(\n    'print(1)\\n',\n    'pytorch',\n    workers=2," in made.python()
    assert "ConfigMap digits-code-aaaaaa" in made.summary
    assert made.yaml().count("---\n") == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"args": "--x 1"}, "args is one text"),
        ({"files": "a.py"}, "files is one path"),
        ({"image": "a b"}, "not an image's name"),
        ({"output": " "}, "output is empty"),
        ({"name": "Digits!"}, "for example 'digits'"),
        ({"params": {"model": object()}}, "parameter model"),
        ({"params": {"big": "x" * 2_000_000}}, "KiB fit"),
    ],
)
def test_requests_that_cannot_be_planned(more: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        plan(tmp_path, **more)


def test_the_commit_is_read_from_gits_own_files(tmp_path: Path) -> None:
    (tmp_path / ".git" / "refs" / "heads").mkdir(parents=True)
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (tmp_path / ".git" / "packed-refs").write_text("# x\nabc refs/heads/main\n")
    (tmp_path / "deep").mkdir()
    assert plans.git_commit(tmp_path / "deep") == "abc"
    (tmp_path / ".git" / "refs" / "heads" / "main").write_text("def\n")
    assert plans.git_commit(tmp_path) == "def"


# Looking


def test_a_log_that_is_read_again_repeats_nothing_and_loses_nothing() -> None:
    place = feed._Place()
    assert [place.is_new(time) for time in (1.0, 1.0, 2.0, 2.0)] == [True] * 4
    place.resume()
    assert [place.is_new(time) for time in (2.0, 2.0, 2.0, 3.0)] == [False, False, True, True]


def test_replicas_that_were_cleaned_up_keep_what_they_said_last(tmp_path: Path) -> None:
    job = copy.deepcopy(plan(tmp_path, workers=2).job)
    job["metadata"]["uid"] = "u1"
    pod = {
        "metadata": {
            "name": "digits-master-0",
            "uid": "p1",
            "labels": {manifests.LABEL_ROLE: "master", manifests.LABEL_INDEX: "0"},
        },
        "status": {
            "phase": "Running",
            "containerStatuses": [{"name": "pytorch", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}],
        },
    }
    picture = feed.Picture(job, gone={"p1": pod})
    assert picture.replicas[0].phase == "Waiting"
    picture.job = {**job, "status": {"conditions": [{"type": "Failed", "status": "True"}]}}
    assert (picture.replicas[0].phase, picture.replicas[0].exit_code) == ("Ended", 1)
    picture.take(LogLine("master-0", "loss=0.5 epoch=1/2", 1.0))
    view = picture.view()
    assert view.status.phase is Phase.FAILED
    assert view.metrics["loss"]["master-0"][0].value == 0.5
    assert view.explanation is not None
    assert view.explanation.replica == "master-0"


async def test_jobs_of_a_kind_that_is_served_twice_are_listed_once(tmp_path: Path) -> None:
    api = Api()
    await training.submit(client(api), plan(tmp_path, "mpi"))
    assert [obj["kind"] for obj in await jobs.list_all(client(api), "n")] == ["MPIJob"]


# Fetching


class Reader(Api):
    """Answers as the pods that read results do."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content

    async def get(self, kind: Kind, namespace: str, name: str) -> Obj:
        found = await super().get(kind, namespace, name)
        return {**found, "status": {"phase": "Succeeded"}} if kind is kinds.POD else found

    def answer(self, command: Lines) -> Lines:
        if "list" in command:
            return ['kf-file {"path": "a", "size": 1, "sha256": "x"}', "kf-end"]
        offset, limit = int(command[-3]), int(command[-1])
        part = self.content[offset : offset + limit]
        end = {
            "total": len(self.content),
            "sha256": hashlib.sha256(self.content).hexdigest(),
            "part": hashlib.sha256(part).hexdigest(),
        }
        return [f"kf-data {base64.b64encode(part).decode()}", f"kf-end {json.dumps(end)}"]


def packed(files: dict[str, bytes]) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return gzip.compress(raw.getvalue())


async def test_results_come_back_in_slices_and_no_pod_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "CHUNK", 50)
    api = Reader(packed({"score.txt": b"0.97", "sub/model.bin": bytes(range(256))}))
    job = await training.submit(client(api), plan(tmp_path, output="out"))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "score.txt").write_text("old")
    paths = await downloads.fetch(client(api), job, tmp_path / "out")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in paths] == ["score.txt", "sub/model.bin"]
    assert (tmp_path / "out" / "score.txt").read_text() == "0.97"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["score.txt", "sub"]
    assert [str(file) for file in await downloads.listing(client(api), job)] == ["a"]
    assert not any(kind == "Pod" for kind, _ in api.objects)


async def test_results_that_arrive_damaged_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = Reader(packed({"a": b"1"}))
    job = await training.submit(client(api), plan(tmp_path, output="out"))
    api.output = ["kf-data QUJD", 'kf-end {"total": 3, "sha256": "x", "part": "y"}']
    monkeypatch.setattr(api, "answer", lambda _command: api.output)
    with pytest.raises(KubeflowError, match="damaged"):
        await downloads.fetch(client(api), job, tmp_path / "out")
    api.output = ["Traceback"]
    with pytest.raises(KubeflowError, match="did not arrive"):
        await downloads.fetch(client(api), job, tmp_path / "out")
    assert not (tmp_path / "out").exists()


async def test_a_job_without_an_output_folder_says_so(tmp_path: Path) -> None:
    api = Reader(b"")
    job = await training.submit(client(api), plan(tmp_path))
    with pytest.raises(UsageError, match="has no output folder"):
        await downloads.listing(client(api), job)
