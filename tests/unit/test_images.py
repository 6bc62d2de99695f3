from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from jupyterlab_kf.embedded import images
from jupyterlab_kf.embedded.images import (
    READY,
    SHIPPED,
    Environment,
    ImageError,
    Images,
    InterruptedMakingError,
    Recipe,
    clean_environment,
)
from jupyterlab_kf.settings import Settings


def table(folder: Path, text: str = "") -> Images:
    settings = Settings(folder / "data", folder / "cache")
    settings.data_dir.mkdir(exist_ok=True)
    if text:
        settings.images_file.write_text(text)
    return Images(settings)


def test_an_unknown_image_stands_for_this_environment(tmp_path: Path) -> None:
    found = table(tmp_path).resolve("registry.example/team/anything:3")
    assert isinstance(found, Environment)
    assert found.prefix == Path(sys.prefix)
    assert found.bin == Path(sys.prefix) / "bin"


@pytest.mark.parametrize(
    ("image", "recipe"),
    [
        ("jupyterlab-kf/mpi:latest", "mpi"),
        ("jupyterlab-kf/chainer", "chainer"),
        ("docker.io/jupyterlab-kf/mxnet:1.9.1", "mxnet"),
        ("mpioperator/mpi-pi:openmpi", "mpi"),
        ("pytorch/pytorch:2.4.0-cuda12.1", "pytorch"),
        ("docker.io/kubeflowkatib/pytorch-mnist:v1beta1", "pytorch"),
        ("gcr.io/kubeflow-ci/pytorch-dist-mnist_test:1.0", "pytorch"),
        ("tensorflow/tensorflow:2.16.1-gpu", "tensorflow"),
        ("gcr.io/kubeflow-ci/tf-dist-mnist-test:1.0", "tensorflow"),
        ("mxjob/mxnet:gpu", "mxnet"),
        ("chainer/chainermn:1.3", "chainer"),
    ],
)
def test_names_that_people_use(tmp_path: Path, image: str, recipe: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Images, "_suffices", lambda *_: False)
    found = table(tmp_path).resolve(image)
    assert isinstance(found, Recipe)
    assert found.name == recipe


def test_an_environment_that_has_the_modules_is_used_as_it_is(tmp_path: Path) -> None:
    text = "images: [{match: x, recipe: r}, {match: y, recipe: s}]\n"
    text += "recipes: {r: {requirements: [pip], modules: [json]}, s: {requirements: [pip], modules: [no_such_module]}}"
    made = table(tmp_path, text)
    assert isinstance(made.resolve("x"), Environment)
    assert isinstance(made.resolve("y"), Recipe)


def test_the_users_table_comes_first_and_is_read_again(tmp_path: Path) -> None:
    made = table(tmp_path, f"images: [{{match: 'pytorch/*', python: {sys.prefix}/bin/python}}]")
    found = made.resolve("pytorch/pytorch:1")
    assert isinstance(found, Environment)
    assert found.prefix == Path(sys.prefix)


def test_a_container_with_nothing_to_do(tmp_path: Path) -> None:
    found = table(tmp_path).resolve("mpioperator/kubectl-delivery:latest")
    assert isinstance(found, Environment)
    assert found.nothing


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("images: [", "cannot be read"),
        ("- a", "must hold a mapping"),
        ("images: [{match: x, recipe: none-such}]", "names the recipe 'none-such'"),
        ("images: [{match: x, python: /no/such}]", "has no bin/python"),
        ("images: [{match: x, recipe: r}]\nrecipes: {r: {modules: [a]}}", "neither 'lock' nor 'requirements'"),
        ("images: [{match: x, recipe: r}]\nrecipes: {r: {pip: [a]}}", "unknown key 'pip'"),
        ("images: [{match: x, recipe: r}]\nrecipes: {r: {lock: no.txt}}", "does not exist"),
        (
            "images: [{match: x, recipe: r}]\nrecipes: {r: {requirements: [a], modules: [zz], python: '3.11'}}",
            "must be written like",
        ),
    ],
)
def test_a_broken_table_names_the_fault(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        table(tmp_path, text).resolve("x")


def recipe(**more: str) -> Recipe:
    return Recipe("x", "r", requirements=("a",), modules=("m",), **more)


class Runner:
    """Stands for the installer: makes the folder that `venv` would."""

    def __init__(self, status: int = 0) -> None:
        self.status = status
        self.commands: list[Sequence[str]] = []

    def __call__(self, command: Sequence[str], env: Mapping[str, str], lock: int) -> tuple[int, str]:
        assert "SECRET" not in env
        assert lock > 0
        self.commands.append(command)
        if "venv" in command:
            Path(command[-1]).mkdir()
        return self.status, "one\ntwo\n\nthree\n"


def test_an_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    made, run = table(tmp_path), Runner()
    first = made.make(recipe(), run)
    count = len(run.commands)
    assert (first.prefix / READY).exists()
    assert made.make(recipe(), run) == first
    assert len(run.commands) == count
    assert made.make(recipe(python=">=3.9,<3.99"), run).prefix == first.prefix
    assert made.make(Recipe("x", "r", requirements=("b",)), run).prefix != first.prefix


def test_a_half_made_environment_is_made_again(tmp_path: Path) -> None:
    made = table(tmp_path)
    with pytest.raises(ImageError, match="ended with status 1: one\ntwo\nthree"):
        made.make(recipe(), Runner(1))
    half = next((tmp_path / "cache" / "environments").glob("r-*[0-9a-f]"))
    half.mkdir(exist_ok=True)
    (half / "rest").touch()
    made.make(recipe(), Runner())
    assert not (half / "rest").exists()


def test_pip_does_it_where_there_is_no_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images.shutil, "which", lambda *_, **__: None)
    run = Runner()
    table(tmp_path).make(Recipe("x", "r", requirements=("a",), build_constraints=("setuptools<66",)), run)
    assert run.commands[0][1:3] == ["-m", "venv"]
    assert "setuptools<66" in run.commands[1]
    assert "--no-build-isolation" in run.commands[2]


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"needs Python >=3.90,<3.91"):
        table(tmp_path).make(recipe(python=">=3.90,<3.91"), Runner())


def test_every_shipped_recipe_has_a_lock_with_hashes_and_no_address() -> None:
    shipped = yaml.safe_load(SHIPPED.read_text())
    for name, raw in shipped["recipes"].items():
        text = (SHIPPED.parent / raw["lock"]).read_text()
        assert text.count("==") <= text.count("--hash=sha256:"), name
        assert "://" not in text, name
    assert {e["recipe"] for e in shipped["images"] if "recipe" in e} == set(shipped["recipes"])


def test_a_clean_environment_has_no_secrets() -> None:
    given = {"PATH": "/usr/bin:/x", "HOME": "/h", "TOKEN": "t", "AWS_SECRET_ACCESS_KEY": "k", "PIP_CERT": "c"}
    env = clean_environment(given, [Path("/env/bin"), Path("/x")])
    assert env == {"PATH": "/env/bin:/x:/usr/bin", "HOME": "/h", "PIP_CERT": "c", "LANG": "C.UTF-8"}


def test_a_lock_whose_file_was_taken_away_is_not_trusted(tmp_path: Path) -> None:
    path, waited = tmp_path / "lock", []
    held = images._lock(path, lambda: waited.append("no"))

    def clean() -> None:
        waited.append("yes")
        path.unlink()
        os.close(held)

    other = images._lock(path, clean)
    assert waited == ["yes"]
    assert os.path.samestat(os.fstat(other), path.stat())
    os.close(other)


def test_an_installer_that_was_ended_says_nothing_about_the_recipe(tmp_path: Path) -> None:
    with pytest.raises(InterruptedMakingError, match="was ended by signal 15"):
        table(tmp_path).make(recipe(), Runner(-15))


@pytest.mark.parametrize(
    ("image", "command", "args", "runs"),
    [
        ("docker.io/seldonio/seldon-core-executor:1.17.1", [], ["--sdep", "x"], ["engine", "--sdep", "x"]),
        ("seldonio/seldon-core-executor:1.18.2", ["/executor"], ["--sdep", "x"], ["engine", "--sdep", "x"]),
        ("seldonio/sklearnserver:1.17.1", [], [], ["unit", "--kind", "sklearn"]),
        ("seldonio/mlserver:1.3.5-sklearn", [], [], ["unit"]),
        ("tensorflow/serving:2.14.0", [], ["--port=8500"], ["unit", "--kind", "tensorflow", "--port=8500"]),
        ("tensorflow/serving", ["/usr/bin/tensorflow_model_server"], ["-a"], ["unit", "--kind", "tensorflow", "-a"]),
        ("nvcr.io/nvidia/tritonserver:21.08-py3", [], ["/opt/tritonserver/bin/tritonserver", "--x"], ["unit", "--x"]),
        ("nvcr.io/nvidia/tritonserver:21.08-py3", ["tritonserver"], ["--x"], ["unit", "--x"]),
        ("team/model:3", ["seldon-core-microservice", "Model"], ["--x"], ["unit", "Model", "--x"]),
    ],
)
def test_images_of_serving_bring_their_program(
    tmp_path: Path, image: str, command: list[str], args: list[str], runs: list[str]
) -> None:
    found = table(tmp_path).resolve(image)
    assert isinstance(found, Environment)
    assert found.programs.words(command, args) == ["python", "-m", "jupyterlab_kf.runtime.serving", *runs]


def test_a_command_of_the_containers_own_is_run_as_it_is(tmp_path: Path) -> None:
    found = table(tmp_path).resolve("seldonio/sklearnserver:1.17.1")
    assert isinstance(found, Environment)
    assert found.programs.words(["sh", "-c", "x"], []) == ["sh", "-c", "x"]
    plain = table(tmp_path).resolve("team/model:3")
    assert isinstance(plain, Environment)
    assert plain.programs.words([], ["--x"]) == ["--x"]


def test_an_entrypoint_goes_with_a_recipe_and_a_folder(tmp_path: Path) -> None:
    text = (
        f"images: [{{match: x, python: {sys.prefix}, entrypoint: [a, b]}},"
        " {match: y, recipe: s, entrypoint: [c], programs: {run: [d]}}]\n"
    )
    made = table(tmp_path, text + "recipes: {s: {requirements: [pip], modules: [no_such_module]}}")
    found, recipe = made.resolve("x"), made.resolve("y")
    assert isinstance(found, Environment)
    assert found.programs.words([], ["d"]) == ["a", "b", "d"]
    assert isinstance(recipe, Recipe)
    assert recipe.brings.entrypoint == ("c",)
    assert recipe.brings.words(["run"], ["e"]) == ["d", "e"]
    assert {recipe: "made"}[recipe] == "made"  # as the makers find one that is being made


@pytest.mark.parametrize("wrong", ["entrypoint: words", "programs: [a]", "programs: {a: b}", "entrypoint: [1]"])
def test_an_entrypoint_that_is_no_list_of_words_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ImageError, match="must be a list of words"):
        table(tmp_path, f"images: [{{match: x, {wrong}}}]").resolve("x")
