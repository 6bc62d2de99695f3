"""Bayesian optimisation by a Gaussian process: Matern-5/2 with a length scale a parameter, expected improvement.

Written for what studies are: some dozens to some hundreds of trials, noisy, mixed parameters, several at a time.
Categories are one-hot; pending trials are believed to come out as predicted ("kriging believer"); failed ones count as
the worst seen, so that their neighbourhood is avoided. Cost is bounded: beyond 250 trials the best 100 and the latest
150 are looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize, special

from jupyterlab_kf.suggestions.space import Parameter
from jupyterlab_kf.suggestions.study import PENDING, Point, Seen, Study

Array = NDArray[np.float64]

_BEST, _LATEST = 100, 150
_CANDIDATES, _AROUND = 1000, 150
_ROUNDS: Final = (0.2, 0.07, 0.025, 0.008, 0.0025, 0.0008)
"""Widths of the local search, as parts of a parameter's range."""
_MOST_BINS: Final = 2000
"""A parameter with more values counts as continuous while points are searched."""
_SQRT5: Final = math.sqrt(5.0)
_JITTER: Final = 1e-9
_EDGE: Final = 1e-12


def propose(study: Study, index: int, attempt: int) -> Point:
    """The point where most improvement is expected. Needs two losses, as a variance does."""
    space = _Space(study.parameters)
    shown, losses = _observed(study.history)
    process = fit(space.features([one.point for one in shown]), _scaled(losses), space.groups)
    pending = [one.point for one in study.history if one.state == PENDING]
    process = process.believing(space.features(pending)) if pending else process
    rng = np.random.default_rng([study.seed, index, attempt])
    return space.search(process, _acquisition(study, process), [one.point for one in shown], rng)


def _observed(history: tuple[Seen, ...]) -> tuple[list[Seen], Array]:
    """The trials that are looked at, and their losses; a failed one is as bad as the worst."""
    ended = [one for one in history if one.state != PENDING]
    worst = max(one.loss for one in ended if one.loss is not None)
    losses = np.array([worst if one.loss is None else one.loss for one in ended])
    if len(ended) > _BEST + _LATEST:
        kept = sorted({*np.argsort(losses, kind="stable")[:_BEST].tolist(), *range(len(ended) - _LATEST, len(ended))})
        ended, losses = [ended[i] for i in kept], losses[kept]
    return ended, losses


def _scaled(losses: Array) -> Array:
    """Losses with mean 0 and deviation 1; outliers on the bad side are cut, as they would flatten everything else."""
    low, middle = np.quantile(losses, [0.0, 0.5])
    cut = np.minimum(losses, middle + 5 * max(middle - low, _EDGE))
    spread = float(cut.std())
    scaled: Array = (cut - cut.mean()) / (spread or 1.0)
    return scaled


# The process


@dataclass(frozen=True)
class Process:
    """A fitted process: predicts the scaled loss."""

    x: Array
    y: Array
    scales: Array
    """Length scale of each feature."""
    signal: float
    noise: float
    factor: Array
    weights: Array

    @classmethod
    def of(cls, x: Array, y: Array, scales: Array, signal: float, noise: float) -> Process:
        """The process with given parameters."""
        covariance = signal * _matern(_distance(x, x, scales)) + (noise + _JITTER) * np.eye(len(x))
        factor = linalg.cholesky(covariance, lower=True, check_finite=False)
        return cls(x, y, scales, signal, noise, factor, linalg.cho_solve((factor, True), y, check_finite=False))

    def predict(self, x: Array) -> tuple[Array, Array]:
        """Mean and standard deviation of the noise-free loss."""
        cross = self.signal * _matern(_distance(x, self.x, self.scales))
        mean = cross @ self.weights
        solved = linalg.solve_triangular(self.factor, cross.T, lower=True, check_finite=False)
        variance = np.maximum(self.signal - np.einsum("ij,ij->j", solved, solved), _EDGE)
        return mean, np.sqrt(variance)

    def believing(self, x: Array) -> Process:
        """The process after these points have come out as it predicts."""
        mean, _ = self.predict(x)
        return Process.of(np.vstack([self.x, x]), np.concatenate([self.y, mean]), self.scales, self.signal, self.noise)

    @property
    def best(self) -> float:
        """The least predicted loss at the points that are known."""
        return float(self.predict(self.x)[0].min())


def fit(x: Array, y: Array, groups: NDArray[np.intp]) -> Process:
    """The most probable process for observations; ``groups`` names the parameter of each feature."""
    size = int(groups.max()) + 1
    start = np.concatenate([np.full(size, math.log(0.5)), [0.0, math.log(0.01)]])
    bounds = [(math.log(0.02), math.log(10.0))] * size + [(-3.0, 3.0), (math.log(1e-7), math.log(2.0))]
    found = optimize.minimize(
        _negative_posterior,
        start,
        args=(_squares(x, groups), y),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": 40 if len(x) <= _BEST else 20},
    )
    scales, signal, noise = np.exp(found.x[:size]), math.exp(found.x[-2]), math.exp(found.x[-1])
    return Process.of(x, y, scales[groups], signal, noise)


def _squares(x: Array, groups: NDArray[np.intp]) -> Array:
    """A row a parameter: the squared distances along it of all pairs of observations, whatever the scales."""
    rows = []
    for group in range(int(groups.max()) + 1):
        columns = x[:, groups == group]
        rows.append(((columns[:, None, :] - columns[None, :, :]) ** 2).sum(axis=2).ravel())
    return np.stack(rows)


def _negative_posterior(theta: Array, squares: Array, y: Array) -> tuple[float, Array]:
    """Minus the log posterior of log scales, log signal and log noise, with its gradient."""
    size, count = len(theta) - 2, len(y)
    closeness = np.exp(-2 * theta[:size])
    signal, noise = math.exp(theta[-2]), math.exp(theta[-1])
    scaled = _SQRT5 * np.sqrt(closeness @ squares).reshape(count, count)
    decay = np.exp(-scaled)
    shape = (1 + scaled + scaled**2 / 3) * decay
    covariance = signal * shape
    covariance[np.diag_indices(count)] += noise + _JITTER
    try:
        factor = linalg.cholesky(covariance, lower=True, check_finite=False)
    except linalg.LinAlgError:
        return 1e10, np.zeros_like(theta)
    weights = linalg.cho_solve((factor, True), y, check_finite=False)
    triangle, _ = linalg.lapack.dpotri(factor, lower=1)
    inverse = triangle + np.tril(triangle, -1).T
    value = 0.5 * float(y @ weights) + float(np.log(np.diag(factor)).sum())
    outer = inverse - np.outer(weights, weights)
    gradient = np.empty_like(theta)
    # Of the Matern-5/2 kernel by the logarithm of a scale: signal * 5/3 (1 + sqrt5 r) exp(-sqrt5 r) * d_i^2 / l_i^2
    common = outer * ((1 + scaled) * decay)
    gradient[:size] = 0.5 * signal * 5.0 / 3.0 * closeness * (squares @ common.ravel())
    gradient[-2] = 0.5 * float(np.vdot(outer, shape)) * signal
    gradient[-1] = 0.5 * float(np.trace(outer)) * noise
    # Priors: scales about half the range, signal about 1, noise small but free to grow.
    centres = np.concatenate([np.full(size, math.log(0.5)), [0.0, math.log(1e-3)]])
    widths = np.concatenate([np.full(size, 0.9), [1.0, 2.5]])
    away = (theta - centres) / widths
    return value + 0.5 * float(away @ away), gradient + away / widths


def _distance(a: Array, b: Array, scales: Array) -> Array:
    left, right = a / scales, b / scales
    squares = (left**2).sum(axis=1)[:, None] + (right**2).sum(axis=1)[None, :] - 2 * left @ right.T
    found: Array = np.sqrt(np.maximum(squares, 0.0))
    return found


def _matern(distance: Array) -> Array:
    scaled = _SQRT5 * distance
    shape: Array = (1 + scaled + scaled**2 / 3) * np.exp(-scaled)
    return shape


# What to try


def _acquisition(study: Study, process: Process) -> Callable[[Array], Array]:
    """How much a point promises, in numbers that are greater for better."""
    kind, best = study.settings.get("acq_func", "EI"), process.best

    def improvement(x: Array) -> Array:
        mean, deviation = process.predict(x)
        z = (best - mean) / deviation
        if kind == "LCB":
            return 1.96 * deviation - mean
        if kind == "PI":
            return special.ndtr(z)  # type: ignore[no-any-return]
        return deviation * (z * special.ndtr(z) + np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi))  # type: ignore[no-any-return]

    return improvement


def _few(one: Parameter) -> bool:
    return one.size is not None and one.size <= _MOST_BINS


def _bins(one: Parameter) -> tuple[Array, Array]:
    """Of a stepped coordinate: where one value ends and the next begins, and the middle of each."""
    middles = np.array([one.unit(text) for text in one.values])
    edges = np.empty(len(middles))
    edge = 0.0
    for place, middle in enumerate(middles):
        edge = edges[place] = 2 * middle - edge
    return edges[:-1], middles


class _Space:
    """Points as features: a coordinate for an ordered parameter, one-hot for a category."""

    def __init__(self, parameters: tuple[Parameter, ...]) -> None:
        self.parameters = parameters
        widths = [1 if one.ordered else len(one.texts) for one in parameters]
        self.starts = np.concatenate([[0], np.cumsum(widths)[:-1]]).astype(int)
        self.width = int(sum(widths))
        self.groups = np.repeat(np.arange(len(parameters)), widths)
        self.middles = {place: _bins(one) for place, one in enumerate(parameters) if one.ordered and _few(one)}

    def features(self, points: list[Point]) -> Array:
        """A row a point."""
        units = [[one.unit(text) for one, text in zip(self.parameters, point, strict=True)] for point in points]
        return self._encoded(np.array(units, dtype=float).reshape(len(points), len(self.parameters)))

    def _encoded(self, units: Array) -> Array:
        rows = np.zeros((len(units), self.width))
        for place, (one, start) in enumerate(zip(self.parameters, self.starts, strict=True)):
            if one.ordered:
                rows[:, start] = units[:, place]
            else:
                # Scaled so that two different categories are as far apart as two ends of a range.
                rows[np.arange(len(units)), start + units[:, place].astype(int)] = math.sqrt(0.5)
        return rows

    def search(
        self, process: Process, promise: Callable[[Array], Array], known: list[Point], rng: np.random.Generator
    ) -> Point:
        """The most promising point: many at random, then ever closer around the best of them."""
        candidates = self._random(_CANDIDATES, rng)
        order = np.argsort(process.predict(self.features(known))[0])[:5]
        best_known = self.features([known[i] for i in order])
        scores = promise(self._encoded(candidates))
        elite = np.vstack([candidates[np.argsort(-scores)[:5]], self._units([known[i] for i in order])])
        values = np.concatenate([np.sort(scores)[::-1][:5], promise(best_known)])
        for width in _ROUNDS:
            moved = self._moved(elite, width, rng)
            elite = np.vstack([elite, moved])
            values = np.concatenate([values, promise(self._encoded(moved))])
            keep = np.argsort(-values)[:5]
            elite, values = elite[keep], values[keep]
        chosen = elite[int(np.argmax(values))]
        return tuple(one.text(float(u)) for one, u in zip(self.parameters, chosen, strict=True))

    def _units(self, points: list[Point]) -> Array:
        return np.array([[one.unit(t) for one, t in zip(self.parameters, p, strict=True)] for p in points])

    def _random(self, count: int, rng: np.random.Generator) -> Array:
        units = rng.random((count, len(self.parameters)))
        return self._snapped(units, fresh=True)

    def _moved(self, around: Array, width: float, rng: np.random.Generator) -> Array:
        units = np.repeat(around, _AROUND // len(around) + 1, axis=0)
        # Some parameters at a time: in many dimensions a step in all of them is seldom a good one.
        chosen = rng.random(units.shape) < max(0.3, 1.0 / units.shape[1])
        steps = rng.normal(0.0, width, units.shape) * chosen
        for place, one in enumerate(self.parameters):
            if one.ordered:
                if one.size is not None:  # at least to the neighbour
                    steps[:, place] = np.sign(steps[:, place]) * np.maximum(
                        np.abs(steps[:, place]), chosen[:, place] / one.size
                    )
                units[:, place] = np.clip(units[:, place] + steps[:, place], 0.0, 1.0)
            else:
                jump = rng.random(len(units)) < width
                units[jump, place] = rng.integers(0, len(one.texts), int(jump.sum()))
        return self._snapped(units, fresh=False)

    def _snapped(self, units: Array, *, fresh: bool) -> Array:
        """Coordinates of values that there are."""
        out = units.copy()
        for place, one in enumerate(self.parameters):
            if not one.ordered:
                if fresh:
                    out[:, place] = np.minimum((units[:, place] * len(one.texts)).astype(int), len(one.texts) - 1)
            elif place in self.middles:
                edges, middles = self.middles[place]
                out[:, place] = middles[np.searchsorted(edges, units[:, place], side="right")]
        return out


__all__: list[Any] = ["Process", "fit", "propose"]
