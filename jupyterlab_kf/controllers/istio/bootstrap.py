"""How an Envoy of the gateway starts: where its resources are, and where it can be asked."""

from __future__ import annotations

from typing import Final

from jupyterlab_kf.controllers.istio.values import source, typed
from jupyterlab_kf.model import Obj

ADMIN_PORT: Final = 15000
STATUS_PORT: Final = 15021


def bootstrap(folder: str, own: str, pod: str, *, ip: str, admin: tuple[str, int]) -> Obj:
    """What Envoy reads first.

    Args:
        folder: where the resources are that all gateway pods share.
        own: where those are that name the pod's own address.
        pod: the pod's name.
        ip: the address at which the pod listens.
        admin: address and port at which it can be asked.
    """
    return {
        "node": {"id": f"router~{ip}~{pod}.istio-system", "cluster": "istio-ingressgateway.istio-system"},
        "dynamic_resources": {"lds_config": source(f"{own}/lds.json"), "cds_config": source(f"{folder}/cds.json")},
        "admin": {"address": {"socket_address": {"address": admin[0], "port_value": admin[1]}}},
        "stats_config": {"use_all_default_tags": True},
        "overload_manager": {
            "resource_monitors": [
                {
                    "name": "envoy.resource_monitors.global_downstream_max_connections",
                    "typed_config": typed(
                        "extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
                        max_active_downstream_connections=100_000,
                    ),
                }
            ]
        },
    }


def status_listener(ip: str, port: int) -> Obj:
    """``/healthz/ready``, as a gateway of Istio answers at its status port."""
    ready = {"match": {"path": "/healthz/ready"}, "direct_response": {"status": 200}}
    config = typed(
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="status",
        route_config={"name": "status", "virtual_hosts": [{"name": "status", "domains": ["*"], "routes": [ready]}]},
        http_filters=[
            {"name": "envoy.filters.http.router", "typed_config": typed("extensions.filters.http.router.v3.Router")}
        ],
    )
    manager = {"name": "envoy.filters.network.http_connection_manager", "typed_config": config}
    return {
        "name": "status",
        "address": {"socket_address": {"address": ip, "port_value": port}},
        "filter_chains": [{"filters": [manager]}],
    }
