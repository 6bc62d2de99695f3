"""What a body must be to be written under a path: its name, namespace, kind, version, fields and patch.

Owns the refusals of a real server for bodies that do not fit where they were sent; what becomes of an object that does
is decided by ``rules``. Pure, but for the warnings that it adds to those of the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyterlab_kf.embedded.apiserver import failures, patches, rules, validation
from jupyterlab_kf.embedded.apiserver.options import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    WriteOptions,
)
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, meta


def addressed(kind: Kind, obj: Obj, namespace: str) -> Obj:
    """The object as it is named by the path that it was sent to.

    Raises:
        InvalidError: 400, it says another namespace.
    """
    given = dict(meta(obj))
    if kind.namespaced:
        own = given.get("namespace") or namespace
        if namespace and own != namespace:
            raise failures.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        given["namespace"] = own
    else:
        given.pop("namespace", None)
    return {**obj, "kind": kind.kind, "apiVersion": kind.api_version, "metadata": given}


def decoded(kind: Kind, obj: Obj, options: WriteOptions, source: dict[str, Any] | None) -> Obj:
    """The object without fields that its kind does not know; they are warnings, or refused, as was asked for.

    Raises:
        InvalidError: 400, there are such fields and the writer wants to hear of it.
    """
    if not options.field_validation:
        return obj
    if options.field_validation != "Ignore":
        found = [*options.decoding, *validation.unknown_fields(kind, obj, source)]
        if found and options.field_validation == "Strict":
            raise failures.bad_request(
                f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
                f"strict decoding error: {', '.join(found)}"
            )
        options.warnings.extend(found)
    return validation.prune(kind, obj, source)


def check_name(given: str, name: str) -> None:
    """Refuse a body that names another object than the path."""
    if given != name:
        raise failures.bad_request(f"the name of the object ({given}) does not match the name on the URL ({name})")


def check_subresource(kind: Kind, name: str, subresource: str) -> None:
    """Refuse a part that the kind does not have."""
    if subresource and subresource not in kind.subresources:
        raise failures.not_found(kind, name) if kind.custom else failures.no_resource()


def check_version(kind: Kind, old: Obj, given: Mapping[str, Any]) -> None:
    """Refuse an update of another version than is stored, or of another object of that name."""
    name = old["metadata"]["name"]
    version = given.get("resourceVersion")
    if not version and kind.custom:
        message = "Invalid value: 0: must be specified for an update"
        cause = rules.Cause("metadata.resourceVersion", "FieldValueInvalid", message)
        raise failures.invalid_resource(kind, name, [cause])
    if version and version != old["metadata"]["resourceVersion"]:
        raise failures.conflict(kind, name)
    uid = given.get("uid")
    if uid and uid != old["metadata"]["uid"]:
        why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {old['metadata']['uid']}"
        raise failures.conflict(kind, name, why)


def patched(kind: Kind, base: Obj, body: Any, content_type: str) -> Obj:
    """The object after one of the three patches that say what changes.

    Raises:
        ApiError: the patch makes no sense, or the kind does not take it.
    """
    if content_type == JSON_PATCH:
        return patches.json_patch(base, body)
    if content_type == MERGE_PATCH:
        return patches.merge_patch(base, body)
    if content_type == STRATEGIC_PATCH and not kind.custom:
        return patches.strategic_merge(base, body, kind)
    if kind.custom:
        raise failures.unsupported_body(f"{JSON_PATCH}, {MERGE_PATCH}, {APPLY_PATCH}")
    raise failures.unsupported_patch()


def applicable(kind: Kind, namespace: str, name: str, body: Any) -> Obj:
    """What an apply patch says, under its name.

    Raises:
        InvalidError: 400, it is of no kind or another one, or says who manages its fields.
    """
    obj = body if isinstance(body, dict) else {}
    api_version, named = obj.get("apiVersion") or "", obj.get("kind") or ""
    if not api_version or not named:
        group, _, version = api_version.rpartition("/")
        raise failures.bad_request(f"invalid object type: {group}/{version}, Kind={named}")
    if (api_version, named) != (kind.api_version, kind.kind):
        raise failures.bad_request(
            f'the apiVersion or kind in the data ("{api_version}, Kind={named}") does not match the expected one '
            f'("{kind.api_version}, Kind={kind.kind}")'
        )
    given = meta(obj)
    if given.get("managedFields"):
        raise failures.bad_request("metadata.managedFields must be nil")
    where = {"namespace": namespace} if kind.namespaced else {}
    return {**obj, "metadata": {**given, "name": name, **where}}


def replicas(kind: Kind, old: Obj, scale: Any) -> int:
    """How many replicas a ``Scale`` asks for.

    Raises:
        ApiError: it is no scale, or of another version of the object than is stored.
    """
    patches.check_shape(scale, "Scale")
    name, version = old["metadata"]["name"], meta(scale).get("resourceVersion")
    if version and version != old["metadata"]["resourceVersion"]:
        raise failures.conflict(kind, name)
    wanted = (scale.get("spec") or {}).get("replicas") or 0
    if not isinstance(wanted, int) or isinstance(wanted, bool) or not -(2**31) <= wanted < 2**31:
        raise failures.bad_request("json: cannot unmarshal into Go struct field ScaleSpec.spec.replicas of type int32")
    if wanted < 0:
        message = f"Invalid value: {wanted}: must be greater than or equal to 0"
        raise failures.invalid_resource(kind, name, [rules.Cause("spec.replicas", "FieldValueInvalid", message)])
    return wanted
