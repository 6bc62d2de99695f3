"""What loading the extension costs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from measure import Row, in_turn


def extension() -> Iterator[Row]:
    """The cost of loading the extension in a fresh interpreter that has IPython already."""

    def run(code: str) -> float:
        program = (
            "import time, IPython; from IPython.core.interactiveshell import InteractiveShell as S; s = S.instance()\n"
            f"start = time.perf_counter(); {code}\nprint(time.perf_counter() - start)"
        )
        done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        return float(done.stdout.splitlines()[-1]) * 1000

    ours, peer = in_turn(
        lambda: run("s.run_line_magic('load_ext', 'jupyterlab_kf')"), lambda: run("import kubernetes"), 5
    )
    yield Row("%load_ext jupyterlab_kf", ours, peer, "import kubernetes", "<= 60 ms", "ms")
