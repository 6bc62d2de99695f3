"""What tests of kernels in pods share: both clusters, with nodes that run what they are given, and our kernel specs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from bed.api import Api, Obj
from sites import Site

from jupyterlab_kf import cli
from jupyterlab_kf.manifests.kernels import LABEL_KERNEL
from jupyterlab_kf.services import session

PATIENCE = 90
PROFILES = """
profiles:
  - slug: small
    display_name: Small
    image: {image}
    cpu: {{request: 100m, limit: 1}}
    memory: {{request: 64Mi, limit: 1Gi}}
    environment: {{FLAVOUR: vanilla}}
  - slug: huge
    display_name: Huge
    image: {image}
    cpu: 4000
  - slug: bare
    display_name: Bare
    image: {bare}
    cpu: {{request: 100m, limit: 1}}
  - slug: training
    display_name: Training only
    used_for: [training]
"""


@pytest.fixture
def here(site: Site, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """This process works with the cluster, in a namespace of the test's own, and Jupyter lists our kernel specs."""
    profiles = tmp_path / "profiles.yaml"
    profiles.write_text(PROFILES.format(image="jupyterlab-kf/kernel:1", bare="python:3"))
    monkeypatch.setenv("KUBECONFIG", str(site.kubeconfig))
    monkeypatch.setenv("KF_NAMESPACE", place)
    monkeypatch.setenv("KF_PROFILES", str(profiles))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "share" / "jupyter"))
    monkeypatch.setenv("A_SECRET_OF_THE_SERVER", "hush")
    assert cli.main(["kernels", "install", "--prefix", str(tmp_path)]) == 0
    session.use("")
    yield place
    monkeypatch.undo()
    session.use("")


def things(api: Api, place: str, *kinds: str) -> list[Obj]:
    versions = {"Job": "batch/v1"}
    found = [
        one for kind in kinds or ("Job", "Pod", "Secret") for one in api.list(versions.get(kind, "v1"), kind, place)
    ]
    return [one for one in found if LABEL_KERNEL in (one["metadata"].get("labels") or {})]


def only_pod(api: Api, place: str) -> Obj:
    (pod,) = things(api, place, "Pod")
    return pod
