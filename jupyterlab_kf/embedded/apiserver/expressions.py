"""What a schema says with alternatives and expressions: ``oneOf`` and the like, ``x-kubernetes-validations``.

Alternatives in a structural schema say which fields go together, so they are decided here over names. Expressions are
CEL, for which there is no interpreter here: those that Istio's definitions have are written out once more as functions,
under their own text. One that is not known refuses nothing; a real server evaluates it. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from jupyterlab_kf.embedded.apiserver import typed
from jupyterlab_kf.embedded.apiserver.causes import Cause, show
from jupyterlab_kf.model import Obj

_NOWHERE: Final = "<nil>"
"""Where a real server says that alternatives stand; the path is in the sentence."""
_HEAD: Final = frozenset({"apiVersion", "kind", "metadata"})
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_UNITS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_MILLISECOND: Final = 0.001
_PORTS: Final = 65535


# --- alternatives -------------------------------------------------------------------------------------------------


def alternatives(value: Mapping[str, Any], schema: Mapping[str, Any], path: str) -> list[Cause]:
    """Why a map fits none, or too many, of the alternatives of its schema."""
    found: list[Cause] = []
    every = schema.get("allOf") or ()
    if every and all(_is_choice(one) for one in every):
        inner = [cause for one in every for cause in alternatives(value, one, path)]
        fitting = sum(_fits(value, one) for one in every)
        found += dict.fromkeys(inner)
        if fitting < len(every):
            none = "" if fitting else ". None validated"
            found.append(_choice(f'"{path}" must validate all the schemas (allOf){none}'))
    choices = schema.get("oneOf") or ()
    if choices and all(_is_choice(one) for one in choices):
        fitting = sum(_fits(value, one) for one in choices)
        if fitting != 1:
            how = f"{fitting} valid alternatives" if fitting else "none valid"
            found.append(_choice(f'"{path}" must validate one and only one schema (oneOf). Found {how}'))
    return found


def _choice(text: str) -> Cause:
    return Cause(_NOWHERE, "FieldValueInvalid", f'Invalid value: "": {text}')


def _is_choice(schema: Mapping[str, Any]) -> bool:
    """Whether a schema is only about which fields are there."""
    return bool(schema) and set(schema) <= {"required", "not", "anyOf", "oneOf", "allOf"}


def _fits(value: Mapping[str, Any], schema: Mapping[str, Any]) -> bool:
    if any(name not in value for name in schema.get("required") or ()):
        return False
    if "not" in schema and _fits(value, schema["not"]):
        return False
    if "anyOf" in schema and not any(_fits(value, one) for one in schema["anyOf"]):
        return False
    if "oneOf" in schema and sum(_fits(value, one) for one in schema["oneOf"]) != 1:
        return False
    return all(_fits(value, one) for one in schema.get("allOf") or ())


# --- expressions --------------------------------------------------------------------------------------------------


def broken(obj: Obj, of: typed.Type) -> Iterator[Cause]:
    """The causes of expressions that an object does not hold to."""
    for name, item in obj.items():
        if name not in _HEAD:
            yield from _broken(item, of.child(name), name)


def _broken(value: Any, of: typed.Type, path: str) -> Iterator[Cause]:
    if of.component:
        return
    for rule in of.schema.get("x-kubernetes-validations") or ():
        text = re.sub(r"\s", "", str(rule.get("rule")))
        holds = _KNOWN.get(text)
        if holds is not None and (why := _wrong(holds, value, str(rule.get("message") or f"failed rule: {text}"))):
            yield Cause(path, "FieldValueInvalid", f"Invalid value: {why}")
    if isinstance(value, Mapping):
        for name, item in value.items():
            below = f"{path}.{name}" if name in of.fields else f"{path}[{name}]"
            yield from _broken(item, of.child(name), below)
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from _broken(item, of.items, f"{path}[{number}]")


def _wrong(holds: Callable[[Any], bool], value: Any, message: str) -> str:
    """What is said of a value; empty when the expression holds. Maps are not quoted."""
    try:
        if holds(value):
            return ""
    except _ConversionError as error:
        return f'"string": {error} evaluating rule: {message}'
    return message if isinstance(value, Mapping | list) else f"{show(value)}: {message}"


class _ConversionError(ValueError):
    """A text cannot be what the expression takes it for."""


def seconds(text: str) -> float | None:
    """A length of time as Go writes it (``1h30m``, ``250ms``), in seconds; None when it is none."""
    bare = text.lstrip("+-")
    parts = _PART.findall(bare)
    if bare != "0" and (not parts or "".join(number + unit for number, unit in parts) != bare):
        return None
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return -total if text.startswith("-") else total


def _duration(text: Any) -> bool:
    length = seconds(str(text))
    if length is None:
        raise _ConversionError("type conversion error from 'string' to 'google.protobuf.Duration'")
    return length >= _MILLISECOND


def _at_most_one(*names: str) -> Callable[[Any], bool]:
    return lambda value: sum(name in value for name in names) <= 1


def _waypoint(match: Any) -> bool:
    return bool(("waypoint" in match) == (match.get("context") == "WAYPOINT"))


def _identities(source: Any) -> bool:
    if "serviceAccounts" not in source and "notServiceAccounts" not in source:
        return True
    return not {"principals", "notPrincipals", "namespaces", "notNamespaces"} & set(source)


_COUNT: Final = "(has(self.{})?1:0)"


def _counted(*names: str) -> str:
    return "+".join(_COUNT.format(name) for name in names) + "<=1"


_KNOWN: Final[Mapping[str, Callable[[Any], bool]]] = {
    "duration(self)>=duration('1ms')": _duration,
    'self.all(key,!key.contains("*"))': lambda value: not any("*" in key for key in value),
    "self.all(key,key.size()!=0)": lambda value: "" not in value,
    '!self.contains("*")': lambda value: "*" not in value,
    "0<self&&self<=65535": lambda value: 0 < value <= _PORTS,
    "self.size()==0": lambda value: not value,
    'url(self).getScheme()in["http","https"]': lambda value: urlsplit(value).scheme in ("http", "https"),
    'has(self.context)?((self.context=="WAYPOINT")?has(self.waypoint):!has(self.waypoint)):'
    "!has(self.waypoint)": _waypoint,
    "(has(self.serviceAccounts)||has(self.notServiceAccounts))?(!has(self.principals)&&!has(self.notPrincipals)&&"
    "!has(self.namespaces)&&!has(self.notNamespaces)):true": _identities,
    **{
        _counted(*names): _at_most_one(*names)
        for names in (
            ("workloadSelector", "targetRefs"),
            ("tlsCertificates", "credentialNames"),
            ("credentialName", "credentialNames"),
            ("credentialNames", "tlsCertificates"),
            ("selector", "targetRef", "targetRefs"),
            ("jwksUri", "jwks_uri", "jwks"),
        )
    },
}
"""An expression, without spaces, to what it means."""
