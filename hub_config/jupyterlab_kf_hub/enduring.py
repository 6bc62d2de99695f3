"""KubeSpawner that outlives outages, gives people's namespaces what they need, and ends servers that are idle.

What a server is, is its subclass' affair. Knows of no profiles and no form.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from jupyterhub.utils import exponential_backoff
from kubespawner import KubeSpawner
from traitlets import Bool, CaselessStrEnum, List, Unicode

from jupyterlab_kf import settings
from jupyterlab_kf.cluster import connection
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf_hub import idle, spaces
from jupyterlab_kf_hub.outages import OUTAGES, short
from jupyterlab_kf_hub.reflectors import ENDURING
from jupyterlab_kf_hub.settling import Settler


class EnduringSpawner(KubeSpawner):  # type: ignore[misc]  # KubeSpawner has no annotations
    """A server as a pod, in a namespace of its person's own."""

    prepare_namespaces = Bool(
        True,
        config=True,
        help="Give people's namespaces an account with roles, network policies and Pod Security, where each has one.",
    )
    account_roles = List(
        Unicode(),
        list(spaces.USER_ROLES),
        config=True,
        help="The ClusterRoles of people's accounts in their namespaces.",
    )
    admitted_namespaces = List(
        Unicode(),
        ["istio-system"],
        config=True,
        help="Namespaces beside the hub's whose pods may reach people's: the gateway's, what gathers metrics.",
    )
    pod_security = CaselessStrEnum(
        ["restricted", "baseline", "privileged"],
        "restricted",
        config=True,
        help="The level of Pod Security that new namespaces enforce.",
    )

    _settler: ClassVar[Settler] = Settler()
    _hearing: idle.Hearing | None = None
    _callbacks: list[Any]
    _spawning: asyncio.Future[Any] | None = None
    _interrupted = False
    _away = False

    @asynccontextmanager
    async def cluster(self) -> AsyncIterator[Client]:
        """The cluster by our own client, as the hub's account."""
        chosen = settings.load()
        client = Client(await asyncio.to_thread(connection.open_connection, connection.choose(chosen), chosen))
        try:
            yield client
        finally:
            await client.close()

    # ------------------------------------------------------------------------------------------------------ its place

    async def _ensure_namespace(self) -> None:
        """The person's namespace, with what their pods may do in it and who may reach them.

        Raises:
            UsageError: there is one of that name which is not theirs.
        """
        await exponential_backoff(
            lambda: self._unless_away(self._settled()),
            f"could not make the namespace {self.namespace}",
            timeout=self.k8s_api_request_retry_timeout,
        )

    async def _settled(self) -> bool:
        if not self.prepare_namespaces:
            await super()._ensure_namespace()
            return True
        async with self.cluster() as client:
            space = spaces.Space(
                self.namespace,
                self.user.name,
                await self._settler.identity(client),
                roles=tuple(self.account_roles),
                admit=spaces.admitted(self._hub_namespace(), self.admitted_namespaces),
                pod_security=self.pod_security,
            )
            await self._settler.settle(client, space)
        return True

    def _hub_namespace(self) -> str:
        chosen = connection.choose(settings.load())
        return chosen.namespace if chosen.name == connection.IN_CLUSTER and not chosen.files else ""

    async def _unless_away(self, request: Awaitable[bool]) -> bool:
        """The answer of a request that is tried until it is True; False while the API server is away."""
        try:
            done = bool(await request)
        except Exception as error:
            if not OUTAGES.passing(error):
                raise
            # Once: it is asked every few seconds, for minutes perhaps.
            say = self.log.debug if self._away else self.log.warning
            say("The API server cannot do it now, it is asked again: %s", short(error))
            self._away = True
            return False
        self._away = False
        return done

    async def _make_create_pvc_request(self, pvc: Any, request_timeout: float) -> bool:
        return await self._unless_away(super()._make_create_pvc_request(pvc, request_timeout))

    async def _make_delete_pvc_request(self, pvc_name: str, request_timeout: float) -> bool:
        return await self._unless_away(super()._make_delete_pvc_request(pvc_name, request_timeout))

    async def _make_delete_pod_request(
        self, pod_name: str, delete_options: Any, grace_seconds: float, request_timeout: float
    ) -> bool:
        asked = super()._make_delete_pod_request(pod_name, delete_options, grace_seconds, request_timeout)
        return await self._unless_away(asked)

    # ----------------------------------------------------------------------------------------------------- its end

    @property
    def _spawn_future(self) -> asyncio.Future[Any] | None:
        """The start, as JupyterHub sets it when it begins and takes it away when it is over."""
        return self._spawning

    @_spawn_future.setter
    def _spawn_future(self, future: asyncio.Future[Any] | None) -> None:
        self._spawning = future
        if future is not None:
            self._interrupted = False
            future.add_done_callback(self._notice)

    def _notice(self, future: asyncio.Future[Any]) -> None:
        self._interrupted = future.cancelled()

    @property
    def ready(self) -> bool:
        """Whether it can be used. For a second JupyterHub takes a start that was interrupted for one that succeeded."""
        return bool(super().ready) and not self._interrupted

    async def poll_and_notify(self) -> int | None:
        """Whether it still runs; one that has been idle for longer than its profile lets it is stopped."""
        allowed = self.idle_timeout()
        if allowed is None or not self.ready or not self._idle(allowed):
            status: int | None = await super().poll_and_notify()
            return status
        self.log.warning(
            "Server %s had no work for %g s, its profile's idle time: it is stopped", self._log_name, allowed
        )
        heard, self._callbacks = self._callbacks, []
        self.stop_polling()
        try:
            for callback in heard:  # the hub's own: it takes the route away and stops the server
                await callback()
        except Exception:  # whatever kept it from stopping: it runs, and is looked at again
            self.log.exception("Server %s could not be stopped; it is tried again", self._log_name)
            self._callbacks = heard
            self.start_polling()
        return None

    def idle_timeout(self) -> int | None:
        """Seconds that the server may be without work; None is for ever."""
        return None

    def _idle(self, allowed: int) -> bool:
        at, row = idle.now(), self.orm_spawner
        hearing = self._hearing = self._hearing or idle.Hearing(at, at)
        hearing.look(at, self.poll_interval)
        active = max((one for one in (row.last_activity, row.started) if one), default=None)
        return idle.over(hearing, active, allowed)

    # ------------------------------------------------------------------------------------------------- its own view

    async def _start_reflector(
        self,
        kind: str,
        reflector_class: type,
        replace: bool = False,  # noqa: FBT001, FBT002  KubeSpawner's signature
        **kwargs: Any,
    ) -> Any:
        """The reflector of a kind, shared by all servers, which does not give up and never ends the hub."""
        key = self._get_reflector_key(kind)
        known = self.__class__.reflectors.get(key)
        if known is not None and not replace:
            await asyncio.shield(known.first_load_future)
            return known
        fresh = ENDURING.get(kind, reflector_class)(parent=self, namespace=self.namespace, **kwargs)
        self.__class__.reflectors[key] = fresh
        try:
            await fresh.start()
        except BaseException:
            # Whoever comes next tries again.
            if self.__class__.reflectors.get(key) is fresh:
                del self.__class__.reflectors[key]
            if not fresh.first_load_future.done():
                fresh.first_load_future.cancel()
            raise
        if known is not None:
            await known.stop()
        return fresh
