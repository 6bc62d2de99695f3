"""Starts the user's code in a pod, as it would start at home. Standard library only; shipped beside the code.

    launch.py run       one replica: unpack, put the framework's environment right, run in this process
    launch.py mpirun    the launcher of an MPI or Chainer job: one mpirun over all hosts; ranks are ``launch.py rank``
    launch.py rank      one rank: unpack and run
    launch.py store SHA256    put the packed code beside this file onto a volume, or say whether it is there
    launch.py list      the result files, one JSON line each
    launch.py send --offset N --limit M    a slice of the result files, as base64 lines

A job that asks for packages brings install.py along, which runs before the code.

What to run stands in job.json beside this file; no text of the user's ever passes a shell or an argument list.
Tracebacks show the user's file with the lines of the notebook's cell, and nothing of this file.
"""

from __future__ import annotations
import __future__

import ast
import atexit
import binascii
import contextlib
import fcntl
import functools
import hashlib
import io
import json
import linecache
import os
import pwd
import re
import shutil
import signal
import sys
import tarfile
import threading
import time
import traceback
import types
import zlib
from collections.abc import Mapping
from pathlib import Path

# Every replica and trial waits for these imports: what few of them need is imported there, before the user's code.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Not resolved: in a pod these are links, and the path as given is the one that other pods know too.
HERE = Path(os.path.abspath(__file__)).parent  # noqa: PTH100
COROUTINE = 0x80  # inspect.CO_COROUTINE
GRACE = 10.0
PATIENCE = 1.0
FAREWELL = 3.0  # a node tells of an end within a second or two
NAMED = 100  # files that are left out, by name
OVERHEAD = 200  # bytes of a packed file's header
GZIP = 31  # zlib's word for it
Job = dict[str, "Any"]


def main(argv: list[str]) -> int:
    """Do what the first argument says; answers the exit status."""
    verb = argv[0] if argv else "run"
    if verb in ("store", "list", "send"):
        return errand(verb, argv[1:])
    job = json.loads((HERE / "job.json").read_text(encoding="utf-8"))
    at_home()
    if verb in ("run", "rank"):
        if os.getpid() == 1:
            obey_the_end()
        equip(job)
    stays = verb == "run" and leads(job, os.environ)
    work = {"run": replica, "rank": rank, "mpirun": mpirun}.get(verb)
    if work is None:
        print(f"launch.py: unknown verb {verb!r}", file=sys.stderr)
        return 2
    status = work(job)
    if not status and job.get("resultsLimit") and last_here(verb):
        print_results(int(job["resultsLimit"]))
    if stays and not status:
        farewell()
    return status


def errand(verb: str, words: list[str]) -> int:
    """What a pod of a moment's life does with a volume."""
    if verb == "store":
        return store(words[0])
    if verb == "list":
        return list_results()
    return send_results(offset=int(words[words.index("--offset") + 1]), limit=int(words[words.index("--limit") + 1]))


def at_home() -> None:
    """A home folder and a name, which a user that the image does not know lacks, and libraries ask for."""
    env = os.environ
    if not os.access(os.path.expanduser("~"), os.W_OK):  # noqa: PTH111  Path.home() fails where there is none
        env["HOME"] = workplace()
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        env.setdefault("USER", "kf")
        env.setdefault("LOGNAME", env["USER"])


def equip(job: Job) -> None:
    """Install the packages that the job asks for, once a pod, and put them before the image's own.

    Also for processes that the user's code starts. A process of its own does it: nothing of an installer stays in this
    one.
    """
    if not job.get("install"):
        return
    import subprocess

    mark = hashlib.sha256(json.dumps(job["install"]).encode()).hexdigest()[:12]
    folder = Path(workplace()) / f"packages-{mark}"
    if not folder.is_dir():
        status = subprocess.call([sys.executable, str(HERE / "install.py"), str(folder)])
        if status:
            raise SystemExit(status)
    for name, place in (("PYTHONPATH", folder), ("PATH", folder / "bin")):
        others = [part for part in os.environ.get(name, "").split(os.pathsep) if part and part != str(place)]
        os.environ[name] = os.pathsep.join([str(place), *others])
    sys.path[1:] = [str(folder), *(entry for entry in sys.path[1:] if entry != str(folder))]


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
    import subprocess

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


def leads(job: Job, env: Mapping[str, str]) -> bool:
    """Whether the job ends with this replica, and with the job the pods of its peers that are not known to have ended.

    The operators delete those at once, with their logs, however near their end they are. The embedded cluster, whose
    pods know their uid by a variable, gives them time by itself.
    """
    if "KF_POD_UID" in env:
        return False
    if job.get("framework") == "pytorch" and "PET_RDZV_ENDPOINT" not in env:
        return int(job.get("nodes", 1)) > 1 and not int(env.get("PET_NODE_RANK") or env.get("RANK") or 0)
    try:
        config = json.loads(env.get("TF_CONFIG") or "{}")
        mine = config["task"]["type"] in ("chief", "master")
    except (ValueError, KeyError, TypeError):
        return False
    # Where workers have no chief, all of them decide; parameter servers have no end of their own.
    return mine and bool({"worker", "evaluator"} & set(config.get("cluster") or ()))


def farewell() -> None:
    """Stay until peers that end now are known to have ended, or until told to go."""
    flush()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    time.sleep(FAREWELL)


# The user's code


def execute(job: Job) -> int:
    """Unpack and run in this process; answers the exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Whole lines: unbuffered, print(1, 2) is four writes, and processes of one pod would mix theirs.
            stream.reconfigure(line_buffering=True, write_through=False)
    folder = unpack(job)
    if output := os.environ.get("KF_OUTPUT"):
        Path(output).mkdir(parents=True, exist_ok=True)
    sys.path[:1] = [str(folder / part) for part in job.get("paths") or [""]]
    os.chdir(folder / job.get("folder", ""))
    chosen = tuned(job)
    params = {**(job.get("params") or {}), **chosen}
    os.environ["KF_PARAMS"] = json.dumps(params)
    path, shown, first = folder / job["main"], job["filename"], int(job.get("firstLine", 1))
    sys.argv = [shown, *job.get("args", [])]
    text = "\n" * (first - 1) + path.read_bytes().decode("utf-8")
    parts = parts_of(job, text)
    for name, part in parts:
        # Without a time stamp the cache is never checked against a file of that name.
        linecache.cache[name] = (len(part), None, [line + "\n" for line in part.split("\n")], name)
    module = types.ModuleType("__main__")
    module.__dict__.update(__file__=str(path), __builtins__=__builtins__)
    call = job.get("call")
    if not call:
        module.__dict__.update(params)
    sys.modules["__main__"] = module
    sys.excepthook = show
    threading.excepthook = lambda args: show(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
    try:
        play(parts, chosen, module.__dict__, cells="cells" in job)
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


def obey_the_end() -> None:
    """Let SIGTERM end the first process of a container, for which the kernel has no default action.

    A thread waits for it, since the main one may be deep in a collective. Code with a handler of its own keeps it.
    """

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    def watch() -> None:
        while signal.SIGTERM not in os.read(reader, 64):
            pass
        time.sleep(PATIENCE)
        if signal.getsignal(signal.SIGTERM) is end:
            flush()
            os._exit(128 + signal.SIGTERM)

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.signal(signal.SIGTERM, end)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()


def tuned(job: Job) -> dict[str, Any]:
    """The values that a study chose for this trial: each comes as text, in an environment variable of its own."""
    values: dict[str, Any] = {}
    for name, how in (job.get("tuned") or {}).items():
        text = os.environ[f"KF_PARAM_{name}"]
        known = how.get("values")
        values[name] = known[text] if known is not None else int(text) if how["type"] == "int" else float(text)
    return values


def parts_of(job: Job, text: str) -> list[tuple[str, str]]:
    """What runs, one after another, with the names that tracebacks show: a notebook's cells, or the whole file."""
    lines = text.split("\n")
    whole = [(job["filename"], 1, len(lines))]
    return [(name, "\n".join(lines[at - 1 : at - 1 + count])) for name, at, count in job.get("cells") or whole]


def play(parts: list[tuple[str, str]], values: dict[str, Any], names: dict[str, Any], *, cells: bool) -> None:
    """Run the parts of a program; cells as a notebook does: the last value is printed, ``await`` may stand anywhere."""
    if cells:
        names["display"] = display
    # What one cell imports from the future holds for those below it.
    future = sum(getattr(__future__, name).compiler_flag for name in __future__.all_feature_names)
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT if cells else 0
    for shown, text in parts:
        tree = parsed(text, shown, values)
        for part, mode in statements(tree, shows=cells and not text.rstrip().endswith(";")):
            code = compile(part, shown, mode, flags, dont_inherit=True)
            flags |= code.co_flags & future
            if code.co_flags & COROUTINE:
                loop().run_until_complete(eval(code, names))
            else:
                exec(code, names)


def statements(tree: ast.Module, *, shows: bool) -> list[tuple[Any, str]]:
    """A part in one, or in two when it ends with a value to be shown; each with the mode it is compiled in."""
    if not shows or not tree.body or not isinstance(tree.body[-1], ast.Expr):
        return [(tree, "exec")]
    return [(ast.Module(tree.body[:-1], []), "exec"), (ast.Interactive(tree.body[-1:]), "single")]


@functools.lru_cache(1)
def loop() -> Any:
    """The event loop of all cells. Most need none, and it takes time to import."""
    import asyncio

    made = asyncio.new_event_loop()
    asyncio.set_event_loop(made)
    return made


def display(*values: Any, **_: Any) -> None:
    """What a notebook shows, as text."""
    for value in values:
        print(repr(value))


def parsed(text: str, shown: str, values: dict[str, Any]) -> ast.Module:
    """The program, with ``lr = loguniform(...)`` at its top level made ``lr = 0.003``; its lines stay as they are."""
    tree = ast.parse(text, shown)
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        call = getattr(node, "value", None)
        if isinstance(target, ast.Name) and target.id in values and isinstance(call, ast.Call):
            node.value = ast.copy_location(ast.Constant(values[target.id]), call)  # type: ignore[attr-defined]
    return tree


def unpack(job: Job) -> Path:
    """The code in a folder of this process' own, which goes when the process does."""
    packed = archive()
    found = hashlib.sha256(packed).hexdigest()
    if job.get("sha256") not in (None, found):
        raise SystemExit(f"launch.py: the code is damaged: its SHA-256 is {found}, not {job['sha256']}")
    base = Path(workplace())
    base.mkdir(parents=True, exist_ok=True)
    folder = base / f"kf-{os.urandom(8).hex()}"
    folder.mkdir(mode=0o700)
    atexit.register(remove, folder, os.getpid())
    with tarfile.open(fileobj=io.BytesIO(zlib.decompress(packed, GZIP))) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(folder, filter="data")
        else:
            tar.extractall(folder)
    return folder


def workplace() -> str:
    """Where files may lie for a while."""
    if place := os.environ.get("KF_WORK"):
        return place
    import tempfile

    return tempfile.gettempdir()


def archive() -> bytes:
    """The packed code: beside this file, or on the volume that the environment names."""
    shelf = os.environ.get("KF_ARCHIVE")
    if shelf and not Path(shelf).is_file():
        raise SystemExit(f"launch.py: the code is no longer on its volume as {Path(shelf).name}: submit the job anew")
    return b"".join(part.read_bytes() for part in ([Path(shelf)] if shelf else pieces()))


def pieces() -> list[Path]:
    """What there is of the packed code beside this file, in its order."""
    return sorted(HERE.glob("code.tar.gz*"))


def store(digest: str) -> int:
    """Have the packed code whole under its digest in $KF_STORE; says whether it is there now."""
    folder = Path(os.environ["KF_STORE"])
    target = folder / f"{digest}.tar.gz"
    if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == digest:
        print("kf-have")
        return 0
    if not pieces():
        print("kf-missing")
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    import tempfile

    number, name = tempfile.mkstemp(dir=folder, prefix=".")
    found = hashlib.sha256()
    try:
        with os.fdopen(number, "wb") as file:
            for part in pieces():
                content = part.read_bytes()
                found.update(content)
                file.write(content)
            file.flush()
            os.fsync(number)
            os.fchmod(number, 0o644)
        if found.hexdigest() != digest:
            raise SystemExit(f"launch.py: the code is damaged: its SHA-256 is {found.hexdigest()}, not {digest}")
        Path(name).replace(target)
    finally:
        Path(name).unlink(missing_ok=True)
    print("kf-have")
    return 0


def remove(folder: Path, owner: int) -> None:
    """Remove a folder, unless this is a forked child of the process that made it."""
    if os.getpid() == owner:
        shutil.rmtree(folder, ignore_errors=True)


def show(kind: type[BaseException], error: BaseException, trace: types.TracebackType | None) -> None:
    """Print a traceback that begins in the user's code."""
    own = os.path.abspath(__file__)  # noqa: PTH100
    while trace is not None:
        file = os.path.abspath(trace.tb_frame.f_code.co_filename)  # noqa: PTH100
        if file != own and not file.endswith(("/asyncio/base_events.py", "/asyncio/futures.py")):
            break
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


def last_here(verb: str) -> bool:
    """Whether this is the last process of its pod to succeed, which finds the files of all."""
    env = os.environ
    if verb == "rank":
        # A child of this file has a parent that speaks for it.
        size, run = env.get("OMPI_COMM_WORLD_LOCAL_SIZE", "0"), env.get("PMIX_NAMESPACE", "")
    elif "TORCHELASTIC_RUN_ID" in env:
        size, run = env["LOCAL_WORLD_SIZE"], f"{env['TORCHELASTIC_RUN_ID']} {env.get('TORCHELASTIC_RESTART_COUNT')}"
    else:
        return True
    name = f".ended-{hashlib.sha256(run.encode()).hexdigest()[:16]}"
    with (Path(workplace()) / name).open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(b".")
        file.flush()
        return file.tell() == int(size)


def print_results(limit: int) -> None:
    """What fits of the result files, packed, as base64 lines, and one line that says what did not."""
    kept: list[tuple[str, Path]] = []
    left: list[tuple[str, int]] = []
    for name, path in results():
        size = squeezed(path, limit)
        if size > limit:
            left.append((name, path.stat().st_size))
        else:
            kept.append((name, path))
            limit -= size
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w|gz") as tar:
        for name, path in kept:
            tar.add(path, name)
    text = binascii.b2a_base64(raw.getvalue(), newline=False).decode("ascii")
    lines = [f"kf-data {line}" for line in re.findall(".{1,12000}", text)]
    end = {"sha256": hashlib.sha256(raw.getvalue()).hexdigest(), "lines": len(lines) + 1, "left": left[:NAMED]}
    if left:
        total, count = sum(size for _, size in left), len(left)
        files = f"{count} result file{'s' if count > 1 else ''} of {total} bytes"
        print(f"launch.py: {files} left out of the log; a volume would keep all: --volume CLAIM", file=sys.stderr)
    sys.stdout.write("".join(f"{line}\n" for line in [*lines, f"kf-end {json.dumps(end)}"]))
    flush()


def squeezed(path: Path, limit: int) -> int:
    """The number of bytes that a file takes when packed; what is beyond the limit is not looked at."""
    packing, size = zlib.compressobj(), OVERHEAD
    with path.open("rb") as file:
        while size <= limit and (part := file.read(1 << 18)):
            size += len(packing.compress(part))
    return size + len(packing.flush())


def send_results(offset: int, limit: int) -> int:
    """A slice of all files' content in the order of their names, as base64 lines and one line with its digest."""
    found = hashlib.sha256()
    packed = zlib.compressobj(1)
    parts, at = [], 0
    for _, path in results():
        size = path.stat().st_size
        first, last = max(offset - at, 0), min(offset + limit - at, size)
        at += size
        if first < last:
            with path.open("rb") as file:
                file.seek(first)
                content = file.read(last - first)
            found.update(content)
            parts.append(packed.compress(content))
    text = binascii.b2a_base64(b"".join([*parts, packed.flush()]), newline=False).decode("ascii")
    # In few writes: line by line, a log of megabytes takes seconds. Nodes cut lines of 16 KiB.
    sys.stdout.write("".join(f"kf-data {line}\n" for line in re.findall(".{1,12000}", text)))
    print(f"kf-end {json.dumps({'sha256': found.hexdigest()})}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
