"""That a job which cannot run is explained, on a real cluster and on the embedded one, with the same cause and words.

The words are those recorded in ``tests/golden/explain``; amounts, counts and a runtime's own text differ.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bed import operators
from bed.api import until
from bed.cluster import RealCluster
from situations import SITUATIONS, Situation, Stage
from stages import GOLDEN, OPERATOR, embedded, on_node, pattern, simulated

from jupyterlab_kf.embedded import daemon
from jupyterlab_kf.errors import InvalidError, OperatorAwayError
from jupyterlab_kf.model import Cause, Obj
from jupyterlab_kf.settings import load

REAL = [one for one in SITUATIONS if one.needs in ("any", "real") and one.cause is not Cause.NODE_LOST]
ON_NODE = [one for one in SITUATIONS if one.needs in ("node", "real-node")]
EMBEDDED = [one for one in SITUATIONS if one.needs in ("any", "node", "embedded")]
PLAIN = Situation("plain", Cause.OTHER, "real")
# What a runtime says of a program that it cannot start is its own.
OWN_WORDS = {Cause.CANNOT_START, Cause.IMAGE_PULL}


def named(situations: list[Situation]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("situation", situations, ids=lambda one: one.name)


async def check(stage: Stage, situation: Situation) -> None:
    space = await stage.namespace(f"why-{situation.name}-{uuid.uuid4().hex[:4]}")
    try:
        why = (await stage.play(situation, space)).view().explanation
    finally:
        await stage.drop(space)
    assert why is not None
    path = GOLDEN / f"{situation.name}.json"
    if situation.cause in OWN_WORDS or not path.exists():
        return
    recorded = pattern(json.loads(path.read_text())["sentence"])
    several = why.sentence.replace(" and 1 more each ask", " asks").replace(" and 1 more", "")
    one = recorded.replace(" and N more each ask", " asks").replace(" and N more", "")
    assert pattern(several).replace("worker-N", "master-N") == one.replace("worker-N", "master-N")


@pytest.fixture
async def simulated_stage(real_cluster: RealCluster) -> AsyncIterator[Stage]:
    stage = simulated(real_cluster)
    yield stage
    await stage.client.close()


@pytest.fixture
async def node_stage(node_cluster: RealCluster) -> AsyncIterator[Stage]:
    stage = on_node(node_cluster)
    yield stage
    await stage.client.close()


@pytest.fixture(scope="module")
def embedded_kubeconfig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("embedded")
    options = load({"KF_DATA_DIR": str(folder), "KF_CACHE_DIR": str(load().cache_dir)})
    daemon.start(options)
    yield options.embedded_kubeconfig
    daemon.stop(options)


@pytest.fixture
async def embedded_stage(embedded_kubeconfig: Path) -> AsyncIterator[Stage]:
    stage = embedded(embedded_kubeconfig)
    yield stage
    await stage.client.close()


@named(REAL)
async def test_on_a_real_control_plane(simulated_stage: Stage, situation: Situation) -> None:
    await check(simulated_stage, situation)


@named(ON_NODE)
async def test_on_a_real_node(node_stage: Stage, situation: Situation) -> None:
    await check(node_stage, situation)


@named(EMBEDDED)
async def test_on_the_embedded_cluster(embedded_stage: Stage, situation: Situation) -> None:
    await check(embedded_stage, situation)


async def test_a_submit_while_the_operator_is_away_says_so(simulated_stage: Stage, real_cluster: RealCluster) -> None:
    space = await simulated_stage.namespace(f"away-{uuid.uuid4().hex[:4]}")
    try:
        real_cluster.order("halt", OPERATOR)
        with pytest.raises(OperatorAwayError, match=r"^PyTorchJob \S+/digits was not taken: .* does not answer"):
            await simulated_stage.play(PLAIN, space)
    finally:
        real_cluster.order("resume", OPERATOR)
        until(lambda: operators.ready(real_cluster.plan, real_cluster.api), seconds=90, what="the operator")
        await simulated_stage.drop(space)


async def test_a_submit_that_the_operator_refuses_says_what_is_wrong(simulated_stage: Stage) -> None:
    space = await simulated_stage.namespace(f"refused-{uuid.uuid4().hex[:4]}")

    def two_masters(job: Obj) -> None:
        job["spec"]["pytorchReplicaSpecs"]["Master"]["replicas"] = 2

    try:
        with pytest.raises(InvalidError, match=r"refuses PyTorchJob \S+/digits: .*replicas: Forbidden: must be 1"):
            await simulated_stage.play(replace(PLAIN, change=two_masters), space)
    finally:
        await simulated_stage.drop(space)
