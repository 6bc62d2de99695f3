"""A unit over HTTP in three protocols at once: Seldon's, Open Inference (V2) and TensorFlow Serving's.

They share a port, since no two of them share a path. Fixed paths are a table; those with a model's name in them are
two patterns. What goes wrong is told in the words of the path's own protocol, never as a bare code.
"""

from __future__ import annotations

import functools
import re
import sys
import time
import traceback
from collections.abc import Awaitable, Callable

from . import forms, openinference, seldon, tfserving
from .messages import Refusal
from .metrics import merged
from .service import Service
from .web import BINARY, TEXT, ClientGone, Receive, Reply, Request, Scope, Send, read, send

LENGTH = b"inference-header-content-length"
V2 = re.compile(r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<verb>ready|infer|config))?/?")
V1 = re.compile(
    r"/v1/models(?:/(?P<name>[^/:]+))?(?:/versions/(?P<version>[^/:]+)|/labels/(?P<label>[^/:]+))?"
    r"/?(?P<verb>:predict|:classify|:regress|metadata)?"
)
VERBS = {
    "/predict": "predict",
    "/api/v1.0/predictions": "predict",
    "/api/v0.1/predictions": "predict",
    "/transform-input": "transform_input",
    "/transform-output": "transform_output",
    "/route": "route",
    "/aggregate": "aggregate",
    "/send-feedback": "send_feedback",
    "/api/v1.0/feedback": "send_feedback",
    "/api/v0.1/feedback": "send_feedback",
}
PROMETHEUS = b"text/plain; version=1.0.0; charset=utf-8"
Handler = Callable[[Request], Awaitable[Reply]]
Failure = Callable[[Refusal], bytes]


class App:
    """The ASGI application."""

    def __init__(self, service: Service, *, limit: int, metrics_path: str = "") -> None:
        self.service = service
        self.limit = limit
        self.metrics = service.unit.metrics
        self.gets: dict[str, Handler] = {
            "/health/ping": self.ping,
            "/health/status": self.health,
            "/api/v1.0/health/status": self.health,
            "/metadata": self.metadata,
            "/api/v1.0/metadata": self.metadata,
            "/ready": self.ready,
            "/live": self.live,
            "/v2": self.server,
            "/v2/health/live": self.live,
            "/v2/health/ready": self.ready,
            "/metrics": self.prometheus,
            "/prometheus": self.prometheus,
        }
        if metrics_path:
            self.gets[metrics_path] = self.prometheus

    async def __call__(self, scope: Scope, receive: Receive, send_part: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        start = time.perf_counter()
        path, method = scope["path"], "other"
        failure: Failure = openinference.failure if path.startswith(("/v1/", "/v2")) else seldon.failure
        try:
            request = await read(scope, receive, self.limit)
            method, handler = self.find(request)
            reply = await handler(request)
        except ClientGone:
            return
        except Refusal as refusal:
            reply = Reply(failure(refusal), refusal.code)
        except Exception as error:  # noqa: BLE001  a fault of ours must be told too
            sys.stderr.write(traceback.format_exc())
            told = Refusal(f"the server failed: {type(error).__name__}: {error}", code=500, reason="SERVER_ERROR")
            reply = Reply(failure(told), 500)
        await send(reply, send_part, closing=self.service.draining or reply.code == 413)  # noqa: PLR2004
        self.metrics.request(method, reply.code, time.perf_counter() - start)

    def find(self, request: Request) -> tuple[str, Handler]:
        """The handler of a path, and what it is called in metrics."""
        path, method = request.path, request.method
        verb = VERBS.get(path)
        if verb is not None:
            _only(request, "POST", "GET")
            return verb, self.seldon
        if path in self.gets:
            _only(request, "GET", "HEAD")
            return "status", self.gets[path]
        if found := V2.fullmatch(path):
            return found["verb"] or "metadata", functools.partial(self.v2, found=found)
        if found := V1.fullmatch(path):
            return (found["verb"] or "status").strip(":"), functools.partial(self.v1, found=found)
        if path == "/v2/repository/index":
            _only(request, "POST", "GET")
            return "status", self.index
        raise Refusal(f"there is nothing at {method} {path}", code=404, reason="NOT_FOUND")

    # Seldon

    async def seldon(self, request: Request) -> Reply:
        """Any verb of Seldon's."""
        verb = VERBS[request.path]
        kind = request.headers.get(b"content-type", b"")
        body = request.body
        if not body or kind.startswith((b"multipart/", b"application/x-www-form")):
            body = forms.message(kind.decode("latin-1"), body, request.query)
        if verb == "aggregate":
            message = await self.service.verb(verb, seldon.decode_list(body))
        elif verb == "send_feedback":
            message = await self.service.verb(verb, seldon.decode_feedback(body))
        else:
            message = await self.service.verb(verb, seldon.decode(body))
        code = (message.status or {}).get("code", 200)
        return Reply(seldon.encode(message), code if isinstance(code, int) and 200 <= code < 600 else 200)  # noqa: PLR2004

    async def ping(self, _request: Request) -> Reply:
        """Whether the process answers."""
        return Reply(b"pong", content_type=TEXT)

    async def health(self, _request: Request) -> Reply:
        """What the class says of itself."""
        return Reply(seldon.encode(await self.service.runner.run(self.service.unit.health_status)))

    async def metadata(self, _request: Request) -> Reply:
        """What ``init_metadata`` said."""
        return Reply(seldon.dump(self.service.unit.metadata))

    async def ready(self, _request: Request) -> Reply:
        """Whether to send requests here."""
        ready = self.service.ready and not self.service.draining
        if not ready:
            raise Refusal("ending: no new requests, please" if self.service.draining else "still loading", code=503)
        return Reply(b'{"ready":true}')

    async def live(self, _request: Request) -> Reply:
        """Whether to leave the process alone."""
        return Reply(b'{"live":true}')

    async def prometheus(self, _request: Request) -> Reply:
        """The metrics of all workers."""
        texts = [one.metrics.text() for one in self.service.units.values()]
        if self.service.siblings is not None:
            texts += await self.service.siblings()
        return Reply(merged(texts), content_type=PROMETHEUS)

    # Open Inference

    async def server(self, _request: Request) -> Reply:
        """What serves."""
        return Reply(seldon.dump({"name": "jupyterlab-kf", "version": "1", "extensions": openinference.EXTENSIONS}))

    async def index(self, _request: Request) -> Reply:
        """Which models there are."""
        entries = [
            {"name": name, "version": self.service.version(unit), "state": "READY", "reason": ""}
            for name, unit in self.service.units.items()
        ]
        return Reply(seldon.dump(entries))

    async def v2(self, request: Request, found: re.Match[str]) -> Reply:
        """What is below a model's name."""
        name, verb = found["name"], found["verb"]
        if name == "infer" and verb is None and request.method == "POST":  # Seldon's short form: the only model
            name, verb = self.service.unit.name, "infer"
        _only(request, *(("POST",) if verb == "infer" else ("GET", "HEAD")))
        unit = self.service.named(name, found["version"] or "")
        version = self.service.version(unit)
        if verb == "infer":
            length = _length(request.headers.get(LENGTH))
            asked = openinference.decode(request.body, length)
            outputs = await self.service.infer(unit, asked.inputs, asked.wanted)
            body, length = openinference.encode(asked, name, version, outputs)
            if length is None:
                return Reply(body)
            return Reply(body, content_type=BINARY, headers=[(LENGTH, str(length).encode())])
        if verb == "ready":
            return await self.ready(request)
        if verb == "config":
            return Reply(seldon.dump(openinference.model_config(name, unit.signature)))
        return Reply(seldon.dump(openinference.model_metadata(name, version, unit.signature)))

    # TensorFlow Serving

    async def v1(self, request: Request, found: re.Match[str]) -> Reply:
        """What is below a model's name."""
        verb = found["verb"] or ""
        _only(request, *(("POST",) if verb.startswith(":") else ("GET", "HEAD")))
        unit = self.service.named(found["name"] or self.service.unit.name, found["version"] or "")
        if found["label"]:
            raise Refusal(f"the model {unit.name} has no version with the label {found['label']}", code=404)
        version = self.service.version(unit)
        if verb == "metadata":
            return Reply(seldon.dump(tfserving.metadata(unit.name, version, unit.signature)))
        if not verb:
            return Reply(seldon.dump(tfserving.status(version, ready=self.service.ready)))
        if verb != ":predict":
            raise Refusal(f"{verb} is not served: it needs a signature of that kind; ask with :predict", code=501)
        asked = tfserving.decode(request.body)
        return Reply(tfserving.encode(asked, await self.service.infer(unit, asked.inputs, ())))


def _only(request: Request, *methods: str) -> None:
    if request.method not in methods:
        told = f"{request.path} takes {' and '.join(methods)}, not {request.method}"
        raise Refusal(told, code=405, reason="METHOD_NOT_ALLOWED")


def _length(header: bytes | None) -> int | None:
    if header is None:
        return None
    if not header.isdigit():
        raise Refusal(f"the header Inference-Header-Content-Length must be a number, not {header.decode('latin-1')!r}")
    return int(header)
