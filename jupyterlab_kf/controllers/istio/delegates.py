"""VirtualServices that leave a path to another one: the routes of both as one list, by Istio's rules.

A delegate has no hosts of its own. Its matches hold together with those of the route that names it, and what it does
not say is said there. One level deep, as in Istio.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from jupyterlab_kf.controllers import support
from jupyterlab_kf.controllers.istio.world import Mesh, exported
from jupyterlab_kf.model import Obj

_INHERITED: Final = (
    "rewrite", "timeout", "retries", "fault", "mirror", "mirrors", "mirrorPercentage", "mirrorPercent",
    "mirror_percent", "corsPolicy",
)  # fmt: skip
_PLAIN: Final = ("scheme", "method", "authority", "uri")
_MAPS: Final = ("headers", "queryParams", "withoutHeaders", "sourceLabels")


def expanded(mesh: Mesh, service: Obj) -> list[tuple[Obj, str, Mapping[str, Any]]]:
    """Every HTTP route of a VirtualService with the object and the path where it stands."""
    found: list[tuple[Obj, str, Mapping[str, Any]]] = []
    for number, route in enumerate((service.get("spec") or {}).get("http") or ()):
        path = f"spec.http[{number}]"
        if not route.get("delegate"):
            found.append((service, path, route))
            continue
        other = _delegate(mesh, service, route["delegate"])
        if other is None:
            mesh.say(
                service, f"{path}.delegate", "there is no such VirtualService without hosts; this route is left out"
            )
            continue
        for inner, below in enumerate((other.get("spec") or {}).get("http") or ()):
            where = f"spec.http[{inner}]"
            if below.get("delegate"):
                mesh.say(other, f"{where}.delegate", "a delegate may not delegate; this route is left out")
                continue
            both = _merged(route, below)
            if both is None:
                mesh.say(other, f"{where}.match", f"can never hold together with {path} of {support.name(service)}")
                continue
            found.append((other, where, both))
    return found


def _delegate(mesh: Mesh, service: Obj, named: Mapping[str, Any]) -> Obj | None:
    own = support.namespace(service)
    wanted = (str(named.get("namespace") or own), str(named.get("name") or ""))
    for other in mesh.world.virtual_services:
        spec = other.get("spec") or {}
        if (support.namespace(other), support.name(other)) == wanted and not spec.get("hosts"):
            return other if exported(spec, wanted[0], own) else None
    return None


def _merged(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> Obj | None:
    result = {key: outer[key] for key in _INHERITED if key in outer and key not in inner} | dict(inner)
    headers = _headers(outer.get("headers") or {}, inner.get("headers") or {})
    if headers:
        result["headers"] = headers
    outers, inners = outer.get("match") or [], inner.get("match") or []
    if not outers or not inners:
        result["match"] = [*outers, *inners]
        return result
    both = [m for m in (_both(a, b) for a in outers for b in inners) if m is not None]
    return {**result, "match": both} if both else None


def _headers(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> Obj:
    result: Obj = {}
    for side in {*outer, *inner}:
        a, b = outer.get(side) or {}, inner.get(side) or {}
        result[side] = {
            "set": {**(a.get("set") or {}), **(b.get("set") or {})},
            "add": {**(a.get("add") or {}), **(b.get("add") or {})},
            "remove": [*(a.get("remove") or ()), *(b.get("remove") or ())],
        }
    return result


def _both(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> Obj | None:
    """One match that holds when both hold; None when Istio sees that none can."""
    result = {**outer, **inner}
    for key in _PLAIN:
        if key in outer and key in inner:
            said = _narrower(outer[key], inner[key])
            if said is None:
                return None
            result[key] = said
    for key in _MAPS:
        a, b = outer.get(key) or {}, inner.get(key) or {}
        if any(name in b and b[name] != value for name, value in a.items()):
            return None
        if a or b:
            result[key] = {**a, **b}
    for key in ("port", "gateways"):
        if outer.get(key) and inner.get(key) and outer[key] != inner[key]:
            return None
    return result


def _narrower(outer: Mapping[str, Any], inner: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The inner match, when whatever fits it fits the outer one."""
    if outer == inner:
        return inner
    prefix = outer.get("prefix")
    if prefix is None or "regex" in inner:
        return None
    text = str(inner.get("exact", inner.get("prefix", "")))
    return inner if text.startswith(str(prefix)) else None


def names(matches: Iterable[Mapping[str, Any]]) -> str:
    """What the matches of a route are called."""
    return ".".join(str(m["name"]) for m in matches if m.get("name"))
