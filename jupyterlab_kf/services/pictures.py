"""A job at one moment: object, pods, logs, metrics and events, and the reason why, joined into one view.

Owns what is known of a job, how it is read once, and which of its logs and events are asked for. Following it as it
changes is :mod:`.feed`'s.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster import shapes
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import ApiError, ForbiddenError, InvalidError, NotFoundError
from jupyterlab_kf.manifests import frameworks, training
from jupyterlab_kf.model import Event, JobView, LogLine, Obj, Phase, Ref, Replica, meta
from jupyterlab_kf.services import explain, logs
from jupyterlab_kf.services.metrics import Metrics

TAIL: Final = 400
"""Lines of each replica that are kept: enough for a long traceback."""
SHOWN: Final = 200
MOST_FOLLOWED: Final = 64
"""Replicas whose logs are read, of jobs that have more."""
_LATE: Final = (0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds to wait for the rest of a traceback when its container has ended.

A node's runtime copies the output through a pipe: the last lines may be written a moment after the exit is told.
"""
_PACKED: Final = 600
"""Lines that carry the result files of a replica, and a few more."""
_MACHINES: Final = 15.0
"""Seconds between two looks at the machines: there may be thousands, and their sizes seldom change."""


@dataclass(slots=True)
class Picture:
    """What is known of a job, and how it is shown."""

    job: Obj
    pods: dict[str, Obj] = field(default_factory=dict)
    recent: deque[LogLine] = field(default_factory=lambda: deque(maxlen=SHOWN))
    tails: dict[str, deque[LogLine]] = field(default_factory=dict)
    metrics: Metrics = field(default_factory=Metrics)
    events: list[Event] = field(default_factory=list)
    gone: dict[str, Obj] = field(default_factory=dict)
    """Pods that were deleted: what they said last is all that is known of a replica that was cleaned up."""
    nodes: list[Obj] | None = None
    """The cluster's machines, once a replica waits for one and if the account may see them."""
    looked: float = float("-inf")
    """When the machines were read last, on the monotonic clock."""

    def take(self, line: LogLine) -> None:
        """A line of a replica's log."""
        self.recent.append(line)
        self.tails.setdefault(line.replica, deque(maxlen=TAIL)).append(line)
        self.metrics.feed(line)

    @property
    def replicas(self) -> tuple[Replica, ...]:
        """The replicas as their pods show them."""
        now = training.replicas(self.job, self.pods.values())
        if not self.gone or not training.decode(self.job).phase.finished:
            return now
        last = {one.name: one for one in training.replicas(self.job, self.gone.values()) if one.pod}
        return tuple(
            replace(last[one.name], phase=one.phase) if not one.pod and one.name in last else one for one in now
        )

    def view(self) -> JobView:
        """Everything, at this moment."""
        now = time.time()
        status = training.decode(self.job)
        replicas = self.replicas
        tails = {name: list(lines) for name, lines in self.tails.items()}
        case = explain.Case(
            self.job, status, replicas, list(self.pods.values()), self.events, tails, self.nodes, now=now
        )
        row = frameworks.of_kind(str(self.job.get("kind")))
        done = status.phase is Phase.SUCCEEDED
        return JobView(
            ref=Ref.of(self.job),
            framework=row.name if row else "",
            status=status,
            replicas=replicas,
            log=tuple(logs.merge(self.recent)),
            metrics=self.metrics.frozen(),
            progress=1.0 if done else self.metrics.progress,
            eta=None if status.phase.finished else self.metrics.eta(now),
            explanation=explain.explain(case),
            seen=now,
        )

    def puzzling(self) -> bool:
        """Whether events may tell something: nothing runs, or something waits."""
        status = training.decode(self.job)
        if status.phase is Phase.SUCCEEDED:
            return False
        waits = any(one.phase in ("Pending", "Waiting") for one in self.replicas)
        return status.phase in (Phase.FAILED, Phase.RESTARTING) or waits or bool(self.silent())

    def silent(self) -> set[str]:
        """Pods that run and are not ready, as all are whose node stopped to tell of them."""
        return {
            str(meta(pod).get("name"))
            for pod in self.pods.values()
            if (pod.get("status") or {}).get("phase") == "Running" and not _ready(pod)
        }


def _ready(pod: Obj) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return all(one.get("status") == "True" for one in conditions if one.get("type") == "Ready")


async def snapshot(client: Client, job: Obj) -> Picture:
    """A job, its pods, the ends of their logs and the events, read once."""
    picture = Picture(job)
    space = meta(job)["namespace"]
    found = training.owned(
        job, await client.list(kinds.POD, space, selector=training.pod_selector(job), shape=shapes.POD)
    )
    picture.pods = {str(meta(pod).get("uid")): dict(pod) for pod in found}
    places = [one for one in picture.replicas if one.pod][:MOST_FOLLOWED]
    texts = await asyncio.gather(*(tail_if_any(client, space, one, training.container_of(job)) for one in places))
    for line in logs.merge(line for lines in texts for line in lines):
        picture.take(line)
    if picture.puzzling():
        await ask(client, picture)
    return picture


async def ask(client: Client, picture: Picture) -> None:
    """Read what tells why replicas do not run: events, and the machines when one is waited for."""
    picture.events = await events_about(client, picture)
    placeless = any(one.phase == "Pending" and one.pod and not one.node for one in picture.replicas)
    if placeless and time.monotonic() - picture.looked > _MACHINES:
        picture.looked = time.monotonic()
        try:
            picture.nodes = await client.list(kinds.NODE, shape=shapes.NODE)
        except ForbiddenError:  # a user's account seldom may; the scheduler's words are enough for a sentence
            picture.nodes = None


async def tail_if_any(client: Client, namespace: str, replica: Replica, container: str) -> list[LogLine]:
    """As :func:`tail`, but nothing where the node of the replica does not answer: the rest is told all the same."""
    try:
        lines = await tail(client, namespace, replica, container)
        for pause in _LATE if replica.exit_code is not None else ():
            if not explain.torn(lines):
                break
            await asyncio.sleep(pause)
            lines = await tail(client, namespace, replica, container)
    except ApiError as error:
        if error.code < 500:  # noqa: PLR2004
            raise
        return []
    return lines


async def tail(
    client: Client,
    namespace: str,
    replica: Replica,
    container: str,
    *,
    count: int | None = TAIL,
    since: int | None = None,
) -> list[LogLine]:
    """The last lines of a replica, of its run before this one too when it was started again and has said nothing."""
    for previous in (False, True):
        if previous and not replica.restarts:
            break

        async def read(most: int | None, previous: bool = previous) -> list[LogLine]:  # noqa: FBT001  of this loop
            return [
                logs.parse(line, replica.name)
                async for line in client.logs(
                    namespace,
                    replica.pod,
                    container=container,
                    tail=most,
                    since_seconds=since,
                    timestamps=True,
                    previous=previous,
                )
            ]

        try:
            lines = await _for_people(read, count)
        except (NotFoundError, InvalidError):  # not started yet, or gone
            continue
        if lines:
            return lines
    return []


async def _for_people(
    read: Callable[[int | None], Coroutine[Any, Any, list[LogLine]]], count: int | None
) -> list[LogLine]:
    """The last lines without those that carry result files, of which there may be more than were asked for."""
    lines = await read(count)
    shown = [line for line in lines if not logs.packed(line)]
    if count is None or len(shown) == len(lines):
        return shown
    most = count + _PACKED
    return [line for line in await read(most) if not logs.packed(line)][-count:]


async def events_about(client: Client, picture: Picture) -> list[Event]:
    """Events of the job, of its volumes, and of replicas that do not run; oldest first."""
    job = picture.job
    space = meta(job)["namespace"]
    silent = picture.silent()
    stuck = [
        one.pod
        for one in picture.replicas
        if one.pod and (one.phase not in ("Running", "Succeeded") or one.pod in silent)
    ]
    asked: list[Coroutine[Any, Any, list[Obj]]] = [client.events(space, uid=str(meta(job).get("uid", "")))]
    asked += [client.events(space, name=name) for name in [*stuck[:4], *training.claims_of(job)[:4]]]
    try:
        found = [explain.decode_event(event) for events in await asyncio.gather(*asked) for event in events]
    except ForbiddenError:  # a view without events is better than none
        return []
    return sorted(found, key=lambda event: event.last or 0.0)
