"""What the browser has to load: little when JupyterLab starts, the rest when it is first used."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

import jupyterlab_kf

STATIC = Path(jupyterlab_kf.__file__).parent / "labextension" / "static"
START = 120 * 1024
ALL = 250 * 1024
_EXPOSED = re.compile(r'"\./(?:extension|style)":\(\)=>(.+?)\.then\(')
_CHUNK = re.compile(r"\.e\(\"?(\w+)\"?\)")


@pytest.fixture
def sizes() -> dict[str, int]:
    """Bytes of each script as it travels, by its number."""
    found = {path.name.split(".")[0]: len(gzip.compress(path.read_bytes())) for path in sorted(STATIC.glob("*.js"))}
    return found or pytest.skip("the panels are not built (npm is not on the PATH)")


def started(sizes: dict[str, int]) -> set[str]:
    """What is loaded before anybody has looked at anything."""
    entry = next(STATIC.glob("remoteEntry.*.js")).read_text()
    chunks = {chunk for said in _EXPOSED.findall(entry) for chunk in _CHUNK.findall(said)}
    assert chunks, "the entry names the chunks of what it exposes"
    assert chunks < sizes.keys()
    return {"remoteEntry", "style", *chunks}


def test_little_is_loaded_at_start(sizes: dict[str, int]) -> None:
    start = {name: sizes[name] for name in started(sizes)}
    assert sum(start.values()) <= START, start
    assert start["remoteEntry"] <= 12 * 1024
    assert sum(sizes.values()) <= ALL, sizes


@pytest.mark.parametrize("mark", ["u-wrap", "kfx-Job-head", "kfx-Launch-head"], ids=["plots", "job", "form"])
def test_what_is_not_used_is_not_loaded(sizes: dict[str, int], mark: str) -> None:
    """Class names tell what is in a chunk."""
    having = {path.name.split(".")[0] for path in STATIC.glob("*.js") if f'"{mark}"' in path.read_text()}
    assert having, f"no chunk has {mark}: look for another mark"
    assert not having & started(sizes)
