from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import apply, fieldsets, patches, typed
from jupyterlab_kf.errors import ApiError
from jupyterlab_kf.model import Obj, parse_time

GOLDEN = Path(__file__).parents[1] / "golden" / "apimachinery"
SERVER = ("uid", "resourceVersion", "creationTimestamp", "generation", "namespace")


def replay(live: Obj | None, record: dict[str, Any], now: float) -> Obj:
    """One recorded PATCH, as a server would do it with the pure functions."""
    url = urlsplit(record["request"].split(" ")[1])
    query = {k: v[0] for k, v in parse_qs(url.query).items()}
    kind = kinds.TF_JOB if "/tfjobs/" in url.path else kinds.CONFIG_MAP
    body = record["request_body"]
    if record["content_type"].startswith("application/apply-patch"):
        done = apply.server_side_apply(
            live, body, kind=kind, manager=query["fieldManager"], force=query.get("force") == "true", now=now
        )
    else:
        done = patches.merge_patch(live or {}, body)
        done["metadata"] = {
            **done["metadata"],
            "managedFields": apply.track_update(live, done, kind=kind, manager=query["fieldManager"], now=now),
        }
    return done


def test_recorded_server_side_apply() -> None:
    records = json.loads((GOLDEN / "server-side-apply.json").read_text())
    stored: dict[str, Obj] = {}
    compared = 0
    for record in records:
        place = urlsplit(record["request"].split(" ")[1]).path
        answer = record["response_body"]
        if record["status"] == 422:
            continue  # query options: the server's business
        times = [e.get("time") for e in (answer.get("metadata") or {}).get("managedFields") or ()]
        now = parse_time(next((t for t in times if t), "2026-11-23T14:57:50Z")) or 0.0
        if record["status"] not in (200, 201):
            with pytest.raises(ApiError) as caught:
                replay(stored.get(place), record, now)
            error = caught.value
            assert (error.code, error.reason, error.message) == (answer["code"], answer["reason"], answer["message"])
            assert dict(error.details) == answer.get("details", {})
        else:
            done = replay(stored.get(place), record, now)
            done["metadata"] |= {name: answer["metadata"][name] for name in SERVER if name in answer["metadata"]}
            assert done == answer
            stored[place] = done
        compared += 1
    assert compared >= 12


# --- structured merge ---------------------------------------------------------------------------------------------

NOW = 1_790_000_000.0


def pod(*containers: Obj, **spec: Any) -> Obj:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"containers": list(containers), **spec},
    }


def applied(live: Obj | None, obj: Obj, manager: str = "me", *, force: bool = False) -> Obj:
    return apply.server_side_apply(live, obj, kind=kinds.POD, manager=manager, force=force, now=NOW)


def updated(old: Obj | None, new: Obj, manager: str, *, subresource: str = "", now: float = NOW) -> Obj:
    entries = apply.track_update(old, new, kind=kinds.POD, manager=manager, now=now, subresource=subresource)
    return {**new, "metadata": {**new["metadata"], "managedFields": entries}}


def owned(obj: Obj, manager: str) -> list[str]:
    entries = obj["metadata"]["managedFields"]
    return [path for e in entries if e["manager"] == manager for path in apply.paths(e["fieldsV1"])]


def test_items_of_two_managers_live_in_one_list() -> None:
    one = applied(None, pod({"name": "a", "image": "1"}))
    two = applied(one, pod({"name": "b", "image": "1"}), "you")
    assert [c["name"] for c in two["spec"]["containers"]] == ["a", "b"]
    left = applied(two, pod(), "you")
    assert [c["name"] for c in left["spec"]["containers"]] == ["a"]


def test_what_is_no_longer_applied_goes_and_what_others_own_stays() -> None:
    one = applied(None, pod({"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}], "workingDir": "/"}))
    two = updated(one, {**one, "spec": {"containers": [{**one["spec"]["containers"][0], "tty": True}]}}, "you")
    three = applied(two, pod({"name": "a", "image": "1"}))
    assert three["spec"]["containers"] == [{"name": "a", "image": "1", "tty": True}]
    assert owned(three, "you") == ['.spec.containers[name="a"].tty']


def test_the_name_stays_when_the_only_labels_are_no_longer_applied() -> None:
    head = {"apiVersion": "v1", "kind": "ConfigMap", "data": {}}
    made: Obj | None = None
    for metadata in ({"name": "a", "labels": {"x": "1"}}, {"name": "a"}):
        applied = head | {"metadata": metadata}
        made = apply.server_side_apply(made, applied, kind=kinds.CONFIG_MAP, manager="one", force=False, now=0.0)
    assert made is not None
    assert {key: made["metadata"].get(key) for key in ("name", "labels")} == {"name": "a", "labels": None}


def test_ports_without_a_protocol_are_the_tcp_ones() -> None:
    one = applied(None, pod({"name": "a", "image": "1", "ports": [{"containerPort": 80, "protocol": "TCP"}]}), "you")
    two = applied(one, pod({"name": "a", "image": "1", "ports": [{"containerPort": 80, "name": "http"}]}), force=True)
    assert two["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "protocol": "TCP", "name": "http"}]


def test_equal_quantities_do_not_conflict() -> None:
    one = applied(None, pod({"name": "a", "image": "1", "resources": {"limits": {"memory": "1024Mi", "cpu": 1}}}))
    assert one["spec"]["containers"][0]["resources"] == {"limits": {"memory": "1Gi", "cpu": "1"}}
    two = applied(one, pod({"name": "a", "image": "1", "resources": {"limits": {"memory": "1024Mi"}}}), "you")
    assert two["spec"] == one["spec"]


def test_conflicts_name_every_manager_and_path() -> None:
    one = applied(None, pod({"name": "a", "image": "1"}, hostname="h"))
    two = updated(one, {**one, "spec": {**one["spec"], "subdomain": "s"}}, "editor")
    with pytest.raises(ApiError) as caught:
        applied(two, pod({"name": "a", "image": "2"}, hostname="i", subdomain="t"), "you")
    assert caught.value.message == (
        "Apply failed with 3 conflicts: "
        'conflicts with "editor" using v1:\n- .spec.subdomain\n'
        'conflicts with "me":\n- .spec.containers[name="a"].image\n- .spec.hostname'
    )
    assert [cause["field"] for cause in caught.value.details["causes"]] == [
        ".spec.subdomain",
        '.spec.containers[name="a"].image',
        ".spec.hostname",
    ]
    forced = applied(two, pod({"name": "a", "image": "2"}, hostname="i", subdomain="t"), "you", force=True)
    assert owned(forced, "editor") == []
    assert owned(forced, "me") == ['.spec.containers[name="a"]', '.spec.containers[name="a"].name']


def test_applying_to_an_object_without_owners_keeps_its_fields() -> None:
    live = pod({"name": "a", "image": "1", "tty": True})
    done = applied(live, pod({"name": "a", "image": "1"}))
    assert done["spec"] == live["spec"]
    assert '.spec.containers[name="a"].tty' in owned(done, "before-first-apply")


def test_status_and_main_resource_are_tracked_apart() -> None:
    one = updated(None, {**pod({"name": "a"}), "status": {"phase": "Pending"}}, "me")
    two = updated(one, {**one, "status": {"phase": "Running"}}, "kubelet", subresource="status")
    assert owned(two, "kubelet") == [".status.phase"]
    assert [e.get("subresource", "") for e in two["metadata"]["managedFields"]] == ["status", ""]
    assert ".status.phase" not in owned(two, "me")


def test_a_write_without_a_change_keeps_the_entries() -> None:
    one = updated(None, pod({"name": "a"}), "me")
    assert updated(one, dict(one), "you", now=NOW + 5) == one


def test_removed_fields_leave_every_set() -> None:
    one = updated(None, pod({"name": "a"}, hostname="h"), "me")
    two = updated(one, {**one, "spec": {"containers": one["spec"]["containers"]}}, "you", now=NOW + 5)
    assert ".spec.hostname" not in owned(two, "me")
    assert owned(two, "you") == []


def test_clients_may_edit_or_clear_the_list() -> None:
    one = updated(None, pod({"name": "a"}), "me")
    assert updated(one, {**one, "metadata": {"name": "p", "managedFields": [{}]}}, "you")["metadata"] == {
        "name": "p",
        "managedFields": [],
    }
    renamed = [{**one["metadata"]["managedFields"][0], "manager": "other"}]
    assert updated(one, {**one, "metadata": {"name": "p", "managedFields": renamed}}, "you") == {
        **one,
        "metadata": {"name": "p", "managedFields": renamed},
    }


def test_old_updaters_melt_together() -> None:
    obj = updated(None, pod({"name": "a"}), "creator")
    for number in range(15):
        new = {
            **obj,
            "metadata": {**obj["metadata"], "labels": {**obj["metadata"].get("labels", {}), f"l{number}": ""}},
        }
        obj = updated(obj, new, f"m{number}", now=NOW + number)
    entries = obj["metadata"]["managedFields"]
    assert len(entries) == apply.MAX_UPDATERS
    assert {".metadata.labels.l0", '.spec.containers[name="a"]'} <= set(owned(obj, apply.ANCIENT))


def test_definitions_may_declare_associative_lists() -> None:
    kind = kinds.Kind("example.com", "v1", "Thing", "things", custom=True)
    item = {"type": "object", "properties": {"name": {"type": "string"}, "v": {"type": "integer"}}}
    things = {"type": "array", "items": item, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}
    spec = {"type": "object", "properties": {"things": things}}
    schema = {"type": "object", "properties": {"spec": spec}}
    crd = {"spec": {"versions": [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]}}

    def thing(*found: Obj) -> Obj:
        return {
            "apiVersion": "example.com/v1",
            "kind": "Thing",
            "metadata": {"name": "t"},
            "spec": {"things": list(found)},
        }

    one = apply.server_side_apply(
        None, thing({"name": "a", "v": 1}), kind=kind, manager="me", force=False, now=NOW, crd=crd
    )
    two = apply.server_side_apply(
        one, thing({"name": "b", "v": 1}), kind=kind, manager="you", force=False, now=NOW, crd=crd
    )
    assert two["spec"]["things"] == [{"name": "a", "v": 1}, {"name": "b", "v": 1}]
    without = apply.server_side_apply(None, thing({"name": "a"}), kind=kind, manager="me", force=False, now=NOW)
    with pytest.raises(ApiError, match="Apply failed with 1 conflict"):
        apply.server_side_apply(without, thing({"name": "b"}), kind=kind, manager="you", force=False, now=NOW)


def test_kubectl_takes_over_what_it_applied_on_the_client_side() -> None:
    first = pod({"name": "a", "image": "1"}, hostname="h")
    text = json.dumps(first)
    live = {**first, "metadata": {"name": "p", "annotations": {apply.LAST_APPLIED: text}}}
    live = updated(None, live, "kubectl-client-side-apply")
    wanted = pod({"name": "a", "image": "<2>"}, hostname="h")
    with pytest.raises(ApiError, match="Apply failed with 1 conflict"):
        applied(live, wanted, "someone")
    done = applied(live, wanted, "kubectl")
    assert done["spec"]["containers"][0]["image"] == "<2>"
    assert done["metadata"]["annotations"][apply.LAST_APPLIED] == (
        '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p"},"spec":{"containers":'
        '[{"image":"\\u003c2\\u003e","name":"a"}],"hostname":"h"}}\n'
    )
    edited = updated(live, {**live, "spec": {**live["spec"], "hostname": "i"}}, "editor")
    with pytest.raises(ApiError, match=r'conflict with "editor" using v1: \.spec\.hostname'):
        applied(edited, wanted, "kubectl")


CONTAINERS = st.lists(
    st.fixed_dictionaries(
        {"name": st.sampled_from("abc")},
        optional={
            "image": st.sampled_from("123"),
            "tty": st.booleans(),
            "args": st.lists(st.sampled_from("xy"), max_size=2),
            "env": st.lists(
                st.fixed_dictionaries({"name": st.sampled_from("EF")}, optional={"value": st.sampled_from("12")}),
                max_size=2,
                unique_by=lambda e: e["name"],
            ),
        },
    ),
    max_size=3,
    unique_by=lambda c: c["name"],
)


@given(CONTAINERS)
def test_applying_again_changes_nothing(containers: list[Obj]) -> None:
    one = applied(None, pod(*containers))
    assert applied(one, pod(*containers)) == one


@given(CONTAINERS, CONTAINERS)
def test_the_last_forced_apply_wins_and_is_idempotent(first: list[Obj], second: list[Obj]) -> None:
    one = applied(None, pod(*first))
    two = applied(one, pod(*second), "you", force=True)
    assert applied(two, pod(*second), "you") == two
    by_name = {c["name"]: c for c in two["spec"]["containers"]}
    for wanted in second:
        assert all(by_name[wanted["name"]][key] == value for key, value in wanted.items() if key != "env")


@given(CONTAINERS, CONTAINERS)
def test_one_manager_gets_exactly_what_it_applied_last(first: list[Obj], second: list[Obj]) -> None:
    two = applied(applied(None, pod(*first)), pod(*second))
    found = {c["name"]: c for c in two["spec"].get("containers", [])}
    assert found.keys() == {c["name"] for c in second}
    for wanted in second:
        extra = found[wanted["name"]].keys() - wanted.keys()
        # An empty list belongs to nobody, so it stays; a typed server forgets it when it reads the object.
        assert all(found[wanted["name"]][key] == [] for key in extra)


@given(CONTAINERS, CONTAINERS)
def test_sets_of_fields_obey_set_laws(first: list[Obj], second: list[Obj]) -> None:
    of = typed.of(kinds.POD)
    a, b = (fieldsets.fields_of(pod(*c), of) for c in (first, second))

    def members(fields: fieldsets.Fields) -> set[str]:
        return set(fieldsets.paths(fields))

    assert members(fieldsets.union(a, b)) == members(a) | members(b)
    assert members(fieldsets.difference(a, b)) == members(a) - members(b)
    assert members(fieldsets.intersection(a, b)) == members(a) & members(b)
