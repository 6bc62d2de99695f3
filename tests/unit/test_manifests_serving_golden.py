"""The manifests of serving, rewritten only on purpose; tests/contract has both clusters take the same files."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import yaml

from jupyterlab_kf.controllers.seldon import validation
from jupyterlab_kf.manifests import monitors, pods, traffic
from jupyterlab_kf.manifests.serving import access, inference, seldon, servers
from jupyterlab_kf.manifests.serving.inference import Canary, InferenceSpec, Mode, ModelSource
from jupyterlab_kf.manifests.serving.servers import ServerSpec, Version
from jupyterlab_kf.model import Obj
from jupyterlab_kf.profiles import choose, read
from jupyterlab_kf.services.serving import monitors as services

GOLDEN = Path(__file__).parents[1] / "golden" / "manifests" / "serving"
CATALOGUE = """
profiles:
  - slug: serve
    display_name: Serving
    cpu: {request: 500m, limit: 2}
    memory: {request: 1Gi, limit: 2Gi}
    node_selector: {pool: serving}
"""
HARDWARE = choose(read(CATALOGUE).profiles[0])


def endpoint(name: str, *predictors: seldon.Predictor, **spec: object) -> list[Obj]:
    given = seldon.Spec(name=name, predictors=predictors, **spec)  # type: ignore[arg-type]
    made = seldon.SeldonDeployment(metadata={"name": name, "namespace": "team"}, spec=given)
    return [seldon.write(seldon.checked(made))]


def units(*names: str, **more: object) -> seldon.Component:
    containers = [{"name": name, "image": "jupyterlab-kf/python:3.11"} for name in names]
    return seldon.pods({"spec": {"containers": containers}}, **more)  # type: ignore[arg-type]


def graph() -> list[Obj]:
    tree = seldon.custom(
        "clean",
        "TRANSFORMER",
        seldon.custom(
            "bandit",
            "ROUTER",
            seldon.custom("small"),
            seldon.custom("mean", "COMBINER", seldon.custom("left"), seldon.custom("right")),
            values={"n_branches": 2, "epsilon": 0.1, "verbose": True},
        ),
    )
    names = [unit.name for unit in tree.walk()]
    cpu = {"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 70}}
    scale = seldon.Scale(least=1, most=3, metrics=(cpu,))
    component = units(*names, scale=scale)
    return endpoint("graph", seldon.predictor("v1", tree, [component]), annotations={"seldon.io/rest-timeout": "5000"})


def canary() -> list[Obj]:
    first, second = (
        seldon.predictor(name, seldon.custom(f"iris-{name}"), [units(f"iris-{name}")], traffic=share, replicas=2)
        for name, share in (("v1", 90), ("v2", 10))
    )
    shadow = seldon.predictor("v3", seldon.custom("iris-v3"), [units("iris-v3")], traffic=5, shadow=True)
    (made,) = endpoint("canary", first, second, shadow)
    return [traffic.with_patience(made, timeout=3, retries=2)]


def ready_made() -> list[Obj]:
    model = seldon.ready_made("classifier", "SKLEARN_SERVER", "gs://models/iris", env_secret="bucket")
    other = seldon.ready_made("other", "XGBOOST_SERVER", "pvc://models/iris")
    explainer = seldon.Explainer(type="AnchorTabular", model_uri="gs://models/iris/explainer")
    predictor = seldon.predictor("default", seldon.ab_test("ab", model, other, 0.7), explainer=explainer)
    return endpoint("ready-made", predictor, protocol="seldon")


def server(which: str, **more: object) -> list[Obj]:
    versions = (
        Version(name="v1", source="models/flowers", traffic=90, replicas=2, resources=pods.resources("1", "2Gi", None)),
        Version(name="v2", source="s3://bucket/flowers", traffic=10, hardware=HARDWARE, secret="bucket"),
    )
    spec = ServerSpec(
        name="flowers",
        namespace="team",
        server=servers.server(which),
        versions=versions,
        submission="1",
        **more,  # type: ignore[arg-type]
    )
    return servers.encode(spec)


def routed() -> list[Obj]:
    *rest, route = server("tensorflow")
    ruled = traffic.with_header_rule(route, "v2", {"x-tester": "yes"})
    patient = traffic.with_patience(ruled, timeout=5, retries=2)
    return [*rest, traffic.with_fault(traffic.with_mirror(patient, "v2", 10), delay=0.5, percent=1)]


def protected() -> list[Obj]:
    tokens = access.Tokens(
        issuer="https://login.example",
        jwks_uri="https://login.example/keys",
        audiences=("kf",),
        claims_to_headers={"sub": "x-user"},
    )
    asked = access.Access(
        name="canary",
        namespace="team",
        tokens=(tokens,),
        claims={"groups": ["research"]},
        methods=("POST", "GET"),
        addresses=("10.0.0.0/8",),
    )
    return [
        access.gateway(hosts=("models.example",), credential="models-cert"),
        *access.restrict(asked),
        access.rate_limit("canary", "team", requests=20, burst=40),
        access.rate_limit("flowers", "istio-system", requests=20, every="1m", route="flowers-http"),
    ]


def kserve(mode: Mode) -> list[Obj]:
    source = ModelSource(format="sklearn", uri="gs://models/iris", protocol="v2", hardware=HARDWARE)
    second = Canary(name="next", source=ModelSource(format="sklearn", uri="gs://models/next"), percent=10)
    spec = InferenceSpec(
        name="iris", namespace="team", source=source, mode=mode, canary=second, most=3, timeout=10, submission="1"
    )
    return [inference.encode(spec)]


def monitored() -> list[Obj]:
    """An endpoint that sends copies, and what watches it; the ConfigMaps of its code are as a training job's."""
    (made,) = endpoint("watched", seldon.predictor("v1", seldon.custom("watched-v1"), [units("watched-v1")]))
    made["metadata"]["uid"] = "00000000-0000-0000-0000-000000000001"
    _, template = services.parts(made, b"{}", "1", b"the program")
    others = [*(one for _, one in monitors.rights(made)), *monitors.objects(made, template)]
    del made["metadata"]["uid"]
    made["spec"]["predictors"] = monitors.logged(made["spec"]["predictors"], monitors.url(made), 0.2)
    return [made, *others]


CASES = {
    "seldon-graph": graph(),
    "seldon-canary": canary(),
    "seldon-ready-made": ready_made(),
    "tensorflow-serving": server("tensorflow"),
    "triton": server("triton", model="flowers-v1"),
    "routes": routed(),
    "access": protected(),
    "kserve-standard": kserve(Mode.STANDARD),
    "kserve-knative": kserve(Mode.KNATIVE),
    "seldon-monitored": monitored(),
}


@pytest.mark.parametrize("case", CASES)
def test_golden(case: str) -> None:
    path = GOLDEN / f"{case}.yaml"
    if os.environ.get("KF_UPDATE_GOLDEN") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        apart = json.loads(json.dumps(CASES[case]))  # parts that objects share would be written as aliases
        path.write_text(yaml.safe_dump_all(apart, sort_keys=False, width=120))
    assert list(yaml.load_all(path.read_text(), yaml.CSafeLoader)) == CASES[case]


@pytest.mark.parametrize("case", [name for name in CASES if name.startswith("seldon")])
def test_a_golden_deployment_is_one_that_seldon_takes(case: str) -> None:
    for obj in (one for one in CASES[case] if one["kind"] == "SeldonDeployment"):
        assert validation.refused(obj) == []
        assert seldon.write(seldon.read(obj)) == obj
