"""That the record of the real operator is what the real operator does: a sample of it is played again."""

from __future__ import annotations

import json

from bed.cases import CASES
from bed.cluster import RealCluster
from bed.recorder import Recorder
from record import TARGET

# Every fifth case, so that a change of the table changes the sample.
SAMPLE = CASES[::5]


def test_record_has_every_case_as_it_stands_in_the_table() -> None:
    jobs = json.loads(TARGET.read_text())["jobs"]
    assert set(jobs) == {case.name for case in CASES}
    for case in CASES:
        found = jobs[case.name]
        assert (found["kind"], found["spec"], found["script"]) == (case.kind, case.spec, list(case.script)), case.name
        assert len(found["states"]) == len(case.script) + 1, case.name


def test_real_operator_does_what_the_record_says(real_cluster: RealCluster) -> None:
    recorded = json.loads(TARGET.read_text())["jobs"]
    played = Recorder(real_cluster.api, SAMPLE).play()
    for name, found in played.items():
        for number, (now, then) in enumerate(zip(found["states"], recorded[name]["states"], strict=True)):
            assert now == then, f"{name}, state {number}"
