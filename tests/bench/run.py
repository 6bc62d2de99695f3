"""The benchmarks: each figure beside a peer's from the same run. ``make bench``, or name the sections wanted.

launch    from submit to the first user line on every worker, against the same processes started by hand
torch     the same with PyTorch, against bare torchrun
many      a hundred single-process jobs submitted at once
extension the cost of %load_ext, against ``import kubernetes``
api       reads and writes a second and watch latency at 100, 1,000 and 10,000 objects
log       a log line's way to the notebook
memory    of the idle daemon and of each running container
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))
sys.path.insert(0, str(Path(__file__).parent))

import sections
from measure import Row

from jupyterlab_kf.embedded import daemon
from jupyterlab_kf.settings import load

SECTIONS: dict[str, Callable[[], Iterator[Row]]] = {
    "extension": sections.extension,
    "launch": sections.launch,
    "log": sections.log_line,
    "memory": sections.memory,
    "api": sections.api,
    "many": sections.many,
    "torch": sections.torch,
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
