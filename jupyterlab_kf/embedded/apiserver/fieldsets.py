"""Sets of fields in the form in which ``metadata.managedFields`` stores them (``FieldsV1``), and how to make them.

A set is nested mappings whose keys are ``f:name``, ``k:{...}`` or ``v:...``; an empty mapping, or one with ``.``, is a
member. Working on the stored form means that nothing is parsed or printed when an object is written. The sets of a
value, and of the difference of two values, follow the compiled schema: which lists are associative, sets or atomic.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from jupyterlab_kf.embedded.apiserver import typed

Fields = dict[str, Any]

SELF: Final = "."
_MISSING: Final = object()
_SERVER_METADATA: Final = frozenset(
    {"name", "namespace", "creationTimestamp", "selfLink", "uid", "generation", "managedFields", "resourceVersion"}
)


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


def index_of(items: Any, of: typed.Type) -> dict[str, Any] | None:
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
        index = index_of(value, of)
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


def named(fields: Fields, of: typed.Type) -> Fields:
    """The set with every struct field on the way made a member."""
    out: Fields = {}
    for key, node in fields.items():
        if key == SELF:
            out[key] = node
            continue
        child = _descend(of, key)
        below = named(node, child) if node else {}
        if below and key.startswith("f:") and key[2:] in of.fields:
            below = {SELF: {}, **below}
        out[key] = below
    return out


def _descend(of: typed.Type, element: str) -> typed.Type:
    if element.startswith("f:"):
        return of.child(element[2:]) if of.shape in (typed.MAP, typed.ANY) else typed.UNKNOWN
    return of.items if of.shape == typed.LIST else typed.UNKNOWN


# --- what changed between two values ------------------------------------------------------------------------------


def compare(old: Mapping[str, Any], new: Mapping[str, Any], of: typed.Type) -> tuple[Fields, Fields]:
    """What was set (added or changed) and what was removed, as two sets; equal parts are not walked."""
    taken: Fields = {}
    removed: Fields = {}
    for key, value in new.items():
        before = old.get(key, _MISSING)
        if before is value or (before == value and not isinstance(value, bool | int)):
            continue
        _compare_child("f:" + key, before, value, of.child(key), (taken, removed))
    for key, value in old.items():
        if key not in new:
            removed["f:" + key] = _whole(value, of.child(key))
    return taken, removed


def _compare_lists(old: list[Any], new: list[Any], of: typed.Type) -> tuple[Fields, Fields]:
    before, after = index_of(old, of), index_of(new, of)
    taken: Fields = {}
    removed: Fields = {}
    if before is None or after is None:
        return taken, removed
    for element, value in after.items():
        _compare_child(element, before.get(element, _MISSING), value, of.items, (taken, removed))
    for element, value in before.items():
        if element not in after:
            removed[element] = _whole(value, of.items)
    return taken, removed


def _compare_child(element: str, old: Any, new: Any, of: typed.Type, into: tuple[Fields, Fields]) -> None:
    taken, removed = into
    if old is _MISSING:
        taken[element] = _whole(new, of)
        return
    if old == new and isinstance(old, bool) == isinstance(new, bool):
        return
    if is_leaf(new, of) or (old is not None and is_leaf(old, of)) or (not old and not new):
        taken[element] = {}
        return
    if isinstance(new, list):
        added, gone = _compare_lists(old if isinstance(old, list) else [], new, of)
    else:
        added, gone = compare(old if isinstance(old, Mapping) else {}, new, of)
    if added:
        taken[element] = added
    if gone:
        removed[element] = gone


def is_leaf(value: Any, of: typed.Type) -> bool:
    """True for a value that has one owner as a whole."""
    if isinstance(value, Mapping):
        return of.atomic or of.shape not in (typed.MAP, typed.ANY)
    return not isinstance(value, list) or of.atomic or of.shape != typed.LIST


def _whole(value: Any, of: typed.Type) -> Fields:
    """The set of a value that appears or disappears as a whole: every part of it is a member."""
    if not value or is_leaf(value, of):
        return {}
    if isinstance(value, list):
        index = index_of(value, of)
        below = {} if index is None else {element: _whole(item, of.items) for element, item in index.items()}
    else:
        below = {"f:" + key: _whole(item, of.child(key)) for key, item in value.items()}
    return {SELF: {}, **below}


def tracked(fields: Fields) -> Fields:
    """The set without what the server owns."""
    out = {key: node for key, node in fields.items() if key not in ("f:apiVersion", "f:kind")}
    meta = out.pop("f:metadata", None)
    if meta:
        kept = {key: node for key, node in meta.items() if key != SELF and key[2:] not in _SERVER_METADATA}
        if kept:
            out["f:metadata"] = kept
    return out
