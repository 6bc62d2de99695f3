"""The first command of the README does what it says.

On the embedded cluster alone: the command starts that cluster.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_make_lab_opens_the_quick_start(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folders = {f"JUPYTER_{name}_DIR": str(tmp_path / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    environment = os.environ | folders | {"JUPYTER_TOKEN": "open", "BROWSER": "echo %s", "MAKEFLAGS": ""}
    with (tmp_path / "log").open("w+b") as log:
        lab = subprocess.Popen(
            ["make", "lab", f"PORT={port}"], cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            contents = _answer(f"http://127.0.0.1:{port}/api/contents/quickstart.ipynb?content=0&token=open", lab)
            assert json.loads(contents)["type"] == "notebook"
            assert "/lab/tree/quickstart.ipynb" in _opened(tmp_path / "RUNTIME")
        finally:
            os.killpg(lab.pid, signal.SIGTERM)
            lab.wait(timeout=90)


def _answer(url: str, server: subprocess.Popen[bytes]) -> bytes:
    """The page, as soon as the server is there."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, "it ended at its start"
        try:
            with urllib.request.urlopen(url, timeout=1) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError:
            raise
        except OSError:
            time.sleep(0.1)
    raise AssertionError("it did not answer")


def _opened(runtime: Path) -> str:
    """The page that the browser is sent to, which leads on to the notebook."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for page in runtime.glob("jpserver-file-to-run-*-open.html"):
            if text := page.read_text():
                return text
        time.sleep(0.05)
    raise AssertionError("no browser was opened")
