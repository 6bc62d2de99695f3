"""Traffic as functions on objects: an object and a change to the object as it should be. Pure.

A SeldonDeployment's routes are its operator's to write, so of one only what it can say is changed: weights, the shadow,
the annotations for time-outs and retries. Everything else (header rules, faults, mirrors of any share) is for
VirtualServices of our own. Weights are whole percents that sum to 100; shares that do not come out even are rounded by
the largest remainder, so that nothing is lost or invented.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests.serving.shapes import nearest
from jupyterlab_kf.model import Obj, Ref

ALL: Final = 100
RETRY_ON: Final = "gateway-error,connect-failure,refused-stream"
"""What Seldon retries on; resets are not in it, for feedback must not count twice."""
_DURATION: Final = re.compile(r"(\d+(\.\d+)?(h|m|s|ms))+")
_HEADER: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


# Weights


def shares(weights: Mapping[str, float], total: int = ALL) -> dict[str, int]:
    """Whole weights in proportion to any, which sum to the total: the largest remainders are rounded up.

    Raises:
        UsageError: a weight is negative or no number, or all are zero.
    """
    exact = {name: _weight(name, weight) for name, weight in weights.items()}
    whole = sum(exact.values())
    if not whole:
        raise UsageError("all weights are zero", hint="give at least one version more than that")
    parts = {name: weight * total / whole for name, weight in exact.items()}
    floors = {name: int(part) for name, part in parts.items()}
    left = total - sum(floors.values())
    # Of equal remainders the first one named is rounded up.
    order = sorted(parts, key=lambda name: floors[name] - parts[name])
    return {name: floor + (name in order[:left]) for name, floor in floors.items()}


def _weight(name: str, weight: object) -> Fraction:
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
        raise UsageError(f"{name} gets {weight!r}; a weight is a number of 0 or more")
    return Fraction(weight)


def percents(weights: Mapping[str, int]) -> dict[str, int]:
    """The weights, if they are whole percents that sum to 100.

    Raises:
        UsageError: they are not.
    """
    found = {name: _percent(name, weight) for name, weight in weights.items()}
    if sum(found.values()) != ALL:
        said = " + ".join(f"{name} {weight}" for name, weight in found.items())
        raise UsageError(f"the weights are {said}, which is {sum(found.values())}", hint="they must sum to 100")
    return found


def _percent(name: str, weight: object) -> int:
    if isinstance(weight, bool) or not isinstance(weight, int) or not 0 <= weight <= ALL:
        raise UsageError(f"{name} gets {weight!r} percent; it must be a whole number from 0 to 100")
    return weight


def shifted(weights: Mapping[str, int], name: str, percent: int) -> dict[str, int]:
    """The weights with that one's set, and the others' in the proportion that they had.

    Raises:
        UsageError: there is no such version, or the percentage is none; or it is the only one and gets less than all.
    """
    if name not in weights:
        raise UsageError(f"there is no version {name!r}", hint=nearest(name, weights))
    rest = {other: weight for other, weight in weights.items() if other != name}
    if not rest or percent == ALL:
        percents({name: percent})
        return {**dict.fromkeys(weights, 0), name: percent}
    if not 0 <= percent <= ALL:
        raise UsageError(f"{name} gets {percent} percent; it must be a number from 0 to 100")
    others = rest if any(rest.values()) else dict.fromkeys(rest, 1)
    moved = {**shares(others, ALL - percent), name: percent}
    return {other: moved[other] for other in weights}


def weights_of(obj: Mapping[str, Any]) -> dict[str, int]:
    """The percentage that each version of a SeldonDeployment or VirtualService answers; one alone answers all."""
    if _is_seldon(obj):
        return weights_among(_predictors(obj))
    routes = _plain_routes(obj)
    targets: Sequence[Obj] = routes[-1]["route"] if routes else ()
    return _all_to_one({_subset(to): int(to.get("weight") or 0) for to in targets})


def weights_among(predictors: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """The percentage of requests that each predictor answers; shadows answer none, and one alone answers all."""
    return _all_to_one(
        {str(one.get("name")): int(one.get("traffic") or 0) for one in predictors if not one.get("shadow")}
    )


def _all_to_one(weights: dict[str, int]) -> dict[str, int]:
    return dict.fromkeys(weights, ALL) if len(weights) == 1 else weights


def with_weights(obj: Mapping[str, Any], weights: Mapping[str, int]) -> Obj:
    """The object with these weights; versions that are not named get none.

    Raises:
        UsageError: a version does not exist or is a shadow, or the weights are no percents that sum to 100.
    """
    if _is_seldon(obj):
        return _with_predictors(obj, weighted(_predictors(obj), weights))
    wanted = _wanted(weights, weights_of(obj))

    def weighed(route: Obj) -> Obj:
        targets = [{**to, "weight": wanted.get(_subset(to), 0)} for to in route["route"]]
        return {**route, "route": targets}

    return _each_route(obj, weighed, only=_is_divided)


def weighted(predictors: Sequence[Obj], weights: Mapping[str, int]) -> list[Obj]:
    """Predictors with these weights; those that are not named get none.

    Raises:
        UsageError: one does not exist or is a shadow, or the weights are no percents that sum to 100.
    """
    wanted = _wanted(weights, weights_among(predictors))
    return [one if one.get("shadow") else {**one, "traffic": wanted.get(str(one["name"]), 0)} for one in predictors]


def _wanted(weights: Mapping[str, int], known: Iterable[str]) -> dict[str, int]:
    for name in weights:
        if name not in known:
            raise UsageError(f"there is no version {name!r} that answers requests", hint=nearest(name, known))
    return percents(weights)


# SeldonDeployments


def _is_seldon(obj: Mapping[str, Any]) -> bool:
    return obj.get("kind") == kinds.SELDON_DEPLOYMENT.kind


def _predictors(obj: Mapping[str, Any]) -> Sequence[Obj]:
    found: Sequence[Obj] = (obj.get("spec") or {}).get("predictors") or ()
    return found


def _with_predictors(obj: Mapping[str, Any], predictors: list[Obj]) -> Obj:
    return {**obj, "spec": {**obj["spec"], "predictors": predictors}}


def with_shadow(obj: Mapping[str, Any], version: str, percent: int = ALL) -> Obj:
    """A SeldonDeployment with a version that gets copies of requests and answers none; 0 percent ends that.

    Raises:
        UsageError: it answers requests, does not exist, or another one is the shadow already.
    """
    return _with_predictors(obj, shadowed(_predictors(obj), version, percent))


def shadowed(predictors: Sequence[Obj], version: str, percent: int = ALL) -> list[Obj]:
    """Predictors of which one gets copies of requests and answers none; 0 percent ends that.

    Raises:
        UsageError: it answers requests, does not exist, or another one is the shadow already.
    """
    every = {str(one["name"]): one for one in predictors}
    if version not in every:
        raise UsageError(f"there is no version {version!r} to copy requests to", hint=nearest(version, every))
    if not 0 <= percent <= ALL:
        raise UsageError(f"{percent} is no percentage")
    answers = weights_among(predictors).get(version, 0)
    if answers and percent:
        said = f"{version} answers requests; a shadow only sees copies of them, and it answers {answers} percent"
        raise UsageError(said, hint="give its share to another first")
    other = next((name for name, one in every.items() if one.get("shadow") and name != version), "")
    if other and percent:
        raise UsageError(f"{other} is the shadow already; Seldon allows one", hint=f"end it first: {other} with 0")
    bare = {key: value for key, value in every[version].items() if key not in ("shadow", "traffic")}
    mine: Obj = {**bare, "shadow": True, "traffic": percent} if percent else {**bare, "traffic": 0}
    return [mine if one["name"] == version else one for one in predictors]


def with_annotations(obj: Mapping[str, Any], values: Mapping[str, str | None]) -> Obj:
    """A SeldonDeployment with annotations of its spec, which its operator reads; None takes one away."""
    spec = obj.get("spec") or {}
    merged = {**(spec.get("annotations") or {}), **values}
    return {**obj, "spec": {**spec, "annotations": {key: one for key, one in merged.items() if one is not None}}}


def with_patience(obj: Mapping[str, Any], *, timeout: float | None = None, retries: int | None = None) -> Obj:
    """An object whose requests take at most that many seconds, and are tried again that many times.

    Raises:
        UsageError: a number that is none.
    """
    if timeout is not None and timeout <= 0:
        raise UsageError(f"a time-out of {timeout} seconds is none")
    if retries is not None and retries < 0:
        raise UsageError(f"{retries} retries are none")
    if _is_seldon(obj):
        values: dict[str, str | None] = {}
        if timeout is not None:
            values |= dict.fromkeys(("seldon.io/rest-timeout", "seldon.io/grpc-timeout"), str(round(timeout * 1000)))
        if retries is not None:
            values["seldon.io/istio-retries"] = str(retries) if retries else None
            each = max(1, round(timeout / (retries + 1))) if timeout and retries else 1
            values["seldon.io/istio-retries-timeout"] = str(each) if retries else None
        return with_annotations(obj, values)

    def patient(route: Obj) -> Obj:
        made = dict(route)
        if timeout is not None:
            made["timeout"] = seconds(timeout)
        if retries is not None:
            made["retries"] = {"attempts": retries, **({"retryOn": RETRY_ON} if retries else {})}
        return made

    return _each_route(obj, patient)


# VirtualServices


def seconds(value: float) -> str:
    """A length of time as Istio writes it."""
    return f"{value:g}s" if float(value).is_integer() else f"{round(value * 1000)}ms"


def _routes(obj: Mapping[str, Any]) -> Sequence[Obj]:
    found: Sequence[Obj] = (obj.get("spec") or {}).get("http") or ()
    return found


def _plain_routes(obj: Mapping[str, Any]) -> list[Obj]:
    return [one for one in _routes(obj) if _is_divided(one)]


def _is_divided(route: Mapping[str, Any]) -> bool:
    """Whether a route leads to versions by weight, and not those of a rule to one of them."""
    return bool(route.get("route")) and not str(route.get("name") or "").startswith(_RULE)


_RULE: Final = "rule-"


def _subset(target: Mapping[str, Any]) -> str:
    destination = target.get("destination") or {}
    return str(destination.get("subset") or destination.get("host") or "")


def _each_route(
    obj: Mapping[str, Any], change: Callable[[Obj], Obj], *, only: Callable[[Mapping[str, Any]], bool] | None = None
) -> Obj:
    """A VirtualService with each of its HTTP routes changed, or those that fit.

    Raises:
        UsageError: it is none.
    """
    _check_routes(obj)
    made = [change(one) if only is None or only(one) else one for one in _routes(obj)]
    return {**obj, "spec": {**obj["spec"], "http": made}}


def _check_routes(obj: Mapping[str, Any]) -> None:
    if obj.get("kind") != kinds.VIRTUAL_SERVICE.kind:
        raise UsageError(
            f"{Ref.of(obj)} has no routes of its own", hint="a SeldonDeployment's are written by its operator"
        )


def with_header_rule(obj: Mapping[str, Any], version: str, headers: Mapping[str, str]) -> Obj:
    """A VirtualService that sends requests with these headers to one version, before weights count; no headers end it.

    Raises:
        UsageError: there is no such version, or a header that is none; or the object has no routes of its own.
    """
    _check_routes(obj)
    known = weights_of(obj)
    if version not in known:
        raise UsageError(f"{Ref.of(obj)} has no version {version!r}", hint=nearest(version, known))
    for header in headers:
        if not _HEADER.fullmatch(header):
            raise UsageError(f"{header!r} is no header")
    rules: list[Obj] = []
    kept: list[Obj] = []
    for route in _routes(obj):
        own = str(route.get("name") or "")
        if own.startswith(f"{_RULE}{version}-"):
            continue
        if headers and _is_divided(route) and version in {_subset(to) for to in route["route"]}:
            rules.append(_rule(route, version, headers))
        kept.append(route)
    # The first route that fits is taken, so rules stand before what they are exceptions from.
    return {**obj, "spec": {**obj["spec"], "http": [*rules, *kept]}}


def _rule(route: Obj, version: str, headers: Mapping[str, str]) -> Obj:
    wanted = {name.lower(): {"exact": value} for name, value in headers.items()}
    matches = [{**one, "headers": {**(one.get("headers") or {}), **wanted}} for one in route.get("match") or [{}]]
    target = next(to for to in route["route"] if _subset(to) == version)
    whole = {key: value for key, value in target.items() if key != "weight"}
    return {**route, "name": f"{_RULE}{version}-{route.get('name') or 'http'}", "match": matches, "route": [whole]}


def with_mirror(obj: Mapping[str, Any], version: str, percent: float = ALL) -> Obj:
    """A VirtualService that sends copies of requests to a version, whose answers nobody gets; 0 percent ends that.

    Raises:
        UsageError: there is no such version, it answers the requests, or the percentage is none.
    """
    known = weights_of(obj)
    if version not in known:
        raise UsageError(f"{Ref.of(obj)} has no version {version!r}", hint=nearest(version, known))
    if not 0 <= percent <= ALL:
        raise UsageError(f"{percent} is no percentage")
    if percent and known[version] == ALL:
        raise UsageError(f"{version} answers all requests itself", hint="give its share to another first")

    def mirrored(route: Obj) -> Obj:
        bare = {key: value for key, value in route.items() if key not in ("mirror", "mirrorPercentage")}
        if not percent:
            return bare
        target = next(to for to in route["route"] if _subset(to) == version)
        return {**bare, "mirror": dict(target["destination"]), "mirrorPercentage": {"value": float(percent)}}

    return _each_route(obj, mirrored, only=_is_divided)


def with_fault(obj: Mapping[str, Any], *, delay: float = 0.0, status: int = 0, percent: float = ALL) -> Obj:
    """A VirtualService that delays requests or answers an error in their place, to try what callers do then.

    Args:
        obj: the VirtualService.
        delay: seconds; 0 delays nothing.
        status: the HTTP status; 0 refuses nothing. With neither, faults end.
        percent: of how many requests.

    Raises:
        UsageError: a number that is none.
    """
    if delay < 0 or not 0 <= percent <= ALL or (status and not 200 <= status <= 599):  # noqa: PLR2004  HTTP's
        raise UsageError(f"a fault of {delay} seconds, status {status}, in {percent} percent is none")
    share = {"percentage": {"value": float(percent)}}
    fault: Obj = {}
    if delay:
        fault["delay"] = {"fixedDelay": seconds(delay), **share}
    if status:
        fault["abort"] = {"httpStatus": status, **share}

    def faulty(route: Obj) -> Obj:
        bare = {key: value for key, value in route.items() if key != "fault"}
        return {**bare, "fault": fault} if fault else bare

    return _each_route(obj, faulty)
