"""Frozen values from and to JSON: which field of a value is which field of an object is said once, at the field. Pure.

Reading refuses what a cluster would drop: a field that does not exist is an error with its path and the nearest name,
as is a value of another type. What is empty means the same as what is missing, as in Kubernetes' own types, and is
left out in writing. Parts that belong to Kubernetes itself (pod specs, metrics) pass through as they are.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from jupyterlab_kf.errors import ManifestError
from jupyterlab_kf.manifests import frameworks
from jupyterlab_kf.model import Obj

T = TypeVar("T")

_KEY: Final = "json"
_KNOWN: Final[dict[type, dict[str, tuple[str, Rule]]]] = {}


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint: the nearest known word, in whatever case, and all of them."""
    return frameworks.nearest(word, known, "there are")


@dataclass(frozen=True, slots=True)
class Rule:
    """How a field is read and written."""

    name: str
    what: str
    fits: Callable[[Any], bool]
    of: Callable[[], type] | None = None
    required: bool = False
    pointer: bool = False


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _field(rule: Rule, default: Any = dataclasses.MISSING, factory: Any = dataclasses.MISSING) -> Any:
    if rule.required:
        return dataclasses.field(metadata={_KEY: rule})
    if factory is not dataclasses.MISSING:
        return dataclasses.field(default_factory=factory, metadata={_KEY: rule})
    return dataclasses.field(default=default, metadata={_KEY: rule})


def text(name: str, *, required: bool = False) -> Any:
    """A text; empty when it is missing."""
    return _field(Rule(name, "text", _is_text, required=required), "")


def flag(name: str) -> Any:
    """True or false; false when it is missing."""
    return _field(Rule(name, "true or false", _is_flag), default=False)


def number(name: str) -> Any:
    """A whole number; 0 when it is missing."""
    return _field(Rule(name, "a whole number", _is_number), 0)


def count(name: str) -> Any:
    """A whole number of which 0 means something else than none."""
    return _field(Rule(name, "a whole number", _is_number, pointer=True), None)


def amount(name: str) -> Any:
    """A whole number or a text such as ``50%``."""
    return _field(
        Rule(name, "a whole number or text", lambda v: _is_number(v) or _is_text(v), pointer=True),
        None,
    )


def mapping(name: str) -> Any:
    """A map that is kept as it is."""
    return _field(Rule(name, "a map", _is_map), factory=dict)


def sequence(name: str) -> Any:
    """A list that is kept as it is."""
    return _field(Rule(name, "a list", _is_list), ())


def one(name: str, of: Callable[[], type], *, required: bool = False) -> Any:
    """A value of another class; None when it is missing."""
    return _field(Rule(name, "a map", _is_map, of, required=required), None)


def many(name: str, of: Callable[[], type]) -> Any:
    """Values of another class."""
    return _field(Rule(name, "a list", _is_list, of), ())


def _rules(cls: type) -> dict[str, tuple[str, Rule]]:
    """JSON name to attribute and rule of a class."""
    known = _KNOWN.get(cls)
    if known is None:
        fields = [one for one in dataclasses.fields(cls) if _KEY in one.metadata]
        known = _KNOWN[cls] = {one.metadata[_KEY].name: (one.name, one.metadata[_KEY]) for one in fields}
    return known


def described(cls: type) -> dict[str, Rule]:
    """Attribute to what may stand in its field."""
    return dict(_rules(cls).values())


def read(cls: type[T], obj: Any, path: str) -> T:
    """The value that an object says.

    Args:
        cls: its class, with the fields of this module.
        obj: the object.
        path: where it stands, for messages.

    Raises:
        ManifestError: a field does not exist, is missing, or has a value of another type.
    """
    if not _is_map(obj):
        raise ManifestError(f"{path} is {_said(obj)}; it must be a map")
    rules = _rules(cls)
    found: dict[str, Any] = {}
    for name, value in obj.items():
        if name not in rules:
            hint = nearest(str(name), sorted(rules))
            raise ManifestError(f"{path}.{name} does not exist", hint=hint)
        attribute, rule = rules[name]
        if value is not None:
            found[attribute] = _read(rule, value, f"{path}.{name}")
    for name, (attribute, rule) in rules.items():
        if rule.required and attribute not in found:
            raise ManifestError(f"{path}.{name} is missing")
    return cls(**found)


def _read(rule: Rule, value: Any, path: str) -> Any:
    if not rule.fits(value):
        raise ManifestError(f"{path} is {_said(value)}; it must be {rule.what}")
    if rule.of is not None:
        if _is_list(value):
            return tuple(read(rule.of(), item, f"{path}[{at}]") for at, item in enumerate(value))
        return read(rule.of(), value, path)
    kept = copy.deepcopy(value)
    return tuple(kept) if isinstance(kept, list) else kept


def _said(value: Any) -> str:
    return {dict: "a map", list: "a list", type(None): "nothing"}.get(type(value), repr(value))


def write(value: Any) -> Obj:
    """The object that a value stands for."""
    out: Obj = {}
    for name, (attribute, rule) in _rules(type(value)).items():
        held = getattr(value, attribute)
        if held is None or (not rule.pointer and not rule.required and rule.of is None and not held):
            continue
        if rule.of is None:
            out[name] = [copy.deepcopy(item) for item in held] if isinstance(held, tuple) else copy.deepcopy(held)
        elif isinstance(held, tuple):
            if held:
                out[name] = [write(item) for item in held]
        else:
            out[name] = write(held)
    return out
