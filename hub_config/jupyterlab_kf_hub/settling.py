"""Makes people's namespaces what they are to be, once for each while the hub runs.

A new namespace takes a moment until the hub's own right in it counts everywhere; an API server that is away is waited
for. Refuses a namespace that this hub did not make for that person.
"""

from __future__ import annotations

import asyncio
from typing import Final

from jupyterlab_kf.cluster.client import APPLY, Client
from jupyterlab_kf.errors import (
    AlreadyExistsError,
    ForbiddenError,
    UsageError,
)
from jupyterlab_kf.model import Obj
from jupyterlab_kf_hub import spaces
from jupyterlab_kf_hub.outages import OUTAGES
from jupyterlab_kf_hub.spaces import Space

_APPLIED: Final = {"fieldManager": spaces.MANAGER, "force": "true"}


class Settler:
    """What has been made so far, by namespace."""

    def __init__(self) -> None:
        self._made: dict[str, Space] = {}
        self._identity = ""

    async def identity(self, client: Client) -> str:
        """The hub's own name to the cluster.

        Raises:
            KubeflowError: the cluster does not say.
        """
        if not self._identity:
            review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
            path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
            found = await client.request("POST", path, body=review, repeat=True)
            self._identity = str(found["status"]["userInfo"]["username"])
        return self._identity

    async def settle(self, client: Client, space: Space) -> None:
        """Have the namespace as it is to be; nothing is asked where it was made by us already.

        Raises:
            UsageError: the namespace is somebody else's, or on its way out.
            KubeflowError: the cluster refuses.
        """
        if await self._namespace(client, space):
            self._made.pop(space.name, None)
        if self._made.get(space.name) == space:
            return
        await _apply(client, spaces.hub_binding(space))
        OUTAGES.changed()
        for obj in spaces.contents(space):
            await _as_soon_as_allowed(client, obj)
        self._made[space.name] = space

    async def _namespace(self, client: Client, space: Space) -> bool:
        """Whether it is a new one."""
        try:
            await client.request("POST", "/api/v1/namespaces", body=spaces.namespace(space), repeat=True)
        except AlreadyExistsError:
            if space.name in self._made:
                return False
            found = await client.request("GET", f"/api/v1/namespaces/{space.name}")
            if why := spaces.strange(found, space):
                raise UsageError(why) from None
            return False
        return True


async def _as_soon_as_allowed(client: Client, obj: Obj) -> None:
    delay = 0.05
    while True:
        try:
            return await _apply(client, obj)
        except ForbiddenError as error:
            if not OUTAGES.passing(error):
                raise
        await asyncio.sleep(delay)
        delay = min(delay * 2, 1.0)


async def _apply(client: Client, obj: Obj) -> None:
    await client.request("PATCH", spaces.path(obj), params=_APPLIED, body=obj, content_type=APPLY, repeat=True)
