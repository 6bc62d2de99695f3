"""The only place of the node that starts and signals pods' processes: supervisors, adopted ones, and what they lost.

A container's attempt is a folder. Its intent (`spec.json`) is on disk before anything is started, its supervisor holds
the lock on `lock` for life, and only the supervisor starts the container: so whoever gets the lock knows the truth, and
nothing can run twice. Refuses to know what a pod is.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import py_compile
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jupyterlab_kf.embedded import supervisor
from jupyterlab_kf.embedded.kubelet.states import Exit

MARKER: Final = "KF_POD_UID"
ATTEMPT_MARKER: Final = "KF_ATTEMPT"
LOST_CODE: Final = 137


def failpoint(name: str) -> None:
    """For tests: die here by SIGKILL if `KF_FAILPOINT` says so."""
    if os.environ.get("KF_FAILPOINT") == name:
        os.kill(os.getpid(), signal.SIGKILL)


class Attempt:
    """One attempt to run one container: its folder, and while it runs, its supervisor.

    Args:
        folder: where it is; named by a growing number.
        changed: called in the event loop when it starts to run and when it has ended.
        loop: that event loop.

    Attributes:
        begun: set when its leader runs, or will never.
    """

    def __init__(self, folder: Path, changed: Callable[[], None], loop: asyncio.AbstractEventLoop) -> None:
        self.folder = folder
        self.number = int(folder.name)
        self.spec: dict[str, Any] = {}
        self.running = False
        self.exit: Exit | None = None
        self.begun = asyncio.Event()
        self._changed = changed
        self._loop = loop
        self._pid = 0
        self._child = False
        self._ready = -1
        self._pidfd = -1
        self._poller: asyncio.Task[None] | None = None

    @property
    def restart(self) -> int:
        """The container's restartCount during this attempt."""
        return int(self.spec.get("restart", 0))

    @property
    def crashes(self) -> int:
        """How many runs in a row ended before this one: the back-off hangs on it."""
        return int(self.spec.get("crashes", 0))

    @property
    def started(self) -> float:
        """When its leader was started; the time of the intent before that."""
        if self.exit:
            return self.exit.started
        return float(self.spec.get("startedAt") or self.spec.get("intendedAt") or 0.0)

    @property
    def log(self) -> Path:
        """Its log in CRI format; the rotated part is beside it with the suffix `.1`."""
        return self.folder / "log"

    # -- starting ------------------------------------------------------------------------------------------------------

    async def start(self, spec: Mapping[str, Any], program: Path) -> None:
        """Write and sync the intent, then start the supervisor that takes it.

        Raises:
            OSError: the intent could not be written (a full disk, say); nothing was started.
        """
        self.spec = {**spec, "intendedAt": time.time()}
        pid, self._ready = await self._loop.run_in_executor(None, self._launch, program)
        self._child = True
        self._loop.add_reader(self._ready, self._announced)
        self._watch(pid)

    async def refuse(self, spec: Mapping[str, Any], reason: str, message: str) -> None:
        """Write down an attempt that is not made, as one that has ended at once.

        Raises:
            OSError: it could not be written.
        """
        now = time.time()
        self.spec = {**spec, "intendedAt": now}
        record = {"exitCode": 128, "signal": 0, "reason": reason, "message": message}
        self.exit = await self._loop.run_in_executor(None, self._write_refusal, record, now)

    def _write_refusal(self, record: Mapping[str, Any], now: float) -> Exit | None:
        self._write_intent()
        (self.folder / "log").touch()
        supervisor.write_whole(str(self.folder / "run.json"), {"startedAt": now}, sync=False)
        supervisor.write_whole(
            str(self.folder / "exit.json"), {**record, "startedAt": now, "finishedAt": now}, sync=True
        )
        return read_exit(self.folder)

    def _write_intent(self) -> None:
        self.folder.mkdir(parents=True)
        temporary = self.folder / "spec.json.tmp"
        with temporary.open("w") as file:
            json.dump(self.spec, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(self.folder / "spec.json")
        for place in (self.folder, self.folder.parent):
            sync_folder(place)

    def _launch(self, program: Path) -> tuple[int, int]:
        self._write_intent()
        failpoint("after_intent")
        ready, announce = os.pipe()
        errors = os.open(self.folder / "supervisor.log", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-I", "-S", str(program), str(self.folder)],
            {"PATH": os.defpath, "LANG": "C.UTF-8", ATTEMPT_MARKER: str(self.folder)},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, null, 0),
                (os.POSIX_SPAWN_DUP2, announce, 1),
                (os.POSIX_SPAWN_DUP2, errors, 2),
            ],
        )
        for fd in (errors, null):
            os.close(fd)
        os.close(announce)
        failpoint("after_spawn")
        return pid, ready

    def _announced(self) -> None:
        said = os.read(self._ready, 1)
        self._close_ready()
        self.begun.set()
        if said and not self.exit:
            self._read_run()
            self.running = True
            self._changed()

    def _close_ready(self) -> None:
        if self._ready >= 0:
            self._loop.remove_reader(self._ready)
            os.close(self._ready)
            self._ready = -1

    def _read_run(self) -> dict[str, Any]:
        run = read_json(self.folder / "run.json")
        self.spec["startedAt"] = run.get("startedAt", self.spec.get("startedAt"))
        return run

    # -- following -----------------------------------------------------------------------------------------------------

    def _watch(self, pid: int) -> None:
        self._pid = pid
        try:
            self._pidfd = os.pidfd_open(pid)
        except (OSError, AttributeError):
            self._poller = self._loop.create_task(self._poll())
        else:
            self._loop.add_reader(self._pidfd, self._ended)

    async def _poll(self) -> None:
        """Where there is no pidfd: look whether the lock is free."""
        while not self._lock_is_free():  # noqa: ASYNC110  another process' end: nothing could set an event
            await asyncio.sleep(0.1)
        self._ended()

    def _lock_is_free(self) -> bool:
        with _locked(self.folder) as locked:
            return locked

    def _ended(self) -> None:
        """The supervisor is gone: with the truth on disk, or, killed, without."""
        self._unwatch()
        if self._child:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
        self.exit = read_exit(self.folder)
        if self.exit:
            self.running = False
            self._changed()
        else:
            task = self._loop.create_task(self._mourn())
            self._poller = task

    async def _mourn(self) -> None:
        """End what a killed supervisor left, and write down that its container was lost."""
        self.exit = await self._loop.run_in_executor(None, declare_lost, self.folder)
        self.running = False
        self._changed()

    def _unwatch(self) -> None:
        if self._pidfd >= 0:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    def forget(self) -> None:
        """Stop following; what runs goes on."""
        self._unwatch()
        self._close_ready()
        if self._poller:
            self._poller.cancel()

    # -- adopting ------------------------------------------------------------------------------------------------------

    def adopt(self) -> bool:
        """After a restart of the node: take up what this folder says. False when its container never ran.

        Blocks for a moment when a supervisor was started just before the node was killed.
        """
        self.spec = read_json(self.folder / "spec.json")
        self.exit = read_exit(self.folder)
        if self.exit:
            self._read_run()
            return True
        for _ in range(250):
            with _locked(self.folder) as locked:
                if locked:
                    return self._settle()
                run = self._read_run()
                pid = int((run.get("supervisor") or {}).get("pid", 0))
                if pid and supervisor.start_time(pid) == run["supervisor"]["starttime"]:
                    self.running = True
                    self._loop.call_soon_threadsafe(self._watch, pid)
                    return True
            time.sleep(0.02)
        end_marked(f"{ATTEMPT_MARKER}={self.folder}")  # it hangs before its container: nothing has run yet
        return self._settle()

    def _settle(self) -> bool:
        """With the lock in hand: no supervisor runs here or ever will again."""
        self.exit = read_exit(self.folder)
        if self.exit:
            return True
        if not (self.folder / "run.json").exists():
            (self.folder / "abandoned").touch()
            return False
        self.exit = declare_lost(self.folder)
        return True

    # -- ending --------------------------------------------------------------------------------------------------------

    def stop(self, grace: float) -> None:
        """Ask the supervisor to end the tree: SIGTERM, after the grace SIGKILL. May be repeated with another grace."""
        if self.exit:
            return
        (self.folder / "stop.tmp").write_text(json.dumps({"grace": grace}))
        (self.folder / "stop.tmp").rename(self.folder / "stop")
        if self._pidfd >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)
        elif self._pid:
            supervisor.send(self._pid, signal.SIGTERM)


# ---------------------------------------------------------------------------------------------------------------------


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_json(path: Path) -> dict[str, Any]:
    """A small JSON file; empty when it is not there or not whole."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_exit(folder: Path) -> Exit | None:
    """What `exit.json` says, or None while there is none."""
    raw = read_json(folder / "exit.json")
    if not raw:
        return None
    return Exit(
        int(raw["exitCode"]),
        str(raw["reason"]),
        float(raw["startedAt"]),
        float(raw["finishedAt"]),
        str(raw.get("message", "")),
    )


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """Try the attempt's lock; whether we have it."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


def declare_lost(folder: Path) -> Exit:
    """End every process of a lost attempt, then write its exit file as a kubelet words a lost container."""
    end_marked(f"{ATTEMPT_MARKER}={folder}")
    started = float(read_json(folder / "run.json").get("startedAt") or time.time())
    record = {
        "exitCode": LOST_CODE,
        "signal": 9,
        "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was terminated",
        "startedAt": started,
        "finishedAt": time.time(),
    }
    supervisor.write_whole(str(folder / "exit.json"), record, sync=True)
    found = read_exit(folder)
    if found is None:
        raise OSError(f"{folder}/exit.json cannot be read back")
    return found


def marked(mark: str) -> list[int]:
    """The processes whose environment holds this `NAME=value`."""
    wanted, found = mark.encode(), []
    for entry in Path("/proc").iterdir() if Path("/proc/self/environ").exists() else ():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                if wanted in (entry / "environ").read_bytes().split(b"\0") and not _is_zombie(entry):
                    found.append(int(entry.name))
    return found


def _is_zombie(entry: Path) -> bool:
    return (entry / "stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"


def end_marked(mark: str, *, limit: float = 10.0) -> int:
    """SIGKILL everything that carries the mark, until nothing does; how many there were."""
    ended: set[int] = set()
    deadline = time.monotonic() + limit
    while (pids := marked(mark)) and time.monotonic() < deadline:
        for pid in pids:
            supervisor.send(pid, signal.SIGKILL)
        ended.update(pids)
        time.sleep(0.01)
    return len(ended)


def compile_supervisor(folder: Path) -> Path:
    """The supervisor's byte code in a folder of the cluster: it starts faster, and an upgrade does not change it."""
    folder.mkdir(parents=True, exist_ok=True)
    source = Path(supervisor.__file__)
    if source.suffix != ".py":
        return source
    target = folder / f"supervisor-{sys.implementation.cache_tag}-{source.stat().st_mtime_ns}.pyc"
    if not target.exists():
        py_compile.compile(str(source), cfile=str(target), doraise=True)
    return target


async def run_probe(argv: Sequence[str], env: Mapping[str, str], cwd: str, limit: float) -> tuple[int | None, str]:
    """Run an exec probe; its exit status (None: it ran past the limit and was ended) and its output."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        return 126, str(error)
    try:
        async with asyncio.timeout(limit):
            output, _ = await process.communicate()
    except (TimeoutError, asyncio.CancelledError) as error:
        for pid in [*supervisor.tree(process.pid), process.pid]:
            supervisor.send(pid, signal.SIGKILL)
        await process.wait()
        if isinstance(error, asyncio.CancelledError):
            raise
        return None, ""
    return process.returncode, output[-10240:].decode(errors="replace")


_BESIDE: Final = """
import ctypes, os, sys
if sys.platform.startswith("linux"):
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG: it does not outlive the node that reads its output
try:
    os.chdir(sys.argv[1])
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    print(f"exec: {sys.argv[2]}: {error.strerror.lower()}", file=sys.stderr, flush=True)
    os._exit(127 if isinstance(error, FileNotFoundError) else 126)
"""


async def run_beside(argv: Sequence[str], spec: Mapping[str, Any], *, stdin: bool) -> asyncio.subprocess.Process:
    """A command in a container's environment and working directory, its output to be read."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-I", "-S", "-c", _BESIDE, spec["cwd"], *argv),
        env=dict(spec["env"]),
        stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


async def end_beside(process: asyncio.subprocess.Process) -> None:
    """End such a command and what it started."""
    if process.returncode is None:
        for pid in [*supervisor.tree(process.pid), process.pid]:
            supervisor.send(pid, signal.SIGKILL)
    await process.wait()
