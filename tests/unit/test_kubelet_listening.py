"""Servers are told other ports wherever they are told theirs, and nobody else's port is touched."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf.embedded.addresses import Endpoint
from jupyterlab_kf.embedded.images import Images
from jupyterlab_kf.embedded.kubelet import environment, listening
from jupyterlab_kf.manifests.serving import servers
from jupyterlab_kf.settings import Settings

Obj = dict[str, Any]
GOLDEN = Path(__file__).parents[1] / "golden" / "serving" / "real-1.17.1.json"
SOURCES = environment.Sources(lambda _: {}, lambda _: {}, {}, "127.0.0.1", "127.9.9.9")


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    folder = tmp_path_factory.mktemp("images")
    return Images(Settings(folder, folder / "cache"))


def started(pod: Obj, container: Obj, ports: dict[int, int]) -> tuple[dict[str, str], list[str]]:
    """What a container's program gets."""
    env = environment.declared(container, pod, SOURCES)
    words = [environment.expand(w, env) for key in ("command", "args") for w in container.get(key) or ()]
    return listening.tell(env, words, container, Endpoint("127.9.9.9", ports))


def of(*words: str, ports: dict[int, int] | None = None, declares: int = 8000, **env: str) -> tuple[Obj, list[str]]:
    container = {"name": "c", "ports": [{"containerPort": declares}]}
    return listening.tell(env, words, container, Endpoint("127.9.9.9", ports or {8000: 21000, 9000: 22000}))


def pods_of_the_real_operator() -> Iterator[tuple[str, Obj]]:
    for recorded in json.loads(GOLDEN.read_text())["deployments"].values():
        for name, made in (recorded["objects"].get("Deployment") or {}).items():
            yield name, {"metadata": {"namespace": "ml", "name": name}, "spec": made["spec"]["template"]["spec"]}


def test_all_that_seldons_operator_tells_a_server_says_the_given_port(images: Images) -> None:
    seen: set[str] = set()
    for name, pod in pods_of_the_real_operator():
        moving = listening.told(pod, images.resolve)
        ports = {port: 21000 + index for index, port in enumerate(sorted(moving))}
        for container in pod["spec"]["containers"]:
            image = str(container["image"]).removeprefix("docker.io/").rpartition(":")[0]
            declared = set(listening.ports_of(container))
            if not image.startswith(("seldonio/", "tensorflow/", "nvcr.io/")) or image == "seldonio/alibiexplainer":
                continue
            assert declared <= moving, (name, image)
            seen.add(image)
            env, words = started(pod, container, ports)
            graph = base64.b64decode(env.pop("ENGINE_PREDICTOR", "")).decode()
            there = " ".join([*words, *env.values()])
            assert not declared & {int(number) for number in re.findall(r"(?<![\d.])\d{4}(?!\d)", there)}, (name, there)
            near = re.findall(r'"service_host":"localhost","service_port":(\d+),"httpPort":(\d+)', graph)
            assert all(int(port) not in moving for pair in near for port in pair)
    assert {"seldonio/seldon-core-executor", "tensorflow/serving", "nvcr.io/nvidia/tritonserver"} <= seen


def test_an_engine_asks_the_units_of_its_own_pod_where_they_are() -> None:
    def unit(host: str, *children: Obj) -> Obj:
        numbers = {"service_host": host, "service_port": 9000, "httpPort": 9000, "grpcPort": 9500}
        return {"name": "u", "endpoint": numbers, "children": [*children]}

    text = json.dumps({"graph": unit("localhost", unit("u.ml.svc.cluster.local"), {"name": "built-in"})})
    env, words = of("--http_port", "8000", ENGINE_PREDICTOR=base64.b64encode(text.encode()).decode())
    graph = json.loads(base64.b64decode(env["ENGINE_PREDICTOR"]))["graph"]
    assert words == ["--http_port", "21000"]
    assert graph["endpoint"] == {
        "service_host": "localhost", "service_port": 22000, "httpPort": 22000, "grpcPort": 9500
    }  # fmt: skip
    assert graph["children"][0]["endpoint"]["service_port"] == 9000
    assert of(ENGINE_PREDICTOR="nonsense")[0] == {"ENGINE_PREDICTOR": "nonsense"}


@pytest.mark.parametrize("one", [servers.TENSORFLOW, servers.TRITON], ids=["tensorflow", "triton"])
def test_tensorflow_serving_and_triton_are_told(images: Images, one: servers.Server) -> None:
    container = {"name": one.name, "image": one.image, "args": one.command("m", "/m"), "ports": []}
    container["ports"] = [{"containerPort": port} for port in {one.http, one.grpc, one.metrics}]
    pod = {"metadata": {"namespace": "ml", "name": "p"}, "spec": {"containers": [container]}}
    assert listening.told(pod, images.resolve) == {one.http, one.grpc, one.metrics}
    words = " ".join(started(pod, container, {one.metrics: 23000, one.http: 21000, one.grpc: 22000})[1])
    assert "port=21000" in words
    assert "port=22000" in words


def test_a_port_of_its_own_is_told_however_it_is_said() -> None:
    assert of("serve", "--port=8000", "--grpc-port", "8000", "-port", "8000")[1] == [
        *("serve", "--port=21000", "--grpc-port", "21000", "-port", "21000")
    ]
    assert of("sh", "-c", "exec serve --port 8000 --dir /8000")[1][-1] == "exec serve --port 21000 --dir /8000"
    assert of("--bind", "0.0.0.0:8000", "--peer=localhost:9000")[1] == [
        "--bind",
        "0.0.0.0:21000",
        "--peer=localhost:22000",
    ]
    assert of("--host", "0.0.0.0", "--port", "8000")[1][-1] == "21000"
    told, _ = of(PORT="8000", HOST="0.0.0.0", UNIT_SERVICE_PORT="8000", URL="http://127.9.9.9:9000/x")
    assert told == {"PORT": "21000", "HOST": "0.0.0.0", "UNIT_SERVICE_PORT": "21000", "URL": "http://127.9.9.9:22000/x"}
    parameters = '[{"name":"rest_endpoint","value":"http://0.0.0.0:9000"}]'
    assert of(PARAMETERS=parameters)[0]["PARAMETERS"] == parameters.replace("9000", "22000")


def test_what_is_not_its_own_port_stays() -> None:
    env = {"DB_HOST": "db.example.org", "DB_PORT": "8000", "SIZE": "8000", "OTHER_PORT": "8001", "SUPPORT": "8000x"}
    assert of(**env)[0] == env
    words = ["--db-host", "db.example.org", "--db-port", "8000", "--report", "8000", "--db-port=9000", "10.1.1.1:8000"]
    assert of(*words)[1] == words
    # A neighbour's port is where the neighbour is; a variable of that number alone does not say that it is meant.
    assert of(NEIGHBOUR_PORT="9000", NEIGHBOUR_HOST="localhost", SOME_PORT="9000")[0] == {
        "NEIGHBOUR_PORT": "22000", "NEIGHBOUR_HOST": "localhost", "SOME_PORT": "9000"
    }  # fmt: skip


def test_programs_that_nobody_knows_keep_their_ports(images: Images) -> None:
    own = {
        "name": "c",
        "image": "example/own:1",
        "command": ["python", "server.py"],
        "ports": [{"containerPort": 9000}],
    }
    own["env"] = [{"name": "PREDICTIVE_UNIT_SERVICE_PORT", "value": "9000"}]
    pod = {"metadata": {}, "spec": {"containers": [own]}}
    assert listening.told(pod, images.resolve) == frozenset()
    own["command"] = ["seldon-core-microservice", "Mine"]
    assert listening.told(pod, images.resolve) == {9000}
    own["env"] = []  # it listens at its program's own default, whatever that is
    assert listening.told(pod, images.resolve) == frozenset()
