"""What is served, and in which form: discovery and OpenAPI of both clusters, kind by kind, word by word.

Both clusters are asked in one test and compared, so that nothing has to be written down twice; what differs on purpose
is listed here, and fails when it differs no longer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bed.api import Api
from bed.cluster import RealCluster
from sites import Kubectl, Site

from jupyterlab_kf import kinds
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.settings import Settings

Obj = dict[str, Any]
Both = tuple[Api, Api]
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
ONLY_HERE = {
    "mpijobs.kubeflow.org v2beta1",  # two operators own the two versions; their definitions exclude each other
    "inferenceservices.serving.kserve.io v1beta1",  # no definition of KServe's is installed in the real cluster
}
SUBRESOURCES = {
    "namespaces": {"finalize"},
    "nodes": {"proxy"},
    "pods": {"attach", "ephemeralcontainers", "portforward", "resize"},
    "serviceaccounts": {"token"},
}
"""What a real cluster tells of beside: a kubelet's own doors, tokens of accounts, and changes of running containers."""
MARKS = (
    "type",
    "x-kubernetes-patch-merge-key",
    "x-kubernetes-patch-strategy",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-map-type",
)
"""What apply and explain read of a field."""


@pytest.fixture(scope="module")
def both(cluster: Settings, real_cluster: RealCluster) -> Iterator[Both]:
    """Calls on the embedded cluster, and on the real one."""
    made = (Api(cluster.embedded_kubeconfig), Api(real_cluster.kubeconfig))
    yield made
    for api in made:
        api.close()


def title(kind: Kind) -> str:
    return f"{kind.resource} {kind.version}"


def told(api: Api) -> dict[str, Obj]:
    """Every resource of the aggregated discovery."""
    return {
        f"{resource['resource']}{'.' if name else ''}{name} {version['version']}": resource
        for root in ("/api", "/apis")
        for group in api.request("GET", root, accept=AGGREGATED)["items"]
        for name in (group["metadata"].get("name", ""),)
        for version in group["versions"]
        for resource in version["resources"]
    }


def not_installed() -> set[str]:
    """What the embedded cluster knows by itself, where the further definitions (``KF_CRDS``) are not at hand."""
    further = {title(kind) for kind in kinds.ALL if kind.custom and kind not in kinds.TRAINING}
    further |= {title(kind) for kind in kinds.TRAINING if kind.kind == "ChainerJob"}
    return set() if os.environ.get("KF_CRDS") else further


def test_every_kind_is_told_of_in_the_same_words(both: Both) -> None:
    ours, real = map(told, both)
    assert set(ours) - set(real) == ONLY_HERE | not_installed()
    lacking = {}
    for name in set(ours) & set(real):
        subs = [{one["subresource"]: one for one in found[name].pop("subresources", ())} for found in (ours, real)]
        assert ours[name] == real[name]
        assert {sub: subs[1].get(sub) for sub in subs[0]} == subs[0], name
        if more := set(subs[1]) - set(subs[0]):
            lacking[name.split(" ")[0]] = more
    assert lacking == SUBRESOURCES
    assert {title(kind) for kind in kinds.ALL} <= set(ours)


def test_every_kind_is_told_of_in_the_same_words_to_older_clients(both: Both) -> None:
    for kind in kinds.ALL:
        if title(kind) in ONLY_HERE | not_installed():
            continue
        root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        ours, real = ({one["name"]: one for one in api.request("GET", root)["resources"]} for api in both)
        for found in (ours, real):
            for one in found.values():
                one.pop("storageVersionHash", None)  # of how it is stored: theirs and ours alone
        assert {name: real.get(name) for name in ours} == ours


def answered(api: Api, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    response, content = api._send("GET", path, None, {"Accept": "application/json"} | api._headers | headers)
    return response.status, {name.lower(): value for name, value in response.getheaders()}, content


def test_what_has_not_changed_is_not_sent_again(site: Site) -> None:
    documents = json.loads(site.api.request("GET", "/openapi/v3"))["paths"]
    for path, accept in (
        ("/api", AGGREGATED),
        ("/apis", AGGREGATED),
        (documents["api/v1"]["serverRelativeURL"], "application/json"),
    ):
        status, headers, content = answered(site.api, path, Accept=accept)
        assert (status, headers["vary"].lower(), len(content) > 1000) == (200, "accept", True), path
        again = answered(site.api, path, Accept=accept, **{"If-None-Match": headers["etag"]})
        assert (again[0], again[2]) == (304, b""), path


def test_a_document_by_an_old_hash_leads_to_the_new_one(site: Site) -> None:
    place = json.loads(site.api.request("GET", "/openapi/v3"))["paths"]["api/v1"]["serverRelativeURL"]
    path, _, digest = place.partition("?hash=")
    assert (path, bool(digest)) == ("/openapi/v3/api/v1", True)
    status, headers, _ = answered(site.api, f"{path}?hash=OLD")
    assert (status, headers["location"]) == (301, place)
    assert answered(site.api, "/openapi/v3/apis/nobody/v1")[0] == 404


def document(api: Api, kind: Kind) -> Obj:
    """The OpenAPI of a kind's group and version."""
    places = json.loads(api.request("GET", "/openapi/v3"))["paths"]
    place = f"apis/{kind.group}/{kind.version}" if kind.group else f"api/{kind.version}"
    found: Obj = api.request("GET", places[place]["serverRelativeURL"])
    return found


def shape(found: Obj, kind: Kind) -> dict[str, Obj]:
    """Path of every field of a kind -> what apply and explain read of it."""
    schemas: dict[str, Obj] = found["components"]["schemas"]
    named = {"group": kind.group, "version": kind.version, "kind": kind.kind}
    (root,) = (one for one in schemas.values() if named in one.get("x-kubernetes-group-version-kind", ()))
    fields: dict[str, Obj] = {}

    def walk(schema: Obj, path: str, above: frozenset[str]) -> None:
        while "$ref" in schema or "allOf" in schema:
            more = {key: value for key, value in schema.items() if key not in ("$ref", "allOf")}
            (inner,) = schema.get("allOf", [{"$ref": schema.get("$ref")}])
            if "$ref" in inner:
                name = inner["$ref"].rpartition("/")[2]
                if name in above:
                    return
                above, inner = above | {name}, schemas[name]
            schema = inner | more
        fields[path] = {mark: schema[mark] for mark in MARKS if mark in schema}
        for name, one in schema.get("properties", {}).items():
            walk(one, f"{path}.{name}", above)
        if "items" in schema:
            walk(schema["items"], f"{path}[]", above)
        if isinstance(schema.get("additionalProperties"), dict):
            walk(schema["additionalProperties"], f"{path}{{}}", above)

    walk(root, "", frozenset())
    return fields


BUILT_IN = [kind for kind in kinds.ALL if not kind.custom]


@pytest.mark.parametrize("kind", BUILT_IN, ids=lambda kind: kind.resource)
def test_explain_and_apply_read_the_same_of_every_field(both: Both, kind: Kind) -> None:
    ours, real = (shape(document(api, kind), kind) for api in both)
    assert ours == real


@pytest.mark.parametrize(
    "kind",
    [kind for kind in kinds.TRAINING if kind.version == "v1"],
    ids=lambda kind: kind.resource,
)
def test_a_training_job_has_the_fields_of_the_operators_definition(both: Both, kind: Kind) -> None:
    """Pod templates are those of this Kubernetes here; in the operator's definition they are of an older one."""
    ours, real = (shape(document(api, kind), kind) for api in both)
    gone = {
        path for path in set(real) - set(ours) if ".template." not in path or ".resourceClaims[].source" not in path
    }
    assert gone == set()
    assert {path for path in set(ours) - set(real) if ".template." not in path} == set()
    assert {path: ours[path].get("type") for path in set(ours) & set(real)} == {
        path: real[path].get("type") for path in set(ours) & set(real)
    }
    assert set(ours) - set(real), "its pod templates are of this Kubernetes: compare them whole"


def test_kubectl_explains_every_field(ctl: Kubectl) -> None:
    for what, words in (
        ("pods.spec.containers.resources.limits", "Limits describes the maximum amount of compute resources allowed"),
        ("jobs.spec.backoffLimit", "FIELD: backoffLimit <integer>"),
        ("pytorchjobs.spec.pytorchReplicaSpecs", "FIELD: pytorchReplicaSpecs <map[string]Object>"),
        ("tfjobs.spec.runPolicy.cleanPodPolicy", "FIELD: cleanPodPolicy <string>"),
        ("mpijobs.spec.slotsPerWorker --api-version=kubeflow.org/v1", "FIELD: slotsPerWorker <integer>"),
    ):
        assert words in ctl("explain", *what.split(" ")), what
    assert "metadata\t<ObjectMeta>" in ctl("explain", "pods", "--recursive")
    failed = ctl.run("explain", "pods.spec.nothing")
    assert (failed.returncode, 'field "nothing" does not exist' in failed.stderr) == (1, True)


def test_kubectl_keeps_discovery_and_asks_again_when_a_kind_is_new(ctl: Kubectl, tmp_path: Path) -> None:
    ctl("api-resources", f"--cache-dir={tmp_path}")
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert kept
    assert "pods" in ctl("api-resources", f"--cache-dir={tmp_path}", "--cached")
