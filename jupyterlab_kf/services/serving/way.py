"""The way to an endpoint: through the API server's proxy to Istio's gateway, or to a version's own Service without one.

Nothing of the cluster need be reachable, and no address comes from anywhere but the cluster. Where no gateway divides
requests, whoever sends one does: here, by the weights of the versions. What a model refuses is told with the unit that
refused, its status and its traceback. A prediction may be sent again where nothing was reached; a feedback never is.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.transport import Reply
from jupyterlab_kf.errors import (
    ApiError,
    EndpointError,
    ForbiddenError,
    KubeflowError,
    NotFoundError,
    PredictionError,
    UnreachableError,
)
from jupyterlab_kf.manifests import endpoints
from jupyterlab_kf.model import Obj, Ref, meta
from jupyterlab_kf.services.serving import messages, shipping

SECONDS: Final = 60.0
_AWAY: Final = frozenset({404, 502, 503})
"""Nobody is behind the route, or not any more: the request has reached no model."""
_NO_ENDPOINTS: Final = 503
_PAUSES: Final = (0.1, 0.3, 0.6)
_RETURN: Final = (1.0, 2.0, 3.0, 4.0, 5.0)
"""Further pauses while the gateway itself is away: its pod is started again within seconds, or ten after a while."""
_PAST: Final = (
    "this goes to the version's own Service, past the gateway: it must be awake, and Istio must not ask for mutual TLS "
    "strictly, as no route of Seldon's leads to one version"
)
_JSON: Final = {"Content-Type": "application/json", "Accept": "application/json"}


class Way:
    """The way to one endpoint; which one it is, is found out once."""

    def __init__(self) -> None:
        self._gateway: bool | None = None

    @property
    def divided(self) -> bool | None:
        """Whether a gateway divides everybody's requests between versions; None before that was found out."""
        return self._gateway

    async def find(self, client: Client) -> bool:
        """Whether there is a gateway; without one, a request goes to a version's own Service."""
        if self._gateway is None:
            space, name, _ = shipping.GATEWAY
            try:
                await client.get(kinds.SERVICE, space, name)
            except NotFoundError:
                return False  # the first route brings it: asked again the next time
            except ForbiddenError:
                self._gateway = await _may_pass(client)
            else:
                self._gateway = True
        return self._gateway

    async def send(
        self,
        client: Client,
        endpoint: Obj,
        path: str,
        body: bytes | None,
        *,
        seconds: float = SECONDS,
        version: str = "",
    ) -> Reply:
        """The answer to one request, whatever its status; to the ``version`` that is named, past the gateway.

        Raises:
            ApiError: the API server could not reach the Service.
            EndpointError: there is no version that it could go to.
        """
        head = meta(endpoint)
        method = "GET" if body is None else "POST"
        if not version and await self.find(client):
            space, name, port = shipping.GATEWAY
            target = shipping.prefix(str(head["namespace"]), str(head["name"])) + path
            sent = client.proxy(space, name, port, target, method=method, body=body, headers=_JSON, seconds=seconds)
            return await sent
        service = endpoints.service_name(endpoint, version or drawn(endpoint))
        return await client.proxy(
            str(head["namespace"]),
            service,
            "http",
            f"/{path}",
            method=method,
            body=body,
            headers=_JSON,
            seconds=seconds,
        )

    async def ask(
        self,
        client: Client,
        endpoint: Obj,
        path: str,
        body: bytes,
        *,
        again: bool,
        seconds: float = SECONDS,
        version: str = "",
    ) -> Reply:
        """The answer to a request that a model took, or that the ``version`` took that is named.

        Raises:
            PredictionError: it refused, failed, or nobody took the request.
            NotFoundError: the endpoint was deleted.
        """
        ref, pauses = Ref.of(endpoint), [*_PAUSES]
        while True:
            pause = pauses.pop(0) if pauses else None
            if not version and not await self.find(client):  # who divides must know how, whoever changed it since
                endpoint = await client.get(kinds.SELDON_DEPLOYMENT, ref.namespace, ref.name)
            try:
                reply = await self.send(client, endpoint, path, body, seconds=seconds, version=version)
            except (ApiError, UnreachableError) as error:
                if pause == _PAUSES[-1] and self._gateway and not version and _no_gateway(error):
                    pauses += _RETURN
                if pause is None or not again or not _passes(error):
                    raise _unreached(ref, error, version) from error.__cause__
            else:
                if reply.status < 400:  # noqa: PLR2004  success
                    return reply
                if pause is None or not again or reply.status not in _AWAY or _told(reply):
                    raise refused(endpoint, reply)
            await asyncio.sleep(pause)


async def _may_pass(client: Client) -> bool:
    """Whether the account may send through the gateway, though it may not look at it."""
    space, name, port = shipping.GATEWAY
    try:
        await client.proxy(space, name, port, "/")
    except (ForbiddenError, NotFoundError):
        return False
    return True


def drawn(endpoint: Mapping[str, object]) -> str:
    """A version for one request, by its weight.

    Raises:
        EndpointError: no version answers any.
    """
    shares = endpoints.weights(endpoint)
    if not any(shares.values()):
        raise EndpointError(f"{Ref.of(endpoint)} has no version that answers requests", ref=Ref.of(endpoint))
    (version,) = random.choices([*shares], [*shares.values()])  # noqa: S311  shares are no secrets
    return version


def heaviest(endpoint: Mapping[str, object]) -> str:
    """The version that answers most requests.

    Raises:
        EndpointError: there is none.
    """
    shares = endpoints.weights(endpoint)
    if not shares:
        raise EndpointError(f"{Ref.of(endpoint)} has no versions", ref=Ref.of(endpoint))
    return max(shares, key=lambda name: shares[name])


def _no_gateway(error: ApiError | UnreachableError) -> bool:
    return isinstance(error, ApiError) and error.code == _NO_ENDPOINTS


def _passes(error: ApiError | UnreachableError) -> bool:
    """Whether it may be otherwise in a moment, and no model was reached; who takes too long is not asked again."""
    if isinstance(error, ApiError):
        return error.code in _AWAY
    return not isinstance(error.__cause__, TimeoutError)


def _unreached(ref: Ref, error: ApiError | UnreachableError, version: str) -> KubeflowError:
    if not isinstance(error, ApiError):
        return error
    return PredictionError(
        f"{ref} cannot be reached: {error.message}",
        status=error.code,
        hint=_PAST if version else "look why with %kf_endpoints, or endpoint.explain()",
        ref=ref,
    )


def _told(reply: Reply) -> bool:
    """Whether a model said so itself, rather than the gateway: those answer JSON."""
    return reply.content.lstrip()[:1] == b"{"


def refused(endpoint: Obj, reply: Reply) -> PredictionError:
    """What an answer that is an error means."""
    found = messages.failure(reply.content, reply.status)
    ref = Ref.of(endpoint)
    unit = f" (unit {found.unit})" if found.unit else ""
    hint = {
        400: "the model did not take the input: are shape and type those that it was made with?",
        404: "no route leads there yet, or the endpoint speaks another protocol",
        503: "no replica is ready: look why with endpoint.explain()",
        504: "it took too long",
    }.get(reply.status, "")
    return PredictionError(
        f"{ref} answered {reply.status}{unit}: {found.sentence}"
        + (f"\n\n{found.traceback}" if found.traceback else ""),
        status=reply.status,
        unit=found.unit,
        traceback=found.traceback,
        hint=hint,
        ref=ref,
    )
