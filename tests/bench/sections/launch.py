"""From submit to the first user line."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import provision
from measure import Row, in_turn

import jupyterlab_kf as kf

FIRST_LINE = "import time\nprint('first', time.time(), flush=True)\n"
PLAIN = "plain-python"
"""An image name that no table knows: it stands for the interpreter's own environment, without any framework."""


def submitted(name: str, code: str, *, workers: int = 2, image: str = PLAIN, framework: str = "pytorch") -> float:
    """Seconds from submit to the first user line on the last worker."""
    start = time.time()
    job = kf.train(code, framework, workers=workers, name=name, image=image, cpu="100m")
    job.wait(timeout=120)
    firsts = [float(line.text.split()[1]) for line in job.logs() if line.text.startswith("first ")]
    assert len(firsts) == workers, firsts
    job.delete()
    return max(firsts) - start


def _by_hand(code: str, environments: list[dict[str, str]]) -> float:
    """The same processes started directly."""
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:
        script.write(code)
        script.flush()
        start = time.time()
        processes = [
            subprocess.Popen([sys.executable, script.name], stdout=subprocess.PIPE, text=True, env=os.environ | extra)
            for extra in environments
        ]
        firsts = [float(process.communicate()[0].split()[1]) for process in processes]
    return max(firsts) - start


def launch() -> Iterator[Row]:
    """Submit to first user line, two workers, no framework imported."""
    count = iter(range(1000))
    ours, peer = in_turn(
        lambda: submitted(f"launch-{next(count)}", FIRST_LINE), lambda: _by_hand(FIRST_LINE, [{}, {}]), 7
    )
    yield Row("submit to the first user line on 2 workers", ours, peer, "processes by hand", "<= 0.3 s more")
    backend = [_sdk_local() for _ in range(2)]
    yield Row("the same", ours, backend, "Kubeflow SDK 0.5, local (lower bound)", "<= 0.2")
    heavy = "import numpy, urllib.request, asyncio, sqlite3, pydantic, kubernetes.client as k\nk.V1Pod\n" + FIRST_LINE
    ours, peer = in_turn(lambda: submitted(f"heavy-{next(count)}", heavy), lambda: _by_hand(heavy, [{}, {}]), 5)
    yield Row("the same after imports of about a second", ours, peer, "processes by hand", "")


def _sdk_local() -> float:
    """Kubeflow SDK's local backend, in the environment made for it."""
    os.environ["KF_PROVISION"] = "1"
    program = Path(__file__).with_name("sdk_local.py")
    command = [str(provision.local_backend()), str(program)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=90)
    return float(done.stdout.split()[-1])
