"""Graphs that are edited: from a version to a draft, and from a draft to the version that it would become."""

from __future__ import annotations

import ast
import asyncio
import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from serving_world import World, installed

import jupyterlab_kf as kf
from jupyterlab_kf.handlers import endpoints as handlers
from jupyterlab_kf.model import Obj
from jupyterlab_kf.services import session
from jupyterlab_kf.services.serving import editing, registry
from jupyterlab_kf.services.serving.editing import GraphDraft, Workshop

CELL = "class {name}:\n    def __init__(self, by={by}):\n        self.by = by\n    {what}\n        return self.by * X\n"
PREDICT = "def predict(self, X, names=None):"
BEFORE = "def transform_input(self, X, names=None):"


def cell(name: str, by: int, what: str = PREDICT) -> str:
    return CELL.format(name=name, by=by, what=what)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    made = installed(monkeypatch)
    here: Any = session.current()
    here.settings = replace(here.settings, models=str(tmp_path / "kept"))
    monkeypatch.setattr(editing, "place", lambda: registry.place(here.settings))
    return made


def two() -> kf.Endpoint:
    kf.serve(cell("Doubler", 2), name="iris", timeout=5)
    return kf.serve(cell("Tripler", 3), name="iris", canary=0, timeout=5)


def asked(world: World, work: Any, *given: Any) -> Any:
    async def client() -> World:
        return world

    return asyncio.run(work(SimpleNamespace(client=client), ("here", "iris", ""), *given))


def open_(world: World, version: str = "") -> Workshop:
    found: Workshop = asked(world, handlers.workshop, version)
    return found


def unit(found: Workshop, called: str, **more: Any) -> GraphDraft:
    """A kept model as a unit of a draft."""
    one = next(one for one in found.parts if one.called == called)
    return GraphDraft("new", more.pop("name", ""), one.type, model=one.model, unit=one.unit, called=called, **more)


def graph_of(world: World, version: str) -> Obj:
    found: Obj = kf.endpoint("iris")._read()
    assert world
    return next(one for one in found["spec"]["predictors"] if one["name"] == version)


def wish(draft: GraphDraft, version: str = "v1", percent: int = 100) -> dict[str, Any]:
    return {"what": "graph", "version": version, "percent": percent, "graph": json.loads(json.dumps(asdict(draft)))}


def test_a_router_is_put_above_a_model_reviewed_and_applied(world: World) -> None:
    endpoint = two()
    found = open_(world)
    assert (found.version, found.missing, found.draft.called, found.draft.name) == ("v1", "", "Doubler", "v1")
    assert {one.called for one in found.parts} == {"Doubler", "Tripler"}
    draft = GraphDraft("r", "", "ROUTER", "thompson", children=(found.draft, unit(found, "Tripler", name="new")))
    plan = asked(world, handlers.plan, wish(draft))
    assert endpoint.versions == {"v1": 100, "v2": 0}, "nothing is changed by planning"
    assert "+  - name: v3" not in plan.diff.splitlines()[0]
    assert "type: ROUTER" in plan.diff
    assert '"code"' not in plan.diff, "records are in short"
    assert plan.cause == "serve v3: route(v1, new, by='thompson')"
    call = ast.parse(plan.python).body[-1]
    assert "kf.route(kf.unit(kf.kept_model(" in ast.unparse(call)
    assert "kind: SeldonDeployment" in plan.yaml
    asked(world, handlers.change, {**wish(draft), "mark": plan.mark})
    assert endpoint.versions == {"v1": 0, "v2": 0, "v3": 100}
    graph = graph_of(world, "v3")["graph"]
    assert [one["name"] for one in graph["children"]] == ["iris-v3-v1", "iris-v3-new"]
    # What was copied makes the same.
    code = plan.python.replace("kf.serve(", "kf.plan_serve(").replace("endpoint = ", "again = ")
    scope: dict[str, Any] = {}
    exec(code, scope)
    again = scope["again"].endpoint["spec"]["predictors"][-1]["graph"]
    assert json.dumps(again).replace(f"iris-{scope['again'].version}", "iris-v3") == json.dumps(graph)


def test_what_was_edited_can_be_edited_again(world: World) -> None:
    two()
    found = open_(world)
    settings = {"epsilon": 0.2}
    children = (found.draft, unit(found, "Tripler"))
    draft = GraphDraft("r", "", "ROUTER", "epsilon-greedy", settings, children=children)
    plan = asked(world, handlers.plan, wish(draft, percent=50))
    asked(world, handlers.change, {**wish(draft, percent=50), "mark": plan.mark})
    again = open_(world, "v3").draft
    assert (again.type, again.by, again.settings) == ("ROUTER", "epsilon-greedy", settings)
    assert [(one.called, one.kept, one.name) for one in again.children] == [
        ("Doubler", True, "v1"),
        ("Tripler", True, "tripler"),
    ]
    assert kf.endpoint("iris").versions == {"v1": 50, "v2": 0, "v3": 50}
    assert sorted(one.called for one in open_(world, "v3").parts) == ["Doubler", "Tripler"], "each model once"
    # Two classes of one module name stay two modules.
    assert editing.part(again, {one.digest: one for one in kf.models()}.get)


def test_a_combiner_with_weights_and_what_stands_before_it(world: World) -> None:
    kf.serve(
        graph=kf.chain(
            kf.unit(cell("Scale", 2, BEFORE)),
            kf.combine(kf.unit(cell("A", 1)), kf.unit(cell("B", 1), params={"by": 7}), weights=[2, 1]),
        ),
        name="iris",
        timeout=5,
    )
    draft = open_(world).draft
    assert (draft.type, draft.called) == ("TRANSFORMER", "Scale")
    (mean,) = draft.children
    assert (mean.type, mean.by, mean.settings) == ("COMBINER", "mean", {"weights": [2.0, 1.0]})
    assert mean.children[1].settings == {"by": 7}
    plan = asked(world, handlers.plan, wish(replace(draft, children=(replace(mean, settings={}),))))
    assert plan.cause == "serve v2: chain(scale, combine(a, b, by='mean'))"


REFUSED = (
    ("ROUTER thompson", {}, 1, "a router has at least two parts"),
    ("ROUTER random", {}, 3, "by chance there are two parts to choose from, not 3"),
    ("ROUTER thompson", {"epsilon": 1}, 2, "thompson has no setting 'epsilon'"),
    ("COMBINER median", {}, 2, "there is no such way"),
    ("COMBINER mean", {"weights": [1]}, 2, "there are 1 weights and 2 parts"),
    ("MODEL", {}, 2, "leads to 2 parts"),
    ("ROUTER", {}, 2, "the model of router is not kept here"),
)


def test_what_is_no_graph_is_refused_in_the_words_of_serve(world: World) -> None:
    kf.serve(cell("Doubler", 2), name="iris", timeout=5)
    found = open_(world).draft
    for by, settings, count, why in REFUSED:
        type_, _, name = by.partition(" ")
        draft = GraphDraft("r", "", cast("Any", type_), name, settings, children=(found,) * count)
        if type_ == "MODEL":
            draft = replace(draft, model=found.model, called="Doubler")
        with pytest.raises(kf.UsageError, match=why):
            asked(world, handlers.plan, wish(draft))


@pytest.mark.parametrize("graph", [None, [], {"type": "MAGIC"}, {"type": "MODEL", "children": {"a": 1}}])
def test_what_is_no_draft_is_refused(graph: Any) -> None:
    with pytest.raises(kf.UsageError, match="no graph"):
        handlers.change_request({"what": "graph", "graph": graph})


def test_a_model_that_is_not_kept_is_named(world: World, tmp_path: Path) -> None:
    kf.serve(cell("Doubler", 2), name="iris", timeout=5)
    for record in (tmp_path / "kept" / "models").iterdir():
        record.unlink()
    found = open_(world)
    assert "v1: the model is not kept here" in found.missing
    with pytest.raises(kf.UsageError, match="the model of v1 is not kept here"):
        asked(world, handlers.plan, wish(found.draft))


def test_the_branches_of_a_bandit_of_versions_are_known(world: World) -> None:
    two().bandit("v1", "v2", timeout=5)
    found = open_(world, "bandit")
    assert (found.draft.by, found.missing) == ("epsilon-greedy", "")
    assert [(one.called, one.name) for one in found.draft.children] == [("Doubler", "v1"), ("Tripler", "v2")]
    plan = asked(world, handlers.plan, wish(replace(found.draft, by="ucb", settings={}), "bandit"))
    assert plan.cause == "serve v3: route(v1, v2, by='ucb')"
