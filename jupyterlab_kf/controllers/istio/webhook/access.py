"""AuthorizationPolicies and RequestAuthentications as istiod judges them. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from jupyterlab_kf.controllers.istio.webhook import words
from jupyterlab_kf.controllers.istio.webhook.words import mapping, maps, texts
from jupyterlab_kf.model import Obj, meta

_SOURCES: Final = (
    "principals",
    "requestPrincipals",
    "namespaces",
    "serviceAccounts",
    "trustDomains",
    "ipBlocks",
    "remoteIpBlocks",
)
_OPERATIONS: Final = ("ports", "methods", "paths", "hosts")
_NOT_CUSTOM: Final = ("namespaces", "serviceAccounts", "trustDomains", "principals", "requestPrincipals")
_KEYED: Final = ("request.headers", "request.auth.claims", "experimental.envoy.filters.")
_PLAIN: Final = frozenset(
    {
        "source.ip",
        "remote.ip",
        "source.namespace",
        "source.serviceAccount",
        "source.principal",
        "source.trustDomain",
        "request.auth.principal",
        "request.auth.audiences",
        "request.auth.presenter",
        "destination.ip",
        "destination.port",
        "connection.sni",
    }
)
_ADDRESSES: Final = ("source.ip", "remote.ip", "destination.ip")


def _pair(name: str) -> tuple[str, str]:
    return name, f"not{name[0].upper()}{name[1:]}"


def policy(obj: Obj, spec: Mapping[str, Any]) -> Iterator[str]:
    """Why an AuthorizationPolicy is refused."""
    head = f"invalid policy {meta(obj).get('name')}.{meta(obj).get('namespace')}: "
    yield from (f"{head}{text}" for text in _policy(spec))


def _policy(spec: Mapping[str, Any]) -> Iterator[str]:
    yield from _selected(spec)
    action, rules = str(spec.get("action") or "ALLOW"), spec.get("rules")
    provider = mapping(spec.get("provider")).get("name")
    never = (
        "action without `rules` is meaningless as it will never be triggered, add an empty rule `{}` if you want it "
    )
    if action in ("CUSTOM", "DENY") and not rules:
        yield f"{action} {never}be triggered for every request"
    elif action == "CUSTOM" and not provider:
        yield "`provider.name` must not be empty"
    if spec.get("provider") is not None and action != "CUSTOM":
        yield f"`provider` must not be with non CUSTOM action, found {action}"
    for number, rule in enumerate(maps(rules)):
        if action == "CUSTOM":
            yield from _custom(rule)
        yield from _from(rule, number)
        yield from _to(rule, number)
        for condition in maps(rule.get("when")):
            yield from _when(condition)


def _selected(spec: Mapping[str, Any]) -> Iterator[str]:
    if sum(bool(spec.get(field)) for field in ("selector", "targetRef", "targetRefs")) > 1:
        yield "only one of targetRefs or workloadSelector can be set"


def _custom(rule: Mapping[str, Any]) -> Iterator[str]:
    for one in maps(rule.get("from")):
        source = mapping(one.get("source"))
        for name in _NOT_CUSTOM:
            for field in _pair(name):
                if source.get(field):
                    yield f"From.{field[0].upper()}{field[1:]} is currently not supported with CUSTOM action"
    for condition in maps(rule.get("when")):
        key = str(condition.get("key") or "")
        if key in ("source.namespace", "source.serviceAccount", "source.trustDomain", "source.principal") or (
            key.startswith("request.auth.")
        ):
            yield f"{key} is currently not supported with CUSTOM action"


def _from(rule: Mapping[str, Any], number: int) -> Iterator[str]:
    if rule.get("from") == []:
        yield f"`from` must not be empty, found at rule {number}"
    for one in maps(rule.get("from")):
        if one.get("source") is None:
            yield f"`from.source` must not be nil, found at rule {number}"
            continue
        source = mapping(one["source"])
        if not any(source.get(field) for name in _SOURCES for field in _pair(name)):
            yield f"`from.source` must not be empty, found at rule {number}"
        for name in ("ipBlocks", "remoteIpBlocks"):
            for field in _pair(name):
                yield from words.addresses(texts(source.get(field)))
        yield from _filled(source, _SOURCES)


def _to(rule: Mapping[str, Any], number: int) -> Iterator[str]:
    if rule.get("to") == []:
        yield f"`to` must not be empty, found at rule {number}"
    for one in maps(rule.get("to")):
        if one.get("operation") is None:
            yield f"`to.operation` must not be nil, found at rule {number}"
            continue
        operation = mapping(one["operation"])
        if not any(operation.get(field) for name in _OPERATIONS for field in _pair(name)):
            yield f"`to.operation` must not be empty, found at rule {number}"
        for field in _pair("ports"):
            yield from _ports(texts(operation.get(field)))
        yield from _filled(operation, _OPERATIONS)
        for field in _pair("paths"):
            yield from _templates(f"{field[0].upper()}{field[1:]}", texts(operation.get(field)))


def _filled(value: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        for field in _pair(name):
            if "" in texts(value.get(field)):
                yield f"empty value not allowed, found in {field[0].upper()}{field[1:]}"


def _ports(values: Sequence[str]) -> Iterator[str]:
    for value in values:
        if not value.isdecimal() or int(value) > words.PORTS:
            why = "<nil>" if value.isdecimal() else f'strconv.ParseUint: parsing "{value}": invalid syntax'
            yield f"bad port ({value}): {why}"


def _templates(field: str, paths: Sequence[str]) -> Iterator[str]:
    for path in paths:
        bare = path.strip("/")
        rest = False
        for part in bare.split("/"):
            if part in ("{*}", "{**}"):
                if rest:
                    yield f"invalid or unsupported path {bare}, found in {field}. {{**}} is not the last operator"
                    break
                rest = part == "{**}"
            elif "{" in part or "}" in part:
                allowed = "Contains '{' or '}' beyond a supported path template"
                yield f"invalid or unsupported path {bare}, found in {field}. {allowed}"
                break


def _when(condition: Mapping[str, Any]) -> Iterator[str]:
    key = str(condition.get("key") or "")
    if not key:
        yield "`key` must not be empty"
        return
    if not condition.get("values") and not condition.get("notValues"):
        yield f"at least one of `values` or `notValues` must be set for key {key}"
        return
    for field, what in (("values", "value"), ("notValues", "notValue")):
        yield from (f"invalid `{what}` for `key` {key}: {why}" for why in _attribute(key, texts(condition.get(field))))


def _attribute(key: str, values: Sequence[str]) -> Iterator[str]:
    if "" in values:
        yield f"empty value not allowed, found in {key}"
    elif key.startswith(_KEYED):
        name, bracket, inside = key.partition("[")
        if not (bracket and name and inside.endswith("]") and len(inside) > 1):
            yield f"bad key ({key}): should have format a[b]"
    elif key in _ADDRESSES:
        yield from words.addresses(values)
    elif key == "destination.port":
        yield from _ports(values)
    elif key == "destination.namespace":
        yield f"attribute {key} is replaced by the metadata.namespace"
    elif key.startswith("destination.labels"):
        yield f"attribute {key} is replaced by the workload selector"
    elif key in ("destination.name", "destination.user"):
        yield f"deprecated attribute {key}: only supported in v1alpha1"
    elif key not in _PLAIN:
        yield f"unknown attribute: {key}"


# Tokens


def authentication(_obj: Obj, spec: Mapping[str, Any]) -> Iterator[str]:
    """Why a RequestAuthentication is refused."""
    yield from _selected(spec)
    for rule in maps(spec.get("jwtRules")):
        yield from _token(rule)


def _token(rule: Mapping[str, Any]) -> Iterator[str]:
    if "" in texts(rule.get("audiences")):
        yield "audience must be non-empty string"
    address = str(rule.get("jwksUri") or rule.get("jwks_uri") or "")
    if not rule.get("issuer") and not address:
        yield "issuer or jwksUri must be non-empty string"
    if address and urlsplit(address).scheme not in ("http", "https"):
        yield f'URI scheme "{urlsplit(address).scheme}" is not supported'
    if rule.get("jwks"):
        yield from _keys(str(rule["jwks"]))
    if any(not location.get("name") for location in maps(rule.get("fromHeaders"))):
        yield "location header name must be non-empty string"
    if "" in texts(rule.get("fromParams")):
        yield "location query must be non-empty string"
    if "" in texts(rule.get("fromCookies")):
        yield "cookie name must be non-empty string"
    for one in maps(rule.get("outputClaimToHeaders")):
        if not one.get("claim") or not one.get("header"):
            yield "outputClaimToHeaders header and claim value must be non-empty string"
        else:
            yield from words.plain_header(str(one["header"]))
    yield from words.duration(rule.get("timeout"))


def _keys(text: str) -> Iterator[str]:
    try:
        found = json.loads(text)
    except ValueError as error:
        yield f"jwks parse error: {error}"
        return
    if not isinstance(found, dict) or not (isinstance(found.get("keys"), list) or "kty" in found):
        yield "jwks parse error: it has no keys"
