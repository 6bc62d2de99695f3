"""Writes the packaged schemas of Istio's kinds: what their CustomResourceDefinitions say of fields, types and rules.

Input is the folder that KF_CRDS names, with Istio's definitions in it. Only the structure is taken (names, types, what
is required, enumerations, limits, alternatives, expressions); descriptions are not, and neither is the status. All
versions of a kind say the same, which is checked. Output is a gzip file with JSON in
``jupyterlab_kf/embedded/apiserver/data``; its content depends on the input alone, so a second run changes nothing.

    KF_CRDS=FOLDER python tests/tools/generate_definitions.py
"""

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path
from typing import Any

import yaml

TARGET = Path(__file__).parents[2] / "jupyterlab_kf" / "embedded" / "apiserver" / "data" / "istio.json.gz"
KINDS = (
    *("Gateway", "VirtualService", "DestinationRule", "EnvoyFilter", "RequestAuthentication", "AuthorizationPolicy"),
    "Telemetry",
)


def structure(value: Any, *, named: bool = False) -> Any:
    """A schema without its descriptions; of a map of properties every name is kept, also ``description``."""
    if isinstance(value, list):
        return [structure(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: structure(item, named=key in ("properties", "patternProperties") and not named)
        for key, item in value.items()
        if named or key != "description"
    }


def definitions(folder: Path) -> dict[str, Any]:
    """Kind to the schema of its spec."""
    found: dict[str, Any] = {}
    for path in sorted(folder.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            spec = (document or {}).get("spec") or {}
            kind = (spec.get("names") or {}).get("kind")
            if kind not in KINDS or not str(spec.get("group")).endswith("istio.io"):
                continue
            schemas = [version["schema"]["openAPIV3Schema"] for version in spec["versions"] if version["served"]]
            assert all(schema == schemas[0] for schema in schemas), f"the versions of {kind} differ"
            found[kind] = structure(schemas[0])["properties"]["spec"]
    return found


def main() -> int:
    """Write the file."""
    folder = os.environ.get("KF_CRDS")
    if not folder:
        print("KF_CRDS names no folder with Istio's definitions", file=sys.stderr)
        return 1
    found = definitions(Path(folder))
    if missing := set(KINDS) - set(found):
        print(f"{folder} has no definition of {', '.join(sorted(missing))}", file=sys.stderr)
        return 1
    text = json.dumps({kind: found[kind] for kind in KINDS}, separators=(",", ":"), sort_keys=True)
    TARGET.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(TARGET.name, TARGET.stat().st_size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
