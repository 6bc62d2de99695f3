"""One pod on this node: a task that looks at the pod, decides (``states``), acts, and writes the status.

Owns the order in which things happen to a pod and every event about it. What should happen is decided by the pure
``states``; processes are started and signalled by ``processes``; folders are made in threads. A worker is woken by
changes of its pod, of its processes and of what it waits for, and never polls.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf import kinds
from jupyterlab_kf.embedded import volumes
from jupyterlab_kf.embedded.apiserver.options import DeleteOptions
from jupyterlab_kf.embedded.images import Environment, ImageError
from jupyterlab_kf.embedded.kubelet import asked, hooks, pulling, states
from jupyterlab_kf.embedded.kubelet.commons import Commons
from jupyterlab_kf.embedded.kubelet.environment import ConfigError
from jupyterlab_kf.embedded.kubelet.folders import forget_older
from jupyterlab_kf.embedded.kubelet.ports import PortTakenError
from jupyterlab_kf.embedded.kubelet.probing import Probing
from jupyterlab_kf.embedded.kubelet.processes import (
    ATTEMPT_MARKER,
    Attempt,
    end_beside,
    failpoint,
    run_beside,
)
from jupyterlab_kf.embedded.kubelet.slots import Slot
from jupyterlab_kf.embedded.kubelet.specs import Plan, container_spec
from jupyterlab_kf.errors import ApiError, NotFoundError
from jupyterlab_kf.model import Obj, meta, parse_time

PEERS_LIMIT: Final = 5.0
"""Longest wait for the Services of a job's replicas: a controller makes them right after the pods."""
HOLD_LIMIT: Final = 2.0
"""Longest time from a pod's deletion to its SIGTERM."""
MOUNT_RETRY: Final = 60.0
TERMINATION_MESSAGE: Final = 2048


class PodWorker:
    """Looks after one pod until nothing of it is left.

    Args:
        commons: what it shares with the other pods of its node.
        pod: the pod as it is bound.
    """

    def __init__(self, commons: Commons, pod: Obj) -> None:
        self.commons = commons
        self.pod = pod
        given = meta(pod)
        self.namespace, self.name, self.uid = str(given["namespace"]), str(given["name"]), str(given["uid"])
        self.folder: Path = commons.pods_dir / self.uid
        every = [*states.init_containers(pod), *states.containers(pod)]
        self.slots = {str(c["name"]): Slot(str(c["name"]), c) for c in every}
        self.plan: Plan | None = None
        self.failed: tuple[str, str] | None = None
        self.waits_for_config = False
        self.mount_retry_at = 0.0
        self._preparing = False
        self._said: set[str] = set()
        self._told_backoff: set[tuple[str, int]] = set()
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._marked_for_removal = False
        self._retired = False
        self._leaving: float | None = None
        self._probing = Probing(
            commons.loop, commons.report, lambda: commons.address_of(self.pod),
            event=self.event, wake=self.wake, restart=lambda slot, why: self._stop_one(slot, self._grace(), why),
        )  # fmt: skip

    # -- the loop ------------------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Look at the pod again, soon."""
        self._wake.set()

    def adopt(self) -> None:
        """Take up what an earlier daemon left of this pod. Blocks briefly; called in a thread before the loop."""
        for slot in self.slots.values():
            place = self.folder / "containers" / slot.name
            for folder in sorted(place.iterdir(), key=lambda p: int(p.name)) if place.is_dir() else ():
                attempt = Attempt(folder, self.wake, self.commons.loop)
                if (folder / "spec.json").exists() and attempt.adopt():
                    slot.attempts.append(attempt)
                    slot.announced = attempt.number
                    slot.environment = Environment(str(slot.spec.get("image", "")), Path(attempt.spec["prefix"]), "")
                    self.commons.devices.restore(self.uid, slot.name, attempt.spec["env"])

    async def run(self) -> None:
        """Until the pod is gone."""
        for slot in self.slots.values():
            if slot.attempt and slot.attempt.running:
                self._probing.start(slot)
        while True:
            self._wake.clear()
            async with self.commons.turn:
                wait = self._sync()
            if self._retired:
                self._let_go()
                return
            if self._marked_for_removal:
                break
            with contextlib.suppress(TimeoutError):
                # Not wait_for: until Python 3.12 it loses a cancellation that comes together with the wake-up.
                async with asyncio.timeout(wait):
                    await self._wake.wait()
        await self._remove()

    def retry_now(self) -> None:
        """What was missing may have come: forget the waits for it."""
        self.mount_retry_at = 0.0
        for slot in self.slots.values():
            if slot.waiting and slot.waiting[0] == "CreateContainerConfigError":
                slot.retry_at = 0.0
        self.wake()

    def retry_pulls(self) -> None:
        """An environment was made: whoever waits to try again need not."""
        for slot in self.slots.values():
            if slot.waiting and slot.waiting[0] == "ImagePullBackOff":
                slot.retry_at = 0.0
                self.wake()

    @property
    def alive(self) -> bool:
        """Whether a process of the pod runs."""
        return any(slot.alive for slot in self.slots.values())

    @property
    def begun(self) -> bool:
        """Whether a container of the pod has been started, or is being started and cannot be given up any more."""
        return any(slot.attempts or (slot.busy and slot.start is None) for slot in self.slots.values())

    def end_for_good(self) -> None:
        """The cluster stops: end the processes; the pod is failed, as by a node that shuts down."""
        if not self.failed:
            self._fail(*states.SHUTDOWN)
        self.wake()

    def look(self) -> None:
        """The last look before the node goes: what has ended is in the status."""
        if self.commons.registry.view.get(kinds.POD, self.namespace, self.name):
            self._sync()

    def stop_following(self) -> None:
        """The node stops: let go of everything; what runs goes on."""
        self._let_go()

    def _sync(self) -> float | None:
        """One look: decide, act, tell. Seconds until the next look if nothing happens."""
        live = self.commons.registry.view.get(kinds.POD, self.namespace, self.name)
        if live is None or meta(live).get("uid") != self.uid:
            return self._end_all()
        self.pod = live
        now = time.time()
        self._note_ends()
        decision = states.decide(
            live, self._records(), now, base=self.commons.backoff_base, stopped=self.failed is not None
        )
        if decision.fail:
            self._fail(*decision.fail)
        if self.failed or meta(live).get("deletionTimestamp"):
            self._give_up_starts()
        held = self._held(live, decision.stop, now)
        if not held:
            self._stop(decision.stop)
        if decision.gone:
            self._finish()
            return None
        for start in decision.start:
            self._start(start, now)
        self._tell_backoff(decision)
        self._write_status(decision, now)
        if self._is_over():
            self._retired = True
            return None
        waits = [t for t in (decision.wake, self._retry(now), now + held if held else None) if t is not None]
        return max(0.0, min(waits) - time.time()) + 0.001 if waits else None

    def _held(self, pod: Obj, stop: Sequence[str], now: float) -> float:
        """Seconds until a deleted pod may be told to end: who sends it requests learns of it first."""
        given = meta(pod)
        if not stop or not given.get("deletionTimestamp") or not given.get("deletionGracePeriodSeconds"):
            return 0.0
        if self._leaving is None:
            self._leaving = now
        return max(0.0, min(self.commons.hold(pod), self._leaving + HOLD_LIMIT - now))

    def _records(self) -> dict[str, states.Record]:
        return {name: slot.record() for name, slot in self.slots.items()}

    def _retry(self, now: float) -> float | None:
        times = [slot.retry_at for slot in self.slots.values() if slot.retry_at > now]
        if self.mount_retry_at > now:
            times.append(self.mount_retry_at)
        return min(times, default=None)

    def _end_all(self) -> float | None:
        """The object is gone from under us: everything ends at once."""
        self._give_up_starts()
        running = tuple(name for name, slot in self.slots.items() if slot.attempt and slot.attempt.exit is None)
        if not running and not any(slot.busy for slot in self.slots.values()):
            self._marked_for_removal = True
            return None
        for name in running:
            self._stop_one(self.slots[name], 0.0)
        return None

    def _finish(self) -> None:
        """A deleted pod has ended: its last status, then it goes."""
        self._write_status(states.Decision(), time.time())
        with contextlib.suppress(ApiError):
            self.commons.registry.delete(
                kinds.POD, self.namespace, self.name, options=DeleteOptions(grace=0, uid=self.uid)
            )
        self._marked_for_removal = True
        still = self.commons.registry.view.get(kinds.POD, self.namespace, self.name)
        if still is not None and meta(still).get("uid") == self.uid and meta(still).get("finalizers"):
            self._marked_for_removal = False  # somebody's finalizer keeps the object; we hear when it goes

    def _is_over(self) -> bool:
        """The pod has ended by itself: its folder stays for its logs until the object goes."""
        final = (self.pod.get("status") or {}).get("phase") in states.FINAL
        return final and not self.alive and not any(slot.busy for slot in self.slots.values())

    def _let_go(self) -> None:
        for task in self._tasks:
            task.cancel()
        for slot in self.slots.values():
            self._probing.end(slot)
            self._end_commands(slot)
            for attempt in slot.attempts:
                attempt.forget()

    async def _remove(self) -> None:
        self._let_go()
        await self.commons.in_thread(volumes.reclaim, self.folder)

    # -- starting ------------------------------------------------------------------------------------------------------

    def _start(self, start: states.Start, now: float) -> None:
        slot = self.slots[start.container]
        if self.commons.draining:
            return
        if self.plan is None:
            if not self._preparing and now >= self.mount_retry_at:
                self._preparing = True
                self._spawn(self._prepare())
            return
        if slot.busy or now < slot.retry_at:
            return
        slot.busy = True
        slot.start = self._spawn(self._start_container(slot, start))

    def _give_up_starts(self) -> None:
        """The pod is to end: nobody waits for an environment or a Service for its sake any more."""
        for slot in self.slots.values():
            if slot.start:
                slot.start.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.commons.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(self.commons.report)
        return task

    async def _prepare(self) -> None:
        """Folders, volumes and address: what a kubelet calls the sandbox."""
        try:
            if not any(slot.attempts for slot in self.slots.values()):
                for reason, message in self.commons.unsupported(self.pod):
                    self.event("Warning", reason, message)
            self.plan = await self.commons.plan(self.pod, self.folder)
            self.waits_for_config = False
            self.mount_retry_at = 0.0
        except volumes.MountError as error:
            self.waits_for_config = True
            self.mount_retry_at = time.time() + MOUNT_RETRY
            self.event("Warning", "FailedMount", error.message)
        finally:
            self._preparing = False
            self.wake()

    async def _start_container(self, slot: Slot, start: states.Start) -> None:
        try:
            slot.environment = await pulling.pull(slot, self.commons, self.event)
            await self._peers()
            await self.commons.starts.acquire()
            try:
                begun = await self._try_start(slot, start)
            except BaseException:
                self.commons.starts.release()
                raise
            self._spawn(self._hand_on(begun))
        except ImageError as error:
            pulling.failed(slot, error, self.commons.backoff_base, self.event)
        except ConfigError as error:
            self.waits_for_config = True
            slot.waiting = ("CreateContainerConfigError", error.message)
            slot.retry_at = time.time() + MOUNT_RETRY
            self.event("Warning", "Failed", f"Error: {error.message}")
        except OSError as error:
            slot.waiting = ("CreateContainerError", str(error))
            slot.retry_at = time.time() + self.commons.backoff_base
            self.event("Warning", "Failed", f"Error: {error}")
        finally:
            slot.busy, slot.start = False, None
            self.wake()

    async def _hand_on(self, begun: asyncio.Event | None) -> None:
        """The next container may start when this one's leader runs: a hundred supervisors at once starve the node."""
        try:
            if begun:
                await begun.wait()
        finally:
            self.commons.starts.release()

    async def _try_start(self, slot: Slot, start: states.Start) -> asyncio.Event | None:
        taken = ""
        async with self.commons.turn:
            if self.plan is None or slot.environment is None or self._dying():
                return None
            slot.start = None  # from here on it is carried through
            try:
                self.commons.book.claim(self.pod, slot.spec)
                self._annotate()  # before anything listens there: the next daemon must not give out another port
            except PortTakenError as error:
                taken = error.message
            spec, notes = container_spec(self.commons, self.plan, self.pod, slot.spec, slot.environment)
            for note in notes:
                self.event("Normal", *note)
        folder = self.folder / "containers" / slot.name / str(self._next_number(slot))
        spec |= {"restart": start.restart, "crashes": start.crashes, "prefix": str(slot.environment.prefix)}
        spec["env"] |= {ATTEMPT_MARKER: str(folder)} | self.commons.devices.environment(self.uid, slot.spec)
        attempt = Attempt(folder, self.wake, self.commons.loop)
        slot.waiting, slot.retry_at, slot.stopping = None, 0.0, None
        slot.started, slot.ready = "startupProbe" not in slot.spec, "readinessProbe" not in slot.spec
        if taken:
            await attempt.refuse(spec, "PortTaken", taken)
        else:
            await attempt.start(spec, self.commons.supervisor)
        slot.attempts.append(attempt)
        del slot.attempts[:-2]
        self.event(*(("Warning", "PortTaken", taken) if taken else ("Normal", "Created", "Container created")))
        if start.restart:
            await self.commons.in_thread(forget_older, folder.parent, {a.number for a in slot.attempts})
        return None if taken else attempt.begun

    def _next_number(self, slot: Slot) -> int:
        """A number that no attempt has had: one that was given up keeps its own."""
        place = self.folder / "containers" / slot.name
        taken = [int(p.name) for p in place.iterdir()] if place.is_dir() else []
        return max(taken, default=-1) + 1

    def _dying(self) -> bool:
        live = self.commons.registry.view.get(kinds.POD, self.namespace, self.name)
        gone = live is None or meta(live).get("uid") != self.uid or bool(meta(live).get("deletionTimestamp"))
        return gone or self.failed is not None or self.commons.draining

    async def _peers(self) -> None:
        """Replicas of one job must know each other's addresses, so their Services are waited for, briefly."""
        deadline = time.monotonic() + PEERS_LIMIT
        while self.commons.missing_services(self.pod) and time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.25):
                    await self.commons.services_changed.wait()

    # -- following -----------------------------------------------------------------------------------------------------

    def _note_ends(self) -> None:
        """Events and probes for what started or ended since the last look."""
        for slot in self.slots.values():
            attempt = slot.attempt
            if attempt is None:
                continue
            if attempt.running and slot.announced != attempt.number:
                slot.announced = attempt.number
                failpoint("after_run")
                self.event("Normal", "Started", "Container started")
                self._probing.start(slot)
            if attempt.exit and slot.probes:
                self._probing.end(slot)
            if attempt.exit and slot.commands:
                self._end_commands(slot)
            if attempt.exit and slot.announced != attempt.number:
                slot.announced = attempt.number
                if attempt.exit.reason == "PortTaken":
                    continue
                if attempt.exit.reason == "StartError":
                    self.event("Warning", "Failed", f"Error: {attempt.exit.message}")
                else:
                    self.event("Normal", "Started", "Container started")

    def _tell_backoff(self, decision: states.Decision) -> None:
        for name in decision.backing_off:
            attempt = self.slots[name].attempt
            key = (name, attempt.number if attempt else 0)
            if key not in self._told_backoff:
                self._told_backoff.add(key)
                full = f"{self.name}_{self.namespace}({self.uid})"
                self.event("Warning", "BackOff", f"Back-off restarting failed container {name} in pod {full}")

    def _fail(self, reason: str, message: str) -> None:
        self.failed = (reason, message)
        self.event("Warning", reason, message)

    # -- stopping ------------------------------------------------------------------------------------------------------

    def _grace(self) -> float:
        """What the pod's processes get between SIGTERM and SIGKILL; what is left of a deletion's grace."""
        given, spec = meta(self.pod), self.pod.get("spec") or {}
        end = parse_time(given.get("deletionTimestamp"))
        if end is not None:
            full = float(given.get("deletionGracePeriodSeconds") or 0)
            return min(full, max(0.0, end + 1 - time.time())) if full else 0.0
        grace = spec.get("terminationGracePeriodSeconds")
        return 30.0 if grace is None else float(grace)

    def _stop(self, names: tuple[str, ...]) -> None:
        for name in names:
            self._stop_one(self.slots[name], self._grace())

    def _stop_one(self, slot: Slot, grace: float, why: str = "") -> None:
        attempt = slot.attempt
        if attempt is None or attempt.exit:
            return
        deadline = time.time() + grace
        if slot.stopping is not None and deadline >= slot.stopping - 0.5:
            return
        if slot.stopping is None:
            self.event("Normal", "Killing", why or f"Stopping container {slot.name}")
        first, slot.stopping = slot.stopping is None, deadline
        hook = hooks.before_end(slot.spec) or (hooks.FAREWELL if self._is_asked_for() else None)
        if hook and grace and first and attempt.running and not self.commons.draining:
            self._spawn(self._stop_after(hook, slot, attempt, deadline))
            return
        self._probing.end(slot)
        attempt.stop(grace)

    def _is_asked_for(self) -> bool:
        """Whether the pod is going while others may still send it requests."""
        return bool(meta(self.pod).get("deletionTimestamp")) and self.commons.serves(self.pod)

    async def _stop_after(self, hook: Mapping[str, Any], slot: Slot, attempt: Attempt, deadline: float) -> None:
        """Run the hook, then tell the container to end; sooner if meanwhile it must be sooner."""
        failed = await hooks.run(hook, self._probing.target(slot), deadline - time.time())
        if attempt.exit:
            return
        if failed:
            self.event("Warning", "FailedPreStopHook", f"PreStopHook failed: {failed}")
        self._probing.end(slot)
        attempt.stop(max(hooks.LEAST, (slot.stopping or deadline) - time.time()))

    # -- commands ------------------------------------------------------------------------------------------------------

    async def exec(self, container: str, argv: Sequence[str], *, stdin: bool) -> asyncio.subprocess.Process | None:
        """A command beside a container; None when it does not run."""
        slot = self.slots[container]
        attempt = slot.attempt
        if attempt is None or not attempt.running or attempt.exit:
            return None
        process = await run_beside(argv, attempt.spec, stdin=stdin)
        slot.commands = [p for p in slot.commands if p.returncode is None] + [process]
        if attempt.exit:
            self._end_commands(slot)
        return process

    def _end_commands(self, slot: Slot) -> None:
        for process in slot.commands:
            self.commons.loop.create_task(end_beside(process)).add_done_callback(self.commons.report)
        slot.commands.clear()

    # -- telling -------------------------------------------------------------------------------------------------------

    def event(self, level: str, reason: str, message: str) -> None:
        """Record an event about this pod; the registry counts equal ones."""
        self.commons.event(self.pod, level, reason, message)

    def _write_status(self, decision: states.Decision, now: float) -> None:
        place = states.Place(
            host_ip=self.commons.host_ip,
            pod_ip=self.plan.address.ip if self.plan else "",
            sandbox=self.plan is not None or any(slot.attempts for slot in self.slots.values()),
            failed=self.failed,
        )
        records = {name: self._worded(slot) for name, slot in self.slots.items()}
        new = states.status(self.pod, records, place, now, decision.backing_off)
        if new == self.pod.get("status"):
            return
        try:
            self.pod = self.commons.registry.update(kinds.POD, {**self.pod, "status": new}, subresource="status")
        except NotFoundError:
            self.wake()
        self._annotate()

    def _worded(self, slot: Slot) -> states.Record:
        """The record, with the last words of a container that failed: if it asked for them to be kept, or is ours."""
        record = slot.record()
        attempt = slot.attempt
        if not (record.run and record.exit and record.exit.code and attempt and attempt.exit):
            return record
        ours = slot.environment is not None and bool(slot.environment.programs.entrypoint)
        if record.exit.message or not (ours or slot.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"):
            return record
        words = asked.last_words(attempt.log, TERMINATION_MESSAGE)
        return replace(record, run=replace(record.run, exit=replace(record.exit, message=words)))

    def _annotate(self) -> None:
        """Say on the object what this node decided about it: moved ports, and what the image stands for."""
        environments = [slot.environment for slot in self.slots.values() if slot.environment]
        if self.plan is None or self.failed or not environments:
            return
        wanted = self.commons.annotations_of(self.pod, environments)
        self.pod = self.commons.annotate(self.pod, wanted)
