"""Events on both clusters: written and counted by whoever has something to tell, and found by what they are about."""

from __future__ import annotations

import pytest
from bed.api import Api, Obj, until
from objects import MERGE, names, pod, pods, refusal
from sites import Kubectl, Site

NOW = "2026-01-01T00:00:00Z"


@pytest.fixture
def api(site: Site) -> Api:
    return site.api


def events(place: str) -> str:
    return f"/api/v1/namespaces/{place}/events"


def event(name: str, about: Obj, **more: object) -> Obj:
    """An event as a controller writes it."""
    head = about["metadata"]
    told = {
        "apiVersion": about["apiVersion"],
        "kind": about["kind"],
        "name": head["name"],
        "namespace": head["namespace"],
        "uid": head["uid"],
    }
    times = {"firstTimestamp": NOW, "lastTimestamp": NOW, "count": 1}
    body = {"involvedObject": told, "type": "Normal", "reason": "Tried", "message": "it was tried", **times, **more}
    return {"apiVersion": "v1", "kind": "Event", "metadata": {"name": name, "namespace": head["namespace"]}, **body}


@pytest.fixture
def two(api: Api, place: str) -> tuple[Obj, Obj]:
    """Two pods, an event on the first, and a warning on the second."""
    one, other = (api.request("POST", pods(place), pod(name)) for name in ("one", "other"))
    api.request("POST", events(place), event("one.1", one))
    api.request("POST", events(place), event("other.1", other, type="Warning", reason="Lost", message="it was lost"))
    return one, other


def test_events_are_found_by_what_they_are_about(api: Api, place: str, two: tuple[Obj, Obj]) -> None:
    uid = two[1]["metadata"]["uid"]
    for selector, wanted in (
        ("involvedObject.name=one", ["one.1"]),
        ("involvedObject.kind=Pod,involvedObject.name=other", ["other.1"]),
        (f"involvedObject.uid={uid}", ["other.1"]),
        ("type=Warning", ["other.1"]),
        ("type!=Warning,reason=Tried", ["one.1"]),
        ("reason=Lost", ["other.1"]),
        ("metadata.name=one.1", ["one.1"]),
        (f"involvedObject.namespace={place},involvedObject.apiVersion=v1", ["one.1", "other.1"]),
        ("involvedObject.kind=Job", []),
    ):
        assert names(api, f"{events(place)}?fieldSelector={selector}") == wanted, selector
    error = refusal(api, "GET", f"{events(place)}?fieldSelector=message=x")
    assert (error.code, "field label not supported: message" in error.message) == (400, True)


def test_an_event_that_happens_again_is_counted(api: Api, place: str, two: tuple[Obj, Obj]) -> None:
    path = f"{events(place)}/one.1"
    before = api.request("GET", path)
    api.request("PATCH", path, {"count": 2, "lastTimestamp": "2026-01-01T00:01:00Z"}, content_type=MERGE)
    after = api.request("GET", path)
    assert (after["count"], after["firstTimestamp"], after["metadata"]["uid"]) == (2, NOW, before["metadata"]["uid"])
    again = event("one.1", two[0], count=3)
    again["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"]
    assert refusal(api, "PUT", path, again).code == 409


def test_an_event_is_of_the_namespace_of_its_object(api: Api, place: str, two: tuple[Obj, Obj]) -> None:
    wrong = event("wrong", two[0])
    wrong["involvedObject"]["namespace"] = "default"
    error = refusal(api, "POST", events(place), wrong)
    assert (error.code, error.reason) == (422, "Invalid")
    said = 'involvedObject.namespace: Invalid value: "default": does not match event.namespace'
    assert error.message == f'Event "wrong" is invalid: {said}'
    wrong["involvedObject"].pop("namespace")
    assert refusal(api, "POST", events(place), wrong).code == 422
    nodes = event("of-a-node", two[0]) | {"involvedObject": {"kind": "Node", "name": "x", "apiVersion": "v1"}}
    nodes["metadata"] = {"name": f"of-a-node-{place}", "namespace": "default"}
    api.request("POST", f"{events('default')}?dryRun=All", nodes)


def test_events_are_watched(api: Api, place: str, two: tuple[Obj, Obj]) -> None:
    version = api.request("GET", events(place))["metadata"]["resourceVersion"]
    query = f"watch=1&resourceVersion={version}&fieldSelector=involvedObject.name=one&timeoutSeconds=20"
    stream = api.stream(f"{events(place)}?{query}")
    api.request("POST", events(place), event("other.2", two[1]))
    api.request("POST", events(place), event("one.2", two[0]))
    first = next(stream)
    assert (first["type"], first["object"]["metadata"]["name"]) == ("ADDED", "one.2")
    stream.close()


@pytest.mark.usefixtures("two")
def test_kubectl_shows_events_where_they_are_asked_for(ctl: Kubectl) -> None:
    rows = ctl("get", "events").splitlines()
    assert rows[0].split() == ["LAST", "SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert {tuple(row.split()[1:4]) for row in rows[1:]} == {
        ("Normal", "Tried", "pod/one"),
        ("Warning", "Lost", "pod/other"),
    }
    shown = ctl("events", "--for=pod/other", "--types=Warning")
    assert ("it was lost" in shown, "it was tried" in shown) == (True, False)
    described = ctl("describe", "pod", "one")
    assert ("it was tried" in described, "it was lost" in described) == (True, False)
    assert "it was lost" in ctl("get", "events", "--field-selector=type=Warning", "--sort-by=.lastTimestamp")


def test_a_controller_tells_what_it_did_on_its_object(site: Site, ctl: Kubectl) -> None:
    ctl("create", "job", "j", "--image=busybox", "--", "true")

    def told() -> list[Obj]:
        found = site.api.list("v1", "Event", ctl.namespace)
        return [one for one in found if one["reason"] == "SuccessfulCreate" and one["involvedObject"]["name"] == "j"]

    (one, *_) = until(told, seconds=60, what="the job's event")
    assert one["message"].startswith("Created pod: j-")
    assert (one["type"], one["source"]["component"]) == ("Normal", "job-controller")
