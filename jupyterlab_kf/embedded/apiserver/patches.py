"""The patch formats of the Kubernetes API but server-side apply: JSON patch, JSON merge patch, strategic merge patch.

Pure functions from an object and a patch to a new object; inputs are never changed, and parts that a patch does not
touch are shared with the old object. Errors carry the codes and sentences of a real API server: 400 for a patch that
cannot be understood, 422 without detail for a JSON patch that does not apply.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Final

import jsonpatch
import jsonpointer

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import typed
from jupyterlab_kf.errors import ApiError, InvalidError
from jupyterlab_kf.model import Obj

_DIRECTIVE: Final = "$patch"
_RETAIN: Final = "$retainKeys"
_DELETE_PRIMITIVES: Final = "$deleteFromPrimitiveList/"
_ORDER: Final = "$setElementOrder/"
MAX_OPERATIONS: Final = 10000


def bad_request(message: str) -> InvalidError:
    """A 400 answer."""
    return InvalidError(message, code=400, reason="BadRequest")


def go_type(value: object) -> str:
    """What Go's JSON decoder calls a value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, Mapping):
        return "object"
    return "null" if value is None else "array"


# --- JSON patch ---------------------------------------------------------------------------------------------------


def check_shape(obj: Any, subject: str) -> Obj:
    """A small object as it was sent: a map, with metadata and spec that are maps, if any.

    Raises:
        InvalidError: 400.
    """
    if not isinstance(obj, dict):
        raise bad_request(f"json: cannot unmarshal {go_type(obj)} into Go value of type v1.{subject}")
    for part in ("metadata", "spec"):
        if not isinstance(obj.get(part), dict | None):
            found = go_type(obj[part])
            raise bad_request(f"json: cannot unmarshal {found} into Go struct field {subject}.{part}")
    return obj


def json_patch(obj: Obj, ops: Any) -> Obj:
    """The object after the operations of an RFC 6902 patch.

    Raises:
        InvalidError: 400 for what is no list of operations, 422 for a patch that does not apply to this object.
        ApiError: 413 for too many operations.
    """
    if not isinstance(ops, list):
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {go_type(ops)} into Go value of type []handlers.jsonPatchOp"
        )
    for op in ops:
        if not isinstance(op, Mapping):
            raise bad_request(
                f"error decoding patch: json: cannot unmarshal {go_type(op)} into Go value of type handlers.jsonPatchOp"
            )
    if len(ops) > MAX_OPERATIONS:
        message = f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {len(ops)}"
        raise ApiError(message, code=413, reason="RequestEntityTooLarge")
    try:
        patched: Any = jsonpatch.JsonPatch(ops).apply(obj)
    except (
        jsonpatch.JsonPatchException,
        jsonpatch.JsonPatchConflict,
        jsonpointer.JsonPointerException,
        TypeError,
        KeyError,
    ) as error:
        # TypeError and KeyError: a path that goes through a scalar, an operation without its value.
        raise _unprocessable() from error
    return _whole_object(patched)


def _whole_object(patched: Any) -> Obj:
    if not isinstance(patched, dict):
        raise _unprocessable()
    return patched


def _unprocessable() -> InvalidError:
    return InvalidError("the server rejected our request due to an error in our request")


# --- JSON merge patch ---------------------------------------------------------------------------------------------


def merge_patch(obj: Obj, patch: Any) -> Obj:
    """The object after an RFC 7386 patch.

    Raises:
        InvalidError: 400, the patch is no JSON object.
    """
    _require_object(patch)
    merged: Obj = _merge(obj, patch)
    return merged


def _require_object(patch: object) -> None:
    if not isinstance(patch, Mapping):
        kind = go_type(patch)
        raise bad_request(
            f"error decoding patch: json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}"
        )


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return copy.deepcopy(patch) if isinstance(patch, list) else patch
    out = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = _merge(out.get(key), value)
    return out


# --- strategic merge patch ----------------------------------------------------------------------------------------


def strategic_merge(obj: Obj, patch: Any, kind: str | kinds.Kind) -> Obj:
    """The object after a strategic merge patch, with the merge keys of that kind.

    Args:
        obj: the object; not changed.
        patch: the patch; may carry ``$patch``, ``$retainKeys``, ``$setElementOrder/...`` and
            ``$deleteFromPrimitiveList/...``.
        kind: a row of the table of kinds, or the name of a core kind.

    Raises:
        InvalidError: 400, the patch cannot be understood.
        ApiError: 500, an item lacks its merge key, as the real server answers.
    """
    _require_object(patch)
    return _strategic_map(obj, patch, lookup(kind))


def lookup(kind: str | kinds.Kind) -> typed.Type:
    """The compiled schema that holds a kind's merge keys."""
    if isinstance(kind, kinds.Kind):
        return typed.of(kind)
    row = next(kinds.named(kind), None)
    return typed.UNKNOWN if row is None else typed.of(row)


def _strategic_map(target: Mapping[str, Any], patch: Mapping[str, Any], of: typed.Type) -> dict[str, Any]:
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {key: _clean(value) for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unrecognized patch directive: {directive}")
    retain = patch.get(_RETAIN)
    kept = retain if isinstance(retain, list) else target
    out = {key: value for key, value in target.items() if key in kept}
    for key, value in patch.items():
        if key.startswith(_DELETE_PRIMITIVES):
            _delete_primitives(out, key.removeprefix(_DELETE_PRIMITIVES), value)
    for key, value in patch.items():
        if not key.startswith("$"):
            _strategic_field(out, key, value, of.child(key), patch.get(_ORDER + key))
    _reorder(out, patch, of)
    return out


def _reorder(out: dict[str, Any], patch: Mapping[str, Any], of: typed.Type) -> None:
    """Lists that the patch only puts in order."""
    for key, order in patch.items():
        name = key.removeprefix(_ORDER)
        if key.startswith(_ORDER) and name not in patch and isinstance(out.get(name), list):
            if not isinstance(order, list):
                raise bad_request(f"invalid patch format of setElementOrder list: {key}")
            out[name] = _ordered(out[name], out[name], order, of.child(name).merge_key)


def _delete_primitives(out: dict[str, Any], key: str, values: Any) -> None:
    if not isinstance(values, list):
        raise bad_request("invalid patch format of primitive list")
    if isinstance(out.get(key), list):
        out[key] = [item for item in out[key] if item not in values]


def _strategic_field(out: dict[str, Any], key: str, value: Any, of: typed.Type, order: Any) -> None:
    if value is None:
        out.pop(key, None)
        return
    old = out.get(key)
    if isinstance(value, Mapping):
        if isinstance(old, Mapping) and "replace" not in of.strategy:
            out[key] = _strategic_map(old, value, of)
        elif value.get(_DIRECTIVE) == "delete":
            out.pop(key, None)
        else:
            out[key] = _clean(value)
    elif isinstance(value, list):
        found = _strategic_list(old if isinstance(old, list) else [], value, of, order)
        out[key] = found if isinstance(old, list) else _clean(found)
    else:
        out[key] = value


def _strategic_list(old: list[Any], patch: list[Any], of: typed.Type, order: Any) -> list[Any]:
    if "merge" not in of.strategy:
        return [item for item in patch if not (isinstance(item, Mapping) and _DIRECTIVE in item)]
    maps = all(isinstance(item, Mapping) for item in [*old, *patch])
    if not maps or not of.merge_key:
        merged = [*old, *(item for item in dict.fromkeys(map(_hashable, patch)) if item not in old)]
    else:
        merged = _merge_items(old, patch, of)
    if isinstance(order, list):
        return _ordered(merged, old, order, of.merge_key if maps else "")
    return merged


def _hashable(item: Any) -> Any:
    if isinstance(item, dict | list):
        raise bad_request("invalid patch format of primitive list")
    return item


def _merge_items(old: list[Any], patch: list[Any], of: typed.Type) -> list[Any]:
    key = of.merge_key
    if any(item.get(_DIRECTIVE) == "replace" for item in patch):
        return [_clean(item) for item in patch if _DIRECTIVE not in item]
    merged = list(old)
    for item in patch:
        if key not in item:
            raise ApiError(f"map: {_go_map(item)} does not contain declared merge key: {key}")
        place = next((n for n, other in enumerate(merged) if other.get(key) == item[key]), None)
        directive = item.get(_DIRECTIVE)
        if directive == "delete":
            merged = [other for other in merged if other.get(key) != item[key]]
        elif directive not in (None, "merge"):
            raise bad_request(f"unrecognized patch directive: {directive}")
        elif place is None:
            merged.append(_clean(item))
        else:
            merged[place] = _strategic_map(merged[place], item, of.items)
    return merged


def _ordered(merged: list[Any], live: list[Any], order: Sequence[Any], key: str) -> list[Any]:
    """Items that the patch orders in that order; the others between them where the live list has them."""

    def identity(item: Any) -> Any:
        return item.get(key) if key and isinstance(item, Mapping) else item

    wanted = [identity(item) for item in order]
    places = {_freeze(identity(item)): n for n, item in reversed(list(enumerate(live)))}
    patched = sorted((item for item in merged if identity(item) in wanted), key=lambda x: wanted.index(identity(x)))
    others = [item for item in merged if identity(item) not in wanted]
    out: list[Any] = []
    while others and patched:
        left, right = (places.get(_freeze(identity(items[0]))) for items in (others, patched))
        before = left is not None and right is not None and left < right
        out.append(others.pop(0) if before else patched.pop(0))
    return out + others + patched


def _freeze(value: Any) -> Any:
    return repr(value) if isinstance(value, dict | list) else value


def _clean(value: Any) -> Any:
    """A patch value that meets nothing: its directives and nulls go."""
    if isinstance(value, Mapping):
        return {
            key: _clean(item)
            for key, item in value.items()
            if item is not None
            and key not in (_DIRECTIVE, _RETAIN)
            and not key.startswith((_ORDER, _DELETE_PRIMITIVES))
        }
    if isinstance(value, list):
        return [_clean(item) for item in value if not (isinstance(item, Mapping) and item.get(_DIRECTIVE) == "delete")]
    return value


def _go_map(value: Any) -> str:
    """A value as Go prints it with %v."""
    if isinstance(value, Mapping):
        return "map[" + " ".join(f"{key}:{_go_map(item)}" for key, item in sorted(value.items())) + "]"
    if isinstance(value, list):
        return "[" + " ".join(map(_go_map, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    return "<nil>" if value is None else str(value)
