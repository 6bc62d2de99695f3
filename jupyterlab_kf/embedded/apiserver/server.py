"""The Kubernetes API over HTTPS: one request is parsed, becomes one call of the registry, and is written as JSON.

Owns the server's life, authentication (one bearer token), routing and errors as Status objects. Refuses rules of
objects: those are the registry's. Everything runs on the event loop's thread; large lists are written in pieces and
compressed elsewhere, so that no request holds up the others for long.
"""

from __future__ import annotations

import hashlib
import logging
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, unquote

from tornado import httpserver, httputil, iostream, netutil, web

from jupyterlab_kf.embedded.apiserver import certificates, discovery, failures, openapi, patches, requests, reviews
from jupyterlab_kf.embedded.apiserver import exec as execution
from jupyterlab_kf.embedded.apiserver.backing import Backing
from jupyterlab_kf.embedded.apiserver.exchange import Exchange
from jupyterlab_kf.embedded.apiserver.nodes import Node
from jupyterlab_kf.embedded.apiserver.objects import serve_object
from jupyterlab_kf.embedded.collector import Collector
from jupyterlab_kf.embedded.registry import Registry
from jupyterlab_kf.embedded.store import encode
from jupyterlab_kf.errors import ApiError, KubeflowError
from jupyterlab_kf.model import Obj

__all__ = ["ApiServer", "Node"]

_OPEN_PATHS: Final = ("/version", "/version/", "/readyz", "/livez", "/healthz")
_HEALTH: Final = ("/readyz", "/livez", "/healthz")
_BUFFER: Final = 64 * 1024 * 1024
_log = logging.getLogger(__name__)


class ApiServer:
    """The API server.

    Args:
        registry: what it serves.
        node: the node that logs and proxied requests go to; None when there is none.
        directory: where its certificates are kept.
        token: the bearer token of the one user.
        address: to listen on.
        port: to listen on; 0 takes a free one, and one that is taken falls back to a free one.
    """

    def __init__(
        self,
        registry: Registry,
        node: Node | None,
        *,
        directory: Path,
        token: str,
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.backing = Backing(registry, node, token)
        self.port = port
        self._address = address
        self._directory = directory
        self._server: httpserver.HTTPServer | None = None
        self._collector = Collector(registry)
        self._documents: dict[str, tuple[object, bytes, str]] = {}

    @property
    def host(self) -> str:
        """Address and port."""
        return f"{self._address}:{self.port}"

    async def start(self) -> int:
        """Begin to answer; returns the port."""
        context = certificates.ensure(self._directory).context()
        application = web.Application(
            [(execution.PATH, execution.ExecSocket, {"backing": self.backing}), (r".*", _Handler, {"server": self})],
            log_function=_log_request,
            compress_response=False,
        )
        self._server = httpserver.HTTPServer(application, ssl_options=context, max_body_size=_BUFFER)
        try:
            sockets = netutil.bind_sockets(self.port, self._address)
        except OSError:
            if not self.port:
                raise
            sockets = netutil.bind_sockets(0, self._address)
        self.port = sockets[0].getsockname()[1]
        self._server.add_sockets(sockets)
        await self._collector.start()
        return self.port

    async def stop(self) -> None:
        """End every watch and connection, and let go of the port."""
        await self._collector.stop()
        self.backing.watches.close()
        if self._server is not None:
            self._server.stop()
            await self._server.close_all_connections()
            self._server = None

    def document(self, path: str) -> tuple[bytes, str] | None:
        """The OpenAPI document of a group version, and its hash."""
        resources = self.backing.registry.resources
        group_version = discovery.group_versions(resources).get(path)
        if group_version is None:
            return None
        known = self._documents.get(path)
        if known is None or known[0] is not resources:
            served = [kind for kind in resources.kinds if kind.api_version == group_version]
            sources = ((kind.resource, resources.schema_source(kind)) for kind in served)
            crds = {name: crd for name, crd in sources if crd is not None}
            body = encode(openapi.document(group_version, served, crds))
            known = (resources, body, hashlib.sha512(body).hexdigest().upper())
            self._documents[path] = known
        return known[1], known[2]


class _Handler(Exchange):
    """One request."""

    SUPPORTED_METHODS = ("GET", "HEAD", "POST", "DELETE", "PATCH", "PUT", "OPTIONS")

    def initialize(self, server: ApiServer) -> None:
        self.server = server
        self.backing = server.backing
        self.gone = False

    def on_connection_close(self) -> None:
        self.gone = True
        super().on_connection_close()

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-cache, private")
        self.set_header("Content-Type", "application/json")

    def compute_etag(self) -> str | None:
        return None

    def check_etag_header(self) -> bool:
        return False

    async def _serve(self, *_: str) -> None:
        try:
            self.query = requests.Query(parse_qs(self.request.query, keep_blank_values=True))
            await self._route()
        except ApiError as error:
            await self.fail(error)
        except KubeflowError as error:
            _log.exception("%s %s failed", self.request.method, self.request.path)
            await self.fail(ApiError(str(error), code=500, reason="InternalError"))
        except iostream.StreamClosedError:
            _log.debug("the client of %s left", self.request.path)

    get = post = put = patch = delete = head = options = _serve

    def write_error(self, status_code: int, **_: Any) -> None:
        """A fault of ours: the log has the traceback (written by tornado), the client a Status."""
        error = ApiError("Internal error occurred", code=status_code, reason="InternalError")
        self.finish(encode(failures.status(error)) + b"\n")

    # --- who ---------------------------------------------------------------------------------------------------------

    def _authorize(self, user: str, target: requests.Target | None) -> None:
        if user == reviews.USER or self.request.path in _OPEN_PATHS:
            return
        if target is None:
            raise reviews.refused_path(user, (self.request.method or "GET").lower(), self.request.path)
        raise reviews.refused(user, self.verb(target), target)

    # --- where -------------------------------------------------------------------------------------------------------

    async def _route(self) -> None:
        path = self.request.path
        user = self.backing.user(self.request.headers)
        found = requests.split_version(path)
        registry = self.backing.registry
        if found is None or (len(found[2]) <= 1 and not (found[2] and found[2][0])):
            self._authorize(user, None)
            await self._meta(path.rstrip("/") or "/")
            return
        group, version, parts = found
        if version == "v1" and group in discovery.REVIEWS and parts[0] in discovery.REVIEWS[group]:
            if user == reviews.ANONYMOUS:
                raise reviews.refused_path(user, "post", path)
            await self._review(group, parts[0], user)
            return
        raw, mark, rest = path.partition("/proxy")
        target = requests.target(group, version, self._parts(raw, mark, parts), registry.resources, rest=rest)
        self._authorize(user, target)
        await serve_object(self, target)

    @staticmethod
    def _parts(raw: str, mark: str, parts: list[str]) -> list[str]:
        if not mark or "proxy" not in parts:
            return parts
        cut = requests.split_version(raw)
        return [*cut[2], "proxy"] if cut else parts

    async def _review(self, group: str, plural: str, user: str) -> None:
        if self.request.method != "POST":
            raise failures.method_not_allowed()
        kind = discovery.REVIEWS[group][plural]
        body = patches.check_shape(self.read_body(kind)[0], kind)
        await self.send(201, reviews.answer(group, plural, body, user=user, now=time.time()))

    async def _meta(self, path: str) -> None:
        if self.request.method not in ("GET", "HEAD"):
            raise failures.method_not_allowed()
        if path in _HEALTH:
            await self.send_text(200, "ok")
        elif path == "/version":
            await self.send(200, dict(discovery.VERSION))
        elif path.startswith("/openapi/v3"):
            await self._openapi(path.removeprefix("/openapi/v3").strip("/"))
        else:
            await self._discovery(path)

    async def _discovery(self, path: str) -> None:
        resources = self.backing.registry.resources
        parts = [unquote(part) for part in path.strip("/").split("/")]
        version = self._aggregated_version() if path in ("/api", "/apis") else ""
        if version:
            await self._aggregated(discovery.aggregated(resources, core=path == "/api", version=version), version)
            return
        answer: Obj | None = None
        match parts:
            case [""]:
                answer = discovery.paths(resources)
            case ["api"]:
                answer = discovery.api_versions(self.server.host)
            case ["apis"]:
                answer = discovery.api_groups(resources)
            case ["apis", group]:
                answer = discovery.api_group(resources, group)
            case ["api", version]:
                answer = discovery.api_resources(resources, "", version)
            case ["apis", group, version]:
                answer = discovery.api_resources(resources, group, version)
        if answer is None:
            raise failures.no_page()
        await self.send(200, answer)

    def _aggregated_version(self) -> str:
        """v2 or v2beta1 when the client takes aggregated discovery."""
        for name, parameters in requests.media_types(self.request.headers.get("Accept", "")):
            if parameters.get("as") == "APIGroupDiscoveryList" and parameters.get("v") in ("v2", "v2beta1"):
                return parameters["v"]
            if name in ("application/json", "*/*"):
                return ""
        return ""

    async def _aggregated(self, answer: Obj, version: str) -> None:
        body = encode(answer)
        etag = f'"{hashlib.sha512(body).hexdigest().upper()}"'
        self.set_header("Vary", "Accept")
        self.set_header("Etag", etag)
        self.set_header("Content-Type", discovery.AGGREGATED.format(version=version))
        if self.request.headers.get("If-None-Match") == etag:
            self.set_status(304)
            await self.finish()
            return
        await self.send_bytes(200, body)

    async def _openapi(self, path: str) -> None:
        if not path:
            listed = {}
            for name in discovery.group_versions(self.backing.registry.resources):
                found = self.server.document(name)
                if found is not None:
                    listed[name] = {"serverRelativeURL": f"/openapi/v3/{name}?hash={found[1]}"}
            await self.send_text(200, encode({"paths": listed}).decode())
            return
        found = self.server.document(path)
        if found is None:
            raise failures.no_page()
        body, digest = found
        etag = f'"{digest}"'
        asked = self.query.text("hash")
        if asked and asked != digest:
            self.set_status(301)
            self.set_header("Location", f"/openapi/v3/{path}?hash={digest}")
            await self.finish()
            return
        self.set_header("Vary", "Accept")
        self.set_header("Etag", etag)
        if self.request.headers.get("If-None-Match") == etag:
            self.set_status(304)
            await self.finish()
            return
        await self.send_bytes(200, body)


def _log_request(handler: web.RequestHandler) -> None:
    request: httputil.HTTPServerRequest = handler.request
    status = handler.get_status()
    _log.debug("%d %s %s %.1f ms", status, request.method, request.uri, 1000 * request.request_time())
