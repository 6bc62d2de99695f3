"""What pods use and count, for who decides on replicas: CPU and memory of their processes, rates of their own counters.

Measured when it is asked, and at most every few seconds; a rate is what has come since an earlier look, a quarter of a
minute ago at most. Nothing is kept of pods that nobody asks about any more.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from prometheus_client.parser import text_string_to_metric_families

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import View
from jupyterlab_kf.embedded import supervisor
from jupyterlab_kf.errors import ClusterError
from jupyterlab_kf.model import Obj

PERIOD: Final = 4.0
"""Seconds for which an answer is good."""
_WINDOW: Final = 15.0
_KEPT: Final = 300.0
_PATIENCE: Final = 2.0
_TICKS: Final = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_PER_SECOND: Final = "_per_second"
ENGINE: Final = "seldon_api_executor_server_requests_seconds_count"
_COUNTED: Final = frozenset({ENGINE, "kf_unit_requests_seconds_count"})
"""What engines and units count of every request; some of them only ask how it is."""
_HOW_IT_IS: Final = frozenset(
    {
        *("status", "metadata", "ServerLive", "ServerReady", "ServerMetadata", "ModelReady", "ModelMetadata"),
        *("server_live", "server_ready", "server_metadata", "model_ready", "model_metadata", "GetModelMetadata"),
    }
)
REQUESTS: Final = frozenset({"requests_per_second", "http_requests_per_second"})
"""Names for the predictions that a pod of an endpoint is asked for; others are of counters or gauges of the pod."""

Sample = tuple[float, dict[str, float]]
Answers = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]


class Pages(Protocol):
    """What ports of pods answer."""

    def page(self, pod: Obj, port: int, path: str) -> Awaitable[str]:
        """The answer to a GET."""


class Meter:
    """Answers ``{"measure": {"pods": [[namespace, name, uid]], "rates": [name], "idle": false}}``.

    With ``idle`` also the seconds since a pod was last seen to have had a request, or was first looked at.

    Args:
        view: the cluster.
        pods: the folder in which the node keeps pods.
        pages: reads pods' pages of metrics.
        others: answers every other question.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        view: View,
        pods: Path,
        pages: Pages,
        *,
        others: Answers | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._view, self._pods, self._pages, self._clock = view, pods, pages, clock
        self._others = others
        self._samples: dict[str, deque[Sample]] = {}
        self._heard: dict[str, tuple[float, float, float]] = {}  # last look, requests, since when so many

    async def __call__(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer: by uid, what is known of each pod; another question is passed on.

        Raises:
            ClusterError: nobody answers such a question.
        """
        asked = question.get("measure")
        if asked is None:
            if self._others is None:
                raise ClusterError("nobody answers this question")
            return await self._others(question)
        now, rates = self._clock(), [str(one) for one in asked["rates"]]
        self._forget(now)
        measure = self._idle if asked.get("idle") else self._measure
        known = await asyncio.gather(*(measure(now, pod, rates) for pod in asked["pods"]))
        return {"pods": {pod[2]: seen for pod, seen in zip(asked["pods"], known, strict=True) if seen}}

    def _forget(self, now: float) -> None:
        self._samples = {uid: seen for uid, seen in self._samples.items() if now - seen[-1][0] < _KEPT}
        self._heard = {uid: heard for uid, heard in self._heard.items() if now - heard[0] < _KEPT}

    async def _idle(self, now: float, pod: Sequence[str], _rates: list[str]) -> dict[str, Any]:
        namespace, name, uid = pod
        found = self._view.get(kinds.POD, namespace, name)
        page = await self._counted(found) if found is not None else ""
        requests = _requests(page)
        if requests is None:
            return {}
        _, before, since = self._heard.get(uid, (now, requests, now))
        self._heard[uid] = (now, requests, since if requests == before else now)
        return {"idle": round(now - self._heard[uid][2], 3)}

    async def _measure(self, now: float, pod: Sequence[str], rates: list[str]) -> dict[str, Any]:
        namespace, name, uid = pod
        seen = self._samples.setdefault(uid, deque())
        if not seen or now - seen[-1][0] >= PERIOD:
            values = await asyncio.to_thread(used, self._pods / uid)
            found = self._view.get(kinds.POD, namespace, name)
            if rates and found is not None:
                values |= _named(rates, await self._counted(found))
            while len(seen) > 1 and now - seen[1][0] > _WINDOW:
                seen.popleft()
            seen.append((now, values))
        return _told(seen, rates)

    async def _counted(self, pod: Obj) -> str:
        found = [
            (int(port["containerPort"]), _path(container))
            for container in (pod.get("spec") or {}).get("containers") or ()
            for port in container.get("ports") or ()
            if port.get("name") == "metrics"
        ]
        texts = await asyncio.gather(*(self._page(pod, *one) for one in found))
        return "\n".join(texts)

    async def _page(self, pod: Obj, port: int, path: str) -> str:
        try:
            return await asyncio.wait_for(self._pages.page(pod, port, path), _PATIENCE)
        except (OSError, ValueError, TimeoutError):  # it is on its way in or out: what is not known is left out
            return ""


def _told(seen: deque[Sample], rates: list[str]) -> dict[str, Any]:
    (last, values), (first, before) = seen[-1], seen[0]
    told: dict[str, Any] = {}
    if "memory" in values:
        told["memory"] = values["memory"]
    grown = {
        key: max(0.0, value - before[key]) / (last - first)
        for key, value in values.items()
        if last > first and key in before
    }
    if "cpu" in grown:
        told["cpu"] = round(grown["cpu"], 4)
    told["rates"] = {
        name: round(grown[name] if _is_rate(name) else values[name], 4)
        for name in rates
        if name in (grown if _is_rate(name) else values)
    }
    return told


def _requests(page: str) -> float | None:
    """All requests that a page tells of, but for those of who only looks; None for a page of nobody who counts."""
    if not page:
        return None
    samples = [one for family in text_string_to_metric_families(page) for one in family.samples]
    return sum(
        one.value
        for one in samples
        if one.name in _COUNTED and not {one.labels.get("method"), one.labels.get("service")} & _HOW_IT_IS
    )


def _is_rate(name: str) -> bool:
    return name.endswith(_PER_SECOND)


def _path(container: Mapping[str, Any]) -> str:
    given = {str(one.get("name")): str(one.get("value")) for one in container.get("env") or ()}
    return given.get("PREDICTIVE_UNIT_METRICS_ENDPOINT", "/prometheus")


def _named(wanted: Iterable[str], page: str) -> dict[str, float]:
    """The counter behind each rate, and each gauge, added up over its labels."""
    samples = [one for family in text_string_to_metric_families(page) for one in family.samples]
    found: dict[str, float] = {}
    for name in wanted:
        if name in REQUESTS:
            values = [one.value for one in samples if one.name == ENGINE and one.labels.get("service") == "predictions"]
            # Before the first request there is no such counter, and the page is there all the same.
            values = values or ([0.0] if samples else [])
        else:
            stem = name.removesuffix(_PER_SECOND)
            names = {stem, f"{stem}_total", f"{stem}_count"} if _is_rate(name) else {name}
            values = [one.value for one in samples if one.name in names]
        if values:
            found[name] = sum(values)
    return found


def used(folder: Path) -> dict[str, float]:
    """Seconds of CPU and bytes of memory of what runs in a pod's folder; empty where nothing does."""
    pids: list[int] = []
    for path in folder.glob("containers/*/*/run.json"):
        if path.with_name("exit.json").exists() and path.with_name("exit.json").stat().st_size:
            continue
        try:
            held = json.loads(path.read_bytes())["supervisor"]
            if supervisor.start_time(int(held["pid"])) == held["starttime"]:
                pids += supervisor.tree(int(held["pid"]))
        except (OSError, ValueError, KeyError, TypeError):  # it begins or ends in this moment
            continue
    if not pids:
        return {}
    return {"cpu": sum(map(_seconds, pids)), "memory": float(supervisor.memory(pids))}


def _seconds(pid: int) -> float:
    """User and system time of a process and of the children that it has waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / _TICKS
    except (OSError, ValueError, IndexError):
        return 0.0
