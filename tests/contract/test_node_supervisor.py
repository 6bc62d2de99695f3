"""The supervisor by itself: a folder in, a process tree, and the truth in a folder out.

On the embedded cluster alone: a container runtime does this on a real node.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf.embedded import supervisor

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
PROGRAM = str(Path(supervisor.__file__))


def begin(folder: Path, *argv: str, **spec: Any) -> subprocess.Popen[bytes]:
    env = {**os.environ, "MARK": str(folder)}
    (folder / "spec.json").write_text(json.dumps({"argv": argv, "env": env, "cwd": "/", "grace": 1, **spec}))
    return subprocess.Popen([sys.executable, "-I", "-S", PROGRAM, str(folder)], stdout=subprocess.PIPE)


def said(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout
    return process.stdout.read(1)


def outcome(process: subprocess.Popen[bytes], folder: Path) -> dict[str, Any]:
    process.communicate()
    return dict(json.loads((folder / "exit.json").read_text()))


def left(folder: Path) -> list[int]:
    mark = f"MARK={folder}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_output_and_exit_status(tmp_path: Path) -> None:
    process = begin(tmp_path, "sh", "-c", "echo out; echo err >&2; exit 3")
    end = outcome(process, tmp_path)
    assert (end["exitCode"], end["signal"], end["reason"]) == (3, 0, "Error")
    texts = [line.split(" ", 3)[1:] for line in (tmp_path / "log").read_text().splitlines()]
    assert texts == [["stdout", "F", "out"], ["stderr", "F", "err"]]


def test_what_the_leader_leaves_is_ended_with_it(tmp_path: Path) -> None:
    process = begin(tmp_path, "sh", "-c", "setsid sleep 300 & (setsid sh -c 'sleep 300' &) ; exit 0")
    assert outcome(process, tmp_path)["reason"] == "Completed"
    assert left(tmp_path) == []


def test_stop_reaches_every_session_and_then_kills(tmp_path: Path) -> None:
    stubborn = (
        "import signal, time; signal.signal(15, lambda *_: None); print('on', flush=True)\nwhile 1: time.sleep(9)"
    )
    process = begin(tmp_path, sys.executable, "-c", stubborn)
    assert said(process) == b"r"
    while not (tmp_path / "log").read_text():
        time.sleep(0.01)
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    end = outcome(process, tmp_path)
    assert (end["exitCode"], end["signal"]) == (137, 9)
    assert time.monotonic() - begun > 0.9


def test_a_polite_tree_gets_its_grace_and_a_second_stop_shortens_it(tmp_path: Path) -> None:
    process = begin(tmp_path, "sh", "-c", "trap '' TERM; setsid sleep 300", grace=60)
    assert said(process) == b"r"
    process.send_signal(signal.SIGTERM)
    (tmp_path / "stop").write_text('{"grace": 0}')
    process.send_signal(signal.SIGTERM)
    assert outcome(process, tmp_path)["exitCode"] in (137, 143)
    assert left(tmp_path) == []


def test_the_leader_dies_with_a_killed_supervisor(tmp_path: Path) -> None:
    process = begin(tmp_path, "sleep", "300")
    assert said(process) == b"r"
    pid = json.loads((tmp_path / "run.json").read_text())["pid"]
    process.kill()
    process.communicate()
    deadline = time.monotonic() + 60
    while supervisor.start_time(pid) and pid in left(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not (tmp_path / "exit.json").exists()


def test_a_second_supervisor_starts_nothing(tmp_path: Path) -> None:
    first = begin(tmp_path, "sh", "-c", "echo once >> runs; sleep 0.5", cwd=str(tmp_path))
    assert said(first) == b"r"
    second = subprocess.run([sys.executable, "-I", "-S", PROGRAM, str(tmp_path)], check=False)
    assert second.returncode == 1
    outcome(first, tmp_path)
    third = subprocess.run([sys.executable, "-I", "-S", PROGRAM, str(tmp_path)], check=False)
    assert third.returncode == 1
    assert (tmp_path / "runs").read_text() == "once\n"


@pytest.mark.parametrize(
    ("argv", "cwd", "message"),
    [
        (["no-such-program"], "/", 'exec: "no-such-program": executable file not found in $PATH'),
        (["/no/such"], "/", 'exec: "/no/such": no such file or directory'),
        (["/etc/passwd"], "/", 'exec: "/etc/passwd": permission denied'),
        (["true"], "/no/folder", "working directory '/no/folder': no such file or directory"),
    ],
)
def test_what_cannot_be_started(tmp_path: Path, argv: list[str], cwd: str, message: str) -> None:
    end = outcome(begin(tmp_path, *argv, cwd=cwd), tmp_path)
    assert (end["exitCode"], end["reason"], end["message"]) == (128, "StartError", message)


def test_a_signal_is_told_as_a_shell_would(tmp_path: Path) -> None:
    end = outcome(begin(tmp_path, "sh", "-c", "kill -SEGV $$"), tmp_path)
    assert (end["exitCode"], end["signal"]) == (139, 11)


def test_signals_are_default_in_the_container(tmp_path: Path) -> None:
    end = outcome(begin(tmp_path, "sh", "-c", "yes | head -n 1; kill -INT $$"), tmp_path)
    assert end["signal"] == signal.SIGINT


def test_memory_over_the_limit(tmp_path: Path) -> None:
    code = "x = bytearray(200_000_000); import time; time.sleep(60)"
    end = outcome(begin(tmp_path, sys.executable, "-c", code, limits={"memory": 100_000_000}), tmp_path)
    assert (end["exitCode"], end["reason"]) == (137, "OOMKilled")


def test_it_is_small(tmp_path: Path) -> None:
    process = begin(tmp_path, "sleep", "300")
    assert said(process) == b"r"
    own = proportional(process.pid)
    process.send_signal(signal.SIGTERM)
    outcome(process, tmp_path)
    assert own < 14 << 20


def proportional(pid: int) -> int:
    return supervisor.proportional_memory([pid])
