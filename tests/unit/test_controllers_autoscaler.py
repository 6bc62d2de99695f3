"""An autoscaler follows what pods use and count, keeps the bounds, and says what nobody measures."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import pytest
from controllers_world import World

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Action, Consult
from jupyterlab_kf.controllers.workloads import autoscaler
from jupyterlab_kf.model import Obj

HPA = kinds.HORIZONTAL_POD_AUTOSCALER
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}
CORES = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "AverageValue", "averageValue": "700m"}}}
RATE = {
    "type": "Pods",
    "pods": {"metric": {"name": "requests_per_second"}, "target": {"type": "AverageValue", "averageValue": "10"}},
}
QUEUE = {"type": "External", "external": {"metric": {"name": "queue"}, "target": {"type": "Value", "value": "3"}}}


class Scaled(World):
    """A Deployment ``d`` whose pods ask for a whole CPU each, and are there as soon as they are asked for."""

    def __init__(
        self, replicas: int | None, *, used: float | None = None, rate: float | None = None, **spec: Any
    ) -> None:
        super().__init__(autoscaler.CONTROLLER)
        self.used, self.rate = used, rate
        self.asked: list[Any] = []
        head = {"name": "d"}
        body: Obj = {"selector": {"matchLabels": {"app": "d"}}}
        if replicas is not None:
            body["replicas"] = replicas
        self.add(kinds.DEPLOYMENT, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": head, "spec": body})
        ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
        asked = {"scaleTargetRef": ref, "maxReplicas": 3, "metrics": [CPU], **spec}
        self.add(HPA, {"apiVersion": HPA.api_version, "kind": HPA.kind, "metadata": {"name": "d"}, "spec": asked})
        self.settle()

    def settle(self, rounds: int = 50) -> Any:
        for _ in range(2):
            self.run_pods()
            super().settle(rounds)

    def run_pods(self) -> None:
        """As many pods as the Deployment asks for, all of them ready."""
        have = len(self.list(kinds.POD))
        for number in range(have, self.replicas or 0):
            container = {"name": "c", "resources": {"requests": {"cpu": "1"}}}
            status = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
            head = {"name": f"d-{number}", "labels": {"app": "d"}}
            self.add(kinds.POD, {"metadata": head, "spec": {"containers": [container]}, "status": status})
        for number in range(self.replicas or 0, have):
            self.remove(kinds.POD, f"d-{number}")

    def apply(self, actions: Iterable[Action]) -> None:
        for action in actions:
            if not isinstance(action, Consult):
                super().apply([action])
                continue
            self.asked.append(action.question)
            pods = action.question["measure"]["pods"]
            seen: Obj = {} if self.used is None else {"cpu": self.used / len(pods)}
            seen["rates"] = {} if self.rate is None else {"requests_per_second": self.rate / len(pods)}
            super().apply(action.then({"pods": {uid: seen for _, _, uid in pods}}))

    def later(self, seconds: float) -> int | None:
        """The number of replicas after a while in which it was looked at all the time."""
        for _ in range(int(seconds // 5)):
            self.now += 5
            self.settle()
        return self.replicas

    @property
    def replicas(self) -> int | None:
        found = self.get(kinds.DEPLOYMENT, "default", "d")
        assert found is not None
        return found["spec"].get("replicas")

    @property
    def status(self) -> Obj:
        status: Obj = self.job(HPA, "d")["status"]
        return status


def test_too_few_and_too_many_replicas_are_brought_within_the_bounds() -> None:
    few = Scaled(1, minReplicas=2)
    assert few.replicas == 2
    assert few.events[0].message == "New size: 2; reason: Current number of replicas below Spec.MinReplicas"
    assert Scaled(7).replicas == 3


def test_a_number_within_the_bounds_is_left_alone_and_the_reason_told_once() -> None:
    world = Scaled(2)
    assert world.replicas == 2
    state, reason = world.conditions(HPA, "d")["ScalingActive"]
    assert (state, reason) == ("False", "FailedGetResourceMetric")
    world.settle()
    assert world.reasons() == ["FailedGetResourceMetric"]
    assert world.events[0].message.endswith("did not receive metrics for targeted pods yet (cpu)")
    assert world.status["desiredReplicas"] == 2


def test_a_deployment_without_a_number_has_one_replica() -> None:
    world = Scaled(None, minReplicas=2)
    assert world.replicas == 2


def test_nothing_wakes_what_was_scaled_to_zero() -> None:
    world = Scaled(0)
    assert world.replicas == 0
    assert world.conditions(HPA, "d")["ScalingActive"] == ("False", "ScalingDisabled")


def test_a_target_that_is_not_there_is_told_of() -> None:
    world = Scaled(1, scaleTargetRef={"kind": "Deployment", "name": "other"})
    assert world.conditions(HPA, "d")["AbleToScale"] == ("False", "FailedGetScale")
    assert world.reasons() == ["FailedGetScale"]


@pytest.mark.parametrize(
    ("metric", "load", "wanted"),
    [
        (CPU, {"used": 1.4}, 3),  # 140 percent of one CPU, at 50 percent each
        (CPU, {"used": 0.54}, 1),  # within the tolerance of a tenth
        (CPU, {"used": 0.56}, 2),
        (RATE, {"rate": 25.0}, 3),
        (RATE, {"rate": 10.9}, 1),
        (CORES, {"used": 1.4}, 2),
    ],
)
def test_more_load_is_more_replicas_at_once(metric: Obj, load: dict[str, float], wanted: int) -> None:
    world = Scaled(1, metrics=[metric], **load)
    assert world.replicas == wanted
    assert world.conditions(HPA, "d")["ScalingActive"] == ("True", "ValidMetricFound")
    world.later(30)
    assert world.replicas == wanted, "it is the same load"


def test_less_load_is_fewer_replicas_only_after_five_minutes_of_it() -> None:
    world = Scaled(1, used=1.4)
    assert world.replicas == 3
    world.used = 0.2
    assert world.later(290) == 3
    assert world.conditions(HPA, "d")["AbleToScale"] == ("True", "ScaleDownStabilized")
    assert world.later(60) == 1
    assert world.events[-1].message == "New size: 1; reason: All metrics below target"


def test_a_moment_of_load_begins_the_wait_anew() -> None:
    world = Scaled(1, used=1.4, behavior={"scaleDown": {"stabilizationWindowSeconds": 60}})
    world.used = 0.2
    world.later(40)
    world.used = 1.4
    world.later(5)
    world.used = 0.2
    assert world.later(50) == 3
    assert world.later(30) == 1


def test_what_is_remembered_stays_short() -> None:
    world = Scaled(1, used=0.3)
    for used in itertools.islice(itertools.cycle([0.3, 0.9, 1.4]), 12):
        world.used = used
        world.later(20)
    (note,) = (world.job(HPA, "d")["metadata"]["annotations"]).values()
    assert len(note) < 700


def test_policies_of_the_object_say_how_far_it_goes_at_once() -> None:
    slow = {"scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}
    world = Scaled(1, used=5, behavior=slow)
    assert world.replicas == 2
    assert world.later(45) == 2
    assert world.later(30) == 3
    never = Scaled(3, used=0.1, behavior={"scaleDown": {"selectPolicy": "Disabled", "stabilizationWindowSeconds": 0}})
    assert never.later(60) == 3


def test_what_nobody_measures_is_told_and_takes_nothing_away() -> None:
    world = Scaled(2, used=0.1, metrics=[CPU, QUEUE], behavior={"scaleDown": {"stabilizationWindowSeconds": 0}})
    assert world.later(30) == 2
    assert "nothing on this cluster measures queue" in world.events[0].message
    world.used = 2.0
    assert world.later(5) == 3, "what is measured asks for more"


def test_a_pod_that_asks_for_no_cpu_has_no_percentage_of_it() -> None:
    world = Scaled(1, used=1.0)
    world.add(kinds.POD, {"metadata": {"name": "odd", "labels": {"app": "d"}}, "spec": {"containers": [{"name": "c"}]}})
    world.later(5)
    assert "missing request for cpu in container c of Pod odd" in world.events[-1].message


def test_only_rates_that_metrics_ask_for_are_read() -> None:
    assert Scaled(1, used=0.5).asked[0]["measure"]["rates"] == []
    assert Scaled(1, rate=5, metrics=[RATE]).asked[0]["measure"]["rates"] == ["requests_per_second"]
