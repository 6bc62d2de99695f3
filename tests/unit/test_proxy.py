from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.addresses import Endpoint
from jupyterlab_kf.embedded.proxy import Proxy
from jupyterlab_kf.embedded.registry import Registry
from jupyterlab_kf.embedded.store import Store
from jupyterlab_kf.gateway import SETTLE, telling
from jupyterlab_kf.model import Obj
from jupyterlab_kf.settings import Settings

ENVOY = Path("/opt/envoy")


class Here:
    """A node whose pods all have one address."""

    def address_of(self, pod: Obj) -> Endpoint:
        del pod
        return Endpoint("127.5.5.5", {8080: 20080})

    def resolver(self, pod: Obj) -> Callable[[str], Endpoint | None]:
        del pod
        return lambda _host: None


class Place:
    def __init__(self, folder: Path) -> None:
        self.settings = Settings(folder, folder / "cache")
        self.settings.cluster_dir.mkdir(parents=True)
        self.store = Store(self.settings.cluster_dir / "state.db")
        self.registry = Registry(self.store)
        self.folder = self.settings.cluster_dir / "proxy"

    def proxy(self, program: Path | None = ENVOY) -> Proxy:
        return Proxy(self.registry, self.settings, Here(), program=program)

    def route(self, **spec: Any) -> Obj:
        whole = {"hosts": ["*"], "gateways": ["istio-system/seldon-gateway"], **spec}
        head = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "r"}}
        return self.registry.create(kinds.VIRTUAL_SERVICE, {**head, "spec": whole}, namespace="default")

    def serve(self) -> None:
        spec = {"selector": {"app": "m"}, "ports": [{"name": "http", "port": 80}]}
        service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "m"}, "spec": spec}
        self.registry.create(kinds.SERVICE, service, namespace="default")
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "m", "labels": {"app": "m"}},
            "spec": {"containers": [{"name": "main", "image": "x", "command": ["true"]}]},
        }
        self.registry.create(kinds.POD, pod, namespace="default")
        self.ready("True")

    def ready(self, status: str) -> Obj:
        pod = self.registry.get(kinds.POD, "default", "m")
        said = {"phase": "Running", "podIP": "127.6.6.6", "conditions": [{"type": "Ready", "status": status}]}
        return self.registry.update(kinds.POD, {**pod, "status": said}, subresource="status")

    def resources(self, path: str) -> list[Obj]:
        file = self.folder / path
        return list(json.loads(file.read_text())["resources"]) if file.exists() else []

    def endpoints(self) -> list[Obj]:
        found = self.resources("eds/outbound_80__m.default.svc.cluster.local.json")
        return [endpoint for assignment in found for endpoint in assignment["endpoints"]]

    def told(self) -> list[str]:
        return [f"{e['reason']}: {e['message']}" for e in self.registry.list(kinds.EVENT, "default")]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    made = Place(tmp_path)
    yield made
    made.store.close()


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110  what is waited for is in files
            await asyncio.sleep(0)


ROUTE = {"http": [{"route": [{"destination": {"host": "m"}}]}]}


async def test_nothing_is_made_before_somebody_asks_for_a_route(place: Place) -> None:
    proxy = place.proxy()
    await proxy.start()
    place.serve()
    for _ in range(20):
        await asyncio.sleep(0)
    assert place.registry.view.get(kinds.NAMESPACE, "", "istio-system") is None
    assert not place.folder.exists()
    place.route(**ROUTE)
    await until(lambda: place.registry.view.get(kinds.DEPLOYMENT, "istio-system", "istio-ingressgateway"))
    assert place.registry.view.get(kinds.GATEWAY, "istio-system", "seldon-gateway")
    ports = place.registry.get(kinds.SERVICE, "istio-system", "istio-ingressgateway")["spec"]["ports"]
    assert [(p["name"], p["port"], p["targetPort"]) for p in ports[1:]] == [("http2", 80, 8080), ("https", 443, 8443)]
    await proxy.stop()


async def test_a_gateway_pod_finds_its_files_when_it_is_made(place: Place) -> None:
    place.serve()
    place.route(**ROUTE)
    proxy = place.proxy()
    await proxy.start()
    await until(lambda: place.registry.view.get(kinds.DEPLOYMENT, "istio-system", "istio-ingressgateway"))
    labels = {"app": "istio-ingressgateway", "istio": "ingressgateway"}
    template = place.registry.get(kinds.DEPLOYMENT, "istio-system", "istio-ingressgateway")["spec"]["template"]
    head = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "door", "labels": labels}}
    place.registry.create(kinds.POD, {**head, "spec": template["spec"]}, namespace="istio-system")
    start = json.loads((place.folder / "door" / "bootstrap.json").read_text())
    assert start["dynamic_resources"]["lds_config"]["path_config_source"]["path"] == str(place.folder / "door/lds.json")
    await until(lambda: place.resources("door/lds.json") != [])
    address = place.resources("door/lds.json")[0]["address"]["socket_address"]
    assert address == {"address": "127.5.5.5", "port_value": 20080}
    await proxy.stop()


async def test_a_pod_leaves_the_endpoints_before_it_is_told_to_end(place: Place) -> None:
    place.serve()
    place.route(**ROUTE)
    proxy = place.proxy()
    await proxy.start()
    await until(place.endpoints)
    pod = place.registry.get(kinds.POD, "default", "m")
    assert proxy.hold(pod) == SETTLE
    place.ready("False")
    await until(lambda: not place.endpoints())
    assert 0 < proxy.hold(pod) <= SETTLE
    await proxy.stop()


async def test_an_object_of_an_older_version_counts_as_one_of_the_newest(place: Place) -> None:
    place.serve()
    kind = kinds.of("networking.istio.io/v1beta1", "VirtualService")
    spec = {"hosts": ["*"], "gateways": ["istio-system/seldon-gateway"], **ROUTE}
    head = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "old"}}
    place.registry.create(kind, {**head, "spec": spec}, namespace="default")
    proxy = place.proxy()
    await proxy.start()
    await until(place.endpoints)
    await proxy.stop()


async def test_the_pods_of_jobs_are_nothing_to_the_gateway(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.serve()
    place.route(**ROUTE)
    proxy = place.proxy()
    await proxy.start()
    await until(place.endpoints)
    woken: list[int] = []
    monkeypatch.setattr(proxy._wake, "set", lambda: woken.append(1))
    job = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "job", "labels": {"app": "job"}}}
    spec = {"containers": [{"name": "main", "image": "x", "command": ["true"]}]}
    place.registry.create(kinds.POD, {**job, "spec": spec}, namespace="default")
    assert not woken
    place.ready("False")
    assert woken
    await proxy.stop()


async def test_a_full_disk_leaves_the_routes_as_they_are_and_is_told(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.serve()
    route = place.route(**ROUTE)
    proxy = place.proxy()
    await proxy.start()
    await until(lambda: [host for table in place.resources("rds/http.80.json") for host in table["virtual_hosts"]])
    before = (place.folder / "rds" / "http.80.json").read_bytes()
    real = os.fdopen

    def full(*words: Any) -> Any:
        real(*words).close()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fdopen", full)
    answer = {"http": [{"directResponse": {"status": 200}}]}
    place.registry.update(kinds.VIRTUAL_SERVICE, {**route, "spec": {**route["spec"], **answer}})
    await until(lambda: any("No space left" in line for line in place.told()))
    assert (place.folder / "rds" / "http.80.json").read_bytes() == before
    assert list(place.folder.rglob("*.new")) == []
    monkeypatch.undo()
    proxy.wake()
    await until(lambda: (place.folder / "rds" / "http.80.json").read_bytes() != before)
    await proxy.stop()


async def test_what_is_not_honoured_is_said_once_over_restarts(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(telling, "MOMENT", 0.0)
    place.serve()
    place.route(http=[{**ROUTE["http"][0], "novelty": 1}])
    for _ in range(2):
        proxy = place.proxy()
        await proxy.start()
        await until(lambda: any("novelty" in line for line in place.told()))
        proxy.wake()
        for _ in range(50):
            await asyncio.sleep(0)
        await proxy.stop()
    assert [e["count"] for e in place.registry.list(kinds.EVENT, "default") if "novelty" in e["message"]] == [1]


async def test_without_an_envoy_for_this_machine_it_is_said_what_still_works(place: Place) -> None:
    place.route(**ROUTE)
    proxy = place.proxy(program=None)
    await proxy.start()
    await until(place.told)
    assert place.told()[0].startswith("NoEnvoy: there is no Envoy for this machine")
    assert place.registry.view.get(kinds.NAMESPACE, "", "istio-system") is None
    await proxy.stop()
