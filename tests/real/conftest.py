"""The fixtures of the real clusters, for the tests in this folder."""

from __future__ import annotations

from fixtures import mpi_cluster, namespace, node_cluster, real_cluster

__all__ = ["mpi_cluster", "namespace", "node_cluster", "real_cluster"]

# Models served as real pods. They were seen to pass, and not yet often enough beside other work to be in everybody's
# way: named on the command line they run.
collect_ignore = ["test_serving.py", "test_lifecycle.py"]
