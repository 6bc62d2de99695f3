"""Records what the real training operator makes of the table of cases, into tests/golden/training.

python tests/real/record.py
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from bed.binaries import KUBERNETES_VERSION, TRAINING_OPERATOR_VERSION
from bed.cases import CASES, REFUSED, RESTLESS
from bed.cluster import RealCluster
from bed.recorder import Recorder

TARGET = Path(__file__).parents[1] / "golden" / "training" / f"real-{TRAINING_OPERATOR_VERSION}.json"


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


def main() -> int:
    """Play the cases on a cluster of its own and write the record."""
    os.environ["KF_PROVISION"] = "1"
    before = time.monotonic()
    cluster = RealCluster.start("record", nodes=0)
    try:
        recorder = Recorder(cluster.api, CASES)
        jobs = recorder.play()
        record = {
            "operator": f"training-operator {TRAINING_OPERATOR_VERSION}",
            "kubernetes": KUBERNETES_VERSION,
            "jobs": jobs,
            "refused": recorder.refusals(REFUSED),
            "restless": recorder.restless(RESTLESS),
        }
    finally:
        cluster.stop()
    TARGET.write_text(laid_out(record, depth=4) + "\n")
    print(f"{len(jobs)} jobs in {time.monotonic() - before:.0f} s: {TARGET}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
