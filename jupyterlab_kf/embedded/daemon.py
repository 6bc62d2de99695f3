"""The embedded cluster as one background process: start it, find it, stop it.

One daemon per data directory, decided by a file lock that the kernel releases whenever and however the process ends.
The port and the token stay the same over restarts, so that a kubeconfig handed to another program stays valid. Nothing
is written outside ``Settings.cluster_dir`` (mode 0700). What the daemon serves is put together in :func:`serve`; this
module knows no kind, no rule and no notebook.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jupyterlab_kf.errors import ClusterError
from jupyterlab_kf.names import slug
from jupyterlab_kf.settings import Settings, load

if TYPE_CHECKING:
    from jupyterlab_kf.embedded.operators import RegistryApi
    from jupyterlab_kf.embedded.outputs import NodeOutputs
    from jupyterlab_kf.embedded.reports import Reports

START_SECONDS: Final = 60.0
"""Longest wait for a daemon to answer; a cold start takes about one second."""
STOP_SECONDS: Final = 60.0
"""Longest wait for a daemon to end: pods get their grace period."""

log = logging.getLogger("jupyterlab_kf.embedded")


@dataclass(frozen=True, slots=True)
class Info:
    """A running daemon. ``started`` is epoch seconds; ``start_ticks`` tells it from a later process with its pid."""

    pid: int
    start_ticks: int
    port: int
    kubeconfig: str
    started: float
    version: str
    python: str


def status(settings: Settings) -> Info | None:
    """The daemon of this data directory, or None when none runs."""
    try:
        info = Info(**json.loads(_info_file(settings).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    alive = _start_ticks(info.pid) == info.start_ticks and _is_locked(settings.cluster_dir / "daemon.lock")
    return info if alive else None


def ensure(settings: Settings) -> Path:
    """The kubeconfig of a running daemon, which is started if there is none.

    Raises:
        ClusterError: it could not be started; the message ends with its own last words.
    """
    return Path(start(settings).kubeconfig)


def start(settings: Settings) -> Info:
    """Start the daemon, or find the one that runs. Safe to call from many processes at once.

    Raises:
        ClusterError: it could not be started; the message ends with its own last words.
    """
    running = status(settings)
    if running is not None:
        return running
    try:
        settings.cluster_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        settings.cluster_dir.chmod(0o700)
        with _locked(settings.cluster_dir / "start.lock"):
            return status(settings) or _spawn(settings)
    except OSError as error:
        raise ClusterError(
            f"the embedded cluster cannot use its folder {settings.cluster_dir}: {error.strerror or error}",
            hint="set KF_DATA_DIR to a folder that you can write to",
        ) from error


def stop(settings: Settings, *, keep_pods: bool = False) -> bool:
    """End the daemon; False when none ran.

    Its pods are ended too, each with its grace period, as a node does that shuts down; with ``keep_pods`` they run on
    and the next daemon adopts them.

    Raises:
        ClusterError: it does not end.
    """
    running = status(settings)
    if running is None:
        return False
    try:
        handle = os.pidfd_open(running.pid) if hasattr(os, "pidfd_open") else None
        os.kill(running.pid, signal.SIGINT if keep_pods else signal.SIGTERM)
    except ProcessLookupError:
        return True
    try:
        _await_end(running, handle)
    finally:
        if handle is not None:
            os.close(handle)
    return True


async def serve(settings: Settings, *, keep_pods: asyncio.Event | None = None) -> AsyncGenerator[int, None]:
    """The embedded cluster in this process: yields the port once it answers; ends it when the generator is closed.

    Everything runs in the current event loop. The node adopts what an earlier daemon left before any controller or
    client can see the cluster. At the end controllers and scheduler stop first, so that nothing is started in place of
    what the node ends; with ``keep_pods`` set by then, pods run on under their supervisors.
    """
    from jupyterlab_kf.embedded.apiserver import certificates
    from jupyterlab_kf.embedded.apiserver.server import ApiServer
    from jupyterlab_kf.embedded.kubelet import Kubelet
    from jupyterlab_kf.embedded.metering import Meter
    from jupyterlab_kf.embedded.operators import RegistryApi, controllers
    from jupyterlab_kf.embedded.outputs import NodeOutputs
    from jupyterlab_kf.embedded.proxy import Proxy
    from jupyterlab_kf.embedded.registry import Registry
    from jupyterlab_kf.embedded.reports import Reports
    from jupyterlab_kf.embedded.scheduling import SchedulerLoop
    from jupyterlab_kf.embedded.store import Store
    from jupyterlab_kf.gateway import program
    from jupyterlab_kf.manager import Manager
    from jupyterlab_kf.studies.oracle import Oracle

    async with contextlib.AsyncExitStack() as stack:
        store = Store(settings.cluster_dir / "state.db")
        stack.callback(store.close)
        registry = Registry(store)
        kubelet = Kubelet(registry, settings, node=_node_name())
        reports = Reports(kubelet.commons, settings.cluster_dir)
        token = certificates.ensure_token(settings.cluster_dir / "token")
        server = ApiServer(registry, kubelet, directory=settings.cluster_dir, token=token, port=_last_port(settings))
        await kubelet.start()
        stack.push_async_callback(kubelet.stop)

        async def end_pods() -> None:
            if keep_pods is None or not keep_pods.is_set():
                await kubelet.drain()

        stack.push_async_callback(end_pods)
        scheduler = SchedulerLoop(registry)
        await scheduler.start()
        stack.push_async_callback(scheduler.stop)
        oracle = Oracle()
        stack.push_async_callback(oracle.close)
        outputs = NodeOutputs(kubelet)
        api = RegistryApi(registry, Meter(registry.view, kubelet.commons.pods_dir, outputs, others=oracle))
        authority = certificates.ensure(settings.cluster_dir).authority.read_text()
        manager = Manager(api, controllers(authority))
        await manager.start()
        stack.push_async_callback(manager.stop)
        proxy = Proxy(registry, settings, kubelet.commons, program=program())
        kubelet.commons.hold = proxy.hold
        await proxy.start()
        stack.push_async_callback(proxy.stop)
        await stack.enter_async_context(_collecting(api, outputs, reports))
        port = await server.start()
        stack.push_async_callback(server.stop)
        kubelet.commons.api_address = ("127.0.0.1", port)
        yield port


@contextlib.asynccontextmanager
async def _collecting(api: RegistryApi, outputs: NodeOutputs, reports: Reports) -> AsyncGenerator[None, None]:
    """Metrics of trials are collected meanwhile."""
    from jupyterlab_kf.studies.collector import Collector

    collector = Collector(api, outputs, reports)
    await collector.start()
    try:
        yield
    finally:
        await collector.stop()
        await reports.stop()


def _spawn(settings: Settings) -> Info:
    """Start the process and wait for its word; the pipe closes by itself if it dies."""
    read, write = os.pipe()
    command = [sys.executable, "-m", "jupyterlab_kf.embedded.daemon", "--ready-fd", str(write)]
    environment = os.environ | {"KF_DATA_DIR": str(settings.data_dir), "KF_CACHE_DIR": str(settings.cache_dir)}
    if settings.shared_address:
        environment["KF_SHARED_ADDRESS"] = "1"
    log_file = settings.cluster_dir / "daemon.log"
    try:
        with log_file.open("ab") as output:
            # The first process only forks the daemon and ends, so the daemon is nobody's child and leaves no zombie.
            subprocess.run(  # noqa: S603  our own interpreter and module
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=environment,
                pass_fds=(write,),
                start_new_session=True,
                check=True,
                timeout=START_SECONDS,
            )
    except (subprocess.SubprocessError, OSError) as error:
        os.close(write)
        os.close(read)
        raise ClusterError(f"the embedded cluster did not start: {_last_words(log_file)}") from error
    os.close(write)
    word = _read_word(read, START_SECONDS)
    if word == "ready" and (running := status(settings)) is not None:
        return running
    raise ClusterError(
        f"the embedded cluster did not start: {_last_words(log_file)}",
        hint=f"its log is {log_file}",
    )


def _read_word(fd: int, timeout: float) -> str:
    """What the daemon says on its pipe, or an empty string when it ends or the time is over without a word."""
    with os.fdopen(fd, "rb", buffering=0) as pipe:
        ready, _, _ = select.select([pipe], [], [], timeout)
        return pipe.read(64).decode().strip() if ready else ""


def _await_end(running: Info, handle: int | None) -> None:
    """Wait until the process is gone: by its pidfd where there is one, else by looking."""
    if handle is not None:
        poller = select.poll()
        poller.register(handle, select.POLLIN)
        ended = bool(poller.poll(STOP_SECONDS * 1000))
    else:
        deadline = time.monotonic() + STOP_SECONDS
        while _start_ticks(running.pid) == running.start_ticks and time.monotonic() < deadline:
            time.sleep(0.05)
        ended = _start_ticks(running.pid) != running.start_ticks
    if not ended:
        raise ClusterError(
            f"the embedded cluster (pid {running.pid}) has not ended after {STOP_SECONDS:.0f} seconds",
            hint="look at its log with `jupyter kf cluster status`, or end it with kill",
        )


@contextlib.contextmanager
def _locked(path: Path, *, seconds: float | None = None) -> Iterator[None]:
    """Hold an exclusive lock on a file; waits for it for ever, or for some seconds.

    Raises:
        BlockingIOError: another process holds it for all that time.
    """
    with path.open("ab") as handle:
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX if deadline is None else fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if deadline is not None and time.monotonic() > deadline:
                    raise
                time.sleep(0.01)  # somebody looks whether it is held; that takes microseconds
        yield


def _is_locked(path: Path) -> bool:
    """Whether a daemon holds its lock: gone at the very moment it is killed, when its pid may still be seen."""
    try:
        with path.open("ab") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    return False


def _start_ticks(pid: int) -> int:
    """The process' start time in clock ticks since boot; 0 when there is no such process, or on a zombie.

    Where there is no /proc, 1 stands for any living process: a pid is all there is.
    """
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return 0
        except PermissionError:
            return 1
        return 1
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])


def _info_file(settings: Settings) -> Path:
    return settings.cluster_dir / "daemon.json"


def _last_words(log_file: Path) -> str:
    try:
        lines = log_file.read_text(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1] if lines else "it said nothing"


def _last_port(settings: Settings) -> int:
    """The port of the daemon before this one, or 0 for any."""
    try:
        return int((settings.cluster_dir / "port").read_text())
    except (OSError, ValueError):
        return 0


def _node_name() -> str:
    """This machine's host name as Kubernetes spells node names."""
    return slug(socket.gethostname().split(".")[0])


async def _run(settings: Settings, ready_fd: int | None) -> None:
    from jupyterlab_kf.embedded.apiserver import certificates

    stopped: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()

    def ask_to_stop(number: signal.Signals) -> None:
        if not stopped.done():
            stopped.set_result(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ask_to_stop, number)
    keep_pods = asyncio.Event()
    async with contextlib.aclosing(serve(settings, keep_pods=keep_pods)) as cluster:
        port = await anext(cluster)
        certificates.write_private(settings.cluster_dir / "port", str(port).encode())
        certificates.write_kubeconfig(
            settings.embedded_kubeconfig,
            server=f"https://127.0.0.1:{port}",
            token=certificates.ensure_token(settings.cluster_dir / "token"),
            directory=settings.cluster_dir,
        )
        info = Info(
            pid=os.getpid(),
            start_ticks=_start_ticks(os.getpid()),
            port=port,
            kubeconfig=str(settings.embedded_kubeconfig),
            started=time.time(),
            version=version("jupyterlab-kf"),
            python=sys.executable,
        )
        certificates.write_private(_info_file(settings), json.dumps(asdict(info), indent=1).encode())
        log.info("serving on port %d as pid %d", port, info.pid)
        _say(ready_fd, "ready")
        number = await stopped
        log.info("ending on %s", number.name)
        if number == signal.SIGINT:
            keep_pods.set()
    _info_file(settings).unlink(missing_ok=True)


def _say(ready_fd: int | None, word: str) -> None:
    if ready_fd is None:
        return
    with contextlib.suppress(BrokenPipeError):
        os.write(ready_fd, word.encode())
    os.close(ready_fd)


def main(arguments: list[str] | None = None) -> int:
    """Run the daemon: in the foreground, or with ``--ready-fd`` detached from whoever started it."""
    parser = argparse.ArgumentParser(prog="python -m jupyterlab_kf.embedded.daemon", description=main.__doc__)
    parser.add_argument("--ready-fd", type=int, help="detach, and write 'ready' to this descriptor when serving")
    options = parser.parse_args(arguments)
    settings = load()
    if options.ready_fd is not None and os.fork():
        os._exit(0)  # flushes nothing twice: the daemon is the child
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings.cluster_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with _locked(settings.cluster_dir / "daemon.lock", seconds=1.0):
            asyncio.run(_run(settings, options.ready_fd))
    except BlockingIOError:
        log.error("another daemon holds %s", settings.cluster_dir / "daemon.lock")  # noqa: TRY400  no traceback wanted
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
