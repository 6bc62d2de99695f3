"""Where Services lead, as files: one for each, so that a process can find the pods behind a name that change.

There is no cluster DNS, and a name that is replaced in a process' environment stays what it was when the process began.
Who asks Services again and again (the engine of a graph, whose units are in other pods) reads these files instead:
``NAMESPACE/NAME.json`` has for each port of the Service the addresses that are ready. They are renamed into place, and
stay right for as long as the pods do when the cluster's daemon is away. Written on the loop, as they are small.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded.registry import Registry
from jupyterlab_kf.embedded.store import Change
from jupyterlab_kf.model import Obj, labels, meta

SERVICE_LABEL = "kubernetes.io/service-name"


class Whereabouts:
    """The files of all Services, kept as the endpoints are.

    Args:
        registry: the cluster.
        folder: where the files are; its own.
    """

    def __init__(self, registry: Registry, folder: Path) -> None:
        self._registry = registry
        self.folder = folder
        self._stale: set[tuple[str, str]] = set()
        self._unsubscribe: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Write what there is, and follow changes."""
        self._loop = asyncio.get_running_loop()
        self._unsubscribe = self._registry.subscribe(self._changed)
        self.folder.mkdir(parents=True, exist_ok=True)
        # Processes read them now: no file goes before it is known that its Service is gone.
        there = {
            (str(meta(one)["namespace"]), str(meta(one)["name"])) for one in self._registry.view.list(kinds.SERVICE)
        }
        for key in there | {(file.parent.name, file.stem) for file in self.folder.glob("*/*.json")}:
            self._write(*key)

    def stop(self) -> None:
        """Follow no more; the files stay, as who reads them goes on."""
        if self._unsubscribe:
            self._unsubscribe()

    def _changed(self, change: Change) -> None:
        """Called inside a write: note it and leave the work to the loop."""
        if change.kind == kinds.ENDPOINT_SLICE:
            name = labels(change.obj).get(SERVICE_LABEL, "")
        elif change.kind == kinds.SERVICE:
            name = str(meta(change.obj)["name"])
        else:
            return
        if not self._stale:
            self._loop.call_soon(self._catch_up)
        self._stale.add((str(meta(change.obj)["namespace"]), name))

    def _catch_up(self) -> None:
        stale, self._stale = self._stale, set()
        for namespace, name in stale:
            self._write(namespace, name)

    def _write(self, namespace: str, name: str) -> None:
        target = self.folder / namespace / f"{name}.json"
        service = self._registry.view.get(kinds.SERVICE, namespace, name)
        if service is None:
            target.unlink(missing_ok=True)
            return
        slices = self._registry.view.owned(kinds.ENDPOINT_SLICE, str(meta(service)["uid"]))
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_suffix(".new")
        temporary.write_text(json.dumps(ports_of(service, slices)))
        temporary.rename(target)


def ports_of(service: Obj, slices: list[Obj]) -> dict[str, list[list[Any]]]:
    """For each port of a Service the ready addresses behind it, each with the port that listens there."""
    found: dict[str, list[list[Any]]] = {}
    for port in (service.get("spec") or {}).get("ports") or ():
        there: list[list[Any]] = []
        for one in slices:
            numbers = [
                int(p["port"]) for p in one.get("ports") or () if (p.get("name") or "") == (port.get("name") or "")
            ]
            ready = [e for e in one.get("endpoints") or () if _is_ready(e)]
            there += [[address, number] for number in numbers for e in ready for address in e.get("addresses") or ()]
        found[str(port["port"])] = sorted(there)
    return found


def _is_ready(endpoint: Mapping[str, Any]) -> bool:
    return bool((endpoint.get("conditions") or {}).get("ready", True))
