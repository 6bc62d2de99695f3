"""Records what the real operators make of the tables of cases, into tests/golden/training.

python tests/real/record.py          all of them anew
python tests/real/record.py --new    what is not in the records as it stands in the tables
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bed.binaries import KUBERNETES_VERSION, MPI_OPERATOR_VERSION, TRAINING_OPERATOR_VERSION
from bed.cases import CASES, MPI_CASES, REFUSED, RESTLESS, Case
from bed.cluster import RealCluster
from bed.recorder import Recorder

FOLDER = Path(__file__).parents[1] / "golden" / "training"
TRAINING = FOLDER / f"real-{TRAINING_OPERATOR_VERSION}.json"
MPI = FOLDER / f"real-mpi-{MPI_OPERATOR_VERSION}.json"


def laid_out(value: Any, *, depth: int, indent: str = "") -> str:
    """JSON with the outer levels on lines of their own: a change is seen in its line, and the file stays small."""
    if depth == 0 or not isinstance(value, dict | list) or not value:
        return json.dumps(value, sort_keys=True)
    inner = indent + " "
    if isinstance(value, list):
        lines = [inner + laid_out(item, depth=depth - 1, indent=inner) for item in value]
        return "[\n" + ",\n".join(lines) + f"\n{indent}]"
    lines = [
        f"{inner}{json.dumps(key)}: {laid_out(item, depth=depth - 1, indent=inner)}"
        for key, item in sorted(value.items())
    ]
    return "{\n" + ",\n".join(lines) + f"\n{indent}}}"


def unrecorded(cases: Iterable[Case], record: dict[str, Any]) -> tuple[Case, ...]:
    """The cases that are not in a record, or there with another spec or script."""

    def told(case: Case) -> bool:
        found = record["jobs"].get(case.name, {})
        return [found.get(key) for key in ("version", "kind", "spec", "script")] == [
            case.version,
            case.kind,
            case.spec,
            list(case.script),
        ]

    return tuple(case for case in cases if not told(case))


def main() -> int:
    """Play the cases on clusters of their own and write the records."""
    os.environ["KF_PROVISION"] = "1"
    for target, operator, table in ((TRAINING, "training", CASES), (MPI, "mpi", MPI_CASES)):
        before, cases, kept = time.monotonic(), table, {}
        if "--new" in sys.argv:
            old = json.loads(target.read_text())
            cases = unrecorded(table, old)
            kept = {case.name: old["jobs"][case.name] for case in table if case not in cases}
            if not cases:
                continue
        cluster = RealCluster.start("record", operator=operator, nodes=0)
        try:
            recorder = Recorder(cluster.api, cases)
            version = TRAINING_OPERATOR_VERSION if operator == "training" else MPI_OPERATOR_VERSION
            record = {
                "operator": f"{operator}-operator {version}",
                "kubernetes": KUBERNETES_VERSION,
                "jobs": kept | recorder.play(),
            }
            if operator == "training":
                record |= {"refused": recorder.refusals(REFUSED), "restless": recorder.restless(RESTLESS)}
        finally:
            cluster.stop()
        target.write_text(laid_out(record, depth=4) + "\n")
        print(f"{len(cases)} jobs in {time.monotonic() - before:.0f} s: {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
