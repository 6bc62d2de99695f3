"""What an endpoint's versions measured of their requests: counts, errors, latencies, rewards.

Read from the engines' and units' own pages of metrics, through the API server, and added up over the pods of a version.
The names are Seldon's. What a pod that is gone had measured is gone with it; Prometheus remembers, this does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import ApiError, UnreachableError
from jupyterlab_kf.manifests import endpoints
from jupyterlab_kf.model import Obj, meta
from jupyterlab_kf.services.serving import states

SERVER: Final = "seldon_api_executor_server_requests_seconds"
FEEDBACK: Final = "seldon_api_model_feedback"
REWARD: Final = "seldon_api_model_feedback_reward"
COPIES: Final = "kf_payload_log_copies_total"
_PULLS: Final = "kf_router_pulls"
_HEARD: Final = "kf_router_feedback"
_SUM: Final = "kf_router_reward_sum"
_MEAN: Final = "kf_router_reward_mean"
_ENGINE: Final = "seldon-container-engine"
_SUCCESS: Final = "2"


@dataclass(frozen=True, slots=True)
class Branch:
    """How a branch of a router that learns does: how often it was chosen, told of, and its mean reward."""

    chosen: int = 0
    feedbacks: int = 0
    reward: float | None = None


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a branch of a router did between two looks: choices per second, and its mean reward since it began."""

    rate: float
    reward: float | None = None


@dataclass(frozen=True, slots=True)
class Measures:
    """What one version measured.

    Attributes:
        requests: predictions that were asked for.
        errors: those of them that were not answered with success.
        seconds: quantile to the seconds that a prediction took within its pod, by interpolation between buckets.
        feedbacks: how many feedbacks came.
        reward: the sum of their rewards.
        own: the metrics that the model's own code made, by name.
        buckets: upper bound of seconds to how many predictions took at most so long.
        lost: copies of payloads that did not reach the monitor.
        branches: branch of a router that learns to how it does, by the branches' names.
    """

    requests: int = 0
    errors: int = 0
    seconds: Mapping[float, float] = field(default_factory=dict)
    feedbacks: int = 0
    reward: float = 0.0
    own: Mapping[str, float] = field(default_factory=dict)
    buckets: Mapping[float, float] = field(default_factory=dict, repr=False)
    lost: int = 0
    branches: Mapping[str, Branch] = field(default_factory=dict)

    @property
    def mean_reward(self) -> float | None:
        """The reward of a feedback; None without any."""
        return self.reward / self.feedbacks if self.feedbacks else None


@dataclass(frozen=True, slots=True)
class Moment:
    """What a version did between two looks.

    Attributes:
        rate: predictions asked for, per second.
        errors: those of them that failed, per second.
        p50: seconds within which half of them were done; None where there were none.
        p95: seconds within which 95 of 100 were done.
        p99: seconds within which 99 of 100 were done.
        reward: the mean of all rewards that were told so far; None without any.
        branches: what the branches of its router did, where it has one that learns.
    """

    rate: float
    errors: float
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    reward: float | None = None
    branches: Mapping[str, Chosen] = field(default_factory=dict)


def between(before: Measures, after: Measures, seconds: float) -> Moment | None:
    """What happened from one look to the next; None where that cannot be told, as a pod's count has begun anew."""
    if after.requests < before.requests or after.errors < before.errors or seconds <= 0:
        return None
    fresh = {bound: max(0.0, count - before.buckets.get(bound, 0.0)) for bound, count in after.buckets.items()}
    return Moment(
        rate=(after.requests - before.requests) / seconds,
        errors=(after.errors - before.errors) / seconds,
        p50=quantile(fresh, 0.5),
        p95=quantile(fresh, 0.95),
        p99=quantile(fresh, 0.99),
        reward=after.mean_reward,
        branches={
            name: Chosen(max(0, now.chosen - before.branches.get(name, Branch()).chosen) / seconds, now.reward)
            for name, now in after.branches.items()
        },
    )


async def read(client: Client, endpoint: Obj) -> dict[str, Measures]:
    """Version to what it measured."""
    head = meta(endpoint)
    space = str(head["namespace"])
    found = await client.list(kinds.POD, space, selector=endpoints.pod_selector(str(head["name"])))
    versions = list(endpoints.versions(endpoint))
    targets = [(name, pod) for name in versions for pod in states.pods_of(name, found)]
    pages = await asyncio.gather(*(_pages(client, space, pod) for _, pod in targets))
    by_version: dict[str, list[str]] = {name: [] for name in versions}
    for (name, _), texts in zip(targets, pages, strict=True):
        by_version[name] += texts
    return {name: measured(texts) for name, texts in by_version.items()}


async def _pages(client: Client, namespace: str, pod: Obj) -> list[str]:
    """The metrics of a pod's containers that have a port for them; the engine's stands for those that run in it."""
    wanted = []
    for container in (pod.get("spec") or {}).get("containers") or ():
        named = {str(one.get("name")): int(one["containerPort"]) for one in container.get("ports") or ()}
        if "metrics" in named:
            path = "/prometheus" if container.get("name") == _ENGINE else _path(container)
            wanted.append((named["metrics"], path))
    texts = await asyncio.gather(*(_page(client, namespace, str(meta(pod)["name"]), *one) for one in wanted))
    return [text for text in texts if text]


def _path(container: Mapping[str, object]) -> str:
    env = container.get("env")
    given = {str(one.get("name")): str(one.get("value")) for one in env} if isinstance(env, list) else {}
    return given.get("PREDICTIVE_UNIT_METRICS_ENDPOINT", "/prometheus")


async def _page(client: Client, namespace: str, pod: str, port: int, path: str) -> str:
    try:
        reply = await client.proxy(namespace, pod, port, path, pod=True, seconds=5.0)
    except (ApiError, UnreachableError):  # it is on its way out, or may not be looked at
        return ""
    return reply.content.decode(errors="replace") if reply.status < 400 else ""  # noqa: PLR2004  success


def measured(texts: Iterable[str]) -> Measures:
    """Pages of metrics, added up."""
    samples = [one for text in texts for family in text_string_to_metric_families(text) for one in family.samples]
    asked = [one for one in samples if one.labels.get("service") == "predictions"]
    counts = [one for one in asked if one.name == f"{SERVER}_count"]
    total = sum(int(one.value) for one in counts)
    good = sum(int(one.value) for one in counts if str(one.labels.get("code", "")).startswith(_SUCCESS))
    told = _feedback(samples)
    heard = [one for one in samples if one.name == f"{SERVER}_count" and one.labels.get("service") == "feedback"]
    buckets = _buckets([one for one in asked if one.name == f"{SERVER}_bucket"])
    return Measures(
        requests=total,
        errors=total - good,
        seconds={q: value for q in (0.5, 0.95, 0.99) if (value := quantile(buckets, q)) is not None},
        # Units count no feedback without a reward; the engine counts all.
        feedbacks=sum(int(one.value) for one in heard) or int(told[0]),
        reward=told[1],
        own=_own(samples),
        buckets=buckets,
        lost=sum(int(one.value) for one in samples if one.name == COPIES and one.labels.get("fate") != "sent"),
        branches=_branches(samples),
    )


def _feedback(samples: Sequence[Sample]) -> tuple[float, float]:
    """How many feedbacks came, and the sum of their rewards. Several units of a graph hear of one: the first of all."""
    found: dict[str, list[float]] = {}
    for one in samples:
        place = {FEEDBACK: 0, REWARD: 1}.get(one.name.removesuffix("_total"))
        if place is not None:
            found.setdefault(one.labels.get("model_name", ""), [0.0, 0.0])[place] += one.value
    heard = max(found.values(), key=lambda pair: pair[0], default=[0.0, 0.0])
    return heard[0], heard[1]


def _branches(samples: Sequence[Sample]) -> dict[str, Branch]:
    """What routers of ours say of their branches; what they choose and hear in several processes is added up.

    Those that learn do so together and know the mean; one that does not tells the sum, in each replica its own.
    """
    found: dict[str, Branch] = {}
    sums: dict[str, float] = {}
    for one in samples:
        name, told = one.labels.get("branch", ""), one.name.removesuffix("_total")
        if name and told == _SUM:
            sums[name] = sums.get(name, 0.0) + one.value
        if not name or told not in (_PULLS, _HEARD, _MEAN):
            continue
        known = found.get(name, Branch())
        found[name] = Branch(
            chosen=known.chosen + (int(one.value) if told == _PULLS else 0),
            feedbacks=known.feedbacks + (int(one.value) if told == _HEARD else 0),
            reward=one.value if told == _MEAN else known.reward,
        )
    means = {name: sums[name] / one.feedbacks for name, one in found.items() if name in sums and one.feedbacks}
    return {name: replace(one, reward=means.get(name, one.reward)) for name, one in found.items()}


def _own(samples: Sequence[Sample]) -> dict[str, float]:
    """What is neither Seldon's nor Python's: counted by the user's code."""
    known = ("seldon_", "kf_unit_", "python_", "process_", "envoy_", "go_")
    found: dict[str, float] = {}
    for one in samples:
        if "model_name" in one.labels and not one.name.startswith(known) and not one.name.endswith("_created"):
            found[one.name] = found.get(one.name, 0.0) + one.value
    return found


def _buckets(samples: Iterable[Sample]) -> dict[float, float]:
    """Upper bound to how many took at most so long."""
    found: dict[float, float] = {}
    for one in samples:
        bound = float(one.labels["le"])
        found[bound] = found.get(bound, 0.0) + one.value
    return found


def quantile(buckets: Mapping[float, float], share: float) -> float | None:
    """The seconds within which a share of the requests was done, as Prometheus reckons it; None without requests."""
    bounds = sorted(buckets)
    if not bounds or not buckets[bounds[-1]]:
        return None
    wanted = share * buckets[bounds[-1]]
    low, below = 0.0, 0.0
    for bound in bounds:
        count = buckets[bound]
        if count >= wanted:
            if bound == float("inf"):
                return low
            return low + (bound - low) * ((wanted - below) / ((count - below) or 1.0))
        low, below = bound, count
    return low
