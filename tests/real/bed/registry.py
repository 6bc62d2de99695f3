"""The registry that the real node pulls from: it knows the images of the node's archives, and nothing else.

A pod whose image is called ``latest`` has its name resolved at each start. Here the answer is the manifest of an image
whose layers containerd has already, as they were imported; so only names and manifests are served.
"""

from __future__ import annotations

import hashlib
import threading
import urllib.parse
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bed import images

PORT = 5000
_KNOWN = ("docker.io", "quay.io")


def serve(archives: tuple[Path, ...]) -> ThreadingHTTPServer:
    """Answer for these images, on this network's loopback device; close it to end."""
    known = {name: content for archive in archives for name, content in images.manifests(archive).items()}
    server = ThreadingHTTPServer(("127.0.0.1", PORT), _handler(known))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def configure(folder: Path) -> None:
    """Tell containerd, by the folder of its ``config_path``, that this is where names are looked up."""
    for host in _KNOWN:
        (folder / host).mkdir(parents=True)
        words = f'[host."http://127.0.0.1:{PORT}"]\n  capabilities = ["pull", "resolve"]\n'
        (folder / host / "hosts.toml").write_text(f'server = "http://127.0.0.1:{PORT}"\n{words}')


def _handler(known: Mapping[str, bytes]) -> type[BaseHTTPRequestHandler]:
    digests = {_digest(content): content for content in known.values()}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, *, body: bool) -> None:
            url = urllib.parse.urlsplit(self.path)
            host = urllib.parse.parse_qs(url.query).get("ns", [""])[0]
            repository, _, reference = url.path.removeprefix("/v2/").partition("/manifests/")
            content = digests.get(reference) or known.get(f"{host}/{repository}:{reference}")
            if content is None:
                self.send_error(404)
                return
            self.send_response(200)
            for name, value in (
                ("Content-Type", images.MANIFEST),
                ("Docker-Content-Digest", _digest(content)),
                ("Content-Length", str(len(content))),
            ):
                self.send_header(name, value)
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            """What is asked, the kubelet's events tell."""

    return Handler


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
