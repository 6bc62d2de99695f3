"""Routers that learn which branch is best, as classes with Seldon's conventions: bandits.

What they have learnt is sums, so that it can be added to: each feedback adds its own to one file, under a lock, and
takes in what others have added. A router that is killed has lost nothing it was told, and the workers and replicas of
one router on a shared volume learn together. The file is in ``state_folder`` or in the folder that the environment
variable ``KF_STATE_DIR`` names; without one, what was learnt lives as long as the process.

A reward is the mean of the rows that were asked, as with Seldon's routers; a feedback that names no branch is refused,
as nothing can be learnt from it. No library of bandits is used: these four are a line or two each, start in no time,
need nothing that an image may lack, and their state can be read by people.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import random
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .messages import Array, Json, Refusal

_HISTORY = 10_000
_MATRIX = 2


class State:
    """Sums by branch, in memory and in a file that several processes may add to."""

    def __init__(self, file: Path | None, branches: int) -> None:
        self._file = file
        self._branches = branches
        self._seen: tuple[int, int] | None = None
        self._pulls = [0] * branches
        self.sums: dict[str, list[Any]] = {
            "pulls": [0] * branches,
            "tries": [0.0] * branches,
            "rewards": [0.0] * branches,
        }
        #: Grows whenever the sums do, so that what is computed from them can be kept.
        self.version = 0
        self.refresh()

    def refresh(self) -> None:
        """Take in what others have added."""
        if self._file is None or self._stamp() == self._seen:
            return
        self._read(self._file)

    def pulled(self, branch: int) -> None:
        """Count a choice; it is written with the next feedback."""
        self._pulls[branch] += 1
        self.sums["pulls"][branch] += 1

    def add(self, branch: int, **sums: Any) -> None:
        """Learn: add to the sums of a branch."""
        if self._file is None:
            self._add(branch, sums)
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self._file.with_suffix(".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if self._file.exists():
                self._read(self._file)
            self._add(branch, sums)
            self._write(self._file)

    def _add(self, branch: int, sums: Json) -> None:
        for name, value in sums.items():
            own = self.sums.setdefault(name, [0.0] * self._branches)
            own[branch] = (np.asarray(own[branch]) + np.asarray(value)).tolist()
        self.version += 1

    def _read(self, file: Path) -> None:
        self._seen = self._stamp()
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
            sums = {str(name): list(value) for name, value in found["sums"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refusal(
                f"the router's state {file} cannot be read: {error}; remove it to start anew", code=500
            ) from error
        if any(len(value) != self._branches for value in sums.values()):
            raise Refusal(
                f"the router's state {file} is of another number of branches; remove it to start anew", code=500
            )
        sums["pulls"] = [kept + own for kept, own in zip(sums["pulls"], self._pulls, strict=True)]
        self.sums = sums
        self.version += 1

    def _write(self, file: Path) -> None:
        text = json.dumps({"sums": self.sums})
        new = file.with_suffix(".new")
        new.write_text(text, encoding="utf-8")
        new.replace(file)
        self._pulls = [0] * self._branches
        self._seen = self._stamp()

    def _stamp(self) -> tuple[int, int] | None:
        assert self._file is not None
        try:
            found = self._file.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino


class Bandit:
    """What all routers have in common; a router says how it chooses."""

    def __init__(
        self,
        n_branches: int | None = None,
        *,
        seed: int | None = None,
        history: bool = False,
        branch_names: str | None = None,
        verbose: bool = False,
        state_folder: str | None = None,
        state_name: str | None = None,
    ) -> None:
        del verbose  # Seldon's; what a router does is in its metrics and its health
        if n_branches is None or int(n_branches) < 1:
            raise Refusal(f"{type(self).__name__} needs the parameter n_branches: the number of its children")
        self.n_branches = int(n_branches)
        self.branch_names = branch_names.split(":") if branch_names else [str(one) for one in range(self.n_branches)]
        if len(self.branch_names) != self.n_branches:
            raise Refusal(f"branch_names names {len(self.branch_names)} branches, and n_branches is {self.n_branches}")
        self.random = random.Random(seed)
        folder = state_folder or os.environ.get("KF_STATE_DIR", "")
        unit = state_name or os.environ.get("PREDICTIVE_UNIT_ID", "") or type(self).__name__
        self.state = State(Path(folder, f"{unit}.json") if folder else None, self.n_branches)
        self.branch_history: deque[int] = deque(maxlen=_HISTORY if history else 0)
        self.value_history: deque[list[float]] = deque(maxlen=_HISTORY if history else 0)
        self._metrics: list[Json] = []
        self._tags: Json = {}

    # What a router says

    def choose(self, features: Any) -> int:
        """The branch for these rows."""
        raise NotImplementedError

    def learn(self, branch: int, features: Any, reward: float) -> Json:
        """What a feedback adds to the sums of its branch."""
        rows = _rows(features)
        del branch
        return {"tries": float(rows), "rewards": reward * rows}

    # Seldon's conventions

    def route(self, features: Any, feature_names: Sequence[str] = ()) -> int:
        """Choose a branch."""
        del feature_names
        self.state.refresh()
        branch = self.choose(features)
        self.state.pulled(branch)
        self.branch_history.append(branch)
        self.value_history.append(self.means())
        name = self.branch_names[branch]
        self._tags = {"branch": name}
        self._metrics = [_metric("COUNTER", "kf_router_pulls", 1, name)]
        return branch

    def send_feedback(
        self, features: Any, feature_names: Sequence[str], reward: float, truth: Any, routing: int | None = None
    ) -> None:
        """Learn how good a branch was."""
        del feature_names, truth
        if routing is None or not 0 <= routing < self.n_branches:
            raise Refusal(
                f"the feedback says that branch {routing} answered, and the router has {self.n_branches}: nothing was "
                "learnt. Send the whole answer in `response`, with its meta.routing"
            )
        if not math.isfinite(reward):
            raise Refusal(f"a reward is a finite number, not {reward}")
        self.state.add(routing, **self.learn(routing, features, float(reward)))
        name = self.branch_names[routing]
        self._tags = {"branch": name}
        self._metrics = [
            _metric("COUNTER", "kf_router_feedback", 1, name),
            _metric("GAUGE", "kf_router_reward_mean", self.means()[routing], name),
        ]

    def tags(self) -> Json:
        """The branch by name."""
        return self._tags

    def metrics(self) -> list[Json]:
        """Choices and mean rewards by branch."""
        return self._metrics

    def health_status(self) -> Json:
        """What has been learnt so far, for people."""
        self.state.refresh()
        sums, means = self.state.sums, self.means()
        branches = [
            {"name": name, "pulls": sums["pulls"][one], "tries": sums["tries"][one], "mean": means[one]}
            for one, name in enumerate(self.branch_names)
        ]
        return {"router": type(self).__name__, "branches": branches}

    # For routers

    def means(self) -> list[float]:
        """The mean reward of each branch; 0 where there is none yet."""
        pairs = zip(self.state.sums["rewards"], self.state.sums["tries"], strict=True)
        return [rewards / tries if tries else 0.0 for rewards, tries in pairs]

    def best(self, values: Sequence[float]) -> int:
        """The highest; ties by chance."""
        highest = max(values)
        return self.random.choice([branch for branch, value in enumerate(values) if value == highest])


class EpsilonGreedy(Bandit):
    """The best branch so far, and with the probability ``epsilon`` another one."""

    def __init__(
        self, n_branches: int | None = None, epsilon: float = 0.1, best_branch: int | None = None, **common: Any
    ) -> None:
        super().__init__(n_branches, **common)
        if not 0 <= epsilon <= 1:
            raise Refusal(f"epsilon is a probability between 0 and 1, not {epsilon}")
        if best_branch is not None and not 0 <= best_branch < self.n_branches:
            raise Refusal(f"best_branch is {best_branch}, and there are branches 0 to {self.n_branches - 1}")
        self.epsilon = epsilon
        self._first = self.random.randrange(self.n_branches) if best_branch is None else best_branch

    def choose(self, features: Any) -> int:
        """Before the first feedback the best branch is the one that is given, or one by chance."""
        del features
        best = self.best(self.means()) if any(self.state.sums["tries"]) else self._first
        others = [branch for branch in range(self.n_branches) if branch != best]
        return self.random.choice(others) if others and self.random.random() < self.epsilon else best


class ThompsonSampling(Bandit):
    """The branch that wins a draw from what is believed of each: Beta distributions, so rewards are from 0 to 1."""

    def choose(self, features: Any) -> int:
        """One draw for each branch."""
        del features
        pairs = zip(self.state.sums["rewards"], self.state.sums["tries"], strict=True)
        return self.best([self.random.betavariate(1 + good, 1 + max(tries - good, 0.0)) for good, tries in pairs])

    def learn(self, branch: int, features: Any, reward: float) -> Json:
        """Successes and tries."""
        if not 0 <= reward <= 1:
            raise Refusal(f"ThompsonSampling takes rewards from 0 to 1, not {reward:g}")
        return super().learn(branch, features, reward)


class UCB(Bandit):
    """The branch that might be the best: its mean and ``delta`` times the width of what is not known (UCB1)."""

    def __init__(self, n_branches: int | None = None, delta: float = 1.0, **common: Any) -> None:
        super().__init__(n_branches, **common)
        self.delta = delta

    def choose(self, features: Any) -> int:
        """A branch that nobody has tried might be anything."""
        del features
        tries, means = self.state.sums["tries"], self.means()
        total = max(sum(tries), 1.0)
        widths = [math.sqrt(2 * math.log(total) / one) if one else math.inf for one in tries]
        return self.best(
            [mean + (self.delta * width if width else 0.0) for mean, width in zip(means, widths, strict=True)]
        )


class LinUCB(Bandit):
    """The branch that might be the best for these features: a linear model for each, and ``alpha`` times its doubt.

    Disjoint LinUCB (Li, Chu, Langford, Schapire 2010) with ridge ``penalty``. Several rows are routed by their mean.
    """

    def __init__(self, n_branches: int | None = None, alpha: float = 1.0, penalty: float = 1.0, **common: Any) -> None:
        super().__init__(n_branches, **common)
        if penalty <= 0:
            raise Refusal(f"penalty must be more than 0, not {penalty:g}")
        self.alpha = alpha
        self.penalty = penalty
        self._models: tuple[int, int, list[tuple[Array, Array]]] = (-1, 0, [])

    def choose(self, features: Any) -> int:
        """The highest upper bound."""
        context = self._contexts(features).mean(axis=0)
        models = self._fitted(len(context))
        doubts = [self.alpha * math.sqrt(context @ inverse @ context) for inverse, _ in models]
        return self.best([float(weights @ context) + doubt for (_, weights), doubt in zip(models, doubts, strict=True)])

    def learn(self, branch: int, features: Any, reward: float) -> Json:
        """The sums of which a linear model is made."""
        contexts = self._contexts(features)
        squares, products = contexts.T @ contexts, reward * contexts.sum(axis=0)
        return {**super().learn(branch, features, reward), "squares": squares, "products": products}

    def _contexts(self, features: Any) -> Array:
        try:
            rows = np.atleast_2d(np.asarray(features, dtype=float))
        except (TypeError, ValueError) as error:
            raise Refusal(f"LinUCB routes by numbers, and these features are none: {error}") from error
        if rows.ndim != _MATRIX or not rows.size or not np.isfinite(rows).all():
            raise Refusal(f"LinUCB routes by rows of finite numbers, and the features have the shape {rows.shape}")
        known = np.shape(next((one for one in self.state.sums.get("products", []) if np.ndim(one)), 0.0))
        if known and known[0] != rows.shape[1] + 1:
            raise Refusal(f"LinUCB has learnt from {known[0] - 1} features, and these rows have {rows.shape[1]}")
        return np.hstack([np.ones((len(rows), 1)), rows])

    def _fitted(self, size: int) -> list[tuple[Array, Array]]:
        version, known, models = self._models
        if (version, known) != (self.state.version, size):
            models = [self._model(branch, size) for branch in range(self.n_branches)]
            self._models = (self.state.version, size, models)
        return models

    def _model(self, branch: int, size: int) -> tuple[Array, Array]:
        none = [0.0] * self.n_branches
        squares = np.asarray(self.state.sums.get("squares", none)[branch])
        inverse = np.linalg.inv(self.penalty * np.eye(size) + squares)
        products = np.asarray(self.state.sums.get("products", none)[branch])
        return inverse, inverse @ (products + np.zeros(size))


ROUTERS: dict[str, type[Bandit]] = {one.__name__: one for one in (EpsilonGreedy, ThompsonSampling, UCB, LinUCB)}
"""The routers by name."""


def _rows(features: Any) -> int:
    """How many rows were asked; a reward is their mean."""
    shape = np.shape(features) if isinstance(features, np.ndarray | list) else ()
    return shape[0] if len(shape) >= _MATRIX and shape[0] else 1


def _metric(kind: str, key: str, value: float, branch: str) -> Json:
    return {"type": kind, "key": key, "value": value, "tags": {"branch": branch}}
