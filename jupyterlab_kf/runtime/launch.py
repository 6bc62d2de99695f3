"""Starts the user's code in a pod, as it would start at home. Standard library only; shipped beside the code.

    launch.py run       one replica: unpack, put the framework's environment right, run in this process
    launch.py mpirun    the launcher of an MPI or Chainer job: one mpirun over all hosts; ranks are ``launch.py rank``
    launch.py rank      one rank: unpack and run
    launch.py list      the result files, one JSON line each
    launch.py send --offset N --limit M    a slice of the packed result files, as base64 lines

What to run stands in job.json beside this file; no text of the user's ever passes a shell or an argument list.
Tracebacks show the user's file with the lines of the notebook's cell, and nothing of this file.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import gzip
import hashlib
import io
import json
import linecache
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import traceback
import types
from pathlib import Path
from typing import Any

# Not resolved: in a pod these are links, and the path as given is the one that other pods know too.
HERE = Path(os.path.abspath(__file__)).parent  # noqa: PTH100
GRACE = 10.0
Job = dict[str, Any]


def main(argv: list[str]) -> int:
    """Do what the first argument says; answers the exit status."""
    verb = argv[0] if argv else "run"
    if verb == "list":
        return list_results()
    if verb == "send":
        return send_results(offset=int(argv[argv.index("--offset") + 1]), limit=int(argv[argv.index("--limit") + 1]))
    job = json.loads((HERE / "job.json").read_text(encoding="utf-8"))
    if verb == "rank":
        return rank(job)
    if verb == "mpirun":
        return mpirun(job)
    if verb == "run":
        return replica(job)
    print(f"launch.py: unknown verb {verb!r}", file=sys.stderr)
    return 2


def rank(job: Job) -> int:
    """One process among several on a host."""
    status = execute(job)
    if status and "OMPI_COMM_WORLD_RANK" in os.environ:
        # Ending in order would wait for the other ranks in MPI_Finalize, while they wait for this one in a collective.
        os._exit(status)
    return status


# One replica


def replica(job: Job) -> int:
    """Run as the framework of the job wants it."""
    framework = job.get("framework", "")
    if framework == "pytorch":
        return pytorch(job)
    if framework == "tensorflow":
        tensorflow()
    if framework == "mxnet" and os.environ.get("DMLC_ROLE") in ("scheduler", "server"):
        return mxnet_server(os.environ["DMLC_ROLE"])
    return execute(job)


def pytorch(job: Job) -> int:
    """Elastic jobs by torchrun; all others directly, which is three times faster, with the same environment."""
    env = os.environ
    if env.get("PET_RDZV_ENDPOINT") and "TORCHELASTIC_RUN_ID" not in env:
        os.execv(sys.executable, [sys.executable, "-m", "torch.distributed.run", str(HERE / "launch.py"), "run"])
    if "TORCHELASTIC_RUN_ID" in env:
        return execute(job)
    local = int(job.get("nproc", 1))
    # The operator's RANK is the node's number, while its WORLD_SIZE counts processes.
    node = int(env.get("PET_NODE_RANK") or env.get("RANK") or 0)
    nodes = max(int(job.get("nodes", 1)), 1)
    base = {
        "WORLD_SIZE": str(nodes * local),
        "LOCAL_WORLD_SIZE": str(local),
        "GROUP_RANK": str(node),
        "GROUP_WORLD_SIZE": str(nodes),
        "MASTER_ADDR": env.get("MASTER_ADDR") or "127.0.0.1",
        "MASTER_PORT": env.get("MASTER_PORT") or "23456",
    }
    ranks = [{**base, "LOCAL_RANK": str(i), "RANK": str(node * local + i)} for i in range(local)]
    if local == 1:
        env.update(ranks[0])
        return execute(job)
    env.setdefault("OMP_NUM_THREADS", "1")
    return processes([{**env, **rank} for rank in ranks])


def tensorflow() -> None:
    """TF_CONFIG as TensorFlow 2 takes it: no evaluator in the cluster, which would be waited for; chief for master."""
    try:
        config = json.loads(os.environ.get("TF_CONFIG") or "null")
    except ValueError:
        return
    if not isinstance(config, dict) or not isinstance(config.get("cluster"), dict):
        return
    cluster = {("chief" if role == "master" else role): hosts for role, hosts in config["cluster"].items()}
    cluster.pop("evaluator", None)
    task = dict(config.get("task") or {})
    if task.get("type") == "master":
        task["type"] = "chief"
    os.environ["TF_CONFIG"] = json.dumps({**config, "cluster": cluster, "task": task})


def mxnet_server(role: str) -> int:
    """Schedulers and servers live inside the import, and end when the workers do."""
    print(f"mxnet {role}: serving until the workers are done", flush=True)
    try:
        exec(compile("import mxnet", f"{role}.py", "exec"), {})
    except ImportError as error:
        show(type(error), error, error.__traceback__)
        return 1
    return 0


def mpirun(job: Job) -> int:
    """Become mpirun, whose ranks run this file again; its output is tagged so that lines can be told by rank."""
    program = (
        shutil.which("mpirun")
        or shutil.which("mpiexec")
        or shutil.which("mpirun", path=str(Path(sys.executable).parent))
    )
    if program is None:
        print("launch.py: mpirun is not in this image; choose one with Open MPI", file=sys.stderr)
        return 127
    env = os.environ
    hostfile = env.get("OMPI_MCA_orte_default_hostfile") or env.get("PRTE_MCA_prte_default_hostfile") or ""
    argv = [program, "-n", str(job.get("ranks", 1)), "--tag-output"]
    if hostfile and Path(hostfile).is_file():
        # Open MPI 5 no longer reads the variable that every operator sets.
        env["PRTE_MCA_prte_default_hostfile"] = hostfile
        argv += ["--hostfile", hostfile]
    if agent := env.get("OMPI_MCA_plm_rsh_agent"):
        # The same: without the new name Open MPI 5 finds no way to reach the workers.
        env.setdefault("PRTE_MCA_plm_ssh_agent", agent)
    # More ranks than cores is the user's choice; binding would then refuse to start or stack them on one core.
    env.setdefault("PRTE_MCA_rmaps_default_mapping_policy", "slot:oversubscribe")
    env.setdefault("PRTE_MCA_hwloc_default_binding_policy", "none")
    env.setdefault("OMPI_MCA_rmaps_base_oversubscribe", "1")
    env.setdefault("OMPI_MCA_hwloc_base_binding_policy", "none")
    if os.getuid() == 0:
        env["OMPI_ALLOW_RUN_AS_ROOT"] = env["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"] = "1"
    argv += [sys.executable, str(HERE / "launch.py"), "rank"]
    os.execv(program, argv)
    return 127


def processes(environments: list[dict[str, str]]) -> int:
    """Run one process for each environment; the first that fails ends the others and gives the status."""
    argv = [sys.executable, str(HERE / "launch.py"), "rank"]
    running = {subprocess.Popen(argv, env=env): env["RANK"] for env in environments}

    def stop(number: int, _frame: object) -> None:
        for child in running:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    status, deadline = 0, float("inf")
    while running:
        pid, raw = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            if time.monotonic() > deadline:
                stop(signal.SIGKILL, None)
            time.sleep(0.02)
            continue
        code = os.waitstatus_to_exitcode(raw)
        child = next((one for one in running if one.pid == pid), None)
        if child is None:
            continue
        child.returncode = code
        rank = running.pop(child)
        if code and not status:
            status = code if code > 0 else 128 - code
            print(f"rank {rank} ended with exit code {status}; ending the others", file=sys.stderr, flush=True)
            deadline = time.monotonic() + GRACE
            stop(signal.SIGTERM, None)
    return status


# The user's code


def execute(job: Job) -> int:
    """Unpack and run in this process; answers the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Whole lines: unbuffered, print(1, 2) is four writes, and processes of one pod would mix theirs.
            stream.reconfigure(line_buffering=True, write_through=False)
    folder = unpack(job)
    sys.path[:1] = [str(folder / part) for part in job.get("paths") or [""]]
    os.chdir(folder)
    params = job.get("params") or {}
    os.environ["KF_PARAMS"] = json.dumps(params)
    path, shown, first = folder / job["main"], job["filename"], int(job.get("firstLine", 1))
    sys.argv = [shown, *job.get("args", [])]
    text = "\n" * (first - 1) + path.read_bytes().decode("utf-8")
    # Without a time stamp the cache is never checked against a file of that name.
    linecache.cache[shown] = (len(text), None, [line + "\n" for line in text.split("\n")], shown)
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=str(path), __builtins__=__builtins__)
    call = job.get("call")
    if not call:
        module.__dict__.update(params)
    sys.modules["__main__"] = module
    sys.excepthook = show
    threading.excepthook = lambda args: show(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
    try:
        exec(compile(text, shown, "exec", dont_inherit=True), module.__dict__)
        if call:
            module.__dict__[call](**params)
    except SystemExit as end:
        return exit_status(end)
    except KeyboardInterrupt:
        return 130
    except BaseException as error:  # noqa: BLE001  whatever the user's code raises is to be shown
        show(type(error), error, error.__traceback__)
        return 1
    finally:
        flush()
    return 0


def unpack(job: Job) -> Path:
    """The code in a folder of this process' own, which goes when the process does."""
    packed = (HERE / "code.tar.gz").read_bytes()
    found = hashlib.sha256(packed).hexdigest()
    if job.get("sha256") not in (None, found):
        raise SystemExit(f"launch.py: the code is damaged: its SHA-256 is {found}, not {job['sha256']}")
    base = os.environ.get("KF_WORK") or None
    if base:
        Path(base).mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="kf-", dir=base))
    atexit.register(remove, folder, os.getpid())
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(packed))) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(folder, filter="data")
        else:
            tar.extractall(folder)
    return folder


def remove(folder: Path, owner: int) -> None:
    """Remove a folder, unless this is a forked child of the process that made it."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def show(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
    """Print a traceback that begins in the user's code."""
    own = os.path.abspath(__file__)  # noqa: PTH100
    while trace is not None and os.path.abspath(trace.tb_frame.f_code.co_filename) == own:  # noqa: PTH100
        trace = trace.tb_next
    flush()
    text = "".join(traceback.format_exception(kind, error, trace))
    # In one write, so that the lines of several ranks do not mix.
    sys.stderr.write(text)
    sys.stderr.flush()


def exit_status(end: SystemExit) -> int:
    """The status that Python itself would give."""
    if end.code is None:
        return 0
    if isinstance(end.code, int):
        return end.code & 0xFF
    print(end.code, file=sys.stderr)
    return 1


def flush() -> None:
    """Have everything that was printed on its way."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


# Results


def results() -> list[tuple[str, Path]]:
    """Relative names and paths of the regular files in the output folder, links left out."""
    root = Path(os.environ.get("KF_OUTPUT") or ".")
    found = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return sorted((path.relative_to(root).as_posix(), path) for path in found)


def list_results() -> int:
    """One JSON line a file."""
    for name, path in results():
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while part := file.read(1 << 20):
                digest.update(part)
        entry = {"path": name, "size": path.stat().st_size, "sha256": digest.hexdigest()}
        print(f"kf-file {json.dumps(entry)}")
    print("kf-end")
    return 0


class Window(io.RawIOBase):
    """Takes everything that is written, keeps the slice that was asked for, hashes the rest away."""

    def __init__(self, offset: int, limit: int) -> None:
        self.offset, self.limit, self.seen = offset, limit, 0
        self.kept = io.BytesIO()
        self.digest = hashlib.sha256()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Keep what falls into the slice."""
        view = bytes(data)
        first = max(self.offset - self.seen, 0)
        last = min(self.offset + self.limit - self.seen, len(view))
        if first < last:
            self.kept.write(view[first:last])
        self.seen += len(view)
        self.digest.update(view)
        return len(view)


def send_results(offset: int, limit: int) -> int:
    """The slice as base64 lines, then one line with the whole's size and digest; equal files give equal bytes."""
    window = Window(offset, limit)
    with (
        gzip.GzipFile(filename="", fileobj=window, mode="wb", compresslevel=1, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
    ):
        for name, path in results():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = path.stat().st_size, 0o644
            with path.open("rb") as file:
                tar.addfile(entry, file)
    text = base64.b64encode(window.kept.getvalue()).decode("ascii")
    # In few writes: line by line, a log of megabytes takes seconds.
    sys.stdout.write("".join(f"kf-data {line}\n" for line in re.findall(".{1,4000}", text)))
    part = hashlib.sha256(window.kept.getvalue()).hexdigest()
    print(f"kf-end {json.dumps({'total': window.seen, 'sha256': window.digest.hexdigest(), 'part': part})}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
