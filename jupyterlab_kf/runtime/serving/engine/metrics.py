"""How long requests and calls took, under the names and labels of Seldon's executor.

Each series is a histogram and a summary, as there: dashboards made for Seldon show ours. Counting is a few list
operations on the event loop's thread (a fifth of what prometheus_client's own types take, and there are two of them
for every call); the text is made when it is asked for. Quantiles are of the last thousand observations.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import REGISTRY, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from .graph import Node

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
QUANTILES = (0.5, 0.75, 0.9, 0.98, 0.99, 1.0)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_RECENT = 1000

SERVER = "seldon_api_executor_server_requests_seconds"
CLIENT = "seldon_api_executor_client_requests_seconds"
_PREDICTOR = ("deployment_name", "predictor_name", "predictor_version", "service")
SERVER_LABELS = (*_PREDICTOR, "method", "code")
CLIENT_LABELS = (*_PREDICTOR, "model_name", "model_image", "model_version", "method", "code")


class _Series:
    """One combination of labels."""

    __slots__ = ("counts", "recent", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BUCKETS) + 1)
        self.total = 0.0
        self.recent: deque[float] = deque(maxlen=_RECENT)

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.total += seconds
        self.recent.append(seconds)


class Timings(Collector):
    """All series of one name."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...]) -> None:
        self._name = name
        self._text = text
        self._labels = labels
        self._series: dict[tuple[str, ...], _Series] = {}

    def observe(self, labels: tuple[str, ...], seconds: float) -> None:
        """Count one that took so long; ``labels`` are the values, in the order of the names."""
        series = self._series.get(labels)
        if series is None:
            series = self._series[labels] = _Series()
        series.add(seconds)

    def collect(self) -> Iterator[Metric]:
        """Both faces of every series."""
        histogram = Metric(self._name, f"A histogram of latencies for {self._text}", "histogram")
        summary = Metric(f"{self._name}_summary", f"A summary of latencies for {self._text}", "summary")
        for values, series in self._series.items():
            labels = dict(zip(self._labels, values, strict=True))
            self._add_histogram(histogram, labels, series)
            self._add_summary(summary, labels, series)
        yield histogram
        yield summary

    def _add_histogram(self, metric: Metric, labels: dict[str, str], series: _Series) -> None:
        below = 0
        for bound, count in zip([*BUCKETS, float("inf")], series.counts, strict=True):
            below += count
            metric.add_sample(f"{self._name}_bucket", labels | {"le": _bound(bound)}, below)
        metric.add_sample(f"{self._name}_sum", labels, series.total)
        metric.add_sample(f"{self._name}_count", labels, below)

    def _add_summary(self, metric: Metric, labels: dict[str, str], series: _Series) -> None:
        ordered = sorted(series.recent)
        for quantile in QUANTILES:
            at = min(int(quantile * len(ordered)), len(ordered) - 1)
            metric.add_sample(metric.name, labels | {"quantile": _bound(quantile)}, ordered[at])
        metric.add_sample(f"{metric.name}_sum", labels, series.total)
        metric.add_sample(f"{metric.name}_count", labels, sum(series.counts))


def _bound(value: float) -> str:
    """As Go writes it, so that series of ours and of Seldon's are the same."""
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) else str(value)


class Branches(Collector):
    """How often the built-in routers chose each branch, and what was told of it: as bandits count it, by sums.

    Args:
        labels: whose they are.
    """

    def __init__(self, labels: dict[str, str]) -> None:
        self._labels = labels
        self._sums: dict[tuple[str, str], list[float]] = {}

    def chosen(self, node: Node, branch: int) -> None:
        """A branch was chosen."""
        self._of(node, branch)[0] += 1

    def told(self, node: Node, branch: int, reward: float) -> None:
        """A feedback was about it."""
        sums = self._of(node, branch)
        sums[1] += 1
        sums[2] += reward

    def _of(self, node: Node, branch: int) -> list[float]:
        return self._sums.setdefault((node.name, node.children[branch].name), [0.0, 0.0, 0.0])

    def collect(self) -> Iterator[Metric]:
        """All sums; rewards may be below zero, so theirs is a gauge."""
        kinds = (("kf_router_pulls", "counter"), ("kf_router_feedback", "counter"), ("kf_router_reward_sum", "gauge"))
        for at, (name, kind) in enumerate(kinds):
            family = Metric(name, "By branch of a router without a server", kind)
            for (router, branch), sums in self._sums.items():
                labels = {**self._labels, "router": router, "branch": branch}
                family.add_sample(f"{name}_total" if kind == "counter" else name, labels, sums[at])
            if self._sums:
                yield family


class Metrics:
    """What the engine counts, and the page that shows it with what units in this process count."""

    def __init__(self, labels: dict[str, str] | None = None) -> None:
        self.server = Timings(SERVER, "executor server", SERVER_LABELS)
        self.client = Timings(CLIENT, "client calls from executor", CLIENT_LABELS)
        self.branches = Branches(labels or {})
        self._own = CollectorRegistry()
        #: What units in this process count, as text.
        self.units: Callable[[], bytes] = bytes
        self._own.register(self.server)
        self._own.register(self.client)
        self._own.register(self.branches)

    def add(self, collector: Collector) -> None:
        """Show this on the page too."""
        self._own.register(collector)

    def page(self, others: Iterable[CollectorRegistry] = (REGISTRY,)) -> bytes:
        """The text that Prometheus reads."""
        return b"".join([*(generate_latest(registry) for registry in (self._own, *others)), self.units()])
