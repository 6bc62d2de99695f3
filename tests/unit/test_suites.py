"""The contract suite says of itself where it runs."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest
import suites

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


Ended = Callable[[str, list[suites.Figures]], tuple[int, list[str]]]


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ended:
    """The status and the lines of a suite, of which pytest would have said these figures, run for run."""

    def main(suite: str, figures: list[suites.Figures]) -> tuple[int, list[str]]:
        left = iter(figures)
        monkeypatch.setattr(suites, "run", lambda *_: next(left))
        return suites.main([suite]), capsys.readouterr().out.splitlines()

    return main


@pytest.mark.parametrize(
    ("suite", "figures", "status", "unsteady"),
    [
        ("real", [suites.Figures(1, 5, failed=["a"]), suites.Figures(0, 1)], 0, "a"),
        ("real", [suites.Figures(1, 5, failed=["a"]), suites.Figures(1)], 1, "nothing"),
        ("real", [suites.Figures(1, 5, failed=["a", "b", "c"])], 1, "nothing"),
        ("real", [suites.Figures(4)], 4, "nothing"),
        ("unit", [suites.Figures(1, 5, failed=["a"])], 1, "nothing"),
    ],
    ids=["unsteady", "broken", "many", "no-start", "unit"],
)
def test_what_failed_once_is_named(
    suite: str, figures: list[suites.Figures], status: int, unsteady: str, ended: Ended
) -> None:
    found, said = ended(suite, figures)
    assert found == status
    assert said[-1] == f"unsteady: {unsteady}"
    assert (f"{suite} failed" in said) == bool(status)
