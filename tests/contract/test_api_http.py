"""What only the wire shows: logs, proxied requests, sizes, TLS, and a clean end.

On the embedded cluster alone: what stands behind its API server is played (a node that says what it was told, a service
that answers what it is asked), and its own files and connections are looked at.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import ssl
import stat
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from api_harness import TOKEN, Served, fresh_server  # noqa: F401  the fixture

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import certificates
from jupyterlab_kf.errors import ApiError

PODS = "/api/v1/namespaces/default/pods"
CONFIGS = "/api/v1/namespaces/default/configmaps"


class Client:
    """One keep-alive connection."""

    def __init__(self, served: Served) -> None:
        self.connection = http.client.HTTPSConnection("127.0.0.1", served.server.port, context=served.tls, timeout=60)
        self.answer: http.client.HTTPResponse | None = None

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {TOKEN}", **{key.replace("_", "-"): value for key, value in headers.items()}}
        self.connection.request(method, path, data, sent)
        self.answer = self.connection.getresponse()
        return self.answer

    def close(self) -> None:
        if self.answer is not None:
            self.answer.close()
        self.connection.close()

    def json(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return json.loads(self.send(method, path, body, **headers).read())


@pytest.fixture
def served(fresh_server: Served) -> Served:  # noqa: F811  the fixture
    return fresh_server


@pytest.fixture
def connect(served: Served) -> Iterator[Callable[[], Client]]:
    """Connections of the test's own, closed at its end."""
    with contextlib.ExitStack() as stack:

        def one() -> Client:
            client = Client(served)
            stack.callback(client.close)
            return client

        yield one


@pytest.fixture
def client(connect: Callable[[], Client]) -> Client:
    return connect()


def config(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_sizes(client: Client) -> None:
    assert client.json("POST", CONFIGS, config("big", k="x" * 3_200_000))["code"] == 413
    assert (
        "may not be more than 1048576 bytes"
        in client.json("POST", CONFIGS, config("big", k="x" * 1_100_000))["message"]
    )
    client.json("POST", CONFIGS, config("large", k="x" * 500_000))
    response = client.send("GET", CONFIGS, Accept_Encoding="gzip")
    assert response.headers["Content-Encoding"] == "gzip"
    assert json.loads(gzip.decompress(response.read()))["items"][0]["metadata"]["name"] == "large"


def test_fields_given_twice_and_unknown(client: Client) -> None:
    twice = b'{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"t"},"data":{"a":"1"},"data":{"a":"2"}}'
    strict = client.json("POST", f"{CONFIGS}?fieldValidation=Strict", twice)
    assert strict["message"].endswith('strict decoding error: duplicate field "data"')
    warned = client.send("POST", f"{CONFIGS}?dryRun=All", twice)
    assert warned.headers.get_all("Warning") == ['299 - "duplicate field \\"data\\""']
    warned.read()


def test_discovery_is_not_sent_twice(client: Client) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
    first = client.send("GET", "/apis", Accept=accept)
    first.read()
    again = client.send("GET", "/apis", Accept=accept, If_None_Match=first.headers["Etag"])
    assert (again.status, again.read()) == (304, b"")


def test_tls_is_checked_and_modern(served: Served) -> None:
    stranger = http.client.HTTPSConnection("127.0.0.1", served.server.port)
    with pytest.raises(ssl.SSLCertVerificationError):
        stranger.request("GET", "/version")
    assert certificates.ensure(served.directory).context().minimum_version == ssl.TLSVersion.TLSv1_2


def test_secrets_are_for_their_owner_only(served: Served) -> None:
    for name in ("ca.crt", "server.key", "server.crt", "kubeconfig", "state.db"):
        assert stat.S_IMODE((served.directory / name).stat().st_mode) == 0o600, name


# --- the node --------------------------------------------------------------------------------------------------------


class FakeNode:
    """Speaks what it was told, and sends every port to one address."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.asked: dict[str, Any] = {}

    async def logs(self, namespace: str, pod: str, container: str, **options: Any) -> AsyncIterator[bytes]:
        self.asked = {"namespace": namespace, "pod": pod, "container": container, **options}
        if options["previous"]:
            message = f'previous terminated container "{container}" in pod "{pod}" not found'
            raise ApiError(message, code=400, reason="BadRequest")
        yield b"one\n"
        yield b"two\n"

    def address(self, namespace: str, pod: str, port: int) -> tuple[str, int]:
        self.asked = {"namespace": namespace, "pod": pod, "port": port}
        return "127.0.0.1", self.port


def pod(name: str, *containers: str) -> dict[str, Any]:
    listed = [{"name": one, "image": "x", "ports": [{"name": "http", "containerPort": 8080}]} for one in containers]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": listed},
    }


def test_logs(served: Served, client: Client) -> None:
    node = FakeNode()
    served.server.backing.node = node
    client.json("POST", PODS, pod("p", "main"))
    response = client.send("GET", f"{PODS}/p/log?follow=True&tailLines=5&timestamps=true")
    assert response.headers["Content-Type"] == "text/plain"
    assert response.read() == b"one\ntwo\n"
    assert node.asked["container"] == "main"
    assert (node.asked["follow"], node.asked["tail_lines"], node.asked["timestamps"]) == (True, 5, True)
    assert client.json("GET", f"{PODS}/p/log?container=zz")["message"] == "container zz is not valid for pod p"
    assert client.json("GET", f"{PODS}/p/log?previous=true")["code"] == 400
    client.json("POST", PODS, pod("two", "a", "b"))
    assert "choose one of: [a b]" in client.json("GET", f"{PODS}/two/log")["message"]


class _Echo(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        answer = json.dumps({"path": self.path, "body": body.decode(), "token": self.headers.get("Authorization")})
        self.send_response(202)
        self.send_header("Content-Type", "application/x-test")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def backend() -> Iterator[int]:
    server = HTTPServer(("127.0.0.1", 0), _Echo)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_proxy_to_services_and_pods(served: Served, client: Client, backend: int) -> None:
    node = FakeNode(backend)
    served.server.backing.node = node
    service = {"selector": {"app": "p"}, "ports": [{"name": "web", "port": 80, "targetPort": "http"}]}
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s"}, "spec": service}
    client.json("POST", "/api/v1/namespaces/default/services", body)
    path = "/api/v1/namespaces/default/services/s:web/proxy/v1/models%20x?a=1"
    assert client.json("POST", path, b"hello")["message"] == 'no endpoints available for service "s"'
    client.json("POST", PODS, pod("p", "main"))
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    client.json("PATCH", f"{PODS}/p/status", ready, Content_Type="application/merge-patch+json")
    response = client.send("POST", path, b"hello")
    assert (response.status, response.headers["Content-Type"]) == (202, "application/x-test")
    assert json.loads(response.read()) == {"path": "/v1/models%20x?a=1", "body": "hello", "token": None}
    assert node.asked["port"] == 8080
    assert client.json("POST", f"{PODS}/p:9000/proxy/", b"")["path"] == "/"
    assert node.asked["port"] == 9000
    node.port = 1
    assert client.json("POST", f"{PODS}/p:9000/proxy/", b"")["reason"] == "ServiceUnavailable"


def test_stopping_ends_open_watches(served: Served, connect: Callable[[], Client]) -> None:
    watch = connect().send("GET", f"{CONFIGS}?watch=true&resourceVersion=1&timeoutSeconds=300")
    assert watch.status == 200
    assert served.registry.get(kinds.NAMESPACE, "", "default")
