"""The gRPC protocols' messages and ours, without a server; and that what is generated is not stale."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

import generate_protos

from jupyterlab_kf.runtime.serving import openinference, protobufs, rpc, tensors
from jupyterlab_kf.runtime.serving.component import Unit
from jupyterlab_kf.runtime.serving.messages import Feedback, Message, Refusal
from jupyterlab_kf.runtime.serving.protos import descriptors, message, pool
from jupyterlab_kf.runtime.serving.service import Service

NUMBERS = [dtype for name, dtype in tensors.DTYPES.items() if name != "BYTES"]
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)
ARRAYS = st.sampled_from(NUMBERS).flatmap(lambda dtype: arrays.arrays(dtype, SHAPES))
TEXTS = arrays.arrays(object, SHAPES, elements=st.binary(max_size=6))
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
Request = message("inference.ModelInferRequest")


def test_the_descriptors_are_those_of_the_proto_files() -> None:
    assert Path(descriptors.__file__).read_text() == generate_protos.generated(), "run make protos"


def test_open_inference_has_on_the_wire_what_tritons_client_has() -> None:
    from tritonclient.grpc import service_pb2

    theirs = service_pb2.DESCRIPTOR.pool
    for name in pool().FindFileByName("inference.proto").message_types_by_name:
        known = theirs.FindMessageTypeByName(f"inference.{name}").fields_by_number
        for field in pool().FindMessageTypeByName(f"inference.{name}").fields:
            assert (known[field.number].name, known[field.number].type) == (field.name, field.type)


def test_seldons_messages_are_on_the_wire_where_seldon_has_them() -> None:
    made = protobufs.to_seldon(Message(np.array([[1.5]]), "tensor", ["a"], {"puid": "p"}))
    # 2: meta {1: "p"}; 3: data {1: "a", 2: tensor {1: [1, 1], 2: [1.5]}}
    assert made.SerializeToString().hex() == "12030a01701a130a0161120e0a0201011208000000000000f83f"


@settings(deadline=None)
@given(ARRAYS | TEXTS)
def test_a_tensor_of_tensorflow_comes_back(array: Any) -> None:
    proto = message("tensorflow.TensorProto").FromString(protobufs.to_tensor(array).SerializeToString())
    back = protobufs.from_tensor(proto, "x")
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)


@settings(deadline=None)
@given(ARRAYS | TEXTS, st.booleans())
def test_outputs_of_open_inference_come_back(array: Any, raw: bool) -> None:  # noqa: FBT001
    asked = openinference.Request({"x": array}, id="7", all_binary=raw)
    answer = protobufs.to_infer(asked, "m", "1", {"x": array})
    given = Request(model_name="m", raw_input_contents=answer.raw_output_contents)
    output = answer.outputs[0]
    entry = given.inputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
    entry.contents.CopyFrom(output.contents)
    back = protobufs.from_infer(given).inputs["x"]
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(back, array)


@settings(deadline=None)
@given(arrays.arrays(np.float64, SHAPES), st.sampled_from(["ndarray", "tensor", "tftensor"]), JSON)
def test_a_message_of_seldons_comes_back(array: Any, kind: Any, tag: Any) -> None:
    meta = {"puid": "p", "tags": {"t": tag}, "routing": {"r": -1}, "requestPath": {"m": "i:1"}}
    meta["metrics"] = [{"key": "k", "type": "COUNTER", "value": 1.0, "tags": {"a": "b"}}]
    back = protobufs.from_seldon(
        protobufs.to_seldon(Message(array, kind, ["a"], meta, {"code": 200, "status": "SUCCESS"}))
    )
    assert (back.kind, back.names, back.meta) == (kind, ["a"], meta)
    assert back.status == {"code": 200, "info": "", "reason": "", "status": "SUCCESS"}
    np.testing.assert_array_equal(back.data, array)
    assert back.data.shape == array.shape


@settings(deadline=None)
@given(JSON, st.binary(), st.text())
def test_json_bytes_and_text_come_back(value: Any, raw: bytes, text: str) -> None:
    for sent in (Message(value, "jsonData"), Message(raw, "binData"), Message(text, "strData")):
        back = protobufs.from_seldon(protobufs.to_seldon(sent))
        assert (back.kind, back.data) == (sent.kind, sent.data)
    made = protobufs.to_seldon(Message({"v": value}, "jsonData"))
    assert json_format.MessageToDict(made.jsonData) == {"v": value}


def test_feedback_comes_back() -> None:
    given = Feedback(Message("q", "strData"), Message(meta={"routing": {"r": 1}}), 0.5, Message("t", "strData"))
    back = protobufs.feedback(protobufs.to_feedback(given))
    assert (back.request.data, back.response.meta, back.reward, back.truth.data) == (
        "q",
        {"routing": {"r": 1}},
        0.5,
        "t",
    )


def test_requests_that_make_no_sense_are_refused() -> None:
    wrong = [
        (Request(), "no inputs"),
        (Request(inputs=[{"name": "x", "datatype": "FP16", "shape": [1]}]), "can only be sent raw"),
        (Request(inputs=[{"name": "x", "datatype": "FP32", "shape": [2]}]), "0 values, and its shape [2] needs 2"),
        (Request(inputs=[{"name": "x", "datatype": "FP32", "shape": [-1]}]), "not negative"),
        (Request(inputs=[{"name": "x"}], raw_input_contents=[b"", b""]), "one for each"),
    ]
    for request, told in wrong:
        with pytest.raises(Refusal) as refusal:
            protobufs.from_infer(request)
        assert told in refusal.value.info
    tensor = message("tensorflow.TensorProto")
    for proto, told in (
        (tensor(dtype=20), "not served"),
        (tensor(dtype=1, tensor_shape={"dim": [{"size": -1}]}), "negative"),
    ):
        with pytest.raises(Refusal, match=told):
            protobufs.from_tensor(proto, "x")


def test_raw_methods_see_the_protobuf_over_grpc_and_feedback_always_as_one() -> None:
    seen: list[Any] = []

    class Raw:
        def predict_raw(self, given: Any) -> Any:
            seen.append(given.strData)
            return message("seldon.protos.SeldonMessage")(strData="raw")

        def aggregate_raw(self, given: Any) -> Any:
            return {"strData": str(len(given.seldonMessages))}

        def send_feedback_raw(self, given: Any) -> Any:
            seen.append(given.reward)

    unit = Unit(Raw(), "raw")
    unit.load()
    asked = protobufs.from_seldon(message("seldon.protos.SeldonMessage")(strData="ask"))
    assert unit.predict(asked).data == "raw"
    assert unit.aggregate([asked, asked]).data == "2"
    unit.send_feedback(Feedback(reward=0.25))
    assert seen == ["ask", 0.25]


async def test_every_declared_method_is_written() -> None:
    service = Service([Unit(object(), "x")])
    methods = rpc.Methods(service)
    found = {(name, method) for name in rpc.SERVICES for method, _ in rpc._handlers(name, methods)}
    assert ("seldon.protos.Model", "Predict") in found
    assert ("inference.GRPCInferenceService", "ModelStreamInfer") in found
    assert len(found) == 29
