"""What travels with a model: the program that serves it, and the few lines that start that program in the pod.

Knows the command line of ``runtime/serving`` and the layout of what is shipped, and nothing of the cluster.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath
from typing import Final

from jupyterlab_kf.services.serving.models import Model

STARTER: Final = "kf_serve.py"
RUNTIME: Final = "serving.zip"
GATEWAY: Final = ("istio-system", "istio-ingressgateway", 80)
"""The way in: namespace, Service and port of Istio's gateway."""

_START: Final = '''\
"""Becomes the model's server: the launcher has unpacked it beside this file."""

import os
import sys

os.environ["PYTHONPATH"] = os.pathsep.join([os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])])
os.execv(sys.executable, [sys.executable, "{runtime}", "{program}", {words}*sys.argv[1:]])
'''
_UNITS: Final = "*UNITS[os.environ['PREDICTIVE_UNIT_ID']], "
_NEEDS: Final = '''

def needs():
    """What the server and loading the model import: read when it is shipped, never called."""
'''
_SERVER: Final = ("google.protobuf", "grpc", "httptools", "numpy", "orjson", "prometheus_client", "uvicorn")
"""What our program cannot do without: an image may lack it, which is told, and mended by ``install``."""

PACKAGE: Final = "kf_serving"
"""The name of the serving programs in what is shipped."""
_MAIN: Final = f"""import runpy

runpy.run_module("{PACKAGE}", run_name="__main__", alter_sys=True)
"""
_LONG_AGO: Final = (1980, 1, 1, 0, 0, 0)


@cache
def runtime() -> bytes:
    """The program that serves, packed; the same files give the same bytes."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_DEFLATED) as archive:
        _pack(archive, resources.files("jupyterlab_kf.runtime").joinpath("serving"), PACKAGE)
        archive.writestr(zipfile.ZipInfo("__main__.py", _LONG_AGO), _MAIN)
    return raw.getvalue()


def _pack(archive: zipfile.ZipFile, folder: Traversable, place: str) -> None:
    for entry in sorted(folder.iterdir(), key=lambda one: one.name):
        name = f"{place}/{entry.name}"
        if entry.is_dir() and entry.name != "__pycache__":
            _pack(archive, entry, name)
        elif entry.is_file() and not entry.name.endswith(".pyc"):
            info = zipfile.ZipInfo(name, _LONG_AGO)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, entry.read_bytes())


def starter(model: Model, units: Mapping[str, Sequence[str]] | None = None) -> str:
    """The text that the launcher runs; what it names as imports is shipped where it is the user's own.

    Of several units in one bundle, the container's name says which one a server is: ``units`` has their command lines.
    """
    text = _START.format(runtime=RUNTIME, program="unit", words=_UNITS if units else "")
    if units:
        table = "".join(f"    {name!r}: {list(words)!r},\n" for name, words in units.items())
        text = text.replace("\nos.environ[", f"\nUNITS = {{\n{table}}}\nos.environ[", 1)
    needed = (*_SERVER, *(name for name in model.modules if name not in _SERVER))
    return text + _NEEDS + "".join(f"    import {name}\n" for name in needed)


def program(name: str) -> str:
    """The text that starts another of the serving programs, with the words that the launcher is given."""
    return _START.format(runtime=RUNTIME, program=name, words="")


def words(model: Model) -> list[str]:
    """The command line of the unit."""
    if model.kind == "python":
        return ["--class", model.entry]
    return ["--model", model.entry, "--framework", model.kind]


def files(model: Model, runtime: bytes, *, filename: str, first_line: int) -> dict[str, bytes]:
    """What lies beside the starter."""
    found: dict[str, bytes] = {RUNTIME: runtime, **model.files}
    if model.source:
        module = model.entry.partition(":")[0]
        # The lines keep the numbers that they have in the notebook.
        above = "\n" * (first_line - 1) if PurePosixPath(filename).stem == module else ""
        found[f"{module}.py"] = (above + model.source).encode()
    return found


def path(namespace: str, name: str, protocol: str, *, node: str = "") -> str:
    """The path of an endpoint's predictions below the gateway, as Seldon routes it."""
    rest = {
        "seldon": "api/v1.0/predictions",
        "v2": f"v2/models/{node or name}/infer",
        "tensorflow": f"v1/models/{node or name}:predict",
    }[protocol]
    return f"{prefix(namespace, name)}{rest}"


def prefix(namespace: str, name: str) -> str:
    """The path below which the gateway leads to an endpoint."""
    return f"/seldon/{namespace}/{name}/"
