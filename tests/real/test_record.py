"""That the records of the real operators are what the real operators do: a sample of each is played again."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
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
    """Play cases; one that differs is played again by itself, more patiently: operators race with their own caches."""
    jobs, table = recorded(path), {case.name: case for case in cases}
    found = Recorder(cluster.api, table.values()).play()
    for quiet in (4.0, 8.0):
        late = [table[name] for name in found if found[name]["states"] != jobs[name]["states"]]
        found |= Recorder(cluster.api, late, quiet=quiet).play() if late else {}
    for name, told in found.items():
        for number, (now, then) in enumerate(zip(told["states"], jobs[name]["states"], strict=True)):
            assert now == then, f"{name}, state {number}"


def part(cases: tuple[Case, ...], parts: int) -> tuple[Case, ...]:
    """Every so manieth case, others each day; with ``KF_LIVE=all`` all of them (minutes)."""
    if os.environ.get("KF_LIVE") == "all":
        return cases
    return cases[datetime.now(UTC).toordinal() % parts :: parts]


def test_training_operator_does_what_the_record_says(real_cluster: RealCluster) -> None:
    play(real_cluster, TRAINING, part(CASES, 5))


def test_mpi_operator_does_what_the_record_says(mpi_cluster: RealCluster) -> None:
    play(mpi_cluster, MPI, part(MPI_CASES, 3))
