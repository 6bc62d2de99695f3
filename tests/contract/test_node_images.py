"""Environments are made once, whoever asks and whoever is killed: with real installers that need no network.

On the embedded cluster alone: a real node pulls images.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from node_cluster import Cluster, running

from jupyterlab_kf.embedded.kubelet import Kubelet

WAITS = "Pulling: Waiting for another process that makes 'tiny'"


def wheel(folder: Path, *, seconds: float = 0.0) -> Path:
    """A package ``tiny``; a slow one is a source tree whose build sleeps."""
    folder.mkdir(exist_ok=True)
    if seconds:
        tree = folder / "tiny-src"
        (tree / "tiny").mkdir(parents=True)
        (tree / "tiny" / "__init__.py").touch()
        backend = "import os, time, zipfile\n"
        backend += "def build_wheel(out, config_settings=None, metadata_directory=None):\n"
        backend += f"    {str(folder / 'runs')!r} and open({str(folder / 'runs')!r}, 'a').write('x')\n"
        backend += f"    time.sleep({seconds} if os.path.getsize({str(folder / 'runs')!r}) < 2 else 0)\n"
        backend += "    name = 'tiny-1-py3-none-any.whl'\n"
        backend += f"    data = open({str(folder / 'tiny-1-py3-none-any.whl')!r}, 'rb').read()\n"
        backend += "    open(os.path.join(out, name), 'wb').write(data)\n    return name\n"
        (tree / "backend.py").write_text(backend)
        build = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        (tree / "pyproject.toml").write_text(build + '[project]\nname = "tiny"\nversion = "1"\n')
    made = folder / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("tiny/__init__.py", "")
        archive.writestr("tiny-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1\n")
        archive.writestr("tiny-1.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("tiny-1.dist-info/RECORD", "")
    return made


def table(cluster: Cluster, requirement: Path, *, modules: str = "tiny") -> None:
    recipe = f"{{requirements: ['tiny @ file://{requirement}'], modules: [{modules}]}}"
    cluster.settings.images_file.write_text(f"images: [{{match: tiny, recipe: tiny}}]\nrecipes: {{tiny: {recipe}}}\n")


@pytest.fixture
async def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Cluster]:
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    async with running(tmp_path) as made:
        yield made


async def test_many_pods_share_one_making(cluster: Cluster, tmp_path: Path) -> None:
    wheel(tmp_path / "w", seconds=0.5)
    table(cluster, tmp_path / "w" / "tiny-src")
    for index in range(3):
        cluster.run(f"p{index}", "python", "-c", "import tiny; print(tiny.__file__)", container={"image": "tiny"})
    for index in range(3):
        await cluster.ended(f"p{index}")
        assert "environments/tiny-" in await cluster.log(f"p{index}")
    assert (tmp_path / "w" / "runs").read_text() == "x"


async def test_another_process_makes_it_and_is_waited_for(cluster: Cluster, tmp_path: Path) -> None:
    table(cluster, wheel(tmp_path / "w"))
    cluster.run("first", "true", container={"image": "tiny"})
    await cluster.ended("first")
    [lock] = cluster.settings.environments_dir.glob("tiny-*.lock")
    ready = lock.with_suffix("") / ".jupyterlab-kf-ready"
    content = ready.read_text()
    ready.unlink()  # as while the other makes it
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for name in ("a", "b"):
            cluster.run(name, "true", container={"image": "tiny"})
            await cluster.until(lambda name=name: WAITS in cluster.events(name))
        ready.write_text(content)
    await cluster.ended("a")
    await cluster.ended("b")
    assert not any("Failed" in event for event in cluster.events("a") + cluster.events("b"))


async def test_an_ended_installer_is_begun_again_at_once(cluster: Cluster, tmp_path: Path) -> None:
    wheel(tmp_path / "w", seconds=60)
    table(cluster, tmp_path / "w" / "tiny-src")
    cluster.run("pulls", "true", container={"image": "tiny"})
    await cluster.until((tmp_path / "w" / "runs").exists)
    for process in cluster.kubelet.commons._makers._running:
        os.kill(process.pid, signal.SIGTERM)
    begun = time.monotonic()
    await cluster.ended("pulls")
    assert cluster.phase("pulls") == "Succeeded"
    assert time.monotonic() - begun < 10
    assert not any("ErrImagePull" in event for event in cluster.events("pulls"))


async def test_a_restarted_node_begins_again_at_once(cluster: Cluster, tmp_path: Path) -> None:
    wheel(tmp_path / "w", seconds=60)
    table(cluster, tmp_path / "w" / "tiny-src")
    cluster.run("pulls", "true", container={"image": "tiny"})
    await cluster.until((tmp_path / "w" / "runs").exists)
    begun = time.monotonic()
    await cluster.kubelet.stop()
    assert time.monotonic() - begun < 2
    cluster.kubelet = Kubelet(cluster.registry, cluster.settings, node="here", backoff_base=10)
    await cluster.kubelet.start()
    await cluster.ended("pulls")
    assert cluster.phase("pulls") == "Succeeded"
    assert time.monotonic() - begun < 10


async def test_a_missing_module_is_named_and_tries_back_off(cluster: Cluster, tmp_path: Path) -> None:
    table(cluster, wheel(tmp_path / "w"), modules="tiny, absent, tiny.no.such")
    cluster.run("pulls", "true", container={"image": "tiny"})
    await cluster.until(lambda: "ImagePullBackOff" in str(cluster.state("pulls").get("state")))
    message = cluster.state("pulls")["state"]["waiting"]["message"]
    assert "the check of the modules tiny, absent, tiny.no.such by" in message
    assert "missing modules: absent, tiny.no.such (ModuleNotFoundError: No module named 'tiny.no')" in message
    table(cluster, wheel(tmp_path / "w"))
    await cluster.ended("pulls")
