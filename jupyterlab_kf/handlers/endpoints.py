"""Endpoints from a parsed request to a service and back: one function a route, no HTTP in sight.

A prediction goes where the endpoint's own object leads, through the API server; no address comes from a browser. A
change is made only to the state of the endpoint that the person was shown.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import fields
from typing import Any, Final, get_args, get_type_hints

from jupyterlab_kf import kinds, settings
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import ApiError, ConflictError, NotFoundError, UnreachableError, UsageError
from jupyterlab_kf.handlers import wire
from jupyterlab_kf.manifests import endpoints, scaling
from jupyterlab_kf.manifests.scaling import Scaling
from jupyterlab_kf.model import Obj, Ref, meta
from jupyterlab_kf.services.desk import Desk
from jupyterlab_kf.services.plans import to_yaml
from jupyterlab_kf.services.serving import (
    asking,
    changes,
    editing,
    messages,
    printed,
    rollout,
    servers,
    shipping,
    states,
)
from jupyterlab_kf.services.serving.editing import GraphChange, Workshop
from jupyterlab_kf.services.serving.live import EndpointKey
from jupyterlab_kf.services.serving.messages import Answer
from jupyterlab_kf.services.serving.way import Way

Where = tuple[str, ...]
"""Namespace, name; and a uid, to mean that very one."""
_PATIENCE: Final = 600.0
_TRY_SECONDS: Final = 30.0
_WAKING: Final = 150.0
"""Seconds for a prediction that what sleeps may be started for: longer than a request is held."""


async def _found(desk: Desk, where: Where) -> tuple[Client, Obj]:
    client = await desk.client()
    key = EndpointKey(*where)
    found = await rollout.find(client, key.namespace, key.name)
    if found is None or (key.uid and meta(found).get("uid") != key.uid):
        raise NotFoundError(f"endpoint {key.namespace}/{key.name} is not on the cluster any more")
    return client, found


async def detail(desk: Desk, where: Where) -> wire.EndpointDetail:
    """What an endpoint's page shows beside its view."""
    client, found = await _found(desk, where)
    known = await rollout.history(client, found)
    return wire.EndpointDetail(
        key=_key_of(found),
        revisions=tuple(
            wire.EndpointRevision(one.number, one.cause, one.author, one.notebook, one.when, one.traffic, one.models)
            for one in reversed(known)
        ),
        manifest=_manifest(found),
        example=example(found),
        url=await _url(client, found),
    )


def _manifest(endpoint: Obj) -> str:
    head = {key: value for key, value in meta(endpoint).items() if key in ("name", "namespace", "labels")}
    return to_yaml(
        {"apiVersion": endpoint["apiVersion"], "kind": endpoint["kind"], "metadata": head, "spec": endpoint["spec"]}
    )


def example(endpoint: Obj) -> str:
    """A request to begin with, as JSON: one row that the version takes which answers most."""
    shares, made = endpoints.weights(endpoint), endpoints.versions(endpoint)
    chosen = max(shares, key=lambda name: shares[name], default="")
    return json.dumps([endpoints.sample(endpoint, endpoints.provenance(made.get(chosen, {})))])


async def _url(client: Client, endpoint: Obj) -> str:
    """Where other programs reach it: the gateway's outer address, where it has one."""
    head = meta(endpoint)
    path = shipping.path(str(head["namespace"]), str(head["name"]), endpoints.protocol(endpoint))
    space, name, port = shipping.GATEWAY
    try:
        gateway = await client.get(kinds.SERVICE, space, name)
    except (ApiError, UnreachableError):  # there is none, or it may not be looked at
        return path
    given = ((gateway.get("status") or {}).get("loadBalancer") or {}).get("ingress") or [{}]
    host = str(given[0].get("hostname") or given[0].get("ip") or "")
    return f"http://{host}:{port}{path}" if host else path


async def log_text(desk: Desk, where: Where, replica: str) -> str:
    """What its servers printed, as a file: replica, text."""
    client, found = await _found(desk, where)
    lines = await printed.read(client, found, list(endpoints.versions(found)), None)
    return "".join(f"{one.replica}\t{one.text}\n" for one in lines if not replica or one.replica == replica)


async def delete(desk: Desk, where: Where) -> EndpointKey:
    """The endpoint deleted, with all its versions."""
    client, found = await _found(desk, where)
    key = _key_of(found)
    await client.delete(rollout.KIND, key.namespace, key.name, uid=key.uid)
    return key


# Trying it


async def predict(desk: Desk, where: Where, said: Mapping[str, Any]) -> wire.TryAnswer:
    """The prediction for what somebody wrote."""
    if "value" not in said:
        raise UsageError("what is to be predicted?", hint="value is rows, text, or a message of the protocol")
    client, found = await _found(desk, where)
    asleep = any(states.sleeps(found, one) for one in endpoints.versions(found))
    return _answer(await asking.ask(client, found, Way(), said["value"], seconds=_WAKING if asleep else _TRY_SECONDS))


async def predict_other(desk: Desk, kind: str, where: Where, said: Mapping[str, Any]) -> wire.TryAnswer:
    """The prediction of a server that is no endpoint of Seldon's for what somebody wrote."""
    if "value" not in said:
        raise UsageError("what is to be predicted?", hint="value is rows, or a message of the protocol")
    client = await desk.client()
    target = await servers.find(client, kind, where[0], where[1])
    return _answer(await servers.ask(client, target, said["value"], seconds=_TRY_SECONDS))


def _answer(answer: Answer) -> wire.TryAnswer:
    return wire.TryAnswer(
        value=_told(answer.value),
        version=answer.version,
        seconds=answer.seconds,
        routing=answer.routing,
        tags=answer.tags,
        request=answer.request,
        response=answer.response,
    )


def _told(value: Any) -> Any:
    """A prediction as JSON data."""
    if isinstance(value, Mapping):
        return {str(key): _told(one) for key, one in value.items()}
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    tolist = getattr(value, "tolist", None)
    return tolist() if callable(tolist) else value


async def feedback(desk: Desk, where: Where, said: Mapping[str, Any]) -> EndpointKey:
    """Tell how good an answer was. Sent once."""
    request, response, reward = said.get("request"), said.get("response"), said.get("reward")
    number = isinstance(reward, (int, float)) and not isinstance(reward, bool)
    if not (number and isinstance(request, dict) and isinstance(response, dict)):
        raise UsageError("a feedback is a request, its response, and a reward, which is a number")
    client, found = await _found(desk, where)
    if endpoints.protocol(found) != "seldon":
        raise UsageError(f"{Ref.of(found)} speaks {endpoints.protocol(found)}, which knows no feedback")
    body = messages.feedback(request, response, float(reward or 0.0), None)
    to = _answered(found, response)
    await Way().ask(client, found, "api/v1.0/feedback", body, again=False, seconds=_TRY_SECONDS, version=to)
    return _key_of(found)


def _answered(endpoint: Obj, response: Mapping[str, Any]) -> str:
    """The version that gave an answer, where others answer too: the gateway would divide feedback as requests."""
    units, shares = endpoints.units(endpoint), endpoints.weights(endpoint)
    told = response.get("meta")
    path = told.get("requestPath") if isinstance(told, dict) else None
    version = next((units[unit] for unit in path if units.get(unit)), "") if isinstance(path, dict) else ""
    return "" if shares.get(version) == endpoints.ALL else version


# Changing it


def change_request(said: Mapping[str, Any]) -> wire.ChangeRequest:
    """What a browser asks to be changed.

    Raises:
        UsageError: it is not such a request.
    """
    if unknown := sorted(set(said) - {one.name for one in fields(wire.ChangeRequest)}):
        raise UsageError(f"a change has no field {unknown[0]!r}")
    shares, revision, percent = said.get("shares") or {}, said.get("revision"), said.get("percent") or 0
    sound = (
        said.get("what") in get_args(get_type_hints(wire.ChangeRequest)["what"])
        and isinstance(shares, dict)
        and all(endpoints.whole(one, most=endpoints.ALL) for one in shares.values())
        and endpoints.whole(percent, most=endpoints.ALL)
        and (revision is None or endpoints.whole(revision, 1))
    )
    if not sound:
        raise UsageError("this is no change of an endpoint", hint="shares and percent are whole numbers up to 100")
    return wire.ChangeRequest(
        what=said["what"],
        shares=shares,
        version=str(said.get("version") or ""),
        percent=percent,
        revision=revision,
        graph=editing.read(said.get("graph")) if said.get("what") == "graph" else None,
        scaling=_scaling(said.get("scaling")) if said.get("what") == "scale" else None,
        mark=str(said.get("mark") or ""),
    )


def _scaling(said: Any) -> Scaling:
    """How many servers a browser asks for.

    Raises:
        UsageError: it is not that.
    """
    if not isinstance(said, dict) or set(said) != {one.name for one in fields(Scaling)}:
        raise UsageError("this says not how many servers there are to be", hint="least, most, rps and idle")
    return scaling.wanted([said["least"], said["most"]], said["rps"], said["idle"])


async def plan(desk: Desk, where: Where, said: Mapping[str, Any]) -> wire.ChangePlan:
    """What a change would make different. Changes nothing."""
    request = change_request(said)
    client, found = await _found(desk, where)
    change = await _worked_out(client, found, request)
    told = change.python() if isinstance(change, GraphChange) else python(found, request)
    manifest = change.yaml() if isinstance(change, GraphChange) else _manifest(_after(change))
    return wire.ChangePlan(change.cause, change.diff(), changes.mark(found), change.steps, told, manifest)


def _after(change: changes.Change) -> Obj:
    return {**change.endpoint, "spec": {**change.endpoint["spec"], "predictors": [*change.target]}}


def python(endpoint: Obj, request: wire.ChangeRequest) -> str:
    """A change as a call of the package."""
    head = meta(endpoint)
    if request.scaling is not None:
        only = f", {request.version!r}" if request.version else ""
        idle = request.scaling.said["idle"]
        call = f"scale({_words(request.scaling, only)}).sleep_after({idle!r}{only})"
        return f"import jupyterlab_kf as kf\n\nkf.endpoint({head['name']!r}, {head['namespace']!r}).{call}\n"
    call = {
        "traffic": f"traffic({request.shares!r})",
        "promote": f"promote({request.version!r})",
        "rollback": f"rollback({'' if request.revision is None else request.revision})",
        "mirror": f"mirror({request.version!r}, {request.percent})",
        "remove": f"remove({request.version!r})",
    }[request.what]
    return f"import jupyterlab_kf as kf\n\nkf.endpoint({head['name']!r}, {head['namespace']!r}).{call}\n"


def _words(wanted: Scaling, only: str) -> str:
    said = f"{wanted.said['replicas']!r}{only}"
    return said if wanted.rps is None else f"{said}, rps={wanted.rps:g}"


async def change(desk: Desk, where: Where, said: Mapping[str, Any]) -> wire.ChangeDone:
    """Make a change; comes back when requests go where it says.

    Raises:
        ConflictError: the endpoint is not any more what its plan was about; nothing was changed.
    """
    request = change_request(said)
    client, found = await _found(desk, where)
    if request.mark != changes.mark(found):
        raise ConflictError(
            f"{Ref.of(found)} has changed since this was planned; nothing was done", hint="look again, and apply that"
        )
    worked_out = await _worked_out(client, found, request)
    if request.scaling is not None and request.scaling.idle is not None:
        await rollout.refuse_keda(client)
    who = rollout.author(settings.load())
    if isinstance(worked_out, GraphChange):
        done = await editing.make(client, worked_out, way=Way(), who=who, timeout=_PATIENCE)
        with suppress(OSError):  # it is served; that it cannot be kept is said when somebody wants to edit it
            await asyncio.to_thread(editing.keep, worked_out, who, editing.place())
    else:
        done = await changes.make(client, worked_out, way=Way(), who=who, timeout=_PATIENCE)
    return wire.ChangeDone(_key_of(done), endpoints.revision(done))


async def workshop(desk: Desk, where: Where, version: str) -> Workshop:
    """What the graph of a version can be edited with; of the version that answers most where none is named."""
    _, found = await _found(desk, where)
    shares = endpoints.weights(found)
    chosen = version or max(shares, key=lambda name: shares[name], default="")
    return await asyncio.to_thread(lambda: editing.workshop(found, chosen, editing.place()))


async def _worked_out(client: Client, found: Obj, request: wire.ChangeRequest) -> changes.Change | GraphChange:
    if (draft := request.graph) is not None:
        work = lambda: editing.plan(found, request.version, draft, request.percent, editing.place())  # noqa: E731
        return await asyncio.to_thread(work)
    if (wanted := request.scaling) is not None:
        return changes.scale(found, lambda _: wanted, [request.version] if request.version else [])
    return await _of_versions(client, found, request)


async def _of_versions(client: Client, found: Obj, request: wire.ChangeRequest) -> changes.Change:
    """A change of which versions there are, and of the requests that they get."""
    match request.what:
        case "traffic":
            return await changes.divide(client, found, request.shares)
        case "promote":
            return await changes.promote(client, found, request.version)
        case "rollback":
            return await changes.roll_back(client, found, request.revision)
        case "mirror":
            return await changes.mirror(client, found, request.version, request.percent)
        case "remove":
            return await changes.remove(client, found, request.version)
        case _:
            raise AssertionError(f"a change of the kind {request.what} has what it is about")


def _key_of(endpoint: Obj) -> EndpointKey:
    head = meta(endpoint)
    return EndpointKey(str(head["namespace"]), str(head["name"]), str(head.get("uid", "")))
