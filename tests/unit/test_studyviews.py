"""A study as it is looked at: trials in short, its pace, what matters, what a notebook keeps, what is new to whom."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from studies_world import NOW, experiment, record, trial
from test_listing import rest

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.watch import Change
from jupyterlab_kf.errors import NotFoundError
from jupyterlab_kf.handlers import asks
from jupyterlab_kf.manifests.studyviews import MOST_CURVE, saved, told
from jupyterlab_kf.model import Obj
from jupyterlab_kf.services.studyfeed import StudyFeed, StudyFeeds, StudyKey
from jupyterlab_kf.suggestions import importance
from jupyterlab_kf.suggestions.space import parameter


def test_a_trial_in_short() -> None:
    whole = record(
        trial(1, 0.25, course=tuple(1 / n for n in range(1, 500))), trial(0, None, "Failed", message="exit 1")
    )
    first, second = whole.trials
    assert (first.number, first.state, first.value, first.message) == (0, "Failed", None, "exit 1")
    assert (second.values, second.value, second.metrics) == (("0.0123457", "<b>"), 0.25, (None,))
    assert len(second.curve) <= MOST_CURVE
    assert second.curve[0] == (0, 1.0)
    assert second.curve[-1][0] == 498
    assert [one.log for one in whole.head.parameters] == [True, False]
    assert whole.head.parameters[1].values == ("adam", "<b>")


def test_how_long_it_will_take() -> None:
    # Six of eight are left, two at a time, at two seconds each.
    assert record(trial(0, 0.5), trial(1, 0.4)).head.eta == pytest.approx(6.0)
    assert record(trial(0, None, "Running")).head.eta is None, "nothing has ended yet"
    assert record(trial(0, 0.5), state="Succeeded").head.eta is None


def test_why_it_ended_is_said_in_plain_words() -> None:
    done = experiment("Succeeded", message="Experiment has succeeded because max trial count has reached")
    done["status"]["conditions"][0]["reason"] = "ExperimentMaxTrialsReached"
    assert told(done) == "All trials of its budget were used."
    failed = experiment("Failed", message="Experiment has failed because max failed count has reached. exit code 1")
    assert told(failed) == "Max failed count has reached. exit code 1"
    assert told(experiment(message="Experiment is running")) == ""


def test_trials_without_numbers_get_some() -> None:
    bare = [trial(0, 0.5), trial(0, 0.4)]
    for place, one in enumerate(bare):
        one["metadata"] |= {"name": f"s-{'ba'[place]}", "annotations": {}}
    assert [(one.name, one.number) for one in record(*bare).trials] == [("s-a", 0), ("s-b", 1)]


def test_what_a_notebook_keeps_has_the_best_the_newest_and_a_failure() -> None:
    rows = [trial(n, 100 - n / 100, course=(2.0, 1.0)) for n in range(900)]
    rows[400] = trial(400, None, "Failed", message="exit code 1")
    rows[500] = trial(500, 0.001)
    kept = saved(record(*rows, best="s-500"))
    numbers = [one.number for one in kept.trials]
    assert len(numbers) <= 200
    assert {400, 500, 899} <= set(numbers)
    assert numbers == sorted(numbers)
    assert numbers[100] - numbers[0] > 100, "some of all times"
    assert kept.total == 900
    assert not any(one.curve for one in kept.trials)


def test_what_matters_is_found_and_chance_is_not_taken_for_it() -> None:
    draw = random.Random(7)
    space = [
        parameter({"name": name, "parameterType": "double", "feasibleSpace": {"min": "0", "max": "1"}})
        for name in ("much", "little", "none", "noise")
    ] + [parameter({"name": "kind", "parameterType": "categorical", "feasibleSpace": {"list": ["a", "b", "c"]}})]
    trials = []
    for _ in range(300):
        texts = {one.name: str(draw.random()) for one in space[:4]} | {"kind": draw.choice("abc")}
        value = 4 * abs(float(texts["much"]) - 0.3) + 0.3 * float(texts["little"]) + 0.5 * (texts["kind"] == "b")
        cells = importance.cells_of(space, texts)
        assert cells is not None
        trials.append((cells, value))
    found = importance.shares(space, trials, low=True)
    assert sum(found.values()) == pytest.approx(1.0)
    assert max(found, key=lambda name: found[name]) == "much"
    assert found["kind"] > 0.03
    assert max(found["none"], found["noise"]) < 0.03
    assert importance.shares(space, [(cells, 1.0) for cells, _ in trials], low=True) == {}
    assert importance.shares(space, trials[:9], low=True) == {}, "nine trials say nothing"
    upside = importance.shares(space, [(cells, -value) for cells, value in trials], low=False)
    assert upside == pytest.approx(found)


def test_what_failed_or_still_runs_says_nothing_of_what_matters() -> None:
    rows = [trial(n, n / 10, lr=0.001 * (n + 1)) for n in range(12)]
    assert record(*rows).head.importance
    broken = [trial(n, n / 10, "Failed" if n % 2 else "Running", lr=0.001 * (n + 1)) for n in range(12)]
    assert record(*broken).head.importance == ()


def test_a_value_that_the_space_has_not_is_no_trial_to_count() -> None:
    one = parameter({"name": "x", "parameterType": "categorical", "feasibleSpace": {"list": ["a"]}})
    assert importance.cells_of([one], {"x": "z"}) is None
    assert importance.cells_of([one], {}) is None


# ------------------------------------------------------------------------------------------------------- followed


def fed(*trials: Obj, best: str = "") -> StudyFeed:
    feed = StudyFeed(StudyKey("default", "s", "uid-s"))
    feed.take_experiment(Change("ADDED", experiment(best=best)))
    feed.take_experiment(Change("SYNCED", {}))
    for one in trials:
        feed.take_trial(Change("ADDED", one))
    feed.take_trial(Change("SYNCED", {}))
    return feed


def frames(ask: Any) -> list[dict[str, Any]]:
    return list(ask.frames(None))


def asked(feed: StudyFeed, told: list[int] | None = None) -> asks.Study:
    return asks.Study("1", feed, lambda: None, lambda: (told if told is not None else []).append(1))


def test_a_browser_is_sent_all_once_and_then_what_changed() -> None:
    feed = fed(trial(0, 0.5), trial(1, None, "Running"))
    ask = asked(feed)
    (first,) = frames(ask)
    assert first["fresh"]
    assert first["head"]["name"] == "s"
    assert [one["number"] for one in first["trials"]] == [0, 1]
    assert frames(ask) == []
    feed.take_trial(Change("MODIFIED", trial(1, 0.25)))
    feed.take_trial(Change("MODIFIED", trial(0, 0.5, version=9)))
    (second,) = frames(ask)
    assert [(one["name"], one["value"]) for one in second["trials"]] == [("s-1", 0.25)], (
        "what looks the same is not sent"
    )
    assert not second["fresh"]
    feed.take_trial(Change("DELETED", trial(0, 0.5)))
    (third,) = frames(ask)
    assert (third["removed"], third["total"]) == (["s-0"], 1)
    feed.gone = True
    (fourth,) = frames(ask)
    assert fourth["gone"]


def test_nothing_is_said_before_everything_is_known() -> None:
    feed = StudyFeed(StudyKey("default", "s"))
    ask = asked(feed)
    feed.take_experiment(Change("ADDED", experiment()))
    feed.take_trial(Change("ADDED", trial(0, 0.5)))
    assert frames(ask) == []


def test_ten_thousand_trials_come_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asks, "MOST_TRIALS", 3)
    told: list[int] = []
    ask = asked(fed(*(trial(n, float(n)) for n in range(7))), told)
    parts = [frames(ask)[0] for _ in range(3)]
    assert [len(part["trials"]) for part in parts] == [3, 3, 1]
    assert [part["fresh"] for part in parts] == [True, False, False]
    assert len(told) == 2
    assert frames(ask) == []


def test_another_study_of_that_name_is_not_this_one() -> None:
    feed = StudyFeed(StudyKey("default", "s", "uid-before"))
    feed.take_experiment(Change("ADDED", experiment()))
    with pytest.raises(NotFoundError):
        feed.take_experiment(Change("SYNCED", {}))


def test_a_name_that_is_none_reaches_no_path() -> None:
    for name in ("../x", "a,b", "A", "", "x" * 300):
        with pytest.raises(ValueError, match="no such study"):
            asks._study_key({"namespace": "default", "name": name})


class FakeClient:
    """A study with two trials, and nothing that happens."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def snapshot(self, kind: Any, *_: Any, **__: Any) -> tuple[list[Obj], str]:
        self.asked.append(kind.kind)
        return ([experiment()] if kind is kinds.EXPERIMENT else [trial(0, 0.5), trial(1)]), "1"

    def stream(self, *_: Any, **__: Any) -> Any:
        class Quiet:
            async def __aenter__(self) -> Any:
                await asyncio.Event().wait()

            async def __aexit__(self, *_: object) -> None:
                pass

        return Quiet()


async def test_one_feed_for_all_who_look_which_lasts_a_moment_longer() -> None:
    client, naps = FakeClient(), list[asyncio.Event]()

    async def get() -> Any:
        return client

    async def sleep(_: float) -> None:
        naps.append(asyncio.Event())
        await naps[-1].wait()

    feeds = StudyFeeds(get, sleep)
    key = StudyKey("default", "s")
    one, leave = feeds.look(key, lambda: None)
    other, leave_other = feeds.look(key, lambda: None)
    assert one is other
    await rest()
    assert client.asked == ["Experiment", "Trial"]
    head = one.head(NOW)
    assert head is not None
    assert (head.state, one.total) == ("Running", 2)
    leave()
    leave_other()
    again, _ = feeds.look(key, lambda: None)
    assert again is one
    await feeds.stop("the panels look at another cluster")
    assert "another cluster" in str(one.error)
