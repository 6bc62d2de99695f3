"""The fixtures of the real clusters, for the tests in this folder."""

from __future__ import annotations

from fixtures import mpi_cluster, namespace, node_cluster, real_cluster

__all__ = ["mpi_cluster", "namespace", "node_cluster", "real_cluster"]
