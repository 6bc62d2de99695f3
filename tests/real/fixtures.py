"""Real clusters as fixtures: started once a session when a test asks for one, ended at its end.

What cannot run here is skipped with the reason; with ``KF_REQUIRE_REAL=1`` that is a failure. Nothing is built here
(``make provision`` or ``make real-cluster`` does).
"""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable, Iterator

import pytest
from bed.api import ApiStatusError, until
from bed.cluster import RealCluster
from needs import tool

FRAMEWORKS = ("mpi", "serving", "kernel", "gateway")
"""Images that the real node has besides: one layer of the second is the first."""


@pytest.fixture(scope="session")
def real_cluster() -> Iterator[RealCluster]:
    """Control plane, simulated nodes, the training operator 1.8.1, and the definitions in the folder ``KF_CRDS``."""
    cluster = tool(lambda: RealCluster.start("training", crds=os.environ.get("KF_CRDS", "")))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def mpi_cluster() -> Iterator[RealCluster]:
    """Control plane, simulated nodes and the MPI operator 0.6.0 (MPIJob v2beta1)."""
    cluster = tool(lambda: RealCluster.start("mpi", operator="mpi"))
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def node_cluster() -> Iterator[RealCluster]:
    """Control plane, training operator 1.8.1, further definitions, and one real node, which runs what it is given."""
    crds = os.environ.get("KF_CRDS", "")
    cluster = tool(lambda: RealCluster.start("node", with_node=True, nodes=1, frameworks=FRAMEWORKS, crds=crds))
    yield cluster
    cluster.stop()


@pytest.fixture
def namespace() -> Iterator[Callable[[RealCluster], str]]:
    """Makes a namespace of the test's own, whose service account is there; all are deleted afterwards."""
    made: list[tuple[RealCluster, str]] = []

    def make(cluster: RealCluster) -> str:
        name = f"test-{uuid.uuid4().hex[:8]}"
        api = cluster.api
        api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        made.append((cluster, name))

        def there() -> bool:
            with contextlib.suppress(ApiStatusError):
                return bool(api.get("v1", "ServiceAccount", "default", name))
            return False

        until(there, seconds=60, what="the namespace's service account")
        return name

    yield make
    for cluster, name in made:
        cluster.api.delete("v1", "Namespace", name, "")
