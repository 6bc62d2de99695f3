"""Istio's small values as Envoy spells them: durations, percentages, string matches, header changes.

Pure and total: what cannot be said in Envoy's language raises :class:`Unspeakable` with the reason, so that one bad
value costs the rule that it stands in and never the configuration that it would be part of.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf.model import Obj

HEADER: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
"""What HTTP allows as the name of a header."""
CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""What no header may have in it."""
_PART: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(h|ms|us|µs|ns|m|s)")
_SECONDS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_UNKNOWN_TO_RE2: Final = re.compile(r"\(\?(?:[=!]|<[=!]|>|\()|(?<!\\)(?:\\\\)*\\[1-9]|[*+?}]\+")
_RE2_ONLY: Final = re.compile(r"\\[pP](\{[^}]*\}|.)|\\[zC]|\(\?[imsU-]+\)")
"""What RE2 reads and Python does not: classes of Unicode, flags in the middle of a pattern."""
ANY: Final = "*"
"""As the pattern of a header: whatever it says. It is no pattern of RE2."""
_COMMAND: Final = re.compile(
    r"%(?:(?:REQ|RESP)\([A-Za-z0-9:?_-]+\)(?::\d+)?|START_TIME|PROTOCOL|HOSTNAME|ROUTE_NAME|RESPONSE_CODE|UPSTREAM_CLUSTER"
    r"|UPSTREAM_REMOTE_ADDRESS|DOWNSTREAM_(?:REMOTE|LOCAL)_ADDRESS(?:_WITHOUT_PORT)?|REQUESTED_SERVER_NAME)%"
)
_TYPES: Final = "type.googleapis.com/envoy."
MILLION: Final = 1_000_000


class Unspeakable(ValueError):  # noqa: N818  it names the value, not a fault of ours
    """A value that Envoy would refuse; the message says why."""


def typed(name: str, **fields: Any) -> Obj:
    """A message of Envoy's with its type; fields that are None are left out."""
    return {"@type": _TYPES + name, **without_none(fields)}


def without_none(fields: Mapping[str, Any]) -> Obj:
    """The fields that are there."""
    return {key: value for key, value in fields.items() if value is not None}


def file_of(folder: str, kind: str, name: str) -> str:
    """Where a resource of its own file lies."""
    return f"{folder}/{kind}/{name.replace('|', '_').replace('/', '_').replace('*', 'any')}.json"


def source(path: str) -> Obj:
    """A file that Envoy watches."""
    return {"path_config_source": {"path": path}, "resource_api_version": "V3"}


def duration(text: Any) -> str | None:
    """``1m30s`` or ``100ms`` as Envoy's JSON has it; None stays None.

    Raises:
        Unspeakable: it is no duration.
    """
    if text is None:
        return None
    total = seconds(str(text))
    if total is None:
        raise Unspeakable(f"{text!r} is no duration; write it like 1.5s or 100ms")
    return f"{total:.9f}".rstrip("0").rstrip(".") + "s"


def seconds(text: str) -> float | None:
    """``1m30s`` as a number; None for what is no duration. A sign is none of it."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return float(sum(float(number) * _SECONDS[unit] for number, unit in parts))


def regex(pattern: str) -> Obj:
    """A pattern that RE2 takes, which has no looking around and no references back.

    Raises:
        Unspeakable: it is not one.
    """
    if found := unmatchable(pattern):
        raise Unspeakable(f"the pattern {pattern!r} is none of RE2, Istio's matcher: {found}")
    return {"regex": pattern}


def unmatchable(pattern: str) -> str:
    """What RE2 has against a pattern, as far as Python's own can tell; empty when it takes it."""
    if found := _UNKNOWN_TO_RE2.search(pattern):
        return f"invalid or unsupported Perl syntax: `{found[0]}`"
    try:
        re.compile(_RE2_ONLY.sub("", pattern))
    except re.error as error:
        return str(error)
    return ""


def string_match(match: Mapping[str, Any], *, ignore_case: bool = False) -> Obj | None:
    """Istio's StringMatch; None when it says nothing, which means that any value will do.

    Raises:
        Unspeakable: a pattern that RE2 does not take.
    """
    folded = {"ignore_case": True} if ignore_case else {}
    if "exact" in match:
        return {"exact": str(match["exact"]), **folded}
    if match.get("prefix"):
        return {"prefix": str(match["prefix"]), **folded}
    if match.get("regex"):
        return {"safe_regex": regex(str(match["regex"]))}
    return None


def header_match(name: str, match: Mapping[str, Any], *, absent: bool = False) -> Obj:
    """A header that must match, or must not."""
    said = None if match.get("regex") == ANY else string_match(match)
    result: Obj = {"name": name, "present_match": True} if said is None else {"name": name, "string_match": said}
    if absent:
        result["invert_match"] = True
        if said is not None:
            result["treat_missing_header_as_empty"] = True
    return result


def millionths(percentage: Mapping[str, Any] | None, *, default: float) -> Obj:
    """A percentage as a fraction of a million; the default is for one that is not given at all.

    Raises:
        Unspeakable: it is more than everything, or less than nothing.
    """
    value = default if percentage is None else float(percentage.get("value") or 0.0)
    if not 0 <= value <= 100:  # noqa: PLR2004  per cent
        raise Unspeakable(f"{value} is no percentage")
    return {"numerator": round(value * MILLION / 100), "denominator": "MILLION"}


def header_changes(headers: Mapping[str, Any]) -> tuple[Obj, str]:
    """Istio's Headers as fields of a route or cluster, and the host that is set among them."""
    result: Obj = {}
    host = ""
    for side in ("request", "response"):
        said = headers.get(side) or {}
        add: list[Obj] = []
        for verb, action in (("set", "OVERWRITE_IF_EXISTS_OR_ADD"), ("add", "APPEND_IF_EXISTS_OR_ADD")):
            for key, value in (said.get(verb) or {}).items():
                if side == "request" and key.lower() in ("host", ":authority"):
                    host = str(value)
                    continue
                _check_header(key)
                header = {"key": str(key), "value": escaped(str(value))}
                add.append({"header": header, "append_action": action, "keep_empty_value": True})
        for key in said.get("remove") or ():
            _check_header(str(key))
        result |= {f"{side}_headers_to_add": add} if add else {}
        result |= {f"{side}_headers_to_remove": list(said["remove"])} if said.get("remove") else {}
    return result, host


def escaped(value: str) -> str:
    """A header's value in which Envoy's own commands count and any other percent sign is one."""
    out, at = [], 0
    for match in _COMMAND.finditer(value):
        out += [value[at : match.start()].replace("%", "%%"), match[0]]
        at = match.end()
    return "".join([*out, value[at:].replace("%", "%%")])


def _check_header(name: str) -> None:
    if not HEADER.fullmatch(name) or name.lower() == "host":
        raise Unspeakable(f"{name!r} is no header that a route may change")
