"""A graph with its models read: which unit is of which type, how its server is started, and what travels.

One model alone is a graph of one unit, so that everything that is served goes the same way. A graph's units are
containers of one pod that share one bundle; :class:`Node` is what the manifest says of a unit, with names that are
unique in the graph. Which part can stand where is decided here, and refused with the part's name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from jupyterlab_kf import names
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests import endpoints
from jupyterlab_kf.model import Obj
from jupyterlab_kf.services.serving import graphs, shipping
from jupyterlab_kf.services.serving.graphs import Chain, Combiner, Part, Router, Unit
from jupyterlab_kf.services.serving.models import FOLDER, Model

Read = Callable[[Unit], Model]
"""Reads the model of a unit."""
_ASKED: Final[Mapping[str, tuple[str, ...]]] = {
    "TRANSFORMER": ("transform_output", "send_feedback"),
    "OUTPUT_TRANSFORMER": ("send_feedback",),
    "COMBINER": ("send_feedback",),
}
"""What a unit of a type is asked only when its manifest says so."""
_TITLES: Final[Mapping[str, str]] = {
    "MODEL": "model",
    "ROUTER": "router",
    "COMBINER": "combiner",
    "TRANSFORMER": "transformer",
    "OUTPUT_TRANSFORMER": "output transformer",
}


@dataclass(frozen=True, slots=True)
class Node:
    """A unit of the manifest's graph.

    Attributes:
        name: its name within the graph; empty for a graph of one.
        type: Seldon's type.
        model: what it serves; None for what the engine does itself.
        words: the command line of its server.
        params: what it is made with.
        methods: what it is asked beside what its type says.
        implementation: the engine's own, for one without a server.
        children: what it passes requests on to.
    """

    name: str
    type: str
    model: Model | None = None
    words: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] = ()
    implementation: str = ""
    children: tuple[Node, ...] = ()

    def walk(self) -> Iterator[Node]:
        """The node and all below it, each before its children."""
        yield self
        for child in self.children:
            yield from child.walk()

    def manifest(self, called: Callable[[str], str]) -> Obj:
        """The node as Seldon writes it; ``called`` gives a unit its full name.

        Raises:
            UsageError: it is made with what Seldon's parameters cannot be.
        """
        made: Obj = {"name": called(self.name)}
        if self.implementation:
            made["implementation"] = self.implementation
        else:
            made["type"] = self.type
        if self.methods:
            made["methods"] = list(self.methods)
        made["children"] = [child.manifest(called) for child in self.children]
        if self.params:
            made["parameters"] = endpoints.parameters(self.params)
        return made

    @property
    def title(self) -> str:
        """What it is, in words."""
        if self.model is not None and self.model.detects and self.type == "TRANSFORMER":
            return "outlier detector"
        return _TITLES[self.type]


@dataclass(frozen=True, slots=True)
class Assembly:
    """What is to be served: the graph, and as one model everything that travels."""

    model: Model
    root: Node

    @property
    def alone(self) -> bool:
        """Whether it is one model."""
        return not self.root.name

    @property
    def servers(self) -> list[Node]:
        """The units that have a server, each before its children."""
        return [node for node in self.root.walk() if node.model is not None]

    @property
    def kinds(self) -> set[str]:
        """The kinds of its models."""
        return {node.model.kind for node in self.root.walk() if node.model is not None}

    @property
    def learns(self) -> bool:
        """Whether a router of ours learns in it."""
        return any(
            node.words[1:2] and node.words[1].startswith(f"{shipping.PACKAGE}.routers:") for node in self.servers
        )

    @property
    def told(self) -> dict[str, Any]:
        """What the record says of the units; empty for a model alone."""
        if self.alone:
            return {}
        return {
            "units": {
                node.name: {"type": node.title, "called": node.model.called, "model": node.model.digest}
                | ({"from": node.model.origin} if node.model.origin else {})
                for node in self.servers
                if node.model is not None
            }
        }


def of_model(model: Model, *, method: str | None, params: Mapping[str, Any] | None) -> Assembly:
    """One model alone."""
    return Assembly(model, Node("", "MODEL", model, tuple(shipping.words(model)), parameters(model, method, params)))


def parameters(model: Model, method: str | None, params: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a model is made with. Seldon's server for scikit-learn would give probabilities where it can."""
    chosen = method or model.method
    return {**({"method": chosen} if chosen else {}), **model.params, **(params or {})}


def of_graph(graph: Part, read: Read) -> Assembly:
    """A graph, its models read.

    Raises:
        UsageError: a part cannot stand where it stands, or there is no model in it.
    """
    builder = _Builder(read)
    root = builder.node(graph)
    if not any(node.type == "MODEL" for node in root.walk()):
        raise UsageError(f"{graph!r} has no model: nothing in it predicts")
    servers = [node for node in root.walk() if node.model is not None]
    shape = root.manifest(str)
    every = Model(
        kind="graph",
        called=repr(graph),
        entry=json.dumps(shape, sort_keys=True),
        files=builder.files,
        modules=tuple(dict.fromkeys(module for one in servers if one.model for module in one.model.modules)),
        versions={name: version for one in servers if one.model for name, version in one.model.versions.items()},
        classes=servers[-1].model.classes if servers[-1].model and isinstance(graph, Chain) else (),
        columns=servers[0].model.columns if servers[0].model else (),
        width=servers[0].model.width if servers[0].model else 0,
        example=servers[0].model.example if servers[0].model else (),
    )
    return Assembly(every, root)


class _Builder:
    """Reads a graph's parts, gives each a name, and gathers what travels."""

    def __init__(self, read: Read) -> None:
        self.files: dict[str, bytes] = {}
        self._read = read
        self._models: dict[int, Model] = {}
        self._names: set[str] = set()

    def node(self, graph: Part) -> Node:
        if isinstance(graph, Chain):
            return self._chain(graph)
        if isinstance(graph, Combiner):
            return self._combiner(graph)
        if isinstance(graph, Router):
            return self._router(graph)
        self._needs(graph, "predict", "answer requests")
        return self._server(graph, "MODEL")

    # Chains

    def _chain(self, graph: Chain) -> Node:
        steps = list(graph.steps)
        behind: list[Unit] = []
        while len(steps) > 1 and isinstance(last := steps[-1], Unit) and _is_output_only(self._model(last)):
            behind.insert(0, last)
            steps.pop()
        node = self.node(steps[-1])
        for step in reversed(steps[:-1]):
            node = self._before(step, node)
        for step in behind:
            node = self._server(step, "OUTPUT_TRANSFORMER", (node,))
        return node

    def _before(self, step: Part, rest: Node) -> Node:
        """A part with what follows as its child."""
        if not isinstance(step, Unit):
            raise UsageError(
                f"nothing can follow {step!r} but transformers of the output",
                hint="a graph is a tree: put what follows into a class with transform_output(self, X, names)",
            )
        model = self._model(step)
        if model.detects and step.method is None:
            return self._detector(step, model, rest)
        if model.verbs is None or "transform_input" in model.verbs:
            return self._server(step, "TRANSFORMER", (rest,))
        if "predict" in model.verbs:
            return self._server(step, "MODEL", (rest,))
        hint = "its class needs transform_input or predict"
        if _is_output_only(model):
            hint = "its class transforms the output: it stands behind the model"
        raise UsageError(f"{step!r} cannot stand before {rest.name}", hint=hint)

    def _detector(self, step: Unit, model: Model, rest: Node) -> Node:
        name = self._name(step.name or model.called)
        entry = self._kept(name, model)
        words = ("--class", f"{shipping.PACKAGE}.parts:OutlierDetector")
        return Node(name, "TRANSFORMER", model, words, {"path": entry, **step.params}, children=(rest,))

    # Combiners and routers

    def _combiner(self, graph: Combiner) -> Node:
        children = tuple(map(self.node, graph.branches))
        if isinstance(graph.by, Unit):
            self._needs(graph.by, "aggregate", "combine")
            return self._server(graph.by, "COMBINER", children)
        if graph.by == "mean":
            _refuse_labels(children)
        return self._ours(f"parts:{graphs.COMBINERS[graph.by]}", graph, "COMBINER", children)

    def _router(self, graph: Router) -> Node:
        children = tuple(map(self.node, graph.branches))
        if isinstance(graph.by, Unit):
            self._needs(graph.by, "route", "choose")
            return self._server(graph.by, "ROUTER", children)
        if graph.by == graphs.RANDOM:
            ratio = 1 - float(graph.settings.get("share", 50)) / 100
            name = self._name("ab-test")
            return Node(name, "ROUTER", params={"ratioA": ratio}, implementation="RANDOM_ABTEST", children=children)
        return self._ours(f"routers:{graphs.BANDITS[graph.by]}", graph, "ROUTER", children)

    def _ours(self, spec: str, graph: Combiner | Router, type_: str, children: tuple[Node, ...]) -> Node:
        """A class of the serving program's own."""
        model = Model("python", spec.partition(":")[2], f"{shipping.PACKAGE}.{spec}")
        given = dict(graph.settings)
        if type_ == "ROUTER":
            given |= {"n_branches": len(children), "branch_names": ":".join(child.name for child in children)}
        return Node(self._name(str(graph.by)), type_, model, tuple(shipping.words(model)), given, children=children)

    # Units

    def _model(self, step: Unit) -> Model:
        """A unit's model, read once."""
        if id(step) not in self._models:
            self._models[id(step)] = self._read(step)
        return self._models[id(step)]

    def _needs(self, step: Unit, verb: str, what: str) -> None:
        verbs = self._model(step).verbs
        if verbs is not None and verb not in verbs:
            given = "features_list, names_list" if verb == "aggregate" else "X, names"
            raise UsageError(
                f"{step!r} cannot {what}: it has no method {verb}", hint=f"write def {verb}(self, {given})"
            )

    def _server(self, step: Unit, type_: str, children: tuple[Node, ...] = ()) -> Node:
        model = self._model(step)
        name = self._name(step.name or model.called)
        entry = self._kept(name, model)
        words = tuple(shipping.words(replace(model, entry=entry)))
        given = parameters(model, step.method, step.params)
        # A type says what a unit is asked; a class that does more is asked for that, too.
        more = [verb for verb in _ASKED.get(type_, ()) if model.kind == "python" and verb in (model.verbs or ())]
        methods = tuple(verb.upper() for verb in more)
        return Node(name, type_, model, words, given, methods, children=children)

    def _kept(self, name: str, model: Model) -> str:
        """Put a model's files where no other unit's are; answers where it is loaded from."""
        if model.source:
            for path, content in model.files.items():
                self._put(path, content)
            return self._source(model)
        if not model.files:
            return model.entry
        for path, content in model.files.items():
            self._put(_below(path, name), content)
        return _below(model.entry, name)

    def _put(self, path: str, content: bytes) -> None:
        """Have a file travel; one unit's code must not become another's."""
        if self.files.setdefault(path, content) != content:
            raise UsageError(
                f"two parts of the graph have files {path} that differ", hint="give one of the modules another name"
            )

    def _source(self, model: Model) -> str:
        """The module of a notebook's class: one for all units of that class, another for another of its name."""
        module, _, cls = model.entry.partition(":")
        content = model.source.encode()
        for number in range(1, len(self.files) + 2):
            chosen = module if number == 1 else f"{module}_{number}"
            if self.files.setdefault(f"{chosen}.py", content) == content:
                return f"{chosen}:{cls}"
        raise AssertionError("one of these names is free")

    def _name(self, wanted: str) -> str:
        base = names.slug(wanted.rpartition("/")[2], limit=graphs.MAX_NAME)
        found = base
        for number in range(2, len(self._names) + 3):
            if found not in self._names:
                break
            found = f"{base}-{number}"
        self._names.add(found)
        return found


def _below(path: str, name: str) -> str:
    """A model's file where no other unit's is; code stays where it is imported from."""
    inside = path.removeprefix(FOLDER)
    return f"{FOLDER}/{name}{inside}" if path == FOLDER or inside.startswith("/") else path


def _is_output_only(model: Model | None) -> bool:
    verbs = model.verbs if model is not None else None
    return verbs is not None and "transform_output" in verbs and not verbs & {"predict", "transform_input"}


def _refuse_labels(children: tuple[Node, ...]) -> None:
    """The mean of class 0 and class 2 is not class 1."""
    for child in children:
        model = child.model
        if model is not None and model.classes and child.params.get("method") == "predict":
            raise UsageError(
                f"{child.name} answers labels, whose mean says nothing",
                hint="combine by='majority', or their probabilities: kf.unit(model, method='predict_proba')",
            )


# Keeping


_KEPT: Final = ("kind", "called", "entry", "method", "width", "detects", "origin")


def dump(served: Assembly) -> Obj:
    """What is to be remembered beside the files, as JSON."""
    return {"model": _dumped(served.model), "root": _node_dumped(served.root)}


def load(told: Mapping[str, Any], files: Mapping[str, bytes]) -> Assembly:
    """The same again, with what had travelled."""
    model = replace(_loaded(told["model"]), files=dict(files))
    root = _node_loaded(told["root"])
    return Assembly(model, root if root.name else replace(root, model=model))


def _dumped(model: Model) -> Obj:
    return {
        **{name: getattr(model, name) for name in _KEPT},
        "digest": model.digest,
        "modules": list(model.modules),
        "versions": dict(model.versions),
        "classes": list(model.classes),
        "columns": list(model.columns),
        "example": list(model.example),
        "params": dict(model.params),
        "verbs": None if model.verbs is None else sorted(model.verbs),
    }


def _loaded(told: Mapping[str, Any]) -> Model:
    return Model(
        **{name: told[name] for name in _KEPT},
        known=told["digest"],
        modules=tuple(told["modules"]),
        versions=told["versions"],
        classes=tuple(told["classes"]),
        columns=tuple(told["columns"]),
        example=tuple(told.get("example") or ()),
        params=told["params"],
        verbs=None if told["verbs"] is None else frozenset(told["verbs"]),
    )


def _node_dumped(node: Node) -> Obj:
    return {
        "name": node.name,
        "type": node.type,
        "words": list(node.words),
        "params": dict(node.params),
        "methods": list(node.methods),
        "implementation": node.implementation,
        "model": None if node.model is None else _dumped(node.model),
        "children": [_node_dumped(child) for child in node.children],
    }


def _node_loaded(told: Mapping[str, Any]) -> Node:
    return Node(
        name=told["name"],
        type=told["type"],
        model=None if told["model"] is None else _loaded(told["model"]),
        words=tuple(told["words"]),
        params=told["params"],
        methods=tuple(told["methods"]),
        implementation=told["implementation"],
        children=tuple(_node_loaded(child) for child in told["children"]),
    )
