"""A job in the hand: what it answers from what the cluster has."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from jupyterlab_kf import settings
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.cluster.connection import Choice
from jupyterlab_kf.cluster.portal import Portal
from jupyterlab_kf.cluster.shapes import Shape, is_folded
from jupyterlab_kf.errors import JobFailedError, NotFoundError, UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.manifests import training
from jupyterlab_kf.model import LogLine, Obj, Phase
from jupyterlab_kf.services import downloads, pictures, plans, session
from jupyterlab_kf.services import jobs as face
from jupyterlab_kf.services.jobs import Job

pytestmark = pytest.mark.usefixtures("here")
Objects = list[Obj]
SAID = {
    "digits-master-0": ["2026-11-23T10:00:00Z loss=0.5 epoch=1", "2026-11-23T10:00:02Z loss=0.25 epoch=2"],
    "digits-worker-0": ["2026-11-23T10:00:01Z hello"],
}


class Api:
    """One job and its pods."""

    def __init__(self, job: Obj) -> None:
        self.job = job
        self.pods = [self.pod("master", 0), self.pod("worker", 0)]
        self.reads = 0

    def pod(self, role: str, index: int) -> Obj:
        return {
            "metadata": {
                "name": f"digits-{role}-{index}",
                "uid": f"{role}-{index}",
                "labels": {training.LABEL_ROLE: role, training.LABEL_INDEX: str(index)},
                "ownerReferences": [{"kind": "PyTorchJob", "uid": "u1", "controller": True}],
            },
            "status": {"phase": "Running"},
        }

    async def get(self, kind: Kind, _namespace: str, name: str) -> Obj:
        self.reads += 1
        if (kind.kind, name) != ("PyTorchJob", "digits"):
            raise NotFoundError("no")
        return copy.deepcopy(self.job)

    async def list(self, kind: Kind, *_args: Any, **_more: Any) -> Objects:
        if kind.kind == "Pod":
            return self.pods
        return [self.job] if kind.kind == "PyTorchJob" else []

    async def logs(self, _namespace: str, pod: str, *, tail: int | None, **_more: Any) -> AsyncIterator[str]:
        for line in SAID[pod][-(tail or 0) :]:
            yield line

    async def events(self, *_args: Any, uid: str = "", **_more: Any) -> Objects:
        about = {"kind": "Pod", "name": uid, "uid": uid}
        return [{"type": "Normal", "reason": "Started", "message": uid, "involvedObject": about}]

    async def close(self) -> None:
        pass


@pytest.fixture
def api(tmp_path: Path) -> Api:
    request = plans.Request(code="print(1)\n", name="digits", workers=2, output=str(tmp_path / "out"), root=tmp_path)
    made = plans.make(request, namespace="n", submission="0" * 12).job
    made["metadata"] |= {
        "uid": "u1",
        "resourceVersion": "7",
        "managedFields": [],
        "creationTimestamp": "2026-11-23T09:59:59Z",
    }
    made["status"] = {"conditions": [{"type": "Running", "status": "True"}]}
    return Api(made)


@pytest.fixture
def here(api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[session.Session]:
    portal = Portal()
    made = session.Session(settings.load({"KF_DATA_DIR": str(tmp_path)}), Choice("test", "n", "a test"), portal)
    made._client = cast("Client", api)
    monkeypatch.setattr(session, "_sessions", [made])
    yield made
    portal.close()


def test_a_job_is_found_by_name_and_listed(tmp_path: Path) -> None:
    found = face.job("digits")
    assert (found.name, found.namespace, found.kind, found.framework) == ("digits", "n", "PyTorchJob", "pytorch")
    assert repr(found) == "<PyTorchJob n/digits: Running>"
    assert found.output == tmp_path / "out"
    assert [one.name for one in face.jobs()] == ["digits"]
    with pytest.raises(NotFoundError, match="did you mean 'digits'"):
        face.job("digit")


def test_a_listed_job_shows_what_was_seen_and_asks_for_its_status(api: Api) -> None:
    (one,) = face.jobs()
    assert one.seen().phase is Phase.RUNNING
    assert api.reads == 0
    assert one.status().phase is Phase.RUNNING
    assert api.reads == 1


def test_a_listed_job_has_its_whole_manifest_when_it_is_asked_for(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def folded(_self: Api, kind: Kind, *_args: Any, shape: Shape, **_more: Any) -> Objects:
        text = json.dumps({"items": [api.job] if kind.kind == "PyTorchJob" else []})
        found: Objects = shape.page(text.encode())["items"]
        return found

    whole = face.job("digits")
    monkeypatch.setattr(Api, "list", folded)
    (listed,) = face.jobs()
    assert (listed.name, listed.namespace, listed.kind, listed.ref) == (whole.name, "n", "PyTorchJob", whole.ref)
    assert is_folded(listed._read_last), "ten thousand manifests that nobody looks at are not decoded"
    assert listed.row() == whole.row()
    assert listed.provenance() == whole.provenance()


def test_lines_in_the_order_of_time_and_of_one_replica() -> None:
    one = face.job("digits")
    assert [(line.replica, line.text, line.time) for line in one.logs()] == [
        ("master-0", "loss=0.5 epoch=1", None),
        ("worker-0", "hello", None),
        ("master-0", "loss=0.25 epoch=2", None),
    ]
    assert [line.text for line in one.logs(1)] == ["hello"]
    assert [line.text for line in one.logs("master-0", tail=1, timestamps=True)] == ["loss=0.25 epoch=2"]
    with pytest.raises(UsageError, match="did you mean 'worker-0'"):
        list(one.logs("worke-0"))
    assert [point.value for point in one.metrics()["loss"]["master-0"]] == [0.5, 0.25]


def test_lines_of_replicas_that_were_cleaned_up_are_remembered(api: Api) -> None:
    one = face.job("digits")
    one._kept = pictures.Picture(api.job)
    one._kept.take(LogLine("worker-0", "hello", 1.0))
    api.pods = api.pods[:1]
    assert sorted({line.replica for line in one.logs()}) == ["master-0", "worker-0"]


def test_a_view_events_and_the_manifest() -> None:
    one = face.job("digits")
    view = one.view()
    assert [replica.name for replica in view.replicas] == ["master-0", "worker-0"]
    assert view.progress is None
    assert one.explain() is None
    assert [event.message for event in one.events()] == ["u1", "master-0", "worker-0"]
    assert set(one.manifest()["metadata"]) == {"name", "namespace", "labels", "annotations"}
    assert "status" not in one.manifest()
    assert one.yaml().startswith("apiVersion: kubeflow.org/v1\nkind: PyTorchJob\n")


def test_another_job_that_took_the_name_is_not_it(api: Api) -> None:
    one = face.job("digits")
    api.job["metadata"]["uid"] = "u2"
    with pytest.raises(NotFoundError, match="another job has its name"):
        one.replicas()


def test_a_failed_job_raises_with_its_cause(api: Api) -> None:
    api.job["status"] = {"conditions": [{"type": "Failed", "status": "True", "message": "no"}]}
    trace = ["Traceback (most recent call last):", '  File "cell.py", line 4, in <module>', "ValueError: no data"]
    picture = pictures.Picture(api.job, {str(pod["metadata"]["uid"]): pod for pod in api.pods})
    api.pods[1]["status"] = {"phase": "Failed"}
    for place, text in enumerate(trace):
        picture.take(LogLine("worker-0", text, float(place)))
    one = face.job("digits")
    one._last = picture.view()
    with pytest.raises(JobFailedError) as caught:
        one.wait()
    assert (caught.value.replica, caught.value.exit_code) == ("worker-0", 1)
    assert caught.value.traceback == "\n".join(trace)
    assert "worker-0 failed: ValueError: no data (cell.py, line 4)" in str(caught.value)


@pytest.mark.parametrize(
    ("framework", "workers", "rank", "name"),
    [
        ("pytorch", 2, 0, "master-0"),
        ("pytorch", 2, 1, "worker-0"),
        ("tensorflow", 2, 1, "worker-1"),
        ("mpi", 2, 1, "rank-1"),
        ("chainer", 2, "1", "rank-1"),
    ],
)
def test_ranks_have_names(framework: str, workers: int, rank: int | str, name: str, tmp_path: Path) -> None:
    request = plans.Request(code="1\n", framework=framework, workers=workers, name="x", root=tmp_path)
    made = plans.make(request, namespace="n", submission="0" * 12).job
    assert Job(cast("session.Session", None), made)._replica_name(rank) == name


def test_results_come_back_when_the_wait_is_over(
    here: session.Session, api: Api, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.job["status"] = {"conditions": [{"type": "Succeeded", "status": "True"}]}
    seen: list[Path] = []

    async def fetch(_client: Client, _job: Obj, folder: Path) -> downloads.Fetched:
        seen.append(folder)
        return downloads.Fetched([folder / "a"], [downloads.ResultFile("b", 5_000_000, "", left_out=True)])

    monkeypatch.setattr(downloads, "fetch", fetch)
    one = Job(here, api.job, output=tmp_path / "out")
    one._last = pictures.Picture(api.job).view()
    with pytest.warns(UserWarning, match=r"left out: b \(4\.8 MiB\); give the job a volume"):
        assert one.wait() is one
    one.wait()
    assert seen == [tmp_path / "out"]
