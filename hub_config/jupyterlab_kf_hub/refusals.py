"""Why there is no server, as the hub is told: a sentence for people, which does not count as a fault of the hub.

Other errors count as the hub's own, and five in a row end a hub of Zero to JupyterHub.
"""

from __future__ import annotations

import json
from typing import Any

from jupyterhub.spawner import SpawnException

from jupyterlab_kf.errors import UsageError


class Refusal(SpawnException):  # type: ignore[misc]  # JupyterHub has no annotations
    """No server, for a reason that a person can do something about. Pages show the sentence and nothing else."""

    def __init__(self, sentence: str, *, reason: str, status_code: int = 400) -> None:
        super().__init__(sentence, reason=reason, status_code=status_code)
        self.jupyterhub_message = sentence


def of(error: UsageError) -> Refusal:
    """What is wrong with a wish, and what would be right."""
    said = (part.strip().rstrip(".") for part in (error.message, error.hint) if part)
    return Refusal("".join(f"{one[:1].upper()}{one[1:]}. " for one in said).strip(), reason="options")


def by_cluster(error: Any) -> Exception:
    """A refusal of the API server in its own sentence; what is the hub's own fault stays an error."""
    try:
        said = str(json.loads(error.body or "{}").get("message") or error.reason)
    except ValueError:
        said = str(error.reason)
    if error.status == 403 and "exceeded quota" in said:  # noqa: PLR2004  HTTP's Forbidden
        sentence = f"The quota of your namespace does not allow it: {said}. Choose less, or end what you do not need."
        return Refusal(sentence, reason="quota")
    failure: Exception = error
    return failure
