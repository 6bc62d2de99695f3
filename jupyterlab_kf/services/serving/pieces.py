"""One unit of a kept model, as a model by itself: so that graphs are put together anew of what was served.

Knows where ``assembly`` puts the files of several units, and takes them back to where those of one alone lie.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests import frameworks
from jupyterlab_kf.services.serving import shipping
from jupyterlab_kf.services.serving.assembly import Assembly, Node
from jupyterlab_kf.services.serving.models import FOLDER, Model

_DETECTOR = f"{shipping.PACKAGE}.parts:"


def taken(served: Assembly, name: str) -> Model:
    """The model of a unit with its files, and with what it was made with as its ``params``.

    Args:
        served: what was kept.
        name: the unit's; empty for the only one of a model alone.

    Raises:
        UsageError: there is no such unit with a model of one's own.
    """
    own = {node.name: node for node in served.root.walk() if _own(node)}
    if name not in own:
        if not name:
            raise UsageError(
                f"{served.model.called} is a graph, not one part of one",
                hint=f"name a unit of it: kept.unit({next(iter(own), '')!r})",
            )
        hint = frameworks.nearest(name, sorted(own), "its units are")
        raise UsageError(f"{served.model.called} has no unit {name!r} with a model", hint=hint)
    node = own[name]
    model = node.model
    assert model is not None  # noqa: S101  for the type checker: it was chosen by that
    params = dict(node.params)
    # A detector is a program of ours that is told where the estimator lies.
    loaded = str(params.pop("path")) if _detects(node) else node.words[1]
    files = {_above(path, name): content for path, content in served.model.files.items() if _is_of(path, name)}
    if model.kind != "python" and not model.modules:
        files = {path: content for path, content in files.items() if _is_model(path)}
    return _with_source(replace(model, entry=_above(loaded, name), files=files, params=params, known=model.digest))


def every(served: Assembly) -> dict[str, Model]:
    """Unit to model, of those that are not ours; without their files."""
    return {node.name: node.model for node in served.root.walk() if node.model is not None and _own(node)}


def _own(node: Node) -> bool:
    return node.model is not None and not _ours(node)


def _ours(node: Node) -> bool:
    """Whether a unit is a router or combiner of ours, which is made anew."""
    entry = node.words[1] if len(node.words) > 1 else ""
    return entry.startswith(f"{shipping.PACKAGE}.") and not _detects(node)


def _detects(node: Node) -> bool:
    return len(node.words) > 1 and node.words[1].startswith(_DETECTOR) and "path" in node.params


def _is_model(path: str) -> bool:
    return path == FOLDER or path.startswith(f"{FOLDER}/")


def _is_of(path: str, name: str) -> bool:
    """Whether a file is the unit's own, or code that stands beside all of them."""
    place = f"{FOLDER}/{name}"
    return not name or not _is_model(path) or path == place or path.startswith(f"{place}/")


def _above(path: str, name: str) -> str:
    place = f"{FOLDER}/{name}"
    return FOLDER + path.removeprefix(place) if name and _is_model(path) else path


def _with_source(model: Model) -> Model:
    """A class whose module travelled as text is one again: another unit may have a module of that name."""
    module, _, _ = model.entry.partition(":")
    files: dict[str, Any] = dict(model.files)
    text = files.pop(f"{module}.py", None) if model.kind == "python" and not model.modules else None
    return model if text is None else replace(model, files=files, source=text.decode())
