"""How many servers there are, by load and while nobody asks: said in few words, written as Seldon and KEDA have it."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from controllers_world import World as Controlled
from serving_world import World, installed

import jupyterlab_kf as kf
from jupyterlab_kf import kinds, names
from jupyterlab_kf.controllers import seldon, workloads
from jupyterlab_kf.controllers.seldon import scaling as operator
from jupyterlab_kf.controllers.sleep import Sleep
from jupyterlab_kf.errors import ClusterError, UsageError
from jupyterlab_kf.handlers import endpoints as handlers
from jupyterlab_kf.magics import endpoints as lines
from jupyterlab_kf.manifests import scaling
from jupyterlab_kf.manifests.pods import CLAIM_VOLUME
from jupyterlab_kf.manifests.scaling import Scaling, wanted
from jupyterlab_kf.model import Obj

CELL = "class Doubler:\n    def predict(self, X, names=None):\n        return 2 * X\n"
SAID = [
    Scaling(),
    Scaling(3, 3),
    Scaling(1, 4),
    Scaling(2, 8, rps=20.0),
    Scaling(1, 4, rps=0.5),
    Scaling(1, 3, rps=1500.0),
    Scaling(idle=300),
    Scaling(2, 2, idle=90),
    Scaling(1, 4, idle=3600),
    Scaling(1, 4, rps=12.5, idle=5),
]


def version(*pods: Obj, **more: Any) -> Obj:
    parts = list(pods or ({"spec": {"containers": [{"name": "m", "resources": {"requests": {"cpu": "2"}}}]}},))
    return {"name": "v1", "replicas": 1, "componentSpecs": parts, **more}


def component(one: Scaling) -> Obj:
    found: Obj = scaling.applied(version(), one, "iris")["componentSpecs"][0]
    return found


@pytest.mark.parametrize("one", SAID)
def test_what_is_written_is_read_back_and_asked_for_again(one: Scaling) -> None:
    made = scaling.applied(version(), one, "iris")
    assert scaling.of(made) == one
    assert wanted(**one.said) == one
    assert scaling.applied(made, Scaling(), "iris") == version()


@pytest.mark.parametrize("one", [one for one in SAID if one.idle is not None])
def test_our_operator_sleeps_and_scales_as_was_said(one: Scaling) -> None:
    made = operator.of_keda(component(one)["kedaSpec"], replicas=one.least)
    assert made.without == []
    assert made.sleeps == Sleep(float(one.idle or 0), one.least)
    assert made.autoscaler is not None
    assert (made.autoscaler["minReplicas"], made.autoscaler["maxReplicas"]) == (one.least, one.most)
    measured = {(one.get("resource") or one["pods"]["metric"])["name"] for one in made.autoscaler["metricsv2"]}
    assert ("cpu" in measured) == (one.by_load and one.rps is None)


def test_servers_use_four_fifths_of_the_cpus_that_they_have() -> None:
    (metric,) = component(Scaling(1, 4))["hpaSpec"]["metricsv2"]
    assert metric["resource"]["target"] == {"type": "AverageValue", "averageValue": "1600m"}


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"replicas": "2"}, Scaling(2, 2)),
        ({"replicas": "1-4"}, Scaling(1, 4)),
        ({"replicas": "1:4", "rps": 3}, Scaling(1, 4, 3.0)),
        ({"replicas": [2, 2]}, Scaling(2, 2)),
        ({"idle": "5m"}, Scaling(idle=300)),
        ({"idle": 90.0}, Scaling(idle=90)),
    ],
)
def test_words_for_it(said: dict[str, Any], found: Scaling) -> None:
    assert wanted(**said) == found


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"replicas": 0}, "replicas is 0"),
        ({"replicas": (0, 4)}, "at least one server"),
        ({"replicas": (4, 1)}, "the smaller one first"),
        ({"replicas": (1, 2, 3)}, "from how many to how many"),
        ({"replicas": "many"}, "from how many to how many"),
        ({"replicas": True}, "whole number"),
        ({"replicas": 1.5}, "whole number"),
        ({"replicas": 2, "rps": 20}, "nothing to choose"),
        ({"replicas": (1, 4), "rps": 0}, "requests per second"),
        ({"replicas": (1, 4), "rps": float("nan")}, "requests per second"),
        ({"replicas": (1, 4), "rps": "many"}, "requests per second"),
        ({"idle": 0}, "from 5 s"),
        ({"idle": -1}, "from 5 s"),
        ({"idle": 7.5}, "whole seconds"),
        ({"idle": "soon"}, "not a time"),
        ({"idle": True}, "a time without a request"),
        ({"idle": float("inf")}, "a time without a request"),
    ],
)
def test_what_says_nothing_is_refused(said: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        wanted(**said)


def _env(container: Obj, path: str) -> Obj:
    return {**container, "env": [{"name": scaling.STATE, "value": path}]}


LEARNS = {"spec": {"containers": [_env({"name": "m"}, "/kf/work")]}}
KEEPS = {
    "spec": {
        "containers": [
            _env({"name": "m", "volumeMounts": [{"name": f"{CLAIM_VOLUME}0", "mountPath": "/mnt/c"}]}, "/mnt/c")
        ]
    }
}


@pytest.mark.parametrize(
    ("given", "one", "why"),
    [
        (version({"spec": {}}, {"spec": {}}), Scaling(1, 4), "2 pods"),
        (version({"spec": {}}, {"spec": {}}), Scaling(idle=60), "several Deployments"),
        (version(annotations={"seldon.io/no-engine": "true"}), Scaling(idle=60), "counts requests"),
        (version(LEARNS), Scaling(2, 2), "learn something else"),
        (version(LEARNS), Scaling(idle=60), "goes with its pod"),
        (version({"spec": {}, "hpaSpec": {"maxReplicas": 3}}), Scaling(), "of its own"),
        (version({"spec": {}, "kedaSpec": {"triggers": [{"type": "cron"}]}}), Scaling(), "of its own"),
    ],
)
def test_what_cannot_be_scaled_so_says_why(given: Obj, one: Scaling, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        scaling.applied(given, one, "iris")


def test_a_router_that_keeps_what_it_learns_may_sleep() -> None:
    assert scaling.of(scaling.applied(version(KEEPS), Scaling(idle=60), "iris")) == Scaling(idle=60)


# By our operator


class Served(Controlled):
    def __init__(self, one: Scaling) -> None:
        super().__init__(*seldon.controllers(seldon.Options(sleeps=True)), *workloads.CONTROLLERS)
        head, kind = {"name": "iris"}, kinds.SELDON_DEPLOYMENT
        spec = {"predictors": [self.predictor(one)]}
        self.add(kind, {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": head, "spec": spec})
        self.settle()

    @staticmethod
    def predictor(one: Scaling) -> Obj:
        given = version({"spec": {"containers": [{"name": "m", "image": "example/m:1"}]}})
        return scaling.applied({**given, "graph": {"name": "m"}}, one, "iris")

    @property
    def deployment(self) -> Obj:
        (found,) = self.list(kinds.DEPLOYMENT, "default")
        return found

    def fall_asleep(self) -> None:
        self.objects[self._place(kinds.DEPLOYMENT, "default", self.deployment["metadata"]["name"])]["spec"][
            "replicas"
        ] = 0

    def ask(self, one: Scaling) -> None:
        place = self._place(kinds.SELDON_DEPLOYMENT, "default", "iris")
        self.objects[place] = {**self.objects[place], "spec": {"predictors": [self.predictor(one)]}}
        self.settle()


@pytest.mark.parametrize("after", [Scaling(2, 2), Scaling(1, 4)])
def test_what_sleeps_and_is_to_stay_awake_wakes_and_is_never_put_to_sleep_again(after: Scaling) -> None:
    world = Served(Scaling(idle=60))
    assert names.ANNOTATION_SLEEP in world.deployment["metadata"]["annotations"]
    world.fall_asleep()
    world.ask(after)
    assert names.ANNOTATION_SLEEP not in world.deployment["metadata"]["annotations"]
    assert world.deployment["spec"]["replicas"] >= after.least


# From a notebook


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return installed(monkeypatch)


def predictor(world: World, at: int = 0) -> Obj:
    found: Obj = world.objects["SeldonDeployment", "iris"]["spec"]["predictors"][at]
    return found


def test_a_plan_says_it_as_a_call_and_as_a_line(world: World) -> None:
    planned = kf.plan_serve(CELL, name="iris", replicas=(1, 4), rps=20, idle="5m")
    assert not world.objects
    assert "1 to 4 servers by 20 requests per second each, none after 5m without a request" in planned.summary
    assert "replicas=(1, 4),\n    rps=20,\n    idle='5m'" in planned.python()
    line = planned.magic().splitlines()[0]
    words = lines.serve_arguments(lines.serve_parser("kf_serve").parse_args(line.split()[1:]))
    assert wanted(words["replicas"], words["rps"], words["idle"]) == planned.scaling
    assert "cooldownPeriod: 300" in planned.yaml()


def test_it_is_changed_later_and_taken_off_again(world: World) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # this cluster shows no Deployments: nothing is known, nothing is said
        endpoint = kf.serve(CELL, name="iris", idle=300, timeout=5)
        endpoint.scale((1, 4), rps=20)
        assert scaling.of(predictor(world)) == Scaling(1, 4, 20.0, 300)
        endpoint.sleep_after(None)
        assert scaling.of(predictor(world)) == Scaling(1, 4, 20.0)
        endpoint.scale(1).sleep_after("10m", "v1")
    assert scaling.of(predictor(world)) == Scaling(idle=600)
    assert endpoint.history()[-1].cause == "scale: v1 1 server, none after 10m without a request"
    assert endpoint.predict(np.ones((1, 2))) is not None
    with pytest.raises(UsageError, match="no version 'v3'"):
        endpoint.sleep_after(60, "v3")


def test_the_lines_of_a_notebook_change_it(world: World) -> None:
    endpoint = kf.serve(CELL, name="iris", timeout=5)
    parser = lines.traffic_parser("kf_traffic")
    lines.divide(endpoint, parser.parse_args(["iris", "--replicas", "1-3", "--rps", "9", "--idle", "2m"]))
    assert scaling.of(predictor(world)) == Scaling(1, 3, 9.0, 120)
    lines.divide(endpoint, parser.parse_args(["iris", "--idle", "off"]))
    assert scaling.of(predictor(world)) == Scaling(1, 3, 9.0)
    with pytest.raises(UsageError, match="one thing at a time"):
        lines.divide(endpoint, parser.parse_args(["iris", "v1=100", "--idle", "2m"]))


def test_who_serves_where_nothing_holds_requests_is_told_and_keeps_the_servers(world: World) -> None:
    labels = {"seldon-deployment-id": "iris", "version": "v1"}
    head = {"name": "iris-v1-0", "namespace": "here", "labels": labels, "uid": "u"}
    world.objects["Deployment", "iris-v1-0"] = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": head}
    with pytest.warns(UserWarning, match="Not put to sleep: v1, as nothing on this cluster holds requests"):
        endpoint = kf.serve(CELL, name="iris", idle=300, timeout=5)
    head["annotations"] = {names.ANNOTATION_SLEEP: Sleep(300).text()}  # type: ignore[assignment]
    assert endpoint.view().restless == ""


def test_keda_is_not_let_take_what_nothing_would_bring_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def serves(_: World, __: Any) -> bool:
        return True

    endpoint = kf.serve(CELL, name="iris", timeout=5)
    monkeypatch.setattr(World, "serves", serves)
    for work in (lambda: endpoint.sleep_after(60), lambda: kf.serve(CELL, name="other", idle=60, timeout=5)):
        with pytest.raises(ClusterError, match="never come back"):
            work()
    assert ("SeldonDeployment", "other") not in world.objects
    assert scaling.of(predictor(world)) == Scaling()


def test_the_panel_shows_what_would_be_different_and_the_same_as_a_call(world: World) -> None:
    kf.serve(CELL, name="iris", timeout=5)
    found = world.objects["SeldonDeployment", "iris"]
    said = {"what": "scale", "version": "v1", "scaling": {"least": 1, "most": 4, "rps": None, "idle": 300}}
    request = handlers.change_request(said)
    assert handlers.python(found, request).splitlines()[-1] == (
        "kf.endpoint('iris', 'here').scale((1, 4), 'v1').sleep_after('5m', 'v1')"
    )
    with pytest.raises(UsageError, match="from 5 s"):
        handlers.change_request({**said, "scaling": {"least": 1, "most": 1, "rps": None, "idle": 1}})
    with pytest.raises(UsageError, match="how many servers"):
        handlers.change_request({**said, "scaling": {"least": 1}})
