"""The Open Inference protocol (V2) in JSON, with Triton's extension for binary tensors.

Pure. Raw bytes of tensors follow the JSON, whose length a header says. Shared memory and classification are extensions
that need more than a request, and are refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from . import seldon, tensors
from .messages import Array, Json, Refusal, Signature, TensorSpec, kind_of, mapping, sequence
from .tensors import datatype_of

EXTENSIONS = ("binary_tensor_data", "model_repository", "model_configuration")
REFUSED = ("shared_memory_region", "classification")


@dataclass(slots=True)
class Request:
    """What a client asks: inputs by name, the outputs it wants, and which of them as raw bytes."""

    inputs: dict[str, Array]
    id: str = ""
    wanted: list[str] = field(default_factory=list)
    binary: dict[str, bool] = field(default_factory=dict)
    all_binary: bool = False


def decode(body: bytes, json_length: int | None = None) -> Request:
    """A request of ``infer``; with the length of its JSON where raw bytes follow."""
    if json_length is not None and not 0 <= json_length <= len(body):
        raise Refusal(f"the header says that the JSON has {json_length} bytes, and the body has {len(body)}")
    value = mapping(seldon.parse(body if json_length is None else body[:json_length]), "the request")
    raw = memoryview(body)[json_length:] if json_length is not None else None
    given = sequence(value.get("inputs"), "inputs")
    if not given:
        raise Refusal("the request needs inputs: a JSON array of name, shape, datatype and data")
    inputs: dict[str, Array] = {}
    at = 0
    for number, one in enumerate(given):
        entry = mapping(one, f"inputs[{number}]")
        name = entry.get("name")
        if not isinstance(name, str) or name in inputs:
            raise Refusal(f"inputs[{number}] needs a name of its own, not {name!r}")
        inputs[name], at = _input(entry, f"input {name}", raw, at)
    if raw is not None and at != len(raw):
        raise Refusal(f"{len(raw)} bytes follow the JSON, and its inputs account for {at}")
    request = Request(inputs, id=str(value.get("id") or ""))
    request.all_binary = _parameters(value, "the request").get("binary_data_output") is True
    for number, one in enumerate(sequence(value.get("outputs"), "outputs")):
        _wanted(request, mapping(one, f"outputs[{number}]"), number)
    return request


def _input(entry: Mapping[str, Any], what: str, raw: memoryview | None, at: int) -> tuple[Array, int]:
    parameters = _parameters(entry, what)
    shape, datatype = entry.get("shape"), entry.get("datatype")
    if not isinstance(shape, list):
        raise Refusal(f"{what}: shape must be an array of whole numbers, not {kind_of(shape)}")
    size = parameters.get("binary_data_size")
    if size is None:
        if "data" not in entry:
            raise Refusal(f"{what} has neither data nor parameters.binary_data_size")
        array = tensors.from_values(entry["data"], str(datatype or ""), shape, what)
    else:
        if raw is None or not isinstance(size, int) or not 0 <= size <= len(raw) - at:
            raise Refusal(f"{what}: {size!r} bytes are to follow the JSON, which they do not")
        array = tensors.from_raw(raw[at : at + size], str(datatype or ""), shape, what)
        at += size
    if datatype == "BYTES" and parameters.get("content_type") == "str":
        array = tensors.objects([tensors.to_text(one) for one in array.ravel()]).reshape(array.shape)
    return array, at


def _wanted(request: Request, entry: Mapping[str, Any], number: int) -> None:
    name = entry.get("name")
    if not isinstance(name, str):
        raise Refusal(f"outputs[{number}] needs a name, not {kind_of(name)}")
    request.wanted.append(name)
    binary = _parameters(entry, f"output {name}").get("binary_data")
    if isinstance(binary, bool):
        request.binary[name] = binary


def _parameters(entry: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    found = mapping(entry.get("parameters") or {}, f"{what}: parameters")
    for name in REFUSED:
        if name in found:
            raise Refusal(f"{what}: the parameter {name} is not served here")
    return found


def encode(request: Request, model: str, version: str, outputs: Mapping[str, Array]) -> tuple[bytes, int | None]:
    """The answer, and the length of its JSON where raw bytes follow it."""
    told: list[Json] = []
    parts: list[bytes] = []
    for name, array in outputs.items():
        entry: Json = {"name": name, "datatype": datatype_of(array), "shape": list(array.shape)}
        if request.binary.get(name, request.all_binary):
            parts.append(tensors.to_raw(array))
            entry["parameters"] = {"binary_data_size": len(parts[-1])}
        elif entry["datatype"] == "BYTES":
            entry["data"] = [tensors.to_text(one) for one in array.ravel()]
        else:
            entry["data"] = seldon.listed(array.ravel())
        told.append(entry)
    answer: Json = {"model_name": model, "model_version": version}
    if request.id:
        answer["id"] = request.id
    text = seldon.dump({**answer, "outputs": told})
    return (b"".join([text, *parts]), len(text)) if parts else (text, None)


def failure(refusal: Refusal) -> bytes:
    """What a client is told when there is no answer."""
    return refusal.body if refusal.body is not None else seldon.dump({"error": refusal.info})


def model_metadata(name: str, version: str, signature: Signature) -> Json:
    """What a model takes and gives."""
    inputs, outputs = ([_spec(one) for one in specs] for specs in (signature.inputs, signature.outputs))
    return {
        "name": name,
        "versions": [version],
        "platform": signature.platform or "python",
        "inputs": inputs,
        "outputs": outputs,
    }


def model_config(name: str, signature: Signature) -> Json:
    """The same in the words of Triton's configuration, as far as clients read it."""

    def entries(specs: tuple[TensorSpec, ...]) -> list[Json]:
        return [
            {"name": one.name, "data_type": f"TYPE_{one.datatype.replace('BYTES', 'STRING')}", "dims": list(one.shape)}
            for one in specs
        ]

    inputs, outputs = entries(signature.inputs), entries(signature.outputs)
    platform = signature.platform or "python"
    return {"name": name, "platform": platform, "max_batch_size": 0, "input": inputs, "output": outputs}


def _spec(spec: TensorSpec) -> Json:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}
