"""The real kubectl on both clusters: discovery, apply in its three ways, patches, waits, explain, tables."""

from __future__ import annotations

import json

import pytest
from bed.api import until
from sites import Kubectl, Site

POD = """
apiVersion: v1
kind: Pod
metadata: {name: p, labels: {app: web}}
spec:
  schedulerName: nobody
  containers: [{name: c, image: "busybox:1"}]
"""


@pytest.fixture
def kubectl(ctl: Kubectl) -> Kubectl:
    return ctl


def test_discovery_and_version(site: Site, kubectl: Kubectl) -> None:
    assert "v1.36" in kubectl("version")
    listed = kubectl("api-resources")
    for line in ("pods", "tfjobs", "pytorchjobs", "deployments", "customresourcedefinitions"):
        assert line in listed
    versions = kubectl("api-versions").split()
    assert "kubeflow.org/v1" in versions
    assert ("kubeflow.org/v2beta1" in versions) == site.has("both versions of MPIJob")


def test_apply_twice_changes_nothing(kubectl: Kubectl) -> None:
    assert kubectl("apply", "-f", "-", stdin=POD) == "pod/p created\n"
    before = json.loads(kubectl("get", "pod", "p", "-o", "json"))
    assert kubectl("apply", "-f", "-", stdin=POD) == "pod/p unchanged\n"
    assert json.loads(kubectl("get", "pod", "p", "-o", "json")) == before
    changed = POD.replace("app: web", "app: other")
    assert kubectl("apply", "-f", "-", stdin=changed) == "pod/p configured\n"
    assert kubectl("get", "pod", "p", "-o", "jsonpath={.metadata.labels.app}") == "other"


def test_server_side_apply_and_its_conflict(kubectl: Kubectl) -> None:
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '1'}\n"
    kubectl("apply", "--server-side", "-f", "-", stdin=manifest)
    other = manifest.replace("'1'", "'2'")
    failed = kubectl.run("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=other)
    assert failed.returncode == 1
    assert 'conflict with "kubectl": .data.a' in failed.stderr
    kubectl("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", stdin=other)
    assert kubectl("get", "cm", "c", "-o", "jsonpath={.data.a}") == "2"


def test_client_side_apply_becomes_server_side(kubectl: Kubectl) -> None:
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\ndata: {a: '1', b: '1'}\n"
    kubectl("apply", "-f", "-", stdin=manifest)
    kubectl("apply", "--server-side", "-f", "-", stdin=manifest.replace(", b: '1'", ""))
    assert json.loads(kubectl("get", "cm", "c", "-o", "json"))["data"] == {"a": "1"}


def test_create_with_protobuf_bodies(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "c", "--from-literal=a=1")
    kubectl("create", "secret", "generic", "s", "--from-literal=p=q")
    kubectl("create", "deployment", "d", "--image=nginx", "--replicas=2")
    kubectl("create", "job", "j", "--image=busybox", "--", "true")
    kubectl("create", "serviceaccount", "robot")
    assert kubectl("get", "secret", "s", "-o", "jsonpath={.data.p}") == "cQ=="
    assert kubectl("get", "deploy", "d", "-o", "jsonpath={.spec.replicas}") == "2"
    job = json.loads(kubectl("get", "job", "j", "-o", "json"))
    assert job["spec"]["template"]["metadata"]["labels"]["job-name"] == "j"


def test_patch_label_annotate_scale(kubectl: Kubectl) -> None:
    kubectl("create", "deployment", "d", "--image=nginx")
    kubectl("label", "deploy", "d", "x=y")
    kubectl("annotate", "deploy", "d", "note=hello")
    kubectl("scale", "deploy", "d", "--replicas=3")
    kubectl("set", "image", "deploy/d", "nginx=nginx:2")
    kubectl("patch", "deploy", "d", "--type=json", "-p", '[{"op":"add","path":"/metadata/labels/z","value":"1"}]')
    got = json.loads(kubectl("get", "deploy", "d", "-o", "json"))
    assert got["spec"]["replicas"] == 3
    assert got["spec"]["template"]["spec"]["containers"][0]["image"] == "nginx:2"
    assert got["metadata"]["labels"] == {"app": "d", "x": "y", "z": "1"}
    assert got["metadata"]["annotations"]["note"] == "hello"
    assert got["metadata"]["generation"] >= 3


def test_wait_and_delete(kubectl: Kubectl) -> None:
    kubectl("apply", "-f", "-", stdin=POD)
    assert "deleted" in kubectl("delete", "pod", "p", "--timeout=60s")
    kubectl("apply", "-f", "-", stdin=POD)
    kubectl("delete", "pod", "p", "--wait=false")
    kubectl("wait", "--for=delete", "pod/p", "--timeout=60s")


def test_a_strict_mistake_is_named(kubectl: Kubectl) -> None:
    failed = kubectl.run("apply", "-f", "-", stdin=POD.replace("image:", "imagee:"))
    assert failed.returncode == 1
    assert "imagee" in failed.stderr


def test_diff_and_dry_run_write_nothing(kubectl: Kubectl) -> None:
    kubectl("apply", "--dry-run=server", "-f", "-", stdin=POD)
    assert kubectl.run("get", "pod", "p").returncode == 1
    kubectl("apply", "-f", "-", stdin=POD)
    shown = kubectl.run("diff", "-f", "-", stdin=POD.replace("app: web", "app: other"))
    assert shown.returncode == 1
    assert "+    app: other" in shown.stdout


def test_explain(kubectl: Kubectl) -> None:
    assert "terminationGracePeriodSeconds" in kubectl("explain", "pod.spec")
    assert "tfReplicaSpecs" in kubectl("explain", "tfjob.spec")


def test_auth(kubectl: Kubectl) -> None:
    assert kubectl("auth", "can-i", "create", "pods") == "yes\n"
    assert "Username" in kubectl("auth", "whoami")
    assert "*.*" in kubectl("auth", "can-i", "--list")


def test_sorted_and_custom_columns(kubectl: Kubectl) -> None:
    for name in ("b", "a"):
        kubectl("create", "configmap", name)
    columns = ("--sort-by=.metadata.name", "-o", "custom-columns=N:.metadata.name", "--no-headers")
    listed = kubectl("get", "cm", "--field-selector=metadata.name!=kube-root-ca.crt", *columns)
    assert listed.split() == ["a", "b"]


def test_a_definition_serves_its_kind(kubectl: Kubectl) -> None:
    definition = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Widget, plural: widgets, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer, default: 3}}}
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
"""
    kubectl("apply", "-f", "-", stdin=definition)
    kubectl("wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=60s")
    widget = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w}\nspec: {}\n"
    # An API server lists a kind a moment after it has taken its definition.
    until(lambda: not kubectl.run("apply", "-f", "-", stdin=widget).returncode, seconds=60, what="the kind")
    assert "SIZE" in kubectl("get", "wd")
    assert kubectl("get", "wd", "w", "-o", "jsonpath={.spec.size}") == "3"
    kubectl("delete", "crd", "widgets.example.com", "--timeout=60s")
    until(lambda: kubectl.run("get", "wd").returncode == 1, seconds=60, what="the end of the kind")


def test_a_training_job_of_the_wrong_shape_is_refused_with_the_field(site: Site, kubectl: Kubectl) -> None:
    job = """
apiVersion: kubeflow.org/v1
kind: {kind}
metadata: {{name: bad}}
spec:
  {more}
  {field}:
    Worker:
      replicas: 1
      template: {{spec: {{containers: [{{name: wrong, image: x}}]}}}}
"""
    tf = job.format(kind="TFJob", field="tfReplicaSpecs", more="")
    failed = kubectl.run("apply", "-f", "-", stdin=tf)
    assert failed.returncode == 1
    assert "spec.tfReplicaSpecs[Worker].template.spec.containers: Required value" in failed.stderr
    assert kubectl("get", "tfjobs", "-o", "name") == ""
    mx = job.format(kind="MXJob", field="mxReplicaSpecs", more="jobMode: MXTrain")
    for options in ((), ("--server-side",), ("--dry-run=server",)):
        failed = kubectl.run("apply", *options, "-f", "-", stdin=mx)
        if not site.has("a webhook for MXJob"):
            assert failed.returncode == 0
            continue
        assert failed.returncode == 1
        assert "spec.mxReplicaSpecs[Worker].template.spec.containers: Required value" in failed.stderr
    assert (kubectl("get", "mxjobs", "-o", "name") == "") == site.has("a webhook for MXJob")
