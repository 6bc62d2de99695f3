"""The words after a magic: what they mean, and what is said about wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jupyterlab_kf.errors import UsageError
from jupyterlab_kf.magics import arguments
from jupyterlab_kf.magics.completion import words


def train(line: str, variables: dict[str, Any] | None = None) -> dict[str, Any]:
    parser = arguments.train_parser("%%kf_train", code="optional")
    return arguments.train_arguments(parser.parse_args(arguments.split(line, variables)), variables)


def test_a_bare_framework_leaves_everything_to_the_defaults_of_the_api() -> None:
    assert train("pytorch") == {
        "framework": "pytorch",
        "workers": None,
        "replicas": None,
        "name": None,
        "namespace": None,
        "cpu": None,
        "memory": None,
        "gpu": None,
        "profile": None,
        "nproc": 1,
        "env": None,
        "args": [],
        "params": None,
        "files": [],
        "volumes": [],
        "image": None,
        "install": False,
        "output": None,
        "replace": False,
        "restart": None,
        "retries": None,
        "deadline": None,
        "ttl": None,
        "clean": "Running",
        "elastic": None,
    }


def test_replicas_by_role() -> None:
    assert train("tensorflow --chief 1 --ps 2 --worker 3")["replicas"] == {"chief": 1, "ps": 2, "worker": 3}
    assert train("mpi -n 4")["workers"] == 4


def test_everything_that_a_replica_gets() -> None:
    found = train("pytorch --profile small --cpu 500m --memory 2Gi --gpu 1 --image my/img:2 --nproc 2 --elastic 2:4")
    assert [found[key] for key in ("profile", "cpu", "memory", "gpu", "image", "nproc", "elastic")] == [
        "small", "500m", "2Gi", 1, "my/img:2", 2, (2, 4),
    ]  # fmt: skip


def test_parameters_are_variables_by_name_or_literals() -> None:
    variables = {"lr": 0.1, "layers": [64, 10], "unused": object()}
    found = train("mpi --param lr layers epochs=20 name=adam flag=True --param shape=(8,8)", variables)
    assert found["params"] == {
        "lr": 0.1, "layers": [64, 10], "epochs": 20, "name": "adam", "flag": True, "shape": (8, 8),
    }  # fmt: skip


def test_a_parameter_must_exist_in_the_notebook() -> None:
    with pytest.raises(UsageError, match="no variable 'lr'") as caught:
        train("mpi --param lr", {})
    assert "--param lr=VALUE" in caught.value.hint
    with pytest.raises(UsageError, match="'1x' is not a name"):
        train("mpi --param 1x=2")


def test_variables_stand_in_braces_and_nothing_else_is_expanded() -> None:
    found = train(r"""mpi -n {count} --env A='$HOME `id`' B={other} --name "{name}-1" """, {"count": 3, "name": "x"})
    assert found["workers"] == 3
    assert found["name"] == "x-1"
    assert found["env"] == {"A": "$HOME `id`", "B": "{other}"}


def test_a_volume_is_said_once_for_each() -> None:
    assert train("mpi --volume data --volume models:/models:ro --args x")["volumes"] == ["data", "models:/models:ro"]


def test_files_are_separated_by_commas_or_blanks() -> None:
    assert train("mpi --files a.csv,lib/ b.py")["files"] == ["a.csv", "lib/", "b.py"]


def test_the_rest_of_the_line_is_the_programs() -> None:
    assert train("mpi -n 2 --args --epochs 3 -v")["args"] == ["--epochs", "3", "-v"]


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("5m", 300), ("1.5h", 5400), ("1d", 86400)])
def test_times_have_units(text: str, seconds: int) -> None:
    assert train(f"mpi --deadline {text} --ttl {text}")["deadline"] == seconds


@pytest.mark.parametrize(
    ("line", "said", "hint"),
    [
        ("", "which framework", "pytorch, tensorflow"),
        ("mpi --wrkers 2", "no option '--wrkers'", "did you mean --workers?"),
        ("mpi --worker=2 --outptu=x", "no option '--outptu'", "did you mean --output?"),
        ("mpi --zzzzzzzz", "no option '--zzzzzzzz'", "there are --help, --workers"),
        ("mpi -n two", "--workers: 'two' is not a whole number", "--help"),
        ("mpi -n", "--workers: expected one argument", "--help"),
        ("mpi --env A", "'A' is not of the form NAME=VALUE", "--help"),
        ("mpi --elastic 4", "'4' is not of the form MIN:MAX", "--help"),
        ("mpi --deadline soon", "'soon' is not a time", "--help"),
        ("mpi x.py extra", "does not expect 'extra'", "--help"),
        ("mpi --name 'x", "no closing quotation", "quotation mark"),
        ("mpi --work 2", "no option '--work'", "did you mean --worker"),
    ],
)
def test_wrong_words_are_named_with_what_to_do(line: str, said: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        train(line)
    assert said in caught.value.message
    assert hint in caught.value.hint


def test_help_is_an_answer_and_not_an_end(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(arguments.HelpShownError):
        arguments.train_parser("%%kf_train").parse_args(["--help"])
    assert "distributed training job" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("kf_train py", ["pytorch"]),
        ("kf_train ", ["pytorch", "tensorflow", "mpi", "mxnet", "chainer"]),
        ("kf_train mpi --out", ["--output"]),
        ("kf_train mpi x", []),
        ("kf_cluster st", ["status", "start", "stop"]),
        ("kf_logs x --f", ["--follow"]),
        ("kf_delete ", []),
    ],
)
def test_completion(line: str, found: list[str]) -> None:
    symbol = "" if line.endswith(" ") else line.rsplit(maxsplit=1)[-1]
    assert words(line.split(maxsplit=1)[0], line, symbol) == found


def test_hardware_profiles_are_completed_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "profiles.yaml"
    file.write_text(
        "profiles: [{slug: small}, {slug: smart, hidden: true}, {slug: hub, used_for: [server]}, {slug: xl}]"
    )
    monkeypatch.setenv("KF_PROFILES", str(file))
    assert words("kf_train", "kf_train mpi --profile ", "") == ["small", "xl"]
    assert words("kf_train", "kf_train mpi --profile s", "s") == ["small"]
    assert words("kf_train", "kf_train mpi --profile=x", "--profile=x") == ["--profile=xl"]
    monkeypatch.setenv("KF_PROFILES", str(tmp_path / "gone.yaml"))
    assert words("kf_train", "kf_train mpi --profile ", "") == []
