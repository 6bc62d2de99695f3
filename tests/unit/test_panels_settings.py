"""What the panels add to JupyterLab's settings: keys that are free, and properties that people can read."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCHEMA = Path(__file__).parents[2] / "labextension" / "schema" / "plugin.json"
STOCK = Path(sys.prefix) / "share" / "jupyter" / "lab" / "schemas" / "@jupyterlab"


def shortcuts(file: Path) -> Iterator[tuple[str, str]]:
    """The keys of a schema, and the command that each runs."""
    for one in json.loads(file.read_text()).get("jupyter.lab.shortcuts", ()):
        for keys in (one.get(name) for name in ("keys", "macKeys", "winKeys", "linuxKeys")):
            if keys:
                yield " ".join(keys), one["command"]


def test_no_key_of_ours_is_one_of_jupyterlab_s_own() -> None:
    taken = {keys: command for file in STOCK.rglob("*.json") for keys, command in shortcuts(file)}
    assert len(taken) > 50, "the shortcuts of JupyterLab are found"
    ours = dict(shortcuts(SCHEMA))
    assert ours
    assert {keys: taken[keys] for keys in ours if keys in taken} == {}


def test_each_key_is_told_in_the_documentation() -> None:
    page = (SCHEMA.parents[2] / "docs" / "panels.md").read_text()
    assert [keys for keys in dict(shortcuts(SCHEMA)) if f"`{keys}`" not in page] == []


@pytest.mark.parametrize("name", json.loads(SCHEMA.read_text())["properties"])
def test_each_setting_says_what_it_does_and_what_it_is_by_default(name: str) -> None:
    entry: dict[str, Any] = json.loads(SCHEMA.read_text())["properties"][name]
    assert entry["title"]
    assert entry["description"].endswith(".")
    assert "default" in entry


def test_no_place_of_a_context_menu_is_a_list_of_places() -> None:
    """JupyterLab refuses a selector with a comma, and with it every entry that comes later, other people's too."""
    entries = json.loads(SCHEMA.read_text())["jupyter.lab.menus"]["context"]
    assert entries
    assert [one for one in entries if "," in one["selector"]] == []
