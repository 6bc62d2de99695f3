"""The pure modules of kinds' knowledge, as far as they are installed."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any


def _module(name: str, **fallback: Any) -> Any:
    try:
        return importlib.import_module(f"jupyterlab_kf.embedded.apiserver.{name}")
    except ModuleNotFoundError:
        return SimpleNamespace(**fallback)


validation = _module(
    "validation",
    validate=lambda _kind, _obj, **_: [],
    unknown_fields=lambda _kind, _obj, _crd=None: [],
    prune=lambda _kind, obj, _crd=None: obj,
)
defaults = _module("defaults", default=lambda _kind, obj: obj)
tables = _module(
    "tables",
    columns=lambda _kind, _crd=None: [
        {"name": "Name", "type": "string", "format": "name", "description": "", "priority": 0}
    ],
    row=lambda _kind, obj, _now, _crd=None: [obj["metadata"]["name"]],
)
openapi = _module("openapi", document=lambda _gv, _kinds, _crds: {"openapi": "3.0.0", "info": {}, "paths": {}})
protobuf = _module("protobuf")
