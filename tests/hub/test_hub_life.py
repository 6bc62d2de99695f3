"""How long servers live: until they have been idle for their profile's time, and not because a page is open."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import requests
from hubs import Hub, Person, running, wait

PROFILES = """
profiles:
  - {slug: brief, default: true, cpu: {request: 100m, limit: 1}, memory: {request: 128Mi, limit: 1Gi},
     idle_timeout: 90s}
  - {slug: lasting, cpu: {request: 100m, limit: 1}, memory: {request: 128Mi, limit: 1Gi}}
"""
SPEED = 10
# The hub's time runs faster from its start on, and servers are small programs that report nothing themselves.
SITE = f"""
import sys, time
from jupyterlab_kf_hub import idle
began = time.time()
idle.now = lambda: began + (time.time() - began) * {SPEED}
c.KubeSpawner.poll_interval = 1
c.KubeSpawner.cmd = [sys.executable, {str(Path(__file__).with_name("stand_in.py"))!r}]
lab = c.KubeSpawner.args
c.KubeSpawner.args = []

def prepare(spawner):
    if spawner.user.name == "dan":  # a real one, which reports often
        spawner.cmd, spawner.args = ["jupyterhub-singleuser"], lab
        spawner.environment = spawner.environment | {{"JUPYTERHUB_ACTIVITY_INTERVAL": "10"}}

c.KubeSpawner.pre_spawn_hook = prepare
"""

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running(tmp_path_factory.mktemp("life"), profiles=PROFILES, site=SITE, users="ann,bob,eve,fay,dan") as found:
        yield found


def environment(hub: Hub, name: str) -> dict[str, str]:
    """The environment of somebody's server."""
    (pod,) = hub.pods(f"kf-{name}").values()
    return {one["name"]: one.get("value", "") for one in pod["spec"]["containers"][0]["env"]}


def started(hub: Hub, name: str, hardware: str) -> Person:
    person = Person(hub, name)
    person.spawn(hardware=hardware)
    person.wait_ready()
    return person


@contextmanager
def at_work(hub: Hub, name: str) -> Iterator[None]:
    """Somebody's server is at work all the time, and says so as every server does: with its own token."""
    told, over = environment(hub, name), threading.Event()
    began = time.time()

    def reports() -> None:
        while not over.wait(0.5):
            now = datetime.fromtimestamp(began + (time.time() - began) * SPEED, UTC).isoformat()
            said = {"servers": {"": {"last_activity": now}}, "last_activity": now}
            headers = {"Authorization": f"token {told['JUPYTERHUB_API_TOKEN']}"}
            answer = requests.post(told["JUPYTERHUB_ACTIVITY_URL"], json=said, headers=headers, timeout=30)
            assert answer.status_code == 200, answer.text

    with ThreadPoolExecutor() as pool:
        reporting = pool.submit(reports)
        try:
            yield
        finally:
            over.set()
        reporting.result(60)


def test_idle_servers_end_by_the_clock_and_those_at_work_do_not(hub: Hub) -> None:
    eve, ann = started(hub, "eve", "lasting"), started(hub, "ann", "brief")
    assert environment(hub, "ann")["JUPYTERHUB_ACTIVITY_INTERVAL"] == "22"
    assert "JUPYTERHUB_ACTIVITY_INTERVAL" not in environment(hub, "eve")
    with at_work(hub, "ann"):
        bob = started(hub, "bob", "brief")

        def ended() -> bool:
            # Bob's page is open, and nobody looks at it.
            bob.web.get(f"{hub.url}/user/bob/api")
            return bob.server() is None and not hub.pods("kf-bob")

        wait(ended, "the idle server is ended", 120, hub)
        assert "its profile's idle time" in hub.log.read_text()
        assert ann.ready()
        assert eve.ready()
        # What ended can be started again, and ends again.
        bob = started(hub, "bob", "brief")
        wait(ended, "it is ended again", 120, hub)
        assert ann.ready()


def test_after_a_restart_of_the_hub_idle_servers_still_end(hub: Hub) -> None:
    started(hub, "fay", "brief")
    hub.stop()
    assert hub.pods("kf-fay")
    hub.start()
    fay = Person(hub, "fay")
    wait(lambda: fay.server() is None and not hub.pods("kf-fay"), "it is ended", 120, hub)


def test_a_kernel_that_computes_in_silence_is_reported_as_work(hub: Hub) -> None:
    dan = Person(hub, "dan")
    dan.spawn(hardware="lasting")
    dan.wait_ready()

    def active() -> float:
        server = dan.server()
        assert server is not None
        return datetime.fromisoformat(str(server["last_activity"])).timestamp()

    with ThreadPoolExecutor() as pool:
        begins = time.time()
        said = pool.submit(dan.run, "python3", "import time; time.sleep(45); print('done')")
        # What was asked of it at the start is not what is seen here.
        wait(lambda: said.done() or active() > begins + 25, "its work is reported", 120, hub)
        assert not said.done(), "it was seen while it computed"
        assert said.result(120) == "done\n"
    dan.stop()


def test_a_large_file_passes_the_proxy(hub: Hub) -> None:
    eve = Person(hub, "eve")
    if not eve.ready():
        eve.spawn(hardware="lasting")
        eve.wait_ready()
    large = bytes(120 * 2**20)
    said = eve.web.put(f"{hub.url}/user/eve/api/contents/large.bin", data=large, timeout=300)
    assert (said.status_code, said.text) == (200, str(len(large)))
