"""Who a unit is: what Seldon's operator writes into the environment of its container.

The names are those of Seldon's wrapper 1.17.1. What is absent is ``NOT_IMPLEMENTED`` in metrics, as there.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .messages import Json, Refusal

ABSENT = "NOT_IMPLEMENTED"


@dataclass(frozen=True, slots=True)
class Identity:
    """The unit's name in its graph, its image, and the deployment and predictor it belongs to."""

    unit: str = ""
    image: str = ""
    deployment: str = ""
    predictor: str = ""
    predictor_version: str = ""
    metrics_in_answers: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Identity:
        """Read from the environment."""
        labels = _object(environment.get("PREDICTOR_LABELS", ""), "PREDICTOR_LABELS")
        return cls(
            unit=environment.get("PREDICTIVE_UNIT_ID", ""),
            image=environment.get("PREDICTIVE_UNIT_IMAGE", ""),
            deployment=environment.get("SELDON_DEPLOYMENT_ID", ""),
            predictor=environment.get("PREDICTOR_ID", ""),
            predictor_version=str(labels.get("version", "")),
            metrics_in_answers=environment.get("INCLUDE_METRICS_IN_CLIENT_RESPONSE", "true").lower() == "true",
            metadata=_object(environment.get("MODEL_METADATA", ""), "MODEL_METADATA"),
        )

    @property
    def path(self) -> dict[str, str]:
        """What this unit adds to ``meta.requestPath``."""
        return {self.unit: self.image or f"{ABSENT}:{ABSENT}"} if self.unit else {}

    @property
    def labels(self) -> dict[str, str]:
        """The labels of its metrics."""
        image, _, version = (self.image or f"{ABSENT}:{ABSENT}").rpartition(":")
        return {
            "deployment_name": self.deployment or ABSENT,
            "model_name": self.unit or ABSENT,
            "model_image": image or version,
            "model_version": version if image else ABSENT,
            "predictor_name": self.predictor or ABSENT,
            "predictor_version": self.predictor_version or ABSENT,
        }


def parameters(text: str) -> dict[str, Any]:
    """``PREDICTIVE_UNIT_PARAMETERS``: a JSON list of name, value and type, as the arguments of a constructor."""
    found: dict[str, Any] = {}
    try:
        entries = json.loads(text or "[]")
    except ValueError as error:
        raise Refusal(f"the parameters are not JSON: {error}: {text!r}") from error
    if not isinstance(entries, list):
        raise Refusal(f"the parameters must be a JSON list of objects with name, value and type, not {text!r}")
    for entry in entries:
        try:
            name, value, kind = entry["name"], entry["value"], entry.get("type", "STRING")
        except (TypeError, KeyError) as error:
            raise Refusal(f"a parameter is an object with name, value and type, not {entry!r}") from error
        found[str(name)] = typed(str(name), value, str(kind))
    return found


def typed(name: str, value: object, kind: str) -> Any:
    """One parameter's value in its type."""
    readers: dict[str, Callable[[Any], Any]] = {
        "INT": int,
        "FLOAT": float,
        "DOUBLE": float,
        "STRING": str,
        "BOOL": _bool,
    }
    read = readers.get(kind)
    if read is None:
        raise Refusal(f"parameter {name}: there is no type {kind!r}; there are INT, FLOAT, DOUBLE, STRING, BOOL")
    try:
        return read(value)
    except (TypeError, ValueError) as error:
        raise Refusal(f"parameter {name}: {value!r} cannot be read as {kind}") from error


def _bool(value: object) -> bool:
    text = str(value).lower()
    if text in {"y", "yes", "t", "true", "on", "1"}:
        return True
    if text in {"n", "no", "f", "false", "off", "0"}:
        return False
    raise ValueError(text)


def _object(text: str, what: str) -> Json:
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        value = _yaml(text, what)
    if not isinstance(value, dict):
        raise Refusal(f"the environment variable {what} must hold a JSON or YAML object, not {text!r}")
    return value


def _yaml(text: str, what: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise Refusal(f"{what} is not JSON, and reading YAML needs the package pyyaml in this image") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Refusal(f"{what} is neither JSON nor YAML: {error}") from error
