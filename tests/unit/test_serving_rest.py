"""A unit's HTTP in three protocols, asked as an ASGI application in process."""

from __future__ import annotations

import asyncio
import gzip
import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jupyterlab_kf.runtime.serving import openinference, tensors
from jupyterlab_kf.runtime.serving.batching import Batcher
from jupyterlab_kf.runtime.serving.component import Unit
from jupyterlab_kf.runtime.serving.identity import Identity
from jupyterlab_kf.runtime.serving.messages import Refusal, Signature, TensorSpec
from jupyterlab_kf.runtime.serving.rest import App
from jupyterlab_kf.runtime.serving.running import Runner
from jupyterlab_kf.runtime.serving.service import Service

LIMIT = 100_000


class Reply:
    """What an application answered."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self.code = parts[0]["status"]
        self.headers = {name.decode(): value.decode() for name, value in parts[0]["headers"]}
        self.body = b"".join(part.get("body", b"") for part in parts[1:])

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(app: App, path: str, body: Any = None, *, method: str = "", chunks: int = 1, **headers: str) -> Reply:
    """One request, its body in as many parts as wanted."""
    raw = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    size = max(1, -(-len(raw) // chunks))
    parts = [raw[at : at + size] for at in range(0, len(raw), size)] or [b""]
    path, _, query = path.partition("?")
    sent: list[Any] = []
    scope = {
        "type": "http",
        "method": method or ("GET" if body is None else "POST"),
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": parts.pop(0), "more_body": bool(parts)}

    async def send(part: Any) -> None:
        sent.append(part)

    await app(scope, receive, send)
    return Reply(sent)


class Model:
    """Doubles arrays, and does otherwise as it is told."""

    def predict(self, data: Any, _names: Any) -> Any:
        if isinstance(data, dict):
            return {name: value * 2 for name, value in data.items()}
        if isinstance(data, str | bytes):
            return data[::-1]
        return data * 2

    def transform_input(self, data: Any, _names: Any) -> Any:
        return data + 1

    def transform_output(self, data: Any, _names: Any) -> Any:
        return data - 1

    def route(self, _data: Any, _names: Any) -> int:
        return 1

    def aggregate(self, data: Any, _names: Any) -> Any:
        return sum(data)

    def send_feedback(self, _x: Any, _names: Any, reward: float, _truth: Any, routing: Any = None) -> Any:
        return [reward, routing]

    def init_metadata(self) -> Any:
        return {"name": "doubler", "versions": ["v7"], "inputs": [{"messagetype": "tensor"}]}


def service(target: object = None, **kwargs: Any) -> Service:
    unit = Unit(target or Model(), "double", identity=Identity(unit="double"))
    made = Service([unit], **kwargs)
    made.load()
    return made


@pytest.fixture
def app() -> App:
    return App(service(), limit=LIMIT)


ARRAY = {"data": {"ndarray": [[1, 2]]}}


@pytest.mark.parametrize("path", ["/predict", "/api/v1.0/predictions", "/api/v0.1/predictions"])
async def test_seldons_paths_predict(app: App, path: str) -> None:
    reply = await ask(app, path, ARRAY, content_type="application/json")
    assert reply.code == 200
    assert reply.json["data"] == {"names": ["t:0", "t:1"], "ndarray": [[2, 4]]}
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-content-type-options"] == "nosniff"


async def test_every_verb_of_seldons_has_its_path(app: App) -> None:
    assert (await ask(app, "/transform-input", ARRAY)).json["data"]["ndarray"] == [[2, 3]]
    assert (await ask(app, "/transform-output", ARRAY)).json["data"]["ndarray"] == [[0, 1]]
    assert (await ask(app, "/route", ARRAY)).json["data"]["ndarray"] == [[1]]
    for body in ([ARRAY, ARRAY], {"seldonMessages": [ARRAY, ARRAY]}):
        assert (await ask(app, "/aggregate", body)).json["data"]["ndarray"] == [[2, 4]]
    feedback = {"request": ARRAY, "reward": 0.5, "response": {"meta": {"routing": {"double": 1}}}}
    for path in ("/send-feedback", "/api/v1.0/feedback", "/api/v0.1/feedback"):
        assert (await ask(app, path, feedback)).json["data"]["ndarray"] == [0.5, 1.0]


async def test_health_metadata_and_metrics_are_told(app: App) -> None:
    assert (await ask(app, "/health/ping")).body == b"pong"
    assert (await ask(app, "/health/status")).json["strData"] == "healthy"
    metadata = (await ask(app, "/metadata")).json
    assert (metadata["name"], metadata["versions"], metadata["platform"]) == ("doubler", ["v7"], "")
    await ask(app, "/predict", ARRAY)
    for path in ("/metrics", "/prometheus"):
        text = (await ask(app, path)).body.decode()
        assert 'kf_unit_requests_seconds_count{code="200"' in text
        assert 'model_name="double"' in text


async def test_readiness_comes_with_loading_and_goes_with_the_end() -> None:
    made = Service([Unit(Model(), "double")])
    app = App(made, limit=LIMIT)
    assert (await ask(app, "/ready")).code == 503
    assert (await ask(app, "/live")).code == 200
    made.load()
    assert (await ask(app, "/ready")).code == 200
    made.draining = True
    reply = await ask(app, "/v2/health/ready")
    assert (reply.code, reply.json) == (503, {"error": "ending: no new requests, please"})
    reply = await ask(app, "/predict", ARRAY)
    assert (reply.code, reply.headers["connection"]) == (200, "close")


async def test_a_message_may_come_as_query_or_form(app: App) -> None:
    query = '/predict?json={"strData":"ab"}'
    assert (await ask(app, query)).json["strData"] == "ba"
    form = b"json=%7B%22strData%22%3A%22ab%22%7D"
    reply = await ask(app, "/predict", form, content_type="application/x-www-form-urlencoded")
    assert reply.json["strData"] == "ba"
    parts = b'--x\r\nContent-Disposition: form-data; name="binData"; filename="f"\r\n\r\n\x00\x01\r\n--x--\r\n'
    reply = await ask(app, "/predict", parts, content_type="multipart/form-data; boundary=x")
    assert reply.json["binData"] == "AQA="


async def test_wrong_requests_are_told_in_the_words_of_their_protocol(app: App) -> None:
    reply = await ask(app, "/predict", b"{")
    assert reply.code == 400
    assert reply.json["status"]["status"] == "FAILURE"
    assert "not JSON" in reply.json["status"]["info"]
    reply = await ask(app, "/v2/models/other/infer", {})
    assert (reply.code, reply.json) == (404, {"error": "there is no model 'other' here; there is double"})
    reply = await ask(app, "/v1/models/double:classify", {})
    assert (reply.code, list(reply.json)) == (501, ["error"])
    assert (await ask(app, "/nowhere")).code == 404
    reply = await ask(app, "/predict", ARRAY, method="DELETE")
    assert (reply.code, reply.json["status"]["reason"]) == (405, "METHOD_NOT_ALLOWED")


async def test_a_failure_in_the_users_code_is_a_500_that_says_where() -> None:
    class Broken:
        def predict(self, _data: Any, _names: Any) -> Any:
            raise RuntimeError("out of cheese")

    app = App(service(Broken()), limit=LIMIT)
    reply = await ask(app, "/predict", ARRAY)
    assert reply.code == 500
    assert "raised RuntimeError: out of cheese [test_serving_rest.py" in reply.json["status"]["info"]
    inputs = [{"name": "x", "shape": [1], "datatype": "INT64", "data": [1]}]
    reply = await ask(app, "/v2/models/double/infer", {"inputs": inputs})
    assert (reply.code, "out of cheese" in reply.json["error"]) == (500, True)


async def test_bodies_have_a_limit_also_when_compressed(app: App) -> None:
    large = b'{"strData": "' + b"a" * LIMIT + b'"}'
    for extra in ({"content_length": str(len(large))}, {}):
        reply = await ask(app, "/predict", large, chunks=3, **extra)
        assert (reply.code, reply.headers["connection"]) == (413, "close")
    reply = await ask(app, "/predict", gzip.compress(large), content_encoding="gzip")
    assert reply.code == 413
    small = gzip.compress(json.dumps(ARRAY).encode())
    assert (await ask(app, "/predict", small, chunks=4, content_encoding="gzip")).code == 200
    assert (await ask(app, "/predict", small[:-9], content_encoding="gzip")).code == 400
    assert (await ask(app, "/predict", b"?", content_encoding="deflate")).code == 400
    assert (await ask(app, "/predict", b"?", content_encoding="br")).code == 415


# Open Inference


def v2(array: Any, **extra: Any) -> dict[str, Any]:
    one = {
        "name": "x",
        "shape": list(array.shape),
        "datatype": tensors.datatype_of(array),
        "data": array.ravel().tolist(),
    }
    return {"inputs": [one], **extra}


@pytest.mark.parametrize("path", ["/v2/models/double/infer", "/v2/models/double/versions/1/infer", "/v2/models/infer"])
async def test_v2_infers(app: App, path: str) -> None:
    reply = await ask(app, path, v2(np.array([[1, 2]], dtype=np.int32), id="7"))
    assert reply.json == {
        "model_name": "double",
        "model_version": "1",
        "id": "7",
        "outputs": [{"name": "predict", "datatype": "INT32", "shape": [1, 2], "data": [2, 4]}],
    }


async def test_v2_tells_what_there_is() -> None:
    made = service()
    made.unit.signature = Signature((TensorSpec("x", "FP32", (-1, 2)),), (TensorSpec("y", "FP32", (-1,)),), "mine")
    app = App(made, limit=LIMIT)
    assert (await ask(app, "/v2")).json["extensions"][0] == "binary_tensor_data"
    assert (await ask(app, "/v2/health/live")).code == 200
    assert (await ask(app, "/v2/models/double/ready")).code == 200
    assert (await ask(app, "/v2/models/double/versions/2/ready")).code == 404
    assert (await ask(app, "/v2/models/double")).json == {
        "name": "double",
        "versions": ["1"],
        "platform": "mine",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1]}],
    }
    assert (await ask(app, "/v2/models/double/config")).json["input"][0]["data_type"] == "TYPE_FP32"
    assert (await ask(app, "/v2/repository/index", {})).json[0]["state"] == "READY"


async def test_v2_takes_and_gives_raw_bytes(app: App) -> None:
    raw = struct.pack("<2f", 1.5, 2.5)
    head = {
        "inputs": [{"name": "x", "shape": [2], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}],
        "outputs": [{"name": "predict", "parameters": {"binary_data": True}}],
    }
    text = json.dumps(head).encode()
    path = "/v2/models/double/infer"
    reply = await ask(app, path, text + raw, chunks=3, inference_header_content_length=str(len(text)))
    length = int(reply.headers["inference-header-content-length"])
    assert json.loads(reply.body[:length])["outputs"][0]["parameters"] == {"binary_data_size": 8}
    assert struct.unpack("<2f", reply.body[length:]) == (3.0, 5.0)
    for wrong, size in ((text + raw[:-1], len(text)), (text + raw + b"?", len(text)), (text, 10**9)):
        assert (await ask(app, path, wrong, inference_header_content_length=str(size))).code == 400
    assert (await ask(app, path, text + raw, inference_header_content_length="x")).code == 400


async def test_several_tensors_are_a_mapping(app: App) -> None:
    inputs = [
        {"name": name, "shape": [1], "datatype": "INT64", "data": [number]} for name, number in (("a", 1), ("b", 2))
    ]
    reply = await ask(app, "/v2/models/double/infer", {"inputs": inputs, "outputs": [{"name": "b"}]})
    assert [(one["name"], one["data"]) for one in reply.json["outputs"]] == [("b", [4])]
    reply = await ask(app, "/v2/models/double/infer", {"inputs": inputs, "outputs": [{"name": "c"}]})
    assert (reply.code, reply.json["error"]) == (400, "double has no output c; it has a, b")


WORDS = ("name", "shape", "datatype", "data", "parameters", "meta", "names", "values", "dim", "size", "x", "b64")
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
    max_leaves=10,
)
PLACES = {
    "/predict": ["{}", '{"data": {}}', '{"data": {"ndarray": {}}}',
                 '{"data": {"tensor": {"shape": {}, "values": [1]}}}',
                 '{"data": {"tftensor": {"dtype": "DT_INT64", "tensorShape": {}, "int64Val": {}}}}', '{"binData": {}}',
                 '{"strData": "", "meta": {}}', '{"jsonData": {}}'],
    "/aggregate": ["{}", "[{}]", '{"seldonMessages": {}}'],
    "/send-feedback": ["{}", '{"request": {}}', '{"reward": {}}', '{"response": {"meta": {"routing": {}}}}'],
    "/v2/models/double/infer": ["{}", '{"inputs": {}}', '{"inputs": [{}]}',
                                '{"inputs": [{"name": "x", "shape": {}, "datatype": "FP32", "data": {}}]}',
                                '{"outputs": {}, "inputs": [{"name": "x", "shape": [], "datatype": "INT8", "data":1}]}',
                                '{"inputs": [{"name": "x", "shape": [1], "datatype": {}, "data": [1]}]}'],
    "/v1/models/double:predict": ["{}", '{"instances": {}}', '{"inputs": {}, "signature_name": {}}'],
}  # fmt: skip


@settings(deadline=None)
@given(ANYTHING)
def test_whatever_json_comes_is_answered_or_refused_and_never_a_failure(value: Any) -> None:
    async def everywhere() -> None:
        app = App(service(Echo()), limit=LIMIT)
        for path, places in PLACES.items():
            for place in places:
                body = place.replace("{}", json.dumps(value)).encode()
                reply = await ask(app, path, body, method="POST")
                assert reply.code in {200, 400, 413}, (path, body, reply.body)

    asyncio.run(everywhere())


class Echo:
    """Answers a one for each row, whatever comes."""

    def predict(self, data: Any, _names: Any) -> Any:
        first = next(iter(data.values()), None) if isinstance(data, dict) else data
        return [1] * (len(first) if isinstance(first, np.ndarray) and first.ndim else 1)

    def aggregate(self, _data: Any, _names: Any) -> Any:
        return [1]


def test_fields_that_need_more_than_a_request_are_refused_by_name() -> None:
    one = {"name": "x", "shape": [1], "datatype": "INT8", "parameters": {"shared_memory_region": "r"}}
    with pytest.raises(Refusal, match="shared_memory_region is not served"):
        openinference.decode(json.dumps({"inputs": [one]}).encode())


# TensorFlow Serving


async def test_tensorflows_rows_and_columns(app: App) -> None:
    path = "/v1/models/double:predict"
    assert (await ask(app, path, {"instances": [[1, 2], [3, 4]]})).json == {"predictions": [[2, 4], [6, 8]]}
    assert (await ask(app, path, {"inputs": [[1, 2]]})).json == {"outputs": [[2, 4]]}
    rows = {"instances": [{"a": 1, "b": [1]}, {"a": 2, "b": [2]}]}
    assert (await ask(app, path, rows)).json == {"predictions": [{"a": 2, "b": [2]}, {"a": 4, "b": [4]}]}
    assert (await ask(app, path, {"inputs": {"a": 1, "b": 2}})).json == {"outputs": {"a": 2, "b": 4}}
    for short in ("/v1/models/:predict", "/v1/models:predict", "/v1/models/double/:predict",
                  "/v1/models/double/versions/1:predict"):  # fmt: skip
        assert (await ask(app, short, {"instances": [1]})).json == {"predictions": [2]}


async def test_tensorflows_bytes_are_base64() -> None:
    class Strings:
        def predict(self, data: Any) -> Any:
            return {"text": data, "raw_bytes": data}

    app = App(service(Strings()), limit=LIMIT)
    reply = await ask(app, "/v1/models/double:predict", {"instances": [{"b64": "YQ=="}, {"b64": "YgA="}]})
    assert reply.json["predictions"][0] == {"text": "a", "raw_bytes": {"b64": "YQ=="}}
    assert reply.json["predictions"][1]["raw_bytes"] == {"b64": "YgA="}


async def test_tensorflows_status_and_metadata(app: App) -> None:
    status = {"error_code": "OK", "error_message": ""}
    told = {"model_version_status": [{"version": "1", "state": "AVAILABLE", "status": status}]}
    for path in ("/v1/models/double", "/v1/models/double/versions/1"):
        assert (await ask(app, path)).json == told
    assert (await ask(app, "/v1/models/double/metadata")).json["model_spec"]["name"] == "double"
    assert (await ask(app, "/v1/models/double/versions/2")).code == 404
    assert (await ask(app, "/v1/models/double/labels/stable")).code == 404


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "needs either"),
        ({"instances": [], "inputs": []}, "needs either"),
        ({"instances": []}, "at least one row"),
        ({"instances": [{"a": 1}, {"b": 1}]}, "must have the inputs of the first row: a"),
        ({"instances": [[1], [2, 3]]}, "equal lengths"),
        ({"instances": [None]}, "no tensor"),
        ({"inputs": {}}, "is empty"),
        ({"inputs": [{"b64": "%"}]}, "base64"),
    ],
)
async def test_tensorflows_requests_that_make_no_sense_are_refused(app: App, body: Any, told: str) -> None:
    reply = await ask(app, "/v1/models/double:predict", body)
    assert reply.code == 400
    assert told in reply.json["error"]


# Batching and threads


class Counts:
    """Counts its calls and their rows."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def predict(self, data: Any, _names: Any = None) -> Any:
        if (data < 0).any():
            raise Refusal("negative")
        self.calls.append(len(data))
        return data.sum(axis=1)


def batching(target: object, size: int = 4) -> App:
    runner = Runner()
    return App(service(target, runner=runner, batcher=Batcher(runner, size, 0.01)), limit=LIMIT)


async def test_requests_that_come_together_are_one_call_and_each_gets_its_own_answer() -> None:
    target = Counts()
    app = batching(target)
    asked = [ask(app, "/predict", {"data": {"ndarray": [[n, n]]}, "meta": {"puid": str(n)}}) for n in range(4)]
    replies = await asyncio.gather(*asked)
    assert [one.json["data"]["ndarray"] for one in replies] == [[0], [2], [4], [6]]
    assert [one.json["meta"]["puid"] for one in replies] == ["0", "1", "2", "3"]
    assert target.calls == [4]
    inputs = [np.array([[n, n]]) for n in range(3)]
    replies = await asyncio.gather(*(ask(app, "/v2/models/double/infer", v2(one)) for one in inputs))
    assert [one.json["outputs"][0]["data"] for one in replies] == [[0], [2], [4]]
    assert target.calls == [4, 3]


async def test_requests_of_other_shapes_do_not_join() -> None:
    target = Counts()
    app = batching(target)
    replies = await asyncio.gather(
        ask(app, "/predict", {"data": {"ndarray": [[1, 1]]}}),
        ask(app, "/predict", {"data": {"ndarray": [[1, 1, 1]]}}),
        ask(app, "/predict", {"data": {"ndarray": [[1, 1]] * 9}}),
    )
    assert [one.code for one in replies] == [200] * 3
    assert sorted(target.calls) == [1, 1, 9]


async def test_a_request_that_spoils_a_batch_spoils_only_itself() -> None:
    app = batching(Counts())
    asked = [ask(app, "/predict", {"data": {"ndarray": [[n, n]]}}) for n in (1, -1, 2)]
    assert [one.code for one in await asyncio.gather(*asked)] == [200, 400, 200]


async def test_a_model_whose_answer_has_no_rows_is_asked_one_by_one() -> None:
    class Total(Counts):
        def predict(self, data: Any, _names: Any = None) -> Any:
            super().predict(data)
            return {"total": int(data.sum())}

    target = Total()
    app = batching(target)
    for _ in range(2):
        asked = [ask(app, "/predict", {"data": {"ndarray": [[n, n]]}}) for n in range(2)]
        assert [one.json["jsonData"]["total"] for one in await asyncio.gather(*asked)] == [0, 2]
    assert target.calls == [2, 1, 1, 1, 1]


async def test_a_slow_model_leaves_the_loop_free_and_calls_stay_one_at_a_time() -> None:
    now = [0.0]
    runner = Runner(clock=lambda: now[0])
    threads: list[str] = []

    def slow() -> None:
        import threading

        threads.append(threading.current_thread().name)
        now[0] += 1

    await runner.run(slow)
    await asyncio.gather(runner.run(slow), runner.run(slow))
    assert [name.partition("_")[0] for name in threads] == ["MainThread", "model", "model"]


async def test_too_many_waiting_requests_are_refused_at_once() -> None:
    runner = Runner(limit=1)
    runner.expected = 1.0
    first = asyncio.ensure_future(runner.run(lambda: 1))
    await asyncio.sleep(0)
    with pytest.raises(Refusal, match="wait already") as refusal:
        await runner.run(lambda: 1)
    assert refusal.value.code == 503
    assert await first == 1
