"""HTTP in an ASGI application without a framework: read a bounded body, find the route in a table, send one answer.

A framework's routing and middleware would cost about what a small model costs. Every answer is sent by ``send``, and
every way of failing ends in the words of the protocol whose path was asked.
"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

from .messages import Refusal

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"
BINARY = b"application/octet-stream"
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@dataclass(slots=True)
class Request:
    """What came in."""

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    body: bytes = b""


@dataclass(slots=True)
class Reply:
    """What goes out."""

    body: bytes = b""
    code: int = 200
    content_type: bytes = JSON
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


class ClientGone(Exception):  # noqa: N818  nobody is left to be told
    """The client left before its request was whole."""


async def read(scope: Scope, receive: Receive, limit: int) -> Request:
    """The whole request, decompressed; a body beyond the limit is refused before it is read."""
    headers = dict(scope["headers"])
    request = Request(scope["method"], scope["path"], scope["query_string"], headers)
    length = headers.get(b"content-length", b"")
    if length.isdigit() and int(length) > limit:
        raise too_large(limit)
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientGone
    request.body = message.get("body", b"")
    if message.get("more_body"):
        request.body = await _rest(request.body, receive, limit)
    elif len(request.body) > limit:
        raise too_large(limit)
    encoding = headers.get(b"content-encoding")
    if encoding and request.body:
        request.body = inflated(request.body, encoding.decode("latin-1"), limit)
    return request


async def _rest(first: bytes, receive: Receive, limit: int) -> bytes:
    parts, size = [first], len(first)
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit:
            raise too_large(limit)
        more = message.get("more_body", False)
    return b"".join(parts)


def inflated(body: bytes, encoding: str, limit: int) -> bytes:
    """A compressed body, as long as it stays within the limit when it is not."""
    windows = {"gzip": 31, "x-gzip": 31, "deflate": 15}
    if encoding == "identity":
        return body
    if encoding not in windows:
        raise Refusal(f"the content encoding {encoding} is not taken; there are gzip and deflate", code=415)
    inflating = zlib.decompressobj(windows[encoding])
    try:
        found = inflating.decompress(body, limit + 1)
    except zlib.error as error:
        raise Refusal(f"the body is not {encoding}: {error}") from error
    if len(found) > limit:
        raise too_large(limit)
    if not inflating.eof:
        raise Refusal(f"the body ends before its {encoding} does")
    return found


def too_large(limit: int) -> Refusal:
    """What is said about a body that is not taken."""
    return Refusal(f"the body is larger than {limit} bytes; --max-body sets the limit", code=413)


async def send(reply: Reply, send_part: Send, *, closing: bool) -> None:
    """Send an answer; ``closing`` asks the client to come back by a new connection, which will be another server's."""
    headers = [
        (b"content-type", reply.content_type),
        (b"content-length", str(len(reply.body)).encode()),
        (b"x-content-type-options", b"nosniff"),
        *reply.headers,
    ]
    if closing:
        headers.append((b"connection", b"close"))
    await send_part({"type": "http.response.start", "status": reply.code, "headers": headers})
    await send_part({"type": "http.response.body", "body": reply.body})
