"""The controller manager: every change wakes the controllers that it concerns, and what they answer is carried out.

One work queue per controller; a key stands in it once, and is never worked on twice at the same time. Knows nothing of
kinds, and nothing of where the objects are: an :class:`Api` is the embedded registry or a real cluster.

There are no expectations, because none are needed. Over the embedded registry a view shows every write at once. Over a
view that lags behind, a controller may decide the same thing twice, and that is harmless: names are decided by the
owner's uid, and creating a name that exists does nothing; deletions and patches name a uid; restarts are counted by
uid; a status that was computed from old pods is corrected when the view catches up, as that is a change that wakes us.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from jupyterlab_kf.controllers import (
    Action,
    Consult,
    Controller,
    Create,
    Delete,
    Emit,
    Key,
    Mapper,
    Patch,
    Requeue,
    SetStatus,
    View,
)
from jupyterlab_kf.errors import AlreadyExistsError, ApiError, ConflictError, KubeflowError, NotFoundError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, Ref, controller_of, meta

Listener: TypeAlias = Callable[[str, Kind, Obj, Obj | None], None]
"""Type of change (ADDED, MODIFIED, DELETED), kind, object, and the object before."""

_FIRST_DELAY = 0.01
_LONGEST_DELAY = 60.0
_SHORTEST_TIMER, _LONGEST_TIMER = 0.01, 60.0
_PATIENCE = 5.0
_log = logging.getLogger(__name__)


class Api(Protocol):
    """What a manager works on."""

    view: View

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call the listener after every change; what comes back ends that. May be called from the loop only."""

    async def execute(self, action: Create | Patch | SetStatus | Delete | Emit) -> None:
        """Carry out one action. An object that has another uid than the action says is left alone.

        Raises:
            KubeflowError: it could not be carried out.
        """

    async def consult(self, question: Mapping[str, Any]) -> Mapping[str, Any]:
        """The answer to a question, from a service outside the cluster.

        Raises:
            KubeflowError: nobody answers now.
        """


class Manager:
    """Runs controllers over an API.

    Args:
        api: where the objects are.
        controllers: what runs.
        clock: epoch seconds; timers are the event loop's, so that tests can run both in virtual time.
        workers: how many keys of one controller are worked on at the same time, unless it asks for more.
    """

    def __init__(
        self,
        api: Api,
        controllers: Sequence[Controller],
        *,
        clock: Callable[[], float] = time.time,
        workers: int = 1,
    ) -> None:
        self._api = api
        self._queues = [_Queue(controller, api, clock) for controller in controllers]
        self._workers = workers
        self._tasks: list[asyncio.Task[None]] = []
        self._unsubscribe: Callable[[], None] | None = None
        self._routes = _Routes(self._queues, api.view)

    async def start(self) -> None:
        """Follow changes, and look at everything once."""
        self._unsubscribe = self._api.subscribe(self._routes.changed)
        for queue in self._queues:
            for obj in self._api.view.list(queue.controller.kind):
                queue.add(_key(obj))
            self._tasks += [
                asyncio.create_task(queue.work(), name=f"{queue.controller.name}-{n}")
                for n in range(max(self._workers, queue.controller.workers))
            ]

    async def stop(self) -> None:
        """Finish what is at hand, and stop. What was not reached is found again at the next start."""
        if self._unsubscribe:
            self._unsubscribe()
            self._unsubscribe = None
        for queue in self._queues:
            queue.close()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_PATIENCE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        self._tasks = []


class _Routes:
    """Who is woken by a change of which kind."""

    def __init__(self, queues: Sequence[_Queue], view: View) -> None:
        self._view = view
        self._any = [queue for queue in queues if queue.controller.owns_any]
        self._own: dict[tuple[str, str], list[_Queue]] = {}
        self._owners: dict[tuple[str, str], list[_Queue]] = {}
        self._mappers: dict[tuple[str, str], list[tuple[_Queue, Mapper]]] = {}
        for queue in queues:
            controller = queue.controller
            self._own.setdefault(_identity(controller.kind), []).append(queue)
            for kind in controller.owns:
                self._owners.setdefault(_identity(kind), []).append(queue)
            for kind, mapper in controller.watches.items():
                self._mappers.setdefault(_identity(kind), []).append((queue, mapper))

    def changed(self, type_: str, kind: Kind, obj: Obj, old: Obj | None) -> None:
        """Wake every controller that a change concerns."""
        identity = _identity(kind)
        for queue in self._own.get(identity, ()):
            if type_ == "DELETED":
                queue.forget(_key(obj))
            else:
                queue.add(_key(obj))
        states = [obj] if old is None or old is obj else [obj, old]
        for queue in (*self._owners.get(identity, ()), *self._any):
            for state in states:
                owner = controller_of(state)
                if owner and (owner.get("apiVersion"), owner.get("kind")) == _identity(queue.controller.kind):
                    queue.add((str(meta(state).get("namespace", "")), str(owner["name"])))
        for queue, mapper in self._mappers.get(identity, ()):
            for state in states:
                for key in mapper(state, self._view):
                    queue.add(key)


class _Queue:
    """The keys that one controller is to look at, and the work on them."""

    def __init__(self, controller: Controller, api: Api, clock: Callable[[], float]) -> None:
        self.controller = controller
        self._api, self._clock = api, clock
        self._waiting: dict[Key, None] = {}
        self._busy: set[Key] = set()
        self._again: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Event()
        self._closed = False

    def add(self, key: Key) -> None:
        """Look at a key soon; once, however often it is asked for."""
        if self._closed:
            return
        if key in self._busy:
            self._again.add(key)
            return
        self._waiting[key] = None
        self._wake.set()

    def forget(self, key: Key) -> None:
        """The object is gone: no timers, no grudges."""
        self._failures.pop(key, None)
        self._cancel(key)

    def close(self) -> None:
        """Take no more work; workers end after what they are at."""
        self._closed = True
        self._waiting.clear()
        for key in list(self._timers):
            self._cancel(key)
        self._wake.set()

    async def work(self) -> None:
        """Take one key after the other until closed."""
        while not self._closed:
            if not self._waiting:
                self._wake.clear()
                await self._wake.wait()
                continue
            key = next(iter(self._waiting))
            del self._waiting[key]
            self._busy.add(key)
            try:
                await self._look(key)
            finally:
                self._busy.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            await asyncio.sleep(0)  # an API that never waits must not starve the loop

    async def _look(self, key: Key) -> None:
        self._cancel(key)
        obj = self._api.view.get(self.controller.kind, *key)
        if obj is None:
            self.forget(key)
            return
        try:
            actions = self.controller.react(obj, self._api.view, self._clock())
            await self._carry_out(obj, actions)
        except ConflictError as error:
            _log.debug("%s: %s changed meanwhile: %s", self.controller.name, key, error)
            self._retry(key)
        except KubeflowError as error:
            _log.warning("%s: %s: %s", self.controller.name, "/".join(key), error)
            self._retry(key)
        except Exception:  # noqa: BLE001  one object that we cannot digest must not stop the work on all others
            _log.exception("%s: %s", self.controller.name, "/".join(key))
            self._retry(key)
        else:
            self._failures.pop(key, None)
            due = [action.at for action in actions if isinstance(action, Requeue)]
            if due:
                self._at(key, min(due) - self._clock())

    async def _carry_out(self, obj: Obj, actions: Iterable[Action]) -> None:
        for action in actions:
            if isinstance(action, Requeue) or (isinstance(action, SetStatus) and self._is_so(action)):
                continue
            if isinstance(action, Consult):
                await self._carry_out(obj, action.then(await self._api.consult(action.question)))
                continue
            try:
                await self._api.execute(action)
            except AlreadyExistsError:
                if not isinstance(action, Create):
                    raise
            except NotFoundError:
                if isinstance(action, Create):
                    raise
            except ApiError as error:
                if isinstance(action, Create):
                    await self._tell(obj, action, error)
                raise

    def _is_so(self, action: SetStatus) -> bool:
        stored = self._api.view.get(action.kind, action.namespace, action.name)
        return stored is not None and (stored.get("status") or {}) == action.status

    async def _tell(self, obj: Obj, action: Create, error: ApiError) -> None:
        """Say on the object why what it needs could not be created."""
        kind = self.controller.kind
        about = Ref(kind.kind, _key(obj)[1], _key(obj)[0], str(meta(obj).get("uid", "")))
        reason = f"FailedCreate{action.kind.kind}" if kind.custom else "FailedCreate"
        text = f"Error creating: {error.message}"
        await self._api.execute(Emit(about, kind.api_version, "Warning", reason, text, self.controller.name))

    # --- timers -------------------------------------------------------------------------------------------------

    def _retry(self, key: Key) -> None:
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        self._at(key, min(_FIRST_DELAY * 2.0 ** min(failures, 30), _LONGEST_DELAY))

    def _at(self, key: Key, delay: float) -> None:
        if self._closed:
            return
        # Waking early is harmless, and keeps deadlines right when the machine slept or its clock was set.
        delay = min(max(delay, _SHORTEST_TIMER), _LONGEST_TIMER)
        self._timers[key] = asyncio.get_running_loop().call_later(delay, self._due, key)

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _cancel(self, key: Key) -> None:
        timer = self._timers.pop(key, None)
        if timer:
            timer.cancel()


def _identity(kind: Kind) -> tuple[str, str]:
    return kind.api_version, kind.kind


def _key(obj: Obj) -> Key:
    return str(meta(obj).get("namespace") or ""), str(meta(obj)["name"])
