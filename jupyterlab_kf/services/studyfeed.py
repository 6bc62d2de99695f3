"""A study as it changes, followed once for all who look at it: its head, and which trials changed since when.

One watch on the Experiment and one on its Trials, of which only what is shown is read. Each change has a number, so
that who looks is told what is new to them, however many trials there are. It writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster import keeping, shapes, watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import NotFoundError
from jupyterlab_kf.manifests import studies
from jupyterlab_kf.manifests.studyviews import (
    ParameterShare,
    StudyHead,
    StudyTrial,
    head_of,
    numbered,
    space_of,
    trial_of,
    weighed,
)
from jupyterlab_kf.model import Obj, meta
from jupyterlab_kf.services.followed import Feed, Feeds
from jupyterlab_kf.suggestions import importance
from jupyterlab_kf.suggestions.space import Parameter

_TOGETHER: Final = 0.05
_GROWN: Final = 1.03
"""How many more trials there must be before importances are computed again."""
LABEL_EXPERIMENT: Final = "katib.kubeflow.org/experiment"


@dataclass(frozen=True, slots=True)
class StudyKey:
    """Which study. With a uid only that very one, and not another that took its name."""

    namespace: str
    name: str
    uid: str = ""


@dataclass(slots=True)
class _Entry:
    trial: StudyTrial
    cells: importance.Cells | None
    version: int

    @property
    def usable(self) -> bool:
        """Whether it tells something of what matters."""
        return self.trial.counts and self.cells is not None and self.trial.value is not None


class StudyFeed(Feed[StudyKey]):
    """The newest picture of a study. ``gone`` once it was deleted; ``error`` says why it cannot be followed."""

    def __init__(self, key: StudyKey) -> None:
        super().__init__(key)
        self.version = 0
        self.known_study: dict[str, Obj] = {}
        self.known_trials: dict[str, Obj] = {}
        """What its watches told, for those that take their place."""
        self._experiment: Obj | None = None
        self._space: tuple[Parameter, ...] = ()
        self._metrics: tuple[str, ...] = ()
        self._entries: dict[str, _Entry] = {}
        """By name, what changed last at the end."""
        self._removed: list[tuple[int, str]] = []
        self._synced = False
        self._head: tuple[int, StudyHead] | None = None
        self._shares: tuple[int, str, tuple[ParameterShare, ...]] | None = None
        self._results = 0
        """How many trials importances are computed of: at each change of ten thousand they are not counted."""

    @property
    def total(self) -> int:
        """How many trials there are."""
        return len(self._entries)

    @property
    def working(self) -> bool:
        """Whether the study is known and not over."""
        return self._experiment is not None and not (self._experiment.get("status") or {}).get("completionTime")

    def head(self, now: float) -> StudyHead | None:
        """How it stands; None until everything was read."""
        if self._experiment is None or not self._synced:
            return None
        if self._head is None or self._head[0] != self.version:
            trials = [entry.trial for entry in self._entries.values()]
            bare = head_of(self._experiment, trials, now=now)
            self._head = (self.version, replace(bare, importance=self._importance(bare)))
        return self._head[1]

    def since(self, version: int) -> Iterator[tuple[int, StudyTrial]]:
        """The trials that changed after that version, the oldest change first, each with its version."""
        fresh = []
        for entry in reversed(self._entries.values()):
            if entry.version <= version:
                break
            fresh.append((entry.version, entry.trial))
        return reversed(fresh)

    def removed(self, version: int) -> list[str]:
        """The names of trials that were deleted after that version."""
        return [name for then, name in self._removed if then > version and name not in self._entries]

    # ------------------------------------------------------------------------------------------------- taking in

    def take_experiment(self, change: watch.Change) -> None:
        """A change of the study itself.

        Raises:
            NotFoundError: it is not there, or not there any more.
        """
        if change.type == "SYNCED":
            if self._experiment is None:
                raise NotFoundError(f"study {self.key.namespace}/{self.key.name} is not on the cluster any more")
            return
        if self.key.uid and meta(change.obj).get("uid") != self.key.uid:
            return
        if change.type == "DELETED":
            raise NotFoundError(f"study {self.key.namespace}/{self.key.name} was deleted")
        self._experiment = change.obj
        self._space = space_of(change.obj)
        objective = (change.obj.get("spec") or {}).get("objective") or {}
        self._metrics = tuple(str(name) for name in objective.get("additionalMetricNames") or ())
        self._changed()

    def take_trial(self, change: watch.Change) -> None:
        """A change of one of its trials."""
        if change.type == "SYNCED":
            if not self._synced:
                self._synced = True
                self._number()
            self._changed()
            return
        name = str(meta(change.obj).get("name"))
        if change.type == "DELETED":
            if (gone := self._entries.pop(name, None)) is not None:
                self._results -= gone.usable
                self._changed()
                self._removed.append((self.version, name))
            return
        trial = trial_of(change.obj, [one.name for one in self._space], self._metrics)
        before = self._entries.get(name)
        if before is not None:
            trial = replace(trial, number=trial.number or before.trial.number)
            if trial == before.trial:
                return
            del self._entries[name]
            self._results -= before.usable
        elif self._synced:
            trial = self._next(trial)
        cells = before.cells if before else importance.cells_of(self._space, studies.assigned(change.obj))
        self.version += 1
        self._entries[name] = entry = _Entry(trial, cells, self.version)
        self._results += entry.usable
        if self._synced:
            self.tell()

    def _number(self) -> None:
        """Katib itself numbers no trials; they are told apart by a number all the same."""
        for trial in numbered([entry.trial for entry in self._entries.values()]):
            self._entries[trial.name].trial = trial

    def _next(self, trial: StudyTrial) -> StudyTrial:
        """A trial that came while others are there: numbered, where the cluster numbers none."""
        others = [entry.trial.number for entry in self._entries.values()]
        return trial if trial.number or 0 not in others else replace(trial, number=max(others) + 1)

    def _importance(self, head: StudyHead) -> tuple[ParameterShare, ...]:
        """The parameters' importances, computed anew when there are noticeably more trials."""
        if self._shares is not None:
            count, state, shares = self._shares
            if state == head.state and count <= self._results < count * _GROWN + 1:
                return shares
        known = [(entry.cells, entry.trial.value) for entry in self._entries.values() if entry.trial.counts]
        usable = [(cells, value) for cells, value in known if cells is not None and value is not None]
        shares = weighed(self._space, usable, head).importance
        self._shares = (len(usable), head.state, shares)
        return shares

    def _changed(self) -> None:
        self.version += 1
        self.tell()


class StudyFeeds(Feeds[StudyKey, StudyFeed]):
    """The studies that somebody looks at, each followed once.

    Args:
        client: the cluster, when it can be reached.
        sleep: waits; tests hand in their own.
    """

    def __init__(
        self, client: Callable[[], Awaitable[Client]], sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    ) -> None:
        super().__init__(client, StudyFeed, _keep, sleep)


async def _keep(client: Client, feed: StudyFeed) -> None:
    """Follow a study and its trials, for ever.

    Raises:
        KubeflowError: it cannot be followed, or is not there any more.
    """
    key = feed.key
    known = asyncio.Event()

    def take_experiment(change: watch.Change) -> None:
        feed.take_experiment(change)
        known.set()

    async def trials() -> None:
        await known.wait()  # what a trial is shown as depends on what is searched
        await keeping.keep(
            client,
            kinds.TRIAL,
            key.namespace,
            feed.take_trial,
            known=feed.known_trials,
            selector=f"{LABEL_EXPERIMENT}={key.name}",
            shape=shapes.TRIAL,
            remember=keeping.name_only,
            pace=watch.Pace(together=_TOGETHER),
        )

    study = keeping.keep(
        client,
        kinds.EXPERIMENT,
        key.namespace,
        take_experiment,
        known=feed.known_study,
        fields=f"metadata.name={key.name}",
    )
    tasks = [asyncio.create_task(study), asyncio.create_task(trials())]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


__all__ = ["StudyFeed", "StudyFeeds", "StudyKey"]
