"""Runs the suites one after the other, and says at the end how long each took, what ran where, what was skipped, and
what was unsteady.

One that fails does not keep the next from running: they take long, and each tells something of its own.

A few tests of real clusters and browsers that failed run once more, alone in a process of their own. What passes then
is unsteady: it does not fail the run, but the run ends with its name, and its traceback stands above. Where many fail
something is broken, and none is asked again; nor is a test of the suites where nothing but our code can be slow.

python tests/tools/suites.py unit replay contract real browser
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

TESTS = Path(__file__).parents[1]
MORE = {"unit": ["-x", "--hypothesis-profile=default"]}
"""By hand the unit suite is to be quick; here its properties are tried with all examples."""

STEADY = frozenset({"unit", "replay"})
FEW = 2
"""How many failed tests of a suite may be asked again."""


@dataclass
class Figures:
    """What one run of pytest ended with; without a report, as when it could not even start, nothing but the status."""

    status: int
    passed: int = 0
    clusters: dict[str, int] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    skipped: dict[str, int] = field(default_factory=dict)


def main(suites: list[str]) -> int:
    """The exit status of the first suite that failed."""
    rows: list[str] = []
    skipped: Counter[str] = Counter()
    unsteady: list[str] = []
    status, since = 0, time.monotonic()
    for suite in suites:
        before = time.monotonic()
        print(f"== {suite}", flush=True)
        figures = run(str(TESTS / suite), *MORE.get(suite, []))
        if suite not in STEADY and 0 < len(figures.failed) <= FEW:
            print(f"== {suite}, once more what failed", flush=True)
            if not run(*figures.failed).status:
                unsteady += figures.failed
                figures.status, figures.passed = 0, figures.passed + len(figures.failed)
        where = ", ".join(f"{number} on the {name} cluster" for name, number in sorted(figures.clusters.items()))
        seconds = time.monotonic() - before
        rows.append(f"{suite:<10}{seconds:>6.0f} s  {figures.passed:>5} passed{f' ({where})' if where else ''}")
        skipped += Counter(figures.skipped)
        if figures.status:
            rows.append(f"{suite} failed")
        status = status or figures.status
    print("\n" + "\n".join(rows))
    print(f"{'together':<10}{time.monotonic() - since:>6.0f} s")
    told = "; ".join(f"{number} tests, {reason}" for reason, number in sorted(skipped.items()))
    print(f"skipped: {told or 'nothing'}")
    print(f"unsteady: {', '.join(unsteady) or 'nothing'}", flush=True)
    return status


def run(*arguments: str) -> Figures:
    """pytest in a process of its own, from the root of the repository, as its tests name themselves."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command: Sequence[str] = (sys.executable, "-m", "pytest", *arguments)
        environment = os.environ | {"KF_SUITE_REPORT": str(report)}
        status = subprocess.run(command, check=False, cwd=TESTS.parent, env=environment).returncode
        return Figures(status, **json.loads(report.read_text()) if report.exists() else {})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
