"""Traffic: what changes of an object when requests are divided otherwise, and what does not."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jupyterlab_kf.controllers.seldon import validation
from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.manifests import traffic
from jupyterlab_kf.manifests.serving import servers
from jupyterlab_kf.manifests.serving.servers import ServerSpec, Version
from jupyterlab_kf.model import Obj


def sdep(**weights: int) -> Obj:
    predictors = [
        {
            "name": name,
            "traffic": weight,
            "graph": {"name": "m", "type": "MODEL"},
            "componentSpecs": [{"spec": {"containers": [{"name": "m", "image": "me/m:1"}]}}],
        }
        for name, weight in weights.items()
    ]
    return {"kind": "SeldonDeployment", "metadata": {"name": "iris"}, "spec": {"predictors": predictors}}


def routes(**weights: int) -> Obj:
    versions = tuple(Version(name=name, source="models/m", traffic=weight) for name, weight in weights.items())
    spec = ServerSpec(name="flowers", namespace="team", server=servers.TENSORFLOW, versions=versions)
    return servers.virtual_service(spec)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.floats(0, 1e6), min_size=1, max_size=8))
def test_shares_sum_to_a_hundred_and_are_within_one_of_what_was_asked(weights: dict[str, float]) -> None:
    if not any(weights.values()):
        with pytest.raises(UsageError):
            traffic.shares(weights)
        return
    found = traffic.shares(weights)
    assert sum(found.values()) == 100
    total = sum(weights.values())
    for name, weight in weights.items():
        assert abs(found[name] - 100 * weight / total) < 1 + 1e-9
    assert all(found[name] == 0 for name, weight in weights.items() if weight == 0)


def test_thirds_are_rounded_by_the_largest_remainder() -> None:
    assert traffic.shares({"a": 1, "b": 1, "c": 1}) == {"a": 34, "b": 33, "c": 33}
    assert traffic.shares({"a": 2, "b": 1}) == {"a": 67, "b": 33}


@given(st.lists(st.integers(0, 100), min_size=2, max_size=5), st.integers(0, 100))
def test_one_weight_is_moved_and_the_others_keep_their_proportion(given_: list[int], percent: int) -> None:
    weights = {f"v{at}": weight for at, weight in enumerate(given_)}
    moved = traffic.shifted(weights, "v0", percent)
    assert sum(moved.values()) == 100
    assert moved["v0"] == percent
    assert list(moved) == list(weights)


def test_a_single_version_answers_all() -> None:
    assert traffic.shifted({"v1": 100}, "v1", 100) == {"v1": 100}
    with pytest.raises(UsageError):
        traffic.shifted({"v1": 100}, "v1", 50)


@pytest.mark.parametrize("obj", [sdep(v1=90, v2=10), routes(v1=90, v2=10)], ids=["seldon", "istio"])
def test_weights_are_set_and_nothing_else_changes(obj: Obj) -> None:
    before = copy.deepcopy(obj)
    assert traffic.weights_of(obj) == {"v1": 90, "v2": 10}
    after = traffic.with_weights(obj, {"v2": 100})
    assert traffic.weights_of(after) == {"v1": 0, "v2": 100}
    assert obj == before, "what is handed in is not changed"
    assert traffic.with_weights(after, {"v1": 90, "v2": 10}) == obj


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"v1": 90}, "which is 90"),
        ({"v1": 50, "v2": 40, "v3": 10}, "no version 'v3'"),
        ({"v1": 99.5, "v2": 0.5}, "a whole number"),
        ({"v1": -10, "v2": 110}, "from 0 to 100"),
    ],
)
def test_weights_that_mean_nothing_are_refused(weights: Any, words: str) -> None:
    for obj in (sdep(v1=90, v2=10), routes(v1=90, v2=10)):
        with pytest.raises(UsageError, match=words):
            traffic.with_weights(obj, weights)


def test_every_change_of_weights_is_one_that_seldon_takes() -> None:
    obj = traffic.with_shadow(sdep(v1=100, v2=0), "v2", 10)
    assert validation.refused(obj) == []
    assert validation.refused(traffic.with_weights(sdep(v1=90, v2=10), {"v1": 1, "v2": 99})) == []


def test_a_shadow_answers_nothing_and_there_is_one() -> None:
    obj = traffic.with_shadow(sdep(v1=100, v2=0, v3=0), "v2", 10)
    assert traffic.weights_of(obj) == {"v1": 100, "v3": 0}
    with pytest.raises(UsageError, match="v2 is the shadow already"):
        traffic.with_shadow(obj, "v3")
    with pytest.raises(UsageError, match="answers 100 percent"):
        traffic.with_shadow(sdep(v1=100, v2=0), "v1")
    ended = traffic.with_shadow(obj, "v2", 0)
    assert "shadow" not in ended["spec"]["predictors"][1]


def test_a_seldon_deployments_own_routes_are_left_to_its_operator() -> None:
    for change in (
        lambda obj: traffic.with_header_rule(obj, "v1", {"user": "me"}),
        lambda obj: traffic.with_mirror(obj, "v2"),
        lambda obj: traffic.with_fault(obj, status=500),
    ):
        obj = sdep(v1=90, v2=10)
        with pytest.raises(UsageError, match="has no routes of its own"):
            change(obj)


def test_patience_is_said_where_each_kind_reads_it() -> None:
    seldon = traffic.with_patience(sdep(v1=100), timeout=2, retries=3)
    assert seldon["spec"]["annotations"] == {
        "seldon.io/rest-timeout": "2000",
        "seldon.io/grpc-timeout": "2000",
        "seldon.io/istio-retries": "3",
        "seldon.io/istio-retries-timeout": "1",
    }
    assert "seldon.io/istio-retries" not in traffic.with_patience(seldon, retries=0)["spec"]["annotations"]
    for route in traffic.with_patience(routes(v1=100), timeout=0.25, retries=2)["spec"]["http"]:
        assert route["timeout"] == "250ms"
        assert route["retries"] == {"attempts": 2, "retryOn": traffic.RETRY_ON}
    assert "reset" not in traffic.RETRY_ON, "feedback must not count twice"


def test_a_header_rule_stands_before_the_weights_and_goes_again() -> None:
    obj = routes(v1=90, v2=10)
    ruled = traffic.with_header_rule(obj, "v2", {"X-User": "me"})
    first = ruled["spec"]["http"][0]
    assert first["match"][0]["headers"]["x-user"] == {"exact": "me"}
    assert first["route"] == [{"destination": obj["spec"]["http"][0]["route"][1]["destination"]}]
    assert [one["name"] for one in ruled["spec"]["http"]] == [
        "rule-v2-flowers-grpc",
        "rule-v2-flowers-http",
        "flowers-grpc",
        "flowers-http",
    ]
    assert traffic.weights_of(ruled) == {"v1": 90, "v2": 10}
    moved = traffic.with_weights(ruled, {"v1": 100})
    assert "weight" not in moved["spec"]["http"][0]["route"][0], "a rule is no share"
    assert traffic.with_header_rule(ruled, "v2", {}) == obj
    again = traffic.with_header_rule(ruled, "v2", {"X-User": "you"})
    assert len(again["spec"]["http"]) == 4, "one rule takes the place of the other"


def test_a_mirror_gets_copies_of_a_part() -> None:
    obj = routes(v1=100, v2=0)
    seen = traffic.with_mirror(obj, "v2", 5)
    for route in seen["spec"]["http"]:
        assert route["mirror"]["subset"] == "v2"
        assert route["mirrorPercentage"] == {"value": 5.0}
    assert traffic.with_mirror(seen, "v2", 0) == obj
    with pytest.raises(UsageError, match="answers all requests itself"):
        traffic.with_mirror(obj, "v1")


def test_faults_come_and_go() -> None:
    obj = routes(v1=100)
    faulty = traffic.with_fault(obj, delay=1.5, status=503, percent=10)
    for route in faulty["spec"]["http"]:
        assert route["fault"] == {
            "delay": {"fixedDelay": "1500ms", "percentage": {"value": 10.0}},
            "abort": {"httpStatus": 503, "percentage": {"value": 10.0}},
        }
    assert traffic.with_fault(faulty) == obj
    with pytest.raises(UsageError):
        traffic.with_fault(obj, status=99)
