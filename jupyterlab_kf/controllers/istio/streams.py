"""TCP and TLS routes: connections that are passed on as they are, by the name that a client asks for or by none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from jupyterlab_kf.controllers import support
from jupyterlab_kf.controllers.istio import clusters, routes
from jupyterlab_kf.controllers.istio.values import Unspeakable, duration, typed, without_none
from jupyterlab_kf.controllers.istio.world import Mesh, covers
from jupyterlab_kf.model import Obj

_PROXY: Final = "extensions.filters.network.tcp_proxy.v3.TcpProxy"


def chains_of_streams(
    mesh: Mesh, services: Sequence[Obj], gateway: Obj, server: Mapping[str, Any], ending: Obj | None
) -> list[Obj]:
    """The filter chains of a server that does not look into what it passes on.

    Args:
        mesh: the world.
        services: VirtualServices, the oldest first.
        gateway: whose server it is.
        server: the server.
        ending: the context with which it ends TLS, if it does.
    """
    key = f"{support.namespace(gateway)}/{support.name(gateway)}"
    place = routes.Place(key, int((server.get("port") or {}).get("number") or 0))
    hosts = [str(h).rpartition("/")[2] for h in server.get("hosts") or ()]
    passes = ending is None and bool(server.get("tls"))
    found: list[Obj] = []
    for service in services:
        if key not in _gateways(service):
            continue
        listed = (service.get("spec") or {}).get("tls" if passes else "tcp") or ()
        for number, route in enumerate(listed):
            path = f"spec.{'tls' if passes else 'tcp'}[{number}]"
            for match in route.get("match") or [{}]:
                names = [str(name) for name in match.get("sniHosts") or ()]
                if routes_here(match, place) and (not passes or _open(hosts, names)):
                    found.append(
                        _chain(mesh, (service, path), route, place, names if passes and "*" not in names else [])
                    )
    if ending is not None:
        names = [h for h in hosts if h != "*"]
        match = {"filter_chain_match": {"server_names": names}} if names and "*" not in hosts else {}
        found = [{**chain, **match, "transport_socket": {"name": "tls", "typed_config": ending}} for chain in found]
    return found


def routes_here(match: Mapping[str, Any], place: routes.Place) -> bool:
    """Whether a match is for a place."""
    named = match.get("gateways")
    here = not named or place.gateway in named or place.gateway.rpartition("/")[2] in named
    return here and match.get("port") in (None, 0, place.port)


def _gateways(service: Obj) -> list[str]:
    own = support.namespace(service)
    return [g if "/" in g else f"{own}/{g}" for g in map(str, (service.get("spec") or {}).get("gateways") or ())]


def _open(hosts: Sequence[str], names: Sequence[str]) -> bool:
    return any(covers(host, name) or covers(name, host) for host in hosts for name in names)


def _chain(mesh: Mesh, about: tuple[Obj, str], route: Mapping[str, Any], place: routes.Place, names: list[str]) -> Obj:
    service, path = about
    parts = []
    idle = None
    for number, said in enumerate(route.get("route") or ()):
        to = routes.destination(
            mesh, service, said.get("destination") or {}, f"{path}.route[{number}].destination", place
        )
        weight = int(said.get("weight") or 0) if len(route["route"]) > 1 else 1
        if to:
            pool = clusters.policy(mesh, to).get("connectionPool") or {}
            idle = idle or duration((pool.get("tcp") or {}).get("idleTimeout"))
        if weight:
            parts.append({"name": to.cluster if to else "BlackHoleCluster", "weight": weight})
    if not parts:
        raise Unspeakable(f"{path} of {support.name(service)} leads nowhere")
    where = {"cluster": parts[0]["name"]} if len(parts) == 1 else {"weighted_clusters": {"clusters": parts}}
    config = typed(_PROXY, stat_prefix=parts[0]["name"], **where, **without_none({"idle_timeout": idle}))
    chain: Obj = {"filters": [{"name": "envoy.filters.network.tcp_proxy", "typed_config": config}]}
    return chain | ({"filter_chain_match": {"server_names": names}} if names else {})
