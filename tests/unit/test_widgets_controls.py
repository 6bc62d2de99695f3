"""The buttons of a job."""

from __future__ import annotations

import pytest

from jupyterlab_kf.errors import NotFoundError
from jupyterlab_kf.model import JobView, Phase, Ref, Status
from jupyterlab_kf.widgets.controls import JobControls


class FakeJob:
    name = "digits"

    def __init__(self) -> None:
        self.phase = Phase.RUNNING
        self.deleted = False

    def view(self) -> JobView:
        if self.deleted:
            raise NotFoundError("there is no job <digits>", hint="look with %kf_jobs")
        return JobView(Ref("MPIJob", "digits", "default"), "mpi", Status(self.phase, created=1.0), seen=2.0)

    def delete(self) -> None:
        self.deleted = True


@pytest.fixture
def job() -> FakeJob:
    return FakeJob()


def test_refresh_shows_the_job_as_it_is(job: FakeJob) -> None:
    controls = JobControls(job)
    assert "Running" in controls.card.value
    job.phase = Phase.SUCCEEDED
    controls.refresh.click()
    assert "Succeeded" in controls.card.value


def test_deleting_takes_two_presses(job: FakeJob) -> None:
    controls = JobControls(job)
    controls.delete.click()
    assert not job.deleted
    controls.cancel.click()
    assert controls.box.children[1].children == (controls.refresh, controls.delete)
    controls.delete.click()
    controls.confirm.click()
    assert job.deleted
    assert "Deleted digits" in controls.card.value


def test_an_error_is_shown_in_place_and_escaped(job: FakeJob) -> None:
    controls = JobControls(job)
    job.deleted = True
    controls.refresh.click()
    assert "there is no job &lt;digits&gt;" in controls.card.value
