from __future__ import annotations

from typing import Any

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.proxy import pod_address, service_addresses, split_name
from jupyterlab_kf.errors import ApiError, InvalidError, NotFoundError
from jupyterlab_kf.kinds import Kind

Obj = dict[str, Any]


def pod(name: str, ready: str) -> Obj:
    ports = [{"name": "http", "containerPort": 8080}]
    status = {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}
    metadata = {"name": name, "labels": {"app": "web"}}
    return {"metadata": metadata, "spec": {"containers": [{"ports": ports}]}, "status": status}


class View:
    def __init__(self) -> None:
        ports = [{"name": "web", "port": 80, "targetPort": "http"}, {"name": "raw", "port": 81}]
        self.services: dict[str, Obj] = {
            "web": {"spec": {"selector": {"app": "web"}, "ports": ports}},
            "none": {"spec": {"selector": {"app": "no"}, "ports": ports[:1]}},
        }
        self.pods = [pod("a", "False"), pod("b", "True")]

    def get(self, kind: Kind, _: str, name: str) -> Obj | None:
        if kind == kinds.SERVICE:
            return self.services.get(name)
        return next((p for p in self.pods if p["metadata"]["name"] == name), None)

    def list(self, _: Kind, __: str | None = None) -> list[Obj]:
        return self.pods

    def owned(self, _: Kind, __: str) -> list[Obj]:
        return []


def address(_: str, name: str, port: int) -> tuple[str, int]:
    return f"ip-{name}", port + 20000


def test_names() -> None:
    assert split_name("a") == ("", "a", "")
    assert split_name("a:80") == ("", "a", "80")
    assert split_name("https:a:web") == ("https", "a", "web")
    for bad in ("ftp:a:1", "a:b:c:d"):
        with pytest.raises(InvalidError):
            split_name(bad)


def test_a_services_port_leads_to_its_ready_pods() -> None:
    assert service_addresses(View(), address, "ml", "web:web") == [("ip-b", 28080)]
    assert service_addresses(View(), address, "ml", "web:80") == [("ip-b", 28080)]
    assert service_addresses(View(), address, "ml", "http:web:81") == [("ip-b", 20081)]


def test_what_cannot_be_reached() -> None:
    with pytest.raises(NotFoundError):
        service_addresses(View(), address, "ml", "nobody:80")
    with pytest.raises(ApiError, match='no service port "99" found for service "web"'):
        service_addresses(View(), address, "ml", "web:99")
    with pytest.raises(ApiError, match='no endpoints available for service "none"'):
        service_addresses(View(), address, "ml", "none")


def test_a_pods_port() -> None:
    assert pod_address(View(), address, "ml", "b:http") == ("ip-b", 28080)
    assert pod_address(View(), address, "ml", "b") == ("ip-b", 28080)
    assert pod_address(View(), address, "ml", "b:9") == ("ip-b", 20009)
    with pytest.raises(NotFoundError):
        pod_address(View(), address, "ml", "z")
