"""How many replicas metrics ask for, as Kubernetes' autoscaler reckons it: its formula, its tolerance, its patience.

Pure. From the metrics of a HorizontalPodAutoscaler and what was measured of pods to a number, and from the numbers of
the last minutes to the one that counts. What cannot be measured is said, never guessed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from jupyterlab_kf import quantities
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.model import Obj, meta

TOLERANCE: Final = 0.1
UP_WINDOW: Final = 0
DOWN_WINDOW: Final = 300
"""Seconds of which the highest recommendation counts, where the object does not say: nothing is taken away at once."""
_UP: Final = ({"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15})
_DOWN: Final = ({"type": "Percent", "value": 100, "periodSeconds": 15},)
_MEASURED: Final = ("cpu", "memory")


class UnmeasuredError(Exception):
    """A metric has no value; the message says why, in a real autoscaler's words where it has some."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What one metric says.

    Attributes:
        replicas: how many there should be.
        why: the metric in words, for the event.
        current: the metric as a status has it.
    """

    replicas: int
    why: str
    current: Obj


def question(metrics: Sequence[Obj]) -> list[str]:
    """The metrics of pods that must be read from their own pages."""
    return sorted({str(one["pods"]["metric"]["name"]) for one in metrics if one.get("type") == "Pods"})


def read(metric: Obj, pods: Sequence[Obj], measured: Mapping[str, Mapping[str, Any]], current: int) -> Reading:
    """How many replicas a metric asks for.

    Args:
        metric: of the autoscaler's spec.
        pods: those of the target that have not ended and are not ending.
        measured: what is known of pods, by uid: ``cpu`` in cores, ``memory`` in bytes, ``rates`` by name.
        current: how many replicas there are to be now.

    Raises:
        UnmeasuredError: nothing measures it.
    """
    kind = str(metric.get("type"))
    if kind == "Resource":
        return _resource(metric["resource"], pods, measured, current)
    if kind == "Pods":
        return _of_pods(metric["pods"], pods, measured, current)
    raise UnmeasuredError(f"nothing on this cluster measures {named(metric)}")


def named(metric: Mapping[str, Any]) -> str:
    """What a metric measures, in a word."""
    source = str(metric.get("type", ""))
    told = metric.get(source[:1].lower() + source[1:]) or {}
    return str(told.get("name") or (told.get("metric") or {}).get("name") or source)


def _resource(asked: Obj, pods: Sequence[Obj], measured: Mapping[str, Mapping[str, Any]], current: int) -> Reading:
    name, target = str(asked["name"]), asked["target"]
    if name not in _MEASURED:
        raise UnmeasuredError(f"nothing on this cluster measures {name}")
    values = {one: float(value) for one, seen in measured.items() if (value := seen.get(name)) is not None}
    if target["type"] != "Utilization":
        return _averaged(name, target, values, pods, current, {"type": "Resource", "resource": {"name": name}})
    asks = {_uid(pod): _request(pod, name) for pod in pods}
    known = {one: value for one, value in values.items() if one in asks}
    if not known:
        raise UnmeasuredError(f"did not receive metrics for targeted pods yet ({name})")
    percent = int(target["averageUtilization"])
    # A pod without a value is as it should be where replicas would be taken away, and idle where they would be added.
    full = {one: request * percent / 100 for one, request in asks.items()}
    ratio = _ratio(known, full)
    replicas = _from(ratio, known, full, current)
    used = round(100 * sum(known.values()) / sum(asks[one] for one in known))
    average = _quantity(name, sum(known.values()) / len(known))
    shown = {"averageUtilization": used, "averageValue": average}
    why = f"{name} resource utilization (percentage of request) {_side(ratio)} target"
    return Reading(replicas, why, {"type": "Resource", "resource": {"name": name, "current": shown}})


def _of_pods(asked: Obj, pods: Sequence[Obj], measured: Mapping[str, Mapping[str, Any]], current: int) -> Reading:
    name = str(asked["metric"]["name"])
    if asked["metric"].get("selector"):
        raise UnmeasuredError(f"the selector of metric {name} cannot be honoured: pods tell all they count")
    values = {one: float(seen["rates"][name]) for one, seen in measured.items() if name in (seen.get("rates") or {})}
    return _averaged(name, asked["target"], values, pods, current, {"type": "Pods", "pods": {"metric": {"name": name}}})


def _averaged(  # noqa: PLR0917  one metric
    name: str, target: Obj, values: Mapping[str, float], pods: Sequence[Obj], current: int, frame: Obj
) -> Reading:
    each = float(quantities.parse(target["averageValue"]))
    full = {_uid(pod): each for pod in pods}
    known = {one: value for one, value in values.items() if one in full}
    if not known:
        raise UnmeasuredError(f"no pod of the target tells {name} yet")
    ratio = _ratio(known, full)
    average = _quantity(name, sum(known.values()) / len(known))
    (key,) = (one for one in frame if one != "type")
    shown = {"type": frame["type"], key: {**frame[key], "current": {"averageValue": average}}}
    what = f"{name} resource" if key == "resource" else f"pods metric {name}"
    return Reading(_from(ratio, known, full, current), f"{what} {_side(ratio)} target", shown)


def _ratio(known: Mapping[str, float], full: Mapping[str, float]) -> float:
    """How much of what they should do the known pods do."""
    whole = sum(full[one] for one in known)
    return sum(known.values()) / whole if whole else 1.0


def _from(ratio: float, known: Mapping[str, float], full: Mapping[str, float], current: int) -> int:
    if abs(ratio - 1) <= TOLERANCE:
        return current
    missing = full.keys() - known.keys()
    if not missing:
        return _never_against(ratio, math.ceil(round(ratio * len(known), 6)), current)
    rest = sum(full[one] for one in missing) if ratio < 1 else 0.0
    again = (sum(known.values()) + rest) / (sum(full.values()) or 1.0)
    if abs(again - 1) <= TOLERANCE or (ratio < 1) != (again < 1):
        return current
    return _never_against(again, math.ceil(round(again * len(full), 6)), current)


def _never_against(ratio: float, wanted: int, current: int) -> int:
    """Pods that are on their way in or out must not turn the direction."""
    return max(wanted, current) if ratio > 1 else min(wanted, current)


def _side(ratio: float) -> str:
    return "above" if ratio > 1 + TOLERANCE else "below" if ratio < 1 - TOLERANCE else "within"


def _uid(pod: Obj) -> str:
    return str(meta(pod).get("uid"))


def _request(pod: Obj, resource: str) -> float:
    total = Decimal(0)
    for container in (pod.get("spec") or {}).get("containers") or ():
        given = container.get("resources") or {}
        text = (given.get("requests") or {}).get(resource) or (given.get("limits") or {}).get(resource)
        if text is None:
            where = f"container {container.get('name')} of Pod {meta(pod).get('name')}"
            raise UnmeasuredError(f"missing request for {resource} in {where}")
        try:
            total += quantities.parse(text)
        except UsageError as error:
            raise UnmeasuredError(f"the request for {resource} of Pod {meta(pod).get('name')} is {text!r}") from error
    return float(total)


def _quantity(name: str, value: float) -> str:
    if name == "memory":
        return quantities.canonical(int(value))
    return quantities.format_cpu(round(value, 3))


# What was recommended


@dataclass(frozen=True, slots=True)
class Memory:
    """What must be remembered from look to look, short enough for an annotation.

    Attributes:
        recommended: when which number was recommended, oldest first.
        scaled: when by how many replicas it was scaled.
    """

    recommended: tuple[tuple[float, int], ...] = ()
    scaled: tuple[tuple[float, int], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Memory:
        """What was written down; nothing where that cannot be read."""
        try:
            told = json.loads(text or "{}")
            return cls(*(tuple((float(at), int(n)) for at, n in told.get(key, ())) for key in ("seen", "scaled")))
        except (ValueError, TypeError, AttributeError):  # somebody else wrote it: as after a restart of a real one
            return cls()

    def dump(self) -> str:
        """As it is written down."""
        return json.dumps({"seen": self.recommended, "scaled": self.scaled}, separators=(",", ":"))

    def noting(self, now: float, wanted: int, behavior: Obj) -> Memory:
        """With one more recommendation, without what is too old to count; the same where nothing new is told."""
        window = max(_window(behavior, "scaleUp", UP_WINDOW), _window(behavior, "scaleDown", DOWN_WINDOW))
        last = self.recommended[-1] if self.recommended else None
        if last is not None and last[1] == wanted and now - last[0] < max(window / 10, 1):
            return self
        kept = [one for one in self.recommended if now - one[0] <= window * 1.2]
        # Only when a number was seen last, and what a window begins with, make a difference.
        if len(kept) > 1 and kept[-1][1] == kept[-2][1] == wanted:
            kept.pop()
        return Memory((*kept, (round(now, 1), wanted)), self.scaled)

    def with_scale(self, now: float, change: int, behavior: Obj) -> Memory:
        """With one more change of the number."""
        periods = [int(one["periodSeconds"]) for key in ("scaleUp", "scaleDown") for one in _policies(behavior, key)]
        kept = [one for one in self.scaled if now - one[0] <= max(periods, default=0)]
        return Memory(self.recommended, (*kept, (round(now, 1), change)))


def stabilised(memory: Memory, now: float, wanted: int, current: int, behavior: Obj) -> int:
    """The number that counts: the most of a while before it goes down, the least of a while before it goes up."""
    up, down = _window(behavior, "scaleUp", UP_WINDOW), _window(behavior, "scaleDown", DOWN_WINDOW)
    floor = min([wanted, *(n for at, n in memory.recommended if now - at < up)])
    ceiling = max([wanted, *(n for at, n in memory.recommended if now - at < down)])
    return floor if current < floor else min(current, ceiling)


def limited(memory: Memory, now: float, wanted: int, current: int, behavior: Obj) -> int:
    """How far it may go at once by the policies of the object, or by a real server's own."""
    if wanted == current:
        return current
    key = "scaleUp" if wanted > current else "scaleDown"
    chosen = str((behavior.get(key) or {}).get("selectPolicy") or "Max")
    if chosen == "Disabled":
        return current
    bounds = []
    for one in _policies(behavior, key):
        ago = [change for at, change in memory.scaled if now - at < int(one["periodSeconds"])]
        begin = current - sum(change for change in ago if (change > 0) == (key == "scaleUp"))
        amount = int(one["value"])
        step = amount if one["type"] == "Pods" else begin * amount / 100
        bounds.append(math.ceil(begin + step) if key == "scaleUp" else int(begin - step))
    if not bounds:
        return wanted
    if key == "scaleUp":
        return max(current, min(wanted, max(bounds) if chosen == "Max" else min(bounds)))
    return min(current, max(wanted, min(bounds) if chosen == "Max" else max(bounds)))


def _window(behavior: Obj, key: str, otherwise: int) -> int:
    found = (behavior.get(key) or {}).get("stabilizationWindowSeconds")
    return otherwise if found is None else int(found)


def _policies(behavior: Obj, key: str) -> Sequence[Obj]:
    found = (behavior.get(key) or {}).get("policies")
    return found or (_UP if key == "scaleUp" else _DOWN)
