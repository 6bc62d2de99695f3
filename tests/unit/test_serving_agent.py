"""KServe's agent as ours: how requests become a batch, and what each gets of its answer."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from jupyterlab_kf.runtime.serving.agent import Answer, Batcher, instances_of, made_of, parser


class Doubler:
    """A server that doubles numbers, and refuses what is none."""

    def __init__(self) -> None:
        self.asked: list[list[Any]] = []

    async def ask(self, _path: str, body: bytes) -> Answer:
        instances = json.loads(body)["instances"]
        self.asked.append(instances)
        if not all(isinstance(one, int) for one in instances):
            return Answer(400, b'{"error": "numbers only"}')
        return Answer(200, json.dumps({"predictions": [2 * one for one in instances]}).encode())


def joined(size: int, *requests: list[Any]) -> tuple[list[Answer], list[list[Any]]]:
    """What each of several requests at once gets, and what the server was asked."""
    server = Doubler()

    async def work() -> list[Answer]:
        batcher = Batcher(size, 0.0, server.ask)
        return list(await asyncio.gather(*(batcher.join("/v1/models/m:predict", one) for one in requests)))

    return asyncio.run(work()), server.asked


def said(answer: Answer) -> Any:
    return json.loads(answer.body)


def test_requests_are_one_batch_and_each_gets_its_part() -> None:
    (first, second), asked = joined(100, [1, 2], [3])
    assert asked == [[1, 2, 3]]
    assert (said(first)["predictions"], said(second)["predictions"]) == ([2, 4], [6])
    assert said(first)["batchId"] == said(second)["batchId"] != ""


def test_a_full_batch_goes_at_once_and_the_next_one_is_another() -> None:
    (first, _, third), asked = joined(2, [1], [2], [3])
    assert asked == [[1, 2], [3]]
    assert said(first)["batchId"] != said(third)["batchId"]


def test_the_mistake_of_one_is_nobody_elses() -> None:
    (good, bad), asked = joined(100, [1], ["x"])
    assert asked == [[1, "x"], [1], ["x"]]
    assert said(good)["predictions"] == [2]
    assert (bad.status, said(bad)) == (400, {"error": "numbers only"})


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"instances": [1]}', [1]),
        (b'{"instances": [1], "signature_name": "x"}', []),
        (b'{"inputs": {}}', []),
        (b"[1]", []),
        (b"no", []),
    ],
)
def test_only_what_has_nothing_but_instances_is_joined(body: bytes, found: list[Any]) -> None:
    assert instances_of(body) == found


def test_the_options_are_those_of_kserves_agent() -> None:
    words = ["--enable-batcher", "--max-batchsize=4", "--log-url-base64=aHR0cDovL2w=", "--log-mode", "request"]
    agent = made_of(parser().parse_args([*words, "--component-port", "8085"]), {})
    assert agent.batcher is not None
    assert agent.copies is not None
    assert made_of(parser().parse_args([]), {}).batcher is None
