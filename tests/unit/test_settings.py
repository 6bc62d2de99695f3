"""Every variable that is read is documented."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from jupyterlab_kf import settings

PAGE = Path(__file__).parents[2] / "docs" / "connecting.md"


class Recorder(Mapping[str, str]):
    """An empty environment that remembers what was asked of it."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.asked.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def test_every_variable_is_documented() -> None:
    environment = Recorder()
    settings.load(environment)
    documented = set(re.findall(r"`([A-Z][A-Z_]+)`", PAGE.read_text()))
    assert {name for name in environment.asked if name.isupper()} <= documented
