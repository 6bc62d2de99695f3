"""DestinationRules and Gateways as istiod judges them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from jupyterlab_kf.controllers.istio.webhook import words
from jupyterlab_kf.controllers.istio.webhook.words import mapping, maps, number, texts
from jupyterlab_kf.model import Obj, meta

_POLICY: Final = ("outlierDetection", "connectionPool", "loadBalancer", "tls")
_WHOLE_POLICY: Final = (*_POLICY, "portLevelSettings", "tunnel", "proxyProtocol", "retryBudget")
_LARGEST_TABLE: Final = 5000011
_NOT_NEGATIVE: Final = {
    "http1MaxPendingRequests": "http1 max pending requests",
    "http2MaxRequests": "http2 max requests",
    "maxRequestsPerConnection": "max requests per connection",
    "maxRetries": "max retries",
    "maxConcurrentStreams": "max concurrent streams",
}
_PROTOCOLS: Final = frozenset(
    {
        "HTTP",
        "HTTP2",
        "HTTP_PROXY",
        "GRPC",
        "GRPC-WEB",
        "GRPC-WEB-HTTPS",
        "MONGO",
        "REDIS",
        "MYSQL",
        "TCP",
        "UDP",
        "HTTPS",
        "TLS",
        "HBONE",
    }
)
_PLAIN: Final = frozenset({"HTTP", "HTTP2", "GRPC", "GRPC-WEB", "HTTP_PROXY"})
_SECURE: Final = frozenset({"HTTPS", "TLS"})
_OWN_FILES: Final = ("caCertificates", "privateKey", "serverCertificate")


def destination_rule(_obj: Obj, spec: Mapping[str, Any]) -> Iterator[str]:
    """Why a DestinationRule is refused."""
    yield from words.domain(spec.get("host"))
    yield from _policy(spec.get("trafficPolicy"))
    seen: set[str] = set()
    for subset in maps(spec.get("subsets")):
        name = str(subset.get("name") or "")
        if name in seen:
            yield f"duplicate subset names: {name}"
        seen.add(name)
        if not name:
            yield "subset name cannot be empty"
        elif not words.is_label(name):
            yield f"subset name is invalid: {name}"
        yield from _policy(subset.get("trafficPolicy"))


def _policy(value: Any) -> Iterator[str]:
    if not isinstance(value, Mapping):
        return
    if not any(value.get(field) is not None for field in _WHOLE_POLICY):
        yield "traffic policy must have at least one field"
        return
    if value.get("tunnel") is not None and value.get("proxyProtocol") is not None:
        yield "tunnel and proxyProtocol must not be set together"
        return
    yield from _level(value)
    for port in maps(value.get("portLevelSettings")):
        if port.get("port") is None:
            yield "portTrafficPolicy must have valid port"
        if any(port.get(field) is not None for field in _POLICY):
            yield from _level(port)
        else:
            yield "port traffic policy must have at least one field"


def _level(value: Mapping[str, Any]) -> Iterator[str]:
    yield from _outliers(mapping(value.get("outlierDetection")))
    yield from _pool(value.get("connectionPool"))
    yield from _balancer(mapping(value.get("loadBalancer")))
    yield from _client_tls(mapping(value.get("tls")))


def _outliers(value: Mapping[str, Any]) -> Iterator[str]:
    for field in ("baseEjectionTime", "interval"):
        yield from words.duration(value.get(field))
    if number(value.get("consecutiveLocalOriginFailures")) > 0 and not value.get("splitExternalLocalOriginErrors"):
        yield (
            "outlier detection consecutive local origin failures is specified, but split external local origin errors "
            "is set to false"
        )
    for field in ("maxEjectionPercent", "minHealthPercent"):
        yield from words.percent(value.get(field))


def _pool(value: Any) -> Iterator[str]:
    if not isinstance(value, Mapping):
        return
    http, tcp = value.get("http"), mapping(value.get("tcp"))
    if http is None and value.get("tcp") is None:
        yield "connection pool must have at least one field"
    for field, what in _NOT_NEGATIVE.items():
        if number(mapping(http).get(field)) < 0:
            yield f"{what} must be non-negative"
    yield from words.duration(mapping(http).get("idleTimeout"))
    if mapping(http).get("h2UpgradePolicy") == "UPGRADE" and mapping(http).get("useClientProtocol"):
        yield "use client protocol must not be true when H2UpgradePolicy is UPGRADE"
    if number(tcp.get("maxConnections")) < 0:
        yield "max connections must be non-negative"
    for field in ("connectTimeout", "maxConnectionDuration"):
        yield from words.duration(tcp.get(field))
    if str(tcp.get("idleTimeout")) not in ("0", "0s", "0ms"):
        yield from words.duration(tcp.get("idleTimeout"))
    for field in ("time", "interval"):
        yield from words.duration(mapping(tcp.get("tcpKeepalive")).get(field))


def _balancer(value: Mapping[str, Any]) -> Iterator[str]:
    hashed = mapping(value.get("consistentHash"))
    cookie = hashed.get("httpCookie")
    if isinstance(cookie, Mapping) and not cookie.get("name"):
        yield "name required for HttpCookie"
    if number(hashed.get("minimumRingSize")) and (hashed.get("maglev") or hashed.get("ringHash")):
        yield "only one of MinimumRingSize or Maglev/Ringhash can be specified"
    if isinstance(hashed.get("maglev"), Mapping):
        yield from _maglev(int(number(hashed["maglev"].get("tableSize"))))
    if value.get("localityLbSetting") is not None and value.get("zoneAwareLbSetting") is not None:
        yield "only one of localityLbSetting and zoneAwareLbSetting can be set"
    warm = value.get("warmup")
    if isinstance(warm, Mapping):
        if warm.get("duration") is None:
            yield "duration is required"
        yield from words.duration(warm.get("duration"))
        if number(warm.get("minimumPercent")) > words.PERCENT:
            yield "minimumPercent value should be less than or equal to 100"
        if warm.get("aggression") is not None and number(warm["aggression"]) <= 0:
            yield "aggression should be greater than 0"


def _maglev(size: int) -> Iterator[str]:
    if not size:
        yield "tableSize must be set for maglev"
    if size >= _LARGEST_TABLE:
        yield f"tableSize must be less than {_LARGEST_TABLE} for maglev"
    elif not _is_prime(size):
        yield "tableSize must be a prime number for maglev"


def _is_prime(size: int) -> bool:
    return size > 0 and all(size % factor for factor in range(2, int(size**0.5) + 1))


def _client_tls(value: Mapping[str, Any]) -> Iterator[str]:
    mode, credential = value.get("mode"), value.get("credentialName")
    if value.get("insecureSkipVerify"):
        alternative = any(value.get(field) for field in ("caCertificates", "subjectAltNames"))
        if mode == "SIMPLE" and (alternative or credential):
            yield (
                "cannot specify CaCertificates or CredentialName or SubjectAltNames when InsecureSkipVerify is set true"
            )
        if mode == "MUTUAL" and alternative:
            yield "cannot specify CaCertificates or SubjectAltNames when InsecureSkipVerify is set true"
    if mode in ("SIMPLE", "MUTUAL") and credential:
        if any(value.get(field) for field in ("clientCertificate", "caCertificates", "privateKey", "caCrl")):
            yield "cannot specify client certificates or CA certificate or CA CRL If credentialName is set"
        return
    if mode == "MUTUAL":
        if not value.get("clientCertificate"):
            yield "client certificate required for mutual tls"
        if not value.get("privateKey"):
            yield "private key required for mutual tls"


# Gateways


def gateway(obj: Obj, spec: Mapping[str, Any]) -> Iterator[str]:
    """Why a Gateway is refused."""
    name = str(meta(obj).get("name") or "")
    if not words.is_label(name):
        yield f'invalid gateway name: "{name}"'
    servers = maps(spec.get("servers"))
    if not servers:
        yield "gateway must have at least one server"
    for server in servers:
        yield from _server(server)
    seen: set[str] = set()
    for server in servers:
        port = str(mapping(server.get("port")).get("name") or "")
        if port in seen:
            yield f"port names in servers must be unique: duplicate name {port}"
        seen.add(port)


def _server(server: Mapping[str, Any]) -> Iterator[str]:
    hosts = texts(server.get("hosts"))
    if not hosts:
        yield "server config must contain at least one host"
    for host in hosts:
        yield from _gateway_host(host)
    port, tls = mapping(server.get("port")), server.get("tls")
    wrong = [*_server_port(port)]
    yield from wrong
    yield from _server_tls(mapping(tls))
    protocol = str(port.get("protocol") or "").upper()
    if wrong:
        return
    if protocol in _SECURE and tls is None:
        yield "server must have TLS settings for HTTPS/TLS protocols"
    elif protocol not in _SECURE and tls is not None:
        passes = str(mapping(tls).get("mode") or "PASSTHROUGH") in ("PASSTHROUGH", "AUTO_PASSTHROUGH")
        if protocol not in _PLAIN:
            yield "server cannot have TLS settings for non HTTPS/TLS ports"
        elif not passes or any(mapping(tls).get(field) for field in _OWN_FILES):
            yield "server cannot have TLS settings for plain text HTTP ports"


def _gateway_host(host: str) -> Iterator[str]:
    space, slash, name = host.partition("/")
    if not slash:
        space, name = "", host
    elif not space or not name:
        yield "config namespace and dnsName in host entry cannot be empty"
    elif space not in ("*", ".") and not words.is_label(space):
        yield f'invalid namespace value "{space}" in gateway'
    if name != "*" and "." not in name:
        yield "short names (non FQDN) are not allowed"
    if not words.is_address(name):
        yield from words.domain(name)


def _server_port(port: Mapping[str, Any]) -> Iterator[str]:
    protocol = str(port.get("protocol") or "")
    if protocol.upper() not in _PROTOCOLS:
        yield (
            f'invalid protocol "{protocol}", supported protocols are HTTP, HTTP2, GRPC, GRPC-WEB, MONGO, REDIS, MYSQL, '
            "TCP"
        )
    yield from words.port(port.get("number"))
    if number(port.get("targetPort")) > 0:
        yield "targetPort has no impact on Gateways"
    if not port.get("name"):
        yield f"port name must be set: number:{number(port.get('number')):g}"


def _server_tls(tls: Mapping[str, Any]) -> Iterator[str]:
    mode = str(tls.get("mode") or "PASSTHROUGH")
    if mode == "ISTIO_MUTUAL":
        said = {
            "serverCertificate": "server certificate",
            "privateKey": "private key",
            "caCertificates": "CA bundle",
            "tlsCertificates": "tlsCertificates",
            "credentialName": "credentialName",
            "credentialNames": "credentialNames",
        }
        yield from (f"ISTIO_MUTUAL TLS cannot have associated {what}" for field, what in said.items() if tls.get(field))
        return
    sources = [bool(tls.get("serverCertificate") and tls.get("privateKey"))]
    sources += [bool(tls.get(field)) for field in ("credentialName", "credentialNames", "tlsCertificates")]
    if sum(sources) > 1:
        yield (
            "only one of credential_name, credential_names, server_certificate/private_key, tls_certificates should be "
            "specified"
        )
    if mode not in ("SIMPLE", "MUTUAL", "OPTIONAL_MUTUAL") or tls.get("credentialName") or tls.get("credentialNames"):
        return
    prefix = "SIMPLE TLS" if mode == "SIMPLE" else "MUTUAL TLS"
    if mode != "SIMPLE" and not tls.get("caCertificates"):
        yield f"{prefix} requires a client CA bundle"
    for certificate in maps(tls.get("tlsCertificates")) or [tls]:
        if not certificate.get("serverCertificate"):
            yield f"{prefix} requires a server certificate"
        if not certificate.get("privateKey"):
            yield f"{prefix} requires a private key"
