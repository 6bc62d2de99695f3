"""Algorithms: what they suggest stays in the space, comes once, and is decided by the question alone."""

from __future__ import annotations

import copy
import functools
import json
import math
import subprocess
import sys
from typing import Any

import pytest

from jupyterlab_kf.suggestions.questions import ask
from jupyterlab_kf.suggestions.space import SpaceError, parameter
from jupyterlab_kf.suggestions.telling import worth_telling

Obj = dict[str, Any]
SPACE: list[Obj] = [
    {
        "name": "lr",
        "parameterType": "double",
        "feasibleSpace": {"min": "1e-4", "max": "1", "distribution": "logUniform"},
    },
    {"name": "drop", "parameterType": "double", "feasibleSpace": {"min": "0", "max": "0.5", "step": "0.1"}},
    {"name": "layers", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "10", "step": "4"}},
    {"name": "batch", "parameterType": "discrete", "feasibleSpace": {"list": ["64", "16", "32"]}},
    {"name": "opt", "parameterType": "categorical", "feasibleSpace": {"list": ["adam", "sgd"]}},
]
ALL = ("random", "sobol", "tpe", "anneal", "bayesianoptimization", "multivariate-tpe", "cmaes")


def question(algorithm: str, count: int, history: list[Obj], space: list[Obj] = SPACE, **more: Any) -> Obj:
    asked = {"algorithm": algorithm, "settings": {}, "parameters": space, "objective": "minimize", "seed": 7}
    return asked | {"count": count, "history": history, **more}


def loss(point: Obj) -> float:
    return abs(math.log10(float(point["lr"])) + 2) + float(point["drop"]) + (point["opt"] == "sgd")


def played(algorithm: str) -> list[Obj]:
    """A study of 36 trials, 4 at a time: the newest two are still running."""
    return copy.deepcopy(_played(algorithm))


@functools.cache
def _played(algorithm: str) -> list[Obj]:
    history: list[Obj] = []
    while len(history) < 36:
        answer = ask(question(algorithm, 4, history))
        assert "error" not in answer, answer
        for one in answer["suggestions"]:
            entry = {"name": str(len(history)), "assignments": one["assignments"], "labels": one["labels"]}
            history.append({**entry, "state": "pending", "value": None})
        for one in history[:-2]:
            one |= {"state": "done", "value": loss(one["assignments"])}
    return history


@pytest.mark.parametrize("algorithm", ALL)
def test_points_are_of_the_space_and_never_twice(algorithm: str) -> None:
    points = [one["assignments"] for one in played(algorithm)]
    for point in points:
        assert 1e-4 <= float(point["lr"]) <= 1
        assert point["drop"] in ("0.0", "0.1", "0.2", "0.3", "0.4", "0.5")
        assert point["layers"] in ("1", "5", "9")
        assert point["batch"] in ("16", "32", "64")
        assert point["opt"] in ("adam", "sgd")
    assert len({tuple(point.values()) for point in points}) == len(points)


@pytest.mark.parametrize("algorithm", ALL)
def test_the_same_question_has_the_same_answer(algorithm: str) -> None:
    history = played(algorithm)
    assert ask(question(algorithm, 3, history)) == ask(question(algorithm, 3, history))
    assert ask(question(algorithm, 3, history)) != ask(question(algorithm, 3, history, seed=8))


@pytest.mark.parametrize("algorithm", ["tpe", "anneal", "bayesianoptimization", "multivariate-tpe", "cmaes"])
def test_it_learns(algorithm: str) -> None:
    values = [loss(one["assignments"]) for one in played(algorithm)]
    assert sum(values[24:]) / 12 < sum(values[:12]) / 12


@pytest.mark.parametrize("algorithm", ["random", "grid", "sobol", "tpe", "anneal", "bayesianoptimization"])
def test_a_countable_space_is_gone_through_once(algorithm: str) -> None:
    answer = ask(question(algorithm, 50, [], SPACE[2:]))
    assert len({tuple(one["assignments"].values()) for one in answer["suggestions"]}) == 18
    assert answer["end"] == "all 18 combinations of the parameters have been tried"


@pytest.mark.parametrize("algorithm", ["random", "tpe", "anneal", "bayesianoptimization"])
def test_the_first_trials_wait_for_no_library(algorithm: str) -> None:
    code = """if True:
        import json, sys
        from jupyterlab_kf.suggestions.questions import ask
        print(len(ask(json.loads(sys.argv[1]))["suggestions"]), sorted({"numpy", "scipy", "hyperopt"} & {*sys.modules}))
    """
    asked = json.dumps(question(algorithm, 4, []))
    told = subprocess.run([sys.executable, "-c", code, asked], capture_output=True, text=True, check=True, timeout=60)
    assert told.stdout == "4 []\n"


def test_grid_counts_from_the_minimum() -> None:
    answer = ask(question("grid", 3, [], [SPACE[2]]))
    assert [one["assignments"]["layers"] for one in answer["suggestions"]] == ["1", "5", "9"]


def test_a_descent_that_gets_nowhere_is_followed_by_another() -> None:
    space = [one | {"name": name} for name in ("a", "b") for one in SPACE[:1]]
    history = [
        {"name": str(n), "assignments": {"a": "0.01", "b": f"0.{n + 1:03}"}, "state": "done", "value": 1.0}
        for n in range(130)
    ]

    def answers(count: int) -> list[str]:
        kinds = ("none", "ipop", "bipop")
        asked = (question("cmaes", 1, history[:count], space, settings={"restart_strategy": kind}) for kind in kinds)
        return [str(ask(one)["suggestions"]) for one in asked]

    assert len(set(answers(60))) == 1
    plain, doubled, turns = answers(130)
    assert plain != doubled
    assert doubled == turns, "after the first descent both have the same turn"


def test_a_population_learns_a_schedule_that_no_single_value_is() -> None:
    # As in Katib's own example: the best rate rises and falls again as accuracy grows, so no constant one gets far.
    space = [{"name": "lr", "parameterType": "double", "feasibleSpace": {"min": "0.0001", "max": "0.02"}}]
    settings = {"suggestion_trial_dir": "/kf", "n_population": "10", "truncation_threshold": "0.2"}

    def trained(accuracy: float, rate: float) -> float:
        for _ in range(20):
            best = min(max(0.01 * min(accuracy, 100 - accuracy) / 50, 0.001), 0.01)
            off = max(rate, best) / min(rate, best)
            accuracy += 0.5 / off if off < 3 else (3 - off) * 0.5 * (rate > best)
            accuracy = min(max(accuracy, 0.0), 100.0)
        return accuracy

    history: list[Obj] = []
    reached: dict[str, float] = {"": 0.0}
    while len(history) < 300:
        found = ask(question("pbt", 4, history, space, settings=settings, objective="maximize"))["suggestions"]
        assert found, "a generation that has ended is followed by another"
        for one in found:
            parent = one["labels"].get("pbt.suggestion.katib.kubeflow.org/parent", "")
            name = str(len(history))
            reached[name] = trained(reached[parent], float(one["assignments"]["lr"]))
            history.append({"name": name, "state": "done", "value": reached[name], **one})
    constant = 0.0
    for place in range(1, 100):
        accuracy = 0.0
        for _ in range(30):
            accuracy = trained(accuracy, place * 0.0002)
        constant = max(constant, accuracy)
    assert max(reached.values()) > constant + 10, (max(reached.values()), constant)


def test_failed_trials_do_not_stop_an_algorithm() -> None:
    history = [{**one, "state": "failed", "value": None} for one in played("random")]
    for algorithm in ALL:
        assert len(ask(question(algorithm, 2, history))["suggestions"]) == 2


@pytest.mark.parametrize(
    ("algorithm", "settings", "said"),
    [
        ("tpe", {"gama": "0.1"}, "unknown setting gama; did you mean gamma?"),
        ("tpe", {"gamma": "2"}, "must be a number between 0 and 1"),
        ("grid", {}, "needs feasibleSpace.step"),
        ("hyperband", {}, "setting r_l is required"),
        ("hyperband", {"r_l": "9", "resource_name": "epochs"}, "which is not a parameter"),
        ("nope", {}, "there is no algorithm 'nope'"),
    ],
)
def test_what_cannot_be_asked(algorithm: str, settings: Obj, said: str) -> None:
    assert said in ask(question(algorithm, 1, [], settings=settings))["error"]


@pytest.mark.parametrize("algorithm", ["tpe", "anneal", "multivariate-tpe", "random", "sobol", "cmaes", "hyperband"])
def test_what_need_not_be_told_changes_no_answer(algorithm: str) -> None:
    settings = {"r_l": "5", "resource_name": "layers"} if algorithm == "hyperband" else {}
    history: list[Obj] = []
    for number in range(430):
        words = [f"{(number % 97 + 1) / 100}", f"{number % 6 / 10}", f"{number % 3 * 4 + 1}", "16", "sgd"]
        assignments = dict(zip([one["name"] for one in SPACE], words, strict=True))
        end = {"state": "done", "value": float(number * 7919 % 431)} if number % 40 else {"state": "pending"}
        history.append({"name": str(number), "assignments": assignments, **end})
    ends = [(one["state"], one.get("value")) for one in history]
    told = worth_telling(algorithm, SPACE, ends, 1.0)
    assert {number for number, (state, _) in enumerate(ends) if state == "pending"} <= set(told) or not told
    assert (len(told) < len(history)) == (algorithm not in ("cmaes", "hyperband"))
    assert len(worth_telling(algorithm, SPACE[1:], ends, 1.0)) == len(history), "a point could come twice"
    whole = question(algorithm, 2, history, settings=settings)
    assert ask({**whole, "history": [history[place] for place in told], "before": 430 - len(told)}) == ask(whole)


@pytest.mark.parametrize("spec", SPACE, ids=lambda spec: str(spec["name"]))
def test_coordinates_and_texts_agree(spec: Obj) -> None:
    one = parameter(spec)
    if one.size is not None:
        assert [one.text(one.unit(text)) for text in one.values] == one.values
        shares = [one.text((i + 0.5) / 6000 if one.ordered else i % one.size) for i in range(6000)]
        assert {shares.count(text) for text in one.values} == {6000 // one.size}
    else:
        assert math.isclose(one.unit(one.text(0.3)), 0.3, abs_tol=1e-9)


@pytest.mark.parametrize("distribution", ["normal", "logNormal"])
def test_normals_stay_in_their_range(distribution: str) -> None:
    space = {"min": "1", "max": "100", "distribution": distribution}
    one = parameter({"name": "x", "parameterType": "double", "feasibleSpace": space})
    values = [float(one.text(i / 1000)) for i in range(1001)]
    assert 1.0 <= min(values) < 1.0001
    assert 99.99 < max(values) <= 100.0
    middle = 10.0 if distribution == "logNormal" else 50.5
    assert math.isclose(values[500], middle, rel_tol=1e-6)


def test_an_integer_must_be_whole() -> None:
    with pytest.raises(SpaceError, match="whole number"):
        parameter({"name": "n", "parameterType": "int", "feasibleSpace": {"min": "1", "max": "2.5"}})
