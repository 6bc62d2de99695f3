"""What Katib 0.19's CustomResourceDefinitions say: their printer columns, and a schema that keeps every field. Pure.

The real definitions have no schema either: what an Experiment may say is the business of Katib's webhooks, which the
controllers know (:mod:`jupyterlab_kf.controllers.katib`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.kinds import Kind

_SAYS: Final = {
    kinds.EXPERIMENT: "A study: what is tuned, how, and what its trials run.",
    kinds.TRIAL: "One trial of a study: its assignments, its job, what was observed.",
    kinds.SUGGESTION: "The assignments that a study asked for, and those that it got.",
}


def schema(kind: Kind) -> dict[str, Any]:
    """The schema of one of Katib's kinds."""
    text = {"type": "string"}
    return {
        "type": "object",
        "description": _SAYS[kind],
        "properties": {"apiVersion": text, "kind": text, "metadata": {"type": "object"}},
        "x-kubernetes-preserve-unknown-fields": True,
    }


_CONDITION: Final = (
    {"name": "Type", "type": "string", "jsonPath": ".status.conditions[-1:].type"},
    {"name": "Status", "type": "string", "jsonPath": ".status.conditions[-1:].status"},
)
_ASSIGNED: Final = (
    {"name": "Requested", "type": "string", "jsonPath": ".spec.requests"},
    {"name": "Assigned", "type": "string", "jsonPath": ".status.suggestionCount"},
)

COLUMNS: Final[Mapping[Kind, list[dict[str, Any]]]] = {
    kinds.EXPERIMENT: [*_CONDITION],
    kinds.TRIAL: [*_CONDITION],
    kinds.SUGGESTION: [*_CONDITION, *_ASSIGNED],
}
"""``additionalPrinterColumns`` before the age, which every kind has last."""
