"""The magics in a real IPython shell, over a public API that only remembers what it was asked."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import jupyterlab_kf
from jupyterlab_kf.errors import JobFailedError, NotFoundError, UsageError
from jupyterlab_kf.magics import errors as quiet
from jupyterlab_kf.magics.training import continued
from jupyterlab_kf.model import Event, JobView, LogLine, Phase, Ref, Replica, Status
from jupyterlab_kf.services.board import JobRow
from jupyterlab_kf.services.downloads import ResultFile

TRACEBACK = 'Traceback (most recent call last):\n  File "Cell In[1]", line 3, in <module>\nValueError: no'


class FakeJob:
    """A job that goes through its phases when it is watched."""

    def __init__(self, name: str, phases: tuple[Phase, ...] = (Phase.RUNNING, Phase.SUCCEEDED)) -> None:
        self.name, self.namespace, self.framework, self.kind = name, "default", "mpi", "MPIJob"
        self.ref = Ref("MPIJob", name, "default")
        self.phases = phases
        self.deleted = False
        self.asked: dict[str, Any] = {}
        self.interrupt = False

    def view(self) -> JobView:
        return self._view(self.phases[0])

    def _view(self, phase: Phase) -> JobView:
        status = Status(phase, created=100.0, started=101.0, finished=105.0 if phase.finished else None)
        return JobView(self.ref, "mpi", status, (Replica("worker", 0, str(phase)),), seen=106.0)

    def watch(self) -> Iterator[JobView]:
        for phase in self.phases:
            yield self._view(phase)
            if self.interrupt:
                raise KeyboardInterrupt

    def wait(self, timeout: float | None = None) -> FakeJob:
        del timeout
        if self.phases[-1] is Phase.FAILED:
            message = f"{self.name} failed: worker-0: ValueError: no\n\n{TRACEBACK}"
            raise JobFailedError(message, replica="worker-0", traceback=TRACEBACK)
        return self

    def logs(self, replica: str | int | None = None, **options: Any) -> Iterator[LogLine]:
        self.asked = {"replica": replica, **options}
        yield LogLine("worker-0", "hello")

    def events(self) -> list[Event]:
        return [Event("Normal", "Made", "made a pod", self.ref)]

    def manifest(self) -> dict[str, Any]:
        return {"metadata": {"name": self.name}}

    def files(self) -> list[SimpleNamespace]:
        return [ResultFile("model.npz", 3, "")]

    def seen(self) -> Status:
        return self.view().status

    def row(self) -> JobRow:
        return JobRow("u", self.kind, self.namespace, self.name, self.framework, Phase.RUNNING)

    def provenance(self) -> dict[str, Any]:
        return {"params": {"lr": 0.1}, "files": ["cell.py"], "code": "abc"}

    def delete(self) -> None:
        self.deleted = True


class FakeApi:
    """``train``, ``plan``, ``job`` and ``jobs`` over a dictionary."""

    def __init__(self) -> None:
        self.jobs_by_name: dict[str, FakeJob] = {}
        self.calls: list[tuple[str, Any, dict[str, Any]]] = []
        self.next = FakeJob("digits")

    def train(self, code: Any, **settings: Any) -> FakeJob:
        self.calls.append(("train", code, settings))
        self.jobs_by_name[self.next.name] = self.next
        return self.next

    def plan(self, code: Any, **settings: Any) -> Any:
        self.calls.append(("plan", code, settings))
        return SimpleNamespace(summary="Would create MPIJob digits.", yaml=lambda: "kind: MPIJob\n")

    def job(self, name: str, namespace: str | None = None) -> FakeJob:
        if name not in self.jobs_by_name:
            raise NotFoundError(f"there is no training job {name!r} in {namespace or 'default'}")
        return self.jobs_by_name[name]

    def cluster(self) -> SimpleNamespace:
        return SimpleNamespace(name="embedded", namespace="default")

    def jobs(self, namespace: str | None = None, *, all_namespaces: bool = False) -> list[FakeJob]:
        del namespace, all_namespaces
        return list(self.jobs_by_name.values())


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    fake = FakeApi()
    for name in ("train", "plan", "job", "jobs", "cluster"):
        monkeypatch.setitem(vars(jupyterlab_kf), name, getattr(fake, name))
    return fake


@pytest.fixture(scope="module")
def one_shell(tmp_path_factory: pytest.TempPathFactory) -> InteractiveShell:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("IPYTHONDIR", str(tmp_path_factory.mktemp("ipython")))
        made = InteractiveShell.instance(config=Config(HistoryManager={"enabled": False}))
    made.run_line_magic("load_ext", "jupyterlab_kf")
    return made


@pytest.fixture
def shell(
    one_shell: InteractiveShell, api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> InteractiveShell:
    del api
    monkeypatch.chdir(tmp_path)
    with pytest.MonkeyPatch.context() as quick:
        quick.setattr(gc, "collect", lambda *_: 0)  # IPython would look through all that the other tests made
        one_shell.reset(new_session=True)  # type: ignore[no-untyped-call]
    one_shell.InteractiveTB.set_mode("Context")
    return one_shell


def run(shell: InteractiveShell, source: str) -> BaseException | None:
    result: Any = shell.run_cell(source, store_history=True)  # type: ignore[no-untyped-call]
    error: BaseException | None = result.error_before_exec or result.error_in_exec
    return error


def test_the_cell_is_handed_over_byte_for_byte_with_its_place(shell: InteractiveShell, api: FakeApi) -> None:
    body = 'x = "$HOME `id` \\\\ {y}"\n\nprint(x)\n'
    assert run(shell, "y = 1") is None
    assert run(shell, f"%%kf_train mpi -n 2 --param y\n{body}") is None
    verb, code, settings = api.calls[0]
    assert (verb, code) == ("train", body)
    assert settings["params"] == {"y": 1}
    assert (settings["filename"], settings["first_line"]) == ("Cell In[2]", 2)


def test_a_long_line_goes_on_in_the_next_and_line_numbers_follow(shell: InteractiveShell, api: FakeApi) -> None:
    assert run(shell, "%%kf_train mpi \\\n  -n 2 \\\n  --name a\nprint(1)\n") is None
    _, code, settings = api.calls[0]
    assert code == "print(1)\n"
    assert (settings["workers"], settings["name"], settings["first_line"]) == (2, "a", 4)
    assert continued("mpi", None) == ("mpi", None, 0)


def test_the_job_is_left_in_the_last_result_and_in_a_variable(shell: InteractiveShell, api: FakeApi) -> None:
    assert run(shell, "%%kf_train mpi --into mine\nprint(1)") is None
    assert shell.user_ns["_"] is api.next
    assert shell.user_ns["mine"] is api.next
    assert shell.user_ns["Out"][1] is api.next
    assert run(shell, "%%kf_train mpi --into not-a-name\nprint(1)") is not None


def test_files_come_back_and_are_listed(shell: InteractiveShell, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shell, "%%kf_train mpi --output results\nprint(1)") is None
    out = capsys.readouterr().out
    assert "Succeeded" in out
    assert "model.npz  3 B" in out


def test_a_failed_job_fails_the_cell_in_one_line(
    shell: InteractiveShell, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.next = FakeJob("bad", (Phase.RUNNING, Phase.FAILED))
    assert isinstance(run(shell, "%%kf_train mpi --output results\nprint(1)"), JobFailedError)
    out = capsys.readouterr().out
    assert "JobFailedError" in out
    assert "bad failed: worker-0: ValueError: no" in out
    assert "jupyterlab_kf" not in out
    assert not Path("results").exists()


def test_an_interrupt_detaches_and_says_how_to_come_back(
    shell: InteractiveShell, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.next.interrupt = True
    assert isinstance(run(shell, "%%kf_train mpi --into mine\nprint(1)"), KeyboardInterrupt)
    out = capsys.readouterr().out
    assert "the job digits goes on" in out
    assert 'kf.job("digits")' in out
    assert "Traceback" not in out
    assert shell.user_ns["mine"] is api.next


def test_detached_jobs_are_not_watched(shell: InteractiveShell, api: FakeApi) -> None:
    api.next.interrupt = True  # would be raised by a watch
    assert run(shell, "%%kf_train mpi --detach\nprint(1)") is None


def test_a_dry_run_creates_nothing(shell: InteractiveShell, api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(shell, "%%kf_train mpi --dry-run\nprint(1)") is None
    assert [verb for verb, _, _ in api.calls] == ["plan"]
    assert "kind: MPIJob" in capsys.readouterr().out


def test_the_line_form_runs_a_function_or_a_script(shell: InteractiveShell, api: FakeApi) -> None:
    assert run(shell, "def work(): pass") is None
    assert run(shell, "%kf_train mpi work -n 2") is None
    assert run(shell, "%kf_train mpi script.py") is None
    assert [code for _, code, _ in api.calls] == [shell.user_ns["work"], Path("script.py")]
    assert "filename" not in api.calls[0][2]
    assert isinstance(run(shell, "%kf_train mpi"), UsageError)
    assert isinstance(run(shell, "%%kf_train mpi script.py\nprint(1)"), UsageError)


def test_bad_words_create_nothing_and_show_no_stack(
    shell: InteractiveShell, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert isinstance(run(shell, "%%kf_train mpi --wrkers 2\nprint(1)"), UsageError)
    out = capsys.readouterr().out
    assert "did you mean --workers?" in out
    assert "File " not in out
    assert api.calls == []


def test_verbose_mode_brings_the_stack_back(shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    shell.InteractiveTB.set_mode("Verbose")
    with pytest.raises(UsageError) as caught:
        run_wrongly()
    shown = "".join(quiet.render(caught.value))
    shell.InteractiveTB.set_mode("Context")
    assert "run_wrongly" in shown


def run_wrongly() -> None:
    raise UsageError("no")


def test_the_traceback_is_shown_once() -> None:
    error = JobFailedError("digits failed", traceback=TRACEBACK, hint="look")
    assert "ValueError" in "\n".join(quiet.render(error))
    assert quiet.render(error)[-1] == "→ look"
    quiet.told(error)
    assert "ValueError" not in "\n".join(quiet.render(error))


def test_jobs_logs_describe_wait_delete(
    shell: InteractiveShell, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    api.jobs_by_name = {"a": FakeJob("a"), "b": FakeJob("b")}
    assert run(shell, "%kf_jobs -A") is None
    assert "NAMESPACE   NAME" in capsys.readouterr().out
    assert run(shell, "%kf_logs a --rank 1 --tail 5") is None
    assert api.jobs_by_name["a"].asked == {
        "replica": 1, "follow": False, "tail": 5, "since": None, "timestamps": False,
    }  # fmt: skip
    assert "hello" in capsys.readouterr().out
    assert run(shell, "%kf_describe a") is None
    assert "made a pod" in capsys.readouterr().out
    assert run(shell, "%kf_wait a") is None
    assert shell.user_ns["_"] is api.jobs_by_name["a"]
    assert isinstance(run(shell, "%kf_delete a nosuch"), NotFoundError)
    assert not api.jobs_by_name["a"].deleted
    assert run(shell, "%kf_delete --all") is None
    assert all(job.deleted for job in api.jobs_by_name.values())
    assert isinstance(run(shell, "%kf_delete"), UsageError)


def test_a_job_of_a_call_is_shown_live_too(
    shell: InteractiveShell, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.user_ns["job"] = api.next
    assert run(shell, "import jupyterlab_kf as kf\nkf.show(job);") is None
    assert "Succeeded" in capsys.readouterr().out


def test_help_is_shown_and_nothing_runs(
    shell: InteractiveShell, api: FakeApi, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(shell, "%%kf_train --help\nprint(1)") is None
    assert "--workers" in capsys.readouterr().out
    assert api.calls == []


PROBE = """
import json, sys, time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
begin = time.perf_counter()
shell.run_line_magic("load_ext", "jupyterlab_kf")
took = time.perf_counter() - begin
heavy = ("kubernetes", "aiohttp", "ipywidgets", "matplotlib", "yaml", "numpy", "tornado")
ours = [name for name in sys.modules if name.startswith("jupyterlab_kf.")]
print(json.dumps({"took": took, "heavy": [name for name in heavy if name in sys.modules], "ours": ours}))
"""


def test_loading_the_extension_imports_nothing_heavy(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=60,
        env={"PATH": "/usr/bin:/bin", "IPYTHONDIR": str(tmp_path), "HOME": str(tmp_path)},
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["heavy"] == []
    for layer in ("services", "cluster", "embedded", "widgets", "manifests", "kinds"):
        assert not [name for name in found["ours"] if name.startswith(f"jupyterlab_kf.{layer}")], layer
