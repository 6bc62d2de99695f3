"""Watches and long lists on both clusters: each change once and in order, resumed, selected, bookmarked, expired."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest
from bed.api import Api, Obj
from objects import MERGE, config, configs, jobs, names, pod, pods, refusal, tf_job
from sites import Site

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
PARTIAL = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
STREAMED = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
MINE = "fieldSelector=metadata.name!%3Dkube-root-ca.crt"


@pytest.fixture
def api(site: Site) -> Api:
    return site.api


def version(api: Api, path: str) -> str:
    return str(api.request("GET", path)["metadata"]["resourceVersion"])


def watch(api: Api, path: str, query: str = "", *, accept: str = "application/json") -> Iterator[Obj]:
    """The events of a watch, which ends by itself in time for a test that waits for one too many."""
    return api.stream(f"{path}?watch=true&timeoutSeconds=30&{query}", accept=accept, seconds=60)


def first(events: Iterator[Obj], count: int) -> list[Obj]:
    found = list(itertools.islice(events, count))
    assert len(found) == count
    return found


def summary(events: list[Obj]) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in events]


def test_every_write_is_seen_once_in_order_and_from_any_version_on(api: Api, place: str) -> None:
    path = configs(place)
    since = version(api, path)
    api.request("POST", path, config("a", k="1"))
    api.request("PUT", f"{path}/a", config("a", k="2"))
    api.request("DELETE", f"{path}/a")
    events = first(watch(api, path, f"resourceVersion={since}"), 3)
    assert summary(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    versions = [int(event["object"]["metadata"]["resourceVersion"]) for event in events]
    assert versions == sorted(set(versions))
    assert events[1]["object"]["data"] == {"k": "2"}
    assert {(event["object"]["kind"], event["object"]["apiVersion"]) for event in events} == {("ConfigMap", "v1")}
    assert first(watch(api, path, f"resourceVersion={versions[0]}"), 2) == events[1:]
    assert first(watch(api, path, f"resourceVersion={versions[1]}"), 1) == events[2:]


def test_what_changes_nothing_is_not_told(api: Api, place: str) -> None:
    path = configs(place)
    since = version(api, path)
    made = api.request("POST", path, config("a", k="1"))
    api.request("PUT", f"{path}/a", made)
    api.request("PATCH", f"{path}/a", {"data": {"k": "1"}}, content_type=MERGE)
    api.request("POST", path, config("b"))
    assert summary(first(watch(api, path, f"resourceVersion={since}"), 2)) == [("ADDED", "a"), ("ADDED", "b")]


def test_a_watch_without_a_version_begins_with_what_is_there(api: Api, place: str) -> None:
    path = configs(place)
    for name in ("a", "b"):
        api.request("POST", path, config(name))
    for query in (MINE, f"{MINE}&resourceVersion=0"):
        events = watch(api, path, query)
        assert sorted(summary(first(events, 2))) == [("ADDED", "a"), ("ADDED", "b")]
        api.request("PATCH", f"{path}/a", {"data": {"k": query}}, content_type=MERGE)
        assert summary(first(events, 1)) == [("MODIFIED", "a")]


def test_entering_and_leaving_a_selection(api: Api, place: str) -> None:
    path = configs(place)
    since = version(api, path)
    api.request("POST", path, config("a"))
    for labels in ({"x": "1"}, {"x": "1", "y": "2"}, {"x": "2"}):
        api.request("PATCH", f"{path}/a", {"metadata": {"labels": labels}}, content_type=MERGE)
    api.request("DELETE", f"{path}/a")
    api.request("POST", path, config("end", {"x": "1"}))
    events = first(watch(api, path, f"labelSelector=x%3D1&resourceVersion={since}"), 4)
    assert summary(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "end")]
    assert events[2]["object"]["metadata"]["labels"]["x"] in ("1", "2")


def test_one_object_and_one_phase_are_watched_by_field(api: Api, place: str) -> None:
    path = pods(place)
    since = version(api, path)
    for name in ("a", "b"):
        api.request("POST", path, pod(name))
    api.request("PATCH", f"{path}/b/status", {"status": {"phase": "Failed"}}, content_type=MERGE)
    one = first(watch(api, path, f"fieldSelector=metadata.name%3Db&resourceVersion={since}"), 2)
    assert summary(one) == [("ADDED", "b"), ("MODIFIED", "b")]
    waiting = first(watch(api, path, f"fieldSelector=status.phase%3DPending&resourceVersion={since}"), 3)
    assert summary(waiting) == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "b")]


def test_all_namespaces_are_watched_at_once_and_custom_kinds_too(api: Api, place: str) -> None:
    everywhere = "/apis/kubeflow.org/v1/tfjobs"
    since = version(api, everywhere)
    api.request("POST", jobs(place), tf_job("mine"))
    events = watch(api, everywhere, f"fieldSelector=metadata.namespace%3D{place}&resourceVersion={since}")
    [event] = first(events, 1)
    assert (event["type"], event["object"]["kind"], event["object"]["metadata"]["namespace"]) == (
        "ADDED",
        "TFJob",
        place,
    )


def test_a_streaming_list_says_where_the_list_ends(api: Api, place: str) -> None:
    path = configs(place)
    for name in ("a", "b"):
        api.request("POST", path, config(name, {"mine": "1"}))
    events = watch(api, path, f"{STREAMED}&labelSelector=mine")
    listed = first(events, 3)
    assert sorted(summary(listed)) == [("ADDED", "a"), ("ADDED", "b"), ("BOOKMARK", "")]
    mark = listed[2]["object"]
    assert (mark["kind"], mark["metadata"]["annotations"]) == ("ConfigMap", {"k8s.io/initial-events-end": "true"})
    api.request("POST", path, config("c", {"mine": "1"}))
    assert summary(first(events, 1)) == [("ADDED", "c")]
    resumed = watch(api, path, f"labelSelector=mine&resourceVersion={mark['metadata']['resourceVersion']}")
    assert summary(first(resumed, 1)) == [("ADDED", "c")]


def test_a_watch_ends_in_time_and_says_before_how_far_it_is(api: Api, place: str) -> None:
    path = configs(place)
    since = version(api, path)
    api.request("POST", path, config("a"))
    began = time.monotonic()
    events = api.stream(f"{path}?watch=true&allowWatchBookmarks=true&resourceVersion={since}&timeoutSeconds=5")
    assert summary(first(events, 1)) == [("ADDED", "a")]
    elsewhere = config("elsewhere")
    elsewhere["metadata"]["namespace"] = "default"
    now = int(api.create(elsewhere)["metadata"]["resourceVersion"])
    api.delete("v1", "ConfigMap", "elsewhere", "default")
    marks = list(events)  # one just before the end, and on a real server perhaps one before, by its own clock
    assert 4 < time.monotonic() - began < 30
    assert {(mark["type"], mark["object"]["kind"]) for mark in marks} == {("BOOKMARK", "ConfigMap")}
    assert int(marks[-1]["object"]["metadata"]["resourceVersion"]) >= now


@pytest.mark.parametrize(
    ("query", "code", "words"),
    [
        ("sendInitialEvents=true", 422, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"),
        ("resourceVersionMatch=Exact", 422, 'Unsupported value: "Exact": supported values: "NotOlderThan"'),
        ("resourceVersionMatch=NotOlderThan", 422, "is forbidden for watch unless sendInitialEvents is provided"),
        ("resourceVersion=soon", 500, 'resourceVersion: Invalid value: "soon"'),
        ("timeoutSeconds=soon", 400, 'strconv.ParseInt: parsing "soon": invalid syntax'),
        ("limit=some", 400, 'strconv.ParseInt: parsing "some": invalid syntax'),
        ("labelSelector=a%20in", 400, "unable to parse requirement: found '' expected: '('"),
        ("fieldSelector=spec.x%3D1", 400, '"spec.x" is not a known field selector'),
    ],
)
def test_a_watch_that_cannot_be_is_refused(api: Api, place: str, query: str, code: int, words: str) -> None:
    error = refusal(api, "GET", f"{configs(place)}?watch=true&{query}")
    assert (error.code, words in error.message) == (code, True), error.message


def test_a_list_is_of_no_version_that_is_to_come(api: Api, place: str) -> None:
    since = int(version(api, configs(place))) + 1_000_000
    error = refusal(api, "GET", f"{configs(place)}?resourceVersion={since}")
    assert (error.code, error.reason) == (504, "Timeout")
    assert f"Too large resource version: {since}, current: " in error.message


def test_tables_and_metadata_are_watched_as_they_are_listed(api: Api, place: str) -> None:
    path = configs(place)
    since = version(api, path)
    for name in ("a", "b"):
        api.request("POST", path, config(name, k="1"))
    one, two = first(watch(api, path, f"resourceVersion={since}", accept=TABLE), 2)
    assert [column["name"] for column in one["object"]["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert two["object"]["columnDefinitions"] is None
    assert [event["object"]["rows"][0]["cells"][:2] for event in (one, two)] == [["a", 1], ["b", 1]]
    [event] = first(watch(api, path, f"resourceVersion={since}", accept=PARTIAL), 1)
    assert (event["object"]["kind"], set(event["object"])) == (
        "PartialObjectMetadata",
        {"kind", "apiVersion", "metadata"},
    )


def test_what_is_forgotten_is_gone_in_each_of_the_ways_in_which_it_is_asked_for(site: Site, place: str) -> None:
    api, path = site.api, configs(place)
    for name in ("a", "b", "c"):
        api.request("POST", path, config(name, {"mine": "1"}))
    page = api.request("GET", f"{path}?labelSelector=mine&limit=1")
    since, token = page["metadata"]["resourceVersion"], page["metadata"]["continue"]
    api.request("DELETE", f"{path}/c")
    api.request("POST", path, config("bb", {"mine": "1"}))
    site.forget()
    # As an event of a watch that has begun well. A server's memory of a kind begins when the kind does: that of jobs
    # never reaches back to the first version, while that of a built-in kind does on a server which has just started.
    [event] = list(watch(api, f"/apis/kubeflow.org/v1/namespaces/{place}/tfjobs", "resourceVersion=1"))
    told: dict[str, Any] = event["object"]
    assert (event["type"], told["kind"], told["code"], told["reason"]) == ("ERROR", "Status", 410, "Expired")
    assert told["message"].startswith("too old resource version: 1 (")
    # As the answer to a list.
    exact = refusal(api, "GET", f"{path}?resourceVersion={since}&resourceVersionMatch=Exact")
    assert (exact.code, exact.reason) == (410, "Expired")
    # As the answer to the next page, with a token for the rest as it is now.
    expired = refusal(api, "GET", f"{path}?labelSelector=mine&limit=1&continue={token}")
    assert (expired.code, expired.reason) == (410, "Expired")
    assert "The provided continue parameter is too old" in expired.message
    rest = expired.status["metadata"]["continue"]
    assert names(api, f"{path}?labelSelector=mine&continue={rest}") == ["b", "bb"]
