"""From what a user names to a ``Unit``: a class by its dotted name, or a model file whose kind is recognised.

A model is recognised by what lies at its path, never by opening it: reading a pickle runs code, so it happens once, in
``load``. Numbered folders are versions, as for TF Serving and Triton: the highest number is served.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from . import flavours
from .component import Unit
from .identity import Identity
from .messages import Refusal

ENDINGS = {
    ".joblib": "sklearn",
    ".pkl": "sklearn",
    ".pickle": "sklearn",
    ".bst": "xgboost",
    ".ubj": "xgboost",
    ".onnx": "onnx",
    ".pt": "torchscript",
    ".pth": "torchscript",
    ".pt2": "torchscript",
    ".keras": "tensorflow",
    ".lgb": "lightgbm",
}
FOLDERS = {"MLmodel": "mlflow", "saved_model.pb": "tensorflow", "saved_model.pbtxt": "tensorflow"}
# Names by which Seldon, MLServer and KServe call the same.
ALIASES = {
    "sklearn_server": "sklearn",
    "xgboost_server": "xgboost",
    "tensorflow_server": "tensorflow",
    "mlflow_server": "mlflow",
    "scikit-learn": "sklearn",
    "mlserver_sklearn.sklearnmodel": "sklearn",
    "mlserver_xgboost.xgboostmodel": "xgboost",
    "mlserver_lightgbm.lightgbmmodel": "lightgbm",
    "mlserver_mlflow.mlflowruntime": "mlflow",
    "savedmodel": "tensorflow",
    "keras": "tensorflow",
    "pytorch": "torchscript",
}


def from_class(
    spec: str,
    parameters: Mapping[str, Any],
    *,
    name: str = "",
    identity: Identity | None = None,
    paths: Iterable[str] = (),
) -> Unit:
    """A user's class: ``module.Class``, or ``Class`` in the module of that name, as Seldon's images have it.

    Where there is no such module, a name of one of our routers means that router.
    """
    for path in reversed([*paths, os.getcwd()]):  # noqa: PTH109  sys.path holds strings
        if path not in sys.path:
            sys.path.insert(0, path)
    from . import routers, seldoncore

    seldoncore.provide()
    module, _, attribute = spec.replace(":", ".").rpartition(".")
    module = module or attribute
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name and not (module == error.name or module.startswith(f"{error.name}.")):
            raise Refusal(f"the class {spec} needs the module {error.name}, which this image does not have") from error
        found = routers.ROUTERS.get(spec)
        if found is None:
            raise Refusal(f"there is no module {module} for the class {spec} in {', '.join(sys.path[:3])}") from error
    except AttributeError as error:
        raise Refusal(f"the module {module} has no class {attribute}") from error
    if not callable(found):
        return Unit(found, name, identity=identity)
    try:
        return Unit(found(**parameters), name, identity=identity)
    except TypeError as error:
        given = ", ".join(parameters) or "no parameters"
        raise Refusal(f"the class {spec} cannot be made with {given}: {error}") from error


def from_model(
    path: str,
    kind: str = "",
    parameters: Mapping[str, Any] | None = None,
    *,
    name: str = "",
    identity: Identity | None = None,
) -> Unit:
    """A model file or folder, of the kind that is named or recognised."""
    root = Path(path.removeprefix("file://"))
    if not root.exists():
        raise Refusal(f"there is no model at {path}")
    folder, version = newest(root)
    wanted = ALIASES.get(kind.lower(), kind.lower()) if kind else recognised(folder)
    made = flavours.KINDS.get(wanted)
    if made is None:
        raise Refusal(f"there is no kind of model {kind!r}; there are {', '.join(flavours.KINDS)}")
    given = {key: value for key, value in (parameters or {}).items() if key != "model_uri"}
    try:
        target = made(folder, **given)
    except TypeError as error:
        raise Refusal(f"a model of kind {wanted} takes no such parameter: {', '.join(given)} ({error})") from error
    unit = Unit(target, name, identity=identity)
    unit.version = version
    return unit


def from_repository(path: str, wanted: Iterable[str] = (), *, identity: Identity | None = None) -> list[Unit]:
    """A folder of models as Triton has it: a folder a model, with numbered versions in it."""
    root = Path(path)
    chosen = set(wanted)
    folders = sorted(one for one in root.iterdir() if one.is_dir()) if root.is_dir() else []
    found = [one for one in folders if (not chosen or one.name in chosen) and newest(one)[0] != one]
    missing = chosen - {one.name for one in found}
    if missing or not found:
        told = (
            f"no model {', '.join(sorted(missing))}" if missing else "no model: a folder a model, with versions in it"
        )
        raise Refusal(f"the repository {path} has {told}")
    return [from_model(str(one), name=one.name, identity=identity) for one in found]


def newest(root: Path) -> tuple[Path, str]:
    """The folder of the highest version, where there are numbered ones, and that version."""
    numbered = sorted((int(one.name), one) for one in root.iterdir() if one.name.isdigit()) if root.is_dir() else []
    return (numbered[-1][1], str(numbered[-1][0])) if numbered else (root, "1")


def recognised(path: Path) -> str:
    """The kind of the model at a path."""
    kinds = {_kind(one) for one in (sorted(path.iterdir()) if path.is_dir() else [path])} - {""}
    if path.is_dir():
        for mark, kind in FOLDERS.items():
            if (path / mark).exists():
                return kind
    if len(kinds) == 1:
        return kinds.pop()
    told = ", ".join(sorted(flavours.KINDS))
    found = f"several kinds ({', '.join(sorted(kinds))})" if kinds else "nothing that is recognised"
    raise Refusal(f"{path} has {found}: say which kind of model it is with --kind; there are {told}")


def _kind(path: Path) -> str:
    if path.suffix == ".json":
        return "xgboost" if path.stem in {"model", "xgboost"} else ""
    return ENDINGS.get(path.suffix, FOLDERS.get(path.name, ""))
