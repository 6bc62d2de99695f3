"""What the browser has to load of the panels: little when JupyterLab starts, the rest when it is first used."""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from pathlib import Path

import jupyterlab_kf

STATIC = Path(jupyterlab_kf.__file__).parent / "labextension" / "static"
_EXPOSED = re.compile(r'"\./(?:extension|style)":\(\)=>(.+?)\.then\(')
_CHUNK = re.compile(r"\.e\(\"?(\w+)\"?\)")


def sizes() -> dict[str, int]:
    """Bytes of each script as it travels (gzip), by its number; empty where the panels are not built."""
    return {path.name.split(".")[0]: len(gzip.compress(path.read_bytes())) for path in sorted(STATIC.glob("*.js"))}


def started(found: Mapping[str, int]) -> dict[str, int]:
    """Of these what is loaded before anybody has looked at anything."""
    entry = next(STATIC.glob("remoteEntry.*.js")).read_text()
    chunks = {chunk for said in _EXPOSED.findall(entry) for chunk in _CHUNK.findall(said)}
    assert chunks, "the entry names the chunks of what it exposes"
    return {name: found[name] for name in ("remoteEntry", "style", *sorted(chunks))}
