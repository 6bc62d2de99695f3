"""An autoscaler keeps the bounds, and says that nothing measures what it is to follow."""

from __future__ import annotations

from typing import Any

from controllers_world import World

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers.workloads import autoscaler
from jupyterlab_kf.model import Obj

HPA = kinds.HORIZONTAL_POD_AUTOSCALER
CPU = {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}


class Scaled(World):
    def __init__(self, replicas: int | None, **spec: Any) -> None:
        super().__init__(autoscaler.CONTROLLER)
        head = {"name": "d"}
        body = {} if replicas is None else {"replicas": replicas}
        self.add(kinds.DEPLOYMENT, {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": head, "spec": body})
        ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}
        asked = {"scaleTargetRef": ref, "maxReplicas": 3, "metrics": [CPU], **spec}
        self.add(HPA, {"apiVersion": HPA.api_version, "kind": HPA.kind, "metadata": {"name": "d"}, "spec": asked})
        self.settle()

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
    assert few.events[-1].message == "New size: 2; reason: Current number of replicas below Spec.MinReplicas"
    assert Scaled(7).replicas == 3


def test_a_number_within_the_bounds_is_left_alone_and_the_reason_told_once() -> None:
    world = Scaled(2)
    assert world.replicas == 2
    state, reason = world.conditions(HPA, "d")["ScalingActive"]
    assert (state, reason) == ("False", "FailedGetResourceMetric")
    world.settle()
    assert world.reasons() == ["FailedGetResourceMetric"]
    assert world.events[0].message.endswith("nothing on this cluster measures cpu")
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


def test_every_metric_is_named() -> None:
    pods = {"type": "Pods", "pods": {"metric": {"name": "rate"}, "target": {"type": "AverageValue"}}}
    assert "measures cpu, rate" in Scaled(1, metrics=[CPU, pods]).events[0].message
