"""All objects of a kind that the account may see, for ever: in whatever version it is served, wherever it may look.

Where the whole cluster may not be listed it is the account's own namespace, and a kind that is not served is looked for
again, for somebody may install it. It knows no rows: what is told is one stream of changes, whatever was found out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from jupyterlab_kf.cluster import keeping, shapes, watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.shapes import Shape
from jupyterlab_kf.errors import ApiError, ForbiddenError, NotFoundError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj

ABSENT_PAUSE: Final = 30.0
"""Seconds until what is not there to be listed is looked for again."""
AGAIN_PAUSE: Final = 1.0


async def hold(
    client: Client,
    versions: Sequence[Kind],
    namespace: str,
    take: Callable[[watch.Change], None],
    refused: Callable[[ApiError], float],
    *,
    selector: str = "",
    shape: Shape = shapes.OBJECT,
    remember: Callable[[Obj], Obj] = dict,
    pace: watch.Pace | None = None,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Have every change taken, for ever.

    Args:
        client: the cluster.
        versions: rows of one kind; the first that the cluster serves is watched.
        namespace: where to look when the account may not list the whole cluster.
        take: as of :func:`.keeping.keep`.
        refused: hears why nothing can be listed (NotFoundError: the kind is not served) and answers the seconds until
            that is tried again.
        selector: by labels.
        shape: what is read of each object.
        remember: what is remembered of each object.
        pace: how patient a watch is.
        sleep: waits; tests hand in their own.
    """
    known: dict[str, Obj] = {}
    everywhere = True

    async def attempt() -> ApiError:
        """Watch for as long as the server lets us; answers why it does not."""
        nonlocal everywhere
        error: ApiError = NotFoundError(f"the cluster does not serve {versions[0].plural}")
        for kind in versions:
            try:
                space = None if everywhere else namespace
                await keeping.keep(
                    client,
                    kind,
                    space,
                    take,
                    known=known,
                    selector=selector,
                    shape=shape,
                    remember=remember,
                    pace=pace,
                )
            except NotFoundError:
                continue
            except ForbiddenError as refusal:
                if everywhere:
                    everywhere = False
                    return await attempt()
                error = refusal
            except ApiError as other:
                error = other
            break
        return error

    async def look() -> None:
        while True:
            await sleep(refused(await attempt()))

    await keeping.lasting(f"the list of {versions[0].plural}", look, sleep=sleep)
