"""Whether the units of a graph are there: by a connection to each, or by asking each for its health.

Units are probed in parallel, each with a time of its own, so that a hung one does not make the engine's own probe
hang: Kubernetes would then see a time-out and no reason. The reason is in the answer's body.
"""

from __future__ import annotations

import asyncio

import aiohttp

from .graph import Graph, Node
from .whereabouts import Resolver, Whereabouts

_SECONDS = 2.0
_HEALTH = {"seldon": "/api/v1.0/health/status", "v2": "/v2/health/ready", "kfserving": "/v2/health/ready"}


class Probe:
    """Probes the servers of a graph, but for nodes that are ``within`` this process."""

    def __init__(
        self,
        graph: Graph,
        protocol: str,
        whereabouts: Whereabouts,
        *,
        full: bool = False,
        within: frozenset[str] = frozenset(),
    ) -> None:
        self._whereabouts = whereabouts
        self._nodes = [node for node in graph.root.nodes() if node.host and node.probe_port]
        self._nodes = [node for node in self._nodes if node.name not in within and not node.builtin]
        self._path = _HEALTH.get(protocol, "") if full else ""

    async def missing(self) -> str:
        """Why the graph is not ready; nothing when it is."""
        reasons = await asyncio.gather(*(self._missing(node) for node in self._nodes))
        return "; ".join(reason for reason in reasons if reason)

    async def _missing(self, node: Node) -> str:
        where = f"unit {node.name!r} at {node.host}:{node.probe_port}"
        try:
            probe = self._healthy(node) if self._path else self._connected(node)
            return await asyncio.wait_for(probe, _SECONDS)
        except asyncio.TimeoutError:  # noqa: UP041 (they are one class only since Python 3.11)
            return f"{where} did not answer within {_SECONDS:g} seconds"
        except (OSError, aiohttp.ClientError) as error:
            return f"{where}: {error}"

    async def _healthy(self, node: Node) -> str:
        url = f"http://{node.host}:{node.probe_port}{self._path}"
        connector = aiohttp.TCPConnector(resolver=Resolver(self._whereabouts))
        async with aiohttp.ClientSession(connector=connector) as session, session.get(url) as response:
            return "" if response.status == 200 else f"unit {node.name!r}: {url} answered {response.status}"  # noqa: PLR2004

    async def _connected(self, node: Node) -> str:
        places = self._whereabouts.of(node.host, node.probe_port)
        if places is not None and not places:
            return f"unit {node.name!r}: nothing behind {node.host}:{node.probe_port} is ready"
        _, writer = await asyncio.open_connection(*(places[0] if places else (node.host, node.probe_port)))
        writer.close()
        return ""
