"""Controllers of ours over a real cluster that has the definitions but not the operator: ``jupyter kf controllers``.

The same pure controllers as in the embedded cluster, on a :class:`Mirror` of what they look at (one watch a kind) and a
client that carries out what they answer. One process of several works at a time, by a Lease; another takes over when
its holder is gone. Nothing is kept here: whoever takes over finds everything in the API.
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Any, Final

from jupyterlab_kf import kinds, settings
from jupyterlab_kf.cluster import connection, keeping, shapes, watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.controllers import Create, Delete, Emit, Key, Patch, SetStatus, View, katib
from jupyterlab_kf.controllers.support import event_of
from jupyterlab_kf.errors import ApiError, ForbiddenError, KubeflowError, NotFoundError, UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manager import Listener, Manager
from jupyterlab_kf.model import Obj, controller_of, meta
from jupyterlab_kf.services.families import Family, Watched
from jupyterlab_kf.services.leader import Leader
from jupyterlab_kf.studies.collector import Collector
from jupyterlab_kf.studies.oracle import Oracle

_REMEMBERED_EVENTS: Final = 4096
_log = logging.getLogger(__name__)

Report = Callable[[str], None]


class Mirror:
    """What the cluster's objects are, as far as they are watched: the view of the controllers.

    A write of our own counts at once, and what the watch tells of the time before it is passed over: otherwise a
    controller could see the job it deleted gone and its own note about that not yet there, and make it again.
    """

    def __init__(self) -> None:
        self._objects: dict[Kind, dict[Key, Obj]] = {}
        self._owned: dict[tuple[Kind, str], dict[Key, Obj]] = {}
        self._written: dict[tuple[Kind, Key], int] = {}
        self._listeners: list[Listener] = []

    def get(self, kind: Kind, namespace: str, name: str) -> Obj | None:
        """The object, or None."""
        return self._objects.get(kind, {}).get((namespace, name))

    def list(self, kind: Kind, namespace: str | None = None) -> builtins.list[Obj]:
        """All of a kind, by namespace and name."""
        found = self._objects.get(kind, {})
        return [found[key] for key in sorted(found) if namespace is None or key[0] == namespace]

    def owned(self, kind: Kind, uid: str) -> builtins.list[Obj]:
        """Those whose controller has that uid."""
        found = self._owned.get((kind, uid), {})
        return [found[key] for key in sorted(found)]

    def served(self, api_version: str, kind: str) -> Kind | None:
        """The row of a kind that is watched."""
        return next((one for one in self._objects if (one.api_version, one.kind) == (api_version, kind)), None)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call it after every change."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def open(self, kind: Kind) -> None:
        """A kind is watched from now on."""
        self._objects.setdefault(kind, {})

    def told(self, kind: Kind, change: watch.Change) -> None:
        """Take what a watch tells."""
        obj = _admitted(kind, change.obj)
        key = _key(obj)
        if change.type == "DELETED":
            self._put(kind, key, None)
        elif _version(obj) >= self._written.get((kind, key), 0):
            self._put(kind, key, obj)

    def wrote(self, kind: Kind, obj: Obj) -> None:
        """Take what the server answered to a write of ours; the watch may have told of it, or of more, already."""
        obj = _admitted(kind, obj)
        key = _key(obj)
        known = self._objects.get(kind, {}).get(key)
        if kind in self._objects and (known is None or _version(known) < _version(obj)):
            self._written[kind, key] = _version(obj)
            self._put(kind, key, obj)

    def _put(self, kind: Kind, key: Key, obj: Obj | None) -> None:
        known = self._objects.setdefault(kind, {})
        old = known.pop(key, None)
        if old is not None and (owner := controller_of(old)):
            self._owned.get((kind, str(owner.get("uid"))), {}).pop(key, None)
        if obj is None:
            self._written.pop((kind, key), None)
            if old is not None:
                self._tell("DELETED", kind, old, None)
            return
        known[key] = obj
        if owner := controller_of(obj):
            self._owned.setdefault((kind, str(owner.get("uid"))), {})[key] = obj
        self._tell("ADDED" if old is None else "MODIFIED", kind, obj, old)

    def _tell(self, type_: str, kind: Kind, obj: Obj, old: Obj | None) -> None:
        for listener in tuple(self._listeners):
            listener(type_, kind, obj, old)


class ClusterApi:
    """The manager's :class:`~jupyterlab_kf.manager.Api` over a client.

    Args:
        client: the cluster.
        namespace: the one to work in; None for all.
        consult: who answers controllers' questions.
        watched: what controllers look at.
    """

    def __init__(
        self,
        client: Client,
        namespace: str | None,
        consult: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]],
        watched: Watched,
        *,
        pace: watch.Pace | None = None,
    ) -> None:
        self._watched = watched
        self._mirror = Mirror()
        self.view: View = self._mirror
        self._client, self._namespace, self._ask, self._pace = client, namespace, consult, pace
        self._watches: dict[tuple[Kind, str], asyncio.Task[None]] = {}
        self._opening = asyncio.Lock()
        self._events: OrderedDict[tuple[str, ...], tuple[str, int]] = OrderedDict()
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done with the error when a watch ends for a reason that waiting does not cure."""

    async def start(self) -> None:
        """Watch, and come back when everything that is there is known.

        Raises:
            ApiError: the account may not watch one of the kinds, or the cluster does not have it.
        """
        for kind, selector in self._watched:
            await self._watch(kind, selector)

    async def stop(self) -> None:
        """End the watches."""
        for task in self._watches.values():
            task.cancel()
        await asyncio.gather(*self._watches.values(), return_exceptions=True)
        if self.failed.done() and not self.failed.cancelled():
            self.failed.exception()  # whoever wanted to know has asked

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call the listener after every change."""
        return self._mirror.subscribe(listener)

    async def consult(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """The service's answer."""
        return await self._ask(question)

    async def execute(self, action: Create | Patch | SetStatus | Delete | Emit) -> None:
        """Carry out one action."""
        client = self._client
        match action:
            case Emit():
                await self._record(action)
            case Create(kind, obj):
                made = await client.create(kind, obj, namespace=str(meta(obj).get("namespace") or ""))
                self._mirror.wrote(kind, made)
            case Patch(kind, namespace, name, uid, patch, subresource):
                head = {**(patch.get("metadata") or {}), "uid": uid}
                path = kind.path(namespace, name, subresource)
                body = {**patch, "metadata": head}
                done = await client.request("PATCH", path, body=body, content_type=_MERGE, repeat=True)
                self._mirror.wrote(kind, {"apiVersion": kind.api_version, "kind": kind.kind, **done})
            case SetStatus(kind, namespace, name, uid, status):
                known = self.view.get(kind, namespace, name)
                if known is None or meta(known).get("uid") != uid:
                    return
                # With the version it was decided on: a status that was computed from an older one is refused.
                body = {"apiVersion": kind.api_version, "kind": kind.kind, **known, "status": dict(status)}
                done = await client.request("PUT", kind.path(namespace, name, "status"), body=body)
                self._mirror.wrote(kind, {"apiVersion": kind.api_version, "kind": kind.kind, **done})
            case Delete(kind, namespace, name, uid, grace):
                await client.delete(kind, namespace, name, uid=uid, grace=grace)

    async def _record(self, emit: Emit) -> None:
        """Record an event; an equal one is counted. What happens to events must never hold up the work."""
        namespace = emit.about.namespace or "default"
        key = (namespace, emit.about.uid, emit.type, emit.reason, emit.message, emit.source)
        known = self._events.get(key)
        now = time.time()
        event = event_of(emit, namespace, now, secrets.token_hex(4))
        try:
            if known is not None:
                body = {"count": known[1] + 1, "lastTimestamp": event["lastTimestamp"]}
                await self._client.patch(kinds.EVENT, namespace, known[0], body)
                self._events[key] = (known[0], known[1] + 1)
                return
        except NotFoundError:  # events live for an hour
            del self._events[key]
        try:
            made = await self._client.create(kinds.EVENT, event, namespace=namespace)
        except (ForbiddenError, NotFoundError) as error:
            _log.debug("event dropped: %s", error)
            return
        self._events[key] = (str(meta(made)["name"]), 1)
        while len(self._events) > _REMEMBERED_EVENTS:
            self._events.popitem(last=False)

    # --- watching

    async def _watch(self, kind: Kind, selector: str = "") -> None:
        synced: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._watches[kind, selector] = asyncio.create_task(
            self._keep(kind, selector, synced), name=f"watch-{kind.plural}"
        )
        await synced

    async def _keep(self, kind: Kind, selector: str, synced: asyncio.Future[None]) -> None:
        shape = shapes.WHOLE if kind == kinds.CONFIG_MAP else shapes.OBJECT
        known: dict[str, Obj] = {}
        how: dict[str, Any] = {"selector": selector, "shape": shape, "pace": self._pace, "keep": _name_only}

        async def look() -> None:
            follow = watch.follow(self._client, kind, self._namespace, known=known, **how)
            async with contextlib.aclosing(follow) as changes:
                async for change in changes:
                    if change.type == "SYNCED":
                        self._mirror.open(kind)
                        if not synced.done():
                            synced.set_result(None)
                        continue
                    if kind == kinds.TRIAL and change.type != "DELETED":
                        await self._open_kind_of(change.obj)
                    self._mirror.told(kind, change)

        try:
            await keeping.lasting(f"the watch of {kind.plural}", look)
        except KubeflowError as error:
            if not synced.done():
                synced.set_exception(error)
            elif not self.failed.done():
                self.failed.set_exception(error)

    async def _open_kind_of(self, trial: Obj) -> None:
        """Watch the kind of a trial's job before its controller looks: any kind that the cluster serves may be one."""
        run = (trial.get("spec") or {}).get("runSpec") or {}
        api_version, name = str(run.get("apiVersion")), str(run.get("kind"))
        async with self._opening:
            if self.view.served(api_version, name) is not None:
                return
            try:
                kind = await _discovered(self._client, api_version, name)
                if kind is not None:
                    await self._watch(kind)
            except ApiError as error:  # the trial's controller says that no such kind is there for it
                _log.warning("%s of %s cannot be watched: %s", name, api_version, error)


class PodOutputs:
    """Where the metrics collector reads: logs and ports, through the API server."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def log(self, pod: Obj, container: str) -> AsyncIterator[bytes]:
        """The container's log with times, followed to its end."""
        head = meta(pod)
        lines = self._client.logs(head["namespace"], head["name"], container=container, follow=True, timestamps=True)
        async for line in lines:
            yield line.encode() + b"\n"

    def file(self, pod: Obj, container: str, path: str) -> Path:
        """Files of a pod cannot be read from outside.

        Raises:
            UsageError: always; a study that needs it was not begun.
        """
        raise UsageError(f"{path} of container {container} in pod {meta(pod).get('name')} cannot be read from outside")

    async def page(self, pod: Obj, port: int, path: str) -> str:
        """What a port of the pod answers to a GET."""
        reply = await self._client.proxy(meta(pod)["namespace"], meta(pod)["name"], port, path, pod=True)
        return reply.content.decode(errors="replace")


async def run(
    client: Client,
    family: Family,
    *,
    namespace: str | None = None,
    lease_namespace: str = "default",
    identity: str = "",
    report: Report = _log.info,
) -> None:
    """Run a family's controllers until cancelled: stand by until the Lease is ours, work, end when it is lost.

    Args:
        client: the cluster.
        family: whose controllers.
        namespace: the one in which they work; None for all.
        lease_namespace: where the Lease is.
        identity: how this process is called in the Lease; its host and a random part when empty.
        report: is told what happens, a sentence each.

    Raises:
        ClusterError: the cluster lacks the definitions, or the operator itself runs there; the Lease was lost.
        ApiError: the account may not do what is needed.
    """
    watched = await family.check(client, namespace)
    leader = Leader(client, family.lease, lease_namespace, identity=identity)
    report(f"standing by as {leader.identity}")
    await leader.acquire()
    report(f"leading as {leader.identity}: {family.work} of {namespace or 'all namespaces'} are run")
    try:
        async with contextlib.AsyncExitStack() as stack:
            oracle = Oracle()
            stack.push_async_callback(oracle.close)
            api = ClusterApi(client, namespace, oracle, watched)
            stack.push_async_callback(api.stop)
            await api.start()
            manager = Manager(api, family.make(frozenset(kind for kind, _ in watched)))
            await manager.start()
            stack.push_async_callback(manager.stop)
            if family.collects:
                collector = Collector(api, PodOutputs(client))
                await collector.start()
                stack.push_async_callback(collector.stop)
            holding = asyncio.create_task(leader.hold())
            stack.callback(holding.cancel)
            await asyncio.wait([holding, api.failed], return_when=asyncio.FIRST_COMPLETED)
            if api.failed.done():
                await api.failed
            await holding
    finally:
        await asyncio.shield(leader.release())


def main(family: Family, context: str, *, namespace: str | None, lease_namespace: str, report: Report) -> None:
    """Run a family's controllers on a cluster until this process is told to end (SIGTERM, SIGINT).

    Raises:
        UsageError: the cluster is the one on this machine, which runs them itself.
        ClusterError, ApiError: as :func:`run`.
    """
    until_told(
        context,
        lambda client: run(client, family, namespace=namespace, lease_namespace=lease_namespace, report=report),
        here=f"the cluster on this machine runs {family.work} itself",
        stopped=lambda: report("stopped; another may go on"),
    )


def until_told(
    context: str, work: Callable[[Client], Awaitable[None]], *, here: str, stopped: Callable[[], None]
) -> None:
    """Work on a cluster until this process is told to end (SIGTERM, SIGINT).

    Args:
        context: the cluster.
        work: the work, with a client of it.
        here: why this is nothing for the cluster on this machine.
        stopped: called when it was told to end.

    Raises:
        UsageError: the cluster is the one on this machine.
    """
    options = settings.load()
    choice = connection.choose(options, context)
    if choice.embedded:
        raise UsageError(here, hint="name another cluster with --context")

    async def whole() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        for signal in (SIGTERM, SIGINT):
            loop.add_signal_handler(signal, task.cancel if task is not None else loop.stop)
        client = Client(connection.open_connection(choice, options))
        try:
            await work(client)
        except asyncio.CancelledError:
            stopped()
        finally:
            await client.close()

    asyncio.run(whole())


async def _discovered(client: Client, api_version: str, name: str) -> Kind | None:
    """The row of a kind, asked of the cluster."""
    group, _, version = api_version.rpartition("/")
    root = f"/apis/{api_version}" if group else f"/api/{version}"
    try:
        found = await client.request("GET", root)
    except NotFoundError:
        return None
    entry = next((one for one in found.get("resources") or () if one["kind"] == name and "/" not in one["name"]), None)
    if entry is None:
        return None
    with contextlib.suppress(UsageError):
        return kinds.of(api_version, name)
    return Kind(group, version, name, str(entry["name"]), bool(entry.get("namespaced")), custom=True)


def _admitted(kind: Kind, obj: Obj) -> Obj:
    """An Experiment with Katib's defaults: where no webhook fills them in, whoever reads it does."""
    return katib.defaulted(obj) if kind == kinds.EXPERIMENT and obj.get("spec") else obj


def _name_only(obj: Obj) -> Obj:
    head = meta(obj)
    kept = ("uid", "name", "namespace", "resourceVersion", "ownerReferences")
    return {"metadata": {key: head[key] for key in kept if key in head}}


def _version(obj: Obj) -> int:
    """Resource versions of one kind are numbers that grow: promised since Kubernetes 1.35, and so before."""
    text = str(meta(obj).get("resourceVersion") or "")
    return int(text) if text.isdecimal() else 0


def _key(obj: Obj) -> Key:
    return str(meta(obj).get("namespace") or ""), str(meta(obj)["name"])


_MERGE: Final = "application/merge-patch+json"
