"""What clients of a served model see while parts of it are replaced, end, hang, or have no disk: counted under load.

On the embedded cluster alone: its processes are killed, and files of its daemon cannot grow; what a gateway of ours on
a real cluster loses is counted by tests/real/test_gateway.py. Behind the real Envoy; each test prints what it counted.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import pytest
from bed.api import Api, ApiStatusError, until
from routes_bed import NETWORK, Bed
from sites import make_namespace
from sklearn.datasets import load_iris  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

import jupyterlab_kf as kf
from jupyterlab_kf.embedded import daemon
from jupyterlab_kf.settings import Settings

X, Y = load_iris(return_X_y=True)
GRPC = {
    "match": [{"uri": {"prefix": "/seldon.protos"}}],
    "rewrite": {},
    "route": [{"destination": {"host": "g"}}],
}


@pytest.fixture(scope="module")
def bed(cluster: Settings) -> Iterator[Bed]:
    """Two versions of an HTTP server, and a gRPC server, behind the gateway."""
    api = Api(cluster.embedded_kubeconfig)
    made = Bed(cluster, api, make_namespace(api))
    sizes = {("m", "v1"): 2, ("m", "v2"): 1, ("g", "v1"): 2}
    for (name, version), replicas in sizes.items():
        made.deploy(name, version, replicas)
    made.serve("m", "http")
    made.serve("g", "grpc")
    subsets = [{"name": version, "labels": {"version": version}} for version in ("v1", "v2")]
    made.put(NETWORK, "DestinationRule", "m", {"host": "m", "subsets": subsets})
    for (name, version), replicas in sizes.items():
        made.ready(f"{name}-{version}", replicas)
    yield made
    api.delete("v1", "Namespace", made.namespace, "")
    api.close()


@contextmanager
def asked_all_the_time(ask: Callable[[], object]) -> Iterator[Counter[str]]:
    """How often somebody was answered who asks one time after the other, and with what it failed else."""
    seen: Counter[str] = Counter()
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            try:
                ask()
                seen["answered"] += 1
            except (grpc.RpcError, kf.KubeflowError) as error:
                seen[f"{type(error).__name__}: {error}"] += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        until(lambda: seen["answered"], seconds=60, what="a first answer", every=0.02)
        yield seen
        before = seen["answered"]
        until(lambda: seen["answered"] > before + 5, seconds=60, what="answers at the end", every=0.02)
    finally:
        over.set()
        thread.join()


def test_no_request_fails_through_three_rolling_updates_and_shifts_of_weights(bed: Bed) -> None:
    bed.route("calls", GRPC)
    path = bed.route("three", {"route": [bed.to("v1", weight=100)]})

    def roll() -> None:
        for number, weights in enumerate(((70, 30), (10, 90), (50, 50))):
            shared = [bed.to(version, weight=share) for version, share in zip(("v1", "v2"), weights, strict=True)]
            bed.deploy("m", "v1", 2, RELEASE=str(number))
            bed.deploy("g", "v1", 2, RELEASE=str(number))
            bed.route("three", {"route": shared})
            bed.ready("m-v1", 2)
            bed.ready("g-v1", 2)

    with grpc.insecure_channel(bed.url.removeprefix("http://")) as channel:
        call = channel.unary_unary("/seldon.protos.Seldon/Predict")
        with asked_all_the_time(lambda: call(b"x", timeout=60)) as rpc:
            load = bed.under_load(path, roll, clients=4, after=1.0)
    print("HTTP", load, "gRPC", rpc)
    assert load.failures == 0
    assert set(load.versions) == {"v1", "v2"}
    assert set(rpc) == {"answered"}


def test_a_mirror_that_hangs_costs_no_request(bed: Bed) -> None:
    path = bed.route("mirror", {"mirror": {"host": "m", "subset": "v2"}, "route": [bed.to("v1")]})
    load = bed.under_load_beside_a_hung(path, bed.pods("v2")[0])
    print(load)
    assert load.failures == 0
    assert load.slowest < 15  # no request waited for the mirror, whose time would be the clients' own limit


def test_a_route_that_cannot_be_written_is_refused_and_requests_go_on(bed: Bed) -> None:
    """No file of the daemon's may grow, as on a disk that is full."""
    path = bed.route("full", {"route": [bed.to("v1")]})
    running = daemon.status(bed.settings)
    assert running
    told: list[str] = []

    def fill() -> None:
        before = resource.prlimit(running.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (1, before[1]))
        try:
            with pytest.raises(ApiStatusError) as refused:
                bed.route("full", {"route": [bed.to("v2")]})
            told.append(str(refused.value))
            time.sleep(1)
        finally:
            resource.prlimit(running.pid, resource.RLIMIT_FSIZE, before)

    load = bed.under_load(path, fill)
    print(load, told)
    assert "cannot be written" in told[0]
    assert "nothing was changed" in told[0]
    assert load.failures == 0
    assert set(load.versions) == {"v1"}
    bed.route("full", {"route": [bed.to("v2")]})
    assert bed.get(path).said["version"] == "v2"


def test_no_request_fails_when_a_model_is_killed_behind_its_engine(bed: Bed) -> None:
    """Each client's request is sent once: what is asked again is asked by the engine and by the gateway."""
    space = bed.settings.namespace or "default"
    endpoint = kf.serve(LogisticRegression(max_iter=500).fit(X, Y), name="killed", replicas=2)
    pods = [
        pod
        for pod in bed.api.list("v1", "Pod", space)
        if pod["metadata"]["labels"].get("seldon-deployment-id") == endpoint.name
    ]
    body = json.dumps({"data": {"ndarray": X[:1].tolist()}})

    def kill() -> None:
        for turn in range(3):
            victim = pods[turn % len(pods)]
            bed.kill(victim, container=f"{endpoint.name}-v1")
            name, times = victim["metadata"]["name"], turn // len(pods) + 1

            def back(name: str = name, times: int = times) -> bool:
                status = bed.api.get("v1", "Pod", name, space)["status"]
                return all(one["ready"] for one in status["containerStatuses"]) and times <= sum(
                    one["restartCount"] for one in status["containerStatuses"]
                )

            until(back, seconds=60, what="the model again", every=0.1)

    load = bed.under_load(endpoint.path, kill, clients=4, body=body)
    print(load)
    endpoint.delete()
    assert load.failures == 0
    assert load.statuses["200"] > 50


def test_a_notebook_predicts_on_when_the_gateway_and_the_daemon_are_killed(bed: Bed) -> None:
    endpoint = kf.serve(LogisticRegression(max_iter=500).fit(X, Y), name="steady")
    with asked_all_the_time(lambda: endpoint.predict(X[:1])) as seen:
        bed.kill(bed.gateway_pod())
        time.sleep(3)
        running = daemon.status(bed.settings)
        assert running
        os.kill(running.pid, signal.SIGKILL)
    print(seen)
    endpoint.delete()
    assert set(seen) == {"answered"}
    after = daemon.status(bed.settings)
    assert after
    assert after.pid != running.pid
