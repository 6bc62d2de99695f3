"""Compiles the .proto files of the serving runtime into the descriptors that it loads. ``make protos``."""

from __future__ import annotations

import base64
import sys
import tempfile
from importlib import resources
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

PROTOS = Path(__file__).parents[2] / "jupyterlab_kf" / "runtime" / "serving" / "protos"
WIDTH = 100


def generated() -> str:
    """The module ``descriptors``."""
    names = sorted(path.name for path in PROTOS.glob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "set"
        known = resources.files("grpc_tools") / "_proto"
        options = [f"-I{PROTOS}", f"-I{known}", "--include_imports", f"--descriptor_set_out={target}"]
        if protoc.main(["protoc", *options, *names]):
            raise SystemExit("protoc has refused them: see above")
        made = FileDescriptorSet.FromString(target.read_bytes())
    text = base64.b64encode(made.SerializeToString(deterministic=True)).decode()
    lines = [f'    "{text[at : at + WIDTH]}",' for at in range(0, len(text), WIDTH)]
    return "\n".join(
        [
            '"""The descriptors of the .proto files beside this module, in base64; written by ``make protos``."""',
            "",
            "DESCRIPTORS = (",
            *lines,
            ")",
            "",
        ]
    )


if __name__ == "__main__":
    (PROTOS / "descriptors.py").write_text(generated())
    sys.exit(0)
