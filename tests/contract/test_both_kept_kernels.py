"""Kernels in pods and the restarts of their notebook server: a real Jupyter Server, on both clusters."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket
from bed.api import until
from kernel_bed import PATIENCE, here, only_pod, things
from sites import Site, running_site

__all__ = ["here", "running_site"]


class Server:
    """A Jupyter Server over a folder, which can end in every way and begin again."""

    def __init__(self, home: Path) -> None:
        self.home = home
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        (home / "work").mkdir()

    @property
    def log(self) -> str:
        return (self.home / "server.log").read_text()

    def start(self, *settings: str) -> None:
        """Start it, and come back with its first answer."""
        folders = {f"JUPYTER_{name.upper()}_DIR": str(self.home / name) for name in ("data", "runtime", "config")}
        command = [
            sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", f"--ServerApp.port={self.port}",
            "--ServerApp.port_retries=0", f"--ServerApp.root_dir={self.home / 'work'}", "--IdentityProvider.token=t",
            *settings,
        ]  # fmt: skip
        with (self.home / "server.log").open("ab") as output:
            self.process = subprocess.Popen(command, env=os.environ | folders, stdout=output, stderr=output)
        until(self.answers, seconds=PATIENCE, what="an answer of the server")

    def answers(self) -> bool:
        try:
            return self.ask("GET", "sessions") is not None
        except requests.ConnectionError:
            assert self.process is not None
            assert self.process.poll() is None, self.log
            return False

    def end(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(PATIENCE)
        self.process = None

    def ask(self, method: str, path: str, said: Any = None) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/{path}"
        answer = requests.request(method, url, json=said, headers={"Authorization": "token t"}, timeout=PATIENCE)
        assert answer.ok, f"{answer.text}\n{self.log}"
        return answer.json() if answer.text else None

    def notebook(self, name: str, kernel: str = "kf-small") -> dict[str, Any]:
        """A session as JupyterLab makes one for a notebook."""
        wish = {"path": name, "name": name, "type": "notebook", "kernel": {"name": kernel}}
        found: dict[str, Any] = self.ask("POST", "sessions", wish)
        return found

    def channel(self, kernel: str, patience: float) -> websocket.WebSocket:
        address = f"ws://127.0.0.1:{self.port}/api/kernels/{kernel}/channels"
        return websocket.create_connection(address, header={"Authorization": "token t"}, timeout=patience)

    def says(self, kernel: str, code: str) -> str:
        """What code prints; nothing where the kernel that it was sent to has ended meanwhile."""
        try:
            return self.run(kernel, code, patience=10)
        except (websocket.WebSocketException, OSError):
            return ""

    def run(self, kernel: str, code: str, *, until_it_says: str = "", patience: float = PATIENCE) -> str:
        """Run code; what it printed, up to its end or some words."""
        header = {"msg_id": os.urandom(8).hex(), "msg_type": "execute_request", "session": "s", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"}
        said = ""
        with contextlib.closing(self.channel(kernel, patience)) as channel:
            channel.send(json.dumps(message))
            while True:
                told = json.loads(channel.recv())
                if told["parent_header"].get("msg_id") != header["msg_id"]:
                    continue
                said += told["content"].get("text", "") if told["msg_type"] == "stream" else ""
                idle = told["msg_type"] == "status" and told["content"]["execution_state"] == "idle"
                if idle or (until_it_says and until_it_says in said):
                    return said.strip()


@pytest.fixture
def server(here: str, tmp_path: Path) -> Iterator[Server]:
    assert here
    made = Server(tmp_path)
    yield made
    if made.process is not None:
        made.process.kill()
        made.process.wait()


def alive(site: Site, here: str) -> list[str]:
    pods = [one["metadata"] for one in things(site.api, here, "Pod")]
    return [one["uid"] for one in pods if not one.get("deletionTimestamp")]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_finds_its_kernels_again_with_their_variables(
    site: Site, here: str, server: Server, number: int
) -> None:
    server.start()
    before = server.notebook("a.ipynb")
    kernel = before["kernel"]["id"]
    assert server.run(kernel, "kept = 42; print(kept)") == "42"
    server.ask("PATCH", f"sessions/{before['id']}", {"path": "b.ipynb", "name": "b.ipynb"})
    pod = only_pod(site.api, here)["metadata"]["uid"]
    server.end(number)
    server.start()
    (after,) = server.ask("GET", "sessions")
    assert (after["id"], after["path"], after["kernel"]["id"]) == (before["id"], "b.ipynb", kernel)
    assert after["kernel"]["execution_state"] == "idle"
    assert server.run(kernel, "print(kept)") == "42"
    assert only_pod(site.api, here)["metadata"]["uid"] == pod

    # And it is like any other: interrupted, restarted in its pod, and gone with its notebook.
    assert server.run(kernel, "print('x', flush=True)\nimport time\ntime.sleep(600)", until_it_says="x") == "x"
    server.ask("POST", f"kernels/{kernel}/interrupt")
    # What comes while the interrupted cell still ends is refused with it.
    until(lambda: server.says(kernel, "print(kept)") == "42", seconds=PATIENCE, what="a kernel that goes on")
    server.ask("POST", f"kernels/{kernel}/restart")
    assert server.run(kernel, "print('kept' in globals())") == "False"
    assert only_pod(site.api, here)["metadata"]["uid"] == pod
    server.ask("DELETE", f"sessions/{after['id']}")
    until(lambda: not things(site.api, here), seconds=PATIENCE, what="nothing of the kernel")
    server.end(number)
    server.start()
    assert server.ask("GET", "sessions") == []


# What happens to lost pods is asked of both clusters by test_both_kernels.py.
@pytest.mark.parametrize("site", ["embedded"], indirect=True)
def test_a_kernel_whose_pod_was_lost_is_found_again_in_another_one(site: Site, here: str, server: Server) -> None:
    server.start()
    before = server.notebook("a.ipynb")
    kernel, pod = before["kernel"]["id"], only_pod(site.api, here)["metadata"]
    server.end(signal.SIGKILL)
    server.start()
    site.api.delete("v1", "Pod", pod["name"], here)
    until(lambda: alive(site, here) not in ([], [pod["uid"]]), seconds=PATIENCE, what="another pod")
    until(lambda: server.says(kernel, "kept = 43; print(kept)") == "43", seconds=PATIENCE, what="a kernel in it")
    server.end(signal.SIGKILL)
    server.start()
    assert [one["id"] for one in server.ask("GET", "sessions")] == [before["id"]]
    assert server.run(kernel, "print(kept)") == "43"


def test_a_kernel_that_ended_meanwhile_is_not_found(site: Site, here: str, server: Server) -> None:
    server.start()
    server.notebook("a.ipynb")
    server.end(signal.SIGKILL)
    site.api.delete("batch/v1", "Job", things(site.api, here, "Job")[0]["metadata"]["name"], here)
    until(lambda: not things(site.api, here), seconds=PATIENCE, what="nothing of the kernel")
    server.start()
    assert server.ask("GET", "sessions") == []
    assert server.ask("GET", "kernels") == []
    # Nor is it started anew: a notebook that is opened again gets a new one.
    assert server.notebook("a.ipynb")["kernel"]["name"] == "kf-small"


def test_a_kernel_without_its_server_ends_when_it_has_nothing_to_do(site: Site, here: str, server: Server) -> None:
    server.start("--PodProvisioner.alone_for=2")
    kernel = server.notebook("a.ipynb")["kernel"]["id"]
    code = "import os, time\nprint('begun', flush=True)\ntime.sleep(10)\nos.write(2, b'computed\\n')"
    assert server.run(kernel, code, until_it_says="begun") == "begun"
    server.end(signal.SIGKILL)
    ended = time.monotonic()

    def over() -> bool:
        return any(pod["status"].get("phase") == "Succeeded" for pod in things(site.api, here, "Pod"))

    until(over, seconds=PATIENCE, what="the kernel's end")
    assert time.monotonic() - ended > 2
    name = only_pod(site.api, here)["metadata"]["name"]
    lines = [line.decode() for line in site.api.lines(f"/api/v1/namespaces/{here}/pods/{name}/log")]
    said = [line.strip() for line in lines if "computed" in line or "nobody asked" in line]
    assert [line.split(" for ")[0] for line in said] == ["computed", "kernel.py: nobody asked"]


def test_kernels_end_with_their_server_where_that_is_wanted(site: Site, here: str, server: Server) -> None:
    server.start("--PodProvisioner.keep=False")
    server.notebook("a.ipynb")
    # A start that failed does not keep the server from ending.
    with pytest.raises(AssertionError, match=r"asks for 4,?000 CPUs.*choose another hardware profile"):
        server.notebook("b.ipynb", "kf-huge")
    server.end(signal.SIGTERM)
    until(lambda: not things(site.api, here), seconds=PATIENCE, what="nothing of the kernel")
