"""Any process may be killed at any instant: no object is lost, nothing runs twice, no orphan stays, codes are true.

On the embedded cluster alone: the processes that are killed are its own.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import jupyterlab_kf as kf
from jupyterlab_kf.embedded import daemon
from jupyterlab_kf.errors import JobFailedError
from jupyterlab_kf.model import Phase
from jupyterlab_kf.settings import Settings

PROGRAM = Path(__file__).parent / "programs" / "hold.py"
FRAMEWORKS = ("plain", "mpi", "pytorch", "tensorflow", "mxnet", "chainer")
PLAIN = "plain-python"

pytestmark = pytest.mark.framework


def start(framework: str, name: str, *, hold: float) -> kf.Job:
    """A job of two processes that say they have started and then stay for ``hold`` seconds."""
    return kf.train(
        PROGRAM,
        "pytorch" if framework == "plain" else framework,
        workers=2,
        name=name,
        image=PLAIN if framework == "plain" else None,
        params={"framework": framework, "hold": hold},
        retries=0,
        restart="Never",
        cpu="100m",
    )


def started(job: kf.Job) -> list[int]:
    """The processes that said they have started."""
    return [int(line.text.split()[1]) for line in job.logs() if line.text.startswith("started ")]


def await_started(job: kf.Job, count: int = 2) -> list[int]:
    """Wait until all of them have; the first run of a framework makes its environment."""
    for view in job.watch():
        assert not view.status.phase.finished, view.explanation
        if view.status.phase is Phase.RUNNING and len(pids := started(job)) >= count:
            return pids
    pytest.fail("the job ended before its processes started")


def attempts(settings: Settings) -> list[dict[str, object]]:
    """What every supervisor that still runs wrote about itself."""
    paths = settings.cluster_dir.glob("pods/*/containers/*/*/run.json")
    return [json.loads(path.read_text()) for path in paths if not path.with_name("exit.json").exists()]


def living(cluster: Settings) -> set[int]:
    """Every process that carries the marker of a pod of this cluster; there may be others on the machine."""
    found, marker = set(), f"KF_ATTEMPT={cluster.cluster_dir}/".encode()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if marker in environment and state not in "ZX":
                found.add(int(entry.name))
    return found


def await_gone(cluster: Settings, pids: set[int], seconds: float = 45) -> None:
    """Wait until none of them lives: a grace period of 30 s, which TensorFlow's handler of SIGTERM uses up."""
    deadline = time.monotonic() + seconds
    while (left := pids & living(cluster)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left, {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left if Path(f"/proc/{pid}").exists()}


@pytest.fixture(autouse=True)
def others(cluster: Settings) -> Iterator[set[int]]:
    """What runs before the test, as the gateway does where there are routes: every test ends with just that, no job."""
    there = living(cluster)
    yield there
    daemon.start(cluster)
    for job in kf.jobs(all_namespaces=True):
        job.delete()
    await_gone(cluster, living(cluster) - there)


def kill(pid: int) -> None:
    """End a process, and come back when it has ended: on a busy machine that is not the same moment."""
    handle = os.pidfd_open(pid)
    try:
        os.kill(pid, signal.SIGKILL)
        assert select.select([handle], [], [], 30)[0], f"{pid} lives"
    finally:
        os.close(handle)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_daemon_is_killed_and_the_next_one_adopts(cluster: Settings, framework: str) -> None:
    job = start(framework, f"daemon-{framework}", hold=4)
    pids = await_started(job)
    info = daemon.status(cluster)
    assert info is not None
    kill(info.pid)
    assert set(pids) <= living(cluster)
    daemon.start(cluster)
    job.wait(timeout=120)
    lines = [line.text for line in job.logs()]
    assert sorted(started(job)) == sorted(pids), "a process ran twice"
    assert sum(line.startswith("finished ") for line in lines) == 2


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_ends_while_no_daemon_runs_has_its_true_exit_status(cluster: Settings, framework: str) -> None:
    job = start(framework, f"absent-{framework}", hold=1)
    pids = await_started(job)
    info = daemon.status(cluster)
    assert info is not None
    kill(info.pid)
    await_gone(cluster, set(pids))
    daemon.start(cluster)
    job.wait(timeout=60)
    assert sorted(started(job)) == sorted(pids), "a process ran twice"


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("victim", ["supervisor", "launcher", "rank"])
def test_a_killed_part_fails_the_job_and_leaves_no_process(
    cluster: Settings, others: set[int], framework: str, victim: str
) -> None:
    job = start(framework, f"{victim}-{framework}", hold=600)
    pids = await_started(job)
    everyone = living(cluster) - others
    runs = [run for run in attempts(cluster) if set(pids) & _tree(int(str(run["pid"])))]
    assert runs
    if victim == "supervisor":
        supervisor = runs[-1]["supervisor"]
        assert isinstance(supervisor, dict)
        kill(supervisor["pid"])
    elif victim == "launcher":
        kill(int(str(runs[-1]["pid"])))
    else:
        kill(pids[-1])
    with pytest.raises(JobFailedError):
        job.wait(timeout=90)
    job.delete()
    await_gone(cluster, everyone)


def _tree(pid: int) -> set[int]:
    """A process and everything below it."""
    found = {pid}
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = task.read_text().split()
        except OSError:
            continue
        for child in children:
            found |= _tree(int(child))
    return found


@pytest.mark.parametrize("framework", ["plain", "mpi"])
def test_the_kernel_is_killed_and_the_job_goes_on(framework: str) -> None:
    image = PLAIN if framework == "plain" else None
    program = (
        "import jupyterlab_kf as kf\n"
        f"job = kf.train({str(PROGRAM)!r}, {'pytorch' if framework == 'plain' else framework!r}, workers=2,"
        f" name='kernel-{framework}', image={image!r}, params={{'framework': {framework!r}, 'hold': 3.0}})\n"
        "print('submitted', flush=True)\njob.wait()\n"
    )
    script = f"import pathlib\n{program}".replace(repr(str(PROGRAM)), f"pathlib.Path({str(PROGRAM)!r})")
    kernel = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert kernel.stdout is not None
    assert kernel.stdout.readline() == "submitted\n"
    kernel.kill()
    kernel.communicate()
    job = kf.job(f"kernel-{framework}")
    job.wait(timeout=120)
    assert len(started(job)) == 2


def test_many_random_instants(cluster: Settings) -> None:
    """The daemon is killed at random moments while jobs come and go; in the end every job has ended as it should."""
    chance = random.Random(20261123)
    jobs = []
    for number in range(12):
        code = f"import os, time\nprint('started', os.getpid(), flush=True)\ntime.sleep({chance.random():.2f})\n"
        code += "raise SystemExit(3)\n" if number % 3 == 0 else ""
        jobs.append(
            kf.train(
                code, "pytorch", workers=1, name=f"random-{number}", image=PLAIN, cpu="10m", retries=0, restart="Never"
            )
        )
        time.sleep(chance.random() * 0.3)
        info = daemon.status(cluster)
        assert info is not None
        kill(info.pid)
        daemon.start(cluster)
    for number, job in enumerate(jobs):
        if number % 3 == 0:
            with pytest.raises(JobFailedError) as caught:
                job.wait(timeout=60)
            assert caught.value.exit_code == 3, number
        else:
            job.wait(timeout=60)
        assert len(started(job)) == 1, f"job {number} ran twice or never"
