"""What the engine reads: predictors as Seldon's operator writes them, its command line and its environment."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from engine_world import graph, node

from jupyterlab_kf.runtime.serving.engine.graph import GraphError, Log, Verb, plan
from jupyterlab_kf.runtime.serving.engine.options import OptionError, Options, read

NAMES = ["--sdep", "iris", "--namespace", "ns", "--predictor", "main"]


def predictor(root: dict[str, Any], **rest: Any) -> dict[str, str]:
    """The environment with that graph."""
    text = json.dumps({"name": "main", "graph": root, **rest}).encode()
    return {"ENGINE_PREDICTOR": base64.b64encode(text).decode()}


def test_types_and_methods_say_what_a_unit_is_asked() -> None:
    planned = graph(node("r", "ROUTER", node("m", "MODEL"), methods=["AGGREGATE"]))
    assert planned.root.verbs == {Verb.ROUTE, Verb.FEEDBACK, Verb.AGGREGATE}
    assert planned.root.children[0].verbs == {Verb.PREDICT, Verb.FEEDBACK}


def test_units_of_the_same_pod_are_at_its_address() -> None:
    spec = {"name": "main", "graph": node("a", "MODEL")}
    assert plan(spec, localhost="127.3.4.5").root.host == "127.3.4.5"
    assert (
        plan({**spec, "graph": {**spec["graph"], "endpoint": {"service_host": "elsewhere"}}}).root.host == "elsewhere"
    )  # type: ignore[dict-item]


def test_an_old_endpoint_with_one_port_serves_both_transports() -> None:
    planned = graph({"name": "a", "type": "MODEL", "endpoint": {"service_host": "h", "service_port": 7}})
    assert (planned.root.http_port, planned.root.grpc_port, planned.root.probe_port) == (7, 7, 7)


@pytest.mark.parametrize(
    ("root", "said"),
    [
        ({"type": "MODEL"}, "no name"),
        (node("a", "MODEL", node("a", "MODEL")), "two nodes are named 'a'"),
        (node("a", "MODLE"), "'a' has type 'MODLE'"),
        (node("a", "MODEL", methods=["PREDICT"]), "'a' has method 'PREDICT'"),
        (node("a", "COMBINER"), "'a' combines, but has no children"),
        (node("a", "", node("b", "MODEL"), implementation="RANDOM_ABTEST"), "needs two"),
        (
            node("a", "", node("b", "MODEL"), node("c", "MODEL"), implementation="RANDOM_ABTEST",
                 parameters=[{"name": "ratioA", "value": "half"}]),
            "ratioA is 'half'",
        ),
        (node("a", "MODEL", endpoint={"httpPort": 70000}), "endpoint.httpPort is 70000"),
        (node("a", "MODEL", logger={"mode": "some"}), "logger.mode is 'some'"),
        (node("a", "MODEL", logger={"mode": "all"}), "logger without url"),
    ],
)  # fmt: skip
def test_what_would_fail_at_each_request_is_refused_at_the_start(root: dict[str, Any], said: str) -> None:
    with pytest.raises(GraphError, match=said):
        graph(root)


def test_a_predictor_without_a_graph_is_refused() -> None:
    with pytest.raises(GraphError, match="'main' has no graph"):
        plan({"name": "main"})


def test_the_command_line_of_seldons_operator_is_understood() -> None:
    environment = predictor(
        node("a", "MODEL", logger={"mode": "response"}), annotations={"seldon.io/rest-timeout": "2500"}
    )
    environment |= {"POD_IP": "127.1.2.3", "POD_NAME": "iris-0", "REQUEST_LOGGER_DEFAULT_ENDPOINT": "http://log"}
    arguments = ["--http_port", "8000", "--grpc_port=5001", "--transport", "rest", "--protocol", "v2",
                 "--prometheus_path", "/prometheus", "--server_type", "rpc", "--log_work_buffer_size", "7",
                 "--log_write_timeout_ms", "200", "--full_health_checks=true", "-graceful_timeout", "1m30s",
                 "--shutdown_delay=250ms", "--kafka_auto_commit=false", "--debug"]  # fmt: skip
    options = read([*NAMES, *arguments], environment)
    assert (options.address, options.http_port, options.grpc_port) == ("127.1.2.3", 8000, 5001)
    assert (options.graceful_seconds, options.delay_seconds) == (90.0, 0.25)
    assert (options.prometheus_path, options.full_health_checks, options.log_queue) == ("/prometheus", True, 7)
    assert options.milliseconds("seldon.io/rest-timeout") == 2.5
    assert options.graph.root.host == "127.1.2.3"
    assert (options.graph.root.log, options.graph.root.log_url) == (Log.RESPONSE, "http://log")
    assert options.hostname == "iris-0"


def test_annotations_of_the_pod_count_over_the_predictors(tmp_path: Path) -> None:
    file = tmp_path / "annotations"
    file.write_text('a="with \\"quotes\\" and a = sign"\nseldon.io/rest-timeout="90"\n')
    environment = predictor(node("a", "MODEL"), annotations={"seldon.io/rest-timeout": "1000"})
    options = read(NAMES, environment | {"KF_ANNOTATIONS_FILE": str(file)})
    assert options.annotations["a"] == 'with "quotes" and a = sign'
    assert options.milliseconds("seldon.io/rest-timeout") == 0.09
    assert options.milliseconds("seldon.io/grpc-timeout") is None


def test_an_annotation_that_is_no_number_is_said() -> None:
    options = read(NAMES, predictor(node("a", "MODEL"), annotations={"seldon.io/rest-timeout": "5s"}))
    with pytest.raises(OptionError, match=r"rest-timeout is '5s'"):
        options.milliseconds("seldon.io/rest-timeout")


def _from_file(tmp_path: Path, name: str, text: str) -> Options:
    (tmp_path / name).write_text(text)
    return read([*NAMES, "--file", str(tmp_path / name)], {})


def test_a_whole_deployment_can_come_from_a_file(tmp_path: Path) -> None:
    text = json.dumps({"spec": {"predictors": [{"name": "other"}, {"name": "main", "graph": node("a", "MODEL")}]}})
    for name in ("d.yaml", "d.json"):
        assert _from_file(tmp_path, name, text).graph.root.name == "a"
    with pytest.raises(OptionError, match="Unsupported file type"):
        _from_file(tmp_path, "d.txt", text)
    with pytest.raises(OptionError, match=r"Predictor not found main; .* has: 'other'"):
        _from_file(tmp_path, "d.yaml", json.dumps({"spec": {"predictors": [{"name": "other"}]}}))


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (NAMES[2:], {}, "Required argument sdep missing"),
        ([*NAMES, "--protocol", "soap"], {}, "Protocol must be one of"),
        ([*NAMES, "--transport", "pigeon"], {}, "Only rest and grpc supported"),
        ([*NAMES, "--server_type", "kafka"], {}, "Kafka is not supported"),
        (NAMES, {}, "ENGINE_PREDICTOR is not set"),
        (NAMES, {"ENGINE_PREDICTOR": "%%%"}, "not the base64"),
        (NAMES, {"ENGINE_PREDICTOR": base64.b64encode(b"[]").decode()}, "no JSON object"),
        (NAMES, {"SELDON_CERT_MOUNT_PATH": "/nowhere"}, "tls.crt does not exist"),
        (NAMES, {"KF_FUSED": "{"}, "KF_FUSED is no JSON"),
        (NAMES, {"KF_FUSED": '{"b":{}}'}, "KF_FUSED names 'b'"),
    ],
)
def test_what_is_missing_or_wrong_is_said(arguments: list[str], environment: dict[str, str], said: str) -> None:
    if "ENGINE" not in said and "ENGINE_PREDICTOR" not in environment:
        environment = predictor(node("a", "MODEL")) | environment
    with pytest.raises((OptionError, GraphError), match=said):
        read(arguments, environment)
