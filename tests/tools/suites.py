"""Runs the suites one after the other, and says at the end how long each took, what ran where, and what was skipped.

One that fails does not keep the next from running: they take long, and each tells something of its own.

python tests/tools/suites.py unit contract real browser
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).parents[1]
NO_TESTS = 5
MORE = {"unit": ["-x", "--hypothesis-profile=default"]}
"""By hand the unit suite is to be quick; here its properties are tried with all examples."""


def main(suites: list[str]) -> int:
    """The exit status of the first suite that failed."""
    rows: list[str] = []
    skipped: Counter[str] = Counter()
    status, since = 0, time.monotonic()
    for suite in suites:
        before = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            report = Path(folder) / "report.json"
            command = [sys.executable, "-m", "pytest", *MORE.get(suite, []), str(TESTS / suite)]
            print(f"== {suite}", flush=True)
            environment = os.environ | {"KF_SUITE_REPORT": str(report)}
            ended = subprocess.run(command, check=False, env=environment).returncode
            figures = (
                json.loads(report.read_text()) if report.exists() else {"passed": 0, "clusters": {}, "skipped": {}}
            )
        where = ", ".join(f"{number} on the {name} cluster" for name, number in sorted(figures["clusters"].items()))
        seconds = time.monotonic() - before
        rows.append(f"{suite:<10}{seconds:>6.0f} s  {figures['passed']:>5} passed{f' ({where})' if where else ''}")
        skipped += Counter(figures["skipped"])
        if ended:
            rows.append(f"{suite} failed")
        status = status or ended
    print("\n" + "\n".join(rows))
    print(f"{'together':<10}{time.monotonic() - since:>6.0f} s")
    told = "; ".join(f"{number} tests, {reason}" for reason, number in sorted(skipped.items()))
    print(f"skipped: {told or 'nothing'}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
