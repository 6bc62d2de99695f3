"""Graphs of models: how they are said, what is refused, what would be made of them, and the parts that we bring."""

from __future__ import annotations

import base64
import functools
import io
import re
import sys
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import joblib  # type: ignore[import-untyped]
import numpy as np
import pytest
from serving_world import World, installed
from sklearn.ensemble import IsolationForest  # type: ignore[import-untyped]
from sklearn.linear_model import LinearRegression, LogisticRegression  # type: ignore[import-untyped]
from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]

import jupyterlab_kf as kf
from jupyterlab_kf.magics.arguments import split
from jupyterlab_kf.model import Obj
from jupyterlab_kf.runtime.serving.component import Unit
from jupyterlab_kf.runtime.serving.engine import graph as engine
from jupyterlab_kf.runtime.serving.messages import Message, Refusal
from jupyterlab_kf.runtime.serving.parts import Majority, Mean, OutlierDetector
from jupyterlab_kf.services.serving import graphs

IRIS = np.array([[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3], [7.7, 3.8, 6.7, 2.2]])
SOURCE = """
class Scale:
    def __init__(self, by=2.0):
        self.by = by

    def transform_input(self, X, names=None):
        return self.by * X


class Around:
    def transform_input(self, X, names=None):
        return X

    def transform_output(self, X, names=None):
        return X

    def send_feedback(self, X, names, reward, truth, routing=None):
        pass


class Round:
    def transform_output(self, X, names=None):
        return X.round()


class First:
    def aggregate(self, features_list, names_list):
        return features_list[0]


class Night:
    def route(self, X, names=None):
        return 0


class Stateful(Scale):
    def load(self):
        self.table = [1, 2, 3]


class Hidden:
    def __init__(self, by):
        self._by = by

    def predict(self, X, names=None):
        return X
"""


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return installed(monkeypatch)


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Classes of a module beside the notebook."""
    (tmp_path / "steps.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "steps", raising=False)
    import steps  # type: ignore[import-not-found]

    return steps


@cache
@functools.cache
def labels() -> LogisticRegression:
    return LogisticRegression().fit(IRIS, [0, 1, 2])


@cache
@functools.cache
def numbers() -> LinearRegression:
    return LinearRegression().fit(IRIS, [0.0, 1.0, 2.0])


def drawn(graph: Any, **more: Any) -> Obj:
    """The predictor that would be made."""
    found: Obj = kf.plan_serve(graph=graph, name="iris", **more).endpoint["spec"]["predictors"][0]
    return found


def shape(node: Obj) -> Any:
    """A graph as nested tuples of type and name."""
    name = node["name"].removeprefix("iris-v1-")
    inner = [shape(child) for child in node["children"]]
    kind = node.get("implementation") or "+".join([node["type"], *node.get("methods", ())])
    return (kind, name, *inner)


def shipped(predictor: Obj, planned: kf.ServePlan) -> dict[str, bytes]:
    assert predictor["componentSpecs"]
    packed = base64.b64decode(planned.code_maps[-1]["binaryData"]["code.tar.gz"])
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        return {one.name: file.read() for one in tar if (file := tar.extractfile(one))}


# What becomes of a graph


def test_a_chain_leads_from_left_to_right(world: World, steps: Any) -> None:
    graph = kf.chain(StandardScaler().fit(IRIS), steps.Scale(), steps.Around, numbers(), steps.Round)
    assert shape(drawn(graph)["graph"]) == (
        "OUTPUT_TRANSFORMER",
        "round",
        (
            "MODEL",
            "standardscaler",
            (
                "TRANSFORMER",
                "scale",
                (
                    "TRANSFORMER+TRANSFORM_OUTPUT+SEND_FEEDBACK",
                    "around",
                    ("MODEL", "linearregression"),
                ),
            ),
        ),
    )
    assert not world.objects


def test_combiners_and_routers_have_branches_of_any_depth(world: World, steps: Any) -> None:
    inner = kf.route(labels(), labels(), by="thompson", seed=3)
    graph = kf.combine(kf.chain(steps.Scale, labels()), inner, by="majority")
    predictor = drawn(graph)
    assert shape(predictor["graph"]) == (
        "COMBINER",
        "majority",
        ("TRANSFORMER", "scale", ("MODEL", "logisticregression")),
        ("ROUTER", "thompson", ("MODEL", "logisticregression-2"), ("MODEL", "logisticregression-3")),
    )
    router = predictor["graph"]["children"][1]
    assert {one["name"]: one["value"] for one in router["parameters"]} == {
        "seed": "3",
        "n_branches": "2",
        "branch_names": "logisticregression-2:logisticregression-3",
    }
    assert not world.objects


def test_an_ab_test_is_seldons_own(world: World) -> None:
    node = drawn(kf.route(labels(), numbers(), share=20))["graph"]
    assert shape(node) == ("RANDOM_ABTEST", "ab-test", ("MODEL", "logisticregression"), ("MODEL", "linearregression"))
    assert node["parameters"] == [{"name": "ratioA", "value": "0.8", "type": "FLOAT"}]
    assert not world.objects


def test_classes_of_ones_own_combine_and_choose(world: World, steps: Any) -> None:
    assert shape(drawn(kf.combine(labels(), labels(), by=steps.First))["graph"])[:2] == ("COMBINER", "first")
    assert shape(drawn(kf.route(labels(), labels(), by=steps.Night))["graph"])[:2] == ("ROUTER", "night")
    assert not world.objects


def test_a_fitted_outlier_detector_stands_before_a_model(world: World) -> None:
    planned = kf.plan_serve(kf.chain(IsolationForest(n_estimators=5, random_state=0).fit(IRIS), labels()), name="iris")
    node = planned.endpoint["spec"]["predictors"][0]["graph"]
    assert shape(node) == ("TRANSFORMER", "isolationforest", ("MODEL", "logisticregression"))
    assert node["parameters"] == [
        {"name": "path", "value": "model/isolationforest/model.joblib", "type": "STRING"},
    ]
    assert "outlier detector isolationforest, then logisticregression" in planned.summary
    assert not world.objects


def test_units_share_one_pod_and_one_bundle_and_each_has_a_container(world: World, steps: Any) -> None:
    planned = kf.plan_serve(graph=kf.chain(steps.Scale(3), labels()), name="iris")
    predictor = planned.endpoint["spec"]["predictors"][0]
    (part,) = predictor["componentSpecs"]
    assert [one["name"] for one in part["spec"]["containers"]] == ["iris-v1-scale", "iris-v1-logisticregression"]
    files = shipped(predictor, planned)
    assert {"steps.py", "serving.zip", "model/logisticregression/model.joblib"} <= files.keys()
    text = files["kf_serve.py"].decode()
    assert "'iris-v1-scale': ['--class', 'steps:Scale']" in text
    assert "'iris-v1-logisticregression': ['--model', 'model/logisticregression/model.joblib'" in text
    compile(text, "kf_serve.py", "exec")
    assert predictor["graph"]["parameters"] == [{"name": "by", "value": "3", "type": "INT"}]
    assert not world.objects


def test_the_engine_takes_what_is_made(world: World, steps: Any) -> None:
    every = kf.chain(steps.Around, kf.combine(numbers(), kf.route(numbers(), numbers(), by="ucb")), steps.Round)
    graph = engine.plan(drawn(every))
    assert [node.kind for node in graph.root.nodes()] == [
        "OUTPUT_TRANSFORMER",
        "TRANSFORMER",
        "COMBINER",
        "MODEL",
        "ROUTER",
        "MODEL",
        "MODEL",
    ]
    assert not world.objects


def test_what_a_graph_is_made_of_is_recorded(world: World, steps: Any) -> None:
    endpoint = kf.serve(graph=kf.chain(steps.Scale, labels()), name="iris", timeout=5)
    told = endpoint.provenance()
    assert told["called"] == "chain(Scale, LogisticRegression)"
    assert {name: one["type"] for name, one in told["units"].items()} == {
        "scale": "transformer",
        "logisticregression": "model",
    }
    assert re.fullmatch("[0-9a-f]{64}", told["units"]["logisticregression"]["model"])
    assert world.endpoints()


def test_names_that_are_too_long_together_stay_different(world: World) -> None:
    graph = kf.combine(kf.unit(labels(), "a" * 24), kf.unit(labels(), "b" * 24), by="majority")
    (part,) = kf.plan_serve(graph=graph, name="n" * 40).endpoint["spec"]["predictors"][0]["componentSpecs"]
    found = [one["name"] for one in part["spec"]["containers"]]
    assert len(set(found)) == 3
    assert max(map(len, found)) <= 63
    assert not world.objects


def test_a_plan_reads_as_python_and_as_a_line(world: World, steps: Any) -> None:
    graph = kf.chain(steps.Scale, kf.combine(kf.unit(labels(), "one"), kf.unit(labels(), "two"), by="majority"))
    planned = kf.plan_serve(graph=graph, name="iris", cpu=0.5, install=["lightgbm"])
    assert "graph=kf.chain(Scale, kf.combine(one, two, by='majority'))" in planned.python()
    assert "cpu=0.5" in planned.python()
    line = planned.magic()
    assert line == (
        "%kf_serve --name iris --cpu 0.5 --install lightgbm --graph chain(Scale, combine(one, two, by=majority))\n"
    )
    alone = kf.plan_serve(labels(), name="iris", canary=10)
    assert alone.magic() == "%kf_serve model --name iris --canary 10\n"
    assert "kf.serve(\n    model,\n    name='iris',\n    canary=10,\n)" in alone.python()
    assert not world.objects


# What is refused


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: kf.chain(labels()), "at least two parts"),
        (lambda _: kf.combine(labels()), "at least two parts"),
        (lambda _: kf.chain(labels(), [labels()]), "a list is not a model"),
        (lambda _: kf.combine(labels(), labels(), by="median"), "no such way"),
        (lambda _: kf.combine(labels(), labels(), by="mean"), "answers labels, whose mean says nothing"),
        (lambda _: kf.combine(numbers(), numbers(), weights=[1]), "1 weights and 2 parts"),
        (lambda _: kf.route(labels(), labels(), by="ucb", epsilon=1), "ucb has no setting 'epsilon'"),
        (lambda _: kf.route(labels(), labels(), labels()), "two parts to choose from, not 3"),
        (lambda _: kf.route(labels(), labels(), share=101), "share is 101"),
        (lambda s: kf.chain(s.Round, labels()), "cannot stand before logisticregression"),
        (lambda s: kf.chain(s.First, labels()), "cannot stand before logisticregression"),
        (lambda s: kf.chain(labels(), s.Scale), "Scale cannot answer requests: it has no method predict"),
        (lambda _: kf.chain(kf.combine(numbers(), numbers()), labels()), "nothing can follow combine"),
        (lambda s: kf.combine(labels(), labels(), by=s.Night), "Night cannot combine: it has no method aggregate"),
        (lambda s: kf.route(labels(), labels(), by=s.First), "First cannot choose: it has no method route"),
        (lambda s: kf.chain(s.Scale(by=[1]), labels()), "parameter by is a list"),
        (lambda s: kf.chain(s.Hidden(1), labels()), "cannot be told: it has no attribute 'by'"),
        (lambda _: kf.unit(labels(), "Not A Name"), "not one that Kubernetes accepts"),
    ],
)
def test_what_cannot_be_a_graph_is_refused_before_anything_exists(
    world: World, steps: Any, make: Any, said: str
) -> None:
    with pytest.raises(kf.UsageError, match=re.escape(said)):
        kf.serve(graph=make(steps), name="iris")
    assert not world.objects


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"method": "predict_proba"}, "method is said of a part"),
        ({"protocol": "v2"}, "a graph speaks Seldon's protocol"),
        ({"replicas": 2}, "each would learn something else"),
        ({"model": "model.onnx"}, "model and graph are both given"),
    ],
)
def test_what_a_graph_cannot_be_told(world: World, more: dict[str, Any], said: str) -> None:
    graph = kf.route(labels(), labels(), by="epsilon-greedy")
    with pytest.raises(kf.UsageError, match=said):
        kf.serve(graph=graph, **more)
    with pytest.raises(kf.UsageError, match="nothing to serve"):
        kf.serve()
    assert not world.objects


def test_an_object_is_served_as_its_class_makes_it(world: World, steps: Any) -> None:
    assert kf.plan_serve(steps.Hidden, name="a", params={"by": 1}).model.params == {}
    changed = steps.Stateful(4)
    assert drawn(kf.chain(changed, labels()))["graph"]["parameters"][0]["value"] == "4"
    changed.load()
    with pytest.raises(kf.UsageError, match="its attribute 'table' is another"):
        drawn(kf.chain(changed, labels()))
    assert not world.objects


# Said in a line


def test_a_line_says_a_graph_over_variables() -> None:
    known = {"scale": object(), "a": 1, "b_model": 2, "pair": kf.combine(labels(), labels(), by="majority")}
    read = graphs.from_text("chain(scale, route(a, b_model, by=epsilon-greedy, epsilon=0.2))", known)
    assert repr(read) == "chain(scale, route(a, b-model, by='epsilon-greedy', epsilon=0.2))"
    assert repr(graphs.from_text("kf.chain(scale, pair)", known)).startswith("chain(scale, combine(")
    assert repr(graphs.from_text("chain(scale, unit(a, 'mine', method=predict_proba))", known)) == "chain(scale, mine)"


def test_a_planned_line_can_be_read_again(world: World, steps: Any) -> None:
    made = kf.chain(Path("steps.py"), kf.route(labels(), labels(), by="epsilon-greedy", epsilon=0.2))
    words = split(kf.plan_serve(graph=made, name="iris").magic())
    again = graphs.from_text(" ".join(words[words.index("--graph") + 1 :]), {"LogisticRegression": labels()})
    assert repr(again).lower() == repr(made).lower()
    known = {"a": 1, "mean": np.mean}
    assert repr(graphs.from_text("combine(a, a, by=mean)", known)) == "combine(a, a, by='mean')"
    assert steps
    assert not world.objects


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("chain(scale, b)", "no variable 'b'"),
        ("chian(scale, scale)", "'chian' does not make a graph"),
        ("chain(scale", "is not a graph"),
        ("chain(scale, print('x'))", "'print' does not make a graph"),
        ("chain(scale, scale + scale)", "scale + scale is not a part"),
        ("route(scale, scale, **scale)", "is not a graph"),
    ],
)
def test_a_line_that_is_no_graph_says_so_and_runs_nothing(text: str, said: str) -> None:
    with pytest.raises(kf.UsageError, match=re.escape(said)):
        graphs.from_text(text, {"scale": object()})


# The parts that we bring


def message(values: Any) -> Message:
    return Message(np.asarray(values), "ndarray", (), {})


def test_the_mean_is_taken_number_by_number_and_may_be_weighted() -> None:
    assert Unit(Mean()).aggregate([message([1.0, 2.0]), message([3.0, 6.0])]).data.tolist() == [2.0, 4.0]
    assert Unit(Mean("3,1")).aggregate([message([1.0]), message([5.0])]).data.tolist() == [2.0]
    with pytest.raises(Refusal, match="different shapes"):
        Unit(Mean()).aggregate([message([1.0]), message([1.0, 2.0])])
    with pytest.raises(Refusal, match="no number"):
        Unit(Mean()).aggregate([message(["a"]), message(["b"])])


def test_the_majority_answers_what_most_said_and_the_first_of_equals() -> None:
    told = [message(["a", "b", "c"]), message(["a", "c", "d"]), message(["b", "c", "e"])]
    assert Unit(Majority()).aggregate(told).data.tolist() == ["a", "c", "c"]
    assert Unit(Majority()).aggregate([message([1, 2]), message([2, 2])]).data.tolist() == [1, 2]


def test_a_detector_hands_rows_on_and_tags_the_unusual_ones(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).normal(size=(200, 2))
    joblib.dump(IsolationForest(n_estimators=20, random_state=0).fit(rows), tmp_path / "model.joblib")
    unit = Unit(OutlierDetector(str(tmp_path / "model.joblib")))
    unit.load()
    answer = unit.transform_input(message([[0.0, 0.1], [9.0, 9.0]]))
    assert answer.data.tolist() == [[0.0, 0.1], [9.0, 9.0]]
    assert answer.meta["tags"]["outlier"] == [False, True]
    assert answer.meta["tags"]["outlier_score"][1] < 0 < answer.meta["tags"]["outlier_score"][0]
    with pytest.raises(Refusal, match="does not take this input"):
        unit.transform_input(message([[1.0]]))


def test_of_a_graph_the_unit_that_fails_is_named(world: World) -> None:
    graph = kf.chain(StandardScaler().fit(IRIS), labels())
    endpoint = kf.serve(graph=graph, name="iris", wait=False)
    statuses = [
        {"name": "iris-v1-standardscaler", "ready": True, "restartCount": 0, "state": {"running": {}}},
        {
            "name": "iris-v1-logisticregression",
            "ready": False,
            "restartCount": 2,
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error"}},
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        },
    ]
    world.broken.add("v1")
    real = world.pods
    world.pods = lambda one: iter(
        [pod | {"status": pod["status"] | {"containerStatuses": statuses}} for pod in real(one)]
    )  # type: ignore[method-assign]
    why = endpoint.explain()
    assert why is not None
    assert "v1/logisticregression-0 failed" in why.sentence


def test_a_part_of_source_text_is_called_as_its_class() -> None:
    text = "import numpy\n\nclass Thrice:\n    def predict(self, X, names=None):\n        return 3 * X\n"
    assert repr(kf.chain(text, "model.joblib")) == "chain(Thrice, 'model.joblib')"
