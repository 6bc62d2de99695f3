"""Requests about objects: one verb, one call of the registry, one answer.

Owns which verbs exist where (405), and the flow of reads, writes, watches, logs and proxied requests. Refuses rules of
objects and forms of answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import (
    answers,
    failures,
    listing,
    nodes,
    patches,
    requests,
    rules,
    selectors,
    watching,
)
from jupyterlab_kf.embedded.apiserver.deletion import ended
from jupyterlab_kf.embedded.apiserver.exchange import Exchange
from jupyterlab_kf.embedded.apiserver.options import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    DeleteOptions,
    WriteOptions,
)
from jupyterlab_kf.embedded.apiserver.requests import Form, Query, Target
from jupyterlab_kf.embedded.apiserver.selectors import Selector
from jupyterlab_kf.errors import ApiError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

_STORED: Final = ("status", "scale")
_PATCHES: Final = (JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH, APPLY_PATCH)
_FINE: Final[Mapping[str, Any]] = {
    "kind": "Status",
    "apiVersion": "v1",
    "metadata": {},
    "status": "Success",
    "code": 201,
}


async def serve_object(exchange: Exchange, target: Target) -> None:
    """Answer a request about a resource.

    Raises:
        ApiError: whatever is to be answered instead.
    """
    if target.subresource == "proxy" and target.kind in (kinds.POD, kinds.SERVICE):
        await _proxy(exchange, target)
        return
    if target.subresource == "proxy" and target.kind == kinds.NODE and exchange.request.method == "GET":
        backing = exchange.backing
        await exchange.send(200, await nodes.packages(backing.registry, backing.node, target, exchange.query))
        return
    special = _POD_SUBRESOURCES.get(target.subresource) if target.kind == kinds.POD else None
    if special is not None:
        method, serve = special
        if exchange.request.method not in method:
            raise failures.method_not_allowed()
        await serve(exchange, target)
        return
    if target.subresource and target.subresource not in _STORED:
        raise failures.no_page() if target.kind.custom else failures.no_resource()
    found = _ON_OBJECT.get(exchange.request.method or "") if target.name else _on_collection(exchange, target)
    if found is None:
        raise failures.method_not_allowed()
    await found(exchange, target)


def _on_collection(exchange: Exchange, target: Target) -> _Serve | None:
    method = exchange.request.method
    if method == "GET":
        return _watch if target.watch or exchange.query.flag("watch") else _list
    if method == "PUT" and target.kind.custom:
        raise failures.bad_request("name must be provided")
    everywhere = target.kind.namespaced and target.namespace is None
    if method == "POST" and not everywhere:
        return _create
    if method == "DELETE" and not everywhere and target.kind != kinds.NAMESPACE:
        return _delete_collection
    return None


# --- reading ---------------------------------------------------------------------------------------------------------


def _writer(exchange: Exchange, kind: Kind, form: Form) -> answers.Writer:
    crd = exchange.backing.registry.resources.schema_source(kind)
    include = answers.include_object(exchange.query) if form.transform == "Table" else "Metadata"
    return answers.Writer(kind, form, include=include, crd=crd, now=time.time())


def _selector(exchange: Exchange, kind: Kind) -> Selector:
    query = exchange.query
    selectable = exchange.backing.registry.resources.selectable(kind)
    return selectors.parse(query.text("labelSelector"), query.text("fieldSelector"), kind, selectable=selectable)


async def _get(exchange: Exchange, target: Target) -> None:
    registry, kind = exchange.backing.registry, target.kind
    form = exchange.accepted(kind)
    if target.subresource == "scale":
        await exchange.send(200, registry.scale(kind, target.place, target.name), form)
        return
    if target.subresource and target.subresource not in kind.subresources:
        raise failures.not_found(kind, target.name)
    obj = registry.get(kind, target.place, target.name)
    await exchange.send(200, _writer(exchange, kind, form).one(obj), form)


async def _list(exchange: Exchange, target: Target) -> None:
    kind = target.kind
    form = exchange.accepted(kind)
    query = listing.parse(exchange.query)
    selector = _selector(exchange, kind)
    store = exchange.backing.registry.store
    if query.version is not None and query.version > store.revision:
        await asyncio.sleep(_FUTURE_SECONDS)
    page = listing.page(store, kind, target.namespace, selector, query)
    writer = _writer(exchange, kind, form)
    if form.media == "yaml":
        await exchange.send(200, writer.whole(page), form)
    else:
        await exchange.send_parts(200, writer.parts(page))


_FUTURE_SECONDS: Final = 3.0
"""How long a list waits for a version that has not happened."""


async def _watch(exchange: Exchange, target: Target) -> None:
    kind = target.kind
    form = exchange.accepted(kind)
    query = watching.parse(exchange.query)
    selector = _selector(exchange, kind)
    writer = _writer(exchange, kind, form)
    events = exchange.backing.watches.events(kind, target.namespace, selector, query, lambda: exchange.gone)
    exchange.set_status(200)
    await exchange.flush()
    async for event in events:
        exchange.write(writer.line(event))
        await exchange.flush()
        if event.type == "ERROR":
            break
    if not exchange.gone:
        await exchange.finish()


# --- writing ---------------------------------------------------------------------------------------------------------


async def _written(exchange: Exchange, target: Target, status: int, obj: Obj, options: WriteOptions) -> None:
    form = exchange.accepted(target.kind)
    exchange.warn(options.warnings)
    if target.subresource == "scale":
        await exchange.send(status, obj, form)
        return
    await exchange.send(status, _writer(exchange, target.kind, form).one(obj), form)


async def _create(exchange: Exchange, target: Target) -> None:
    kind = target.kind
    exchange.accepted(kind)
    options = requests.write_options(exchange.query, "CreateOptions", user_agent=exchange.user_agent)
    body, decoding = exchange.read_body(kind.kind)
    obj = _typed(requests.check_type(body, kind))
    options = _with_decoding(options, decoding)
    stored = exchange.backing.registry.create(kind, obj, namespace=target.place, options=options)
    await _written(exchange, target, 201, stored, options)


async def _update(exchange: Exchange, target: Target) -> None:
    kind = target.kind
    exchange.accepted(kind)
    options = requests.write_options(exchange.query, "UpdateOptions", user_agent=exchange.user_agent)
    body, decoding = exchange.read_body(kind.kind)
    if target.subresource == "scale":
        obj = _located(patches.check_shape(body, "Scale"), target)
    else:
        obj = _located(_typed(requests.check_type(body, kind)), target)
    options = _with_decoding(options, decoding)
    stored = exchange.backing.registry.update(kind, obj, subresource=target.subresource, options=options)
    await _written(exchange, target, 200, stored, options)


async def _patch(exchange: Exchange, target: Target) -> None:
    kind = target.kind
    exchange.accepted(kind)
    content_type = requests.media_type(exchange.request.headers.get("Content-Type", ""))
    if content_type not in _PATCHES:
        raise failures.unsupported_patch()
    if content_type == STRATEGIC_PATCH and kind.custom:
        raise failures.unsupported_body(f"{JSON_PATCH}, {MERGE_PATCH}, {APPLY_PATCH}")
    options = requests.write_options(
        exchange.query, "PatchOptions", user_agent=exchange.user_agent, patch_type=content_type
    )
    registry = exchange.backing.registry
    existed = registry.store.get(kind, target.place, target.name) is not None
    body = requests.read_patch(exchange.body(), content_type)
    stored = registry.patch(
        kind, target.place, target.name, body, content_type, subresource=target.subresource, options=options
    )
    await _written(exchange, target, 200 if existed else 201, stored, options)


def _with_decoding(options: WriteOptions, decoding: tuple[str, ...]) -> WriteOptions:
    if not decoding:
        return options
    return WriteOptions(
        options.manager, options.field_validation, options.dry_run, options.force, decoding, options.warnings
    )


def _typed(obj: Obj) -> Obj:
    return obj if obj.get("metadata") is not None else {**obj, "metadata": {}}


def _located(obj: Obj, target: Target) -> Obj:
    """The body of a PUT with the name and namespace of its path.

    Raises:
        InvalidError: 400, the body says otherwise.
    """
    meta = dict(obj.get("metadata") or {})
    name, namespace = meta.get("name"), meta.get("namespace")
    if name and name != target.name:
        raise failures.bad_request(
            f"the name of the object ({name}) does not match the name on the URL ({target.name})"
        )
    if target.kind.namespaced and namespace and namespace != target.namespace:
        raise failures.bad_request(
            f"the namespace of the object ({namespace}) does not match the namespace on the URL ({target.namespace})"
        )
    meta |= {"name": target.name}
    if target.kind.namespaced:
        meta["namespace"] = target.namespace
    return {**obj, "metadata": meta}


# --- deleting --------------------------------------------------------------------------------------------------------


def _delete_options(exchange: Exchange) -> DeleteOptions:
    body: Any = {}
    if exchange.request.body:
        body, _ = exchange.read_body("DeleteOptions")
    return requests.delete_options(exchange.query, patches.check_shape(body, "DeleteOptions"))


async def _delete(exchange: Exchange, target: Target) -> None:
    if target.subresource:
        raise failures.method_not_allowed()
    kind, registry = target.kind, exchange.backing.registry
    form = exchange.accepted(kind)
    options = _delete_options(exchange)
    before = registry.get(kind, target.place, target.name)
    waiting = registry.delete(kind, target.place, target.name, options=options)
    if waiting is None and kind in rules.RETURNED_WHEN_DELETED:
        waiting = ended(before, time.time())
    if waiting is None:
        await exchange.send(200, failures.success(kind, target.name, before["metadata"]["uid"]), form)
        return
    await exchange.send(200, _writer(exchange, kind, form).one(waiting), form)


async def _delete_collection(exchange: Exchange, target: Target) -> None:
    kind, registry = target.kind, exchange.backing.registry
    form = exchange.accepted(kind)
    options = _delete_options(exchange)
    selector = _selector(exchange, kind)
    page = listing.page(registry.store, kind, target.namespace, selector, listing.ListQuery())
    for start in range(0, len(page.records), answers.CHUNK):
        chosen = page.records[start : start + answers.CHUNK]
        registry.delete_all(kind, [record.obj for record in chosen], options=options)
        await asyncio.sleep(0)
    writer = _writer(exchange, kind, form)
    if form.media == "yaml":
        await exchange.send(200, writer.whole(page), form)
    else:
        await exchange.send_parts(200, writer.parts(page))


# --- pods ------------------------------------------------------------------------------------------------------------


async def _log(exchange: Exchange, target: Target) -> None:
    backing = exchange.backing
    exchange.set_header("Content-Type", "text/plain")
    pieces = nodes.logs(backing.registry, backing.node, target, exchange.query)
    async for piece in pieces:
        exchange.write(piece)
        await exchange.flush()
        if exchange.gone:
            return
    await exchange.finish()


async def _binding(exchange: Exchange, target: Target) -> None:
    body, _ = exchange.read_body("Binding")
    chosen = patches.check_shape(body, "Binding").get("target")
    node = chosen.get("name") if isinstance(chosen, dict) else None
    if not node or not isinstance(node, str):
        cause = rules.Cause("target.name", "FieldValueRequired", "Required value")
        binding = Kind("", "v1", "Binding", "bindings")
        raise failures.invalid(binding, target.name, [cause])
    exchange.backing.registry.bind(target.place, target.name, node)
    await exchange.send(201, dict(_FINE))


async def _eviction(exchange: Exchange, target: Target) -> None:
    body, _ = exchange.read_body("Eviction")
    asked = patches.check_shape(body, "Eviction").get("deleteOptions") or {}
    options = requests.delete_options(Query({}), patches.check_shape(asked, "DeleteOptions"))
    exchange.backing.registry.delete(kinds.POD, target.place, target.name, options=options)
    await exchange.send(201, dict(_FINE))


async def _not_here(exchange: Exchange, target: Target) -> None:
    exchange.backing.registry.get(kinds.POD, target.place, target.name)
    message = f"{target.subresource} is not supported by the embedded cluster: its pods are processes of this machine"
    raise ApiError(message, code=501, reason="NotImplemented")


async def _proxy(exchange: Exchange, target: Target) -> None:
    backing, request = exchange.backing, exchange.request
    where = nodes.upstream(backing.registry, backing.node, target)
    path = target.rest.lstrip("/") + (f"?{request.query}" if request.query else "")
    started = False
    async for piece in nodes.forward(where, request.method or "GET", path, dict(request.headers), request.body):
        if started:
            exchange.write(piece)
            await exchange.flush()
            continue
        started = True
        status, headers = piece
        exchange.set_status(status)
        exchange.clear_header("Content-Type")
        for name, value in headers:
            exchange.set_header(name, value)
        await exchange.flush()
    await exchange.finish()


_Serve = Callable[[Exchange, Target], Awaitable[None]]
_POD_SUBRESOURCES: Final[Mapping[str, tuple[tuple[str, ...], _Serve]]] = {
    "log": (("GET",), _log),
    "binding": (("POST",), _binding),
    "eviction": (("POST",), _eviction),
    "exec": (("GET", "POST"), _not_here),
    "attach": (("GET", "POST"), _not_here),
    "portforward": (("GET", "POST"), _not_here),
}
_ON_OBJECT: Final[Mapping[str, _Serve]] = {"GET": _get, "PUT": _update, "PATCH": _patch, "DELETE": _delete}
