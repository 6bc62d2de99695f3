"""Predictions of what serves models without Seldon: InferenceServices, and TensorFlow Serving and Triton of ours.

They are reached as endpoints are, through the API server, at the Service that the cluster's own objects name. What they
speak is Open Inference V2 or TensorFlow's protocol, so nothing is known of units, and there is no feedback.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import ApiError, EndpointError, NotFoundError, PredictionError, UsageError
from jupyterlab_kf.manifests.serving import rows, servers
from jupyterlab_kf.manifests.serving.inference import Mode, mode_of
from jupyterlab_kf.manifests.serving.servers import LABEL_APP
from jupyterlab_kf.manifests.serving.status import decode
from jupyterlab_kf.model import Obj, Ref, meta
from jupyterlab_kf.services.serving import messages
from jupyterlab_kf.services.serving.messages import Answer

_JSON: Final = {"Content-Type": "application/json", "Accept": "application/json"}
_MODEL: Final = "--model_name="


@dataclass(frozen=True, slots=True)
class Target:
    """Where a server is asked: its Service with a port, its protocol, and the model's name in requests.

    ``explainer`` is the Service of what explains predictions; empty where there is none.
    """

    ref: Ref
    service: str
    port: int | str
    protocol: str
    model: str
    explainer: str = ""


async def find(client: Client, kind: str, namespace: str, name: str) -> Target:
    """Where a server is asked.

    Raises:
        NotFoundError: there is none of that name.
        UsageError: it cannot be asked through the API server.
    """
    if kind == kinds.INFERENCE_SERVICE.kind:
        return _inference(await client.get(kinds.INFERENCE_SERVICE, namespace, name))
    found = await client.list(kinds.DEPLOYMENT, namespace, selector=f"{rows.SELECTOR},{LABEL_APP}={name}")
    for one in found:
        if (server := rows.server_of(one)) is not None:
            protocol = "tensorflow" if server is servers.TENSORFLOW else "v2"
            return Target(Ref.of(one), name, "http", protocol, _model(one) or name)
    raise NotFoundError(f"{kind} {namespace}/{name} is not on the cluster any more")


def _inference(obj: Obj) -> Target:
    name = str(meta(obj)["name"])
    if mode_of(obj) == Mode.KNATIVE:
        raise UsageError(
            f"{Ref.of(obj)} is served by Knative, which the API server cannot pass requests to",
            hint=f"ask it at its address: {(obj.get('status') or {}).get('url') or 'it has none yet'}",
        )
    said = decode(obj)
    explains = any(one.type == "ExplainerReady" and one.reason != "Unsupported" for one in said.conditions)
    explainer = f"{name}-explainer" if explains else ""
    return Target(Ref.of(obj), _entry(obj), 80, said.protocol, name, explainer)


def _entry(obj: Obj) -> str:
    """The Service that requests go to: where the status leads, else the transformer's or the predictor's."""
    name, spec = str(meta(obj)["name"]), obj.get("spec") or {}
    parts = [f"{name}-transformer", f"{name}-predictor"]
    told = str(((obj.get("status") or {}).get("address") or {}).get("url") or "")
    led = (urlsplit(told).hostname or "").partition(".")[0]
    if led in parts or (led.startswith(f"{name}-") and led.endswith("-predictor")):
        return led
    return parts[0] if spec.get("transformer") else parts[1]


def _model(deployment: Obj) -> str:
    """The model's name, as TensorFlow Serving is told it."""
    pod = deployment["spec"]["template"]["spec"]
    words = [str(word) for one in pod.get("containers") or () for word in one.get("args") or ()]
    return next((word.removeprefix(_MODEL) for word in words if word.startswith(_MODEL)), "")


async def ask(client: Client, target: Target, value: Any, *, seconds: float) -> Answer:
    """The answer to a value.

    Raises:
        UsageError: the value is of a kind that the protocol cannot carry.
        PredictionError: the server refused or failed, or nobody took the request.
        EndpointError: what came back is no message of the protocol.
    """
    sent = messages.request(value, protocol=target.protocol, model=target.model)
    began = time.perf_counter()
    content = await _post(client, target, target.service, sent.path, sent.body, seconds=seconds)
    took = time.perf_counter() - began
    try:
        return messages.answer(content, sent, protocol=target.protocol, seconds=took)
    except ValueError as error:
        raise EndpointError(f"{target.ref} answered no message of its protocol: {error}", ref=target.ref) from error


async def explain(client: Client, target: Target, value: Any, *, seconds: float) -> Any:
    """What an InferenceService's explainer says of a value: its JSON as it is.

    Raises:
        UsageError: it has no explainer, or the value is of a kind that the protocol cannot carry.
        PredictionError: the explainer refused or failed, or nobody took the request.
        EndpointError: what came back is no JSON.
    """
    if not target.explainer:
        raise UsageError(f"{target.ref} has no explainer", hint="spec.explainer.containers of an InferenceService")
    # Explanations are of KServe's first protocol only.
    sent = messages.request(value, protocol="tensorflow", model=target.model)
    path = sent.path.removesuffix(":predict") + ":explain"
    content = await _post(client, target, target.explainer, path, sent.body, seconds=seconds)
    try:
        return json.loads(content)
    except ValueError as error:
        raise EndpointError(f"the explainer of {target.ref} answered no JSON: {error}", ref=target.ref) from error


async def _post(client: Client, target: Target, service: str, path: str, body: bytes, *, seconds: float) -> bytes:
    try:
        reply = await client.proxy(
            target.ref.namespace,
            service,
            target.port,
            f"/{path}",
            method="POST",
            body=body,
            headers=_JSON,
            seconds=seconds,
        )
    except ApiError as error:
        raise PredictionError(
            f"{target.ref} cannot be reached: {error.message}", status=error.code, ref=target.ref
        ) from error
    if reply.status >= 400:  # noqa: PLR2004  success
        told = messages.failure(reply.content, reply.status)
        hint = "has it a model of that name?" if reply.status == 404 else ""  # noqa: PLR2004  Not Found
        said = f"{target.ref} answered {reply.status}: {told.sentence}"
        raise PredictionError(said, status=reply.status, hint=hint, ref=target.ref)
    return reply.content
