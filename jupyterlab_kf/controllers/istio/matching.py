"""HTTPMatchRequest to Envoy's RouteMatch: one match is one route, and the first that fits is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf.controllers.istio.values import Unspeakable, header_match, regex, string_match
from jupyterlab_kf.model import Obj

_PSEUDO: Final = {"method": ":method", "authority": ":authority", "scheme": ":scheme"}
_FEEDBACK: Final = r"[^?]*/(feedback|SendFeedback)/?(\?.*)?"
_CLAIM: Final = "@request.auth.claims"
_META: Final = "envoy.filters.http.jwt_authn"


def route_match(match: Mapping[str, Any]) -> Obj:
    """What a request must be like.

    Raises:
        Unspeakable: it cannot be asked of Envoy; such a match fits nothing.
    """
    result = _path(match.get("uri") or {}, folded=bool(match.get("ignoreUriCase")))
    headers: list[Obj] = []
    metadata: list[Obj] = []
    for field, pseudo in _PSEUDO.items():
        said = string_match(match.get(field) or {})
        if said is not None:
            headers.append({"name": pseudo, "string_match": said})
    for field, absent in (("headers", False), ("withoutHeaders", True)):
        for name, value in (match.get(field) or {}).items():
            if name.startswith(_CLAIM):
                metadata.append(_claim(name, value or {}, absent=absent))
            else:
                headers.append(header_match(name, value or {}, absent=absent))
    query = [_query(name, value or {}) for name, value in (match.get("queryParams") or {}).items()]
    if headers:
        result["headers"] = headers
    if query:
        result["query_parameters"] = query
    if metadata:
        result["dynamic_metadata"] = metadata
    return result


def feedback_only(match: Mapping[str, Any]) -> Obj:
    """The same match for requests that teach a router: Seldon's feedback by REST or gRPC."""
    pattern = {"name": ":path", "string_match": {"safe_regex": {"regex": _FEEDBACK}}}
    return {**match, "headers": [*(match.get("headers") or ()), pattern]}


def catches_all(match: Mapping[str, Any]) -> bool:
    """Whether every request fits, so that Istio puts the route behind all others."""
    everything = match.get("prefix") == "/" or (match.get("safe_regex") or {}).get("regex") in (".*", "/.*")
    return everything and not any(match.get(key) for key in ("headers", "query_parameters", "dynamic_metadata"))


def _path(uri: Mapping[str, Any], *, folded: bool) -> Obj:
    case = {"case_sensitive": False} if folded else {}
    if uri.get("exact"):
        return {"path": str(uri["exact"]), **case}
    if uri.get("prefix"):
        return {"prefix": str(uri["prefix"]), **case}
    if uri.get("regex"):
        return {"safe_regex": regex(str(uri["regex"]))}
    return {"prefix": "/"}


def _query(name: str, value: Mapping[str, Any]) -> Obj:
    said = string_match(value)
    return {"name": name, "present_match": True} if said is None else {"name": name, "string_match": said}


def _claim(name: str, value: Mapping[str, Any], *, absent: bool) -> Obj:
    """A claim of a token as Istio's gateways route by it."""
    keys = claim_keys(name.removeprefix(_CLAIM))
    if not keys:
        raise Unspeakable(f"{name!r} names no claim; write {_CLAIM}[sub] or {_CLAIM}.sub")
    said = string_match(value)
    matcher: Obj = {"present_match": True} if said is None else {"or_match": {"value_matchers": _either(said)}}
    return {
        "filter": _META,
        "path": [{"key": key} for key in ("payload", *keys)],
        "value": matcher,
        "invert": absent,
    }


def _either(said: Obj) -> list[Obj]:
    """A claim is a string, or a list with one."""
    return [{"string_match": said}, {"list_match": {"one_of": {"string_match": said}}}]


def claim_keys(text: str) -> list[str]:
    """The keys of ``[a][b]`` or ``.a.b``."""
    if text.startswith("."):
        return [part for part in text[1:].split(".") if part]
    if text.startswith("[") and text.endswith("]"):
        return [part for part in text[1:-1].split("][") if part]
    return []
