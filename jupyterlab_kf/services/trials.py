"""One trial of a study, asynchronously: what it was given and told, why it failed or waits, its lines, and its end.

A person's stop is Katib's own condition Killed, written where Katib's early stopping writes its: in the Trial's status.
Katib counts such a trial as one of the budget, not as a failure, and makes the next; a Trial that was deleted it would
make once more under the same name, and a job that was deleted as well (trial_controller.go, experiment_controller.go).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.controllers.copies import copied
from jupyterlab_kf.controllers.katib import status as conditions
from jupyterlab_kf.controllers.katib.observations import ANNOTATION
from jupyterlab_kf.controllers.katib.template import LABEL_TRIAL
from jupyterlab_kf.controllers.support import exit_code
from jupyterlab_kf.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError, UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import pods as pod_codec
from jupyterlab_kf.manifests import studies, training
from jupyterlab_kf.manifests.studies import TrialRow
from jupyterlab_kf.model import Cause, Event, Explanation, LogLine, Obj, Phase, Ref, Replica, Status, meta
from jupyterlab_kf.services import explain, logs
from jupyterlab_kf.services.studyfeed import LABEL_EXPERIMENT

_TAIL: Final = 20
_QUEUE: Final = 1000
_ATTEMPTS: Final = 8
_MOST_PODS: Final = 8
"""Pods of a trial whose events are read."""


async def trials_of(client: Client, ref: Ref) -> list[Obj]:
    """The Trials of a study."""
    return await client.list(kinds.TRIAL, ref.namespace, selector=f"{LABEL_EXPERIMENT}={ref.name}")


# ------------------------------------------------------------------------------------------------------------ its end


async def stop_trial(client: Client, ref: Ref, trial: str | int) -> TrialRow:
    """End one trial of a study, by its number or name; the study goes on, and its budget has one less.

    What it reported until then is kept and is no result: neither the best nor a lesson for the algorithm. Stopping one
    that was stopped before ends what is left of it, if anything.

    Raises:
        NotFoundError: the study has no such trial.
        UsageError: it has ended by itself.
        ForbiddenError: the account may not write the status of trials, or not end their jobs; nothing was changed.
    """
    found = await _trial(client, ref, trial)
    name = str(meta(found)["name"])
    _refuse_ended(found, ref, trial)
    kind = await _run_kind(client, found)
    # The controller deletes the jobs of what has ended, but for those that are to be kept.
    ours = kind is not None and bool((found.get("spec") or {}).get("retainRun"))
    if ours and kind is not None:
        await _delete_run(client, kind, found, dry_run=True)
    for attempt in range(_ATTEMPTS):
        _refuse_ended(found, ref, trial)
        if conditions.end_of(found):
            break
        status = copied(found.get("status") or {})
        conditions.finish(status, "Killed", "TrialKilled", "Trial is killed: somebody stopped it", time.time())
        kept = {key: status[key] for key in ("conditions", "completionTime")}
        patch = {"metadata": {"resourceVersion": meta(found)["resourceVersion"]}, "status": kept}
        try:
            found = await client.patch(kinds.TRIAL, ref.namespace, name, patch, subresource="status")
            break
        except ConflictError:  # its controller wrote at the same time
            if attempt == _ATTEMPTS - 1:
                raise
            found = await client.get(kinds.TRIAL, ref.namespace, name)
    if ours and kind is not None:
        await _delete_run(client, kind, found, dry_run=False)
    return studies.row_of(found)


def _refuse_ended(found: Obj, ref: Ref, trial: str | int) -> None:
    end = conditions.end_of(found)
    if end not in ("", "Killed"):
        raise UsageError(f"trial {trial} of {ref.name} has ended already: {end}", hint="there is nothing to stop")


async def _trial(client: Client, ref: Ref, trial: str | int) -> Obj:
    """A study's Trial by its number or name."""
    wanted = str(trial)
    known = await trials_of(client, ref)
    row = next((row for row in studies.rows(known) if wanted in (row.name, str(row.number))), None)
    if row is None:
        raise NotFoundError(f"{ref} has no trial {trial!r}", hint="look at .trials", ref=ref)
    return next(one for one in known if meta(one)["name"] == row.name)


async def _run_kind(client: Client, trial: Obj) -> Kind | None:
    """The kind of a trial's job, also one that our table has not; None where the cluster serves none."""
    run = (trial.get("spec") or {}).get("runSpec") or {}
    version, name = str(run.get("apiVersion")), str(run.get("kind"))
    try:
        return kinds.of(version, name)
    except UsageError:
        group, _, short = version.rpartition("/")
    try:
        served = await client.request("GET", f"/apis/{version}" if group else f"/api/{version}")
    except NotFoundError:
        return None
    plural = next((str(one["name"]) for one in served.get("resources") or () if one.get("kind") == name), "")
    return Kind(group, short, name, plural) if plural else None


async def _delete_run(client: Client, kind: Kind, trial: Obj, *, dry_run: bool) -> None:
    """Delete a trial's job, if it is there and the trial's; with ``dry_run`` only find out whether that is allowed."""
    space, name = str(meta(trial)["namespace"]), str(meta(trial)["name"])
    try:
        job = await client.get(kind, space, name)
    except NotFoundError:
        return
    owners = {one.get("uid") for one in meta(job).get("ownerReferences") or ()}
    if meta(trial).get("uid") in owners:
        await client.delete(kind, space, name, uid=str(meta(job)["uid"]), dry_run=dry_run)


# ----------------------------------------------------------------------------------------------------------- its story


@dataclass(frozen=True, slots=True)
class TrialDetail:
    """What is shown of one trial beside its row.

    ``why`` says in a sentence why it failed or waits, ``hint`` what to do about it; both are empty where there is
    nothing to say. ``tail`` are the last lines that it printed; ``events`` are those of the trial, its job and its
    pods, oldest first, as long as the cluster keeps them.
    """

    name: str
    state: str
    message: str
    parameters: dict[str, str]
    metrics: dict[str, str]
    exit_code: int | None
    tail: tuple[str, ...]
    pods: tuple[str, ...]
    why: str = ""
    hint: str = ""
    events: tuple[Event, ...] = field(default=())


async def trial_detail(client: Client, namespace: str, name: str) -> TrialDetail:
    """A trial: what it was given and told, its exit code, its last lines, why it failed or waits, and its events.

    Raises:
        NotFoundError: it is not on the cluster.
    """
    trial = await client.get(kinds.TRIAL, namespace, name)
    pods = await client.list(kinds.POD, namespace, selector=f"{LABEL_TRIAL}={name}")
    row = studies.row_of(trial)
    container = str(trial["spec"].get("primaryContainerName") or "")
    codes = [code for pod in pods if (code := exit_code(pod, container)) is not None]
    names = tuple(sorted(str(meta(pod)["name"]) for pod in pods))
    tail, events = await asyncio.gather(_tail(client, trial, pods, container), _events(client, namespace, name, names))
    found = _explained(trial, row, pods, events, tail)
    return TrialDetail(
        name=row.name,
        state=row.state,
        message=row.message,
        parameters=dict(row.parameters),
        metrics=dict(row.metrics),
        exit_code=next((code for code in codes if code), codes[0] if codes else None),
        tail=tail,
        pods=names,
        why=found.sentence if found else "",
        hint=found.hint if found and found.cause is not Cause.EXIT_CODE else "",
        events=tuple(events),
    )


async def _events(client: Client, namespace: str, name: str, pods: Sequence[str]) -> list[Event]:
    """What happened to a trial, to its job, which has the same name, and to its pods, oldest first."""
    asked: list[Coroutine[Any, Any, list[Obj]]] = [client.events(namespace, name=name)]
    asked += [client.events(namespace, name=pod) for pod in pods[:_MOST_PODS]]
    try:
        found = [explain.decode_event(event) for events in await asyncio.gather(*asked) for event in events]
    except ForbiddenError:  # a trial without events is better than none
        return []
    return sorted(found, key=lambda event: event.last or 0.0)


def _explained(
    trial: Obj, row: TrialRow, pods: Sequence[Obj], events: Sequence[Event], tail: Sequence[str]
) -> Explanation | None:
    """Why a trial failed, or why it waits, or that somebody ended it."""
    if row.state == "Killed":
        said = row.message.removeprefix("Trial is killed: ")
        return Explanation(f"{said[:1].upper()}{said[1:]}.") if said else None
    if row.state not in ("Failed", "Pending", "Created", "Running"):
        return None
    spec = trial.get("spec") or {}
    run: Obj = {**(spec.get("runSpec") or {}), "metadata": {"name": row.name, "namespace": meta(trial)["namespace"]}}
    container = str(spec.get("primaryContainerName") or "")
    if run.get("kind") in {kind.kind for kind in kinds.TRAINING}:
        replicas = training.replicas(run, pods)
    else:
        replicas = tuple(pod_codec.replica(pod, "trial", row.number, container) for pod in pods)
    failed = row.state == "Failed"
    if failed and not replicas:  # its pods are gone; what it said last is still known
        replicas = (Replica("trial", row.number, "Failed"),)
    status = Status(Phase.FAILED if failed else Phase.PENDING, reason="", message=row.message if failed else "")
    speaker = next((one.name for one in replicas if one.exit_code not in (None, 0) or one.phase == "Failed"), "")
    tails = {speaker: [LogLine(speaker, text) for text in tail]} if speaker and tail else {}
    case = explain.Case(run, status, replicas, list(pods), list(events), tails, noun="trial")
    found = explain.explain(case)
    own = f"trial-{row.number} "
    if found is None or (failed and not pods and not found.traceback):
        return None  # the trial's own message says more
    if not found.sentence.startswith(own):
        return found
    return replace(found, sentence=f"It {found.sentence.removeprefix(own)}")


async def _tail(client: Client, trial: Obj, pods: Sequence[Obj], container: str) -> tuple[str, ...]:
    """The last lines: as its pods have them, or as they were recorded when there are none any more."""
    for pod in pods:
        if not any(one.get("name") == container for one in (pod.get("spec") or {}).get("containers") or ()):
            continue
        try:
            read = client.logs(str(meta(pod)["namespace"]), str(meta(pod)["name"]), container=container, tail=_TAIL)
            if lines := [line async for line in read]:
                return tuple(lines)
        except (NotFoundError, InvalidError):  # not started yet, or gone
            continue
    record = (meta(trial).get("annotations") or {}).get(ANNOTATION) or "{}"
    try:
        return tuple(str(line) for line in json.loads(record).get("tail") or ())
    except ValueError:
        return ()


async def trial_lines(client: Client, namespace: str, name: str, *, follow: bool) -> AsyncGenerator[LogLine, None]:
    """What a trial's pods have printed; with ``follow`` also what they print until they have ended.

    Raises:
        NotFoundError: there is no such trial, or no pod of it any more.
    """
    trial = await client.get(kinds.TRIAL, namespace, name)
    pods = await client.list(kinds.POD, namespace, selector=f"{LABEL_TRIAL}={name}")
    if not pods:
        raise NotFoundError(f"trial {name} has no pods: {studies.row_of(trial).message or 'none was started yet'}")
    box: asyncio.Queue[LogLine | None] = asyncio.Queue(_QUEUE)

    async def read(pod: Obj) -> None:
        who = str(meta(pod)["name"]).removeprefix(f"{name}-")
        first = str(pod["spec"]["containers"][0]["name"])
        named = str(trial["spec"].get("primaryContainerName") or first)
        here = named if any(one["name"] == named for one in pod["spec"]["containers"]) else first
        with contextlib.suppress(NotFoundError, InvalidError):  # not started yet, or gone
            async for line in client.logs(
                namespace, str(meta(pod)["name"]), container=here, follow=follow, timestamps=True
            ):
                await box.put(logs.parse(line, who))
        await box.put(None)

    tasks = [asyncio.create_task(read(pod)) for pod in pods]
    try:
        left = len(tasks)
        while left:
            line = await box.get()
            if line is None:
                left -= 1
            else:
                yield line
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
