"""The launcher as pods start it: a process of its own, with nothing but what travels."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf.runtime import launch
from jupyterlab_kf.services import plans


def place(folder: Path, code: str, framework: str = "pytorch", **request: Any) -> Path:
    """What the pod of a job would find under /kf/code."""
    made = plans.make(
        plans.Request(code=code, framework=framework, root=folder, **request), namespace="n", submission="0" * 12
    )
    home = folder / "kf"
    home.mkdir()
    for name, text in made.manifests[0]["data"].items():
        (home / name).write_text(text)
    (home / "code.tar.gz").write_bytes(base64.b64decode(made.manifests[0]["binaryData"]["code.tar.gz"]))
    return home


def start(home: Path, verb: str = "run", *more: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(home / "launch.py"), verb, *more],
        env={"PATH": os.environ["PATH"], "KF_WORK": str(home / "work"), "PYTHONUNBUFFERED": "1", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


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
    assert [json.loads(line.removeprefix("kf-file "))["path"] for line in listed[:-1]] == ["score.txt", "sub/model.bin"]
    whole, total = b"", 1
    while len(whole) < total:
        lines = start(
            home, "send", "--offset", str(len(whole)), "--limit", "20000", KF_OUTPUT=str(out)
        ).stdout.splitlines()
        end = json.loads(lines[-1].removeprefix("kf-end "))
        whole += b"".join(base64.b64decode(line.removeprefix("kf-data ")) for line in lines[:-1])
        total = end["total"]
    assert hashlib.sha256(whole).hexdigest() == end["sha256"]
    with tarfile.open(fileobj=io.BytesIO(gzip.decompress(whole))) as tar:
        assert sorted(tar.getnames()) == ["score.txt", "sub/model.bin"]


def test_a_function_is_called_with_the_parameters(tmp_path: Path) -> None:
    def scale(value: float) -> None:
        print(value * 2)

    home = place(tmp_path, scale, params={"value": 4})  # type: ignore[arg-type]  # the helper is typed for text
    assert start(home).stdout == "8\n"
