"""Begins and ends the monitoring of an endpoint: the monitor first, then the copies that it is sent.

Everything that can be wrong is found before anything is created. Versions go over to sending copies by a rolling
update, which no request notices and which is a change like any other in the endpoint's history.
"""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import (
    AlreadyExistsError,
    ApiError,
    EndpointNotReadyError,
    ForbiddenError,
    NotFoundError,
    UsageError,
)
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import endpoints, monitors, training
from jupyterlab_kf.model import Obj, Ref, meta
from jupyterlab_kf.profiles import Use
from jupyterlab_kf.services import plans
from jupyterlab_kf.services.designs import IMAGE
from jupyterlab_kf.services.serving import rollout, shipping, states
from jupyterlab_kf.services.serving.rollout import Author
from jupyterlab_kf.services.serving.way import heaviest

NEEDS: Final = ("numpy", "scipy")
"""What the monitor imports beside what every server does; installed at start where the image lacks it."""
_ANY: Final = "default"
"""The account that every namespace has, which may do nothing."""
_PAUSE: Final = 0.2


def check(endpoint: Obj) -> None:
    """Refuse what cannot be monitored.

    Raises:
        UsageError: a version sends its copies elsewhere, has no engine that could send any, or has the monitor's name.
    """
    ref = Ref.of(endpoint)
    if other := monitors.elsewhere(endpoint):
        raise UsageError(f"{ref} sends copies of its payloads to {other} already", hint="take that logger away first")
    if version := monitors.without_engine(endpoint):
        raise UsageError(
            f"{version} of {ref} has no engine, which is what sends copies", hint=f"remove {monitors.NO_ENGINE}"
        )
    if monitors.SUFFIX in endpoints.versions(endpoint):
        raise UsageError(f"{ref} has a version called {monitors.SUFFIX}", hint="serve it under another version")


def parts(endpoint: Obj, plan: bytes, submission: str, runtime: bytes) -> tuple[list[Obj], Obj]:
    """The ConfigMaps that carry the monitor, and the template of its pod, in the image of the heaviest version."""
    head = meta(endpoint)
    job = plans.Request(
        code=shipping.program("monitor"),
        framework="pytorch",
        workers=1,
        name=names.slug(monitors.name_of(str(head["name"])), limit=names.MAX_JOB_NAME),
        namespace=str(head["namespace"]),
        args=("--plan", monitors.PLAN),
        image=_image(endpoint),
        install=NEEDS,
        filename=shipping.STARTER,
    )
    beside = {shipping.RUNTIME: runtime, monitors.PLAN: plan}
    inner = plans.make(job, namespace=str(head["namespace"]), submission=submission, beside=beside, use=Use.SERVING)
    if inner.parcel is not None:
        raise UsageError("the reference is too large to travel", hint="give fewer columns, or those that matter most")
    *code_maps, made = inner.manifests
    for one in code_maps:
        one["metadata"]["labels"][monitors.LABEL] = head["name"]
        one["metadata"] |= training.owner_patch(endpoint)["metadata"]
    return code_maps, next(iter(training.templates(made).values()))


def _image(endpoint: Obj) -> str:
    version = endpoints.versions(endpoint)[heaviest(endpoint)]
    for part in version.get("componentSpecs") or ():
        for container in (part.get("spec") or {}).get("containers") or ():
            if container.get("image"):
                return str(container["image"])
    return IMAGE


async def begin(
    client: Client,
    endpoint: Obj,
    plan: bytes,
    *,
    sample: float,
    example: Sequence[Any] = (),
    who: Author,
    timeout: float,  # noqa: ASYNC109  part of the face
) -> tuple[Obj, str]:
    """Start a monitor, or start it anew with another plan; answers the endpoint, and what the user should know.

    ``example`` is a row of what it compares with, with which the endpoint can be tried.

    Raises:
        EndpointNotReadyError: the monitor does not come up; nothing was changed of the endpoint.
    """
    code_maps, template = parts(endpoint, plan, uuid.uuid4().hex[:12], shipping.runtime())
    space, fresh = str(meta(endpoint)["namespace"]), monitors.sampled(endpoint) is None
    try:
        account, note = await _allowed(client, endpoint)
        for one in code_maps:
            await client.create(kinds.CONFIG_MAP, one, namespace=space)
        service, deployment = monitors.objects(endpoint, template, account)
        await _put(client, kinds.SERVICE, service, space)
        await _put(client, kinds.DEPLOYMENT, deployment, space)
        await _up(client, endpoint, timeout)
    except BaseException:
        if fresh:
            await asyncio.shield(_removed(client, endpoint))
        raise
    await _cleaned(client, endpoint, {str(meta(one)["name"]) for one in code_maps})
    endpoint = await _shown(client, endpoint, example)
    target = monitors.logged(endpoints.predictors(endpoint), monitors.url(endpoint), sample)
    settings = monitors.patience(endpoint, copying=True)
    if settings or target != endpoints.predictors(endpoint):
        endpoint = await rollout.change(client, endpoint, target, "monitor", who, settings=settings)
    await _copying(client, endpoint, timeout, copying=True)
    return endpoint, note


async def end(client: Client, endpoint: Obj, *, who: Author, timeout: float) -> Obj:  # noqa: ASYNC109  as above
    """Send no more copies, and take the monitor away."""
    target = monitors.unlogged(endpoints.predictors(endpoint), monitors.url(endpoint))
    if target != endpoints.predictors(endpoint):
        settings = monitors.patience(endpoint, copying=False)
        endpoint = await rollout.change(client, endpoint, target, "end monitoring", who, settings=settings)
        await _copying(client, endpoint, timeout, copying=False)
    endpoint = await _shown(client, endpoint, ())
    await _removed(client, endpoint)
    return endpoint


async def _shown(client: Client, endpoint: Obj, example: Sequence[Any]) -> Obj:
    """The endpoint with this row to try it with, or with none."""
    note = json.dumps(list(example)) if example else None
    if (meta(endpoint).get("annotations") or {}).get(endpoints.ANNOTATION_EXAMPLE) == note:
        return endpoint
    patch = {"metadata": {"annotations": {endpoints.ANNOTATION_EXAMPLE: note}}}
    return await client.patch(rollout.KIND, str(meta(endpoint)["namespace"]), str(meta(endpoint)["name"]), patch)


async def _allowed(client: Client, endpoint: Obj) -> tuple[str, str]:
    """The monitor's account, and what the user should know; where it may not write events, it works without."""
    space = str(meta(endpoint)["namespace"])
    if await _is_there(client, space):
        return monitors.ACCOUNT, ""
    account = monitors.name_of(str(meta(endpoint)["name"]))
    for kind, obj in monitors.rights(endpoint):
        if kind != kinds.SERVICE_ACCOUNT and not await client.serves(kind):
            continue  # without roles every account may do all
        try:
            await client.apply(kind, obj, namespace=space)
        except ForbiddenError as error:
            if kind == kinds.SERVICE_ACCOUNT:
                account = _ANY
            return account, (
                f"alarms are in endpoint.findings() and not told as events: {error.message} (an administrator can "
                f"apply hub_config/rbac/monitor-account.yaml: the account {monitors.ACCOUNT}, which may create events)"
            )
    return account, ""


async def _is_there(client: Client, space: str) -> bool:
    """Whether an administrator made an account for monitors."""
    try:
        await client.get(kinds.SERVICE_ACCOUNT, space, monitors.ACCOUNT)
    except (NotFoundError, ForbiddenError):
        return False
    return True


async def _put(client: Client, kind: Kind, obj: Obj, space: str) -> None:
    """Make an object, or make the one that is there like it."""
    try:
        await client.create(kind, obj, namespace=space)
    except AlreadyExistsError:
        await client.apply(kind, obj, namespace=space)


async def _removed(client: Client, endpoint: Obj) -> None:
    name, space = monitors.name_of(str(meta(endpoint)["name"])), str(meta(endpoint)["namespace"])
    for kind in (kinds.DEPLOYMENT, kinds.SERVICE, kinds.ROLE_BINDING, kinds.ROLE, kinds.SERVICE_ACCOUNT):
        try:
            await client.delete(kind, space, name)
        except ForbiddenError:  # who may not make roles may not remove them, and there are none
            continue
    await _cleaned(client, endpoint, set())


async def _cleaned(client: Client, endpoint: Obj, kept: set[str]) -> None:
    """Remove the code of monitors that were before."""
    space = str(meta(endpoint)["namespace"])
    found = await client.list(kinds.CONFIG_MAP, space, selector=f"{monitors.LABEL}={meta(endpoint)['name']}")
    for one in found:
        if meta(one)["name"] not in kept:
            await client.delete(kinds.CONFIG_MAP, space, str(meta(one)["name"]))


# Waiting


async def _until(look: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    clock = asyncio.get_running_loop().time
    end = clock() + seconds
    while not await look():
        if clock() >= end:
            return False
        await asyncio.sleep(_PAUSE)
    return True


async def _up(client: Client, endpoint: Obj, timeout: float) -> None:  # noqa: ASYNC109  as above
    name, space = monitors.name_of(str(meta(endpoint)["name"])), str(meta(endpoint)["namespace"])
    selector = f"{monitors.LABEL}={meta(endpoint)['name']}"

    async def look() -> bool:
        now = await client.get(kinds.DEPLOYMENT, space, name)
        status = now.get("status") or {}
        if int(status.get("observedGeneration") or 0) < int(meta(now).get("generation") or 0):
            return False
        if status.get("updatedReplicas") and status.get("availableReplicas") == status.get("replicas"):
            return True
        for pod in await client.list(kinds.POD, space, selector=selector):
            if not meta(pod).get("deletionTimestamp") and states.hopeless(pod):
                raise await _stuck(client, endpoint, pod)
        return False

    if not await _until(look, timeout):
        pods = await client.list(kinds.POD, space, selector=selector)
        raise await _stuck(client, endpoint, pods[-1] if pods else None)


async def _stuck(client: Client, endpoint: Obj, pod: Obj | None) -> EndpointNotReadyError:
    said: list[str] = []
    if pod is not None:
        for previous in (True, False):
            try:
                lines = client.logs(
                    str(meta(pod)["namespace"]), str(meta(pod)["name"]), tail=3, previous=previous,
                    container=monitors.CONTAINER,
                )  # fmt: skip
                said += [line async for line in lines]
            except ApiError:  # nothing was written, or it never ran
                continue
    why = f": {' '.join(said)}" if said else ""
    return EndpointNotReadyError(
        f"the monitor of {Ref.of(endpoint)} does not come up{why}",
        hint=f"look at the pod with kubectl describe pod -l {monitors.LABEL}={meta(endpoint)['name']}",
        ref=Ref.of(endpoint),
    )


async def _copying(client: Client, endpoint: Obj, timeout: float, *, copying: bool) -> None:  # noqa: ASYNC109  as above
    """Wait until all versions answer from pods that send copies, or from pods that send none."""
    head, where = meta(endpoint), monitors.url(endpoint)

    async def look() -> bool:
        found = await client.list(kinds.POD, str(head["namespace"]), selector=endpoints.pod_selector(str(head["name"])))
        for version, predictor in endpoints.versions(endpoint).items():
            mine = states.pods_of(version, found)
            replicas = predictor.get("replicas")
            ready = sum(map(states.is_ready, mine))
            wanted = 1 if replicas is None else int(replicas)
            if not mine and states.sleeps(endpoint, version):
                continue  # the next one that starts does as it is told
            if ready < wanted or any(sends(pod, where) is (not copying) for pod in mine):
                return False
        return True

    if not await _until(look, timeout):
        raise EndpointNotReadyError(
            f"not all versions of {Ref.of(endpoint)} have gone over after {timeout:.0f} s; requests are answered",
            hint="look why with endpoint.explain()",
            ref=Ref.of(endpoint),
        )


def sends(pod: Mapping[str, Any], where: str) -> bool | None:
    """Whether a pod's engine sends copies there; None of a pod that has no engine."""
    for container in (pod.get("spec") or {}).get("containers") or ():
        for one in container.get("env") or ():
            if one.get("name") == "ENGINE_PREDICTOR":
                return where in base64.b64decode(str(one.get("value") or "")).decode(errors="replace")
    return None
