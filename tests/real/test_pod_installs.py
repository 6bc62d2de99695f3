"""Packages that an image lacks are installed by real pods, which may write nowhere but to their own volume.

The namespace enforces Pod Security ``restricted``, the root file system is read-only, and the index is a folder of
wheels that the hardware profile mounts: nothing on the node reaches the outside.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bed.api import Api, Obj, until
from bed.cluster import RealCluster
from rights import restrict
from wheels import make_wheel

from jupyterlab_kf.manifests import training
from jupyterlab_kf.model import Cause, Phase
from jupyterlab_kf.services import explain, plans

PROFILES = """
profiles:
  - slug: wheels
    cpu: {request: 50m, limit: 1}
    environment: {PIP_NO_INDEX: "1", PIP_FIND_LINKS: /wheels}
    volumes: [{name: wheels, mount_path: /wheels, config_map: wheels, read_only: true}]
"""
CODE = """
import os, kf_needed, kf_tiny
try:
    open("/tmp/x", "w")
except OSError as error:
    print("cannot write:", error.strerror)
print("has", kf_tiny.VERSION, kf_needed.VERSION, "uid", os.getuid(), "under", os.environ["KF_WORK"] in kf_tiny.__file__)
"""


@pytest.fixture
def space(
    node_cluster: RealCluster,
    namespace: Callable[[RealCluster], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """A restricted namespace with a folder of wheels in it, which the profile ``wheels`` names."""
    name, api = namespace(node_cluster), node_cluster.api
    restrict(api, name)
    made = [make_wheel(tmp_path, "kf-tiny", needs=("kf-needed",)), make_wheel(tmp_path, "kf-needed", "2.1")]
    wheels = {path.name: base64.b64encode(path.read_bytes()).decode() for path in made}
    head = {"name": "wheels", "namespace": name}
    api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": head, "binaryData": wheels})
    profiles = tmp_path / "profiles.yaml"
    profiles.write_text(PROFILES)
    monkeypatch.setenv("KF_PROFILES", str(profiles))
    return name


def start(api: Api, space: str, code: str, **request: Any) -> Obj:
    """A job whose containers have a read-only root file system."""
    asked = plans.Request(code=code, framework="tensorflow", image="python:3", profile="wheels", **request)
    planned = plans.make(asked, namespace=space, submission="0" * 12)
    for template in training.templates(planned.job).values():
        template["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = True
    for obj in planned.manifests:
        api.create(obj)
    return planned.job


def ended(api: Api, job: Obj) -> tuple[Obj, list[Obj]]:
    """The job and its pods, once it has ended."""
    head = job["metadata"]

    def over() -> Obj | None:
        now = api.get(job["apiVersion"], job["kind"], head["name"], head["namespace"])
        return now if training.decode(now).phase.finished else None

    return until(over, seconds=120, what=f"end of {head['name']}"), api.list("v1", "Pod", head["namespace"])


def test_real_pods_install_what_their_image_lacks(node_cluster: RealCluster, space: str, tmp_path: Path) -> None:
    api = node_cluster.api
    job = start(api, space, CODE, name="installs", workers=2, install=["kf-tiny"], clean="None", root=tmp_path)
    now, pods = ended(api, job)
    logs = [api.request("GET", f"/api/v1/namespaces/{space}/pods/{pod['metadata']['name']}/log") for pod in pods]
    assert training.decode(now).phase is Phase.SUCCEEDED, logs
    assert len(logs) == 2
    for log in logs:
        lines = log.splitlines()
        assert "kf: installing kf-tiny" in lines
        assert any(line.startswith("kf: installed kf-needed 2.1, kf-tiny 1.0 in") for line in lines), log
        assert lines[-2:] == ["cannot write: Read-only file system", "has 1.0 2.1 uid 1000 under True"]


def test_a_real_pod_that_cannot_have_a_package_is_not_started_again(
    node_cluster: RealCluster, space: str, tmp_path: Path
) -> None:
    api = node_cluster.api
    asked = {"install": ["kf-absent"], "restart": "ExitCode", "retries": 3, "clean": "None"}
    job = start(api, space, "print('never')", name="lacks", workers=1, root=tmp_path, **asked)
    now, pods = ended(api, job)
    found = training.replicas(now, pods)
    assert [(one.exit_code, one.restarts) for one in found] == [(69, 0)]
    why = explain.explain(explain.Case(now, training.decode(now), found, pods))
    assert why is not None
    assert why.cause is Cause.NOT_INSTALLED
    assert why.sentence == "worker-0 could not start: cannot install kf-absent: no package of that name was found"
