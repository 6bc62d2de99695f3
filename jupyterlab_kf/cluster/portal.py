"""One event loop in one background thread, and the way into it from code that does not await.

A notebook's main thread has a loop of its own that must not be blocked or re-entered, so the client lives beside it.
The thread ends with the process; a forked child starts anew, for threads and sockets do not survive a fork.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_WIND_UP = 5.0


class Portal:
    """Runs coroutines in a background loop that starts at the first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closers: list[Callable[[], Coroutine[Any, Any, None]]] = []

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result. An interrupt (Ctrl-C, the kernel's stop button) cancels it."""
        if self._thread is threading.current_thread():
            work.close()
            raise RuntimeError("the portal was entered from its own thread; await the coroutine instead")
        ended = threading.Event()

        async def whole() -> T:
            try:
                return await work
            finally:
                ended.set()

        future: Future[T] = asyncio.run_coroutine_threadsafe(whole(), self._running())
        try:
            return future.result()
        except BaseException:
            if future.cancel():
                # Until it has wound up, nothing that it was using can be closed.
                ended.wait(_WIND_UP)
            raise

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine, for who awaits it in another loop; cancelling the future cancels the work."""
        return asyncio.run_coroutine_threadsafe(work, self._running())

    def iterate(self, items: AsyncGenerator[T, None]) -> Iterator[T]:
        """The items of an asynchronous generator, as they come; closing the iterator closes the generator."""
        try:
            while True:
                try:
                    item = self.run(anext(items))
                except StopAsyncIteration:
                    return
                yield item
        finally:
            if self._loop is not None and self._loop.is_running():
                self.run(items.aclose())

    def at_close(self, closer: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Have a coroutine run before the loop ends."""
        self._closers.append(closer)

    def close(self) -> None:
        """Run what was registered, end the loop and its thread. The portal can be used again afterwards."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None or not thread.is_alive():
            return
        asyncio.run_coroutine_threadsafe(self._wind_up(), loop).add_done_callback(
            lambda _: loop.call_soon_threadsafe(loop.stop)
        )
        thread.join(timeout=3)

    async def _wind_up(self) -> None:
        closers, self._closers = self._closers, []
        for closer in closers:
            await closer()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                ready = threading.Event()
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._serve, args=(self._loop, ready), name="kf-client", daemon=True
                )
                self._thread.start()
                ready.wait()
            return self._loop

    @staticmethod
    def _serve(loop: asyncio.AbstractEventLoop, ready: threading.Event) -> None:
        asyncio.set_event_loop(loop)
        loop.call_soon(ready.set)
        try:
            loop.run_forever()
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    def forget(self) -> None:
        """Drop the loop without closing it: after a fork it belongs to the parent."""
        self._lock = threading.Lock()
        self._loop = self._thread = None
        self._closers = []


PORTAL = Portal()
"""The process' own."""

atexit.register(PORTAL.close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=PORTAL.forget)
