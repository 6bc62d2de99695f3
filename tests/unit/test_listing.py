"""Lists of kinds of which there are few: studies as rows, the newest first, also where the kind is not served."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jupyterlab_kf import kinds
from jupyterlab_kf.cluster.gate import Gate
from jupyterlab_kf.errors import ForbiddenError, NotFoundError
from jupyterlab_kf.handlers.asks import Listed
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests.serving.rows import endpoint_row
from jupyterlab_kf.manifests.studies import StudyRow, study_row
from jupyterlab_kf.model import Obj
from jupyterlab_kf.services.listing import Listing


def experiment(name: str, minute: int = 0, **status: Any) -> Obj:
    return {
        "apiVersion": "kubeflow.org/v1beta1",
        "kind": "Experiment",
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "creationTimestamp": f"2026-11-30T10:{minute:02d}:00Z",
        },
        "spec": {
            "algorithm": {"algorithmName": "tpe"},
            "maxTrialCount": 12,
            "objective": {
                "type": "minimize",
                "objectiveMetricName": "loss",
                "metricStrategies": [{"name": "loss", "value": "latest"}],
            },
        },
        "status": status,
    }


class FakeClient:
    """One list, and a stream of what happens after it."""

    def __init__(self, *objects: Obj, error: Exception | None = None) -> None:
        self.objects, self.error = objects, error
        self.spaces: list[str | None] = []
        self.events: asyncio.Queue[bytes] = asyncio.Queue()
        self.gate = Gate(self.probe)

    async def snapshot(self, kind: Kind, namespace: str | None = None, **_: Any) -> tuple[list[Obj], str]:
        assert kind is kinds.EXPERIMENT
        self.spaces.append(namespace)
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        return list(self.objects), "1"

    @asynccontextmanager
    async def stream(self, _: str, **__: Any) -> AsyncIterator[AsyncIterator[bytes]]:
        async def lines() -> AsyncIterator[bytes]:
            while True:
                yield await self.events.get()

        yield lines()

    async def probe(self) -> None:
        """It answers."""

    def tell(self, type_: str, obj: Obj, version: int) -> None:
        obj = {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(version)}}
        self.events.put_nowait(json.dumps({"type": type_, "object": obj}).encode())


async def rest() -> None:
    for _ in range(200):
        await asyncio.sleep(0)


class Desk:
    """Shows one listing."""

    def __init__(self, listing: Listing[StudyRow] | None) -> None:
        self.listing = listing

    def studies(self) -> Listing[StudyRow] | None:
        return self.listing


def listed(client: FakeClient, slept: list[float] | None = None) -> Listing[StudyRow]:
    async def sleep(seconds: float) -> None:
        (slept if slept is not None else []).append(seconds)
        await asyncio.Event().wait()

    made = Listing(client, kinds.EXPERIMENT, "mine", study_row, lambda: None, sleep=sleep)  # type: ignore[arg-type]
    made.start()
    return made


def test_a_study_is_read_from_its_experiment() -> None:
    best = {
        "bestTrialName": "t-3",
        "parameterAssignments": [{"name": "lr", "value": "0.01"}],
        "observation": {"metrics": [{"name": "loss", "latest": "0.25", "min": "0.2", "max": "1"}]},
    }
    conditions = [
        {"type": "Created", "status": "True"},
        {"type": "Running", "status": "True", "message": "Experiment is running"},
    ]
    counts = {"trials": 7, "trialsRunning": 2, "trialsPending": 1, "trialsFailed": 1}
    row = study_row(experiment("s", conditions=conditions, currentOptimalTrial=best, **counts))
    assert (row.state, row.done, row.running, row.failed, row.budget) == ("Running", 4, 2, 1, 12)
    assert (row.objective, row.best, row.parameters, row.algorithm) == ("loss", 0.25, {"lr": "0.01"}, "tpe")


def test_a_study_that_somebody_wrote_by_hand_has_a_row_too() -> None:
    bare = {"kind": "Experiment", "metadata": {"name": "s", "uid": "u"}, "spec": {}}
    row = study_row(bare)
    assert (row.state, row.done, row.budget, row.best) == ("Pending", 0, 0, None)


async def test_the_newest_come_first_and_changes_are_seen() -> None:
    client = FakeClient(experiment("old", 1), experiment("new", 2))
    listing = listed(client)
    await rest()
    assert [row.name for row in listing.newest()] == ["new", "old"]
    before = listing.version
    client.tell("MODIFIED", experiment("old", 1, trials=3), 2)
    client.tell("MODIFIED", experiment("old", 1, trials=3), 3)
    client.tell("DELETED", experiment("new", 2), 4)
    await rest()
    assert [(row.name, row.done) for row in listing.newest()] == [("old", 3)]
    assert listing.version == before + 2, "what did not change is not told"
    await listing.stop()


async def test_a_browser_is_sent_them_when_they_are_known_and_when_they_change() -> None:
    client = FakeClient(experiment("one"))
    listing, ask = listed(client), Listed("7", "studies", lambda desk: desk.studies())
    assert list(ask.frames(Desk(None))) == []  # type: ignore[arg-type]
    desk: Any = Desk(listing)
    assert list(ask.frames(desk)) == []
    await rest()
    (frame,) = ask.frames(desk)
    assert (frame["id"], frame["total"], frame["served"], frame["rows"][0]["name"]) == ("7", 1, True, "one")
    assert list(ask.frames(desk)) == []
    client.tell("MODIFIED", experiment("one", trials=1), 2)
    await rest()
    (frame,) = ask.frames(desk)
    assert frame["rows"][0]["done"] == 1
    await listing.stop()


@pytest.mark.parametrize("error", [NotFoundError("no such kind"), ForbiddenError("not yours")])
async def test_where_there_are_none_to_see_that_is_known(error: Exception) -> None:
    client, slept = FakeClient(experiment("mine"), error=error), list[float]()
    listing = listed(client, slept)
    await rest()
    assert listing.known
    if isinstance(error, ForbiddenError):
        assert client.spaces == [None, "mine"], "then those of the own namespace"
        assert listing.served
    else:
        assert (listing.served, listing.newest(), slept) == (False, (), [30.0])
    await listing.stop()


def seldon(**status: Any) -> Obj:
    predictors = [
        {"name": "v1", "replicas": 2, "traffic": 90, "graph": {"name": "iris-v1"}},
        {"name": "v2", "replicas": 1, "traffic": 10, "graph": {"name": "iris-v2"}},
    ]
    head = {"name": "iris", "namespace": "team", "uid": "u", "creationTimestamp": "2026-11-30T10:00:00Z"}
    head |= {"annotations": {"jupyterlab-kf.io/revision": "3"}}
    return {"kind": "SeldonDeployment", "metadata": head, "spec": {"predictors": predictors}, "status": status}


def made(v1: int, v2: int) -> Obj:
    ready = {"v1": (2, v1), "v2": (1, v2)}
    return {f"iris-{n}-0-m": {"replicas": wanted, "availableReplicas": up} for n, (wanted, up) in ready.items()}


def test_an_endpoint_is_read_from_its_seldondeployment() -> None:
    address = {"url": "http://iris-v1.team:8000/api/v1.0/predictions"}
    row = endpoint_row(seldon(state="Available", deploymentStatus=made(2, 1), address=address))
    assert (row.namespace, row.name, row.state, row.protocol, row.revision) == ("team", "iris", "Ready", "seldon", 3)
    assert [(one.name, one.traffic, one.ready, one.wanted) for one in row.versions] == [
        ("v1", 90, 2, 2),
        ("v2", 10, 1, 1),
    ]
    assert row.path == "/seldon/team/iris/api/v1.0/predictions"
    assert row.url == "http://iris-v1.team:8000/api/v1.0/predictions"


@pytest.mark.parametrize(
    ("status", "state", "missing", "said"),
    [
        ({}, "Starting", "v1 (0 of 2), v2 are not ready", ""),
        (
            {"state": "Creating", "deploymentStatus": made(1, 1), "description": "waits"},
            "Starting",
            "v1 (1 of 2) is not ready",
            "waits",
        ),
        (
            {"state": "Failed", "deploymentStatus": made(0, 0), "description": "Deployment iris-v1-0-m: no image"},
            "Failed",
            "v1 (0 of 2), v2 are not ready",
            "Deployment iris-v1-0-m: no image",
        ),
    ],
)
def test_an_endpoint_that_does_not_answer_says_what_is_missing_and_what_is_said_of_it(
    status: Obj, state: str, missing: str, said: str
) -> None:
    row = endpoint_row(seldon(**status))
    assert (row.state, row.message, row.detail) == (state, missing, said)


def test_an_endpoint_with_a_version_that_answers_nothing_and_is_not_ready_is_degraded() -> None:
    obj = seldon(state="Creating", deploymentStatus=made(2, 0))
    for one, share in zip(obj["spec"]["predictors"], (100, 0), strict=True):
        one["traffic"] = share
    assert endpoint_row(obj).state == "Degraded"
