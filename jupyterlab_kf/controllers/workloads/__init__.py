"""Kubernetes' own workload controllers that a machine needs: Jobs, ReplicaSets, Deployments, autoscalers, endpoints.

Each answers with the objects, conditions, events and names of the real kube-controller-manager; volumes and processes
are the node's business.
"""

from __future__ import annotations

from typing import Final

from jupyterlab_kf.controllers import Controller
from jupyterlab_kf.controllers.workloads import autoscaler, deployment, endpoints, job, replicaset, sleeping

__all__ = ["CONTROLLERS"]

CONTROLLERS: Final[tuple[Controller, ...]] = (
    job.CONTROLLER,
    replicaset.CONTROLLER,
    deployment.CONTROLLER,
    endpoints.CONTROLLER,
    autoscaler.CONTROLLER,
    sleeping.CONTROLLER,
)
