"""What becomes of an object on its way into the store, kind by kind. Pure: old and new object in, object out.

Owns which fields belong to the server, initial status, generations, what a status write may change, immutable fields,
and the small allocations of admission (service addresses, a job's selector). Refuses schema questions (validation) and
values that a user may leave out (defaults).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import katib
from jupyterlab_kf.embedded.apiserver import defaults, resources
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, format_time

GENERATE_LIMIT: Final = 58
SUFFIX_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"
SUFFIX_LENGTH: Final = 5
RETURNED_WHEN_DELETED: Final = (
    kinds.POD,
    kinds.SERVICE,
    kinds.SERVICE_ACCOUNT,
    kinds.PERSISTENT_VOLUME_CLAIM,
)
"""Kinds whose deletion answers the object and not a Status."""

_SERVER_OWNED: Final = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")
_WITH_GENERATION: Final = frozenset(
    (kind.group, kind.plural)
    for kind in (
        kinds.POD,
        kinds.DEPLOYMENT,
        kinds.REPLICA_SET,
        kinds.JOB,
        kinds.ENDPOINT_SLICE,
        kinds.POD_DISRUPTION_BUDGET,
        kinds.CUSTOM_RESOURCE_DEFINITION,
    )
)
_COUNTED_METADATA: Final = {kinds.DEPLOYMENT: "annotations", kinds.ENDPOINT_SLICE: "labels"}
_OPEN_IN_STATUS: Final = frozenset({"labels", "annotations", "finalizers", "ownerReferences", "managedFields"})
_SHUT_IN_STATUS: Final = {kinds.POD: "ownerReferences", kinds.DEPLOYMENT: "labels"}
_INITIAL_STATUS: Final[Mapping[Kind, Mapping[str, Any]]] = {
    kinds.NAMESPACE: {"phase": "Active"},
    kinds.SERVICE: {"loadBalancer": {}},
    kinds.PERSISTENT_VOLUME_CLAIM: {"phase": "Pending"},
    kinds.REPLICA_SET: {"replicas": 0},
    kinds.DEPLOYMENT: {},
    kinds.JOB: {},
}
_FIRST: Final = ("kind", "apiVersion", "metadata", "spec", "status")
_NO_SCHEDULE_SECONDS: Final = 300
_META_FIRST: Final = (
    "name",
    "generateName",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
    "managedFields",
)


class Cause(NamedTuple):
    """One reason for a 422."""

    field: str
    reason: str
    message: str


def ordered(kind: Kind, obj: Obj) -> Obj:
    """The object with its kind, and with keys where a real server writes them."""
    head = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": obj["metadata"]}
    middle = {key: value for key, value in obj.items() if key not in _FIRST}
    return {**head, **middle, **{key: obj[key] for key in ("spec", "status") if obj.get(key) is not None}}


def ordered_meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    """Metadata with keys where a real server writes them, and without empty ones."""
    known = {key: meta[key] for key in _META_FIRST if meta.get(key) not in (None, "", [], {})}
    return {**known, **{key: value for key, value in meta.items() if key not in _META_FIRST and value is not None}}


def has_generation(kind: Kind) -> bool:
    """True for kinds whose spec is counted."""
    return kind.custom or (kind.group, kind.plural) in _WITH_GENERATION


# --- creation --------------------------------------------------------------------------------------------------------


def born(kind: Kind, obj: Obj, *, name: str, uid: str, now: float) -> Obj:
    """The object as it is created: server-owned metadata set, the caller's status dropped."""
    meta = {key: value for key, value in obj["metadata"].items() if key not in _SERVER_OWNED}
    meta |= {"name": name, "uid": uid, "creationTimestamp": format_time(now)}
    if has_generation(kind):
        meta["generation"] = 1
    if kind == kinds.NAMESPACE:
        meta["labels"] = {**(meta.get("labels") or {}), "kubernetes.io/metadata.name": name}
    body = {key: value for key, value in obj.items() if key not in ("metadata", "status")}
    new = {**body, "metadata": ordered_meta(meta)}
    status = _initial_status(kind, obj, now)
    if status is not None:
        new["status"] = status
    return new


def _initial_status(kind: Kind, obj: Obj, now: float) -> Mapping[str, Any] | None:
    if kind == kinds.CUSTOM_RESOURCE_DEFINITION:
        return resources.established(resources.complete_definition(obj), now)
    if kind in _INITIAL_STATUS:
        return _INITIAL_STATUS[kind]
    if kind == kinds.NODE or "status" not in kind.subresources:
        status: Mapping[str, Any] | None = obj.get("status")
        return status
    return None


STORAGE_CLASS: Final = "standard"
"""The class of claims that name none."""


def admitted(kind: Kind, obj: Obj, *, taken_addresses: Callable[[], Iterable[str]]) -> Obj:
    """What admission adds to an object that has its defaults."""
    if kind == kinds.POD:
        return _admitted_pod(obj)
    if kind == kinds.NAMESPACE:
        return {**obj, "spec": {**(obj.get("spec") or {}), "finalizers": ["kubernetes"]}}
    if kind == kinds.SERVICE:
        return _addressed_service(obj, taken_addresses)
    if kind == kinds.PERSISTENT_VOLUME_CLAIM:
        # Every claim gets a volume here, as on a cluster with a default StorageClass.
        return {**obj, "spec": {"storageClassName": STORAGE_CLASS, **(obj.get("spec") or {})}}
    if kind == kinds.JOB and not (obj.get("spec") or {}).get("selector"):
        return defaults.job_selector(obj)
    return obj


def normalised(kind: Kind, obj: Obj) -> Obj:
    """What the server rewrites on every write."""
    if kind == kinds.CUSTOM_RESOURCE_DEFINITION:
        return resources.complete_definition(obj)
    return katib.defaulted(obj) if kind == kinds.EXPERIMENT else obj


def _admitted_pod(obj: Obj) -> Obj:
    spec = dict(obj.get("spec") or {})
    tolerations = list(spec.get("tolerations") or ())
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(
            item.get("key") in (key, None, "") and item.get("effect") in ("NoExecute", None, "") for item in tolerations
        ):
            tolerations.append(
                {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _NO_SCHEDULE_SECONDS}
            )
    spec["tolerations"] = tolerations
    spec.setdefault("serviceAccountName", "default")
    spec.setdefault("serviceAccount", spec["serviceAccountName"])
    spec.setdefault("priority", 0)
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    return {**obj, "spec": spec}


def _tolerates(toleration: Mapping[str, Any], key: str) -> bool:
    return toleration.get("key") in (key, None, "") and toleration.get("effect") in ("NoExecute", None, "")


def _addressed_service(obj: Obj, taken: Callable[[], Iterable[str]]) -> Obj:
    spec = dict(obj.get("spec") or {})
    if spec.get("type") == "ExternalName":
        return obj
    if not spec.get("clusterIP"):
        used = set(taken())
        spec["clusterIP"] = next(
            address for address in _cluster_addresses(obj["metadata"]["uid"]) if address not in used
        )
    spec.setdefault("clusterIPs", [spec["clusterIP"]])
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    return {**obj, "spec": spec}


def _cluster_addresses(seed: str) -> Iterable[str]:
    start = int(seed.replace("-", "")[:8], 16)
    hosts = 254 * 254
    for step in range(hosts):
        third, fourth = divmod((start + step) % hosts, 254)
        yield f"10.96.{third + 1}.{fourth + 1}"


# --- update ----------------------------------------------------------------------------------------------------------


def replaced(kind: Kind, old: Obj, new: Obj) -> Obj:
    """The main resource as it is replaced: server-owned metadata and status stay as they were."""
    meta = {key: value for key, value in new["metadata"].items() if key not in _SERVER_OWNED}
    before = old["metadata"]
    kept = (*_SERVER_OWNED, "namespace", "generateName")
    meta |= {key: before[key] for key in kept if key in before}
    if has_generation(kind):
        meta["generation"] = before.get("generation", 1)
    body = {key: value for key, value in new.items() if key != "metadata"}
    if "status" in kind.subresources:
        body.pop("status", None)
        if "status" in old:
            body["status"] = old["status"]
    if kind == kinds.NAMESPACE:
        body["spec"] = old.get("spec") or {}
    out = {**body, "metadata": meta}
    return _kept_service_address(old, out) if kind == kinds.SERVICE else out


def with_status(kind: Kind, old: Obj, new: Obj) -> Obj:
    """The object after a write to ``/status``: its status, and what the kind lets through of its metadata."""
    out = {key: value for key, value in old.items() if key != "status"}
    if new.get("status") is not None:
        out["status"] = new["status"]
    changed = _open_in_status(kind)
    meta = {key: value for key, value in old["metadata"].items() if key not in changed}
    out["metadata"] = meta | {key: new["metadata"][key] for key in changed if new["metadata"].get(key)}
    return out


def _open_in_status(kind: Kind) -> frozenset[str]:
    """The metadata that a write to ``/status`` changes: seen on a real API server, kind by kind."""
    if kind.custom or kind == kinds.CUSTOM_RESOURCE_DEFINITION:
        return frozenset()
    return _OPEN_IN_STATUS - {_SHUT_IN_STATUS.get(kind, "")}


def counted(kind: Kind, old: Obj, new: Obj) -> Obj:
    """The object with its generation raised when what it asks for has changed."""
    if not has_generation(kind) or _asked(kind, old) == _asked(kind, new):
        return new
    meta = {**new["metadata"], "generation": int(old["metadata"].get("generation") or 0) + 1}
    return {**new, "metadata": meta}


def _asked(kind: Kind, obj: Obj) -> Obj:
    """What counts: all but metadata and status, and the metadata that two kinds count too."""
    body = {key: value for key, value in obj.items() if key not in ("metadata", "status")}
    return {**body, "metadata": obj["metadata"].get(_COUNTED_METADATA.get(kind, "")) or {}}


def same(old: Obj, new: Obj) -> bool:
    """True when a write would change nothing but the times of managed fields."""
    return _timeless(old) == _timeless(new)


def _timeless(obj: Obj) -> Obj:
    meta = {key: value for key, value in obj["metadata"].items() if key not in ("resourceVersion", "managedFields")}
    fields = [{k: v for k, v in entry.items() if k != "time"} for entry in obj["metadata"].get("managedFields") or ()]
    return {**obj, "metadata": {**ordered_meta(meta), "managedFields": fields}}


def _kept_service_address(old: Obj, new: Obj) -> Obj:
    before, after = old.get("spec") or {}, dict(new.get("spec") or {})
    if after.get("type") == "ExternalName":
        return new
    for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"):
        if not after.get(key) and key in before:
            after[key] = before[key]
    return {**new, "spec": after}


# --- what may not change ---------------------------------------------------------------------------------------------

_POD_OPEN: Final = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates")


def forbidden_changes(kind: Kind, old: Obj, new: Obj) -> list[Cause]:
    """Why this update may not be made, from comparing the two."""
    # A real server checks metadata twice for built-in kinds, and lists what it finds twice.
    causes = _new_finalizers(old, new) * (1 if kind.custom else 2)
    check = _CHECKS.get(kind)
    return causes + check(old, new) if check else causes


def _new_finalizers(old: Obj, new: Obj) -> list[Cause]:
    if not old["metadata"].get("deletionTimestamp"):
        return []
    before = old["metadata"].get("finalizers") or ()
    added = [name for name in new["metadata"].get("finalizers") or () if name not in before]
    if not added:
        return []
    listed = ", ".join(json.dumps(name) for name in added)
    message = (
        "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers "
        f"[]string{{{listed}}}"
    )
    return [Cause("metadata.finalizers", "FieldValueForbidden", message)]


def _frozen(old: Obj, new: Obj) -> list[Cause]:
    if not old.get("immutable"):
        return []
    message = "Forbidden: field is immutable when `immutable` is set"
    fields = [key for key in ("data", "binaryData") if (old.get(key) or {}) != (new.get(key) or {})]
    if not new.get("immutable"):
        fields.insert(0, "immutable")
    return [Cause(field, "FieldValueForbidden", message) for field in fields]


def _secret(old: Obj, new: Obj) -> list[Cause]:
    return [*_fixed(old, new, "type"), *_frozen(old, new)]


def _fixed(old: Any, new: Any, *paths: str) -> list[Cause]:
    causes = []
    for path in paths:
        before, after = old, new
        for part in path.split("."):
            before, after = (before or {}).get(part), (after or {}).get(part)
        if before != after:
            shown = json.dumps(after, separators=(",", ":"), ensure_ascii=False)
            causes.append(Cause(path, "FieldValueInvalid", f"Invalid value: {shown}: field is immutable"))
    return causes


def _pod(old: Obj, new: Obj) -> list[Cause]:
    before, after = _fixed_part_of_pod(old), _fixed_part_of_pod(new)
    if before == after:
        return []
    keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    message = (
        "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing "
        "tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"
        f"changed: {', '.join(keys)}\n"
    )
    return [Cause("spec", "FieldValueForbidden", message)]


def _fixed_part_of_pod(pod: Obj) -> dict[str, Any]:
    spec = {key: value for key, value in (pod.get("spec") or {}).items() if key not in _POD_OPEN}
    for key in ("containers", "initContainers"):
        spec[key] = [{**container, "image": ""} for container in spec.get(key) or ()]
    return spec


def _workload(old: Obj, new: Obj) -> list[Cause]:
    return _fixed(old, new, "spec.selector")


def _job(old: Obj, new: Obj) -> list[Cause]:
    return _fixed(old, new, "spec.selector", "spec.template", "spec.completionMode", *_fixed_completions(new))


def _fixed_completions(job: Obj) -> tuple[str, ...]:
    return () if (job.get("spec") or {}).get("completionMode") == "Indexed" else ("spec.completions",)


def _claim(old: Obj, new: Obj) -> list[Cause]:
    def rest(claim: Obj) -> dict[str, Any]:
        return {key: value for key, value in (claim.get("spec") or {}).items() if key != "resources"}

    if rest(old) == rest(new) or not (old.get("spec") or {}).get("volumeName"):
        return []
    message = (
        "Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound "
        "claims"
    )
    return [Cause("spec", "FieldValueForbidden", message)]


def _service(old: Obj, new: Obj) -> list[Cause]:
    before, after = (old.get("spec") or {}), (new.get("spec") or {})
    addresses = before.get("clusterIPs"), after.get("clusterIPs")
    if "ExternalName" in (before.get("type"), after.get("type")) or addresses[0] == addresses[1]:
        return []
    shown = json.dumps(addresses[1], separators=(",", ":"))
    return [Cause("spec.clusterIPs[0]", "FieldValueInvalid", f"Invalid value: {shown}: may not change once set")]


def _definition(old: Obj, new: Obj) -> list[Cause]:
    return _fixed(old, new, "spec.group", "spec.names.plural", "spec.names.kind", "spec.scope")


_CHECKS: Final[Mapping[Kind, Callable[[Obj, Obj], list[Cause]]]] = {
    kinds.CONFIG_MAP: _frozen,
    kinds.SECRET: _secret,
    kinds.POD: _pod,
    kinds.DEPLOYMENT: _workload,
    kinds.REPLICA_SET: _workload,
    kinds.JOB: _job,
    kinds.PERSISTENT_VOLUME_CLAIM: _claim,
    kinds.SERVICE: _service,
    kinds.CUSTOM_RESOURCE_DEFINITION: _definition,
}
