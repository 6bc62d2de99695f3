"""PyTorch jobs, against the same processes and torchrun."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator

from measure import Row, in_turn

from jupyterlab_kf.settings import load
from sections.launch import submitted

TORCH = """
import time, torch, torch.distributed as dist
dist.init_process_group("gloo")
x = torch.ones(4); dist.all_reduce(x)
print('first', time.time(), flush=True)
dist.destroy_process_group()
"""


def torch() -> Iterator[Row]:
    """PyTorch on two workers to the first line after an all-reduce; by hand, and under bare torchrun."""
    count = iter(range(1000))
    submitted("torch-environment", TORCH, image="jupyterlab-kf/pytorch:1")  # makes the environment, if there is none
    python = _torch_python()
    ports = iter(range(29600, 29700))

    def by_hand() -> float:
        port = str(next(ports))
        return _torch_processes(python, [{"RANK": str(rank), "MASTER_PORT": port} for rank in range(2)])

    def by_torchrun() -> float:
        return _torchrun(python, next(ports))

    ours, peer = in_turn(lambda: submitted(f"torch-{next(count)}", TORCH, image="jupyterlab-kf/pytorch:1"), by_hand, 3)
    yield Row("torch: submit to the first all-reduce on 2 workers", ours, peer, "processes by hand", "<= 1.15")
    run = [by_torchrun() for _ in range(3)]
    yield Row("the same", ours, run, "bare torchrun", "<= 0.5")
    assert statistics.median(run) > 0


def _torch_python() -> str:
    """The Python of the environment that the pytorch image stands for."""
    found = sorted(load().environments_dir.glob("pytorch-*/bin/python"))
    return str(found[-1])


def _torch_processes(python: str, environments: list[dict[str, str]]) -> float:
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    start = time.time()
    processes = [
        subprocess.Popen([python, "-c", TORCH], stdout=subprocess.PIPE, text=True, env=os.environ | common | extra)
        for extra in environments
    ]
    return max(float(process.communicate()[0].split()[1]) for process in processes) - start


def _torchrun(python: str, port: int) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(TORCH)
        script.flush()
        start = time.time()
        command = [python, "-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={port}", script.name]
        done = subprocess.run(
            command,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"},
        )
    return max(float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("first")) - start
