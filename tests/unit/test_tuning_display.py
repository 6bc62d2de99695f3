"""A study in a cell, and the words of ``%%kf_tune``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from studies_world import record, trial

import jupyterlab_kf as kf
from jupyterlab_kf.magics import studies
from jupyterlab_kf.magics.studies import tune_arguments, tune_parser
from jupyterlab_kf.widgets.studies import SHOWN, study_card
from jupyterlab_kf.widgets.wire import MIME_STUDY


def test_a_study_shows_its_best_its_course_and_why_a_trial_failed() -> None:
    broken = trial(2, None, "Failed", message="exit code 1: no data")
    card = study_card(record(trial(0, 0.5), trial(1, 0.25), broken, trial(3, None, "Running"), best="s-1"))
    assert card.text.splitlines()[0] == "Study s: Running, 3 of 8 trials"
    assert card.text.splitlines()[1] == "best loss 0.25 in trial 1: lr=0.01235, opt=<b>"
    assert "2: exit code 1: no data" in card.text
    assert "<svg" in card.html
    assert "&lt;b&gt;" in card.html
    assert "<b></td>" not in card.html


def test_ten_thousand_trials_stay_a_small_picture_in_the_table() -> None:
    rows = [trial(number, float(number)) for number in range(1000)]
    card = study_card(record(*rows, state="Succeeded", best="s-0", budget=1000))
    assert card.html.count("<tr") == SHOWN + 1
    assert "0 ★" in card.html
    kept = card.bundle()[MIME_STUDY]
    assert kept["total"] == 1000
    assert len(json.dumps(kept)) < 60_000, "a notebook that keeps it stays small"


def test_a_study_without_trials_is_a_line() -> None:
    card = study_card(record(state="Failed", message="the template is wrong", budget=0))
    assert card.text == "Study s: Failed, 0 trials\nThe template is wrong"


def test_the_words_become_arguments() -> None:
    line = "acc --maximize --trials 9 --set random_state=1 gamma=0.2 --stop-early --metric loss f1"
    found = tune_arguments(tune_parser("%%kf_tune").parse_args(line.split()))
    assert found == {
        "objective": "acc",
        "direction": "maximize",
        "trials": 9,
        "settings": {"random_state": "1", "gamma": "0.2"},
        "metrics": ["loss", "f1"],
        "stop_early": True,
    }


@pytest.mark.parametrize(
    ("line", "said"),
    [("--trails 3", "no option '--trails'"), ("--set seed", "write KEY=VALUE"), ("--into 3x", "not a name")],
)
def test_wrong_words(line: str, said: str) -> None:
    with pytest.raises(kf.UsageError) as caught:
        tune_arguments(tune_parser("%%kf_tune").parse_args(line.split()))
    assert said in str(caught.value)


class Known:
    """A study that remembers what it was asked."""

    def __init__(self) -> None:
        self.asked = list[tuple[Any, ...]]()

    def __getattr__(self, name: str) -> Any:
        def ask(*words: Any) -> str:
            self.asked.append((name, *words))
            return "%%kf_study loss"

        return ask

    def record(self) -> Any:
        return record(trial(0, 0.5), best="s-0")


@pytest.mark.parametrize(
    ("line", "asked", "code"),
    [
        ("show s", [], ""),
        ("stop s", [("stop",)], ""),
        ("stop-trial s 3 s-4", [("stop_trial", "3"), ("stop_trial", "s-4")], ""),
        ("resume s", [("resume", None)], ""),
        ("resume s --trials 9", [("resume", 9)], ""),
        ("extend s --trials 9", [("extend", 9)], ""),
        ("clone s", [("form",)], "%%kf_study loss"),
    ],
)
def test_what_is_done_with_a_study_that_is_there(
    line: str, asked: list[tuple[Any, ...]], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = Known()
    monkeypatch.setattr(kf, "study", lambda *_: known, raising=False)
    shown, cell = studies.deed(studies.verbs_parser("%kf_study").parse_args(line.split()))
    assert (known.asked, cell) == (asked, code)
    assert shown.text.startswith("Study s: Running")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("stop-trial s", "stop-trial needs some"),
        ("stop s 3", "trials go with stop-trial"),
        ("stop s --trials 3", "goes with extend and resume"),
        ("extend s", "how many trials"),
        ("end s", "end"),
    ],
)
def test_deeds_that_make_no_sense(line: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    known = Known()
    monkeypatch.setattr(kf, "study", lambda *_: known, raising=False)
    with pytest.raises(kf.UsageError, match=said):
        studies.deed(studies.verbs_parser("%kf_study").parse_args(line.split()))
    assert not known.asked
