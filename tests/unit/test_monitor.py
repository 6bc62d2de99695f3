"""The monitor without a cluster: what copies are read as, what is an alarm, when it is said, what cannot be watched."""

from __future__ import annotations

import json
from pathlib import Path
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
from jupyterlab_kf.widgets.monitoring import findings_card

GOLDEN = Path(__file__).parents[1] / "golden" / "serving"
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


def plan(data: Any = ROWS, answers: Any = None, **more: Any) -> reference.Plan:
    read = references.read(data, {})
    predictions = None if answers is None else references.predictions(answers, ())
    return reference.read(references.dump(read, predictions, {**SETTINGS, **more}))


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
    for _ in range(5):
        windows = Windows(made)
        windows.take(request(random.normal(size=(300, 20))))
        alarms += any(one.alarm for one in judged(windows).values())
    assert alarms == 0
    assert judging.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_rows_that_no_single_feature_would_tell_are_outliers() -> None:
    first = RANDOM.normal(size=400)
    data = np.column_stack([first, first + RANDOM.normal(size=400) / 20])  # the two go together
    windows = Windows(plan(data, outliers=references.outliers(references.read(data, {}))))
    windows.take(request(data[:200]))
    usual = judged(windows)["rows"]
    assert (usual.alarm, usual.usual) == (False, 0.01)
    windows.take(request(np.column_stack([data[:60, 0], -data[:60, 0]])))
    found = judged(windows)["rows"]
    assert found.alarm
    assert found.value == pytest.approx(0.22, abs=0.05)
    (told,) = Alarms(600).update([found], 0)
    assert (told.reason, told.message) == (
        "Outliers",
        f"{found.value:.0%} of the last 260 rows are unlike the reference, of which 1% are",
    )


def told(answers: list[Any], truths: list[Any], rows: Any = (), names: tuple[str, ...] = ()) -> Copy:
    """A feedback."""
    asked = {"data": {"names": list(names), "ndarray": np.asarray(rows, dtype=object).tolist()}}
    data = {"response": {"data": {"ndarray": answers}}, "truth": {"data": {"ndarray": truths}}}
    return copy(FEEDBACK, {"request": asked, "reward": 1, **data})


def test_answers_that_feedback_tells_wrong_are_an_alarm() -> None:
    right = references.right([0, 1] * 200, (), [0, 1] * 195 + [1, 0] * 5, np.arange(400), 400)
    assert right["counts"] == {"1": 390, "0": 10}
    windows = Windows(plan(answers=[0, 1] * 200, right=right))
    windows.take(told([0, 1] * 75, [0, 1] * 72 + [1, 0] * 3))
    assert not judged(windows)["v1"].alarm
    windows.take(told([0, 1] * 75, [1, 0] * 75))
    found = judged(windows)["v1"]
    assert (found.about, found.alarm, found.value, found.usual) == ("accuracy", True, 0.48, 0.975)
    (said,) = Alarms(600).update([found], 0)
    assert said.reason == "AccuracyDrop"
    assert said.message == "v1: 48% of the last 300 answers were right, of the reference 98%"
    # A reward alone tells nothing of right and wrong, and without labels nothing is known to be worse.
    unknown = Windows(plan(answers=[0, 1] * 200))
    unknown.take(copy(FEEDBACK, {"reward": 1, "response": {"data": {"ndarray": [1]}}}))
    unknown.take(told([0, 1] * 75, [1, 0] * 75))
    assert (judged(unknown)["v1"].value, judged(unknown)["v1"].alarm) == (0.0, False)


def test_errors_of_numbers_that_grow_are_an_alarm() -> None:
    true = RANDOM.normal(size=400)
    answers = true + RANDOM.normal(size=400) / 10
    right = references.right(answers, (), true, np.arange(400), 400)
    windows = Windows(plan(answers=answers, right=right))
    windows.take(told(answers[:200].tolist(), true[:200].tolist()))
    assert not judged(windows)["v1"].alarm
    windows.take(told((answers + 0.3)[:300].tolist(), true[:300].tolist()))
    found = judged(windows)["v1"]
    assert (found.about, found.test, found.alarm) == ("accuracy", "ks", True)
    assert found.value == pytest.approx(0.3, abs=0.05)


def test_groups_that_are_answered_otherwise_than_they_were_are_told() -> None:
    table = Table(age=RANDOM.normal(size=400), sex=["f", "m"] * 200)
    read = references.read(table, {})
    references.check_group(read, "sex")
    answers = np.where(RANDOM.uniform(size=400) < 0.5, "yes", "no")
    gap = references.gap(read, "sex", answers, (), np.arange(400))
    assert gap < 0.1
    windows = Windows(plan(table, answers=answers, group="sex", gap=gap))
    rows = [[0.0, "f"], [0.0, "m"]] * 10
    for number in range(15):
        asked = request(np.array(rows, dtype=object), ["age", "sex"], puid=str(number))
        windows.take(asked)
        said = ["no" if sex == "f" and number % 5 else "yes" for _, sex in rows]
        windows.take(copy(RESPONSE, {"data": {"ndarray": said}}, puid=str(number)))
        windows.take(copy(RESPONSE, {"data": {"ndarray": said}}, puid="of another"))
    found = next(one for one in judging.judge(windows.plan, windows.picture()) if one.about == "bias")
    # As fairlearn's demographic_parity_difference has it: 0.2 of one group get yes, and all of the other.
    assert (found.name, found.alarm, found.edges, found.rows) == ("v1", True, ("f", "m"), 300)
    assert found.value == pytest.approx(0.8)
    (said_of_it,) = (one for one in Alarms(600).update([found], 0))
    assert said_of_it.reason == "GroupBias"
    assert "v1: groups are not answered alike (gap 0.80, in the reference 0.0" in said_of_it.message
    assert "): no: f 0.8, m 0; the last 300 rows were looked at" in said_of_it.message
    names = ("age", "sex")
    windows.take(told(["yes"] * 200, [("yes" if sex == "f" else "no") for _, sex in rows] * 10, rows * 10, names))
    by_truth = next(one for one in judging.judge(windows.plan, windows.picture()) if "right" in one.name)
    assert (by_truth.about, by_truth.alarm, by_truth.value, by_truth.usual) == ("bias", True, 1.0, None)
    assert (by_truth.answer, by_truth.edges, by_truth.seen) == ("right", ("f", "m"), (1.0, 0.0))


@pytest.mark.parametrize(
    ("group", "says"),
    [
        ("sexx", "the reference has no column 'sexx' to compare groups by"),
        ("age", "age has numbers, not groups"),
        ("note", "note cannot be compared by: it has 60 different values"),
        ("same", "all rows of the reference are of one group by same"),
    ],
)
def test_a_column_that_has_no_groups_is_refused(group: str, says: str) -> None:
    notes = [f"text {n}" for n in range(60)]
    table = Table(age=RANDOM.normal(size=60), sex=["f", "m"] * 30, note=notes, same=["a"] * 60)
    with pytest.raises(UsageError, match=says):
        references.check_group(references.read(table, {}), group)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ([0, 1], "there are 2 labels for the 400 rows"),
        (["a"] * 400, "not one row of the reference is answered with its label: 0 for a"),
    ],
)
def test_labels_that_are_none_are_refused(labels: list[Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        references.right([0, 1] * 200, (), labels, np.arange(400), 400)


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


def test_a_row_to_try_is_the_first_of_the_reference_without_gaps_in_the_models_order() -> None:
    rows = RANDOM.normal(size=(60, 3))
    rows[0, 1] = float("nan")
    assert references.example(references.read(rows, {}), {}) == tuple(float(f"{one:.6g}") for one in rows[1])
    endpoint = {"metadata": {"annotations": {endpoints.ANNOTATION_EXAMPLE: "[7.0, 8.0, 9.0]"}}}
    assert endpoints.sample(endpoint, {}) == [7.0, 8.0, 9.0]
    assert endpoints.sample(endpoint, {"width": 2}) == [1.0, 1.0], "another version takes other columns"
    assert endpoints.sample(endpoint, {"example": [3.0]}) == [3.0], "what the version says of itself counts first"


# What a cell shows


def test_a_cell_shows_alarms_first_and_what_was_not_seen() -> None:
    calm = findings.Finding("feature", "age", "ks", 0.03, 1.0, 300)
    loud = findings.Finding("feature", "town", "chi2", 0.75, 1e-12, 200, alarm=True)
    share = findings.Finding("accuracy", "v1", "binomial", 0.3, 1e-9, 120, alarm=True, value=0.675, usual=0.975)
    said = findings.Said(
        100.0, "Warning", "FeatureDrift", "1 of 2 features differ from the reference: town (shift 0.75)"
    )
    found = findings.Findings(
        (calm, loud, share),
        (said,),
        rows=500,
        window=300,
        least=100,
        sample=0.2,
        dropped=1,
        left={"note": "has no numbers"},
    )
    card = findings_card("iris", found, now=190.0)
    lines = card.text.splitlines()
    assert lines[0] == "Monitor of iris: 2 alarms"
    assert [line.split()[1] for line in lines[2:6] if line.split()[1] in ("age", "town", "v1")] == ["town", "v1", "age"]
    assert ": 1 of 2 features differ from the reference: town" in card.text
    assert "500 rows so far; 20% of the requests are copied, the last 300 rows are looked at" in card.text
    assert "Copies that were dropped, as the monitor was away or slow: 1" in card.text
    assert "note is not watched: it has no numbers" in card.text
    assert "<table" in card.html
    assert findings_card("iris", findings.Findings(least=100)).text.startswith("Monitor of iris: waits for 100 rows")
    assert found.drifted == ("town",)


@pytest.mark.parametrize(
    ("told", "changed"),
    [
        ({"about": "outliers", "size": 0.09, "p": 1e-12, "value": 0.1, "usual": 0.01}, True),
        ({"about": "outliers", "size": 0.2, "p": 1e-12, "alarm": True}, False),
        ({"about": "feature", "size": 0.05, "p": 0.2}, False),
        ({"about": "accuracy", "test": "", "size": 0.0, "p": 0.0}, False),
        ({"about": "bias", "size": 0.3, "p": 1e-9, "value": 0.3, "usual": 0.3}, False),
        ({"about": "bias", "size": 0.35, "p": 1e-9, "value": 0.35, "usual": 0.3}, True),
    ],
)
def test_what_differs_by_less_than_an_alarm_is_not_called_well(told: dict[str, Any], *, changed: bool) -> None:
    one = {"name": "rows", "test": "binomial", "alarm": False, "rows": 400, **told}
    plan = {"sample": 1.0, "window": 1000, "least": 100, "alpha": 0.001, "effect": 0.1}
    counts = {"rows": 400, "copies": 4, "unread": 0}
    found = findings.of({"findings": [one], "alarms": [], "counts": counts, "plan": plan, "started": 1.0})
    assert found.findings[0].changed is changed
    text = findings_card("iris", found).text
    assert ("changed" in text, "all is well" in text) == (changed, not (changed or told.get("alarm")))
    assert ("less than the 0.1 that is worth an alarm" in text) is changed


@pytest.mark.parametrize(("protocol", "copies", "rows"), [("seldon", 3, 2), ("v2", 2, 2)])
def test_what_seldons_own_executor_sends_is_read(protocol: str, copies: int, rows: int) -> None:
    recorded = json.loads((GOLDEN / "executor-1.17.1-copies.json").read_text())[protocol]
    monitor = Monitor(plan(answers=np.arange(400) % 2 + 1), None)
    for one in recorded:
        if one["headers"]["ce-type"] == RESPONSE and protocol == "seldon":
            one["body"] = {"data": {"ndarray": [1, 2]}}  # the recorded unit answers words
        headers = {name.encode(): value.encode() for name, value in one["headers"].items()}
        reply = App(monitor).answer(Request("POST", "/", b"", headers, json.dumps(one["body"]).encode()))
        assert reply.code == 202
    counts = monitor.windows.counts
    assert (counts.copies, counts.rows, counts.unread, counts.why) == (copies, rows, 0, "")


# The objects


def endpoint(**graph: Any) -> dict[str, Any]:
    predictor = endpoints.predictor("v1", {"name": "iris-v1", **graph}, [], replicas=1, provenance={})
    made = endpoints.deployment("iris", "ns", "seldon", [predictor], "abc")
    made["metadata"]["uid"] = "u1"
    return made


def test_no_request_waits_for_room_for_a_copy_in_seldons_executor() -> None:
    before = endpoint()
    asked = {"seldon.io/executor-logger-write-timeout-ms": "1"}
    assert monitors.patience(before, copying=True) == asked
    after = {**before, "spec": {**before["spec"], "annotations": asked}}
    assert monitors.patience(after, copying=True) == {}
    assert monitors.patience(after, copying=False) == dict.fromkeys(asked)
    own = {**before, "spec": {**before["spec"], "annotations": dict.fromkeys(asked, "50")}}
    assert monitors.patience(own, copying=True) == monitors.patience(own, copying=False) == {}


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
