"""A study as cell, Python and YAML, and back from an edited manifest."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

import jupyterlab_kf as kf
from jupyterlab_kf.magics import arguments
from jupyterlab_kf.magics.studies import tune_arguments, tune_parser
from jupyterlab_kf.services import designs, spaces
from jupyterlab_kf.services.designs import StudyPlan, StudyRequest

CELL = '''"""A study."""
from __future__ import annotations
lr = loguniform(1e-4, 1e-1)  # the rate, größer ist wilder
units = integer(16, 64, 16)
epochs = 3
print(f"loss={lr * units}")
'''
WHERE = {"namespace": "team", "submission": "0123456789ab"}


def plan(code: Any = CELL, *space: Any, **words: Any) -> StudyPlan:
    return designs.make(StudyRequest(code, *space, **words), **WHERE)


def edited(request: StudyRequest, change: Any) -> StudyRequest:
    documents = list(yaml.load_all(designs.make(request, **WHERE).yaml(), yaml.CSafeLoader))
    change(documents[-1]["spec"])
    return designs.from_yaml(yaml.dump_all(documents, Dumper=yaml.CSafeDumper), request, **WHERE)


def test_the_cell_says_everything_that_was_asked_for() -> None:
    asked = plan(
        objective="accuracy",
        direction="maximize",
        algorithm="tpe",
        settings={"random_state": "3", "gamma": "0.3"},
        trials=7,
        parallel=3,
        goal=0.25,
        metrics=("f1",),
        stop_early=True,
        name="digits",
        cpu="500m",
        deadline=90,
        space={"wd": kf.uniform(0, 0.5, 0.1), "lr": kf.choice(0.1, 0.2)},
    )
    first, _, body = asked.magic().partition("\n")
    words = arguments.split(first.removeprefix("%%kf_tune "))
    again = plan(body, **tune_arguments(tune_parser("%%kf_tune").parse_args(words)))
    ordered = {"parameters", "trialTemplate"}
    assert {key: value for key, value in again.experiment["spec"].items() if key not in ordered} == {
        key: value for key, value in asked.experiment["spec"].items() if key not in ordered
    }
    assert again.space == asked.space
    assert body.splitlines()[2:4] == [
        "wd = uniform(0, 0.5, 0.1)",
        "lr = choice(0.1, 0.2)  # the rate, größer ist wilder",
    ]


@pytest.mark.parametrize("install", [True, ["einops==0.8", "pyyaml"]])
def test_trials_install_what_their_image_lacks(install: Any) -> None:
    code = "import yaml\nlr = uniform(0, 1)\nprint('loss=1')\n"
    asked = plan(code, install=install)
    instructions = json.loads(asked.code_maps[0]["data"]["job.json"])
    assert [one["requirement"].split("==")[0] for one in instructions["install"]][-1] == "pyyaml"
    assert "install.py" in asked.code_maps[0]["data"]
    assert "Installed at start, unless the image has it: " in asked.summary
    assert f"what packages the image {designs.IMAGE} has is not known here" in asked.summary
    first, _, body = asked.magic().partition("\n")
    words = arguments.split(first.removeprefix("%%kf_tune "))
    again = plan(body, **tune_arguments(tune_parser("%%kf_tune").parse_args(words)))
    assert again.request.install == install
    assert again.experiment["spec"] == asked.experiment["spec"]
    assert f"install={install!r}" in asked.python()


def test_the_python_makes_the_same_study() -> None:
    asked = plan(trials=4, settings={"random_state": 1}, algorithm="random", space={"wd": kf.uniform(0, 1)})
    made: list[StudyPlan] = []
    text = asked.python().replace("kf.tune(", "plan(").partition("study.wait()")[0]
    exec(compile(text, "<shown>", "exec"), {"plan": lambda *a, **k: made.append(plan(*a, **k)), "kf": kf})
    assert made[0].experiment["spec"] == asked.experiment["spec"]


def test_the_form_follows_an_edited_manifest() -> None:
    def change(spec: Any) -> None:
        spec["maxTrialCount"] = 40
        spec["objective"] |= {"type": "maximize", "objectiveMetricName": "f1", "goal": 0.9}
        spec["algorithm"] = {"algorithmName": "tpe", "algorithmSettings": [{"name": "random_state", "value": "3"}]}
        spec["parameters"][0]["feasibleSpace"] |= {"max": "0.5"}
        spec["maxFailedTrialCount"] = 10

    request = edited(StudyRequest(CELL), change)
    assert (request.trials, request.direction, request.objective, request.goal) == (40, "maximize", "f1", 0.9)
    assert (request.algorithm, request.settings, request.max_failed) == ("tpe", {"random_state": "3"}, None)
    code = str(request.code)
    assert "lr = loguniform(0.0001, 0.5)  # the rate, größer ist wilder\n" in code
    assert code.replace("loguniform(0.0001, 0.5)", "loguniform(1e-4, 1e-1)") == CELL, "nothing else was touched"


def test_a_parameter_that_is_edited_away_keeps_a_value() -> None:
    def change(spec: Any) -> None:
        spec["parameters"] = spec["parameters"][:1]
        template = spec["trialTemplate"]
        template["trialParameters"] = template["trialParameters"][:1]
        (container,) = template["trialSpec"]["spec"]["template"]["spec"]["containers"]
        container["env"] = [one for one in container["env"] if one["name"] != "KF_PARAM_units"]

    code = str(edited(StudyRequest(CELL), change).code)
    assert spaces.plain_values(code) == {"units": 40, "epochs": 3}
    assert list(spaces.of_text(code)) == ["lr"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda spec: spec.update(resumePolicy="Never"), "the form cannot hold spec.resumePolicy"),
        (lambda spec: spec["trialTemplate"].pop("retain"), "spec.trialTemplate.retain"),
        (lambda spec: spec["parameters"][0]["feasibleSpace"].update(min="1", max="0"), "range is empty"),
        (lambda spec: spec["algorithm"].update(algorithmName="tpa"), "did you mean tpe?"),
        (lambda spec: spec.pop("objective"), "cannot be read"),
        (lambda spec: spec.update(maxTrialCount="many"), "cannot be read"),
    ],
)
def test_an_edit_that_cannot_be_followed_is_refused(change: Any, said: str) -> None:
    with pytest.raises(kf.UsageError) as caught:
        edited(StudyRequest(CELL), change)
    assert said in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(("text", "said"), [("a: [", "not YAML"), ("a: 1", "0 Experiments")])
def test_what_is_no_manifest(text: str, said: str) -> None:
    with pytest.raises(kf.UsageError, match=said):
        designs.from_yaml(text, StudyRequest(CELL), **WHERE)


def test_what_a_trial_asks_for_is_that_of_all_its_replicas() -> None:
    assert plan(cpu=2).amounts["cpu"] == 2
    assert plan(cpu=2, framework="pytorch", workers=3).amounts["cpu"] == 6


def test_a_profile_gives_a_trial_its_hardware(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "profiles.yaml"
    file.write_text("profiles: [{slug: small, display_name: Small, cpu: 500m, memory: 1Gi}]")
    monkeypatch.setenv("KF_PROFILES", str(file))
    assert plan(profile="small").amounts["cpu"] == 0.5
    with pytest.raises(kf.UsageError, match="there is no hardware profile 'smal'"):
        plan(profile="smal")


def test_a_script_on_the_disk(tmp_path: Path) -> None:
    file = tmp_path / "train.py"
    file.write_text(CELL)
    asked = plan(file)
    assert asked.name == "train-01234"
    assert asked.magic().partition("\n")[2] == CELL
    assert designs.from_yaml(asked.yaml(), asked.request, **WHERE).code == file


numbers = st.floats(-1e6, 1e6).filter(lambda value: value == 0 or abs(value) > 1e-6)
ranges = st.tuples(numbers, numbers).filter(lambda pair: pair[0] < pair[1])
plain = st.one_of(
    st.booleans(), st.none(), st.integers(), st.text(max_size=8), st.floats(allow_nan=False, allow_infinity=False)
)
distributions = st.one_of(
    ranges.map(lambda pair: spaces.uniform(*pair)),
    st.tuples(ranges, st.floats(1e-3, 10)).map(lambda got: spaces.uniform(*got[0], got[1])),
    ranges.filter(lambda pair: pair[0] > 0).map(lambda pair: spaces.lognormal(*pair)),
    st.tuples(st.integers(1, 99), st.integers(1, 99), st.booleans()).map(
        lambda got: spaces.integer(got[0], got[0] + got[1], log=got[2])
    ),
    st.lists(plain, min_size=1, max_size=4, unique_by=str).map(spaces.choice),
)


@given(distributions)
def test_a_distribution_survives_its_text_and_its_manifest(one: spaces.Distribution) -> None:
    assert spaces.of_text(f"x = {one.expression()}")["x"] == one
    assert spaces.of_parameter(one.parameter("x"), one) == one


@given(st.lists(distributions, min_size=1, max_size=3), st.sampled_from(["", "'''doc'''\n", "import math; a = 1\n"]))
def test_writing_a_space_into_a_program_is_reading_it_back(many: list[spaces.Distribution], head: str) -> None:
    space = dict(zip("abc", many, strict=False))
    text = spaces.rewritten(head + "print(1)", space)
    assert spaces.of_text(text) == space
    assert spaces.rewritten(text, space) == text
    assert ast.parse(text)
