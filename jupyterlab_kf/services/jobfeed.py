"""Jobs as they are now, each followed once for all who look at it, until it is finished. It writes nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import NotFoundError, UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import JobView, Obj, meta
from jupyterlab_kf.services import feed, pictures
from jupyterlab_kf.services.followed import Feed, Feeds
from jupyterlab_kf.services.plans import kind_of


@dataclass(frozen=True, slots=True)
class JobKey:
    """Which job. With a uid only that very one, and not another that took its name."""

    kind: str
    namespace: str
    name: str
    uid: str = ""


class JobFeed(Feed[JobKey]):
    """The newest view of a job. ``gone`` once it was deleted; ``error`` says why it cannot be followed."""

    def __init__(self, key: JobKey) -> None:
        super().__init__(key)
        self.view: JobView | None = None

    @property
    def working(self) -> bool:
        """Whether the job is known and not over."""
        return self.view is not None and not self.view.status.phase.finished


class JobFeeds(Feeds[JobKey, JobFeed]):
    """Every job that is looked at.

    Args:
        client: answers the client to read with; raises while there is no cluster.
        sleep: waits; tests hand in their own.
    """

    def __init__(self, client: Callable[[], Awaitable[Client]], sleep: Callable[[float], Awaitable[None]]) -> None:
        super().__init__(client, JobFeed, _keep, sleep)

    def deleted(self, uid: str) -> None:
        """A job is not there any more. One that is finished is not followed, but it may be deleted."""
        for shared in self:
            if shared.view is not None and shared.view.ref.uid == uid:
                shared.gone = True
                shared.tell()


async def _keep(client: Client, shared: JobFeed) -> None:
    job = await find(client, shared.key)
    async with aclosing(feed.views(client, kind_of(job), pictures.Picture(job))) as views:
        async for view in views:
            shared.view = view
            shared.tell()


async def find(client: Client, key: JobKey) -> Obj:
    """The job's object.

    Raises:
        NotFoundError: it is not there, or another has its name.
    """
    found: Obj | None = None
    for kind in training_kinds(key.kind):
        with suppress(NotFoundError):
            found = await client.get(kind, key.namespace, key.name)
            break
    if found is None or (key.uid and meta(found).get("uid") != key.uid):
        raise NotFoundError(f"{key.kind} {key.namespace}/{key.name} is not on the cluster any more")
    return found


def training_kinds(name: str) -> list[Kind]:
    """The rows of a training job's kind.

    Raises:
        UsageError: it is not one.
    """
    found = [kind for kind in kinds.TRAINING if kind.kind == name]
    if not found:
        raise UsageError(f"{name!r} is not a kind of training job")
    return found
