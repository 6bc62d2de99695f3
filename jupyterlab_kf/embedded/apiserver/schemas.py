"""The OpenAPI schema of every kind: core kinds from a packaged file, training kinds from a table, others from a CRD.

The file is written by ``tests/tools/generate_schemas.py`` from the type declarations of Kubernetes and is read when a
schema is first asked for. Answers are shared: nobody changes them. What a schema means (merging, validation, tables)
is the business of the modules that ask; the compiled form that they walk is in :mod:`.typed`.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any, Final

from jupyterlab_kf.embedded.apiserver import katib, serving, training
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

Schema = dict[str, Any]

PREFIX: Final = "#/components/schemas/"
OBJECT_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
LIST_META: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta"
STATUS: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.Status"
DELETE_OPTIONS: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"
SCALE: Final = "io.k8s.api.autoscaling.v1.Scale"
PATCH: Final = "io.k8s.apimachinery.pkg.apis.meta.v1.Patch"

_PACKAGES: Final = {
    "": "io.k8s.api.core",
    "apps": "io.k8s.api.apps",
    "batch": "io.k8s.api.batch",
    "autoscaling": "io.k8s.api.autoscaling",
    "authentication.k8s.io": "io.k8s.api.authentication",
    "authorization.k8s.io": "io.k8s.api.authorization",
    "coordination.k8s.io": "io.k8s.api.coordination",
    "discovery.k8s.io": "io.k8s.api.discovery",
    "policy": "io.k8s.api.policy",
    "apiextensions.k8s.io": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
    "meta.k8s.io": "io.k8s.apimachinery.pkg.apis.meta",
}


@lru_cache(maxsize=1)
def _packaged() -> Mapping[str, Any]:
    data = files("jupyterlab_kf.embedded.apiserver").joinpath("data", "schemas.json.gz").read_bytes()
    loaded: Mapping[str, Any] = json.loads(gzip.decompress(data))
    return loaded


def components() -> Mapping[str, Schema]:
    """Every component of the core kinds, by name."""
    schemas: Mapping[str, Schema] = _packaged()["schemas"]
    return schemas


def component_name(kind: Kind) -> str:
    """``io.k8s.api.core.v1.Pod``; for a custom kind the reversed group, as a real server names it."""
    package = _PACKAGES.get(kind.group)
    if package is not None and not kind.custom:
        return f"{package}.{kind.version}.{kind.kind}"
    return ".".join([*reversed(kind.group.split(".")), kind.version, kind.kind])


def referenced(schema: Mapping[str, Any]) -> str | None:
    """The component that a schema stands for, through ``$ref`` or a single ``allOf``; None when it is written out."""
    ref = schema.get("$ref")
    if ref is None and len(schema.get("allOf") or ()) == 1:
        ref = schema["allOf"][0].get("$ref")
    return str(ref).removeprefix(PREFIX) if ref else None


def crd_version(kind: Kind, crd: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The entry of a CRD's ``spec.versions`` for the kind's version."""
    for version in (crd.get("spec") or {}).get("versions") or ():
        if version.get("name") == kind.version:
            found: Mapping[str, Any] = version
            return found
    return None


def schema(kind: Kind, crd: Obj | None = None) -> Schema | None:
    """The kind's schema, its references pointing into :func:`components`; None when nothing is known about it."""
    if crd is not None:
        version = crd_version(kind, crd)
        found = ((version or {}).get("schema") or {}).get("openAPIV3Schema")
        return found if isinstance(found, dict) else None
    known = training.SCHEMAS.get((kind.api_version, kind.kind))
    if known is not None:
        return known()
    if kind in katib.COLUMNS:
        return katib.schema(kind)
    if kind in serving.COLUMNS:
        return serving.schema(kind)
    return components().get(component_name(kind))


def zero(kind: Kind) -> Obj:
    """What an empty value of a core kind looks like in JSON: parts that exist before anybody sets them."""
    zeros: Mapping[str, Obj] = _packaged()["zeros"]
    return zeros.get(component_name(kind), {})


def omitted(component: str) -> frozenset[str]:
    """Fields of a core component whose empty values a real server forgets: in Go they are no pointers."""
    found: Mapping[str, list[str]] = _packaged()["omitted"]
    return frozenset(found.get(component, ()))
