"""What a real cluster showed of jobs that could not run (``tests/real/record_explain.py``), explained again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf.manifests import training
from jupyterlab_kf.model import Cause, Event, LogLine, Ref
from jupyterlab_kf.services import explain

RECORDS = sorted((Path(__file__).parents[1] / "golden" / "explain").glob("*.json"))


def case(record: dict[str, Any]) -> explain.Case:
    events = [Event(**{**event, "about": Ref(**event["about"])}) for event in record["events"]]
    tails = {name: [LogLine(**line) for line in lines] for name, lines in record["tails"].items()}
    job, pods = record["job"], record["pods"]
    status, replicas = training.decode(job), training.replicas(job, pods)
    return explain.Case(job, status, replicas, pods, events, tails, record["nodes"], now=record["now"])


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_what_was_seen_is_explained(path: Path) -> None:
    record = json.loads(path.read_text())
    why = explain.explain(case(record))
    assert why is not None
    assert (why.cause, why.sentence, why.hint) == (record["cause"], record["sentence"], record["hint"])


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: path.stem)
def test_an_account_that_may_not_see_machines_or_events_gets_an_answer_or_none(path: Path) -> None:
    record = json.loads(path.read_text())
    why = explain.explain(case({**record, "nodes": None}))
    assert why is not None, "the scheduler's words are enough"
    explain.explain(case({**record, "nodes": None, "events": []}))


def test_every_cause_was_seen_on_a_real_cluster() -> None:
    causes = {Cause(json.loads(path.read_text())["cause"]) for path in RECORDS}
    # What our own launcher says of packages has tests beside it; Other is for what is on no list.
    assert set(Cause) - causes == {Cause.NOT_INSTALLED, Cause.OTHER}
