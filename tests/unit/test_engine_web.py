"""The engine as a client sees it over REST; units are in memory, and the application is called without a socket."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from engine_world import Units, graph, node

from jupyterlab_kf.runtime.serving.engine.calls import Naming
from jupyterlab_kf.runtime.serving.engine.graph import Graph, Verb
from jupyterlab_kf.runtime.serving.engine.metrics import Metrics
from jupyterlab_kf.runtime.serving.engine.payloads import Payload
from jupyterlab_kf.runtime.serving.engine.walk import UnitError
from jupyterlab_kf.runtime.serving.engine.web import Surface, Web

ONE = graph(node("m", "MODEL"))
PREDICT, FEEDBACK = "/api/v1.0/predictions", "/api/v1.0/feedback"


@dataclass
class Said:
    code: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """A client that calls the application itself."""

    def __init__(self, planned: Graph = ONE, protocol: str = "seldon", units: Units | None = None) -> None:
        self.units = units or Units()
        self.metrics = Metrics()
        self.copies: list[str] = []
        surface = Surface("ns", protocol, "/prometheus", "*", "Accept")
        tap = lambda puid: lambda unit, event, _: self.copies.append(f"{puid} {unit.name} {event}")  # noqa: E731
        self.web = Web(planned, self.units, Naming("iris", "main", "v1"), self.metrics, surface, tap=tap)

    async def __call__(self, method: str, path: str, body: bytes = b"", **headers: str) -> Said:
        pairs = [(name.replace("_", "-").lower().encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": method, "path": path, "headers": pairs}
        half = len(body) // 2
        messages = iter(
            [
                {"type": "http.request", "body": body[:half], "more_body": True},
                {"type": "http.request", "body": body[half:]},
            ]
        )
        sent: list[Any] = []

        async def receive() -> Any:
            return next(messages)

        async def send(message: Any) -> None:
            sent.append(message)

        await self.web(scope, receive, send)
        found = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
        return Said(sent[0]["status"], found, sent[1]["body"])


async def test_a_prediction_comes_back_with_the_executors_headers() -> None:
    said = await Client()("POST", PREDICT, b'{"strData":"x"}', content_type="application/json", seldon_puid="me")
    assert said.code == 200
    assert said.headers == {
        "seldon-puid": "me",
        "x-content-type-options": "nosniff",
        "access-control-allow-origin": "*",
        "access-control-allow-headers": "Accept",
        "access-control-allow-methods": "OPTIONS,POST",
        "content-type": "application/json",
        "content-length": str(len(said.body)),
    }
    assert said.json["meta"]["puid"] == "me"


async def test_a_request_without_a_number_gets_one_which_units_are_told_too() -> None:
    client = Client()
    said = await client("POST", PREDICT, b"{}")
    assert said.headers["seldon-puid"] == client.units.headers["Seldon-Puid"] == said.json["meta"]["puid"]


async def test_a_cloud_event_is_answered_with_one() -> None:
    said = await Client()("POST", PREDICT, b"{}", ce_specversion="1.0", seldon_puid="7")
    assert {name: value for name, value in said.headers.items() if name.startswith("ce-")} == {
        "ce-id": "7",
        "ce-specversion": "0.3",
        "ce-path": PREDICT,
        "ce-type": "seldon.iris.ns.response",
        "ce-source": "seldon.iris",
    }


async def test_what_a_unit_refuses_it_refuses_in_its_own_words() -> None:
    refusal = UnitError("called", 418, Payload(b"no tea", "text/plain"))
    said = await Client(units=Units({("m", Verb.PREDICT): refusal}))("POST", PREDICT, b"{}")
    assert (said.code, said.body, said.headers["content-type"]) == (418, b"no tea", "text/plain")


async def test_a_unit_that_cannot_be_asked_is_said_as_seldon_says_it() -> None:
    said = await Client(units=Units({("m", Verb.PREDICT): UnitError("m is gone")}))("POST", PREDICT, b"{}")
    assert said.code == 500
    assert said.json == {"status": {"code": 500, "info": "m is gone", "status": "FAILURE"}}


async def test_clients_of_other_protocols_find_the_error_where_they_look() -> None:
    said = await Client(protocol="v2")("POST", "/v2/models/m/infer", b"junk")
    assert said.code == 400
    assert "no JSON object" in said.json["error"]


async def test_a_fault_of_the_engine_is_one_requests_only(capsys: pytest.CaptureFixture[str]) -> None:
    client = Client(units=Units({("m", Verb.PREDICT): lambda _: {}["no"]}))
    assert (await client("POST", PREDICT, b"{}")).code == 500
    assert "KeyError" in capsys.readouterr().err
    assert (await client("GET", "/live")).code == 200


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", PREDICT, 405),
        ("POST", "/api/v0.1/predictions", 200),
        ("POST", "/api/v1x0/predictions", 404),
        ("OPTIONS", FEEDBACK, 200),
        ("DELETE", "/api/v1.0/status/m", 405),
        ("GET", "/api/v1.0/status/m", 200),
        ("GET", "/api/v1.0/metadata/m", 200),
        ("GET", "/api/v1.0/metadata/nobody", 500),
        ("GET", "/api/v1.0/health/status", 200),
        ("POST", "/v2/models/m/infer", 404),
        ("PUT", "/ready", 200),
        ("GET", "/", 404),
    ],
)
async def test_routes_and_methods_are_the_executors(method: str, path: str, code: int) -> None:
    assert (await Client()(method, path, b"{}")).code == code


@pytest.mark.parametrize(
    ("protocol", "method", "path", "verb", "model"),
    [
        ("v2", "POST", "/v2/models/cifar/infer", Verb.PREDICT, "cifar"),
        ("kfserving", "POST", "/v2/models/infer", Verb.PREDICT, ""),
        ("v2", "GET", "/v2/models/m", Verb.METADATA, "m"),
        ("v2", "GET", "/v2/models/m/ready", Verb.STATUS, "m"),
        ("tensorflow", "POST", "/v1/models/half:predict", Verb.PREDICT, "half"),
        ("tensorflow", "POST", "/v1/models/half/:predict", Verb.PREDICT, "half"),
        ("tensorflow", "POST", "/v1/models/:predict", Verb.PREDICT, ""),
        ("tensorflow", "POST", "/v1/models:predict", Verb.PREDICT, ""),
        ("tensorflow", "GET", "/v1/models/m/metadata", Verb.METADATA, "m"),
        ("tensorflow", "GET", "/v1/models/m", Verb.STATUS, "m"),
    ],
)
async def test_each_protocol_has_its_own_routes(protocol: str, method: str, path: str, verb: Verb, model: str) -> None:
    client = Client(protocol=protocol)
    said = await client(method, path, b'{"inputs":[]}')
    assert (said.code, client.units.asked, client.units.model) == (200, [("m", verb)], model)


async def test_standard_clients_of_v2_find_the_server() -> None:
    client = Client(protocol="v2")
    assert (await client("GET", "/v2/health/live")).code == 200
    assert (await client("GET", "/v2")).json["name"] == "iris"


async def test_binary_tensors_pass_with_the_length_of_what_is_before_them() -> None:
    head = b'{"inputs":[{"parameters":{"binary_data_size":2}}]}'
    client = Client(protocol="v2", units=Units({("m", Verb.PREDICT): b'{"outputs":[]}'}))
    await client("POST", "/v2/models/m/infer", head + b"\xff\x00", inference_header_content_length=str(len(head)))
    assert client.units.bodies["m", Verb.PREDICT] == head + b"\xff\x00"


async def test_readiness_says_why_not() -> None:
    client = Client(units=Units(why="unit 'm' at h:1: refused"))
    said = await client("GET", "/ready")
    assert (said.code, said.body) == (503, b"unit 'm' at h:1: refused")
    assert (await client("GET", "/live")).code == 200


async def test_an_engine_that_is_ending_is_not_ready_but_answers() -> None:
    client = Client()
    client.web.draining = True
    assert (await client("GET", "/ready")).code == 503
    assert (await client("POST", PREDICT, b"{}")).code == 200


async def test_the_metrics_have_the_executors_names_and_labels() -> None:
    client = Client()
    await client("POST", PREDICT, b"{}")
    await client("GET", FEEDBACK)  # not served with GET, so not counted
    page = (await client("GET", "/prometheus")).body.decode()
    predictor = 'deployment_name="iris",method="post",predictor_name="main",predictor_version="v1"'
    labels = f'code="200",{predictor},service="predictions"'
    name = "seldon_api_executor_server_requests_seconds"
    lines = {_sorted(line.rpartition(" ")[0]): line.rpartition(" ")[2] for line in page.splitlines() if line[0] != "#"}
    assert lines[f"{name}_count{{{labels}}}"] == "1.0"
    assert lines[_sorted(f'{name}_bucket{{{labels},le="10"}}')] == "1.0"
    assert lines[_sorted(f'{name}_bucket{{{labels},le="+Inf"}}')] == "1.0"
    assert _sorted(f'{name}_summary{{{labels},quantile="0.99"}}') in lines
    assert 'service="feedback"' not in page


def _sorted(line: str) -> str:
    name, _, labels = line.partition("{")
    return name + "{" + ",".join(sorted(labels.rstrip("}").split(","))) + "}"


async def test_loggers_are_told_unless_the_client_asks_not_to() -> None:
    planned = graph(node("m", "MODEL", logger={"mode": "request", "url": "http://log"}))
    client = Client(planned)
    await client("POST", PREDICT, b"{}", seldon_puid="9")
    await client("POST", PREDICT, b"{}", seldon_skip_logging="True")
    assert client.copies == ["9 m io.seldon.serving.inference.request"]


async def test_the_graphs_metadata_are_the_edges_of_its_units() -> None:
    planned = graph(node("t", "TRANSFORMER", node("r", "ROUTER", node("a", "MODEL"), node("b", "MODEL"))))
    said = {name: {"name": name, "inputs": [f"{name} in"], "outputs": [f"{name} out"], "more": 1} for name in "tab"}
    units = Units({(name, Verb.METADATA): answer for name, answer in said.items()})
    units.answers["r", Verb.METADATA] = {"versions": []}
    found = (await Client(planned, units=units)("GET", "/api/v1.0/metadata")).json
    assert (found["graphinputs"], found["graphoutputs"]) == (["t in"], ["a out"])
    assert found["models"]["b"] == {"name": "b", "inputs": ["b in"], "outputs": ["b out"]}
    assert found["models"]["r"] == {}


async def test_a_client_that_leaves_is_not_answered() -> None:
    client = Client()

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    await client.web({"type": "http", "method": "POST", "path": PREDICT, "headers": []}, receive, send)
    assert client.units.asked == []


async def test_requests_do_not_wait_for_each_other() -> None:
    client = Client(units=Units(delays={"m": 50}))
    first, second = await asyncio.gather(client("POST", PREDICT, b"{}"), client("GET", "/live"))
    assert (first.code, second.code) == (200, 200)
