"""Which controllers the embedded cluster runs, and how their actions reach the registry.

The registry answers at once, so an action is done when it returns. Knows the registry's face and nothing of what a
controller does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeAlias

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import (
    Controller,
    Create,
    Delete,
    Emit,
    Patch,
    SetStatus,
    View,
    katib,
    kserve,
    namespaces,
    seldon,
    training,
    workloads,
)
from jupyterlab_kf.embedded.registry import MERGE_PATCH, DeleteOptions, Registry
from jupyterlab_kf.embedded.store import Change
from jupyterlab_kf.errors import ClusterError, UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manager import Listener
from jupyterlab_kf.model import Obj, meta

Consultant: TypeAlias = Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]]
SERVING: Final = seldon.Options(
    pod_address=True,
    sleeps=True,
    patience=1,
    period=1,
    size={"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
)
"""How Seldon's operator is installed here: pods share a small machine, and nothing is pulled that takes time."""
INFERENCE: Final = kserve.Options(
    period=1,
    forwarder="jupyterlab-kf/forwarder",
    size={"cpu": "500m", "memory": "512Mi"},
    agent_size={"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
)
"""The same of KServe."""
Objects: TypeAlias = list[Obj]  # named here because inside the class ``list`` is the method


def controllers(authority: str) -> list[Controller]:
    """Every controller of an embedded cluster whose certificates are signed by this authority (PEM)."""
    return [
        namespaces.controller(authority),
        *workloads.CONTROLLERS,
        *training.CONTROLLERS,
        *katib.CONTROLLERS,
        *seldon.controllers(SERVING),
        kserve.controller(INFERENCE),
    ]


class RegistryApi:
    """The manager's :class:`~jupyterlab_kf.manager.Api` over the embedded registry.

    Args:
        registry: the cluster.
        consult: who answers controllers' questions; without, those who ask get an error.
    """

    def __init__(self, registry: Registry, consult: Consultant | None = None) -> None:
        self._registry = registry
        self._consult = consult
        self.view: View = _StoredVersions(registry.view, registry)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call the listener after every change of the store."""

        def told(change: Change) -> None:
            listener(change.type, _stored_kind(change.kind, change.obj), change.obj, change.old)

        return self._registry.subscribe(told)

    async def execute(self, action: Create | Patch | SetStatus | Delete | Emit) -> None:
        """Carry out one action at once."""
        registry = self._registry
        match action:
            case Emit():
                registry.record(action)
            case Create(kind, obj):
                registry.create(kind, obj, namespace=str(meta(obj).get("namespace") or ""))
            case Patch(kind, namespace, name, uid, patch, subresource):
                if self._is_there(kind, namespace, name, uid):
                    registry.patch(kind, namespace, name, dict(patch), MERGE_PATCH, subresource=subresource)
            case SetStatus(kind, namespace, name, uid, status):
                if self._is_there(kind, namespace, name, uid):
                    stored = registry.get(kind, namespace, name)
                    registry.update(kind, {**stored, "status": dict(status)}, subresource="status")
            case Delete(kind, namespace, name, uid, grace):
                if self._is_there(kind, namespace, name, uid):
                    options = DeleteOptions(grace=grace, propagation="Background", uid=uid)
                    registry.delete(kind, namespace, name, options=options)

    async def consult(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """The service's answer."""
        if self._consult is None:
            raise ClusterError("this cluster has no suggestion service")
        return await self._consult(question)

    def _is_there(self, kind: Kind, namespace: str, name: str, uid: str) -> bool:
        stored = self._registry.view.get(kind, namespace, name)
        return stored is not None and stored["metadata"].get("uid") == uid


class _StoredVersions:
    """A view in which an object is of the version it was written in, so that only one MPIJob operator takes it."""

    def __init__(self, view: View, registry: Registry) -> None:
        self._view, self._store = view, registry.store

    def get(self, kind: Kind, namespace: str, name: str) -> Obj | None:
        stored = self._store.get(kind, namespace, name)
        return self._view.get(kind, namespace, name) if stored and _is_of(kind, stored) else None

    def list(self, kind: Kind, namespace: str | None = None) -> Objects:
        return [obj for obj in self._store.list(kind, namespace) if _is_of(kind, obj)]

    def owned(self, kind: Kind, uid: str) -> Objects:
        return self._view.owned(kind, uid)

    def served(self, api_version: str, kind: str) -> Kind | None:
        return self._view.served(api_version, kind)


def _is_of(kind: Kind, stored: Obj) -> bool:
    return stored.get("apiVersion") in (None, kind.api_version)


def _stored_kind(kind: Kind, obj: Obj) -> Kind:
    if _is_of(kind, obj):
        return kind
    try:
        return kinds.of(str(obj["apiVersion"]), str(obj["kind"]))
    except UsageError:
        return kind
