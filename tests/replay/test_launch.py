"""The launcher as pods start it: a process of its own, with nothing but what travels."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from launching import environment, place, start

from jupyterlab_kf.runtime import launch


def test_parameters_arguments_and_the_main_module(tmp_path: Path) -> None:
    code = (
        "import json, os, sys\n"
        "print(json.dumps([rate, text, sys.argv, __name__, os.environ['KF_PARAMS'], os.environ['RANK']]))\n"
        "class A: pass\n"
        "import pickle; pickle.dumps(A())\n"
    )
    text = "$HOME `id` \\ \" '"
    home = place(tmp_path, code, params={"rate": 0.1, "text": text}, args=["--x", "$(HOME)"])
    done = start(home)
    assert done.returncode == 0, done.stderr
    rate, got, argv, name, params, rank = json.loads(done.stdout)
    assert (rate, got, argv, name, rank) == (0.1, text, ["cell.py", "--x", "$(HOME)"], "__main__", "0")
    assert json.loads(params) == {"rate": 0.1, "text": text}
    assert list((home / "work").iterdir()) == []


def test_a_traceback_points_at_the_cells_lines_and_at_nothing_of_ours(tmp_path: Path) -> None:
    home = place(tmp_path, "def f():\n    return 1 / 0\n\nf()\n", first_line=2)
    done = start(home)
    assert done.returncode == 1
    assert '  File "cell.py", line 5, in <module>\n    f()' in done.stderr
    assert '  File "cell.py", line 3, in f\n    return 1 / 0' in done.stderr
    assert "launch.py" not in done.stderr
    assert done.stderr.rstrip().endswith("ZeroDivisionError: division by zero")


def notebook(folder: Path, *cells: str, tags: tuple[str, ...] = ()) -> Path:
    made = [{"cell_type": "code", "metadata": {"tags": tags}, "source": source} for source in cells]
    path = folder / "train.ipynb"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"cells": made, "metadata": {}, "nbformat": 4}))
    return path


def test_a_notebooks_traceback_names_cell_and_line(tmp_path: Path) -> None:
    cells = ("%matplotlib inline\nimport os", "def f(x):\n    %time y = x / 0\n    return y\n", "\nprint('on')\nf(1)\n")
    done = start(place(tmp_path, str(notebook(tmp_path, *cells))))
    assert (done.returncode, done.stdout) == (1, "on\n")
    assert '  File "train.ipynb cell 3", line 3, in <module>\n    f(1)' in done.stderr
    assert '  File "train.ipynb cell 2", line 2, in f\n    y = x / 0  # %time' in done.stderr
    assert "launch.py" not in done.stderr


def test_cells_run_as_in_a_notebook(tmp_path: Path) -> None:
    cells = (
        "from __future__ import annotations",
        "class A:\n    b: Nowhere\nA.__annotations__",
        "import asyncio\nasync def f():\n    return 7\nawait f()",
        "x = await f()\nx + 1",
        "None",
        "x;",
        "display('a', x)",
        "import inspect, os\nprint(inspect.getsource(f).strip(), __name__, os.path.basename(os.getcwd()))",
        "raise SystemExit(4)",
        "print('never')",
    )
    home = place(tmp_path, str(notebook(tmp_path / "deep", *cells).relative_to(tmp_path)))
    done = start(home)
    assert done.stdout.splitlines() == [
        "{'b': 'Nowhere'}", "7", "8", "'a'", "7", "async def f():", "    return 7 __main__ deep"
    ]  # fmt: skip
    assert (done.returncode, done.stderr) == (4, "")


def test_an_awaited_failure_shows_the_cell_alone(tmp_path: Path) -> None:
    done = start(place(tmp_path, str(notebook(tmp_path, "async def f():\n    raise KeyError('x')", "await f()"))))
    assert done.stderr.startswith(
        'Traceback (most recent call last):\n  File "train.ipynb cell 2", line 1, in <module>\n    await f()\n'
    )


def test_a_notebooks_parameters_win_over_its_own(tmp_path: Path) -> None:
    path = notebook(tmp_path, "lr = 1", "print(lr)", tags=("parameters",))
    assert start(place(tmp_path, str(path), params={"lr": 0.5})).stdout == "0.5\n"


@pytest.mark.parametrize(
    ("code", "status"),
    [("import sys; sys.exit(7)", 7), ("raise SystemExit", 0), ("import sys; sys.exit('no')", 1), ("exit(3)", 3)],
)
def test_exit_codes_are_pythons(code: str, status: int, tmp_path: Path) -> None:
    assert start(place(tmp_path, code)).returncode == status


def test_source_can_be_inspected_inside_the_job(tmp_path: Path) -> None:
    home = place(tmp_path, "import inspect\ndef f():\n    return 42\nprint(inspect.getsource(f))\n", first_line=3)
    assert "return 42" in start(home).stdout


def test_ranks_of_the_operators_environment_are_put_right(tmp_path: Path) -> None:
    code = "import os\nprint(*(os.environ[k] for k in ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'LOCAL_WORLD_SIZE')))\n"
    home = place(tmp_path, code, workers=2, nproc=2)
    done = start(home, RANK="1", PET_NODE_RANK="1", WORLD_SIZE="4", MASTER_ADDR="m", MASTER_PORT="1")
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["2 0 4 2", "3 1 4 2"]


def test_the_first_process_that_fails_ends_the_others_and_gives_the_status(tmp_path: Path) -> None:
    code = "import os, sys, time\nif os.environ['RANK'] == '1': sys.exit(5)\ntime.sleep(50)\n"
    done = start(place(tmp_path, code, nproc=2))
    assert done.returncode == 5
    assert "rank 1 ended with exit code 5" in done.stderr


def test_code_in_pieces_is_put_together(tmp_path: Path) -> None:
    (tmp_path / "big.bin").write_bytes(random.Random(1).randbytes(2_000_000))
    code = "import hashlib\nprint(hashlib.sha256(open('big.bin', 'rb').read()).hexdigest())\n"
    home = place(tmp_path, code, files=["big.bin"])
    assert len(list(home.glob("code.tar.gz.*"))) == 3
    assert start(home).stdout.strip() == hashlib.sha256((tmp_path / "big.bin").read_bytes()).hexdigest()
    (home / "code.tar.gz.01").unlink()
    assert "the code is damaged" in start(home).stderr


def test_code_is_put_onto_a_volume_whole_and_run_from_there(tmp_path: Path) -> None:
    home = place(tmp_path, "print('from the volume')")
    packed = (home / "code.tar.gz").read_bytes()
    digest = hashlib.sha256(packed).hexdigest()
    shelf = tmp_path / "volume" / "code"
    (home / "code.tar.gz").rename(home / "code.tar.gz.01")
    assert start(home, "store", "0" * 64, KF_STORE=str(shelf)).returncode == 1
    assert list(shelf.iterdir()) == [], "what is damaged is not kept"
    assert start(home, "store", digest, KF_STORE=str(shelf)).stdout == "kf-have\n"
    assert [one.name for one in shelf.iterdir()] == [f"{digest}.tar.gz"]
    (home / "code.tar.gz.01").unlink()
    assert start(home, "store", digest, KF_STORE=str(shelf)).stdout == "kf-have\n"
    assert start(home, "store", "0" * 64, KF_STORE=str(shelf)).stdout == "kf-missing\n"
    archive = shelf / f"{digest}.tar.gz"
    assert start(home, KF_ARCHIVE=str(archive)).stdout == "from the volume\n"
    archive.write_bytes(gzip.compress(b"other"))
    assert "the code is damaged" in start(home, KF_ARCHIVE=str(archive)).stderr
    archive.unlink()
    assert "no longer on its volume" in start(home, KF_ARCHIVE=str(archive)).stderr


def test_damaged_code_is_not_run(tmp_path: Path) -> None:
    home = place(tmp_path, "print('hello')")
    (home / "code.tar.gz").write_bytes(gzip.compress(b"other"))
    done = start(home)
    assert done.returncode == 1
    assert "the code is damaged" in done.stderr


def test_tf_config_loses_the_evaluator_and_masters_become_chiefs(monkeypatch: pytest.MonkeyPatch) -> None:
    config = {
        "cluster": {"master": ["a:1"], "worker": ["b:1"], "evaluator": ["c:1"]},
        "task": {"type": "master", "index": 0},
    }
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    launch.tensorflow()
    assert json.loads(os.environ["TF_CONFIG"]) == {
        "cluster": {"chief": ["a:1"], "worker": ["b:1"]},
        "task": {"type": "chief", "index": 0},
    }


def test_elastic_jobs_become_torchrun_and_mpi_jobs_mpirun(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _path, argv: seen.append(argv))
    monkeypatch.setattr(shutil, "which", lambda *_args, **_more: "/usr/bin/mpirun")
    monkeypatch.setattr(launch, "execute", lambda _job: 0)
    for name in ("PRTE_MCA_prte_default_hostfile", "OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PET_RDZV_ENDPOINT", "digits-worker-0:23456")
    launch.pytorch({"nproc": 1})
    assert seen.pop()[1:3] == ["-m", "torch.distributed.run"]
    hosts = tmp_path / "hostfile"
    hosts.write_text("localhost slots=4\n")
    monkeypatch.setenv("OMPI_MCA_orte_default_hostfile", str(hosts))
    launch.mpirun({"ranks": 4})
    assert seen.pop()[:6] == ["/usr/bin/mpirun", "-n", "4", "--tag-output", "--hostfile", str(hosts)]
    assert os.environ["PRTE_MCA_prte_default_hostfile"] == str(hosts)  # noqa: SIM112  Open MPI's own spelling


def test_results_are_sent_in_slices_that_fit_together(tmp_path: Path) -> None:
    home = place(tmp_path, "print(1)")
    out = tmp_path / "out"
    (out / "sub").mkdir(parents=True)
    (out / "sub" / "model.bin").write_bytes(os.urandom(30_000))
    (out / "score.txt").write_text("0.97")
    listed = start(home, "list", KF_OUTPUT=str(out)).stdout.splitlines()
    entries = [json.loads(line.removeprefix("kf-file ")) for line in listed[:-1]]
    assert [entry["path"] for entry in entries] == ["score.txt", "sub/model.bin"]
    whole = b""
    for offset in (0, 20_000):
        lines = start(home, "send", "--offset", str(offset), "--limit", "20000", KF_OUTPUT=str(out)).stdout.splitlines()
        packed = b"".join(base64.b64decode(line.removeprefix("kf-data ")) for line in lines[:-1])
        part = zlib.decompress(packed)
        assert json.loads(lines[-1].removeprefix("kf-end "))["sha256"] == hashlib.sha256(part).hexdigest()
        whole += part
    at = 0
    for entry in entries:
        content = whole[at : at + entry["size"]]
        assert content == (out / entry["path"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"]
        at += entry["size"]


PRINTS = """
import os, pathlib, sys
pathlib.Path(os.environ["KF_OUTPUT"], "a.txt").write_text(os.environ.get("LOCAL_RANK", "0"))
sys.exit(int(sys.argv[1]))
"""


def test_results_are_printed_by_who_succeeds_once_a_pod(tmp_path: Path) -> None:
    home = place(tmp_path, PRINTS, nproc=2, args=["0"])
    instructions = json.loads((home / "job.json").read_text())
    assert "resultsLimit" not in instructions, "only where there is no volume"
    (home / "job.json").write_text(json.dumps(instructions | {"resultsLimit": 1000}))
    out = str(tmp_path / "out")

    def ends(*verb: str, **env: str) -> int:
        return sum(line.startswith("kf-end ") for line in start(home, *verb, KF_OUTPUT=out, **env).stdout.splitlines())

    assert ends() == 1
    (home / "work").mkdir(exist_ok=True)
    for run in "12":
        mpi = {"OMPI_COMM_WORLD_LOCAL_SIZE": "2", "PMIX_NAMESPACE": run}
        assert [ends("rank", OMPI_COMM_WORLD_RANK=rank, **mpi) for rank in "01"] == [0, 1], (
            "the last one sees all files"
        )
    elastic = {"TORCHELASTIC_RUN_ID": "1", "LOCAL_WORLD_SIZE": "2"}
    assert [ends(LOCAL_RANK=rank, **elastic) for rank in "01"] == [0, 1]
    (home / "job.json").write_text(json.dumps(instructions | {"resultsLimit": 1000, "args": ["3"]}))
    assert ends() == 0, "the last lines of what failed are those that tell why"


def test_the_output_folder_is_there_when_the_code_starts(tmp_path: Path) -> None:
    code = "import os, pathlib\npathlib.Path(os.environ['KF_OUTPUT'], 'a').write_text('1')\n"
    assert start(place(tmp_path, code), KF_OUTPUT=str(tmp_path / "deep" / "er")).returncode == 0
    assert (tmp_path / "deep" / "er" / "a").read_text() == "1"


def test_a_function_is_called_with_the_parameters(tmp_path: Path) -> None:
    def scale(value: float) -> None:
        print(value * 2)

    home = place(tmp_path, scale, params={"value": 4})  # type: ignore[arg-type]  # the helper is typed for text
    assert start(home).stdout == "8\n"


DEEP = """
import ctypes, sys
sys.path.insert(0, sys.argv[1])
import launch
launch.PATIENCE = 0.05
launch.obey_the_end()
libc = ctypes.CDLL(None)
lock = ctypes.create_string_buffer(128)
libc.pthread_mutex_lock(lock)
print("in", flush=True)
libc.pthread_mutex_lock(lock)
"""


def test_the_first_process_of_a_container_ends_when_told_though_it_is_deep_in_a_collective() -> None:
    folder = str(Path(launch.__file__).parent)
    with subprocess.Popen([sys.executable, "-c", DEEP, folder], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "in\n"
        process.terminate()
        assert process.wait(timeout=30) == 143


def test_a_user_without_a_home_gets_one_and_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(_number: int) -> None:
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", nobody)
    monkeypatch.setenv("HOME", str(tmp_path / "missing"))
    monkeypatch.setenv("KF_WORK", str(tmp_path))
    for name in ("USER", "LOGNAME"):
        monkeypatch.delenv(name, raising=False)
    launch.at_home()
    assert (os.environ["HOME"], os.environ["LOGNAME"], os.environ["USER"]) == (str(tmp_path), "kf", "kf")
    monkeypatch.setenv("HOME", str(tmp_path / ".."))
    launch.at_home()
    assert os.environ["HOME"] == str(tmp_path / "..")


def task(kind: str, *roles: str) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": {role: ["h:1"] for role in roles}, "task": {"type": kind, "index": 0}})}


@pytest.mark.parametrize(
    ("framework", "nodes", "env", "stays"),
    [
        ("pytorch", 2, {"RANK": "0"}, True),
        ("pytorch", 2, {"PET_NODE_RANK": "0", "RANK": "0"}, True),
        ("pytorch", 2, {"RANK": "1"}, False),
        ("pytorch", 1, {"RANK": "0"}, False),
        ("pytorch", 2, {"PET_RDZV_ENDPOINT": "j-worker-0:23456"}, False),  # all workers decide
        ("pytorch", 2, {"RANK": "0", "KF_POD_UID": "u"}, False),  # the embedded cluster waits by itself
        ("tensorflow", 3, task("chief", "chief", "worker"), True),
        ("tensorflow", 3, task("master", "master", "evaluator"), True),
        ("tensorflow", 2, task("chief", "chief", "ps"), False),
        ("tensorflow", 1, task("chief", "chief"), False),
        ("tensorflow", 2, task("worker", "chief", "worker"), False),
        ("tensorflow", 2, task("worker", "worker"), False),  # all workers decide
        ("tensorflow", 2, {"TF_CONFIG": "no JSON"}, False),
        ("tensorflow", 2, {"TF_CONFIG": "[]"}, False),
        ("mxnet", 2, {"DMLC_ROLE": "scheduler"}, False),
        ("mpi", 2, {}, False),
    ],
)
def test_who_ends_the_job_stays_for_peers(framework: str, nodes: int, env: dict[str, str], stays: object) -> None:
    assert launch.leads({"framework": framework, "nodes": nodes}, env) is stays


def test_a_leader_that_has_succeeded_stays_until_it_is_told_to_go(tmp_path: Path) -> None:
    home = place(tmp_path, "print('done')", workers=2)
    text = (home / "launch.py").read_text()
    (home / "launch.py").write_text(text.replace("FAREWELL = 3.0", "FAREWELL = 600.0"))
    command = [sys.executable, str(home / "launch.py"), "run"]
    with subprocess.Popen(command, env=environment(home, RANK="0"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        while not caught(process.pid) & 1 << (signal.SIGTERM - 1):
            assert process.poll() is None, "it stays"
            time.sleep(0.01)
        process.terminate()
        assert process.wait(timeout=30) == 0, "it has succeeded"
    assert list((home / "work").iterdir()) == []
    for env, code in ({"RANK": "1"}, "print('done')"), ({"RANK": "0"}, "raise SystemExit(3)"):
        (tmp_path / code).mkdir()
        other = place(tmp_path / code, code, workers=2)
        (other / "launch.py").write_text((home / "launch.py").read_text())
        start(other, **env)  # they do not stay, or this would take ten minutes


def caught(pid: int) -> int:
    """The signals that a process has handlers for, as bits."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("SigCgt:")), 16)
