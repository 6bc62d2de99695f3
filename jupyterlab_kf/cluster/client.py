"""The verbs of the Kubernetes API over one pooled HTTP client: get, list, create, apply, patch, delete, logs, streams.

Every write is idempotent or refused: creating again what the same submission already created is success. Reads and
idempotent writes are repeated with growing, jittered pauses when the server is busy, and ``Retry-After`` is honoured.
Failures become the errors of :mod:`jupyterlab_kf.errors`; nothing of the HTTP library leaves this module.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from jupyterlab_kf import names
from jupyterlab_kf.cluster.connection import Connection
from jupyterlab_kf.errors import (
    AlreadyExistsError,
    ApiError,
    ExpiredError,
    NotFoundError,
    UnreachableError,
    from_status,
)
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, Ref, labels, meta

if TYPE_CHECKING:
    import aiohttp

MERGE: Final = "application/merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
STRATEGIC: Final = "application/strategic-merge-patch+json"

_BUSY: Final = frozenset({429, 502, 503, 504})
_PAGE: Final = 500
_LONGEST_PAUSE: Final = 10.0

Objects: TypeAlias = list[Obj]
Reopen: TypeAlias = Callable[[], Connection]


class Client:
    """One cluster, spoken to from one event loop.

    Args:
        connection: where the server is.
        reopen: gives a fresh connection when nothing answers (the embedded cluster is started again by it); it runs
            in a thread of its own and only for requests that somebody waits for, never for watches.
        attempts: how often a request that may be repeated is sent at most.
        sleep: waits; tests hand in their own.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        reopen: Reopen | None = None,
        attempts: int = 5,
        timeout: float = 30.0,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.connection = connection
        self._reopen = reopen
        self._attempts = attempts
        self._timeout = timeout
        self._sleep = sleep
        self._session: aiohttp.ClientSession | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Close the pooled connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # Objects

    async def get(self, kind: Kind, namespace: str, name: str) -> Obj:
        """One object. Raises NotFoundError when it is not there."""
        found = await self.request("GET", kind.path(namespace, name), ref=Ref(kind.kind, name, namespace))
        return _typed(found, kind)

    async def list(self, kind: Kind, namespace: str | None = None, *, selector: str = "", fields: str = "") -> Objects:
        """All objects of a kind in a namespace, or in all; read in pages."""
        return (await self.snapshot(kind, namespace, selector=selector, fields=fields))[0]

    async def snapshot(
        self, kind: Kind, namespace: str | None = None, *, selector: str = "", fields: str = "", revive: bool = True
    ) -> tuple[Objects, str]:
        """As :meth:`list`, with the resource version from which a watch goes on."""
        query = _query(labelSelector=selector, fieldSelector=fields, limit=_PAGE)
        items: Objects = []
        while True:
            try:
                page = await self.request("GET", kind.path(namespace), params=query, revive=revive)
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
        self, kind: Kind, namespace: str, name: str, body: Mapping[str, Any], *, content_type: str = MERGE
    ) -> Obj:
        """Patch an object; the default is a JSON merge patch, which may be repeated without harm."""
        done = await self.request(
            "PATCH",
            kind.path(namespace, name),
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
    ) -> bool:
        """Delete an object (only the one with that uid, if given); False when it was gone already."""
        options: Obj = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
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
        revive: bool = True,
    ) -> Any:
        """One JSON request; repeated when the method or ``repeat`` says that it may be."""
        import aiohttp

        again = repeat or method == "GET"
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {"Content-Type": content_type} if data is not None else {}
        revived = False
        for attempt in range(1, self._attempts + 1):
            last = attempt == self._attempts
            try:
                session, url = await self._ready(path)
                headers |= await self._authorization()
                limit = aiohttp.ClientTimeout(total=self._timeout)
                async with session.request(
                    method, url, params=params, data=data, headers=headers, timeout=limit
                ) as answer:
                    content = await answer.read()
                    if answer.status < 400:  # noqa: PLR2004  success and redirection
                        return _json(content)
                    busy = answer.status in _BUSY or (answer.status == 500 and method == "GET")  # noqa: PLR2004
                    if not busy or last or not (again or answer.status == 429):  # noqa: PLR2004
                        raise self._failure(answer.status, content, ref)
                    pause = _retry_after(answer.headers.get("Retry-After"))
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                refused = isinstance(error, aiohttp.ClientConnectorError)
                if refused and revive and self._reopen is not None and not revived:
                    revived = True
                    await self._revive()
                    continue
                if last or refused or not again:
                    raise self._unreachable(error) from error
                pause = None
            await self._sleep(_pause(attempt) if pause is None else pause)
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
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """A GET whose body is read line by line as it comes.

        ``silence`` is the number of seconds without a byte after which the connection counts as dead.
        """
        import aiohttp

        try:
            session, url = await self._ready(path)
            headers = {"Accept": accept, **await self._authorization()}
            limit = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=silence)
            async with session.get(url, params=params, headers=headers, timeout=limit) as answer:
                if answer.status >= 400:  # noqa: PLR2004
                    raise self._failure(answer.status, await answer.read(), ref)
                yield _lines(answer.content.iter_any())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._unreachable(error) from error

    async def _ready(self, path: str) -> tuple[aiohttp.ClientSession, str]:
        import aiohttp

        if self._session is None:
            connector = aiohttp.TCPConnector(
                ssl=self.connection.tls if self.connection.tls is not None else True, limit=0, keepalive_timeout=60
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers={"Accept": "application/json", "User-Agent": names.FIELD_MANAGER},
                proxy=self.connection.proxy or None,
            )
        return self._session, self.connection.server + path

    async def _authorization(self) -> dict[str, str]:
        source = self.connection.authorization
        value = await asyncio.to_thread(source) if self.connection.slow else source()
        return {"Authorization": value} if value else {}

    async def _revive(self) -> None:
        """Open the connection anew, once for all who wait."""
        before = self.connection
        async with self._opening:
            if self._reopen is None or self.connection is not before:
                return
            self.connection = await asyncio.to_thread(self._reopen)
            await self.close()

    def _failure(self, code: int, content: bytes, ref: Ref | None) -> ApiError:
        try:
            status = json.loads(content)
        except ValueError:
            status = None
        if not isinstance(status, dict) or status.get("kind") != "Status":
            text = content.decode(errors="replace").strip().splitlines()
            status = {"message": f"the server answered {code}: {text[0][:300] if text else 'nothing'}"}
        hint = ""
        if code == 401:  # noqa: PLR2004
            hint = f"the credentials of {self.connection.name!r} are missing or have expired: log in again"
        elif code == 403:  # noqa: PLR2004
            hint = (
                "your account has no right to do this there; an administrator can grant it, or choose another namespace"
            )
        return from_status(status, code=code, hint=hint, ref=ref)

    def _unreachable(self, error: BaseException) -> UnreachableError:
        cause = "it did not answer in time" if isinstance(error, TimeoutError) else str(error) or type(error).__name__
        return UnreachableError(
            f"the API server of {self.connection.name!r} at {self.connection.server} cannot be reached: {cause}",
            hint="is the cluster up and the network there? KF_CONTEXT chooses another cluster; "
            "KF_CONTEXT=embedded takes the one on this machine",
        )


async def _lines(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines of any length; the HTTP library's own reader refuses those above its buffer."""
    rest = b""
    async for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line
    if rest:
        yield rest


def _json(content: bytes) -> Any:
    try:
        return json.loads(content) if content else {}
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


def _retry_after(text: str | None) -> float | None:
    try:
        return min(float(text), 30.0) if text else None
    except ValueError:  # an HTTP date, which API servers do not send
        return None
