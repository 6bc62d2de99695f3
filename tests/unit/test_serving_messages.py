"""Predictions on the wire: what goes in is what a person has, and what comes back has its shape."""

from __future__ import annotations

import json
import sys
import types
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from serving_world import Table

import jupyterlab_kf as kf
from jupyterlab_kf.services.serving import messages


def sent(value: Any, protocol: str = "seldon") -> Any:
    return json.loads(messages.request(value, protocol=protocol, model="iris").body)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array([[1.5, 2.0]]), {"data": {"tensor": {"shape": [1, 2], "values": [1.5, 2.0]}}}),
        ([[1, 2], [3, 4]], {"data": {"tensor": {"shape": [2, 2], "values": [1, 2, 3, 4]}}}),
        ([1, 2], {"data": {"tensor": {"shape": [1, 2], "values": [1, 2]}}}),
        ([["a", "b"]], {"data": {"ndarray": [["a", "b"]]}}),
        ([["a", 1]], {"data": {"ndarray": [["a", 1]]}}),
        (np.asfortranarray([[1, 2], [3, 4]]), {"data": {"tensor": {"shape": [2, 2], "values": [1, 2, 3, 4]}}}),
        ("text", {"strData": "text"}),
        (b"\x00\x01", {"binData": "AAE="}),
        ({"age": 3}, {"jsonData": {"age": 3}}),
        ({"strData": "as it is"}, {"strData": "as it is"}),
        (
            Table([[1, 2]], columns=["a", "b"]),
            {"data": {"names": ["a", "b"], "tensor": {"shape": [1, 2], "values": [1, 2]}}},
        ),
    ],
)
def test_a_request_of_seldons_protocol(value: Any, message: Any) -> None:
    assert sent(value) == message


def test_a_request_of_the_open_inference_protocol() -> None:
    request = messages.request(np.array([[1, 2]], dtype=np.float32), protocol="v2", model="iris")
    assert request.path == "v2/models/iris/infer"
    assert json.loads(request.body) == {
        "inputs": [{"name": "input-0", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}]
    }
    assert sent([["a"]], "v2")["inputs"][0]["datatype"] == "BYTES"
    mixed = Table(np.array([["x", 1]], dtype=object), columns=["name", "count"])
    assert [one["name"] for one in sent(mixed, "v2")["inputs"]] == ["name", "count"]


def test_a_request_of_tensorflow_servings_protocol() -> None:
    request = messages.request(np.array([[1, 2]]), protocol="tensorflow", model="iris")
    assert request.path == "v1/models/iris:predict"
    assert json.loads(request.body) == {"instances": [[1, 2]]}


def test_rows_of_different_lengths_are_refused() -> None:
    with pytest.raises(kf.UsageError, match="do not have one length"):
        sent([[1, 2], [3]])


def test_what_no_message_can_carry_is_refused_by_name() -> None:
    with pytest.raises(kf.UsageError, match="a prediction cannot be asked for object"):
        sent([[object()]])


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "None is nothing"),
        (np.ones((1, 2)) * 1j, "complex128 cannot be sent"),
        ([[1.0, float("inf")]], "infinite numbers"),
        (Table(np.array([[-np.inf]]), columns=["a"]), "infinite numbers"),
    ],
)
def test_numbers_that_json_has_not_are_refused_instead_of_becoming_others(value: Any, told: str) -> None:
    with pytest.raises(kf.UsageError, match=told):
        sent(value)


def test_what_is_no_json_deep_within_a_table_is_told() -> None:
    message = messages.request(
        Table(np.array([["a", 1j]], dtype=object), columns=["a", "b"]), protocol="seldon", model="m"
    )
    with pytest.raises(kf.UsageError, match="a complex cannot be sent as JSON"):
        assert message.body


@pytest.mark.parametrize("reward", [float("nan"), float("inf"), "much"])
def test_a_reward_is_a_number(reward: Any) -> None:
    with pytest.raises(kf.UsageError, match="which is no number"):
        messages.feedback({}, {}, reward, None)


@pytest.mark.parametrize(
    ("columns", "told"),
    [(["b", "x"], "has no column 'a'"), (["b", "a", "x"], "has a column 'x'"), (["b"], "has no column 'a'")],
)
def test_a_table_with_other_columns_than_the_model_was_fitted_with_is_refused(columns: list[str], told: str) -> None:
    table = Table([range(len(columns))], columns=columns)
    with pytest.raises(kf.UsageError, match=told):
        messages.request(table, protocol="seldon", model="m", known=["a", "b"])


@pytest.mark.parametrize("protocol", messages.PROTOCOLS)
def test_a_tables_columns_are_sent_in_the_order_that_the_model_was_fitted_with(protocol: str) -> None:
    table = Table([[2, 1]], columns=["b", "a"])
    found = json.loads(messages.request(table, protocol=protocol, model="m", known=["a", "b"]).body)
    assert found == sent(Table([[1, 2]], columns=["a", "b"]), protocol)
    unrelated = Table([[2, 1]], columns=["x", "y"])
    assert json.loads(messages.request(unrelated, protocol=protocol, model="m", known=["a", "b"]).body) == sent(
        unrelated, protocol
    )


def answered(message: Any, value: Any = ((1, 2),), protocol: str = "seldon") -> Any:
    request = messages.request(
        np.asarray(value) if isinstance(value, tuple) else value, protocol=protocol, model="iris"
    )
    return messages.answer(json.dumps(message).encode(), request, protocol=protocol)


def test_arrays_come_back_as_arrays_in_every_protocol() -> None:
    seldon = {"data": {"names": ["p"], "tensor": {"shape": [2, 1], "values": [0.1, 0.9]}}, "meta": {"puid": "x"}}
    found = answered(seldon)
    assert (found.value.tolist(), found.names, found.puid) == ([[0.1], [0.9]], ("p",), "x")
    output = {"name": "predict", "shape": [2], "datatype": "INT64", "data": [0, 1]}
    assert answered({"outputs": [output]}, protocol="v2").value.dtype == np.int64
    two = answered({"outputs": [output, {**output, "name": "other"}]}, protocol="v2").value
    assert set(two) == {"predict", "other"}
    assert answered({"predictions": [[1.0, 2.0]]}, protocol="tensorflow").value.tolist() == [[1.0, 2.0]]


@pytest.mark.parametrize(
    ("message", "value"),
    [
        ({"strData": "text"}, "text"),
        ({"binData": "AAE="}, b"\x00\x01"),
        ({"jsonData": {"a": 1}}, {"a": 1}),
        ({"data": {"ndarray": [[1], [2, 3]]}}, [[1], [2, 3]]),
    ],
)
def test_everything_else_comes_back_as_it_is(message: Any, value: Any) -> None:
    assert answered(message).value == value


def test_what_is_no_number_comes_back_as_nan() -> None:
    for data in ({"ndarray": [[None, 1.5]]}, {"tensor": {"shape": [1, 2], "values": [None, 1.5]}}):
        assert np.array_equal(answered({"data": data}).value, [[np.nan, 1.5]], equal_nan=True)
    assert answered({"data": {"ndarray": [["a", None]]}}).value.tolist() == [["a", None]]


def test_a_table_comes_back_with_the_rows_names(monkeypatch: pytest.MonkeyPatch) -> None:
    pandas = types.ModuleType("pandas")
    pandas.DataFrame = Table  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", pandas)
    table = Table([[1, 2], [3, 4]], index=["x", "y"], columns=["a", "b"])
    found = answered({"data": {"names": ["p"], "ndarray": [[0.1], [0.9]]}}, table).value
    assert (found.index, found.columns) == (["x", "y"], ["p"])


def test_what_is_no_message_of_the_protocol_is_not_taken_for_one() -> None:
    for protocol, text in (("v2", b"{}"), ("tensorflow", b"{}"), ("seldon", b"[]"), ("seldon", b"<html>")):
        request = messages.request([[1]], protocol=protocol, model="iris")
        with pytest.raises(ValueError, match=r".+"):
            messages.answer(text, request, protocol=protocol)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b'{"status":{"code":400,"info":"no such shape","status":"FAILURE"}}', "no such shape"),
        (b'{"error":"not found"}', "not found"),
        (b"upstream connect error\nmore", "upstream connect error"),
        (b"", "status 502 and nothing more"),
        (b"[]", "[]"),
    ],
)
def test_the_reason_is_found_in_every_error(content: bytes, sentence: str) -> None:
    assert messages.failure(content, 502).sentence == sentence


def test_the_truth_of_a_feedback_is_a_message_too() -> None:
    told = json.loads(messages.feedback({}, {"meta": {"routing": {"r": 1}}}, None, 1))
    assert told == {
        "request": {},
        "response": {"meta": {"routing": {"r": 1}}},
        "truth": {"data": {"tensor": {"shape": [1], "values": [1]}}},
    }


@given(st.lists(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=2), min_size=1))
def test_numbers_arrive_as_they_were(rows: list[list[float]]) -> None:
    message = sent(rows)
    tensor = message["data"]["tensor"]
    assert np.array_equal(np.array(tensor["values"]).reshape(tensor["shape"]), np.array(rows))
    assert answered(message, rows).value.tolist() == rows
