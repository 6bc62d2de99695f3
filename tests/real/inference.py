"""The definition of InferenceServices on a cluster of the tests, which has none of KServe's own."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import yaml
from bed.api import Api, ApiStatusError, until

KIND = "serving.kserve.io/v1beta1", "InferenceService"
_FILE = Path(__file__).parent / "manifests" / "inferenceservices.yaml"


def define(api: Api) -> None:
    """Have the cluster serve the kind; it stays."""
    made: dict[str, Any] = yaml.safe_load(_FILE.read_text())
    with contextlib.suppress(ApiStatusError):  # it is there already
        api.create(made)

    def served() -> bool:
        with contextlib.suppress(ApiStatusError, LookupError):
            api.list(*KIND, "default")
            return True
        return False

    until(served, seconds=60, what="the kind InferenceService")
