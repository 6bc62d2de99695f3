"""Discovery: which groups, versions and resources are served, in the legacy and the aggregated form. Pure.

Clients find kinds, short names, categories and verbs here; what is listed here works.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver.resources import Resources
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

VERSION: Final[Mapping[str, str]] = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.3+jupyterlab-kf",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "",
}
VERBS: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_CUSTOM_VERBS: Final = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
REVIEWS: Final[Mapping[str, Mapping[str, str]]] = {
    "authentication.k8s.io": {"selfsubjectreviews": "SelfSubjectReview", "tokenreviews": "TokenReview"},
    "authorization.k8s.io": {
        "selfsubjectaccessreviews": "SelfSubjectAccessReview",
        "selfsubjectrulesreviews": "SelfSubjectRulesReview",
        "subjectaccessreviews": "SubjectAccessReview",
    },
}
"""Groups of kinds that are asked and not kept, all of version v1: plural to kind."""

_POD_SUBRESOURCES: Final = (
    ("binding", "Binding", "", "", ("create",)),
    ("eviction", "Eviction", "policy", "v1", ("create",)),
    ("exec", "PodExecOptions", "", "", ("create", "get")),
    ("log", "Pod", "", "", ("get",)),
    ("proxy", "PodProxyOptions", "", "", ("create", "delete", "get", "patch", "update")),
)
_SERVICE_SUBRESOURCES: Final = (
    ("proxy", "ServiceProxyOptions", "", "", ("create", "delete", "get", "patch", "update")),
)
AGGREGATED: Final = "application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"


def verbs(kind: Kind) -> list[str]:
    """What may be done with a kind."""
    if kind.custom:
        return list(_CUSTOM_VERBS)
    return [verb for verb in VERBS if not (kind == kinds.NAMESPACE and verb == "deletecollection")]


def subresources(kind: Kind) -> list[tuple[str, str, str, str, tuple[str, ...]]]:
    """Name, kind, group, version and verbs of a kind's subresources."""
    out: list[tuple[str, str, str, str, tuple[str, ...]]] = []
    if kind == kinds.POD:
        out += _POD_SUBRESOURCES
    if kind == kinds.SERVICE:
        out += _SERVICE_SUBRESOURCES
    if "scale" in kind.subresources:
        out.append(("scale", "Scale", "autoscaling", "v1", ("get", "patch", "update")))
    if "status" in kind.subresources:
        out.append(("status", kind.kind, "", "", ("get", "patch", "update")))
    return out


# --- legacy ----------------------------------------------------------------------------------------------------------


def api_versions(address: str) -> Obj:
    """``/api``."""
    where = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": where}


def api_groups(resources: Resources) -> Obj:
    """``/apis``."""
    groups = [_group(name, versions) for name, versions in _all_groups(resources).items() if name]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def api_group(resources: Resources, name: str) -> Obj | None:
    """``/apis/GROUP``, or None."""
    versions = _all_groups(resources).get(name)
    return {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)} if versions and name else None


def api_resources(resources: Resources, group: str, version: str) -> Obj | None:
    """``/api/v1`` or ``/apis/GROUP/VERSION``, or None."""
    if version not in _all_groups(resources).get(group, ()):
        return None
    listed: list[Obj] = []
    for kind in resources.kinds:
        if (kind.group, kind.version) == (group, version):
            listed += _resource(kind)
    listed += [_review(plural, named) for plural, named in REVIEWS.get(group, {}).items()]
    head: Obj = {"kind": "APIResourceList"} | ({"apiVersion": "v1"} if group else {})
    return {**head, "groupVersion": f"{group}/{version}" if group else version, "resources": listed}


def _all_groups(resources: Resources) -> dict[str, list[str]]:
    return {**resources.groups, **{group: ["v1"] for group in REVIEWS}}


def _group(name: str, versions: list[str]) -> Obj:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _resource(kind: Kind) -> list[Obj]:
    main: Obj = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": verbs(kind),
    }
    if kind.short_names:
        main["shortNames"] = list(kind.short_names)
    if kind.categories:
        main["categories"] = list(kind.categories)
    main["storageVersionHash"] = hashlib.sha256(kind.resource.encode()).hexdigest()[:8]
    out = [main]
    for name, named, group, version, allowed in subresources(kind):
        sub: Obj = {"name": f"{kind.plural}/{name}", "singularName": "", "namespaced": kind.namespaced}
        sub |= {"group": group} if group else {}
        sub |= {"version": version} if version else {}
        out.append({**sub, "kind": named, "verbs": list(allowed)})
    return out


def _review(plural: str, named: str) -> Obj:
    return {"name": plural, "singularName": named.lower(), "namespaced": False, "kind": named, "verbs": ["create"]}


# --- aggregated ------------------------------------------------------------------------------------------------------


def aggregated(resources: Resources, *, core: bool, version: str) -> Obj:
    """``/api`` or ``/apis`` in one answer; ``version`` is v2 or v2beta1."""
    groups = _all_groups(resources)
    names = [""] if core else [name for name in groups if name]
    items = [_aggregated_group(resources, name, groups[name]) for name in names]
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": items,
    }


def _aggregated_group(resources: Resources, name: str, versions: list[str]) -> Obj:
    metadata: dict[str, Any] = {"name": name} if name else {}
    listed = []
    for version in versions:
        found = [_aggregated(kind) for kind in resources.kinds if (kind.group, kind.version) == (name, version)]
        found += [_aggregated_review(plural, named) for plural, named in REVIEWS.get(name, {}).items()]
        listed.append({"version": version, "resources": found, "freshness": "Current"})
    return {"metadata": metadata, "versions": listed}


def _aggregated(kind: Kind) -> Obj:
    # A real server tells the whole name of a kind that has a definition, and only the last part of its own.
    full = {"group": kind.group, "version": kind.version} if kind.custom else {"group": "", "version": ""}
    out: Obj = {
        "resource": kind.plural,
        "responseKind": {**full, "kind": kind.kind},
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": verbs(kind),
    }
    if kind.short_names:
        out["shortNames"] = list(kind.short_names)
    if kind.categories:
        out["categories"] = list(kind.categories)
    subs = [
        {
            "subresource": name,
            "responseKind": {**(full if named == kind.kind else {"group": group, "version": version}), "kind": named},
            "verbs": list(allowed),
        }
        for name, named, group, version, allowed in subresources(kind)
    ]
    return {**out, "subresources": subs} if subs else out


def _aggregated_review(plural: str, named: str) -> Obj:
    return {
        "resource": plural,
        "responseKind": {"group": "", "version": "", "kind": named},
        "scope": "Cluster",
        "singularResource": named.lower(),
        "verbs": ["create"],
    }


# --- the rest --------------------------------------------------------------------------------------------------------


def paths(resources: Resources) -> Obj:
    """``/``."""
    listed = ["/api", "/api/v1", "/apis", "/healthz", "/livez", "/openapi/v3", "/readyz", "/version"]
    for group, versions in _all_groups(resources).items():
        if group:
            listed += [f"/apis/{group}", *(f"/apis/{group}/{version}" for version in versions)]
    return {"paths": sorted(listed)}


def group_versions(resources: Resources) -> dict[str, str]:
    """Path below ``/openapi/v3`` to group and version, for every group that keeps objects."""
    out = {}
    for group, versions in resources.groups.items():
        for version in versions:
            out[f"apis/{group}/{version}" if group else f"api/{version}"] = f"{group}/{version}" if group else version
    return out
