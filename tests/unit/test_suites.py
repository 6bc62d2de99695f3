"""The contract suite says of itself where it runs."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

CONTRACT = Path(__file__).parents[1] / "contract"
ALONE = "On the embedded cluster alone: "


EMBEDDED = {"cluster", "kubectl", "follow"}
"""Fixtures of the embedded cluster."""


@pytest.mark.parametrize("path", sorted(CONTRACT.glob("test_*.py")), ids=lambda path: path.stem)
def test_what_is_asked_of_one_cluster_says_why(path: Path) -> None:
    tree = ast.parse(path.read_text())
    said = ALONE in " ".join((ast.get_docstring(tree) or "").split())
    arguments = {one.arg for one in ast.walk(tree) if isinstance(one, ast.arg)}
    on_both = path.stem.startswith("test_both_")
    if arguments & EMBEDDED and not on_both:
        assert said, f"run it on both clusters, or say why not after {ALONE!r} in the docstring"
    assert not (said and on_both)
