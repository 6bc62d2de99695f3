"""Deployments that sleep: no replicas while nobody asks, and as many as before with the next request. Pure.

Said by an annotation on the Deployment. Who counts requests, who holds those that come while it sleeps, and who wakes
it are others; this is what they agree about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from jupyterlab_kf import names
from jupyterlab_kf.controllers.support import notes

ASLEEP: Final = "asleep; wakes with the next request"
LEAST: Final = 5.0
"""Seconds: before, who is to hold the requests may not have heard of a Deployment."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """When a Deployment goes to sleep.

    Attributes:
        after: seconds without a request.
        replicas: how many the next request brings back, at least one.
    """

    after: float
    replicas: int = 1

    def text(self) -> str:
        """The annotation's value."""
        return json.dumps({"after": self.after, "replicas": self.replicas}, separators=(",", ":"))


def of(deployment: Mapping[str, Any]) -> Sleep | None:
    """When a Deployment sleeps; None if it does not, or says so in no way that can be read."""
    text = notes(deployment).get(names.ANNOTATION_SLEEP)
    if not text:
        return None
    try:
        said = json.loads(text)
        return Sleep(max(LEAST, float(said["after"])), max(1, int(said.get("replicas") or 1)))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def is_asleep(deployment: Mapping[str, Any]) -> bool:
    """Whether it has no replicas because nobody asked."""
    return of(deployment) is not None and (deployment.get("spec") or {}).get("replicas") == 0
