"""Server-side apply and the tracking of who set which field: structured merge over ``metadata.managedFields``.

Field sets are handled in the form in which they are stored (``FieldsV1``): nested mappings whose keys are ``f:name``,
``k:{...}`` or ``v:...``; an empty mapping, or one with ``.``, is a member of its set. So nothing is parsed or printed
when an object is written, and a write costs one walk over the parts that changed.

A list is associative, a set or atomic as its schema says; in custom kinds without list types it is atomic. What the
server owns (name, uid, version, times) is never tracked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf import kinds, quantities
from jupyterlab_kf.embedded.apiserver import schemas, typed
from jupyterlab_kf.embedded.apiserver.fieldsets import (
    SELF,
    Fields,
    compare,
    difference,
    fields_of,
    index_of,
    intersection,
    is_leaf,
    member,
    named,
    paths,
    tracked,
    union,
)
from jupyterlab_kf.embedded.apiserver.patches import bad_request
from jupyterlab_kf.errors import ConflictError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, format_time

Entry = dict[str, Any]

APPLY: Final = "Apply"
UPDATE: Final = "Update"
MAX_UPDATERS: Final = 10
ANCIENT: Final = "ancient-changes"
BEFORE_FIRST: Final = "before-first-apply"
KUBECTL: Final = "kubectl"
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"


# --- managedFields ------------------------------------------------------------------------------------------------


def _managed(obj: Mapping[str, Any] | None) -> list[Entry]:
    entries = ((obj or {}).get("metadata") or {}).get("managedFields")
    return entries if isinstance(entries, list) else []


def _well_formed(entry: Any) -> bool:
    """False for what a client wrote into the list and no server would have; the stored list counts then."""
    if not isinstance(entry, Mapping) or entry.get("operation") not in (APPLY, UPDATE):
        return False
    texts = all(isinstance(entry.get(key, ""), str) for key in ("manager", "apiVersion", "time", "subresource"))
    return texts and isinstance(entry.get("fieldsV1"), Mapping) and _is_tree(entry["fieldsV1"])


def _is_tree(fields: Mapping[str, Any]) -> bool:
    return all(isinstance(node, Mapping) and _is_tree(node) for node in fields.values())


def _ours(entry: Entry, manager: str, operation: str, api_version: str, subresource: str) -> bool:
    return (
        entry.get("manager") == manager
        and entry.get("operation") == operation
        and (operation == APPLY or entry.get("apiVersion") == api_version)
        and entry.get("subresource", "") == subresource
    )


def _entry(manager: str, operation: str, kind: Kind, subresource: str, *, time: str | None, fields: Fields) -> Entry:
    out: Entry = {"manager": manager, "operation": operation, "apiVersion": kind.api_version}
    if time is not None:
        out["time"] = time
    out["fieldsType"] = "FieldsV1"
    out["fieldsV1"] = fields
    if subresource:
        out["subresource"] = subresource
    return out


def _with_fields(entry: Entry, fields: Fields) -> Entry:
    return {**entry, "fieldsV1": fields}


def _sorted(entries: list[Entry]) -> list[Entry]:
    kept = [entry for entry in entries if entry.get("fieldsV1")]
    return sorted(
        kept,
        key=lambda e: (
            e.get("operation", ""),
            e.get("time", ""),
            e.get("manager", ""),
            e.get("apiVersion", ""),
            e.get("subresource", ""),
        ),
    )


def _capped(entries: list[Entry]) -> list[Entry]:
    """Old updaters melted into one entry when there are too many, as a real server does."""
    updaters = sorted((e for e in entries if e.get("operation") == UPDATE), key=lambda e: e.get("time", ""))
    if len(updaters) <= MAX_UPDATERS:
        return entries
    old = updaters[: len(updaters) - MAX_UPDATERS + 1]
    fields: Fields = {}
    for entry in old:
        fields = union(fields, entry["fieldsV1"])
    ancient = {**old[-1], "manager": ANCIENT, "fieldsV1": fields}
    ancient.pop("subresource", None)
    return [e for e in entries if not any(e is o for o in old)] + [ancient]


def _reset(obj: Mapping[str, Any], kind: Kind, subresource: str) -> Mapping[str, Any]:
    """The part of an object that a write through this path can change."""
    if subresource == "status":
        return {key: obj[key] for key in ("metadata", "status") if key in obj}
    if "status" in kind.subresources and "status" in obj:
        return {key: value for key, value in obj.items() if key != "status"}
    return obj


def _admitted(kind: Kind, obj: Mapping[str, Any]) -> Fields:
    """What the server itself adds to a new object after its creator's fields were counted; nobody owns it."""
    spec = obj.get("spec") or {}
    found: Fields = {}
    if kind == kinds.POD:
        usual = {"priority": 0, "preemptionPolicy": "PreemptLowerPriority", "serviceAccountName": "default"}
        found = {f"f:{key}": {} for key, value in usual.items() if spec.get(key) == value}
        if "f:serviceAccountName" in found:
            found["f:serviceAccount"] = {}
        if all(item.get("key") in _SERVER_TOLERATIONS for item in spec.get("tolerations") or ()):
            found["f:tolerations"] = {}
    elif kind == kinds.SERVICE and spec.get("clusterIP") != "None":
        found = {f"f:{key}": {} for key in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")}
    elif kind == kinds.NAMESPACE:
        found = {"f:finalizers": {}}
    elif kind == kinds.JOB and not spec.get("manualSelector"):
        given = ((spec.get("template") or {}).get("metadata") or {}).get("labels") or {}
        labels: Fields = {f"f:{name}": {} for name in _JOB_LABELS}
        if not given.keys() - set(_JOB_LABELS):
            labels[SELF] = {}
        found = {"f:selector": {}, "f:template": {"f:metadata": {"f:labels": labels}}}
    elif kind == kinds.PERSISTENT_VOLUME_CLAIM:
        own: Fields = {'v:"kubernetes.io/pvc-protection"': {}}
        lone = (obj.get("metadata") or {}).get("finalizers") == ["kubernetes.io/pvc-protection"]
        return {"f:metadata": {"f:finalizers": {SELF: {}, **own} if lone else own}}
    return {"f:spec": found} if found else {}


_SERVER_TOLERATIONS: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_JOB_LABELS: Final = (
    "batch.kubernetes.io/controller-uid",
    "batch.kubernetes.io/job-name",
    "controller-uid",
    "job-name",
)


def track_update(
    old: Obj | None, new: Obj, *, kind: Kind, manager: str, now: float, subresource: str = "", crd: Obj | None = None
) -> list[Entry]:
    """The ``managedFields`` after a create, update or patch (not apply) by a manager.

    Fields that changed become the manager's and are taken from all others; removed fields leave every set. A write
    that changes nothing returns the entries as they were. Entries in ``new`` that differ from those in ``old`` count
    as the starting point, which is how clients edit the list; one empty entry clears it.

    Args:
        old: the object before, None for a create.
        new: the object after, as it will be stored.
        kind: its kind.
        manager: the field manager's name.
        now: epoch seconds.
        subresource: ``status`` or ``scale`` when the write came through one.
        crd: the definition of a custom kind, for its list types.
    """
    given, base = _managed(new), _managed(old)
    if given == [{}]:
        return []
    if given and not subresource and given != base and all(map(_well_formed, given)):
        base = given
    before = schemas.zero(kind) if old is None and not kind.custom else _reset(old or {}, kind, subresource)
    taken, removed = compare(before, _reset(new, kind, subresource), typed.of(kind, crd))
    taken, removed = tracked(taken), tracked(removed)
    if old is None:
        taken, removed = difference(taken, _admitted(kind, new)), {}
    if not taken and not removed:
        return base
    entries: list[Entry] = []
    mine: Entry | None = None
    lost = union(taken, removed) if removed else taken
    for entry in base:
        fields = entry.get("fieldsV1") or {}
        if _ours(entry, manager, UPDATE, kind.api_version, subresource):
            mine = entry
            continue
        left = difference(fields, lost)
        if left:
            entries.append(entry if left == fields else _with_fields(entry, left))
    fields = (mine or {}).get("fieldsV1") or {}
    kept = union(difference(fields, removed) if removed else fields, taken)
    if kept:
        time = format_time(now) if taken or mine is None else mine.get("time")
        entries.append(_entry(manager, UPDATE, kind, subresource, time=time, fields=kept))
    return _sorted(_capped(entries))


# --- server-side apply --------------------------------------------------------------------------------------------


def server_side_apply(
    live: Obj | None,
    applied: Obj,
    *,
    kind: Kind,
    manager: str,
    force: bool,
    now: float,
    subresource: str = "",
    crd: Obj | None = None,
) -> Obj:
    """The object after a manager applied its configuration, with the new ``managedFields``.

    Args:
        live: the stored object, None when it does not exist.
        applied: what the manager wants, nothing more.
        kind: the kind.
        manager: the field manager's name.
        force: take fields from other managers instead of refusing.
        now: epoch seconds.
        subresource: ``status`` when applied through it.
        crd: the definition of a custom kind, for its list types.

    Raises:
        InvalidError: 400, the body carries managedFields, or is of another kind.
        ConflictError: 409, other managers own fields that would change; the causes name them.
    """
    if (applied.get("metadata") or {}).get("managedFields") is not None:
        raise bad_request("metadata.managedFields must be nil")
    if applied.get("apiVersion") != kind.api_version or applied.get("kind") != kind.kind:
        group, _, version = str(applied.get("apiVersion") or "").rpartition("/")
        raise bad_request(f"invalid object type: {group}/{version}, Kind={applied.get('kind') or ''}")
    of = typed.of(kind, crd)
    config = _reset(applied if kind.custom else _canonical(applied, of), kind, subresource)
    base: Mapping[str, Any] = live if live is not None else _empty(kind, applied)
    entries = _managed(live)
    if live is not None and not entries:
        first = tracked(fields_of(_reset(live, kind, ""), of))
        entries = [_entry(BEFORE_FIRST, UPDATE, kind, "", time=format_time(now), fields=first)]
    mine = next((e for e in entries if _ours(e, manager, APPLY, kind.api_version, subresource)), None)
    others = [e for e in entries if e is not mine]
    merged = _merged(base, config, of)
    given = fields_of(config, of)
    wanted = tracked(given)
    if mine is not None:  # what is never tracked, such as the name, is wanted all the same
        merged = _without_abandoned(merged, mine, given, others, of)
    taken, removed = compare(base, merged, of)
    taken, removed = tracked(taken), tracked(removed)
    if not force:
        _refuse_conflicts(taken, others, _applied_by_client(live, manager, of))
    changed = live is None or bool(taken) or bool(removed)
    if live is not None and not changed:
        merged = dict(live)
    lost = union(taken, removed)
    entries = [_with_fields(e, difference(e.get("fieldsV1") or {}, lost)) for e in others] if lost else others
    time = format_time(now) if changed else (mine or {}).get("time")
    entries = _sorted([*entries, _entry(manager, APPLY, kind, subresource, time=time, fields=wanted)])
    metadata = {k: v for k, v in (merged.get("metadata") or {}).items() if k != "managedFields"}
    if entries:
        metadata["managedFields"] = entries
    if manager == KUBECTL and LAST_APPLIED in (metadata.get("annotations") or {}):
        metadata["annotations"] = {**metadata["annotations"], LAST_APPLIED: _last_applied(applied)}
    return {**merged, "metadata": metadata}


def _last_applied(applied: Obj) -> str:
    """The annotation of client-side apply, which a real server keeps in step when kubectl applies on the server."""
    metadata = dict(applied.get("metadata") or {})
    if LAST_APPLIED in (metadata.get("annotations") or {}):
        metadata["annotations"] = {k: v for k, v in metadata["annotations"].items() if k != LAST_APPLIED}
    text = json.dumps({**applied, "metadata": metadata}, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    for char in "<>&":  # as Go writes JSON
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text + "\n"


def _applied_by_client(live: Obj | None, manager: str, of: typed.Type) -> Fields:
    """Fields that kubectl applied before on the client's side and that are still so: it may take them without force."""
    text = ((live or {}).get("metadata") or {}).get("annotations", {}).get(LAST_APPLIED)
    if manager != KUBECTL or live is None or not text:
        return {}
    try:
        before = json.loads(text)
    except ValueError:
        return {}  # somebody wrote something else there
    if not isinstance(before, dict):
        return {}
    taken, removed = compare(before, live, of)
    return difference(difference(fields_of(before, of), taken), removed)


def _canonical(value: Any, of: typed.Type) -> Any:
    """The value with its quantities as they are stored, so that ``1024Mi`` is no change of ``1Gi``."""
    if isinstance(value, Mapping) and of.shape == typed.MAP:
        return {key: _canonical(item, of.child(key)) for key, item in value.items()}
    if isinstance(value, list) and of.shape == typed.LIST:
        return [_canonical(item, of.items) for item in value]
    return quantities.canonical(value) if of.component == typed.QUANTITY and value is not None else value


def _empty(kind: Kind, applied: Obj) -> Obj:
    out = {} if kind.custom else dict(schemas.zero(kind))
    return {**out, "apiVersion": applied.get("apiVersion"), "kind": applied.get("kind")}


def _without_abandoned(merged: Any, mine: Entry, wanted: Fields, others: list[Entry], of: typed.Type) -> Any:
    """The merged value without what the manager applied before, does not apply now, and nobody else owns."""
    owned = wanted
    for entry in others:
        owned = union(owned, entry.get("fieldsV1") or {})
    return _without(merged, difference(named(mine.get("fieldsV1") or {}, of), named(owned, of)), of)


def _refuse_conflicts(taken: Fields, others: list[Entry], allowed: Fields) -> None:
    contested = difference(taken, allowed)
    if contested:
        _raise_conflicts(contested, others)


def _raise_conflicts(taken: Fields, others: list[Entry]) -> None:
    found: dict[str, list[str]] = {}
    causes = []
    for entry in sorted(others, key=lambda e: e.get("manager", "")):
        for path in paths(intersection(entry.get("fieldsV1") or {}, taken)):
            who = _print_manager(entry)
            found.setdefault(who, []).append(path)
            causes.append({"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": path})
    if not causes:
        return
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        lines = []
        for who in sorted(found):
            lines += [f"conflicts with {who}:", *(f"- {path}" for path in found[who])]
        message = f"Apply failed with {len(causes)} conflicts: " + "\n".join(lines)
    raise ConflictError(message, details={"causes": causes})


def _print_manager(entry: Entry) -> str:
    text = json.dumps(entry.get("manager", ""))
    if entry.get("subresource"):
        text += f" with subresource {json.dumps(entry['subresource'])}"
    if entry.get("operation") == UPDATE:
        text += f" using {entry.get('apiVersion', '')}"
    return text


def _merged(live: Any, config: Any, of: typed.Type) -> Any:
    """The live value with the configuration laid over it."""
    if isinstance(config, Mapping) and isinstance(live, Mapping) and not is_leaf(config, of):
        if not config:
            return live
        out = dict(live)
        for key, value in config.items():
            out[key] = _merged(out[key], value, of.child(key)) if key in out else value
        return out
    if isinstance(config, list) and isinstance(live, list) and not is_leaf(config, of):
        return _merged_list(live, config, of)
    return config


def _merged_list(live: list[Any], config: list[Any], of: typed.Type) -> list[Any]:
    """Applied items in the applied order; the others stay between them where they stood."""
    before, wanted = index_of(live, of), index_of(config, of)
    if before is None or wanted is None:
        return config
    out = []
    left, right = list(before), list(wanted)
    while left or right:
        if left and left[0] not in wanted:
            out.append(before[left.pop(0)])
            continue
        if not right:
            break  # what is left has been merged already
        element = right.pop(0)
        out.append(_merged(before[element], wanted[element], of.items) if element in before else wanted[element])
        while left and left[0] in wanted and left[0] not in right:
            left.pop(0)
    return out


def _without(value: Any, gone: Fields, of: typed.Type) -> Any:
    """The value without the members of a set."""
    below = {key: node for key, node in gone.items() if key != SELF}
    if not below:
        return value
    if isinstance(value, Mapping):
        kept = {key: _without_item(item, below.get("f:" + key), of.child(key)) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not _GONE}
    index = index_of(value, of) if isinstance(value, list) and not is_leaf(value, of) else None
    if index is None:
        return value
    items = [_without_item(item, below.get(element), of.items) for element, item in index.items()]
    return [item for item in items if item is not _GONE]


_GONE: Final = object()


def _without_item(item: Any, node: Fields | None, of: typed.Type) -> Any:
    if node is None:
        return item
    return _GONE if member(node) else _without(item, node, of)
