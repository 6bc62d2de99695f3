"""InferenceServices with a transformer, an explainer and scaling, on the whole embedded cluster, asked by real clients.

With ``KF_KSERVE``, a Python that has KServe's package, the transformer is a class of it, and its client asks, too.
On the embedded cluster alone: the real one has no KServe, and tests/real has our controllers there.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import joblib
import numpy as np
import pytest
from bed.api import Api, ApiStatusError, until
from sites import make_namespace
from sklearn.datasets import load_iris  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

import jupyterlab_kf as kf
from jupyterlab_kf import kinds
from jupyterlab_kf.handlers import endpoints
from jupyterlab_kf.manifests.serving.rows import EndpointRow
from jupyterlab_kf.services.desk import Desk
from jupyterlab_kf.settings import Settings

Obj = dict[str, Any]
X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])
KIND = kinds.INFERENCE_SERVICE.api_version, kinds.INFERENCE_SERVICE.kind
PROGRAMS = Path(__file__).parents[1] / "real" / "programs"
KSERVE = os.environ.get("KF_KSERVE", "")


@pytest.fixture
def space(cluster: Settings) -> Iterator[tuple[Api, str]]:
    """A namespace with a fitted model on a claim, and the programs of transformer and explainer."""
    api = Api(cluster.embedded_kubeconfig)
    name = make_namespace(api)
    content = io.BytesIO()
    joblib.dump(LogisticRegression(max_iter=500).fit(X, Y), content)
    files = {one.name: one.read_text() for one in PROGRAMS.glob("kserve_*.py")}
    head = {"name": "parts", "namespace": name}
    binary = {"model.joblib": b64encode(content.getvalue()).decode()}
    api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": head, "data": files, "binaryData": binary})
    yield api, name
    api.delete("v1", "Namespace", name, "")
    api.close()


def container(program: str, **more: Any) -> Obj:
    """A part that runs one of the programs, as an image would."""
    python = KSERVE if program == "kserve_class.py" else "python"
    return {
        "image": "me/part:1",
        "command": [python, f"/code/{program}"],
        "volumeMounts": [{"name": "code", "mountPath": "/code"}],
        **more,
    }


def served(space: str, name: str, **parts: Obj) -> Obj:
    """An InferenceService whose model lies in the ConfigMap."""
    volumes = [{"name": "code", "configMap": {"name": "parts"}}]
    model = {"modelFormat": {"name": "sklearn"}, "args": ["--model_dir=/in"]}
    model |= {"volumeMounts": [{"name": "code", "mountPath": "/in"}]}
    predictor = {"model": model, "volumes": volumes, **parts.pop("predictor", {})}
    spec: Obj = {"predictor": predictor} | {key: {"volumes": volumes, **part} for key, part in parts.items()}
    return {"apiVersion": KIND[0], "kind": KIND[1], "metadata": {"name": name, "namespace": space}, "spec": spec}


def status(api: Api, space: str, name: str) -> Obj:
    return dict(api.get(*KIND, name, space).get("status") or {})


def said(api: Api, space: str, name: str) -> dict[str, str]:
    """The conditions."""
    return {one["type"]: one["status"] for one in status(api, space, name).get("conditions") or ()}


def warnings(api: Api, space: str) -> str:
    found = [one for one in api.list("v1", "Event", space) if one["involvedObject"]["kind"] == KIND[1]]
    return "\n".join(one["message"] for one in found if one["type"] == "Warning")


@contextmanager
def asked(question: Callable[[], bool]) -> Iterator[Counter[str]]:
    """Somebody who asks again and again, and what became of each request."""
    answers: Counter[str] = Counter()
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            try:
                answers["answered" if question() else "wrong"] += 1
            except kf.PredictionError as error:
                answers[str(error)] += 1
            time.sleep(0.01)

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield answers
    finally:
        ended.set()
        asking.join()


@pytest.mark.parametrize("program", ["kserve_part.py", *(["kserve_class.py"] if KSERVE else [])])
def test_requests_go_through_a_transformer_and_explanations_come_from_an_explainer(
    space: tuple[Api, str], program: str, tmp_path: Path
) -> None:
    api, name = space
    explainer = {"containers": [container("kserve_part.py")]}
    transformer = {"containers": [container(program)]}
    api.create(served(name, "petals", transformer=transformer, explainer=explainer))
    server = kf.server("petals", name).wait(180)
    found = status(api, name, "petals")
    assert said(api, name, "petals") == dict.fromkeys(
        ("PredictorReady", "TransformerReady", "ExplainerReady", "Ready"), "True"
    )
    assert found["url"] == f"http://petals-transformer.{name}.svc.cluster.local"
    assert set(found["components"]) == {"predictor", "transformer", "explainer"}
    right = NAMES[LogisticRegression(max_iter=500).fit(X, Y).predict(X)]
    assert list(server.predict(X * 10)) == list(right)
    (about,) = server.explain(X[:1])["explanations"]
    assert len(about) == 4
    assert any(about)
    (pod,) = [one for one in api.list("v1", "Pod", name) if one["metadata"]["name"].startswith("petals-transformer")]
    assert [one["name"] for one in pod["spec"]["containers"]] == ["kserve-container", "forwarder"]
    if KSERVE:
        _asks_by_kserves_client(api, name, right, tmp_path)
    # What the transformer was told of its predictor stays right when the predictor's pods are others.
    before = {one["metadata"]["name"] for one in _pods(api, name, "petals-predictor")}
    with asked(lambda: list(server.predict(X[:1] * 10)) == list(right[:1])) as answers:
        changed = {"predictor": {"model": {"env": [{"name": "ROUND", "value": "2"}]}}}
        api.merge(*KIND, "petals", {"spec": changed}, name)
        until(
            lambda: not before & {one["metadata"]["name"] for one in _pods(api, name, "petals-predictor")},
            seconds=120,
            what="another predictor",
        )
        until(lambda: server.status == "Ready", seconds=60, what="all parts ready")
    assert set(answers) == {"answered"}, answers
    told = asyncio.run(_tried(name))
    assert told == (list(right[:3]), "Ready"), "the panel's try-it pane and row"
    # Without it, the predictor answers itself.
    api.merge(*KIND, "petals", {"spec": {"transformer": None, "explainer": None}}, name)
    until(lambda: not _pods(api, name, "petals-transformer"), seconds=60, what="the transformer's end")
    assert np.array_equal(server.predict(X[:3]), Y[:3])
    assert set(said(api, name, "petals")) == {"PredictorReady", "Ready"}
    with pytest.raises(kf.UsageError, match="has no explainer"):
        server.explain(X[:1])


async def _tried(space: str) -> tuple[Any, str]:
    """The answer to who tries it in the panel, and the row's state."""
    desk = Desk()
    changed = asyncio.Event()
    desk.listen(lambda *_: changed.set())
    try:
        await desk.ready()
        said = await endpoints.predict_other(desk, KIND[1], (space, "petals", ""), {"value": (X[:3] * 10).tolist()})
        async with asyncio.timeout(60):
            while not (found := [one for one in _rows(desk) if one.namespace == space]):
                changed.clear()
                await changed.wait()
        return said.value, found[0].state
    finally:
        await desk.close()


def _rows(desk: Desk) -> tuple[EndpointRow, ...]:
    rows = desk.endpoints()
    return rows.newest() if rows is not None and rows.known else ()


def _pods(api: Api, space: str, title: str) -> list[Obj]:
    return [one for one in api.list("v1", "Pod", space) if one["metadata"]["name"].startswith(title)]


def _asks_by_kserves_client(api: Api, space: str, right: Any, folder: Path) -> None:
    """KServe's own client, in its own environment, at the pod's address."""
    (pod,) = _pods(api, space, "petals-transformer")
    (moved,) = [
        int(port)
        for declared, port in json.loads(pod["metadata"]["annotations"]["jupyterlab-kf.io/ports"]).items()
        if declared == "8080"
    ]
    script = folder / "ask.py"
    script.write_text(
        "import asyncio, json, sys\n"
        "from kserve import InferenceRESTClient, RESTConfig\n"
        "async def main():\n"
        "    client = InferenceRESTClient(RESTConfig(protocol='v1', timeout=60))\n"
        "    rows = json.load(sys.stdin)\n"
        "    print(json.dumps(await client.infer(sys.argv[1], {'instances': rows}, model_name='petals')))\n"
        "asyncio.run(main())\n"
    )
    words = [KSERVE, str(script), f"http://{pod['status']['podIP']}:{moved}"]
    done = subprocess.run(
        words, input=json.dumps((X * 10).tolist()), capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["predictions"] == list(right)


def test_a_transformer_that_does_not_come_up_is_told_of_and_the_predictor_answers_on(space: tuple[Api, str]) -> None:
    api, name = space
    api.create(served(name, "petals"))
    server = kf.server("petals", name).wait(120)
    broken = container("kserve_part.py") | {"command": ["python", "-c", "raise SystemExit('no such table: flowers')"]}
    volumes = [{"name": "code", "configMap": {"name": "parts"}}]
    api.merge(*KIND, "petals", {"spec": {"transformer": {"containers": [broken], "volumes": volumes}}}, name)
    until(lambda: "the transformer is not ready" in server.why, seconds=60, what="which part is not ready")
    until(lambda: "container kserve-container" in server.why, seconds=60, what="why the transformer does not come up")
    assert np.array_equal(server.predict(X[:3]), Y[:3]), "the predictor serves on"


def test_replicas_follow_the_cpu_between_their_bounds(space: tuple[Api, str]) -> None:
    api, name = space
    bounds = {"minReplicas": 1, "maxReplicas": 2, "scaleTarget": 2}
    api.create(served(name, "petals", predictor={**bounds, "timeout": 3}))
    server = kf.server("petals", name).wait(120)
    scaler, right = _scaler(api, name)["spec"], LogisticRegression(max_iter=500).fit(X, Y).predict(X)
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (1, 2)
    with asked(lambda: np.array_equal(server.predict(X), right)) as answers:
        until(lambda: _replicas(api, name) == 2, seconds=120, what="a second replica of who is busy")
        until(lambda: server.status == "Ready", seconds=60, what="both ready")
    assert set(answers) == {"answered"}, answers
    assert "spec.predictor.timeout is not honoured" in warnings(api, name)
    assert "maxReplicas" not in warnings(api, name)
    api.merge(*KIND, "petals", {"spec": {"predictor": {"maxReplicas": None}}}, name)

    def unscaled() -> bool:
        with suppress(ApiStatusError):
            _scaler(api, name)
            return False
        return True

    until(unscaled, seconds=60, what="the autoscaler's end")
    until(lambda: _replicas(api, name) == 1, seconds=60, what="as many replicas as are asked for")


def _replicas(api: Api, space: str) -> int:
    return int(api.get("apps/v1", "Deployment", "petals-predictor", space)["spec"].get("replicas", 1))


class Sink(BaseHTTPRequestHandler):
    """A logger: keeps what it is sent."""

    taken: ClassVar[list[tuple[dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.taken.append((headers, self.rfile.read(int(headers["content-length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name
        """Nothing."""


def test_requests_are_joined_and_copies_of_them_sent(space: tuple[Api, str]) -> None:
    api, name = space
    sink = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=sink.serve_forever, daemon=True).start()
    logger = {"url": f"http://127.0.0.1:{sink.server_port}/", "mode": "all"}
    batcher = {"maxBatchSize": 4, "maxLatency": 5000}
    api.create(served(name, "petals", predictor={"logger": logger, "batcher": batcher}))
    server = kf.server("petals", name).wait(120)
    with ThreadPoolExecutor(4) as askers:
        answers = list(askers.map(lambda at: server.ask(X[at : at + 1]), range(4)))
    right = LogisticRegression(max_iter=500).fit(X, Y).predict(X[:4])
    assert [int(one.value[0]) for one in answers] == list(right)
    assert len({one.response["batchId"] for one in answers}) < 4
    with pytest.raises(kf.PredictionError, match="features"):
        server.predict([[1.0]])
    until(lambda: len(Sink.taken) >= 9, seconds=60, what="a copy of each request and each answer")
    sink.shutdown()
    sink.server_close()
    assert {headers["ce-inferenceservicename"] for headers, _ in Sink.taken} == {"petals"}
    kinds_of = Counter(headers["ce-type"].rpartition(".")[2] for headers, _ in Sink.taken)
    assert kinds_of == {"request": 5, "response": 4}, "what fails has no answer to be copied"
    by_id = Counter(headers["ce-id"] for headers, _ in Sink.taken)
    assert sorted(by_id.values()) == [1, 2, 2, 2, 2]
    assert warnings(api, name) == ""


def _scaler(api: Api, space: str) -> Obj:
    return dict(api.get("autoscaling/v2", "HorizontalPodAutoscaler", "petals-predictor", space))
