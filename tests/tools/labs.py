"""A JupyterLab of one's own: started over a folder with settings of its own, and what a browser needs to know of it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Page

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60_000
"""Milliseconds that a job, or a browser on a busy machine, may take."""
EXECUTE = "async ([id, args]) => { await window.jupyterapp.commands.execute(id, args); return null; }"


@dataclass(slots=True)
class Lab:
    """A JupyterLab: its address, its token, and the folder it shows. It can be stopped and started again."""

    root: Path
    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    app: str = "jupyterlab"
    port: int = 0
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    _server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and come back when it answers."""
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]
        news = self.home / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
        news.parent.mkdir(parents=True, exist_ok=True)
        news.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
        environment = os.environ | {
            "JUPYTER_CONFIG_DIR": str(self.home / "config"),
            "JUPYTER_DATA_DIR": str(self.home / "data"),
            "JUPYTER_RUNTIME_DIR": str(self.home / "runtime"),
            "JUPYTERLAB_SETTINGS_DIR": str(self.home / "settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(self.home / "workspaces"),
            **self.environment,
        }
        command = [
            sys.executable, "-m", self.app, "--no-browser", "--allow-root", f"--ServerApp.root_dir={self.root}",
            f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={self.token}",
            "--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True",
        ]  # fmt: skip
        with (self.home / "lab.log").open("ab") as output:
            self._server = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        self._answered()

    def stop(self) -> None:
        """Stop it; its port and its token stay its own."""
        if self._server is not None:
            self._server.send_signal(signal.SIGTERM)
            self._server.wait(timeout=30)
            self._server = None

    def _answered(self) -> None:
        """Until it answers; the socket's own time-out paces the loop."""
        for _ in range(600):
            if self._server is None or self._server.poll() is not None:
                raise RuntimeError(f"JupyterLab ended at its start: see {self.home / 'lab.log'}")
            try:
                urllib.request.urlopen(f"{self.url}/api/status?token={self.token}", timeout=1).close()
            except urllib.error.HTTPError:
                raise
            except OSError:
                signal.sigtimedwait([], 0.1)
            else:
                return
        raise TimeoutError("JupyterLab did not answer")


@contextlib.contextmanager
def running(root: Path, home: Path, **more: object) -> Iterator[Lab]:
    """A JupyterLab over a folder, for as long as it is needed."""
    home.mkdir(parents=True, exist_ok=True)
    lab = Lab(root, home, **more)  # type: ignore[arg-type]
    lab.start()
    try:
        yield lab
    finally:
        lab.stop()


def settle(page: Page) -> None:
    """Until Lab has come up."""
    page.wait_for_function("() => window.jupyterapp !== undefined")
    page.evaluate("async () => { await window.jupyterapp.restored; return null; }")
    page.locator("#jupyterlab-splash").wait_for(state="detached")


def execute(page: Page, command: str, **args: object) -> None:
    """Run one of Lab's commands."""
    page.evaluate(EXECUTE, [command, args])


def notebook(lab: Lab, name: str, *cells: str, tags: Sequence[Sequence[str]] = ()) -> None:
    """Put a notebook of code cells into the folder that a JupyterLab shows."""
    code = {"cell_type": "code", "execution_count": None, "outputs": []}
    marks = [*tags, *([()] * len(cells))]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    document = {
        "cells": [
            {**code, "id": f"cell-{n}", "source": source, "metadata": {"tags": [*marks[n]]} if marks[n] else {}}
            for n, source in enumerate(cells)
        ],
        "metadata": {"kernelspec": kernel},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    (lab.root / name).write_text(json.dumps(document))
