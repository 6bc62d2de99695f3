"""Training jobs as objects to hold: look, follow, wait, fetch, delete. All state is the cluster's.

A :class:`Job` keeps a name and nothing that a restarted kernel would miss; however a job was made, ``job("name")`` is
the same thing again. Interrupting what waits or follows leaves the job running.
"""

from __future__ import annotations

import asyncio
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster import shapes
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import JobFailedError, NotFoundError, UsageError, WaitTimeoutError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import frameworks, training
from jupyterlab_kf.model import (
    Event,
    Explanation,
    JobView,
    LogLine,
    Obj,
    Phase,
    Point,
    Ref,
    Replica,
    Status,
    meta,
)
from jupyterlab_kf.services import downloads, feed, logs, pictures, session
from jupyterlab_kf.services.board import JobRow, row_of
from jupyterlab_kf.services.downloads import ResultFile
from jupyterlab_kf.services.explain import decode_event
from jupyterlab_kf.services.metrics import Metrics
from jupyterlab_kf.services.plans import kind_of, to_yaml
from jupyterlab_kf.services.session import Session

_SERVER_FIELDS = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")


class Job:
    """One training job of a cluster."""

    def __init__(self, where: Session, obj: Obj, *, output: Path | None = None) -> None:
        self._session = where
        self._read_last = obj
        self._row = frameworks.of_kind(str(obj.get("kind")))
        self._output = output
        self._fetched = False
        self._last: JobView | None = None
        self._kept: pictures.Picture | None = None

    @property
    def _obj(self) -> Obj:
        """Everything that was last read of it; what a list left as text is decoded when it is first looked at."""
        if shapes.is_folded(self._read_last):
            self._read_last = shapes.unfold(self._read_last)
        return self._read_last

    @property
    def name(self) -> str:
        """The job's name."""
        return str(meta(self._read_last)["name"])

    @property
    def namespace(self) -> str:
        """The namespace that it is in."""
        return str(meta(self._read_last)["namespace"])

    @property
    def kind(self) -> str:
        """Its kind, such as ``PyTorchJob``."""
        return str(self._read_last["kind"])

    @property
    def framework(self) -> str:
        """Its framework, such as ``pytorch``."""
        return self._row.name if self._row else ""

    @property
    def ref(self) -> Ref:
        """Where it is."""
        return Ref.of(self._read_last)

    @property
    def output(self) -> Path | None:
        """The folder that its results come back to; None for a job without results."""
        named = self._output or training.provenance(self._obj).get("output")
        return Path(named) if named and training.output_of(self._obj) is not None else None

    def status(self) -> Status:
        """What the cluster says about it now."""
        return training.decode(self._read())

    def seen(self) -> Status:
        """What was last read of it, without asking the cluster: right for a job that was listed a moment ago."""
        return training.decode(self._read_last)

    def row(self) -> JobRow:
        """What a list shows of it, as it was last read."""
        return row_of(self._obj)

    def view(self) -> JobView:
        """Everything about it at this moment: replicas, last lines, metrics, the reason why."""
        return self._picture().view()

    def watch(self) -> Iterator[JobView]:
        """Views until it is finished: at every change, and at least every second."""
        self._kept = kept = pictures.Picture(self._obj)
        for view in self._session.iterate(lambda client: feed.views(client, self._kind, kept)):
            self._last = view
            yield view

    def replicas(self) -> tuple[Replica, ...]:
        """Its replicas, those too that do not run yet."""
        job = self._read()
        found = self._session.run(
            lambda client: client.list(kinds.POD, self.namespace, selector=training.pod_selector(job), shape=shapes.POD)
        )
        return training.replicas(job, found)

    def logs(
        self,
        replica: str | int | None = None,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: int | None = None,
        timestamps: bool = False,
    ) -> Iterator[LogLine]:
        """Its lines, in the order of their times.

        Args:
            replica: ``worker-1``, ``rank-1`` or a rank's number; all when left out.
            follow: go on until the job is finished.
            tail: only the last lines of each replica.
            since: only lines of the last so many seconds.
            timestamps: fill in ``LogLine.time``.
        """
        wanted = None if replica is None else self._replica_name(replica)
        lines = self._follow(tail, since) if follow else iter(self._lines(tail, since))
        for line in lines:
            if wanted is None or line.replica == wanted:
                yield line if timestamps else feed.without_times(line)

    def events(self) -> list[Event]:
        """Events about it and its replicas, oldest first."""
        picture = pictures.Picture(self._read())

        async def read(client: Client) -> list[Event]:
            found = await client.list(
                kinds.POD, self.namespace, selector=training.pod_selector(picture.job), shape=shapes.POD
            )
            owned = [str(meta(pod)["uid"]) for pod in training.owned(picture.job, found)]
            uids = [str(meta(picture.job).get("uid", "")), *owned]
            every = await asyncio.gather(*(client.events(self.namespace, uid=uid) for uid in uids))
            return [decode_event(event) for events in every for event in events]

        return sorted(self._session.run(read), key=lambda event: event.last or 0.0)

    def metrics(self) -> Mapping[str, Mapping[str, tuple[Point, ...]]]:
        """Metrics that it printed: name to replica to points."""
        collected = Metrics()
        for line in self._lines(None, None):
            collected.feed(line)
        return collected.frozen()

    def explain(self) -> Explanation | None:
        """Why it waits or failed, and what to do; None when all is well."""
        return self.view().explanation

    def wait(self, timeout: float | None = None) -> Job:
        """Wait until it has succeeded; then its results, if ``output`` named a folder, are there.

        Raises:
            JobFailedError: it failed; says which replica first, with its traceback.
            WaitTimeoutError: it is not finished in time. It goes on.
            NotFoundError: it was deleted.
        """
        view = self._last
        if view is None or not view.status.phase.finished:
            self._kept = kept = pictures.Picture(self._obj)
            view = self._session.run(lambda client: _finished(client, self._kind, kept, timeout))
            self._last = view
        if view.status.phase is Phase.FAILED:
            raise self._failure(view)
        if self._output is not None and not self._fetched and training.output_of(self._obj) is not None:
            self.download(self._output)
        return self

    def files(self) -> list[ResultFile]:
        """The files in its output folder.

        Raises:
            UsageError: it has no output folder.
        """
        return self._session.run(lambda client: downloads.listing(client, self._obj))

    def download(self, directory: str | Path | None = None) -> list[Path]:
        """Bring the files of its output folder here; answers their paths.

        Files that are here already are not fetched again, and what an interrupted download got is kept: call it again.

        Raises:
            UsageError: it has no output folder, or no directory is known.
        """
        target = Path(directory) if directory is not None else self.output
        if target is None:
            raise UsageError(f"{self.ref} has no output folder", hint="give one with --output DIR when it is made")
        found = self._session.run(lambda client: downloads.fetch(client, self._obj, target))
        self._fetched = True
        if found.notice:
            warnings.warn(f"{self.ref}: {found.notice}", stacklevel=2)
        return found.paths

    def delete(self) -> None:
        """Delete it, with its pods, its code and its results on the cluster."""
        head = meta(self._obj)
        self._session.run(
            lambda client: client.delete(self._kind, self.namespace, self.name, uid=str(head.get("uid", "")))
        )

    def manifest(self) -> Obj:
        """It as a manifest that can be created anew: without what the server added."""
        job = self._read()
        head = {key: value for key, value in meta(job).items() if key not in _SERVER_FIELDS}
        return {"apiVersion": job["apiVersion"], "kind": job["kind"], "metadata": head, "spec": job.get("spec")}

    def yaml(self) -> str:
        """The manifest as YAML."""
        return to_yaml(self.manifest())

    def provenance(self) -> Mapping[str, object]:
        """What it runs, as it was recorded when it was made."""
        return training.provenance(self._obj)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.namespace}/{self.name}: {self.seen().phase}>"

    @property
    def _kind(self) -> Kind:
        return kind_of(self._obj)

    def _read(self) -> Obj:
        """The job as it is now; another job that took its name is not it."""
        now = self._session.run(lambda client: client.get(self._kind, self.namespace, self.name))
        if meta(now).get("uid") != meta(self._obj).get("uid"):
            raise NotFoundError(
                f"{self.ref} was deleted, and another job has its name",
                hint=f"jupyterlab_kf.job({self.name!r}) is the other one",
                ref=self.ref,
            )
        self._read_last = now
        return now

    def _picture(self) -> pictures.Picture:
        job = self._read()
        return self._session.run(lambda client: pictures.snapshot(client, job))

    def _lines(self, tail: int | None, since: int | None) -> list[LogLine]:
        replicas = [one for one in self.replicas() if one.pod]
        container = training.container_of(self._obj)

        async def read(client: Client) -> list[list[LogLine]]:
            reads = (pictures.tail(client, self.namespace, one, container, count=tail, since=since) for one in replicas)
            return list(await asyncio.gather(*reads))

        found = self._session.run(read)
        if self._kept is not None:
            # Replicas that still ran when the job was done were cleaned up, their logs with them.
            there = {line.replica for lines in found for line in lines}
            found += [list(lines)[-(tail or 0) :] for name, lines in self._kept.tails.items() if name not in there]
        return logs.merge(line for lines in found for line in lines)

    def _follow(self, tail: int | None, since: int | None) -> Iterator[LogLine]:
        first = None
        if tail is not None or since is not None:
            # What is there is cut; what comes is not.
            there = self._lines(tail, since)
            yield from there
            first = max((line.time or 0.0 for line in there), default=time.time() - (since or 0))
        lines = self._session.iterate(lambda client: feed.follow_lines(client, self._kind, self._obj))
        for line in lines:
            if first is None or (line.time or 0.0) > first:
                yield line

    def _replica_name(self, replica: str | int) -> str:
        counts = training.counts(self._obj)
        if isinstance(replica, int) or replica.isdigit():
            rank = int(replica)
            if self.framework in ("mpi", "chainer"):
                return f"rank-{rank}"
            if "master" in counts or "chief" in counts:
                leader = "master" if "master" in counts else "chief"
                return f"{leader}-0" if rank == 0 else f"worker-{rank - 1}"
            return f"worker-{rank}"
        known = [f"{role}-{index}" for role, count in counts.items() for index in range(count)]
        if replica not in known and not replica.startswith("rank-"):
            raise UsageError(
                f"{self.ref} has no replica {replica!r}", hint=frameworks.nearest(replica, known, "it has")
            )
        return replica

    def _failure(self, view: JobView) -> JobFailedError:
        why = view.explanation or Explanation(view.status.message or "it failed")
        codes = {one.name: one.exit_code for one in view.replicas}
        code = codes.get(why.replica) or next((code for code in codes.values() if code), None)
        text = f"{self.ref} failed: {why.sentence}"
        return JobFailedError(
            f"{text}\n\n{why.traceback}" if why.traceback else text,
            replica=why.replica,
            exit_code=1 if why.traceback and code in (None, 137, 143) else code,
            traceback=why.traceback,
            hint=why.hint,
            ref=self.ref,
        )


def job(name: str, namespace: str | None = None) -> Job:
    """The training job of that name, however it was made.

    Raises:
        NotFoundError: there is none; names the nearest.
    """
    here = session.current()
    space = namespace or here.namespace
    found = here.run(lambda client: find_all(client, space, name))
    if not found:
        known = [one.name for one in jobs(space)]
        hint = frameworks.nearest(name, known, "the jobs there are") if known else "there are no jobs there"
        raise NotFoundError(f"there is no training job {name!r} in namespace {space}", hint=hint)
    return Job(here, found[0])


def jobs(namespace: str | None = None, all_namespaces: bool = False) -> list[Job]:  # noqa: FBT001, FBT002  the public face
    """The training jobs of a namespace, or of all, newest first; their first ``status()`` asks nobody."""
    here = session.current()
    space = None if all_namespaces else (namespace or here.namespace)
    return [Job(here, obj) for obj in here.run(lambda client: list_all(client, space))]


def delete(name: str, namespace: str | None = None) -> None:
    """Delete the training job of that name, with its pods, its code and its results on the cluster.

    Raises:
        NotFoundError: there is none.
    """
    job(name, namespace).delete()


async def find_all(client: Client, namespace: str, name: str) -> list[Obj]:
    """Training jobs of any kind with that name, newest first."""

    async def one(kind: Kind) -> list[Obj]:
        try:
            return [await client.get(kind, namespace, name)]
        except NotFoundError:
            return []

    return _distinct(await asyncio.gather(*(one(kind) for kind in kinds.TRAINING)))


async def list_all(client: Client, namespace: str | None) -> list[Obj]:
    """Training jobs of every kind that the cluster serves, newest first; their manifests are left as text."""

    async def of(kind: Kind) -> list[Obj]:
        try:
            return await client.list(kind, namespace, shape=shapes.JOB)
        except NotFoundError:  # the cluster does not have this kind
            return []

    return _distinct(await asyncio.gather(*(of(kind) for kind in kinds.TRAINING)))


def _distinct(groups: list[list[Obj]]) -> list[Obj]:
    """Each job once: one that is served in two versions is seen twice."""
    found = {str(meta(obj).get("uid")): obj for group in reversed(groups) for obj in group}
    return sorted(found.values(), key=lambda obj: str(meta(obj).get("creationTimestamp") or ""), reverse=True)


async def _finished(client: Client, kind: Kind, picture: pictures.Picture, timeout: float | None) -> JobView:  # noqa: ASYNC109  of the face
    """The last view. Logs are followed on the way: when a job fails, its pods may be gone a moment later."""
    ref = Ref.of(picture.job)
    views = feed.views(client, kind, picture)
    try:
        async with asyncio.timeout(timeout):
            async for view in views:
                if view.status.phase.finished:
                    return view
    except TimeoutError:
        raise WaitTimeoutError(
            f"{ref} is not finished after {timeout:g} s", hint="it goes on; wait again, or look with %kf_jobs", ref=ref
        ) from None
    finally:
        await views.aclose()
    raise NotFoundError(f"{ref} was deleted", ref=ref)
