"""Environments being made: one making for each recipe, whoever asks, in a thread that no daemon has to wait for.

Owns the installers' processes. Pods that ask meanwhile share the making and its outcome. When the node stops, what it
makes is ended, so that the next daemon finds the lock free and begins at once; if the node was killed instead, the
installer goes on, holds the lock, and the next daemon says that it waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jupyterlab_kf.embedded.images import Environment, ImageError, Images, InterruptedMakingError, Programs, Recipe

Tell = Callable[[], None]


@dataclass(slots=True)
class _Making:
    """One recipe under way. ``waits``: another process makes it."""

    done: asyncio.Future[Environment]
    tell: list[Tell] = field(default_factory=list)
    waits: bool = False


class Makers:
    """Makes environments.

    Args:
        images: the table, which knows how.
    """

    def __init__(self, images: Images) -> None:
        self._images = images
        self._making: dict[Recipe, _Making] = {}
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False
        self._guard = threading.Lock()

    async def make(self, recipe: Recipe, waiting: Tell) -> Environment:
        """The recipe's environment; ``waiting`` is called if another process makes it.

        Raises:
            ImageError: it cannot be made.
        """
        key = replace(recipe, image="", brings=Programs())
        making = self._making.get(key)
        if making is None:
            making = self._begin(key)
        elif making.waits:
            waiting()
        making.tell.append(waiting)
        return replace(await asyncio.shield(making.done), image=recipe.image, programs=recipe.brings)

    def _begin(self, recipe: Recipe) -> _Making:
        loop = asyncio.get_running_loop()
        making = self._making[recipe] = _Making(loop.create_future())

        def soon(call: Callable[..., None], *args: Environment | ImageError) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended before us
                loop.call_soon_threadsafe(call, *args)

        def waits() -> None:
            making.waits = True
            for tell in making.tell:
                tell()

        def finish(made: Environment | ImageError) -> None:
            self._making.pop(recipe, None)
            if isinstance(made, Environment):
                making.done.set_result(made)
            else:
                making.done.set_exception(made)
                making.done.exception()  # whoever asked may be gone

        def work() -> None:
            made: Environment | ImageError = ImageError(f"the making of {recipe.name!r} broke off; see the log")
            try:
                made = self._images.make(recipe, self.run, waiting=lambda: soon(waits))
            except ImageError as error:
                made = error
            except OSError as error:
                made = ImageError(f"the environment {recipe.name!r} cannot be written: {error}")
            finally:  # whatever has happened, nobody waits for ever
                soon(finish, made)

        threading.Thread(target=work, name=f"make {recipe.name}", daemon=True).start()
        return making

    def run(self, command: Sequence[str], env: Mapping[str, str], lock: int) -> tuple[int, str]:
        """Run an installer to its end; it inherits the lock, so that it holds it even after we were killed.

        Raises:
            InterruptedMakingError: the node stops.
        """
        with tempfile.TemporaryFile() as output:  # a pipe would be held open by what an ended installer leaves
            with self._guard:
                if self._stopped:
                    raise InterruptedMakingError("the node stops")
                process = subprocess.Popen(  # noqa: S603  the images module's own commands
                    list(command),
                    env=dict(env),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(lock,),
                    start_new_session=True,
                )
                self._running.add(process)
            try:
                process.wait()
            finally:
                with self._guard:
                    self._running.discard(process)
            _end_group(process.pid)  # a build that an ended installer left would hold the lock
            output.seek(0)
            return process.returncode, output.read().decode(errors="replace")

    def stop(self) -> None:
        """End what is being made: a half-made environment is never used, and the next daemon begins anew."""
        with self._guard:
            self._stopped = True
            for process in self._running:
                _end_group(process.pid)


def _end_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
