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
from jupyterlab_kf.services import logs, studydeeds
from jupyterlab_kf.services.desk import Desk
from jupyterlab_kf.services.jobfeed import JobKey
from jupyterlab_kf.services.studydeeds import TrialDetail
from jupyterlab_kf.services.studyfeed import StudyKey

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


async def extend(desk: Desk, where: Where, said: dict[str, Any]) -> StudyKey:
    """The study with a budget of ``trials`` in all."""
    trials = said.get("trials")
    if not isinstance(trials, int) or isinstance(trials, bool) or trials < 1:
        raise UsageError("how many trials?", hint="trials is a whole number of 1 or more, in all")
    client, experiment = await _found(desk, where)
    return _key_of(await studydeeds.extend(client, Ref.of(experiment), trials))


async def promote(desk: Desk, where: Where, said: dict[str, Any]) -> JobKey:
    """The training job that the best trial, or the ``trial`` of that name, was promoted into."""
    client, experiment = await _found(desk, where)
    job = await studydeeds.job_of(client, experiment, str(said.get("trial") or "") or None, {})
    head = meta(job)
    return JobKey(str(job["kind"]), str(head["namespace"]), str(head["name"]), str(head.get("uid", "")))


DEEDS: Final[dict[str, Callable[[Desk, Where, dict[str, Any]], Awaitable[StudyKey | JobKey]]]] = {
    "stop": stop,
    "extend": extend,
    "promote": promote,
}


async def copies(desk: Desk, where: Where, trial: str) -> wire.StudyCopies:
    """The study said in four ways, and its program with the values of a trial: of the best, unless one is named."""
    client, experiment = await _found(desk, where)
    namespace, name = where
    yaml = studydeeds.manifest(experiment)
    kubectl = f"kubectl --namespace {namespace} get {kinds.EXPERIMENT.resource} {name} --output yaml"
    rows = studies.rows(await studydeeds.trials_of(client, Ref.of(experiment)))
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
        return wire.StudyCopies(said, said, yaml, kubectl, best)
    magic, python = await asyncio.to_thread(made_of.copies)
    best = made_of.program(made_of.typed(row)) if row else ""
    return wire.StudyCopies(magic, python, yaml, kubectl, best)


async def table(desk: Desk, where: Where) -> str:
    """The trials as comma-separated text."""
    client, experiment = await _found(desk, where)
    rows = studies.rows(await studydeeds.trials_of(client, Ref.of(experiment)))
    return studydeeds.csv_of(studydeeds.rows_of(experiment, rows))


async def trial(desk: Desk, where: Where) -> TrialDetail:
    """What is shown of a trial beside its row."""
    return await studydeeds.trial_detail(await desk.client(), *where)


async def log_text(desk: Desk, where: Where) -> str:
    """What a trial printed, as a file."""
    client = await desk.client()
    lines = [line async for line in studydeeds.trial_lines(client, *where, follow=False)]
    several = len({line.replica for line in lines}) > 1
    return "".join(f"{line.replica}\t{line.text}\n" if several else f"{line.text}\n" for line in logs.merge(lines))
