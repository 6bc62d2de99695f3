"""Submitting, looking and fetching, against a remembering stand-in for the client."""

from __future__ import annotations

import base64
import copy
import dataclasses
import hashlib
import inspect
import json
import random
import zlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
from watch_world import in_no_time

import jupyterlab_kf as kf
from jupyterlab_kf import kinds, names
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import (
    AlreadyExistsError,
    BundleError,
    ClusterError,
    ForbiddenError,
    InvalidError,
    KubeflowError,
    NotFoundError,
    UnreachableError,
    UsageError,
    WaitTimeoutError,
)
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import errands
from jupyterlab_kf.manifests import training as manifests
from jupyterlab_kf.model import LogLine, Obj, Phase, labels
from jupyterlab_kf.runtime import launch
from jupyterlab_kf.services import downloads, jobs, logs, pictures, plans, storage, training

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
        self.storage_class = "standard"

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
        self._enter(f"list {kind.kind}")
        key, _, value = selector.partition("=")
        found = [obj for (name, _), obj in self.objects.items() if name == kind.kind]
        return [obj for obj in found if not key or labels(obj).get(key) == value]

    async def create(self, kind: Kind, obj: Obj, *, namespace: str = "", dry_run: bool = False) -> Obj:
        if dry_run:
            self._enter(f"try {kind.kind}")
            filled = {"storageClassName": self.storage_class} if self.storage_class else {}
            return {**obj, "spec": {**obj["spec"], **filled}}
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


async def test_a_claim_that_does_not_exist_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    api = Api()
    for name in ("data", "models"):
        claim = {"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"]}}
        api.objects["PersistentVolumeClaim", name] = claim
    with pytest.raises(UsageError) as caught:
        await training.submit(client(api), plan(tmp_path, volumes=["date"]))
    assert caught.value.message == "there is no volume claim 'date' in namespace n"
    assert caught.value.hint == "did you mean 'data'? there are data, models"
    assert not [entry for entry in api.journal if entry.startswith("create")]
    job = await training.submit(client(api), plan(tmp_path, volumes=["data:/data:ro"], workers=2))
    for role in ("master", "worker"):
        spec, main = manifests.templates(job)[role]["spec"], manifests.templates(job)[role]["spec"]["containers"][0]
        (volume,) = (one for one in spec["volumes"] if "persistentVolumeClaim" in one)
        assert volume["persistentVolumeClaim"] == {"claimName": "data"}
        mount = {"name": volume["name"], "mountPath": "/data", "readOnly": True}
        assert mount in main["volumeMounts"]
        assert {"name": "KF_VOLUME_DATA", "value": "/data"} in main["env"]


async def test_claims_that_may_not_be_seen_are_not_judged(tmp_path: Path) -> None:
    api = Api()
    api.fail("list PersistentVolumeClaim", ForbiddenError("no"))
    assert await training.submit(client(api), plan(tmp_path, volumes=["data"]))


def test_a_plan_tells_of_volumes(tmp_path: Path) -> None:
    request = plans.Request(code="print(1)\n", name="digits", root=tmp_path, volumes=["data", "models:/m:ro"])
    offered = storage.Storage("n", {"data": ("ReadWriteOnce",), "models": ("ReadWriteMany",)})
    made = plans.make(request, namespace="n", submission="0" * 12, storage=offered)
    assert "Volume: data at /mnt/data ($KF_VOLUME_DATA); it can be mounted on one machine only" in made.summary
    assert "Volume: models at /m ($KF_VOLUME_MODELS), read only\n" in f"{made.summary}\n"
    assert "volumes=['data', 'models:/m:ro']" in made.python()
    assert "--volume data --volume models:/m:ro" in made.magic()
    with pytest.raises(UsageError, match="there is no volume claim 'models'"):
        plans.make(request, namespace="n", submission="0" * 12, storage=storage.Storage("n", {"data": ()}))
    with pytest.raises(UsageError, match=r"there is none at all; make one"):
        plans.make(request, namespace="n", submission="0" * 12, storage=storage.Storage("n", {}))


@pytest.mark.parametrize("error", [InvalidError("no"), UnreachableError("gone"), ForbiddenError("no")])
async def test_nothing_is_left_when_the_job_is_refused(error: KubeflowError, tmp_path: Path) -> None:
    api = Api()
    api.fail("create PyTorchJob", error)
    with pytest.raises(type(error)):
        await training.submit(client(api), plan(tmp_path, output="out"))
    assert api.objects == {}


async def test_code_in_pieces_belongs_to_the_job_and_goes_when_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(random.Random(1).randbytes(2_000_000))
    api = Api()
    job = await training.submit(client(api), plan(tmp_path, files=["big.bin"]))
    made = [obj for (kind, _), obj in api.objects.items() if kind == "ConfigMap"]
    assert [one["metadata"]["ownerReferences"][0]["uid"] for one in made] == [job["metadata"]["uid"]] * 3
    api = Api()
    api.fail("create PyTorchJob", InvalidError("no"))
    with pytest.raises(InvalidError):
        await training.submit(client(api), plan(tmp_path, files=["big.bin"]))
    assert api.objects == {}


@pytest.fixture
def huge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A request for code that cannot be packed small enough for ConfigMaps, which are small here."""
    monkeypatch.setattr(manifests, "MAPS_LIMIT", 200_000)
    (tmp_path / "big.bin").write_bytes(random.Random(1).randbytes(1_200_000))
    return {"files": ["big.bin"]}


def test_more_code_than_is_carried_names_what_is_largest(huge: dict[str, Any], tmp_path: Path) -> None:
    said = r"1\.1 MiB when packed; 195 KiB travel without a volume\. Largest: big\.bin \(1\.1 MiB\).*--volume CLAIM"
    with pytest.raises(BundleError, match=f"(?s){said}"):
        plan(tmp_path, **huge)
    with pytest.raises(BundleError, match="without a volume"):
        plan(tmp_path, **huge, volumes=["data:ro"])


def test_what_is_no_code_any_more_is_not_put_onto_a_volume(
    huge: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifests, "ARCHIVE_LIMIT", 1_000_000)
    with pytest.raises(BundleError, match=r"977 KiB are carried at most\. Largest: big\.bin.*\nthat is data"):
        plan(tmp_path, **huge, volumes=["data"])
    monkeypatch.setattr(manifests, "ARCHIVE_LIMIT", 300_000)
    monkeypatch.setattr("jupyterlab_kf.services.bundle.Bundle.archive", lambda _: pytest.fail("packed for nothing"))
    with pytest.raises(BundleError, match=r"(?s)about 1\.1 MiB when packed; 293 KiB are carried at most.*modelUri"):
        plan(tmp_path, **huge, volumes=["data"])


class Shelf(Api):
    """Answers as the pods that put code onto a volume do, which is empty at first."""

    def __init__(self) -> None:
        super().__init__()
        self.objects["PersistentVolumeClaim", "data"] = {"metadata": {"name": "data"}}
        self.brought: list[dict[str, str]] = []

    async def get(self, kind: Kind, namespace: str, name: str) -> Obj:
        found = await super().get(kind, namespace, name)
        return {**found, "status": {"phase": "Succeeded"}} if kind is kinds.POD else found

    async def logs(self, _namespace: str, pod: str, **_more: Any) -> AsyncIterator[str]:
        volume = self.objects["Pod", pod]["spec"]["volumes"][0]
        sources = (volume.get("projected") or {"sources": [volume]})["sources"]
        maps = [self.objects["ConfigMap", one["configMap"]["name"]] for one in sources]
        assert "launch.py" in maps[0]["data"]
        self.brought.append({key: text for one in maps for key, text in one.get("binaryData", {}).items()})
        yield "kf-have" if any(self.brought) else "kf-missing"


async def test_code_that_is_too_large_is_put_onto_a_volume_once(huge: dict[str, Any], tmp_path: Path) -> None:
    api = Shelf()
    made = plan(tmp_path, **huge, volumes=["data:/d"])
    digest = made.spec.archive
    assert f"kept on the volume data as .jupyterlab-kf/code/{digest}.tar.gz" in made.summary
    job = await training.submit(client(api), made)
    looked, carried = api.brought
    assert looked == {}
    packed = b"".join(base64.b64decode(carried[key]) for key in sorted(carried))
    assert hashlib.sha256(packed).hexdigest() == digest
    assert [name for kind, name in api.objects if kind in ("ConfigMap", "Pod")] == [made.spec.code_names[0]]
    kept = api.objects["ConfigMap", made.spec.code_names[0]]
    assert "binaryData" not in kept
    assert json.loads(kept["data"]["job.json"])["sha256"] == digest
    spec, main = (
        manifests.templates(job)["master"]["spec"],
        manifests.templates(job)["master"]["spec"]["containers"][0],
    )
    assert [one["persistentVolumeClaim"] for one in spec["volumes"][2:]] == [{"claimName": "data"}]
    assert {"name": "KF_ARCHIVE", "value": f"/kf/archive/{digest}.tar.gz"} in main["env"]
    await training.submit(client(api), plan(tmp_path, **huge, volumes=["data:/d"], name="second"))
    assert len(api.brought) == 3, "what is there is not sent again"


async def test_code_that_does_not_arrive_leaves_nothing_and_no_job(huge: dict[str, Any], tmp_path: Path) -> None:
    api = Shelf()
    before = dict(api.objects)
    api.fail("create Pod", ForbiddenError("exceeded quota"))
    with pytest.raises(ForbiddenError):
        await training.submit(client(api), plan(tmp_path, **huge, volumes=["data"]))
    assert api.objects == before


async def test_the_notebooks_own_volume_is_written_directly(
    huge: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KF_WORKSPACE_CLAIM", "workspace-ada")
    monkeypatch.setenv("KF_WORKSPACE_FOLDER", str(tmp_path / "home"))
    api = Shelf()
    api.objects["PersistentVolumeClaim", "workspace-ada"] = {"metadata": {"name": "workspace-ada"}}
    made = plan(tmp_path, **huge)
    assert made.spec.shelf == "workspace-ada"
    await training.submit(client(api), made)
    (kept,) = (tmp_path / "home" / ".jupyterlab-kf" / "code").iterdir()
    assert kept.name == f"{made.spec.archive}.tar.gz"
    assert hashlib.sha256(kept.read_bytes()).hexdigest() == made.spec.archive
    assert not api.brought
    before = kept.stat().st_ino
    await training.submit(client(api), plan(tmp_path, **huge, name="second"))
    assert kept.stat().st_ino == before


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
        ({"volumes": "data"}, "volumes is one text"),
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
    place = logs.Place()
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
    picture = pictures.Picture(job, gone={"p1": pod})
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

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__()
        self.files = dict(sorted(files.items()))
        self.asked: list[tuple[int, int]] = []
        self.failing: set[int] = set()

    async def get(self, kind: Kind, namespace: str, name: str) -> Obj:
        found = await super().get(kind, namespace, name)
        return {**found, "status": {"phase": "Succeeded"}} if kind is kinds.POD else found

    def answer(self, command: Lines) -> Lines:
        if "list" in command:
            entries = [
                {"path": path, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
                for path, content in self.files.items()
            ]
            return [*(f"kf-file {json.dumps(entry)}" for entry in entries), "kf-end"]
        offset, limit = int(command[-3]), int(command[-1])
        if offset in self.failing:
            return ["Traceback"]
        self.asked.append((offset, offset + limit))
        part = b"".join(self.files.values())[offset : offset + limit]
        packed = base64.b64encode(zlib.compress(part)).decode()
        return [f"kf-data {packed}", f"kf-end {json.dumps({'sha256': hashlib.sha256(part).hexdigest()})}"]


FILES = {"score.txt": b"0.97", "empty": b"", "sub/model.bin": bytes(range(256))}


async def test_results_come_back_in_slices_and_no_pod_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "CHUNK", 50)
    api = Reader(FILES)
    job = await training.submit(client(api), plan(tmp_path, output="out"))
    out = tmp_path / "out"
    out.mkdir()
    (out / "score.txt").write_text("0.5!")
    paths = (await downloads.fetch(client(api), job, out)).paths
    assert [path.relative_to(out).as_posix() for path in paths] == ["empty", "score.txt", "sub/model.bin"]
    assert {name: (out / name).read_bytes() for name in FILES} == FILES
    assert sorted(path.name for path in out.iterdir()) == ["empty", "score.txt", "sub"]
    assert [str(file) for file in await downloads.listing(client(api), job)] == list(api.files)
    assert not any(kind == "Pod" for kind, _ in api.objects)
    assert sorted(api.asked) == [(0, 50), (50, 100), (100, 150), (150, 200), (200, 250), (250, 260)]


async def test_a_download_goes_on_where_it_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "CHUNK", 50)
    api = Reader(FILES)
    job = await training.submit(client(api), plan(tmp_path, output="out"))
    out = tmp_path / "out"
    arrived: list[int] = []
    take = downloads.Arrival.take

    def noting(self: downloads.Arrival, offset: int, content: bytes) -> None:
        take(self, offset, content)
        arrived.append(offset)

    monkeypatch.setattr(downloads.Arrival, "take", noting)
    api.failing = {200}
    with pytest.raises(KubeflowError, match="did not arrive; the last line was: Traceback"):
        await downloads.fetch(client(api), job, out)
    assert not (out / "sub").exists(), "what is not whole is not shown"
    before = set(arrived)
    api.asked, api.failing = [], set()
    with (out / f".kf-download-{job['metadata']['uid'][:8]}" / "journal").open("a") as journal:
        journal.write("torn 1")
    await downloads.fetch(client(api), job, out)
    assert before
    assert not before & {first for first, _ in api.asked}, "nothing is read twice"
    assert {name: (out / name).read_bytes() for name in FILES} == FILES
    api.asked.clear()
    await downloads.fetch(client(api), job, out)
    assert api.asked == [], "what is here is not read again"
    assert sorted(path.name for path in out.iterdir()) == ["empty", "score.txt", "sub"]


async def test_results_that_arrive_damaged_are_not_put_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = Reader({"a": b"123"})
    job = await training.submit(client(api), plan(tmp_path, output="out"))
    packed = base64.b64encode(zlib.compress(b"456")).decode()
    lines = {"list": api.answer(["list"]), "send": [f"kf-data {packed}", 'kf-end {"sha256": "x"}']}
    monkeypatch.setattr(api, "answer", lambda command: lines["list" if "list" in command else "send"])
    with pytest.raises(KubeflowError, match="a part of the result files arrived damaged"):
        await downloads.fetch(client(api), job, tmp_path / "out")
    lines["send"] = [f"kf-data {packed}", f'kf-end {{"sha256": "{hashlib.sha256(b"456").hexdigest()}"}}']
    with pytest.raises(KubeflowError, match="the result file a changed while it was read"):
        await downloads.fetch(client(api), job, tmp_path / "out")
    assert not list((tmp_path / "out").iterdir()), "the next try reads it again"
    lines["list"] = ['kf-file {"path": "../a", "size": 3, "sha256": "x"}', "kf-end"]
    with pytest.raises(KubeflowError, match="outside of"):
        await downloads.fetch(client(api), job, tmp_path / "out")


async def test_results_on_the_notebooks_own_volume_are_copied_from_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("KF_WORKSPACE_CLAIM", "workspace")
    monkeypatch.setenv("KF_WORKSPACE_FOLDER", str(home))
    api = Reader({})
    claim = {"metadata": {"name": "workspace"}, "spec": {"accessModes": ["ReadWriteMany"]}}
    api.objects["PersistentVolumeClaim", "workspace"] = claim
    job = await training.submit(client(api), plan(tmp_path, output="out"))
    output = manifests.output_of(job)
    assert output is not None
    assert (output.claim, output.folder) == ("workspace", ".jupyterlab-kf/results/digits-aaaaaa")
    (home / output.folder / "sub").mkdir(parents=True)
    (home / output.folder / "sub" / "a.txt").write_text("1")
    assert [str(one) for one in await downloads.listing(client(api), job)] == ["sub/a.txt"]
    (path,) = (await downloads.fetch(client(api), job, tmp_path / "out")).paths
    assert path.read_text() == "1"
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["sub"]
    assert api.asked == []
    claim["spec"] = {"accessModes": ["ReadWriteOnce"]}
    other = await training.submit(client(api), plan(tmp_path, output="out", name="other"))
    assert ".jupyterlab-kf" not in str(other["spec"]), "where one machine only can write, the job has its own volume"


def test_results_stay_on_a_volume_that_is_named(tmp_path: Path) -> None:
    made = plan(tmp_path, output="out", volumes=["models:ro", "data:/d"])
    assert [one["kind"] for one in made.manifests] == ["ConfigMap", "PyTorchJob"]
    output = manifests.output_of(made.job)
    assert output is not None
    assert (output.claim, output.path) == ("data", "/kf/volume/.jupyterlab-kf/results/digits-aaaaaa")
    assert "come back to out; they stay on the volume data in .jupyterlab-kf/results/digits-aaaaaa" in made.summary


class Printed(Api):
    """A cluster where no volume is made; the replicas' logs are what is given."""

    def __init__(self, **lines: Lines) -> None:
        super().__init__()
        self.storage_class = ""
        self.lines = {role.replace("_", "-"): said for role, said in lines.items()}

    def replicas(self, job: Obj) -> None:
        for name in self.lines:
            role, _, index = name.rpartition("-")
            marks = {manifests.LABEL_ROLE: role, manifests.LABEL_INDEX: index, manifests.LABEL_JOB_NAME: "digits"}
            head = {"name": f"digits-{name}", "uid": name, "labels": marks, "creationTimestamp": "2026-11-23T10:00:00Z"}
            self.objects["Pod", f"digits-{name}"] = {"metadata": head, "status": {"phase": "Succeeded"}}
        assert job["kind"] == "PyTorchJob"

    async def logs(self, _namespace: str, pod: str, *, tail: int | None = None, **_more: Any) -> AsyncIterator[str]:
        lines = self.lines[pod.removeprefix("digits-")]
        for line in lines if tail is None else lines[-tail:]:
            yield line


def said_by(folder: Path, files: dict[str, bytes], limit: int, capsys: pytest.CaptureFixture[str]) -> Lines:
    """What the launcher prints of these files."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KF_OUTPUT", str(folder))
        launch.print_results(limit)
    return capsys.readouterr().out.splitlines()


async def test_without_a_default_class_results_come_back_through_the_logs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = random.Random(1).randbytes(50_000)
    first = said_by(tmp_path / "1", {"a.txt": b"first", "model.bin": noise, "z.txt": bytes(90_000)}, 20_000, capsys)
    second = said_by(tmp_path / "2", {"a.txt": b"second", "b.txt": b"2"}, 20_000, capsys)
    api = Printed(master_0=["loss=1", *first], worker_0=second)
    made = training.placed(plan(tmp_path, output="out", workers=2), await storage.look(client(api), "n"))
    said = made.summary.splitlines()[-1]
    assert "this cluster has no default StorageClass, so they come through the log of each replica" in said
    assert "at most 4.0 MiB packed, what does not fit is left out" in said
    job = await training.submit(client(api), made)
    assert [kind for kind, _ in api.objects] == ["ConfigMap", "PyTorchJob"], "no claim that would wait for ever"
    api.replicas(job)
    found = await downloads.fetch(client(api), job, tmp_path / "out")
    assert [path.name for path in found.paths] == ["a.txt", "b.txt", "z.txt"]
    assert (tmp_path / "out" / "a.txt").read_text() == "first", "of two of one name the first replica's counts"
    assert (tmp_path / "out" / "z.txt").read_bytes() == bytes(90_000)
    assert "left out: model.bin (49 KiB); give the job a volume to keep all of them: --volume CLAIM" in found.notice
    listed = {one.path: one.left_out for one in await downloads.listing(client(api), job)}
    assert listed == {"a.txt": False, "b.txt": False, "model.bin": True, "z.txt": False}
    replicas = manifests.replicas(job, [pod for (kind, _), pod in api.objects.items() if kind == "Pod"])
    lines = await pictures.tail(client(api), "n", replicas[0], "pytorch", count=1)
    assert [line.text for line in lines] == ["loss=1"], "what carries files is not shown"


async def test_a_log_that_lost_a_part_and_one_without_results_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = said_by(tmp_path / "1", {"model.bin": random.Random(1).randbytes(30_000)}, 100_000, capsys)
    api = Printed(master_0=["loss=1"])
    job = await training.submit(client(api), plan(tmp_path, output="out"))
    api.replicas(job)
    with pytest.raises(KubeflowError, match="have no result files"):
        await downloads.fetch(client(api), job, tmp_path / "out")
    for damaged in (lines[1:], lines[:-1]):
        api.lines["master-0"] = damaged
        with pytest.raises(KubeflowError, match="in the log of master-0 are not whole"):
            await downloads.fetch(client(api), job, tmp_path / "out")


async def test_who_may_not_make_claims_has_results_through_the_logs_or_on_a_claim_that_is_there(tmp_path: Path) -> None:
    api = Api()
    api.fail("try PersistentVolumeClaim", *[ForbiddenError("no")] * 3)
    offered = await storage.look(client(api), "n")
    assert "you may not make volume claims in n, so they come through the log" in (
        training.placed(plan(tmp_path, output="out"), offered).summary
    )
    job = await training.submit(client(api), plan(tmp_path, output="out"))
    output = manifests.output_of(job)
    assert output is not None
    assert output.volume == {"name": "kf-output", "emptyDir": {}}
    api.objects["PersistentVolumeClaim", "data"] = {"metadata": {"name": "data"}}
    job = await training.submit(client(api), plan(tmp_path, output="out", name="kept", volumes=["data"]))
    output = manifests.output_of(job)
    assert output is not None
    assert output.claim == "data"


def test_what_is_missing_is_read_in_slices() -> None:
    assert downloads.gaps(10, []) == [(0, 10)]
    assert downloads.gaps(10, [(2, 4), (0, 3), (6, 8)]) == [(4, 6), (8, 10)]
    assert downloads.gaps(10, [(0, 10)]) == downloads.gaps(0, []) == []
    assert downloads.slices([(5, 9), (0, 5), (20, 20), (30, 31)], 4) == [(0, 4), (4, 8), (8, 9), (30, 31)]


async def test_a_job_without_an_output_folder_says_so(tmp_path: Path) -> None:
    api = Reader({})
    job = await training.submit(client(api), plan(tmp_path))
    with pytest.raises(UsageError, match="has no output folder"):
        await downloads.listing(client(api), job)


def test_help_and_completion_see_every_argument_of_train_and_plan() -> None:
    asked = [entry.name for entry in dataclasses.fields(plans.Request)]

    for function in (kf.train, kf.plan):
        shown = inspect.signature(function).parameters
        assert list(shown) == asked
        assert [shown[name].kind.name for name in ("code", "framework", "workers")] == [
            "POSITIONAL_OR_KEYWORD",
            "POSITIONAL_OR_KEYWORD",
            "KEYWORD_ONLY",
        ]
    explained = inspect.getdoc(kf.train) or ""
    assert [name for name in asked if f"\n    {name}: " not in explained] == []


def test_an_argument_that_does_not_exist_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="train has no argument 'worker'") as caught:
        kf.train("print(1)", worker=2)  # type: ignore[call-arg]

    assert "did you mean 'workers'?" in str(caught.value)
    with pytest.raises(TypeError, match="code"):
        kf.plan()  # type: ignore[call-arg]


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "profiles.yaml"
    file.write_text(
        """
profiles:
  - {slug: small, display_name: Small, cpu: 500m, memory: 1Gi, image: "team/torch:1", node_selector: {pool: cheap}}
  - {slug: gpu-large, cpu: {min: 1, max: 8, default: 2}, gpus: 1}
  - {slug: quiet, hidden: true, cpu: 1}
  - {slug: old, deprecated: {message: it goes in May, replacement: small}}
  - {slug: desk, used_for: [server]}
"""
    )
    monkeypatch.setenv("KF_PROFILES", str(file))


def main_of(plan: plans.Plan, role: str = "worker") -> tuple[Obj, Obj]:
    spec = manifests.templates(plan.job)[role]["spec"]
    return spec, spec["containers"][0]


@pytest.mark.usefixtures("listed")
def test_a_profile_gives_every_replica_that_works_its_hardware(tmp_path: Path) -> None:
    made = plan(tmp_path, workers=2, profile="small")
    for role in ("master", "worker"):
        spec, container = main_of(made, role)
        assert container["resources"] == {key: {"cpu": "500m", "memory": "1Gi"} for key in ("requests", "limits")}
        assert (container["image"], spec["nodeSelector"]) == ("team/torch:1", {"pool": "cheap"})
    assert manifests.provenance(made.job)["profile"] == "small"
    assert "each: 500m cpu, 1Gi memory; image team/torch:1" in made.summary
    assert "Hardware profile: Small (small)" in made.summary
    assert not made.notice


@pytest.mark.usefixtures("listed")
def test_the_launcher_of_an_mpijob_has_the_image_and_no_more_of_the_profile(tmp_path: Path) -> None:
    made = plan(tmp_path, "mpi", workers=2, profile="small")
    spec, container = main_of(made, "launcher")
    assert container["image"] == "team/torch:1"
    assert "resources" not in container
    assert "nodeSelector" not in spec
    assert main_of(made)[1]["resources"]["limits"]["memory"] == "1Gi"


@pytest.mark.usefixtures("listed")
def test_what_is_said_beside_a_profile_wins(tmp_path: Path) -> None:
    made = plan(tmp_path, workers=2, profile="small", cpu=1.5, gpu=1, image="mine:2")
    container = main_of(made)[1]
    assert container["image"] == "mine:2"
    assert container["resources"]["limits"] == {"cpu": "1500m", "memory": "1Gi", "nvidia.com/gpu": "1"}
    with pytest.raises(UsageError, match="allows 1 CPU to 8 CPUs, not 9 CPUs"):
        plan(tmp_path, profile="gpu-large", cpu=9)


@pytest.mark.usefixtures("listed")
def test_hidden_and_deprecated_profiles_can_be_named_and_others_are_refused(tmp_path: Path) -> None:
    assert main_of(plan(tmp_path, profile="quiet"), "master")[1]["resources"]["limits"] == {"cpu": "1"}
    old = plan(tmp_path, profile="old")
    assert old.notice == "the hardware profile 'old' is deprecated: it goes in May; take small instead"
    assert f"Note: {old.notice}" in old.summary
    with pytest.raises(UsageError, match="'desk' is for server, not for training"):
        plan(tmp_path, profile="desk")
    with pytest.raises(UsageError) as refused:
        plan(tmp_path, profile="gpu-larg")
    assert refused.value.message == "there is no hardware profile 'gpu-larg'"
    assert refused.value.hint == "did you mean gpu-large? there are small, gpu-large"


@pytest.mark.usefixtures("listed")
def test_files_are_fetched_where_the_job_could_be_placed(tmp_path: Path) -> None:
    job = plan(tmp_path, profile="small", output="out").job
    job["metadata"]["uid"] = "u"
    assert errands.reader(job, "reader", "1", ["list"])["spec"]["nodeSelector"] == {"pool": "cheap"}


# Putting aside


class Slow(Api):
    """A cluster with a suspended job whose old pod ends after so many looks at it."""

    def __init__(self, job: Obj, looks: int) -> None:
        super().__init__()
        self.looks = looks
        self.job = copy.deepcopy(job)
        self.job["metadata"]["uid"] = "u1"
        self.job["spec"].setdefault("runPolicy", {})["suspend"] = True
        marks = dict([manifests.pod_selector(job).split("=")])
        head = {"name": "digits-master-0", "labels": marks, "deletionTimestamp": "2026-11-23T10:00:30Z"}
        self.objects = {
            ("PyTorchJob", "digits"): self.job,
            ("Pod", "digits-master-0"): {"metadata": head, "status": {"phase": "Running"}},
        }

    async def list(self, kind: Kind, _namespace: str | None = None, **more: Any) -> Objects:
        found = await super().list(kind, _namespace, **more)
        self.looks -= 1
        if not self.looks:
            del self.objects["Pod", "digits-master-0"]
        return found


def test_a_job_is_resumed_when_its_old_replicas_have_ended(tmp_path: Path) -> None:
    api = Slow(plan(tmp_path).job, looks=8)
    in_no_time(training.resume(client(api), api.job))
    assert api.journal == [*["list Pod"] * 9, "patch PyTorchJob"]


def test_a_job_whose_old_replicas_do_not_end_stays_suspended(tmp_path: Path) -> None:
    api = Slow(plan(tmp_path).job, looks=-1)
    with pytest.raises(WaitTimeoutError, match="stays suspended: digits-master-0 is still ending after 60 s"):
        in_no_time(training.resume(client(api), api.job))
    assert "patch PyTorchJob" not in api.journal
