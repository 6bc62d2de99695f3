"""Shared by every suite: nothing touches the user's own cluster or folders, and missing tools are named."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "tools"))

import provision
from needs import tool

from jupyterlab_kf.embedded import daemon
from jupyterlab_kf.settings import Settings, load

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True, scope="session")
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A data folder of the session's own; the cache (environments, tools) is shared on purpose: it is made once."""
    before = dict(os.environ)
    os.environ["KF_DATA_DIR"] = str(tmp_path_factory.mktemp("kf"))
    os.environ["KF_CACHE_DIR"] = str(load(before).cache_dir)
    for name in ("KUBECONFIG", "KF_CONTEXT", "KF_NAMESPACE", "KUBERNETES_SERVICE_HOST"):
        os.environ.pop(name, None)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Settings]:
    """A running embedded cluster, as a user has it: the daemon process with everything in it."""
    settings = load()
    daemon.start(settings)
    yield settings
    daemon.stop(settings)


@pytest.fixture(scope="session")
def kubectl_path() -> Path:
    """The real kubectl."""
    return tool(provision.kubectl)


@pytest.fixture(scope="session")
def kubectl(cluster: Settings, kubectl_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """Run the real kubectl against the cluster; fails the test with its words unless ``check=False``."""
    home = tmp_path_factory.mktemp("kubectl-home")

    def run(
        *args: str, check: bool = True, stdin: str | None = None, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(kubectl_path), "--kubeconfig", str(cluster.embedded_kubeconfig), *args],
            check=False,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={"HOME": str(home), "PATH": os.environ["PATH"]},
        )
        if check and done.returncode:
            pytest.fail(f"kubectl {' '.join(args)} ended with {done.returncode}: {done.stderr}")
        return done

    return run


@pytest.fixture(scope="session")
def follow(
    cluster: Settings, kubectl_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., subprocess.Popen[str]]:
    """Start the real kubectl for something that goes on, such as ``logs -f``, and read its lines as they come."""
    home = tmp_path_factory.mktemp("kubectl-home")

    def begin(*args: str) -> subprocess.Popen[str]:
        command = [str(kubectl_path), "--kubeconfig", str(cluster.embedded_kubeconfig), *args]
        environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)

    return begin
