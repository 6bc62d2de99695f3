"""Protobuf messages that the engine reads and joins as bytes are what protobuf's own classes make of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from seldon_messages import choice, message, parsed, routing, said
from tritonclient.grpc import service_pb2

from jupyterlab_kf.runtime.serving.engine.payloads import Payload, PayloadError, Trail
from jupyterlab_kf.runtime.serving.engine.wire import ANSWERED, ASKED, InferenceProto, SeldonProto, fields, varint

SELDON, V2 = SeldonProto(), InferenceProto()
ANSWER = said("answer", v=1.0, own=2.0)


def answered(one: Any) -> Payload:
    return Payload(one.SerializeToString(), ANSWERED)


def test_the_way_is_told_and_the_data_are_the_bytes_they_were() -> None:
    trail = Trail("p", {"r": 1, "all": -1}, {"r": "me/r:1"}, [said("", v=0.0, early=3.0).meta.SerializeToString()])
    done = parsed("SeldonMessage", SELDON.finish(answered(ANSWER), trail).body)
    assert done.strData == "answer"
    assert (done.meta.puid, routing(done.meta)) == ("p", {"r": 1, "all": -1})
    assert {entry.key: entry.value.number_value for entry in done.meta.tags} == {"v": 1.0, "own": 2.0, "early": 3.0}
    assert [(entry.key, entry.value) for entry in done.meta.requestPath] == [("r", "me/r:1")]


def test_what_a_unit_says_of_the_way_is_not_believed_and_its_puid_is() -> None:
    meta = {"puid": "mine", "routing": [{"key": "x", "value": 5}], "metrics": [{"key": "m", "value": 1.5}]}
    body = message("SeldonMessage", meta=meta)
    trail = Trail("p", {"r": 0}, {}, [body.meta.SerializeToString()])
    done = parsed("SeldonMessage", SELDON.finish(answered(body), trail).body)
    assert (done.meta.puid, routing(done.meta)) == ("mine", {"r": 0})
    assert [one.value for one in done.meta.metrics] == [1.5]


def test_a_combiner_gets_a_list_of_the_very_messages() -> None:
    messages = [ANSWER, choice(3)]
    joined = parsed("SeldonMessageList", SELDON.join([answered(one) for one in messages]).body)
    assert list(joined.seldonMessages) == messages


@pytest.mark.parametrize(
    "data",
    [
        {"ndarray": {"values": [{"number_value": 2}]}},
        {"ndarray": {"values": [{"list_value": {"values": [{"number_value": 2}, {"number_value": 0}]}}]}},
        {"tensor": {"shape": [1, 1], "values": [2.0]}},
    ],
)
def test_a_router_may_answer_in_any_form(data: Any) -> None:
    assert SELDON.route(answered(message("SeldonMessage", data=data))) == 2


@pytest.mark.parametrize("branch", [-2, -1, 0, 7])
def test_branches_are_read_with_their_sign(branch: int) -> None:
    assert SELDON.route(answered(choice(branch))) == branch


@pytest.mark.parametrize("one", [message("SeldonMessage"), said("1"), choice(0.5)])  # type: ignore[arg-type]
def test_an_answer_that_names_no_branch_is_refused(one: Any) -> None:
    with pytest.raises(PayloadError, match="no branch"):
        SELDON.route(answered(one))


def test_a_feedback_tells_the_way_of_its_answer() -> None:
    way = [{"key": "r", "value": 1}, {"key": "q", "value": -2}]
    feedback = message("Feedback", response={"meta": {"routing": way}}, reward=1.0)
    assert SELDON.routes(Payload(feedback.SerializeToString(), ASKED)) == {"r": 1, "q": -2}
    assert SELDON.routes(Payload(message("Feedback", reward=1.0).SerializeToString(), ASKED)) == {}


def test_an_answer_of_v2_becomes_a_request_with_its_raw_tensors() -> None:
    outputs = [{"name": "y", "datatype": "FP32", "shape": [2]}]
    answer = service_pb2.ModelInferResponse(model_name="a", id="7", outputs=outputs, raw_output_contents=[b"\0" * 8])
    answer.parameters["n"].int64_param = 3
    asked = service_pb2.ModelInferRequest.FromString(V2.chain(answered(answer)).body)
    assert [(one.name, one.datatype, list(one.shape)) for one in asked.inputs] == [("y", "FP32", [2])]
    assert list(asked.raw_input_contents) == [b"\0" * 8]
    assert asked.parameters["n"].int64_param == 3
    assert not asked.outputs


def test_a_request_of_v2_passes_untouched_and_is_no_answer() -> None:
    asked = Payload(b"anything", ASKED)
    assert V2.chain(asked) is asked
    with pytest.raises(PayloadError, match="no unit answered"):
        V2.finish(asked, Trail())


@pytest.mark.parametrize("body", [b"\x0a", b"\x0a\x05ab", b"\xff" * 12, b"\x0b\x00"])
def test_what_is_no_protobuf_is_refused(body: bytes) -> None:
    with pytest.raises(PayloadError, match="no protobuf"):
        SELDON.routes(Payload(body, ASKED))


@given(st.integers(-(2**31), 2**31 - 1))
def test_whole_numbers_are_written_as_protobuf_writes_them(value: int) -> None:
    status = message("Status", code=value).SerializeToString()
    assert (b"\x08" + varint(value) if value else b"") == status
    assert all(number == 1 for number, _, _ in fields(status))


@given(st.binary(max_size=60))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    for read in (SELDON.routes, SELDON.route, SELDON.meta, lambda one: SELDON.finish(one, Trail("p", {"a": 1}))):
        try:
            read(Payload(body, ANSWERED))  # type: ignore[operator]
        except PayloadError:
            continue
