"""What a monitor compares with, and how it is to watch: read once from JSON that was made where the data is. Pure."""

# ruff: noqa: TID252  what is shipped has another name
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..messages import Array

NUMERIC = "numeric"
CATEGORICAL = "categorical"
OTHER = "(other)"
"""What all values are counted as that the reference has not."""


class PlanError(ValueError):
    """The file is not what a monitor can work with."""


@dataclass(frozen=True)
class Column:
    """One feature, or the predictions, of the reference.

    ``values`` are those of a numeric one, sorted; ``counts`` those of a categorical one, by their text.
    """

    name: str
    kind: str
    values: Array = field(default_factory=lambda: np.empty(0))
    counts: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Column:
        """Of its JSON."""
        if told["kind"] == NUMERIC:
            return cls(str(told["name"]), NUMERIC, values=np.sort(np.asarray(told["values"], dtype=float)))
        return cls(str(told["name"]), CATEGORICAL, counts={str(key): int(n) for key, n in told["counts"].items()})


@dataclass(frozen=True)
class Outliers:
    """How far rows of the reference are from its middle (Mahalanobis' distance over the numeric columns).

    ``limit`` is the distance within which all but ``share`` of the reference's rows are.
    """

    columns: tuple[str, ...]
    middle: Array
    shape: Array
    limit: float
    share: float

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Outliers:
        """Of its JSON."""
        middle, shape = (np.asarray(told[name], dtype=float) for name in ("middle", "shape"))
        return cls(tuple(map(str, told["columns"])), middle, shape, float(told["limit"]), float(told["share"]))

    def found(self, rows: Array) -> Array:
        """Which rows are farther away; what is no number is as far as can be."""
        off = rows - self.middle
        far = np.einsum("ij,jk,ik->i", off, self.shape, off)
        near: Array = far <= self.limit**2
        return ~near


@dataclass(frozen=True)
class Plan:
    """How to watch.

    Attributes:
        columns: the features, in the order in which a model without names takes them.
        predictions: what the model answers for the reference; None where that is not known.
        window: rows that are looked at: the last ones.
        least: rows without which nothing is said.
        alpha: how likely a false alarm may be at one look, over all features together.
        effect: the least difference of two distributions that is worth an alarm, from 0 to 1.
        sample: the share of the requests of which copies are kept.
        repeat: seconds after which an alarm that goes on is said again.
        left: columns that are not watched, with the reason.
        outliers: what rows are unusual; None where that is not looked at.
        group: the column whose groups are to be answered alike; none where it is empty.
        gap: how much the shares of an answer differed between groups in the reference.
        right: how well the reference was answered: rows that were rightly ("1") and wrongly ("0"); of numbers, errors.
    """

    columns: tuple[Column, ...]
    predictions: Column | None = None
    window: int = 1000
    least: int = 100
    alpha: float = 0.001
    effect: float = 0.1
    sample: float = 1.0
    repeat: float = 600.0
    left: Mapping[str, str] = field(default_factory=dict)
    outliers: Outliers | None = None
    group: str = ""
    gap: float = 0.0
    right: Column | None = None


def read(text: str | bytes) -> Plan:
    """The plan of its JSON.

    Raises:
        PlanError: it is none.
    """
    try:
        told = json.loads(text)
        predictions = told.get("predictions")
        numbers = {name: told[name] for name in ("window", "least", "alpha", "effect", "sample", "repeat")}
        return Plan(
            columns=tuple(Column.of(one) for one in told["columns"]),
            predictions=Column.of(predictions) if predictions else None,
            left=dict(told.get("left") or {}),
            outliers=Outliers.of(told["outliers"]) if told.get("outliers") else None,
            group=str(told.get("group") or ""),
            gap=float(told.get("gap") or 0.0),
            right=Column.of(told["right"]) if told.get("right") else None,
            **numbers,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlanError(f"this is no monitor's plan: {type(error).__name__}: {error}") from error
