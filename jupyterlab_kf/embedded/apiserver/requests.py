"""What a request asks: its path, query, Accept header and body, as values. Pure parsing, with the server's own errors.

Owns the paths of the Kubernetes API, the rules of its query parameters, content negotiation, and reading JSON, YAML and
protobuf bodies (with the fields that a body gives twice). Refuses to look at any object.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import yaml

from jupyterlab_kf.embedded.apiserver import failures, protobuf, sound
from jupyterlab_kf.embedded.apiserver.options import APPLY_PATCH, DeleteOptions, WriteOptions
from jupyterlab_kf.embedded.apiserver.resources import Resources
from jupyterlab_kf.embedded.apiserver.rules import Cause
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

BODY_LIMIT: Final = 3_145_728
_MANAGER_LIMIT: Final = 128
_CORE_PARTS: Final = 2
_GROUP_PARTS: Final = 3


# --- paths -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """What a path names. ``namespace`` is None for all namespaces; ``rest`` is what follows a proxy."""

    kind: Kind
    namespace: str | None
    name: str = ""
    subresource: str = ""
    rest: str = ""
    watch: bool = False

    @property
    def place(self) -> str:
        """The namespace of one object: empty for cluster-scoped kinds."""
        return self.namespace or ""


def split_version(path: str) -> tuple[str, str, list[str]] | None:
    """Group, version and what follows; None when the path is not below a version."""
    parts = [unquote(part) for part in path.strip("/").split("/")]
    if parts[0] == "api" and len(parts) >= _CORE_PARTS:
        return "", parts[1], parts[2:]
    if parts[0] == "apis" and len(parts) >= _GROUP_PARTS:
        return parts[1], parts[2], parts[3:]
    return None


def target(group: str, version: str, parts: Sequence[str], resources: Resources, *, rest: str = "") -> Target:
    """What the parts of a path below a version name.

    Raises:
        NotFoundError: nothing is served there; as a Status or as a page, whichever the real server answers.
    """
    watch = bool(parts) and parts[0] == "watch"
    rest_parts = list(parts[1:] if watch else parts)
    namespace: str | None = None
    if len(rest_parts) > _CORE_PARTS and rest_parts[0] == "namespaces" and not _of_namespace(group, rest_parts):
        namespace, rest_parts = rest_parts[1], rest_parts[2:]
    kind = resources.find(group, version, rest_parts[0]) if rest_parts else None
    if kind is None or (namespace is not None) > kind.namespaced:
        raise _nothing(group, resources)
    name = rest_parts[1] if len(rest_parts) > 1 else ""
    if name and kind.namespaced and namespace is None:
        raise _nothing(group, resources)
    subresource = rest_parts[2] if len(rest_parts) > _CORE_PARTS else ""
    if len(rest_parts) > _GROUP_PARTS and subresource != "proxy":
        raise _nothing(group, resources)
    return Target(kind, namespace, name, subresource, rest, watch)


def _of_namespace(group: str, parts: Sequence[str]) -> bool:
    """True for ``namespaces/NAME/status``, which is not a resource in a namespace."""
    return group == "" and len(parts) == _GROUP_PARTS and parts[2] in ("status", "finalize")


def _nothing(group: str, resources: Resources) -> Exception:
    if group not in resources.groups or resources.custom_group(group):
        return failures.no_page()
    return failures.no_resource()


# --- query -----------------------------------------------------------------------------------------------------------


class Query:
    """The query parameters of a request."""

    def __init__(self, values: Mapping[str, Sequence[str]]) -> None:
        self._values = values

    def text(self, name: str) -> str:
        """The first value, or empty."""
        values = self._values.get(name)
        return values[0] if values else ""

    def has(self, name: str) -> bool:
        """True when the parameter is there, even if empty."""
        return name in self._values

    def flag(self, name: str) -> bool:
        """A boolean as the server reads it: everything but nothing, ``false`` and ``0`` is true."""
        return self.has(name) and self.text(name).lower() not in ("false", "0")

    def number(self, name: str) -> int | None:
        """An integer, or None when the parameter is not there.

        Raises:
            InvalidError: 400, it is none.
        """
        value = self.text(name)
        if not value:
            return None
        if not re.fullmatch(r"[+-]?\d+", value):
            raise failures.bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax')
        return int(value)

    def many(self, name: str) -> list[str]:
        """Every value."""
        return list(self._values.get(name, ()))


def write_options(query: Query, options: str, *, user_agent: str, patch_type: str = "") -> WriteOptions:
    """The options of a write.

    Args:
        query: the request's.
        options: ``CreateOptions``, ``UpdateOptions`` or ``PatchOptions``: named in errors.
        user_agent: names the field manager when the query does not.
        patch_type: the content type of a patch.
    """
    causes = [*_dry_run_causes(query), *_validation_causes(query), *_apply_causes(query, patch_type)]
    manager = query.text("fieldManager")
    if len(manager) > _MANAGER_LIMIT:
        message = f"Too long: may not be more than {_MANAGER_LIMIT} bytes"
        causes.append(Cause("fieldManager", "FieldValueTooLong", message))
    if causes:
        raise failures.invalid_options(options, causes)
    return WriteOptions(
        manager=manager or user_agent.split("/", maxsplit=1)[0][:_MANAGER_LIMIT] or "unknown",
        field_validation=query.text("fieldValidation") or "Warn",
        dry_run=bool(query.text("dryRun")),
        force=query.flag("force"),
    )


def _dry_run_causes(query: Query) -> list[Cause]:
    values = [value for value in query.many("dryRun") if value]
    if all(value == "All" for value in values):
        return []
    shown = json.dumps(values)
    return [Cause("dryRun", "FieldValueNotSupported", f'Unsupported value: {shown}: supported values: "All"')]


def _validation_causes(query: Query) -> list[Cause]:
    value = query.text("fieldValidation")
    if value in ("", "Ignore", "Strict", "Warn"):
        return []
    message = f'Unsupported value: "{value}": supported values: "", "Ignore", "Strict", "Warn"'
    return [Cause("fieldValidation", "FieldValueNotSupported", message)]


def _apply_causes(query: Query, patch_type: str) -> list[Cause]:
    if not patch_type:
        return []
    if patch_type == APPLY_PATCH:
        missing = Cause("fieldManager", "FieldValueRequired", "Required value: is required for apply patch")
        return [] if query.text("fieldManager") else [missing]
    forced = Cause("force", "FieldValueForbidden", "Forbidden: may not be specified for non-apply patch")
    return [forced] if query.has("force") else []


def delete_options(query: Query, body: Mapping[str, Any]) -> DeleteOptions:
    """The options of a deletion, from its body and its query."""
    wrong = _mistyped_options(body)
    if wrong:
        raise failures.bad_request(f"json: cannot unmarshal into Go struct field DeleteOptions.{wrong}")
    propagation = str(body.get("propagationPolicy") or query.text("propagationPolicy"))
    orphan = body.get("orphanDependents")
    if orphan is None and query.has("orphanDependents"):
        orphan = query.flag("orphanDependents")
    dry = body.get("dryRun") or [value for value in query.many("dryRun") if value]
    causes = _dry_run_causes(Query({"dryRun": dry}))
    if propagation not in ("", "Background", "Foreground", "Orphan"):
        supported = '"Foreground", "Background", "Orphan", "nil"'
        message = f'Unsupported value: "{propagation}": supported values: {supported}'
        causes.append(Cause("propagationPolicy", "FieldValueNotSupported", message))
    if propagation and orphan is not None:
        message = f'Invalid value: "{propagation}": orphanDependents and deletionPropagation cannot be both set'
        causes.append(Cause("propagationPolicy", "FieldValueInvalid", message))
    if causes:
        raise failures.invalid_options("DeleteOptions", causes)
    conditions = body.get("preconditions") or {}
    grace = body.get("gracePeriodSeconds")
    return DeleteOptions(
        grace=query.number("gracePeriodSeconds") if grace is None else int(grace),
        propagation="Orphan" if orphan else propagation,
        uid=str(conditions.get("uid") or ""),
        resource_version=str(conditions.get("resourceVersion") or ""),
        dry_run=bool(dry),
    )


def _mistyped_options(body: Mapping[str, Any]) -> str:
    """The first field of a body of DeleteOptions that has a wrong type; empty when there is none."""
    types: Mapping[str, tuple[type, ...]] = {
        "gracePeriodSeconds": (int,),
        "propagationPolicy": (str,),
        "orphanDependents": (bool,),
        "preconditions": (dict,),
        "dryRun": (list,),
    }
    for name, allowed in types.items():
        value = body.get(name)
        if value is not None and (not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed)):
            return name
    if not all(isinstance(item, str) for item in body.get("dryRun") or ()):
        return "dryRun"
    conditions = body.get("preconditions") or {}
    names = ("uid", "resourceVersion")
    return next((f"preconditions.{n}" for n in names if not isinstance(conditions.get(n), str | None)), "")


# --- Accept ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Form:
    """How an answer is written: ``media`` json or yaml; ``transform`` Table, PartialObjectMetadata(List) or empty."""

    media: str = "json"
    transform: str = ""
    version: str = "v1"


_JSON: Final = ("application/json", "*/*", "application/*")
_TRANSFORMS: Final = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")


def media_types(accept: str) -> Iterable[tuple[str, dict[str, str]]]:
    """The media types of an Accept header with their parameters, in order."""
    for part in accept.split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        pairs = (parameter.partition("=") for parameter in parameters)
        yield name.lower(), {key.strip(): value.strip() for key, _, value in pairs}


def form(accept: str, *, custom: bool) -> Form:
    """The first form of the header that we can answer.

    Raises:
        ApiError: 406.
    """
    if not accept.strip():
        return Form()
    for name, parameters in media_types(accept):
        wanted = parameters.get("as", "")
        if wanted:
            known = wanted in _TRANSFORMS and parameters.get("g") == "meta.k8s.io"
            if known and name in _JSON and parameters.get("v") in ("v1", "v1beta1"):
                return Form("json", wanted, parameters["v"])
        elif name in _JSON:
            return Form()
        elif name == "application/yaml":
            return Form("yaml")
    raise failures.not_acceptable(custom=custom)


# --- bodies ----------------------------------------------------------------------------------------------------------

_BODIES: Final = "application/json, application/yaml, application/vnd.kubernetes.protobuf"
_SHOWN_BODY: Final = 1000


class _Twice(dict[str, Any]):
    """A JSON object that gave some keys more than once."""

    duplicates: tuple[str, ...] = ()


def media_type(content_type: str) -> str:
    """The type without its parameters."""
    return content_type.partition(";")[0].strip().lower()


def read(body: bytes, content_type: str, subject: str) -> tuple[Any, tuple[str, ...]]:
    """The value of a body, and what is wrong with its text (``duplicate field "data"``).

    Raises:
        ApiError: 400 when it cannot be read, 415 for another format.
    """
    kind = media_type(content_type)
    if kind in ("", "application/json"):
        return _read_json(body, subject)
    if kind in ("application/yaml", "application/x-yaml", "text/yaml"):
        return read_yaml(body), ()
    if kind == "application/vnd.kubernetes.protobuf":
        return protobuf.decode(body), ()
    raise failures.unsupported_body(_BODIES)


def _read_json(body: bytes, subject: str) -> tuple[Any, tuple[str, ...]]:
    try:
        value = sound.loads(body, object_pairs_hook=_pairs) if body.strip() else None
    except ValueError as error:
        raise failures.bad_request(_unrecognised(subject, _go_message(error, body), body)) from error
    if value is None:
        raise failures.bad_request(_unrecognised(subject, "unexpected end of JSON input", body))
    return value, tuple(f'duplicate field "{path}"' for path in _duplicates(value, ""))


def _unrecognised(subject: str, why: str, body: bytes) -> str:
    shown = body[:_SHOWN_BODY].decode("utf-8", "replace") if body else "<empty>"
    return (
        f"the object provided is unrecognized (must be of type {subject}): couldn't get version/kind; "
        f"json parse error: {why} ({shown})"
    )


def _go_message(error: Exception, body: bytes) -> str:
    if isinstance(error, sound.UnsoundError):
        return str(error)
    if not isinstance(error, json.JSONDecodeError) or error.pos >= len(error.doc.rstrip()) or not body.strip():
        return "unexpected end of JSON input"
    return f"invalid character {error.doc[error.pos]!r} looking for beginning of value"


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) == len(pairs):
        return value
    seen: set[str] = set()
    twice = _Twice(value)
    twice.duplicates = tuple(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
    return twice


def _duplicates(value: Any, path: str) -> Iterable[str]:
    if isinstance(value, dict):
        prefix = f"{path}." if path else ""
        if isinstance(value, _Twice):
            yield from (prefix + key for key in value.duplicates)
        for key, item in value.items():
            if isinstance(item, (dict, list)):
                yield from _duplicates(item, prefix + key)
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _duplicates(item, f"{path}[{at}]")


class _Loader(yaml.SafeLoader):
    """YAML as JSON: times stay text."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_yaml(body: bytes) -> Any:
    """The value of a YAML (or JSON) body.

    Raises:
        InvalidError: 400.
    """
    try:
        value = sound.loads(body)
    except sound.UnsoundError as error:
        raise failures.bad_request(f"error decoding JSON: {error}") from error
    except ValueError:
        try:
            loaded = yaml.load(body, Loader=_Loader)  # noqa: S506  a safe loader without the type of times
            value = sound.as_json(loaded)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise failures.bad_request(f"error decoding YAML: {error}") from error
    if value is None:
        raise failures.bad_request("error converting YAML to JSON: the body is empty")
    return value


def read_patch(body: bytes, content_type: str) -> Any:
    """The value of a patch's body.

    Raises:
        InvalidError: 400.
    """
    if content_type == APPLY_PATCH:
        return read_yaml(body)
    try:
        return sound.loads(body)
    except ValueError as error:
        raise failures.bad_request(f"error decoding patch: {_go_message(error, body)}") from error


def check_type(obj: Any, kind: Kind) -> Obj:
    """The body as an object of the kind that the path names; a body that names no kind is taken for it.

    Raises:
        InvalidError: 400, it is another kind, or no object at all.
    """
    if not isinstance(obj, dict):
        raise failures.bad_request(
            f"the object provided is unrecognized (must be of type {kind.kind}): couldn't get version/kind; json parse "
            f"error: json: cannot unmarshal {_go_type(obj)} into Go value of type struct"
        )
    api_version, named = obj.get("apiVersion") or kind.api_version, obj.get("kind") or kind.kind
    if kind.custom and not (obj.get("apiVersion") and obj.get("kind")):
        missing = "Kind" if not obj.get("kind") else "apiVersion"
        raise failures.bad_request(f"Object '{missing}' is missing in '{json.dumps(obj)[:_SHOWN_BODY]}'")
    if (api_version, named) != (kind.api_version, kind.kind):
        raise failures.bad_request(_mismatch(str(api_version), str(named), kind))
    if not isinstance(obj.get("metadata", {}), (dict, type(None))):
        raise failures.bad_request(
            f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: json: cannot unmarshal '
            f"{_go_type(obj['metadata'])} into Go struct field {kind.kind}.metadata of type v1.ObjectMeta"
        )
    return obj


def _mismatch(api_version: str, named: str, kind: Kind) -> str:
    if kind.custom:
        if api_version != kind.api_version:
            return (
                f"the API version in the data ({api_version}) does not match the expected API version "
                f"({kind.api_version})"
            )
        return f"the kind in the data ({named}) does not match the expected kind ({kind.kind})"
    version = api_version.rpartition("/")[2]
    internal = kind.group.partition(".")[0] or "core"
    return (
        f'{named} in version "{version}" cannot be handled as a {kind.kind}: converting ({version}.{named}) to '
        f"({internal}.{kind.kind}): unknown conversion"
    )


def _go_type(value: Any) -> str:
    names: Mapping[type, str] = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}
    return names.get(type(value), "object")


def service_name(text: str) -> tuple[str, str, str]:
    """Scheme, name and port of ``[https:]name[:port]`` in a proxy path."""
    parts = text.split(":")
    if len(parts) == _GROUP_PARTS:
        return parts[0], parts[1], parts[2]
    return "", parts[0], parts[1] if len(parts) > 1 else ""
