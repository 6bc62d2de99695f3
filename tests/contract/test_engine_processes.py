"""The engine as a process, with units as processes or servers on loopback; no cluster is needed.

Each case of the table was played to Seldon's own executor (``tests/golden/serving``); ours answers the same, or what
``engine_differences`` says.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import engine_rpc
import grpc
import grpc.aio
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from engine_bed import (
    COPIED,
    COPIES,
    GOLDEN,
    METRICS,
    Units,
    answers,
    copies,
    engine,
    free_port,
    listens,
    series,
    status,
    until,
)
from engine_cases import GROUPS
from engine_differences import CASES, RPC_CASES, compare, compare_rpc
from engine_rpc import RPC_GOLDEN, RPC_GROUPS
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient

OURS = [
    sys.executable,
    "-c",
    "import sys; from jupyterlab_kf.runtime.serving.engine import main; sys.exit(main(sys.argv[1:]))",
]
RECORD: dict[str, dict[str, Any]] = json.loads(GOLDEN.read_text())


@pytest.mark.parametrize("group", GROUPS, ids=lambda group: group["name"])
async def test_the_engine_answers_what_seldons_executor_answered(group: dict[str, Any], tmp_path: Path) -> None:
    found = {}
    async with engine(OURS, group, {}, tmp_path) as running:
        for case in group["cases"]:
            ours = json.loads(json.dumps(await running.ask(case)))
            if wrong := compare(group, case, ours, RECORD[group["name"]]):
                found[case["name"]] = wrong
    assert not found, "\n".join(f"{name}: {one}" for name, wrong in found.items() for one in wrong)


@pytest.mark.parametrize("group", RPC_GROUPS, ids=lambda group: group["name"])
async def test_the_engine_answers_over_grpc_what_seldons_executor_answered(
    group: dict[str, Any], tmp_path: Path
) -> None:
    record = json.loads(RPC_GOLDEN.read_text())[group["name"]]
    found = {}
    async with engine(OURS, group, {}, tmp_path) as running:
        for case in group["cases"]:
            ours = json.loads(json.dumps(await engine_rpc.ask(running, case)))
            if wrong := compare_rpc(group, case, ours, record):
                found[case["name"]] = wrong
    assert not found, "\n".join(f"{name}: {one}" for name, wrong in found.items() for one in wrong)


def test_every_accepted_difference_is_one_of_a_recorded_case() -> None:
    assert all(name in RECORD[group] for group, name in CASES)
    over_grpc = json.loads(RPC_GOLDEN.read_text())
    assert all(name in over_grpc[group] for group, name in RPC_CASES)
    assert {group["name"]: {case["name"] for case in group["cases"]} for group in GROUPS} == {
        name: set(cases) for name, cases in RECORD.items()
    }


def _node() -> str:
    found = shutil.which("node")
    if found is None:
        pytest.skip("no node on the PATH: units in JavaScript cannot be run")
    return found


@contextlib.asynccontextmanager
async def javascript(*names: str) -> AsyncIterator[dict[str, int]]:
    """Units that node runs, each a process of its own."""
    node = _node()
    ports = {name: free_port() for name in names}
    program = str(Path(__file__).parents[2] / "docs/examples/unit.js")
    running = []
    for name, port in ports.items():
        told = {"PREDICTIVE_UNIT_ID": name, "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(port)}
        running.append(await asyncio.create_subprocess_exec(node, program, env=os.environ | told))
    try:
        for port in ports.values():
            await listens(port)
        yield ports
    finally:
        for one in running:
            one.kill()
            await one.wait()


async def test_units_in_javascript_route_predict_combine_and_learn(tmp_path: Path) -> None:
    async with javascript("r", "c", "m", "n") as ports:
        models = [{"name": name, "type": "MODEL"} for name in "mn"]
        combined = {"name": "c", "type": "COMBINER", "children": models}
        graph = {"name": "r", "type": "ROUTER", "children": [{"name": "x", "implementation": "SIMPLE_MODEL"}, combined]}
        async with engine(OURS, {"graph": graph, "elsewhere": ports}, {}, tmp_path) as running:
            case = {"path": "/api/v1.0/predictions", "body": {"data": {"ndarray": [[1, 2, 3]]}}}
            answer = (await running.ask(case))["body"]
            assert answer["data"]["ndarray"] == [[6], [6]]
            assert answer["meta"]["routing"] == {"r": 1, "c": -1, "m": -1, "n": -1}
            assert answer["meta"]["tags"].keys() == {"m", "n"}
            feedback = {"path": "/api/v1.0/feedback", "body": {"response": answer, "reward": 0.5}}
            assert (await running.ask(feedback))["body"] == {"meta": {"tags": {"rewards": 0.5}}}
            told = {"path": "/api/v1.0/metadata/m", "method": "GET"}
            assert (await running.ask(told))["body"] == {"name": "m", "rewards": 0.5}


ONE: dict[str, Any] = {"name": "one", "graph": {"name": "m", "type": "MODEL"}}
ASK: dict[str, Any] = {"path": "/api/v1.0/predictions", "body": {"strData": "x"}}
FEEDBACK: dict[str, Any] = {"path": "/api/v1.0/feedback", "body": {"reward": 1}}


async def test_a_hung_unit_costs_no_more_than_the_time_the_annotation_gives(tmp_path: Path) -> None:
    annotations = tmp_path / "annotations"
    annotations.write_text('seldon.io/rest-timeout="200"\n')
    async with engine(OURS, ONE, {"KF_ANNOTATIONS_FILE": str(annotations)}, tmp_path) as running:
        answer = await running.ask({**ASK, "headers": {"X-Unit-m": "hang"}})
    assert answer["code"] == 500
    assert "unit 'm' did not answer /predict" in answer["body"]["status"]["info"]
    assert "within 0.2 seconds" in answer["body"]["status"]["info"]


async def test_a_prediction_lost_with_its_connection_is_asked_once_more_and_feedback_never(tmp_path: Path) -> None:
    async with engine(OURS, ONE, {}, tmp_path) as running:
        assert (await running.ask(ASK))["code"] == 200  # the connection that is kept
        lost = await running.ask({**ASK, "headers": {"X-Unit-m": "drop"}})
        assert (lost["code"], len(lost["calls"])) == (500, 2)
        assert "unit 'm' could not be asked /predict" in lost["body"]["status"]["info"]
        untold = await running.ask({**FEEDBACK, "headers": {"X-Unit-m": "drop"}})
        assert (untold["code"], len(untold["calls"])) == (500, 1)


async def test_a_unit_that_was_killed_is_waited_for_while_it_is_started_again(tmp_path: Path) -> None:
    port = free_port()

    async def started() -> asyncio.subprocess.Process:
        told = {"PREDICTIVE_UNIT_ID": "m", "PREDICTIVE_UNIT_HTTP_SERVICE_PORT": str(port)}
        program = str(Path(__file__).parents[2] / "docs/examples/unit.js")
        made = await asyncio.create_subprocess_exec(_node(), program, env=os.environ | told)
        await listens(port)
        return made

    async def ended(process: asyncio.subprocess.Process) -> None:
        process.kill()
        await process.wait()

    case = {"path": "/api/v1.0/predictions", "body": {"data": {"ndarray": [[1, 2, 3]]}}}
    unit = await started()
    async with engine(OURS, {**ONE, "elsewhere": {"m": port}}, {}, tmp_path) as running:
        assert (await running.ask(case))["code"] == 200
        await ended(unit)
        asked = [asyncio.create_task(running.ask(one)) for one in (case, case, FEEDBACK)]
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in asked)
        unit = await started()
        assert [one["code"] for one in await asyncio.gather(*asked)] == [200, 200, 200]
        rewards = {"path": "/api/v1.0/metadata/m", "method": "GET"}
        assert (await running.ask(rewards))["body"]["rewards"] == 1, "counted once"
        await ended(unit)
        gone = await running.ask(case)
        assert gone["code"] == 503, "another replica may answer"
        assert "unit 'm' could not be asked /predict" in gone["body"]["status"]["info"]
        assert await status(running.url + "/ready") == 503


async def test_at_the_end_requests_come_to_theirs_and_readiness_is_gone_at_once(tmp_path: Path) -> None:
    async with engine(OURS, {**ONE, "arguments": ["--shutdown_delay", "300ms"]}, {}, tmp_path) as running:
        slow = asyncio.create_task(running.ask({**ASK, "headers": {"X-Unit-m": "slow"}}))
        await until(lambda: bool(running.units.calls))
        running.process.send_signal(signal.SIGTERM)
        seen = [200]
        while seen[-1] == 200:
            seen.append(await status(running.url + "/ready"))
        assert seen[-1] == 503
        assert (await slow)["code"] == 200
        assert await running.process.wait() == 0


async def test_requests_that_take_longer_than_the_graceful_time_are_cut_off_and_said(tmp_path: Path) -> None:
    async with engine(OURS, {**ONE, "arguments": ["--graceful_timeout", "1s"]}, {}, tmp_path) as running:
        hung = asyncio.create_task(running.ask({**ASK, "headers": {"X-Unit-m": "hang"}}))
        await until(lambda: bool(running.units.calls))
        running.process.terminate()
        assert await running.process.wait() == 1
        await asyncio.gather(hung, return_exceptions=True)
    assert "requests were cut off" in (tmp_path / "engine.log").read_text()


async def test_loggers_get_cloud_events_of_what_enters_and_leaves(tmp_path: Path) -> None:
    async with Units(["log"]) as log:
        log_url = f"http://127.0.0.1:{log.ports['log']}/"
        graph = {"name": "m", "type": "MODEL", "logger": {"mode": "all", "url": log_url}}
        async with engine(OURS, {"graph": graph}, {"POD_NAME": "pod-0"}, tmp_path) as running:
            await running.ask(ASK)
            await running.ask(FEEDBACK)
            await until(lambda: len(log.calls) == 3)
            port = running.port
    events = {one.headers["ce-type"].removeprefix("io.seldon.serving."): one for one in log.calls}
    assert events.keys() == {"inference.request", "inference.response", "feedback"}
    request = events["inference.request"]
    assert json.loads(request.body) == ASK["body"]
    told = {name: value for name, value in request.headers.items() if name not in ("ce-id", "ce-time", "ce-type")}
    assert told == {
        "content-type": "application/json",
        "ce-specversion": "1.0",
        "ce-source": f"http://pod-0:{port}/",
        "ce-modelid": "m",
        "ce-requestid": "case",
        "ce-inferenceservicename": "dep",
        "ce-namespace": "ns",
        "ce-endpoint": "main",
        "ce-protocol": "seldon",
    }


@pytest.mark.parametrize("protocol", COPIED)
async def test_loggers_get_what_seldons_executor_sent_them(protocol: str, tmp_path: Path) -> None:
    assert await copies(OURS, protocol, tmp_path) == json.loads(COPIES.read_text())[protocol]


async def test_a_logger_that_hangs_costs_no_request_and_what_is_dropped_is_said(tmp_path: Path) -> None:
    async with Units(["log"]) as log:
        log.script = "hang"
        log_url = f"http://127.0.0.1:{log.ports['log']}/"
        graph = {"name": "m", "type": "MODEL", "logger": {"mode": "request", "url": log_url}}
        arguments = ["--logger_workers", "1", "--log_work_buffer_size", "2", "--graceful_timeout", "1s"]
        async with engine(OURS, {"graph": graph, "arguments": arguments}, {}, tmp_path) as running:
            assert {(await running.ask(ASK))["code"] for _ in range(9)} == {200}
            page = (await running.ask({"path": "/metrics", "method": "GET"}))["body"]
    dropped = next(line for line in page.splitlines() if line.startswith('kf_payload_log_copies_total{fate="dropped"}'))
    assert float(dropped.split()[-1]) >= 6
    said = (tmp_path / "engine.log").read_text()
    assert "the queue is full" in said
    assert "copies were not sent before the end" in said


async def test_metrics_have_the_names_and_labels_of_the_executors(tmp_path: Path) -> None:
    async with engine(OURS, ONE, {}, tmp_path) as running:
        await running.ask(ASK)
        page = (await running.ask({"path": "/metrics", "method": "GET"}))["body"]
    assert series(page) >= {tuple(line) for line in json.loads(METRICS.read_text())}


async def test_full_health_checks_ask_the_units(tmp_path: Path) -> None:
    group = {**ONE, "arguments": ["--full_health_checks"]}
    async with engine(OURS, group, {}, tmp_path) as running:
        answer = await running.ask({"path": "/ready", "method": "GET"})
    assert (answer["code"], [call["ask"] for call in answer["calls"]]) == (200, ["GET /api/v1.0/health/status"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Required argument sdep missing"),
        (["--sdep", "d", "--namespace", "n", "--predictor", "p"], "ENGINE_PREDICTOR"),
    ],
)
async def test_an_engine_that_cannot_serve_says_why_and_ends(arguments: list[str], said: str) -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*OURS, *arguments, stderr=pipe, env={"PATH": ""})
    _, text = await process.communicate()
    assert (process.returncode, said in text.decode()) == (1, True)


async def test_units_of_the_engines_own_process_answer_as_servers_do(tmp_path: Path) -> None:
    (tmp_path / "steps.py").write_text(
        "class Half:\n"
        "    def __init__(self, by=1): self.by = by\n"
        "    def predict(self, X, names): return X / self.by\n"
        "    def tags(self): return {'by': self.by}\n"
        "class Broken:\n"
        "    def predict(self, X, names): raise ValueError('no such thing')\n"
    )
    (tmp_path / "state").mkdir()
    by = [{"name": "by", "value": "2", "type": "INT"}]
    models = [
        {"name": "half", "type": "MODEL", "parameters": by},
        {"name": "broken", "type": "MODEL"},
    ]
    group = {
        "graph": {"name": "r", "type": "ROUTER", "children": models},
        "elsewhere": {"r": 0, "half": 0, "broken": 0},
    }
    fused = {
        "r": {"router": "EpsilonGreedy", "parameters": {"epsilon": 0.0, "best_branch": 0, "branch_names": "a:b"}},
        "half": {"class": "steps.Half", "paths": [str(tmp_path)]},
        "broken": {"class": "steps.Broken", "paths": [str(tmp_path)]},
    }
    environment = {"KF_FUSED": json.dumps(fused), "KF_STATE_DIR": str(tmp_path / "state")}
    ask = {"path": "/api/v1.0/predictions", "body": {"data": {"ndarray": [[1.0, 3.0]]}}}
    async with engine(OURS, group, environment, tmp_path) as running:
        await answers(running.url + "/ready")
        answer = (await running.ask(ask))["body"]
        assert answer["data"]["ndarray"] == [[0.5, 1.5]]
        assert answer["meta"]["routing"] == {"r": 0, "half": -1}
        assert answer["meta"]["tags"] == {"branch": "a", "by": 2}
        routed = {**answer["meta"], "routing": {"r": 1}}
        feedback = {"request": ask["body"], "response": {**answer, "meta": routed}, "reward": 1.0}
        assert (await running.ask({"path": FEEDBACK["path"], "body": feedback}))["code"] == 200
        broken = await running.ask(ask)
        assert (broken["code"], "no such thing" in broken["body"]["status"]["info"]) == (500, True)
    async with engine(OURS, group, environment, tmp_path) as running:
        await answers(running.url + "/ready")
        health = (await running.ask({"path": "/api/v1.0/status/r", "method": "GET"}))["body"]["jsonData"]
        assert health["branches"][1] == {"name": "b", "pulls": 0, "tries": 1.0, "mean": 1.0}
        page = (await running.ask({"path": "/metrics", "method": "GET"}))["body"]
        assert 'model_name="r"' in page
        types = [line for line in page.splitlines() if line.startswith("# TYPE")]
        assert len(types) == len(set(types))


async def test_units_of_the_engines_own_process_speak_every_protocol(tmp_path: Path) -> None:
    (tmp_path / "half.py").write_text("class Half:\n    def predict(self, X, names): return X / 2\n")
    graph = {"name": "m", "type": "MODEL", "children": [{"name": "n", "type": "MODEL"}]}
    spec = {"class": "half.Half", "paths": [str(tmp_path)]}
    group = {"graph": graph, "elsewhere": {"m": 0, "n": 0}}
    environment = {"KF_FUSED": json.dumps({"m": spec, "n": spec})}
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [4, 8]}
    for protocol, path, body, member in (
        ("v2", "/v2/models/m/infer", {"inputs": [tensor]}, "outputs"),
        ("tensorflow", "/v1/models/m:predict", {"instances": [[4.0, 8.0]]}, "predictions"),
    ):
        async with engine(OURS, {**group, "protocol": protocol}, environment, tmp_path) as running:
            await answers(running.url + "/ready")
            found = (await running.ask({"path": path, "body": body}))["body"][member]
            assert (found[0]["data"] if protocol == "v2" else found[0]) == [1, 2]
            if protocol == "v2":
                await _over_grpc(running.grpc_port)
    async with engine(OURS, group, environment, tmp_path) as running:
        await answers(running.url + "/ready")
        data = {"ndarray": {"values": [{"list_value": {"values": [{"number_value": 8}]}}]}}
        case = {"method": "Predict", "message": ("SeldonMessage", {"data": data})}
        found = await engine_rpc.ask(running, case)
        assert found["message"]["data"]["ndarray"] == [[2.0]]
        asked = {"method": "GraphMetadata", "message": ("Meta", {}), "answer": "SeldonGraphMetadata"}
        assert len((await engine_rpc.ask(running, asked))["message"]["models"]) == 2


async def _over_grpc(port: int) -> None:
    """A client that is not ours."""
    async with InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready("m")
        tensor = InferInput("x", [1, 2], "FP32")
        tensor.set_data_from_numpy(np.array([[4, 8]], dtype=np.float32))
        answer = await client.infer("m", [tensor])
        assert answer.as_numpy(answer.get_response().outputs[0].name).ravel().tolist() == [1, 2]


@pytest.mark.parametrize(
    ("fused", "said"),
    [
        ({"m": {}}, "one of: model, class, router"),
        ({"m": {"router": "Oracle"}}, "there is no router 'Oracle'"),
        ({"m": {"class": "nowhere.Thing"}}, "no module nowhere"),
        ({"m": {"model": "/nowhere"}}, "no model at /nowhere"),
        ({"m": {"class": "x", "color": "red"}}, "has 'color'"),
    ],
)
async def test_a_unit_that_cannot_be_fused_is_said_at_the_start(fused: dict[str, Any], said: str) -> None:
    predictor = base64.b64encode(json.dumps({"name": "p", "graph": ONE["graph"]}).encode()).decode()
    environment = {"ENGINE_PREDICTOR": predictor, "KF_FUSED": json.dumps(fused), "PATH": ""}
    names = ["--sdep", "d", "--namespace", "n", "--predictor", "p", "--http_port", str(free_port())]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*OURS, *names, stderr=pipe, env=environment)
    _, text = await process.communicate()
    assert (process.returncode, said in text.decode()) == (1, True), text.decode()


async def test_with_a_certificate_both_faces_speak_tls(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    certificate = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    plain = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
    (tmp_path / "tls.crt").write_bytes(certificate)
    (tmp_path / "tls.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, plain[1], plain[0]))
    environment = {"SELDON_CERT_MOUNT_PATH": str(tmp_path)}
    async with engine(OURS, {**ONE, "scheme": "https"}, environment, tmp_path) as running:
        assert await status(running.url + "/ready") == 200
        assert await status(running.url.replace("https", "http") + "/ready") == 0
        credentials = grpc.ssl_channel_credentials(certificate)
        async with grpc.aio.secure_channel(f"localhost:{running.grpc_port}", credentials) as channel:
            method = channel.unary_unary("/seldon.protos.Seldon/ModelMetadata")
            with pytest.raises(grpc.aio.AioRpcError, match="Failed to find model"):
                await method(b"", timeout=60)
