"""A server that answers as one of Jupyter's and does nothing else, for what is asked of the hub and not of the Lab."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit


class Answer(BaseHTTPRequestHandler):
    """Whatever is asked."""

    def do_GET(self) -> None:
        body = json.dumps({"version": "0"}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PUT(self) -> None:
        """How much came."""
        left, seen = int(self.headers["Content-Length"]), 0
        while left:
            found = len(self.rfile.read(min(left, 1 << 20)))
            if not found:
                return
            left, seen = left - found, seen + found
        body = str(seen).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Server(ThreadingHTTPServer):
    """At a name that nobody needs to look up."""

    request_queue_size = 64

    def server_bind(self) -> None:
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.server_address[0], self.server_address[1]


@contextmanager
def serving() -> Iterator[int]:
    """One at a port of loopback, in this process."""
    server = Server(("127.0.0.1", 0), Answer)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.socket.getsockname()[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    if os.environ.get("STAND_IN") == "ends":
        raise SystemExit(7)
    port = urlsplit(os.environ["JUPYTERHUB_SERVICE_URL"]).port or 8888
    Server((os.environ.get("POD_IP") or "127.0.0.1", port), Answer).serve_forever()
