"""One trial: why it failed, what happened to it, and that a person may end it, on Katib as on our controllers."""

from __future__ import annotations

from typing import Any

import pytest
from studies_world import trial

from jupyterlab_kf import kinds
from jupyterlab_kf.errors import ConflictError, ForbiddenError, NotFoundError, UsageError
from jupyterlab_kf.kinds import Kind
from jupyterlab_kf.model import Obj, Ref
from jupyterlab_kf.services import trials

STUDY = Ref("Experiment", "s", "default")
TRACE = (
    "Traceback (most recent call last):",
    '  File "Cell In[3]", line 9, in <module>',
    "ValueError: 60 units are too many",
)


def told(name: str, reason: str, at: str) -> Obj:
    about = {"kind": "Trial", "name": name, "namespace": "default"}
    return {"type": "Normal", "reason": reason, "message": reason, "involvedObject": about, "lastTimestamp": at}


EVENTS = {
    "s-3": [told("s-3", "JobRunning", "1970-01-12T13:47:02Z")],
    "s-3-x": [told("s-3-x", "Pulled", "1970-01-12T13:47:01Z")],
}


class Katib:
    """A cluster where Katib runs the study: it has these trials, their jobs and pods, and does nothing by itself."""

    def __init__(self, *found: Obj, pods: tuple[Obj, ...] = (), lines: tuple[str, ...] = ()) -> None:
        self.trials = {one["metadata"]["name"]: one for one in found}
        self.jobs = {name: job_of(one) for name, one in self.trials.items()}
        self.pods, self.lines = list(pods), lines
        self.conflicts = 0
        self.forbidden = ""
        self.deleted = list[str]()

    async def get(self, kind: Kind, _: str, name: str) -> Obj:
        found = (self.jobs if kind == kinds.JOB else self.trials).get(name)
        if found is None:
            raise NotFoundError(f"no {name}")
        return found

    async def list(self, kind: Kind, *_: Any, **__: Any) -> list[Obj]:
        return self.pods if kind == kinds.POD else list(self.trials.values())

    async def patch(self, kind: Kind, _: str, name: str, patch: Obj, *, subresource: str) -> Obj:
        assert (kind, subresource) == (kinds.TRIAL, "status"), "a trial is ended by its status alone"
        if self.conflicts:
            self.conflicts -= 1
            raise ConflictError("changed")
        known = self.trials[name]
        assert patch["metadata"]["resourceVersion"] == known["metadata"]["resourceVersion"]
        self.trials[name] = {**known, "status": {**known["status"], **patch["status"]}}
        return self.trials[name]

    async def delete(self, kind: Kind, _: str, name: str, *, uid: str, dry_run: bool) -> bool:
        assert (kind, uid) == (kinds.JOB, f"job-{name}")
        if self.forbidden == "jobs":
            raise ForbiddenError("cannot delete jobs")
        if not dry_run:
            del self.jobs[name]
            self.deleted.append(name)
        return True

    async def logs(self, *_: Any, **__: Any) -> Any:
        for line in self.lines:
            yield line

    async def events(self, _: str, *, name: str) -> Any:
        return EVENTS.get(name, [])


def job_of(one: Obj) -> Obj:
    head = one["metadata"]
    return {"kind": "Job", "metadata": {"uid": f"job-{head['name']}", "ownerReferences": [{"uid": head["uid"]}]}}


def running(number: int, *, retained: bool = True) -> Obj:
    made = trial(number, None, "Running")
    made["spec"] |= {"runSpec": {"apiVersion": "batch/v1", "kind": "Job"}, "retainRun": retained}
    return made


def conditions(found: Obj) -> dict[str, str]:
    return {one["type"]: one["status"] for one in found["status"]["conditions"]}


async def test_a_trial_is_ended_as_katib_counts_it_and_its_job_with_it() -> None:
    client: Any = Katib(running(2), running(3))
    client.conflicts = 2
    row = await trials.stop_trial(client, STUDY, 3)
    assert (row.name, row.state) == ("s-3", "Killed")
    # Katib tells the algorithm the last condition alone.
    assert list(conditions(client.trials["s-3"]).items()) == [("Running", "False"), ("Killed", "True")]
    assert client.trials["s-3"]["status"]["completionTime"]
    assert client.deleted == ["s-3"], "Katib keeps the jobs of what is retained, so this would run on"
    assert conditions(client.trials["s-2"]) == {"Running": "True"}
    await trials.stop_trial(client, STUDY, "s-3")
    assert client.deleted == ["s-3"], "a repeated stop changes nothing"


async def test_a_job_that_katib_deletes_is_left_to_it() -> None:
    client: Any = Katib(running(3, retained=False))
    await trials.stop_trial(client, STUDY, "3")
    assert client.deleted == []


async def test_a_stop_that_is_not_allowed_changes_nothing() -> None:
    client: Any = Katib(running(3), trial(4, 0.5))
    client.forbidden = "jobs"
    with pytest.raises(ForbiddenError):
        await trials.stop_trial(client, STUDY, 3)
    assert conditions(client.trials["s-3"]) == {"Running": "True"}
    with pytest.raises(UsageError, match="has ended already: Succeeded"):
        await trials.stop_trial(client, STUDY, 4)
    with pytest.raises(NotFoundError, match="has no trial 9"):
        await trials.stop_trial(client, STUDY, 9)


async def test_a_trial_in_detail_says_how_it_ended_and_what_happened() -> None:
    broken = trial(3, None, "Failed", message="Trial has failed")
    broken["spec"]["primaryContainerName"] = "main"
    pod = {
        "metadata": {"name": "s-3-x", "namespace": "default"},
        "spec": {"containers": [{"name": "main"}]},
        "status": {"containerStatuses": [{"name": "main", "state": {"terminated": {"exitCode": 1}}}]},
    }
    client: Any = Katib(broken, pods=(pod,), lines=TRACE)
    found = await trials.trial_detail(client, "default", "s-3")
    assert (found.exit_code, found.tail, found.pods) == (1, TRACE, ("s-3-x",))
    assert found.why == "It failed: ValueError: 60 units are too many (Cell In[3], line 9)"
    assert [one.reason for one in found.events] == ["Pulled", "JobRunning"], "the oldest first"
    gone: Any = Katib(broken)
    assert (await trials.trial_detail(gone, "default", "s-3")).why == "", "its message says more"
    well: Any = Katib(trial(3, 0.5))
    assert (await trials.trial_detail(well, "default", "s-3")).why == ""
