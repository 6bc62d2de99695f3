"""Serving's kinds as the API server of the embedded cluster has them, in process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from registries import begun

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import discovery, tables, validation
from jupyterlab_kf.embedded.registry import Registry
from jupyterlab_kf.errors import InvalidError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

NOW = 1_800_000_000.0


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    store = begun(tmp_path)
    yield Registry(store, clock=lambda: NOW)
    store.close()


def obj(kind: Kind, name: str, **spec: Any) -> Obj:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def sdep(name: str = "iris", **spec: Any) -> Obj:
    graph = {"name": "model", "implementation": "SKLEARN_SERVER", "modelUri": "gs://models/iris"}
    return obj(kinds.SELDON_DEPLOYMENT, name, predictors=[{"name": "default", "graph": graph}], **spec)


def autoscaler(**spec: Any) -> Obj:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "iris"}
    return obj(kinds.HORIZONTAL_POD_AUTOSCALER, "iris", **{"scaleTargetRef": target, "maxReplicas": 3, **spec})


def test_every_version_that_the_real_definitions_serve_is_found(registry: Registry) -> None:
    groups = registry.resources.groups
    assert groups["machinelearning.seldon.io"] == ["v1", "v1alpha3", "v1alpha2"]
    assert groups["networking.istio.io"] == ["v1", "v1beta1", "v1alpha3"]
    assert groups["security.istio.io"] == ["v1", "v1beta1"]
    assert groups["serving.kserve.io"] == ["v1beta1"]
    listed = discovery.api_resources(registry.resources, "machinelearning.seldon.io", "v1")
    assert listed is not None
    names = [one["name"] for one in listed["resources"]]
    assert names == ["seldondeployments", "seldondeployments/scale", "seldondeployments/status"]
    assert listed["resources"][0]["shortNames"] == ["sdep"]


def test_a_null_where_there_can_be_none_is_forgotten(registry: Registry) -> None:
    """Seldon's own tools write ``componentSpecs: null``."""
    sent = sdep(annotations=None)
    sent["spec"]["predictors"][0] |= {"componentSpecs": None, "labels": {"version": None}}
    made = registry.create(kinds.SELDON_DEPLOYMENT, sent)
    assert "annotations" not in made["spec"]
    assert made["spec"]["predictors"][0]["labels"] == {}
    assert "componentSpecs" not in made["spec"]["predictors"][0]


def test_an_object_of_an_older_version_is_the_same_object(registry: Registry) -> None:
    old = kinds.of("machinelearning.seldon.io/v1alpha2", "SeldonDeployment")
    registry.create(old, {**sdep(), "apiVersion": old.api_version})
    found = registry.get(kinds.SELDON_DEPLOYMENT, "default", "iris")
    assert found["apiVersion"] == "machinelearning.seldon.io/v1"


def test_a_seldon_deployment_is_scaled_where_its_definition_says(registry: Registry) -> None:
    registry.create(kinds.SELDON_DEPLOYMENT, sdep(replicas=2))
    assert registry.scale(kinds.SELDON_DEPLOYMENT, "default", "iris")["spec"]["replicas"] == 2


def test_tables_have_the_columns_of_the_real_definitions() -> None:
    def names(kind: Kind) -> list[str]:
        return [column["name"] for column in tables.columns(kind)]

    assert names(kinds.VIRTUAL_SERVICE) == ["Name", "Gateways", "Hosts", "Age"]
    assert names(kinds.DESTINATION_RULE) == ["Name", "Host", "Age"]
    assert names(kinds.AUTHORIZATION_POLICY) == ["Name", "Action", "Age"]
    assert names(kinds.SELDON_DEPLOYMENT) == ["Name", "Age"]
    assert names(kinds.INFERENCE_SERVICE)[:3] == ["Name", "URL", "Ready"]


def test_an_inference_service_shows_how_its_traffic_is_divided() -> None:
    traffic = [
        {"latestRevision": True, "percent": 10, "revisionName": "iris-00002"},
        {"tag": "prev", "percent": 90, "revisionName": "iris-00001"},
    ]
    status = {
        "url": "http://iris.example",
        "conditions": [{"type": "Ready", "status": "True"}],
        "components": {"predictor": {"traffic": traffic}},
    }
    shown = tables.row(kinds.INFERENCE_SERVICE, {**obj(kinds.INFERENCE_SERVICE, "iris"), "status": status}, NOW)
    assert shown[:7] == ["iris", "http://iris.example", "True", "90", "10", "iris-00001", "iris-00002"]


def test_an_autoscaler_gets_the_defaults_of_a_real_server(registry: Registry) -> None:
    made = registry.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler(behavior={"scaleUp": {"selectPolicy": "Min"}}))
    assert made["spec"]["minReplicas"] == 1
    assert made["spec"]["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 80}
    assert made["spec"]["behavior"]["scaleUp"]["selectPolicy"] == "Min"
    assert made["spec"]["behavior"]["scaleDown"]["policies"][0]["value"] == 100


def test_an_autoscalers_row_says_target_and_limits(registry: Registry) -> None:
    made = registry.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler())
    assert tables.row(kinds.HORIZONTAL_POD_AUTOSCALER, made, NOW) == [
        "iris",
        "Deployment/iris",
        "cpu: <unknown>/80%",
        "1",
        3,
        0,
        "0s",
    ]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"maxReplicas": 0}, "spec.maxReplicas: Required value: must be set and greater than 0"),
        ({"maxReplicas": 2, "minReplicas": 3}, "must be greater than or equal to `minReplicas`"),
        ({"scaleTargetRef": {"kind": "Deployment", "name": ""}}, "spec.scaleTargetRef.name: Required value"),
    ],
)
def test_an_autoscaler_that_means_nothing_is_refused(registry: Registry, spec: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidError, match=words.replace(".", r"\.")):
        registry.create(kinds.HORIZONTAL_POD_AUTOSCALER, autoscaler(**spec))


def test_a_budget_has_one_limit_and_shows_it(registry: Registry) -> None:
    chosen = {"selector": {"matchLabels": {"app": "iris"}}}
    kind = kinds.POD_DISRUPTION_BUDGET
    made = registry.create(kind, obj(kind, "iris", maxUnavailable="50%", **chosen))
    assert made["metadata"]["generation"] == 1
    assert tables.row(kind, made, NOW) == ["iris", "N/A", "50%", 0, "0s"]
    with pytest.raises(InvalidError, match="cannot be both set"):
        registry.create(kind, obj(kind, "both", maxUnavailable=1, minAvailable=1, **chosen))
    with pytest.raises(InvalidError, match="not be greater than 100%"):
        registry.create(kind, obj(kind, "much", maxUnavailable="101%", **chosen))


RECORDED = json.loads((Path(__file__).parents[1] / "golden" / "apimachinery" / "serving-refusals.json").read_text())


@pytest.mark.parametrize("record", RECORDED, ids=lambda record: record["object"]["kind"])
def test_what_a_real_server_says_with_the_real_definitions_is_said(record: dict[str, Any]) -> None:
    """Recorded from kube-apiserver 1.36.3 with Istio's and Seldon's definitions, and without their webhooks."""
    sent = {**record["object"], "metadata": {"name": "probe", "namespace": "default"}}
    kind = kinds.of(sent["apiVersion"], sent["kind"])
    unknown = validation.unknown_fields(kind, sent)
    if record["code"] == 400:
        assert f"strict decoding error: {', '.join(unknown)}" in record["message"]
        return
    assert unknown == []
    found = {f"{cause.field}: {cause.message}" for cause in validation.validate(kind, sent)}
    told = record["message"].partition(" is invalid: ")[2].removeprefix("[").removesuffix("]")
    left = told
    for text in found:
        assert text in told
        left = left.replace(text, "", 1)
    assert left.strip(", ") == "", "everything that the real server says is said"
