"""That the records of the real operators are what the real operators do: a sample of each is played again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from bed.cases import CASES, MPI_CASES, Case
from bed.cluster import RealCluster
from bed.recorder import Recorder
from record import MPI, TRAINING


def recorded(path: Path) -> dict[str, Any]:
    jobs: dict[str, Any] = json.loads(path.read_text())["jobs"]
    return jobs


@pytest.mark.parametrize(("path", "cases"), [(TRAINING, CASES), (MPI, MPI_CASES)])
def test_record_has_every_case_as_it_stands_in_the_table(path: Path, cases: tuple[Case, ...]) -> None:
    jobs = recorded(path)
    assert set(jobs) == {case.name for case in cases}
    for case in cases:
        found = jobs[case.name]
        told = (found["version"], found["kind"], found["spec"], found["script"])
        assert told == (case.version, case.kind, case.spec, list(case.script)), case.name
        assert len(found["states"]) == len(case.script) + 1, case.name


def play(cluster: RealCluster, path: Path, cases: Iterable[Case]) -> None:
    jobs = recorded(path)
    for name, found in Recorder(cluster.api, cases).play().items():
        for number, (now, then) in enumerate(zip(found["states"], jobs[name]["states"], strict=True)):
            assert now == then, f"{name}, state {number}"


# Every so manieth case, so that a change of the table changes the sample.
def test_training_operator_does_what_the_record_says(real_cluster: RealCluster) -> None:
    play(real_cluster, TRAINING, CASES[::5])


def test_mpi_operator_does_what_the_record_says(mpi_cluster: RealCluster) -> None:
    play(mpi_cluster, MPI, MPI_CASES[::3])
