"""Which kinds are served: the built-in ones, and those that CustomResourceDefinition objects add.

Pure over a list of definitions. Owns reading a definition (names, versions, scope, subresources, paths of scale) and
writing those of the operators' kinds. A definition of a kind that the table of kinds knows gives the table's own row,
so that controllers meet the constants they compare with.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import katib, selectors, serving
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, format_time

CRD_FINALIZER: Final = "customresourcecleanup.apiextensions.k8s.io"
_VERSION: Final = re.compile(r"v(\d+)(?:(alpha|beta)(\d+))?")
_TABLE: Final = {(kind.group, kind.version, kind.plural): kind for kind in kinds.ALL}
_WORKER_SCALE: Final = {
    "specReplicasPath": ".spec.pytorchReplicaSpecs.Worker.replicas",
    "statusReplicasPath": ".status.replicaStatuses.Worker.active",
    "labelSelectorPath": ".status.replicaStatuses.Worker.selector",
}
_BUILT_IN_SCALE: Final = {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}


def _operated_scale(kind: Kind) -> Mapping[str, str]:
    """A SeldonDeployment says where core kinds say it; a PyTorchJob's replicas are its workers."""
    return _BUILT_IN_SCALE if kind in kinds.SERVING else _WORKER_SCALE


def version_order(version: str) -> tuple[int, int, int, str]:
    """Sorts versions as discovery does: v2 before v1 before v2beta1 before v1alpha1 before the rest."""
    match = _VERSION.fullmatch(version)
    if match is None:
        return 3, 0, 0, version
    major, stage, minor = match.groups()
    rank = {None: 0, "beta": 1, "alpha": 2}[stage]
    return rank, -int(major), -int(minor or 0), version


class Resources:
    """The kinds at one moment."""

    def __init__(self, definitions: Iterable[Obj]) -> None:
        self._definitions: dict[tuple[str, str], Obj] = {}
        served = [*kinds.BUILT_IN]
        for definition in definitions:
            spec = definition["spec"]
            self._definitions[spec["group"], spec["names"]["plural"]] = definition
            served += kinds_of(definition)
        self.kinds: tuple[Kind, ...] = tuple(dict.fromkeys(served))
        self._by_path = {(kind.group, kind.version, kind.plural): kind for kind in self.kinds}
        self._by_identity = {(kind.api_version, kind.kind): kind for kind in self.kinds}
        self._any = {(kind.group, kind.plural): kind for kind in reversed(self.kinds)}
        self.groups: dict[str, list[str]] = {}
        for kind in self.kinds:
            versions = self.groups.setdefault(kind.group, [])
            if kind.version not in versions:
                versions.append(kind.version)
        for versions in self.groups.values():
            versions.sort(key=version_order)

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind at a path."""
        return self._by_path.get((group, version, plural))

    def at(self, group: str, plural: str) -> Kind | None:
        """Any version of the kind whose objects lie at that place."""
        return self._any.get((group, plural))

    def of(self, api_version: str, kind: str) -> Kind | None:
        """The kind of an object."""
        return self._by_identity.get((api_version, kind))

    def definition(self, kind: Kind) -> Obj | None:
        """The CustomResourceDefinition of a kind, if it has one."""
        return self._definitions.get((kind.group, kind.plural))

    def schema_source(self, kind: Kind) -> Obj | None:
        """The definition to read a kind's schema from; None for kinds whose schema this package brings."""
        return None if (kind.group, kind.version, kind.plural) in _TABLE else self.definition(kind)

    def custom_group(self, group: str) -> bool:
        """True for a group that only definitions serve."""
        return any(kind.group == group for kind in self.kinds if kind.custom)

    def selectable(self, kind: Kind) -> tuple[str, ...]:
        """Fields that a definition adds to field selectors."""
        version = self._version(kind)
        return tuple(field["jsonPath"].lstrip(".") for field in version.get("selectableFields") or ())

    def scale_paths(self, kind: Kind) -> Mapping[str, str]:
        """Where replicas stand in objects of a kind that has ``/scale``."""
        if not kind.custom:
            return _BUILT_IN_SCALE
        scale = (self._version(kind).get("subresources") or {}).get("scale")
        return scale or _operated_scale(kind)

    def _version(self, kind: Kind) -> Mapping[str, Any]:
        definition = self.definition(kind)
        versions = definition["spec"]["versions"] if definition else ()
        return next((version for version in versions if version["name"] == kind.version), {})


def known(api_version: str, kind: str) -> Kind | None:
    """The operators' kind of an object, also of one whose version is not served any more."""
    return next((row for row in kinds.OPERATED if (row.api_version, row.kind) == (api_version, kind)), None)


def kinds_of(definition: Obj) -> list[Kind]:
    """The kinds that a definition serves, one a version."""
    spec = definition["spec"]
    return [_kind(spec, version) for version in spec.get("versions") or () if version.get("served")]


def _kind(spec: Mapping[str, Any], version: Mapping[str, Any]) -> Kind:
    names = spec["names"]
    known = _TABLE.get((spec["group"], version["name"], names["plural"]))
    if known is not None:
        return known
    subresources = version.get("subresources") or {}
    return Kind(
        spec["group"],
        version["name"],
        names["kind"],
        names["plural"],
        spec.get("scope", "Namespaced") == "Namespaced",
        tuple(names.get("shortNames") or ()),
        tuple(names.get("categories") or ()),
        tuple(name for name in ("status", "scale") if name in subresources),
        custom=True,
    )


# --- definitions -----------------------------------------------------------------------------------------------------


def operators_definitions() -> list[Obj]:
    """The definitions of the operators' kinds, as they stand in a cluster that has the operators."""
    by_name: dict[str, list[Kind]] = {}
    for kind in kinds.OPERATED:
        by_name.setdefault(kind.resource, []).append(kind)
    return [_definition(name, versions) for name, versions in by_name.items()]


def _definition(name: str, versions: Sequence[Kind]) -> Obj:
    first = versions[0]
    names: dict[str, Any] = {"kind": first.kind, "plural": first.plural, "singular": first.singular}
    names["listKind"] = f"{first.kind}List"
    if first.short_names:
        names["shortNames"] = list(first.short_names)
    if first.categories:
        names["categories"] = list(first.categories)
    return {
        "kind": "CustomResourceDefinition",
        "apiVersion": kinds.CUSTOM_RESOURCE_DEFINITION.api_version,
        "metadata": {"name": name},
        "spec": {
            "group": first.group,
            "names": names,
            "scope": "Namespaced",
            "versions": [_version(kind, storage=kind is first) for kind in versions],
        },
    }


def _version(kind: Kind, *, storage: bool) -> dict[str, Any]:
    subresources: dict[str, Any] = {"status": {}}
    if "scale" in kind.subresources:
        subresources["scale"] = dict(_operated_scale(kind))
    return {
        "name": kind.version,
        "served": True,
        "storage": storage,
        "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        "subresources": subresources,
        "additionalPrinterColumns": [
            *_columns_of(kind),
            {"jsonPath": ".metadata.creationTimestamp", "name": "Age", "type": "date"},
        ],
    }


def _columns_of(kind: Kind) -> Sequence[Mapping[str, Any]]:
    known = katib.COLUMNS.get(kind, serving.COLUMNS.get(kind))
    return [{"jsonPath": ".status.conditions[-1:].type", "name": "State", "type": "string"}] if known is None else known


def complete_definition(definition: Obj) -> Obj:
    """A definition with the names that may be left out."""
    spec = definition.get("spec") or {}
    names = dict(spec.get("names") or {})
    kind = str(names.get("kind", ""))
    names.setdefault("singular", kind.lower())
    names.setdefault("listKind", f"{kind}List")
    return {**definition, "spec": {"conversion": {"strategy": "None"}, **spec, "names": names}}


def established(definition: Obj, now: float) -> dict[str, Any]:
    """The status of a definition whose kinds are served."""
    spec = definition["spec"]
    stored = [version for version in spec.get("versions") or () if version.get("storage")]
    when = format_time(now)

    def condition(kind: str, reason: str, message: str) -> dict[str, str]:
        return {"lastTransitionTime": when, "message": message, "reason": reason, "status": "True", "type": kind}

    return {
        "conditions": [
            condition("NamesAccepted", "NoConflicts", "no conflicts found"),
            condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
        ],
        "acceptedNames": spec["names"],
        "storedVersions": [str(version.get("name")) for version in stored],
    }


# --- scale -----------------------------------------------------------------------------------------------------------


def scale_of(obj: Obj, kind: Kind, paths: Mapping[str, str]) -> Obj:
    """The ``Scale`` of an object."""
    meta = obj["metadata"]
    shown = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    status: dict[str, Any] = {"replicas": _dig(obj, paths.get("statusReplicasPath", "")) or 0}
    if kind.custom:
        selector = _dig(obj, paths.get("labelSelectorPath", ""))
    else:
        selector = _selector_text((obj.get("spec") or {}).get("selector"))
    if selector:
        status["selector"] = selector
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: meta[key] for key in shown if key in meta},
        "spec": {"replicas": _dig(obj, paths["specReplicasPath"]) or 0},
        "status": status,
    }


def scaled(obj: Obj, paths: Mapping[str, str], replicas: int) -> Obj:
    """The object with another number of replicas."""
    return _planted(obj, paths["specReplicasPath"].strip(".").split("."), replicas)


def _dig(obj: Any, path: str) -> Any:
    for part in path.strip(".").split("."):
        obj = obj.get(part) if isinstance(obj, Mapping) else None
    return obj


def _planted(obj: Mapping[str, Any], path: list[str], value: Any) -> dict[str, Any]:
    head, rest = path[0], path[1:]
    return {**obj, head: _planted(obj.get(head) or {}, rest, value) if rest else value}


def _selector_text(selector: Mapping[str, Any] | None) -> str:
    signs = {"in": "in", "notin": "notin"}
    terms = []
    for term in sorted(selectors.of_label_selector(selector), key=lambda term: term.key):
        if term.operator == "in" and len(term.values) == 1:
            terms.append(f"{term.key}={term.values[0]}")
        elif term.operator in signs:
            terms.append(f"{term.key} {term.operator} ({','.join(sorted(term.values))})")
        else:
            terms.append(term.key if term.operator == "exists" else f"!{term.key}")
    return ",".join(terms)
