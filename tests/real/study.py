"""A study as a user starts it, run by ``test_controllers.py`` with the kubeconfig of a user who may tune."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import jupyterlab_kf as kf
from jupyterlab_kf.services import trials
from jupyterlab_kf.services.desk import Desk
from jupyterlab_kf.services.studyfeed import StudyKey
from jupyterlab_kf.services.tuning import studies_of

CODE = """
import time
x = uniform(-2, 2)
for step in range(3):
    time.sleep(0.4)
    print(f"step={step} loss={(x - 1) ** 2}", flush=True)
"""
SLOW = "import time\nx = uniform(0, 1)\nprint(x, flush=True)\ntime.sleep(600)\n"


async def look(namespace: str, name: str) -> None:
    """What a study's view in the panels asks for."""
    desk, told = Desk(), asyncio.Event()
    feed, leave = desk.study_feeds.look(StudyKey(namespace, name), told.set)
    async with asyncio.timeout(90):
        while feed.head(time.time()) is None:
            await told.wait()
            told.clear()
    (_, last) = list(feed.since(0))[-1]
    detail = await trials.trial_detail(await desk.client(), namespace, last.name)
    assert (detail.exit_code, detail.state) == (0, "Succeeded"), detail
    assert any("loss=" in line for line in detail.tail), detail
    leave()
    await desk.close()


def main(name: str) -> None:
    """Start it, and wait for its end."""
    words: dict[str, Any] = {"image": "python:3", "cpu": "100m", "settings": {"random_state": 1}}
    study = kf.tune(CODE, name=name, trials=8, parallel=2, algorithm="tpe", **words)
    study.wait(timeout=240)
    rows = study.rows()
    assert [row["number"] for row in rows] == list(range(8)), rows
    assert {row["state"] for row in rows} == {"Succeeded"}, rows
    assert all(abs(row["loss"] - (row["x"] - 1) ** 2) < 1e-9 for row in rows), rows
    assert study.best_trial is not None
    assert study.best_trial.value == min(row["loss"] for row in rows)
    asyncio.run(look(study.namespace, name))
    stopped = kf.tune(SLOW, name=f"{name}-slow", trials=4, algorithm="random", **words)
    for state in stopped.changes():
        if state == "Running" and any(row.state == "Running" for row in stopped.trials):
            break
    one = next(row.name for row in stopped.trials if row.state == "Running")
    assert stopped.stop_trial(one).state == "Killed"
    assert stopped.status == "Running", "one that somebody ended is no failure"
    stopped.stop()
    # The study has ended at once; its trials follow.
    deadline = time.monotonic() + 120
    while {row.state for row in stopped.trials} != {"Killed"}:
        assert time.monotonic() < deadline, stopped.trials
        time.sleep(0.2)
    assert [one.name for one in studies_of()] == [stopped.name, study.name]
    assert kf.study(name).best == study.best
    stopped.delete()
    sys.stdout.write(f"best {study.best}\n")


if __name__ == "__main__":
    main(sys.argv[1])
