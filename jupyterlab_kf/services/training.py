"""Submitting a training job: checks, code, results' volume, job, owner references, in an order that a crash survives.

What the job needs is created first and removed again if the job is refused, so nothing is left behind. A request that
no machine of the cluster could ever satisfy, or whose name is taken, is refused before anything exists.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

from jupyterlab_kf import kinds, names
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
from jupyterlab_kf.services import session
from jupyterlab_kf.services.jobs import Job, find_all
from jupyterlab_kf.services.plans import Plan, Request, kind_of, make

_GONE_TIMEOUT = 120.0
_ORPHAN_AGE = 600.0
"""Seconds after which code that no job owns is what a killed submit left behind."""


def train(
    code: str | Path | Callable[..., object],
    framework: str = "pytorch",
    *,
    workers: int | None = None,
    replicas: Mapping[str, int] | None = None,
    name: str | None = None,
    namespace: str | None = None,
    cpu: float | str | None = None,
    memory: float | str | None = None,
    gpu: int | None = None,
    nproc: int = 1,
    env: Mapping[str, str] | None = None,
    args: Sequence[str] = (),
    params: Mapping[str, object] | None = None,
    files: Sequence[str | Path] = (),
    image: str | None = None,
    output: str | Path | None = None,
    replace: bool = False,
    restart: str | None = None,
    retries: int | None = None,
    deadline: int | None = None,
    ttl: int | None = None,
    clean: str = "Running",
    elastic: tuple[int, int] | None = None,
    filename: str = "cell.py",
    first_line: int = 1,
    root: Path | None = None,
) -> Job:
    """Run code as a distributed training job. Submits and returns at once.

    Args:
        code: source text, a script's path, or a function.
        framework: pytorch, tensorflow, mpi, mxnet or chainer.
        workers: how many replicas train; the framework's launchers, masters and servers come by themselves.
        replicas: role to count, for layouts of your own: ``{"chief": 1, "ps": 1, "worker": 2}``.
        name: the job's name; made from the code's when left out.
        namespace: where the job goes; the connection's own when left out.
        cpu: CPUs of each replica, such as 2 or "500m".
        memory: memory of each replica, such as "4Gi".
        gpu: GPUs of each replica.
        nproc: processes in each replica.
        env: environment variables.
        args: what the code finds in ``sys.argv[1:]``.
        params: plain data; globals of the code before it runs, or the function's arguments.
        files: further files and folders to ship, beside the local modules that the code imports.
        image: the container image; the framework's own when left out.
        output: folder that the files written to ``$KF_OUTPUT`` come back to.
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
    request = Request(
        code=code,
        framework=framework,
        workers=workers,
        replicas=replicas,
        name=name,
        namespace=namespace,
        cpu=cpu,
        memory=memory,
        gpu=gpu,
        nproc=nproc,
        env=env,
        args=args,
        params=params,
        files=files,
        image=image,
        output=output,
        replace=replace,
        restart=restart,
        retries=retries,
        deadline=deadline,
        ttl=ttl,
        clean=clean,
        elastic=elastic,
        filename=filename,
        first_line=first_line,
        root=root,
    )
    here = session.current()
    planned = make(request, namespace=here.namespace, submission=_submission())
    made = here.run(lambda client: submit(client, planned))
    return Job(here, made, output=Path(output) if output is not None else None)


def plan(
    code: str | Path | Callable[..., object],
    framework: str = "pytorch",
    *,
    workers: int | None = None,
    replicas: Mapping[str, int] | None = None,
    name: str | None = None,
    namespace: str | None = None,
    cpu: float | str | None = None,
    memory: float | str | None = None,
    gpu: int | None = None,
    nproc: int = 1,
    env: Mapping[str, str] | None = None,
    args: Sequence[str] = (),
    params: Mapping[str, object] | None = None,
    files: Sequence[str | Path] = (),
    image: str | None = None,
    output: str | Path | None = None,
    replace: bool = False,
    restart: str | None = None,
    retries: int | None = None,
    deadline: int | None = None,
    ttl: int | None = None,
    clean: str = "Running",
    elastic: tuple[int, int] | None = None,
    filename: str = "cell.py",
    first_line: int = 1,
    root: Path | None = None,
) -> Plan:
    """What :func:`train` would create for the same arguments. Creates nothing and speaks to no server.

    Raises:
        UsageError: something about the request is wrong.
    """
    request = Request(
        code=code,
        framework=framework,
        workers=workers,
        replicas=replicas,
        name=name,
        namespace=namespace,
        cpu=cpu,
        memory=memory,
        gpu=gpu,
        nproc=nproc,
        env=env,
        args=args,
        params=params,
        files=files,
        image=image,
        output=output,
        replace=replace,
        restart=restart,
        retries=retries,
        deadline=deadline,
        ttl=ttl,
        clean=clean,
        elastic=elastic,
        filename=filename,
        first_line=first_line,
        root=root,
    )
    return make(request, namespace=session.current().namespace, submission=_submission())


async def submit(client: Client, planned: Plan) -> Obj:
    """Create what was planned; answers the job as the server has it.

    Raises:
        UsageError: no machine of the cluster could give a replica what it asks for.
        AlreadyExistsError: the name is taken and the request does not replace.
    """
    spec = planned.spec
    served, taken, nodes = await asyncio.gather(
        _served(client, spec.job_kind), find_all(client, spec.namespace, spec.name), _nodes(client)
    )
    if served != spec.job_kind:
        planned = make(planned.request, namespace=spec.namespace, submission=spec.submission, kind=served)
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


async def remove(client: Client, job: Obj, timeout: float = _GONE_TIMEOUT) -> None:  # noqa: ASYNC109  part of the face
    """Delete this very job and wait until it and its pods are gone.

    Raises:
        WaitTimeoutError: it is still there.
    """
    head, kind = meta(job), kind_of(job)
    await client.delete(kind, head["namespace"], head["name"], uid=head["uid"])
    pause = 0.05
    waited = 0.0
    while waited < timeout:
        if await _gone(client, kind, job):
            return
        await asyncio.sleep(pause)
        waited += pause
        pause = min(pause * 1.5, 1.0)
    raise WaitTimeoutError(
        f"{Ref.of(job)} is still being deleted after {timeout:.0f} s", hint="try again in a while", ref=Ref.of(job)
    )


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
        return await client.list(kinds.NODE)
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
    """Remove what a killed submit of the same name left: code and volumes of no job, older than any submit takes."""
    for kind in (kinds.CONFIG_MAP, kinds.PERSISTENT_VOLUME_CLAIM):
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
