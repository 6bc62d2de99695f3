"""What a unit counts: its user's own metrics, rewards, and requests; told in Prometheus' text form.

A count is a change of a dictionary, nothing more, since it happens at each request. Families are made when somebody
asks. Each worker tells its own samples, with its id as a label, as Seldon's wrapper does; ``merged`` joins their texts.
"""

from __future__ import annotations

import bisect
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from .messages import Refusal

# Seconds. Those of Seldon's executor, and three finer ones below: a unit answers faster than a graph.
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
REQUESTS = "kf_unit_requests_seconds"
FEEDBACK = "seldon_api_model_feedback"
REWARD = "seldon_api_model_feedback_reward"
TYPES = ("COUNTER", "GAUGE", "TIMER")
Key = tuple[str, tuple[tuple[str, str], ...]]


class Histogram:
    """How many values fell under each bound."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one value."""
        self.counts[bisect.bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds

    def cumulated(self) -> Iterator[tuple[str, int]]:
        """Upper bounds and the number of values up to each."""
        below = 0
        for bound, count in zip((*map(str, BUCKETS), "+Inf"), self.counts, strict=True):
            below += count
            yield bound, below


class Metrics:
    """The metrics of one worker."""

    def __init__(self, labels: Mapping[str, str] | None = None) -> None:
        self.labels = dict(labels or {})
        self.counters: dict[Key, float] = {}
        self.gauges: dict[Key, float] = {}
        self.timers: dict[Key, Histogram] = {}
        self.requests: dict[tuple[str, int], Histogram] = {}
        self._lock = threading.Lock()

    def request(self, method: str, code: int, seconds: float) -> None:
        """Count one request."""
        found = self.requests.get((method, code))
        if found is None:
            found = self.requests[method, code] = Histogram()
        found.add(seconds)

    def update(self, metrics: Sequence[Mapping[str, Any]], method: str) -> None:
        """Take in the metrics that a user's class gave; TIMERs are milliseconds."""
        for metric in metrics:
            tags = dict(metric.get("tags") or {}) | {"method": method}
            key = str(metric["key"]), tuple(sorted((str(name), str(tag)) for name, tag in tags.items()))
            kind, value = metric["type"], float(metric["value"])
            with self._lock:  # calls may run in several threads
                if kind == "COUNTER":
                    self.counters[key] = self.counters.get(key, 0.0) + value
                elif kind == "GAUGE":
                    self.gauges[key] = value
                else:
                    self.timers.setdefault(key, Histogram()).add(value / 1000)

    def reward(self, reward: float) -> None:
        """Count a feedback and its reward."""
        if reward:
            counts = ((FEEDBACK, 1.0), (REWARD, reward))
            self.update([{"type": "COUNTER", "key": key, "value": value} for key, value in counts], "feedback")

    def collect(self) -> Iterable[Any]:
        """The families, as prometheus_client asks for them."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        own = self.labels | {"worker_id": str(os.getpid())}
        families: dict[str, Any] = {}

        def family(made: type[Any], name: str, tags: Iterable[tuple[str, str]]) -> tuple[Any, list[str]]:
            labels = own | dict(tags)
            # One family a name and set of labels: a class may tag a metric in one way today and in another tomorrow.
            found = families.setdefault(f"{name} {','.join(sorted(labels))}", None)
            if found is None:
                found = families[f"{name} {','.join(sorted(labels))}"] = made(name, "", labels=sorted(labels))
            return found, [labels[label] for label in sorted(labels)]

        for kind, values in ((CounterMetricFamily, self.counters), (GaugeMetricFamily, self.gauges)):
            for (name, tags), value in list(values.items()):
                one, labels = family(kind, name, tags)
                one.add_metric(labels, value)
        timers = [*self.timers.items()]
        for (method, code), histogram in list(self.requests.items()):
            timers.append(((REQUESTS, (("code", str(code)), ("method", method))), histogram))
        for (name, tags), histogram in timers:
            one, labels = family(HistogramMetricFamily, name, tags)
            one.add_metric(labels, buckets=list(histogram.cumulated()), sum_value=histogram.total)
        return families.values()

    def text(self) -> bytes:
        """Prometheus' text form."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry)


def merged(texts: Iterable[bytes]) -> bytes:
    """What several workers tell as one text: each family once, with the samples of all."""
    heads: dict[str, list[str]] = {}
    samples: dict[str, list[str]] = {}
    for text in texts:
        name = ""
        for line in text.decode().splitlines():
            if line.startswith("# HELP "):
                name = line.split(" ", 3)[2]
                heads.setdefault(name, [])
                samples.setdefault(name, [])
            if not line.startswith("#"):
                samples[name].append(line)
            elif line not in heads[name]:
                heads[name].append(line)
    lines = [line for name, head in heads.items() for line in (*head, *samples[name])]
    return ("\n".join(lines) + "\n").encode() if lines else b""


def checked(metrics: object) -> list[dict[str, Any]]:
    """A user's metrics, or a refusal that shows the one that is wrong."""
    if not isinstance(metrics, list):
        raise Refusal(f"metrics() must return a list, not {metrics!r}", code=500, reason="MICROSERVICE_BAD_METRIC")
    for metric in metrics:
        good = isinstance(metric, dict) and {"key", "type", "value"} <= metric.keys() and metric["type"] in TYPES
        if not good or isinstance(metric["value"], bool | str) or not hasattr(metric["value"], "__float__"):
            raise Refusal(
                f"a metric is {{'type': 'COUNTER' | 'GAUGE' | 'TIMER', 'key': ..., 'value': a number}}, not {metric!r}",
                code=500,
                reason="MICROSERVICE_BAD_METRIC",
            )
    return metrics
