"""Where the units of other pods are: by the names of their Services, as the cluster of one machine tells them in files.

``KF_SERVICES`` names a folder with ``NAMESPACE/NAME.json``: the addresses that are ready for each port of a Service.
A file is read again when it has changed. What no file knows is a name for the system's own resolver, as on any cluster.
"""

from __future__ import annotations

import json
import random
import socket
from pathlib import Path

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

Place = tuple[str, int]


class Whereabouts:
    """Names and ports to addresses."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder) if folder else None
        self._known: dict[Path, tuple[int, dict[str, list[Place]]]] = {}

    def of(self, host: str, port: int) -> list[Place] | None:
        """The addresses behind a Service's port, in an order of chance; None for a name that no file knows."""
        bare, dot, rest = host.partition(".svc")
        name, _, namespace = bare.partition(".")
        if self._folder is None or not dot or not namespace or rest not in ("", ".cluster.local"):
            return None
        ports = self._read(self._folder / namespace / f"{name}.json")
        if ports is None:
            return None
        places = list(ports.get(str(port), ()))
        random.shuffle(places)
        return places

    def target(self, host: str, port: int) -> str:
        """The same for gRPC, which chooses among several by itself."""
        places = self.of(host, port)
        return f"{host}:{port}" if not places else "ipv4:" + ",".join(f"{ip}:{number}" for ip, number in sorted(places))

    def _read(self, file: Path) -> dict[str, list[Place]] | None:
        try:
            stamp = file.stat().st_mtime_ns
            known = self._known.get(file)
            if known is None or known[0] != stamp:
                told = json.loads(file.read_text(encoding="utf-8"))
                ports = {port: [(ip, number) for ip, number in places] for port, places in told.items()}
                known = self._known[file] = (stamp, ports)
        except FileNotFoundError:
            return None
        return known[1]


class Resolver(AbstractResolver):
    """The same for aiohttp."""

    def __init__(self, whereabouts: Whereabouts) -> None:
        self._whereabouts = whereabouts
        self._others = DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            OSError: it is a Service, and nothing behind it is ready.
        """
        places = self._whereabouts.of(host, port)
        if places is None:
            return await self._others.resolve(host, port, family)
        if not places:
            raise OSError(None, f"nothing behind {host}:{port} is ready")
        flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        return [
            ResolveResult(hostname=host, host=ip, port=number, family=socket.AF_INET, proto=0, flags=flags)
            for ip, number in places
        ]

    async def close(self) -> None:
        """Let go of the system's resolver."""
        await self._others.close()
