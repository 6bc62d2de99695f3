"""What a monitor compares with, made of a person's own data: the columns' distributions, as JSON. Pure.

Numbers travel as a sample of their values, categories as counts; columns whose values are all different say nothing of
a distribution and are left out by name. What cannot be a reference for a model is refused before anything is created.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests import frameworks
from jupyterlab_kf.model import Obj

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

LEAST: Final = 50
"""Rows that a reference has at least: fewer tell no distribution."""
_VALUES: Final = 2000
"""Values of a column that travel at most."""
_ALL_VALUES: Final = 200_000
_MOST: Final = 1000
"""Columns that are watched at most."""
_CATEGORIES: Final = 50
_TABLE: Final = 2


@dataclass(frozen=True, slots=True)
class Reference:
    """A table to compare with.

    Attributes:
        names: its columns, in the order in which the model takes them.
        rows: its rows as they were given, to be asked of the model.
        columns: what travels of each column that is watched, as JSON data.
        left: columns that are not watched, with the reason.
    """

    names: tuple[str, ...]
    rows: Any = field(repr=False)
    columns: tuple[Obj, ...] = field(repr=False)
    left: Mapping[str, str] = field(default_factory=dict)

    def some(self, most: int) -> Any:
        """At most so many of its rows."""
        at = _chosen(len(self.rows), most)
        return self.rows.iloc[at] if hasattr(self.rows, "iloc") else self.rows[at]


def read(data: Any, told: Mapping[str, Any]) -> Reference:
    """The reference of a table or array.

    Args:
        data: a DataFrame, an array or a list of rows; as the model takes them.
        told: the record of the version that takes them, which may know its ``columns`` and their number (``width``).

    Raises:
        UsageError: it has other columns than the model, too few rows, or nothing to watch.
    """
    rows = data if _is_table(data) else _array(data)
    names = _names(rows, told)
    if len(rows) < LEAST:
        raise UsageError(f"the reference has {len(rows)} rows; a distribution needs at least {LEAST}")
    most = min(_VALUES, max(_ALL_VALUES // len(names), 1))
    columns: list[Obj] = []
    left: dict[str, str] = {}
    for at, name in enumerate(names):
        values = rows.iloc[:, at].to_numpy() if hasattr(rows, "iloc") else rows[:, at]
        made = column(name, values, most)
        if isinstance(made, str):
            left[name] = made
        else:
            columns.append(made)
    if not columns:
        raise UsageError(
            "the reference has no column to watch: "
            + "; ".join(f"{name} {why}" for name, why in list(left.items())[:5]),
            hint="give the rows that the model was trained with, as numbers or categories",
        )
    if left and not hasattr(rows, "iloc"):
        # Without names a request's columns are known by their places only.
        raise UsageError(
            f"column {next(iter(left))} of the reference cannot be watched: {next(iter(left.values()))}",
            hint="give a DataFrame, and ask with DataFrames: then each column is known by its name",
        )
    return Reference(names, rows, tuple(columns), left)


def column(name: str, values: Array, most: int) -> Obj | str:
    """What travels of a column, or why it is not watched."""
    import numpy as np

    if values.dtype.kind in "fiu" or _all_numbers(values):
        numbers = np.asarray(values, dtype=float)
        numbers = numbers[np.isfinite(numbers)]
        if not len(numbers):
            return "has no numbers"
        chosen = numbers[_chosen(len(numbers), most)]
        return {"name": name, "kind": "numeric", "values": [float(f"{one:.7g}") for one in np.sort(chosen)]}
    counts = Counter(map(category, values.tolist()))
    if len(counts) > _CATEGORIES:
        return f"has {len(counts)} different values, more than the {_CATEGORIES} of a category"
    return {"name": name, "kind": "categorical", "counts": dict(counts)}


def predictions(value: Any, names: Sequence[str]) -> Obj | None:
    """What travels of a model's answers for the reference; None of those that are no labels and no numbers."""
    import numpy as np

    array = np.asarray(value)
    if array.dtype.kind not in "biufUO" or not array.size or array.ndim > _TABLE:
        return None
    if array.ndim == _TABLE and array.shape[1] > 1:  # as the monitor does it: the likeliest class
        if array.dtype.kind not in "iuf":
            return None
        best = np.argmax(array, axis=1)
        array = np.asarray([names[at] for at in best]) if len(names) == array.shape[1] else best
    flat = array.ravel()
    labels = Counter(map(category, flat.tolist()))
    if len(labels) <= _CATEGORIES and (flat.dtype.kind != "f" or bool(np.all(flat == np.round(flat)))):
        return {"name": "predictions", "kind": "categorical", "counts": dict(labels)}
    made = column("predictions", flat, _VALUES)
    return None if isinstance(made, str) else made


def category(value: object) -> str:
    """A category's text, as the monitor makes it: 1, 1.0 and "1" are one, since JSON does not always tell."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def dump(reference: Reference, answers: Obj | None, settings: Mapping[str, float]) -> bytes:
    """The plan, as the monitor reads it."""
    told = {**settings, "columns": list(reference.columns), "predictions": answers, "left": dict(reference.left)}
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


# Checks


def check_settings(*, sample: Any, window: Any, alpha: Any, effect: Any) -> dict[str, float]:
    """How to watch, as the monitor reads it.

    Raises:
        UsageError: a number is out of its bounds.
    """

    def number(value: object) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool)

    if not number(sample) or not 0 < sample <= 1:
        raise UsageError(f"sample is {sample!r}; it is a share of the requests: above 0, and at most 1")
    if not isinstance(window, int) or isinstance(window, bool) or not LEAST <= window <= 100_000:  # noqa: PLR2004
        raise UsageError(f"window is {window!r}; it is a whole number of rows from {LEAST} to 100000")
    if not number(alpha) or not 0 < alpha < 1:
        raise UsageError(f"alpha is {alpha!r}; it is a probability: above 0 and below 1")
    if not number(effect) or not 0 <= effect < 1:
        raise UsageError(f"effect is {effect!r}; it is the size of a difference: 0 or more, and below 1")
    least = min(window, 100)
    return {"sample": sample, "window": window, "alpha": alpha, "effect": effect, "least": least, "repeat": 600.0}


def _names(rows: Any, told: Mapping[str, Any]) -> tuple[str, ...]:
    given = [str(one) for one in rows.columns] if hasattr(rows, "columns") else []
    known = [str(one) for one in told.get("columns") or ()]
    width = len(known) or int(told.get("width") or 0)
    count = len(given) if given else int(rows.shape[1])
    if given and known and set(given) != set(known):
        missing = [one for one in known if one not in given]
        unknown = [one for one in given if one not in known]
        what = f"lacks {', '.join(missing[:5])}" if missing else f"has {', '.join(unknown[:5])}, which it does not take"
        hint = frameworks.nearest(unknown[0], known, "the model takes") if unknown else "give the rows that it takes"
        raise UsageError(f"the reference has other columns than the model: it {what}", hint=hint)
    if width and count != width:
        raise UsageError(
            f"the reference has {count} columns, and the model takes {width}", hint="give its inputs, without labels"
        )
    if len(set(given)) != len(given):
        raise UsageError("two columns of the reference have one name")
    if count > _MOST:
        raise UsageError(f"the reference has {count} columns; at most {_MOST} are watched")
    return tuple(given or known or [f"x{at}" for at in range(count)])


def _is_table(data: Any) -> bool:
    return all(hasattr(data, name) for name in ("columns", "iloc", "to_numpy"))


def _array(data: Any) -> Array:
    import numpy as np

    try:
        array = np.asarray(data)
        if array.dtype.kind in "US" and not hasattr(data, "dtype"):
            array = np.asarray(data, dtype=object)  # a number beside text stays a number
    except ValueError as error:
        raise UsageError(f"the rows of the reference do not have one length: {error}") from error
    if array.ndim != _TABLE or not array.shape[1]:
        raise UsageError(
            f"the reference is of the shape {list(array.shape)}; it is a table of rows and columns",
            hint="images and texts are not watched; give the features that the model takes",
        )
    return array


def _all_numbers(values: Array) -> bool:
    return values.dtype == object and all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in values)


def _chosen(count: int, most: int) -> Any:
    """Places of at most so many of ``count``, the same ones each time."""
    import numpy as np

    return np.arange(count) if count <= most else np.sort(np.random.default_rng(0).choice(count, most, replace=False))
