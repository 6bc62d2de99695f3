"""Endpoints that go to zero and come back with the next request, behind the real Envoy.

On the embedded cluster alone: on a real one nothing holds requests while nobody serves.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
import pytest
from bed.api import Api, until
from sites import Kubectl, make_namespace

import jupyterlab_kf as kf
from jupyterlab_kf import kinds, names
from jupyterlab_kf.controllers import sleep
from jupyterlab_kf.embedded import daemon
from jupyterlab_kf.magics import endpoints
from jupyterlab_kf.runtime import activator
from jupyterlab_kf.runtime.serving.protos import message
from jupyterlab_kf.settings import Settings

Obj = dict[str, Any]
VERSION, KIND = kinds.SELDON_DEPLOYMENT.api_version, kinds.SELDON_DEPLOYMENT.kind
ADDRESS = "jupyterlab-kf.io/address"
ROOT = "istio-system"
AFTER = 5
BODY = json.dumps({"data": {"ndarray": [[1.0, 2.0]]}}).encode()
RATE = 'sum(rate(seldon_api_executor_server_requests_seconds_count{deployment_name="iris"}[1m]))'
CODE = """
class Twice:
    def predict(self, X, names, meta=None):
        return X * 2
"""


class Site:
    """One endpoint that sleeps after five seconds, in a namespace of its own."""

    def __init__(self, settings: Settings, api: Api, ctl: Kubectl, folder: Path) -> None:
        self.settings, self.api, self.ctl = settings, api, ctl
        (folder / "Twice.py").write_text(CODE)
        command = ["python", "-m", "jupyterlab_kf.runtime.serving", "unit", "--class", "Twice", "--path", str(folder)]
        container = {"name": "model", "image": "example/twice:1", "command": command}
        trigger = {"type": "prometheus", "metadata": {"serverAddress": "http://p", "threshold": "9", "query": RATE}}
        keda = {"minReplicaCount": 0, "maxReplicaCount": 2, "cooldownPeriod": AFTER, "triggers": [trigger]}
        component = {"spec": {"containers": [container]}, "kedaSpec": keda}
        predictor = {"name": "main", "graph": {"name": "model"}, "componentSpecs": [component]}
        head = {"name": "iris", "namespace": ctl.namespace}
        obj = {"apiVersion": VERSION, "kind": KIND, "metadata": head, "spec": {"predictors": [predictor]}}
        ctl("apply", "-f", "-", stdin=json.dumps(obj))

    @property
    def status(self) -> Obj:
        return dict(self.api.get(VERSION, KIND, "iris", self.ctl.namespace).get("status") or {})

    @cached_property
    def gateway(self) -> str:
        """Where the gateway is."""
        return str(self.api.get("v1", "Service", "istio-ingressgateway", ROOT)["metadata"]["annotations"][ADDRESS])

    def ask(self, timeout: float = 90) -> int:
        path = f"seldon/{self.ctl.namespace}/iris/api/v1.0/predictions"
        request = urllib.request.Request(f"{self.gateway}/{path}", BODY, {"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                assert json.load(answer)["data"]["ndarray"] == [[2.0, 4.0]]
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def ask_by_grpc(self) -> list[float]:
        asked = message("seldon.protos.SeldonMessage")()
        asked.data.tensor.shape.extend([1, 2])
        asked.data.tensor.values.extend([1.0, 2.0])
        with grpc.insecure_channel(self.gateway.removeprefix("http://")) as channel:
            call = channel.unary_unary(
                "/seldon.protos.Seldon/Predict",
                request_serializer=type(asked).SerializeToString,
                response_deserializer=type(asked).FromString,
            )
            answer = call(asked, timeout=90, metadata=[("seldon", "iris"), ("namespace", self.ctl.namespace)])
            return [*answer.data.tensor.values]

    def activator(self) -> Obj:
        (pod,) = [p for p in self.api.list("v1", "Pod", ROOT) if p["metadata"]["labels"].get("app") == "activator"]
        return pod

    def folder(self) -> Path:
        """Where the activator's pod is kept."""
        return self.settings.cluster_dir / "pods" / str(self.activator()["metadata"]["uid"])

    def activator_says(self, folder: Path | None = None) -> str:
        return "".join(path.read_text() for path in (folder or self.folder()).glob("containers/*/*/log"))

    def kill_activator(self) -> None:
        runs = sorted(self.folder().glob("containers/*/*/run.json"), key=lambda path: int(path.parent.name))
        os.kill(int(json.loads(runs[-1].read_text())["pid"]), signal.SIGKILL)

    def pods(self) -> list[Obj]:
        return self.api.list("v1", "Pod", self.ctl.namespace)

    def until_answers(self) -> None:
        def answers() -> bool:
            try:
                return self.ask() == 200
            except (OSError, KeyError):
                return False

        until(lambda: self.status.get("state") == "Available", seconds=60, what="an endpoint")
        until(answers, seconds=60, what="an answer through the gateway")

    def until_asleep(self) -> None:
        def asleep() -> bool:
            return "asleep" in self.status.get("description", "") and not self.pods()

        until(asleep, seconds=90, what=f"sleep ({self.status})")

    def starts(self) -> int:
        """How often it was scaled from zero."""
        events = self.api.list("v1", "Event", self.ctl.namespace)
        return sum(e.get("count", 1) for e in events if "from 0 to" in e.get("message", ""))


@pytest.fixture
def site(cluster: Settings, kubectl_path: Path, tmp_path: Path) -> Iterator[Site]:
    api = Api(cluster.embedded_kubeconfig)
    namespace = make_namespace(api)
    yield Site(cluster, api, Kubectl(kubectl_path, cluster.embedded_kubeconfig, namespace, tmp_path), tmp_path)
    api.delete("v1", "Namespace", namespace, "")
    api.close()


def together(ask: Callable[[], Any], clients: int) -> list[Any]:
    """What so many clients get who ask at once."""
    with ThreadPoolExecutor(clients) as pool:
        return [one.result() for one in [pool.submit(ask) for _ in range(clients)]]


def test_no_request_fails_through_three_sleeps_nor_when_the_activator_is_killed(site: Site) -> None:
    site.until_answers()
    site.until_asleep()
    assert together(site.ask, 12) == [200] * 12
    assert site.starts() == 2
    ended = time.monotonic() + 1
    while time.monotonic() < ended:  # those that come behind it, whichever way they go
        assert site.ask() == 200
    site.until_asleep()
    assert together(site.ask_by_grpc, 4) == [[2.0, 4.0]] * 4
    site.until_asleep()
    said = site.activator_says()
    with ThreadPoolExecutor(8) as pool:
        held = [pool.submit(site.ask) for _ in range(8)]
        until(lambda: site.activator_says() != said, seconds=60, what="requests that wait")
        site.kill_activator()
        assert [one.result() for one in held] == [200] * 8


def test_requests_that_come_while_the_cluster_is_down_are_held_until_it_is_back(site: Site) -> None:
    site.until_answers()
    site.until_asleep()
    assert site.gateway
    said = site.activator_says()
    with ThreadPoolExecutor(4) as pool:
        try:
            running = daemon.status(site.settings)
            assert running is not None
            folder = site.folder()
            os.kill(running.pid, signal.SIGKILL)
            held = [pool.submit(site.ask) for _ in range(4)]
            until(lambda: site.activator_says(folder) != said, seconds=60, what="requests that wait")
        finally:
            daemon.start(site.settings)
        assert [one.result() for one in held] == [200] * 4


def test_a_notebook_has_an_endpoint_sleep_wakes_it_and_keeps_it_awake_again(cluster: Settings) -> None:
    api = Api(cluster.embedded_kubeconfig)
    endpoint = kf.serve(f"import numpy\n{CODE}", name="drowsy", replicas=(1, 2), idle="5s")
    try:
        assert endpoint.predict([1.0, 2.0]).tolist() == [2.0, 4.0]
        until(lambda: endpoint.view().version("v1").asleep, seconds=90, what="sleep")  # type: ignore[union-attr]
        seen = endpoint.view()
        assert (seen.state, seen.message) == ("Ready", sleep.ASLEEP)
        assert "v1: 1 to 2 servers by CPU, none after 5s without a request" in endpoints.card(endpoint).text
        assert endpoint.predict([3.0, 4.0]).tolist() == [6.0, 8.0]
        until(lambda: endpoint.view().version("v1").asleep, seconds=90, what="sleep again")  # type: ignore[union-attr]
        endpoint.sleep_after(None)
        seen = endpoint.view()
        assert (seen.state, seen.versions[0].asleep, seen.restless) == ("Ready", False, "")
        (found,) = [one for one in api.list("apps/v1", "Deployment", endpoint.namespace) if "drowsy" in name_of(one)]
        assert names.ANNOTATION_SLEEP not in found["metadata"]["annotations"]
        assert found["spec"]["replicas"] >= 1
    finally:
        endpoint.delete()
        api.close()


def name_of(obj: Obj) -> str:
    return str(obj["metadata"]["name"])


class Place:
    """An activator by itself, asked through its socket."""

    def __init__(self, folder: Path) -> None:
        self.endpoints = folder / "eds.json"
        self.name = f"@kf-test-{os.getpid()}-{folder.name}"
        told = {"namespace": "n", "deployment": "d", "replicas": 1, "endpoints": str(self.endpoints)}
        (folder / "sleepers.json").write_text(json.dumps({"sleepers": {self.name: told}}))
        self.wakes: list[str] = []
        self.held = activator.Activator(folder / "sleepers.json", self._wake)

    def _wake(self, told: Mapping[str, Any]) -> str:
        self.wakes.append(str(told["deployment"]))
        return "woken"

    def run(self, doing: Callable[[], Awaitable[Any]]) -> Any:
        async def whole() -> Any:
            await self.held.follow()
            try:
                return await asyncio.wait_for(doing(), 60)
            finally:
                self.held.close()
                sides = [side for one in self.held.sleepers.values() for side in one.sides]
                for side in sides:
                    side.transport.close()
                await asyncio.gather(*(side.gone for side in sides))

        return asyncio.run(whole())

    async def until_wait(self, number: int) -> None:
        while self.held.sleepers[self.name].waiting != number:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def ask(self, text: bytes = b"GET / HTTP/1.1\r\n\r\n") -> bytes:
        reader, writer = await asyncio.open_unix_connection("\0" + self.name[1:])
        writer.write(text)
        try:
            return await reader.read()
        finally:
            writer.close()

    def wake_up(self, port: int) -> None:
        address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
        part = {"lb_endpoints": [{"endpoint": {"address": address}}]}
        self.endpoints.write_text(json.dumps({"resources": [{"endpoints": [part]}]}))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_many_that_wait_are_one_start_and_get_their_own_answers(place: Place) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.read(100))
        await writer.drain()
        writer.close()

    async def run() -> list[bytes]:
        asked = [asyncio.ensure_future(place.ask(b"%d" % number)) for number in range(50)]
        await place.until_wait(len(asked))
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            place.wake_up(server.sockets[0].getsockname()[1])
            return await asyncio.gather(*asked)

    assert place.run(run) == [b"%d" % number for number in range(50)]
    assert place.wakes == ["d"]


def test_who_leaves_waits_no_more_and_too_many_are_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activator, "MOST", 2)

    async def run() -> bytes:
        waiting = [asyncio.ensure_future(place.ask()) for _ in range(2)]
        await place.until_wait(2)
        told = await place.ask()
        for one in waiting:
            one.cancel()
        await place.until_wait(0)
        return told

    told = place.run(run).decode()
    assert told.startswith("HTTP/1.1 503 ")
    assert "Retry-After: 5" in told
    assert "2 requests wait for it already" in told


def test_who_waits_too_long_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(activator, "PATIENCE", 0.3)

    async def run() -> bytes:
        return await place.ask()

    told = place.run(run).decode()
    assert told.startswith("HTTP/1.1 503 ")
    assert "the endpoint n/d was asleep and has not come up" in told
