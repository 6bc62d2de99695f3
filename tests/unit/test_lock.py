"""The lock file has all that pyproject.toml asks for, the extras that the tests need among it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_everything_that_is_asked_for_is_locked() -> None:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wanted = [*asked["project"]["dependencies"], *asked["project"]["optional-dependencies"]["hub"]]
    wanted += [one for one in asked["dependency-groups"]["dev"] if isinstance(one, str)]
    names = {re.split(r"[\s\[<>=!~;]", one, maxsplit=1)[0].lower().replace("_", "-") for one in wanted}
    locked = set(re.findall(r"(?m)^([a-z0-9.-]+)==", (ROOT / "requirements.lock").read_text()))
    assert names - locked == set()
