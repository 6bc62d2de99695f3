"""What a magic and the command of the same name do alike: calls of the public API, turned into something to show.

Free of IPython, so that ``jupyter kf`` can use it. Decides nothing about jobs; every rule is in the services.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from jupyterlab_kf.errors import ApiError, UnreachableError, UsageError, WaitTimeoutError
from jupyterlab_kf.magics.arguments import CLUSTER_ACTIONS
from jupyterlab_kf.model import JobView, LogLine
from jupyterlab_kf.widgets import tables, text
from jupyterlab_kf.widgets.display import Output, ended, follow, output_for
from jupyterlab_kf.widgets.rendered import Rendered
from jupyterlab_kf.widgets.wire import VERSION

if TYPE_CHECKING:
    from jupyterlab_kf import Cluster, Job


T = TypeVar("T")


def submitted(submit: Callable[[], T]) -> tuple[T, list[str]]:
    """What was submitted, and what that warns of; without the line of source, which would tell a person nothing."""
    with warnings.catch_warnings(record=True) as told:
        for category in (FutureWarning, UserWarning):
            warnings.simplefilter("always", category)
        made = submit()
    return made, [str(warning.message) for warning in told]


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
    from jupyterlab_kf.services.downloads import Fetched

    files = job.files()
    left = Fetched([], [one for one in files if one.left_out]).notice
    return tables.files_list(folder, [(one.path, one.size) for one in files if not one.left_out], left)


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


def listing(options: argparse.Namespace) -> Rendered:
    """The table of jobs that the options of ``kf_jobs`` ask for, newest first."""
    import jupyterlab_kf as kf
    from jupyterlab_kf.services.board import JobsRecord

    found = kf.jobs(options.namespace, all_namespaces=options.all_namespaces)
    here, now = kf.cluster(), time.time()
    space = "" if options.all_namespaces else options.namespace or here.namespace
    rows = tuple(job.row() for job in found[:_MOST_RECORDED])
    record = JobsRecord(VERSION, here.name, space, now, len(found), rows)
    return tables.jobs_table([row(job, now) for job in found], record, namespaces=options.all_namespaces)


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


_MOST_RECORDED = 200
"""A notebook is not made heavier than that."""
_COUNTS = {"active": "running", "succeeded": "done", "failed": "failed"}


def describe(job: Job) -> Rendered:
    """Everything about one job."""
    facts = [(name, _fact(value)) for name, value in job.provenance().items() if value]
    return tables.description(job.view(), list(job.events()), facts)


def cluster(action: str, context: str | None, namespace: str | None = None) -> Rendered:
    """Look at the cluster in use; start or stop the one on this machine; change to another."""
    import jupyterlab_kf as kf

    if action not in CLUSTER_ACTIONS:
        hint = f"the actions are {', '.join(CLUSTER_ACTIONS)}"
        raise UsageError(f"kf_cluster cannot {action!r}", hint=hint)
    if (action == "use") != (context is not None):
        hint = f"the contexts are {', '.join(kf.cluster().contexts())}"
        raise UsageError("kf_cluster use takes the name of a context, and nothing else does", hint=hint)
    if namespace is not None and action != "use":
        raise UsageError("--namespace goes with use", hint="%kf_cluster use NAME --namespace NAMESPACE")
    if action == "stop":
        from jupyterlab_kf import settings
        from jupyterlab_kf.embedded import daemon

        ended = daemon.stop(settings.load())
        said = "The cluster on this machine has ended" if ended else "There was no cluster running on this machine"
        return tables.note(f"{said}; what it keeps is there again at the next start.")
    if action == "use":
        return changed(context or "", namespace or "")
    return cluster_card(kf.cluster("embedded" if action == "start" else None))


def changed(context: str, namespace: str) -> Rendered:
    """Change to another cluster, if it answers, and say what is different from now on."""
    from jupyterlab_kf.services import session

    before = session.current().choice.name
    try:
        session.use(context, namespace, checked=True)
    except (UnreachableError, ApiError) as error:
        error.hint = f"nothing has changed: {before!r} is still the cluster in use. {error.hint}"
        raise
    card = cluster_card(session.cluster())
    if before == context:
        return card
    said = f"Jobs go to {context!r} from now on. Those that were started on {before!r} run on, and are followed there."
    return tables.above(said, card)


def doctor(namespace: str | None) -> Rendered:
    """What the cluster has and lacks for each feature."""
    import jupyterlab_kf as kf
    from jupyterlab_kf.widgets.doctor import report_card

    return report_card(kf.doctor(namespace))


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
