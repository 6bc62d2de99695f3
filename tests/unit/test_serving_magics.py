"""``%kf_serve`` and its friends in a real IPython shell, and what they show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from serving_world import World, installed
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from traitlets.config import Config

import jupyterlab_kf as kf
from jupyterlab_kf.magics import register
from jupyterlab_kf.magics.completion import words
from jupyterlab_kf.manifests.endpoints import Revision
from jupyterlab_kf.model import Explanation, Ref
from jupyterlab_kf.services.serving.measures import Measures, measured
from jupyterlab_kf.services.serving.states import EndpointView, VersionView
from jupyterlab_kf.widgets.endpoints import endpoint_card, history_table

CELL = "class Doubler:\n    def predict(self, X, names=None):\n        return 2 * X\n"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return installed(monkeypatch)


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> InteractiveShell:
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    config = Config()
    config.HistoryManager.enabled = False
    made = InteractiveShell(config=config)
    register(made)
    made.user_ns["model"] = LogisticRegression().fit([[0.0, 1.0], [1.0, 0.0]], [0, 1])
    return made


def run(shell: InteractiveShell, cell: str) -> Any:
    done = shell.run_cell(cell, store_history=True)
    done.raise_error()
    return done.result


def test_a_variable_becomes_an_endpoint_and_stays_in_the_last_result(
    world: World, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    run(shell, "%kf_serve model --name iris")
    assert isinstance(shell.user_ns["_"], kf.Endpoint)
    said = capsys.readouterr().out
    assert "Endpoint iris: Ready" in said
    assert world.endpoints()


def test_a_cells_class_is_served_and_its_lines_keep_their_numbers(world: World, shell: InteractiveShell) -> None:
    run(shell, f"%%kf_serve --name iris --into served\n{CELL}")
    assert shell.user_ns["served"].provenance()["called"] == "Doubler"
    assert world.endpoints()


def test_asking_dividing_and_telling_back(
    world: World, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    run(shell, "%kf_serve model --name iris")
    run(shell, "%kf_serve model --name iris --canary 10")
    run(shell, "%kf_predict iris [[1,2]] --into found")
    assert shell.user_ns["found"].tolist() == [3]
    run(shell, "%kf_feedback iris 1 --truth [0]")
    assert world.sent[-1][1] == "api/v1.0/feedback"
    assert world.sent[-1][2]["response"]["meta"]["requestPath"]
    run(shell, "%kf_traffic iris v1=20 v2=80")
    assert kf.endpoint("iris").versions == {"v1": 20, "v2": 80}
    run(shell, "%kf_traffic iris --promote v2")
    run(shell, "%kf_traffic iris --rollback")
    assert kf.endpoint("iris").versions == {"v1": 20, "v2": 80}
    capsys.readouterr()
    run(shell, "%kf_traffic iris --history")
    assert "roll back to" in capsys.readouterr().out
    run(shell, "%kf_endpoints")
    assert "v1 20 %, v2 80 %" in capsys.readouterr().out
    run(shell, "%kf_endpoints iris --delete")
    assert not world.endpoints()


def test_a_dry_run_shows_what_would_change_and_changes_nothing(
    world: World, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    run(shell, "%kf_serve model --name iris --dry-run")
    assert "nothing was created" in capsys.readouterr().out
    assert not world.endpoints()
    run(shell, "%kf_serve model --name iris")
    capsys.readouterr()
    run(shell, "%kf_serve model --name iris --canary 10 --dry-run")
    said = capsys.readouterr().out
    assert "+  - name: v2" in said
    assert kf.endpoint("iris").versions == {"v1": 100}


def test_a_graph_is_said_in_a_line_over_variables(
    world: World, shell: InteractiveShell, capsys: pytest.CaptureFixture[str]
) -> None:
    run(shell, f"{CELL}\nother = model")
    run(shell, "%kf_serve --name iris --dry-run --graph combine(model, other, by=majority)")
    said = capsys.readouterr().out
    assert "combiner majority, then model, other" in said
    assert not world.endpoints()
    run(shell, "%kf_serve --graph combine(model, other, by=majority) --name iris")
    assert kf.endpoint("iris").provenance()["called"] == "combine(model, other, by='majority')"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("%kf_serve", "there is nothing to serve"),
        ("%kf_serve model --graph chain(model, model)", "--graph says what is served, and 'model' too"),
        ("%kf_serve --graph chain(model, modle)", "no variable 'modle'"),
        (f"%%kf_serve --graph chain(model, model)\n{CELL}", "serves the cell's class"),
        ("%kf_serve modle", "no variable 'modle'"),
        ("%kf_serve model --canray 3", "no option '--canray'"),
        (f"%%kf_serve model\n{CELL}", "serves the cell's class"),
        ("%%kf_serve --name iris\nx = 1", "no class with a method predict"),
        ("%kf_predict iris nothing_here", "neither a variable"),
        ("%kf_serve model --name other --reference rows", "no variable 'rows'"),
        ("%kf_serve model --name other --reference few", "the reference has 2 rows"),
        ("%kf_serve model --name other --reference few --detach", "leave --detach or --reference out"),
        ("%kf_traffic iris v1", "not of the form NAME=VALUE"),
        ("%kf_traffic iris v1=100 --promote v1", "one thing at a time"),
        ("%kf_traffic iris v1=many", "not a whole number"),
    ],
)
def test_wrong_lines_say_what_is_wrong(world: World, shell: InteractiveShell, line: str, said: str) -> None:
    run(shell, "%kf_serve model --name iris\nfew = [[1.0, 2.0]] * 2")
    with pytest.raises(kf.UsageError) as caught:
        run(shell, line)
    assert said in str(caught.value)
    assert len(world.endpoints()) == 1


def test_options_complete_themselves() -> None:
    assert words("kf_serve", "%kf_serve model --can", "--can") == ["--canary"]
    assert words("kf_traffic", "%kf_traffic iris --pro", "--pro") == ["--promote"]


# What is shown


def version(name: str, state: str = "Ready", **more: Any) -> VersionView:
    return VersionView(
        name, state, more.pop("traffic", 100), more.pop("mirror", None), 1, int(state == "Ready"), **more
    )


def view(*versions: VersionView, state: str = "Ready", **more: Any) -> EndpointView:
    return EndpointView(Ref("SeldonDeployment", "iris", "n"), state, "seldon", "/seldon/n/iris/", versions, **more)


def test_a_card_says_who_answers_and_why_one_does_not() -> None:
    why = Explanation(
        "v2-0 failed: KeyError: '<b>'", "look at it", "v2-0", "Traceback (most recent call last):\nKeyError"
    )
    broken = version("v2", "Failed", traffic=0, explanation=why)
    card = endpoint_card(
        view(version("v1", called="Forest", model="abcdef0123"), broken, state="Degraded", divided=False)
    )
    assert "Endpoint iris: Degraded" in card.text
    assert "Forest abcdef01" in card.text
    assert "v2-0 failed: KeyError: '<b>'" in card.text
    assert "→ look at it" in card.text
    assert "No Istio gateway" in card.text
    assert "&lt;b&gt;" in card.html
    assert "<b>'" not in card.html
    assert 'role="alert"' in card.html


def test_a_card_tells_what_was_measured_and_what_is_still_to_come() -> None:
    seen = Measures(requests=10, errors=1, seconds={0.5: 0.0042, 0.99: 0.05}, feedbacks=4, reward=3.0)
    card = endpoint_card(view(version("v1"), pending={"v1": 90, "v2": 10}), {"v1": seen})
    assert "4.2 ms" in card.text
    assert "0.75 (4)" in card.text
    assert "Once all versions are ready: v1 90 %, v2 10 %" in card.text


def test_the_history_is_newest_first() -> None:
    one = Revision(1, "serve v1", "ada", "work/iris.ipynb", 100.0, {"v1": 100}, {"v1": "d" * 64}, {"v1": "c" * 64})
    two = Revision(2, "traffic", "bob", "", 160.0, {"v1": 90, "v2": 10})
    lines = history_table([one, two], now=220.0).text.splitlines()
    assert lines[1].split() == ["2", "traffic", "v1", "90", "%,", "v2", "10", "%", "bob", "1m", "00s", "ago"]
    assert "iris.ipynb" in lines[2]
    assert "dddddddd   cccccccc" in lines[2]


def test_measures_are_added_up_over_pods() -> None:
    page = """
# TYPE seldon_api_executor_server_requests_seconds histogram
seldon_api_executor_server_requests_seconds_bucket{service="predictions",code="200",le="0.005"} 8
seldon_api_executor_server_requests_seconds_bucket{service="predictions",code="200",le="0.01"} 10
seldon_api_executor_server_requests_seconds_bucket{service="predictions",code="200",le="+Inf"} 10
seldon_api_executor_server_requests_seconds_count{service="predictions",code="200"} 10
seldon_api_executor_server_requests_seconds_sum{service="predictions",code="200"} 0.03
seldon_api_executor_server_requests_seconds_count{service="predictions",code="500"} 2
seldon_api_executor_server_requests_seconds_count{service="feedback",code="200"} 6
# TYPE seldon_api_model_feedback_total counter
seldon_api_model_feedback_total{model_name="iris-v1"} 5
# TYPE seldon_api_model_feedback_reward_total counter
seldon_api_model_feedback_reward_total{model_name="iris-v1"} 4
# TYPE rows gauge
rows{model_name="iris-v1"} 7
"""
    found = measured([page, page])
    assert (found.requests, found.errors, found.feedbacks, found.mean_reward) == (24, 4, 12, 8 / 12)
    assert found.seconds[0.5] == pytest.approx(0.003125)
    assert found.own == {"rows": 14.0}
    assert measured([]).seconds == {}
