"""One request's way through a graph. No I/O of its own: units are reached through a :class:`Caller`.

The order is Seldon's: a node transforms the input (or predicts), a router chooses, the children of the branch are
asked (all of them in parallel), their answers are combined, and the output is transformed. Which way a request took
is recorded for every node; feedback goes the same way, children before their parents, each unit asked at most once.
The walk knows neither transport nor protocol, so any graph can be walked in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from .graph import Graph, Node, Verb
from .payloads import ALL, NONE, Dialect, Payload, PayloadError, Trail


class UnitError(Exception):
    """A unit could not be asked, or refused; ``answer`` is its own body, which the client gets as it is."""

    def __init__(self, message: str, code: int = 500, answer: Payload | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.answer = answer


class RequestError(PayloadError):
    """The client's own payload is at fault."""


class Caller(Protocol):
    """How units are reached."""

    async def __call__(self, node: Node, verb: Verb, payload: Payload | None) -> Payload:
        """The unit's answer; whatever else happens is a :class:`UnitError`."""


class Tap(Protocol):
    """Where payloads are copied to that a node's logger wants."""

    def __call__(self, node: Node, event: str, payload: Payload) -> None:
        """Take a copy; never waits and never fails."""


class Tally(Protocol):
    """Who counts what routers did that count nothing themselves, as they are no units."""

    def chosen(self, node: Node, branch: int) -> None:
        """A router chose a branch."""

    def told(self, node: Node, branch: int, reward: float) -> None:
        """A feedback was about a branch."""


REQUEST = "io.seldon.serving.inference.request"
RESPONSE = "io.seldon.serving.inference.response"
FEEDBACK = "io.seldon.serving.feedback"


def deaf(node: Node, event: str, payload: Payload) -> None:
    """The tap of those who want no copies."""
    del node, event, payload


@dataclass
class Walk:
    """One request. Made for it, and thrown away with it."""

    graph: Graph
    dialect: Dialect
    call: Caller
    tap: Tap = deaf
    tally: Tally | None = None
    trail: Trail = field(default_factory=Trail)
    request: Payload | None = None

    async def predict(self, payload: Payload) -> Payload:
        """The graph's answer, with the way it took."""
        self.request = payload
        answer = await self._visit(self.graph.root, payload, self.trail.metas)
        return self.dialect.finish(answer, self.trail)

    async def feedback(self, payload: Payload) -> Payload:
        """Tell the units that the answered request went through; the answer is the root's."""
        try:
            routes = self.dialect.routes(payload)
        except PayloadError as error:
            raise RequestError(str(error)) from None
        _check(self.graph.root, routes)
        return await self._tell(self.graph.root, payload, routes)

    async def _visit(self, node: Node, payload: Payload, metas: list[bytes]) -> Payload:
        if node.log.requests:
            self.tap(node, REQUEST, payload)
        for verb in (Verb.TRANSFORM_INPUT, Verb.PREDICT):
            if verb in node.verbs:
                self.trail.routing[node.name] = ALL
                payload = await self._ask(node, verb, self._chained(payload), metas)
                break  # a MODEL with the method TRANSFORM_INPUT is asked for that
        if node.children:
            payload = await self._branch(node, payload, metas)
        if Verb.TRANSFORM_OUTPUT in node.verbs:
            payload = await self._ask(node, Verb.TRANSFORM_OUTPUT, self._chained(payload), metas)
        if node.log.responses:
            self.tap(node, RESPONSE, payload)
        return payload

    def _chained(self, payload: Payload) -> Payload:
        try:
            return self.dialect.chain(payload)
        except PayloadError as error:
            if payload is self.request:
                raise RequestError(str(error)) from None
            raise

    async def _ask(self, node: Node, verb: Verb, payload: Payload, metas: list[bytes]) -> Payload:
        self.trail.path[node.name] = node.image
        answer = await self.call(node, verb, payload)
        if meta := self.dialect.meta(answer):
            metas.append(meta)
        return answer

    async def _branch(self, node: Node, payload: Payload, metas: list[bytes]) -> Payload:
        branch = ALL
        if Verb.ROUTE in node.verbs:
            branch = self.dialect.route(await self._ask(node, Verb.ROUTE, payload, metas))
        if not NONE <= branch < len(node.children):
            raise PayloadError(f"router {node.name!r} chose branch {branch} of {len(node.children)}")
        self.trail.routing[node.name] = branch
        if self.tally is not None and node.builtin and branch >= 0:
            self.tally.chosen(node, branch)
        if branch == NONE:
            return payload
        if branch == ALL:
            answers = await self._all(node, payload, metas)
        else:
            answers = [await self._visit(node.children[branch], payload, metas)]
        if Verb.AGGREGATE in node.verbs:
            return await self._ask(node, Verb.AGGREGATE, self.dialect.join(answers), metas)
        return answers[0]

    async def _all(self, node: Node, payload: Payload, metas: list[bytes]) -> list[Payload]:
        if len(node.children) == 1:
            return [await self._visit(node.children[0], payload, metas)]
        said: list[list[bytes]] = [[] for _ in node.children]  # in the children's order, however fast each is
        visits = [self._visit(child, payload, own) for child, own in zip(node.children, said, strict=True)]
        answers = await _together(visits)
        for own in said:
            metas.extend(own)
        return answers

    async def _tell(self, node: Node, payload: Payload, routes: Mapping[str, int]) -> Payload:
        if node.log.responses:
            self.tap(node, FEEDBACK, payload)
        branch = routes.get(node.name, ALL)
        if branch == ALL:
            await _together([self._tell(child, payload, routes) for child in node.children])
        elif branch != NONE:
            await self._tell(node.children[branch], payload, routes)
            if self.tally is not None and node.builtin:
                self.tally.told(node, branch, self.dialect.reward(payload))
        if Verb.FEEDBACK in node.verbs and self.dialect.feeds_back:
            return await self.call(node, Verb.FEEDBACK, payload)
        return payload


async def _together(visits: list[Coroutine[Any, Any, Payload]]) -> list[Payload]:
    """All of them to their ends, as a unit that was asked may have learnt; then the first failure, if any."""
    answers = await asyncio.gather(*visits, return_exceptions=True)
    done: list[Payload] = []
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
        done.append(answer)
    return done


def _check(root: Node, routes: Mapping[str, int]) -> None:
    """Before anything is told: a feedback must not reach one half of the graph and fail at the other."""
    for node in root.nodes():
        branch = routes.get(node.name, ALL)
        if node.children and not NONE <= branch < len(node.children):
            raise RequestError(
                f"response.meta.routing says that {node.name!r} chose branch {branch} of {len(node.children)}"
            )
