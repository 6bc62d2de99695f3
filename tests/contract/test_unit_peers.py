"""The unit server answers what a real MLServer and a real Triton were recorded to answer to the same requests.

The records are made by ``tests/tools/record_peers.py``, so no test needs either server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from peer_cases import DIFFERENCES, GOLDEN, PEERS, Obj, ask, expected, reduced
from unit_process import UnitProcess, doubler, iris


def record(peer: str) -> dict[str, Obj]:
    """The recorded answers, by case."""
    return dict(json.loads((GOLDEN / f"{peer}.json").read_text())["answers"])


@pytest.fixture(scope="module", params=sorted(PEERS))
def beside(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, UnitProcess]]:
    """The name of a peer, and our server with the same model."""
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "triton":
        doubler(folder / "repository" / "sums" / "1" / "model.onnx")
        words = ["/opt/tritonserver/bin/tritonserver", "--model-repository=repository", "--strict-model-config=false"]
    else:
        iris(folder / "iris")
        words = ["--model", "iris", "--name", "iris"]
    unit = UnitProcess(folder, *words)
    yield request.param, unit
    assert unit.end() == 0, unit.log.read_text()


def test_requests_are_answered_as_by_the_real_server(beside: tuple[str, UnitProcess]) -> None:
    peer, unit = beside
    recorded, wrong = record(peer), {}
    for name, asked in PEERS[peer]().items():
        answer = ask(unit.port, unit.grpc_port, asked)
        if reduced(answer) != (wanted := expected(peer, name, recorded)):
            wrong[name] = {"wanted": wanted, "was": answer}
        if answer.get("code", 200) >= 400 and asked["method"] == "POST":
            assert answer["body"]["error"], f"{name}: an error says what is wrong"
    assert wrong == {}


def test_every_accepted_difference_is_one_of_a_recorded_case() -> None:
    for (peer, name), (_, why) in DIFFERENCES.items():
        assert why, name
        recorded = record(peer)
        assert expected(peer, name, recorded) != reduced(recorded[name]), f"{peer}: {name} is no difference any more"
