"""What a browser may ask to be shown and kept shown: rows, a job, a log, a study; each knows what was sent already.

Frames say what changed since the last one. When a browser is slow, states are skipped and never queued; only the lines
of a log are all sent. Knows no sockets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import aclosing
from dataclasses import asdict, fields
from typing import Any, Final

from jupyterlab_kf import kinds, names
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.errors import KubeflowError
from jupyterlab_kf.handlers.resources import ENDPOINTS, JOBS, STUDIES
from jupyterlab_kf.manifests import training
from jupyterlab_kf.manifests.studyviews import StudyTrial
from jupyterlab_kf.model import LogLine, Obj, Phase, meta
from jupyterlab_kf.services import feed, logs, pictures, trials
from jupyterlab_kf.services import listing as listings
from jupyterlab_kf.services.board import JobGroup, JobPage, JobQuery, JobRow
from jupyterlab_kf.services.desk import Desk
from jupyterlab_kf.services.jobfeed import JobFeed, JobKey, training_kinds
from jupyterlab_kf.services.kernels.starts import STARTS, KernelStart
from jupyterlab_kf.services.plans import kind_of
from jupyterlab_kf.services.serving import printed, rollout
from jupyterlab_kf.services.serving.findings import Findings
from jupyterlab_kf.services.serving.live import EndpointFeed, EndpointKey
from jupyterlab_kf.services.studyfeed import StudyFeed, StudyKey
from jupyterlab_kf.widgets.wire import job_json, plain

MOST_ASKS: Final = 256
MOST_LINES: Final = 4_000
"""In one message: a browser reads and shows so many between two pictures of its screen."""
MOST_TRIALS: Final = 2_000
"""In one message, likewise."""

Frame = dict[str, Any]


class Rows:
    """A window of rows, and what of it the browser has."""

    def __init__(self, id_: str, query: JobQuery) -> None:
        self.id = id_
        self.query = query
        self._has: dict[str, JobRow] = {}
        self._said: tuple[Any, ...] = ()
        self._desk: Desk | None = None

    def ask(self, query: JobQuery) -> None:
        """Move the window, or change what is in it."""
        self.query = query
        self._said = ()

    def frames(self, desk: Desk) -> Iterator[Frame]:
        """What is new."""
        if desk.board is None and not self._said:
            return
        # Without a board what was shown is of a cluster that is not looked at any more.
        page = desk.board.page(self.query) if desk.board else JobPage(0, 0, 0, 0, (), {}, ())
        shown = [item for item in page.items if isinstance(item, JobRow)]
        self._desk = desk
        desk.explain(shown, id(self))
        fresh = [row for row in shown if self._has.get(row.uid) is not row]
        items = tuple(item if isinstance(item, JobGroup) else item.uid for item in page.items)
        said = (page.total, page.matched, page.size, page.offset, items, page.counts, page.namespaces)
        if not fresh and said == self._said:
            return
        self._said = said
        self._has = {row.uid: row for row in shown}
        yield {
            "type": "rows",
            "id": self.id,
            "total": page.total,
            "matched": page.matched,
            "size": page.size,
            "offset": page.offset,
            "items": [asdict(item) if isinstance(item, JobGroup) else item for item in items],
            "rows": [row_json(row) for row in fresh],
            "counts": page.counts,
            "namespaces": page.namespaces,
        }

    def close(self) -> None:
        """Nobody looks at it any more."""
        if self._desk is not None:
            self._desk.look_away(id(self))


class Listed:
    """All of a kind, sent whole when any has changed: there are tens of them."""

    def __init__(self, id_: str, type_: str, listing: Callable[[Desk], listings.Rows | None]) -> None:
        self.id = id_
        self._type = type_
        self._listing = listing
        self._said: tuple[object, int] | None = None

    def frames(self, desk: Desk) -> Iterator[Frame]:
        """What is new."""
        listing = self._listing(desk)
        if listing is None or not listing.known or (id(listing), listing.version) == self._said:
            return
        self._said = (id(listing), listing.version)
        rows = [asdict(row) for row in listing.newest()]
        yield {"type": self._type, "id": self.id, "rows": rows, "total": listing.total, "served": listing.served}

    def close(self) -> None:
        """Nothing is held."""


_LISTS: Final[dict[str, Callable[[Desk], listings.Rows | None]]] = {
    "studies": lambda desk: desk.studies(),
    "endpoints": lambda desk: desk.endpoints(),
}


class Kernels:
    """The kernels in pods that this server is starting: all of them, when any has news."""

    def __init__(self, id_: str, tell: Callable[[], None]) -> None:
        self.id = id_
        self._said: tuple[KernelStart, ...] | None = None
        loop = asyncio.get_running_loop()

        def told() -> None:  # in the thread of whoever starts it
            loop.call_soon_threadsafe(tell)

        self.close = STARTS.listen(told)

    def frames(self, _: Desk) -> Iterator[Frame]:
        """What is new."""
        starts = STARTS.all()
        if starts != self._said:
            self._said = starts
            yield {"type": "kernels", "id": self.id, "starts": [asdict(one) for one in starts]}


class Study:
    """A study, and up to which of its changes the browser has them."""

    def __init__(self, id_: str, feed: StudyFeed, leave: Callable[[], None], tell: Callable[[], None]) -> None:
        self.id = id_
        self.close = leave
        self._feed = feed
        self._tell = tell
        self._has: int | None = None
        self._head = -1
        self._state = (False, "")

    def frames(self, _: Desk) -> Iterator[Frame]:
        """What is new."""
        feed = self._feed
        state = (feed.gone, str(feed.error) if feed.error else "")
        head = feed.head(time.time())
        if (head is None or self._head == feed.version) and state == self._state:
            return
        fresh, has = self._has is None, self._has or 0
        changed = list(feed.since(has)) if head is not None else []
        part = changed[:MOST_TRIALS]
        complete = len(part) == len(changed)
        removed = feed.removed(has) if complete else []
        self._state = state
        if complete:
            self._has, self._head = feed.version, feed.version
        else:
            self._has = part[-1][0]
            self._tell()
        yield {
            "type": "study",
            "id": self.id,
            "gone": state[0],
            "error": state[1],
            "head": asdict(head) if head is not None else None,
            "trials": [trial_json(trial) for _, trial in part],
            "removed": removed,
            "total": feed.total,
            "fresh": fresh,
        }


class Endpoint:
    """An endpoint, and what of it and of its measures the browser has."""

    def __init__(self, id_: str, feed: EndpointFeed, leave: Callable[[], None]) -> None:
        self.id = id_
        self.close = leave
        self._feed = feed
        self._said: tuple[Any, ...] = ()
        self._found: Findings | None = None
        self._taken = 0

    def frames(self, _: Desk) -> Iterator[Frame]:
        """What is new."""
        feed = self._feed
        said = (feed.view, feed.totals, feed.taken, feed.gone, str(feed.error or ""), feed.findings, feed.unwatched)
        if said == self._said or (feed.view is None and not feed.gone and feed.error is None):
            return
        samples, fresh = feed.since(self._taken), not self._said
        self._said, self._taken = said, feed.taken
        found = feed.findings if fresh or feed.findings != self._found else None
        self._found = feed.findings
        yield {
            "type": "endpoint",
            "id": self.id,
            "gone": feed.gone,
            "error": str(feed.error or ""),
            "view": None if feed.view is None else plain(feed.view),
            "totals": plain(feed.totals),
            "samples": [plain(one) for one in samples],
            "fresh": fresh,
            "monitored": feed.findings is not None or bool(feed.unwatched),
            "findings": None if found is None else plain(found),
            "unwatched": feed.unwatched,
        }


class Job:
    """A job's view, and what of it the browser has."""

    def __init__(self, id_: str, shared: JobFeed, leave: Callable[[], None]) -> None:
        self.id = id_
        self.close = leave
        self._shared = shared
        self._has: Frame = {}
        self._state: tuple[bool, str] | None = None

    def frames(self, _: Desk) -> Iterator[Frame]:
        """What is new."""
        shared = self._shared
        state = (shared.gone, str(shared.error) if shared.error else "")
        now = job_json(shared.view) if shared.view is not None else {}
        changed = {key: value for key, value in now.items() if key not in self._has or self._has[key] != value}
        if not changed.keys() - {"seen"} and state == self._state:
            return
        self._has, self._state = now, state
        yield {"type": "job", "id": self.id, "gone": state[0], "error": state[1], "view": changed}


class Lines:
    """The log of a job, a trial or an endpoint, on its way."""

    def __init__(self, id_: str, desk: Desk, key: JobKey, tell: Callable[[], None]) -> None:
        self.id = id_
        self._tell = tell
        self._lines: list[LogLine] = []
        self._ended = False
        self._error = ""
        self._task: asyncio.Task[None] | None = asyncio.create_task(self._read(desk, key))

    def frames(self, _: Desk) -> Iterator[Frame]:
        """What is new."""
        if not self._lines and not (self._ended and self._task is not None):
            return
        part, self._lines = self._lines[:MOST_LINES], self._lines[MOST_LINES:]
        done = self._ended and not self._lines
        if done:
            self._task = None
        if self._lines:
            self._tell()
        lines = [{"r": line.replica, "s": line.text, "t": line.time} for line in logs.merge(part)]
        yield {"type": "lines", "id": self.id, "lines": lines, "done": done, "error": self._error if done else ""}

    def close(self) -> None:
        """Stop reading."""
        if self._task is not None:
            self._task.cancel()

    async def _read(self, desk: Desk, key: JobKey) -> None:
        try:
            client = await desk.client()
            if key.kind in (kinds.TRIAL.kind, rollout.KIND.kind):
                found = (
                    trials.trial_lines(client, key.namespace, key.name, follow=True)
                    if key.kind == kinds.TRIAL.kind
                    else printed.follow(client, key.namespace, key.name)
                )
                async with aclosing(found):
                    async for line in found:
                        self._lines.append(line)
                        self._tell()
                return
            job = await desk.job(key, client)
            if training.decode(job).phase.finished:
                self._lines += await all_lines(client, job)
            else:
                async for line in feed.follow_lines(client, kind_of(job), job):
                    self._lines.append(line)
                    self._tell()
        except KubeflowError as error:
            self._error = str(error)
        finally:
            self._ended = True
            self._tell()


async def all_lines(client: Client, job: Obj) -> list[LogLine]:
    """The whole log of a job, by time."""
    space = str(meta(job)["namespace"])
    found = await client.list(kinds.POD, space, selector=training.pod_selector(job))
    places = [one for one in training.replicas(job, found) if one.pod]
    container = training.container_of(job)
    parts = await asyncio.gather(*(pictures.tail(client, space, one, container, count=None) for one in places))
    return logs.merge(line for part in parts for line in part)


class Denied:
    """What the user may not read: said once, in the shape of what was asked for."""

    def __init__(self, id_: str, type_: str) -> None:
        self.id = id_
        self._frame: Frame | None = {"type": type_, "id": id_, "error": DENIED} | _NOTHING.get(type_, {})

    def frames(self, _: Desk) -> Iterator[Frame]:
        """What is new."""
        frame, self._frame = self._frame, None
        if frame is not None:
            yield frame

    def close(self) -> None:
        """Nothing is held."""


DENIED: Final = "This Jupyter server does not let you read this."
_NOTHING: Final[dict[str, Frame]] = {
    "rows": {
        "total": 0,
        "matched": 0,
        "size": 0,
        "offset": 0,
        "items": [],
        "rows": [],
        "counts": {},
        "namespaces": [],
    },
    "job": {"gone": False, "view": {}},
    "lines": {"lines": [], "done": True},
    "study": {"gone": False, "head": None, "trials": [], "removed": [], "total": 0, "fresh": True},
    "endpoint": {
        "gone": False,
        "view": None,
        "totals": {},
        "samples": [],
        "fresh": True,
        "monitored": False,
        "findings": None,
        "unwatched": "",
    },
    "studies": {"rows": [], "total": 0, "served": True},
    "kernels": {"starts": []},
    "endpoints": {"rows": [], "total": 0, "served": True},
}
_LOGS: Final = {kinds.TRIAL.kind: STUDIES, rollout.KIND.kind: ENDPOINTS}
"""Whose logs are read beside those of jobs."""
_FAMILIES: Final = {"studies": STUDIES, "study": STUDIES, "endpoints": ENDPOINTS, "endpoint": ENDPOINTS}


def resource_of(said: Any) -> str:
    """What leave to read a message asks for: the resource of the routes of the same family."""
    kind = said.get("type")
    if kind == "lines":
        return _LOGS.get(str((said.get("key") or {}).get("kind")), JOBS)
    return _FAMILIES.get(kind, JOBS)


Ask = Rows | Job | Lines | Listed | Kernels | Study | Endpoint | Denied


class Asks:
    """Everything that one browser asked for.

    Args:
        desk: what all browsers share.
        tell: called when there is something new.
        readable: the resources that its user may read.
    """

    def __init__(self, desk: Desk, tell: Callable[[], None], readable: Collection[str]) -> None:
        self._desk = desk
        self._readable = readable
        self._tell = tell
        self._asks: dict[str, Ask] = {}
        self._ended: list[JobRow] = []
        self._link: Frame = {}
        self._deaf = desk.listen(self._changed)
        desk.open()

    def close(self) -> None:
        """Forget it."""
        self._deaf()
        for ask in self._asks.values():
            ask.close()
        self._asks.clear()

    def take(self, said: Any) -> None:
        """A message from the browser.

        Raises:
            ValueError, TypeError, KeyError: it is not one of ours.
        """
        kind, id_ = said["type"], str(said["id"])[:100]
        known = self._asks.get(id_)
        if kind == "close":
            if known is not None:
                self._asks.pop(id_).close()
        elif resource_of(said) not in self._readable:
            self._put(id_, Denied(id_, kind))
        elif kind == "rows" and isinstance(known, Rows):
            known.ask(_query(said.get("query") or {}))
        elif (asked := self._asked(kind, id_, said)) is not None:
            self._put(id_, asked)

    def _asked(self, kind: str, id_: str, said: Any) -> Ask | None:
        made: Ask | None = Listed(id_, kind, _LISTS[kind]) if kind in _LISTS else None
        match kind:
            case "rows":
                made = Rows(id_, _query(said.get("query") or {}))
            case "job":
                shared, leave = self._desk.look(_key(said["key"]), self._tell)
                made = Job(id_, shared, leave)
            case "lines":
                made = Lines(id_, self._desk, _log_key(said["key"]), self._tell)
            case "study":
                feed, leave = self._desk.study_feeds.look(_study_key(said["key"]), self._tell)
                made = Study(id_, feed, leave, self._tell)
            case "endpoint":
                looked, leave = self._desk.endpoint_feeds.look(_endpoint_key(said["key"]), self._tell)
                made = Endpoint(id_, looked, leave)
            case "kernels":
                made = Kernels(id_, self._tell)
        return made

    def frames(self) -> Iterator[Frame]:
        """What is new."""
        choice = self._desk.choice
        name = choice.name if choice else ""
        link = {"type": "link", "link": asdict(self._desk.link), "cluster": name, "namespace": self._desk.namespace}
        if link != self._link:
            self._link = link
            yield link
        for ask in tuple(self._asks.values()):
            yield from ask.frames(self._desk)
        ended, self._ended = self._ended, []
        for row in ended:
            yield {"type": "ended", "row": row_json(row)}

    def _put(self, id_: str, ask: Ask) -> None:
        if (before := self._asks.pop(id_, None)) is not None:
            before.close()
        if len(self._asks) >= MOST_ASKS:
            ask.close()
            raise ValueError("too many things at once")
        self._asks[id_] = ask

    def _changed(self, before: JobRow | None, after: JobRow | None) -> None:
        if after is not None and before is not None and JOBS in self._readable:
            ended = after.phase is not before.phase and after.phase.finished
            self._ended += [after] if ended else []
        self._tell()


_ROW: Final = tuple(entry.name for entry in fields(JobRow))
_TRIAL: Final = tuple(entry.name for entry in fields(StudyTrial))


def trial_json(trial: StudyTrial) -> Frame:
    """A trial as JSON data."""
    return {name: getattr(trial, name) for name in _TRIAL}


def row_json(row: JobRow) -> Frame:
    """A row as JSON data; without the deep copy that ``asdict`` makes of each of thousands."""
    return {name: getattr(row, name) for name in _ROW}


def _query(said: Any) -> JobQuery:
    return JobQuery(
        text=str(said.get("text") or "")[:200],
        phases=tuple(phase for phase in said.get("phases") or () if phase in Phase.__members__.values()),
        namespace=str(said.get("namespace") or ""),
        sort=str(said.get("sort") or "created"),
        descending=bool(said.get("descending", True)),
        grouped=bool(said.get("grouped")),
        collapsed=tuple(str(space) for space in said.get("collapsed") or ()),
        offset=max(0, int(said.get("offset") or 0)),
        limit=max(0, int(said.get("limit") or 0)),
    )


def _key(said: Any) -> JobKey:
    kind = str(said["kind"])
    training_kinds(kind)
    return JobKey(kind, str(said["namespace"]), str(said["name"]), str(said.get("uid") or ""))


def _log_key(said: Any) -> JobKey:
    """A job, a trial of a study, or an endpoint."""
    kind = str(said["kind"])
    if kind not in (kinds.TRIAL.kind, rollout.KIND.kind):
        return _key(said)
    namespace, name, _ = _named(said, "trial" if kind == kinds.TRIAL.kind else "endpoint")
    return JobKey(kind, namespace, name)


def _study_key(said: Any) -> StudyKey:
    return StudyKey(*_named(said, "study"))


def _endpoint_key(said: Any) -> EndpointKey:
    return EndpointKey(*_named(said, "endpoint"))


def _named(said: Any, what: str) -> tuple[str, str, str]:
    """Namespace, name and uid of what is meant; they become parts of paths and selectors."""
    namespace, name = str(said["namespace"]), str(said["name"])
    if not (names.is_object_name(namespace) and names.is_object_name(name)):
        raise ValueError(f"no such {what}")
    return namespace, name, str(said.get("uid") or "")
