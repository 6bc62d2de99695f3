"""Objects on both clusters: made, read, changed in every way there is, applied, deleted, refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
from bed.api import Api, ApiStatusError, Obj, until
from objects import (
    APPLY,
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    config,
    configs,
    deployment,
    jobs,
    names,
    pod,
    pods,
    refusal,
    tf_job,
)
from sites import Site, there


@pytest.fixture
def api(site: Site) -> Api:
    return site.api


# --- making and reading


def test_a_made_object_has_what_the_server_gives_it(api: Api, place: str) -> None:
    made = api.request("POST", configs(place), config("a", k="1"))
    metadata = made["metadata"]
    assert metadata["namespace"] == place
    assert re.fullmatch(r"[0-9a-f-]{36}", metadata["uid"])
    assert re.fullmatch(r"\d+", metadata["resourceVersion"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", metadata["creationTimestamp"])
    assert "generation" not in metadata
    assert api.request("GET", f"{configs(place)}/a") == made
    listed = api.request("GET", f"{configs(place)}?fieldSelector=metadata.name%3Da")
    assert (listed["kind"], listed["apiVersion"]) == ("ConfigMapList", "v1")
    assert "kind" not in listed["items"][0]


def test_a_name_is_made_up(api: Api, place: str) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "run-"}}
    made = [api.request("POST", configs(place), body)["metadata"]["name"] for _ in range(5)]
    assert len(set(made)) == 5
    assert all(re.fullmatch(r"run-[bcdfghjklmnpqrstvwxz2456789]{5}", name) for name in made)


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("tier%3Dweb", ["a", "b"]),
        ("tier%3D%3Dweb%2Cn%3D1", ["a"]),
        ("tier!%3Dweb", ["c", "d"]),
        ("tier", ["a", "b", "c"]),
        ("!tier", ["d"]),
        ("n%20in%20(1%2C3)", ["a", "c"]),
        ("n%20notin%20(1)", ["b", "c", "d"]),
        ("n%20in%20(1)%2Ctier%20notin%20(web)", []),
    ],
)
def test_label_selectors(api: Api, place: str, selector: str, found: list[str]) -> None:
    for name, labels in {"a": ("web", "1"), "b": ("web", "2"), "c": ("db", "3"), "d": None}.items():
        given = dict(zip(("tier", "n"), labels, strict=True)) if labels else {}
        api.request("POST", configs(place), config(name, given | {"mine": "1"}))
    assert names(api, f"{configs(place)}?labelSelector=mine%2C{selector}") == found


def test_field_selectors(api: Api, place: str) -> None:
    for name in ("a", "b"):
        api.request("POST", pods(place), pod(name))
    assert names(api, f"{pods(place)}?fieldSelector=metadata.name%3Db") == ["b"]
    assert names(api, f"{pods(place)}?fieldSelector=status.phase%3DPending%2Cmetadata.name!%3Db") == ["a"]
    assert names(api, f"{pods(place)}?fieldSelector=spec.nodeName%3D") == ["a", "b"]
    error = refusal(api, "GET", f"{pods(place)}?fieldSelector=spec.none%3Dx")
    assert (error.code, error.reason) == (400, "BadRequest")
    assert "field label not supported: spec.none" in error.message
    api.request("POST", jobs(place), tf_job("t"))
    assert names(api, f"{jobs(place)}?fieldSelector=metadata.name%3Dt") == ["t"]
    assert refusal(api, "GET", f"{jobs(place)}?fieldSelector=spec.x%3Dx").code == 400


def test_pages(api: Api, place: str) -> None:
    for name in "abcde":
        api.request("POST", configs(place), config(name, {"mine": "1"}))
    page = api.request("GET", f"{configs(place)}?limit=2")
    version, seen = page["metadata"]["resourceVersion"], page["items"]
    assert page["metadata"]["remainingItemCount"] >= 3
    api.request("DELETE", f"{configs(place)}/e")
    api.request("POST", configs(place), config("zz"))
    while token := page["metadata"].get("continue"):
        page = api.request("GET", f"{configs(place)}?limit=2&continue={token}")
        assert page["metadata"]["resourceVersion"] == version
        seen += page["items"]
    assert [item["metadata"]["name"] for item in seen if len(item["metadata"]["name"]) == 1] == list("abcde")
    assert "zz" not in [item["metadata"]["name"] for item in seen]
    selected = api.request("GET", f"{configs(place)}?limit=1&labelSelector=mine")
    assert "remainingItemCount" not in selected["metadata"]
    error = refusal(api, "GET", f"{configs(place)}?limit=2&continue=nonsense")
    assert (error.code, "continue key is not valid" in error.message) == (400, True)


def test_versions_of_lists(api: Api, place: str) -> None:
    first = api.request("POST", configs(place), config("a"))["metadata"]["resourceVersion"]
    api.request("POST", configs(place), config("b"))
    mine = "fieldSelector=metadata.name!%3Dkube-root-ca.crt"
    assert names(api, f"{configs(place)}?{mine}&resourceVersion={first}&resourceVersionMatch=Exact") == ["a"]
    at_least = f"{configs(place)}?{mine}&resourceVersion={first}&resourceVersionMatch=NotOlderThan"
    assert names(api, at_least) == ["a", "b"]
    assert refusal(api, "GET", f"{configs(place)}?resourceVersionMatch=Exact").code == 422
    assert refusal(api, "GET", f"{configs(place)}?resourceVersion=0&resourceVersionMatch=Exact").code == 422
    assert refusal(api, "GET", f"{configs(place)}?resourceVersion=soon").code == 400


def test_errors_are_statuses(api: Api, place: str) -> None:
    api.request("POST", configs(place), config("a"))
    exists = refusal(api, "POST", configs(place), config("a"))
    assert (exists.code, exists.reason, exists.message) == (409, "AlreadyExists", 'configmaps "a" already exists')
    missing = refusal(api, "GET", f"{configs(place)}/none")
    assert (missing.code, missing.reason, missing.message) == (404, "NotFound", 'configmaps "none" not found')
    nowhere = refusal(api, "GET", f"/apis/none.example.com/v1/namespaces/{place}/things")
    assert nowhere.code == 404
    assert refusal(api, "POST", configs(place), b"{").code == 400
    assert refusal(api, "POST", configs(place), b"a: b", content_type="text/csv").code == 415
    assert refusal(api, "PATCH", f"{configs(place)}/a", {}, content_type="application/json").code == 415
    wrong = refusal(api, "POST", configs(place), {**config("x"), "kind": "Secret"})
    assert wrong.code == 400
    other = config("x")
    other["metadata"]["namespace"] = "other"
    elsewhere = refusal(api, "POST", configs(place), other)
    assert (elsewhere.code, "does not match the namespace" in elsewhere.message) == (400, True)
    named = refusal(api, "POST", configs(place), config("A b"))
    assert (named.code, named.reason) == (422, "Invalid")
    assert named.message.startswith('ConfigMap "A b" is invalid: metadata.name: Invalid value: "A b"')
    unnamed = refusal(api, "POST", configs(place), {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {}})
    assert "name or generateName is required" in unnamed.message


def test_a_wrong_pod_is_told_each_wrong_field(api: Api, place: str) -> None:
    wrong = pod("p", restartPolicy="Sometimes", containers=[{"name": "A", "image": ""}])
    error = refusal(api, "POST", pods(place), wrong)
    assert (error.code, error.reason) == (422, "Invalid")
    for words in (
        "spec.containers[0].name: Invalid value",
        "spec.containers[0].image: Required value",
        'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "OnFailure", "Never"',
    ):
        assert words in error.message


@pytest.mark.parametrize("how", ["Strict", "Warn", "Ignore"])
def test_unknown_fields(api: Api, place: str, how: str) -> None:
    odd = pod("p", imagee="x")
    if how == "Strict":
        error = refusal(api, "POST", f"{pods(place)}?fieldValidation=Strict", odd)
        assert (error.code, 'strict decoding error: unknown field "spec.imagee"' in error.message) == (400, True)
    else:
        assert "imagee" not in api.request("POST", f"{pods(place)}?fieldValidation={how}", odd)["spec"]
    job = tf_job("t", odd=1)
    if how == "Strict":
        error = refusal(api, "POST", f"{jobs(place)}?fieldValidation=Strict", job)
        assert (error.code, 'strict decoding error: unknown field "spec.odd"' in error.message) == (400, True)
    else:
        assert "odd" not in api.request("POST", f"{jobs(place)}?fieldValidation={how}", job)["spec"]


def test_a_dry_run_writes_nothing(api: Api, place: str) -> None:
    dry = api.request("POST", f"{configs(place)}?dryRun=All", config("a"))
    assert dry["metadata"]["uid"]
    assert there(api, "v1", "ConfigMap", "a", place) is None
    made = api.request("POST", configs(place), config("a", k="1"))
    changed = api.request("PUT", f"{configs(place)}/a?dryRun=All", {**made, "data": {"k": "2"}})
    assert changed["data"] == {"k": "2"}
    api.request("PATCH", f"{configs(place)}/a?dryRun=All", {"data": {"k": "3"}}, content_type=MERGE)
    api.request("DELETE", f"{configs(place)}/a?dryRun=All")
    assert api.request("GET", f"{configs(place)}/a") == made
    assert refusal(api, "POST", f"{configs(place)}?dryRun=Some", config("b")).code in (400, 422)


# --- changing


def test_a_stale_update_is_refused(api: Api, place: str) -> None:
    made = api.request("POST", configs(place), config("a", k="1"))
    new = api.request("PUT", f"{configs(place)}/a", {**made, "data": {"k": "2"}})
    assert int(new["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])
    stale = refusal(api, "PUT", f"{configs(place)}/a", {**made, "data": {"k": "3"}})
    assert (stale.code, stale.reason) == (409, "Conflict")
    assert stale.message == (
        'Operation cannot be fulfilled on configmaps "a": '
        "the object has been modified; please apply your changes to the latest version and try again"
    )
    blind = config("a", k="4")
    assert api.request("PUT", f"{configs(place)}/a", blind)["data"] == {"k": "4"}
    blind["metadata"]["uid"] = "00000000-0000-0000-0000-000000000000"
    assert refusal(api, "PUT", f"{configs(place)}/a", blind).code == 409
    assert refusal(api, "PUT", f"{configs(place)}/a", config("b")).code == 400
    same = api.request("GET", f"{configs(place)}/a")
    assert api.request("PUT", f"{configs(place)}/a", same)["metadata"] == same["metadata"]


def test_a_stale_update_of_a_job_is_refused(api: Api, place: str) -> None:
    made = api.request("POST", jobs(place), tf_job("t"))
    api.request("PATCH", f"{jobs(place)}/t", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
    assert refusal(api, "PUT", f"{jobs(place)}/t", made).code == 409
    del made["metadata"]["resourceVersion"]
    error = refusal(api, "PUT", f"{jobs(place)}/t", made)
    assert (
        error.code,
        "metadata.resourceVersion: Invalid value: 0: must be specified for an update" in error.message,
    ) == (
        422,
        True,
    )


def test_json_patch(api: Api, place: str) -> None:
    api.request("POST", configs(place), config("a", {"x": "1"}, k="1"))
    path = f"{configs(place)}/a"
    steps = [
        {"op": "test", "path": "/data/k", "value": "1"},
        {"op": "add", "path": "/data/l", "value": "2"},
        {"op": "copy", "from": "/data/l", "path": "/data/m"},
        {"op": "move", "from": "/data/k", "path": "/data/n"},
        {"op": "remove", "path": "/metadata/labels/x"},
    ]
    patched = api.request("PATCH", path, steps, content_type=JSON_PATCH)
    assert patched["data"] == {"l": "2", "m": "2", "n": "1"}
    assert "labels" not in patched["metadata"]
    wrong = [{"op": "test", "path": "/data/l", "value": "9"}]
    assert refusal(api, "PATCH", path, wrong, content_type=JSON_PATCH).code == 422
    gone = [{"op": "remove", "path": "/data/none"}]
    assert refusal(api, "PATCH", path, gone, content_type=JSON_PATCH).code == 422


def test_merge_patch(api: Api, place: str) -> None:
    api.request("POST", jobs(place), tf_job("t"))
    path = f"{jobs(place)}/t"
    patch = {"metadata": {"labels": {"a": "b"}}, "spec": {"runPolicy": {"backoffLimit": 2}}}
    patched = api.request("PATCH", path, patch, content_type=MERGE)
    assert patched["spec"]["runPolicy"]["backoffLimit"] == 2
    assert patched["spec"]["runPolicy"]["suspend"] is True
    removed = api.request("PATCH", path, {"metadata": {"labels": {"a": None}}}, content_type=MERGE)
    assert "labels" not in removed["metadata"]
    old = {"metadata": {"resourceVersion": "1", "labels": {"c": "d"}}}
    assert refusal(api, "PATCH", path, old, content_type=MERGE).code == 409


def test_strategic_merge_patch(api: Api, place: str) -> None:
    containers = [{"name": "main", "image": "program:1"}, {"name": "side", "image": "side:1"}]
    api.request("POST", pods(place), pod("p", containers=containers))
    patch = {"spec": {"containers": [{"name": "side", "image": "side:2"}]}}
    patched = api.request("PATCH", f"{pods(place)}/p", patch, content_type=STRATEGIC)
    assert [one["image"] for one in patched["spec"]["containers"]] == ["program:1", "side:2"]
    api.request("POST", jobs(place), tf_job("t"))
    error = refusal(api, "PATCH", f"{jobs(place)}/t", {"spec": {}}, content_type=STRATEGIC)
    assert (error.code, error.reason) == (415, "UnsupportedMediaType")


def test_a_pod_keeps_its_spec(api: Api, place: str) -> None:
    api.request("POST", pods(place), pod("p"))
    patch = {"spec": {"containers": [{"name": "main", "command": ["x"]}]}}
    error = refusal(api, "PATCH", f"{pods(place)}/p", patch, content_type=STRATEGIC)
    assert error.code == 422
    assert "spec: Forbidden: pod updates may not change fields other than" in error.message


def test_status_and_spec_are_apart(api: Api, place: str) -> None:
    made = api.request("POST", jobs(place), tf_job("t") | {"status": {"startTime": "2026-01-01T00:00:00Z"}})
    assert made["metadata"]["generation"] == 1
    assert made.get("status", {}).get("startTime") is None
    status = {"status": {"startTime": "2026-01-01T00:00:00Z", "conditions": [], "replicaStatuses": {}}}
    both = status | {"spec": {"successPolicy": "AllWorkers"}}
    told = api.request("PATCH", f"{jobs(place)}/t/status", both, content_type=MERGE)
    assert told["status"]["startTime"] == "2026-01-01T00:00:00Z"
    assert (told["spec"].get("successPolicy") or "", told["metadata"]["generation"]) == ("", 1)
    labelled = api.request("PATCH", f"{jobs(place)}/t", {"metadata": {"labels": {"a": "b"}}}, content_type=MERGE)
    assert labelled["metadata"]["generation"] == 1
    policy = {"spec": {"runPolicy": {"backoffLimit": 5}}}
    assert api.request("PATCH", f"{jobs(place)}/t", policy, content_type=MERGE)["metadata"]["generation"] == 2


def test_what_counts_as_a_generation(api: Api, place: str) -> None:
    slices = {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": []}
    made = [deployment("o", paused=True), pod("o"), tf_job("o"), slices | {"metadata": {"name": "o"}}]
    counted = {}
    for obj in made:
        path = api.path(api.create({**obj, "metadata": {**obj["metadata"], "namespace": place}}))
        patches = [{"metadata": {part: {"mine": "1"}}} for part in ("labels", "annotations")]
        before = api.request("GET", path)["metadata"]["generation"]
        after = [api.request("PATCH", path, patch, content_type=MERGE)["metadata"]["generation"] for patch in patches]
        counted[obj["kind"]] = [generation - before for generation in after]
    assert counted == {"Deployment": [0, 1], "Pod": [0, 0], "TFJob": [0, 0], "EndpointSlice": [1, 1]}


def test_a_fresh_deployment_is_of_the_first_generation(api: Api, place: str) -> None:
    path = f"/apis/apps/v1/namespaces/{place}/deployments"
    api.request("POST", path, deployment("d", replicas=1))

    def observed() -> Obj | None:
        found: Obj = api.request("GET", f"{path}/d")
        told = found.get("status", {}).get("observedGeneration"), found.get("status", {}).get("replicas")
        return found if told == (1, 1) else None

    found = until(observed, seconds=60, what="a rollout that has begun")
    assert found["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    assert found["metadata"]["generation"] == 1


def test_what_a_write_to_the_status_changes_of_the_metadata(api: Api, place: str) -> None:
    owner = api.request("POST", configs(place), config("owner"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    change: Obj = {"labels": {"mine": "1"}, "annotations": {"mine": "1"}, "finalizers": ["example.com/mine"]}
    change["ownerReferences"] = [reference]
    job = {"suspend": True, "template": {"spec": pod("o")["spec"] | {"restartPolicy": "Never"}}}
    service = {"ports": [{"port": 80}]}
    made = [
        pod("o"),
        deployment("o", paused=True),
        {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "o"}, "spec": job},
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "o"}, "spec": service},
        tf_job("o"),
    ]
    changed = {}
    for obj in made:
        path = api.path(api.create({**obj, "metadata": {**obj["metadata"], "namespace": place}}))
        metadata = api.request("PATCH", f"{path}/status", {"metadata": change}, content_type=MERGE)["metadata"]
        assert metadata.get("generation", 1) == 1
        changed[obj["kind"]] = {
            part: metadata.get(part) == value or "mine" in (metadata.get(part) or ()) for part, value in change.items()
        }
        api.request("PATCH", path, {"metadata": {"finalizers": None}}, content_type=MERGE)
    everything = dict.fromkeys(change, True)
    assert changed == {
        "Pod": everything | {"ownerReferences": False},
        "Deployment": everything | {"labels": False},
        "Job": everything,
        "Service": everything,
        "TFJob": dict.fromkeys(change, False),
    }


def test_scale(api: Api, place: str) -> None:
    path = f"/apis/apps/v1/namespaces/{place}/deployments"
    api.request("POST", path, deployment("d", replicas=1))
    scale = api.request("GET", f"{path}/d/scale")
    assert (scale["kind"], scale["apiVersion"], scale["spec"]) == ("Scale", "autoscaling/v1", {"replicas": 1})
    assert scale["status"]["selector"] == "app=d"
    until(lambda: api.request("GET", f"{path}/d/scale")["status"]["replicas"] == 1, seconds=60, what="one replica")
    patched = api.request("PATCH", f"{path}/d/scale", {"spec": {"replicas": 3}}, content_type=MERGE)
    assert patched["spec"]["replicas"] == 3
    until(lambda: len(api.list("v1", "Pod", place)) == 3, seconds=60, what="three pods")
    wrong = refusal(api, "PATCH", f"{path}/d/scale", {"spec": {"replicas": -1}}, content_type=MERGE)
    assert (wrong.code, "must be greater than or equal to 0" in wrong.message) == (422, True)


# --- applying


def test_apply_and_its_conflicts(api: Api, place: str) -> None:
    path = f"{configs(place)}/a?fieldManager"
    api.request("PATCH", f"{path}=one", config("a", {"x": "1"}, k="1", shared="s"), content_type=APPLY)
    again = api.request("PATCH", f"{path}=one", config("a", {"x": "1"}, k="1", shared="s"), content_type=APPLY)
    managers = [(entry["manager"], entry["operation"]) for entry in again["metadata"]["managedFields"]]
    assert managers == [("one", "Apply")]
    conflict = refusal(api, "PATCH", f"{path}=two", config("a", k="2"), content_type=APPLY)
    assert (conflict.code, conflict.reason) == (409, "Conflict")
    assert conflict.message == 'Apply failed with 1 conflict: conflict with "one": .data.k'
    forced = api.request("PATCH", f"{path}=two&force=true", config("a", k="2", shared="s"), content_type=APPLY)
    assert forced["data"] == {"k": "2", "shared": "s"}
    owned = {entry["manager"]: entry["fieldsV1"].get("f:data", {}) for entry in forced["metadata"]["managedFields"]}
    assert "f:k" not in owned["one"]
    assert {"f:k", "f:shared"} <= set(owned["two"])
    left = api.request("PATCH", f"{path}=one", config("a"), content_type=APPLY)
    assert left["data"] == {"k": "2", "shared": "s"}
    assert "labels" not in left["metadata"]
    gone = api.request("PATCH", f"{path}=two", config("a"), content_type=APPLY)
    assert not gone.get("data")


def test_apply_wants_a_manager_and_takes_no_managed_fields(api: Api, place: str) -> None:
    assert refusal(api, "PATCH", f"{configs(place)}/a", config("a"), content_type=APPLY).code == 422
    body = config("a")
    body["metadata"]["managedFields"] = [{"manager": "x"}]
    error = refusal(api, "PATCH", f"{configs(place)}/a?fieldManager=m", body, content_type=APPLY)
    assert (error.code, "managedFields must be nil" in error.message) == (400, True)
    other = refusal(api, "PATCH", f"{configs(place)}/a?fieldManager=m", config("b"), content_type=APPLY)
    assert other.code == 400


def test_an_update_takes_over_what_was_applied(api: Api, place: str) -> None:
    path = f"{configs(place)}/a"
    api.request("PATCH", f"{path}?fieldManager=one", config("a", k="1"), content_type=APPLY)
    api.request("PATCH", f"{path}?fieldManager=hand", {"data": {"k": "2"}}, content_type=MERGE)
    conflict = refusal(api, "PATCH", f"{path}?fieldManager=one", config("a", k="1"), content_type=APPLY)
    assert 'conflict with "hand" using v1' in conflict.message


def test_apply_of_a_job_merges_lists_by_their_keys(api: Api, place: str) -> None:
    path = f"{pods(place)}/p?fieldManager"
    api.request("PATCH", f"{path}=one", pod("p"), content_type=APPLY)
    other = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p", "finalizers": ["example.com/mine"]},
        "spec": {"tolerations": [{"key": "a", "operator": "Exists", "effect": "NoSchedule"}]},
    }
    found = api.request("PATCH", f"{path}=two", other, content_type=APPLY)
    assert found["metadata"]["finalizers"] == ["example.com/mine"]
    assert "a" in [item.get("key") for item in found["spec"]["tolerations"]]
    gone = {**other, "metadata": {"name": "p"}}
    assert "finalizers" not in api.request("PATCH", f"{path}=two", gone, content_type=APPLY)["metadata"]


# --- deleting


def owned_by(owner: Obj, name: str, *, blocking: bool = False) -> Obj:
    made = config(name)
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": owner["metadata"]["name"]}
    reference["uid"] = owner["metadata"]["uid"]
    made["metadata"]["ownerReferences"] = [reference | ({"blockOwnerDeletion": True} if blocking else {})]
    return made


@pytest.mark.parametrize("policy", ["Background", "Foreground", "Orphan"])
def test_what_is_owned_goes_with_its_owner(api: Api, place: str, policy: str) -> None:
    owner = api.request("POST", configs(place), config("owner"))
    api.request("POST", configs(place), owned_by(owner, "owned", blocking=True))
    api.request("DELETE", f"{configs(place)}/owner", {"propagationPolicy": policy})
    until(lambda: there(api, "v1", "ConfigMap", "owner", place) is None, seconds=60, what="the owner's end")
    if policy == "Orphan":
        left = api.get("v1", "ConfigMap", "owned", place)
        assert "ownerReferences" not in left["metadata"]
    else:
        until(lambda: there(api, "v1", "ConfigMap", "owned", place) is None, seconds=60, what="the end of the owned")


def test_a_finalizer_holds(api: Api, place: str) -> None:
    made = config("a")
    made["metadata"]["finalizers"] = ["example.com/hold"]
    api.request("POST", configs(place), made)
    held = api.request("DELETE", f"{configs(place)}/a")
    assert held["metadata"]["deletionTimestamp"]
    assert held["metadata"]["deletionGracePeriodSeconds"] == 0
    more = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    error = refusal(api, "PATCH", f"{configs(place)}/a", more, content_type=MERGE)
    assert (error.code, "no new finalizers can be added if the object is being deleted" in error.message) == (422, True)
    api.request("PATCH", f"{configs(place)}/a", {"metadata": {"finalizers": None}}, content_type=MERGE)
    assert there(api, "v1", "ConfigMap", "a", place) is None


def test_a_deletion_has_conditions(api: Api, place: str) -> None:
    made = api.request("POST", configs(place), config("a"))
    wrong = {"preconditions": {"uid": "00000000-0000-0000-0000-000000000000"}}
    error = refusal(api, "DELETE", f"{configs(place)}/a", wrong)
    assert (error.code, error.reason) == (409, "Conflict")
    assert "the UID in the precondition" in error.message
    assert refusal(api, "DELETE", f"{configs(place)}/a", {"preconditions": {"resourceVersion": "1"}}).code == 409
    right = {"preconditions": {key: made["metadata"][key] for key in ("uid", "resourceVersion")}}
    answer = api.request("DELETE", f"{configs(place)}/a", right)
    assert (answer["kind"], answer["status"]) == ("Status", "Success")
    assert answer["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}
    assert refusal(api, "DELETE", f"{configs(place)}/a").code == 404


def test_a_pod_that_nobody_runs_is_gone_at_once(api: Api, place: str) -> None:
    api.request("POST", pods(place), pod("p"))
    api.request("DELETE", f"{pods(place)}/p")
    assert there(api, "v1", "Pod", "p", place) is None


def test_a_collection_is_deleted_by_selector(api: Api, place: str) -> None:
    for name, label in (("a", "1"), ("b", "1"), ("c", "2")):
        api.request("POST", configs(place), config(name, {"n": label}))
    api.request("DELETE", f"{configs(place)}?labelSelector=n%3D1")
    assert names(api, f"{configs(place)}?labelSelector=n") == ["c"]


# --- rights, events


def test_who_may_what(api: Api, place: str) -> None:
    attributes = {"namespace": place, "verb": "create", "group": "kubeflow.org", "resource": "tfjobs"}
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    body["spec"] = {"resourceAttributes": attributes}  # type: ignore[assignment]
    answer = api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
    assert answer["status"]["allowed"] is True
    who = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    user = api.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", who)["status"]["userInfo"]
    assert user["username"]
    assert "system:authenticated" in user["groups"]


def test_events_are_found_by_what_they_are_about(api: Api, place: str) -> None:
    made = api.request("POST", configs(place), config("a"))
    about = {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "namespace": place, "uid": made["metadata"]["uid"]}
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"generateName": "a."}, "involvedObject": about}
    event |= {"reason": "Seen", "message": "it was seen", "type": "Normal", "source": {"component": "test"}}
    path = f"/api/v1/namespaces/{place}/events"
    api.request("POST", path, event)
    [found] = api.request("GET", f"{path}?fieldSelector=involvedObject.name%3Da%2Creason%3DSeen")["items"]
    assert found["message"] == "it was seen"
    assert names(api, f"{path}?fieldSelector=involvedObject.name%3Db") == []


# --- definitions


def definition(plural: str, **version: Any) -> Obj:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "required": ["size"],
                "properties": {
                    "size": {"type": "integer", "minimum": 1},
                    "colour": {"type": "string", "enum": ["red", "blue"], "default": "red"},
                },
            },
            "status": {"type": "object", "properties": {"ready": {"type": "integer"}}},
        },
    }
    subresources = {"status": {}, "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.ready"}}
    one = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"kind": plural.capitalize(), "plural": plural},
            "versions": [one | {"subresources": subresources} | version],
        },
    }


def test_a_definition_serves_its_kind_until_it_is_deleted(api: Api, place: str) -> None:
    path, plural = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "gadgets"
    api.request("POST", path, definition(plural))

    def established() -> bool:
        found = api.request("GET", f"{path}/{plural}.example.com").get("status", {}).get("conditions") or ()
        return any((one["type"], one["status"]) == ("Established", "True") for one in found)

    until(established, seconds=60, what="the definition")
    mine = f"/apis/example.com/v1/namespaces/{place}/{plural}"
    until(lambda: plural in api.resources("example.com/v1"), seconds=60, what="its resource")
    head = {"apiVersion": "example.com/v1", "kind": plural.capitalize(), "metadata": {"name": "g"}}
    made = api.request("POST", mine, head | {"spec": {"size": 2, "extra": 1}})
    assert made["spec"] == {"size": 2, "colour": "red"}
    wrong = refusal(api, "POST", mine, head | {"spec": {"size": 0, "colour": "green"}})
    assert wrong.code == 422
    assert "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1" in wrong.message
    assert 'spec.colour: Unsupported value: "green": supported values: "red", "blue"' in wrong.message
    assert "spec.size: Required value" in refusal(api, "POST", mine, head | {"spec": {}}).message
    api.request("PATCH", f"{mine}/g/status", {"status": {"ready": 1}}, content_type=MERGE)
    scale = api.request("GET", f"{mine}/g/scale")
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (2, 1)
    api.request("PATCH", f"{mine}/g/scale", {"spec": {"replicas": 5}}, content_type=MERGE)
    assert api.request("GET", f"{mine}/g")["spec"]["size"] == 5
    api.request("DELETE", f"{path}/{plural}.example.com")

    def gone() -> bool:
        try:
            api.request("GET", mine)
        except ApiStatusError as error:
            return error.code == 404
        return False

    until(gone, seconds=60, what="the end of its kind")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": None}, "spec.versions[0].schema.openAPIV3Schema: Required value"),
        ({"storage": False}, "must have exactly one version marked as storage version"),
    ],
)
def test_a_wrong_definition_is_refused(api: Api, change: Obj, words: str) -> None:
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    error = refusal(api, "POST", f"{path}?dryRun=All", definition("wrongs", **change))
    assert (error.code, words in error.message) == (422, True), error.message
