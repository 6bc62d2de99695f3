"""Points that are spread evenly, whatever came of those before: scipy's scrambled Sobol sequence."""

from __future__ import annotations

from scipy.stats import qmc

from jupyterlab_kf.suggestions.study import Point, Study


def propose(study: Study, index: int, attempt: int) -> Point:
    """The trial's point of the sequence."""
    engine = qmc.Sobol(len(study.parameters), scramble=True, seed=study.seed % 2**32)
    position = index if not attempt else index + 4096 * attempt
    if position:
        engine.fast_forward(position)
    (units,) = engine.random(1)
    return tuple(
        one.text(float(u) if one.ordered else min(int(u * len(one.texts)), len(one.texts) - 1))
        for one, u in zip(study.parameters, units, strict=True)
    )
