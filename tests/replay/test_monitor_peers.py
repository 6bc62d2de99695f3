"""The monitor's measures beside those of scipy, river and fairlearn: the same numbers, and as quick to find a drift.

What is printed stands in docs/monitoring.md; why the monitor does not run these libraries is decision 12.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import MetricFrame, demographic_parity_difference, selection_rate
from river import drift
from scipy import stats

from jupyterlab_kf.runtime.serving.monitor import judging, reference
from jupyterlab_kf.runtime.serving.monitor.windows import Picture
from jupyterlab_kf.services.serving import findings, references

Rows = Any
SETTINGS = references.check_settings(sample=1.0, window=1000, alpha=0.001, effect=0.1)
LOOK = 20
"""Rows between two looks of the monitor: what comes in two seconds."""
CALM = 700
"""Rows that are as in the reference, before those that are not."""


def plan(data: Rows, answers: Rows = None, **more: Any) -> reference.Plan:
    read = references.read(data, {})
    predictions = None if answers is None else references.predictions(answers, ())
    return reference.read(references.dump(read, predictions, {**SETTINGS, **more}))


@pytest.mark.parametrize("rows", [100, 300, 1000])
@pytest.mark.parametrize("shift", [0.0, 0.1, 0.5])
def test_the_tests_are_those_of_scipy(rows: int, shift: float) -> None:
    random = np.random.default_rng(rows)
    one, other = random.normal(size=2000), random.normal(shift, size=rows)
    size, p = judging.distance(one, other)
    exact = stats.ks_2samp(one, other)
    assert size == pytest.approx(exact.statistic)
    assert p == pytest.approx(exact.pvalue, rel=0.1, abs=2e-3)
    table = np.array([random.multinomial(rows, [0.2 + shift / 5, 0.3, 0.5 - shift / 5]), [200, 300, 500]])
    assert judging.independence(table) == pytest.approx(stats.chi2_contingency(table, correction=False).pvalue)


def ours(stream: Rows, _seed: int) -> list[int]:
    """After how many rows the monitor has an alarm."""
    watched = plan(np.random.default_rng(0).normal(size=(2000, 1)))
    looks = range(100, len(stream) + 1, LOOK)
    pictures = {end: Picture(features={"x0": stream[max(end - 1000, 0) : end]}) for end in looks}
    return [end for end, picture in pictures.items() if any(one.alarm for one in judging.judge(watched, picture))]


def told(detector: Any, stream: Rows) -> list[int]:
    """After how many rows a detector that saw 500 rows of the reference tells of a drift."""
    for value in np.random.default_rng(0).normal(size=500):
        detector.update(float(value))
    found = []
    for at, value in enumerate(stream, 1):
        detector.update(float(value))
        found += [at] if detector.drift_detected else []
    return found


DETECTORS: dict[str, Callable[[Rows, int], list[int]]] = {
    "the monitor": ours,
    "river ADWIN": lambda stream, _: told(drift.ADWIN(), stream),
    "river KSWIN": lambda stream, seed: told(drift.KSWIN(alpha=0.001, seed=seed), stream),
}


@pytest.mark.parametrize(("shift", "most"), [(1.0, 350), (0.5, 600)])
def test_a_drift_is_found_and_there_are_no_more_false_alarms_than_rivers(shift: float, most: int) -> None:
    false: dict[str, int] = {}
    for name, detect in DETECTORS.items():
        took: list[int | None] = []
        for seed in range(4):
            random = np.random.default_rng(100 + seed)
            alarms = detect(np.concatenate([random.normal(size=CALM), random.normal(shift, size=800)]), seed)
            false[name] = false.get(name, 0) + any(at <= CALM for at in alarms)
            took.append(next((at - CALM for at in alarms if at > CALM), None))
        print(
            f"{name}, a move by {shift}: found after {took} rows; {false[name]} of 4 streams had a false alarm before"
        )
        if name == "the monitor":
            assert all(one is not None and one <= most for one in took)
    assert false["the monitor"] == 0 <= min(false.values())


def test_a_column_that_spreads_is_found_though_its_mean_stays() -> None:
    took: dict[str, list[int | None]] = {}
    for name in ("the monitor", "river ADWIN"):
        for seed in range(4):
            random = np.random.default_rng(100 + seed)
            stream = np.concatenate([random.normal(size=CALM), random.normal(scale=2.5, size=800)])
            alarms = DETECTORS[name](stream, seed)
            took.setdefault(name, []).append(next((at - CALM for at in alarms if at > CALM), None))
        print(f"{name}, a spread by 2.5: found after {took[name]} rows")
    assert all(one is not None and one <= 600 for one in took["the monitor"])


def test_gaps_between_groups_are_those_of_fairlearn() -> None:
    random = np.random.default_rng(3)
    groups = random.choice(["a", "b", "c"], size=900)
    answers = (random.uniform(size=900) < np.where(groups == "a", 0.3, 0.6)).astype(int)
    truth = np.where(random.uniform(size=900) < np.where(groups == "b", 0.6, 0.9), answers, 1 - answers)
    table = pd.DataFrame({"group": groups, "income": random.normal(size=900)})
    watched = plan(table, [f"{one}" for one in answers], group="group", gap=0.0)
    picture = Picture(
        grouped={"v1": (groups, answers.astype(str))}, right={"v1": ((answers == truth).astype(float), groups)}
    )
    found = {one.name: one for one in judging.judge(watched, picture) if one.about == judging.BIAS}
    told = {"y_true": truth, "y_pred": answers, "sensitive_features": groups}
    assert found["v1"].size == pytest.approx(demographic_parity_difference(**told))
    rates = MetricFrame(metrics=selection_rate, **told).by_group
    seen = np.array(found["v1"].seen)
    shares = seen if found["v1"].answer == "1" else 1 - seen
    assert dict(zip(found["v1"].edges, shares, strict=True)) == pytest.approx(dict(rates), abs=1e-3)
    hits = MetricFrame(metrics=lambda true, said: float((true == said).mean()), **told)
    assert found["v1, right answers"].size == pytest.approx(hits.difference())


def test_findings_are_a_table_of_pandas() -> None:
    loud = findings.Finding("feature", "town", "chi2", 0.75, 1e-12, 200, alarm=True)
    share = findings.Finding("accuracy", "v1", "binomial", 0.3, 1e-9, 120, value=0.675, usual=0.975)
    table = findings.Findings((loud, share)).frame()
    assert isinstance(table, pd.DataFrame)
    assert list(table.columns) == ["about", "name", "alarm", "changed", "size", "p", "rows", "value", "usual", "test"]
    assert table[table.alarm].name.tolist() == ["town"]
    assert table.loc[table.about == "accuracy", "usual"].item() == 0.975
