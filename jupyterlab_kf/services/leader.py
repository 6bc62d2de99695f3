"""One of several processes works: who holds a Lease (coordination.k8s.io/v1), as Kubernetes' own components decide it.

The rules are those of client-go's leader election: a holder renews; another takes a Lease over when it has not seen it
change for the Lease's whole duration by its own clock, so that clocks need not agree; a holder that cannot renew gives
up before anybody could take over. Every write names the version it was decided on.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import (
    AlreadyExistsError,
    ApiError,
    ClusterError,
    ConflictError,
    KubeflowError,
    NotFoundError,
    UnreachableError,
)
from jupyterlab_kf.model import Obj, meta

DURATION: Final = 15.0
"""Seconds after which a Lease that nobody renews may be taken."""
DEADLINE: Final = 10.0
"""Seconds after which a holder that cannot renew gives up."""
PERIOD: Final = 2.0
_log = logging.getLogger(__name__)


class Leader:
    """A candidate.

    Args:
        client: the cluster.
        name: the Lease's name.
        namespace: where it is.
        identity: how this process is called in it.
    """

    def __init__(
        self,
        client: Client,
        name: str,
        namespace: str,
        *,
        identity: str = "",
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.identity = identity or f"{socket.gethostname()}_{secrets.token_hex(4)}"
        self._client, self._name, self._namespace = client, name, namespace
        self._clock, self._sleep = clock, sleep
        self._seen: tuple[str, float] = ("", 0.0)
        self._held: Obj | None = None

    async def acquire(self) -> None:
        """Come back when the Lease is ours.

        Raises:
            ForbiddenError: the account may not write it.
        """
        while not await self._try():
            await self._sleep(PERIOD)

    async def hold(self) -> None:
        """Renew for ever.

        Raises:
            ClusterError: it was taken by another, or could not be renewed in time.
        """
        renewed = self._clock()
        while True:
            await self._sleep(PERIOD)
            try:
                async with asyncio.timeout(DEADLINE):
                    if not await self._try():
                        raise ClusterError(f"the Lease {self._namespace}/{self._name} was taken by another process")
                renewed = self._clock()
            except (UnreachableError, ApiError, TimeoutError) as error:
                _log.warning("the Lease cannot be renewed: %s", error)
                if self._clock() - renewed >= DEADLINE:
                    raise ClusterError(f"the Lease {self._namespace}/{self._name} could not be renewed") from error

    async def release(self) -> None:
        """Let go, so that another need not wait."""
        held, self._held = self._held, None
        if held is None:
            return
        spec = {**held["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._put({**held, "spec": spec})
        except KubeflowError as error:  # it runs out by itself
            _log.info("the Lease could not be released: %s", error)

    async def _try(self) -> bool:
        """Take or renew it; whether it is ours now."""
        try:
            lease = await self._client.get(kinds.LEASE, self._namespace, self._name)
        except NotFoundError:
            return await self._create()
        spec = lease.get("spec") or {}
        holder = str(spec.get("holderIdentity") or "")
        if holder not in ("", self.identity):
            version = str(meta(lease).get("resourceVersion"))
            if version != self._seen[0]:
                self._seen = (version, self._clock())
            if self._clock() - self._seen[1] < float(spec.get("leaseDurationSeconds") or DURATION):
                self._held = None
                return False
        changed = holder != self.identity
        fresh = {
            **spec,
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(DURATION),
            "renewTime": _now(),
            "acquireTime": _now() if changed else spec.get("acquireTime"),
            "leaseTransitions": int(spec.get("leaseTransitions") or 0) + changed,
        }
        try:
            self._held = await self._put({**lease, "spec": fresh})
        except ConflictError:  # somebody was quicker
            self._held = None if changed else self._held
            return not changed
        return True

    async def _create(self) -> bool:
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": int(DURATION),
            "acquireTime": _now(),
            "renewTime": _now(),
            "leaseTransitions": 0,
        }
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": self._name}, "spec": spec}
        try:
            self._held = await self._client.create(kinds.LEASE, body, namespace=self._namespace)
        except AlreadyExistsError:
            return False
        return True

    async def _put(self, lease: Obj) -> Obj:
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", **lease}
        done: Obj = await self._client.request("PUT", kinds.LEASE.path(self._namespace, self._name), body=body)
        return done


def _now() -> str:
    """MicroTime, as the API has it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


__all__ = ["DEADLINE", "DURATION", "PERIOD", "Leader"]
