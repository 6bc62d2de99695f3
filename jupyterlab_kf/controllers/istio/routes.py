"""VirtualService routes to Envoy's: where requests go, how often they are tried, and what is done to them on the way.

Istio's defaults are its own, not Envoy's: two retries on failures that show that nothing was done, at another host each
time, and no time-out. One thing is stricter than in Istio: a request that teaches a router (Seldon's feedback) is never
sent twice when a connection breaks, since it may have been counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from jupyterlab_kf.controllers import support
from jupyterlab_kf.controllers.istio import clusters, delegates, matching
from jupyterlab_kf.controllers.istio.values import (
    Unspeakable,
    duration,
    header_changes,
    millionths,
    regex,
    string_match,
    typed,
    without_none,
)
from jupyterlab_kf.controllers.istio.world import DOMAIN, Destination, Mesh, full
from jupyterlab_kf.model import Obj

CORS: Final = "envoy.filters.http.cors"
FAULT: Final = "envoy.filters.http.fault"
RETRY_ON: Final = "connect-failure,refused-stream,unavailable,cancelled"
SAFE: Final = ("connect-failure", "refused-stream", "reset-before-request")
"""Conditions under which the other side cannot have seen a request."""
PATIENT: Final[Obj] = {
    "retry_on": "connect-failure,refused-stream,reset",
    "num_retries": 30,
    "retry_back_off": {"base_interval": "0.25s", "max_interval": "2s"},
}
"""While requests are held for what sleeps: who holds them may be started anew, and no unit has seen them."""
_PREVIOUS: Final = "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
_REDIRECTS: Final = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}
_GRPC: Final = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
    "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
    "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where routes are to hold: a gateway (``namespace/name``, or ``mesh``), and a port of it."""

    gateway: str
    port: int


class Guard(Protocol):
    """Knows what is asked of requests before they reach a destination or take a route."""

    def before(self, to: Destination, match: Mapping[str, Any], action: Mapping[str, Any]) -> Obj:
        """Settings of filters by their name, for requests to a destination."""

    def on(self, name: str) -> Obj:
        """Settings of filters by their name, for a route that is called so."""


def routes(mesh: Mesh, guard: Guard, service: Obj, place: Place) -> list[Obj]:
    """A VirtualService's HTTP routes at a place, in its order."""
    found: list[Obj] = []
    for about, path, route in delegates.expanded(mesh, service):
        for number, match in enumerate(route.get("match") or [{}]):
            where = f"{path}.match[{number}]" if route.get("match") else path
            if not _is_at(match, place):
                continue
            try:
                matched = matching.route_match(match)
            except ValueError as error:
                mesh.say(about, where, f"{error}; the match fits nothing")
                continue
            try:
                found += _Writer(mesh, guard, about, path, place).write(route, match, matched)
            except ValueError as error:
                mesh.say(about, path, f"{error}; requests get status 500")
                body = {"inline_string": f"{support.name(about)}: {path}: {error}"}
                found.append({"match": matched, "direct_response": {"status": 500, "body": body}})
    return found


def last_resorts(found: Sequence[Obj]) -> list[Obj]:
    """Routes that take everything go behind those that do not, as Istio sorts them."""
    return sorted(found, key=lambda route: matching.catches_all(route["match"]))


def _is_at(match: Mapping[str, Any], place: Place) -> bool:
    gateways = match.get("gateways")
    here = not gateways or place.gateway in gateways or place.gateway.rpartition("/")[2] in gateways
    return here and match.get("port") in (None, 0, place.port)


def destination(mesh: Mesh, about: Obj, said: Mapping[str, Any], path: str, place: Place) -> Destination | None:
    """What a destination means; None, and a finding, when nothing is there."""
    host = full(str(said.get("host") or ""), support.namespace(about))
    service = mesh.service(host)
    if service is None:
        hint = "" if host.endswith(f".{DOMAIN}") else f" (a name with dots must be NAME.NAMESPACE.{DOMAIN})"
        mesh.say(about, f"{path}.host", f"there is no Service {said.get('host')!r}{hint}; requests get status 503")
        return None
    port = mesh.port(host, (said.get("port") or {}).get("number"), place.port)
    if port is None:
        ports = ", ".join(str(p["port"]) for p in (service.get("spec") or {}).get("ports") or ())
        what = f"the Service has the ports {ports}; name one of them in destination.port; requests get status 503"
        mesh.say(about, f"{path}.port", what)
        return None
    to = Destination(host, port, str(said.get("subset") or ""))
    if to.subset and mesh.subset(to) is None:
        what = f"no DestinationRule for {host} has the subset {to.subset!r}; requests get status 503"
        mesh.say(about, f"{path}.subset", what)
        return None
    mesh.used[to] = None
    return to


class _Writer:
    """Writes one route of a VirtualService."""

    def __init__(self, mesh: Mesh, guard: Guard, about: Obj, path: str, place: Place) -> None:
        self.mesh, self.guard, self.about, self.path, self.place = mesh, guard, about, path, place

    def write(self, route: Mapping[str, Any], match: Mapping[str, Any], matched: Obj) -> list[Obj]:
        name = ".".join(filter(None, (str(route.get("name") or ""), str(match.get("name") or ""))))
        result: Obj = {"match": matched} | ({"name": name} if name else {})
        if match.get("statPrefix"):
            result["stat_prefix"] = str(match["statPrefix"])
        changes, host = header_changes(route.get("headers") or {})
        result |= changes
        result["typed_per_filter_config"] = self._filters(route) | self.guard.on(str(route.get("name") or ""))
        if route.get("redirect"):
            result["redirect"] = self._redirect(route["redirect"])
        elif route.get("directResponse"):
            result["direct_response"] = _direct(route["directResponse"])
        else:
            result["route"] = self._action(route, matched, result)
            if host:
                result["route"]["host_rewrite_literal"] = host
        if not result["typed_per_filter_config"]:
            del result["typed_per_filter_config"]
        return self._careful(route, result)

    def _careful(self, route: Mapping[str, Any], result: Obj) -> list[Obj]:
        """Before a route that sends again what may have been done: one for what must not be done twice."""
        retry = (result.get("route") or {}).get("retry_policy")
        if not retry or not (route.get("retries") or retry == PATIENT):
            return [result]
        on = [word for word in retry["retry_on"].split(",") if word in SAFE]
        if len(on) == len(retry["retry_on"].split(",")):
            return [result]
        kept = {k: v for k, v in retry.items() if k not in ("retriable_status_codes", "retry_on")}
        action = {k: v for k, v in result["route"].items() if k != "retry_policy"}
        action |= {"retry_policy": {**kept, "retry_on": ",".join(on)}} if on else {}
        return [{**result, "match": matching.feedback_only(result["match"]), "route": action}, result]

    # --- where to ---------------------------------------------------------------------------------------------

    def _destination(self, said: Mapping[str, Any], path: str) -> Destination | None:
        return destination(self.mesh, self.about, said, path, self.place)

    def _action(self, route: Mapping[str, Any], matched: Obj, result: Obj) -> Obj:
        action: Obj = {"timeout": duration(route.get("timeout")) or "0s"}
        action |= self._rewrite(route, matched)
        retry = self._retries(route)
        if retry:
            action["retry_policy"] = retry
        mirrors = self._mirrors(route)
        if mirrors:
            action["request_mirror_policies"] = mirrors
        self._targets(route, matched, action, result)
        return action

    def _targets(self, route: Mapping[str, Any], matched: Obj, action: Obj, result: Obj) -> None:
        listed = list(route.get("route") or ())
        paths = [f"{self.path}.route[{n}].destination" for n in range(len(listed))]
        found = [self._destination(t.get("destination") or {}, p) for t, p in zip(listed, paths, strict=True)]
        hashes = [policy for to in found if to for policy in clusters.hash_policies(self.mesh, to)]
        if hashes:
            action["hash_policy"] = [p for n, p in enumerate(hashes) if p not in hashes[:n]]
        if not listed:
            raise Unspeakable("it has neither route, redirect, directResponse nor delegate")
        if len(listed) == 1:
            changes, host = header_changes(listed[0].get("headers") or {})
            for key, value in changes.items():
                result[key] = [*result.get(key, ()), *value]
            if host:
                action["host_rewrite_literal"] = host
            action["cluster"] = found[0].cluster if found[0] else "BlackHoleCluster"
            if found[0]:
                result["typed_per_filter_config"] |= self.guard.before(found[0], matched, action)
            return
        weighted = []
        for said, to in zip(listed, found, strict=True):
            weight = int(said.get("weight") or 0)
            if not weight:
                continue
            changes, host = header_changes(said.get("headers") or {})
            part: Obj = {"name": to.cluster if to else "BlackHoleCluster", "weight": weight, **changes}
            part |= {"host_rewrite_literal": host} if host else {}
            before = self.guard.before(to, matched, action) if to else {}
            part |= {"typed_per_filter_config": before} if before else {}
            weighted.append(part)
        if not weighted:
            raise Unspeakable("none of its destinations has a weight")
        action["weighted_clusters"] = {"clusters": weighted}

    def _mirrors(self, route: Mapping[str, Any]) -> list[Obj]:
        listed: list[tuple[Mapping[str, Any], Any, str]] = []
        if route.get("mirror"):
            said = route.get("mirrorPercentage")
            old = route.get("mirrorPercent", route.get("mirror_percent"))
            if said is None and old is not None:
                said = {"value": old}
            listed.append((route["mirror"], said, f"{self.path}.mirror"))
        for number, mirror in enumerate(route.get("mirrors") or ()):
            path = f"{self.path}.mirrors[{number}].destination"
            listed.append((mirror.get("destination") or {}, mirror.get("percentage"), path))
        result = []
        for said, percentage, path in listed:
            share = millionths(percentage, default=100.0)
            to = self._destination(said, path)
            if to and share["numerator"]:
                result.append({"cluster": to.cluster, "runtime_fraction": {"default_value": share}})
        return result

    # --- how --------------------------------------------------------------------------------------------------

    def _retries(self, route: Mapping[str, Any]) -> Obj | None:
        said = route.get("retries")
        if said is not None and not int(said.get("attempts") or 0):
            return None
        if self._held(route):
            return dict(PATIENT)
        said = said or {}
        words = [w.strip() for w in str(said.get("retryOn") or "").split(",") if w.strip()] or [
            *RETRY_ON.split(","),
            "503",
        ]
        codes = [int(word) for word in words if re.fullmatch(r"[1-5]\d\d", word)]
        words = [word for word in words if not word.isdigit()]
        if codes and "retriable-status-codes" not in words:
            words.append("retriable-status-codes")
        result: Obj = {
            "retry_on": ",".join(words),
            "num_retries": int(said.get("attempts") or 2),
            "host_selection_retry_max_attempts": "5",
        }
        if said.get("retryIgnorePreviousHosts", True):
            predicate = {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": typed(_PREVIOUS)}
            result["retry_host_predicate"] = [predicate]
        if codes:
            result["retriable_status_codes"] = codes
        if said.get("perTryTimeout"):
            result["per_try_timeout"] = duration(said["perTryTimeout"])
        if said.get("backoff"):
            result["retry_back_off"] = {"base_interval": duration(said["backoff"])}
        return result

    def _held(self, route: Mapping[str, Any]) -> bool:
        """Whether the requests to one of the destinations are held, until what sleeps is there again."""
        for number, listed in enumerate(route.get("route") or ()):
            to = self._destination(listed.get("destination") or {}, f"{self.path}.route[{number}].destination")
            if to is not None and self.mesh.sleeper(to) is not None and not self.mesh.endpoints(to):
                return True
        return False

    def _rewrite(self, route: Mapping[str, Any], matched: Obj) -> Obj:
        said = route.get("rewrite") or {}
        result: Obj = {}
        if said.get("authority"):
            result["host_rewrite_literal"] = str(said["authority"])
        if whole := said.get("uriRegexRewrite"):
            pattern = regex(str(whole.get("match") or ""))
            result["regex_rewrite"] = {"pattern": pattern, "substitution": str(whole.get("rewrite") or "")}
        elif said.get("uri"):
            if "safe_regex" in matched:
                rewritten = {"pattern": {"regex": matched["safe_regex"]["regex"]}, "substitution": str(said["uri"])}
                result["regex_rewrite"] = rewritten
            else:
                result["prefix_rewrite"] = str(said["uri"])
        return result

    def _redirect(self, said: Mapping[str, Any]) -> Obj:
        code = int(said.get("redirectCode") or 301)
        if code not in _REDIRECTS:
            raise Unspeakable(f"redirectCode {code} is none of {', '.join(map(str, _REDIRECTS))}")
        port = said.get("port")
        if said.get("derivePort") == "FROM_PROTOCOL_DEFAULT" and said.get("scheme"):
            port = 443 if said["scheme"] == "https" else 80
        elif said.get("derivePort") == "FROM_REQUEST_PORT":
            port = self.place.port
        return without_none(
            {
                "path_redirect": said.get("uri"),
                "prefix_rewrite": said.get("prefixRewrite"),
                "host_redirect": said.get("authority"),
                "port_redirect": port,
                "scheme_redirect": said.get("scheme"),
                "response_code": _REDIRECTS[code],
            }
        )

    def _filters(self, route: Mapping[str, Any]) -> Obj:
        result: Obj = {}
        for name, field, write in ((CORS, "corsPolicy", _cors), (FAULT, "fault", self._fault)):
            if route.get(field):
                result[name] = write(route[field])
        return result

    def _fault(self, said: Mapping[str, Any]) -> Obj:
        config: Obj = {}
        delay, abort = said.get("delay"), said.get("abort")
        if delay and delay.get("fixedDelay"):
            share = delay.get("percentage", {"value": delay["percent"]} if "percent" in delay else None)
            config["delay"] = {
                "fixed_delay": duration(delay["fixedDelay"]),
                "percentage": millionths(share, default=0.0),
            }
        if abort and (abort.get("httpStatus") or abort.get("grpcStatus")):
            config["abort"] = {"percentage": millionths(abort.get("percentage"), default=0.0)}
            if abort.get("grpcStatus"):
                config["abort"]["grpc_status"] = _grpc(str(abort["grpcStatus"]))
            else:
                config["abort"]["http_status"] = _status(abort["httpStatus"], least=200)
        return typed("extensions.filters.http.fault.v3.HTTPFault", **config)


# ---------------------------------------------------------------------------------------------------------------------


def _cors(said: Mapping[str, Any]) -> Obj:
    origins = [match for match in map(string_match, said.get("allowOrigins") or ()) if match]
    origins += [
        {"exact": str(o)} if o != "*" else {"safe_regex": {"regex": ".*"}} for o in said.get("allowOrigin") or ()
    ]
    join: Callable[[str], str | None] = lambda key: ",".join(said[key]) if said.get(key) else None  # noqa: E731
    age = duration(said.get("maxAge"))
    unmatched = said.get("unmatchedPreflights")
    return typed(
        "extensions.filters.http.cors.v3.CorsPolicy",
        allow_origin_string_match=origins,
        allow_methods=join("allowMethods"),
        allow_headers=join("allowHeaders"),
        expose_headers=join("exposeHeaders"),
        max_age=age and str(round(float(age[:-1]))),
        allow_credentials=said.get("allowCredentials"),
        forward_not_matching_preflights=None if unmatched in (None, "UNSPECIFIED") else unmatched == "FORWARD",
    )


def _direct(said: Mapping[str, Any]) -> Obj:
    result: Obj = {"status": _status(said.get("status"), least=200)}
    body = said.get("body") or {}
    if body.get("string") is not None:
        result["body"] = {"inline_string": str(body["string"])}
    elif body.get("bytes") is not None:
        result["body"] = {"inline_bytes": str(body["bytes"])}
    return result


def _status(value: Any, *, least: int) -> int:
    if not isinstance(value, int) or not least <= value < 600:  # noqa: PLR2004  HTTP's own range
        raise Unspeakable(f"{value!r} is no HTTP status")
    return value


def _grpc(name: str) -> int:
    if re.fullmatch(r"\d+", name) and int(name) < len(_GRPC):
        return int(name)
    if name not in _GRPC:
        raise Unspeakable(f"{name!r} is no gRPC status")
    return _GRPC.index(name)
