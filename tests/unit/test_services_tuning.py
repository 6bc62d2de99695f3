"""Search spaces from cells, what kf.tune refuses, and how a trial gets its values."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from launching import start

import jupyterlab_kf as kf
from jupyterlab_kf.controllers import katib
from jupyterlab_kf.services import session, spaces, tuning

CELL = """import math
lr = loguniform(1e-4, 1e-1)
units: int = integer(16, 64, 16)
act = choice("relu", "tanh", None)
momentum = uniform(0, 0.9, 0.1)
seed = choice([1, 2])
epochs = 3
print(f"got {lr!r} {units!r} {act!r} {momentum!r} {seed!r}")
raise ValueError("line ten")
"""


def test_a_cell_declares_its_space() -> None:
    found = {name: one.parameter(name) for name, one in spaces.of_text(CELL).items()}
    assert list(found) == ["lr", "units", "act", "momentum", "seed"]
    assert found["lr"]["feasibleSpace"] == {"min": "0.0001", "max": "0.1", "distribution": "logUniform"}
    assert found["units"]["parameterType"] == "int"
    assert found["units"]["feasibleSpace"] == {"min": "16", "max": "64", "step": "16", "distribution": "uniform"}
    assert found["act"]["feasibleSpace"]["list"] == ["relu", "tanh", "None"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lr = loguniform(0, 1)", "cell, line 1: loguniform(0, 1): a logarithmic scale begins above zero"),
        ("x = 1\nlr = uniform(2, 1)", "cell, line 2: uniform(2, 1): the range is empty"),
        ("lr = uniform(a, 1)", "cell, line 1: uniform(a, 1)"),
        ("n = integer(1, 2.5)", "2.5 is not a whole number"),
        ("c = choice()", "nothing to choose from"),
        ("c = choice([1, 1])", "'1' is there twice"),
        ("c = choice(1e999)", "inf is no number that can be written down"),
    ],
)
def test_a_space_that_is_none(text: str, said: str) -> None:
    with pytest.raises(kf.UsageError) as caught:
        spaces.of_text(text)
    assert said in str(caught.value)


class Recorder:
    """Takes what would be submitted."""

    namespace = "here"

    def __init__(self) -> None:
        self.made: list[dict[str, Any]] = []

    def run(self, work: Any) -> Any:
        code_maps, experiment = (cell.cell_contents for cell in work.__closure__)
        made = {one["kind"]: one for one in (*code_maps, experiment)}
        self.made = [made["ConfigMap"], made["Experiment"]]
        return made["Experiment"]


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    made = Recorder()
    monkeypatch.setattr(session, "current", lambda: made)
    return made


def test_a_trial_runs_the_cell_with_its_values(recorder: Recorder, tmp_path: Path) -> None:
    tuning.tune(CELL, filename="Cell In[7]", first_line=2, root=tmp_path, name="cell")
    code_map, experiment = recorder.made
    assert katib.problems(katib.defaulted(experiment)) == ""
    template = experiment["spec"]["trialTemplate"]
    (container,) = template["trialSpec"]["spec"]["template"]["spec"]["containers"]
    assert container["name"] == template["primaryContainerName"] == "main"
    names = {entry["name"]: entry["value"] for entry in container["env"]}
    assert names["KF_PARAM_lr"] == "${trialParameters.lr}"
    home = tmp_path / "kf"
    home.mkdir()
    for name, text in code_map["data"].items():
        (home / name).write_text(text)
    (home / "code.tar.gz").write_bytes(base64.b64decode(code_map["binaryData"]["code.tar.gz"]))
    values = {"lr": "0.003", "units": "32", "act": "None", "momentum": "0.3", "seed": "2"}
    done = start(home, **{f"KF_PARAM_{key}": text for key, text in values.items()})
    assert done.stdout == "got 0.003 32 None 0.3 2\n"
    assert 'File "Cell In[7]", line 10' in done.stderr
    assert "raise ValueError" in done.stderr


def test_a_function_gets_its_values_as_arguments(recorder: Recorder, tmp_path: Path) -> None:
    tuning.tune(_objective, {"x": kf.uniform(0, 1), "kind": ["a", "b"]}, params={"y": 2}, root=tmp_path)
    instructions = json.loads(recorder.made[0]["data"]["job.json"])
    assert instructions["call"] == "_objective"
    assert instructions["params"] == {"y": 2}
    assert set(instructions["tuned"]) == {"x", "kind"}


def _objective(x: float, y: int, kind: str) -> None:
    print(f"loss={x * y} {kind}")


@pytest.mark.parametrize(("framework", "kind"), [("pytorch", "PyTorchJob"), ("mpi", "MPIJob")])
def test_a_framework_makes_the_trial_a_training_job(
    recorder: Recorder, tmp_path: Path, framework: str, kind: str
) -> None:
    tuning.tune(CELL, framework=framework, workers=2, trials=4, stop_early=True, goal=0.1, root=tmp_path)
    spec = recorder.made[1]["spec"]
    assert spec["trialTemplate"]["trialSpec"]["kind"] == kind
    assert spec["trialTemplate"]["primaryContainerName"] == framework
    assert spec["earlyStopping"] == {"algorithmName": "medianstop"}
    assert spec["objective"]["goal"] == 0.1
    assert katib.problems(katib.defaulted(recorder.made[1])) == ""


def test_a_population_is_told_where_its_checkpoints_are(recorder: Recorder, tmp_path: Path) -> None:
    tuning.tune(CELL, algorithm="pbt", settings={"n_population": 6}, trials=12, root=tmp_path)
    spec = recorder.made[1]["spec"]
    told = {one["name"]: one["value"] for one in spec["algorithm"]["algorithmSettings"]}
    assert told == {"suggestion_trial_dir": "/kf/checkpoint", "n_population": "6", "truncation_threshold": "0.2"}
    (container,) = spec["trialTemplate"]["trialSpec"]["spec"]["template"]["spec"]["containers"]
    assert {"name": "KF_CHECKPOINT", "value": "/kf/checkpoint"} in container["env"], "also where Katib runs it"
    assert spec["resumePolicy"] == "FromVolume"
    assert katib.problems(katib.defaulted(recorder.made[1])) == ""


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"algorithm": "tep"}, "did you mean tpe?"),
        ({"settings": {"seed": 1}}, "unknown setting seed"),
        ({"direction": "up"}, "must be minimize or maximize"),
        ({"trials": 0}, "trials is 0"),
        ({"framework": "mxnet"}, "studies of mxnet jobs are not supported"),
        ({"name": "x" * 41}, "has at most 40"),
        ({"algorithm": "grid"}, "needs feasibleSpace.step for grid"),
    ],
)
def test_what_is_refused(recorder: Recorder, options: dict[str, Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(kf.UsageError) as caught:
        tuning.tune(CELL, root=tmp_path, **options)
    assert said in str(caught.value)
    assert recorder.made == []


def test_nothing_to_tune(recorder: Recorder, tmp_path: Path) -> None:
    with pytest.raises(kf.UsageError, match="nothing to tune"):
        tuning.tune("print('loss=1')", root=tmp_path)
    assert recorder.made == []
