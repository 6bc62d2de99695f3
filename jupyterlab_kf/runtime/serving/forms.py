"""The other ways in which Seldon's wrapper takes a message: a query, a form field, the parts of a multipart form.

Pure. What they have in common is that they end as the same JSON; files of ``binData`` become base64 as in JSON.
"""

from __future__ import annotations

import base64
import email.parser
import email.policy
from urllib.parse import parse_qs

from . import seldon
from .messages import Json, Refusal


def message(content_type: str, body: bytes, query: bytes) -> bytes:
    """The JSON of a request."""
    if content_type.startswith("multipart/form-data"):
        return _multipart(content_type, body)
    if content_type.startswith("application/x-www-form-urlencoded"):
        found = parse_qs(body).get(b"json")
        if found:
            return found[0]
    if not body and query:
        found = parse_qs(query).get(b"json")
        if found:
            return found[0]
    return body


def _multipart(content_type: str, body: bytes) -> bytes:
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1")
    form = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    if not form.is_multipart():
        raise Refusal("the multipart form cannot be read: its boundary is missing or wrong")
    value: Json = {}
    for part in form.iter_parts():
        name = part.get_param("name", header="content-disposition")
        raw = part.get_payload(decode=True)
        if not isinstance(name, str) or not isinstance(raw, bytes):
            raise Refusal("each part of the form needs a name")
        if name == "binData":
            value[name] = base64.b64encode(raw).decode()
        elif name == "strData":
            value[name] = raw.decode(errors="replace")
        else:
            value[name] = seldon.parse(raw)
    return seldon.dump(value)
