"""What the routes of studies answer: from a parsed request to a service and back to a value of the wire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.handlers import wire
from jupyterlab_kf.manifests import studies
from jupyterlab_kf.model import Obj, Ref, meta
from jupyterlab_kf.services import logs, studydeeds, trials
from jupyterlab_kf.services.desk import Desk
from jupyterlab_kf.services.jobfeed import JobKey
from jupyterlab_kf.services.studyfeed import StudyKey
from jupyterlab_kf.services.trials import TrialDetail

Where = tuple[str, str]
"""Namespace and name."""


async def _found(desk: Desk, where: Where) -> tuple[Client, Obj]:
    client = await desk.client()
    return client, await client.get(kinds.EXPERIMENT, *where)


def _key_of(experiment: Obj) -> StudyKey:
    head = meta(experiment)
    return StudyKey(str(head["namespace"]), str(head["name"]), str(head.get("uid", "")))


async def stop(desk: Desk, where: Where, _: dict[str, Any]) -> StudyKey:
    """The study ended."""
    client, experiment = await _found(desk, where)
    return _key_of(await studydeeds.stop(client, Ref.of(experiment)))


async def stop_trial(desk: Desk, where: Where, said: dict[str, Any]) -> StudyKey:
    """The study with the ``trial`` of that name ended."""
    name = said.get("trial")
    if not isinstance(name, str) or not name:
        raise UsageError("which trial?", hint="trial is its name")
    client, experiment = await _found(desk, where)
    await trials.stop_trial(client, Ref.of(experiment), name)
    return _key_of(experiment)


async def extend(desk: Desk, where: Where, said: dict[str, Any]) -> StudyKey:
    """The study with a budget of ``trials`` in all."""
    client, experiment = await _found(desk, where)
    return _key_of(await studydeeds.extend(client, Ref.of(experiment), _budget(said)))


async def resume(desk: Desk, where: Where, said: dict[str, Any]) -> StudyKey:
    """The study going on, with a budget of ``trials`` in all if they are said."""
    most = _budget(said) if said.get("trials") is not None else None
    client, experiment = await _found(desk, where)
    return _key_of(await studydeeds.resume(client, Ref.of(experiment), most))


def _budget(said: dict[str, Any]) -> int:
    most = said.get("trials")
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise UsageError("how many trials?", hint="trials is a whole number of 1 or more, in all")
    return most


async def promote(desk: Desk, where: Where, said: dict[str, Any]) -> JobKey:
    """The training job that the best trial, or the ``trial`` of that name, was promoted into."""
    client, experiment = await _found(desk, where)
    job = await studydeeds.job_of(client, experiment, str(said.get("trial") or "") or None, {})
    head = meta(job)
    return JobKey(str(job["kind"]), str(head["namespace"]), str(head["name"]), str(head.get("uid", "")))


DEEDS: Final[dict[str, Callable[[Desk, Where, dict[str, Any]], Awaitable[StudyKey | JobKey]]]] = {
    "stop": stop,
    "stop-trial": stop_trial,
    "resume": resume,
    "extend": extend,
    "promote": promote,
}


async def copies(desk: Desk, where: Where, trial: str) -> wire.StudyCopies:
    """The study said in some ways, and its program with the values of a trial: of the best, unless one is named."""
    client, experiment = await _found(desk, where)
    namespace, name = where
    yaml = studydeeds.manifest(experiment)
    kubectl = f"kubectl --namespace {namespace} get {kinds.EXPERIMENT.resource} {name} --output yaml"
    rows = studies.rows(await trials.trials_of(client, Ref.of(experiment)))
    try:
        row = studydeeds.best_of(experiment, rows, trial or None)
    except UsageError:
        row = None
    try:
        made_of = await studydeeds.origin(client, experiment)
    except UsageError as error:
        said = f"# {error.message}: {error.hint}\n"
        values = studydeeds.values_of(experiment, row) if row else {}
        best = "".join(f"{key} = {value!r}\n" for key, value in values.items())
        return wire.StudyCopies(said, said, yaml, kubectl, "", best)
    magic, python, form = await asyncio.to_thread(lambda: (*made_of.copies(), made_of.form()))
    best = made_of.program(made_of.typed(row)) if row else ""
    return wire.StudyCopies(magic, python, yaml, kubectl, form, best)


async def table(desk: Desk, where: Where) -> str:
    """The trials as comma-separated text."""
    client, experiment = await _found(desk, where)
    rows = studies.rows(await trials.trials_of(client, Ref.of(experiment)))
    return studydeeds.csv_of(studydeeds.rows_of(experiment, rows))


async def trial(desk: Desk, where: Where) -> TrialDetail:
    """What is shown of a trial beside its row."""
    return await trials.trial_detail(await desk.client(), *where)


async def log_text(desk: Desk, where: Where) -> str:
    """What a trial printed, as a file."""
    client = await desk.client()
    lines = [line async for line in trials.trial_lines(client, *where, follow=False)]
    several = len({line.replica for line in lines}) > 1
    return "".join(f"{line.replica}\t{line.text}\n" if several else f"{line.text}\n" for line in logs.merge(lines))
