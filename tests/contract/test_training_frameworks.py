"""Each framework, the real one, trains on two processes: to Succeeded, and to Failed with the true root cause.

On the embedded cluster alone: the frameworks' images cannot be pulled where the tests run; the quick start on a real
node is MPI's.
"""

from __future__ import annotations

from pathlib import Path

import pytest

import jupyterlab_kf as kf
from jupyterlab_kf.errors import JobFailedError
from jupyterlab_kf.model import Phase
from jupyterlab_kf.settings import Settings

PROGRAMS = Path(__file__).parent / "programs"
FRAMEWORKS = ("mpi", "pytorch", "tensorflow", "mxnet", "chainer")

pytestmark = [pytest.mark.framework, pytest.mark.usefixtures("cluster")]


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_framework_trains_on_two_processes(framework: str) -> None:
    program = PROGRAMS / f"on_{framework}.py"
    job = kf.train(program, framework, workers=2, name=f"ok-{framework}", params={"fail": False})
    job.wait(timeout=900)
    assert job.status().phase is Phase.SUCCEEDED
    lines = [line.text for line in job.logs()]
    losses = [line for line in lines if "size=2" in line and "loss=" in line]
    assert len(losses) == 2, lines
    job.delete()


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_framework_that_fails_on_one_process_ends_the_job_and_names_it(framework: str) -> None:
    program = PROGRAMS / f"on_{framework}.py"
    job = kf.train(program, framework, workers=2, name=f"bad-{framework}", params={"fail": True}, retries=0)
    with pytest.raises(JobFailedError) as caught:
        job.wait(timeout=900)
    assert "gives up" in caught.value.traceback
    assert f'on_{framework}.py", line' in caught.value.traceback
    assert job.status().phase is Phase.FAILED
    job.delete()


def test_two_jobs_of_one_framework_run_side_by_side(cluster: Settings) -> None:
    """Both bind the framework's well-known port on all addresses; the node gives one of them another."""
    assert cluster
    program = PROGRAMS / "on_mxnet.py"
    jobs = [
        kf.train(program, "mxnet", workers=2, name=f"twin-{number}", params={"fail": False}, cpu="100m")
        for number in range(2)
    ]
    for job in jobs:
        job.wait(timeout=900)
        assert job.status().phase is Phase.SUCCEEDED
        job.delete()


def test_an_elastic_pytorch_job_meets_by_torchrun() -> None:
    program = PROGRAMS / "on_pytorch.py"
    job = kf.train(program, "pytorch", workers=2, elastic=(1, 2), name="elastic", params={"fail": False})
    job.wait(timeout=900)
    lines = [line.text for line in job.logs()]
    assert sorted(line.split()[0] for line in lines if "size=2" in line and "loss=" in line) == ["rank=0", "rank=1"]
    job.delete()
