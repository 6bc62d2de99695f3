"""Submitting a training job: checks, code, results' volume, job, owner references, in an order that a crash survives.

What the job needs is created first and removed again if the job is refused, so nothing is left behind. A request that
no machine of the cluster could ever satisfy, or whose name is taken, is refused before anything exists.
"""

from __future__ import annotations

import asyncio
import uuid
import warnings
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from jupyterlab_kf import kinds, names
from jupyterlab_kf.cluster import shapes
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import (
    AlreadyExistsError,
    ApiError,
    ClusterError,
    ForbiddenError,
    KubeflowError,
    NotFoundError,
    UnreachableError,
    UsageError,
    WaitTimeoutError,
)
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import frameworks, pods, training
from jupyterlab_kf.model import Obj, Ref, labels, meta, parse_time
from jupyterlab_kf.services import contents, session, shelf, storage
from jupyterlab_kf.services.contents import Contents
from jupyterlab_kf.services.jobs import Job, find_all
from jupyterlab_kf.services.plans import Plan, Request, kind_of, make, taking
from jupyterlab_kf.services.storage import Storage

_GONE_TIMEOUT = 120.0
_ENDING_TIMEOUT = 60.0
"""Seconds: twice the time that Kubernetes gives a pod to end by itself."""
_ORPHAN_AGE = 600.0
"""Seconds after which code that no job owns is what a killed submit left behind."""


@taking(Request)
def train(request: Request) -> Job:  # noqa: D417  its arguments are the request's fields
    """Run code as a distributed training job. Submits and returns at once.

    Args:
        code: source text, the path of a script or a notebook, or a function.
        framework: pytorch, tensorflow, mpi, mxnet or chainer.
        workers: how many replicas train; the framework's launchers, masters and servers come by themselves.
        replicas: role to count, for layouts of your own: ``{"chief": 1, "ps": 1, "worker": 2}``.
        name: the job's name; made from the code's when left out.
        namespace: where the job goes; the connection's own when left out.
        cpu: CPUs of each replica, such as 2 or "500m".
        memory: memory of each replica, such as "4Gi".
        gpu: GPUs of each replica.
        profile: name of a hardware profile (:func:`jupyterlab_kf.profiles`); what is said beside it wins.
        nproc: processes in each replica.
        env: environment variables.
        args: what the code finds in ``sys.argv[1:]``.
        params: plain data; globals of the code before it runs, or the function's arguments.
        files: further files and folders to ship, beside the local modules that the code imports.
        image: the container image; the framework's own when left out.
        install: packages that each pod installs at start unless the image has them: True for those that the code
            imports, in the versions that are installed here, or a list of requirements.
        output: folder that the files written to ``$KF_OUTPUT`` come back to.
        volumes: volume claims to mount, each as ``CLAIM``, ``CLAIM:/PATH`` or ``CLAIM:/PATH:ro``; ``$KF_VOLUME_CLAIM``
            holds the path, which is ``/mnt/CLAIM`` when left out.
        replace: delete a job of that name first.
        restart: Never, OnFailure, Always or ExitCode; the default is Never without ``retries``, else OnFailure.
        retries: restarts before the job fails; 0 unless a restart policy or elasticity asks for restarts (then 3).
        deadline: seconds after which the job fails.
        ttl: seconds after its end at which the job is deleted.
        clean: which pods are deleted at the end: Running, All or None.
        elastic: least and most workers of an elastic PyTorch job.
        filename: the name of source text in tracebacks.
        first_line: the number of its first line in tracebacks.
        root: the folder in which local modules and files are looked up; the working directory when left out.

    Raises:
        UsageError: something about the request is wrong; nothing was created.
        AlreadyExistsError: a job of that name exists and ``replace`` is off.
    """
    here = session.current()
    planned = make(request, namespace=here.namespace, submission=_submission())
    if planned.notice:
        warnings.warn(planned.notice, FutureWarning, stacklevel=3)  # of who called train, through its wrapper
    if planned.needed:
        planned = replace(planned, contents=here.run(lambda client: contents_for(client, planned)))
    for gap in planned.gaps:
        warnings.warn(str(gap), UserWarning, stacklevel=3)
    made = here.run(lambda client: submit(client, planned))
    return Job(here, made, output=Path(request.output) if request.output is not None else None)


@taking(Request)
def plan(request: Request) -> Plan:
    """What :func:`train` would create for the same arguments. Creates nothing, and starts no cluster.

    Raises:
        UsageError: something about the request is wrong.
    """
    here = session.current()
    planned = make(request, namespace=here.namespace, submission=_submission())
    asks = keeps_files(planned) or planned.needed
    found = here.glance(lambda client: seen(client, planned)) if asks else None
    return shown(planned, found) if found else planned


async def submit(client: Client, planned: Plan) -> Obj:
    """Create what was planned; answers the job as the server has it.

    Raises:
        UsageError: no machine of the cluster could give a replica what it asks for.
        AlreadyExistsError: the name is taken and the request does not replace.
    """
    spec = planned.spec
    served, taken, nodes, offered = await asyncio.gather(
        _served(client, spec.job_kind),
        find_all(client, spec.namespace, spec.name),
        _nodes(client),
        storage_for(client, planned),
    )
    planned = placed(planned, offered, served)
    spec = planned.spec
    check_fit(planned.job, nodes)
    for job in taken:
        if not planned.request.replace:
            raise AlreadyExistsError(
                f"{Ref.of(job)} exists",
                hint=f"choose another name, delete it with %kf_delete {spec.name}, or replace it with --replace",
                ref=Ref.of(job),
            )
        await remove(client, job)
    if planned.parcel is not None:
        await shelf.deliver(client, planned.parcel)
    try:
        made = [await client.create(kind_of(obj), obj, namespace=spec.namespace) for obj in planned.manifests]
    except asyncio.CancelledError:
        # An interrupt of the kernel: what is under way is taken back, shielded from the interrupt itself.
        await asyncio.shield(_undo(client, planned))
        raise
    except (ApiError, UnreachableError) as error:
        await _undo(client, planned)
        raise _explained(error, spec.namespace) from error
    *beside, job = made
    await asyncio.gather(*(_adopt(client, job, obj) for obj in beside))
    await _sweep(client, spec.namespace, spec.name)
    return job


async def seen(client: Client, planned: Plan) -> tuple[Storage | None, Contents]:
    """What a plan depends on of this cluster: what there is to keep files on, and what the image has."""
    return await asyncio.gather(storage_for(client, planned), contents_for(client, planned))


def shown(planned: Plan, found: tuple[Storage | None, Contents]) -> Plan:
    """The same plan, with what was seen of a cluster.

    Raises:
        UsageError: it names a claim that is not there.
    """
    offered, known = found
    return replace(placed(planned, offered), contents=known)


async def contents_for(client: Client, planned: Plan) -> Contents:
    """What the image has of what the code imports."""
    return await contents.look(client, planned.spec.image) if planned.needed else planned.contents


async def storage_for(client: Client, planned: Plan) -> Storage | None:
    """What the namespace offers to keep files on; None for a job that has no use for it."""
    return await storage.look(client, planned.spec.namespace) if keeps_files(planned) else None


def placed(planned: Plan, offered: Storage | None, served: Kind | None = None) -> Plan:
    """The same plan for a cluster that offers this storage and serves this version of the kind.

    Raises:
        UsageError: it names a claim that is not there.
    """
    spec = planned.spec
    kind = served or spec.job_kind
    if (kind, offered) == (spec.job_kind, planned.storage):
        return planned
    return make(planned.request, namespace=spec.namespace, submission=spec.submission, kind=kind, storage=offered)


def keeps_files(planned: Plan) -> bool:
    """Whether the plan depends on what there is to keep files on."""
    return planned.spec.output or bool(training.claims_of(planned.job))


async def remove(client: Client, job: Obj, timeout: float = _GONE_TIMEOUT) -> None:  # noqa: ASYNC109  part of the face
    """Delete this very job and wait until it and its pods are gone.

    Raises:
        WaitTimeoutError: it is still there.
    """
    head, kind = meta(job), kind_of(job)
    await client.delete(kind, head["namespace"], head["name"], uid=head["uid"])
    if not await _comes_true(lambda: _gone(client, kind, job), timeout):
        raise WaitTimeoutError(
            f"{Ref.of(job)} is still being deleted after {timeout:.0f} s", hint="try again in a while", ref=Ref.of(job)
        )


async def suspend(client: Client, job: Obj) -> Obj:
    """The job put aside: its replicas end, it stays."""
    return await _set_aside(client, job, value=True)


async def resume(client: Client, job: Obj) -> Obj:
    """The job going on, as soon as the replicas that were put aside have ended.

    Raises:
        WaitTimeoutError: one of them is still there; the job stays suspended.
    """
    await until_put_aside(client, job)
    return await _set_aside(client, job, value=False)


async def until_put_aside(client: Client, job: Obj, timeout: float = _ENDING_TIMEOUT) -> None:  # noqa: ASYNC109
    """Wait until nothing of a suspended job runs or ends any more; returns at once for one that is not suspended.

    Kubeflow's training operator takes a replica that is still ending for one that has failed, and with it the whole job
    (``UpdateJobReplicaStatuses`` in its pkg/core/status.go).

    Raises:
        WaitTimeoutError: one is still there.
    """
    if not suspended(job):
        return
    left: list[str] = []

    async def ended() -> bool:
        found = await client.list(kinds.POD, meta(job)["namespace"], selector=training.pod_selector(job))
        left[:] = [str(meta(pod)["name"]) for pod in training.owned(job, found) if not _rests(pod)]
        return not left

    if not await _comes_true(ended, timeout):
        raise WaitTimeoutError(
            f"{Ref.of(job)} stays suspended: {left[0]} is still ending after {timeout:.0f} s",
            hint="resume it when its old replicas are gone; before that it would count as failed",
            ref=Ref.of(job),
        )


def suspended(job: Obj) -> bool:
    """Whether the job is asked to rest."""
    return bool(((job.get("spec") or {}).get("runPolicy") or {}).get("suspend"))


def _rests(pod: Mapping[str, Any]) -> bool:
    return not meta(pod).get("deletionTimestamp") and (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


async def _set_aside(client: Client, job: Obj, *, value: bool) -> Obj:
    head = meta(job)
    body = {"metadata": {"uid": head["uid"]}, "spec": {"runPolicy": {"suspend": value}}}
    return await client.patch(kind_of(job), head["namespace"], head["name"], body)


async def _comes_true(question: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Whether it is true within so many seconds; asked less and less often."""
    pause, waited = 0.05, 0.0
    while not await question():
        if waited >= seconds:
            return False
        await asyncio.sleep(pause)
        waited += pause
        pause = min(pause * 1.5, 1.0)
    return True


def check_fit(job: Obj, nodes: Sequence[Obj]) -> None:
    """Refuse a job of which a replica asks for more than any machine has. No nodes known: no opinion.

    Raises:
        UsageError: names the resource, what was asked and the most that there is.
    """
    if not nodes:
        return
    available = [
        {name: pods.quantity(value, name) for name, value in ((n.get("status") or {}).get("allocatable") or {}).items()}
        for n in nodes
    ]
    for role, template in training.templates(job).items():
        wanted = pods.requests_of(template.get("spec") or {})
        if any(all(node.get(name, Decimal(0)) >= amount for name, amount in wanted.items()) for node in available):
            continue
        for name, amount in wanted.items():
            most = max(node.get(name, Decimal(0)) for node in available)
            if amount > most:
                raise UsageError(
                    f"each {role} asks for {pods.amount(name, amount)}, but the largest machine of this cluster has "
                    f"{pods.amount(name, most)}",
                    hint=f"ask for at most {pods.amount(name, most)}"
                    if most
                    else "leave it out, or choose another cluster",
                    ref=Ref.of(job),
                )
        raise UsageError(
            f"no single machine of this cluster has all that each {role} asks for: "
            + ", ".join(pods.amount(name, amount) for name, amount in wanted.items()),
            hint="ask for less of one of them",
            ref=Ref.of(job),
        )


def _submission() -> str:
    return uuid.uuid4().hex[:12]


async def _served(client: Client, kind: Kind) -> Kind:
    """The version of the kind that the cluster has: MPIJob comes in two that exclude each other."""
    for row in kinds.named(kind.kind):
        if await client.serves(row):
            return row
    title = next(f.title for f in frameworks.FRAMEWORKS if f.kind.kind == kind.kind)
    raise ClusterError(
        f"this cluster has no {kind.kind}: nothing there runs {title} jobs",
        hint="install Kubeflow's training operator, or work on this machine: KF_CONTEXT=embedded",
    )


async def _nodes(client: Client) -> list[Obj]:
    try:
        return await client.list(kinds.NODE, shape=shapes.NODE)
    except ForbiddenError:
        return []


async def _gone(client: Client, kind: Kind, job: Obj) -> bool:
    head = meta(job)
    try:
        now = await client.get(kind, head["namespace"], head["name"])
    except NotFoundError:
        now = {}
    if meta(now).get("uid") == head["uid"]:
        return False
    left = await client.list(kinds.POD, head["namespace"], selector=training.pod_selector(job))
    return not any(pod for pod in training.owned(job, left))


async def _undo(client: Client, planned: Plan) -> None:
    """Delete what this submission created, also what was created without our hearing of it."""
    for obj in reversed(planned.manifests):
        kind, head = kind_of(obj), meta(obj)
        try:
            now = await client.get(kind, head["namespace"], head["name"])
            if labels(now).get(names.LABEL_SUBMISSION) == planned.spec.submission:
                await client.delete(kind, head["namespace"], head["name"], uid=meta(now)["uid"])
        except (ApiError, UnreachableError):
            continue  # the error that led here is the one to tell; the next submit of that name sweeps


async def _adopt(client: Client, job: Obj, obj: Obj) -> None:
    try:
        await client.patch(kind_of(obj), meta(obj)["namespace"], meta(obj)["name"], training.owner_patch(job))
    except NotFoundError:
        # The job was deleted in this very moment and took its things with it.
        return


async def _sweep(client: Client, namespace: str, name: str) -> None:
    """Remove what a killed submit of the same name left and no job owns, older than any submit takes."""
    for kind in (kinds.CONFIG_MAP, kinds.PERSISTENT_VOLUME_CLAIM, kinds.POD):
        try:
            found = await client.list(kind, namespace, selector=f"{names.LABEL_JOB}={name}")
        except ForbiddenError:
            continue
        newest = max((parse_time(meta(obj).get("creationTimestamp")) or 0.0 for obj in found), default=0.0)
        for obj in found:
            born = parse_time(meta(obj).get("creationTimestamp")) or newest
            if not meta(obj).get("ownerReferences") and newest - born > _ORPHAN_AGE:
                await client.delete(kind, namespace, meta(obj)["name"], uid=meta(obj)["uid"])


def _explained(error: KubeflowError, namespace: str) -> KubeflowError:
    if isinstance(error, NotFoundError) and error.details.get("kind") == "namespaces":
        return NotFoundError(
            f"there is no namespace {namespace!r}",
            details=error.details,
            hint="choose one with --namespace, or create it: kubectl create namespace " + namespace,
        )
    return error
