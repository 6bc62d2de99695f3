"""What can be done with a study that is there, asynchronously: end it, extend it, read what it runs, promote a trial.

:class:`~jupyterlab_kf.services.tuning.Study` and the panels are faces of these. What a study runs is read back from the
cluster, so whoever may read it can copy it, also when it was made elsewhere or by another session.
"""

from __future__ import annotations

import asyncio
import csv
import io
import math
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster import watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.controllers.katib.experiment import MAX_REACHED, STOPPED, restartable
from jupyterlab_kf.controllers.katib.status import STOP
from jupyterlab_kf.controllers.katib.template import CHECKPOINT
from jupyterlab_kf.errors import (
    ApiError,
    ClusterError,
    NotFoundError,
    UsageError,
    WaitTimeoutError,
)
from jupyterlab_kf.manifests import studies, studyviews
from jupyterlab_kf.manifests.studies import ENV_PREFIX, TrialRow
from jupyterlab_kf.model import Obj, Ref, meta
from jupyterlab_kf.services import again, designs, plans, spaces
from jupyterlab_kf.services.designs import StudyPlan, StudyRequest
from jupyterlab_kf.services.plans import Plan, Request
from jupyterlab_kf.services.training import submit
from jupyterlab_kf.services.trials import trials_of

_PATIENCE: Final = 10.0
"""Seconds that a study may take to end; Katib itself never ends one."""
_FRAMEWORKS: Final = {
    kinds.PYTORCH_JOB.kind: "pytorch",
    kinds.TF_JOB.kind: "tensorflow",
    kinds.MPI_JOB.kind: "mpi",
}

_ON: Final[Obj] = {"metadata": {"annotations": {STOP: None}}}
"""The patch of a study that is not to be stopped any more."""

T = TypeVar("T")


# ------------------------------------------------------------------------------------------------------------- deeds


async def changed(client: Client, ref: Ref, patch: Obj) -> Obj:
    """The study with a patch applied.

    Raises:
        UsageError: the cluster refuses; says why.
    """
    try:
        return await client.patch(kinds.EXPERIMENT, ref.namespace, ref.name, patch)
    except NotFoundError:
        raise
    except ApiError as error:
        raise UsageError(error.message, hint=error.hint, ref=ref) from error


async def extend(client: Client, ref: Ref, trials: int) -> Obj:
    """The study with a budget of that many trials in all; one that has used its budget up, or was stopped, goes on."""
    return await changed(client, ref, {**_ON, "spec": {"maxTrialCount": trials}})


async def resume(client: Client, ref: Ref, trials: int | None = None) -> Obj:
    """The study, which has ended, going on: with what is left of its budget, or with one of that many trials in all.

    Raises:
        UsageError: it has not ended, its budget is used up, or it can never go on; says why.
    """
    experiment = await client.get(kinds.EXPERIMENT, ref.namespace, ref.name)
    spec, status = experiment.get("spec") or {}, experiment.get("status") or {}
    state, _ = studies.state_of(experiment)
    if state not in ("Succeeded", "Failed"):
        raise UsageError(f"{ref} has not ended", hint="what runs need not be resumed", ref=ref)
    if not restartable(experiment):
        raise UsageError(
            f"{ref} cannot go on: {_over(experiment)}", hint="clone it, and start another like it", ref=ref
        )
    most, used = spec.get("maxTrialCount") if trials is None else trials, int(status.get("trials") or 0)
    if most is not None and most <= used:
        said = f"{ref} has had {used} of its {spec.get('maxTrialCount')} trials"
        raise UsageError(said, hint=f"say how many it may have in all, more than {used}", ref=ref)
    return await changed(client, ref, _ON if trials is None else {**_ON, "spec": {"maxTrialCount": trials}})


def _over(experiment: Obj) -> str:
    """Why a study that has ended can never go on."""
    held = (experiment.get("status") or {}).get("conditions") or ()
    reasons = {str(one.get("reason")) for one in held if one.get("status") == "True"}
    if reasons & {MAX_REACHED, STOPPED}:
        policy = (experiment.get("spec") or {}).get("resumePolicy") or "Never"
        return f"its resume policy is {policy}"
    return studyviews.told(experiment).rstrip(".") or "it has ended"


async def stop(client: Client, ref: Ref) -> Obj:
    """The study ended: running trials are ended, finished ones stay.

    Raises:
        ClusterError: what runs studies on this cluster does not know how to.
    """
    await changed(client, ref, {"metadata": {"annotations": {STOP: "true"}}})
    try:
        return await ended(client, ref, _PATIENCE)
    except WaitTimeoutError:
        raise ClusterError(
            f"{ref} goes on: Katib itself cannot end a study", hint="delete it, or let it use up its budget"
        ) from None


async def ended(client: Client, ref: Ref, timeout: float | None) -> Obj:  # noqa: ASYNC109  of the face
    """The study once it has ended.

    Raises:
        NotFoundError: it was deleted.
        WaitTimeoutError: it has not ended within ``timeout`` seconds.
    """
    changes = watch.follow(client, kinds.EXPERIMENT, ref.namespace, fields=f"metadata.name={ref.name}")
    try:
        async with asyncio.timeout(timeout):
            async for change in changes:
                if change.type == "DELETED":
                    raise NotFoundError(f"{ref} was deleted", ref=ref)
                if change.obj and studies.state_of(change.obj)[0] in ("Succeeded", "Failed"):
                    return await client.get(kinds.EXPERIMENT, ref.namespace, ref.name)
    except TimeoutError:
        raise WaitTimeoutError(f"{ref} has not ended after {timeout:g} s", hint="it goes on", ref=ref) from None
    finally:
        await changes.aclose()
    raise NotFoundError(f"{ref} was deleted", ref=ref)


# ------------------------------------------------------------------------------------------------------------ trials


def values_of(experiment: Obj, row: TrialRow) -> dict[str, Any]:
    """The values of a trial, numbers as numbers."""
    types = {one["name"]: one["parameterType"] for one in experiment["spec"].get("parameters") or ()}
    return {
        key: int(text) if types.get(key) == "int" else _number(text) if types.get(key) == "double" else text
        for key, text in row.parameters.items()
    }


def rows_of(experiment: Obj, rows: Sequence[TrialRow]) -> list[dict[str, Any]]:
    """A dictionary a trial: number, name, state, the parameters, the metrics, seconds."""
    return [
        {
            "number": row.number,
            "trial": row.name,
            "state": row.state,
            **values_of(experiment, row),
            **{key: _number(text) for key, text in row.metrics.items()},
            "seconds": row.finished - row.started if row.finished and row.started else None,
        }
        for row in rows
    ]


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as comma-separated text."""
    out = io.StringIO()
    names = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.DictWriter(out, names)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _number(text: str) -> float | str:
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text


# --------------------------------------------------------------------------------------------------- what a study runs


@dataclass(frozen=True, slots=True)
class Origin:
    """What a study was made of, read back from the cluster.

    Attributes:
        experiment: the study.
        code: the program's text.
        call: the function of it that a trial calls; empty for cells and scripts.
        tuned: how a trial's texts are read, as in the launcher's instructions.
        files: what else was shipped, by its path.
        job: a request for a training job like one of its trials.
    """

    experiment: Obj
    code: str
    call: str
    tuned: Mapping[str, Mapping[str, Any]]
    files: Mapping[str, bytes]
    job: Request

    def typed(self, row: TrialRow) -> dict[str, Any]:
        """A trial's values as its code got them."""
        plain = values_of(self.experiment, row)
        known = {key: (one.get("values") or {}) for key, one in self.tuned.items()}
        return {key: known.get(key, {}).get(row.parameters[key], value) for key, value in plain.items()}

    def program(self, values: Mapping[str, Any]) -> str:
        """The program with these values in place of what was searched."""
        if not self.call:
            return spaces.rewritten(self.code, values)
        kept = {key: value for key, value in (self.job.params or {}).items() if key not in values}
        words = ", ".join(f"{key}={value!r}" for key, value in {**kept, **values}.items())
        return f"{self.code.rstrip()}\n\n\n{self.call}({words})\n"

    def request(self) -> StudyRequest:
        """The request that would make a study like it.

        Raises:
            UsageError: it cannot be said in the words of :func:`jupyterlab_kf.tune`.
        """
        job = self.job
        framework = _framework(self.experiment)
        searched = set(spaces_of(self.experiment))
        code: Any = _named(self.call) if self.call else self.code
        params = {key: value for key, value in (job.params or {}).items() if key not in searched}
        usual = None if framework else designs.IMAGE
        # What a choice chose among has types, which a manifest does not say.
        choices = {key: spaces.choice(*one["values"].values()) for key, one in self.tuned.items() if one.get("values")}
        base = StudyRequest(
            code,
            choices or None,
            framework=framework,
            workers=job.workers if framework else None,
            profile=job.profile,
            cpu=job.cpu,
            memory=job.memory,
            gpu=job.gpu,
            env=job.env or None,
            params=params or None,
            image=None if job.image == usual else job.image,
            install=job.install,
            filename=job.filename,
        )
        return designs.read_back(self.experiment, base)

    def copies(self) -> tuple[str, str]:
        """The study as a cell and as Python; where that cannot be, a comment that says why."""
        try:
            asked = self.request()
            like = StudyPlan(asked, designs.space_of(asked), [], self.experiment, _no_plan)
            python = like.python()
        except UsageError as error:
            return (f"# {error.message}\n",) * 2
        if self.call:
            return f"# {self.call} is a function, which cannot be shown as a cell: copy it as Python\n", (
                f"{self.code.rstrip()}\n\n\n{python}"
            )
        try:
            return like.magic(), python
        except UsageError as error:
            return f"# {error.message}: {error.hint}\n", python

    def form(self) -> str:
        """A cell that opens the form of a study like it, under another name; a comment where that cannot be."""
        try:
            asked = replace(self.request(), name=None)
            text = StudyPlan(asked, designs.space_of(asked), [], self.experiment, _no_plan).form()
        except UsageError as error:
            return f"# {error.message}: {error.hint}\n"
        return f"{self.code.rstrip()}\n\n\n{text}" if self.call else text


_no_plan: Any = None
"""Copies say nothing of what one trial would be planned as."""


def _named(name: str) -> Callable[..., object]:
    def stand_in() -> None:
        """Has the function's name."""

    stand_in.__name__ = name
    return stand_in


def spaces_of(experiment: Obj) -> list[str]:
    """The names of the parameters that are searched."""
    return [str(one["name"]) for one in (experiment.get("spec") or {}).get("parameters") or ()]


def _trial_spec(experiment: Obj) -> Obj:
    found: Obj = ((experiment.get("spec") or {}).get("trialTemplate") or {}).get("trialSpec") or {}
    return found


def _framework(experiment: Obj) -> str:
    return _FRAMEWORKS.get(str(_trial_spec(experiment).get("kind")), "")


def as_job(experiment: Obj) -> Obj:
    """A training job like one of its trials: a plain trial is a job of one replica.

    Raises:
        UsageError: its trials are of a kind that is no training job.
    """
    spec = _trial_spec(experiment)
    head = {key: meta(experiment).get(key) for key in ("name", "namespace", "annotations", "uid")}
    if spec.get("kind") == "Job":
        kind = kinds.PYTORCH_JOB
        template = (spec.get("spec") or {}).get("template") or {}
        body = {"pytorchReplicaSpecs": {"Master": {"replicas": 1, "template": template}}}
        return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": head, "spec": body}
    if spec.get("kind") not in _FRAMEWORKS:
        raise UsageError(
            f"the trials of this study are of kind {spec.get('kind') or 'unknown'}, which cannot be taken up here",
            hint="copy the study's YAML instead",
        )
    return {**spec, "metadata": head}


async def origin(client: Client, experiment: Obj) -> Origin:
    """What a study was made of.

    Raises:
        UsageError: its code is in its image, or its trials are of a kind that is no training job.
    """
    job = as_job(experiment)
    source = await again.source(client, job)
    if not source.text:
        raise UsageError("the code of this study is in its image", hint="copy the study's YAML instead")
    told = await again.instructions(client, job)
    files = await again.beside(client, job) if len(source.files) > 1 else {}
    request = again.as_plan(job, source).request
    given = request.env or {}
    env = {key: value for key, value in given.items() if not key.startswith(ENV_PREFIX) and key != CHECKPOINT}
    return Origin(
        experiment=experiment,
        code=source.text,
        call=str(told.get("call") or ""),
        tuned=told.get("tuned") or {},
        files=files,
        job=replace(request, env=env or None, filename=str(told.get("filename") or request.filename)),
    )


def best_of(experiment: Obj, rows: Sequence[TrialRow], trial: str | int | None = None) -> TrialRow:
    """The best trial, or the one of that name or number.

    Raises:
        UsageError: no trial has a value yet.
        NotFoundError: there is no such trial.
    """
    name = ((experiment.get("status") or {}).get("currentOptimalTrial") or {}).get("bestTrialName")
    wanted = name if trial is None else trial
    row = next((row for row in rows if wanted in (row.name, row.number)), None)
    if row is None and trial is None:
        raise UsageError("no trial has a value yet", hint="wait for the first")
    if row is None:
        raise NotFoundError(f"{Ref.of(experiment)} has no trial {trial!r}", hint="look at .trials")
    return row


def promoted(made_of: Origin, row: TrialRow, changes: Mapping[str, Any] | None = None) -> Plan:
    """The plan of a training job that runs the study's program with a trial's values.

    Named after study and trial: promoting one twice is refused. ``changes`` are arguments of
    :func:`jupyterlab_kf.train` that win over what the trial had.

    Raises:
        UsageError: a change makes no sense; says which.
    """
    given = dict(changes or {})
    known = {entry.name for entry in fields(Request)} - {"code", "filename", "first_line", "root"}
    if unknown := sorted(set(given) - known):
        raise UsageError(
            f"promote has no argument {unknown[0]!r}", hint=f"its arguments are {', '.join(sorted(known))}"
        )
    if "replicas" in given:
        given.setdefault("workers", None)
    if "framework" in given and given["framework"] != made_of.job.framework:
        # The image of a plain trial, or of another framework, may lack this one.
        given.setdefault("image", None)
        given.setdefault("workers", 1)
    values, extra = made_of.typed(row), dict(given.pop("params", None) or {})
    # What was searched stands in the text, and so do the arguments of a function.
    values |= {key: value for key, value in extra.items() if made_of.call or key in values}
    params = {key: value for key, value in {**(made_of.job.params or {}), **extra}.items() if key not in values}
    words: dict[str, Any] = {
        "code": made_of.program(values),
        "name": f"{meta(made_of.experiment)['name']}-t{row.number}",
        "params": None if made_of.call else params or None,
    }
    asked = replace(made_of.job, **(words | given))
    return around(made_of.files, lambda root: _planned(replace(asked, root=root), made_of))


def _planned(asked: Request, made_of: Origin) -> Plan:
    asked = replace(asked, files=[*asked.files, *sorted(made_of.files)])
    space = str(meta(made_of.experiment)["namespace"])
    return plans.make(asked, namespace=asked.namespace or space, submission=uuid.uuid4().hex[:12])


def around(files: Mapping[str, bytes], work: Callable[[Path], T]) -> T:
    """What a function makes of a folder in which these files lie as they did around the program."""
    with tempfile.TemporaryDirectory(prefix="kf-like-") as folder:
        for name, content in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return work(Path(folder).resolve())


def cloned(made_of: Origin, changes: Mapping[str, Any], *, namespace: str) -> StudyPlan:
    """The plan of another study like it, under a name of its own.

    Raises:
        UsageError: it tunes a function, which cannot be read back, or a change makes no sense; says which.
    """
    if made_of.call:
        said = f"{made_of.call} is a function, which only its own notebook has"
        raise UsageError(said, hint=f"copy the study as Python, or call kf.tune({made_of.call}, ...) again")
    known = {entry.name for entry in fields(StudyRequest)} - {"code", "filename", "first_line", "root"}
    if unknown := sorted(set(changes) - known):
        raise UsageError(f"clone has no argument {unknown[0]!r}", hint=f"its arguments are {', '.join(sorted(known))}")
    asked = replace(made_of.request(), **{"name": None, **changes})
    files = [*asked.files, *sorted(made_of.files)]
    submission = uuid.uuid4().hex[:12]
    return around(
        made_of.files,
        lambda root: designs.make(replace(asked, files=files, root=root), namespace=namespace, submission=submission),
    )


def manifest(experiment: Obj) -> str:
    """The study's manifest as YAML, without what the server added."""
    hidden = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink", "finalizers")
    head = {key: value for key, value in meta(experiment).items() if key not in hidden}
    said = {"apiVersion": experiment["apiVersion"], "kind": experiment["kind"], "metadata": head}
    return plans.to_yaml({**said, "spec": experiment["spec"]})


async def job_of(client: Client, experiment: Obj, trial: str | int | None, changes: Mapping[str, Any]) -> Obj:
    """The training job that a trial was promoted into, as the server has it.

    Raises:
        AlreadyExistsError: that trial was promoted before under that name.
    """
    rows = studies.rows(await trials_of(client, Ref.of(experiment)))
    row = best_of(experiment, rows, trial)
    made_of = await origin(client, experiment)
    return await submit(client, await asyncio.to_thread(promoted, made_of, row, changes))
