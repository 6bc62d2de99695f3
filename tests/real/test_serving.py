"""That what is served runs as real pods where there are Seldon's definitions, and neither its operator nor Istio."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from bed.api import until
from bed.cluster import RealCluster
from beside import Controllers
from rights import give
from test_rights import granted, used

Obj = dict[str, Any]
SELDON = "machinelearning.seldon.io/v1", "SeldonDeployment"
USER = ("viewer", "trainer", "serving")
HERE = Path(__file__).parent


def test_a_model_is_served_replaced_canaried_rolled_back_and_ended_as_real_pods(
    node_cluster: RealCluster, namespace: Callable[[RealCluster], str], tmp_path: Path
) -> None:
    if not os.environ.get("KF_CRDS"):
        pytest.skip("KF_CRDS names no folder with Seldon's definition")
    space, api = namespace(node_cluster), node_cluster.api
    give(api, space, "seldon", "serving-controllers")
    give(api, space, "ada", *USER)
    environment = os.environ | {
        "KUBECONFIG": str(node_cluster.kubeconfig_for("ada", namespace=space)),
        "KF_DATA_DIR": str(tmp_path),
        "KF_CONTEXT": "",
        "KF_NAMESPACE": "",
    }
    day = [sys.executable, str(HERE / "serving_run.py")]
    said = tmp_path / "said.log"

    def deployments() -> list[Obj]:
        return api.list("apps/v1", "Deployment", space)

    def roll() -> None:
        """What kubectl would do: something of the pods is another, so that it is replaced."""
        (before,) = deployments()
        spec = api.get(*SELDON, "iris", space)["spec"]
        (only,) = spec["predictors"]
        changed = {**only, "annotations": {**only["annotations"], "changed": "by hand"}}
        api.merge(*SELDON, "iris", {"spec": {"predictors": [changed]}}, space)

        def rolled() -> bool:
            (now,) = deployments()
            status, later = now["status"], now["metadata"]["generation"] > before["metadata"]["generation"]
            seen = status.get("observedGeneration") == now["metadata"]["generation"]
            counts = [status.get(key) for key in ("replicas", "updatedReplicas", "readyReplicas")]
            return later and seen and counts == [1, 1, 1]

        until(rolled, seconds=120, what="a new pod, and no old one")

    with Controllers(node_cluster, "serving", "seldon", space, tmp_path) as controllers, said.open("wb") as err:
        pipes = {"stdin": PIPE, "stdout": PIPE, "stderr": err}
        with subprocess.Popen(day, env=environment, text=True, cwd=tmp_path, **pipes) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line)
                if line == "roll\n":
                    ran = {pod["spec"]["nodeName"] for pod in api.list("v1", "Pod", space)}
                    roll()
                    process.stdin.write(line)
                    process.stdin.flush()
            process.wait(timeout=30)
        assert lines[-1:] == ["the day is done\n"], said.read_text()[-6000:] + controllers.told()
        assert ran == {"real-0"}
        until(lambda: not deployments() and not api.list("v1", "Service", space), seconds=60, what="the end of it")
    print(said.read_text())
    assert used(node_cluster, "ada", space) - granted(*USER) == set(), "used, but not by these roles"
    uses = used(node_cluster, "seldon", space)
    assert uses - granted("serving-controllers") == set(), "used, but not by this role"
