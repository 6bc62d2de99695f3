"""Values that Envoy would refuse: of the wrong type, or that mean nothing.

What istiod says is in :mod:`.webhook`, which asks here for the rest before an object is taken. What was stored without
being asked is left out as a whole when routes are written: Envoy refuses a whole table for one bad value, and then
nobody's change would take effect any more.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final, TypeAlias

from jupyterlab_kf.controllers.istio import fields
from jupyterlab_kf.controllers.istio.values import ANY, CONTROL, HEADER, regex, seconds
from jupyterlab_kf.model import Obj

Check: TypeAlias = Callable[[Any], str | None]
"""What is wrong with a value, or None."""
_HOST: Final = re.compile(r"\*|(?:\*\.)?[A-Za-z0-9_](?:[A-Za-z0-9_.:-]*[A-Za-z0-9_])?")
_TEMPLATE: Final = re.compile(r"(?:/(?:\{\*\}|[^{}*/?#]+))*(?:/\{\*\*\}(?:/[^{}*/?#]+)*)?/?")
_FOREVER: Final = 10 * 366 * 86400.0
_SHORTEST: Final = 0.001


def refused(obj: Obj) -> list[tuple[str, str]]:
    """Path and reason of every value that Envoy would refuse."""
    kind = str(obj.get("kind") or "")
    if kind not in fields.HONOURED:
        return []
    if path := fields.misshapen(obj):
        return [(path, "it is not of the shape that Istio defines")]
    found = []
    for path, pattern, key, value in fields.leaves(obj):
        said = _key(pattern, key) or _of(kind, pattern)(value)
        if said:
            found.append((path, said))
    return [*found, *_conditions(obj)] if kind == "AuthorizationPolicy" else found


@cache
def _of(kind: str, pattern: str) -> Check:
    """What is asked of a leaf: there are as many patterns as fields, and each is met in every object."""
    for check, wanted in _CHECKS:
        if re.search(wanted, f"{kind}.{pattern}"):
            return check
    return _text


# ---------------------------------------------------------------------------------------------------------------------


def _text(value: Any) -> str | None:
    if not isinstance(value, str):
        return f"{value!r} is no text; write it in quotes"
    return f"{value!r} has a character that cannot be sent" if CONTROL.search(value) else None


def _free(_value: Any) -> None:
    return None


def _some(value: Any) -> str | None:
    return _text(value) or (None if value else "it is empty")


def _whole(least: int, most: int) -> Check:
    def check(value: Any) -> str | None:
        good = isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
        return None if good else f"{value!r} is no whole number from {least} to {most}"

    return check


def _number(least: float, most: float) -> Check:
    def check(value: Any) -> str | None:
        good = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
        return None if good else f"{value!r} is no number from {least:g} to {most:g}"

    return check


def _truth(value: Any) -> str | None:
    return None if isinstance(value, bool) else f"{value!r} is neither true nor false"


def _one_of(*words: str) -> Check:
    return lambda value: None if value in words else f"{value!r} is none of {', '.join(words)}"


def _lasting(least: float) -> Check:
    def check(value: Any) -> str | None:
        lasts = seconds(value) if isinstance(value, str) else None
        good = lasts is not None and least <= lasts <= _FOREVER
        more = " of 1ms or more" if lasts is not None and least else "; write it like 1.5s or 100ms"
        return None if good else f"{value!r} is no duration{more}"

    return check


def _pattern(value: Any) -> str | None:
    if said := _text(value):
        return said
    try:
        regex(value)
    except ValueError as error:
        return str(error)
    return None


def _absent(value: Any) -> str | None:
    return None if value == ANY else _pattern(value)


def _matching(pattern: re.Pattern[str], what: str) -> Check:
    return lambda v: None if isinstance(v, str) and pattern.fullmatch(v) else f"{v!r} is no {what}"


def _gateway_host(value: Any) -> str | None:
    return _matching(_HOST, "host")(value.rpartition("/")[2]) if isinstance(value, str) else _text(value)


def _bytes(value: Any) -> str | None:
    try:
        base64.b64decode(value, validate=True)
    except (binascii.Error, TypeError, ValueError):
        return f"{value!r} is not base64"
    return None


def _block(value: Any) -> str | None:
    try:
        ipaddress.ip_network(str(value), strict=False)
    except ValueError:
        return f"{value!r} is no address or block of addresses"
    return None


def _decimal(value: Any) -> str | None:
    good = isinstance(value, str) and value.isdecimal() and 0 < int(value) < 65536  # noqa: PLR2004  ports
    return None if good else f"{value!r} is no port; write it in quotes"


def _path(value: Any) -> str | None:
    if isinstance(value, str) and ("{" in value or "}" in value) and not _TEMPLATE.fullmatch(value):
        return f"{value!r}: braces may only stand as {{*}} for a part of a path, or as {{**}} for all that is left"
    return _some(value)


def _key(pattern: str, key: str) -> str | None:
    """What is wrong with the name of an entry of a map of headers."""
    if not re.search(r"\.(headers|withoutHeaders|set|add)\.\*", pattern):
        return None
    if key.startswith("@request.auth.claims") or HEADER.fullmatch(key) or (key.startswith(":") and ".match" in pattern):
        return None
    return f"{key!r} is no name of a header"


def _conditions(obj: Obj) -> Iterator[tuple[str, str]]:
    """Conditions of an AuthorizationPolicy whose values are addresses or ports."""
    checks: Mapping[str, Check] = {"source.ip": _block, "remote.ip": _block, "destination.port": _decimal}
    for number, rule in enumerate((obj.get("spec") or {}).get("rules") or ()):
        for place, condition in enumerate((rule or {}).get("when") or ()):
            check = checks.get(str(condition.get("key")))
            for field in ("values", "notValues") if check else ():
                for value in condition.get(field) or ():
                    if check and (said := check(value)):
                        yield f"spec.rules[{number}].when[{place}].{field}", said


_SIZES: Final = (
    "maxConnections|http1MaxPendingRequests|http2MaxRequests|maxRequestsPerConnection|maxRetries|attempts|weight"
)
_COUNTS: Final = "consecutive[A-Za-z0-9]*|minRetryConcurrency|tableSize|minimumRingSize|maxConcurrentStreams|probes"
_FLAGS: Final = (
    "allowCredentials|ignoreUriCase|retryIgnorePreviousHosts|retryRemoteLocalities|forwardOriginalToken|httpsRedirect"
    "|disableSpanReporting|insecureSkipVerify|useClientProtocol|useSourceIp|enabled|splitExternalLocalOriginErrors"
)
_TIMES: Final = "interval|baseEjectionTime|connectTimeout|maxConnectionDuration|backoff|fixedDelay|warmupDurationSecs"
_CHECKS: Final[tuple[tuple[Check, str], ...]] = (
    (
        _free,
        (
            r"^EnvoyFilter\.|\*\*$|exponentialDelay|\.(targetRefs?)\b|localityLbSetting|zoneAwareLbSetting|targetPort$"
            r"|^Telemetry\.(accessLogging|metrics)"
            r"|^Telemetry\.tracing\[\]\.(disableContext|enableIstio|useRequestId|match)"
        ),
    ),
    (_free, r"outlierDetectionHttpErrorCodes|^Gateway.*(defaultEndpoint|tlsCertificates)"),
    (_whole(1, 65535), r"\.(port\.number|redirect\.port)$"),
    (_whole(0, 65535), r"\.match\[\]\.port$"),
    (_whole(200, 599), r"\.(directResponse\.status|httpStatus)$"),
    (_whole(301, 308), r"\.redirectCode$"),
    (_whole(0, 2**31 - 1), rf"\.({_SIZES}|{_COUNTS})$"),
    (_whole(0, 100), r"\.(maxEjectionPercent|minHealthPercent|delay\.percent|mirrorPercent|mirror_percent)$"),
    (
        _number(0, 100),
        r"\.(percentage\.value|mirrorPercentage\.value|minimumPercent|retryBudget\.percent|randomSamplingPercentage)$",
    ),
    (_number(0.001, 1000), r"\.aggression$"),
    (_truth, rf"\.({_FLAGS})$"),
    (_lasting(_SHORTEST), rf"\.({_TIMES}|warmup\.duration|tcpKeepalive\.time|http2KeepAlive\.timeout)$"),
    (_lasting(0.0), r"\.(timeout|perTryTimeout|idleTimeout|maxAge|ttl|budgetInterval)$"),
    (_absent, r"\.withoutHeaders\.\*\.regex$"),
    (_pattern, r"\.regex$|uriRegexRewrite\.match$"),
    (_bytes, r"\.body\.bytes$"),
    (_gateway_host, r"^Gateway\.servers\[\]\.hosts\[\]$"),
    (_matching(_HOST, "host"), r"^VirtualService\.hosts\[\]$|^DestinationRule\.host$|sniHosts\[\]$"),
    (_some, r"\.(destination|mirror)\.host$|\.subsets\[\]\.name$|\.audiences\[\]$|\.issuer$|subjectAltNames\[\]$"),
    (_some, r"\.credentialNames?(\[\])?$|httpCookie\.name$|httpQueryParameterName$|\.attributes\[\]\.name$|\.claim$"),
    (_matching(HEADER, "name of a header"), r"^Telemetry.*\.header\.name$"),
    (_some, r"^Telemetry.*\.name$"),
    (_some, r"\.from(Params|Cookies)\[\]$|spaceDelimitedClaims\[\]$|rules\[\].*\[\]\.source\.[a-zA-Z]*Principals\[\]$"),
    (_matching(HEADER, "name of a header"), r"\.remove\[\]$|httpHeaderName$|outputPayloadToHeader$"),
    (_matching(HEADER, "name of a header"), r"outputClaimToHeaders\[\]\.header$|fromHeaders\[\]\.name$"),
    (
        _matching(re.compile(r"[0-9A-Fa-f]{64}|(?:[0-9A-Fa-f]{2}:){31}[0-9A-Fa-f]{2}"), "SHA-256"),
        r"verifyCertificateHash",
    ),
    (_matching(re.compile(r"[A-Za-z0-9+/]{43}="), "SHA-256 in base64"), r"verifyCertificateSpki"),
    (_path, r"\.operation\.(paths|notPaths)\[\]$"),
    (_block, r"[iI]pBlocks\[\]$"),
    (_decimal, r"\.operation\.(ports|notPorts)\[\]$"),
    (_one_of("DEFAULT", "DO_NOT_UPGRADE", "UPGRADE"), r"h2UpgradePolicy$"),
    (
        _one_of("UNSPECIFIED", "LEAST_CONN", "RANDOM", "PASSTHROUGH", "ROUND_ROBIN", "LEAST_REQUEST"),
        r"loadBalancer\.simple$",
    ),
    (_one_of("DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"), r"^DestinationRule.*tls\.mode$"),
    (
        _one_of("PASSTHROUGH", "SIMPLE", "MUTUAL", "AUTO_PASSTHROUGH", "ISTIO_MUTUAL", "OPTIONAL_MUTUAL"),
        r"^Gateway.*tls\.mode$",
    ),
    (_one_of("TLS_AUTO", "TLSV1_0", "TLSV1_1", "TLSV1_2", "TLSV1_3"), r"(min|max)ProtocolVersion$"),
    (_one_of("UNSPECIFIED", "FORWARD", "IGNORE"), r"unmatchedPreflights$"),
    (_one_of("FROM_PROTOCOL_DEFAULT", "FROM_REQUEST_PORT"), r"derivePort$"),
    (_one_of("ALLOW", "DENY", "AUDIT", "CUSTOM"), r"^AuthorizationPolicy\.action$"),
)
"""The first that fits a leaf's kind and pattern is asked; any other leaf is text."""
