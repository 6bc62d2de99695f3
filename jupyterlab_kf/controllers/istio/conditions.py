"""AuthorizationPolicy rules to Envoy's RBAC policies: who (principals), what (permissions), and when.

What cannot be known on one machine never lets a request pass that Istio would stop: a condition that we do not know
makes an ALLOW rule fit nothing and a DENY rule fit more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from jupyterlab_kf.controllers.istio.matching import claim_keys
from jupyterlab_kf.controllers.istio.values import Unspeakable, typed
from jupyterlab_kf.model import Obj

METADATA: Final = "envoy.filters.http.jwt_authn"
_TEMPLATE: Final = "envoy.path.match.uri_template.uri_template_matcher"
_NEVER: Final[Obj] = {"not_id": {"any": True}}
_INDEXED: Final = re.compile(r"([a-z.]+)(\[.*\])?")
_IDENTITY: Final = {
    "principals": "spiffe://{}",
    "namespaces": ".*/ns/{}/.*",
    "serviceAccounts": ".*/ns/{}/sa/{}",
    "trustDomains": "spiffe://{}/.*",
}


@dataclass(frozen=True, slots=True)
class Seen:
    """How the other side of the gateway sees a request, where that differs from how the gateway does.

    Attributes:
        prefix: what its path begins with here.
        rewritten: what stands there in its place; None when paths are the same.
        ports: at which ports it may arrive; None where the connection tells.
    """

    prefix: str = ""
    rewritten: str | None = None
    ports: frozenset[int] | None = None


def policy(rule: Mapping[str, Any], seen: Seen, *, deny: bool, tell: Callable[[str, str], None]) -> Obj:
    """One rule. ``tell`` hears the path of what is not known here, and what happens."""
    sources = [
        _source(item.get("source") or {}, tell, f"from[{n}].source") for n, item in enumerate(rule.get("from") or ())
    ]
    targets = [_operation(item.get("operation") or {}, seen) for item in rule.get("to") or ()]
    principals, permissions = [_any(sources, "or_ids")], [_any(targets, "or_rules")]
    for number, condition in enumerate(rule.get("when") or ()):
        try:
            side, said = _when(condition, seen)
        except ValueError as error:
            what = "the condition is left out, so more is denied" if deny else "the rule allows nothing"
            tell(f"when[{number}].key", f"{error}; {what}")
            if not deny:
                principals.append(_NEVER)
            continue
        (principals if side == "id" else permissions).append(said)
    return {"permissions": [_all(permissions, "and_rules")], "principals": [_all(principals, "and_ids")]}


def nothing() -> Obj:
    """A policy that no request fits."""
    return {"permissions": [{"any": True}], "principals": [_NEVER]}


# --- who -------------------------------------------------------------------------------------------------------------


def _source(said: Mapping[str, Any], tell: Callable[[str, str], None], path: str) -> Obj:
    parts: list[Obj] = []
    writers: dict[str, Callable[[str], Obj]] = {
        "requestPrincipals": _request_principal,
        "ipBlocks": lambda v: {"direct_remote_ip": _block(v)},
        "remoteIpBlocks": lambda v: {"remote_ip": _block(v)},
    }
    for field, write in (writers | {name: _identity(pattern) for name, pattern in _IDENTITY.items()}).items():
        negative = f"not{field[0].upper()}{field[1:]}"
        for key, inverted in ((field, False), (negative, True)):
            if not said.get(key):
                continue
            if field in _IDENTITY:
                tell(f"{path}.{key}", "only clients that show a certificate to a MUTUAL server have an identity here")
            fits = _any([write(str(value)) for value in said[key]], "or_ids")
            parts.append({"not_id": fits} if inverted else fits)
    return _all(parts, "and_ids")


def _identity(pattern: str) -> Callable[[str], Obj]:
    def write(value: str) -> Obj:
        parts = value.split("/") if pattern.count("{}") > 1 else [value]
        if pattern.count("{}") > len(parts):
            parts = ["[^/]+", *parts]
            return _principal({"safe_regex": {"regex": pattern.format(*parts)}})
        if "*" in pattern:
            texts = [re.escape(p).replace(r"\*", ".*") for p in parts]
            return _principal({"safe_regex": {"regex": pattern.format(*texts)}})
        if value == "*":
            return _principal({"safe_regex": {"regex": ".+"}})
        return _principal(text_match(pattern.format(value)) if not value.startswith("*") else text_match(value))

    return write


def _principal(matcher: Obj) -> Obj:
    return {"authenticated": {"principal_name": matcher}}


def _block(value: str) -> Obj:
    address, _, length = value.partition("/")
    whole = 128 if ":" in address else 32
    return {"address_prefix": address, "prefix_len": int(length) if length else whole}


def _request_principal(value: str) -> Obj:
    """``issuer/subject`` of a verified token; a star stands for any text at one end."""
    issuer, _, subject = value.rpartition("/")
    if value == "*":
        return _all([_claim(["iss"], "*"), _claim(["sub"], "*")], "and_ids")
    if value.startswith("*"):
        return _all([_claim(["iss"], "*"), _claim(["sub"], subject if issuer else value)], "and_ids")
    if value.endswith("*") and (not issuer or subject != "*"):
        return _all([_claim(["iss"], issuer or value), _claim(["sub"], subject or "*")], "and_ids")
    return _all([_claim(["iss"], issuer), _claim(["sub"], subject)], "and_ids")


def _claim(keys: Sequence[str], value: str) -> Obj:
    one = {"string_match": text_match(value)}
    return {
        "metadata": {
            "filter": METADATA,
            "path": [{"key": key} for key in ("payload", *keys)],
            "value": {"or_match": {"value_matchers": [one, {"list_match": {"one_of": one}}]}},
        }
    }


# --- what ------------------------------------------------------------------------------------------------------------


def _operation(said: Mapping[str, Any], seen: Seen) -> Obj:
    parts: list[Obj] = []
    writers: dict[str, Callable[[str], Obj]] = {
        "hosts": lambda v: _header(":authority", v, fold=True),
        "methods": lambda v: _header(":method", v),
        "paths": lambda v: _path(v, seen),
        "ports": lambda v: _port(v, seen),
    }
    for field, write in writers.items():
        for key, inverted in ((field, False), (f"not{field[0].upper()}{field[1:]}", True)):
            if said.get(key):
                fits = _any([write(str(value)) for value in said[key]], "or_rules")
                parts.append({"not_rule": fits} if inverted else fits)
    return _all(parts, "and_rules")


def _header(name: str, value: str, *, fold: bool = False) -> Obj:
    if value == "*":
        return {"header": {"name": name, "present_match": True}}
    return {"header": {"name": name, "string_match": text_match(value) | ({"ignore_case": True} if fold else {})}}


def _port(value: str, seen: Seen) -> Obj:
    if seen.ports is None:
        return {"destination_port": int(value)}
    return {"any": True} if int(value) in seen.ports else {"not_rule": {"any": True}}


def _path(value: str, seen: Seen) -> Obj:
    if "{" in value:
        if seen.rewritten is not None and seen.rewritten != seen.prefix:
            value = seen.prefix + value.removeprefix(seen.rewritten)
        template = value.replace("{*}", "*").replace("{**}", "**")
        config = typed("extensions.path.match.uri_template.v3.UriTemplateMatchConfig", path_template=template)
        return {"uri_template": {"name": _TEMPLATE, "typed_config": config}}
    if seen.rewritten is None:
        return {"url_path": {"path": text_match(value)}}
    return _path_here(value, seen.prefix, seen.rewritten)


def _path_here(value: str, prefix: str, rewritten: str) -> Obj:
    """A path of the other side as it is here, before the route rewrites its beginning."""
    if value == "*":
        return {"any": True}
    if value.startswith("*"):
        pattern = f"{re.escape(prefix)}.*{re.escape(value[1:].removeprefix(rewritten))}"
        return {"url_path": {"path": {"safe_regex": {"regex": pattern}}}}
    if value.endswith("*"):
        start = value[:-1]
        if start.startswith(rewritten):
            return {"url_path": {"path": {"prefix": prefix + start.removeprefix(rewritten)}}}
        return {"any": True} if rewritten.startswith(start) else {"not_rule": {"any": True}}
    if value.startswith(rewritten):
        return {"url_path": {"path": {"exact": prefix + value.removeprefix(rewritten)}}}
    return {"not_rule": {"any": True}}


def text_match(value: str) -> Obj:
    """Istio's patterns: a star at one end stands for any text, alone for some."""
    if value == "*":
        return {"safe_regex": {"regex": ".+"}}
    if value.startswith("*"):
        return {"suffix": value[1:]}
    return {"prefix": value[:-1]} if value.endswith("*") else {"exact": value}


# --- when ------------------------------------------------------------------------------------------------------------


def _when(said: Mapping[str, Any], seen: Seen) -> tuple[str, Obj]:
    """Which side of a policy a condition belongs to, and what it says there."""
    side, write = _attribute(str(said.get("key") or ""), seen)
    fits, join, no = [], ("or_ids" if side == "id" else "or_rules"), ("not_id" if side == "id" else "not_rule")
    if said.get("values"):
        fits.append(_any([write(str(value)) for value in said["values"]], join))
    if said.get("notValues"):
        fits.append({no: _any([write(str(value)) for value in said["notValues"]], join)})
    return side, _all(fits, "and_ids" if side == "id" else "and_rules")


def _attribute(key: str, seen: Seen) -> tuple[str, Callable[[str], Obj]]:
    match = _INDEXED.fullmatch(key)
    name, keys = (match[1], claim_keys(match[2] or "")) if match else (key, [])
    simple: dict[str, tuple[str, Callable[[str], Obj]]] = {
        "request.auth.principal": ("id", _request_principal),
        "request.auth.audiences": ("id", lambda v: _claim(["aud"], v)),
        "request.auth.presenter": ("id", lambda v: _claim(["azp"], v)),
        "source.ip": ("id", lambda v: {"direct_remote_ip": _block(v)}),
        "remote.ip": ("id", lambda v: {"remote_ip": _block(v)}),
        "source.namespace": ("id", _identity(_IDENTITY["namespaces"])),
        "source.principal": ("id", _identity(_IDENTITY["principals"])),
        "destination.port": ("rule", lambda v: _port(v, seen)),
        "connection.sni": ("rule", lambda v: {"requested_server_name": text_match(v)}),
    }
    if name in simple and not keys:
        return simple[name]
    if name == "request.auth.claims" and keys:
        return "id", lambda v: _claim(keys, v)
    if name == "request.headers" and len(keys) == 1:
        return "id", lambda v: _header(keys[0], v)
    raise Unspeakable(f"the condition {key!r} is not known here")


def _any(items: Iterable[Obj], join: str) -> Obj:
    listed = list(items)
    return {"any": True} if not listed else listed[0] if len(listed) == 1 else {join: {join.partition("_")[2]: listed}}


def _all(items: Iterable[Obj], join: str) -> Obj:
    listed = [item for item in items if item != {"any": True}]
    return {"any": True} if not listed else listed[0] if len(listed) == 1 else {join: {join.partition("_")[2]: listed}}
