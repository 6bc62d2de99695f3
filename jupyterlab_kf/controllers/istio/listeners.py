"""Gateways to Envoy's listeners: one for each port, in it a chain for each server, and the virtual hosts of routes.

Servers of all Gateways on one plain port share their routes; a server that ends TLS, and one that passes it on, is a
chain of its own, found by the name that a client asks for. A port's number is that of the Service in front, as in
Istio; Envoy listens at the Service's target port.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from jupyterlab_kf.controllers import support
from jupyterlab_kf.controllers.istio import routes, tls, traces
from jupyterlab_kf.controllers.istio.guards import Guards
from jupyterlab_kf.controllers.istio.streams import chains_of_streams
from jupyterlab_kf.controllers.istio.values import Unspeakable, file_of, source, typed
from jupyterlab_kf.controllers.istio.world import (
    GATEWAY_LABELS,
    MESH,
    ROOT,
    Mesh,
    covers,
    exported,
    full,
    oldest_first,
)
from jupyterlab_kf.model import Obj

MESH_PORT: Final = 15080
_MANAGER: Final = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_PLAIN: Final = ("HTTP", "HTTP2", "GRPC", "GRPC-WEB")
_STREAMS: Final = ("HTTPS", "TCP", "TLS", "MONGO", "MYSQL", "REDIS")
LOG: Final = {
    "start_time": "%START_TIME%",
    "method": "%REQ(:METHOD)%",
    "path": "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
    "protocol": "%PROTOCOL%",
    "authority": "%REQ(:AUTHORITY)%",
    "response_code": "%RESPONSE_CODE%",
    "response_flags": "%RESPONSE_FLAGS%",
    "response_code_details": "%RESPONSE_CODE_DETAILS%",
    "bytes_received": "%BYTES_RECEIVED%",
    "bytes_sent": "%BYTES_SENT%",
    "duration": "%DURATION%",
    "upstream_service_time": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
    "upstream_cluster": "%UPSTREAM_CLUSTER%",
    "upstream_host": "%UPSTREAM_HOST%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "route_name": "%ROUTE_NAME%",
    "request_id": "%REQ(X-REQUEST-ID)%",
    "user_agent": "%REQ(USER-AGENT)%",
    "audited": "%DYNAMIC_METADATA(envoy.common:access_log_hint)%",
}


@dataclass(slots=True)
class Port:
    """What is at one port of the gateway.

    Attributes:
        number: the port in front, as Gateways name it.
        target: where Envoy listens.
        chains: filter chains, each for names that a client asks for; the last may be for all.
    """

    number: int
    target: int
    chains: list[Obj] = field(default_factory=list)
    plain: list[tuple[Obj, Mapping[str, Any], int]] = field(default_factory=list)


class Front:
    """Writes listeners and routes of a world.

    Attributes:
        tables: route configurations by name.
        ports: what is at which port.
    """

    def __init__(self, mesh: Mesh, guards: Guards) -> None:
        self._mesh, self._guards = mesh, guards
        self.tables: dict[str, Obj] = {}
        self.ports: dict[int, Port] = {}
        self._claimed: dict[tuple[str, int], Obj] = {}
        self._services = oldest_first(mesh.world.virtual_services)
        self._targets = _target_ports(mesh.world.services)
        self._tracing = traces.tracing(mesh)

    def write(self) -> None:
        """All Gateways, the oldest first, and what is meant for sidecars."""
        known = {f"{support.namespace(g)}/{support.name(g)}" for g in self._mesh.world.gateways}
        for gateway in oldest_first(self._mesh.world.gateways):
            spec = gateway.get("spec") or {}
            if not (spec.get("selector") or {}).items() <= GATEWAY_LABELS.items():
                what = "no gateway has these labels; the one that is here has istio: ingressgateway"
                self._mesh.say(gateway, "spec.selector", f"{what}; nothing is served")
                continue
            for number, server in enumerate(spec.get("servers") or ()):
                self._serve(gateway, server, number)
        for port in self.ports.values():
            if port.plain:
                self._plain(port)
        self._inner()
        for service in self._services:
            for name in _gateways(service):
                if name != MESH and name not in known and (service.get("spec") or {}).get("hosts"):
                    what = f"there is no Gateway {name}; nothing reaches the routes through it"
                    self._mesh.say(service, "spec.gateways", what)

    # --- servers ------------------------------------------------------------------------------------------------

    def _serve(self, gateway: Obj, server: Mapping[str, Any], number: int) -> None:
        said = server.get("port") or {}
        front = int(said.get("number") or 0)
        port = self.ports.setdefault(front, Port(front, self._targets.get(front, front)))
        protocol, path = str(said.get("protocol") or "HTTP").upper(), f"spec.servers[{number}]"
        mode = str((server.get("tls") or {}).get("mode") or "")
        try:
            if protocol in _PLAIN:
                port.plain.append((gateway, server, number))
            elif protocol == "HTTPS" and mode not in ("PASSTHROUGH", "AUTO_PASSTHROUGH"):
                self._secure(port, gateway, server, number)
            else:
                found = self._streams(gateway, server, protocol, mode)
                port.chains += self._unclaimed(port, gateway, path, found)
        except ValueError as error:
            self._mesh.say(gateway, path, f"{error}; the server is not served")

    def _streams(self, gateway: Obj, server: Mapping[str, Any], protocol: str, mode: str) -> list[Obj]:
        if protocol not in _STREAMS:
            raise Unspeakable(f"the protocol {protocol!r} is not known")
        if mode == "AUTO_PASSTHROUGH":
            raise Unspeakable("AUTO_PASSTHROUGH leads to sidecars of other clusters, and there are none")
        ending = tls.downstream(self._mesh, server["tls"]) if mode not in ("", "PASSTHROUGH") else None
        return chains_of_streams(self._mesh, self._services, gateway, server, ending)

    def _unclaimed(self, port: Port, gateway: Obj, path: str, chains: Iterable[Obj]) -> list[Obj]:
        """Chains whose names nobody else has on that port: Envoy takes no listener with two for one name."""
        kept = []
        for chain in chains:
            match = chain.get("filter_chain_match") or {}
            every = [*match.get("server_names", ("",))]
            free = [name for name in every if (name, port.number) not in self._claimed]
            if len(free) < len(every):
                what = "another server of this port has some of these hosts already; the older one keeps them"
                self._mesh.say(gateway, path, what)
            for name in free:
                self._claimed[name, port.number] = gateway
            if free:
                narrowed = {**match, "server_names": free} if free != [""] else match
                kept.append({**chain, "filter_chain_match": narrowed} if narrowed else chain)
        return kept

    def _secure(self, port: Port, gateway: Obj, server: Mapping[str, Any], number: int) -> None:
        context = tls.downstream(self._mesh, server.get("tls") or {})
        said = server.get("port") or {}
        key = f"{support.namespace(gateway)}.{support.name(gateway)}"
        table = f"https.{port.number}.{said.get('name') or number}.{key}"
        names = [h for h in _bare_hosts(server) if h != "*"]
        chain: Obj = {
            "filters": [self._manager(table)],
            "transport_socket": {"name": "tls", "typed_config": context},
        }
        if names and "*" not in _bare_hosts(server):
            chain["filter_chain_match"] = {"server_names": names}
        port.chains += self._unclaimed(port, gateway, f"spec.servers[{number}]", [chain])
        self.tables[table] = self._table(table, [(gateway, server, number)], port.number)

    def _plain(self, port: Port) -> None:
        table = f"http.{port.number}"
        if any(not chain.get("filter_chain_match") for chain in port.chains):
            for gateway, _, number in port.plain:
                what = "another server takes the whole port as it is; this one is not served"
                self._mesh.say(gateway, f"spec.servers[{number}].port", what)
            return
        port.chains.append({"filters": [self._manager(table)]})
        self.tables[table] = self._table(table, port.plain, port.number)

    def _inner(self) -> None:
        """What is meant for sidecars: there are none, so it is served at a port of its own, by the host asked for."""
        services = [s for s in self._services if MESH in _gateways(s) and (s.get("spec") or {}).get("hosts")]
        if not services:
            return
        hosts: dict[str, list[Obj]] = {}
        for service in services:
            spec = service.get("spec") or {}
            what = (
                "pods have no sidecar here: routes for 'mesh' hold for requests that name the host and are sent to "
                f"istio-ingressgateway.{ROOT}:{MESH_PORT}"
            )
            self._mesh.say(service, "spec.gateways", what)
            place = routes.Place(MESH, MESH_PORT)
            found = routes.routes(self._mesh, self._guards, service, place)
            for host in spec.get("hosts") or ():
                hosts.setdefault(full(str(host), support.namespace(service)), []).extend(found)
        port = self.ports[MESH_PORT] = Port(MESH_PORT, MESH_PORT)
        port.chains.append({"filters": [self._manager(MESH)]})
        listed = [_virtual_host(h, _aliases(h), found, secure=False) for h, found in sorted(hosts.items())]
        self.tables[MESH] = _configuration(MESH, _distinct(listed))

    # --- routes -------------------------------------------------------------------------------------------------

    def _table(self, name: str, servers: Sequence[tuple[Obj, Mapping[str, Any], int]], port: int) -> Obj:
        """The virtual hosts of servers that share a port."""
        found: dict[str, list[Obj]] = {}
        secure: set[str] = set()
        for gateway, server, _ in servers:
            key = f"{support.namespace(gateway)}/{support.name(gateway)}"
            redirects = bool((server.get("tls") or {}).get("httpsRedirect"))
            for service in self._services:
                if key not in _gateways(service):
                    continue
                hosts = _hosts_at(service, server, support.namespace(gateway))
                listed = self._routes(service, routes.Place(key, port)) if hosts else []
                for host in hosts:
                    mine = found.setdefault(host, [])
                    mine += [route for route in listed if route not in mine]
                    if redirects:
                        secure.add(host)
            if redirects and not found:
                secure.add("*")
                found["*"] = []
        listed = [_virtual_host(h, [h], r, secure=h in secure) for h, r in sorted(found.items())]
        return _configuration(name, listed)

    def _routes(self, service: Obj, place: routes.Place) -> list[Obj]:
        return routes.routes(self._mesh, self._guards, service, place)

    def _manager(self, table: str) -> Obj:
        """The filter that speaks HTTP, as Istio sets it up on a gateway."""
        rds = {"config_source": source(file_of(self._mesh.folder, "rds", table)), "route_config_name": table}
        config = typed(
            _MANAGER,
            stat_prefix=table,
            rds=rds,
            http_filters=[
                *self._guards.filters(),
                {"name": routes.CORS, "typed_config": typed("extensions.filters.http.cors.v3.Cors")},
                {"name": routes.FAULT, "typed_config": typed("extensions.filters.http.fault.v3.HTTPFault")},
                {"name": "envoy.filters.http.grpc_stats", "typed_config": _grpc_stats()},
                {
                    "name": "envoy.filters.http.router",
                    "typed_config": typed("extensions.filters.http.router.v3.Router"),
                },
            ],
            access_log=access_log(),
            tracing=self._tracing,
            use_remote_address=True,
            normalize_path=True,
            merge_slashes=True,
            server_name="istio-envoy",
            stream_idle_timeout="0s",
            upgrade_configs=[{"upgrade_type": "websocket"}],
            forward_client_cert_details="SANITIZE_SET",
            set_current_client_cert_details={"subject": True, "uri": True},
            http2_protocol_options={"max_concurrent_streams": 1000},
            common_http_protocol_options={"headers_with_underscores_action": "ALLOW"},
            drain_timeout="5s",
        )
        return {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}


def listener(port: Port, ip: str, moved: Mapping[int, int]) -> Obj:
    """A port's listener at a pod's own address."""
    number = moved.get(port.target, port.target)
    named = any((chain.get("filter_chain_match") or {}).get("server_names") for chain in port.chains)
    inspector = {
        "name": "envoy.filters.listener.tls_inspector",
        "typed_config": typed("extensions.filters.listener.tls_inspector.v3.TlsInspector"),
    }
    result: Obj = {
        "name": f"{ip}_{port.target}",
        "address": {"socket_address": {"address": ip, "port_value": number}},
        "traffic_direction": "OUTBOUND",
        "filter_chains": port.chains,
    }
    return result | ({"listener_filters": [inspector]} if named else {})


def access_log() -> list[Obj]:
    """One line of JSON for each request, to the pod's log."""
    config = typed(
        "extensions.access_loggers.stream.v3.StdoutAccessLog",
        log_format={"json_format": LOG, "omit_empty_values": True},
    )
    return [{"name": "envoy.access_loggers.stdout", "typed_config": config}]


# ---------------------------------------------------------------------------------------------------------------------


def _grpc_stats() -> Obj:
    return typed(
        "extensions.filters.http.grpc_stats.v3.FilterConfig", emit_filter_state=False, stats_for_all_methods=False
    )


def _target_ports(services: Iterable[Obj]) -> dict[int, int]:
    """The gateway Service's ports, and where they lead."""
    found: dict[int, int] = {}
    for service in services:
        selector = (service.get("spec") or {}).get("selector") or {}
        if support.namespace(service) == ROOT and selector and selector.items() <= GATEWAY_LABELS.items():
            for port in (service.get("spec") or {}).get("ports") or ():
                target = port.get("targetPort") or port["port"]
                if isinstance(target, int):
                    found.setdefault(int(port["port"]), target)
    return found


def _gateways(service: Obj) -> list[str]:
    """The gateways that a VirtualService is for, by namespace and name; a name alone is of its own namespace."""
    own, found = support.namespace(service), []
    for name in (service.get("spec") or {}).get("gateways") or [MESH]:
        if name == MESH or "/" in name:
            found.append(str(name))
            continue
        bare, _, rest = str(name).partition(".")
        found.append(f"{rest.partition('.')[0] or own}/{bare}")
    return found


def _bare_hosts(server: Mapping[str, Any]) -> list[str]:
    return [str(h).rpartition("/")[2] for h in server.get("hosts") or ()]


def _hosts_at(service: Obj, server: Mapping[str, Any], gateway_namespace: str) -> list[str]:
    """The hosts of a VirtualService that a server is open for, each as narrow as both say."""
    spec, own, found = service.get("spec") or {}, support.namespace(service), []
    if not exported(spec, own, gateway_namespace):
        return []
    for host in spec.get("hosts") or ():
        name = full(str(host), own)
        for said in server.get("hosts") or ():
            space, _, pattern = str(said).rpartition("/")
            space = gateway_namespace if space == "." else space
            if space not in ("", "*", own):
                continue
            if covers(pattern, name):
                found.append(name)
            elif covers(name, pattern):
                found.append(pattern)
    return list(dict.fromkeys(found))


def _virtual_host(name: str, domains: Sequence[str], found: Sequence[Obj], *, secure: bool) -> Obj:
    result: Obj = {"name": name, "domains": list(domains), "routes": routes.last_resorts(found)}
    result["include_request_attempt_count"] = True
    return result | ({"require_tls": "ALL"} if secure else {})


def _aliases(host: str) -> list[str]:
    """The ways to write a Service's host in full or in short."""
    parts = host.split(".")
    if not host.endswith(".svc.cluster.local"):
        return [host]
    return [host, ".".join(parts[:3]), ".".join(parts[:2])]


def _distinct(hosts: Iterable[Obj]) -> list[Obj]:
    """Hosts no two of which claim one domain."""
    taken: set[str] = set()
    kept = []
    for host in hosts:
        free = [domain for domain in host["domains"] if domain not in taken]
        taken |= set(free)
        if free:
            kept.append({**host, "domains": free})
    return kept


def _configuration(name: str, hosts: list[Obj]) -> Obj:
    return {
        "name": name,
        "virtual_hosts": hosts,
        "validate_clusters": False,
        "ignore_port_in_host_matching": True,
        "max_direct_response_body_size_bytes": 1 << 20,
    }
