"""How code gets into a job and files come back, on the embedded cluster and on a real node alike."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bed.api import Api, until
from ranks import MEET
from sites import make_namespace

import jupyterlab_kf as kf
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.services import downloads, session, storage

IMAGE = "python:3"
HASHES = """
import hashlib, pathlib
print(hashlib.sha256(pathlib.Path("big.bin").read_bytes()).hexdigest(), flush=True)
"""


@pytest.fixture(params=["embedded", "real node"])
def api(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Api]:
    """Calls on the cluster that this process works with, in a namespace of the test's own."""
    if request.param == "embedded":
        kubeconfig = request.getfixturevalue("cluster").embedded_kubeconfig
    else:
        kubeconfig = request.getfixturevalue("node_cluster").kubeconfig
    api = Api(kubeconfig)
    name = make_namespace(api)
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.setenv("KF_NAMESPACE", name)
    session.use("")
    yield api
    api.delete("v1", "Namespace", name, "")
    api.close()
    monkeypatch.undo()
    session.use("")


def big(folder: Path, size: int) -> str:
    """A file that cannot be packed any smaller; answers its digest."""
    content = random.Random(size).randbytes(size)
    (folder / "big.bin").write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def printed(job: kf.Job) -> list[str]:
    job.wait(timeout=120)
    return [line.text for line in job.logs()]


def test_code_of_several_config_maps_arrives_and_goes_with_the_job(api: Api, tmp_path: Path) -> None:
    digest = big(tmp_path, 2_500_000)
    job = kf.train(HASHES, "pytorch", name="pieces", image=IMAGE, cpu="100m", files=["big.bin"], root=tmp_path)
    assert printed(job) == [digest]
    label = "jupyterlab-kf.io/job=pieces"
    found = api.list("v1", "ConfigMap", job.namespace, labels=label)
    assert len(found) == 3
    uids = {owner["uid"] for one in found for owner in one["metadata"]["ownerReferences"]}
    assert uids == {api.get("kubeflow.org/v1", "PyTorchJob", "pieces", job.namespace)["metadata"]["uid"]}


def claim(api: Api, name: str, namespace: str, size: str = "1Gi") -> None:
    spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": size}}}
    head = {"name": name, "namespace": namespace}
    api.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": head, "spec": spec})


def test_code_too_large_for_config_maps_arrives_by_a_volume(api: Api, tmp_path: Path) -> None:
    here = kf.cluster().namespace
    claim(api, "data", here)
    digest = big(tmp_path, 12_000_000)
    with pytest.raises(kf.UsageError, match="travel without a volume"):
        kf.plan(HASHES, "pytorch", files=["big.bin"], root=tmp_path)
    for name in ("large", "again"):
        job = kf.train(
            HASHES, "pytorch", name=name, image=IMAGE, cpu="100m", files=["big.bin"], volumes=["data"], root=tmp_path
        )
        assert printed(job) == [digest]
        left = api.list("v1", "ConfigMap", here, labels=f"jupyterlab-kf.io/job={name}")
        assert [len(one["metadata"]["ownerReferences"]) for one in left] == [1], "what carried it is gone"


WRITES = """
import os, pathlib
pathlib.Path(os.environ["KF_VOLUME_DATA"], "left.txt").write_text("by the first")
"""
READS = """
import os, pathlib
print(pathlib.Path(os.environ["KF_VOLUME_DATA"], "left.txt").read_text(), flush=True)
"""


def test_a_volume_is_shared_by_jobs(api: Api, tmp_path: Path) -> None:
    here = kf.cluster().namespace
    with pytest.raises(kf.UsageError, match="there is no volume claim 'data'"):
        kf.train(WRITES, "pytorch", name="first", image=IMAGE, volumes=["data"], root=tmp_path)
    assert api.list("v1", "ConfigMap", here, labels="jupyterlab-kf.io/job=first") == []
    claim(api, "data", here)
    kf.train(WRITES, "pytorch", name="first", image=IMAGE, cpu="100m", volumes=["data"], root=tmp_path).wait(120)
    second = kf.train(READS, "pytorch", name="second", image=IMAGE, cpu="100m", volumes=["data:ro"], root=tmp_path)
    assert printed(second) == ["by the first"]
    assert "Volume: data at /mnt/data" in kf.plan(READS, "pytorch", volumes=["data"], root=tmp_path).summary
    with pytest.raises(kf.UsageError, match="there is no volume claim 'date'"):
        kf.plan(READS, "pytorch", volumes=["date"], root=tmp_path)


CELLS = (
    (["parameters"], "learning_rate = 0.1\nepochs = 1"),
    ([], "%matplotlib inline\nimport os\nimport time\n\nimport beside\n\nrank = os.environ['RANK']\nbeside.meet()"),
    ([], "for epoch in range(epochs):\n    print(beside.WORD, rank, epoch, learning_rate)\nrank"),
    (["skip-execution"], "!pip install something"),
    ([], "%time rows = [1, 2]\n\nif rank == '1':\n    print(rows[fails])\nelse:\n    time.sleep(patience)"),
)


def notebook(folder: Path) -> Path:
    """Where a notebook of those cells lies, beside a module that it imports."""
    (folder / "work").mkdir()
    (folder / "work" / "beside.py").write_text(f"WORD = 'rank'\n{MEET}")
    cells = [{"cell_type": "code", "metadata": {"tags": tags}, "source": source} for tags, source in CELLS]
    path = folder / "work" / "train.ipynb"
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}))
    return path


def test_a_notebook_runs_on_many_workers_and_a_failure_names_its_cell(api: Api, tmp_path: Path) -> None:
    assert api
    path = notebook(tmp_path).relative_to(tmp_path)
    params = {"epochs": 2, "learning_rate": 0.5, "fails": 1, "patience": 0}
    job = kf.train(path, workers=2, name="whole", image=IMAGE, cpu="100m", params=params, clean="None", root=tmp_path)
    job.wait(timeout=120)
    worker = f"{job.name}-worker-0"
    until(
        lambda: api.get("v1", "Pod", worker, job.namespace)["status"]["phase"] == "Succeeded",
        seconds=120, what="the worker ends",
    )  # fmt: skip
    for rank, name in ((0, "master-0"), (1, "worker-0")):
        lines = [line.text for line in job.logs(name)]
        shown = [f"'{rank}'"] if rank == 0 else [f"'{rank}'", "2"]
        assert lines == [f"rank {rank} {epoch} 0.5" for epoch in range(2)] + shown
    # A master that succeeds would have the job succeed.
    params |= {"fails": 7, "patience": 600}
    job = kf.train(path, workers=2, name="fails", image=IMAGE, cpu="100m", params=params, root=tmp_path)
    with pytest.raises(kf.JobFailedError) as caught:
        job.wait(timeout=120)
    why = job.explain()
    assert why is not None
    assert why.sentence == "worker-0 failed: IndexError: list index out of range (work/train.ipynb cell 5, line 4)"
    for said in (caught.value.traceback, "\n".join(line.text for line in job.logs("worker-0"))):
        assert 'File "work/train.ipynb cell 5", line 4, in <module>\n    print(rows[fails])' in said


def test_a_notebook_that_cannot_run_is_refused_before_anything_is_made(api: Api, tmp_path: Path) -> None:
    path = notebook(tmp_path)
    path.write_text(path.read_text().replace("skip-execution", "other"))
    with pytest.raises(kf.UsageError, match=r"train.ipynb cell 4, line 1: '!pip install something' is a shell line"):
        kf.train(path, workers=2, name="refused", image=IMAGE, root=tmp_path)
    assert api.list("v1", "ConfigMap", kf.cluster().namespace, labels="jupyterlab-kf.io/job=refused") == []


LARGE = """
import hashlib, os, pathlib, random
folder = pathlib.Path(os.environ["KF_OUTPUT"])
(folder / "sub").mkdir()
with (folder / "sub" / "model.bin").open("wb") as file:
    for number in range(int(megabytes)):
        file.write(random.Random(number).randbytes(1_000_000))
(folder / "score.txt").write_text("0.97")
print(hashlib.sha256((folder / "sub" / "model.bin").read_bytes()).hexdigest(), flush=True)
"""


@pytest.mark.parametrize(("volumes", "megabytes"), [([], 200), (["data"], 20)], ids=["its own", "a named one"])
def test_results_come_back_whole_over_a_volume_and_go_on_after_an_interruption(
    api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, volumes: list[str], megabytes: int
) -> None:
    here = kf.cluster().namespace
    for name in volumes:
        claim(api, name, here)
    params = {"megabytes": megabytes}
    job = kf.train(
        LARGE, "pytorch", name="large", image=IMAGE, cpu="100m", params=params, output="out", volumes=volumes,
        root=tmp_path,
    )  # fmt: skip
    (digest,) = printed(kf.job("large"))
    assert sorted(file.path for file in job.files()) == ["score.txt", "sub/model.bin"]
    brought: list[int] = []
    take = downloads.Arrival.take

    def until_the_line_breaks(self: downloads.Arrival, offset: int, content: bytes) -> None:
        if len(brought) == 2:
            raise ConnectionResetError("the line broke")
        brought.append(offset)
        take(self, offset, content)

    monkeypatch.setattr(downloads.Arrival, "take", until_the_line_breaks)
    with pytest.raises(ConnectionResetError):
        job.download(tmp_path / "out")
    readers = "jupyterlab-kf.io/job=large"
    until(lambda: not api.list("v1", "Pod", here, labels=readers), seconds=60, what="the end of the reader")
    again: list[int] = []

    def noting(self: downloads.Arrival, offset: int, content: bytes) -> None:
        again.append(offset)
        take(self, offset, content)

    monkeypatch.setattr(downloads.Arrival, "take", noting)
    paths = job.download(tmp_path / "out")
    assert [path.name for path in paths] == ["score.txt", "model.bin"]
    assert hashlib.sha256((tmp_path / "out" / "sub" / "model.bin").read_bytes()).hexdigest() == digest
    assert not set(brought) & set(again), "what had arrived is not read again"
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["score.txt", "sub"]


@pytest.fixture
def classless(api: Api, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cluster whose claims get no volume unless they name a class; the embedded one would give them a folder."""
    if "embedded" in request.node.callspec.id:

        async def unable(_client: Client, _namespace: str) -> str:
            return "this cluster has no default StorageClass"

        monkeypatch.setattr(storage, "_unable", unable)
        yield
        return

    def mark(default: str) -> None:
        marks = {"storageclass.kubernetes.io/is-default-class": default}
        api.merge("storage.k8s.io/v1", "StorageClass", "standard", {"metadata": {"annotations": marks}})

    mark("false")
    yield
    mark("true")


SMALL = """
import json, os, pathlib, random
rank = os.environ.get("OMPI_COMM_WORLD_RANK") or json.loads(os.environ["TF_CONFIG"])["task"]["index"]
folder = pathlib.Path(os.environ["KF_OUTPUT"])
(folder / f"rank-{rank}.bin").write_bytes(random.Random(int(rank)).randbytes(1_500_000))
(folder / f"large-{rank}.bin").write_bytes(random.Random(int(rank)).randbytes(6_000_000))
print(f"loss=0.5 rank={rank}", flush=True)
"""


@pytest.mark.usefixtures("classless")
@pytest.mark.parametrize("framework", ["tensorflow", "mpi"])
def test_without_a_default_storage_class_results_come_through_the_logs(
    api: Api, tmp_path: Path, framework: str
) -> None:
    here = kf.cluster().namespace
    asked: dict[str, Any] = {"workers": 2, "output": tmp_path / "out", "root": tmp_path}
    asked |= {"image": IMAGE, "cpu": "100m"} if framework == "tensorflow" else {}
    planned = kf.plan(SMALL, framework, name="small", **asked).summary
    assert "this cluster has no default StorageClass, so they come through the log of each replica" in planned
    job = kf.train(SMALL, framework, name="small", **asked)
    with pytest.warns(
        UserWarning, match=r"left out: large-0\.bin \(5\.7 MiB\), large-1\.bin \(5\.7 MiB\); give the job"
    ):
        job.wait(timeout=180)
    assert api.list("v1", "PersistentVolumeClaim", here) == []
    paths = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in paths] == ["rank-0.bin", "rank-1.bin"]
    for rank, path in enumerate(paths):
        assert path.read_bytes() == random.Random(rank).randbytes(1_500_000)
    shown = sorted(line.text for line in job.logs())
    assert [text for text in shown if text.startswith("kf-")] == [], "what carries files is not shown"
    assert [text for text in shown if text.startswith("loss")] == ["loss=0.5 rank=0", "loss=0.5 rank=1"]
    assert job.metrics()["loss"]
