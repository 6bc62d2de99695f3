"""Clusters as stages for situations, and what is kept of a situation once it was seen."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from bed import operators
from bed.api import until
from bed.cluster import RealCluster
from bed.plan import NODE_LABEL
from rights import give
from situations import Situation, Stage, client_of

from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.services.pictures import Picture

GOLDEN = Path(__file__).parents[1] / "golden" / "explain"
HOOKS = ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration")
OPERATOR = "training-operator"


def simulated(cluster: RealCluster) -> Stage:
    """A real control plane with simulated nodes."""
    return Stage.at(cluster.kubeconfig, {"any", "real"}, without=_without(cluster), viewer=_viewer(cluster))


def on_node(cluster: RealCluster) -> Stage:
    """A real node."""
    return Stage.at(cluster.kubeconfig, {"node", "real-node"}, place={"nodeSelector": {NODE_LABEL: "real"}})


def embedded(kubeconfig: Path) -> Stage:
    """The embedded cluster."""
    return Stage.at(kubeconfig, {"any", "node", "embedded"}, image="plain-python")


def _viewer(cluster: RealCluster) -> Callable[[str], AbstractAsyncContextManager[Client]]:
    @asynccontextmanager
    async def viewer(namespace: str) -> AsyncIterator[Client]:
        give(cluster.api, namespace, "onlooker", "viewer")
        client = client_of(cluster.kubeconfig_for("onlooker", namespace=namespace))
        try:
            yield client
        finally:
            await client.close()

    return viewer


def _without(cluster: RealCluster) -> Callable[[str], AbstractContextManager[None]]:
    @contextmanager
    def without(component: str) -> Iterator[None]:
        if not component:
            yield
            return
        api = cluster.api
        # With the operator away its webhooks would refuse the job: here it was never there.
        hooks = api.list(*HOOKS) if component == OPERATOR else []
        cluster.order("halt", component)
        for hook in hooks:
            api.delete(*HOOKS, hook["metadata"]["name"], "")
        try:
            yield
        finally:
            cluster.order("resume", component)
            if component == OPERATOR:
                until(lambda: operators.ready(cluster.plan, api), seconds=90, what="the operator")
            for hook in hooks:
                head = {"name": hook["metadata"]["name"]}
                api.create({**hook, "apiVersion": HOOKS[0], "kind": HOOKS[1], "metadata": head})

    return without


def record(situation: Situation, source: str, picture: Picture) -> dict[str, Any]:
    """What a cluster showed, and what was made of it; enough to explain it again."""
    view = picture.view()
    assert view.explanation is not None
    why = view.explanation
    return {
        "source": source,
        "cause": str(situation.cause),
        "sentence": why.sentence,
        "hint": why.hint,
        "now": view.seen,
        "job": _slim(picture.job),
        "pods": [_slim(pod) for pod in picture.pods.values()],
        "nodes": None if picture.nodes is None else [_slim(node) for node in picture.nodes],
        "events": [dataclasses.asdict(event) for event in picture.events],
        "tails": {name: [dataclasses.asdict(line) for line in lines] for name, lines in picture.tails.items()},
    }


def _slim(obj: dict[str, Any]) -> dict[str, Any]:
    return {**obj, "metadata": {key: value for key, value in obj["metadata"].items() if key != "managedFields"}}


def pattern(sentence: str) -> str:
    """A sentence without what differs from one cluster to another: amounts and counts."""
    text = re.sub(r"no machine has any|the largest machine has .*?(?=[.;]$|$)", "SIZE", sentence)
    text = re.sub(
        r"none of the \d+ machines has|the only machine does not have|\d+ of \d+ machines do(es)? not have",
        "LACK",
        text,
    )
    text = re.sub(r"the only machine|\d+ of \d+ machines", "MACHINES", text)
    text = re.sub(r"\b(is|are|lack|lacks)\b", "VERB", text)
    return re.sub(r"\d[\d.]*", "N", text)
