"""The verbs of the Kubernetes API over one pooled HTTP client: get, list, create, apply, patch, delete, logs, proxy.

Every write is idempotent or refused: creating again what the same submission already created is success. Reads and
idempotent writes are repeated with growing, jittered pauses when the server is busy, and ``Retry-After`` is honoured.
Failures become the errors of :mod:`jupyterlab_kf.errors`.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from email.utils import parsedate_to_datetime
from typing import Any, Final, TypeAlias
from urllib.parse import quote

from jupyterlab_kf import names
from jupyterlab_kf.cluster import shapes
from jupyterlab_kf.cluster.connection import Connection
from jupyterlab_kf.cluster.gate import Gate
from jupyterlab_kf.cluster.shapes import Shape
from jupyterlab_kf.cluster.transport import NoReplyError, Reply, Socket, Transport
from jupyterlab_kf.errors import (
    AlreadyExistsError,
    ApiError,
    ExpiredError,
    ForbiddenError,
    KubeflowError,
    NotFoundError,
    UnreachableError,
    from_status,
)
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, Ref, labels, meta

MERGE: Final = "application/merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
STRATEGIC: Final = "application/strategic-merge-patch+json"

_BUSY: Final = frozenset({429, 502, 503, 504})
_PAGE: Final = 500
_LONGEST_PAUSE: Final = 10.0
_PROBE_SECONDS: Final = 5.0

Objects: TypeAlias = list[Obj]
Reopen: TypeAlias = Callable[[], Connection]


class Client:
    """One cluster, spoken to from one event loop.

    Attributes:
        gate: where loops wait while the server is away.

    Args:
        connection: where the server is.
        reopen: gives a fresh connection when nothing answers (the embedded cluster is started again by it); it runs
            in a thread of its own and only for requests that somebody waits for, never for watches.
        reread: gives the connection as the files tell now, starting nothing; asked while the gate is closed, for a
            cluster that was made anew has another address and other credentials.
        attempts: how often a request that may be repeated is sent at most.
        sleep: waits; tests hand in their own.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        reopen: Reopen | None = None,
        reread: Reopen | None = None,
        attempts: int = 5,
        timeout: float = 30.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._transport = Transport(connection, timeout, sleep)
        self.gate = Gate(self._probe, sleep=sleep)
        self._reopen = reopen
        self._reread = reread
        self._attempts = attempts
        self._sleep = sleep
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Close the pooled connections; those who wait at the gate are let through."""
        await self.gate.close()
        await self._transport.close()

    @property
    def connection(self) -> Connection:
        """Where the server is."""
        return self._transport.connection

    async def replace(self, connection: Connection) -> None:
        """Speak through another connection from now on."""
        await self._transport.replace(connection)

    # Objects

    async def get(self, kind: Kind, namespace: str, name: str) -> Obj:
        """One object. Raises NotFoundError when it is not there."""
        found = await self.request("GET", kind.path(namespace, name), ref=Ref(kind.kind, name, namespace))
        return _typed(found, kind)

    async def list(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        selector: str = "",
        fields: str = "",
        shape: Shape = shapes.WHOLE,
    ) -> Objects:
        """All objects of a kind in a namespace, or in all; read in pages, and of each what ``shape`` tells."""
        return (await self.snapshot(kind, namespace, selector=selector, fields=fields, shape=shape))[0]

    async def snapshot(
        self,
        kind: Kind,
        namespace: str | None = None,
        *,
        selector: str = "",
        fields: str = "",
        shape: Shape = shapes.WHOLE,
        revive: bool = True,
    ) -> tuple[Objects, str]:
        """As :meth:`list`, with the resource version from which a watch goes on."""
        query = _query(labelSelector=selector, fieldSelector=fields, limit=_PAGE)
        items: Objects = []
        while True:
            try:
                page = await self.request("GET", kind.path(namespace), params=query, shape=shape, revive=revive)
            except ExpiredError:
                if "continue" not in query:
                    raise
                # The pages went stale while they were read; one big answer cannot.
                items, query = [], _query(labelSelector=selector, fieldSelector=fields)
                continue
            items += (_typed(item, kind) for item in page.get("items") or ())
            following = (page.get("metadata") or {}).get("continue")
            if not following:
                return items, str((page.get("metadata") or {}).get("resourceVersion") or "")
            query["continue"] = following

    async def create(self, kind: Kind, obj: Obj, *, namespace: str = "", dry_run: bool = False) -> Obj:
        """Create an object, once however often it is tried.

        Raises:
            AlreadyExistsError: the name is taken by something that another submission made.
        """
        ref = _ref(kind, obj, namespace)
        query = _query(fieldManager=names.FIELD_MANAGER, dryRun="All" if dry_run else "")
        mark = labels(obj).get(names.LABEL_SUBMISSION)
        try:
            made = await self.request(
                "POST", kind.path(ref.namespace), params=query, body=obj, ref=ref, repeat=mark is not None
            )
        except AlreadyExistsError:
            if mark is None:
                raise
            made = await self.get(kind, ref.namespace, ref.name)
            if labels(made).get(names.LABEL_SUBMISSION) != mark:
                raise
        return _typed(made, kind)

    async def apply(self, kind: Kind, obj: Obj, *, namespace: str = "", force: bool = True) -> Obj:
        """Server-side apply under our field manager."""
        ref = _ref(kind, obj, namespace)
        query = _query(fieldManager=names.FIELD_MANAGER, force="true" if force else "false")
        path = kind.path(ref.namespace, ref.name)
        body = {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
        done = await self.request(
            "PATCH",
            path,
            params=query,
            body=body,
            content_type=APPLY,
            ref=ref,
            repeat=True,
        )
        return _typed(done, kind)

    async def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: Mapping[str, Any],
        *,
        content_type: str = MERGE,
        subresource: str = "",
    ) -> Obj:
        """Patch an object, or its ``status``; the default is a JSON merge patch, which may be repeated without harm."""
        done = await self.request(
            "PATCH",
            kind.path(namespace, name, subresource),
            params=_query(fieldManager=names.FIELD_MANAGER),
            body=body,
            content_type=content_type,
            ref=Ref(kind.kind, name, namespace),
            repeat=content_type != "application/json-patch+json",
        )
        return _typed(done, kind)

    async def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        propagation: str = "Background",
        grace: int | None = None,
        dry_run: bool = False,
    ) -> bool:
        """Delete an object (only the one with that uid, if given), or see whether it may be; False when it was gone."""
        options: Obj = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        if dry_run:
            options["dryRun"] = ["All"]
        try:
            await self.request(
                "DELETE", kind.path(namespace, name), body=options, ref=Ref(kind.kind, name, namespace), repeat=True
            )
        except NotFoundError:
            return False
        return True

    async def events(self, namespace: str, *, uid: str = "", name: str = "") -> Objects:
        """Event objects of a namespace, of one involved object if its uid or name is given."""
        from jupyterlab_kf import kinds

        pairs = {"involvedObject.uid": uid, "involvedObject.name": name}
        return await self.list(kinds.EVENT, namespace, fields=",".join(f"{k}={v}" for k, v in pairs.items() if v))

    async def clock(self) -> tuple[str, float | None]:
        """The server's version, and by how many seconds its clock is ahead of ours; None where it does not say."""
        began = time.time()
        reply = await self._transport.send("GET", "/version")
        if reply.status >= 400:  # noqa: PLR2004
            raise self._failure(reply, None)
        middle = (began + time.time()) / 2
        version = str(_json(reply.content).get("gitVersion") or "")
        try:
            # The header has whole seconds: half of one is the best guess for what was cut off.
            skew = parsedate_to_datetime(reply.headers["Date"]).timestamp() + 0.5 - middle
        except (KeyError, ValueError):
            return version, None
        return version, skew

    async def version(self) -> Obj:
        """What the server says it is."""
        return dict(await self.request("GET", "/version"))

    async def serves(self, kind: Kind) -> bool:
        """Whether the server knows a kind in that very version."""
        root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
        try:
            found = await self.request("GET", root)
        except NotFoundError:
            return False
        return any(entry.get("name") == kind.plural for entry in found.get("resources") or ())

    async def logs(
        self,
        namespace: str,
        pod: str,
        *,
        container: str = "",
        follow: bool = False,
        tail: int | None = None,
        since: str = "",
        since_seconds: int | None = None,
        timestamps: bool = False,
        previous: bool = False,
    ) -> AsyncIterator[str]:
        """The lines of a container's log, without their newlines."""
        from jupyterlab_kf import kinds

        query = _query(
            container=container,
            follow="true" if follow else "",
            tailLines="" if tail is None else tail,
            sinceTime=since,
            sinceSeconds="" if since_seconds is None else since_seconds,
            timestamps="true" if timestamps else "",
            previous="true" if previous else "",
        )
        path = kinds.POD.path(namespace, pod, "log")
        async with self.stream(path, params=query, ref=Ref("Pod", pod, namespace), accept="*/*") as lines:
            async for line in lines:
                yield line.decode(errors="replace")

    async def proxy(
        self,
        namespace: str,
        name: str,
        port: int | str,
        path: str = "/",
        *,
        pod: bool = False,
        method: str = "GET",
        params: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        scheme: str = "",
        seconds: float | None = None,
    ) -> Reply:
        """What a service (or a pod) answers, asked through the API server: nothing of the cluster need be reachable.

        Sent once: what it does to the program is not known. The program's own failures are answers, too.

        ``port`` is a number or a service port's name; ``path`` is the program's own, its query goes into ``params``;
        ``scheme`` is ``https`` for a program that speaks TLS.

        Raises:
            ApiError: the API server could not reach it, or refuses to.
        """
        from jupyterlab_kf import kinds

        kind = kinds.POD if pod else kinds.SERVICE
        target = ":".join(part for part in (scheme, name, str(port)) if part)
        address = (
            f"{kind.path(namespace)}/{quote(target, safe=':')}/proxy/{quote(path.lstrip('/'), safe='/-._~:@!$&*+,;=')}"
        )
        try:
            reply = await self._transport.send(
                method, address, params=params, data=body, headers=headers, seconds=seconds
            )
        except NoReplyError as error:
            if not error.refused or self._reopen is None:
                raise
            # Nothing was sent, and what is asked for may well run: only the way to it is gone.
            await self._revive()
            reply = await self._transport.send(
                method, address, params=params, data=body, headers=headers, seconds=seconds
            )
        if reply.status >= 400 and _status(reply.content) is not None:  # noqa: PLR2004
            raise self._failure(reply, Ref(kind.kind, name, namespace))
        return reply

    @asynccontextmanager
    async def socket(self, path: str, *, params: Mapping[str, str], protocol: str, ref: Ref) -> AsyncIterator[Socket]:
        """A WebSocket to what runs in the cluster, through the API server.

        Raises:
            ApiError: the API server could not reach it, or refuses to.
        """
        async with self._transport.socket(path, params=params, protocol=protocol) as found:
            if isinstance(found, Reply):
                raise self._failure(found, ref)
            yield found

    # Requests

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        content_type: str = "application/json",
        ref: Ref | None = None,
        repeat: bool = False,
        shape: Shape = shapes.WHOLE,
        revive: bool = True,
    ) -> Any:
        """One JSON request; repeated when the method or ``repeat`` says that it may be."""
        again = repeat or method == "GET"
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {"Content-Type": content_type} if data is not None else {}
        revived = False
        for attempt in range(1, self._attempts + 1):
            last = attempt == self._attempts
            pause = None
            try:
                reply = await self._transport.send(method, path, params=params, data=data, headers=headers)
            except NoReplyError as error:
                if error.refused and revive and self._reopen is not None and not revived:
                    revived = True
                    await self._revive()
                    continue
                if last or error.refused or not again:
                    raise
            else:
                if reply.status < 400:  # noqa: PLR2004  success and redirection
                    return _json(reply.content, shape)
                busy = reply.status in _BUSY or (reply.status == 500 and method == "GET")  # noqa: PLR2004
                if not busy or last or not (again or reply.status == 429):  # noqa: PLR2004
                    raise self._failure(reply, ref)
                pause = _retry_after(reply)
            # A server says one pause to all: they must not all come back in one moment.
            await self._sleep(_pause(attempt) if pause is None else pause * (1 + random.random() / 4))  # noqa: S311
        raise AssertionError("unreachable")  # the last attempt returns or raises

    @asynccontextmanager
    async def stream(
        self,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        ref: Ref | None = None,
        accept: str = "application/json",
        silence: float | None = None,
        together: float = 0.0,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """A GET whose body is read line by line as it comes.

        ``silence`` is the number of seconds without a byte after which the connection counts as dead; lines that come
        within ``together`` seconds after others are read with one another.
        """
        async with self._transport.stream(
            path, params=params, accept=accept, silence=silence, together=together
        ) as found:
            if isinstance(found, Reply):
                raise self._failure(found, ref)
            yield _lines(found)

    async def _probe(self) -> None:
        """Whether the server is ready. One that does not say so to us (a proxy before it may not) is taken to be."""
        try:
            reply = await self._transport.send("GET", "/readyz", seconds=_PROBE_SECONDS)
        except UnreachableError:
            if self._reread is not None:
                with suppress(KubeflowError):  # it is away; the error above says so
                    await self.replace(await asyncio.to_thread(self._reread))
            raise
        if reply.status >= 400:  # noqa: PLR2004
            with suppress(NotFoundError, ForbiddenError):
                raise self._failure(reply, None)

    async def _revive(self) -> None:
        """Open the connection anew, once for all who wait."""
        before = self.connection
        async with self._opening:
            if self._reopen is None or self.connection is not before:
                return
            await self.replace(await asyncio.to_thread(self._reopen))

    def _failure(self, reply: Reply, ref: Ref | None) -> ApiError:
        status = _status(reply.content)
        if status is None:
            text = reply.content.decode(errors="replace").strip().splitlines()
            status = {"message": f"the server answered {reply.status}: {text[0][:300] if text else 'nothing'}"}
        hint = ""
        if reply.status == 401:  # noqa: PLR2004
            hint = f"the credentials of {self.connection.name!r} are missing or have expired: log in again"
        elif reply.status == 403:  # noqa: PLR2004
            hint = (
                "your account has no right to do this there; an administrator can grant it, or choose another namespace"
            )
        if (seconds := _retry_after(reply)) is not None:
            status = {**status, "details": {"retryAfterSeconds": seconds, **(status.get("details") or {})}}
        return from_status(status, code=reply.status, hint=hint, ref=ref)


def _status(content: bytes) -> Obj | None:
    """The Status object of Kubernetes, if that is what it is."""
    try:
        found = json.loads(content)
    except ValueError:
        return None
    return found if isinstance(found, dict) and found.get("kind") == "Status" else None


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines of any length; the HTTP library's own reader refuses those above its buffer."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest


def _json(content: bytes, shape: Shape = shapes.WHOLE) -> Any:
    try:
        return shape.page(content) if content else {}
    except ValueError as error:
        raise ApiError(f"the server answered something that is not JSON: {content[:100]!r}") from error


def _typed(obj: Any, kind: Kind) -> Obj:
    """The object with its kind: items of a list come without."""
    if not isinstance(obj, dict):
        raise ApiError(f"the server answered {type(obj).__name__} where a {kind.kind} was expected")
    if "kind" not in obj:
        return {"apiVersion": kind.api_version, "kind": kind.kind, **obj}
    return obj


def _ref(kind: Kind, obj: Obj, namespace: str) -> Ref:
    head = meta(obj)
    return Ref(kind.kind, str(head.get("name", "")), namespace or str(head.get("namespace") or ""))


def _query(**pairs: object) -> dict[str, str]:
    return {key: str(value) for key, value in pairs.items() if value != ""}


def _pause(attempt: int) -> float:
    top: float = min(0.1 * 2**attempt, _LONGEST_PAUSE)
    return top * (0.5 + random.random() / 2)  # noqa: S311  spreads clients out; nothing secret


def _retry_after(reply: Reply) -> float | None:
    text = reply.headers.get("Retry-After")
    try:
        return min(float(text), 30.0) if text else None
    except ValueError:  # an HTTP date, which API servers do not send
        return None
