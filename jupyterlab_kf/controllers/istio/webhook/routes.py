"""VirtualServices as istiod judges them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import combinations
from typing import Any, Final

from jupyterlab_kf.controllers.istio.values import ANY
from jupyterlab_kf.controllers.istio.webhook import words
from jupyterlab_kf.controllers.istio.webhook.words import mapping, maps, number, texts
from jupyterlab_kf.model import Obj

_RETRY_ON: Final = frozenset(
    {
        "5xx",
        "gateway-error",
        "reset",
        "reset-before-request",
        "connect-failure",
        "retriable-4xx",
        "refused-stream",
        "retriable-status-codes",
        "retriable-headers",
        "envoy-ratelimited",
        "http3-post-connect-failure",
        "cancelled",
        "deadline-exceeded",
        "internal",
        "resource-exhausted",
        "unavailable",
    }
)
_GRPC: Final = frozenset(
    {
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    }
)
_METHODS: Final = frozenset(
    {
        "GET",
        "POST",
        "PUT",
        "DELETE",
        "HEAD",
        "OPTIONS",
        "PATCH",
        "CONNECT",
        "TRACE",
        "*",
    }
)
_STATUSES: Final = frozenset(str(one.value) for one in HTTPStatus)
_MESH: Final = "mesh"
_LARGE: Final = 1024 * 1024


def virtual_service(_obj: Obj, spec: Mapping[str, Any]) -> Iterator[str]:
    """Why a VirtualService is refused."""
    hosts, gateways = texts(spec.get("hosts")), texts(spec.get("gateways"))
    if not hosts:
        # It is one that another delegates to.
        for field, what in (("gateways", "gateways"), ("tls", "tls route"), ("tcp", "tcp route")):
            if spec.get(field):
                yield f"delegate virtual service must have no {what} specified"
    yield from _gateway_names(gateways)
    at_gateway = any(name != _MESH for name in gateways)
    yield from _hosts(hosts, at_gateway=at_gateway)
    http, tcp, tls = (maps(spec.get(field)) for field in ("http", "tcp", "tls"))
    if not http and not tcp and not tls:
        yield "http, tcp or tls must be provided in virtual service"
    for route in http:
        if not at_gateway:
            yield from _claims(route, gateways)
        yield from _http(route, delegate=not hosts)
    for route in tls:
        yield from _tls(route)
    for route in tcp:
        yield from _tcp(route)


def _gateway_names(names: Sequence[str]) -> Iterator[str]:
    for name in names:
        space, slash, own = name.partition("/")
        if not slash:
            yield from words.domain(name, wild=False)
            return
        if not space or not own:
            yield "config namespace and gateway name cannot be empty"
        if not words.is_label(space):
            yield f'invalid value for namespace: "{space}"'
        if not words.is_label(own):
            yield f'invalid value for gateway name: "{own}"'


def _hosts(hosts: Sequence[str], *, at_gateway: bool) -> Iterator[str]:
    found = []
    for host in hosts:
        wrong = [] if words.is_address(host) else list(words.domain(host))
        if not wrong and host == "*" and not at_gateway:
            wrong = ["wildcard host * is not allowed for virtual services bound to the mesh gateway"]
        found += wrong
    yield from found
    if not found:
        for one, other in combinations(hosts, 2):
            if _covers(one, other):
                yield f"duplicate hosts in virtual service: {one} & {other}"


def _covers(one: str, other: str) -> bool:
    """Whether one of two names, with their stars, fits the other."""
    if one == other:
        return True
    wide, narrow = (one, other) if one.startswith("*") else (other, one)
    return wide.startswith("*") and narrow.lstrip("*").endswith(wide[1:])


def _claims(route: Mapping[str, Any], gateways: Sequence[str]) -> Iterator[str]:
    for match in maps(route.get("match")):
        for field in ("headers", "withoutHeaders"):
            for key in mapping(match.get(field)):
                if words.is_claim(key):
                    named = f"found no gateways: [{' '.join(gateways)}]"
                    yield f"JWT claim based routing (key: {key}) is only supported for gateway, {named}"


# HTTP


def _http(route: Mapping[str, Any], *, delegate: bool) -> Iterator[str]:
    yield from _conflicts(route, delegate=delegate)
    for match in maps(route.get("match")):
        yield from _match(match)
    yield from words.changed_headers(route.get("headers"))
    yield from _cors(mapping(route.get("corsPolicy")))
    yield from _fault(route.get("fault"))
    yield from _mirrors(route)
    yield from _redirect(route)
    yield from _direct(route.get("directResponse"))
    yield from _retries(route.get("retries"))
    yield from _rewrite(route.get("rewrite"))
    yield from _targets(maps(route.get("route")))
    yield from words.duration(route.get("timeout"))


def _conflicts(route: Mapping[str, Any], *, delegate: bool) -> Iterator[str]:
    has = [field for field in ("route", "redirect", "fault", "rewrite", "directResponse") if route.get(field)]
    if route.get("delegate") and not delegate:
        for field in ("redirect", "route"):
            if field in has:
                yield f"root HTTP route {route.get('name') or ''} must not specify {field}"
        return
    if route.get("delegate"):
        yield "delegate HTTP route cannot contain delegate"
    answer = next((field for field in ("redirect", "directResponse") if field in has), "")
    if answer:
        yield from _beside(answer, has)
    elif "route" not in has:
        yield "HTTP route, redirect or direct_response is required"
    if route.get("mirror") and route.get("mirrors"):
        yield "HTTP route cannot contain both mirror and mirrors"


def _beside(answer: str, has: Sequence[str]) -> Iterator[str]:
    """What cannot stand beside an answer that is given at once."""
    words_of = {"directResponse": "direct_response"}
    for field in has:
        if field != answer:
            where = "route" if field in ("route", "fault") else "route rule"
            both = f"both {words_of.get(field, field)} and {words_of.get(answer, answer)}"
            yield f"HTTP {where} cannot contain {both}"


def _match(match: Mapping[str, Any]) -> Iterator[str]:
    for name, wanted in mapping(match.get("headers")).items():
        yield from words.matched_header(name)
        yield from words.match(wanted, "headers")
    for name, wanted in mapping(match.get("withoutHeaders")).items():
        yield from words.matched_header(name)
        if mapping(wanted).get("regex") != ANY:
            yield from words.match(wanted, "withoutHeaders")
    uri = mapping(match.get("uri"))
    if "regex" in uri:
        yield from words.regex(uri["regex"], "uri")
    for field in ("scheme", "method", "authority"):
        yield from words.match(match.get(field), field)
    for wanted in mapping(match.get("queryParams")).values():
        yield from words.match(wanted, "queryParams")
    if match.get("port"):
        yield from words.port(match["port"])
    yield from _gateway_names(texts(match.get("gateways")))
    space = match.get("sourceNamespace")
    if space and not words.is_label(str(space)):
        yield f"sourceNamespace match {space} is invalid"


def _cors(policy: Mapping[str, Any]) -> Iterator[str]:
    for origin in maps(policy.get("allowOrigins")):
        if not any(origin.values()):
            yield "'' is not a valid match type for CORS allow origins"
        elif "regex" in origin:
            yield from words.regex(origin["regex"], "corsPolicy.allowOrigins")
    for method in texts(policy.get("allowMethods")):
        if method not in _METHODS:
            yield f'"{method}" is not a supported HTTP method'
    for field in ("allowHeaders", "exposeHeaders"):
        for name in texts(policy.get(field)):
            yield from words.plain_header(name)
    yield from words.duration(policy.get("maxAge"))


def _fault(value: Any) -> Iterator[str]:
    if not isinstance(value, Mapping):
        return
    abort, delay = value.get("abort"), value.get("delay")
    if abort is None and delay is None:
        yield "HTTP fault injection must have an abort and/or a delay"
    if isinstance(abort, Mapping):
        yield from words.percentage(abort.get("percentage"))
        if "grpcStatus" in abort and abort["grpcStatus"] not in _GRPC:
            more = "https://github.com/grpc/grpc/blob/master/doc/statuscodes.md"
            yield (
                f'gRPC status "{abort["grpcStatus"]}" is not supported. See {more} for a list of supported codes, for '
                "example 'NOT_FOUND'"
            )
        if "http2Error" in abort:
            yield "HTTP/2 abort fault injection not supported yet"
        if "httpStatus" in abort:
            yield from _status(abort["httpStatus"])
    if isinstance(delay, Mapping):
        yield from words.percentage(delay.get("percentage"))
        yield from words.duration(delay.get("fixedDelay"))
        if "exponentialDelay" in delay:
            yield "exponentialDelay not supported yet"


def _status(value: Any) -> Iterator[str]:
    if not 200 <= number(value) <= 600:  # noqa: PLR2004  istiod's own limits
        yield f"HTTP status {number(value):g} is not in range 200-599"


def _mirrors(route: Mapping[str, Any]) -> Iterator[str]:
    share = mapping(route.get("mirrorPercentage")).get("value")
    if number(share) > words.PERCENT:
        yield f"mirror_percentage must have a max value of 100 (it has {number(share):f})"
    if number(share) < 0:
        yield f"mirror_percentage must have a min value of 0 (it has {number(share):f})"
    for field in ("mirrorPercent", "mirror_percent"):
        if number(route.get(field)) > words.PERCENT:
            yield f"mirror_percent must have a max value of 100 (it has {number(route.get(field)):g})"
    if route.get("mirror") is not None:
        yield from destination(mapping(route["mirror"]))
    for one in maps(route.get("mirrors")):
        if not one.get("destination"):
            yield "destination is required for mirrors"
            continue
        yield from destination(mapping(one["destination"]))
        part = number(mapping(one.get("percentage")).get("value"))
        if not 0 <= part <= words.PERCENT:
            edge = "max value of 100" if part > 0 else "min value of 0"
            yield f"mirror percentage must have a {edge} (it has {part:f})"


def _redirect(route: Mapping[str, Any]) -> Iterator[str]:
    redirect = route.get("redirect")
    if not isinstance(redirect, Mapping):
        return
    if redirect.get("uri") and redirect.get("prefixRewrite"):
        yield "redirect may only specify one of uri or prefix_rewrite"
    elif not any(redirect.get(f) for f in ("uri", "prefixRewrite", "authority", "port", "derivePort", "scheme")):
        yield "redirect must specify URI, authority, scheme, or port"
    elif redirect.get("redirectCode") and not 300 <= number(redirect["redirectCode"]) <= 399:  # noqa: PLR2004  3xx
        yield f"{redirect['redirectCode']} is not a valid redirect code, must be 3xx"
    elif redirect.get("scheme") not in (None, "", "http", "https"):
        yield 'invalid redirect scheme, must be "http" or "https"'
    elif redirect.get("port"):
        yield from words.port(redirect["port"])


def _direct(value: Any) -> Iterator[str]:
    if not isinstance(value, Mapping):
        return
    body = mapping(value.get("body"))
    if len(str(body.get("string") or body.get("bytes") or "")) > _LARGE:
        yield "large direct_responses may impact control plane performance, must be less than 1MB"
    yield from _status(value.get("status"))


def _retries(value: Any) -> Iterator[str]:
    if not isinstance(value, Mapping):
        return
    attempts = number(value.get("attempts"))
    if attempts < 0:
        yield "attempts cannot be negative"
    if not attempts and any(value.get(f) is not None for f in ("perTryTimeout", "retryOn", "retryRemoteLocalities")):
        yield "http retry policy configured when attempts are set to 0 (disabled)"
    yield from words.duration(value.get("perTryTimeout"))
    for policy in str(value.get("retryOn") or "").split(","):
        if policy and policy not in _RETRY_ON and policy not in _STATUSES:
            yield f'"{policy}" is not a valid retryOn policy'
    yield from words.duration(value.get("backoff"))


def _rewrite(value: Any) -> Iterator[str]:
    if not isinstance(value, Mapping):
        return
    uri, pattern = value.get("uri"), value.get("uriRegexRewrite")
    if uri and pattern is not None:
        yield "rewrite may only contain one of URI or UriRegexRewrite"
    elif not uri and pattern is None and not value.get("authority"):
        yield (
            "rewrite must specify at least one of URI, UriRegexRewrite, or authority. Only one of URI or "
            "UriRegexRewrite may be specified"
        )
    elif isinstance(pattern, Mapping):
        if not pattern.get("match") or not pattern.get("rewrite"):
            yield "UriRegexRewrite has errors\nUriRegexRewrite requires both Rewrite and Match fields to be specified"
        else:
            yield from words.regex(pattern["match"], "HTTPRewrite.UriRegexRewrite.Match")


# Where requests go


def _targets(targets: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for target in targets:
        if not target.get("destination"):
            yield "destination is required"
        else:
            yield from destination(mapping(target["destination"]))
        yield from words.changed_headers(target.get("headers"))
        if number(target.get("weight")) < 0:
            yield f"weight {number(target.get('weight')):g} < 0"
    if len(targets) > 1 and not sum(number(target.get("weight")) for target in targets):
        yield "total destination weight = 0"


def destination(value: Mapping[str, Any]) -> Iterator[str]:
    """Why a destination is none."""
    if value.get("host") == "*":
        yield "invalid destination host *"
    else:
        yield from words.domain(value.get("host"))
    subset = value.get("subset")
    if subset and not words.is_label(str(subset)):
        yield f"subset name is invalid: {subset}"
    if value.get("port") is not None:
        yield from words.port(mapping(value["port"]).get("number"))


def _tls(route: Mapping[str, Any]) -> Iterator[str]:
    if not route.get("match"):
        yield "TLS route must have at least one match condition"
    for match in maps(route.get("match")):
        if not match.get("sniHosts"):
            yield "TLS match must have at least one SNI host"
        for host in texts(match.get("sniHosts")):
            yield from words.domain(host)
        if match.get("port"):
            yield from words.port(match["port"])
        yield from _gateway_names(texts(match.get("gateways")))
    if not route.get("route"):
        yield "TLS route is required"
    yield from _targets(maps(route.get("route")))


def _tcp(route: Mapping[str, Any]) -> Iterator[str]:
    for match in maps(route.get("match")):
        for subnet in texts(match.get("destinationSubnets")):
            yield from words.addresses([subnet])
        if match.get("port"):
            yield from words.port(match["port"])
        yield from _gateway_names(texts(match.get("gateways")))
    if not route.get("route"):
        yield "TCP route is required"
    yield from _targets(maps(route.get("route")))
