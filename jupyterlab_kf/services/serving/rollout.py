"""Changes of an endpoint, in an order that a crash survives and no request notices.

A new version gets no requests before it is ready; a version is taken away only after it gets none. Every change is
recorded before it is made, under a number that only one can take: of two who change an endpoint at once the second is
told so. What is killed on the way leaves an endpoint that serves as it did, and the wish for its traffic beside it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import (
    AlreadyExistsError,
    ApiError,
    ClusterError,
    ConflictError,
    EndpointNotReadyError,
    ForbiddenError,
    KubeflowError,
    NotFoundError,
    UnreachableError,
)
from jupyterlab_kf.manifests import endpoints, traffic, training
from jupyterlab_kf.manifests.endpoints import Revision
from jupyterlab_kf.model import Obj, Ref, meta
from jupyterlab_kf.services import shelf
from jupyterlab_kf.services.serving import states
from jupyterlab_kf.services.serving.plans import ServePlan
from jupyterlab_kf.services.serving.states import EndpointView
from jupyterlab_kf.services.serving.way import Way
from jupyterlab_kf.settings import Settings

KIND: Final = kinds.SELDON_DEPLOYMENT
_SCALED: Final = kinds.Kind("keda.sh", "v1alpha1", "ScaledObject", "scaledobjects", custom=True)
_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 2.0
_SETTLING: Final = 2.0
"""Seconds that requests on their way have before a version that gets no more is taken away."""
_ROUTING: Final = 30.0
"""Seconds that the operator has to write an endpoint's routes."""
_RELOAD: Final = 0.1
"""Seconds that a gateway takes to read them."""
_TRIES: Final = 8
_KEPT: Final = 30
"""Records of changes that are kept."""


@dataclass(frozen=True, slots=True)
class Author:
    """Who changes something, for the record."""

    user: str = ""
    notebook: str = ""
    clock: Callable[[], float] = time.time


def author(options: Settings) -> Author:
    """Who works here, as far as it is known."""
    return Author(options.user or options.account, options.notebook)


async def find(client: Client, namespace: str, name: str) -> Obj | None:
    """The endpoint of that name, or None."""
    try:
        return await client.get(KIND, namespace, name)
    except NotFoundError:
        return None


async def refuse_keda(client: Client) -> None:
    """Refuse to have KEDA put anything to sleep.

    Raises:
        ClusterError: KEDA is there. Its trigger cannot see a request that nobody answers, so nothing would wake it.
    """
    if await client.serves(_SCALED):
        raise ClusterError(
            "KEDA scales on this cluster, and does not see a request that nobody answers: the servers would go and "
            "never come back",
            hint="leave idle out; docs/serving.md says what can hold requests there",
        )


def gone(endpoint: Obj) -> NotFoundError:
    """What is said of an endpoint that was deleted."""
    return NotFoundError(
        f"{Ref.of(endpoint)} is not there any more: it was deleted",
        hint="serve it again: kf.serve(model, name=...); kf.models() lists what was kept",
        ref=Ref.of(endpoint),
    )


async def submit(client: Client, planned: ServePlan, who: Author) -> Obj:
    """Create what was planned; answers the endpoint, whose new version gets no requests yet unless it is the first.

    Raises:
        ClusterError: the cluster does not know such objects.
        ConflictError: somebody else changed the endpoint at the same time.
    """
    if not await client.serves(KIND):
        raise ClusterError(
            "this cluster has no SeldonDeployment: nothing there serves models",
            hint="install Seldon's operator, or work on this machine: KF_CONTEXT=embedded",
        )
    if planned.scaling.idle is not None:
        await refuse_keda(client)
    if (parcel := planned.parcel) is not None:
        await shelf.deliver(client, parcel)
    made: list[Obj] = []
    try:
        for one in planned.code_maps:
            made.append(await client.create(kinds.CONFIG_MAP, one, namespace=planned.namespace))  # noqa: PERF401  what was made is undone
        if planned.before is None:
            endpoint = await _created(client, planned, who)
        else:
            wanted = {endpoints.ANNOTATION_PENDING: json.dumps(planned.traffic)}
            found = endpoints.predictors(planned.endpoint)
            endpoint = await change(client, planned.before, found, f"add {planned.version}", who, notes=wanted)
    except BaseException:
        await asyncio.shield(_removed(client, made))
        raise
    await asyncio.gather(*(_adopted(client, endpoint, one) for one in made))
    return endpoint


async def _created(client: Client, planned: ServePlan, who: Author) -> Obj:
    obj = {**planned.endpoint, "metadata": {**planned.endpoint["metadata"]}}
    obj["metadata"]["annotations"] = {**obj["metadata"]["annotations"], endpoints.ANNOTATION_REVISION: "1"}
    endpoint = await client.create(KIND, obj, namespace=planned.namespace)
    await _recorded(client, endpoint, _told(endpoint, {"spec": obj["spec"]}, 1, planned.cause, who))
    return endpoint


async def change(
    client: Client,
    endpoint: Obj,
    predictors: Sequence[Obj],
    cause: str,
    who: Author,
    *,
    notes: Mapping[str, str | None] | None = None,
    settings: Mapping[str, str | None] | None = None,
) -> Obj:
    """Make these the endpoint's versions; answers the endpoint.

    Args:
        client: the client.
        endpoint: as it was read.
        predictors: its versions as they are to be.
        cause: what the change is, for the record.
        who: who makes it.
        notes: what changes of its annotations.
        settings: what changes of its spec's annotations, which the operator reads.

    Raises:
        ConflictError: somebody else changed it since it was read.
    """
    number = endpoints.revision(endpoint) + 1
    changed: Obj = {"predictors": list(predictors)}
    if settings:
        changed["annotations"] = dict(settings)
    spec = {**endpoint["spec"], "predictors": list(predictors)}
    record = await _recorded(client, endpoint, _told(endpoint, {"spec": spec}, number, cause, who))
    marks = {endpoints.ANNOTATION_PENDING: None, **(notes or {}), endpoints.ANNOTATION_REVISION: str(number)}
    patch = {"metadata": {"annotations": marks}, "spec": changed}
    try:
        done = await _patched(client, endpoint, patch)
    except (KubeflowError, asyncio.CancelledError):
        await asyncio.shield(_removed(client, [record]))
        raise
    await _forget(client, endpoint, number)
    return done


async def _patched(client: Client, endpoint: Obj, patch: Obj) -> Obj:
    """The endpoint, changed. Its status is written all the time: only who changed its spec was before us."""
    space, name = str(meta(endpoint)["namespace"]), str(meta(endpoint)["name"])
    now = endpoint
    for _ in range(_TRIES):
        locked = {**patch["metadata"], "resourceVersion": meta(now).get("resourceVersion")}
        try:
            return await client.patch(KIND, space, name, {**patch, "metadata": locked})
        except NotFoundError:
            raise gone(endpoint) from None
        except ConflictError:
            found = await find(client, space, name)
            if found is None:
                raise gone(endpoint) from None
            now = found
            if now["spec"] != endpoint["spec"] or meta(now).get("uid") != meta(endpoint).get("uid"):
                break
    raise _overtaken(endpoint)


def _told(endpoint: Obj, after: Obj, number: int, cause: str, who: Author) -> Revision:
    return endpoints.change(
        {**endpoint, **after}, number, cause, author=who.user, notebook=who.notebook, when=who.clock()
    )


def _overtaken(endpoint: Obj) -> ConflictError:
    return ConflictError(
        f"{Ref.of(endpoint)} was changed by somebody else in this moment",
        hint="look at its history, and try again",
        ref=Ref.of(endpoint),
    )


async def _recorded(client: Client, endpoint: Obj, told: Revision) -> Obj:
    record = endpoints.record(endpoint, told)
    record["metadata"] |= training.owner_patch(endpoint)["metadata"]
    space, name = str(meta(record)["namespace"]), str(meta(record)["name"])
    try:
        return await client.create(kinds.CONFIG_MAP, record, namespace=space)
    except AlreadyExistsError:
        now = await client.get(KIND, space, str(meta(endpoint)["name"]))
        if endpoints.revision(now) >= told.number:
            raise _overtaken(endpoint) from None
        # Whoever took the number did not live to make the change.
        await client.delete(kinds.CONFIG_MAP, space, name)
        return await client.create(kinds.CONFIG_MAP, record, namespace=space)


async def history(client: Client, endpoint: Obj) -> list[Revision]:
    """Its changes, oldest first."""
    head = meta(endpoint)
    selector = f"{endpoints.LABEL_ENDPOINT}={head['name']}"
    found = await client.list(kinds.CONFIG_MAP, str(head["namespace"]), selector=selector)
    now = endpoints.revision(endpoint)
    return [one for one in endpoints.revisions(found) if one.number <= now]


async def _forget(client: Client, endpoint: Obj, number: int) -> None:
    """Remove the oldest records, and the code of versions that no record knows any more."""
    head = meta(endpoint)
    space, selector = str(head["namespace"]), f"{endpoints.LABEL_ENDPOINT}={head['name']}"
    if number <= _KEPT:
        return
    found = await client.list(kinds.CONFIG_MAP, space, selector=selector)
    kept = [one for one in endpoints.revisions(found) if number - _KEPT < one.number]
    known = {endpoints.record_name(str(head["name"]), one.number) for one in kept}
    known |= {
        name for one in kept for part in endpoints.predictors({"spec": one.spec}) for name in endpoints.code_maps(part)
    }
    await _removed(
        client, [one for one in found if meta(one)["name"] not in known and meta(one).get("ownerReferences")]
    )


async def _removed(client: Client, made: Sequence[Obj]) -> None:
    for one in made:
        head = meta(one)
        try:
            await client.delete(kinds.CONFIG_MAP, str(head["namespace"]), str(head["name"]), uid=str(head["uid"]))
        except (ApiError, UnreachableError):
            continue  # the error that led here is the one to tell; the endpoint's end takes the rest


async def _adopted(client: Client, endpoint: Obj, one: Obj) -> None:
    try:
        await client.patch(
            kinds.CONFIG_MAP, str(meta(one)["namespace"]), str(meta(one)["name"]), training.owner_patch(endpoint)
        )
    except NotFoundError:  # the endpoint was deleted in this very moment, and took it along
        return


# Waiting


async def coming(
    client: Client,
    endpoint: Obj,
    way: Way,
    who: Author,
    *,
    timeout: float,  # noqa: ASYNC109  part of the face
) -> AsyncGenerator[tuple[Obj, EndpointView]]:
    """The endpoint whenever something about it is different, until all versions are ready and have their traffic.

    Raises:
        EndpointNotReadyError: one does not come up; what served before serves on.
    """
    async for now, view in _until_ready(client, endpoint, way, timeout):
        endpoint, seen = now, view
        yield now, view
    if not (wanted := endpoints.pending(endpoint)):
        return
    # What never came up and is to get nothing would hold up the routes of the others.
    lost = _lost(endpoint, seen)
    kept = [one for one in endpoints.predictors(endpoint) if one["name"] not in lost]
    shares = {name: share for name, share in wanted.items() if name not in lost}
    said = ", ".join(f"{name} {share}" for name, share in shares.items() if share)
    left = f"; take away {', '.join(sorted(lost))}" if lost else ""
    done = await change(client, endpoint, traffic.weighted(kept, shares), f"traffic: {said}{left}", who)
    await routed(client, done)
    async for now, view in _until_ready(client, done, way, timeout):
        yield now, view


async def _ready(client: Client, endpoint: Obj, way: Way, timeout: float) -> Obj:  # noqa: ASYNC109  as above
    now = endpoint
    async for seen, _ in _until_ready(client, endpoint, way, timeout):
        now = seen
    return now


async def _until_ready(
    client: Client,
    endpoint: Obj,
    way: Way,
    timeout: float,  # noqa: ASYNC109  part of the face
) -> AsyncGenerator[tuple[Obj, EndpointView]]:
    head, pause, waited = meta(endpoint), _PAUSE, 0.0
    before: EndpointView | None = None
    while True:
        found = await find(client, str(head["namespace"]), str(head["name"]))
        if found is None:
            raise gone(endpoint)
        now = found
        view = replace(await states.look(client, now), divided=way.divided)
        lost = _lost(now, view)
        late = [one for one in view.versions if one.state != "Ready" and one.name not in lost]
        done = not late and (bool(lost) or await _open(client, now, way))
        if done or view != before:
            yield now, view
        before = view
        if done:
            return
        failed = next((one for one in late if one.state == "Failed"), None)
        if failed is not None or waited >= timeout:
            raise _stuck(now, view, failed.name if failed else late[0].name if late else "", timeout)
        await asyncio.sleep(pause)
        waited += pause
        pause = min(pause * 1.2, _LONGEST_PAUSE)


def _lost(endpoint: Obj, view: EndpointView) -> set[str]:
    """The versions that failed before the newest one was added, and are to get no requests beside it."""
    wanted = endpoints.pending(endpoint)
    before = [str(one["name"]) for one in endpoints.predictors(endpoint)[:-1]]
    failed = {one.name for one in view.versions if one.state == "Failed"}
    return {name for name in before if name in failed and wanted and not wanted.get(name)}


async def routed(client: Client, endpoint: Obj) -> None:
    """Wait a moment until the operator has told the gateway of the weights; where that cannot be seen, do not."""
    head, waited = meta(endpoint), 0.0
    shares = endpoints.weights(endpoint)
    while waited < _ROUTING:
        try:
            found = await client.get(kinds.VIRTUAL_SERVICE, str(head["namespace"]), str(head["name"]))
        except (ApiError, UnreachableError):
            return
        if endpoints.routed(found) == {name: share for name, share in shares.items() if share}:
            await asyncio.sleep(_RELOAD)
            return
        await asyncio.sleep(_PAUSE)
        waited += _PAUSE


async def _open(client: Client, endpoint: Obj, way: Way) -> bool:
    """Whether a request gets through: pods may be ready before the route to them is."""
    try:
        reply = await way.send(client, endpoint, "ready", None, seconds=5.0)
    except (ApiError, UnreachableError) as error:
        return isinstance(error, ForbiddenError)  # where it may not be tried out, a prediction will tell
    return reply.status < 400  # noqa: PLR2004  success


def _stuck(endpoint: Obj, view: EndpointView, version: str, timeout: float) -> EndpointNotReadyError:
    seen = view.version(version)
    why = (seen.explanation if seen else None) or view.explanation
    others = [f"{one.name} ({one.traffic} %)" for one in view.versions if one.state == "Ready" and one.traffic]
    serving = f". Requests are answered as before by {', '.join(others)}." if others else ""
    what = (why.sentence if why else f"it is not ready after {timeout:.0f} s").rstrip(".")
    trace = f"\n\n{why.traceback}" if why and why.traceback else ""
    name = f"version {version} of {Ref.of(endpoint)}" if version else str(Ref.of(endpoint))
    return EndpointNotReadyError(
        f"{name} does not come up: {what}{serving}{trace}",
        version=version,
        traceback=why.traceback if why else "",
        hint=why.hint if why else "look at its lines with endpoint.logs()",
        ref=Ref.of(endpoint),
    )


# Larger changes


async def moved(
    client: Client,
    endpoint: Obj,
    target: Sequence[Obj],
    cause: str,
    *,
    way: Way,
    who: Author,
    timeout: float,  # noqa: ASYNC109  part of the face
) -> Obj:
    """Make these the endpoint's versions without a failed request: add, wait, shift, wait, take away.

    Raises:
        EndpointNotReadyError: a version of the target does not come up; requests are answered as before.
    """
    wanted = {str(one["name"]): one for one in target}
    shares = endpoints.weights({"spec": {"predictors": list(target)}})
    # What is on its way out and answers nothing goes at once: one that is broken would hold up all routes.
    now, kept = endpoint, [one for one in _weighted(endpoint) if one["name"] in wanted or _answers(one)]
    there = {str(one["name"]) for one in kept}
    if fresh := [{**one, "traffic": 0} for name, one in wanted.items() if name not in there]:
        added = ", ".join(str(one["name"]) for one in fresh)
        now = await change(client, now, [*kept, *fresh], f"{cause}: add {added}", who)
        now = await _ready(client, now, way, timeout)
    live = [{**one, "traffic": shares.get(name, one.get("traffic") or 0)} for name, one in wanted.items()]
    if going := [{**one, "traffic": 0} for one in kept if one["name"] not in wanted]:
        now = await change(client, now, [*live, *going], cause, who)
        await routed(client, now)
        await asyncio.sleep(_SETTLING)
        left = ", ".join(str(one["name"]) for one in going)
        now = await change(client, now, live, f"{cause}: take away {left}", who)
    else:
        now = await change(client, now, live, cause, who)
    await routed(client, now)
    return now


def _answers(predictor: Obj) -> bool:
    return bool(predictor.get("traffic")) and not predictor.get("shadow")


def _weighted(endpoint: Obj) -> list[Obj]:
    """Its versions with their weights written: one that is alone need not have one, beside others it must."""
    shares = endpoints.weights(endpoint)
    return [
        {**one, "traffic": shares[str(one["name"])]} if str(one["name"]) in shares else one
        for one in endpoints.predictors(endpoint)
    ]


def earlier(known: Sequence[Revision], current: Mapping[str, int]) -> Revision | None:
    """The newest change before which requests were answered by other versions than now, or in other shares."""
    live = {name: share for name, share in current.items() if share}
    for one in reversed(known[:-1]):
        if {name: share for name, share in one.traffic.items() if share} != live:
            return one
    return None


def worth(told: Revision, well: Collection[str]) -> list[Obj]:
    """The versions of a recorded state that are worth going back to: those that got requests, and those that are well.

    One that got nothing then and is gone, or is broken, would only hold up the others.
    """
    state = {"spec": told.spec}
    live = {name for name, share in endpoints.weights(state).items() if share} | endpoints.mirrors(state).keys()
    return [one for one in endpoints.predictors(state) if one["name"] in live or one["name"] in well]
