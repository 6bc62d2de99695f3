"""The monitor without a cluster: what copies are read as, what is an alarm, when it is said, what cannot be watched."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests import endpoints, monitors
from jupyterlab_kf.runtime.serving.monitor import judging, reference
from jupyterlab_kf.runtime.serving.monitor.alarms import Alarms
from jupyterlab_kf.runtime.serving.monitor.events import event
from jupyterlab_kf.runtime.serving.monitor.judging import Finding
from jupyterlab_kf.runtime.serving.monitor.server import App, Monitor
from jupyterlab_kf.runtime.serving.monitor.windows import FEEDBACK, REQUEST, RESPONSE, Copy, Ring, Windows
from jupyterlab_kf.runtime.serving.sampling import chosen
from jupyterlab_kf.runtime.serving.web import Request
from jupyterlab_kf.services.serving import findings, references

RANDOM = np.random.default_rng(1)
ROWS = np.column_stack([RANDOM.normal(size=400), RANDOM.uniform(size=400)])
SETTINGS = references.check_settings(sample=1.0, window=300, alpha=0.001, effect=0.1)


class Table:
    """As much of a DataFrame as is asked of one."""

    def __init__(self, **columns: Any) -> None:
        self.columns = list(columns)
        self.values = [np.asarray(one, dtype=object if isinstance(one[0], str) else None) for one in columns.values()]
        self.index = range(len(self))
        self.iloc = self

    def __len__(self) -> int:
        return len(self.values[0])

    def __getitem__(self, at: Any) -> Any:
        return type("Column", (), {"to_numpy": lambda _: self.values[at[1]]})()

    def to_numpy(self) -> Any:
        return np.column_stack(self.values)


def plan(data: Any = ROWS, answers: Any = None, **told: Any) -> reference.Plan:
    read = references.read(data, told)
    predictions = None if answers is None else references.predictions(answers, ())
    return reference.read(references.dump(read, predictions, SETTINGS))


def request(rows: Any, names: list[str] | None = None, **rest: Any) -> Copy:
    data = {"names": names or [], "ndarray": np.asarray(rows).tolist()}
    return copy(REQUEST, {"data": data}, **rest)


def copy(kind: str, body: Any, *, version: str = "v1", puid: str = "1", protocol: str = "seldon") -> Copy:
    return Copy(kind, version, puid, protocol, json.dumps(body).encode())


def judged(windows: Windows) -> dict[str, Finding]:
    return {one.name: one for one in judging.judge(windows.plan, windows.picture())}


# What copies are read as


@pytest.mark.parametrize(
    ("protocol", "asked", "answered"),
    [
        ("seldon", {"data": {"tensor": {"shape": [2, 2], "values": [1, 2, 3, 4]}}}, {"data": {"ndarray": [0, 1]}}),
        ("seldon", {"data": {"names": ["x1", "x0"], "ndarray": [[2, 1], [4, 3]]}}, {"data": {"ndarray": ["0", "1"]}}),
        ("seldon", {"data": {"ndarray": [[1, 2], [3, 4]]}}, {"data": {"ndarray": [[0.9, 0.1], [0.2, 0.8]]}}),
        (
            "v2",
            {"inputs": [{"name": "input-0", "shape": [2, 2], "datatype": "FP64", "data": [1, 2, 3, 4]}]},
            {"outputs": [{"name": "predict", "shape": [2], "datatype": "INT64", "data": [0, 1]}]},
        ),
        (
            "v2",
            {
                "inputs": [
                    {"name": "x1", "shape": [2], "datatype": "FP64", "data": [2, 4]},
                    {"name": "x0", "shape": [2], "datatype": "FP64", "data": [1, 3]},
                ]
            },
            {"outputs": [{"name": "predict", "shape": [2, 1], "datatype": "FP64", "data": [0, 1]}]},
        ),
        ("tensorflow", {"instances": [[1, 2], [3, 4]]}, {"predictions": [[0.9, 0.1], [0.2, 0.8]]}),
    ],
)
def test_every_protocol_says_the_same(protocol: str, asked: Any, answered: Any) -> None:
    windows = Windows(plan(answers=[0, 1] * 200))
    windows.take(copy(REQUEST, asked, protocol=protocol))
    windows.take(copy(RESPONSE, answered, protocol=protocol))
    picture = windows.picture()
    assert {name: kept.tolist() for name, kept in picture.features.items()} == {"x0": [1, 3], "x1": [2, 4]}
    assert picture.predictions["v1"].tolist() == ["0", "1"]
    assert (windows.counts.copies, windows.counts.unread, windows.counts.rows) == (2, 0, 2)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"{", "not JSON"),
        (b'{"strData":"hello"}', "strData, which has no columns"),
        (b'{"data":{"ndarray":[[1,2,3]]}}', "3 columns, and the reference has 2"),
        (b'{"data":{"ndarray":[["a","b"]]}}', "x0 is a number in the reference"),
        (b'{"data":{"ndarray":[[[[1]]]]}}', "no table"),
    ],
)
def test_a_copy_that_cannot_be_read_is_counted_with_the_reason(body: bytes, why: str) -> None:
    windows = Windows(plan())
    windows.take(Copy(REQUEST, "v1", "1", "seldon", body))
    assert windows.counts.unread == 1
    assert why in windows.counts.why
    assert not any(map(len, windows.picture().features.values()))


def test_what_is_kept_is_bounded_and_the_last() -> None:
    ring = Ring(5, numeric=True)
    for first in range(0, 12, 3):
        ring.add(np.arange(first, first + 3))
    assert sorted(ring.last()) == [7, 8, 9, 10, 11]
    ring.add(np.arange(100))
    assert sorted(ring.last()) == [95, 96, 97, 98, 99]


def test_of_a_sample_request_and_answer_are_both_kept_or_none() -> None:
    kept = [chosen(str(number), 0.25) for number in range(4000)]
    assert 800 < sum(kept) < 1200
    read = references.read(ROWS, {})
    made = reference.read(references.dump(read, None, {**SETTINGS, "sample": 0.25}))
    windows = Windows(made)
    for number in range(40):
        windows.take(request(ROWS[:1], puid=str(number)))
        windows.take(copy(FEEDBACK, {"reward": 1}, puid=str(number)))
    assert windows.counts.rows == sum(kept[:40])
    assert windows.counts.skipped == 40 - sum(kept[:40])


# What is an alarm


def test_the_features_that_moved_are_found_and_no_others() -> None:
    windows = Windows(plan())
    windows.take(request(ROWS[:50]))
    assert judged(windows) == {}  # too few
    windows.take(request(np.column_stack([RANDOM.normal(size=300), RANDOM.uniform(size=300) + 0.5])))
    found = judged(windows)
    assert [one.alarm for one in found.values()] == [False, True]
    assert found["x1"].size == pytest.approx(0.5, abs=0.1)
    assert found["x1"].rows == 300
    assert sum(found["x1"].seen) == pytest.approx(1, abs=0.01)
    assert len(found["x1"].edges) == len(found["x1"].expected) + 1


def test_categories_and_answers_are_compared_by_their_shares() -> None:
    table = Table(age=RANDOM.normal(size=400), town=["ulm", "bonn"] * 200)
    windows = Windows(plan(table, answers=["yes", "no"] * 200))
    rows = [[1.0, "ulm"]] * 50 + [[0.0, "kiel"]] * 150
    windows.take(request(np.array(rows, dtype=object), ["age", "town"]))
    windows.take(copy(RESPONSE, {"data": {"ndarray": ["yes"] * 100 + ["no"] * 100}}))
    windows.take(copy(RESPONSE, {"data": {"ndarray": ["yes"] * 190 + ["no"] * 10}}, version="v2"))
    found = judged(windows)
    assert (found["town"].alarm, found["town"].size, found["town"].edges) == (True, 0.75, ("bonn", "ulm", "(other)"))
    assert (found["v1"].about, found["v1"].alarm, found["v2"].alarm) == ("prediction", False, True)


def test_the_tests_agree_with_tables() -> None:
    # scipy.stats.ks_2samp(method="asymp"), and scipy.stats.chi2_contingency(correction=False)
    size, p = judging.distance(np.arange(100), np.arange(100) * 1.4)
    assert (size, p) == (pytest.approx(0.29), pytest.approx(0.000322, rel=0.01))
    assert judging.independence(np.array([[30, 20, 0], [20, 35, 0]])) == pytest.approx(0.015435, rel=1e-3)
    assert judging.independence(np.array([[30, 0], [0, 0]])) == 1.0


def test_false_alarms_are_as_rare_as_was_asked() -> None:
    random = np.random.default_rng(3)
    made = plan(random.normal(size=(1000, 20)))
    alarms = 0
    for _ in range(20):
        windows = Windows(made)
        windows.take(request(random.normal(size=(300, 20))))
        alarms += any(one.alarm for one in judged(windows).values())
    assert alarms == 0
    assert judging.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_an_alarm_is_said_once_then_now_and_then_and_when_it_ends() -> None:
    alarms = Alarms(repeat=600)
    quiet = [Finding("feature", name, "ks", 0.01, 1.0, 300) for name in ("a", "b")]
    one = [Finding("feature", "a", "ks", 0.4, 1e-9, 300, alarm=True), quiet[1]]
    both = [one[0], Finding("feature", "b", "chi2", 0.7, 1e-9, 250, alarm=True)]
    assert alarms.update(quiet, 0) == []
    (first,) = alarms.update(one, 10)
    assert (first.type, first.reason, first.again) == ("Warning", "FeatureDrift", False)
    assert (
        first.message
        == "1 of 2 features differ from the reference: a (distance 0.40); the last 300 rows were looked at"
    )
    assert alarms.update(one, 300) == []
    (again,) = alarms.update(one, 700)
    assert (again.again, again.message) == (True, first.message)
    assert alarms.update(both, 710) == []  # never two within a minute
    (more,) = alarms.update(both, 770)
    assert more.message.startswith("2 of 2 features differ from the reference: b (shift 0.70), a (distance 0.40);")
    assert alarms.update([], 900) == []  # nothing was looked at, so nothing is known to be well
    (ended,) = alarms.update(quiet, 900)
    assert (ended.type, ended.reason) == ("Normal", "FeatureDriftEnded")
    made = event({"kind": "SeldonDeployment", "name": "iris", "namespace": "ns"}, more, "iris.1", "now")
    assert (made["type"], made["reason"], made["involvedObject"]["name"]) == ("Warning", "FeatureDrift", "iris")


async def test_the_page_says_all_that_is_known() -> None:
    monitor = Monitor(plan(answers=[0, 1] * 200), None)
    app = App(monitor)
    headers = {b"ce-type": REQUEST.encode(), b"ce-endpoint": b"v1", b"ce-requestid": b"7"}
    assert app.answer(Request("POST", "/", b"", headers, request(ROWS[:300] + 3).body)).code == 202
    await monitor.look()
    told = findings.of(json.loads(app.answer(Request("GET", "/findings", b"", {})).body), dropped=4)
    assert set(told.drifted) == {"x0", "x1"}
    assert (told.rows, told.copies, told.dropped, told.window, told.sample) == (300, 1, 4, 300, 1.0)
    assert told.alarms[0].reason == "FeatureDrift"
    assert app.answer(Request("GET", "/health/ping", b"", {})).code == 200


# What cannot be watched


@pytest.mark.parametrize(
    ("data", "told", "says"),
    [
        (ROWS, {"width": 4}, "the reference has 2 columns, and the model takes 4"),
        (Table(a=[1.0] * 60, c=[1.0] * 60), {"columns": ["a", "b"]}, "other columns than the model: it lacks b"),
        (Table(a=[1.0] * 60, b=[1.0] * 60), {"columns": ["a"]}, "it has b, which it does not take"),
        (ROWS[:10], {}, "the reference has 10 rows; a distribution needs at least 50"),
        (ROWS[:, 0], {}, "it is a table of rows and columns"),
        ([[1, 2], [3]], {}, "do not have one length"),
        (Table(note=[f"text {n}" for n in range(60)]), {}, "no column to watch: note has 60 different values"),
        (np.array([[f"text {n}", 1] for n in range(60)], dtype=object), {}, "column x0 of the reference cannot be"),
        (np.zeros((60, 1001)), {}, "1001 columns; at most 1000"),
    ],
)
def test_a_reference_that_is_none_is_refused_with_a_sentence(data: Any, told: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        references.read(data, told)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sample": 0}, "sample is 0; it is a share"),
        ({"sample": 1.5}, "sample is 1.5"),
        ({"sample": "all"}, "sample is 'all'"),
        ({"window": 10}, "window is 10"),
        ({"alpha": 1}, "alpha is 1"),
        ({"effect": -0.1}, "effect is -0.1"),
    ],
)
def test_settings_out_of_bounds_are_refused(change: dict[str, Any], says: str) -> None:
    usual = {"sample": 1.0, "window": 300, "alpha": 0.01, "effect": 0.1}
    with pytest.raises(UsageError, match=says):
        references.check_settings(**usual | change)


def test_columns_that_say_nothing_are_left_out_by_name() -> None:
    read = references.read(Table(age=RANDOM.normal(size=60), note=[f"text {n}" for n in range(60)]), {})
    assert [one["name"] for one in read.columns] == ["age"]
    assert read.left == {"note": "has 60 different values, more than the 50 of a category"}


# The objects


def endpoint(**graph: Any) -> dict[str, Any]:
    predictor = endpoints.predictor("v1", {"name": "iris-v1", **graph}, [], replicas=1, provenance={})
    made = endpoints.deployment("iris", "ns", "seldon", [predictor], "abc")
    made["metadata"]["uid"] = "u1"
    return made


def test_copies_are_asked_for_and_taken_back_without_a_trace() -> None:
    before = endpoint()
    where = "http://iris-monitor.ns.svc.cluster.local:80/"
    logged = monitors.logged(endpoints.predictors(before), monitors.url(before), 0.5)
    assert logged[0]["graph"]["logger"] == {"url": where, "mode": "all"}
    after = {**before, "spec": {**before["spec"], "predictors": logged}}
    assert (monitors.sampled(before), monitors.sampled(after)) == (None, 0.5)
    assert monitors.logged(logged, where, 0.5) == logged
    assert monitors.unlogged(logged, where) == endpoints.predictors(before)
    routed = [{**logged[0], "graph": {"name": "bandit", "children": [logged[0]["graph"]]}}]
    assert "logger" not in monitors.logged(routed, where, 1.0)[0]["graph"]["children"][0]
    assert monitors.elsewhere(endpoint(logger={"url": "http://other/", "mode": "all"})) == "http://other/"
    assert monitors.elsewhere(after) == ""
    with pytest.raises(UsageError, match="the name of what watches an endpoint"):
        endpoints.check_version("monitor")


def test_the_monitor_may_write_events_and_nothing_else() -> None:
    (_, account), (_, role), (_, binding) = monitors.rights(endpoint())
    assert role["rules"] == [{"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]}]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "iris-monitor", "namespace": "ns"}]
    for one in (account, role, binding):
        assert one["metadata"]["ownerReferences"][0]["uid"] == "u1"
