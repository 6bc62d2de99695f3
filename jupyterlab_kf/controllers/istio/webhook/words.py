"""Small values as istiod judges them: host names, ports, lengths of time, patterns, headers, percentages. Pure.

Each function yields the sentences of what is wrong, and nothing when all is well.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from jupyterlab_kf.controllers.istio.values import CONTROL, seconds, unmatchable

PERCENT: Final = 100
_EXACT: Final = 1e-6
PORTS: Final = 65535
_LEAST_PERCENT: Final = 0.0001
_REGEX_LIMIT: Final = 1024
_NAME_LIMIT: Final = 255
_LABEL: Final = re.compile(r"[a-zA-Z0-9]([-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?")
_WILD: Final = re.compile(r"\*|(\*-)?[a-zA-Z0-9]([-a-zA-Z0-9]*[a-zA-Z0-9])?")
_HEADER: Final = re.compile(r"[-_A-Za-z0-9.]+")
_PSEUDO: Final = frozenset({":method", ":scheme", ":authority", ":path", ":status"})
_CLAIM: Final = re.compile(r"@request\.auth\.claims[.\[].+", re.IGNORECASE)


def mapping(value: Any) -> Mapping[str, Any]:
    """The value if it is a map, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def maps(value: Any) -> list[Mapping[str, Any]]:
    """The maps in a list."""
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def texts(value: Any) -> list[str]:
    """The texts in a list."""
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def number(value: Any) -> float:
    """The number, 0 for what is none."""
    return value if isinstance(value, int | float) and not isinstance(value, bool) else 0


def is_label(text: str) -> bool:
    """Whether a text is an RFC 1123 label."""
    return _LABEL.fullmatch(text) is not None


def is_address(text: str) -> bool:
    """Whether a text is an IP address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def domain(text: Any, *, wild: bool = True) -> Iterator[str]:
    """A host name, whose first label may have a star."""
    name = str(text or "")
    if len(name) > _NAME_LIMIT:
        yield f'domain name "{name}" too long (max {_NAME_LIMIT})'
    elif not name:
        yield "empty domain name not allowed"
    else:
        first, dot, rest = name.partition(".")
        fits = _WILD.fullmatch(first) if wild else _LABEL.fullmatch(first)
        if fits is None:
            yield f'domain name "{name}" invalid (label "{first}" invalid)'
        elif dot:
            yield from _labels(rest)


def _labels(rest: str) -> Iterator[str]:
    parts = rest.split(".")
    if parts[-1].isdecimal():
        yield f'domain name "{rest}" invalid (top level domain "{parts[-1]}" cannot be all-numeric)'
        return
    for at, part in enumerate(parts):
        if (part or at < len(parts) - 1) and _LABEL.fullmatch(part) is None:
            yield f'domain name "{rest}" invalid (label "{part}" invalid)'
            return


def port(value: Any) -> Iterator[str]:
    """A port's number."""
    if not 1 <= number(value) <= PORTS:
        yield f"port number {number(value):g} must be in the range 1..{PORTS}"


def duration(value: Any) -> Iterator[str]:
    """A length of time, where there is one: a millisecond or more, in whole ones."""
    if value is None:
        return
    millis = (seconds(str(value).removeprefix("+")) or 0.0) * 1000
    if millis < 1:
        yield "duration must be greater than 1ms"
    elif abs(millis - round(millis)) > _EXACT:
        yield "only durations to ms precision are supported"


def regex(text: Any, where: str) -> Iterator[str]:
    """A pattern for RE2, as far as Python's own can tell."""
    pattern = str(text or "")
    if not pattern:
        yield f'"{where}": regex string match should not be empty'
    elif len(pattern) > _REGEX_LIMIT:
        yield f'"{where}": regex is too large, max length allowed is {_REGEX_LIMIT}'
    elif why := unmatchable(pattern):
        tail = "Istio uses RE2 style regex-based match (https://github.com/google/re2/wiki/Syntax)"
        yield f'"{where}": error parsing regexp: {why}; {tail}'


def match(value: Any, where: str, *, empty_prefix: bool = False) -> Iterator[str]:
    """A match of text: exact, by prefix, or by pattern."""
    one = mapping(value)
    if "regex" in one:
        yield from regex(one["regex"], where)
    elif "prefix" in one and not one["prefix"] and not empty_prefix:
        yield f'"{where}": prefix string match should not be empty'


def percentage(value: Any) -> Iterator[str]:
    """A share with a fraction, where there is one."""
    if value is None:
        return
    share = number(mapping(value).get("value"))
    if share < 0 or share > PERCENT or 0 < share < _LEAST_PERCENT:
        yield f"percentage {share:g} is neither 0.0, nor in range [0.0001, 100.0]"


def percent(value: Any) -> Iterator[str]:
    """A whole share, where there is one."""
    if not 0 <= number(value) <= PERCENT:
        yield f"percentage {number(value):g} is not in range 0..100"


def matched_header(name: str) -> Iterator[str]:
    """The name of a header that is matched: a real one, a pseudo header, or a token's claim."""
    if not name:
        yield "header name cannot be empty"
    elif not (name in _PSEUDO or _CLAIM.fullmatch(name) or _HEADER.fullmatch(name)):
        yield f"header name {name} is not a valid header name"


def is_claim(name: str) -> bool:
    """Whether a match is about a token's claim."""
    return _CLAIM.fullmatch(name) is not None


def plain_header(name: str) -> Iterator[str]:
    """The name of a header that is written out."""
    if not name:
        yield "header name cannot be empty"
    elif name != "*" and _HEADER.fullmatch(name) is None:
        yield f"header name {name} is not a valid header name"


def changed_headers(headers: Any) -> Iterator[str]:
    """Headers that are added, set and removed on the way there and back."""
    for side in ("request", "response"):
        operations = mapping(mapping(headers).get(side))
        for action in ("add", "set"):
            for name, value in mapping(operations.get(action)).items():
                yield from _operation(name, authority=side == "request")
                if CONTROL.search(str(value)):
                    yield f"header value configuration {value} is invalid"
        for name in texts(operations.get("remove")):
            yield from _operation(name, authority=False)


def _operation(name: str, *, authority: bool) -> Iterator[str]:
    if not name:
        yield "header name cannot be empty"
    elif authority and name.lower() in (":authority", "host"):
        return
    elif name.lower() == "host":
        yield f'invalid header "{name}": cannot set Host header'
    elif name.startswith(":"):
        yield f'invalid header "{name}": header cannot have ":" prefix'


def addresses(values: Sequence[str]) -> Iterator[str]:
    """IP addresses and ranges of them."""
    for value in values:
        if "/" in value:
            try:
                ipaddress.ip_network(value, strict=False)
            except ValueError as error:
                yield f"bad CIDR range ({value}): {error}"
        elif not is_address(value):
            yield f"bad IP address ({value})"
