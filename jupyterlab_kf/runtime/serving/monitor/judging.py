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
OUTLIERS = "outliers"
ACCURACY = "accuracy"
BIAS = "bias"
BINS = 20
SMALLEST = 20
"""Rows of a group that is compared with others."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        about: feature, prediction, outliers, accuracy or bias.
        name: which feature; else which version's.
        test: how it was compared.
        size: how large the difference is, from 0 (none) to 1.
        p: how likely as large a difference would be by chance, corrected for all that was tested.
        rows: how many of the last rows were looked at.
        alarm: whether it is worth one.
        edges: bounds of the histogram's bins, or categories.
        expected: the reference's share in each bin.
        seen: the share of what was looked at; of bias, of each group.
        value: the share of outliers or of right answers, the mean error, or the gap between groups; else None.
        usual: the same of the reference, where that is known.
        answer: of bias, the answer whose shares differ most.
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
    value: float | None = None
    usual: float | None = None
    answer: str = ""


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
    unlike = [outlying(plan, picture.outliers)] if len(picture.outliers) >= plan.least else []
    rights = [
        judged
        for version, (right, groups) in sorted(picture.right.items())
        if len(right) >= plan.least
        for judged in (accurate(plan, version, right), *_gaps(plan, f"{version}, right answers", groups, right, None))
    ]
    alike = [
        gap
        for version, (groups, answers_) in sorted(picture.grouped.items())
        if len(groups) >= plan.least
        for gap in _gaps(plan, version, groups, answers_, plan.gap)
    ]
    return [*decided(plan, features), *decided(plan, answers), *unlike, *rights, *alike]


def decided(plan: Plan, found: Sequence[Finding]) -> list[Finding]:
    """The same, with corrected p-values and what follows of them."""
    corrected = holm([one.p for one in found])
    return [
        replace(one, p=p, alarm=p < plan.alpha and one.size >= plan.effect)
        for one, p in zip(found, corrected, strict=True)
    ]


def outlying(plan: Plan, flags: Array) -> Finding:
    """Whether more rows are unusual than were of the reference: by the binomial distribution."""
    from scipy.special import bdtrc

    usual = plan.outliers.share if plan.outliers else 0.0
    count, rows = int(flags.sum()), len(flags)
    p = float(bdtrc(count - 1, rows, usual)) if count else 1.0
    size = max(count / rows - usual, 0.0)
    loud = p < plan.alpha and size >= plan.effect
    return Finding(OUTLIERS, "rows", "binomial", size, p, rows, loud, value=count / rows, usual=usual)


def accurate(plan: Plan, version: str, right: Array) -> Finding:
    """Whether answers are worse than for the reference; where nobody told how those were, nothing is an alarm."""
    from scipy.special import bdtr

    now, before, rows = float(right.mean()), plan.right, len(right)
    if before is None:
        return Finding(ACCURACY, version, "", 0.0, 1.0, rows, value=now)
    if before.kind == NUMERIC:  # errors: larger ones are worse
        size, p = distance(before.values, right)
        usual, worse = float(before.values.mean()), now > float(before.values.mean())
        return Finding(
            ACCURACY,
            version,
            "ks",
            size,
            p,
            rows,
            worse and p < plan.alpha and size >= plan.effect,
            value=now,
            usual=usual,
        )
    usual = before.counts.get("1", 0) / (sum(before.counts.values()) or 1)
    p = float(bdtr(int(right.sum()), rows, usual)) if usual < 1 or now < 1 else 1.0
    size = max(usual - now, 0.0)
    return Finding(
        ACCURACY, version, "binomial", size, p, rows, p < plan.alpha and size >= plan.effect, value=now, usual=usual
    )


def _gaps(plan: Plan, name: str, groups: Array, values: Array, usual: float | None) -> list[Finding]:
    """How differently groups are answered; nothing where there are no two that are large enough.

    ``usual`` is the same of the reference; None of right answers, which are to be equally many.
    """
    if not plan.group:
        return []
    rows = {text: values[groups == text] for text in sorted(set(groups.tolist())) if text}
    rows = {text: kept for text, kept in rows.items() if len(kept) >= SMALLEST}
    if len(rows) < 2:  # noqa: PLR2004  one is unlike no other
        return []
    if plan.predictions is not None and plan.predictions.kind == NUMERIC:
        return [_unlike(plan, name, {text: kept.astype(float) for text, kept in rows.items()}, usual)]
    answers = sorted({str(one) for kept in rows.values() for one in kept})
    table = np.array([[sum(str(one) == answer for one in kept) for answer in answers] for kept in rows.values()])
    of_group = table / table.sum(axis=1, keepdims=True)
    gaps = of_group.max(axis=0) - of_group.min(axis=0)
    worst, p = int(gaps.argmax()), independence(table)
    size = float(gaps[worst])
    loud = p < plan.alpha and size - (usual or 0.0) >= plan.effect
    answer = answers[worst] if usual is not None else "right"
    shown = of_group[:, worst] if usual is not None or answers[worst] == "1.0" else 1 - of_group[:, worst]
    seen = tuple(float(f"{one:.4g}") for one in shown)
    found = Finding(BIAS, name, "chi2", size, p, int(table.sum()), loud, tuple(rows), (), seen, size, usual, answer)
    return [found]


def _unlike(plan: Plan, name: str, rows: Mapping[str, Array], usual: float | None) -> Finding:
    """Numbers: each group against all others, corrected for how many there are."""
    found = [
        distance(kept, np.concatenate([other for rest, other in rows.items() if rest != text]))
        for text, kept in rows.items()
    ]
    size, p = max(size for size, _ in found), min(holm([p for _, p in found]))
    loud = p < plan.alpha and size - (usual or 0.0) >= plan.effect
    seen = tuple(float(f"{kept.mean():.6g}") for kept in rows.values())
    total = sum(map(len, rows.values()))
    return Finding(BIAS, name, "ks", size, p, total, loud, tuple(rows), (), seen, size, usual)


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
