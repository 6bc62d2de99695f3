"""Lists: which objects, as of which version, in which pages. Synchronous reads of the store.

A page goes on where the last one ended, in the state of the first page: that state is the present with the changes
since then undone, so no snapshot is kept. When those changes have left the window the client is told 410, as by a real
server.
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from typing import Any, Final

from jupyterlab_kf.embedded.apiserver import failures
from jupyterlab_kf.embedded.apiserver.requests import Query
from jupyterlab_kf.embedded.apiserver.rules import Cause
from jupyterlab_kf.embedded.apiserver.selectors import Selector
from jupyterlab_kf.embedded.store import Record, Store
from jupyterlab_kf.errors import ExpiredError
from jupyterlab_kf.kinds import Kind

_TOO_OLD: Final = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)
_FORMAT: Final = "meta.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Page:
    """One answer to a list: its objects and the list's metadata."""

    records: list[Record]
    revision: int
    token: str = ""
    remaining: int | None = None

    def metadata(self, *, custom: bool) -> dict[str, Any]:
        """``metadata`` of the list object; lists of custom kinds write an empty ``continue`` too."""
        out: dict[str, Any] = {"resourceVersion": str(self.revision)}
        if self.token or custom:
            out = {"continue": self.token, **out} if custom else {**out, "continue": self.token}
        if self.remaining is not None:
            out["remainingItemCount"] = self.remaining
        return out


@dataclass(frozen=True, slots=True)
class ListQuery:
    """The parameters of a list that say which state is meant."""

    limit: int = 0
    token: str = ""
    version: int | None = None
    exact: bool = False


def parse_version(text: str, *, what: str = "invalid resource version: ") -> int | None:
    """A resourceVersion of a query; None when it is not given.

    Raises:
        InvalidError: 400.
    """
    if not text:
        return None
    if not text.isdecimal():
        raise failures.bad_request(
            f'{what}resourceVersion: Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)


def parse(query: Query) -> ListQuery:
    """The parameters of a list.

    Raises:
        InvalidError: 400 or 422, in the words of a real server.
    """
    match = query.text("resourceVersionMatch")
    causes = []
    if query.has("sendInitialEvents"):
        causes.append(("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    if match and not query.text("resourceVersion"):
        causes.append(("resourceVersionMatch", "resourceVersionMatch is forbidden unless resourceVersion is provided"))
    if match == "Exact" and query.text("resourceVersion") == "0":
        why = 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
        causes.append(("resourceVersionMatch", why))
    if match and query.text("continue"):
        causes.append(("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided"))
    if causes:
        forbidden = [Cause(field, "FieldValueForbidden", f"Forbidden: {why}") for field, why in causes]
        raise failures.invalid_options("ListOptions", forbidden)
    if match not in ("", "Exact", "NotOlderThan"):
        message = f'Unsupported value: "{match}": supported values: "Exact", "NotOlderThan", ""'
        cause = Cause("resourceVersionMatch", "FieldValueNotSupported", message)
        raise failures.invalid_options("ListOptions", [cause])
    version = parse_version(query.text("resourceVersion"))
    return ListQuery(max(0, query.number("limit") or 0), query.text("continue"), version, match == "Exact")


def page(store: Store, kind: Kind, namespace: str | None, selector: Selector, query: ListQuery) -> Page:
    """The page that a query asks for.

    Raises:
        ExpiredError: the state it asks for is no longer known.
        ApiError: 504, a version that has not happened.
    """
    if query.token:
        return _continued(store, kind, namespace, selector, query)
    version = query.version
    if version is not None and version > store.revision:
        raise failures.future_version(version, store.revision)
    if version and (query.exact or query.limit):
        return _exact(store, kind, namespace, selector, query)
    limit = 0 if version == 0 else query.limit
    return _cut(store.records(kind, namespace), namespace, selector, store.revision, limit)


def _exact(store: Store, kind: Kind, namespace: str | None, selector: Selector, query: ListQuery) -> Page:
    version = query.version or 0
    if query.exact and not store.kept(version):
        raise ExpiredError("The resourceVersion for the provided list is too old.")
    if not query.exact:
        return _cut(store.records(kind, namespace), namespace, selector, store.revision, query.limit)
    return _cut(_state(store, kind, namespace, version), namespace, selector, version, query.limit)


def _continued(store: Store, kind: Kind, namespace: str | None, selector: Selector, query: ListQuery) -> Page:
    revision, start = _read_token(query.token)
    if query.version:
        raise failures.bad_request("specifying resource version is not allowed when using continue")
    if revision == -1:
        records, revision = store.records(kind, namespace), store.revision
    elif store.kept(revision):
        records = _state(store, kind, namespace, revision)
    else:
        raise failures.ContinueExpiredError(_TOO_OLD, token=_write_token(-1, start))
    rest = [record for record in records if _key(record, namespace) >= start]
    return _cut(rest, namespace, selector, revision, query.limit)


def _state(store: Store, kind: Kind, namespace: str | None, revision: int) -> list[Record]:
    """The objects as they were at a revision: the present, with what came later undone."""
    changes = store.since(kind, revision)
    if not changes:
        return store.records(kind, namespace)
    now = {_key(record, None): record for record in store.records(kind)}
    for change in reversed(changes):
        key = _key(Record(change.obj, b""), None)
        if change.old is None:
            now.pop(key, None)
        else:
            now[key] = Record(change.old, b"")
    found = (now[key] for key in sorted(now))
    return [record for record in found if namespace is None or record.obj["metadata"].get("namespace") == namespace]


def _cut(records: list[Record], namespace: str | None, selector: Selector, revision: int, limit: int) -> Page:
    selected = [record for record in records if selector.matches(record.obj)] if selector else records
    if not limit or len(selected) <= limit:
        return Page(selected, revision)
    start = _key(selected[limit - 1], namespace) + "\0"
    remaining = None if selector else len(selected) - limit
    return Page(selected[:limit], revision, _write_token(revision, start), remaining)


def _key(record: Record, namespace: str | None) -> str:
    meta = record.obj["metadata"]
    name: str = meta["name"]
    if namespace is not None or not meta.get("namespace"):
        return name
    return f"{meta['namespace']}/{name}"


def _write_token(revision: int, start: str) -> str:
    text = json.dumps({"v": _FORMAT, "rv": revision, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _read_token(token: str) -> tuple[int, str]:
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        value = json.loads(text)
        return int(value["rv"]), str(value["start"])
    except (binascii.Error, ValueError, KeyError, TypeError) as error:
        raise failures.bad_request(
            "invalid continue token: continue key is not valid: invalid character 'i' looking for beginning of value"
        ) from error
