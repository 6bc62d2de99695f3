"""The table of jobs, given to the running embedded cluster: what it makes of them is what the real operators made.

The real operators' answers are the records, which tests/real/test_record.py plays again on the real thing; the accepted
differences are tests/tools/differences.py. Nobody runs the pods: the table says what befalls them.

On the embedded cluster alone: the real operators' answers are the records, which tests/real plays again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bed.api import Api
from bed.cases import CASES, MPI_CASES, Case
from bed.recorder import Recorder
from differences import MPI, SERVED, TRAINING, Recorded, compare, compare_events, recorded

from jupyterlab_kf.settings import Settings

# Ours waits up to five seconds for a leader's peers, and writes nothing in that time.
QUIET = 6.0
# A deadline must not pass while pods are brought up; nothing in these cases waits for a peer.
QUIET_BEFORE_DEADLINE = 2.0


def play(api: Api, cases: tuple[Case, ...]) -> dict[str, Any]:
    """The cases that ours has: each with a time to live alone, as it is over while others are waited for.

    Those with a deadline are played together and apart from all others, which take longer than it.
    """
    mine = [case for case in cases if case.kind in SERVED]
    short = [case for case in mine if "ttlSecondsAfterFinished" in case.spec.get("runPolicy", {})]
    timed = [case for case in mine if "activeDeadlineSeconds" in case.spec.get("runPolicy", {})]
    others = [case for case in mine if case not in short and case not in timed]
    played = Recorder(api, others, quiet=QUIET, wave=len(others)).play() | Recorder(api, short, wave=1).play()
    return played | Recorder(api, timed, quiet=QUIET_BEFORE_DEADLINE, wave=len(timed)).play()


@pytest.fixture
def api(cluster: Settings) -> Iterator[Api]:
    made = Api(cluster.embedded_kubeconfig)
    yield made
    made.close()


@pytest.mark.parametrize(("path", "cases"), [(TRAINING, CASES), (MPI, MPI_CASES)], ids=["training", "mpi"])
def test_the_embedded_cluster_does_what_the_real_operators_did(api: Api, path: Path, cases: tuple[Case, ...]) -> None:
    played = play(api, cases)
    wrong = []
    for name, case in recorded(path).items():
        found = played[name]
        ours = Recorded(case.name, case.version, case.kind, case.spec, case.script, found["states"])
        for number, (expected, state) in enumerate(zip(case.expected(), ours.states(), strict=True)):
            wrong += [f"{case}, state {number}: {line}" for line in compare(expected, state)]
        told = {tuple(event) for state in found["states"] for event in state["events"]}
        wrong += [f"{case}, events: {line}" for line in compare_events(case, told)]
    assert not wrong, "\n".join(wrong)
