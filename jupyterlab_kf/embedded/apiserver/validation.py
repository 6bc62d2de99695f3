"""What is wrong with an object: unknown fields, wrong types, values that a schema or a kind's own rules refuse.

Three steps, as in the real server. Decoding (:func:`unknown_fields`, :func:`prune`, :func:`decode_error`) looks at
names and types; a core kind with a wrong type is a 400. The schema of a custom kind is checked here; rules of core
kinds that no schema says are in :mod:`.corerules`. Answers are causes with the real reasons and sentences; the caller
makes the 422 of them.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from jupyterlab_kf import kinds, quantities
from jupyterlab_kf.embedded.apiserver import corerules, expressions, typed
from jupyterlab_kf.embedded.apiserver.causes import Cause
from jupyterlab_kf.embedded.apiserver.patches import bad_request, go_type
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, parse_time

__all__ = ["Cause", "decode_error", "prune", "unknown_fields", "validate", "validate_update"]

_INTEGER_LIMITS: Final = {"int32": 1 << 31, "int64": 1 << 63}
_NOT_CHECKED: Final = Cause(
    "<nil>",
    "FieldValueInvalid",
    "Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing "
    "errors to complete validation",
)
_BLOCKING: Final = frozenset(
    f"FieldValue{reason}" for reason in ("Required", "TypeInvalid", "TooLong", "TooMany", "NotSupported")
)


# --- decoding -----------------------------------------------------------------------------------------------------


def unknown_fields(kind: Kind, obj: Obj, crd: Obj | None = None) -> list[str]:
    """``unknown field "spec.fooBar"`` for each field that the kind does not have, in the object's order."""
    return [f'unknown field "{path}"' for path in _unknown(obj, typed.of(kind, crd), "")]


def _unknown(value: Any, of: typed.Type, path: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        if of.shape != typed.MAP:
            return
        declared, open_ended = of.fields, not of.closed
        for name, item in value.items():
            child = declared.get(name)
            below = f"{path}.{name}" if path else name
            if child is None and not open_ended:
                yield below
            elif isinstance(item, dict | list):
                yield from _unknown(item, of.items if child is None else child, below)
    elif isinstance(value, list) and of.shape == typed.LIST:
        for number, item in enumerate(value):
            if isinstance(item, dict | list):
                yield from _unknown(item, of.items, f"{path}[{number}]")


def prune(kind: Kind, obj: Obj, crd: Obj | None = None) -> Obj:
    """The object without fields that its kind does not have, and as a typed server reads it.

    A core kind's nulls and empty optional values are forgotten, its quantities become canonical, as in a real server.

    Raises:
        InvalidError: 400, a field of a core kind, or of any kind's metadata, has a value of a wrong type.
    """
    if (error := decode_error(kind, obj)) is not None:
        raise bad_request(error)
    pruned: Obj = _pruned(obj, typed.of(kind, crd), custom=kind.custom or crd is not None)
    return pruned


def _pruned(value: Any, of: typed.Type, *, custom: bool) -> Any:
    if isinstance(value, Mapping):
        if of.shape == typed.ANY and custom and of.schema.get("type") == "object" and not of.preserve:
            open_ended = "additionalProperties" in of.schema or of.component
            return value if open_ended else {}
        if of.shape != typed.MAP:
            return value
        declared, closed, omits = of.fields, of.closed, () if custom else of.omits
        out = {}
        for name, item in value.items():
            child = declared.get(name)
            if (child is None and closed) or (not item and (name in omits or (item is None and not custom))):
                continue
            place = of.items if child is None else child
            if isinstance(item, dict | list):
                out[name] = _pruned(item, place, custom=custom)
            else:
                out[name] = quantities.canonical(item) if place.component == typed.QUANTITY and not custom else item
        return out
    if isinstance(value, list) and of.shape == typed.LIST:
        if not custom and of.items.shape == typed.MAP:
            value = [{} if item is None else item for item in value]  # as Go reads a null among structs
        return [_pruned(item, of.items, custom=custom) if isinstance(item, dict | list) else item for item in value]
    return value


def decode_error(kind: Kind, obj: Obj) -> str | None:
    """Why an object cannot be read, as the real server says it; None when every type is right.

    Of a custom kind only the metadata is read so strictly; the rest is a matter of its schema.
    """
    if kind.custom:
        found = _mistyped(obj.get("metadata"), typed.of(kind).fields["metadata"], "metadata", kind.kind)
    else:
        found = _mistyped(obj, typed.of(kind), "", kind.kind)
    if found is None:
        return None
    return f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: {found}'


def _mistyped(value: Any, of: typed.Type, path: str, struct: str) -> str | None:
    if value is None or of.shape == typed.ANY:
        return None
    if of.shape == typed.SCALAR:
        return _mistyped_scalar(value, of, path, struct)
    if not isinstance(value, dict if of.shape == typed.MAP else list):
        return _cannot(value, of, path, struct)
    if isinstance(value, list):
        children = ((item, of.items, path, struct) for item in value)
    else:
        inner = of.component.rpartition(".")[2] or struct
        children = (
            (item, of.child(name), (f"{path}.{name}" if path else name) if name in of.fields else path, inner)
            for name, item in value.items()
            if name in of.fields or not of.closed
        )
    return next((error for child in children if (error := _mistyped(*child)) is not None), None)


def _mistyped_scalar(value: Any, of: typed.Type, path: str, struct: str) -> str | None:
    kind = of.schema.get("type")
    if of.component == typed.QUANTITY:
        return _not_a_quantity(value)
    if of.component == typed.INT_OR_STRING:
        fits = isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool))
    else:
        fits = isinstance(value, bool) if kind == "boolean" else _fits_type(value, str(kind))
    if not fits:
        return _cannot(value, of, path, struct)
    if kind == "string":
        return _malformed_text(value, of.schema.get("format"))
    if kind == "integer":
        limit = _INTEGER_LIMITS.get(str(of.schema.get("format")), math.inf)
        if not float(value).is_integer() or not -limit <= value < limit:
            return f"json: cannot unmarshal number {_number(value)} into {_place(of, path, struct)}"
    return None


def _fits_type(value: Any, kind: str) -> bool:
    return isinstance(value, str if kind == "string" else (int, float)) and not isinstance(value, bool)


def _not_a_quantity(value: Any) -> str | None:
    try:
        too_large = abs(quantities.parse(value)) >= _INTEGER_LIMITS["int64"]
        if not too_large:
            quantities.canonical(value)
    except UsageError as error:
        return error.message
    except ArithmeticError:
        too_large = True
    return quantities.SENTENCE if too_large else None


def _malformed_text(text: str, form: str | None) -> str | None:
    if form == "byte":
        try:
            base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            return f"illegal base64 data at input byte {_illegal_byte(text)}"
    if form == "date-time" and text:
        try:
            parse_time(text)
        except ValueError:
            return f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse "{text}" as "2006"'
    return None


def _illegal_byte(text: str) -> int:
    match = re.search(r"[^A-Za-z0-9+/]", text.rstrip("="))
    return match.start() if match else len(text) - len(text) % 4


def _cannot(value: Any, of: typed.Type, path: str, struct: str) -> str:
    return f"json: cannot unmarshal {go_type(value)} into {_place(of, path, struct)}"


def _place(of: typed.Type, path: str, struct: str) -> str:
    return f"Go struct field {struct}.{path} of type {_go_name(of)}"


def _go_name(of: typed.Type) -> str:
    if of.component:
        *_, version, name = of.component.split(".")
        return f"{version}.{name}"
    if of.shape == typed.LIST:
        return f"[]{_go_name(of.items)}"
    if of.shape == typed.MAP:
        return f"map[string]{_go_name(of.items)}"
    if of.schema.get("type") == "boolean":
        return "bool"
    return str(of.schema.get("format") if of.schema.get("type") == "integer" else of.schema.get("type"))


def _number(value: float) -> str:
    return json.dumps(int(value) if float(value).is_integer() else value)


# --- validation ---------------------------------------------------------------------------------------------------


def validate(kind: Kind, obj: Obj, *, crd: Obj | None = None) -> list[Cause]:
    """Why an object may not be stored; empty when it may.

    Args:
        kind: its kind.
        obj: the object, with its defaults.
        crd: the definition of a custom kind.
    """
    causes = corerules.metadata(kind, obj)
    if not kind.custom and crd is None:
        return causes + corerules.of_kind(kind, obj)
    of = typed.of(kind, crd)
    found = [cause for name in obj if name not in _HEAD for cause in _against(obj[name], of.child(name), name)]
    missing = [Cause(name, "FieldValueRequired", "Required value") for name in of.required if name not in obj]
    found = missing + found
    if _has_rules(kind, id(crd), of):
        blocked = any(cause.reason in _BLOCKING for cause in found)
        found += [_NOT_CHECKED] if blocked else expressions.broken(obj, of)
    return causes + found


_HEAD: Final = frozenset({"apiVersion", "kind", "metadata"})


@lru_cache(maxsize=256)
def _has_rules(_kind: Kind, _definition: int, of: typed.Type) -> bool:
    return '"x-kubernetes-validations"' in json.dumps(of.schema)


def _schema_type(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    return {"object": "object", "array": "array", "string": "string", "number": "number"}.get(go_type(value), "null")


def _against(value: Any, of: typed.Type, path: str) -> list[Cause]:
    """The causes of a value that does not fit its schema."""
    schema = of.schema
    # Of an unknown type everything fits, and what is below it need not be looked at.
    if of is typed.UNKNOWN or (value is None and (schema.get("nullable") or not schema)):
        return []
    if of.component in (typed.QUANTITY, typed.INT_OR_STRING) or schema.get("x-kubernetes-int-or-string"):
        return _int_or_string(value, of, path)
    wanted = schema.get("type")
    actual = _schema_type(value)
    if wanted and actual != wanted and not (wanted == "number" and actual == "integer"):
        return [_wrong_type(path, str(wanted), actual)]
    if isinstance(value, Mapping):
        return _against_map(value, of, path)
    if isinstance(value, list):
        found = _size(path, len(value), schema, "Items")
        items = of.items
        return found + [c for n, item in enumerate(value) for c in _against(item, items, f"{path}[{n}]")]
    return _against_scalar(value, of, path)


def _wrong_type(path: str, wanted: str, actual: str) -> Cause:
    text = f'Invalid value: "{actual}": {path} in body must be of type {wanted}: "{actual}"'
    return Cause(path, "FieldValueTypeInvalid", text)


def _int_or_string(value: Any, of: typed.Type, path: str) -> list[Cause]:
    if isinstance(value, bool) or not isinstance(value, int | str):
        if of.component == typed.QUANTITY and isinstance(value, float):
            return []
        return [_wrong_type(path, "integer,string", _schema_type(value))]
    pattern = of.schema.get("pattern")
    if of.component == typed.QUANTITY and _not_a_quantity(value) is not None:
        pattern = _QUANTITY_PATTERN
    elif pattern is None or not isinstance(value, str) or _matches(pattern, value):
        return []
    return [_invalid(path, value, f"{path} in body should match '{pattern}'")]


_QUANTITY_PATTERN: Final = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)


def _against_map(value: Mapping[str, Any], of: typed.Type, path: str) -> list[Cause]:
    found = [
        Cause(f"{path}.{name}", "FieldValueRequired", "Required value") for name in of.required if name not in value
    ]
    found += _size(path, len(value), of.schema, "Properties")
    found += expressions.alternatives(value, of.schema, path)
    for name, item in value.items():
        if name in of.fields or not of.closed:
            found += _against(item, of.child(name), f"{path}.{name}")
    return found


def _against_scalar(value: Any, of: typed.Type, path: str) -> list[Cause]:
    schema: Mapping[str, Any] = of.schema
    found: list[Cause] = []
    # The definitions of custom kinds carry no enumerations for the parts that come from core kinds.
    allowed = schema.get("enum")
    if allowed and value not in allowed and "Possible enum values:" not in schema.get("description", ""):
        shown = ", ".join(json.dumps(item) for item in allowed)
        message = f"Unsupported value: {json.dumps(value)}: supported values: {shown}"
        found.append(Cause(path, "FieldValueNotSupported", message))
    if isinstance(value, str):
        found += _size(path, len(value), schema, "Length", value)
        pattern = schema.get("pattern")
        if pattern and not _matches(pattern, value):
            found.append(_invalid(path, value, f"{path} in body should match '{pattern}'"))
        if schema.get("format") == "date-time" and _malformed_text(value or "-", "date-time"):
            found.append(_invalid(path, value, f"{path} in body must be of type date-time: {json.dumps(value)}"))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found += _range(path, value, schema)
    return found


def _matches(pattern: str, text: str) -> bool:
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return True  # Go's syntax differs in corners; a pattern that cannot be read here refuses nothing


def _invalid(path: str, value: Any, why: str) -> Cause:
    return Cause(path, "FieldValueInvalid", f"Invalid value: {json.dumps(value, ensure_ascii=False)}: {why}")


def _range(path: str, value: float, schema: Mapping[str, Any]) -> list[Cause]:
    low, high = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    open_low, open_high = schema.get("exclusiveMinimum") is True, schema.get("exclusiveMaximum") is True
    if value < low or (open_low and value == low):
        word = "greater than" if open_low else "greater than or equal to"
        return [_invalid(path, value, f"{path} in body should be {word} {low}")]
    if value > high or (open_high and value == high):
        word = "less than" if open_high else "less than or equal to"
        return [_invalid(path, value, f"{path} in body should be {word} {high}")]
    step = schema.get("multipleOf")
    return [_invalid(path, value, f"{path} in body should be a multiple of {step}")] if step and value % step else []


def _size(path: str, size: int, schema: Mapping[str, Any], what: str, value: Any = None) -> list[Cause]:
    low, high = schema.get(f"min{what}"), schema.get(f"max{what}")
    if low is not None and size < low:
        if what == "Length":
            return [_invalid(path, value, f"{path} in body should be at least {low} chars long")]
        return [_invalid(path, size, f"{path} in body should have at least {low} {what.lower()}")]
    if high is not None and size > high:
        if what == "Length":
            return [Cause(path, "FieldValueTooLong", f"Too long: may not be more than {high} bytes")]
        return [Cause(path, "FieldValueTooMany", f"Too many: {size}: must have at most {high} items")]
    return []


def validate_update(kind: Kind, old: Obj, new: Obj, *, crd: Obj | None = None) -> list[Cause]:
    """Why a new object may not take the old one's place, by the schema's rules about transitions.

    The rule that definitions use, ``self == oldSelf``, is understood; other expressions are not evaluated. What is
    immutable in core kinds the registry's rules say.
    """
    if kind in kinds.BUILT_IN and crd is None:
        return []
    return list(_transitions(old, new, typed.of(kind, crd), ""))


def _transitions(old: Any, new: Any, of: typed.Type, path: str) -> Iterator[Cause]:
    if old == new or of.component:
        return
    for rule in of.schema.get("x-kubernetes-validations") or ():
        if re.sub(r"\s", "", str(rule.get("rule"))) in ("self==oldSelf", "oldSelf==self"):
            message = rule.get("message") or f"failed rule: {rule['rule']}"
            yield _invalid(path, new, message)
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in new:
            if name in old and name not in _HEAD:
                yield from _transitions(old[name], new[name], of.child(name), f"{path}.{name}" if path else name)
