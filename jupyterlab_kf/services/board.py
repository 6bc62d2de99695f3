"""Every training job of a cluster, as rows that are always up to date: one watch a kind, however many look.

Owns the projection (a row holds what a list shows, never a whole object), sorting, filtering, grouping and paging, so
that a browser is sent a window and not a cluster. It tells when the cluster cannot be reached and when it is back: the
client's gate decides for all watches. It writes nothing.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster import keeping, shapes, watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import ApiError, ForbiddenError, KubeflowError, NotFoundError, UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import frameworks, pods, training
from jupyterlab_kf.model import Cause, Explanation, Obj, Phase, meta
from jupyterlab_kf.services import census

_TOGETHER: Final = 0.05
"""Seconds in which changes are gathered while they come thick and fast; browsers are told at most every 0.1."""
_ARRANGEMENTS: Final = 16
MOST_ITEMS: Final = 500

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class JobRow:
    """What a list shows of one job. Times are epoch seconds; ``memory`` is in bytes; amounts are of all replicas."""

    uid: str
    kind: str
    namespace: str
    name: str
    framework: str
    phase: Phase
    message: str = ""
    cause: Cause | None = None
    """Why it failed or waits, once that was found out; ``message`` is the sentence about it then."""
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    roles: dict[str, int] = field(default_factory=dict)
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    replicas: int = 0
    cpu: float = 0.0
    memory: float = 0.0
    gpu: float = 0.0
    origin: str = ""
    """Who wrote it: the field manager, such as ``jupyterlab-kf`` or ``kubectl-create``."""
    owner: str = ""
    """Whose it is, where that was recorded: a user of the hub."""
    deleting: bool = False


@dataclass(frozen=True, slots=True)
class JobGroup:
    """The head of a namespace's rows."""

    namespace: str
    count: int
    running: int
    failed: int
    collapsed: bool


@dataclass(frozen=True, slots=True)
class JobQuery:
    """Which rows, in which order, and which of them are looked at."""

    text: str = ""
    phases: tuple[str, ...] = ()
    namespace: str = ""
    sort: str = "created"
    descending: bool = True
    grouped: bool = False
    collapsed: tuple[str, ...] = ()
    offset: int = 0
    limit: int = 50


@dataclass(frozen=True, slots=True)
class JobPage:
    """The answer to a query. ``size`` counts the items from which the window is cut: rows and heads of groups."""

    total: int
    matched: int
    size: int
    offset: int
    items: tuple[JobRow | JobGroup, ...]
    counts: dict[str, int]
    namespaces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobsRecord:
    """The jobs of a namespace, or of all when it is empty, as they were at one moment: what a cell keeps of a list.

    ``rows`` are the newest of ``total``; ``cluster`` is the name under which it was looked at.
    """

    version: int
    cluster: str
    namespace: str
    seen: float
    total: int
    rows: tuple[JobRow, ...]


LinkState = Literal["connecting", "live", "stopped", "unreachable", "refused"]


@dataclass(frozen=True, slots=True)
class Link:
    """How it stands between us and the cluster.

    ``state`` is ``connecting``, ``live``, ``stopped`` (nobody started it yet; we could), ``unreachable`` or
    ``refused`` (the account may not list jobs).
    """

    state: LinkState = "connecting"
    message: str = ""
    hint: str = ""


_ORDER: Final[dict[str, int]] = {
    Phase.RUNNING: 0,
    Phase.RESTARTING: 1,
    Phase.PENDING: 2,
    Phase.SUSPENDED: 3,
    Phase.FAILED: 4,
    Phase.SUCCEEDED: 5,
}
SORTS: Final[dict[str, Callable[[JobRow], Any]]] = {
    "created": lambda row: row.created,
    "name": lambda row: row.name,
    "phase": lambda row: (_ORDER.get(row.phase, 9), -row.created),
    "framework": lambda row: row.framework,
    "namespace": lambda row: row.namespace,
    "replicas": lambda row: row.replicas,
    "owner": lambda row: (row.owner == "", row.owner),
}


@dataclass(frozen=True, slots=True)
class _Manifest:
    """What of a row follows from the job's manifest alone: the same for as long as the job's generation is."""

    generation: object
    framework: str
    roles: dict[str, int]
    replicas: int
    amounts: dict[str, float]
    origin: str
    owner: str


def _manifest(job: Obj) -> _Manifest:
    head = meta(job)
    roles = training.counts(job)
    framework = frameworks.of_kind(str(job.get("kind")))
    return _Manifest(
        generation=head.get("generation"),
        framework=framework.name if framework else "",
        roles=roles,
        replicas=sum(roles.values()),
        amounts=_amounts(job, roles),
        origin=_origin(head),
        owner=str(training.provenance(job).get("user") or ""),
    )


def row_of(job: Obj, manifest: _Manifest | None = None) -> JobRow:
    """The row of a job's object; ``manifest`` is what is known already of this generation of it."""
    manifest = manifest or _manifest(job)
    head = meta(job)
    status = training.decode(job)
    active = succeeded = failed = 0
    for state in status.replicas.values():
        active += state["active"]
        succeeded += state["succeeded"]
        failed += state["failed"]
    return JobRow(
        uid=str(head.get("uid", "")),
        kind=str(job.get("kind", "")),
        namespace=str(head.get("namespace", "")),
        name=str(head.get("name", "")),
        framework=manifest.framework,
        phase=status.phase,
        message="" if status.phase in (Phase.RUNNING, Phase.SUCCEEDED) else status.message[:200],
        created=status.created or 0.0,
        started=status.started,
        finished=status.finished,
        roles=manifest.roles,
        active=active,
        succeeded=succeeded,
        failed=failed,
        replicas=manifest.replicas,
        cpu=manifest.amounts.get("cpu", 0.0),
        memory=manifest.amounts.get("memory", 0.0),
        gpu=manifest.amounts.get(pods.GPU, 0.0),
        origin=manifest.origin,
        owner=manifest.owner,
        deleting=bool(head.get("deletionTimestamp")),
    )


def _amounts(job: Obj, roles: dict[str, int]) -> dict[str, float]:
    total: dict[str, float] = {}
    for role, template in training.templates(job).items():
        try:
            each = pods.requests_of(template.get("spec") or {})
        except UsageError:  # somebody else's manifest with an amount that is none: the cluster says so itself
            continue
        for name, amount in each.items():
            total[name] = total.get(name, 0.0) + float(amount) * roles.get(role, 1)
    return total


def _origin(head: Any) -> str:
    first: Mapping[str, Any] = next(
        (entry for entry in head.get("managedFields") or () if not entry.get("subresource")), {}
    )
    return str(first.get("manager") or "")


class Board:
    """The rows, and who wants to hear of changes.

    Args:
        client: the cluster; used from the loop in which :meth:`start` is called.
        namespace: where to look when the account may not list the whole cluster.
    """

    def __init__(
        self,
        client: Client,
        namespace: str,
        *,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.rows: dict[str, JobRow] = {}
        self.link = Link()
        self.version = 0
        self._client = client
        self._namespace = namespace
        self._sleep = sleep
        self._listeners: list[Callable[[JobRow | None, JobRow | None], None]] = []
        self._arranged: OrderedDict[JobQuery, tuple[int, list[JobRow | JobGroup], int]] = OrderedDict()
        self._summed: tuple[int, dict[str, int], tuple[str, ...]] = (-1, {}, ())
        self._tasks: list[asyncio.Task[None]] = []
        self._synced: set[str] = set()
        self._manifests: dict[str, _Manifest] = {}
        self._deaf: Callable[[], None] | None = None

    def start(self) -> None:
        """Begin to watch."""
        families: dict[str, list[Kind]] = {}
        for kind in kinds.TRAINING:
            families.setdefault(kind.kind, []).append(kind)
        self._tasks = [asyncio.ensure_future(self._keep(name, rows)) for name, rows in families.items()]
        self._families = len(families)
        self._deaf = self._client.gate.listen(self._health)

    async def stop(self) -> None:
        """End the watches."""
        if self._deaf is not None:
            self._deaf()
            self._deaf = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def listen(self, listener: Callable[[JobRow | None, JobRow | None], None]) -> Callable[[], None]:
        """Have it called with a row before and after each change, with two Nones for the link; answers the undoing."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    # ---------------------------------------------------------------------------------------------------- reading

    def page(self, query: JobQuery) -> JobPage:
        """The rows that a query asks for, as they are now."""
        items, matched = self._arrange(query)
        offset = max(0, min(query.offset, len(items)))
        counts, namespaces = self._sums()
        return JobPage(
            total=len(self.rows),
            matched=matched,
            size=len(items),
            offset=offset,
            items=tuple(items[offset : offset + max(0, min(query.limit, MOST_ITEMS))]),
            counts=counts,
            namespaces=namespaces,
        )

    def _sums(self) -> tuple[dict[str, int], tuple[str, ...]]:
        """How many jobs are in each phase, and the namespaces: of all, counted once a change."""
        if self._summed[0] != self.version:
            counts = Counter(str(row.phase) for row in self.rows.values())
            spaces = {row.namespace for row in self.rows.values()}
            self._summed = (self.version, dict(counts), tuple(sorted(spaces)))
        return self._summed[1], self._summed[2]

    def _arrange(self, query: JobQuery) -> tuple[list[JobRow | JobGroup], int]:
        """All items of a query; kept until something changes, since many windows are cut from one order."""
        key = replace(query, offset=0, limit=0)
        kept = self._arranged.get(key)
        if kept is None or kept[0] != self.version:
            rows = list(self.rows.values())
            if query.text or query.phases or query.namespace:
                rows = [row for row in rows if _matches(row, query)]
            first = SORTS.get(query.sort, SORTS["created"])
            # The key is total, so that the same rows are always in the same order.
            rows.sort(key=lambda row: (first(row), row.namespace, row.name), reverse=query.descending)
            kept = (self.version, _grouped(rows, query) if query.grouped else list(rows), len(rows))
            self._arranged[key] = kept
        self._arranged.move_to_end(key)
        while len(self._arranged) > _ARRANGEMENTS:
            self._arranged.popitem(last=False)
        return kept[1], kept[2]

    # --------------------------------------------------------------------------------------------------- watching

    def _keep(self, family: str, versions: list[Kind]) -> Awaitable[None]:
        """Watch one family of kinds, for ever."""

        def refused(error: ApiError) -> float:
            if isinstance(error, NotFoundError):
                self._settle(family)
                return census.ABSENT_PAUSE
            state: LinkState = "refused" if isinstance(error, ForbiddenError) else "unreachable"
            self._report(Link(state, error.message, error.hint))
            return census.AGAIN_PAUSE

        return census.hold(
            self._client,
            versions,
            self._namespace,
            lambda change: self._take(family, change),
            refused,
            shape=shapes.JOB,
            remember=keeping.name_only,
            pace=watch.Pace(longest=2.0, together=_TOGETHER, sleep=self._sleep),
            sleep=self._sleep,
        )

    def _take(self, family: str, change: watch.Change) -> None:
        if change.type == "SYNCED":
            self._settle(family)
            return
        uid = str(meta(change.obj).get("uid", ""))
        before = self.rows.get(uid)
        if change.type == "DELETED":
            self.rows.pop(uid, None)
            self._manifests.pop(uid, None)
            after = None
        else:
            after = row_of(change.obj, self._manifest(uid, change.obj))
            if before is not None and before.cause is not None and before.phase is after.phase:
                after = replace(after, cause=before.cause, message=before.message)
            if after == before:
                return
            self.rows[uid] = after
        self.version += 1
        self._tell(before, after)

    def explain(self, row: JobRow, why: Explanation | None) -> None:
        """Say why from now on, or that there is nothing to say, unless the row is another by now."""
        if self.rows.get(row.uid) is not row:
            return
        after = replace(row, cause=why.cause if why else None, message=why.sentence if why else "")
        if after != row:
            self.rows[row.uid] = after
            self.version += 1
            self._tell(row, after)

    def _manifest(self, uid: str, job: Obj) -> _Manifest:
        """Most changes are of the status: what the manifest says is read once for each generation of it."""
        known = self._manifests.get(uid)
        generation = meta(job).get("generation")
        if known is None or generation is None or known.generation != generation:
            known = self._manifests[uid] = _manifest(shapes.unfold(job))
        return known

    def _settle(self, family: str) -> None:
        self._synced.add(family)
        if len(self._synced) == self._families and self.link.state in ("connecting", "refused"):
            self._report(Link("live"))

    def _report(self, link: Link) -> None:
        if link != self.link:
            self.link = link
            self._tell(None, None)

    def _tell(self, before: JobRow | None, after: JobRow | None) -> None:
        for listener in tuple(self._listeners):
            listener(before, after)

    # ----------------------------------------------------------------------------------------------------- health

    def _health(self, error: KubeflowError | None) -> None:
        """What the client's gate says of the server."""
        if error is not None:
            refused = isinstance(error, ApiError) and error.code < 500  # noqa: PLR2004
            self._report(Link("refused" if refused else "unreachable", error.message, error.hint))
        elif self.link.state in ("unreachable", "refused"):
            self._report(Link("live" if len(self._synced) == self._families else "connecting"))


def _matches(row: JobRow, query: JobQuery) -> bool:
    if query.phases and row.phase not in query.phases:
        return False
    if query.namespace and row.namespace != query.namespace:
        return False
    words = query.text.lower().split()
    if not words:
        return True
    said = f"{row.name} {row.namespace} {row.kind} {row.framework} {row.phase} {row.origin} {row.owner}".lower()
    return all(word in said for word in words)


def _grouped(rows: Iterable[JobRow], query: JobQuery) -> list[JobRow | JobGroup]:
    spaces: dict[str, list[JobRow]] = {}
    for row in rows:
        spaces.setdefault(row.namespace, []).append(row)
    items: list[JobRow | JobGroup] = []
    for space, members in sorted(spaces.items()):
        collapsed = space in query.collapsed
        running = sum(row.phase is Phase.RUNNING for row in members)
        failed = sum(row.phase is Phase.FAILED for row in members)
        items.append(JobGroup(space, len(members), running, failed, collapsed))
        items += () if collapsed else members
    return items
