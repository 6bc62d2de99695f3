"""Deletes what nobody owns any more: dependents of deleted owners, content of ending namespaces and definitions.

Owns the garbage collector's and the namespace controller's work, and the end of old events. Follows the registry, does
its work in small steps on the event loop, and begins with a look at everything, so that what a killed process left half
done is finished.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.apiserver import resources
from jupyterlab_kf.embedded.apiserver.options import DeleteOptions
from jupyterlab_kf.embedded.registry import Registry
from jupyterlab_kf.embedded.store import Change, Key
from jupyterlab_kf.errors import ApiError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, parse_time

FOREGROUND: Final = "foregroundDeletion"
ORPHAN: Final = "orphan"
EVENT_SECONDS: Final = 3600.0
"""How long an event is kept after it was last seen."""
_SWEEP_SECONDS: Final = 300.0
_BATCH: Final = 50
_REMEMBERED: Final = 10_000
"""Deleted owners of custom kinds that are remembered, for dependents that come to their turn later."""
_log = logging.getLogger(__name__)


class Collector:
    """The collector of one registry.

    ``run`` does all the work there is, synchronously; ``start`` and ``stop`` do it in the background.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._store = registry.store
        self._queue: OrderedDict[Key, None] = OrderedDict()
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None

    async def start(self) -> None:
        """Begin to follow the registry."""
        self.attach()
        self._task = asyncio.create_task(self._work(), name="collector")

    async def stop(self) -> None:
        """Stop; what is left is found again at the next start."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    def attach(self) -> None:
        """Follow the registry and look at everything once."""
        self._unsubscribe = self._registry.subscribe(self._follow)
        for kind in self._registry.kinds():
            for obj in self._store.list(kind):
                self._consider(kind, obj)

    def run(self) -> None:
        """Do the work there is, and what follows from it."""
        while self._queue:
            self._step()

    async def _work(self) -> None:
        while True:
            try:
                async with asyncio.timeout(_SWEEP_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                self.expire_events(time.time())
            self._wake.clear()
            while self._queue:
                for _ in range(min(_BATCH, len(self._queue))):
                    self._step()
                await asyncio.sleep(0)

    def expire_events(self, now: float) -> None:
        """Take away the events that have not been seen for an hour."""
        for event in self._store.list(kinds.EVENT):
            seen = event.get("lastTimestamp") or event.get("eventTime") or event["metadata"]["creationTimestamp"]
            if now - (parse_time(seen) or now) > EVENT_SECONDS:
                self._store.remove(kinds.EVENT, event["metadata"]["namespace"], event["metadata"]["name"])

    def _step(self) -> None:
        key, _ = self._queue.popitem(last=False)
        kind = self._registry.resources.at(key[0], key[1])
        obj = self._store.get(kind, key[2], key[3]) if kind else None
        if kind is None or obj is None:
            return
        try:
            self._settle(kind, obj)
        except ApiError as error:
            _log.debug("not collected this time: %s/%s: %s", key[2], key[3], error)

    # --- what to look at ---------------------------------------------------------------------------------------------

    def _follow(self, change: Change) -> None:
        if change.type == "DELETED":
            self._after_deletion(change)
        else:
            self._consider(change.kind, change.obj)

    def _consider(self, kind: Kind, obj: Obj) -> None:
        meta = obj["metadata"]
        if meta.get("deletionTimestamp") or meta.get("ownerReferences"):
            self._enqueue((kind.group, kind.plural, meta.get("namespace") or "", meta["name"]))

    def _after_deletion(self, change: Change) -> None:
        meta = change.obj["metadata"]
        if change.kind.custom:
            self._gone[meta.get("uid") or ""] = None
            if len(self._gone) > _REMEMBERED:
                self._gone.popitem(last=False)
        for key in self._store.dependents(meta.get("uid") or ""):
            self._enqueue(key)
        for owner in meta.get("ownerReferences") or ():
            waiting = self._store.whose(owner.get("uid") or "")
            if waiting is not None:
                self._enqueue(waiting)
        if meta.get("namespace"):
            self._enqueue(("", kinds.NAMESPACE.plural, "", meta["namespace"]))
        if change.kind.custom:
            definition = kinds.CUSTOM_RESOURCE_DEFINITION
            self._enqueue((definition.group, definition.plural, "", change.kind.resource))

    def _enqueue(self, key: Key) -> None:
        self._queue[key] = None
        self._wake.set()

    # --- what to do --------------------------------------------------------------------------------------------------

    def _settle(self, kind: Kind, obj: Obj) -> None:
        meta = obj["metadata"]
        if meta.get("deletionTimestamp"):
            if kind == kinds.NAMESPACE:
                self._empty_namespace(obj)
            elif kind == kinds.CUSTOM_RESOURCE_DEFINITION:
                self._empty_definition(obj)
            self._release(kind, obj)
        elif meta.get("ownerReferences"):
            self._check_owners(kind, obj)

    def _check_owners(self, kind: Kind, obj: Obj) -> None:
        owners = obj["metadata"]["ownerReferences"]
        solid = [owner for owner in owners if self._exists(owner, obj)]
        if len(solid) == len(owners):
            return
        meta = obj["metadata"]
        if solid:
            new = {**obj, "metadata": {**meta, "ownerReferences": solid}}
            self._registry.update(kind, new)
            return
        options = DeleteOptions(propagation=_kept_policy(obj), uid=meta["uid"])
        self._registry.delete(kind, meta.get("namespace") or "", meta["name"], options=options)

    def _exists(self, owner: Obj, dependent: Obj) -> bool:
        """Owners of kinds that are not served are taken to exist: nothing is deleted for lack of knowledge.

        But for those whose deletion was seen: a definition that is deleted takes its objects along, and is gone before
        their dependents have been looked at.
        """
        if owner.get("uid") in self._gone:
            return False
        owner_kind = self._registry.resources.of(owner.get("apiVersion") or "", owner.get("kind") or "")
        if owner_kind is None:
            return True
        key = self._store.whose(owner.get("uid") or "")
        if key is None or key[:2] != (owner_kind.group, owner_kind.plural):
            return False
        return not owner_kind.namespaced or key[2] == dependent["metadata"].get("namespace")

    def _release(self, kind: Kind, obj: Obj) -> None:
        """Do what the garbage collector's own finalizers ask for, then take them off."""
        finalizers = obj["metadata"].get("finalizers") or ()
        if ORPHAN in finalizers:
            self._orphan(obj)
            self._drop_finalizer(kind, obj, ORPHAN)
        elif FOREGROUND in finalizers and not self._delete_dependents(obj):
            self._drop_finalizer(kind, obj, FOREGROUND)

    def _orphan(self, obj: Obj) -> None:
        uid = obj["metadata"]["uid"]
        for kind, dependent in self._dependents(uid):
            meta = dependent["metadata"]
            owners = [owner for owner in meta["ownerReferences"] if owner.get("uid") != uid]
            self._registry.update(kind, {**dependent, "metadata": {**meta, "ownerReferences": owners}})

    def _delete_dependents(self, obj: Obj) -> bool:
        """Delete what the object owns; True while something that blocks its end is left."""
        uid = obj["metadata"]["uid"]
        for kind, dependent in self._dependents(uid):
            meta = dependent["metadata"]
            if meta.get("deletionTimestamp") or len(meta["ownerReferences"]) > 1:
                continue
            has_own = bool(self._store.dependents(meta["uid"]))
            options = DeleteOptions(propagation="Foreground" if has_own else "", uid=meta["uid"])
            self._registry.delete(kind, meta.get("namespace") or "", meta["name"], options=options)
        return any(
            owner.get("uid") == uid and owner.get("blockOwnerDeletion")
            for _, dependent in self._dependents(uid)
            for owner in dependent["metadata"]["ownerReferences"]
        )

    def _dependents(self, uid: str) -> list[tuple[Kind, Obj]]:
        found = []
        for group, plural, namespace, name in self._store.dependents(uid):
            kind = self._registry.resources.at(group, plural)
            obj = self._store.get(kind, namespace, name) if kind else None
            if kind is not None and obj is not None:
                found.append((kind, obj))
        return found

    def _drop_finalizer(self, kind: Kind, obj: Obj, name: str) -> None:
        meta = obj["metadata"]
        left = [finalizer for finalizer in meta.get("finalizers") or () if finalizer != name]
        current = self._store.get(kind, meta.get("namespace") or "", meta["name"])
        if current is not None and current["metadata"]["uid"] == meta["uid"]:
            self._registry.update(kind, {**current, "metadata": {**current["metadata"], "finalizers": left}})

    def _empty_namespace(self, namespace: Obj) -> None:
        name = namespace["metadata"]["name"]
        served = [kind for kind in _one_version_each(self._registry.kinds()) if kind.namespaced]
        content = [(kind, obj) for kind in served for obj in self._store.list(kind, name)]
        if not self._end_some(("", kinds.NAMESPACE.plural, "", name), content) and not namespace["metadata"].get(
            "finalizers"
        ):
            self._store.remove(kinds.NAMESPACE, "", name)

    def _empty_definition(self, definition: Obj) -> None:
        spec = definition["spec"]
        kind = self._registry.resources.at(spec["group"], spec["names"]["plural"])
        content = [(kind, obj) for obj in self._store.list(kind)] if kind is not None else []
        group, plural = kinds.CUSTOM_RESOURCE_DEFINITION.group, kinds.CUSTOM_RESOURCE_DEFINITION.plural
        if not self._end_some((group, plural, "", definition["metadata"]["name"]), content):
            self._drop_finalizer(kinds.CUSTOM_RESOURCE_DEFINITION, definition, resources.CRD_FINALIZER)

    def _end_some(self, within: Key, content: list[tuple[Kind, Obj]]) -> bool:
        """Delete some of an ending thing's content, then let others have their turn; True while any is left."""
        untouched = [(kind, obj) for kind, obj in content if not obj["metadata"].get("deletionTimestamp")]
        waiting = [self._end(kind, obj) for kind, obj in untouched[:_BATCH]]
        if len(untouched) > _BATCH:
            self._enqueue(within)
        return any(waiting) or len(untouched) > _BATCH or len(untouched) < len(content)

    def _end(self, kind: Kind, obj: Obj) -> bool:
        """Delete an object; True when it is still there."""
        meta = obj["metadata"]
        return self._registry.delete(kind, meta.get("namespace") or "", meta["name"]) is not None


def _kept_policy(obj: Obj) -> str:
    finalizers = obj["metadata"].get("finalizers") or ()
    if ORPHAN in finalizers:
        return "Orphan"
    return "Foreground" if FOREGROUND in finalizers else "Background"


def _one_version_each(served: tuple[Kind, ...]) -> list[Kind]:
    return list({(kind.group, kind.plural): kind for kind in served}.values())
