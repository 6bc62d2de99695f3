"""That the second part of the quick start runs on real pods as it stands, with our controllers for Katib and Seldon."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from bed.cluster import RealCluster
from beside import Controllers
from rights import give
from test_quickstart import demo


def test_the_second_part_tunes_serves_canaries_and_rolls_back_with_real_pods(
    node_cluster: RealCluster, namespace: Callable[[RealCluster], str], tmp_path: Path
) -> None:
    if not os.environ.get("KF_CRDS"):
        pytest.skip("KF_CRDS names no folder with Katib's and Seldon's definitions")
    space, api = namespace(node_cluster), node_cluster.api
    give(api, space, "katib", "controllers")
    give(api, space, "seldon", "serving-controllers")
    give(api, space, "grace", "viewer", "trainer", "studies", "serving")
    with (
        Controllers(node_cluster, "katib", "katib", space, tmp_path) as studies,
        Controllers(node_cluster, "serving", "seldon", space, tmp_path) as served,
    ):
        done = demo("lifecycle", node_cluster.kubeconfig_for("grace", namespace=space), tmp_path)
        said = done.stdout[-6000:] + done.stderr[-2000:]
        assert done.returncode == 0, said + studies.told() + served.told()
    print(done.stdout)
