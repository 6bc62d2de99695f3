"""``jupyter kf``: exit statuses, messages, and that each command reaches the right call."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import jupyterlab_kf
from jupyterlab_kf import cli
from jupyterlab_kf.embedded import daemon
from jupyterlab_kf.errors import JobFailedError, NotFoundError, WaitTimeoutError
from jupyterlab_kf.model import JobView, LogLine, Phase, Ref, Status
from jupyterlab_kf.services.board import JobRow
from jupyterlab_kf.services.downloads import ResultFile


class FakeJob:
    name = "digits"
    ref = Ref("MPIJob", "digits", "default")
    deleted = False

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def view(self) -> JobView:
        return JobView(self.ref, "mpi", Status(Phase.SUCCEEDED, created=1.0, started=1.0, finished=5.0), seen=9.0)

    namespace, framework = "default", "mpi"

    def seen(self) -> Status:
        return self.view().status

    def row(self) -> JobRow:
        return JobRow("u", "MPIJob", self.namespace, self.name, self.framework, Phase.SUCCEEDED)

    def watch(self) -> Iterator[JobView]:
        yield self.view()

    def wait(self, timeout: float | None = None) -> FakeJob:
        del timeout
        if self.error:
            raise self.error
        return self

    def logs(self, replica: str | int | None = None, **_: Any) -> Iterator[LogLine]:
        yield LogLine(str(replica), "hello")

    def files(self) -> list[SimpleNamespace]:
        return [ResultFile("model.npz", 1, "")]

    def delete(self) -> None:
        self.deleted = True


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    fake = SimpleNamespace(calls=[], job_made=FakeJob())

    def train(code: Any, **settings: Any) -> FakeJob:
        fake.calls.append((code, settings))
        made: FakeJob = fake.job_made
        return made

    def plan(code: Any, **settings: Any) -> Any:
        del code, settings
        return SimpleNamespace(summary="Would create MPIJob digits.", yaml=lambda: "kind: MPIJob")

    def job(name: str, namespace: str | None = None) -> FakeJob:
        if name != "digits":
            raise NotFoundError(f"there is no job {name!r} in {namespace}", hint="look with: jupyter kf jobs")
        made: FakeJob = fake.job_made
        return made

    public: dict[str, Any] = {"train": train, "plan": plan, "job": job, "jobs": lambda *_, **__: [fake.job_made]}
    public["cluster"] = lambda: SimpleNamespace(name="embedded", namespace="default")
    for name, value in public.items():
        monkeypatch.setitem(vars(jupyterlab_kf), name, value)
    return fake


def test_a_script_becomes_a_job(
    api: SimpleNamespace, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "a.py", "mpi", "-n", "2", "--param", "lr=0.1", "--output", "out", "--args", "-v"]) == 0
    code, settings = api.calls[0]
    assert code == Path("a.py")
    assert (settings["workers"], settings["params"], settings["args"]) == (2, {"lr": 0.1}, ["-v"])
    out = capsys.readouterr().out
    assert out.startswith("submitted digits\n✔ digits  Succeeded")
    assert "model.npz  1 B" in out


def test_what_is_to_be_told_is_told_in_a_sentence(
    api: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(*_: Any, **settings: Any) -> FakeJob:
        warnings.warn(f"the hardware profile {settings['profile']!r} is deprecated", FutureWarning, stacklevel=2)
        made: FakeJob = api.job_made
        return made

    monkeypatch.setitem(vars(jupyterlab_kf), "train", train)
    assert cli.main(["train", "a.py", "mpi", "--profile", "old", "--detach"]) == 0
    assert capsys.readouterr().err == "jupyter kf: the hardware profile 'old' is deprecated\n"


def test_a_dry_run_prints_what_kubectl_can_read(api: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "a.py", "mpi", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert said.out == "kind: MPIJob\n"
    assert "Would create" in said.err
    assert api.calls == []


@pytest.mark.parametrize(
    ("error", "status"),
    [(JobFailedError("digits failed", traceback="KeyError: 'x'", hint="look"), 1), (WaitTimeoutError("too long"), 124)],
)
def test_how_a_job_ends_is_the_exit_status(
    api: SimpleNamespace, capsys: pytest.CaptureFixture[str], error: Exception, status: int
) -> None:
    api.job_made = FakeJob(error)
    assert cli.main(["wait", "digits"]) == status
    said = capsys.readouterr().err
    assert str(error).splitlines()[0] in said
    assert getattr(error, "traceback", "") in said


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["train", "a.py", "mpi", "--wrkers", "2"], 2, "did you mean --workers?"),
        (["train", "a.py"], 2, "which framework"),
        (["clster"], 2, "jupyter kf has no command 'clster'\ndid you mean cluster?"),
        (["cluster", "strat"], 2, "did you mean start?"),
        (["train", "a.py", "mpi", "--param", "lr"], 2, "--param lr=VALUE"),
        (["describe", "nosuch"], 1, "there is no job 'nosuch'"),
        (["delete"], 2, "which jobs?"),
        (["cluster", "reset"], 2, "--yes"),
    ],
)
@pytest.mark.usefixtures("api")
def test_wrong_words(words: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == status
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert shown.out == ""


@pytest.mark.usefixtures("api")
def test_logs_jobs_and_delete(api: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["logs", "digits", "--replica", "worker-1"]) == 0
    assert capsys.readouterr().out == "worker-1 │ hello\n"
    assert cli.main(["jobs", "-A"]) == 0
    assert "digits" in capsys.readouterr().out
    assert cli.main(["delete", "digits"]) == 0
    assert api.job_made.deleted


@pytest.mark.usefixtures("api")
def test_an_interrupted_wait_says_how_to_come_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jupyterlab_kf.magics.verbs.follow", interrupt)
    assert cli.main(["wait", "digits"]) == 130
    assert "digits goes on: jupyter kf wait digits" in capsys.readouterr().err


def test_the_cluster_of_this_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("KF_DATA_DIR", str(tmp_path))
    assert cli.main(["cluster", "status"]) == 1
    assert cli.main(["cluster", "stop"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "it was not running"
    info = daemon.Info(42, 1, 6443, str(tmp_path / "kubeconfig"), 0.0, "0.1.0", sys.executable)
    for name in ("status", "start"):
        monkeypatch.setattr(daemon, name, lambda _: info)
    assert cli.main(["cluster", "status", "--pid"]) == 0
    assert capsys.readouterr().out == "42\n"
    assert cli.main(["cluster", "start"]) == 0
    assert "https://127.0.0.1:6443" in capsys.readouterr().out
    assert cli.main(["cluster", "kubeconfig"]) == 0
    assert capsys.readouterr().out == f"{tmp_path}/kubeconfig\n"


def test_reset_deletes_what_the_cluster_keeps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KF_DATA_DIR", str(tmp_path))
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster" / "state.db").touch()
    assert cli.main(["cluster", "reset", "--yes"]) == 0
    assert not (tmp_path / "cluster").exists()


def test_profiles_are_listed_and_checked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "profiles.yaml"
    path.write_text("profiles:\n  - {slug: small, cpu: 1, used_for: [server]}\n  - {slug: gone, hidden: true}\n")
    monkeypatch.setenv("KF_DATA_DIR", str(tmp_path))  # no cluster runs there, and looking starts none
    assert cli.main(["profiles"]) == 0
    out = capsys.readouterr().out
    assert "small     small   1 CPU      server" in out
    assert "gone" not in out
    assert f"from {path}" in out
    assert not (tmp_path / "cluster").exists()
    assert cli.main(["profiles", "--check", str(path)]) == 0
    path.write_text("profiles:\n  - slug: small\n    cpus: 1\n")
    assert cli.main(["profiles", "--check", str(path)]) == 1
    assert f"{path}:3: a profile has no key 'cpus'; did you mean 'cpu'?" in capsys.readouterr().out
    assert cli.main(["profiles", "--for", "cooking"]) == 2
    monkeypatch.setenv("KF_PROFILES", str(tmp_path / "nowhere.yaml"))
    assert cli.main(["profiles"]) == 2


def test_help_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ("", "train", "jobs", "logs", "describe", "wait", "delete", "cluster", "cluster stop"):
        assert cli.main([*words.split(), "--help"]) == 0
        assert f"usage: jupyter kf {words}".strip() in capsys.readouterr().out


def test_the_command_loads_little(tmp_path: Path) -> None:
    program = (
        "import sys, json; from jupyterlab_kf.cli import main; main(['cluster', 'status']); "
        "print(json.dumps([n for n in ('IPython', 'kubernetes', 'aiohttp', 'yaml', 'pygments') if n in sys.modules]))"
    )
    environment = {"PATH": "/usr/bin:/bin", "KF_DATA_DIR": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout.splitlines()[-1]) == []


def test_a_saved_model_is_served_asked_and_divided_from_a_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving_world import installed

    world = installed(monkeypatch)
    monkeypatch.chdir(tmp_path)
    Path("doubler.py").write_text("class Doubler:\n    def predict(self, X, names=None):\n        return 2 * X\n")
    assert cli.main(["serve", "doubler.py", "--name", "iris", "--dry-run"]) == 0
    said = capsys.readouterr()
    assert "kind: SeldonDeployment" in said.out
    assert "Doubler" in said.err
    assert not world.endpoints()
    assert cli.main(["serve", "doubler.py", "--name", "iris"]) == 0
    assert "Endpoint iris: Ready" in capsys.readouterr().out
    graph = ["--graph", "route('doubler.py', 'doubler.py')"]
    assert cli.main(["serve", "--name", "iris", "--canary", "10", *graph]) == 0
    assert cli.main(["predict", "iris", "[[1, 2]]"]) == 0
    assert "array([3]" in capsys.readouterr().out
    assert cli.main(["traffic", "iris", "v1=50", "v2=50"]) == 0
    assert cli.main(["traffic", "iris", "--history"]) == 0
    assert "traffic: v1 50, v2 50" in capsys.readouterr().out
    assert cli.main(["endpoints"]) == 0
    assert "v1 50 %, v2 50 %" in capsys.readouterr().out
    assert cli.main(["endpoints", "iris", "--logs"]) == 0
    assert "serving v1" in capsys.readouterr().out
    world.broken.add("v3")
    assert cli.main(["serve", "doubler.py", "--name", "iris"]) == 1
    assert "nothing_of_that_name" in capsys.readouterr().err
    assert cli.main(["endpoints", "iris", "--delete"]) == 0
    assert not world.endpoints()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["serve"], "there is nothing to serve"),
        (["serve", "missing.joblib"], "there is no model missing.joblib"),
        (["serve", "a.py", "--graph", "chain('a.py', 'a.py')"], "--graph says what is served"),
        (["serve", "--graph", "chain(a, b)"], "there is no variable 'a'"),
        (["predict", "iris", "x"], "neither a variable"),
        (["serve", "a.py", "--reference", "gone.npy"], "there is no file gone.npy"),
        (["serve", "a.py", "--reference", "gone.npy", "--detach"], "leave --detach or --reference out"),
    ],
)
def test_wrong_words_about_endpoints_end_with_2(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from serving_world import installed

    world = installed(monkeypatch)
    assert cli.main(words) == 2
    assert said in capsys.readouterr().err
    assert not world.endpoints()
