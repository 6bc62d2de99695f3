"""What can be changed of an endpoint, worked out first and made afterwards: the versions as they would be, and why.

A change is a value that can be shown as a difference before anything happens. Requests are never sent to a version that
cannot answer them. The handle of notebooks and the panels make the same changes by these functions.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests import endpoints, frameworks, scaling, traffic
from jupyterlab_kf.manifests.endpoints import Revision
from jupyterlab_kf.manifests.scaling import Scaling
from jupyterlab_kf.model import Obj, Ref, meta
from jupyterlab_kf.services.serving import rollout, states
from jupyterlab_kf.services.serving.plans import difference
from jupyterlab_kf.services.serving.rollout import Author
from jupyterlab_kf.services.serving.way import Way


@dataclass(frozen=True, slots=True)
class Change:
    """A change that was not made yet.

    Attributes:
        endpoint: the endpoint as it was when this was worked out.
        target: its versions as they would be.
        cause: what it is, for the record.
        steps: whether versions come or go, which takes several steps and time.
    """

    endpoint: Obj
    target: Sequence[Obj]
    cause: str
    steps: bool = False

    def diff(self) -> str:
        """What would be different, as a unified diff; empty where nothing would."""
        return difference(self.endpoint, {"spec": {**self.endpoint["spec"], "predictors": [*self.target]}})


def mark(endpoint: Obj) -> str:
    """Tells one state of an endpoint from all others: what a person was shown may be old when it is to be applied."""
    return hashlib.sha256(json.dumps(endpoint["spec"], sort_keys=True).encode()).hexdigest()[:16]


async def make(client: Client, change: Change, *, way: Way, who: Author, timeout: float) -> Obj:  # noqa: ASYNC109
    """Make a change; answers the endpoint.

    Raises:
        ConflictError: somebody else changed it since the change was worked out.
        EndpointNotReadyError: a version that is needed does not come up; requests are answered as before.
    """
    if change.steps:
        return await rollout.moved(
            client, change.endpoint, change.target, change.cause, way=way, who=who, timeout=timeout
        )
    done = await rollout.change(client, change.endpoint, change.target, change.cause, who)
    await rollout.routed(client, done)
    return done


# Working it out


async def divide(client: Client, endpoint: Obj, shares: Mapping[str, int], cause: str = "") -> Change:
    """Divide the requests in these percentages; versions that are not named get none.

    Raises:
        UsageError: a version is unknown, is not ready, or the percentages do not sum to 100.
    """
    await refuse_unready(client, endpoint, shares)
    said = ", ".join(f"{name} {share}" for name, share in shares.items())
    return Change(endpoint, traffic.weighted(endpoints.predictors(endpoint), shares), cause or f"traffic: {said}")


async def promote(client: Client, endpoint: Obj, version: str, *, keep: bool = False) -> Change:
    """Let one version answer everything, and take the others away (or keep them without requests).

    Raises:
        UsageError: there is no such version, or it is not ready.
    """
    check_version(endpoint, version)
    await refuse_unready(client, endpoint, {version: 100}, alone=not keep)
    chosen = {key: value for key, value in endpoints.versions(endpoint)[version].items() if key != "shadow"}
    others = [one for one in endpoints.predictors(endpoint) if one["name"] != version] if keep else []
    target = traffic.weighted([*others, chosen], {version: 100})
    return Change(endpoint, target, f"promote {version}", steps=True)


async def roll_back(client: Client, endpoint: Obj, to: int | None = None) -> Change:
    """Go back to how it was before requests were last divided in another way, or to a revision of its history.

    Raises:
        UsageError: there is nothing to go back to.
    """
    known = await rollout.history(client, endpoint)
    chosen = _revision(known, endpoint, to)
    if chosen is None:
        numbers = ", ".join(str(one.number) for one in known)
        what = f"no revision {to}" if to is not None else "nothing to go back to"
        raise UsageError(f"{Ref.of(endpoint)} has {what}", hint=f"its revisions are {numbers or 'not recorded'}")
    seen = await states.look(client, endpoint)
    well = {one.name for one in seen.versions if one.state == "Ready"}
    return Change(endpoint, rollout.worth(chosen, well), f"roll back to {chosen.number}", steps=True)


def _revision(known: Sequence[Revision], endpoint: Obj, to: int | None) -> Revision | None:
    if to is None:
        return rollout.earlier(known, endpoints.weights(endpoint))
    return next((one for one in known if one.number == to), None)


async def mirror(client: Client, endpoint: Obj, version: str, percent: int) -> Change:
    """Let a version see copies of so many percent of the requests; 0 ends it.

    Raises:
        UsageError: there is no such version, or it is not ready.
    """
    await refuse_unready(client, endpoint, {version: percent})
    said = f"mirror {percent} percent to {version}" if percent else f"end the mirror {version}"
    return Change(endpoint, traffic.shadowed(endpoints.predictors(endpoint), version, percent), said)


async def remove(client: Client, endpoint: Obj, version: str) -> Change:
    """Take a version away that answers no requests.

    Raises:
        UsageError: there is no such version, or it answers requests.
    """
    del client  # nothing need be asked
    check_version(endpoint, version)
    if endpoints.weights(endpoint).get(version):
        raise UsageError(f"{version} answers requests", hint="send the traffic to another version first")
    left = [one for one in endpoints.predictors(endpoint) if one["name"] != version]
    return Change(endpoint, left, f"remove {version}")


def scale(endpoint: Obj, wanted: Callable[[Scaling], Scaling], versions: Sequence[str] = ()) -> Change:
    """Give versions another number of servers: all of them, or those that are named.

    Args:
        endpoint: as it is.
        wanted: makes of how many servers a version has how many it is to have.
        versions: their names; none for all.

    Raises:
        UsageError: there is no such version, or it cannot be scaled so.
    """
    for version in versions:
        check_version(endpoint, version)
    target, said = [], []
    for one in endpoints.predictors(endpoint):
        name = str(one["name"])
        if versions and name not in versions:
            target.append(one)
            continue
        now = scaling.of(one)
        to = wanted(now or Scaling())
        made = scaling.applied(one, to, str(meta(endpoint)["name"]))
        target.append(made if now != to else one)
        said.append(f"{name} {to.words}")
    return Change(endpoint, target, f"scale: {'; '.join(said)}")


# Checks


def check_version(endpoint: Obj, version: str) -> None:
    """Refuse a version that there is not, with the nearest one."""
    known = sorted(endpoints.versions(endpoint))
    if version not in known:
        hint = frameworks.nearest(version, known, "its versions are")
        raise UsageError(f"{Ref.of(endpoint)} has no version {version!r}", hint=hint)


async def refuse_unready(client: Client, endpoint: Obj, wanted: Mapping[str, int], *, alone: bool = False) -> None:
    """Requests are not sent to a version that cannot answer them, nor divided while one holds up the routes."""
    name = Ref.of(endpoint).name
    for seen in (await states.look(client, endpoint)).versions:
        why = seen.explanation.sentence if seen.explanation else "it is starting"
        if seen.asleep:
            continue
        if wanted.get(seen.name) and not seen.ready:
            raise UsageError(f"{seen.name} is not ready: {why}", hint=f"wait for it: endpoint({name!r}).wait()")
        if not seen.ready and not alone:
            raise UsageError(
                f"{seen.name} is not ready, and Seldon changes no routes before it is: {why}",
                hint=f"take it away first: endpoint.remove({seen.name!r})",
            )
