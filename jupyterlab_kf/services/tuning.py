"""Tuning: a program and a search space to a Katib Experiment, and the running study as an object to hold.

The code travels as that of a training job; a trial gets its values in the environment. All state is the cluster's:
``study("name")`` is the same thing again, however it was made.
"""

from __future__ import annotations

import asyncio
import time
import uuid
import warnings
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster import watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import (
    AlreadyExistsError,
    ApiError,
    ClusterError,
    JobFailedError,
    NotFoundError,
    UnreachableError,
    UsageError,
)
from jupyterlab_kf.manifests import studies, studyviews, training
from jupyterlab_kf.manifests.studies import TrialRow
from jupyterlab_kf.manifests.studyviews import StudyRecord
from jupyterlab_kf.model import Obj, Ref, meta
from jupyterlab_kf.services import designs, session, shelf, studydeeds
from jupyterlab_kf.services import trials as services_trials
from jupyterlab_kf.services.designs import StudyPlan, StudyRequest
from jupyterlab_kf.services.jobs import Job
from jupyterlab_kf.services.plans import taking
from jupyterlab_kf.services.training import contents_for

_REMEMBERED: Final = 200
_BETWEEN: Final = 0.2
"""Seconds between two pictures of one study."""


@taking(StudyRequest)
def tune(request: StudyRequest) -> Study:  # noqa: D417  its arguments are the request's fields
    """Search for the parameters with which a program does best. Submits and returns at once.

    Args:
        code: source text, a script's path, or a function; it prints its metrics as ``loss=0.31``.
        space: parameter to what it may be (``loguniform(1e-4, 1e-1)``, a list of values); for source text it may be
            left out: assignments such as ``lr = loguniform(1e-4, 1e-1)`` at the top level are the space.
        objective: the metric that counts.
        direction: minimize or maximize.
        algorithm: how the next parameters are chosen: random, grid, sobol, tpe, bayesianoptimization and others.
        settings: the algorithm's own, such as ``{"random_state": 1}``.
        trials: how many trials at most.
        parallel: how many at the same time.
        max_failed: failed trials that end the study; a quarter of the trials, and at least 3, when left out.
        goal: a value of the objective that ends the study.
        metrics: further metrics to keep.
        stop_early: end trials that are behind the median of others.
        framework: empty for one process a trial, or pytorch, tensorflow or mpi for a distributed job.
        workers: how many replicas train, with a framework.
        name: the study's name; made from the code's when left out.
        namespace: where it goes; the connection's own when left out.
        profile: name of a hardware profile for each replica; what is said beside it wins.
        cpu: CPUs of each replica.
        memory: memory of each replica.
        gpu: GPUs of each replica.
        env: environment variables.
        params: further plain data; globals of the code before it runs, or the function's arguments.
        files: further files and folders to ship.
        image: the container image.
        install: packages that each trial installs at start unless the image has them: True for those that the code
            imports, in the versions that are installed here, or a list of requirements.
        deadline: seconds after which a trial fails.
        filename: the name of source text in tracebacks.
        first_line: the number of its first line in tracebacks.
        root: the folder in which local modules and files are looked up.

    Raises:
        UsageError: something about the request is wrong; nothing was created.
        AlreadyExistsError: a study of that name exists.
    """
    return start(design(request))


def design(request: StudyRequest) -> StudyPlan:
    """What :func:`tune` would create. Creates nothing and speaks to no server.

    Raises:
        UsageError: something about the request is wrong.
    """
    return designs.make(request, namespace=session.current().namespace, submission=uuid.uuid4().hex[:12])


@taking(StudyRequest)
def plan_study(request: StudyRequest) -> StudyPlan:
    """What :func:`tune` would create for the same arguments. Creates nothing and speaks to no server.

    Raises:
        UsageError: something about the request is wrong.
    """
    return design(request)


def start(planned: StudyPlan) -> Study:
    """Submit what was planned.

    Raises:
        AlreadyExistsError: a study of that name exists.
    """
    here = session.current()
    if planned.notice:
        warnings.warn(planned.notice, FutureWarning, stacklevel=4)  # of who called tune, through its wrapper
    if (trial := planned.trial).needed:
        trial = replace(trial, contents=here.run(lambda client: contents_for(client, trial)))
    for gap in trial.gaps:
        warnings.warn(str(gap), UserWarning, stacklevel=4)
    if (parcel := planned.parcel) is not None:
        here.run(lambda client: shelf.deliver(client, parcel))
    code_maps, experiment = planned.code_maps, planned.experiment
    return Study(here, here.run(lambda client: _submit(client, code_maps, experiment)))


def study(name: str, namespace: str | None = None) -> Study:
    """The study of that name.

    Raises:
        NotFoundError: there is none.
    """
    here = session.current()
    space = namespace or here.namespace
    return Study(here, here.run(lambda client: client.get(kinds.EXPERIMENT, space, name)))


def studies_of(namespace: str | None = None) -> list[Study]:
    """The studies of a namespace, newest first."""
    here = session.current()
    space = namespace or here.namespace
    found = here.run(lambda client: client.list(kinds.EXPERIMENT, space))
    found.sort(key=lambda obj: str(meta(obj).get("creationTimestamp")), reverse=True)
    return [Study(here, obj) for obj in found]


@dataclass(frozen=True, slots=True)
class Past:
    """What earlier trials tell of the next: the metrics that were seen, and the median of the seconds they took."""

    metrics: tuple[str, ...] = ()
    seconds: float | None = None


def past() -> Past:
    """What the cluster remembers; empty where there is none or it does not run: looking starts no cluster."""
    here = session.current()
    found = here.glance(lambda client: client.list(kinds.TRIAL, here.namespace))
    rows = studies.rows(found or ())[-_REMEMBERED:]
    took = [row.finished - row.started for row in rows if row.finished and row.started and row.state == "Succeeded"]
    return Past(tuple(dict.fromkeys(name for row in rows for name in row.metrics)), median(took) if took else None)


class Study:
    """A study on the cluster."""

    def __init__(self, here: session.Session, experiment: Obj) -> None:
        self._here = here
        self._obj = experiment

    @property
    def name(self) -> str:
        """Its name."""
        return str(meta(self._obj)["name"])

    @property
    def namespace(self) -> str:
        """Where it is."""
        return str(meta(self._obj)["namespace"])

    @property
    def ref(self) -> Ref:
        """Enough to find it again."""
        return Ref.of(self._obj)

    @property
    def experiment(self) -> Obj:
        """The Experiment as the cluster has it now.

        Raises:
            NotFoundError: it was deleted.
        """
        self._obj = self._here.run(lambda client: client.get(kinds.EXPERIMENT, self.namespace, self.name))
        return self._obj

    @property
    def status(self) -> str:
        """Created, Running, Restarting, Succeeded or Failed."""
        return studies.state_of(self.experiment)[0]

    @property
    def why(self) -> str:
        """What the cluster says about its state, in a sentence."""
        return studies.state_of(self.experiment)[1]

    @property
    def best(self) -> dict[str, Any] | None:
        """The parameters of the best trial so far, as the code got them; None while there is none."""
        row = self.best_trial
        return None if row is None else self._values(row)

    @property
    def best_trial(self) -> TrialRow | None:
        """The best trial so far."""
        name = ((self.experiment.get("status") or {}).get("currentOptimalTrial") or {}).get("bestTrialName")
        return next((row for row in self.trials if row.name == name), None)

    @property
    def trials(self) -> list[TrialRow]:
        """Its trials, in the order in which they were suggested."""
        return studies.rows(self._trials())

    def record(self) -> StudyRecord:
        """All that a display shows, at one moment."""
        return studyviews.record(self.experiment, self._trials(), now=time.time())

    def importance(self) -> dict[str, float]:
        """How much each parameter has to do with the best trials, as shares of 1, the greatest first.

        By PED-ANOVA, less what chance is expected to show; empty with fewer than ten finished trials, or where nothing
        stands out.
        """
        return {one.name: one.share for one in self.record().head.importance}

    def changes(self) -> Iterator[str]:
        """Its state, now and whenever something about it or its trials has changed, until it has ended."""
        return self._here.iterate(lambda client: _changes(client, self._obj))

    def rows(self) -> list[dict[str, Any]]:
        """A dictionary a trial: number, name, state, the parameters, the metrics, seconds."""
        return studydeeds.rows_of(self._obj, self.trials)

    def dataframe(self) -> Any:
        """The trials as a pandas DataFrame.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise UsageError(
                "pandas is not installed here", hint="pip install pandas, or use rows() or csv()"
            ) from None
        return pd.DataFrame(self.rows())

    def csv(self) -> str:
        """The trials as comma-separated text."""
        return studydeeds.csv_of(self.rows())

    def wait(self, timeout: float | None = None) -> Study:
        """Wait until it has ended; answers the study itself.

        Raises:
            JobFailedError: it failed; says why.
            WaitTimeoutError: it has not ended within ``timeout`` seconds; it goes on.
        """
        self._obj = self._here.run(lambda client: studydeeds.ended(client, self.ref, timeout))
        state, message = studies.state_of(self._obj)
        if state == "Failed":
            raise JobFailedError(f"{self.ref} failed: {message}", ref=self.ref)
        return self

    def logs(self, trial: str | int) -> Iterator[str]:
        """What a trial printed, by its number or name.

        Raises:
            NotFoundError: there is no such trial, or no pod of it any more.
        """
        row = next((row for row in self.trials if trial in (row.name, row.number)), None)
        if row is None:
            raise NotFoundError(f"{self.ref} has no trial {trial!r}", hint="look at .trials", ref=self.ref)
        selector = f"katib.kubeflow.org/trial={row.name}"
        pods = self._here.run(lambda client: client.list(kinds.POD, self.namespace, selector=selector))
        if not pods:
            raise NotFoundError(f"trial {row.name} has no pods: {row.message}", ref=self.ref)
        for pod in pods:
            yield from self._here.iterate(
                lambda client, pod=pod: _log(client, self.namespace, str(meta(pod)["name"]))  # type: ignore[misc]
            )

    def extend(self, trials: int) -> Study:
        """Give it a budget of that many trials in all; a study that has used its budget up, or was stopped, goes on.

        Raises:
            UsageError: the cluster refuses; says why.
        """
        self._obj = self._here.run(lambda client: studydeeds.extend(client, self.ref, trials))
        return self

    def stop(self) -> Study:
        """End it now; running trials are ended, finished ones stay.

        Raises:
            ClusterError: what runs studies on this cluster does not know how to.
        """
        self._obj = self._here.run(lambda client: studydeeds.stop(client, self.ref))
        return self

    def resume(self, trials: int | None = None) -> Study:
        """Let a study go on that was stopped, or has used its budget up, where its resume policy allows.

        Args:
            trials: its budget in all; what is left of the one that it has when left out.

        Raises:
            UsageError: it has not ended, can never go on, or its budget is used up; says why.
        """
        self._obj = self._here.run(lambda client: studydeeds.resume(client, self.ref, trials))
        return self

    def stop_trial(self, trial: str | int) -> TrialRow:
        """End one trial now, by its number or name; the study goes on, and its budget has one trial less.

        What it reported until then is kept and is no result. Works where Katib runs the study as where we do.

        Raises:
            NotFoundError: it has no such trial.
            UsageError: that trial has ended by itself.
            ForbiddenError: your account may not end trials there; nothing was changed.
        """
        return self._here.run(lambda client: services_trials.stop_trial(client, self.ref, trial))

    def form(self) -> str:
        """A cell that opens the form of a study like it, under another name; a comment where that cannot be.

        Raises:
            UsageError: its code is in an image, or its trials are no jobs of ours.
        """
        experiment = self.experiment
        return self._here.run(lambda client: studydeeds.origin(client, experiment)).form()

    def clone(self, **changes: Any) -> Study:
        """Start another study like it, under another name.

        Args:
            changes: arguments of :func:`tune` that win over what it had, such as ``trials=50``.

        Raises:
            UsageError: its code is in an image or its trials are no jobs of ours, or a change makes no sense.
        """
        experiment = self.experiment
        made_of = self._here.run(lambda client: studydeeds.origin(client, experiment))
        return start(studydeeds.cloned(made_of, changes, namespace=self.namespace))

    def promote(self, trial: str | int | None = None, **changes: Any) -> Job:
        """A training job that runs the study's code with the best trial's values, or with those of another trial.

        It has the name of the study and the number of the trial, runs in the same image on the same hardware as the
        trial did, and is submitted at once: ``study.promote(framework="pytorch", workers=4, params={"epochs": 100})``.

        Args:
            trial: another one than the best, by number or name.
            changes: arguments of :func:`jupyterlab_kf.train` that win over what the trial had.

        Raises:
            UsageError: no trial has a value yet, the code is in an image, or a change makes no sense.
            AlreadyExistsError: that trial was promoted before under that name.
        """
        experiment = self.experiment
        return Job(self._here, self._here.run(lambda client: studydeeds.job_of(client, experiment, trial, changes)))

    def delete(self) -> None:
        """Delete it with its trials, their jobs and logs."""
        self._here.run(
            lambda client: client.delete(kinds.EXPERIMENT, self.namespace, self.name, uid=meta(self._obj)["uid"])
        )

    def _trials(self) -> list[Obj]:
        return self._here.run(lambda client: services_trials.trials_of(client, self.ref))

    def _values(self, row: TrialRow) -> dict[str, Any]:
        return studydeeds.values_of(self._obj, row)

    def __repr__(self) -> str:
        state, message = studies.state_of(self._obj)
        return f"<Study {self.name}: {state}{': ' + message if message else ''}>"


async def _submit(client: Client, code_maps: list[Obj], experiment: Obj) -> Obj:
    kind, space = kinds.EXPERIMENT, experiment["metadata"]["namespace"]
    if not await client.serves(kind):
        raise ClusterError(
            "this cluster has no Experiment: nothing there runs studies",
            hint="install Kubeflow's Katib, or work on this machine: KF_CONTEXT=embedded",
        )
    ref = Ref.of(experiment)
    try:
        await client.get(kind, space, ref.name)
    except NotFoundError:
        pass
    else:
        raise AlreadyExistsError(f"{ref} exists", hint="choose another name, or delete it first", ref=ref)
    stored: list[Obj] = []
    try:
        for one in code_maps:
            stored.append(await client.create(kinds.CONFIG_MAP, one, namespace=space))  # noqa: PERF401  what was made is undone
        made = await client.create(kind, experiment, namespace=space)
    except (ApiError, UnreachableError, asyncio.CancelledError):
        gone = (client.delete(kinds.CONFIG_MAP, space, meta(one)["name"], uid=meta(one)["uid"]) for one in stored)
        await asyncio.shield(asyncio.gather(*gone))
        raise
    patch = training.owner_patch(made)
    await asyncio.gather(*(client.patch(kinds.CONFIG_MAP, space, meta(one)["name"], patch) for one in stored))
    return made


async def _changes(client: Client, experiment: Obj) -> AsyncGenerator[str, None]:
    """The Experiment's state after each change, at most a few times a second."""
    ref = Ref.of(experiment)
    # The controller sums up its trials in the Experiment, so its changes are all that there is to follow.
    changes = watch.follow(client, kinds.EXPERIMENT, ref.namespace, fields=f"metadata.name={ref.name}")
    try:
        async for change in changes:
            if change.type == "DELETED":
                raise NotFoundError(f"{ref} was deleted", ref=ref)
            if not change.obj:
                continue
            state = studies.state_of(change.obj)[0]
            yield state
            if state in ("Succeeded", "Failed"):
                return
            await asyncio.sleep(_BETWEEN)
    finally:
        await changes.aclose()


async def _log(client: Client, namespace: str, pod: str) -> Any:
    async for line in client.logs(namespace, pod):
        yield line


__all__ = ["Past", "Study", "design", "past", "plan_study", "start", "studies_of", "study", "tune"]
