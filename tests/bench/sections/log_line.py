"""A log line's way to the notebook."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from measure import Row

import jupyterlab_kf as kf
from sections.launch import PLAIN


def log_line() -> Iterator[Row]:
    """From print in the job to the line in the caller's hands."""
    code = "import time\nfor _ in range(20):\n    print('at', time.time(), flush=True)\n    time.sleep(0.1)\n"
    job = kf.train(code, "pytorch", workers=1, name="log-line", image=PLAIN, cpu="100m")
    delays = [
        (time.time() - float(line.text.split()[1])) * 1000
        for line in job.logs(follow=True)
        if line.text.startswith("at ")
    ]
    job.wait(timeout=30)
    job.delete()
    yield Row("log line to the notebook", delays[5:], _tail_delays(code), "tail -f", "<= 200 ms", "ms")


def _tail_delays(code: str) -> list[float]:
    """The peer: the same program writes a file that ``tail -f`` follows."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "log")
        path.touch()
        with path.open("w") as output:
            writer = subprocess.Popen([sys.executable, "-c", code], stdout=output)
            tail = subprocess.Popen(["tail", "-f", str(path)], stdout=subprocess.PIPE, text=True)
            assert tail.stdout is not None
            delays = []
            for _ in range(20):
                line = tail.stdout.readline()
                delays.append((time.time() - float(line.split()[1])) * 1000)
            writer.wait()
            tail.terminate()
            tail.communicate()
    return delays[5:]
