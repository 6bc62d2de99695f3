"""Graphs in memory: units that answer what a test says, and a record of what they were asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from jupyterlab_kf.runtime.serving.engine.graph import Graph, Node, Verb, plan
from jupyterlab_kf.runtime.serving.engine.payloads import DIALECTS, Payload, Trail
from jupyterlab_kf.runtime.serving.engine.walk import Caller, Tap, UnitError, Walk, deaf

Answer = dict[str, Any] | list[Any] | bytes | UnitError


def node(name: str, kind: str, *children: dict[str, Any], **rest: Any) -> dict[str, Any]:
    """A node as it stands in a SeldonDeployment."""
    endpoint = {"service_host": "localhost", "service_port": 9000, "httpPort": 9000, "grpcPort": 9500}
    return {"name": name, "type": kind, "endpoint": endpoint, "children": list(children), **rest}


def graph(root: dict[str, Any], **rest: Any) -> Graph:
    """The plan of a predictor with that graph."""
    return plan({"name": "main", "graph": root, **rest})


@dataclass
class Units:
    """All units of a graph: answers by name and verb; without one, a message that says who answered."""

    answers: dict[tuple[str, Verb], Answer | Callable[[Payload], Answer]] = field(default_factory=dict)
    asked: list[tuple[str, Verb]] = field(default_factory=list)
    bodies: dict[tuple[str, Verb], bytes] = field(default_factory=dict)
    delays: dict[str, int] = field(default_factory=dict)
    why: str = ""

    async def __call__(self, unit: Node, verb: Verb, payload: Payload | None) -> Payload:
        self.asked.append((unit.name, verb))
        self.bodies[unit.name, verb] = b"" if payload is None else payload.body
        for _ in range(self.delays.get(unit.name, 0)):
            await asyncio.sleep(0)
        answer = self.answers.get((unit.name, verb), {"data": {"ndarray": [unit.name]}})
        if callable(answer):
            answer = answer(payload or Payload(b""))
        if isinstance(answer, UnitError):
            raise answer
        return Payload(answer if isinstance(answer, bytes) else json.dumps(answer).encode())

    def bound(self, headers: Iterable[tuple[str, str]], model: str = "") -> Caller:
        """The caller for one request."""
        self.headers, self.model = dict(headers), model
        return self

    async def ready(self) -> str:
        """Why they are not ready."""
        return self.why


def walk(planned: Graph, units: Caller, protocol: str = "seldon", tap: Tap = deaf) -> Walk:
    """A request's walk."""
    return Walk(planned, DIALECTS[protocol], units, tap, trail=Trail(puid="p1"))


def body(payload: Payload) -> Any:
    """What a payload says."""
    return json.loads(payload.body)
