"""An API server within the process, in a time of its own, to which everything may happen that happens to real ones.

Objects have a history that can be forgotten, versions are opaque, lists come in pages. The client under test is the
real one: only the module that speaks HTTP is replaced, so pages, repetitions, lines and refusals are the product's own.
"""

from __future__ import annotations

import asyncio
import json
import selectors
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster import watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.connection import Connection
from jupyterlab_kf.cluster.transport import NoReplyError, Reply, Transport
from jupyterlab_kf.model import Obj

T = TypeVar("T")

LATENCY: Final = 0.02
BOOKMARK: Final = 60.0
"""Seconds between two bookmarks of a watch, as real servers send them."""
_PAGE: Final = 2
_who: ContextVar[Watcher | None] = ContextVar("_who", default=None)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Waiting costs nothing: when nobody can go on, the clock is set to when somebody can."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jump(self))

    def time(self) -> float:
        return self.now


class _Jump(selectors.SelectSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("everybody waits for something that will never happen")
        self._loop.now += timeout
        return super().select(0)


def in_no_time(work: Coroutine[Any, Any, T]) -> T:
    """The coroutine's result, by the virtual clock."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


def now() -> float:
    """Seconds on the clock of the loop."""
    return asyncio.get_running_loop().time()


def pace(**changes: Any) -> watch.Pace:
    """The product's own patience, by the clock of the loop."""
    return watch.Pace(clock=now, **changes)


class _Wire:
    """One open watch, as the server holds it."""

    def __init__(self, server: Server, silence: float | None, lasts: float) -> None:
        self.server = server
        self.deaf = False
        """Half open: what is sent never arrives, and nobody is told."""
        self._silence = silence
        self._parts: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        self._timers = [loop.call_later(BOOKMARK, self._bookmark), loop.call_later(lasts, self.end)]

    def send(self, type_: str, obj: Obj, *, cut: bool = False) -> None:
        line = json.dumps({"type": type_, "object": obj}).encode() + b"\n"
        self._put(line[: len(line) // 2] if cut else line)

    def end(self, error: Exception | None = None) -> None:
        self._put(error)

    def _put(self, part: bytes | Exception | None) -> None:
        if not self.deaf:
            self._parts.put_nowait(part)

    def _bookmark(self) -> None:
        self.send("BOOKMARK", self.server.bookmark())
        self._timers[0] = asyncio.get_running_loop().call_later(BOOKMARK, self._bookmark)

    async def read(self) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(self._silence):
                    part = await self._parts.get()
                    await self.server.thawed.wait()
            except TimeoutError:
                raise NoReplyError("it did not answer in time") from None
            if part is None:
                return
            if isinstance(part, Exception):
                raise part
            yield part

    def close(self) -> None:
        for timer in self._timers:
            timer.cancel()


@dataclass
class Sickness:
    """What is answered instead of what was asked for; to every request, or to all but the question for readiness."""

    code: int = 500
    retry_after: str = ""
    ready: bool = False


@dataclass
class Server:
    """Objects of one kind in one namespace, their history, and what is wrong with the server just now."""

    here: dict[str, Obj] = field(default_factory=dict)
    """Name -> object."""
    history: list[tuple[int, str, Obj]] = field(default_factory=list)
    floor: int = 0
    """What happened up to here is forgotten."""
    last: int = 0
    gone_by_http: bool = False
    away: bool = False
    sick: Sickness | None = None
    short: bool = False
    forgetful: bool = False
    """No place is ever known, however new it is."""
    wires: list[_Wire] = field(default_factory=list)
    asked: list[tuple[float, str]] = field(default_factory=list)
    told_gone: int = 0
    listed: dict[Watcher | None, int] = field(default_factory=dict)
    """Who has read a list, and what had happened when he read it last."""
    thawed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.thawed.set()
        self._numbers: dict[str, int] = {}
        self._rests: dict[str, tuple[int, list[Obj]]] = {}
        self._uids = 0

    # ------------------------------------------------------------------------------------------------------- objects

    def version(self, number: int) -> str:
        """Opaque: an older one may well be the greater number."""
        text = str(number * 7919 % 1_000_003)
        self._numbers[text] = number
        return text

    def bookmark(self) -> Obj:
        return {"kind": "Pod", "metadata": {"resourceVersion": self.version(self.last)}}

    def put(self, name: str) -> None:
        """Make it, or change it."""
        before = self.here.get(name)
        if before is None:
            self._uids += 1
        uid = before["metadata"]["uid"] if before else f"uid-{self._uids}"
        self._write("MODIFIED" if before else "ADDED", name, uid)

    def renew(self, name: str) -> None:
        """Another object under the same name."""
        self.drop(name)
        self.put(name)

    def drop(self, name: str) -> None:
        if name in self.here:
            self._write("DELETED", name, self.here[name]["metadata"]["uid"])

    def _write(self, type_: str, name: str, uid: str) -> None:
        self.last += 1
        head = {"name": name, "namespace": "n", "uid": uid, "resourceVersion": self.version(self.last)}
        obj = {"apiVersion": "v1", "kind": "Pod", "metadata": head, "status": {"step": self.last}}
        if type_ == "DELETED":
            del self.here[name]
        else:
            self.here[name] = obj
        self.history.append((self.last, type_, obj))
        for wire in self.wires:
            wire.send(type_, obj)

    # --------------------------------------------------------------------------------------------------------- faults

    def happen(self, what: str, which: str = "") -> None:
        """A deed or a fault, by its name."""
        if which:
            getattr(self, what)(which)
        else:
            getattr(self, what)()

    def cut(self, how: str = "") -> None:
        """End all watches: in order, by a reset, within a line, or by an error that is told."""
        for wire in self.wires:
            if how == "line":
                wire.send("MODIFIED", self.bookmark(), cut=True)
            if how.isdigit():
                code = int(how)
                reason = {410: "Expired", 429: "TooManyRequests"}.get(code, "InternalError")
                self.told_gone += code == 410
                wire.send("ERROR", {"kind": "Status", "code": code, "reason": reason, "message": "no"})
            wire.end(NoReplyError("reset") if how == "reset" else None)

    def repeat(self) -> None:
        """Say again what was said last, as a server may when a watch is taken up."""
        if self.history:
            _, type_, obj = self.history[-1]
            for wire in self.wires:
                wire.send(type_, obj)

    def forget(self) -> None:
        """History is compacted: watches go on, but none begins before now."""
        self.floor = self.last
        self._rests.clear()

    def restart(self) -> None:
        """At once, with an empty history."""
        self.cut("reset")
        self.forget()

    def lapse_put(self, name: str) -> None:
        """A change while nobody listened, which is forgotten before anybody does."""
        self._lapse("put", name)

    def lapse_drop(self, name: str) -> None:
        """The same with a deletion."""
        self._lapse("drop", name)

    def lapse_renew(self, name: str) -> None:
        """The same with another object under the old one's name."""
        self._lapse("renew", name)

    def _lapse(self, what: str, name: str) -> None:
        self.cut("reset")
        self.happen(what, name)
        self.forget()

    def gone(self, how: str) -> None:
        """How it is told that a place is too old: as an ``event``, or by ``http``."""
        self.gone_by_http = how == "http"

    def deafen(self) -> None:
        """Connections that are open lead nowhere from now on; new ones do not."""
        for wire in self.wires:
            wire.deaf = True

    def freeze(self) -> None:
        """It takes what is sent and answers nothing until it is healed."""
        self.thawed.clear()

    def fall(self) -> None:
        """Nothing listens at its address."""
        self.away = True
        self.cut("reset")

    def shorten(self) -> None:
        """Every watch is ended as soon as it has begun."""
        self.short = True
        self.cut()

    def sicken(self, how: str) -> None:
        """Answer by a code: ``500``, with a pause that is asked for: ``429 20``, or but to probes: ``503 ready``."""
        code, _, more = how.partition(" ")
        self.sick = Sickness(int(code), "" if more == "ready" else more, ready=more == "ready")
        self.cut()

    def heal(self) -> None:
        self.away, self.sick, self.short, self.forgetful = False, None, False, False
        self.thawed.set()

    # ------------------------------------------------------------------------------------------------------- answers

    async def answer(self, path: str, params: Mapping[str, str]) -> Reply:
        what = "ready" if path == "/readyz" else "list"
        self.asked.append((now(), what))
        await self._arrive()
        if self.sick is not None and not (what == "ready" and self.sick.ready):
            return self._refusal(self.sick.code, self.sick.retry_after)
        return Reply(200, {}, b"ok") if what == "ready" else self._page(params)

    @asynccontextmanager
    async def watch(
        self, params: Mapping[str, str], silence: float | None
    ) -> AsyncIterator[AsyncIterator[bytes] | Reply]:
        self.asked.append((now(), "watch"))
        await self._arrive(silence)
        if self.sick is not None:
            yield self._refusal(self.sick.code, self.sick.retry_after)
            return
        begin = self._numbers[params["resourceVersion"]]
        gone = begin < self.floor or self.forgetful
        self.told_gone += gone
        if gone and self.gone_by_http:
            yield self._refusal(410)
            return
        wire = _Wire(self, silence, float(params["timeoutSeconds"]))
        if gone:
            wire.send("ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
            wire.end()
        for number, type_, obj in self.history if not gone else ():
            if number > begin:
                wire.send(type_, obj)
        if self.short:
            wire.end()
        self.wires.append(wire)
        try:
            yield wire.read()
        finally:
            self.wires.remove(wire)
            wire.close()

    async def _arrive(self, patience: float | None = 30.0) -> None:
        await asyncio.sleep(LATENCY)
        if self.away:
            error = NoReplyError("refused")
            error.refused = True
            raise error
        try:
            async with asyncio.timeout(patience):
                await self.thawed.wait()
        except TimeoutError:
            raise NoReplyError("it did not answer in time") from None

    def _page(self, params: Mapping[str, str]) -> Reply:
        token = params.get("continue", "")
        if token:
            if token not in self._rests:
                return self._refusal(410)
            number, rest = self._rests[token]
        else:
            number, rest = self.last, sorted(self.here.values(), key=lambda obj: str(obj["metadata"]["name"]))
        size = _PAGE if "limit" in params else len(rest)
        head: Obj = {"resourceVersion": self.version(number)}
        self.listed[_who.get()] = number
        if rest[size:]:
            head["continue"] = f"{number}-{len(rest) - size}"
            self._rests[head["continue"]] = (number, rest[size:])
        return Reply(200, {}, json.dumps({"metadata": head, "items": rest[:size]}).encode())

    def _refusal(self, code: int, retry_after: str = "") -> Reply:
        reason = {410: "Expired", 429: "TooManyRequests", 503: "ServiceUnavailable"}.get(code, "InternalError")
        text = json.dumps({"kind": "Status", "code": code, "reason": reason, "message": "no"})
        return Reply(code, {"Retry-After": retry_after} if retry_after else {}, text.encode())

    def count(self, what: str, since: float = 0.0, until: float = float("inf")) -> int:
        return sum(kind == what and since <= time < until for time, kind in self.asked)


class Wired(Transport):
    """The way to a server of this module."""

    def __init__(self, server: Server) -> None:
        super().__init__(Connection("model", "http://model", "n", ""), 30.0, asyncio.sleep)
        self.server = server

    async def send(self, method: str, path: str, **more: Any) -> Reply:
        assert method == "GET"
        return await self.server.answer(path, more.get("params") or {})

    def stream(self, path: str, **more: Any) -> Any:
        assert path == kinds.POD.path("n")
        return self.server.watch(more["params"], more["silence"])


def client_of(server: Server) -> Client:
    """The product's client, wired to a server of this module."""
    made = Client(Connection("model", "http://model", "n", ""))
    made._transport = Wired(server)
    return made


class Watcher:
    """Somebody who believes every change that he is told, and says when one cannot be."""

    def __init__(self, client: Client, **more: Any) -> None:
        self.picture: dict[str, Obj] = {}
        """Uid -> object."""
        self.told: list[tuple[str, str]] = []
        """Type and version of each change since the first list."""
        self.synced = 0
        self.seen: Counter[str] = Counter()
        self._changes = watch.follow(client, kinds.POD, "n", pace=pace(), **more)
        self.task = asyncio.create_task(self._believe())

    async def _believe(self) -> None:
        _who.set(self)
        async for type_, obj in self._changes:
            if type_ == "SYNCED":
                self.synced += 1
                continue
            head = obj["metadata"]
            uid, version = head["uid"], head["resourceVersion"]
            before = self.picture.pop(uid, None)
            if type_ == "ADDED":
                assert before is None, "told as new what was known"
            else:
                assert before is not None, f"told as {type_} what was not known"
            if type_ == "MODIFIED":
                assert before is not None
                assert before["metadata"]["resourceVersion"] != version, "told twice"
            if type_ != "DELETED":
                self.picture[uid] = obj
                assert self.seen[version] == 0, "told twice"
                self.seen[version] += 1
            if self.synced:
                self.told.append((type_, version))

    def knows(self, server: Server) -> bool:
        """Whether his picture is the server's own."""
        if self.task.done():
            self.task.result()
        return {obj["metadata"]["name"]: obj for obj in self.picture.values()} == server.here

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self._changes.aclose()
