"""Simulated nodes and pods: KWOK plays the kubelet, so a pod of any image runs at once and costs nothing.

A pod ends as its annotations say (``exit-code``, after ``runs-for``); without them it runs until it is deleted, and a
pod of a Job completes at once.
"""

from __future__ import annotations

from pathlib import Path

from bed.api import Api, Obj
from bed.plan import NODE_LABEL, Plan

EXIT_CODE = "real.jupyterlab-kf.io/exit-code"
RUNS_FOR = "real.jupyterlab-kf.io/runs-for"
TAINT: Obj = {"key": NODE_LABEL, "value": "simulated", "effect": "NoSchedule"}
TOLERATION: Obj = {"key": NODE_LABEL, "operator": "Equal", "value": "simulated", "effect": "NoSchedule"}
_MANAGED = "kwok.x-k8s.io/node"
_STAGES = Path(__file__).parent.parent / "manifests" / "stages.yaml"


def command(plan: Plan) -> list[str]:
    """KWOK, playing only the nodes that are marked as its own."""
    folder = plan.binaries["kwok"]
    configuration = [*sorted(folder.glob("*.yaml")), _STAGES]
    return [
        str(folder / "kwok"),
        f"--kubeconfig={plan.component_kubeconfig('kwok')}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={_MANAGED}=fake",
        "--cidr=10.128.0.0/9",
        "--node-ip=10.127.0.1",
        *(f"--config={path}" for path in configuration),
    ]


def node(number: int, *, tainted: bool) -> Obj:
    """One simulated node; where a real one stands beside it, only pods that tolerate it come here."""
    name = f"sim-{number}"
    room = {"cpu": "32", "memory": "256Gi", "pods": "110", "ephemeral-storage": "1Ti"}
    if number == 0:
        room["nvidia.com/gpu"] = "8"
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {_MANAGED: "fake"},
            "labels": {NODE_LABEL: "simulated", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux"},
        },
        "spec": {"taints": [TAINT]} if tainted else {},
        "status": {"capacity": room, "allocatable": room},
    }


def add_nodes(plan: Plan, api: Api) -> None:
    """The plan's simulated nodes."""
    for number in range(plan.simulated):
        api.create(node(number, tainted=plan.node))
