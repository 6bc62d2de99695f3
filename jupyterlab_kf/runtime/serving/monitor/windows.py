"""What a monitor keeps of the copies that it got: the last rows of each feature, and the last predictions. Bounded.

A copy is an event with a body in one of three protocols. One that cannot be read is counted with the reason, and never
an error: it is a copy, its request was answered long ago.
"""

# ruff: noqa: TID252  what is shipped has another name
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from .. import openinference, seldon, tfserving
from ..messages import ARRAYS, Array, Refusal
from ..sampling import chosen
from .reference import NUMERIC, Column, Plan

REQUEST = "io.seldon.serving.inference.request"
RESPONSE = "io.seldon.serving.inference.response"
FEEDBACK = "io.seldon.serving.feedback"
_WAITING = 10_000
"""Requests that wait for their answers at most."""
_VERSIONS = 20
R = TypeVar("R")


@dataclass(frozen=True)
class Copy:
    """One payload, and what the event says of it."""

    type: str
    version: str
    id: str
    protocol: str
    body: bytes


@dataclass
class Counts:
    """What became of the copies."""

    copies: int = 0
    skipped: int = 0
    unread: int = 0
    rows: int = 0
    why: str = ""


@dataclass(frozen=True)
class Picture:
    """All that was kept, at one moment.

    Attributes:
        features: the values of each feature.
        predictions: those of each version.
        outliers: for each row whether it was unusual, as 0 or 1.
        grouped: of each version the group of a row, and what was answered.
        right: of each version what feedback told: 1 or 0 for right or wrong, of numbers the error; and the row's group.
    """

    features: Mapping[str, Array] = field(default_factory=dict)
    predictions: Mapping[str, Array] = field(default_factory=dict)
    outliers: Array = field(default_factory=lambda: np.empty(0))
    grouped: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)
    right: Mapping[str, tuple[Array, Array]] = field(default_factory=dict)


class Ring:
    """The last values of one column."""

    def __init__(self, size: int, *, numeric: bool) -> None:
        self._values = np.empty(size, dtype=float if numeric else object)
        self._at = 0
        self._filled = 0

    def add(self, values: Array) -> None:
        """Put some behind the others; the oldest go."""
        size = len(self._values)
        values = values[-size:]
        first = min(len(values), size - self._at)
        self._values[self._at : self._at + first] = values[:first]
        self._values[: len(values) - first] = values[first:]
        self._at = (self._at + len(values)) % size
        self._filled = min(size, self._filled + len(values))

    def last(self) -> Array:
        """A copy of what is there, in no order."""
        return self._values[: self._filled].copy()


class Pairs:
    """The last pairs of values of two columns."""

    def __init__(self, size: int, *, numeric: bool = False) -> None:
        self._rings = Ring(size, numeric=numeric), Ring(size, numeric=False)

    def add(self, one: Array, other: Array) -> None:
        """Put some behind the others."""
        for ring, values in zip(self._rings, (one, other), strict=True):
            ring.add(values)

    def last(self) -> tuple[Array, Array]:
        """What is there, in one order."""
        one, other = self._rings
        return one.last(), other.last()


class Windows:
    """The rings of all features, and of each version's predictions."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.counts = Counts()
        self._features = {one.name: Ring(plan.window, numeric=one.kind == NUMERIC) for one in plan.columns}
        self._predictions: dict[str, Ring] = {}
        self._outliers = Ring(plan.window, numeric=True)
        self._grouped: dict[str, Pairs] = {}
        self._right: dict[str, Pairs] = {}
        self._waiting: OrderedDict[str, Array] = OrderedDict()
        """The groups of requests whose answers have not come yet."""

    def take(self, copy: Copy) -> None:
        """Keep what is in a copy."""
        if copy.type != FEEDBACK and not chosen(copy.id, self.plan.sample):
            self.counts.skipped += 1
            return
        try:
            if copy.type == REQUEST:
                self._rows(copy.id, rows_of(copy, self.plan.columns))
            elif copy.type == RESPONSE and self.plan.predictions is not None:
                self._answers(copy, answers_of(copy, self.plan.predictions))
            elif copy.type == FEEDBACK:
                self._told(copy)
        except Refusal as refusal:
            self.counts.unread += 1
            self.counts.why = refusal.info
        else:
            self.counts.copies += 1

    def picture(self) -> Picture:
        """What there is now."""
        return Picture(
            {name: ring.last() for name, ring in self._features.items()},
            {name: ring.last() for name, ring in self._predictions.items()},
            self._outliers.last(),
            {name: pairs.last() for name, pairs in self._grouped.items()},
            {name: pairs.last() for name, pairs in self._right.items()},
        )

    def _rows(self, identity: str, columns: Mapping[str, Array]) -> None:
        for name, values in columns.items():
            self._features[name].add(values)
        self.counts.rows += max(map(len, columns.values()), default=0)
        if (outliers := self.plan.outliers) is not None:
            rows = np.column_stack([columns[name] for name in outliers.columns])
            self._outliers.add(outliers.found(rows).astype(float))
        if self.plan.group:
            self._waiting[identity] = columns[self.plan.group]
            if len(self._waiting) > _WAITING:
                self._waiting.popitem(last=False)

    def _answers(self, copy: Copy, values: Array) -> None:
        numeric = self._numeric
        _kept(self._predictions, copy.version, lambda: Ring(self.plan.window, numeric=numeric)).add(values)
        groups = self._waiting.pop(copy.id, None)
        if groups is not None and len(groups) == len(values):
            _kept(self._grouped, copy.version, lambda: Pairs(self.plan.window)).add(groups, values.astype(object))

    def _told(self, copy: Copy) -> None:
        """What feedback says was true, against what was answered; one that has a reward alone says nothing of that."""
        column = self.plan.predictions
        told = seldon.decode_feedback(copy.body)
        if column is None or told.truth.kind not in ARRAYS or told.response.kind not in ARRAYS:
            return
        answered, true = (
            typed(likeliest(one.data, [str(name) for name in one.names]), column) for one in (told.response, told.truth)
        )
        if len(answered) != len(true):
            raise Refusal(f"a feedback tells {len(true)} truths about {len(answered)} answers")
        right = np.abs(answered - true) if self._numeric else (answered == true).astype(float)
        groups = np.full(len(right), "", dtype=object)
        if self.plan.group and told.request.kind in ARRAYS:
            names = [str(one) for one in told.request.names]
            groups = columns_of({"": told.request.data}, names, self.plan.columns)[self.plan.group]
        _kept(self._right, copy.version, lambda: Pairs(self.plan.window, numeric=True)).add(right, groups)

    @property
    def _numeric(self) -> bool:
        return self.plan.predictions is not None and self.plan.predictions.kind == NUMERIC


def _kept(rings: dict[str, R], version: str, make: Callable[[], R]) -> R:
    """A version's ring; of endless versions only the last few are kept."""
    if version not in rings:
        rings[version] = make()
        while len(rings) > _VERSIONS:
            del rings[next(iter(rings))]
    return rings[version]


def rows_of(copy: Copy, columns: Sequence[Column]) -> dict[str, Array]:
    """The values of each feature in a request.

    Raises:
        Refusal: it cannot be read, or has other columns than the reference.
    """
    inputs, names = _inputs(copy)
    return columns_of(inputs, names, columns)


def columns_of(inputs: Mapping[str, Array], names: Sequence[str], columns: Sequence[Column]) -> dict[str, Array]:
    """The columns of one table, or of a tensor for each column.

    Raises:
        Refusal: they are not those of the reference.
    """
    if len(inputs) > 1:  # a tensor for each column
        found = {name: np.ravel(array) for name, array in inputs.items()}
    else:
        table = next(iter(inputs.values()))
        if table.ndim == 1:
            table = table.reshape(1, -1) if len(table) == len(columns) else table.reshape(-1, 1)
        if table.ndim != 2:  # noqa: PLR2004  a table
            raise Refusal(f"a request of the shape {list(table.shape)} is no table")
        known = [one.name for one in columns]
        named = names if set(known) <= set(names) else known
        if table.shape[1] != len(named):
            raise Refusal(f"a request has {table.shape[1]} columns, and the reference has {len(known)}")
        found = {name: table[:, at] for at, name in enumerate(named)}
    if missing := [one.name for one in columns if one.name not in found]:
        raise Refusal(f"a request has no column {missing[0]!r}")
    return {one.name: typed(found[one.name], one) for one in columns}


def _inputs(copy: Copy) -> tuple[dict[str, Array], list[str]]:
    if copy.protocol == "tensorflow":
        return tfserving.decode(copy.body).inputs, []
    if copy.protocol in ("v2", "kfserving"):
        return openinference.decode(copy.body).inputs, []
    message = seldon.decode(copy.body)
    if message.kind not in ARRAYS:
        raise Refusal(f"a request holds {message.kind or 'nothing'}, which has no columns")
    return {"": message.data}, [str(one) for one in message.names]


def answers_of(copy: Copy, column: Column) -> Array:
    """The predictions in an answer, one a row: of probabilities the likeliest class.

    Raises:
        Refusal: it cannot be read.
    """
    names: list[str] = []
    if copy.protocol == "tensorflow":
        value = seldon.parse(copy.body)
        array = np.asarray(value.get("predictions", value.get("outputs")) if isinstance(value, Mapping) else None)
    elif copy.protocol in ("v2", "kfserving"):
        renamed = {"inputs": seldon.parse(copy.body).get("outputs")}
        array = next(iter(openinference.decode(seldon.dump(renamed)).inputs.values()))
    else:
        message = seldon.decode(copy.body)
        if message.kind not in ARRAYS:
            raise Refusal(f"an answer holds {message.kind or 'nothing'}, which is no array")
        array, names = message.data, [str(one) for one in message.names]
    return typed(likeliest(array, names), column)


def likeliest(array: Array, names: Sequence[str] = ()) -> Array:
    """One value a row."""
    if array.ndim == 2 and array.shape[1] > 1:  # noqa: PLR2004  a table
        best = np.argmax(array.astype(float), axis=1)
        return np.asarray([names[at] for at in best], dtype=object) if len(names) == array.shape[1] else best
    return array.ravel()


def typed(values: Array, column: Column) -> Array:
    """Values as their column has them.

    Raises:
        Refusal: a number is none.
    """
    if column.kind != NUMERIC:
        return np.asarray([text(one) for one in values.tolist()], dtype=object)
    try:
        return values.astype(float)
    except (ValueError, TypeError):
        raise Refusal(f"{column.name} is a number in the reference, and not in a request") from None


def text(value: Any) -> str:
    """A category: 1, 1.0 and "1" are one, since JSON does not always tell."""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
