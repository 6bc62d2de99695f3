"""That the notebooks of the quick start run on real pods as they stand, with a user's rights: ``make demo``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bed.cluster import RealCluster
from rights import give

ROOT = Path(__file__).parents[2]


def demo(name: str, kubeconfig: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """A notebook of the documentation, run as ``make demo`` does."""
    words = [str(ROOT / "tests/tools/demo.py"), str(ROOT / f"docs/notebooks/{name}.ipynb")]
    return subprocess.run(
        [sys.executable, *words, "--kubeconfig", str(kubeconfig)],
        env=os.environ | {"KF_DATA_DIR": str(folder), "KF_CONTEXT": "", "IPYTHONDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )


def test_the_quick_start_runs_on_a_real_cluster_as_it_stands(
    node_cluster: RealCluster, namespace: Callable[[RealCluster], str], tmp_path: Path
) -> None:
    space, api = namespace(node_cluster), node_cluster.api
    give(api, space, "grace", "viewer", "trainer", "results")
    done = demo("quickstart", node_cluster.kubeconfig_for("grace", namespace=space), tmp_path)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "2 workers read 9" in done.stdout
    ran = api.list("v1", "Pod", space, labels="training.kubeflow.org/job-name=digits")
    assert {(pod["spec"]["nodeName"], pod["status"]["phase"]) for pod in ran} == {("real-0", "Succeeded")}
