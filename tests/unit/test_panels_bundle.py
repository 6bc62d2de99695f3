"""What the browser has to load: little when JupyterLab starts, the rest when it is first used."""

from __future__ import annotations

import bundled
import pytest

START = 120 * 1024
ALL = 250 * 1024


@pytest.fixture
def sizes() -> dict[str, int]:
    """Bytes of each script as it travels, by its number."""
    return bundled.sizes() or pytest.skip("the panels are not built (npm is not on the PATH)")


def test_little_is_loaded_at_start(sizes: dict[str, int]) -> None:
    start = bundled.started(sizes)
    assert sum(start.values()) <= START, start
    assert start["remoteEntry"] <= 12 * 1024
    assert sum(sizes.values()) <= ALL, sizes


@pytest.mark.parametrize("mark", ["u-wrap", "kfx-Job-head", "kfx-Launch-head"], ids=["plots", "job", "form"])
def test_what_is_not_used_is_not_loaded(sizes: dict[str, int], mark: str) -> None:
    """Class names tell what is in a chunk."""
    having = {path.name.split(".")[0] for path in bundled.STATIC.glob("*.js") if f'"{mark}"' in path.read_text()}
    assert having, f"no chunk has {mark}: look for another mark"
    assert not having & bundled.started(sizes).keys()
