"""A job taken up again: its code read back, its request, its copy."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf import kinds, names
from jupyterlab_kf.errors import NotFoundError, UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.magics import arguments
from jupyterlab_kf.manifests import training
from jupyterlab_kf.model import Obj, labels, meta
from jupyterlab_kf.services import again, plans
from jupyterlab_kf.services.plans import Plan, Request


class FakeClient:
    def __init__(self, *objects: Obj) -> None:
        self.objects = {(one["kind"], meta(one)["name"]): one for one in objects}
        self.made: list[Obj] = []
        self.patched: list[str] = []

    async def get(self, kind: Kind, namespace: str, name: str) -> Obj:
        try:
            return self.objects[kind.kind, name]
        except KeyError:
            raise NotFoundError(f"no {name} in {namespace}") from None

    async def create(self, kind: Kind, obj: Obj, *, namespace: str = "") -> Obj:
        assert (kind.kind, namespace) == (obj["kind"], "default")
        made = {**obj, "metadata": {**obj["metadata"], "uid": f"uid-{len(self.made)}"}}
        self.made.append(made)
        return made

    async def patch(self, kind: Kind, namespace: str, name: str, body: Any) -> Obj:
        assert kind in (kinds.CONFIG_MAP, kinds.PERSISTENT_VOLUME_CLAIM)
        assert namespace == "default"
        self.patched.append(name)
        return dict(body)


def planned(tmp_path: Path, **more: Any) -> Plan:
    given = {"code": "print('hello')\nx = 1\n", "workers": 3, **more}
    request = Request(name="digits", root=tmp_path, **given)
    return plans.make(request, namespace="default", submission="0123456789ab")


async def test_the_code_of_a_job_is_read_back(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    found = await again.source(FakeClient(*plan.manifests), plan.job)  # type: ignore[arg-type]
    assert found == again.Source("cell.py", "print('hello')\nx = 1\n", ("cell.py",))


async def test_what_lies_beside_the_code_is_read_back_as_it_lay_there(tmp_path: Path) -> None:
    (tmp_path / "tools" / "parts").mkdir(parents=True)
    (tmp_path / "tools" / "train.py").write_text("import helper\nfrom parts import one\nimport shared\n")
    (tmp_path / "tools" / "helper.py").write_text("WORD = 1\n")
    (tmp_path / "tools" / "parts" / "one.py").write_text("x = 1\n")
    (tmp_path / "shared.py").write_text("y = 2\n")
    plan = planned(tmp_path, code="tools/train.py")
    client: Any = FakeClient(*plan.manifests)
    assert await again.beside(client, plan.job) == {
        "tools/helper.py": b"WORD = 1\n", "tools/parts/one.py": b"x = 1\n", "shared.py": b"y = 2\n",
    }  # fmt: skip
    assert await again.beside(FakeClient(), plan.job) == {}  # type: ignore[arg-type]


async def test_a_job_without_our_code_has_none(tmp_path: Path) -> None:
    plan = planned(tmp_path)
    assert await again.source(FakeClient(), plan.job) == again.Source()  # type: ignore[arg-type]


@pytest.mark.parametrize("packed", ["no base64!", "aGVsbG8="])
def test_an_archive_that_is_none_is_no_error(packed: str) -> None:
    assert again._unpacked([packed], "{}") == again.Source()


async def test_a_job_becomes_a_cell_again(tmp_path: Path) -> None:
    plan = planned(
        tmp_path, cpu=2, memory="1Gi", env={"A": "$x"}, params={"lr": 0.1}, args=("--fast",), volumes=["data:/d:ro"]
    )
    code = await again.source(FakeClient(*plan.manifests), plan.job)  # type: ignore[arg-type]
    same = again.as_plan(plan.job, code)
    assert same.job["spec"] == {**plan.job["spec"], **_renamed(same, plan)}
    line = same.magic().splitlines()[0]
    assert line.startswith("%%kf_train pytorch -n 3 --name digits")
    assert "--cpu 2" in line
    assert "--param lr=0.1" in line
    assert "--volume data:/d:ro" in line
    assert "--env A=$x" in line or "--env 'A=$x'" in line
    assert "KF_VOLUME" not in line
    assert line.endswith("--args --fast")


def typed(magic: str, root: Path) -> Plan:
    """What ``%%kf_train`` makes of a cell in a notebook of that folder."""
    line, _, body = magic.partition("\n")
    options = arguments.train_parser("%%kf_train", code="optional").parse_args(
        arguments.split(line.removeprefix("%%kf_train "))
    )
    given = arguments.train_arguments(options, {}) | arguments.cell_arguments(options, "Cell In[1]", 2)
    return plans.make(Request(body, root=root, **given), namespace="default", submission="ba9876543210")


async def copied(plan: Plan, root: Path) -> Plan:
    """The job that its copy as a magic makes."""
    code = await again.source(FakeClient(*plan.manifests), plan.job)  # type: ignore[arg-type]
    return typed(again.as_plan(plan.job, code).magic(), root)


async def test_a_notebook_is_copied_as_the_cells_that_it_has(tmp_path: Path) -> None:
    sources = ["# %% a mark of the user's\nlr = 1", "import asyncio\nawait asyncio.sleep(0)\nlr", "display(lr)"]
    cells = [{"cell_type": "code", "metadata": {"tags": ["parameters"] * (not n)}, "source": text} for n, text in
             enumerate(sources)]  # fmt: skip
    (tmp_path / "train.ipynb").write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}))
    plan = planned(tmp_path, code="train.ipynb", params={"lr": 2})
    same = await copied(plan, tmp_path)
    assert same.bundle == plan.bundle
    assert [cell.title for cell in same.bundle.program.cells] == ["cell 1", "parameters", "cell 2", "cell 3"]  # type: ignore[union-attr]
    assert same.manifests[0]["data"] == plan.manifests[0]["data"], "the same instructions"
    code = await again.source(FakeClient(*plan.manifests), plan.job)  # type: ignore[arg-type]
    assert "filename='train.ipynb'" in again.as_plan(plan.job, code).python()


@pytest.mark.parametrize("main", ["tools/train.ipynb", "tools/train.py"])
async def test_what_travelled_along_is_named_in_the_copy_and_missed_where_it_is_not(tmp_path: Path, main: str) -> None:
    (tmp_path / "tools").mkdir()
    source = "import helper\nx = 1\n"
    cells = {"cells": [{"cell_type": "code", "source": source}], "metadata": {}, "nbformat": 4}
    (tmp_path / main).write_text(json.dumps(cells) if main.endswith(".ipynb") else source)
    (tmp_path / "tools" / "helper.py").write_text("WORD = 1\n")
    (tmp_path / "data.csv").write_text("1,2\n")
    plan = planned(tmp_path, code=main, files=["data.csv"])
    assert (await copied(plan, tmp_path)).bundle == plan.bundle
    (tmp_path / "tools" / "helper.py").unlink()
    with pytest.raises(UsageError, match=r"there is no file or folder tools/helper\.py"):
        await copied(plan, tmp_path)


async def test_a_function_is_called_in_its_copies_too(tmp_path: Path) -> None:
    def fit(lr: float, *, epochs: int = 3) -> None:
        print(lr, epochs)

    plan = planned(tmp_path, code=fit, params={"lr": 0.1, "epochs": 2})
    same = await copied(plan, tmp_path)
    assert same.bundle.files[same.bundle.main].decode().endswith("\n\nfit(epochs=epochs, lr=lr)\n")
    assert same.request.params == {"lr": 0.1, "epochs": 2}


@pytest.mark.parametrize(
    "more",
    [
        {"framework": "mpi", "nproc": 2, "retries": 2, "deadline": 60, "ttl": 5, "clean": "All"},
        {"framework": "chainer", "nproc": 2, "deadline": 60},
        {"framework": "tensorflow", "restart": "ExitCode"},
        {"workers": None, "elastic": (2, 4)},
        {"workers": None, "elastic": (2, 4), "retries": 0},
        {"restart": "Always", "retries": 7},
        {"retries": 1},
    ],
    ids=str,
)
async def test_how_a_job_runs_and_ends_is_copied(tmp_path: Path, more: dict[str, Any]) -> None:
    plan = planned(tmp_path, **more)
    same = await copied(plan, tmp_path)
    assert same.job["spec"] == {**plan.job["spec"], **_renamed(same, plan)}
    theirs, ours = (json.loads(one.manifests[0]["data"]["job.json"]) for one in (plan, same))
    assert {**ours, "sha256": "", "filename": "", "firstLine": "", "main": ""} == {
        **theirs, "sha256": "", "filename": "", "firstLine": "", "main": ""
    }  # fmt: skip


PROFILES = """
profiles:
  - slug: big
    cpu: {request: 1, limit: 2}
    memory: {min: 1Gi, max: 8Gi, default: 2Gi}
    gpus: {resource: amd.com/gpu, count: 1}
    shared_memory: 64Mi
    node_selector: {pool: gpu}
    environment: {DATA: "$(HOME)/$$x"}
"""


async def test_a_job_made_with_a_profile_says_so_and_no_more_than_was_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "profiles.yaml"
    file.write_text(PROFILES)
    monkeypatch.setenv("KF_PROFILES", str(file))
    plan = planned(tmp_path, profile="big", memory="4Gi", env={"A": "1"})
    code = await again.source(FakeClient(*plan.manifests), plan.job)  # type: ignore[arg-type]
    same = again.as_plan(plan.job, code)
    assert same.job["spec"] == {**plan.job["spec"], **_renamed(same, plan)}
    assert same.magic().splitlines()[0] == (
        "%%kf_train pytorch -n 3 --name digits --namespace default --memory 4Gi --profile big --env A=1"
    )
    assert "profile='big'" in same.python()
    # Where the profile is not known, what the job asks for is said by itself.
    file.write_text("profiles: [{slug: other}]")
    line = again.as_plan(plan.job, code).magic().splitlines()[0]
    assert "--cpu 1 --memory 4Gi" in line
    assert "--profile" not in line


def _renamed(same: Plan, plan: Plan) -> Obj:
    """The spec of the first with the second's names of what is beside it."""
    spec: Obj = {"x": plan.job["spec"]}
    again._rename(spec, dict(zip(plan.spec.code_names, same.spec.code_names, strict=True)))
    return dict(spec["x"])


async def test_a_rerun_copies_what_the_job_owns(tmp_path: Path) -> None:
    plan = planned(tmp_path, output="out", volumes=["data:ro"])
    old = {**plan.job, "metadata": {**plan.job["metadata"], "uid": "old", "resourceVersion": "7"}, "status": {"x": 1}}
    data = {"kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}
    client = FakeClient(*plan.manifests, data)
    made = await again.rerun(client, old)  # type: ignore[arg-type]
    code, claim, job = client.made
    assert made is job
    assert meta(job)["name"].startswith("digits-")
    assert "status" not in job
    assert labels(job)[names.LABEL_SUBMISSION] != "0123456789ab"
    text = str(job["spec"])
    assert meta(code)["name"] in text
    assert meta(claim)["name"] in text
    assert plan.spec.code_names[0] not in text
    assert "'claimName': 'data'" in text, "what was there before is shared"
    assert client.patched == [meta(code)["name"], meta(claim)["name"]], "the new job owns its copies"


async def test_code_in_pieces_is_read_back_and_copied(tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(random.Random(1).randbytes(2_000_000))
    plan = planned(tmp_path, files=["big.bin"])
    assert len(plan.spec.code_names) == 3
    client = FakeClient(*plan.manifests)
    found = await again.source(client, plan.job)  # type: ignore[arg-type]
    assert found == again.Source("cell.py", "print('hello')\nx = 1\n", ("big.bin", "cell.py"))
    made = await again.rerun(client, plan.job)  # type: ignore[arg-type]
    copies = [meta(one)["name"] for one in client.made[:-1]]
    assert len(set(copies)) == 3
    assert client.patched == copies, "the new job owns all its pieces"
    volume = next(iter(made["spec"]["pytorchReplicaSpecs"].values()))["template"]["spec"]["volumes"][0]
    assert [part["configMap"]["name"] for part in volume["projected"]["sources"]] == copies
    assert [one["binaryData"] for one in client.made[:-1]] == [one["binaryData"] for one in plan.manifests[:-1]]


async def test_a_job_whose_code_is_on_a_volume_shows_it_and_runs_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "MAPS_LIMIT", 200_000)
    (tmp_path / "big.bin").write_bytes(random.Random(1).randbytes(300_000))
    plan = planned(tmp_path, files=["big.bin"], volumes=["data"])
    data = {"kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}
    client = FakeClient(*plan.manifests, data)
    found = await again.source(client, plan.job)  # type: ignore[arg-type]
    assert found == again.Source("cell.py", "print('hello')\nx = 1\n", ("big.bin", "cell.py"))
    made = await again.rerun(client, plan.job)  # type: ignore[arg-type]
    assert f"/kf/archive/{plan.spec.archive}.tar.gz" in str(made["spec"])
    line = again.as_plan(plan.job, found).magic().splitlines()[0]
    assert line.count("--volume") == 1
    assert "--volume data:/mnt/data" in line


async def test_a_rerun_keeps_its_results_apart_on_a_shared_volume(tmp_path: Path) -> None:
    plan = planned(tmp_path, output="out", volumes=["data"])
    data = {"kind": "PersistentVolumeClaim", "metadata": {"name": "data"}}
    made = await again.rerun(FakeClient(*plan.manifests, data), plan.job)  # type: ignore[arg-type]
    before, after = training.output_of(plan.job), training.output_of(made)
    assert before is not None
    assert after is not None
    assert (before.claim, after.claim) == ("data", "data")
    assert before.folder == ".jupyterlab-kf/results/digits-012345"
    assert after.folder.startswith(f".jupyterlab-kf/results/{meta(made)['name']}-")


async def test_who_runs_it_again_is_whose_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTERHUB_USER", "alice")
    plan = planned(tmp_path)
    assert training.provenance(plan.job)["user"] == "alice"
    monkeypatch.setenv("JUPYTERHUB_USER", "bob")
    made = await again.rerun(FakeClient(*plan.manifests), plan.job)  # type: ignore[arg-type]
    assert training.provenance(made)["user"] == "bob"
    assert {**training.provenance(made), "user": "alice"} == training.provenance(plan.job)


def test_a_name_that_was_made_is_made_anew() -> None:
    assert again._stem("digits-0a1b2") == "digits"
    assert again._stem("digits-large") == "digits-large"
    assert len(again._stem("x" * 52)) + 6 <= names.MAX_JOB_NAME
