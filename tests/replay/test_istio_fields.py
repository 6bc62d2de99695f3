from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from envoy_worlds import EXAMPLES, GOLDEN, Obj, example, made, said, validated

from jupyterlab_kf.controllers.istio import fields

DEFINED = [tuple(line.split(" ", 1)) for line in (GOLDEN / "fields.txt").read_text().splitlines()]
"""Every leaf of Istio's definitions (1.27), in all of their versions."""
EXCLUSIVE = (
    {"loadBalancer": {"simple": "ROUND_ROBIN", "warmup": {"aggression": 2.0, "duration": "9s", "minimumPercent": 5}}},
    {"loadBalancer": {"simple": "LEAST_REQUEST", "warmupDurationSecs": "8s"}},
    {"loadBalancer": {"consistentHash": {"httpHeaderName": "x-user", "maglev": {"tableSize": 131}}}},
    {"loadBalancer": {"consistentHash": {"useSourceIp": True, "minimumRingSize": 2048}}},
    {
        "loadBalancer": {
            "consistentHash": {
                "httpCookie": {
                    "name": "c",
                    "path": "/",
                    "ttl": "1h",
                    "attributes": [{"name": "SameSite", "value": "Lax"}],
                },
                "ringHash": {"minimumRingSize": 512},
            }
        }
    },
    {"loadBalancer": {"consistentHash": {"httpQueryParameterName": "q"}}, "outlierDetection": {"consecutiveErrors": 3}},
    {"tls": {"mode": "SIMPLE", "credentialName": "door", "sni": "s.example.com", "subjectAltNames": ["s.example.com"]}},
    {"tls": {"mode": "SIMPLE", "insecureSkipVerify": True}},
    {"connectionPool": {"http": {"useClientProtocol": True}}},
    {
        "connectionPool": {
            "tcp": {
                "connectTimeout": "1s",
                "maxConnectionDuration": "60s",
                "maxConnections": 7,
                "tcpKeepalive": {"interval": "5s", "probes": 3, "time": "30s"},
            },
            "http": {
                "h2UpgradePolicy": "UPGRADE",
                "http1MaxPendingRequests": 8,
                "http2MaxRequests": 9,
                "idleTimeout": "60s",
                "maxConcurrentStreams": 10,
                "maxRequestsPerConnection": 11,
                "maxRetries": 12,
                "http2KeepAlive": {"interval": "20s", "timeout": "3s"},
            },
        },
        "outlierDetection": {
            "baseEjectionTime": "20s",
            "consecutive5xxErrors": 4,
            "consecutiveGatewayErrors": 5,
            "consecutiveLocalOriginFailures": 6,
            "interval": "2s",
            "maxEjectionPercent": 50,
            "minHealthPercent": 30,
            "splitExternalLocalOriginErrors": True,
        },
    },
    {"connectionPool": {"tcp": {"idleTimeout": "50s"}}},
)
"""Traffic policies that together use every field; what excludes each other stands apart."""
BUDGET = {"retryBudget": {"percent": 25, "minRetryConcurrency": 4}}
ROUTE = {
    "kind": "VirtualService",
    "apiVersion": "networking.istio.io/v1",
    "metadata": {"name": "r", "namespace": "shop"},
    "spec": {
        "hosts": ["*"],
        "gateways": ["secure", "istio-system/door"],
        "http": [{"route": [{"destination": {"host": "digits", "subset": "s"}}]}],
        "tcp": [{"route": [{"destination": {"host": "digits", "subset": "s"}}]}],
    },
}


def rule(**spec: Any) -> Obj:
    metadata = {"name": "digits", "namespace": "shop"}
    subset = {"name": "s", "labels": {"app": "digits"}}
    whole = {"host": "digits", "subsets": [subset | spec.pop("subset", {})], **spec}
    return {"kind": "DestinationRule", "apiVersion": "networking.istio.io/v1", "metadata": metadata, "spec": whole}


def rules() -> Iterator[Obj]:
    for policy in EXCLUSIVE:
        port = {"portLevelSettings": [{"port": {"number": 9000}, **policy}]}
        yield rule(trafficPolicy=policy)
        yield rule(trafficPolicy=port)
        yield rule(subset={"trafficPolicy": policy})
        yield rule(subset={"trafficPolicy": port})
    yield rule(trafficPolicy=BUDGET)
    yield rule(subset={"trafficPolicy": BUDGET})
    yield rule(exportTo=["."])
    yield rule(workloadSelector={"matchLabels": {"app": "other"}})


def worlds() -> Iterator[list[Obj]]:
    for name in EXAMPLES:
        yield example(name)
    base = [o for o in example("gateways") if o["kind"] != "VirtualService" and o["metadata"]["name"] != "digits"]
    base = [
        *base,
        *(o for o in example("gateways") if o["kind"] in ("Service", "Pod") and "digits" in str(o["metadata"])),
    ]
    for each in rules():
        yield [*base, ROUTE, each]
    for extra in EXTRA:
        yield [*base, *extra]


def door(port: int, **spec: Any) -> Obj:
    metadata = {"name": "door", "namespace": "istio-system"}
    whole = {"servers": [{"port": {"number": port}, "hosts": ["*"]}], **spec}
    return {"kind": "Gateway", "apiVersion": "networking.istio.io/v1", "metadata": metadata, "spec": whole}


EXTRA = (
    [ROUTE, door(82, selector={"app": "elsewhere"})],
    [{**ROUTE, "spec": {**ROUTE["spec"], "exportTo": ["."], "gateways": ["istio-system/door"]}}, door(81)],
)


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    listed = list(below)
    if not listed:
        yield path
    for key, item in listed:
        yield from leaves(item, (*path, key))


def without(obj: Obj, path: tuple[Any, ...]) -> Obj:
    changed = copy.deepcopy(obj)
    node = changed["spec"]
    for key in path[:-1]:
        node = node[key]
    del node[path[-1]]
    return changed


def pattern(kind: str, path: tuple[Any, ...]) -> str:
    """The leaf of the definition that a path of an object is."""
    node, found = fields._tree(kind), ""
    for part in path:
        name = "[]" if isinstance(part, int) else next(n for n in (part, "*", "**") if n in node)
        found += name if name == "[]" else f".{name}"
        node = node[name]
        if name == "**":
            break
    return found.lstrip(".")


@pytest.mark.parametrize("kind", sorted(fields.HONOURED))
def test_every_field_that_istio_defines_is_honoured_or_told(kind: str) -> None:
    listed = fields.listed(kind)
    for defined in (path for of, path in DEFINED if of == kind):
        found = [p for p in listed if p == defined or (p.endswith(".**") and defined.startswith(p[:-2]))]
        assert len(found) == 1, f"{kind} {defined}: {found}"
    known = [path for of, path in DEFINED if of == kind]
    gone = [p for p in listed if p not in known and not any(d.startswith(p.removesuffix("**")) for d in known)]
    assert not gone


def test_every_field_that_is_said_to_be_honoured_changes_the_configuration() -> None:
    missing = {(kind, path) for kind in fields.HONOURED for path, what in fields.listed(kind).items() if what is None}
    missing -= {(k, path) for k, names in fields.NAMES_ONLY.items() for n in names for path in fields._expand(n)}
    for objects in worlds():
        before = said(made(objects))
        for number, obj in enumerate(objects):
            if obj["kind"] not in fields.HONOURED:
                continue
            for path in leaves(obj["spec"]):
                leaf = (obj["kind"], pattern(obj["kind"], path))
                if leaf not in missing:
                    continue
                changed = [*objects[:number], without(obj, path), *objects[number + 1 :]]
                if said(made(changed)) != before:
                    missing.discard(leaf)
    assert sorted(missing) == []


ODD = (
    "", "x y", "%", "a\nb", "-1", -1, 10**12, 0, True, "é", "*", "/", "1s", "[", "{}", "{*", ":path", 1.5, "%REQ(x)%",
    "(", "a,b", "0s", "99999999999h", None, [], {}, [1], {"a": 1},
)  # fmt: skip


def odd_worlds() -> Iterator[list[Obj]]:
    """Every leaf of the examples once, each with an odd value in its place."""
    number = 0
    for name in EXAMPLES:
        objects = example(name)
        for place, obj in enumerate(objects):
            for path in leaves(obj["spec"]) if obj["kind"] in fields.HONOURED else ():
                changed = copy.deepcopy(obj)
                node = changed["spec"]
                for key in path[:-1]:
                    node = node[key]
                node[path[-1]] = ODD[number % len(ODD)]
                number += 1
                yield [*objects[:place], changed, *objects[place + 1 :]]


def test_no_odd_value_anywhere_keeps_the_rest_from_being_routed(tmp_path: Path) -> None:
    kept = copy.deepcopy(door(83))
    kept["metadata"]["name"] = "kept"
    spec = {"hosts": ["*"], "gateways": ["istio-system/kept"], "http": [{"directResponse": {"status": 200}}]}
    route = {**ROUTE, "metadata": {"name": "kept", "namespace": "shop"}, "spec": spec}
    for number, objects in enumerate(odd_worlds()):
        configuration = made([*objects, kept, route])
        assert "direct_response" in configuration.tables["http.83"]["virtual_hosts"][0]["routes"][0]
        if number % 100 == 0:
            assert validated(configuration, tmp_path) == ""
