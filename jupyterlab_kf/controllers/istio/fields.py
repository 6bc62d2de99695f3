"""Every field of Istio's definitions: whether it has its effect here, or what is said of it.

A test walks the definitions and finds each leaf in exactly one of the tables, and takes each honoured leaf out of an
example to see that the configuration changes. A field that no table names, from a newer Istio, is told too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Final

from jupyterlab_kf.model import Obj

_TEXT: Final = "{exact,prefix,regex}"
_HEADERS: Final = "headers.{request,response}.{add.*,set.*,remove[]}"
_POOL: Final = (
    "connectionPool.tcp.{connectTimeout,idleTimeout,maxConnectionDuration,maxConnections}",
    "connectionPool.tcp.tcpKeepalive.{interval,probes,time}",
    "connectionPool.http.{h2UpgradePolicy,http1MaxPendingRequests,http2MaxRequests,idleTimeout}",
    "connectionPool.http.{maxConcurrentStreams,maxRequestsPerConnection,maxRetries,useClientProtocol}",
    "connectionPool.http.http2KeepAlive.{interval,timeout}",
    "loadBalancer.{simple,warmupDurationSecs}",
    "loadBalancer.warmup.{aggression,duration,minimumPercent}",
    "loadBalancer.consistentHash.{httpHeaderName,httpQueryParameterName,minimumRingSize,useSourceIp}",
    "loadBalancer.consistentHash.httpCookie.{name,path,ttl,attributes[].name,attributes[].value}",
    "loadBalancer.consistentHash.{maglev.tableSize,ringHash.minimumRingSize}",
    "outlierDetection.{baseEjectionTime,consecutive5xxErrors,consecutiveErrors,consecutiveGatewayErrors}",
    "outlierDetection.{consecutiveLocalOriginFailures,interval,maxEjectionPercent,minHealthPercent}",
    "outlierDetection.splitExternalLocalOriginErrors",
    "tls.{mode,credentialName,insecureSkipVerify,sni,subjectAltNames[]}",
)
_POLICIES: Final = ("trafficPolicy", "subsets[].trafficPolicy")
_LEVELS: Final = (*_POLICIES, *(f"{p}.portLevelSettings[]" for p in _POLICIES))
_SOURCE: Final = "principals,requestPrincipals,namespaces,serviceAccounts,trustDomains,ipBlocks,remoteIpBlocks"
_NOT_SOURCE: Final = ",".join(f"not{name[0].upper()}{name[1:]}" for name in _SOURCE.split(","))

HONOURED: Final[Mapping[str, tuple[str, ...]]] = {
    "Gateway": (
        "selector.*",
        "servers[].{hosts[],port.number,port.protocol}",
        "servers[].tls.{mode,httpsRedirect,credentialName,credentialNames[],caCertCredentialName,cipherSuites[]}",
        "servers[].tls.{minProtocolVersion,maxProtocolVersion,subjectAltNames[]}",
        "servers[].tls.{verifyCertificateHash[],verifyCertificateSpki[]}",
    ),
    "VirtualService": (
        "{exportTo[],gateways[],hosts[]}",
        f"http[].match[].{{uri,method,scheme,authority,headers.*,withoutHeaders.*,queryParams.*}}.{_TEXT}",
        "http[].match[].{gateways[],ignoreUriCase,name,port,statPrefix}",
        f"http[].{{name,timeout,{_HEADERS}}}",
        "http[].{delegate.name,delegate.namespace}",
        f"http[].route[].{{weight,{_HEADERS}}}",
        "{http[],tcp[],tls[]}.route[].destination.{host,subset,port.number}",
        "http[].corsPolicy.{allowCredentials,allowHeaders[],allowMethods[],allowOrigin[],exposeHeaders[],maxAge}",
        f"http[].corsPolicy.{{unmatchedPreflights,allowOrigins[].{_TEXT}}}",
        "http[].directResponse.{status,body.string,body.bytes}",
        "http[].fault.abort.{grpcStatus,httpStatus,percentage.value}",
        "http[].fault.delay.{fixedDelay,percent,percentage.value}",
        "http[].mirror.{host,subset,port.number}",
        "http[].{mirror_percent,mirrorPercent,mirrorPercentage.value}",
        "http[].mirrors[].{percentage.value,destination.host,destination.subset,destination.port.number}",
        "http[].redirect.{authority,derivePort,port,prefixRewrite,redirectCode,scheme,uri}",
        "http[].retries.{attempts,backoff,perTryTimeout,retryIgnorePreviousHosts,retryOn}",
        "http[].rewrite.{authority,uri,uriRegexRewrite.match,uriRegexRewrite.rewrite}",
        "{tcp[],tls[]}.match[].{gateways[],port}",
        "tls[].match[].sniHosts[]",
        "{tcp[],tls[]}.route[].weight",
    ),
    "DestinationRule": (
        "{exportTo[],host,subsets[].name,subsets[].labels.*,workloadSelector.matchLabels.*}",
        *(f"{level}.{pool}" for level in _LEVELS for pool in _POOL),
        *(f"{level}.portLevelSettings[].port.number" for level in _POLICIES),
        *(f"{level}.retryBudget.{{percent,minRetryConcurrency}}" for level in _POLICIES),
    ),
    "RequestAuthentication": (
        "jwtRules[].{audiences[],forwardOriginalToken,fromCookies[],fromParams[],issuer,jwks,jwksUri,jwks_uri}",
        "jwtRules[].{fromHeaders[].name,fromHeaders[].prefix,outputPayloadToHeader,spaceDelimitedClaims[]}",
        "jwtRules[].outputClaimToHeaders[].{claim,header}",
        "selector.matchLabels.*",
    ),
    "AuthorizationPolicy": (
        "{action,selector.matchLabels.*}",
        f"rules[].from[].source.{{{_SOURCE},{_NOT_SOURCE}}}[]",
        "rules[].to[].operation.{hosts,methods,paths,ports,notHosts,notMethods,notPaths,notPorts}[]",
        "rules[].when[].{key,values[],notValues[]}",
    ),
    "EnvoyFilter": (
        "configPatches[].{applyTo,match.context,match.routeConfiguration.vhost.route.name,patch.value.**}",
        "workloadSelector.labels.*",
    ),
    "Telemetry": (
        "selector.matchLabels.*",
        "tracing[].{disableSpanReporting,providers[].name,randomSamplingPercentage}",
        "tracing[].customTags.*.{literal.value,header.name,header.defaultValue}",
        "tracing[].customTags.*.environment.{name,defaultValue}",
    ),
}
NAMES_ONLY: Final[Mapping[str, tuple[str, ...]]] = {
    "Gateway": ("servers[].name", "servers[].port.name"),
    "EnvoyFilter": (
        "configPatches[].patch.{operation,filterClass}",
        "configPatches[].match.listener.filterChain.filter.{name,subFilter.name}",
        "configPatches[].match.routeConfiguration.vhost.route.action",
    ),
}
"""What only gives something a name, or says the one thing that can be: with or without it, the same is done."""

_FILES = "files of a gateway's own are not mounted here; name a Secret of istio-system in credentialName"
_SIDECARS = "is about the pod that a request comes from, which only a sidecar knows; it is not looked at"
_SUBNETS = "is for sidecars, which see where a connection was going; it is not looked at"
_ERRORS = "status 500 and above count as errors, as without it"
_ZONES = "the gateway knows no zones; it has no effect"
_ATTACHED = "is for the Gateway API and waypoints, which are not here; the object has no effect"
_LOGS = "the gateway writes one line of JSON for each request, whatever is said of logs"
_STATISTICS = "the metrics are Envoy's own statistics, and the engine's"
_ELSEWHERE = (
    "patches are not told apart by it here; the limit holds for the whole gateway, or the pods that are selected"
)

REFUSED: Final[Mapping[str, Mapping[str, str]]] = {
    "Gateway": {
        "servers[].bind": "the gateway listens at the address of its own pod; it has no effect",
        "servers[].defaultEndpoint": "only a sidecar has one; it has no effect",
        "servers[].port.targetPort": "Istio does not use it either; the gateway's Service says where a port leads",
        "servers[].tls.{caCertificates,caCrl,privateKey,serverCertificate,tlsCertificates[].**}": _FILES,
        "servers[].tls.insecureSkipVerify": "it means something for connections that go out only; it has no effect",
    },
    "VirtualService": {
        "{http[],tcp[],tls[]}.match[].{sourceLabels.*,sourceNamespace}": _SIDECARS,
        "{tcp[],tls[]}.match[].destinationSubnets[]": _SUBNETS,
        "tcp[].match[].sourceSubnet": _SIDECARS,
        "http[].fault.abort.http2Error": "Envoy cannot end a stream like that; no request is aborted",
        "http[].fault.delay.exponentialDelay": "Envoy has fixed delays only; no request is delayed",
        "http[].retries.retryRemoteLocalities": _ZONES,
    },
    "DestinationRule": {
        **{f"{level}.loadBalancer.{{localityLbSetting,zoneAwareLbSetting}}.**": _ZONES for level in _LEVELS},
        **{f"{level}.tls.{{caCertificates,caCrl,clientCertificate,privateKey}}": _FILES for level in _LEVELS},
        **{f"{level}.outlierDetection.outlierDetectionHttpErrorCodes[]": _ERRORS for level in _LEVELS},
        **{f"{level}.proxyProtocol.version": "pods are reached without the PROXY protocol" for level in _POLICIES},
        **{f"{level}.tunnel.**": "pods are reached directly, without a tunnel" for level in _POLICIES},
        **{f"{level}.retryBudget.budgetInterval": "Envoy counts the requests of the moment" for level in _POLICIES},
    },
    "RequestAuthentication": {
        "jwtRules[].timeout": "keys are fetched beforehand, with a time-out of 5 seconds",
        "{targetRef.**,targetRefs[].**}": _ATTACHED,
    },
    "AuthorizationPolicy": {
        "provider.name": "no external authoriser is configured here; what the rules fit is denied, as Istio does then",
        "{targetRef.**,targetRefs[].**}": _ATTACHED,
    },
    "Telemetry": {
        "accessLogging[].{disabled,filter.expression,match.mode,providers[].name}": _LOGS,
        "metrics[].{providers[].name,reportingInterval}": _STATISTICS,
        "metrics[].overrides[].{disabled,match.**,tagOverrides.**}": _STATISTICS,
        "tracing[].customTags.*.formatter.value": "only literals, headers and the environment become tags",
        "tracing[].disableContextPropagation": "headers of traces are always passed on",
        "tracing[].enableIstioTags": "spans have Envoy's own tags",
        "tracing[].match.mode": "the gateway has one span for a request, which is both",
        "tracing[].useRequestIdForTraceSampling": "each trace's own number decides whether it is sampled",
        "{targetRef.**,targetRefs[].**}": _ATTACHED,
    },
    "EnvoyFilter": {
        "priority": "the oldest object comes first",
        "targetRefs[].**": _ATTACHED,
        "configPatches[].match.cluster.**": _ELSEWHERE,
        "configPatches[].match.listener.{listenerFilter,name,portName,portNumber}": _ELSEWHERE,
        "configPatches[].match.listener.filterChain.{applicationProtocols,destinationPort,name}": _ELSEWHERE,
        "configPatches[].match.listener.filterChain.{sni,transportProtocol}": _ELSEWHERE,
        "configPatches[].match.{proxy.**,waypoint.**}": _ELSEWHERE,
        "configPatches[].match.routeConfiguration.{gateway,name,portName,portNumber,vhost.name,vhost.domainName}": (
            _ELSEWHERE
        ),
    },
}
MEANINGLESS: Final = {
    "PeerAuthentication": "pods have no sidecar here and are reached in plain text; it is not applied",
    "Sidecar": "pods have no sidecar here; it is not applied",
    "ServiceEntry": "hosts outside the cluster are not routed to here; it is not applied",
    "WorkloadEntry": "only pods stand behind Services here; it is not applied",
    "WorkloadGroup": "only pods stand behind Services here; it is not applied",
    "WasmPlugin": "Envoy runs without plug-ins here; it is not applied",
    "TrafficExtension": "Envoy runs without plug-ins here; it is not applied",
    "ProxyConfig": "the one gateway is set up by jupyterlab-kf; it is not applied",
}
"""Kinds that are kept and have no effect where there is a gateway and nothing else of Istio."""

_GROUP: Final = re.compile(r"\{([^{}]*)\}")
_LEAF: Final = ""


def unhonoured(obj: Obj) -> Iterator[tuple[str, str]]:
    """The path of every field of an object that has no effect here, and what happens in its place."""
    kind = str(obj.get("kind") or "")
    if kind in MEANINGLESS:
        yield "spec", MEANINGLESS[kind]
    elif kind in HONOURED:
        yield from _walk(obj.get("spec") or {}, "spec", _tree(kind))


def misshapen(obj: Obj) -> str | None:
    """The path of the first value that is not of the shape that its definition has, or None.

    A server without Istio's schemas keeps such an object; it is left out as a whole.
    """
    kind = str(obj.get("kind") or "")
    return _misfit(obj.get("spec") or {}, "spec", _tree(kind)) if kind in HONOURED else None


def leaves(obj: Obj) -> Iterator[tuple[str, str, str, Any]]:
    """Path, pattern, last key and value of every leaf that the tables know and that says something."""
    kind = str(obj.get("kind") or "")
    if kind in HONOURED:
        yield from _leaves(obj.get("spec") or {}, ("spec", "", ""), _tree(kind))


def listed(kind: str) -> dict[str, str | None]:
    """Every field that the tables name, with what is said of it; None is said of those that have their effect."""
    found: dict[str, str | None] = {}
    for pattern in (*HONOURED[kind], *NAMES_ONLY.get(kind, ())):
        found |= dict.fromkeys(_expand(pattern))
    for pattern, said in REFUSED[kind].items():
        found |= dict.fromkeys(_expand(pattern), said)
    return found


def _expand(pattern: str) -> list[str]:
    """``a.{b,c}`` as two patterns; groups may stand in groups."""
    group = _GROUP.search(pattern)
    if not group:
        return [pattern]
    head, tail = pattern[: group.start()], pattern[group.end() :]
    return [path for choice in group[1].split(",") for path in _expand(head + choice + tail)]


@cache
def _tree(kind: str) -> dict[str, Any]:
    """The tables as one tree; a leaf holds what is said."""
    root: dict[str, Any] = {}
    for pattern, said in listed(kind).items():
        node = root
        for part in pattern.replace("[]", ".[]").split("."):
            node = node.setdefault(part, {})
        node[_LEAF] = said
    return root


def _walk(value: Any, path: str, node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if "**" in node:
        node = node["**"]
    if _LEAF in node:
        if node[_LEAF]:
            yield path, node[_LEAF]
    elif isinstance(value, dict):
        for key, below in value.items():
            found = node.get(key, node.get("*"))
            if found is None:
                yield f"{path}.{key}", "this version of jupyterlab-kf does not know it; it has no effect"
            else:
                yield from _walk(below, f"{path}.{key}", found)
    elif isinstance(value, list):
        for number, below in enumerate(value):
            yield from _walk(below, f"{path}[{number}]", node.get("[]", {}))


def _misfit(value: Any, path: str, node: Mapping[str, Any]) -> str | None:
    if value is None or "**" in node:
        return None
    if _LEAF in node:
        return path if isinstance(value, dict | list) else None
    if "[]" in node:
        if not isinstance(value, list):
            return path
        below = ((f"{path}[{number}]", item, node["[]"]) for number, item in enumerate(value))
    elif not isinstance(value, dict):
        return path
    else:
        below = ((f"{path}.{key}", item, node.get(key, node.get("*", {"**": {}}))) for key, item in value.items())
    return next((found for where, item, part in below if (found := _misfit(item, where, part))), None)


def _leaves(value: Any, where: tuple[str, str, str], node: Mapping[str, Any]) -> Iterator[tuple[str, str, str, Any]]:
    path, pattern, key = where
    if value is None:
        return
    if _LEAF in node or "**" in node:
        yield path, pattern, key, value
    elif isinstance(value, list):
        for number, item in enumerate(value):
            below = (f"{path}[{number}]", f"{pattern}[]", key)
            if item is None:
                yield *below, None
            else:
                yield from _leaves(item, below, node["[]"])
    elif isinstance(value, dict):
        for name, item in value.items():
            known = name if name in node else "*"
            if known in node:
                inner = f"{pattern}.{known}".lstrip(".")
                yield from _leaves(item, (f"{path}.{name}", inner, name if known == "*" else key), node[known])
