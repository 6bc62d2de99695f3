"""What a person chooses with a server, by each way in; and what they are told while it waits or does not start.

Servers are small programs here: nothing is asked of the Lab in them.
"""

from __future__ import annotations

import html
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hubs import Hub, Person, running, wait

PROFILES = """
profiles:
  - {slug: small, display_name: Small, default: true, cpu: {request: 50m, limit: 1}, memory: 256Mi}
  - {slug: wide, display_name: Wide, cpu: 1, memory: {request: 64Mi, limit: 1Gi}}
  - {slug: old, cpu: 50m, memory: 256Mi, deprecated: {message: it ends in May, replacement: small}}
  - {slug: broken, display_name: Broken, cpu: 50m, memory: 256Mi,
     volumes: [{name: sets, mount_path: /sets, claim: nowhere}]}
  - {slug: ending, display_name: Ending, cpu: 50m, memory: 256Mi, environment: {STAND_IN: ends}}
  - slug: choosy
    display_name: Choosy
    cpu: {min: 50m, max: 2, default: 200m}
    memory: 1Gi
    gpus: [{resource: nvidia.com/gpu, min: 0, max: 2}, {resource: amd.com/gpu, min: 0, max: 1}]
limits:
  "*": {servers: 2, storage: 20Gi}
"""
SITE = f"""
import sys
c.KubeSpawner.cmd = [sys.executable, {str(Path(__file__).with_name("stand_in.py"))!r}]
c.KubeSpawner.args = []
"""
CLAIMS = "/api/v1/namespaces/{}/persistentvolumeclaims"

pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    people = "ann,bob,cy,dan,eve"
    with running(tmp_path_factory.mktemp("choice"), profiles=PROFILES, site=SITE, users=people) as found:
        yield found


@pytest.fixture(scope="module")
def ann(hub: Hub) -> Person:
    return Person(hub, "ann")


def claims(hub: Hub, name: str) -> dict[str, str]:
    """Name and size of somebody's volumes."""
    return {
        one["metadata"]["name"]: one["spec"]["resources"]["requests"]["storage"]
        for one in hub.kubectl("GET", CLAIMS.format(f"kf-{name}"))["items"]
    }


@pytest.mark.parametrize(
    ("body", "fields", "sentence"),
    [
        (
            {"volumes": [{"claim": "bobs", "path": "/mnt/x"}]},
            {"volume_1_claim": "bobs", "volume_1_path": "/mnt/x"},
            "There is no volume 'bobs'",
        ),
        (
            {"volumes": [{"claim": "mine", "size": "1Gi", "path": "/etc/x"}]},
            {"volume_1_claim": "+new", "volume_1_name": "mine", "volume_1_size": "1Gi", "volume_1_path": "/etc/x"},
            "A volume at /etc/x would hide a part of the system. Take a folder such as",
        ),
        (
            {"volumes": [{"claim": "mine", "size": "1Gi", "path": "/home/jovyan"}]},
            {"volume_1_claim": "mine", "volume_1_size": "1Gi", "volume_1_path": "/home/jovyan"},
            "A volume at /home/jovyan would hide your home",
        ),
        (
            {"volumes": [{"claim": one, "size": "1Gi", "path": "/mnt/x"} for one in "ab"]},
            {"volume_1_claim": "a", "volume_1_size": "1Gi", "volume_1_path": "/mnt/x",
             "volume_2_claim": "b", "volume_2_size": "1Gi", "volume_2_path": "/mnt/x"},
            "The volume 'b' cannot be mounted: /mnt/x is taken already",
        ),
        (
            {"workspace": "wide", "workspace_size": "200Gi"},
            {"workspace": "+new", "workspace_name": "wide", "workspace_size": "200Gi"},
            "You may have 20 GiB of volumes, and 200 GiB more is too much",
        ),
        (
            {"workspace": "{0.__class__}", "workspace_size": "1Gi"},
            {"workspace": "+new", "workspace_name": "{0.__class__}"},
            "'{0.__class__}' is not the name of a volume",
        ),
        ({"hardware": "choosy", "gpus": 3}, {"hardware": "choosy", "choosy.gpus": "3"}, "allows 0 to 2 GPUs, not 3"),
        (
            {"hardware": "choosy", "accelerator": "intel.com/gpu"},
            {"hardware": "choosy", "choosy.accelerator": "intel.com/gpu"},
            "has no 'intel.com/gpu'; it has nvidia.com/gpu, amd.com/gpu",
        ),
    ],
)  # fmt: skip
def test_volumes_and_gpus_are_checked_at_every_door(
    hub: Hub, ann: Person, body: dict[str, Any], fields: dict[str, str], sentence: str
) -> None:
    space = {"metadata": {"name": "kf-ann"}}
    hub.kubectl("POST", "/api/v1/namespaces", space)
    foreign = {"metadata": {"name": "bobs", "labels": {"hub.jupyter.org/username": "bob"}},
               "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}  # fmt: skip
    hub.kubectl("POST", CLAIMS.format("kf-ann"), foreign)
    answer = ann.api("POST", "/users/ann/servers/wrong", {"user_options": body})
    assert (answer.status_code, sentence in answer.json()["message"]) == (400, True), answer.text
    page = ann.spawn("wrong", **fields)
    assert page.status_code == 400
    shown = html.unescape(page.text)
    assert sentence in shown, page.text
    assert "SpawnException" not in shown
    asked = ann.web.get(f"{hub.url}/hub/spawn/ann/wrong", params={f"opt-{key}": one for key, one in fields.items()})
    assert asked.status_code == 400
    assert sentence in html.unescape(asked.text), asked.text
    assert set(claims(hub, "ann")) == {"bobs"}
    assert hub.process is not None
    assert hub.process.poll() is None


def test_what_was_refused_need_not_be_filled_in_again(ann: Person) -> None:
    page = ann.spawn(
        "wrong", hardware="choosy", **{"choosy.cpu": "0.7"}, volume_1_claim="+new", volume_1_name="a", volume_1_path="/"
    )
    assert 'value="choosy" checked' in page.text
    assert 'name="choosy.cpu" value="0.7"' in page.text
    assert 'name="volume_1_name" value="a"' in page.text
    assert 'name="volume_1_path" value="/"' in page.text


def test_volumes_are_made_mounted_and_chosen_again(hub: Hub) -> None:
    cy = Person(hub, "cy")
    assert "Your home (workspace-cy)" in cy.form()
    cy.spawn(
        hardware="choosy", **{"choosy.cpu": "0.3"}, workspace="+new", workspace_name="scratch", workspace_size="2Gi",
        volume_1_claim="+new", volume_1_name="sets", volume_1_path="/mnt/sets", volume_1_mode="ro",
        volume_2_claim="+new", volume_2_name="more", volume_2_size="1Gi",
    )  # fmt: skip
    cy.wait_ready()
    assert claims(hub, "cy") == {"scratch": "2Gi", "sets": "10Gi", "more": "1Gi"}
    pod = hub.pods("kf-cy")["jupyter-cy"]
    main = pod["spec"]["containers"][0]
    names = {
        one["name"]: one["persistentVolumeClaim"]["claimName"]
        for one in pod["spec"]["volumes"] if "persistentVolumeClaim" in one
    }  # fmt: skip
    places = {
        one["mountPath"]: (names[one["name"]], bool(one.get("readOnly")))
        for one in main["volumeMounts"] if one["name"] in names
    }  # fmt: skip
    assert places == {
        "/home/jovyan": ("scratch", False),
        "/mnt/sets": ("sets", True),
        "/home/jovyan/more": ("more", False),
    }
    told = {one["name"]: one.get("value") for one in main["env"]}
    assert (told["KF_WORKSPACE_CLAIM"], told["KF_VOLUME_SETS"]) == ("scratch", "/mnt/sets")
    assert main["resources"]["limits"]["cpu"] == "300m"
    assert pod["metadata"]["labels"]["jupyterlab-kf.io/profile"] == "choosy"
    cy.stop()
    page = cy.form()
    assert '<option value="scratch" selected>scratch, 2 GiB</option>' in page
    assert '<option value="sets" selected>sets, 10 GiB</option>' in page
    assert 'name="volume_1_path" value="/mnt/sets"' in page
    # Once more without a word, as the API does it: what was new is there now, and is not made again.
    again = cy.api("POST", "/users/cy/server")
    assert again.status_code in (201, 202), again.text
    cy.wait_ready()
    assert hub.pods("kf-cy")["jupyter-cy"]["spec"]["volumes"] == pod["spec"]["volumes"]
    assert set(claims(hub, "cy")) == {"scratch", "sets", "more"}
    cy.stop()


def test_who_waits_is_told_why_behind_whom_and_what_is_free(hub: Hub) -> None:
    hub.occupy(0.5)
    dan, eve = Person(hub, "dan"), Person(hub, "eve")
    dan.spawn(hardware="wide")
    wait(lambda: bool(hub.pods("kf-dan")), "the first is in line", 60, hub)
    # Creation is told to a second: who comes a second later is behind.
    first = hub.pods("kf-dan")["jupyter-dan"]["metadata"]["creationTimestamp"]
    mark = {"metadata": {"name": "later", "namespace": "default"}}

    def later() -> bool:
        made = hub.kubectl("POST", "/api/v1/namespaces/default/configmaps", mark)
        hub.kubectl("DELETE", "/api/v1/namespaces/default/configmaps/later")
        return bool(made["metadata"]["creationTimestamp"] > first)

    wait(later, "it is a second later", 60, hub)
    eve.spawn(hardware="wide")
    seen: list[dict[str, Any]] = []
    watcher = threading.Thread(target=lambda: seen.extend(eve.progress()), daemon=True)
    watcher.start()
    wait(lambda: bool(hub.pods("kf-eve")), "the second is in line", 60, hub)
    wait(lambda: "jupyter-eve" in hub.pods("kf-eve") and _unplaced(hub, "eve"), "the scheduler has spoken", 60, hub)
    # Until the hub has seen the machine, it does not say what is free on it.
    told = _peek(eve, "stop this start")[-1]["message"]
    assert "Your server asks for 1 CPU, and the only machine does not have that much free now." in told
    assert "It is second in line for Wide." in told
    assert "Small" in told
    assert "free now: stop this start and choose" in told
    assert "preemption" not in told
    assert "nodes are available" not in told
    hub.vacate()
    dan.wait_ready()
    dan.stop()
    eve.wait_ready()
    watcher.join(60)
    assert seen[-1]["ready"]
    eve.stop()


def test_of_three_starts_at_once_as_many_begin_as_are_allowed(hub: Hub) -> None:
    dan, names = Person(hub, "dan"), ("one", "two", "three")

    def start(name: str) -> None:
        Person(hub, "dan").api("POST", f"/users/dan/servers/{name}", {"user_options": {"hardware": "small"}})

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(start, names))

    def states() -> list[str]:
        found = [dan.server(name) or {} for name in names]
        return sorted("ready" if one.get("ready") else str(one.get("pending")) for one in found)

    wait(lambda: states() == ["None", "ready", "ready"], "two have begun, and one was refused", 120, hub)
    for name in names:
        dan.stop(name)


def _unplaced(hub: Hub, name: str) -> bool:
    (pod,) = hub.pods(f"kf-{name}").values()
    return any(one["reason"] == "Unschedulable" for one in pod["status"].get("conditions", ()) if "reason" in one)


def _peek(person: Person, word: str) -> list[dict[str, Any]]:
    """What the progress page is sent, up to a message with the word."""
    seen = []
    for step in person.steps():
        seen.append(step)
        if word in step["message"] or step.get("failed") or step.get("ready"):
            break
    return seen


def test_a_volume_that_is_not_there_ends_the_start_with_cause_and_next_step(hub: Hub) -> None:
    bob = Person(hub, "bob")
    bob.spawn(hardware="broken")
    last = bob.progress()[-1]
    assert last["failed"], last
    assert "Your server waits for the volume claim 'nowhere', which does not exist." in last["message"]
    assert "Choose other hardware or volumes; if you chose none, tell who runs this hub." in last["message"]
    page = bob.web.get(f"{hub.url}/hub/spawn-pending/bob").text
    assert "&#39;nowhere&#39;, which does not exist" in page
    assert "SpawnException" not in page
    wait(lambda: not hub.pods("kf-bob"), "its pod is gone", 60, hub)


def test_a_program_that_ends_again_and_again_ends_the_start(hub: Hub) -> None:
    bob = Person(hub, "bob")
    bob.spawn(hardware="ending")
    last = bob.progress()[-1]
    assert last["failed"], last
    assert "Your server failed and was started again" in last["message"]
    assert "exit code 7" in last["message"]
    assert "Choose another image" in last["message"]


def test_what_is_deprecated_works_and_says_so(hub: Hub) -> None:
    eve = Person(hub, "eve")
    assert eve.api("POST", "/users/eve/server", {"user_options": {"hardware": "old"}}).status_code in (201, 202)
    told = [step["message"] for step in eve.progress()]
    eve.wait_ready()
    notice = "The hardware profile 'old' is deprecated: it ends in May; take small instead."
    assert notice in told or "Server ready" in told[0]
    assert hub.pods("kf-eve")["jupyter-eve"]["metadata"]["labels"]["jupyterlab-kf.io/profile"] == "old"
    eve.stop()
    page = eve.form()
    assert notice in html.unescape(page)
    assert 'value="small" checked' in page


def test_stop_stops_the_server_that_starts_and_no_other(hub: Hub, ann: Person) -> None:
    ann.spawn(hardware="small")
    ann.wait_ready()
    hub.occupy(0.5)
    ann.spawn("second", hardware="wide")
    page = ann.web.get(f"{hub.url}/hub/spawn-pending/ann/second").text
    assert 'var server = "second";' in page
    assert 'href="/hub/spawn/ann/second"' in page
    told: list[dict[str, Any]] = []
    listener = threading.Thread(target=lambda: told.extend(ann.steps("second")), daemon=True)
    listener.start()
    wait(lambda: bool(told), "somebody else looks on", 60, hub)
    ann.stop("second")
    # JupyterHub takes a start that is interrupted for a server that is ready, for a second.
    listener.join(60)
    assert told[-1].get("failed"), told
    assert not any(step.get("ready") for step in told)
    wait(lambda: set(hub.pods("kf-ann")) == {"jupyter-ann"}, "the one that waited is gone", 60, hub)
    assert ann.ready()
    ann.stop()
    hub.vacate()
