"""Population based training: a generation of trials trains on from the checkpoints of the one before.

By Jaderberg et al. (2017): when a generation has ended, the worst of it (``truncation_threshold``) are replaced by
copies of the best, checkpoint and values, whose values are then changed a little; all others go on as they are. A
trial's generation, and the trial whose checkpoint it begins with, travel in its labels, which are Katib's; so the whole
state is the history. A failed trial is replaced like a bad one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from jupyterlab_kf.suggestions import plain
from jupyterlab_kf.suggestions.space import Parameter
from jupyterlab_kf.suggestions.study import DONE, PENDING, Point, Seen, Study, Suggested

GENERATION: Final = "pbt.suggestion.katib.kubeflow.org/generation"
PARENT: Final = "pbt.suggestion.katib.kubeflow.org/parent"
_FACTORS: Final = (0.8, 1.2)


def suggest(study: Study, count: int) -> tuple[list[Suggested], str]:
    """New trials, as many as can be started now."""
    found: list[Suggested] = []
    while len(found) < count:
        one = _next(study.with_pending(found))
        if one is None:
            break
        found.append(one)
    return found, ""


def _next(study: Study) -> Suggested | None:
    """The next member of the generation that is going on; None while it is whole and has not ended."""
    generation = max((_generation(one) for one in study.history), default=0)
    here = [one for one in study.history if _generation(one) == generation]
    if len(here) < int(study.number("n_population", 0)):
        return _member(study, generation, len(here))
    if any(one.state == PENDING for one in here):
        return None
    return _member(study, generation + 1, 0)


def _generation(one: Seen) -> int:
    return int(one.labels.get(GENERATION, 0))


def _member(study: Study, generation: int, place: int) -> Suggested:
    labels = {GENERATION: str(generation)}
    before = [one for one in study.history if _generation(one) == generation - 1 and one.state == DONE]
    if not generation or not before:
        return Suggested(plain.random(study, study.total, 0), labels)
    before.sort(key=lambda one: one.loss or 0.0)
    replaced = int(len(before) * study.number("truncation_threshold", 0))
    if place < len(before) - replaced:
        return Suggested(before[place].point, {**labels, PARENT: before[place].name})
    draw = random.Random(f"{study.seed}/{generation}/{place}")  # noqa: S311  nothing secret
    best = draw.choice(before[: max(replaced, 1)])
    again = study.settings.get("resample_probability")
    point = _explored(study.parameters, best.point, draw, None if again is None else float(again))
    return Suggested(point, {**labels, PARENT: best.name})


def _explored(parameters: Sequence[Parameter], point: Point, draw: random.Random, resample: float | None) -> Point:
    """The point with every value changed a little, or, by a probability, drawn anew."""
    if resample is None:
        return tuple(_perturbed(one, text, draw) for one, text in zip(parameters, point, strict=True))
    return tuple(
        _drawn(one, draw) if draw.random() < resample else text for one, text in zip(parameters, point, strict=True)
    )


def _drawn(one: Parameter, draw: random.Random) -> str:
    return one.text(draw.random() if one.ordered else draw.randrange(len(one.texts)))


def _perturbed(one: Parameter, text: str, draw: random.Random) -> str:
    """A number times 0.8 or 1.2, at least a step away; a listed value's neighbour; another category."""
    if one.size == 1:
        return text
    if not one.ordered:
        return draw.choice([other for other in one.texts if other != text])
    factor = draw.choice(_FACTORS)
    if one.texts:
        return _stepped(one, text, factor > 1)
    near = one.text(one.unit(repr(min(max(float(text) * factor, one.low), one.high))))
    return _stepped(one, text, factor > 1) if near == text and one.size is not None else near


def _stepped(one: Parameter, text: str, up: bool) -> str:  # noqa: FBT001  a direction
    """The next value in a direction; at the end of the range the same."""
    values = one.values
    place = values.index(text) + (1 if up else -1)
    return values[min(max(place, 0), len(values) - 1)]


__all__ = ["GENERATION", "PARENT", "suggest"]
