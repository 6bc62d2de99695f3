"""Which kernels are being started now, and what each waits for: told by whoever starts them, heard by whoever shows it.

Tellers and listeners are in threads and loops of their own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

_MOST_FAILED: Final = 8


@dataclass(frozen=True, slots=True)
class KernelStart:
    """A kernel that is being started, or could not be.

    ``hardware`` is the title of its profile, ``notebook`` the file's name where one is known. ``sentence`` says what it
    waits for or why it failed, ``hint`` what to do; both are empty at first.
    """

    kernel_id: str
    hardware: str
    notebook: str
    state: Literal["waiting", "failed"] = "waiting"
    sentence: str = ""
    hint: str = ""


class Starts:
    """The starts of a process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, KernelStart] = {}
        self._listeners: list[Callable[[], None]] = []

    def tell(self, start: KernelStart) -> None:
        """What there is to say of a start now. The newest failures are kept: who looks seldom hears of them, too."""
        with self._lock:
            self._known.pop(start.kernel_id, None)
            self._known[start.kernel_id] = start
            failed = [one.kernel_id for one in self._known.values() if one.state == "failed"]
            for kernel_id in failed[:-_MOST_FAILED]:
                del self._known[kernel_id]
        self._changed()

    def over(self, kernel_id: str) -> None:
        """It runs."""
        with self._lock:
            known = self._known.pop(kernel_id, None)
        if known is not None:
            self._changed()

    def all(self) -> tuple[KernelStart, ...]:
        """What is known, oldest news first."""
        with self._lock:
            return tuple(self._known.values())

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Have it called at every change, in the teller's thread; answers what ends that."""
        with self._lock:
            self._listeners.append(listener)

        def leave() -> None:
            with self._lock:
                self._listeners.remove(listener)

        return leave

    def _changed(self) -> None:
        with self._lock:
            listeners = tuple(self._listeners)
        for listener in listeners:
            listener()


STARTS: Final = Starts()
"""This process' own."""
