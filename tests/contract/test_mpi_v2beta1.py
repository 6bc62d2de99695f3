"""An MPIJob of mpi-operator's own version, made by kubectl: real ranks meet, and both versions show one list.

On the embedded cluster alone: the real mpi-operator's cluster has simulated nodes, on which no ranks run
(tests/real/test_record.py).
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable

import pytest

Kubectl = Callable[..., subprocess.CompletedProcess[str]]

MANIFEST = """
apiVersion: kubeflow.org/v2beta1
kind: MPIJob
metadata: {name: pi}
spec:
  slotsPerWorker: 1
  runPolicy: {cleanPodPolicy: Running}
  mpiReplicaSpecs:
    Launcher:
      replicas: 1
      template:
        spec:
          containers:
          - name: launcher
            image: jupyterlab-kf/mpi:1
            command: [mpirun, -n, "2", python3, -c]
            args: ["from mpi4py import MPI as m; print('sum', m.COMM_WORLD.allreduce(m.COMM_WORLD.rank + 1))"]
    Worker:
      replicas: 2
      template: {spec: {containers: [{name: worker, image: jupyterlab-kf/mpi:1}]}}
"""


@pytest.mark.framework
def test_ranks_of_a_v2beta1_job_meet(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=MANIFEST)
    kubectl("wait", "--for=condition=Succeeded", "mpijobs.v2beta1.kubeflow.org/pi", "--timeout=300s", timeout=310)
    assert kubectl("logs", "job/pi-launcher").stdout.split() == ["sum", "3", "sum", "3"]
    assert "pi" in kubectl("get", "mpijobs").stdout
    kubectl("delete", "mpijobs.v2beta1.kubeflow.org", "pi")
