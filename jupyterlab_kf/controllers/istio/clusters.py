"""Destinations to Envoy's clusters and their endpoints: what a DestinationRule asks for, with Istio's own defaults.

Istio does not leave Envoy's limits where they are: a burst must not fail because three retries are under way, so what a
rule does not set is unlimited. Nor is traffic sent to hosts that are known to be dead (Envoy's panic mode) unless a
rule asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf.controllers import support
from jupyterlab_kf.controllers.istio import tls
from jupyterlab_kf.controllers.istio.values import Unspeakable, duration, file_of, source, typed, without_none
from jupyterlab_kf.controllers.istio.world import Destination, Mesh, port_entry
from jupyterlab_kf.model import Obj

UNLIMITED: Final = 2**32 - 1
_OPTIONS: Final = "upstreams.http.v3.HttpProtocolOptions"
_HTTP2: Final = ("grpc", "grpc-web", "http2", "h2c", "kubernetes.io/h2c")
_HTTP1: Final = ("http", "kubernetes.io/ws", "ws", "http1")
_BALANCERS: Final = {
    "ROUND_ROBIN": "ROUND_ROBIN",
    "LEAST_REQUEST": "LEAST_REQUEST",
    "LEAST_CONN": "LEAST_REQUEST",
    "RANDOM": "RANDOM",
}
_PARTS: Final = ("connectionPool", "loadBalancer", "outlierDetection", "portLevelSettings", "tls", "retryBudget")
_BY_PORT: Final = ("connectionPool", "loadBalancer", "outlierDetection", "tls")


def policy(mesh: Mesh, to: Destination) -> Mapping[str, Any]:
    """The traffic policy for a destination: a port's own before a subset's, part by part, before the rule's."""
    merged: Obj = {}
    rules = mesh.rules(to.host)
    said = [(rule.get("spec") or {}).get("trafficPolicy") for rule in rules]
    said = [next((item for item in said if item), None), (mesh.subset(to) or {}).get("trafficPolicy")]
    for level in said:
        for part, value in (level or {}).items():
            merged[part] = value
    for level in merged.get("portLevelSettings") or ():
        if (level.get("port") or {}).get("number") == to.port:
            return {**{k: v for k, v in merged.items() if k not in _BY_PORT}, **level}
    return merged


def cluster(mesh: Mesh, to: Destination) -> Obj:
    """What Envoy has to know of a destination; a part that it would refuse is left out and told."""
    rules = policy(mesh, to)
    about = mesh.rules(to.host)
    result: Obj = {
        "name": to.cluster,
        "type": "EDS",
        "eds_cluster_config": {"eds_config": source(file_of(mesh.folder, "eds", to.cluster))},
        "connect_timeout": "10s",
        "circuit_breakers": {"thresholds": [_limits({})]},
        "common_lb_config": {"healthy_panic_threshold": {"value": 0.0}},
        "lb_policy": "LEAST_REQUEST",
        "ignore_health_on_host_removal": True,
    }
    for write in (_pool, _balancer, _outliers, _protocol, _secure):
        try:
            result |= write(mesh, to, rules)
        except ValueError as error:
            for rule in about:
                mesh.say(rule, "spec.trafficPolicy", f"{error}; Istio's default holds in its place")
    minimum = (rules.get("outlierDetection") or {}).get("minHealthPercent")
    if minimum:
        result["common_lb_config"] = {"healthy_panic_threshold": {"value": float(minimum)}}
    return result


def assignment(mesh: Mesh, to: Destination) -> Obj:
    """A destination's ready endpoints; where all of them sleep, who holds requests until they are awake."""
    found = [
        {"endpoint": {"address": {"socket_address": {"address": ip, "port_value": port}}}}
        for ip, port in mesh.endpoints(to)
    ]
    if not found and mesh.sleeper(to) is not None:
        found = [{"endpoint": {"address": {"pipe": {"path": held_at(mesh.world.place, to)}}}}]
    return {"cluster_name": to.cluster, "endpoints": [{"lb_endpoints": found}] if found else []}


def held_at(place: str, to: Destination) -> str:
    """Where the requests of a destination that sleeps are held: a socket without a file, whose path would be too long.

    Args:
        place: tells the clusters of one machine apart.
        to: the destination.
    """
    return f"@kf-{support.suffix(place, 12)}-{support.suffix(to.cluster, 12)}"


def uses_http2(mesh: Mesh, to: Destination) -> bool | None:
    """Whether a port speaks HTTP/2, by its name or ``appProtocol`` as in Istio; None when it does not say."""
    service = mesh.service(to.host)
    entry = port_entry(service, to.port) if service else {}
    said = str(entry.get("appProtocol") or str(entry.get("name") or "").partition("-")[0]).lower()
    if said in _HTTP2 or str(entry.get("name") or "").startswith("grpc-web"):
        return True
    return False if said in _HTTP1 else None


# ---------------------------------------------------------------------------------------------------------------------


def _limits(pool: Mapping[str, Any]) -> Obj:
    http, tcp = pool.get("http") or {}, pool.get("tcp") or {}
    return {
        "max_connections": int(tcp.get("maxConnections") or UNLIMITED),
        "max_pending_requests": int(http.get("http1MaxPendingRequests") or UNLIMITED),
        "max_requests": int(http.get("http2MaxRequests") or UNLIMITED),
        "max_retries": int(http.get("maxRetries") or UNLIMITED),
        "track_remaining": True,
    }


def _pool(_mesh: Mesh, _to: Destination, rules: Mapping[str, Any]) -> Obj:
    pool = rules.get("connectionPool") or {}
    tcp = pool.get("tcp") or {}
    limits = _limits(pool)
    if budget := rules.get("retryBudget"):
        limits["retry_budget"] = {
            "budget_percent": {"value": float(budget.get("percent", 20))},
            "min_retry_concurrency": int(budget.get("minRetryConcurrency", 3)),
        }
    result: Obj = {"circuit_breakers": {"thresholds": [limits]}}
    if tcp.get("connectTimeout"):
        result["connect_timeout"] = duration(tcp["connectTimeout"])
    if "tcpKeepalive" in tcp:
        alive = tcp["tcpKeepalive"] or {}
        result["upstream_connection_options"] = {
            "tcp_keepalive": without_none(
                {
                    "keepalive_probes": alive.get("probes"),
                    "keepalive_time": _seconds(alive.get("time")),
                    "keepalive_interval": _seconds(alive.get("interval")),
                }
            )
        }
    return result


def _seconds(text: Any) -> int | None:
    value = duration(text)
    return None if value is None else max(1, round(float(value[:-1])))


def _balancer(mesh: Mesh, to: Destination, rules: Mapping[str, Any]) -> Obj:
    balancer = rules.get("loadBalancer") or {}
    hashed = balancer.get("consistentHash")
    if hashed:
        return _hashed(hashed)
    simple = str(balancer.get("simple") or "LEAST_REQUEST")
    if simple == "PASSTHROUGH":
        for rule in mesh.rules(to.host):
            what = "a gateway has no original destination to pass through to; LEAST_REQUEST is used"
            mesh.say(rule, "spec.trafficPolicy.loadBalancer.simple", what)
    name = _BALANCERS.get(simple, "LEAST_REQUEST")
    result: Obj = {"lb_policy": name}
    warmup = balancer.get("warmup") or {}
    lasts = duration(warmup.get("duration") or balancer.get("warmupDurationSecs"))
    if lasts and name != "RANDOM":
        slow: Obj = {"slow_start_window": lasts}
        if "aggression" in warmup:
            value = float(warmup["aggression"])
            slow["aggression"] = {"default_value": value, "runtime_key": "kf.slow_start.aggression"}
        least = warmup.get("minimumPercent")
        slow["min_weight_percent"] = {"value": float(10 if least is None else least)}
        field = "round_robin_lb_config" if name == "ROUND_ROBIN" else "least_request_lb_config"
        result[field] = {"slow_start_config": slow}
    return result


def _hashed(hashed: Mapping[str, Any]) -> Obj:
    if "maglev" in hashed:
        size = (hashed["maglev"] or {}).get("tableSize")
        config = {"maglev_lb_config": {"table_size": int(size)}} if size else {}
        return {"lb_policy": "MAGLEV", **config}
    least = (hashed.get("ringHash") or {}).get("minimumRingSize") or hashed.get("minimumRingSize") or 1024
    if int(least) > 8 * 1024 * 1024:
        raise Unspeakable(f"a ring of {least} is larger than Envoy makes one")
    return {"lb_policy": "RING_HASH", "ring_hash_lb_config": {"minimum_ring_size": int(least)}}


def hash_policies(mesh: Mesh, to: Destination) -> list[Obj]:
    """By what requests to a destination are told apart, where its rule hashes."""
    hashed = (policy(mesh, to).get("loadBalancer") or {}).get("consistentHash") or {}
    if name := hashed.get("httpHeaderName"):
        return [{"header": {"header_name": str(name)}}]
    if cookie := hashed.get("httpCookie"):
        marks = [{"name": str(a.get("name")), "value": str(a.get("value", ""))} for a in cookie.get("attributes") or ()]
        said = {"name": str(cookie.get("name")), "ttl": duration(cookie.get("ttl")), "path": cookie.get("path")}
        return [{"cookie": without_none({**said, "attributes": marks or None})}]
    if hashed.get("useSourceIp"):
        return [{"connection_properties": {"source_ip": True}}]
    if name := hashed.get("httpQueryParameterName"):
        return [{"query_parameter": {"name": str(name)}}]
    return []


def _outliers(_mesh: Mesh, _to: Destination, rules: Mapping[str, Any]) -> Obj:
    said = rules.get("outlierDetection")
    if said is None:
        return {}
    result: Obj = {"enforcing_success_rate": 0, "enforcing_local_origin_success_rate": 0}
    for key, field, enforcing in (
        ("consecutive5xxErrors", "consecutive_5xx", "enforcing_consecutive_5xx"),
        ("consecutiveErrors", "consecutive_gateway_failure", "enforcing_consecutive_gateway_failure"),
        ("consecutiveGatewayErrors", "consecutive_gateway_failure", "enforcing_consecutive_gateway_failure"),
        (
            "consecutiveLocalOriginFailures",
            "consecutive_local_origin_failure",
            "enforcing_consecutive_local_origin_failure",
        ),
    ):
        if said.get(key) is not None:
            count = int(said[key])
            result |= {field: count, enforcing: 100} if count else {enforcing: 0}
    if said.get("splitExternalLocalOriginErrors"):
        result["split_external_local_origin_errors"] = True
    result |= without_none(
        {
            "interval": duration(said.get("interval")),
            "base_ejection_time": duration(said.get("baseEjectionTime")),
            "max_ejection_percent": said.get("maxEjectionPercent"),
        }
    )
    return {"outlier_detection": result}


def _protocol(mesh: Mesh, to: Destination, rules: Mapping[str, Any]) -> Obj:
    pool = rules.get("connectionPool") or {}
    http = pool.get("http") or {}
    common = without_none(
        {
            "idle_timeout": duration(http.get("idleTimeout")),
            "max_requests_per_connection": http.get("maxRequestsPerConnection"),
            "max_connection_duration": duration((pool.get("tcp") or {}).get("maxConnectionDuration")),
        }
    )
    alive = http.get("http2KeepAlive")
    second = without_none({"max_concurrent_streams": http.get("maxConcurrentStreams") or None})
    if alive:
        second["connection_keepalive"] = without_none(
            {"interval": duration(alive.get("interval")), "timeout": duration(alive.get("timeout")) or "10s"}
        )
    two = True if to in mesh.spoken_http2 else uses_http2(mesh, to)
    if http.get("h2UpgradePolicy") == "UPGRADE":
        two = True
    elif http.get("h2UpgradePolicy") == "DO_NOT_UPGRADE" and two is None:
        two = False
    if (http.get("useClientProtocol") and to not in mesh.spoken_http2) or two is None:
        said: Obj = {"use_downstream_protocol_config": {"http_protocol_options": {}, "http2_protocol_options": second}}
    elif two:
        said = {"explicit_http_config": {"http2_protocol_options": second}}
    else:
        said = {"explicit_http_config": {"http_protocol_options": {}}}
    options = typed("extensions." + _OPTIONS, **said, **({"common_http_protocol_options": common} if common else {}))
    return {"typed_extension_protocol_options": {"envoy." + "extensions." + _OPTIONS: options}}


def _secure(mesh: Mesh, to: Destination, rules: Mapping[str, Any]) -> Obj:
    said = rules.get("tls") or {}
    mode = str(said.get("mode") or "DISABLE")
    if mode == "DISABLE":
        return {}
    if mode == "ISTIO_MUTUAL":
        for rule in mesh.rules(to.host):
            what = "pods here have no sidecar to hold Istio's certificates; they are reached in plain text"
            mesh.say(rule, "spec.trafficPolicy.tls.mode", what)
        return {}
    context = tls.upstream(mesh, said, default_name=to.host)
    return {"transport_socket": {"name": "tls", "typed_config": context}}
