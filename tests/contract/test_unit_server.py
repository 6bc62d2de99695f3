"""The unit server as a process, asked by clients that are not ours: tritonclient, grpcio with plain stubs, HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import joblib  # type: ignore[import-untyped]
import numpy as np
import orjson
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from unit_process import PROGRAM, ROOT, UnitProcess, doubler, iris, rows

from jupyterlab_kf.embedded.images import Images, Recipe
from jupyterlab_kf.runtime.serving.protos import message, service
from jupyterlab_kf.settings import load

USERS_CLASS = """
import os, threading, time

class UserModel:
    def __init__(self, slow=0.0):
        self.slow = slow
        self.alone = threading.Lock()

    def load(self):
        print("loaded by", os.getpid(), flush=True)

    def predict(self, X, names, meta=None):
        assert self.alone.acquire(blocking=False), "two calls at a time"
        if self.slow:
            print("asked", flush=True)
        time.sleep(self.slow)
        self.alone.release()
        return X * 2

    def route(self, features, names):
        return 1

    def tags(self):
        return {"pid": os.getpid()}

    def metrics(self):
        return [{"type": "COUNTER", "key": "users_calls", "value": 1}]

    def send_feedback(self, features, names, reward, truth, routing=None):
        return [reward, routing]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("units")


@pytest.fixture(scope="module")
def flowers(folder: Path) -> Iterator[tuple[UnitProcess, Any]]:
    """A served scikit-learn model, and the model itself."""
    model = iris(folder / "iris")
    unit = UnitProcess(folder, "--model", "iris", PREDICTIVE_UNIT_ID="iris")
    yield unit, model
    assert unit.end() == 0, unit.log.read_text()


@pytest.fixture(scope="module")
def sums(folder: Path) -> Iterator[UnitProcess]:
    """A served ONNX model, with a version, as one of Triton's repository."""
    doubler(folder / "repository" / "sums" / "3" / "model.onnx")
    words = ["/opt/tritonserver/bin/tritonserver", "--model-repository=repository", "--strict-model-config=false"]
    unit = UnitProcess(folder, *words)
    yield unit
    assert unit.end() == 0, unit.log.read_text()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., UnitProcess]]:
    """Start the user's class, as often as a test wants."""
    (tmp_path / "UserModel.py").write_text(USERS_CLASS)
    started: list[UnitProcess] = []

    def begin(*words: str, **environment: str) -> UnitProcess:
        started.append(UnitProcess(tmp_path, "--class", "UserModel", *words, **environment))
        return started[-1]

    yield begin
    for unit in started:
        unit.end()


def call(unit: UnitProcess, path: str, request: Any) -> Any:
    """One call by grpcio alone, with nothing of the server's code but the names."""
    name, method = path.split("/")
    known = service(name).methods_by_name[method]
    with grpc.insecure_channel(unit.target) as channel:
        stub = channel.unary_unary(
            f"/{path}",
            request_serializer=lambda given: given.SerializeToString(),
            response_deserializer=message(known.output_type.full_name).FromString,
        )
        return stub(request, timeout=60)


# Open Inference by Triton's own clients


@pytest.mark.parametrize("binary", [True, False])
def test_tritons_http_client_predicts_with_a_scikit_learn_model(
    flowers: tuple[UnitProcess, Any], *, binary: bool
) -> None:
    unit, model = flowers
    client = triton_http.InferenceServerClient(unit.url)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("iris")
    assert client.get_model_metadata("iris")["inputs"][0]["shape"] == [-1, 4]
    assert client.get_model_repository_index()[0]["name"] == "iris"
    assert client.get_model_config("iris")["platform"] == "sklearn"
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    data = rows(3)
    given = triton_http.InferInput("input-0", data.shape, "FP64")
    given.set_data_from_numpy(data, binary_data=binary)
    wanted = [triton_http.InferRequestedOutput(name, binary_data=binary) for name in ("predict", "predict_proba")]
    for compression in (None, "gzip", "deflate"):
        answer = client.infer(
            "iris", [given], outputs=wanted, request_id="7", request_compression_algorithm=compression
        )
        assert answer.get_response()["id"] == "7"
        np.testing.assert_array_equal(answer.as_numpy("predict"), model.predict(data))
        np.testing.assert_allclose(answer.as_numpy("predict_proba"), model.predict_proba(data))
    client.close()


def test_tritons_grpc_client_predicts_with_a_scikit_learn_model(flowers: tuple[UnitProcess, Any]) -> None:
    unit, model = flowers
    client = triton_grpc.InferenceServerClient(unit.target)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("iris", "1")
    assert list(client.get_model_metadata("iris").inputs[0].shape) == [-1, 4]
    assert client.get_model_repository_index().models[0].state == "READY"
    data = rows(5)
    given = triton_grpc.InferInput("input-0", data.shape, "FP64")
    given.set_data_from_numpy(data)
    answer = client.infer("iris", [given], outputs=[triton_grpc.InferRequestedOutput("predict")])
    np.testing.assert_array_equal(answer.as_numpy("predict"), model.predict(data))
    answers: list[Any] = []
    several = threading.Event()

    def told(result: Any, error: Any) -> None:
        answers.append(error or result.as_numpy("predict"))
        if len(answers) == 2:
            several.set()

    client.start_stream(told)
    client.async_stream_infer("iris", [given])
    client.async_stream_infer("absent", [given])
    assert several.wait(60)
    client.stop_stream()
    np.testing.assert_array_equal(answers[0], model.predict(data))
    assert "there is no model 'absent'" in str(answers[1])
    client.close()


def test_tritons_clients_predict_with_an_onnx_model_of_a_version(sums: UnitProcess) -> None:
    data = np.array([[1, 2], [3, 4]], dtype=np.float32)
    http_client = triton_http.InferenceServerClient(sums.url)
    assert http_client.get_model_metadata("sums", "3") == {
        "name": "sums",
        "versions": ["3"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
    }
    grpc_client = triton_grpc.InferenceServerClient(sums.target)
    for client, module in ((http_client, triton_http), (grpc_client, triton_grpc)):
        given = module.InferInput("x", data.shape, "FP32")
        given.set_data_from_numpy(data)
        answer = client.infer("sums", [given], model_version="3")
        np.testing.assert_array_equal(answer.as_numpy("y"), data * 2)
        wrong = module.InferInput("x", [1, 3], "FP32")
        wrong.set_data_from_numpy(np.zeros((1, 3), np.float32))
        with pytest.raises(Exception, match="must have the shape"):
            client.infer("sums", [wrong])
        client.close()


def test_columns_with_names_are_predicted_for_by_their_names(folder: Path) -> None:
    """A table whose columns stand otherwise than when the model was fitted is no other table."""
    model, data, shuffled = iris(folder / "named"), rows(40), [3, 0, 2, 1]
    wanted = model.predict(data).tolist()
    model.feature_names_in_ = np.array(["sl", "sw", "pl", "pw"], dtype=object)
    joblib.dump(model, folder / "named" / "model.joblib")
    unit = UnitProcess(folder, "--model", "named", "--name", "named")
    plain = {"data": {"ndarray": data.tolist()}}
    named = {"data": {"names": ["pw", "sl", "pl", "sw"], "ndarray": data[:, shuffled].tolist()}}
    assert unit.ask("/predict", named)[1]["data"]["ndarray"] == unit.ask("/predict", plain)[1]["data"]["ndarray"]
    columns = [
        {"name": name, "shape": [40, 1], "datatype": "FP64", "data": data[:, at].tolist()}
        for name, at in zip(["pw", "sl", "pl", "sw"], shuffled, strict=True)
    ]
    answer = unit.ask("/v2/models/named/infer", {"inputs": columns})[1]["outputs"][0]["data"]
    assert answer == wanted
    named["data"]["names"] = ["pw", "sl", "pl", "width"]  # type: ignore[assignment]
    code, told = unit.ask("/predict", named)
    assert code == 400
    assert "the model was not made with a column 'width'; it takes sl, sw, pl, pw" in told["status"]["info"]
    assert unit.end() == 0


# TensorFlow Serving


def test_tensorflow_servings_rest_requests_are_answered(sums: UnitProcess) -> None:
    assert sums.ask("/v1/models/sums:predict", {"instances": [[1, 2]]}) == (200, {"predictions": [[2, 4]]})
    assert sums.ask("/v1/models/sums:predict", {"inputs": {"x": [[1, 2]]}}) == (200, {"outputs": [[2, 4]]})
    status = sums.ask("/v1/models/sums")[1]["model_version_status"][0]
    assert (status["version"], status["state"]) == ("3", "AVAILABLE")


def test_tensorflow_servings_grpc_requests_are_answered(sums: UnitProcess) -> None:
    shape = {"dim": [{"size": 1}, {"size": 2}]}
    tensor = message("tensorflow.TensorProto")(dtype=1, tensor_shape=shape, float_val=[1, 2])
    request = message("tensorflow.serving.PredictRequest")(model_spec={"name": "sums"}, inputs={"x": tensor})
    answer = call(sums, "tensorflow.serving.PredictionService/Predict", request)
    assert np.frombuffer(answer.outputs["y"].tensor_content, "<f4").tolist() == [2, 4]
    assert (answer.model_spec.name, answer.model_spec.version.value) == ("sums", 3)
    request = message("tensorflow.serving.GetModelStatusRequest")(model_spec={"name": "sums"})
    answer = call(sums, "tensorflow.serving.ModelService/GetModelStatus", request)
    assert (answer.model_version_status[0].version, answer.model_version_status[0].state) == (3, 30)
    request = message("tensorflow.serving.GetModelMetadataRequest")(model_spec={"name": "sums"})
    answer = call(sums, "tensorflow.serving.PredictionService/GetModelMetadata", request)
    told = message("tensorflow.serving.SignatureDefMap")()
    assert answer.metadata["signature_def"].Unpack(told)
    assert told.signature_def["serving_default"].inputs["x"].dtype == 1


# Seldon


def test_seldons_protocol_over_http_and_grpc(start: Callable[..., UnitProcess]) -> None:
    unit = start(PREDICTIVE_UNIT_ID="mine", PREDICTIVE_UNIT_IMAGE="me:1")
    code, answer = unit.ask("/api/v1.0/predictions", {"data": {"tensor": {"shape": [1, 2], "values": [1, 2]}}})
    assert (code, answer["data"]["tensor"]) == (200, {"shape": [1, 2], "values": [2, 4]})
    assert answer["meta"]["requestPath"] == {"mine": "me:1"}
    request = message("seldon.protos.SeldonMessage")(data={"names": ["a"], "tensor": {"shape": [1, 1], "values": [4]}})
    for path in ("Model/Predict", "Seldon/Predict"):
        answer = call(unit, f"seldon.protos.{path}", request)
        assert list(answer.data.tensor.values) == [8]
        assert answer.meta.tags["pid"].number_value == unit.process.pid
    assert list(call(unit, "seldon.protos.Router/Route", request).data.tensor.values) == [1]
    assert list(call(unit, "seldon.protos.Transformer/TransformInput", request).data.tensor.values) == [4]
    feedback = message("seldon.protos.Feedback")(
        request=request, reward=0.5, response={"meta": {"routing": {"mine": 1}}}
    )
    assert list(call(unit, "seldon.protos.Generic/SendFeedback", feedback).data.tensor.values) == [0.5, 1]
    with pytest.raises(grpc.RpcError) as refused:
        call(
            unit,
            "seldon.protos.Combiner/Aggregate",
            message("seldon.protos.SeldonMessageList")(seldonMessages=[request]),
        )
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "no method aggregate" in refused.value.details()
    health = call(unit, "grpc.health.v1.Health/Check", message("grpc.health.v1.HealthCheckRequest")())
    assert health.status == 1
    text = unit.ask("/prometheus")[1]
    assert 'users_calls_total{deployment_name="NOT_IMPLEMENTED",method="predict",model_image="me"' in text


def test_a_user_class_is_given_its_typed_parameters(start: Callable[..., UnitProcess]) -> None:
    parameters = json.dumps([{"name": "slow", "value": "0.2", "type": "FLOAT"}])
    unit = start(PREDICTIVE_UNIT_PARAMETERS=parameters)
    begin = time.monotonic()
    assert unit.ask("/predict", {"data": {"ndarray": [[1]]}})[0] == 200
    assert time.monotonic() - begin >= 0.2


# Models of libraries that only some images have


@pytest.mark.framework
@pytest.mark.parametrize(
    ("image", "kind"),
    [
        ("jupyterlab-kf/pytorch", "torchscript"),
        ("jupyterlab-kf/pytorch", "exported"),
        ("jupyterlab-kf/tensorflow", "tensorflow"),
        ("jupyterlab-kf/tensorflow", "keras"),
    ],
)
def test_models_of_other_frameworks_are_served_in_their_own_environment(image: str, kind: str, tmp_path: Path) -> None:
    images = Images(load())
    found = images.resolve(image)

    def run(command: Sequence[str]) -> tuple[int, str]:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    environment = images.make(found, run) if isinstance(found, Recipe) else found
    # Of what an image needs beside its framework, only this is imported in process.
    extra = tmp_path / "extra"
    extra.mkdir()
    (extra / "orjson").symlink_to(Path(orjson.__file__).parent)
    model = tmp_path / "model"
    model.mkdir()
    program = Path(__file__).parent / "programs" / "flavours.py"
    done = subprocess.run(
        [str(environment.bin / "python"), str(program), kind, str(model)],
        env={"PYTHONPATH": f"{ROOT}:{extra}", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert f"served {kind}" in done.stdout


# The process


def test_a_slow_class_is_called_once_at_a_time_and_the_probes_do_not_wait(start: Callable[..., UnitProcess]) -> None:
    parameters = json.dumps([{"name": "slow", "value": "0.5", "type": "FLOAT"}])
    unit = start(PREDICTIVE_UNIT_PARAMETERS=parameters)
    assert unit.ask("/predict", {"data": {"ndarray": [[1]]}})[0] == 200
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(unit.ask, "/predict", {"data": {"ndarray": [[n]]}}) for n in range(4)]
        time.sleep(0.1)
        assert unit.ask("/live")[0] == 200
        assert not all(one.done() for one in asked), "a probe waited for four calls"
        assert [one.result()[0] for one in asked] == [200] * 4


def test_a_unit_that_is_told_to_end_answers_what_still_comes(start: Callable[..., UnitProcess]) -> None:
    unit = start("--drain", "6", "--grace", "20")
    body = json.dumps({"data": {"ndarray": [[1.0, 2.0]]}})
    codes: list[int] = []
    told = threading.Event()

    def load() -> int:
        """Ask over kept connections, as a proxy does that hears late that this server ends: come anew, then go."""
        left = 0
        while not told.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", unit.port, timeout=60)
            answer = None
            while answer is None or answer.getheader("connection") != "close":
                connection.request("POST", "/predict", body)
                answer = connection.getresponse()
                answer.read()
                codes.append(answer.status)
            left += 1
            connection.close()
        return left

    with ThreadPoolExecutor(4) as pool:
        loads = [pool.submit(load) for _ in range(4)]
        time.sleep(0.5)
        unit.process.send_signal(signal.SIGTERM)
        end = time.monotonic() + 5
        while (ready := unit.ask("/ready")[0]) != 503 and time.monotonic() < end:
            time.sleep(0.05)
        assert ready == 503
        told.set()
        left = [one.result(timeout=60) for one in loads]
    assert unit.process.wait(60) == 0
    assert set(codes) == {200}
    assert min(left) >= 1, "a client was never asked to come by a new connection"


def test_several_workers_share_a_port_and_one_that_dies_is_replaced(start: Callable[..., UnitProcess]) -> None:
    unit = start("--workers", "2", "--drain", "0.2")

    def pids(wanted: int) -> set[int]:
        found: set[int] = set()
        end = time.monotonic() + 60
        while len(found) < wanted and time.monotonic() < end:
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda _: unit.ask("/predict", {"data": {"ndarray": [[1]]}}), range(16)))
            found |= {int(answer["meta"]["tags"]["pid"]) for _, answer in answers}
        return found

    workers = pids(2)
    assert len(workers) == 2
    text = unit.ask("/metrics")[1]
    assert all(f'worker_id="{pid}"' in text for pid in workers)
    assert text.count("# TYPE users_calls_total") <= 1
    dead = workers.pop()
    subprocess.run(["kill", "-9", str(dead)], check=True)
    end = time.monotonic() + 60
    while unit.log.read_text().count("loaded by") < 3 and time.monotonic() < end:
        time.sleep(0.1)
    assert f"worker {dead} ended with -9; another one starts" in unit.log.read_text()
    assert len(pids(2) - {dead}) == 2
    assert unit.end() == 0


def test_requests_are_joined_where_that_was_asked_for(start: Callable[..., UnitProcess]) -> None:
    parameters = json.dumps([{"name": "slow", "value": "0.1", "type": "FLOAT"}])
    unit = start("--batch-size", "16", "--batch-wait", "20", PREDICTIVE_UNIT_PARAMETERS=parameters)
    unit.ask("/predict", {"data": {"ndarray": [[0]]}})
    begin = time.monotonic()
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda n: unit.ask("/predict", {"data": {"ndarray": [[n]]}}), range(16)))
    assert [answer["data"]["ndarray"] for _, answer in answers] == [[[2 * n]] for n in range(16)]
    assert time.monotonic() - begin < 1.6, "sixteen calls of 0.1 s were not joined"


def test_hostile_bodies_are_refused_and_the_unit_goes_on(start: Callable[..., UnitProcess]) -> None:
    unit = start("--max-body", "100000")
    hostile = [
        b"[" * 50_000,
        b'{"data": {"ndarray": ' + b"[" * 900 + b"]" * 900 + b"}}",
        b'{"data": {"ndarray": [NaN]}}',
        b'{"data": {"tensor": {"shape": [4294967296, 4294967296], "values": []}}}',
        b"\xff\x00" * 10,
        b"x" * 200_000,
    ]
    codes = [unit.ask("/predict", body)[0] for body in hostile]
    assert codes == [400, 400, 400, 400, 400, 413]
    assert unit.ask("/predict", {"data": {"ndarray": [[1]]}})[0] == 200


def test_what_is_no_request_at_all_costs_nobody_an_answer(start: Callable[..., UnitProcess]) -> None:
    unit = start()
    slow = [socket.create_connection(("127.0.0.1", unit.port)) for _ in range(200)]
    for one in slow:
        one.sendall(b"POST /predict HTTP/1.1\r\nHost: unit\r\nContent-Length: 100\r\n\r\n{")
    garbage = [b"\x00\xff" * 5000, b"GET / HTTP/9.9\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 500]
    for port in (unit.port, unit.grpc_port):
        for raw in garbage:
            with socket.create_connection(("127.0.0.1", port)) as one, contextlib.suppress(ConnectionError):
                one.sendall(raw)
    with grpc.insecure_channel(unit.target) as channel:
        call_it = channel.unary_unary("/seldon.protos.Model/Predict")
        with pytest.raises(grpc.RpcError) as refused:
            call_it(b"\xff" * 100, timeout=60)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "no message of this method" in str(refused.value.details())
    for _ in range(5):
        assert unit.ask("/predict", {"data": {"ndarray": [[1]]}})[1]["data"]["ndarray"] == [[2]]
    request = message("seldon.protos.SeldonMessage")(data={"tensor": {"shape": [1, 1], "values": [4]}})
    assert list(call(unit, "seldon.protos.Model/Predict", request).data.tensor.values) == [8]
    for one in slow:
        one.close()


@pytest.mark.parametrize(
    ("words", "status", "told"),
    [
        ([], 2, "nothing to serve: name a class with --class"),
        (["--class", "Nowhere"], 3, "there is no module Nowhere"),
        (["--model", "absent"], 3, "there is no model at absent"),
        (["--model", ".", "--workers", "2"], 3, "say which kind of model it is with --kind"),
        (["--class", "Fails"], 3, "load() raised RuntimeError: no weights [Fails.py:3 in load"),
    ],
)
def test_what_cannot_be_served_ends_with_a_sentence(words: list[str], status: int, told: str, tmp_path: Path) -> None:
    (tmp_path / "Fails.py").write_text("class Fails:\n    def load(self):\n        raise RuntimeError('no weights')\n")
    command = [*PROGRAM, "unit", "--http-port", "0", *words]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == status, done.stderr
    assert told in done.stderr


def test_a_port_that_is_taken_is_told(start: Callable[..., UnitProcess], tmp_path: Path) -> None:
    unit = start()
    command = [*PROGRAM, "unit", "--class", "UserModel", "--http-port", str(unit.port)]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 1
    assert "Address already in use" in done.stderr


def test_the_program_runs_from_a_zip_without_the_package(tmp_path: Path) -> None:
    doubler(tmp_path / "model.onnx")
    source = ROOT / "jupyterlab_kf" / "runtime" / "serving"
    with zipfile.ZipFile(tmp_path / "serving.zip", "w") as archive:
        for file in sorted(source.rglob("*.py")):
            archive.write(file, Path("kf_serving") / file.relative_to(source))
        archive.writestr(
            "__main__.py", "import runpy\nrunpy.run_module('kf_serving', run_name='__main__', alter_sys=True)\n"
        )
    unit = UnitProcess(tmp_path, "--model", "model.onnx", program=(sys.executable, "serving.zip"), PYTHONPATH="")
    assert unit.ask("/predict", {"data": {"ndarray": [[1, 2]]}})[1]["data"]["ndarray"] == [[2, 4]]
    request = message("seldon.protos.SeldonMessage")(data={"tensor": {"shape": [1, 2], "values": [1, 2]}})
    assert list(call(unit, "seldon.protos.Model/Predict", request).data.tensor.values) == [2, 4]
    assert unit.end() == 0


async def test_grpc_calls_that_run_when_the_end_comes_are_answered(start: Callable[..., UnitProcess]) -> None:
    parameters = json.dumps([{"name": "slow", "value": "1", "type": "FLOAT"}])
    unit = start("--drain", "3", PREDICTIVE_UNIT_PARAMETERS=parameters)
    request = message("seldon.protos.SeldonMessage")(data={"tensor": {"shape": [1, 1], "values": [4]}})
    asked = [
        asyncio.create_task(asyncio.to_thread(call, unit, "seldon.protos.Model/Predict", request)) for _ in range(2)
    ]
    async with asyncio.timeout(60):
        while "asked" not in unit.log.read_text():  # noqa: ASYNC110  a log tells nobody
            await asyncio.sleep(0.05)
    unit.process.send_signal(signal.SIGTERM)
    assert [list((await one).data.tensor.values) for one in asked] == [[8], [8]]
    assert await asyncio.to_thread(unit.process.wait, 60) == 0
