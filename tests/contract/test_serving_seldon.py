"""SeldonDeployments on the whole embedded cluster: applied, available, asked, replaced under load, and gone again.

On the embedded cluster alone: a real one needs Seldon's own operator and its images for this.
"""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import joblib
import pytest
from bed.api import Api, ApiStatusError, until
from sites import Kubectl, make_namespace
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from jupyterlab_kf import kinds, names
from jupyterlab_kf.settings import Settings

Obj = dict[str, Any]
VERSION, KIND = kinds.SELDON_DEPLOYMENT.api_version, kinds.SELDON_DEPLOYMENT.kind
PREDICT = "api/v1.0/predictions"
BODY = {"data": {"ndarray": [[5.1, 3.5, 1.4, 0.2]]}}
CODE = """
import os, time

class Twice:
    def __init__(self, factor=2):
        self.factor = factor
        if os.environ.get("BROKEN"):
            raise RuntimeError("this version cannot work")

    def predict(self, X, names, meta=None):
        return X * self.factor

    def tags(self):
        return {"version": os.environ.get("VERSION", "1")}
"""
PLAIN = """
import http.server, json, os

class Unit(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        told = {"names": [], "ndarray": asked["data"]["ndarray"]}
        body = json.dumps({"data": told, "meta": {"tags": {"path": self.path}}})
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *words):
        pass

port = int(os.environ["PREDICTIVE_UNIT_SERVICE_PORT"])
http.server.ThreadingHTTPServer((os.environ["POD_IP"], port), Unit).serve_forever()
"""


class Endpoint:
    """One SeldonDeployment in a namespace of the test's own."""

    def __init__(self, api: Api, ctl: Kubectl, name: str) -> None:
        self.api, self.ctl, self.name = api, ctl, name

    def apply(self, *predictors: Obj, **spec: Any) -> None:
        metadata = {"name": self.name, "namespace": self.ctl.namespace}
        obj = {
            "apiVersion": VERSION,
            "kind": KIND,
            "metadata": metadata,
            "spec": {"predictors": list(predictors), **spec},
        }
        self.ctl("apply", "-f", "-", stdin=json.dumps(obj))

    @property
    def status(self) -> Obj:
        return dict(self.api.get(VERSION, KIND, self.name, self.ctl.namespace).get("status") or {})

    def until(self, state: str, seconds: float = 60) -> Obj:
        until(lambda: self.status.get("state") == state, seconds=seconds, what=f"state {state} ({self.status})")
        return self.status

    def ask(self, service: str, path: str = PREDICT, body: Obj = BODY) -> Obj:
        base = f"/api/v1/namespaces/{self.ctl.namespace}/services/{service}/proxy"
        answer: Obj = self.api.request("POST", f"{base}/{path}", body)
        return answer


@pytest.fixture
def endpoint(cluster: Settings, kubectl_path: Path, tmp_path: Path) -> Iterator[Endpoint]:
    api = Api(cluster.embedded_kubeconfig)
    namespace = make_namespace(api)
    yield Endpoint(api, Kubectl(kubectl_path, cluster.embedded_kubeconfig, namespace, tmp_path), "iris")
    api.delete("v1", "Namespace", namespace, "")
    api.close()


def unit(folder: Path, **env: str) -> Obj:
    """A predictor of one class."""
    (folder / "Twice.py").write_text(CODE)
    command = ["python", "-m", "jupyterlab_kf.runtime.serving", "unit", "--class", "Twice", "--path", str(folder)]
    variables = [{"name": key, "value": value} for key, value in env.items()]
    container = {"name": "model", "image": "example/twice:1", "command": command, "env": variables}
    return {"name": "main", "graph": {"name": "model"}, "componentSpecs": [{"spec": {"containers": [container]}}]}


@contextmanager
def load(endpoint: Endpoint, service: str) -> Iterator[tuple[Counter[str], list[str]]]:
    """Ask again and again, from several threads, and count the versions that answer."""
    seen: Counter[str] = Counter()
    failures: list[str] = []
    ended = threading.Event()

    def loop() -> None:
        api = Api(endpoint.ctl.kubeconfig)
        mine = type(endpoint)(api, endpoint.ctl, endpoint.name)
        while not ended.is_set():
            try:
                seen[mine.ask(service)["meta"]["tags"]["version"]] += 1
            except (ApiStatusError, OSError) as error:
                failures.append(f"{type(error).__name__}: {error}")
        api.close()

    threads = [threading.Thread(target=loop) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield seen, failures
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def test_a_class_becomes_available_and_answers_through_the_service_proxy(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.apply(unit(tmp_path))
    status = endpoint.until("Available")
    assert status["deploymentStatus"] == {"iris-main-0-model": {"replicas": 1, "availableReplicas": 1}}
    answer = endpoint.ask("iris-main:8000")
    assert answer["data"]["ndarray"] == [[10.2, 7.0, 2.8, 0.4]]
    assert answer["meta"]["routing"] == {"model": -1}
    with pytest.raises(ApiStatusError) as refused:
        endpoint.ask("iris-main:8000", body={"data": "nonsense"})
    assert refused.value.code in (400, 500)
    endpoint.ctl("delete", "sdep", "iris")
    until(lambda: "No resources" in endpoint.ctl.run("get", "deploy,pod,svc").stderr, seconds=60, what="the end of all")


def test_any_program_on_the_units_own_paths_is_a_unit(endpoint: Endpoint, tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(PLAIN)
    container = {"name": "model", "image": "example/plain", "command": ["python", str(tmp_path / "plain.py")]}
    component = {"spec": {"containers": [container]}}
    endpoint.apply({"name": "main", "graph": {"name": "model", "type": "MODEL"}, "componentSpecs": [component]})
    endpoint.until("Available")
    assert endpoint.ask("iris-main:http")["meta"]["tags"] == {"path": "/predict"}


def test_units_in_two_languages_are_one_graph(endpoint: Endpoint, tmp_path: Path) -> None:
    """The example of the documentation: a router in JavaScript before a class in Python and a model in JavaScript."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node on the PATH: units in JavaScript cannot be run")
    program = [node, str(Path(__file__).parents[2] / "docs/examples/unit.js")]
    component = unit(tmp_path)["componentSpecs"][0]
    component["metadata"] = {"annotations": {names.ANNOTATION_MOVABLE: "true"}}
    script = [{"name": name, "image": "example/node:1", "command": program} for name in ("router", "script")]
    component["spec"]["containers"] += script
    children = [{"name": name, "type": "MODEL"} for name in ("model", "script")]
    router = {"name": "router", "type": "ROUTER", "methods": ["ROUTE", "SEND_FEEDBACK"], "children": children}
    endpoint.apply({"name": "main", "graph": router, "componentSpecs": [component]})
    endpoint.until("Available")
    assert endpoint.ask("iris-main:8000", body={"data": {"ndarray": [[-1, 2]]}})["data"]["ndarray"] == [[-2, 4]]
    answer = endpoint.ask("iris-main:8000", body={"data": {"ndarray": [[1, 2]]}})
    assert answer["data"]["ndarray"] == [3]
    assert answer["meta"]["tags"] == {"script": "js"}
    assert answer["meta"]["routing"] == {"router": 1, "script": -1}
    told = endpoint.ask("iris-main:8000", "api/v1.0/feedback", {"response": answer, "reward": 0.5})
    assert told["meta"]["tags"]["rewards"] == 0.5
    with pytest.raises(ApiStatusError) as refused:
        endpoint.ask("iris-main:8000", body={"strData": "text"})
    assert refused.value.code == 400


@pytest.mark.parametrize("protocol", ["seldon", "v2"])
def test_a_ready_made_server_fetches_its_model_and_serves_it(endpoint: Endpoint, tmp_path: Path, protocol: str) -> None:
    joblib.dump(LogisticRegression(max_iter=500).fit(*load_iris(return_X_y=True)), tmp_path / "model.joblib")
    graph = {"name": "flowers", "implementation": "SKLEARN_SERVER", "modelUri": f"file://{tmp_path}"}
    endpoint.apply({"name": "main", "graph": graph}, protocol=protocol)
    endpoint.until("Available")
    if protocol == "seldon":
        chances = endpoint.ask("iris-main:8000")["data"]["ndarray"][0]
        assert chances.index(max(chances)) == 0
        return
    tensor = {"name": "x", "shape": [1, 4], "datatype": "FP64", "data": BODY["data"]["ndarray"][0]}
    answer = endpoint.ask("iris-main:8000", "v2/models/flowers/infer", {"inputs": [tensor]})
    assert answer["outputs"][0]["data"] == [0]


def test_a_model_that_cannot_be_fetched_is_told_of_in_the_status(endpoint: Endpoint) -> None:
    graph = {"name": "flowers", "implementation": "SKLEARN_SERVER", "modelUri": "gs://bucket/model"}
    endpoint.apply({"name": "main", "graph": graph})
    until(lambda: "not from gs://" in str(endpoint.status.get("description")), seconds=60, what="the reason")


def test_no_request_is_lost_when_a_version_replaces_another(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.apply(unit(tmp_path, VERSION="1"))
    endpoint.until("Available")
    with load(endpoint, "iris-main:8000") as (seen, failures):
        for version in ("2", "3"):
            endpoint.apply(unit(tmp_path, VERSION=version))
            until(lambda version=version: seen[version] > 50, seconds=60, what=f"version {version}")
            endpoint.until("Available")
        # Until the last pod that was replaced is gone.
        until(
            lambda: endpoint.ctl("get", "pod", "-o", "name").count("pod/") == 1, seconds=60, what="the end of the old"
        )
    assert failures == []
    assert set(seen) == {"1", "2", "3"}


def test_a_version_that_cannot_work_leaves_the_one_before(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.apply(unit(tmp_path, VERSION="1"))
    endpoint.until("Available")
    with load(endpoint, "iris-main:8000") as (seen, failures):
        endpoint.apply(unit(tmp_path, VERSION="2", BROKEN="yes"))
        until(lambda: "ends again and again" in str(endpoint.status.get("description")), seconds=60, what="the reason")
        before = seen["1"]
        until(lambda: seen["1"] > before + 20, seconds=60, what="answers of the old version")
        endpoint.apply(unit(tmp_path, VERSION="3"))
        endpoint.until("Available")
        time.sleep(1)
    assert failures == []
    assert "2" not in seen


def test_kubectl_rollout_restarts_undoes_and_pauses_a_versions_servers(endpoint: Endpoint, tmp_path: Path) -> None:
    endpoint.apply(unit(tmp_path, VERSION="1"))
    endpoint.until("Available")
    deployment = "deployment/iris-main-0-model"

    def pods() -> set[str]:
        return set(endpoint.ctl("get", "pod", "-o", "name").split())

    with load(endpoint, "iris-main:8000") as (seen, failures):
        before = pods()
        endpoint.ctl("rollout", "restart", deployment)
        endpoint.ctl("rollout", "status", deployment, "--timeout=60s")
        until(lambda: len(pods()) == 1 and not pods() & before, seconds=60, what="another pod, and no other")
        assert "2 " in endpoint.ctl("rollout", "history", deployment)
        endpoint.ctl("rollout", "undo", deployment)
        endpoint.ctl("rollout", "status", deployment, "--timeout=60s")
        endpoint.ctl("rollout", "pause", deployment)
        assert "paused" in endpoint.ctl.run("rollout", "restart", deployment).stderr
        count = seen["1"]
        until(lambda: seen["1"] > count + 20, seconds=60, what="answers while it is paused")
        endpoint.ctl("rollout", "resume", deployment)
        endpoint.apply(unit(tmp_path, VERSION="2"))
        until(lambda: seen["2"] > 20, seconds=60, what="the next version")
    assert failures == []
    assert endpoint.until("Available")["replicas"] == 1


RATE = {"metric": {"name": "requests_per_second"}, "target": {"type": "AverageValue", "averageValue": "2"}}
CPU = {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "20m"}}


@pytest.mark.parametrize(
    "metric", [{"type": "Pods", "pods": RATE}, {"type": "Resource", "resource": CPU}], ids=["requests", "cpu"]
)
def test_load_brings_replicas_and_its_end_takes_them_away_without_a_lost_request(
    endpoint: Endpoint, tmp_path: Path, metric: Obj
) -> None:
    predictor = unit(tmp_path, VERSION="1")
    predictor["componentSpecs"][0]["hpaSpec"] = {"minReplicas": 1, "maxReplicas": 2, "metricsv2": [metric]}
    endpoint.apply(predictor)
    endpoint.until("Available")
    scaler = ("autoscaling/v2", "HorizontalPodAutoscaler", "iris-main-0-model", endpoint.ctl.namespace)

    def replicas() -> int:
        found = endpoint.api.get("apps/v1", "Deployment", "iris-main-0-model", endpoint.ctl.namespace)
        return int(found["status"].get("readyReplicas") or 0)

    with load(endpoint, "iris-main:8000") as (seen, failures):
        until(lambda: replicas() == 2, seconds=60, what="a second replica")
        before = seen["1"]
        until(lambda: seen["1"] > before + 20, seconds=60, what="answers")
    status = endpoint.api.get(*scaler)["status"]
    assert {one["type"]: one["status"] for one in status["conditions"]}["ScalingActive"] == "True"
    assert status["currentMetrics"][0]["type"] == metric["type"]
    # As Kubernetes does, fewer are asked for only after five minutes, unless the autoscaler itself says otherwise.
    soon = {"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 0}}}}
    endpoint.api.merge(*scaler[:3], soon, scaler[3])
    until(lambda: replicas() == 1, seconds=90, what="one replica")
    assert failures == []
    assert endpoint.until("Available")["replicas"] == 1


def test_what_the_webhook_refuses_is_refused(endpoint: Endpoint) -> None:
    shares = [{"name": name, "graph": {"name": "m", "implementation": "SIMPLE_MODEL"}, "traffic": 10} for name in "ab"]
    metadata = {"name": "iris"}
    obj = {"apiVersion": VERSION, "kind": KIND, "metadata": metadata, "spec": {"predictors": shares}}
    done = endpoint.ctl.run("apply", "-f", "-", stdin=json.dumps(obj))
    assert done.returncode == 1
    assert "traffic" in done.stderr.lower()


def test_units_in_other_pods_are_found_and_replaced_without_a_lost_request(endpoint: Endpoint, tmp_path: Path) -> None:
    def graph(version: str) -> Obj:
        first = unit(tmp_path, VERSION="first")
        other = unit(tmp_path, VERSION=version)["componentSpecs"][0]
        other["spec"]["containers"][0]["name"] = "other"
        first["graph"] = {"name": "model", "type": "TRANSFORMER", "children": [{"name": "other", "type": "MODEL"}]}
        return {**first, "componentSpecs": [*first["componentSpecs"], other]}

    endpoint.apply(graph("1"))
    endpoint.until("Available")
    assert endpoint.ask("iris-main:8000")["data"]["ndarray"] == [[10.2, 7.0, 2.8, 0.4]]
    with load(endpoint, "iris-main:8000") as (seen, failures):
        endpoint.apply(graph("2"))
        until(lambda: seen["2"] > 50, seconds=60, what="the second version")
        until(
            lambda: endpoint.ctl("get", "pod", "-o", "name").count("pod/") == 2, seconds=60, what="the end of the old"
        )
    assert failures == []
    assert set(seen) == {"1", "2"}


def test_a_canary_is_promoted_behind_the_gateway_without_a_lost_request(endpoint: Endpoint, tmp_path: Path) -> None:
    """The way that everybody asks: Istio's gateway, weights, and a predictor that goes."""

    class Gateway(Endpoint):
        def ask(self, service: str, path: str = PREDICT, body: Obj = BODY) -> Obj:
            way = f"/api/v1/namespaces/istio-system/services/{service}/proxy/seldon/{self.ctl.namespace}/{self.name}"
            answer: Obj = self.api.request("POST", f"{way}/{path}", body)
            return answer

    behind = Gateway(endpoint.api, endpoint.ctl, endpoint.name)
    stable = {**unit(tmp_path, VERSION="1"), "traffic": 50}
    canary = {**unit(tmp_path, VERSION="2"), "name": "canary", "traffic": 50}
    behind.apply({**stable, "traffic": 100})
    behind.until("Available")

    def routed() -> bool:
        try:
            return bool(behind.ask("istio-ingressgateway:80"))
        except ApiStatusError:
            return False

    until(routed, seconds=60, what="an answer through the gateway")
    with load(behind, "istio-ingressgateway:80") as (seen, failures):
        behind.apply(stable, canary)
        until(lambda: seen["2"] > 50, seconds=60, what="answers of the canary")
        behind.apply({**canary, "traffic": 100})
        until(
            lambda: endpoint.ctl("get", "pod", "-o", "name").count("pod/") == 1, seconds=60, what="the end of the old"
        )
        before = seen["1"]
        time.sleep(1)
    assert failures == []
    assert seen["1"] == before
    assert "main" not in endpoint.ctl("get", "virtualservice,destinationrule,service", "-o", "name")
