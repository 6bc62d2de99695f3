"""The two clusters of the contract suite as fixtures; sites.py tells what they are."""

from __future__ import annotations

from fixtures import mpi_cluster, node_cluster, real_cluster
from sites import ctl, place, site

__all__ = ["ctl", "mpi_cluster", "node_cluster", "place", "real_cluster", "site"]
