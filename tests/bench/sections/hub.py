"""What a hub of pods costs beside the same JupyterHub with processes of its own (SimpleLocalProcessSpawner).

Both run on this machine with the same login, proxy and servers. From login to ready a real JupyterLab is started; of
two hundred starts the servers are stand-ins, since what is measured is the hub.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "hub"))

from hubs import Hub, Person, running
from measure import Row, timed

RUNS = 3
SPAWNS = 200
AT_ONCE = 50
STAND_IN = Path(__file__).parents[2] / "hub" / "stand_in.py"
PROFILES = """
profiles:
  - {slug: small, default: true, cpu: {request: 1m, limit: 2}, memory: {request: 1Mi, limit: 4Gi}}
"""
PEER = """
from jupyterlab_kf import settings
from jupyterlab_kf_hub.config import one_machine
one_machine(c, settings.load())
c.JupyterHub.spawner_class = "simple"
c.JupyterHub.cleanup_servers = True
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 1}}
c.Spawner.default_url = "/lab"
c.Spawner.cmd = {cmd}
c.Spawner.args = {args}
c.SimpleLocalProcessSpawner.home_dir_template = {home!r}
"""
SMALL = f"""
c.Spawner.cmd = [{sys.executable!r}, {str(STAND_IN)!r}]
c.Spawner.args = []
c.Spawner.http_timeout = 300
c.Spawner.start_timeout = 600
c.JupyterHub.log_level = "WARN"
"""


class Simple(Hub):
    """The peer."""

    def __init__(self, folder: Path, *, users: str, site: str = "") -> None:
        super().__init__(folder, users=users)
        file = folder / "simple_config.py"
        args = ["--allow-root"] if os.geteuid() == 0 else []
        file.write_text(
            PEER.format(
                cmd=[sys.executable, "-m", "jupyterhub.singleuser"], args=args, home=str(folder / "home" / "{username}")
            )
            + site
        )
        self.command = [sys.executable, "-m", "jupyterhub", "-f", str(file)]


def hub() -> Iterator[Row]:
    """From login to ready, and two hundred starts."""
    yield _ready()
    yield from _many()


def _ready() -> Row:
    with ExitStack() as stack:
        ours = stack.enter_context(running(_folder(stack), users="ann", profiles=PROFILES))
        peer = Simple(_folder(stack), users="ann")
        stack.callback(peer.stop)
        peer.start()
        runs = [(_start(ours), _start(peer)) for _ in range(RUNS + 1)]
        return Row(
            "from login to a JupyterLab that answers",
            [run[0] for run in runs[1:]],
            [run[1] for run in runs[1:]],
            "SimpleLocalProcessSpawner",
            "1.05",
        )


def _start(hub: Hub) -> float:
    person = None

    def whole() -> None:
        nonlocal person
        person = Person(hub, "ann")
        _asked(person)

    seconds = timed(whole)
    assert person is not None
    person.stop()
    return seconds


def _asked(person: Person) -> None:
    """A server, until it answers."""
    answer = person.api("POST", f"/users/{person.name}/server", {})
    assert answer.status_code in (201, 202), answer.text
    end = time.monotonic() + 600
    while not person.ready():
        assert time.monotonic() < end, f"{person.name}'s server did not start"
        time.sleep(0.1)
    assert person.web.get(f"{person.hub.url}/user/{person.name}/api").ok


def _many() -> Iterator[Row]:
    names = [f"u{number}" for number in range(SPAWNS)]
    users = ",".join(names)
    # Of ours, and of the hub that it is measured by; each on its own, so that they do not take each other's time.
    with ExitStack() as stack:
        ours = _spawned(
            stack.enter_context(running(_folder(stack), users=users, profiles=PROFILES, site=_kube(SMALL))), names
        )
    with ExitStack() as stack:
        simple = Simple(_folder(stack), users=users, site=SMALL)
        stack.callback(simple.stop)
        simple.start()
        peer = _spawned(simple, names)
    what = f"{SPAWNS} starts, {AT_ONCE} at once, all of which succeed"
    yield Row(what, [ours[0]], [peer[0]], "SimpleLocalProcessSpawner")
    yield Row("CPU of the hub for one of them", [ours[1]], [peer[1]], "SimpleLocalProcessSpawner", "", "ms")


def _kube(site: str) -> str:
    return site.replace("c.Spawner.cmd", "c.KubeSpawner.cmd").replace("c.Spawner.args", "c.KubeSpawner.args")


def _spawned(hub: Hub, names: list[str]) -> tuple[float, float]:
    """Wall seconds of all, and the hub's CPU for each in milliseconds."""
    assert hub.process is not None
    people = [Person(hub, name) for name in names]
    before = _cpu(hub.process.pid)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        seconds = timed(lambda: list(pool.map(_asked, people)))
    spent = _cpu(hub.process.pid) - before
    return seconds, 1000 * spent / len(names)


def _cpu(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _folder(stack: ExitStack) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kf-hub-", ignore_cleanup_errors=True)))
