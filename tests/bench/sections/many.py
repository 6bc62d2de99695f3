"""Many jobs at once."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from measure import Row

import jupyterlab_kf as kf
from sections.launch import PLAIN


def many() -> Iterator[Row]:
    """A hundred jobs of one process each, submitted at once and all accounted for; the peer runs them by hand."""
    program = "print('done')"

    def ours() -> float:
        start = time.perf_counter()
        jobs = [
            kf.train(program, "pytorch", workers=1, name=f"many-{number}", image=PLAIN, cpu="10m")
            for number in range(100)
        ]
        submitted = time.perf_counter() - start
        print(f"    submitted in {submitted:.2f} s", flush=True)
        for job in jobs:
            job.wait(timeout=300)
        return time.perf_counter() - start

    def peer() -> float:
        start = time.perf_counter()
        for process in [
            subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.DEVNULL) for _ in range(100)
        ]:
            assert process.wait() == 0
        return time.perf_counter() - start

    taken = [ours()]
    for job in kf.jobs():
        job.delete()
    yield Row("100 jobs of one process, submit to all succeeded", taken, [peer()], "100 processes by hand", "")
