"""From an object that is there to the one that should be: a merge patch, or nothing when there is nothing to change.

An API server fills in what was not said, and writes quantities its own way, so that what is stored is never quite what
was sent. What was sent last is remembered by its hash in an annotation: what is gone from it is taken away, and what
the server or another controller added is left alone. Pure.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf.controllers.support import notes
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.model import Obj, labels, meta
from jupyterlab_kf.names import ANNOTATION_SLEEP, DOMAIN
from jupyterlab_kf.quantities import parse

APPLIED: Final = f"{DOMAIN}/applied"
"""On what is made: a hash of what was asked for last."""
_OTHERS: Final = ("deployment.kubernetes.io/", "kubectl.kubernetes.io/", f"{DOMAIN}/")
_EMPTY: Final[tuple[Any, ...]] = (None, "", [], {}, False, 0)
_SERVICE_FIELDS: Final = ("ports", "type", "sessionAffinity", "selector")


def stamped(wanted: Obj) -> Obj:
    """The object with the hash of itself."""
    metadata = {**meta(wanted), "annotations": {**notes(wanted), APPLIED: _digest(wanted)}}
    return {**wanted, "metadata": metadata}


def _digest(wanted: Obj) -> str:
    told = [labels(wanted), notes(wanted), wanted.get("spec")]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def stored(wanted: Obj, found: Obj, *, replicas: bool = True) -> Obj | None:
    """The patch for an object whose server fills in fields.

    Args:
        wanted: what there should be.
        found: what there is.
        replicas: whether the number of replicas is ours to decide.
    """
    spec = dict(wanted["spec"])
    if not replicas or spec.get("replicas") is None:
        spec.pop("replicas", None)
    want = {**wanted, "spec": spec}
    same = _within(spec, found.get("spec") or {}) and _within(labels(want), labels(found))
    same = same and _within(notes(want), notes(found))
    last = notes(found).get(APPLIED)
    if same and last == _digest(wanted):
        return None
    note = {"metadata": {"annotations": {APPLIED: _digest(wanted)}}}
    if same and last is None:
        return note
    kept = {"replicas"} if "replicas" not in spec else set()
    patch = _between(found.get("spec") or {}, spec)
    return {
        "metadata": {
            "labels": _between(labels(found), labels(want)),
            "annotations": {**_between(_ours(found, want), notes(want)), APPLIED: _digest(wanted)},
        },
        "spec": {key: value for key, value in patch.items() if key not in kept},
    }


def service(wanted: Obj, found: Obj) -> Obj | None:
    """The patch for a Service: its address and what else the server gave it stay."""
    have, want = found.get("spec") or {}, wanted["spec"]
    spec = {key: want[key] for key in _SERVICE_FIELDS if not _within(want[key], have.get(key))}
    if have.get("selector") != want["selector"]:
        spec["selector"] = _between(have.get("selector") or {}, want["selector"])
    if len(have.get("ports") or ()) != len(want["ports"]):
        spec["ports"] = want["ports"]
    metadata = {
        key: _between(given, asked)
        for key, given, asked in (
            ("labels", dict(labels(found)), labels(wanted)),
            ("annotations", _ours(found, wanted), notes(wanted)),
        )
        if given != asked
    }
    patch = {key: value for key, value in (("metadata", metadata), ("spec", spec)) if value}
    return patch or None


def exact(wanted: Obj, found: Obj) -> Obj | None:
    """The patch for an object whose server fills in nothing: the spec is as it should be, or it is made so."""
    have = found.get("spec") or {}
    return None if have == wanted["spec"] else {"spec": _between(have, wanted["spec"])}


def _ours(found: Obj, wanted: Obj) -> Obj:
    """The annotations of an object that are for us to change: those of others stay, unless they were asked for."""
    asked = notes(wanted)
    return {
        key: value
        for key, value in notes(found).items()
        if key in asked or key == ANNOTATION_SLEEP or not key.startswith(_OTHERS)
    }


def _within(wanted: Any, found: Any) -> bool:
    """Whether all that is wanted is there; what is empty need not be, and quantities are compared by value."""
    if isinstance(wanted, Mapping):
        have = found if isinstance(found, Mapping) else {}
        return all(_within(value, have.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list) and wanted:
        there = isinstance(found, list) and len(found) == len(wanted)
        return there and all(_within(one, other) for one, other in zip(wanted, found, strict=True))
    if wanted == found or (wanted in _EMPTY and found in _EMPTY):
        return True
    return _same_quantity(wanted, found)


def _same_quantity(wanted: Any, found: Any) -> bool:
    try:
        return parse(wanted) == parse(found)
    except UsageError:
        return False


def _between(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Obj:
    """The merge patch that makes the one of the other."""
    patch: Obj = {key: None for key in found if key not in wanted}
    for key, value in wanted.items():
        have = found.get(key)
        if isinstance(value, Mapping) and isinstance(have, Mapping):
            inner = _between(have, value)
            if inner:
                patch[key] = inner
        elif have != value:
            patch[key] = value
    return patch
