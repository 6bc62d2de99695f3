"""What the engine reads of payloads, and that it leaves everything else as it was."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterlab_kf.runtime.serving.engine.payloads import DIALECTS, Payload, PayloadError, Trail, build, members

SELDON, V2, TENSORFLOW = (DIALECTS[name] for name in ("seldon", "v2", "tensorflow"))


def test_the_routing_is_added_and_no_other_byte_of_the_message_changes() -> None:
    data = b'{"ndarray": [ 1.0, 1e400, -0.0, 123456789012345678901234567890, "\\u00fc<\\/script>" ]}'
    message = b'{"data":' + data + b', "status" : {"code":200} }'
    done = SELDON.finish(Payload(message), Trail("p", {"r": 1}, {"r": ""})).body
    assert b'"data":' + data in done
    assert json.loads(done)["meta"] == {"puid": "p", "routing": {"r": 1}, "requestPath": {"r": ""}}
    assert json.loads(done)["status"] == {"code": 200}


def test_the_answers_own_meta_is_right_where_two_say_something() -> None:
    message = Payload(b'{"meta":{"puid":"mine","tags":{"v":2},"routing":{"x":5}},"strData":"s"}')
    done = json.loads(SELDON.finish(message, Trail("p", {"r": 0}, {}, [b'{"tags":{"v":1,"w":1}}', b"null"])).body)
    assert done["meta"] == {"puid": "mine", "tags": {"v": 2, "w": 1}, "routing": {"r": 0}}


@pytest.mark.parametrize("text", [b"", b"[1]", b"NaN", b'{"a":NaN}', b"\xff"])
def test_what_is_no_message_passes_untouched(text: bytes) -> None:
    assert SELDON.finish(Payload(text), Trail("p")).body == text


def test_a_compressed_answer_is_opened_to_say_the_way_it_took() -> None:
    packed = Payload(gzip.compress(b'{"strData":"x"}'), encoding="gzip")
    done = SELDON.finish(packed, Trail("p", {"a": -1}))
    assert (json.loads(done.body)["meta"]["routing"], done.encoding) == ({"a": -1}, "")


def test_compression_that_is_none_is_said() -> None:
    with pytest.raises(PayloadError, match="said to be gzip"):
        V2.chain(Payload(b"{}", encoding="gzip"))


@pytest.mark.parametrize(
    ("dialect", "answer", "question"),
    [
        (V2, {"model_name": "m", "outputs": [1]}, {"model_name": "m", "inputs": [1]}),
        (TENSORFLOW, {"predictions": [1]}, {"instances": [1]}),
        (TENSORFLOW, {"outputs": {"y": [1]}}, {"inputs": {"y": [1]}}),
        (SELDON, {"data": {}}, {"data": {}}),
    ],
)
def test_an_answer_becomes_the_next_question(dialect: Any, answer: Any, question: Any) -> None:
    assert json.loads(dialect.chain(Payload(json.dumps(answer).encode())).body) == question


def test_a_request_passes_untouched() -> None:
    for dialect, text in ((V2, b'{ "inputs" : [] }'), (TENSORFLOW, b'{ "instances":[1.0]}'), (SELDON, b"anything")):
        assert dialect.chain(Payload(text)).body == text


@pytest.mark.parametrize("text", [b"{}", b"[1]", b"junk", b""])
def test_what_no_unit_can_be_asked_with_is_refused(text: bytes) -> None:
    with pytest.raises(PayloadError):
        V2.chain(Payload(text))


def test_binary_tensors_are_chained_with_their_bytes() -> None:
    head = b'{"outputs":[{"name":"y","parameters":{"binary_data_size":3}}]}'
    chained = V2.chain(Payload(head + b"\x00\xff{", "application/octet-stream", head=len(head)))
    assert chained.head is not None
    assert chained.body[chained.head :] == b"\x00\xff{"
    assert json.loads(chained.body[: chained.head]) == {"inputs": json.loads(head)["outputs"]}


def test_branches_that_cannot_be_joined_are_refused() -> None:
    with pytest.raises(PayloadError, match="not JSON"):
        SELDON.join([Payload(b"{}"), Payload(b"junk")])
    with pytest.raises(PayloadError, match="binary tensors"):
        V2.join([Payload(b"{}", head=2)])
    assert SELDON.join([Payload(b"{}"), Payload(gzip.compress(b"[1]"), encoding="gzip")]).body == b"[{},[1]]"


@pytest.mark.parametrize(
    "text", ["{}", '{"response":null}', '{"response":{"meta":null}}', '{"response":{"meta":{"routing":[]}}}']
)
def test_a_feedback_without_routing_names_no_branch(text: str) -> None:
    assert SELDON.routes(Payload(text.encode())) == {}


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), values, max_size=5), st.sampled_from([None, 1, "\t"]))
def test_any_object_taken_apart_and_put_together_is_the_same(value: dict[str, Any], indent: Any) -> None:
    text = json.dumps(value, indent=indent).encode()
    assert json.loads(build(members(text))) == value


@given(st.dictionaries(st.text(), values, max_size=4).filter(lambda one: "meta" not in one), values)
def test_whatever_a_unit_says_in_meta_the_routing_is_told(value: dict[str, Any], meta: Any) -> None:
    text = json.dumps({**value, "meta": meta}).encode()
    done = json.loads(SELDON.finish(Payload(text), Trail("p", {"r": 1}, {}, [text, b"1"])).body)
    assert done.pop("meta")["routing"] == {"r": 1}
    assert done == value


def test_payloads_are_values() -> None:
    assert replace(Payload(b"a"), body=b"b") == Payload(b"b")
