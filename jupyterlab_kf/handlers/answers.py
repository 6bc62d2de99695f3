"""From a parsed request to a service and back to a value of the wire: one function a route, no HTTP in sight.

Paths from a browser are looked up below the server's root and nowhere else. Manifests that a browser sends are read
as data, without aliases, and applied only to the job they were read from.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import AlreadyExistsError, BundleError, KubeflowError, UsageError
from jupyterlab_kf.handlers import wire
from jupyterlab_kf.handlers.asks import all_lines
from jupyterlab_kf.manifests import frameworks, pods, training
from jupyterlab_kf.model import Event, Obj, labels, meta
from jupyterlab_kf.services import again, plans
from jupyterlab_kf.services import training as submitting
from jupyterlab_kf.services.board import JobPage, JobQuery
from jupyterlab_kf.services.desk import Capacity, Desk, JobKey
from jupyterlab_kf.services.explain import decode_event
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
    capacity = None
    if desk.link.state == "live":
        try:
            capacity = await desk.capacity()
        except KubeflowError:  # what is free is a help, not a need
            capacity = None
    return wire.ClusterInfo(
        name=desk.choice.name if desk.choice else "",
        namespace=desk.namespace,
        why=desk.choice.why if desk.choice else "",
        link=desk.link,
        frameworks=tuple(
            wire.Framework(row.name, row.title, tuple(role.name for role in row.roles), row.image, row.leads)
            for row in frameworks.FRAMEWORKS
        ),
        capacity=capacity,
    )


async def start(desk: Desk) -> wire.ClusterInfo:
    """Start the cluster of our own."""
    await desk.awake()
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
    return wire.LaunchRequest(**said)


async def plan(desk: Desk, said: dict[str, Any], root: Path) -> wire.PlanAnswer:
    """What a launch would create, and whether it fits now."""
    request = launch_request(said)
    planned = await asyncio.to_thread(_plan, desk, request, root)
    room, fits = True, ""
    if desk.link.state == "live":
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
    )


async def launch(desk: Desk, said: dict[str, Any], root: Path) -> JobKey:
    """Create the job."""
    request = launch_request(said)
    client = await desk.awake()
    planned = await asyncio.to_thread(_plan, desk, request, root)
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


def _plan(desk: Desk, request: wire.LaunchRequest, root: Path) -> Plan:
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
        nproc=request.nproc,
        env=request.env or None,
        args=tuple(request.args),
        params=request.params or None,
        image=request.image or None,
        output=request.output or None,
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
        submitting.check_fit(planned.job, await client.list(kinds.NODE))
    except UsageError as error:
        return False, error.message
    except KubeflowError:
        return True, ""
    free = await desk.capacity()
    return _room(planned, free)


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
    policy = (job.get("spec") or {}).get("runPolicy") or {}
    return wire.JobDetail(
        key=_key_of(job),
        manifest=_manifest(job),
        version=str(meta(job).get("resourceVersion", "")),
        provenance=training.provenance(job),
        code=code.text,
        filename=code.name,
        files=code.files,
        suspended=bool(policy.get("suspend")),
        suspendable=_suspendable(job),
    )


def _manifest(job: Obj) -> str:
    head = {name: value for name, value in meta(job).items() if name not in _HIDDEN}
    return to_yaml({"apiVersion": job["apiVersion"], "kind": job["kind"], "metadata": head, "spec": job.get("spec")})


def _suspendable(job: Obj) -> bool:
    return job.get("kind") != kinds.CHAINER_JOB.kind and not training.decode(job).phase.finished


async def replace(desk: Desk, where: Where, manifest: str, version: str) -> wire.JobDetail:
    """The job with an edited manifest."""
    edited = await asyncio.to_thread(_parsed, manifest)
    key, client, job = await _found(desk, where)
    head = edited.get("metadata")
    same = isinstance(head, dict) and all(
        (edited.get("kind") == job["kind"], head.get("name") == key.name, head.get("namespace") == key.namespace)
    )
    if not same or not isinstance(head, dict):
        raise UsageError("kind, name and namespace cannot be changed", hint="run the job again under another name")
    body = {**edited, "apiVersion": job["apiVersion"], "metadata": {**head, "resourceVersion": version}}
    kind = kind_of(job)
    await client.request("PUT", kind.path(key.namespace, key.name), body=body, params={"fieldManager": "jupyterlab-kf"})
    return await detail(desk, where)


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


async def suspend(desk: Desk, where: Where, *, value: bool = True) -> JobKey:
    """The job stopped for a while: its pods end, it stays."""
    key, client, job = await _found(desk, where)
    if not _suspendable(job):
        raise UsageError(f"{key.kind} {key.name} cannot be suspended", hint="delete it to stop it")
    body = {"metadata": {"uid": meta(job)["uid"]}, "spec": {"runPolicy": {"suspend": value}}}
    return _key_of(await client.patch(kind_of(job), key.namespace, key.name, body))


async def resume(desk: Desk, where: Where) -> JobKey:
    """The job going on."""
    return await suspend(desk, where, value=False)


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
    _, client, job = await _found(desk, where)
    code = await again.source(client, job)
    asked = (await asyncio.to_thread(again.as_plan, job, code)).request
    return wire.LaunchRequest(
        framework=asked.framework,
        code=code.text,
        filename=code.name or _UNNAMED,
        namespace=asked.namespace or "",
        workers=asked.workers,
        replicas=dict(asked.replicas or {}),
        cpu=str(asked.cpu or ""),
        memory=str(asked.memory or ""),
        gpu=asked.gpu or 0,
        env=dict(asked.env or {}),
        args=list(asked.args),
        params=dict(asked.params or {}),
        image=asked.image or "",
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
