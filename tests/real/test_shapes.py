"""TF Serving's and Triton's Deployments, and an InferenceService without KServe, as real pods with our unit server.

Their images' names stand for our server on the node of the tests, and nothing of the manifests is changed for it.
"""

from __future__ import annotations

import base64
import io
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import inference
import joblib
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton
from bed.api import Api, ApiStatusError, until
from bed.cluster import RealCluster
from beside import Controllers
from rights import give
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from test_rights import granted, used

from jupyterlab_kf.manifests.serving import servers
from jupyterlab_kf.manifests.serving.inference import InferenceSpec, ModelSource, encode
from jupyterlab_kf.manifests.serving.servers import ServerSpec, Version

Obj = dict[str, Any]
X, Y = load_iris(return_X_y=True)
USER = ("viewer", "trainer", "serving")
HERE = Path(__file__).parent
FILL = (
    "cd /models && mkdir -p triton/flowers/1 tf/1 && cp /in/model.joblib triton/flowers/1 && cp /in/model.joblib tf/1"
)


def fill(api: Api, space: str) -> None:
    """A claim with a fitted model in it, as Triton and TF Serving lay models out."""
    content = io.BytesIO()
    joblib.dump(LogisticRegression(max_iter=500).fit(X, Y), content)
    head = {"name": "models", "namespace": space}
    binary = {"model.joblib": base64.b64encode(content.getvalue()).decode()}
    code = {"part.py": (HERE / "programs" / "kserve_part.py").read_text()}
    api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": head, "data": code, "binaryData": binary})
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    api.create({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": head, "spec": claim})
    mounts = [{"name": "in", "mountPath": "/in"}, {"name": "models", "mountPath": "/models"}]
    volumes = [
        {"name": "in", "configMap": {"name": "models"}},
        {"name": "models", "persistentVolumeClaim": {"claimName": "models"}},
    ]
    container = {"name": "fill", "image": "python:3", "imagePullPolicy": "IfNotPresent", "volumeMounts": mounts}
    spec = {"containers": [container | {"command": ["sh", "-c", FILL]}], "volumes": volumes, "restartPolicy": "Never"}
    api.create({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "fill", "namespace": space}, "spec": spec})
    until(
        lambda: api.get("v1", "Pod", "fill", space).get("status", {}).get("phase") == "Succeeded",
        seconds=120,
        what="the model in its claim",
    )


def with_parts(petals: Obj) -> Obj:
    """An InferenceService with a transformer before it, an explainer beside it, and an autoscaler."""
    mount = {"name": "code", "mountPath": "/code"}
    own = {"image": "python:3", "imagePullPolicy": "IfNotPresent", "command": ["python", "/code/part.py"]}
    part = {
        "containers": [own | {"volumeMounts": [mount]}],
        "volumes": [{"name": "code", "configMap": {"name": "models"}}],
    }
    model = petals["spec"]["predictor"]["model"] | {"resources": {"requests": {"cpu": "100m"}}}
    predictor = petals["spec"]["predictor"] | {"maxReplicas": 2, "model": model}
    return petals | {"spec": {"predictor": predictor, "transformer": part, "explainer": part}}


@contextmanager
def forwarded(kubectl: Path, cluster: RealCluster, folder: Path, service: str, port: int) -> Iterator[str]:
    """kubectl's way to a port of one of a Service's pods, for what is not HTTP/1: host and port."""
    space, _, name = service.partition("/")
    words = [str(kubectl), f"--kubeconfig={cluster.kubeconfig}", "-n", space, "port-forward"]
    words += [f"service/{name}", f":{port}", "--address=127.0.0.1"]
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        found = re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None
        yield found[0]
        process.kill()


@contextmanager
def proxied(kubectl: Path, cluster: RealCluster, folder: Path) -> Iterator[str]:
    """kubectl's own way to the cluster for clients that know nothing of it: host and port."""
    words = [str(kubectl), f"--kubeconfig={cluster.kubeconfig}", "proxy", "--port=0"]
    environment = {"HOME": str(folder), "PATH": os.environ["PATH"]}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        found = re.search(r"127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None
        yield found[0]
        process.kill()


def asks_by_grpc(host: str) -> None:
    """Triton's own client over gRPC: the server, what its model takes, and predictions."""
    with triton_grpc.InferenceServerClient(host) as client:
        assert client.is_server_ready()
        assert client.is_model_ready("flowers")
        assert client.get_model_metadata("flowers").name == "flowers"
        asked = triton_grpc.InferInput("input-0", list(X.shape), "FP64")
        asked.set_data_from_numpy(X)
        answer = client.infer("flowers", [asked])
        name = answer.get_response().outputs[0].name
        assert np.array_equal(np.ravel(answer.as_numpy(name)), LogisticRegression(max_iter=500).fit(X, Y).predict(X))


def test_triton_tensorflow_serving_and_an_inference_service_run_as_real_pods_and_answer(
    node_cluster: RealCluster, namespace: Callable[[RealCluster], str], kubectl_path: Path, tmp_path: Path
) -> None:
    if not os.environ.get("KF_CRDS"):
        pytest.skip("KF_CRDS names no folder with Seldon's definition")
    space, api = namespace(node_cluster), node_cluster.api
    inference.define(api)
    give(api, space, "seldon", "serving-controllers")
    give(api, space, "ada", *USER)
    began = time.monotonic()
    fill(api, space)
    served = ServerSpec(
        name="flowers", namespace=space, server=servers.TRITON, versions=(Version(name="v1", source="models/triton"),)
    )
    second = ServerSpec(
        name="blossoms",
        namespace=space,
        server=servers.TENSORFLOW,
        versions=(Version(name="v1", source="models/tf"),),
        model="iris",
    )
    source = ModelSource(format="sklearn", uri="pvc://models/tf")
    petals = with_parts(encode(InferenceSpec(name="petals", namespace=space, source=source)))
    unknown = encode(InferenceSpec(name="unknown", namespace=space, source=ModelSource(format="caffe", uri="pvc://m")))
    environment = os.environ | {
        "KUBECONFIG": str(node_cluster.kubeconfig_for("ada", namespace=space)),
        "KF_DATA_DIR": str(tmp_path),
        "KF_CONTEXT": "",
        "KF_NAMESPACE": "",
    }
    with Controllers(node_cluster, "serving", "seldon", space, tmp_path) as controllers:
        for one in (*servers.encode(served), *servers.encode(second), petals, unknown):
            api.create(one)
        day = [sys.executable, str(HERE / "shapes_run.py")]
        done = subprocess.run(
            day, env=environment, capture_output=True, text=True, timeout=300, check=False, cwd=tmp_path
        )
        assert done.stdout.endswith("the day is done\n"), done.stderr[-6000:] + controllers.told()
        ran = {one["spec"]["nodeName"] for one in api.list("v1", "Pod", space)}
        assert ran == {"real-0"}
        with proxied(kubectl_path, node_cluster, tmp_path) as host:
            way = f"{host}/api/v1/namespaces/{space}/services/flowers:http/proxy"
            client = triton.InferenceServerClient(way)
            assert client.is_model_ready("flowers")
            assert client.is_server_live()
            asked = triton.InferInput("input-0", list(X.shape), "FP64")
            asked.set_data_from_numpy(X)
            answer = client.infer("flowers", [asked])
            name = answer.get_response()["outputs"][0]["name"]
            assert np.array_equal(
                np.ravel(answer.as_numpy(name)), LogisticRegression(max_iter=500).fit(X, Y).predict(X)
            )
            client.close()
        with forwarded(kubectl_path, node_cluster, tmp_path, f"{space}/flowers", 8001) as host:
            asks_by_grpc(host)
        scaler = api.get("autoscaling/v2", "HorizontalPodAutoscaler", "petals-predictor", space)["spec"]
        assert (scaler["minReplicas"], scaler["maxReplicas"]) == (1, 2)
        api.delete(*inference.KIND, "petals", space)

        def gone() -> bool:
            try:
                api.get("apps/v1", "Deployment", "petals-predictor", space)
            except ApiStatusError as error:
                return error.code == 404
            return False

        until(gone, seconds=60, what="the end of what an InferenceService owned")
    print(f"{done.stderr}all of it took {time.monotonic() - began:.0f} s")
    assert used(node_cluster, "ada", space) - granted(*USER) == set(), "used, but not by these roles"
    assert used(node_cluster, "seldon", space) - granted("serving-controllers") == set(), "used, but not by this role"
