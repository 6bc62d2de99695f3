"""What is different now: the last rows against the reference, feature by feature. Pure; scipy has the distributions.

Numbers are compared by the two-sample test of Kolmogorov and Smirnov, whose statistic is the largest distance between
the two distribution functions; categories by Pearson's chi-squared test, with the total variation distance as the size
of the difference. Of many features some differ by chance: p-values are corrected by Holm's method over all that are
tested at once. With many rows everything differs a little: below the plan's least effect nothing is an alarm.
"""

# ruff: noqa: TID252  what is shipped has another name
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ..messages import Array
from .reference import NUMERIC, OTHER, Column, Plan
from .windows import Picture

FEATURE = "feature"
PREDICTION = "prediction"
BINS = 20


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: feature or prediction.
        name: which feature; of predictions, which version's.
        test: how it was compared.
        size: how large the difference is, from 0 (none) to 1.
        p: how likely as large a difference would be by chance, corrected for all that was tested.
        rows: how many of the last rows were looked at.
        alarm: whether it is worth one.
        edges: bounds of the histogram's bins, or categories.
        expected: the reference's share in each bin.
        seen: the share of what was looked at.
    """

    about: str
    name: str
    test: str
    size: float
    p: float
    rows: int
    alarm: bool = False
    edges: tuple[float | str, ...] = ()
    expected: tuple[float, ...] = field(default=(), repr=False)
    seen: tuple[float, ...] = field(default=(), repr=False)


def judge(plan: Plan, picture: Picture) -> list[Finding]:
    """Everything that there are rows enough for."""
    features = [
        compared(FEATURE, one.name, one, values)
        for one in plan.columns
        if len(values := present(picture.features.get(one.name), one)) >= plan.least
    ]
    answers = [
        compared(PREDICTION, version, plan.predictions, kept)
        for version, values in sorted(picture.predictions.items())
        if plan.predictions is not None and len(kept := present(values, plan.predictions)) >= plan.least
    ]
    return [*decided(plan, features), *decided(plan, answers)]


def decided(plan: Plan, found: Sequence[Finding]) -> list[Finding]:
    """The same, with corrected p-values and what follows of them."""
    corrected = holm([one.p for one in found])
    return [
        replace(one, p=p, alarm=p < plan.alpha and one.size >= plan.effect)
        for one, p in zip(found, corrected, strict=True)
    ]


def present(values: Array | None, column: Column) -> Array:
    """The values that are there: no number is none to compare."""
    if values is None:
        return np.empty(0)
    return values[np.isfinite(values)] if column.kind == NUMERIC else values


def compared(about: str, name: str, column: Column, values: Array) -> Finding:
    """One column against its reference."""
    return (
        _numbers(about, name, column.values, values)
        if column.kind == NUMERIC
        else _categories(about, name, column.counts, values.tolist())
    )


def distance(one: Array, other: Array) -> tuple[float, float]:
    """The largest distance of two samples' distribution functions, and how likely as large a one is by chance.

    By the limit distribution with Stephens' correction for finite samples: near the exact one from ten values on.
    """
    from scipy.special import kolmogorov  # without scipy.stats, which takes a second to import

    one, other = np.sort(one), np.sort(other)
    points = np.concatenate([one, other])
    below = [np.searchsorted(values, points, side="right") / len(values) for values in (one, other)]
    size = float(np.abs(below[0] - below[1]).max())
    root = np.sqrt(len(one) * len(other) / (len(one) + len(other)))
    return size, float(kolmogorov((root + 0.12 + 0.11 / root) * size))


def independence(table: Array) -> float:
    """How likely as large a difference between the rows of a table of counts is by chance (Pearson's chi-squared)."""
    from scipy.special import chdtrc

    table = table[:, table.sum(axis=0) > 0]
    if table.shape[1] < 2 or not table.sum(axis=1).all():  # noqa: PLR2004  one category differs from no other
        return 1.0
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / table.sum()
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    return float(chdtrc(freedom, ((table - expected) ** 2 / expected).sum()))


def _numbers(about: str, name: str, reference: Array, values: Array) -> Finding:
    size, p = distance(reference, values)
    edges = np.histogram_bin_edges(np.concatenate([reference, values]), BINS)
    expected, seen = (shares(np.histogram(one, edges)[0]) for one in (reference, values))
    told = tuple(float(f"{one:.6g}") for one in edges)
    return Finding(about, name, "ks", size, p, len(values), edges=told, expected=expected, seen=seen)


def _categories(about: str, name: str, reference: Mapping[str, int], values: Iterable[str]) -> Finding:
    counts: dict[str, int] = dict.fromkeys(reference, 0)
    rows = 0
    for one in values:
        rows += 1
        key = one if one in counts and one != OTHER else OTHER
        counts[key] = counts.get(key, 0) + 1
    names = [one for one in counts if counts[one] or reference.get(one)]
    table = np.array([[reference.get(one, 0) for one in names], [counts[one] for one in names]])
    expected, seen = (shares(row) for row in table)
    size = float(np.abs(np.array(expected) - np.array(seen)).sum() / 2)
    p = independence(table)
    return Finding(about, name, "chi2", size, p, rows, edges=tuple(names), expected=expected, seen=seen)


def shares(counts: Array) -> tuple[float, ...]:
    """Counts as shares of their sum."""
    total = counts.sum() or 1
    return tuple(float(f"{one / total:.4g}") for one in counts)


def holm(ps: Sequence[float]) -> list[float]:
    """P-values corrected so that any false one among all is as likely as its value says (Holm 1979)."""
    order = sorted(range(len(ps)), key=ps.__getitem__)
    found = [1.0] * len(ps)
    highest = 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, ps[at] * (len(ps) - rank)))
        found[at] = highest
    return found
