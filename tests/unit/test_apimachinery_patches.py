from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import apply, defaults, patches
from jupyterlab_kf.errors import ApiError, InvalidError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, parse_time

GOLDEN = Path(__file__).parents[1] / "golden" / "apimachinery"
PATCHES: list[dict[str, Any]] = json.loads((GOLDEN / "patches.json").read_text())


def place(request: str) -> tuple[Kind, str]:
    """Kind and subresource of a recorded URL."""
    parts = urlsplit(request.split(" ")[1]).path.split("/")
    subresource = "status" if parts[-1] == "status" else ""
    plural = parts[-3] if subresource else parts[-2]
    return next(kind for kind in kinds.ALL if kind.plural == plural), subresource


def patched(record: dict[str, Any], now: float) -> Obj:
    kind, subresource = place(record["request"])
    query = {k: v[0] for k, v in parse_qs(urlsplit(record["request"].split(" ")[1]).query).items()}
    old, body, media = record["before"], record["request_body"], record["content_type"]
    if media.startswith("application/apply-patch"):
        done = apply.server_side_apply(
            old, body, kind=kind, manager=query["fieldManager"], force=query.get("force") == "true", now=now
        )
        return defaults.default(kind, done)
    if media.startswith("application/json-patch"):
        new = patches.json_patch(old, body)
    elif media.startswith("application/merge-patch"):
        new = patches.merge_patch(old, body)
    else:
        new = patches.strategic_merge(old, body, kind.kind)
    new = defaults.default(kind, new)
    if not subresource and "status" in kind.subresources and "status" in old:
        new["status"] = old["status"]
    if all(isinstance(obj["metadata"].get("managedFields"), list) for obj in (old, record["response_body"])):
        agent = record["response_body"]["metadata"]["managedFields"]
        manager = query.get("fieldManager") or recorded_agent(old, agent)
        entries = apply.track_update(old, new, kind=kind, manager=manager, now=now, subresource=subresource)
        new["metadata"] = {**new["metadata"], "managedFields": entries}
    return new


def recorded_agent(old: Obj, entries: list[dict[str, Any]]) -> str:
    """The manager that a real server took from the user agent: the one whose entry is new or changed."""
    before = old["metadata"]["managedFields"]
    changed = [e["manager"] for e in entries if e not in before and e["operation"] == "Update"]
    return changed[-1] if changed else "unknown"


def comparable(obj: Obj) -> Obj:
    """Without what the running server or its controllers changed."""
    meta = {k: v for k, v in obj["metadata"].items() if k not in ("resourceVersion", "generation")}
    if not isinstance(meta.get("managedFields"), list):
        meta.pop("managedFields", None)
    meta["annotations"] = {k: v for k, v in (meta.get("annotations") or {}).items() if "revision" not in k}
    return {**{k: v for k, v in obj.items() if k != "status"}, "metadata": meta}


@pytest.mark.parametrize("record", PATCHES, ids=lambda r: r["request"].split("?")[0].removeprefix("PATCH ")[-45:])
def test_recorded_patch(record: dict[str, Any]) -> None:
    before = copy.deepcopy(record["before"])
    answer = record["response_body"]
    times = [e.get("time", "") for e in answer["metadata"].get("managedFields") or () if isinstance(e, dict)]
    now = parse_time(max(times, default="") or "2026-11-23T14:52:40Z") or 0.0
    done = patched(record, now)
    assert record["before"] == before
    if not isinstance(answer["metadata"].get("managedFields"), list):
        done["metadata"] = {**done["metadata"], "managedFields": "<omitted>"}
    assert comparable(done) == comparable(answer)


# --- JSON patch and merge patch -----------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=1), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text("abc", max_size=1), JSON, max_size=4)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_nulls(v) for k, v in value.items() if v is not None}
    return value


@given(OBJECTS, OBJECTS)
def test_merging_twice_is_merging_once(obj: Obj, patch: Obj) -> None:
    once = patches.merge_patch(obj, patch)
    assert patches.merge_patch(once, patch) == once


@given(OBJECTS)
def test_an_object_merged_into_nothing_is_itself_without_nulls(obj: Obj) -> None:
    assert patches.merge_patch({}, obj) == without_nulls(obj)


@given(OBJECTS, OBJECTS)
def test_inputs_are_never_changed(obj: Obj, patch: Obj) -> None:
    before = copy.deepcopy((obj, patch))
    patches.merge_patch(obj, patch)
    patches.strategic_merge(obj, patch, "Pod")
    assert (obj, patch) == before


MAPS = st.recursive(
    st.none() | st.integers(-3, 3),
    lambda inner: st.dictionaries(st.text("abc", max_size=1), inner, max_size=3),
    max_leaves=8,
)
NESTED = st.dictionaries(st.text("abc", max_size=1), MAPS, max_size=4)


@given(NESTED, NESTED)
def test_without_lists_a_strategic_patch_is_a_merge_patch(obj: Obj, patch: Obj) -> None:
    assert patches.strategic_merge(obj, patch, "Unknown") == patches.merge_patch(obj, patch)


@pytest.mark.parametrize("body", [[], "x", 1, None])
def test_a_merge_patch_is_an_object(body: Any) -> None:
    with pytest.raises(InvalidError, match="json: cannot unmarshal") as caught:
        patches.merge_patch({}, body)
    assert (caught.value.code, caught.value.reason) == (400, "BadRequest")


def test_a_json_patch_is_a_list_of_operations() -> None:
    with pytest.raises(InvalidError) as caught:
        patches.json_patch({}, {"op": "add"})
    assert caught.value.message == (
        "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"
    )
    assert caught.value.code == 400


@pytest.mark.parametrize(
    "op",
    [
        {"op": "remove", "path": "/none"},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "add", "path": "/a/b/c", "value": 1},
        {"op": "frobnicate", "path": "/a"},
        {"op": "add"},
        {"op": "add", "path": "a"},
        {"op": "replace", "path": "", "value": []},
        {"op": "add", "path": "/list/x", "value": 1},
    ],
)
def test_a_json_patch_that_does_not_apply_has_no_detail(op: dict[str, Any]) -> None:
    with pytest.raises(InvalidError) as caught:
        patches.json_patch({"a": 1, "list": []}, [op])
    assert caught.value.code == 422
    assert caught.value.message == "the server rejected our request due to an error in our request"


def test_too_many_operations() -> None:
    with pytest.raises(ApiError) as caught:
        patches.json_patch({}, [{"op": "test", "path": "", "value": {}}] * 10001)
    assert caught.value.code == 413


# --- strategic merge patch ----------------------------------------------------------------------------------------


def pod(**spec: Any) -> Obj:
    return {"spec": {"containers": [{"name": "a", "image": "1"}, {"name": "b", "image": "1"}], **spec}}


def merged(patch: Obj, obj: Obj | None = None, kind: str = "Pod") -> Any:
    return patches.strategic_merge(obj or pod(), patch, kind)


def test_items_merge_by_their_key() -> None:
    spec = merged({"spec": {"containers": [{"name": "b", "image": "2"}, {"name": "c"}]}})["spec"]
    assert spec["containers"] == [{"name": "a", "image": "1"}, {"name": "b", "image": "2"}, {"name": "c"}]


def test_an_item_is_deleted_by_its_key() -> None:
    spec = merged({"spec": {"containers": [{"name": "a", "$patch": "delete"}]}})["spec"]
    assert spec["containers"] == [{"name": "b", "image": "1"}]


def test_a_list_is_replaced() -> None:
    spec = merged({"spec": {"containers": [{"name": "z"}, {"$patch": "replace"}]}})["spec"]
    assert spec["containers"] == [{"name": "z"}]


def test_a_map_is_replaced_or_emptied() -> None:
    obj = pod(nodeSelector={"a": "1", "b": "2"})
    assert merged({"spec": {"nodeSelector": {"c": "3", "$patch": "replace"}}}, obj)["spec"]["nodeSelector"] == {
        "c": "3"
    }
    assert merged({"spec": {"nodeSelector": {"$patch": "delete"}}}, obj)["spec"]["nodeSelector"] == {}


def test_order_is_set() -> None:
    patch = {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}], "containers": [{"name": "c"}]}}
    names = [c["name"] for c in merged(patch)["spec"]["containers"]]
    assert names == ["b", "a", "c"]
    only = {"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}}
    assert [c["name"] for c in merged(only)["spec"]["containers"]] == ["b", "a"]


def test_primitives_are_added_and_deleted() -> None:
    obj = {"metadata": {"finalizers": ["x/a", "x/b"]}}
    assert merged({"metadata": {"finalizers": ["x/c"]}}, obj)["metadata"]["finalizers"] == ["x/a", "x/b", "x/c"]
    patch = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"]}}
    assert merged(patch, obj)["metadata"]["finalizers"] == ["x/b"]


def test_keys_are_retained() -> None:
    obj = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert merged(patch, obj, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_plain_lists_are_replaced_and_nulls_delete() -> None:
    obj = pod(tolerations=[{"key": "a"}], hostname="h")
    spec = merged({"spec": {"tolerations": [{"key": "b"}], "hostname": None}}, obj)["spec"]
    assert spec["tolerations"] == [{"key": "b"}]
    assert "hostname" not in spec


@pytest.mark.parametrize(
    ("kind", "field", "key"),
    [
        ("Pod", "volumes", "name"),
        ("Pod", "initContainers", "name"),
        ("Pod", "imagePullSecrets", "name"),
        ("Pod", "hostAliases", "ip"),
        ("Service", "ports", "port"),
    ],
)
def test_merge_keys(kind: str, field: str, key: str) -> None:
    obj = {"spec": {field: [{key: "1"}]}}
    assert merged({"spec": {field: [{key: "1", "x": "y"}]}}, obj, kind)["spec"][field] == [{key: "1", "x": "y"}]
    with pytest.raises(ApiError, match=f"does not contain declared merge key: {key}"):
        merged({"spec": {field: [{"x": "y"}]}}, obj, kind)


def test_conditions_merge_by_type() -> None:
    obj = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    patch = {"status": {"conditions": [{"type": "Ready", "status": "True"}, {"type": "Initialized"}]}}
    assert merged(patch, obj)["status"]["conditions"] == [{"type": "Ready", "status": "True"}, {"type": "Initialized"}]
