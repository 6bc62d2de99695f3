"""The parent of a cluster's processes: brings them up in order, keeps them alive, ends them all.

Two processes: a caretaker that only waits, and under it the supervisor proper. When the supervisor ends, however it
does, the caretaker removes what a kernel does not remove by itself (cgroups, sockets). When the caretaker is killed,
the supervisor is told by the kernel and ends in order; when the supervisor is killed, its children are.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bed import control_groups, node, operators, plane, relay, simulated, storage
from bed.api import Api, ApiStatusError, until
from bed.children import Children, die_with_parent
from bed.plan import NODE_NAME, Plan

START_SECONDS = 120.0
_TAIL = 2000


class Supervisor:
    """One cluster, from nothing to ready to ended."""

    def __init__(self, plan: Plan, caretaker: int) -> None:
        self._plan = plan
        self._caretaker = caretaker
        self._stop = asyncio.Event()
        self._reason = ""
        self._children = Children(plan.logs, self._given_up)
        self._phase = "starting"
        self._since = time.monotonic()
        self._seconds: dict[str, float] = {}
        self._servers: list[asyncio.Server] = []

    async def run(self) -> None:
        """Until a signal says stop, or something essential cannot be kept alive."""
        loop = asyncio.get_running_loop()
        for sign in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sign, self._stop.set)
        self._tell()
        bring_up = asyncio.create_task(self._bring_up())
        told_to_stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait({bring_up, told_to_stop}, return_when=asyncio.FIRST_COMPLETED)
        if not bring_up.done():
            bring_up.cancel()
        elif (error := bring_up.exception()) is not None:
            self._reason = self._reason or str(error)
            self._stop.set()
        await told_to_stop
        self._phase = "failed" if self._reason else "stopping"
        self._tell()
        await self._children.stop()
        for server in self._servers:
            server.close()

    async def _bring_up(self) -> None:
        plan, children = self._plan, self._children
        self._servers.append(await asyncio.start_unix_server(self._obey, plan.sockets / "control.sock"))
        if plan.node:
            self._servers.append(await relay.unix_to_tcp(plan.sockets / "api.sock", "127.0.0.1", plan.ports["api"]))
            await children.start("node", node.command(plan))
        await children.start("etcd", plane.etcd(plan))
        await self._when(functools.partial(_accepts, plan.ports["etcd"]), "etcd")
        await children.start("kube-apiserver", plane.api_server(plan))
        api = Api(plan.kubeconfig)
        await self._when(functools.partial(_ready, api), "kube-apiserver")
        await children.start("kube-controller-manager", plane.controller_manager(plan))
        await children.start("kube-scheduler", plane.scheduler(plan))
        if plan.simulated:
            await children.start("kwok", simulated.command(plan))
        if plan.node:
            await asyncio.to_thread(api.apply, storage.storage_class())
            await children.start("storage", storage.command(plan))
        nodes = [f"sim-{number}" for number in range(plan.simulated)] + [NODE_NAME] * plan.node
        await asyncio.gather(
            asyncio.to_thread(simulated.add_nodes, plan, api),
            asyncio.to_thread(node.allow_dns, plan, api),
            self._operator(api),
            self._when(functools.partial(_exists, api, "v1", "ServiceAccount", "default"), "service accounts"),
            asyncio.to_thread(operators.install_further, plan, api),
        )
        await self._when(functools.partial(_nodes_ready, api, frozenset(nodes)), "nodes")
        self._phase = "ready"
        self._tell()

    async def _operator(self, api: Api) -> None:
        plan = self._plan
        await asyncio.to_thread(operators.install, plan, api)
        if plan.operator == "none":
            return
        name, argv, environment = operators.command(plan)
        if plan.operator == "training":
            operators.mark_certificates()
        await self._children.start(name, argv, environment)
        await self._when(functools.partial(operators.ready, plan, api), name)

    async def _when(self, question: Callable[[], Any], what: str) -> None:
        """Wait in a thread, so that the children are watched meanwhile, and note when it came true."""
        await asyncio.to_thread(until, question, seconds=START_SECONDS, what=f"{what}: ready", every=0.05)
        self._seconds[what] = round(time.monotonic() - self._since, 1)
        self._tell()

    def _given_up(self, name: str) -> None:
        log = self._plan.logs / f"{name}.log"
        tail = log.read_text(errors="replace")[-_TAIL:] if log.exists() else ""
        self._reason = f"{name} ends again and again; the end of its log:\n{tail}"
        self._stop.set()

    def _tell(self) -> None:
        state = {
            "phase": self._phase,
            "reason": self._reason,
            "pid": os.getpid(),
            "caretaker": self._caretaker,
            "components": self._children.pids,
            "ready_after": self._seconds,
        }
        path = self._plan.folder / "state.json"
        half = path.with_suffix(".half")
        half.write_text(json.dumps(state, indent=1))
        half.replace(path)

    async def _obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One order a connection, such as ``halt NAME``; answered when it is done."""
        order, _, name = (await reader.readline()).decode().strip().partition(" ")
        orders: dict[str, Callable[[str], Awaitable[None]]] = {
            "halt": self._children.halt,
            "kill": functools.partial(self._children.halt, sign=signal.SIGKILL),
            "resume": self._children.resume,
            "freeze": self._children.freeze,
            "thaw": self._children.thaw,
        }
        await orders[order](name)
        self._tell()
        writer.write(b"done\n")
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def clean(plan: Plan) -> None:
    """Remove what is left when all processes have ended; may be called any number of times."""
    control_groups.remove(plan.cgroup)
    shutil.rmtree(plan.sockets, ignore_errors=True)


def _accepts(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _ready(api: Api) -> bool:
    with contextlib.suppress(OSError, ApiStatusError):
        return bool(api.request("GET", "/readyz") == "ok")
    return False


def _exists(api: Api, api_version: str, kind: str, name: str) -> bool:
    with contextlib.suppress(ApiStatusError):
        return bool(api.get(api_version, kind, name))
    return False


def _nodes_ready(api: Api, names: frozenset[str]) -> bool:
    ready = {
        item["metadata"]["name"]
        for item in api.list("v1", "Node")
        for condition in item["status"].get("conditions", ())
        if condition["type"] == "Ready" and condition["status"] == "True"
    }
    return names <= ready


def main() -> int:
    """Start the caretaker and leave it alone; its child is the supervisor."""
    plan = Plan.read(Path(sys.argv[1]))
    if os.fork():
        return 0
    caretaker = os.getpid()
    child = os.fork()
    if child == 0:
        die_with_parent(signal.SIGTERM)
        asyncio.run(Supervisor(plan, caretaker).run())
        if os.getppid() != caretaker:
            clean(plan)
        return 0
    for sign in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sign, lambda number, _frame: os.kill(child, number))
    _, status = os.waitpid(child, 0)
    clean(plan)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
