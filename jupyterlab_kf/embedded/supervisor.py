"""One container's supervisor: `python -I -S supervisor.py <attempt folder>`; the standard library only.

It owns the container's process tree from the first instruction to the last: it starts the leader, timestamps the output
into `log`, ends the whole tree (torchrun's and mpirun's workers leave their process group, so the tree is walked as a
child subreaper, never by group), and leaves the true exit status in `exit.json`. It outlives the node's daemon and
needs nothing from it. The folder is its only interface: `spec.json` in; `run.json`, `log`, `exit.json` out; the lock on
`lock` is held for as long as it lives, so whoever gets that lock knows that nothing will be started any more.
It refuses to import anything of this package: dozens of these run at once, each must be small and start at once.
"""

# pathlib would add a third to the time and memory that a supervisor needs to start:
# ruff: noqa: PTH104, PTH110, PTH118, PTH120, PTH123, PTH208
from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import sys
import time

LINE_LIMIT = 64 << 10
LOG_LIMIT = 64 << 20
CHUNK = 64 << 10
IDLE_FLUSH = 0.25
"""A progress bar or a prompt has no newline: what waits that long is written as a partial line."""
DRAIN_LIMIT = 2.0
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
PAGE = os.sysconf("SC_PAGE_SIZE")


def boot_id() -> str:
    """Which boot of the machine this is; empty where the system does not say."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip()
    except OSError:
        return ""


def start_time(pid: int) -> int:
    """The process' start in clock ticks after boot: with its pid, an identity; 0 where it cannot be known."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def write_whole(path: str, value: object, *, sync: bool) -> None:
    """Replace a JSON file in one step, through `<path>.tmp`: laid out beforehand, it defies a full disk."""
    data = json.dumps(value).encode()
    fd = os.open(path + ".tmp", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, data, 0)
        os.ftruncate(fd, len(data))
        if sync:
            os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(path + ".tmp", path)
    if sync:
        folder = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def reserve(path: str) -> None:
    """Lay out room for a small file now, so that it can be written on a full disk later."""
    fd = os.open(path + ".tmp", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        os.pwrite(fd, b" " * 4096, 0)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
    finally:
        os.close(fd)


class Log:
    """The container's log in CRI format, rotated; it outlives a full disk by dropping what cannot be written."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.pending = {"stdout": b"", "stderr": b""}
        self.lost = 0
        self.torn = False
        self._open()

    def _open(self) -> None:
        self.fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self.size = os.fstat(self.fd).st_size

    def feed(self, stream: str, data: bytes) -> None:
        """Take output as it came; whole lines are written at once, the rest waits for its end."""
        lines = (self.pending[stream] + data).split(b"\n")
        self.pending[stream] = rest = lines.pop()
        head = self._head(stream)
        out = bytearray()
        for line in lines:
            while len(line) > LINE_LIMIT:
                out += head + b"P " + line[:LINE_LIMIT] + b"\n"
                line = line[LINE_LIMIT:]  # noqa: PLW2901  the rest of the same line
            out += head + b"F " + line + b"\n"
        while len(rest) >= LINE_LIMIT:
            out += head + b"P " + rest[:LINE_LIMIT] + b"\n"
            self.pending[stream] = rest = rest[LINE_LIMIT:]
        self._write(out)

    def flush(self, stream: str, mark: bytes = b"P") -> None:
        """Write what waits for its newline: as a partial line, or (`F`) as the last one of a stream that has ended."""
        rest, self.pending[stream] = self.pending[stream], b""
        if rest:
            self._write(self._head(stream) + mark + b" " + rest + b"\n")

    @property
    def waits(self) -> bool:
        """Whether there is output that waits for its newline."""
        return bool(self.pending["stdout"] or self.pending["stderr"])

    def _head(self, stream: str) -> bytes:
        now = time.time_ns()
        whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 1_000_000_000))
        return f"{whole}.{now % 1_000_000_000:09d}Z {stream} ".encode()

    def _write(self, data: bytes | bytearray) -> None:
        if not data:
            return
        if self.size + len(data) > LOG_LIMIT and self.size:
            self._rotate()
        if self.lost:
            note = self._head("stderr") + f"F [{self.lost} bytes of output lost: the disk was full]\n".encode()
            data = (b"\n" if self.torn else b"") + note + data
        written = 0
        try:
            while written < len(data):
                written += os.write(self.fd, memoryview(data)[written:])
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
                raise
            self.lost += len(data) - written
            self.torn = self.torn if not written else data[written - 1 : written] != b"\n"
        else:
            self.lost, self.torn = 0, False
        self.size += written

    def _rotate(self) -> None:
        try:
            os.rename(self.path, self.path + ".1")
            os.close(self.fd)
            self._open()
        except OSError as error:
            self.lost += 1
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise


def _children(pid: int) -> list[int]:
    found: list[int] = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children") as file:
                found += [int(word) for word in file.read().split()]
    except (OSError, ValueError):
        pass  # it has ended meanwhile: its children are ours now, and the next walk finds them
    return found


def tree(root: int) -> list[int]:
    """Every descendant of a process, parents before their children."""
    seen: list[int] = []
    stack = [root]
    while stack:
        for child in _children(stack.pop()):
            if child not in seen:
                seen.append(child)
                stack.append(child)
    return seen


def send(pid: int, number: int) -> None:
    """Signal a process of the tree; one that has ended is fine."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def memory(pids: list[int]) -> int:
    """Bytes that these processes hold together, shared pages counted once for each."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/statm") as file:
                total += int(file.read().split()[1]) * PAGE
        except (OSError, IndexError, ValueError):
            continue
    return total


def proportional_memory(pids: list[int]) -> int:
    """The same with shared pages divided among who shares them: dear to read, so asked only near the limit."""
    total = 0
    for pid in pids:
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += next((int(line.split()[1]) << 10 for line in file if line.startswith("Pss:")), 0)
        except (OSError, IndexError, ValueError):
            continue
    return total


class Supervisor:
    """The whole life of one container."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        with open(self.path("spec.json")) as file:
            self.spec = json.load(file)
        self.libc = ctypes.CDLL(None, use_errno=True)
        self.linux = sys.platform.startswith("linux")
        self.limit = int((self.spec.get("limits") or {}).get("memory") or 0)
        self.leader = 0
        self.status: int | None = None
        self.failure = ""
        self.asked = False
        self.stopping: float | None = None
        self.oom = False
        self.started = 0.0
        self.finished = 0.0
        self.flushed = 0.0

    def path(self, name: str) -> str:
        """A file of the attempt's folder."""
        return os.path.join(self.folder, name)

    def run(self) -> int:
        """Start, follow, end, tell."""
        if self.linux:
            self.libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        wake_in, wake_out = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC) if self.linux else os.pipe()
        os.set_blocking(wake_out, False)
        signal.set_wakeup_fd(wake_out, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._ask)
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
            signal.signal(number, signal.SIG_IGN)
        reserve(self.path("run.json"))
        reserve(self.path("exit.json"))
        log = Log(self.path("log"))
        streams = self._start()
        if not self.failure:
            self._follow(streams, wake_in, log)
        for stream in streams.values():
            log.flush(stream, b"F")
        self._tell()
        return 0

    def _ask(self, *_: object) -> None:
        """SIGTERM to us: only noted here, so that it can never meet a half-started leader."""
        self.asked = True

    def _stop(self) -> None:
        """End the tree. A file `stop` may give another grace, now or with a later signal."""
        self.asked = False
        grace = float(self.spec.get("grace", 30))
        try:
            with open(self.path("stop")) as file:
                grace = float(json.load(file)["grace"])
        except (OSError, ValueError, KeyError):
            pass
        deadline = time.monotonic() + grace
        first = self.stopping is None
        self.stopping = deadline if self.stopping is None else min(self.stopping, deadline)
        if first:
            self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        if not self.linux:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.leader, number)
        for pid in tree(os.getpid()):
            send(pid, number)

    def _start(self) -> dict[int, str]:
        """Fork the leader, write who it is, and only then let it go: without `run.json` nothing has run."""
        out_r, out_w = os.pipe()
        err_r, err_w = os.pipe()
        go_r, go_w = os.pipe()
        bad_r, bad_w = os.pipe()
        me = os.getpid()
        self.started = time.time()
        self.leader = os.fork()
        if self.leader == 0:
            os.close(go_w)
            self._become(me, go_r, bad_w, out_w, err_w)
        for fd in (out_w, err_w, go_r, bad_w):
            os.close(fd)
        write_whole(
            self.path("run.json"),
            {
                "pid": self.leader,
                "starttime": start_time(self.leader),
                "boot_id": boot_id(),
                "supervisor": {"pid": me, "starttime": start_time(me)},
                "startedAt": self.started,
            },
            sync=False,
        )
        os.write(go_w, b"g")
        os.close(go_w)
        said = os.read(bad_r, 4096)
        os.close(bad_r)
        if not said:
            self._announce()
        if said:
            self.failure = said.decode(errors="replace")
            os.waitpid(self.leader, 0)
        return {out_r: "stdout", err_r: "stderr"}

    @staticmethod
    def _announce() -> None:
        """Whoever started us reads our output: one byte when the leader runs. Nobody may be left to read it."""
        with contextlib.suppress(OSError):
            os.write(1, b"r")
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, 1)
        os.close(null)

    def _become(self, parent: int, go: int, bad: int, out: int, err: int) -> None:
        """In the child: become the container's leader. Never returns."""
        argv, cwd = self.spec["argv"], self.spec["cwd"]
        try:
            os.setsid()
            if self.linux:
                self.libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent or os.read(go, 1) != b"g":
                os._exit(137)
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
                signal.signal(number, signal.SIG_DFL)
            self._offer_to_oom_killer()
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out, 1)
            os.dup2(err, 2)
            os.chdir(cwd)
            os.execvpe(argv[0], argv, self.spec["env"])
        except BaseException as error:  # noqa: BLE001  whatever it is, it must reach the parent, and we must not go on
            os.write(bad, self._explain(error, argv, cwd).encode())
        os._exit(128)

    def _offer_to_oom_killer(self) -> None:
        """When the machine runs out of memory, a container goes before the user's notebook does."""
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(self.spec.get("oomScoreAdj", 500)))

    @staticmethod
    def _explain(error: BaseException, argv: list[str], cwd: str) -> str:
        if isinstance(error, OSError) and error.filename == cwd:
            return f"working directory {cwd!r}: {(error.strerror or str(error)).lower()}"
        name = json.dumps(argv[0] if argv else "")
        if isinstance(error, FileNotFoundError):
            where = "no such file or directory" if "/" in argv[0] else "executable file not found in $PATH"
            return f"exec: {name}: {where}"
        if isinstance(error, OSError):
            return f"exec: {name}: {(error.strerror or str(error)).lower()}"
        return f"exec: {name}: {error}"

    def _follow(self, streams: dict[int, str], wake: int, log: Log) -> None:
        """Until the tree has ended and its output is in the log."""
        poll = select.poll()
        poll.register(wake, select.POLLIN)
        for fd in streams:
            poll.register(fd, select.POLLIN)
        open_fds = set(streams)
        self.flushed = time.monotonic()
        drain: float | None = None
        killed = False
        while True:
            for fd, _ in poll.poll(self._patience(log, killed=killed)):
                if fd == wake:
                    os.read(wake, 512)
                elif data := os.read(fd, CHUNK):
                    log.feed(streams[fd], data)
                else:
                    poll.unregister(fd)
                    open_fds.discard(fd)
            if self.asked:
                self._stop()
            self._flush_idle(log)
            alive = self._reap()
            if self.status is not None and drain is None:
                drain = time.monotonic() + DRAIN_LIMIT
            if self._must_kill():
                killed = True
                self._signal(signal.SIGKILL)
            if not alive and (not open_fds or (drain is not None and time.monotonic() > drain)):
                return

    def _patience(self, log: Log, *, killed: bool) -> float | None:
        """Milliseconds until something must be looked at although nothing happens; None: never."""
        waits = []
        if killed or self.status is not None:
            waits.append(20.0)
        elif self.stopping is not None:
            waits.append(max(0.0, (self.stopping - time.monotonic()) * 1000) + 1)
        if self.limit:
            waits.append(500.0)
        if log.waits:
            waits.append(IDLE_FLUSH * 1000)
        return min(waits, default=None)

    def _flush_idle(self, log: Log) -> None:
        now = time.monotonic()
        if not log.waits:
            self.flushed = now
        elif now - self.flushed >= IDLE_FLUSH:
            self.flushed = now
            log.flush("stdout")
            log.flush("stderr")

    def _reap(self) -> bool:
        """Collect every ended child; whether any is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.leader:
                self.status = status
                self.finished = time.time()

    def _must_kill(self) -> bool:
        """Whether what is left has to go now: its leader has ended, its grace is over, or its memory limit passed."""
        if self.limit and not self.oom and self.status is None:
            pids = tree(os.getpid())
            if memory(pids) > self.limit and proportional_memory(pids) > self.limit:
                self.oom = True
        over = self.stopping is not None and time.monotonic() >= self.stopping
        return self.oom or over or self.status is not None

    def _tell(self) -> None:
        code, number = 128, 0
        if self.status is not None:
            result = os.waitstatus_to_exitcode(self.status)
            code, number = (result, 0) if result >= 0 else (128 - result, -result)
        reason = "Completed" if code == 0 else "Error"
        if self.failure:
            reason = "StartError"
        elif self.oom:
            reason, code = "OOMKilled", 137
        record = {
            "exitCode": code,
            "signal": number,
            "reason": reason,
            "message": self.failure,
            "startedAt": self.started,
            "finishedAt": self.finished or time.time(),
        }
        write_whole(self.path("exit.json"), record, sync=True)


def main(folder: str) -> int:
    """Take the folder's lock and run what it asks for; a folder that was given up or has run already is left alone."""
    with contextlib.suppress(PermissionError):
        os.setsid()
    os.chdir("/")
    try:
        lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return 1
    if any(os.path.exists(os.path.join(folder, name)) for name in ("run.json", "exit.json", "abandoned")):
        return 1
    return Supervisor(folder).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
