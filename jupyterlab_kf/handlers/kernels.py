"""Kernels in pods outlive a restart of their server: left running when it ends, and found again when it starts.

Before the server answers its first request the kernels of its last start are known again, under their old ids and with
their sessions: a notebook that is opened again has its variables. Whatever Jupyter's managers can do is left to them: a
kernel is started under its old id, and its provisioner takes it over. Imports no service unless there are such kernels.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jupyter_core.paths import jupyter_data_dir
from jupyter_core.utils import ensure_async

if TYPE_CHECKING:
    from jupyterlab_kf.services.kernels.kept import Kept, Shelf

_PAUSES: Final = (5.0, 15.0, 60.0)
"""Seconds between two looks for kernels whose cluster does not answer; the last one again and again."""
_TRIES: Final = 30
_FIELDS: Final = ("id", "path", "name", "type")


class Keeper:
    """The kernels of a server that outlive it.

    Args:
        kernels: Jupyter Server's kernel manager.
        sessions: its session manager.
        contents: its contents manager.
        shelf: where they are written down.
        log: hears which kernels were found and which were not.
    """

    def __init__(self, kernels: Any, sessions: Any, contents: Any, shelf: Shelf, log: Any) -> None:
        self._kernels, self._sessions, self._contents = kernels, sessions, contents
        self._shelf, self._log = shelf, log
        self._later: asyncio.Task[None] | None = None

    async def adopt(self) -> None:
        """Find the kernels of the last start; those of which no cluster says anything are looked for later."""
        if unknown := await self._adopted(self._shelf.all()):
            self._log.warning("No cluster says now whether %d kernel(s) of before still run", len(unknown))
            self._later = asyncio.create_task(self._again(unknown))

    async def _again(self, unknown: list[Kept]) -> None:
        for number in range(_TRIES):
            await asyncio.sleep(_PAUSES[min(number, len(_PAUSES) - 1)])
            unknown = await self._adopted(unknown)
            if not unknown:
                return

    async def _adopted(self, found: list[Kept]) -> list[Kept]:
        """Take over those that run, forget those that have gone, and answer the others."""
        from jupyterlab_kf import settings
        from jupyterlab_kf.services.kernels import finding

        said = await asyncio.to_thread(finding.look, settings.load(), found)
        for one in found:
            if said[one.kernel_id] is False:
                self._log.info("Kernel %s has ended while its server was away", one.kernel_id)
                self._shelf.drop(one.kernel_id)
        running = [one for one in found if said[one.kernel_id]]
        results = await asyncio.gather(*(self._take(one) for one in running), return_exceptions=True)
        for one, error in zip(running, results, strict=True):
            if isinstance(error, Exception):
                self._log.error("Kernel %s runs and could not be found again: %s", one.kernel_id, error)
            elif isinstance(error, BaseException):
                raise error
        return [one for one in found if said[one.kernel_id] is None]

    async def _take(self, one: Kept) -> None:
        first = next(iter(one.sessions), {})
        more: dict[str, Any] = {}
        if first:
            more["path"] = await ensure_async(self._contents.get_kernel_path(path=first["path"]))
            more["env"] = self._sessions.get_kernel_env(first["path"], first["name"] or None)
        await ensure_async(self._kernels.start_kernel(kernel_id=one.kernel_id, kernel_name=one.kernel_name, **more))
        kernel = self._kernels.get_kernel(one.kernel_id)
        # It tells its state only when that changes.
        kernel.execution_state = "busy" if kernel.provisioner.busy else "idle"
        for session in one.sessions:
            if not await self._sessions.session_exists(session["path"]):
                said = {name: session[name] for name in _FIELDS[1:]}
                await self._sessions.save_session(session["id"], kernel_id=one.kernel_id, **said)
        self._log.info("Kernel %s of before runs on, with %d session(s)", one.kernel_id, len(one.sessions))

    async def note(self) -> None:
        """Write down which sessions there are now."""
        by_kernel: dict[str, list[dict[str, str]]] = {}
        for model in await ensure_async(self._sessions.list_sessions()):
            session = {name: str(model.get(name) or "") for name in _FIELDS}
            by_kernel.setdefault(model["kernel"]["id"], []).append(session)
        self._shelf.note(by_kernel)

    async def let_go(self) -> None:
        """Leave what is kept as it is: the server ends, and it does not."""
        if self._later is not None:
            self._later.cancel()
        # A start that failed stays among those under way (jupyter_client 8), cannot be ended, and so keeps the server
        # from ending.
        starting = getattr(self._kernels, "_pending_kernels", {})
        for kernel_id in [one for one, task in starting.items() if task.done() and one not in self._kernels]:
            del starting[kernel_id]
        for kernel_id in self._kernels.list_kernel_ids():
            kernel = self._kernels.get_kernel(kernel_id)
            if getattr(getattr(kernel, "provisioner", None), "stays", False):
                # First: a kernel that nobody holds looks to it like one that has died.
                kernel.stop_restarter()
                seconds = await kernel.provisioner.let_go()
                await ensure_async(kernel.cleanup_resources())
                self._kernels.remove_kernel(kernel_id)
                self._log.warning(
                    "Kernel %s runs on: the next start of this server finds it within %g minutes (after that it ends,"
                    " unless it computes). c.PodProvisioner.keep = False ends kernels with their server",
                    kernel_id,
                    round(seconds / 60, 1),
                )


def start(serverapp: Any) -> None:
    """Find the kernels of this server's last start, and leave those that it will have when it ends.

    Jupyter Server has no hook for the end of all kernels, nor for what sessions there are: three methods of its
    managers are led through here.
    """
    from jupyterlab_kf import settings
    from jupyterlab_kf.services.kernels.kept import SHELVES, Shelf, name_of

    options = settings.load()
    kernels, sessions = serverapp.kernel_manager, serverapp.session_manager
    folder = Path(jupyter_data_dir()) / "jupyterlab-kf" / "kernels"
    shelf = Shelf(folder, name_of(options, Path(serverapp.root_dir)), only=bool(options.user))
    keeper = Keeper(kernels, sessions, serverapp.contents_manager, shelf, serverapp.log)
    SHELVES[kernels] = shelf
    _around(kernels, "shutdown_all", before=keeper.let_go)
    for name in ("save_session", "update_session"):
        _around(sessions, name, after=keeper.note)
    if not shelf.used or not shelf.claim():
        return
    if serverapp.io_loop.asyncio_loop.is_running():
        serverapp.io_loop.add_callback(keeper.adopt)
    else:
        # Not one request before: a browser that does not find its kernel gives it up.
        serverapp.io_loop.run_sync(keeper.adopt)


async def _nothing() -> None:
    pass


def _around(
    owner: Any,
    name: str,
    *,
    before: Callable[[], Awaitable[None]] = _nothing,
    after: Callable[[], Awaitable[None]] = _nothing,
) -> None:
    """Have something done before or after a method of an object."""
    method = getattr(owner, name)

    async def led(*args: Any, **kwargs: Any) -> Any:
        await before()
        result = await ensure_async(method(*args, **kwargs))
        await after()
        return result

    setattr(owner, name, led)
