"""Local rate limits: the EnvoyFilters that Istio's documentation shows for them, and no other EnvoyFilter.

An EnvoyFilter patches Envoy's configuration as istiod writes it, which is not ours; so a patch is understood when it
is about the filter `local_ratelimit`, and any other is told on the object and has no effect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jupyterlab_kf.controllers import support
from jupyterlab_kf.controllers.istio.values import Unspeakable, duration, escaped, typed
from jupyterlab_kf.controllers.istio.world import GATEWAY_LABELS, ROOT, Mesh, oldest_first
from jupyterlab_kf.model import Obj, labels

FILTER: Final = "envoy.filters.http.local_ratelimit"
NAME: Final = "kf.{}.limit"
_TYPE: Final = "extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_MOST: Final = 2**32
_ACTIONS: Final = ("", "APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS")
_KNOWN: Final = frozenset(
    {"@type", "stat_prefix", "token_bucket", "filter_enabled", "filter_enforced", "response_headers_to_add", "status"}
)


@dataclass(slots=True)
class Limits:
    """What is limited: the whole gateway, routes by name, and the pods of a selector."""

    whole: Obj | None = None
    by_route: dict[str, Obj] = field(default_factory=dict)
    by_pods: list[tuple[str, Mapping[str, str], Obj]] = field(default_factory=list)

    def filters(self) -> list[Obj]:
        """The filters of every listener."""
        off = typed(_TYPE, stat_prefix="off")
        whole = self.whole or off
        return [
            {"name": NAME.format("gateway"), "typed_config": whole},
            {"name": NAME.format("pods"), "typed_config": off},
        ]

    def on(self, name: str) -> Obj:
        """The limit of a route that is called so, or of every route."""
        found = self.by_route.get(name) or self.by_route.get("")
        return {NAME.format("gateway"): found} if found else {}

    def before(self, namespace: str, pods: Sequence[Obj]) -> Obj:
        """The limit of requests to pods."""
        for space, selector, config in self.by_pods:
            here = space in (namespace, ROOT)
            if here and (not selector or any(selector.items() <= labels(pod).items() for pod in pods)):
                return {NAME.format("pods"): config}
        return {}


def read(mesh: Mesh) -> Limits:
    """The limits that a world asks for."""
    result = Limits()
    for obj in oldest_first(mesh.world.envoy_filters):
        spec = obj.get("spec") or {}
        if spec.get("targetRefs"):
            mesh.say(
                obj, "spec.targetRefs", "is for the Gateway API and waypoints, which are not here; it has no effect"
            )
            continue
        for number, patch in enumerate(spec.get("configPatches") or ()):
            try:
                _take(mesh, result, obj, number, patch)
            except ValueError as error:
                mesh.say(obj, f"spec.configPatches[{number}]", str(error))
            except (TypeError, AttributeError):  # no schema says what a patch may hold
                mesh.say(
                    obj, f"spec.configPatches[{number}]", "is not of the shape of a local rate limit; it has no effect"
                )
    return result


def _take(mesh: Mesh, into: Limits, obj: Obj, number: int, patch: Mapping[str, Any]) -> None:
    selector = ((obj.get("spec") or {}).get("workloadSelector") or {}).get("labels") or {}
    to, match = str(patch.get("applyTo") or ""), patch.get("match") or {}
    value = (patch.get("patch") or {}).get("value") or {}
    raw = _config(to, value)
    if raw is None:
        raise Unspeakable(
            "only local rate limits (HTTP_FILTER or HTTP_ROUTE with envoy.filters.http.local_ratelimit) are understood "
            "here; this patch has no effect"
        )
    path = f"spec.configPatches[{number}].patch.value"
    for key in sorted(set(raw) - _KNOWN):
        mesh.say(obj, f"{path}.{key}", "is not taken over; the limit holds without it")
    config = _limit(raw)
    gateway = support.namespace(obj) == ROOT and selector.items() <= GATEWAY_LABELS.items()
    if match.get("context") == "GATEWAY" or (gateway and selector):
        if to == "HTTP_FILTER":
            into.whole = config
        else:
            vhost = (match.get("routeConfiguration") or {}).get("vhost") or {}
            into.by_route[str((vhost.get("route") or {}).get("name") or "")] = config
        return
    if "token_bucket" in config:
        what = "the pods have no sidecar of their own: the gateway counts, for all of them together"
        mesh.say(obj, "spec.workloadSelector", what)
        into.by_pods.append((support.namespace(obj), selector, config))


def _config(to: str, value: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The limit's own settings in a patch, whichever way they are wrapped; None in a patch about something else."""
    if to == "HTTP_FILTER" and value.get("name") == FILTER:
        typed_config = value.get("typed_config") or {}
    elif to in ("HTTP_ROUTE", "VIRTUAL_HOST") and FILTER in (value.get("typed_per_filter_config") or {}):
        typed_config = value["typed_per_filter_config"][FILTER]
    else:
        return None
    return typed_config.get("value", typed_config) if "type_url" in typed_config else typed_config


def _limit(raw: Mapping[str, Any]) -> Obj:
    """The settings that are taken over, checked, since one that Envoy refuses would cost every route."""
    bucket = raw.get("token_bucket")
    fields: Obj = {"stat_prefix": str(raw.get("stat_prefix") or "limit")}
    if bucket:
        most, each = int(bucket.get("max_tokens") or 0), int(bucket.get("tokens_per_fill") or 1)
        every = duration(bucket.get("fill_interval") or "1s")
        if not (1 <= most < _MOST and 1 <= each < _MOST) or float(str(every)[:-1]) < 0.05:  # noqa: PLR2004  Envoy's own least
            raise Unspeakable(
                "a token_bucket needs max_tokens and tokens_per_fill of 1 or more, filled every 50ms or more"
            )
        fields["token_bucket"] = {"max_tokens": most, "tokens_per_fill": each, "fill_interval": every}
        for key in ("filter_enabled", "filter_enforced"):
            share = (raw.get(key) or {}).get("default_value")
            if share:
                fields[key] = {"default_value": _fraction(share), "runtime_key": f"kf.limit.{key}"}
    code = (raw.get("status") or {}).get("code")
    if code is not None:
        if not isinstance(code, int) or isinstance(code, bool) or not 400 <= code < 600:  # noqa: PLR2004  HTTP's own
            raise Unspeakable(f"{code!r} is no status of a request that is refused")
        fields["status"] = {"code": code}
    added = [_added(entry) for entry in raw.get("response_headers_to_add") or ()]
    fields |= {"response_headers_to_add": added} if added else {}
    return typed(_TYPE, **fields)


def _fraction(said: Mapping[str, Any]) -> Obj:
    of = str(said.get("denominator") or "HUNDRED")
    if of not in ("HUNDRED", "TEN_THOUSAND", "MILLION"):
        raise Unspeakable(f"{of!r} is no denominator")
    numerator = int(said.get("numerator") or 0)
    if not 0 <= numerator < _MOST:
        raise Unspeakable(f"{numerator} is no share of {of}")
    return {"numerator": numerator, "denominator": of}


def _added(entry: Mapping[str, Any]) -> Obj:
    header = entry.get("header") or {}
    if not re.fullmatch(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", str(header.get("key") or "")):
        raise Unspeakable(f"{header.get('key')!r} is no name of a header")
    action = str(entry.get("append_action") or ("OVERWRITE_IF_EXISTS_OR_ADD" if entry.get("append") is False else ""))
    if action not in _ACTIONS:
        raise Unspeakable(f"{action!r} is none of {', '.join(filter(None, _ACTIONS))}")
    return {
        "header": {"key": str(header.get("key") or ""), "value": escaped(str(header.get("value") or ""))},
        "append_action": action or "APPEND_IF_EXISTS_OR_ADD",
    }
