"""Payloads of the protocols and the messages they become, without any server."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jupyterlab_kf.runtime.serving import seldon, tensors
from jupyterlab_kf.runtime.serving.messages import Feedback, Message, Refusal

NUMBERS = [dtype for name, dtype in tensors.DTYPES.items() if name != "BYTES"]
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def numbers(*, allow_nan: bool = True) -> st.SearchStrategy[Any]:
    """Arrays of any type that the protocols name."""

    def of(dtype: np.dtype[Any]) -> st.SearchStrategy[Any]:
        plain = {"allow_nan": allow_nan, "allow_infinity": allow_nan} if dtype.kind == "f" else {}
        return arrays.arrays(dtype, SHAPES, elements=plain)

    return st.sampled_from(NUMBERS).flatmap(of)


SAYABLE = numbers(allow_nan=False).filter(lambda array: array.dtype != np.uint64)
"""A bare number in JSON has no type, and whole numbers beyond 2**63 are read as NumPy reads them: as floats."""
TEXTS = arrays.arrays(object, SHAPES, elements=st.binary(max_size=6))


@settings(deadline=None)
@given(numbers() | TEXTS)
def test_raw_bytes_are_read_back_as_they_were_written(array: Any) -> None:
    found = tensors.from_raw(tensors.to_raw(array), tensors.datatype_of(array), list(array.shape), "x")
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert [one if isinstance(one, bytes) else one.tobytes() for one in found.ravel()] == [
        one if isinstance(one, bytes) else one.tobytes() for one in array.ravel()
    ]


@settings(deadline=None)
@given(numbers(allow_nan=False))
def test_values_in_json_are_read_back_in_their_declared_type(array: Any) -> None:
    value = seldon.parse(seldon.dump(seldon.listed(array.ravel())))
    found = tensors.from_values(value, tensors.datatype_of(array), list(array.shape), "x")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@settings(deadline=None)
@given(numbers() | TEXTS)
def test_a_tensor_proto_is_read_back_as_it_was_written(array: Any) -> None:
    value = seldon.parse(seldon.dump(tensors.to_tensor_proto(array)))
    found = tensors.from_tensor_proto(value, "x")
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@settings(deadline=None)
@given(SAYABLE, st.sampled_from(["ndarray", "tensor", "tftensor"]), st.lists(st.text(), max_size=3))
def test_an_array_comes_back_in_the_kind_it_was_sent(array: Any, kind: Any, names: list[str]) -> None:
    back = seldon.decode(seldon.encode(Message(array, kind, names, {"tags": {"a": 1}})))
    assert (back.kind, list(back.names), back.meta) == (kind, names, {"tags": {"a": 1}})
    assert back.data.shape == array.shape
    np.testing.assert_array_equal(back.data.astype(array.dtype), array)


@settings(deadline=None)
@given(st.binary(), st.text(), JSON)
def test_bytes_text_and_json_come_back_as_they_were_sent(raw: bytes, text: str, value: Any) -> None:
    assert seldon.decode(seldon.encode(Message(raw, "binData"))).data == raw
    assert seldon.decode(seldon.encode(Message(text, "strData"))).data == text
    assert seldon.decode(seldon.encode(Message(value, "jsonData"))).data == value


@settings(deadline=None)
@given(SAYABLE, st.floats(allow_nan=False, allow_infinity=False))
def test_feedback_comes_back_whole(array: Any, reward: float) -> None:
    given = Feedback(Message(array, "ndarray"), Message("x", "strData", meta={"routing": {"r": 1}}), reward)
    back = seldon.decode_feedback(seldon.encode_feedback(given))
    assert (back.reward, back.response.meta, back.truth.kind) == (reward, {"routing": {"r": 1}}, "")
    np.testing.assert_array_equal(back.request.data.astype(array.dtype), array)


def test_whole_numbers_stay_whole_numbers() -> None:
    back = seldon.decode(b'{"data": {"ndarray": [[1, 2]]}}')
    assert back.data.dtype == np.int64
    assert seldon.encode(back) == b'{"data":{"names":[],"ndarray":[[1,2]]},"meta":{}}'


def test_text_in_an_array_stays_text() -> None:
    back = seldon.decode(b'{"data": {"ndarray": [["a", "b"]], "names": ["x", "y"]}}')
    assert back.data.tolist() == [["a", "b"]]
    assert seldon.parse(seldon.encode(back))["data"] == {"names": ["x", "y"], "ndarray": [["a", "b"]]}


def test_a_combiner_takes_a_bare_array_or_a_named_one() -> None:
    for body in (b'[{"strData": "a"}, {"strData": "b"}]', b'{"seldonMessages": [{"strData": "a"}, {"strData": "b"}]}'):
        assert [one.data for one in seldon.decode_list(body)] == ["a", "b"]
    with pytest.raises(Refusal, match="at least one"):
        seldon.decode_list(b"[]")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "no body"),
        (b"{", "not JSON"),
        (b"[" * 5000, "not JSON"),
        (b'{"data": {"ndarray": [NaN]}}', "not JSON"),
        (b"[1]", "must be a JSON object, not an array"),
        (b"{}", "no payload"),
        (b'{"data": [1]}', "data must be a JSON object"),
        (b'{"data": {"ndarray": [[1], [1, 2]]}}', "equal lengths"),
        (b'{"data": {"ndarray": ' + b"[" * 70 + b"]" * 70 + b"}}", "at most 64 deep"),
        (b'{"data": {"tensor": {"shape": [2, 2], "values": [1]}}}', "has 1 values, and its shape [2, 2] needs 4"),
        (b'{"data": {"tensor": {"shape": [-1], "values": [1]}}}', "not negative"),
        (b'{"data": {"tensor": {"shape": [4611686018427387904, 4, 0], "values": []}}}', "no array can have the shape"),
        (b'{"data": {"tensor": {"shape": 3, "values": []}}}', "shape must be a JSON array, not a number"),
        (b'{"data": {"tftensor": {"dtype": "DT_VARIANT"}}}', "is not served"),
        (
            b'{"data": {"tftensor": {"dtype": "DT_INT32", "tensorShape": {"dim": [{"size": "9999999999"}]}}}}',
            "too large",
        ),
        (b'{"data": {"tftensor": {"dtype": "DT_INT32", "tensorShape": {"dim": [{"size": "x"}]}}}}', "is no number"),
        (b'{"strData": 1}', "must be a string, not a number"),
        (b'{"binData": "%%"}', "base64"),
        (b'{"meta": 1, "strData": ""}', "meta must be a JSON object"),
    ],
)
def test_a_message_that_makes_no_sense_is_refused_with_its_reason(body: bytes, told: str) -> None:
    with pytest.raises(Refusal) as refusal:
        seldon.decode(body)
    assert told in refusal.value.info
    assert 400 <= refusal.value.code < 500


@pytest.mark.parametrize(
    ("values", "datatype", "told"),
    [
        ([300], "UINT8", "do not fit"),
        ([-1], "UINT64", "do not fit"),
        ([1.5], "INT64", "no whole number"),
        (["1"], "FP32", "of another type"),
        ([True], "INT8", "of another type"),
        ([1], "BOOL", "of another type"),
        ([1], "BYTES", "no string"),
        ([1], "INT128", "there is no datatype"),
        ([[1], [2, 3]], "INT8", "equal lengths"),
    ],
)
def test_values_of_another_type_than_declared_are_refused(values: Any, datatype: str, told: str) -> None:
    with pytest.raises(Refusal, match=told):
        tensors.from_values(values, datatype, [1], "x")


def test_null_stands_for_not_a_number_and_back() -> None:
    found = tensors.from_values([1.0, None], "FP32", [2], "x")
    assert np.isnan(found[1])
    assert seldon.dump({"data": found}) == b'{"data":[1.0,null]}'


def test_a_tensor_proto_repeats_its_last_value() -> None:
    shape = {"dim": [{"size": "2"}, {"size": "2"}]}
    found = tensors.from_tensor_proto({"dtype": "DT_FLOAT", "tensor_shape": shape, "float_val": [1, 2]}, "x")
    assert found.tolist() == [[1, 2], [2, 2]]
    assert tensors.from_tensor_proto({"dtype": 3, "tensorShape": shape}, "x").tolist() == [[0, 0], [0, 0]]


def test_bytes_that_end_early_are_refused() -> None:
    for raw in (b"\x01", b"\x05\x00\x00\x00ab"):
        with pytest.raises(Refusal, match="ends within a string"):
            tensors.from_raw(raw, "BYTES", [1], "x")
    with pytest.raises(Refusal, match="no whole number of INT32 values"):
        tensors.from_raw(b"\x01", "INT32", [1], "x")


def test_bfloat16_becomes_single_precision() -> None:
    assert tensors.from_raw(b"\x80\x3f\x00\xc0", "BF16", [2], "x").tolist() == [1.0, -2.0]


def test_a_deep_answer_is_refused_and_not_a_crash() -> None:
    deep: Any = 1
    for _ in range(900):
        deep = [deep]
    with pytest.raises(Refusal, match="too deeply"):
        seldon.encode(Message(deep, "jsonData"))


def test_what_a_class_may_return_in_json_is_written() -> None:
    value = {"a": np.float32(1.5), "b": np.array(["x"]), "c": b"y", "d": {1}}
    assert seldon.dump(value) == b'{"a":1.5,"b":["x"],"c":"y","d":[1]}'
    with pytest.raises(Refusal, match="not JSON serializable: object"):
        seldon.dump({"a": object()})
    assert base64.b64decode(seldon.to_json(Message(b"ab", "binData"))["binData"]) == b"ab"
