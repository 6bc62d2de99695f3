"""Parts of graphs that nobody should have to write: combiners, and an outlier detector before a model.

Classes with Seldon's conventions, made by their graph's parameters; they need what their image has for its models and
nothing else. A combiner's input is what its branches answered; a detector hands on what it is given, and says what it
thinks of it in the answer's tags, where the client and every log of payloads see it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .flavours import Sklearn, blaming_the_numbers
from .messages import Array, Json, Refusal
from .seldoncore import SeldonResponse


def _of_one_shape(name: str, answers: Sequence[Any]) -> list[Array]:
    arrays = [np.asarray(one) for one in answers]
    shapes = [one.shape for one in arrays]
    if any(shape != shapes[0] for shape in shapes):
        said = ", ".join(str(list(shape)) for shape in shapes)
        raise Refusal(f"{name}: the branches answered in different shapes: {said}", code=500)
    return arrays


class Mean:
    """The mean of the branches' numbers; ``weights`` such as ``"2,1"`` say how much each one counts."""

    def __init__(self, weights: str = "") -> None:
        try:
            self.weights = [float(one) for one in weights.split(",")] if weights else None
        except ValueError:
            raise Refusal(f"weights are numbers with commas between them, not {weights!r}") from None

    def aggregate(self, features_list: Sequence[Any], names_list: Sequence[Any]) -> Array:
        """Number by number."""
        del names_list
        arrays = _of_one_shape("Mean", features_list)
        if any(one.dtype.kind not in "biuf" for one in arrays):
            raise Refusal("Mean: a branch answered something that is no number", code=500)
        if self.weights is not None and len(self.weights) != len(arrays):
            raise Refusal(f"Mean: there are {len(self.weights)} weights and {len(arrays)} branches", code=500)
        mean: Array = np.average(np.stack(arrays), axis=0, weights=self.weights)
        return mean


class Majority:
    """What most branches answered, value by value; of answers that are given equally often, the first branch's."""

    def aggregate(self, features_list: Sequence[Any], names_list: Sequence[Any]) -> Array:
        """Each value by itself."""
        del names_list
        stacked = np.stack([one.astype(object) for one in _of_one_shape("Majority", features_list)])
        columns = stacked.reshape(len(stacked), -1).T.tolist()
        # max answers the first of equals, which is the first branch's.
        chosen = [max(column, key=column.count) for column in columns]
        found: Array = np.asarray(chosen).reshape(stacked.shape[1:])
        return found


class OutlierDetector(Sklearn):
    """A fitted outlier detector of scikit-learn before a model: rows pass unchanged, and tags say which are unusual.

    The tags are ``outlier``, true or false for each row, and ``outlier_score``, which is below 0 for outliers.
    """

    def __init__(self, path: str) -> None:
        super().__init__(Path(path), "predict")

    def transform_input(self, features: Any, names: Sequence[str] = ()) -> SeldonResponse:
        """The rows as they are, and what the detector says of them."""
        del names
        rows = np.atleast_2d(np.asarray(features))
        with blaming_the_numbers():
            tags: Json = {"outlier": (np.asarray(self.model.predict(rows)) < 0).tolist()}
            if hasattr(self.model, "decision_function"):
                tags["outlier_score"] = [float(one) for one in np.ravel(self.model.decision_function(rows))]
        return SeldonResponse(features, tags)


COMBINERS: dict[str, type] = {"Mean": Mean, "Majority": Majority}
"""The combiners by name."""
