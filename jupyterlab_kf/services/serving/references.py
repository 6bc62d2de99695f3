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
from jupyterlab_kf.services.serving import samples

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
_SHAPED: Final = 100
"""Numeric columns by which outliers are told at most."""
_UNUSUAL: Final = 0.01
"""The share of the reference that is taken for unusual."""
_LOOKED: Final = 20
"""Rows among which one without gaps is looked for."""
_SMALLEST: Final = 20
"""Rows of a group that is compared with others."""


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

    def places(self, most: int) -> Any:
        """Which of its rows are taken where at most so many are."""
        return _chosen(len(self.rows), most)

    def some(self, at: Any) -> Any:
        """Its rows at these places."""
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


def example(reference: Reference, told: Mapping[str, Any]) -> tuple[Any, ...]:
    """A row of it to try a model with, in the order of the model's columns; empty where the first rows have gaps."""
    order = [str(one) for one in told.get("columns") or ()]
    rows = reference.rows[order] if order and hasattr(reference.rows, "iloc") else reference.rows
    some = (rows.iloc[[at]] if hasattr(rows, "iloc") else rows[[at]] for at in range(min(len(rows), _LOOKED)))
    row = next((row for one in some if (row := samples.given(one))), ())
    return tuple(float(f"{one:.6g}") if isinstance(one, float) else one for one in row)


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
    answers = _one_each(value, names)
    if answers is None:
        return None
    if _numbers(answers):
        made = column("predictions", answers, _VALUES)
        return None if isinstance(made, str) else made
    labels = Counter(map(category, answers.tolist()))
    if len(labels) > _CATEGORIES:
        return None
    return {"name": "predictions", "kind": "categorical", "counts": dict(labels)}


def outliers(reference: Reference) -> Obj | None:
    """What rows are usual: the middle and shape of the numeric columns, and how far out all but one in a hundred are.

    None where no two numeric columns vary, or rows are too few to tell a shape.
    """
    import numpy as np

    names = [str(one["name"]) for one in reference.columns if one["kind"] == "numeric"][:_SHAPED]
    table = np.column_stack([_values(reference, name).astype(float) for name in names]) if names else np.empty((0, 0))
    table = table[np.isfinite(table).all(axis=1)]
    if not names or len(table) < max(LEAST, 5 * len(names)):
        return None
    middle = table.mean(axis=0)
    spread = np.atleast_2d(np.cov(table, rowvar=False))
    shape = np.linalg.pinv(spread + np.eye(len(names)) * 1e-9 * max(float(np.trace(spread)), 1e-12))
    off = table - middle
    far = np.sqrt(np.maximum(np.einsum("ij,jk,ik->i", off, shape, off), 0))
    limit = float(np.quantile(far, 1 - _UNUSUAL))
    return {
        "columns": names,
        "middle": middle.tolist(),
        "shape": shape.tolist(),
        "limit": limit,
        "share": float((far > limit).mean()),
    }


def gap(reference: Reference, group: str, value: Any, names: Sequence[str], asked: Any) -> float:
    """How differently the groups of the reference are answered, as the monitor reckons it; 0 where it is not known."""
    import numpy as np

    answers = _one_each(value, names)
    groups = np.asarray([category(one) for one in _values(reference, group)[asked].tolist()])
    kinds = sorted(set(groups.tolist()))
    if answers is None or len(answers) != len(groups) or _numbers(answers):
        return 0.0
    labels = np.asarray([category(one) for one in answers.tolist()])
    large = [labels[groups == one] for one in kinds if (groups == one).sum() >= _SMALLEST]
    if len(large) < 2:  # noqa: PLR2004  one is unlike no other
        return 0.0
    shares = np.array([[float((rows == one).mean()) for one in sorted(set(labels.tolist()))] for rows in large])
    return float((shares.max(axis=0) - shares.min(axis=0)).max())


def right(value: Any, names: Sequence[str], labels: Any, asked: Any, count: int) -> Obj:
    """How well the reference was answered, by its labels.

    Raises:
        UsageError: there are not as many labels as rows, or none is ever answered.
    """
    import numpy as np

    true = np.asarray(labels).ravel()
    if len(true) != count:
        raise UsageError(f"there are {len(true)} labels for the {count} rows of the reference")
    answers = _one_each(value, names)
    true = true[asked]
    if answers is None or len(answers) != len(true):
        raise UsageError("the answers of this model are no labels or numbers, so none can be right")
    if _numbers(answers) and true.dtype.kind in "iuf":
        made = column("errors", np.abs(answers.astype(float) - true), _VALUES)
        if not isinstance(made, str):
            return made
    hit = sum(category(one) == category(other) for one, other in zip(answers.tolist(), true.tolist(), strict=True))
    if not hit:
        raise UsageError(
            f"not one row of the reference is answered with its label: {category(answers[0])} for {category(true[0])}",
            hint="give labels as the model answers them",
        )
    return {"name": "right", "kind": "categorical", "counts": {"1": hit, "0": len(true) - hit}}


def _values(reference: Reference, name: str) -> Array:
    at = reference.names.index(name)
    rows = reference.rows
    values: Array = rows.iloc[:, at].to_numpy() if hasattr(rows, "iloc") else rows[:, at]
    return values


def _one_each(value: Any, names: Sequence[str]) -> Array | None:
    """One answer a row: of probabilities, the likeliest class."""
    import numpy as np

    array = np.asarray(value)
    if array.dtype.kind not in "biufUO" or not array.size or array.ndim > _TABLE:
        return None
    if array.ndim == _TABLE and array.shape[1] > 1:
        if array.dtype.kind not in "iuf":
            return None
        best = np.argmax(array, axis=1)
        return np.asarray([names[at] for at in best]) if len(names) == array.shape[1] else best
    return array.ravel()


def _numbers(answers: Array) -> bool:
    """Whether answers are numbers and no labels."""
    import numpy as np

    many = len({category(one) for one in answers.tolist()}) > _CATEGORIES
    return answers.dtype.kind in "iuf" and (many or bool(np.any(answers != np.round(answers))))


def category(value: object) -> str:
    """A category's text, as the monitor makes it: 1, 1.0 and "1" are one, since JSON does not always tell."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def dump(reference: Reference, answers: Obj | None, settings: Mapping[str, Any]) -> bytes:
    """The plan, as the monitor reads it; ``settings`` are those of :func:`check_settings`, and what else was found."""
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


def check_group(reference: Reference, group: str) -> None:
    """Refuse a column whose groups cannot be compared.

    Raises:
        UsageError: there is none of that name, it has numbers, or one value only.
    """
    names = [str(one["name"]) for one in reference.columns]
    if group not in reference.names:
        hint = frameworks.nearest(group, list(reference.names), "its columns are")
        raise UsageError(f"the reference has no column {group!r} to compare groups by", hint=hint)
    if group not in names:
        raise UsageError(f"{group} cannot be compared by: it {reference.left[group]}")
    counts = next(one for one in reference.columns if one["name"] == group).get("counts")
    if counts is None:
        raise UsageError(
            f"{group} has numbers, not groups", hint="give a column of categories, such as one made by pandas.cut"
        )
    if len(counts) < 2:  # noqa: PLR2004  one is unlike no other
        raise UsageError(f"all rows of the reference are of one group by {group}")


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
