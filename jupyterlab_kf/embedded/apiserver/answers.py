"""How objects are written: JSON from the store's own bytes, YAML, tables and partial metadata. Pure.

Owns the forms of answers. A list of plain JSON is put together from the bytes that the store has encoded once; nothing
is encoded again. Refuses HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import yaml

from jupyterlab_kf.embedded.apiserver import failures, tables
from jupyterlab_kf.embedded.apiserver.listing import Page
from jupyterlab_kf.embedded.apiserver.requests import Form, Query
from jupyterlab_kf.embedded.apiserver.watching import Event
from jupyterlab_kf.embedded.store import Record, encode
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

CHUNK: Final = 500
"""Objects that are written before other work gets a turn."""


def include_object(query: Query) -> str:
    """What a table carries of each object.

    Raises:
        InvalidError: 400.
    """
    value = query.text("includeObject")
    if value not in ("", "Metadata", "Object", "None"):
        raise failures.bad_request(
            f'Unable to convert to Table as requested: includeObject: Invalid value: "{value}": '
            "must be 'Metadata', 'Object', 'None', or empty"
        )
    return value or "Metadata"


class Writer:
    """Writes objects of one kind in one form.

    Args:
        kind: their kind.
        form: what the client accepts.
        include: for tables, what a row carries of its object.
        crd: the definition to read columns from, for kinds that have one.
        now: for ages in tables.
    """

    def __init__(self, kind: Kind, form: Form, *, include: str = "Metadata", crd: Obj | None, now: float) -> None:
        self._kind = kind
        self._form = form
        self._include = include
        self._crd = crd
        self._now = now
        self._plain = form.media == "json" and not form.transform
        self._head = encode({"kind": kind.kind, "apiVersion": kind.api_version})[:-1] + b","
        self._columns_sent = False

    def one(self, obj: Obj) -> Any:
        """One object."""
        version = obj["metadata"].get("resourceVersion", "")
        match self._form.transform:
            case "Table":
                return self._table([self._row(obj)], {"resourceVersion": version} if version else {}, columns=True)
            case "PartialObjectMetadata":
                return self._partial(obj)
            case "PartialObjectMetadataList":
                raise failures.not_acceptable(custom=self._kind.custom)
            case _:
                return obj

    def parts(self, page: Page) -> Iterator[bytes]:
        """A list, in pieces."""
        if self._form.transform == "PartialObjectMetadata":
            raise failures.not_acceptable(custom=self._kind.custom)
        metadata = page.metadata(custom=self._kind.custom and not self._form.transform)
        if self._form.transform == "Table":
            head = self._table([], metadata, columns=True)
            yield encode(head)[: -len(b"[]}")] + b"["
            yield from _joined(page.records, lambda record: encode(self._row(record.obj)))
        elif self._form.transform:
            head = {"kind": "PartialObjectMetadataList", "apiVersion": self._meta_version, "metadata": metadata}
            yield encode(head)[:-1] + (b',"items":[' if page.records else b',"items":null')
            yield from _joined(page.records, lambda record: encode(self._partial(record.obj)))
            if not page.records:
                yield b"}"
                return
        else:
            head = {"kind": f"{self._kind.kind}List", "apiVersion": self._kind.api_version, "metadata": metadata}
            yield encode(head)[:-1] + b',"items":['
            yield from _joined(page.records, self._item)
        yield b"]}"

    def whole(self, page: Page) -> Obj:
        """A list as a value, for YAML."""
        items = [self._without_kind(record.obj) for record in page.records]
        head = {"kind": f"{self._kind.kind}List", "apiVersion": self._kind.api_version}
        return {**head, "metadata": page.metadata(custom=self._kind.custom), "items": items}

    def line(self, event: Event) -> bytes:
        """One event of a watch."""
        if event.type == "ERROR":
            return encode({"type": event.type, "object": event.obj}) + b"\n"
        if self._plain:
            body = self._bytes(Record(event.obj, event.encoded))
            return b'{"type":"%b","object":%b}\n' % (event.type.encode(), body)
        return encode({"type": event.type, "object": self._transformed(event)}) + b"\n"

    def _transformed(self, event: Event) -> Any:
        if self._form.transform == "Table":
            version = event.obj["metadata"].get("resourceVersion", "")
            rows = [] if event.type == "BOOKMARK" else [self._row(event.obj)]
            table = self._table(rows, {"resourceVersion": version}, columns=not self._columns_sent)
            self._columns_sent = True
            if event.type == "BOOKMARK":
                table["rows"] = [{"cells": [""], "object": self._partial(event.obj)}]
            return table
        return self._partial(event.obj) if self._form.transform else event.obj

    @property
    def _meta_version(self) -> str:
        return f"meta.k8s.io/{self._form.version}"

    def _item(self, record: Record) -> bytes:
        body = self._bytes(record)
        if self._kind.custom:
            return body
        if body.startswith(self._head):
            return b"{" + body[len(self._head) :]
        return encode(self._without_kind(record.obj))

    def _without_kind(self, obj: Obj) -> Obj:
        if self._kind.custom:
            return {**obj, "apiVersion": self._kind.api_version}
        return {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}

    def _bytes(self, record: Record) -> bytes:
        if record.encoded and record.obj.get("apiVersion") == self._kind.api_version:
            return record.encoded
        return encode({**record.obj, "apiVersion": self._kind.api_version})

    def _table(self, rows: list[Any], metadata: Obj, *, columns: bool) -> Obj:
        definitions = tables.columns(self._kind, self._crd) if columns else None
        return {
            "kind": "Table",
            "apiVersion": self._meta_version,
            "metadata": metadata,
            "columnDefinitions": definitions,
            "rows": rows,
        }

    def _row(self, obj: Obj) -> Obj:
        cells = tables.row(self._kind, obj, self._now, self._crd)
        if self._include == "None":
            return {"cells": cells, "object": None}
        carried = obj if self._include == "Object" else self._partial(obj)
        return {"cells": cells, "object": carried}

    def _partial(self, obj: Obj) -> Obj:
        return {"kind": "PartialObjectMetadata", "apiVersion": self._meta_version, "metadata": obj["metadata"]}


def _joined(records: Sequence[Record], write: Any) -> Iterator[bytes]:
    for start in range(0, len(records), CHUNK):
        piece = b",".join(write(record) for record in records[start : start + CHUNK])
        yield b"," + piece if start else piece


def as_yaml(value: Any) -> bytes:
    """An answer in YAML."""
    return yaml.safe_dump(value, default_flow_style=False, allow_unicode=True).encode()
