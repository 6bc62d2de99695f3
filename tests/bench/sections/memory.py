"""Of the idle daemon and of each running container."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from measure import Row

import jupyterlab_kf as kf
from jupyterlab_kf.embedded import daemon
from jupyterlab_kf.settings import load
from sections.launch import PLAIN


def memory() -> Iterator[Row]:
    """Proportional set sizes; the peer is a bare interpreter that sleeps."""
    info = daemon.status(load())
    assert info is not None
    bare = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    job = kf.train("import time\ntime.sleep(60)", "pytorch", workers=4, name="memory", image=PLAIN, cpu="100m")
    for view in job.watch():
        if view.status.phase.value == "Running" and all(replica.phase == "Running" for replica in view.replicas):
            break
    time.sleep(1)
    peer = [_pss(bare.pid)]
    yield Row("the daemon, with one job of 4 replicas", [_pss(info.pid)], peer, "a bare interpreter", "", "MiB")
    runs = [json.loads(path.read_text()) for path in load().cluster_dir.glob("pods/*/containers/*/*/run.json")]
    supervisors = [_pss(run["supervisor"]["pid"]) for run in runs]
    yield Row("the supervisor of each container", supervisors, peer, "a bare interpreter", "", "MiB")
    job.delete()
    bare.send_signal(signal.SIGTERM)
    bare.wait()


def _pss(pid: int) -> float:
    """Proportional set size in MiB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024
