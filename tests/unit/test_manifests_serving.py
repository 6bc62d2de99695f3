"""Endpoints as manifests: nothing of a SeldonDeployment is lost, and what would not serve is refused."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jupyterlab_kf.controllers import sleep
from jupyterlab_kf.controllers.seldon import names
from jupyterlab_kf.errors import ManifestError, UsageError
from jupyterlab_kf.manifests.serving import access, inference, seldon, servers, shapes, status
from jupyterlab_kf.manifests.serving.inference import Canary, InferenceSpec, Mode, ModelSource
from jupyterlab_kf.manifests.serving.servers import ServerSpec, Version
from jupyterlab_kf.model import Obj, Phase
from jupyterlab_kf.services.serving import states

FULL = """
apiVersion: machinelearning.seldon.io/v1
kind: SeldonDeployment
metadata: {name: all, namespace: team, labels: {a: b}, annotations: {c: d}, resourceVersion: "7"}
spec:
  name: old-name
  annotations: {seldon.io/rest-timeout: "10000"}
  oauth_key: key
  oauth_secret: secret
  protocol: seldon
  transport: rest
  serverType: rpc
  replicas: 0
  predictors:
  - name: main
    annotations: {seldon.io/no-engine: "false"}
    labels: {version: main}
    replicas: 0
    traffic: 100
    progressDeadlineSeconds: 300
    ssl: {certSecretName: cert}
    engineResources: {limits: {cpu: "1"}}
    svcOrchSpec:
      replicas: 2
      resources: {requests: {memory: 1Gi}}
      env: [{name: SELDON_ENABLE_ROUTING_INJECTION, value: "true"}]
    explainer:
      type: AnchorTabular
      modelUri: gs://explainer
      serviceAccountName: reader
      containerSpec: {name: explainer, image: "me/explainer:1"}
      config: {threshold: "0.9"}
      endpoint: {type: REST, service_host: h, service_port: 1, httpPort: 2, grpcPort: 3}
      envSecretRefName: creds
      storageInitializerImage: "me/init:1"
      replicas: 0
      initParameters: "{}"
    graph:
      name: clean
      type: TRANSFORMER
      methods: [TRANSFORM_INPUT, SEND_FEEDBACK]
      logger: {url: "http://log", mode: all}
      children:
      - name: ab
        implementation: RANDOM_ABTEST
        parameters: [{name: ratioA, value: "0.3", type: FLOAT}]
        children:
        - name: left
          implementation: SKLEARN_SERVER
          modelUri: gs://left
          serviceAccountName: reader
          envSecretRefName: creds
          storageInitializerImage: "me/init:1"
          endpoint: {type: REST, service_host: localhost, service_port: 9000, httpPort: 9000, grpcPort: 9500}
        - name: right
          type: MODEL
    componentSpecs:
    - metadata: {name: pods, labels: {x: "y"}}
      replicas: 0
      spec:
        containers: [{name: clean, image: "me/clean:1"}, {name: right, image: "me/right:1"}]
      hpaSpec:
        minReplicas: 0
        maxReplicas: 3
        metrics: [{type: Resource, resource: {name: cpu, targetAverageUtilization: 70}}]
        metricsv2: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}}]
      pdbSpec: {minAvailable: 50%}
    - spec: {containers: [{name: extra, image: "me/extra:1"}]}
      kedaSpec:
        pollingInterval: 15
        cooldownPeriod: 30
        minReplicaCount: 0
        maxReplicaCount: 5
        idleReplicaCount: 0
        fallback: {failureThreshold: 3, replicas: 2}
        advanced: {restoreToOriginalReplicaCount: true}
        triggers: [{type: prometheus, metadata: {query: up}}]
      pdbSpec: {maxUnavailable: 0}
  - {name: twin, shadow: true, traffic: 10, graph: {name: right, type: MODEL}}
status: {state: Creating, description: waits}
"""


def test_every_field_survives_reading_and_writing() -> None:
    text = seldon.to_yaml(seldon.from_yaml(FULL))
    assert yaml.safe_load(text) == yaml.safe_load(FULL)


def test_every_attribute_is_in_that_example() -> None:
    """Otherwise the test above would say less than it claims."""
    seen: dict[type, set[str]] = {}

    def look(value: Any) -> None:
        if isinstance(value, tuple):
            for item in value:
                look(item)
        if not isinstance(value, tuple) and hasattr(type(value), "__dataclass_fields__"):
            for one in fields(value):
                held = getattr(value, one.name)
                if held not in (None, "", (), {}, 0, False) or (held == 0 and held is not False):
                    seen.setdefault(type(value), set()).add(one.name)
                look(held)

    look(seldon.from_yaml(FULL))
    for cls in seldon.MODEL:
        assert seen[cls] == {one.name for one in fields(cls)}, cls


def test_older_versions_are_read_as_the_present_one() -> None:
    old = FULL.replace("seldon.io/v1\n", "seldon.io/v1alpha2\n", 1)
    assert seldon.write(seldon.from_yaml(old))["apiVersion"] == "machinelearning.seldon.io/v1"


@pytest.mark.parametrize(
    ("wrong", "message", "hint"),
    [
        (("traffic: 100", "trafic: 100"), "SeldonDeployment team/all: spec.predictors[0].trafic", "'traffic'"),
        (("modelUri: gs://left", "modelURI: gs://left"), "graph.children[0].children[0].modelURI", "'modelUri'"),
        (("hpaSpec:", "hpaspec:"), "componentSpecs[0].hpaspec does not exist", "'hpaSpec'"),
        (("traffic: 100", "traffic: most"), "spec.predictors[0].traffic is 'most'; it must be a whole number", ""),
        (("shadow: true", "shadow: 1"), "spec.predictors[1].shadow is 1; it must be true or false", ""),
        (("name: clean\n      type", "type"), "spec.predictors[0].graph.name is missing", ""),
        (("machinelearning.seldon.io/v1", "serving.kserve.io/v1"), "is no SeldonDeployment", "v1alpha2"),
    ],
)
def test_what_seldon_does_not_know_is_refused_by_name(wrong: tuple[str, str], message: str, hint: str) -> None:
    with pytest.raises(ManifestError) as caught:
        seldon.from_yaml(FULL.replace(*wrong, 1))
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_text_that_is_no_manifest_is_refused() -> None:
    for text in ("", "- a", "a: b\n---\nc: d", "{", "a: [b"):
        with pytest.raises(ManifestError):
            seldon.from_yaml(text)


# Any SeldonDeployment

words = st.text("abcdefghij-xyz0123456789", min_size=1, max_size=12)
texts = st.text(max_size=8)
maps = st.dictionaries(words, texts, max_size=3)


def made(cls: type, depth: int = 2) -> st.SearchStrategy[Any]:
    """Any value of one of the classes."""
    found: dict[str, st.SearchStrategy[Any]] = {}
    for name, rule in shapes.described(cls).items():
        inner = rule.of() if rule.of else None
        if inner is not None and (depth > 0 or rule.required):
            values = made(inner, depth - 1)
            found[name] = st.lists(values, max_size=1).map(tuple) if rule.what == "a list" else values
            if rule.what != "a list" and not rule.required:
                found[name] |= st.none()
        elif inner is None:
            found[name] = {
                "text": words if rule.required else texts,
                "a whole number": st.integers(0, 100) | (st.none() if rule.pointer else st.nothing()),
                "a whole number or text": st.none() | st.integers(0, 9) | words,
                "true or false": st.booleans(),
                "a map": maps,
                "a list": st.lists(words, max_size=2).map(tuple),
            }[rule.what]
    return st.builds(cls, **found)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(made(seldon.SeldonDeployment, 3))
def test_any_deployment_is_the_same_after_writing_and_reading(value: seldon.SeldonDeployment) -> None:
    assert seldon.read(seldon.write(value)) == value
    assert seldon.from_yaml(seldon.to_yaml(value)) == value


# Making one


def endpoint(*predictors: seldon.Predictor, **spec: Any) -> seldon.SeldonDeployment:
    given = seldon.Spec(predictors=predictors, **spec)
    return seldon.SeldonDeployment(metadata={"name": "iris", "namespace": "team"}, spec=given)


def unit_pods(*names: str) -> seldon.Component:
    return seldon.pods({"spec": {"containers": [{"name": name, "image": "me/unit:1"} for name in names]}})


def test_a_graph_of_any_depth_is_made_of_small_parts() -> None:
    leaves = [seldon.custom(f"m{number}") for number in range(4)]
    graph = seldon.custom(
        "clean",
        "TRANSFORMER",
        seldon.ab_test("ab", seldon.custom("mean", "COMBINER", *leaves[:3]), leaves[3], share=0.9),
    )
    names = [unit.name for unit in graph.walk() if unit.implementation != "RANDOM_ABTEST"]
    made = seldon.checked(endpoint(seldon.predictor("v1", graph, [unit_pods(*names)])))
    obj = seldon.write(made)
    (predictor,) = obj["spec"]["predictors"]
    assert predictor["svcOrchSpec"]["env"] == [{"name": "SELDON_ENABLE_ROUTING_INJECTION", "value": "true"}]
    for container in predictor["componentSpecs"][0]["spec"]["containers"]:
        assert container["env"][0]["valueFrom"]["fieldRef"]["fieldPath"] == "status.podIP"
    assert predictor["graph"]["children"][0]["parameters"] == [{"name": "ratioA", "value": "0.9", "type": "FLOAT"}]
    assert graph.find("m3") == leaves[3]
    other = graph.with_unit(seldon.custom("m3", values={"depth": 3}))
    assert [one.value for one in other.find("m3").parameters] == ["3"]  # type: ignore[union-attr]


def test_what_seldon_would_refuse_is_refused_before_anything_is_created() -> None:
    one, two = (seldon.predictor(name, seldon.custom("m"), [unit_pods("m")], traffic=60) for name in ("a", "b"))
    with pytest.raises(ManifestError, match="Traffic must sum to 100"):
        seldon.checked(endpoint(one, two))
    with pytest.raises(ManifestError, match="Can't find container"):
        seldon.checked(endpoint(seldon.predictor("a", seldon.custom("m"))))
    with pytest.raises(ManifestError, match="it speaks v2"):
        seldon.checked(endpoint(seldon.predictor("a", seldon.ready_made("m", "TRITON_SERVER", "gs://m"))))


def test_requests_that_mean_nothing_are_refused_with_what_there_is() -> None:
    for call, words_ in (
        (lambda: seldon.custom("m", "MODELL"), "did you mean 'MODEL'"),
        (lambda: seldon.ready_made("m", "SKLERN_SERVER", "x"), "SKLEARN_SERVER"),
        (lambda: seldon.ready_made("m", "SKLEARN_SERVER"), "where it is"),
        (lambda: seldon.ab_test("ab", seldon.custom("a"), seldon.custom("b"), 50), "from 0 to 1"),
        (lambda: seldon.parameters({"a": [1]}), "JSON text"),  # type: ignore[dict-item]
        (lambda: endpoint(seldon.predictor("v1", seldon.custom("m"))).predictor("v2"), "there are v1"),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert words_ in str(caught.value)


def test_predictors_are_put_in_and_taken_out() -> None:
    one = endpoint(seldon.predictor("v1", seldon.custom("m")))
    two = one.with_predictor(seldon.predictor("v2", seldon.custom("m"), traffic=10))
    changed = two.with_predictor(seldon.predictor("v1", seldon.custom("other")))
    assert [p.name for p in two.spec.predictors] == ["v1", "v2"]
    assert changed.predictor("v1").graph.name == "other"
    assert two.without_predictor("v2") == one


# TensorFlow Serving and Triton


def server(which: str = "tensorflow", **more: Any) -> ServerSpec:
    versions = (
        Version(name="v1", source="models/flowers", traffic=90),
        Version(name="v2", source="s3://b/m", traffic=10),
    )
    given = {"name": "flowers", "namespace": "team", "versions": versions, **more}
    return ServerSpec(server=servers.server(which), **given)


def test_a_server_is_deployments_a_service_and_routes_of_its_own() -> None:
    made = servers.encode(server())
    assert [one["kind"] for one in made] == ["Service", "Deployment", "Deployment", "DestinationRule", "VirtualService"]
    service, first, second, rule, route = made
    container = first["spec"]["template"]["spec"]["containers"][0]
    assert "--model_base_path=/models/flowers" in container["args"]
    assert "--model_base_path=s3://b/m" in second["spec"]["template"]["spec"]["containers"][0]["args"]
    assert container["volumeMounts"][0]["readOnly"] is True
    assert "volumes" not in second["spec"]["template"]["spec"]
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == {"http": 8501, "grpc": 8500}
    assert [one["name"] for one in rule["spec"]["subsets"]] == ["v1", "v2"]
    grpc, http = route["spec"]["http"]
    assert http["match"] == [{"uri": {"prefix": "/serving/team/flowers/"}}]
    assert [one["weight"] for one in http["route"]] == [90, 10]
    assert grpc["match"][0]["headers"] == {"endpoint": {"exact": "flowers"}, "namespace": {"exact": "team"}}


def test_without_a_gateway_there_is_no_route() -> None:
    assert [one["kind"] for one in servers.encode(server(gateway=""))][-1] == "DestinationRule"


def test_triton_is_asked_by_its_own_paths_and_ports() -> None:
    container = servers.encode(server("triton"))[1]["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["tritonserver"]
    assert "--model-repository=/models/flowers" in container["args"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": "http"}


@pytest.mark.parametrize(
    ("more", "words_"),
    [
        ({"versions": ()}, "has no version"),
        ({"versions": (Version(name="v1", source="c/m", traffic=90),)}, "they must sum to 100"),
        ({"versions": (Version(name="v1", source="c/m"), Version(name="v1", source="c/m", traffic=0))}, "two versions"),
        ({"versions": (Version(name="v1", source="c/../m"),)}, "is no place of a model"),
        ({"versions": (Version(name="V1", source="c/m"),)}, "not one that Kubernetes accepts"),
        ({"name": "Flowers"}, "not one that Kubernetes accepts"),
    ],
)
def test_a_server_that_means_nothing_is_refused(more: dict[str, Any], words_: str) -> None:
    with pytest.raises(UsageError) as caught:
        servers.encode(server(**more))
    assert words_ in str(caught.value)


# InferenceServices

SKLEARN = ModelSource(format="sklearn", uri="gs://models/iris")


def inference_spec(**more: Any) -> InferenceSpec:
    return InferenceSpec(name="iris", namespace="team", **{"source": SKLEARN, **more})


def test_a_canary_is_written_where_its_mode_looks() -> None:
    canary = Canary(name="next", source=ModelSource(format="sklearn", uri="gs://models/next"), percent=10)
    plain = inference.encode(inference_spec(canary=canary))
    assert plain["spec"]["predictor"]["model"]["storageUri"] == "gs://models/iris"
    assert plain["spec"]["canary"][0]["trafficPercent"] == 10
    assert plain["metadata"]["annotations"][inference.ANNOTATION_MODE] == "Standard"
    knative = inference.encode(inference_spec(canary=canary, mode=Mode.KNATIVE))
    assert knative["spec"]["predictor"]["canaryTrafficPercent"] == 10
    assert knative["spec"]["predictor"]["model"]["storageUri"] == "gs://models/next"
    assert "canary" not in knative["spec"]
    for obj in (plain, knative):
        assert inference.unheard(obj) is None
        assert status.decode(obj).message == ""


def test_a_share_that_kserve_ignores_is_told_not_written() -> None:
    obj = inference.encode(inference_spec())
    obj["spec"]["predictor"]["canaryTrafficPercent"] = 10
    assert "is ignored in the mode Standard" in status.decode(obj).message
    with pytest.raises(ManifestError, match="is ignored"):
        inference.with_percent(obj, 20)
    obj["metadata"]["annotations"][inference.ANNOTATION_MODE] = "RawDeployment"
    assert "is ignored" in str(inference.unheard(obj))


def test_a_canary_is_moved_and_promoted() -> None:
    canary = Canary(name="next", source=ModelSource(format="sklearn", uri="gs://models/next"), percent=10)
    for mode in Mode:
        obj = inference.with_percent(inference.encode(inference_spec(canary=canary, mode=mode)), 50)
        assert "50" in yaml.safe_dump(obj["spec"])
        after = inference.promoted(obj)
        assert after["spec"]["predictor"]["model"]["storageUri"] == "gs://models/next"
        assert "canary" not in after["spec"]
        assert "canaryTrafficPercent" not in after["spec"]["predictor"]


@pytest.mark.parametrize(
    ("more", "words_"),
    [
        ({"source": ModelSource(format="sklearn")}, "where the model is"),
        ({"source": ModelSource()}, "a model's format or a container"),
        ({"least": 0}, "do not scale to nothing"),
        ({"scale_metric": "rps"}, "counted by Knative only"),
        ({"least": 3, "most": 2}, "less than least"),
        ({"canary": Canary(name="n", source=SKLEARN, percent=101)}, "from 0 to 100"),
        ({"canary": Canary(name="n", source=SKLEARN, percent=10, replicas=2)}, "as many at most"),
    ],
)
def test_what_kserve_would_refuse_or_not_do_is_refused(more: dict[str, Any], words_: str) -> None:
    with pytest.raises(UsageError) as caught:
        inference.encode(inference_spec(**more))
    assert words_ in str(caught.value)


# Access


def test_tokens_are_demanded_over_http_and_grpc_alike() -> None:
    issuer = access.Tokens(issuer="https://login.example", jwks_uri="https://login.example/keys", audiences=("kf",))
    authentication, policy = access.restrict(access.Access(name="iris", namespace="team", tokens=(issuer,)))
    assert authentication["spec"]["jwtRules"][0]["jwksUri"] == "https://login.example/keys"
    assert policy["spec"]["action"] == "DENY", "an ALLOW at a gateway shuts out everybody else's endpoints"
    by_path, by_header = policy["spec"]["rules"]
    assert by_path["to"] == [{"operation": {"paths": ["/seldon/team/iris", "/seldon/team/iris/*"]}}]
    assert {one["key"]: one["values"] for one in by_header["when"]} == {
        "request.headers[seldon]": ["iris"],
        "request.headers[namespace]": ["team"],
    }
    for rule in (by_path, by_header):
        assert rule["from"] == [{"source": {"notRequestPrincipals": ["https://login.example/*"]}}]


def test_claims_methods_and_addresses_narrow_it() -> None:
    issuer = access.Tokens(issuer="me", jwks='{"keys": []}')
    asked = access.Access(
        name="iris",
        namespace="team",
        tokens=(issuer,),
        claims={"groups": ["research"]},
        methods=("POST",),
        addresses=("10.0.0.0/8",),
    )
    text = yaml.safe_dump(access.restrict(asked)[1])
    for words_ in ("request.auth.claims[groups]", "notMethods", "notRemoteIpBlocks", "notValues"):
        assert text.count(words_) == 2, "once by path, once for gRPC"


@pytest.mark.parametrize(
    ("asked", "words_"),
    [
        (access.Access(name="a", namespace="b"), "nothing restricts"),
        (access.Access(name="a", namespace="b", methods=("FETCH",)), "not an HTTP method"),
        (access.Access(name="a", namespace="b", claims={"x": ["y"]}), "say whose tokens count"),
        (access.Access(name="a", namespace="b", tokens=(access.Tokens(issuer=""),)), "need an issuer"),
        (access.Access(name="a", namespace="b", tokens=(access.Tokens(issuer="i", jwks="x"),)), "not JSON"),
        (
            access.Access(name="a", namespace="b", tokens=(access.Tokens(issuer="i", jwks='{"keys": [{"d": "s"}]}'),)),
            "private keys",
        ),
    ],
)
def test_rules_that_protect_nothing_are_refused(asked: access.Access, words_: str) -> None:
    with pytest.raises(UsageError) as caught:
        access.restrict(asked)
    assert words_ in str(caught.value)


def test_a_gateway_with_a_certificate_leads_plain_requests_to_it() -> None:
    plain, secure = access.gateway(credential="cert")["spec"]["servers"]
    assert plain["tls"] == {"httpsRedirect": True}
    assert secure["port"]["number"] == 443
    assert secure["tls"] == {"mode": "SIMPLE", "credentialName": "cert"}
    with pytest.raises(UsageError, match="certificate of the gateway"):
        access.gateway(client_certificates=True)


def test_a_limit_holds_for_pods_or_for_one_route() -> None:
    pods_ = access.rate_limit("iris", "team", requests=5)
    assert pods_["spec"]["workloadSelector"]["labels"] == {"seldon-deployment-id": "iris"}
    assert pods_["spec"]["configPatches"][0]["match"]["context"] == "SIDECAR_INBOUND"
    route = access.rate_limit("iris", "istio-system", requests=5, every="1m", burst=20, route="iris-http")
    value = route["spec"]["configPatches"][1]["patch"]["value"]["typed_per_filter_config"]
    (config,) = value.values()
    assert config["token_bucket"] == {"max_tokens": 20, "tokens_per_fill": 5, "fill_interval": "1m"}
    for wrong in ({"requests": 0}, {"requests": 1, "every": "soon"}):
        with pytest.raises(UsageError):
            access.rate_limit("iris", "team", **wrong)  # type: ignore[arg-type]


# How an endpoint is


def sdep(**status_: Any) -> Obj:
    predictors = [
        {"name": "v1", "graph": {"name": "m"}, "traffic": 90, "replicas": 2},
        {"name": "v1-b", "graph": {"name": "m"}, "traffic": 10},
        {"name": "twin", "graph": {"name": "m"}, "shadow": True},
    ]
    return {
        "kind": "SeldonDeployment",
        "metadata": {"name": "iris", "namespace": "team"},
        "spec": {"predictors": predictors},
        "status": status_,
    }


def test_a_seldon_deployment_tells_how_its_versions_are() -> None:
    made_ = {
        "iris-v1-0-m": {"replicas": 2, "availableReplicas": 1},
        "iris-v1-b-0-m": {"replicas": 1, "availableReplicas": 1},
        "iris-v1-explainer": {"replicas": 1, "explainerFor": "iris-v1"},
    }
    found = status.decode(sdep(state="Creating", deploymentStatus=made_, description="waits for v1"))
    assert found.phase == Phase.PENDING
    assert not found.ready
    assert found.path == "/seldon/team/iris/api/v1.0/predictions"
    assert found.message == "waits for v1"
    assert [(one.name, one.traffic, one.ready, one.wanted) for one in found.predictors] == [
        ("v1", 90, 1, 2),
        ("v1-b", 10, 1, 1),
        ("twin", 100, 0, 1),
    ]
    assert status.decode(sdep()).phase == Phase.UNKNOWN


def test_a_version_whose_deployments_name_was_too_long_is_known_by_it() -> None:
    units = [{"name": f"iris-v1-a-unit-with-a-long-name-{n}"} for n in range(3)]
    version = {"name": "v1", "graph": {"name": units[0]["name"]}, "componentSpecs": [{"spec": {"containers": units}}]}
    obj = {**sdep(state="Available"), "spec": {"predictors": [version]}}
    (shortened,) = (one for one in names.deployments(obj, version) if one.startswith("seldon-"))
    obj["status"]["deploymentStatus"] = {shortened: {"replicas": 1, "availableReplicas": 1}}
    assert [one.ready for one in status.decode(obj).predictors] == [1]
    obj["status"]["description"] = f"{shortened}: {sleep.ASLEEP}"
    assert states.sleeps(obj, "v1")
    assert not states.sleeps(obj, "v2")


def test_pods_count_for_more_than_what_was_last_written() -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    marks = {"seldon-deployment-id": "iris", "version": "v1"}
    pods_ = [{"metadata": {"labels": marks}, "status": ready}] * 2
    pods_.append({"metadata": {"labels": {**marks, "version": "v1-b"}, "deletionTimestamp": "now"}, "status": ready})
    found = status.decode(sdep(state="Available"), pods_)
    assert [one.ready for one in found.predictors] == [2, 0, 0]
    assert found.phase == Phase.RUNNING
    assert not found.ready, "a version that is to answer does not"


def test_a_server_is_as_its_deployments_are() -> None:
    made_ = servers.encode(server())
    deployments = [one for one in made_ if one["kind"] == "Deployment"]
    found = status.decode_server(deployments, made_[-1], protocol="tensorflow")
    assert found.phase == Phase.PENDING
    assert found.path == "/serving/team/flowers/v1/models/flowers:predict"
    assert [one.traffic for one in found.predictors] == [90, 10]
    for one in deployments:
        one["status"] = {"availableReplicas": 1, "replicas": 1}
    assert status.decode_server(deployments, made_[-1], protocol="tensorflow").ready
    deployments[1]["status"] = {
        "conditions": [
            {"type": "Progressing", "status": "False", "message": "too slow", "reason": "ProgressDeadlineExceeded"}
        ]
    }
    late = status.decode_server(deployments, made_[-1], protocol="tensorflow")
    assert (late.phase, late.message) == (Phase.FAILED, "too slow")


def test_an_inference_service_tells_why_its_model_does_not_load() -> None:
    obj = inference.encode(inference_spec())
    assert status.decode(obj).phase == Phase.UNKNOWN
    obj["status"] = {
        "conditions": [{"type": "Ready", "status": "False", "message": "not yet"}],
        "modelStatus": {"transitionStatus": "BlockedByFailedLoad", "lastFailureInfo": {"message": "no such bucket"}},
    }
    found = status.decode(obj)
    assert (found.phase, found.message) == (Phase.FAILED, "no such bucket")
    obj["status"] = {"url": "http://iris.team.example", "conditions": [{"type": "Ready", "status": "True"}]}
    found = status.decode(obj)
    assert found.ready
    assert found.path == "/v1/models/iris:predict"


def test_revisions_of_knative_share_the_requests() -> None:
    obj = inference.encode(inference_spec(mode=Mode.KNATIVE))
    targets = [{"revisionName": "iris-2", "percent": 20}, {"revisionName": "iris-1", "percent": 80}]
    obj["status"] = {"components": {"predictor": {"traffic": targets}}}
    assert [(one.name, one.traffic) for one in status.decode(obj).predictors] == [("iris-2", 20), ("iris-1", 80)]
