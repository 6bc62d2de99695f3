"""Monitoring on the whole embedded cluster: real copies of real requests, a real monitor, alarms as events.

On the embedded cluster alone: there is no Seldon operator on the real one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import pandas as pd
import pytest
from bed.api import Api, until
from sklearn.datasets import load_iris  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

import jupyterlab_kf as kf
from jupyterlab_kf import cli
from jupyterlab_kf.settings import Settings

X, Y = load_iris(return_X_y=True)
RANDOM = np.random.default_rng(7)


@pytest.fixture
def watched(cluster: Settings) -> Iterator[kf.Endpoint]:
    """A fitted estimator, served and monitored."""
    assert cluster.data_dir
    endpoint = kf.serve(LogisticRegression(max_iter=500).fit(X, Y), name="watched")
    yield endpoint.monitor(X, window=200)
    endpoint.delete()


def ask(endpoint: kf.Endpoint, rows: Any, parts: int = 6) -> None:
    for part in np.array_split(rows, parts):
        assert len(endpoint.predict(part)) == len(part)


def whole(endpoint: kf.Endpoint) -> bool:
    """Whether the monitor has looked at a whole window of everything."""
    found = endpoint.findings().findings
    return len(found) == 6 and all(one.rows == 200 for one in found)


def rows_of(endpoint: kf.Endpoint) -> set[int]:
    """How many rows the monitor has looked at, of whatever there is."""
    return {one.rows for one in endpoint.findings().findings}


def events(api: Api, endpoint: kf.Endpoint, reason: str) -> list[dict[str, Any]]:
    found = api.list("v1", "Event", endpoint.namespace)
    return [one for one in found if one["reason"] == reason and one["involvedObject"]["name"] == endpoint.name]


def test_drift_of_a_feature_is_seen_and_told_as_an_event(cluster: Settings, watched: kf.Endpoint) -> None:
    api = Api(cluster.embedded_kubeconfig)
    usual = X[RANDOM.integers(0, len(X), 200)]
    ask(watched, usual)
    until(lambda: whole(watched), seconds=60, what="findings about all 200 rows")
    first = watched.findings()
    assert {(one.about, one.name) for one in first.findings} == {
        *(("feature", f"x{at}") for at in range(4)),
        ("prediction", "v1"),
        ("outliers", "rows"),
    }
    assert first.drifted == ()
    assert first.rows == 200
    assert first.dropped == first.unread == 0
    assert events(api, watched, "FeatureDrift") == []

    shifted = X[RANDOM.integers(0, len(X), 200)] + [0, 0, 3, 0]
    ask(watched, shifted)
    until(lambda: events(api, watched, "FeatureDrift"), seconds=60, what="an event about the drift")
    (told,) = events(api, watched, "FeatureDrift")
    assert told["type"] == "Warning"
    assert told["involvedObject"]["kind"] == "SeldonDeployment"
    assert told["message"].startswith("1 of 4 features differ from the reference: x2 (distance 0.")
    until(lambda: watched.findings().drifted == ("x2",), seconds=60, what="the finding")
    assert watched.findings().trouble == ""
    waits = "seldon.io/executor-logger-write-timeout-ms"
    assert waits in watched.yaml(), "no request is to wait for room for a copy"
    watched.end_monitoring()
    assert waits not in watched.yaml()
    api.close()


def test_a_terminal_serves_with_a_reference_and_shows_what_was_found(
    cluster: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cluster.data_dir
    joblib.dump(LogisticRegression(max_iter=500).fit(X, Y), tmp_path / "model.joblib")
    np.savetxt(tmp_path / "train.csv", X, delimiter=",", header="a,b,c,d", comments="")
    table = ["--reference", str(tmp_path / "train.csv")]
    assert cli.main(["serve", str(tmp_path / "model.joblib"), "--name", "from-afar", *table]) == 0
    assert "from-afar is monitored: jupyter kf monitor from-afar" in capsys.readouterr().out
    endpoint = kf.endpoint("from-afar")
    ask(endpoint, pd.DataFrame(X + np.array([0, 0, 3, 0]), columns=["a", "b", "c", "d"]))
    until(lambda: endpoint.findings().drifted == ("c",), seconds=60, what="the drift of a column by its name")
    assert cli.main(["monitor", "from-afar"]) == 0
    assert "Monitor of from-afar: " in (said := capsys.readouterr().out)
    assert "alarm" in said
    assert cli.main(["monitor", "from-afar", "--end"]) == 0
    assert "not monitored any more" in capsys.readouterr().out
    endpoint.delete()


def test_without_its_monitor_an_endpoint_answers_and_drops_copies(cluster: Settings, watched: kf.Endpoint) -> None:
    api = Api(cluster.embedded_kubeconfig)
    api.merge("apps/v1", "Deployment", "watched-monitor", {"spec": {"replicas": 0}}, watched.namespace)
    until(lambda: not pods(api, watched), seconds=60, what="the end of the monitor")
    ask(watched, X, parts=30)
    until(lambda: watched.metrics()["v1"].lost >= 60, seconds=60, what="the count of what was lost")
    assert watched.metrics()["v1"].errors == 0
    with pytest.raises(kf.EndpointError, match=r"does not answer.*copies are dropped"):
        watched.findings()

    api.merge("apps/v1", "Deployment", "watched-monitor", {"spec": {"replicas": 1}}, watched.namespace)
    until(lambda: pods(api, watched), seconds=60, what="another monitor")
    until(lambda: answers(watched), seconds=60, what="its first answer")
    ask(watched, X)
    until(lambda: watched.findings().rows == len(X), seconds=60, what="what came since")
    assert watched.findings().dropped >= 60

    # A new version sends copies from its first request on; without monitoring none does.
    kf.serve(LogisticRegression(max_iter=300).fit(X, Y), name="watched")
    ask(watched, X)
    until(lambda: {one.name for one in watched.findings().findings} >= {"v1", "v2"}, seconds=60, what="v2's answers")
    watched.end_monitoring()
    with pytest.raises(kf.EndpointError, match="is not monitored"):
        watched.findings()
    assert len(watched.predict(X)) == len(X)
    assert [one.cause for one in watched.history()][-1] == "end monitoring"
    assert not [one for one in api.list("v1", "ConfigMap", watched.namespace) if "monitor" in one["metadata"]["name"]]
    api.close()


LOANS = """
class Loans:
    def predict(self, X, names=None):
        return ["yes" if float(income) > 0 else "no" for _, income in X]
"""


def people(count: int, lower: float = 0.0) -> np.ndarray[Any, Any]:
    """Rows of a group and an income; those of one group are so much lower."""
    income = RANDOM.normal(size=count)
    return np.array(
        [[group, one - lower * (group == "f")] for group, one in zip("fm" * count, income, strict=False)], dtype=object
    )


def test_wrong_answers_unlike_groups_and_unusual_rows_are_told(cluster: Settings, tmp_path: Path) -> None:
    api = Api(cluster.embedded_kubeconfig)
    usual = people(400)
    endpoint = kf.serve(LOANS, name="loans", root=tmp_path)
    labels = ["yes" if income > 0 else "no" for _, income in usual]
    with pytest.raises(kf.UsageError, match="has no column 'sex'"):
        endpoint.monitor(usual, groups="sex")
    assert not pods(api, endpoint)
    endpoint.monitor(usual, groups="x0", labels=labels)
    for rows in np.array_split(people(300, lower=3.0), 6):
        answer = endpoint.ask(rows)
        endpoint.feedback(reward=0.0, truth=["no" if one == "yes" else "yes" for one in answer.value], answer=answer)

    def loud() -> dict[str, set[str]]:
        found = [one for one in endpoint.findings().findings if one.alarm]
        return {about: {one.name for one in found if one.about == about} for about in {one.about for one in found}}

    wanted = {"accuracy", "bias", "feature", "outliers", "prediction"}
    until(
        lambda: rows_of(endpoint) == {300} and loud().keys() >= wanted,
        seconds=60,
        what=f"alarms about {wanted} after a look at all that was sent",
    )
    assert loud()["feature"] == {"x1"}
    assert loud()["bias"] >= {"v1"}
    accuracy = next(one for one in endpoint.findings().findings if one.about == "accuracy")
    assert (accuracy.value, accuracy.usual, accuracy.rows) == (0.0, 1.0, 300)
    for reason in ("AccuracyDrop", "GroupBias", "Outliers", "PredictionDrift"):
        until(lambda reason=reason: events(api, endpoint, reason), seconds=60, what=f"an event {reason}")
    endpoint.delete()
    until(lambda: not pods(api, endpoint), seconds=60, what="the monitor's end with its endpoint")
    api.close()


def pods(api: Api, endpoint: kf.Endpoint) -> list[dict[str, Any]]:
    found = api.list("v1", "Pod", endpoint.namespace)
    return [one for one in found if one["metadata"].get("labels", {}).get("jupyterlab-kf.io/monitor") == endpoint.name]


def answers(endpoint: kf.Endpoint) -> bool:
    try:
        endpoint.findings()
    except kf.EndpointError:
        return False
    return True
