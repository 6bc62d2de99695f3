"""The rules of the API server, in process: a clock that stands still, no sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from registries import begun

from jupyterlab_kf import controllers, kinds
from jupyterlab_kf.embedded.apiserver.selectors import Selector, parse
from jupyterlab_kf.embedded.registry import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    DeleteOptions,
    Registry,
    WriteOptions,
)
from jupyterlab_kf.embedded.store import Store
from jupyterlab_kf.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
)
from jupyterlab_kf.model import Obj, Ref

NOW = 1_800_000_000.0


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def registry(tmp_path: Path, clock: Clock) -> Iterator[Registry]:
    store = begun(tmp_path)
    yield Registry(store, clock=clock)
    store.close()


def config(name: str, namespace: str = "default", data: dict[str, str] | None = None, **meta: Any) -> Obj:
    return {"metadata": {"name": name, "namespace": namespace, **meta}, "data": data or {"a": "1"}}


def pod(name: str, **spec: Any) -> Obj:
    body = {"containers": [{"name": "c", "image": "busybox:1"}], **spec}
    return {"metadata": {"name": name, "namespace": "default"}, "spec": body}


def tf_job(name: str) -> Obj:
    template = {"spec": {"containers": [{"name": "tensorflow", "image": "x"}]}}
    return {
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"tfReplicaSpecs": {"Worker": {"replicas": 1, "template": template}}},
    }


def refused(call: Callable[[], object], code: int, reason: str, message: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call()
    assert (caught.value.code, caught.value.reason) == (code, reason)
    assert message in caught.value.message
    return caught.value


# --- create ----------------------------------------------------------------------------------------------------------


def test_a_fresh_cluster_has_its_namespaces_and_definitions(registry: Registry) -> None:
    names = [obj["metadata"]["name"] for obj in registry.list(kinds.NAMESPACE)]
    assert names == ["default", "kube-node-lease", "kube-public", "kube-system"]
    assert registry.get(kinds.SERVICE_ACCOUNT, "kube-system", "default")
    definition = registry.get(kinds.CUSTOM_RESOURCE_DEFINITION, "", "mpijobs.kubeflow.org")
    assert [version["name"] for version in definition["spec"]["versions"]] == ["v1", "v2beta1"]
    assert {c["type"]: c["status"] for c in definition["status"]["conditions"]}["Established"] == "True"
    assert set(kinds.ALL) == set(registry.kinds())


def test_what_the_server_sets(registry: Registry) -> None:
    made = registry.create(kinds.POD, {**pod("p"), "status": {"phase": "Running"}})
    meta = made["metadata"]
    assert meta["uid"]
    assert meta["creationTimestamp"] == "2027-01-15T08:00:00Z"
    assert meta["generation"] == 1
    assert made["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert made["spec"]["restartPolicy"] == "Always"
    assert list(made)[:3] == ["kind", "apiVersion", "metadata"]


def test_names_are_generated(registry: Registry) -> None:
    made = registry.create(kinds.CONFIG_MAP, {"metadata": {"generateName": "g" * 80, "namespace": "default"}})
    assert len(made["metadata"]["name"]) == 63


def test_namespaces_must_exist_and_live(registry: Registry) -> None:
    error = refused(
        lambda: registry.create(kinds.CONFIG_MAP, config("a", "no")), 404, "NotFound", 'namespaces "no" not found'
    )
    assert error.details == {"name": "no", "kind": "namespaces"}
    registry.create(kinds.NAMESPACE, {"metadata": {"name": "ending"}})
    registry.delete(kinds.NAMESPACE, "", "ending")
    with pytest.raises(ForbiddenError) as caught:
        registry.create(kinds.CONFIG_MAP, config("a", "ending"))
    assert caught.value.details["causes"][0]["reason"] == "NamespaceTerminating"


def test_a_name_is_taken_once(registry: Registry) -> None:
    registry.create(kinds.TF_JOB, tf_job("t"))
    error = refused(
        lambda: registry.create(kinds.TF_JOB, tf_job("t")), 409, "AlreadyExists", 'tfjobs.kubeflow.org "t" already'
    )
    assert error.details == {"name": "t", "group": "kubeflow.org", "kind": "tfjobs"}


def test_a_resource_version_is_not_for_new_objects(registry: Registry) -> None:
    refused(lambda: registry.create(kinds.CONFIG_MAP, config("a", resourceVersion="1")), 500, "", "should not be set")


def test_a_dry_run_writes_nothing(registry: Registry) -> None:
    revision = registry.store.revision
    made = registry.create(kinds.CONFIG_MAP, config("a"), options=WriteOptions(dry_run=True))
    assert made["metadata"]["uid"]
    assert registry.store.revision == revision


def test_unknown_fields(registry: Registry) -> None:
    wrong = {**config("a"), "zzz": 1}
    strict = WriteOptions(field_validation="Strict")
    refused(
        lambda: registry.create(kinds.CONFIG_MAP, wrong, options=strict),
        400,
        "BadRequest",
        'strict decoding error: unknown field "zzz"',
    )
    warn = WriteOptions(field_validation="Warn")
    assert "zzz" not in registry.create(kinds.CONFIG_MAP, wrong, options=warn)
    assert warn.warnings == ['unknown field "zzz"']


def test_invalid_objects_name_the_field(registry: Registry) -> None:
    error = refused(
        lambda: registry.create(kinds.CONFIG_MAP, config("Bad_Name")), 422, "Invalid", "metadata.name: Invalid value"
    )
    assert error.details["causes"][0]["field"] == "metadata.name"


def test_services_get_an_address_of_their_own(registry: Registry) -> None:
    service = {"spec": {"selector": {"a": "b"}, "ports": [{"port": 80}]}}
    made = [
        registry.create(kinds.SERVICE, {**service, "metadata": {"name": name, "namespace": "default"}})
        for name in ("s1", "s2")
    ]
    assert len({one["spec"]["clusterIP"] for one in made}) == 2
    headless = {"metadata": {"name": "h", "namespace": "default"}, "spec": {**service["spec"], "clusterIP": "None"}}
    assert registry.create(kinds.SERVICE, headless)["spec"]["clusterIP"] == "None"


# --- update and patch ------------------------------------------------------------------------------------------------


def test_a_stale_version_conflicts(registry: Registry) -> None:
    made = registry.create(kinds.CONFIG_MAP, config("a"))
    registry.update(kinds.CONFIG_MAP, {**made, "data": {"a": "2"}})
    with pytest.raises(ConflictError, match="the object has been modified"):
        registry.update(kinds.CONFIG_MAP, {**made, "data": {"a": "3"}})


def test_core_kinds_may_be_put_without_a_version_and_custom_ones_not(registry: Registry) -> None:
    registry.create(kinds.CONFIG_MAP, config("a"))
    assert registry.update(kinds.CONFIG_MAP, config("a", data={"b": "1"}))["data"] == {"b": "1"}
    registry.create(kinds.TF_JOB, tf_job("t"))
    error = refused(
        lambda: registry.update(kinds.TF_JOB, tf_job("t")), 422, "Invalid", "must be specified for an update"
    )
    assert error.details["kind"] == "tfjobs"


def test_a_put_creates_nothing(registry: Registry) -> None:
    with pytest.raises(NotFoundError):
        registry.update(kinds.CONFIG_MAP, config("a"))


def test_what_changes_nothing_is_not_written(registry: Registry) -> None:
    made = registry.create(kinds.CONFIG_MAP, config("a"), options=WriteOptions(manager="m"))
    revision = registry.store.revision
    again = registry.patch(
        kinds.CONFIG_MAP, "default", "a", {"data": {"a": "1"}}, MERGE_PATCH, options=WriteOptions(manager="m")
    )
    assert again == made
    assert registry.store.revision == revision


def test_generation_counts_the_spec_only(registry: Registry) -> None:
    registry.create(kinds.TF_JOB, tf_job("t"))

    def patched(patch: Obj, subresource: str = "") -> int:
        done = registry.patch(kinds.TF_JOB, "default", "t", patch, MERGE_PATCH, subresource=subresource)
        return int(done["metadata"]["generation"])

    assert patched({"metadata": {"labels": {"a": "b"}}}) == 1
    assert patched({"spec": {"runPolicy": {"suspend": True}}}) == 2
    assert patched({"status": {"startTime": "2026-01-01T00:00:00Z"}}, "status") == 2


def test_generation_of_a_deployment_counts_its_annotations_but_for_those_of_its_controller(registry: Registry) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": pod("p")["spec"]}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    registry.create(kinds.DEPLOYMENT, {"metadata": {"name": "d", "namespace": "default"}, "spec": spec})

    def patched(metadata: Obj, subresource: str = "") -> Obj:
        patch = {"metadata": metadata}
        done = registry.patch(kinds.DEPLOYMENT, "default", "d", patch, MERGE_PATCH, subresource=subresource)
        found: Obj = done["metadata"]
        return found

    told = patched({"annotations": {"a": "1"}, "labels": {"a": "1"}}, "status")
    assert (told["generation"], told["annotations"], "labels" in told) == (1, {"a": "1"}, False)
    assert patched({"labels": {"a": "1"}})["generation"] == 1
    assert patched({"annotations": {"a": "2"}})["generation"] == 2


def test_status_has_its_own_door(registry: Registry) -> None:
    registry.create(kinds.TF_JOB, tf_job("t"))
    status = {"conditions": [{"type": "Running", "status": "True"}]}
    through_main = registry.patch(kinds.TF_JOB, "default", "t", {"status": status}, MERGE_PATCH)
    assert "status" not in through_main
    both = {"status": status, "spec": {"runPolicy": {"suspend": True}}, "metadata": {"labels": {"x": "y"}}}
    through_status = registry.patch(kinds.TF_JOB, "default", "t", both, MERGE_PATCH, subresource="status")
    assert through_status["status"] == status
    assert "labels" not in through_status["metadata"]
    assert "runPolicy" not in through_status["spec"]


def test_a_pods_labels_may_change_with_its_status(registry: Registry) -> None:
    registry.create(kinds.POD, pod("p"))
    patch = {"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Running"}}
    done = registry.patch(kinds.POD, "default", "p", patch, MERGE_PATCH, subresource="status")
    assert (done["metadata"]["labels"], done["status"]["phase"]) == ({"a": "b"}, "Running")


def test_the_four_patches(registry: Registry) -> None:
    registry.create(kinds.POD, pod("p"))
    add = [{"op": "add", "path": "/metadata/labels", "value": {"j": "1"}}]
    registry.patch(kinds.POD, "default", "p", add, JSON_PATCH)
    registry.patch(kinds.POD, "default", "p", {"metadata": {"labels": {"m": "1"}}}, MERGE_PATCH)
    image = {"spec": {"containers": [{"name": "c", "image": "busybox:2"}]}}
    registry.patch(kinds.POD, "default", "p", image, STRATEGIC_PATCH)
    applied = {"apiVersion": "v1", "kind": "Pod", "metadata": {"labels": {"s": "1"}}}
    done = registry.patch(kinds.POD, "default", "p", applied, APPLY_PATCH, options=WriteOptions(manager="me"))
    assert done["metadata"]["labels"] == {"j": "1", "m": "1", "s": "1"}
    assert done["spec"]["containers"][0]["image"] == "busybox:2"


def test_an_apply_creates_and_conflicts(registry: Registry) -> None:
    def apply(value: str, manager: str, *, force: bool = False) -> Obj:
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": value}}
        options = WriteOptions(manager=manager, force=force)
        return registry.patch(kinds.CONFIG_MAP, "default", "a", body, APPLY_PATCH, options=options)

    apply("1", "one")
    with pytest.raises(ConflictError, match=r'conflict with "one": \.data\.k'):
        apply("2", "two")
    assert apply("2", "two", force=True)["data"] == {"k": "2"}


def test_immutable_things(registry: Registry) -> None:
    registry.create(kinds.CONFIG_MAP, {**config("a"), "immutable": True})
    refused(
        lambda: registry.patch(kinds.CONFIG_MAP, "default", "a", {"data": {"a": "2"}}, MERGE_PATCH),
        422,
        "Invalid",
        "data: Forbidden: field is immutable when `immutable` is set",
    )
    registry.create(kinds.POD, pod("p"))
    refused(
        lambda: registry.patch(kinds.POD, "default", "p", {"spec": {"nodeName": "n"}}, MERGE_PATCH),
        422,
        "Invalid",
        "pod updates may not change fields other than",
    )


def test_scale(registry: Registry) -> None:
    selector = {"matchLabels": {"a": "d"}}
    template = {"metadata": {"labels": {"a": "d"}}, "spec": pod("x")["spec"]}
    deployment = {
        "metadata": {"name": "d", "namespace": "default"},
        "spec": {"selector": selector, "template": template},
    }
    registry.create(kinds.DEPLOYMENT, deployment)
    assert registry.scale(kinds.DEPLOYMENT, "default", "d")["status"]["selector"] == "a=d"
    patch = {"spec": {"replicas": 3}}
    scaled = registry.patch(kinds.DEPLOYMENT, "default", "d", patch, MERGE_PATCH, subresource="scale")
    assert (scaled["kind"], scaled["spec"]["replicas"]) == ("Scale", 3)
    assert registry.get(kinds.DEPLOYMENT, "default", "d")["metadata"]["generation"] == 2
    registry.create(kinds.TF_JOB, tf_job("t"))
    with pytest.raises(NotFoundError):
        registry.scale(kinds.TF_JOB, "default", "t")


def test_both_versions_of_a_kind_read_one_object(registry: Registry) -> None:
    template = {"spec": {"containers": [{"name": "mpi", "image": "x"}]}}
    spec = {"mpiReplicaSpecs": {"Launcher": {"replicas": 1, "template": template}}}
    registry.create(kinds.MPI_JOB, {"metadata": {"name": "m", "namespace": "default"}, "spec": spec})
    assert registry.get(kinds.MPI_JOB_V2, "default", "m")["apiVersion"] == "kubeflow.org/v2beta1"
    assert registry.get(kinds.MPI_JOB, "default", "m")["apiVersion"] == "kubeflow.org/v1"
    labelled = registry.patch(kinds.MPI_JOB_V2, "default", "m", {"metadata": {"labels": {"a": "b"}}}, MERGE_PATCH)
    assert labelled["apiVersion"] == "kubeflow.org/v2beta1"
    assert registry.store.list(kinds.MPI_JOB)[0]["apiVersion"] == "kubeflow.org/v1"


# --- delete ----------------------------------------------------------------------------------------------------------


def test_preconditions(registry: Registry) -> None:
    registry.create(kinds.CONFIG_MAP, config("a"))
    for options in (DeleteOptions(uid="other"), DeleteOptions(resource_version="1")):
        with pytest.raises(ConflictError, match="in the precondition") as caught:
            registry.delete(kinds.CONFIG_MAP, "default", "a", options=options)
        assert caught.value.details["kind"] == "ConfigMap"


def test_finalizers_hold_an_object(registry: Registry) -> None:
    registry.create(kinds.CONFIG_MAP, config("a", finalizers=["example.com/hold"]))
    waiting = registry.delete(kinds.CONFIG_MAP, "default", "a")
    assert waiting is not None
    assert waiting["metadata"]["deletionGracePeriodSeconds"] == 0
    with pytest.raises(AlreadyExistsError, match="object is being deleted: configmaps"):
        registry.create(kinds.CONFIG_MAP, config("a"))
    with pytest.raises(InvalidError, match="no new finalizers can be added"):
        registry.patch(
            kinds.CONFIG_MAP, "default", "a", {"metadata": {"finalizers": ["example.com/hold", "e.com/n"]}}, MERGE_PATCH
        )
    last = registry.patch(kinds.CONFIG_MAP, "default", "a", {"metadata": {"finalizers": None}}, MERGE_PATCH)
    assert "finalizers" not in last["metadata"]
    with pytest.raises(NotFoundError):
        registry.get(kinds.CONFIG_MAP, "default", "a")


def test_a_pod_that_runs_is_given_time(registry: Registry, clock: Clock) -> None:
    registry.create(kinds.POD, pod("p", terminationGracePeriodSeconds=20))
    registry.bind("default", "p", "here")
    waiting = registry.delete(kinds.POD, "default", "p")
    assert waiting is not None
    assert waiting["metadata"]["deletionTimestamp"] == "2027-01-15T08:00:20Z"
    assert waiting["metadata"]["generation"] == 2
    clock.now += 5
    assert registry.delete(kinds.POD, "default", "p") == waiting
    sooner = registry.delete(kinds.POD, "default", "p", options=DeleteOptions(grace=10))
    assert sooner is not None
    assert sooner["metadata"]["deletionTimestamp"] == "2027-01-15T08:00:10Z"
    assert registry.delete(kinds.POD, "default", "p", options=DeleteOptions(grace=0)) is None


@pytest.mark.parametrize("phase", ["Succeeded", "Failed", ""])
def test_pods_that_do_not_run_go_at_once(registry: Registry, phase: str) -> None:
    registry.create(kinds.POD, pod("p"))
    if phase:
        registry.bind("default", "p", "here")
        registry.patch(kinds.POD, "default", "p", {"status": {"phase": phase}}, MERGE_PATCH, subresource="status")
    assert registry.delete(kinds.POD, "default", "p") is None


def test_a_pod_is_bound_once(registry: Registry) -> None:
    registry.create(kinds.POD, pod("p"))
    bound = registry.bind("default", "p", "here")
    assert bound["spec"]["nodeName"] == "here"
    assert bound["status"]["conditions"][0]["type"] == "PodScheduled"
    with pytest.raises(ConflictError, match="already assigned to node"):
        registry.bind("default", "p", "there")


def test_system_namespaces_stay(registry: Registry) -> None:
    with pytest.raises(ForbiddenError, match="this namespace may not be deleted"):
        registry.delete(kinds.NAMESPACE, "", "default")


def test_deleting_what_a_selector_chooses(registry: Registry) -> None:
    for name, color in (("a", "red"), ("b", "blue"), ("c", "red")):
        registry.create(kinds.CONFIG_MAP, config(name, labels={"color": color}))
    red = registry.list(kinds.CONFIG_MAP, "default", parse("color=red", "", kinds.CONFIG_MAP))
    registry.delete(kinds.CONFIG_MAP, "default", "a")
    registry.delete_all(kinds.CONFIG_MAP, red)
    assert [obj["metadata"]["name"] for obj in registry.list(kinds.CONFIG_MAP, "default", Selector())] == ["b"]


# --- definitions -----------------------------------------------------------------------------------------------------


def definition(**version: Any) -> Obj:
    schema = {
        "type": "object",
        "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    served = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}, **version}
    return {
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"kind": "Widget", "plural": "widgets"},
            "versions": [served],
        },
    }


def test_a_definition_makes_its_kind_known(registry: Registry) -> None:
    made = registry.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition())
    assert made["spec"]["names"]["listKind"] == "WidgetList"
    kind = registry.resources.of("example.com/v1", "Widget")
    assert kind is not None
    widget = registry.create(kind, {"metadata": {"name": "w", "namespace": "default"}, "spec": {"any": 1}})
    assert widget["metadata"]["generation"] == 1
    assert kind in registry.kinds()


def test_stored_definitions_are_served_after_a_restart(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    Registry(store).create(kinds.CUSTOM_RESOURCE_DEFINITION, definition())
    store.close()
    store = Store(tmp_path / "store.db")
    assert Registry(store).resources.of("example.com/v1", "Widget") is not None
    store.close()


# --- events ----------------------------------------------------------------------------------------------------------


def test_equal_events_are_counted(registry: Registry, clock: Clock) -> None:
    emit = controllers.Emit(Ref("Pod", "p", "default", "u"), "v1", "Normal", "Pulled", "image present", "kubelet")
    registry.record(emit)
    clock.now += 60
    registry.record(emit)
    [event] = registry.list(kinds.EVENT, "default")
    assert event["count"] == 2
    assert (event["firstTimestamp"], event["lastTimestamp"]) == ("2027-01-15T08:00:00Z", "2027-01-15T08:01:00Z")
    assert event["involvedObject"]["uid"] == "u"


def test_events_of_a_namespace_that_is_gone_are_dropped(registry: Registry) -> None:
    registry.record(controllers.Emit(Ref("Pod", "p", "gone", "u"), "v1", "Normal", "R", "m", "s"))
    assert registry.list(kinds.EVENT) == []


def test_the_view_of_controllers(registry: Registry) -> None:
    job = registry.create(kinds.TF_JOB, tf_job("t"))
    owner = {"apiVersion": "kubeflow.org/v1", "kind": "TFJob", "name": "t", "uid": job["metadata"]["uid"]}
    owned = pod("t-worker-0")
    owned["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
    registry.create(kinds.POD, owned)
    found = registry.view.owned(kinds.POD, job["metadata"]["uid"])
    assert [obj["metadata"]["name"] for obj in found] == ["t-worker-0"]
    assert registry.view.get(kinds.POD, "default", "nope") is None


def test_lists_of_a_custom_kind_are_merged_and_owned_as_its_definition_says(registry: Registry) -> None:
    item = {"type": "object", "properties": {"name": {"type": "string"}, "size": {"type": "integer"}}}
    spec = {
        "type": "object",
        "properties": {
            "parts": {
                "type": "array",
                "items": {**item, "required": ["name"]},
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            }
        },
    }
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}
    registry.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition(schema=schema))
    kind = next(kind for kind in registry.kinds() if kind.kind == "Widget")

    def apply(manager: str, **sizes: int) -> Obj:
        parts = [{"name": name, "size": size} for name, size in sizes.items()]
        body = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": {"name": "w"}, "spec": {"parts": parts}}
        return registry.patch(kind, "default", "w", body, APPLY_PATCH, options=WriteOptions(manager=manager))

    apply("one", a=1)
    both = apply("two", b=2)
    assert [part["name"] for part in both["spec"]["parts"]] == ["a", "b"]
    refused(lambda: apply("two", a=3, b=2), 409, "Conflict", 'conflict with "one": .spec.parts[name="a"].size')
    changed = {**both, "spec": {"parts": [{"name": "a", "size": 1}, {"name": "b", "size": 5}]}}
    written = registry.update(kind, changed, options=WriteOptions(manager="three"))
    owners = {entry["manager"]: entry["fieldsV1"] for entry in written["metadata"]["managedFields"]}
    assert owners["three"] == {"f:spec": {"f:parts": {'k:{"name":"b"}': {"f:size": {}}}}}
    assert 'k:{"name":"a"}' in owners["one"]["f:spec"]["f:parts"]


def test_what_kubectl_applies_here_is_remembered_for_applies_on_the_clients_side(registry: Registry) -> None:
    name = "kubectl.kubernetes.io/last-applied-configuration"
    registry.create(kinds.CONFIG_MAP, config("c", annotations={name: "{}"}), options=WriteOptions(manager="kubectl-cs"))
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": "1 < 2"}}
    options = WriteOptions(manager="kubectl", force=True)
    applied = registry.patch(kinds.CONFIG_MAP, "default", "c", body, APPLY_PATCH, options=options)
    assert applied["metadata"]["annotations"][name] == (
        '{"apiVersion":"v1","data":{"a":"1 \\u003c 2"},"kind":"ConfigMap",'
        '"metadata":{"name":"c","namespace":"default"}}\n'
    )
