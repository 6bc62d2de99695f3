"""The way in and who may use it: Gateway, tokens, rules of access, rate limits, as Istio's objects. Pure.

What stands at a gateway is shared with every endpoint behind it, so rules here deny what is not wanted of one
endpoint's paths and never allow: the first ALLOW at a gateway would shut out everybody else's requests. A token that is
only checked where it is sent (RequestAuthentication alone) lets requests without one pass; so the two come together.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

ROOT: Final = "istio-system"
"""Where the gateway's pods are, and so the rules that hold there."""
INGRESS: Final = {"istio": "ingressgateway"}
SELDON_GATEWAY: Final = "seldon-gateway"
_LIMIT: Final = "envoy.filters.http.local_ratelimit"
_LIMIT_TYPE: Final = "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_DURATION: Final = re.compile(r"(\d+(\.\d+)?(h|m|s|ms))+")
_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")


def _object(kind: Kind, name: str, namespace: str, spec: Obj) -> Obj:
    labels = {names.LABEL_MANAGED_BY: names.FIELD_MANAGER}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}


def gateway(
    name: str = SELDON_GATEWAY,
    namespace: str = ROOT,
    *,
    hosts: Sequence[str] = ("*",),
    port: int = 80,
    credential: str = "",
    client_certificates: bool = False,
) -> Obj:
    """A Gateway on Istio's usual ingress.

    Args:
        name: its name; ``seldon-gateway`` is the one that Seldon's operator routes by.
        namespace: its namespace.
        hosts: the host names that it takes requests for.
        port: its port for HTTP, or for HTTPS where there is a certificate.
        credential: the Secret (in the ingress' namespace) with certificate and key; HTTP is then led to HTTPS.
        client_certificates: clients must show a certificate too.

    Raises:
        UsageError: no hosts, a port that is none, or clients' certificates without one of the gateway's own.
    """
    if not hosts:
        raise UsageError(f"gateway {name} needs hosts", hint="'*' takes requests for every one")
    if not 1 <= port <= 65535:  # noqa: PLR2004  ports
        raise UsageError(f"{port} is no port")
    if client_certificates and not credential:
        raise UsageError("clients' certificates need a certificate of the gateway's", hint="name its Secret")
    plain: Obj = {"port": {"number": 80 if credential else port, "name": "http", "protocol": "HTTP"}}
    servers: list[Obj] = [{**plain, "hosts": list(hosts)}]
    if credential:
        servers[0]["tls"] = {"httpsRedirect": True}
        number = port if port != 80 else 443  # noqa: PLR2004  the usual ports
        tls = {"mode": "MUTUAL" if client_certificates else "SIMPLE", "credentialName": credential}
        secure = {"number": number, "name": "https", "protocol": "HTTPS"}
        servers.append({"port": secure, "hosts": list(hosts), "tls": tls})
    return _object(kinds.GATEWAY, name, namespace, {"selector": dict(INGRESS), "servers": servers})


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """Who signs tokens, and how they are checked.

    Attributes:
        issuer: the token's ``iss``.
        jwks_uri: where the issuer's keys are; empty finds them by the issuer's own description.
        jwks: the keys themselves, as JSON, instead.
        audiences: of which a token must name one; any when there are none.
        claims_to_headers: claim to the header that the endpoint gets it in.
    """

    issuer: str
    jwks_uri: str = ""
    jwks: str = ""
    audiences: tuple[str, ...] = ()
    claims_to_headers: Mapping[str, str] = field(default_factory=dict)
    forward: bool = True

    def rule(self) -> Obj:
        """The entry of ``jwtRules``.

        Raises:
            UsageError: no issuer, keys given twice, or keys that are not JSON.
        """
        if not self.issuer:
            raise UsageError("tokens need an issuer", hint="the value of their claim iss")
        if self.jwks_uri and self.jwks:
            raise UsageError(f"the keys of {self.issuer} are given twice", hint="give jwks_uri or jwks")
        rule: Obj = {"issuer": self.issuer, "forwardOriginalToken": self.forward}
        if self.jwks_uri:
            if not self.jwks_uri.startswith(("https://", "http://")):
                raise UsageError(f"{self.jwks_uri!r} is no address of keys", hint="write https://...")
            rule["jwksUri"] = self.jwks_uri
        if self.jwks:
            rule["jwks"] = _keys(self.jwks)
        if self.audiences:
            rule["audiences"] = list(self.audiences)
        if self.claims_to_headers:
            found = sorted(self.claims_to_headers.items())
            rule["outputClaimToHeaders"] = [{"claim": claim, "header": header} for claim, header in found]
        return rule


def _keys(text: str) -> str:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(f"the keys are not JSON: {error}") from error
    keys = found.get("keys") if isinstance(found, dict) else None
    if not isinstance(keys, list):
        raise UsageError("the keys are no JSON Web Key Set", hint='it is {"keys": [...]}')
    if any(isinstance(key, dict) and ("d" in key or "k" in key) for key in keys):
        raise UsageError("the key set has private keys, which nobody should see", hint="give the public ones only")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Who may call an endpoint.

    Attributes:
        name: the endpoint's.
        namespace: the endpoint's.
        prefix: its path at the gateway; that of a SeldonDeployment where it is empty.
        header: the header that names the endpoint in gRPC calls, beside ``namespace``.
        tokens: the issuers whose tokens count.
        claims: claim to the values of which a token must have one, such as ``groups``.
        methods: the methods that may be used; any when there are none.
        addresses: the addresses (CIDR) that may call; any when there are none.
        gateway_namespace: where the gateway's pods are.
    """

    name: str
    namespace: str
    prefix: str = ""
    header: str = "seldon"
    tokens: tuple[Tokens, ...] = ()
    claims: Mapping[str, Sequence[str]] = field(default_factory=dict)
    methods: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    gateway_namespace: str = ROOT

    @property
    def path(self) -> str:
        """The endpoint's path at the gateway."""
        return (self.prefix or f"/seldon/{self.namespace}/{self.name}").rstrip("/")

    @property
    def object_name(self) -> str:
        """The name of its rules, which lie with those of other namespaces' endpoints."""
        return names.with_suffix(f"{self.namespace}-{self.name}", "access")


def restrict(access: Access) -> list[Obj]:
    """The objects that let only those requests to an endpoint pass.

    Raises:
        UsageError: nothing is restricted, or by something that does not exist.
    """
    for method in access.methods:
        if method not in _METHODS:
            raise UsageError(f"{method!r} is not an HTTP method", hint=f"there are {', '.join(_METHODS)}")
    if access.claims and not access.tokens:
        raise UsageError("claims are of tokens", hint="say whose tokens count")
    rules = _denied(access)
    if not rules:
        raise UsageError(f"nothing restricts who may call {access.name}", hint="give tokens, methods or addresses")
    made: list[Obj] = []
    where = (access.object_name, access.gateway_namespace)
    if access.tokens:
        spec = {"selector": _ingress(), "jwtRules": [one.rule() for one in access.tokens]}
        made.append(_object(kinds.REQUEST_AUTHENTICATION, *where, spec))
    return [
        *made,
        _object(kinds.AUTHORIZATION_POLICY, *where, {"selector": _ingress(), "action": "DENY", "rules": rules}),
    ]


def _ingress() -> Obj:
    return {"matchLabels": dict(INGRESS)}


def _denied(access: Access) -> list[Obj]:
    """What is denied, once at the endpoint's path and once for gRPC, which comes by headers and at any path."""
    by_path: Obj = {"to": [{"operation": {"paths": [access.path, f"{access.path}/*"]}}]}
    called = {access.header: access.name, "namespace": access.namespace}
    by_header: Obj = {"when": [{"key": f"request.headers[{key}]", "values": [value]} for key, value in called.items()]}
    return [copy.deepcopy(_both(place, unwanted)) for unwanted in _unwanted(access) for place in (by_path, by_header)]


def _both(place: Obj, unwanted: Obj) -> Obj:
    """A rule that fits what fits both."""
    operations = [one["operation"] for rule in (place, unwanted) for one in rule.get("to") or ()]
    merged: Obj = {key: value for operation in operations for key, value in operation.items()}
    conditions = [*(place.get("when") or ()), *(unwanted.get("when") or ())]
    rule: Obj = {"from": unwanted["from"]} if "from" in unwanted else {}
    if merged:
        rule["to"] = [{"operation": merged}]
    return {**rule, "when": conditions} if conditions else rule


def _unwanted(access: Access) -> list[Obj]:
    rules: list[Obj] = []
    if access.tokens:
        allowed = [f"{one.issuer}/*" for one in access.tokens]
        rules.append({"from": [{"source": {"notRequestPrincipals": allowed}}]})
    for claim, values in access.claims.items():
        rules.append({"when": [{"key": f"request.auth.claims[{claim}]", "notValues": [str(one) for one in values]}]})
    if access.methods:
        rules.append({"to": [{"operation": {"notMethods": list(access.methods)}}]})
    if access.addresses:
        rules.append({"from": [{"source": {"notRemoteIpBlocks": list(access.addresses)}}]})
    return rules


def rate_limit(
    name: str,
    namespace: str,
    *,
    requests: int,
    every: str = "1s",
    burst: int = 0,
    pods: Mapping[str, str] | None = None,
    route: str = "",
) -> Obj:
    """A limit of requests: in front of each of an endpoint's pods, or of one route of the gateway.

    Args:
        name: the endpoint's name.
        namespace: its namespace; the gateway's where a route is limited.
        requests: how many are let through in a while; others are answered 429.
        every: the while, such as ``1s`` or ``1m``.
        burst: how many at once after a pause; as many as ``requests`` where it is 0.
        pods: labels of the pods; those of a SeldonDeployment where neither is given. Each pod counts for itself.
        route: the name of a VirtualService's route.

    Raises:
        UsageError: a limit that lets nothing through, or a while that is none.
    """
    if requests < 1 or burst < 0:
        raise UsageError(f"{requests} requests (burst {burst}) is no limit", hint="one or more in a while")
    if not _DURATION.fullmatch(every):
        raise UsageError(f"{every!r} is no length of time", hint="write 500ms, 1s or 1m")
    bucket = {"max_tokens": burst or requests, "tokens_per_fill": requests, "fill_interval": every}
    whole = {"numerator": 100, "denominator": "HUNDRED"}
    told = {"append_action": "OVERWRITE_IF_EXISTS_OR_ADD", "header": {"key": "x-local-rate-limit", "value": "true"}}
    config: Obj = {
        "@type": _LIMIT_TYPE,
        "stat_prefix": "http_local_rate_limiter",
        "token_bucket": bucket,
        "filter_enabled": {"runtime_key": "local_rate_limit_enabled", "default_value": whole},
        "filter_enforced": {"runtime_key": "local_rate_limit_enforced", "default_value": whole},
        "response_headers_to_add": [told],
    }
    patches = _at_route(route, config) if route else [_at_pods(config)]
    labels = dict(INGRESS) if route else dict(pods or {"seldon-deployment-id": name})
    spec = {"workloadSelector": {"labels": labels}, "configPatches": patches}
    return _object(kinds.ENVOY_FILTER, names.with_suffix(name, "limit"), namespace, spec)


def _insert(context: str, config: Mapping[str, Any]) -> Obj:
    manager = "envoy.filters.network.http_connection_manager"
    return {
        "applyTo": "HTTP_FILTER",
        "match": {"context": context, "listener": {"filterChain": {"filter": {"name": manager}}}},
        "patch": {"operation": "INSERT_BEFORE", "value": {"name": _LIMIT, "typed_config": dict(config)}},
    }


def _at_pods(config: Obj) -> Obj:
    return _insert("SIDECAR_INBOUND", config)


def _at_route(route: str, config: Obj) -> list[Obj]:
    """The filter, which limits nothing by itself, and the route's own settings for it."""
    idle = {"@type": _LIMIT_TYPE, "stat_prefix": "http_local_rate_limiter"}
    match = {"context": "GATEWAY", "routeConfiguration": {"vhost": {"route": {"name": route, "action": "ANY"}}}}
    value = {"typed_per_filter_config": {_LIMIT: config}}
    own = {"applyTo": "HTTP_ROUTE", "match": match, "patch": {"operation": "MERGE", "value": value}}
    return [_insert("GATEWAY", idle), own]
