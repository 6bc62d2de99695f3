"""Reads, writes and watch latency of the embedded API server."""

from __future__ import annotations

import json
import ssl
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import yaml
from measure import Row, timed

from jupyterlab_kf.settings import load


class Raw:
    """A plain HTTPS client on one connection, so that the server is measured and not a client library."""

    def __init__(self) -> None:
        import http.client

        config = yaml.safe_load(load().embedded_kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        context = ssl.create_default_context(cafile=cluster.get("certificate-authority"))
        if "certificate-authority-data" in cluster:
            import base64

            context.load_verify_locations(cadata=base64.b64decode(cluster["certificate-authority-data"]).decode())
        host = urllib.request.urlparse(cluster["server"]).netloc  # type: ignore[attr-defined]
        self.connection = http.client.HTTPSConnection(host, context=context)
        self.headers = {"Authorization": f"Bearer {user['token']}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: object = None) -> bytes:
        """One request; the answer must be a success."""
        self.connection.request(method, path, json.dumps(body) if body is not None else None, self.headers)
        answer = self.connection.getresponse()
        data = answer.read()
        assert answer.status < 300, (answer.status, data[:300])
        return data


def api() -> Iterator[Row]:
    """Reads, writes and watch latency; the peer is a tornado server that answers the same bytes from memory."""
    raw = Raw()
    path = "/api/v1/namespaces/default/configmaps"
    made = 0
    for total in (100, 1000, 10000):
        start = time.perf_counter()
        batch = total - made
        for number in range(made, total):
            body = {
                "metadata": {"name": f"bench-{number:05d}", "labels": {"n": str(number % 10)}},
                "data": {"k": "v" * 200},
            }
            raw.call("POST", path, body)
        made = total
        writes = batch / (time.perf_counter() - start)
        gets = [1 / timed(lambda n=n: raw.call("GET", f"{path}/bench-{n:05d}")) for n in range(100)]
        data = raw.call("GET", path)
        lists = [timed(lambda: raw.call("GET", path)) * 1000 for _ in range(5)]
        with _Static(data) as static:
            floor = [timed(static.get) * 1000 for _ in range(5)]
            static_gets = [1 / timed(lambda: static.get("/small")) for _ in range(100)]
        yield Row(f"{total} objects: get", gets, static_gets, "static bytes over the same TLS", "", "1/s")
        yield Row(f"{total} objects: create", [writes], static_gets, "static bytes over the same TLS", "", "1/s")
        yield Row(f"{total} objects: list ({len(data) // 1024} KiB)", lists, floor, "static bytes", "", "ms")
        yield Row(f"{total} objects: write to watch event", _watch_latency(raw, path), [], "", "", "ms")
    raw.call("DELETE", path)


def _watch_latency(raw: Raw, path: str) -> list[float]:
    """From sending a patch to its event on another connection."""
    watcher = Raw()
    version = json.loads(raw.call("GET", f"{path}?limit=1"))["metadata"]["resourceVersion"]
    watcher.connection.request(
        "GET", f"{path}?watch=1&resourceVersion={version}&timeoutSeconds=30", headers=watcher.headers
    )
    stream = watcher.connection.getresponse()
    delays = []
    patch = raw.headers | {"Content-Type": "application/merge-patch+json"}
    for number in range(30):
        start = time.perf_counter()
        raw.connection.request("PATCH", f"{path}/bench-00000", json.dumps({"data": {"k": str(start)}}), patch)
        stream.readline()
        delays.append((time.perf_counter() - start) * 1000)
        raw.connection.getresponse().read()
        assert number >= 0
    watcher.connection.close()
    return delays[5:]


class _Static:
    """A tornado HTTPS server in a thread, with the embedded cluster's certificate, that answers fixed bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __enter__(self) -> Self:
        import asyncio
        import http.client

        import tornado.httpserver
        import tornado.web

        small, large = self.data[:700], self.data
        ready = threading.Event()
        folder = load().cluster_dir

        async def serve() -> None:
            class Fixed(tornado.web.RequestHandler):
                def get(self, path: str) -> None:
                    self.write(small if path == "small" else large)

            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*_certificate(folder))
            server = tornado.httpserver.HTTPServer(tornado.web.Application([("/(.*)", Fixed)]), ssl_options=context)
            server.listen(0, "127.0.0.1")
            self.port = next(iter(server._sockets.values())).getsockname()[1]
            self.loop, self.done = asyncio.get_running_loop(), asyncio.Event()
            ready.set()
            await self.done.wait()
            server.stop()
            await server.close_all_connections()

        self.thread = threading.Thread(target=lambda: asyncio.run(serve()))
        self.thread.start()
        ready.wait()
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self.connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context)
        return self

    def get(self, path: str = "/") -> bytes:
        """The fixed bytes."""
        self.connection.request("GET", path)
        return self.connection.getresponse().read()

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self.loop.call_soon_threadsafe(self.done.set)
        self.thread.join()


def _certificate(folder: Path) -> tuple[str, str]:
    """The embedded API server's certificate and key files."""
    return str(folder / "server.crt"), str(folder / "server.key")
