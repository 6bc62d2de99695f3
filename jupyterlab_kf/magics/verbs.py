"""What a magic and the command of the same name do alike: calls of the public API, turned into something to show.

Free of IPython, so that ``jupyter kf`` can use it. Decides nothing about jobs; every rule is in the services.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jupyterlab_kf.errors import UsageError, WaitTimeoutError
from jupyterlab_kf.magics.arguments import CLUSTER_ACTIONS
from jupyterlab_kf.model import JobView, LogLine
from jupyterlab_kf.widgets import tables, text
from jupyterlab_kf.widgets.display import Output, ended, follow, output_for
from jupyterlab_kf.widgets.rendered import Rendered

if TYPE_CHECKING:
    from jupyterlab_kf import Cluster, Job


def watch(job: Job, output: Output, *, timeout: float | None = None) -> Job:
    """Show a job until it is finished; raises as ``job.wait()`` does.

    Raises:
        JobFailedError: it failed.
        WaitTimeoutError: it is not finished in time; it goes on.
    """
    limit = None if timeout is None else time.monotonic() + timeout
    follow(until(job.watch(), limit, job), output)
    return job.wait()


def show(job: Job, *, timeout: float | None = None) -> Job:
    """Show a job live until it is finished, as ``%%kf_train`` does; in a terminal or a script, as lines.

    Interrupting leaves the job running.

    Raises:
        JobFailedError: it failed.
        WaitTimeoutError: it is not finished in time; it goes on.
    """
    interactive = sys.modules.get("IPython")
    return watch(job, output_for(interactive.get_ipython() if interactive else None), timeout=timeout)


def brought(job: Job, folder: Path) -> Rendered:
    """The files that a finished job's ``wait`` brought back."""
    return tables.files_list(folder, [(file.path, file.size) for file in job.files()])


def until(views: Iterator[JobView], limit: float | None, job: Job) -> Iterator[JobView]:
    """The views, up to a moment of the monotonic clock.

    Raises:
        WaitTimeoutError: that moment came first.
    """
    with ended(views):
        for view in views:
            yield view
            if limit is not None and time.monotonic() > limit and not view.status.phase.finished:
                raise WaitTimeoutError(
                    f"the job {job.name} is still {view.status.phase}",
                    hint="it goes on; wait for it again, or look at its lines",
                    ref=job.ref,
                )


def logs(options: argparse.Namespace) -> Iterator[LogLine]:
    """The lines that the options of ``kf_logs`` ask for."""
    import jupyterlab_kf as kf

    job: Job = kf.job(options.name, options.namespace)
    return job.logs(
        options.replica if options.rank is None else options.rank,
        follow=options.follow,
        tail=options.tail,
        since=options.since,
        timestamps=options.timestamps,
    )


def listing(jobs: Sequence[Job], *, namespaces: bool) -> Rendered:
    """The table of jobs, newest first."""
    now = time.time()
    return tables.jobs_table([row(job, now) for job in jobs], namespaces=namespaces)


def row(job: Job, now: float) -> tables.JobRow:
    """A job's line in the table; asks the cluster nothing that the list did not bring."""
    status = job.seen()
    began, ended = status.started, status.finished or now
    counts = {word: sum(role.get(key, 0) for role in status.replicas.values()) for key, word in _COUNTS.items()}
    return tables.JobRow(
        name=job.name,
        namespace=job.namespace,
        framework=job.framework,
        phase=str(status.phase),
        replicas=", ".join(f"{count} {word}" for word, count in counts.items() if count),
        age=None if status.created is None else now - status.created,
        took=None if began is None else ended - began,
    )


_COUNTS = {"active": "running", "succeeded": "done", "failed": "failed"}


def describe(job: Job) -> Rendered:
    """Everything about one job."""
    facts = [(name, _fact(value)) for name, value in job.provenance().items() if value]
    return tables.description(job.view(), list(job.events()), facts)


def cluster(action: str, context: str | None) -> Rendered:
    """Look at the cluster in use; start or stop the one on this machine; change to another."""
    import jupyterlab_kf as kf

    if action not in CLUSTER_ACTIONS:
        hint = f"the actions are {', '.join(CLUSTER_ACTIONS)}"
        raise UsageError(f"kf_cluster cannot {action!r}", hint=hint)
    if (action == "use") != (context is not None):
        hint = f"the contexts are {', '.join(kf.cluster().contexts())}"
        raise UsageError("kf_cluster use takes the name of a context, and nothing else does", hint=hint)
    if action == "stop":
        from jupyterlab_kf import settings
        from jupyterlab_kf.embedded import daemon

        ended = daemon.stop(settings.load())
        said = "The cluster on this machine has ended" if ended else "There was no cluster running on this machine"
        return tables.note(f"{said}; what it keeps is there again at the next start.")
    wanted = context if action == "use" else ("embedded" if action == "start" else None)
    return cluster_card(kf.cluster(wanted))


def cluster_card(found: Cluster) -> Rendered:
    """A cluster and its machines; asking its server starts it when it is our own."""
    nodes = tuple(
        tables.NodeRow(node.name, ready=node.ready, cpu=node.cpu, memory=_gigabytes(node.memory), gpu=node.gpu)
        for node in found.nodes()
    )
    others = tuple(name for name in found.contexts() if name != found.name)
    return tables.cluster_card(
        tables.ClusterFacts(found.name, found.why, found.server, found.version(), found.namespace, nodes, others)
    )


def _gigabytes(memory: str) -> str:
    from jupyterlab_kf import quantities

    return f"{float(quantities.parse(memory)) / 2**30:.1f} GiB" if memory else ""


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
