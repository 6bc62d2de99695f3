"""The API server's rules in process: every object that enters, changes or leaves the store passes here.

Owns the order of a write (address, decoding, namespace, rules of the kind, defaults, validation, managed fields,
store), resource versions, finalizers, graceful deletion, subresources, definitions of custom kinds, and events. Refuses
HTTP and anything that happens later by itself (collector, controllers, kubelet). Synchronous, on the thread of the
store; raises the ``ApiError`` tree with the words of a real server.
"""

from __future__ import annotations

import logging
import secrets
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, TypeAlias

from jupyterlab_kf import controllers, kinds
from jupyterlab_kf.controllers import namespaces
from jupyterlab_kf.controllers.support import event_of
from jupyterlab_kf.embedded.apiserver import (
    admission,
    apply,
    bodies,
    defaults,
    deletion,
    failures,
    resources,
    rules,
    validation,
)
from jupyterlab_kf.embedded.apiserver.options import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    DeleteOptions,
    WriteOptions,
)
from jupyterlab_kf.embedded.apiserver.selectors import Selector
from jupyterlab_kf.embedded.store import Change, Listener, Store
from jupyterlab_kf.errors import ForbiddenError, NotFoundError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, format_time, meta

__all__ = [
    "APPLY_PATCH",
    "JSON_PATCH",
    "MERGE_PATCH",
    "STRATEGIC_PATCH",
    "DeleteOptions",
    "Registry",
    "WriteOptions",
]

Objects: TypeAlias = list[Obj]
Names: TypeAlias = list[str]
SYSTEM_NAMESPACES: Final = ("default", "kube-system", "kube-public", "kube-node-lease")
_UNDELETABLE: Final = frozenset({"default", "kube-system", "kube-public"})
_REMEMBERED_EVENTS: Final = 4096
_PLAIN: Final = WriteOptions()
_PLAIN_DELETE: Final = DeleteOptions()
_log = logging.getLogger(__name__)


class Registry:
    """The cluster's objects, with the rules that guard them.

    Attributes:
        store: where they lie.
        resources: the kinds that are served now.
        view: what controllers read.
    """

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self._clock = clock
        self._events: OrderedDict[tuple[str, ...], tuple[str, str]] = OrderedDict()
        self._load_kinds()
        self.view: controllers.View = _View(self)
        store.subscribe(self._follow)
        self._bootstrap()

    # --- kinds ---------------------------------------------------------------------------------------------------

    def kinds(self) -> tuple[Kind, ...]:
        """Every kind that is served: built-in, the operators', and those of stored definitions."""
        return self.resources.kinds

    def _load_kinds(self) -> None:
        definitions = self.store.list(kinds.CUSTOM_RESOURCE_DEFINITION)
        self.resources = resources.Resources(definitions)

    def _follow(self, change: Change) -> None:
        if change.kind == kinds.CUSTOM_RESOURCE_DEFINITION:
            self._load_kinds()

    def _bootstrap(self) -> None:
        for name in SYSTEM_NAMESPACES:
            if self.store.get(kinds.NAMESPACE, "", name) is None:
                self.create(kinds.NAMESPACE, {"metadata": {"name": name}})
        for definition in resources.operators_definitions():
            if self.store.get(kinds.CUSTOM_RESOURCE_DEFINITION, "", definition["metadata"]["name"]) is None:
                self.create(kinds.CUSTOM_RESOURCE_DEFINITION, definition)

    # --- reading -------------------------------------------------------------------------------------------------

    def get(self, kind: Kind, namespace: str, name: str) -> Obj:
        """The object, in the kind's version.

        Raises:
            NotFoundError: there is none.
        """
        obj = self.store.get(kind, namespace, name)
        if obj is None:
            raise failures.not_found(kind, name)
        return in_version(kind, obj)

    def list(self, kind: Kind, namespace: str | None = None, selector: Selector | None = None) -> Objects:
        """All objects of a kind, by namespace and name."""
        found = (in_version(kind, obj) for obj in self.store.list(kind, namespace))
        return [obj for obj in found if not selector or selector.matches(obj)]

    def scale(self, kind: Kind, namespace: str, name: str) -> Obj:
        """The ``Scale`` of an object."""
        if "scale" not in kind.subresources:
            raise failures.not_found(kind, name)
        return resources.scale_of(self.get(kind, namespace, name), kind, self.resources.scale_paths(kind))

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call the listener after every write; see :meth:`Store.subscribe`."""
        return self.store.subscribe(listener)

    # --- create --------------------------------------------------------------------------------------------------

    def create(self, kind: Kind, obj: Obj, *, namespace: str = "", options: WriteOptions = _PLAIN) -> Obj:
        """Create an object; it comes back as stored.

        Raises:
            ApiError: with the code, reason and message of a real server.
        """
        obj = self._decoded(kind, bodies.addressed(kind, obj, namespace), options)
        given = obj["metadata"]
        name = given.get("name") or _generated(given.get("generateName") or "")
        if kind.namespaced:
            self._check_namespace(kind, given["namespace"], name)
        if given.get("resourceVersion"):
            raise failures.internal("resourceVersion should not be set on objects to be created")
        now = self._clock()
        new = rules.born(kind, obj, name=name, uid=str(uuid.uuid4()), now=now)
        new = self._completed(kind, new, creating=True)
        self._validate(kind, new)
        admission.review(kind, None, new)
        if options.manager:
            new = self._tracked(kind, None, new, options.manager, "")
        existing = self.store.get(kind, given.get("namespace") or "", name)
        if existing is not None:
            prefix = "object is being deleted: " if meta(existing).get("deletionTimestamp") else ""
            raise failures.already_exists(kind, name, prefix=prefix)
        if options.dry_run:
            return new
        stored = self.store.put(kind, new, expect="")
        if kind == kinds.NAMESPACE:
            self.create(kinds.SERVICE_ACCOUNT, namespaces.account(name))  # a pod may follow in the same moment
        return stored

    # --- update --------------------------------------------------------------------------------------------------

    def update(self, kind: Kind, obj: Obj, *, subresource: str = "", options: WriteOptions = _PLAIN) -> Obj:
        """Replace an object, its status (``subresource="status"``) or its scale.

        The object's ``metadata.resourceVersion`` must be the stored one; kinds that are not custom may leave it out.

        Raises:
            ApiError: with the code, reason and message of a real server.
        """
        given = meta(obj)
        namespace, name = (given.get("namespace") or "") if kind.namespaced else "", str(given.get("name") or "")
        if subresource == "scale":
            return self._rescale(kind, namespace, name, obj, options)
        obj = self._decoded(kind, obj, options)
        old = self.get(kind, namespace, name)
        bodies.check_subresource(kind, name, subresource)
        bodies.check_version(kind, old, given)
        return self._replace(kind, old, obj, subresource, options, tracked=False)

    def patch(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        body: Any,
        content_type: str,
        *,
        subresource: str = "",
        options: WriteOptions = _PLAIN,
    ) -> Obj:
        """Change an object by one of the four patches; an apply patch may create it.

        Raises:
            ApiError: with the code, reason and message of a real server.
        """
        if content_type == APPLY_PATCH:
            return self._apply(kind, namespace, name, body, subresource=subresource, options=options)
        old = self.get(kind, namespace, name)
        bodies.check_subresource(kind, name, subresource)
        base = self.scale(kind, namespace, name) if subresource == "scale" else old
        new = bodies.patched(kind, base, body, content_type)
        bodies.check_name(str(meta(new).get("name") or ""), name)
        if subresource == "scale":
            return self._rescale(kind, namespace, name, new, options)
        new = self._decoded(kind, new, options)
        version = meta(new).get("resourceVersion")
        if version and version != old["metadata"]["resourceVersion"]:
            raise failures.conflict(kind, name)
        return self._replace(kind, old, new, subresource, options, tracked=False)

    def _apply(
        self, kind: Kind, namespace: str, name: str, body: Any, *, subresource: str, options: WriteOptions
    ) -> Obj:
        applied = bodies.applicable(kind, namespace, name, body)
        bodies.check_subresource(kind, name, subresource)
        pruned = self._decoded(kind, applied, options)
        source = self.resources.schema_source(kind)
        if validation.unknown_fields(kind, applied, source):
            applied = pruned  # else as it came: an empty map that is applied is owned, though it is not stored
        live = self.store.get(kind, namespace, name)
        live = in_version(kind, live) if live else None
        if live is None and subresource:
            raise failures.not_found(kind, name)
        merged = apply.server_side_apply(
            live,
            applied,
            kind=kind,
            manager=options.manager,
            force=options.force,
            now=self._clock(),
            subresource=subresource,
            crd=source,
        )
        merged = validation.prune(kind, merged, source)
        bodies.check_name(str(meta(body).get("name") or name), name)
        if live is None:
            return self.create(kind, merged, namespace=namespace, options=replace(options, manager=""))
        if (applied["metadata"].get("resourceVersion") or live["metadata"]["resourceVersion"]) != live["metadata"][
            "resourceVersion"
        ]:
            raise failures.conflict(kind, name)
        return self._replace(kind, live, merged, subresource, options, tracked=True)

    def _replace(
        self, kind: Kind, old: Obj, new: Obj, subresource: str, options: WriteOptions, *, tracked: bool
    ) -> Obj:
        new = {**new, "metadata": {**new["metadata"], "namespace": old["metadata"].get("namespace")}}
        new = rules.with_status(kind, old, new) if subresource == "status" else rules.replaced(kind, old, new)
        new = {**new, "metadata": rules.ordered_meta(new["metadata"])}
        new = self._completed(kind, new, creating=False)
        if kind == kinds.CUSTOM_RESOURCE_DEFINITION and not subresource:
            new["status"] = {**resources.established(new, self._clock()), **_kept_conditions(old)}
        if subresource != "status":
            new = rules.counted(kind, old, new)
        if options.manager and not tracked:
            new = self._tracked(kind, old, new, options.manager, subresource)
        source = self.resources.schema_source(kind)
        causes: list[failures.CauseLike] = [*rules.forbidden_changes(kind, old, new)]
        causes += validation.validate_update(kind, old, new, crd=source)
        if causes:
            raise failures.invalid(kind, old["metadata"]["name"], causes)
        if rules.same(old, new):
            return old
        self._validate(kind, new)
        if subresource != "status":
            admission.review(self._own_kind(kind, old), old, new)
        if options.dry_run:
            return new
        if deletion.finished(new):
            return self._let_go(kind, old, new)
        return self._put(kind, old, new)

    def _put(self, kind: Kind, old: Obj, new: Obj) -> Obj:
        """An object keeps the version that it was created in, whichever version it is written through."""
        own = self._own_kind(kind, old)
        stored = self.store.put(own, {**new, "apiVersion": own.api_version}, expect=old["metadata"]["resourceVersion"])
        return in_version(kind, stored)

    def _own_kind(self, kind: Kind, obj: Obj) -> Kind:
        stored = self.store.get(kind, obj["metadata"].get("namespace") or "", obj["metadata"]["name"]) or obj
        identity = stored.get("apiVersion") or "", stored.get("kind") or ""
        return self.resources.of(*identity) or resources.known(*identity) or kind

    def _let_go(self, kind: Kind, old: Obj, new: Obj) -> Obj:
        """The last finalizer is gone: the answer is the object as it would have been stored."""
        namespace, name = old["metadata"].get("namespace") or "", old["metadata"]["name"]
        self.store.remove(self._own_kind(kind, old), namespace, name)
        return {**new, "metadata": {**new["metadata"], "resourceVersion": old["metadata"]["resourceVersion"]}}

    def _rescale(self, kind: Kind, namespace: str, name: str, scale: Obj, options: WriteOptions) -> Obj:
        if "scale" not in kind.subresources:
            raise failures.not_found(kind, name)
        old = self.get(kind, namespace, name)
        replicas = bodies.replicas(kind, old, scale)
        paths = self.resources.scale_paths(kind)
        new = self._replace(kind, old, resources.scaled(old, paths, replicas), "", options, tracked=False)
        return resources.scale_of(new, kind, paths)

    # --- delete --------------------------------------------------------------------------------------------------

    def delete(self, kind: Kind, namespace: str, name: str, *, options: DeleteOptions = _PLAIN_DELETE) -> Obj | None:
        """Delete an object. None when it is gone at once, else the object as it waits for its end.

        Raises:
            ApiError: with the code, reason and message of a real server.
        """
        old = self.get(kind, namespace, name)
        deletion.check_preconditions(kind, old, options)
        if kind == kinds.NAMESPACE:
            return self._end_namespace(old, options)
        seconds = deletion.grace(kind, old, options)
        waits_for = deletion.finalizers(kind, old, options)
        if not waits_for and not seconds:
            if not options.dry_run:
                self.store.remove(self._own_kind(kind, old), namespace, name)
            return None
        new = deletion.deleting(old, waits_for, seconds, self._clock())
        if rules.same(old, new):
            return old
        if options.dry_run:
            return new
        return self._put(kind, old, new)

    def delete_all(self, kind: Kind, objects: Iterable[Obj], *, options: DeleteOptions = _PLAIN_DELETE) -> None:
        """Delete objects that were listed; one that is gone meanwhile is none of our business."""
        for obj in objects:
            try:
                self.delete(kind, obj["metadata"].get("namespace") or "", obj["metadata"]["name"], options=options)
            except NotFoundError:
                _log.debug("gone before its turn: %s %s", kind.resource, obj["metadata"]["name"])

    def _end_namespace(self, old: Obj, options: DeleteOptions) -> Obj:
        name = old["metadata"]["name"]
        if name in _UNDELETABLE:
            raise failures.forbidden(kinds.NAMESPACE, name, "this namespace may not be deleted")
        if old["metadata"].get("deletionTimestamp"):
            return old
        metadata = {**old["metadata"], "deletionTimestamp": format_time(self._clock())}
        new = {**old, "metadata": rules.ordered_meta(metadata), "status": {**old["status"], "phase": "Terminating"}}
        return new if options.dry_run else self.store.put(kinds.NAMESPACE, new)

    # --- pods ----------------------------------------------------------------------------------------------------

    def bind(self, namespace: str, name: str, node: str) -> Obj:
        """Give a pod to a node: ``spec.nodeName`` and the condition PodScheduled, as ``pods/binding`` does.

        Raises:
            ConflictError: it is bound or being deleted already.
        """
        pod = self.get(kinds.POD, namespace, name)
        bound = pod["spec"].get("nodeName")
        if bound:
            raise failures.conflict(kinds.POD, name, f'pod {name} is already assigned to node "{bound}"')
        if pod["metadata"].get("deletionTimestamp"):
            raise failures.conflict(kinds.POD, name, f"pod {name} is being deleted, cannot be assigned to a host")
        scheduled = {
            "type": "PodScheduled",
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": format_time(self._clock()),
        }
        status = pod.get("status") or {}
        others = [item for item in status.get("conditions") or () if item.get("type") != "PodScheduled"]
        new = {
            **pod,
            "spec": {**pod["spec"], "nodeName": node},
            "status": {**status, "conditions": [*others, scheduled]},
        }
        return self.store.put(kinds.POD, new)

    # --- events --------------------------------------------------------------------------------------------------

    def record(self, emit: controllers.Emit) -> None:
        """Record an event about an object; equal ones are counted. Dropped when its namespace is gone or going."""
        now = self._clock()
        namespace = emit.about.namespace or "default"
        key = (namespace, emit.about.uid, emit.about.name, emit.type, emit.reason, emit.message, emit.source)
        known = self._events.get(key)
        event = self.store.get(kinds.EVENT, *known) if known else None
        if event is not None:
            count = int(event.get("count") or 1) + 1
            self.store.put(kinds.EVENT, {**event, "count": count, "lastTimestamp": format_time(now)})
            return
        try:
            created = self.create(kinds.EVENT, event_of(emit, namespace, now, secrets.token_hex(4)))
        except (NotFoundError, ForbiddenError) as error:
            _log.debug("event dropped: %s", error)
            return
        self._events[key] = (namespace, created["metadata"]["name"])
        if len(self._events) > _REMEMBERED_EVENTS:
            self._events.popitem(last=False)

    # --- the steps of a write ------------------------------------------------------------------------------------

    def _decoded(self, kind: Kind, obj: Obj, options: WriteOptions) -> Obj:
        return bodies.decoded(kind, obj, options, self.resources.schema_source(kind))

    def _check_namespace(self, kind: Kind, namespace: str, name: str) -> None:
        found = self.store.get(kinds.NAMESPACE, "", namespace)
        if found is None:
            raise failures.not_found(kinds.NAMESPACE, namespace)
        if found["metadata"].get("deletionTimestamp"):
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {namespace} is being terminated",
                "field": "metadata.namespace",
            }
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            raise failures.forbidden(kind, name, why, causes=[cause])

    def _completed(self, kind: Kind, obj: Obj, *, creating: bool) -> Obj:
        obj = rules.normalised(kind, obj)
        obj = defaults.default(kind, obj, self.resources.schema_source(kind))
        if creating:
            obj = rules.admitted(kind, obj, taken_addresses=self._service_addresses)
        return rules.ordered(kind, obj)

    def _service_addresses(self) -> Names:
        return [(service.get("spec") or {}).get("clusterIP") or "" for service in self.store.list(kinds.SERVICE)]

    def _validate(self, kind: Kind, obj: Obj) -> None:
        if kind == kinds.CUSTOM_RESOURCE_DEFINITION:
            # The server's own finalizer is older than the rule that finalizers are qualified names.
            finalizers = [name for name in meta(obj).get("finalizers") or () if name != resources.CRD_FINALIZER]
            obj = {**obj, "metadata": {**obj["metadata"], "finalizers": finalizers}}
        causes = validation.validate(kind, obj, crd=self.resources.schema_source(kind))
        if causes:
            raise failures.invalid(kind, obj["metadata"].get("name", ""), causes)

    def _tracked(self, kind: Kind, old: Obj | None, new: Obj, manager: str, subresource: str) -> Obj:
        source = self.resources.schema_source(kind)
        entries = apply.track_update(
            old, new, kind=kind, manager=manager, now=self._clock(), subresource=subresource, crd=source
        )
        return {**new, "metadata": rules.ordered_meta({**new["metadata"], "managedFields": entries})}


class _View:
    """What controllers read."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._store = registry.store

    def get(self, kind: Kind, namespace: str, name: str) -> Obj | None:
        obj = self._store.get(kind, namespace, name)
        return in_version(kind, obj) if obj else None

    def list(self, kind: Kind, namespace: str | None = None) -> Objects:
        return [in_version(kind, obj) for obj in self._store.list(kind, namespace)]

    def owned(self, kind: Kind, uid: str) -> Objects:
        return [in_version(kind, obj) for obj in self._store.owned(kind, uid)]

    def served(self, api_version: str, kind: str) -> Kind | None:
        return self._registry.resources.of(api_version, kind)


def in_version(kind: Kind, obj: Obj) -> Obj:
    """The object as it is read through a version of its kind (versions differ in name only)."""
    return obj if obj.get("apiVersion") == kind.api_version else {**obj, "apiVersion": kind.api_version}


# --- small decisions -------------------------------------------------------------------------------------------------


def _generated(prefix: str) -> str:
    if not prefix:
        return ""
    suffix = "".join(secrets.choice(rules.SUFFIX_ALPHABET) for _ in range(rules.SUFFIX_LENGTH))
    return prefix[: rules.GENERATE_LIMIT] + suffix


def _kept_conditions(old: Obj) -> dict[str, Any]:
    conditions = (old.get("status") or {}).get("conditions")
    return {"conditions": conditions} if conditions else {}
