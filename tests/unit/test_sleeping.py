"""Who sleeps and when, who holds the next request, and what is said where it cannot be had."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from controllers_world import START, World
from envoy_worlds import FOLDER, Obj, documents, world_of

from jupyterlab_kf import kinds, names
from jupyterlab_kf.controllers import Action, Consult, sleep
from jupyterlab_kf.controllers.istio import translate
from jupyterlab_kf.controllers.istio.world import World as Routes
from jupyterlab_kf.controllers.seldon import scaling
from jupyterlab_kf.controllers.workloads import sleeping
from jupyterlab_kf.embedded.metering import Meter
from jupyterlab_kf.model import format_time
from jupyterlab_kf.runtime import activator

REQUESTS = {
    "type": "prometheus",
    "metadata": {
        "threshold": "10",
        "query": 'rate(seldon_api_executor_client_requests_seconds_count{seldon_app=~"a"}[10s])',
    },
}
ADD_ON = {"type": "external-push", "metadata": {"scalerAddress": "keda-add-ons-http-external-scaler.keda:9090"}}
CPU = {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}}


@pytest.mark.parametrize(
    ("asked", "sleeps"),
    [
        ({"triggers": [REQUESTS]}, sleep.Sleep(300)),
        ({"triggers": [ADD_ON], "minReplicaCount": 0, "cooldownPeriod": 60}, sleep.Sleep(60, 3)),
        ({"triggers": [REQUESTS], "minReplicaCount": 2, "idleReplicaCount": 0}, sleep.Sleep(300, 2)),
        ({"triggers": [CPU, ADD_ON]}, sleep.Sleep(300)),
        ({"triggers": [REQUESTS], "minReplicaCount": 1}, None),
        ({"triggers": [CPU]}, None),
    ],
)
def test_kedas_words_say_who_sleeps_and_how_many_come_back(asked: Obj, sleeps: sleep.Sleep | None) -> None:
    made = scaling.of_keda(asked, replicas=3)
    assert made.sleeps == sleeps
    assert made.without == []


def test_a_rate_of_requests_is_followed_while_it_is_awake() -> None:
    made = scaling.of_keda({"triggers": [REQUESTS], "maxReplicaCount": 4}).autoscaler
    target = {"type": "AverageValue", "averageValue": "10"}
    assert made == {
        "minReplicas": 1,
        "maxReplicas": 4,
        "metricsv2": [{"type": "Pods", "pods": {"metric": {"name": "requests_per_second"}, "target": target}}],
    }


def test_what_cannot_sleep_says_why() -> None:
    told = {"triggers": [REQUESTS], "minReplicaCount": 0, "cooldownPeriod": 5}
    without = dict(scaling.of_keda(told, awake="nobody holds requests").without)
    assert "nobody holds requests" in without["kedaSpec.minReplicaCount"]
    assert "kedaSpec.cooldownPeriod" in without


class Asleep(World):
    """A Deployment ``d`` that sleeps after a minute, with one ready pod, and somebody who counts."""

    def __init__(self, idle: float | None, *, held: bool = True) -> None:
        super().__init__(sleeping.CONTROLLER)
        self.idle = idle
        note = {names.ANNOTATION_SLEEP: sleep.Sleep(60).text()}
        body = {"replicas": 1, "selector": {"matchLabels": {"app": "d"}}}
        head = {"name": "d", "annotations": note}
        self.add(kinds.DEPLOYMENT, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": head, "spec": body})
        if held:
            head = {"name": "activator", "namespace": "istio-system"}
            status = {"readyReplicas": 1}
            said = {"metadata": head, "spec": {}, "status": status}
            self.add(kinds.DEPLOYMENT, {"apiVersion": "apps/v1", "kind": "Deployment", **said})
        status = {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": format_time(START - 62)}],
        }
        self.add(kinds.POD, {"metadata": {"name": "d-0", "labels": {"app": "d"}}, "spec": {}, "status": status})
        self.apply(self.decide())

    def apply(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Consult):
                pods = action.question["measure"]["pods"]
                seen = {} if self.idle is None else {"idle": self.idle}
                super().apply(action.then({"pods": {uid: seen for _, _, uid in pods}}))
            else:
                super().apply([action])

    @property
    def replicas(self) -> int:
        found = self.get(kinds.DEPLOYMENT, "default", "d")
        assert found is not None
        return int(found["spec"]["replicas"])


def test_who_was_asked_lately_stays_awake_and_who_was_not_goes_to_sleep() -> None:
    assert Asleep(59).replicas == 1
    world = Asleep(61)
    assert world.replicas == 0
    assert world.reasons() == ["Asleep"]


def test_nobody_sleeps_whose_next_request_would_be_lost_or_whose_requests_nobody_counts() -> None:
    assert Asleep(1000, held=False).replicas == 1
    world = Asleep(None)
    assert world.replicas == 1
    assert set(world.reasons()) == {"NotPutToSleep"}


def routes(replicas: int, *, ready: bool = False) -> Any:
    objects = [*documents("base"), *documents("seldon")]
    objects = [one for one in objects if not (one["kind"] == "Pod" and one["metadata"]["name"] == "iris-1") or ready]
    sleeper = {
        "metadata": {
            "name": "iris",
            "namespace": "shop",
            "annotations": {names.ANNOTATION_SLEEP: sleep.Sleep(60).text()},
        },
        "spec": {"replicas": replicas, "template": {"metadata": {"labels": {"app": "iris", "version": "v1"}}}},
    }
    found = world_of(objects)
    parts = {field: getattr(found, field) for field in found.__slots__}
    return translate(Routes(**{**parts, "sleepers": [sleeper], "place": FOLDER}), FOLDER)


def test_requests_for_who_sleeps_are_held_and_others_go_where_they_went() -> None:
    made = routes(0)
    (held,) = made.endpoints["outbound|8000|one|iris.shop.svc.cluster.local"]["endpoints"][0]["lb_endpoints"]
    assert held["endpoint"]["address"]["pipe"]["path"].startswith("@kf-")
    (other,) = made.endpoints["outbound|8000|two|iris.shop.svc.cluster.local"]["endpoints"][0]["lb_endpoints"]
    assert other["endpoint"]["address"]["socket_address"]["address"] == "127.1.0.2"


def test_while_it_sleeps_a_prediction_outlasts_the_activator_and_feedback_is_never_sent_twice() -> None:
    def policies(made: Any) -> list[str]:
        listed = [r for h in made.tables["http.80"]["virtual_hosts"] for r in h["routes"] if "iris" in json.dumps(r)]
        return [(r.get("route") or {}).get("retry_policy", {}).get("retry_on", "") for r in listed]

    asleep = policies(routes(0))
    assert policies(routes(1)) == asleep  # and until it is there
    assert "connect-failure,refused-stream,reset" in asleep
    assert "connect-failure,refused-stream" in asleep
    assert not any("reset" in policy.split(",") for policy in policies(routes(1, ready=True)))


def test_looking_is_no_request() -> None:
    page = {
        "text": 'seldon_api_executor_server_requests_seconds_count{service="predictions"} 4\n'
        'kf_unit_requests_seconds_count{method="status"} 10\n'
    }

    async def read(*_: Any) -> str:
        return page["text"]

    pod = {"spec": {"containers": [{"ports": [{"name": "metrics", "containerPort": 6000}]}]}}
    now = [0.0]
    view: Any = SimpleNamespace(get=lambda *_: pod)
    meter = Meter(view, Path("/nowhere"), SimpleNamespace(page=read), clock=lambda: now[0])

    def idle() -> float:
        asked = {"measure": {"pods": [["n", "p", "u"]], "rates": [], "idle": True}}
        return float(asyncio.run(_answer(meter, asked))["pods"]["u"]["idle"])

    assert idle() == 0
    now[0], page["text"] = 7.0, page["text"].replace(" 10", " 20")
    assert idle() == 7
    now[0], page["text"] = 9.0, page["text"].replace(" 4", " 5")
    assert idle() == 0


async def _answer(meter: Meter, asked: Obj) -> Obj:
    return dict(await meter(asked))


def test_who_cannot_be_served_is_told_in_the_protocol_that_is_spoken() -> None:
    head, _, body = activator.refusal(b"POST /seldon HTTP/1.1\r\n", "it sleeps").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: 5" in head
    assert json.loads(body)["error"] == "it sleeps"
    begun = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\x04\0\0\0\0\0" + b"\0\0\x01\x01\x04\0\0\0\x03x"
    told = activator.refusal(begun, "it sleeps")
    assert b"\x01\x05\0\0\0\x03\x88" in told  # headers of stream 3, and its end
    assert b"grpc-status\x0214" in told
    assert b"grpc-message\x09it sleeps" in told
