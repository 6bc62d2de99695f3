"""A request's way through graphs of any shape, with units in memory."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from engine_world import Units, body, graph, node, walk
from hypothesis import given
from hypothesis import strategies as st

from jupyterlab_kf.runtime.serving.engine.builtin import Builtins
from jupyterlab_kf.runtime.serving.engine.graph import Graph, Node, Verb
from jupyterlab_kf.runtime.serving.engine.metrics import Metrics
from jupyterlab_kf.runtime.serving.engine.payloads import ALL, DIALECTS, NONE, Payload, PayloadError
from jupyterlab_kf.runtime.serving.engine.walk import FEEDBACK, REQUEST, RESPONSE, RequestError, UnitError, Walk
from jupyterlab_kf.runtime.serving.engine.wire import SeldonProto, member
from jupyterlab_kf.services.serving.measures import Branch, measured

ASK = Payload(b'{"data":{"ndarray":[[1.0]]}}')


async def test_the_order_is_transform_route_children_combine_transform() -> None:
    root = node(
        "root", "UNKNOWN_TYPE", node("a", "MODEL"), node("b", "MODEL"),
        methods=["TRANSFORM_INPUT", "ROUTE", "AGGREGATE", "TRANSFORM_OUTPUT"],
    )  # fmt: skip
    units = Units({("root", Verb.ROUTE): [-1]})
    await walk(graph(root), units).predict(ASK)
    asked = [verb.name for name, verb in units.asked if name == "root"]
    assert asked == ["TRANSFORM_INPUT", "ROUTE", "AGGREGATE", "TRANSFORM_OUTPUT"]
    assert {name for name, _ in units.asked[2:4]} == {"a", "b"}


async def test_a_model_with_a_child_is_a_chain() -> None:
    units = Units({("a", Verb.PREDICT): {"strData": "from a"}})
    answer = await walk(graph(node("a", "MODEL", node("b", "MODEL"))), units).predict(ASK)
    assert units.bodies["b", Verb.PREDICT] == b'{"strData": "from a"}'
    assert body(answer)["data"]["ndarray"] == ["b"]


async def test_a_combiner_gets_the_bare_array_of_what_the_branches_said_byte_for_byte() -> None:
    odd = b'{ "data" : {"ndarray":[1.10, 1e400, "\\u00e9"]} }'
    units = Units({("a", Verb.PREDICT): odd, ("b", Verb.PREDICT): b'{"strData":"x"}'})
    await walk(graph(node("c", "COMBINER", node("a", "MODEL"), node("b", "MODEL"))), units).predict(ASK)
    assert units.bodies["c", Verb.AGGREGATE] == b"[" + odd + b',{"strData":"x"}]'


async def test_branches_are_asked_in_parallel_and_combined_in_their_order() -> None:
    units = Units(delays={"slow": 20})
    await walk(graph(node("c", "COMBINER", node("slow", "MODEL"), node("fast", "MODEL"))), units).predict(ASK)
    said = json.loads(units.bodies["c", Verb.AGGREGATE])
    assert [one["data"]["ndarray"][0] for one in said] == ["slow", "fast"]
    assert [name for name, _ in units.asked] == ["slow", "fast", "c"]


@pytest.mark.parametrize(
    ("said", "branch"), [([1], 1), ({"data": {"ndarray": [[1, 0]]}}, 1), (1, 1), ([-1], -1), ([-2], -2)]
)
async def test_a_router_may_answer_a_message_or_an_array_and_the_choice_is_recorded(said: Any, branch: int) -> None:
    units = Units({("r", Verb.ROUTE): json.dumps(said).encode()})
    answer = await walk(graph(node("r", "ROUTER", node("a", "MODEL"), node("b", "MODEL"))), units).predict(ASK)
    assert body(answer)["meta"]["routing"]["r"] == branch
    asked = {name for name, verb in units.asked if verb is Verb.PREDICT}
    assert asked == {ALL: {"a", "b"}, NONE: set(), 1: {"b"}}[branch]


async def test_no_branch_at_all_answers_with_the_request() -> None:
    units = Units({("r", Verb.ROUTE): [-2]})
    answer = await walk(graph(node("r", "ROUTER", node("a", "MODEL"))), units).predict(ASK)
    assert body(answer)["data"] == {"ndarray": [[1.0]]}


@pytest.mark.parametrize("said", [[2], [-3], [], ["a"], [0.5], {"data": {"ndarray": []}}, [True], {"strData": "1"}])
async def test_a_choice_that_is_no_branch_is_an_error_that_names_it(said: Any) -> None:
    units = Units({("r", Verb.ROUTE): said})
    with pytest.raises(PayloadError, match="branch"):
        await walk(graph(node("r", "ROUTER", node("a", "MODEL"), node("b", "MODEL"))), units).predict(ASK)


async def test_what_units_say_in_meta_reaches_the_client_and_nothing_counts_twice() -> None:
    first = {"key": "seen", "type": "COUNTER", "value": 1}
    second = {"key": "took", "type": "TIMER", "value": 20.5}
    units = Units(
        {
            ("a", Verb.PREDICT): {"meta": {"tags": {"v": 1, "a": True}, "metrics": [first]}, "strData": "x"},
            ("b", Verb.PREDICT): {"meta": {"tags": {"v": 2}, "metrics": [first, second]}, "strData": "y"},
        }
    )
    images = [{"spec": {"containers": [{"name": "a", "image": "me/a:1"}, {"name": "b", "image": "me/b:2"}]}}]
    planned = graph(node("a", "MODEL", node("b", "MODEL")), componentSpecs=images)
    meta = body(await walk(planned, units).predict(ASK))["meta"]
    assert meta["tags"] == {"v": 2, "a": True}
    assert meta["metrics"] == [first, second]
    assert meta["requestPath"] == {"a": "me/a:1", "b": "me/b:2"}
    assert meta["puid"] == "p1"


async def test_an_answer_that_is_no_object_passes_as_it_is() -> None:
    answer = await walk(graph(node("a", "MODEL")), Units({("a", Verb.PREDICT): b"plain text"})).predict(ASK)
    assert answer.body == b"plain text"


async def test_all_branches_come_to_their_end_before_the_first_failure_is_told() -> None:
    units = Units(
        {("a", Verb.PREDICT): UnitError("a is gone"), ("b", Verb.PREDICT): UnitError("b is gone")}, delays={"c": 9}
    )
    done = []
    units.answers["c", Verb.PREDICT] = lambda _: (done.append("c"), {"strData": "late"})[1]  # type: ignore[func-returns-value]
    with pytest.raises(UnitError, match="a is gone"):
        await walk(graph(node("k", "COMBINER", *(node(one, "MODEL") for one in "cab"))), units).predict(ASK)
    assert done == ["c"]


async def test_feedback_takes_the_way_of_its_answer_children_first() -> None:
    planned = graph(node("r", "ROUTER", node("a", "MODEL"), node("b", "MODEL", node("b2", "MODEL"))))
    units = Units({("r", Verb.ROUTE): [1]})
    answer = await walk(planned, units).predict(ASK)
    units.asked.clear()
    feedback = Payload(json.dumps({"response": body(answer), "reward": 1.0}).encode())
    told = await walk(planned, units).feedback(feedback)
    assert units.asked == [("b2", Verb.FEEDBACK), ("b", Verb.FEEDBACK), ("r", Verb.FEEDBACK)]
    assert units.bodies["r", Verb.FEEDBACK] == feedback.body
    assert body(told)["data"]["ndarray"] == ["r"]


async def test_feedback_on_an_answer_without_routing_goes_everywhere_but_to_units_that_cannot_learn() -> None:
    planned = graph(node("c", "COMBINER", node("t", "TRANSFORMER", node("a", "MODEL")), node("b", "MODEL")))
    units = Units()
    told = await walk(planned, units).feedback(Payload(b'{"reward":0.5}'))
    assert sorted(units.asked) == sorted([("a", Verb.FEEDBACK), ("b", Verb.FEEDBACK)])
    assert told.body == b'{"reward":0.5}'


async def test_a_failed_feedback_is_not_repeated_and_what_is_above_does_not_learn_from_it() -> None:
    units = Units({("a", Verb.FEEDBACK): UnitError("lost")})
    with pytest.raises(UnitError, match="lost"):
        await walk(graph(node("r", "ROUTER", node("a", "MODEL"))), units).feedback(Payload(b"{}"))
    assert units.asked == [("a", Verb.FEEDBACK)]


@pytest.mark.parametrize("text", [b"nonsense", b'{"response":{"meta":{"routing":{"r":5}}}}'])
async def test_a_feedback_that_cannot_be_routed_reaches_nobody(text: bytes) -> None:
    units = Units()
    with pytest.raises(RequestError):
        await walk(graph(node("r", "ROUTER", node("a", "MODEL"))), units).feedback(Payload(text))
    assert units.asked == []


async def test_feedback_of_other_protocols_is_taken_and_reaches_nobody() -> None:
    units = Units()
    told = await walk(graph(node("a", "MODEL")), units, "v2").feedback(Payload(b'{"reward":1}'))
    assert (told.body, units.asked) == (b'{"reward":1}', [])


async def test_an_ab_test_divides_by_its_ratio() -> None:
    draws = iter([0.1, 0.29, 0.31, 0.9])
    models = [node(name, "MODEL", implementation="SIMPLE_MODEL") for name in "ab"]
    ratio = [{"name": "ratioA", "value": "0.3", "type": "FLOAT"}, {"name": "other", "value": "1", "type": "INT"}]
    root = node("ab", "UNKNOWN_TYPE", *models, implementation="RANDOM_ABTEST", parameters=ratio)
    planned = graph(root)
    answers = [await walk(planned, Builtins(lambda: next(draws))).predict(ASK) for _ in range(4)]
    assert [body(answer)["meta"]["routing"]["ab"] for answer in answers] == [0, 0, 1, 1]
    assert body(answers[0])["data"]["tensor"]["values"] == [0.1, 0.9, 0.5]


async def test_built_in_units_route_and_average() -> None:
    models = [node(name, "MODEL", implementation="SIMPLE_MODEL") for name in "ab"]
    planned = graph(node("m", "COMBINER", *models, implementation="AVERAGE_COMBINER"))
    data = body(await walk(planned, Builtins()).predict(ASK))["data"]
    assert data == {"names": ["class0", "class1", "class2"], "tensor": {"shape": [1, 3], "values": [0.1, 0.9, 0.5]}}
    routed = await walk(graph(node("r", "ROUTER", *models, implementation="SIMPLE_ROUTER")), Builtins()).predict(ASK)
    assert body(routed)["meta"]["routing"] == {"r": 0, "a": -1}


async def test_loggers_get_each_payload_once() -> None:
    taken: list[tuple[str, str, bytes]] = []

    def tap(unit: Node, event: str, payload: Payload) -> None:
        taken.append((unit.name, event, payload.body))

    log = {"mode": "all", "url": "http://log"}
    planned = graph(node("c", "COMBINER", node("a", "MODEL", logger={**log, "mode": "request"}), logger=log))
    units = Units({("c", Verb.AGGREGATE): b'{"strData":"out"}'})
    await walk(planned, units, tap=tap).predict(ASK)
    await walk(planned, units, tap=tap).feedback(Payload(b'{"reward":1}'))
    assert taken == [
        ("c", REQUEST, ASK.body),
        ("a", REQUEST, ASK.body),
        ("c", RESPONSE, b'{"strData":"out"}'),
        ("c", FEEDBACK, b'{"reward":1}'),
    ]


KINDS = ["MODEL", "ROUTER", "COMBINER", "TRANSFORMER", "OUTPUT_TRANSFORMER"]


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Graph, dict[str, int]]:
    """Any graph of up to four levels, and what each of its routers will choose."""
    choices: dict[str, int] = {}
    number = iter(range(10_000))

    def make(depth: int) -> dict[str, Any]:
        name = f"n{next(number)}"
        children = [make(depth - 1) for _ in range(draw(st.integers(0, 3)) if depth else 0)]
        kind = draw(st.sampled_from(KINDS if children else ["MODEL", "TRANSFORMER", "OUTPUT_TRANSFORMER"]))
        methods = draw(st.sets(st.sampled_from(["TRANSFORM_INPUT", "TRANSFORM_OUTPUT", "SEND_FEEDBACK"])))
        if kind == "ROUTER":
            choices[name] = draw(st.integers(-2, len(children) - 1))
        return node(name, kind, *children, methods=sorted(methods))

    return graph(make(draw(st.integers(0, 3)))), choices


def reached(unit: Node, choices: dict[str, int]) -> list[Node]:
    """Every node that a request goes through."""
    branch = choices.get(unit.name, ALL)
    children = {ALL: unit.children, NONE: ()}.get(branch) if branch < 0 else (unit.children[branch],)
    return [unit, *(below for child in children or () for below in reached(child, choices))]


@given(graphs())
def test_in_any_graph_feedback_reaches_exactly_the_units_that_answered_and_can_learn(
    made: tuple[Graph, dict[str, int]],
) -> None:
    planned, choices = made
    units = Units({(name, Verb.ROUTE): [branch] for name, branch in choices.items()})
    on_the_way = reached(planned.root, choices)

    async def serve() -> Payload:
        answer = await walk(planned, units).predict(ASK)
        units.asked.clear()
        await walk(planned, units).feedback(Payload(json.dumps({"response": body(answer)}).encode()))
        return answer

    answer = asyncio.run(serve())
    routing = body(answer)["meta"]["routing"]
    assert all(routing[name] == branch for name, branch in choices.items() if name in {one.name for one in on_the_way})
    assert set(routing) <= {one.name for one in on_the_way}
    told = [name for name, _ in units.asked]
    assert sorted(told) == sorted(one.name for one in on_the_way if Verb.FEEDBACK in one.verbs)
    place = {name: index for index, name in enumerate(told)}
    for one in on_the_way:
        below = [place[child.name] for child in one.nodes() if child.name != one.name and child.name in place]
        assert one.name not in place or all(index < place[one.name] for index in below)


@given(graphs())
def test_in_any_graph_each_unit_on_the_way_is_asked_once_for_each_of_its_verbs(
    made: tuple[Graph, dict[str, int]],
) -> None:
    planned, choices = made
    units = Units({(name, Verb.ROUTE): [branch] for name, branch in choices.items()})
    asyncio.run(walk(planned, units).predict(ASK))
    assert len(units.asked) == len(set(units.asked))
    assert {name for name, _ in units.asked} == {
        one.name for one in reached(planned.root, choices) if _asked(one, choices)
    }


def _asked(one: Node, choices: dict[str, int]) -> bool:
    verbs = one.verbs - {Verb.FEEDBACK}
    if one.kind == "COMBINER" and choices.get(one.name) == NONE:
        verbs -= {Verb.AGGREGATE}
    return bool(verbs)


async def test_a_router_without_a_server_counts_choices_and_rewards_of_its_branches() -> None:
    planned = graph(node("ab", "ROUTER", node("a", "MODEL"), node("b", "MODEL"), implementation="RANDOM_ABTEST"))
    counted = Metrics({"deployment_name": "iris"})
    chances = iter([0.1, 0.9, 0.9])
    builtin, units = Builtins(lambda: next(chances)), Units()

    async def call(unit: Node, verb: Verb, payload: Payload | None) -> Payload:
        return await (builtin if unit.builtin else units)(unit, verb, payload)

    answers = []
    for _ in range(3):
        one = Walk(planned, DIALECTS["seldon"], call, tally=counted.branches)
        answers.append(body(await one.predict(ASK)))
    for answer, reward in zip(answers, (1, 0.5, -1), strict=True):
        told = Payload(json.dumps({"response": answer, "reward": reward}).encode())
        await Walk(planned, DIALECTS["seldon"], call, tally=counted.branches).feedback(told)
    page = counted.page([]).decode()
    assert 'kf_router_pulls_total{branch="b",deployment_name="iris",router="ab"} 2.0' in page
    assert measured([page]).branches == {"a": Branch(1, 1, 1.0), "b": Branch(2, 2, -0.25)}
    # Another replica has its own sums: they add up.
    assert measured([page, page]).branches["b"] == Branch(4, 4, -0.25)


def test_a_reward_is_read_from_both_forms_of_a_feedback() -> None:
    assert DIALECTS["seldon"].reward(Payload(b'{"reward": 0.5}')) == 0.5
    assert SeldonProto().reward(Payload(member(2, b"") + b"\x1d\x00\x00\x00\x3f")) == 0.5
