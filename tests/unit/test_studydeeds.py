"""What a study was made of, read back: as a cell, as Python, with a trial's values, as a training job."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from studies_world import experiment

import jupyterlab_kf as kf
from jupyterlab_kf.errors import NotFoundError, UsageError
from jupyterlab_kf.manifests import studies
from jupyterlab_kf.model import Obj, Ref
from jupyterlab_kf.services import designs, studydeeds
from jupyterlab_kf.services.designs import StudyRequest

CELL = """lr = loguniform(1e-4, 1e-1)
width = choice(16, 32, None)
import helper
print(f"loss={lr}")
"""


class Shelf:
    """Has the ConfigMaps of a study."""

    def __init__(self, maps: list[Obj]) -> None:
        self.maps = {one["metadata"]["name"]: one for one in maps}

    async def get(self, _: Any, __: str, name: str) -> Obj:
        return self.maps[name]


async def read(tmp_path: Path, code: Any = CELL, **more: Any) -> studydeeds.Origin:
    (tmp_path / "helper.py").write_text("WORD = 1\n")
    request = StudyRequest(code, name="bowl", root=tmp_path, filename="Cell In[3]", first_line=2, **more)
    planned = designs.make(request, namespace="team", submission="0123456789ab")
    return await studydeeds.origin(Shelf(planned.code_maps), planned.experiment)  # type: ignore[arg-type]


def row(**values: str) -> studies.TrialRow:
    return studies.TrialRow("bowl-x", 7, "Succeeded", values, 0.5)


async def test_a_cell_comes_back_with_the_values_of_a_trial(tmp_path: Path) -> None:
    made_of = await read(tmp_path, cpu="500m")
    best = row(lr="0.0125", width="32")
    assert made_of.typed(best) == {"lr": 0.0125, "width": 32}, "a choice has the type that the code gave it"
    assert made_of.typed(row(lr="1", width="None"))["width"] is None
    assert made_of.program(made_of.typed(best)) == CELL.replace("loguniform(1e-4, 1e-1)", "0.0125").replace(
        "choice(16, 32, None)", "32"
    )
    magic, python = made_of.copies()
    assert magic.startswith("%%kf_tune loss")
    assert "--name bowl" in magic
    assert "--cpu 500m" in magic
    assert magic.endswith(CELL)
    assert "kf.tune(" in python


async def test_a_trial_becomes_a_training_job_with_the_files_beside_it(tmp_path: Path) -> None:
    made_of = await read(tmp_path, cpu="500m", env={"MODE": "fast"})
    planned = studydeeds.promoted(made_of, row(lr="0.0125", width="32"))
    assert (planned.spec.name, planned.spec.namespace, planned.spec.job_kind.kind) == ("bowl-t7", "team", "PyTorchJob")
    assert planned.bundle.files["helper.py"] == b"WORD = 1\n"
    assert b"lr = 0.0125" in planned.bundle.files[planned.bundle.main]
    (template,) = [one["template"] for one in planned.job["spec"]["pytorchReplicaSpecs"].values()]
    (container,) = template["spec"]["containers"]
    named = {one["name"]: one.get("value") for one in container["env"]}
    assert named["MODE"] == "fast"
    assert not [name for name in named if name.startswith("KF_PARAM_")]
    assert container["image"] == designs.IMAGE, "it runs where the trial did"
    wide = studydeeds.promoted(
        made_of, row(lr="1", width="16"), {"workers": 3, "name": "wide", "params": {"epochs": 9}}
    )
    assert wide.spec.name == "wide"
    assert sum(wide.spec.replicas.values()) == 3


async def test_a_clone_is_another_study_with_the_same_settings(tmp_path: Path) -> None:
    made_of = await read(tmp_path, cpu="500m", trials=9, settings={"random_state": "1"})
    form = made_of.form()
    assert form.startswith("%%kf_study loss")
    assert "--trials 9" in form
    assert "--name " not in form, "it gets a name of its own"
    assert form.endswith(CELL)
    planned = studydeeds.cloned(made_of, {"trials": 30}, namespace="team")
    assert planned.experiment["metadata"]["name"] != "bowl"
    assert planned.experiment["spec"]["maxTrialCount"] == 30
    assert planned.experiment["spec"]["parameters"] == made_of.experiment["spec"]["parameters"]
    with pytest.raises(UsageError, match="clone has no argument 'trails'"):
        studydeeds.cloned(made_of, {"trails": 30}, namespace="team")


async def test_a_function_is_called_with_them(tmp_path: Path) -> None:
    made_of = await read(tmp_path, _objective, space={"x": kf.uniform(0, 1), "n": kf.choice(1, 2)}, params={"y": 2})
    assert made_of.call == "_objective"
    program = made_of.program(made_of.typed(row(x="0.5", n="2")))
    assert program.endswith("_objective(y=2, x=0.5, n=2)\n")
    assert "def _objective(" in program
    magic, python = made_of.copies()
    assert magic.startswith("# ")
    assert "def _objective(" in python
    assert "'n': kf.choice(1, 2)" in python
    assert "params={'y': 2}" in python
    assert "kf.study_form(" in made_of.form()
    assert "study.wait()" not in made_of.form()
    with pytest.raises(UsageError, match="is a function"):
        studydeeds.cloned(made_of, {}, namespace="team")
    planned = studydeeds.promoted(made_of, row(x="0.5", n="2"))
    assert b"_objective(y=2, x=0.5, n=2)" in planned.bundle.files[planned.bundle.main]


def _objective(x: float, n: int, y: int) -> None:
    print(f"loss={x * n * y}")


@pytest.mark.parametrize(("framework", "replicas"), [("pytorch", 2), ("mpi", 3)])
async def test_a_study_of_distributed_jobs_stays_one(tmp_path: Path, framework: str, replicas: int) -> None:
    made_of = await read(tmp_path, framework=framework, workers=2)
    planned = studydeeds.promoted(made_of, row(lr="1", width="16"))
    assert sum(planned.spec.replicas.values()) == replicas
    assert f"--framework {framework}" in made_of.copies()[0]
    assert "--workers 2" in made_of.copies()[0]


async def test_a_population_is_cloned_without_its_trials_own_variables(tmp_path: Path) -> None:
    made_of = await read(tmp_path, algorithm="pbt")
    assert "KF_CHECKPOINT" not in made_of.copies()[0]
    assert "--algorithm pbt" in made_of.form()


async def test_what_cannot_be_promoted_is_said(tmp_path: Path) -> None:
    made_of = await read(tmp_path)
    with pytest.raises(UsageError, match="promote has no argument 'wokers'"):
        studydeeds.promoted(made_of, row(lr="1", width="16"), {"wokers": 2})
    with pytest.raises(UsageError, match="no trial has a value yet"):
        studydeeds.best_of(made_of.experiment, [])
    with pytest.raises(NotFoundError, match="has no trial 9"):
        studydeeds.best_of(made_of.experiment, [row(lr="1")], 9)
    foreign = {**made_of.experiment, "spec": {"trialTemplate": {"trialSpec": {"kind": "Workflow"}}}}
    with pytest.raises(UsageError, match="of kind Workflow"):
        await studydeeds.origin(Shelf([]), foreign)  # type: ignore[arg-type]
    bare = {"kind": "Job", "spec": {"template": {"spec": {"containers": [{"name": "main", "image": "x"}]}}}}
    with pytest.raises(UsageError, match="the code of this study is in its image"):
        await studydeeds.origin(Shelf([]), {**foreign, "spec": {"trialTemplate": {"trialSpec": bare}}})  # type: ignore[arg-type]


class Katib:
    """Has one study, and takes patches of it."""

    def __init__(self, found: Obj) -> None:
        self.found, self.patches = found, list[Obj]()

    async def get(self, *_: Any) -> Obj:
        return self.found

    async def patch(self, _: Any, __: str, ___: str, patch: Obj) -> Obj:
        self.patches.append(patch)
        return self.found


def ended(reason: str, policy: str = "LongRunning", *, used: int = 3) -> Obj:
    found = experiment("Succeeded", resumePolicy=policy)
    found["status"]["conditions"][0]["reason"] = reason
    found["status"]["trials"] = used
    return found


@pytest.mark.parametrize(
    ("found", "trials", "said"),
    [
        (experiment("Running"), None, "has not ended"),
        (ended("ExperimentGoalReached"), None, "cannot go on: The goal was reached"),
        (ended("ExperimentStopped", "Never"), None, "its resume policy is Never"),
        (ended("ExperimentMaxTrialsReached", used=8), None, "has had 8 of its 8 trials"),
        (ended("ExperimentStopped"), 3, "has had 3 of its 8 trials"),
    ],
)
async def test_a_study_that_cannot_go_on_says_why(found: Obj, trials: int | None, said: str) -> None:
    client = Katib(found)
    with pytest.raises(UsageError, match=said):
        await studydeeds.resume(client, Ref("Experiment", "s", "default"), trials)  # type: ignore[arg-type]
    assert not client.patches


async def test_a_stopped_study_goes_on() -> None:
    client = Katib(ended("ExperimentStopped"))
    await studydeeds.resume(client, Ref("Experiment", "s", "default"))  # type: ignore[arg-type]
    await studydeeds.resume(client, Ref("Experiment", "s", "default"), 12)  # type: ignore[arg-type]
    free = {"annotations": {"jupyterlab-kf.io/stop": None}}
    assert client.patches == [{"metadata": free}, {"metadata": free, "spec": {"maxTrialCount": 12}}]
