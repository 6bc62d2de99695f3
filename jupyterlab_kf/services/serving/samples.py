"""A row to try a model with: of an input that was handed over with it, or of what the fitted model itself remembers.

A model answers zeros with its intercept, from which nobody learns anything. Estimators keep means, centres, neighbours
or thresholds of what they were fitted to, and a row of these is one that it might really be asked. Knows frameworks by
their attributes only; imports none.
"""

from __future__ import annotations

import math
from typing import Any, Final

_MOST: Final = 256
"""Values of a row that are worth remembering in a record."""
_TREES: Final = 10
_DIGITS: Final = 4
_ROWS: Final = ("_fit_X", "support_vectors_", "cluster_centers_", "theta_", "means_", "centroids_", "mean_", "center_")
"""Attributes of fitted estimators whose rows, or which themselves, are like rows of the input."""

Row = tuple[Any, ...]


def given(example: Any) -> Row:
    """The first row of an input; empty where it is none, or too large to remember."""
    if hasattr(example, "detach"):  # a tensor of PyTorch
        example = example.detach().cpu().numpy()
    if hasattr(example, "to_numpy"):
        example = example.to_numpy()
    rows = example.tolist() if hasattr(example, "tolist") else example
    if not isinstance(rows, (list, tuple)) or not rows:
        return ()
    row = rows[0] if isinstance(rows[0], (list, tuple)) else rows
    return tuple(row) if 0 < _size(row) <= _MOST else ()


def _size(value: Any) -> int:
    """How many numbers and texts there are in it; too many where something else is."""
    if isinstance(value, (list, tuple)):
        return sum(map(_size, value))
    sound = isinstance(value, (str, bool, int)) or (isinstance(value, float) and math.isfinite(value))
    return 1 if sound else _MOST + 1


def remembered(model: Any, width: int) -> Row:
    """A row that a fitted estimator might be asked, of ``width`` numbers; empty where it remembers none."""
    if not 0 < width <= _MOST:
        return ()
    steps = getattr(model, "steps", None)  # a pipeline: its first step saw the rows as they come
    first = steps[0][1] if isinstance(steps, list) and steps else model
    for name in _ROWS:
        found: Any = getattr(first, name, None)
        if hasattr(found, "toarray"):
            found = found.toarray()
        if hasattr(found, "tolist") and (row := _row(found.tolist(), width)):
            return row
    low, high = getattr(first, "data_min_", None), getattr(first, "data_max_", None)
    if low is not None and high is not None:
        return _row(((low + high) / 2).tolist(), width)
    return _of_trees(first, width)


def _row(values: Any, width: int) -> Row:
    row = values[0] if isinstance(values, list) and values and isinstance(values[0], list) else values
    if not isinstance(row, list) or len(row) != width or not all(isinstance(one, (int, float)) for one in row):
        return ()
    return tuple(_short(one) for one in row) if all(map(math.isfinite, row)) else ()


def _of_trees(model: Any, width: int) -> Row:
    """The middle of the thresholds at which trees divide each feature."""
    many = getattr(model, "estimators_", None)
    trees = [model] if many is None else list(many.ravel() if hasattr(many, "ravel") else many)[:_TREES]
    cuts: list[list[float]] = [[] for _ in range(width)]
    for tree in (getattr(one, "tree_", None) for one in trees):
        if tree is None:
            return ()
        for feature, threshold in zip(tree.feature.tolist(), tree.threshold.tolist(), strict=True):
            if 0 <= feature < width:
                cuts[feature].append(threshold)
    middles = [sorted(one)[len(one) // 2] if one else 1.0 for one in cuts]
    return tuple(map(_short, middles)) if any(cuts) and all(map(math.isfinite, middles)) else ()


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
