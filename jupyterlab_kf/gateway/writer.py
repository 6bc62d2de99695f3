"""The files of one or several Envoys, kept as a configuration says."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf.controllers import istio
from jupyterlab_kf.controllers.istio import bootstrap
from jupyterlab_kf.gateway import envoys
from jupyterlab_kf.gateway.files import Files
from jupyterlab_kf.gateway.keys import Keys
from jupyterlab_kf.model import Obj

LINGER: Final = 10.0
"""How long Envoy keeps a cluster that no route names any more: requests may still be on their way to it."""
SETTLE: Final = 0.25
"""How long an endpoint gets between its removal from Envoy's files and its SIGTERM."""
CHECK: Final = 0.5


@dataclass(frozen=True, slots=True)
class Place:
    """Where one Envoy is.

    Attributes:
        name: its pod's; the folder of what is its own.
        ip: the address at which it listens.
        ports: those that it was given in place of its own.
        admin: address and port at which it can be asked.
        ready: whether it runs.
        run: another value after each start.
    """

    name: str
    ip: str
    ports: Mapping[int, int] = field(default_factory=dict)
    admin: tuple[str, int] = ("127.0.0.1", bootstrap.ADMIN_PORT)
    ready: bool = True
    run: Hashable = None


class Writer:
    """Keeps Envoys' files as a configuration says.

    Args:
        folder: where they go.
        changed: called when keys have come that were waited for.
        resolve: an address with the names of the cluster replaced, for whoever fetches keys.
    """

    def __init__(
        self, folder: Path, changed: Callable[[], None], resolve: Callable[[str], str] = lambda address: address
    ) -> None:
        self.files = Files(folder)
        self._keys = Keys(self.files, resolve, changed)
        self._made: istio.Configuration | None = None
        self._clusters: dict[str, Mapping[str, Any]] = {}
        self._going: dict[str, float] = {}
        self._serving: dict[str, float] = {}
        self._asked: set[Hashable] = set()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def folder(self) -> str:
        """Where the files lie."""
        return str(self.files.folder)

    @property
    def keys(self) -> Mapping[str, str]:
        """The key sets that have been fetched, by address."""
        return self._keys.sets

    def start(self, names: Iterable[str]) -> None:
        """Begin with what is there; folders of others than these Envoys go: nobody may have seen them end."""
        self._clusters = {str(c.get("name")): _untyped(c) for c in self.files.resources("cds.json")}
        self.files.keep_folders({"rds", "eds", "sds", *names})

    async def stop(self) -> None:
        """End; the Envoys go on with what they have."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._keys.close()

    def hold(self, ip: str) -> float:
        """Seconds that a pod which is to end should go on: until Envoy has stopped sending it requests."""
        gone = self._serving.get(ip)
        if gone is None:
            return 0.0
        return SETTLE if gone == 0.0 else max(0.0, gone + SETTLE - time.monotonic())

    def follow(self, world: istio.World) -> istio.Configuration:
        """What a world means; where pods are is written at once, as one that is gone should wait for nothing.

        Raises:
            OSError: a file could not be written; it is as it was.
        """
        if self._made is not None:
            self._endpoints(istio.endpoints(world, self._made.destinations))
        self._made = istio.translate(world, self.folder)
        return self._made

    async def write(self, places: Sequence[Place], refused: Callable[[Sequence[str]], None]) -> float | None:
        """What changed, in the order in which one part leads to the next; nothing names what is not there yet.

        Args:
            places: the Envoys.
            refused: is told, a moment later, in Envoy's words what one did not take; nothing when all was taken.

        Returns:
            The seconds after which it has to be written again though nothing has happened; None if never.

        Raises:
            OSError: a file could not be written; it is as it was.
        """
        made, put, path = self._made, self.files.put, _path
        if made is None:
            return None
        waits = [self._keys.want(made.keys)]
        for name, secret in made.secrets.items():
            put(path("sds", name), [secret], "sds")
        self._endpoints(made.endpoints)
        new = made.clusters.keys() - self._clusters.keys()
        waits.append(self._linger(made))
        changed = put("cds.json", self._clusters.values(), "cds")
        ready = [one for one in places if one.ready]
        if new and ready:
            await envoys.know([one.admin for one in ready], new)
        for name, table in made.tables.items():
            changed |= put(path("rds", name), [table], "rds")
        for one in places:
            changed |= self.place(one)
        for kind, listed in (("rds", made.tables), ("sds", made.secrets), ("eds", self._clusters)):
            self.files.keep_only(kind, [path(kind, name) for name in listed])
        runs = {(one.name, one.run) for one in ready}
        if ready and (changed or runs - self._asked):
            self._asked = {*runs}
            self._tasks = [task for task in self._tasks if not task.done()]
            self._tasks.append(asyncio.get_running_loop().create_task(_check([one.admin for one in ready], refused)))
        return min((wait for wait in waits if wait is not None), default=None)

    def place(self, where: Place) -> bool:
        """The files that name an Envoy's own address, by which it can be started; whether what it listens for changed.

        Raises:
            OSError: a file could not be written; it is as it was.
        """
        name, own = where.name, f"{self.folder}/{where.name}"
        start = bootstrap.bootstrap(self.folder, own, name, ip=where.ip, admin=where.admin)
        status = bootstrap.status_listener(where.ip, where.ports.get(bootstrap.STATUS_PORT, bootstrap.STATUS_PORT))
        changed = False
        if self._made is not None:
            changed = self.files.put(f"{name}/lds.json", self._made.listeners(where.ip, where.ports), "lds")
        for path, kind in ((f"{name}/lds.json", "lds"), ("cds.json", "cds")):
            if not (self.files.folder / path).exists():
                self.files.put(path, (), kind)
        self.files.put_value(f"{name}/bootstrap.json", {**start, "static_resources": {"listeners": [status]}})
        return changed

    def _endpoints(self, assignments: Mapping[str, Obj]) -> None:
        for name, assignment in assignments.items():
            self.files.put(_path("eds", name), [assignment], "eds")
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


async def _check(where: Iterable[tuple[str, int]], refused: Callable[[Sequence[str]], None]) -> None:
    """Ask the Envoys whether they took it."""
    await asyncio.sleep(CHECK)
    for address in where:
        refused(await envoys.refused(address))


def _path(kind: str, name: str) -> str:
    return istio.path_of("", kind, name).lstrip("/")


def _ips(assignments: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for assignment in assignments:
        for part in assignment["endpoints"]:
            for endpoint in part["lb_endpoints"]:
                address = endpoint["endpoint"]["address"]
                if "socket_address" in address:
                    yield str(address["socket_address"]["address"])


def _untyped(resource: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: value for key, value in resource.items() if key != "@type"}
