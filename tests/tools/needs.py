"""How a test asks for a tool: it gets the path, or is skipped out loud, or fails where the real thing is required."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import provision
import pytest


def tool(get: Callable[[], Path]) -> Path:
    """A tool's path, or a skip that says why; a failure where ``KF_REQUIRE_REAL=1`` asks for the real thing."""
    try:
        return get()
    except provision.MissingError as error:
        if os.environ.get("KF_REQUIRE_REAL") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))
