"""Routes on this machine: what Istio's objects ask for, told to the Envoy that runs as a pod of the cluster.

Follows the registry, has :mod:`jupyterlab_kf.controllers.istio` translate, writes what changed into Envoy's files and
says on the objects what is not honoured. Makes the gateway when the first route or SeldonDeployment appears, and not
before. Owns no traffic: with the daemon gone Envoy goes on with the files that it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from jupyterlab_kf import kinds, names
from jupyterlab_kf.controllers import istio, sleep, support
from jupyterlab_kf.controllers.istio import bootstrap
from jupyterlab_kf.embedded import addresses
from jupyterlab_kf.embedded.addresses import Endpoint
from jupyterlab_kf.embedded.apiserver.options import MERGE_PATCH
from jupyterlab_kf.embedded.proxy import activator, gateway
from jupyterlab_kf.embedded.registry import Registry
from jupyterlab_kf.embedded.store import Change
from jupyterlab_kf.errors import ApiError, NotFoundError
from jupyterlab_kf.gateway import TRAFFIC, Interest, Place, Teller, Writer, world
from jupyterlab_kf.model import Obj, labels, meta
from jupyterlab_kf.settings import Settings

RETRY: Final = 5.0
_FIRST: Final = (kinds.VIRTUAL_SERVICE, kinds.GATEWAY, kinds.SELDON_DEPLOYMENT)
"""The kinds of which one is enough for a gateway."""
log = logging.getLogger("jupyterlab_kf.embedded.proxy")


class Node(Protocol):
    """What is asked of the node."""

    def address_of(self, pod: Obj) -> Endpoint:
        """A pod's address, given out when first asked for."""

    def resolver(self, pod: Obj) -> addresses.Resolver:
        """What host names mean to a pod."""


class Proxy:
    """Keeps Envoy's files as the objects say.

    Args:
        registry: the cluster.
        settings: where the files go.
        node: whom to ask for addresses.
        program: Envoy; None where there is none for this machine.
    """

    def __init__(self, registry: Registry, settings: Settings, node: Node, *, program: Path | None) -> None:
        self._registry, self._node, self._program = registry, node, program
        self._writer = Writer(settings.cluster_dir / "proxy", self.wake, self._resolved)
        self._files = self._writer.files
        self._teller = Teller(registry.view, registry.record, registry.list(kinds.EVENT))
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._interest = Interest()

    # --- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin; what is there already is looked at first."""
        self._writer.start(map(support.name, self._pods()))
        self._unsubscribe = self._registry.subscribe(self._changed)
        self._wake.set()
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End; Envoy goes on with what it has."""
        self._unsubscribe()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._writer.stop()
        self._teller.close()

    def wake(self) -> None:
        """Look again, soon."""
        self._wake.set()

    def hold(self, pod: Obj) -> float:
        """Seconds that a pod which is to end should go on: until Envoy has stopped sending it requests."""
        return self._writer.hold(str((pod.get("status") or {}).get("podIP") or ""))

    # --- following ----------------------------------------------------------------------------------------------

    def _changed(self, change: Change) -> None:
        """Called inside a write: what it means is found out later; a new gateway's files must be there."""
        kind, obj = change.kind, change.obj
        if kind == kinds.POD:
            if _is_gateway(obj):
                self._gateway_changed(change)
            elif self._interest.takes(obj, change.old, gone=change.type == "DELETED"):
                self._wake.set()
        elif _matters(change):
            self._wake.set()

    def _gateway_changed(self, change: Change) -> None:
        if change.type == "DELETED":
            self._files.forget(support.name(change.obj))
        elif change.type == "ADDED":
            with contextlib.suppress(OSError):  # the next look tells
                self._writer.place(self._place(change.obj))
        self._wake.set()

    async def _run(self) -> None:
        wait: float | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            self._wake.clear()
            try:
                wait = await self._look()
            except OSError as error:
                self._teller.unwritten(self._registry.list(kinds.VIRTUAL_SERVICE), error)
                wait = RETRY
            except Exception:
                log.exception("routes could not be worked out")
                wait = RETRY
            await asyncio.sleep(0)

    async def _look(self) -> float | None:
        """One look; the seconds until the next one if nothing happens."""
        if not any(self._registry.list(kind) for kind in _FIRST):
            if not self._gateway_is_there():
                return None
        elif self._program is None:
            self._teller.missing(self._registry.list(kind) for kind in _FIRST)
            return None
        seen = self._world()
        made = self._writer.follow(seen)
        self._interest.of(made, lambda space, name: self._registry.view.get(kinds.SERVICE, space, name))
        self._files.put_value(activator.FILE, activator.watched(seen, made.destinations))
        wait = await self._writer.write([self._place(pod) for pod in self._pods()], self._refused)
        if self._program is not None:
            self._ensure(self._program)
            if seen.sleepers:
                activator.ensure(self._registry, self._files.folder)
        self._teller.findings(made.findings)
        return wait

    # --- reading ------------------------------------------------------------------------------------------------

    def _world(self) -> istio.World:
        registry = self._registry
        return world(
            registry.list,
            [kind for kind in registry.kinds() if kind.group.endswith("istio.io")],
            config=registry.view.get(kinds.CONFIG_MAP, istio.ROOT, istio.traces.CONFIG),
            secrets=registry.list(kinds.SECRET, istio.ROOT),
            keys=self._writer.keys,
            place=str(self._files.folder),
            sleepers=[one for one in registry.list(kinds.DEPLOYMENT) if sleep.of(one) is not None],
        )

    def _resolved(self, address: str) -> str:
        """An address with the names of this cluster's Services replaced."""
        about = {"metadata": {"namespace": istio.ROOT, "name": istio.GATEWAY, "uid": ""}}
        return addresses.rewrite_text(address, self._node.resolver(about))

    def _pods(self) -> list[Obj]:
        """The gateway's pods that have not ended."""
        return [p for p in self._registry.list(kinds.POD, istio.ROOT) if _is_gateway(p) and support.active(p)]

    def _gateway_is_there(self) -> bool:
        return self._registry.view.get(kinds.DEPLOYMENT, istio.ROOT, istio.GATEWAY) is not None

    # --- writing ------------------------------------------------------------------------------------------------

    def _place(self, pod: Obj) -> Place:
        """Where a gateway pod's Envoy is."""
        where = self._node.address_of(pod)
        return Place(
            support.name(pod),
            where.ip,
            where.ports,
            admin=(where.ip, where.port(bootstrap.ADMIN_PORT)),
            ready=support.ready(pod),
            run=(support.uid(pod), support.restarts(pod)),
        )

    def _refused(self, told: Sequence[str]) -> None:
        self._teller.refused([self._registry.list(kind) for kind in TRAFFIC], told)

    # --- the gateway's objects ----------------------------------------------------------------------------------

    def _ensure(self, program: Path) -> None:
        """The gateway's objects, made where they are missing; Envoy's place in the Deployment follows the package's."""
        registry = self._registry
        wanted = gateway.deployment(program, self._files.folder)
        have = registry.view.get(kinds.DEPLOYMENT, istio.ROOT, istio.GATEWAY)
        if have is None:
            if registry.view.get(kinds.NAMESPACE, "", istio.ROOT) is None:
                registry.create(kinds.NAMESPACE, gateway.namespace())
            for kind, obj in (
                (kinds.SERVICE, gateway.service()),
                (kinds.GATEWAY, gateway.default_gateway()),
                (kinds.DEPLOYMENT, wanted),
            ):
                if registry.view.get(kind, istio.ROOT, support.name(obj)) is None:
                    registry.create(kind, obj, namespace=istio.ROOT)
            return
        container, new = (_container(obj) for obj in (have, wanted))
        said = {key: new[key] for key in ("command", "args") if container.get(key) != new[key]}
        if said and container.get("name") == new["name"]:
            containers = [{**container, **said}, *have["spec"]["template"]["spec"]["containers"][1:]]
            patch = {"spec": {"template": {"spec": {"containers": containers}}}}
            registry.patch(kinds.DEPLOYMENT, istio.ROOT, istio.GATEWAY, patch, MERGE_PATCH)
        self._tell_address()

    def _tell_address(self) -> None:
        """Where clients on this machine find the gateway, on its Service."""
        service = self._registry.view.get(kinds.SERVICE, istio.ROOT, istio.GATEWAY)
        pod = next((pod for pod in self._pods() if support.ready(pod)), None)
        if service is None or pod is None or (service.get("spec") or {}).get("type") != "LoadBalancer":
            return
        where = self._node.address_of(pod)
        url = f"http://{where.ip}:{where.port(gateway.PORTS['http2'][1])}"
        status = {"loadBalancer": {"ingress": [{"ip": where.ip}]}}
        with contextlib.suppress(NotFoundError, ApiError):
            if (meta(service).get("annotations") or {}).get(names.ANNOTATION_ADDRESS) != url:
                patch = {"metadata": {"annotations": {names.ANNOTATION_ADDRESS: url}}}
                service = self._registry.patch(kinds.SERVICE, istio.ROOT, istio.GATEWAY, patch, MERGE_PATCH)
            if (service.get("status") or {}) != status:
                self._registry.update(kinds.SERVICE, {**service, "status": status}, subresource="status")


# ---------------------------------------------------------------------------------------------------------------------


def _is_gateway(pod: Obj) -> bool:
    return support.namespace(pod) == istio.ROOT and istio.GATEWAY_LABELS.items() <= labels(pod).items()


def _matters(change: Change) -> bool:
    """Whether a change of anything but a pod may change routes."""
    kind, obj = change.kind, change.obj
    if kind in (kinds.SECRET, kinds.CONFIG_MAP):
        return support.namespace(obj) == istio.ROOT
    if kind == kinds.DEPLOYMENT:
        return support.namespace(obj) == istio.ROOT or _sleeping(obj) != _sleeping(change.old)
    if kind == kinds.ENDPOINT_SLICE:
        return not meta(obj).get("ownerReferences")
    return kind in (kinds.SERVICE, kinds.SELDON_DEPLOYMENT) or kind.group.endswith("istio.io")


def _sleeping(deployment: Obj | None) -> tuple[Any, ...]:
    """What of a Deployment decides whether and how its requests are held."""
    found = sleep.of(deployment) if deployment is not None else None
    if deployment is None or found is None or support.terminating(deployment):
        return ()
    return found, sleep.is_asleep(deployment), labels(deployment["spec"].get("template") or {})


def _container(deployment: Obj) -> Mapping[str, Any]:
    found: Mapping[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


__all__ = ["Proxy"]
