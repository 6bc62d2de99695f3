"""The example notebooks of studies, run from their first cell to their last as a person runs them: by ``demo.py``.

On the embedded cluster alone: the real one of the tests has no Katib.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jupyterlab_kf.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("tune", "Study digits: Succeeded, 12 of 12 trials"),
        ("tune-distributed", "Study digits-together: Succeeded, 6 of 6 trials"),
        ("tune-epochs", "27 epochs spent, instead of 81"),
    ],
)
def test_the_notebook_does_what_it_says(name: str, said: str, cluster: Settings) -> None:
    demo = [sys.executable, str(ROOT / "tests/tools/demo.py"), str(ROOT / f"docs/notebooks/{name}.ipynb")]
    environment = os.environ | {"KF_DATA_DIR": str(cluster.data_dir), "KF_CONTEXT": "embedded"}
    done = subprocess.run(demo, check=False, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-3000:]}"
    assert said in done.stdout, done.stdout
