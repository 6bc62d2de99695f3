"""What one cluster consists of and where it keeps things: written once by whoever starts it, read by its processes."""

from __future__ import annotations

import dataclasses
import json
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# The node's side of its bridge: the address of the API server, the kubelet and the cluster DNS as pods see them. It
# exists in the node's own network only, so every cluster has the same.
NODE_ADDRESS = "10.244.0.1"
POD_NETWORK = "10.244.0.0/24"
SERVICE_NETWORK = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
NODE_NAME = "real-0"
NODE_LABEL = "jupyterlab-kf.io/node"
OPERATORS = ("training", "mpi", "none")
_PORTS = ("etcd", "etcd-peer", "api", "webhook", "probe", "metrics")


@dataclass(frozen=True)
class Plan:
    """A cluster, before it runs."""

    name: str
    folder: Path
    """State, credentials and logs; removed when the cluster is stopped."""
    sockets: Path
    """A folder with a short path: a Unix socket's path has a hundred characters."""
    operator: str
    """``training`` (1.8.1, MPIJob v1), ``mpi`` (0.6.0, MPIJob v2beta1) or ``none``."""
    node: bool
    """Whether a real node runs beside the simulated ones."""
    simulated: int
    """The number of simulated nodes."""
    binaries: dict[str, Path]
    """The folders of :mod:`bed.binaries`, by set."""
    images: tuple[Path, ...] = ()
    """The image archives that the real node starts with."""
    crds: tuple[Path, ...] = ()
    """Files of further CustomResourceDefinitions."""
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def pki(self) -> Path:
        """Keys and certificates."""
        return self.folder / "pki"

    @property
    def logs(self) -> Path:
        """One log per program, and the audit log."""
        return self.folder / "logs"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log, one JSON object a line."""
        return self.logs / "audit.log"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.folder / "kubeconfig"

    @property
    def server(self) -> str:
        """The API server's address on this machine."""
        return f"https://127.0.0.1:{self.ports['api']}"

    @property
    def cgroup(self) -> str:
        """The name of the real node's group in each cgroup hierarchy."""
        return f"kf-real-{self.sockets.name}"

    def component_kubeconfig(self, component: str) -> Path:
        """The kubeconfig of one component, with its own name and rights."""
        return self.pki / f"{component}.kubeconfig"

    def write(self) -> Path:
        """Save it in its folder."""
        path = self.folder / "plan.json"
        path.write_text(json.dumps(dataclasses.asdict(self), default=str, indent=1))
        return path

    @classmethod
    def read(cls, path: Path) -> Plan:
        """What :meth:`write` has saved."""
        raw: dict[str, Any] = json.loads(path.read_text())
        raw["folder"], raw["sockets"] = Path(raw["folder"]), Path(raw["sockets"])
        raw["binaries"] = {name: Path(folder) for name, folder in raw["binaries"].items()}
        raw["images"] = tuple(Path(item) for item in raw["images"])
        raw["crds"] = tuple(Path(item) for item in raw["crds"])
        return cls(**raw)


def free_ports() -> dict[str, int]:
    """A free loopback port for everything that listens; all are held until all are found, so that they differ."""
    held = {name: socket.create_server(("127.0.0.1", 0)) for name in _PORTS}
    ports = {name: int(sock.getsockname()[1]) for name, sock in held.items()}
    for sock in held.values():
        sock.close()
    return ports
