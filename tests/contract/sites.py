"""One contract, two clusters: a test that takes ``site`` is about what any client may expect, and runs on both.

``embedded`` is the whole embedded cluster, ``real`` a real Kubernetes with the real training operator, whose nodes KWOK
plays. A test whose file is named after the node (test_node_*, and what starts real programs) is about the embedded
node's own doings and runs there alone; so do those of test_api_*, which look behind the wire. What the two have not in
common is listed in docs/differences.md, and asked of both by test_both_differences.py.
"""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from bed.api import Api, ApiStatusError, Obj, until
from bed.cluster import RealCluster

from jupyterlab_kf.embedded.store import WINDOW_BYTES
from jupyterlab_kf.settings import Settings

MORE = {
    "both versions of MPIJob": "two operators own them, and their definitions exclude each other on a real cluster",
    "a webhook for MXJob": "operator 1.8.1 takes an MXJob of the wrong shape; here it is refused with the field",
}
"""What the embedded cluster has and the real one has not."""


@dataclass(frozen=True)
class Site:
    """A cluster as its clients see it."""

    name: str
    kubeconfig: Path
    api: Api
    forget: Callable[[], None]
    """Makes it forget what was before now, as it does by itself when enough has happened or time has passed."""

    @property
    def real(self) -> bool:
        return self.name == "real"

    def has(self, what: str) -> bool:
        """Whether it has something that the real cluster has not."""
        assert what in MORE
        return not self.real


@dataclass(frozen=True)
class Kubectl:
    """The real kubectl, in a namespace of the test's own."""

    binary: Path
    kubeconfig: Path
    namespace: str
    home: Path

    def __call__(self, *words: str, stdin: str | None = None) -> str:
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    def run(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*words),
            check=False,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            env=self.environment,
        )

    def command(self, *words: str) -> list[str]:
        return [str(self.binary), f"--kubeconfig={self.kubeconfig}", f"--namespace={self.namespace}", *words]

    @property
    def environment(self) -> dict[str, str]:
        return {"HOME": str(self.home), "PATH": os.environ["PATH"]}


@pytest.fixture(scope="session", params=["embedded", "real"])
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Each of the two clusters."""
    if request.param == "embedded":
        settings: Settings = request.getfixturevalue("cluster")
        api = Api(settings.embedded_kubeconfig)
        yield Site(request.param, settings.embedded_kubeconfig, api, lambda: fill_the_window(api))
    else:
        cluster: RealCluster = request.getfixturevalue("real_cluster")
        api = Api(cluster.kubeconfig)
        yield Site(request.param, cluster.kubeconfig, api, cluster.compact)
    api.close()


@pytest.fixture(scope="module", params=["embedded", "real"], name="site")
def running_site(request: pytest.FixtureRequest) -> Iterator[Site]:
    """Each of the two clusters, the real one with a node that runs what it is given."""
    made: Settings | RealCluster = request.getfixturevalue("cluster" if request.param == "embedded" else "node_cluster")
    kubeconfig = made.embedded_kubeconfig if isinstance(made, Settings) else made.kubeconfig
    api = Api(kubeconfig)
    yield Site(request.param, kubeconfig, api, lambda: None)
    api.close()


def fill_the_window(api: Api) -> None:
    """Write more than the embedded cluster keeps for those who resume."""
    name = make_namespace(api)
    size = 1_000_000
    for number in range(WINDOW_BYTES // size + 1):
        data = {"filling": chr(ord("a") + number % 26) * size}
        api.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big", "namespace": name}, "data": data}
        )
    api.delete("v1", "Namespace", name, "")


@pytest.fixture
def place(site: Site) -> Iterator[str]:
    """A namespace of the test's own, ready for pods; deleted afterwards."""
    name = make_namespace(site.api)
    yield name
    site.api.delete("v1", "Namespace", name, "")


@pytest.fixture
def ctl(site: Site, place: str, kubectl_path: Path, tmp_path: Path) -> Kubectl:
    """The real kubectl on the site."""
    return Kubectl(kubectl_path, site.kubeconfig, place, tmp_path)


def make_namespace(api: Api, **labels: str) -> str:
    """A new namespace in which nothing more comes by itself: what each has is there."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    for kind, first in (("ServiceAccount", "default"), ("ConfigMap", "kube-root-ca.crt")):
        until(lambda kind=kind, first=first: there(api, "v1", kind, first, name), seconds=60, what=f"its {kind}")
    return name


def there(api: Api, version: str, kind: str, name: str, namespace: str | None = None) -> Obj | None:
    """An object, or None."""
    try:
        return api.get(version, kind, name, namespace)
    except ApiStatusError as error:
        if error.code != 404:
            raise
        return None
