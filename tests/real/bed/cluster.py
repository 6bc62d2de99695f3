"""A real cluster as the tests hold it: started, found again, asked, ended."""

from __future__ import annotations

import base64
import contextlib
import functools
import http
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from bed import binaries, credentials, gateways, images, models, node, notebooks, plane, supervise
from bed.api import Api, ApiStatusError, until
from bed.plan import Plan, free_ports
from jupyterlab_kf.settings import load

_HERE = Path(__file__).parent.parent
_START_SECONDS = 150.0
_STOP_SECONDS = 60.0


class StartError(Exception):
    """The cluster did not come up; the message has the reason and the end of the log that tells it."""


class RealCluster:
    """A running cluster."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @classmethod
    def start(
        cls,
        name: str = "default",
        *,
        operator: str = "training",
        with_node: bool = False,
        nodes: int = 3,
        crds: str = "",
        frameworks: tuple[str, ...] = (),
    ) -> RealCluster:
        """Start a cluster; one of that name that runs already is returned as it is.

        Raises:
            provision.MissingError: something it is made of is not there and cannot be made.
            StartError: it did not come up.
        """
        if running := cls.find(name):
            return running
        plan = _plan(name, operator=operator, with_node=with_node, nodes=nodes, crds=crds, frameworks=frameworks)
        try:
            plane.prepare(plan)
            _spawn(plan)
            _until_ready(plan)
        except BaseException:
            cls(plan).stop()
            raise
        return cls(plan)

    @classmethod
    def find(cls, name: str = "default") -> RealCluster | None:
        """The running cluster of a name; what is left of one that was killed is removed."""
        folder = _folder(name)
        if not (folder / "plan.json").exists():
            return None
        found = cls(Plan.read(folder / "plan.json"))
        if found.state().get("phase") == "ready" and _alive(found.state()["pid"], found.plan):
            return found
        found.stop()
        return None

    @classmethod
    def all(cls) -> list[RealCluster]:
        """Every cluster of this data folder, whatever its state."""
        return [cls(Plan.read(path)) for path in sorted(_folder("x").parent.glob("*/plan.json"))]

    @property
    def kubeconfig(self) -> Path:
        """The administrator's kubeconfig."""
        return self.plan.kubeconfig

    @functools.cached_property
    def api(self) -> Api:
        """The administrator's calls, closed with the cluster."""
        return Api(self.plan.kubeconfig)

    def kubeconfig_for(self, user: str, groups: tuple[str, ...] = (), *, namespace: str = "default") -> Path:
        """A kubeconfig of a user of that name in these groups, who has the rights that RBAC gives them."""
        authority = credentials.Authority.load(self.plan.pki, "ca")
        pair = authority.client(user, groups)
        text = credentials.kubeconfig(
            self.plan.server, authority.pair.certificate, pair, user=user, namespace=namespace
        )
        safe = "".join(letter if letter.isalnum() or letter in "-." else "_" for letter in user)
        path = self.plan.folder / f"kubeconfig-{safe}"
        credentials.write_private(path, text.encode())
        return path

    def audit(self) -> list[dict[str, Any]]:
        """What the API server has been asked so far, oldest first (its own components' calls left out)."""
        lines = self.plan.audit_log.read_text().splitlines() if self.plan.audit_log.exists() else []
        return [json.loads(line) for line in lines]

    def state(self) -> dict[str, Any]:
        """Phase, reason, pids of the components, seconds after which each was ready."""
        with contextlib.suppress(OSError):
            state: dict[str, Any] = json.loads((self.plan.folder / "state.json").read_text())
            return state
        return {}

    def order(self, what: str, component: str) -> None:
        """``halt`` (end in order), ``kill`` (at once), ``resume``, ``freeze`` or ``thaw`` a component by its name."""
        with socket.socket(socket.AF_UNIX) as control:
            control.settimeout(_STOP_SECONDS)
            control.connect(str(self.plan.sockets / "control.sock"))
            control.sendall(f"{what} {component}\n".encode())
            if control.recv(16) != b"done\n":
                raise ValueError(f"the supervisor refused {what!r} of {component!r}")

    def compact(self) -> None:
        """Let the store forget what was before now, and every cache of the API server with it (15 s at most).

        The API server does this by itself every five minutes; it is told here as by another API server beside it.
        """
        place = (
            f"{self.api.place('v1', 'Namespace', '', '').rstrip('/')}?resourceVersion={{}}&resourceVersionMatch=Exact"
        )
        before = self.api.request("GET", place.partition("?")[0])["metadata"]["resourceVersion"]
        self.api.merge("v1", "Namespace", "default", {"metadata": {"annotations": {"compacted": before}}}, "")
        now = self.api.request("GET", place.partition("?")[0])["metadata"]["resourceVersion"]
        self._etcd("kv/compaction", revision=now)
        self._etcd("kv/put", key=_coded("compact_rev_key"), value=_coded(now))

        def forgotten() -> bool:
            try:
                self.api.request("GET", place.format(before))
            except ApiStatusError as error:
                return error.code == http.HTTPStatus.GONE
            return False

        until(forgotten, seconds=60, what="compaction")

    def _etcd(self, call: str, **body: str) -> None:
        url = f"http://127.0.0.1:{self.plan.ports['etcd']}/v3/{call}"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode()), timeout=10) as answer:
            answer.read()

    def stop(self) -> None:
        """End it and remove everything it has made."""
        if "api" in self.__dict__:
            self.api.close()
        state = self.state()
        both = [state.get("pid", 0), state.get("caretaker", 0)]
        if _alive(both[0], self.plan):
            os.kill(both[0], signal.SIGTERM)

        def ended() -> bool:
            return not any(_alive(pid, self.plan) for pid in both)

        until(ended, seconds=_STOP_SECONDS, what=f"end of cluster {self.plan.name}")
        supervise.clean(self.plan)
        shutil.rmtree(self.plan.folder, ignore_errors=True)


def _coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _folder(name: str) -> Path:
    return load().data_dir / "real" / name


def _plan(name: str, *, operator: str, with_node: bool, nodes: int, crds: str, frameworks: tuple[str, ...]) -> Plan:
    if with_node:
        node.check()
    sets = {"control-plane": binaries.control_plane()}
    if nodes:
        sets["kwok"] = binaries.kwok()
    if operator != "none":
        get = binaries.training_operator if operator == "training" else binaries.mpi_operator
        sets[f"{operator}-operator"] = get()
    folder = _folder(name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700, parents=True)
    archives: tuple[Path, ...] = ()
    if with_node:
        sets["node"] = binaries.node()
        archives = (*images.standard(sets["node"]), *(one for name in frameworks for one in _archives(name, folder)))
    plan = Plan(
        name=name,
        folder=folder,
        sockets=Path(tempfile.mkdtemp(prefix="kf-real-")),
        operator=operator,
        node=with_node,
        simulated=nodes,
        binaries=sets,
        images=archives,
        crds=tuple(sorted(Path(crds).glob("*.yaml"))) if crds else (),
        ports=free_ports(),
    )
    plan.write()
    return plan


def _archives(framework: str, folder: Path) -> tuple[Path, ...]:
    match framework:
        case "kernel":
            return (notebooks.kernel(),)
        case "serving":
            return (models.serving(),)
        case "gateway":
            return gateways.gateway(folder)
    return (images.framework(framework),)


def _spawn(plan: Plan) -> None:
    """Start the supervisor as a process that is nobody's child, so that it outlives who started it."""
    plan.logs.mkdir(exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    environment["PYTHONPATH"] = str(_HERE)
    with (plan.logs / "supervisor.log").open("ab") as log:
        subprocess.run(
            [sys.executable, "-m", "bed.supervise", str(plan.folder / "plan.json")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            start_new_session=True,
            check=True,
        )


def _until_ready(plan: Plan) -> None:
    cluster = RealCluster(plan)

    def settled() -> bool:
        state = cluster.state()
        return state.get("phase") in ("ready", "failed") or ("pid" in state and not _alive(state["pid"], plan))

    until(settled, seconds=_START_SECONDS, what=f"start of cluster {plan.name}")
    state = cluster.state()
    if state.get("phase") != "ready":
        log = (plan.logs / "supervisor.log").read_text(errors="replace")[-2000:]
        raise StartError(f"cluster {plan.name} did not come up: {state.get('reason', '')}\n{log}")


def _alive(pid: int, plan: Plan) -> bool:
    """Whether this is still the plan's supervisor, and not a later process of the same number."""
    if pid <= 0:
        return False
    command = Path(f"/proc/{pid}/cmdline")
    if command.parent.parent.joinpath("self").exists():
        with contextlib.suppress(OSError):
            return str(plan.folder / "plan.json").encode() in command.read_bytes()
        return False
    with contextlib.suppress(OSError):
        os.kill(pid, 0)
        return True
    return False
