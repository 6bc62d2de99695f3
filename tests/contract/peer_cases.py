"""The same requests for a real Triton, a real MLServer and our unit server, and where ours differs on purpose.

``tests/tools/record_peers.py`` plays :data:`PEERS` to the real servers, each in an environment of its own, and writes
what they answered into ``tests/golden/serving``; ``test_unit_peers.py`` plays them to ours. What differs and is not in
:data:`DIFFERENCES` is a fault.
"""

from __future__ import annotations

import base64
import gzip
import http.client
import itertools
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.protobuf.json_format import MessageToDict, ParseDict

from jupyterlab_kf.runtime.serving.protos import message, service

GOLDEN = Path(__file__).parents[1] / "golden/serving"
LENGTH = "Inference-Header-Content-Length"
Obj = dict[str, Any]


def case(path: str, body: Any = None, method: str = "", **headers: str) -> Obj:
    """One request over HTTP."""
    raw = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    named = {"Content-Type": "application/json"} if raw is not None else {}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    return {"path": path, "method": method or ("GET" if raw is None else "POST"), "body": raw, "headers": named}


def call(method: str, **fields: Any) -> Obj:
    """One request over gRPC."""
    return {"call": method, "fields": fields}


def tensor(name: str, datatype: str, shape: list[int], data: Any, **more: Any) -> Obj:
    """One input, as JSON has it."""
    return {"name": name, "datatype": datatype, "shape": shape, "data": data, **more}


def binary(path: str, inputs: list[Obj], raw: bytes, length: int | None = None, **more: Any) -> Obj:
    """A request whose tensors follow the JSON as bytes."""
    head = json.dumps({"inputs": inputs, **more}).encode()
    told = {LENGTH.replace("-", "_"): str(len(head) if length is None else length)}
    return case(path, head + raw, Content_Type="application/octet-stream", **told)


def common(name: str, column: str, datatype: str, width: int) -> dict[str, Obj]:
    """What both servers are asked, about a model with one input of so many columns."""
    infer = f"/v2/models/{name}/infer"
    rows = [[0.5 + at for at in range(width)], [1.5 + at for at in range(width)]]
    flat = [one for row in rows for one in row]
    good = tensor(column, datatype, [2, width], flat)
    body = {"inputs": [good]}
    contents = {"fp64_contents" if datatype == "FP64" else "fp32_contents": flat}
    raw = struct.pack(f"<{2 * width}{'d' if datatype == 'FP64' else 'f'}", *flat)
    input_ = {"name": column, "datatype": datatype, "shape": [2, width]}
    return {
        "live": case("/v2/health/live"),
        "ready": case("/v2/health/ready"),
        "server": case("/v2"),
        "model": case(f"/v2/models/{name}"),
        "model is ready": case(f"/v2/models/{name}/ready"),
        "model that is not there": case("/v2/models/absent"),
        "model that is not there is not ready": case("/v2/models/absent/ready"),
        "index": case("/v2/repository/index", {}),
        "infer": case(infer, body),
        "infer with an id": case(infer, {"id": "seven", **body}),
        "nested data": case(infer, {"inputs": [{**good, "data": rows}]}),
        "compressed": case(infer, gzip.compress(json.dumps(body).encode()), Content_Encoding="gzip"),
        "no content type": case(infer, body, Content_Type="text/plain"),
        "a member that nobody knows": case(infer, {**body, "novelty": 1}),
        "model that is not there infers": case("/v2/models/absent/infer", body),
        "version that is not there": case(f"/v2/models/{name}/versions/77/infer", body),
        "path that is not there": case("/v2/nowhere"),
        "infer by GET": case(infer, method="GET"),
        "no body": case(infer, b""),
        "no JSON": case(infer, b"{nothing"),
        "text that is no UTF-8": case(infer, b'{"inputs": [{"name": "\xff\xfe"}]}'),
        "a list": case(infer, [1]),
        "no inputs": case(infer, {}),
        "inputs without shape": case(infer, {"inputs": [{k: v for k, v in good.items() if k != "shape"}]}),
        "inputs without datatype": case(infer, {"inputs": [{k: v for k, v in good.items() if k != "datatype"}]}),
        "inputs without data": case(infer, {"inputs": [{k: v for k, v in good.items() if k != "data"}]}),
        "datatype that is none": case(infer, {"inputs": [{**good, "datatype": "FP65"}]}),
        "shape of more than there is": case(infer, {"inputs": [{**good, "shape": [3, width]}]}),
        "shape below zero": case(infer, {"inputs": [{**good, "shape": [-2, width]}]}),
        "too many columns": case(infer, {"inputs": [tensor(column, datatype, [1, width + 1], [0.5] * (width + 1))]}),
        "text for numbers": case(infer, {"inputs": [{**good, "data": ["a"] * len(flat)}]}),
        "deep": case(infer, b'{"inputs": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"),
        "over gRPC: live": call("ServerLive"),
        "over gRPC: ready": call("ServerReady"),
        "over gRPC: server": call("ServerMetadata"),
        "over gRPC: model": call("ModelMetadata", name=name),
        "over gRPC: model is ready": call("ModelReady", name=name),
        "over gRPC: model that is not there": call("ModelMetadata", name="absent"),
        "over gRPC: infer": call("ModelInfer", model_name=name, id="8", inputs=[{**input_, "contents": contents}]),
        "over gRPC: raw": call("ModelInfer", model_name=name, inputs=[input_], raw=[raw]),
        "over gRPC: model that is not there infers": call(
            "ModelInfer", model_name="absent", inputs=[input_], raw=[raw]
        ),
        "over gRPC: raw that ends early": call("ModelInfer", model_name=name, inputs=[input_], raw=[raw[:-4]]),
        "over gRPC: no inputs": call("ModelInfer", model_name=name),
    }


def _triton() -> dict[str, Obj]:
    infer, raw = "/v2/models/sums/infer", struct.pack("<4f", 1, 2, 3, 4)
    sized = {"name": "x", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": 16}}
    plain = tensor("x", "FP32", [2, 2], [1, 2, 3, 4])
    return common("sums", "x", "FP32", 2) | {
        "bytes in": binary(infer, [sized], raw),
        "bytes in and out": binary(infer, [sized], raw, parameters={"binary_data_output": True}),
        "bytes out of one": case(
            infer, {"inputs": [plain], "outputs": [{"name": "y", "parameters": {"binary_data": True}}]}
        ),
        "bytes that end early": binary(infer, [sized], raw[:-4]),
        "bytes that are too many": binary(infer, [sized], raw + b"more"),
        "a length beyond the body": binary(infer, [sized], raw, length=100_000),
        "outputs that are asked for": case(infer, {"inputs": [plain], "outputs": [{"name": "y"}]}),
        "outputs that there are not": case(infer, {"inputs": [plain], "outputs": [{"name": "z"}]}),
        "infer whole": case(infer, {"inputs": [plain]}),
        "another input": case(infer, {"inputs": [{**plain, "name": "other"}]}),
        "another datatype": case(infer, {"inputs": [tensor("x", "INT64", [2, 2], [1, 2, 3, 4])]}),
        "the model's configuration": case("/v2/models/sums/config"),
    }


def _mlserver() -> dict[str, Obj]:
    infer, row = "/v2/models/iris/infer", [5.1, 3.5, 1.4, 0.2]
    plain = tensor("predict", "FP64", [1, 4], row)
    return common("iris", "predict", "FP64", 4) | {
        "a class' chances": case(infer, {"inputs": [plain], "outputs": [{"name": "predict_proba"}]}),
        "two answers": case(infer, {"inputs": [plain], "outputs": [{"name": "predict"}, {"name": "predict_proba"}]}),
        "an answer that there is not": case(infer, {"inputs": [plain], "outputs": [{"name": "transform"}]}),
        "an input of another name": case(infer, {"inputs": [{**plain, "name": "input-0"}]}),
        "whole numbers": case(infer, {"inputs": [tensor("predict", "INT64", [1, 4], [5, 3, 1, 0])]}),
        "single precision": case(infer, {"inputs": [tensor("predict", "FP32", [1, 4], row)]}),
        "a codec's name": case(infer, {"inputs": [{**plain, "parameters": {"content_type": "np"}}]}),
        "one row without its dimension": case(infer, {"inputs": [tensor("predict", "FP64", [4], row)]}),
    }


PEERS: dict[str, Callable[[], dict[str, Obj]]] = {"triton": _triton, "mlserver": _mlserver}


def ask(http_port: int, grpc_port: int, asked: Obj) -> Obj:
    """One case's answer, as it is recorded."""
    return _called(grpc_port, asked) if "call" in asked else _asked(http_port, asked)


def _asked(port: int, asked: Obj) -> Obj:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(asked["method"], asked["path"], asked["body"], asked["headers"])
        found = connection.getresponse()
        body, length = found.read(), found.headers.get(LENGTH)
    finally:
        connection.close()
    head = body if length is None else body[: int(length)]
    try:
        said: Any = json.loads(head) if head else ""
    except ValueError:
        said = head.decode("utf-8", "replace")
    answer: Obj = {"code": found.status, "body": said}
    return answer if length is None else {**answer, "raw": body[int(length) :].hex()}


def _called(port: int, asked: Obj) -> Obj:
    name, fields = asked["call"], dict(asked["fields"])
    raw = fields.pop("raw", None)
    known = service("inference.GRPCInferenceService").methods_by_name[name]
    request = ParseDict(fields, message(known.input_type.full_name)())
    if raw:
        request.raw_input_contents.extend(raw)
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = channel.unary_unary(
            f"/inference.GRPCInferenceService/{name}",
            request_serializer=lambda given: given.SerializeToString(),
            response_deserializer=message(known.output_type.full_name).FromString,
        )
        try:
            answer = stub(request, timeout=60)
        except grpc.RpcError as error:
            return {"grpc": error.code().name, "body": error.details()}
    return {"grpc": "OK", "body": MessageToDict(answer, preserving_proto_field_name=True)}


# Where ours answers otherwise

#: By server and case, what ours answers instead, and why.
DIFFERENCES: dict[tuple[str, str], tuple[Obj, str]] = {
    ("mlserver", "no content type"): ({"like": "infer"}, "curl sends a type of forms unless it is told another"),
    ("mlserver", "shape of more than there is"): ({"code": 400}, "a client's fault is not the server's"),
    ("mlserver", "shape below zero"): ({"code": 400}, "no tensor has less than nothing"),
    ("mlserver", "too many columns"): ({"code": 400}, "a client's fault is not the server's"),
    ("mlserver", "text for numbers"): ({"code": 400}, "the same"),
    ("mlserver", "an answer that there is not"): ({"code": 400}, "the same"),
    ("mlserver", "one row without its dimension"): ({"code": 400}, "the same"),
    ("mlserver", "over gRPC: raw that ends early"): ({"grpc": "INVALID_ARGUMENT"}, "the same"),
    ("triton", "model that is not there is not ready"): ({"code": 404}, "as for all else about it"),
    ("triton", "no body"): (
        {"code": 400},
        "it is no request, and Triton asks its model for no rows",
    ),
    **{
        ("triton", name): ({"code": 400}, "a client's fault is not the server's")
        for name in (
            "no JSON",
            "a list",
            "no inputs",
            "inputs without shape",
            "inputs without datatype",
            "shape of more than there is",
            "shape below zero",
            "text for numbers",
        )
    },
    ("triton", "another input"): ({"like": "infer whole"}, "of one input the name says nothing"),
    ("triton", "another datatype"): ({"like": "infer whole"}, "JSON does not say whether 1 is an integer"),
}


def expected(peer: str, name: str, record: dict[str, Obj]) -> Obj:
    """What ours is to answer, in the form of :func:`reduced`."""
    other = DIFFERENCES.get((peer, name), ({}, ""))[0]
    return reduced({**record[other["like"]]} if "like" in other else {**record[name], **other})


def reduced(answer: Obj) -> Obj:
    """What two servers must have in common: codes, what was predicted and for whom; not their own names and words."""
    code, body = answer.get("code"), answer["body"]
    kept = {key: answer[key] for key in ("grpc",) if key in answer}
    if code is not None:
        # FastAPI's code for what is no request of the protocol; the protocol's own is 400.
        kept["code"] = 400 if code == 422 else code
    if kept.get("grpc", "OK") != "OK" or (code or 200) >= 400:
        return kept
    if not isinstance(body, dict):
        return {**kept, "models": sorted(one["name"] for one in body)} if isinstance(body, list) else kept
    found = {key: body[key] for key in ("ready", "live") if "grpc" in kept and key in body}
    if "outputs" in body and "model_name" in body:
        behind = bytes.fromhex(answer.get("raw", ""))
        raws = [base64.b64decode(one) for one in body.get("raw_output_contents") or ()] or [behind]
        outputs = [_output(one, raw) for one, raw in itertools.zip_longest(body["outputs"], raws, fillvalue=b"")]
        found |= {"model": body["model_name"], "outputs": outputs, "binary": bool(behind)}
        # Who gives no identity may be given one.
        found |= {"id": body["id"]} if len(str(body.get("id", ""))) < 10 and body.get("id") else {}
    return {**kept, **found}


def _output(told: Obj, raw: bytes) -> Obj:
    shape = [int(one) for one in told["shape"]]
    if "data" in told:
        values = told["data"]
    elif told.get("contents"):
        values = [float(one) for one in next(iter(told["contents"].values()))]
    else:  # over gRPC each server chooses how values travel
        values = np.frombuffer(raw, {"FP32": "<f4", "INT64": "<i8"}[told["datatype"]]).tolist()
    # MLServer makes a column of what a model answered in a row.
    shape = shape[:1] if shape[1:] == [1] else shape
    return {"name": told["name"], "datatype": told["datatype"], "shape": shape, "values": values}
