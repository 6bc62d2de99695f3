"""The tree of units of a predictor: finding and walking, and values in the operator's own spelling. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from jupyterlab_kf.model import Obj

BUILT_IN: Final = frozenset(
    {"", "UNKNOWN_IMPLEMENTATION", "SIMPLE_MODEL", "SIMPLE_ROUTER", "RANDOM_ABTEST", "AVERAGE_COMBINER"}
)
TYPE_LABELS: Final = {
    "ROUTER": "seldon.io/router",
    "COMBINER": "seldon.io/combiner",
    "MODEL": "seldon.io/model",
    "TRANSFORMER": "seldon.io/transformer",
    "OUTPUT_TRANSFORMER": "seldon.io/output-transformer",
}


def units(unit: Obj) -> Iterator[Obj]:
    """A unit and all below it, parents first."""
    yield unit
    for child in unit.get("children") or ():
        yield from units(child)


def find(unit: Obj, name: str) -> Obj | None:
    """The unit of that name."""
    return next((one for one in units(unit) if one.get("name") == name), None)


def engine_unit(unit: Obj) -> Obj | None:
    """The first unit that the engine reaches on its own host: the engine goes into that unit's pod."""
    return next((one for one in units(unit) if (one.get("endpoint") or {}).get("service_host") == "localhost"), None)


def is_ready_made(unit: Mapping[str, Any]) -> bool:
    """Whether a unit is one of the ready-made servers."""
    return str(unit.get("implementation") or "") not in BUILT_IN


def port(unit: Mapping[str, Any], kind: str) -> int:
    """A unit's port: ``httpPort`` or ``grpcPort``."""
    return int((unit.get("endpoint") or {}).get(kind) or 0)


def speaks_grpc(obj: Mapping[str, Any], endpoint: Mapping[str, Any] | None) -> bool:
    """Whether a unit or explainer is asked by gRPC."""
    return obj["spec"].get("transport") == "grpc" or (endpoint or {}).get("type") == "GRPC"


def spoken(obj: Mapping[str, Any]) -> str:
    """The deployment's protocol: ``seldon``, ``tensorflow`` or ``v2``."""
    protocol = str(obj["spec"].get("protocol") or "seldon")
    return "v2" if protocol == "kfserving" else protocol


def parameter(name: str, value: str, type_: str = "STRING") -> Obj:
    """One of a unit's parameters."""
    return {"name": name, "value": value, "type": type_}


def compact(value: Any) -> str:
    """JSON as Go writes it: no spaces, and what HTML would take for markup escaped."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    for sign, escaped in (("&", "\\u0026"), ("<", "\\u003c"), (">", "\\u003e")):
        text = text.replace(sign, escaped)
    return text


def parameters_text(parameters: list[Obj]) -> str:
    """Parameters as units read them from their environment, fields in the operator's order."""
    fields = ("name", "value", "type")
    return compact([{key: one.get(key, "") for key in fields} for one in parameters])
