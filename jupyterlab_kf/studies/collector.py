"""The metrics collector: follows the primary pod of every running trial and writes its record on the Trial.

Katib puts a sidecar into each pod; here one collector reads what the cluster has anyway (logs, files on volumes,
ports), so nothing in a pod changes and records are written while trials run. It keeps nothing: after a restart it
reads again from the beginning, and the same lines give the same record. What programs push (collectors Push and Custom)
cannot be read again: it is in the record before whoever pushed is answered. What lines mean is known by
:mod:`jupyterlab_kf.controllers.katib.observations`; where they come from by a :class:`Source`, and who takes in what is
pushed is a :class:`Desk`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from jupyterlab_kf import kinds
from jupyterlab_kf.controllers import Key, Patch
from jupyterlab_kf.controllers.katib import expressions
from jupyterlab_kf.controllers.katib import status as conditions
from jupyterlab_kf.controllers.katib.observations import ANNOTATION, Observer, record_of
from jupyterlab_kf.controllers.katib.template import LABEL_TRIAL, pushes
from jupyterlab_kf.controllers.support import FINISHED, name, namespace, phase, terminating, uid
from jupyterlab_kf.errors import KubeflowError, UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manager import Api
from jupyterlab_kf.model import Obj, controller_of, labels, meta, parse_time
from jupyterlab_kf.studies import tfevents

_BETWEEN: Final = 0.25
"""Seconds between two writes of one record, and between two looks at a file."""
_SCRAPE: Final = 0.5
_RETRY: Final = 0.5
_log = logging.getLogger(__name__)


class Source(Protocol):
    """Where trials' output can be read."""

    def log(self, pod: Obj, container: str) -> AsyncIterator[bytes]:
        """The container's log from its beginning, each line after its time, until the container has ended.

        Raises:
            ApiError: there is nothing to read yet.
        """

    def file(self, pod: Obj, container: str, path: str) -> Path:
        """Where the file or folder that the container knows by that path is for us."""

    async def page(self, pod: Obj, port: int, path: str) -> str:
        """What a port of the pod answers to a GET.

        Raises:
            KubeflowError, OSError, ValueError: nothing, or no page.
        """


Pushed: TypeAlias = Sequence[tuple[str, str, float]]
"""Metric, value as text, epoch seconds; in the order in which they were reported."""
Take: TypeAlias = Callable[[str, Pushed], Awaitable[None]]


class Desk(Protocol):
    """Where programs push their metrics to."""

    def open(self, take: Take) -> None:
        """Take in reports from now on, if that is not so already; they are handed on with their trial's name."""


class Collector:
    """Collects for all Trials of an API.

    Args:
        api: where the Trials are.
        source: where their output can be read.
        desk: where they push to; opened for the first trial that does.
        clock: epoch seconds.
    """

    def __init__(
        self, api: Api, source: Source, desk: Desk | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._api, self._source, self._desk, self._clock = api, source, desk, clock
        self._pushed: dict[Key, Observer] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self._wakes: dict[Key, asyncio.Event] = {}
        self._unsubscribe: Callable[[], None] | None = None

    async def start(self) -> None:
        """Follow changes, and begin with the trials that there are."""
        self._unsubscribe = self._api.subscribe(self._changed)
        for trial in self._api.view.list(kinds.TRIAL):
            self._look(trial)

    async def stop(self) -> None:
        """End everything."""
        if self._unsubscribe:
            self._unsubscribe()
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _changed(self, type_: str, kind: Kind, obj: Obj, _: Obj | None) -> None:
        if kind == kinds.TRIAL:
            if type_ == "DELETED":
                self._end(_key(obj))
            else:
                self._look(obj)
        elif kind == kinds.POD:
            self._wake((namespace(obj), str(labels(obj).get(LABEL_TRIAL, ""))))
        elif self._tasks:
            owner = controller_of(obj)
            if owner and owner.get("kind") == kinds.TRIAL.kind:
                self._wake((namespace(obj), str(owner["name"])))

    def _look(self, trial: Obj) -> None:
        key = _key(trial)
        if conditions.end_of(trial) or terminating(trial):
            self._end(key)
        elif key in self._tasks:
            self._wake(key)
        else:
            if self._desk and pushes(trial):
                self._desk.open(self.take)
            self._wakes[key] = asyncio.Event()
            task = asyncio.get_running_loop().create_task(self._collect(key), name=f"collect-{key[1]}")
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._done(key, done))

    def _wake(self, key: Key) -> None:
        if key in self._wakes:
            self._wakes[key].set()

    def _end(self, key: Key) -> None:
        if key in self._tasks:
            self._tasks[key].cancel()

    def _done(self, key: Key, task: asyncio.Task[None]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key], self._wakes[key]
            self._pushed.pop(key, None)
        if not task.cancelled() and task.exception():
            _log.error("the metrics of %s are not collected any more", "/".join(key), exc_info=task.exception())

    async def take(self, trial: str, values: Pushed) -> None:
        """Keep what a trial has pushed; it is in the Trial's record when this returns.

        Raises:
            UsageError: no trial of that name runs and pushes, or more than one does.
        """
        running = [key for key in self._tasks if key[1] == trial]
        found = [one for key in running if (one := self._api.view.get(kinds.TRIAL, *key)) and pushes(one)]
        if len(found) != 1 or record_of(found[0]).get("done"):
            raise UsageError(f"{len(found) or 'no'} trials called {trial} run and push their metrics")
        observer = self._observer(found[0])
        for metric, text, when in values:
            observer.pushed(metric, text, when)
        await self._write(found[0], observer, done=False)

    def _observer(self, trial: Obj, run: str = "") -> Observer:
        """Who observes one run of a trial; of what is pushed, all runs of it."""
        if not pushes(trial):
            return Observer.of(trial, run)
        key = _key(trial)
        if key not in self._pushed:
            self._pushed[key] = Observer.resumed(trial)
        found = self._pushed[key]
        found.source = run or found.source
        return found

    # --- one trial

    async def _collect(self, key: Key) -> None:
        """Read one pod after the other until the job has ended and all is read."""
        read = ""
        while True:
            self._wakes[key].clear()
            trial = self._api.view.get(kinds.TRIAL, *key)
            if trial is None:
                return
            pod = self._primary(trial)
            run = _run_of(pod, trial) if pod else ""
            if pod and run != read and _started(pod, trial) and await self._read(trial, pod, run):
                read = run
                continue
            if self._job_ended(trial) and (pod is None or read == run or not _started(pod, trial)):
                await self._complete(trial, read)
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wakes[key].wait(), _RETRY if pod and run != read else None)

    def _job_ended(self, trial: Obj) -> bool:
        spec = trial["spec"]
        run = spec.get("runSpec") or {}
        kind = self._api.view.served(str(run.get("apiVersion")), str(run.get("kind")))
        job = self._api.view.get(kind, namespace(trial), name(trial)) if kind else None
        if job is None:
            return False
        return any(
            expressions.found(str(spec.get(f"{end}Condition")), job) is not None for end in ("failure", "success")
        )

    def _primary(self, trial: Obj) -> Obj | None:
        """The pod whose metrics count: the newest with the primary labels and container."""
        wanted = {**(trial["spec"].get("primaryPodLabels") or {}), LABEL_TRIAL: name(trial)}
        found = [
            pod
            for pod in self._api.view.list(kinds.POD, namespace(trial))
            if wanted.items() <= labels(pod).items() and _has(pod, _container(trial))
        ]
        return max(found, key=lambda pod: (str(meta(pod).get("creationTimestamp")), name(pod)), default=None)

    def _unread(self, trial: Obj) -> str:
        """Why nothing was read of a job that had pods; empty when it had none, or they never began."""
        pods = self._api.view.list(kinds.POD, namespace(trial))
        own = [pod for pod in pods if labels(pod).get(LABEL_TRIAL) == name(trial)]
        if not own or self._primary(trial) is not None:
            return ""
        wanted = trial["spec"].get("primaryPodLabels") or {}
        if not any(wanted.items() <= labels(pod).items() for pod in own):
            said = ", ".join(f"{key}={value}" for key, value in wanted.items())
            return f"no pod of the job has the labels {said} of spec.trialTemplate.primaryPodLabels"
        return f"no pod of the job has a container {_container(trial)}"

    async def _read(self, trial: Obj, pod: Obj, run: str) -> bool:
        """Read one run of a pod's container to its end; False when there is nothing to read yet."""
        observer = self._observer(trial, run)
        known = record_of(trial)
        observer.began = known.get("began") or _began(pod, trial)
        if not known:  # that it runs is told at once; a record that was there says more
            await self._write(trial, observer, done=False)
        reader = _READERS[str(((trial["spec"].get("metricsCollector") or {}).get("collector") or {}).get("kind"))]
        written = 0.0
        dirty = False
        try:
            async with contextlib.aclosing(reader(self, trial, pod, observer)) as progress:
                async for reported in progress:
                    dirty = dirty or reported
                    if dirty and self._clock() - written >= _BETWEEN:
                        await self._write(trial, observer, done=False)
                        written, dirty = self._clock(), False
        except KubeflowError as error:
            _log.debug("%s cannot be read now: %s", name(pod), error)
            return False
        await self._write(trial, observer, done=False)
        return True

    async def _write(self, trial: Obj, observer: Observer, *, done: bool) -> None:
        await self._patch(trial, observer.record(done=done))

    async def _complete(self, trial: Obj, read: str) -> None:
        """Say that nothing more will come."""
        current = self._api.view.get(kinds.TRIAL, *_key(trial)) or trial
        if not read:
            observer = self._observer(trial)
            observer.unread = "" if observer.series else self._unread(trial)
            await self._write(trial, observer, done=True)
            return
        await self._patch(trial, Observer.finished(record_of(current)))

    async def _patch(self, trial: Obj, text: str) -> None:
        patch = {"metadata": {"annotations": {ANNOTATION: text}}}
        for pause in (0.1, 1.0, 5.0, 0.0):
            try:
                await self._api.execute(Patch(kinds.TRIAL, namespace(trial), name(trial), uid(trial), patch))
            except KubeflowError as error:
                _log.warning("the record of %s could not be written: %s", name(trial), error)
                await asyncio.sleep(pause)
            else:
                return

    # --- readers: each yields after what it has read, whether that reported something

    async def log_lines(self, trial: Obj, pod: Obj, observer: Observer) -> AsyncGenerator[bool]:
        """The container's log."""
        rest = b""
        async for piece in self._source.log(pod, _container(trial)):
            lines = (rest + piece).split(b"\n")
            rest = lines.pop()
            yield sum(_stamped(observer, line) for line in lines) > 0
        yield _stamped(observer, rest) if rest else False

    async def file_lines(self, trial: Obj, pod: Obj, observer: Observer) -> AsyncGenerator[bool]:
        """A file that the container writes."""
        path = self._path(trial, pod)
        offset, rest = 0, b""
        async for last in self._looks(trial, pod):
            data = _read_from(path, offset)
            offset += len(data)
            lines = (rest + data).split(b"\n")
            rest = b"" if last else lines.pop()
            now = self._clock()
            yield sum(observer.line(line.decode(errors="replace"), now) for line in lines) > 0
        await self._tail(trial, pod, observer)

    async def event_files(self, trial: Obj, pod: Obj, observer: Observer) -> AsyncGenerator[bool]:
        """TensorBoard's event files."""
        folder = self._path(trial, pod)
        reader = tfevents.Reader(folder, observer.metrics)
        async for _ in self._looks(trial, pod):
            values = list(reader.read())
            for metric, text, when in values:
                observer.value(metric, text, when)
            yield bool(values)
        await self._tail(trial, pod, observer)

    async def endpoint(self, trial: Obj, pod: Obj, observer: Observer) -> AsyncGenerator[bool]:
        """A page of metrics that the container serves."""
        get = ((trial["spec"]["metricsCollector"]).get("source") or {}).get("httpGet") or {}
        async for _ in self._looks(trial, pod, _SCRAPE):
            try:
                page = await asyncio.wait_for(self._source.page(pod, int(get["port"]), str(get["path"])), _SCRAPE * 4)
            except (OSError, TimeoutError, ValueError, KubeflowError) as error:
                _log.debug("%s serves no metrics now: %s", name(pod), error)
                yield False
                continue
            yield observer.exposition(page, self._clock())
        await self._tail(trial, pod, observer)

    async def reports(self, trial: Obj, pod: Obj, observer: Observer) -> AsyncGenerator[bool]:
        """Nothing: what is pushed comes by itself, and is written at once."""
        async for _ in self._looks(trial, pod):
            yield False
        await self._tail(trial, pod, observer)

    async def _looks(self, trial: Obj, pod: Obj, between: float = _BETWEEN) -> AsyncGenerator[bool]:
        """Time and again while the pod runs, and once more (True) when it has ended."""
        run = _run_of(pod, trial)
        while True:
            now = self._api.view.get(kinds.POD, namespace(pod), name(pod))
            last = now is None or phase(now) in FINISHED or _run_of(now, trial) != run
            yield last
            if last:
                return
            await asyncio.sleep(between)

    def _path(self, trial: Obj, pod: Obj) -> Path:
        source = (trial["spec"].get("metricsCollector") or {}).get("source") or {}
        return self._source.file(pod, _container(trial), str(source["fileSystemPath"]["path"]))

    async def _tail(self, trial: Obj, pod: Obj, observer: Observer) -> None:
        """The last lines of the log, for when the trial fails."""
        lines: list[bytes] = []
        with contextlib.suppress(KubeflowError):
            async for piece in self._source.log(pod, _container(trial)):
                lines = [*lines, *piece.splitlines()][-20:]
        observer.tail = [line.partition(b" ")[2].decode(errors="replace")[:300] for line in lines]


_READERS: Final[Mapping[str, Callable[[Collector, Obj, Obj, Observer], AsyncGenerator[bool]]]] = {
    "StdOut": Collector.log_lines,
    "File": Collector.file_lines,
    "TensorFlowEvent": Collector.event_files,
    "PrometheusMetric": Collector.endpoint,
    "Push": Collector.reports,
    "Custom": Collector.reports,
}


def _stamped(observer: Observer, line: bytes) -> bool:
    stamp, _, text = line.decode(errors="replace").partition(" ")
    try:
        when = parse_time(f"{stamp[:26].rstrip('Z')}Z") or 0.0
    except ValueError:
        when = 0.0
    return observer.line(text, when)


def _read_from(path: Path, offset: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read()
    except OSError:
        return b""


def _container(trial: Mapping[str, Any]) -> str:
    return str(trial["spec"].get("primaryContainerName") or "")


def _has(pod: Mapping[str, Any], container: str) -> bool:
    return any(one.get("name") == container for one in (pod.get("spec") or {}).get("containers") or ())


def _statuses(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from (pod.get("status") or {}).get("containerStatuses") or ()


def _started(pod: Mapping[str, Any], trial: Mapping[str, Any]) -> bool:
    """Whether the primary container runs or has run, so that there is something to read."""
    states = [one.get("state") or {} for one in _statuses(pod) if one.get("name") == _container(trial)]
    return any("running" in state or "terminated" in state for state in states)


def _began(pod: Mapping[str, Any], trial: Mapping[str, Any]) -> float | None:
    """When the present run of the primary container began: epoch seconds."""
    state = next((one.get("state") or {} for one in _statuses(pod) if one.get("name") == _container(trial)), {})
    return parse_time((state.get("running") or state.get("terminated") or {}).get("startedAt"))


def _run_of(pod: Obj, trial: Mapping[str, Any]) -> str:
    """Names one run of the pod's primary container."""
    container = _container(trial)
    restarts = next((one.get("restartCount") or 0 for one in _statuses(pod) if one.get("name") == container), 0)
    return f"{name(pod)}/{uid(pod)}/{restarts}"


def _key(obj: Obj) -> Key:
    return namespace(obj), name(obj)
