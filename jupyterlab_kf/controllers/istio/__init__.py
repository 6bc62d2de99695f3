"""What Istio knows: its objects to Envoy's configuration.

Pure: :func:`translate` takes a :class:`World` of objects and gives the resources that Envoy reads from files, and a
:class:`Finding` for everything that is not honoured. Istio's defaults and precedence hold, not Envoy's. Nothing is
dropped in silence: ``fields`` knows every field of the definitions, and a value that Envoy would refuse costs the rule
it stands in, never the rest. One gateway serves all: pods have no sidecars here.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field, replace

from jupyterlab_kf.controllers.istio import bootstrap, checks, clusters, fields, listeners, tls, traces
from jupyterlab_kf.controllers.istio.guards import Guards
from jupyterlab_kf.controllers.istio.values import file_of
from jupyterlab_kf.controllers.istio.world import (
    GATEWAY,
    GATEWAY_LABELS,
    ROOT,
    Destination,
    Finding,
    Mesh,
    World,
)
from jupyterlab_kf.model import Obj

__all__ = [
    "GATEWAY",
    "GATEWAY_LABELS",
    "ROOT",
    "Configuration",
    "Destination",
    "Finding",
    "World",
    "bootstrap",
    "endpoints",
    "path_of",
    "traces",
    "translate",
]


@dataclass(frozen=True, slots=True)
class Configuration:
    """What Envoy is to be told.

    Attributes:
        ports: what listens where; see :meth:`listeners`.
        tables: route configurations by name.
        clusters: by name.
        endpoints: by name of the cluster.
        secrets: keys and certificates by name.
        findings: what is not honoured.
        destinations: what is behind the clusters; see :func:`endpoints`.
        keys: addresses of key sets that are needed.
    """

    ports: tuple[listeners.Port, ...]
    tables: Mapping[str, Obj]
    clusters: Mapping[str, Obj]
    endpoints: Mapping[str, Obj]
    secrets: Mapping[str, Obj]
    findings: tuple[Finding, ...]
    destinations: tuple[Destination, ...] = ()
    keys: frozenset[str] = field(default_factory=frozenset)

    def listeners(self, ip: str, moved: Mapping[int, int]) -> list[Obj]:
        """The listeners of a gateway pod: at its address, at the ports that it was given in place of its own."""
        return [listeners.listener(port, ip, moved) for port in self.ports if port.chains]


def translate(world: World, folder: str) -> Configuration:
    """Envoy's configuration for a world; ``folder`` is where its files will lie."""
    refusals = [(obj, found) for obj in _objects(world) if (found := checks.refused(obj))]
    world = _without(world, {id(obj) for obj, _ in refusals})
    mesh = Mesh(world, folder)
    for obj, found in refusals:
        for path, reason in found:
            mesh.say(obj, path, f"{reason}; Istio refuses such an object, so the whole of it is left out")
    guards = Guards(mesh)
    front = listeners.Front(mesh, guards)
    front.write()
    made = {to.cluster: clusters.cluster(mesh, to) for to in sorted(mesh.used)}
    for obj in _objects(world):
        for path, message in fields.unhonoured(obj):
            mesh.say(obj, path, message)
    ports = tuple(port for _, port in sorted(front.ports.items()))
    named = tls.wanted([[port.chains for port in ports], made])
    return Configuration(
        ports=ports,
        tables=front.tables,
        clusters=made,
        endpoints={to.cluster: clusters.assignment(mesh, to) for to in sorted(mesh.used)},
        secrets=tls.secrets(mesh, named),
        findings=tuple(mesh.findings),
        destinations=tuple(sorted(mesh.used)),
        keys=frozenset(mesh.wanted_keys),
    )


def endpoints(world: World, destinations: Iterable[Destination]) -> dict[str, Obj]:
    """The endpoints alone, by name of the cluster: what a pod that came or went changes first."""
    mesh = Mesh(world, "")
    return {to.cluster: clusters.assignment(mesh, to) for to in destinations}


def path_of(folder: str, kind: str, name: str) -> str:
    """The file of a resource that has one of its own: ``rds``, ``eds`` or ``sds``."""
    return file_of(folder, kind, name)


def _objects(world: World) -> list[Obj]:
    return [
        *world.gateways,
        *world.virtual_services,
        *world.destination_rules,
        *world.request_authentications,
        *world.authorization_policies,
        *world.envoy_filters,
        *world.telemetries,
        *world.others,
    ]


def _without(world: World, left_out: Container[int]) -> World:
    """The world without the objects of these identities."""

    def kept(objects: Iterable[Obj]) -> list[Obj]:
        return [obj for obj in objects if id(obj) not in left_out]

    return replace(
        world,
        gateways=kept(world.gateways),
        virtual_services=kept(world.virtual_services),
        destination_rules=kept(world.destination_rules),
        request_authentications=kept(world.request_authentications),
        authorization_policies=kept(world.authorization_policies),
        envoy_filters=kept(world.envoy_filters),
        telemetries=kept(world.telemetries),
    )
