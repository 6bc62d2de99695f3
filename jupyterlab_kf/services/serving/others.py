"""What serves models without Seldon, to be held: InferenceServices, and TensorFlow Serving and Triton of ours.

They are asked as endpoints are, through the API server. They have no versions to divide requests between, no feedback
and no history here: who wants these serves the model with ``kf.serve``.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import EndpointNotReadyError, NotFoundError
from jupyterlab_kf.manifests.serving import rows
from jupyterlab_kf.manifests.serving.rows import EndpointRow
from jupyterlab_kf.manifests.serving.servers import LABEL_APP
from jupyterlab_kf.model import Ref
from jupyterlab_kf.services import session
from jupyterlab_kf.services.serving import servers
from jupyterlab_kf.services.serving.messages import Answer

_SECONDS: Final = 60.0
_PAUSE: Final = 0.5


class Server:
    """A model served by KServe, TensorFlow Serving or Triton; made by :func:`server`.

    Attributes:
        ref: the object that stands for it.
    """

    def __init__(self, here: session.Session, ref: Ref) -> None:
        self._here = here
        self.ref = ref

    @property
    def status(self) -> str:
        """Ready, Degraded, Starting or Failed."""
        return self._row().state

    @property
    def why(self) -> str:
        """What keeps it from being ready, as far as the cluster says."""
        return _why(self._row())

    def predict(self, value: Any, *, timeout: float = _SECONDS) -> Any:
        """The prediction for an array, list of rows, one row, DataFrame or a message of its protocol.

        Raises:
            PredictionError: it refused or failed, or could not be reached.
        """
        return self.ask(value, timeout=timeout).value

    def ask(self, value: Any, *, timeout: float = _SECONDS) -> Answer:
        """As :meth:`predict`, with everything that came back."""

        async def work(client: Client) -> Answer:
            target = await servers.find(client, self.ref.kind, self.ref.namespace, self.ref.name)
            return await servers.ask(client, target, value, seconds=timeout)

        return self._here.run(work)

    def explain(self, value: Any, *, timeout: float = _SECONDS) -> Any:
        """What the explainer of an InferenceService says of a value, as its JSON.

        Raises:
            UsageError: it has no explainer.
            PredictionError: the explainer refused or failed, or could not be reached.
        """

        async def work(client: Client) -> Any:
            target = await servers.find(client, self.ref.kind, self.ref.namespace, self.ref.name)
            return await servers.explain(client, target, value, seconds=timeout)

        return self._here.run(work)

    def wait(self, timeout: float = 600.0) -> Server:
        """Return when it is ready.

        Raises:
            EndpointNotReadyError: it is not in time, or never will be.
        """

        async def work(client: Client) -> EndpointRow:
            clock = asyncio.get_running_loop().time
            end = clock() + timeout
            while True:
                row = await _row(client, self.ref)
                if row.state in ("Ready", "Failed") or clock() >= end:
                    return row
                await asyncio.sleep(_PAUSE)

        row = self._here.run(work)
        if row.state != "Ready":
            said = _why(row) or row.state
            raise EndpointNotReadyError(f"{self.ref} is not ready after {timeout:.0f} s: {said}", ref=self.ref)
        return self

    def _row(self) -> EndpointRow:
        return self._here.run(lambda client: _row(client, self.ref))

    def __repr__(self) -> str:
        return f"<Server {self.ref}>"


def server(name: str, namespace: str | None = None) -> Server:
    """What serves a model under that name without Seldon: an InferenceService, or TensorFlow Serving or Triton of ours.

    Raises:
        NotFoundError: there is none.
    """
    here = session.current()
    space = namespace or here.namespace

    async def work(client: Client) -> Ref:
        for kind in (kinds.INFERENCE_SERVICE.kind, kinds.DEPLOYMENT.kind):
            try:
                await _row(client, Ref(kind, name, space))
            except NotFoundError:  # neither there, or no such kind on this cluster
                continue
            return Ref(kind, name, space)
        raise NotFoundError(
            f"nothing serves a model as {name!r} in namespace {space}",
            hint="what kf.serve made is found by kf.endpoint",
        )

    return Server(here, here.run(work))


def _why(row: EndpointRow) -> str:
    return ": ".join(one for one in (row.message, row.detail) if one)


async def _row(client: Client, ref: Ref) -> EndpointRow:
    """What a list shows of it.

    Raises:
        NotFoundError: it is not there.
    """
    if ref.kind == kinds.INFERENCE_SERVICE.kind:
        return rows.inference_row(await client.get(kinds.INFERENCE_SERVICE, ref.namespace, ref.name))
    chosen = f"{rows.SELECTOR},{LABEL_APP}={ref.name}"
    made = [rows.server_row(one) for one in await client.list(kinds.DEPLOYMENT, ref.namespace, selector=chosen)]
    routes = []
    if await client.serves(kinds.VIRTUAL_SERVICE):
        routes = [
            rows.server_route(one) for one in await client.list(kinds.VIRTUAL_SERVICE, ref.namespace, selector=chosen)
        ]
    found = rows.merged([one for one in made if one is not None], routes)
    if not found:
        raise NotFoundError(f"there is no server {ref.name!r} in namespace {ref.namespace}")
    return found[0]
