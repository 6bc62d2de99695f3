"""What the panels ask of an endpoint: a prediction, a change that is shown before it is made, and how it does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import serving_world
from serving_world import World, installed
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]
from sklearn.naive_bayes import GaussianNB  # type: ignore[import-untyped]
from sklearn.neighbors import KNeighborsClassifier  # type: ignore[import-untyped]
from sklearn.pipeline import Pipeline  # type: ignore[import-untyped]
from sklearn.preprocessing import StandardScaler  # type: ignore[import-untyped]
from sklearn.tree import DecisionTreeClassifier  # type: ignore[import-untyped]

import jupyterlab_kf as kf
from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.gate import Gate
from jupyterlab_kf.cluster.transport import Reply
from jupyterlab_kf.handlers import endpoints
from jupyterlab_kf.handlers.asks import Endpoint
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import monitors
from jupyterlab_kf.model import Obj, Ref
from jupyterlab_kf.services.serving import samples
from jupyterlab_kf.services.serving.findings import Finding, Findings
from jupyterlab_kf.services.serving.live import (
    MOST_FINDINGS,
    EndpointFeed,
    EndpointFeeds,
    EndpointKey,
    sample,
    short,
    totals,
)
from jupyterlab_kf.services.serving.measures import Branch, Measures, measured
from jupyterlab_kf.services.serving.states import EndpointView
from jupyterlab_kf.widgets.endpoints import endpoint_card
from jupyterlab_kf.widgets.wire import MIME_ENDPOINT

WHERE = ("here", "iris", "")
ROWS = [[5.1, 3.5, 1.4, 0.2], [6.2, 2.9, 4.3, 1.3], [7.7, 3.8, 6.7, 2.2]]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return installed(monkeypatch)


def serve(**more: Any) -> kf.Endpoint:
    return kf.serve(LogisticRegression().fit(ROWS, [0, 1, 2]), name="iris", timeout=5, **more)


def asked(world: World, work: Any, *given: Any) -> Any:
    async def client() -> World:
        return world

    return asyncio.run(work(SimpleNamespace(client=client), WHERE, *given))


def test_a_prediction_by_hand_says_who_answered(world: World) -> None:
    serve()
    answer = asked(world, endpoints.predict, {"value": ROWS[:1]})
    assert (answer.value, answer.version) == ([10.2], "v1")
    asked(world, endpoints.feedback, {"request": answer.request, "response": answer.response, "reward": 1})
    version, path, message = world.sent[-1]
    assert (version, path, message["reward"]) == ("v1", "api/v1.0/feedback", 1.0)


def test_a_feedback_reaches_the_version_that_answered(world: World) -> None:
    serve()
    serve(canary=10)
    response = {"meta": {"requestPath": {"iris-v2": "image"}}}
    asked(world, endpoints.feedback, {"request": {}, "response": response, "reward": 0.5})
    assert world.sent[-1][0] == "v2"


def test_what_is_changed_of_a_record_is_one_short_line(world: World) -> None:
    serve()
    serve(canary=10)
    plan = asked(world, endpoints.plan, {"what": "promote", "version": "v2"})
    lines = [one for one in plan.diff.splitlines() if "provenance" in one]
    assert lines
    for line in lines:
        assert "(LogisticRegression, sklearn, model " in line
        assert len(line) < 160
    assert plan.python == "import jupyterlab_kf as kf\n\nkf.endpoint('iris', 'here').promote('v2')\n"
    assert "name: v1" not in plan.yaml


@pytest.mark.parametrize(
    ("model", "row"),
    [
        (StandardScaler().fit(ROWS), (6.333, 3.4, 4.133, 1.233)),
        (KNeighborsClassifier(1).fit(ROWS, [0, 1, 2]), tuple(ROWS[0])),
        (
            Pipeline([("scale", StandardScaler()), ("nb", GaussianNB())]).fit(ROWS, [0, 1, 2]),
            (6.333, 3.4, 4.133, 1.233),
        ),
        (DecisionTreeClassifier(random_state=0).fit([[0.0, 5.0], [1.0, 5.0]], [0, 1]), (0.5, 1.0)),
        (LogisticRegression().fit(ROWS, [0, 1, 2]), ()),
    ],
)
def test_a_fitted_model_remembers_a_row_that_it_might_be_asked(model: Any, row: tuple[float, ...]) -> None:
    assert samples.remembered(model, model.n_features_in_) == pytest.approx(row)


def test_the_row_that_is_offered_is_the_one_that_was_given(world: World) -> None:
    serve(example=ROWS[1:])
    assert json.loads(asked(world, endpoints.detail).example) == [ROWS[1]]
    assert json.loads(kf.endpoint("iris").view().versions[0].example) == [ROWS[1]]
    assert samples.given([[float("nan")]]) == ()
    assert samples.given([["a", 1]]) == ("a", 1)
    assert samples.given([list(range(1000))]) == ()


def test_branches_of_a_router_are_measured() -> None:
    text = """# TYPE kf_router_pulls counter
kf_router_pulls_total{{branch="v1",worker_id="1"}} {0}
kf_router_pulls_total{{branch="v2",worker_id="1"}} 3
# TYPE kf_router_reward_mean gauge
kf_router_reward_mean{{branch="v1"}} 0.25
"""
    before, after = measured([text.format(4)]), measured([text.format(10)])
    assert after.branches["v2"] == Branch(chosen=3)
    moment = sample({"b": before}, {"b": after}, 1.0, 2.0).versions["b"]
    assert (moment.branches["v1"].rate, moment.branches["v1"].reward, moment.branches["v2"].rate) == (3.0, 0.25, 0.0)
    assert totals(after).branches["v1"].chosen == 10


@pytest.mark.parametrize("said", [{}, {"request": {}, "response": {}, "reward": "much"}, {"request": 1, "reward": 1}])
def test_a_feedback_that_is_none_is_not_sent(world: World, said: dict[str, Any]) -> None:
    serve()
    with pytest.raises(kf.UsageError):
        asked(world, endpoints.feedback, said)
    assert not world.sent


def test_a_change_is_shown_before_it_is_made(world: World) -> None:
    serve()
    endpoint = serve(canary=10)
    wish = {"what": "traffic", "shares": {"v1": 60, "v2": 40}}
    plan = asked(world, endpoints.plan, wish)
    assert endpoint.versions == {"v1": 90, "v2": 10}, "nothing is changed by planning"
    assert "-    traffic: 90" in plan.diff
    assert "+    traffic: 60" in plan.diff
    asked(world, endpoints.change, {**wish, "mark": plan.mark})
    assert endpoint.versions == {"v1": 60, "v2": 40}
    assert endpoint.history()[-1].cause == "traffic: v1 60, v2 40"


def test_what_was_changed_since_it_was_shown_is_not_overwritten(world: World) -> None:
    serve()
    endpoint = serve(canary=10)
    wish = {"what": "promote", "version": "v2"}
    plan = asked(world, endpoints.plan, wish)
    endpoint.traffic(v1=20, v2=80)
    with pytest.raises(kf.KubeflowError, match="has changed since this was planned"):
        asked(world, endpoints.change, {**wish, "mark": plan.mark})
    assert endpoint.versions == {"v1": 20, "v2": 80}


def test_promoting_and_going_back(world: World) -> None:
    serve()
    endpoint = serve(canary=10)
    for wish, left in (
        ({"what": "promote", "version": "v2"}, {"v2": 100}),
        ({"what": "rollback"}, {"v1": 90, "v2": 10}),
    ):
        plan = asked(world, endpoints.plan, wish)
        assert plan.slow
        asked(world, endpoints.change, {**wish, "mark": plan.mark})
        assert endpoint.versions == left


@pytest.mark.parametrize(
    "said",
    [
        {"what": "explode"},
        {"what": "traffic", "shares": {"v1": "all"}},
        {"what": "traffic", "shares": {"v1": 101}},
        {"what": "rollback", "revision": "first"},
        {"what": "promote", "url": "http://somewhere"},
    ],
)
def test_what_is_no_change_is_refused(said: dict[str, Any]) -> None:
    with pytest.raises(kf.UsageError):
        endpoints.change_request(said)


def test_the_page_has_the_history_and_a_request_to_try(world: World) -> None:
    serve()
    serve(canary=10)
    found = asked(world, endpoints.detail)
    assert [one.number for one in found.revisions] == [3, 2, 1]
    assert found.revisions[-1].author == "ada"
    assert found.example == "[[1.0, 1.0, 1.0, 1.0]]", "a linear model remembers no row"
    assert found.revisions[-1].models.keys() == {"v1"}
    assert found.url == "/seldon/here/iris/api/v1.0/predictions"
    assert "kind: SeldonDeployment" in found.manifest


def test_an_endpoint_that_took_the_name_of_another_is_not_it(world: World) -> None:
    serve()
    with pytest.raises(kf.KubeflowError, match="not on the cluster any more"):
        asyncio.run(endpoints.delete(SimpleNamespace(client=lambda: _now(world)), ("here", "iris", "other")))  # type: ignore[arg-type]
    asked(world, endpoints.delete)
    assert not world.endpoints()


async def _now(world: World) -> World:
    return world


def test_what_a_cell_shows_has_all_that_the_live_card_needs(world: World) -> None:
    serve()
    world.broken.add("v2")
    with pytest.raises(kf.EndpointNotReadyError):
        serve(canary=10)
    bundle = endpoint_card(kf.endpoint("iris").view()).bundle()
    data = bundle[MIME_ENDPOINT]
    assert [(one["name"], one["state"], one["width"]) for one in data["versions"]] == [
        ("v1", "Ready", 4),
        ("v2", "Failed", 4),
    ]
    assert data["versions"][0]["units"] == {"name": "iris-v1", "type": "MODEL", "children": []}
    assert "ModuleNotFoundError" in data["versions"][1]["explanation"]["traceback"]
    assert {"text/html", "text/plain"} < bundle.keys()


def test_measures_become_what_happened_between_two_readings() -> None:
    before = Measures(requests=10, errors=1, buckets={0.01: 10.0, 0.1: 10.0, float("inf"): 10.0})
    after = Measures(requests=30, errors=5, buckets={0.01: 10.0, 0.1: 30.0, float("inf"): 30.0}, seconds={0.5: 0.02})
    found = sample({"v1": before, "v2": before}, {"v1": after, "v2": Measures(), "v3": after}, 7.0, 2.0)
    assert found.at == 7.0
    assert found.versions.keys() == {"v1"}, "v2 was started again, and v3 was not there"
    moment = found.versions["v1"]
    assert (moment.rate, moment.errors) == (10.0, 2.0)
    assert moment.p50 == pytest.approx(0.055)
    assert moment.p95 == pytest.approx(0.0955)
    assert totals(after).requests == 30
    assert totals(after).p50 == 0.02


def test_a_browser_is_sent_an_endpoint_once_and_then_what_is_new() -> None:
    feed = EndpointFeed(EndpointKey("here", "iris"))
    ask = Endpoint("3", feed, lambda: None)
    desk: Any = None
    assert list(ask.frames(desk)) == []

    def measure() -> None:
        feed.samples.append(sample({"v1": Measures()}, {"v1": Measures(requests=4)}, float(feed.taken), 2.0))
        feed.taken += 1

    feed.view = EndpointView(Ref("SeldonDeployment", "iris", "here"), "Ready", "seldon", "/x", ())
    measure()
    (first,) = ask.frames(desk)
    assert (first["fresh"], len(first["samples"]), first["view"]["state"]) == (True, 1, "Ready")
    measured = {"rate": 2.0, "errors": 0.0, "p50": None, "p95": None, "p99": None, "reward": None, "branches": {}}
    assert first["samples"][0]["versions"]["v1"] == measured
    assert list(ask.frames(desk)) == []
    measure()
    measure()
    (second,) = ask.frames(desk)
    assert (second["fresh"], [one["at"] for one in second["samples"]]) == (False, [1.0, 2.0])
    feed.gone = True
    (third,) = ask.frames(desk)
    assert third["gone"]


def test_a_browser_is_sent_what_the_monitor_found_when_that_is_new() -> None:
    feed = EndpointFeed(EndpointKey("here", "iris"))
    feed.view = EndpointView(Ref("SeldonDeployment", "iris", "here"), "Ready", "seldon", "/x", ())
    ask = Endpoint("3", feed, lambda: None)
    desk: Any = None
    (first,) = ask.frames(desk)
    assert (first["monitored"], first["findings"], first["unwatched"]) == (False, None, "")
    many = [Finding("feature", f"x{at}", "ks", at / 200, 1.0, 300, alarm=at == 7) for at in range(100)]
    feed.findings = short(Findings(tuple(many), rows=300))
    (second,) = ask.frames(desk)
    names = [one["name"] for one in second["findings"]["findings"]]
    assert (names[:2], len(names)) == (["x7", "x99"], MOST_FINDINGS)
    feed.taken += 1
    (third,) = ask.frames(desk)
    assert (third["monitored"], third["findings"]) == (True, None), "it is as it was"
    feed.unwatched = "the monitor does not answer"
    (fourth,) = ask.frames(desk)
    assert (fourth["monitored"], fourth["unwatched"]) == (True, "the monitor does not answer")


class Watched(World):
    """The same cluster, with watches on it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Gate(self.probe)
        self.news: dict[str, asyncio.Queue[bytes]] = {}

    async def probe(self) -> None:
        """It answers."""

    async def snapshot(self, kind: Kind, *_: Any, **__: Any) -> tuple[list[Obj], str]:
        return (await self.list(kind) if kind is kinds.POD else self.endpoints()), "1"

    @asynccontextmanager
    async def stream(self, path: str, **_: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        queue = self.queue("pods" if "/pods" in path else "endpoints")

        async def lines() -> AsyncIterator[bytes]:
            while True:
                yield await queue.get()

        yield lines()

    def queue(self, of: str) -> asyncio.Queue[bytes]:
        return self.news.setdefault(of, asyncio.Queue())

    def tell(self, of: str, type_: str, obj: Obj) -> None:
        head = {**obj["metadata"], "resourceVersion": str(1000 + self.count)}
        self.queue(of).put_nowait(json.dumps({"type": type_, "object": {**obj, "metadata": head}}).encode())


async def until(condition: Any) -> None:
    for _ in range(5000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came")


def test_an_endpoint_is_followed_while_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_world, "World", Watched)
    world: Any = installed(monkeypatch)
    world.slow.add("v1")
    serve(wait=False)

    async def look() -> None:
        feeds = EndpointFeeds(lambda: _now(world), lambda _: asyncio.sleep(0))
        told: list[str] = []
        feed, leave = feeds.look(EndpointKey("here", "iris"), lambda: told.append(feed.view.state if feed.view else ""))
        again, leave_too = feeds.look(EndpointKey("here", "iris"), lambda: None)
        assert again is feed, "however many look, it is followed once"
        await until(lambda: feed.view is not None)
        assert feed.view is not None
        assert (feed.view.state, feed.view.divided) == ("Starting", True)
        world.slow.clear()
        world.tell("pods", "MODIFIED", (await world.list(kinds.POD))[0])
        await until(lambda: feed.view is not None and feed.view.state == "Ready")
        await until(lambda: feed.taken > 1)
        assert feed.samples[-1].versions["v1"].rate == 0.0
        leave_too()
        world.tell("endpoints", "DELETED", world.endpoints()[0])
        await until(lambda: feed.gone)
        assert told[-1] == "Ready", "its last state is what is known of it"
        leave()
        other, away = feeds.look(EndpointKey("here", "iris", "another"), lambda: None)
        await until(lambda: other.gone)
        away()
        await feeds.stop("the panels look elsewhere now")

    asyncio.run(look())


class Monitored(Watched):
    """An endpoint with a monitor that says something, and then is away."""

    def __init__(self) -> None:
        super().__init__()
        self.away = False

    async def proxy(self, namespace: str, name: str, *given: Any, **more: Any) -> Reply:
        if name != "iris-monitor":
            return await super().proxy(namespace, name, *given, **more)
        if self.away:
            raise kf.ApiError("no endpoints available", code=503)
        counts = {"rows": 7, "copies": 3, "unread": 0}
        plan = {"sample": 1.0, "window": 300, "least": 100}
        return Reply(200, {}, json.dumps({"counts": counts, "plan": plan, **LISTS, "started": 1.0}).encode())


LISTS: dict[str, Any] = {"findings": [], "alarms": []}


def test_what_the_monitor_found_is_followed_while_somebody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_world, "World", Monitored)
    world: Any = installed(monkeypatch)
    serve()

    async def look() -> None:
        feeds = EndpointFeeds(lambda: _now(world), lambda _: asyncio.sleep(0))
        feed, leave = feeds.look(EndpointKey("here", "iris"), lambda: None)
        await until(lambda: feed.taken > 1)
        assert (feed.findings, feed.unwatched) == (None, ""), "it has no monitor"
        (endpoint,) = world.endpoints()
        where = monitors.url(endpoint)
        endpoint["spec"]["predictors"] = monitors.logged(endpoint["spec"]["predictors"], where, 1.0)
        world.tell("endpoints", "MODIFIED", endpoint)
        await until(lambda: feed.findings is not None and feed.findings.rows == 7)
        world.away = True
        await until(lambda: "does not answer" in feed.unwatched)
        assert feed.findings is not None, "what was found last is still shown"
        leave()
        await feeds.stop("the panels look elsewhere now")

    asyncio.run(look())
