"""Routes through a real Envoy, as Istio's objects ask for them.

On the embedded cluster alone: a real cluster's Envoy is Istio's, which these objects are written for.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import grpc
import pytest
from bed.api import Api, Obj, until
from routes_bed import GATEWAY, NETWORK, PORTS, ROOT, SECURITY, STURDY, Bed, key_set, token
from sites import make_namespace

from jupyterlab_kf.embedded import daemon
from jupyterlab_kf.settings import Settings

sys.path.insert(0, str(Path(__file__).parents[1] / "unit"))
from envoy_worlds import pair

SECRET = b"a secret of the tests that is long enough for HS256"


@pytest.fixture(scope="module")
def bed(cluster: Settings) -> Iterator[Bed]:
    api = Api(cluster.embedded_kubeconfig)
    made = Bed(cluster, api, make_namespace(api))
    made.deploy("m", "v1", 2)
    made.deploy("m", "v2", 1)
    made.deploy("g", "v1", 1)
    made.serve("m", "http")
    made.serve("g", "grpc")
    subsets = [{"name": version, "labels": {"version": version}} for version in ("v1", "v2")]
    ejection = {"consecutive5xxErrors": 5, "interval": "1s", "baseEjectionTime": "3s", "maxEjectionPercent": 100}
    policy = {"outlierDetection": ejection}
    made.put(NETWORK, "DestinationRule", "m", {"host": "m", "subsets": subsets, "trafficPolicy": policy})
    for name, replicas in (("m-v1", 2), ("m-v2", 1), ("g-v1", 1)):
        made.ready(name, replicas)
    made.route("first", {"route": [made.to("v1")]})
    yield made
    api.delete("v1", "Namespace", made.namespace, "")
    api.close()


def test_the_gateway_is_there_once_it_is_needed_and_says_where(bed: Bed) -> None:
    assert bed.gateway_pod()["metadata"]["labels"]["istio"] == "ingressgateway"
    service = bed.api.get("v1", "Service", GATEWAY, ROOT)
    assert service["status"]["loadBalancer"]["ingress"][0]["ip"].startswith("127.")
    assert bed.get("/first/hello?a=1").said["path"] == "/hello?a=1"
    said = bed.api.request("GET", f"/api/v1/namespaces/{ROOT}/services/{GATEWAY}:80/proxy/first/by-the-api-server")
    assert said["path"] == "/by-the-api-server"


def test_weights_divide_requests_and_a_change_takes_effect_at_once(bed: Bed) -> None:
    path = bed.route("weights", {"route": [bed.to("v1", weight=90), bed.to("v2", weight=10)]})
    share = Counter(bed.get(path).said["version"] for _ in range(400))
    assert 12 < share["v2"] < 80
    began = time.monotonic()
    bed.route("weights", {"route": [bed.to("v1", weight=0), bed.to("v2", weight=100)]})
    took = time.monotonic() - began
    assert {bed.get(path).said["version"] for _ in range(50)} == {"v2"}
    print(f"weights in effect after {took * 1000:.0f} ms")
    assert took < 3


def test_headers_choose_a_version_and_are_changed_on_the_way(bed: Bed) -> None:
    chosen = {"match": [{"uri": {"prefix": "/headers/"}, "headers": {"x-user": {"exact": "ann"}}}]}
    changes = {"request": {"set": {"x-set": "50%"}, "remove": ["x-secret"]}, "response": {"add": {"x-version": "two"}}}
    path = bed.route("headers", {**chosen, "headers": changes, "route": [bed.to("v2")]}, {"route": [bed.to("v1")]})
    ann = bed.get(path + "deep/er", x_user="ann", x_secret="s")
    assert (ann.said["version"], ann.said["path"]) == ("v2", "/deep/er")
    assert ann.said["headers"]["x-set"] == "50%"
    assert "x-secret" not in ann.said["headers"]
    assert ann.headers["x-version"] == "two"
    assert bed.get(path, x_user="bob").said["version"] == "v1"


def test_a_request_that_was_not_served_is_sent_again_and_feedback_only_when_it_cannot_have_been(bed: Bed) -> None:
    retries = {"attempts": 3, "retryOn": "5xx,reset"}
    path = bed.route("retries", {"retries": retries, "route": [bed.to("v2")]})
    assert bed.get(path + "predictions", b"{}", x_fail_first="2", x_case="predict").status == 200
    assert bed.get(path + "api/v1.0/feedback", b"{}", x_fail_first="1", x_case="feedback").status == 503


def test_too_many_requests_are_refused(bed: Bed) -> None:
    path = bed.route("limited", {"name": "limited", "route": [bed.to("v1")]})
    all_of_them = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    limit = {
        "@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        "stat_prefix": "limited",
        "token_bucket": {"max_tokens": 3, "tokens_per_fill": 3, "fill_interval": "600s"},
        "filter_enabled": all_of_them,
        "filter_enforced": all_of_them,
    }
    value = {"typed_per_filter_config": {"envoy.filters.http.local_ratelimit": limit}}
    match = {"context": "GATEWAY", "routeConfiguration": {"vhost": {"route": {"name": "limited"}}}}
    patch = {"applyTo": "HTTP_ROUTE", "match": match, "patch": {"operation": "MERGE", "value": value}}
    bed.put("networking.istio.io/v1alpha3", "EnvoyFilter", "limited", {"configPatches": [patch]}, ROOT)
    until(lambda: bed.get(path).status == 429, seconds=60, what="the limit")
    bed.api.delete("networking.istio.io/v1alpha3", "EnvoyFilter", "limited", ROOT)
    until(lambda: bed.get(path).status == 200, seconds=60, what="the end of the limit")


def test_tokens_and_rights_are_asked_for_where_pods_ask_for_them(bed: Bed) -> None:
    path = bed.route("guarded", {"route": [{"destination": {"host": "guarded"}}]})
    selector = {"selector": {"matchLabels": {"app": "m", "version": "v2"}}}
    ports = [{"name": "http", "port": 80, "targetPort": PORTS["m"]}]
    bed.put("v1", "Service", "guarded", {"selector": {"app": "m", "version": "v2"}, "ports": ports})
    rule = {"issuer": "tests", "jwks": key_set(SECRET), "outputClaimToHeaders": [{"header": "x-sub", "claim": "sub"}]}
    bed.put(SECURITY, "RequestAuthentication", "guarded", {**selector, "jwtRules": [rule]})
    allowed = [
        {"from": [{"source": {"requestPrincipals": ["tests/*"]}}], "to": [{"operation": {"paths": ["/open/*"]}}]},
        {"when": [{"key": "request.auth.claims[groups]", "values": ["admins"]}]},
    ]
    bed.put(SECURITY, "AuthorizationPolicy", "guarded", {**selector, "action": "ALLOW", "rules": allowed})
    ann, root = token(SECRET, iss="tests", sub="ann"), token(SECRET, iss="tests", sub="root", groups=["admins"])
    until(lambda: bed.get(path + "open/a", authorization="Bearer no").status == 401, seconds=60, what="the tokens")
    until(lambda: bed.get(path + "open/a").status == 403, seconds=60, what="the rights")
    seen = bed.get(path + "open/a", authorization=f"Bearer {ann}")
    assert (seen.status, seen.said["headers"]["x-sub"]) == (200, "ann")
    assert bed.get(path + "closed", authorization=f"Bearer {ann}").status == 403
    assert bed.get(path + "closed", authorization=f"Bearer {root}").status == 200
    expired = token(SECRET, iss="tests", sub="ann", exp=int(time.time()) - 1000)
    assert bed.get(path + "open/a", authorization=f"Bearer {expired}").status == 401
    assert bed.get("/first/").status == 200
    bed.api.delete(SECURITY, "AuthorizationPolicy", "guarded", bed.namespace)
    bed.api.delete(SECURITY, "RequestAuthentication", "guarded", bed.namespace)


def test_keys_are_fetched_from_where_the_issuer_has_them(bed: Bed) -> None:
    keys = {
        "match": [{"uri": {"exact": "/keys/"}}],
        "directResponse": {"status": 200, "body": {"string": key_set(SECRET)}},
    }
    bed.route("keys", keys)
    path = bed.route("fetched", {"route": [{"destination": {"host": "fetched"}}]})
    ports = [{"name": "http", "port": 80, "targetPort": PORTS["m"]}]
    bed.put("v1", "Service", "fetched", {"selector": {"app": "m", "version": "v2"}, "ports": ports})
    address = f"http://{GATEWAY}.{ROOT}.svc.cluster.local:80/keys/"
    selector = {"selector": {"matchLabels": {"app": "m", "version": "v2"}}}
    bed.put(
        SECURITY, "RequestAuthentication", "fetched", {**selector, "jwtRules": [{"issuer": "far", "jwksUri": address}]}
    )
    until(lambda: bed.get(path, authorization="Bearer no").status == 401, seconds=60, what="the rules")
    good = {"authorization": f"Bearer {token(SECRET, iss='far', sub='ann')}"}
    until(lambda: bed.get(path, **good).status == 200, seconds=60, what="the keys")
    other = token(b"another secret that is long enough for HS256 too", iss="far", sub="ann")
    assert bed.get(path, authorization=f"Bearer {other}").status == 401
    bed.api.delete(SECURITY, "RequestAuthentication", "fetched", bed.namespace)


def test_faults_are_made_on_purpose(bed: Bed) -> None:
    fault = {"abort": {"httpStatus": 555, "percentage": {"value": 100}}}
    assert bed.get(bed.route("fault", {"fault": fault, "route": [bed.to("v1")]})).status == 555


def test_a_mirror_gets_a_copy_and_one_that_is_dead_changes_nothing(bed: Bed) -> None:
    mirror = {"mirror": {"host": "m", "subset": "v2"}, "route": [bed.to("v1")]}
    path = bed.route("mirrored", mirror)
    assert {bed.get(f"{path}copy").said["version"] for _ in range(20)} == {"v1"}
    ip = bed.pods("v2")[0]["status"]["podIP"]

    def copies() -> int:
        with urllib.request.urlopen(f"http://{ip}:{PORTS['m']}/count", timeout=60) as found:
            return int(json.loads(found.read()).get("/copy", 0))

    until(lambda: copies() == 20, seconds=60, what="20 copies")
    slices = {
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 9}],
        "endpoints": [{"addresses": ["127.3.3.3"]}],
    }
    dead = {"name": "dead", "namespace": bed.namespace, "labels": {"kubernetes.io/service-name": "dead"}}
    bed.put("v1", "Service", "dead", {"ports": [{"name": "http", "port": 9}]})
    bed.api.apply({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": dead, **slices})
    path = bed.route("mirrored", {**mirror, "mirror": {"host": "dead"}})
    assert {bed.get(path).status for _ in range(20)} == {200}


def test_a_host_that_does_not_answer_is_left_out(bed: Bed) -> None:
    good = bed.pods("v2")[0]["status"]["podIP"]
    metadata = {"name": "half", "namespace": bed.namespace, "labels": {"kubernetes.io/service-name": "half"}}
    ends = [{"addresses": [good]}, {"addresses": ["127.3.3.3"]}]
    slices = {"addressType": "IPv4", "ports": [{"name": "http", "port": PORTS["m"]}], "endpoints": ends}
    bed.put("v1", "Service", "half", {"ports": [{"name": "http", "port": PORTS["m"]}]})
    bed.api.apply({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": metadata, **slices})
    ejection = {"consecutiveGatewayErrors": 3, "interval": "1s", "baseEjectionTime": "60s", "maxEjectionPercent": 100}
    bed.put(NETWORK, "DestinationRule", "half", {"host": "half", "trafficPolicy": {"outlierDetection": ejection}})
    path = bed.route("half", {"retries": {"attempts": 0}, "route": [{"destination": {"host": "half"}}]})
    first = Counter(bed.get(path).status for _ in range(30))
    assert first[503] >= 3
    assert {bed.get(path).status for _ in range(30)} == {200}


def test_a_web_socket_goes_through(bed: Bed) -> None:
    path = bed.route("socket", {"route": [bed.to("v2")]})

    async def talk() -> str:
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{bed.url}{path}ws") as socket:
            await socket.send_str("hello")
            return await socket.receive_str()

    assert asyncio.run(talk()) == "v2: hello"


def test_bytes_go_through_a_tcp_route(bed: Bed) -> None:
    with socket.create_server(("0.0.0.0", 0)) as free:
        number = free.getsockname()[1]
    server = {"port": {"number": number, "name": "tcp", "protocol": "TCP"}, "hosts": ["*"]}
    bed.put(NETWORK, "Gateway", "bytes", {"selector": {"istio": "ingressgateway"}, "servers": [server]})
    spec = {"hosts": ["*"], "gateways": ["bytes"], "tcp": [{"route": [bed.to("v2")]}]}
    bed.put(NETWORK, "VirtualService", "bytes", spec)
    pod = bed.gateway_pod()
    moved = json.loads(pod["metadata"]["annotations"].get("jupyterlab-kf.io/ports", "{}"))

    def asked() -> bytes:
        try:
            with socket.create_connection((pod["status"]["podIP"], int(moved.get(str(number), number))), 5) as plain:
                plain.sendall(b"GET /bytes HTTP/1.0\r\n\r\n")
                return b"".join(iter(lambda: plain.recv(65536), b""))
        except OSError:
            return b""

    assert b'"version": "v2"' in until(asked, seconds=60, what="an answer over TCP")
    for kind in ("VirtualService", "Gateway"):
        bed.api.delete(NETWORK, kind, "bytes", bed.namespace)


def test_grpc_is_routed_by_method_and_headers(bed: Bed) -> None:
    match = [{"uri": {"regex": ".*seldon.protos.*|.*inference.*"}, "headers": {"seldon": {"exact": "iris"}}}]
    bed.route("grpc", {"match": match, "rewrite": {}, "route": [{"destination": {"host": "g"}}]})
    with grpc.insecure_channel(bed.url.removeprefix("http://")) as channel:
        call = channel.unary_unary("/seldon.protos.Seldon/Predict")
        assert call(b"x", metadata=[("seldon", "iris")], timeout=60) == b"/seldon.protos.Seldon/Predict iris x"
        with pytest.raises(grpc.RpcError) as refused:
            call(b"x", metadata=[("seldon", "other")], timeout=60)
    assert refused.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_tls_ends_at_the_gateway_with_a_certificate_from_a_secret(bed: Bed) -> None:
    certificate, key = pair("door.example.com")
    metadata = {"name": "door", "namespace": ROOT}
    data = {"tls.crt": certificate, "tls.key": key}
    bed.api.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/tls", "stringData": data}
    )
    tls = {"mode": "SIMPLE", "credentialName": "door"}
    server = {"port": {"number": 443, "name": "https", "protocol": "HTTPS"}, "hosts": ["door.example.com"], "tls": tls}
    bed.put(NETWORK, "Gateway", "door", {"selector": {"istio": "ingressgateway"}, "servers": [server]})
    spec = {"hosts": ["door.example.com"], "gateways": ["door"], "http": [{"route": [bed.to("v2")]}]}
    bed.put(NETWORK, "VirtualService", "door", spec)
    pod = bed.gateway_pod()
    moved = json.loads(pod["metadata"]["annotations"].get("jupyterlab-kf.io/ports", "{}"))
    context = ssl.create_default_context(cadata=certificate)

    def asked() -> Obj | None:
        place = (pod["status"]["podIP"], int(moved.get("8443", 8443)))
        try:
            with (
                socket.create_connection(place, 5) as plain,
                context.wrap_socket(plain, server_hostname="door.example.com") as secure,
            ):
                secure.sendall(b"GET /secure HTTP/1.1\r\nHost: door.example.com\r\nConnection: close\r\n\r\n")
                head, _, body = b"".join(iter(lambda: secure.recv(65536), b"")).partition(b"\r\n\r\n")
                return dict(json.loads(body)) if b" 200 " in head.splitlines()[0] else None
        except OSError:
            return None

    assert until(asked, seconds=60, what="an answer over TLS")["headers"]["x-forwarded-proto"] == "https"


def test_each_request_has_a_line_in_the_gateways_log(bed: Bed) -> None:
    path = bed.route("logged", {"name": "one", "route": [bed.to("v1")]})
    mark = f"{path}{time.monotonic_ns()}"
    assert bed.get(mark).status == 200

    def line() -> Obj | None:
        found = [line for line in bed.log(bed.gateway_pod()) if mark in line]
        return dict(json.loads(found[0])) if found else None

    told = until(line, seconds=60, what="a line in the log")
    assert (told["method"], told["response_code"], told["route_name"]) == ("GET", 200, "one")
    assert told["upstream_cluster"].startswith(f"outbound|{PORTS['m']}|v1|m.")
    assert told["upstream_host"] in {f"{pod['status']['podIP']}:{PORTS['m']}" for pod in bed.pods("v1")}


def test_requests_are_traced_where_a_telemetry_asks_for_it(bed: Bed) -> None:
    bed.deploy("spans", "v1", 1)
    bed.serve("spans", "grpc-otlp")
    bed.ready("spans-v1", 1)
    path = bed.route("traced", {"route": [bed.to("v1")]})
    host = f"spans.{bed.namespace}.svc.cluster.local"
    provider = {"name": "spans", "opentelemetry": {"service": host, "port": PORTS["spans"]}}
    mesh = json.dumps({"extensionProviders": [provider], "defaultProviders": {"tracing": ["spans"]}})
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "istio", "namespace": ROOT}}
    tags = {"who": {"header": {"name": "x-user", "defaultValue": "nobody"}}}
    telemetry = {"tracing": [{"randomSamplingPercentage": 100, "customTags": tags}]}
    bed.api.apply({**config, "data": {"mesh": mesh}})
    bed.put("telemetry.istio.io/v1", "Telemetry", "all", telemetry, ROOT)
    try:

        def traced() -> list[str]:
            assert bed.get(path, **{"x-user": "ada"}).status == 200
            return [line for line in bed.log(bed.pods("v1", "spans")[0]) if " who " in line and "ada" in line]

        told = until(traced, seconds=60, what="spans", every=0.5)[0]
        assert told.startswith("/opentelemetry.proto.collector.trace.v1.TraceService/Export ")
        assert f"{GATEWAY}.{ROOT}" in told
        assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-01", bed.get(path).said["headers"]["traceparent"])
    finally:
        bed.api.delete("telemetry.istio.io/v1", "Telemetry", "all", ROOT)
        bed.api.delete("v1", "ConfigMap", "istio", ROOT)


def test_what_is_not_honoured_is_said_on_the_object_once(bed: Bed) -> None:
    bed.route("odd", {"match": [{"uri": {"prefix": "/odd/"}, "sourceLabels": {"app": "x"}}], "route": [bed.to("v1")]})
    told = until(lambda: bed.events("VirtualService", "odd"), seconds=60, what="an event")
    assert any(line.startswith("Warning NotHonoured: spec.http[1].match[0].sourceLabels.app: ") for line in told)
    assert bed.get("/odd/").status == 200


def test_what_envoy_refuses_is_said_and_the_rest_goes_on(bed: Bed) -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        number = taken.getsockname()[1]
        server = {"port": {"number": number, "name": "tcp", "protocol": "TCP"}, "hosts": ["*"]}
        bed.put(NETWORK, "Gateway", "taken", {"selector": {"istio": "ingressgateway"}, "servers": [server]})
        spec = {"hosts": ["*"], "gateways": ["taken"], "tcp": [{"route": [bed.to("v1")]}]}
        bed.put(NETWORK, "VirtualService", "taken", spec)
        told = until(lambda: bed.events("Gateway", "taken"), seconds=60, what="an event")
    assert "EnvoyRefused" in told[0]
    assert "Address already in use" in told[0]
    assert bed.get("/first/").status == 200
    for kind in ("VirtualService", "Gateway"):
        bed.api.delete(NETWORK, kind, "taken", bed.namespace)


def test_no_request_fails_when_a_replica_hangs(bed: Bed) -> None:
    path = bed.route("hung", {"retries": {**STURDY, "perTryTimeout": "300ms"}, "route": [bed.to("v1")]})
    load = bed.under_load_beside_a_hung(path, bed.pods("v1")[0])
    print(load)
    assert load.failures == 0


def test_no_request_fails_when_a_replica_is_killed(bed: Bed) -> None:
    path = bed.route("killed", {"retries": STURDY, "route": [bed.to("v1")]})
    load = bed.under_load(path, lambda: bed.kill(bed.pods("v1")[0]), after=1.5)
    print(load)
    assert load.failures == 0
    assert load.statuses["200"] > 200
    bed.ready("m-v1", 2)


def test_no_request_fails_through_a_rolling_update(bed: Bed) -> None:
    path = bed.route("rolled", {"route": [bed.to("v1")]})
    before = {pod["metadata"]["name"] for pod in bed.pods("v1")}

    def roll() -> None:
        bed.deploy("m", "v1", 2, RELEASE="next")
        bed.ready("m-v1", 2)

    load = bed.under_load(path, roll, after=1.0)
    print(load)
    assert load.failures == 0
    assert not before & {pod["metadata"]["name"] for pod in bed.pods("v1")}


def test_traffic_goes_on_without_the_daemon_and_its_successor_changes_nothing(bed: Bed) -> None:
    path = bed.route("orphan", {"route": [bed.to("v1")]})

    def kill() -> None:
        running = daemon.status(bed.settings)
        assert running
        os.kill(running.pid, signal.SIGKILL)
        time.sleep(0.5)
        daemon.start(bed.settings)

    load = bed.under_load(path, kill, after=1.5)
    print(load)
    assert load.failures == 0
    bed.route("orphan", {"route": [bed.to("v2")]})
    assert bed.get(path).said["version"] == "v2"


def test_a_gateway_that_is_killed_is_back_by_itself(bed: Bed) -> None:
    path = bed.route("phoenix", {"route": [bed.to("v1")]})
    began = time.monotonic()
    bed.kill(bed.gateway_pod())
    until(lambda: bed.get(path).status != 200, seconds=60, what="the end of the gateway", every=0.005)
    until(lambda: bed.get(path).status == 200, seconds=60, what="the gateway", every=0.01)
    print(f"back after {time.monotonic() - began:.2f} s")
