"""One kernel in a pod, from the wish to its end: made, waited for, commanded, explained, removed.

Runs in the client's loop; what others read of it (:attr:`PodKernel.code`) is safe to read from any thread. The kernel's
ports are this machine's own, by a relay, so that clients stay connected when a pod is replaced. Whether a pod is alive
is what the cluster says, never that we cannot reach it: a kernel is not given up because a network was away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster import keeping, reach, shapes, watch
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.connection import IN_CLUSTER
from jupyterlab_kf.cluster.reach import Relay, Stream
from jupyterlab_kf.errors import ApiError, KernelError, KubeflowError, UnreachableError
from jupyterlab_kf.manifests import kernels
from jupyterlab_kf.manifests.kernels import Kernel, Orders
from jupyterlab_kf.model import Event, Explanation, Obj, Ref, meta
from jupyterlab_kf.services import explain
from jupyterlab_kf.services.kernels import sentences
from jupyterlab_kf.services.kernels.link import Link
from jupyterlab_kf.services.plans import runtime

_LOOK: Final = 1.0
"""Seconds between two looks at the events of a pod that does not run yet."""
_SILENT: Final = 1.5
"""Seconds of waiting of which nothing is told: most kernels start within them."""
_FIND: Final = 10.0
"""Seconds that a kernel that runs may take to answer whoever finds it again."""
_ANY: Final = -1
"""The number of a run that is not known yet."""
_AGAIN: Final = 60.0
"""Seconds that a kernel may take to start again in its pod."""
_TAIL: Final = 60
_LATE: Final = 0.2
_SIGKILL: Final = 9

Tell = Callable[[str], None]
Show = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Terms:
    """How a kernel is started and kept.

    Attributes:
        road: how its ports are reached: ``direct``, ``forward`` (through the API server), or empty to choose.
        timeout: seconds that it may take until it runs.
        context: the name of the connection's cluster, for choosing the road.
    """

    road: str = ""
    timeout: float = 600.0
    context: str = ""


@dataclass(slots=True)
class _Waiting:
    """What is known of a kernel that does not run yet."""

    began: float
    why: Explanation | None = None
    since: float = 0.0
    looked: float = 0.0
    told: str = ""
    events: list[Event] = field(default_factory=list)


class PodKernel:
    """A kernel in a pod.

    Args:
        client: the cluster.
        kernel: what is wanted.
        orders: what it is to run.
        terms: how it is started and kept.
        tell: hears sentences about what it waits for, and why it ended.
        show: hears what it waits for, and what to do about it.
    """

    def __init__(
        self, client: Client, kernel: Kernel, orders: Orders, terms: Terms, *, tell: Tell, show: Show = lambda *_: None
    ) -> None:
        self._client, self._kernel, self._terms, self._tell, self._show = client, kernel, terms, tell, show
        self._orders = orders
        self._relay = Relay(self._dial)
        self._made: Obj = {}
        self._pod: Obj | None = None
        self._link: Link | None = None
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._run = 0
        self._running = False
        self._ending = False
        self._asked_to_end = False
        self._last: Mapping[str, Any] = {}
        self._found = False
        self.lost = False
        self.busy = False
        """Of a kernel that was taken over: whether it computed then."""
        self.code: int | None = None

    @property
    def kept(self) -> dict[str, Any]:
        """What :meth:`take_over` needs in another process, as JSON data; the token commands the kernel."""
        told = self._orders
        return {
            "job": self._made,
            "token": told.token,
            "context": self._terms.context,
            "alone_for": told.alone_for,
            "alone_busy_for": told.alone_busy_for,
        }

    @property
    def ref(self) -> Ref:
        """The Job."""
        return Ref(kinds.JOB.kind, self._kernel.name, self._kernel.namespace)

    # Starting

    async def start(self) -> None:
        """Until the kernel can be connected to. Whatever goes wrong, nothing is left behind.

        Raises:
            KernelError: it will not run; says why.
            ApiError: the cluster does not take it.
            UnreachableError: the cluster cannot be reached.
        """
        try:
            await self._create()
            self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._keep_link())]
            await self._until_running(self._terms.timeout)
            await self.listen(self._orders.connection)
        except BaseException:
            await asyncio.shield(self.end())
            raise

    async def take_over(self, made: Obj, connection: Mapping[str, Any]) -> None:
        """Command a kernel that another process started, as it is. One that nobody answers for now may live.

        Args:
            made: its Job, as it was created.
            connection: a connection file's content, whose ports are free.

        Raises:
            KernelError: it is gone.
            UnreachableError: one of the ports is taken.
        """
        self._made, self._found, self._run = made, True, _ANY
        try:
            self._tasks = [asyncio.create_task(self._watch()), asyncio.create_task(self._keep_link())]
            with suppress(TimeoutError):
                async with asyncio.timeout(_FIND):
                    while not self._running and self.code is None:
                        await self._changed()
            self._running = self.code is None
            await self.listen(connection)
        except BaseException:
            await asyncio.shield(self.let_go())
            raise
        if self.code is not None:
            await self.end()
            raise KernelError("the kernel has ended meanwhile", ref=self.ref)

    async def listen(self, connection: Mapping[str, Any]) -> None:
        """Give the kernel's ports to this machine, as a connection file says.

        Raises:
            UnreachableError: one of the ports is taken.
        """
        ports = {int(connection[name]): port for name, port in kernels.PORTS.items()}
        await self._relay.open(str(connection.get("transport") or "tcp"), str(connection["ip"]), ports)

    async def again(self, env: Mapping[str, str]) -> bool:
        """Start the kernel again in its pod; False when there is no pod any more.

        Raises:
            KernelError: it does not start.
        """
        if self.lost or self._link is None:
            return False
        self._run += 1
        self._running, self._asked_to_end, self.code = False, False, None
        try:
            await self._link.order("start", run=self._run, env=dict(env))
            await self._until_running(_AGAIN)
        except UnreachableError:
            return False
        except KernelError:
            if self.lost:
                return False
            raise
        return True

    async def _create(self) -> None:
        # A name that nobody knew can only be ours: an object that is there already is an earlier attempt's.
        space, name = self._kernel.namespace, self._kernel.name
        self._made = await self._client.create(kinds.JOB, kernels.job(self._kernel), namespace=space)
        secret = kernels.secret(self._made, self._orders, runtime("kernel.py"))
        await self._client.create(kinds.SECRET, secret, namespace=space)
        await self._client.patch(kinds.JOB, space, name, kernels.started())

    async def _until_running(self, seconds: float) -> None:
        clock = asyncio.get_running_loop().time
        state = _Waiting(began=clock())
        while not self._running:
            self._news.clear()
            if self.code is not None:
                raise await self._failure(self.code)
            now = clock()
            if now - state.looked >= _LOOK and not self._up():
                state.looked = now
                await self._look(state, now)
            if now - state.began > seconds:
                raise self._late(state, seconds)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK / 2):
                    await self._news.wait()

    def _up(self) -> bool:
        """Whether the pod runs, so that nothing but the kernel itself is waited for."""
        return self._link is not None

    async def _look(self, state: _Waiting, now: float) -> None:
        """Ask why it does not run yet; tell, and give up what is hopeless."""
        try:
            state.events = await self._events()
            nodes = await self._nodes()
        except UnreachableError:
            return
        why = sentences.waiting(self._made, self._pod, state.events, nodes)
        if why is None or state.why is None or why.cause is not state.why.cause:
            state.since = now
        state.why = why
        if sentences.hopeless(why, now - state.since, state.events) and why is not None:
            raise KernelError(why.sentence, hint=why.hint, ref=self.ref, cause=why.cause)
        said = f"{why.sentence} {_capital(why.hint)}".strip() if why else sentences.step(state.events)
        if said and said != state.told and now - state.began >= _SILENT:
            state.told = said
            title = self._kernel.hardware.profile.display_name
            self._tell(f"The kernel on {title!r} waits: {said}" if why else f"The kernel on {title!r}: {said}")
            self._show(why.sentence if why else f"The kernel: {said}.", why.hint if why else "")

    def _late(self, state: _Waiting, seconds: float) -> KernelError:
        because = f" {state.why.sentence}" if state.why else ""
        return KernelError(
            f"The kernel did not run within {seconds:g} seconds.{because}",
            hint=state.why.hint if state.why else f"kubectl -n {self._kernel.namespace} describe job {self.ref.name}",
            ref=self.ref,
        )

    # What happens to it

    async def _watch(self) -> None:
        """Follow the pod."""
        selector = f"{kernels.LABEL_KERNEL}={self._kernel.name}"

        def take(change: watch.Change) -> None:
            if change.type == "DELETED":
                self._lose(kernels.ended(change.obj))
            elif change.type == "SYNCED":
                if self._found and self._pod is None:
                    self._lose(None)
            else:
                self._pod = change.obj
                if (code := kernels.ended(change.obj)) is not None or meta(change.obj).get("deletionTimestamp"):
                    self._lose(code)
            self._news.set()

        try:
            await keeping.keep(self._client, kinds.POD, self._kernel.namespace, take, selector=selector)
        except ApiError as error:
            self._tell(f"The kernel's pod cannot be watched: {error.message}")

    def _lose(self, code: int | None) -> None:
        """The pod has ended, or ends."""
        first, self.lost = not self.lost, True
        if self.code is None:
            self.code = -_SIGKILL if code is None else code
        if first and self._running and not self._ending:
            self._running = False
            self._background(self._report(self.code))

    async def _keep_link(self) -> None:
        """Have a line to the pod whenever that is possible."""
        pause = 0.05
        while True:
            if not _address(self._pod) or self.lost:
                await self._changed()
                continue
            link: Link | None = None
            try:
                link = Link(await self._dial(kernels.AGENT_PORT))
                await link.open(self._orders.token)
                while (told := await link.hear()) is not None:
                    pause, self._link = 0.05, link
                    self._hear(told)
            except (UnreachableError, ApiError) as error:
                self._refused(error)
            finally:
                self._link = None
                self._news.set()
                if link is not None:
                    await link.close()
            await asyncio.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _refused(self, error: KubeflowError) -> None:
        """What keeps us from the pod is told once; a pod that does not listen yet is no news."""
        if isinstance(error, ApiError) and error.code == 403 and not self._running:  # noqa: PLR2004  HTTP's Forbidden
            self._tell(f"The kernel's pod cannot be reached: {error.message}. {error.hint}")

    def _hear(self, told: Mapping[str, Any]) -> None:
        if self._run == _ANY:
            self._run, self.busy = int(told.get("run") or 0), bool(told.get("busy"))
        if told.get("run") != self._run:
            return
        self._last = told
        if told.get("state") == "running":
            self._running = True
        elif told.get("state") == "exited" and self.code is None:
            was, self._running = self._running, False
            self.code = int(told.get("code") or 0)
            if was and not self._asked_to_end and not self._ending:
                self._background(self._report(self.code))
        self._news.set()

    async def _changed(self) -> None:
        """Until there is news, or some time has passed."""
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK):
                await self._news.wait()

    def _background(self, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    # Why

    async def _report(self, code: int) -> None:
        """Say why a kernel that ran has ended; it may have been started again meanwhile."""
        error = await self._failure(code)
        self._tell(f"{error.message} {error.hint}".strip())

    async def _failure(self, code: int) -> KernelError:
        """Why it has ended, with the last of what it wrote."""
        out_of_memory = bool(self._last.get("oom"))
        # A node copies the output through a pipe: the last lines come a moment after the end.
        await asyncio.sleep(_LATE)
        lines = await self._lines()
        profile = self._kernel.hardware.profile
        if self.lost:
            with suppress(KubeflowError):
                events = await self._events()
                why = sentences.crashed(self._made, self._pod, events, lines)
                return KernelError(why.sentence, hint=why.hint, ref=self.ref, cause=why.cause)
        image = str(self._made["spec"]["template"]["spec"]["containers"][0].get("image"))
        why = sentences.ended(code, lines, profile, image, out_of_memory=out_of_memory)
        return KernelError(why.sentence, hint=why.hint, ref=self.ref, cause=why.cause)

    async def _lines(self) -> list[str]:
        if self._pod is None:
            return []
        name = str(meta(self._pod)["name"])
        with suppress(KubeflowError):
            found = self._client.logs(self._kernel.namespace, name, container=kernels.CONTAINER, tail=_TAIL)
            return [line async for line in found]
        return []

    async def _events(self) -> list[Event]:
        uids = [str(meta(one).get("uid")) for one in (self._made, self._pod) if one]
        found = await asyncio.gather(*(self._client.events(self._kernel.namespace, uid=uid) for uid in uids))
        events = [explain.decode_event(one) for several in found for one in several]
        return sorted(events, key=lambda event: event.last or 0.0)

    async def _nodes(self) -> Sequence[Obj] | None:
        try:
            return await self._client.list(kinds.NODE, shape=shapes.NODE)
        except ApiError:
            return None

    # Commands

    async def signal(self, number: int) -> None:
        """Send a signal to the kernel and to what it started; SIGKILL ends it even when its pod does not answer."""
        if number in (_SIGKILL, 15):
            self._asked_to_end = True
        if self._link is not None:
            with suppress(UnreachableError):
                await self._link.order("signal", number=int(number))
                return
        if number == _SIGKILL and not self.lost:
            await self._remove()
            self._lose(None)
            self._news.set()

    def expect_end(self) -> None:
        """The kernel was asked to end: its end is no news."""
        self._asked_to_end = True

    async def end(self) -> None:
        """Remove it with all that belongs to it. Where the cluster is away, it ends by itself."""
        self._ending = True
        if self.code is None:
            self.code = -_SIGKILL
        if self._link is not None:
            with suppress(UnreachableError):
                await self._link.order("end")
        await self.let_go()
        await self._remove()

    async def let_go(self) -> None:
        """Leave it to whoever takes it over; without anybody it ends by itself."""
        self._ending = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._relay.close()

    async def _remove(self) -> None:
        """Delete the Job, and with it the pod and the Secret."""
        if not self._made:
            return
        uid = str(meta(self._made)["uid"])
        try:
            await self._client.delete(kinds.JOB, self._kernel.namespace, self._kernel.name, uid=uid)
        except KubeflowError as error:
            self._tell(f"The kernel's pod could not be removed, and ends by itself: {error.message}")

    # The way there

    async def _dial(self, port: int) -> Stream:
        pod = self._pod
        address = _address(pod)
        if pod is None or not address:
            raise UnreachableError("the kernel's pod has no address yet")
        if self._straight(address):
            return await reach.straight(address, kernels.given_ports(pod).get(port, port))
        return await reach.forward(self._client, self._kernel.namespace, str(meta(pod)["name"]), port)

    def _straight(self, address: str) -> bool:
        """Whether the network leads to the pod: from inside its cluster, or to an address of this very machine."""
        if self._terms.road:
            return self._terms.road == "direct"
        return self._terms.context == IN_CLUSTER or ip_address(address).is_loopback


def _address(pod: Obj | None) -> str:
    """Where a pod that runs is; empty while it does not."""
    status = (pod or {}).get("status") or {}
    return str(status.get("podIP") or "") if status.get("phase") == "Running" else ""


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
