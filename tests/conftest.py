"""Shared by every suite: nothing touches the user's own cluster or folders, and what is skipped is named.

With ``KF_REQUIRE_REAL=1`` a skipped test has failed: what it needs was to be there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent / "hub"))
sys.path.insert(0, str(Path(__file__).parent / "real"))
sys.path.insert(0, str(Path(__file__).parent / "tools"))

import provision
from needs import tool

from jupyterlab_kf.embedded import daemon
from jupyterlab_kf.settings import Settings, load

Kubectl = Callable[..., subprocess.CompletedProcess[str]]
STRICT = os.environ.get("KF_REQUIRE_REAL") == "1"
REPORT = os.environ.get("KF_SUITE_REPORT", "")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, None]:
    """Say which cluster a test ran on, and fail what is skipped where that is not allowed."""
    report = (yield).get_result()
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    report.user_properties.append(("cluster", str(parameters.get("site", ""))))
    if STRICT:
        _refuse(report)


@pytest.hookimpl(hookwrapper=True)
def pytest_make_collect_report() -> Generator[None, Any, None]:
    """The same for a module that skips itself."""
    report = (yield).get_result()
    if STRICT:
        _refuse(report)


def _refuse(report: Any) -> None:
    if report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, where KF_REQUIRE_REAL=1 allows none: {_reason(report)}"


def _reason(report: Any) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """The figures of this run, for tests/tools/suites.py."""
    if not REPORT:
        return
    stats = terminalreporter.stats
    passed = [report for report in stats.get("passed", ()) if getattr(report, "when", "") == "call"]
    clusters = Counter(dict(report.user_properties).get("cluster", "") for report in passed)
    figures = {
        "passed": len(passed),
        "clusters": {name: number for name, number in clusters.items() if name},
        "failed": sorted({report.nodeid for outcome in ("failed", "error") for report in stats.get(outcome, ())}),
        "skipped": Counter(_reason(report) for report in stats.get("skipped", ())),
    }
    Path(REPORT).write_text(json.dumps(figures))


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
        *args: str, check: bool = True, stdin: str | None = None, timeout: float = 120
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
