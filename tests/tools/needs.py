"""How a test asks for a tool: it gets the path, or is skipped out loud.

With ``KF_REQUIRE_REAL=1`` any skip is a failure (tests/conftest.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import provision
import pytest

Made = TypeVar("Made")


def tool(get: Callable[[], Made]) -> Made:
    """What a maker makes, such as a tool's path; or a skip that says why it cannot be had."""
    try:
        return get()
    except provision.MissingError as error:
        pytest.skip(str(error))
