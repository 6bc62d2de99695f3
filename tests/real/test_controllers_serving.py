"""Seldon's controllers of ours over a real API server that has its definition and no operator of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import inference
import pytest
import yaml
from bed.api import until
from bed.cluster import RealCluster
from bed.serving_cases import CASES
from rights import RBAC, give
from test_rights import granted, used

Obj = dict[str, Any]
SELDON = "machinelearning.seldon.io/v1", "SeldonDeployment"
ISTIO = "networking.istio.io/v1"
USER = ("viewer", "trainer", "serving", "monitoring")
# What these deployments do not need: budgets, the end of an explainer's routes, the same event twice.
ELSEWHERE = {
    *(("policy", "poddisruptionbudgets", verb) for verb in ("create", "patch", "delete")),
    ("networking.istio.io", "virtualservices", "delete"),
    ("", "events", "patch"),
}


class Served:
    """A namespace in which the controllers work, as a user with exactly their role."""

    def __init__(self, cluster: RealCluster, space: str, folder: Path) -> None:
        self.cluster, self.api, self.space = cluster, cluster.api, space
        environment = os.environ | {
            "KUBECONFIG": str(cluster.kubeconfig_for("seldon", namespace=space)),
            "KF_DATA_DIR": str(folder),
            "KF_CONTEXT": "",
            "KF_NAMESPACE": "",
        }
        command = [sys.executable, "-m", "jupyterlab_kf.cli", "controllers", "--only", "serving", "-n", space]
        self.log = folder / "controllers.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        until(lambda: "leading as" in self.log.read_text(), seconds=60, what=f"words in {self.log}")

    def create(self, name: str, spec: Obj) -> None:
        metadata = {"name": name, "namespace": self.space}
        self.api.create({"apiVersion": SELDON[0], "kind": SELDON[1], "metadata": metadata, "spec": spec})

    def status(self, name: str) -> Obj:
        return dict(self.api.get(*SELDON, name, self.space).get("status") or {})

    def until(self, name: str, state: str) -> Obj:
        until(lambda: self.status(name).get("state") == state, seconds=60, what=f"{state} ({self.log.read_text()})")
        return self.status(name)

    def names(self, version: str, kind: str) -> list[str]:
        return sorted(one["metadata"]["name"] for one in self.api.list(version, kind, self.space))


@pytest.fixture
def served(real_cluster: RealCluster, namespace: Callable[[RealCluster], str], tmp_path: Path) -> Iterator[Served]:
    if not os.environ.get("KF_CRDS"):
        pytest.skip("KF_CRDS names no folder with Seldon's and Istio's definitions")
    space = namespace(real_cluster)
    inference.define(real_cluster.api)
    give(real_cluster.api, space, "seldon", "serving-controllers")
    give(real_cluster.api, space, "ada", *USER)
    made = Served(real_cluster, space, tmp_path)
    yield made
    made.process.kill()
    made.process.wait()


def test_what_was_served_is_served_and_replaced_and_ended(served: Served) -> None:
    served.create("iris", CASES["canary"])
    status = served.until("iris", "Available")
    assert set(status["serviceStatus"]) >= {"iris-main", "iris-canary"}
    until(lambda: served.names(ISTIO, "VirtualService") == ["iris"], seconds=60, what="the routes")
    before = served.names("apps/v1", "ReplicaSet")
    generations = [one["metadata"]["generation"] for one in served.api.list("apps/v1", "Deployment", served.space)]
    assert generations == [1, 1], "what is as it should be is not written again"
    only = {**CASES["simple"]}
    served.api.merge(*SELDON, "iris", {"spec": only}, served.space)
    until(
        lambda: served.names("apps/v1", "Deployment") == ["iris-default-0-model"], seconds=60, what="the end of the old"
    )
    served.until("iris", "Available")
    until(lambda: served.names(ISTIO, "DestinationRule") == ["iris-default"], seconds=60, what="the rules")

    def gone() -> bool:
        return not set(before) & set(served.names("apps/v1", "ReplicaSet"))

    until(gone, seconds=60, what="the end of what the old ones made")
    (changed,) = only["predictors"]
    changed = {**changed, "annotations": {"note": "x"}, "labels": {"version": "second"}}
    served.api.merge(*SELDON, "iris", {"spec": {"predictors": [changed]}}, served.space)

    def subsets() -> list[Obj]:
        return [one["spec"]["subsets"][0]["labels"] for one in served.api.list(ISTIO, "DestinationRule", served.space)]

    until(lambda: subsets() == [{"version": "second"}], seconds=60, what="the routes to the next version")
    until(lambda: served.names("v1", "Service") == ["iris-default", "iris-default-model"], seconds=60, what="services")
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://models/iris"}
    head = {"name": "petals", "namespace": served.space}
    body = {"apiVersion": inference.KIND[0], "kind": inference.KIND[1], "metadata": head}
    scaled = {"predictor": {"model": model, "maxReplicas": 3}, "transformer": {"containers": [{"image": "python:3"}]}}
    served.api.create({**body, "spec": scaled})

    def ready() -> bool:
        found = served.api.get(*inference.KIND, "petals", served.space).get("status", {}).get("conditions", ())
        return any(one["type"] == "Ready" and one["status"] == "True" for one in found)

    until(ready, seconds=60, what="an InferenceService that is ready")
    parts = ["iris-default-0-model", "petals-predictor", "petals-transformer"]
    assert served.names("apps/v1", "Deployment") == parts
    assert served.names("autoscaling/v2", "HorizontalPodAutoscaler") == ["petals-predictor"]
    leads = served.api.get(*inference.KIND, "petals", served.space)["status"]["address"]["url"]
    assert leads == f"http://petals-transformer.{served.space}.svc.cluster.local"
    generations = [one["metadata"]["generation"] for one in served.api.list("apps/v1", "Deployment", served.space)]
    assert generations[1:] == [1, 1], "what is as it should be is not written again"
    served.api.merge(*inference.KIND, "petals", {"spec": {"predictor": {"minReplicas": 2}}}, served.space)

    def replicas() -> list[Obj]:
        found = served.api.list("autoscaling/v2", "HorizontalPodAutoscaler", served.space)
        return [one["spec"]["minReplicas"] for one in found]

    until(lambda: replicas() == [2], seconds=60, what="other bounds")
    without = {"predictor": {"maxReplicas": None}, "transformer": None}
    served.api.merge(*inference.KIND, "petals", {"spec": without}, served.space)
    until(lambda: served.names("apps/v1", "Deployment") == parts[:2], seconds=60, what="the transformer's end")
    until(lambda: replicas() == [], seconds=60, what="the autoscaler's end")
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(timeout=90) == 0
    uses = used(served.cluster, "seldon", served.space)
    role = granted("serving-controllers")
    assert uses - role == set(), "used, but not by this role"
    assert role - uses - ELSEWHERE == set(), sorted(role - uses - ELSEWHERE)


def test_a_user_serves_with_exactly_the_rights_of_the_role(served: Served, tmp_path: Path) -> None:
    for one in yaml.safe_load_all((RBAC / "monitor-account.yaml").read_text()):
        served.api.create({**one, "metadata": {**one["metadata"], "namespace": served.space}})
    environment = os.environ | {
        "KUBECONFIG": str(served.cluster.kubeconfig_for("ada", namespace=served.space)),
        "KF_DATA_DIR": str(tmp_path),
        "KF_CONTEXT": "",
        "KF_NAMESPACE": "",
    }
    day = [sys.executable, str(Path(__file__).parent / "serving_day.py")]
    done = subprocess.run(day, env=environment, capture_output=True, text=True, timeout=200, check=False, cwd=tmp_path)
    assert "the day is done" in done.stdout, done.stderr[-5000:] + served.log.read_text()[-3000:]
    uses = used(served.cluster, "ada", served.space)
    assert uses - granted(*USER) == set(), "used, but not by these roles"
    assert granted("serving", "monitoring") - uses == set(), "granted, but never used"


def test_what_the_webhook_would_refuse_fails_with_its_reason(served: Served) -> None:
    graph = {"name": "m", "implementation": "SIMPLE_MODEL"}
    shares = [{"name": name, "graph": graph, "traffic": 10} for name in ("a", "b")]
    served.create("wrong", {"predictors": shares})
    assert "raffic" in served.until("wrong", "Failed")["description"]
    assert served.names("apps/v1", "Deployment") == []
