"""How an endpoint is, read from its object, its pods, their logs and events: each version's state, and why.

The same rules that explain training jobs explain servers: a version's pods are handed to them as the replicas of a job,
for a pod that cannot start has the same reasons whatever it was to do.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.controllers import sleep
from jupyterlab_kf.controllers.seldon import names
from jupyterlab_kf.errors import ApiError
from jupyterlab_kf.manifests import endpoints, pods, scaling
from jupyterlab_kf.manifests.scaling import Scaling
from jupyterlab_kf.model import Cause, Event, Explanation, LogLine, Obj, Phase, Ref, Replica, Status, labels, meta
from jupyterlab_kf.services.explain import Case, decode_event, explain
from jupyterlab_kf.services.serving import shipping

_TAIL: Final = 60
_FRAME: Final = re.compile(r'\s+File "(?P<file>[^"]+)", line ')
_SERVER: Final = re.compile(rf"(?:^|/){re.escape(shipping.RUNTIME)}/|^<frozen ")
_LIBRARY: Final = re.compile(r"/(?:site|dist)-packages/|/lib/python3[^/]*/")
_UNPACKED: Final = re.compile(r'(File ")[^"]*/kf-[a-z0-9_]{8,16}/')
"""The folder in which the launcher unpacks a server's files: everything below it is the user's own."""
_FINAL: Final = frozenset({"ErrImageNeverPull", "InvalidImageName", "CreateContainerConfigError", "ImagePullBackOff"})
"""What a kubelet says of pods that will not start by waiting."""


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version of an endpoint at one moment.

    Attributes:
        name: its name.
        state: Ready, Starting or Failed.
        traffic: the percentage of requests that it answers.
        mirror: the percentage of requests that it gets copies of; None for one that is no mirror.
        wanted: how many replicas it should have.
        ready: how many of them answer.
        graph: its units in one line.
        called: what its model is.
        kind: of what kind the model is.
        model: the hash of the model.
        code: the hash of everything that was shipped.
        explanation: why it is not ready.
        asleep: it has no servers until somebody asks it, which wakes it; it counts as ready.
        units: the same graph as a tree.
        width: how many numbers one row of its input has; 0 where it is not known.
        example: rows to try it with, as JSON.
        scaling: how many servers it is to have; None where that is said in somebody's own way.
        awake: why it has servers while nobody asks, though it was not to; empty where that is not so, or not known.
    """

    name: str
    state: str
    traffic: int
    mirror: int | None
    wanted: int
    ready: int
    graph: str = ""
    called: str = ""
    kind: str = ""
    model: str = ""
    code: str = ""
    explanation: Explanation | None = None
    asleep: bool = False
    units: endpoints.GraphUnit | None = None
    width: int = 0
    example: str = ""
    scaling: Scaling | None = None
    awake: str = ""


@dataclass(frozen=True, slots=True)
class EndpointView:
    """An endpoint at one moment.

    Attributes:
        ref: where it is.
        state: Ready when all that answers requests is; else Starting, Degraded or Failed.
        protocol: seldon, v2 or tensorflow.
        path: the path of its predictions.
        versions: its versions.
        revision: the number of the change that made it what it is.
        pending: weights that are set once all versions are ready.
        message: what the operator says about it.
        divided: whether requests can be divided between versions; None where that is not known yet.
        seen: when that was, in epoch seconds.
    """

    ref: Ref
    state: str
    protocol: str
    path: str
    versions: tuple[VersionView, ...]
    revision: int = 0
    pending: Mapping[str, int] | None = None
    message: str = ""
    divided: bool | None = None
    seen: float = field(default=0.0, compare=False)

    @property
    def explanation(self) -> Explanation | None:
        """Why it is not ready, of the first version that is not."""
        told = next((one.explanation for one in self.versions if one.explanation is not None), None)
        if told is None and self.state != "Ready" and self.message:
            return Explanation(self.message)
        return told

    @property
    def restless(self) -> str:
        """Which versions have servers while nobody asks though they were not to, and why; empty without any."""
        names_ = ", ".join(one.name for one in self.versions if one.awake)
        why = next((one.awake for one in self.versions if one.awake), "")
        return f"Not put to sleep: {names_}, as {why}." if why else ""

    def version(self, name: str) -> VersionView | None:
        """The version of that name."""
        return next((one for one in self.versions if one.name == name), None)


async def look(client: Client, endpoint: Obj) -> EndpointView:
    """An endpoint as it is now; reads logs and events of what is not ready, and of nothing else."""
    head = meta(endpoint)
    space = str(head["namespace"])
    found = await client.list(kinds.POD, space, selector=endpoints.pod_selector(str(head["name"])))
    views = await _restless(
        client, endpoint, [_version(endpoint, one, found) for one in endpoints.predictors(endpoint)]
    )
    told = await asyncio.gather(*(_explained(client, endpoint, one, found) for one in views))
    return view(endpoint, told, time.time())


async def _restless(client: Client, endpoint: Obj, views: Sequence[VersionView]) -> list[VersionView]:
    """The versions, with why one stays awake that was to sleep; looks only where one was."""
    if not any(one.scaling is not None and one.scaling.idle is not None for one in views):
        return [*views]
    head = meta(endpoint)
    try:
        selector = endpoints.pod_selector(str(head["name"]))
        found = await client.list(kinds.DEPLOYMENT, str(head["namespace"]), selector=selector)
    except ApiError:  # who may not look does not know
        return [*views]
    return [
        replace(one, awake=scaling.unheld(one.name, found)) if one.scaling and one.scaling.idle else one
        for one in views
    ]


def view(endpoint: Obj, versions: Sequence[VersionView], seen: float = 0.0) -> EndpointView:
    """The whole of the parts."""
    head, status = meta(endpoint), endpoint.get("status") or {}
    message = str(status.get("description") or "")
    speaks = endpoints.protocol(endpoint)
    space, name = str(head["namespace"]), str(head["name"])
    return EndpointView(
        ref=Ref.of(endpoint),
        state=_state(versions, str(status.get("state") or "")),
        protocol=speaks,
        path=shipping.path(space, name, speaks),
        versions=tuple(versions),
        revision=endpoints.revision(endpoint),
        pending=endpoints.pending(endpoint) or None,
        message=message,
        seen=seen,
    )


def _state(versions: Sequence[VersionView], operator: str) -> str:
    answering = [one for one in versions if one.traffic]
    if answering and all(one.state == "Ready" for one in answering):
        return "Ready" if all(one.state == "Ready" for one in versions) else "Degraded"
    if operator == "Failed" or any(one.state == "Failed" for one in answering):
        return "Failed"
    return "Starting"


def pods_of(version: str, found: Sequence[Obj]) -> list[Obj]:
    """The pods of a version that are not on their way out, oldest first."""
    mine = [
        pod
        for pod in found
        if labels(pod).get(endpoints.LABEL_VERSION) == version and not meta(pod).get("deletionTimestamp")
    ]
    return sorted(mine, key=lambda pod: str(meta(pod).get("creationTimestamp") or ""))


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod answers."""
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions)


def _version(endpoint: Obj, predictor: Obj, found: Sequence[Obj]) -> VersionView:
    name = str(predictor["name"])
    mine = pods_of(name, found)
    replicas = predictor.get("replicas")
    wanted = 1 if replicas is None else int(replicas)
    asleep = not mine and sleeps(endpoint, name)
    wanted = 0 if asleep else wanted
    ready = sum(map(is_ready, mine))
    made = endpoints.provenance(predictor)
    failed = any(hopeless(pod) for pod in mine)
    return VersionView(
        name=name,
        state="Ready" if ready >= wanted else "Failed" if failed and not ready else "Starting",
        traffic=endpoints.weights(endpoint).get(name, 0),
        mirror=endpoints.mirrors(endpoint).get(name),
        wanted=wanted,
        ready=ready,
        asleep=asleep,
        graph=endpoints.graph_of(predictor.get("graph") or {}),
        called=str(made.get("called") or ""),
        kind=str(made.get("kind") or ""),
        model=str(made.get("model") or ""),
        code=str(made.get("code") or ""),
        units=endpoints.units_of(predictor.get("graph") or {}),
        width=width if isinstance(width := made.get("width"), int) else 0,
        example=json.dumps([endpoints.sample(endpoint, made)]),
        scaling=scaling.of(predictor),
    )


def sleeps(endpoint: Obj, version: str) -> bool:
    """Whether the operator says that a version has no servers until it is asked."""
    said = str((endpoint.get("status") or {}).get("description") or "")
    if not said.endswith(sleep.ASLEEP):
        return False
    deployments = said.removesuffix(sleep.ASLEEP)
    own = names.deployments(endpoint, endpoints.versions(endpoint).get(version) or {"name": version})
    listed = deployments.rstrip(": ").split(", ")
    return not deployments or any(
        one in own or one.startswith(f"{meta(endpoint).get('name')}-{version}-") for one in listed
    )


def hopeless(pod: Mapping[str, Any]) -> bool:
    """Whether waiting does not mend a pod that is not ready: it ended by itself, or cannot start."""
    if is_ready(pod):
        return False
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        waiting = (status.get("state") or {}).get("waiting") or {}
        code = pods.terminated(status).get("exitCode")
        if waiting.get("reason") in _FINAL or (status.get("restartCount") and code not in (None, 0, 143)):
            return True
    return False


# Why


async def _explained(client: Client, endpoint: Obj, seen: VersionView, found: Sequence[Obj]) -> VersionView:
    if seen.state == "Ready":
        return seen
    mine = pods_of(seen.name, found)
    space = str(meta(endpoint)["namespace"])
    events = await _events(client, space, [str(meta(one).get("uid")) for one in (endpoint, *mine)])
    replicas = [_replica(endpoint, seen.name, number, pod) for number, pod in enumerate(mine)]
    tails = {one.name: await _tail(client, space, one, pod) for one, pod in zip(replicas, mine, strict=True)}
    stand_in = _stand_in(endpoint, seen.name)
    status = Status(Phase.RUNNING if mine else Phase.PENDING)
    case = Case(job=stand_in, status=status, replicas=replicas, pods=mine, events=events, tails=tails, noun="endpoint")
    return replace(seen, explanation=_told(explain(case), tails) or _waiting(seen, replicas))


def _told(found: Explanation | None, tails: Mapping[str, Sequence[LogLine]]) -> Explanation | None:
    """The explanation; of a server that ended without a traceback, with the last line that it wrote."""
    lines = [line.text for line in tails.get(found.replica, ()) if line.text.strip()] if found else []
    if found is not None and found.traceback:
        return replace(found, traceback=readable(found.traceback))
    if found is None or found.cause is not Cause.CRASH_LOOP or not lines:
        return found
    return replace(found, sentence=f"{found.sentence.rstrip('.')}: {lines[-1].strip()}")


def readable(traceback: str) -> str:
    """A traceback as its author knows the files, and without frames of the server; those of libraries are counted.

    Of an error that libraries alone led to, the last frame stays.
    """
    lines = _UNPACKED.sub(r"\1", traceback).splitlines()
    frames = [(at, found["file"]) for at, line in enumerate(lines) if (found := _FRAME.match(line))]
    libraries = [at for at, file in frames if _LIBRARY.search(file)]
    if len(libraries) == len([file for _, file in frames if not _SERVER.search(file)]):
        libraries = libraries[:-1]
    hidden = {at for at, file in frames if _SERVER.search(file)} | set(libraries)
    kept: list[str] = []
    count, skipping = 0, False
    for at, line in enumerate(lines):
        if _FRAME.match(line) or not line.startswith("    "):
            skipping = at in hidden
            count += at in libraries
            if count and not skipping:
                kept.append(f"  ({count} {'frame' if count == 1 else 'frames'} of libraries)")
                count = 0
        if not skipping:
            kept.append(line)
    return "\n".join(kept)


def _waiting(seen: VersionView, replicas: Sequence[Replica]) -> Explanation:
    if not replicas:
        return Explanation(f"{seen.name} has no pods yet: the operator has not made them.")
    if all(one.phase == "Running" for one in replicas):
        return Explanation(f"{seen.name} has started and does not answer yet: {seen.ready} of {seen.wanted} are ready.")
    return Explanation(f"{seen.name} is starting: {seen.ready} of {seen.wanted} are ready.")


def _replica(endpoint: Obj, version: str, number: int, pod: Obj) -> Replica:
    """A pod as a replica; of several units in one, the one that is least well is named."""
    worst = _worst_first(pod)
    made = pods.replica(worst, version, number)
    statuses = (worst.get("status") or {}).get("containerStatuses") or ()
    units = [str(one.get("name")) for one in statuses if one.get("name") in endpoints.units(endpoint)]
    if len(units) < 2:  # noqa: PLR2004  one alone needs no name
        return made
    unit = units[0].removeprefix(f"{meta(endpoint)['name']}-{version}-")
    return replace(made, role=f"{version}/{unit}")


def _worst_first(pod: Obj) -> Obj:
    """The pod with the container first that is least well: it is the one to speak of."""
    status = pod.get("status") or {}
    every = sorted(status.get("containerStatuses") or (), key=lambda one: (bool(one.get("ready")), -_restarts(one)))
    return {**pod, "status": {**status, "containerStatuses": every}}


def _restarts(status: Mapping[str, Any]) -> int:
    return int(status.get("restartCount") or 0)


def _stand_in(endpoint: Obj, version: str) -> Obj:
    """A job that has the version's pods as its replicas."""
    head = meta(endpoint)
    components = endpoints.versions(endpoint)[version].get("componentSpecs") or [{}]
    template = {"spec": components[0].get("spec") or {}}
    replicas = {"Worker": {"replicas": 1, "template": template}}
    return {
        "apiVersion": kinds.PYTORCH_JOB.api_version,
        "kind": kinds.PYTORCH_JOB.kind,
        "metadata": {"name": head["name"], "namespace": head["namespace"], "uid": head.get("uid")},
        "spec": {"pytorchReplicaSpecs": replicas},
        "status": {"conditions": []},
    }


async def _events(client: Client, namespace: str, uids: Sequence[str]) -> list[Event]:
    every = await asyncio.gather(*(client.events(namespace, uid=uid) for uid in uids))
    return sorted((decode_event(one) for found in every for one in found), key=lambda event: event.last or 0.0)


async def _tail(client: Client, namespace: str, replica: Replica, pod: Obj) -> list[LogLine]:
    """The last lines of the container that is least well, those of its last run among them."""
    statuses = (_worst_first(pod).get("status") or {}).get("containerStatuses") or [{}]
    container = str(statuses[0].get("name") or "")
    lines: list[LogLine] = []
    for previous in (True, False) if replica.restarts else (False,):
        try:
            said = client.logs(namespace, str(meta(pod)["name"]), container=container, tail=_TAIL, previous=previous)
            lines += [LogLine(replica.name, text) async for text in said]
        except ApiError:  # nothing was written yet, or it is gone
            continue
    return lines
