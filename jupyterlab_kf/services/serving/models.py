"""What a person calls a model, as files that a model server loads: recognised, saved in its framework's own format.

An instance of a fitted estimator is written by its framework (joblib, UBJ, TorchScript, ONNX, SavedModel), a path is
read and its kind told by what is in it, a class travels as source. Nothing of a kernel's state is pickled beyond what
scikit-learn itself calls a saved model; one that needs a class which only the notebook has is refused by name.
"""

from __future__ import annotations

import hashlib
import inspect
import io
import pickletools
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any, Final

from jupyterlab_kf.errors import BundleError, UsageError
from jupyterlab_kf.manifests import frameworks
from jupyterlab_kf.services import functions, packages
from jupyterlab_kf.services.bundle import size
from jupyterlab_kf.services.serving import samples

FOLDER: Final = "model"
"""Where a model's files lie beside the code."""
KINDS: Final = ("sklearn", "xgboost", "lightgbm", "pytorch", "onnx", "tensorflow", "mlflow", "python")
PARAMETERS: Final[Mapping[str, tuple[str, ...]]] = {
    "sklearn": ("method",), "xgboost": (), "lightgbm": (), "pytorch": ("device",), "onnx": ("threads",),
    "tensorflow": ("signature_name",), "mlflow": ("xtype",),
}  # fmt: skip
"""What the server of a kind may be told by ``params``; a class says itself what it takes."""
_PACKAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "sklearn": ("scikit-learn", "joblib", "numpy"),
    "xgboost": ("xgboost", "numpy"),
    "lightgbm": ("lightgbm", "numpy"),
    "pytorch": ("torch", "numpy"),
    "onnx": ("onnxruntime", "numpy"),
    "tensorflow": ("tensorflow", "numpy"),
    "mlflow": ("mlflow",),
    "python": (),
}
_ENDINGS: Final[Mapping[str, str]] = {
    ".joblib": "sklearn", ".pkl": "sklearn", ".pickle": "sklearn", ".onnx": "onnx", ".pt": "pytorch", ".pth": "pytorch",
    ".ts": "pytorch", ".ubj": "xgboost", ".bst": "xgboost", ".json": "xgboost",
    ".lgb": "lightgbm", ".keras": "tensorflow",
}  # fmt: skip
_LARGEST: Final = 2 * 1024**3
VERBS: Final = ("predict", "transform_input", "transform_output", "route", "aggregate", "send_feedback")
"""What a class of Seldon's convention may do; each has a variant ``..._raw``."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model ready to be shipped.

    Attributes:
        kind: one of :data:`KINDS`, by which the server is chosen.
        called: what people call it, such as ``LogisticRegression`` or ``digits.onnx``.
        entry: what is loaded: a path below the shipped folder, or ``module:Class``.
        files: path below the shipped folder to content.
        source: for a class of the notebook's own, its module's text; empty else.
        modules: modules that loading it imports, to be shipped where they are the user's own.
        versions: what it was made with, package to version.
        classes: names of what it predicts, where the model knows them.
        columns: names of its inputs, where the model knows them.
        width: how many numbers one row of its input has; 0 where it is not known.
        method: what a prediction calls, for kinds that have several; else empty.
        params: what a class is made with, as far as its object tells.
        verbs: the methods of Seldon's convention that it has; None where they cannot be told.
        detects: whether it finds outliers.
        origin: what made it, such as a job; else empty.
        example: a row to try it with, where one is known.
        known: its digest, of a model that was kept and comes back in another form; else empty.
    """

    kind: str
    called: str
    entry: str
    files: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    source: str = field(default="", repr=False)
    modules: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    width: int = 0
    method: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    verbs: frozenset[str] | None = frozenset({"predict"})
    detects: bool = False
    origin: str = ""
    example: tuple[Any, ...] = ()
    known: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 over what is loaded: the identity of the model, whatever code stands beside it."""
        if self.known:
            return self.known
        total = hashlib.sha256(f"{self.kind}\0{self.entry}\0".encode())
        for name, content in sorted({**self.files, "": self.source.encode()}.items()):
            total.update(f"{name}\0{len(content)}\0".encode())
            total.update(content)
        return total.hexdigest()


def read(model: object, *, root: Path, framework: str | None = None, example: Any = None) -> Model:
    """The model of what a person handed over.

    Args:
        model: a class, a fitted estimator, or the path of a file or folder.
        root: where paths are looked up.
        framework: its kind, where that cannot be told or is to be another one.
        example: an input, for a PyTorch module that has to be traced.

    Raises:
        BundleError: it cannot be saved or read.
        UsageError: it is not a model, or not of a kind that can be served.
    """
    if framework is not None and framework not in KINDS:
        hint = frameworks.nearest(framework, KINDS, "models can be")
        raise UsageError(f"{framework!r} is not a kind of model that can be served", hint=hint)
    if isinstance(model, (str, Path)):
        return _of_path(Path(model), root, framework)
    if isinstance(model, type):
        return of_class(model)
    return _of_instance(model, framework, example)


# Classes


def of_class(value: type) -> Model:
    """A class that follows Seldon's convention, of the notebook's own or of a module.

    Raises:
        BundleError: its source cannot be found or shipped.
    """
    verbs = frozenset(verb for verb in VERBS if _has(value, verb) or _has(value, f"{verb}_raw"))
    if value.__module__ == "__main__":
        found = functions.extract_class(value)
        module = f"{found.name}_" if packages.is_package(found.name) else found.name
        return Model("python", found.name, f"{module}:{found.name}", source=found.source, verbs=verbs)
    entry = f"{value.__module__}:{value.__qualname__}"
    return Model("python", value.__name__, entry, modules=(value.__module__,), verbs=verbs)


def of_source(text: str, name: str, class_name: str) -> Model:
    """A class that source text defines, such as a cell's."""
    return Model("python", class_name, f"{PurePosixPath(name).stem}:{class_name}", source=text, verbs=None)


def _has(value: type, method: str) -> bool:
    """Whether a class has a method of its own; those of Seldon's base class only say that there is none."""
    owner = next((one for one in value.__mro__ if method in vars(one)), None)
    return owner is not None and not owner.__module__.startswith("seldon_core")


def _of_object(value: object) -> Model:
    """An object of such a class: its class, and what it is made with anew in the pod.

    Raises:
        UsageError: the object is not what its class makes of the arguments that can be told from it.
    """
    cls = type(value)
    model = of_class(cls)
    given: dict[str, Any] = {}
    for name, parameter in inspect.signature(cls).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if name in vars(value):
            given[name] = vars(value)[name]
        elif parameter.default is parameter.empty:
            raise UsageError(
                f"what this {cls.__name__} was made with cannot be told: it has no attribute {name!r}",
                hint=f"hand over the class and what it is made with: {cls.__name__}, params={{{name!r}: ...}}",
            )
    fresh = vars(cls(**given))
    changed = [name for name in {**vars(value), **fresh} if not _same(vars(value).get(name), fresh.get(name))]
    if changed:
        raise UsageError(
            f"this {cls.__name__} is not what {cls.__name__}(...) makes: its attribute {changed[0]!r} is another",
            hint="it is made anew in the pod: load or compute that in its method load(), or hand over the class "
            "and params",
        )
    return replace(model, params=given)


def _same(one: object, other: object) -> bool:
    import pickle

    try:
        return one is other or pickle.dumps(one) == pickle.dumps(other)
    except (pickle.PicklingError, TypeError, AttributeError):
        return False


# Fitted estimators


def _of_instance(model: object, framework: str | None, example: Any) -> Model:
    savers: Mapping[str, Callable[[Any, Any], Model]] = {
        "sklearn": _sklearn,
        "xgboost": _xgboost,
        "pytorch": _torch,
        "onnx": _onnx,
        "tensorflow": _keras,
    }
    kind = framework or _kind_of(model)
    saver = savers.get(kind or "")
    if saver is None and any(_has(type(model), one) for verb in VERBS for one in (verb, f"{verb}_raw")):
        return _of_object(model)
    if saver is None:
        raise UsageError(
            f"a {type(model).__module__}.{type(model).__qualname__} is not a model that can be served as it is",
            hint="hand over its class (it is made anew in the pod), a fitted scikit-learn, XGBoost, PyTorch or Keras "
            "model, or the path of a saved one",
        )
    return saver(model, example)


def _kind_of(model: object) -> str | None:
    """The framework that made an object, by the modules of its classes: nothing is imported to find out."""
    tops = [cls.__module__.partition(".")[0] for cls in type(model).__mro__]
    # XGBoost's estimators are scikit-learn's, too, and their own format outlives versions.
    rows = (("xgboost", "xgboost"), ("torch", "pytorch"), ("keras", "tensorflow"), ("tf_keras", "tensorflow"),
            ("tensorflow", "tensorflow"), ("onnx", "onnx"), ("sklearn", "sklearn"))  # fmt: skip
    return next((kind for top, kind in rows if top in tops), None)


def _sklearn(model: Any, _example: Any) -> Model:
    import joblib  # type: ignore[import-untyped]

    _refuse_unfitted(model)
    modules = _modules_of(model)
    raw = io.BytesIO()
    joblib.dump(model, raw)
    classes = getattr(model, "classes_", None)
    return Model(
        "sklearn",
        type(model).__name__,
        f"{FOLDER}/model.joblib",
        {f"{FOLDER}/model.joblib": raw.getvalue()},
        modules=modules,
        versions=_versions("sklearn", modules),
        classes=tuple(str(one) for one in classes) if classes is not None and len(classes) <= 100 else (),  # noqa: PLR2004  a table, not a dump
        columns=tuple(str(one) for one in getattr(model, "feature_names_in_", ())),
        width=int(getattr(model, "n_features_in_", 0) or 0),
        method=next((name for name in ("predict", "transform", "fit_predict") if hasattr(model, name)), ""),
        detects=_finds_outliers(model),
        example=samples.remembered(model, int(getattr(model, "n_features_in_", 0) or 0)),
    )


def _finds_outliers(model: Any) -> bool:
    from sklearn.base import is_outlier_detector  # type: ignore[import-untyped]

    return bool(is_outlier_detector(model)) and hasattr(model, "predict")


def _refuse_unfitted(model: Any) -> None:
    from sklearn.exceptions import NotFittedError  # type: ignore[import-untyped]
    from sklearn.utils.validation import check_is_fitted  # type: ignore[import-untyped]

    try:
        check_is_fitted(model)
    except NotFittedError:
        raise UsageError(f"this {type(model).__name__} is not fitted yet", hint="call its fit(X, y) first") from None
    except TypeError:  # not an estimator by scikit-learn's own idea: it knows best when asked to predict
        return


def _modules_of(model: object) -> tuple[str, ...]:
    """The modules that loading a pickled model imports.

    Raises:
        BundleError: one of them is the notebook itself, which no pod has.
    """
    import pickle

    try:
        # By pickle alone: joblib keeps arrays beside the opcodes, and these are read.
        named = list(_globals_in(pickle.dumps(model)))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise BundleError(
            f"this {type(model).__name__} cannot be saved: {error}",
            hint="a model with functions made on the spot (a lambda) cannot: use functions of a module",
        ) from error
    for module, name in named:
        if module == "__main__":
            raise BundleError(
                f"the model uses {name!r}, which this notebook defines; a saved model keeps only the name",
                hint=f"put {name!r} into a file beside the notebook, import it from there and fit again: the file is "
                "shipped along",
            )
    return tuple(dict.fromkeys(module for module, _ in named))


def _globals_in(pickled: bytes) -> Iterator[tuple[str, str]]:
    """The module and name of everything that a pickle looks up."""
    texts: list[str] = []
    memo: list[str] = []
    for opcode, argument, _ in pickletools.genops(pickled):
        if opcode.name == "GLOBAL":
            module, _, name = str(argument).partition(" ")
            yield module, name
        elif opcode.name == "STACK_GLOBAL" and len(texts) > 1:
            yield texts[-2], texts[-1]
        elif "UNICODE" in opcode.name:
            texts.append(str(argument))
        elif opcode.name == "MEMOIZE":
            memo.append(texts[-1] if texts else "")
        elif opcode.name in ("BINGET", "LONG_BINGET") and isinstance(argument, int) and argument < len(memo):
            texts.append(memo[argument])


def _xgboost(model: Any, _example: Any) -> Model:
    booster = model.get_booster() if hasattr(model, "get_booster") else model
    columns = tuple(booster.feature_names or ())
    files = {f"{FOLDER}/model.ubj": bytes(booster.save_raw("ubj"))}
    called = type(model).__name__
    width = int(booster.num_features())
    versions = _versions("xgboost")
    return Model("xgboost", called, f"{FOLDER}/model.ubj", files, versions=versions, columns=columns, width=width)


def _torch(model: Any, example: Any) -> Model:
    import torch  # type: ignore[import-not-found,unused-ignore]

    model = model.eval()
    try:
        scripted = model
        if not isinstance(model, torch.jit.ScriptModule):
            with torch.no_grad():
                scripted = torch.jit.script(model) if example is None else torch.jit.trace(model, example)
        raw = io.BytesIO()
        torch.jit.save(scripted.cpu(), raw)
    except Exception as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise BundleError(
            f"TorchScript cannot take this {type(model).__name__}: {first}",
            hint="give it an input to be traced with (example=X[:1]), or serve a class that makes the module itself",
        ) from error
    files = {f"{FOLDER}/model.pt": raw.getvalue()}
    return Model("pytorch", type(model).__name__, f"{FOLDER}/model.pt", files, versions=_versions("pytorch"))


def _onnx(model: Any, _example: Any) -> Model:
    files = {f"{FOLDER}/model.onnx": bytes(model.SerializeToString())}
    return Model("onnx", "ONNX model", f"{FOLDER}/model.onnx", files, versions=_versions("onnx"))


def _keras(model: Any, _example: Any) -> Model:
    with tempfile.TemporaryDirectory(prefix="kf-model-") as place:
        folder = Path(place) / "saved"
        model.export(str(folder))
        files = {f"{FOLDER}/1/{name}": content for name, content in _tree(folder)}
    return Model("tensorflow", type(model).__name__, FOLDER, files, versions=_versions("tensorflow"))


# Paths


def _of_path(path: Path, root: Path, framework: str | None) -> Model:
    full = (path if path.is_absolute() else root / path).expanduser()
    if full.is_dir():
        return _of_folder(full, framework)
    if not full.is_file():
        if "://" in str(path):
            raise UsageError(f"{path} is an address", hint="bring the model here first, or mount its volume")
        raise BundleError(f"there is no model {path}", hint=f"paths are looked up in {root}")
    if full.suffix == ".py":
        return _of_script(full, root)
    kind = framework or _ENDINGS.get(full.suffix.lower())
    if kind is None:
        hint = f"its framework can be named: {', '.join(KINDS)}"
        raise UsageError(f"what kind of model {full.name} is cannot be told", hint=hint)
    if full.stat().st_size > _LARGEST:
        raise BundleError(f"{full.name} has {size(full.stat().st_size)}", hint="serve it from a volume")
    content = full.read_bytes()
    _refuse_other(kind, full, content)
    entry = f"{FOLDER}/{full.name}"
    method = "predict" if kind == "sklearn" else ""
    return Model(kind, full.name, entry, {entry: content}, versions=_versions(kind), method=method)


def _refuse_other(kind: str, path: Path, content: bytes) -> None:
    """Files whose ending promises a model and whose content is something else."""
    if kind == "pytorch" and not _is_torchscript(content):
        raise BundleError(
            f"{path.name} holds parameters or a pickled module, not a TorchScript program",
            hint="load it and hand over the module itself, or save it with torch.jit.script(module).save(...)",
        )
    if path.suffix == ".json" and b'"learner"' not in content[:4096]:
        raise BundleError(f"{path.name} is not an XGBoost model", hint="save one with model.save_model('model.ubj')")


def _is_torchscript(content: bytes) -> bool:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return any("/code/" in name for name in archive.namelist())
    except zipfile.BadZipFile:
        return False


def _of_folder(folder: Path, framework: str | None) -> Model:
    if (folder / "MLmodel").is_file():
        kind, below = "mlflow", FOLDER
    elif (folder / "saved_model.pb").is_file():
        kind, below = "tensorflow", f"{FOLDER}/1"
    elif any(folder.glob("[0-9]*/saved_model.pb")):
        kind, below = "tensorflow", FOLDER
    else:
        return _only_model(folder, framework)
    files = {f"{below}/{name}": content for name, content in _tree(folder)}
    return Model(framework or kind, folder.name, FOLDER, files, versions=_versions(kind))


def _only_model(folder: Path, framework: str | None) -> Model:
    """The one model in a folder of other things, such as a job's results."""
    found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in {*_ENDINGS} - {".json"}]
    found += [path.parent for name in ("MLmodel", "saved_model.pb") for path in sorted(folder.rglob(name))]
    if len(found) == 1:
        return _of_path(found[0], folder, framework)
    names = [path.relative_to(folder).as_posix() for path in found or sorted(folder.iterdir())[:8]]
    raise UsageError(
        f"{folder.name} has {'several models' if found else 'no model'}: {', '.join(names) or 'it is empty'}",
        hint="name the one that is meant, such as " + (names[0] if found else "model.joblib, model.onnx or model.pt"),
    )


def _of_script(path: Path, root: Path) -> Model:
    text = path.read_text(encoding="utf-8")
    where = path.resolve()
    below = where.relative_to(root.resolve()) if where.is_relative_to(root.resolve()) else Path(path.name)
    module = ".".join(below.with_suffix("").parts)
    name = class_in(text, path.name)
    if below.parent == Path(path.name).parent and not where.is_relative_to(root.resolve()):
        return of_source(text, path.name, name)
    return Model("python", name, f"{module}:{name}", modules=(module,), verbs=None)


def class_in(text: str, filename: str, first_line: int = 1) -> str:
    """The class of source text that is to be served: the last one that has a method of the convention.

    Raises:
        BundleError: the text is not Python.
        UsageError: it has no such class.
    """
    import ast

    from jupyterlab_kf.services import bundle as bundles

    tree = bundles.parse(text.encode(), filename, first_line)
    known = {"predict", "predict_raw", "transform_input", "transform_output", "route", "aggregate"}
    for node in reversed(tree.body):
        if isinstance(node, ast.ClassDef):
            methods = {one.name for one in node.body if isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef))}
            if methods & known or node.bases:
                return node.name
    raise UsageError(
        f"{filename} has no class with a method predict", hint="write class Model: ... def predict(self, X, names): ..."
    )


def _tree(folder: Path) -> Iterator[tuple[str, bytes]]:
    total = 0
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            total += path.stat().st_size
            if total > _LARGEST:
                raise BundleError(f"{folder.name} has more than {size(_LARGEST)}", hint="serve it from a volume")
            yield path.relative_to(folder).as_posix(), path.read_bytes()


def _versions(kind: str, modules: Sequence[str] = ()) -> dict[str, str]:
    """What a model of a kind, or one that imports these modules, was made with, as far as it is installed here."""
    here = packages.here()
    others = [name for module in modules for name in here.modules.get(module.partition(".")[0], ())[:1]]
    wanted = dict.fromkeys([*_PACKAGES[kind], *others])
    return {name: here.versions[name] for name in wanted if name in here.versions and name not in here.folders}
