"""TensorFlow Serving's REST protocol: rows (``instances``) and columns (``inputs``), base64, status and metadata.

Pure. Types are the model's to choose: JSON tells integers from floats and nothing more.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import seldon, tensors
from .messages import Array, Json, Refusal, Signature, TensorSpec, kind_of, mapping, tensor_of

UNNAMED = "inputs"
"""The name of an input that has none: a model of one input takes it under any."""


@dataclass(slots=True)
class Request:
    """What a client asks, and whether in rows, which decides how it is answered."""

    inputs: dict[str, Array]
    rows: bool
    signature: str = ""


def decode(body: bytes) -> Request:
    """A request of ``:predict``."""
    value = mapping(seldon.parse(body), "the request")
    if b'"b64"' in body:
        value = _decoded(value)
    signature = value.get("signature_name") or ""
    if not isinstance(signature, str):
        raise Refusal(f"signature_name must be a string, not {kind_of(signature)}")
    if ("instances" in value) == ("inputs" in value):
        raise Refusal('the request needs either "instances" (a list of rows) or "inputs" (a tensor, or one a name)')
    if "instances" in value:
        return Request(_rows(value["instances"]), rows=True, signature=signature)
    given = value["inputs"]
    named = given if isinstance(given, Mapping) else {UNNAMED: given}
    if not named:
        raise Refusal('"inputs" is empty')
    return Request({name: _tensor(one, name) for name, one in named.items()}, rows=False, signature=signature)


def _rows(instances: object) -> dict[str, Array]:
    if not isinstance(instances, list) or not instances:
        raise Refusal('"instances" must be a JSON array with at least one row')
    if not isinstance(instances[0], Mapping):
        return {UNNAMED: _tensor(instances, "instances")}
    names = instances[0].keys()
    if not names:
        raise Refusal("instances[0] names no input")
    for number, row in enumerate(instances):
        if not isinstance(row, Mapping) or row.keys() != names:
            raise Refusal(f"instances[{number}] must have the inputs of the first row: {', '.join(names)}")
    return {name: _tensor([row[name] for row in instances], name) for name in names}


def _tensor(value: object, name: str) -> Array:
    found = _objects(value) if _holds_bytes(value) else tensor_of(value, name)
    if found.dtype.kind == "O" and not _holds_bytes(value):
        raise Refusal(f"{name} has values that are no tensor, such as null or objects")
    return found


def _holds_bytes(value: object) -> bool:
    """Whether the first leaf is bytes: NumPy would strip zeros from their ends."""
    while isinstance(value, list) and value:
        value = value[0]
    return isinstance(value, bytes)


def _objects(value: object) -> Array:
    shape: list[int] = []
    flat = [value]
    while flat and isinstance(flat[0], list):
        if not all(isinstance(one, list) and len(one) == len(flat[0]) for one in flat):
            raise Refusal("rows of base64 must have equal lengths")
        shape.append(len(flat[0]))
        flat = [leaf for one in flat for leaf in one]  # type: ignore[attr-defined]
    return tensors.objects(flat).reshape(shape)


def _decoded(value: Any) -> Any:
    """The same JSON with ``{"b64": ...}`` as bytes."""
    if isinstance(value, dict):
        if value.keys() == {"b64"}:
            return tensors.from_base64(value["b64"], "b64")
        return {key: _decoded(one) for key, one in value.items()}
    return [_decoded(one) for one in value] if isinstance(value, list) else value


def encode(request: Request, outputs: Mapping[str, Array]) -> bytes:
    """The answer: a single output goes without its name."""
    said = {name: _values(name, array) for name, array in outputs.items()}
    single = len(said) == 1
    if not request.rows:
        return seldon.dump({"outputs": next(iter(said.values())) if single else said})
    count = len(next(iter(request.inputs.values())))
    for name, array in outputs.items():
        if not array.ndim or len(array) != count:
            raise Refusal(
                f"the output {name} has the shape {list(array.shape)} for {count} rows: ask with inputs, not instances",
                code=500,
                reason="MICROSERVICE_BAD_RESPONSE",
            )
    if single:
        return seldon.dump({"predictions": next(iter(said.values()))})
    return seldon.dump({"predictions": [{name: one[row] for name, one in said.items()} for row in range(count)]})


def _values(name: str, array: Array) -> Any:
    if array.dtype.kind not in "SO":
        return seldon.listed(array)
    # Outputs that say so by their name are bytes, all others are text.
    binary = name.endswith("_bytes")

    def said(one: object) -> object:
        return {"b64": base64.b64encode(tensors.to_bytes(one)).decode()} if binary else tensors.to_text(one)

    flat = [said(one) for one in array.ravel()]
    return np.array(flat, dtype=object).reshape(array.shape).tolist()


def status(version: str, *, ready: bool = True) -> Json:
    """``GET /v1/models/NAME``."""
    state = {"version": version, "state": "AVAILABLE" if ready else "UNLOADING"}
    return {"model_version_status": [{**state, "status": {"error_code": "OK", "error_message": ""}}]}


def metadata(name: str, version: str, signature: Signature) -> Json:
    """``GET /v1/models/NAME/metadata``."""

    def entries(specs: tuple[TensorSpec, ...]) -> Json:
        return {
            one.name: {
                "dtype": tensors.TF_NAMES.get(one.datatype, "DT_INVALID"),
                "tensor_shape": {"dim": [{"size": str(n), "name": ""} for n in one.shape], "unknown_rank": False},
                "name": f"{one.name}:0",
            }
            for one in specs
        }

    called = {
        "inputs": entries(signature.inputs),
        "outputs": entries(signature.outputs),
        "method_name": "tensorflow/serving/predict",
    }
    spec = {"name": name, "signature_name": "", "version": version}
    return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": {"serving_default": called}}}}
