"""How many servers a version has, by load and while nobody asks: in few words, and as Seldon and KEDA write it. Pure.

A person says ``replicas``, ``rps`` and ``idle``; the object has a number, an ``hpaSpec`` or a ``kedaSpec``. Only what
was written here is read back and changed: what somebody wrote in a way of his own is his.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from jupyterlab_kf import quantities
from jupyterlab_kf.controllers import sleep
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests import pods
from jupyterlab_kf.model import Obj, labels

STATE: Final = "KF_STATE_DIR"
"""Tells a router where to write down what it has learnt."""
_RATE: Final = "requests_per_second"
_QUERY: Final = (
    'sum(rate(seldon_api_executor_server_requests_seconds_count{{deployment_name="{endpoint}",'
    'predictor_name="{version}"}}[1m]))'
)
_PROMETHEUS: Final = "http://prometheus:9090"
"""Who would be asked by KEDA itself. Where there is none, requests are counted at the servers."""
_NEVER: Final = 1_000_000
"""Requests per second for each replica, where requests only tell whether anybody asks."""
_BUSY: Final = Decimal("0.8")
"""The share of its CPUs that a server is to use; of one CPU where nobody said how many it has."""
_MOST: Final = 1000
_LONGEST: Final = 30 * 86400
_RANGE: Final = re.compile(r"(\d+)\s*(?:-|:|\.\.)\s*(\d+)")
_UNHELD: Final = "nothing on this cluster holds requests for what has no servers"


@dataclass(frozen=True, slots=True)
class Scaling:
    """How many servers a version has.

    Attributes:
        least: so many at least, while it is awake.
        most: so many at most; the same number where load does not matter.
        rps: requests per second that each is to have; None to go by CPU.
        idle: seconds without a request after which there are none; None for never.
    """

    least: int = 1
    most: int = 1
    rps: float | None = None
    idle: int | None = None

    @property
    def by_load(self) -> bool:
        """Whether load decides."""
        return self.most > self.least

    @property
    def words(self) -> str:
        """``1 to 4 servers by CPU, none after 5m without a request``."""
        if self.by_load:
            by = "CPU" if self.rps is None else f"{self.rps:g} requests per second each"
            said = f"{self.least} to {self.most} servers by {by}"
        else:
            said = f"{self.least} server{'s' if self.least != 1 else ''}"
        return said if self.idle is None else f"{said}, none after {time_of(self.idle)} without a request"

    @property
    def said(self) -> dict[str, Any]:
        """The arguments of ``jupyterlab_kf.serve`` that say it."""
        return {
            "replicas": (self.least, self.most) if self.by_load else self.least,
            "rps": self.rps,
            "idle": None if self.idle is None else time_of(self.idle),
        }


def time_of(seconds: int) -> str:
    """Seconds as a person writes them: ``5m``."""
    for unit, length in (("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


# What a person says


def wanted(replicas: object = 1, rps: object = None, idle: object = None) -> Scaling:
    """What arguments say.

    Args:
        replicas: a number, or from how many to how many: ``(1, 4)``, ``[1, 4]`` or ``"1-4"``.
        rps: requests per second that each is to have; None to go by CPU.
        idle: seconds, or a time such as ``"5m"``; None for never.

    Raises:
        UsageError: one of them says nothing that can be.
    """
    least, most = _between(replicas)
    if rps is not None and not _positive(rps):
        raise UsageError(f"rps is {rps!r}; it is the requests per second that each server is to have", hint="rps=20")
    if rps is not None and least == most:
        raise UsageError(
            f"rps is {rps!r} and replicas is {least}: there is nothing to choose",
            hint=f"say between how many: replicas=({least}, {max(4, 2 * least)})",
        )
    rate = None if rps is None else float(_decimal(rps))
    return Scaling(least, most, rate, None if idle is None else _seconds(idle))


def _decimal(value: object) -> Decimal:
    return Decimal(str(value)).quantize(Decimal("0.001"))


def _positive(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and math.isfinite(float(str(value))) and 0 < _decimal(value) < _NEVER


def _between(said: object) -> tuple[int, int]:
    found: Sequence[object] = said if isinstance(said, list | tuple) else (said, said)
    if isinstance(said, str):
        match = _RANGE.fullmatch(said.strip())
        found = (int(match[1]), int(match[2])) if match else (int(said),) * 2 if said.strip().isdecimal() else ()
    if len(found) != 2 or not all(isinstance(one, int) and not isinstance(one, bool) for one in found):  # noqa: PLR2004
        raise UsageError(
            f"replicas is {said!r}; it must be a whole number of 1 or more, or from how many to how many",
            hint="replicas=2, or replicas=(1, 4) to have load decide",
        )
    least, most = (int(str(one)) for one in found)
    if least < 1 <= most and isinstance(said, list | tuple | str):
        raise UsageError(
            f"replicas is {said!r}; while somebody asks there is at least one server",
            hint=f"replicas=(1, {most}), idle='5m' has none after five minutes without a request",
        )
    if not 1 <= least <= most <= _MOST:
        raise UsageError(f"replicas is {said!r}; it must be a whole number of 1 or more, or two, the smaller one first")
    return least, most


def _seconds(said: object) -> int:
    value = said
    if isinstance(said, str):
        value = quantities.seconds(said)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise UsageError(f"idle is {said!r}; it is a time without a request", hint="seconds, or a time such as '5m'")
    if value != round(value) or not sleep.LEAST <= value <= _LONGEST:
        raise UsageError(
            f"idle is {said!r}; it must be whole seconds, from {sleep.LEAST:.0f} s to 30 days",
            hint="idle=300, or idle='5m'; leave it out to keep the servers",
        )
    return int(value)


# As objects


def applied(predictor: Obj, scaling: Scaling, endpoint: str) -> Obj:
    """A version with so many servers.

    Raises:
        UsageError: it cannot be scaled so, or somebody wrote how it is in a way of his own.
    """
    version = str(predictor["name"])
    if of(predictor) is None:
        raise UsageError(
            f"{version} has an hpaSpec or kedaSpec of its own, which says more than can be said here",
            hint="change it where it was written, as YAML",
        )
    parts: Sequence[Obj] = predictor.get("componentSpecs") or ()
    if scaling.by_load and len(parts) != 1:
        raise UsageError(f"{version} has {len(parts)} pods that would each be scaled", hint="say it as YAML")
    if scaling.idle is not None and (why := stays_awake(predictor)):
        raise UsageError(f"{version} cannot go to sleep: {why}", hint="leave idle out")
    if (learning := _learning(parts)) and scaling.most > 1:
        raise UsageError(
            f"{version} may have {scaling.most} servers, and each would learn something else",
            hint="a bandit has one replica",
        )
    if learning and scaling.idle is not None and not all(map(_is_kept, learning)):
        raise UsageError(
            f"what {version} has learnt goes with its pod, so it is not to sleep",
            hint="give it a volume that keeps it (volumes=['CLAIM']), or leave idle out",
        )
    made = []
    for part in parts:
        bare = {key: value for key, value in part.items() if key not in ("hpaSpec", "kedaSpec", "replicas")}
        made.append(bare | _written(scaling, endpoint, version, bare))
    return {**predictor, "replicas": scaling.least, "componentSpecs": made}


def stays_awake(predictor: Mapping[str, Any]) -> str:
    """Why a version could not go to sleep; empty where it can."""
    notes = predictor.get("annotations") or {}
    explained = (predictor.get("explainer") or {}).get("type")
    if len(predictor.get("componentSpecs") or ()) != 1 or explained or _true(notes, "seldon.io/engine-separate-pod"):
        return "it is several Deployments, and only what is one sleeps"
    if _true(notes, "seldon.io/no-engine"):
        return "it has no engine, which is what counts requests"
    return ""


def _learning(parts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The containers that learn from feedback."""
    every = [one for part in parts for one in (part.get("spec") or {}).get("containers") or ()]
    return [one for one in every if _state(one)]


def _state(container: Mapping[str, Any]) -> str:
    return next((str(one.get("value")) for one in container.get("env") or () if one.get("name") == STATE), "")


def _is_kept(container: Mapping[str, Any]) -> bool:
    """Whether what a container learns outlives its pod."""
    claims = [one for one in container.get("volumeMounts") or () if str(one["name"]).startswith(pods.CLAIM_VOLUME)]
    return any(f"{_state(container)}/".startswith(f"{one['mountPath']}/") for one in claims)


def _true(notes: Mapping[str, Any], key: str) -> bool:
    return str(notes.get(key)).lower() == "true"


def _written(scaling: Scaling, endpoint: str, version: str, part: Mapping[str, Any]) -> Obj:
    """The fields of a component that say it."""
    cpu = {"type": "AverageValue", "averageValue": _cpu(part)}
    if scaling.idle is None and not scaling.by_load:
        return {}
    if scaling.idle is None:
        rate = {"type": "AverageValue", "averageValue": quantities.canonical(_decimal(scaling.rps or 0))}
        metric: Obj = {"type": "Resource", "resource": {"name": "cpu", "target": cpu}}
        if scaling.rps is not None:
            metric = {"type": "Pods", "pods": {"metric": {"name": _RATE}, "target": rate}}
        return {"hpaSpec": {"minReplicas": scaling.least, "maxReplicas": scaling.most, "metricsv2": [metric]}}
    each = str(_NEVER) if scaling.rps is None else format(_decimal(scaling.rps).normalize(), "f")
    query = _QUERY.format(endpoint=endpoint, version=version)
    asked = {"serverAddress": _PROMETHEUS, "query": query, "threshold": each}
    triggers: list[Obj] = [{"type": "prometheus", "metadata": asked}]
    if scaling.by_load and scaling.rps is None:
        triggers.append({"type": "cpu", "metricType": "AverageValue", "metadata": {"value": cpu["averageValue"]}})
    return {
        "kedaSpec": {
            "idleReplicaCount": 0,
            "minReplicaCount": scaling.least,
            "maxReplicaCount": scaling.most,
            "cooldownPeriod": scaling.idle,
            "triggers": triggers,
        }
    }


def _cpu(part: Mapping[str, Any]) -> str:
    """CPUs that the servers of one pod are to use, as a quantity."""
    asked = [
        ((one.get("resources") or {}).get("requests") or {}).get("cpu")
        for one in (part.get("spec") or {}).get("containers") or ()
    ]
    whole = sum((quantities.parse(one) for one in asked if one is not None), Decimal(0)) or Decimal(1)
    return quantities.canonical((whole * _BUSY).quantize(Decimal("0.001")))


# Reading


def of(predictor: Mapping[str, Any]) -> Scaling | None:
    """How many servers a version has; None where somebody said it in a way of his own."""
    parts: Sequence[Mapping[str, Any]] = predictor.get("componentSpecs") or ()
    own = [one.get("replicas") for one in parts if one.get("replicas") is not None]
    said = own[0] if own else predictor.get("replicas")
    count = 1 if said is None else int(said)
    plain = Scaling(count, count)
    if not any(one.get("hpaSpec") or one.get("kedaSpec") for one in parts):
        return plain
    if len(parts) != 1:
        return None
    try:
        found = _of_hpa(parts[0]["hpaSpec"]) if parts[0].get("hpaSpec") else _of_keda(parts[0]["kedaSpec"])
    except (KeyError, TypeError, ValueError, IndexError, UsageError):
        return None
    return found


def _of_hpa(spec: Mapping[str, Any]) -> Scaling | None:
    (metric,) = spec["metricsv2"]
    if set(spec) - {"minReplicas", "maxReplicas", "metricsv2"}:
        return None
    between = (int(spec["minReplicas"]), int(spec["maxReplicas"]))
    if metric["type"] == "Resource" and _is(metric["resource"], "cpu"):
        return wanted(between)
    if metric["type"] == "Pods" and _is({**metric["pods"], **metric["pods"]["metric"]}, _RATE):
        return wanted(between, rps=float(quantities.parse(metric["pods"]["target"]["averageValue"])))
    return None


def _is(source: Mapping[str, Any], name: str) -> bool:
    return bool(source["name"] == name and source["target"].get("averageValue"))


def _of_keda(spec: Mapping[str, Any]) -> Scaling | None:
    first, *others = spec["triggers"]
    known = {"idleReplicaCount", "minReplicaCount", "maxReplicaCount", "cooldownPeriod", "triggers"}
    if set(spec) - known or spec["idleReplicaCount"] != 0 or first["metadata"]["serverAddress"] != _PROMETHEUS:
        return None
    between = (int(spec["minReplicaCount"]), int(spec["maxReplicaCount"]))
    each = float(first["metadata"]["threshold"])
    by_rate = each < _NEVER and between[0] < between[1]
    by_cpu = [(one["type"], one["metricType"]) for one in others] == [("cpu", "AverageValue")]
    if others and not by_cpu:
        return None
    return wanted(between, rps=each if by_rate else None, idle=int(spec["cooldownPeriod"]))


def unheld(version: str, deployments: Sequence[Mapping[str, Any]]) -> str:
    """Why a version stays awake that was to sleep; empty where it sleeps, or where that cannot be seen yet.

    Whoever puts Deployments to sleep writes down on them when; one that is there without that is never put to sleep.

    Args:
        version: its name.
        deployments: those of its endpoint.
    """
    mine = [one for one in deployments if labels(one).get("version") == version]
    if not mine or any(sleep.of(one) is not None for one in mine):
        return ""
    return _UNHELD
