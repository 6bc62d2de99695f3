"""Users' classes behind Seldon's verbs, in process."""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jupyterlab_kf.runtime.serving import flavours, loading, seldoncore
from jupyterlab_kf.runtime.serving.component import Unit, branch_of
from jupyterlab_kf.runtime.serving.identity import Identity, parameters
from jupyterlab_kf.runtime.serving.messages import Feedback, Message, Refusal
from jupyterlab_kf.services.serving import models

X = np.array([[1.0, 2.0], [3.0, 4.0]])


def unit(target: object, **identity: Any) -> Unit:
    made = Unit(target, "model", identity=Identity(**identity))
    made.load()
    return made


class Doubler:
    """What a tutorial writes."""

    loaded = False

    def load(self) -> None:
        self.loaded = True

    def predict(self, X: Any, _names: Any, meta: Any = None) -> Any:  # noqa: N803, ARG002
        assert self.loaded
        return X * 2

    def tags(self) -> Any:
        return {"version": "v1"}

    def metrics(self) -> Any:
        return [{"type": "COUNTER", "key": "calls", "value": 1}]


def test_an_answer_has_the_kind_of_its_request_and_the_class_its_say_in_meta() -> None:
    for kind in ("ndarray", "tensor", "tftensor"):
        answer = unit(Doubler(), unit="model", image="iris:2").predict(
            Message(X, kind, ["a", "b"], {"puid": "p", "tags": {"from": "me"}, "routing": {"r": 1}})
        )
        assert answer.kind == kind
        assert answer.data.tolist() == [[2, 4], [6, 8]]
        assert answer.names == ["t:0", "t:1"]
        assert answer.meta == {
            "puid": "p",
            "tags": {"from": "me", "version": "v1"},
            "metrics": [{"type": "COUNTER", "key": "calls", "value": 1}],
            "requestPath": {"model": "iris:2"},
        }


def test_a_message_that_was_given_is_not_changed() -> None:
    meta = {"tags": {"from": "me"}, "metrics": []}
    message = Message(X.copy(), "ndarray", ["a", "b"], meta)
    unit(Doubler()).predict(message)
    assert meta == {"tags": {"from": "me"}, "metrics": []}
    assert message.data.tolist() == X.tolist()


@pytest.mark.parametrize(
    ("result", "asked", "kind", "data"),
    [
        ("text", "ndarray", "strData", "text"),
        (b"raw", "ndarray", "binData", b"raw"),
        ({"a": 1}, "tensor", "jsonData", {"a": 1}),
        ([1, 2], "strData", "tensor", [1, 2]),
        (["a"], "tensor", "ndarray", ["a"]),
        (3, "ndarray", "ndarray", [3]),
        (np.float64(0.5), "", "tensor", [0.5]),
    ],
)
def test_a_result_says_its_kind_itself_where_it_is_no_array(result: Any, asked: Any, kind: str, data: Any) -> None:
    class Says:
        def predict(self, _x: Any, _names: Any) -> Any:
            return result

    answer = unit(Says()).predict(Message(X, asked))
    assert answer.kind == kind
    assert (answer.data.tolist() if isinstance(answer.data, np.ndarray) else answer.data) == data


def test_class_names_may_be_a_method_or_an_attribute() -> None:
    class ByMethod:
        def predict(self, x: Any) -> Any:
            return x

        def class_names(self) -> list[str]:
            return ["cat", "dog"]

    class ByAttribute(ByMethod):
        class_names = ["cat", "dog"]  # type: ignore[assignment]  # noqa: RUF012

    for target in (ByMethod(), ByAttribute()):
        assert unit(target).predict(Message(X, "ndarray")).names == ["cat", "dog"]


def test_what_a_class_lacks_is_empty_handed_on_or_refused() -> None:
    class Nothing:
        pass

    bare = unit(Nothing())
    message = Message(X, "ndarray", ["a", "b"])
    assert bare.verbs == frozenset()
    assert bare.predict(message).data.tolist() == []
    assert bare.transform_input(message).names == ["a", "b"]
    assert bare.transform_output(message).data is message.data
    assert bare.send_feedback(Feedback(message)).data.tolist() == []
    assert bare.health_status().data == "healthy"
    with pytest.raises(Refusal, match=r"Nothing has no method route\(self, features, names\)"):
        bare.route(message)
    with pytest.raises(Refusal, match=r"Nothing has no method aggregate"):
        bare.aggregate([message])


def test_a_router_answers_a_number_in_the_kind_of_its_request() -> None:
    class Router:
        def route(self, _features: Any, _names: Any) -> Any:
            return np.int64(1)

    answer = unit(Router()).route(Message(X, "ndarray"))
    assert (answer.kind, answer.data.tolist(), branch_of(answer)) == ("ndarray", [[1]], 1)
    assert branch_of(Message([-1], "jsonData")) == -1
    with pytest.raises(Refusal, match="one whole number"):
        branch_of(Message(np.array([1, 2]), "ndarray"))


def test_a_router_that_answers_no_number_is_told_so() -> None:
    class Router:
        def route(self, _features: Any, _names: Any) -> Any:
            return "left"

    with pytest.raises(Refusal, match="must return a whole number, not 'left'") as refusal:
        unit(Router()).route(Message(X, "ndarray"))
    assert refusal.value.code == 500


def test_a_combiner_joins_payloads_and_what_is_said_beside_them() -> None:
    class Mean:
        def aggregate(self, features: Any, names: Any) -> Any:
            assert names == [["a"], ["b"]]
            return np.mean(features, axis=0)

    answer = unit(Mean()).aggregate(
        [
            Message(np.array([[1.0]]), "tensor", ["a"], {"puid": "p", "tags": {"one": 1}, "metrics": [{"key": "k"}]}),
            Message(np.array([[3.0]]), "tensor", ["b"], {"tags": {"two": 2}, "requestPath": {"m": "i:1"}}),
        ]
    )
    assert answer.data.tolist() == [[2.0]]
    assert answer.meta["tags"] == {"one": 1, "two": 2}
    assert answer.meta["metrics"] == [{"key": "k"}]
    assert answer.meta["requestPath"] == {"m": "i:1"}
    assert answer.meta["puid"] == "p"


def test_feedback_reaches_the_class_with_the_branch_that_answered_and_is_counted() -> None:
    class Bandit:
        def send_feedback(self, features: Any, names: Any, reward: Any, truth: Any, routing: Any = None) -> None:
            self.seen = features.tolist(), names, reward, truth.tolist(), routing

    bandit = Bandit()
    served = unit(bandit)
    routed = Message(meta={"routing": {"model": 1, "other": 0}})
    answer = served.send_feedback(Feedback(Message(X, "ndarray", ["a", "b"]), routed, 0.5, Message(X, "ndarray")))
    assert bandit.seen == (X.tolist(), ["a", "b"], 0.5, X.tolist(), 1)
    assert answer.data.tolist() == []
    text = served.metrics.text().decode()
    assert 'seldon_api_model_feedback_reward_total{deployment_name="NOT_IMPLEMENTED",method="feedback"' in text


def test_raw_methods_see_the_whole_message() -> None:
    class Raw:
        def predict_raw(self, message: Any) -> Any:
            assert message["data"]["ndarray"].tolist() == X.tolist()
            return {"strData": "raw", "meta": {"metrics": [{"type": "GAUGE", "key": "g", "value": 2}]}}

    served = unit(Raw(), metrics_in_answers=False)
    answer = served.predict(Message(X, "ndarray"))
    assert (answer.data, answer.meta) == ("raw", {})
    assert 'g{deployment_name="NOT_IMPLEMENTED",method="predict"' in served.metrics.text().decode()
    assert not served.joins


def test_classes_written_on_seldons_base_class_are_served_without_seldons_package() -> None:
    class Model(seldoncore.SeldonComponent):
        def predict(self, X: Any, _names: Any) -> Any:  # noqa: N803
            return seldoncore.SeldonResponse(X, {"a": 1}, [{"type": "TIMER", "key": "t", "value": 20}])

        def predict_raw(self, _message: Any) -> Any:
            raise seldoncore.SeldonNotImplementedError("not here")

    answer = unit(Model()).predict(Message(X, "ndarray"))
    assert answer.data.tolist() == X.tolist()
    assert answer.meta["tags"] == {"a": 1}
    assert answer.meta["metrics"][0]["key"] == "t"


def test_a_failure_names_the_users_line_and_is_no_bare_500(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken:
        def predict(self, _x: Any, _names: Any) -> Any:
            return {}["missing"]

    with pytest.raises(Refusal) as refusal:
        unit(Broken()).predict(Message(X, "ndarray"))
    assert refusal.value.code == 500
    assert "predict() raised KeyError: 'missing'" in refusal.value.info
    assert 'return {}["missing"]' in refusal.value.info
    assert "Traceback" in capsys.readouterr().err


def test_a_class_may_choose_code_and_reason() -> None:
    class Picky:
        def predict(self, _x: Any, _names: Any) -> Any:
            raise seldoncore.SeldonMicroserviceException("too many rows", status_code=422, reason="TOO_MANY")

    with pytest.raises(Refusal, match="too many rows") as refusal:
        unit(Picky()).predict(Message(X, "ndarray"))
    assert (refusal.value.code, refusal.value.reason) == (422, "TOO_MANY")


def test_a_class_may_handle_its_own_errors() -> None:
    class Handles:
        def predict(self, _x: Any, _names: Any) -> Any:
            raise ValueError("no")

        def model_error_handler(self, error: Exception) -> Any:
            return {"mine": str(error)}, 418

    with pytest.raises(Refusal) as refusal:
        unit(Handles()).predict(Message(X, "ndarray"))
    assert (refusal.value.code, json.loads(refusal.value.body or b"")) == (418, {"mine": "no"})


@pytest.mark.parametrize("metric", [[{"key": "k"}], {"key": "k"}, [{"type": "COUNTER", "key": "k", "value": "1"}]])
def test_a_metric_that_is_none_is_shown(metric: Any) -> None:
    class Counts:
        def predict(self, x: Any) -> Any:
            return x

        def metrics(self) -> Any:
            return metric

    with pytest.raises(Refusal, match="metric") as refusal:
        unit(Counts()).predict(Message(X, "ndarray"))
    assert refusal.value.reason == "MICROSERVICE_BAD_METRIC"


def test_metrics_of_a_timer_are_milliseconds_and_stand_in_buckets() -> None:
    served = unit(Doubler())
    served.metrics.update([{"type": "TIMER", "key": "t", "value": 20}], "predict")
    text = served.metrics.text().decode()
    assert 't_bucket{deployment_name="NOT_IMPLEMENTED",le="0.01"' in text
    assert 't_sum{deployment_name="NOT_IMPLEMENTED"' in text
    assert "0.02\n" in text


def test_named_tensors_are_one_array_or_a_mapping_of_them() -> None:
    class Sums:
        def predict(self, data: Any, names: Any) -> Any:
            return sum(data[name] for name in names) if names else data

    served = unit(Sums())
    assert served.infer({"x": X})["predict"].tolist() == X.tolist()
    assert served.infer({"x": X, "y": X}, ["total"])["total"].tolist() == (X * 2).tolist()


def test_parameters_come_typed() -> None:
    text = json.dumps(
        [
            {"name": "n", "value": "3", "type": "INT"},
            {"name": "rate", "value": "0.5", "type": "FLOAT"},
            {"name": "on", "value": "false", "type": "BOOL"},
            {"name": "who", "value": "3", "type": "STRING"},
        ]
    )
    assert parameters(text) == {"n": 3, "rate": 0.5, "on": False, "who": "3"}
    for wrong in ('[{"name": "n", "value": "x", "type": "INT"}]', "{", "{}", '[{"name": 1}]'):
        with pytest.raises(Refusal, match="parameter"):
            parameters(wrong)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A module of a user's, for one test."""
    monkeypatch.setattr(sys, "path", list(sys.path))

    def write(text: str) -> Path:
        (tmp_path / "UserModel.py").write_text(text)
        monkeypatch.delitem(sys.modules, "UserModel", raising=False)
        return tmp_path

    return write


def test_a_class_is_found_by_its_name_and_made_with_its_parameters(module: Callable[[str], Path]) -> None:
    folder = module("class UserModel:\n    def __init__(self, n=1):\n        self.n = n\n    def predict(self, X):\n"
                    "        return X * self.n\n")  # fmt: skip
    for spec in ("UserModel", "UserModel.UserModel", "UserModel:UserModel"):
        served = loading.from_class(spec, {"n": 3}, paths=[str(folder)])
        assert served.predict(Message(X, "ndarray")).data.tolist() == (X * 3).tolist()
    with pytest.raises(Refusal, match="cannot be made with other"):
        loading.from_class("UserModel", {"other": 3}, paths=[str(folder)])
    with pytest.raises(Refusal, match="no class Missing"):
        loading.from_class("UserModel.Missing", {}, paths=[str(folder)])
    with pytest.raises(Refusal, match="no module nowhere_to_be_found"):
        loading.from_class("nowhere_to_be_found.Model", {}, paths=[str(folder)])


def test_a_module_that_the_users_code_needs_is_named(module: Callable[[str], Path]) -> None:
    folder = module("import not_installed_anywhere\n")
    with pytest.raises(Refusal, match="needs the module not_installed_anywhere"):
        loading.from_class("UserModel", {}, paths=[str(folder)])


def test_a_model_is_recognised_by_what_lies_there(tmp_path: Path) -> None:
    for name, kind in (("a/model.joblib", "sklearn"), ("b/model.onnx", "onnx"), ("c/MLmodel", "mlflow"),
                       ("d/saved_model.pb", "tensorflow"), ("e/model.bst", "xgboost"), ("f/m.pt", "torchscript"),
                       ("g/model.json", "xgboost")):  # fmt: skip
        file = tmp_path / name
        file.parent.mkdir()
        file.touch()
        assert loading.recognised(file.parent) == kind
    (tmp_path / "a" / "other.onnx").touch()
    with pytest.raises(Refusal, match=r"several kinds \(onnx, sklearn\).*--kind"):
        loading.recognised(tmp_path / "a")
    with pytest.raises(Refusal, match="there is no model at"):
        loading.from_model(str(tmp_path / "none"))


def test_the_highest_version_is_served(tmp_path: Path) -> None:
    for version in ("2", "10"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "model.joblib").touch()
    assert loading.newest(tmp_path) == (tmp_path / "10", "10")
    assert loading.from_model(str(tmp_path)).version == "10"


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["a", "b", "c"], [[1, 2, 3]]),
        (["c", "a", "b"], [[2, 3, 1]]),
        (["t:0", "t:1", "t:2"], [[1, 2, 3]]),
        ([], [[1, 2, 3]]),
        (["a", "b"], [[1, 2, 3]]),
    ],
)
def test_named_columns_are_put_into_the_models_order(names: list[str], found: list[list[int]]) -> None:
    """Without that a table whose columns stand otherwise is predicted for, and wrongly."""
    rows = np.array([[1, 2, 3]])
    assert flavours.in_order(rows, names, ["a", "b", "c"]).tolist() == found


@pytest.mark.parametrize(
    ("names", "told"), [(["a", "b", "x"], "not made with a column 'x'"), (["a", "b", "b"], "the column 'c' is missing")]
)
def test_columns_that_the_model_does_not_have_are_refused(names: list[str], told: str) -> None:
    with pytest.raises(Refusal, match=told):
        flavours.in_order(np.array([[1, 2, 3]]), names, ["a", "b", "c"])


def test_what_kinds_of_models_may_be_told_is_what_their_servers_take() -> None:
    called = {"pytorch": "torchscript"}
    for kind, known in models.PARAMETERS.items():
        taken = inspect.signature(flavours.KINDS[called.get(kind, kind)]).parameters
        assert set(known) == set(taken) - {"path"}, kind
