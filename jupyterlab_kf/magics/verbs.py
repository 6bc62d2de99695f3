"""What a magic and the command of the same name do alike: calls of the public API, turned into something to show.

Free of IPython, so that ``jupyter kf`` can use it. Decides nothing about jobs; every rule is in the services.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from jupyterlab_kf.errors import UsageError, WaitTimeoutError
from jupyterlab_kf.model import JobView
from jupyterlab_kf.widgets import tables, text
from jupyterlab_kf.widgets.display import Output, follow
from jupyterlab_kf.widgets.rendered import Rendered

if TYPE_CHECKING:
    from jupyterlab_kf import Job


def watch(job: Job, output: Output, *, timeout: float | None = None) -> Job:
    """Show a job until it is finished; raises as ``job.wait()`` does.

    Raises:
        JobFailedError: it failed.
        WaitTimeoutError: it is not finished in time; it goes on.
    """
    limit = None if timeout is None else time.monotonic() + timeout
    follow(until(job.watch(), limit, job), output)
    return job.wait()


def until(views: Iterable[JobView], limit: float | None, job: Job) -> Iterable[JobView]:
    """The views, up to a moment of the monotonic clock.

    Raises:
        WaitTimeoutError: that moment came first.
    """
    for view in views:
        yield view
        if limit is not None and time.monotonic() > limit and not view.status.phase.finished:
            raise WaitTimeoutError(
                f"the job {job.name} is still {view.status.phase}",
                hint=f"it goes on; show it again with `kf_wait {job.name}`",
                ref=job.ref,
            )


def listing(jobs: Sequence[Job], *, namespaces: bool) -> Rendered:
    """The table of jobs, newest first."""
    rows = [row(job.view()) for job in jobs]
    rows.sort(key=lambda one: float("inf") if one.age is None else one.age)
    return tables.jobs_table(rows, namespaces=namespaces)


def row(view: JobView) -> tables.JobRow:
    """A job's line in the table."""
    status = view.status
    alive = sum(replica.phase in ("Running", "Succeeded") for replica in view.replicas)
    began, ended = status.started, status.finished or view.seen
    return tables.JobRow(
        name=view.ref.name,
        namespace=view.ref.namespace,
        framework=view.framework,
        phase=str(status.phase),
        replicas=f"{alive}/{len(view.replicas)}" if view.replicas else "",
        age=None if status.created is None else view.seen - status.created,
        took=None if began is None else ended - began,
    )


def describe(job: Job) -> Rendered:
    """Everything about one job."""
    from jupyterlab_kf.manifests import training

    facts = [(name, _fact(value)) for name, value in training.provenance(job.manifest()).items() if value]
    return tables.description(job.view(), list(job.events()), facts)


def _fact(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item!r}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return str(value)


def delete(names: Sequence[str], namespace: str | None, *, everything: bool) -> Rendered:
    """Delete jobs; nothing is deleted when one of the names does not exist."""
    import jupyterlab_kf as kf

    if everything == bool(names):
        raise UsageError("which jobs?", hint="give names, or --all for every training job of the namespace")
    found = kf.jobs(namespace) if everything else [kf.job(name, namespace) for name in names]
    for job in found:
        job.delete()
    if not found:
        return tables.note("There are no training jobs to delete.")
    return tables.note(f"Deleted {text.plural(len(found), 'job')}: {', '.join(job.name for job in found)}.")
