"""Services as files, and how the engine reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf.embedded.kubelet.whereabouts import ports_of
from jupyterlab_kf.runtime.serving.engine.whereabouts import Resolver, Whereabouts

Obj = dict[str, Any]


def slice_of(port: int, *addresses: str, ready: bool = True) -> Obj:
    endpoints = [{"addresses": [one], "conditions": {"ready": ready}} for one in addresses]
    return {"ports": [{"name": "http", "port": port}], "endpoints": endpoints}


def test_a_file_has_what_is_ready_with_the_port_that_listens_there() -> None:
    service = {"spec": {"ports": [{"name": "http", "port": 9000}, {"name": "grpc", "port": 9500}]}}
    slices = [
        slice_of(9000, "127.1.1.2", "127.1.1.1"),
        slice_of(21000, "127.1.1.3"),
        slice_of(1, "127.9.9.9", ready=False),
    ]
    assert ports_of(service, slices) == {
        "9000": [["127.1.1.1", 9000], ["127.1.1.2", 9000], ["127.1.1.3", 21000]],
        "9500": [],
    }


def told(folder: Path, places: list[list[Any]]) -> None:
    (folder / "ns").mkdir(exist_ok=True)
    fresh = folder / "ns" / "unit.new"
    fresh.write_text(json.dumps({"9000": places}))
    fresh.rename(folder / "ns" / "unit.json")


def test_a_name_leads_to_what_the_file_says_now(tmp_path: Path) -> None:
    found = Whereabouts(str(tmp_path))
    assert found.of("unit.ns.svc.cluster.local", 9000) is None
    told(tmp_path, [["127.1.1.1", 9000]])
    assert found.of("unit.ns.svc.cluster.local", 9000) == [("127.1.1.1", 9000)]
    told(tmp_path, [["127.1.1.1", 9000], ["127.1.1.2", 20000]])
    assert sorted(found.of("unit.ns.svc", 9000) or ()) == [("127.1.1.1", 9000), ("127.1.1.2", 20000)]
    assert found.target("unit.ns.svc", 9000) == "ipv4:127.1.1.1:9000,127.1.1.2:20000"
    assert found.of("unit.ns.svc", 1) == []


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "unit", "unit.ns", "example.com", "a.b.svc.example.com"])
def test_other_names_are_not_ours(tmp_path: Path, host: str) -> None:
    told(tmp_path, [])
    assert Whereabouts(str(tmp_path)).of(host, 9000) is None
    assert Whereabouts("").target(host, 9000) == f"{host}:9000"


async def test_a_service_with_nothing_ready_is_an_error_with_its_name(tmp_path: Path) -> None:
    told(tmp_path, [])
    resolver = Resolver(Whereabouts(str(tmp_path)))
    with pytest.raises(OSError, match=r"nothing behind unit\.ns\.svc:9000 is ready"):
        await resolver.resolve("unit.ns.svc", 9000)
    told(tmp_path, [["127.1.1.1", 20000]])
    (found,) = await resolver.resolve("unit.ns.svc", 9000)
    assert (found["host"], found["port"]) == ("127.1.1.1", 20000)
    await resolver.close()
