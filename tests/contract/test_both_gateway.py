"""A gateway's configuration follows the objects of either cluster; what it cannot do it says on them, once."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bed.api import Obj, until
from objects import MERGE, pod
from sites import Site

NETWORK = "networking.istio.io/v1"
ROOT = "istio-system"
ZONES = {"attempts": 2, "retryRemoteLocalities": True}


class Gateway:
    """``jupyter kf gateway`` without its Envoy, and what it wrote."""

    def __init__(self, site: Site, place: str, folder: Path) -> None:
        self.folder, self._log = folder / "envoy", folder / "gateway.log"
        self._command = [sys.executable, "-m", "jupyterlab_kf.cli", "gateway", str(self.folder), "-n", place]
        self._environment = os.environ | {
            "KUBECONFIG": str(site.kubeconfig),
            "KF_DATA_DIR": str(folder),
            "KF_CONTEXT": "",
            "KF_NAMESPACE": "",
        }
        self.start()

    def start(self) -> None:
        with self._log.open("wb") as out:
            self.process = subprocess.Popen(self._command, env=self._environment, stdout=out, stderr=out)

    def told(self) -> str:
        return self._log.read_text()

    def resources(self, kind: str) -> list[Obj]:
        found = [json.loads(path.read_text())["resources"] for path in self.folder.glob(f"{kind}/*.json")]
        return [one for resources in found for one in resources]

    def addresses(self, subset: str) -> list[str]:
        found = [one for one in self.resources("eds") if f"|{subset}|" in one["cluster_name"]]
        parts = [part for one in found for part in one["endpoints"]]
        return [e["endpoint"]["address"]["socket_address"]["address"] for part in parts for e in part["lb_endpoints"]]

    def weights(self) -> dict[str, int]:
        """The share of each subset; the same for every route."""
        found = re.findall(r'"outbound\|80\|(\w+)\|[^"]*", "weight": (\d+)', json.dumps(self.resources("rds")))
        shares = {subset: int(weight) for subset, weight in found}
        assert all(shares[subset] == int(weight) for subset, weight in found)
        return shares

    def until(self, true: Callable[[], Any], what: str) -> None:
        try:
            until(true, seconds=60, what=what, every=0.05)
        except TimeoutError as error:
            raise AssertionError(f"{error}: {self.told()}") from error


@pytest.fixture
def gateway(site: Site, place: str, tmp_path: Path) -> Iterator[Gateway]:
    if site.real and not os.environ.get("KF_CRDS"):
        pytest.skip("KF_CRDS names no folder with Istio's definitions")
    made = Gateway(site, place, tmp_path)
    yield made
    made.process.kill()
    made.process.wait()


def route(old: int, **more: Any) -> Obj:
    to = [
        {"destination": {"host": "m", "subset": version}, "weight": share}
        for version, share in (("v1", old), ("v2", 100 - old))
    ]
    return {"hosts": ["*"], "gateways": ["front"], "http": [{"route": to, **more}]}


def test_the_files_of_envoy_follow_the_objects(site: Site, place: str, gateway: Gateway) -> None:
    api = site.api

    def put(version: str, kind: str, name: str, spec: Obj) -> None:
        head = {"name": name, "namespace": place}
        api.apply({"apiVersion": version, "kind": kind, "metadata": head, "spec": spec})

    def ready(name: str, ip: str) -> None:
        body = {"status": {"podIP": ip, "podIPs": [{"ip": ip}], "conditions": [{"type": "Ready", "status": "True"}]}}
        path = f"/api/v1/namespaces/{place}/pods/{name}/status"
        api.request("PATCH", path, body, content_type=MERGE)

    server = {"port": {"number": 80, "name": "http", "protocol": "HTTP"}, "hosts": ["*"]}
    put(NETWORK, "Gateway", "front", {"selector": {"istio": "ingressgateway"}, "servers": [server]})
    put("v1", "Service", "m", {"selector": {"run": "m"}, "ports": [{"name": "http", "port": 80, "targetPort": 9000}]})
    subsets = [{"name": version, "labels": {"version": version}} for version in ("v1", "v2")]
    put(NETWORK, "DestinationRule", "m", {"host": "m", "subsets": subsets})
    for version in ("v1", "v2"):
        made = pod(f"m-{version}")
        made["metadata"]["labels"] = {"run": "m", "version": version}
        api.request("POST", f"/api/v1/namespaces/{place}/pods", made)
    put(NETWORK, "VirtualService", "m", route(90, retries=ZONES))
    gateway.until(lambda: gateway.weights() == {"v1": 90, "v2": 10}, "the weights")
    assert gateway.addresses("v1") == []
    ready("m-v1", "10.9.9.1")
    ready("m-v2", "10.9.9.2")
    gateway.until(lambda: (gateway.addresses("v1"), gateway.addresses("v2")) == (["10.9.9.1"], ["10.9.9.2"]), "pods")
    bootstrap = json.loads((gateway.folder / "envoy" / "bootstrap.json").read_text())
    assert bootstrap["dynamic_resources"]["cds_config"]["path_config_source"]["path"] == f"{gateway.folder}/cds.json"

    def told() -> list[Obj]:
        # The gateway of the machine says the same of what is on it, by another name.
        found = [one for one in api.list("v1", "Event", place) if one["reason"] == "NotHonoured"]
        return [one for one in found if re.fullmatch(r"m\.[a-z0-9]{16}", one["metadata"]["name"])]

    gateway.until(told, "what has no effect, on the object")
    assert "retryRemoteLocalities" in told()[0]["message"]
    # While it is away Envoy has its files; its successor sees what has happened, and says nothing again.
    gateway.process.send_signal(signal.SIGTERM)
    assert gateway.process.wait(timeout=60) == 0
    assert "Envoy goes on" in gateway.told()
    api.request("DELETE", f"/api/v1/namespaces/{place}/pods/m-v1?gracePeriodSeconds=0")
    put(NETWORK, "VirtualService", "m", route(40, retries=ZONES))
    assert gateway.weights() == {"v1": 90, "v2": 10}
    gateway.start()
    gateway.until(
        lambda: gateway.weights() == {"v1": 40, "v2": 60} and not gateway.addresses("v1"), "what has happened since"
    )
    put(NETWORK, "VirtualService", "other", route(50, retries=ZONES))

    def other() -> list[Obj]:
        return [one for one in api.list("v1", "Event", place) if one["involvedObject"]["name"] == "other"]

    gateway.until(other, "what has no effect of another object")
    assert len(told()) == 1, [one["message"] for one in told()]


def test_beside_istio_it_does_nothing(site: Site, place: str, tmp_path: Path) -> None:
    del place
    if site.real and not os.environ.get("KF_CRDS"):
        pytest.skip("KF_CRDS names no folder with Istio's definitions")
    api = site.api
    if not any(one["metadata"]["name"] == ROOT for one in api.list("v1", "Namespace")):
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": ROOT}})
    template = {"metadata": {"labels": {"app": "istiod"}}, "spec": {"containers": [{"name": "x", "image": "x"}]}}
    spec = {"replicas": 0, "selector": {"matchLabels": {"app": "istiod"}}, "template": template}
    head = {"name": "istiod", "namespace": ROOT}
    api.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": head, "spec": spec})
    try:
        made = Gateway(site, "default", tmp_path)
        assert made.process.wait(timeout=60) == 1
        assert "Istio itself runs here" in made.told()
        assert not made.folder.exists()
    finally:
        api.delete("apps/v1", "Deployment", "istiod", ROOT)
