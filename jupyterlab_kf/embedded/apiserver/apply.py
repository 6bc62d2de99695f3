"""Server-side apply and the tracking of who set which field: structured merge over ``metadata.managedFields``.

Field sets are handled in the form in which they are stored (``FieldsV1``): nested mappings whose keys are ``f:name``,
``k:{...}`` or ``v:...``; an empty mapping, or one with ``.``, is a member of its set. So nothing is parsed or printed
when an object is written, and a write costs one walk over the parts that changed.

A list is associative, a set or atomic as its schema says; in custom kinds without list types it is atomic. What the
server owns (name, uid, version, times) is never tracked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from jupyterlab_kf.embedded.apiserver import schemas, typed
from jupyterlab_kf.embedded.apiserver.patches import bad_request
from jupyterlab_kf.errors import ConflictError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, format_time

Fields = dict[str, Any]
Entry = dict[str, Any]

SELF: Final = "."
APPLY: Final = "Apply"
UPDATE: Final = "Update"
MAX_UPDATERS: Final = 10
ANCIENT: Final = "ancient-changes"
BEFORE_FIRST: Final = "before-first-apply"

_SERVER_METADATA: Final = frozenset(
    {"name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion"}
)
_MISSING: Final = object()


# --- sets of fields -----------------------------------------------------------------------------------------------


def member(node: Mapping[str, Any]) -> bool:
    """True when the place itself, not only something below it, is in the set."""
    return not node or SELF in node


def union(a: Fields, b: Fields) -> Fields:
    """Both sets together. For roots: a root is never a member."""
    out = dict(a)
    for key, node in b.items():
        mine = out.get(key)
        out[key] = node if mine is None or mine is node else _union_nodes(mine, node)
    return out


def _union_nodes(a: Fields, b: Fields) -> Fields:
    if not a:
        return b if not b or SELF in b else {SELF: {}, **b}
    if not b:
        return a if SELF in a else {SELF: {}, **a}
    return union(a, b)


def difference(a: Fields, b: Fields) -> Fields:
    """What is in the first set and not in the second."""
    out = {}
    for key, node in a.items():
        other = b.get(key)
        if other is None:
            out[key] = node
        elif (rest := _difference_nodes(node, other)) is not None:
            out[key] = rest
    return out


def _difference_nodes(a: Fields, b: Fields) -> Fields | None:
    keeps = member(a) and not member(b)
    below = difference({k: v for k, v in a.items() if k != SELF}, b)
    if not keeps:
        return below or None
    return {SELF: {}, **below} if below else {}


def intersection(a: Fields, b: Fields) -> Fields:
    """What is in both sets."""
    out = {}
    for key, node in a.items():
        other = b.get(key)
        if other is None or key == SELF:
            continue
        below = intersection(node, other)
        if member(node) and member(other):
            out[key] = {SELF: {}, **below} if below else {}
        elif below:
            out[key] = below
    return out


def paths(fields: Fields, prefix: str = "") -> Iterator[str]:
    """The members as a real server prints them: ``.spec.containers[name="main"].image``."""
    for key in sorted(fields):
        if key == SELF:
            continue
        node = fields[key]
        text = prefix + _print_element(key)
        if member(node):
            yield text
        yield from paths(node, text)


def _print_element(key: str) -> str:
    kind, _, rest = key.partition(":")
    if kind == "f":
        return f".{rest}"
    if kind == "k":
        pairs = json.loads(rest)
        return "[" + ",".join(f"{name}={_dumps(value)}" for name, value in pairs.items()) + "]"
    return f"[={rest}]" if kind == "v" else f"[{rest}]"


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


# --- identities of list items -------------------------------------------------------------------------------------


def _index(items: Any, of: typed.Type) -> dict[str, Any] | None:
    """The items of an associative list or set by their path element, in order; None when they cannot be told apart."""
    out: dict[str, Any] = {}
    if of.keys:
        defaults = of.key_defaults
        for item in items:
            if not isinstance(item, Mapping):
                return None
            pairs = {key: item.get(key, defaults.get(key)) for key in of.keys}
            out["k:" + _dumps({key: value for key, value in pairs.items() if value is not None})] = item
    else:
        for item in items:
            out["v:" + _dumps(item)] = item
    return out if len(out) == len(items) else None


# --- what a value consists of -------------------------------------------------------------------------------------


def fields_of(value: Any, of: typed.Type) -> Fields:
    """The set of a value that somebody applies: leaves, map keys and list items; structs are not members."""
    if isinstance(value, Mapping) and of.shape in (typed.MAP, typed.ANY) and not of.atomic:
        return _fields_of_map(value, of)
    if isinstance(value, list) and of.shape == typed.LIST and not of.atomic:
        index = _index(value, of)
        if index is None:
            return {}
        out = {}
        for element, item in index.items():
            below = fields_of(item, of.items)
            out[element] = {SELF: {}, **below} if below else {}
        return out
    return {}


def _fields_of_map(value: Mapping[str, Any], of: typed.Type) -> Fields:
    out: Fields = {}
    declared = of.fields
    for key, item in value.items():
        child = declared.get(key)
        below = fields_of(item, of.items if child is None else child)
        if below:
            out["f:" + key] = below if child is not None else {SELF: {}, **below}
        elif not (isinstance(item, list) and not item and child is not None and not child.atomic):
            out["f:" + key] = {}
    return out


def _named(fields: Fields, of: typed.Type) -> Fields:
    """The set with every struct field on the way made a member."""
    out: Fields = {}
    for key, node in fields.items():
        if key == SELF:
            out[key] = node
            continue
        child = _descend(of, key)
        below = _named(node, child) if node else {}
        if below and key.startswith("f:") and key[2:] in of.fields:
            below = {SELF: {}, **below}
        out[key] = below
    return out


def _descend(of: typed.Type, element: str) -> typed.Type:
    if element.startswith("f:"):
        return of.child(element[2:]) if of.shape in (typed.MAP, typed.ANY) else typed.UNKNOWN
    return of.items if of.shape == typed.LIST else typed.UNKNOWN


# --- what changed between two values ------------------------------------------------------------------------------


def _compare_maps(old: Mapping[str, Any], new: Mapping[str, Any], of: typed.Type) -> tuple[Fields, Fields]:
    taken: Fields = {}
    removed: Fields = {}
    for key, value in new.items():
        before = old.get(key, _MISSING)
        if before is value or (before == value and not isinstance(value, bool | int)):
            continue
        _compare_child("f:" + key, before, value, of.child(key), taken, removed)
    for key, value in old.items():
        if key not in new:
            removed["f:" + key] = _whole(value, of.child(key))
    return taken, removed


def _compare_lists(old: list[Any], new: list[Any], of: typed.Type) -> tuple[Fields, Fields]:
    before, after = _index(old, of), _index(new, of)
    taken: Fields = {}
    removed: Fields = {}
    if before is None or after is None:
        return taken, removed
    for element, value in after.items():
        _compare_child(element, before.get(element, _MISSING), value, of.items, taken, removed)
    for element, value in before.items():
        if element not in after:
            removed[element] = _whole(value, of.items)
    return taken, removed


def _compare_child(element: str, old: Any, new: Any, of: typed.Type, taken: Fields, removed: Fields) -> None:
    if old is _MISSING:
        taken[element] = _whole(new, of)
        return
    if old == new and isinstance(old, bool) == isinstance(new, bool):
        return
    if _is_leaf(new, of) or (old is not None and _is_leaf(old, of)) or (not old and not new):
        taken[element] = {}
        return
    if isinstance(new, list):
        added, gone = _compare_lists(old if isinstance(old, list) else [], new, of)
    else:
        added, gone = _compare_maps(old if isinstance(old, Mapping) else {}, new, of)
    if added:
        taken[element] = added
    if gone:
        removed[element] = gone


def _is_leaf(value: Any, of: typed.Type) -> bool:
    if isinstance(value, Mapping):
        return of.atomic or of.shape not in (typed.MAP, typed.ANY)
    return not isinstance(value, list) or of.atomic or of.shape != typed.LIST


def _whole(value: Any, of: typed.Type) -> Fields:
    """The set of a value that appears or disappears as a whole: every part of it is a member."""
    if not value or _is_leaf(value, of):
        return {}
    if isinstance(value, list):
        index = _index(value, of)
        below = {} if index is None else {element: _whole(item, of.items) for element, item in index.items()}
    else:
        below = {"f:" + key: _whole(item, of.child(key)) for key, item in value.items()}
    return {SELF: {}, **below}


def _tracked(fields: Fields) -> Fields:
    """The set without what the server owns."""
    out = {key: node for key, node in fields.items() if key not in ("f:apiVersion", "f:kind")}
    meta = out.pop("f:metadata", None)
    if meta:
        kept = {key: node for key, node in meta.items() if key != SELF and key[2:] not in _SERVER_METADATA}
        if kept:
            out["f:metadata"] = kept
    return out


# --- managedFields ------------------------------------------------------------------------------------------------


def _managed(obj: Mapping[str, Any] | None) -> list[Entry]:
    entries = ((obj or {}).get("metadata") or {}).get("managedFields")
    return entries if isinstance(entries, list) else []


def _ours(entry: Entry, manager: str, operation: str, api_version: str, subresource: str) -> bool:
    return (
        entry.get("manager") == manager
        and entry.get("operation") == operation
        and (operation == APPLY or entry.get("apiVersion") == api_version)
        and entry.get("subresource", "") == subresource
    )


def _entry(manager: str, operation: str, kind: Kind, subresource: str, time: str | None, fields: Fields) -> Entry:
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
    given = _managed(new)
    if given == [{}]:
        base: list[Entry] = []
        return base
    base = given if given and not subresource else _managed(old)
    before = schemas.zero(kind) if old is None and not kind.custom else _reset(old or {}, kind, subresource)
    taken, removed = _compare_maps(before, _reset(new, kind, subresource), typed.of(kind, crd))
    taken, removed = _tracked(taken), _tracked(removed)
    if old is None:
        removed = {}
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
        entries.append(_entry(manager, UPDATE, kind, subresource, time, kept))
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
    config = _reset(applied, kind, subresource)
    base: Mapping[str, Any] = live if live is not None else _empty(kind, applied)
    entries = _managed(live)
    if live is not None and not entries:
        first = _tracked(fields_of(_reset(live, kind, ""), of))
        entries = [_entry(BEFORE_FIRST, UPDATE, kind, "", format_time(now), first)]
    mine = next((e for e in entries if _ours(e, manager, APPLY, kind.api_version, subresource)), None)
    others = [e for e in entries if e is not mine]
    merged = _merged(base, config, of)
    wanted = _tracked(fields_of(config, of))
    if mine is not None:
        owned = wanted
        for entry in others:
            owned = union(owned, entry.get("fieldsV1") or {})
        gone = difference(_named(mine.get("fieldsV1") or {}, of), _named(owned, of))
        merged = _without(merged, gone, of)
    return _owned(base, merged, wanted, mine, others, of, live, kind, manager, force, now, subresource)


def _empty(kind: Kind, applied: Obj) -> Obj:
    out = {} if kind.custom else dict(schemas.zero(kind))
    return {**out, "apiVersion": applied.get("apiVersion"), "kind": applied.get("kind")}


def _owned(
    base: Mapping[str, Any],
    merged: Obj,
    wanted: Fields,
    mine: Entry | None,
    others: list[Entry],
    of: typed.Type,
    live: Obj | None,
    kind: Kind,
    manager: str,
    force: bool,  # noqa: FBT001  the last step of the face above
    now: float,
    subresource: str,
) -> Obj:
    taken, removed = _compare_maps(base, merged, of)
    taken, removed = _tracked(taken), _tracked(removed)
    if not force:
        _refuse_conflicts(taken, others)
    changed = live is None or bool(taken) or bool(removed)
    lost = union(taken, removed)
    entries = [_with_fields(e, difference(e.get("fieldsV1") or {}, lost)) for e in others] if lost else others
    time = format_time(now) if changed else (mine or {}).get("time")
    entries = [*entries, _entry(manager, APPLY, kind, subresource, time, wanted)]
    if live is not None and not changed:
        merged = dict(live)
    metadata = {k: v for k, v in (merged.get("metadata") or {}).items() if k != "managedFields"}
    if found := _sorted(entries):
        metadata["managedFields"] = found
    return {**merged, "metadata": metadata}


def _refuse_conflicts(taken: Fields, others: list[Entry]) -> None:
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
    if isinstance(config, Mapping) and isinstance(live, Mapping) and not _is_leaf(config, of):
        if not config:
            return live
        out = dict(live)
        for key, value in config.items():
            out[key] = _merged(out[key], value, of.child(key)) if key in out else value
        return out
    if isinstance(config, list) and isinstance(live, list) and not _is_leaf(config, of):
        return _merged_list(live, config, of)
    return config


def _merged_list(live: list[Any], config: list[Any], of: typed.Type) -> list[Any]:
    """Applied items in the applied order; the others stay between them where they stood."""
    before, wanted = _index(live, of), _index(config, of)
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
        out = {}
        for key, item in value.items():
            node = below.get("f:" + key)
            if node is None:
                out[key] = item
            elif not member(node):
                out[key] = _without(item, node, of.child(key))
        return out
    if isinstance(value, list):
        index = _index(value, of) if of.shape == typed.LIST and not of.atomic else None
        if index is None:
            return value
        kept = []
        for element, item in index.items():
            node = below.get(element)
            if node is None:
                kept.append(item)
            elif not member(node):
                kept.append(_without(item, node, of.items))
        return kept
    return value
