"""Addresses and ports given out on this node, and to whom: one entry for each pod's name, kept while peers know it.

A replica's port is never the declared one, nor is that of a server which is told where to listen: other programs, and
the clusters of other data folders on this machine, use those numbers too, and whoever listens there would be taken for
the replica. It is chosen by a hash of data folder, pod and port, so clusters rarely want the same, and is tried for
real when it is given and again when a container starts. Once a peer's process has been told, it stays: a pod that is
made again under its name gets it back, and a container whose port somebody else has by then is refused, since its peers
would talk to the wrong program.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf import names
from jupyterlab_kf.embedded import addresses
from jupyterlab_kf.embedded.addresses import Endpoint
from jupyterlab_kf.embedded.kubelet import states
from jupyterlab_kf.embedded.kubelet.listening import ports_of
from jupyterlab_kf.errors import KubeflowError
from jupyterlab_kf.model import Obj, labels, meta

JOB_LABEL: Final = "training.kubeflow.org/job-name"
EPHEMERAL: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


class PortTakenError(KubeflowError):
    """Somebody else listens on a port that the replica's peers have been told."""


@dataclass(slots=True)
class _Entry:
    """What one pod's name has, and who holds it.

    ``told`` is set once a process other than the replica's own knows it.
    """

    endpoint: Endpoint
    uid: str
    group: str
    told: bool = False


class Book:
    """What has been given out.

    Args:
        folder: the cluster's own folder, which tells its choices from those of other clusters.
        shared: all pods have 127.0.0.1, so every declared port moves.
        headless: whether a headless Service selects a pod.
        free: whether a server could have a port at an address now.
        told: the declared ports of a pod at which its programs listen only because they are told so.
    """

    def __init__(
        self,
        folder: Path,
        *,
        shared: bool,
        headless: Callable[[Obj], bool],
        free: Callable[[int, str], bool],
        told: Callable[[Obj], Collection[int]],
    ) -> None:
        self._seed = str(folder)
        self._shared = shared
        self._headless = headless
        self._free = free
        self._told = told
        self._range = port_range(EPHEMERAL)
        self._entries: dict[tuple[str, str], _Entry] = {}

    def of(self, pod: Obj, *, asked_by: str = "") -> Endpoint:
        """The pod's address and its ports that are elsewhere than declared; given out when first asked for.

        Args:
            pod: whose.
            asked_by: uid of the pod whose process will know it from now on; empty for the node itself.
        """
        uid, key = str(meta(pod).get("uid")), _key(pod)
        entry = self._entries.get(key)
        if entry is None or (entry.uid != uid and set(entry.endpoint.ports) - set(declared(pod))):
            if (pod.get("status") or {}).get("phase") in states.FINAL:
                return Endpoint(_told_ip(pod) or addresses.LOOPBACK, _told_ports(pod))
            entry = self._entries[key] = _Entry(self._give(pod), uid, _group(pod))
        elif (pod.get("status") or {}).get("phase") not in states.FINAL:
            entry.uid = uid
        entry.told = entry.told or bool(asked_by and (asked_by != uid or len(states.containers(pod)) > 1))
        return entry.endpoint

    def _give(self, pod: Obj) -> Endpoint:
        ip = self._ip(pod)
        return Endpoint(ip, self._ports(pod, ip))

    def _ip(self, pod: Obj) -> str:
        taken = {entry.endpoint.ip for entry in self._entries.values()}
        return addresses.LOOPBACK if self._shared else addresses.pod_ip(*_key(pod), taken)

    def _ports(self, pod: Obj, ip: str) -> dict[int, int]:
        ports = declared(pod)
        everything = self._shared or is_replica(pod) or _movable(pod)
        moves = ports if everything else self._told(pod)
        known = ports if self._headless(pod) else [port for port in ports if port in moves]
        if not known:
            return {}
        used = {
            port for key, entry in self._entries.items() if key != _key(pod) for port in entry.endpoint.ports.values()
        }

        def free(port: int) -> bool:
            return port not in used and (port in known or port not in ports) and self._free(port, ip)

        seed = f"{self._seed}/{'/'.join(_key(pod))}"
        return addresses.give_ports(known, free, seed, move=moves, within=self._range)

    def claim(self, pod: Obj, container: Mapping[str, Any]) -> bool:
        """A container is about to start: its ports must be free. Whether others were given, which nobody knew yet.

        Containers of one pod know each other's ports: from the first one's start on they stay.

        Raises:
            PortTakenError: one is taken, and peers were told that it is the replica's.
        """
        endpoint = self.of(pod)
        entry = self._entries.get(_key(pod))
        together = states.containers(pod)
        if entry is None or container.get("name") not in [one.get("name") for one in together]:
            return False
        mine = ports_of(container) if entry.told else declared(pod)
        wanted = [(port, endpoint.ports[port]) for port in mine if port in endpoint.ports]
        taken = [(port, given) for port, given in wanted if not self._free(given, endpoint.ip)]
        if not taken:
            entry.told = entry.told or len(together) > 1
            return False
        if entry.told:
            port, given = taken[0]
            raise PortTakenError(
                f"port {port} of {meta(pod).get('name')} is port {given} on this machine, as its peers have been told, "
                "and another program has taken it: peers would talk to that program"
            )
        entry.endpoint = replace(endpoint, ports=self._ports(pod, endpoint.ip))
        entry.told = len(together) > 1
        return True

    def restore(self, pod: Obj) -> None:
        """Take up what an earlier daemon gave out, and told; for pods that have ended too, as peers may remain."""
        ip, given = _told_ip(pod), _told_ports(pod)
        ended = (pod.get("status") or {}).get("phase") in states.FINAL
        if not (ip or given) or (ended and _key(pod) in self._entries):
            return
        uid = "" if ended else str(meta(pod)["uid"])
        self._entries[_key(pod)] = _Entry(Endpoint(ip or self._ip(pod), given), uid, _group(pod), told=True)

    def settle(self) -> None:
        """After all were restored: let go of what only ended pods had."""
        for group in {entry.group for entry in self._entries.values()}:
            self._drop(group)

    def release(self, uid: str) -> None:
        """A pod has ended or is gone: its name keeps what it has while peers of its job live."""
        entry = next((e for e in self._entries.values() if e.uid == uid), None)
        if entry:
            entry.uid = ""
            self._drop(entry.group)

    def _drop(self, group: str) -> None:
        members = [key for key, entry in self._entries.items() if entry.group == group]
        if not any(self._entries[key].uid for key in members):
            for key in members:
                del self._entries[key]


def _key(pod: Obj) -> tuple[str, str]:
    return str(meta(pod).get("namespace")), str(meta(pod).get("name"))


def _movable(pod: Obj) -> bool:
    """Whether it says that its program is told where to listen."""
    return (meta(pod).get("annotations") or {}).get(names.ANNOTATION_MOVABLE) == "true"


def _group(pod: Obj) -> str:
    """Pods that may know each other's ports: those of one job; else the pod alone."""
    namespace, name = _key(pod)
    job = labels(pod).get(JOB_LABEL)
    return f"{namespace}/job/{job}" if job else f"{namespace}/pod/{name}"


def _told_ip(pod: Obj) -> str:
    return str((pod.get("status") or {}).get("podIP") or "")


def _told_ports(pod: Obj) -> dict[int, int]:
    """What the object says that it was given."""
    told = json.loads((meta(pod).get("annotations") or {}).get(names.ANNOTATION_PORTS) or "{}")
    return {int(port): int(given) for port, given in told.items()}


def declared(pod: Obj) -> list[int]:
    """The TCP ports of the pod's containers."""
    return [port for container in states.containers(pod) for port in ports_of(container)]


def is_replica(pod: Obj) -> bool:
    """Whether it belongs to a training job."""
    return JOB_LABEL in labels(pod)


def moved(endpoint: Endpoint) -> dict[str, int]:
    """What the annotation on the pod says: every given port that is not the declared one."""
    return {str(port): given for port, given in endpoint.ports.items() if port != given}


def port_range(ephemeral: Path) -> tuple[int, int]:
    """Ports that the system does not take for outgoing connections."""
    try:
        low, high = (int(word) for word in ephemeral.read_text().split())
    except (OSError, ValueError):
        return addresses.PORT_RANGE
    return addresses.outside(low, high)


def is_free(port: int, host: str = "") -> bool:
    """Whether a server could have the port now, at every address of the machine and at this one."""
    return all(_can_bind(port, address) for address in dict.fromkeys(("0.0.0.0", host or "0.0.0.0")))  # noqa: S104


def _can_bind(port: int, host: str) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def has_address(host: str) -> bool:
    """Whether this machine can listen at an address."""
    return _can_bind(0, host)
