"""Model files as objects with ``predict``: what ready-made servers do for scikit-learn, XGBoost, ONNX and others.

Each flavour imports its library when it loads, so an image needs only the one of its model. What the library says
against the numbers is the client's fault and a refusal; anything else is raised as it is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .messages import Array, Refusal, Signature, TensorSpec
from .tensors import DATATYPES, DTYPES

METHODS = ("predict", "predict_proba", "predict_log_proba", "decision_function", "transform")


def library(name: str, package: str) -> Any:
    """A library that only some images have."""
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise Refusal(f"this image cannot load the model: it has no {package} ({error})", code=500) from error


def one_of(path: Path, endings: Sequence[str], first: str = "") -> Path:
    """The model's file: the path itself, or the one file in the folder that can be meant."""
    if path.is_file():
        return path
    if first and (path / first).is_file():
        return path / first
    found = [one for ending in endings for one in sorted(path.glob(f"*{ending}")) if one.is_file()]
    if len(found) == 1:
        return found[0]
    told = f"{len(found)} files" if found else "no file"
    raise Refusal(f"{path} has {told} ending in {', '.join(endings)}; name the file of the model itself")


@contextlib.contextmanager
def blaming_the_numbers(*kinds: type[Exception]) -> Iterator[None]:
    """A library's complaint about its input as a refusal."""
    told: tuple[type[Exception], ...] = (ValueError, TypeError, *kinds)
    try:
        yield
    except told as error:
        raise Refusal(f"the model does not take this input: {error}") from error


def single(inputs: Mapping[str, Array]) -> Array:
    """Named tensors as one array: several are taken for columns."""
    if len(inputs) == 1:
        return next(iter(inputs.values()))
    columns = [one.reshape(len(one), -1) if one.ndim else one.reshape(1, 1) for one in inputs.values()]
    if len({len(one) for one in columns}) != 1:
        raise Refusal("several inputs are taken for columns of one array, and these have different lengths")
    return np.concatenate(columns, axis=1)


def in_order(data: Any, names: Sequence[str], known: Sequence[str]) -> Any:
    """Rows with their columns in the order that the model was fitted with, where both sides name them.

    Names of which the model knows none are a client's own, and say nothing of the order.

    Raises:
        Refusal: some are the model's, and others not, or one is missing.
    """
    given = [str(one) for one in names]
    if given == list(known) or not set(given) & set(known) or getattr(data, "shape", ())[1:] != (len(given),):
        return data
    if odd := [one for one in given if one not in known]:
        raise Refusal(f"the model was not made with a column {odd[0]!r}; it takes {', '.join(known)}")
    if missing := [one for one in known if one not in given]:
        raise Refusal(f"the column {missing[0]!r} is missing; the model takes {', '.join(known)}")
    return data[:, [given.index(one) for one in known]] if len(given) == len(known) else data


class Sklearn:
    """An estimator that joblib or pickle wrote. ``method`` is what ``predict`` calls, probabilities where it can."""

    def __init__(self, path: Path, method: str = "") -> None:
        self.path = path
        self.method = method
        self.signature = Signature()
        self.columns: list[str] = []

    def load(self) -> None:
        """Read the file."""
        joblib = library("joblib", "joblib, which comes with scikit-learn")
        self.model = joblib.load(one_of(self.path, (".joblib", ".pkl", ".pickle"), "model.joblib"))
        if self.method and not hasattr(self.model, self.method):
            raise Refusal(f"the model {type(self.model).__name__} has no method {self.method}")
        usual = [name for name in ("predict_proba", *METHODS) if hasattr(self.model, name)]
        self.method = self.method or usual[0]
        classes = np.asarray(getattr(self.model, "classes_", ()))
        features = getattr(self.model, "n_features_in_", None)
        self.columns = [str(one) for one in getattr(self.model, "feature_names_in_", ())]
        # What takes text has no number of features, and so no shape that could be told.
        inputs = (TensorSpec("input-0", "FP64", (-1, int(features))),) if features else ()
        answers = {"i": "INT64", "u": "UINT64", "b": "BOOL", "U": "BYTES", "S": "BYTES", "O": "BYTES"}
        datatype = answers.get(classes.dtype.kind, "FP64")
        self.signature = Signature(inputs, (TensorSpec("predict", datatype, (-1,)),), "sklearn")
        if self.method in {"predict_proba", "predict_log_proba"} and classes.dtype.kind in "US":
            self.class_names = [str(one) for one in classes]

    def predict(self, data: Any, names: Sequence[str] = ()) -> Any:
        """Call the chosen method."""
        return self._call(self.method, in_order(data, names, self.columns))

    def infer(self, inputs: Mapping[str, Array], wanted: Sequence[str]) -> dict[str, Array]:
        """Outputs are called like the methods that give them, as with MLServer; ``predict`` where none is wanted."""
        data = in_order(single(inputs), list(inputs), self.columns)
        first = "predict" if hasattr(self.model, "predict") else self.method
        unknown = [name for name in wanted if name not in METHODS or not hasattr(self.model, name)]
        if unknown:
            there = ", ".join(name for name in METHODS if hasattr(self.model, name))
            raise Refusal(f"the model has no output {', '.join(unknown)}; it has {there}")
        return {name: np.asarray(self._call(name, data)) for name in wanted or (first,)}

    def _call(self, method: str, data: Any) -> Any:
        with blaming_the_numbers():
            result = getattr(self.model, method)(data)
        return result.toarray() if hasattr(result, "toarray") else result


class XGBoost:
    """A booster that XGBoost saved."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> None:
        """Read the file."""
        self.library = library("xgboost", "xgboost")
        file = one_of(self.path, (".bst", ".ubj", ".json", ".model"), "model.bst")
        self.model = self.library.Booster(model_file=str(file))
        features = int(self.model.num_features())
        self.columns = self.model.feature_names or ()
        self.signature = Signature((TensorSpec("input-0", "FP32", (-1, features)),), (), "xgboost")

    def predict(self, data: Any, names: Sequence[str] = ()) -> Any:
        """The booster's own prediction."""
        data = in_order(data, names, self.columns)
        with blaming_the_numbers(self.library.core.XGBoostError):
            return self.model.predict(self.library.DMatrix(data), validate_features=False)


class LightGBM:
    """A booster that LightGBM saved as text."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> None:
        """Read the file."""
        self.library = library("lightgbm", "lightgbm")
        self.model = self.library.Booster(model_file=str(one_of(self.path, (".lgb", ".bst", ".txt"), "model.bst")))
        features = int(self.model.num_feature())
        self.signature = Signature((TensorSpec("input-0", "FP64", (-1, features)),), (), "lightgbm")

    def predict(self, data: Any, names: Sequence[str] = ()) -> Any:
        """The booster's own prediction."""
        data = in_order(data, names, self.model.feature_name())
        with blaming_the_numbers(self.library.basic.LightGBMError):
            return self.model.predict(data)


class Named:
    """Models whose inputs and outputs have names and types of their own."""

    signature: Signature

    def call(self, inputs: dict[str, Array]) -> dict[str, Any]:
        """The model itself."""
        raise NotImplementedError

    def predict(self, data: Any) -> Any:
        """One array for a model of one input, or a mapping of arrays; one output is answered without its name."""
        if not isinstance(data, Mapping):
            needed = [one.name for one in self.signature.inputs]
            if len(needed) != 1:
                raise Refusal(f"the model takes {len(needed)} inputs: send an object with {', '.join(needed)}")
            data = {needed[0]: data}
        outputs = self.infer({str(name): np.asarray(one) for name, one in data.items()}, ())
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def infer(self, inputs: Mapping[str, Array], wanted: Sequence[str]) -> dict[str, Array]:
        """Named tensors in and out."""
        specs = {one.name: one for one in self.signature.inputs}
        given = dict(inputs)
        if len(specs) == len(given) == 1 and not specs.keys() & given.keys():
            # A client that has not asked for the names may call one input as it likes.
            given = dict(zip(specs, given.values(), strict=True))
        if specs and specs.keys() != given.keys():
            raise Refusal(f"the model takes {', '.join(specs)}, not {', '.join(given) or 'nothing'}")
        outputs = self.call({name: _cast(one, specs.get(name)) for name, one in given.items()})
        unknown = [name for name in wanted if name not in outputs]
        if unknown:
            raise Refusal(f"the model has no output {', '.join(unknown)}; it has {', '.join(outputs)}")
        return {name: _array(outputs[name]) for name in wanted or outputs}


def _cast(array: Array, spec: TensorSpec | None) -> Array:
    """An input in the shape and type that a model wants: JSON does not say whether 1 is an integer or a float."""
    if spec is None:
        return array
    sizes = zip(array.shape, spec.shape, strict=False)
    if spec.shape and (array.ndim != len(spec.shape) or any(size != known >= 0 for size, known in sizes)):
        raise Refusal(
            f"input {spec.name} must have the shape {list(spec.shape)}, not {list(array.shape)} (-1 is any size)"
        )
    dtype = DTYPES[spec.datatype]
    if array.dtype == dtype:
        return array
    if dtype.kind == "O":
        texts = [one.decode() if isinstance(one, bytes) else one for one in array.ravel().tolist()]
        made = np.empty(len(texts), dtype=object)
        made[:] = texts
        return made.reshape(array.shape)
    if array.dtype.kind not in "iufb" or (dtype.kind in "iu" and array.dtype.kind == "f" and (array % 1).any()):
        raise Refusal(f"input {spec.name} must be {spec.datatype}, and has {array.dtype} values")
    with np.errstate(over="ignore", invalid="ignore"):
        return array.astype(dtype)


def _array(value: Any) -> Array:
    if isinstance(value, list) and value and isinstance(value[0], Mapping):
        # A classifier's probabilities as converters of scikit-learn write them: one mapping a row.
        return np.array([list(row.values()) for row in value])
    return np.asarray(value)


ONNX_TYPES = {
    "float": "FP32",
    "double": "FP64",
    "float16": "FP16",
    "string": "BYTES",
    "bool": "BOOL",
    **{f"{sign}int{bits}": f"{sign.upper()}INT{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


class Onnx(Named):
    """A model for ONNX Runtime, on an accelerator where its build has one."""

    def __init__(self, path: Path, threads: int = 0) -> None:
        self.path = path
        self.threads = threads

    def load(self) -> None:
        """Read the file; ONNX Runtime chooses kernels and memory here."""
        runtime = library("onnxruntime", "onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = self.threads
        file = one_of(self.path, (".onnx",), "model.onnx")
        self.session = runtime.InferenceSession(str(file), options, providers=runtime.get_available_providers())
        state = runtime.capi.onnxruntime_pybind11_state
        self.faults = (state.InvalidArgument, state.InvalidGraph, state.Fail, state.RuntimeException)
        inputs = tuple(self._spec(one) for one in self.session.get_inputs())
        self.outputs = [one.name for one in self.session.get_outputs()]
        outputs = tuple(self._spec(one) for one in self.session.get_outputs())
        self.signature = Signature(inputs, outputs, "onnxruntime_onnx")

    def _spec(self, value: Any) -> TensorSpec:
        # "tensor(float)"; sequences and maps have no name in the protocols.
        kind = ONNX_TYPES.get(value.type.removeprefix("tensor(").removesuffix(")"), "FP32")
        shape = tuple(size if isinstance(size, int) else -1 for size in value.shape or ())
        return TensorSpec(value.name, kind, shape)

    def call(self, inputs: dict[str, Array]) -> dict[str, Any]:
        """Run the session."""
        with blaming_the_numbers(*self.faults):
            return dict(zip(self.outputs, self.session.run(None, inputs), strict=True))


class TorchScript(Named):
    """A TorchScript file, or a program that ``torch.export`` saved; on an accelerator where there is one."""

    def __init__(self, path: Path, device: str = "") -> None:
        self.path = path
        self.device = device
        self.signature = Signature(platform="pytorch_libtorch")

    def load(self) -> None:
        """Read the file."""
        self.torch = torch = library("torch", "PyTorch")
        self.device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        file = one_of(self.path, (".pt", ".pth", ".pt2"), "model.pt")
        if file.suffix == ".pt2":
            self.model = torch.export.load(str(file)).module().to(self.device)
        else:
            self.model = torch.jit.load(str(file), map_location=self.device).eval()

    def predict(self, data: Any) -> Any:
        """One array for a model of one input, or a mapping of arrays in the order of its inputs."""
        named = data if isinstance(data, Mapping) else {"INPUT__0": data}
        outputs = self.call({str(name): np.asarray(one) for name, one in named.items()})
        return next(iter(outputs.values())) if len(outputs) == 1 else outputs

    def infer(self, inputs: Mapping[str, Array], wanted: Sequence[str]) -> dict[str, Array]:
        """Inputs count by their order: a file of PyTorch has no names for them."""
        outputs = self.call(dict(inputs))
        unknown = [name for name in wanted if name not in outputs]
        if unknown:
            raise Refusal(f"the model has no output {', '.join(unknown)}; it has {', '.join(outputs)}")
        return {name: outputs[name] for name in wanted or outputs}

    def call(self, inputs: dict[str, Array]) -> dict[str, Any]:
        """Run the module; double precision is made single, which is what models are trained in."""
        torch = self.torch
        tensors = []
        for array in inputs.values():
            narrow = array.astype(np.float32) if array.dtype == np.float64 else np.array(array)
            with blaming_the_numbers():  # text, and types that PyTorch does not have
                tensors.append(torch.from_numpy(narrow).to(self.device))
        with torch.inference_mode(), blaming_the_numbers(RuntimeError, AssertionError):
            result = self.model(*tensors)
        if not isinstance(result, Mapping):
            parts = result if isinstance(result, tuple | list) else (result,)
            result = {f"OUTPUT__{number}": one for number, one in enumerate(parts)}
        return {name: one.detach().cpu().numpy() for name, one in result.items()}


class TensorFlow(Named):
    """A SavedModel by one of its signatures, or a Keras file."""

    def __init__(self, path: Path, signature_name: str = "serving_default") -> None:
        self.path = path
        self.signature_name = signature_name

    def load(self) -> None:
        """Read the folder."""
        self.tensorflow = tf = library("tensorflow", "TensorFlow")
        keras = [self.path] if self.path.suffix == ".keras" else sorted(self.path.glob("*.keras"))
        if keras:
            model = tf.keras.models.load_model(str(keras[0]))
            shapes = [tf.TensorSpec(one.shape, one.dtype, name=one.name) for one in model.inputs]
            self.function = tf.function(
                lambda **given: {"predictions": model(list(given.values()))}
            ).get_concrete_function(**{one.name: one for one in shapes})
            self.holds = model
        else:
            self.holds = tf.saved_model.load(str(self.path))
            if self.signature_name not in self.holds.signatures:
                there = ", ".join(self.holds.signatures) or "none"
                raise Refusal(f"the SavedModel has no signature {self.signature_name}; it has {there}")
            self.function = self.holds.signatures[self.signature_name]
        inputs = self.function.structured_input_signature[1]
        outputs = self.function.structured_outputs
        self.signature = Signature(_specs(inputs), _specs(outputs), "tensorflow_savedmodel")

    def call(self, inputs: dict[str, Array]) -> dict[str, Any]:
        """Run the signature."""
        tf = self.tensorflow
        with blaming_the_numbers(tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            result = self.function(**{name: tf.constant(one) for name, one in inputs.items()})
        return {name: one.numpy() for name, one in result.items()}


def _specs(specs: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
    found = []
    for name, spec in specs.items():
        kind = DATATYPES.get(np.dtype(spec.dtype.as_numpy_dtype), "BYTES")
        shape = () if spec.shape.rank is None else tuple(-1 if size is None else int(size) for size in spec.shape)
        found.append(TensorSpec(name, kind, shape))
    return tuple(found)


class Mlflow:
    """A folder that MLflow wrote, by its Python flavour. ``xtype`` is what the model takes: ndarray or dataframe."""

    def __init__(self, path: Path, xtype: str = "ndarray") -> None:
        self.path = path
        self.xtype = xtype

    def load(self) -> None:
        """Read the folder."""
        pyfunc = library("mlflow.pyfunc", "mlflow")
        self.model = pyfunc.load_model(str(self.path))
        self.fault = library("mlflow.exceptions", "mlflow").MlflowException
        schema = self.model.metadata.get_input_schema()
        self.columns = schema.input_names() if schema is not None and schema.has_input_names() else []

    def predict(self, data: Any, names: Sequence[str] = ()) -> Any:
        """A model with named columns is asked with a table."""
        with blaming_the_numbers(self.fault):
            return self.model.predict(self._table(data, names))

    def _table(self, data: Any, names: Sequence[str]) -> Any:
        if isinstance(data, Mapping):
            return library("pandas", "pandas").DataFrame({name: np.asarray(one).ravel() for name, one in data.items()})
        columns = list(names) or self.columns
        if self.xtype == "ndarray" and not self.columns:
            return data
        return library("pandas", "pandas").DataFrame(data, columns=columns or None)


KINDS: dict[str, Callable[..., Any]] = {
    "sklearn": Sklearn,
    "xgboost": XGBoost,
    "lightgbm": LightGBM,
    "onnx": Onnx,
    "torchscript": TorchScript,
    "tensorflow": TensorFlow,
    "mlflow": Mlflow,
}
