"""The form of a study: fields, views and what cannot be started."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from studies_world import record, trial

from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.magics.studies import read_cell
from jupyterlab_kf.manifests.studyviews import StudyRecord
from jupyterlab_kf.services import designs, spaces
from jupyterlab_kf.services.designs import StudyPlan, StudyRequest
from jupyterlab_kf.widgets.parameters import around, preview, scale_of
from jupyterlab_kf.widgets.studyform import StudyForm, cost

CELL = """lr = loguniform(1e-4, 1e-1)
units = integer(16, 64, 16)
epochs = 3
opt = "adam"
print(f"loss={lr} f1={units}")
"""


def plan(request: StudyRequest) -> StudyPlan:
    return designs.make(request, namespace="team", submission="0123456789ab")


class Fake:
    """A study that has run."""

    name = "study"
    best = {"lr": 0.01, "units": 32}  # noqa: RUF012  read only

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.picked = threading.Event()

    def changes(self) -> Iterator[str]:
        yield "Running"
        self.picked.set()
        assert self.stopped.wait(10)
        yield "Succeeded"

    def record(self) -> StudyRecord:
        return record(trial(1, 0.25), state="Succeeded" if self.stopped.is_set() else "Running", budget=20)

    def stop(self) -> None:
        self.stopped.set()


@pytest.fixture
def started() -> list[StudyPlan]:
    return []


@pytest.fixture
def study() -> Fake:
    return Fake()


@pytest.fixture
def form(started: list[StudyPlan], study: Fake) -> StudyForm:
    def start(planned: StudyPlan) -> Any:
        started.append(planned)
        return study

    return StudyForm(StudyRequest(CELL), plan=plan, start=start, read_cell=read_cell, metrics=["accuracy"], minutes=2.0)


def experiment(form: StudyForm) -> Any:
    return next(one for one in yaml.load_all(form.yaml.value, yaml.CSafeLoader) if one["kind"] == "Experiment")["spec"]


def test_the_fields_say_what_the_cell_says(form: StudyForm) -> None:
    assert [row.name.value for row in form._rows] == ["lr", "units"]
    assert [row.scale.value for row in form._rows] == ["number, log scale", "whole number"]
    assert form._rows[1].step.value == "16"
    assert form.objective.options == ("loss", "f1", "accuracy"), "what the code prints, then what earlier trials had"
    assert form.cell.value == "%%kf_tune loss\n" + CELL


def test_a_field_changes_every_view(form: StudyForm) -> None:
    form.trials.value = 40
    form.direction.value = "maximize"
    form._rows[0].high.value = "0.5"
    form.algorithm.value = "tpe"
    next(one for one in form.settings.children if one.description == "random_state").value = "3"
    assert experiment(form)["maxTrialCount"] == 40
    assert experiment(form)["algorithm"]["algorithmSettings"] == [{"name": "random_state", "value": "3"}]
    assert form.cell.value.startswith("%%kf_tune loss --maximize --algorithm tpe --set random_state=3 --trials 40\n")
    assert "lr = loguniform(0.0001, 0.5)\n" in form.cell.value
    assert "trials=40" in form.python.value


def test_the_fields_follow_the_manifest(form: StudyForm) -> None:
    documents = list(yaml.load_all(form.yaml.value, yaml.CSafeLoader))
    spec = documents[-1]["spec"]
    spec["parallelTrialCount"] = 5
    spec["parameters"][1]["feasibleSpace"] = {"min": "1", "max": "9", "step": "2", "distribution": "uniform"}
    form.yaml.value = yaml.dump_all(documents, Dumper=yaml.CSafeDumper)
    assert form.parallel.value == 5
    assert (form._rows[1].low.value, form._rows[1].step.value) == ("1", "2")
    assert "units = integer(1, 9, 2)" in form.cell.value


def test_the_fields_follow_the_cell(form: StudyForm) -> None:
    form.cell.value = "%%kf_tune f1 --maximize --trials 5 --algorithm random\n" + CELL.replace("1e-1", "1")
    assert (form.objective.value, form.trials.value, form.algorithm.value) == ("f1", 5, "random")
    assert form._rows[0].high.value == "1"
    assert experiment(form)["objective"] == {"type": "maximize", "objectiveMetricName": "f1"}


def test_a_view_that_makes_no_sense_is_said_and_nothing_is_lost(form: StudyForm) -> None:
    before = form.request
    for view, text, said in (
        (form.yaml, "kind: [", "not YAML"),
        (form.cell, "%%kf_train pytorch\n", "must begin with %%kf_tune"),
        (form.cell, "%%kf_tune loss --trails 3\n" + CELL, "did you mean --trials?"),
    ):
        view.value = text
        assert said in form.said.value
        assert form.start.disabled
        assert form.request == before
    form.trials.value = 21
    assert not form.start.disabled
    assert form.said.value == ""


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("low", "0", "parameter lr: loguniform(0, 0.1): a logarithmic scale begins above zero"),
        ("high", "", "parameter lr: say from where to where"),
        ("high", "much", "parameter lr: &#x27;much&#x27; is not a number"),
        ("name", "l r", "write the name of a variable"),
        ("name", "units", "parameter units is there twice"),
    ],
)
def test_a_parameter_that_is_none(form: StudyForm, field: str, value: str, said: str) -> None:
    getattr(form._rows[0], field).value = value
    assert said in form.said.value
    assert 'role="alert"' in form.said.value
    assert form.start.disabled


def test_bad_settings_are_named(form: StudyForm, started: list[StudyPlan]) -> None:
    form.algorithm.value = "hyperband"
    assert "setting r_l is required" in form.said.value
    form.algorithm.value = "tpe"
    form.goal.value = "high"
    assert "goal is &#x27;high&#x27;" in form.said.value
    assert not started


def test_a_value_of_the_code_becomes_a_parameter_and_back(form: StudyForm) -> None:
    assert ("epochs = 3", "epochs") in form.known.options
    form.known.value = "epochs"
    form.add.click()
    assert "epochs = integer(1, 12)\n" in form.cell.value
    form._rows[2].remove.click()
    form._rows[0].remove.click()
    assert [one["name"] for one in experiment(form)["parameters"]] == ["units"]
    assert spaces.plain_values(str(form.request.code))["lr"] == 0.00316
    form._rows[0].remove.click()
    assert "there is nothing to tune" in form.said.value
    form.add.click()
    assert [one["name"] for one in experiment(form)["parameters"]] == ["p1"]


def test_a_choice_keeps_the_types_of_its_values(form: StudyForm) -> None:
    form.known.value = "opt"
    form.add.click()
    form._rows[2].values.value = "'adam', sgd"
    assert "opt = choice(\"'adam'\", 'sgd')" in form.cell.value, "what is no list of literals is bare words"
    form._rows[2].values.value = "'adam', 'sgd', None, 3"
    assert "opt = choice('adam', 'sgd', None, 3)" in form.cell.value


def test_start_watch_stop_and_promote(form: StudyForm, started: list[StudyPlan], study: Fake) -> None:
    form.start.click()
    assert [one.request.trials for one in started] == [20]
    assert study.picked.wait(10)
    assert "Running" in form.running.value
    assert form.stop in form.buttons.children
    form.stop.click()
    for thread in threading.enumerate():
        if thread.name == "kf-study-study":
            thread.join(10)
    assert "Succeeded" in form.running.value
    form.best.click()
    assert form.promoted.value.startswith("lr = 0.01\nunits = 32\nepochs = 3\n")


def test_what_the_whole_study_costs() -> None:
    request = StudyRequest(CELL, trials=30, parallel=4, cpu=2, gpu=1, framework="pytorch", workers=3)
    said = cost(plan(request), 10.0)
    assert said == "At most 30 trials of 10 min, 4 at a time: about 1h 20m; 30 CPU-hours and 15 GPU-hours."
    assert "Say how long" in cost(plan(request), None)
    assert "name CPUs or a hardware profile" in cost(plan(StudyRequest(CELL)), 1.0)


@pytest.mark.parametrize(
    ("value", "made"),
    [
        (True, "choice(True, False)"),
        ("adam", "choice('adam')"),
        (0, "uniform(0, 1)"),
        (8, "integer(2, 32)"),
        (-8, "integer(-32, -1)"),
        (0.01, "loguniform(0.001, 0.1)"),
        (-0.5, "uniform(-5, -0.05)"),
    ],
)
def test_a_first_space_around_a_value(value: Any, made: str) -> None:
    assert around(value).expression() == made
    assert scale_of(around(value))


def test_a_preview_says_where_the_trials_will_be() -> None:
    assert "half of the trials below 0.01" in preview(spaces.loguniform(1e-4, 1))
    assert "half of the trials below 5" in preview(spaces.normal(0, 10))
    assert preview(spaces.choice("a", "b")).count("<rect") == 2


def test_a_function_is_searched_beside_its_text() -> None:
    def train(lr: float = 0.1) -> None:
        print(f"loss={lr}")

    form = StudyForm(StudyRequest(train, {"lr": [0.1, 0.2]}), plan=plan, start=lambda _: None)  # type: ignore[arg-type]
    assert "use the Python view" in form.cell.value
    assert "{'lr': kf.choice(0.1, 0.2)}" in form.python.value
    with pytest.raises(UsageError):
        form._from_cell("%%kf_tune")
