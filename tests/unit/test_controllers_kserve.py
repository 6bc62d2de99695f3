"""InferenceServices without KServe: what is made of one, what its status says, and what is told to be left out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Create, Delete, Emit, Patch, SetStatus
from jupyterlab_kf.controllers.kserve import Options, controller
from jupyterlab_kf.controllers.support import is_owned, name
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests.serving import inference, rows
from jupyterlab_kf.manifests.serving.inference import InferenceSpec, ModelSource

Obj = dict[str, Any]
CONTROLLER = controller(Options())
BY_GIB: Obj = {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}


class World:
    """The cluster as far as an InferenceService's controller looks at it."""

    def __init__(self, obj: Obj) -> None:
        head = {"name": "iris", "namespace": "ns", "uid": "u1", "generation": 1}
        self.obj: Obj = {**obj, "metadata": {**obj.get("metadata", {}), **head}}
        self.found: dict[tuple[Kind, str], Obj] = {}
        self.told: list[str] = []
        self.controller = CONTROLLER

    def get(self, kind: Kind, _namespace: str, title: str) -> Obj | None:
        return self.found.get((kind, title))

    def list(self, kind: Kind, _namespace: str | None = None) -> list[Obj]:
        return [obj for (of, _), obj in self.found.items() if of == kind]

    def owned(self, kind: Kind, owner: str) -> list[Obj]:
        return [obj for obj in self.list(kind) if is_owned(obj, owner)]

    def react(self) -> int:
        """Carry out one look; how many actions there were."""
        actions = self.controller.react(self.obj, self, 0.0)  # type: ignore[arg-type]  as much of a view as is looked at
        for action in actions:
            if isinstance(action, Create):
                made = {**action.obj, "metadata": {**action.obj["metadata"], "uid": "d1", "generation": 1}}
                self.found[action.kind, name(made)] = made
            elif isinstance(action, SetStatus):
                self.obj["status"] = dict(action.status)
            elif isinstance(action, Emit):
                self.told.append(action.message)
            elif isinstance(action, Delete):
                del self.found[action.kind, action.name]
            elif isinstance(action, Patch):
                self.found[action.kind, action.name] |= {
                    "spec": {**self.found[action.kind, action.name]["spec"], **action.patch["spec"]}
                }
        return len(actions)

    def ready(self, title: str) -> None:
        """Have the pods of a Deployment run, and look again."""
        replicas = self.found[kinds.DEPLOYMENT, title]["spec"].get("replicas", 1)
        counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), replicas)
        self.found[kinds.DEPLOYMENT, title]["status"] = {"observedGeneration": 1, **counts}
        self.react()

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


def of_class(kind: str, **fields: Any) -> World:
    world = predictor(**fields)
    world.obj["metadata"]["annotations"] = {"serving.kserve.io/autoscalerClass": kind}
    return world


def with_parts(world: World, **parts: Any) -> World:
    world.obj["spec"] |= parts
    return world


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
        (predictor(sklearn={}, minReplicas=3, maxReplicas=2), "maxReplicas is 2, which is less than minReplicas (3)"),
        (predictor(sklearn={}, maxReplicas=2, scaleTarget=0), "a percentage from 1 to 100"),
        (of_class("mine", sklearn={}), "is 'mine'; it can be hpa, keda, external, none"),
        (predictor(sklearn={}, logger={"url": "http://l", "mode": "some"}), "it can be all, request, response"),
        (with_parts(predictor(sklearn={}), transformer={"minReplicas": 1}), "spec.transformer has no container"),
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


@pytest.mark.parametrize(
    ("world", "paths"),
    [
        (predictor(sklearn={"storageUri": "pvc://m/x"}, logger={"mode": "all"}), ["spec.predictor.logger"]),
        (predictor(sklearn={}, logger={"url": "http://l", "storage": {"key": "k"}}, batcher={"timeout": 1}), [
            "spec.predictor.batcher.timeout", "spec.predictor.logger.storage",
        ]),
        (of_format("pvc://m/x", storage={"key": "k"}, runtime="mine", confidential={"enabled": True}), [
            "spec.predictor.model.confidential", "spec.predictor.model.runtime", "spec.predictor.model.storage",
        ]),
        (predictor(sklearn={}, canaryTrafficPercent=10, timeout=5, workerSpec={"x": 1}), [
            "spec.predictor.canaryTrafficPercent", "spec.predictor.timeout", "spec.predictor.workerSpec",
        ]),
        (predictor(sklearn={}, minReplica=3, tolerations=[{"operator": "Exists"}]), ["spec.predictor.minReplica"]),
        (predictor(sklearn={}, minReplicas=0, maxReplicas=5), ["spec.predictor.minReplicas"]),
        (predictor(sklearn={}, scaleTarget=5), ["spec.predictor.scaleTarget"]),
        (predictor(sklearn={}, maxReplicas=5, scaleMetric="rps"), ["spec.predictor.scaleMetric"]),
        (of_class("keda", sklearn={}, maxReplicas=5), ["spec.predictor.maxReplicas"]),
        (predictor(sklearn={}, maxReplicas=5, autoScaling={"metrics": [{"type": "External"}], "behavior": {"x": 1}}), [
            "spec.predictor.autoScaling.behavior", "spec.predictor.autoScaling.metrics[0]",
        ]),
        (with_parts(predictor(sklearn={}), canary=[{"trafficPercent": 5}], explainer={"art": {"type": "x"}}), [
            "spec.canary", "spec.explainer.art",
        ]),
    ],
)  # fmt: skip
def test_a_field_that_is_not_honoured_is_told_once(world: World, paths: list[str]) -> None:
    world.react()
    world.react()
    assert sorted(one.split(" ")[0] for one in world.told) == paths
    assert all("is not honoured: " in one for one in world.told)
    world.obj["metadata"]["generation"] = 2
    world.obj["spec"]["predictor"]["batch"] = {}
    world.obj["spec"]["odd"] = 1
    world.react()
    assert "spec.odd is not honoured: there is no such field" in world.told, "of a change, too"


@pytest.mark.parametrize(
    ("fields", "metric"),
    [
        ({}, ("cpu", {"type": "Utilization", "averageUtilization": 80})),
        ({"scaleTarget": 30}, ("cpu", {"type": "Utilization", "averageUtilization": 30})),
        ({"scaleMetric": "memory", "scaleTarget": 70}, ("memory", {"type": "Utilization", "averageUtilization": 70})),
        ({"autoScaling": {"metrics": [{"type": "Resource", "resource": BY_GIB}]}}, ("memory", BY_GIB["target"])),
    ],
)  # fmt: skip
def test_replicas_follow_what_is_asked_between_their_bounds(fields: Obj, metric: tuple[str, Obj]) -> None:
    world = of_format("pvc://m/x")
    world.obj["spec"]["predictor"] |= {"minReplicas": 2, "maxReplicas": 4, **fields}
    world.react()
    scaler = world.found[kinds.HORIZONTAL_POD_AUTOSCALER, "iris-predictor"]["spec"]
    assert scaler == {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "iris-predictor"},
        "minReplicas": 2,
        "maxReplicas": 4,
        "metrics": [{"type": "Resource", "resource": {"name": metric[0], "target": metric[1]}}],
    }
    asked = (world.pod["containers"][0].get("resources") or {}).get("requests") or {}
    assert (metric[0] in asked) == (metric[1]["type"] == "Utilization"), "a share of nothing cannot be known"
    assert world.react() == 0
    assert world.told == []
    world.deployment["spec"]["replicas"] = 3
    assert world.react() == 0, "who scales decides"
    world.obj["spec"]["predictor"] |= {"maxReplicas": 0, "scaleTarget": None, "scaleMetric": None, "autoScaling": None}
    world.react()
    assert (kinds.HORIZONTAL_POD_AUTOSCALER, "iris-predictor") not in world.found
    assert world.deployment["spec"]["replicas"] == 2


@pytest.mark.parametrize(("kind", "replicas"), [("none", 0), ("external", None), ("keda", 1), ("hpa", 1)])
def test_zero_replicas_are_what_kserve_makes_of_them(kind: str, replicas: int | None) -> None:
    world = of_class(kind, sklearn={}, minReplicas=0)
    world.react()
    assert world.deployment["spec"].get("replicas") == replicas


def test_requests_go_to_a_transformer_once_it_is_ready_and_to_the_predictor_when_it_is_gone() -> None:
    world = of_format("pvc://m/x")
    world.react()
    assert rows.inference_row({"kind": "InferenceService", **world.obj}).message == "the predictor is not ready"
    world.ready("iris-predictor")
    container = {"image": "me/t:1", "args": ["--predictor_protocol=v1"]}
    world.obj["spec"]["transformer"] = {"containers": [container], "containerConcurrency": 3, "labels": {"team": "a"}}
    world.react()
    assert world.obj["status"]["url"] == "http://iris-predictor.ns.svc.cluster.local"
    made = world.found[kinds.DEPLOYMENT, "iris-transformer"]["spec"]["template"]
    (container,) = made["spec"]["containers"]
    assert container["name"] == "kserve-container"
    assert container["args"] == [
        "--predictor_protocol=v1", "--model_name", "iris", "--predictor_host", "iris-predictor.ns", "--http_port",
        "8080", "--workers", "3",
    ]  # fmt: skip
    assert made["metadata"]["labels"] | {"team": "a", "component": "transformer"} == made["metadata"]["labels"]
    assert world.state() == ("Starting", "")
    assert rows.inference_row({"kind": "InferenceService", **world.obj}).message == "the transformer is not ready"
    world.ready("iris-transformer")
    assert world.state() == ("Ready", "")
    assert world.obj["status"]["address"] == {"url": "http://iris-transformer.ns.svc.cluster.local"}
    assert set(world.obj["status"]["components"]) == {"predictor", "transformer"}
    del world.obj["spec"]["transformer"]
    world.react()
    assert world.obj["status"]["url"] == "http://iris-predictor.ns.svc.cluster.local"
    assert {title for _, title in world.found} == {"iris-predictor"}
    assert [one["type"] for one in world.obj["status"]["conditions"]] == ["PredictorReady", "Ready"]
    assert world.told == []


def test_where_no_name_can_be_looked_up_a_container_beside_it_leads_to_the_predictor() -> None:
    world = of_format("pvc://m/x")
    world.controller = controller(Options(forwarder="me/forward"))
    world.obj["spec"]["transformer"] = {"containers": [{"image": "me/t:1"}]}
    world.obj["spec"]["explainer"] = {"containers": [{"image": "me/e:1", "args": ["--predictor_host=other:80"]}]}
    world.react()
    template = world.found[kinds.DEPLOYMENT, "iris-transformer"]["spec"]["template"]
    own, beside = template["spec"]["containers"]
    assert own["args"][2:4] == ["--predictor_host", "$(POD_IP):9082"]
    assert beside["args"] == ["--port=9082", "--to=ns/iris-predictor/80"]
    assert template["metadata"]["annotations"] == {"jupyterlab-kf.io/ports-may-move": "true"}
    (alone,) = world.found[kinds.DEPLOYMENT, "iris-explainer"]["spec"]["template"]["spec"]["containers"]
    assert alone["args"][0] == "--predictor_host=other:80"


def test_a_transformer_in_the_predictors_pod_is_what_is_asked() -> None:
    beside = {"name": "transformer-container", "image": "me/t:1", "ports": [{"containerPort": 9000}]}
    world = predictor(sklearn={"storageUri": "pvc://m/x", "runtimeVersion": "v0.16"}, containers=[beside])
    world.react()
    assert [one["image"] for one in world.pod["containers"]] == ["kserve/sklearnserver:v0.16", "me/t:1"]
    assert [one["readinessProbe"]["tcpSocket"]["port"] for one in world.pod["containers"]] == [8080, 9000]
    assert world.found[kinds.SERVICE, "iris-predictor"]["spec"]["ports"][0]["targetPort"] == 9000


def test_requests_come_to_an_agent_first_that_joins_them_and_sends_copies() -> None:
    logger = {"url": "http://sink.ns/", "mode": "request", "metadataHeaders": ["X-Who"]}
    world = predictor(sklearn={}, batcher={"maxBatchSize": 8, "maxLatency": 50}, logger=logger)
    world.react()
    server, agent = world.pod["containers"]
    assert agent["image"].startswith("kserve/agent:")
    assert agent["args"] == [
        "--port=9081", "--enable-batcher", "--max-batchsize=8", "--max-latency=50", "--log-url=http://sink.ns/",
        "--source-uri=$(POD_NAME)", "--log-mode=request", "--inference-service=iris", "--namespace=ns",
        "--component=predictor", "--metadata-headers=X-Who", "--component-port=8080",
    ]  # fmt: skip
    env = {one["name"]: one.get("value") for one in agent["env"]}
    assert json.loads(env["SERVING_READINESS_PROBE"] or "") == server["readinessProbe"]
    (port,) = world.found[kinds.SERVICE, "iris-predictor"]["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (80, 9081)
    assert world.told == []
    del world.obj["spec"]["predictor"]["batcher"], world.obj["spec"]["predictor"]["logger"]
    world.react()
    assert world.found[kinds.SERVICE, "iris-predictor"]["spec"]["ports"][0]["targetPort"] == 8080


def test_what_is_stopped_is_taken_away_and_started_again() -> None:
    world = of_format("pvc://m/x")
    world.react()
    world.ready("iris-predictor")
    world.obj["metadata"]["annotations"] = {"serving.kserve.io/stop": "true"}
    world.react()
    assert world.found == {}
    assert world.state() == ("Failed", "the annotation serving.kserve.io/stop says so")
    world.obj["metadata"]["annotations"] = {}
    world.react()
    world.ready("iris-predictor")
    assert world.state() == ("Ready", "")


def test_a_deployment_of_somebody_else_is_left_alone() -> None:
    world = of_format("pvc://m/x")
    world.found[kinds.DEPLOYMENT, "iris-predictor"] = {
        "metadata": {"name": "iris-predictor", "namespace": "ns", "uid": "x"},
        "spec": {},
    }
    world.react()
    assert "is somebody else's" in world.state()[1]
