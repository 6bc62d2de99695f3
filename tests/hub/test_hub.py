"""A real hub with a real KubeSpawner on an embedded cluster: doors, people, restarts, outages."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hubs import Hub, Person, running, wait

PROFILES = """
profiles:
  - slug: small
    display_name: Small
    default: true
    cpu: {request: 100m, limit: 1}
    memory: {request: 256Mi, limit: 2Gi}
  - {slug: tiny, display_name: Tiny, cpu: 100m, memory: 1Gi, used_for: [kernel]}
  - {slug: huge, display_name: Huge, cpu: 900, memory: 1Gi}
limits:
  "*": {servers: 2}
"""

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with running(tmp_path_factory.mktemp("hub"), profiles=PROFILES) as found:
        yield found


@pytest.fixture(scope="module")
def ann(hub: Hub) -> Person:
    return Person(hub, "ann")


def test_log_in_choose_and_get_jupyterlab(hub: Hub, ann: Person) -> None:
    page = ann.form()
    assert 'value="small" checked' in page
    assert "Starts at once" in page
    assert "Too large: the largest machine has" in page
    answer = ann.spawn(hardware="small", environment="GREETING={hello} $(HOME)")
    assert "/hub/spawn-pending/ann" in answer.url
    steps = ann.progress()
    said = [step["message"] for step in steps]
    assert "A machine was found." in said
    assert steps[-1]["ready"]
    assert not any("T" in one and "Z [Normal]" in one for one in said)  # no raw events
    lab = ann.web.get(f"{hub.url}/user/ann/lab")
    assert lab.status_code == 200
    assert "jupyter-config-data" in lab.text
    # Our own extension answers there.
    info = ann.web.get(f"{hub.url}/user/ann/jupyterlab-kf/cluster")
    assert info.status_code == 200, info.text
    pod = hub.pods("kf-ann")["jupyter-ann"]
    main = pod["spec"]["containers"][0]
    assert main["resources"] == {
        "requests": {"cpu": "100m", "memory": "256Mi"},
        "limits": {"cpu": "1", "memory": "2Gi"},
    }
    assert {"name": "GREETING", "value": "{hello} $$(HOME)"} in main["env"]
    claims = hub.kubectl("GET", "/api/v1/namespaces/kf-ann/persistentvolumeclaims")["items"]
    assert [one["metadata"]["name"] for one in claims] == ["workspace-ann"]
    assert 'value="small" checked' in ann.form("second")


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"hardware": "nothing"}, "There is no hardware profile 'nothing'"),
        ({"profile": "small"}, "There is no option 'profile'"),
        ({"image--unlisted-choice": "evil/x:1"}, "There is no option 'image--unlisted-choice'"),
        ({"hardware": "small", "image": "evil/x:1"}, "does not let the image be chosen"),
        ({"hardware": "huge"}, "Huge: Too large: the largest machine has"),
        ({"hardware": ["small"]}, "Hardware is one text, not list"),
    ],
)
def test_wrong_options_are_refused_at_every_door(hub: Hub, ann: Person, said: dict[str, str], sentence: str) -> None:
    body = ann.api("POST", "/users/ann/servers/wrong", {"user_options": said})
    assert (body.status_code, sentence in body.json()["message"]) == (400, True), body.text
    if all(isinstance(value, str) for value in said.values()):
        page = ann.spawn("wrong", **said)
        assert sentence in page.text.replace("&#39;", "'"), page.text
        query = {f"opt-{key}": value for key, value in said.items()}
        asked = ann.web.get(f"{hub.url}/hub/spawn/ann/wrong", params=query)
        assert sentence in asked.text.replace("&#39;", "'"), asked.text
    assert not [name for name in hub.pods("kf-ann") if "wrong" in name]
    assert hub.process is not None
    assert hub.process.poll() is None


def test_two_people_have_namespaces_and_homes_of_their_own(hub: Hub, ann: Person) -> None:
    bob = Person(hub, "bob")
    bob.spawn(hardware="small")
    bob.wait_ready()
    assert set(hub.pods("kf-bob")) == {"jupyter-bob"}
    assert "jupyter-bob" not in hub.pods("kf-ann")
    assert bob.web.get(f"{hub.url}/user/ann/api/contents", allow_redirects=False).status_code in (302, 403)
    ann.web.put(f"{hub.url}/user/ann/api/contents/mine.txt", json={"type": "file", "format": "text", "content": "x"},
                headers={"X-XSRFToken": ann.web.cookies.get("_xsrf", path="/user/ann/") or ""})  # fmt: skip
    assert ann.files() == {"mine.txt"}
    assert bob.files() == set()
    bob.stop()
    wait(lambda: not hub.pods("kf-bob"), "the pod is gone", 120, hub)


@contextmanager
def other_profiles(hub: Hub, *changes: tuple[str, str]) -> Iterator[None]:
    """The file of profiles with words exchanged, for a while."""
    file = hub.folder / "profiles.yaml"
    text = file.read_text()
    changed = text
    for old, new in changes:
        assert old in changed
        changed = changed.replace(old, new)
    file.write_text(changed)
    yield
    file.write_text(text)


def test_named_servers_share_a_home_up_to_the_limit(hub: Hub, ann: Person) -> None:
    ann.spawn("second", hardware="small")
    ann.wait_ready("second")
    assert ann.files("second") == {"mine.txt"}
    third = ann.api("POST", "/users/ann/servers/third", {"user_options": {"hardware": "small"}})
    assert third.status_code == 400
    # What runs counts also when its profile is gone.
    with other_profiles(hub, ("slug: small", "slug: little")):
        third = ann.api("POST", "/users/ann/servers/third", {"user_options": {"hardware": "little"}})
        assert "You may run 2 servers at a time" in third.json()["message"]
    ann.stop("second")


def test_a_kernel_on_other_hardware_has_the_same_files_and_outlives_its_server(hub: Hub) -> None:
    bob = Person(hub, "bob")
    if bob.ready():
        bob.stop()
    wish = {"hardware": "small", "volumes": [{"claim": "data", "path": "/mnt/data", "size": "1Gi"}]}
    answer = bob.api("POST", "/users/bob/server", {"user_options": wish})
    assert answer.status_code in (201, 202), answer.text
    bob.wait_ready()
    code = """
        import os, pathlib
        kept = os.environ["KF_NAMESPACE"]
        pathlib.Path("from-the-kernel.txt").write_text("x")
        pathlib.Path(os.environ["KF_VOLUME_DATA"], "y.txt").write_text(kept)
        print(kept)
    """
    assert bob.run("kf-tiny", textwrap.dedent(code)) == "kf-bob\n"
    assert "from-the-kernel.txt" in bob.files()
    read = "import os; print(open(os.environ['KF_VOLUME_DATA'] + '/y.txt').read())"
    assert bob.run("python3", read, "of-the-server.ipynb") == "kf-bob\n"

    def kernels() -> list[str]:
        pods = hub.pods("kf-bob").values()
        return [one["metadata"]["uid"] for one in pods if "jupyterlab-kf.io/kernel" in one["metadata"]["labels"]]

    (before,) = kernels()
    # Gone without a word, as when its node is lost.
    hub.kubectl("DELETE", "/api/v1/namespaces/kf-bob/pods/jupyter-bob")
    wait(lambda: not bob.ready(), "the hub knows that the server has gone", 120, hub)
    bob.spawn(hardware="small")
    bob.wait_ready()
    assert bob.run("kf-tiny", "print(kept)") == "kf-bob\n"
    assert kernels() == [before]
    bob.close("a.ipynb")
    wait(lambda: not kernels(), "the kernel has ended", 120, hub)


def test_a_hub_that_is_killed_finds_its_servers_again(hub: Hub) -> None:
    uid = hub.pods("kf-ann")["jupyter-ann"]["metadata"]["uid"]
    assert hub.process is not None
    hub.process.send_signal(signal.SIGKILL)
    hub.process.wait(60)
    hub.start()
    again = Person(hub, "ann")
    again.wait_ready()
    assert hub.pods("kf-ann")["jupyter-ann"]["metadata"]["uid"] == uid
    assert again.files() == {"mine.txt"}
    # What it was granted then is known, too.
    with other_profiles(hub, ("slug: small", "slug: little"), ("servers: 2", "memory: 3Gi")):
        second = again.api("POST", "/users/ann/servers/second", {"user_options": {"hardware": "little"}})
        assert "your other servers have 2 GiB of memory" in second.json()["message"]


def test_an_api_server_that_was_away_is_noticed_again(hub: Hub) -> None:
    def cluster(*words: str) -> None:
        subprocess.run(
            [sys.executable, "-m", "jupyterlab_kf.cli", "cluster", *words],
            env=hub.environ,
            check=True,
            capture_output=True,
        )

    ann = Person(hub, "ann")
    cluster("stop", "--keep-pods")
    wait(lambda: "The API server does not answer" in hub.log.read_text(), "the hub notices", 120, hub)
    cluster("start")
    wait(lambda: "The API server answers again: pods" in hub.log.read_text(), "it notices again", 120, hub)
    ann.wait_ready()
    bob = Person(hub, "bob")
    bob.spawn(hardware="small")
    assert bob.progress()[-1]["ready"]


def test_a_pod_that_can_never_start_is_said_at_once(hub: Hub) -> None:
    (hub.folder / "data" / "images.yaml").write_text("images:\n  - {match: jupyterlab-kf/lab, python: /nowhere}\n")
    ann = Person(hub, "ann")
    ann.stop()
    ann.spawn(hardware="small")
    last = ann.progress()[-1]
    assert last["failed"]
    assert "/nowhere" in last["message"], last
