"""Bandits: they find the best branch, take what Seldon's take, and forget nothing that they were told."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jupyterlab_kf.runtime.serving import loading, seldon
from jupyterlab_kf.runtime.serving.component import Unit
from jupyterlab_kf.runtime.serving.messages import Refusal
from jupyterlab_kf.runtime.serving.routers import ROUTERS, UCB, Bandit, EpsilonGreedy, LinUCB, ThompsonSampling

ROW = np.ones((1, 4))
CHANCES = (0.2, 0.5, 0.8)


def play(router: Bandit, rounds: int, chances: tuple[float, ...] = CHANCES) -> list[int]:
    """Rounds of choosing and telling; the branches that were chosen."""
    world = random.Random(1)
    chosen = []
    for _ in range(rounds):
        branch = router.route(ROW, [])
        chosen.append(branch)
        router.send_feedback(ROW, [], float(world.random() < chances[branch]), None, routing=branch)
    return chosen


@pytest.mark.parametrize("name", ["EpsilonGreedy", "ThompsonSampling", "UCB"])
def test_the_best_branch_is_found(name: str) -> None:
    chosen = play(ROUTERS[name](3, seed=3), 1500)
    assert chosen[-500:].count(2) > 350


def test_the_best_branch_is_found_for_each_kind_of_row() -> None:
    router = LinUCB(2, alpha=0.5, seed=3)
    world = np.random.default_rng(1)
    right = []
    for _ in range(400):
        row = world.normal(size=(1, 3))
        best = int(row[0, 1] > 0)
        branch = router.route(row, [])
        right.append(branch == best)
        router.send_feedback(row, [], float(branch == best), None, routing=branch)
    assert sum(right[-100:]) > 90


def test_a_reward_is_the_mean_of_the_rows_that_were_asked() -> None:
    router = ThompsonSampling(2)
    router.send_feedback(np.ones((4, 2)), [], 0.75, None, routing=1)
    router.send_feedback("text", [], 1.0, None, routing=1)
    assert router.state.sums["tries"] == [0.0, 5.0]
    assert router.state.sums["rewards"] == [0.0, 4.0]
    assert router.means() == [0.0, 0.8]


def test_the_same_seed_chooses_the_same() -> None:
    assert play(EpsilonGreedy(3, seed=7), 50) == play(EpsilonGreedy(3, seed=7), 50)


def test_the_first_branch_can_be_given() -> None:
    assert play(EpsilonGreedy(3, epsilon=0.0, best_branch=0), 3) == [0, 0, 0]


def test_ucb_tries_every_branch_before_it_prefers_one() -> None:
    assert sorted(play(UCB(3, seed=1), 3)) == [0, 1, 2]


def test_history_is_kept_when_it_is_asked_for() -> None:
    router = EpsilonGreedy(3, seed=1, history=True)
    assert list(router.branch_history) == [] == list(router.value_history)
    assert play(router, 5) == list(router.branch_history)
    assert len(router.value_history) == 5
    assert not EpsilonGreedy(3).branch_history.maxlen


@pytest.mark.parametrize("name", list(ROUTERS))
def test_what_was_learnt_outlives_the_router(name: str, tmp_path: Path) -> None:
    first = ROUTERS[name](3, state_folder=str(tmp_path), seed=1)
    play(first, 30)
    second = ROUTERS[name](3, state_folder=str(tmp_path), seed=1)
    assert second.state.sums == first.state.sums
    assert second.means() == first.means()


def test_routers_on_one_volume_learn_together(tmp_path: Path) -> None:
    one, two = (ThompsonSampling(2, state_folder=str(tmp_path), state_name="r") for _ in range(2))
    one.route(ROW)
    one.send_feedback(ROW, [], 1.0, None, routing=0)
    two.send_feedback(ROW, [], 0.0, None, routing=1)
    two.send_feedback(ROW, [], 1.0, None, routing=0)
    one.route(ROW)
    assert one.state.sums["tries"] == two.state.sums["tries"] == [2.0, 1.0]
    assert sum(one.state.sums["pulls"]) == 2
    one.send_feedback(ROW, [], 1.0, None, routing=0)
    assert sum(json.loads((tmp_path / "r.json").read_text())["sums"]["pulls"]) == 2


def test_a_state_that_cannot_be_used_is_said_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "r.json"
    for text, said in (("{", "cannot be read"), ('{"sums":{"pulls":[1],"tries":[1],"rewards":[1]}}', "another number")):
        file.write_text(text)
        with pytest.raises(Refusal, match=said):
            UCB(2, state_folder=str(tmp_path), state_name="r")
        assert file.read_text() == text


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (UCB, "n_branches"),
        (lambda: UCB(0), "n_branches"),
        (lambda: UCB(2, branch_names="a"), "names 1 branches"),
        (lambda: EpsilonGreedy(2, epsilon=2), "between 0 and 1"),
        (lambda: EpsilonGreedy(2, best_branch=2), "best_branch is 2"),
        (lambda: LinUCB(2, penalty=0), "more than 0"),
    ],
)
def test_a_router_that_cannot_be_made_says_why(make: Any, said: str) -> None:
    with pytest.raises(Refusal, match=said):
        make()


@pytest.mark.parametrize(
    ("router", "given", "said"),
    [
        (UCB(2), (ROW, [], 1.0, None, None), "nothing was learnt"),
        (UCB(2), (ROW, [], 1.0, None, -1), "nothing was learnt"),
        (UCB(2), (ROW, [], float("nan"), None, 0), "finite number"),
        (ThompsonSampling(2), (ROW, [], 2.0, None, 0), "from 0 to 1"),
        (LinUCB(2), ("text", [], 1.0, None, 0), "features are none"),
        (LinUCB(2), (np.ones((1, 2, 2)), [], 1.0, None, 0), "shape"),
    ],
)
def test_what_nothing_can_be_learnt_from_is_refused(router: Bandit, given: Any, said: str) -> None:
    with pytest.raises(Refusal, match=said):
        router.send_feedback(*given)
    assert router.state.sums["tries"] == [0.0, 0.0]


def test_rows_of_another_width_are_refused() -> None:
    router = LinUCB(2)
    router.send_feedback(ROW, [], 1.0, None, routing=0)
    with pytest.raises(Refusal, match="learnt from 4 features"):
        router.route(np.ones((1, 3)), [])


def test_a_unit_can_be_a_router_by_its_name() -> None:
    unit = loading.from_class("EpsilonGreedy", {"n_branches": 3}, name="r")
    assert isinstance(unit.target, EpsilonGreedy)
    with pytest.raises(Refusal, match="n_branches"):
        loading.from_class("UCB", {})


def test_behind_seldons_verbs_a_router_tells_branch_and_counts() -> None:
    unit = Unit(EpsilonGreedy(2, best_branch=1, epsilon=0.0, branch_names="old:new"), "r")
    unit.load()
    routed = seldon.to_json(unit.route(seldon.from_json({"data": {"ndarray": [[1.0]]}})))
    assert np.asarray(routed["data"]["ndarray"]).ravel().tolist() == [1]
    assert routed["meta"]["tags"] == {"branch": "new"}
    told = {"request": {"data": {"ndarray": [[1.0]]}}, "response": {"meta": {"routing": {"r": 1}}}, "reward": 0.5}
    meta = seldon.to_json(unit.send_feedback(seldon.decode_feedback(json.dumps(told).encode())))["meta"]
    assert [(one["key"], one["value"]) for one in meta["metrics"]] == [
        ("kf_router_feedback", 1),
        ("kf_router_reward_mean", 0.5),
    ]
    health = seldon.to_json(unit.health_status())["jsonData"]
    assert health["branches"][1] == {"name": "new", "pulls": 1, "tries": 1.0, "mean": 0.5}
