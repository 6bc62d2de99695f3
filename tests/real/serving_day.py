"""A day of a user who serves models, for a test of rights: served, looked at, asked, changed, taken back, ended.

Nobody answers: the pods are simulated. That they are answered is seen where programs run.
"""

from __future__ import annotations

import asyncio
import sys

import pytest

import jupyterlab_kf as kf
from jupyterlab_kf.errors import EndpointError, EndpointNotReadyError, PredictionError
from jupyterlab_kf.services import session
from jupyterlab_kf.services.desk import Desk
from jupyterlab_kf.services.serving import monitors, references, rollout

MODEL = """
class Doubler:
    def predict(self, X, names=None):
        return 2 * X
"""


def served(model: str, **more: int) -> kf.Endpoint:
    """The endpoint, whose pods answer nobody."""
    endpoint = kf.serve(model, name="doubler", image="python:3", cpu="100m", wait=False, **more)
    with pytest.raises(EndpointNotReadyError):
        endpoint.wait(timeout=5)
    return endpoint


def watched(endpoint: kf.Endpoint) -> None:
    """Monitored, looked at, monitored anew, and not any more."""
    rows = [[float(number)] for number in range(60)]
    told = references.read(rows, endpoint.provenance())
    here = session.current()
    who = rollout.author(here.settings)
    for window in (100, 200):
        settings = references.check_settings(sample=1.0, window=window, alpha=0.001, effect=0.1)
        # What the model would answer is made up: monitor() itself asks it.
        plan = references.dump(told, references.predictions([2 * one for (one,) in rows], ()), settings)
        now = endpoint._read()
        _, note = here.run(
            lambda client, now=now, plan=plan: monitors.begin(client, now, plan, sample=1.0, who=who, timeout=90)
        )
        assert note == "", "the account that was made for monitors is taken"
    with pytest.raises(EndpointError):
        endpoint.findings()
    endpoint.end_monitoring(timeout=90)


async def listed() -> list[str]:
    """The names in the panels' list."""
    desk = Desk()
    changed = asyncio.Event()
    desk.listen(lambda *_: changed.set())
    await desk.ready()
    async with asyncio.timeout(90):
        # All of its kinds: the others come when they come.
        while (rows := desk.endpoints()) is None or not all(part.known for part in rows._parts):
            changed.clear()
            await changed.wait()
    names = [row.name for row in rows.newest()]
    await desk.close()
    return names


def main() -> int:
    """All of it."""
    endpoint = served(MODEL)
    with pytest.raises(PredictionError):
        endpoint.predict([[1.0]], timeout=5)
    assert [one.name for one in kf.endpoints()] == ["doubler"]
    assert list(endpoint.metrics()) == list(endpoint.versions)
    endpoint.explain()
    endpoint.logs()
    endpoint = served(MODEL.replace("2", "3"), canary=10)
    endpoint.traffic(dict.fromkeys(endpoint.versions, 50))
    assert [change.number for change in endpoint.history()] == [1, 2, 3]
    watched(endpoint)
    assert asyncio.run(listed()) == ["doubler"]
    with pytest.raises(kf.NotFoundError):
        kf.server("doubler")
    endpoint.delete()
    assert kf.endpoints() == []
    print("the day is done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
