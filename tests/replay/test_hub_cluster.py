"""What a hub on a cluster is given: the chart's values by the chart's own schema, and people's namespaces."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from jupyterlab_kf_hub import config, spaces
from jupyterlab_kf_hub.spaces import Space
from kubespawner import KubeSpawner
from traitlets.config import Config

from jupyterlab_kf.services.roles import ROLES

ROOT = Path(__file__).parents[2]
HUB = ROOT / "hub_config"
VALUES = yaml.safe_load((HUB / "z2jh-values.yaml").read_text())
ACCOUNT = "system:serviceaccount:jupyterhub:hub"
ANN = Space("kf-ann", "ann", ACCOUNT, admit=("jupyterhub", "istio-system"))


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((HUB / "cluster" / name).read_text()))


def test_the_values_fit_the_charts_schema() -> None:
    # What is required, the chart's own values have. A name that the chart does not know is a fault.
    text = (ROOT / "tests" / "golden" / "z2jh" / "values.schema.json").read_text()
    check = Draft202012Validator(_nothing_required(json.loads(text)))
    assert [error.message for error in check.iter_errors(VALUES)] == []
    wrong = {**VALUES, "singleuser": {**VALUES["singleuser"], "cloudMetadata": {"block": False}}}
    assert list(check.iter_errors(wrong))


def _nothing_required(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a part of the values."""
    inner = {name: _nothing_required(one) for name, one in schema.get("properties", {}).items()}
    rest = {key: value for key, value in schema.items() if key not in ("required", "properties")}
    return {**rest, "properties": inner} if inner else rest


def test_the_charts_configuration_becomes_ours() -> None:
    c = Config()
    c.JupyterHub.hub_connect_url = "http://hub:8081"  # as the chart sets it
    c.KubeSpawner.mem_guarantee = "1G"
    c.KubeSpawner.image = "registry.example/lab:1"
    c.KubeSpawner.environment = {"PROXY": "http://proxy"}
    code = VALUES["hub"]["extraConfig"]["10-jupyterlab-kf"].replace("configure(c)", "")
    exec(compile(code, "extra", "exec"), {"c": c})
    config.servers(c)
    config.in_cluster(c, "jupyterhub")
    assert c.JupyterHub.hub_connect_url == "http://hub.jupyterhub:8081"
    assert "mem_guarantee" not in c.KubeSpawner
    assert c.KubeSpawner.image == "registry.example/lab:1"
    assert {"PROXY", "KF_NAMESPACE"} <= set(c.KubeSpawner.environment)
    assert c.KubeSpawner.service_account == "notebook"
    assert c.KubeSpawner.enable_user_namespaces is True


def test_the_hub_may_give_exactly_the_roles_that_it_gives() -> None:
    everywhere, inside = documents("hub.yaml")
    (bind,) = [rule for rule in everywhere["rules"] if "bind" in rule["verbs"]]
    assert set(bind["resourceNames"]) == {*spaces.USER_ROLES, spaces.HUB_ROLE} == {*ROLES, inside["metadata"]["name"]}
    (binding,) = documents("binding.yaml")
    assert binding["subjects"] == [spaces.hub_binding(ANN)["subjects"][0]]
    policy, _ = documents("boundary.yaml")
    assert ACCOUNT in policy["spec"]["matchConditions"][0]["expression"]
    assert f'"{spaces.MANAGER}"' in policy["spec"]["validations"][0]["expression"]


def test_a_namespace_lets_in_its_own_pods_the_hub_and_the_gateway() -> None:
    rules = {one["metadata"]["name"]: one["spec"] for one in spaces.policies(ANN)}
    assert {name: spec["policyTypes"] for name, spec in rules.items()} == {
        "kf-inside": ["Ingress"],
        "kf-admitted": ["Ingress"],
        "kf-outside": ["Egress"],
    }
    admitted = [
        source["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"]
        for source in rules["kf-admitted"]["ingress"][0]["from"]
    ]
    assert admitted == ["jupyterhub", "istio-system"]
    # Pods are named beside addresses, which a network may take for what is outside the cluster.
    (out,) = rules["kf-outside"]["egress"]
    assert {"namespaceSelector": {}} in out["to"]
    assert all("169.254.169.254/32" in one["ipBlock"]["except"] for one in out["to"] if "0.0.0.0/0" in str(one))
    # And the chart lets its hub and its proxy out to them.
    for part in (VALUES["hub"], VALUES["proxy"]["chp"]):
        (servers,) = part["networkPolicy"]["egress"]
        (place,) = servers["to"]
        labels = spaces.namespace(ANN)["metadata"]["labels"]
        assert place["namespaceSelector"]["matchLabels"].items() <= labels.items()
        assert place["podSelector"]["matchLabels"] == {"component": KubeSpawner.component_label.default_value}
        assert servers["ports"] == [{"protocol": "TCP", "port": 8888}]
    assert "kf-admitted" not in {one["metadata"]["name"] for one in spaces.policies(Space("kf-a", "a", ACCOUNT))}


@pytest.mark.parametrize(
    ("labels", "owner", "deleted", "said"),
    [
        ({"app.kubernetes.io/managed-by": spaces.MANAGER}, "ann", False, ""),
        ({"app.kubernetes.io/managed-by": spaces.MANAGER}, "Ann", False, "was not made by this hub for ann"),
        ({}, "ann", False, "was not made by this hub for ann"),
        ({"app.kubernetes.io/managed-by": spaces.MANAGER}, "ann", True, "is being deleted"),
    ],
)
def test_a_namespace_belongs_to_one_person(labels: Any, owner: str, deleted: Any, said: str) -> None:
    meta = {"labels": labels, "annotations": {spaces.OWNER: owner}}
    found = {"metadata": {**meta, **({"deletionTimestamp": "now"} if deleted else {})}}
    why = spaces.strange(found, ANN)
    assert said in why
    assert bool(why) is bool(said)
