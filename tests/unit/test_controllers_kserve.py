"""InferenceServices without KServe: what is made of one, what its status says, and what is told to be left out."""

from __future__ import annotations

from typing import Any

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Create, Emit, Patch, SetStatus
from jupyterlab_kf.controllers.kserve import Options, controller
from jupyterlab_kf.controllers.support import name
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests.serving import inference, rows
from jupyterlab_kf.manifests.serving.inference import InferenceSpec, ModelSource

Obj = dict[str, Any]
CONTROLLER = controller(Options())


class World:
    """The cluster as far as an InferenceService's controller looks at it."""

    def __init__(self, obj: Obj) -> None:
        head = {"name": "iris", "namespace": "ns", "uid": "u1", "generation": 1}
        self.obj: Obj = {**obj, "metadata": {**obj.get("metadata", {}), **head}}
        self.found: dict[tuple[Kind, str], Obj] = {}
        self.told: list[str] = []

    def get(self, kind: Kind, _namespace: str, title: str) -> Obj | None:
        return self.found.get((kind, title))

    def list(self, kind: Kind, _namespace: str | None = None) -> list[Obj]:
        return [obj for (of, _), obj in self.found.items() if of == kind]

    def react(self) -> int:
        """Carry out one look; how many actions there were."""
        actions = CONTROLLER.react(self.obj, self, 0.0)  # type: ignore[arg-type]  as much of a view as is looked at
        for action in actions:
            if isinstance(action, Create):
                made = {**action.obj, "metadata": {**action.obj["metadata"], "uid": "d1", "generation": 1}}
                self.found[action.kind, name(made)] = made
            elif isinstance(action, SetStatus):
                self.obj["status"] = dict(action.status)
            elif isinstance(action, Emit):
                self.told.append(action.message)
            elif isinstance(action, Patch):
                self.found[action.kind, action.name] |= {
                    "spec": {**self.found[action.kind, action.name]["spec"], **action.patch["spec"]}
                }
        return len(actions)

    @property
    def deployment(self) -> Obj:
        return self.found[kinds.DEPLOYMENT, "iris-predictor"]

    @property
    def pod(self) -> Obj:
        found: Obj = self.deployment["spec"]["template"]["spec"]
        return found

    def state(self) -> tuple[str, str]:
        row = rows.inference_row({"kind": "InferenceService", **self.obj})
        return row.state, row.detail


def predictor(**fields: Any) -> World:
    return World({"spec": {"predictor": fields}})


def of_format(uri: str, form: str = "sklearn", **more: Any) -> World:
    return predictor(model={"modelFormat": {"name": form}, "storageUri": uri, **more})


def test_a_model_of_a_format_gets_kserves_names_and_says_when_it_is_ready() -> None:
    world = World(
        inference.encode(
            InferenceSpec(name="iris", namespace="ns", source=ModelSource(format="sklearn", uri="pvc://models/iris/1"))
        )
    )
    assert world.react() == 3
    assert world.react() == 0, "nothing is done twice"
    (container,) = world.pod["containers"]
    assert container["image"].startswith("kserve/sklearnserver")
    assert container["args"] == ["--model_name=iris", "--model_dir=/mnt/models", "--http_port=8080"]
    assert container["volumeMounts"] == [
        {"name": "kserve-pvc-source", "mountPath": "/mnt/models", "readOnly": True, "subPath": "iris/1"}
    ]
    assert world.deployment["metadata"]["labels"]["serving.kserve.io/inferenceservice"] == "iris"
    service = world.found[kinds.SERVICE, "iris-predictor"]["spec"]
    assert (service["ports"][0]["port"], service["ports"][0]["targetPort"]) == (80, 8080)
    assert world.state()[0] == "Starting"
    world.deployment["status"] = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    world.react()
    assert world.state() == ("Ready", "")
    assert world.obj["status"]["url"] == "http://iris-predictor.ns.svc.cluster.local"
    assert world.told == []


def test_a_bucket_is_fetched_from_with_the_keys_of_a_secret() -> None:
    world = of_format("s3://models/iris", envFrom=[{"secretRef": {"name": "bucket"}}])
    world.react()
    (first,) = world.pod["initContainers"]
    assert first["args"] == ["s3://models/iris", "/mnt/models"]
    assert first["envFrom"] == [{"secretRef": {"name": "bucket"}}]
    assert world.pod["containers"][0]["volumeMounts"][0]["readOnly"]


def test_a_container_of_ones_own_is_reached_at_its_port() -> None:
    world = predictor(
        containers=[{"name": "mine", "image": "me/mine:1", "ports": [{"containerPort": 9000}]}], minReplicas=2
    )
    world.react()
    assert [one["image"] for one in world.pod["containers"]] == ["me/mine:1"]
    assert world.deployment["spec"]["replicas"] == 2
    assert world.found[kinds.SERVICE, "iris-predictor"]["spec"]["ports"][0]["targetPort"] == 9000


def test_a_change_goes_to_the_deployment_and_to_nothing_else() -> None:
    world = of_format("pvc://models/iris")
    world.react()
    world.obj["spec"]["predictor"]["minReplicas"] = 3
    world.obj["metadata"]["generation"] = 2
    world.react()
    assert world.deployment["spec"]["replicas"] == 3


def test_it_is_not_ready_while_the_pod_that_answers_is_the_one_before() -> None:
    world = of_format("pvc://models/iris")
    world.react()
    counts = {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 1, "availableReplicas": 1}
    world.deployment["status"] = counts
    said = {"waiting": {"reason": "CrashLoopBackOff"}}
    last = {"terminated": {"exitCode": 69, "message": "fetch: there is nothing at s3://gone/x"}}
    status = {"initContainerStatuses": [{"name": "storage-initializer", "state": said, "lastState": last}]}
    labels = world.deployment["spec"]["template"]["metadata"]["labels"]
    world.found[kinds.POD, "new"] = {"metadata": {"name": "new", "namespace": "ns", "labels": labels}, "status": status}
    world.react()
    assert world.state()[0] == "Starting"
    assert "there is nothing at s3://gone/x" in world.state()[1]


@pytest.mark.parametrize(
    ("world", "said"),
    [
        (of_format("pvc://m/x", form="caffe"), "no server of the format 'caffe'; there are sklearn"),
        (predictor(), "neither a model nor a container"),
        (of_format("pvc:///x"), "names no claim"),
        (
            World({"metadata": {"annotations": {"serving.kserve.io/deploymentMode": "Knative"}}, "spec": {}}),
            "the mode Knative needs KServe itself",
        ),
    ],
)
def test_what_cannot_be_served_fails_with_the_reason_and_makes_nothing(world: World, said: str) -> None:
    world.react()
    assert world.found == {}
    assert world.react() == 0
    state, detail = world.state()
    assert state == "Failed"
    assert said in detail
    assert [said in one for one in world.told] == [True]


def test_a_field_that_is_not_honoured_is_told_once() -> None:
    world = predictor(sklearn={"storageUri": "pvc://m/x"}, maxReplicas=5, logger={"mode": "all"})
    world.obj["spec"]["transformer"] = {"containers": [{"name": "t"}]}
    world.react()
    world.react()
    assert sorted(one.split(" ")[0] for one in world.told) == [
        "spec.predictor.logger",
        "spec.predictor.maxReplicas",
        "spec.transformer",
    ]


def test_a_deployment_of_somebody_else_is_left_alone() -> None:
    world = of_format("pvc://m/x")
    world.found[kinds.DEPLOYMENT, "iris-predictor"] = {
        "metadata": {"name": "iris-predictor", "namespace": "ns", "uid": "x"},
        "spec": {},
    }
    world.react()
    assert "is somebody else's" in world.state()[1]
