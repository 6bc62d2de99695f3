"""Inference graphs as values: chains, combiners and routers of models, put together before anything is read or made.

    kf.chain(Scale(), model)                                    a transformer before a model
    kf.combine(forest, boost, by="majority")                    an ensemble behind one path
    kf.route(old, new, by="thompson")                           a bandit that learns from feedback
    kf.chain(IsolationForest().fit(X), kf.combine(a, b))        an outlier detector before both

Each part is what :func:`jupyterlab_kf.serve` takes for itself (an object, a class, a path, a finished job), a
:func:`unit` where more is to be said of it, or another graph. What can be told from the shape alone is refused here;
the rest by ``assembly``, which reads the parts.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf import names
from jupyterlab_kf.errors import BundleError, UsageError
from jupyterlab_kf.manifests import frameworks
from jupyterlab_kf.services.serving.models import class_in

COMBINERS: Final[Mapping[str, str]] = {"mean": "Mean", "majority": "Majority"}
"""How branches' answers become one, by name: the class in ``runtime/serving/parts``."""
BANDITS: Final[Mapping[str, str]] = {
    "epsilon-greedy": "EpsilonGreedy",
    "thompson": "ThompsonSampling",
    "ucb": "UCB",
    "linucb": "LinUCB",
}
"""Routers that learn, by name: the class in ``runtime/serving/routers``."""
RANDOM: Final = "random"
_COMMON: Final = ("seed", "history", "verbose")
SETTINGS: Final[Mapping[str, tuple[str, ...]]] = {
    RANDOM: ("share",),
    "mean": ("weights",),
    "majority": (),
    "epsilon-greedy": ("epsilon", "best_branch", *_COMMON),
    "thompson": _COMMON,
    "ucb": ("delta", *_COMMON),
    "linucb": ("alpha", "penalty", *_COMMON),
}
"""What each of them can be told."""
MAX_NAME: Final = 24
"""Characters of a unit's name: with the endpoint's and the version's it becomes a container's."""


@dataclass(frozen=True, slots=True)
class Unit:
    """One model, transformer, combiner or router, and how it is to be served."""

    model: Any
    name: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    method: str | None = None
    framework: str | None = None
    example: Any = None
    path: str | None = None

    def __repr__(self) -> str:
        return self.name or called(self.model)


@dataclass(frozen=True, slots=True, repr=False)
class Chain:
    """Parts through which a request goes one after the other."""

    steps: tuple[Part, ...]

    def __repr__(self) -> str:
        return f"chain({', '.join(map(repr, self.steps))})"


@dataclass(frozen=True, slots=True, repr=False)
class Combiner:
    """Parts that are all asked, and what makes one answer of theirs."""

    branches: tuple[Part, ...]
    by: str | Unit
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return _several("combine", self)


@dataclass(frozen=True, slots=True, repr=False)
class Router:
    """Parts of which one is asked, and what chooses it."""

    branches: tuple[Part, ...]
    by: str | Unit
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        return _several("route", self)


Part = Unit | Chain | Combiner | Router
GRAPHS: Final = (Unit, Chain, Combiner, Router)


def unit(
    model: Any,
    name: str = "",
    *,
    params: Mapping[str, Any] | None = None,
    method: str | None = None,
    framework: str | None = None,
    example: Any = None,
    path: str | None = None,
) -> Unit:
    """A part of a graph of which more is to be said than what it is.

    Args:
        model: as for :func:`jupyterlab_kf.serve`.
        name: what it is called in answers, metrics and logs; made from the model's when left out.
        params: what its class is made with.
        method: the estimator's method that answers, such as predict_proba.
        framework: the kind of model, where that cannot be told.
        example: an input, by which a PyTorch module is traced.
        path: the model's path in a job's results.

    Raises:
        UsageError: the name cannot be a unit's.
    """
    if name:
        names.check_job_name(name)
        if len(name) > MAX_NAME:
            raise UsageError(f"the unit's name {name!r} has {len(name)} characters; there may be {MAX_NAME}")
    if isinstance(model, GRAPHS):
        raise UsageError(f"{model!r} is a graph already, not one part of one")
    return Unit(model, name, dict(params or {}), method, framework, example, path)


def chain(*steps: Any) -> Chain:
    """Parts one after the other: transformers and outlier detectors, then a model, combiner or router.

    A request goes from left to right, each part getting what the one before it made. A class is asked for what it can
    do: ``transform_input`` before the model, ``transform_output`` behind it, or ``predict``, whose answer is passed on.
    A fitted outlier detector passes rows on unchanged, and tags the answer with what it thinks of them.

    Raises:
        UsageError: there are fewer than two.
    """
    found: list[Part] = []
    for step in steps:
        inner = part(step)
        found += inner.steps if isinstance(inner, Chain) else [inner]
    if len(found) < 2:  # noqa: PLR2004  one is no chain
        raise UsageError("a chain has at least two parts", hint="for example kf.chain(Scale(), model)")
    return Chain(tuple(found))


def combine(*branches: Any, by: Any = "mean", **settings: Any) -> Combiner:
    """Parts that are all asked at once, whose answers become one.

    Args:
        branches: at least two.
        by: mean (numbers), majority (labels), or a class with ``aggregate(self, features_list, names_list)``.
        settings: of mean ``weights=[2, 1]``; of a class what it is made with.

    Raises:
        UsageError: there are fewer than two, or there is no such combiner or setting.
    """
    known, given = _chosen("combine", by, settings, COMBINERS)
    if known == "mean" and (weights := given.get("weights")) is not None:
        if len(weights) != len(branches):
            raise UsageError(f"there are {len(weights)} weights and {len(branches)} parts")
        given["weights"] = ",".join(f"{float(one):g}" for one in weights)
    return Combiner(_branches("combiner", branches), known, given)


def route(*branches: Any, by: Any = RANDOM, **settings: Any) -> Router:
    """Parts of which one is asked for each request.

    Args:
        branches: at least two; exactly two by chance.
        by: random (an A/B test), epsilon-greedy, thompson, ucb or linucb (bandits, which learn from feedback), or a
            class with ``route(self, X, names)``, which answers the number of a branch.
        settings: of random ``share=50``, the percentage that goes to the second; of a bandit its own, such as
            ``epsilon=0.05``; of a class what it is made with.

    Raises:
        UsageError: there are not that many, or there is no such router or setting.
    """
    known, given = _chosen("route", by, settings, (RANDOM, *BANDITS))
    if known == RANDOM:
        share = given.get("share", 50)
        if len(branches) != 2:  # noqa: PLR2004  A and B
            raise UsageError(
                f"by chance there are two parts to choose from, not {len(branches)}",
                hint="a bandit (by='epsilon-greedy') or a class of your own chooses between more",
            )
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 100:  # noqa: PLR2004  percent
            raise UsageError(f"share is {share!r}; it is the percentage of requests that the second part gets")
    return Router(_branches("router", branches), known, given)


def part(value: Any) -> Part:
    """A value as a part of a graph."""
    if isinstance(value, GRAPHS):
        return value
    if value is None or isinstance(value, (list, tuple, dict)):
        raise UsageError(
            f"a {type(value).__name__} is not a model", hint="parts of a graph are given one by one: kf.chain(a, b)"
        )
    return Unit(value)


def called(model: Any) -> str:
    """What people call a model that nobody has named."""
    if isinstance(model, (str, Path)):
        with contextlib.suppress(UsageError, BundleError):  # what is wrong with it is said where it is read
            return class_in(str(model), "") if "\n" in str(model) else repr(str(model))
        return repr(str(model))
    if expression(model):  # a kept one
        return str(model.called)
    return model.__name__ if isinstance(model, type) else type(model).__name__


def expression(model: Any) -> str:
    """How a model is written in Python that any notebook can run; empty where only its own notebook has it."""
    found = getattr(model, "expression", "")
    return found if isinstance(found, str) and not isinstance(model, type) else ""


def source(graph: Any) -> str:
    """A graph as the calls of the package that make it; what has no name of its own has what people call it."""
    if isinstance(graph, Chain):
        return f"kf.chain({', '.join(map(source, graph.steps))})"
    if isinstance(graph, Combiner | Router):
        word = "combine" if isinstance(graph, Combiner) else "route"
        by = source(graph.by) if isinstance(graph.by, Unit) else repr(graph.by)
        given = [*map(source, graph.branches), f"by={by}", *(f"{key}={one!r}" for key, one in graph.settings.items())]
        return f"kf.{word}({', '.join(given)})"
    if not isinstance(graph, Unit):
        return repr(graph)
    written = expression(graph.model)
    if not written:
        return repr(graph)
    more = {"params": dict(graph.params) or None, "method": graph.method}
    said = [repr(graph.name)] if graph.name else []
    said += [f"{key}={one!r}" for key, one in more.items() if one is not None]
    return f"kf.unit({', '.join([written, *said])})" if said else written


def from_text(text: str, variables: Mapping[str, Any]) -> Part:
    """A graph written as calls over variables: ``chain(scale, combine(a, b, by=majority))``. Nothing is executed.

    Raises:
        UsageError: it is something else, or a variable does not exist.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        raise UsageError(f"{text!r} is not a graph", hint=_EXAMPLE) from None
    return part(_read(tree, variables))


_EXAMPLE: Final = "for example chain(scale, combine(forest, boost, by=majority)), with variables of the notebook"
_MAKERS: Final[Mapping[str, Any]] = {"chain": chain, "combine": combine, "route": route, "unit": unit}


def _read(tree: ast.expr, variables: Mapping[str, Any]) -> Any:
    if isinstance(tree, ast.Call):
        name = tree.func.id if isinstance(tree.func, ast.Name) else ast.unparse(tree.func).removeprefix("kf.")
        if name not in _MAKERS:
            raise UsageError(f"{name!r} does not make a graph", hint=frameworks.nearest(name, _MAKERS, "there are"))
        given = [_read(one, variables) for one in tree.args]
        words = {one.arg or "": _setting(one.value, variables) for one in tree.keywords}
        if "" in words:
            raise UsageError(f"{ast.unparse(tree)} is not a graph", hint=_EXAMPLE)
        if name == "unit" and given and isinstance(given[0], Unit):
            given = [given[0].model, *(given[1:] or [given[0].name])]
        return _MAKERS[name](*given, **words)
    if isinstance(tree, ast.Name):
        if tree.id not in variables:
            raise UsageError(
                f"there is no variable {tree.id!r}", hint="run the cell that makes it; a path is in quotation marks"
            )
        value = variables[tree.id]
        # The variable's name is the one that its user knows it by.
        named = names.slug(tree.id.strip("_"), limit=MAX_NAME)
        return value if isinstance(value, GRAPHS) else Unit(value, named)
    if isinstance(tree, ast.Constant) and isinstance(tree.value, str):
        return tree.value
    raise UsageError(f"{ast.unparse(tree)} is not a part of a graph", hint=_EXAMPLE)


def _setting(tree: ast.expr, variables: Mapping[str, Any]) -> Any:
    if isinstance(tree, ast.Name):
        # A notebook that has imported a function mean means ours here all the same.
        return tree.id if tree.id in SETTINGS else variables.get(tree.id, tree.id)
    if isinstance(tree, ast.BinOp) and set(ast.unparse(tree)) <= set("abcdefghijklmnopqrstuvwxyz -"):
        return ast.unparse(tree).replace(" ", "")  # epsilon-greedy without quotation marks, which a line loses
    try:
        return ast.literal_eval(tree)
    except ValueError:
        raise UsageError(f"{ast.unparse(tree)} is neither a value nor a variable", hint=_EXAMPLE) from None


def _branches(what: str, branches: tuple[Any, ...]) -> tuple[Part, ...]:
    if len(branches) < 2:  # noqa: PLR2004  one is no choice
        raise UsageError(f"a {what} has at least two parts")
    return tuple(map(part, branches))


def _chosen(what: str, by: Any, settings: Mapping[str, Any], known: Any) -> tuple[str | Unit, dict[str, Any]]:
    """What combines or chooses: one of ours by name with its settings, or a part with what it is made with."""
    if not isinstance(by, str):
        own = part(by)
        if not isinstance(own, Unit):
            raise UsageError(f"by={by!r}: one class combines or chooses, not a graph")
        return Unit(own.model, own.name, {**own.params, **settings}), {}
    if by not in known:
        raise UsageError(
            f"{what}(by={by!r}): there is no such way", hint=frameworks.nearest(by, list(known), "there are")
        )
    for name in settings:
        if name not in SETTINGS[by]:
            there = SETTINGS[by]
            hint = frameworks.nearest(name, there, "there are") if there else "it has none"
            raise UsageError(f"{by} has no setting {name!r}", hint=hint)
    return by, dict(settings)


def _several(word: str, graph: Combiner | Router) -> str:
    by = graph.by if isinstance(graph.by, Unit) else repr(graph.by)
    more = "".join(f", {name}={value!r}" for name, value in graph.settings.items())
    return f"{word}({', '.join(map(repr, graph.branches))}, by={by!s}{more})"
