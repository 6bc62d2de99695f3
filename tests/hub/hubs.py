"""A real hub, started as a person starts it, and a person at it who speaks HTTP."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests


def free_ports() -> int:
    """The first of three free ports in a row."""
    for start in range(18000 + os.getpid() % 1000 * 8, 32000, 3):
        try:
            for port in range(start, start + 3):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return start
    raise AssertionError("no free ports")


class Hub:
    """A hub process over an embedded cluster of its own.

    Args:
        folder: everything it keeps.
        users: who may log in.
        profiles: the text of the file of profiles.
        site: more configuration.
        environ: more of its environment, such as another cluster.
    """

    def __init__(
        self, folder: Path, *, users: str = "ann,bob", profiles: str = "", site: str = "", **environ: str
    ) -> None:
        self.folder = folder
        self.port = free_ports()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = folder / "hub.log"
        self.password = ""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("KF_", "JUPYTER", "KUBE"))}
        self.environ = kept | {
            "KF_DATA_DIR": str(folder / "data"),
            "KF_CACHE_DIR": str(folder / "cache"),
            "KF_HUB_PORT": str(self.port),
            "KF_HUB_USERS": users,
            "KF_CONTEXT": "embedded",
            **environ,
        }
        if profiles:
            (folder / "profiles.yaml").write_text(profiles)
            self.environ["KF_PROFILES"] = str(folder / "profiles.yaml")
        self.command = [sys.executable, "-m", "jupyterlab_kf.cli", "hub"]
        if site:
            # What a site's administrator writes below the call.
            file = folder / "site_config.py"
            file.write_text(f"from jupyterlab_kf_hub import configure\nconfigure(c)\n{site}")
            self.command = [sys.executable, "-m", "jupyterhub", "-f", str(file)]
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            before = log.tell()
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environ,
                stdout=log,
                stderr=log,
            )
        wait(self._up, "the hub answers", 180, self)
        found = re.search(r"with the password (\S+)", self.log.read_text()[before:])
        assert found, self.log.read_text()
        self.password = found[1]

    def _up(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        try:
            return requests.get(f"{self.url}/hub/api/", timeout=5).status_code == 200
        except requests.ConnectionError:
            return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(120)

    def kubectl(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """One request to the cluster with the owner's own rights."""
        import yaml

        config = yaml.safe_load((self.folder / "data" / "cluster" / "kubeconfig").read_text())
        token = config["users"][0]["user"]["token"]
        server = config["clusters"][0]["cluster"]["server"]
        answer = requests.request(
            method, server + path, json=body, headers={"Authorization": f"Bearer {token}"}, verify=False, timeout=30
        )
        return answer.json()

    def occupy(self, leave: float) -> None:
        """A pod that has all of the machine's cores but so many, until :meth:`vacate`."""
        (node,) = self.kubectl("GET", "/api/v1/nodes")["items"]
        cpu = f"{round((float(node['status']['allocatable']['cpu']) - leave) * 1000)}m"
        container = {
            "name": "c",
            "image": "jupyterlab-kf/lab",
            "command": ["sleep", "600"],
            "resources": {"requests": {"cpu": cpu}},
        }
        body = {"metadata": {"name": "busy", "namespace": "default"}, "spec": {"containers": [container]}}
        self.kubectl("POST", "/api/v1/namespaces/default/pods", body)
        wait(lambda: bool(self.pods("default")["busy"]["spec"].get("nodeName")), "the machine is busy", 60, self)

    def vacate(self) -> None:
        """The machine is free again."""
        self.kubectl("DELETE", "/api/v1/namespaces/default/pods/busy", {"gracePeriodSeconds": 0})
        wait(lambda: "busy" not in self.pods("default"), "the machine is free", 60, self)

    def pods(self, namespace: str) -> dict[str, Any]:
        found = self.kubectl("GET", f"/api/v1/namespaces/{namespace}/pods")
        return {one["metadata"]["name"]: one for one in found.get("items", ())}


class Person:
    """Somebody who has logged in, as a browser does."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.hub, self.name = hub, name
        self.web = requests.Session()
        page = self.web.get(f"{hub.url}/hub/login")
        said = {"username": name, "password": hub.password, "_xsrf": self.web.cookies["_xsrf"]}
        answer = self.web.post(f"{hub.url}/hub/login", data=said, allow_redirects=False)
        assert page.ok, page.text
        assert answer.status_code == 302, answer.text
        self.web.get(f"{hub.url}/hub/home")

    @property
    def xsrf(self) -> str:
        return next(one.value for one in self.web.cookies if one.name == "_xsrf" and one.path == "/hub/") or ""

    def form(self, server: str = "") -> str:
        return self.web.get(f"{self.hub.url}/hub/spawn/{self.name}/{server}".rstrip("/")).text

    def spawn(self, server: str = "", **fields: str) -> requests.Response:
        """Post the form."""
        self.form(server)
        url = f"{self.hub.url}/hub/spawn/{self.name}/{server}".rstrip("/")
        return self.web.post(url, data={**fields, "_xsrf": self.xsrf}, params={"_xsrf": self.xsrf})

    def api(self, method: str, path: str, body: Any = None) -> requests.Response:
        """The hub's REST API, with the person's own session."""
        return self.web.request(
            method, f"{self.hub.url}/hub/api{path}", json=body,
            headers={"X-XSRFToken": self.xsrf, "Referer": f"{self.hub.url}/hub/"},
        )  # fmt: skip

    def server(self, name: str = "") -> Mapping[str, Any] | None:
        found = self.api("GET", f"/users/{self.name}").json()["servers"].get(name)
        return dict(found) if found else None

    def ready(self, name: str = "") -> bool:
        found = self.server(name)
        return bool(found and found["ready"])

    def wait_ready(self, name: str = "") -> None:
        wait(lambda: self.ready(name), f"{self.name}'s server is ready", 180, self.hub)

    def progress(self, name: str = "") -> list[dict[str, Any]]:
        """What the progress page is sent, to its end."""
        return list(self.steps(name))

    def steps(self, name: str = "") -> Iterator[dict[str, Any]]:
        """What the progress page is sent, as it comes."""
        path = f"{self.hub.url}/hub/api/users/{self.name}/server{f's/{name}' if name else ''}/progress"
        with self.web.get(path, params={"_xsrf": self.xsrf}, stream=True, timeout=120) as answer:
            assert answer.status_code == 200, answer.text
            for line in answer.iter_lines(chunk_size=1):
                if line.startswith(b"data:"):
                    yield json.loads(line[5:])

    def files(self, name: str = "") -> set[str]:
        """What is in the person's home, as their server shows it to their browser."""
        base = f"{self.hub.url}/user/{self.name}/{f'{name}/' if name else ''}"
        page = self.web.get(f"{base}lab")
        assert page.status_code == 200, page.text
        return {one["name"] for one in self.web.get(f"{base}api/contents").json()["content"]}

    def run(self, kernel: str, code: str, notebook: str = "a.ipynb") -> str:
        """Run code in a notebook of the person's server, as JupyterLab does, whose kernel is started if it has none.

        Answers what it printed.
        """
        import websocket

        base, headers = self._programs()
        wish = {"path": notebook, "name": notebook, "type": "notebook", "kernel": {"name": kernel}}
        answer = requests.post(f"{base}/sessions", json=wish, headers=headers, timeout=120)
        assert answer.status_code == 201, answer.text
        address = f"{base.replace('http', 'ws', 1)}/kernels/{answer.json()['kernel']['id']}/channels"
        channel = websocket.create_connection(address, header=headers, timeout=120)
        header = {"msg_id": "1", "msg_type": "execute_request", "username": "", "session": "s", "version": "5.3"}
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        channel.send(
            json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": "shell"})
        )
        said = ""
        while True:
            message = json.loads(channel.recv())
            if message["parent_header"].get("msg_id") != "1":
                continue
            if message["msg_type"] in ("stream", "error"):
                said += message["content"].get("text") or message["content"].get("ename", "")
            if message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                channel.close()
                return said

    def close(self, notebook: str) -> None:
        """Shut the kernel of a notebook down."""
        base, headers = self._programs()
        for one in requests.get(f"{base}/sessions", headers=headers, timeout=60).json():
            if one["path"] == notebook:
                requests.delete(f"{base}/sessions/{one['id']}", headers=headers, timeout=60).raise_for_status()

    def _programs(self) -> tuple[str, dict[str, str]]:
        """Where the person's server answers programs, and what they send."""
        token = self.api("POST", f"/users/{self.name}/tokens", {"note": "a notebook"}).json()["token"]
        return f"{self.hub.url}/user/{self.name}/api", {"Authorization": f"token {token}"}

    def stop(self, name: str = "") -> None:
        self.api("DELETE", f"/users/{self.name}/server{f's/{name}' if name else ''}")
        wait(lambda: self.server(name) is None or not self.ready(name), "the server has stopped", 120, self.hub)


def wait(done: Callable[[], bool], what: str, seconds: float, hub: Hub) -> None:
    """Until it is so."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds:.0f} s\n{hub.log.read_text()[-6000:]}")
        time.sleep(0.2)


@contextmanager
def running(folder: Path, **options: Any) -> Iterator[Hub]:
    """A hub with its cluster; nothing is left of them."""
    hub = Hub(folder, **options)
    try:
        hub.start()
        yield hub
    finally:
        hub.stop()
        subprocess.run(
            [sys.executable, "-m", "jupyterlab_kf.cli", "cluster", "stop"],
            env=hub.environ,
            check=True,
            capture_output=True,
        )
