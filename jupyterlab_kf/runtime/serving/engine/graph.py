"""What a predictor's graph is: frozen nodes, each with what is to be asked of it, made once from Seldon's JSON.

Pure. :func:`plan` reads the predictor's spec as Seldon's operator writes it (``ENGINE_PREDICTOR``) and refuses what
could only fail later, request by request, with the node's name in the message. From then on nobody looks into the
spec again: a node says which verbs it is called with, where it is, and which of our own parts stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

Json = Mapping[str, Any]


class GraphError(ValueError):
    """The graph cannot be served; the message names the node."""


class Verb(Enum):
    """What a unit is asked; the value is its path in Seldon's own protocol."""

    PREDICT = "/predict"
    TRANSFORM_INPUT = "/transform-input"
    ROUTE = "/route"
    AGGREGATE = "/aggregate"
    TRANSFORM_OUTPUT = "/transform-output"
    FEEDBACK = "/send-feedback"
    STATUS = "/health/status"
    METADATA = "/metadata"


class Log(Enum):
    """Which payloads of a node are copied to its logger."""

    NOTHING = ""
    REQUEST = "request"
    RESPONSE = "response"
    ALL = "all"

    @property
    def requests(self) -> bool:
        """Whether what enters the node is copied."""
        return self in (Log.REQUEST, Log.ALL)

    @property
    def responses(self) -> bool:
        """Whether what leaves the node, and the feedback on it, is copied."""
        return self in (Log.RESPONSE, Log.ALL)


#: The implementations that the engine has itself, and the type that each stands for.
BUILTIN = {
    "RANDOM_ABTEST": "ROUTER",
    "SIMPLE_ROUTER": "ROUTER",
    "SIMPLE_MODEL": "MODEL",
    "AVERAGE_COMBINER": "COMBINER",
}

_TYPES = {
    "MODEL": frozenset({Verb.PREDICT, Verb.FEEDBACK}),
    "ROUTER": frozenset({Verb.ROUTE, Verb.FEEDBACK}),
    "TRANSFORMER": frozenset({Verb.TRANSFORM_INPUT}),
    "COMBINER": frozenset({Verb.AGGREGATE}),
    "OUTPUT_TRANSFORMER": frozenset({Verb.TRANSFORM_OUTPUT}),
    "UNKNOWN_TYPE": frozenset(),
}
_METHODS = {
    "TRANSFORM_INPUT": Verb.TRANSFORM_INPUT,
    "TRANSFORM_OUTPUT": Verb.TRANSFORM_OUTPUT,
    "ROUTE": Verb.ROUTE,
    "AGGREGATE": Verb.AGGREGATE,
    "SEND_FEEDBACK": Verb.FEEDBACK,
}


@dataclass(frozen=True)
class Node:
    """One unit of the graph: what it is called with, where it is, and what comes behind it."""

    name: str
    kind: str
    verbs: frozenset[Verb]
    children: tuple[Node, ...] = ()
    host: str = ""
    http_port: int = 0
    grpc_port: int = 0
    probe_port: int = 0
    builtin: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    types: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    log: Log = Log.NOTHING
    log_url: str = ""

    @property
    def remote(self) -> bool:
        """Whether the unit is a server of its own."""
        return bool(self.verbs) and not self.builtin

    def nodes(self) -> Iterator[Node]:
        """This node and all below it, itself first."""
        yield self
        for child in self.children:
            yield from child.nodes()

    def find(self, name: str) -> Node | None:
        """The node of that name, at any depth."""
        return next((node for node in self.nodes() if node.name == name), None)


@dataclass(frozen=True)
class Graph:
    """A predictor, ready to be walked."""

    predictor: str
    root: Node
    version: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Surroundings:
    """What nodes take from outside their own lines."""

    images: Mapping[str, str]
    place: Callable[[str], str]
    logger: str


def plan(predictor: Json, *, localhost: str = "localhost", logger: str = "") -> Graph:
    """The graph of a predictor's spec; ``localhost`` says where units of the same pod are, ``logger`` the default."""
    spec = predictor.get("graph")
    if not isinstance(spec, Mapping):
        raise GraphError(f"predictor {predictor.get('name', '')!r} has no graph")
    around = _Surroundings(
        images=_images(predictor.get("componentSpecs") or ()),
        place=lambda host: localhost if host in ("localhost", "127.0.0.1") else host,
        logger=logger,
    )
    root = _node(spec, around)
    names = [node.name for node in root.nodes()]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise GraphError(f"two nodes are named {twice[0]!r}: routing and feedback would not know which is meant")
    annotations = {str(key): str(value) for key, value in (predictor.get("annotations") or {}).items()}
    return Graph(str(predictor.get("name", "")), root, annotations.get("version", ""), annotations)


def _images(specs: Sequence[Json]) -> dict[str, str]:
    containers = [one for spec in specs for one in (spec.get("spec") or {}).get("containers") or ()]
    return {str(one.get("name", "")): str(one.get("image", "")) for one in containers}


def _node(spec: Json, around: _Surroundings) -> Node:
    name = str(spec.get("name") or "")
    if not name:
        raise GraphError("a node of the graph has no name")
    implementation = str(spec.get("implementation") or "")
    builtin = implementation if implementation in BUILTIN else ""
    kind = BUILTIN.get(implementation) or str(spec.get("type") or "UNKNOWN_TYPE")
    endpoint = spec.get("endpoint") or {}
    http_port = _port(name, endpoint, "httpPort") or _port(name, endpoint, "service_port")
    log = spec.get("logger") or {}
    node = Node(
        name=name,
        kind=kind,
        verbs=_verbs(name, kind, builtin, spec.get("methods") or ()),
        children=tuple(_node(child, around) for child in spec.get("children") or ()),
        host=around.place(str(endpoint.get("service_host") or "")),
        http_port=http_port,
        grpc_port=_port(name, endpoint, "grpcPort") or _port(name, endpoint, "service_port"),
        probe_port=_port(name, endpoint, "service_port") or http_port,
        builtin=builtin,
        parameters={str(one["name"]): str(one.get("value", "")) for one in spec.get("parameters") or ()},
        types={str(one["name"]): str(one.get("type") or "STRING") for one in spec.get("parameters") or ()},
        image=around.images.get(name, ""),
        log=_log(name, log),
        log_url=str(log.get("url") or around.logger),
    )
    _check(node)
    return node


def _verbs(name: str, kind: str, builtin: str, methods: Sequence[str]) -> frozenset[Verb]:
    if kind not in _TYPES:
        raise GraphError(f"node {name!r} has type {kind!r}; there are: {', '.join(_TYPES)}")
    if unknown := [method for method in methods if method not in _METHODS]:
        raise GraphError(f"node {name!r} has method {unknown[0]!r}; there are: {', '.join(_METHODS)}")
    if builtin:
        return _TYPES[kind] - {Verb.FEEDBACK}
    return _TYPES[kind] | {_METHODS[method] for method in methods}


def _port(name: str, endpoint: Json, key: str) -> int:
    value = endpoint.get(key) or 0
    if not isinstance(value, int) or not 0 <= value < 2**16:
        raise GraphError(f"node {name!r}: endpoint.{key} is {value!r}, which is no port")
    return value


def _log(name: str, logger: Json) -> Log:
    mode = str(logger.get("mode") or "")
    if mode not in {one.value for one in Log}:
        raise GraphError(f"node {name!r}: logger.mode is {mode!r}; there are: all, request, response")
    return Log(mode)


def _check(node: Node) -> None:
    if node.builtin == "RANDOM_ABTEST":
        if len(node.children) < 2:  # noqa: PLR2004 (A and B)
            raise GraphError(f"node {node.name!r} is a RANDOM_ABTEST of {len(node.children)} children; it needs two")
        ratio = node.parameters.get("ratioA", "0.5")
        try:
            float(ratio)
        except ValueError:
            raise GraphError(f"node {node.name!r}: parameter ratioA is {ratio!r}, which is no number") from None
    if Verb.AGGREGATE in node.verbs and not node.children:
        raise GraphError(f"node {node.name!r} combines, but has no children")
    if node.log is not Log.NOTHING and not node.log_url:
        raise GraphError(
            f"node {node.name!r} has a logger without url, and REQUEST_LOGGER_DEFAULT_ENDPOINT is not set either"
        )
