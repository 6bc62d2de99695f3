"""A SeldonDeployment over time: its first version, the next, one that fails, and predictors that go."""

from __future__ import annotations

from typing import Any

from controllers_world import World

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import seldon, workloads
from jupyterlab_kf.controllers.bringing import differences
from jupyterlab_kf.model import Obj

KIND = kinds.SELDON_DEPLOYMENT
MADE = (
    kinds.DEPLOYMENT,
    kinds.SERVICE,
    kinds.HORIZONTAL_POD_AUTOSCALER,
    kinds.POD_DISRUPTION_BUDGET,
    kinds.VIRTUAL_SERVICE,
    kinds.DESTINATION_RULE,
)


def predictor(name: str = "main", *containers: str, image: str = "example/model:1", **more: Any) -> Obj:
    named = [{"name": one, "image": image} for one in containers or ("model",)]
    return {
        "name": name,
        "graph": {"name": named[0]["name"]},
        "componentSpecs": [{"spec": {"containers": named}}],
        **more,
    }


class Served(World):
    """A world with one SeldonDeployment, called ``iris``."""

    def __init__(self, *predictors: Obj, options: seldon.Options | None = None, **spec: Any) -> None:
        super().__init__(*seldon.controllers(options or seldon.Options()), *workloads.CONTROLLERS)
        metadata = {"name": "iris"}
        body = {"predictors": list(predictors or (predictor(),)), **spec}
        self.add(KIND, {"apiVersion": KIND.api_version, "kind": KIND.kind, "metadata": metadata, "spec": body})
        self.settle()

    def ask(self, *predictors: Obj, **spec: Any) -> None:
        place = self._place(KIND, "default", "iris")
        self.objects[place] = {**self.objects[place], "spec": {"predictors": list(predictors), **spec}}
        self.settle()

    def _change(self, kind: Any, namespace: str, name: str, uid: str, change: Any) -> None:
        before = self.get(kind, namespace, name)
        super()._change(kind, namespace, name, uid, change)
        after = self.objects.get(self._place(kind, namespace, name))
        if before is not None and after is not None and before.get("spec") != after.get("spec"):
            after["metadata"]["generation"] = before["metadata"].get("generation", 1) + 1

    def status(self) -> Obj:
        status: Obj = self.job(KIND, "iris")["status"]
        return status

    def condition(self, type_: str) -> tuple[str, str]:
        return self.conditions(KIND, "iris")[type_]

    def names(self, kind: Any) -> list[str]:
        return [one["metadata"]["name"] for one in self.list(kind, "default")]

    def deployment(self, name: str = "iris-main-0-model") -> Obj:
        found = self.get(kinds.DEPLOYMENT, "default", name)
        assert found is not None
        return found

    def patch(self, kind: Any, name: str, patch: Obj) -> None:
        obj = self.get(kind, "default", name)
        assert obj is not None
        from controllers_world import merge

        self._change(kind, "default", name, obj["metadata"]["uid"], lambda one: merge(one, patch))

    def waits(self, reason: str, message: str = "", code: int | None = None) -> None:
        """Let the pods that are not ready wait for a reason."""
        for pod in self.objects.values():
            if pod["kind"] == "Pod" and (pod.get("status") or {}).get("phase") != "Running":
                state = {"waiting": {"reason": reason, **({"message": message} if message else {})}}
                container = {"name": pod["spec"]["containers"][0]["name"], "state": state}
                if code is not None:
                    container["lastState"] = {"terminated": {"exitCode": code}}
                pod["status"] = {"phase": "Pending", "containerStatuses": [container]}
        self.settle()


def test_routes_come_when_the_pods_are_ready_and_not_before() -> None:
    world = Served()
    assert world.status()["state"] == "Creating"
    assert world.condition("ServicesReady") == ("False", "Not all services created")
    assert world.names(kinds.VIRTUAL_SERVICE) == []
    world.run_all()
    assert world.status()["state"] == "Available"
    assert world.names(kinds.VIRTUAL_SERVICE) == ["iris"]
    assert world.condition("Ready") == ("True", "")
    assert world.status()["address"]["url"] == ("http://iris-main.default.svc.cluster.local:8000/api/v1.0/predictions")


def test_a_version_that_tells_what_it_is_made_of_becomes_available() -> None:
    world = Served(predictor(annotations={"jupyterlab-kf.io/provenance": "{}"}))
    world.run_all()
    assert world.status()["state"] == "Available"
    assert world.condition("Ready")[0] == "True"
    assert "UpdateService" not in world.reasons(), "they are as they should be"


def test_all_that_is_made_goes_with_the_object() -> None:
    world = Served()
    world.run_all()
    for kind in MADE:
        for one in world.list(kind):
            assert one["metadata"]["ownerReferences"][0]["kind"] == "SeldonDeployment"


def test_a_new_image_is_a_new_version_of_the_same_deployment() -> None:
    world = Served()
    world.run_all()
    world.ask(predictor(image="example/model:2"))
    assert world.names(kinds.DEPLOYMENT) == ["iris-main-0-model"]
    assert len(world.names(kinds.REPLICA_SET)) == 2
    assert world.status()["state"] == "Creating"
    running = [pod for pod in world.pods().values() if (pod.get("status") or {}).get("phase") == "Running"]
    assert len(running) == 1, "the old pod serves until the new one is ready"
    world.run_all()
    assert world.status()["state"] == "Available"
    (pod,) = world.pods().values()
    assert pod["spec"]["containers"][0]["image"] == "example/model:2"


def test_traffic_moves_without_a_restart() -> None:
    world = Served(predictor(traffic=90), predictor("next", traffic=10))
    world.run_all()
    pods = set(world.pods())
    world.ask(predictor(traffic=50), predictor("next", traffic=50))
    assert set(world.pods()) == pods
    route = world.list(kinds.VIRTUAL_SERVICE)[0]["spec"]["http"][0]["route"]
    assert [one["weight"] for one in route] == [50, 50]
    assert world.status()["state"] == "Available"


def test_a_predictor_that_is_not_wanted_any_more_serves_until_its_successor_is_ready() -> None:
    world = Served()
    world.run_all()
    world.ask(predictor("next"))
    assert world.names(kinds.DEPLOYMENT) == ["iris-main-0-model", "iris-next-0-model"]
    assert "iris-main" in str(world.list(kinds.VIRTUAL_SERVICE)[0]["spec"])
    world.run_all()
    assert world.names(kinds.DEPLOYMENT) == ["iris-next-0-model"]
    assert world.names(kinds.SERVICE) == ["iris-next", "iris-next-model"]
    assert world.names(kinds.DESTINATION_RULE) == ["iris-next"]
    assert "iris-main" not in str(world.list(kinds.VIRTUAL_SERVICE)[0]["spec"])
    assert set(world.status()["deploymentStatus"]) == {"iris-next-0-model"}
    assert set(world.status()["serviceStatus"]) == {"iris-next", "iris-next-model"}
    assert "DeleteDeployment" in world.reasons()


def test_a_version_that_never_becomes_ready_leaves_the_old_one_and_says_why() -> None:
    world = Served()
    world.run_all()
    world.ask(predictor(image="example/broken:1"))
    world.waits("CrashLoopBackOff", "back-off 40s restarting failed container", code=3)
    said = world.status()["description"]
    assert "iris-main-0-model" in said
    assert "container model ends again and again with exit code 3" in said
    world.wait(700)
    world.settle()
    assert world.status()["state"] == "Failed"
    said = world.status()["description"]
    assert said.startswith("Deployment is no longer progressing and not available.")
    assert "with exit code 3" in said
    assert said.endswith("The version before goes on serving.")
    assert world.names(kinds.VIRTUAL_SERVICE) == ["iris"]
    assert any((pod.get("status") or {}).get("phase") == "Running" for pod in world.pods().values())


def test_a_failed_version_is_forgotten_when_the_next_one_is_ready() -> None:
    world = Served()
    world.waits("ErrImagePull", code=1)
    world.wait(700)
    assert world.status()["state"] == "Failed"
    assert "The version before" not in world.status()["description"]
    world.ask(predictor(image="example/good:1"))
    world.run_all()
    assert world.status()["state"] == "Available"
    assert "description" not in world.status()


def test_a_pod_that_cannot_be_placed_is_told_of() -> None:
    world = Served()
    for pod in world.objects.values():
        if pod["kind"] == "Pod":
            why = "0/1 nodes are available: 1 Insufficient cpu."
            placed = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}
            pod["status"] = {"phase": "Pending", "conditions": [placed]}
    world.settle()
    assert world.status()["state"] == "Creating"
    assert world.status()["description"].endswith("0/1 nodes are available: 1 Insufficient cpu.")


def test_replicas_are_counted_and_asked_for_from_the_most_specific_place() -> None:
    component = {"spec": {"containers": [{"name": "model", "image": "x"}]}, "replicas": 3}
    world = Served(predictor(componentSpecs=[component], replicas=2), replicas=1)
    assert world.deployment()["spec"]["replicas"] == 3
    world.run_all()
    assert world.status()["replicas"] == 3
    assert world.status()["deploymentStatus"] == {"iris-main-0-model": {"replicas": 3, "availableReplicas": 3}}


def test_what_an_autoscaler_decides_is_left_alone() -> None:
    component = {"spec": {"containers": [{"name": "model", "image": "x"}]}, "hpaSpec": {"maxReplicas": 3}}
    world = Served(predictor(componentSpecs=[component]))
    world.run_all()
    world.patch(kinds.DEPLOYMENT, "iris-main-0-model", {"spec": {"replicas": 2}})
    world.settle()
    world.run_all()
    assert world.deployment()["spec"]["replicas"] == 2
    world.ask(predictor(replicas=1))
    world.settle()
    assert world.names(kinds.HORIZONTAL_POD_AUTOSCALER) == []
    assert world.deployment()["spec"]["replicas"] == 1


def test_what_somebody_changed_by_hand_is_changed_back() -> None:
    world = Served()
    world.run_all()
    template = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}
    world.patch(kinds.DEPLOYMENT, "iris-main-0-model", template)
    world.patch(kinds.VIRTUAL_SERVICE, "iris", {"spec": {"hosts": ["evil"], "tcp": []}})
    world.settle()
    world.run_all()
    assert world.deployment()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 20
    spec = world.list(kinds.VIRTUAL_SERVICE)[0]["spec"]
    assert (spec["hosts"], "tcp" in spec) == (["*"], False)


def test_what_is_taken_out_of_the_spec_is_taken_off_the_deployment() -> None:
    world = Served(predictor(annotations={"note": "1"}, progressDeadlineSeconds=5))
    world.run_all()
    assert world.deployment()["spec"]["progressDeadlineSeconds"] == 5
    world.ask(predictor())
    world.run_all()
    found = world.deployment()
    assert "progressDeadlineSeconds" not in found["spec"]
    assert "note" not in found["spec"]["template"]["metadata"]["annotations"]
    assert "note" not in world.list(kinds.SERVICE)[0]["metadata"].get("annotations", {})


def test_a_restart_asked_for_by_kubectl_is_not_undone() -> None:
    world = Served()
    world.run_all()
    note = {"kubectl.kubernetes.io/restartedAt": "2027-01-15T08:00:00Z"}
    world.patch(kinds.DEPLOYMENT, "iris-main-0-model", {"spec": {"template": {"metadata": {"annotations": note}}}})
    world.settle()
    world.run_all()
    assert note.items() <= world.deployment()["spec"]["template"]["metadata"]["annotations"].items()
    assert world.status()["state"] == "Available"


def test_deployments_that_the_real_operator_made_are_taken_over_without_a_restart() -> None:
    world = Served()
    world.run_all()
    pods = set(world.pods())
    place = world._place(kinds.DEPLOYMENT, "default", "iris-main-0-model")
    annotations = world.objects[place]["metadata"]["annotations"]
    annotations["seldon.io/last-applied"] = annotations.pop(differences.APPLIED)
    world.settle()
    assert set(world.pods()) == pods
    assert differences.APPLIED in world.deployment()["metadata"]["annotations"]


def test_an_engine_in_pods_of_its_own_goes_first_when_it_is_not_wanted_any_more() -> None:
    apart = {"seldon.io/engine-separate-pod": "true"}
    world = Served(annotations=apart)
    world.run_all()
    assert world.names(kinds.DEPLOYMENT) == ["iris-main-0-model", "iris-main-svc-orch"]
    world.ask(predictor("next"))
    world.run_all()
    world.run_all()
    assert world.names(kinds.DEPLOYMENT) == ["iris-next-0-model"]
    gone = [event.message for event in world.events if event.reason == "DeleteDeployment"]
    assert "svc-orch" in gone[0]


def test_an_object_of_somebody_else_is_not_taken() -> None:
    world = Served()
    world.remove(KIND, "iris")
    owner = {"apiVersion": "v1", "kind": "Other", "name": "o", "uid": "u", "controller": True}
    head = {"name": "iris-main", "ownerReferences": [owner]}
    world.add(
        kinds.SERVICE, {"apiVersion": "v1", "kind": "Service", "metadata": head, "spec": {"selector": {"a": "b"}}}
    )
    metadata = {"name": "iris"}
    spec = {"predictors": [predictor()]}
    world.add(KIND, {"apiVersion": KIND.api_version, "kind": KIND.kind, "metadata": metadata, "spec": spec})
    world.settle()
    assert world.status()["state"] == "Failed"
    assert world.status()["description"] == 'the Service "iris-main" that is needed belongs to Other o already'
    assert "InternalError" in world.reasons()


def test_a_graph_without_a_place_for_the_engine_fails_with_the_reason() -> None:
    world = Served({"name": "main", "graph": {"name": "model"}})
    assert world.status()["state"] == "Failed"
    assert "there is no pod for the engine" in world.status()["description"]


def test_an_annotation_that_is_no_number_fails_with_its_name() -> None:
    world = Served(annotations={"seldon.io/executor-logger-queue-size": "many"})
    assert "seldon.io/executor-logger-queue-size must be a whole number" in world.status()["description"]


def test_what_is_not_honoured_is_said_once() -> None:
    component = {"spec": {"containers": [{"name": "model", "image": "x"}]}, "kedaSpec": {"triggers": []}}
    world = Served(predictor(componentSpecs=[component]))
    world.run_all()
    said = [event.message for event in world.events if event.reason == "Unsupported"]
    assert len(said) == 1
    assert said[0].startswith("kedaSpec")


def test_of_keda_what_an_autoscaler_can_do_is_done_and_the_rest_said() -> None:
    cpu = {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}}
    queue = {"type": "kafka", "metadata": {"topic": "t"}}
    down = {"scaleDown": {"stabilizationWindowSeconds": 30}}
    asked = {
        "minReplicaCount": 0,
        "maxReplicaCount": 4,
        "cooldownPeriod": 60,
        "triggers": [cpu, queue],
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": down}},
    }
    world = Served(
        predictor(componentSpecs=[{"spec": {"containers": [{"name": "model", "image": "x"}]}, "kedaSpec": asked}])
    )
    (scaler,) = world.list(kinds.HORIZONTAL_POD_AUTOSCALER)
    target = {"type": "Utilization", "averageUtilization": 60}
    assert scaler["spec"]["metrics"] == [{"type": "Resource", "resource": {"name": "cpu", "target": target}}]
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (1, 4)
    assert scaler["spec"]["behavior"] == down
    said = sorted(event.message.partition(" ")[0] for event in world.events if event.reason == "Unsupported")
    assert said == ["kedaSpec.cooldownPeriod", "kedaSpec.minReplicaCount", "kedaSpec.triggers[1]"]


def test_nothing_serves_a_deployment_of_no_replicas_and_that_is_as_asked() -> None:
    world = Served(predictor(replicas=0))
    assert world.status()["state"] == "Available"
    assert world.pods() == {}


def test_pods_that_share_a_machine_are_told_their_address() -> None:
    world = Served(options=seldon.Options(pod_address=True))
    for container in world.deployment()["spec"]["template"]["spec"]["containers"]:
        source = {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}
        assert {"name": "POD_IP", "valueFrom": source} in container["env"]


def test_an_object_in_an_older_version_is_looked_after_as_well() -> None:
    world = Served()
    metadata = {"name": "old"}
    spec = {"predictors": [predictor()]}
    version = "machinelearning.seldon.io/v1alpha3"
    world.add(KIND, {"apiVersion": version, "kind": KIND.kind, "metadata": metadata, "spec": spec})
    world.settle()
    found = world.get(kinds.DEPLOYMENT, "default", "old-main-0-model")
    assert found is not None
    assert found["metadata"]["ownerReferences"][0]["apiVersion"] == version


def test_another_operators_objects_are_left_to_it() -> None:
    world = Served()
    metadata = {"name": "other", "labels": {"seldon.io/controller-id": "them"}}
    spec = {"predictors": [predictor()]}
    world.add(KIND, {"apiVersion": KIND.api_version, "kind": KIND.kind, "metadata": metadata, "spec": spec})
    world.settle()
    assert not any(name.startswith("other") for name in world.names(kinds.DEPLOYMENT))


def test_quantities_written_another_way_are_no_change() -> None:
    wanted = {"metadata": {"name": "a"}, "spec": {"limits": {"cpu": "0.5"}, "empty": [], "list": [{"a": 1}]}}
    stamped = differences.stamped(wanted)
    found = {**stamped, "spec": {"limits": {"cpu": "500m"}, "list": [{"a": 1, "added": "by the server"}]}}
    assert differences.stored(wanted, found) is None
    other = {**wanted, "spec": {**wanted["spec"], "limits": {"cpu": "1"}}}
    patch = differences.stored(other, found)
    assert patch is not None
    assert patch["spec"]["limits"] == {"cpu": "1"}


def test_where_there_is_no_istio_it_is_said_what_becomes_of_weights_and_shadows() -> None:
    def said(world: Served) -> list[str]:
        return sorted(event.message.partition(" is not")[0] for event in world.events if event.reason == "Unsupported")

    bare = seldon.Options(istio=False)
    alone = Served(predictor(), options=bare)
    alone.run_all()
    assert said(alone) == []
    alone.ask(predictor(traffic=90), predictor("canary", traffic=10), predictor("dark", shadow=True, traffic=100))
    alone.run_all()
    assert said(alone) == ["spec.predictors[*].traffic", "spec.predictors[2].shadow"]
