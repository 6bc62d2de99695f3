"""From a parsed request to a service and back to a value of the wire: one function a route, no HTTP in sight.

Paths from a browser are looked up below the server's root and nowhere else. Manifests that a browser sends are read
as data, without aliases, and applied only to the job they were read from.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf import kinds, names, settings
from jupyterlab_kf.cluster import connection, shapes
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import AlreadyExistsError, BundleError, ConflictError, KubeflowError, UsageError
from jupyterlab_kf.handlers import wire
from jupyterlab_kf.handlers.asks import all_lines
from jupyterlab_kf.manifests import capacity, frameworks, pods, training
from jupyterlab_kf.manifests.capacity import Capacity, Ground
from jupyterlab_kf.manifests.rebase import rebase
from jupyterlab_kf.model import Event, Obj, labels, meta
from jupyterlab_kf.profiles import Use
from jupyterlab_kf.services import again, hardware, notebooks, plans
from jupyterlab_kf.services import training as submitting
from jupyterlab_kf.services.board import JobPage, JobQuery
from jupyterlab_kf.services.desk import Desk
from jupyterlab_kf.services.explain import decode_event
from jupyterlab_kf.services.jobfeed import JobKey
from jupyterlab_kf.services.jobs import find_all
from jupyterlab_kf.services.plans import Plan, Request, kind_of, to_yaml

Where = tuple[str, ...]
"""Kind, namespace, name; and a uid, to mean that very one."""
_HIDDEN: Final = frozenset({"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink"})
_SUBMISSION: Final = re.compile(r"[0-9a-f]{12}")
_UNNAMED: Final = "cell.py"
_LARGEST_MANIFEST: Final = 2**20


async def cluster(desk: Desk) -> wire.ClusterInfo:
    """What the panels look at."""
    desk.open()
    free, ground, fault = None, Ground(), ""
    offers: list[hardware.Offer] = []
    if desk.link.state == "live":
        try:
            ground = await desk.ground()
            free = capacity.capacity(ground)
        except KubeflowError:  # what is free is a help, not a need
            free = None
    try:
        known = await asyncio.to_thread(hardware.catalogue)
        offers = hardware.offers(ground, known.offered(Use.TRAINING))
    except UsageError as error:
        fault = error.message
    return wire.ClusterInfo(
        name=desk.choice.name if desk.choice else "",
        namespace=desk.namespace,
        why=desk.choice.why if desk.choice else "",
        link=desk.link,
        frameworks=tuple(
            wire.Framework(row.name, row.title, tuple(role.name for role in row.roles), row.image, row.leads)
            for row in frameworks.FRAMEWORKS
        ),
        capacity=free,
        profiles=tuple(
            wire.HardwareOffer(
                one.profile.slug,
                one.profile.display_name,
                one.profile.hardware(),
                one.room.sentence,
                not one.room.sentence or one.room.now > 0,
                one.room.ever,
            )
            for one in offers
        ),
        fault=fault,
    )


async def start(desk: Desk) -> wire.ClusterInfo:
    """Start the cluster of our own."""
    await desk.awake()
    return await cluster(desk)


async def contexts(desk: Desk) -> wire.Contexts:
    """The clusters that can be looked at, and which one is."""
    desk.open()
    found = await asyncio.to_thread(lambda: connection.offers(settings.load()))
    current = desk.choice.name if desk.choice else ""
    return wire.Contexts(current, tuple(wire.Context(one.name, one.namespace, one.server) for one in found))


async def use(desk: Desk, said: dict[str, Any]) -> wire.ClusterInfo:
    """Look at another cluster."""
    context, namespace = str(said.get("context") or ""), str(said.get("namespace") or "")
    if not context:
        raise UsageError("which cluster?", hint="context is the name of one")
    if namespace:
        names.check_namespace(namespace)
    await desk.use(context, namespace)
    return await cluster(desk)


async def page(desk: Desk, said: Mapping[str, Sequence[str]]) -> JobPage:
    """A page of rows, once the lists are complete. For programs: the panels use the stream."""

    def one(name: str, default: str) -> str:
        return (said.get(name) or (default,))[-1]

    try:
        offset, limit = max(0, int(one("offset", "0"))), max(0, int(one("limit", "50")))
    except ValueError:
        raise UsageError("offset and limit are numbers") from None
    query = JobQuery(
        text=one("text", ""),
        phases=tuple(said.get("phase") or ()),
        namespace=one("namespace", ""),
        sort=one("sort", "created"),
        descending=one("descending", "true") == "true",
        offset=offset,
        limit=limit,
    )
    return (await desk.ready()).page(query)


def launch_request(said: dict[str, Any]) -> wire.LaunchRequest:
    """A filled-in form; unknown fields are refused."""
    known = {entry.name for entry in fields(wire.LaunchRequest)}
    if unknown := sorted(set(said) - known):
        raise UsageError(f"a launch has no field {unknown[0]!r}")
    like = said.get("like")
    if not (like is None or (isinstance(like, dict) and set(like) <= {"kind", "namespace", "name", "uid"})):
        raise UsageError("like names a job: kind, namespace, name and uid")
    return wire.LaunchRequest(
        **said | {"like": JobKey(**{key: str(one) for key, one in like.items()}) if like else None}
    )


async def plan(desk: Desk, said: dict[str, Any], root: Path) -> wire.PlanAnswer:
    """What a launch would create, and whether it fits now."""
    request = launch_request(said)
    planned = await _planned(desk, request, root)
    room, fits = True, ""
    if desk.link.state == "live":
        found = await submitting.seen(await desk.client(), planned)
        planned = await asyncio.to_thread(submitting.shown, planned, found)
        room, fits = await _fits(desk, planned)
    return wire.PlanAnswer(
        name=planned.spec.name,
        namespace=planned.spec.namespace,
        kind=planned.spec.job_kind.kind,
        summary=planned.summary,
        yaml=planned.yaml(),
        python=planned.python(),
        magic=planned.magic(),
        fits=fits,
        room=room,
        code=planned.bundle.files[planned.bundle.main].decode(errors="replace") if request.path else "",
        dropped=planned.bundle.program.dropped if planned.bundle.program else (),
        gaps=tuple(wire.Gap(gap.sentence, gap.requirements) for gap in planned.gaps),
    )


async def launch(desk: Desk, said: dict[str, Any], root: Path) -> JobKey:
    """Create the job."""
    request = launch_request(said)
    client = await desk.awake()
    planned = await _planned(desk, request, root)
    try:
        made = await submitting.submit(client, planned)
    except AlreadyExistsError as error:
        made = await _mine(client, planned, error)
    return _key_of(made)


async def _mine(client: Client, planned: Plan, error: AlreadyExistsError) -> Obj:
    """The job that this very submission made before, when its answer was lost on the way; else the error."""
    found = await find_all(client, planned.spec.namespace, planned.spec.name)
    mark = planned.spec.submission
    for job in found:
        if labels(job).get(names.LABEL_SUBMISSION) == mark:
            return job
    raise error


async def _planned(desk: Desk, request: wire.LaunchRequest, root: Path) -> Plan:
    if request.like is None:
        return await asyncio.to_thread(_plan, desk, request, root)
    client = await desk.client()
    files = await again.beside(client, await desk.job(request.like, client))

    def around() -> Plan:
        # What travelled with the other job lies around the code as it did there, and is read from there.
        with tempfile.TemporaryDirectory(prefix="kf-like-") as folder:
            for name, content in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            return _plan(desk, request, Path(folder).resolve(), files=sorted(files))

    return await asyncio.to_thread(around)


def _plan(desk: Desk, request: wire.LaunchRequest, root: Path, files: Sequence[str] = ()) -> Plan:
    folder = _below(root, request.folder)
    code: str | Path = _below(root, request.path) if request.path else request.code
    if isinstance(code, str) and not code.strip():
        raise UsageError("there is no code to run", hint="choose a notebook, a cell or a file")
    if isinstance(code, str) and "\n" not in code:
        code += "\n"  # a text of one line is code, and never the name of a file on the server
    row = frameworks.framework(request.framework)
    submission = request.submission if _SUBMISSION.fullmatch(request.submission) else uuid.uuid4().hex[:12]
    stem = Path(request.filename).stem if not request.path and request.filename != _UNNAMED else ""
    asked = Request(
        code=code,
        framework=row.name,
        workers=request.workers if not request.replicas else None,
        replicas=request.replicas or None,
        name=request.name or (_name(stem, submission) if stem else None),
        namespace=request.namespace or None,
        cpu=request.cpu or None,
        memory=request.memory or None,
        gpu=request.gpu or None,
        profile=request.profile or None,
        nproc=request.nproc,
        env=request.env or None,
        args=tuple(request.args),
        params=request.params or None,
        files=files,
        image=request.image or None,
        install=[str(word) for word in request.install],
        output=request.output or None,
        volumes=request.volumes,
        replace=request.replace,
        filename=request.filename,
        root=folder if not request.path else (_below(root, request.path).parent),
    )
    return plans.make(asked, namespace=desk.namespace or "default", submission=submission)


def _name(stem: str, submission: str) -> str:
    return f"{names.slug(stem, limit=names.MAX_JOB_NAME - 6)}-{submission[:5]}"


def _below(root: Path, path: str) -> Path:
    found = (root / path.lstrip("/")).resolve()
    if not found.is_relative_to(root):
        raise BundleError(f"{path} is outside the folder that this server shows")
    return found


async def _fits(desk: Desk, planned: Plan) -> tuple[bool, str]:
    client = await desk.client()
    try:
        submitting.check_fit(planned.job, await client.list(kinds.NODE, shape=shapes.NODE))
    except UsageError as error:
        return False, error.message
    except KubeflowError:
        return True, ""
    ground = await desk.ground()
    if (chosen := planned.spec.hardware) is not None:
        # The sums below know nothing of the machines that a profile is bound to.
        place = hardware.room_for(ground, chosen)
        if place.sentence and not place.now:
            return False, place.sentence
    return _room(planned, capacity.capacity(ground))


def _room(planned: Plan, free: Capacity) -> tuple[bool, str]:
    if not free.nodes:
        return True, ""
    wanted: dict[str, float] = {}
    for role, template in training.templates(planned.job).items():
        for name, amount in pods.requests_of(template.get("spec") or {}).items():
            wanted[name] = wanted.get(name, 0.0) + float(amount) * planned.spec.replicas.get(role, 1)
    have = {"cpu": free.free_cpu, "memory": free.free_memory, pods.GPU: free.free_gpu}
    short = [name for name, amount in wanted.items() if amount > have.get(name, 0.0)]
    if not short:
        return True, "It fits now."
    said = ", ".join({"cpu": "CPUs", "memory": "memory", pods.GPU: "GPUs"}.get(name, name) for name in short)
    return False, f"It would wait: not enough {said} free now."


async def _found(desk: Desk, where: Where) -> tuple[JobKey, Client, Obj]:
    key = JobKey(*where)
    client = await desk.client()
    return key, client, await desk.job(key, client)


async def detail(desk: Desk, where: Where) -> wire.JobDetail:
    """What a job's page shows beside its view."""
    _, client, job = await _found(desk, where)
    code = await again.source(client, job)
    return wire.JobDetail(
        key=_key_of(job),
        manifest=_manifest(job),
        version=str(meta(job).get("resourceVersion", "")),
        provenance=training.provenance(job),
        code=code.text,
        filename=notebooks.notebook_of(code.name),
        files=tuple(notebooks.notebook_of(name) for name in code.files),
        suspended=submitting.suspended(job),
        suspendable=_suspendable(job),
    )


def _manifest(job: Obj) -> str:
    head = {name: value for name, value in meta(job).items() if name not in _HIDDEN}
    return to_yaml({"apiVersion": job["apiVersion"], "kind": job["kind"], "metadata": head, "spec": job.get("spec")})


def _suspendable(job: Obj) -> bool:
    return job.get("kind") != kinds.CHAINER_JOB.kind and not training.decode(job).phase.finished


class OvertakenError(ConflictError):
    """The job has changed since it was read. Says what it is ``now``, and the edit on top of that in ``both``."""

    def __init__(self, error: ConflictError, now: wire.JobDetail, both: str) -> None:
        super().__init__(error.message, hint=error.hint, ref=error.ref)
        self.now = now
        self.both = both


def failure(error: KubeflowError) -> wire.Failure:
    """What is said of a failure."""
    reason = str(getattr(error, "reason", type(error).__name__))
    if isinstance(error, OvertakenError):
        return wire.Failure(error.message, error.hint, reason, error.now, error.both)
    return wire.Failure(error.message, error.hint, reason)


async def replace(desk: Desk, where: Where, said: dict[str, Any]) -> wire.JobDetail:
    """The job with an edited ``manifest``: of the ``version`` that was read, with ``base`` as its manifest.

    Raises:
        OvertakenError: it has changed since; nothing is applied.
    """
    manifest, version, base = (str(said.get(name) or "") for name in ("manifest", "version", "base"))
    edited = await asyncio.to_thread(_parsed, manifest)
    key, client, job = await _found(desk, where)
    head = edited.get("metadata")
    same = isinstance(head, dict) and all(
        (edited.get("kind") == job["kind"], head.get("name") == key.name, head.get("namespace") == key.namespace)
    )
    if not same or not isinstance(head, dict):
        raise UsageError("kind, name and namespace cannot be changed", hint="run the job again under another name")
    body = {**edited, "apiVersion": job["apiVersion"], "metadata": {**head, "resourceVersion": version}}
    if not submitting.suspended(edited):
        await submitting.until_put_aside(client, job)
    kind = kind_of(job)
    path, params = kind.path(key.namespace, key.name), {"fieldManager": "jupyterlab-kf"}
    try:
        await client.request("PUT", path, body=body, params=params)
    except ConflictError as error:
        now = await detail(desk, where)
        both = await asyncio.to_thread(_on_top, base, edited, now.manifest)
        raise OvertakenError(error, now, both) from error
    return await detail(desk, where)


def _on_top(base: str, edited: Obj, now: str) -> str:
    return to_yaml(rebase(_parsed(base) if base else {}, edited, _parsed(now)))


def _parsed(manifest: str) -> Obj:
    import yaml

    if len(manifest) > _LARGEST_MANIFEST:
        raise UsageError("the manifest is larger than any cluster takes")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(manifest, yaml.SafeLoader)):
            raise UsageError("a manifest with YAML aliases is not taken", hint="write the repeated part out")
        found = yaml.safe_load(manifest)
    except yaml.YAMLError as error:
        raise UsageError(f"this is not YAML: {error}") from error
    if not isinstance(found, dict):
        raise UsageError("a manifest is a mapping with apiVersion, kind, metadata and spec")
    return found


async def delete(desk: Desk, where: Where) -> JobKey:
    """The job deleted, with what it owns."""
    key, client, job = await _found(desk, where)
    await client.delete(kind_of(job), key.namespace, key.name, uid=str(meta(job).get("uid", "")))
    return _key_of(job)


async def suspend(desk: Desk, where: Where) -> JobKey:
    """The job stopped for a while: its pods end, it stays."""
    client, job = await _pausing(desk, where)
    return _key_of(await submitting.suspend(client, job))


async def resume(desk: Desk, where: Where) -> JobKey:
    """The job going on, once its pods have ended."""
    client, job = await _pausing(desk, where)
    return _key_of(await submitting.resume(client, job))


async def _pausing(desk: Desk, where: Where) -> tuple[Client, Obj]:
    key, client, job = await _found(desk, where)
    if not _suspendable(job):
        raise UsageError(f"{key.kind} {key.name} cannot be suspended", hint="delete it to stop it")
    return client, job


async def rerun(desk: Desk, where: Where) -> JobKey:
    """The same job once more."""
    _, client, job = await _found(desk, where)
    return _key_of(await again.rerun(client, job))


DEEDS: Final[dict[str, Callable[[Desk, Where], Awaitable[JobKey]]]] = {
    "suspend": suspend,
    "resume": resume,
    "rerun": rerun,
}


async def events(desk: Desk, where: Where) -> list[Event]:
    """Events of a job and of its pods, oldest first."""
    key, client, job = await _found(desk, where)
    found = await client.list(kinds.POD, key.namespace, selector=training.pod_selector(job))
    uids = [str(meta(job)["uid"]), *(str(meta(pod)["uid"]) for pod in training.owned(job, found))]
    every = await asyncio.gather(*(client.events(key.namespace, uid=one) for one in uids[:65]))
    return sorted((decode_event(event) for part in every for event in part), key=lambda event: event.last or 0.0)


async def copies(desk: Desk, where: Where) -> wire.Copies:
    """A job, said in four ways."""
    key, client, job = await _found(desk, where)
    manifest = _manifest(job)
    code = await again.source(client, job)
    try:
        planned = await asyncio.to_thread(again.as_plan, job, code)
        magic, python = planned.magic(), planned.python()
    except UsageError as error:
        magic = python = f"# {error.message}"
    return wire.Copies(
        magic=magic,
        python=python,
        yaml=manifest,
        kubectl=f"kubectl --namespace {key.namespace} get {kind_of(job).resource} {key.name} --output yaml",
    )


async def form(desk: Desk, where: Where) -> wire.LaunchRequest:
    """The form that would launch a job like this one."""
    key, client, job = await _found(desk, where)
    code = await again.source(client, job)
    planned = await asyncio.to_thread(again.as_plan, job, code)
    asked = planned.request
    return wire.LaunchRequest(
        framework=asked.framework,
        code=code.alone(asked.params or {}),
        filename=notebooks.notebook_of(code.name) or _UNNAMED,
        nproc=asked.nproc,
        namespace=asked.namespace or "",
        workers=asked.workers,
        replicas=dict(asked.replicas or {}),
        cpu=str(asked.cpu or ""),
        memory=str(asked.memory or ""),
        gpu=asked.gpu or 0,
        profile=asked.profile or "",
        env=dict(asked.env or {}),
        args=list(asked.args),
        params=dict(asked.params or {}),
        image=asked.image or "",
        install=[one.requirement for one in planned.install],
        volumes=list(asked.volumes),
        like=key if len(code.files) > 1 else None,
    )


async def log_text(desk: Desk, where: Where, replica: str) -> str:
    """The log as a file: time, replica, text."""
    _, client, job = await _found(desk, where)
    lines = await all_lines(client, job)
    wanted = [line for line in lines if not replica or line.replica == replica]
    return "".join(f"{line.replica}\t{line.text}\n" for line in wanted)


def _key_of(job: Obj) -> JobKey:
    head = meta(job)
    return JobKey(str(job["kind"]), str(head["namespace"]), str(head["name"]), str(head.get("uid", "")))
