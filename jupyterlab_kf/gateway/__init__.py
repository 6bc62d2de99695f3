"""Envoys that do as Istio's objects say, for whoever knows the objects: on one machine or on a cluster.

Owns Envoy's files (renamed into place, nothing named before it is there), the key sets that they need, what running
Envoys are asked, and what is said on objects about it. What is in the files :mod:`jupyterlab_kf.controllers.istio`
decides. Knows no registry, no client and no process: a :class:`Place` says where an Envoy is.
"""

from jupyterlab_kf.gateway.envoys import program
from jupyterlab_kf.gateway.interest import Interest
from jupyterlab_kf.gateway.telling import SOURCE, Teller
from jupyterlab_kf.gateway.worlds import TRAFFIC, world
from jupyterlab_kf.gateway.writer import LINGER, SETTLE, Place, Writer

__all__ = ["LINGER", "SETTLE", "SOURCE", "TRAFFIC", "Interest", "Place", "Teller", "Writer", "program", "world"]
