"""The benchmarks: each figure beside a peer's from the same run. ``make bench``, or name the sections wanted.

launch    from submit to the first user line on every worker, against the same processes started by hand
torch     the same with PyTorch, against bare torchrun
many      a hundred single-process jobs submitted at once
extension the cost of %load_ext, against ``import kubernetes``
api       reads and writes a second and watch latency at 100, 1,000 and 10,000 objects
log       a log line's way to the notebook
studies   regret and cost of suggestions, trials a minute, a metric's way to the screen, against hyperopt and Optuna
scale     10,000 pods of 2,000 jobs on 1,000 nodes of a real API server, against other clients (minutes; needs Go once)
routes    what Envoy costs between a client and a pod, and how soon changed weights count
engine    a graph's rate and CPU for each request, against Seldon's executor (KF_SELDON_EXECUTOR) or a bare proxy
hub       from login to a JupyterLab that answers, and 200 starts of 50 at once, against processes of the hub's own
panels    from a change in the cluster to the row on the screen, against asking each second; what a Lab's start costs
memory    of the idle daemon and of each running container
deploy    from a fitted model to its first prediction, against servers started by hand (KF_MLSERVER, KF_LITSERVE)
unit      a request to a served model, against the model itself, a handler by hand and MLServer
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
sys.path.insert(0, str(Path(__file__).parent))

from measure import Row
from sections import (
    api,
    deploy,
    engine,
    extension,
    hub,
    launch,
    log_line,
    many,
    memory,
    panels,
    routes,
    scale,
    studies,
    torch,
    unit,
)

from jupyterlab_kf.embedded import daemon
from jupyterlab_kf.settings import load

SECTIONS: dict[str, Callable[[], Iterator[Row]]] = {
    "extension": extension.extension,
    "launch": launch.launch,
    "log": log_line.log_line,
    "memory": memory.memory,
    "routes": routes.routes,
    "api": api.api,
    "panels": panels.panels,
    "many": many.many,
    "studies": studies.studies,
    "torch": torch.torch,
    "scale": scale.scale,
    "engine": engine.engine,
    "hub": hub.hub,
    "unit": unit.unit,
    "deploy": deploy.deploy,
}


def main() -> int:
    """Run the named sections, or all; in a cluster of its own that is ended afterwards."""
    wanted = sys.argv[1:] or list(SECTIONS)
    if unknown := [name for name in wanted if name not in SECTIONS]:
        print(f"no such section: {', '.join(unknown)}; there are: {', '.join(SECTIONS)}")
        return 2
    os.environ["KF_CACHE_DIR"] = str(load().cache_dir)
    with tempfile.TemporaryDirectory(prefix="kf-bench-") as folder:
        os.environ["KF_DATA_DIR"] = folder
        daemon.start(load())
        try:
            for name in wanted:
                print(f"--- {name}", flush=True)
                for row in SECTIONS[name]():
                    print(row, flush=True)
        finally:
            daemon.stop(load())
    return 0


if __name__ == "__main__":
    sys.exit(main())
