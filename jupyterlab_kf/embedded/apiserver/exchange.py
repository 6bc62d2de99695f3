"""Reading one request's body and writing its answer: what every handler shares.

Owns sizes, compression, pretty printing and the order of headers and pieces. Refuses to know what is being answered.
"""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from tornado import web

from jupyterlab_kf.embedded.apiserver import failures, requests
from jupyterlab_kf.embedded.apiserver.answers import as_yaml
from jupyterlab_kf.embedded.apiserver.backing import Backing
from jupyterlab_kf.embedded.store import encode
from jupyterlab_kf.errors import ApiError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

_GZIP_ABOVE: Final = 128 * 1024
_WARNING_LIMIT: Final = 4096
_VERBS: Final[Mapping[str, str]] = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


class Exchange(web.RequestHandler):
    """One request and its answer.

    Attributes:
        backing: what it is answered from.
        query: its query parameters.
        gone: the client has left.
    """

    backing: Backing
    query: requests.Query
    gone: bool

    # --- reading -----------------------------------------------------------------------------------------------------

    def verb(self, target: requests.Target) -> str:
        """The verb of access rules: get, list, watch, create, update, patch, delete or deletecollection."""
        method = self.request.method or "GET"
        if method == "DELETE" and not target.name:
            return "deletecollection"
        if method in _VERBS:
            return _VERBS[method]
        if target.name:
            return "get"
        return "watch" if target.watch or self.query.flag("watch") else "list"

    def body(self) -> bytes:
        """The request's body.

        Raises:
            ApiError: 413.
        """
        if len(self.request.body) > requests.BODY_LIMIT:
            raise failures.too_large(requests.BODY_LIMIT)
        return self.request.body

    def read_body(self, subject: str) -> tuple[Any, tuple[str, ...]]:
        """The value of the body and what is wrong with its text."""
        return requests.read(self.body(), self.request.headers.get("Content-Type", ""), subject)

    def accepted(self, kind: Kind) -> requests.Form:
        """How the client wants its answer."""
        return requests.form(self.request.headers.get("Accept", ""), custom=kind.custom)

    @property
    def user_agent(self) -> str:
        """Names the field manager of clients that do not name theirs."""
        return self.request.headers.get("User-Agent", "")

    # --- writing -----------------------------------------------------------------------------------------------------

    async def send(self, status: int, value: Any, form: requests.Form | None = None) -> None:
        """Answer with a value."""
        if form is not None and form.media == "yaml":
            self.set_header("Content-Type", "application/yaml")
            await self.send_bytes(status, as_yaml(value))
            return
        if self._pretty():
            await self.send_bytes(status, json.dumps(value, indent=2, ensure_ascii=False).encode())
            return
        await self.send_bytes(status, encode(value) + b"\n")

    async def send_bytes(self, status: int, body: bytes) -> None:
        """Answer with bytes, compressed when they are many and the client takes it."""
        self.set_status(status)
        if len(body) > _GZIP_ABOVE and self._takes_gzip():
            body = await asyncio.to_thread(gzip.compress, body, 1)
            self.set_header("Content-Encoding", "gzip")
        self.set_header("Content-Length", str(len(body)))
        if self.request.method != "HEAD":
            self.write(body)
        await self.finish()

    async def send_parts(self, status: int, parts: Iterable[bytes]) -> None:
        """Answer with a body that is made in pieces; others get their turn between them."""
        pieces: list[bytes] = []
        for part in parts:
            pieces.append(part)
            if len(pieces) > 1:
                await asyncio.sleep(0)
        pieces.append(b"\n")
        if len(pieces) <= 4 or self._takes_gzip():  # noqa: PLR2004  head, items, tail, newline
            await self.send_bytes(status, b"".join(pieces))
            return
        self.set_status(status)
        self.set_header("Content-Length", str(sum(map(len, pieces))))
        for piece in pieces:
            self.write(piece)
            await self.flush()
        await self.finish()

    async def send_text(self, status: int, text: str) -> None:
        """Answer with plain text."""
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.set_header("X-Content-Type-Options", "nosniff")
        await self.send_bytes(status, text.encode())

    async def fail(self, error: ApiError) -> None:
        """Answer with a failure; after the first bytes of a stream it can only be cut off."""
        if self._headers_written:
            if not self._finished:
                await self.finish()
            return
        if isinstance(error, failures.PageNotFoundError):
            await self.send_text(error.code, error.message + "\n")
            return
        if isinstance(retry := error.details.get("retryAfterSeconds"), int):
            self.set_header("Retry-After", str(retry))
        status: Obj = failures.status(error)
        self.set_header("Content-Type", "application/json")
        await self.send(error.code, status)

    def warn(self, warnings: Iterable[str]) -> None:
        """Add Warning headers."""
        for warning in warnings:
            text = json.dumps(warning[:_WARNING_LIMIT])
            self.add_header("Warning", f"299 - {text}")

    def _pretty(self) -> bool:
        if self.query.has("pretty"):
            return self.query.flag("pretty")
        return self.user_agent.startswith(("curl", "Wget", "Mozilla"))

    def _takes_gzip(self) -> bool:
        return "gzip" in self.request.headers.get("Accept-Encoding", "")
