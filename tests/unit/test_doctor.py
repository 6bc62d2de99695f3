"""What the doctor makes of what a cluster answered: a table of clusters, and the words for each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from jupyterlab_kf import kinds
from jupyterlab_kf.model import Obj
from jupyterlab_kf.services import diagnosis, roles
from jupyterlab_kf.services.diagnosis import Facts, Finding, Report
from jupyterlab_kf.services.roles import Right
from jupyterlab_kf.widgets.doctor import report_card, report_json


def node(gpus: str = "0", ready: str = "True") -> Obj:
    return {"status": {"conditions": [{"type": "Ready", "status": ready}], "allocatable": {"nvidia.com/gpu": gpus}}}


def operator(ready: int) -> Obj:
    return {"metadata": {"name": "training-operator", "namespace": "kubeflow"}, "status": {"readyReplicas": ready}}


WHOLE = Facts(
    version="v1.36.3",
    skew=0.2,
    user="ada",
    groups={"kubeflow.org": ("v1",)},
    resources={"kubeflow.org/v1": frozenset({"pytorchjobs", "tfjobs"})},
    rights=dict.fromkeys(diagnosis.rights(), True),
    namespace={"metadata": {"name": "team", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}},
    quotas=(),
    nodes=(node("2"), node("1", ready="False")),
    classes=(),
    deployments=(operator(1),),
    now=1000.0,
)


def examined(**changes: Any) -> Report:
    return diagnosis.diagnose(
        replace(WHOLE, **changes), cluster="work", why="a test", server="https://x", namespace="team"
    )


def found(report: Report, section: str, what: str) -> Finding:
    findings = next(one.findings for one in report.sections if one.name == section)
    return next(one for one in findings if one.what == what)


def test_a_whole_cluster_is_ready_and_says_by_what_it_knows() -> None:
    report = examined()
    assert report.ready
    assert found(report, "training", "PyTorch") == Finding(
        "ok", "PyTorch", "PyTorchJob v1; training operator runs (kubeflow/training-operator)"
    )
    assert found(report, "training", "MXNet").state == "look"
    assert found(report, "hardware", "GPUs").detail == "2 of nvidia.com/gpu"
    assert found(report, "hardware", "Machines").detail == "1 of 2 are ready"
    assert "'restricted'" in found(report, "training", "Pod Security").detail


def test_a_cluster_without_definitions_cannot_train_and_the_command_is_told() -> None:
    report = examined(resources={}, groups={})
    assert not report.ready
    assert found(report, "training", "Frameworks").hint.startswith("kubectl apply --server-side -k")


def test_an_operator_that_is_down_is_told_from_one_that_cannot_be_seen() -> None:
    down = examined(deployments=(operator(0),))
    assert not down.ready
    assert "none of its pods is ready" in found(down, "training", "PyTorch").detail
    unseen = examined(deployments=None)
    assert unseen.ready
    assert found(unseen, "training", "PyTorch").state == "unknown"
    born = {"kind": "PyTorchJob", "metadata": {"creationTimestamp": "1970-01-01T00:10:00Z"}}
    ignored = examined(deployments=None, jobs=(born,))
    assert "no status after 60 s" in found(ignored, "training", "PyTorch").detail
    worked = examined(deployments=None, jobs=({**born, "status": {"conditions": [{"type": "Created"}]}},))
    assert found(worked, "training", "PyTorch").state == "ok"


def test_who_obeys_routes_is_told_from_nobody() -> None:
    groups = {**WHOLE.groups, "networking.istio.io": ("v1",)}

    def deployed(name: str, ready: int) -> dict[str, Any]:
        return {"metadata": {"name": name, "namespace": "istio-system"}, "status": {"readyReplicas": ready}}

    gateway = deployed("istio-ingressgateway", 2)
    assert "hub_config/gateway" in found(examined(), "routes", "Istio").hint
    ours = found(examined(groups=groups, deployments=(gateway,)), "routes", "Gateway")
    assert (ours.state, "without Istio, a gateway runs" in ours.detail) == ("ok", True)
    ended = found(examined(groups=groups, deployments=(deployed("istio-ingressgateway", 0),)), "routes", "Gateway")
    assert (ended.state, bool(ended.hint)) == ("lacks", True)
    theirs = found(examined(groups=groups, deployments=(gateway, deployed("istiod", 1))), "routes", "Istio")
    assert "Istio runs (istio-system/istiod)" in theirs.detail
    nobody = found(examined(groups=groups), "routes", "Istio")
    assert "no Deployment of Istio is to be seen" in nobody.detail


def test_rights_that_lack_are_named_with_their_verbs() -> None:
    rights = {**WHOLE.rights, Right("create", "", "configmaps"): False, Right("list", "", "pods"): False}
    report = examined(rights=rights)
    assert not report.ready
    assert found(report, "training", "Rights").detail == "you may not list pods or create configmaps in team"
    assert found(report, "training", "Rights").hint.splitlines() == [
        "an administrator gives you the roles kf-viewer and kf-trainer of hub_config/rbac:",
        "kubectl create rolebinding kf-viewer-ada --role=kf-viewer --user=ada --namespace=team",
        "kubectl create rolebinding kf-trainer-ada --role=kf-trainer --user=ada --namespace=team",
    ]
    kind = kinds.PYTORCH_JOB
    one = examined(rights={**WHOLE.rights, Right("create", kind.group, kind.plural): False})
    assert one.ready, "TensorFlow can still be trained"
    assert "may not create pytorchjobs" in found(one, "training", "PyTorch").detail
    mute = examined(rights=dict.fromkeys(WHOLE.rights))
    assert found(mute, "logs", "Rights").state == "unknown"


def test_clocks_quotas_and_namespaces() -> None:
    assert found(examined(skew=90.0), "connection", "Clocks").detail == "this machine is 90 s behind the server"
    quota = {"status": {"hard": {"requests.cpu": "4", "pods": "10"}, "used": {"requests.cpu": "4000m", "pods": "3"}}}
    report = examined(quotas=(quota,))
    states = [(one.state, one.detail) for one in report.sections[5].findings if one.what == "Quota"]
    assert states == [("ok", "pods: 3 of 10 used"), ("look", "requests.cpu: 4000m of 4 used")]
    assert not examined(namespace=None, missing=True).ready


def test_the_report_is_text_with_whole_commands_html_and_json() -> None:
    report = examined(resources={}, groups={}, user="<b>")
    card = report_card(report)
    assert "Jobs cannot be trained in team yet: see Training." in card.text
    assert any(
        line.strip().startswith("→ helm install") and line.endswith("namespace") for line in card.text.splitlines()
    )
    assert (
        "<b>" not in card.html.replace("<b>Jobs", "").replace("<b>" + report.sections[0].title, "")
        or "&lt;b&gt;" in card.html
    )
    assert card.text.count("manifests/overlays/standalone") == 1, "what several need is said once"
    said = report_json(report)
    assert (said["ready"], said["sections"][1]["state"]) == (False, "lacks")


PROGRAMS = {"kf-gateway", "kf-hub", "kf-katib-controllers", "kf-monitor", "kf-serving-controllers"}
"""Roles of programs' own accounts: no user lacks them."""


def test_the_roles_are_those_of_the_manifests() -> None:
    shipped: dict[str, set[Right]] = {}
    for path in (Path(__file__).parents[2] / "hub_config" / "rbac").glob("*.yaml"):
        for role in yaml.load_all(path.read_text(), yaml.CSafeLoader):
            if role["kind"] == "Role" and role["metadata"]["name"] not in PROGRAMS:
                shipped[role["metadata"]["name"]] = {
                    Right(verb, group, *resource.split("/"))
                    for rule in role["rules"]
                    for group in rule["apiGroups"]
                    for resource in rule["resources"]
                    for verb in rule["verbs"]
                }
    assert shipped == {name: set(rights) for name, rights in roles.ROLES.items()}


def test_the_gateway_may_look_at_its_own_namespace_as_at_others_and_at_little_else() -> None:
    folder = Path(__file__).parents[2] / "hub_config"
    (served,) = yaml.load_all((folder / "rbac" / "gateway.yaml").read_text(), yaml.CSafeLoader)
    own = [one for one in yaml.load_all((folder / "gateway" / "account.yaml").read_text(), yaml.CSafeLoader) if one]
    rules = next(one for one in own if one["kind"] == "Role" and one["metadata"]["name"] == "kf-gateway")["rules"]
    more = [rule for rule in rules if rule not in served["rules"]]
    assert [rule for rule in served["rules"] if rule not in rules] == []
    assert [(rule["resources"], rule["verbs"]) for rule in more] == [
        (["configmaps", "secrets"], ["list", "watch"]),
        (["deployments"], ["get"]),
    ]


def test_who_has_the_roles_is_told_that_nothing_lacks_but_what_they_do_not_give() -> None:
    given = {*roles.ROLES["kf-viewer"], *roles.ROLES["kf-trainer"]}
    report = examined(rights={right: right in given for right in diagnosis.rights()})
    assert report.ready
    assert found(report, "training", "Rights").state == found(report, "logs", "Rights").state == "ok"
    assert "--role=kf-results" in found(report, "results", "Rights").hint
    assert found(report, "panels", "Jobs").detail == "those of team are shown; you may not list others"
    resources = {**WHOLE.resources, "kubeflow.org/v1beta1": frozenset({"experiments"})}
    tuning = examined(rights={right: right in given for right in diagnosis.rights()}, resources=resources)
    assert "--role=kf-studies" in found(tuning, "studies", "Rights").hint
    groups = {**WHOLE.groups, "machinelearning.seldon.io": ("v1",)}
    serving = examined(rights={right: right in given for right in diagnosis.rights()}, groups=groups)
    assert any("--role=kf-monitoring" in one.hint for part in serving.sections for one in part.findings)
    assert "--role=kf-serving" in found(serving, "serving", "Rights").hint
    assert "--role=kf-kernels" in found(report, "kernels", "Rights").hint


def test_a_service_accounts_role_is_bound_by_its_namespace_and_name() -> None:
    said = roles.binding("kf-viewer", "system:serviceaccount:team:default-editor", "team")
    assert "kf-viewer-team-default-editor --role=kf-viewer --serviceaccount=team:default-editor" in said
    assert "--user='ada@example.com; rm -rf /'" in roles.binding("kf-viewer", "ada@example.com; rm -rf /", "team")
    assert "--user=USER" in roles.binding("kf-viewer", "", "team")
