"""OpenAPI v3 documents, one a group version: what kubectl reads before it creates, applies or explains.

From the operations kubectl learns that the server validates fields and takes dry runs, from the components what a
field means and how lists merge. A document holds only the kinds of its group version and what they refer to, which
makes it an order of magnitude smaller than a real server's, with the same answers.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from jupyterlab_kf.embedded.apiserver import schemas, training
from jupyterlab_kf.embedded.apiserver.schemas import PREFIX, Schema
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

_JSON: Final = "application/json"
_PATCHES: Final = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
_STRATEGIC: Final = "application/strategic-merge-patch+json"


def _query(name: str, kind: str, description: str) -> Schema:
    return {
        "name": name,
        "in": "query",
        "description": description,
        "schema": {"type": kind, "uniqueItems": True},
    }


_PRETTY: Final = _query("pretty", "string", "If 'true', the output is pretty printed.")
_DRY_RUN: Final = _query(
    "dryRun", "string", "When present, modifications are not persisted. Valid values are: All: all stages are run."
)
_FIELD_MANAGER: Final = _query("fieldManager", "string", "The name of the actor that makes these changes.")
_FIELD_VALIDATION: Final = _query(
    "fieldValidation",
    "string",
    "What to do about unknown or duplicate fields. Valid values are: Ignore, Warn (a warning for each; the default) "
    "and Strict (the request fails).",
)
_FORCE: Final = _query("force", "boolean", "Take fields from other managers; only for apply patches.")
_WRITE: Final = (_DRY_RUN, _FIELD_MANAGER, _FIELD_VALIDATION)
_LIST: Final = (
    _query("allowWatchBookmarks", "boolean", "Ask for bookmarks in a watch."),
    _query("continue", "string", "Where the previous page ended."),
    _query("fieldSelector", "string", "Select by fields. Defaults to everything."),
    _query("labelSelector", "string", "Select by labels. Defaults to everything."),
    _query("limit", "integer", "Number of objects in a page."),
    _query("resourceVersion", "string", "The version that the answer may not be older than."),
    _query("resourceVersionMatch", "string", "How resourceVersion is applied."),
    _query("sendInitialEvents", "boolean", "Begin a watch with what exists."),
    _query("timeoutSeconds", "integer", "How long a watch lasts."),
    _query("watch", "boolean", "Watch for changes instead of listing."),
)
_DELETE: Final = (
    _DRY_RUN,
    _query("gracePeriodSeconds", "integer", "Seconds before the object is deleted; 0 is at once."),
    _query("propagationPolicy", "string", "Orphan, Background or Foreground."),
)


def _path_parameter(name: str, description: str) -> Schema:
    return {
        "name": name,
        "in": "path",
        "description": description,
        "required": True,
        "schema": {"type": "string", "uniqueItems": True},
    }


def _ref(component: str) -> Schema:
    return {"$ref": PREFIX + component}


def _content(component: str, *media_types: str) -> Schema:
    return {"content": {media: {"schema": _ref(component)} for media in media_types or (_JSON,)}}


def document(group_version: str, kinds: Sequence[Kind], crds: Mapping[str, Obj]) -> dict[str, Any]:
    """The document of one group version.

    Args:
        group_version: ``v1`` or ``kubeflow.org/v1``; the forms of the index (``api/v1``) are taken too.
        kinds: the kinds served; those of other group versions are left out.
        crds: definitions of custom kinds by resource name, such as ``experiments.kubeflow.org``.
    """
    wanted = group_version.removeprefix("apis/").removeprefix("api/")
    components: dict[str, Schema] = {}
    paths: dict[str, Schema] = {}
    for kind in kinds:
        if kind.api_version == wanted:
            crd = crds.get(kind.resource)
            components.update(_components(kind, crd))
            paths.update(_paths(kind, crd))
    for name in (schemas.STATUS, schemas.DELETE_OPTIONS, schemas.PATCH):
        components.setdefault(name, schemas.components()[name])
    _close(components)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": dict(sorted(paths.items())),
        "components": {"schemas": dict(sorted(components.items()))},
    }


# --- components ---------------------------------------------------------------------------------------------------


def _components(kind: Kind, crd: Obj | None) -> dict[str, Schema]:
    name = schemas.component_name(kind)
    own = schemas.components()
    if not kind.custom and crd is None and name in own:
        found = {name: own[name]}
        if f"{name}List" in own:
            found[f"{name}List"] = own[f"{name}List"]
    else:
        found = {name: _custom(kind, crd), f"{name}List": _custom_list(kind, name)}
    if "scale" in kind.subresources:
        found[schemas.SCALE] = own[schemas.SCALE]
    return found


def _custom(kind: Kind, crd: Obj | None) -> Schema:
    schema = dict(schemas.schema(kind, crd) or {"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    schema["x-kubernetes-group-version-kind"] = [_gvk(kind)]
    if schema.get("properties") or not schema.get("x-kubernetes-preserve-unknown-fields"):
        properties = dict(schema.get("properties") or {})
        for name in ("apiVersion", "kind"):
            properties.setdefault(name, {"type": "string"})
        description = "Standard object's metadata."
        properties["metadata"] = {"allOf": [_ref(schemas.OBJECT_META)], "description": description}
        schema["properties"] = properties
    return schema


def _custom_list(kind: Kind, name: str) -> Schema:
    return {
        "type": "object",
        "description": f"{kind.kind}List is a list of {kind.kind}",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "items": {"type": "array", "items": _ref(name), "description": f"List of {kind.plural}."},
            "kind": {"type": "string"},
            "metadata": {"allOf": [_ref(schemas.LIST_META)], "description": "Standard list metadata."},
        },
        "x-kubernetes-group-version-kind": [{**_gvk(kind), "kind": f"{kind.kind}List"}],
    }


def _close(components: dict[str, Schema]) -> None:
    """Adds what the components refer to, until nothing is missing."""
    own = schemas.components()
    pending = list(components.values())
    while pending:
        for name in _references(pending.pop()):
            if name not in components and name in own:
                components[name] = own[name]
                pending.append(own[name])


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        ref = value.get("$ref")
        if isinstance(ref, str):
            yield ref.removeprefix(PREFIX)
        for item in value.values():
            if isinstance(item, dict | list):
                yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


# --- paths --------------------------------------------------------------------------------------------------------


def _gvk(kind: Kind) -> dict[str, str]:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _operation(
    kind: Kind, action: str, parameters: Sequence[Schema], answer: str, suffix: str, *, body: Schema | None = None
) -> Schema:
    group = "".join(part.capitalize() for part in kind.group.split(".")) or "Core"
    out: Schema = {
        "tags": [f"{kind.group or 'core'}_{kind.version}"],
        "description": f"{action} {kind.kind}",
        "operationId": f"{action}{group}{kind.version.capitalize()}{suffix}",
        "responses": {"200": {"description": "OK", **_content(answer)}, "401": {"description": "Unauthorized"}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _gvk(kind),
    }
    if parameters:
        out["parameters"] = list(parameters)
    if body is not None:
        out["requestBody"] = {**body, "required": True}
    return out


def _paths(kind: Kind, crd: Obj | None) -> dict[str, Schema]:
    name = schemas.component_name(kind)
    namespace = _path_parameter("namespace", "object name and auth scope, such as for teams and projects")
    scope = [namespace] if kind.namespaced else []
    suffix = f"Namespaced{kind.kind}" if kind.namespaced else kind.kind
    root = kind.path()
    if kind.namespaced:
        root = f"{root.removesuffix(kind.plural)}namespaces/{{namespace}}/{kind.plural}"
    collection = {
        "get": _operation(kind, "list", _LIST, f"{name}List", suffix),
        "post": _operation(kind, "post", _WRITE, name, suffix, body=_content(name)),
        "delete": _operation(
            kind,
            "deletecollection",
            (*_DELETE, *_LIST),
            schemas.STATUS,
            f"Collection{suffix}",
            body=_content(schemas.DELETE_OPTIONS),
        ),
        "parameters": [*scope, _PRETTY],
    }
    out: dict[str, Schema] = {root: collection}
    if kind.namespaced:
        out[kind.path()] = {
            "get": _operation(kind, "list", (), f"{name}List", f"{kind.kind}ForAllNamespaces"),
            "parameters": [*_LIST, _PRETTY],
        }
    out[f"{root}/{{name}}"] = _item(kind, name, suffix, scope, deletable=True)
    for subresource in kind.subresources:
        component = schemas.SCALE if subresource == "scale" else name
        path = f"{root}/{{name}}/{subresource}"
        out[path] = _item(kind, component, suffix + subresource.capitalize(), scope, deletable=False)
        if subresource == "scale":
            gvk = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
            for operation in ("get", "put", "patch"):
                out[path][operation]["x-kubernetes-group-version-kind"] = gvk
    if _is_scalable(kind, crd) and "scale" not in kind.subresources:
        out[f"{root}/{{name}}/scale"] = _item(kind, schemas.SCALE, f"{suffix}Scale", scope, deletable=False)
    return out


def _is_scalable(kind: Kind, crd: Obj | None) -> bool:
    if crd is None:
        return (kind.api_version, kind.kind) in training.SCALE_PATHS
    return "scale" in ((schemas.crd_version(kind, crd) or {}).get("subresources") or {})


def _item(kind: Kind, component: str, suffix: str, scope: list[Schema], *, deletable: bool) -> Schema:
    media = _PATCHES if kind.custom else (*_PATCHES, _STRATEGIC)
    out: Schema = {
        "get": _operation(kind, "get", (), component, suffix),
        "put": _operation(kind, "put", _WRITE, component, suffix, body=_content(component)),
        "patch": _operation(kind, "patch", (*_WRITE, _FORCE), component, suffix, body=_content(schemas.PATCH, *media)),
        "parameters": [_path_parameter("name", f"name of the {kind.kind}"), *scope, _PRETTY],
    }
    if deletable:
        out["delete"] = _operation(
            kind, "delete", _DELETE, schemas.STATUS, suffix, body=_content(schemas.DELETE_OPTIONS)
        )
    return out
