"""What a graph says of itself: the metadata of its units, and the inputs and outputs of the whole.

Where a graph begins and ends follows from its types, as in Seldon's executor: a chain takes what its first unit takes
and gives what its last one gives, branches are taken to be alike.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from .graph import Graph, Node, Verb
from .payloads import PayloadError
from .walk import Caller

_FIELDS = ("name", "platform", "versions", "inputs", "outputs", "custom")


async def graph_metadata(graph: Graph, call: Caller) -> dict[str, Any]:
    """The answer to a question for the whole graph's metadata."""
    nodes = list(graph.root.nodes())
    found = await asyncio.gather(*(_metadata(node, call) for node in nodes))
    models = dict(zip((node.name for node in nodes), found, strict=True))
    first, last = edges(graph.root)
    return {
        "name": graph.predictor,
        "models": dict(sorted(models.items())),
        "graphinputs": models[first].get("inputs"),
        "graphoutputs": models[last].get("outputs"),
    }


async def _metadata(node: Node, call: Caller) -> dict[str, Any]:
    if not node.remote:
        return {"name": node.name}
    answer = await call(node, Verb.METADATA, None)
    try:
        said = orjson.loads(answer.plain().body)
    except ValueError as error:
        raise PayloadError(f"the metadata of unit {node.name!r} are no JSON: {error}") from None
    if not isinstance(said, dict):
        raise PayloadError(f"the metadata of unit {node.name!r} are no JSON object")
    return {name: said[name] for name in _FIELDS if said.get(name)}


def edges(node: Node) -> tuple[str, str]:
    """The names of the units whose inputs and outputs are the graph's."""
    if not node.children:
        return node.name, node.name
    first, last = edges(node.children[0])
    if node.kind in ("MODEL", "TRANSFORMER"):
        return node.name, last
    if node.kind in ("OUTPUT_TRANSFORMER", "COMBINER"):
        return first, node.name
    return first, last
