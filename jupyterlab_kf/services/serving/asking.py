"""A prediction from a value to an answer: the message, the way there and back, and which version gave it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import EndpointError, NotFoundError, PredictionError
from jupyterlab_kf.manifests import endpoints
from jupyterlab_kf.model import Obj, Ref
from jupyterlab_kf.services.serving import messages, rollout
from jupyterlab_kf.services.serving.messages import Answer
from jupyterlab_kf.services.serving.way import SECONDS, Way

_NO_ROUTE: Final = 404


async def ask(
    client: Client, endpoint: Obj, way: Way, value: Any, *, names: Sequence[str] = (), seconds: float = SECONDS
) -> Answer:
    """The answer to a value; its version is empty where the endpoint as it is known here has no such unit.

    Raises:
        UsageError: the value is of a kind that the protocol cannot carry.
        PredictionError: the model refused or failed, or nobody took the request.
        NotFoundError: the endpoint was deleted.
        EndpointError: what came back is no message of the protocol.
    """
    ref, protocol = Ref.of(endpoint), endpoints.protocol(endpoint)
    sent = messages.request(value, protocol=protocol, model=ref.name, names=names, known=endpoints.columns(endpoint))
    began = time.perf_counter()
    try:
        reply = await way.ask(client, endpoint, sent.path, sent.body, again=True, seconds=seconds)
    except NotFoundError as error:
        raise rollout.gone(endpoint) from error
    except PredictionError as error:
        if error.status == _NO_ROUTE and await rollout.find(client, ref.namespace, ref.name) is None:
            raise rollout.gone(endpoint) from error
        raise
    took = time.perf_counter() - began
    try:
        found = messages.answer(reply.content, sent, protocol=protocol, seconds=took)
    except ValueError as error:
        raise EndpointError(
            f"{ref} answered something that is not a message of its protocol: {error}",
            hint=f"it began with {reply.content[:80]!r}",
            ref=ref,
        ) from error
    return messages.of_version(found, endpoints.units(endpoint))
