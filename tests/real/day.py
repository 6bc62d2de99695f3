"""What a user does in a day, as one program: the Python API, the magics, and the server side of the panels.

Run by ``test_rights.py`` with the kubeconfig of a user who has exactly the rights that are shipped. It raises at the
first thing that does not work.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from IPython.core.interactiveshell import InteractiveShell
from ranks import MEET

import jupyterlab_kf as kf
from jupyterlab_kf.cluster.client import Client
from jupyterlab_kf.handlers import answers
from jupyterlab_kf.model import Obj, Phase
from jupyterlab_kf.services import session
from jupyterlab_kf.services.desk import Capacity, Desk
from jupyterlab_kf.services.jobfeed import JobKey
from jupyterlab_kf.services.plans import kind_of

CODE = """
import os, pathlib
print("loss=0.5", flush=True)
pathlib.Path(os.environ["KF_OUTPUT"], "model.txt").write_text("weights")
"""
SLEEPS = "import time\nprint('up', flush=True)\ntime.sleep(600)"
IMAGE = "python:3"


def by_python() -> None:
    """Train, follow, look, fetch, train again under the name, delete."""
    with tempfile.TemporaryDirectory() as folder:
        job = kf.train(CODE, "pytorch", name="day", image=IMAGE, cpu="100m", output=folder)
        views = list(job.watch())
        assert views[-1].status.phase is Phase.SUCCEEDED, views[-1]
        job.wait(timeout=60)
        assert Path(folder, "model.txt").read_text() == "weights"
    assert [line.text for line in job.logs()] == ["loss=0.5"]
    assert job.metrics()["loss"]
    assert job.events()
    assert job.files()
    assert job.explain() is None
    assert [one.name for one in kf.jobs()] == ["day"]
    again = kf.train("raise SystemExit(3)", "pytorch", name="day", image=IMAGE, cpu="100m", replace=True)
    with pytest.raises(kf.JobFailedError) as failed:
        again.wait(timeout=60)
    assert failed.value.exit_code == 3
    kf.job("day").delete()


def by_two() -> None:
    """Two workers: before the second the operator puts a container of its own, which Pod Security judges, too."""
    code = f"import os\n{MEET}\nmeet()\nprint('rank', os.environ['RANK'], flush=True)"
    job = kf.train(code, "pytorch", workers=2, name="two", image=IMAGE, cpu="100m")
    job.wait(timeout=90)
    assert sorted(line.text for line in job.logs()) == ["rank 0", "rank 1"]
    job.delete()


def by_retry() -> None:
    """A create whose answer was lost is sent again, and a submit that failed half way is undone."""
    with tempfile.TemporaryDirectory() as folder:
        planned = kf.plan(CODE, "pytorch", name="retried", image=IMAGE, cpu="100m", output=folder)
    here = session.current()

    async def twice(client: Client, obj: Obj) -> None:
        kind, space = kind_of(obj), planned.spec.namespace
        first, second = [await client.create(kind, obj, namespace=space) for _ in range(2)]
        assert first["metadata"]["uid"] == second["metadata"]["uid"]
        await client.delete(kind, space, obj["metadata"]["name"], uid=first["metadata"]["uid"])

    for obj in planned.manifests:
        here.run(lambda client, obj=obj: twice(client, obj))


def by_magic() -> None:
    """The same by magics."""
    shell = InteractiveShell.instance()
    shell.run_line_magic("load_ext", "jupyterlab_kf")
    shell.run_cell_magic("kf_train", f"pytorch --name cell --image {IMAGE} --cpu 100m", "print('hello')")
    kf.job("cell").wait(timeout=60)
    for line in ("kf_jobs", "kf_describe cell", "kf_logs cell", "kf_doctor"):
        magic, _, rest = line.partition(" ")
        shell.run_line_magic(magic, rest)
    assert kf.job("cell").status().phase is Phase.SUCCEEDED
    kf.delete("cell")


async def look(desk: Desk, where: tuple[str, str, str]) -> None:
    """What a job's page asks for, and saving what was edited there."""
    detail = await answers.detail(desk, where)
    assert detail.code
    assert await answers.events(desk, where)
    assert (await answers.copies(desk, where)).kubectl
    assert (await answers.form(desk, where)).code
    edited = detail.manifest.replace("cleanPodPolicy: Running", "cleanPodPolicy: None")
    assert edited != detail.manifest
    said = {"manifest": edited, "version": detail.version, "base": detail.manifest}
    await answers.replace(desk, where, said)


class Watched:
    """A desk whose changes can be waited for."""

    def __init__(self, desk: Desk) -> None:
        self.changed = asyncio.Event()
        desk.listen(lambda *_: self.changed.set())

    async def until(self, true: Callable[[], bool], what: str) -> None:
        """Wait until it is true of the desk."""
        try:
            async with asyncio.timeout(90):
                while not true():
                    await self.changed.wait()
                    self.changed.clear()
        except TimeoutError as error:
            raise AssertionError(f"not seen: {what}") from error


async def by_panel() -> None:
    """What the panels' server does for who looks, and for who suspends and resumes."""
    job = await asyncio.to_thread(kf.train, SLEEPS, "pytorch", name="panel", image=IMAGE, cpu="100m")
    desk = Desk()
    watched = Watched(desk)
    board = await desk.ready()
    where = ("PyTorchJob", job.namespace, "panel")
    shared, leave = desk.look(JobKey(*where), watched.changed.set)

    def in_phase(phase: Phase) -> Callable[[], bool]:
        return lambda: [row.phase for row in board.rows.values()] == [phase]

    await watched.until(in_phase(Phase.RUNNING), "running")
    await watched.until(lambda: shared.view is not None and bool(shared.view.log), "its log")
    assert await desk.capacity() == Capacity(), "the account may not see nodes"
    await look(desk, where)
    await answers.suspend(desk, where)
    await watched.until(in_phase(Phase.SUSPENDED), "suspended")
    await answers.resume(desk, where)  # at once, while its pod is still ending
    await watched.until(in_phase(Phase.RUNNING), "running again")
    leave()
    assert board.link.state == "live", board.link
    await answers.delete(desk, where)
    await watched.until(lambda: not board.rows, "deleted")
    await desk.close()


def main() -> int:
    """All of it."""
    by_python()
    by_two()
    by_retry()
    by_magic()
    asyncio.run(by_panel())
    print("the day is done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
