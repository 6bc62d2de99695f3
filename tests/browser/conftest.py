"""A real JupyterLab in a real browser, on loopback."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import provision
import pytest
from labs import Lab
from needs import tool
from playwright.sync_api import Browser, sync_playwright

from jupyterlab_kf.settings import Settings

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NOTEBOOKS = Path(__file__).parents[2] / "docs" / "notebooks"


@pytest.fixture(scope="session")
def lab(cluster: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab over a copy of the notebooks, with settings of its own."""
    root = tmp_path_factory.mktemp("lab") / "notebooks"
    shutil.copytree(NOTEBOOKS, root)
    home = tmp_path_factory.mktemp("jupyter-home")
    news = home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True)
    news.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    environment = os.environ | {
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", f"--ServerApp.root_dir={root}",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",
    ]  # fmt: skip
    with (home / "lab.log").open("wb") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        _await_answer(f"http://127.0.0.1:{port}/api/status?token={token}", server)
        yield Lab(f"http://127.0.0.1:{port}", token, root)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=30)
    assert cluster


def _await_answer(url: str, server: subprocess.Popen[bytes]) -> None:
    """Until it answers; the socket's own time-out paces the loop."""
    for _ in range(600):
        assert server.poll() is None, "JupyterLab ended at its start"
        try:
            urllib.request.urlopen(url, timeout=1).close()
        except urllib.error.HTTPError:
            raise
        except OSError:
            signal.sigtimedwait([], 0.1)
        else:
            return
    pytest.fail("JupyterLab did not answer")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium."""
    path = tool(provision.chromium)
    with sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=str(path), args=FLAGS)
        yield running
        running.close()
